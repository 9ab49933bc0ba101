"""Evaluation against a plain loop of timm's transform, PIL and NumPy."""

import json
import math
import multiprocessing
import os
import pickle
import signal
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform
from torch.utils.data import DataLoader

import mscnn.data.evaluation as evaluation_module
from mscnn.data.evaluation import evaluate, write_reliability
from mscnn.data.listing import list_photos
from mscnn.data.loading import Loading, Normalise, batches
from mscnn.data.tally import Tally
from mscnn.errors import DatasetError, DeviceError, OptionError

COUNTS = {"thing 0": 4, "3": 5, "thing_7": 2}
INDEX = {"thing 0": 0, "3": 3, "thing_7": 7}
HERE = Loading(batch_size=4, workers=0)


@pytest.fixture
def data(tmp_path, fill):
    fill(tmp_path / "data", COUNTS)
    return tmp_path / "data"


class Plain(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """What a user would write."""

    def __init__(self, root, config):
        self.files = sorted(root.rglob("*.png"))
        self.transform = create_transform(**config, is_training=False)

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        image = Image.open(self.files[index]).convert("RGB")
        return self.transform(image), INDEX[self.files[index].parent.name]


def plain_answers(network, root):
    loader = DataLoader(Plain(root, network.loaded.data_config), batch_size=3)
    with torch.inference_mode():
        rows = [(network.model(x), target) for x, target in loader]
    logits, targets = (torch.cat(column) for column in zip(*rows, strict=True))
    return logits.double().numpy(), targets.numpy()


@pytest.mark.parametrize("workers", [0, 2])
def test_accuracy_equals_a_plain_loop(network, data, workers):
    net = network("res2net", fresh=True)
    logits, targets = plain_answers(net, data)
    found = evaluate(net, data, loading=Loading(batch_size=4, workers=workers))

    order = np.argsort(-logits, axis=1)
    assert found.images == len(targets) == 11
    assert found.top1 == (order[:, 0] == targets).mean()
    assert found.top5 == (order[:, :5] == targets[:, None]).any(1).mean()
    at_once = Tally()
    at_once.add(torch.from_numpy(logits), torch.from_numpy(targets))
    assert found.ece == pytest.approx(at_once.ece(), abs=1e-6)
    assert found.classes == tuple(at_once.classes((0, 3, 7), "thing {}".format))
    assert found.confusion == dict(at_once.pairs)
    assert found.reliability["set"] == "data, all images"
    assert [b["right"] for b in found.reliability["bins"]] == [
        b["right"] for b in at_once.reliability("")["bins"]
    ]


def test_the_map_of_classes_is_stated_and_what_was_measured_before_is_kept(network, data, tmp_path):
    found = evaluate(network("resnet", fresh=True), data, loading=HERE)
    assert found.class_map == {n: (i, f"thing {i}") for n, i in INDEX.items()}
    assert [row.images for row in found.classes] == [4, 5, 2]
    path = tmp_path / "reliability.json"
    assert write_reliability(tmp_path, found) == ""  # some classes had no photograph
    assert not path.exists()
    whole = replace(found, known_classes=3)
    for _ in range(2):  # the same data again replaces it
        assert write_reliability(tmp_path, whole).startswith(f"written {path}")
    assert json.loads(path.read_text()) == found.reliability
    other = replace(whole, reliability={**found.reliability, "set": "other data"})
    line = write_reliability(tmp_path, other)
    assert line == f"kept {path}, which was measured on other photographs: data, all images"
    assert json.loads(path.read_text()) == found.reliability


def test_broken_files_are_listed_and_left_out(network, data):
    net = network("res2net", fresh=True)
    whole = evaluate(net, data, loading=HERE)
    (data / "3" / "01a.png").write_bytes((data / "3" / "00.png").read_bytes()[:100])
    (data / "thing 0" / "z.jpg").touch()
    found = evaluate(net, data, loading=HERE)
    assert [name for name, _ in found.unreadable] == ["3/01a.png", "thing 0/z.jpg"]
    assert all(reason.endswith(".") for _, reason in found.unreadable)
    assert (found.images, found.confusion) == (whole.images, whole.confusion)
    assert found.ece == pytest.approx(whole.ece, abs=1e-6)


def test_only_broken_files(network, tmp_path):
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "a.jpg").write_text("no picture")
    with pytest.raises(DatasetError, match=r"None of the 1 photographs.*'a.jpg'"):
        evaluate(network("resnet", fresh=True), tmp_path, loading=HERE)


def test_a_class_that_the_model_lacks(network, tmp_path, fill):
    fill(tmp_path, {"thing 1": 1, "unicorn": 1})
    with pytest.raises(DatasetError, match="'unicorn'"):
        evaluate(network("resnet"), tmp_path, loading=HERE)


def test_the_input_is_timms_to_the_last_bit(network, data):
    net = network("resnet")
    photos = list_photos(data)
    normalise = Normalise(net)
    plain = Plain(data, net.loaded.data_config)
    # sorted() orders whole paths, a walk the parts; names tell which is which.
    by_name = {file.relative_to(data).as_posix(): plain[i][0] for i, file in enumerate(plain.files)}
    for batch in batches(photos, net.preprocess, HERE, range(3)):
        for row, x in enumerate(normalise(batch.views)):
            assert torch.equal(x, by_name[photos.name(batch.first + row)])


def test_memory_does_not_grow_with_the_folder(network, tmp_path, fill, monkeypatch):
    fill(tmp_path, {"thing 1": 24})
    alive: list[weakref.ref[torch.Tensor]] = []
    most = 0

    def watched(*arguments, **options):
        nonlocal most
        for batch in batches(*arguments, **options):
            alive.append(weakref.ref(batch.views))
            most = max(most, sum(ref() is not None for ref in alive))
            yield batch

    monkeypatch.setattr(evaluation_module, "batches", watched)
    evaluate(network("resnet", fresh=True), tmp_path, loading=Loading(batch_size=2, workers=0))
    assert len(alive) == 12
    assert most <= 2


def test_progress_ends_at_the_total(network, data):
    steps: list[tuple[int, int]] = []
    evaluate(
        network("resnet", fresh=True), data, loading=HERE, on_progress=lambda *s: steps.append(s)
    )
    assert steps == [(4, 11), (8, 11), (11, 11)]


def test_the_model_is_left_as_it_was(network, data):
    net = network("resnet", fresh=True)
    before = net.predict(data / "3" / "00.png").logits
    evaluate(net, data, loading=HERE)
    assert all(p.is_contiguous() for p in net.model.parameters())
    assert not net.model.training
    np.testing.assert_array_equal(net.predict(data / "3" / "00.png").logits, before)


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"workers": -2}, {"workers": 10**6}])
def test_options_out_of_range(options):
    with pytest.raises(OptionError, match=str(next(iter(options.values())))):
        Loading(**options)


def test_what_loader_processes_need_can_be_pickled(network, data):
    """Systems without fork send it to them."""
    net = network("resnet")
    photos, preprocess = pickle.loads(pickle.dumps((list_photos(data), net.preprocess)))
    (batch,) = batches(photos, preprocess, Loading(batch_size=16, workers=0), [0])
    assert not math.isclose(float(batch.views.float().std()), 0)


def test_a_reader_that_is_killed_is_a_sentence(network, data):
    def kill_reader(done, total):
        (reader,) = multiprocessing.active_children()
        os.kill(reader.pid or 0, signal.SIGKILL)
        reader.join(30)

    with pytest.raises(DeviceError, match=r"decodes photographs was killed.*fewer --workers"):
        evaluate(
            network(fresh=True), data, loading=Loading(batch_size=4, workers=1),
            on_progress=kill_reader,
        )  # fmt: skip
