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
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import entr
from torch import nn

from mscnn.geometry import Floats, ViewGeometry
from mscnn.maps.recorder import Record, record
from mscnn.maps.single_pass import Targets
from mscnn.results.scales import BlockAttention
from mscnn.scales import families


class RawAttention(NamedTuple):
    """All blocks in order of depth, for one input and class; ``logits`` as ``(classes,)``."""

    logits: Floats
    target: int
    blocks: tuple[BlockAttention, ...]


@torch.inference_mode()
def gates(model: nn.Module, x: torch.Tensor) -> dict[str, Floats]:
    """Read the gates of all blocks, ``(radix, channels)`` float32 in 0..1: one forward.

    Raises ``UnsupportedModelError``: the model has no split attention.
    """
    blocks = families.split_attention(model)
    with record(model, [block.gates for block in blocks], maps_only=False) as seen:
        model(x)
    return {block.block: _gates_of(seen, block).cpu().numpy() for block in blocks}


@torch.inference_mode(False)
@torch.enable_grad()
def gated_maps(
    model: nn.Module,
    x: torch.Tensor,
    targets: Targets,
    geometry: ViewGeometry,
    means: Mapping[str, Floats] | None = None,
) -> RawAttention:
    """Read the gates and compute the map of each radix branch: one forward, one backward.

    Of one input, for the first of ``targets``; ``geometry`` says where it lies on the photo, and
    ``means`` are the gates of reference photos, see ``mean_gates``. Raises
    ``UnsupportedModelError``: the model has no split attention.
    """
    read, means = families.split_attention(model), means or {}
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
        blocks.append(
            BlockAttention(
                block.block, block.radix, block.cardinality, gates, entropy_bits(gates),
                means.get(block.block), maps, target, geometry,
            )
        )  # fmt: skip
    return RawAttention(logits.detach().float().cpu().numpy(), target, tuple(blocks))


def entropy_bits(of_block: Floats) -> float | None:
    """Mean over channels of the entropy over radix of ``(radix, channels)`` gates.

    Returns 0..log2(radix) bits; None for radix 1, whose sigmoid is no distribution.
    """
    if len(of_block) == 1:
        return None
    return float(entr(of_block.astype(np.float64)).sum(axis=0).mean() / np.log(2))


def mean_gates(of_photos: Sequence[Mapping[str, Floats]]) -> dict[str, Floats]:
    """Average what ``gates`` returned for several inputs of one model, block by block."""
    return {
        block: np.stack([p[block] for p in of_photos]).mean(0, np.float64).astype(np.float32)
        for block in (of_photos[0] if of_photos else ())
    }


def _gates_of(seen: Record, block: families.Gates) -> torch.Tensor:
    """Return ``(radix, channels)`` float32.

    timm's gates and branches are both radix-major (cardinal groups run within a branch), so
    channel c of each branch belongs to channel c of the gated sum.
    """
    # With radix 1 timm's gates keep two sides of length 1.
    return seen.outputs[block.gates][0].detach().float().reshape(block.radix, -1)
