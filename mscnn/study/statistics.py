"""Means over photographs with 95 % confidence intervals; NumPy and SciPy only."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mscnn.results.study import Interval

CONFIDENCE = 0.95


def interval(values: npt.ArrayLike) -> Interval:
    """Student's t interval of the mean (the photographs are the independent draws).

    Args:
        values: one number per photograph; NaN where a photograph has none.
    """
    from scipy.stats import t

    known = np.asarray(values, dtype=np.float64).ravel()
    known = known[~np.isnan(known)]
    if not known.size:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    mean = float(known.mean())
    if known.size == 1:
        return Interval(mean, float("nan"), float("nan"), 1)
    error = float(known.std(ddof=1) / np.sqrt(known.size))
    reach = float(t.ppf(0.5 + CONFIDENCE / 2, known.size - 1)) * error
    return Interval(mean, mean - reach, mean + reach, int(known.size))


def paired(after: npt.ArrayLike, before: npt.ArrayLike) -> Interval:
    """Interval of the mean difference within each photograph."""
    return interval(np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64))
