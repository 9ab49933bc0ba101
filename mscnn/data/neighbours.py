"""Nearest neighbours among feature vectors, by the cosine of the angle between them. NumPy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mscnn.errors import OptionError

_CHUNK = 65536


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One near row, by its number."""

    row: int
    similarity: float  # cosine of the angle to the query, -1..1; 0 where either is all zeros


def nearest(
    query: npt.NDArray[Any], features: npt.NDArray[Any], k: int = 5
) -> tuple[Neighbour, ...]:
    """Find the ``k`` rows that point most nearly where the query points, of equal ones the earlier.

    ``query`` is ``(d,)`` or ``(1, d)``, ``features`` ``(n, d)``, perhaps mapped from a file. Other
    shapes raise ``OptionError``.
    """
    vector = np.asarray(query, np.float64).reshape(-1)
    if features.ndim != 2 or features.shape[1] != len(vector):
        raise OptionError(
            f"A vector of {len(vector)} numbers cannot be compared with features of shape "
            f"{features.shape}; both must come from the same model and stage."
        )
    if k < 1:
        raise OptionError(f"{k} neighbours were asked for; it must be 1 or more.")
    found = np.zeros(len(features))
    for start in range(0, len(features), _CHUNK):
        rows = np.asarray(features[start : start + _CHUNK], np.float64)
        lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(vector)
        np.divide(rows @ vector, lengths, out=found[start : start + len(rows)], where=lengths > 0)
    found = np.clip(found, -1.0, 1.0)
    order = np.argsort(-found, kind="stable")
    return tuple(Neighbour(int(row), float(found[row])) for row in order[:k])
