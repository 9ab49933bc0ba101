"""Stopping a run before its last epoch: by the user, or because it no longer improves."""

from __future__ import annotations

import signal
import threading
from dataclasses import dataclass, field
from types import FrameType, TracebackType
from typing import Any

import torch
from torch import nn


def _wishes_to_stop() -> list[signal.Signals]:
    """Ctrl-C, a polite kill, and a terminal that closes unless ``nohup`` has that ignored."""
    hangup: signal.Signals | None = getattr(signal, "SIGHUP", None)  # not on Windows
    if hangup is None or signal.getsignal(hangup) is signal.SIG_IGN:
        return [signal.SIGINT, signal.SIGTERM]
    return [signal.SIGINT, signal.SIGTERM, hangup]


class StopRequest:
    """Ctrl-C and the like (see ``_wishes_to_stop``) as a wish that is granted between two steps.

    A Ctrl-C after that stops at once. Outside the main thread, where Python allows no handlers,
    nothing is changed.
    """

    def __init__(self) -> None:
        self.wanted = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._before = {
                number: signal.signal(number, self._note) for number in _wishes_to_stop()
            }
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
        # A system that ends a session sends several kinds at once, which are one wish.
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
