"""Several pictures on one sheet, in aligned columns, each with a title and a caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw

from mscnn.draw.text import INK, PAPER, SOFT_INK, TextBlock, fit_text, text_px
from mscnn.results.explanation import RgbArray

SHEET_PX = 1200
"""Usual width of a sheet."""
MIN_PANEL_PX = 64
"""Narrowest panel in which a word still fits."""
TALLEST = 1.6
"""Height of a picture over the width of its column, at most; a taller one is shrunk."""

PixelBox = tuple[int, int, int, int]
"""``(left, top, right, bottom)`` in whole px, ``right`` and ``bottom`` exclusive."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture of a sheet.

    Attributes:
        picture: ``(h, w, 3)`` uint8 RGB.
        title: written above, bold; "" for none.
        caption: written below; "" for none.
    """

    picture: RgbArray = field(repr=False)
    title: str
    caption: str = ""


def panel_px(columns: int, width_px: int = SHEET_PX) -> int:
    """Return the width of one column; a picture of just this width is not resized.

    Raises:
        ValueError: fewer than one column, or columns narrower than ``MIN_PANEL_PX``.
    """
    if columns < 1:
        raise ValueError(f"a sheet has at least one column, not {columns}")
    gap = _gap(width_px)
    width = (width_px - (columns + 1) * gap) // columns
    if width < MIN_PANEL_PX:
        raise ValueError(
            f"{columns} columns on {width_px} px leave {width} px each; "
            f"at least {MIN_PANEL_PX} px are needed"
        )
    return width


def picture_boxes(
    panels: Sequence[Panel], *, columns: int, width_px: int = SHEET_PX
) -> tuple[PixelBox, ...]:
    """Return where ``contact_sheet`` puts each panel's picture, in px of the sheet.

    Raises:
        ValueError: as ``contact_sheet``.
    """
    boxes, _, _ = _arranged(panels, columns, width_px)
    return boxes


def contact_sheet(panels: Sequence[Panel], *, columns: int, width_px: int = SHEET_PX) -> RgbArray:
    """Put pictures side by side, row by row.

    Each picture is resized to the width of its column (or made as tall as ``TALLEST`` allows) and
    keeps its proportions. Pictures of a row share their upper edge, whatever the length of their
    titles. Text wraps; none is cut off.

    Args:
        panels: at least one, in reading order.
        columns: pictures per row.
        width_px: of the sheet.

    Returns:
        ``(h, width_px, 3)`` uint8 RGB; ``h`` follows from what is on it.

    Raises:
        ValueError: no panels, columns that do not fit (see ``panel_px``), or a picture that is
            not ``(h, w, 3)`` uint8.
    """
    boxes, texts, height = _arranged(panels, columns, width_px)
    column, gap = panel_px(columns, width_px), _gap(width_px)
    sheet = Image.new("RGB", (width_px, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, (panel, box) in enumerate(zip(panels, boxes, strict=True)):
        title, caption, title_y, caption_y = texts[number]
        x = gap + number % columns * (column + gap)
        title.draw(pen, x, title_y, colour=INK)
        caption.draw(pen, x, caption_y, colour=SOFT_INK)
        sheet.paste(_resized(panel.picture, box), box[:2])
    return np.array(sheet)


_Texts = tuple[TextBlock, TextBlock, int, int]
"""Title, caption, and the upper edges of both in px."""


def _arranged(
    panels: Sequence[Panel], columns: int, width_px: int
) -> tuple[tuple[PixelBox, ...], list[_Texts], int]:
    """Return the pictures' places, the texts with theirs, and the height of the sheet."""
    if not panels:
        raise ValueError("a sheet needs at least one panel")
    column, gap = panel_px(columns, width_px), _gap(width_px)
    size = text_px(3 * column // 2)
    y = gap
    boxes: list[PixelBox] = []
    texts: list[_Texts] = []
    for first in range(0, len(panels), columns):
        row = panels[first : first + columns]
        titles = [fit_text(panel.title, column, size, bold=True) for panel in row]
        captions = [fit_text(panel.caption, column, size) for panel in row]
        sizes = [_fitted(panel.picture, column) for panel in row]
        top = y + _padded(max(title.height for title in titles), size)
        below = top + max(height for _, height in sizes)
        for place, (width, height) in enumerate(sizes):
            left = gap + place * (column + gap) + (column - width) // 2
            boxes.append((left, top, left + width, top + height))
            texts.append((titles[place], captions[place], y, top + height + size // 3))
        y = below + _padded(max(caption.height for caption in captions), size) + gap
    return tuple(boxes), texts, y


def _gap(width_px: int) -> int:
    return max(8, width_px // 60)


def _padded(text_height: int, size: int) -> int:
    """Return the height of a text with its distance to the picture; 0 without text."""
    return text_height + size // 3 if text_height else 0


def _fitted(picture: RgbArray, column: int) -> tuple[int, int]:
    """Return the width and height of a picture in its column, px."""
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise ValueError(f"a picture is (h, w, 3) uint8, not {picture.shape} {picture.dtype}")
    height, width = picture.shape[:2]
    factor = min(column / width, TALLEST * column / height)
    return max(1, round(width * factor)), max(1, round(height * factor))


def _resized(picture: RgbArray, box: PixelBox) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(picture))
    size = box[2] - box[0], box[3] - box[1]
    # Pillow's bicubic filter also averages where it shrinks; a picture of this size stays as it is.
    return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC)
