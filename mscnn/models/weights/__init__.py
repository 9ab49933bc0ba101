"""Weights: where they are, whether they may be trusted, and the model they make.

The order of sources is: what the caller names (a file or a folder), the bundled folder, the
hub cache, the hub. Asking where a registry model's weights are needs no torch; building the model
does, so these names are resolved on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mscnn.models.weights.architecture import unsupported_reason
    from mscnn.models.weights.loading import LoadedModel, load_model
    from mscnn.models.weights.resolve import Availability, availability, default_model, fetch

__all__ = [
    "Availability",
    "LoadedModel",
    "availability",
    "default_model",
    "fetch",
    "load_model",
    "unsupported_reason",
]

_HOMES = {
    "Availability": "resolve",
    "LoadedModel": "loading",
    "availability": "resolve",
    "default_model": "resolve",
    "fetch": "resolve",
    "load_model": "loading",
    "unsupported_reason": "architecture",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
