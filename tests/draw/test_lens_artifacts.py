"""Files of the lens: read back by other readers, drawn on one scale, whole also when partial."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mscnn.draw import files as artifacts
from mscnn.draw.files import DrawingOptions
from mscnn.draw.files.scales import attention_csv
from mscnn.engine.lens_options import fair_baseline
from mscnn.errors import OutputError
from mscnn.geometry import ViewGeometry
from mscnn.models import registry
from mscnn.results.explanation import PhotoInfo, Prediction, Score, WeightsInfo
from mscnn.results.scales import (
    AttentionReport,
    BlockAttention,
    BlockKind,
    BlockScales,
    ScaleReport,
    SplitEvidence,
    Sweep,
    SweepCurve,
    SweepStep,
)
from mscnn.scales.receptive_field import (
    BlockField,
    ReceptiveField,
    Spectrum,
    SplitField,
    StageField,
    known,
)

# One hour ahead of UTC, so that a forgotten conversion shows.
CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=1)))
# The middle square of a photo of 400 x 200 px, seen at 64 px.
GEOMETRY = ViewGeometry(photo=(400, 200), resized=(128, 64), offset=(32, 0), view=(64, 64))
LION = Score(3, "lion", 0.75)
PHOTO = Image.new("RGB", (400, 200), (100, 100, 100))


def predicted() -> Prediction:
    return Prediction(
        photo=PhotoInfo("/home/me/lion.jpg", 400, 200, GEOMETRY.crop),
        model="starter_res2net",
        weights=WeightsInfo("bundled", "assets/weights/x.safetensors", "ab" * 32),
        device="cpu",
        top=(LION, Score(0, "cat", 0.25)),
        logits=np.array([0, 0, 0, 1], dtype=np.float32),
    )


def block(
    name: str, kind: BlockKind, maps: Any, shares: Sequence[float] = (0.25, 0.75)
) -> BlockScales:
    paths = (("1x1", "3x3"), ("1x1",))
    splits = tuple(
        SplitEvidence(i, paths[i], 11, 27 - 8 * i, 4 * share, share)
        for i, share in enumerate(shares)
    )
    raw = np.asarray(maps, dtype=np.float32)
    return BlockScales(name, kind, 4, splits, raw, 4.0, 3, GEOMETRY)


FLAT = np.stack([np.full((2, 2), 1), np.full((2, 2), 3)])


def scaled(*blocks: BlockScales) -> ScaleReport:
    view = np.zeros((64, 64, 3), dtype=np.uint8)
    return ScaleReport(predicted(), LION, blocks, view)


def three_blocks() -> ScaleReport:
    return scaled(
        block("layer1.0", "parallel", FLAT),
        block("layer1.1", "hierarchy", [[[5, -1], [0, -2]], [[0, 0], [0, 1]]]),
        block("layer1.2", "hierarchy", -FLAT, (0.0, 0.0)),
    )


def attended() -> AttentionReport:
    def one(name: str, radix: int) -> BlockAttention:
        gates = np.full((radix, 4), 1 / radix, dtype=np.float32)
        maps = np.arange(radix * 4, dtype=np.float32).reshape(radix, 2, 2)
        return BlockAttention(name, radix, 1, gates, 1.0, None, maps, 3, GEOMETRY)

    return AttentionReport(predicted(), LION, (one("layer1.0", 2), one("layer1.1", 4)), 0)


def stepped(factor: float, raw: Any, **changes: Any) -> SweepStep:
    shade = np.full((64, 64, 3), 100, dtype=np.uint8)
    step = SweepStep(
        factor=factor,
        rect=(0, 0, 64, 64),
        probability=0.5,
        rank=1,
        energy_ratio=1.0,
        weighted_rf_px=40.0,
        raw=np.asarray(raw, dtype=np.float32),
        view=shade,
    )
    return dataclasses.replace(step, **changes)


def swept(*curves: SweepCurve, partial: bool = False) -> Sweep:
    return Sweep("lion", (2.0, 1.0, 0.5), "mean", (0.0, 0.0, 1.0, 1.0), curves, partial)


def curve(name: str, *steps: SweepStep, octaves: float | None = 1.0) -> SweepCurve:
    return SweepCurve(name, 3, "lion", steps, octaves, 0.5)


THREE = (
    stepped(2.0, [[1, 1], [1, 1]]),
    stepped(1.0, [[0, 8], [0, 0]]),
    stepped(0.5, [[-1, 0], [0, 0]], energy_ratio=None),
)
FAILED = SweepCurve("=other", None, "", (), None, None, "it does not know lions")


def rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode("utf-8"))))


def pixels(png: bytes) -> np.ndarray[Any, np.dtype[np.int64]]:
    with Image.open(io.BytesIO(png)) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        return np.asarray(image).astype(int)


def test_scales_are_written_with_a_strip_for_each_hierarchy() -> None:
    report = three_blocks()
    files = artifacts.scales_files(report, PHOTO, created=CREATED)
    assert list(files) == [
        *("scales.json", "attribution.png", "attribution.csv"),
        *("splits-layer1.1.png", "splits-layer1.2.png", "splits.npz", "manifest.json"),
    ]
    with np.load(io.BytesIO(files["splits.npz"]), allow_pickle=False) as maps:
        assert sorted(maps) == ["layer1.0", "layer1.1", "layer1.2"]
        for one in report.blocks:
            assert maps[one.block].dtype == np.float32
            np.testing.assert_array_equal(maps[one.block], one.maps)
    table = rows(files["attribution.csv"])
    assert [(r["block"], r["split"]) for r in table] == [
        (f"layer1.{number}", split) for number in range(3) for split in "01"
    ]
    assert table[2] == {
        **{"block": "layer1.1", "split": "0", "path": "1x1 > 3x3", "rf_min_px": "11"},
        **{"rf_max_px": "27", "evidence": "1.0", "share": "0.25"},
    }
    assert pixels(files["attribution.png"]).shape[1] == 1200


def test_scales_say_what_was_done_and_no_path() -> None:
    files = artifacts.scales_files(
        three_blocks(), PHOTO, created=CREATED, drawing=DrawingOptions(colour_map="viridis")
    )
    assert b"/home" not in files["manifest.json"] + files["scales.json"]
    manifest = json.loads(files["manifest.json"])
    assert manifest["created"] == "2026-01-02T02:04:05+00:00"
    assert manifest["files"] == [*files]
    assert manifest["image"]["name"] == "lion.jpg"
    assert manifest["class"] == {"index": 3, "label": "lion", "probability": 0.75}
    assert manifest["weights"]["sha256"] == "ab" * 32
    assert manifest["colour_scale"]["colour_map"] == "viridis"
    document = json.loads(files["scales.json"])
    # 0.25 x 27 + 0.75 x 19 in two blocks; through the third no evidence passed.
    assert document["weighted_rf_px"] == manifest["weighted_rf_px"] == 21.0


def test_split_attention_is_written_beside_the_scales() -> None:
    files = artifacts.scales_files(three_blocks(), PHOTO, attention=attended(), created=CREATED)
    assert {"attention.json", "attention.csv", "attention.npz"} <= set(files)
    assert json.loads(files["manifest.json"])["files"] == [*files]
    assert b"/home" not in files["attention.json"]
    with np.load(io.BytesIO(files["attention.npz"]), allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["layer1.1.gates"], np.full((4, 4), 0.25))
        np.testing.assert_array_equal(arrays["layer1.0.maps"].ravel(), np.arange(8))
    table = rows(attention_csv(attended()))
    assert [r["radix"] for r in table] == ["2", "4"]
    assert [table[0][f"mean_gate_{i}"] for i in range(4)] == ["0.5", "0.5", "", ""]
    assert [table[1][f"mean_gate_{i}"] for i in range(4)] == ["0.25"] * 4


def traced(name: str = "net", *, blocks: bool = True) -> ReceptiveField:
    extent = {"low": -5, "high": 6}
    many = Spectrum({11: 1, 35: 10**30})
    splits = (SplitField(0, ("1x1", "3x3"), many, stride_px=4, **extent),)
    one = BlockField("layer1.1", "hierarchy", 4, splits, many, **extent)
    stage = StageField("layer1", 4, many, **extent)
    return ReceptiveField(name, 224, (stage,), (one,) if blocks else ())


def test_receptive_fields_are_written_exactly() -> None:
    files = artifacts.receptive_field_files(traced(), traced("=base"))
    assert list(files) == ["rf.json", "rf.csv", "spectrum.png", "growth.png"]
    document = json.loads(files["rf.json"])
    assert document["stages"][0]["paths"] == 10**30 + 1
    assert document["stages"][0]["spectrum"] == [[11, 1], [35, 10**30]]
    assert document["baseline"]["model"] == "=base"
    table = rows(files["rf.csv"])
    assert [r["level"] for r in table] == ["stage", "block", "split"] * 2
    assert {r["model"] for r in table[3:]} == {"'=base"}
    assert table[2] == {
        **{"model": "net", "level": "split", "name": "layer1.1", "split": "0"},
        **{"kind": "hierarchy", "path": "1x1 > 3x3", "stride_px": "4", "rf_min_px": "11"},
        **{"rf_max_px": "35", "distinct_sizes": "2", "paths": str(10**30 + 1)},
    }


def test_a_network_without_known_blocks_or_baseline_is_drawn_by_its_stages() -> None:
    files = artifacts.receptive_field_files(traced(blocks=False), None)
    assert json.loads(files["rf.json"])["baseline"] is None
    assert [r["level"] for r in rows(files["rf.csv"])] == ["stage"]
    assert pixels(files["growth.png"]).min() < 100


def test_the_baseline_is_the_registrys() -> None:
    for spec in registry.list_backbones("multi-scale"):
        beside = fair_baseline(spec.name)
        assert (beside.model if beside else None) == spec.baseline
    assert fair_baseline("resnet50.tv_in1k") is None
    assert fair_baseline("no_such_net") is None


@pytest.mark.parametrize("name", ["res2net101_26w_4s.in1k", "resnest50d.in1k"])
def test_registry_models_are_written_without_weights(name: str) -> None:
    field = known(name)
    assert field is not None
    files = artifacts.receptive_field_files(field, fair_baseline(name))
    table = [r for r in rows(files["rf.csv"]) if r["model"] == name and r["level"] == "stage"]
    assert [int(r["rf_max_px"]) for r in table] == [s.rf_max_px for s in field.stages]


def test_a_sweep_is_written_with_its_numbers() -> None:
    files = artifacts.sweep_files(
        swept(curve("a", *THREE), FAILED), name="lion.jpg", created=CREATED
    )
    assert list(files) == ["sweep.json", "sweep.csv", "sweep.png", "film.png", "manifest.json"]
    table = rows(files["sweep.csv"])
    assert [(r["model"], r["factor"], r["size_px"]) for r in table] == [
        ("a", "2.0", "128"),
        ("a", "1.0", "64"),
        ("a", "0.5", "32"),
    ]
    assert [r["energy_ratio"] for r in table] == ["1.0", "1.0", ""]
    manifest = json.loads(files["manifest.json"])
    assert (manifest["created"], manifest["image"]) == (
        "2026-01-02T02:04:05+00:00",
        {"name": "lion.jpg"},
    )
    assert manifest["files"] == [*files]
    assert manifest["models"][1]["note"] == "it does not know lions"
    assert "steps" not in manifest["models"][0]
    assert manifest["colour_scale"]["clipped"] is True
    # A quarter of the way from the least to the greatest of the frames' highest densities.
    assert manifest["colour_scale"]["max"] == pytest.approx(1.75)
    assert pixels(files["sweep.png"]).shape[1] == 1200
    assert pixels(files["film.png"]).shape[1] == 2000


def test_a_sweep_that_was_stopped_is_written_too() -> None:
    stopped = swept(curve("a", THREE[0], octaves=None), partial=True)
    files = artifacts.sweep_files(stopped, created=CREATED)
    assert json.loads(files["sweep.json"])["partial"] is True
    assert len(rows(files["sweep.csv"])) == 1
    assert "film.png" in files


def test_files_are_written_into_a_folder(tmp_path: Path) -> None:
    for name, written in (
        ("scales", artifacts.write_scales(tmp_path / "scales", three_blocks(), PHOTO)),
        ("rf", artifacts.write_receptive_field(tmp_path / "rf", traced(), None)),
        ("sweep", artifacts.write_sweep(tmp_path / "sweep", swept(curve("a", *THREE)))),
    ):
        assert sorted(p.name for p in (tmp_path / name).iterdir()) == sorted(written)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="folder"):
        artifacts.write_receptive_field(tmp_path / "file", traced(), None)
