"""Grad-CAM for many layers and classes in one forward.

Grad-CAM (Selvaraju et al., ICCV 2017, arXiv:1610.02391, equations 1 and 2): with A the layer's
output and y_c the class's logit, a_k = mean over places of dy_c/dA_k, and the map is
ReLU(sum_k a_k A_k). We return the sum before the ReLU, and do not normalise it.

Where the layer feeds a global average pool and one linear layer W, the gradient is known without a
backward: dy_c/dA_kij = W_ck / (h w). This closed form makes the default view cost one forward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mscnn.maps.recorder import record


@dataclass(frozen=True, slots=True)
class RawMaps:
    """Result of one pass over one input.

    Attributes:
        logits: ``(classes,)`` float32.
        targets: class indices the maps belong to.
        maps: ``(layer, class index)`` to a signed ``(h, w)`` float32 map.
    """

    logits: npt.NDArray[np.float32]
    targets: tuple[int, ...]
    maps: dict[tuple[str, int], npt.NDArray[np.float32]]


class Targets:
    """Which classes to explain: given indices, and the best so many of the answer.

    Args:
        indices: class indices or ``"top1"``, in order.
        best: take the ``best`` most probable classes instead, where it is positive.
    """

    def __init__(self, indices: Sequence[int | str] = (), best: int = 0) -> None:
        self.indices, self.best = tuple(indices), best

    def choose(self, logits: torch.Tensor) -> tuple[int, ...]:
        """Settle the indices from ``(classes,)`` logits, without repeats, in order."""
        if self.best:
            return tuple(logits.topk(min(self.best, len(logits))).indices.tolist())
        top1 = int(logits.argmax())
        chosen = [top1 if i == "top1" else int(i) for i in self.indices]
        return tuple(dict.fromkeys(chosen))


def grad_cam(
    model: nn.Module,
    x: torch.Tensor,
    layers: Sequence[str],
    targets: Targets,
    *,
    linear: nn.Linear | None = None,
    last: str | None = None,
) -> RawMaps:
    """Compute Grad-CAM maps of one input.

    Args:
        model: in eval mode; its parameters are not touched.
        x: ``(1, 3, H, W)``, on the model's device and in its dtype.
        layers: module names, any order.
        targets: classes to explain.
        linear: the head's linear layer, where the model ends in ``last`` -> average over
            places -> ``linear``. Checked against the logits; autograd serves where it fails.
        last: name of the last convolutional stage.
    """
    if linear is not None and tuple(layers) == (last,):
        closed = _closed_form(model, x, str(last), linear, targets)
        if closed is not None:
            return closed
    return _by_autograd(model, x, layers, targets)


@torch.inference_mode()
def _closed_form(
    model: nn.Module, x: torch.Tensor, last: str, linear: nn.Linear, targets: Targets
) -> RawMaps | None:
    with record(model, [last]) as taps:
        logits = model(x)[0].float()
    activation = taps.outputs[last][0].float()
    weight = linear.weight.float()
    if not pools_and_multiplies(linear, activation[None], logits[None], x.dtype):
        return None
    chosen = targets.choose(logits)
    places = activation.shape[1] * activation.shape[2]
    cams = torch.einsum("nk,khw->nhw", weight[list(chosen)] / places, activation)
    maps = dict(zip(((last, c) for c in chosen), cams.cpu().numpy(), strict=True))
    return RawMaps(logits.cpu().numpy(), chosen, maps)


def pools_and_multiplies(
    linear: nn.Linear, activation: torch.Tensor, logits: torch.Tensor, dtype: torch.dtype
) -> bool:
    """Whether the head is the mean over places and one linear layer; it shows at no cost.

    Args:
        linear: the layer.
        activation: ``(B, C, h, w)`` float32, what the last stage put out.
        logits: ``(B, classes)`` float32, what the network answered.
        dtype: what it computed in, which sets the tolerance.
    """
    weight = linear.weight.float()
    if activation.shape[1] != weight.shape[1]:
        return False
    pooled = activation.mean(dim=(2, 3)) @ weight.T
    if linear.bias is not None:
        pooled = pooled + linear.bias.float()
    tolerance = 1e-3 if dtype == torch.float32 else 5e-2
    largest = float(logits.abs().max() + 1)
    return pooled.shape == logits.shape and torch.allclose(
        pooled, logits, rtol=tolerance, atol=tolerance * largest
    )


@torch.inference_mode(False)
@torch.enable_grad()
def _by_autograd(
    model: nn.Module, x: torch.Tensor, layers: Sequence[str], targets: Targets
) -> RawMaps:
    names = list(dict.fromkeys(layers))
    with record(model, names, with_graph=True) as taps:
        logits = model(x)[0]
    chosen = targets.choose(logits.detach().float())
    activations = [taps.outputs[name] for name in names]
    maps: dict[tuple[str, int], npt.NDArray[np.float32]] = {}
    for i, target in enumerate(chosen):
        gradients = torch.autograd.grad(
            logits[target], activations, retain_graph=i + 1 < len(chosen)
        )
        for name, activation, gradient in zip(names, activations, gradients, strict=True):
            weights = gradient[0].float().mean(dim=(1, 2))
            cam = torch.einsum("k,khw->hw", weights, activation[0].detach().float())
            maps[name, target] = cam.cpu().numpy()
    return RawMaps(logits.detach().float().cpu().numpy(), chosen, maps)
