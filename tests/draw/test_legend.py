"""Legends: the bar against matplotlib, the words found again pixel by pixel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from mscnn.draw.legend import MIN_WIDTH_PX, with_legend
from mscnn.draw.overlay import COLOUR_MAPS
from mscnn.errors import OptionError

FONTS = Path(matplotlib.get_data_path(), "fonts", "ttf")
INK = (32, 33, 36)
UNIT = "evidence per area, in units of an even spread (1 = as if the whole view held the same)"
MINUS = "\N{MINUS SIGN}"


def picture(width: int = 320, height: int = 30) -> np.ndarray:
    """Bright green, a colour that neither paper, ink nor a colour map of ours has."""
    return np.full((height, width, 3), (0, 255, 0), np.uint8)


def below(drawn: np.ndarray) -> np.ndarray:
    """Return what lies below the picture."""
    rows = np.nonzero((drawn == (0, 255, 0)).all(axis=-1).any(axis=1))[0]
    return drawn[rows.max() + 1 :]


def bar_of(strip: np.ndarray) -> np.ndarray:
    """Return the bar's middle row without its edge: the first rows that are not paper."""
    rows = np.nonzero((strip < 250).any(axis=(1, 2)))[0]
    columns = np.nonzero((strip[rows[0]] < 250).any(axis=-1))[0]
    return strip[rows[0] + 5, columns[0] + 1 : columns[-1]]


def holds(strip: np.ndarray, words: str, size: int) -> bool:
    """Say whether these words, drawn here anew, stand whole somewhere on the strip."""
    font = ImageFont.truetype(FONTS / "DejaVuSans.ttf", size)
    paper = Image.new("RGB", (900, 60), "white")
    ImageDraw.Draw(paper).text((10, 10), words, INK, font)
    red = np.asarray(paper)[..., 0]
    rows, columns = np.nonzero(red < 255)
    # With a blank border, so that "8" is not found in "88".
    found = red[rows.min() : rows.max() + 1, columns.min() - 2 : columns.max() + 3]
    grey = strip[..., 0]
    height, width = (n - m + 1 for n, m in zip(grey.shape, found.shape, strict=True))
    if min(height, width) < 1:
        return False
    places = np.ones((height, width), bool)
    for (y, x), value in np.ndenumerate(found):
        places &= grey[y : y + height, x : x + width] == value
    return bool(places.any())


@pytest.mark.parametrize("cmap", COLOUR_MAPS)
def test_the_bar_is_the_colour_map_from_end_to_end(cmap: str) -> None:
    bar = bar_of(below(with_legend(picture(), vmax=4.0, unit="", cmap=cmap)))
    assert len(bar) > 250
    expected = matplotlib.colormaps[cmap](np.linspace(0, 1, len(bar)), bytes=True)[:, :3]
    # A value on the edge between two of the map's 256 levels may take either.
    assert np.abs(bar.astype(int) - expected).max() <= 6
    np.testing.assert_array_equal(bar[[0, -1]], expected[[0, -1]])


def test_the_bar_of_a_difference_is_the_diverging_map() -> None:
    bar = bar_of(below(with_legend(picture(), vmax=4.0, unit="", cmap="viridis", signed=True)))
    expected = matplotlib.colormaps["RdBu_r"](np.linspace(0, 1, len(bar)), bytes=True)[:, :3]
    assert np.abs(bar.astype(int) - expected).max() <= 6


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"vmax": 8.0}, ["0 (transparent)", "8"]),
        ({"vmax": 8.0, "transparent": False}, ["0", "8"]),
        ({"vmax": 0.01234, "clipped": True}, ["0 (transparent)", "≥ 0.0123"]),
        ({"vmax": 2.5, "signed": True}, [MINUS + "2.5", "0 (transparent)", "+2.5"]),
        (
            {"vmax": 2.5, "signed": True, "clipped": True},
            ["≤ " + MINUS + "2.5", "0 (transparent)", "≥ +2.5"],
        ),
        (
            {"vmax": 1.234e-5, "signed": True, "clipped": True},
            [f"≤ {MINUS}1.23 × 10⁻⁵", "0 (transparent)", "≥ +1.23 × 10⁻⁵"],  # noqa: RUF001
        ),
        ({"vmax": 0.0}, ["0 (transparent)", "nothing above 0"]),
        ({"vmax": -1.0, "signed": True}, ["0 (transparent) everywhere"]),
    ],
    ids=[
        "plain",
        "heatmap",
        "clipped",
        "signed",
        "signed clipped",
        "crowded",
        "none",
        "none signed",
    ],
)
@pytest.mark.parametrize(("width", "size"), [(64, 12), (320, 12), (640, 15)])
def test_the_words_stand_whole(
    width: int, size: int, options: dict[str, Any], words: list[str]
) -> None:
    strip = below(with_legend(picture(width), unit="", **options))
    for word in words:
        assert holds(strip, word, size), word


def test_the_search_for_words_can_fail() -> None:
    strip = below(with_legend(picture(), vmax=8.0, unit=""))
    assert not holds(strip, "9", 12)
    assert not holds(strip, "0 (transparent) and more", 12)


@pytest.mark.parametrize("width", [1, 64, 240, 320, 640, 1200])
@pytest.mark.parametrize("signed", [False, True])
def test_no_ink_touches_the_edges(width: int, signed: bool) -> None:
    title = "starter_res2net, layer4, Grad-CAM: " + "Welsh_springer_spaniel_" * 6
    drawn = with_legend(picture(width), vmax=1234.5, unit=UNIT, title=title, signed=signed)
    assert drawn.shape[1] == max(width, MIN_WIDTH_PX)
    rows = np.nonzero((drawn == (0, 255, 0)).all(axis=-1).any(axis=1))[0]
    for strip in (drawn[: rows.min()], drawn[rows.max() + 1 :]):
        ink = np.asarray((strip < 250).any(axis=-1))
        assert ink.any()
        edge = 5
        assert not ink[:, :edge].any()
        assert not ink[:, -edge:].any()
        assert not ink[:2].any()
        assert not ink[-2:].any()


def test_a_long_unit_makes_the_strip_taller_not_shorter_text() -> None:
    heights = [with_legend(picture(), vmax=1.0, unit=UNIT[:n]).shape[0] for n in (0, 20, 86, 860)]
    assert heights[0] < heights[1] < heights[2]
    assert heights[2] == with_legend(picture(), vmax=1.0, unit=UNIT).shape[0]


def test_the_picture_is_copied_as_it_is() -> None:
    own = np.random.default_rng(1).integers(0, 256, (50, 321, 3), dtype=np.uint8)
    drawn = with_legend(own, vmax=1.0, unit="px")
    np.testing.assert_array_equal(drawn[:50], own)
    titled = with_legend(own, vmax=1.0, unit="px", title="lion")
    extra = titled.shape[0] - drawn.shape[0]
    assert extra > 12
    np.testing.assert_array_equal(titled[extra:], drawn)


def test_a_narrow_picture_is_centred() -> None:
    own = picture(64)
    drawn = with_legend(own, vmax=1.0, unit="px")
    left = (MIN_WIDTH_PX - 64) // 2
    np.testing.assert_array_equal(drawn[:30, left : left + 64], own)
    assert (drawn[:30, :left] == 255).all()
    assert (drawn[:30, left + 64 :] == 255).all()


def test_without_a_scale_the_bar_is_empty() -> None:
    assert (bar_of(below(with_legend(picture(), vmax=0.0, unit=""))) == 255).all()


@pytest.mark.parametrize(
    ("shape", "dtype", "vmax", "match"),
    [
        ((30, 40), np.uint8, 1.0, "uint8"),
        ((30, 40, 4), np.uint8, 1.0, "uint8"),
        ((30, 40, 3), np.float32, 1.0, "uint8"),
        ((30, 40, 3), np.uint8, float("nan"), "finite"),
        ((30, 40, 3), np.uint8, float("inf"), "finite"),
    ],
)
def test_what_cannot_be_drawn_is_refused(shape, dtype, vmax: float, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        with_legend(np.zeros(shape, dtype), vmax=vmax, unit="")


def test_a_wrong_colour_map_is_refused() -> None:
    with pytest.raises(OptionError, match="'jet'"):
        with_legend(picture(), vmax=1.0, unit="", cmap="jet")
