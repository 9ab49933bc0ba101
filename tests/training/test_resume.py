"""A run that was killed goes on as if nothing had happened, and nothing else goes on from it."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mscnn.data.layouts import open_data
from mscnn.errors import Cancelled, TrainingError
from mscnn.training import loop
from mscnn.training.loop import Trainer
from mscnn.training.networks import fresh, pretrained
from mscnn.training.results import export_folder
from mscnn.training.state import CHECKPOINT, load_checkpoint, save_checkpoint
from tests.training.trainee import NAME

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]


class Killed(Exception):
    """Stands for a kill between two steps."""


@pytest.fixture(autouse=True)
def _bare(monkeypatch):
    """Save after every step, and draw no pictures at the end."""
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", 0.0)
    monkeypatch.setattr(loop, "write_results", lambda *_: None)


def train(folder, out, recipe, *, die_at=None, resume=False, start=None):
    trainer = Trainer(NAME, open_data(folder), out, recipe, CPU, start=start and start())
    if resume:
        assert trainer.resume()

    def listener(progress):
        if (progress.epoch, progress.step) == die_at:
            raise Killed

    trainer.run(listener)
    return trainer


def same(first, second):
    for name, tensor in first.stepper.averaged.state_dict().items():
        assert torch.equal(tensor, second.stepper.averaged.state_dict()[name]), name
    for before, after in zip(first.at.history, second.at.history, strict=True):
        assert {k: v for k, v in before.items() if k != "seconds"} == pytest.approx(
            {k: v for k, v in after.items() if k != "seconds"}, rel=1e-12
        )


def step_of(out):
    state = load_checkpoint(out)
    assert state is not None
    return state["epoch"], state["step"]


@pytest.fixture
def trained(folder, tmp_path):
    """A model folder to fine-tune from."""
    start = fresh(NAME, 5, seed=4)
    export_folder(start.model, tmp_path / "trained", list("abcde"))
    return tmp_path / "trained"


EVERYTHING = {
    "batch_size": 8, "accumulate": 2, "mixup": 0.2, "cutmix": 1.0, "randaugment": "rand-m9-n2",
    "smoothing": 0.1, "ema": 0.9, "opt": "adamw", "schedule": "cosine",
}  # fmt: skip


@pytest.mark.parametrize(("changes", "die_at"), [
    ({}, (0, 2)), ({}, (1, 1)), ({"ema": 0.0, "opt": "sgd"}, (1, 4)), (EVERYTHING, (0, 2)),
    (EVERYTHING, (1, 2)), ({"patience": 1, "epochs": 4, "lr": 1e-6}, (1, 2)),
    ({"amp": "bf16", "sizes": ((32, 1), (48, 1))}, (1, 1)),
])  # fmt: skip
def test_a_killed_run_ends_with_the_same_weights(folder, recipe, tmp_path, changes, die_at):
    settings = recipe(**changes)
    whole = train(folder, tmp_path / "whole", settings)
    with pytest.raises(Killed):
        train(folder, tmp_path / "killed", settings, die_at=die_at)
    same(whole, train(folder, tmp_path / "killed", settings, resume=True))


@pytest.mark.parametrize("freeze", [False, True])
def test_a_killed_fine_tuning_ends_with_the_same_weights(folder, recipe, tmp_path, trained, freeze):
    def start():
        return pretrained(str(trained), None, "xy", 0)

    settings = recipe(opt="adamw", layer_decay=0.7, freeze=freeze)
    whole = train(folder, tmp_path / "whole", settings, start=start)
    with pytest.raises(Killed):
        train(folder, tmp_path / "killed", settings, die_at=(1, 2), start=start)
    same(whole, train(folder, tmp_path / "killed", settings, resume=True, start=start))


# In a process of its own, which with its loaders is a group of its own.
IN_A_PROCESS = """
import os, signal, sys
from pathlib import Path
import torch
import tests.training.trainee
from mscnn.data.layouts import open_data
from mscnn.errors import Cancelled
from mscnn.training import loop
from mscnn.training.loop import Trainer
from mscnn.training.recipe import Recipe

data, out, recipe = Path(sys.argv[1]), Path(sys.argv[2]), Recipe.from_json(sys.argv[3])
trainer = Trainer(sys.argv[4], open_data(data), out, recipe, torch.device("cpu"))
"""

# The third checkpoint is half written when the process is killed.
KILLED_WHILE_WRITING = """
loop.CHECKPOINT_EVERY_S = 0.0
whole, saves = torch.save, []

def half(state, path):
    saves.append(path)
    whole(state, path)
    if len(saves) == 3:
        with open(path, "r+b") as file:
            file.truncate(os.path.getsize(path) // 2)
        os.kill(os.getpid(), signal.SIGKILL)

torch.save = half
trainer.run()
"""

KILLED_WITH_ITS_LOADERS = """
def end_all(progress):
    if (progress.epoch, progress.step) == (0, 2):
        os.killpg(0, int(sys.argv[5]))

loop.CHECKPOINT_EVERY_S = 1e9
try:
    trainer.run(end_all)
except Cancelled as error:
    sys.exit(str(error))
"""


def in_a_process(script, folder, out, settings, *arguments):
    words = [str(folder), str(out), json.dumps(settings.as_dict()), NAME, *map(str, arguments)]
    return subprocess.run(
        [sys.executable, "-c", IN_A_PROCESS + script, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=ROOT, check=False, capture_output=True,
        text=True, start_new_session=True, timeout=120,
    )  # fmt: skip


def test_kill_9_while_a_checkpoint_is_written(folder, recipe, tmp_path):
    settings, out = recipe(opt="sgd"), tmp_path / "killed"
    ended = in_a_process(KILLED_WHILE_WRITING, folder, out, settings)
    assert ended.returncode == -signal.SIGKILL
    assert (out / f"{CHECKPOINT}.part").is_file()  # the half one, never under its own name
    assert step_of(out) == (0, 2)
    same(train(folder, tmp_path / "whole", settings), train(folder, out, settings, resume=True))
    assert not (out / f"{CHECKPOINT}.part").exists()


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)]
)
def test_a_kill_of_all_processes_keeps_the_last_step(folder, recipe, tmp_path, number):
    settings, out = recipe(opt="sgd", workers=2), tmp_path / "killed"
    ended = in_a_process(KILLED_WITH_ITS_LOADERS, folder, out, settings, int(number))
    assert "go on with --resume" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert step_of(out) == (0, 2)
    same(train(folder, tmp_path / "whole", settings), train(folder, out, settings, resume=True))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_keeps_the_last_step(folder, recipe, tmp_path, number, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", 1e9)
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    said: list[str] = []
    trainer = Trainer(NAME, open_data(folder), tmp_path / "run", recipe(), CPU, notice=said.append)

    def press(progress):
        if (progress.epoch, progress.step) == (1, 3):
            os.kill(os.getpid(), number)
            if number != signal.SIGINT:  # whose second one stops at once
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Cancelled, match=r"in epoch 2; .*--resume"):
        trainer.run(press)
    assert len(said) == 1
    assert step_of(tmp_path / "run") == (1, 3)
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
    whole = train(folder, tmp_path / "whole", recipe())
    same(whole, train(folder, tmp_path / "run", recipe(), resume=True))


def test_a_reader_that_is_killed_is_a_sentence(folder, recipe, tmp_path):
    settings = recipe(workers=1)

    def kill_reader(progress):
        if (progress.epoch, progress.step) == (1, 1):
            (reader,) = multiprocessing.active_children()
            os.kill(reader.pid or 0, signal.SIGKILL)
            reader.join(30)

    trainer = Trainer(NAME, open_data(folder), tmp_path / "run", settings, CPU)
    with pytest.raises(TrainingError, match=r"reads images was killed.*--resume and fewer"):
        trainer.run(kill_reader)
    whole = train(folder, tmp_path / "whole", settings)
    same(whole, train(folder, tmp_path / "run", recipe(), resume=True))


def test_a_second_ctrl_c_stops_at_once(folder, recipe, tmp_path):
    trainer = Trainer(NAME, open_data(folder), tmp_path / "run", recipe(), CPU)

    def press_twice(progress):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        trainer.run(press_twice)
    assert load_checkpoint(tmp_path / "run") is None


def test_a_checkpoint_of_the_first_version_goes_on(folder, recipe, tmp_path):
    whole = train(folder, tmp_path / "whole", recipe())
    with pytest.raises(Killed):
        train(folder, tmp_path / "old", recipe(), die_at=(1, 2))
    state = load_checkpoint(tmp_path / "old")
    assert state is not None
    old_keys = (
        "architecture", "names", "recipe", "model", "ema", "optimizer", "scaler", "history",
        "epoch", "step", "loss_sum", "seconds",
    )  # fmt: skip
    old_recipe = json.loads(state["recipe"])
    for key in ("accumulate", "randaugment", "mixup", "cutmix", "layer_decay", "freeze",
                "patience", "val_share"):  # fmt: skip
        del old_recipe[key]
    old = {**{key: state[key] for key in old_keys}, "recipe": json.dumps(old_recipe)}
    save_checkpoint(tmp_path / "old", old)
    same(whole, train(folder, tmp_path / "old", recipe(), resume=True))


@pytest.mark.parametrize(("what", "said"), [
    ("model", "of trainee, not starter_resnet"), ("classes", "2 classes, the data has 3"),
    ("names", "other class names"), ("images", "28 training images, and there are 27 now"),
    ("exchanged", "other training images"), ("seed", "--seed 0, not 1"),
    ("val_share", "--val-share 0.1, not 0.5"),
    ("batch_size", "--batch-size 7, not 9"), ("freeze", "--freeze False, not True"),
])  # fmt: skip
def test_what_does_not_belong_together_is_refused(folder, recipe, tmp_path, what, said):
    Trainer(NAME, open_data(folder), tmp_path, recipe(), CPU).save()
    changes = {"seed": 1, "val_share": 0.5, "batch_size": 9, "freeze": True}
    if what == "classes":
        (folder / "green").mkdir()
        for i in range(2):
            (folder / "red" / f"{i:02}.png").rename(folder / "green" / f"{i}.png")
    if what == "names":
        (folder / "red").rename(folder / "rose")
    if what == "images":
        (folder / "red" / "00.png").unlink()
    if what == "exchanged":  # as many, but what was held out moves by one place
        (folder / "red" / "00.png").rename(folder / "red" / "99.png")
    name = "starter_resnet" if what == "model" else NAME
    given = recipe(**{k: v for k, v in changes.items() if k == what})
    data = open_data(folder, val_share=given.val_share, seed=given.seed)
    other = Trainer(name, data, tmp_path, given, CPU)
    with pytest.raises(TrainingError, match=f"{said}; give the same again, or another --out"):
        other.resume()


def test_a_checkpoint_that_is_none_of_ours_is_a_sentence(folder, recipe, tmp_path):
    trainer = Trainer(NAME, open_data(folder), tmp_path, recipe(), CPU)
    others: tuple[object, ...] = ({"state_dict": {}}, [1])
    for state in others:
        torch.save(state, tmp_path / CHECKPOINT)
        with pytest.raises(TrainingError, match=r"not written by mscnn.*another --out"):
            trainer.resume()
    trainer.save()
    state = torch.load(tmp_path / CHECKPOINT)
    del state["model"]["fc.bias"]
    torch.save(state, tmp_path / CHECKPOINT)
    with pytest.raises(TrainingError, match="built otherwise, as by an earlier version"):
        trainer.resume()


def test_a_starter_that_was_called_otherwise_goes_on(folder, recipe, tmp_path):
    Trainer("starter_resnet", open_data(folder), tmp_path, recipe(), CPU).save()
    state = torch.load(tmp_path / CHECKPOINT)
    torch.save(state | {"architecture": "starter_resnet35"}, tmp_path / CHECKPOINT)
    assert Trainer("starter_resnet", open_data(folder), tmp_path, recipe(), CPU).resume()


@pytest.mark.parametrize(("error", "kind", "said"), [
    (OSError(28, "No space left on device"), TrainingError,
     "disk is full.*make room and go on with --resume"),
    (PermissionError(13, "Permission denied"), TrainingError, "cannot be written.*--resume"),
    # Only the zip writer's error is taken for a full disk.
    (RuntimeError("CUDA error"), RuntimeError, "CUDA"),
])  # fmt: skip
def test_a_failed_write_leaves_the_old_checkpoint(tmp_path, monkeypatch, error, kind, said):
    save_checkpoint(tmp_path, {"epoch": 1})

    def half(state, path):
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(kind, match=said):
        save_checkpoint(tmp_path, {"epoch": 2})
    assert load_checkpoint(tmp_path) == {"epoch": 1}
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


def test_no_space_in_the_middle_of_a_run_keeps_what_was_trained(
    folder, recipe, tmp_path, monkeypatch
):
    real, calls = torch.save, []

    def fills_up(state, path):
        calls.append(path)
        if len(calls) == 3:
            path.write_bytes(b"half")
            raise RuntimeError(
                "[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598"
            )
        real(state, path)

    monkeypatch.setattr(torch, "save", fills_up)
    with pytest.raises(TrainingError, match="disk is full"):
        train(folder, tmp_path / "run", recipe())
    whole = train(folder, tmp_path / "whole", recipe())
    same(whole, train(folder, tmp_path / "run", recipe(), resume=True))


def test_weights_that_are_no_numbers_are_not_saved(folder, recipe, tmp_path):
    trainer = Trainer(NAME, open_data(folder), tmp_path, recipe(), CPU)
    trainer.save()
    before = (tmp_path / CHECKPOINT).read_bytes()
    with torch.no_grad():
        trainer.model.conv1.weight[0, 0, 0, 0] = float("inf")
    with pytest.raises(TrainingError, match="--lr"):
        trainer.save()
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_a_broken_checkpoint_says_what_to_do(tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(b"broken")
    with pytest.raises(TrainingError, match="remove it"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(("was", "now"), [(0.1, 0.0), (0.0, 0.1)])
def test_weight_decay_neither_begins_nor_ends_in_a_run(folder, recipe, tmp_path, was, now):
    """It would leave the optimiser's memory without its groups of parameters."""
    data = open_data(folder)
    Trainer(NAME, data, tmp_path, recipe(epochs=1, weight_decay=was), CPU).run()
    again = Trainer(NAME, data, tmp_path, recipe(epochs=2, weight_decay=now), CPU)
    with pytest.raises(TrainingError, match=f"--weight-decay {was}, not {now}"):
        again.resume()


def test_what_may_change_when_a_run_is_resumed_does(folder, recipe, tmp_path):
    """The optimiser's memory comes from the checkpoint, its settings from the recipe."""
    data = open_data(folder)
    Trainer(NAME, data, tmp_path, recipe(epochs=1, weight_decay=0.1), CPU).run()
    again = Trainer(NAME, data, tmp_path, recipe(epochs=2, weight_decay=0.3), CPU)
    assert again.resume()
    decays = {group["weight_decay"] for group in again.stepper.optimizer.param_groups}
    assert decays == {0.0, 0.3}
    half = Trainer(NAME, data, tmp_path, recipe(epochs=2, amp="fp16"), CPU)
    assert half.resume()


def test_a_run_that_goes_on_with_other_options_says_so(folder, recipe, tmp_path):
    """As one does where they are left out beside ``--resume``."""
    with pytest.raises(Killed):
        train(folder, tmp_path, recipe(epochs=3), die_at=(1, 3))
    said: list[str] = []
    data, settings = open_data(folder), recipe(epochs=3, lr=0.02, workers=1)
    again = Trainer(NAME, data, tmp_path, settings, CPU, notice=said.append)
    assert again.resume()
    assert [sentence.partition(": ")[2] for sentence in said] == ["--lr 0.02 (was 0.01)."]
    short = Trainer(NAME, data, tmp_path, recipe(epochs=1), CPU)
    with pytest.raises(TrainingError, match=r"--epochs is 1, .* in epoch 2"):
        short.resume()
    again.at.epoch, again.at.step = 2, 0  # as where a run is stopped, or done
    again.save()
    with pytest.raises(TrainingError, match=r"--epochs is 1, .* in epoch 2"):
        short.resume()
