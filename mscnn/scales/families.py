"""Families of residual blocks: where the lens reads a block's splits, and how they came about.

A family with a lens of its own is an adapter here (and its rows in the table of backbones). Blocks
are followed in ``topology``, measured in ``splits``; nothing else knows their classes.

The splits of a timm ``Bottle2neck`` meet in one tensor, the input of its last convolution
(``conv3``): split i occupies channels ``i * width`` to ``(i + 1) * width``, after its own ReLU. A
forward pre-hook there sees them all at once. (The shared in-place ``relu`` module runs several
times per block, so a hook on it would be ambiguous.) A block with one path is read at the same
spot, so that both kinds can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from timm.layers import SplitAttn
from timm.models.res2net import Bottle2neck
from torch import nn

from mscnn.errors import UnsupportedModelError
from mscnn.results.scales import BlockKind


@dataclass(frozen=True, slots=True)
class HookPoint:
    """Where the splits of one block are read.

    Attributes:
        block: module name of the block, such as ``"layer2.1"``.
        module: module name of the convolution whose input holds the splits.
        splits: how many equal groups of channels that input holds; 1 for a single path.
        kind: how the splits relate; see ``BlockKind``.
        paths: for each split the operations that lead to it, where the topology is not known.
    """

    block: str
    module: str
    splits: int
    kind: BlockKind
    paths: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Adapter:
    """How the lens reads one family of blocks.

    Attributes:
        fits: whether a module is a block of this family.
        last: name, below the block, of the convolution whose input holds the splits.
        splits: how many there are in a block.
        kind: how they relate in a block; see ``BlockKind``.
        path: the operations from the input of a block to a split: (block, number) to labels.
    """

    fits: Callable[[Any], bool]
    last: str
    splits: Callable[[Any], int]
    kind: Callable[[Any], BlockKind]
    path: Callable[[Any, int], tuple[str, ...]]

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
    return isinstance(getattr(block, last, None), nn.Module)


ADAPTERS: list[Adapter] = [
    Adapter(  # Res2Net, Res2NeXt
        fits=lambda block: isinstance(block, Bottle2neck) and block.scale > 1,
        last="conv3",
        splits=lambda block: block.scale,
        kind=lambda block: "parallel" if block.is_first else "hierarchy",
        path=_res2net_path,
    ),
    Adapter(  # bottlenecks with one path: ResNet, ResNeXt, ResNeSt
        fits=lambda block: _ends_in(block, "conv3"),
        last="conv3",
        splits=lambda _: 1,
        kind=lambda _: "single",
        path=lambda *_: ("1x1", "3x3"),
    ),
    Adapter(  # basic blocks: the shallow ResNets
        fits=lambda block: _ends_in(block, "conv2"),
        last="conv2",
        splits=lambda _: 1,
        kind=lambda _: "single",
        path=lambda *_: ("3x3",),
    ),
]
"""The first that fits reads a block."""


def hook_points(model: nn.Module, stages: Sequence[str]) -> tuple[HookPoint, ...]:
    """Find where the splits of all residual blocks below ``stages`` are read, in order of depth.

    Raises:
        UnsupportedModelError: no stage has a block of a known kind.
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
class Gates:
    """Where the split attention of one block is read; module names.

    Attributes:
        block: the block, such as ``"layer3.1"``.
        radix, cardinality: as in the paper.
        gates: puts out the gates, radix-major.
        branches: puts out all branches in one tensor, radix-major.
        gated_sum: puts out the sum over branches of gate times branch.
    """

    block: str
    radix: int
    cardinality: int
    gates: str
    branches: str
    gated_sum: str


def split_attention(model: nn.Module) -> tuple[Gates, ...]:
    """Find the split attention of a ResNeSt, in order of depth.

    Raises:
        UnsupportedModelError: the model has none.
    """
    found = tuple(
        Gates(
            block=name.removesuffix(".conv2"),
            radix=module.radix,
            cardinality=module.rsoftmax.cardinality,
            gates=f"{name}.rsoftmax",
            branches=f"{name}.act0",
            gated_sum=name,
        )
        for name, module in model.named_modules()
        if isinstance(module, SplitAttn) and name.endswith(".conv2")
    )
    if not found:
        raise UnsupportedModelError(
            "This model has no split attention; ResNeSt models have it, so choose one of those."
        )
    return found
