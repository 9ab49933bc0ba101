"""Two processes train like one that cuts its batches in two."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mscnn.data.processes import Processes, join_processes
from mscnn.errors import DatasetError, OptionError
from mscnn.training.batches import Batches
from mscnn.training.dataset import find_images
from mscnn.training.loop import Trainer
from mscnn.training.recipe import Recipe

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]
CONFIG = {"input_size": (3, 16, 16), "mean": (0.5,) * 3, "std": (0.2,) * 3, "crop_pct": 1.0,
          "interpolation": "bilinear", "crop_mode": "center"}  # fmt: skip


def history(out):
    with (out / "history.csv").open() as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


@pytest.mark.slow
def test_two_processes_arrive_where_one_does(folder, tmp_path):
    recipe = Recipe(
        epochs=2, batch_size=8, lr=0.01, opt="sgd", schedule="cosine", ema=0.5, mixup=0.2,
        randaugment="rand-m9-n2", sizes=((32, 2),), workers=0, threads=1,
    )  # fmt: skip
    options = [
        "--epochs", "2", "--batch-size", "8", "--lr", "0.01", "--opt", "sgd", "--schedule",
        "cosine", "--ema", "0.5", "--mixup", "0.2", "--randaugment", "rand-m9-n2", "--sizes",
        "32:2", "--warmup-epochs", "0.5", "--workers", "0", "--threads", "1",
    ]  # fmt: skip
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
            "-m", "mscnn", "train", str(folder), "--model", "starter_resnet",
            "--out", str(tmp_path / "two"), "--device", "cpu", *options,
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("top-1") == 1  # one voice
    alone = Trainer(
        "starter_resnet", find_images(folder), tmp_path / "one",
        recipe.replaced(accumulate=2), CPU,
    )  # fmt: skip
    result = alone.run()
    for two, one in zip(history(tmp_path / "two"), history(tmp_path / "one"), strict=True):
        for key in ("train_loss", "val_loss", "val_top1"):
            assert two[key] == pytest.approx(one[key], rel=1e-4), key
    assert f"top-1 {result.top1:.4f}" in done.stdout
    states = [load_file(tmp_path / name / "model.safetensors") for name in ("one", "two")]
    for name, value in states[0].items():
        if value.is_floating_point():
            torch.testing.assert_close(states[1][name], value, rtol=1e-3, atol=1e-5, msg=name)


def test_the_parts_of_a_step_are_the_same_whoever_takes_them(folder):
    data = find_images(folder)
    recipe = Recipe(batch_size=12, workers=0, accumulate=4)
    whole = Batches(data, recipe, CONFIG, Processes(CPU)).training(1, 1)
    halves = [
        Batches(data, recipe.replaced(accumulate=2), CONFIG, Processes(CPU, rank, 2)).training(1, 1)
        for rank in (0, 1)
    ]
    for parts, *shares in zip(whole, *halves, strict=True):
        together = [part for share in shares for part in share]
        assert len(parts) == len(together) == 4
        for (x, target), (other_x, other_target) in zip(parts, together, strict=True):
            assert torch.equal(x, other_x)
            assert torch.equal(target, other_target)


def test_each_validation_image_is_measured_by_one_process(folder):
    data = find_images(folder, val_share=0.4)
    targets = []
    for rank in range(3):
        batches = Batches(data, Recipe(batch_size=12, workers=0), CONFIG, Processes(CPU, rank, 3))
        targets.append([int(t) for _, target in batches.validation(0) for t in target])
    assert np.concatenate(targets).sum() == sum(index for _, index in data.val)
    assert [len(part) for part in targets] == [4, 4, 4]


@pytest.mark.parametrize(
    ("changes", "processes", "error", "said"),
    [
        ({"batch_size": 64}, 1, DatasetError, "28 training images.*--batch-size"),
        ({"batch_size": 10}, 4, OptionError, "4 processes of 1 part.*multiple of 4"),
        ({"batch_size": 12, "accumulate": 3}, 3, OptionError, "multiple of 9"),
        ({"batch_size": 6, "mixup": 0.1}, 2, OptionError, "pairs.*has 3.*even multiple of 2"),
    ],
)
def test_a_batch_that_cannot_be_shared_is_refused(folder, changes, processes, error, said):
    with pytest.raises(error, match=said):
        Batches(find_images(folder), Recipe(**changes), CONFIG, Processes(CPU, 0, processes))


def test_alone_nothing_is_joined(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert join_processes(CPU) == Processes(CPU, 0, 1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(OptionError, match="mps"):
        join_processes(torch.device("mps"))
