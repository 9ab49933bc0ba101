"""One forward and one backward, with the splits of all blocks recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mscnn.maps.recorder import record
from mscnn.scales.blocks import BlockTap
from mscnn.scales.finite import check_finite


@dataclass(frozen=True, slots=True)
class TappedBlock:
    """The splits of one block and the gradient there.

    Attributes:
        activation: ``(B, splits, channels of one split, h, w)``, float32 or wider.
        gradient: of the explained logits, likewise.
    """

    tap: BlockTap
    activation: torch.Tensor
    gradient: torch.Tensor

    def split_cams(self) -> npt.NDArray[np.float32]:
        """Sum over channels of mean gradient x activation: ``(B, splits, h, w)``, signed."""
        weights = self.gradient.mean(dim=(3, 4))
        cams = torch.einsum("bsk,bskhw->bshw", weights, self.activation)
        return cams.cpu().numpy().astype(np.float32)

    def place_sums(self) -> npt.NDArray[np.float64]:
        """Sum over channels of gradient x activation: ``(B, splits, h, w)``, signed.

        In NumPy, so that sums over places can be taken in float64, which not every device has.
        """
        sums = (self.gradient * self.activation).sum(dim=2)
        return sums.cpu().numpy().astype(np.float64)


@dataclass(frozen=True, slots=True)
class TappedPass:
    """What one forward and one backward gave.

    Attributes:
        logits: ``(B, classes)`` float32.
        targets: the class explained, for each sample.
        blocks: one per tap, in the order of the taps.
        last, last_gradient: ``(B, C, h, w)`` output of the layer asked for, and the gradient
            there, in the model's dtype, on its device; None where none was asked for.
    """

    logits: npt.NDArray[np.float32]
    targets: tuple[int, ...]
    blocks: tuple[TappedBlock, ...]
    last: torch.Tensor | None
    last_gradient: torch.Tensor | None


@torch.inference_mode(False)
@torch.enable_grad()
def run_tapped(
    model: nn.Module,
    x: torch.Tensor,
    taps: Sequence[BlockTap],
    choose: Callable[[torch.Tensor], Sequence[int]],
    last: str | None = None,
) -> TappedPass:
    """Run forward and backward once; only what follows the first tap keeps a graph.

    Args:
        model: in eval mode; its parameters are not touched.
        x: ``(B, 3, H, W)``, on the model's device and in its dtype.
        taps: at least one.
        choose: turns the ``(B, classes)`` float32 logits into one class per sample.
        last: name of a layer behind the first tap whose output is kept too.

    Raises:
        WeightsError: the network gives no finite numbers.
    """
    outputs = [] if last is None else [last]
    with record(model, outputs, inputs=[tap.module for tap in taps], with_graph=True) as seen:
        logits = model(x)
    answer = logits.detach().float()
    check_finite(answer)
    targets = tuple(choose(answer))
    activations = [seen.inputs[tap.module] for tap in taps] + [seen.outputs[o] for o in outputs]
    # Samples do not mix in eval mode: the gradient of the sum is each sample's own.
    score = logits[list(range(len(targets))), list(targets)].sum()
    gradients = torch.autograd.grad(score, activations)
    blocks = tuple(
        TappedBlock(tap, _by_split(a, tap), _by_split(g, tap))
        for tap, a, g in zip(taps, activations, gradients, strict=False)
    )
    return TappedPass(
        logits=answer.cpu().numpy(),
        targets=targets,
        blocks=blocks,
        last=None if last is None else activations[-1].detach(),
        last_gradient=None if last is None else gradients[-1],
    )


def _by_split(x: torch.Tensor, tap: BlockTap) -> torch.Tensor:
    # Sums over many channels lose too much in half precision.
    wide = x.detach() if x.dtype == torch.float64 else x.detach().float()
    by_split: torch.Tensor = wide.unflatten(1, (tap.splits, -1))
    return by_split
