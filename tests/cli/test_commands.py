"""What the commands print and write, against the engine and against independent readers."""

import csv
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mscnn.cli import main
from mscnn.cli.console import open_engine
from mscnn.cli.networks import _file_and_folder
from mscnn.models import registry
from tests.cli.conftest import engine, run_json


def test_predict_prints_the_contract_and_the_engines_numbers(photo, bundled, capsys):
    document = run_json(capsys, "predict", photo, "--device", "cpu", "--top-k", "3")
    expected = engine().session.network("starter_res2net").predict(photo, top_k=3)
    weights = bundled / "weights" / "starter_res2net.safetensors"
    assert document == {
        "results": [
            {
                "image": {
                    "path": "photo.png", "width": 200, "height": 100,
                    # 72 px square of the photo resized to 144 x 72.
                    "crop": [50.0, 0.0, 150.0, 100.0],
                },
                "model": "starter_res2net",
                "weights": {
                    "source": "assets/weights/starter_res2net.safetensors",
                    "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
                },
                "device": "cpu",
                "top": [
                    {
                        "index": s.index, "label": s.label,
                        "probability": pytest.approx(s.probability, rel=1e-6),
                    }
                    for s in expected.top
                ],
            }
        ]
    }  # fmt: skip


def test_predict_takes_several_images_in_order_and_named_weights(photo, bundled, capsys):
    with Image.open(photo) as image:
        image.rotate(180).save("turned.png")
    weights = str(bundled / "weights" / "starter_resnet.safetensors")
    argv = ["predict", "turned.png", photo, "--model", "starter_resnet", "--weights", weights]
    results = run_json(capsys, *argv)["results"]
    assert [r["image"]["path"] for r in results] == ["turned.png", "photo.png"]
    assert {r["weights"]["source"] for r in results} == {"starter_resnet.safetensors"}
    assert results[0]["top"] != results[1]["top"]


def test_predict_as_text_names_photo_model_and_classes(photo, capsys):
    assert main(["predict", photo]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.startswith("photo.png  (starter_res2net, assets/weights/starter_res2net")
    best = engine().session.network("starter_res2net").predict(photo).top
    assert [row.split("  ")[-2] for row in rows] == [score.label for score in best]


def test_a_tilde_that_the_shell_left_is_the_home(bundled, tmp_path, monkeypatch, capsys):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    document = run_json(capsys, "rf", "starter_res2net", "--out=~/fields")
    assert document["out"] == str(tmp_path / "fields")
    assert (tmp_path / "fields" / "rf.json").is_file()
    assert not Path("~").exists()
    assert _file_and_folder("~/f.npz=~/x=y") == (tmp_path / "f.npz", tmp_path / "x=y")


@pytest.mark.parametrize("command", [
    ["predict"], ["explain", "--out", "o"], ["scales", "--out", "o"],
    ["compare", "--models", "starter_resnet,starter_res2net", "--out", "o"],
    ["sweep", "--models", "starter_resnet", "--sizes", "2", "--out", "o"],
])  # fmt: skip
def test_what_is_to_be_known_of_a_photo_is_said(command, photo, bundled, capsys):
    with Image.open(photo) as image:
        image.convert("RGB").save("cut.jpg", quality=95)
    Path("cut.jpg").write_bytes(Path("cut.jpg").read_bytes()[:-2])
    said = "The end of this JPEG file is missing; no pixel is lost."
    name, *options = command
    assert main([name, "cut.jpg", *options, "--json"]) == 0
    out, err = capsys.readouterr()
    assert f"'cut.jpg': {said}" in err.splitlines()
    shown = json.loads(out)
    if name != "sweep":
        assert shown.get("results", [shown])[0]["image"]["notice"] == said


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_what_is_to_be_known_of_a_network_is_said(more, photo, capsys, monkeypatch):
    def noticing(*asked):
        made = open_engine(*asked)
        made.session.network("starter_res2net").notices = ("Its classes have no names.",)
        return made

    monkeypatch.setattr("mscnn.cli.photos.open_engine", noticing)
    assert main(["predict", photo, *more]) == 0
    assert "Its classes have no names.\n" in capsys.readouterr().err


def test_explain_writes_the_four_files(photo, capsys):
    argv = ["explain", photo, "--target", "lion", "--layer", "layer3", "--out", "maps"]
    document = run_json(capsys, *argv)
    assert sorted(p.name for p in Path("maps").iterdir()) == [
        *("cam.npy", "heatmap.png", "manifest.json", "overlay.png")
    ]
    assert document["files"] == ["overlay.png", "heatmap.png", "cam.npy", "manifest.json"]
    expected = (
        engine().session.network("starter_res2net").explain(photo, layers="layer3", targets=[198])
    )
    cam = np.load("maps/cam.npy", allow_pickle=False)
    assert cam.dtype == np.float32
    np.testing.assert_allclose(cam, expected.map("layer3", 198).raw, atol=1e-6)
    manifest = json.loads(Path("maps/manifest.json").read_text("ascii"))
    assert manifest["class"] == document["class"]
    assert manifest["class"]["index"] == 198
    assert (manifest["layer"], manifest["method"]) == ("layer3", "gradcam")
    assert manifest["image"] == {
        **{"name": "photo.png", "width": 200, "height": 100}, "crop": [50.0, 0.0, 150.0, 100.0],
    }  # fmt: skip
    assert manifest["top"] == document["top"]
    assert manifest["weights"] == document["weights"]
    assert {"mscnn", "torch", "timm"} <= set(manifest["versions"])


def test_explain_keeps_the_machines_paths_out_of_its_files(photo, bundled, capsys):
    typed = str(Path(photo).resolve())
    weights = str(bundled / "weights" / "starter_resnet.safetensors")
    argv = ["explain", typed, "--model", "starter_resnet", "--weights", weights, "--out", "maps"]
    document = run_json(capsys, *argv)
    assert document["image"]["path"] == typed
    text = Path("maps/manifest.json").read_text("ascii")
    assert str(Path.cwd().parent) not in text
    assert str(bundled) not in text
    assert json.loads(text)["image"]["name"] == "photo.png"
    with Image.open("maps/overlay.png") as image:
        assert not image.info


def test_explain_replaces_its_own_files_and_no_others(photo, capsys):
    Path("maps").mkdir()
    Path("maps/overlay.png").write_text("old")
    Path("maps/notes.txt").write_text("mine")
    assert main(["explain", photo, "--out", "maps"]) == 0
    with Image.open("maps/overlay.png") as image:
        assert image.width >= 200
    assert Path("maps/notes.txt").read_text() == "mine"
    assert len(list(Path("maps").iterdir())) == 5


def test_compare_writes_sheet_table_and_maps(photo, capsys):
    argv = ["compare", photo, "--models", "starter_res2net, starter_resnet", "--target", "198"]
    document = run_json(capsys, *argv, "--out", "both")
    names = ["starter_res2net", "starter_resnet"]
    assert [m["model"] for m in document["models"]] == names
    assert sorted(p.name for p in Path("both").iterdir()) == sorted([
        *("comparison.png", "compare.json", "manifest.json", "table.csv", "agreements.csv"),
        *(f"cam-{i}-{name}.npy" for i, name in enumerate(names, 1)),
    ])  # fmt: skip
    on_disk = json.loads(Path("both/compare.json").read_text("ascii"))
    assert {k: v for k, v in document.items() if k not in ("out", "files")} == on_disk
    with Path("both/table.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == names
    for row, model in zip(rows, document["models"], strict=True):
        assert float(row["class_probability"]) == model["target"]["probability"]
        assert row["top1_label"] == model["top"][0]["label"]
        assert int(row["params"]) == registry.get(model["model"]).params
    for i, name in enumerate(names, 1):
        expected = engine().session.network(name).explain(photo, targets=[198]).maps[0].raw
        np.testing.assert_allclose(np.load(f"both/cam-{i}-{name}.npy"), expected, atol=1e-6)


def test_models_lists_the_registry_and_where_the_weights_are(bundled, capsys):
    document = run_json(capsys, "models")
    assert document["default"] == "starter_res2net"
    rows = {row["name"]: row for row in document["models"]}
    assert list(rows) == [spec.name for spec in registry.list_backbones()]
    assert [name for name, row in rows.items() if row["default"]] == ["starter_res2net"]
    starter = rows["starter_res2net"]
    file = bundled / "weights" / "starter_res2net.safetensors"
    assert starter["weights"]["kind"] == "bundled"
    assert starter["weights"]["bytes"] == file.stat().st_size
    assert starter["weights"]["download_bytes"] == 0
    assert (starter["top1"], starter["top1_source"]) == (0.25, "measured on four photographs")
    far = rows["res2net50d.in1k"]
    assert far["weights"]["kind"] == "download"
    assert far["weights"]["download_bytes"] == registry.get("res2net50d.in1k").download_bytes
    assert far["licence"] == "CC-BY-NC-SA-4.0"


def test_models_as_text_says_the_same(bundled, capsys):
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    for spec in registry.list_backbones():
        assert spec.name in out
    default = next(line for line in out.splitlines() if "starter_res2net" in line)
    assert default.startswith("*")
    assert "25.0 %" in default
    assert "non-commercial" in out


def test_models_without_any_weights_still_lists_them(bundled, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MSCNN_ASSETS", str(tmp_path / "nothing"))
    document = run_json(capsys, "models")
    assert document["default"] is None
    starter = next(r for r in document["models"] if r["name"] == "starter_resnet")
    assert starter["weights"]["kind"] == "missing"
    assert main(["models"]) == 0


def test_models_with_a_broken_manifest_say_how_to_restore_it(
    bundled, tmp_path, monkeypatch, capsys
):
    (tmp_path / "broken" / "weights").mkdir(parents=True)
    (tmp_path / "broken" / "weights" / "MANIFEST.json").write_text("{")
    monkeypatch.setenv("MSCNN_ASSETS", str(tmp_path / "broken"))
    assert main(["models"]) == 0
    (line,) = [x for x in capsys.readouterr().out.splitlines() if "is not valid JSON" in x]
    assert "restore" in line


def test_serve_hands_its_options_to_the_page(bundled, monkeypatch):
    import types

    calls = []
    page = types.ModuleType("mscnn.page.app")
    page.serve = lambda **options: calls.append(options)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mscnn.page.app", page)
    assert main(["serve"]) == 0
    assert main(["serve", "--host", "0.0.0.0", "--port", "8000", "--models", "a, b"]) == 0
    assert calls == [
        {"host": None, "port": None, "device": "auto", "models": [], "features": []},
        {"host": "0.0.0.0", "port": 8000, "device": "auto", "models": ["a", "b"], "features": []},
    ]
