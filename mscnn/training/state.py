"""The train state: where a run is, its checkpoint on disk, and when it stops early."""

from __future__ import annotations

import errno
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import torch
from torch import nn

from mscnn.errors import TrainingError
from mscnn.results.writing import replacing
from mscnn.training.recipe import FIXED, Recipe, option_name

CHECKPOINT = "checkpoint.pt"


@dataclass
class TrainState:
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


# --- the checkpoint ------------------------------------------------------------------------------


@contextmanager
def saving(what: str) -> Iterator[None]:
    """Turn what the disk refuses into a sentence about a file, or several.

    Raises:
        TrainingError: the disk is full or the folder cannot be written.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        # torch.save reports a full disk as a RuntimeError of its zip writer.
        of_zip = any(word in str(error) for word in ("PytorchStreamWriter", "inline_container"))
        if isinstance(error, RuntimeError) and not of_zip:
            raise
        code = getattr(error, "errno", None)
        reason, remedy = "the folder cannot be written", "make it writable"
        if of_zip or code in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
            reason, remedy = "the disk is full", "make room"
        raise TrainingError(
            f"Could not save {what} because {reason}; what was saved before is kept, so {remedy} "
            "and go on with --resume."
        ) from error


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Replace the run's checkpoint by ``state`` (tensors and plain values only).

    Raises:
        TrainingError: it could not be written; the old one is still there.
    """
    with saving(CHECKPOINT), replacing(folder / CHECKPOINT) as path:
        torch.save(state, path)


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Return the run's checkpoint on the CPU, or None where there is none.

    Raises:
        TrainingError: the file cannot be read.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise TrainingError(
            f"{path.name} cannot be read; remove it to start again from the first epoch."
        ) from error
    return state


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
            raise TrainingError(
                f"The run in --out was started with {option_name(name)} {before}, not {now}; "
                f"{other}."
            )


# --- stopping early ------------------------------------------------------------------------------


def _stop_signals() -> list[signal.Signals]:
    """Ctrl-C, a polite kill, and a terminal that closes unless ``nohup`` has that ignored."""
    hangup: signal.Signals | None = getattr(signal, "SIGHUP", None)  # not on Windows
    if hangup is None or signal.getsignal(hangup) is signal.SIG_IGN:
        return [signal.SIGINT, signal.SIGTERM]
    return [signal.SIGINT, signal.SIGTERM, hangup]


class StopRequest:
    """Turns Ctrl-C and the like (see ``_stop_signals``) into a flag, read between two steps.

    A Ctrl-C after that stops at once. Outside the main thread, where Python allows no handlers,
    nothing is changed.
    """

    def __init__(self) -> None:
        self.wanted = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._before = {n: signal.signal(n, self._note) for n in _stop_signals()}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        # A system that ends a session sends several kinds at once, which are one request.
        if self.wanted and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.wanted = True


@dataclass
class BestEpoch:
    """The best weights so far, where a run may stop early.

    Better is a higher top-1; among equals, a lower validation loss.

    Attributes:
        patience: epochs without a better one after which the run is over; 0 for never, and then
            nothing is kept.
        epoch: number (1-based) of the best one; 0 before the first.
        weights: its averaged weights, on the CPU.
    """

    patience: int
    epoch: int = 0
    top1: float = -1.0
    loss: float = float("inf")
    weights: dict[str, torch.Tensor] = field(default_factory=dict)

    def note(self, epoch: int, top1: float, loss: float, model: nn.Module) -> None:
        """Take the result of an epoch (1-based) into account."""
        if self.patience and (top1, -loss) > (self.top1, -self.loss):
            self.epoch, self.top1, self.loss = epoch, top1, loss
            state = model.state_dict()
            self.weights = {key: value.detach().cpu().clone() for key, value in state.items()}

    def is_over(self, epoch: int) -> bool:
        """Whether nothing was better for ``patience`` epochs; ``epoch`` of them are done."""
        return bool(self.patience) and epoch - self.epoch >= self.patience

    def put_into(self, model: nn.Module) -> None:
        """Give ``model`` the best weights, where any were kept."""
        if self.patience and self.weights:
            model.load_state_dict(self.weights)

    def state(self) -> dict[str, Any]:
        """Return plain values and tensors for a checkpoint."""
        return {k: getattr(self, k) for k in ("epoch", "top1", "loss", "weights")}

    def load(self, state: dict[str, Any]) -> None:
        """Take back what ``state`` returned."""
        for key, value in state.items():
            setattr(self, key, value)
