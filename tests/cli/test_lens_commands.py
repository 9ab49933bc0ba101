"""The commands of the lens: what they print and write, and how they refuse and stop."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mscnn.cli.scales
import mscnn.cli.sweep
from mscnn.cli import main
from mscnn.models import registry
from mscnn.scales.receptive_field import known

ROOT = str(Path(registry.__file__).parents[2])
RES2NET, RESNET = "starter_res2net", "starter_resnet"
SCALES = ["scales", "photo.png", "--out", "o"]
SWEEP = ["sweep", "photo.png", "--out", "o", "--models", f"{RES2NET},{RESNET}"]


def run_json(capsys: pytest.CaptureFixture[str], *argv: str) -> Any:
    """Run a command with --json; it must succeed, print one document and leave stderr alone."""
    code = main([*argv, "--json"])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    return json.loads(out)


def lens():
    from mscnn.engine.pipeline import Engine
    from mscnn.engine.session import Session

    return Engine(Session("cpu"))


def without(document: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in keys}


def test_scales_prints_and_writes_the_lens_numbers(photo, capsys):
    document = run_json(capsys, "scales", photo, "--target", "lion", "--out", "s")
    expected = lens().scales(photo, RES2NET, target=198)
    assert document["image"] == {
        **{"path": "photo.png", "width": 200, "height": 100},
        "crop": [50.0, 0.0, 150.0, 100.0],
    }
    assert document["class"]["index"] == 198
    assert document["attention"] is None
    got = {b["block"]: [s["share"] for s in b["splits"]] for b in document["blocks"]}
    assert list(got) == [block.block for block in expected.blocks]
    for block in expected.blocks:
        assert got[block.block] == pytest.approx([s.share for s in block.splits], abs=1e-5)
    assert document["weighted_rf_px"] == pytest.approx(expected.weighted_rf_px, rel=1e-5)
    assert sorted(p.name for p in Path("s").iterdir()) == sorted(document["files"])
    strips = [f"splits-{b.block}.png" for b in expected.blocks if b.kind == "hierarchy"]
    assert strips
    assert set(document["files"]) == {
        *("scales.json", "attribution.png", "attribution.csv", "splits.npz", "manifest.json"),
        *strips,
    }
    with np.load("s/splits.npz", allow_pickle=False) as maps:
        for block in expected.blocks:
            np.testing.assert_allclose(maps[block.block], block.maps, atol=1e-5)
    on_disk = json.loads(Path("s/scales.json").read_text("ascii"))
    assert on_disk == without(document, "attention", "out", "files")


def test_scales_as_text_says_where_it_went(photo, capsys):
    assert main(["scales", photo, "--model", RESNET, "--out", "s"]) == 0
    out = capsys.readouterr().out
    assert "no block has more than one split" in out
    assert "layer4.0" in out
    assert "written       s: scales.json" in out
    assert not list(Path("s").glob("splits-*.png"))


def test_rf_prints_the_contract(bundled, capsys):
    document = run_json(capsys, "rf", "res2net50_26w_4s")
    assert list(document)[:4] == ["model", "input_px", "stages", "blocks"]
    assert (document["model"], document["input_px"]) == ("res2net50_26w_4s.in1k", 224)
    # The paper's ladder by hand; timm's order has the untouched split last.
    assert [s["rf_max_px"] for s in document["stages"]] == [67, 219, 715, 1131]
    assert [s["stride_px"] for s in document["stages"]] == [4, 8, 16, 32]
    blocks = {b["block"]: b for b in document["blocks"]}
    assert len(blocks) == 16
    assert [s["rf_max_px"] for s in blocks["layer1.1"]["splits"]] == [27, 35, 43, 19]
    assert [s["index"] for s in blocks["layer1.1"]["splits"]] == [0, 1, 2, 3]
    assert "spectrum" not in document["stages"][0]


def test_rf_counts_paths_exactly(bundled, capsys):
    document = run_json(capsys, "rf", "res2net101_26w_4s.in1k", "--spectrum")
    field = known("res2net101_26w_4s.in1k")
    assert field is not None
    last = document["stages"][-1]
    assert last["paths"] == sum(paths for _, paths in last["spectrum"])
    assert last["paths"] > 2**53
    assert dict(map(tuple, last["spectrum"])) == dict(field.stages[-1].spectrum.sizes)


def test_rf_as_text_is_beside_the_fair_baseline(bundled, capsys):
    assert main(["rf", "res2net50_26w_4s.in1k"]) == 0
    lines = capsys.readouterr().out.splitlines()
    row = next(line.split() for line in lines if line.startswith("layer3 "))
    assert "resnet50.tv_in1k" in lines[0]
    assert row[:3] == ["layer3", "16", "px"]
    # Its own largest field, and ResNet-50's at the end.
    assert "715" in row
    assert row[-2:] == ["267", "px"]
    assert any("0: 27 px  1: 35 px  2: 43 px  3: 19 px" in line for line in lines)


def test_rf_writes_charts_and_tables(bundled, capsys):
    document = run_json(capsys, "rf", "res2net50_26w_4s", "--out", "fields")
    assert document["files"] == ["rf.json", "rf.csv", "spectrum.png", "growth.png"]
    assert sorted(p.name for p in Path("fields").iterdir()) == sorted(document["files"])
    with Path("fields/rf.csv").open(newline="", encoding="utf-8") as file:
        rows = [r for r in csv.DictReader(file) if r["level"] == "stage"]
    assert {r["model"] for r in rows} == {"res2net50_26w_4s.in1k", "resnet50.tv_in1k"}
    assert rows[3]["rf_max_px"] == "1131"
    for name in ("spectrum.png", "growth.png"):
        with Image.open(f"fields/{name}") as image:
            assert image.width >= 1000


@pytest.mark.parametrize("extra", [[], ["--json"], ["--spectrum"]])
def test_rf_of_a_registry_model_is_light_and_quick(extra, bundled):
    script = (
        "import sys; from mscnn.cli import main; code = main(sys.argv[1:]); "
        "heavy = {'torch', 'timm', 'gradio', 'matplotlib', 'scipy'} & set(sys.modules); "
        "sys.stderr.write(' '.join(heavy)); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "rf", "res2net101_26w_4s.in1k", *extra],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": ROOT},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_sweep_prints_and_writes_the_lens_numbers(photo, capsys):
    document = run_json(
        capsys, "sweep", photo, "--models", f"{RES2NET}, {RESNET}", "--target", "198",
        "--box", "25,0,75,100", "--sizes", "1,0.5,0.25", "--canvas", "grey", "--out", "z",
    )  # fmt: skip
    expected = lens().sweep(
        photo, [RES2NET, RESNET], target=198, box=(0.25, 0, 0.75, 1),
        factors=(1, 0.5, 0.25), canvas="grey",
    )  # fmt: skip
    assert (document["class"], document["canvas"], document["partial"]) == (
        *("sea lion" if expected.label == "sea lion" else "lion", "grey"),
        False,
    )
    assert (document["box"], document["factors"]) == ([0.25, 0.0, 0.75, 1.0], [1.0, 0.5, 0.25])
    assert document["image"] == {"path": "photo.png", "width": 200, "height": 100}
    for model, curve in zip(document["models"], expected.curves, strict=True):
        assert model["model"] == curve.model
        assert [s["probability"] for s in model["steps"]] == pytest.approx(
            [s.probability for s in curve.steps], abs=1e-5
        )
        assert [s["rank"] for s in model["steps"]] == [s.rank for s in curve.steps]
        # The input is 64 px.
        assert [s["size_px"] for s in model["steps"]] == [64, 32, 16]
    assert document["files"] == [
        *("sweep.json", "sweep.csv", "sweep.png", "film.png", "manifest.json")
    ]
    with Path("z/sweep.csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 6
    manifest = json.loads(Path("z/manifest.json").read_text("ascii"))
    assert manifest["image"] == {"name": "photo.png"}


def test_sweep_as_text_has_a_row_per_size(photo, capsys):
    assert main(["sweep", photo, "--models", RES2NET, "--sizes", "4", "--out", "z"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    rows = [line.split() for line in out.splitlines() if "x  " in line and line.startswith("  ")]
    # From 2 to 0.1 in three equal ratios.
    assert [row[0] for row in rows if row[0][0].isdigit()] == ["2.00x", "0.74x", "0.27x", "0.10x"]


# name: (arguments, words that the line must hold)
CASES: dict[str, tuple[list[str], list[str]]] = {
    "scales no out": (["scales", "photo.png"], ["--out"]),
    "scales five classes": ([*SCALES, "--target", "top5"], ["top1"]),
    "scales class": ([*SCALES, "--target", "zebra"], ["'zebra'"]),
    "scales image": (["scales", "no.jpg", "--out", "o"], ["no.jpg", "does not exist"]),
    "scales model": ([*SCALES, "--model", "nope_net"], ["nope_net"]),
    "scales out is a file": (["scales", "photo.png", "--out", "photo.png"], ["folder"]),
    "rf nothing": (["rf"], ["MODEL"]),
    "rf unknown": (["rf", "res2nt50"], ["res2nt50"]),
    "rf no convolutions": (["rf", "vit_tiny_patch16_224"], ["vit_tiny_patch16_224"]),
    "rf out is a file": (["rf", "resnet50", "--out", "photo.png"], ["folder"]),
    "sweep no models": (["sweep", "photo.png", "--out", "o"], ["--models"]),
    "sweep empty models": ([*SWEEP[:-1], ","], ["commas"]),
    "sweep five models": ([*SWEEP[:-1], "a,b,c,d,e"], ["5 model(s)", "1 to 4"]),
    "sweep twice": ([*SWEEP[:-1], f"{RESNET},{RESNET}"], ["starter_resnet twice"]),
    "sweep unknown model": ([*SWEEP[:-1], f"{RESNET},nope_net"], ["nope_net"]),
    "sweep unknown class": ([*SWEEP, "--target", "zebra"], ["'zebra'"]),
    "sweep three numbers": ([*SWEEP, "--box", "1,2,3"], ["'1,2,3'", "LEFT,TOP,RIGHT,BOTTOM"]),
    "sweep box reversed": ([*SWEEP, "--box", "75,0,25,100"], ["reversed"]),
    "sweep box outside": ([*SWEEP, "--box", "0,0,150,100"], ["outside"]),
    "sweep tiny box": ([*SWEEP, "--box", "10,10,10.1,10.1"], ["small"]),
    "sweep sizes": ([*SWEEP, "--sizes", "many"], ["'many'", "count"]),
    "sweep one size": ([*SWEEP, "--sizes", "1"], ["give 2 to 48"]),
    "sweep size range": ([*SWEEP, "--sizes", "1,99"], ["99", "range"]),
    "sweep canvas": ([*SWEEP, "--canvas", "polka"], ["'polka'", "mean"]),
}


@pytest.mark.parametrize("case", CASES)
def test_one_line_and_code_2(case, photo, capsys):
    argv, words = CASES[case]
    before = sorted(Path().rglob("*"))
    code = main(argv)
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err.count("\n") == 1, err
    assert err.startswith("mscnn: ")
    for word in words:
        assert word in err
    for hidden in ("Traceback", str(Path.cwd()), ROOT):
        assert hidden not in err
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize(
    ("command", "argv"),
    [
        (mscnn.cli.scales, [*SCALES, "--target", "top5"]),
        (mscnn.cli.scales, [*SCALES, "--opacity", "2"]),
        (mscnn.cli.sweep, [*SWEEP, "--box", "1,2,3"]),
        (mscnn.cli.sweep, [*SWEEP, "--sizes", "1,99"]),
        (mscnn.cli.sweep, [*SWEEP, "--canvas", "polka"]),
    ],
)
def test_what_can_be_refused_at_once_loads_no_model(command, argv, photo, capsys, monkeypatch):
    def load(*_, **__):
        raise AssertionError("no model is needed to refuse this")

    monkeypatch.setattr(command, "open_engine", load)
    assert main(argv) == 2
    assert "unexpected" not in capsys.readouterr().err


def test_ctrl_c_stops_a_sweep_and_keeps_what_was_done(photo, capsys, monkeypatch):
    from mscnn.scales import sweep

    real = sweep.measure

    def interrupted(model, batch, **options):
        done = real(model, batch, **options)
        if model.pretrained_cfg["architecture"] == RESNET:
            signal.raise_signal(signal.SIGINT)
        return done

    monkeypatch.setattr(sweep, "measure", interrupted)
    before = signal.getsignal(signal.SIGINT)
    code = main([*SWEEP, "--sizes", "20", "--json"])
    out, err = capsys.readouterr()
    assert (code, err) == (130, "")
    document = json.loads(out)
    done = [len(model["steps"]) for model in document["models"]]
    assert document["partial"] is True
    assert done[0] == 20
    assert 0 < done[1] < 20
    assert json.loads(Path("o/sweep.json").read_text("ascii"))["partial"] is True
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_ends_at_once(photo, capsys, monkeypatch):
    from mscnn.scales import sweep

    def interrupted(model, batch, **options):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        time.sleep(30)

    monkeypatch.setattr(sweep, "measure", interrupted)
    assert main(SWEEP) == 130
    assert capsys.readouterr() == ("", "mscnn: Stopped.\n")
    assert not Path("o").exists()


def test_help_names_the_commands_of_the_lens(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    places = []
    for name in ("compare", "scales", "rf", "sweep", "download"):
        line = next(line for line in out.splitlines() if line.strip().startswith(f"{name} "))
        assert line.endswith("."), line
        assert not line.endswith("..."), line
        places.append(out.index(line))
    assert places == sorted(places)
