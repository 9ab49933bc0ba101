"""Every wrong thing ends in one line on stderr, exit code 2 and an empty stdout."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import mscnn.cli.explain
from mscnn.cli import main
from mscnn.models import registry

ROOT = str(Path(registry.__file__).parents[2])

COMPARE = ["compare", "photo.png", "--models", "starter_resnet,starter_res2net"]
EXPLAIN = ["explain", "photo.png", "--out", "o"]

# name: (arguments, words that the line must hold)
CASES: dict[str, tuple[list[str], list[str]]] = {
    "no command": ([], ["No command", "predict"]),
    "unknown command": (["predcit"], ["'predcit'", "did you mean predict"]),
    "strange command": (["xyz"], ["'xyz'", "choose one of compare, download"]),
    "unknown option": (["predict", "photo.png", "--modle", "x"], ["--modle", "--model"]),
    "strange option": (["predict", "photo.png", "--qqqq"], ["--qqqq", "mscnn predict --help"]),
    "debug behind": (["predict", "photo.png", "--debug"], ["--debug", "before the command"]),
    "no image": (["predict"], ["IMAGE"]),
    "no out": (["explain", "photo.png"], ["--out"]),
    "option without value": (["predict", "photo.png", "--model"], ["--model"]),
    "flag with value": (["models", "--json=3"], ["--json"]),
    "too many arguments": (["models", "all"], ["all"]),
    "bad number": (["predict", "photo.png", "--top-k", "five"], ["--top-k", "five"]),
    "bad fraction": (
        [*EXPLAIN, "--opacity", "much"],
        ["--opacity", "much"],
    ),
    "number out of range": (["predict", "photo.png", "--top-k", "0"], ["--top-k is 0", "1"]),
    "opacity out of range": (
        [*EXPLAIN, "--opacity", "1.5"],
        ["1.5", "between 0 and 1"],
    ),
    "opacity nan": ([*EXPLAIN, "--opacity", "nan"], ["between 0 and 1"]),
    "colour map": (
        [*EXPLAIN, "--colour-map", "jet"],
        ["'jet'", "inferno"],
    ),
    "unknown model": (["predict", "photo.png", "--model", "res2nt50"], ["res2nt50"]),
    "model folder missing": (["predict", "photo.png", "--model", "./no"], ["./no"]),
    "model unsupported": (
        ["predict", "photo.png", "--model", "vit_tiny_patch16_224"],
        ["vit_tiny_patch16_224", "convolution"],
    ),
    "not downloaded": (["predict", "photo.png", "--model", "resnet18.tv_in1k"], ["offline"]),
    "download offline": (["download", "resnet18.tv_in1k"], ["offline"]),
    "download unknown": (["download", "starter_resnet", "nope"], ["nope"]),
    "download nothing": (["download"], ["M..."]),
    "weights missing": (
        ["predict", "photo.png", "--model", "starter_resnet", "--weights", "no.safetensors"],
        ["no.safetensors"],
    ),
    "weights of another model": (
        ["predict", "photo.png", "--model", "starter_resnet", "--weights", "OTHER"],
        ["starter_res2net.safetensors", "does not fit"],
    ),
    "weights damaged": (
        ["predict", "photo.png", "--model", "starter_resnet", "--weights", "cut.safetensors"],
        ["cut.safetensors"],
    ),
    "device": (["predict", "photo.png", "--device", "tpu"], ["'tpu'", "cpu"]),
    "image missing": (["predict", "no.jpg"], ["no.jpg", "does not exist"]),
    "image is a folder": (["predict", "folder"], ["folder", "JPEG"]),
    "image svg": (["predict", "drawing.svg"], ["drawing.svg", "SVG"]),
    "image truncated": (["predict", "cut.png"], ["cut.png"]),
    "image is a link": (["predict", "https://example.org/a.jpg"], ["link"]),
    "one of several images": (
        ["predict", "photo.png", "folder/cut.png"],
        ["2 of 2, folder/cut.png"],
    ),
    "image with a line break": (["predict", "a\nb\x1b[31m.jpg"], ["does not exist"]),
    "class unknown": (
        [*EXPLAIN, "--target", "zebra"],
        ["'zebra'", "200 classes"],
    ),
    "class ambiguous": (
        [*EXPLAIN, "--target", "thing"],
        ["fits 198 classes"],
    ),
    "class index": ([*EXPLAIN, "--target", "200"], ["200", "199"]),
    "class negative": ([*EXPLAIN, "--target", "-1"], ["-1"]),
    "five classes": ([*EXPLAIN, "--target", "top5"], ["top1"]),
    "layer": ([*EXPLAIN, "--layer", "layer9"], ["layer9", "layer4"]),
    "method": ([*EXPLAIN, "--method", "gradcm"], ["gradcam"]),
    "out is a file": (["explain", "photo.png", "--out", "cut.png"], ["cut.png", "folder"]),
    "out below a file": (["explain", "photo.png", "--out", "cut.png/maps"], ["cut.png", "folder"]),
    "compare out is a file": (
        [*COMPARE, "--out", "cut.png"],
        ["cut.png", "folder"],
    ),
    "compare one model": (
        ["compare", "photo.png", "--models", "starter_resnet", "--out", "o"],
        ["1 model", "2 to 6"],
    ),
    "compare no model": (["compare", "photo.png", "--models", ",", "--out", "o"], ["commas"]),
    "compare twice": (
        ["compare", "photo.png", "--models", "starter_resnet,starter_resnet", "--out", "o"],
        ["starter_resnet twice"],
    ),
    "compare unknown model": (
        ["compare", "photo.png", "--models", "starter_resnet,nope", "--out", "o"],
        ["nope"],
    ),
    "compare unknown class": (
        [*COMPARE, "--out", "o", "--target", "zebra"],
        ["'zebra'"],
    ),
    "compare layer": (
        [*COMPARE, "--out", "o", "--layer", "layer9"],
        ["layer9"],
    ),
    "serve port": (["serve", "--port", "70000"], ["70000", "65535"]),
    "train without data": (
        ["train", "no-data", "--model", "starter_resnet", "--out", "o"],
        ["no-data"],
    ),
    "train device": (
        ["train", "folder", "--model", "starter_resnet", "--out", "o", "--device", "tpu"],
        ["'tpu'", "cpu"],
    ),
    "train option": (
        ["train", "folder", "--model", "starter_resnet", "--out", "o", "--epochs", "0"],
        ["--epochs is 0"],
    ),
}


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


@pytest.mark.parametrize("case", CASES)
def test_one_line_and_code_2(case, broken_files, capsys):
    argv, words = CASES[case]
    other = str(broken_files / "weights" / "starter_res2net.safetensors")
    argv = [other if text == "OTHER" else text for text in argv]
    before = sorted(Path().rglob("*"))
    code = main(argv)
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.endswith("\n")
    assert err.startswith("mscnn: ")
    assert "Traceback" not in err
    assert all(c.isprintable() for c in err[:-1])
    for word in words:
        assert word in err
    # No path of this machine that the user did not type, and nothing left on the disk.
    assert str(Path.cwd()) not in err
    assert str(broken_files) not in err
    assert ROOT not in err
    assert [path for path in sorted(Path().rglob("*")) if path not in before] == []


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

    monkeypatch.setattr("mscnn.cli.models.models_dict", fail)
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

    monkeypatch.setattr("mscnn.cli.models.models_dict", interrupt)
    assert main(["models"]) == 130
    assert capsys.readouterr() == ("", "mscnn: Stopped.\n")


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


def run_process(argv: list[str], **options) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "mscnn", *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": ROOT, **options},
    )


def test_closed_pipe_is_quiet(bundled):
    process = run_process(["models"])
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()  # as "| head -0" does
    err = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), err) == (128 + signal.SIGPIPE, "")


def test_process_reads_its_own_arguments(bundled):
    process = run_process(["predict", "no.jpg"])
    out, err = process.communicate()
    assert process.returncode == 2
    assert (out, err.count("\n")) == ("", 1)
    assert "'no.jpg' does not exist" in err


def test_explain_checks_before_it_loads_a_model(photo, capsys, monkeypatch):
    def load(*_, **__):
        raise AssertionError("no model is needed to refuse this")

    monkeypatch.setattr(mscnn.cli.explain, "open_engine", load)
    for extra in (["--method", "nope"], ["--opacity", "2"], ["--target", "top5"]):
        assert main(["explain", photo, "--out", "o", *extra]) == 2
        assert "unexpected" not in capsys.readouterr().err
