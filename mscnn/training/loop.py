"""The training loop: resumable at any step, deterministic from the seed."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timm.data import resolve_model_data_config
from torch import nn

from mscnn.data.layouts import DataSet
from mscnn.data.listing import MOMENTARY, Samples, why_unreadable
from mscnn.data.loading import killed_loader_raises
from mscnn.data.processes import Processes
from mscnn.data.tally import Accuracy, Tally
from mscnn.errors import Cancelled, TrainingError, WeightsError
from mscnn.training.batches import Batch, Batches
from mscnn.training.networks import StartingPoint, freeze_backbone, fresh, set_training
from mscnn.training.recipe import Recipe
from mscnn.training.results import Facts, write_history, write_results
from mscnn.training.state import (
    BestEpoch,
    StopRequest,
    TrainState,
    check_same_run,
    load_checkpoint,
    noting_stops,
    save_checkpoint,
    saving,
)
from mscnn.training.steps import Stepper, optimiser_and_schedule

log = logging.getLogger(__name__)
CHECKPOINT_EVERY_S = 240.0


@dataclass(frozen=True, slots=True)
class TrainProgress:
    """Where a run is."""

    epoch: int  # 0-based
    epochs: int
    step: int  # of ``steps`` in this epoch
    steps: int
    size_px: int
    loss: float
    lr: float
    images_per_second: float  # of all processes together
    seconds_left: float
    val_top1: float | None = None  # 0..1, of the last epoch that was measured


Listener = Callable[[TrainProgress], None]
Notice = Callable[[str], None]  # takes a sentence for the user


class Trainer:
    """One run: model, optimiser, schedule, moving average, and its folder on disk.

    It fine-tunes ``start``; where this is None, a fresh network of the timm name ``architecture``
    is trained. ``notice`` takes sentences for the user, in the first of several ``Processes``.
    """

    def __init__(
        self,
        architecture: str,
        data: DataSet,
        out: Path,
        recipe: Recipe,
        device: torch.device | Processes,
        *,
        start: StartingPoint | None = None,
        notice: Notice = log.warning,
    ) -> None:
        self.processes = device if isinstance(device, Processes) else Processes(device)
        if recipe.threads:
            torch.set_num_threads(recipe.threads)
        classes = len(data.names)
        self.start = start or fresh(architecture, classes, recipe.seed)
        self.architecture, self.data, self.out = self.start.architecture, data, out
        self.recipe, self.notice = recipe, notice
        model = self.start.model
        self.data_config: dict[str, Any] = resolve_model_data_config(model)
        self.batches = Batches(data, recipe, self.data_config, self.processes)
        if recipe.freeze:
            freeze_backbone(model)
        self.model = model.to(self.processes.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        set_training(self.model, frozen=recipe.freeze)
        self.steps_per_epoch = self.batches.steps
        optimizer, scheduler = optimiser_and_schedule(self.model, recipe, self.steps_per_epoch)
        self.stepper = Stepper(self.model, recipe, optimizer, scheduler, classes, self.processes)
        self.ema = self.stepper.ema
        self.best = BestEpoch(recipe.patience)
        self.photographs = data.train.names_digest()
        self.at = TrainState(unreadable=[list(item) for item in data.unreadable])

    def resume(self) -> bool:
        """Go on from the checkpoint; False without one, ``TrainingError`` for another run's."""
        state = load_checkpoint(self.out)
        if state is None:
            return False
        check_same_run(
            state, self.architecture, list(self.data.names), len(self.data.train),
            self.photographs, self.recipe,
        )  # fmt: skip
        if state.get("start", self.start.sha256) != self.start.sha256:  # older ones lack it
            raise TrainingError(
                "The run in --out was started from other weights; give the same --model and "
                "--weights again, or another --out for a new run."
            )
        try:
            self.model.load_state_dict(state["model"])
        except RuntimeError as error:  # other names or shapes
            raise TrainingError(
                f"The checkpoint in --out is of a {self.architecture} that was built otherwise, as "
                "by an earlier version of mscnn; give another --out for a new run."
            ) from error
        self.stepper.load_optimizer(state["optimizer"], state["scaler"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        self.at.load(state)
        if (begun := self.at.epoch + bool(self.at.step)) > self.recipe.epochs:
            raise TrainingError(
                f"--epochs is {self.recipe.epochs}, and the run in --out is in epoch {begun} "
                "already; give at least that many, as before."
            )
        before = Recipe.from_json(state["recipe"])
        if changes := self.recipe.changes_from(before):
            said = ", ".join(changes)
            self.notice(f"This run goes on with other options than before: {said}.")
        if self.at.epoch and changes:
            self.at.earlier.append([self.at.epoch, json.dumps(before.as_dict())])
        if self.recipe.patience and state.get("best") is not None:
            vars(self.best).update(state["best"])
        elif self.recipe.patience:  # patience begins now
            self.best.epoch = self.at.epoch
        return True

    def save(self) -> None:
        """Write finite weights in all processes at the same step, or raise ``TrainingError``."""
        self._join_statistics()
        if not all(bool(torch.isfinite(p).all()) for p in self.model.parameters()):
            raise self._not_finite("a weight is no finite number")
        if self.processes.is_first:
            state = {
                "architecture": self.architecture,
                "start": self.start.sha256,
                "names": list(self.data.names),
                "train_images": len(self.data.train),
                "photographs": self.photographs,
                "recipe": json.dumps(self.recipe.as_dict()),
                "model": self.model.state_dict(),
                "ema": self.ema.state_dict() if self.ema is not None else None,
                "optimizer": self.stepper.optimizer.state_dict(),
                "scaler": self.stepper.scaler.state_dict(),
                "best": self.best.state() if self.recipe.patience else None,
            }
            save_checkpoint(self.out, {**state, **vars(self.at)})
        self.processes.wait()

    def _join_statistics(self) -> None:
        """Average batch norm's statistics, all that differs between the processes."""
        self.processes.average_buffers(self.model)
        if self.ema is not None:
            self.processes.average_buffers(self.ema.module)

    def run(self, listener: Listener | None = None) -> Accuracy:
        """Train to the end; write the model folder, its tables and pictures; return accuracy.

        Raises:
            TrainingError: the loss is not finite, the folder cannot be written, or a process that
                reads images was killed.
            Cancelled: the user stopped the run; its checkpoint is of the last step.
        """
        with saving("the run"):
            self.out.mkdir(parents=True, exist_ok=True)
        killed = TrainingError(
            "A process that reads images was killed, perhaps because memory ran out; the last "
            "checkpoint is kept, so go on with --resume and fewer --workers, 0 for none."
        )
        with noting_stops() as stop, killed_loader_raises(killed):
            while self.at.epoch < self.recipe.epochs and not self.best.is_over(self.at.epoch):
                self._train_epoch(listener, stop)
                self._end_epoch()
                if self._any(stop.wanted):
                    raise self._stopped(f"after epoch {self.at.epoch}")
            self.best.put_into(self.stepper.averaged)
            counted, accuracy = self.validate(exact=True)
            if self.processes.is_first:
                kept = self.best.epoch or self.at.epoch
                facts = Facts(self.start, self.data, self.recipe, self.at, kept, self.processes)
                write_results(self.out, facts, self.stepper.averaged, counted)
            self.processes.wait()
        return accuracy

    def validate(self, *, exact: bool = False) -> tuple[Tally, Accuracy]:
        """Measure the averaged weights on the validation part with timm's evaluation transform.

        In the precision of the training steps, or ``exact`` in float32.
        """
        batches = self.batches.validation(self.at.epoch)
        precision = contextlib.nullcontext() if exact else self.stepper.precision()
        try:
            with precision:
                mine, unread = tally(self.stepper.averaged, batches, self.processes.device)
        except WeightsError as error:
            raise self._not_finite("an answer is not finite") from error
        for index in unread:
            self._leave_out(self.data.val, index)
        # In the same order in all processes, so that all come to the same sums.
        found = Tally()
        for part in self.processes.gather(mine):
            found.merge(part)
        return found, found.accuracy(len(self.data.names))

    def _train_epoch(self, listener: Listener | None, stop: StopRequest) -> None:
        set_training(self.model, frozen=self.recipe.freeze)
        started = saved = time.monotonic()
        first, seconds_before = self.at.step, self.at.seconds
        for parts in self.batches.training(self.at.epoch, first):
            loss = self.stepper.step(parts, self.at.epoch * self.steps_per_epoch + self.at.step)
            if not math.isfinite(loss):
                raise self._not_finite(f"the loss is {loss}")
            for _, target in parts:
                for marker in target[target < 0].tolist():
                    self._leave_out(self.data.train, -1 - marker)
            self.at.loss_sum += loss
            self.at.step += 1
            now = time.monotonic()
            self.at.seconds = seconds_before + now - started
            if listener is not None and self.processes.is_first:
                listener(self._progress((now - started) / (self.at.step - first)))
            if self._any(stop.wanted):
                self.save()
                raise self._stopped(f"in epoch {self.at.epoch + 1}")
            if self._any(now - saved > CHECKPOINT_EVERY_S):
                self.save()
                saved = now

    def _any(self, mine: bool) -> bool:
        """Whether this holds in any process, for all must do the same."""
        return self.processes.sum(float(mine)) > 0

    def _stopped(self, where: str) -> Cancelled:
        sentence = f"Stopped {where}; what was trained is kept, so go on with --resume."
        if self.processes.is_first:
            self.notice(sentence)
        return Cancelled(sentence)

    def _not_finite(self, what: str) -> TrainingError | WeightsError:
        if self.start.source and self.at.epoch == self.at.step == 0:  # nothing was learnt yet
            return WeightsError(
                f"Before the first step {what}, so the weights of {self.start.source} are damaged "
                "or too large to train from; start from other weights."
            )
        return TrainingError(
            f"In epoch {self.at.epoch + 1} {what}; the last checkpoint is kept, so lower --lr and "
            "go on with --resume."
        )

    def _leave_out(self, samples: Samples, index: int) -> None:
        """Note once that a photograph could not be read; each process sees its own ones."""
        name = samples.full_name(index)
        if all(name != known for known, _ in self.at.unreadable):
            reason = why_unreadable(samples.source(index)) or MOMENTARY
            self.at.unreadable.append([name, reason])
            self.notice(f"{reason} It is left out.")

    def _progress(self, seconds_per_step: float) -> TrainProgress:
        at, steps, epochs = self.at, self.steps_per_epoch, self.recipe.epochs
        final_px = self.data_config["input_size"][-1]
        px = self.recipe.size_at(at.epoch, final_px)
        # Later, larger phases cost more per step, in proportion to their area.
        later = (self.recipe.size_at(e, final_px) / px for e in range(at.epoch + 1, epochs))
        left = steps - at.step + sum(factor**2 for factor in later) * steps
        return TrainProgress(
            at.epoch, epochs, at.step, steps, px, at.loss_sum / at.step, self.stepper.lr,
            self.recipe.batch_size / seconds_per_step, seconds_per_step * left,
            at.history[-1]["val_top1"] if at.history else None,
        )  # fmt: skip

    def _end_epoch(self) -> None:
        # Before measuring, so that all processes measure the same network.
        self._join_statistics()
        at, (_, result) = self.at, self.validate()
        row = {
            "epoch": at.epoch + 1,
            "train_loss": at.loss_sum / max(at.step, 1),
            "val_loss": result.loss,
            "val_top1": result.top1,
            "val_top5": result.top5,
            "seconds": at.seconds,
        }
        log.info("epoch %d: %s", at.epoch + 1, row)
        lists = self.processes.gather(at.unreadable)
        at.unreadable = [[*item] for item in dict.fromkeys(tuple(i) for one in lists for i in one)]
        self.best.note(at.epoch + 1, result.top1, result.loss, self.stepper.averaged)
        at.history.append(row)
        at.epoch, at.step, at.loss_sum = at.epoch + 1, 0, 0.0
        self.save()
        if self.processes.is_first:
            write_history(self.out, at.history)


@torch.inference_mode()
def tally(
    model: nn.Module, batches: Iterable[Batch], device: torch.device
) -> tuple[Tally, list[int]]:
    """Count answers in eval mode, ``WeightsError`` if not finite; return the unreadable too."""
    model.eval()  # each epoch begins with set_training
    counted, unread = Tally(), []
    for x, target in batches:
        known = target >= 0
        unread += (-1 - target[~known]).tolist()
        if bool(known.any()):
            x = x if bool(known.all()) else x[known.to(x.device)]
            counted.add(model(x.to(device)).float(), target[known])
    return counted, unread
