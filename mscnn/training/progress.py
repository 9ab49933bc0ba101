"""What a run says of itself while it trains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mscnn.training.recipe import Recipe


@dataclass(frozen=True, slots=True)
class TrainProgress:
    """Where a run is: ``epoch`` 0-based, ``step`` of ``steps`` in it, speed and remaining time.

    ``images_per_second`` is of all processes together; ``val_top1`` (0..1) of the last epoch that
    was measured, None before the first.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    size_px: int
    loss: float
    lr: float
    images_per_second: float
    seconds_left: float
    val_top1: float | None = None


Listener = Callable[[TrainProgress], None]
Notice = Callable[[str], None]
"""Takes a sentence for the user."""


def steps_left(recipe: Recipe, epoch: int, step: int, steps: int, final_px: int) -> float:
    """Return how many steps of the present cost remain.

    Later, larger phases cost more per step, in proportion to their area.
    """
    size_px = recipe.size_at(epoch, final_px)
    later = range(epoch + 1, recipe.epochs)
    areas = sum((recipe.size_at(e, final_px) / size_px) ** 2 for e in later)
    return steps - step + areas * steps
