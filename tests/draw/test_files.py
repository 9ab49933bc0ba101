"""Files of results: read back by other readers, drawn where they should be, whole also in part."""

import csv
import dataclasses
import io
import json
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mscnn.draw import charts, files
from mscnn.draw import figures as look
from mscnn.draw.files import DrawingOptions
from mscnn.engine.lens_options import fair_baseline
from mscnn.errors import OptionError
from mscnn.models import registry
from mscnn.results.evaluation import ClassResult
from mscnn.results.explanation import Score
from mscnn.results.features import FeatureHead
from mscnn.scales.receptive_field import known
from tests.results import samples
from tests.results.samples import FLAT, PATHS, STEPS, UNKNOWN


def grey(size=(400, 200)):
    return Image.new("RGB", size, (100, 100, 100))


PHOTO = grey()


def pixels(png):
    with Image.open(io.BytesIO(png)) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        return np.asarray(image).astype(int)


def find(picture, colour):
    return np.argwhere((picture == colour).all(axis=-1))


def rows(content):
    return list(csv.DictReader(io.StringIO(content.decode("utf-8"))))


def arrays(content):
    with np.load(io.BytesIO(content), allow_pickle=False) as found:
        return dict(found)


def is_now(created):
    """Whether a time to the second, in UTC, was a moment ago."""
    moment, now = datetime.fromisoformat(created), datetime.now(timezone.utc)
    return created[19:] == "+00:00" and timedelta() <= now - moment < timedelta(minutes=10)


def manifest_of(found):
    """The manifest of files; it lists them and gives the time, and no file names a folder."""
    for content in found.values():
        assert b"/home" not in content
    manifest: dict[str, Any] = json.loads(found["manifest.json"].decode("ascii"))
    assert is_now(manifest["created"])
    assert {"mscnn", "torch", "timm"} <= set(manifest["versions"])
    assert manifest.get("files", [*found]) == [*found]
    return manifest


def explanation_files(explanation, photo=PHOTO, **options):
    cam = explanation.maps[0]
    return files.explanation_files(explanation, cam, photo, **options)


def test_raw_map_is_kept_as_it_is():
    raw = np.array([[1.5, -2], [0.25, -1e-7]], dtype=np.float32)
    read = np.load(io.BytesIO(explanation_files(samples.explained(raw))["cam.npy"]))
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, raw)


def test_manifest_says_what_was_done_and_no_path():
    found = explanation_files(samples.explained(), drawing=DrawingOptions(colour_map="viridis"))
    manifest = manifest_of(found)
    assert manifest["image"] == {
        **{"name": "lion.jpg", "width": 400, "height": 200}, "crop": [100.0, 0.0, 300.0, 200.0],
    }  # fmt: skip
    assert manifest["class"] == {"index": 3, "label": "lion", "probability": 0.75}
    assert manifest["weights"]["sha256"] == "ab" * 32
    assert (manifest["layer"], manifest["method"]) == ("layer4", "gradcam")
    scale = manifest["colour_scale"]
    assert (scale["min"], scale["colour_map"], scale["opacity"]) == (0.0, "viridis", 0.6)
    assert scale["max"] == pytest.approx(4, rel=0.02)
    assert set(manifest["versions"]) == {"mscnn", "torch", "timm"}
    assert manifest["notices"] == []


def test_other_methods_name_the_package_they_come_from():
    explanation = samples.explained(name="C:\\Users\\me\\lion.jpg")
    cam = dataclasses.replace(explanation.maps[0], method="scorecam")
    manifest = manifest_of(files.explanation_files(explanation, cam, PHOTO))
    assert manifest["method"] == "scorecam"
    assert manifest["versions"]["grad-cam"]
    # Windows' paths are cut, too.
    assert manifest["image"]["name"] == "lion.jpg"


def test_overlay_is_hot_where_the_evidence_is():
    # Evidence in the top right corner of the crop, which spans x 100..300 of the photo.
    found = explanation_files(
        samples.explained([[0, 9], [0, 0]]), drawing=DrawingOptions(opacity=1.0)
    )
    picture = pixels(found["overlay.png"])
    plain, dimmed = find(picture, (100, 100, 100)), find(picture, (40, 40, 40))
    top = int(dimmed[:, 0].min())  # below the title
    assert picture.shape[1] == 400
    assert (dimmed[:, 1].min(), dimmed[:, 1].max(), plain[:, 1].min()) == (0, 399, 100)
    inside = picture[top : top + 200, 100:300]
    heat = np.abs(inside - 100).sum(axis=-1)
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert row < 60
    assert column > 140
    # The lower left corner has nothing to show.
    assert (inside[150:, :50] == 100).all()


def test_empty_map_leaves_the_photo_and_says_so():
    found = explanation_files(samples.explained([[-1, -2], [-3, 0]]))
    assert len(find(pixels(found["overlay.png"]), (100, 100, 100))) >= 200 * 200
    manifest = manifest_of(found)
    assert manifest["colour_scale"]["max"] == 0
    assert "empty" in manifest["notices"][0]


@pytest.mark.parametrize(("size", "given", "width"), [
    ((5000, 2000), (5000, 2000), 2048), ((400, 200), (400, 200), 400), ((32, 32), (32, 32), 256),
    # The page keeps a smaller copy of the photo than the geometry speaks of.
    ((2000, 1000), (500, 250), 500),
])  # fmt: skip
def test_pictures_are_neither_huge_nor_tiny(size, given, width):
    found = explanation_files(samples.explained([[1, 0]], size=size), grey(given))
    for name in ("overlay.png", "heatmap.png"):
        assert pixels(found[name]).shape[1] == width


@pytest.mark.parametrize(("options", "says"), [
    ({"opacity": 1.1}, "between 0 and 1"), ({"opacity": -0.1}, "between 0 and 1"),
    ({"opacity": float("nan")}, "between 0 and 1"), ({"colour_map": "jet"}, "inferno, viridis"),
])  # fmt: skip
def test_options_outside_their_range_are_refused(options, says):
    with pytest.raises(OptionError, match=says):
        DrawingOptions(**options)


def comparison_files(*columns):
    return files.comparison_files(samples.compared(*columns), PHOTO)


def test_comparison_files_hold_each_models_map():
    found = comparison_files(
        samples.column("a"), samples.column("my/model ü", [[0, 2]]), samples.failed()
    )
    assert list(found) == [
        *("comparison.png", "compare.json", "table.csv", "agreements.csv"),
        *("cam-1-a.npy", "cam-2-my_model__.npy", "manifest.json"),
    ]
    np.testing.assert_array_equal(np.load(io.BytesIO(found["cam-2-my_model__.npy"])), [[0, 2]])
    manifest = manifest_of(found)
    assert manifest["image"] == {"name": "lion.jpg"}
    assert manifest["models"]["a"]["sha256"] == "ab" * 32
    assert json.loads(found["compare.json"])["agreements"][0]["iou_top20"] == 0.25
    assert rows(found["agreements.csv"]) == [
        {"first": "a", "second": "b", "spearman": "", "iou_top20": "0.25"}
    ]


def test_table_is_read_back_by_csv_and_harmless_in_a_spreadsheet():
    danger = samples.column("@SUM(A1)", target=Score(3, "+cmd|' /C calc'!A0", 0.75))
    table = rows(comparison_files(danger, samples.failed("=HYPERLINK(1)\nnot here"))["table.csv"])
    assert list(table[0])[:14] == [
        *("model", "params", "gmacs", "input_px", "top1_published", "top1_source", "latency_ms"),
        *(
            "latency_max_ms", "threads", "class", "class_probability", "weights_source",
            "weights_sha256", "note",
        ),
    ]  # fmt: skip
    assert table[0]["model"] == "'@SUM(A1)"
    assert table[0]["class"] == table[0]["top1_label"] == "'+cmd|' /C calc'!A0"
    assert table[1]["note"] == "'=HYPERLINK(1) not here"
    for cell in (cell for row in table for cell in row.values()):
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert (table[0]["params"], table[0]["top1_published"]) == ("1000", "0.5")
    assert (table[0]["top1_probability"], table[0]["top2_label"]) == ("0.75", "cat")
    assert table[0]["top3_label"] == table[0]["top5_probability"] == table[1]["params"] == ""


def three_blocks():
    return samples.scaled(
        samples.block("layer1.0", "parallel"),
        samples.block("layer1.1", maps=[[[5, -1], [0, -2]], [[0, 0], [0, 1]]]),
        samples.block("layer1.2", maps=-FLAT, shares=(0.0, 0.0)),
    )


def test_scales_are_written_with_a_strip_for_each_hierarchy():
    report = three_blocks()
    found = files.scales_files(report, PHOTO, drawing=DrawingOptions(colour_map="viridis"))
    assert list(found) == [
        *("scales.json", "attribution.png", "attribution.csv"),
        *("splits-layer1.1.png", "splits-layer1.2.png", "splits.npz", "manifest.json"),
    ]
    maps = arrays(found["splits.npz"])
    assert list(maps) == ["layer1.0", "layer1.1", "layer1.2"]
    for one in report.blocks:
        assert maps[one.block].dtype == np.float32
        np.testing.assert_array_equal(maps[one.block], one.maps)
    table = rows(found["attribution.csv"])
    assert [(r["block"], r["split"]) for r in table] == [
        (f"layer1.{number}", split) for number in range(3) for split in "01"
    ]
    assert table[2] == {
        **{"block": "layer1.1", "split": "0", "path": "1x1 > 3x3", "rf_min_px": "11"},
        **{"rf_max_px": "27", "evidence": "1.0", "share": "0.25"},
    }
    manifest = manifest_of(found)
    assert manifest["image"]["name"] == "lion.jpg"
    assert manifest["class"] == {"index": 3, "label": "lion", "probability": 0.75}
    assert manifest["weights"]["sha256"] == "ab" * 32
    assert manifest["colour_scale"]["colour_map"] == "viridis"
    # 0.25 x 27 + 0.75 x 19 in two blocks; through the third no evidence passed.
    shown = json.loads(found["scales.json"])
    assert shown["weighted_rf_px"] == manifest["weighted_rf_px"] == 21.0


def test_an_archive_holds_its_arrays_alone(monkeypatch):
    """``savez_compressed`` of NumPy 2.0 and 2.1 keeps whatever is named, ``allow_pickle`` too."""
    given = []
    monkeypatch.setattr(np, "savez_compressed", lambda file, **arrays: given.extend(arrays))
    report = three_blocks()
    files.scales_files(report, PHOTO)
    assert given == [block.block for block in report.blocks]


def test_split_attention_is_written_beside_the_scales():
    gates = [np.full((radix, 4), 1 / radix) for radix in (2, 4)]
    attended = samples.attended(
        *(samples.attention(f"layer1.{i}", one) for i, one in enumerate(gates))
    )
    found = files.scales_files(three_blocks(), PHOTO, attention=attended)
    assert {"attention.json", "attention.csv", "attention.npz"} <= set(found)
    manifest_of(found)
    kept = arrays(found["attention.npz"])
    np.testing.assert_array_equal(kept["layer1.1.gates"], np.full((4, 4), 0.25))
    np.testing.assert_array_equal(kept["layer1.0.maps"].ravel(), np.arange(8))
    table = rows(found["attention.csv"])
    assert list(table[0])[:5] == ["block", "radix", "cardinality", "channels", "entropy_bits"]
    assert [[row[f"mean_gate_{i}"] for i in range(4)] for row in table] == [
        ["0.5", "0.5", "", ""], ["0.25"] * 4,
    ]  # fmt: skip


def test_receptive_fields_are_written_exactly():
    found = files.receptive_field_files(samples.theory(), samples.theory("=base"))
    assert list(found) == ["rf.json", "rf.csv", "spectrum.png", "growth.png", "manifest.json"]
    assert manifest_of(found)["baseline"] == "=base"
    shown = json.loads(found["rf.json"])
    assert shown["stages"][0]["paths"] == PATHS + 1
    assert shown["stages"][0]["spectrum"] == [[11, 1], [35, PATHS]]
    assert shown["baseline"]["model"] == "=base"
    table = rows(found["rf.csv"])
    assert [r["level"] for r in table] == ["stage", "block", "split", "split"] * 2
    assert {r["model"] for r in table[4:]} == {"'=base"}
    assert table[2] == {
        **{"model": "net", "level": "split", "name": "layer1.1", "split": "0"},
        **{"kind": "hierarchy", "path": "1x1 > 3x3", "stride_px": "4", "rf_min_px": "11"},
        **{"rf_max_px": "35", "distinct_sizes": "2", "paths": str(PATHS + 1)},
    }
    assert (table[0]["name"], table[0]["kind"], table[1]["kind"]) == ("layer1", "", "hierarchy")


def test_a_network_without_known_blocks_or_baseline_is_drawn_by_its_stages():
    found = files.receptive_field_files(samples.theory(blocks=False), None)
    assert json.loads(found["rf.json"])["baseline"] is None
    assert [r["level"] for r in rows(found["rf.csv"])] == ["stage"]
    assert pixels(found["growth.png"]).min() < 100
    assert look.png(charts.field_charts([samples.theory(blocks=False)]))


def test_the_baseline_is_the_registrys():
    for spec in registry.list_backbones("multi-scale"):
        beside = fair_baseline(spec.name)
        assert (beside.model if beside else None) == spec.baseline
    assert fair_baseline("resnet50.tv_in1k") is None
    assert fair_baseline("no_such_net") is None


@pytest.mark.parametrize("name", ["res2net101_26w_4s.in1k", "resnest50d.in1k"])
def test_registry_models_are_written_without_weights(name):
    field = known(name)
    assert field is not None
    found = files.receptive_field_files(field, fair_baseline(name))
    table = [r for r in rows(found["rf.csv"]) if r["model"] == name and r["level"] == "stage"]
    assert [int(r["rf_max_px"]) for r in table] == [s.rf_max_px for s in field.stages]


def test_units_are_written_with_their_gradients():
    measured = samples.effective()
    found = files.unit_files([measured], name="/home/me/lion.jpg", point=(3, 4))
    assert list(found) == [
        *("unit.json", "unit.csv", "gradient-layer2.1-split1-random.npy", "manifest.json")
    ]
    manifest = manifest_of(found)
    assert (manifest["image"], manifest["point"]) == ({"name": "lion.jpg"}, {"x": 3, "y": 4})
    assert json.loads(found["unit.json"])["units"][0]["squares"][1]["side_px"] == 7
    (row,) = rows(found["unit.csv"])
    assert (row["layer"], row["side_99_px"], row["log_side_50_px"]) == ("layer2.1", "7", "3")
    gradient = np.load(io.BytesIO(found["gradient-layer2.1-split1-random.npy"]))
    np.testing.assert_array_equal(gradient, measured.gradient)


def test_a_sweep_is_written_with_its_numbers():
    sweep = samples.swept(samples.curve("a", *STEPS), UNKNOWN)
    found = files.sweep_files(sweep, name="lion.jpg")
    assert list(found) == ["sweep.json", "sweep.csv", "sweep.png", "film.png", "manifest.json"]
    table = rows(found["sweep.csv"])
    assert list(table[0]) == [
        *("model", "class", "factor", "size_px", "probability", "rank"),
        *("energy_ratio", "weighted_rf_px"),
    ]
    assert [(r["model"], r["factor"], r["size_px"]) for r in table] == [
        ("a", "2.0", "128"), ("a", "1.0", "64"), ("a", "0.5", "32"),
    ]  # fmt: skip
    assert [r["energy_ratio"] for r in table] == ["1.5", "1.5", ""]
    manifest = manifest_of(found)
    assert manifest["image"] == {"name": "lion.jpg"}
    assert manifest["models"][1]["note"] == "it does not know lions"
    assert "steps" not in manifest["models"][0]
    assert manifest["colour_scale"]["clipped"] is True
    # A quarter of the way from 1 to 4: an empty map has no say, nor does the densest set the scale.
    assert manifest["colour_scale"]["max"] == pytest.approx(1.75)
    assert pixels(found["sweep.png"]).shape[1] == 1200
    assert pixels(found["film.png"]).shape[1] == 2000


def test_a_sweep_that_was_stopped_is_written_too():
    stopped = samples.swept(samples.curve("a", STEPS[0], octaves=None), partial=True)
    found = files.sweep_files(stopped)
    assert json.loads(found["sweep.json"])["partial"] is True
    assert len(rows(found["sweep.csv"])) == 1
    assert "film.png" in found


def test_a_sweep_of_nothing_has_a_table_of_headings_and_no_film():
    found = files.sweep_files(samples.swept(UNKNOWN))
    assert "film.png" not in found
    assert found["sweep.csv"].startswith(b"model,class,factor,size_px,probability,rank,")
    assert rows(found["sweep.csv"]) == []


def test_an_evaluation_is_written_with_its_tables():
    found = files.evaluation_files(samples.evaluated())
    assert list(found) == [
        *("evaluation.json", "classes.csv", "confusion.csv", "classes.png", "confusion.png"),
        *("reliability.png", "manifest.json"),
    ]
    assert manifest_of(found)["model"] == "starter_resnet"
    assert found["classes.csv"].decode().splitlines() == [
        "index,class,images,top1,top5,predicted,precision", "0,thing 0,2,0.5,1.0,1,1.0",
        "1,'=thing 1,1,1.0,1.0,0,",
    ]  # fmt: skip
    assert found["confusion.csv"].decode().splitlines() == [
        "index,class,answer_index,answer,images",
        *("0,thing 0,0,thing 0,1", "0,thing 0,2,thing 2,1", "1,thing 1,1,thing 1,1"),
    ]
    shown = json.loads(found["evaluation.json"])
    assert is_now(shown["created"])
    assert shown["classes"][1]["precision"] is None
    assert shown["reliability"][9]["images"] == 3
    assert shown["class_map"]["=zero"] == {"index": 0, "label": "thing 0"}


def test_names_that_are_no_text_do_not_stop_an_evaluations_files():
    name = "caf\udce9"  # a folder's name of Latin-1
    each = tuple(ClassResult(i, name, 2, 0.5, 1.0, 1, 1.0) for i in range(2))
    labels = dict.fromkeys(range(2), name)
    confusion = {(0, 1): 1}
    made = samples.evaluated(2, confusion=confusion, classes=each, labels=labels)
    found = files.evaluation_files(made)
    assert rows(found["classes.csv"])[0]["class"] == "caf\\udce9"
    assert rows(found["confusion.csv"])[0]["answer"] == "caf\\udce9"
    assert json.loads(found["evaluation.json"])["classes"][0]["label"] == name


@pytest.mark.parametrize("classes", [2, 40, 41, 1000])
def test_pictures_of_any_number_of_classes(classes):
    confusion = {(i, (i + 1) % classes): i % 7 + 1 for i in range(classes)}
    each = tuple(ClassResult(i, f"thing {i}", 9, 0.0, 0.5, 1, 0.0) for i in range(classes))
    found = files.evaluation_files(samples.evaluated(classes, confusion=confusion, classes=each))
    for name in ("classes.png", "confusion.png", "reliability.png"):
        picture = Image.open(io.BytesIO(found[name]))
        assert max(picture.size) <= 1700
        assert len(np.unique(np.asarray(picture.convert("L")))) > 10


def test_neighbours_are_written_with_what_was_searched():
    head = FeatureHead(rows=9, width=4, model="net", weights_sha256="ab" * 32, stage="layer3")
    near = [("a/1.jpg", 0.75), ("=b.jpg", 0.5)]
    found = files.features_files(head, "/home/me/lion.jpg", near)
    manifest = manifest_of(found)
    assert (manifest["image"], manifest["stage"], manifest["rows"]) == (
        *({"name": "lion.jpg"}, "layer3"), 9,
    )  # fmt: skip
    assert rows(found["neighbours.csv"])[1] == {
        **{"rank": "2", "path": "'=b.jpg", "similarity": "0.5"}
    }
    assert json.loads(found["neighbours.json"])["neighbours"][0]["path"] == "a/1.jpg"
