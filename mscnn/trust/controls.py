"""Maps that a map worth its name must beat, made of its own values; NumPy and SciPy only.

Each has the resolution of the map, ``(h, w)`` float32, signed. The first two have its values too,
put elsewhere, so that no score can tell them apart by how much is hot:

* random: in the order of a random field, as smooth as maps of the last stage are (Gaussian noise,
  blurred by a tenth of the longer side).
* blob: in the order of a Gaussian around the middle. Photographers put their object there.
* blurred: blurred by a tenth of its longer side. ROAR and ROAD are known to reward blur.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from mscnn.geometry import FloatMap
from mscnn.results.trust import Kind

_BLUR = 0.1
"""Standard deviation, of the longer side."""


def controls(
    raw: FloatMap, draws: int, rng: np.random.Generator
) -> Iterator[tuple[Kind, int | None, FloatMap]]:
    """Yield each control's kind and map, the ``draws`` random ones, numbered, last."""
    height, width = raw.shape
    spread = _BLUR * max(height, width)
    rows, columns = np.ogrid[:height, :width]
    # Twice the distances from the middle: whole numbers, so that equal ones are exactly equal.
    far = (2 * rows - height + 1) ** 2 + (2 * columns - width + 1) ** 2
    yield "blob", None, _arranged(raw, -far)
    yield "blurred", None, gaussian_filter(raw, spread, mode="nearest")
    for draw in range(draws):
        noise = rng.standard_normal(raw.shape)
        yield "random", draw, _arranged(raw, gaussian_filter(noise, spread, mode="reflect"))


def _arranged(raw: FloatMap, order: npt.NDArray[np.number]) -> FloatMap:
    """The map's values, the largest where ``order`` is largest; where it ties, their mean."""
    _, places, counts = np.unique(order, return_inverse=True, return_counts=True)
    sums = np.add.reduceat(np.sort(raw, axis=None).astype(np.float64), np.cumsum(counts) - counts)
    found: FloatMap = (sums / counts)[places].reshape(raw.shape).astype(np.float32)
    return found
