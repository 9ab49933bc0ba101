"""Feature vectors of photographs: what a part of a network holds, averaged over positions.

Without a stage it is what the network's own head classifies (timm's ``forward_head`` with
``pre_logits``). A stage, a block or another layer gives the mean of its output over height and
width; a split of a block the same of its share of the channels, in timm's order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from mscnn.errors import OptionError, UnknownLayerError
from mscnn.maps.recorder import record
from mscnn.scales.families import hook_points

if TYPE_CHECKING:
    from mscnn.engine.network import Network


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


def find_tap(network: Network, stage: str | None = None, split: int | None = None) -> FeatureTap:
    """Settle where features are read.

    Args:
        network: a loaded backbone.
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
    layer = network.layer(stage)
    if split is None:
        return FeatureTap(layer)
    taps = {tap.block: tap for tap in hook_points(network.model, network.stages)}
    if layer not in taps:
        raise OptionError(
            f"{layer!r} is no block with splits; the blocks of {network.name} are "
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

    ``x`` is ``(B, 3, H, W)``, normalised, on the model's device and in its dtype.

    Returns:
        ``(B, d)`` float32.

    Raises:
        UnknownLayerError: the layer gives neither a map nor a vector.
    """
    if tap.stage is None:
        timm_model: Any = model
        found = timm_model.forward_head(timm_model.forward_features(x), pre_logits=True)
    elif tap.split is None:
        with record(model, [tap.stage], maps_only=False) as seen:
            model(x)
        found = seen.outputs[tap.stage]
    else:
        with record(model, [], inputs=[tap.module]) as seen:
            model(x)
        found = seen.inputs[tap.module].chunk(tap.splits, dim=1)[tap.split]
    if found.dim() not in (2, 4):
        raise UnknownLayerError(
            f"The layer {tap.stage or 'head'!r} gives neither a map nor a vector, so it has no "
            "pooled features; name a stage or a block."
        )
    pooled_out: torch.Tensor = found.float()
    return pooled_out.mean((2, 3)) if pooled_out.dim() == 4 else pooled_out
