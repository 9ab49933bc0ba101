"""Weights files that are read without running anything, and the networks they fill."""

import argparse
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.data import ImageNetInfo
from timm.models import save_for_hf

from mscnn.data.classes import map_classes
from mscnn.engine.network import Network
from mscnn.engine.pipeline import same_class
from mscnn.errors import UnknownModelError, UnsupportedModelError, WeightsError
from mscnn.models.architecture import check_supported, from_name, on_meta
from mscnn.models.checkpoint import read_checkpoint
from mscnn.models.files import sha256_of
from mscnn.models.fitting import fit
from mscnn.models.labels import imagenet_labels
from mscnn.models.loading import load_model
from mscnn.models.manifest import load_manifest

# timm's own tiny networks, made for tests: below 0.5 M parameters.
TINY = "test_resnet.r160_in1k"
TINY_CONVNEXT = "test_convnext.r160_in1k"


def seeded(name, **arguments):
    """Build a network whose every tensor, batch statistics included, is random."""
    model: torch.nn.Module = timm.create_model(name, **arguments).eval()
    generator = torch.Generator().manual_seed(1)
    for key, value in model.state_dict().items():
        if value.is_floating_point():
            noise = torch.rand(value.shape, generator=generator)
            value.copy_(0.5 + noise if "running_var" in key else (noise - 0.4) * 0.2)
    return model


def picture(model):
    size: Any = model.pretrained_cfg
    return torch.randn(2, *size["input_size"], generator=torch.Generator().manual_seed(2))


def logits(model, x):
    with torch.inference_mode():
        result: torch.Tensor = model(x)
    return result


def write_run(folder, name=TINY, classes=3, **config):
    model = seeded(name, num_classes=classes)
    save_for_hf(model, str(folder), model_config=config, safe_serialization=True)
    return model


@pytest.mark.parametrize(("name", "head"), [
    (TINY, "fc"), ("starter_res2net", "fc"), ("resnest14d.gluon_in1k", "fc"),
    # Its head normalises after the pooling, so its CAM is not the plain one.
    (TINY_CONVNEXT, None),
])  # fmt: skip
def test_logits_equal_timm(tmp_path, name, head):
    path = tmp_path / "w.safetensors"
    save_file(seeded(name).state_dict(), path)
    loaded = load_model(name, path)
    reference = timm.create_model(
        name, pretrained=True, pretrained_cfg_overlay={"file": str(path)}
    ).eval()
    x = picture(reference)
    assert torch.equal(logits(loaded.model, x), logits(reference, x))
    assert loaded.head == head
    if head is not None:
        with torch.inference_mode():
            means = reference.forward_features(x).mean((2, 3))
            assert torch.allclose(reference.fc(means), logits(reference, x), atol=1e-5)
    assert dict(loaded.data_config) == timm.data.resolve_model_data_config(reference)
    assert not loaded.model.training
    assert not any(m.training for m in loaded.model.modules())
    assert not any(p.requires_grad for p in loaded.model.parameters())
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    assert (loaded.weights.kind, loaded.weights.source) == ("file", "w.safetensors")
    for stage in loaded.stages:
        loaded.model.get_submodule(stage)


def test_stages_and_labels():
    four = ("layer1", "layer2", "layer3", "layer4")
    for name in ("res2net50_26w_4s", "resnest14d", "resnet50", "starter_resnet"):
        assert check_supported(from_name(name)) == four
    assert check_supported(from_name("convnext_tiny.fb_in1k"))[-1] == "stages.3"
    assert check_supported(from_name("densenet121"))[-1] == "features.norm5"
    assert len(check_supported(from_name("convmixer_768_32"))) == 4


def test_no_weight_is_drawn_that_another_replaces():
    before = torch.get_rng_state()
    from_name("starter_res2net").build()
    assert torch.equal(torch.get_rng_state(), before)


def test_names_without_a_tag():
    # Of the registry: the fair partner of Res2Net, not timm's own default.
    assert from_name("resnet50").name == "resnet50.tv_in1k"
    assert from_name("timm/res2net50d").name == "res2net50d.in1k"
    assert from_name("resnet34").name == f"resnet34.{timm.get_pretrained_cfg('resnet34').tag}"


@pytest.mark.parametrize(("change", "tolerance"), [
    # Half precision keeps 11 bits of each weight; the other forms keep all.
    (lambda s: {k: v.half() if v.is_floating_point() else v for k, v in s.items()}, 2e-2),
    (lambda s: {k: v for k, v in s.items() if "num_batches_tracked" not in k}, 0),
    (lambda s: {f"module.{k}": v for k, v in s.items()}, 0),
    (lambda s: {"state_dict": s, "epoch": 1}, 0),
], ids=["half", "no-counters", "data-parallel", "nested"])  # fmt: skip
def test_other_forms_of_the_same_weights(tmp_path, change, tolerance):
    model = seeded(TINY)
    torch.save(change(model.state_dict()), tmp_path / "w.pth")
    loaded = load_model(TINY, tmp_path / "w.pth")
    x = picture(model)
    wanted = logits(model, x)
    atol = tolerance * float(wanted.abs().max())
    assert torch.allclose(logits(loaded.model, x), wanted, rtol=0, atol=atol)


def test_timms_own_conversion_is_applied(tmp_path):
    """OpenCLIP stores ConvNeXt under another prefix; timm's ``checkpoint_filter_fn`` knows."""
    model = seeded(TINY_CONVNEXT)
    state = {f"visual.trunk.{k}": v for k, v in model.state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    loaded = load_model(TINY_CONVNEXT, tmp_path / "w.safetensors")
    x = picture(model)
    # Not bit for bit: the order of a sum may depend on how many threads are free.
    torch.testing.assert_close(logits(loaded.model, x), logits(model, x), rtol=1e-5, atol=1e-6)


def test_hub_cache_offline(cache_put, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model = seeded(TINY)
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    link = cache_put(f"timm/{TINY}", (tmp_path / "w.safetensors").read_bytes())
    loaded = load_model("test_resnet")
    assert loaded.name == TINY
    assert loaded.weights.kind == "hub-cache"
    assert loaded.weights.source == f"timm/{TINY}"
    assert loaded.weights.sha256 == link.readlink().name
    assert loaded.labels == imagenet_labels()
    x = picture(model)
    assert torch.equal(logits(loaded.model, x), logits(model, x))


@pytest.mark.parametrize(
    ("file", "save"), [("model.safetensors", save_file), ("pytorch_model.bin", torch.save)]
)
def test_hub_download_then_load(file, save, fake_hub, tmp_path):
    save(seeded(TINY).state_dict(), tmp_path / file)
    fake_hub.files[f"timm/{TINY}/{file}"] = (tmp_path / file).read_bytes()
    assert load_model(TINY).weights.kind == "hub"
    assert load_model(TINY, offline=True).weights.kind == "hub-cache"


@pytest.mark.parametrize("as_weights", [False, True])
def test_model_folder(tmp_path, as_weights):
    run = tmp_path / "my run"
    model = write_run(run, label_names=["ant", "bee", "cat"])
    loaded = load_model(TINY, run) if as_weights else load_model(str(run))
    assert loaded.name == "my run"
    assert loaded.labels.names == ("ant", "bee", "cat")
    assert loaded.weights.kind == "folder"
    assert loaded.weights.source == "my run/model.safetensors"
    x = picture(model)
    assert torch.equal(logits(loaded.model, x), logits(model, x))


def test_a_folder_called_like_a_model_of_the_list_keeps_its_own_facts(tmp_path):
    write_run(tmp_path / "resnet50", label_names=["a", "b", "c"])
    loaded = load_model(str(tmp_path / "resnet50"))
    assert loaded.name == "./resnet50"
    assert Network(loaded, torch.device("cpu")).spec is None


def test_folder_in_the_working_directory(tmp_path, monkeypatch):
    write_run(tmp_path / "mine", label_names=["a", "b", "c"])
    monkeypatch.chdir(tmp_path)
    assert load_model("mine").name == "mine"
    assert load_model("./mine/").name == "mine"


@pytest.mark.parametrize(("config", "names"), [
    ({}, ("class 0", "class 1", "class 2")),
    ({"label_names": {"0": "a", "2": "c", "1": "b"}}, ("a", "b", "c")),
    ({"label_names": ["n02129165", "n02123045", "n07920052"]},
     ("lion, king of beasts, Panthera leo", "tabby, tabby cat", "espresso")),
    ({"label_names": ["x", "y", "z"], "label_descriptions": {"x": "a long x"}},
     ("a long x", "y", "z")),
])  # fmt: skip
def test_folder_labels(tmp_path, config, names):
    write_run(tmp_path / "run", **config)
    assert load_model(str(tmp_path / "run")).labels.names == names


def test_two_cranes_are_told_apart_by_their_wordnet_ids(tmp_path):
    cranes = ["n02012849", "n03126707", "n02129165"]  # and a lion
    write_run(tmp_path / "run", label_names=cranes)
    mine = load_model(str(tmp_path / "run")).labels
    assert mine.names[:2] == ("crane", "crane")
    assert map_classes(cranes, mine).tolist() == [0, 1, 2]
    larger = ImageNetInfo("imagenet-12k")
    # As timm writes its own networks.
    config = {"label_descriptions": larger.label_descriptions(as_dict=True)}
    write_run(tmp_path / "timms", classes=11821, label_names=larger.label_names(), **config)
    theirs = load_model(str(tmp_path / "timms")).labels
    for labels in (theirs, imagenet_labels()):
        found = [same_class(mine, index, labels) for index in range(3)]
        assert [labels.wnids[index] for index in found] == cranes
        assert [same_class(labels, index, mine) for index in found] == [0, 1, 2]


def test_weights_of_ones_own_for_a_starter_have_its_classes(tmp_path, monkeypatch):
    monkeypatch.delenv("MSCNN_ASSETS")
    classes = load_manifest()["starter_resnet"].labels
    torch.save(seeded("starter_resnet").state_dict(), tmp_path / "w.pth")
    assert load_model("starter_resnet", tmp_path / "w.pth").labels.names == classes


def test_safetensors_that_names_its_classes(tmp_path):
    path = tmp_path / "w.safetensors"
    state = seeded(TINY, num_classes=2).state_dict()
    save_file(state, path, metadata={"label_names": json.dumps(["ant", "bee"])})
    assert load_model(TINY, path).labels.names == ("ant", "bee")
    save_file(state, path, metadata={"label_names": json.dumps(["ant"])})
    with pytest.raises(WeightsError, match=r"has 2 classes, but .* expects 1"):
        load_model(TINY, path)
    save_file(state, path, metadata={"label_names": "{"})
    with pytest.raises(WeightsError, match="not a JSON list"):
        load_model(TINY, path)


def test_folder_cannot_reach_out(tmp_path, fake_hub):
    """A folder from a stranger names shapes; it opens no other file and asks no hub."""
    write_run(tmp_path / "run", label_names=["a", "b", "c"])
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text())
    evil = {"checkpoint_path": str(tmp_path / "none.pth"), "pretrained": True}
    config["model_args"] = evil
    config["pretrained_cfg"] |= {"hf_hub_id": "timm/other", "file": "/etc/passwd"}
    path.write_text(json.dumps(config))
    assert load_model(str(tmp_path / "run")).labels.names == ("a", "b", "c")
    assert fake_hub.requests == []


@pytest.mark.parametrize(("make", "text"), [
    (lambda: seeded(TINY_CONVNEXT).state_dict(),
     r"does not fit test_resnet.r160_in1k: \d+ of \d+ tensors fit; \d+ are missing, such as "
     r"conv1.*; \d+ belong to another network, such as stem"),
    (lambda: {k: v for k, v in seeded(TINY).state_dict().items() if k != "bn1.weight"},
     "1 are missing, such as bn1.weight"),
    (lambda: seeded(TINY).state_dict() | {"layer9.weight": torch.zeros(1)},
     "1 belong to another network, such as layer9.weight"),
    (lambda: seeded(TINY).state_dict() | {"conv1.0.weight": torch.zeros(2, 3)},
     r"conv1.0.weight is 2x3 instead of \d+x3x3x3"),
], ids=["architecture", "missing", "extra", "shape"])  # fmt: skip
def test_weights_that_do_not_fit(tmp_path, make, text):
    torch.save(make(), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=text) as raised:
        load_model(TINY, tmp_path / "w.pth")
    assert str(tmp_path) not in str(raised.value)


@pytest.mark.parametrize(("edit", "text"), [
    (lambda run: (run / "config.json").unlink(), "has no config.json"),
    (lambda run: (run / "model.safetensors").unlink(), "has no model.safetensors"),
    (lambda run: (run / "config.json").write_text("{"), "not valid JSON"),
    (lambda run: (run / "config.json").write_text("[]"), "not in timm's format"),
    (lambda run: _edit(run, architecture="resnet9000"), "'resnet9000', which timm does not"),
    (lambda run: _edit(run, architecture=None), "names the architecture None"),
    (lambda run: _edit(run, label_names=["a", "b"]), "has 2 label names for 3 classes"),
    (lambda run: _edit(run, label_names="abc"), "no list of names"),
    (lambda run: _edit(run, model_args={"layerz": 3}), "does not describe a network"),
    (lambda run: _edit(run, num_classes=7, model_args={}), "3 classes, but run expects 7"),
])  # fmt: skip
def test_broken_folder(tmp_path, edit, text):
    run = tmp_path / "run"
    write_run(run)
    edit(run)
    with pytest.raises(WeightsError, match=text) as raised:
        load_model(str(run))
    assert str(tmp_path) not in str(raised.value)


def _edit(run, **changes):
    path = run / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_folder_of_another_architecture(tmp_path):
    write_run(tmp_path / "run")
    for name in ("starter_res2net", TINY_CONVNEXT):  # in the list, and timm's alone
        said = f"run holds a test_resnet, not a {name.partition('.')[0]}"
        with pytest.raises(WeightsError, match=said):
            load_model(name, tmp_path / "run")
    with pytest.raises(UnknownModelError, match="no model 'test_resnit'"):
        load_model("test_resnit", tmp_path / "run")


@pytest.mark.parametrize(("name", "text"), [
    ("res2net50_26w_4", "close names: res2net50_26w_4s"),
    ("resnet50.no_such_tag", "close names: resnet50.tv_in1k"),
    ("res2net-50", "close names: .*res2net50_26w_4s.in1k"),
    ("resnest50", "close names: .*resnest50d.in1k"), ("res2nxt50", "close names: .*res2next50"),
    ("starter", "close names: .*starter_res2net"), ("zzzzzz", "give a name of the model list"),
    ("", "give a name of the model list"), ("./no_such_folder", "no folder ./no_such_folder"),
    ("runs/none", "no folder runs/none"), ("w.safetensors", "is a weights file, not a model"),
])  # fmt: skip
def test_unknown_names(name, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.safetensors").write_bytes(b"x")
    with pytest.raises(UnknownModelError, match=text):
        load_model(name)


@pytest.mark.parametrize(("name", "reason"), [
    ("vit_tiny_patch16_224", "gives tokens"), ("mixer_b16_224", "gives tokens"),
    ("swin_tiny_patch4_window7_224", "channels last"),
    ("swinv2_cr_tiny_ns_224", "not made of convolutions"), ("hrnet_w18_small", "no single map"),
])  # fmt: skip
def test_unsupported(name, reason, fake_hub):
    with pytest.raises(UnsupportedModelError, match=f"{reason}.*; accepted are convolutional"):
        load_model(name)
    assert fake_hub.requests == []


def test_a_network_without_feature_stages():
    bare: Any = SimpleNamespace(
        name="mine", pretrained_cfg={}, build=lambda device: torch.nn.Linear(2, 2)
    )
    with pytest.raises(UnsupportedModelError, match="timm describes no feature stages for it"):
        check_supported(bare)


def test_a_copy_on_meta_leaves_the_model_alone():
    model = seeded(TINY)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert all(tensor.is_meta for tensor in on_meta(model).state_dict().values())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("channels", [3, 1])
def test_a_depthwise_layer_called_like_the_first_convolution_does_not_make_a_network_grey(channels):
    """safetensors lists names sorted, so block1.rep.0.conv1 of an Xception before its conv1."""
    with torch.device("meta"):
        model = timm.create_model("legacy_xception", in_chans=channels)
    blueprint = from_name("legacy_xception").fitted(dict(sorted(model.state_dict().items())))
    built: Any = blueprint.build(device="meta")
    assert built.conv1.weight.shape[1] == channels


def test_published_nowhere():
    with pytest.raises(WeightsError, match="No weights of starter_res2net are bundled"):
        load_model("starter_res2net")


TENSORS = {
    "conv.weight": torch.arange(24, dtype=torch.float32).reshape(2, 3, 2, 2),
    "bn.num_batches_tracked": torch.tensor(7),
}

LARGE = {"w": torch.zeros(5000)}


class Evil:
    """A pickle of this runs code that makes the marker file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return exec, (f"open({str(self.marker)!r}, 'w').close()",)


class Small(torch.nn.Module):
    """A network with the tensors of ``TENSORS``."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 2, 2, bias=False)
        self.bn = torch.nn.Module()
        self.bn.register_buffer("num_batches_tracked", torch.tensor(0))


SMALL: Any = SimpleNamespace(
    name="small", build=lambda device, pretrained=False: Small().to(device)
)


def prefixed(prefix):
    return {prefix + key: value for key, value in TENSORS.items()}


@pytest.mark.parametrize(("name", "content"), [
    ("a.pth", TENSORS), ("a.PT", TENSORS), ("a.bin", prefixed("module.")),
    ("a.pth", prefixed("_orig_mod.module.")),
    ("a.pth.tar", {"state_dict": prefixed("module."), "epoch": 3, "arch": "resnet18"}),
    ("a.pth", {"model": TENSORS, "args": argparse.Namespace(lr=0.1)}),
    ("a.pth", {"state_dict": {"conv.weight": torch.zeros(1)}, "state_dict_ema": TENSORS}),
    ("a.pth", {**TENSORS, "epoch": 3}),
])  # fmt: skip
@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_forms(tmp_path, name, content, zipped):
    torch.save(content, tmp_path / name, _use_new_zipfile_serialization=zipped)
    tensors = fit(SMALL, read_checkpoint(tmp_path / name).tensors, name).tensors
    assert set(tensors) == set(TENSORS)
    for key, value in TENSORS.items():
        assert torch.equal(tensors[key], value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_every_float_becomes_float32(tmp_path, dtype, suffix):
    path = tmp_path / f"a{suffix}"
    state = seeded(TINY, num_classes=2).state_dict()
    stored = {key: v.to(dtype) if v.is_floating_point() else v for key, v in state.items()}
    if suffix == ".pth":
        torch.save(stored, path)
    else:
        save_file(stored, path, metadata={"label_names": '["a", "b"]'})
    loaded = load_model(TINY, path)
    for key, value in loaded.model.state_dict().items():
        assert value.dtype == (torch.int64 if "num_batches" in key else torch.float32)
        assert torch.equal(value, stored[key].to(value.dtype))
    assert (loaded.labels.names == ("a", "b")) == (suffix == ".safetensors")


def _truncated(write):
    def half(path):
        write(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return half


def _safetensors(path):
    save_file({"w": torch.zeros(1000)}, path)


def _header(length, rest):
    return lambda path: path.write_bytes(length.to_bytes(8, "little") + rest)


# Three numbers in the room of two.
SWAPPED = b'{"w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}'

BAD_FILES: list[tuple[str, Callable[[Path], object], str]] = [
    ("none.safetensors", lambda p: None, "There is no weights file none.safetensors"),
    ("a.onnx", lambda p: p.write_bytes(b"x"), "accepted endings are .safetensors, .pth"),
    ("a.tar", lambda p: p.write_bytes(b"x"), "a.tar is not a weights file"),
    ("a.pth", lambda p: p.write_bytes(b""), "a.pth is empty"),
    ("a.pth", lambda p: p.mkdir(), "a.pth cannot be read: is a directory"),
    ("a.pth", lambda p: p.write_bytes(b"not a pickle"), "truncated or damaged"),
    ("a.pth", _truncated(lambda p: torch.save(TENSORS, p)), "truncated or damaged"),
    (
        "a.pth",
        _truncated(lambda p: torch.save(LARGE, p, _use_new_zipfile_serialization=False)),
        "truncated or damaged",
    ),
    ("a.pth", lambda p: torch.save({"epoch": 3}, p), "no named tensors; accepted are"),
    ("a.pth", lambda p: torch.save([torch.zeros(1)], p), "no named tensors"),
    ("a.pth", lambda p: torch.save(torch.nn.Linear(1, 1), p), "holds Python objects"),
    ("a.safetensors", _truncated(_safetensors), r"truncated: it has \d+ of 40\d\d bytes"),
    ("a.safetensors", _header(1 << 40, b"{}"), "header is broken"),
    ("a.safetensors", _header(5000, b"{"), "ends inside its header"),
    ("a.safetensors", _header(4, b"oops"), "header is broken"),
    ("a.safetensors", lambda p: p.write_bytes(b"abc"), "header is broken"),
    ("a.safetensors", lambda p: torch.save(TENSORS, p), "header is broken"),
    ("a.safetensors", _header(len(SWAPPED), SWAPPED + bytes(8)), "damaged"),
]


@pytest.mark.parametrize(("name", "write", "text"), BAD_FILES)
def test_bad_file(tmp_path, name, write, text):
    write(tmp_path / name)
    with pytest.raises(WeightsError, match=text) as raised:
        read_checkpoint(tmp_path / name)
    assert str(tmp_path) not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_permission_denied(tmp_path, monkeypatch):
    path = tmp_path / "a.pth"
    torch.save(TENSORS, path)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    # The test may run as root, whom no mode bits stop.
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(WeightsError, match=r"a\.pth may not be read: permission denied\."):
        read_checkpoint(path)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("nested", [True, False])
def test_malicious_pickle_is_refused_unrun(tmp_path, zipped, nested):
    marker, path = tmp_path / "owned", tmp_path / "a.pth"
    evil = {"state_dict": {**TENSORS, "x": Evil(marker)}} if nested else Evil(marker)
    torch.save(evil, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match="refused without running"):
        read_checkpoint(path)
    assert not marker.exists()
    # The file is a live one: an ordinary reader is caught by it.
    torch.load(path, weights_only=False)
    assert marker.exists()


def test_bare_malicious_pickle(tmp_path):
    marker, path = tmp_path / "owned", tmp_path / "a.bin"
    path.write_bytes(pickle.dumps(Evil(marker)))
    with pytest.raises(WeightsError):
        read_checkpoint(path)
    assert not marker.exists()


def test_sha256_follows_the_content(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1.
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(path) == digest
    path.write_bytes(b"abcd")
    assert sha256_of(path) != digest
