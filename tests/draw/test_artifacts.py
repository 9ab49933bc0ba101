"""Files of results: read back by other readers, drawn where they should be, written whole."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mscnn.draw import files as artifacts
from mscnn.draw.files import DrawingOptions
from mscnn.errors import OptionError, OutputError
from mscnn.geometry import ViewGeometry
from mscnn.results.explanation import (
    Agreement,
    CamMap,
    ComparedModel,
    Comparison,
    Explanation,
    ModelFacts,
    PhotoInfo,
    Prediction,
    Score,
    WeightsInfo,
)

# One hour ahead of UTC, so that a forgotten conversion shows.
CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=1)))


def explained(
    raw, *, size: tuple[int, int] = (400, 200), name: str = "/home/me/lion.jpg", label: str = "lion"
) -> Explanation:
    """A map on the middle square of a landscape photo."""
    width, height = size
    short = min(size)
    resized = (round(64 * width / short), round(64 * height / short))
    offset = ((resized[0] - 64) // 2, (resized[1] - 64) // 2)
    geometry = ViewGeometry(photo=size, resized=resized, offset=offset, view=(64, 64))
    target = Score(3, label, 0.75)
    prediction = Prediction(
        photo=PhotoInfo(name, width, height, geometry.crop),
        model="starter_resnet",
        weights=WeightsInfo("bundled", "assets/weights/x.safetensors", "ab" * 32),
        device="cpu",
        top=(target, Score(0, "cat", 0.25)),
        logits=np.array([0, 0, 0, 1], dtype=np.float32),
    )
    cam = CamMap("layer4", 3, "gradcam", np.asarray(raw, dtype=np.float32), geometry)
    view = np.zeros((64, 64, 3), dtype=np.uint8)
    return Explanation(prediction, view, (target,), (cam,))


def grey(size: tuple[int, int] = (400, 200)) -> Image.Image:
    return Image.new("RGB", size, (100, 100, 100))


def pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        return np.asarray(image).astype(int)


def find(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.argwhere((picture == colour).all(axis=-1))


def explanation_files(explanation: Explanation, photo: Image.Image, **options) -> dict[str, bytes]:
    cam = explanation.maps[0]
    return artifacts.explanation_files(explanation, cam, photo, created=CREATED, **options)


def test_raw_map_is_kept_as_it_is():
    raw = np.array([[1.5, -2], [0.25, -1e-7]], dtype=np.float32)
    files = explanation_files(explained(raw), grey())
    read = np.load(io.BytesIO(files["cam.npy"]), allow_pickle=False)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, raw)


def test_manifest_says_what_was_done_and_no_path():
    files = explanation_files(
        explained([[4, 0], [0, -1]]), grey(), drawing=DrawingOptions(colour_map="viridis")
    )
    text = files["manifest.json"].decode("ascii")
    assert "/home" not in text
    manifest = json.loads(text)
    assert manifest["created"] == "2026-01-02T02:04:05+00:00"
    assert manifest["image"] == {
        **{"name": "lion.jpg", "width": 400, "height": 200},
        "crop": [100.0, 0.0, 300.0, 200.0],
    }
    assert manifest["class"] == {"index": 3, "label": "lion", "probability": 0.75}
    assert manifest["weights"]["sha256"] == "ab" * 32
    assert (manifest["layer"], manifest["method"]) == ("layer4", "gradcam")
    scale = manifest["colour_scale"]
    assert (scale["min"], scale["colour_map"], scale["opacity"]) == (0.0, "viridis", 0.6)
    assert scale["max"] == pytest.approx(4, rel=0.02)
    assert set(manifest["versions"]) == {"mscnn", "torch", "timm"}
    assert manifest["notices"] == []


def test_windows_paths_are_cut_too():
    files = explanation_files(explained([[1, 0]], name="C:\\Users\\me\\lion.jpg"), grey())
    assert json.loads(files["manifest.json"])["image"]["name"] == "lion.jpg"


def test_other_methods_name_the_package_they_come_from():
    explanation = explained([[1, 0]])
    cam = dataclasses.replace(explanation.maps[0], method="scorecam")
    manifest = artifacts.explanation_manifest(explanation, cam)
    assert manifest["method"] == "scorecam"
    assert manifest["versions"]["grad-cam"]


def test_overlay_is_hot_where_the_evidence_is():
    # Evidence in the top right place of the crop, which spans x 100..300 of the photo.
    drawing = DrawingOptions(opacity=1.0)
    files = explanation_files(explained([[0, 9], [0, 0]]), grey(), drawing=drawing)
    picture = pixels(files["overlay.png"])
    plain, dimmed = find(picture, (100, 100, 100)), find(picture, (40, 40, 40))
    top = int(dimmed[:, 0].min())  # below the title
    assert picture.shape[1] == 400
    assert dimmed[:, 1].min() == 0
    assert dimmed[:, 1].max() == 399
    assert plain[:, 1].min() == 100
    inside = picture[top : top + 200, 100:300]
    heat = np.abs(inside - 100).sum(axis=-1)
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert row < 60
    assert column > 140
    # The lower left place has nothing to show.
    assert (inside[150:, :50] == 100).all()


def test_empty_map_leaves_the_photo_and_says_so():
    files = explanation_files(explained([[-1, -2], [-3, 0]]), grey())
    assert len(find(pixels(files["overlay.png"]), (100, 100, 100))) >= 200 * 200
    manifest = json.loads(files["manifest.json"])
    assert manifest["colour_scale"]["max"] == 0
    assert "empty" in manifest["notices"][0]


@pytest.mark.parametrize(
    ("size", "width"), [((5000, 2000), 2048), ((400, 200), 400), ((32, 32), 256)]
)
def test_pictures_are_neither_huge_nor_tiny(size, width):
    files = explanation_files(explained([[1, 0]], size=size), grey(size))
    for name in ("overlay.png", "heatmap.png"):
        assert pixels(files[name]).shape[1] == width


def test_photo_may_be_given_shrunk():
    # The page keeps a smaller copy of the photo than the geometry speaks of.
    files = explanation_files(explained([[1, 0]], size=(2000, 1000)), grey((500, 250)))
    assert pixels(files["overlay.png"]).shape[1] == 500


@pytest.mark.parametrize(
    "options", [{"opacity": 1.1}, {"opacity": -0.1}, {"opacity": float("nan")}]
)
def test_opacity_outside_its_range_is_refused(options):
    with pytest.raises(OptionError, match="between 0 and 1"):
        DrawingOptions(**options)


def test_unknown_colour_map_is_refused():
    with pytest.raises(OptionError, match="inferno, viridis"):
        DrawingOptions(colour_map="jet")


def compared(*columns: ComparedModel) -> Comparison:
    return Comparison("lion", "last", columns, (Agreement("a", "b", 0.5, 0.25),), 4.0)


def column(name: str, raw, **changes) -> ComparedModel:
    facts = ModelFacts(params=1000, gmacs=0.5, input_px=64, top1=None, top1_source="")
    return ComparedModel(name, explained(raw, **changes), facts, 12.5)


FAILED = ComparedModel("c", None, None, None, "=HYPERLINK(1)\nnot here")


def test_comparison_files_hold_each_models_map():
    comparison = compared(column("a", [[1, 0]]), column("my/model ü", [[0, 2]]), FAILED)
    files = artifacts.comparison_files(comparison, grey(), created=CREATED)
    assert sorted(files) == [
        *("cam-1-a.npy", "cam-2-my_model__.npy", "compare.json", "comparison.png"),
        *("manifest.json", "table.csv"),
    ]
    np.testing.assert_array_equal(np.load(io.BytesIO(files["cam-2-my_model__.npy"])), [[0, 2]])
    manifest = json.loads(files["manifest.json"])
    assert manifest["files"] == [*files]
    assert manifest["created"] == "2026-01-02T02:04:05+00:00"
    assert manifest["models"]["a"]["sha256"] == "ab" * 32
    assert b"/home" not in files["compare.json"] + files["manifest.json"]
    assert json.loads(files["compare.json"])["agreements"][0]["spearman"] == 0.5


def test_table_is_read_back_by_csv_and_harmless_in_a_spreadsheet():
    danger = column("@SUM(A1)", [[1, 0]], label="+cmd|' /C calc'!A0")
    rows = list(csv.DictReader(io.StringIO(artifacts.comparison_csv(compared(danger, FAILED)))))
    assert rows[0]["model"] == "'@SUM(A1)"
    assert rows[0]["class"] == rows[0]["top1_label"] == "'+cmd|' /C calc'!A0"
    assert rows[1]["note"] == "'=HYPERLINK(1) not here"
    for cell in (cell for row in rows for cell in row.values()):
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert (rows[0]["params"], rows[0]["top1_published"]) == ("1000", "")
    assert (rows[0]["top1_probability"], rows[0]["top2_label"]) == ("0.75", "cat")
    assert rows[0]["top3_label"] == rows[1]["params"] == ""


def test_folder_is_made_with_its_parents_and_files_are_readable(tmp_path):
    folder = tmp_path / "a" / "b"
    artifacts.write_files(folder, {"x.txt": b"1", "y.txt": b"2"})
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {"x.txt": b"1", "y.txt": b"2"}
    # As other new folders, not the 0700 of temporary ones.
    other = tmp_path / "other"
    other.mkdir()
    assert folder.stat().st_mode == other.stat().st_mode
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "other"]


def test_existing_folder_keeps_other_files(tmp_path):
    (tmp_path / "x.txt").write_bytes(b"old")
    (tmp_path / "keep.txt").write_bytes(b"mine")
    artifacts.write_files(tmp_path, {"x.txt": b"new"})
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {
        **{"x.txt": b"new", "keep.txt": b"mine"}
    }


@pytest.mark.parametrize("existing", [True, False])
def test_failure_in_the_middle_leaves_nothing_new(tmp_path, monkeypatch, existing):
    folder = tmp_path / "out" / "deep"
    if existing:
        artifacts.write_files(folder, {"x.txt": b"old"})
    write, calls = Path.write_bytes, []

    def second_fails(self: Path, content: bytes) -> int:
        calls.append(self.name)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return write(self, content)

    monkeypatch.setattr(Path, "write_bytes", second_fails)
    with pytest.raises(OutputError, match="the disk is full"):
        artifacts.write_files(folder, {"x.txt": b"new", "y.txt": b"new"})
    left = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")}
    assert left == ({"out", "out/deep", "out/deep/x.txt"} if existing else set())
    if existing:
        assert (folder / "x.txt").read_bytes() == b"old"


@pytest.mark.parametrize("below", ["", "maps", "maps/deep"])
def test_file_in_the_way_is_refused_by_name(tmp_path, below, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("taken").write_text("mine")
    with pytest.raises(OutputError, match="'taken' is not a folder"):
        artifacts.check_folder(Path("taken") / below)
    with pytest.raises(OutputError, match="'taken' is not a folder"):
        artifacts.write_files(Path("taken") / below, {"x.txt": b"1"})
    assert Path("taken").read_text() == "mine"


def test_folder_without_permission_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everywhere
    with pytest.raises(OutputError, match="may not be written"):
        artifacts.check_folder(tmp_path / "out")
