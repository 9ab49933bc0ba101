"""From trained weights to new classes."""

import json
from dataclasses import replace
from typing import Any

import pytest
import timm
import torch

from mscnn.errors import OutputError, TrainingError, UnknownModelError, WeightsError
from mscnn.models.loading import load_model
from mscnn.results.explanation import WeightsInfo
from mscnn.training import loop, networks
from mscnn.training.networks import fresh, pretrained
from mscnn.training.recipe import FINE_TUNING
from mscnn.training.results import export_folder
from mscnn.training.start import RunPlan, start_training
from mscnn.training.state import CHECKPOINT
from tests.training.trainee import NAME

CPU = torch.device("cpu")


@pytest.fixture
def trained(tmp_path):
    """A model folder of five classes, and its weights."""
    start = fresh(NAME, 5, seed=4)
    torch.nn.init.uniform_(start.model.get_buffer("bn1.running_mean"))
    export_folder(start.model, tmp_path / "trained", list("abcde"))
    return tmp_path / "trained", {k: v.clone() for k, v in start.model.state_dict().items()}


def head(start):
    return start.model.get_parameter("fc.weight")


def test_the_start_has_the_old_weights_and_a_new_classifier(trained):
    folder, before = trained
    start = pretrained(str(folder), None, "xyz", seed=0)
    after = start.model.state_dict()
    assert after["fc.weight"].shape == (3, 16)
    for name, value in before.items():
        assert name.startswith("fc.") or torch.equal(after[name], value), name
    assert all(parameter.requires_grad for parameter in start.model.parameters())
    assert (start.architecture, start.source, len(start.sha256)) == (
        NAME, "trained/model.safetensors", 64,
    )  # fmt: skip
    again = pretrained(NAME, folder, "xyz", seed=0)
    assert torch.equal(head(again), head(start))
    assert not torch.equal(head(pretrained(NAME, folder, "xyz", seed=1)), head(start))


def test_the_classifier_stays_where_the_classes_are_the_models_own(trained, tmp_path):
    folder, before = trained
    start = pretrained(str(folder), None, "abcde", seed=0)
    assert all(torch.equal(start.model.state_dict()[name], v) for name, v in before.items())
    assert "keeps its classifier" in start.notice
    for other in ("abced", "abcd"):  # in another order, and not all of them
        assert not torch.equal(head(pretrained(str(folder), None, other, 0))[:4], head(start)[:4])
    # A folder of ImageNet's: its classes are WordNet ids, the model's are words.
    ids = ["n01443537", "n02129165"]
    export_folder(fresh(NAME, 2, seed=4).model, tmp_path / "imagenet", ids)
    assert "keeps its classifier" in pretrained(str(tmp_path / "imagenet"), None, ids, 0).notice


@pytest.mark.parametrize("head", [{"fc.weight": torch.ones(9, 16), "fc.bias": torch.ones(9)},
                                  {"fc.1.weight": torch.ones(3, 3)}, {}])  # fmt: skip
def test_any_classifier_of_a_file_is_replaced(trained, tmp_path, head):
    _, before = trained
    body = {name: value for name, value in before.items() if not name.startswith("fc.")}
    torch.save({"model": body | head, "n_averaged": 3}, tmp_path / "w.pth")
    start = pretrained(NAME, tmp_path / "w.pth", "wxyz", seed=0)
    after = start.model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in body.items())
    assert after["fc.weight"].shape == (4, 16)
    assert start.source == "w.pth (model)"
    assert ("fc.1.weight" in start.notice) == ("fc.1.weight" in head)


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_a_frozen_backbone_keeps_every_number(folder, recipe, trained, tmp_path, ema):
    source, before = trained
    settings = recipe(freeze=True, ema=ema, opt="adamw", lr=0.05)
    plan = RunPlan(folder, str(source), tmp_path / "run", settings, "cpu", fine_tune=True)
    start_training(plan)
    after = load_model(str(tmp_path / "run")).model.state_dict()
    for name, value in before.items():
        assert name.startswith("fc.") or torch.equal(after[name], value), name
    first = pretrained(str(source), None, "xy", seed=0).model.state_dict()["fc.weight"]
    assert not torch.allclose(after["fc.weight"], first, atol=1e-3)


def test_fine_tuning_changes_the_lower_layers_least(folder, recipe, trained, tmp_path):
    source, before = trained
    settings = recipe(ema=0.0, opt="adamw", lr=0.01, layer_decay=0.1, weight_decay=0.0, epochs=1)
    start_training(RunPlan(folder, str(source), tmp_path / "run", settings, "cpu", fine_tune=True))
    after = load_model(str(tmp_path / "run")).model.state_dict()
    moved = [
        float((after[f"{name}.weight"] - before[f"{name}.weight"]).abs().mean())
        for name in ("conv1", "layer2.0.conv1", "layer4.0.conv1")
    ]
    assert 0 < moved[0] < moved[1] < moved[2]


def test_the_folder_says_where_it_comes_from_and_opens_everywhere(
    folder, recipe, trained, tmp_path
):
    source, _ = trained
    out = tmp_path / "mine"
    settings = recipe(opt="adamw", patience=1)
    start_training(RunPlan(folder, str(source), out, settings, "cpu", fine_tune=True))
    facts = json.loads((out / "training.json").read_text())
    assert facts["from"]["weights"] == "trained/model.safetensors"
    card = (out / "README.md").read_text()
    assert "\nlicense: cc0-1.0\n" in card.split("---\n")[1]
    assert "mscnn finetune DATA --model" in card
    assert load_model(str(out)).labels.names == ("blue", "red")
    assert timm.create_model(f"local-dir:{out}", pretrained=True).num_classes == 2


def test_a_run_cannot_be_resumed_as_one_of_another_model(folder, recipe, trained, tmp_path):
    plan = RunPlan(
        folder, str(trained[0]), tmp_path / "run", recipe(epochs=1), "cpu", fine_tune=True
    )
    start_training(plan)
    other = RunPlan(
        folder, "starter_resnet", tmp_path / "run", recipe(epochs=1), "cpu", resume=True
    )
    with pytest.raises(TrainingError, match="trainee, not starter_resnet"):
        start_training(other)
    export_folder(fresh(NAME, 5, seed=5).model, tmp_path / "second", list("abcde"))
    second = replace(plan, model=str(tmp_path / "second"), resume=True)
    with pytest.raises(TrainingError, match="started from other weights"):
        start_training(second)


def test_a_model_trained_from_scratch_has_no_licence_to_pass_on(folder, recipe, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    start_training(RunPlan(folder, "starter_resnet", first, recipe(epochs=1), "cpu"))
    start_training(RunPlan(folder, str(first), second, recipe(epochs=1), "cpu", fine_tune=True))
    for out in (first, second):
        assert "\nlicense: unknown\n" in (out / "README.md").read_text().split("---\n")[1]
    assert timm.create_model(f"local-dir:{second}", pretrained=True).num_classes == 2


def test_a_licence_that_timm_does_not_know_is_inherited(
    folder, recipe, trained, tmp_path, monkeypatch
):
    """Res2Net's weights are non-commercial, and so is what is made of them, and of that."""
    name, out = "res2net50_26w_4s.in1k", tmp_path / "mine"
    loaded = load_model(str(trained[0]))
    cfg: Any = loaded.model.pretrained_cfg
    cfg["license"] = "unknown"  # as timm's
    hubs = replace(loaded, name=name, weights=WeightsInfo("hub-cache", f"timm/{name}", "0" * 64))
    with monkeypatch.context() as patch:
        patch.setattr(networks, "load_model", lambda *_, **__: hubs)
        start_training(RunPlan(folder, name, out, recipe(epochs=1), "cpu", fine_tune=True))
    _, front, card = (out / "README.md").read_text().split("---\n", 2)
    assert "\nlicense: cc-by-nc-sa-4.0\n" in f"\n{front}"
    assert "No licence was chosen" not in card
    assert pretrained(str(out), None, "xy", 0).licence == "cc-by-nc-sa-4.0"


def test_a_finished_folder_without_its_checkpoint_is_not_replaced(folder, recipe, tmp_path):
    plan = RunPlan(folder, NAME, tmp_path / "run", recipe(epochs=1), "cpu")
    start_training(plan)
    (plan.out / CHECKPOINT).unlink()
    before = (plan.out / "model.safetensors").read_bytes()
    with pytest.raises(OutputError, match="holds other files"):
        start_training(replace(plan, resume=True))
    assert (plan.out / "model.safetensors").read_bytes() == before


def test_the_card_names_the_recipe_that_a_resumed_run_began_with(folder, recipe, tmp_path):
    plan = RunPlan(folder, NAME, tmp_path / "run", recipe(epochs=1, lr=0.01), "cpu")
    start_training(plan)
    start_training(replace(plan, recipe=recipe(epochs=2, lr=0.003), resume=True))
    card = (plan.out / "README.md").read_text()
    first, second = (card.index("--lr 0.003"), card.index("Up to epoch 1, before"))
    assert first < second < card.index("--epochs 1 ")
    assert json.loads((plan.out / "training.json").read_text())["earlier"][0][1]["lr"] == 0.01


def test_what_cannot_be_fine_tuned_is_said_before_training(folder, tmp_path):
    for name, weights, error in (
        ("starter_resnit", None, UnknownModelError),
        ("starter_resnet", tmp_path / "none.safetensors", WeightsError),
    ):
        plan = RunPlan(
            folder, name, tmp_path / "run", FINE_TUNING, "cpu", fine_tune=True, weights=weights
        )
        with pytest.raises(error):
            start_training(plan)


@pytest.mark.parametrize(("key", "factor", "match"), [
    ("conv1.weight", float("nan"), r"weights of .* in 1 tensor\(s\) such as conv1.weight"),
    # In training batch norm takes each batch's own statistics, so this one would show at the end.
    ("bn1.running_var", float("inf"), "not finite, in 1 tensor"),
    ("conv1.weight", 1e38, "Before the first step the loss is .* so the weights of .* are damaged"),
])  # fmt: skip
def test_a_bad_start_is_not_called_a_bad_learning_rate(
    key, factor, match, folder, recipe, trained, tmp_path
):
    source, weights = trained
    start = fresh(NAME, 5, seed=4)
    start.model.load_state_dict({**weights, key: weights[key] * factor})
    export_folder(start.model, source, list("abcde"))
    plan = RunPlan(folder, str(source), tmp_path / "run", recipe(), "cpu", fine_tune=True)
    with pytest.raises(WeightsError, match=match) as caught:
        start_training(plan)
    assert "--lr" not in str(caught.value)


def test_a_bad_head_does_not_matter_for_it_is_replaced(trained):
    source, weights = trained
    start = fresh(NAME, 5, seed=4)
    start.model.load_state_dict({**weights, "fc.weight": weights["fc.weight"] * float("nan")})
    export_folder(start.model, source, list("abcde"))
    assert bool(head(pretrained(str(source), None, "xyz", seed=0)).isfinite().all())


@pytest.mark.slow
def test_a_starter_learns_new_shapes_better_than_a_linear_baseline(tmp_path, monkeypatch):
    """The full comparison is ``python -m benchmarks.finetuning``; this one is cut to size."""
    from benchmarks.finetuning import make_folder, probe, random_network

    monkeypatch.setattr(loop, "write_results", lambda *_: None)
    folder = make_folder(tmp_path / "shapes", 60, 20, ("cross", "disc", "dots", "ring"))
    baseline = probe(random_network("starter_resnet", folder), folder)
    settings = FINE_TUNING.replaced(epochs=5, workers=0)
    plan = RunPlan(folder, "starter_resnet", tmp_path / "run", settings, "cpu", fine_tune=True)
    assert start_training(plan).top1 > baseline + 0.1
