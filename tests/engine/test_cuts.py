"""Cuts as the Python API gives them, on tiny networks."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import softmax

from mscnn.engine import cuts
from mscnn.engine.pipeline import Engine
from mscnn.errors import Cancelled, OptionError, UnknownLayerError
from mscnn.models.examples import examples
from mscnn.results.cuts import CapCurve, CapStep
from mscnn.results.explanation import Score


@pytest.fixture
def engine(network):
    known = {f: network(f) for f in ("res2net", "resnet")}
    known["other"] = network("resnest", names=tuple(f"being {i}" for i in range(12)))
    session = SimpleNamespace(network=lambda model, **_: known[model], offered=tuple)
    return Engine(session)  # type: ignore[arg-type]


def test_each_split_is_cut_beside_its_evidence(network, photo):
    net = network("res2net")
    report = net.scales(photo)
    done = net.ablate(photo, references=[photo])
    assert [(c.block, c.index, c.share) for c in done.cuts] == [
        (b.block, s.index, s.share) for b in report.blocks for s in b.splits
    ]
    assert done.references == 1
    one = net.ablate(photo, block="layer3.1", references=[photo])
    same = [c for c in done.cuts if c.block == "layer3.1"]
    np.testing.assert_allclose(
        [c.logit_change for c in one.cuts], [c.logit_change for c in same], atol=1e-3
    )


def test_the_default_references_are_the_examples(network, photo, monkeypatch):
    net = network("resnet")
    first = net.ablate(photo)
    assert first.references > 3
    monkeypatch.setattr("mscnn.scales.cuts.fill_of", None)  # their means are kept
    again = net.ablate(photo)
    assert (again.references, again.cuts) == (first.references, first.cuts)


def test_an_example_is_no_reference_of_its_own(network):
    net, (first, *others) = network("resnet"), [example.path for example in examples()]
    for _ in range(2):  # the second time their means are kept
        found, wanted = net.ablate(first), net.ablate(first, references=others)
        assert found.references == wanted.references == len(others)
        assert found.prediction.photo.name == str(first)
        np.testing.assert_allclose(
            [cut.logit_change for cut in found.cuts],
            [cut.logit_change for cut in wanted.cuts], atol=1e-4,
        )  # fmt: skip
    np.testing.assert_allclose(
        net.cap(first).probabilities, net.cap(first, references=others).probabilities, atol=1e-5
    )


def test_probabilities_are_those_of_the_logits(network, photo):
    net = network("res2net")
    curve = net.cap(photo, target=3, references=[photo], draws=4)
    chances = curve.probabilities
    assert chances.sum(axis=1) == pytest.approx(1)
    assert [s.probability for s in curve.steps] == pytest.approx(chances[:, 3].tolist())
    assert [s.top.index for s in curve.steps] == chances.argmax(axis=1).tolist()
    assert curve.control.shape == (4, len(curve.steps))
    assert curve.drawn_at_random == "channels"
    assert network("resnet").cap(photo, fill="zero").drawn_at_random == "blocks"
    last = curve.steps[-1]
    uncut = softmax(net.predict(photo).logits.astype(float))[3]
    assert (last.cut_channels, last.control_mean) == (0, pytest.approx(uncut, abs=1e-6))
    assert last.probability == pytest.approx(uncut, abs=1e-6)
    for step, drawn in zip(curve.steps, curve.control.T, strict=True):
        assert (
            min(drawn) <= step.control_low <= step.control_mean <= step.control_high <= max(drawn)
        )


def test_the_map_under_no_cap_is_grad_cam(network, photo):
    net = network("res2net")
    curve = net.cap(photo, references=[photo])
    cam = curve.cam(-1)
    assert cam is not None
    wanted = net.explain(photo, targets=[curve.target]).maps[0].raw
    np.testing.assert_allclose(cam.raw, wanted, atol=1e-5)
    assert curve.beats_control is None


def step(limit, index):
    return CapStep(limit, 0.0, 0.0, 0.5, Score(index, "", 0.5))


@pytest.mark.parametrize(("firsts", "needed"), [
    ([0, 1, 0, 1, 1], 40), ([1, 1, 1, 1, 1], 10), ([1, 1, 1, 1, 0], None), ([0, 0, 0, 0, 1], 50),
])  # fmt: skip
def test_the_needed_limit_is_where_the_class_stays(firsts, needed):
    steps = [step(10 * (i + 1), first) for i, first in enumerate(firsts)]
    assert cuts.needed_px(steps, 1, classes=2) == needed


@pytest.mark.parametrize(("chances", "needed"), [
    ([0.2, 0.9, 0.4, 0.6, 0.7], 40), ([0.6, 0.7, 0.8, 0.9, 0.9], 10),
    ([0.9, 0.9, 0.9, 0.9, 0.4], None),
])  # fmt: skip
def test_an_only_class_is_needed_where_it_stays_probable(chances, needed):
    steps = [replace(step(10 * (i + 1), 0), probability=p) for i, p in enumerate(chances)]
    assert cuts.needed_px(steps, 0, classes=1) == needed


@pytest.mark.parametrize(("control", "beats"), [
    ([0.6] * 19, True), ([0.6] * 18, None), ([], None), ([0.6] * 18 + [0.4], False),
    ([0.6] * 19 + [0.5], False), ([0.6] * 38 + [0.4], True), ([0.6] * 37 + [0.4], False),
    ([0.1] * 20, False),
])  # fmt: skip
def test_the_cap_beats_its_control_where_it_costs_more(control, beats):
    curve = CapCurve.without("net", "")
    drawn = np.repeat(np.array(control, float)[:, None], 2, axis=1)
    curve = replace(curve, steps=(step(10, 0), step(20, 0)), control=drawn)
    assert curve.beats_control is beats


def test_several_models_are_capped_for_one_class(engine, photo):
    *_, done = engine.cap_steps(photo, ["res2net", "other", "resnet"], references=[photo])
    assert not done.partial
    first, failed, third = done.curves
    assert first.label == third.label == done.label
    assert failed.steps == ()
    assert "no class" in failed.note


def test_stop_keeps_the_models_that_are_done(engine, photo):
    steps: list[Any] = []
    for done in engine.cap_steps(
        photo, ["res2net", "resnet"], references=[photo], is_cancelled=lambda: bool(steps)
    ):
        steps.append(done)
    assert [(len(done.curves), done.partial) for done in steps] == [(1, True)]
    with pytest.raises(Cancelled):
        engine.session.network("resnet").ablate(photo, is_cancelled=lambda: True)


@pytest.mark.parametrize(("how", "error", "words"), [
    ({"fill": "noise"}, OptionError, "choose mean or zero"),
    ({"references": []}, OptionError, "choose the fill zero"),
    ({"block": "layer9.1"}, UnknownLayerError, "choose one of layer1.0"),
])  # fmt: skip
def test_what_cannot_be_cut_is_said(network, photo, how, error, words):
    with pytest.raises(error, match=words):
        network("res2net").ablate(photo, **how)


def test_a_negative_number_of_draws_is_refused(network, photo):
    with pytest.raises(OptionError, match="0 or more"):
        network("resnet").cap(photo, draws=-1)


def test_progress_counts_all_cuts(network, photo):
    seen = []
    network("resnet").cap(
        photo, references=[photo], draws=3, on_progress=lambda *done: seen.append(done)
    )
    total = seen[-1][1]
    assert seen[-1] == (total, total)
    assert total % 4 == 0
    assert torch.is_grad_enabled()
