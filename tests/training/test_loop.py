import json

import numpy as np
import pytest
import timm
import torch

from mscnn.data.layouts import open_data
from mscnn.errors import OptionError, TrainingError
from mscnn.models.loading import load_model
from mscnn.training.loop import Trainer
from mscnn.training.start import RunPlan, start_training
from mscnn.training.state import CHECKPOINT

CPU = torch.device("cpu")
ARCHITECTURE = "trainee"


def train(folder, out, recipe):
    trainer = Trainer(ARCHITECTURE, open_data(folder), out, recipe, CPU)
    trainer.run()
    return trainer


def test_a_run_leaves_all_its_files_and_learns(folder, recipe, tmp_path):
    out = tmp_path / "run"
    result = start_training(RunPlan(folder, ARCHITECTURE, out, recipe(epochs=6), "cpu"))
    assert result.images == 4
    assert result.top1 == 1.0
    assert {path.name for path in out.iterdir()} == {
        "README.md", "checkpoint.pt", "classes.csv", "classes.png", "config.json",
        "confusion.csv", "confusion.png", "curves.png", "history.csv", "model.safetensors",
        "reliability.json", "training.json",
    }  # fmt: skip
    facts = json.loads((out / "training.json").read_text())
    assert (facts["top1"], facts["val_images"], facts["model"]) == (1.0, 4, ARCHITECTURE)
    rows = np.genfromtxt(out / "history.csv", delimiter=",", names=True)
    assert rows["epoch"].tolist() == [1, 2, 3, 4, 5, 6]
    assert rows["train_loss"][-1] < rows["train_loss"][0]


def test_timm_and_our_loader_open_the_folder(folder, recipe, tmp_path):
    out = tmp_path / "run"
    trainer = train(folder, out, recipe(epochs=1))
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    expected = trainer.ema.module.eval()(x)
    by_timm = timm.create_model(f"local-dir:{out}", pretrained=True).eval()(x)
    loaded = load_model(str(out))
    torch.testing.assert_close(by_timm, expected)
    torch.testing.assert_close(loaded.model(x), expected)
    assert loaded.labels.names == ("blue", "red")


def test_another_seed_gives_other_weights(folder, recipe, tmp_path):
    first = train(folder, tmp_path / "a", recipe(epochs=1))
    second = train(folder, tmp_path / "b", recipe(epochs=1, seed=1))
    assert not torch.equal(first.model.fc.weight, second.model.fc.weight)


def test_growing_sizes_reach_the_model(folder, recipe, tmp_path):
    trainer = Trainer(
        ARCHITECTURE, open_data(folder), tmp_path, recipe(sizes=((16, 1), (32, 1))), CPU
    )
    seen = []
    hook = trainer.model.register_forward_pre_hook(
        lambda module, args: seen.append(args[0].shape[-1]) if module.training else None
    )
    trainer.run()
    hook.remove()
    assert seen == [16] * 4 + [32] * 4


def test_epochs_are_measured_as_they_were_trained_and_the_result_in_float32(
    folder, recipe, tmp_path
):
    trainer = Trainer(ARCHITECTURE, open_data(folder), tmp_path, recipe(epochs=2, amp="bf16"), CPU)
    seen = []
    trainer.ema.module.conv1.register_forward_hook(lambda *given: seen.append(given[2].dtype))
    trainer.run()
    assert seen == [torch.bfloat16, torch.bfloat16, torch.float32]


def test_a_run_is_not_overwritten_by_accident(folder, recipe, tmp_path):
    out = tmp_path / "run"
    train(folder, out, recipe(epochs=1))
    with pytest.raises(TrainingError, match="--resume"):
        start_training(RunPlan(folder, ARCHITECTURE, out, recipe(epochs=1), "cpu"))


@pytest.mark.parametrize(
    ("changes", "named"), [
        ({"opt": "nope"}, "--opt"), ({"opt": "fusedsgd"}, "--opt"),
        ({"opt": "adahessian"}, "--opt"), ({"warmup_epochs": 2.0}, "--warmup-epochs"),
    ],
)  # fmt: skip
def test_options_that_timm_refuses_are_named(folder, recipe, tmp_path, changes, named):
    with pytest.raises(OptionError, match=named):
        Trainer(ARCHITECTURE, open_data(folder), tmp_path, recipe(**changes), CPU)


def test_one_epoch_with_the_default_schedule_works(folder, recipe, tmp_path):
    trainer = Trainer(
        ARCHITECTURE, open_data(folder), tmp_path, recipe(epochs=1, warmup_epochs=0.5), CPU
    )
    assert trainer.steps_per_epoch == 4


def test_a_loss_that_is_no_number_keeps_the_last_checkpoint(folder, recipe, tmp_path):
    trainer = Trainer(ARCHITECTURE, open_data(folder), tmp_path, recipe(), CPU)
    trainer.save()
    before = (tmp_path / CHECKPOINT).read_bytes()
    with torch.no_grad():
        trainer.model.fc.weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match="--lr"):
        trainer.run()
    assert (tmp_path / CHECKPOINT).read_bytes() == before
