"""``mscnn.scales.sweep``: batches against each view alone, scores against paper."""

import copy
import math
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from mscnn.errors import BoxError, OptionError
from mscnn.photos.preprocess import Preprocessor
from mscnn.results.scales import SweepStep
from mscnn.scales import splits
from mscnn.scales.canvas import CANVASES, compose, whole
from mscnn.scales.receptive_field import fields
from mscnn.scales.sweep import FACTORS, Plan, energy_ratio, measure, score
from mscnn.scales.topology import trace
from tests.conftest import FAMILIES, STAGES

TARGET = 3
SOME = (1.7, 1.0, 0.45, 0.2)


def sweep(model, batch, *, target=TARGET, field=None, **how):
    options = {"stages": STAGES, "linear": model.fc, "place": lambda x: x, **how}
    return measure(model, batch, target, field=field, **options)


@pytest.fixture
def preprocess(loaded):
    return Preprocessor(loaded("resnet").data_config)


@pytest.fixture
def views(photo, preprocess):
    return next(Plan(factors=SOME).batches(photo, preprocess))


@contextmanager
def counted(model):
    """The batch size of every forward."""
    seen: list[int] = []
    handle = model.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    try:
        yield seen
    finally:
        handle.remove()


def traced(model):
    return fields(trace(copy.deepcopy(model), STAGES), model="tiny", input_px=96)


def alone(model, shown):
    """Logits and last-stage Grad-CAM of one view, by timm's own halves of the forward."""
    activation = model.forward_features(shown.x).detach().requires_grad_()
    logits = model.forward_head(activation)[0]
    (gradient,) = torch.autograd.grad(logits[TARGET], activation)
    cam = (gradient.mean(dim=(2, 3), keepdim=True) * activation).sum(dim=1)[0]
    return logits.detach().double(), cam.detach()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_gives_what_each_view_gives_alone(family, tiny, views):
    model = tiny(family)
    with counted(model) as forwards:
        steps = sweep(model, views)
    assert forwards == [4]
    for shown, step in zip(views, steps, strict=True):
        logits, cam = alone(model, shown)
        assert (step.factor, step.rect) == (shown.factor, shown.rect)
        assert step.view is shown.view
        assert step.probability == pytest.approx(float(logits.softmax(0)[TARGET]), rel=1e-4)
        assert step.rank == 1 + logits.argsort(descending=True).tolist().index(TARGET)
        np.testing.assert_allclose(step.raw, cam.numpy(), rtol=1e-3, atol=1e-5)
        left, top, right, bottom = shown.rect
        on_view = nn.functional.interpolate(
            cam.relu()[None, None].double(), (96, 96), mode="bilinear"
        )[0, 0]
        inside, area = on_view[top:bottom, left:right].sum(), (right - left) * (bottom - top)
        if float(on_view.sum()) == 0:
            assert step.energy_ratio is None
        else:
            expected = float(inside / on_view.sum()) * 96 * 96 / area
            assert step.energy_ratio == pytest.approx(expected, rel=1e-3)
        assert step.weighted_rf_px is None


def test_the_weighted_field_is_that_of_each_view_alone(tiny, views):
    model = tiny("res2net")
    field = traced(model)
    steps = sweep(model, views, field=field)
    for shown, step in zip(views, steps, strict=True):
        of_blocks = []
        for name, evidence in (
            splits.batch_evidence(model, shown.x, [TARGET], STAGES).sample(0).items()
        ):
            sizes = np.array([s.rf_max_px for s in field.block(name).splits])
            of_blocks.append((evidence * sizes).sum() / evidence.sum())
        assert step.weighted_rf_px == pytest.approx(np.mean(of_blocks), rel=1e-4)


@pytest.mark.parametrize("family", ["resnet", "resnest"])
def test_a_single_path_has_no_weighted_field(family, tiny, views):
    model = tiny(family)
    field = traced(model)
    steps = sweep(model, views[:1], field=field)
    assert steps[0].weighted_rf_px is None


class Plain(nn.Module):
    """No residual blocks; ``squashed`` puts something between the pool and the linear layer."""

    def __init__(self, squashed):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 8, stride=16), nn.ReLU(inplace=True))
        self.squash = nn.Tanh() if squashed else nn.Identity()
        self.fc = nn.Linear(6, 5)
        self.eval().requires_grad_(False)

    def forward_features(self, x):
        return self.body(x)

    def forward_head(self, x):
        return self.fc(self.squash(x.mean(dim=(2, 3))))

    def forward(self, x):
        return self.forward_head(self.forward_features(x))


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("squashed", [True, False])
def test_a_network_without_blocks(squashed, told, views):
    torch.manual_seed(0)
    model = Plain(squashed)
    linear = model.fc if told else None
    with counted(model) as forwards:
        steps = sweep(model, views, stages=["body"], linear=linear)
    # The closed form is tried and found not to hold, so a second forward keeps a graph.
    assert forwards == ([4, 4] if squashed and told else [4])
    for shown, step in zip(views, steps, strict=True):
        logits, cam = alone(model, shown)
        assert step.probability == pytest.approx(float(logits.softmax(0)[TARGET]), rel=1e-5)
        np.testing.assert_allclose(step.raw, cam.numpy(), rtol=1e-4, atol=1e-6)


def test_equal_logits_share_the_better_rank(views):
    model = Plain(squashed=False)
    nn.init.zeros_(model.fc.weight)
    model.fc.bias.copy_(torch.tensor([1.0, 5.0, 5.0, 1.0, 0.0]))

    def ranks(target):
        step = sweep(model, views[:1], target=target, stages=["body"])[0]
        assert step.energy_ratio is None, "a map of zeros has no evidence to share"
        return step.rank

    assert [ranks(target) for target in range(5)] == [3, 1, 1, 3, 5]


@pytest.mark.parametrize("family", ["resnet", "res2net"])
def test_the_size_of_the_batches_does_not_matter(family, tiny, photo, preprocess):
    model = tiny(family)
    field = traced(model)
    swept: list[list[SweepStep]] = []
    for size, counts in ((1, [1] * 12), (5, [5, 5, 2]), (12, [12])):
        steps: list[SweepStep] = []
        with counted(model) as forwards:
            for batch in Plan().batches(photo, preprocess, size=size):
                steps += sweep(model, batch, field=field)
        assert forwards == counts
        assert tuple(step.factor for step in steps) == FACTORS
        swept.append(steps)
    for one, *others in zip(*swept, strict=True):
        for other in others:
            assert np.array_equal(one.view, other.view)
            assert (one.rect, one.rank) == (other.rect, other.rank)
            assert one.probability == pytest.approx(other.probability, rel=1e-4)
            assert one.energy_ratio == pytest.approx(other.energy_ratio, rel=1e-3)
            assert (one.weighted_rf_px is None) == (family == "resnet")
            if one.weighted_rf_px is not None:
                assert one.weighted_rf_px == pytest.approx(other.weighted_rf_px, rel=1e-4)
            np.testing.assert_allclose(one.raw, other.raw, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("cam", "rect", "ratio"), [
    (np.ones((3, 3)), (10, 20, 30, 60), 1.0), (np.ones((3, 3)), (0, 0, 96, 96), 1.0),
    (np.full((2, 2), -1.0), (0, 0, 10, 10), None), (np.zeros((2, 2)), (0, 0, 10, 10), None),
    # Half of the view holds all but what is interpolated: columns 1, .75, .25, 0 of 4 px.
    (np.array([[1.0, -5.0]]), (0, 0, 2, 4), (1.75 / 2.0) / 0.5),
    (np.array([[1.0, -5.0]]), (3, 0, 4, 4), 0.0),
])  # fmt: skip
def test_energy_on_paper(cam, rect, ratio):
    size = (96, 96) if cam.shape[0] == 3 or ratio is None else (4, 4)
    found = energy_ratio(cam.astype(np.float32), rect, size)
    assert found == (None if ratio is None else pytest.approx(ratio, rel=1e-6))


@pytest.mark.parametrize(("points", "octaves", "mean"), [
    # Never below half of its best.
    ({2.0: 0.8, 1.0: 0.8, 0.5: 0.8}, 2.0, 0.8), ({2.0: 0.5, 1.0: 1.0, 0.5: 0.5}, 2.0, 0.75),
    # From 1 at 1x down to 0 at both ends, two octaves wide: half of it is above half.
    ({2.0: 0.0, 1.0: 1.0, 0.5: 0.0}, 1.0, 0.5),
    # Crosses 0.3 two thirds of the way from 0.6 to 0.15 (an octave), then stays below.
    ({1.0: 0.6, 0.5: 0.15, 0.25: 0.0}, 2 / 3, (0.375 + 0.075) / 2),
    # Two separate hills count together: a quarter each of four octaves between 1 and 0.5.
    ({4.0: 1.0, 1.0: 0.0, 0.25: 1.0}, 2.0, 0.5),
    # Unequal steps: one octave at 1, then three down to 0.
    ({4.0: 1.0, 2.0: 1.0, 0.25: 0.0}, 1.0 + 1.5, (1.0 + 1.5) / 4),
    ({0.25: 0.0, 2.0: 1.0, 4.0: 1.0}, 2.5, 0.625), ({1.0: 0.0, 0.5: 0.0}, 1.0, 0.0),
    ({1.0: 0.7}, 0.0, 0.7),
])  # fmt: skip
def test_scores_on_paper(points, octaves, mean):
    assert list(score(list(points), list(points.values()))) == pytest.approx([octaves, mean])
    assert list(score([0.5, 0.5], [0.2, 0.6])) == pytest.approx([0.0, 0.4]), "one size twice"


def test_the_sizes_are_twelve_from_double_to_a_tenth():
    assert (FACTORS[0], FACTORS[-1], len(FACTORS)) == (2.0, 0.1, 12)
    steps = [math.log2(a / b) for a, b in pairwise(FACTORS)]
    np.testing.assert_allclose(steps, math.log2(20) / 11, atol=0.01)
    assert Plan(factors=(0.5, 2, 1)).factors == (2.0, 1.0, 0.5), "largest first"


@pytest.mark.parametrize(("options", "message"), [
    ({"factors": ()}, "No size was given"), ({"factors": (1.0, 0.0)}, "The size 0 is out of range"),
    ({"factors": (4.1,)}, "The size 4.1 is out of range; sizes are 0.05 to 4 times"),
    ({"factors": (-1.0,)}, "The size -1 is out of range"),
    ({"factors": (math.nan,)}, "The size nan is out of range"),
    ({"canvas": "sky"}, "The canvas 'sky' is unknown"), ({"box": (0.1, 0.1, 0.1, 0.5)}, "empty"),
])  # fmt: skip
def test_bad_options(options, message):
    with pytest.raises((OptionError, BoxError), match=message):
        Plan(**options)


def test_a_box_of_less_than_two_pixels(preprocess):
    plan = Plan(box=(0.0, 0.0, 0.02, 0.5))
    with pytest.raises(BoxError, match="1 x 30 px"):
        next(plan.batches(Image.new("RGB", (60, 60)), preprocess))


def test_batches_are_the_composed_views(photo, preprocess):
    box = (0.25, 0.2, 0.75, 0.8)
    for canvas in ("mean", "blur", "edge"):
        plan = Plan(factors=SOME, canvas=canvas, box=box)
        for batch, factors in zip(
            plan.batches(photo, preprocess, size=3), (SOME[:3], SOME[3:]), strict=True
        ):
            for shown, factor in zip(batch, factors, strict=True):
                view, rect = compose(photo, box, factor, (96, 96), canvas, preprocess.mean_colour)
                assert (shown.factor, shown.rect) == (factor, rect)
                assert np.array_equal(shown.view, view)
                assert torch.equal(shown.x, preprocess.tensor_of(view))


@pytest.mark.parametrize("canvas", CANVASES)
def test_the_view_of_a_grey_network_is_grey_on_every_canvas(canvas, photo, loaded):
    config = {"input_size": (1, 96, 96), "mean": (0.45,), "std": (0.22,)}
    grey = Preprocessor(loaded("resnet", **config).data_config)
    shown = next(Plan(factors=(0.5,), canvas=canvas).batches(photo, grey))[0]
    assert np.ptp(shown.view, axis=2).max() == 0
    expected = (shown.view[..., 0] / 255 - 0.45) / 0.22
    np.testing.assert_allclose(shown.x[0, 0].numpy(), expected, atol=1e-5)


def test_the_mean_canvas_is_zero_to_the_network(preprocess):
    black = Image.new("RGB", (10, 10))
    shown = next(Plan(factors=(0.25,)).batches(black, preprocess))[0]
    assert float(shown.x[..., :30, :].abs().max()) < 0.02
    assert float(shown.x[..., 40:56, 40:56].max()) < -1.5


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (7, 5), (640, 480)])
def test_every_size_of_photo(size, network):
    noise = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    net = network("res2net")
    found = net.sweep(Image.fromarray(noise), factors=SOME, target=TARGET)
    assert [step.factor for step in found.steps] == list(SOME)
    assert all(0 < step.probability < 1 and 1 <= step.rank <= 12 for step in found.steps)
    for step in found.steps:
        left, top, right, bottom = step.rect
        assert 0 <= left < right <= 96
        assert 0 <= top < bottom <= 96
        assert max(right - left, bottom - top) == min(96, round(96 * step.factor))
    assert found.octaves is not None
    assert 0 <= found.octaves <= math.log2(SOME[0] / SOME[-1])


@pytest.mark.parametrize(
    "box", [(0.0, 0.0, 0.1, 0.1), (0.9, 0.9, 1.0, 1.0), (0.0, 0.5, 1.0, 0.6), whole()]
)
def test_boxes_at_the_border(box, photo, network):
    found = network("resnet").sweep(photo, factors=(1.0, 0.5), target=TARGET, box=box)
    width, height = (box[2] - box[0]) * 120, (box[3] - box[1]) * 90
    left, top, right, bottom = found.steps[0].rect
    assert (right - left) / (bottom - top) == pytest.approx(width / height, rel=0.1)
    assert max(right - left, bottom - top) == 96


def test_progress_and_stop(photo, network):
    done: list[tuple[int, int]] = []

    def report(now, total):
        done.append((now, total))

    def stopped_by(limit):
        done.clear()
        found = network("resnet").sweep(
            photo, target=TARGET, on_progress=report,
            is_cancelled=lambda: bool(done) and done[-1][0] >= limit,
        )  # fmt: skip
        assert (found.octaves is None) == (limit < 12)
        return found.steps

    assert len(stopped_by(12)) == 12
    assert done == [(6, 12), (12, 12)]
    assert len(stopped_by(6)) == 6
