"""Agreement of maps, against SciPy and brute force."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from mscnn.geometry import ViewGeometry
from mscnn.maps import agreement as module
from mscnn.results.explanation import CamMap

SQUARE = ViewGeometry((224, 224), (224, 224), (0, 0), (224, 224))
WIDE = ViewGeometry((400, 200), (448, 224), (112, 0), (224, 224))
ALL_OF_WIDE = ViewGeometry((400, 200), (224, 224), (0, 0), (224, 224))


def cam(raw, geometry=SQUARE):
    return CamMap("layer4", 0, "gradcam", np.asarray(raw, np.float32), geometry)


def random(seed, kind):
    values = np.random.default_rng(seed).normal(size=(40, 30))
    return {
        "distinct": values, "ties": values.round(0),
        "sparse": np.maximum(values - 1.2, 0),
        "outlier": np.where(values == values.max(), 1e9, values),
    }[kind]  # fmt: skip


@pytest.mark.parametrize("first", ["distinct", "ties", "sparse", "outlier"])
@pytest.mark.parametrize("second", ["distinct", "ties", "sparse"])
def test_rank_correlation_is_scipys(first, second):
    a = random(1, first)
    for b in (random(2, second), a + 0.5 * random(3, second), -a):
        got = module.spearman(a, b)
        assert got is not None
        assert got == pytest.approx(spearmanr(a.ravel(), b.ravel()).statistic, abs=1e-12)


@pytest.mark.parametrize("flat", [np.zeros((4, 4)), np.full((4, 4), 2.5), np.ones((0,)), [1.0]])
def test_a_flat_or_empty_map_has_no_agreement(flat):
    other = np.arange(np.size(flat), dtype=float)
    assert module.spearman(flat, other) is None
    assert module.spearman(other, flat) is None
    assert module.iou_of_strongest(flat, other) is None
    assert module.iou_of_strongest(other, flat) is None


def brute_force_iou(a, b, share):
    """Sort all places of each map, take the best, count by hand."""
    tops = []
    for values in (a.ravel().tolist(), b.ravel().tolist()):
        ranked = sorted(range(len(values)), key=lambda i: -values[i])
        tops.append(set(ranked[: round(share * len(values))]))
    return len(tops[0] & tops[1]) / len(tops[0] | tops[1])


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("mix", [0.0, 0.5, 1.0])
def test_iou_is_the_brute_force_one_where_values_differ(mix, share):
    a, b = random(1, "distinct"), random(2, "distinct")
    b = mix * a + (1 - mix) * b
    assert module.iou_of_strongest(a, b, share) == pytest.approx(brute_force_iou(a, b, share))


def test_zeros_of_a_sparse_map_are_never_among_the_strongest():
    a, b = np.zeros(100), np.zeros(100)
    a[:6] = [6, 5, 4, 3, 2, 1]
    b[3:9] = [1, 2, 3, 4, 5, 6]
    # Six places hold anything, although 20 % would be twenty: three are shared, nine in all.
    assert module.iou_of_strongest(a, b) == pytest.approx(3 / 9)


def test_equal_values_stand_or_fall_together():
    a = np.array([3, 2, 2, 2, 0, 0, 0, 0, 0, 0.0])
    b = np.array([0, 0, 0, 0, 0, 0, 2, 2, 2, 3.0])
    assert module.iou_of_strongest(a, a[::-1], 0.2) == module.iou_of_strongest(a, b, 0.2) == 0
    assert module.iou_of_strongest(a, np.array([3, 1, 1, 1, 0, 0, 0, 0, 0, 0.0]), 0.1) == 1


def test_the_order_of_the_places_does_not_matter():
    a, b = random(1, "ties").ravel(), random(2, "sparse").ravel()
    shuffled = np.random.default_rng(0).permutation(a.size)
    assert module.iou_of_strongest(a, b) == module.iou_of_strongest(a[shuffled], b[shuffled])


def test_density_is_one_where_the_evidence_is_even():
    assert module.density(cam(np.full((7, 7), 0.3))) == pytest.approx(1, rel=1e-5)
    half = np.zeros((8, 8), np.float32)
    half[:, :4] = 9.0
    heat = module.density(cam(half))
    assert heat[:, :90].mean() == pytest.approx(2, rel=0.02)
    assert heat[:, 140:].max() == 0
    assert heat.mean() == pytest.approx(1, rel=0.01)


def test_density_forgets_the_logits_scale_and_negative_evidence():
    raw = np.random.default_rng(0).normal(size=(7, 7))
    np.testing.assert_allclose(
        module.density(cam(raw)), module.density(cam(40 * raw)), rtol=1e-4, atol=1e-5
    )
    assert module.density(cam(-np.abs(raw))).max() == 0


def test_maps_are_compared_where_both_networks_looked():
    # One sees the middle half, squashed into its view, the other the whole photo.
    left_to_right = np.tile(np.linspace(0.1, 1, 14), (7, 1))
    narrow, whole = cam(left_to_right, WIDE), cam(left_to_right, ALL_OF_WIDE)
    assert module.seen_mask(narrow).mean() == pytest.approx(0.5, abs=0.01)
    assert module.seen_mask(whole).all()
    result = module.agreement("narrow", "whole", narrow, whole)
    assert (result.first, result.second) == ("narrow", "whole")
    assert result.spearman == pytest.approx(1, abs=0.01)
    assert result.iou_top20 == pytest.approx(1, abs=0.05)
    outside = module.difference(narrow, whole)[~(module.seen_mask(narrow))]
    assert np.abs(outside).max() == 0


def test_a_difference_is_signed_second_less_first():
    left, right = np.zeros((8, 8)), np.zeros((8, 8))
    left[:, :4], right[:, 4:] = 1, 1
    change = module.difference(cam(left), cam(right))
    assert change[:, :80].mean() == pytest.approx(-2, rel=0.02)
    assert change[:, 150:].mean() == pytest.approx(2, rel=0.02)
    np.testing.assert_array_equal(change, -module.difference(cam(right), cam(left)))
    assert np.abs(module.difference(cam(left), cam(left))).max() == 0


def test_every_pair_is_compared_once_in_order():
    maps = [(name, cam(random(i, "distinct"))) for i, name in enumerate("abc")]
    assert [(r.first, r.second) for r in module.all_agreements(maps)] == [
        ("a", "b"), ("a", "c"), ("b", "c"),
    ]  # fmt: skip
    assert module.all_agreements(maps[:1]) == ()
