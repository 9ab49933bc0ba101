"""Means over photographs with 95 % confidence intervals; NumPy and SciPy only."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

import numpy as np
import numpy.typing as npt

from mscnn.geometry import Doubles
from mscnn.maps.agreement import spearman
from mscnn.results.study import (
    CONFIDENCE,
    Interval,
    ModelSummary,
    SplitChange,
    SplitField,
    interval,
)
from mscnn.scales.sweep import score
from mscnn.study.measure import ModelMeasures

RESAMPLES = 2000


def rank(a: npt.ArrayLike, b: npt.ArrayLike, constant: float = 0.0) -> float:
    """Spearman's correlation where both are known; NaN below 3 pairs, or ``constant`` if one is."""
    pairs = np.array([a, b], dtype=np.float64)
    known = pairs[:, ~np.isnan(pairs).any(axis=0)]
    found = spearman(*known) if known.shape[1] > 2 else nan
    return constant if found is None else found


def rank_interval(a: npt.ArrayLike, b: npt.ArrayLike, seed: int = 0) -> Interval:
    """``rank`` over photographs, with the percentile interval of ``RESAMPLES`` bootstraps."""
    pairs = np.array([a, b], dtype=np.float64)
    pairs = pairs[:, ~np.isnan(pairs).any(axis=0)]
    if (known := pairs.shape[1]) < 3:
        return Interval(nan, nan, nan, known)
    drawn = np.random.default_rng(seed).integers(0, known, (RESAMPLES, known))
    reach = [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)]
    low, high = np.percentile([rank(*pairs[:, numbers]) for numbers in drawn], reach)
    return Interval(rank(*pairs), float(low), float(high), known)


def octaves(probability: Doubles, factors: Sequence[float]) -> Doubles:
    """``(settings, photos)`` octaves from ``(settings, factors, photos)`` probabilities."""

    def of_curve(curve: Doubles) -> float:
        return score(factors, curve.tolist())[0]

    found: Doubles = np.apply_along_axis(of_curve, 1, probability)
    return found


def summarise_model(
    measures: ModelMeasures,
    rf: dict[tuple[str, int], int],
    factors: Sequence[float],
    settings: Sequence[str],
    large: float,
    small: float,
    fields: tuple[SplitField, ...] = (),
) -> ModelSummary:
    """Reduce the measures of one model over all photographs.

    ``rf`` is (block, split) to the split's largest theoretical field, px; changes start from
    ``large`` and end at ``small``; ``fields`` are passed on.
    """
    at, to = list(factors).index(large), list(factors).index(small)
    weighted = measures.weighted_rf
    has_rf = not np.isnan(weighted).all()
    split_blocks = {b: v for b, v in measures.shares.items() if v.shape[-1] > 1}
    changes = [
        SplitChange(
            setting, block, i, rf.get((block, i)), interval(values[s, at, :, i]),
            interval(values[s, to, :, i]), interval(values[s, to, :, i] - values[s, at, :, i]),
        )
        for s, setting in enumerate(settings)
        for block, values in split_blocks.items()
        for i in range(values.shape[-1])
    ]  # fmt: skip
    shares = {
        setting: {
            block: tuple(tuple(interval(split) for split in photos.T) for photos in values[s])
            for block, values in split_blocks.items()
        }
        for s, setting in enumerate(settings)
    }
    changed = [interval(of[to] - of[at]) for of in weighted] if has_rf else []
    ranges = map(interval, octaves(measures.probability, factors))
    return ModelSummary(
        model=measures.model, probability=_curves(measures.probability, settings),
        weighted_rf=_curves(weighted, settings) if has_rf else {},
        weighted_rf_change=dict(zip(settings, changed, strict=False)), shares=shares,
        changes=tuple(changes), octaves=dict(zip(settings, ranges, strict=True)), fields=fields,
    )  # fmt: skip


def range_gains(
    measures: Sequence[ModelMeasures], factors: Sequence[float], settings: Sequence[str]
) -> dict[str, dict[str, Interval]]:
    """Each later model's octaves less the first model's, within each photograph."""
    first, *others = (octaves(m.probability, factors) for m in measures)
    return {
        m.model: {setting: interval(o[s] - first[s]) for s, setting in enumerate(settings)}
        for m, o in zip(measures[1:], others, strict=True)
    }


def _curves(values: Doubles, settings: Sequence[str]) -> dict[str, tuple[Interval, ...]]:
    return {
        setting: tuple(interval(at_factor) for at_factor in values[s])
        for s, setting in enumerate(settings)
    }
