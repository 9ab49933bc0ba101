"""Feature files of whole folders: right, resumable after any kill, and shared by processes."""

import multiprocessing
import os
import signal
import socket
from pathlib import Path

import numpy as np
import pytest
import torch

from mscnn.data.evaluation import evaluate
from mscnn.data.extraction import extract
from mscnn.data.feature_files import read_feature_file
from mscnn.data.loading import Loading
from mscnn.data.part_files import part_folder
from mscnn.data.processes import sharing
from mscnn.errors import DatasetError, OutputError

HERE = Loading(batch_size=3, workers=0)
CAN_FORK = "fork" in multiprocessing.get_all_start_methods()
forked = pytest.mark.skipif(not CAN_FORK, reason="starts processes by fork")


@pytest.fixture
def data(tmp_path, fill):
    fill(tmp_path / "data", {"thing 0": 5, "thing 3/deep": 4, "thing 5": 5})
    (tmp_path / "data" / "thing 3" / "bad.png").write_bytes(b"no picture")
    return tmp_path / "data"


def in_child(work, environment=None):
    """Start ``work`` in a copy of this process, which loads nothing again."""

    def run():
        os.environ.update(environment or {})
        work()

    child = multiprocessing.get_context("fork").Process(target=run, daemon=True)
    child.start()
    return child


@pytest.mark.parametrize(("stage", "split"), [(None, None), ("layer2", None), ("layer3.1", 2)])
def test_a_file_holds_what_single_photos_give(network, data, tmp_path, stage, split):
    net = network("res2net", fresh=True)
    found = extract(net, data, tmp_path / "f.npz", stage=stage, split=split, loading=HERE)
    file = read_feature_file(tmp_path / "f.npz")
    names = sorted(
        (p.relative_to(data).as_posix() for p in data.rglob("*.png") if p.name != "bad.png"),
        key=lambda name: name.split("/"),
    )
    assert file.paths == tuple(names)
    expected = net.features([data / name for name in names], stage=stage, split=split)
    # Batches of another size differ by float32's noise.
    noise = 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(file.features, expected, rtol=0, atol=noise)
    assert [name for name, _ in found.unreadable] == list(file.head.unreadable)
    assert file.head.unreadable == ("thing 3/bad.png",)
    assert found.not_used is None
    assert (file.head.stage, file.head.split) == (stage or "", "" if split is None else str(split))
    assert file.head.preparation["crop_pct"] == net.loaded.data_config["crop_pct"]
    assert (file.head.model, file.head.weights_sha256) == ("tiny_res2net", "0" * 64)
    assert (found.images, found.width, found.computed) == (14, expected.shape[1], 15)
    assert not part_folder(tmp_path / "f.npz").exists()


def test_names_of_any_bytes_fit_into_every_format(network, data, tmp_path):
    try:
        (data / "thing 0" / "00.png").rename(data / "thing 0" / "a\udcff.png")
    except OSError:
        pytest.skip("this file system wants UTF-8")
    for suffix in (".npz", ".safetensors"):
        extract(network("resnet", fresh=True), data, tmp_path / f"f{suffix}", loading=HERE)
        assert "thing 0/a\\udcff.png" in read_feature_file(tmp_path / f"f{suffix}").paths


def test_loader_processes_give_the_same_bytes(network, data, tmp_path):
    net = network("resnet", fresh=True)
    extract(net, data, tmp_path / "a.npz", loading=HERE)
    extract(net, data, tmp_path / "b.npz", loading=Loading(batch_size=3, workers=2))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@forked
@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_killed_in_the_middle_and_again_while_it_is_put_together(
    network, data, tmp_path, suffix, monkeypatch
):
    net = network("res2net", fresh=True)
    extract(net, data, tmp_path / f"whole{suffix}", loading=HERE)
    out = tmp_path / f"killed{suffix}"

    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    def at_the_third_batch(done, total):
        if done >= 9:
            die()

    def in_the_end():
        monkeypatch.setattr(Path, "replace", die)
        extract(net, data, out, loading=HERE)

    for work in (
        lambda: extract(net, data, out, loading=HERE, on_progress=at_the_third_batch),
        in_the_end,
    ):
        child = in_child(work)
        child.join(60)
        assert child.exitcode == -signal.SIGKILL
        assert not out.exists()
        assert part_folder(out).is_dir()
    found = extract(net, data, out, loading=HERE)
    assert found.computed == 0  # all was done; the second run did the batches that were left
    assert out.read_bytes() == (tmp_path / f"whole{suffix}").read_bytes()
    assert [name for name, _ in found.unreadable] == ["thing 3/bad.png"]


@forked
def test_only_what_is_left_is_computed(network, data, tmp_path):
    net = network("resnet", fresh=True)

    def stop(done, total):
        if done >= 6:
            os._exit(3)

    child = in_child(lambda: extract(net, data, tmp_path / "f.npz", loading=HERE, on_progress=stop))
    child.join(60)
    steps: list[tuple[int, int]] = []
    found = extract(
        net, data, tmp_path / "f.npz", loading=HERE, on_progress=lambda *s: steps.append(s)
    )
    assert found.computed == 9
    assert steps == [(9, 15), (12, 15), (15, 15)]


def test_other_settings_do_not_go_on(network, data, tmp_path):
    net = network("resnet", fresh=True)
    out = tmp_path / "f.npz"

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(net, data, out, loading=HERE, on_progress=stop)
    with pytest.raises(OutputError, match="stage"):
        extract(net, data, out, stage="layer2", loading=HERE)
    with pytest.raises(OutputError, match=r"\(preparation\)"):
        extract(network("resnet", fresh=True, crop_pct=0.5), data, out, loading=HERE)
    extract(net, data, out, stage="layer2", loading=HERE, restart=True)
    assert read_feature_file(out).head.stage == "layer2"


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


@forked
def test_two_processes_give_what_one_gives(network, data, tmp_path):
    """With torch's own process group, as torchrun sets it up."""
    net = network("res2net", fresh=True)
    extract(net, data, tmp_path / "one.npz", loading=HERE)
    alone = evaluate(net, data, loading=HERE)

    def work():
        with sharing(torch.device("cpu")) as processes:
            extract(net, data, tmp_path / "two.npz", loading=HERE, processes=processes)
            found = evaluate(net, data, loading=HERE, processes=processes)
        same = (found.images, found.confusion, found.unreadable, found.top5) == (
            alone.images, alone.confusion, alone.unreadable, alone.top5,
        ) and abs(found.ece - alone.ece) < 1e-9  # fmt: skip
        os._exit(0 if same else 4)

    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    children = [
        in_child(work, {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in (0, 1)
    ]
    for child in children:
        child.join(60)
    codes = [child.exitcode for child in children]
    for child in children:
        child.kill()
    assert codes == [0, 0]
    assert (tmp_path / "two.npz").read_bytes() == (tmp_path / "one.npz").read_bytes()


def test_nothing_to_read(network, tmp_path):
    net = network("resnet", fresh=True)
    with pytest.raises(DatasetError, match="no folder"):
        extract(net, tmp_path / "no", tmp_path / "f.npz", loading=HERE)
    (tmp_path / "data").mkdir()
    with pytest.raises(DatasetError, match="no photograph"):
        extract(net, tmp_path / "data", tmp_path / "f.npz", loading=HERE)
    (tmp_path / "data" / "a.png").touch()
    with pytest.raises(DatasetError, match="None of the 1"):
        extract(net, tmp_path / "data", tmp_path / "f.npz", loading=HERE)
    assert not part_folder(tmp_path / "f.npz").exists()
    assert not (tmp_path / "f.npz").exists()


def test_files_that_are_no_photographs_are_counted_by_reason(network, data, tmp_path):
    (data / "thing 0" / "notes.txt").touch()
    net = network("resnet", fresh=True)
    for found in (extract(net, data, tmp_path / "f.npz", loading=HERE),
                  evaluate(net, data, loading=HERE)):  # fmt: skip
        assert found.not_used is not None
        ((why, names),) = found.not_used.items()
        assert names == ["thing 0/notes.txt"]
        assert f"1 not used ({why}): 'thing 0/notes.txt'." in found.notices
