"""Every wrong thing ends in one line on stderr, exit code 2 and an empty stdout."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mscnn.cli import main
from mscnn.models import registry

ROOT = str(Path(registry.__file__).parents[2])

# Beside those of tests/golden. What is typed => words that the line must hold, between bars.
CASES = r"""
=> No command | predict
predict photo.png --qqqq => --qqqq | mscnn predict --help
predict photo.png --model => --model
models all => all
predict photo.png --model resnet18.tv_in1k => offline
predict photo.png --model starter_resnet --weights OTHER => starter_res2net.safe | does not fit
predict photo.png --model starter_resnet --weights cut.safetensors => cut.safetensors
predict folder => folder | JPEG
predict BREAK => does not exist
download resnet18.tv_in1k => offline
EXPLAIN --opacity much => --opacity | much
EXPLAIN --opacity nan => between 0 and 1
EXPLAIN --target zebra => 'zebra' | 200 classes
EXPLAIN --target thing => fits 198 classes
compare photo.png --models BOTH --out cut.png => cut.png | folder
scales no.jpg --out o => no.jpg | does not exist
scales photo.png --out o --model nope_net => nope_net
sweep photo.png --out o => --models
sweep photo.png --out o --models , => commas
sweep photo.png --out o --models starter_resnet,starter_resnet => starter_resnet twice
sweep photo.png --out o --models starter_resnet,nope_net => nope_net
SCALES --fill zero => --ablate
SCALES --draws -3 => --ablate
SWEEP --target zebra => 'zebra'
SWEEP --box 10,10,10.1,10.1 => small
LONG => no command | ...'
models LONG => extra argument | ...
predict LONG => cannot be read
predict photo.png --model LONG => no model | ...
predict photo.png --model ~nobody/LONG => no folder | ~nobody | ...
predict photo.png --model ~no.such.user/m => no folder | ~no.such.user
predict photo.png --model starter_resnet --weights ~no.such.user/w.pth => no weights file | w.pth
predict photo.png --model starter_resnet --weights LONG => no weights file | ...
predict photo.png --device LONG => no device | ...
explain photo.png --out LONG => too long
EXPLAIN --layer LONG => no layer | ...'
EXPLAIN --method LONG => no method | ...'
rf LONG => no model | ...
compare photo.png --models LONG,starter_resnet --out o => no model | ...
features LONG --out o.npz => too long
evaluate LONG => too long
trust photo.png => --out
TRUST --methods gradcm => gradcm | gradcam
TRUST --methods , => method
TRUST --layers layer9 => layer9
TRUST --layers , => layer
TRUST --box 50,50,50,60 => box
TRUST --box 10,10,10.1,10.1 => small
TRUST --against zebra => 'zebra'
TRUST --target lion --against lion => twice
"""
SHORT = {
    "EXPLAIN": "explain photo.png --out o",
    "SCALES": "scales photo.png --out o",
    "SWEEP": "sweep photo.png --out o --models BOTH",
    "TRUST": "trust photo.png --out o",
    "BOTH": "starter_resnet,starter_res2net",
}


def typed(line, **more):
    for short, long in SHORT.items():
        line = line.replace(short, long)
    return [more.get(text, text) for text in line.split()]


@pytest.fixture
def broken_files(photo, bundled):
    whole = Path(photo).read_bytes()
    Path("folder").mkdir()
    Path("cut.png").write_bytes(whole[: len(whole) // 2])
    Path("folder/cut.png").write_bytes(whole[: len(whole) // 2])
    Path("drawing.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    weights = (bundled / "weights" / "starter_resnet.safetensors").read_bytes()
    Path("cut.safetensors").write_bytes(weights[:5000])
    return bundled


@pytest.mark.parametrize("case", CASES.strip().splitlines())
def test_one_line_and_code_2(case, broken_files, capsys):
    line, _, words = case.partition("=>")
    other = str(broken_files / "weights" / "starter_res2net.safetensors")
    before = sorted(Path().rglob("*"))
    line = line.replace("LONG", "a" * 5000)
    code = main(typed(line, OTHER=other, BREAK="a\nb\x1b[31m.jpg"))
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith("mscnn: ")
    assert all(c.isprintable() for c in err[:-1])
    assert len(err) < 600
    for word in words.split(" | "):
        assert word.strip() in err
    # No path of this machine that the user did not type, and nothing left on the disk.
    for hidden in ("Traceback", str(Path.cwd()), str(broken_files), ROOT):
        assert hidden not in err
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize("line", [
    *(f"EXPLAIN {extra}" for extra in ("--method nope", "--opacity 2", "--target top5")),
    *(f"SCALES {extra}" for extra in ("--opacity 2", "--target top5", "--fill x", "--draws 0")),
    *(f"SWEEP {extra}" for extra in ("--box 1,2,3", "--sizes 1,99", "--canvas polka")),
])  # fmt: skip
def test_what_can_be_refused_at_once_loads_no_model(line, photo, capsys, monkeypatch):
    def load(*_, **__):
        raise AssertionError("no model is needed to refuse this")

    argv = typed(line)
    monkeypatch.setattr("mscnn.cli.photos.open_engine", load)
    assert main(argv) == 2
    assert "unexpected" not in capsys.readouterr().err


def test_debug_shows_where_the_error_comes_from(photo, capsys, monkeypatch):
    assert main(["--debug", "predict", "no.jpg"]) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("mscnn: 'no.jpg'")
    monkeypatch.setenv("MSCNN_DEBUG", "1")
    assert main(["predict", "no.jpg"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_unexpected_error_is_one_sentence(photo, capsys, monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError("/secret/path")

    monkeypatch.setattr("mscnn.cli.networks.models_dict", fail)
    assert main(["models"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "--debug" in err
    assert "secret" not in err
    assert main(["--debug", "models"]) == 2
    assert "ZeroDivisionError: /secret/path" in capsys.readouterr().err


def test_ctrl_c_is_one_line_and_130(photo, capsys, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("mscnn.cli.networks.models_dict", interrupt)
    assert main(["models"]) == 130
    assert capsys.readouterr() == ("", "mscnn: Stopped.\n")


def test_ctrl_c_while_the_program_is_read_shows_no_traceback():
    # As the console script does; a finder stands in for the right moment.
    stop = """class Stop:
        def find_spec(name, *_):
            if name == "mscnn.cli.options":
                raise KeyboardInterrupt"""
    code = f"import sys\n{stop}\nsys.meta_path.insert(0, Stop)\nfrom mscnn.cli import main"
    own = {**os.environ, "PYTHONPATH": ROOT}
    done = subprocess.run([sys.executable, "-c", code], env=own, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_error_while_writing_leaves_the_old_result(photo, capsys, monkeypatch):
    assert main(["explain", photo, "--out", "maps"]) == 0
    before = {p.name: p.read_bytes() for p in Path("maps").iterdir()}
    capsys.readouterr()

    def full(self, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert main(["explain", photo, "--out", "maps", "--target", "3"]) == 2
    assert "the disk is full" in capsys.readouterr().err
    assert main(["explain", photo, "--out", "new/deep", "--target", "3"]) == 2
    assert {p.name: p.read_bytes() for p in Path("maps").iterdir()} == before
    assert not Path("new").exists()


def test_the_photo_itself_is_not_replaced(photo, capsys):
    before = Path(photo).rename("overlay.png").read_bytes()
    assert main(["explain", "overlay.png", "--out", "."]) == 2
    assert "'overlay.png' in --out is the photo itself" in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == ["overlay.png"]
    assert Path("overlay.png").read_bytes() == before


def run_process(argv, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "mscnn", *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env={**os.environ, "PYTHONPATH": ROOT, **options},
    )  # fmt: skip


def test_closed_pipe_is_quiet(bundled):
    process = run_process(["models"])
    process.stdout.close()  # as "| head -0" does
    err = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), err) == (128 + signal.SIGPIPE, "")


@pytest.mark.skipif(os.name == "nt", reason="asks a shell of POSIX to close them")
def test_nobody_need_listen(bundled, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", ROOT)
    command = f"'{sys.executable}' -m mscnn cite layercam >&- 2>&-"
    assert subprocess.run(command, shell=True, check=False).returncode == 0


def test_process_reads_its_own_arguments(bundled):
    process = run_process(["typed"])  # refused before torch is imported
    out, err = process.communicate()
    assert process.returncode == 2
    assert (out, err.count("\n")) == ("", 1)
    assert "'typed'" in err
