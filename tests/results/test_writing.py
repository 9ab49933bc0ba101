"""Files are written whole or not at all, and nothing but them is touched."""

import os
from pathlib import Path

import pytest

from mscnn.errors import OutputError
from mscnn.results.writing import bare_name, check_folder, reason, replacing, safe_name, write


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_folder_is_made_with_its_parents_and_files_are_readable(tmp_path):
    folder = tmp_path / "a" / "b"
    assert write(folder, {"x.txt": b"1", "y.txt": b"2"}) == ["x.txt", "y.txt"]
    assert contents(folder) == {"x.txt": b"1", "y.txt": b"2"}
    # As other new folders, not the 0700 of temporary ones.
    other = tmp_path / "other"
    other.mkdir()
    assert folder.stat().st_mode == other.stat().st_mode
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "other"]


def test_existing_folder_keeps_other_files(tmp_path):
    (tmp_path / "x.txt").write_bytes(b"old")
    (tmp_path / "keep.txt").write_bytes(b"mine")
    write(tmp_path, {"x.txt": b"new"})
    assert contents(tmp_path) == {"x.txt": b"new", "keep.txt": b"mine"}


def test_what_is_flushed_may_be_written(tmp_path, monkeypatch):
    # As on Windows; elsewhere a file that may only be read can be flushed too.
    monkeypatch.setattr(os, "fsync", lambda number: os.write(number, b""))
    with replacing(tmp_path / "x.txt") as part:
        part.write_bytes(b"new")
    assert contents(tmp_path) == {"x.txt": b"new"}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("existing", [True, False])
def test_failure_in_the_middle_leaves_nothing_new(tmp_path, monkeypatch, existing, error):
    folder = tmp_path / "out" / "deep"
    if existing:
        write(folder, {"x.txt": b"old"})
    real, calls = Path.write_bytes, []

    def second_fails(self, content):
        calls.append(self.name)
        if len(calls) == 2:
            raise error
        return real(self, content)

    monkeypatch.setattr(Path, "write_bytes", second_fails)
    with pytest.raises((OutputError, KeyboardInterrupt)) as found:
        write(folder, {"x.txt": b"new", "y.txt": b"new"})
    assert ("the disk is full" in str(found.value)) == isinstance(error, OSError)
    left = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")}
    assert left == ({"out", "out/deep", "out/deep/x.txt"} if existing else set())
    if existing:
        assert contents(folder) == {"x.txt": b"old"}


@pytest.mark.parametrize("below", ["", "maps", "maps/deep"])
def test_file_in_the_way_is_refused_by_name(tmp_path, below, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("taken").write_text("mine")
    for refused in (check_folder, lambda folder: write(folder, {"x.txt": b"1"})):
        with pytest.raises(OutputError, match="'taken' is not a folder"):
            refused(Path("taken") / below)
    assert Path("taken").read_text() == "mine"


def test_folder_without_permission_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everywhere
    with pytest.raises(OutputError, match="may not be written"):
        check_folder(tmp_path / "out")


def test_a_file_is_replaced_at_once_or_stays(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def interrupted():
        with replacing(path) as part:
            part.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert contents(tmp_path) == {"a.bin": b"old"}
    with replacing(path) as part:
        part.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert contents(tmp_path) == {"a.bin": b"new"}


def test_names_and_reasons():
    assert safe_name("my/model \u00fc") == "my_model__"
    assert safe_name("a b" * 99) == ("a_b" * 99)[:80]
    assert bare_name("C:\\Users\\me/lion.jpg") == "lion.jpg"
    assert bare_name(None) == ""
    assert reason(OSError(28, "No space left")) == "the disk is full"
    assert reason(OSError(13, "Permission denied", "/home/me")) == "permission denied"
    assert reason(OSError()) == "oserror"


@pytest.mark.skipif(os.name == "nt", reason="no such modes")
@pytest.mark.parametrize("umask", [0o022, 0o007, 0o077])
def test_who_may_read_a_file_follows_the_umask_whatever_writes_it(tmp_path, umask):
    """Some libraries write through a temporary file that its owner alone may read."""

    def by_a_private_file(path):
        fd = os.open(path.with_name("private"), os.O_CREAT | os.O_WRONLY, 0o600)
        os.close(fd)
        path.with_name("private").replace(path)

    before = os.umask(umask)
    try:
        for write_it in (by_a_private_file, lambda path: path.write_bytes(b"")):
            with replacing(tmp_path / "it") as part:
                write_it(part)
            assert (tmp_path / "it").stat().st_mode & 0o777 == 0o666 & ~umask
    finally:
        os.umask(before)
