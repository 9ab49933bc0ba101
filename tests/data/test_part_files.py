"""What survives a kill, and what is refused."""

import errno
import os

import numpy as np
import pytest

from mscnn.data.part_files import PartFiles, Plan, forget, part_folder
from mscnn.errors import OutputError

ALL = np.array([True, True])


def plan(**changes):
    size = changes.pop("batch_size", 2)
    settings = {"model": "m", "stage": None, "device": "cpu", **changes}
    arrays = {"rows": ("<f4", (3,))}
    return Plan(settings=settings, images=5, batch_size=size, photographs="p", arrays=arrays)


def rows(number):
    return {"rows": np.full((1 if number == 2 else 2, 3), number + 0.5, np.float32)}


def test_what_is_written_is_there_afterwards(tmp_path):
    out = tmp_path / "f.npz"
    part = PartFiles(out, plan())
    part.write(2, rows(2), ALL[:1])
    part.write(0, rows(0), np.array([True, False]))
    part = PartFiles(out, plan())
    assert (part.done(), part.photographs(), part.is_complete()) == ([0, 2], 3, False)
    part.write(1, rows(1), ALL)
    assert part.is_complete()
    assert part.readable.tolist() == [True, False, True, True, True]
    assert part.readable_rows("rows")[:, 0].tolist() == [0.5, 1.5, 1.5, 2.5]


def test_two_processes_see_each_others_batches(tmp_path):
    out = tmp_path / "f.npz"
    first, second = PartFiles(out, plan()), PartFiles(out, plan(), first=False)
    first.write(0, rows(0), ALL)
    second.write(1, rows(1), ALL)
    assert first.done() == second.done() == [0, 1]
    first.write(2, rows(2), ALL[:1])
    for part in (first, second):
        assert part.is_complete()
        assert part.readable_rows("rows")[:, 0].tolist() == [0.5, 0.5, 1.5, 1.5, 2.5]


@pytest.mark.parametrize("name", ["rows.npy", "readable.npy", "done.npy"])
def test_what_never_reached_the_disk_does_not_count(tmp_path, name):
    out = tmp_path / "f.npz"
    part = PartFiles(out, plan())
    part.write(0, rows(0), ALL)
    part.write(1, rows(1), ALL)
    file = np.load(part_folder(out) / name, mmap_mode="r+")
    file[-2 if name == "done.npy" else 2] = 0  # of batch 1
    del file
    assert PartFiles(out, plan()).done() == [0]


def test_another_plan_is_refused_and_says_what_differs(tmp_path):
    out = tmp_path / "f.npz"
    PartFiles(out, plan())
    with pytest.raises(OutputError, match=r"'f\.npz\.part'.*\(stage, batch size\).*--restart"):
        PartFiles(out, plan(stage="layer2", batch_size=4))
    (part_folder(out) / "plan.json").write_text("")
    with pytest.raises(OutputError, match="--restart"):
        PartFiles(out, plan())


def test_a_full_disk_is_a_sentence_before_any_work(tmp_path, monkeypatch):
    """The space is taken first: a map that cannot grow would kill the process."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    out = tmp_path / "f.npz"
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full, raising=False)
        with pytest.raises(OutputError, match=r"'f\.npz'.*disk is full.*is kept"):
            PartFiles(out, plan())
    assert PartFiles(out, plan()).done() == []


def test_a_disk_that_is_full_at_the_end_is_a_sentence_too(tmp_path, monkeypatch):
    """Arrays without the unreadable rows are copies, which need room of their own."""
    part = PartFiles(tmp_path / "f.npz", plan())
    part.write(0, rows(0), np.array([True, False]))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(OSError, match="No space left"):
        part.readable_rows("rows")


def test_where_space_cannot_be_reserved_it_is_filled(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    out = tmp_path / "f.npz"
    PartFiles(out, plan()).write(0, rows(0), ALL)
    assert PartFiles(out, plan()).done() == [0]


@pytest.mark.parametrize("name", ["1.jpg", "labels.csv"])
def test_a_folder_of_the_users_own_is_not_taken_for_what_a_run_left(tmp_path, name):
    out = tmp_path / "maps"
    own = part_folder(out) / "holiday" / name
    own.parent.mkdir(parents=True)
    own.touch()
    with pytest.raises(OutputError, match=r"'maps\.part' holds files that no run.*--out"):
        PartFiles(out, plan())
    forget(out)  # as --restart does
    assert own.is_file()
