"""Files that are whole or absent: the one place that writes results, checkpoints and the like."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mscnn.errors import OutputError

Files = dict[str, bytes]
"""File name (no folders) to content."""

_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


def reason(error: OSError) -> str:
    """Say in a few words why a file could not be read or written; no path in it."""
    if error.errno in _FULL:
        return "the disk is full"
    return (error.strerror or type(error).__name__).lower()


def safe_name(text: str) -> str:
    """Return a text as part of a file name: 80 ASCII letters, digits, dots, ``_``, ``-`` at most.

    Each other character becomes ``_``.
    """
    return re.sub(r"[^A-Za-z0-9._-]", "_", text)[:80]


def bare_name(path: str | None) -> str:
    """Return the last part of a photo's path, on every system: files travel, paths must not."""
    return re.split(r"[\\/]", path or "")[-1]


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the name of a file beside ``path``; once written, it takes the place of ``path``.

    A kill at any moment leaves either the old file or the new one; an error leaves the old one.
    Who may read it follows the umask, whatever made the file. Raises ``OSError``: the file could
    not be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        part.unlink(missing_ok=True)
        part.touch()
        mode = part.stat().st_mode
        yield part
        if part.stat().st_mode != mode:
            part.chmod(mode)
        with part.open("r+b") as file:  # Windows flushes only what may be written
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def check_folder(folder: Path, option: str = "--out") -> None:
    """Refuse a folder that cannot be written, before any work is done for it: ``OutputError``."""
    existing = folder
    while not os.path.lexists(existing) and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise OutputError(f"{str(existing)!r} is not a folder; give another folder as {option}.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise OutputError(f"The folder {str(folder)!r} may not be written; give another {option}.")


def write(folder: Path, files: Mapping[str, bytes]) -> list[str]:
    """Write ``files`` into ``folder``, which is made where it is missing; return their names.

    All are first written into a hidden folder beside, or inside where ``folder`` exists, on the
    same file system; then they are moved. Files of these names are replaced, others stay. Raises
    ``OutputError``: something could not be written; the hidden folder is gone again.
    """
    check_folder(folder)
    made: list[Path] = []
    try:
        home = folder if folder.is_dir() else folder.parent
        missing = [path for path in (home, *home.parents) if not path.is_dir()]
        for path in reversed(missing):
            path.mkdir(exist_ok=True)
            made.append(path)
        _write_through(folder, home, files)
    except BaseException as error:
        for path in reversed(made):
            with contextlib.suppress(OSError):
                path.rmdir()  # only where it is empty
        if not isinstance(error, OSError):
            raise
        raise OutputError(f"{str(folder)!r} could not be written: {reason(error)}.") from error
    return list(files)


def _write_through(folder: Path, home: Path, files: Mapping[str, bytes]) -> None:
    hidden = home / f".mscnn-{os.getpid()}-{secrets.token_hex(4)}"
    hidden.mkdir()
    try:
        for name, content in files.items():
            (hidden / name).write_bytes(content)
        if folder.is_dir():
            if any((folder / name).is_dir() for name in files):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            for name in files:
                (hidden / name).replace(folder / name)
        else:
            hidden.rename(folder)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
