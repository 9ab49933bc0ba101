"""Random numbers of torch's own generator, the same ones every time."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_SEEDING = threading.Lock()


def _after_fork() -> None:
    global _SEEDING
    _SEEDING = threading.Lock()  # whoever held it is not here


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the CPU's generator while the block runs, for code that takes no generator."""
    # torch.manual_seed would also seed the accelerators, which the fork does not restore. The
    # generator belongs to all threads.
    with _SEEDING, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
