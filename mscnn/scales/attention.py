"""Split attention (ResNeSt): the gates of one input, and the map of each radix branch.

ResNeSt (Zhang et al., arXiv:2004.08955, equations 1 to 3): a block's 3 x 3 convolution gives R
branches U_r; gates a_r, one number per channel, weigh them: V = sum over r of a_r U_r. For R > 1
the gates are a softmax over r, for R = 1 a sigmoid. They come from the mean over the whole map and
have no map themselves, and all branches see the same area: they select content, not scale.

With G = dy_c / dV, the map of branch r is the sum over channels k of mean(G_k) a_rk U_rk, signed.
V is linear in the branches once the gates are held, so these maps add up to the Grad-CAM of V.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import entr
from torch import nn

from mscnn.geometry import ViewGeometry
from mscnn.maps.recorder import Record, record
from mscnn.maps.single_pass import Targets
from mscnn.results.scales import BlockAttention
from mscnn.scales import families

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RawGates:
    """Split attention of one block for one input and class.

    Attributes:
        block: module name of the block, such as ``"layer3.1"``.
        radix, cardinality: as in the paper.
        gates: ``(radix, channels)`` float32 in 0..1, channels as in the gated sum.
        maps: ``(radix, h, w)`` float32, signed, before any ReLU.
    """

    block: str
    radix: int
    cardinality: int
    gates: Floats = field(repr=False)
    maps: Floats = field(repr=False)


@dataclass(frozen=True, slots=True)
class RawAttention:
    """All blocks for one input and class.

    Attributes:
        logits: ``(classes,)`` float32.
        target: index of the class explained.
        blocks: in order of depth.
    """

    logits: Floats = field(repr=False)
    target: int
    blocks: tuple[RawGates, ...]


@torch.inference_mode()
def gates(model: nn.Module, x: torch.Tensor) -> dict[str, Floats]:
    """Read the gates of all blocks: one forward.

    Returns:
        Block to ``(radix, channels)`` float32 in 0..1, channels as in the block's gated sum.

    Raises:
        UnsupportedModelError: the model has no split attention.
    """
    blocks = families.split_attention(model)
    with record(model, [block.gates for block in blocks], maps_only=False) as seen:
        model(x)
    return {block.block: _gates_of(seen, block).cpu().numpy() for block in blocks}


@torch.inference_mode(False)
@torch.enable_grad()
def gated_maps(model: nn.Module, x: torch.Tensor, targets: Targets) -> RawAttention:
    """Read the gates and compute the map of each radix branch: one forward, one backward.

    Of one input, for the first of ``targets``.

    Raises:
        UnsupportedModelError: the model has no split attention.
    """
    read = families.split_attention(model)
    layers = [name for b in read for name in (b.branches, b.gates, b.gated_sum)]
    with record(model, layers, with_graph=True, maps_only=False) as seen:
        logits = model(x)[0]
    target = targets.choose(logits.detach().float())[0]
    gradients = torch.autograd.grad(logits[target], [seen.outputs[b.gated_sum] for b in read])
    blocks = []
    for block, gradient in zip(read, gradients, strict=True):
        gate = _gates_of(seen, block)
        branches = seen.outputs[block.branches][0].detach().float()
        branches = branches.reshape(block.radix, -1, *branches.shape[1:])
        weights = gate * gradient[0].float().mean(dim=(1, 2))
        maps = torch.einsum("rk,rkhw->rhw", weights, branches).cpu().numpy()
        gates = gate.cpu().numpy()
        blocks.append(RawGates(block.block, block.radix, block.cardinality, gates, maps))
    return RawAttention(logits.detach().float().cpu().numpy(), target, tuple(blocks))


def with_references(
    raw: RawAttention, means: Mapping[str, Floats], geometry: ViewGeometry
) -> tuple[BlockAttention, ...]:
    """Join the gates with those of reference photos, block to ``(radix, channels)``, if any."""
    return tuple(
        BlockAttention(
            block=b.block,
            radix=b.radix,
            cardinality=b.cardinality,
            gates=b.gates,
            entropy_bits=entropy_bits(b.gates),
            reference=means.get(b.block),
            maps=b.maps,
            target=raw.target,
            geometry=geometry,
        )
        for b in raw.blocks
    )


def entropy_bits(of_block: Floats) -> float | None:
    """Mean over channels of the gates' entropy over radix, 0..log2(radix) bits.

    Args:
        of_block: ``(radix, channels)`` gates that add up to 1 over radix.

    Returns:
        None for radix 1, whose sigmoid is no distribution.
    """
    if len(of_block) == 1:
        return None
    return float(entr(of_block.astype(np.float64)).sum(axis=0).mean() / np.log(2))


def mean_gates(of_photos: Sequence[Mapping[str, Floats]]) -> dict[str, Floats]:
    """Average the gates of several inputs, block by block; empty where there are none.

    Args:
        of_photos: what ``gates`` returned for each input of one model.
    """
    if not of_photos:
        return {}
    means: dict[str, Floats] = {}
    for block in of_photos[0]:
        stacked = np.stack([photo[block] for photo in of_photos])
        means[block] = stacked.mean(axis=0, dtype=np.float64).astype(np.float32)
    return means


def _gates_of(seen: Record, block: families.Gates) -> torch.Tensor:
    """Return ``(radix, channels)`` float32.

    timm's gates and branches are both radix-major (cardinal groups run within a branch), so
    channel c of each branch belongs to channel c of the gated sum.
    """
    # With radix 1 timm's gates keep two sides of length 1.
    return seen.outputs[block.gates][0].detach().float().reshape(block.radix, -1)
