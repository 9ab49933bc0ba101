"""Scores against hand-computed values, quantus 0.6.0, and brute force."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import softmax

from mscnn.trust import checks, scores
from tests.trust.oracle import BOX, SIDE, STEPS, TARGET, Small, cam, picture

QUANTUS = json.loads(Path(__file__).with_name("quantus.json").read_text(encoding="utf-8"))


@pytest.fixture
def model():
    return Small().eval().requires_grad_(False)


@pytest.fixture
def x():
    return picture()


@pytest.fixture
def raw(model, x):
    return cam(model, x, TARGET)


def rng():
    return np.random.default_rng(0)


def test_deletion_and_insertion_by_hand():
    """Four pixels, strongest last; the class's score is the first pixel plus twice the last."""
    x, cover = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), torch.zeros(1, 1, 2, 2)
    ranks = scores.order(np.array([[0.1, 0.3], [0.2, 0.9]], np.float32), rng())
    assert ranks.tolist() == [[3, 1], [2, 0]]
    found = scores.in_part(x, cover, ranks, 4)[:, 0]
    assert found.tolist() == [
        [[1, 2], [3, 0]], [[1, 0], [3, 0]], [[1, 0], [0, 0]],
        [[0, 0], [0, 4]], [[0, 2], [0, 4]], [[0, 2], [3, 4]],
    ]  # fmt: skip
    assert scores.area_under(np.array([9, 1, 1, 1, 0.0])) == (9 / 2 + 3 + 0 / 2) / 4


def test_equal_pixels_go_in_random_order():
    ranks = scores.order(np.zeros((8, 8), np.float32), rng())
    assert sorted(ranks.ravel()) == list(range(64))
    assert abs(np.corrcoef(ranks.ravel(), np.arange(64))[0, 1]) < 0.5


def test_deletion_is_the_pixel_flipping_of_quantus(model, x, raw):
    pictures = scores.in_part(x, torch.zeros_like(x), scores.order(raw, rng()), STEPS)
    ends = torch.cat([x, torch.zeros_like(x)])
    with torch.inference_mode():
        chances = softmax(model(torch.cat([pictures, ends])).numpy(), axis=1)[:, TARGET]
    deleted = [*chances[: STEPS - 1], chances[-1]]
    np.testing.assert_allclose(deleted, QUANTUS["pixel_flipping"], atol=1e-5)


def test_complexity_is_that_of_quantus(raw):
    assert scores.complexity(np.maximum(raw, 0)) == pytest.approx(QUANTUS["complexity"], abs=1e-5)
    assert scores.complexity(np.ones((4, 8), np.float32)) == pytest.approx(np.log(32))
    assert scores.complexity(np.zeros((4, 8), np.float32)) == 0


def test_localisation_is_that_of_quantus(raw):
    (found,) = [checks.located("map", raw, BOX, (SIDE, SIDE))]
    area = (BOX[2] - BOX[0]) * (BOX[3] - BOX[1]) / SIDE**2
    assert found.pointing_game == QUANTUS["pointing_game"]
    assert found.energy_ratio == pytest.approx(QUANTUS["relevance_mass"] / area, abs=1e-5)


def test_randomisation_is_that_of_quantus(model, x, raw):
    from mscnn.maps.agreement import spearman

    found: dict[str, Any] = {}
    for part in checks.cascade(model, ["layer1", "layer2"], "fc", 0):
        last = cam(model, x, TARGET)
        found[part] = spearman(raw, last)
    assert list(found) == ["fc", "layer2", "layer1", "stem"]
    names = ("fc", "layer2.0", "layer1.0", "layer1.0")
    wanted = [QUANTUS["mprt"][name] for name in names]
    np.testing.assert_allclose(list(found.values()), wanted, atol=1e-4)
    assert checks.emprt(raw, last) == pytest.approx(QUANTUS["emprt"], abs=1e-4)


def test_drop_and_increase():
    assert scores.drop(0.8, 0.2) == pytest.approx(0.75)
    assert scores.drop(0.2, 0.8) == scores.drop(0.0, 0.5) == 0
    x = torch.tensor([[[[1.0, -2.0]], [[4.0, 6.0]]]])
    dimmed = scores.dimmed(x, np.array([[2.0, 0.5]], np.float32))
    assert dimmed.tolist() == [[[[1, -0.5]], [[4, 1.5]]]]
    assert not scores.dimmed(x, np.zeros((1, 2), np.float32)).any()


def test_squares_cover_the_view_once_per_grid():
    masks = scores.squares(20, 30)
    assert masks.shape == (16 + 64, 20, 30)
    assert (masks[:16].sum(0) == 1).all()
    assert (masks[16:].sum(0) == 1).all()
    assert masks[5].nonzero()[0].min() == 5


@pytest.mark.parametrize("sign", [1, -1])
def test_infidelity_is_what_the_best_factor_leaves(sign):
    """Against a grid of factors, tried one after the other."""
    random = rng()
    masks, cam = scores.squares(16, 16), random.standard_normal((16, 16)).astype(np.float32)
    foretold = np.array([cam[mask].sum(dtype=float) for mask in masks])
    losses = sign * (0.5 * foretold + random.standard_normal(80))
    tried = [np.mean((factor * foretold - losses) ** 2) for factor in np.linspace(0, 2, 4001)]
    wanted = min(tried) / np.mean(losses**2)
    assert scores.infidelity(cam, masks, losses) == pytest.approx(wanted, abs=1e-4)
    assert scores.infidelity(cam, masks, 3 * foretold) == pytest.approx(0)
    assert scores.infidelity(0 * cam, masks, losses) == 1
    assert scores.infidelity(cam, masks, 0 * losses) is None
