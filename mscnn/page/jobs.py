"""Which job of which visitor is running, and whether it should end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Job:
    """One request on its way: ended by Stop, or by a newer request of the same visitor."""

    def __init__(self, serial: int = 0) -> None:
        self._flag = threading.Event()
        self.serial, self.overtaken = serial, False

    def end(self, *, overtaken: bool = False) -> None:
        """Ask the job to end; it looks at ``is_cancelled`` between two steps."""
        self.overtaken = self.overtaken or overtaken
        self._flag.set()

    def is_cancelled(self) -> bool:
        """Whether the job should end."""
        return self._flag.is_set()


class Jobs:
    """Running jobs by visitor, one each."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()

    @contextmanager
    def running(self, visitor: str, serial: int = 0) -> Iterator[Job]:
        """Run a job; of two of a visitor the one with the lower serial is overtaken.

        Requests that a browser sends one after the other may arrive in another order.
        """
        job = Job(serial)
        with self._lock:
            other = self._jobs.get(visitor)
            is_late = other is not None and other.serial > serial
            if not is_late:
                self._jobs[visitor] = job
        if is_late:
            job.end(overtaken=True)
        elif other is not None:
            other.end(overtaken=True)
        try:
            yield job
        finally:
            job.end()  # also if the page was closed: its result is not needed any more
            with self._lock:
                if self._jobs.get(visitor) is job:
                    del self._jobs[visitor]

    def stop(self, visitor: str) -> bool:
        """Ask the visitor's job to end; False where none runs."""
        with self._lock:
            job = self._jobs.get(visitor)
        if job is not None:
            job.end()
        return job is not None
