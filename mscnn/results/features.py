"""What every feature file holds, whatever its format."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureHead:
    """What a feature file says beside its rows.

    Attributes:
        rows, width: of the matrix.
        model: name of the network.
        weights_sha256: of its weights.
        stage: layer; "" for the network's own pooled features.
        split: number of a split of the block ``stage``, as text; "" for none.
        unreadable: paths of the photographs that were left out.
    """

    rows: int
    width: int
    model: str
    weights_sha256: str
    stage: str = ""
    split: str = ""
    unreadable: tuple[str, ...] = ()

    def texts(self) -> dict[str, str]:
        """Return what metadata of text holds."""
        return {
            "model": self.model,
            "weights_sha256": self.weights_sha256,
            "stage": self.stage,
            "split": self.split,
            "unreadable": json.dumps(self.unreadable),
        }


@dataclass(frozen=True, slots=True)
class FeatureFile:
    """A feature file in memory.

    Attributes:
        head: what it says of itself.
        paths: one per row.
        features: ``(n, d)`` float32.
    """

    head: FeatureHead
    paths: tuple[str, ...] = field(repr=False)
    features: Rows = field(repr=False)


def head_of(features: Rows, texts: dict[str, str], unreadable: Iterable[str]) -> FeatureHead:
    """Return what a file that was read says of itself."""
    return FeatureHead(
        rows=len(features),
        width=features.shape[1],
        model=texts["model"],
        weights_sha256=texts["weights_sha256"],
        stage=texts["stage"],
        split=texts["split"],
        unreadable=tuple(unreadable),
    )
