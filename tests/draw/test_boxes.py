"""Frames on a photo: where their pixels are, what is written, and that labels keep apart."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mscnn.draw.boxes import Frame, draw_frames, photo_corner
from mscnn.draw.text import text_px

RED, GREEN, BLUE = (220, 0, 0), (0, 160, 0), (0, 0, 220)
INK = (32, 33, 36)
WHITE = (255, 255, 255)


def css(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def grey(width: int = 300, height: int = 300, tone: int = 90) -> np.ndarray:
    return np.full((height, width, 3), tone, np.uint8)


def frame(box: tuple[float, float, float, float], label: str = "", colour=RED) -> Frame:
    return Frame(box, label, css(colour))


def is_colour(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.asarray((picture == colour).all(axis=-1))


def extent(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(mask)
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


@pytest.mark.parametrize("box", [(40, 60, 200, 250), (0, 0, 300, 300), (10.4, 20.6, 99.5, 41)])
def test_the_line_is_just_inside_its_box(box: tuple[float, float, float, float]) -> None:
    drawn = draw_frames(grey(), [frame(box)])
    left, top, right, bottom = (round(edge) for edge in box)
    red = is_colour(drawn, RED)
    assert extent(red) == (left, top, right, bottom)
    expected = np.zeros((300, 300), bool)
    expected[top:bottom, left:right] = True
    expected[top + 2 : bottom - 2, left + 2 : right - 2] = False
    np.testing.assert_array_equal(red, expected)


@pytest.mark.parametrize("tone", [0, 90, 255])
@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), RED])
def test_a_line_shows_on_any_photo(tone: int, colour: tuple[int, int, int]) -> None:
    drawn = draw_frames(grey(tone=tone), [frame((50, 50, 250, 250), colour=colour)])
    profile = drawn[150, 40:60].astype(int)
    # From the photo through a light and a dark edge: both steps exist, whatever the colours.
    assert is_colour(drawn[150:151, 40:60], WHITE).any()
    assert is_colour(drawn[150:151, 40:60], INK).any()
    assert np.abs(np.diff(profile.sum(axis=1))).max() > 400
    # Far from the line nothing changed.
    assert (drawn[150, 60:240] == tone).all()


@pytest.mark.parametrize(
    ("box", "open_sides", "arrows"),
    [
        ((-20, 50, 200, 250), "l", "←"),
        ((50, -20, 200, 250), "t", "↑"),
        ((50, 50, 320, 250), "r", "→"),
        ((50, 50, 200, 320), "b", "↓"),
        ((-9, -9, 309, 309), "ltrb", "←↑→↓"),
    ],
)
def test_a_box_that_reaches_past_is_open_and_says_so(
    box: tuple[float, float, float, float], open_sides: str, arrows: str, find_words
) -> None:
    drawn = draw_frames(grey(900, 300), [frame((box[0], box[1], box[2], box[3]), "field")])
    if "r" in open_sides:  # the photo is wider here, so that the words fit on one line
        box = (box[0], box[1], box[2] + 600, box[3])
        drawn = draw_frames(grey(900, 300), [frame(box, "field")])
    left, top, right, bottom = box
    red = is_colour(drawn, RED)
    closed = {
        "l": left >= 0 and red[100:200, int(left) : int(left) + 2].all(),
        "t": top >= 0 and red[int(top) : int(top) + 2, 60:190].all(),
        "r": right <= 900 and red[100:200, int(right) - 2 : int(right)].all(),
        "b": bottom <= 300 and red[int(bottom) - 2 : int(bottom), 60:190].all(),
    }
    for side, is_closed in closed.items():
        assert is_closed == (side not in open_sides), side
    assert find_words(drawn, f"field {arrows} reaches past the photo", text_px(900))
    # An arrow head lies at the middle of each open side that is seen.
    edges = {"l": red[:, :6], "t": red[:6], "r": red[:, -6:], "b": red[-6:]}
    for side in open_sides:
        assert edges[side].any()


def test_a_margin_shows_how_far_a_box_reaches(find_words) -> None:
    drawn = draw_frames(grey(), [frame((-40, -40, 340, 340), "field")], margin_share=0.2)
    assert drawn.shape == (420, 420, 3)
    assert extent(is_colour(drawn, RED)) == (20, 20, 400, 400)
    # The label's own bar of colour lies inside the frame.
    assert find_words(drawn, "field", text_px(420))
    assert (drawn[5:15, 5:15] == 255).all()
    assert (drawn[200:220, 100:200] == 90).all()


@pytest.mark.parametrize("title", ["", "What a unit sees", "word " * 60])
@pytest.mark.parametrize("margin", [0.0, 0.25])
def test_the_photo_begins_at_its_corner(title: str, margin: float) -> None:
    photo = np.random.default_rng(1).integers(0, 250, (80, 120, 3), dtype=np.uint8)
    drawn = draw_frames(photo, [], title=title, margin_share=margin)
    x, y = photo_corner(photo, title=title, margin_share=margin)
    np.testing.assert_array_equal(drawn[y : y + 80, x : x + 120], photo)
    if not title and not margin:
        np.testing.assert_array_equal(drawn, photo)


def labels_of(drawn: np.ndarray, names: list[str], find_words) -> list[tuple[int, int, int, int]]:
    places = []
    for name in names:
        (place,) = find_words(drawn, name, text_px(drawn.shape[1]))
        places.append(place)
    return places


def test_labels_are_whole_and_apart(find_words) -> None:
    names = [f"split {n}: {40 + 30 * n} px" for n in range(8)]
    frames = [
        frame((150 - 9 * n, 150 - 9 * n, 250 + 9 * n, 250 + 9 * n), name)
        for n, name in enumerate(names)
    ]
    drawn = draw_frames(grey(400, 400), frames)
    assert drawn.shape == (400, 400, 3)
    places = labels_of(drawn, names, find_words)
    for one, other in itertools.combinations(places, 2):
        apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
        assert apart


def test_equal_boxes_still_have_their_own_labels(find_words) -> None:
    names = [f"model {n}" for n in range(5)]
    drawn = draw_frames(grey(), [frame((100, 100, 200, 200), name) for name in names])
    assert drawn.shape == (300, 300, 3)
    assert len(set(labels_of(drawn, names, find_words))) == 5


@pytest.mark.parametrize("box", [(-90, -90, -20, -20), (500, 10, 600, 30), (290, 290, 299, 299)])
def test_a_label_stays_inside_wherever_its_box_is(box, find_words) -> None:
    drawn = draw_frames(grey(), [frame(box, "far away")])
    assert drawn.shape == (300, 300, 3)
    assert find_words(drawn, "far away", text_px(300)) or find_words(drawn, "far", text_px(300))


def test_labels_without_room_are_written_below(find_words) -> None:
    names = [f"split {n}" for n in range(6)]
    drawn = draw_frames(grey(120, 50), [frame((10, 10, 60, 40), name) for name in names])
    assert drawn.shape[1] == 120
    assert len(drawn) > 50
    for name in names:
        assert find_words(drawn, name, text_px(120)), name


def test_the_cross_marks_the_pixel_of_the_point() -> None:
    drawn = draw_frames(grey(), [], point=(120.5, 80.5))
    ink = is_colour(drawn, INK)
    left, top, right, bottom = extent(ink)
    assert (left + right - 1) / 2 == 120
    assert (top + bottom - 1) / 2 == 80
    assert (drawn[80, 120] == 90).all()  # what is under the point can be seen
    assert is_colour(drawn, WHITE).sum() > 20
    margined = draw_frames(grey(), [], point=(120.5, 80.5), margin_share=0.1)
    assert extent(is_colour(margined, INK)) == (left + 30, top + 30, right + 30, bottom + 30)


@pytest.mark.parametrize("point", [(0, 0), (299.9, 299.9), (-5, 3), (900, 900)])
def test_a_point_at_the_border_or_outside(point: tuple[float, float]) -> None:
    assert draw_frames(grey(), [], point=point).shape == (300, 300, 3)


def test_later_frames_lie_on_top_and_the_photo_is_not_changed() -> None:
    photo = grey()
    frames = [frame((50, 50, 200, 200), colour=GREEN), frame((50, 100, 250, 250), colour=BLUE)]
    drawn = draw_frames(photo, frames, point=(30, 30))
    assert (photo == 90).all()
    assert is_colour(drawn[150:151, 50:52], BLUE).all()
    assert is_colour(drawn[60:90, 50:52], GREEN).all()
    np.testing.assert_array_equal(drawn, draw_frames(photo, frames, point=(30, 30)))


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3)])
def test_tiny_photos(size: tuple[int, int]) -> None:
    drawn = draw_frames(grey(*size), [frame((0, 0, 5, 5), "box"), frame((-5, 0, 9, 9), "other")])
    assert drawn.shape[1] == size[0]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"photo": np.zeros((5, 5), np.uint8)}, "uint8"),
        ({"photo": np.zeros((5, 5, 3), np.float32)}, "uint8"),
        ({"frames": [frame((5, 5, 5, 9))]}, "no area"),
        ({"frames": [frame((0, 0, float("nan"), 9))]}, "finite"),
        ({"frames": [Frame((0, 0, 5, 5), "", "no colour")]}, "color"),
        ({"point": (float("inf"), 0)}, "finite"),
        ({"margin_share": -0.1}, "below 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(change, match: str) -> None:
    options = {"photo": grey(), "frames": [], **change}
    with pytest.raises(ValueError, match=match):
        draw_frames(options.pop("photo"), options.pop("frames"), **options)
