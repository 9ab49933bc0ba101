"""The only door to the ``grad-cam`` package (pytorch_grad_cam), for the methods we do not compute.

The package rescales every map on its own; we take its map before that step, so that magnitudes
and signs stay. It has no Stop and no progress, so the model is wrapped in a module that counts
forwards and raises when the user has asked to stop.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytorch_grad_cam as package
import torch
from pytorch_grad_cam import ablation_cam, score_cam
from pytorch_grad_cam.metrics import road as package_road
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from mscnn.errors import Cancelled, MethodError
from mscnn.geometry import Floats
from mscnn.maps.methods import METHODS, Call
from mscnn.maps.recorder import record, unused
from mscnn.maps.single_pass import RawMaps, Targets
from mscnn.models.seeding import seeded

# The package draws its own progress bar on stderr, which would mix into the command line's output.
_quiet = SimpleNamespace(tqdm=lambda batches, **_: batches)
score_cam.tqdm = ablation_cam.tqdm = _quiet

BATCH = 32
"""Pictures per forward at 224 px; fewer at larger sizes, so that memory stays the same."""
MOST_IN_BATCH = 128
MOST_COMPARED = 2**14
"""Positions that KPCA-CAM sets beside one another: the matrix of all pairs takes 1 GB."""


class _StreamedScoreCAM(package.ScoreCAM):  # type: ignore[misc]  # the package is untyped
    """The package's ScoreCAM with the same numbers, computed a few channels at a time.

    The package enlarges all channels to the input's size and multiplies the input with each at
    once, which takes 1.6 GB for ResNet-50 at 224 px and 5.7 GB for ResNeSt-269 at 416 px.
    """

    def get_cam_weights(
        self, input_tensor: Any, target_layer: Any, targets: Any, activations: Any, grads: Any
    ) -> Floats:
        """Score every channel of the one picture; ``(1, C)``, adding up to 1."""
        scores: list[torch.Tensor] = []
        # Its hooks would keep the layer's output of every batch.
        self.activations_and_grads.release()
        with torch.no_grad():
            for part in torch.from_numpy(activations[0]).to(self.device).split(self.batch_size):
                masks = nn.functional.interpolate(
                    part[None], size=input_tensor.shape[-2:], mode="bilinear", align_corners=True
                )[0]
                low, high = masks.amin((1, 2), keepdim=True), masks.amax((1, 2), keepdim=True)
                masks = (masks - low) / (high - low + 1e-8)
                outputs = self.model(input_tensor * masks[:, None])
                scores += [targets[0](output).cpu() for output in outputs]
            weights = torch.softmax(torch.stack(scores), dim=0)
        return weights[None].numpy()


class _Oriented(package.base_cam.BaseCAM):  # type: ignore[misc]  # the package is untyped
    """Turns a first principal component, whose sign is arbitrary, to the side of the activations.

    EigenCAM (arXiv:2008.00299) projects activations as they are; where none is negative, neither
    is their first component (Perron, Frobenius). The package takes the mean off first, and with it
    this sign. Of the two we choose the one that varies with the mean absolute activation of the
    channels: a map is positive where the layer responds most. Not by the class's gradient, even for
    EigenGradCAM: gradient times activation, summed, all but cancels in early layers, and in 45 of
    767 scenes of one textured square chose the side without it; the activations did so in none.
    """

    def get_cam_image(
        self, input_tensor: Any, target_layer: Any, targets: Any, activations: Any, *more: Any
    ) -> Floats:
        """Make the maps, ``(B, h, w)``, of ``(B, C, h, w)`` float32 activations."""
        maps = super().get_cam_image(input_tensor, target_layer, targets, activations, *more)
        strength = np.abs(activations).mean(axis=1)
        strength -= strength.mean(axis=(1, 2), keepdims=True)
        agreement = (maps * strength).sum(axis=(1, 2), keepdims=True)
        turned: Floats = np.where(agreement < 0, -maps, maps)
        return turned


def _first_component(channels: Floats) -> Floats:
    """Project positions on their first principal component: ``(B, C, h, w)`` to ``(B, h, w)``.

    As the package, whose SVD also makes a matrix of all pairs of positions, which nothing reads:
    10 GB for a map of 224 x 224.
    """
    flat = np.nan_to_num(channels, posinf=np.inf, neginf=-np.inf).reshape(*channels.shape[:2], -1)
    rows = flat.transpose(0, 2, 1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    found = [one @ np.linalg.svd(one, full_matrices=False)[2][0] for one in rows]
    return np.stack(found).reshape(len(channels), *channels.shape[2:]).astype(np.float32)


class _EigenCAM(package.EigenCAM):  # type: ignore[misc]  # the package is untyped
    def get_cam_image(
        self, input_tensor: Any, target_layer: Any, targets: Any, activations: Any, *_more: Any
    ) -> Floats:
        return _first_component(activations)


class _EigenGradCAM(package.EigenGradCAM):  # type: ignore[misc]  # the package is untyped
    def get_cam_image(
        self, input_tensor: Any, target_layer: Any, targets: Any, activations: Any, grads: Any,
        *_more: Any,
    ) -> Floats:  # fmt: skip
        return _first_component(grads * activations)


class _KPCACAM(package.KPCA_CAM):  # type: ignore[misc]  # the package is untyped
    def get_cam_image(
        self, input_tensor: Any, target_layer: Any, targets: Any, activations: Any, *more: Any
    ) -> Floats:
        # Of positions that are all alike its solver makes an error, or rounding errors.
        if not np.ptp(activations, axis=(2, 3)).any():
            return np.zeros_like(activations[:, 0])
        given = input_tensor, target_layer, targets, activations
        found: Floats = super().get_cam_image(*given, *more)
        return found


class _AblationCAM(package.AblationCAM):  # type: ignore[misc]  # the package is untyped
    """AblationCAM (Desai and Ramaswamy, WACV 2020), its weights relative to the logit's magnitude.

    The paper and the package divide the fall of the logit by the logit itself, which turns the map
    inside out where it is negative: there we deviate.
    """

    def save_activation(self, module: nn.Module, input: Any, output: torch.Tensor) -> None:
        """Keep the layer's output as it is now, before anything in place overwrites it."""
        self.activations = output.clone()

    def get_cam_weights(
        self, input_tensor: Any, target_layer: Any, targets: Any, activations: Any, grads: Any
    ) -> Floats:
        """How far the logit falls without each channel of the one picture; ``(1, C)``."""
        logits: list[torch.Tensor] = []

        def target(output: torch.Tensor) -> torch.Tensor:
            logits.append(targets[0](output))
            return logits[-1]

        given = input_tensor, target_layer, [target], activations, grads
        weights: Floats = super().get_cam_weights(*given)
        return -weights if logits[0] < 0 else weights


class _Zeros(package.AblationLayer):  # type: ignore[misc]  # the package is untyped
    """Fills an ablated channel with 0, as the paper does.

    The package fills those of a layer without ReLU with the least of a batch that holds fills
    already, less 1e7, so that weights depend on a channel's place in the batch.
    """

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        rows = torch.arange(len(self.activations))
        self.activations[rows, self.indices[: len(rows)]] = 0
        found: torch.Tensor = self.activations
        return found


class _Contrast:
    """FinerCAM's target: the logit less each of the others', weighted by their probabilities.

    The package divides by the sum of these plus 1e-9; where all of them are less than that, the
    epsilon turns the gradient round.
    """

    def __init__(self, target: int, others: Sequence[int]) -> None:
        self.target, self.others = target, list(others)

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        rest = logits[..., self.others]
        return (rest.softmax(-1) * (logits[..., self.target, None] - rest)).sum(-1)


_CLASSES: dict[str, Any] = {
    "gradcam": package.GradCAM,
    "gradcam++": package.GradCAMPlusPlus,
    "hirescam": package.HiResCAM,
    "layercam": package.LayerCAM,
    "xgradcam": package.XGradCAM,
    "gradcam-elementwise": package.GradCAMElementWise,
    "eigengradcam": type("EigenGradCAM", (_Oriented, _EigenGradCAM), {}),
    "eigencam": type("EigenCAM", (_Oriented, _EigenCAM), {}),
    "kpcacam": type("KPCA_CAM", (_Oriented, _KPCACAM), {}),
    "scorecam": _StreamedScoreCAM,
    "ablationcam": _AblationCAM,
}


class _Watched(nn.Module):
    """Passes calls on; reports each forward and stops when asked."""

    def __init__(self, model: nn.Module, total: int, call: Call) -> None:
        super().__init__()
        self.model = model
        self._done, self._total, self._call = 0, total, call

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self._call.check()
        y: torch.Tensor = self.model(x)
        self._done = min(self._done + len(x), self._total)
        self._call.progress(self._done, self._total)
        return y


def batch_size(height: int, width: int) -> int:
    """How many pictures of this size, px, pass at once."""
    return min(MOST_IN_BATCH, max(1, BATCH * 224**2 // (height * width)))


def seconds_needed(model: nn.Module, x: torch.Tensor, layer: str, method: str) -> float:
    """How long ``packaged_map`` will take here, s: its first batches are computed and timed."""
    started = time.perf_counter()
    done: list[tuple[float, int, int]] = []
    call = Call(
        lambda count, total: done.append((time.perf_counter(), count, total)),
        lambda: len(done) > 1 and done[-1][1] > 2 * batch_size(*x.shape[-2:]),
    )
    try:
        packaged_map(model, x, layer, 0, method, call=call)
    except Cancelled:
        (before, few, _), (after, many, total) = done[-2:]
        return (after - before) * total / (many - few)
    return time.perf_counter() - started


def packaged_maps(
    model: nn.Module,
    x: torch.Tensor,
    layers: Sequence[str],
    targets: Targets,
    method: str,
    *,
    call: Call | None = None,
    others: Sequence[int] = (),
    **_head: object,
) -> RawMaps:
    """Compute the maps of several layers and classes; see ``mscnn.maps.methods.Method.compute``.

    ``call`` gets (forwards done, forwards needed) over all maps. The package hands everything to
    NumPy, which has no bfloat16, so a bfloat16 model is copied to float32 for the maps. Raises
    ``UnknownLayerError``, ``MethodError``, ``Cancelled``: see ``packaged_map``.
    """
    call = call or Call()
    with torch.inference_mode():
        logits = model(x)[0].float().cpu()
    chosen = targets.choose(logits)
    if x.dtype != torch.float32:
        model, x = copy.deepcopy(model).float(), x.float()
    distinct = chosen if METHODS[method].class_specific else chosen[:1]
    pairs = [(layer, target) for layer in layers for target in distinct]
    maps: dict[tuple[str, int], Floats] = {}
    for i, (layer, target) in enumerate(pairs):

        def progress(done: int, total: int, i: int = i) -> None:
            call.progress(i * total + done, len(pairs) * total)

        part = Call(progress, call.is_cancelled)
        maps[layer, target] = packaged_map(
            model, x, layer, target, method, call=part, others=others
        )
    if not METHODS[method].class_specific:
        maps = {(layer, t): maps[layer, chosen[0]] for layer in layers for t in chosen}
    return RawMaps(logits.numpy(), chosen, maps)


def packaged_map(
    model: nn.Module,
    x: torch.Tensor,
    layer: str,
    target: int,
    method: str,
    *,
    call: Call | None = None,
    others: Sequence[int] = (),
) -> Floats:
    """Compute one map through the package, of a float32 input and a class within range.

    ``call`` gets (forwards done, forwards needed), and is checked before each forward. ``others``
    are classes to set it in contrast to, by FinerCAM on the method (Zhang et al., CVPR 2025,
    arXiv:2501.11309): the differences of logits, weighted by the others' probabilities. Returns
    ``(h, w)`` float32, before the package's ReLU and rescaling. Raises ``UnknownLayerError``: there
    is no such layer, it gives no map, or nothing reads it; ``MethodError``: its map is too large
    for the method; ``Cancelled``.
    """
    call = call or Call()
    with torch.no_grad(), record(model, [layer]) as seen:
        model(x)
    height, width = seen.outputs[layer].shape[2:]
    if method == "kpcacam" and height * width > MOST_COMPARED:
        raise MethodError(
            f"{METHODS[method].title} compares all pairs of positions, which takes too much memory "
            f"for the {height} x {width} of {layer}; choose a later layer or another method."
        )
    total = seen.outputs[layer].shape[1] + 1 if METHODS[method].is_slow else 1
    # AblationCAM puts a layer and a hook of its own in, and leaves both there after an exception.
    inner = copy.deepcopy(model) if method == "ablationcam" else model
    watched = _Watched(inner, total, call).eval()
    wanted = _Contrast(target, others) if others else target
    raw = _run(watched, layer, x, wanted, method)
    return np.nan_to_num(np.asarray(raw, dtype=np.float32))


def road(
    answer: Callable[[torch.Tensor], torch.Tensor],
    chance: Callable[[torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    on_view: Floats,
    percentiles: Sequence[int],
    seed: int,
) -> float:
    """Compute the package's ROAD of one map: (weakest filled in - strongest filled in) / 2.

    ``answer`` gives the logits ``(1, classes)`` of an input, ``chance`` a probability of
    ``(classes,)`` logits; ``x`` is ``(1, 3, H, W)`` float32 on the CPU, ``on_view`` ``(H, W)`` in
    0..1. At the percentile 90 a tenth of the pixels is filled in.
    """
    imputer = package_road.NoisyLinearImputer()

    def fill(img: torch.Tensor, mask: torch.Tensor) -> Any:
        with seeded(seed):
            return imputer(img, mask)

    def mean(way: Any) -> float:
        filled = [package_road.PerturbationConfidenceMetric(way(p, fill)) for p in percentiles]
        given = x, on_view[None], [chance], answer
        return float(np.mean([metric(*given, return_diff=False) for metric in filled]))

    weakest, strongest = package_road.RemoveLeastRelevantFirst, package_road.RemoveMostRelevantFirst
    return (mean(weakest) - mean(strongest)) / 2


@torch.inference_mode(False)
def _run(watched: _Watched, layer: str, x: torch.Tensor, target: Any, method: str) -> Floats:
    kept, module = list[Floats](), watched.model.get_submodule(layer)
    # The default is one object shared by all instances of the class.
    fresh = {"ablation_layer": _Zeros()} if method == "ablationcam" else {}
    x = x.detach().clone()
    # With frozen parameters the input has to start the graph; nothing lands in a ``.grad``.
    x.requires_grad_(METHODS[method].cost == "gradient")
    # Not in a ``with``: the package's __exit__ hides every IndexError.
    if isinstance(target, int):
        cam: Any = _CLASSES[method](watched, [module], **fresh)
        run, target = cam, ClassifierOutputTarget(target)
    else:
        run = package.FinerCAM(watched, [module], base_method=_CLASSES[method])
        cam = run.base_cam
    cam.batch_size = batch_size(*x.shape[-2:])
    make = cam.get_cam_image

    def keep(*args: Any, **kwargs: Any) -> Floats:
        if METHODS[method].cost == "gradient" and args[4] is None:
            raise unused(layer)
        kept.append(np.asarray(make(*args, **kwargs)))
        return kept[-1]

    cam.get_cam_image = keep
    try:
        # The package's hooks, which come first, keep the output itself: on the CPU, layers that
        # work in place would write over it.
        clone = module.register_forward_hook(lambda _module, _input, output: output.clone())
        with clone, torch.enable_grad():
            run(input_tensor=x, targets=[target])
    finally:
        cam.activations_and_grads.release()
        # Otherwise a reference cycle keeps the model's graph until the collector comes by.
        vars(cam).clear()
        cam.activations_and_grads = SimpleNamespace(release=lambda: None)
    raw: Floats = kept[0][0]
    return raw
