"""A map drawn in colour, alone or over its photo, and the scale below it.

Colour and opacity both grow with the value, so a spatial position without evidence shows the plain
photo. The caller gives the top of the colour scale; nothing is normalised here, so that several
pictures can share one scale. Importing this loads no figures.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image

from mscnn.errors import OptionError
from mscnn.geometry import FloatMap, Rect
from mscnn.results.explanation import RgbArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOUR_MAPS: tuple[str, ...] = ("inferno", "viridis", "magma", "turbo")
"""Colour maps for values from 0 up, by matplotlib's names; all but turbo grow in lightness."""
DIFFERENCE_MAP = "RdBu_r"
"""Colour map of signed values: blue below 0, nearly white at 0, red above."""

MIN_WIDTH_PX = 240
"""A narrower picture is centred on paper of this width, so that its legend fits."""

_SIGNED_STEPS = 127  # on each side of 0, so that 0 is a level of its own
_DIMMED = 0.4
_FRAME_PER_PX = 1 / 500


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawingOptions:
    """How maps are drawn; what is not accepted raises ``OptionError``.

    Attributes:
        opacity: of the strongest position of the map, 0..1.
        colour_map: one of ``COLOUR_MAPS``.
    """

    opacity: float = 0.6
    colour_map: str = COLOUR_MAPS[0]

    def __post_init__(self) -> None:
        if not 0 <= self.opacity <= 1:
            raise OptionError(f"The opacity is {self.opacity}; it must lie between 0 and 1.")
        if self.colour_map not in COLOUR_MAPS:
            raise OptionError(
                f"There is no colour map {self.colour_map!r}; choose one of "
                f"{', '.join(COLOUR_MAPS)}."
            )


def heatmap(heat: FloatMap, *, vmax: float, cmap: str = COLOUR_MAPS[0]) -> RgbArray:
    """Draw a ``(h, w)`` float32 map in colour: ``(h, w, 3)`` uint8 RGB.

    Values below 0 count as 0, values above ``vmax``, in the map's unit, as ``vmax``; with ``vmax``
    0 or less there is no scale, and everything gets the bottom colour. Raises ``OptionError`` for
    an unknown ``cmap``, and ``ValueError`` for no map, NaN or infinity.
    """
    drawn: RgbArray = palette(DrawingOptions(colour_map=cmap).colour_map)[_levels(heat, vmax)]
    return drawn


def overlay(
    photo: RgbArray,
    heat: FloatMap,
    *,
    vmax: float,
    opacity: float = 0.6,
    cmap: str = COLOUR_MAPS[0],
    crop: Rect | None = None,
) -> RgbArray:
    """Draw a ``(h, w)`` float32 map over its photo, ``(h, w, 3)`` uint8 RGB as the result.

    A pixel of value ``v`` becomes ``(1 - a) photo + a colour`` with
    ``a = opacity * min(v / vmax, 1)``: the photo itself at 0, the colour itself at ``vmax`` and
    full opacity; with ``vmax`` 0 or less nothing is drawn. ``crop`` is what the network saw, in px
    of ``photo``, clipped to it: outside, the photo is dimmed and the map not drawn; a thin frame
    lies just outside the crop, where there is room. Raises ``OptionError``: ``opacity`` (0..1) or
    ``cmap`` is not accepted; ``ValueError``: shapes or dtypes do not fit, the crop is empty, or a
    number is not finite.
    """
    _check_pair(photo, heat)
    drawing = DrawingOptions(opacity=opacity, colour_map=cmap)
    return _blend(photo, _levels(heat, vmax), palette(cmap), np.arange(256), drawing.opacity, crop)


def difference_overlay(
    photo: RgbArray, diff: FloatMap, *, vmax: float, opacity: float = 0.7, crop: Rect | None = None
) -> RgbArray:
    """Draw the difference of two maps over their photo.

    As ``overlay``, with ``DIFFERENCE_MAP`` and ``a = opacity * min(|d| / vmax, 1)``, where ``d`` is
    signed and ``vmax`` the absolute value of both end colours. The photo is shown in grey (ITU-R
    BT.601 luma), so that no red or blue of its own can be taken for a difference.
    """
    _check_pair(photo, diff)
    grey = np.array(Image.fromarray(np.ascontiguousarray(photo)).convert("L").convert("RGB"))
    steps = np.abs(np.arange(2 * _SIGNED_STEPS + 1) - _SIGNED_STEPS)
    levels = (np.rint(_fractions(diff, vmax, -1.0) * _SIGNED_STEPS) + _SIGNED_STEPS).astype(int)
    checked = DrawingOptions(opacity=opacity).opacity
    return _blend(grey, levels, palette("signed"), steps, checked, crop)


@functools.cache
def palette(name: str) -> RgbArray:
    """The colours of all levels of a colour map, or ``"signed"`` for ``DIFFERENCE_MAP``.

    Lowest first: ``(256, 3)`` uint8, ``(255, 3)`` if signed; read-only because it is shared.
    """
    # The registry hands out a copy, so nothing of matplotlib's own state is touched.
    signed = name == "signed"
    colours = matplotlib.colormaps[DIFFERENCE_MAP if signed else name]
    steps = np.linspace(0, 1, 2 * _SIGNED_STEPS + 1) if signed else np.arange(256)
    found: RgbArray = np.ascontiguousarray(colours(steps, bytes=True)[:, :3])
    found.setflags(write=False)
    return found


def _levels(heat: FloatMap, vmax: float) -> npt.NDArray[Any]:
    """Return each value's level 0..255, counted as matplotlib does: ``floor(256 v / vmax)``."""
    return np.minimum(_fractions(heat, vmax, 0.0) * 256, 255).astype(np.uint8)


def _fractions(values: FloatMap, vmax: float, lowest: float) -> npt.NDArray[np.float64]:
    """Return ``values / vmax`` clipped to ``lowest..1``; 0 where there is no scale."""
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"a map has the shape (h, w), not {values.shape}")
    if not np.isfinite(vmax) or not np.isfinite(values).all():
        raise ValueError("a map and the top of its scale must be finite; there is NaN or infinity")
    if vmax <= 0:
        return np.zeros(values.shape)
    # Clipped first: dividing by a tiny vmax could overflow.
    return np.clip(values.astype(np.float64), lowest * vmax, vmax) / vmax


def _blend(
    photo: RgbArray,
    levels: npt.NDArray[Any],
    colours: RgbArray,
    steps: npt.NDArray[Any],
    opacity: float,
    crop: Rect | None,
) -> RgbArray:
    """Lay the levels' colours over a photo; ``steps`` is each level's distance from 0."""
    mask = np.rint(255 * opacity * steps / steps.max()).astype(np.uint8)[levels]
    # Pillow's 8-bit composite is exact at 0 and 255 and needs no float copy of the photo.
    layers = (Image.fromarray(np.ascontiguousarray(x)) for x in (colours[levels], photo, mask))
    blended = np.array(Image.composite(*layers))
    return blended if crop is None else _mark_crop(photo, blended, crop)


def _mark_crop(photo: RgbArray, blended: RgbArray, crop: Rect) -> RgbArray:
    """Dim what lies outside the crop, and frame it with a dark and a light line side by side."""
    height, width = photo.shape[:2]
    left, top = max(crop[0], 0), max(crop[1], 0)
    right, bottom = min(crop[2], width), min(crop[3], height)
    if left >= right or top >= bottom:
        raise ValueError(f"the crop {crop} holds no pixel of a {width} x {height} px photo")
    out: RgbArray = np.rint(_DIMMED * np.arange(256)).astype(np.uint8)[photo]
    line = max(1, round(max(width, height) * _FRAME_PER_PX))
    # Both tones, so that one of them stands out from any photo; outside, so that no pixel the
    # network saw is hidden.
    for reach, tone in ((2 * line, 255), (line, 0)):
        out[max(top - reach, 0) : bottom + reach, max(left - reach, 0) : right + reach] = tone
    out[top:bottom, left:right] = blended[top:bottom, left:right]
    return out


def _check_pair(photo: RgbArray, values: FloatMap) -> None:
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
        raise ValueError(f"a photo is (h, w, 3) uint8, not {photo.shape} {photo.dtype}")
    if values.shape != photo.shape[:2]:
        raise ValueError(
            f"the map has the shape {values.shape}, the photo {photo.shape[:2]}; they must be equal"
        )


def colour_bar(
    figure: Figure,
    *,
    vmax: float,
    unit: str,
    cmap: str = COLOUR_MAPS[0],
    signed: bool = False,
    transparent: bool = True,
    clipped: bool = False,
    font_px: float = 12,
    **where: Any,
) -> Axes:
    """Draw a horizontal colour scale and return its axes.

    As ``with_legend`` does, with words of ``font_px`` and the room of ``where``, which is as for
    ``Figure.colorbar``. A ``signed`` scale goes from ``-vmax`` to ``vmax`` in the colours of
    ``difference_overlay``. Where the map has values beyond ``vmax`` it is ``clipped``, and the ends
    are marked so.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    from mscnn.draw import figures

    top, known = (vmax, True) if vmax > 0 else (1.0, False)
    colours = palette("signed" if signed else DrawingOptions(colour_map=cmap).colour_map)
    scale = ListedColormap(colours / 255 if known else ["white"])
    shown = ScalarMappable(Normalize(-top if signed else 0, top), scale)
    bar = figure.colorbar(shown, orientation="horizontal", **where)
    axes, number = bar.ax, figures.number_text(top)
    zero = "0 (transparent)" if transparent else "0"
    more, less = ("≥ ", "≤ ") if clipped else ("", "")
    if not signed:
        bar.set_ticks([0, top], labels=[zero, more + number if known else "nothing above 0"])
    elif not known:
        bar.set_ticks([-top, 0, top], labels=["", f"{zero} everywhere", ""])
    else:
        ends = [f"{less}\N{MINUS SIGN}{number}", "0", f"{more}+{number}"]
        bar.set_ticks([-top, 0, top], labels=ends)
        unit = f"{unit} (0 is transparent)" if transparent else unit
    axes.tick_params(length=0, labelsize=font_px, labelcolor=figures.INK)
    first, *_, last = axes.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    bar.outline.set(edgecolor=figures.NEUTRAL, linewidth=0.8)
    axes.set_xlabel("", loc="left", fontsize=font_px, color=figures.SOFT)
    width = axes.get_position().width * figure.get_figwidth() * figures.PER_INCH
    figures.say(axes.xaxis.label, figures.wrapped(unit, width, font_px))
    return axes


def with_legend(
    picture: RgbArray,
    *,
    vmax: float,
    unit: str,
    cmap: str = COLOUR_MAPS[0],
    title: str = "",
    transparent: bool = True,
) -> RgbArray:
    """Return the picture, every pixel as it is, with its scale below and its title above.

    ``vmax`` is the value of the top colour of ``cmap``; with 0 or less the bar is empty and says
    so. ``unit`` says what the numbers count. A ``transparent`` overlay, whose colours fade out, has
    its 0 marked so. Returns ``(h', w', 3)`` uint8 RGB, ``w' = max(w, MIN_WIDTH_PX)``. Raises
    ``OptionError``: ``cmap`` is not one of ``COLOUR_MAPS``; ``ValueError``: ``picture`` is not
    ``(h, w, 3)`` uint8, or ``vmax`` is not finite.
    """
    from mscnn.draw import figures

    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(f"a picture is (h, w, 3) uint8, not {picture.shape} {picture.dtype}")
    if not np.isfinite(vmax):
        raise ValueError(f"the top of a scale must be finite, not {vmax}")
    height, own_width = picture.shape[:2]
    width = max(own_width, MIN_WIDTH_PX)
    font = min(max(round(12 + (width - 320) / 110), 12), 28)
    inner = width - 2 * font
    paper = np.full((height, width, 3), 255, dtype=np.uint8)
    left = (width - own_width) // 2
    paper[:, left : left + own_width] = picture
    parts = [paper]
    if title:
        words = figures.wrapped(title, inner, 1.15 * font, bold=True)
        strip = figures.plain_figure(width, round((1.5 * words.count("\n") + 2.5) * font))
        look = {"fontsize": 1.15 * font, "fontweight": "bold", "color": figures.INK}
        figures.say(strip.text(font / width, 0.5, "", va="center", **look), words)
        parts.insert(0, figures.pixels(strip, width))
    tall = round((4.4 + 1.35 * figures.lines(figures.wrapped(unit, inner, font))) * font)
    strip = figures.plain_figure(width, tall)
    bar = strip.add_axes((font / width, 1 - 2 * font / tall, inner / width, font / tall))
    options: dict[str, Any] = {"vmax": vmax, "unit": unit, "cmap": cmap, "cax": bar}
    colour_bar(strip, transparent=transparent, font_px=font, **options)
    return np.concatenate([*parts, figures.pixels(strip, width)])
