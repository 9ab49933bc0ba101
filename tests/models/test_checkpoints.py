"""Checkpoints as the world's training programs write them, and files that are none."""

import argparse
import collections
import contextlib
import datetime
import gzip
import io
import json
import pathlib
import pickle
import tarfile
import types
import warnings
import zipfile
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from mscnn.cli import main
from mscnn.errors import WeightsError
from mscnn.models.architecture import from_name
from mscnn.models.checkpoint import read_checkpoint
from mscnn.models.fitting import fit
from mscnn.models.loading import load_model
from tests.models.test_loading import TINY, logits, seeded, write_run

CLASSES = 7
STATE = {k: v.clone() for k, v in seeded(TINY, num_classes=CLASSES).state_dict().items()}
OTHER = {key: value + 1 for key, value in STATE.items()}
HEAD = {key: value for key, value in STATE.items() if key.startswith("fc.")}
BODY = {key: value for key, value in STATE.items() if key not in HEAD}
ONE = torch.ones(1)


def under(prefix, state=STATE):
    return {prefix + key: value for key, value in state.items()}


def equal(loaded, state=STATE):
    return all(torch.equal(v, state[k]) for k, v in loaded.model.state_dict().items())


@pytest.mark.parametrize(("content", "part"), [
    ({"epoch": 3, "model_state_dict": STATE, "optimizer_state_dict": {}}, "model_state_dict"),
    ({"net": STATE, "acc": 91.2}, "net"),
    ({"ema": STATE, "model": OTHER}, "ema"),
    ({"model": OTHER, "state_dict_ema": STATE}, "state_dict_ema"),
    ({"model": STATE, "model_ema": {}}, "model"),
    ({"model": STATE, "ema": {k: v for k, v in OTHER.items() if "running" not in k}}, "model"),
    ({"model": OTHER, "model_ema": {"n_averaged": ONE, **under("module.")}}, "model_ema/module"),
    ({**under("online_model.", OTHER), **under("ema_model."), "step": ONE}, "ema_model"),
    ({"student": STATE, "teacher": OTHER}, "student"),
    ({"state_dict": under("model."), "pytorch-lightning_version": "2"}, "state_dict/model"),
    ({"state_dict": {**under("net."), "loss.weight": torch.ones(7)}}, "state_dict/net"),
    ({"state_dict": under("model.module.")}, "state_dict/model.module"),
    (under("_orig_mod.module."), "_orig_mod.module"),
    ({"a": {"b": [{"c": STATE}]}}, "a/b/0/c"),
    ([3, STATE], "1"),
    ({"model": STATE, "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}}, "model"),
    ({"state_dict": {**under("backbone.", BODY), **under("head.", HEAD)}}, "state_dict/backbone"),
    (collections.defaultdict(dict, {"network": STATE}), "network"),
])  # fmt: skip
def test_any_wrapper(tmp_path, content, part):
    file = "a.ckpt" if len(part) % 2 else "a.tar"
    torch.save(content, tmp_path / file, _use_new_zipfile_serialization=file == "a.ckpt")
    loaded = load_model(TINY, tmp_path / file)
    assert equal(loaded)
    assert loaded.weights.source == f"{file} ({part})"


@pytest.mark.parametrize(("content", "note"), [
    ({"ema": STATE, "model": OTHER}, "ema was used; model would do as well"),
    ({**STATE, "total_ops": ONE, "layer1.0.total_params": ONE},
     "left out: total_ops, layer1.0.total_params."),
    ({**STATE, "criterion.weight": torch.ones(7), **{f"n{i}": ONE for i in range(4)}},
     "left out: criterion.weight, n0, n1 and 2 more."),
    ({"model": {**STATE, "n_averaged": torch.tensor(5)}}, "left out: n_averaged."),
    ({"state_dict": STATE}, ""),
])  # fmt: skip
def test_what_is_beside_the_weights_is_named(tmp_path, content, note):
    torch.save(content, tmp_path / "a.pth")
    said, _ = load_model(TINY, tmp_path / "a.pth").notices
    assert (note in said) if note else said == ""


BESIDE = {
    "numpy": [np.float64(1), np.float32(1), np.int8(1), np.bool_(True), np.str_("a"),
              np.complex64(1), np.datetime64("2020"), np.longdouble(2), np.dtype("f4"),
              np.arange(3), np.array(["a", None], object), np.zeros(2, [("a", "i4")]),
              np.random.default_rng(0).bit_generator.state],
    "paths": [pathlib.Path("a/b"), pathlib.PureWindowsPath("c:/d")],
    "options": [argparse.Namespace(lr=0.1), types.SimpleNamespace(lr=0.1)],
    "containers": [collections.deque([1], 3), collections.Counter("ab"), {1, 2}, frozenset([1]),
                   range(3), slice(1), 1j, b"ab", bytearray(b"a"), int, 1 << 100],
    "torch": [torch.Size([1]), torch.float16, torch.device("cpu"), torch.__version__],
    "times": [datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)],
}  # fmt: skip


@pytest.mark.parametrize("beside", BESIDE.values(), ids=BESIDE.keys())
@pytest.mark.parametrize("zipped", [True, False])
def test_plain_objects_beside_the_weights(tmp_path, beside, zipped):
    content = {"state_dict": STATE, "beside": beside}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    assert equal(load_model(TINY, tmp_path / "a.pth"))


def saved(content, **options):
    return lambda path: torch.save(content, path, **options)


def with_pickle(pickled):
    """A checkpoint whose pickle is this one, with the right checksum."""

    def write(path):
        torch.save(STATE, path)
        with zipfile.ZipFile(path) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, pickled if name.endswith("data.pkl") else data)

    return write


def archive(files, method=zipfile.ZIP_STORED):
    def write(path):
        with zipfile.ZipFile(path, "w", method) as out:
            for name, data in files.items():
                out.writestr(name, data)

    return write


def quantised(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates it
        first = torch.quantize_per_tensor(STATE["conv1.0.weight"], 0.1, 0, torch.qint8)
    torch.save({**STATE, "conv1.0.weight": first}, path)


def first(tensor):
    return saved({**STATE, "conv1.0.weight": tensor})


def of_bytes(data):
    return lambda path: path.write_bytes(data)


def tarred(path):
    with tarfile.open(path, "w") as out:
        out.addfile(tarfile.TarInfo("w.pth"), io.BytesIO())


DEEP = 200_000
FIRST = STATE["conv1.0.weight"]
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n"
NOT_WEIGHTS = [
    ("a.pth", first(FIRST.to_sparse()), "conv1.0.weight in a.pth is a sparse tensor; save it"),
    ("a.pth", first(FIRST.to("meta")), "conv1.0.weight in a.pth has no values"),
    ("a.pth", quantised, "conv1.0.weight in a.pth holds qint8 instead of floating-point"),
    ("a.pth", first(FIRST.to(torch.int8)), "conv1.0.weight in a.pth holds int8 instead"),
    ("a.pth", first(ONE.half().expand(10**6, 10**5)), "is larger than what the file has of it"),
    ("a.pth", saved(timm.create_model("test_convnext").state_dict()), ": 0 of 75 tensors fit; 75"),
    ("a.pth", saved(STATE | {"fc.weight": ONE.expand(10**9, 96), "fc.bias": ONE.expand(10**9)}),
     "fc.(weight|bias) in a.pth is larger than what the file has of it"),
    ("a.pth", saved({"model": BODY, "fc.weight": ONE, "x": torch.nn.Linear(1, 1)}),
     "such as torch.nn.modules.linear.Linear, so it was refused without running"),
    ("a.pth", saved(STATE, pickle_protocol=4), "another pickle protocol than torch.save's own"),
    ("a.pth", with_pickle(b"\x80\x02" + b"]" * 9000 + b"a" * 8999 + b"."), "no named tensors"),
    ("a.pth", with_pickle(b"\x80\x02})" + b"\x85" * DEEP + b"K\x01s."), "more than 100,000 tuples"),
    ("a.pth", with_pickle(b"\x80\x02cposix\nsystem\nX\x01\0\0\0a\x85R."), "such as posix.system"),
    ("a.pth", archive({"a/data.pkl": bytes(10**7)}, zipfile.ZIP_DEFLATED), "to be compressed"),
    ("a.pth", archive({"arr_0.npy": b"x"}), "seems to be a NumPy archive"),
    ("a.pt", archive({"model.weights.h5": b"x", "config.json": b"{}"}), "to be a Keras model"),
    ("a.pt", archive({"a/constants.pkl": b"x", "a/data.pkl": b"x"}), "be a TorchScript program"),
    ("a.pt", archive({"read.me": b"x"}), "a ZIP archive that torch.save did not write"),
    ("a.pth", of_bytes(b"\x08\x08\x12\x07pytorch\x1a\x032.1:"), "to be an ONNX model; accepted"),
    ("a.bin", of_bytes(b"\x89HDF\r\n\x1a\n" + bytes(90)), "to be an HDF5 file, such as"),
    ("a.pth", of_bytes(LFS), "seems to be a Git LFS pointer"),
    ("a.safetensors", of_bytes(LFS), "seems to be a Git LFS pointer"),
    ("a.pth", of_bytes(b"<!DOCTYPE html>"), "a web page"),
    ("a.bin", of_bytes(b'{"weight_map": {}}'), "seems to be JSON text"),
    ("a.pth", of_bytes(gzip.compress(b"x")), "an archive .unpack it first"),
    ("a.tar", tarred, "an archive .unpack it first"),
    ("a.pkl", of_bytes(pickle.dumps([1])), "a pickle that torch.save did not write"),
    ("a.pth", lambda path: save_file(STATE, path), "a safetensors file .rename it"),
    ("a.safetensors", saved(STATE), "a PyTorch checkpoint .rename it"),
    ("a.safetensors", of_bytes(DEEP.to_bytes(8, "little") + b"[" * DEEP), "its header is broken"),
    ("a.safetensors", lambda path: save_file(STATE, path, {"label_names": "[" * DEEP}),
     "not a JSON list of names"),
    ("a.safetensors", lambda path: save_file({}, path), "holds no named tensors"),
    ("a.safetensors", lambda path: save_file({"x" * 9999: torch.ones(2), **BODY}, path),
     r"belong to another network, such as x{77}\.\.\."),
    ("a.safetensors", lambda path: save_file({"\x1b[1m": torch.ones(2)}, path), r"as \?\[1m"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "write", "text"), NOT_WEIGHTS)
def test_each_other_file_has_its_sentence(tmp_path, name, write, text):
    write(tmp_path / name)
    with pytest.raises(WeightsError, match=text) as raised:
        load_model(TINY, tmp_path / name)
    assert str(tmp_path) not in str(raised.value)
    assert str(raised.value).isprintable()


def test_a_wrong_checksum_is_damage(tmp_path):
    """torch itself would read the flipped bit as a weight."""
    path = tmp_path / "a.pth"
    torch.save(STATE, path)
    content = bytearray(path.read_bytes())
    content[content.index(FIRST.numpy().tobytes()[:16]) + 1] ^= 1
    path.write_bytes(content)
    assert not torch.equal(torch.load(path)["conv1.0.weight"], FIRST)
    with pytest.raises(WeightsError, match="damaged"):
        load_model(TINY, path)


@pytest.mark.parametrize(("beside", "names", "unnamed"), [
    ({}, [f"class {i}" for i in range(7)], "does not name its 7 classes, so they are numbered"),
    ({"classes": list("gfedcba")}, "gfedcba", ""),
    ({"hyper_parameters": {"label_names": tuple("abcdefg")}}, "abcdefg", ""),
    ({"class_to_idx": {name: i for i, name in enumerate("abcdefg")}}, "abcdefg", ""),
    ({"idx_to_class": dict(enumerate("abcdefg"))}, "abcdefg", ""),
    ({"classes": list("abc")}, [f"class {i}" for i in range(7)], "numbered"),
])  # fmt: skip
def test_a_head_of_another_size_names_its_classes_or_numbers_them(tmp_path, beside, names, unnamed):
    torch.save({"model": STATE, **beside}, tmp_path / "a.pth")
    loaded = load_model(TINY, tmp_path / "a.pth")
    assert loaded.labels.names == tuple(names)
    assert (unnamed in loaded.notices[1]) if unnamed else loaded.notices[1] == ""
    assert loaded.labels.numbered_in == (loaded.weights.sha256 if unnamed else "")
    assert equal(loaded)


def test_a_folder_names_the_classes_of_another_file_where_their_number_is_right(tmp_path):
    write_run(tmp_path / "run", classes=7, label_names=list("abcdefg"))
    torch.save(STATE, tmp_path / "a.pth")
    assert load_model(str(tmp_path / "run"), tmp_path / "a.pth").labels.names == tuple("abcdefg")
    write_run(tmp_path / "other", classes=2, label_names=["x", "y"])
    numbered = load_model(str(tmp_path / "other"), tmp_path / "a.pth")
    assert numbered.labels.names[6] == "class 6"
    assert equal(numbered)


@pytest.mark.parametrize(
    "head", [{}, {"fc.0.weight": torch.ones(4, 4), "fc.2.bias": torch.ones(9)}]
)
def test_a_file_without_a_classifier_gives_features(tmp_path, head):
    torch.save({"state_dict": BODY | head}, tmp_path / "a.pth")
    loaded = load_model(TINY, tmp_path / "a.pth")
    assert equal(loaded)
    assert not loaded.labels.names
    assert "has no classifier that fits" in loaded.notices[1]
    whole = seeded(TINY, num_classes=CLASSES)
    x = torch.randn(1, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted = whole.forward_head(whole.forward_features(x), pre_logits=True)
    torch.testing.assert_close(logits(loaded.model, x), wanted)


def test_predict_says_that_classes_are_numbered_and_what_was_left_out(tmp_path, photo, capsys):
    torch.save({"model": {**STATE, "total_ops": ONE}}, tmp_path / "a.pth")
    photo.save(tmp_path / "p.png")
    argv = ["predict", str(tmp_path / "p.png"), "--model", TINY, "--top-k", "7"]
    argv += ["--weights", str(tmp_path / "a.pth")]
    assert main(argv) == 0
    out, said = capsys.readouterr()
    assert "(model)" in out
    assert said.splitlines() == [
        "In a.pth what is beside the weights was left out: total_ops.",
        "a.pth does not name its 7 classes, so they are numbered.",
    ]
    assert main([*argv, "--json"]) == 0
    out, err = capsys.readouterr()
    (result,) = json.loads(out)["results"]
    assert {one["label"] for one in result["top"]} == {f"class {i}" for i in range(7)}
    assert (result["weights"]["source"], err) == ("a.pth (model)", said)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "make", "rename"), [
    ("regnetx_002", "regnet_x_400mf", {}),
    ("regnetx_004_tv", "regnet_x_400mf", {}),
    ("densenet121", "densenet121", {".norm1.": ".norm.1.", ".norm2.": ".norm.2.",
                                    ".conv1.": ".conv.1.", ".conv2.": ".conv.2."}),
    ("inception_v3", "inception_v3", {}),
])  # fmt: skip
def test_torchvision_files_give_torchvision_s_logits(tmp_path, name, make, rename):
    extra = {"init_weights": False} if make == "inception_v3" else {}
    torch.manual_seed(0)
    net = torchvision.models.get_model(make, weights=None, num_classes=5, **extra).eval()
    state = {key: value for key, value in net.state_dict().items()}
    for new, old in rename.items():
        state = {k.replace(new, old) if "denselayer" in k else k: v for k, v in state.items()}
    torch.save({"state_dict": under("model.", state)}, tmp_path / "a.pth")
    if name == "regnetx_002":  # of another width, so the conversion does not help
        with pytest.raises(WeightsError, match=r"does not fit regnetx_002.*instead of"):
            load_model(name, tmp_path / "a.pth")
        return
    loaded = load_model(name, tmp_path / "a.pth")
    x = torch.randn(1, *loaded.data_config["input_size"])
    torch.testing.assert_close(logits(loaded.model, x), logits(net, x), rtol=1e-4, atol=1e-4)


SMALL = {key: value for key, value in STATE.items() if not key.endswith("tracked")}
META = from_name(TINY).build(device="meta", classes=CLASSES)
BLUEPRINT: Any = types.SimpleNamespace(name=TINY, build=lambda **_: META)  # of one building
KEYS = st.text("abc_.model", min_size=1, max_size=6).filter(lambda key: key.strip("._"))
BESIDES = st.one_of(st.none(), st.integers(), st.text(), st.floats(), st.just(torch.ones(3)))
FUZZ = settings(
    max_examples=150, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip


def found_in(path):
    return fit(BLUEPRINT, read_checkpoint(path).tensors, path.name).tensors


@pytest.mark.slow
@FUZZ
@given(
    nest=st.lists(KEYS, max_size=5), prefix=st.lists(KEYS, max_size=3), zipped=st.booleans(),
    beside=st.dictionaries(KEYS, BESIDES, max_size=3), after=st.booleans(),
)  # fmt: skip
def test_any_nesting_and_any_prefix_load_equal(tmp_path, nest, prefix, zipped, beside, after):
    content = under("".join(f"{key}." for key in prefix), SMALL)
    for key in nest:
        others = {other: value for other, value in beside.items() if other != key}
        content = {key: content, **others} if after else {**others, key: content}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    found = found_in(tmp_path / "a.pth")
    assert found.keys() == SMALL.keys()
    assert all(torch.equal(found[key], SMALL[key]) for key in SMALL)


def _written(form):
    out = io.BytesIO()
    if form == "safetensors":
        import safetensors.torch

        return safetensors.torch.save(SMALL)
    torch.save({"model": SMALL, "at": pathlib.Path("x")}, out,
               _use_new_zipfile_serialization=form == "zip")  # fmt: skip
    return out.getvalue()


WRITTEN = {form: _written(form) for form in ("zip", "legacy", "safetensors")}


@pytest.mark.slow
@pytest.mark.parametrize("form", WRITTEN)
@settings(FUZZ, max_examples=250)
@given(
    at=st.floats(0, 1, exclude_max=True), new=st.binary(min_size=1, max_size=12),
    cut=st.integers(0, 3), near=st.booleans(),
)  # fmt: skip
@example(at=0.0, new=b"\xff" * 8, cut=0, near=True)
def test_changed_bytes_end_in_a_sentence_or_the_same_tensors(tmp_path, form, at, new, cut, near):
    """Only what a format checks can be told from what was meant: not the numbers themselves."""
    data = bytearray(WRITTEN[form])
    header = {"zip": len(data), "legacy": 20_000, "safetensors": 5_000}[form]
    place = int(at * header)
    if near and form == "zip":  # the pickle, or the directory at the end
        place = (
            data.index(b"data.pkl") + int(at * 8_000)
            if cut % 2
            else len(data) - int(at * 9_000) - 1
        )
    data[place : place + len(new)] = new[: len(data) - place]
    data = data[: len(data) - cut]
    path = tmp_path / ("a.safetensors" if form == "safetensors" else "a.pth")
    path.write_bytes(data)
    with contextlib.suppress(WeightsError):
        found = found_in(path)
        assert form != "zip" or all(torch.equal(found[key], SMALL[key]) for key in SMALL)
