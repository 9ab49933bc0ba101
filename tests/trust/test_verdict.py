"""The rule of the verdict, the ranks and the recommendation, on scores made by hand."""

from dataclasses import replace

import numpy as np
import pytest

from mscnn.data import folders
from mscnn.results.explanation import CamMap
from mscnn.results.trust import METRICS, Candidate, MapTrust, Randomisation, RandomStep, Scores
from mscnn.trust import verdict

DECIDE = [name for name, metric in METRICS.items() if metric.decides]


def candidate(kind, better=7, draw=None, peak=1.0):
    """A candidate that is better than one of 0.5 on so many of the scores that decide."""
    values = {
        name: 0.5 + (0.1 if METRICS[name].higher_is_better else -0.1) * (1 if i < better else -1)
        for i, name in enumerate(DECIDE)
    }
    return Candidate(kind, draw, Scores(**values), np.full((2, 2), peak, np.float32), {})


def middle(kind, draw=None):
    scores = Scores(**dict.fromkeys(DECIDE, 0.5))
    return Candidate(kind, draw, scores, np.ones((2, 2), np.float32), {})


def made(own, blob="blob", blurred="blurred", random=("random", "random")):
    """A map beside controls of 0.5, or those given."""
    others = [middle(c) if isinstance(c, str) else c for c in (*random, blob, blurred)]
    return verdict.verdict([own, *others])


def counts(*better):
    said = "(Better than the random maps on {}, the blob on {}, the blurred map on {} of 7 scores.)"
    return said.format(*better)


LOSING = candidate("random", better=0)
WINNING = candidate("random", better=7)


@pytest.mark.parametrize(("own", "controls", "level", "words"), [
    (candidate("map"), {}, 3, "and the same map blurred. " + counts(7, 7, 7)),
    (candidate("map", better=4), {}, 3, counts(4, 4, 4)),
    (candidate("map", better=3), {}, 0, "No better than a random map."),
    (middle("map"), {}, 0, counts(0, 0, 0)),
    # Every random map has to be beaten.
    (candidate("map"), {"random": (LOSING, WINNING)}, 0, counts(0, 7, 7)),
    (candidate("map"), {"blob": candidate("blob")}, 1, "no better than a blob in the middle."),
    (candidate("map"), {"blurred": candidate("blurred")}, 2, "no better than the same map blurred"),
    (candidate("map", peak=0.0), {}, 0, "Nothing on this map"),
])  # fmt: skip
def test_the_rule(own, controls, level, words):
    found = made(own, **controls)
    assert found.level == level
    assert words in found.sentence


def trusted(method, layer, candidates, seconds=1.0):
    cam = CamMap(layer, 0, method, candidates[0].raw, None)  # type: ignore[arg-type]
    return MapTrust(method, layer, seconds, cam, verdict.verdict(candidates), tuple(candidates))


def test_ranks_by_hand():
    own = candidate("map", better=6)
    drawn = [candidate("random", 0, 0), candidate("random", 7, 1)]  # 0.5 on average
    rows = verdict.ranks([trusted("gradcam", "layer4", [own, middle("blob"), *drawn])])
    by_kind = {row.kind: row for row in rows}
    assert by_kind["map"].ranks.deletion_mean == 1
    assert by_kind["map"].ranks.infidelity == 3
    assert by_kind["blob"].ranks.deletion_mean == by_kind["random"].ranks.deletion_mean == 2.5
    assert by_kind["blob"].ranks.infidelity == 1.5
    assert by_kind["map"].mean == pytest.approx((6 * 1 + 3) / 7)
    assert by_kind["map"].ranks.complexity is None
    words = "of 7, 6 prefer the map, 1 prefer a blob in the middle."
    assert verdict.disagreement(rows) == f"The scores disagree: {words}"
    assert verdict.disagreement(()) == ""


def test_a_score_by_which_a_control_is_as_good_prefers_neither():
    """As the drop, which is 0 for all where dimming the photo only helps."""
    own = candidate("map")
    equal = replace(middle("blurred").scores, average_drop=own.scores.average_drop)
    blurred = replace(middle("blurred"), scores=equal)
    made = trusted("gradcam", "layer4", [own, middle("blob"), blurred, middle("random", 0)])
    said = "of 7, 6 prefer the map, 1 prefer neither the map nor a control."
    rows = verdict.ranks([made])
    for known in (rows, rows[::-1]):  # as of a control of one map and another map
        assert verdict.disagreement(known) == f"The scores disagree: {said}"


def test_of_equals_the_cheaper_map_is_recommended():
    def beside(better):
        return [candidate("map", better), *map(middle, ("blob", "blurred", "random"))]

    maps = [
        trusted("gradcam", "layer4", beside(7), 0.5),
        trusted("hirescam", "layer4", beside(7), 0.25),
        trusted("layercam", "layer4", beside(5)), trusted("gradcam", "layer1", beside(3)),
    ]  # fmt: skip
    rows = verdict.ranks(maps)
    found = verdict.recommend(maps, rows)
    assert (found.method, found.layer) == ("hirescam", "layer4")
    assert found.reason.startswith("HiResCAM at layer4 beats all three controls and is ranked best")
    assert "it takes 0.25 s" in found.reason
    assert verdict.disagreement(rows) == "All 7 scores prefer Grad-CAM at layer4."
    none = verdict.recommend(maps[3:] * 2, verdict.ranks(maps[3:] * 2))
    assert (none.method, none.reason) == (None, "No map is better than a random one.")
    assert verdict.recommend(maps[3:], verdict.ranks(maps[3:])) is None
    unscored = MapTrust("gradcam", "layer1", 1.0, None, verdict.undecided())
    assert verdict.recommend([unscored] * 2, verdict.ranks([unscored] * 2)) is None


@pytest.mark.parametrize(("similarity", "emprt", "follows"), [
    (0.1, 0.2, True), (None, 0.2, True), (-0.9, 0.2, False), (0.1, None, None), (None, None, None),
])  # fmt: skip
def test_nothing_is_said_of_weights_while_some_are_left(similarity, emprt, follows):
    """Nor of a map that was flat before: its entropy cannot rise, and ``emprt`` is None too."""
    random = Randomisation((RandomStep("stem", similarity, np.ones((2, 2), np.float32)),), emprt)
    found = MapTrust("gradcam", "layer4", 0.1, None, verdict.undecided(), randomisation=random)
    assert random.follows_weights is follows
    said = verdict.said_of_checks(found).get("randomisation", "")
    assert [word in said for word in ("a different one", "closely related")] == [
        follows is True,
        follows is False,
    ]
    column = folders._TRUSTED.index("random_weights") - 2
    expected = np.nan if follows is None or similarity is None else similarity
    np.testing.assert_equal(folders._judged(found)[column], expected)
