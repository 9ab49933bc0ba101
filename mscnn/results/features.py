"""What every feature file holds, whatever its format, and what it took to make one."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mscnn.results import schema
from mscnn.results.explanation import WeightsInfo
from mscnn.results.schema import LEFT_OUT, NOT_USED

Rows = npt.NDArray[np.float32]
"""``(n, d)`` float32, one feature vector per row; may be mapped from a file."""
_TEXTS = ("model", "weights_sha256", "stage", "split")


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureHead:
    """What a feature file says beside its rows, a matrix of ``rows`` by ``width``.

    Attributes:
        stage: layer; "" for the network's own pooled features.
        split: number of a split of the block ``stage``, as text; "" for none.
        preparation: timm's data configuration, by which the photographs were prepared; empty where
            a file of an earlier version does not say it.
        unreadable: paths of the photographs that were left out.
    """

    rows: int
    width: int
    model: str
    weights_sha256: str
    stage: str = ""
    split: str = ""
    preparation: dict[str, Any] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()

    def texts(self) -> dict[str, str]:
        """Return what metadata of text holds."""
        own = {key: getattr(self, key) for key in _TEXTS}
        lists = {key: json.dumps(getattr(self, key)) for key in ("preparation", "unreadable")}
        return {**own, **lists}


@dataclass(frozen=True, slots=True)
class FeatureFile:
    """A feature file in memory: what it says of itself, and a path per row."""

    head: FeatureHead
    paths: tuple[str, ...] = field(repr=False)
    features: Rows = field(repr=False)


def head_of(features: Rows, texts: dict[str, str], unreadable: Iterable[str]) -> FeatureHead:
    """Return what a file that was read says of itself."""
    own: dict[str, Any] = {key: texts[key] for key in _TEXTS}
    return FeatureHead(
        rows=len(features), width=features.shape[1], unreadable=tuple(unreadable),
        preparation=dict(json.loads(texts.get("preparation", "{}"))), **own,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """What a feature file holds, and what it took.

    Attributes:
        file: the feature file's name as the user gave it.
        images, width: rows of the file, and numbers per row.
        stage: layer; None for the network's own pooled features.
        unreadable: what was left out, as ``(name, reason)``.
        not_used: reason to names of files that are no photographs; None for none.
        seconds: wall time of this run.
        computed: photographs of this run, by all processes; the others were there from before.
    """

    model: str
    weights: WeightsInfo
    file: str
    images: int
    width: int
    stage: str | None
    split: int | None
    unreadable: tuple[tuple[str, str], ...] = field(default=(), repr=False, metadata=LEFT_OUT)
    device: str
    seconds: float
    computed: int
    notices: tuple[str, ...] = ()
    not_used: dict[str, list[str]] | None = field(default=None, repr=False, metadata=NOT_USED)

    @property
    @schema.computed(before="unreadable")
    def images_per_second(self) -> float:
        """Speed of this run, with decoding."""
        return self.computed / max(self.seconds, 1e-9)
