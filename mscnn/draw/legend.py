"""The scale of a picture, written below it: colour bar, numbers, unit."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from mscnn.draw.overlay import COLOUR_MAPS, difference_colours, heatmap
from mscnn.draw.text import MINUS, PAPER, RULE, SOFT_INK, TextBlock, fit_text, number_text, text_px
from mscnn.results.explanation import RgbArray

MIN_WIDTH_PX = 240
"""A narrower picture is centred on paper of this width, so that the words fit."""


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
    """Return the picture with its scale below and its title above.

    The bar shows the colour map itself, at full opacity. Long text wraps; none is cut off.

    Args:
        picture: ``(h, w, 3)`` uint8 RGB; its pixels are copied as they are.
        vmax: the value of the top colour. With 0 or less the map has nothing to show: the bar is
            empty and says so.
        unit: what the numbers count, in words; "" for no line.
        cmap: the colour map of the picture, one of ``mscnn.draw.overlay.COLOUR_MAPS``.
        title: a line above; "" for none.
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
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(f"a picture is (h, w, 3) uint8, not {picture.shape} {picture.dtype}")
    if not np.isfinite(vmax):
        raise ValueError(f"the top of a scale must be finite, not {vmax}")
    width = max(picture.shape[1], MIN_WIDTH_PX)
    ends = _ends(vmax, signed=signed, transparent=transparent, clipped=clipped)
    parts = [_heading(title, width), _centred(picture, width)]
    parts.append(_strip(_bar(width, vmax, cmap, signed), ends, unit, width))
    return np.concatenate([part for part in parts if part is not None])


def _ends(vmax: float, *, signed: bool, transparent: bool, clipped: bool) -> tuple[str, str, str]:
    """Return the words below the bar's left end, middle and right end."""
    zero = "0 (transparent)" if transparent else "0"
    if vmax <= 0:
        return ("", f"{zero} everywhere", "") if signed else (zero, "", "nothing above 0")
    top = number_text(vmax)
    at_least, at_most = ("≥ ", "≤ ") if clipped else ("", "")
    if signed:
        return f"{at_most}{MINUS}{top}", zero, f"{at_least}+{top}"
    return zero, "", at_least + top


def _margin(width: int) -> int:
    return text_px(width)


def _centred(picture: RgbArray, width: int) -> RgbArray:
    """Return the picture in the middle of paper of at least its width."""
    height, own_width = picture.shape[:2]
    left = (width - own_width) // 2
    paper = np.full((height, width, 3), PAPER, dtype=np.uint8)
    paper[:, left : left + own_width] = picture
    return paper


def _heading(title: str, width: int) -> RgbArray | None:
    """Return the title on a strip of paper; None without one."""
    size, margin = text_px(width), _margin(width)
    block = fit_text(title, width - 2 * margin, round(1.15 * size), bold=True)
    if not block.lines:
        return None
    paper = Image.new("RGB", (width, block.height + margin), PAPER)
    block.draw(ImageDraw.Draw(paper), margin, margin // 2)
    return np.array(paper)


def _bar(width: int, vmax: float, cmap: str, signed: bool) -> RgbArray:
    """Return the colour bar with a thin edge; empty where there is no scale."""
    size = text_px(width)
    length = width - 2 * _margin(width) - 2
    values = np.linspace(-1 if signed else 0, 1, length, dtype=np.float32)[None]
    row = difference_colours(values, vmax=1) if signed else heatmap(values, vmax=1, cmap=cmap)
    if vmax <= 0:
        row[:] = PAPER
    bar = np.repeat(row, size, axis=0)
    framed = Image.new("RGB", (length + 2, size + 2), RULE)
    framed.paste(Image.fromarray(bar), (1, 1))
    return np.array(framed)


def _strip(bar: RgbArray, ends: tuple[str, str, str], unit: str, width: int) -> RgbArray:
    """Return the paper below the picture: bar, words at its ends, unit."""
    size, margin = text_px(width), _margin(width)
    room = width - 2 * margin
    left, middle, right = (fit_text(words, room, size) for words in ends)
    explained = fit_text(unit, room, size)
    crowded = bool(middle.lines) and _collide(left, middle, right, room, gap=size)
    rows = 2 if crowded else 1
    words_y = margin + bar.shape[0] + size // 3
    unit_y = words_y + rows * left.line_px + size // 6
    height = unit_y + explained.height + margin * 2 // 3
    paper = Image.new("RGB", (width, height), PAPER)
    paper.paste(Image.fromarray(bar), (margin, margin))
    pen = ImageDraw.Draw(paper)
    left.draw(pen, margin, words_y)
    right.draw(pen, width - margin, words_y, align=1)
    middle.draw(pen, width // 2, words_y + (rows - 1) * left.line_px, align=0.5)
    explained.draw(pen, margin, unit_y, colour=SOFT_INK)
    return np.array(paper)


def _collide(left: TextBlock, middle: TextBlock, right: TextBlock, room: int, gap: int) -> bool:
    """Say whether three blocks, at the ends and in the middle of a line, come too close."""
    beside = (room - middle.width) // 2 - gap
    return max(left.width, right.width) > beside
