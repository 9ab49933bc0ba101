"""Charts of one number over another for several models, and of distributions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np

from mscnn.draw.drawing import Point
from mscnn.draw.plot import Chart, KeyEntry, Page, Panel, series, series_key, stroke, unbroken
from mscnn.draw.sheet import PixelBox
from mscnn.draw.text import PAPER, SOFT_INK
from mscnn.draw.ticks import Scale, linear_ticks, log_ticks, with_numbers

_LOWEST_PANEL = 0.24  # height over the width of the picture, however long the words are

Curve = Sequence[tuple[float, float | None]]
"""Points ``(x, y)``; None leaves a gap."""


def lines_chart(
    curves: Sequence[tuple[str, Curve]],
    *,
    x_label: str,
    y_label: str,
    title: str,
    log_x: bool = False,
    invert_x: bool = False,
    y_range: tuple[float, float] | None = None,
    reference: float | None = None,
    reference_label: str = "",
    width_px: int = 700,
    height_px: int = 420,
) -> Chart:
    """Draw one line per model.

    Args:
        curves: per model its name and its points, in the order in which they are joined.
        x_label: below.
        y_label: above the upper left corner.
        title: above the chart.
        log_x: logarithmic; every ``x`` must be above 0.
        invert_x: the largest ``x`` at the left.
        y_range: values at the lower and upper edge; values beyond lie on the edge. None for a
            range that holds all values, the reference, and 0 unless all lie far from it.
        reference: a level to compare with, drawn dashed.
        reference_label: what it is.
        width_px: of the picture.
        height_px: of the picture; it becomes taller where the words need the room.

    Returns:
        The chart; one box per point that has a value, with the key ``"model/index"``, the index
        counted from 0 among all points of the model.

    Raises:
        ValueError: a number is not finite, an ``x`` is not above 0 on a logarithmic axis, or
            the range is empty.
    """
    xs = [x for _, points in curves for x, _ in points]
    ys = [y for _, points in curves for _, y in points if y is not None]
    _check_numbers([*xs, *ys], xs, log_x)
    page = Page(width_px, title)
    page.key(series_key([name for name, _ in curves]))
    page.label(y_label)
    low, high = y_range or _range([*ys, *([] if reference is None else [reference])])
    if not low < high:
        raise ValueError(f"a range goes from low to high, not from {low} to {high}")
    below = round(3.4 * page.size) + page.margin  # numbers and a label of one line
    height = max(height_px - page.y - below, round(_LOWEST_PANEL * width_px))
    panel = page.panel(height, (low, high), with_numbers(linear_ticks(low, high, 6)))
    across = _across(xs, panel.box, log=log_x, invert=invert_x, inset=page.size)
    boxes: list[tuple[PixelBox, str]] = []
    for number, (name, points) in enumerate(curves):
        placed = [None if y is None else (across.px(x), panel.up.px(y)) for x, y in points]
        boxes += [(box, f"{name}/{index}") for index, box in _draw_curve(page, placed, number)]
    if reference is not None:
        page.level(panel, reference, reference_label)
    if not ys:
        _say_nothing(page, panel)
    ticks = (log_ticks if log_x else linear_ticks)(across.low, across.high, 8)
    page.x_axis(across, with_numbers(ticks), x_label)
    return page.finish(boxes)


def histogram_chart(
    groups: Sequence[tuple[str, Sequence[float]]],
    *,
    x_label: str,
    title: str,
    bins: int = 20,
    x_range: tuple[float, float] = (0.0, 1.0),
    width_px: int = 700,
) -> Chart:
    """Draw how values are distributed; groups of different numbers of values compare.

    Args:
        groups: the first is drawn filled, further ones as outlines.
        x_label: below.
        title: above the chart.
        bins: of equal width.
        x_range: both ends; values beyond count in the outer bins.
        width_px: of the picture.

    Returns:
        The chart; one box per bin that holds a value, with the key ``"group/bin"``.

    Raises:
        ValueError: no bin, an empty range, or a number that is not finite.
    """
    if bins < 1 or not x_range[0] < x_range[1]:
        raise ValueError(f"{bins} bins from {x_range[0]} to {x_range[1]} are none")
    _check_numbers([value for _, values in groups for value in values], [], False)
    shares = [_binned(values, bins, x_range) for _, values in groups]
    page = Page(width_px, title)
    page.key(_filled_entries([name for name, _ in groups]))
    page.label("Share of the values per bin, %")
    highest = 100 * max([0.01, *(share for own in shares for share in own)])
    ticks = with_numbers(linear_ticks(0, 1.06 * highest, 5))
    panel = page.panel(round(0.34 * width_px), (0, 1.06 * highest), ticks)
    left, _, right, bottom = panel.box
    across = Scale(*x_range, left, right)
    edges = [round(left + (right - left) * n / bins) for n in range(bins + 1)]
    boxes: list[tuple[PixelBox, str]] = []
    for number, ((name, _), own) in enumerate(zip(groups, shares, strict=True)):
        tops = [round(panel.up.px(100 * share)) for share in own]
        bars = [(edges[n], tops[n], edges[n + 1], bottom) for n in range(bins)]
        _draw_bars(page, bars, number)
        boxes += [(bar, f"{name}/{n}") for n, bar in enumerate(bars) if own[n] > 0]
    if not any(len(values) for _, values in groups):
        _say_nothing(page, panel)
    page.x_axis(across, with_numbers(linear_ticks(*x_range, 6)), x_label)
    return page.finish(boxes)


def _check_numbers(numbers: Iterable[float], xs: Iterable[float], log_x: bool) -> None:
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError("a chart needs finite numbers; there is NaN or infinity")
    if log_x and any(x <= 0 for x in xs):
        raise ValueError("a logarithmic axis needs numbers above 0")


def _filled_entries(names: Sequence[str]) -> list[KeyEntry]:
    """Return the key of a histogram: a block for the filled group, a line for an outline."""
    return [
        KeyEntry(
            name, (_fill(0) if number == 0 else series(number)[0],), None if not number else ""
        )
        for number, name in enumerate(names)
    ]


def _fill(number: int) -> tuple[int, int, int]:
    red, green, blue = (
        round(0.5 * c + 0.5 * p) for c, p in zip(series(number)[0], PAPER, strict=True)
    )
    return red, green, blue


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Return a range for all values, with 0 unless they all lie far from it."""
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    room = 0.06 * ((high - low) or abs(high) or 1.0)
    if low == high == 0 or 0 <= low < 0.6 * high:
        return 0.0, high + room
    return low - room, high + room


def _across(xs: Sequence[float], box: PixelBox, *, log: bool, invert: bool, inset: int) -> Scale:
    """Return the horizontal scale, its ends a little inside the panel, so that marks fit."""
    low, high = (min(xs), max(xs)) if xs else (1.0, 10.0)
    if low == high:
        low, high = (low / 2, high * 2) if log else (low - 1, high + 1)
    ends = box[0] + inset, box[2] - inset
    start, end = ends[::-1] if invert else ends
    return Scale(low, high, start, end, log)


def _draw_curve(
    page: Page, points: Sequence[Point | None], number: int
) -> list[tuple[int, PixelBox]]:
    """Draw a line with a mark at each point, broken where there is none.

    Returns:
        Index and box of each point that there is.
    """
    colour, shape = series(number)
    for known, piece in itertools.groupby(points, lambda point: point is not None):
        joined = [point for point in piece if point is not None]
        if known:
            page.drawing.line(joined, colour, width=stroke(page.size))
            page.lines.append(joined)
            page.drawing.dots(joined, colour, size=0.55 * page.size, shape=shape)
    numbered = [(index, point) for index, point in enumerate(points) if point is not None]
    return [(index, _around(point, page.size)) for index, point in numbered]


def _around(point: Point, size: int) -> PixelBox:
    half = round(0.6 * size)
    x, y = round(point[0]), round(point[1])
    return x - half, y - half, x + half, y + half


def _say_nothing(page: Page, panel: Panel) -> None:
    left, top, right, bottom = panel.box
    block = unbroken("nothing to show", page.size)
    middle = (top + bottom - block.height) // 2
    page.drawing.words(block, (left + right) // 2, middle, colour=SOFT_INK, align=0.5)


def _binned(values: Sequence[float], bins: int, x_range: tuple[float, float]) -> list[float]:
    """Return the share of the values in each bin, 0..1."""
    inside = np.clip(np.asarray(values, np.float64), *x_range)
    counts, _ = np.histogram(inside, bins, x_range)
    return [float(count) / max(len(values), 1) for count in counts]


def _draw_bars(page: Page, bars: Sequence[PixelBox], number: int) -> None:
    """Draw the first group filled, each further one as an outline."""
    if number == 0:
        for left, top, right, bottom in bars:
            corners = [(left + 1, top), (right, top), (right, bottom), (left + 1, bottom)]
            page.drawing.area(corners, _fill(0))
        return
    outline: list[Point] = [(bars[0][0], bars[0][3])]
    for left, top, right, _ in bars:
        outline += [(left, top), (right, top)]
    outline.append((bars[-1][2], bars[-1][3]))
    page.drawing.line(outline, series(number)[0], width=stroke(page.size))
