"""Feature vectors of photographs: what a part of a network holds, averaged over places.

Without a stage it is what the network's own head classifies (timm's ``forward_head`` with
``pre_logits``). A stage, a block or another layer gives the mean of its output over height and
width; a split of a block the same of its share of the channels, in timm's order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mscnn.engine.classifier import Classifier, Photo, open_photo
from mscnn.errors import OptionError, UnknownLayerError
from mscnn.maps.recorder import record
from mscnn.scales.blocks import block_taps

Vectors = npt.NDArray[np.float32]
"""``(n, d)`` float32, one row per photograph."""


@dataclass(frozen=True, slots=True)
class FeatureTap:
    """Where features are read.

    Attributes:
        stage: module name; None for what the head classifies.
        split: 0-based split of the block ``stage``, timm's order; None for the layer's output.
        module: the convolution whose input holds the splits; "" without a split.
        splits: how many equal groups of channels that input holds.
    """

    stage: str | None = None
    split: int | None = None
    module: str = ""
    splits: int = 1


def find_tap(
    classifier: Classifier, stage: str | None = None, split: int | None = None
) -> FeatureTap:
    """Settle where features are read.

    Args:
        classifier: a loaded backbone.
        stage: a stage, a block such as ``"layer3.1"``, or another layer; None for the head's input.
        split: 0-based split of a block, timm's order.

    Raises:
        UnknownLayerError: the model has no such layer.
        UnsupportedModelError: the model has no residual blocks.
        OptionError: the block has no such split, or no block is named.
    """
    if stage is None:
        if split is not None:
            raise OptionError("A split belongs to a block; name the block too, as layer3.1 is one.")
        return FeatureTap()
    layer = classifier.layer(stage)
    if split is None:
        return FeatureTap(layer)
    taps = {tap.block: tap for tap in block_taps(classifier.model, classifier.stages)}
    if layer not in taps:
        raise OptionError(
            f"{layer!r} is no block with splits; the blocks of {classifier.name} are "
            f"{', '.join(taps)}."
        )
    tap = taps[layer]
    if not 0 <= split < tap.splits:
        raise OptionError(
            f"{layer} has no split {split}; give a number from 0 to {tap.splits - 1}."
        )
    return FeatureTap(layer, split, tap.module, tap.splits)


@torch.inference_mode()
def pooled(model: nn.Module, x: torch.Tensor, tap: FeatureTap) -> torch.Tensor:
    """Run a network up to its features.

    Args:
        model: a timm model.
        x: ``(B, 3, H, W)``, normalised, on the model's device and in its dtype.
        tap: see ``find_tap``.

    Returns:
        ``(B, d)`` float32.

    Raises:
        UnknownLayerError: the layer gives neither a map nor a vector.
    """
    if tap.stage is None:
        timm_model: Any = model
        found = timm_model.forward_head(timm_model.forward_features(x), pre_logits=True)
        return _averaged(found, "head")
    if tap.split is None:
        with record(model, [tap.stage], maps_only=False) as taps:
            model(x)
        return _averaged(taps.outputs[tap.stage], tap.stage)
    with record(model, [], inputs=[tap.module]) as taps:
        model(x)
    return _averaged(taps.inputs[tap.module].chunk(tap.splits, dim=1)[tap.split], tap.stage)


def _averaged(found: torch.Tensor, layer: str) -> torch.Tensor:
    if found.dim() == 4:
        return found.float().mean((2, 3))
    if found.dim() == 2:
        return found.float()
    raise UnknownLayerError(
        f"The layer {layer!r} gives neither a map nor a vector, so it has no pooled features; "
        "name a stage or a block."
    )


def features(
    classifier: Classifier,
    photos: Sequence[Photo] | Photo,
    *,
    stage: str | None = None,
    split: int | None = None,
    batch_size: int = 32,
) -> Vectors:
    """Return the pooled features of photographs.

    Args:
        classifier: a loaded backbone.
        photos: one photo or a list of them; see ``mscnn.engine.classifier.Photo``.
        stage: see ``find_tap``.
        split: see ``find_tap``.
        batch_size: photographs at a time, so many are decoded and in memory.

    Returns:
        ``(n, d)`` float32; one photo gives one row.

    Raises:
        ImageError, UnknownLayerError, UnsupportedModelError, OptionError, DeviceError.
    """
    items = list(photos) if isinstance(photos, (list, tuple)) else [photos]
    if not items:
        raise OptionError("No photo was given; give at least one.")
    if batch_size < 1:
        raise OptionError(f"The batch size is {batch_size}; it must be 1 or more.")
    tap = find_tap(classifier, stage, split)
    rows = []
    for start in range(0, len(items), batch_size):
        batch = items[start : start + batch_size]
        x = torch.cat([classifier.preprocess(open_photo(photo, "")[0]).x for photo in batch])
        rows.append(vectors_of(classifier, x, tap))
    return np.concatenate(rows)


def vectors_of(classifier: Classifier, x: torch.Tensor, tap: FeatureTap) -> Vectors:
    """Run one batch under the model's lock.

    Args:
        classifier: a loaded backbone.
        x: ``(B, 3, H, W)`` float32, normalised.
        tap: see ``find_tap``.

    Returns:
        ``(B, d)`` float32.
    """

    def work() -> Vectors:
        found: Vectors = pooled(classifier.model, classifier.to_device(x), tap).cpu().numpy()
        return found

    return classifier.guarded(work)[0]
