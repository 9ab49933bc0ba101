"""What the multi-scale lens costs, as a multiple of timm's bare forward.

    python -m benchmarks.scales
    python -m benchmarks.scales --models res2net50_26w_4s,resnet50 --repeats 31 --threads 2 --json

``splits`` is all split maps and the scale attribution of every block for one class, from the
prepared input to NumPy arrays. Batch 1, 224 px, float32, on the CPU, with frozen parameters in
eval mode. ``benchmarks.timing`` says how it is timed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from benchmarks.timing import Candidate, build, command
from mscnn.geometry import ViewGeometry
from mscnn.maps.single_pass import Targets
from mscnn.scales.splits import split_evidence

STAGES = ("layer1", "layer2", "layer3", "layer4")
TARGET = 281
LIMITS = {"splits": 2.6}
"""The ratios that mscnn promises at most."""


def network_input(batch: int = 1, px: int = 224) -> torch.Tensor:
    """``(batch, 3, px, px)`` float32 noise, always the same."""
    return torch.randn(batch, 3, px, px, generator=torch.Generator().manual_seed(0))


def bare_forward(model: nn.Module, x: torch.Tensor) -> Callable[[], torch.Tensor]:
    """The unit: one forward in inference mode."""

    @torch.inference_mode()
    def bare() -> torch.Tensor:
        logits: torch.Tensor = model(x)
        return logits

    return bare


def candidates(name: str, _repeats: int) -> dict[str, Candidate]:
    """What is timed, by name; ``bare`` is the unit."""
    model, x = build(name), network_input()
    targets, side = Targets([TARGET]), x.shape[-1]
    geometry = ViewGeometry((side, side), (side, side), (0, 0), (side, side))
    return {
        "bare": bare_forward(model, x),
        "splits": lambda: split_evidence(model, x, targets, STAGES, None, geometry),
    }


if __name__ == "__main__":
    models = "res2net50_26w_4s"
    command("benchmarks.scales", candidates, models=models, repeats=15, limits=LIMITS)
