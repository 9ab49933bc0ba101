"""Files that are whole or absent."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


def reason(error: OSError) -> str:
    """Say in a few words why a file could not be read or written; no path in it."""
    if error.errno in _FULL:
        return "the disk is full"
    return (error.strerror or type(error).__name__).lower()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the name of a file beside ``path``; once written, it takes the place of ``path``.

    A kill at any moment leaves either the old file or the new one; an error leaves the old one.

    Raises:
        OSError: the file could not be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
