import json

import numpy as np
import pytest
import timm
import torch

from mscnn.errors import DatasetError, OptionError, TrainingError, UnknownModelError
from mscnn.training import checkpoint, loop
from mscnn.training.dataset import find_images
from mscnn.training.evaluate import accuracy
from mscnn.training.loop import Trainer
from mscnn.training.start import start_training
from mscnn.weights import load_model

CPU = torch.device("cpu")
ARCHITECTURE = "starter_resnet"


class Killed(Exception):
    """Stands for a kill between two steps."""


def train(folder, out, recipe, *, die_at=None, resume=False):
    trainer = Trainer(ARCHITECTURE, find_images(folder), out, recipe, CPU)
    if resume:
        assert trainer.resume()

    def listener(progress):
        if (progress.epoch, progress.step) == die_at:
            raise Killed

    out.mkdir(exist_ok=True)
    trainer.run(listener)
    return trainer


def test_a_run_leaves_all_its_files_and_learns(folder, recipe, tmp_path):
    out = tmp_path / "run"
    result = start_training(folder, ARCHITECTURE, out, recipe(epochs=6), "cpu", False)
    assert result.images == 4
    assert result.top1 == 1.0
    assert {path.name for path in out.iterdir()} == {
        "checkpoint.pt", "config.json", "curves.png", "history.csv", "model.safetensors",
        "training.json",
    }  # fmt: skip
    facts = json.loads((out / "training.json").read_text())
    assert (facts["top1"], facts["val_images"], facts["model"]) == (1.0, 4, ARCHITECTURE)
    rows = np.genfromtxt(out / "history.csv", delimiter=",", names=True)
    assert rows["epoch"].tolist() == [1, 2, 3, 4, 5, 6]
    assert rows["train_loss"][-1] < rows["train_loss"][0]


def test_timm_and_our_loader_open_the_folder(folder, recipe, tmp_path):
    out = tmp_path / "run"
    trainer = train(folder, out, recipe(epochs=1))
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = trainer.ema.module.eval()(x)
    by_timm = timm.create_model(f"local-dir:{out}", pretrained=True).eval()(x)
    loaded = load_model(str(out))
    torch.testing.assert_close(by_timm, expected)
    torch.testing.assert_close(loaded.model(x), expected)
    assert loaded.labels.names == ("blue", "red")


@pytest.mark.parametrize("die_at", [(0, 2), (1, 1), (1, 4)])
def test_a_killed_run_ends_with_the_same_weights(folder, recipe, tmp_path, monkeypatch, die_at):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", 0.0)
    whole = train(folder, tmp_path / "whole", recipe())
    with pytest.raises(Killed):
        train(folder, tmp_path / "killed", recipe(), die_at=die_at)
    resumed = train(folder, tmp_path / "killed", recipe(), resume=True)
    for name, tensor in whole.ema.module.state_dict().items():
        assert torch.equal(tensor, resumed.ema.module.state_dict()[name]), name
    assert [r["train_loss"] for r in whole.history] == pytest.approx(
        [r["train_loss"] for r in resumed.history], rel=1e-12
    )


def test_another_seed_gives_other_weights(folder, recipe, tmp_path):
    first = train(folder, tmp_path / "a", recipe(epochs=1))
    second = train(folder, tmp_path / "b", recipe(epochs=1, seed=1))
    assert not torch.equal(first.model.fc.weight, second.model.fc.weight)


def test_growing_sizes_reach_the_model(folder, recipe, tmp_path):
    trainer = Trainer(
        ARCHITECTURE, find_images(folder), tmp_path, recipe(sizes=((32, 1), (64, 1))), CPU
    )
    seen = []
    hook = trainer.model.register_forward_pre_hook(
        lambda module, args: seen.append(args[0].shape[-1]) if module.training else None
    )
    trainer.run()
    hook.remove()
    assert seen == [32] * 4 + [64] * 4


def test_a_run_is_not_overwritten_by_accident(folder, recipe, tmp_path):
    out = tmp_path / "run"
    train(folder, out, recipe(epochs=1))
    with pytest.raises(TrainingError, match="--resume"):
        start_training(folder, ARCHITECTURE, out, recipe(epochs=1), "cpu", False)


def test_a_checkpoint_of_another_model_is_refused(folder, recipe, tmp_path):
    train(folder, tmp_path / "run", recipe(epochs=1))
    other = Trainer("starter_res2net", find_images(folder), tmp_path / "run", recipe(), CPU)
    with pytest.raises(TrainingError, match="starter_resnet"):
        other.resume()


def test_too_few_images_unknown_model_and_unreadable_image(folder, recipe, tmp_path):
    with pytest.raises(DatasetError, match="--batch-size"):
        Trainer(ARCHITECTURE, find_images(folder), tmp_path, recipe(batch_size=64), CPU)
    with pytest.raises(UnknownModelError, match="starter_resnit"):
        Trainer("starter_resnit", find_images(folder), tmp_path, recipe(), CPU)
    (folder / "red" / "00.png").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match=r"^'00\.png' .*--resume\.$"):
        train(folder, tmp_path / "run", recipe())
    with pytest.raises(DatasetError, match=r"^'00\.png' .*--resume\.$"):
        train(folder, tmp_path / "run2", recipe(workers=1))


@pytest.mark.parametrize(
    ("changes", "named"), [({"opt": "nope"}, "--opt"), ({"warmup_epochs": 2.0}, "--warmup-epochs")]
)
def test_options_that_timm_refuses_are_named(folder, recipe, tmp_path, changes, named):
    with pytest.raises(OptionError, match=named):
        Trainer(ARCHITECTURE, find_images(folder), tmp_path, recipe(**changes), CPU)


def test_one_epoch_with_the_default_schedule_works(folder, recipe, tmp_path):
    trainer = Trainer(
        ARCHITECTURE, find_images(folder), tmp_path, recipe(epochs=1, warmup_epochs=0.5), CPU
    )
    assert trainer.steps_per_epoch == 4


def test_a_loss_that_is_no_number_keeps_the_last_checkpoint(folder, recipe, tmp_path):
    trainer = Trainer(ARCHITECTURE, find_images(folder), tmp_path, recipe(), CPU)
    trainer.save()
    before = (tmp_path / checkpoint.NAME).read_bytes()
    with torch.no_grad():
        trainer.model.fc.weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match="--lr"):
        trainer.run()
    assert (tmp_path / checkpoint.NAME).read_bytes() == before


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path):
    checkpoint.save(tmp_path, {"epoch": 1})

    def half(path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(TrainingError, match="disk is full"):
        checkpoint.write_atomically(tmp_path / checkpoint.NAME, half)
    assert checkpoint.load(tmp_path) == {"epoch": 1}
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.NAME]


def test_a_broken_checkpoint_says_what_to_do(tmp_path):
    (tmp_path / checkpoint.NAME).write_bytes(b"broken")
    with pytest.raises(TrainingError, match="remove it"):
        checkpoint.load(tmp_path)


def test_accuracy_against_counting_by_hand():
    logits = torch.tensor(
        [[9.0, 1, 0, 0, 0, 0], [1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1], [0, 0, 9, 0, 0, 1]]
    )
    targets = torch.tensor([0, 0, 1, 5])  # right; sixth of six; second; second
    model = torch.nn.Identity().train()
    batches = [(logits[:3], targets[:3]), (logits[3:], targets[3:])]
    result = accuracy(model, batches, CPU)
    assert (result.images, result.top1, result.top5) == (4, 0.25, 0.75)
    powers = np.exp(logits.numpy())
    by_hand = -np.log(powers / powers.sum(1, keepdims=True))[range(4), targets.numpy()]
    assert result.loss == pytest.approx(float(by_hand.mean()), rel=1e-6)
    assert model.training
