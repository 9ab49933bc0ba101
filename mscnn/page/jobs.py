"""Stop buttons: which job of which visitor is running, and whether it should end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Jobs:
    """Cancel flags by visitor and kind of job; a new job of a kind ends the one before it."""

    def __init__(self) -> None:
        self._flags: dict[tuple[str, str], threading.Event] = {}
        self._lock = threading.Lock()

    @contextmanager
    def running(self, visitor: str, kind: str) -> Iterator[Callable[[], bool]]:
        """Run a job; yields a function that says whether it was stopped."""
        flag = threading.Event()
        with self._lock:
            earlier = self._flags.get((visitor, kind))
            self._flags[visitor, kind] = flag
        if earlier is not None:
            earlier.set()
        try:
            yield flag.is_set
        finally:
            with self._lock:
                if self._flags.get((visitor, kind)) is flag:
                    del self._flags[visitor, kind]

    def stop(self, visitor: str, kind: str) -> bool:
        """Ask a job to end; False where none runs."""
        with self._lock:
            flag = self._flags.get((visitor, kind))
        if flag is None:
            return False
        flag.set()
        return True
