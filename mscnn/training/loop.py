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

import timm
import torch
from timm.data import create_transform, resolve_model_data_config
from timm.loss import LabelSmoothingCrossEntropy
from timm.utils import ModelEmaV3
from torch.utils.data import DataLoader

from mscnn import starters  # noqa: F401 - registers the starters with timm
from mscnn.errors import DatasetError, ImageError, TrainingError
from mscnn.render.curves import training_curves
from mscnn.training import checkpoint
from mscnn.training.dataset import (
    EpochSampler,
    ImageFolders,
    PhotoDataset,
    Samples,
    train_transform,
)
from mscnn.training.evaluate import Accuracy, accuracy
from mscnn.training.export import export_folder
from mscnn.training.recipe import Recipe
from mscnn.training.schedule import optimiser_and_schedule
from mscnn.weights.architecture import unknown_model

log = logging.getLogger(__name__)
CHECKPOINT_EVERY_S = 240.0
_IMAGE_ERROR = f"{ImageError.__module__}.{ImageError.__qualname__}"


@dataclass(frozen=True, slots=True)
class TrainProgress:
    """Where a run is: ``epoch`` 0-based, ``step`` of ``steps`` in it, speed and remaining time."""

    epoch: int
    epochs: int
    step: int
    steps: int
    size_px: int
    loss: float
    lr: float
    images_per_second: float
    seconds_left: float


Listener = Callable[[TrainProgress], None]


class Trainer:
    """One run: model, optimiser, schedule, moving average, and its folder on disk."""

    def __init__(
        self,
        architecture: str,
        data: ImageFolders,
        out: Path,
        recipe: Recipe,
        device: torch.device,
    ) -> None:
        if recipe.threads:
            torch.set_num_threads(recipe.threads)
        if len(data.train) < recipe.batch_size:
            raise DatasetError(
                f"There are {len(data.train)} training images, fewer than one batch of "
                f"{recipe.batch_size}; give a smaller --batch-size or more images."
            )
        torch.manual_seed(recipe.seed)
        self.architecture, self.data, self.out, self.recipe = architecture, data, out, recipe
        self.device = device
        if not timm.is_model(architecture):
            raise unknown_model(architecture)
        model = timm.create_model(architecture, num_classes=len(data.names))
        self.data_config: dict[str, Any] = resolve_model_data_config(model)
        self.model = model.to(device, memory_format=torch.channels_last).train()
        self.steps_per_epoch = len(data.train) // recipe.batch_size
        self.optimizer, self.scheduler = optimiser_and_schedule(
            self.model, recipe, self.steps_per_epoch
        )
        self.ema = ModelEmaV3(self.model, decay=recipe.ema, use_warmup=True) if recipe.ema else None
        smoothing = recipe.smoothing
        self.loss = (
            LabelSmoothingCrossEntropy(smoothing) if smoothing else torch.nn.CrossEntropyLoss()
        )
        # fp16 needs its gradients scaled; elsewhere the scaler passes through.
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.amp == "fp16")
        self.history: list[dict[str, float]] = []
        self.epoch = self.step = 0
        self.loss_sum = 0.0
        self.seconds = 0.0

    def resume(self) -> bool:
        """Continue from the folder's checkpoint; False where there is none.

        Raises:
            TrainingError: the checkpoint is of another model or set of classes.
        """
        state = checkpoint.load(self.out)
        if state is None:
            return False
        if state["architecture"] != self.architecture or state["names"] != list(self.data.names):
            raise TrainingError(
                f"The checkpoint in this folder is of {state['architecture']} with "
                f"{len(state['names'])} classes; give another --out for a new run."
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        self.history = state["history"]
        self.epoch, self.step = state["epoch"], state["step"]
        self.loss_sum, self.seconds = state["loss_sum"], state["seconds"]
        return True

    def save(self) -> None:
        """Write the checkpoint."""
        state = {
            "architecture": self.architecture,
            "names": list(self.data.names),
            "recipe": json.dumps(self.recipe.as_dict()),
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict() if self.ema is not None else None,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "history": self.history,
            "epoch": self.epoch,
            "step": self.step,
            "loss_sum": self.loss_sum,
            "seconds": self.seconds,
        }
        checkpoint.save(self.out, state)

    def run(self, listener: Listener | None = None) -> Accuracy:
        """Train to the last epoch; write curves, history and the model folder; return accuracy."""
        self.out.mkdir(parents=True, exist_ok=True)
        try:
            while self.epoch < self.recipe.epochs:
                self._train_epoch(listener)
                self._end_epoch()
            result = self.validate()
        except ImageError as error:
            # From a loader process it arrives as the text of a traceback, the sentence last.
            sentence = str(error).strip().splitlines()[-1].removeprefix(f"{_IMAGE_ERROR}: ")
            raise DatasetError(
                f"{sentence} Remove or replace that file, then go on with --resume."
            ) from None
        self._write_results(result)
        return result

    def validate(self) -> Accuracy:
        """Accuracy of the averaged weights on the validation part, timm's evaluation transform."""
        model = self.ema.module if self.ema is not None else self.model
        return accuracy(model, self._validation_batches(), self.device)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.recipe.amp == "none":
            return contextlib.nullcontext()
        dtype = torch.bfloat16 if self.recipe.amp == "bf16" else torch.float16
        return torch.autocast(self.device.type, dtype=dtype)

    def _loader(self, samples: Samples, transform: Any, sampler: Any) -> Iterable[Any]:
        return DataLoader(
            PhotoDataset(samples, transform, self.recipe.seed, self.epoch),
            batch_size=self.recipe.batch_size,
            sampler=sampler,
            num_workers=self.recipe.workers,
            drop_last=sampler is not None,
        )

    def _training_batches(self, size_px: int) -> Iterable[Any]:
        skip = self.step * self.recipe.batch_size
        sampler = EpochSampler(len(self.data.train), self.recipe.seed, self.epoch, skip)
        transform = train_transform(size_px, self.recipe, self.data_config)
        return self._loader(self.data.train, transform, sampler)

    def _validation_batches(self) -> Iterable[Any]:
        return self._loader(self.data.val, create_transform(**self.data_config), None)

    def _train_epoch(self, listener: Listener | None) -> None:
        size_px = self.recipe.size_at(self.epoch, self.data_config["input_size"][-1])
        started = saved = time.monotonic()
        first, seconds_before = self.step, self.seconds
        for x, target in self._training_batches(size_px):
            self.loss_sum += self._train_step(x, target)
            self.step += 1
            now = time.monotonic()
            self.seconds = seconds_before + now - started
            if listener is not None:
                done = self.step - first
                per_step = (now - started) / done
                # Later, larger phases cost more per step, in proportion to their area.
                left = self._area_left(size_px)
                listener(
                    TrainProgress(
                        self.epoch, self.recipe.epochs, self.step, self.steps_per_epoch, size_px,
                        self.loss_sum / self.step, self.optimizer.param_groups[0]["lr"],
                        self.recipe.batch_size / per_step, per_step * left,
                    )
                )  # fmt: skip
            if now - saved > CHECKPOINT_EVERY_S:
                self.save()
                saved = now

    def _area_left(self, size_px: int) -> float:
        final = self.data_config["input_size"][-1]
        later = range(self.epoch + 1, self.recipe.epochs)
        areas = sum((self.recipe.size_at(e, final) / size_px) ** 2 for e in later)
        return self.steps_per_epoch - self.step + areas * self.steps_per_epoch

    def _train_step(self, x: torch.Tensor, target: torch.Tensor) -> float:
        update = self.epoch * self.steps_per_epoch + self.step
        # Dropout and the like must not depend on what ran before an interruption.
        torch.manual_seed(self.recipe.seed * 1_000_003 + update)
        self.scheduler.step_update(update)
        x = x.to(self.device, memory_format=torch.channels_last, non_blocking=True)
        target = target.to(self.device, non_blocking=True)
        with self._autocast():
            loss = self.loss(self.model(x).float(), target)
        value = float(loss.item())
        if not math.isfinite(value):
            raise TrainingError(
                f"The loss is {value} in epoch {self.epoch + 1}; lower --lr and use --resume to "
                "go on from the last checkpoint."
            )
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.ema is not None:
            self.ema.update(self.model, step=update)
        return value

    def _end_epoch(self) -> None:
        train_loss = self.loss_sum / max(self.step, 1)
        result = self.validate()
        row = {
            "epoch": self.epoch + 1,
            "train_loss": train_loss,
            "val_loss": result.loss,
            "val_top1": result.top1,
            "val_top5": result.top5,
            "seconds": self.seconds,
        }
        log.info("epoch %d: %s", self.epoch + 1, row)
        self.history.append(row)
        self.epoch, self.step, self.loss_sum = self.epoch + 1, 0, 0.0
        self.save()
        lines = [",".join(row), *(",".join(f"{v:.6g}" for v in r.values()) for r in self.history)]
        checkpoint.write_atomically(
            self.out / "history.csv", lambda p: p.write_text("\n".join(lines) + "\n")
        )

    def _write_results(self, result: Accuracy) -> None:
        model = self.ema.module if self.ema is not None else self.model
        export_folder(model, self.out, self.data.names)
        summary = {
            "model": self.architecture,
            "recipe": self.recipe.as_dict(),
            "train_images": len(self.data.train),
            "val_images": result.images,
            "top1": result.top1,
            "top5": result.top5,
            "seconds": self.seconds,
            "device": str(self.device),
            "torch": torch.__version__,
            "timm": timm.__version__,
        }
        checkpoint.write_atomically(
            self.out / "training.json", lambda p: p.write_text(json.dumps(summary, indent=1) + "\n")
        )
        title = f"{self.architecture}: top-1 {result.top1:.1%}, top-5 {result.top5:.1%}"
        training_curves(self.history, title).savefig(self.out / "curves.png", dpi=120)
