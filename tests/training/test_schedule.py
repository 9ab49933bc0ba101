import itertools

import pytest
import timm

from mscnn.training.networks import freeze_backbone
from mscnn.training.steps import optimiser_and_schedule
from tests.training.trainee import NAME

# trainee: a stem, four blocks, a classifier. Distance of each from the top.
DISTANCE = {"conv1": 5, "bn1": 5, "layer1": 4, "layer2": 3, "layer3": 2, "layer4": 1, "fc": 0}


@pytest.mark.parametrize("opt", ["adamw", "sgd", "muon"])
def test_each_layer_learns_as_fast_as_paper_and_pencil_say(recipe, opt):
    model = timm.create_model(NAME)
    settings = recipe(opt=opt, lr=0.08, layer_decay=0.5, schedule="constant", warmup_epochs=0.0)
    optimizer, scheduler = optimiser_and_schedule(model, settings, 4)
    scheduler.step_update(3)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rates = {
        names[id(parameter)]: group["lr"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert rates.keys() == dict(model.named_parameters()).keys()
    for name, rate in rates.items():
        assert rate == pytest.approx(0.08 * 0.5 ** DISTANCE[name.split(".")[0]], rel=1e-9), name


def test_biases_and_norms_do_not_decay_and_frozen_weights_are_left_out(recipe):
    model = timm.create_model(NAME)
    freeze_backbone(model)
    optimizer, _ = optimiser_and_schedule(
        model, recipe(opt="adamw", weight_decay=0.1, layer_decay=0.5), 4
    )
    decays = {
        tuple(parameter.shape): group["weight_decay"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert decays == {(7, 16): 0.1, (7,): 0.0}


@pytest.mark.parametrize(("decay", "falls_from"), [(0.25, 75), (1, 0)])
def test_the_last_share_of_a_wsd_run_falls(recipe, decay, falls_from):
    settings = recipe(epochs=10, opt="sgd", lr=0.1, schedule="wsd", decay=decay)
    _, scheduler = optimiser_and_schedule(timm.create_model(NAME), settings, 10)
    rates = [max(scheduler._get_lr(step)) for step in range(100)]
    assert rates[: falls_from + 1] == pytest.approx([0.1] * (falls_from + 1))
    assert all(later < earlier for earlier, later in itertools.pairwise(rates[falls_from:]))


@pytest.mark.parametrize("schedule", ["wsd", "cosine", "constant"])
def test_a_run_of_one_step_takes_it_at_the_full_rate(recipe, schedule):
    settings = recipe(epochs=1, opt="sgd", lr=0.1, schedule=schedule, decay=0.35, warmup_epochs=0.1)
    optimizer, _ = optimiser_and_schedule(timm.create_model(NAME), settings, 1)
    assert {group["lr"] for group in optimizer.param_groups} == {0.1}
