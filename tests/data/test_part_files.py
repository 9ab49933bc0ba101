"""What survives a kill, and what is refused."""

from __future__ import annotations

import errno
import io
import json

import numpy as np
import pytest

from mscnn.data.part_files import PartFiles, Plan, part_folder
from mscnn.errors import OutputError


def plan(**changes) -> Plan:
    settings = {
        "model": "m", "weights_sha256": "0" * 64, "stage": None, "split": None, "device": "cpu",
        "batch_size": 2, "images": 5, "width": 3, "photographs": "p",
    }  # fmt: skip
    return Plan(**{**settings, **changes})


def rows(number: int) -> np.ndarray:
    return np.full((1 if number == 2 else 2, 3), number + 0.5, np.float32)


def test_what_is_written_is_there_afterwards(tmp_path) -> None:
    out = tmp_path / "f.npz"
    with PartFiles(out, plan()) as part:
        part.write(2, rows(2), {})
        part.write(0, rows(0), {1: "damaged"})
    with PartFiles(out, plan()) as part:
        assert part.done == {0, 2}
        assert part.reasons == {1: "damaged"}
        assert not part.is_complete()
        part.write(1, rows(1), {})
        assert part.is_complete()
        kept = np.concatenate(list(part.readable_rows()))
    assert kept[:, 0].tolist() == [0.5, 1.5, 1.5, 2.5]


def test_two_processes_see_each_others_batches(tmp_path) -> None:
    out = tmp_path / "f.npz"
    with PartFiles(out, plan(), 0) as first, PartFiles(out, plan(), 1) as second:
        first.write(0, rows(0), {})
        second.write(1, rows(1), {})
        first.write(2, rows(2), {})
        for part in (first, second):
            part.refresh()
            assert part.is_complete()
            assert np.concatenate(list(part.readable_rows()))[-1, 0] == 2.5


def test_a_batch_that_was_read_ahead_before_it_was_written_is_believed(tmp_path) -> None:
    """Reading a batch fills a buffer with its neighbours, too, as they were at that time."""
    out = tmp_path / "f.npz"
    with PartFiles(out, plan(), 0) as first, PartFiles(out, plan(), 1) as second:
        second.write(0, rows(0), {})
        first.refresh()
        second.write(1, rows(1), {})
        first.refresh()
        assert first.done == {0, 1}


def test_a_line_whose_rows_come_later_is_believed_then(tmp_path) -> None:
    out = tmp_path / "f.npz"
    with PartFiles(out, plan(), 0) as first, PartFiles(out, plan(), 1) as second:
        second.write(1, rows(1), {})
        kept = (part_folder(out) / "rows.f32").read_bytes()
        (part_folder(out) / "rows.f32").write_bytes(bytes(len(kept)))
        first.refresh()
        assert first.done == set()
        (part_folder(out) / "rows.f32").write_bytes(kept)
        first.refresh()
        assert first.done == {1}


def journal(out):
    return part_folder(out) / "journal-0000.jsonl"


def test_a_line_that_was_cut_does_not_count(tmp_path) -> None:
    out = tmp_path / "f.npz"
    with PartFiles(out, plan()) as part:
        part.write(0, rows(0), {})
        part.write(1, rows(1), {})
    journal(out).write_bytes(journal(out).read_bytes()[:-9])
    with PartFiles(out, plan()) as part:
        assert part.done == {0}
        part.write(1, rows(1), {})
        part.write(2, rows(2), {})
    with PartFiles(out, plan()) as part:
        assert part.is_complete()


def test_rows_that_never_reached_the_disk_do_not_count(tmp_path) -> None:
    out = tmp_path / "f.npz"
    with PartFiles(out, plan()) as part:
        part.write(0, rows(0), {})
        part.write(1, rows(1), {})
    with (part_folder(out) / "rows.f32").open("r+b") as file:
        file.seek(2 * 3 * 4 + 5)
        file.write(b"\0\0\0\0")
    with PartFiles(out, plan()) as part:
        assert part.done == {0}


@pytest.mark.parametrize(
    "line",
    [b"[]", b"{}", b'{"batch": 99, "crc32": 0, "unreadable": []}', b"\xff", b'{"batch": "0"}'],
)
def test_lines_that_say_nothing(tmp_path, line) -> None:
    out = tmp_path / "f.npz"
    PartFiles(out, plan()).__exit__(None, None, None)
    journal(out).write_bytes(line + b"\n")
    with PartFiles(out, plan()) as part:
        assert part.done == set()


def test_another_plan_is_refused_and_says_what_differs(tmp_path) -> None:
    out = tmp_path / "f.npz"
    PartFiles(out, plan()).__exit__(None, None, None)
    with pytest.raises(OutputError, match=r"'f\.npz\.part'.*\(stage, batch size\).*--restart"):
        PartFiles(out, plan(stage="layer2", batch_size=4))
    (part_folder(out) / "plan.json").write_text("")
    with pytest.raises(OutputError, match="--restart"):
        PartFiles(out, plan())


class FullDisk(io.BytesIO):
    def write(self, data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_a_sentence_and_keeps_what_was_done(tmp_path, monkeypatch) -> None:
    out = tmp_path / "f.npz"
    with PartFiles(out, plan()) as part:
        part.write(0, rows(0), {})

        part._journal.close()
        monkeypatch.setattr(part, "_journal", FullDisk())
        with pytest.raises(OutputError, match=r"'f\.npz'.*disk is full.*is kept"):
            part.write(1, rows(1), {})
    with PartFiles(out, plan()) as part:
        assert part.done == {0}


def test_journals_are_plain_lines(tmp_path) -> None:
    out = tmp_path / "f.npz"
    with PartFiles(out, plan()) as part:
        part.write(1, rows(1), {3: "gone"})
    (line,) = journal(out).read_text().splitlines()
    assert json.loads(line)["batch"] == 1
    assert json.loads(line)["unreadable"] == [[3, "gone"]]
