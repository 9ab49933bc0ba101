"""A picture drawn at px coordinates, y downwards: smooth lines, exact blocks, measured text.

Lines and curves come from matplotlib's Agg, blocks and words from Pillow, so that a block covers
just the pixels it says it covers, and no word is parsed as a formula.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, Polygon
from matplotlib.transforms import Affine2D
from PIL import Image, ImageDraw

from mscnn.draw.sheet import PixelBox
from mscnn.draw.text import INK, PAPER, Colour, TextBlock
from mscnn.results.explanation import RgbArray

Point = tuple[float, float]
"""``(x, y)`` in px, y downwards."""

# A power of two, so that a whole number of px survives the division into inches and back.
_DPI = 64
_POINTS_PER_PX = 72 / _DPI


class Drawing:
    """Collects what is to be drawn; ``render`` puts it on paper.

    Smooth marks lie at the bottom, in the order in which they were added, then blocks, then words.
    The height is settled last, because it often follows from how the text wraps. An instance
    belongs to one call and one thread.
    """

    def __init__(self, width_px: int) -> None:
        self.width_px = width_px
        self._flip = Affine2D()  # is set in render, when the height is known
        self._marks: list[Artist] = []
        self._blocks: list[tuple[PixelBox, Colour]] = []
        self._words: list[tuple[TextBlock, int, int, Colour, float]] = []

    def line(
        self,
        points: Sequence[Point],
        colour: Colour,
        *,
        width: float = 1.0,
        dash: tuple[float, float] | None = None,
    ) -> None:
        """Draw a line through points.

        Args:
            points: two or more; fewer draw nothing.
            colour: RGB.
            width: px.
            dash: lengths of a dash and of the gap behind it, in widths of the line.
        """
        self._marks.append(
            Line2D(
                *_columns(points),
                color=_unit(colour),
                linewidth=width * _POINTS_PER_PX,
                linestyle="solid" if dash is None else (0, dash),
                solid_joinstyle="round",
                transform=self._flip,
            )
        )

    def dots(self, points: Sequence[Point], colour: Colour, *, size: float, shape: str) -> None:
        """Draw the same mark at each point, with an edge of paper.

        Args:
            points: px.
            colour: RGB.
            size: px across, without the edge.
            shape: matplotlib's letter, such as ``"o"``.
        """
        self._marks.append(
            Line2D(
                *_columns(points),
                linestyle="none",
                marker=shape,
                markersize=size * _POINTS_PER_PX,
                markerfacecolor=_unit(colour),
                markeredgecolor=_unit(PAPER),
                markeredgewidth=_POINTS_PER_PX,
                transform=self._flip,
            )
        )

    def area(self, points: Sequence[Point], colour: Colour, *, opacity: float = 1.0) -> None:
        """Fill the polygon with these corners."""
        self._marks.append(
            Polygon(
                np.asarray(points, np.float64).reshape(-1, 2),
                closed=True,
                facecolor=(*_unit(colour), opacity),
                edgecolor="none",
                transform=self._flip,
            )
        )

    def rounded(
        self, box: PixelBox, *, fill: Colour, edge: Colour, width: float, dashed: bool = False
    ) -> None:
        """Draw a box with round corners.

        Args:
            box: px; half of the edge lies outside.
            fill: RGB.
            edge: RGB.
            width: of the edge, px.
            dashed: draw the edge so.
        """
        left, top, right, bottom = box
        radius = 0.22 * (bottom - top)
        self._marks.append(
            FancyBboxPatch(
                (left, top),
                right - left,
                bottom - top,
                boxstyle=f"round,pad=0,rounding_size={radius}",
                facecolor=_unit(fill),
                edgecolor=_unit(edge),
                linewidth=width * _POINTS_PER_PX,
                linestyle=(0, (3, 2)) if dashed else "solid",
                transform=self._flip,
            )
        )

    def arrow(self, start: Point, end: Point, colour: Colour, *, width: float, head: float) -> None:
        """Draw a straight line that ends in a triangle.

        Args:
            start: px.
            end: px, the tip.
            colour: RGB.
            width: of the line, px.
            head: length of the triangle, px; it is as wide as long.
        """
        tip = np.asarray(end, np.float64)
        along = tip - np.asarray(start, np.float64)
        along /= np.hypot(*along) or 1.0
        across = np.array([-along[1], along[0]])
        foot = tip - head * along
        self.line([start, (float(foot[0]), float(foot[1]))], colour, width=width)
        corners = [tip, foot + head / 2 * across, foot - head / 2 * across]
        self.area([(float(x), float(y)) for x, y in corners], colour)

    def block(self, box: PixelBox, colour: Colour) -> None:
        """Fill exactly these pixels."""
        self._blocks.append((box, colour))

    def words(
        self, text: TextBlock, x: int, y: int, *, colour: Colour = INK, align: float = 0.0
    ) -> None:
        """Write text below ``y``; see ``TextBlock.draw``."""
        self._words.append((text, x, y, colour, align))

    def render(self, height_px: int) -> RgbArray:
        """Return the picture, ``(height_px, width_px, 3)`` uint8 RGB."""
        self._flip.clear().scale(1, -1).translate(0, height_px)
        # Figure, not pyplot: nothing is registered anywhere, so threads do not meet.
        figure = Figure((self.width_px / _DPI, height_px / _DPI), _DPI, facecolor=_unit(PAPER))
        canvas = FigureCanvasAgg(figure)
        for order, mark in enumerate(self._marks):
            mark.set_zorder(order)  # or all areas would come below all lines
            figure.add_artist(mark)
        canvas.draw()  # type: ignore[no-untyped-call]
        pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
        picture = Image.fromarray(pixels[..., :3].copy())
        pen = ImageDraw.Draw(picture)
        for (left, top, right, bottom), colour in self._blocks:
            if left < right and top < bottom:
                pen.rectangle((left, top, right - 1, bottom - 1), colour)
        for text, x, y, colour, align in self._words:
            text.draw(pen, x, y, colour=colour, align=align)
        return np.array(picture)


def _columns(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _unit(colour: Colour) -> tuple[float, float, float]:
    red, green, blue = colour
    return red / 255, green / 255, blue / 255
