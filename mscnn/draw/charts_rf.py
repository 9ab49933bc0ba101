"""Charts of theoretical receptive fields: how many paths have which size, and growth over depth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from mscnn.draw.depth import name_blocks, slot_edges, stage_borders
from mscnn.draw.drawing import Point
from mscnn.draw.plot import Chart, Page, Panel, darker, series, series_key, stroke, unbroken
from mscnn.draw.sheet import PixelBox
from mscnn.draw.text import INK, TextBlock, number_text
from mscnn.draw.ticks import Scale, linear_ticks, log_ticks, with_numbers

_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_HEIGHT = 0.42  # of the panel over the width of the picture
_MOST_MARKS = 12

Growth = Sequence[tuple[str, int, int]]
"""Blocks in order of depth: name, smallest and largest receptive field, px."""


def spectrum_chart(
    spectra: Sequence[tuple[str, Mapping[int, int]]],
    *,
    inputs_px: Sequence[int],
    title: str,
    width_px: int = 1000,
) -> Chart:
    """Draw how many paths through a network have which receptive field.

    Args:
        spectra: per model its name and, per receptive field in px, the number of paths, an exact
            integer of any length, at least 1.
        inputs_px: side of each model's input, marked; named where they differ.
        title: above the chart.
        width_px: of the picture.

    Returns:
        The chart; one box per point, with the key ``"model/size"``.

    Raises:
        ValueError: no model, or a size or number below 1.
    """
    if not spectra or any(min(size, count) < 1 for _, s in spectra for size, count in s.items()):
        raise ValueError("a spectrum needs a model, and sizes and numbers of paths from 1 up")
    page = Page(width_px, title)
    page.key(series_key([name for name, _ in spectra]))
    # math.log10 takes integers of any length, where a float would overflow.
    lines = [[(s, math.log10(spectrum[s])) for s in sorted(spectrum)] for _, spectrum in spectra]
    highest = max([1.0, *(power for line in lines for _, power in line)])
    powers = [power for power in linear_ticks(0, highest, 6) if power == round(power)]
    page.label("Number of paths through the network, on a logarithmic scale")
    inputs = _inputs([name for name, _ in spectra], inputs_px)
    page.y += round(1.4 * len(inputs) * page.size)  # for what is written above the inputs' lines
    ticks = [(power, _power_of_ten(round(power))) for power in powers]
    widest = max([*inputs, *(s for line in lines for s, _ in line)])
    room = unbroken(f"{number_text(widest)} px", page.size).width
    panel = page.panel(round(_HEIGHT * width_px), (0, 1.04 * highest), ticks, right_px=room)
    left, _, right, _ = panel.box
    across = Scale(0, widest, left, right)
    for row, (px, words) in enumerate(inputs.items()):
        _mark_input_upright(page, panel, across.px(px), words, row)
    boxes: list[tuple[PixelBox, str]] = []
    ends: list[tuple[Point, int]] = []
    for number, (line, (name, _)) in enumerate(zip(lines, spectra, strict=True)):
        points = [(across.px(s), panel.up.px(power)) for s, power in line]
        _marked_line(page, points, number)
        boxes += [
            (_around(point, page.size), f"{name}/{s}")
            for point, (s, _) in zip(points, line, strict=True)
        ]
        ends.append((points[-1], line[-1][0]) if points else ((left, 0), 0))
    _name_ends(page, panel, ends)
    label = "Receptive field of the path, px of the network's input"
    page.x_axis(across, with_numbers(linear_ticks(0, widest, 6)), label)
    return page.finish(boxes)


def growth_chart(
    models: Sequence[tuple[str, Growth]],
    *,
    inputs_px: Sequence[int],
    title: str,
    width_px: int = 1000,
) -> Chart:
    """Draw how the smallest and the largest receptive field grow over depth.

    Args:
        models: per model its name and, per block or stage in order of depth, its name and the
            smallest and the largest receptive field, px, at least 1. Where all models have the
            same blocks, these are named below; otherwise the depth is relative.
        inputs_px: side of each model's input, marked; named where they differ.
        title: above the chart.
        width_px: of the picture.

    Returns:
        The chart; one box per block, over its band, with the key ``"model/block"``.

    Raises:
        ValueError: no model, one without blocks, or a receptive field below 1.
    """
    _check_growth(models)
    page = Page(width_px, title)
    page.key(series_key([name for name, _ in models]))
    page.label("Receptive field, px of the network's input: smallest (dashed) to largest (solid)")
    inputs = _inputs([name for name, _ in models], inputs_px)
    sizes = [*inputs, *(v for _, blocks in models for _, low, high in blocks for v in (low, high))]
    reach = 0.8 * min(sizes), 1.25 * max(sizes)
    lasts = [unbroken(number_text(blocks[-1][2]), page.size) for _, blocks in models]
    panel = page.panel(
        round(_HEIGHT * width_px),
        reach,
        with_numbers(log_ticks(*reach, 7)),
        log=True,
        right_px=max(block.width for block in lasts) + page.size // 2,
    )
    left, _, right, _ = panel.box
    names = [[name for name, _, _ in blocks] for _, blocks in models]
    same = all(own == names[0] for own in names)
    boxes: list[tuple[PixelBox, str]] = []
    for number, (model, blocks) in enumerate(models):
        places = _places(len(blocks), left, right, named=same)
        lows = [(x, panel.up.px(block[1])) for x, block in zip(places, blocks, strict=True)]
        highs = [(x, panel.up.px(block[2])) for x, block in zip(places, blocks, strict=True)]
        _band(page, lows, highs, number)
        half = max(4, round((right - left) / len(blocks) / 2))
        for (x, low), (_, high), block in zip(lows, highs, blocks, strict=True):
            box = (round(x) - half, round(high) - 4, round(x) + half, round(low) + 4)
            boxes.append((_inside(box, panel.box), f"{model}/{block[0]}"))
    _write_lasts(page, panel, [blocks[-1][2] for _, blocks in models])
    for px, words in inputs.items():
        page.level(panel, px, words)
    _depth_axis(page, panel, names[0] if same else [])
    return page.finish(boxes)


def _check_growth(models: Sequence[tuple[str, Growth]]) -> None:
    if not models or not all(blocks for _, blocks in models):
        raise ValueError("a chart of growth needs a model, and blocks in each")
    if any(not 1 <= low <= high for _, blocks in models for _, low, high in blocks):
        raise ValueError("receptive fields are at least 1 px, and the largest is not the smaller")


def _depth_axis(page: Page, panel: Panel, blocks: Sequence[str]) -> None:
    """Name the blocks below the panel; without names, draw an axis of relative depth."""
    left, top, right, bottom = panel.box
    if blocks:
        edges = slot_edges(len(blocks), left, right)
        stage_borders(page.drawing, blocks, edges, top, bottom + page.size // 2)
        page.y = name_blocks(page.drawing, blocks, edges, bottom + page.size // 3, page.size)
        return
    ticks = with_numbers((0, 25, 50, 75, 100))
    page.x_axis(Scale(0, 100, left, right), ticks, "Depth in the network, % of its blocks")


def _power_of_ten(power: int) -> str:
    return "1" if power == 0 else "10" + str(power).translate(_SUPERSCRIPT)


def _marked_line(page: Page, points: Sequence[Point], number: int) -> None:
    """Draw a line with a few marks, not at the same places as its neighbours' marks."""
    colour, shape = series(number)
    page.drawing.line(points, colour, width=stroke(page.size))
    page.lines.append(points)
    step = math.ceil(len(points) / _MOST_MARKS)
    marked = points if step == 1 else points[(number * step) // 4 :: step]
    page.drawing.dots([*marked, *points[-1:]], colour, size=0.5 * page.size, shape=shape)


def _around(point: Point, size: int) -> PixelBox:
    half = size // 2
    x, y = round(point[0]), round(point[1])
    return x - half, y - half, x + half, y + half


def _inside(box: PixelBox, bounds: PixelBox) -> PixelBox:
    left, top, right, bottom = bounds
    return max(box[0], left), max(box[1], top), min(box[2], right), min(box[3], bottom)


def _mark_input_upright(page: Page, panel: Panel, x: float, words: str, row: int) -> None:
    """Draw the upright line at the size of an input, named above the panel, in a row of its own."""
    _, top, right, bottom = panel.box
    dash = (6.0, 4.0)
    page.drawing.line([(x, top), (x, bottom)], INK, width=stroke(page.size) / 2, dash=dash)
    page.lines.append([(x, top), (x, bottom)])
    block = unbroken(words, page.size)
    left = min(max(round(x) - block.width // 2, page.margin), right - block.width)
    page.drawing.words(block, max(left, 0), top - round((1.3 + 1.4 * row) * page.size))


def _inputs(names: Sequence[str], inputs_px: Sequence[int]) -> dict[int, str]:
    """What to write at each input: whose it is, only where the models' inputs differ."""
    owners: dict[int, list[str]] = {}
    for name, px in zip(names, inputs_px, strict=True):
        owners.setdefault(px, []).append(name)
    if len(owners) == 1:
        return {px: f"input: {px} px" for px in owners}
    return {
        px: f"input of {own[0] if len(own) == 1 else f'{len(own)} models'}: {px} px"
        for px, own in owners.items()
    }


def _name_ends(page: Page, panel: Panel, ends: Sequence[tuple[Point, int]]) -> None:
    """Write the largest receptive field of each model where its line ends."""
    left, top, _, bottom = panel.box
    bounds = left, top, page.drawing.width_px - 3, bottom - 2
    taken: list[PixelBox] = []
    for number, ((x, y), largest) in enumerate(ends):
        if not largest:
            continue
        block = unbroken(f"{number_text(largest)} px", page.size)
        near, line = round(x) + page.size // 2, block.height
        middle = round(y) - line // 2
        wanted = [(near, middle - n * line // 2) for n in (1, 0, 2, 3, 4, 5, 6)]
        wanted += [
            (round(x) - page.size // 2 - block.width, middle - n * line // 2) for n in (0, 1)
        ]
        spot = page.spot(block, wanted, bounds, taken)
        _write_in_colour(page, block, spot, number, taken)


def _write_lasts(page: Page, panel: Panel, sizes: Sequence[int]) -> None:
    """Write each model's last receptive field to the right of its line."""
    _, top, right, bottom = panel.box
    bounds = (right + page.size // 4, top, page.drawing.width_px, bottom)
    taken: list[PixelBox] = []
    for number, value in enumerate(sizes):
        block = unbroken(number_text(value), page.size)
        y = round(panel.up.px(value)) - block.height // 2
        # Nearest first.
        wanted = [(bounds[0], y + sign * d) for d in range(0, bottom - top, 4) for sign in (1, -1)]
        spot = page.spot(block, wanted, bounds, taken)
        _write_in_colour(page, block, spot, number, taken)


def _write_in_colour(
    page: Page, block: TextBlock, spot: PixelBox | None, number: int, taken: list[PixelBox]
) -> None:
    """Write a number in its model's colour on paper of its own; nothing where there is no room."""
    if spot is not None:
        page.drawing.words(block, *spot[:2], colour=darker(series(number)[0]))
        taken.append(spot)


def _places(count: int, left: int, right: int, *, named: bool) -> list[float]:
    """Return the px of each block: in the middle of its place, or by relative depth."""
    if named:
        edges = slot_edges(count, left, right)
        return [(edges[n] + edges[n + 1]) / 2 for n in range(count)]
    return [left + (right - left) * n / max(count - 1, 1) for n in range(count)]


def _band(page: Page, lows: Sequence[Point], highs: Sequence[Point], number: int) -> None:
    """Draw the area from the smallest to the largest, with both edges."""
    colour, shape = series(number)
    drawing, size = page.drawing, page.size
    page.lines += [lows, highs]
    drawing.area([*highs, *reversed(lows)], colour, opacity=0.09)
    drawing.line(lows, colour, width=0.7 * stroke(size), dash=(4, 2))
    drawing.line(highs, colour, width=stroke(size))
    step = math.ceil(len(highs) / _MOST_MARKS)
    drawing.dots(highs[(number * step) // 4 :: step], colour, size=0.5 * size, shape=shape)
