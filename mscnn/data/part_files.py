"""Arrays with a row per photograph, while they are made in several runs by several processes.

What is done so far lies beside the result, in the folder ``OUT.part``: ``plan.json`` (what is being
made), each array as ``NAME.npy``, ``readable.npy`` (bool, per photograph) and ``done.npy`` (int64,
per batch: 0, or 1 + the CRC-32 of its rows and flags). Each is mapped into memory by every process
that shares the work. A batch is written before it is marked; after a crash of the machine, rows
that never reached the disk do not fit their checksum, and are computed again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import mscnn
from mscnn.data import listing
from mscnn.data.feature_files import map_reserved
from mscnn.data.listing import MOMENTARY, PhotoList, why_unreadable
from mscnn.data.loading import killed_loader_raises
from mscnn.data.processes import Processes
from mscnn.engine.network import Progress
from mscnn.errors import MscnnError, OutputError
from mscnn.results.writing import reason, replacing

if sys.platform != "win32":
    import fcntl

Flags = npt.NDArray[np.bool_]
Arrays = Mapping[str, npt.NDArray[Any]]
Done = tuple[int, Arrays, Flags]
"""A batch: its number, its rows of each array, and which of them are photographs."""
_WAIT_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is being made.

    Attributes:
        settings: what the rows depend on, fit for JSON; device and batch size count too, for they
            change last bits of a row.
        photographs: digest of the list of ``images`` photographs.
        arrays: name to dtype and shape of a row.
    """

    settings: Mapping[str, Any]
    images: int
    batch_size: int
    photographs: str
    arrays: Mapping[str, tuple[str, tuple[int, ...]]]

    def document(self) -> dict[str, Any]:
        """Return what two runs that share their work have in common."""
        # Another version may give other rows.
        own = {"photographs": self.photographs, "images": self.images, "version": mscnn.__version__}
        return {**self.settings, "batch_size": self.batch_size, **own}

    def batch(self, number: int) -> slice:
        """Return the photographs of a batch; the last one may be smaller."""
        start = number * self.batch_size
        return slice(start, min(start + self.batch_size, self.images))

    @property
    def batches(self) -> int:
        """How many there are."""
        return -(-self.images // self.batch_size)


class PartFiles:
    """Arrays while they are made, written by several processes of one machine at once.

    The ``first`` process makes and checks the files, the others wait; ``OutputError`` for another
    plan's. ``within`` is a folder of its own for one of several plans with the same ``out``.
    """

    def __init__(self, out: Path, plan: Plan, *, first: bool = True, within: str = "") -> None:
        self.out, self.plan, self.folder = out, plan, part_folder(out) / within
        with writing(out):
            if first:
                settle(out, plan, within)
            self.arrays: dict[str, npt.NDArray[Any]] = {
                name: self._map(name, dtype, (plan.images, *shape))
                for name, (dtype, shape) in plan.arrays.items()
            }
            self.readable: Flags = self._map("readable", "?", (plan.images,))
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
        of_last = len(range(self.plan.images)[self.plan.batch(self.plan.batches - 1)])
        missing = (self.plan.batch_size - of_last) * bool(self._done[-1])
        return int(np.count_nonzero(self._done)) * self.plan.batch_size - missing

    def is_complete(self) -> bool:
        """Whether all batches are written."""
        return bool(self._done.all())

    def write(self, number: int, rows: Arrays, readable: Flags) -> None:
        """Keep a batch: its rows by the arrays' names, and ``(B,)`` which are photographs."""
        batch = self.plan.batch(number)
        for name, array in self.arrays.items():
            array[batch] = rows[name]
        self.readable[batch] = readable
        self._done[number] = self._checksum(number)

    def readable_rows(self, name: str, readable: Flags | None = None) -> Any:
        """Return the rows of an array that are ``readable``, in order, mapped from a file."""
        readable = self.readable if readable is None else readable
        array = self.arrays[name]
        if readable.all():
            return array
        # A copy on the disk, for all rows may not fit into memory.
        shape = int(readable.sum()), *array.shape[1:]
        path = self.folder / f"readable_{name}.npy"
        path.unlink(missing_ok=True)  # what an earlier try left
        found = map_reserved(path, array.dtype, shape)
        at = 0
        for batch in map(self.plan.batch, range(self.plan.batches)):
            some = array[batch][readable[batch]]
            found[at : at + len(some)] = some
            at += len(some)
        return found

    def close(self) -> None:
        """Let go of the files: Windows moves and deletes no mapped one."""
        del self.arrays, self.readable, self._done

    def remove(self) -> None:
        """Delete everything; the result is there now, or never will be."""
        self.close()
        forget(self.out)

    def _checksum(self, number: int) -> int:
        batch, found = self.plan.batch(number), 0
        for array in (*self.arrays.values(), self.readable):
            found = zlib.crc32(array[batch].tobytes(), found)
        return 1 + found

    def _map(self, name: str, dtype: str, shape: tuple[int, ...]) -> Any:
        """Map an array, of zeros where it is new."""
        return map_reserved(self.folder / f"{name}.npy", dtype, shape)


def settle(out: Path, plan: Plan, within: str = "") -> None:
    """Note what is being made; ``OutputError`` where an earlier run began something else."""
    if _is_foreign(part_folder(out)):
        raise OutputError(
            f"{part_folder(out).name!r} holds files that no run wrote, and would be deleted "
            "at the end; move it away, or give another --out."
        )
    folder, wanted = part_folder(out) / within, plan.document()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "plan.json"
    if not path.exists():
        with replacing(path) as fresh:
            fresh.write_text(json.dumps(wanted, indent=1) + "\n", encoding="ascii")
        return
    known: Any = None
    with suppress(ValueError):
        known = json.loads(path.read_bytes())
    if names := differing(known, wanted):
        raise OutputError(
            f"{part_folder(out).name!r} holds what an earlier run began that was different "
            f"({', '.join(names)}); with all of that as it was, the same command goes on with "
            "it; give --restart to begin anew, or another --out."
        )


def fill(
    out: Path,
    plan: Plan,
    rows_of: Callable[[Sequence[int]], Generator[Done]],
    *,
    processes: Processes,
    restart: bool = False,
    within: str = "",
    on_progress: Progress = lambda *_: None,
) -> tuple[PartFiles, int]:
    """Compute what is not done yet, as one of ``processes``; return once all of it is there.

    Args:
        out, plan, within: see ``PartFiles``.
        rows_of: computes batches by their numbers.
        restart: forget what an earlier run kept for ``out``.
        on_progress: called with (photographs done by all processes, in total).

    Returns:
        The arrays, and how many photographs an earlier run had done.
    """
    # The first process makes and checks what is kept, then the others look at it.
    if processes.is_first:
        if restart:
            forget(out)
        part = PartFiles(out, plan, within=within)
    processes.wait()
    if not processes.is_first:
        part = PartFiles(out, plan, within=within, first=False)
    kept = part.photographs()
    todo = sorted({*range(processes.rank, plan.batches, processes.size)} - {*part.done()})
    # No process may write before all have looked what is to do.
    processes.wait()

    def report() -> None:
        on_progress(part.photographs(), plan.images)

    try:
        with killed_loader_raises(), closing(rows_of(todo)) as found:
            for batch in found:
                part.write(*batch)
                report()
    except MscnnError:
        # A setting that fails at once: what is left would be in the way of a better one.
        if not any(np.load(kept).any() for kept in part_folder(out).rglob("done.npy")):
            part.remove()
        raise
    # However long the others take: a barrier of torch gives up after minutes.
    while not part.is_complete():
        time.sleep(_WAIT_S)
        report()
    return part, kept


def left_out(photos: PhotoList, readable: Flags) -> tuple[tuple[str, str], ...]:
    """Return name and reason of what could not be read."""
    return tuple(
        (photos.name(number), why_unreadable(photos.source(number)) or MOMENTARY)
        for number in (~readable).nonzero()[0].tolist()
    )


def check_any(part: PartFiles, unreadable: Sequence[tuple[str, str]]) -> None:
    """Delete the rows and raise ``DatasetError`` where no photograph could be read."""
    if len(unreadable) == part.plan.images:
        part.remove()
    listing.check_any(unreadable, part.plan.images)


class Names:
    """Names of some photographs, gone through any number of times, fit for UTF-8."""

    def __init__(self, photos: PhotoList, readable: Flags) -> None:
        self.photos, self.numbers = photos, readable.nonzero()[0]

    def __iter__(self) -> Iterator[str]:
        for number in self.numbers:
            yield self.photos.name(int(number)).encode("utf-8", "backslashreplace").decode()


def differing(known: Any, wanted: Mapping[str, Any]) -> list[str]:
    """Return which settings of another run differ, in words."""
    known = known if isinstance(known, dict) else {}
    return [key.replace("_", " ") for key in wanted if known.get(key) != wanted[key]]


def part_folder(out: Path) -> Path:
    """Return where the rows are kept until the result is whole.

    Beside ``out``; inside where it is a folder in one that may not be written, as a mounted one.
    """
    if out.is_dir() and not os.access(out.parent, os.W_OK | os.X_OK):
        return out / ".part"
    return out.parent / f"{out.name}.part"  # "/" has no name to change


def forget(out: Path) -> None:
    """Delete what an earlier run kept for ``out``."""
    folder = part_folder(out)
    if _is_foreign(folder):
        return
    for path in [*folder.rglob("*")]:  # the plans last: by them it is known as a run's own
        if path.name != "plan.json" and not path.is_dir():
            with suppress(OSError):
                path.unlink()
    shutil.rmtree(folder, ignore_errors=True)


def _is_foreign(folder: Path) -> bool:
    """Whether a folder so called holds files that no run wrote."""
    files = {path.name for path in folder.rglob("*") if not path.is_dir()}
    # A kill may have come before the plan had its name.
    return "plan.json" not in files and not files <= {"plan.json.part"}


@contextmanager
def alone(out: Path, processes: Processes) -> Iterator[None]:
    """Keep other runs of this user away from ``out``; ``OutputError`` where one is at work."""
    if sys.platform == "win32" or not processes.is_first:
        yield
        return
    name = hashlib.sha256(os.fsencode(out.resolve())).hexdigest()[:16]
    # Not beside the result, where it would stay.
    with (Path(tempfile.gettempdir()) / f"mscnn-{os.getuid()}-{name}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise OutputError(
                f"Another run is writing {out.name!r}; wait until it has ended, or give another "
                "--out."
            ) from None
        yield


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
