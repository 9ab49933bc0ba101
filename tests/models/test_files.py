from __future__ import annotations

import argparse
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from mscnn.errors import WeightsError
from mscnn.models.files import sha256_of
from mscnn.models.loading import read_checkpoint

TENSORS = {
    "conv.weight": torch.arange(24, dtype=torch.float32).reshape(2, 3, 2, 2),
    "bn.num_batches_tracked": torch.tensor(7),
}

LARGE = {"w": torch.zeros(5000)}


class Evil:
    """A pickle of this runs code that makes the marker file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (f"open({str(self.marker)!r}, 'w').close()",)


def prefixed(prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + key: value for key, value in TENSORS.items()}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.pth", TENSORS),
        ("a.PT", TENSORS),
        ("a.bin", prefixed("module.")),
        ("a.pth", prefixed("_orig_mod.module.")),
        ("a.pth.tar", {"state_dict": prefixed("module."), "epoch": 3, "arch": "resnet18"}),
        ("a.pth", {"model": TENSORS, "args": argparse.Namespace(lr=0.1)}),
        ("a.pth", {"state_dict": {"conv.weight": torch.zeros(1)}, "state_dict_ema": TENSORS}),
        ("a.pth", {**TENSORS, "epoch": 3}),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_forms(tmp_path: Path, name: str, content: Any, zipped: bool) -> None:
    torch.save(content, tmp_path / name, _use_new_zipfile_serialization=zipped)
    tensors, _ = read_checkpoint(tmp_path / name)
    assert set(tensors) == set(TENSORS)
    for key, value in TENSORS.items():
        assert torch.equal(tensors[key], value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_every_float_becomes_float32(tmp_path: Path, dtype: torch.dtype, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    stored = {key: v.to(dtype) if v.is_floating_point() else v for key, v in TENSORS.items()}
    if suffix == ".pth":
        torch.save(stored, path)
    else:
        save_file(stored, path, metadata={"label_names": "[]"})
    tensors, metadata = read_checkpoint(path)
    assert tensors["conv.weight"].dtype == torch.float32
    assert torch.equal(tensors["conv.weight"], TENSORS["conv.weight"])
    assert tensors["bn.num_batches_tracked"].dtype == torch.int64
    assert metadata == ({"label_names": "[]"} if suffix == ".safetensors" else {})


def _truncated(write: Callable[[Path], object]) -> Callable[[Path], object]:
    def half(path: Path) -> None:
        write(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return half


def _safetensors(path: Path) -> None:
    save_file({"w": torch.zeros(1000)}, path)


def _swapped_header(path: Path) -> None:
    head = json.dumps({"w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head + bytes(8))


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
    (
        "a.safetensors",
        lambda p: p.write_bytes((1 << 40).to_bytes(8, "little") + b"{}"),
        "header is broken",
    ),
    (
        "a.safetensors",
        lambda p: p.write_bytes((5000).to_bytes(8, "little") + b"{"),
        "ends inside its header",
    ),
    (
        "a.safetensors",
        lambda p: p.write_bytes((4).to_bytes(8, "little") + b"oops"),
        "header is broken",
    ),
    ("a.safetensors", lambda p: p.write_bytes(b"abc"), "header is broken"),
    ("a.safetensors", lambda p: torch.save(TENSORS, p), "header is broken"),
    ("a.safetensors", _swapped_header, "damaged"),
]


@pytest.mark.parametrize(("name", "write", "text"), BAD_FILES)
def test_bad_file(tmp_path: Path, name: str, write: Callable[[Path], object], text: str) -> None:
    write(tmp_path / name)
    with pytest.raises(WeightsError, match=text) as raised:
        read_checkpoint(tmp_path / name)
    assert str(tmp_path) not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_permission_denied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.pth"
    torch.save(TENSORS, path)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    # The test may run as root, whom no mode bits stop.
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(WeightsError, match=r"a\.pth may not be read: permission denied\."):
        read_checkpoint(path)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("nested", [True, False])
def test_malicious_pickle_is_refused_unrun(tmp_path: Path, zipped: bool, nested: bool) -> None:
    marker, path = tmp_path / "owned", tmp_path / "a.pth"
    evil = {"state_dict": {**TENSORS, "x": Evil(marker)}} if nested else Evil(marker)
    torch.save(evil, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match="refused without running"):
        read_checkpoint(path)
    assert not marker.exists()
    # The file is a live one: an ordinary reader is caught by it.
    torch.load(path, weights_only=False)
    assert marker.exists()


def test_bare_malicious_pickle(tmp_path: Path) -> None:
    marker, path = tmp_path / "owned", tmp_path / "a.bin"
    path.write_bytes(pickle.dumps(Evil(marker)))
    with pytest.raises(WeightsError):
        read_checkpoint(path)
    assert not marker.exists()


def test_sha256_follows_the_content(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1.
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(path) == digest
    path.write_bytes(b"abcd")
    assert sha256_of(path) != digest
