"""Accuracy by the reassessed labels of ImageNet's validation images, through timm.

Beyer et al., "Are we done with ImageNet?" (arXiv:2006.07159): an image may show several classes,
any of which is a right answer; images that show none are left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch

from mscnn.data.listing import PhotoList
from mscnn.errors import DatasetError
from mscnn.models.labels import LabelSet, imagenet_labels
from mscnn.results.evaluation import RealAccuracy

_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")
_FORMAT = "a JSON list with one list of class indices per validation image of ImageNet"


class RealLabels:
    """Counts right answers by a list in the format of Google's ``real.json``.

    Raises:
        DatasetError: the list, the model's classes or a photograph's name is not ImageNet's.
    """

    def __init__(self, path: Path, photos: PhotoList, labels: LabelSet) -> None:
        if labels.names != imagenet_labels().names:
            raise DatasetError(
                f"Real labels are of ImageNet's 1000 classes, but this model has {len(labels)} "
                "other ones; leave --real-labels out, or choose another model."
            )
        images = _count_lists(path)
        for index in range(len(photos)):
            match = _NAME.fullmatch(PurePosixPath(photos.name(index)).name)
            if match is None or not 1 <= int(match[1]) <= images:
                raise DatasetError(
                    f"{photos.name(index)!r} is not named like ImageNet's validation images "
                    f"(ILSVRC2012_val_00000001.JPEG to {images:08d}), so its real label is not "
                    "known."
                )
        from timm.data import RealLabelsImagenet

        # timm reads the names by number, and needs as many as there are lists.
        self._timm: Any = RealLabelsImagenet([""] * images, real_json=str(path))

    def add(self, logits: torch.Tensor, names: Sequence[str]) -> None:
        """Count a batch: ``(B, 1000)`` logits, and the names of its photographs."""
        self._timm.filenames, self._timm.sample_idx = list(names), 0
        self._timm.add_result(logits)

    def merge(self, other: RealLabels) -> None:
        """Add another process's counts."""
        for k, found in self._timm.is_correct.items():
            found += other._timm.is_correct[k]

    def counts(self) -> RealAccuracy:
        """Return what was found."""
        right: dict[int, list[bool]] = self._timm.is_correct
        top1, top5 = (float(np.mean(right[k])) if right[k] else None for k in (1, 5))
        return RealAccuracy(len(right[1]), top1, top5)


def _count_lists(path: Path) -> int:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path.name!r} cannot be read as {_FORMAT}.") from error
    rows = found if isinstance(found, list) else []
    if not rows or any(not isinstance(r, list) or {*map(type, r)} - {int} for r in rows):
        raise DatasetError(f"{path.name!r} is not {_FORMAT}.")
    return len(rows)
