"""Where the splits of a block can be read: one tap per residual block.

The splits of a timm ``Bottle2neck`` meet in one tensor, the input of its last convolution
(``conv3``): split i occupies channels ``i * width`` to ``(i + 1) * width``, after its own ReLU. A
forward pre-hook there sees them all at once. (The shared in-place ``relu`` module runs several
times per block, so a hook on it would be ambiguous.) A block with one path is read at the same
place, so that both kinds can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from timm.models.res2net import Bottle2neck
from torch import nn

from mscnn.errors import UnsupportedModelError
from mscnn.results.scales import BlockKind

_LAST_CONVOLUTIONS = ("conv3", "conv2")


@dataclass(frozen=True, slots=True)
class BlockTap:
    """One block's tap.

    Attributes:
        block: module name of the block, such as ``"layer2.1"``.
        module: module name of the convolution whose input holds the splits.
        splits: how many equal groups of channels that input holds; 1 for a single path.
        kind: how the splits relate; see ``BlockKind``.
    """

    block: str
    module: str
    splits: int
    kind: BlockKind


def block_taps(model: nn.Module, stages: Sequence[str]) -> tuple[BlockTap, ...]:
    """Find the taps of all residual blocks below ``stages``, in order of depth.

    Args:
        model: a timm model.
        stages: module names of its stages.

    Raises:
        UnsupportedModelError: no stage has a block of a known kind.
    """
    taps = []
    for stage in stages:
        for name, block in model.get_submodule(stage).named_children():
            tap = _tap(f"{stage}.{name}", block)
            if tap is not None:
                taps.append(tap)
    if not taps:
        raise UnsupportedModelError(
            "This model is not built of residual blocks that end in a convolution, so its scales "
            "cannot be read; choose a Res2Net, Res2NeXt, ResNeSt, ResNet or ResNeXt."
        )
    return tuple(taps)


def _tap(name: str, block: nn.Module) -> BlockTap | None:
    last = next(
        (c for c in _LAST_CONVOLUTIONS if isinstance(getattr(block, c, None), nn.Module)), None
    )
    if last is None:
        return None
    module = f"{name}.{last}"
    if isinstance(block, Bottle2neck) and block.scale > 1:
        return BlockTap(name, module, block.scale, "parallel" if block.is_first else "hierarchy")
    return BlockTap(name, module, 1, "single")
