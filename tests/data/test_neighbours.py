"""Neighbours against angles that can be seen."""

import math

import numpy as np
import pytest
from scipy.spatial.distance import cdist

import mscnn.data.neighbours as neighbours_module
from mscnn.data.neighbours import nearest
from mscnn.errors import OptionError


def test_angles_by_hand():
    angles = [0, 90, 30, 180, 60]
    features = np.array([[math.cos(math.radians(a)), math.sin(math.radians(a))] for a in angles])
    features *= np.array([[1.0], [50.0], [0.01], [3.0], [7.0]])  # length does not count
    found = nearest(np.array([2.0, 0.0]), features, k=9)
    assert [n.row for n in found] == [0, 2, 4, 1, 3]
    expected = [math.cos(math.radians(a)) for a in (0, 30, 60, 90, 180)]
    assert [n.similarity for n in found] == pytest.approx(expected)


def test_against_scipy_in_chunks(monkeypatch):
    monkeypatch.setattr(neighbours_module, "_CHUNK", 7)
    random = np.random.default_rng(0)
    features = random.normal(size=(40, 6)).astype(np.float32)
    query = random.normal(size=(1, 6))
    distance = cdist(query, features.astype(np.float64), "cosine")[0]
    found = nearest(query, features, k=10)
    assert [n.row for n in found] == np.argsort(distance)[:10].tolist()
    assert [1 - n.similarity for n in found] == pytest.approx(np.sort(distance)[:10])


def test_zeros_are_like_nothing_and_ties_keep_their_order():
    features = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    assert [(n.row, n.similarity) for n in nearest(np.array([1.0, 0.0]), features)] == [
        (1, 1.0), (2, 1.0), (0, 0.0),
    ]  # fmt: skip
    assert nearest(np.zeros(2), features, k=1)[0].similarity == 0


@pytest.mark.parametrize(("shape", "k"), [((3, 4), 1), ((5,), 1), ((3, 5), 0)])
def test_refusals(shape, k):
    with pytest.raises(OptionError, match=r"4|\(5,\)|0 neighbours"):
        nearest(np.ones(5), np.ones(shape), k=k)
