"""What the multi-scale lens costs, as a multiple of the passes that it cannot do without.

    python -m benchmarks.lens
    python -m benchmarks.lens --models res2net50_26w_4s --repeats 31 --threads 2 --json

Two questions, each asked of a single-path and of a Res2Net network:

* ``click``: the effective receptive field of one unit, at layer4 and at layer3, over one bare
  forward and backward: the logit's gradient to the input, without hooks.
* ``sweep``: twelve sizes in two batches, with their probabilities, maps, evidence shares and
  energy, over two batched passes of prepared inputs that yield nothing but their tensors. A
  network without splits needs a forward (its maps follow from the head's weights), one with
  splits a backward as well, down to the first block; the bare pass is the same. The ratio to the
  plain batched forwards is printed too. Composing the pictures, which happens on the CPU before
  the network is asked, is a row of its own.

Everything runs at 224 px, float32, on the CPU, with frozen parameters in eval mode.
``benchmarks.timing`` says how it is timed.
"""

from __future__ import annotations

import numpy as np
import timm
import torch
from PIL import Image
from torch import nn

from benchmarks.scales import STAGES, TARGET, bare_forward
from benchmarks.timing import Candidate, Units, build, command
from mscnn.photos.preprocess import Preprocessor
from mscnn.scales import receptive_field
from mscnn.scales.effective import log_scaled, squares, unit_gradient
from mscnn.scales.families import find_point, has_splits, hook_points
from mscnn.scales.sweep import Plan, measure, score

LIMITS = {"click, layer4": 2.5, "click, layer3": 2.5, "sweep": 1.2}
"""The ratios that mscnn promises at most."""
UNITS: Units = {
    "click, layer4": ("click, layer4", "forward and backward"),
    "click, layer3": ("click, layer3", "forward and backward"),
    "sweep": ("sweep", "batched passes"),
    "sweep (plain forwards)": ("sweep", "batched forwards"),
    "composing": ("composing", "batched passes"),
}


def candidates(name: str, _repeats: int) -> dict[str, Candidate]:
    """Return what is timed, by name."""
    model, photo = build(name), _photo()
    preprocess = Preprocessor(timm.data.resolve_model_data_config(model))
    plan, x = Plan(), preprocess(photo).x
    batches = list(plan.batches(photo, preprocess))
    inputs = [torch.cat([shown.x for shown in batch]) for batch in batches]
    forwards = [bare_forward(model, x) for x in inputs]
    linear = model.get_submodule("fc")
    assert isinstance(linear, nn.Linear)
    field = receptive_field.known(name)

    def click(layer: str) -> object:
        measured = unit_gradient(model, [x], find_point(model, layer, None), (100.0, 120.0))
        gradient = measured.gradient
        return squares(gradient, (100.0, 120.0)), squares(log_scaled(gradient), (100.0, 120.0))

    def sweep() -> object:
        steps = []
        for batch in batches:
            steps += measure(
                model, batch, TARGET, place=lambda x: x, stages=STAGES, linear=linear, field=field
            )
        return score([s.factor for s in steps], [s.probability for s in steps])

    def passes() -> object:
        if has_splits(model, STAGES):
            return [_evidence_pass(model, batch) for batch in inputs]
        return [forward() for forward in forwards]

    return {
        "forward and backward": lambda: _input_gradient(model, x),
        "batched passes": passes,
        "batched forwards": lambda: [forward() for forward in forwards],
        "click, layer4": lambda: click("layer4"),
        "click, layer3": lambda: click("layer3"),
        "sweep": sweep,
        "composing": lambda: list(plan.batches(photo, preprocess)),
    }


def _input_gradient(model: nn.Module, x: torch.Tensor) -> object:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(model(x)[0, TARGET], x)


def _evidence_pass(model: nn.Module, x: torch.Tensor) -> object:
    """Forward and backward between the first block's last convolution and the logits."""
    starts: list[torch.Tensor] = []

    def start(module: nn.Module, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        starts.append(args[0].detach().requires_grad_())
        return (starts[0],)

    first = model.get_submodule(hook_points(model, STAGES)[0].module)
    handle = first.register_forward_pre_hook(start)
    try:
        return torch.autograd.grad(model(x)[:, TARGET].sum(), starts)
    finally:
        handle.remove()


def _photo() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((1024, 768))


if __name__ == "__main__":
    models = "resnet50,res2net50_26w_4s"
    command("benchmarks.lens", candidates, models=models, repeats=9, limits=LIMITS, units=UNITS)
