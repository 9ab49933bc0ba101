import pytest
import timm
import torch
from torch import nn

from mscnn.data.processes import Processes
from mscnn.training.steps import Stepper, optimiser_and_schedule
from tests.training.trainee import NAME

ALONE = Processes(torch.device("cpu"))


def stepper(recipe, model, classes=7):
    optimizer, scheduler = optimiser_and_schedule(model, recipe, 4)
    return Stepper(model, recipe, optimizer, scheduler, classes, ALONE)


def batch(n=8, px=16, classes=7):
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(n, 3, px, px, generator=generator)
    return x, torch.randint(0, classes, (n,), generator=generator)


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_parts_of_a_batch_make_the_same_step_as_the_whole(recipe):
    """Without batch norm the mean of the parts' gradients is the gradient of the whole."""
    x, target = batch()
    ends = []
    for count in (1, 2, 4):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(784, 7))
        settings = recipe(opt="sgd", batch_size=8, accumulate=count, ema=0.0)
        parts = list(zip(x.chunk(count), target.chunk(count), strict=True))
        loss = stepper(settings, model).step(parts, 0)
        ends.append((loss, weights(model)))
    for loss, state in ends[1:]:
        assert loss == pytest.approx(ends[0][0], rel=1e-5)
        for name, value in state.items():
            torch.testing.assert_close(value, ends[0][1][name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_running_statistics_take_the_mean_of_all_parts_once(recipe, count):
    """``(1 - m) old + m mean``, as several processes that average theirs arrive at."""
    x, target = batch()
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(768, 7))
    settings = recipe(opt="sgd", batch_size=8, accumulate=count)
    one = stepper(settings, model)
    parts = list(zip(x.chunk(count), target.chunk(count), strict=True))
    for update in (0, 1):
        one.step(parts, update)
    mean = torch.stack([p.mean((0, 2, 3)) for p, _ in parts]).mean(0)
    var = torch.stack([p.var((0, 2, 3)) for p, _ in parts]).mean(0)
    torch.testing.assert_close(model[0].running_mean, (1 - 0.9**2) * mean)
    torch.testing.assert_close(model[0].running_var, 0.9**2 + (1 - 0.9**2) * var)


@pytest.mark.parametrize(
    "changes", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}]
)
def test_mixing_depends_on_seed_and_step_alone(recipe, changes):
    parts = [batch()]
    ends = []
    for _ in range(2):
        torch.manual_seed(0)
        model = timm.create_model(NAME)
        one = stepper(recipe(opt="sgd", batch_size=8, **changes), model)
        one.step([(parts[0][0].clone(), parts[0][1])], 3)
        ends.append(weights(model))
        torch.rand(7)  # must not matter
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())
    torch.manual_seed(0)
    plain = timm.create_model(NAME)
    stepper(recipe(opt="sgd", batch_size=8), plain).step(parts, 3)
    assert not torch.equal(plain.fc.weight, ends[0]["fc.weight"])


def test_smoothed_targets_of_mixing_and_of_plain_steps_agree(recipe):
    """Where nothing can be mixed the loss is label smoothing's, whichever way it is made."""
    x, target = batch()
    x, target = torch.cat([x[:1]] * 4), torch.cat([target[:1]] * 4)  # equal images: mixing is moot
    losses = []
    for mixup in (0.0, 0.4):
        torch.manual_seed(0)
        model = timm.create_model(NAME)
        one = stepper(recipe(opt="sgd", batch_size=4, mixup=mixup, smoothing=0.2), model)
        losses.append(one.step([(x.clone(), target)], 0))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("mixup", [0.0, 0.4])
def test_unreadable_images_do_not_count(recipe, mixup):
    x, target = batch()
    ends = []
    for rows, marks in ((slice(2, 8), False), (slice(0, 8), True)):
        torch.manual_seed(0)
        model = timm.create_model(NAME)
        one = stepper(recipe(opt="sgd", batch_size=8, smoothing=0.1, mixup=0.0), model)
        if marks:
            one = stepper(recipe(opt="sgd", batch_size=8, smoothing=0.1, mixup=mixup), model)
            x, target = x.clone(), target.clone()
            x[:2], target[:2] = 0, torch.tensor([-4, -9])
        one.step([(x[rows], target[rows])], 0)
        ends.append(weights(model))
    for name, value in ends[0].items():
        torch.testing.assert_close(value, ends[1][name])


def test_a_batch_of_nothing_changes_no_weight_but_is_no_error(recipe):
    model = timm.create_model(NAME)
    before = weights(model)
    one = stepper(recipe(opt="sgd", batch_size=8, weight_decay=0.0), model)
    assert one.step([(torch.zeros(4, 3, 16, 16), torch.full((4,), -1))], 0) == 0.0
    assert torch.equal(model.fc.weight, before["fc.weight"])


def test_a_loss_that_is_no_number_leaves_the_weights(recipe):
    model = timm.create_model(NAME)
    before = model.conv1.weight.clone()
    x, target = batch()
    x[0, 0, 0, 0] = float("nan")
    assert stepper(recipe(opt="sgd", batch_size=8), model).step([(x, target)], 0) != 0.0
    assert torch.equal(model.conv1.weight, before)
