"""Which job of which visitor is running, and whether it should end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Job:
    """One request on its way: ended by Stop, or by a newer request of the same visitor.

    Attributes:
        overtaken: a newer request ended it.
        heir: that one, where it is about the same model: it goes on with a download.
        agreed: names of the models that the visitor let be downloaded, with the heir in common.
        tell: sends a message to the visitor at once; None after the last one.
    """

    def __init__(self, serial: int = 0, model: object = None) -> None:
        self._flag = threading.Event()
        self.serial, self.model, self.overtaken = serial, model, False
        self.heir: Job | None = None
        self.agreed: set[str] = set()
        self.tell: Callable[[Any], None] = lambda message: None

    @property
    def newest(self) -> Job:
        """The last of its heirs; itself without any."""
        job = self
        while job.heir is not None:
            job = job.heir
        return job

    def progress(self, done: int, total: int | None, what: str) -> None:
        """Tell the visitor how far the work is."""
        self.tell({"progress": {"done": done, "total": total, "what": what}})

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
    def running(self, visitor: str, serial: int = 0, model: object = None) -> Iterator[Job]:
        """Run a job; of two of a visitor the one with the lower serial is overtaken.

        Requests that a browser sends one after the other may arrive in another order. ``model`` is
        what the request says: for another one no download goes on.
        """
        job = Job(serial, model)
        with self._lock:
            other = self._jobs.get(visitor)
            is_late = other is not None and other.serial > serial
            if not is_late:
                self._jobs[visitor] = job
        if is_late:
            job.end(overtaken=True)
        elif other is not None:
            if other.model == model:
                other.heir, job.agreed = job, other.agreed
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
