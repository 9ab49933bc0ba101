"""Write several files into a folder so that it never holds half of them after an error."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from mscnn.errors import OutputError

Files = dict[str, bytes]
"""File name (no folders) to content."""


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be written, before any work is done for it.

    Raises:
        OutputError: it is a file, lies below one, or may not be written.
    """
    existing = folder
    while not os.path.lexists(existing) and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise OutputError(f"{str(existing)!r} is not a folder; give another folder as --out.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise OutputError(f"The folder {str(folder)!r} may not be written; give another --out.")


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write ``files`` into ``folder``, which is made where it is missing.

    All are first written into a hidden folder beside, or inside where ``folder`` exists, on the
    same file system; then they are moved. Files of these names are replaced, others stay.

    Raises:
        OutputError: something could not be written; the hidden folder is gone again.
    """
    check_folder(folder)
    made: list[Path] = []
    try:
        home = folder if folder.is_dir() else folder.parent
        made = _make(home)
        _write_through(folder, home, files)
    except OSError as error:
        for path in reversed(made):
            with contextlib.suppress(OSError):
                path.rmdir()  # only where it is empty
        raise OutputError(f"{str(folder)!r} could not be written: {_reason(error)}.") from error


def _write_through(folder: Path, home: Path, files: Mapping[str, bytes]) -> None:
    hidden = home / f".mscnn-{os.getpid()}-{secrets.token_hex(4)}"
    hidden.mkdir()
    try:
        for name, content in files.items():
            (hidden / name).write_bytes(content)
        if folder.is_dir():
            for name in files:
                (hidden / name).replace(folder / name)
        else:
            hidden.rename(folder)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _make(folder: Path) -> list[Path]:
    """Make a folder and its missing parents; return those that were made, outermost first."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
    return missing[::-1]


def _reason(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "the disk is full"
    return (error.strerror or type(error).__name__).lower()
