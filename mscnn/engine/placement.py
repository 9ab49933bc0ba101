"""Where a loaded model runs: its device, its lock, and the way out when memory runs short."""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import torch

from mscnn.engine.device import is_out_of_memory
from mscnn.errors import DeviceError, OptionError
from mscnn.models.loading import LoadedModel

logger = logging.getLogger(__name__)

T = TypeVar("T")
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Placement:
    """A loaded model on one device.

    One model serves all users: a lock lets one request through at a time, because hooks on a
    shared model are not re-entrant.

    Args:
        loaded: model, labels and weights, on the CPU.
        device: where to run.
        precision: ``"fp32"``, or ``"bf16"`` to let the forward run in bfloat16 on a GPU.
    """

    def __init__(self, loaded: LoadedModel, device: torch.device, precision: str = "fp32") -> None:
        if precision not in PRECISIONS:
            raise OptionError(f"The precision {precision!r} is unknown; choose fp32 or bf16.")
        self.loaded, self.name = loaded, loaded.name
        self.precision = precision
        self.device = device
        self.notices: tuple[str, ...] = ()
        self._lock = threading.RLock()
        self.move_to(device)

    def _place(self, device: torch.device) -> None:
        dtype = PRECISIONS[self.precision] if device.type == "cuda" else torch.float32
        self.model = self.loaded.model.to(device=device, dtype=dtype)
        self.device, self._dtype = device, dtype

    def move_to(self, device: torch.device) -> None:
        """Go on computing on another device; back on the CPU where its memory does not suffice."""
        with self._lock:
            self.device = device  # so that a failure counts as this device's, not the old one's
            self.guarded(lambda: self._place(self.device))

    def to_device(self, x: torch.Tensor) -> torch.Tensor:
        """A tensor on the model's device and in its dtype."""
        return x.to(self.device, self._dtype)

    def copy_of_model(self) -> torch.nn.Module:
        """Copy the model between two requests, so that the copy carries no request's hooks."""
        with self._lock:
            return copy.deepcopy(self.model)

    def guarded(self, work: Callable[[], T]) -> tuple[T, float]:
        """Run under the lock; move to the CPU once when the device's memory does not suffice.

        Returns:
            The result, and the seconds it took without waiting for the lock.
        """
        with self._lock:
            try:
                return timed(work)
            except (RuntimeError, MemoryError) as error:  # torch's OutOfMemoryError is the former
                if not is_out_of_memory(error):
                    raise
                if self.device.type == "cpu":
                    raise DeviceError(
                        "There is not enough memory for this model; choose a smaller one."
                    ) from None
                logger.warning("%s: %s", self.name, error)
            # Outside of the handler, whose traceback holds on to the tensors on the device.
            self._leave_device()
            return self.guarded(work)

    def _leave_device(self) -> None:
        was = self.device.type
        self._place(torch.device("cpu"))
        if was == "cuda":
            torch.cuda.empty_cache()
        self.notices = (f"The {was} device ran out of memory, so {self.name} now runs on the CPU.",)


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """Run ``work``; return its result and the seconds it took."""
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started
