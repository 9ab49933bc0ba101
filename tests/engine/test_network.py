"""``mscnn.engine.network``: timm's own answers, classes and layers by name, memory, threads."""

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform, resolve_model_data_config

import mscnn
from mscnn.engine.network import Network
from mscnn.errors import (
    DeviceError,
    MethodError,
    OptionError,
    UnknownClassError,
    UnknownLayerError,
    UnsupportedModelError,
)
from mscnn.maps.single_pass import Targets
from mscnn.models import registry
from tests.conftest import FAMILIES, INPUT_PX, randomise_batch_norms

QUICK = ("resnet18.tv_in1k", "resnest14d.gluon_in1k")


def kind(spec):
    """What decides by which of timm's code a network runs: not how deep or wide it is."""
    stem = spec.architecture.partition("_")[0][-1]  # d and e name stems of three convolutions
    basic = spec.architecture == "resnet18"
    return spec.family, basic, spec.radix, spec.cardinality, stem if stem in "de" else ""


HUB_MODELS = [spec for spec in registry.list_backbones() if spec.group != "starter"]
# tests/models/test_registry.py holds every model's sizes, blocks and input against timm's.
COMPARED = {kind(s): s.name for s in sorted(HUB_MODELS, key=lambda s: s.gmacs, reverse=True)}
"""The smallest network of each kind."""


def test_every_family_is_compared():
    assert {family for family, *_ in COMPARED} == set(FAMILIES)
    assert set(QUICK) <= set(COMPARED.values())


@pytest.mark.parametrize(
    "name",
    [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in COMPARED.values()],
)
def test_logits_equal_timms_own_pipeline(name, tmp_path, photo):
    """Seeded weights in a file; timm loads it its way, with its transform and its data config."""
    weights = tmp_path / "seeded.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(len(name))
        made = timm.create_model(name).eval()
        randomise_batch_norms(made)
        with torch.no_grad():
            # Deep random networks give logits of thousands; bring them to a trained one's size.
            made.fc.weight *= 5 / made(torch.randn(1, 3, 64, 64)).abs().max()
    save_file(made.state_dict(), weights)
    del made
    theirs = timm.create_model(
        name, pretrained=True, pretrained_cfg_overlay={"file": str(weights)}
    ).eval()
    transform = create_transform(**resolve_model_data_config(theirs), is_training=False)
    with torch.inference_mode():
        expected = theirs(transform(photo)[None])[0]
    del theirs
    network = mscnn.load(name, weights=weights, device="cpu")
    prediction = network.predict(photo)
    assert float(expected.std()) > 0.1, "the seeded network says the same of everything"
    np.testing.assert_allclose(prediction.logits, expected, rtol=0, atol=1e-4)
    best = expected.softmax(0).topk(5)
    assert [score.index for score in prediction.top] == best.indices.tolist()
    np.testing.assert_allclose(
        [score.probability for score in prediction.top], best.values, rtol=1e-3, atol=0
    )
    # The default view must take the way without a backward.
    assert network.loaded.head == "fc"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prediction_and_an_explanation_agree(family, network, photo):
    net = network(family)
    plain = net.predict(photo, top_k=3, name="cup.png")
    explained = net.explain(photo, targets="top5", layers=["1", "last"], top_k=3, name="cup.png")
    np.testing.assert_allclose(plain.logits, explained.prediction.logits, rtol=1e-4, atol=1e-5)
    assert [s.index for s in plain.top] == [s.index for s in explained.prediction.top]
    assert len(plain.top) == 3
    assert plain.photo == explained.prediction.photo
    assert (plain.photo.name, plain.photo.width, plain.photo.height) == ("cup.png", 120, 90)
    assert sorted(plain.logits.tolist())[-5:] == [
        plain.logits[score.index] for score in reversed(explained.targets)
    ]
    assert [(m.layer, m.target) for m in explained.maps] == [
        (layer, score.index) for layer in ("layer1", "layer4") for score in explained.targets
    ]
    assert explained.view.shape == (INPUT_PX, INPUT_PX, 3)
    assert explained.seconds > 0
    assert explained.map("layer1", explained.targets[4].index).raw.shape == (24, 24)
    with pytest.raises(UnknownLayerError, match="there are maps of layer1/"):
        explained.map("layer2", 0)


def test_probabilities_are_a_softmax(network, photo):
    prediction = network("resnext").predict(photo, top_k=12)
    expected = torch.from_numpy(prediction.logits).double().softmax(0)
    assert sum(score.probability for score in prediction.top) == pytest.approx(1)
    for score in prediction.top:
        assert score.probability == pytest.approx(float(expected[score.index]), rel=1e-9)
        assert score.label == f"thing {score.index}"


NAMES = (
    "lion, king of beasts, Panthera leo", "computer keyboard, keypad", "maillot",
    "maillot, tank suit", *"abcdefgh",
)  # fmt: skip


@pytest.mark.parametrize(("wanted", "expected"), [
    ("lion", (0,)), (1, (1,)), (np.int64(2), (2,)), (["keypad", "lion", 0], (1, 0)), ("3", (3,)),
    ("maillot (tank suit)", (3,)), (np.array([2, 0]), (2, 0)),
], ids=str)  # fmt: skip
def test_classes_by_name_and_index(wanted, expected, network, photo):
    explained = network("resnet", names=NAMES).explain(photo, targets=wanted)
    assert tuple(score.index for score in explained.targets) == expected
    assert tuple(cam.target for cam in explained.maps) == expected


@pytest.mark.parametrize(("wanted", "error", "message"), [
    ("zebra", UnknownClassError, "No class fits 'zebra'"),
    ("maillot", UnknownClassError, "fits 2 classes"), (12, UnknownClassError, "no class 12"),
    (-1, UnknownClassError, "no class -1"), (["lion", 99], UnknownClassError, "no class 99"),
    ([], OptionError, "No class was named"),
], ids=str)  # fmt: skip
def test_a_class_that_is_not_there_is_refused_before_anything_runs(wanted, error, message, network):
    net = network("resnet", names=NAMES)
    with pytest.raises(error, match=message):
        net.explain("there is no such photo.png", targets=wanted)


def test_top1_and_top5(network):
    net = network("resnet", names=NAMES)
    logits = torch.arange(12.0)
    assert net.targets("top1").choose(logits) == (11,)
    assert net.targets(["top1", "lion"]).choose(logits) == (11, 0)
    assert net.targets("top5").choose(logits) == (11, 10, 9, 8, 7)
    assert isinstance(net.targets(("keypad",)), Targets)


@pytest.mark.parametrize(("given", "expected"), [
    ("last", "layer4"), ("", "layer4"), ("2", "layer2"), ("stage3", "layer3"),
    (" layer1 ", "layer1"), ("layer3.1.conv3", "layer3.1.conv3"),
])  # fmt: skip
def test_layers_by_name_and_number(given, expected, network):
    assert network("res2net").layer(given) == expected


@pytest.mark.parametrize("given", ["5", "0", "layer9", "stage7", "head.nothing"])
def test_an_unknown_layer_is_refused_with_the_stages(given, network, photo):
    with pytest.raises(UnknownLayerError, match=r"layer1, layer2, layer3, layer4.*layer4\.0"):
        network("res2net").explain(photo, layers=["last", given])


def test_one_map_for_a_layer_named_twice(network, photo):
    explained = network("resnest").explain(photo, layers=["4", "last", "layer4"])
    assert [cam.layer for cam in explained.maps] == ["layer4"]


@pytest.mark.parametrize("top_k", [0, -3])
def test_top_k_below_one_is_refused(top_k, network, photo):
    for ask in (network("resnet").predict, network("resnet").explain):
        with pytest.raises(OptionError, match=f"top-k is {top_k}"):
            ask(photo, top_k=top_k)


def test_unknown_methods_and_precisions(network, loaded, photo):
    with pytest.raises(MethodError, match="no method 'smoothgrad'"):
        network("resnet").explain(photo, method="smoothgrad")
    with pytest.raises(OptionError, match="'fp8' is unknown"):
        Network(loaded("resnet"), torch.device("cpu"), "fp8")


def test_a_photo_in_every_form_gives_the_same_answer(network, photo, tmp_path):
    net = network("res2next")
    path = tmp_path / "cup.png"
    photo.save(path)
    expected = net.predict(photo)
    forms = [path, str(path), path.read_bytes(), np.asarray(photo), io.BytesIO(path.read_bytes())]
    for form in forms:
        got = net.predict(form)
        np.testing.assert_array_equal(got.logits, expected.logits)
        assert got.photo.name == (str(path) if isinstance(form, (str, Path)) else "")


def test_a_model_in_bfloat16_on_the_cpu_stays_in_float32(loaded):
    net = Network(loaded("resnet"), torch.device("cpu"), "bf16")
    assert {p.dtype for p in net.model.parameters()} == {torch.float32}


def test_the_time_of_a_forward_leaves_the_wait_for_others_out(network, photo, monkeypatch):
    net = network("resnet")
    clock = iter(np.arange(0.0, 100.0, 0.5))
    monkeypatch.setattr("mscnn.engine.network.time.perf_counter", lambda: float(next(clock)))
    assert net.seconds_per_forward(photo) == 0.5


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
]


def fail_away_from_cpu(error, monkeypatch):
    """Make every forward fail with ``error`` while the network believes it is not on the CPU."""
    plain = Network.to_device

    def failing(net, x):
        if net.device.type != "cpu":
            raise error
        return plain(net, x)

    monkeypatch.setattr(Network, "to_device", failing)


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda e: str(e)[:20])
@pytest.mark.parametrize("method", ["gradcam", "layercam", "scorecam"])
def test_a_device_without_memory_is_left_with_a_notice(method, error, network, photo, monkeypatch):
    net = network("res2net")
    expected = net.explain(photo, layers="2", targets=4, method=method)
    assert expected.notices == ()
    fail_away_from_cpu(error, monkeypatch)
    net.device = torch.device("cuda")
    explained = net.explain(photo, layers="2", targets=4, method=method)
    np.testing.assert_array_equal(explained.maps[0].raw, expected.maps[0].raw)
    assert explained.prediction.device == "cpu"
    assert explained.notices == (
        "The cuda device ran out of memory, so tiny_res2net now runs on the CPU.",
    )
    assert net.predict(photo).device == "cpu"


@pytest.mark.parametrize("when", ["at first", "later"])
def test_a_device_too_small_for_the_weights_is_left_with_a_notice(when, loaded, photo, monkeypatch):
    plain = torch.nn.Module.to

    def failing(module, *args, **options):
        if options["device"].type == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return plain(module, *args, **options)

    monkeypatch.setattr(torch.nn.Module, "to", failing)
    net = Network(loaded("resnet"), torch.device("cuda" if when == "at first" else "cpu"))
    net.move_to(torch.device("cuda"))
    assert net.device.type == "cpu"
    assert net.predict(photo).device == "cpu"
    assert "ran out of memory" in net.explain(photo).notices[0]


def test_without_memory_on_the_cpu_there_is_one_sentence(network, photo, monkeypatch):
    def failing(net, x):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 EB")

    monkeypatch.setattr(Network, "to_device", failing)
    with pytest.raises(DeviceError, match="not enough memory for this model"):
        network("resnet").predict(photo)


def test_other_faults_are_not_taken_for_missing_memory(network, photo, monkeypatch):
    fail_away_from_cpu(RuntimeError("CUDA error: an illegal memory access"), monkeypatch)
    net = network("resnet")
    net.device = torch.device("cuda")
    with pytest.raises(RuntimeError, match="illegal memory access"):
        net.predict(photo)
    assert net.notices == ()


@pytest.mark.parametrize("method", ["scorecam", "ablationcam"])
def test_a_slow_method_holds_nobody_up_and_leaves_the_model_as_it_was(method, network, photo):
    """The slow request is stopped in the middle of its work until another one is answered."""
    net, under_way, answered = network("res2net"), threading.Event(), threading.Event()

    def hold(done, total):
        if done > 2 and not answered.is_set():  # the first channels are done, more are to come
            assert done < total
            under_way.set()
            assert answered.wait(60)

    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(net.explain, photo, method=method, targets=3, on_progress=hold)
        assert under_way.wait(60)
        # The shared model bears neither hooks nor another layer, and nobody holds its lock.
        assert pool.submit(net.predict, photo).result(60).logits.shape == (12,)
        assert pool.submit(net.explain, photo, targets="top5").result(60).maps
        assert not slow.done()
        answered.set()
        cam = slow.result(60).maps[0]
    again = net.explain(photo, method=method, targets=3).maps[0]
    np.testing.assert_allclose(cam.raw, again.raw, rtol=1e-4, atol=1e-6)


def test_eight_threads_get_the_serial_answers(network, photo):
    nets = [network(family) for family in ("res2net", "resnest", "resnet")]
    mirrored = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)

    def ask(i):
        net, picture = nets[i % 3], (photo, mirrored)[i % 2]
        if i % 5 == 0:
            return [net.predict(picture).logits]
        if i % 5 == 1:
            return [m.raw for m in net.explain(picture, targets="top5").maps]
        if i % 5 == 2:
            return [m.raw for m in net.explain(picture, layers=["1", "2", "3", "4"]).maps]
        if i % 5 == 3:
            return [net.explain(picture, layers="layer3", method="hirescam").maps[0].raw]
        return [net.explain(picture, layers="layer4.0.conv1", targets=[3, 7]).maps[1].raw]

    serial = [ask(i) for i in range(30)]
    with ThreadPoolExecutor(8) as pool:
        parallel = list(pool.map(ask, [*range(30)] * 2))
    for i, got in enumerate(parallel):
        for ours, expected in zip(got, serial[i % 30], strict=True):
            np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


def test_a_field_that_is_not_known_keeps_no_caller_alive(network, monkeypatch):
    net, found = network("resnet"), UnsupportedModelError("No way through.")
    monkeypatch.setattr(net, "_traced_field", found)
    for _ in range(2):
        with pytest.raises(UnsupportedModelError, match="No way through"):
            net.receptive_field()
    assert found.__traceback__ is None
