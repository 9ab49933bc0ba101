"""The train state: where a run is, its checkpoint on disk, and when it stops early."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import nn

from mscnn.errors import TrainingError
from mscnn.models import registry
from mscnn.results.writing import reason, replacing
from mscnn.training.recipe import FIXED, Recipe, option_name

CHECKPOINT = "checkpoint.pt"


@dataclass
class TrainState:
    """Where a run is, and what it has measured so far."""

    epoch: int = 0  # so many are done
    step: int = 0  # so many of the next one are done
    loss_sum: float = 0.0  # of these, nats
    seconds: float = 0.0  # of the whole run
    history: list[dict[str, float]] = field(default_factory=list)  # one row per finished epoch
    unreadable: list[list[str]] = field(default_factory=list)  # left out: [name, reason]
    # Recipes that a resumed run went on from with another one: [epochs done, as JSON].
    earlier: list[list[Any]] = field(default_factory=list)

    def load(self, state: Mapping[str, Any]) -> None:
        """Take back what ``vars`` gave; older checkpoints lack some of it."""
        vars(self).update({key: state[key] for key in vars(self) if key in state})


@contextmanager
def saving(what: str) -> Iterator[None]:
    """Raise ``TrainingError`` about ``what`` where the disk is full or may not be written."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        # torch.save reports a full disk as a RuntimeError of its zip writer, safetensors by words.
        of_zip = any(word in str(error) for word in ("PytorchStreamWriter", "inline_container"))
        if isinstance(error, OSError):
            full = reason(error) == "the disk is full" or "No space left" in str(error)
        elif not (full := of_zip):
            raise
        why = "the disk is full" if full else "the folder cannot be written"
        raise TrainingError(
            f"Could not save {what} because {why}; what was saved before is kept, so "
            f"{'make room' if full else 'make it writable'} and go on with --resume."
        ) from error


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Replace the checkpoint by tensors and plain values; a ``TrainingError`` keeps the old one."""
    with saving(CHECKPOINT), replacing(folder / CHECKPOINT) as path:
        torch.save(state, path)


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Return the checkpoint on the CPU, None without one; ``TrainingError`` for a broken one."""
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
    state: Any, architecture: str, names: list[str], images: int, photographs: str, recipe: Recipe
) -> None:
    """Raise ``TrainingError`` for a checkpoint of another model, other data or an unfit recipe."""
    if not isinstance(state, Mapping) or not {"architecture", "names", "recipe"} <= state.keys():
        raise TrainingError(
            f"{CHECKPOINT} in --out was not written by mscnn train or finetune; give another --out."
        )
    fault = ""
    before: Any = len(state["names"])
    stored = Recipe.from_json(state["recipe"])
    changed = [
        f"The run in --out was started with {option_name(name)} {was}, not {now}"
        for name in FIXED
        if (was := getattr(stored, name)) != (now := getattr(recipe, name))
    ]
    # By their present names: a starter may have been called otherwise before.
    if registry.full_name(state["architecture"]) != registry.full_name(architecture):
        fault = f"The checkpoint in --out is of {state['architecture']}, not {architecture}"
    elif before != len(names):
        fault = f"The checkpoint in --out has {before} classes, the data has {len(names)}"
    elif state["names"] != names:
        fault = "The checkpoint in --out has other class names"
    # By these two images are held out, so they are why others are learnt from.
    elif (stored.seed, stored.val_share) != (recipe.seed, recipe.val_share):
        fault = changed[0]
    elif (before := state.get("train_images", images)) != images:  # older ones lack it
        fault = (
            f"The run in --out was started with {before} training images, and there are {images} "
            "now"
        )
    elif state.get("photographs", photographs) != photographs:  # older ones lack it
        fault = "The run in --out was started with other training images"
    elif changed:
        fault = changed[0]
    # Where nothing decays, timm makes one group of all parameters, otherwise two.
    before, now = stored.weight_decay, recipe.weight_decay
    if not fault and recipe.layer_decay == 1 and bool(before) != bool(now):
        fault = f"The run in --out was started with --weight-decay {before}, not {now}"
    if fault:
        raise TrainingError(f"{fault}; give the same again, or another --out for a new run.")


class StopRequest:
    """A flag that signals set, read between two steps; a Ctrl-C after that stops at once."""

    wanted = False

    def note(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: a system that ends a session sends several kinds, one request."""
        if self.wanted and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.wanted = True


@contextmanager
def noting_stops(*only: signal.Signals) -> Iterator[StopRequest]:
    """Turn ``only`` some signals into a ``StopRequest``.

    Without any: Ctrl-C, a polite kill and a terminal that closes.
    """
    stop, numbers = StopRequest(), [*(only or (signal.SIGINT, signal.SIGTERM))]
    hangup: signal.Signals | None = getattr(signal, "SIGHUP", None)  # not on Windows
    # ``nohup`` has it ignored.
    if not only and hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:
        numbers.append(hangup)
    if threading.current_thread() is not threading.main_thread():
        numbers = []  # Python allows no handlers there
    before = {number: signal.signal(number, stop.note) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class BestEpoch:
    """The best weights so far: of the highest top-1, among equals of the lowest validation loss."""

    patience: int  # epochs without a better one that end the run; 0 for never, and to keep nothing
    epoch: int = 0  # 1-based number of the best one
    top1: float = -1.0
    loss: float = float("inf")
    weights: dict[str, torch.Tensor] = field(default_factory=dict)  # averaged, on the CPU

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
        return {key: getattr(self, key) for key in ("epoch", "top1", "loss", "weights")}
