"""Read a weights file without running anything that is in it.

Two formats are opened: safetensors, which holds numbers only, and PyTorch checkpoints through
``torch.load(weights_only=True)``, whose reader knows tensors and plain containers and refuses
every other name a pickle may ask for.
"""

from __future__ import annotations

import argparse
import json
import logging
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from timm.models import clean_state_dict

from mscnn.errors import WeightsError
from mscnn.models.weights.digest import os_reason

logger = logging.getLogger(__name__)

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".pth.tar")
# Where checkpoints keep the weights; the averaged ones come first, as in timm's own loader.
_NESTS = ("state_dict_ema", "model_ema", "state_dict", "model")
# The safetensors library's own limit.
_MAX_HEADER_BYTES = 100_000_000


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a weights file.

    Attributes:
        tensors: by parameter name; every floating point tensor is float32, on the CPU.
        metadata: the text fields of a safetensors header; empty for other formats.
    """

    tensors: Mapping[str, torch.Tensor]
    metadata: Mapping[str, str]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a weights file.

    Raises:
        WeightsError: the file is missing, unreadable, truncated, damaged, of another format, or
            holds code; the message says which.
    """
    check_suffix(path)
    _check_readable(path)
    if path.name.lower().endswith(".safetensors"):
        tensors, metadata = _read_safetensors(path)
    else:
        tensors, metadata = _read_pickle(path), {}
    return Checkpoint({name: _to_float32(value) for name, value in tensors.items()}, metadata)


def check_suffix(path: Path) -> None:
    """Refuse a file whose name does not end in one of ``SUFFIXES``.

    Raises:
        WeightsError: the name ends in something else.
    """
    if not path.name.lower().endswith(SUFFIXES):
        raise WeightsError(
            f"{path.name} is not a weights file; accepted endings are {', '.join(SUFFIXES)}."
        )


def _check_readable(path: Path) -> None:
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except FileNotFoundError:
        raise WeightsError(f"There is no weights file {path.name}.") from None
    except PermissionError:
        raise WeightsError(f"{path.name} may not be read: permission denied.") from None
    except OSError as error:
        raise WeightsError(f"{path.name} cannot be read: {os_reason(error)}.") from error
    if empty:
        raise WeightsError(f"{path.name} is empty.")


def _read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = dict(file.metadata() or {})
    except (safetensors.SafetensorError, OSError, ValueError, RuntimeError) as error:
        logger.info("%s: %s", path.name, error)
        raise WeightsError(_safetensors_fault(path)) from error
    return clean_state_dict(tensors), metadata


def _safetensors_fault(path: Path) -> str:
    """Find out from the layout (8 bytes of header length, JSON header, data) what is wrong."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > _MAX_HEADER_BYTES:
            return f"{path.name} is not a safetensors file: its header is broken."
        head = file.read(length)
    if len(head) < length:
        return f"{path.name} is truncated: the file ends inside its header."
    try:
        fields = json.loads(head)
        end = max(
            (entry["data_offsets"][1] for key, entry in fields.items() if key != "__metadata__"),
            default=0,
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return f"{path.name} is not a safetensors file: its header is broken."
    expected = 8 + length + end
    if size < expected:
        return f"{path.name} is truncated: it has {size} of {expected} bytes."
    return f"{path.name} is damaged: its safetensors header does not describe its content."


def _read_pickle(path: Path) -> dict[str, torch.Tensor]:
    try:
        # timm's training checkpoints keep their argparse.Namespace; it only holds values.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        logger.info("%s: %s", path.name, error)
        raise WeightsError(_pickle_fault(path, str(error))) from error
    except Exception as error:
        # A damaged file makes this parser fail in many ways: EOFError, RuntimeError, KeyError,
        # struct.error, UnicodeDecodeError. All of them mean the same to the user.
        logger.info("%s: %s: %s", path.name, type(error).__name__, error)
        raise WeightsError(
            f"{path.name} is truncated or damaged: it cannot be read as a PyTorch checkpoint."
        ) from error
    return _tensors_of(path, content)


def _pickle_fault(path: Path, text: str) -> str:
    # torch says so of bytes that are no instruction of a pickle it could have written.
    if "Unsupported operand" in text or "truncated" in text:
        return f"{path.name} is truncated or damaged: it cannot be read as a PyTorch checkpoint."
    return (
        f"{path.name} holds Python objects besides tensors, so it was refused without running "
        "anything in it; save the state_dict alone, best as .safetensors."
    )


def _tensors_of(path: Path, content: Any) -> dict[str, torch.Tensor]:
    nest = content
    if isinstance(content, Mapping):
        held = [key for key in _NESTS if isinstance(content.get(key), Mapping)]
        nest = content[held[0]] if held else content
    if isinstance(nest, Mapping):
        named = {key: value for key, value in nest.items() if isinstance(key, str)}
        tensors = {key: value for key, value in named.items() if isinstance(value, torch.Tensor)}
        if tensors:
            return dict(clean_state_dict(tensors))
    raise WeightsError(
        f"{path.name} holds no named tensors; accepted are a state_dict or a checkpoint with "
        "the key state_dict, state_dict_ema or model."
    )


def _to_float32(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
