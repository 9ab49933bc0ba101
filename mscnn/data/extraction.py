"""Feature vectors of all photographs below a folder, into a file.

What is done so far lies beside the file, in the folder ``FILE.part``. It holds ``plan.json`` (what
is being made), ``rows.npy`` (float32, one row per photograph of the list), ``readable.npy`` (bool,
likewise) and ``done.npy`` (int64, per batch: 0, or 1 + the CRC-32 of its rows and flags). Each is
mapped into memory by every process that shares the work. A batch is written before it is marked;
after a crash of the machine, rows that never reached the disk do not fit their checksum, and are
computed again.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mscnn.data.feature_files import check_format, check_writable, write_feature_file
from mscnn.data.listing import MOMENTARY, Account, FileList, list_photos, why_unreadable
from mscnn.data.loading import Loading, Normalise, batches, channels_last, killed_loader_raises
from mscnn.data.processes import Processes
from mscnn.engine.network import Network
from mscnn.errors import DatasetError, OutputError
from mscnn.results.features import Extraction, FeatureHead, Rows
from mscnn.results.writing import reason, replacing

Progress = Callable[[int, int], None]
_WAIT_S = 0.2


def extract(
    classifier: Network,
    folder: Path,
    out: Path,
    *,
    stage: str | None = None,
    split: int | None = None,
    loading: Loading | None = None,
    processes: Processes | None = None,
    restart: bool = False,
    on_progress: Progress | None = None,
) -> Extraction:
    """Write the features of all photographs below ``folder``, at any depth, into ``out``.

    What is done is kept beside ``out``: the same call after a kill goes on, and gives the same
    bytes as an undisturbed one; ``restart`` forgets what was kept. ``on_progress`` is called with
    (photographs done by all processes, in total). ``out`` ends in one of ``SUFFIXES``; ``stage``
    and ``split`` are as ``Network.feature_point`` takes them.

    Raises:
        DatasetError: no photograph is there, or none can be read.
        OutputError: ``out`` cannot be written, or an earlier run had other settings.
        OptionError, UnknownLayerError, UnsupportedModelError, DeviceError.
    """
    loading, processes = loading or Loading(), processes or Processes(classifier.device)
    started = time.perf_counter()
    check_format(out)
    check_writable(out)
    point = classifier.feature_point(stage, split)
    account = Account(folder)
    photos, normalise = list_photos(folder, account), Normalise(classifier)

    def rows_of(views: torch.Tensor) -> Rows:
        return normalise.into(lambda x: classifier.pooled(x, point), views)

    width, height = classifier.preprocess.view_size
    plan = Plan(
        model=classifier.name, weights_sha256=classifier.weights.sha256,
        stage=point.layer if point else None, split=split, device=classifier.device.type,
        batch_size=loading.batch_size, images=len(photos),
        width=rows_of(torch.zeros(1, height, width, 3, dtype=torch.uint8)).shape[1],
        photographs=photos.digest(),
    )  # fmt: skip
    # The first process makes and checks what is kept, then the others look at it.
    if processes.is_first:
        if restart:
            forget(out)
        part = PartFiles(out, plan)
    processes.wait()
    if not processes.is_first:
        part = PartFiles(out, plan, first=False)
    kept = part.photographs()
    todo = sorted({*range(processes.rank, plan.batches, processes.size)} - {*part.done()})
    # No process may write before all have looked what is to do.
    processes.wait()

    def report() -> None:
        if on_progress is not None:
            on_progress(part.photographs(), plan.images)

    pinned = classifier.device.type == "cuda"
    with killed_loader_raises(), channels_last(classifier):
        for batch in batches(photos, classifier.preprocess, loading, todo, pinned=pinned):
            number = batch.first // plan.batch_size
            part.write(number, rows_of(batch.views), batch.readable().numpy())
            report()
    # However long the others take: a barrier of torch gives up after minutes.
    while not part.is_complete():
        time.sleep(_WAIT_S)
        report()
    unreadable = tuple(
        (photos.name(number), why_unreadable(photos.source(number)) or MOMENTARY)
        for number in (~part.readable).nonzero()[0].tolist()
    )
    # No process may delete the rows while another one still reads them.
    processes.wait()
    if processes.is_first:
        _finish(part, photos, unreadable)
    return Extraction(
        file=str(out), model=classifier.name, weights=classifier.weights,
        device=str(classifier.device), stage=point.layer if point else None, split=split,
        images=plan.images - len(unreadable), width=plan.width,
        seconds=time.perf_counter() - started, computed=plan.images - kept, unreadable=unreadable,
        notices=(*classifier.notices, *account.lines()), not_used=account.unused or None,
    )  # fmt: skip


class _Names:
    """Paths of readable photographs; file names of any bytes fit into UTF-8."""

    def __init__(self, photos: FileList, part: PartFiles) -> None:
        self.photos, self.numbers = photos, part.readable.nonzero()[0]

    def __iter__(self) -> Iterator[str]:
        for number in self.numbers:
            yield self.photos.name(int(number)).encode("utf-8", "backslashreplace").decode()


def _finish(part: PartFiles, photos: FileList, unreadable: Sequence[tuple[str, str]]) -> None:
    """Turn the rows into the feature file, which appears when it is whole."""
    plan = part.plan
    if len(unreadable) == plan.images:
        part.remove()
        raise DatasetError(
            f"None of the {len(photos)} photographs can be read; the first: {unreadable[0][1]}"
        )
    head = FeatureHead(
        rows=plan.images - len(unreadable), width=plan.width, model=plan.model,
        weights_sha256=plan.weights_sha256, stage=plan.stage or "",
        split="" if plan.split is None else str(plan.split),
        unreadable=tuple(name for name, _ in unreadable),
    )  # fmt: skip
    whole = part.folder / f"whole{part.out.suffix.lower()}"
    with writing(part.out):
        write_feature_file(whole, head, _Names(photos, part), part.readable_rows())
        with whole.open("r+b") as file:
            os.fsync(file.fileno())
        whole.replace(part.out)
    part.remove()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is being made; device and batch size count too, for they change last bits of a row."""

    model: str
    weights_sha256: str
    stage: str | None
    split: int | None
    device: str
    batch_size: int
    images: int
    width: int  # numbers of a row
    photographs: str  # digest of the list

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

    The ``first`` makes and checks the files, the others wait; ``OutputError`` for another plan's.
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
        with suppress(ValueError):
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
