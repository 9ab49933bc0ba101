from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from mscnn.errors import DatasetError
from mscnn.training.dataset import (
    EpochSampler,
    PhotoDataset,
    ScaleJitter,
    find_images,
    train_transform,
)
from mscnn.training.recipe import Recipe
from tests.training.conftest import draw

CONFIG = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}


def test_one_folder_per_class_holds_out_a_tenth_of_each(folder):
    found = find_images(folder)
    assert found.names == ("blue", "red")
    assert Counter(i for _, i in found.val) == {0: 2, 1: 2}
    assert Counter(i for _, i in found.train) == {0: 14, 1: 14}
    assert not {p for p, _ in found.val} & {p for p, _ in found.train}
    assert all(path.parent.name == found.names[i] for path, i in found.train + found.val)


def test_what_is_held_out_depends_on_the_seed_alone(folder):
    assert find_images(folder).val == find_images(folder).val
    assert find_images(folder, seed=1).val != find_images(folder).val


def test_a_given_split_is_used(folder, tmp_path):
    root = tmp_path / "split"
    (root / "train").mkdir(parents=True)
    (root / "val" / "red").mkdir(parents=True)
    for name in ("red", "blue"):
        (folder / name).rename(root / "train" / name)
    draw(0, 99).save(root / "val" / "red" / "x.png")
    found = find_images(root)
    assert [(p.name, i) for p, i in found.val] == [("x.png", 1)]
    assert len(found.train) == 32


def test_tiny_imagenets_layout_and_names(tmp_path):
    wnids = ("n02123045", "n01443537")  # tabby, goldfish
    for wnid in wnids:
        (tmp_path / "train" / wnid / "images").mkdir(parents=True)
        draw(0, 1).save(tmp_path / "train" / wnid / "images" / f"{wnid}_0.JPEG")
    (tmp_path / "wnids.txt").write_text("\n".join(wnids))
    (tmp_path / "val" / "images").mkdir(parents=True)
    rows = ["val_0.JPEG\tn02123045\t0\t0\t9\t9", "val_1.JPEG\tn99999999\t0\t0\t9\t9"]
    (tmp_path / "val" / "val_annotations.txt").write_text("\n".join(rows) + "\n")
    found = find_images(tmp_path)
    assert [name.split(",")[0] for name in found.names] == ["goldfish", "tabby"]
    assert [(p.name, i) for p, i in found.val] == [("val_0.JPEG", 1)]
    assert [(p.name, i) for p, i in found.train] == [
        ("n01443537_0.JPEG", 0),
        ("n02123045_0.JPEG", 1),
    ]


@pytest.mark.parametrize("make", ["absent", "empty", "one class", "no pictures"])
def test_a_useless_folder_says_what_was_found(make, tmp_path):
    root = tmp_path / "data"
    if make != "absent":
        root.mkdir()
    if make == "one class":
        (root / "cat").mkdir()
        draw(0, 1).save(root / "cat" / "1.png")
    if make == "no pictures":
        for name in ("cat", "dog"):
            (root / name).mkdir()
            (root / name / "notes.txt").write_text("x")
    with pytest.raises(DatasetError, match="folder"):
        find_images(root)


def test_a_sample_looks_the_same_wherever_it_is_read(folder):
    found = find_images(folder)
    transform = train_transform(16, Recipe(), CONFIG)
    first = PhotoDataset(found.train, transform, seed=3, epoch=1)
    again = PhotoDataset(found.train, transform, seed=3, epoch=1)
    for index in (5, 0, 5):  # the order of reading must not matter
        torch.rand(1)
        assert torch.equal(first[index][0], again[index][0])
    other_epoch = PhotoDataset(found.train, transform, seed=3, epoch=2)
    assert not torch.equal(first[5][0], other_epoch[5][0])


def test_zooming_out_shrinks_the_whole_photo_onto_a_plain_canvas():
    white = Image.new("RGB", (40, 40), "white")
    jitter = ScaleJitter(32, Recipe(zoom_out_prob=1.0, zoom_out=2.0), (0.0, 0.0, 0.0))
    shares = []
    for seed in range(40):
        import random

        random.seed(seed)
        torch.manual_seed(seed)
        out = np.asarray(jitter(white))
        assert out.shape == (32, 32, 3)
        shares.append((out[..., 0] > 200).mean())
    # By a factor of 1 to 2: a quarter to all of the area; the photo's own white canvas hides half.
    assert min(shares) >= 0.2
    assert 0.2 < np.mean([share < 0.95 for share in shares]) < 0.8


def test_without_zooming_out_the_photo_fills_the_view():
    white = Image.new("RGB", (40, 40), "white")
    jitter = ScaleJitter(32, Recipe(zoom_out_prob=0.0), (0.0, 0.0, 0.0))
    assert all(np.asarray(jitter(white)).min() == 255 for _ in range(10))


def test_the_sampler_visits_everything_once_and_skips_what_was_seen():
    whole = list(EpochSampler(50, seed=1, epoch=2))
    assert sorted(whole) == list(range(50))
    assert list(EpochSampler(50, seed=1, epoch=2, skip=20)) == whole[20:]
    assert list(EpochSampler(50, seed=1, epoch=3)) != whole
    assert len(EpochSampler(50, seed=1, epoch=2, skip=20)) == 30


@pytest.mark.parametrize(("processes", "accumulate"), [(1, 2), (2, 1), (3, 2)])
def test_processes_share_each_batch_and_take_no_image_twice(processes, accumulate):
    batch, length, skip = 12, 50, 12
    alone = list(EpochSampler(length, seed=1, epoch=2, skip=skip, batch=batch))
    assert alone == list(EpochSampler(length, seed=1, epoch=2))[skip:48]  # 50 has 4 batches of 12
    shares = [
        list(
            EpochSampler(
                length, seed=1, epoch=2, skip=skip, batch=batch, rank=rank, processes=processes
            )
        )
        for rank in range(processes)
    ]
    share = batch // processes
    for step in range(3):
        together = [i for part in shares for i in part[step * share : (step + 1) * share]]
        assert together == alone[step * batch : (step + 1) * batch]
    sampler = EpochSampler(length, 1, 2, skip, batch=batch, rank=0, processes=processes)
    assert len(sampler) == len(shares[0])


def test_randaugment_is_the_same_wherever_it_runs(folder):
    found = find_images(folder)
    recipe = Recipe(randaugment="rand-m9-n2-mstd0.5")
    dataset = PhotoDataset(found.train, train_transform(16, recipe, CONFIG), seed=3, epoch=1)
    plain = PhotoDataset(found.train, train_transform(16, Recipe(), CONFIG), seed=3, epoch=1)
    first = [dataset[i][0] for i in range(8)]
    np.random.seed(99)
    again = [dataset[i][0] for i in reversed(range(8))][::-1]
    assert all(map(torch.equal, first, again))
    assert not all(torch.equal(x, plain[i][0]) for i, x in enumerate(first))


def test_what_cannot_be_read_is_marked_with_its_place(folder):
    found = find_images(folder)
    path = found.train[5][0]
    path.write_bytes(path.read_bytes()[:200])
    dataset = PhotoDataset(found.train, train_transform(16, Recipe(), CONFIG), 0, 0, (16, 16))
    x, target = dataset[5]
    assert target == -6
    assert torch.equal(x, torch.zeros(3, 16, 16))
