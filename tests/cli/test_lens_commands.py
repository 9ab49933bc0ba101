"""The commands of the lens: what they print and write, and how they refuse and stop."""

import csv
import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from mscnn.cli import main
from mscnn.scales.receptive_field import known
from tests.cli.conftest import engine, run_json

RES2NET, RESNET = "starter_res2net", "starter_resnet"
SWEEP = ["sweep", "photo.png", "--out", "o", "--models", f"{RES2NET},{RESNET}"]


def without(document, *keys):
    return {key: value for key, value in document.items() if key not in keys}


def test_scales_prints_and_writes_the_lens_numbers(photo, capsys):
    document = run_json(capsys, "scales", photo, "--target", "lion", "--out", "s")
    expected = engine().session.network(RES2NET).scales(photo, target=198)
    assert document["image"] == {
        **{"path": "photo.png", "width": 200, "height": 100}, "crop": [50.0, 0.0, 150.0, 100.0],
    }  # fmt: skip
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


def test_scales_cuts_when_asked_to(photo, capsys):
    how = ("--target", "lion", "--ablate", "--draws", "2", "--fill", "zero", "--out", "s")
    document = run_json(capsys, "scales", photo, *how)
    expected = engine().session.network(RES2NET).ablate(photo, target=198, fill="zero").cuts
    got = [(cut["block"], cut["split"], cut["logit_change"]) for cut in document["ablation"]]
    assert got == [(c.block, c.index, pytest.approx(c.logit_change, abs=1e-4)) for c in expected]
    (curve,) = document["cap"]["models"]
    assert curve["steps"][-1]["cut_channels"] == 0
    assert curve["steps"][0]["control_mean"] is not None
    assert document["cap"]["fill"] == "zero"
    names = {"ablation.json", "ablation.csv", "ablation.png", "cap.json", "cap.csv", "cap.png"}
    assert names <= {p.name for p in Path("s").iterdir()}
    rows = list(csv.DictReader(Path("s/cap.csv").read_text("utf-8").splitlines()))
    assert [int(row["limit_px"]) for row in rows] == [s["limit_px"] for s in curve["steps"]]


def test_scales_as_text_says_where_it_went(photo, capsys):
    cut = ("--ablate", "--draws", "1", "--fill", "zero")
    assert main(["scales", photo, "--model", RESNET, "--out", "s", *cut]) == 0
    out = capsys.readouterr().out
    assert "no block has more than one split" in out
    assert "give --draws 19 or more" in out
    assert "layer4.0" in out
    assert "written s: scales.json" in out
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


def test_rf_of_a_network_outside_the_list_needs_no_weights(bundled, capsys):
    document = run_json(capsys, "rf", "resnet34.a1_in1k")
    # By hand: 11 after the stem, then two 3 x 3 per block, the first of layer2 to 4 at stride 2.
    assert [s["rf_max_px"] for s in document["stages"]] == [59, 179, 547, 899]


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


def test_sweep_prints_and_writes_the_lens_numbers(photo, capsys):
    document = run_json(
        capsys, "sweep", photo, "--models", f"{RES2NET}, {RESNET}", "--target", "198",
        "--box", "25,0,75,100", "--sizes", "1,0.5,0.25", "--canvas", "grey", "--out", "z",
    )  # fmt: skip
    expected = engine().sweep(
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
        whole = engine().session.network(model["model"]).preprocess.view_size[0]
        assert [s["size_px"] for s in model["steps"]] == [whole, whole // 2, whole // 4]
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


def test_trust_prints_and_writes_the_engines_numbers(photo, few_steps, capsys):
    document = run_json(
        capsys, "trust", photo, "--model", RESNET, "--target", "lion", "--layers", "3,last",
        "--methods", "layercam, gradcam", "--box", "25,0,75,100", "--out", "t",
    )  # fmt: skip
    plan = few_steps(methods=("layercam", "gradcam"), layers=("3", "last"), box=(0.25, 0, 0.75, 1))
    expected = engine().session.network(RESNET).trust(photo, target=198, plan=plan)
    assert document["class"]["index"] == 198
    assert [(made["method"], made["layer"]) for made in document["maps"]] == [
        (method, layer) for method in plan.methods for layer in ("layer3", "layer4")
    ]
    for got, made in zip(document["maps"], expected.maps, strict=True):
        assert got["verdict_sentence"] == made.verdict.sentence
        own = [candidate.scores.insertion_blur for candidate in made.candidates]
        assert [c["insertion_blur"] for c in got["candidates"]] == pytest.approx(own, abs=1e-5)
    assert document["recommended"]["reason"] == expected.recommended.reason
    assert sorted(path.name for path in Path("t").iterdir()) == sorted(document["files"])
    assert "curves-layercam-layer3.png" in document["files"]
    with np.load("t/maps.npz", allow_pickle=False) as maps:
        np.testing.assert_allclose(maps["gradcam.layer4.map"], expected.maps[-1].cam.raw, atol=1e-5)


def test_trust_as_text_says_how_long_it_takes_then_the_verdict_and_why(photo, few_steps, capsys):
    assert main(["trust", photo, "--target", "lion", "--against", "sea lion", "--out", "t"]) == 0
    out, err = capsys.readouterr()
    assert err.startswith("about ")
    assert err.endswith(" s here\n")
    plan = few_steps(against=("sea lion",))
    (made,) = engine().session.network(RES2NET).trust(photo, target="lion", plan=plan).maps
    assert "lion" in out.splitlines()[1]
    assert "not sea lion" in out
    assert f"difference, layer4: {made.verdict.sentence}" in out
    (row,) = (line.split() for line in out.splitlines() if "Insertion (blur)" in line)
    means = made.beside()["insertion_blur"].values()
    assert row[2:] == ["higher", *(f"{mean:.3f}" for mean in means)]


def test_ctrl_c_stops_trust_and_keeps_what_was_done(photo, few_steps, capsys, monkeypatch):
    from mscnn.trust import checks

    def interrupted(*given):
        signal.raise_signal(signal.SIGINT)
        return original(*given)

    original = checks.changed
    monkeypatch.setattr(checks, "changed", interrupted)
    assert main(["trust", photo, "--out", "t", "--json"]) == 130
    out, err = capsys.readouterr()
    assert err == ""
    document = json.loads(out)
    assert document["partial"] is True
    assert document["maps"][0]["verdict_of"] > 0
    assert document["maps"][0]["stability"] == []
    assert json.loads(Path("t/trust.json").read_text("ascii"))["partial"] is True
