"""Overlays against matplotlib's colour maps, evaluated directly."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from mscnn.draw import overlay as o
from mscnn.draw.figures import pixels
from mscnn.errors import OptionError

HEIGHT, WIDTH = 24, 40
BOX = (10, 4, 34, 20)


@pytest.fixture
def photo():
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.fixture
def ramp():
    """0 at the left to 5 at the right."""
    return np.tile(np.linspace(0, 5, WIDTH, dtype=np.float32), (HEIGHT, 1))


def zeros():
    return np.zeros((HEIGHT, WIDTH), np.float32)


def inside(picture, box=BOX):
    return picture[box[1] : box[3], box[0] : box[2]]


def luma(photo):
    """Return ITU-R BT.601 luma: 0.299 R + 0.587 G + 0.114 B."""
    return np.asarray(photo @ np.array([0.299, 0.587, 0.114]))


@pytest.mark.parametrize("cmap", o.COLOUR_MAPS)
def test_heatmap_has_the_colours_of_matplotlib(ramp, cmap):
    expected = matplotlib.colormaps[cmap](ramp.astype(np.float64) / 5.0, bytes=True)[..., :3]
    np.testing.assert_array_equal(o.heatmap(ramp, vmax=5.0, cmap=cmap), expected)


@pytest.mark.parametrize("cmap", o.COLOUR_MAPS)
def test_the_top_at_full_opacity_is_the_top_colour(photo, cmap):
    drawn = o.overlay(photo, zeros() + 3, vmax=3.0, opacity=1.0, cmap=cmap)
    top = matplotlib.colormaps[cmap](1.0, bytes=True)[:3]
    np.testing.assert_array_equal(drawn, np.broadcast_to(top, photo.shape))


def test_a_zero_map_leaves_the_photo(photo):
    np.testing.assert_array_equal(o.overlay(photo, zeros(), vmax=1.0, opacity=1.0), photo)
    marked = o.overlay(photo, zeros(), vmax=1.0, crop=BOX)
    np.testing.assert_array_equal(inside(marked), inside(photo))


def test_opacity_zero_is_the_photo(photo, ramp):
    np.testing.assert_array_equal(o.overlay(photo, ramp, vmax=5.0, opacity=0), photo)


def test_the_blend_follows_its_formula(photo, ramp):
    share = ramp.astype(np.float64) / 5.0
    colours = 255 * matplotlib.colormaps["viridis"](share)[..., :3]
    alpha = (0.6 * share)[..., None]
    expected = (1 - alpha) * photo + alpha * colours
    drawn = o.overlay(photo, ramp, vmax=5.0, opacity=0.6, cmap="viridis")
    # Opacity and colour each have 256 levels, so a value may be off by about one of each.
    assert np.abs(drawn - expected).max() < 2.5


@pytest.mark.parametrize(("value", "counts_as"), [(7.0, 5.0), (1e30, 5.0), (-2.0, 0.0)])
def test_values_beyond_the_scale_clip(photo, value, counts_as):
    np.testing.assert_array_equal(
        o.overlay(photo, zeros() + np.float32(value), vmax=5.0),
        o.overlay(photo, zeros() + np.float32(counts_as), vmax=5.0),
    )


@pytest.mark.parametrize("vmax", [0.0, -1.0])
def test_no_scale_draws_nothing(photo, ramp, vmax):
    np.testing.assert_array_equal(o.overlay(photo, ramp, vmax=vmax), photo)
    bottom = matplotlib.colormaps["inferno"](0.0, bytes=True)[:3]
    assert (o.heatmap(ramp, vmax=vmax) == bottom).all()
    grey = o.difference_overlay(photo, ramp, vmax=vmax)
    assert np.abs(grey - luma(photo)[..., None]).max() <= 1


@pytest.mark.parametrize("vmax", [1e-45, 1e-300, 5e-324, 1e300])
def test_extreme_scales_do_not_overflow(photo, ramp, vmax):
    drawn = o.overlay(photo, ramp, vmax=vmax, opacity=1.0)
    top = matplotlib.colormaps["inferno"](1.0, bytes=True)[:3]
    expected = np.broadcast_to(top, (HEIGHT, WIDTH - 1, 3)) if vmax < 1 else photo[:, 1:]
    np.testing.assert_array_equal(drawn[:, 1:], expected)
    np.testing.assert_array_equal(drawn[:, 0], photo[:, 0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("draw", [o.overlay, o.difference_overlay])
def test_values_that_are_not_finite_are_refused(photo, draw, bad):
    heat = zeros()
    heat[3, 5] = bad
    with pytest.raises(ValueError, match="finite"):
        draw(photo, heat, vmax=1.0)
    with pytest.raises(ValueError, match="finite"):
        draw(photo, zeros(), vmax=bad)


@pytest.mark.parametrize("draw", [o.overlay, o.difference_overlay])
@pytest.mark.parametrize(("photo_shape", "dtype", "heat_shape"), [
    ((24, 40, 3), np.uint8, (40, 24)), ((24, 40, 3), np.uint8, (24, 40, 1)),
    ((24, 40, 3), np.uint8, (7, 7)), ((24, 40, 4), np.uint8, (24, 40)),
    ((24, 40), np.uint8, (24, 40)), ((24, 40, 3), np.float32, (24, 40)),
    ((0, 40, 3), np.uint8, (0, 40)),
], ids=["turned", "3d map", "small map", "rgba", "grey", "float photo", "empty"])  # fmt: skip
def test_arrays_that_do_not_fit_are_refused(draw, photo_shape, dtype, heat_shape):
    with pytest.raises(ValueError, match=r"photo|shape"):
        draw(np.zeros(photo_shape, dtype), np.zeros(heat_shape, np.float32), vmax=1.0)


@pytest.mark.parametrize("opacity", [-0.1, 1.1, 60, float("nan")])
@pytest.mark.parametrize("draw", [o.overlay, o.difference_overlay])
def test_a_wrong_opacity_is_refused(photo, draw, opacity):
    with pytest.raises(OptionError, match="between 0 and 1"):
        draw(photo, zeros(), vmax=1.0, opacity=opacity)


def test_a_wrong_colour_map_is_refused(photo):
    with pytest.raises(OptionError, match=r"'jet'.*inferno, viridis, magma, turbo"):
        o.overlay(photo, zeros(), vmax=1.0, cmap="jet")


@pytest.mark.parametrize("tone", [0, 60, 128, 200, 255])
def test_the_frame_stands_out_from_any_photo(tone):
    photo = np.full((HEIGHT, WIDTH, 3), tone, np.uint8)
    marked = o.overlay(photo, zeros(), vmax=1.0, crop=BOX).astype(int)
    left, top, right, bottom = BOX
    ring = marked[top - 1, left:right], marked[bottom, left:right]
    outer = marked[top - 2, left:right], marked[bottom + 1, left:right]
    for inner_line, outer_line in zip(ring, outer, strict=True):
        strongest = np.maximum(abs(inner_line - tone), abs(outer_line - tone))
        assert strongest.min() >= 127  # half of the range
    np.testing.assert_array_equal(inside(marked), inside(photo))


def test_outside_the_crop_the_photo_is_dimmed_and_the_map_absent(photo):
    marked = o.overlay(photo, zeros() + 1, vmax=1.0, opacity=1.0, crop=BOX)
    far = np.ones((HEIGHT, WIDTH), bool)
    far[BOX[1] - 2 : BOX[3] + 2, BOX[0] - 2 : BOX[2] + 2] = False
    np.testing.assert_array_equal(marked[far], np.rint(0.4 * photo[far]))


@pytest.mark.parametrize(
    "crop", [(0, 0, WIDTH, HEIGHT), (-5, -9, WIDTH + 3, HEIGHT + 1)], ids=["all", "padded"]
)
def test_a_crop_of_everything_changes_nothing(photo, ramp, crop):
    np.testing.assert_array_equal(
        o.overlay(photo, ramp, vmax=5.0, crop=crop), o.overlay(photo, ramp, vmax=5.0)
    )


@pytest.mark.parametrize("crop", [(5, 5, 5, 9), (9, 5, 3, 9), (40, 0, 50, 10), (-9, 0, 0, 10)])
def test_an_empty_crop_is_refused(photo, crop):
    with pytest.raises(ValueError, match="no pixel"):
        o.overlay(photo, zeros(), vmax=1.0, crop=crop)


@pytest.mark.parametrize(("sign", "place"), [(1, 1.0), (-1, 0.0)])
def test_differences_end_in_the_ends_of_the_diverging_map(photo, sign, place):
    end = matplotlib.colormaps["RdBu_r"](place, bytes=True)[:3]
    drawn = o.difference_overlay(photo, zeros() + sign * 9, vmax=2.0, opacity=1.0)
    assert (drawn == end).all()
    assert (end[0] > end[2]) == (sign > 0)  # red above 0, blue below


def test_differences_leave_the_grey_photo_at_zero(photo):
    drawn = o.difference_overlay(photo, zeros(), vmax=1.0, opacity=1.0, crop=BOX)
    assert np.abs(inside(drawn) - luma(inside(photo))[..., None]).max() <= 1
    assert (o.palette("signed")[127] >= 240).all()


def test_differences_follow_their_formula(photo, ramp):
    share = np.clip((ramp.astype(np.float64) - 2.5) / 2.0, -1, 1)
    colours = 255 * matplotlib.colormaps["RdBu_r"](0.5 + share / 2)[..., :3]
    alpha = (0.7 * np.abs(share))[..., None]
    expected = (1 - alpha) * luma(photo)[..., None] + alpha * colours
    drawn = o.difference_overlay(photo, ramp - np.float32(2.5), vmax=2.0, opacity=0.7)
    # 127 levels on each side, and the map changes by up to 4 per level.
    assert np.abs(drawn - expected).max() < 4


def test_nothing_given_is_changed(photo, ramp):
    before = photo.copy(), ramp.copy()
    photo.setflags(write=False)
    ramp.setflags(write=False)
    drawn = [
        o.overlay(photo, ramp, vmax=5.0, crop=BOX), o.difference_overlay(photo, ramp, vmax=5.0),
        o.heatmap(ramp, vmax=5.0),
    ]  # fmt: skip
    for picture in drawn:
        picture[:] = 0  # results belong to the caller
    np.testing.assert_array_equal(photo, before[0])
    np.testing.assert_array_equal(ramp, before[1])
    assert o.heatmap(ramp, vmax=5.0).any()


def test_views_that_are_not_contiguous_are_drawn_alike(photo, ramp):
    np.testing.assert_array_equal(
        o.overlay(photo[:, ::-1], ramp[:, ::-1], vmax=5.0),
        o.overlay(photo, ramp, vmax=5.0)[:, ::-1],
    )


def test_threads_draw_what_one_thread_draws(photo, ramp):
    def draw(number):
        cmap = o.COLOUR_MAPS[number % len(o.COLOUR_MAPS)]
        return o.overlay(photo, ramp, vmax=1.0 + number, cmap=cmap, crop=BOX)

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(draw, range(40)))
    for number, picture in enumerate(together):
        np.testing.assert_array_equal(picture, draw(number))


def bar_of(drawn, picture_rows):
    """Return the middle row of the colour bar, within its edge."""
    width = drawn.shape[1]
    font = min(max(round(12 + (width - 320) / 110), 12), 28)
    return drawn[picture_rows + font + font // 2, font + 2 : width - font - 2]


@pytest.mark.parametrize("cmap", o.COLOUR_MAPS)
@pytest.mark.parametrize("width", [320, 800])
def test_the_bar_is_the_colour_map_from_end_to_end(cmap, width):
    own = np.full((30, width, 3), 128, np.uint8)
    bar = bar_of(o.with_legend(own, vmax=4.0, unit="px", cmap=cmap), 30)
    expected = matplotlib.colormaps[cmap](np.linspace(0, 1, len(bar)), bytes=True)[:, :3]
    # The edge takes a px or two, and a value between two levels may take either.
    assert np.abs(bar.astype(int) - expected).max() <= 26


def test_the_picture_is_copied_as_it_is_and_a_narrow_one_centred():
    own = np.random.default_rng(1).integers(0, 256, (50, 321, 3), dtype=np.uint8)
    drawn = o.with_legend(own, vmax=1.0, unit="px")
    np.testing.assert_array_equal(drawn[:50], own)
    titled = o.with_legend(own, vmax=1.0, unit="px", title="lion")
    extra = len(titled) - len(drawn)
    assert extra > 12
    np.testing.assert_array_equal(titled[extra:], drawn)
    narrow = o.with_legend(own[:, :64], vmax=1.0, unit="px")
    left = (o.MIN_WIDTH_PX - 64) // 2
    np.testing.assert_array_equal(narrow[:50, left : left + 64], own[:, :64])
    assert (narrow[:50, :left] == 255).all()
    assert (bar_of(o.with_legend(own, vmax=0.0, unit=""), 50) == 255).all()


@pytest.mark.parametrize(("options", "words"), [
    ({"vmax": 8.0}, ["0 (transparent)", "8"]), ({"vmax": 8.0, "transparent": False}, ["0", "8"]),
    ({"vmax": 0.01234, "clipped": True}, ["0 (transparent)", "≥ 0.0123"]),
    ({"vmax": 2.5, "signed": True}, ["\N{MINUS SIGN}2.5", "0", "+2.5"]),
    ({"vmax": 2.5, "signed": True, "clipped": True}, ["≤ \N{MINUS SIGN}2.5", "0", "≥ +2.5"]),
    ({"vmax": 0.0}, ["0 (transparent)", "nothing above 0"]),
    ({"vmax": -1.0, "signed": True}, ["", "0 (transparent) everywhere", ""]),
])  # fmt: skip
@pytest.mark.parametrize("width", [240, 1200])
def test_the_scale_is_stated(width, options, words):
    figure = Figure((width / 72, 1), 72)
    box = figure.add_axes((12 / width, 0.8, 1 - 24 / width, 0.15))
    axis = o.colour_bar(
        figure, unit="evidence per area of a long long name " * 3, cax=box, **options
    )
    pixels(figure, width)
    labels = axis.get_xticklabels()
    assert [label.get_text() for label in labels] == words
    extents = [label.get_window_extent() for label in labels if label.get_text()]
    for one, other in itertools.pairwise(extents):
        assert one.x1 < other.x0
    for extent in (*extents, axis.xaxis.label.get_window_extent()):
        assert extent.x0 >= 0
        assert extent.x1 <= width
    signed = options["vmax"] > 0 and "signed" in options
    assert ("0 is transparent" in axis.get_xlabel().replace("\n", " ")) == signed


@pytest.mark.parametrize(("shape", "dtype", "vmax", "match"), [
    ((30, 40), np.uint8, 1.0, "uint8"), ((30, 40, 3), np.float32, 1.0, "uint8"),
    ((30, 40, 3), np.uint8, float("nan"), "finite"),
])  # fmt: skip
def test_legends_that_cannot_be_drawn_are_refused(shape, dtype, vmax, match):
    with pytest.raises(ValueError, match=match):
        o.with_legend(np.zeros(shape, dtype), vmax=vmax, unit="")
    with pytest.raises(OptionError, match="'jet'"):
        o.with_legend(np.zeros((9, 9, 3), np.uint8), vmax=1.0, unit="", cmap="jet")
