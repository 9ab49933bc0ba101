"""What is done so far of a feature file, beside it: ``FILE.part``.

The folder holds ``plan.json`` (what is being made), ``rows.f32`` (a matrix of float32, C order, one
row per photograph of the list) and one ``journal-RANK.jsonl`` per process: a line for each batch
whose rows are written, with their CRC-32. After a kill at any moment a batch either has its line
and its rows, or is done again: a line cut in the middle is not read, and rows that never reached
the disk do not fit their checksum.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from mscnn.errors import OutputError

Rows = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is being made; rows of different plans do not go together.

    Attributes:
        model: its name.
        weights_sha256: of its weights.
        stage: see ``mscnn.engine.pooling.FeatureTap``.
        split: likewise.
        device: kind of device: last bits differ between kinds.
        batch_size: photographs per batch: last bits may differ with it.
        images: photographs in the list.
        width: of a row, numbers.
        photographs: digest of the list.
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

    def batch(self, number: int) -> range:
        """Return the photographs of a batch."""
        start = number * self.batch_size
        return range(start, min(start + self.batch_size, self.images))

    @property
    def batches(self) -> int:
        """How many there are, the last one perhaps smaller."""
        return -(-self.images // self.batch_size)


class PartFiles:
    """Rows of a feature file while it is made; several processes may write at once.

    Args:
        out: the feature file.
        plan: what is being made.
        rank: of this process.

    Attributes:
        folder: where everything lies.
        done: numbers of the batches that are written, by any process.
        reasons: number of an unreadable photograph, and why.

    Raises:
        OutputError: the folder cannot be written, or holds rows of another plan.
    """

    def __init__(self, out: Path, plan: Plan, rank: int = 0) -> None:
        self.out, self.plan, self.folder = out, plan, part_folder(out)
        self.done: set[int] = set()
        self.reasons: dict[int, str] = {}
        self._read_up_to: dict[Path, int] = {}
        self._doubted: list[bytes] = []
        with writing(out):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._settle_plan()
            rows = self.folder / "rows.f32"
            self._rows = os.fdopen(os.open(rows, os.O_RDWR | os.O_CREAT | _BINARY, 0o666), "r+b")
            self._rows.truncate(plan.images * self._row_bytes)
            self._journal = _at_new_line(self.folder / f"journal-{rank:04}.jsonl")
        self.refresh()

    @property
    def _row_bytes(self) -> int:
        return 4 * self.plan.width

    def __enter__(self) -> PartFiles:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._rows.close()
        self._journal.close()

    def write(self, number: int, rows: Rows, reasons: dict[int, str]) -> None:
        """Keep a batch.

        Args:
            number: of the batch.
            rows: ``(B, width)`` float32; those of unreadable photographs do not matter.
            reasons: its unreadable photographs.

        Raises:
            OutputError: the disk is full, or cannot be written.
        """
        data = np.ascontiguousarray(rows, dtype="<f4").tobytes()
        bad = [[index, reason] for index, reason in sorted(reasons.items())]
        line = json.dumps({"batch": number, "crc32": zlib.crc32(data), "unreadable": bad})
        with writing(self.out):
            self._rows.seek(self.plan.batch(number).start * self._row_bytes)
            self._rows.write(data)
            self._rows.flush()
            self._journal.write(line.encode("ascii") + b"\n")
            self._journal.flush()
        self._take(number, reasons)

    def refresh(self) -> None:
        """Read what all processes have written since the last time."""
        lines, self._doubted = self._doubted, []
        for path in sorted(self.folder.glob("journal-*.jsonl")):
            with path.open("rb") as file:
                file.seek(self._read_up_to.get(path, 0))
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._read_up_to[path] = self._read_up_to.get(path, 0) + len(whole)
            lines += whole.splitlines()
        for line in lines:
            self._take_line(line)

    def is_complete(self) -> bool:
        """Whether all batches are written."""
        return len(self.done) == self.plan.batches

    def readable_rows(self) -> Iterator[Rows]:
        """Yield the rows of readable photographs in order, some at a time: ``(r, width)``."""
        for number in range(self.plan.batches):
            batch = self.plan.batch(number)
            rows = np.frombuffer(self._stored(number), "<f4").reshape(len(batch), -1)
            yield rows[[index not in self.reasons for index in batch]]

    def remove(self) -> None:
        """Delete everything; the feature file is there now, or never will be."""
        self.__exit__(None, None, None)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _settle_plan(self) -> None:
        path = self.folder / "plan.json"
        wanted = asdict(self.plan)
        if not path.exists():
            fresh = self.folder / f"plan-{secrets.token_hex(4)}.tmp"
            fresh.write_text(json.dumps(wanted, indent=1) + "\n", encoding="ascii")
            fresh.replace(path)
            return
        try:
            found = json.loads(path.read_bytes())
        except ValueError:
            found = None
        if found != wanted:
            raise OutputError(_other_plan(self.folder.name, found, wanted))

    def _take_line(self, line: bytes) -> None:
        """Believe a line of a journal if it can be read and its rows are there."""
        with contextlib.suppress(ValueError, KeyError, TypeError):
            entry = json.loads(line)
            number = entry["batch"]
            if 0 <= number < self.plan.batches and number not in self.done:
                reasons = {int(index): str(reason) for index, reason in entry["unreadable"]}
                if zlib.crc32(self._stored(number)) == entry["crc32"]:
                    self._take(number, reasons)
                else:  # after a crash, or on a network disk that is slow to show it
                    self._doubted.append(line)

    def _take(self, number: int, reasons: dict[int, str]) -> None:
        self.done.add(number)
        self.reasons.update(reasons)

    def _stored(self, number: int) -> bytes:
        batch = self.plan.batch(number)
        # Drops what was read ahead: another process may have written there since.
        self._rows.flush()
        self._rows.seek(batch.start * self._row_bytes)
        return self._rows.read(len(batch) * self._row_bytes)


_BINARY = getattr(os, "O_BINARY", 0)  # Windows


def part_folder(out: Path) -> Path:
    """Return where the rows of a feature file are kept until it is whole."""
    return out.with_name(f"{out.name}.part")


def _at_new_line(path: Path) -> Any:
    """Open a journal for more lines; what a kill left of the last one becomes a line of its own."""
    file = path.open("a+b")
    if file.tell():
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
            file.flush()
    return file


def _other_plan(name: str, found: Any, wanted: dict[str, Any]) -> str:
    known = found if isinstance(found, dict) else {}
    words = [f.name.replace("_", " ") for f in fields(Plan) if known.get(f.name) != wanted[f.name]]
    return (
        f"{name!r} holds what an earlier run began that was different ({', '.join(words)}); give "
        "the same command to go on with it, --restart to begin anew, or another --out."
    )


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Turn what the disk refuses into a sentence."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full" if full else (error.strerror or "unknown error").lower()
        raise OutputError(
            f"{out.name!r} could not be written: {reason}. What was done is kept: free space or "
            "change permissions, and give the same command again."
        ) from error
