"""Grad-CAM for many layers and classes, or many inputs, in one forward.

Grad-CAM (Selvaraju et al., ICCV 2017, arXiv:1610.02391, equations 1 and 2): with A the layer's
output and y_c the class's logit, a_k = mean over positions of dy_c/dA_k, and the map is
ReLU(sum_k a_k A_k). We return the sum before the ReLU, and do not normalise it.

Where the layer feeds a global average pool and one linear layer W, the gradient is known without a
backward: dy_c/dA_kij = W_ck / (h w). This closed form makes the default view cost one forward.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from mscnn.geometry import FloatMap, Floats
from mscnn.maps.recorder import record, unused
from mscnn.models.probabilities import check_finite


@dataclass(frozen=True, slots=True)
class RawMaps:
    """Result of one pass over one input, for the class indices ``targets``.

    ``logits`` is ``(classes,)`` float32, a map signed ``(h, w)`` float32, by (layer, class index).
    """

    logits: Floats
    targets: tuple[int, ...]
    maps: dict[tuple[str, int], Floats]


class Targets:
    """Which classes to explain: indices or ``"top1"``, in order; or so many of the ``best``."""

    def __init__(self, indices: Sequence[int | str] = (), best: int = 0) -> None:
        self.indices, self.best = tuple(indices), best

    def choose(self, logits: torch.Tensor) -> tuple[int, ...]:
        """Settle the indices from ``(classes,)`` logits, without repeats, in order.

        Raises ``WeightsError``: a logit is not finite.
        """
        check_finite(logits)
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
    **_method_and_call: object,
) -> RawMaps:
    """Compute Grad-CAM maps of one input; see ``mscnn.maps.methods.Method.compute``.

    The closed form is checked against the logits; autograd serves where it fails.
    """
    if linear is not None and tuple(layers) == (last,):
        closed = _closed_form(model, x, str(last), linear, lambda logits: targets.choose(logits[0]))
        if closed is not None:
            logits, chosen, cams = closed
            maps = {(str(last), target): cam for target, cam in zip(chosen, cams, strict=True)}
            return RawMaps(logits[0].cpu().numpy(), chosen, maps)
    return _by_autograd(model, x, layers, targets)


def batch_grad_cam(
    model: nn.Module,
    x: torch.Tensor,
    target: int | Callable[[torch.Tensor], Sequence[int]],
    last: str,
    linear: nn.Linear | None,
) -> tuple[FloatMap, FloatMap]:
    """Compute the logits of a batch, and one class's last-stage map for each sample.

    ``target`` is the class of all samples, or gives each one's from ``(B, classes)`` logits. For
    the other arguments see ``mscnn.maps.methods.Method.compute``. Returns ``(B, classes)`` and
    ``(B, h, w)`` float32.
    """

    def choose(logits: torch.Tensor) -> tuple[int, ...]:
        return tuple(target(logits)) if callable(target) else (target,) * len(x)

    if linear is not None:
        closed = _closed_form(model, x, last, linear, choose)
        if closed is not None:
            return closed[0].cpu().numpy(), closed[2]
    with torch.inference_mode(False), torch.enable_grad():
        with record(model, [last], with_graph=True) as seen:
            logits = model(x)
        # In eval mode the samples of a batch do not mix, so one sum gives each its own gradient.
        activation = seen.outputs[last]
        wanted = logits[range(len(x)), choose(logits.detach().float())]
        (gradient,) = torch.autograd.grad(wanted.sum(), activation)
    return logits.detach().float().cpu().numpy(), cams(gradient, activation.detach())


def cams(gradient: torch.Tensor, activation: torch.Tensor) -> FloatMap:
    """Sum over channels of mean gradient x activation, both ``(B, C, h, w)``: ``(B, h, w)``."""
    return _weighted(gradient.float().mean(dim=(2, 3)), activation)


def _weighted(weights: torch.Tensor, activation: torch.Tensor) -> FloatMap:
    """``(B, h, w)`` of ``(B, C)`` channel weights and ``(B, C, h, w)`` activations."""
    maps: FloatMap = torch.einsum("bk,bkhw->bhw", weights, activation.float()).cpu().numpy()
    return maps


@torch.inference_mode()
def _closed_form(
    model: nn.Module,
    x: torch.Tensor,
    last: str,
    linear: nn.Linear,
    choose: Callable[[torch.Tensor], tuple[int, ...]],
) -> tuple[torch.Tensor, tuple[int, ...], FloatMap] | None:
    """Logits, classes, and a map for each: of one input for all classes, or input by input.

    Returns None where the head is not the mean over positions and ``linear``. Raises
    ``WeightsError``: a logit is not finite.
    """
    with record(model, [last]) as seen:
        logits = model(x).float()
    check_finite(logits)
    activation, weight = seen.outputs[last].float(), linear.weight.float()
    if not pools_and_multiplies(linear, activation, logits, x.dtype):
        return None
    chosen = choose(logits)
    weights = weight[list(chosen)] / (activation.shape[2] * activation.shape[3])
    return logits, chosen, _weighted(weights, activation.expand(len(chosen), -1, -1, -1))


def pools_and_multiplies(
    linear: nn.Linear, activation: torch.Tensor, logits: torch.Tensor, dtype: torch.dtype
) -> bool:
    """Whether the head is the mean over positions and one linear layer, seen from one forward.

    ``activation`` is ``(B, C, h, w)``, the last stage's, ``logits`` ``(B, classes)``, both float32;
    ``dtype``, what the network computed in, sets the tolerance.
    """
    if activation.shape[1] != linear.in_features:
        return False
    pooled = activation.mean(dim=(2, 3)) @ linear.weight.float().T
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
    with record(model, names, with_graph=True) as seen:
        logits = model(x)[0]
    if not logits.requires_grad:
        raise unused(names[0])
    chosen = targets.choose(logits.detach().float())
    activations = [seen.outputs[name] for name in names]
    maps: dict[tuple[str, int], Floats] = {}
    for i, target in enumerate(chosen):
        gradients = torch.autograd.grad(
            logits[target], activations, retain_graph=i + 1 < len(chosen), allow_unused=True
        )
        for name, activation, gradient in zip(names, activations, gradients, strict=True):
            if gradient is None:
                raise unused(name)
            maps[name, target] = cams(gradient, activation.detach())[0]
    return RawMaps(logits.detach().float().cpu().numpy(), chosen, maps)
