"""The splits of a block side by side: map, share, receptive field, and the way to each split."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw

from mscnn.draw.drawing import Drawing
from mscnn.draw.legend import with_legend
from mscnn.draw.overlay import COLOUR_MAPS, CropBox, overlay
from mscnn.draw.sheet import SHEET_PX, PixelBox, panel_px
from mscnn.draw.text import INK, PAPER, SOFT_INK, Colour, TextBlock, fit_text, text_px
from mscnn.geometry import FloatMap
from mscnn.results.explanation import RgbArray

_WIDEST = 0.4  # of a column over the width of the strip, where the columns are chosen here
_PLAIN: Colour = (236, 238, 241)
_WIDER: Colour = (255, 221, 170)
_SMALLEST_PX = 8


@dataclass(frozen=True, slots=True)
class SplitPanel:
    """One split of a block.

    Attributes:
        heat: ``(h, w)`` float32 >= 0, on the drawn photo.
        title: written below the picture, bold.
        caption: receptive field and share of the evidence, in words.
        path: the operations on the way to the split, such as ``("1x1", "3x3")``; ``"pool"`` for
            an average.
    """

    heat: FloatMap = field(repr=False)
    title: str
    caption: str
    path: tuple[str, ...]


def split_strip(
    photo: RgbArray,
    panels: Sequence[SplitPanel],
    *,
    vmax: float,
    unit: str,
    title: str = "",
    opacity: float = 0.65,
    cmap: str = COLOUR_MAPS[0],
    crop: CropBox | None = None,
    width_px: int = SHEET_PX,
    columns: int | None = None,
) -> RgbArray:
    """Draw the maps of a block's splits on one colour scale.

    Args:
        photo: ``(h, w, 3)`` uint8 RGB.
        panels: at least one, in the order in which they are shown.
        vmax: the value of the top colour, for all of them.
        unit: what the numbers count, in words, below the bar.
        title: a line above; "" for none.
        opacity: of the top colour, 0..1.
        cmap: one of ``mscnn.draw.overlay.COLOUR_MAPS``.
        crop: what the network saw, in px of ``photo``.
        width_px: of the picture.
        columns: pictures per row; None for one row of up to four, then rows of three or four.

    Returns:
        ``(h', width_px, 3)`` uint8 RGB.

    Raises:
        OptionError: ``opacity`` or ``cmap`` is not accepted.
        ValueError: no panels, columns that do not fit, or arrays that do not.
    """
    grid = _Grid.of(photo, panels, width_px, columns)
    sheet = Image.new("RGB", (width_px, grid.height), PAPER)
    pen = ImageDraw.Draw(sheet)
    for panel, cell in zip(panels, grid.cells, strict=True):
        drawn = overlay(photo, panel.heat, vmax=vmax, opacity=opacity, cmap=cmap, crop=crop)
        left, top, right, bottom = cell.box
        image = Image.fromarray(drawn)
        if image.size != (right - left, bottom - top):
            size = right - left, bottom - top
            image = image.resize(size, Image.Resampling.BICUBIC)
        sheet.paste(image, (left, top))
        cell.title.draw(pen, left, cell.title_y, colour=INK)
        cell.caption.draw(pen, left, cell.caption_y, colour=SOFT_INK)
        sheet.paste(Image.fromarray(cell.path), (left, cell.path_y))
    return with_legend(np.array(sheet), vmax=vmax, unit=unit, cmap=cmap, title=title)


def strip_boxes(
    photo: RgbArray,
    panels: Sequence[SplitPanel],
    *,
    title: str = "",
    width_px: int = SHEET_PX,
    columns: int | None = None,
) -> tuple[PixelBox, ...]:
    """Return where ``split_strip`` puts each panel's picture, in px of the strip.

    Raises:
        ValueError: as ``split_strip``.
    """
    grid = _Grid.of(photo, panels, width_px, columns)
    # The title of with_legend lies above; a strip of one row tells how tall it is.
    row = np.zeros((1, width_px, 3), np.uint8)
    plain, titled = (len(with_legend(row, vmax=1, unit="", title=t)) for t in ("", title))
    down = titled - plain
    return tuple((x0, y0 + down, x1, y1 + down) for x0, y0, x1, y1 in (c.box for c in grid.cells))


def path_diagram(path: Sequence[str], *, width_px: int, height_px: int | None = None) -> RgbArray:
    """Draw the operations on a way as boxes joined by arrows.

    A ``3x3`` or larger convolution, which widens the view, is coloured; an average is dashed.
    Boxes that do not fit a row continue in the next.

    Args:
        path: from the block's input on; none for a split that is passed on as it comes.
        width_px: of the picture.
        height_px: of the picture, and the boxes shrink to fit; None for what they need.

    Returns:
        ``(height, width_px, 3)`` uint8 RGB.

    Raises:
        ValueError: the picture has no px.
    """
    if width_px < 1 or (height_px is not None and height_px < 1):
        raise ValueError(f"a picture of {width_px} x {height_px} px cannot hold a path")
    size = round(0.85 * _font_px(width_px))
    rows = _rows(path, width_px, size)
    while size > _SMALLEST_PX and _too_large(rows, width_px, height_px, size):
        size -= 1
        rows = _rows(path, width_px, size)
    drawing = Drawing(width_px)
    for number, row in enumerate(rows):
        _draw_row(drawing, row, round(number * _ROW * size) + 2, size, continued=number > 0)
    return drawing.render(height_px or _needed(rows, size))


_Step = tuple[str, int, int]
"""What is written in a box, and its px from left to right."""

_ROW = 2.3  # height of a row over the font size
_BOX = 1.7  # height of a box over the font size


def _font_px(column: int) -> int:
    """Return the font size below a picture: 16 px at 300, so that it can be read on a phone."""
    return round(1.2 * text_px(3 * column // 2))


def _rows(path: Sequence[str], width: int, size: int) -> list[list[_Step]]:
    """Return the boxes of each row."""
    arrow = _arrow(size)
    rows: list[list[_Step]] = [[]]
    x = arrow + 2
    for step in path or ("as it comes",):
        words = re.sub(r"(?<=\d)x(?=\d)", "\N{MULTIPLICATION SIGN}", step)
        wide = fit_text(words, 10_000, size).width + round(0.9 * size)
        if rows[-1] and x + wide > width - 3:
            rows.append([])
            x = arrow + 2
        rows[-1].append((words, x, x + wide))
        x += wide + arrow
    return rows


def _arrow(size: int) -> int:
    return round(1.2 * size)


def _needed(rows: Sequence[Sequence[_Step]], size: int) -> int:
    return round((len(rows) - 1) * _ROW * size + _BOX * size) + 5


def _too_large(rows: Sequence[Sequence[_Step]], width: int, height: int | None, size: int) -> bool:
    tall = height is not None and _needed(rows, size) > height
    return tall or any(right > width - 3 for row in rows for _, _, right in row)


def _draw_row(
    drawing: Drawing, row: Sequence[_Step], y: int, size: int, *, continued: bool
) -> None:
    height, arrow = round(_BOX * size), _arrow(size)
    middle = y + height / 2
    edge = max(1.0, size / 11)
    for words, left, right in row:
        start, end = (left - arrow + 2, middle), (left - 2, middle)
        drawing.arrow(start, end, SOFT_INK, width=edge, head=0.45 * size)
        box = (left, y, right, y + height)
        averages = "pool" in words
        fill = PAPER if averages else _WIDER if _widens(words) else _PLAIN
        drawing.rounded(box, fill=fill, edge=SOFT_INK, width=edge, dashed=averages)
        block = fit_text(words, 10_000, size)
        drawing.words(block, (left + right) // 2, round(middle - block.height / 2), align=0.5)


def _widens(words: str) -> bool:
    kernel = re.match(r"(\d+)\D(\d+)", words)
    return kernel is not None and max(map(int, kernel.groups())) > 1


@dataclass(frozen=True, slots=True)
class _Cell:
    """Where one panel's parts lie, px of the sheet without title and legend."""

    box: PixelBox
    title: TextBlock
    title_y: int
    caption: TextBlock
    caption_y: int
    path: RgbArray
    path_y: int


@dataclass(frozen=True, slots=True)
class _Grid:
    """The layout of a strip: its cells in reading order, and its height in px."""

    cells: tuple[_Cell, ...]
    height: int

    @classmethod
    def of(
        cls, photo: RgbArray, panels: Sequence[SplitPanel], width_px: int, columns: int | None
    ) -> _Grid:
        """Arrange the panels."""
        if not panels:
            raise ValueError("a strip needs at least one panel")
        per_row = columns or _columns(len(panels))
        gap = max(8, width_px // 60)
        column = panel_px(per_row, width_px)
        if columns is None:
            column = min(column, round(_WIDEST * width_px))
        left = (width_px - per_row * column - (per_row - 1) * gap) // 2
        cells: list[_Cell] = []
        y = gap
        for first in range(0, len(panels), per_row):
            row = panels[first : first + per_row]
            cells += _arranged(photo, row, left=left, top=y, column=column, gap=gap)
            y = max(cell.path_y + len(cell.path) for cell in cells) + gap
        return cls(tuple(cells), y - gap // 2)


def _columns(count: int) -> int:
    """Return how many panels stand in a row: 1..4, then rows that are as full as can be."""
    return count if count <= 4 else 3 if count <= 6 else 4


def _arranged(
    photo: RgbArray, row: Sequence[SplitPanel], *, left: int, top: int, column: int, gap: int
) -> list[_Cell]:
    """Return the cells of one row; parts of one kind share their upper edge."""
    size = _font_px(column)
    height = max(1, round(photo.shape[0] * column / photo.shape[1]))
    titles = [fit_text(panel.title, column, size, bold=True) for panel in row]
    captions = [fit_text(panel.caption, column, size) for panel in row]
    title_y = top + height + size // 3
    caption_y = title_y + max(block.height for block in titles) + size // 6
    path_y = caption_y + max(block.height for block in captions) + size // 2
    cells = []
    for place, panel in enumerate(row):
        x = left + place * (column + gap)
        cells.append(
            _Cell(
                (x, top, x + column, top + height),
                titles[place],
                title_y,
                captions[place],
                caption_y,
                path_diagram(panel.path, width_px=column),
                path_y,
            )
        )
    return cells
