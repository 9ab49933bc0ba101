"""Charts and files of a trust analysis, read back and compared with numbers made by hand."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from mscnn.draw import files, trust
from mscnn.draw.figures import inline_svg, marks
from mscnn.results import trust as results
from mscnn.results.explanation import Score
from tests.results import samples

RAW = np.array([[3, -1], [0, 1]], np.float32)
CURVES = {
    "deletion_mean": np.array([0.8, 0.2, 0.0]), "insertion_mean": np.array([0.0, 0.6, 0.8]),
}  # fmt: skip


def candidate(kind, draw=None, factor=1.0):
    curves = {name: factor * curve for name, curve in CURVES.items()}
    found = results.Scores(deletion_mean=0.3 * factor, insertion_mean=0.5 * factor, increase=1.0)
    return results.Candidate(kind, draw, found, factor * RAW, curves)


def made(**changes):
    steps = tuple(
        results.RandomStep(part, alike, RAW) for part, alike in (("fc", -0.25), ("stem", None))
    )
    found = {
        "verdict": results.Verdict(1, 2, 0, 0, 2, "Better than a random map."),
        "candidates": (
            candidate("map"), candidate("blob", None, 1.2), candidate("blurred"),
            candidate("random", 0, 0.5), candidate("random", 1, 0.25),
        ),
        "randomisation": results.Randomisation(steps, 0.1),
        "stability": (results.StabilityStep("flip", 0.75, 0.5, RAW),), **changes,
    }  # fmt: skip
    return results.MapTrust("gradcam", "layer4", 0.1, samples.explained(RAW).maps[0], **found)


def trusted(*maps):
    return results.Trust(
        samples.predicted(), samples.LION, (), None, 2, 2, 0, maps, (), "", None, samples.VIEW
    )


def lines(figure, gid):
    (found,) = figure.findobj(lambda artist: artist.get_gid() == gid)
    return found.get_ydata()


def test_curves_are_drawn_beside_the_controls():
    figure = trust.trust_chart(made(), "lion")
    assert len(figure.axes) == 2, "blur was not asked for"
    assert lines(figure, "deletion_mean:map") == pytest.approx([80, 20, 0])
    # The mean of 0.5 and 0.25 times the map's.
    assert lines(figure, "insertion_mean:random") == pytest.approx([0, 22.5, 30])
    (band,) = figure.axes[1].collections
    assert band.get_paths()[0].vertices[:, 1].max() == pytest.approx(40)
    # By hand: (0.8 / 2 + 0.2 + 0) / 2 = 30 %.
    assert marks(figure)["deletion_mean:map"] == "The map: 30.0 % on average"
    assert 'data-mark="blob"' in inline_svg(figure)


def test_bars_say_how_alike_the_map_stays():
    figure = trust.checks_chart(made())
    (axis,) = figure.axes
    bars = [bar for bar in axis.patches if isinstance(bar, Rectangle)]
    assert [bar.get_width() for bar in bars] == [-0.25, 0, 0.75]
    assert [text.get_text() for text in axis.texts] == ["\N{MINUS SIGN}0.25", "flat", "0.75"]
    assert marks(figure)["check:1"] == "random: the first layers: flat"
    names = [label.get_text() for label in axis.get_yticklabels()]
    assert names == ["random: the classifier", "random: the first layers", "photo flipped"]
    assert axis.get_xlim()[0] < -0.25
    assert len(trust.checks_chart(made(), checks=("stability",)).axes[0].patches) == 1


def test_means_by_kind_are_in_the_order_of_the_controls():
    beside = made().beside()
    assert list(beside) == ["deletion_mean", "insertion_mean", "increase"]
    expected = {"map": 0.3, "random": 0.1125, "blob": 0.36, "blurred": 0.3}
    assert beside["deletion_mean"] == pytest.approx(expected)
    assert list(beside["deletion_mean"]) == list(expected)


def test_files_hold_scores_maps_and_curves():
    found = files.trust_files(trusted(made()))
    assert list(found) == [
        *("trust.json", "scores.csv", "methods.csv", "maps.npz", "curves.npz"),
        *("curves-gradcam-layer4.png", "checks-gradcam-layer4.png", "manifest.json"),
    ]
    rows = list(csv.DictReader(io.StringIO(found["scores.csv"].decode())))
    assert [(row["kind"], row["draw"]) for row in rows] == [
        ("map", ""), ("blob", ""), ("blurred", ""), ("random", "0"), ("random", "1"),
    ]  # fmt: skip
    assert rows[1]["deletion_mean"] == str(0.3 * 1.2)
    with np.load(io.BytesIO(found["maps.npz"])) as maps:
        assert {name.removeprefix("gradcam.layer4.") for name in maps} == {
            *("map", "blob", "blurred", "random0", "random1", "weights.fc", "weights.stem")
        }
        np.testing.assert_array_equal(maps["gradcam.layer4.random0"], RAW / 2)
    with np.load(io.BytesIO(found["curves.npz"])) as curves:
        np.testing.assert_allclose(curves["gradcam.layer4.map.deletion_mean"], [0.8, 0.2, 0])
    manifest = json.loads(found["manifest.json"])
    assert manifest["image"]["name"] == "lion.jpg"
    assert manifest["methods"] == ["gradcam"]
    assert manifest["files"] == list(found)
    assert b"/home" not in found["trust.json"]


def test_a_table_says_which_method_and_which_layer():
    other = replace(made(), method="layercam", candidates=())
    scores = results.Scores()
    ranked = (
        results.RankRow("gradcam", "layer4", "map", 1.5, scores),
        results.RankRow("gradcam", "layer4", "blob", 2.5, scores),
    )
    best = results.Recommendation("gradcam", "layer4", "It is the best.")
    found = replace(trusted(made(), other), ranks=ranked, recommended=best)
    for given in ((found,), (trusted(made()), found)):
        first, second = csv.DictReader(
            io.StringIO(files.trust_files(*given)["methods.csv"].decode())
        )
        assert (first["mean_rank"], first["recommended"]) == ("1.5", "True")
        assert (first["verdict_level"], first["deletion_mean"]) == ("1", "0.3")
        assert (first["map_seconds"], first["steps"], first["draws"]) == ("0.1", "2", "2")
        assert (second["method"], second["layer"]) == ("layercam", "layer4")
        assert (second["mean_rank"], second["deletion_mean"]) == ("", "")
        assert second["recommended"] == "False"


def test_the_chart_says_among_which_classes_its_probability_is(monkeypatch):
    labels: list[str] = []
    monkeypatch.setattr(trust, "trust_chart", lambda _, label: labels.append(label))
    monkeypatch.setattr(files, "png", lambda *_: b"")
    one = trusted(made())
    files.trust_files(one)
    files.trust_files(replace(one, against=(Score(3, "cougar", 0.1),)))
    assert labels == [one.target.label, f"{one.target.label} (among {one.target.label}, cougar)"]


def test_a_map_that_could_not_be_made_or_was_not_scored_is_written_too():
    bare = {"candidates": (), "randomisation": None, "stability": ()}
    none = results.MapTrust("eigencam", "layer1", 0.0, None, made().verdict, note="too large")
    found = files.trust_files(trusted(made(**bare), none))
    assert not any(name.endswith(".png") for name in found)
    assert json.loads(found["trust.json"])["maps"][1]["note"] == "too large"
    assert found["scores.csv"].startswith(b"method,layer,kind,draw,deletion_mean,")
