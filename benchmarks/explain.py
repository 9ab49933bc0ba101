"""What a class activation map costs, as a multiple of timm's bare forward.

    python -m benchmarks.explain
    python -m benchmarks.explain --models resnet50 --repeats 31 --threads 2 --json

Two questions, each asked of mscnn and of the grad-cam package in one process:

* ``top-5``: the five best classes and a last-stage map for each (what the page shows first).
* ``stages``: the maps of all four stages for one class.

The package is used in its *usual* way (as its README shows, a new object in a ``with`` block for
every map) and in its best ways: one object for all classes, one batch with the photo once per
class, and one pass for all stages whose maps are taken before the package averages them.

Everything runs at batch 1, 224 px, float32, on the CPU, with frozen parameters in eval mode (the
package gets an input that asks for gradients, as it needs then). ``benchmarks.timing`` says how it
is timed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.activations_and_gradients import ActivationsAndGradients
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from benchmarks.scales import STAGES, TARGET, bare_forward, network_input
from benchmarks.timing import Candidate, build, command
from mscnn.maps.single_pass import Targets, grad_cam

LIMITS = {"top-5, mscnn": 1.15, "stages, mscnn": 2.3}
"""The ratios that mscnn promises at most."""


def candidates(name: str, _repeats: int) -> dict[str, Candidate]:
    """Return what is timed, by name; ``bare`` is the unit."""
    model, x = build(name), network_input()
    bare = bare_forward(model, x)
    stages = [model.get_submodule(name) for name in STAGES]
    linear = model.get_submodule("fc")
    assert isinstance(linear, nn.Linear)
    last, every = _SharedCam(model, stages[-1:]), _SharedCam(model, stages)

    def best_five() -> list[int]:
        five: list[int] = bare()[0].topk(5).indices.tolist()
        return five

    def one_by_one() -> list[Any]:
        with last.listening():
            first = last(x.clone().requires_grad_(), None)
            rest = last.outputs[0].topk(5).indices.tolist()[1:]
            return [first, *(last.each_layer(x, index) for index in rest)]

    def one_batch() -> Any:
        targets = [ClassifierOutputTarget(index) for index in best_five()]
        with last.listening():
            return last(x.repeat(5, 1, 1, 1).requires_grad_(), targets)

    def all_stages() -> list[Any]:
        with every.listening():
            return every.each_layer(x, TARGET)

    return {
        "bare": bare,
        "top-5, mscnn": lambda: grad_cam(
            model, x, ["layer4"], Targets(best=5), linear=linear, last="layer4"
        ),
        "top-5, package, one batch": one_batch,
        "top-5, package, one object": one_by_one,
        "top-5, package, usual": lambda: [
            _package_map(model, x, stages[-1], index) for index in best_five()
        ],
        "stages, mscnn": lambda: grad_cam(model, x, STAGES, Targets([TARGET])),
        "stages, package, one pass": all_stages,
        "stages, package, usual": lambda: [_package_map(model, x, s, TARGET) for s in stages],
    }


def _package_map(model: nn.Module, x: torch.Tensor, layer: nn.Module, index: int) -> Any:
    with GradCAM(model=model, target_layers=[layer]) as cam:
        return cam(input_tensor=x.clone().requires_grad_(), targets=[ClassifierOutputTarget(index)])


class _SharedCam(GradCAM):  # type: ignore[misc]  # the package is untyped
    """One object for many maps; its hooks rest while it is not asked."""

    def __init__(self, model: nn.Module, layers: Sequence[nn.Module]) -> None:
        super().__init__(model, list(layers))
        self.activations_and_grads.release()

    @contextmanager
    def listening(self) -> Iterator[None]:
        self.activations_and_grads = ActivationsAndGradients(self.model, self.target_layers, None)
        try:
            yield
        finally:
            self.activations_and_grads.release()

    def each_layer(self, x: torch.Tensor, index: int) -> list[Any]:
        """One pass for the map of every layer; the package's own call returns only their mean."""
        x, targets = x.clone().requires_grad_(), [ClassifierOutputTarget(index)]
        self.outputs = self.activations_and_grads(x)
        self.model.zero_grad()
        targets[0](self.outputs[0]).backward(retain_graph=True)  # as in the package's forward
        return list(self.compute_cam_per_layer(x, targets, False))


if __name__ == "__main__":
    models = "resnet50,res2net50_26w_4s,resnest50d"
    command("benchmarks.explain", candidates, models=models, repeats=15, limits=LIMITS)
