"""``mscnn.engine.session``: which device, and which networks are kept."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from mscnn.engine import session as module
from mscnn.engine.device import choose_device
from mscnn.engine.session import Session
from mscnn.errors import Cancelled, DeviceError, WeightsError


class Loader:
    """Stands in for ``load_model``: counts, waits and fails as told."""

    def __init__(self, loaded):
        self.loaded = loaded
        self.calls: list[str] = []
        self.wait_s = 0.0
        self.go = threading.Event()
        self.go.set()
        self.failures: list[Exception] = []

    def __call__(self, name, weights=None, **options):
        self.calls.append(name)
        time.sleep(self.wait_s)
        assert self.go.wait(60)
        if self.failures:
            raise self.failures.pop()
        return self.loaded("resnet", name=name)


@pytest.fixture
def loader(loaded, monkeypatch):
    stand_in = Loader(loaded)
    monkeypatch.setattr(module, "load_model", stand_in)
    return stand_in


def kept(session):
    return {key[0] for key in session._networks}


def test_a_network_is_loaded_once(loader):
    session = Session("cpu")
    assert not kept(session)
    first = session.network("mine")
    assert kept(session) == {"mine"}
    assert session.network("mine") is first
    assert loader.calls == ["mine"]


def test_a_path_is_a_folder_whatever_model_is_so_called(loader):
    for folder in (Path("mine"), Path("resnet50")):
        module.load(folder, device="cpu")
    assert loader.calls == ["mine", "./resnet50"]


def test_names_of_one_backbone_are_one_network(loader):
    session = Session("cpu")
    first = session.network("resnet50.tv_in1k")
    for alias in ("resnet50", "timm/resnet50.tv_in1k", "ResNet50.tv_in1k"):
        assert session.network(alias) is first
    assert len(loader.calls) == 1


def test_the_least_recently_used_network_goes_first(loader):
    session = Session("cpu", capacity=2)
    a = session.network("a")
    session.network("b")
    session.network("a")
    session.network("c")
    assert kept(session) == {"a", "c"}
    assert session.network("a") is a
    session.network("b")
    assert loader.calls == ["a", "b", "c", "b"]


def test_two_threads_share_one_load(loader):
    loader.wait_s = 0.2
    session = Session("cpu")
    start = threading.Barrier(8)

    def ask(_):
        start.wait()
        return session.network("shared")

    with ThreadPoolExecutor(8) as pool:
        networks = set(map(id, pool.map(ask, range(8))))
    assert len(networks) == 1
    assert loader.calls == ["shared"]


def test_different_models_load_side_by_side(loader):
    arrived = threading.Barrier(2, timeout=30)
    loaded = loader.loaded

    def meet(*args, **kwargs):
        arrived.wait()  # breaks unless the other load is under way too
        return loaded(*args, **kwargs)

    loader.loaded = meet
    session = Session("cpu")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(session.network, ["one", "two"]))
    assert sorted(loader.calls) == ["one", "two"]


def test_a_failed_load_is_tried_again(loader):
    loader.failures = [WeightsError("The file is broken.")]
    session = Session("cpu")
    with pytest.raises(WeightsError, match="broken"):
        session.network("mine")
    assert session.network("mine").name == "mine"
    assert loader.calls == ["mine", "mine"]


@pytest.mark.parametrize("as_folder", [False, True], ids=["file", "folder"])
def test_changed_weights_are_loaded_again(as_folder, loader, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    file = folder / "model.safetensors"
    file.write_bytes(b"first")
    (folder / "notes.txt").write_text("of no importance")
    where = folder if as_folder else file
    session = Session("cpu", capacity=6)
    first = session.network("resnet50", weights=where)
    assert session.network("resnet50", weights=str(where)) is first
    os.utime(folder / "notes.txt", ns=(1, 2**62))
    assert session.network("resnet50", weights=where) is first
    stamp = file.stat().st_mtime_ns
    file.write_bytes(b"second")
    os.utime(file, ns=(stamp, stamp))  # the same moment, another size
    second = session.network("resnet50", weights=where)
    assert second is not first
    os.utime(file, ns=(stamp + 10**9, stamp + 10**9))
    assert session.network("resnet50", weights=where) is not second
    assert len(session._networks) == 1, "outdated versions are not kept"


def test_a_retrained_model_folder_is_loaded_again(loader, tmp_path):
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"first")
    session = Session("cpu")
    first = session.network(str(tmp_path))
    os.utime(file, ns=(1, 1))
    second = session.network(str(tmp_path))
    assert second is not first
    # A file that is not the newest counts too.
    (tmp_path / "config.json").write_text("{}")
    third = session.network(str(tmp_path))
    file.write_bytes(b"other")
    os.utime(file, ns=(2, 2))
    assert len({id(one) for one in (second, third, session.network(str(tmp_path)))}) == 3


def test_after_one_stopped_the_others_share_one_load(loader):
    """B waits by A's lock, which is forgotten when A stops; C comes then."""
    session, stopped, late = Session("cpu"), threading.Event(), threading.Event()
    loaded = loader.loaded

    def slow(*args, **kwargs):
        if not stopped.is_set():
            late.wait(30)
            stopped.set()
            raise Cancelled("Stopped.")
        time.sleep(0.3)
        return loaded(*args, **kwargs)

    loader.loaded = slow
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(session.network, "large")
        while not session._loading:
            time.sleep(0.01)
        second = pool.submit(session.network, "large")
        time.sleep(0.2)  # it waits
        late.set()
        with pytest.raises(Cancelled):
            first.result(30)
        third = pool.submit(session.network, "large")
        assert second.result(30) is third.result(30)
    assert loader.calls == ["large"] * 2


def test_who_waits_for_a_load_can_leave(loader):
    loader.go.clear()
    session = Session("cpu")
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(session.network, "large")
        while not loader.calls:
            time.sleep(0.01)
        with pytest.raises(Cancelled):
            session.network("large", is_cancelled=lambda: True)
        assert not loading.done()
        loader.go.set()
        assert loading.result().name == "large"


def test_a_folder_called_like_a_backbone_changes_nothing(loader, tmp_path, monkeypatch):
    (tmp_path / "resnet50").mkdir()
    monkeypatch.chdir(tmp_path)
    session = Session("cpu")
    first = session.network("resnet50")
    (tmp_path / "resnet50" / "model.safetensors").write_bytes(b"other")
    assert session.network("resnet50") is first


@pytest.mark.parametrize("name", ["x" * 5000, "nul\0byte", "a" * 300 + "/b"])
def test_a_name_that_is_no_path_reaches_the_loader(name, loader):
    assert Session("cpu").network(name).name == name


def test_the_session_passes_its_wishes_on(loaded, monkeypatch):
    seen: dict[str, Any] = {}

    def load(name, weights, **options):
        seen.update(options, name=name, weights=weights)
        return loaded("resnet")

    monkeypatch.setattr(module, "load_model", load)
    ask, count = (lambda: False), (lambda done, total: None)
    Session("cpu", offline=True).network("m", "w", on_progress=count, is_cancelled=ask)
    assert seen == {
        "name": "m", "weights": "w", "offline": True, "on_progress": count, "is_cancelled": ask,
    }  # fmt: skip


@pytest.mark.parametrize(("cuda", "mps", "wanted", "expected"), [
    (0, False, "auto", "cpu"), (2, True, "auto", "cuda"), (0, True, "auto", "mps"),
    (2, False, "cuda:1", "cuda:1"), (1, True, "cpu", "cpu"), (1, True, "mps", "mps"),
])  # fmt: skip
def test_the_device_that_is_chosen(cuda, mps, wanted, expected, monkeypatch):
    _pretend(cuda, mps, monkeypatch)
    assert choose_device(wanted) == torch.device(expected)


@pytest.mark.parametrize(("wanted", "message"), [
    ("cuda", "'cuda' is not available here"), ("cuda:0", "'cuda:0' is not available"),
    ("mps", "'mps' is not available"),
    ("tpu", "no device 'tpu'; choose one of auto, cpu, cuda, mps"),
    ("cpu:1", "no device 'cpu:1'"), ("cuda:x", "no device 'cuda:x'"), ("", "no device ''"),
    ("cpu:", "no device 'cpu:'"), ("cuda:", "no device 'cuda:'"), ("cuda:²", "no device"),
])  # fmt: skip
def test_a_device_that_is_not_there(wanted, message, monkeypatch):
    _pretend(0, False, monkeypatch)
    with pytest.raises(DeviceError, match=message):
        Session(wanted)


def _pretend(cuda, mps, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
