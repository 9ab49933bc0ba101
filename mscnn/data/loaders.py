"""The processes that read images: how they end, and what is said when one of them was killed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from mscnn.errors import MscnnError


def leave_signals_to_parent(worker: int) -> None:
    """Let a loader process outlive a wish to stop, for the main process needs it for one more step.

    Ctrl-C, a terminal that closes, and a kill of all processes at once reach the loaders as well as
    the main process. It tells them itself when they are done; a second kill ends them.

    Args:
        worker: number of the loader process; the ``DataLoader`` gives it.
    """
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.signal(number, signal.SIG_DFL))


@contextmanager
def a_killed_loader_is(error: MscnnError) -> Iterator[None]:
    """Raise ``error`` where torch finds that a loader process was killed.

    torch says so from a signal handler, in whatever the main process is doing, so this belongs
    around all that uses the batches, not only around their loader.
    """
    try:
        yield
    except RuntimeError as found:
        if "DataLoader worker" not in str(found):
            raise
        raise error from found
