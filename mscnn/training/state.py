"""What a checkpoint holds, and whether a run may go on from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mscnn.errors import TrainingError
from mscnn.training.recipe import FIXED, Recipe


@dataclass
class Position:
    """Where a run is, and what it has measured so far.

    Attributes:
        epoch: 0-based; epochs that are done.
        step: steps that are done in this epoch.
        loss_sum: of the training losses of these steps, nats.
        seconds: spent training, over all epochs.
        history: one row per finished epoch.
        unreadable: photographs that were left out, ``[name, reason]``.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    unreadable: list[list[str]] = field(default_factory=list)

    def end_epoch(self, row: dict[str, float]) -> None:
        """Go to the start of the next epoch."""
        self.history.append(row)
        self.epoch, self.step, self.loss_sum = self.epoch + 1, 0, 0.0

    def load(self, state: Mapping[str, Any]) -> None:
        """Take back what ``vars`` gave; older checkpoints lack some of it."""
        for key in vars(self):
            if key in state:
                setattr(self, key, state[key])


def check_same_run(
    state: Mapping[str, Any], architecture: str, names: list[str], images: int, recipe: Recipe
) -> None:
    """Refuse a checkpoint that another model, other data or an unfit recipe wrote.

    Args:
        state: of the checkpoint; one of an older version lacks some keys.
        architecture: timm's name of the model now.
        names: of the classes now, in order.
        images: for training, now.
        recipe: now.

    Raises:
        TrainingError: they do not go together.
    """
    other = "give the same again, or another --out for a new run"
    if state["architecture"] != architecture:
        raise TrainingError(
            f"The checkpoint in --out is of {state['architecture']}, not {architecture}; {other}."
        )
    if state["names"] != names:
        before, now = len(state["names"]), len(names)
        what = f"{before} classes, the data has {now}" if before != now else "other class names"
        raise TrainingError(f"The checkpoint in --out has {what}; {other}.")
    if state.get("train_images", images) != images:
        raise TrainingError(
            f"The run in --out was started with {state['train_images']} training images, and there "
            f"are {images} now; {other}."
        )
    stored = Recipe.from_json(state["recipe"])
    for name in FIXED:
        before, now = getattr(stored, name), getattr(recipe, name)
        if before != now:
            option = name.replace("_", "-")
            raise TrainingError(
                f"The run in --out was started with --{option} {before}, not {now}; {other}."
            )
