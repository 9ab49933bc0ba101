"""Work shared by processes that ``torchrun`` or ``accelerate launch`` started."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import distributed

from mscnn.data.processes import Processes, join_processes, leave_processes

T = TypeVar("T")


@contextmanager
def sharing(device: torch.device) -> Iterator[Processes]:
    """Join the other processes for a while; without any there is one process.

    Raises:
        OptionError: the device cannot be shared.
    """
    processes = join_processes(device)
    try:
        yield processes
    finally:
        leave_processes(processes)


def gather_objects(processes: Processes, mine: T) -> list[T]:
    """Return what the other processes give, in order of rank."""
    if processes.size == 1:
        return []
    found: list[T | None] = [None] * processes.size
    distributed.all_gather_object(found, mine)
    return [one for rank, one in enumerate(found) if rank != processes.rank and one is not None]
