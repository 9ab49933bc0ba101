"""Trust as the Python API gives it: a detector made by hand, and tiny networks."""

import sys
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_grad_cam as package
import torch
from PIL import Image
from pytorch_grad_cam.metrics.cam_mult_image import DropInConfidence, IncreaseInConfidence
from pytorch_grad_cam.metrics.road import ROADCombined
from pytorch_grad_cam.utils.model_targets import (
    ClassifierOutputSoftmaxTarget,
    ClassifierOutputTarget,
    FinerWeightedTarget,
)
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr
from torch import nn

from mscnn.engine.network import Network
from mscnn.errors import (
    BoxError,
    Cancelled,
    MethodError,
    OptionError,
    UnknownClassError,
    UnknownLayerError,
)
from mscnn.maps import packaged
from mscnn.maps.methods import METHODS, Method
from mscnn.maps.single_pass import RawMaps
from mscnn.models.labels import LabelSet
from mscnn.models.loading import LoadedModel
from mscnn.results.explanation import WeightsInfo
from mscnn.results.schema import csv_text, document, table
from mscnn.trust.plan import GRID, PARTS, Plan
from tests.conftest import STAGES

CELL, SIDE = 8, 96
AT = (slice(16, 48), slice(56, 88))
"""The patch of the detector's photo: 4 x 4 cells, off the middle."""


class Detector(nn.Module):
    """Classes 0 and 1 are how much of the photo is red and blue, in cells of 8 x 8 px."""

    def __init__(self):
        super().__init__()
        conv = nn.Conv2d(3, 2, CELL, CELL)
        self.layer1 = nn.Sequential(conv, nn.ReLU())
        self.fc = nn.Linear(2, 3)
        with torch.no_grad():
            colours = torch.tensor([[1.0, -1.0, -1.0], [-1.0, -1.0, 1.0]])
            conv.weight[:] = colours[:, :, None, None] / CELL**2
            conv.bias[:] = -0.5
            self.fc.weight[:] = torch.tensor([[60.0, 0.0], [0.0, 60.0], [0.0, 0.0]])
            self.fc.bias[:] = torch.tensor([-6.0, -6.0, 0.0])

    def forward(self, x):
        return self.fc(self.layer1(x).mean((2, 3)))


@pytest.fixture
def detector():
    loaded = LoadedModel(
        name="detector", model=Detector().eval().requires_grad_(False),
        labels=LabelSet(("red", "blue", "other")), weights=WeightsInfo("file", "x", "0" * 64),
        data_config={
            "input_size": (3, SIDE, SIDE), "interpolation": "bicubic", "mean": (0.5,) * 3,
            "std": (0.5,) * 3, "crop_pct": 1.0, "crop_mode": "center",
        },
        stages=("layer1",), head="fc",
    )  # fmt: skip
    return Network(loaded, torch.device("cpu"))


class ChannelsLast(Detector):
    """The same with its channels last after the stage, as inside ConvNeXt's blocks."""

    def __init__(self):
        super().__init__()
        self.inside = nn.Identity()

    def forward(self, x):
        return self.fc(self.inside(self.layer1(x).permute(0, 2, 3, 1)).mean((1, 2)))


def box_of(patch):
    rows, columns = patch
    return tuple(at / SIDE for at in (columns.start, rows.start, columns.stop, rows.stop))


@pytest.fixture
def red():
    pixels = np.random.default_rng(0).integers(90, 165, (SIDE, SIDE, 3))
    pixels[AT] = (250, 20, 20)
    return Image.fromarray(pixels.astype(np.uint8))


def test_the_true_map_beats_every_control(detector, red):
    done = detector.trust(red, target="red", plan=Plan(parts=("scores",), draws=5, road=(90,)))
    (made,) = done.maps
    assert done.target.probability > 0.9
    assert made.verdict.level == 3
    assert made.verdict.beats_random == made.verdict.beats_blob == made.verdict.of == 7
    assert "prefer the map" in done.disagreement
    # The same pixels, covered by hand.
    cover = np.zeros((1, 3, SIDE, SIDE), np.float32)
    x = detector.preprocess(red).x.numpy()
    strength = np.asarray(
        Image.fromarray(made.cam.raw).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    )
    cut = np.sort(strength.ravel())[-round(SIDE**2 / 10)]  # the second of 20 steps
    seen = torch.from_numpy(np.where(strength >= cut, cover, x).astype(np.float32))
    chance = detector.model(seen).softmax(1)[0, 0].item()
    assert made.candidates[0].curves["deletion_mean"][2] == pytest.approx(chance, abs=0.02)


@pytest.fixture
def method(monkeypatch):
    """``method(compute)``: the name of a method that this function computes."""

    def add(compute):
        row = Method("mine", "Mine", "forward", False, "", "", by="mine:maps")
        monkeypatch.setitem(sys.modules, "mine", SimpleNamespace(maps=compute))
        monkeypatch.setitem(METHODS, "mine", row)
        return "mine"

    return add


def test_a_random_map_beats_none(detector, red, method):
    draws = iter(range(100, 106))

    def noise(model, x, layers, targets, **_):
        field = np.random.default_rng(next(draws)).standard_normal((12, 12))
        raw = gaussian_filter(field, 1.2).astype(np.float32)
        return RawMaps(np.zeros(2, np.float32), (0,), {(layers[0], 0): raw})

    plan = Plan(methods=(method(noise),), parts=("scores",), steps=10, road=())
    made = [detector.trust(red, target=0, plan=plan).maps[0] for _ in range(6)]
    assert [one.verdict.level for one in made] == [0] * 6


def test_the_object_is_found_where_it_was_put(detector, red):
    """The patch is the object; on the mean colour nothing else is red."""
    box = box_of(AT)
    plan = Plan(parts=("localisation",), box=box, draws=3)
    found = detector.trust(red, target=0, plan=plan).maps[0].localisation
    assert len(found.placements) == 15
    on, blob, _, random = found.mean
    assert (on.kind, blob.kind, random.kind) == ("map", "blob", "random")
    assert on.pointing_game == 1
    assert on.energy_ratio > 3 * max(blob.energy_ratio, random.energy_ratio)
    corner = next(p for p in found.placements if (p.factor, p.position) == (0.25, "top right"))
    assert corner.rect == (72, 0, 96, 24)
    assert (corner.view[:24, 72:, 0] > 200).mean() > 0.9
    assert (corner.view[30:] == 128).all()
    # On the photo itself: half a cell of blur on each side of 4 x 4 cells.
    assert found.box[0].energy_ratio == pytest.approx(SIDE**2 / 32**2, rel=0.15)


@pytest.mark.parametrize(("target", "other"), [("red", "blue"), ("blue", "red")])
def test_of_two_objects_the_contrast_shows_one(detector, red, target, other):
    places = {"red": AT, "blue": (slice(56, 80), slice(8, 40))}
    pixels = np.array(red)
    pixels[places["blue"]] = (20, 20, 250)
    for of, inside in ((target, True), (other, False)):
        plan = Plan(against=(other,), parts=("localisation",), factors=(0.5,), draws=1,
                    box=box_of(places[of]))  # fmt: skip
        made = detector.trust(Image.fromarray(pixels), target=target, plan=plan).maps[0]
        own = made.localisation.box[0]
        assert own.pointing_game == inside
        assert (own.energy_ratio > 5) is inside
        assert made.cam.raw.max() > 0 > made.cam.raw.min()


@pytest.mark.parametrize(("method", "theirs"), [
    ("hirescam", package.HiResCAM), ("xgradcam", package.XGradCAM),
])  # fmt: skip
def test_the_energy_is_that_of_the_packages_own_map(network, photo, method, theirs):
    net = network("resnet")
    plan = Plan(methods=(method,), parts=("localisation",), factors=(0.5,), draws=1)
    placements = net.trust(photo, target=3, plan=plan).maps[0].localisation.placements
    assert len(placements) == 5
    for placed in placements:
        x = net.preprocess.tensor_of(placed.view).requires_grad_()
        with theirs(net.model, [net.model.layer4]) as cam:
            shown = cam(x, [ClassifierOutputTarget(3)])[0].astype(float)
        left, top, right, bottom = placed.rect
        area = (right - left) * (bottom - top) / shown.size
        energy = shown[top:bottom, left:right].sum() / shown.sum() / area
        assert placed.located[0].energy_ratio == pytest.approx(energy, abs=1e-3)


def test_stability_is_that_of_a_photo_changed_by_hand(network, photo):
    net = network("res2net")
    made = net.trust(photo, target=3, plan=Plan(parts=("stability",))).maps[0]
    assert [step.change for step in made.stability] == ["flip", "shift", "zoom", "noise"]
    size, view = net.preprocess.view_size, net.preprocess(photo).view
    mirrored = net.preprocess.tensor_of(np.ascontiguousarray(view[:, ::-1]))

    def shown(x):
        with torch.enable_grad():
            kept = net.model.forward_features(x).requires_grad_()
            logits = net.model.forward_head(kept)
            (gradient,) = torch.autograd.grad(logits[0, 3], kept)
        raw = (gradient.mean((2, 3), keepdim=True) * kept).sum(1)[0].detach().numpy()
        return np.asarray(Image.fromarray(raw).resize(size, Image.Resampling.BILINEAR)), logits

    before, _ = shown(net.preprocess(photo).x)
    after, logits = shown(mirrored)
    wanted = spearmanr(before.ravel(), after[:, ::-1].ravel()).statistic
    assert made.stability[0].correlation == pytest.approx(wanted, abs=1e-3)
    assert made.stability[0].probability == pytest.approx(logits.softmax(1)[0, 3].item(), abs=1e-5)


@pytest.mark.parametrize(("family", "method"), [("res2net", "gradcam"), ("resnest", "layercam")])
def test_randomisation_is_of_a_copy_and_the_same_each_time(network, photo, family, method):
    """That the shared network is left alone is checked after every test."""
    plan = Plan(methods=(method,), layers=("3",), parts=("randomisation",))
    first, second = (network(family).trust(photo, plan=plan).maps[0] for _ in range(2))
    steps = first.randomisation.steps
    assert [step.part for step in steps] == ["fc", "layer4", "layer3", "layer2", "layer1", "stem"]
    for step, again in zip(steps, second.randomisation.steps, strict=True):
        np.testing.assert_array_equal(step.raw, again.raw)
        wanted = spearmanr(step.raw.ravel(), first.cam.raw.ravel()).statistic
        assert step.similarity == pytest.approx(wanted, abs=1e-6)
    assert first.randomisation.follows_weights is (abs(steps[-1].similarity) < 0.5)


def test_road_is_that_of_the_package(network, photo, monkeypatch):
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)
    net, percentiles = network("resnet"), (90, 80)
    plan = Plan(parts=("scores",), steps=2, draws=1, road=percentiles)
    made = net.trust(photo, target=3, plan=plan).maps[0]
    x, size = net.preprocess(photo).x, net.preprocess.view_size
    on_view = np.array(
        Image.fromarray(made.cam.raw).resize(size, Image.Resampling.BILINEAR), np.float32
    )
    on_view = (on_view - on_view.min()) / np.ptp(on_view)
    theirs = ROADCombined(percentiles)(
        x, on_view[None], [ClassifierOutputSoftmaxTarget(3)], net.model
    )
    assert made.scores.road == pytest.approx(float(theirs[0]), abs=1e-4)


def test_drop_is_that_of_the_package(network, photo):
    net = network("resnet")
    made = net.trust(photo, target=3, plan=Plan(parts=("scores",), steps=2, draws=1, road=())).maps[
        0
    ]
    x, target = net.preprocess(photo).x, [ClassifierOutputSoftmaxTarget(3)]
    on_view = made.cam.on_view() / made.cam.on_view().max()
    before = net.model(x).softmax(1)[0, 3].item()
    dropped = DropInConfidence()(x, on_view[None], target, net.model)[0]
    assert made.scores.average_drop == pytest.approx(dropped / before, abs=1e-5)
    assert made.scores.increase == IncreaseInConfidence()(x, on_view[None], target, net.model)[0]


def test_one_class_in_contrast_to_others(network, photo):
    net = network("res2net")
    best, *_, fifth = (score.index for score in net.predict(photo).top)
    plan = Plan(against=(fifth, "thing 7"), parts=("scores",), steps=4, draws=2, road=())
    done = net.trust(photo, target=best, plan=plan)
    assert [done.target.index, *(score.index for score in done.against)] == [best, fifth, 7]
    difference, finer = done.maps
    maps = [net.explain(photo, targets=[t]).maps[0].raw for t in (best, fifth, 7)]
    np.testing.assert_allclose(difference.cam.raw, maps[0] - (maps[1] + maps[2]) / 2, atol=1e-5)
    x, shown = net.preprocess(photo).x.requires_grad_(), finer.cam.on_view()
    with package.FinerCAM(net.model, [net.model.layer4]) as cam:
        theirs = cam(x, [FinerWeightedTarget(best, [fifth, 7], 1.0)])[0]
    np.testing.assert_allclose((shown - shown.min()) / np.ptp(shown), theirs, atol=1e-4)
    chance = np.exp(done.prediction.logits[[best, fifth, 7]].astype(float))
    first = difference.candidates[0].curves["deletion_mean"][0]
    assert first == pytest.approx(chance[0] / chance.sum(), abs=1e-5)


def test_beside_one_class_finer_cam_is_the_difference(network, photo):
    plan = Plan(against=(5,), parts=(), methods=("difference", "finercam"))
    first, second = network("resnext").trust(photo, target=3, plan=plan).maps
    np.testing.assert_allclose(first.cam.raw, second.cam.raw, atol=1e-5)
    assert Plan(against=(5,)).methods == ("difference",)


BRIEF = replace(GRID, methods=("gradcam", "layercam"), steps=2, draws=1)


def test_a_grid_of_methods_and_layers(network, photo):
    done = network("resnet").trust(photo, plan=BRIEF)
    pairs = [(made.method, made.layer) for made in done.maps]
    assert pairs == [(m, layer) for m in ("gradcam", "layercam") for layer in STAGES]
    assert all(made.map_seconds > 0 for made in done.maps)
    assert len(done.ranks) == 8 * 4
    assert done.recommended.reason
    written = document(done)
    assert [made["verdict_level"] is None for made in written["maps"]] == [False] * 8
    assert csv_text(table(done.maps)).count("\n") == 9
    assert set(GRID.methods) == {name for name, row in METHODS.items() if not row.is_slow}


def test_a_method_that_fails_leaves_the_others(network, photo, method):
    def fail(*_, **__):
        raise MethodError("It cannot be used here.")

    plan = replace(BRIEF, methods=(method(fail), "gradcam"), layers=("last",), parts=())
    failed, made = network("resnet").trust(photo, plan=plan).maps
    assert (failed.note, failed.cam) == ("It cannot be used here.", None)
    assert made.cam is not None
    assert 0 < network("resnet").trust_seconds(photo, plan=plan) < 60
    alone = replace(plan, methods=("mine",))
    for use in (network("resnet").trust, network("resnet").trust_seconds):
        with pytest.raises(MethodError, match="cannot be used"):
            use(photo, plan=alone)


def test_a_method_too_large_for_the_first_layer_is_timed_at_the_next(network, photo, method):
    def compute(model, x, layers, targets, **_):
        asked.append(layers[0])
        if layers[0] == "layer1":
            raise MethodError("Too many positions.")
        return RawMaps(np.zeros(12, np.float32), (0,), {(layers[0], 0): np.eye(4, dtype="f4")})

    asked: list[str] = []
    plan = Plan(methods=(method(compute),), layers=("stages",), parts=())
    assert network("resnet").trust_seconds(photo, target=0, plan=plan) > 0
    assert asked == ["layer1", "layer2", "layer2"]


def test_progress_counts_what_was_announced(network, photo):
    seen: list[tuple[int, int]] = []
    plan = Plan(steps=2, draws=1, road=(90,), factors=(0.5,), baselines=("blur",))
    network("resnet").trust(photo, plan=plan, on_progress=lambda *done: seen.append(done))
    assert seen[-1] == (seen[-1][1],) * 2
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert 0 < network("resnet").trust_seconds(photo, plan=plan) < 60


def test_an_estimate_counts_no_imports(detector, red, method, monkeypatch):
    now, known = [0.0], set[str]()

    def imported(name):
        now[0] += 0 if name in known else 1000
        known.add(name)

    def compute(model, x, layers, targets, **_):
        imported("method")
        now[0] += 1
        return RawMaps(np.zeros(3, np.float32), (0,), {(layers[0], 0): np.eye(4, dtype="f4")})

    def road(*_):
        now[0] += 2
        return 0.0

    def packaged():
        imported("package")
        return SimpleNamespace(road=road)

    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    monkeypatch.setattr("mscnn.engine.trust._packaged", packaged)
    plan = Plan(methods=(method(compute),), parts=("scores",), draws=1, road=(90,))
    # One map, and for each of the map and three controls two fillings of a second.
    assert detector.trust_seconds(red, target=0, plan=plan) == 1 + 4 * 2


@pytest.mark.parametrize(("after", "kept"), [
    (84, (0, 0, 0, 0)), (94, (2, 0, 0, 0)), (107, (4, 3, 0, 0)), (112, (4, 6, 2, 0)),
    (120, (4, 6, 4, 6)), (129, (4, 6, 4, 15)),
])  # fmt: skip
def test_stop_keeps_what_was_done(network, photo, after, kept):
    """83 pictures for all maps, the map, 4 candidates of 5, 6 random networks, 4 changes, 15."""
    done = [0]
    result = network("resnet").trust(
        photo, plan=Plan(steps=3, draws=1, road=(), baselines=("mean",)),
        on_progress=lambda now, _: done.append(now), is_cancelled=lambda: done[-1] >= after,
    )  # fmt: skip
    (made,) = result.maps
    steps = made.randomisation.steps if made.randomisation else ()
    placed = made.localisation.placements if made.localisation else ()
    assert (len(made.candidates), len(steps), len(made.stability), len(placed)) == kept
    judged = made.randomisation and made.randomisation.follows_weights is not None
    assert bool(judged) is (len(steps) == 6)
    assert result.partial is (after < 129)
    assert (made.verdict.level is None) is (kept[0] < 4)
    assert document(result)["partial"] is result.partial


def test_stop_before_anything_is_done(network, photo):
    with pytest.raises(Cancelled, match="before the first map"):
        network("resnet").trust(photo, is_cancelled=lambda: True)


@pytest.mark.parametrize(("how", "error", "words"), [
    ({"methods": ("gradcan",)}, MethodError, "Did you mean 'gradcam'"),
    ({"methods": ("finercam",)}, MethodError, "no method 'finercam'"),
    ({"methods": ("gradcam",), "against": (1,)}, OptionError, "choose one of difference, finercam"),
    ({"parts": ("score",)}, OptionError, "choose one of scores, randomisation"),
    ({"baselines": ("grey",)}, OptionError, "choose one of mean, blur"),
    ({"baselines": ()}, OptionError, "at least one layer"),
    ({"steps": 1}, OptionError, "step count is 1; give 2 to 200"),
    ({"seed": -1}, OptionError, "seed is -1; give 0 to"),
    ({"draws": 0}, OptionError, "random maps is 0; give 1 to 99"),
    ({"road": (0,)}, OptionError, "percentile is 0; give 1 to 99"),
    ({"factors": (1.5,)}, OptionError, "0.05 to 1 times"),
    ({"layers": ()}, OptionError, "at least one layer"),
    ({"canvas": "sky"}, OptionError, "canvas 'sky' is unknown"),
    ({"box": (0.5, 0, 0.5, 1)}, BoxError, "box is empty"),
])  # fmt: skip
def test_what_no_model_can_do_is_said_before_one_is_loaded(how, error, words):
    with pytest.raises(error, match=words):
        Plan(**how)


def test_what_is_named_twice_is_done_once():
    given = {"parts": ["scores"] * 2, "layers": "last", "road": [90, 90]}
    plan = Plan(methods=("Grad-CAM", "gradcam"), **given)  # type: ignore[arg-type]
    assert (plan.methods, plan.parts) == (("gradcam",), ("scores",))
    assert (plan.layers, plan.road) == (("last",), (90,))


@pytest.mark.parametrize(("how", "error", "words"), [
    ({"plan": Plan(layers=("layer9",))}, UnknownLayerError, "choose one of layer1"),
    ({"plan": Plan(box=(0, 0, 0.05, 1))}, BoxError, "sees nothing"),
    ({"plan": Plan(box=(0.5, 0.5, 0.511, 0.6))}, BoxError, "1 x 9 px of the photo"),
    ({"plan": Plan(against=(3,)), "target": 3}, OptionError, "named twice"),
    ({"plan": Plan(against=(99,))}, UnknownClassError, "99"),
    ({"target": "top5"}, OptionError, "One class"),
])  # fmt: skip
def test_what_this_model_cannot_do_is_said_at_once(network, photo, how, error, words):
    with pytest.raises(error, match=words):
        network("res2net").trust(photo, **how, is_cancelled=lambda: pytest.fail("too late"))


def test_what_a_method_refuses_is_left_out_unless_nothing_remains(network, photo, monkeypatch):
    plan, net = Plan(methods=("kpcacam",), layers=("stages",), parts=()), network("resnet")
    monkeypatch.setattr(packaged, "MOST_COMPARED", 10)  # of 24 x 24 to 3 x 3 positions
    assert [made.cam is None for made in net.trust(photo, plan=plan).maps] == [True] * 3 + [False]
    monkeypatch.setattr(packaged, "MOST_COMPARED", 1)
    with pytest.raises(MethodError, match="compares all pairs of positions"):
        net.trust(photo, plan=plan)


def test_a_layer_that_keeps_channels_last_is_refused_as_by_explain(detector, red):
    model = ChannelsLast().eval().requires_grad_(False)
    network = Network(replace(detector.loaded, model=model), torch.device("cpu"))
    plan = Plan(layers=("inside",), parts=())
    for use in (partial(network.explain, layers="inside"), partial(network.trust, plan=plan)):
        with pytest.raises(UnknownLayerError, match="keeps its channels last"):
            use(red)
    bad, good = network.trust(red, plan=replace(plan, layers=("inside", "last"))).maps
    assert (bad.cam, good.cam is None) == (None, False)
    assert "channels last" in bad.note


def test_a_class_the_network_does_not_see(detector, red):
    done = detector.trust(red, target="other", plan=Plan(parts=()))
    assert "only 0." in done.notices[0]
    assert done.maps[0].verdict.level is None
    assert set(PARTS) == {"scores", "randomisation", "stability", "localisation"}
