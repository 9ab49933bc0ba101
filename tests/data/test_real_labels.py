"""Reassessed labels against sets worked out by hand."""

import json

import pytest
import torch

from mscnn.data.listing import FileList
from mscnn.data.real_labels import RealLabels
from mscnn.errors import DatasetError
from mscnn.models.labels import LabelSet, imagenet_labels

NAMES = [f"ILSVRC2012_val_{i:08}.JPEG" for i in (4, 1, 2, 3)]
LISTS: list[list[int]] = [[3, 5], [], [7], [0, 999]]


def real(tmp_path, names=NAMES, labels=None):
    path = tmp_path / "real.json"
    path.write_text(json.dumps(LISTS))
    photos = FileList(tmp_path, [f"n0144{i}/{name}" for i, name in enumerate(names)])
    return RealLabels(path, photos, labels or imagenet_labels())


def answers(*best):
    logits = torch.zeros(len(best), 1000)
    for row, classes in enumerate(best):
        for place, index in enumerate(classes):
            logits[row, index] = 10.0 - place
    return logits


def test_any_of_the_labels_is_right_and_none_leaves_out(tmp_path):
    counts = real(tmp_path)
    # Image 4 shows 0 and 999: right. Image 1 shows 3 and 5: right as the third answer.
    counts.add(answers([999], [1, 2, 5]), NAMES[:2])
    # Image 2 has no label. Image 3 shows 7: not among the five best.
    counts.add(answers([4], [1, 2, 3, 4, 5, 7]), NAMES[2:])
    images, top1, top5 = counts.counts()
    assert images == 3
    assert (top1, top5) == pytest.approx((1 / 3, 2 / 3))


def test_merging(tmp_path):
    first, second = real(tmp_path), real(tmp_path)
    first.add(answers([999]), NAMES[:1])
    second.add(answers([7]), NAMES[3:])
    first.merge(second)
    assert first.counts() == (2, 1.0, 1.0)


def test_nothing_has_a_real_label(tmp_path):
    counts = real(tmp_path)
    counts.add(answers([1]), NAMES[2:3])
    assert counts.counts() == (0, None, None)


def test_refusals(tmp_path):
    with pytest.raises(DatasetError, match="2 other ones"):
        real(tmp_path, labels=LabelSet(("a", "b")))
    with pytest.raises(DatasetError, match=r"'n01440/lion.JPEG' is not named"):
        real(tmp_path, ["lion.JPEG"])
    with pytest.raises(DatasetError, match="00000004"):
        real(tmp_path, ["ILSVRC2012_val_00000005.JPEG"])
    for content in ("{}", "[]", '[["a"]]', "[1]", "not json"):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(DatasetError, match=r"bad\.json"):
            RealLabels(tmp_path / "bad.json", FileList(tmp_path, []), imagenet_labels())
