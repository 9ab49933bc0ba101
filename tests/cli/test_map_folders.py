"""``explain``, ``compare`` and ``trust`` of a folder, as they are typed."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mscnn.cli import main

QUICK = ["--device", "cpu", "--sheet", "1"]


@pytest.fixture
def data(bundled):
    """Two photographs in a class folder, and a file that is none."""
    Path("data/lion").mkdir(parents=True)
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 256, (5, 5, 3)).astype(np.uint8)
        Image.fromarray(pixels).resize((90, 70)).save(f"data/lion/{number}.png")
    Path("data/lion/bad.jpg").write_text("no picture")
    return Path("data")


@pytest.mark.parametrize(
    ("command", "maps"),
    [
        ("explain data --target label --workers 0", ["maps.npy"]),
        ("compare data --models starter_resnet,starter_res2net --workers 0",
         ["maps-1-starter_resnet.npy", "maps-2-starter_res2net.npy"]),
        pytest.param("trust data", ["maps.npy"], marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_files_of_a_folder(command, maps, data, capsys):
    assert main([*command.split(), *QUICK, "--out", "o", "--json"]) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert err.startswith("left out lion/bad.jpg: ")
    assert err.count("\n") == 1
    made = ["contact-sheet.png", "manifest.json", "mean-maps.npz", "mean-maps.png", "summary.json",
            "table.csv"]  # fmt: skip
    written = {path.name for path in Path("o").iterdir()} - {"table.parquet"}
    assert written == {*made, *maps}
    assert [one["file"] for one in document["maps"]] == maps
    assert (document["images"], document["unreadable"], document["out"]) == (
        2, ["lion/bad.jpg"], "o",
    )  # fmt: skip
    assert [len(np.load(Path("o", name))) for name in maps] == [2] * len(maps)
    summary = json.loads(Path("o/summary.json").read_text())
    assert sum(one["photos"] for one in summary["maps"][0]["classes"]) == 2
    assert main([*command.split(), *QUICK, "--out", "o"]) == 0  # the same again, for people
    out, err = capsys.readouterr()
    assert out.startswith("2 photographs, class ")
    assert "\nprobability  " in out
    assert ("about" in err) == command.startswith("trust")


@pytest.mark.parametrize(
    ("command", "out"), [("explain", "o"), ("explain", "."), ("features", "o.npz")]
)
@pytest.mark.parametrize("during", ["data.part_files.PartFiles.write", "cli.folders.open_engine"])
def test_ctrl_c_says_how_to_go_on(during, command, out, data, capsys, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"mscnn.{during}", stop)
    photos = str(Path("data").absolute())
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert main([command, photos, "--device", "cpu", "--workers", "0", "--out", out]) == 130
    part = Path("../elsewhere.part" if out == "." else f"{out}.part").resolve()
    said = f"what was done is kept in {part}: the same command goes on"
    err = capsys.readouterr().err
    assert (part.is_dir(), said in err, "kept" in err) == ((during.endswith("write"),) * 3)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("explain data/lion --target label", "folder per class"),
        ("explain other --target label", "'unicorn'"),
        ("explain data --layer layer9", "layer9"),
        ("explain data --sheet 201", "201 photos"),
        ("explain empty", "no photograph in 'empty'"),
        ("explain data --out data", "'data' holds photos"),
        ("explain data --out data/lion", "'lion' holds photos"),
        ("explain data --out file", "'file' is not a folder"),
        ("compare data --models starter_resnet", "1 model"),
        ("trust data --parts luck", "'luck'"),
        ("trust data --target unicorn", "'unicorn'"),
    ],
)
def test_wrong_things_are_one_line(command, words, data, capsys):
    Path("empty").mkdir()
    Path("other/unicorn").mkdir(parents=True)
    Path("other/unicorn/a.png").write_bytes(Path("data/lion/0.png").read_bytes())
    Path("file").touch()
    out = [] if "--out" in command else ["--out", "o"]
    assert main([*command.split(), *out, "--device", "cpu"]) == 2
    printed, err = capsys.readouterr()
    assert (printed, err.count("\n")) == ("", 1)
    assert words in err
    assert not Path("o").exists()
    assert not Path("o.part").exists()
