"""What is done so far of a feature file, beside it: ``FILE.part``.

The folder holds ``plan.json`` (what is being made), ``rows.npy`` (float32, one row per photograph
of the list), ``readable.npy`` (bool, likewise) and ``done.npy`` (int64, per batch: 0, or 1 + the
CRC-32 of its rows and flags). Each is mapped into memory by every process that shares the work.
A batch is written before it is marked; after a crash of the machine, rows that never reached the
disk do not fit their checksum, and are computed again.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mscnn.errors import OutputError
from mscnn.results.features import Rows
from mscnn.results.writing import reason, replacing


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is being made; rows of different plans do not go together.

    Last bits of a row may differ with the kind of device and the size of a batch. ``stage`` and
    ``split`` are those of ``Network.feature_point``, ``width`` is the numbers of a row, and
    ``photographs`` the digest of the list.
    """

    model: str
    weights_sha256: str
    stage: str | None
    split: int | None
    device: str
    batch_size: int
    images: int
    width: int
    photographs: str

    def batch(self, number: int) -> slice:
        """Return the photographs of a batch; the last one may be smaller."""
        start = number * self.batch_size
        return slice(start, min(start + self.batch_size, self.images))

    @property
    def batches(self) -> int:
        """How many there are."""
        return -(-self.images // self.batch_size)


class PartFiles:
    """Rows of a feature file while it is made, written by several processes of one machine at once.

    The ``first`` of them makes and checks the files; the others wait until this is done.
    ``readable`` is ``(images,)`` bool.

    Raises:
        OutputError: the folder cannot be written, or holds rows of another plan.
    """

    def __init__(self, out: Path, plan: Plan, *, first: bool = True) -> None:
        self.out, self.plan, self.folder = out, plan, part_folder(out)
        with writing(out):
            if first:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._settle_plan()
            self._rows: Rows = self._map("rows", "<f4", (plan.images, plan.width))
            self.readable: npt.NDArray[np.bool_] = self._map("readable", "?", (plan.images,))
            self._done: npt.NDArray[np.int64] = self._map("done", "<i8", (plan.batches,))
        if first:
            for number in self.done():
                if self._done[number] != self._checksum(number):
                    self._done[number] = 0

    def done(self) -> list[int]:
        """Return the numbers of the batches that are written, by any process."""
        return [int(number) for number in np.flatnonzero(self._done)]

    def photographs(self) -> int:
        """Return how many photographs are done."""
        return sum(batch.stop - batch.start for batch in map(self.plan.batch, self.done()))

    def is_complete(self) -> bool:
        """Whether all batches are written."""
        return bool(self._done.all())

    def write(self, number: int, rows: Rows, readable: npt.NDArray[np.bool_]) -> None:
        """Keep a batch: ``(B, width)`` float32 rows, and ``(B,)`` which of them are photographs."""
        batch = self.plan.batch(number)
        self._rows[batch], self.readable[batch] = rows, readable
        self._done[number] = self._checksum(number)

    def readable_rows(self) -> Rows:
        """Return the rows of readable photographs in order, mapped from a file."""
        if self.readable.all():
            return self._rows
        # A copy on the disk, for all rows may not fit into memory.
        count = int(self.readable.sum())
        path = self.folder / "readable_rows.npy"
        found: Rows = np.lib.format.open_memmap(path, "w+", "<f4", (count, self.plan.width))
        at = 0
        for batch in map(self.plan.batch, range(self.plan.batches)):
            some = self._rows[batch][self.readable[batch]]
            found[at : at + len(some)] = some
            at += len(some)
        return found

    def remove(self) -> None:
        """Delete everything; the feature file is there now, or never will be."""
        del self._rows, self.readable, self._done  # Windows deletes no mapped file
        forget(self.out)

    def _checksum(self, number: int) -> int:
        batch = self.plan.batch(number)
        rows, flags = self._rows[batch].tobytes(), self.readable[batch].tobytes()
        return 1 + zlib.crc32(flags, zlib.crc32(rows))

    def _map(self, name: str, dtype: str, shape: tuple[int, ...]) -> Any:
        """Map an array, of zeros where it is new, with its space on the disk reserved.

        A write into a map that the disk has no room for would kill the process.
        """
        path = self.folder / f"{name}.npy"
        if not path.exists():
            with replacing(path) as fresh:
                np.lib.format.open_memmap(fresh, "w+", dtype, shape)
                with fresh.open("r+b") as file:
                    _reserve(file.fileno(), fresh.stat().st_size)
        return np.lib.format.open_memmap(path, "r+")

    def _settle_plan(self) -> None:
        path, wanted = self.folder / "plan.json", asdict(self.plan)
        if not path.exists():
            with replacing(path) as fresh:
                fresh.write_text(json.dumps(wanted, indent=1) + "\n", encoding="ascii")
            return
        known: Any = None
        with contextlib.suppress(ValueError):
            known = json.loads(path.read_bytes())
        known = known if isinstance(known, dict) else {}
        if names := [key.replace("_", " ") for key in wanted if known.get(key) != wanted[key]]:
            raise OutputError(
                f"{self.folder.name!r} holds what an earlier run began that was different "
                f"({', '.join(names)}); give the same command to go on with it, --restart to begin "
                "anew, or another --out."
            )


def part_folder(out: Path) -> Path:
    """Return where the rows of a feature file are kept until it is whole."""
    return out.with_name(f"{out.name}.part")


def forget(out: Path) -> None:
    """Delete what an earlier run kept for ``out``."""
    shutil.rmtree(part_folder(out), ignore_errors=True)


def _reserve(file: int, size: int) -> None:
    """Take the space for a file of zeros."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
        return
    start = os.lseek(file, 0, os.SEEK_SET)  # after NumPy's header come zeros
    while start < size:
        some = os.read(file, min(1 << 22, size - start))
        os.lseek(file, start, os.SEEK_SET)
        start += os.write(file, some)


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Turn what the disk refuses into a sentence."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{out.name!r} could not be written: {reason(error)}. What was done is kept: free "
            "space or change permissions, and give the same command again."
        ) from error
