"""Feature files, read back by other packages than those that wrote them."""

import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

import mscnn.data.feature_files as module
from mscnn.data import feature_files
from mscnn.errors import DatasetError, OptionError, OutputError
from mscnn.results.features import FeatureHead

ROWS = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
NAMES = ["a/1.png", "ü.jpg", *(f"{'x' * i}.png" for i in range(5))]
HEAD = FeatureHead(
    rows=7, width=3, model="resnet50", weights_sha256="ab" * 32, stage="layer3.1", split="2",
    unreadable=("b/bad.png", "b/wörse.png"), preparation={"crop_pct": 0.95, "mean": [0.5] * 3},
)  # fmt: skip


def write(path):
    feature_files.write_feature_file(path, HEAD, NAMES, ROWS)
    return path


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".parquet"])
def test_round_trip(tmp_path, suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    found = feature_files.read_feature_file(write(tmp_path / f"f{suffix}"))
    np.testing.assert_array_equal(found.features, ROWS)
    assert found.features.dtype == np.float32
    assert (found.paths, found.head) == (tuple(NAMES), HEAD)


def test_a_file_of_an_earlier_version_does_not_say_how_photos_were_prepared(tmp_path):
    with np.load(write(tmp_path / "f.npz")) as archive:
        older = {key: archive[key] for key in archive if key != "preparation"}
    np.savez(tmp_path / "older.npz", **older)
    assert feature_files.read_feature_file(tmp_path / "older.npz").head.preparation == {}


def test_numpy_reads_npz(tmp_path):
    with np.load(write(tmp_path / "f.npz")) as archive:
        told = {"model", "weights_sha256", "stage", "split", "preparation", "unreadable"}
        assert {*archive} == {"features", "paths", *told}
        np.testing.assert_array_equal(archive["features"], ROWS)
        assert archive["paths"].tolist() == NAMES
        assert str(archive["model"]) == "resnet50"


def test_safetensors_reads_safetensors(tmp_path):
    path = write(tmp_path / "f.safetensors")
    tensors = load_file(path)
    np.testing.assert_array_equal(tensors["features"], ROWS)
    assert bytes(tensors["paths"]).decode().split("\0") == NAMES
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    assert json.loads(metadata["unreadable"]) == list(HEAD.unreadable)
    assert metadata["stage"] == "layer3.1"


def test_pyarrow_reads_parquet_in_groups(tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(module, "_ROW_GROUP", 3)
    file = parquet.ParquetFile(write(tmp_path / "f.parquet"))
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [3, 3, 1]
    table = file.read()
    assert table.column("path").to_pylist() == NAMES
    np.testing.assert_array_equal(np.array(table.column("features").to_pylist(), np.float32), ROWS)
    assert table.schema.metadata[b"model"] == b"resnet50"


def test_parquet_without_its_package(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(OptionError, match="pip install pyarrow"):
        feature_files.check_format(tmp_path / "f.parquet")


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_the_same_bytes_whenever_written(tmp_path, suffix, monkeypatch):
    first = write(tmp_path / f"f{suffix}").read_bytes()
    monkeypatch.setattr("time.time", lambda: 2e9)
    monkeypatch.setattr("time.localtime", lambda *_: (2033, 5, 18, 3, 33, 20, 2, 138, 0))
    assert write(tmp_path / f"g{suffix}").read_bytes() == first


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_what_is_no_feature_file(tmp_path, suffix):
    path = tmp_path / f"f{suffix}"
    with pytest.raises(DatasetError, match="not there"):
        feature_files.read_feature_file(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(DatasetError, match="no feature file"):
        feature_files.read_feature_file(path)


def test_refusals_before_any_work(tmp_path):
    with pytest.raises(OptionError, match=r"\.npz, \.parquet or \.safetensors"):
        feature_files.check_format(tmp_path / "f.csv")
    (tmp_path / "d.npz").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        feature_files.check_writable(tmp_path / "d.npz")
    with pytest.raises(OutputError, match="no folder"):
        feature_files.check_writable(tmp_path / "no" / "f.npz")
