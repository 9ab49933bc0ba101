"""How often a model was right when it was this sure, on photographs it was not trained on.

Read from ``reliability`` of a starter's entry in ``assets/weights/MANIFEST.json``, or from the file
``reliability.json`` of a model folder::

    {"set": "Tiny-ImageNet-200, ...", "images": 10000,        what it was measured on
     "bins": [{"from": 0.0, "to": 0.1,                        of the top-1 probability, to 1.0
               "images": 412, "right": 38, "mean_probability": 0.083}, ...]}
"""

from __future__ import annotations

import json
import logging
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mscnn.models import manifest, registry
from mscnn.results.explanation import WeightsInfo

FILE = "reliability.json"
ENOUGH = 20  # a bin with fewer photographs is merged with its neighbours
UNMEASURED = "Nobody has measured how often this model is right at this probability."

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Bin:
    """The photographs whose top-1 probability was in ``(low, high]``, 0..1."""

    low: float
    high: float
    images: int
    right: int

    def __add__(self, above: Bin) -> Bin:
        return Bin(self.low, above.high, self.images + above.images, self.right + above.right)


@dataclass(frozen=True, slots=True)
class Reliability:
    """What a model's own validation says of its probabilities."""

    set: str  # the photographs, in words
    images: int  # at least one
    bins: tuple[Bin, ...]  # from 0 to 1 without a gap, of ``ENOUGH`` photographs or all there are

    def sentence(self, probability: float) -> str:
        """Say how often the model was right when its top-1 probability was about this."""
        found = self._bin(probability)
        return (
            f"Of {found.images} validation images with a top-1 probability of "
            f"{100 * found.low:.0f} to {100 * found.high:.0f} %, "
            f"{100 * found.right / found.images:.0f} % were right."
        )

    def is_unsure(self, probability: float) -> bool:
        """Whether it was then right less often than half of the time."""
        found = self._bin(probability)
        return 2 * found.right < found.images

    def _bin(self, probability: float) -> Bin:
        number = bisect_left([each.high for each in self.bins], probability)
        return self.bins[min(number, len(self.bins) - 1)]


def reliability_of(model: str | Path, weights: WeightsInfo | None = None) -> Reliability | None:
    """Return what was measured of a model; None where nothing was (then say ``UNMEASURED``).

    A name is never read as a path, so what a visitor typed opens nothing; for a model folder pass
    its ``Path``. A model that answered with other ``weights`` has not been measured.
    """
    if isinstance(model, Path):
        return _in_folder(model) if weights is None or weights.kind == "folder" else None
    entry = manifest.load_manifest().get(registry.full_name(model))
    if entry is None or (weights is not None and weights.sha256 != entry.sha256):
        return None
    return parse(entry.reliability)


def _in_folder(folder: Path) -> Reliability | None:
    try:
        found = parse(json.loads((folder / FILE).read_text(encoding="utf-8")))
    except OSError:
        return None
    except ValueError:
        found = None
    if found is None:
        logger.warning("%s of %s was left out: it is malformed or empty", FILE, folder.name)
    return found


def parse(document: Any) -> Reliability | None:
    """Read the document; None where it is malformed or counts no photograph."""
    merged: list[Bin] = []
    try:
        for row in document["bins"]:
            each = Bin(row["from"], row["to"], row["images"], row["right"])
            begins = merged[-1].high if merged else 0
            if not (each.low == begins < each.high and 0 <= each.right <= each.images):
                return None
            if merged and merged[-1].images < ENOUGH:
                each = merged.pop() + each
            merged.append(each)
        if len(merged) > 1 and merged[-1].images < ENOUGH:
            merged[-2:] = [merged[-2] + merged[-1]]
        found = Reliability(str(document["set"]), int(document["images"]), tuple(merged))
    except (KeyError, TypeError, ValueError):
        return None
    whole = merged[-1:] and merged[-1].high == 1 and sum(b.images for b in merged) == found.images
    return found if whole and found.images else None
