"""Checkpoints that are whole or absent: written beside, flushed, then renamed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mscnn.errors import TrainingError

NAME = "checkpoint.pt"


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write(temporary_path)``, then move the file to ``path`` in one step.

    A kill at any moment leaves either the old file or the new one.

    Raises:
        TrainingError: the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(path.name + ".part")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, RuntimeError) and not _is_of_zip_writer(error):
            raise
        raise cannot_save(path.name, error) from error


def cannot_save(what: str, error: Exception) -> TrainingError:
    """Return the error for a file, or several, that could not be written."""
    code = getattr(error, "errno", None)
    full = code in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)
    if full or isinstance(error, RuntimeError):
        # torch.save reports a full disk as a RuntimeError of its zip writer.
        reason, remedy = "the disk is full", "make room"
    else:
        reason, remedy = "the folder cannot be written", "make it writable"
    return TrainingError(
        f"Could not save {what} because {reason}; what was saved before is kept, so {remedy} and "
        "go on with --resume."
    )


def _is_of_zip_writer(error: RuntimeError) -> bool:
    return "PytorchStreamWriter" in str(error) or "inline_container" in str(error)


def save(folder: Path, state: dict[str, Any]) -> None:
    """Replace the run's checkpoint by ``state`` (tensors and plain values only)."""
    write_atomically(folder / NAME, lambda path: torch.save(state, path))


def load(folder: Path) -> dict[str, Any] | None:
    """Return the run's checkpoint on the CPU, or None where there is none.

    Raises:
        TrainingError: the file cannot be read.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise TrainingError(
            f"{path.name} cannot be read; remove it to start again from the first epoch."
        ) from error
    return state
