"""The files of an evaluation: the numbers in them, and pictures that fit many classes."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime, timezone

import numpy as np
import pytest
from PIL import Image

from mscnn.data.evaluation import ClassResult, Evaluation
from mscnn.data.tally import ReliabilityBin
from mscnn.draw.files.evaluation import evaluation_files, write_evaluation
from mscnn.results.explanation import WeightsInfo
from mscnn.results.serialise_folders import evaluation_dict

CREATED = datetime(2026, 1, 2, tzinfo=timezone.utc)
BINS = tuple(
    ReliabilityBin(i / 15, (i + 1) / 15, 3 if i == 9 else 0, 0.62 if i == 9 else None,
                   2 / 3 if i == 9 else None)
    for i in range(15)
)  # fmt: skip


def evaluation(count: int = 3, **changes) -> Evaluation:
    labels = {i: f"thing {i}" for i in range(count)}
    settings = {
        "model": "starter_resnet", "weights": WeightsInfo("bundled", "w.safetensors", "ab" * 32),
        "device": "cpu", "part": "all images",
        "class_map": {"=zero": (0, "thing 0"), "one": (1, "thing 1")},
        "known_classes": count,
        "images": 3, "top1": 2 / 3, "top5": 1.0, "ece": 0.0467, "bins": BINS,
        "classes": (
            ClassResult(0, "thing 0", 2, 0.5, 1.0, 1, 1.0),
            ClassResult(1, "=thing 1", 1, 1.0, 1.0, 0, None),
        ),
        "confusion": {(0, 0): 1, (0, 2): 1, (1, 1): 1}, "labels": labels, "seconds": 1.5,
        "unreadable": (("a/bad.png", "'bad.png' is empty."),),
    }  # fmt: skip
    return Evaluation(**{**settings, **changes})


def rows(files, name: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(files[name].decode())))


def test_tables_and_document() -> None:
    files = evaluation_files(evaluation(), created=CREATED)
    assert sorted(files) == [
        "classes.csv", "classes.png", "confusion.csv", "confusion.png", "evaluation.json",
        "reliability.png",
    ]  # fmt: skip
    assert rows(files, "classes.csv")[1:] == [
        ["0", "thing 0", "2", "0.5", "1.0", "1", "1.0"],
        ["1", "'=thing 1", "1", "1.0", "1.0", "0", ""],
    ]
    assert rows(files, "confusion.csv")[1:] == [
        ["0", "thing 0", "0", "thing 0", "1"],
        ["0", "thing 0", "2", "thing 2", "1"],
        ["1", "thing 1", "1", "thing 1", "1"],
    ]
    document = json.loads(files["evaluation.json"])
    assert document["created"] == "2026-01-02T00:00:00+00:00"
    assert document["classes"][1]["precision"] is None
    assert document["reliability"][9]["images"] == 3
    assert document["class_map"]["=zero"] == {"index": 0, "label": "thing 0"}


def test_the_contract_of_json() -> None:
    document = evaluation_dict(evaluation(real=(2, 0.5, 1.0)))
    contract = ["model", "weights", "images", "top1", "top5", "images_per_second", "unreadable"]
    assert list(document)[: len(contract)] == contract
    assert document["weights"] == {"source": "w.safetensors", "sha256": "ab" * 32}
    assert document["unreadable"] == ["a/bad.png"]
    assert document["images_per_second"] == 2.0
    assert (document["real_images"], document["real_top1"], document["real_top5"]) == (2, 0.5, 1.0)
    assert "classes" not in document


@pytest.mark.parametrize("classes", [2, 40, 41, 1000])
def test_pictures_of_any_number_of_classes(classes) -> None:
    confusion = {(i, (i + 1) % classes): i % 7 + 1 for i in range(classes)}
    found = tuple(ClassResult(i, f"thing {i}", 9, 0.0, 0.5, 1, 0.0) for i in range(classes))
    files = evaluation_files(evaluation(classes, confusion=confusion, classes=found))
    for name in ("classes.png", "confusion.png", "reliability.png"):
        picture = Image.open(io.BytesIO(files[name]))
        assert max(picture.size) <= 1700
        assert len(np.unique(np.asarray(picture.convert("L")))) > 10


def test_writing(tmp_path) -> None:
    names = write_evaluation(tmp_path / "out", evaluation(), created=CREATED)
    assert sorted(names) == sorted(p.name for p in (tmp_path / "out").iterdir())
