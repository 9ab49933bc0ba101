"""Families of residual blocks: where the lens reads a block's splits, and how they came about.

A family with a lens of its own is an adapter here and its rows in the table of backbones; nothing
else knows the classes of blocks.

The splits of a timm ``Bottle2neck`` meet in one tensor, the input of its last convolution
(``conv3``): split i occupies channels ``i * width`` to ``(i + 1) * width``, after its own ReLU.
(The shared in-place ``relu`` runs several times per block: a hook on it would be ambiguous.) A
block with one path is read at the same spot, so that both kinds can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from timm.layers import SplitAttn
from timm.models.res2net import Bottle2neck
from torch import nn

from mscnn.errors import UnknownLayerError, UnsupportedModelError
from mscnn.maps.recorder import record
from mscnn.results.scales import BlockKind


@dataclass(frozen=True, slots=True)
class HookPoint:
    """Where the splits of one block are read, both by module name.

    Attributes:
        module: the convolution whose input holds the splits in equal groups of channels.
        splits: how many; 1 for a single path.
        paths: for each split the operations that lead to it, where the topology is not known.
    """

    block: str
    module: str
    splits: int
    kind: BlockKind
    paths: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Adapter:
    """How the lens reads one family of blocks: those that it ``fits``.

    Attributes:
        last: name, below the block, of the convolution whose input holds the splits.
        path: the operations from the input of a block to a split: (block, number) to labels.
        splits, kind: how many there are in a block, and how they relate.
    """

    fits: Callable[[Any], bool]
    last: str
    path: Callable[[Any, int], tuple[str, ...]]
    splits: Callable[[Any], int] = lambda _: 1
    kind: Callable[[Any], BlockKind] = lambda _: "single"

    def hook_point(self, name: str, block: nn.Module) -> HookPoint:
        """Where a block is read that bears this name."""
        count = self.splits(block)
        paths = tuple(self.path(block, index) for index in range(count))
        return HookPoint(name, f"{name}.{self.last}", count, self.kind(block), paths)


def _res2net_path(block: Bottle2neck, index: int) -> tuple[str, ...]:
    if index == block.scale - 1:
        return ("1x1", "pool") if block.is_first else ("1x1",)
    return ("1x1", *["3x3"] * (1 if block.is_first else index + 1))


def _ends_in(block: nn.Module, last: str) -> bool:
    # timm's residual blocks have a shortcut; dense layers, trees and patch merging have none.
    return hasattr(block, "downsample") and isinstance(getattr(block, last, None), nn.Module)


ADAPTERS: list[Adapter] = [
    Adapter(  # Res2Net, Res2NeXt
        fits=lambda block: isinstance(block, Bottle2neck) and block.scale > 1,
        last="conv3",
        path=_res2net_path,
        splits=lambda block: block.scale,
        kind=lambda block: "parallel" if block.is_first else "hierarchy",
    ),
    # Bottlenecks with one path: ResNet, ResNeXt, ResNeSt.
    Adapter(lambda block: _ends_in(block, "conv3"), "conv3", lambda *_: ("1x1", "3x3")),
    # Basic blocks: the shallow ResNets.
    Adapter(lambda block: _ends_in(block, "conv2"), "conv2", lambda *_: ("3x3",)),
]
"""The first that fits reads a block."""


def hook_points(model: nn.Module, stages: Sequence[str]) -> tuple[HookPoint, ...]:
    """Find where the splits of all residual blocks below ``stages`` are read, in order of depth.

    Raises ``UnsupportedModelError``: no stage has a block of a known kind.
    """
    points = []
    for stage in stages:
        for name, block in model.get_submodule(stage).named_children():
            adapter = next((a for a in ADAPTERS if a.fits(block)), None)
            if adapter is not None:
                points.append(adapter.hook_point(f"{stage}.{name}", block))
    if not points:
        raise UnsupportedModelError(
            "This model is not built of residual blocks that end in a convolution, so its scales "
            "cannot be read; choose a Res2Net, Res2NeXt, ResNeSt, ResNet or ResNeXt."
        )
    return tuple(points)


def has_splits(model: nn.Module, stages: Sequence[str]) -> bool:
    """Whether some block has more than one split."""
    try:
        return any(point.splits > 1 for point in hook_points(model, stages))
    except UnsupportedModelError:
        return False


@dataclass(frozen=True, slots=True)
class UnitPoint:
    """Where the units of a layer, or of one split of a block, are read.

    Attributes:
        module: module whose output, or with a ``split`` whose input, is read.
        channels: first and last channel (exclusive) of the split; None for all of them.
    """

    layer: str
    module: str
    split: int | None = None
    channels: tuple[int, int] | None = None

    def read(self, model: nn.Module, x: torch.Tensor, *, maps_only: bool = True) -> torch.Tensor:
        """Run the model: the units' values ``(B, C, h, w)``, with their graph where there is one.

        Raises ``UnknownLayerError``: see ``record``; or channels that are not where they belong.
        """
        layers, inputs = ([self.module], []) if self.split is None else ([], [self.module])
        with record(model, layers, inputs=inputs, maps_only=maps_only) as seen:
            model(x)
        found = {**seen.outputs, **seen.inputs}[self.module]
        if found.dim() == 4 and x.shape[2] == x.shape[3] and found.shape[2] != found.shape[3]:
            raise UnknownLayerError(  # (B, h, w, C) would be taken for (B, C, h, w)
                f"The layer {self.layer!r} keeps its channels last; choose a stage or a block."
            )
        return found if self.channels is None else found[:, slice(*self.channels)]


def find_point(model: nn.Module, layer: str, split: int | None = None) -> UnitPoint:
    """Settle where a layer, or one split of a block, is read; both by module name.

    Raises ``UnknownLayerError``: the layer is no block, or the block has no such split;
    ``UnsupportedModelError``: there are no residual blocks.
    """
    if split is None:
        return UnitPoint(layer, layer)
    points = hook_points(model, [name for name, _ in model.named_modules() if name])
    point = next((p for p in points if p.block == layer), None)
    if point is None:
        known = ", ".join(p.block for p in points)
        raise UnknownLayerError(f"{layer} is no block, so it has no splits; choose one of {known}.")
    if not 0 <= split < point.splits:
        numbers = (
            f"a number from 0 to {point.splits - 1}" if point.splits > 1 else "0, its only one"
        )
        raise UnknownLayerError(f"{layer} has no split {split}; give {numbers}.")
    if point.splits == 1:
        return UnitPoint(layer, point.module, split)
    convolution: Any = model.get_submodule(point.module)
    width = convolution.in_channels // point.splits
    return UnitPoint(layer, point.module, split, (split * width, (split + 1) * width))


@dataclass(frozen=True, slots=True)
class Gates:
    """Where the split attention of one block is read; module names.

    ``radix`` and ``cardinality`` are as in the paper; ``gated_sum`` puts out the sum over branches
    of gate times branch.
    """

    block: str
    radix: int
    cardinality: int
    gated_sum: str

    @property
    def gates(self) -> str:
        """Puts out the gates, radix-major."""
        return f"{self.gated_sum}.rsoftmax"

    @property
    def branches(self) -> str:
        """Puts out all branches in one tensor, radix-major."""
        return f"{self.gated_sum}.act0"


def split_attention(model: nn.Module) -> tuple[Gates, ...]:
    """Find the split attention of a ResNeSt, in order of depth.

    Raises ``UnsupportedModelError``: the model has none.
    """
    found = tuple(
        Gates(name[: -len(".conv2")], module.radix, module.rsoftmax.cardinality, name)
        for name, module in model.named_modules()
        if isinstance(module, SplitAttn) and name.endswith(".conv2")
    )
    if not found:
        raise UnsupportedModelError(
            "This model has no split attention; ResNeSt models have it, so choose one of those."
        )
    return found
