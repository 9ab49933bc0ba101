"""Means and intervals: against published t values and a simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mscnn.study.statistics import interval, paired


def test_an_interval_by_hand() -> None:
    """Four numbers with mean 5 and standard deviation 2; t(0.975, 3) = 3.182446 (any t table)."""
    values = [5 - math.sqrt(6), 5.0, 5.0, 5 + math.sqrt(6)]
    assert np.std(values, ddof=1) == pytest.approx(2)
    got = interval(values)
    assert got.mean == pytest.approx(5)
    assert got.count == 4
    assert got.high - 5 == pytest.approx(3.182446, abs=1e-5)
    assert 5 - got.low == pytest.approx(3.182446, abs=1e-5)
    assert got.excludes_zero
    assert not interval([-1.0, 1.0, 0.5]).excludes_zero


def test_missing_values_are_left_out() -> None:
    with_gaps = interval([1.0, float("nan"), 3.0, float("nan")])
    assert with_gaps == interval([1.0, 3.0])
    assert with_gaps.count == 2
    alone = interval([float("nan"), 7.0])
    assert (alone.mean, alone.count) == (7.0, 1)
    assert math.isnan(alone.low)
    assert not alone.excludes_zero
    assert interval([]).count == 0


def test_pairs_remove_what_photographs_differ_in() -> None:
    before = np.array([0.0, 10.0, 20.0, 30.0])
    got = paired(before + np.array([1.0, 1.1, 0.9, 1.0]), before)
    assert got.mean == pytest.approx(1.0)
    assert got.high - got.low < 0.3


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(3)
    draws = generator.normal(2.0, 1.0, (2000, 8))
    covered = np.mean([i.low <= 2.0 <= i.high for i in map(interval, draws)])
    assert covered == pytest.approx(0.95, abs=0.015)
