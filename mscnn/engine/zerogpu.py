"""Running on Hugging Face's ZeroGPU, where a GPU is there only inside decorated calls.

Each of these runs in a forked worker, its arguments and result are pickled, and what it changes in
memory is lost. So networks are loaded on the CPU in the page's process, and a call moves the forked
network to the GPU and sends NumPy back.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch

from mscnn.engine.network import Network
from mscnn.engine.session import Session
from mscnn.errors import DeviceError, MscnnError

_REMOTE = (
    *("predict", "explain", "scales", "split_attention", "effective_receptive_field", "sweep"),
    *("features", "seconds_per_forward", "_forward_times", "_estimate"),
)


class ZeroGpuSession(Session):
    """Networks that compute on ``device``, through ``gpu``: ``spaces.GPU(duration=...)``."""

    def __init__(
        self,
        gpu: Callable[[Callable[..., Any]], Callable[..., Any]],
        *,
        device: str = "cuda",
        **options: Any,
    ) -> None:
        super().__init__("cpu", **options)
        self._worker_device = torch.device(device)
        self.compute = gpu(self._compute)
        self._held: list[Network] = []
        if hasattr(os, "register_at_fork"):  # a fork keeps locks and hooks as they are, for ever
            os.register_at_fork(
                before=self._hold, after_in_parent=self._let_go, after_in_child=self._begin_anew
            )

    def _hold(self) -> None:
        """Wait until no network is in the middle of a request."""
        self._lock.acquire()
        self._held = list(self._networks.values())
        for network in self._held:
            network._lock.acquire()

    def _let_go(self) -> None:
        for network in self._held:
            network._lock.release()
        self._lock.release()

    def _begin_anew(self) -> None:
        self._loading = {}  # those who load are not here
        self._let_go()

    def network(self, name: str, weights: str | Path | None = None, **reports: Any) -> Network:
        """Like ``Session.network``, with computation sent to the worker."""
        local = super().network(name, weights, **reports)
        return cast(Network, _Remote(local, self.compute, name, weights))

    def _compute(
        self, name: str, weights: str | Path | None, method: str, args: Any, options: Any
    ) -> Any:
        try:
            network = Session.network(self, name, weights)
            network.move_to(self._worker_device)
            return getattr(network, method)(*args, **options)
        except MscnnError as error:  # raised here, nothing but its class's name would cross
            return error


def _refusal(error: Exception) -> DeviceError | None:
    """What ZeroGPU says where it gives no GPU, or not for long enough; None for other failures.

    It raises gradio's error with a title, such as "ZeroGPU quota exceeded", and a message that may
    hold HTML. Of what is raised inside the worker that message is the name of its class.
    """
    title, said = str(getattr(error, "title", "")), str(getattr(error, "message", ""))
    if not title.startswith("ZeroGPU "):
        return None
    if title == "ZeroGPU worker error":
        taken = "The GPU was taken back before the answer was done; try again, or a quicker method."
        return DeviceError(taken) if said == "GPU task aborted" else None
    said = " ".join(re.sub("<[^>]*>", " ", said).split()).rstrip(".")
    return DeviceError(f"There is no GPU for this now: {said}.")


class _Remote:
    """A network that computes elsewhere and answers all else itself."""

    def __init__(
        self, local: Network, compute: Callable[..., Any], name: str, weights: str | Path | None
    ) -> None:
        self._local, self._compute, self._name, self._weights = local, compute, name, weights

    def __getattr__(self, attribute: str) -> Any:
        if attribute not in _REMOTE:
            return getattr(self._local, attribute)

        def call(*args: Any, **options: Any) -> Any:
            # Neither progress nor Stop crosses to the worker, and functions cannot be pickled.
            options = {k: v for k, v in options.items() if not callable(v)}
            try:
                found = self._compute(self._name, self._weights, attribute, args, options)
            except Exception as error:
                if refusal := _refusal(error):
                    raise refusal from error
                raise
            if isinstance(found, MscnnError):
                raise found
            return found

        return call
