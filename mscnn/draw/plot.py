"""What all charts share: colours, and a page with title, key and axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from mscnn.draw.drawing import Drawing, Point
from mscnn.draw.places import free_place, traced
from mscnn.draw.sheet import PixelBox
from mscnn.draw.text import INK, RULE, SOFT_INK, Colour, TextBlock, fit_text
from mscnn.draw.ticks import Scale
from mscnn.results.explanation import RgbArray

SERIES: tuple[Colour, ...] = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
)
"""Okabe and Ito's colours that show on white; told apart with any kind of colour blindness."""
SHAPES: tuple[str, ...] = ("o", "s", "^", "D", "v", "P")
"""A mark for each colour of ``SERIES``, for readers without colours."""
GRID: Colour = (228, 230, 233)
GREY: Colour = (150, 156, 163)


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart and what can be clicked on it.

    Attributes:
        picture: ``(h, w, 3)`` uint8 RGB.
        boxes: ``((left, top, right, bottom), key)`` in px of ``picture``.
    """

    picture: RgbArray = field(repr=False)
    boxes: tuple[tuple[PixelBox, str], ...]


def series(number: int) -> tuple[Colour, str]:
    """Return the colour and the mark of the n-th model, from 0."""
    return SERIES[number % len(SERIES)], SHAPES[number % len(SHAPES)]


def darker(colour: Colour) -> Colour:
    """Return a colour for words, which need more contrast than areas."""
    red, green, blue = (round(0.72 * channel) for channel in colour)
    return red, green, blue


def plot_px(width_px: int) -> int:
    """Return the font size of a chart: 22 px at 1000, so that it can be read at 390."""
    return min(max(round(width_px / 46), 12), 30)


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """What a colour means.

    Attributes:
        words: say it.
        colours: one, or several from the first to the last of an order.
        shape: mark on a line, "" for a line without; None for a filled block.
    """

    words: str
    colours: tuple[Colour, ...]
    shape: str | None = None


def series_key(names: Sequence[str]) -> list[KeyEntry]:
    """Return the key of models drawn as lines."""
    looks = [series(number) for number in range(len(names))]
    return [KeyEntry(name, (c,), shape) for name, (c, shape) in zip(names, looks, strict=True)]


@dataclass(frozen=True, slots=True)
class Panel:
    """Where data is drawn.

    Attributes:
        box: ``(left, top, right, bottom)``, px.
        up: the vertical scale.
    """

    box: PixelBox
    up: Scale


class Page:
    """A chart while it is laid out from top to bottom.

    Attributes:
        drawing: where to draw.
        size: of the font, px.
        margin: px at either side.
        y: px where the next part begins.
        lines: those that labels should rather not cover.
    """

    def __init__(self, width_px: int, title: str) -> None:
        self.drawing = Drawing(width_px)
        self.size = plot_px(width_px)
        self.margin = self.size * 2 // 3
        self.y = self.margin
        self._write(title, bold=True)
        self.lines: list[Sequence[Point]] = []

    @property
    def inner_px(self) -> int:
        """Width between the margins, px."""
        return self.drawing.width_px - 2 * self.margin

    def label(self, words: str) -> None:
        """Say above a panel what its vertical axis shows."""
        self._write(words)
        self.y += self.size // 3

    def panel(
        self,
        height_px: int,
        reach: tuple[float, float],
        ticks: Sequence[tuple[float, str]],
        *,
        log: bool = False,
        left: int = 0,
        right_px: int = 0,
    ) -> Panel:
        """Draw level lines with their numbers.

        Args:
            height_px: of the panel.
            reach: the values at its lower and upper edge.
            ticks: values and what is written beside them.
            log: logarithmic.
            left: px where the panel begins, at least; it is moved to the right of the numbers.
            right_px: room for labels at the right.
        """
        size, top = self.size, self.y
        blocks = [unbroken(words, size) for _, words in ticks]
        widest = max((block.width for block in blocks), default=0)
        left = max(left, self.margin + widest + size // 3)
        right = self.drawing.width_px - self.margin - right_px
        up = Scale(*reach, top + height_px, top, log)
        for (value, _), block in zip(ticks, blocks, strict=True):
            y = round(up.px(value))
            self.drawing.line([(left, y + 0.5), (right, y + 0.5)], GRID)
            place = left - size // 3, y - block.height // 2
            self.drawing.words(block, *place, colour=SOFT_INK, align=1)
        self.y = top + height_px
        return Panel((left, top, right, top + height_px), up)

    def x_axis(self, across: Scale, ticks: Sequence[tuple[float, str]], label: str) -> None:
        """Draw a base line below a panel, with ticks, their numbers and a label."""
        size, y = self.size, self.y
        left, right = sorted((across.start, across.end))
        self.drawing.line([(left, y + 0.5), (right, y + 0.5)], RULE)
        used = -math.inf
        for value, words in sorted(ticks, key=lambda tick: across.px(tick[0])):
            x = round(across.px(value))
            block = unbroken(words, size)
            self.drawing.line([(x + 0.5, y), (x + 0.5, y + size // 4)], RULE)
            # The outer numbers stay in the picture, and none touches its neighbour.
            half = block.width // 2 + 2
            centre = min(max(x, half), self.drawing.width_px - half)
            if centre - half > used + size / 3:
                place = centre, y + size // 3
                self.drawing.words(block, *place, colour=SOFT_INK, align=0.5)
                used = centre + half
        self.y += round(1.7 * size)
        text = fit_text(label, self.inner_px, size)
        self.drawing.words(text, round((left + right) / 2), self.y, align=0.5)
        self.y += text.height

    def finish(self, boxes: Sequence[tuple[PixelBox, str]]) -> Chart:
        """Return the chart, with a margin below."""
        return Chart(self.drawing.render(self.y + self.margin), tuple(boxes))

    def _write(self, words: str, *, bold: bool = False) -> None:
        size = round(1.1 * self.size) if bold else self.size
        block = fit_text(words, self.inner_px, size, bold=bold)
        self.drawing.words(block, self.margin, self.y)
        self.y += block.height + (self.size // 3 if block.lines else 0)

    def key(self, entries: Sequence[KeyEntry]) -> None:
        """Write what the colours mean, side by side where there is room."""
        size, y = self.size, self.y
        x, end = self.margin, self.margin + self.inner_px
        for entry in entries:
            swatch = size * (2 if entry.shape is not None else max(len(entry.colours), 2))
            block = fit_text(entry.words, max(self.inner_px - swatch - size // 2, size), size)
            wide = swatch + size // 2 + block.width
            if x > self.margin and x + wide > end:
                x, y = self.margin, self.y
            _swatch(self.drawing, entry, (x, y, x + swatch, y + block.line_px), size)
            self.drawing.words(block, x + swatch + size // 2, y)
            self.y = max(self.y, y + block.height + size // 4)
            x += wide + round(1.3 * size)
        self.y += size // 4

    def level(self, panel: Panel, value: float, words: str) -> None:
        """Draw a dashed level line, named above or below it where least else is drawn."""
        left, _, right, _ = panel.box
        y = panel.up.px(value)
        self.drawing.line([(left, y), (right, y)], INK, width=stroke(self.size) / 2, dash=(6, 4))
        block = unbroken(words, self.size)
        places = (left + (right - left - block.width) * n // 24 for n in range(25))
        wanted = [(x, row) for x in places for row in (round(y) - block.height - 1, round(y) + 2)]
        spot = self.spot(block, wanted, panel.box)
        if spot is not None:
            self.drawing.words(block, *spot[:2], colour=SOFT_INK)

    def spot(
        self,
        block: TextBlock,
        wanted: Sequence[tuple[int, int]],
        bounds: PixelBox,
        taken: Sequence[PixelBox] = (),
    ) -> PixelBox | None:
        """Return the wanted place of a label where it covers least of the lines; see ``places``."""
        busy = traced(self.lines, (self.drawing.width_px, bounds[3] + 1), self.size // 3)
        size = block.width, block.height
        return free_place(size, wanted, bounds=bounds, taken=taken, busy=busy)


def _swatch(drawing: Drawing, entry: KeyEntry, box: PixelBox, size: int) -> None:
    left, top, right, bottom = box
    middle = (top + bottom) // 2
    if entry.shape is not None:
        drawing.line([(left, middle), (right, middle)], entry.colours[0], width=stroke(size))
        if entry.shape:
            centre = ((left + right) / 2, middle)
            drawing.dots([centre], entry.colours[0], size=0.55 * size, shape=entry.shape)
        return
    edges = [left + (right - left) * n // len(entry.colours) for n in range(len(entry.colours) + 1)]
    half = size * 2 // 5
    for number, colour in enumerate(entry.colours):
        drawing.block((edges[number], middle - half, edges[number + 1], middle + half), colour)


def unbroken(words: str, size: int) -> TextBlock:
    """Return text on one line."""
    return fit_text(words, 10_000, size)


def stroke(size: int) -> float:
    """Return the width of a line that suits this font size, px."""
    return max(1.5, size / 8)
