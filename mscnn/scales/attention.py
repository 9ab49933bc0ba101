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
from timm.layers import SplitAttn
from torch import nn

from mscnn.errors import UnsupportedModelError
from mscnn.maps.recorder import Record, record
from mscnn.maps.single_pass import Targets

Floats = npt.NDArray[np.float32]

_NAME = ".conv2"


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

    Args:
        model: in eval mode.
        x: ``(1, 3, H, W)``, on the model's device and in its dtype.

    Returns:
        Block to ``(radix, channels)`` float32 in 0..1, channels as in the block's gated sum.

    Raises:
        UnsupportedModelError: the model has no split attention.
    """
    modules = _split_attention(model)
    with record(model, [_gate(block) for block in modules], maps_only=False) as taps:
        model(x)
    return {
        block: _gates_of(taps, block, module).cpu().numpy() for block, module in modules.items()
    }


@torch.inference_mode(False)
@torch.enable_grad()
def gated_maps(model: nn.Module, x: torch.Tensor, targets: Targets) -> RawAttention:
    """Read the gates and compute the map of each radix branch: one forward, one backward.

    Args:
        model: in eval mode; its parameters are not touched.
        x: ``(1, 3, H, W)``, on the model's device and in its dtype.
        targets: the class to explain; the first one is taken.

    Raises:
        UnsupportedModelError: the model has no split attention.
    """
    modules = _split_attention(model)
    layers = [n for b in modules for n in (_branches(b), _gate(b), b + _NAME)]
    with record(model, layers, with_graph=True, maps_only=False) as taps:
        logits = model(x)[0]
    target = targets.choose(logits.detach().float())[0]
    sums = [taps.outputs[block + _NAME] for block in modules]
    gradients = torch.autograd.grad(logits[target], sums)
    blocks = []
    for (block, module), gradient in zip(modules.items(), gradients, strict=True):
        gate = _gates_of(taps, block, module)
        branches = _branches_of(taps, block, module)
        weights = gate * gradient[0].float().mean(dim=(1, 2))
        maps = torch.einsum("rk,rkhw->rhw", weights, branches)
        blocks.append(
            RawGates(
                block=block,
                radix=module.radix,
                cardinality=module.rsoftmax.cardinality,
                gates=gate.cpu().numpy(),
                maps=maps.cpu().numpy(),
            )
        )
    return RawAttention(logits.detach().float().cpu().numpy(), target, tuple(blocks))


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


def _split_attention(model: nn.Module) -> dict[str, SplitAttn]:
    """Block name to its split attention, in order of depth."""
    found = {
        name.removesuffix(_NAME): module
        for name, module in model.named_modules()
        if isinstance(module, SplitAttn) and name.endswith(_NAME)
    }
    if not found:
        raise UnsupportedModelError(
            "This model has no split attention; ResNeSt models have it, so choose one of those."
        )
    return found


def _gate(block: str) -> str:
    return f"{block}{_NAME}.rsoftmax"


def _branches(block: str) -> str:
    """The activation after the branches' convolution; timm puts all branches in one tensor."""
    return f"{block}{_NAME}.act0"


def _gates_of(taps: Record, block: str, module: SplitAttn) -> torch.Tensor:
    """Return ``(radix, channels)`` float32.

    timm's gates and branches are both radix-major (cardinal groups run within a branch), so
    channel c of each branch belongs to channel c of the gated sum.
    """
    # With radix 1 timm's gates keep two sides of length 1.
    gate = taps.outputs[_gate(block)][0].detach().float()
    return gate.reshape(module.radix, -1)


def _branches_of(taps: Record, block: str, module: SplitAttn) -> torch.Tensor:
    """Return ``(radix, channels, h, w)`` float32."""
    branches = taps.outputs[_branches(block)][0].detach().float()
    return branches.reshape(module.radix, -1, *branches.shape[1:])
