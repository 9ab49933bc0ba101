"""``mscnn.scales.canvas``: rectangles computed on paper, and every pixel inside and outside."""

import math
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mscnn.errors import BoxError, OptionError
from mscnn.scales.canvas import CANVASES, background, check_box, compose, cut, whole

MEAN = (124, 116, 104)
RED, BLUE = (255, 0, 0), (0, 0, 255)


def plain(width, height, colour=RED):
    return Image.new("RGB", (width, height), colour)


def noise(width, height):
    rng = np.random.default_rng(5)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize(("photo", "factor", "view", "rect"), [
    # Longer side 48 of 96, centred.
    ((100, 50), 0.5, (96, 96), (24, 36, 72, 60)), ((50, 100), 0.5, (96, 96), (36, 24, 60, 72)),
    ((100, 100), 1.0, (96, 96), (0, 0, 96, 96)),
    # 192 x 96: the width is cut, the height just fits.
    ((100, 50), 2.0, (96, 96), (0, 0, 96, 96)),
    # 192 x 64.
    ((300, 100), 2.0, (96, 96), (0, 16, 96, 80)),
    # A hair: 0.32 px wide, shown as 1 px, 47 px to its left and 48 to its right.
    ((1, 300), 1.0, (96, 96), (47, 0, 48, 96)), ((300, 1), 1.0, (96, 96), (0, 47, 96, 48)),
    ((300, 1), 0.1, (96, 96), (43, 47, 53, 48)),
    # 9.6 -> 10 px, and 5/7 of it, 7.14 -> 7 px.
    ((7, 5), 0.1, (96, 96), (43, 44, 53, 51)),
    # 4.8 -> 5 px.
    ((1, 1), 0.05, (96, 96), (45, 45, 50, 50)), ((1, 1), 4.0, (96, 96), (0, 0, 96, 96)),
    ((640, 480), 0.812, (224, 224), (21, 44, 203, 180)),
    # The shorter side of the view counts: 24 of 48.
    ((10, 10), 0.5, (64, 48), (20, 12, 44, 36)),
    # 144 x 72 in 64 x 48.
    ((20, 10), 3.0, (64, 48), (0, 0, 64, 48)), ((20, 2), 3.0, (64, 48), (0, 17, 64, 31)),
])  # fmt: skip
def test_the_rectangle_is_where_the_object_is(photo, factor, view, rect):
    shown, found = compose(plain(*photo), whole(), factor, view, "mean", MEAN)
    assert found == rect
    left, top, right, bottom = rect
    assert shown.shape == (view[1], view[0], 3)
    assert shown.dtype == np.uint8
    expected = np.full_like(shown, MEAN)
    expected[top:bottom, left:right] = RED
    assert np.array_equal(shown, expected)


def test_at_its_own_size_the_object_is_itself():
    photo = noise(60, 40)
    view, (left, top, right, bottom) = compose(photo, whole(), 60 / 96, (96, 96), "grey", MEAN)
    assert np.array_equal(view[top:bottom, left:right], np.asarray(photo))


@pytest.mark.parametrize("factor", [1.5, 2.0, 3.7])
@pytest.mark.parametrize("size", [(50, 50), (80, 50), (31, 77), (5, 300)])
def test_a_large_object_is_the_middle_of_the_whole_resize(factor, size):
    photo = noise(*size)
    view, rect = compose(photo, whole(), factor, (64, 64), "grey", MEAN)
    longer = round(64 * factor)
    w, h = (max(1, round(side * longer / max(size))) for side in size)
    resized = np.asarray(photo.resize((w, h), Image.Resampling.LANCZOS))
    left, top = math.floor((64 - w) / 2), math.floor((64 - h) / 2)
    expected = resized[rect[1] - top : rect[3] - top, rect[0] - left : rect[2] - left]
    found = view[rect[1] : rect[3], rect[0] : rect[2]]
    np.testing.assert_allclose(found.astype(int), expected.astype(int), atol=1)


def test_a_small_object_is_smoothed_not_picked():
    # One pixel columns, black and white: any correct reduction is grey all over.
    stripes = np.zeros((960, 960, 3), np.uint8)
    stripes[:, ::2] = 255
    view, (left, top, right, bottom) = compose(
        Image.fromarray(stripes), whole(), 0.5, (96, 96), "mean", MEAN
    )
    middle = view[top + 2 : bottom - 2, left + 2 : right - 2].astype(int)
    assert np.abs(middle - 127.5).max() < 3


def test_a_box_shows_its_part_and_nothing_bleeds_in():
    photo = plain(100, 60, BLUE)
    photo.paste(RED, (20, 15, 60, 45))
    for factor in (0.3, 1.0, 2.0):
        view, (left, top, right, bottom) = compose(
            photo, (0.2, 0.25, 0.6, 0.75), factor, (96, 96), "grey", MEAN
        )
        assert np.all(view[top:bottom, left:right] == RED)
    # 40 x 30 px at 0.3: 29 x 22.
    _, rect = compose(photo, (0.2, 0.25, 0.6, 0.75), 0.3, (96, 96), "grey", MEAN)
    assert rect == (33, 37, 62, 59)


@pytest.mark.parametrize("factor", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("canvas", sorted(CANVASES))
def test_nothing_larger_than_the_view_is_computed(canvas, factor, monkeypatch):
    made: list[Any] = []
    real = Image.Image.resize

    def resize(self, size, *args, **kwargs):
        made.append(size)
        return real(self, size, *args, **kwargs)

    monkeypatch.setattr(Image.Image, "resize", resize)
    compose(plain(2, 40_000), whole(), factor, (96, 96), canvas, MEAN)
    assert made
    assert all(w <= 96 and h <= 96 for w, h in made)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (7, 5), (64, 48)])
@pytest.mark.parametrize("canvas", sorted(CANVASES))
def test_a_photo_of_one_colour_on_each_canvas(canvas, size):
    photo = plain(*size)
    empty = background(photo, photo, canvas, (40, 30), MEAN)
    assert empty.shape == (30, 40, 3)
    expected = {"mean": MEAN, "grey": (128, 128, 128), "blur": RED, "edge": RED}
    if canvas == "noise":
        assert len(np.unique(empty)) > 250
        assert abs(empty.mean() - 127.5) < 5
    else:
        assert np.all(empty == expected[canvas])
    assert np.array_equal(empty, background(photo, photo, canvas, (40, 30), MEAN))


@pytest.mark.parametrize(("rows", "mean"), [
    ([[10]], 10), ([[10, 20]], 15), ([[10], [20], [60]], 30),
    # The 200 in the middle does not count, corners count once: 80 / 8.
    ([[0, 10, 20], [0, 200, 20], [0, 10, 20]], 10),
    # 10 pixels, 8 of them on the border... all but (1, 1) and (1, 2): 36 / 10 = 3.6.
    ([[1, 2, 3, 4], [5, 99, 99, 6], [7, 3, 2, 3]], 4),
])  # fmt: skip
def test_the_edge_colour_is_the_mean_of_the_border(rows, mean):
    pixels = np.repeat(np.array(rows, np.uint8)[..., None], 3, axis=-1)
    content = Image.fromarray(pixels)
    assert np.all(background(plain(9, 9), content, "edge", (8, 8), MEAN) == mean)


def test_the_blurred_photo_fills_the_view_and_hides_shapes():
    photo = noise(300, 100)
    photo.paste(RED, (100, 0, 200, 100))
    empty = background(photo, plain(3, 3), "blur", (64, 64), MEAN).astype(int)
    # Only the red middle of the wide photo is shown, and where it ends cannot be made out.
    assert np.all(empty[:, 20:44, 0] > 240)
    fine = noise(64, 64)
    blurred = background(fine, fine, "blur", (64, 64), MEAN)
    assert blurred.std() < 0.1 * np.asarray(fine).std()


def test_an_unknown_canvas():
    message = "The canvas 'sky' is unknown; choose one of mean, grey, blur, edge, noise."
    with pytest.raises(OptionError, match=message):
        compose(plain(4, 4), whole(), 1.0, (8, 8), "sky", MEAN)


def test_every_canvas_has_one_sentence():
    assert tuple(CANVASES) == ("mean", "grey", "blur", "edge", "noise")
    assert all(text.endswith(".") and text.count(". ") == 0 for text in CANVASES.values())


@pytest.mark.parametrize(("box", "message"), [
    ((0.5, 0.2, 0.5, 0.8), "empty"), ((0.2, 0.5, 0.8, 0.5), "empty"),
    ((0.0, 0.0, 0.0, 0.0), "empty"), ((0.6, 0.2, 0.4, 0.8), "reversed"),
    ((0.2, 0.8, 0.4, 0.2), "reversed"), ((-0.1, 0.0, 0.5, 0.5), "outside of the photo"),
    ((0.0, 0.0, 0.5, 1.01), "outside of the photo"),
    ((0.0, 0.0, math.nan, 0.5), "outside of the photo"),
    ((0.0, 0.0, math.inf, 0.5), "outside of the photo"), ((0.0, 0.0, 0.5), "outside of the photo"),
    ((0.5, 0.2, 0.509, 0.8), "too small: 0.9 % by 60.0 % of the photo"),
    ((0.2, 0.5, 0.8, 0.505), "too small: 60.0 % by 0.5 % of the photo"),
])  # fmt: skip
def test_a_bad_box_is_a_sentence(box, message):
    with pytest.raises(BoxError, match=message) as caught:
        check_box(box)
    assert str(caught.value).endswith(".")
    with pytest.raises(BoxError, match=message):
        compose(plain(1000, 1000), box, 1.0, (8, 8), "mean", MEAN)


@pytest.mark.parametrize(("size", "box", "found"), [
    ((100, 80), (0.2, 0.25, 0.6, 0.75), (40, 40)), ((100, 80), (0.5, 0.5, 0.52, 0.525), (2, 2)),
    ((1, 300), (0.0, 0.1, 1.0, 0.2), (1, 30)), ((1, 1), (0.0, 0.0, 1.0, 1.0), (1, 1)),
    ((300, 1), (0.5, 0.0, 0.51, 1.0), (3, 1)), ((100, 80), (0.5, 0.5, 0.512, 0.8), None),
    ((10, 10), (0.5, 0.5, 0.6, 1.0), None), ((1, 300), (0.0, 0.1, 0.4, 0.2), None),
    ((1, 1), (0.6, 0.0, 1.0, 1.0), None),
])  # fmt: skip
def test_a_box_of_a_photo_has_at_least_two_pixels_where_the_photo_has(size, box, found):
    check_box(box)
    if found:
        assert cut(plain(*size), box).size == found
    else:
        with pytest.raises(BoxError, match=r"px of the photo; each side must be at least 2 px"):
            cut(plain(*size), box)
