"""What a run leaves beside its weights."""

import csv
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from mscnn.data.layouts import DataSet
from mscnn.data.listing import FileList, Samples
from mscnn.data.processes import Processes
from mscnn.data.tally import Accuracy, Tally
from mscnn.training.networks import StartingPoint, fresh
from mscnn.training.recipe import FINE_TUNING, Recipe, usual_warmup
from mscnn.training.results import Facts, command, model_card, write_results
from mscnn.training.start import RunPlan, start_training
from mscnn.training.state import TrainState
from tests.training.trainee import NAME


def facts(start, recipe, unreadable=()):
    row = {"epoch": 1, "train_loss": 1.0, "val_loss": 1.0, "val_top1": 0.5, "val_top5": 1.0}
    state = TrainState(epoch=1, seconds=9.0, history=[row], unreadable=list(unreadable))
    files = FileList(Path(), [f"{i}.png" for i in range(3)])
    data = DataSet(
        ("cat", "dog, hound"), Samples(files, [0, 0, 0]), Samples(files, [1, 1]), "half of it"
    )
    return Facts(start, data, recipe, state, 1, Processes(torch.device("cpu")))


def answers():
    """Three cats called cats, surely; one called a dog; no dogs."""
    tally = Tally()
    tally.add(torch.tensor([[9.0, 0], [9, 0], [9, 0], [0, 9]]), torch.tensor([0, 0, 0, 0]))
    return tally


def rows(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_tables_say_what_the_matrix_says(tmp_path):
    start = fresh(NAME, 2, 0)
    write_results(tmp_path, facts(start, Recipe(), [["a.jpg", "broken"]]), start.model, answers())
    assert rows(tmp_path / "confusion.csv") == [
        ["class", "cat", "dog, hound"], ["cat", "3", "1"], ["dog, hound", "0", "0"],
    ]  # fmt: skip
    assert rows(tmp_path / "classes.csv") == [
        ["class", "images", "correct", "precision", "recall"],
        ["cat", "4", "3", "1.0000", "0.7500"], ["dog, hound", "0", "0", "0.0000", ""],
    ]  # fmt: skip
    assert rows(tmp_path / "unreadable.csv") == [["file", "reason"], ["a.jpg", "broken"]]
    summary = json.loads((tmp_path / "training.json").read_text())
    # What the first version wrote is still there, under the same names.
    for key in ("model", "recipe", "train_images", "val_images", "top1", "top5", "seconds",
                "device", "torch", "timm"):  # fmt: skip
        assert key in summary
    assert (summary["top1"], summary["val_images"], summary["from"]) == (0.75, 4, None)
    reliability = json.loads((tmp_path / "reliability.json").read_text())
    assert (reliability["set"], reliability["images"]) == ("half of it", 4)
    last = reliability["bins"].pop()
    assert (last["from"], last["to"], last["images"], last["right"]) == (0.9, 1.0, 4, 3)
    assert last["mean_probability"] == pytest.approx(1 / (1 + np.exp(-9)))
    assert [b["images"] for b in reliability["bins"]] == [0] * 9


def test_names_of_files_that_are_no_text_do_not_stop_the_results(tmp_path):
    start = fresh(NAME, 2, 0)
    name = os.fsdecode(b"caf\xe9.jpg")
    left_out = [[name, "broken"], ["=HYPERLINK(1).jpg", "broken"]]
    run = facts(start, Recipe(), left_out)
    run = replace(run, data=replace(run.data, names=("cat", "=HYPERLINK(1)")))
    write_results(tmp_path, run, start.model, answers())
    unreadable = rows(tmp_path / "unreadable.csv")[1:]
    assert unreadable == [["caf\\udce9.jpg", "broken"], ["'=HYPERLINK(1).jpg", "broken"]]
    # No formula, to a spreadsheet.
    assert rows(tmp_path / "confusion.csv")[0] == ["class", "cat", "'=HYPERLINK(1)"]
    assert [row[0] for row in rows(tmp_path / "classes.csv")] == ["class", "cat", "'=HYPERLINK(1)"]
    assert (tmp_path / "README.md").is_file()


def test_the_command_on_the_card_has_names_and_no_paths(tmp_path):
    start = StartingPoint(
        fresh(NAME, 2, 0).model, NAME, "model", source="model/model.safetensors", weights="w.pth"
    )
    words = command(facts(start, FINE_TUNING), "out").split()
    assert words[:7] == ["mscnn", "finetune", "DATA", "--model", "model", "--weights", "w.pth"]


@pytest.mark.parametrize(("source", "licence", "shown"), [
    ("timm/some.net", "mit", "mit"), ("timm/some.net", "", "unknown"), ("", "mit", "unknown"),
])  # fmt: skip
def test_the_card_is_one_the_hub_reads(source, licence, shown):
    start = StartingPoint(torch.nn.Identity(), "starter_resnet", "starter_resnet", source, "0" * 64,
                          licence)  # fmt: skip
    text = model_card(facts(start, Recipe()), Accuracy(2, 0.5, 1.0, 1.0, 6), "mine")
    _, front, body = text.split("---\n", 2)
    head = yaml.safe_load(front)
    assert (head["license"], head["library_name"]) == (shown, "timm")
    assert {"image-classification", "timm", "mscnn"} <= set(head["tags"])
    (model,) = head["model-index"]
    (result,) = model["results"]
    assert (model["name"], result["dataset"]["name"]) == ("mine", "half of it")
    assert [(m["name"], m["value"]) for m in result["metrics"]] == [("top-1", 0.5), ("top-5", 1.0)]
    assert "Top-1 50.00 %, top-5 100.00 % of 2 images (half of it)" in body
    assert "import mscnn.starters" in body
    assert ("set `license` above" in body) == (shown == "unknown")


def test_top5_is_left_out_where_it_is_always_right():
    card = model_card(facts(fresh(NAME, 2, 0), Recipe()), Accuracy(5, 1.0, 1.0, 1.0, 5), "x")
    assert "Top-1 100.00 % of 5 images" in card
    assert "top-5" not in card


def test_the_command_holds_what_differs_from_the_defaults():
    start = StartingPoint(torch.nn.Identity(), NAME, NAME)
    recipe = Recipe(
        epochs=3, warmup_epochs=usual_warmup(3), sizes=((32, 2), (64, 1)), workers=7, threads=3
    )
    words = command(facts(start, recipe), "my model")
    assert words == (
        f"mscnn train DATA --model {NAME} --out 'my model' --epochs 3 --sizes 32:2,64:1"
    )
    assert "--warmup-epochs 0.5" in command(facts(start, Recipe(epochs=3)), "x")
    tuned = StartingPoint(torch.nn.Identity(), NAME, "res2net50d.in1k", "timm/res2net50d.in1k")
    words = command(facts(tuned, FINE_TUNING.replaced(freeze=True, seed=2)), "out")
    assert words == "mscnn finetune DATA --model res2net50d.in1k --out out --seed 2 --freeze"


def test_a_run_killed_behind_its_last_checkpoint_still_lists_all_epochs(folder, recipe, tmp_path):
    plan = RunPlan(folder, NAME, tmp_path / "run", recipe(), "cpu")
    start_training(plan)
    whole = rows(plan.out / "history.csv")
    (plan.out / "history.csv").unlink()
    start_training(replace(plan, resume=True))
    assert rows(plan.out / "history.csv") == whole
    assert [row[0] for row in whole] == ["epoch", "1", "2"]


@pytest.mark.parametrize("workers", [0, 1])
def test_damaged_files_are_named_once_and_end_no_run(folder, recipe, tmp_path, workers):
    whole = (folder / "red" / "00.png").read_bytes()
    for name in ("red/00.png", "red/01.png", "blue/02.png"):
        (folder / name).write_bytes(whole[: len(whole) // 2])  # its first bytes are those of a PNG
    (folder / "blue" / "03.png").write_bytes(b"nothing")
    said: list[str] = []
    plan = RunPlan(folder, NAME, tmp_path / "run", recipe(workers=workers, batch_size=4), "cpu")
    result = start_training(plan, notice=said.append)
    listed = [line[0].rsplit("/", 1)[1] for line in rows(tmp_path / "run" / "unreadable.csv")[1:]]
    assert sorted(listed) == ["00.png", "01.png", "02.png", "03.png"]
    for name in listed:
        assert sum(f"'{name}'" in sentence for sentence in said) == 1
    assert json.loads((tmp_path / "run" / "training.json").read_text())["unreadable"] == 4
    assert result.images <= 4
