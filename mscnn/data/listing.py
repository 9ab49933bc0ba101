"""Photographs by number: the files below a folder, and labelled selections of any list.

Whatever their number, names are packed and labels are arrays, so that loader processes share the
pages they were forked with.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mscnn.errors import DatasetError, ImageError
from mscnn.photos.imaging import PhotoSource, load_photo
from mscnn.results.writing import reason

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif"})
MOMENTARY = "It could not be read for a moment."
Numbers = npt.NDArray[np.int64]


class PhotoList(Protocol):
    """Photographs in a fixed order."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """Return how results call one: its path below the folder, with ``/``."""

    def source(self, index: int) -> PhotoSource:
        """Return what ``load_photo`` takes."""


class FileList:
    """Files by names relative to ``root`` (or absolute), packed: a million take 50 MB, not 500."""

    def __init__(self, root: Path, names: Iterable[str]) -> None:
        self.root = root
        packed, self._ends = bytearray(), array("Q")
        for name in names:
            packed += os.fsencode(name)
            self._ends.append(len(packed))
        self._packed = bytes(packed)

    def __len__(self) -> int:
        return len(self._ends)

    def name(self, index: int) -> str:
        """Return a path relative to the folder."""
        start = self._ends[index - 1] if index else 0
        return os.fsdecode(self._packed[start : self._ends[index]])

    def source(self, index: int) -> Path:
        """Return the file's path."""
        return self.root / self.name(index)

    def digest(self) -> str:
        """Return a sha256 of names, sizes and modification times."""
        found = hashlib.sha256()
        for index in range(len(self)):
            try:
                status = self.source(index).stat()
                state = f"\0{status.st_size}\0{status.st_mtime_ns}\0"
            except OSError:
                state = "\0missing\0"
            found.update(os.fsencode(self.name(index)) + state.encode())
        return found.hexdigest()


class RowList:
    """Photographs of a ``datasets.Dataset`` whose images are not decoded, read when asked for."""

    def __init__(self, table: Any, rows: int, column: str, part: str) -> None:
        self.table, self.rows, self.column, self.part = table, rows, column, part

    def __len__(self) -> int:
        return self.rows

    def name(self, index: int) -> str:
        """Return the row's name: ``"train[17]"``."""
        return f"{self.part}[{index}]"

    def source(self, index: int) -> PhotoSource:
        """Return the encoded bytes, or the path of a photograph that lies beside the table."""
        stored = self.table[index][self.column] or {}
        source: PhotoSource = stored.get("bytes") or stored.get("path") or b""
        return source


class Samples:
    """Photographs of a list by ``numbers``, ``(n,)``, None for all, with ``(n,)`` class indices."""

    def __init__(
        self,
        photos: PhotoList,
        targets: Iterable[int] | Numbers,
        numbers: Iterable[int] | Numbers | None = None,
    ) -> None:
        self.photos, self.targets = photos, _array(targets)
        self._numbers = np.arange(len(self.targets)) if numbers is None else _array(numbers)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[PhotoSource, int]:
        return self.source(index), int(self.targets[index])

    def __iter__(self) -> Iterator[tuple[PhotoSource, int]]:
        return (self[index] for index in range(len(self)))

    def name(self, index: int) -> str:
        """Return the name in the list."""
        return self.photos.name(int(self._numbers[index]))

    def source(self, index: int) -> PhotoSource:
        """Return what ``load_photo`` takes."""
        return self.photos.source(int(self._numbers[index]))

    def full_name(self, index: int) -> str:
        """Return the whole path of a file, the name of anything else."""
        is_file = isinstance(self.photos, FileList)
        return str(self.source(index)) if is_file else self.name(index)

    def select(self, numbers: Iterable[int] | Numbers) -> Samples:
        """Return those of some numbers, in the order of these."""
        chosen = _array(numbers)
        return Samples(self.photos, self.targets[chosen], self._numbers[chosen])


def _array(values: Iterable[int] | Numbers) -> Numbers:
    return values if isinstance(values, np.ndarray) else np.array(list(values), np.int64)


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


def why_unreadable(source: PhotoSource) -> str:
    """Return the sentence that refuses a photograph; "" where it can be read, perhaps again."""
    try:
        load_photo(source, whole=True)
    except ImageError as error:
        return str(error)
    return ""


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Raise ``DatasetError`` where the folder, or one below it, cannot be listed."""
    try:
        yield
    except OSError as error:
        sentence = f"The folder {str(folder)!r} cannot be read: {reason(error)}."
        raise DatasetError(sentence) from error


def list_photos(folder: Path) -> FileList:
    """List all photographs below a folder; ``DatasetError`` where it cannot be read or has none."""
    if not folder.is_dir():
        raise DatasetError(f"There is no folder {str(folder)!r}; give a folder with photographs.")
    with reading(folder):
        files = FileList(folder, walk(folder))
    if not len(files):
        raise DatasetError(
            f"There is no photograph in {str(folder)!r}; give a folder with files such as "
            f"{', '.join(sorted(SUFFIXES)[:4])}."
        )
    return files
