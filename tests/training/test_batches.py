import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mscnn.data.layouts import open_data
from mscnn.data.processes import Processes
from mscnn.errors import DatasetError, OptionError
from mscnn.training import batches as b
from mscnn.training.recipe import FINE_TUNING, Recipe

CPU = torch.device("cpu")
CONFIG = {"input_size": (3, 16, 16), "mean": (0.5,) * 3, "std": (0.25,) * 3, "crop_pct": 1.0,
          "interpolation": "bilinear", "crop_mode": "center"}  # fmt: skip


def test_a_sample_looks_the_same_wherever_it_is_read(folder):
    found = open_data(folder)
    transform = b.train_transform(16, Recipe(), CONFIG)
    first = b.PhotoDataset(found.train, transform, seed=3, epoch=1)
    again = b.PhotoDataset(found.train, transform, seed=3, epoch=1)
    for index in (5, 0, 5):  # the order of reading must not matter
        torch.rand(1)
        assert torch.equal(first[index][0], again[index][0])
    other_epoch = b.PhotoDataset(found.train, transform, seed=3, epoch=2)
    assert not torch.equal(first[5][0], other_epoch[5][0])


def test_zooming_out_shrinks_the_whole_photo_onto_a_plain_canvas():
    white = Image.new("RGB", (40, 40), "white")
    jitter = b.ScaleJitter(32, Recipe(zoom_out_prob=1.0, zoom_out=2.0), (0.0, 0.0, 0.0))
    shares = []
    for seed in range(40):
        random.seed(seed)
        torch.manual_seed(seed)
        out = np.asarray(jitter(white))
        assert out.shape == (32, 32, 3)
        shares.append((out[..., 0] > 200).mean())
    # By a factor of 1 to 2: a quarter to all of the area; the photo's own white canvas hides half.
    assert min(shares) >= 0.2
    assert 0.2 < np.mean([share < 0.95 for share in shares]) < 0.8
    # Without it the photo fills the view.
    jitter = b.ScaleJitter(32, Recipe(zoom_out_prob=0.0), (0.0, 0.0, 0.0))
    assert all(np.asarray(jitter(white)).min() == 255 for _ in range(10))


def test_the_order_visits_everything_once_and_skips_what_was_seen():
    whole = b.epoch_order(50, 1, 2, 5)
    assert sorted(whole) == list(range(50))
    assert b.epoch_order(50, 1, 2, 5, skip=20) == whole[20:]
    assert b.epoch_order(50, 1, 3, 5) != whole


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_processes_share_each_batch_and_take_no_image_twice(processes):
    batch, length, skip = 12, 50, 12
    alone = b.epoch_order(length, 1, 2, batch, skip=skip)
    assert alone == b.epoch_order(length, 1, 2, 1)[skip:48]  # 50 has 4 batches of 12
    shares = [
        b.epoch_order(length, 1, 2, batch, skip=skip, rank=rank, processes=processes)
        for rank in range(processes)
    ]
    share = batch // processes
    for step in range(3):
        together = [i for part in shares for i in part[step * share : (step + 1) * share]]
        assert together == alone[step * batch : (step + 1) * batch]


def test_randaugment_is_the_same_wherever_it_runs(folder):
    found = open_data(folder)
    recipe = Recipe(randaugment="rand-m9-n2-mstd0.5")
    dataset = b.PhotoDataset(found.train, b.train_transform(16, recipe, CONFIG), seed=3, epoch=1)
    plain = b.PhotoDataset(found.train, b.train_transform(16, Recipe(), CONFIG), seed=3, epoch=1)
    first = [dataset[i][0] for i in range(8)]
    np.random.seed(99)
    again = [dataset[i][0] for i in reversed(range(8))][::-1]
    assert all(map(torch.equal, first, again))
    assert not all(torch.equal(x, plain[i][0]) for i, x in enumerate(first))


def test_what_cannot_be_read_is_marked_with_its_place(folder):
    found = open_data(folder)
    path = Path(found.train.full_name(5))
    path.write_bytes(path.read_bytes()[:200])
    missing = torch.zeros(3, 16, 16, dtype=torch.uint8)
    dataset = b.PhotoDataset(found.train, b.train_transform(16, Recipe(), CONFIG), 0, 0, missing)
    x, target = dataset[5]
    assert target == -6
    assert torch.equal(x, missing)
    assert x.dtype == dataset[0][0].dtype


def test_the_parts_of_a_step_are_the_same_whoever_takes_them(folder):
    data = open_data(folder)
    recipe = Recipe(batch_size=12, workers=0, accumulate=4)
    whole = b.Batches(data, recipe, CONFIG, Processes(CPU)).training(1, 1)
    halves = [
        b.Batches(data, recipe.replaced(accumulate=2), CONFIG, Processes(CPU, rank, 2)).training(
            1, 1
        )
        for rank in (0, 1)
    ]
    for parts, *shares in zip(whole, *halves, strict=True):
        together = [part for share in shares for part in share]
        assert len(parts) == len(together) == 4
        for (x, target), (other_x, other_target) in zip(parts, together, strict=True):
            assert torch.equal(x, other_x)
            assert torch.equal(target, other_target)


def test_a_batch_is_normalised_as_each_photo_by_itself_would_be(folder):
    data, recipe = open_data(folder), Recipe(batch_size=12, workers=0)
    ((x, _),) = next(b.Batches(data, recipe, CONFIG, Processes(CPU)).training(1, 0))
    photos = b.PhotoDataset(data.train, b.train_transform(16, recipe, CONFIG), recipe.seed, 1)
    order = b.epoch_order(len(data.train), recipe.seed, 1, 12)
    for found, index in zip(x, order, strict=False):
        pixels = photos[index][0].numpy().astype(np.float64) / 255
        np.testing.assert_allclose(found.numpy(), (pixels - 0.5) / 0.25, atol=1e-6)


def test_each_validation_image_is_measured_by_one_process(folder):
    data = open_data(folder, val_share=0.4)
    targets = []
    for rank in range(3):
        batches = b.Batches(data, Recipe(batch_size=12, workers=0), CONFIG, Processes(CPU, rank, 3))
        targets.append([int(t) for _, target in batches.validation(0) for t in target])
    assert np.concatenate(targets).sum() == sum(index for _, index in data.val)
    assert [len(part) for part in targets] == [4, 4, 4]


@pytest.mark.parametrize(("changes", "processes", "error", "said"), [
    ({"batch_size": 64}, 1, DatasetError, "28 training images.*--batch-size"),
    ({"batch_size": 10}, 4, OptionError, "4 processes of 1 part.*multiple of 4"),
    ({"batch_size": 12, "accumulate": 3}, 3, OptionError, "multiple of 9"),
    ({"batch_size": 6, "mixup": 0.1}, 2, OptionError, "pairs.*has 3.*even multiple of 2"),
])  # fmt: skip
def test_a_batch_that_cannot_be_shared_is_refused(folder, changes, processes, error, said):
    with pytest.raises(error, match=said):
        b.Batches(open_data(folder), Recipe(**changes), CONFIG, Processes(CPU, 0, processes))


@pytest.mark.parametrize(("images", "processes", "changes", "batch"), [
    (40, 1, {}, 32), (32, 1, {}, 32), (31, 1, {}, 31), (31, 2, {}, 30),
    (31, 2, {"accumulate": 4}, 24), (31, 1, {"mixup": 0.2}, 30), (2, 1, {}, 2),
    (12, 1, {"accumulate": 8}, 32),  # parts of one: refused later, with a sentence
    (3, 2, {"accumulate": 4}, 32),  # so is what does not fit at all
])  # fmt: skip
def test_a_small_folder_gets_a_batch_that_it_fills(images, processes, changes, batch):
    recipe = FINE_TUNING.replaced(**changes)
    assert b.fitted(recipe, images, processes) == recipe.replaced(batch_size=batch)
