"""Two processes train like one that cuts its batches in two."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mscnn.data.layouts import open_data
from mscnn.data.processes import Processes, sharing
from mscnn.errors import DeviceError, OptionError
from mscnn.training.loop import Trainer
from mscnn.training.recipe import Recipe

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]


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
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("top-1") == 1  # one voice
    alone = Trainer(
        "starter_resnet", open_data(folder), tmp_path / "one", recipe.replaced(accumulate=2), CPU
    )
    result = alone.run()
    for two, one in zip(history(tmp_path / "two"), history(tmp_path / "one"), strict=True):
        for key in ("train_loss", "val_loss", "val_top1"):
            assert two[key] == pytest.approx(one[key], rel=1e-4), key
    assert f"top-1 {result.top1:.4f}" in done.stdout
    measured = [json.loads((tmp_path / n / "reliability.json").read_text()) for n in ("one", "two")]
    assert [m["images"] for m in measured] == [result.images] * 2
    assert [[b["right"] for b in m["bins"]] for m in measured] == [
        [b["right"] for b in measured[0]["bins"]]
    ] * 2
    states = [load_file(tmp_path / name / "model.safetensors") for name in ("one", "two")]
    for name, value in states[0].items():
        if value.is_floating_point():
            torch.testing.assert_close(states[1][name], value, rtol=1e-3, atol=1e-5, msg=name)


def test_alone_nothing_is_joined(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with sharing(CPU) as processes:
        assert processes == Processes(CPU, 0, 1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(OptionError, match="mps"), sharing(torch.device("mps")):
        pass


def test_each_process_needs_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(DeviceError, match="GPU"), sharing(torch.device("cuda")):
        pass
