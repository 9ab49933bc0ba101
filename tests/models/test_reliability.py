"""What a model's validation says of a probability: merged bins and sentences, by hand."""

import json
import logging

import pytest

from mscnn.models import reliability
from mscnn.models.reliability import Bin, parse, reliability_of
from mscnn.results.explanation import WeightsInfo
from scripts import accuracy

# Images and right ones of ten bins. The first, fourth and fifth have fewer than 20 images, and so
# have the last two together.
COUNTS = (
    *((5, 1), (95, 9), (412, 157), (10, 4), (9, 5)),
    *((40, 20), (50, 40), (60, 51), (15, 14), (4, 4)),
)


def document(counts=COUNTS):
    bins = [
        {"from": i / 10, "to": (i + 1) / 10, "images": n, "right": k, "mean_probability": None}
        for i, (n, k) in enumerate(counts)
    ]
    return {"set": "seven hundred photographs", "images": sum(n for n, _ in counts), "bins": bins}


def test_bins_with_few_photographs_are_merged_with_their_neighbours():
    found = parse(document())
    assert found is not None
    assert (found.set, found.images) == ("seven hundred photographs", 700)
    assert found.bins == (
        Bin(0.0, 0.2, 100, 10), Bin(0.2, 0.3, 412, 157),
        Bin(0.3, 0.6, 59, 29),  # 10 and 9 are still too few
        Bin(0.6, 0.7, 50, 40),
        Bin(0.7, 1.0, 79, 69),  # the rest of 19 joins what is before it
    )  # fmt: skip


@pytest.mark.parametrize(("probability", "images", "range_", "right", "unsure"), [
    (0.0, 100, "0 to 20", 10, True),
    (0.2, 100, "0 to 20", 10, True),  # a bin holds its upper edge
    (0.21, 412, "20 to 30", 38, True),  # 157 / 412 = 0.381
    (0.45, 59, "30 to 60", 49, True),  # 29 / 59 = 0.4915
    (0.65, 50, "60 to 70", 80, False), (1.0, 79, "70 to 100", 87, False),
])  # fmt: skip
def test_the_sentence(probability, images, range_, right, unsure):
    found = parse(document())
    assert found is not None
    assert found.sentence(probability) == (
        f"Of {images} validation images with a top-1 probability of {range_} %, "
        f"{right} % were right."
    )
    assert found.is_unsure(probability) is unsure


def test_right_half_of_the_time_is_not_unsure_and_few_photographs_make_one_bin():
    found = parse(document((*[(0, 0)] * 4, (6, 3), *[(0, 0)] * 5)))
    assert found is not None
    assert found.bins == (Bin(0.0, 1.0, 6, 3),)
    assert not found.is_unsure(0.1)


@pytest.mark.parametrize("change", [
    {"images": 701}, {"bins": []}, {"bins": None},
    {"bins": [{"from": 0.0, "to": 1.0, "images": 700, "right": 701}]},
    {"bins": [{"from": 0.0, "to": 1.0, "images": "700", "right": 1}]},
    {"bins": [{"from": 0.0, "to": 0.9, "images": 700, "right": 1}]},
    {"bins": [{"from": 0.1, "to": 1.0, "images": 700, "right": 1}]},
    {"bins": [{"from": 0.0, "to": 1.0, "images": 0, "right": 0}], "images": 0},
    {"bins": [{"from": float("nan"), "to": 1.0, "images": 700, "right": 1}]},
])  # fmt: skip
def test_a_malformed_document_is_none(change):
    assert parse({**document(), **change}) is None
    assert parse([]) is None
    assert parse(None) is None


def test_a_folder_is_read_by_its_path_alone(tmp_path, caplog):
    assert reliability_of(tmp_path) is None
    (tmp_path / reliability.FILE).write_text(json.dumps(document()), encoding="utf-8")
    assert reliability_of(tmp_path) == parse(document())
    assert reliability_of(tmp_path, WeightsInfo("folder", "x", "0")) == parse(document())
    # Other weights in it were not measured; and what a visitor types opens no folder.
    assert reliability_of(tmp_path, WeightsInfo("file", "x", "0")) is None
    assert reliability_of(str(tmp_path)) is None
    (tmp_path / reliability.FILE).write_text("{", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        assert reliability_of(tmp_path) is None
    assert str(tmp_path.parent) not in caplog.text
    assert "malformed" in caplog.text


def test_models_that_nobody_measured():
    assert reliability_of("res2net50_26w_4s.in1k") is None
    assert reliability_of("no such model") is None


def test_the_script_counts_as_it_is_read():
    answers = [(0.1, True), (0.1, False), (0.11, True), (1.0, True), (0.0, False)]
    written = accuracy.reliability(answers)
    counts = [(row["images"], row["right"]) for row in written["bins"]]
    assert counts == [(3, 1), (1, 1), *[(0, 0)] * 7, (1, 1)]
    assert written["bins"][0]["mean_probability"] == pytest.approx(0.2 / 3, abs=1e-6)
    assert written["bins"][2]["mean_probability"] is None
    found = parse(json.loads(json.dumps(written)))
    assert found is not None
    assert found.bins == (Bin(0.0, 1.0, 5, 3),)
