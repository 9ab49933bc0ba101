"""Overlays against matplotlib's colour maps, evaluated directly."""

from __future__ import annotations

import itertools
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import matplotlib
import numpy as np
import pytest

from mscnn.draw.overlay import COLOUR_MAPS, difference_colours, difference_overlay, heatmap, overlay
from mscnn.errors import OptionError

HEIGHT, WIDTH = 24, 40
BOX = (10, 4, 34, 20)


@pytest.fixture
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.fixture
def ramp() -> np.ndarray:
    """0 at the left to 5 at the right."""
    return np.tile(np.linspace(0, 5, WIDTH, dtype=np.float32), (HEIGHT, 1))


def zeros() -> np.ndarray:
    return np.zeros((HEIGHT, WIDTH), np.float32)


def inside(picture: np.ndarray, box: tuple[int, int, int, int] = BOX) -> np.ndarray:
    return picture[box[1] : box[3], box[0] : box[2]]


def luma(photo: np.ndarray) -> np.ndarray:
    """Return ITU-R BT.601 luma: 0.299 R + 0.587 G + 0.114 B."""
    return np.asarray(photo @ np.array([0.299, 0.587, 0.114]))


@pytest.mark.parametrize("cmap", COLOUR_MAPS)
def test_heatmap_has_the_colours_of_matplotlib(ramp: np.ndarray, cmap: str) -> None:
    expected = matplotlib.colormaps[cmap](ramp.astype(np.float64) / 5.0, bytes=True)[..., :3]
    np.testing.assert_array_equal(heatmap(ramp, vmax=5.0, cmap=cmap), expected)


@pytest.mark.parametrize("cmap", COLOUR_MAPS)
def test_the_top_at_full_opacity_is_the_top_colour(photo: np.ndarray, cmap: str) -> None:
    drawn = overlay(photo, zeros() + 3, vmax=3.0, opacity=1.0, cmap=cmap)
    top = matplotlib.colormaps[cmap](1.0, bytes=True)[:3]
    np.testing.assert_array_equal(drawn, np.broadcast_to(top, photo.shape))


def test_a_zero_map_leaves_the_photo(photo: np.ndarray) -> None:
    np.testing.assert_array_equal(overlay(photo, zeros(), vmax=1.0, opacity=1.0), photo)
    marked = overlay(photo, zeros(), vmax=1.0, crop=BOX)
    np.testing.assert_array_equal(inside(marked), inside(photo))


def test_opacity_zero_is_the_photo(photo: np.ndarray, ramp: np.ndarray) -> None:
    np.testing.assert_array_equal(overlay(photo, ramp, vmax=5.0, opacity=0), photo)


def test_the_blend_follows_its_formula(photo: np.ndarray, ramp: np.ndarray) -> None:
    share = ramp.astype(np.float64) / 5.0
    colours = 255 * matplotlib.colormaps["viridis"](share)[..., :3]
    alpha = (0.6 * share)[..., None]
    expected = (1 - alpha) * photo + alpha * colours
    drawn = overlay(photo, ramp, vmax=5.0, opacity=0.6, cmap="viridis")
    # Opacity and colour each have 256 levels, so a value may be off by about one of each.
    assert np.abs(drawn - expected).max() < 2.5


def test_the_blend_is_monotone() -> None:
    grey = np.zeros((1, 256, 3), np.uint8)
    heat = np.linspace(0, 1, 256, dtype=np.float32)[None]
    brightness = luma(overlay(grey, heat, vmax=1.0, opacity=0.7)[0])
    # Over black, inferno's lightness and the opacity both grow; 1 for the rounding of channels.
    assert (np.diff(brightness) > -1).all()
    assert brightness[0] == 0
    assert brightness[-1] > 150


def test_more_opacity_moves_every_pixel_further(photo: np.ndarray, ramp: np.ndarray) -> None:
    distances = [
        np.abs(overlay(photo, ramp, vmax=5.0, opacity=o).astype(int) - photo)
        for o in (0.0, 0.3, 0.6, 1.0)
    ]
    for less, more in itertools.pairwise(distances):
        assert (less <= more).all()


@pytest.mark.parametrize(("value", "counts_as"), [(7.0, 5.0), (1e30, 5.0), (-2.0, 0.0)])
def test_values_beyond_the_scale_clip(photo: np.ndarray, value: float, counts_as: float) -> None:
    np.testing.assert_array_equal(
        overlay(photo, zeros() + np.float32(value), vmax=5.0),
        overlay(photo, zeros() + np.float32(counts_as), vmax=5.0),
    )


@pytest.mark.parametrize("vmax", [0.0, -1.0])
def test_no_scale_draws_nothing(photo: np.ndarray, ramp: np.ndarray, vmax: float) -> None:
    np.testing.assert_array_equal(overlay(photo, ramp, vmax=vmax), photo)
    bottom = matplotlib.colormaps["inferno"](0.0, bytes=True)[:3]
    assert (heatmap(ramp, vmax=vmax) == bottom).all()
    grey = difference_overlay(photo, ramp, vmax=vmax)
    assert np.abs(grey - luma(photo)[..., None]).max() <= 1


@pytest.mark.parametrize("vmax", [1e-45, 1e-300, 5e-324, 1e300])
def test_extreme_scales_do_not_overflow(photo: np.ndarray, ramp: np.ndarray, vmax: float) -> None:
    drawn = overlay(photo, ramp, vmax=vmax, opacity=1.0)
    top = matplotlib.colormaps["inferno"](1.0, bytes=True)[:3]
    expected = np.broadcast_to(top, (HEIGHT, WIDTH - 1, 3)) if vmax < 1 else photo[:, 1:]
    np.testing.assert_array_equal(drawn[:, 1:], expected)
    np.testing.assert_array_equal(drawn[:, 0], photo[:, 0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("draw", [overlay, difference_overlay])
def test_values_that_are_not_finite_are_refused(photo: np.ndarray, draw, bad: float) -> None:
    heat = zeros()
    heat[3, 5] = bad
    with pytest.raises(ValueError, match="finite"):
        draw(photo, heat, vmax=1.0)
    with pytest.raises(ValueError, match="finite"):
        draw(photo, zeros(), vmax=bad)


@pytest.mark.parametrize("draw", [overlay, difference_overlay])
@pytest.mark.parametrize(
    ("photo_shape", "dtype", "heat_shape"),
    [
        ((24, 40, 3), np.uint8, (40, 24)),
        ((24, 40, 3), np.uint8, (24, 40, 1)),
        ((24, 40, 3), np.uint8, (7, 7)),
        ((24, 40, 4), np.uint8, (24, 40)),
        ((24, 40), np.uint8, (24, 40)),
        ((24, 40, 3), np.float32, (24, 40)),
        ((0, 40, 3), np.uint8, (0, 40)),
    ],
    ids=["turned", "3d map", "small map", "rgba", "grey", "float photo", "empty"],
)
def test_arrays_that_do_not_fit_are_refused(draw, photo_shape, dtype, heat_shape) -> None:
    with pytest.raises(ValueError, match=r"photo|shape"):
        draw(np.zeros(photo_shape, dtype), np.zeros(heat_shape, np.float32), vmax=1.0)


@pytest.mark.parametrize("opacity", [-0.1, 1.1, 60, float("nan")])
@pytest.mark.parametrize("draw", [overlay, difference_overlay])
def test_a_wrong_opacity_is_refused(photo: np.ndarray, draw, opacity: float) -> None:
    with pytest.raises(OptionError, match="0 to 1"):
        draw(photo, zeros(), vmax=1.0, opacity=opacity)


def test_a_wrong_colour_map_is_refused(photo: np.ndarray) -> None:
    with pytest.raises(OptionError, match=r"'jet'.*inferno, viridis, magma, turbo"):
        overlay(photo, zeros(), vmax=1.0, cmap="jet")


@pytest.mark.parametrize("tone", [0, 60, 128, 200, 255])
def test_the_frame_stands_out_from_any_photo(tone: int) -> None:
    photo = np.full((HEIGHT, WIDTH, 3), tone, np.uint8)
    marked = overlay(photo, zeros(), vmax=1.0, crop=BOX).astype(int)
    left, top, right, bottom = BOX
    ring = marked[top - 1, left:right], marked[bottom, left:right]
    outer = marked[top - 2, left:right], marked[bottom + 1, left:right]
    for inner_line, outer_line in zip(ring, outer, strict=True):
        strongest = np.maximum(abs(inner_line - tone), abs(outer_line - tone))
        assert strongest.min() >= 127  # half of the range
    np.testing.assert_array_equal(inside(marked), inside(photo))


def test_outside_the_crop_the_photo_is_dimmed_and_the_map_absent(photo: np.ndarray) -> None:
    marked = overlay(photo, zeros() + 1, vmax=1.0, opacity=1.0, crop=BOX)
    far = np.ones((HEIGHT, WIDTH), bool)
    far[BOX[1] - 2 : BOX[3] + 2, BOX[0] - 2 : BOX[2] + 2] = False
    np.testing.assert_array_equal(marked[far], np.rint(0.4 * photo[far]))


@pytest.mark.parametrize(
    "crop", [(0, 0, WIDTH, HEIGHT), (-5, -9, WIDTH + 3, HEIGHT + 1)], ids=["all", "padded"]
)
def test_a_crop_of_everything_changes_nothing(photo, ramp, crop) -> None:
    np.testing.assert_array_equal(
        overlay(photo, ramp, vmax=5.0, crop=crop), overlay(photo, ramp, vmax=5.0)
    )


@pytest.mark.parametrize("crop", [(5, 5, 5, 9), (9, 5, 3, 9), (40, 0, 50, 10), (-9, 0, 0, 10)])
def test_an_empty_crop_is_refused(photo: np.ndarray, crop: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="no pixel"):
        overlay(photo, zeros(), vmax=1.0, crop=crop)


@pytest.mark.parametrize(("sign", "place"), [(1, 1.0), (-1, 0.0)])
def test_differences_end_in_the_ends_of_the_diverging_map(
    photo: np.ndarray, sign: int, place: float
) -> None:
    end = matplotlib.colormaps["RdBu_r"](place, bytes=True)[:3]
    drawn = difference_overlay(photo, zeros() + sign * 9, vmax=2.0, opacity=1.0)
    assert (drawn == end).all()
    assert (end[0] > end[2]) == (sign > 0)  # red above 0, blue below


def test_differences_leave_the_grey_photo_at_zero(photo: np.ndarray) -> None:
    drawn = difference_overlay(photo, zeros(), vmax=1.0, opacity=1.0, crop=BOX)
    assert np.abs(inside(drawn) - luma(inside(photo))[..., None]).max() <= 1
    assert (difference_colours(zeros(), vmax=1.0) >= 240).all()


def test_differences_follow_their_formula(photo: np.ndarray, ramp: np.ndarray) -> None:
    share = np.clip((ramp.astype(np.float64) - 2.5) / 2.0, -1, 1)
    colours = 255 * matplotlib.colormaps["RdBu_r"](0.5 + share / 2)[..., :3]
    alpha = (0.7 * np.abs(share))[..., None]
    expected = (1 - alpha) * luma(photo)[..., None] + alpha * colours
    drawn = difference_overlay(photo, ramp - np.float32(2.5), vmax=2.0, opacity=0.7)
    # 127 levels on each side, and the map changes by up to 4 per level.
    assert np.abs(drawn - expected).max() < 4


def test_nothing_given_is_changed(photo: np.ndarray, ramp: np.ndarray) -> None:
    before = photo.copy(), ramp.copy()
    photo.setflags(write=False)
    ramp.setflags(write=False)
    drawn = [
        overlay(photo, ramp, vmax=5.0, crop=BOX),
        difference_overlay(photo, ramp, vmax=5.0),
        heatmap(ramp, vmax=5.0),
    ]
    for picture in drawn:
        picture[:] = 0  # results belong to the caller
    np.testing.assert_array_equal(photo, before[0])
    np.testing.assert_array_equal(ramp, before[1])
    assert heatmap(ramp, vmax=5.0).any()


def test_views_that_are_not_contiguous_are_drawn_alike(photo, ramp) -> None:
    np.testing.assert_array_equal(
        overlay(photo[:, ::-1], ramp[:, ::-1], vmax=5.0), overlay(photo, ramp, vmax=5.0)[:, ::-1]
    )


def test_threads_draw_what_one_thread_draws(photo: np.ndarray, ramp: np.ndarray) -> None:
    def draw(number: int) -> np.ndarray:
        cmap = COLOUR_MAPS[number % len(COLOUR_MAPS)]
        return overlay(photo, ramp, vmax=1.0 + number, cmap=cmap, crop=BOX)

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(draw, range(40)))
    for number, picture in enumerate(together):
        np.testing.assert_array_equal(picture, draw(number))


def test_drawing_loads_neither_torch_nor_pyplot() -> None:
    code = (
        "import sys, mscnn.draw.legend, mscnn.draw.overlay, mscnn.draw.sheet\n"
        "heavy = {'torch', 'timm', 'gradio', 'matplotlib.pyplot'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
