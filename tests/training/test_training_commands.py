"""The two commands: their defaults are the recipes', and one runs from end to end."""

import csv
import inspect
import json
import os
import stat
from dataclasses import fields, replace

import pytest
import typer
from typer.testing import CliRunner

from mscnn.cli.training import finetune, train
from mscnn.data.layouts import open_data
from mscnn.errors import DatasetError, OutputError, UnsupportedModelError
from mscnn.models.loading import load_model
from mscnn.training.networks import fresh
from mscnn.training.recipe import FINE_TUNING, Recipe, parse_sizes, usual_warmup
from mscnn.training.results import export_folder
from mscnn.training.start import RunPlan, start_training
from tests.training.trainee import NAME


@pytest.mark.parametrize(("command", "usual", "without"), [
    (train, Recipe(), {"freeze", "layer_decay"}), (finetune, FINE_TUNING, set()),
])  # fmt: skip
def test_the_options_are_the_recipe_with_its_defaults(command, usual, without):
    parameters = inspect.signature(command).parameters
    assert set(parameters) - {"data", "model", "out", "weights", "device", "resume"} == {
        field.name for field in fields(Recipe) if field.name not in without
    }
    for name in parameters.keys() & usual.as_dict().keys():
        default = parameters[name].default
        if name == "warmup_epochs":  # by the number of epochs
            assert default is None
            default = usual_warmup(parameters["epochs"].default)
        if name == "sizes":
            default = parse_sizes(default)
        assert default == getattr(usual, name), name


def test_fine_tuning_from_the_command_line(folder, tmp_path):
    app = typer.Typer()
    app.command()(finetune)
    export_folder(fresh(NAME, 5, 0).model, tmp_path / "trained", list("abcde"))
    (folder / "red" / "00.png").write_bytes(b"nothing")
    arguments = [
        str(folder), "--model", str(tmp_path / "trained"), "--out", str(tmp_path / "mine"),
        "--epochs", "1", "--batch-size", "8", "--workers", "0", "--device", "cpu", "--freeze",
    ]  # fmt: skip
    result = CliRunner().invoke(app, arguments)
    assert result.exception is None, result.output
    assert result.stdout.startswith("top-1 ")
    assert len(result.stdout.splitlines()) == 1
    assert "'00.png'" in result.stderr
    assert "1 unreadable file is left out" in result.stderr
    assert "epoch 1/1  step 3/3  32 px  loss " in result.stderr
    assert load_model(str(tmp_path / "mine")).labels.names == ("blue", "red")
    assert "written " in result.stderr
    assert result.stderr.rstrip().endswith(f"'mscnn serve --models {tmp_path / 'mine'}'")


def test_a_folder_smaller_than_a_batch_is_learnt_and_the_run_says_so(folder, tmp_path):
    """Resumed, it meets the batch that its checkpoint was made with."""
    said: list[str] = []
    recipe = FINE_TUNING.replaced(epochs=1, workers=0, threads=1)
    plan = RunPlan(folder, NAME, tmp_path / "run", recipe, "cpu")
    start_training(plan, notice=said.append)
    assert said == ["There are 28 training images, fewer than one batch of 32, so a batch has 28."]
    longer = replace(plan, recipe=recipe.replaced(epochs=2), resume=True)
    assert start_training(longer, notice=said.append).images == 4


@pytest.mark.parametrize("typed", ["timm/test_resnet", "hf-hub:timm/test_resnet.r160_in1k"])
def test_a_network_is_trained_by_any_name_that_other_commands_take(typed):
    start = fresh(typed, 2, 0)
    assert start.architecture == start.given == typed.rpartition("/")[2]
    assert fresh("Starter_ResNet", 2, 0).architecture == "starter_resnet"


def test_a_network_that_no_command_could_open_is_refused_before_training(folder, tmp_path):
    plan = RunPlan(folder, "vit_tiny_patch16_224", tmp_path / "run", Recipe(), "cpu")
    with pytest.raises(UnsupportedModelError):
        start_training(plan)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("umask", [0o022, 0o007, 0o077])
def test_who_may_read_what_a_run_writes_follows_the_umask(folder, recipe, tmp_path, umask):
    plan = RunPlan(folder, NAME, tmp_path / "run", recipe(epochs=1), "cpu")
    before = os.umask(umask)
    try:
        start_training(plan)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "run").iterdir()}
    assert {"model.safetensors", "config.json", "checkpoint.pt", "history.csv"} <= set(modes)
    assert set(modes.values()) == {0o666 & ~umask}, modes


def test_what_is_not_used_is_said_counted_and_listed(folder, recipe, tmp_path):
    for name in ("red/notes.txt", "red/._00.png", "blue/x.ppm", "beside.jpg"):
        (folder / name).touch()
    said: list[str] = []
    start_training(
        RunPlan(folder, NAME, tmp_path / "run", recipe(epochs=1), "cpu"), notice=said.append
    )
    assert any("2 not used (no picture" in s and "'blue/x.ppm', 'red/notes.txt'" in s for s in said)
    with (tmp_path / "run" / "not_used.csv").open(newline="") as file:
        listed = [row[0] for row in csv.reader(file)]
    assert sorted(listed) == ["beside.jpg", "blue/x.ppm", "file", "red/._00.png", "red/notes.txt"]
    summary = json.loads((tmp_path / "run" / "training.json").read_text())
    assert sorted(summary["not_used"].values()) == [1, 1, 2]


def test_what_was_left_out_is_said_before_too_few_images_are_refused(folder, recipe, tmp_path):
    for path in sorted((folder / "red").iterdir())[1:]:
        path.write_text("no picture")
    said: list[str] = []
    plan = RunPlan(folder, NAME, tmp_path / "run", recipe(), "cpu")
    with pytest.raises(DatasetError, match=r"'red'.* with a single image"):
        start_training(plan, notice=said.append)
    assert "unreadable files are left out" in said[-1]


def test_a_class_whose_held_out_images_cannot_be_read_is_named(folder, recipe, tmp_path):
    held = open_data(folder, val_share=0.1, seed=0).val
    for number in range(len(held)):
        if held.name(number).startswith("red"):
            held.source(number).write_text("no picture")
    said: list[str] = []
    plan = RunPlan(folder, NAME, tmp_path / "run", recipe(epochs=1), "cpu")
    start_training(plan, notice=said.append)
    assert said[-1] == "There is a class ('red') without a validation image."


def test_a_folder_that_looks_empty_is_empty(folder, recipe, tmp_path):
    """macOS's Finder leaves its notes in any folder that it has shown."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".DS_Store").touch()
    assert start_training(RunPlan(folder, NAME, tmp_path / "run", recipe(epochs=1), "cpu")).images


@pytest.mark.parametrize("inside", ["run", "red/run"])
def test_a_folder_inside_the_data_is_no_place_for_a_model(folder, recipe, inside):
    with pytest.raises(OutputError, match="inside the data"):
        start_training(RunPlan(folder, NAME, folder / inside, recipe(), "cpu"))
