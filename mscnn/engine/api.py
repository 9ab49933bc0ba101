"""The Python door: ``mscnn.load``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mscnn.engine.device import choose_device
from mscnn.engine.network import Network
from mscnn.models.loading import load_model


def load(
    name: str,
    *,
    weights: str | Path | None = None,
    device: str = "auto",
    precision: str = "fp32",
    on_progress: Callable[[int, int | None], None] | None = None,
) -> Network:
    """Load a backbone.

    Args:
        name: a registry name (``mscnn.list_backbones()``), another timm CNN, or a folder that
            training wrote.
        weights: a file or folder to use instead of the bundled, cached or hub weights.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
        precision: ``"fp32"``, or ``"bf16"`` on a GPU.
        on_progress: called with (bytes done, bytes in total or None) during a download.

    Raises:
        UnknownModelError, UnsupportedModelError, WeightsError, DownloadError, DeviceError.
    """
    where = choose_device(device)
    return Network(load_model(name, weights, on_progress=on_progress), where, precision)
