"""Places for labels, against brute force over every pixel."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mscnn.draw.places import free_place, overlap, traced
from mscnn.draw.ticks import Scale, linear_ticks, log_ticks

BOUNDS = (2, 3, 30, 25)


def test_a_place_is_found_if_and_only_if_there_is_one() -> None:
    random = np.random.default_rng(0)
    outcomes = set()
    for _ in range(300):
        corners = random.integers(0, 26, (6, 2))
        taken = [(int(x), int(y), int(x) + 9, int(y) + 7) for x, y in corners]
        size = int(random.integers(3, 16)), int(random.integers(3, 14))
        place = free_place(size, [(5, 5)], bounds=BOUNDS, taken=taken)
        every = itertools.product(range(2, 31 - size[0]), range(3, 26 - size[1]))
        boxes = [(x, y, x + size[0], y + size[1]) for x, y in every]
        free = {box for box in boxes if not any(overlap(box, other) for other in taken)}
        assert (place is not None) == bool(free)
        assert place is None or place in free
        outcomes.add(place is None)
    assert outcomes == {True, False}


def test_the_first_free_wish_is_granted_and_moved_inside() -> None:
    taken = [(2, 3, 12, 9)]
    wanted = [(0, 0), (28, 24), (15, 15)]
    assert free_place((6, 4), wanted, bounds=BOUNDS, taken=taken) == (24, 21, 30, 25)


def test_of_several_wishes_the_one_that_covers_least() -> None:
    busy = traced([[(0, 5), (40, 5)]], (40, 30), 1)
    assert busy.sum() == 3 * 40
    wanted = [(10, 3), (10, 12)]
    assert free_place((6, 4), wanted, bounds=BOUNDS, taken=[], busy=busy) == (10, 12, 16, 16)


@pytest.mark.parametrize("size", [(29, 3), (3, 23)])
def test_what_is_too_large_has_no_place(size: tuple[int, int]) -> None:
    assert free_place(size, [(0, 0)], bounds=BOUNDS, taken=[]) is None


@pytest.mark.parametrize(
    ("low", "high", "most", "ticks"),
    [
        (0, 1, 6, (0, 0.2, 0.4, 0.6, 0.8, 1)),
        (0, 103, 6, (0, 20, 40, 60, 80, 100)),
        (398, 421, 6, (400, 405, 410, 415, 420)),
        (0, 2763, 6, (0, 500, 1000, 1500, 2000, 2500)),
        (0, 0.3, 4, (0, 0.1, 0.2, 0.3)),
        (-1, 1, 3, (-1, 0, 1)),
    ],
)
def test_linear_ticks(low: float, high: float, most: int, ticks: tuple[float, ...]) -> None:
    assert linear_ticks(low, high, most) == ticks


@pytest.mark.parametrize(
    ("low", "high", "most", "ticks"),
    [
        (0.1, 2, 8, (0.1, 0.2, 0.5, 1, 2)),
        (9, 3400, 7, (10, 30, 100, 300, 1000, 3000)),
        (9, 3400, 4, (10, 100, 1000)),
        (15, 3400, 4, (100, 1000)),
        (1, 10**9, 4, (1, 1e3, 1e6, 1e9)),
        (330, 460, 5, (350, 400, 450)),
    ],
)
def test_log_ticks(low: float, high: float, most: int, ticks: tuple[float, ...]) -> None:
    assert log_ticks(low, high, most) == ticks


def test_scales() -> None:
    scale = Scale(1, 100, 300, 100, log=True)
    assert [scale.px(v) for v in (1, 10, 100, 0.1, 1e9)] == pytest.approx([300, 200, 100, 300, 100])
    assert Scale(0, 4, 10, 50).px(1) == 20
