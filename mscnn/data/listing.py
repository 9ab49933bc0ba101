"""The photographs of a folder of any size, by number."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from mscnn.data.layouts import Photo
from mscnn.data.walking import SUFFIXES, unreadable_folder, walk
from mscnn.errors import DatasetError
from mscnn.photos.imaging import PhotoSource


class PhotoList(Protocol):
    """Photographs in a fixed order."""

    def __len__(self) -> int:
        """Return how many there are."""

    def name(self, index: int) -> str:
        """Return how results call one: its path below the folder, with ``/``."""

    def source(self, index: int) -> PhotoSource:
        """Return what ``load_photo`` takes."""


class FileList:
    """Files below a folder, packed: a million of them take about 50 MB, as paths ten times that.

    Args:
        root: the folder.
        names: paths relative to it, with ``/``.
    """

    def __init__(self, root: Path, names: Iterable[str]) -> None:
        self.root = root
        packed, self._ends = bytearray(), array("Q")
        for name in names:
            packed += os.fsencode(name)
            self._ends.append(len(packed))
        # Bytes, so that loader processes share the pages they were forked with.
        self._packed = bytes(packed)

    def __len__(self) -> int:
        return len(self._ends)

    def name(self, index: int) -> str:
        """Return a path relative to the folder."""
        start = self._ends[index - 1] if index else 0
        return os.fsdecode(self._packed[start : self._ends[index]])

    def source(self, index: int) -> PhotoSource:
        """Return the file's path."""
        return self.root / self.name(index)

    def digest(self) -> str:
        """Return a sha256 of names, sizes and times of change: another one, other photographs."""
        found = hashlib.sha256()
        for index in range(len(self)):
            try:
                status = (self.root / self.name(index)).stat()
                state = f"\0{status.st_size}\0{status.st_mtime_ns}\0"
            except OSError:
                state = "\0missing\0"
            found.update(os.fsencode(self.name(index)) + state.encode())
        return found.hexdigest()


class SampleList:
    """Photographs that a table or another file named.

    Args:
        root: the folder that names are shortened by.
        photos: files, or photographs inside a larger file.
    """

    def __init__(self, root: Path, photos: Sequence[Photo]) -> None:
        self.root, self.photos = root, photos

    def __len__(self) -> int:
        return len(self.photos)

    def name(self, index: int) -> str:
        """Return a path relative to the folder, or as the table gives it."""
        photo = self.photos[index]
        if not isinstance(photo, Path):
            return photo.name
        inside = photo.is_relative_to(self.root)
        return (photo.relative_to(self.root) if inside else photo).as_posix()

    def source(self, index: int) -> PhotoSource:
        """Return a path, or the stored bytes."""
        photo = self.photos[index]
        return photo if isinstance(photo, Path) else photo.read()


def list_photos(folder: Path) -> FileList:
    """List all photographs below a folder.

    Raises:
        DatasetError: there is no such folder, it may not be read, or it holds no photograph.
    """
    if not folder.is_dir():
        raise DatasetError(f"There is no folder {str(folder)!r}; give a folder with photographs.")
    try:
        files = FileList(folder, walk(folder))
    except OSError as error:
        raise unreadable_folder(folder, error) from error
    if not len(files):
        raise DatasetError(
            f"There is no photograph in {str(folder)!r}; give a folder with files such as "
            f"{', '.join(sorted(SUFFIXES)[:4])}."
        )
    return files
