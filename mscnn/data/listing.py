"""Photographs by number: the files below a folder, and labelled selections of any list.

Whatever their number, names are packed and labels are arrays, so that loader processes share the
pages they were forked with. Each file below a folder is listed or, with the reason, accounted for.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from errno import EACCES
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from mscnn.errors import DatasetError, ImageError
from mscnn.photos.imaging import PhotoSource, load_photo
from mscnn.results.writing import reason

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp", ".png", ".apng", ".webp", ".avif",
     ".heic", ".heif", ".hif", ".bmp", ".dib", ".tif", ".tiff", ".gif"}
)  # fmt: skip
"""How the names of photographs end, in lower case. ``load_photo`` says why it refuses one."""

_SHOWN = 5

# File servers (Synology, QNAP), macOS's ZIP files, Windows and Linux make them.
_OF_SYSTEMS = frozenset(
    {"@eadir", "@recycle", "#recycle", "@recently-snapshot", "__macosx", "$recycle.bin",
     "system volume information", "lost+found", "thumbs.db", "ehthumbs.db", "desktop.ini"}
)  # fmt: skip

MOMENTARY = "It could not be read for a moment."
Numbers = npt.NDArray[np.int64]


@dataclass(slots=True)
class Account:
    """What is to be said of a list: files below ``root`` that are not in it, by the reason.

    Names are relative, with ``/``; one that ends in ``/`` stands for a whole folder.
    """

    root: Path = field(default_factory=Path)
    unused: dict[str, list[str]] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)

    def note(self, path: str | Path, why: str, *, folder: bool = False) -> None:
        """Note a file, or a folder as a whole."""
        name = Path(path).relative_to(self.root).as_posix()
        self.unused.setdefault(why, []).append(name + "/" * folder)

    def note_all(self, path: str | Path, why: str) -> None:
        """Note a file, or each one below a folder; the folder itself where none can be seen."""
        is_folder = Path(path).is_dir() and not Path(path).is_symlink()
        below = Path(path).rglob("*") if is_folder else ()
        files = [file for file in below if file.is_symlink() or not file.is_dir()]
        for file in files or [Path(path)]:
            self.note(file, why, folder=is_folder and not files)

    def take_back(self, path: Path) -> None:
        """Forget what was noted of a file, which is used after all."""
        name = path.relative_to(self.root).as_posix()
        left = {why: [n for n in names if n != name] for why, names in self.unused.items()}
        self.unused = {why: names for why, names in left.items() if names}

    def lines(self) -> list[str]:
        """Return a line for each reason: how many files, and the first of them."""
        found = []
        for why, names in self.unused.items():
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            shown = ", ".join(map(repr, names[:_SHOWN])) + more
            found.append(f"{len(names)} not used ({why}): {shown}.")
        return found


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

    def digest(self) -> str:
        """Return a sha256 of what ``datasets`` knows the table's content by."""
        known = f"{getattr(self.table, '_fingerprint', '')}/{self.column}/{self.rows}"
        return hashlib.sha256(known.encode()).hexdigest()


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

    def digest(self) -> str:
        """Return a sha256 of the photographs and of their classes."""
        found = hashlib.sha256(self.photos.digest().encode("ascii"))
        found.update(self._numbers.tobytes() + self.targets.tobytes())
        return found.hexdigest()

    def names_digest(self) -> str:
        """Return a sha256 of the names in their order, whatever the files' times."""
        found = hashlib.sha256()
        for index in range(len(self)):
            found.update(os.fsencode(self.name(index)) + b"\0")
        return found.hexdigest()

    def full_name(self, index: int) -> str:
        """Return the whole path of a file, the name of anything else."""
        is_file = isinstance(self.photos, FileList)
        return str(self.source(index)) if is_file else self.name(index)

    def aimed(self, targets: Numbers) -> Samples:
        """Return the same photographs with other class indices."""
        return Samples(self.photos, targets, self._numbers)

    def select(self, numbers: Iterable[int] | Numbers) -> Samples:
        """Return those of some numbers, in the order of these."""
        chosen = _array(numbers)
        return Samples(self.photos, self.targets[chosen], self._numbers[chosen])


PhotoList = FileList | RowList | Samples
"""Photographs in a fixed order."""


def _array(values: Iterable[int] | Numbers) -> Numbers:
    return values if isinstance(values, np.ndarray) else np.array(list(values), np.int64)


def walk(
    folder: Path, account: Account | None = None, *, given: bool = False,
    _above: tuple[tuple[int, int], ...] | None = None,
) -> Iterator[str]:  # fmt: skip
    """Yield the photographs below a folder, sorted, relative to it and with ``/``.

    By their names' suffix; hidden files and folders are left out, and those that mscnn wrote (but
    for the ``given`` folder itself). Links are followed, except a folder back into one that it lies
    in. What is not yielded is noted in ``account``.
    """
    account, status = account or Account(folder), folder.stat()
    if _above is None:
        around = (path.stat() for path in folder.parents if path.is_relative_to(account.root))
        _above = tuple((above.st_dev, above.st_ino) for above in around)
    if (here := (status.st_dev, status.st_ino)) in _above:
        account.note(folder, "a link back to a folder that it lies in")
    elif len(_above) > 99:
        account.note(folder, "below 100 other folders", folder=True)
    elif (_above or not given) and _of_mscnn(folder):
        account.note_all(folder, "in a folder that mscnn wrote")
    else:
        for name, is_folder in entries(folder, account):
            if is_folder:
                below = walk(folder / name, account, _above=(*_above, here))
                yield from (f"{name}/{file}" for file in below)
            else:
                yield name


def entries(folder: str | Path, account: Account) -> list[tuple[str, bool]]:
    """Return names of folders (True) and photographs directly in a folder; the rest is noted."""
    found = []
    with os.scandir(folder) as listed:
        for entry in sorted(listed, key=lambda e: e.name):
            if entry.name.startswith(".") or entry.name.lower() in _OF_SYSTEMS:
                account.note_all(entry.path, "hidden, or a system's own, such as its thumbnails")
            elif (why := _why_not(entry)) in ("", "/"):
                found.append((entry.name, bool(why)))
            else:
                account.note(entry.path, why)
    return found


def _why_not(entry: os.DirEntry[str]) -> str:
    """Return ``""`` for a photograph, ``"/"`` for a folder, else why it is neither."""
    try:
        if entry.is_dir():
            return "/"
        if entry.is_file():  # known without a look at the file
            known = PurePosixPath(entry.name).suffix.lower() in SUFFIXES
            return "" if known else "no picture by how its name ends"
        entry.stat()
    except OSError:
        return "a link that cannot be followed"
    return "a pipe, a socket or a device"


def _of_mscnn(folder: Path) -> bool:
    """Whether a command made this folder: its pictures are charts and maps."""
    said, *model = (folder / n for n in ("manifest.json", "model.safetensors", "config.json"))
    # Only of a file: opening a pipe would wait for ever.
    if said.is_file() and b'"mscnn"' in np.fromfile(said, np.uint8, 400).tobytes():
        return True
    return (folder / "checkpoint.pt").is_file() or all(path.is_file() for path in model)


def why_unreadable(source: PhotoSource) -> str:
    """Return the sentence that refuses a photograph; "" where it can be read, perhaps again."""
    try:
        load_photo(source, whole=True)
    except ImageError as error:
        return str(error)
    return ""


def check_any(unreadable: Sequence[tuple[str, str]], images: int) -> None:
    """Raise ``DatasetError`` where no photograph could be read."""
    if len(unreadable) == images:
        raise DatasetError(
            f"None of the {images} photographs can be read; the first: {unreadable[0][1]}"
        )


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Raise ``DatasetError`` where the folder, or one below it, cannot be listed."""
    try:
        yield
    except OSError as error:
        path = Path(error.filename if isinstance(error.filename, str) else folder)
        advice = "; take it out, or give yourself the right to read it" * (error.errno == EACCES)
        while advice and path != folder and not os.path.lexists(path):
            path = path.parent  # what may not be entered, not what was looked for in it
        what = "The folder" if path == folder else f"{path.name!r} in the folder"
        raise DatasetError(
            f"{what} {str(folder)!r} cannot be read: {reason(error)}{advice}."
        ) from error


def list_photos(folder: Path, account: Account | None = None) -> FileList:
    """List all photographs below a folder; ``DatasetError`` where it cannot be read or has none."""
    account = account or Account(folder)
    with reading(folder):
        if not folder.is_dir():
            raise DatasetError(
                f"There is no folder {str(folder)!r}; give a folder with photographs."
            )
        files = FileList(folder, walk(folder, account, given=True))
    if not len(files):
        raise DatasetError(
            f"There is no photograph in {str(folder)!r}; give a folder with files such as .avif, "
            f".bmp, .gif, .jpeg. {' '.join(account.lines())}".rstrip()
        )
    return files
