"""A server's memory: what answers used goes back to the system, and sessions do not pile up."""

from __future__ import annotations

import ctypes
import gc
import threading
import time
from typing import Any

SESSIONS = 64
"""Visitors of whom gradio keeps a copy of the page with their last answer: up to a megabyte each,
and 10,000 of them by default. Ours hold no state, so that nothing is lost with one."""
THREADS = 8
"""In which answers are made, of gradio's 40: only one works with a model at a time, and each holds
on to what it once needed."""
_PAUSE_S, _ARENAS, _M_ARENA_MAX = 1.0, 2, -8  # the last of mallopt(3)
_answered = threading.Event()
answered = _answered.set
"""Note that an answer went out, which leaves memory behind."""


def bound() -> None:
    """From now on give memory back soon after answers; for a process that serves.

    glibc keeps what each thread freed, so that a server whose threads have each decoded a large
    photo once holds the memory of all. Does nothing without glibc.
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_ARENA_MAX, _ARENAS)
        trim = libc.malloc_trim
    except (OSError, AttributeError):
        return
    gc.collect()
    gc.freeze()  # what is here now stays; collections need not look at it
    threading.Thread(target=_give_back, args=(trim,), name="memory", daemon=True).start()


def _give_back(trim: Any) -> None:
    while _answered.wait():
        time.sleep(_PAUSE_S)  # once for many answers
        _answered.clear()
        gc.collect()  # figures hold themselves in circles
        trim(0)
