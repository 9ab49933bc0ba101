"""timm's optimiser and schedule, and one step: forward, backward, update, moving average."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from timm.data import Mixup
from timm.loss import SoftTargetCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import ModelEmaV3
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from mscnn.data.processes import Processes
from mscnn.errors import OptionError
from mscnn.training.batches import Batch
from mscnn.training.recipe import Recipe


def optimiser_and_schedule(
    model: torch.nn.Module, recipe: Recipe, steps_per_epoch: int
) -> tuple[torch.optim.Optimizer, Any]:
    """Timm's optimiser and its per-step schedule, or ``OptionError`` where they do not fit.

    With a layer decay below 1, timm groups the parameters by the model's own ``group_matcher``:
    stem, blocks in order, and the rest with the classifier on top. A group's rate is the
    schedule's times ``layer_decay`` to the power of its distance from the top.
    """
    try:
        optimizer = create_optimizer_v2(
            model, opt=recipe.opt, lr=recipe.lr, weight_decay=recipe.weight_decay,
            layer_decay=recipe.layer_decay if recipe.layer_decay < 1 else None,
        )  # fmt: skip
    # The last two: those of packages that are not here, or that need CUDA.
    except (ValueError, TypeError, AssertionError, ImportError) as error:
        raise OptionError(
            f"--opt is {recipe.opt!r}, which timm cannot use here; try muon, sgd or adamw."
        ) from error
    if getattr(optimizer, "is_second_order", False):  # such as adahessian
        raise OptionError(
            f"--opt is {recipe.opt!r}, which needs second derivatives; try muon, sgd or adamw."
        )
    # In a run of one step, of a few images in one epoch, the rate can neither rise nor fall.
    schedule, warmup = recipe.schedule, recipe.warmup_epochs
    if recipe.epochs * steps_per_epoch == 1:
        schedule, warmup = "constant", 0.0
    try:
        scheduler, _ = create_scheduler_v2(
            optimizer,
            sched=schedule,
            num_epochs=recipe.epochs,
            # timm takes 1 for one epoch, and only what lies below it for a fraction of the run.
            decay_epochs=min(recipe.decay, 1 - 1e-9) if schedule == "wsd" else None,
            warmup_epochs=warmup,
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


class Stepper:
    """Takes optimiser steps on one model, on the device and without DDP around it."""

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        optimizer: torch.optim.Optimizer,
        scheduler: Any,
        classes: int,
        processes: Processes,
    ) -> None:
        self.model, self.recipe, self.processes = model, recipe, processes
        self.optimizer, self.scheduler = optimizer, scheduler
        # A plain copy, so before DDP hangs its hooks on the model.
        self.ema = ModelEmaV3(model, decay=recipe.ema, use_warmup=True) if recipe.ema else None
        self.parallel = processes.wrap(model)
        # fp16 needs its gradients scaled; elsewhere the scaler passes through.
        self.scaler = torch.amp.GradScaler(processes.device.type, enabled=recipe.amp == "fp16")
        self.mix: Any = None
        self.loss: nn.Module = nn.CrossEntropyLoss(label_smoothing=recipe.smoothing)
        if recipe.mixup or recipe.cutmix:
            self.loss = SoftTargetCrossEntropy()
            self.mix = Mixup(
                mixup_alpha=recipe.mixup,
                cutmix_alpha=recipe.cutmix,
                label_smoothing=recipe.smoothing,
                num_classes=classes,
            )
        self._momenta = [
            (module, module.momentum)
            for module in model.modules()
            if isinstance(module, _BatchNorm) and module.momentum is not None
        ]

    def load_optimizer(self, optimizer: dict[str, Any], scaler: dict[str, Any]) -> None:
        """Take back the optimiser's memory from a checkpoint; its settings stay the recipe's."""
        decays = [group["weight_decay"] for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(optimizer)
        for group, decay in zip(self.optimizer.param_groups, decays, strict=True):
            group["weight_decay"] = decay
        if scaler:  # empty where the run had no fp16 before
            self.scaler.load_state_dict(scaler)

    @property
    def averaged(self) -> nn.Module:
        """The weights that are measured and exported."""
        module: nn.Module = self.ema.module if self.ema is not None else self.model
        return module

    @property
    def lr(self) -> float:
        """The learning rate of the classifier, the largest there is."""
        return float(max(group["lr"] for group in self.optimizer.param_groups))

    def step(self, parts: Sequence[Batch], update: int) -> float:
        """Update the weights once, or leave them as they are where the loss is not finite.

        ``parts`` are those of this process's part of the batch: ``(b, 3, H, W)`` float32 images on
        its device and ``(b,)`` int64 targets, negative for those to leave out. ``update`` is the
        0-based number of this step in the run. Returns the mean loss, nats; not finite if it is not
        in a process.
        """
        self.scheduler.step_update(update)
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.processes.device)
        for number, part in enumerate(parts):
            self._seed(update, self.processes.rank * len(parts) + number)
            self._weigh_statistics(number, len(parts))
            last = number + 1 == len(parts)
            # Gradients stay with this process until its last part.
            ddp = self.parallel if isinstance(self.parallel, DistributedDataParallel) else None
            with ddp.no_sync() if ddp is not None and not last else contextlib.nullcontext():
                loss = self._forward(part) / len(parts)
                total += loss.detach()
                if last:
                    # Read before the backward, which a GPU then does while the update is prepared.
                    value = self.processes.sum(float(total)) / self.processes.size
                    if not math.isfinite(value):
                        return value
                self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.ema is not None:
            self.ema.update(self.model, step=update)
        return value

    def precision(self) -> torch.autocast:
        """Compute in the recipe's lower precision, where it has one."""
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.recipe.amp)
        return torch.autocast(self.processes.device.type, dtype, enabled=dtype is not None)

    def _forward(self, part: Batch) -> torch.Tensor:
        """Return the mean loss of a part's readable images.

        0 where fewer than two are: batch norm over one image alone is not defined everywhere.
        With unreadable ones among them nothing is mixed.
        """
        device, known = self.processes.device, part[1] >= 0
        x, target = part[0], part[1].to(device, non_blocking=True)
        if bool(known.all()):
            if self.mix is not None:
                x, target = self.mix(x, target)
        elif int(known.sum()) < 2:
            # Every process must take part in the sum of gradients, also with nothing to add.
            return self.parallel(x).float().sum() * 0.0  # type: ignore[no-any-return]
        else:
            x, target = x[known.to(device)], target[known.to(device)]
            if self.mix is not None:
                target = nn.functional.one_hot(target, self.mix.num_classes).float()
                smoothing = self.recipe.smoothing
                target = target * (1 - smoothing) + smoothing / self.mix.num_classes
        with self.precision():
            logits = self.parallel(x).float()
        loss: torch.Tensor = self.loss(logits, target)
        return loss

    def _seed(self, update: int, part: int) -> None:
        # Dropout and Mixup must depend neither on what ran before an interruption nor on which
        # process takes this part.
        seed = self.recipe.seed * 1_000_003 + update + part * 500_009
        torch.manual_seed(seed)
        if self.mix is not None:
            np.random.seed(seed % 2**32)

    def _weigh_statistics(self, number: int, count: int) -> None:
        """Give each part of a batch the same weight in batch norm's running statistics.

        One after another with momentum m they would decay like m separate steps. With m_k below
        the statistics after all parts are ``(1 - m) old + m mean(parts)``, which is what several
        processes side by side arrive at.
        """
        for module, momentum in self._momenta:
            part = momentum / count
            module.momentum = part / (1 - (count - 1 - number) * part)
