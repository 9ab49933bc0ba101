"""The Zoom tab's box, words, tables and film strip, on results made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mscnn.errors import BoxError
from mscnn.page import zoom_film
from mscnn.page import zoom_view as view
from mscnn.results.scales import Sweep, SweepCurve, SweepStep


def step(factor: float, probability: float, rank: int, energy: float | None = 2.0) -> SweepStep:
    """A 20 px view; the map's evidence lies in its upper left quarter."""
    raw = np.zeros((2, 2), np.float32)
    raw[0, 0] = 4
    grey = np.full((20, 20, 3), 128, np.uint8)
    return SweepStep(factor, (5, 5, 15, 15), probability, rank, energy, None, raw, grey)


def curve(model: str = "starter_res2net", **changed: object) -> SweepCurve:
    steps = (step(2.0, 0.25, 3), step(1.0, 0.8, 1), step(0.5, 0.4, 1, None), step(0.1, 0.01, 50))
    facts = {"octaves": 1.5, "mean_probability": 0.375, **changed}
    return SweepCurve(model, 7, "lion", steps, **facts)  # type: ignore[arg-type]


def sweep(*curves: SweepCurve, **changed: object) -> Sweep:
    facts = {"canvas": "mean", "box": (0.0, 0.0, 1.0, 1.0), **changed}
    return Sweep("lion", (2.0, 1.0, 0.5, 0.1), curves=curves or (curve(),), **facts)  # type: ignore[arg-type]


@pytest.fixture
def shown() -> view.Picking:
    return view.picking(Image.new("RGB", (280, 140), (10, 20, 30)))


def test_two_clicks_make_a_box_and_a_third_starts_anew(shown):
    assert shown.photo.shape == (280, 560, 3)
    corner = view.clicked(shown, (419.5, 69.5))
    assert (corner.corner, corner.box, corner.hint) == ((0.75, 0.25), None, view.FIRST)
    boxed = view.clicked(corner, (139.5, 209.5))
    assert (boxed.corner, boxed.hint) == (None, view.BOXED)
    assert boxed.box == pytest.approx((0.25, 0.25, 0.75, 0.75))
    again = view.clicked(boxed, (0, 0))
    assert (again.box, again.hint) == (None, view.FIRST)


def test_two_clicks_on_one_place_are_refused_and_the_corner_stays(shown):
    corner = view.clicked(shown, (100, 100))
    with pytest.raises(BoxError, match="empty"):
        view.clicked(corner, (100, 100))
    with pytest.raises(BoxError, match="too small"):
        view.clicked(corner, (101, 140))


@pytest.mark.parametrize(
    "box", [(0.25, 0.1, 0.75, 0.9), (0.0, 0.0, 0.01, 0.01), (0.0, 0.0, 0.005, 1.0)]
)
def test_a_box_survives_the_text_field(shown, box):
    """Also one so small that its numbers could be read as shares."""
    text = view.box_text(box)
    if box[2] < 0.01:
        with pytest.raises(BoxError):
            view.typed(shown, text)
    else:
        assert view.typed(shown, text).box == pytest.approx(box)


def test_an_empty_text_is_the_whole_photo(shown):
    assert view.box_text(None) == ""
    typed = view.typed(view.clicked(shown, (5, 5)), "  ")
    assert (typed.box, typed.corner, typed.hint) == (None, None, view.WHOLE)
    np.testing.assert_array_equal(view.object_picture(typed), typed.photo)


@pytest.mark.parametrize("text", ["1,2,3", "90,10,20,80", "0,0,101,50", "a,b,c,d", "5,5,5,50"])
def test_what_is_no_box_gets_a_sentence(shown, text):
    with pytest.raises(BoxError):
        view.typed(shown, text)


def test_the_box_is_drawn_where_it_is(shown):
    boxed = view.typed(shown, "25, 50, 75, 100")
    changed = (view.object_picture(boxed) != boxed.photo).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert columns.min() == pytest.approx(140, abs=4)
    assert columns.max() == pytest.approx(419, abs=4)
    assert rows.min() == pytest.approx(140, abs=4)
    assert not changed[160:260, 300:400].any()  # its inside stays free
    assert "from 25% to 75% of its width" in view.object_alt(boxed)


def test_the_first_corner_is_marked_where_it_was_clicked(shown):
    corner = view.clicked(shown, (100, 50))
    rows, columns = np.nonzero((view.object_picture(corner) != corner.photo).any(axis=2))
    assert columns.mean() == pytest.approx(100, abs=2)
    assert rows.mean() == pytest.approx(50, abs=2)


def test_scores_and_steps_stand_in_the_tables():
    (row,) = view.score_rows(sweep())
    assert row == ["Starter Res2Net", "lion", 1.5, 37.5, 80.0, 100.0, 0.0, ""]
    steps = view.step_rows(sweep())
    assert steps[0] == ["Starter Res2Net", 200.0, 40, 25.0, 3, 2.0, None]
    assert steps[2][5] is None
    assert {len(r) for r in steps} == {len(view.STEP_HEADERS)}
    assert len(row) == len(view.SCORE_HEADERS)


def test_a_model_that_does_not_know_the_class_has_a_sentence_and_no_curve():
    lost = SweepCurve("other_net", None, "", (), None, None, "It has no such class.")
    both = sweep(curve(), lost)
    assert view.score_rows(both)[1] == ["other_net", "", None, None, None, None, 0.0, lost.note]
    assert "**other_net**: It has no such class." in view.summary(both)
    assert "other_net" not in view.charts(both)["probability"][1]


def test_the_summary_says_at_which_sizes_it_is_the_first_answer():
    text = view.summary(sweep())
    assert "surest (80.0%) at 100% of the view" in text
    assert "first answer at 2 of 4 sizes, between 50% and 100%" in text
    assert "1.5 octaves" in text
    assert "Stopped" not in text
    assert "Stopped" in view.summary(sweep(partial=True), stopped=True)


def test_curves_without_any_value_are_left_out():
    charts = view.charts(sweep())
    assert set(charts) == {"probability", "energy"}
    picture, alt = charts["probability"]
    assert picture.shape[1] == view.CHART_PX
    assert "Starter Res2Net is highest, 80.0%, at 100% and lowest, 1.0%, at 10%" in alt


def test_the_film_shows_every_size_in_words_and_escapes_them():
    html = zoom_film.film_html(sweep(curve("<i>net</i>"), curve()), 0.6, "inferno")
    assert html.count("<img") == html.count("<figcaption>") == 8
    assert html.count("frame first") == 4
    assert "<i>" not in html
    assert "80.0%, rank 1." in html
    nothing = SweepCurve("a", None, "", (), None, None)
    assert zoom_film.film_html(sweep(nothing), 0.6, "inferno") == zoom_film.EMPTY


def test_the_fair_baseline_is_a_default_where_both_are_here():
    assert view.default_models("starter_res2net") == ["starter_res2net", "starter_resnet"]
    assert view.default_models("starter_resnet") == ["starter_resnet"]
    assert view.default_models("res2net50_26w_4s.in1k") == ["res2net50_26w_4s.in1k"]
    assert view.default_models("no_such_net") == ["no_such_net"]
