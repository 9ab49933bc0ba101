"""What a visitor may keep: complete archives, written nowhere but into gradio's cache."""

from __future__ import annotations

import csv
import io
import json
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mscnn.page import downloads, handlers
from tests.page.serving import MODELS, files_below


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's temporary folder during the test."""
    folder = tmp_path / "system-tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def looked(engine, photo):
    return handlers.look(engine, photo, MODELS[0], "gradcam")


def test_an_explanation_is_packed_with_its_numbers(looked, cache, temporary):
    before = files_below(cache)
    path = Path(downloads.explanation_zip(looked, 0.3, "viridis"))
    assert files_below(cache) - before == {path}
    assert files_below(temporary) == set()
    assert path.suffix == ".zip"
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        names = {"overlay.png", "heatmap.png", "cam.npy", "manifest.json"}
        assert set(archive.namelist()) == names
        raw = np.load(io.BytesIO(archive.read("cam.npy")), allow_pickle=False)
        manifest = json.loads(archive.read("manifest.json"))
        with Image.open(io.BytesIO(archive.read("overlay.png"))) as overlay:
            assert overlay.width >= 256
    np.testing.assert_array_equal(raw, looked.cam.raw)
    assert manifest["class"]["index"] == looked.target
    assert manifest["layer"] == "layer4"
    assert manifest["colour_scale"]["colour_map"] == "viridis"
    assert manifest["colour_scale"]["opacity"] == 0.3
    assert manifest["weights"]["sha256"] == looked.explanation.prediction.weights.sha256
    assert str(cache.parent) not in json.dumps(manifest)


def test_a_comparison_is_packed_with_table_and_maps(engine, photo, cache, temporary):
    comparison = engine.compare(photo, MODELS, name="")
    before = files_below(cache)
    path = Path(downloads.comparison_zip(comparison, photo, 0.6, "inferno"))
    assert files_below(cache) - before == {path}
    assert files_below(temporary) == set()
    with zipfile.ZipFile(path) as archive:
        assert set(archive.namelist()) == {
            "comparison.png",
            "compare.json",
            "table.csv",
            "manifest.json",
            "cam-1-starter_res2net.npy",
            "cam-2-starter_resnet.npy",
        }
        rows = list(csv.DictReader(io.StringIO(archive.read("table.csv").decode())))
        raw = np.load(io.BytesIO(archive.read("cam-2-starter_resnet.npy")))
        everything = b"".join(archive.read(name) for name in archive.namelist())
    assert [row["model"] for row in rows] == list(MODELS)
    cam = comparison.columns[1].cam
    assert cam is not None
    np.testing.assert_array_equal(raw, cam.raw)
    assert str(cache.parent).encode() not in everything


def test_a_file_name_is_safe_whatever_the_class_is_called(engine, photo, looked, cache):
    shown = handlers.choose_class(engine, photo, looked, 4)
    assert "<b" in shown.label
    path = Path(downloads.explanation_zip(shown, 0.6, "inferno"))
    assert set(path.name) <= set(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
    )
    assert path.parent.parent == cache


@pytest.mark.parametrize("name", ["../../evil.zip", "/etc/passwd", "..", "a" * 500 + ".zip"])
def test_no_name_leads_out_of_the_cache(name, cache):
    path = Path(downloads.cache_file(downloads._safe(f"mscnn-{name}"), b"x")).resolve()
    assert path.is_relative_to(cache.resolve())
    assert path.read_bytes() == b"x"


def test_two_visitors_get_two_files(cache):
    first, second = (downloads.cache_file("a.txt", text) for text in (b"one", b"two"))
    assert Path(first).read_bytes() == b"one"
    assert Path(second).read_bytes() == b"two"
