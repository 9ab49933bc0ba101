"""The Receptive field tab's words, tables and drawing, on results made by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mscnn.errors import PointError
from mscnn.geometry import ViewGeometry
from mscnn.page import field_draw
from mscnn.page import field_view as view
from mscnn.page.field_view import Asked, Shown
from mscnn.results.scales import EffectiveField, Square

ASKED = Asked("starter_res2net", "layer4.1", "all", False, "trained", False, (0.5, 0.5))


def measured(
    photo: tuple[int, int] = (90, 60), theoretical: tuple[int, int, int, int] | None = None
) -> EffectiveField:
    """A 20 x 20 px input that is the whole photo, squeezed; the gradient is a lump off centre."""
    gradient = np.zeros((20, 20), np.float32)
    gradient[8:11, 11:14] = 1
    gradient[9, 12] = 4
    return EffectiveField(
        model="starter_res2net",
        layer="layer4.1",
        split=None,
        unit=(1, 2),
        centre=(12.5, 9.5),
        gradient=gradient,
        theoretical=theoretical,
        squares=(Square(0.5, 3), Square(0.9, 3), Square(0.99, 3)),
        log_squares=(Square(0.5, 3), Square(0.9, 5), Square(0.99, 21)),
        inputs=1,
        trained=True,
        view=np.zeros((20, 20, 3), np.uint8),
        geometry=ViewGeometry(photo=photo, resized=(20, 20), offset=(0, 0), view=(20, 20)),
    )


def shown(one: EffectiveField, photo: np.ndarray) -> Shown:
    return Shown(ASKED, photo, (one,))


@pytest.mark.parametrize(
    ("text", "point"),
    [
        ("50, 50", (0.5, 0.5)),
        (" 25%, 75 % ", (0.25, 0.75)),
        ("12.5;0", (0.125, 0.0)),
        ("(3 99.5)", (0.03, 0.995)),
    ],
)
def test_a_point_is_read_as_percent_of_the_photo(text, point):
    assert view.parse_point(text) == pytest.approx(point)


@pytest.mark.parametrize(
    "text", ["", "50", "1,2,3", "a, b", "-1, 5", "5, 100.1", "nan, 5", "1e9,0"]
)
def test_what_is_no_point_gets_a_sentence(text):
    with pytest.raises(PointError, match="such as 50, 50"):
        view.parse_point(text)


def test_the_last_corner_lies_on_the_photo():
    x, y = view.parse_point("100, 100")
    assert 0.999 < x < 1
    assert 0.999 < y < 1


def test_a_point_survives_the_text_field():
    assert view.parse_point(view.point_text((0.1234, 0.5))) == pytest.approx((0.123, 0.5))
    assert view.point_text((0.5, 0.25)) == "50, 25"


@pytest.mark.parametrize(
    ("click", "point"), [((20, 10), (0.5 / 80, 0.5 / 40)), ((99, 49), (79.5 / 80, 39.5 / 40))]
)
def test_a_click_is_mapped_back_from_the_picture_to_the_photo(click, point):
    assert view.point_at(click, (20, 10, 100, 50)) == pytest.approx(point)


@pytest.mark.parametrize("click", [(19, 30), (100, 30), (50, 9), (50, 50)])
def test_a_click_on_the_margin_is_no_point(click):
    with pytest.raises(PointError, match="beside the photo"):
        view.point_at(click, (20, 10, 100, 50))


@pytest.mark.parametrize("size", [(300, 200), (120, 300)])
@pytest.mark.parametrize("theoretical", [None, (-5, -5, 30, 30)])
def test_the_photo_lies_on_the_picture_where_it_is_said_to(size, theoretical):
    """Also where a margin shows that a box reaches past it, or the legend needs more width."""
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    one = replace(
        measured(size, theoretical), squares=(), log_squares=(), gradient=np.zeros((20, 20), "f4")
    )
    drawn = field_draw.large(shown(one, pixels), "raw", 0.6, "inferno")
    left, top, right, bottom = drawn.placed
    assert (right - left, bottom - top) == size
    part = drawn.picture[top:bottom, left:right]
    assert (part == pixels).all(axis=2).mean() > 0.9  # all but the cross and the box
    shifted = drawn.picture[top:bottom, left + 1 : right + 1]
    assert shifted.shape != part.shape or (shifted == pixels).all(axis=2).mean() < 0.1


def test_boxes_on_the_photo_hold_what_the_numbers_say():
    """The 90 % square on the logarithm has side 5: px 10 to 15 of 20 across, 7 to 12 down."""
    frames = field_draw.frames_of(measured(theoretical=(4, 2, 18, 16)), "log", (200, 100))
    labels = [frame.label for frame in frames]
    assert labels == ["can see 14 px", "99 % in 21 px", "90 % in 5 px", "50 % in 3 px"]
    assert frames[0].box == pytest.approx((40, 10, 180, 80))
    assert frames[2].box == pytest.approx((100, 35, 150, 60))
    assert frames[3].box == pytest.approx((110, 40, 140, 55))


def test_the_glow_is_strongest_at_the_lump_and_zero_far_away():
    heat = field_draw.on_photo(measured(), "raw", (90, 60))
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    assert abs(column - 12.5 / 20 * 90) < 9
    assert abs(row - 9.5 / 20 * 60) < 6
    assert heat[:20].max() == 0


def test_the_table_gives_both_measures_beside_the_theoretical_side():
    table = view.rows([measured(theoretical=(-3, -3, 27, 27))])
    assert table[1] == [
        "Starter Res2Net", "stage 4, block 2", "trained", 1, 90, 3, 15.0, 5, 25.0, 30, 150.0,
    ]  # fmt: skip
    assert [row[4] for row in table] == [50, 90, 99]
    assert all(len(row) == len(view.HEADERS) for row in table)


def test_a_unit_that_is_switched_off_still_has_its_row():
    off = replace(measured(theoretical=(0, 0, 10, 10)), squares=(), log_squares=())
    (row,) = view.rows([off])
    assert row[4:] == [None] * 5 + [10, 50.0]
    assert "switched off" in view.caption(shown(off, np.zeros((4, 4, 3), np.uint8)), "raw")


def test_the_caption_says_most_and_half_in_px():
    text = view.caption(
        shown(measured(theoretical=(-3, -3, 27, 27)), np.zeros((4, 4, 3), np.uint8)), "log"
    )
    assert "at most **30 px**" in text
    assert "reaches past" in text
    assert "nine tenths within **5 px**" in text
    assert "not known" in view.caption(shown(measured(), np.zeros((4, 4, 3), np.uint8)), "raw")


def test_cards_escape_what_they_show():
    one = replace(measured(), model="<b>x</b>")
    html = field_draw.cards_html(
        Shown(ASKED, np.zeros((40, 60, 3), np.uint8), (one, replace(one, trained=False))),
        "raw", 0.6, "inferno",
    )  # fmt: skip
    assert html.count("<section") == 2
    assert "<b>" not in html
    assert "random weights" in html
    assert field_draw.cards_html(shown(one, np.zeros((4, 4, 3), np.uint8)), "raw", 1, "turbo") == ""
