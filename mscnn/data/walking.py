"""The photographs below a folder, one by one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from mscnn.errors import DatasetError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif"})


def walk(folder: Path, _above: tuple[tuple[int, int], ...] = ()) -> Iterator[str]:
    """Yield the photographs below a folder, sorted, relative to it and with ``/``.

    By their names' suffix; hidden files and folders are left out. Links are followed, except a
    folder back into one that it lies in.
    """
    with os.scandir(folder) as found:
        entries = sorted((e for e in found if not e.name.startswith(".")), key=lambda e: e.name)
    status = folder.stat()
    above = (*_above, (status.st_dev, status.st_ino))
    for entry in entries:
        if _is_folder(entry):
            inside = entry.stat()
            if (inside.st_dev, inside.st_ino) not in above:
                yield from (f"{entry.name}/{name}" for name in walk(Path(entry.path), above))
        elif PurePosixPath(entry.name).suffix.lower() in SUFFIXES:
            yield entry.name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads nowhere
        return False


def unreadable_folder(folder: Path, error: OSError) -> DatasetError:
    """Return the sentence for a folder that cannot be listed."""
    reason = (error.strerror or type(error).__name__).lower()
    return DatasetError(f"The folder {str(folder)!r} cannot be read: {reason}.")
