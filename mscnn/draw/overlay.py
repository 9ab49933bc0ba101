"""A map drawn in colour, alone or over its photo, and the scale below it.

Colour and opacity both grow with the value, so a spatial position without evidence shows the plain
photo. The caller gives the top of the colour scale; nothing is normalised here, so that several
pictures can share one scale.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image

from mscnn.errors import OptionError
from mscnn.geometry import FloatMap
from mscnn.results.explanation import RgbArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOUR_MAPS: tuple[str, ...] = ("inferno", "viridis", "magma", "turbo")
"""Colour maps for values from 0 up, by matplotlib's names; all but turbo grow in lightness."""
DIFFERENCE_MAP = "RdBu_r"
"""Colour map of signed values: blue below 0, nearly white at 0, red above."""

CropBox = tuple[int, int, int, int]
"""``(left, top, right, bottom)`` in whole px, ``right`` and ``bottom`` exclusive."""

MIN_WIDTH_PX = 240
"""A narrower picture is centred on paper of this width, so that its legend fits."""

_LEVELS = 256
_SIGNED_STEPS = 127  # on each side of 0, so that 0 is a level of its own
_DIMMED = 0.4
_FRAME_PER_PX = 1 / 500

_Levels = npt.NDArray[np.uint8]


def heatmap(heat: FloatMap, *, vmax: float, cmap: str = COLOUR_MAPS[0]) -> RgbArray:
    """Draw a map in colour.

    Args:
        heat: ``(h, w)`` float32. Values below 0 count as 0, values above ``vmax`` as ``vmax``.
        vmax: the value of the map's top colour, in ``heat``'s unit. With 0 or less there is no
            scale, and everything gets the bottom colour.
        cmap: one of ``COLOUR_MAPS``.

    Returns:
        ``(h, w, 3)`` uint8 RGB.

    Raises:
        OptionError: ``cmap`` is not one of ``COLOUR_MAPS``.
        ValueError: ``heat`` is no map, or it or ``vmax`` holds NaN or infinity.
    """
    colours = _palette(_checked_cmap(cmap))
    return colours[_levels(heat, vmax)]


def difference_colours(diff: FloatMap, *, vmax: float) -> RgbArray:
    """Draw a signed map in ``DIFFERENCE_MAP``, as ``heatmap`` does; ``vmax`` is the reddest colour.

    Values are clipped to ``-vmax..vmax``; with ``vmax`` of 0 or less everything is 0.
    """
    return _signed_palette()[_signed_levels(diff, vmax)]


def overlay(
    photo: RgbArray,
    heat: FloatMap,
    *,
    vmax: float,
    opacity: float = 0.6,
    cmap: str = COLOUR_MAPS[0],
    crop: CropBox | None = None,
) -> RgbArray:
    """Draw a map over its photo.

    A pixel of value ``v`` becomes ``(1 - a) photo + a colour`` with
    ``a = opacity * min(v / vmax, 1)``: the photo itself at 0, the colour itself at ``vmax`` and
    full opacity.

    Args:
        photo: ``(h, w, 3)`` uint8 RGB.
        heat: ``(h, w)`` float32, as for ``heatmap``.
        vmax: the value of the top colour, as for ``heatmap``; with 0 or less nothing is drawn.
        opacity: of the top colour, 0..1.
        cmap: one of ``COLOUR_MAPS``.
        crop: what the network saw, in px of ``photo``, clipped to it. Outside, the photo is dimmed
            and the map not drawn; a thin frame lies just outside the crop, where there is room.

    Returns:
        ``(h, w, 3)`` uint8 RGB.

    Raises:
        OptionError: ``opacity`` or ``cmap`` is not accepted.
        ValueError: shapes or dtypes do not fit, the crop is empty, or a number is not finite.
    """
    _check_pair(photo, heat)
    opaque = _checked_opacity(opacity) * np.arange(_LEVELS) / (_LEVELS - 1)
    levels = _levels(heat, vmax)
    blended = _blend(photo, _palette(_checked_cmap(cmap))[levels], opaque, levels)
    return blended if crop is None else _mark_crop(photo, blended, crop)


def difference_overlay(
    photo: RgbArray,
    diff: FloatMap,
    *,
    vmax: float,
    opacity: float = 0.7,
    crop: CropBox | None = None,
) -> RgbArray:
    """Draw the difference of two maps over their photo.

    As ``overlay``, with ``DIFFERENCE_MAP`` and ``a = opacity * min(|d| / vmax, 1)``, where ``d`` is
    signed and ``vmax`` the absolute value of both end colours. The photo is shown in grey, so that
    no red or blue of its own can be taken for a difference.
    """
    _check_pair(photo, diff)
    steps = np.abs(np.arange(2 * _SIGNED_STEPS + 1) - _SIGNED_STEPS)
    opaque = _checked_opacity(opacity) * steps / _SIGNED_STEPS
    levels = _signed_levels(diff, vmax)
    photo = _in_grey(photo)
    blended = _blend(photo, _signed_palette()[levels], opaque, levels)
    return blended if crop is None else _mark_crop(photo, blended, crop)


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

    All is as for ``with_legend``, with a font of ``font_px``; ``where`` is ``cax=`` or ``ax=`` and
    more, as for ``Figure.colorbar``.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    from mscnn.draw import figures

    colours = _signed_palette() if signed else _palette(_checked_cmap(cmap))
    top = vmax if vmax > 0 else 1.0
    scale = ListedColormap(colours / 255 if vmax > 0 else ["white"])
    shown = ScalarMappable(Normalize(-top if signed else 0, top), scale)
    bar = figure.colorbar(shown, orientation="horizontal", **where)
    zero = "0 (transparent)" if transparent else "0"
    at_least, at_most = ("\N{GREATER-THAN OR EQUAL TO} ", "\N{LESS-THAN OR EQUAL TO} ")
    at_least, at_most = (at_least, at_most) if clipped else ("", "")
    number = figures.number_text(top)
    if signed:
        ends = ["", f"{zero} everywhere", ""] if vmax <= 0 else [
            f"{at_most}\N{MINUS SIGN}{number}", "0", f"{at_least}+{number}"
        ]  # fmt: skip
        bar.set_ticks([-top, 0, top], labels=ends)
        unit = f"{unit} (0 is transparent)" if transparent and vmax > 0 else unit
    else:
        bar.set_ticks([0, top], labels=[zero, at_least + number if vmax > 0 else "nothing above 0"])
    bar.ax.tick_params(length=0, labelsize=font_px, labelcolor=figures.INK)
    first, *_, last = bar.ax.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    outline: Any = bar.outline
    outline.set(edgecolor=figures.NEUTRAL, linewidth=0.8)
    axes = bar.ax
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
    signed: bool = False,
    transparent: bool = True,
    clipped: bool = False,
) -> RgbArray:
    """Return the picture, every pixel as it is, with its scale below and its title above.

    Args:
        picture: ``(h, w, 3)`` uint8 RGB.
        vmax: the value of the top colour. With 0 or less the map has nothing to show: the bar is
            empty and says so.
        unit: what the numbers count, in words.
        cmap: the colour map of the picture, one of ``COLOUR_MAPS``.
        title: above; "" for none.
        signed: a scale from ``-vmax`` to ``vmax`` in the colours of ``difference_overlay``;
            ``cmap`` is then not used.
        transparent: the picture is an overlay, whose colours fade out towards 0, and 0 is marked
            so; False for ``heatmap``, which has no photo below it.
        clipped: the map has values beyond ``vmax``, and the ends are marked so.

    Returns:
        ``(h', w', 3)`` uint8 RGB, ``w' = max(w, MIN_WIDTH_PX)``.

    Raises:
        OptionError: ``cmap`` is not one of ``COLOUR_MAPS``.
        ValueError: ``picture`` is not ``(h, w, 3)`` uint8, or ``vmax`` is not finite.
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
        heading = strip.text(
            font / width, 0.5, "", va="center", fontsize=1.15 * font, fontweight="bold",
            color=figures.INK,
        )  # fmt: skip
        figures.say(heading, words)
        parts.insert(0, figures.pixels(strip, width))
    lines = figures.wrapped(f"{unit} (0 is transparent)", inner, font).count("\n") + 1
    tall = round((4.4 + 1.35 * lines) * font)
    strip = figures.plain_figure(width, tall)
    box = (font / width, 1 - 2 * font / tall, inner / width, font / tall)
    colour_bar(
        strip, vmax=vmax, unit=unit, cmap=cmap, signed=signed, transparent=transparent,
        clipped=clipped, font_px=font, cax=strip.add_axes(box),
    )  # fmt: skip
    return np.concatenate([*parts, figures.pixels(strip, width)])


def palette(name: str) -> RgbArray:
    """Return the colours of all levels, lowest first.

    Args:
        name: one of ``COLOUR_MAPS``; ``"signed"`` for ``DIFFERENCE_MAP``.

    Returns:
        ``(256, 3)`` uint8, or ``(255, 3)`` for signed values, read-only because it is shared.
    """
    return _signed_palette() if name == "signed" else _palette(name)


@functools.cache
def _palette(cmap: str) -> RgbArray:
    """Return the colours of all levels, ``(256, 3)`` uint8, read-only because it is shared."""
    # The registry hands out a copy, so nothing of matplotlib's own state is touched.
    colours = np.ascontiguousarray(matplotlib.colormaps[cmap](np.arange(_LEVELS), bytes=True))
    palette: RgbArray = colours[:, :3].copy()
    palette.setflags(write=False)
    return palette


@functools.cache
def _signed_palette() -> RgbArray:
    """Return the colours of all signed levels, ``(255, 3)`` uint8, read-only."""
    steps = np.linspace(0, 1, 2 * _SIGNED_STEPS + 1)
    colours = matplotlib.colormaps[DIFFERENCE_MAP](steps, bytes=True)
    palette: RgbArray = np.ascontiguousarray(colours[:, :3])
    palette.setflags(write=False)
    return palette


def _levels(heat: FloatMap, vmax: float) -> _Levels:
    """Return each value's level 0..255, counted as matplotlib does: ``floor(256 v / vmax)``."""
    fraction = _fractions(heat, vmax, 0.0)
    return np.minimum(fraction * _LEVELS, _LEVELS - 1).astype(np.uint8)


def _signed_levels(diff: FloatMap, vmax: float) -> _Levels:
    """Return each value's level 0..254; 127 is 0."""
    fraction = _fractions(diff, vmax, -1.0)
    return (np.rint(fraction * _SIGNED_STEPS) + _SIGNED_STEPS).astype(np.uint8)


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
    photo: RgbArray, colours: RgbArray, opaque: npt.NDArray[np.float64], levels: _Levels
) -> RgbArray:
    """Lay colours over a photo, with an opacity 0..1 per level."""
    mask = np.rint(255 * opaque).astype(np.uint8)[levels]
    # Pillow's 8-bit composite is exact at 0 and 255 and needs no float copy of the photo.
    layers = (Image.fromarray(np.ascontiguousarray(layer)) for layer in (colours, photo, mask))
    return np.array(Image.composite(*layers))


def _in_grey(photo: RgbArray) -> RgbArray:
    """Return a photo without its colours (ITU-R BT.601 luma, as Pillow computes it)."""
    return np.array(Image.fromarray(np.ascontiguousarray(photo)).convert("L").convert("RGB"))


def _mark_crop(photo: RgbArray, blended: RgbArray, crop: CropBox) -> RgbArray:
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


def _checked_opacity(opacity: float) -> float:
    if not 0 <= opacity <= 1:
        raise OptionError(f"An opacity of {opacity} is not possible; 0 to 1 is accepted.")
    return opacity


def _checked_cmap(cmap: str) -> str:
    if cmap not in COLOUR_MAPS:
        raise OptionError(
            f"There is no colour map {cmap!r} here; {', '.join(COLOUR_MAPS)} are accepted."
        )
    return cmap
