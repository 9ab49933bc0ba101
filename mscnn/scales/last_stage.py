"""Grad-CAM of the last stage for a whole batch and one class.

The same formulas as ``mscnn.maps.single_pass``, which explains one input: Grad-CAM (Selvaraju
et al., ICCV 2017, arXiv:1610.02391) before its ReLU, in one forward where the head is an average
over places and one linear layer.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mscnn.geometry import FloatMap
from mscnn.maps.recorder import record
from mscnn.maps.single_pass import pools_and_multiplies
from mscnn.scales.finite import check_finite

Logits = npt.NDArray[np.float32]


def cams(gradient: torch.Tensor, activation: torch.Tensor) -> FloatMap:
    """Grad-CAMs from gradients and activations, both ``(B, C, h, w)``.

    Returns:
        ``(B, h, w)`` float32: sum over channels of mean gradient x activation, signed.
    """
    return _weighted(gradient.float().mean(dim=(2, 3)), activation)


def batch_cams(
    model: nn.Module, x: torch.Tensor, target: int, last: str, linear: nn.Linear | None
) -> tuple[Logits, FloatMap]:
    """Compute the logits of a batch, and one class's last-stage map for each sample.

    Args:
        model: in eval mode; its parameters are not touched.
        x: ``(B, 3, H, W)``, on the model's device and in its dtype.
        target: class index.
        last: module name of the last convolutional stage.
        linear: the head's linear layer, where the model is said to end in ``last`` -> average
            over places -> ``linear``. Checked against the logits; autograd serves where it fails.

    Returns:
        ``(B, classes)`` and ``(B, h, w)`` float32.

    Raises:
        WeightsError: the network gives no finite numbers.
    """
    found = None if linear is None else _closed_form(model, x, target, last, linear)
    return found or _by_autograd(model, x, target, last)


@torch.inference_mode()
def _closed_form(
    model: nn.Module, x: torch.Tensor, target: int, last: str, linear: nn.Linear
) -> tuple[Logits, FloatMap] | None:
    with record(model, [last]) as taps:
        logits = model(x).float()
    check_finite(logits)
    activation, weight = taps.outputs[last].float(), linear.weight.float()
    if not pools_and_multiplies(linear, activation, logits, x.dtype):
        return None
    places = activation.shape[2] * activation.shape[3]
    weights = (weight[target] / places).expand(len(x), -1)
    return logits.cpu().numpy(), _weighted(weights, activation)


@torch.inference_mode(False)
@torch.enable_grad()
def _by_autograd(
    model: nn.Module, x: torch.Tensor, target: int, last: str
) -> tuple[Logits, FloatMap]:
    with record(model, [last], with_graph=True) as taps:
        logits = model(x)
    check_finite(logits)
    activation = taps.outputs[last]
    # In eval mode the samples of a batch do not mix, so one sum gives each its own gradient.
    (gradient,) = torch.autograd.grad(logits[:, target].sum(), activation)
    return logits.detach().float().cpu().numpy(), cams(gradient, activation.detach())


def _weighted(weights: torch.Tensor, activation: torch.Tensor) -> FloatMap:
    """``(B, h, w)`` of ``(B, C)`` channel weights and ``(B, C, h, w)`` activations."""
    maps: FloatMap = torch.einsum("bk,bkhw->bhw", weights, activation.float()).cpu().numpy()
    return maps
