import errno
import hashlib
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import huggingface_hub.file_download
import pytest
from huggingface_hub import constants

from mscnn.errors import Cancelled, DownloadError, UnsupportedModelError, WeightsError
from mscnn.models import sources
from mscnn.models.sources import fetch, locate

NAME = "resnest14d.gluon_in1k"
KEY = f"timm/{NAME}/model.safetensors"
CONTENT = os.urandom(3 * 2**20 + 17)


@pytest.fixture
def stocked(fake_hub):
    fake_hub.files[KEY] = CONTENT
    return fake_hub


def partial_files(tmp_path):
    return list((tmp_path / "hub").rglob("*.incomplete"))


def test_download_then_cache(stocked):
    before = locate(NAME)
    assert before.kind == "download"
    assert before.download_bytes is not None
    assert fetch(NAME).read_bytes() == CONTENT
    assert locate(NAME).kind == "hub-cache"
    seen = len(stocked.requests)
    assert fetch(NAME).read_bytes() == CONTENT
    assert len(stocked.requests) == seen, "a cached file needs no request"


def test_progress_reaches_the_total_in_the_callers_thread(stocked):
    stocked.pause_s = 0.02
    calls: list[tuple[int, int | None, int]] = []
    fetch(NAME, on_progress=lambda d, t: calls.append((d, t, threading.get_ident())))
    done = [call[0] for call in calls]
    assert done == sorted(done)
    assert len(set(done)) >= 3
    assert done[-1] == len(CONTENT)
    assert {call[1:] for call in calls} == {(len(CONTENT), threading.get_ident())}


def test_cancel_is_prompt_and_leaves_nothing(stocked, tmp_path):
    stocked.pause_s = 0.2
    started = time.monotonic()
    with pytest.raises(Cancelled):
        fetch(NAME, is_cancelled=lambda: bool(stocked.gets()))
    assert time.monotonic() - started < 8, "all of it takes ten"
    stocked.pause_s = 0
    assert fetch(NAME).read_bytes() == CONTENT
    deadline = time.monotonic() + 10
    while partial_files(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert partial_files(tmp_path) == []


def test_broken_transfer_resumes(stocked, tmp_path):
    stocked.cuts = [2 * 2**20]
    assert fetch(NAME).read_bytes() == CONTENT
    ranges = [request[2] for request in stocked.gets()]
    assert ranges[0] == ""
    assert ranges[1].startswith("bytes="), "the second request asks for the rest only"
    assert partial_files(tmp_path) == []


def test_reset_connection_starts_again(stocked):
    stocked.cuts, stocked.reset = [2**20], True
    assert fetch(NAME).read_bytes() == CONTENT
    assert len(stocked.gets()) == 2


def test_transfer_that_stays_broken(stocked):
    # 64 KiB each: older versions of the library go on where they were, newer ones start again.
    stocked.cuts, stocked.reset = [1] * 3, True
    with pytest.raises(DownloadError, match="broke off; try again"):
        fetch(NAME)
    assert locate(NAME).kind == "download"
    stocked.reset = False
    assert fetch(NAME).read_bytes() == CONTENT


def test_wrong_checksum_is_not_kept(stocked, tmp_path):
    stocked.etags[KEY] = "ab" * 32
    with pytest.raises(DownloadError, match="arrived damaged"):
        fetch(NAME)
    assert locate(NAME).kind == "download"
    assert not any(path.is_file() for path in (tmp_path / "hub").rglob("blobs/*"))
    stocked.etags.clear()
    assert fetch(NAME).read_bytes() == CONTENT


def test_damaged_cache_is_replaced_online(stocked, cache_put):
    # The blob's name promises the good content.
    cache_put(f"timm/{NAME}", b"broken", sha=hashlib.sha256(CONTENT).hexdigest())
    assert fetch(NAME).read_bytes() == CONTENT


@pytest.mark.parametrize(("offline", "kind", "said"), [
    ("1", WeightsError, r"are damaged .* offline"), ("0", DownloadError, "error 503"),
])  # fmt: skip
def test_a_failed_replacement_keeps_the_old_file(
    cache_put, fake_hub, monkeypatch, offline, kind, said
):
    monkeypatch.setenv("HF_HUB_OFFLINE", offline)
    link = cache_put(f"timm/{NAME}", b"broken", sha="cd" * 32)
    fake_hub.status = 503
    with pytest.raises(kind, match=said):
        fetch(NAME)
    assert link.read_bytes() == b"broken", "nothing is removed before there is better"


def test_pointer_moved_by_a_failed_update(tmp_path, cache_put):
    """The library moves ``refs/main`` before the new file is there."""
    link = cache_put(f"timm/{NAME}", CONTENT)
    (tmp_path / "hub" / f"models--timm--{NAME}" / "refs" / "main").write_text("f" * 40)
    assert fetch(NAME) == link


@pytest.mark.parametrize(("status", "code", "text"), [
    (200, "", "has no weights at timm/resnest14d"),  # no such file
    (404, "RepoNotFound", "has no weights at timm/resnest14d"),
    (401, "RepoNotFound", "has no weights at timm/resnest14d"),
    (403, "GatedRepo", "without permission"), (403, "", "without permission"),
    (500, "", "answers with error 500"),
])  # fmt: skip
def test_hub_says_no(fake_hub, status, code, text):
    fake_hub.status, fake_hub.error_code = status, code
    with pytest.raises(DownloadError, match=text) as raised:
        fetch(NAME)
    assert "http" not in str(raised.value)


@pytest.mark.parametrize("code", ["", "RepoNotFound"])
def test_a_token_that_has_expired_is_named(fake_hub, monkeypatch, code):
    """Also for public files, and then with the words for a repository that does not exist."""
    monkeypatch.setenv("HF_TOKEN", "hf_old")
    fake_hub.status, fake_hub.error_code = 401, code
    with pytest.raises(DownloadError, match="refuses your access token") as raised:
        fetch(NAME)
    assert "hf_old" not in str(raised.value)


def test_nobody_listens():
    started = time.monotonic()
    with pytest.raises(DownloadError, match="not on this machine, and the hub cannot be reached"):
        fetch(NAME)
    assert time.monotonic() - started < 20


def test_hub_does_not_answer(stocked, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.2)
    stocked.hang_s = 1.0
    with pytest.raises(DownloadError, match="does not answer in time"):
        fetch(NAME)


def test_offline_mode_asks_nobody(stocked, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DownloadError, match="offline mode is on; choose a model"):
        fetch(NAME)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with pytest.raises(DownloadError, match="downloads are off"):
        sources.obtain(sources.locate(NAME), offline=True)
    assert stocked.requests == []


def test_disk_too_small_is_said_before(stocked, monkeypatch):
    room = SimpleNamespace(free=10 * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: room)
    with pytest.raises(DownloadError, match=r"they need 3 MiB and 10 MiB are free"):
        fetch(NAME)
    assert stocked.gets() == []


def test_disk_fills_up(stocked, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path))

    with monkeypatch.context() as patch:
        patch.setattr(huggingface_hub.file_download, "http_get", full)
        with pytest.raises(DownloadError, match="disk is full") as raised:
            fetch(NAME)
    assert str(tmp_path) not in str(raised.value)
    assert fetch(NAME).read_bytes() == CONTENT


def test_cache_folder_is_no_folder(stocked, tmp_path):
    (tmp_path / "hub").write_text("in the way")
    with pytest.raises(DownloadError, match="hub cache cannot be written") as raised:
        fetch(NAME)
    assert str(tmp_path) not in str(raised.value)


def test_leftovers_of_a_killed_process(stocked, tmp_path):
    blobs = tmp_path / "hub" / f"models--timm--{NAME}" / "blobs"
    blobs.mkdir(parents=True)
    old, young = blobs / "x.1.incomplete", blobs / "x.2.incomplete"
    for path in (old, young):
        path.write_bytes(b"half")
    two_hours_ago = time.time() - 7200
    os.utime(old, (two_hours_ago, two_hours_ago))
    fetch(NAME)
    assert partial_files(tmp_path) == [young], "another process may still write the young one"


def test_two_users_at_once(stocked):
    stocked.pause_s = 0.01
    with ThreadPoolExecutor(2) as pool:
        assert [path.read_bytes() for path in pool.map(fetch, [NAME] * 2)] == [CONTENT, CONTENT]


def test_transformer_is_refused_before_any_request(fake_hub):
    with pytest.raises(UnsupportedModelError, match="tokens"):
        fetch("vit_tiny_patch16_224")
    assert fake_hub.requests == []
