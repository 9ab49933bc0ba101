"""Devices: which there are, and when one has run out of memory."""

from __future__ import annotations

import re

import torch

from mscnn.errors import DeviceError

DEVICES = ("auto", "cpu", "cuda", "mps")
_OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "alloc_failed")


def choose_device(wanted: str = "auto") -> torch.device:
    """Pick a device of ``DEVICES``, or an indexed CUDA device such as ``"cuda:1"``.

    ``"auto"`` is CUDA where there is one, else Apple's MPS, else the CPU. Raises ``DeviceError``.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if wanted == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    if not re.fullmatch(r"cpu|mps|cuda(:[0-9]{1,3})?", wanted):
        raise DeviceError(f"There is no device {wanted!r}; choose one of {', '.join(DEVICES)}.")
    kind, _, index = wanted.partition(":")
    there = {"cpu": True, "mps": mps, "cuda": cuda and int(index or 0) < torch.cuda.device_count()}
    if not there[kind]:
        raise DeviceError(f"The device {wanted!r} is not available here; use --device cpu.")
    return torch.device(wanted)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; only CUDA has an error type of its own for it."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return any(text in str(error).lower() for text in _OUT_OF_MEMORY)
