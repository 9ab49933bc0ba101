"""The chart of the evidence per split over depth; the other charts can be had from here too.

Every chart is a picture together with the rectangles on it that can be clicked.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib

from mscnn.draw.charts_lines import histogram_chart, lines_chart
from mscnn.draw.charts_rf import growth_chart, spectrum_chart
from mscnn.draw.depth import name_blocks, slot_edges, stage_borders
from mscnn.draw.drawing import Drawing, Point
from mscnn.draw.plot import GREY, Chart, KeyEntry, Page, stroke, unbroken
from mscnn.draw.sheet import PixelBox
from mscnn.draw.text import INK, PAPER, RULE, Colour, fit_text, number_text
from mscnn.draw.ticks import log_ticks, with_numbers

__all__ = [
    "Chart",
    "growth_chart",
    "histogram_chart",
    "lines_chart",
    "shares_chart",
    "spectrum_chart",
    "split_colours",
]

_COLUMNS_LABEL = (
    "Share of the evidence that passed through each split, %. Bottom of a column: the split that "
    "sees least, which no 3\N{MULTIPLICATION SIGN}3 convolution of the block touches (the last in "
    "timm's order). Top: the one that sees most."
)
_PLAIN_LABEL = "Share of the evidence that passed through each path, %"
_PERCENT = [(0.0, "0"), (0.5, "50"), (1.0, "100")]
_LINE_LABEL = "Evidence-weighted receptive field of each block, px of the network's input"


def split_colours(rf: Sequence[int | None]) -> tuple[Colour, ...]:
    """Return the colour of each split of a block: the more it sees, the darker.

    Splits of equal receptive field share a colour. A block whose splits all see the same, or whose
    receptive fields are not known, is grey: there is no scale to tell apart.

    Args:
        rf: receptive field per split, px; None where it is not known.
    """
    known = [size for size in rf if size is not None]
    sizes = sorted(set(known))
    if len(sizes) < 2 or len(known) < len(rf):
        return (GREY,) * len(rf)
    ramp = _ramp(len(sizes))
    return tuple(ramp[sizes.index(size)] for size in known)


def shares_chart(
    blocks: Sequence[str],
    shares: Sequence[Sequence[float]],
    *,
    weighted_rf: Sequence[float | None],
    rf: Sequence[Sequence[int | None]],
    title: str,
    width_px: int = 1000,
) -> Chart:
    """Draw through which splits the evidence passed, block by block.

    Args:
        blocks: module names in order of depth, such as ``"layer2.1"``.
        shares: per block the share of each split, 0..1, timm's order; all 0 where no evidence
            passed, drawn as an empty column.
        weighted_rf: per block the evidence-weighted receptive field, px; None leaves a gap.
        rf: per block the largest receptive field of each split, px, for order and colour (see
            ``split_colours``); None where it is not known.
        title: above the chart.
        width_px: of the picture.

    Returns:
        The chart; one box per split that has at least one px, with the key ``"layer2.1/2"``
        (block and split in timm's order).

    Raises:
        ValueError: no blocks, lengths that do not match, or a share that is not within 0..1.
    """
    _check_shares(blocks, shares, weighted_rf, rf)
    colours = [split_colours(sizes) for sizes in rf]
    page = Page(width_px, title)
    known = [value for value in weighted_rf if value is not None]
    last = unbroken(number_text(round(known[-1])) if known else "", page.size)
    room = last.width + page.size // 3
    ticks = _field_ticks(known)
    widest = max(unbroken(words, page.size).width for _, words in [*ticks, (0, "100")])
    left = page.margin + widest + page.size // 3
    edges = slot_edges(len(blocks), left, width_px - page.margin - room)
    if known:
        above = _weighted_line(page, weighted_rf, edges, ticks, room)
        stage_borders(page.drawing, blocks, edges, *above)
    page.label(_COLUMNS_LABEL if any(len(set(own)) > 1 for own in colours) else _PLAIN_LABEL)
    page.key(_entries(colours))
    panel = page.panel(round(0.3 * width_px), (0, 1), _PERCENT, left=left, right_px=room)
    reach = panel.box[1], panel.box[3]
    boxes: list[tuple[PixelBox, str]] = []
    for number, block in enumerate(blocks):
        span = _column(edges[number], edges[number + 1])
        if not any(shares[number]):
            _empty(page.drawing, (span[0], reach[0], span[1], reach[1]))
        for index, box in _stacked(shares[number], rf[number], span, reach):
            _segment(page.drawing, box, colours[number][index])
            boxes.append((box, f"{block}/{index}"))
    stage_borders(page.drawing, blocks, edges, reach[0], reach[1] + page.size // 2)
    page.y = name_blocks(page.drawing, blocks, edges, reach[1] + page.size // 3, page.size)
    return page.finish(boxes)


def _check_shares(
    blocks: Sequence[str],
    shares: Sequence[Sequence[float]],
    weighted_rf: Sequence[float | None],
    rf: Sequence[Sequence[int | None]],
) -> None:
    if not blocks:
        raise ValueError("a chart over depth needs at least one block")
    if not len(blocks) == len(shares) == len(weighted_rf) == len(rf):
        raise ValueError("blocks, shares, weighted_rf and rf must have the same length")
    for block, parts, sizes in zip(blocks, shares, rf, strict=True):
        if len(parts) != len(sizes):
            raise ValueError(f"{block} has {len(parts)} shares but {len(sizes)} receptive fields")
        # A thousandth for shares that were rounded.
        if not all(part >= 0 for part in parts) or sum(parts) > 1 + 1e-3:
            raise ValueError(f"the shares of {block} must lie in 0..1 and add up to 1 at most")


def _ramp(count: int) -> list[Colour]:
    """Return ``count`` colours of viridis, light to dark, without its nearly white and black."""
    steps = [0.86 - 0.78 * n / max(count - 1, 1) for n in range(count)]
    rows = matplotlib.colormaps["viridis"](steps, bytes=True)
    return [(int(red), int(green), int(blue)) for red, green, blue, _ in rows]


def _entries(colours: Sequence[Sequence[Colour]]) -> list[KeyEntry]:
    """Return what the colours mean, of those that occur."""
    entries = []
    levels = max(len(set(own)) for own in colours)
    if levels > 1:
        words = "splits of a block: sees least \N{RIGHTWARDS ARROW} sees most"
        entries.append(KeyEntry(words, tuple(_ramp(levels))))
    grey = [own for own in colours if set(own) == {GREY}]
    if grey:
        parallel = any(len(own) > 1 for own in grey)
        words = "splits that all see the same" if parallel else "blocks with a single path"
        entries.append(KeyEntry(words, (GREY,)))
    return entries


def _weighted_line(
    page: Page,
    values: Sequence[float | None],
    edges: Sequence[int],
    ticks: Sequence[tuple[float, str]],
    room: int,
) -> tuple[int, int]:
    """Draw the line above the columns; return the px of its panel's upper and lower edge."""
    page.label(_LINE_LABEL)
    known = [value for value in values if value is not None]
    height, reach = round(0.17 * page.drawing.width_px), _field_reach(known)
    panel = page.panel(height, reach, ticks, log=True, left=edges[0], right_px=room)
    slot = (edges[-1] - edges[0]) / len(values)
    piece: list[Point] = []
    for number, value in enumerate([*values, None]):
        if value is not None:
            piece.append(((edges[number] + edges[number + 1]) / 2, panel.up.px(value)))
            continue
        page.drawing.line(piece, INK, width=stroke(page.size))
        if slot > 0.6 * page.size or len(piece) == 1:
            page.drawing.dots(piece, INK, size=0.4 * page.size, shape="o")
        piece = []
    end = fit_text(number_text(round(known[-1])), 10_000, page.size)
    y = round(panel.up.px(known[-1])) - end.height // 2
    page.drawing.words(end, edges[-1] + page.size // 4, y)
    page.y += page.size
    return panel.box[1], panel.box[3]


def _field_reach(known: Sequence[float]) -> tuple[float, float]:
    return 0.8 * max(min(known), 1.0), 1.25 * max(*known, 1.0)


def _field_ticks(known: Sequence[float]) -> list[tuple[float, str]]:
    return with_numbers(log_ticks(*_field_reach(known), 5)) if known else []


def _column(left: int, right: int) -> tuple[int, int]:
    """Return the px that a column covers in its place; a gap is left where there is room."""
    slot = right - left
    gap = round(0.1 * slot)
    # From 3 px on, 1 px of paper at the right keeps columns apart.
    return (left + gap, right - gap) if gap else (left, right - int(slot >= 3))


def _stacked(
    shares: Sequence[float],
    rf: Sequence[int | None],
    span: tuple[int, int],
    reach: tuple[int, int],
) -> list[tuple[int, PixelBox]]:
    """Return the splits' boxes from the bottom up, those without a single px left out."""
    count = len(shares)
    # Among equals the last comes first, so that the last split is at the bottom in every block.
    order = sorted(range(count), key=lambda n: (rf[n] or 0, (n + 1) % count))
    top, bottom = reach
    boxes: list[tuple[int, PixelBox]] = []
    below, total = bottom, 0.0
    for index in order:
        total += shares[index]
        edge = max(top, bottom - round((bottom - top) * total))
        if edge < below:
            boxes.append((index, (span[0], edge, span[1], below)))
        below = edge
    return boxes


def _segment(drawing: Drawing, box: PixelBox, colour: Colour) -> None:
    """Draw one split, set off from the one above it where there is room."""
    drawing.block(box, colour)
    if box[3] - box[1] > 3:
        drawing.block((box[0], box[1], box[2], box[1] + 1), PAPER)


def _empty(drawing: Drawing, box: PixelBox) -> None:
    """Draw a column without evidence: an outline."""
    left, top, right, bottom = box
    drawing.block(box, RULE)
    drawing.block((left + 1, top + 1, right - 1, bottom - 1), PAPER)
