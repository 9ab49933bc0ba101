"""timm's optimiser and schedule for a recipe."""

from __future__ import annotations

from typing import Any

import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2

from mscnn.errors import OptionError
from mscnn.training.recipe import Recipe


def optimiser_and_schedule(
    model: torch.nn.Module, recipe: Recipe, steps_per_epoch: int
) -> tuple[torch.optim.Optimizer, Any]:
    """Timm's optimiser and its per-step schedule.

    With a layer decay below 1, timm groups the parameters by the model's own ``group_matcher``:
    stem, blocks in order, and the rest with the classifier on top. A group's rate is the
    schedule's times ``layer_decay`` to the power of its distance from the top.

    Raises:
        OptionError: timm does not know the optimiser, or the phases do not fit into the run.
    """
    try:
        optimizer = create_optimizer_v2(
            model,
            opt=recipe.opt,
            lr=recipe.lr,
            weight_decay=recipe.weight_decay,
            layer_decay=recipe.layer_decay if recipe.layer_decay < 1 else None,
        )
    except (ValueError, TypeError) as error:
        raise OptionError(
            f"--opt is {recipe.opt!r}, which timm cannot use here; try muon, sgd or adamw."
        ) from error
    try:
        scheduler, _ = create_scheduler_v2(
            optimizer,
            sched=recipe.schedule,
            num_epochs=recipe.epochs,
            # timm takes 1 for one epoch, and only what lies below it for a share of the run.
            decay_epochs=min(recipe.decay, 1 - 1e-9) if recipe.schedule == "wsd" else None,
            warmup_epochs=recipe.warmup_epochs,
            warmup_lr=recipe.lr / 100,
            step_on_epochs=False,
            updates_per_epoch=steps_per_epoch,
        )
    except ValueError as error:
        raise OptionError(
            f"--warmup-epochs {recipe.warmup_epochs} and --decay {recipe.decay} do not fit into "
            f"{recipe.epochs} epoch(s); give more epochs or a shorter warm-up."
        ) from error
    return optimizer, scheduler
