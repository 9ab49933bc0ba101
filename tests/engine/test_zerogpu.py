"""Whatever crosses to a ZeroGPU worker must survive pickling, in both directions."""

import multiprocessing
import os
import pickle
import threading
import time
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from mscnn.engine.pipeline import Engine
from mscnn.engine.session import Session
from mscnn.engine.zerogpu import ZeroGpuSession
from mscnn.errors import DeviceError, UnsupportedModelError


class PicklingGpu:
    """Stands in for ``spaces.GPU``: arguments and result go through pickle, as to a worker."""

    def __init__(self):
        self.calls: list[str] = []

    def __call__(self, function):
        def through_pickle(*args):
            self.calls.append(args[2])
            try:
                found = function(*pickle.loads(pickle.dumps(args)))
            except Exception as error:  # all that spaces lets through of one
                raise gr.Error(type(error).__name__, title="ZeroGPU worker error") from None
            return pickle.loads(pickle.dumps(found))

        return through_pickle


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    import timm
    import torch
    from safetensors.torch import save_file

    import mscnn.starters  # noqa: F401

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "starter.safetensors"
    names = '["' + '", "'.join(f"kind {i}" for i in range(200)) + '"]'
    save_file(
        timm.create_model("starter_res2net", zero_init_last=False).state_dict(),
        path, metadata={"label_names": names},
    )  # fmt: skip
    return path


@pytest.fixture
def picture():
    pixels = np.random.default_rng(0).integers(0, 256, (80, 120, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_the_worker_gives_the_same_answer(weights, picture):
    gpu = PicklingGpu()
    remote = Engine(ZeroGpuSession(gpu, device="cpu"))
    local = Engine(Session("cpu"))
    options: dict[str, Any] = {"layers": ["1", "4"], "targets": ["top1", 7]}
    there, here = (
        engine.session.network("starter_res2net", weights).explain(picture, **options)
        for engine in (remote, local)
    )
    assert gpu.calls == ["explain"]
    for a, b in zip(there.maps, here.maps, strict=True):
        assert (a.layer, a.target) == (b.layer, b.target)
        np.testing.assert_array_equal(a.raw, b.raw)
    np.testing.assert_array_equal(there.prediction.logits, here.prediction.logits)


def test_progress_and_stop_stay_behind(weights, picture):
    gpu = PicklingGpu()
    remote = Engine(ZeroGpuSession(gpu, device="cpu"))
    network = remote.session.network("starter_res2net", weights, is_cancelled=lambda: False)
    explanation = network.explain(
        picture, on_progress=lambda done, total: None, is_cancelled=lambda: False,
    )  # fmt: skip
    assert len(explanation.maps) == 1


def test_what_needs_no_gpu_is_answered_in_place(weights):
    gpu = PicklingGpu()
    network = ZeroGpuSession(gpu, device="cpu").network("starter_res2net", weights)
    assert network.last_stage == "layer4"
    assert len(network.labels) == 200
    assert gpu.calls == []


def test_an_expected_error_keeps_its_kind_and_its_sentence(weights, picture):
    remote = Engine(ZeroGpuSession(PicklingGpu(), device="cpu"))
    network = remote.session.network("starter_res2net", weights)
    with pytest.raises(UnsupportedModelError, match="split attention"):
        network.split_attention(picture)
    with pytest.raises(gr.Error, match="TypeError"):
        network.predict(picture, top_k="five")  # type: ignore[arg-type]


@pytest.mark.parametrize(("title", "message", "said"), [
    ("ZeroGPU quota exceeded", "You have <b>exceeded</b> your quota. Try again in 3:12:00.",
     r"no GPU for this now: You have exceeded your quota\. Try again in 3:12:00\.$"),
    ("ZeroGPU queue timeout", "No GPU was available", r"this now: No GPU was available\.$"),
    ("ZeroGPU worker error", "GPU task aborted", "taken back"),
])  # fmt: skip
def test_what_the_platform_refuses_is_a_sentence(weights, picture, title, message, said):
    """With less, the page would call it unexpected, and offer to try again."""

    def gpu(_):
        def refuse(*_):
            raise gr.Error(message, title=title, print_exception=False)

        return refuse

    network = ZeroGpuSession(gpu, device="cpu").network("starter_res2net", weights)
    with pytest.raises(DeviceError, match=said):
        network.predict(picture)


@pytest.mark.skipif(not hasattr(os, "register_at_fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_worker_is_never_forked_in_the_middle_of_a_request(weights):
    """It would wait for locks whose owners are not there, with another's hooks on its network."""
    session = ZeroGpuSession(PicklingGpu(), device="cpu")
    local = Session.network(session, "starter_res2net", weights)
    inside, done = threading.Event(), threading.Event()

    def request():
        with local._lock:
            inside.set()
            time.sleep(0.3)
            done.set()

    def worker():
        free = local._lock.acquire(timeout=5) and session._lock.acquire(timeout=5)
        os._exit(0 if free and done.is_set() else 1)

    thread = threading.Thread(target=request)
    thread.start()
    inside.wait(30)
    process = multiprocessing.get_context("fork").Process(target=worker)
    process.start()
    process.join(30)
    thread.join(30)
    assert process.exitcode == 0
    assert local._lock.acquire(timeout=5)
    local._lock.release()
