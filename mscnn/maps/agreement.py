"""How far two class activation maps of one photo agree; NumPy and SciPy only."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mscnn.geometry import FloatMap
from mscnn.results.explanation import COMPARE_PX, Agreement, CamMap
from mscnn.results.explanation import density as density

STRONGEST = 0.2


def seen_mask(
    cam: CamMap, max_px: int | None = COMPARE_PX, min_px: int = 1
) -> npt.NDArray[np.bool_]:
    """``(height, width)`` bool: which pixels of the photo the network saw."""
    size = cam.geometry.drawn_size(max_px, min_px)
    x0, y0, x1, y1 = cam.geometry.crop_on(size)
    mask = np.zeros(size[::-1], dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def spearman(a: npt.ArrayLike, b: npt.ArrayLike) -> float | None:
    """Spearman's rank correlation, ties given their mean rank; None where a side is constant."""
    from scipy.stats import rankdata

    ranks = [rankdata(np.ravel(values)) for values in (a, b)]
    if ranks[0].size < 2 or not all(np.ptp(each) for each in ranks):
        return None
    return float(np.corrcoef(ranks)[0, 1])


def iou_of_strongest(a: npt.ArrayLike, b: npt.ArrayLike, share: float = STRONGEST) -> float | None:
    """Intersection over union of the strongest fraction ``share`` of each; None if one is constant.

    Equal values stand or fall together: those equal to the weakest of these are taken in,
    except where that is the map's minimum (the zeros of a sparse map), which is never strong.
    """
    first, second = (_strongest(np.ravel(np.asarray(values)), share) for values in (a, b))
    if not (first.any() and second.any()):
        return None
    return float((first & second).sum() / (first | second).sum())


def _strongest(values: npt.NDArray[Any], share: float) -> npt.NDArray[np.bool_]:
    if not values.size:
        return np.zeros(0, dtype=bool)
    count = max(1, round(share * values.size))
    weakest = np.partition(values, -count)[-count]
    strong: npt.NDArray[np.bool_] = (values >= weakest) & (values > values.min())
    return strong


def agreement(first: str, second: str, a: CamMap, b: CamMap) -> Agreement:
    """Compare two maps over the pixels that both networks saw."""
    both = seen_mask(a) & seen_mask(b)
    left, right = density(a)[both], density(b)[both]
    return Agreement(first, second, spearman(left, right), iou_of_strongest(left, right))


def all_agreements(maps: Sequence[tuple[str, CamMap]]) -> tuple[Agreement, ...]:
    """Compare every pair of named maps, in order."""
    return tuple(agreement(n, m, a, b) for (n, a), (m, b) in itertools.combinations(maps, 2))


def difference(a: CamMap, b: CamMap, max_px: int | None = COMPARE_PX, min_px: int = 1) -> FloatMap:
    """Density of ``b`` less that of ``a``, 0 where either network saw nothing.

    Returns ``(height, width)`` float32, signed, in units of an even spread.
    """
    both = seen_mask(a, max_px, min_px) & seen_mask(b, max_px, min_px)
    apart = density(b, max_px, min_px) - density(a, max_px, min_px)
    return np.where(both, apart, 0).astype(np.float32)
