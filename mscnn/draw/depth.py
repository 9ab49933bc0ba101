"""The horizontal axis of charts over depth: one place per block, grouped by stage."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from mscnn.draw.drawing import Drawing
from mscnn.draw.text import INK, RULE, SOFT_INK, fit_text

_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500)


def stage_of(block: str) -> str:
    """Return what comes before the last dot: ``"layer2.1"`` -> ``"layer2"``."""
    return block.rpartition(".")[0] or block


def stage_runs(blocks: Sequence[str]) -> list[tuple[str, int, int]]:
    """Return ``(stage, first, end)`` of neighbouring blocks of the same stage, end exclusive."""
    runs = []
    first = 0
    for stage, members in itertools.groupby(blocks, stage_of):
        end = first + sum(1 for _ in members)
        runs.append((stage, first, end))
        first = end
    return runs


def slot_edges(count: int, left: int, right: int) -> list[int]:
    """Return the px between ``count`` equal places, both ends included."""
    return [left + round((right - left) * n / count) for n in range(count + 1)]


def stage_borders(
    drawing: Drawing, blocks: Sequence[str], edges: Sequence[int], top: int, bottom: int
) -> None:
    """Draw an upright line between two stages."""
    for _, first, _ in stage_runs(blocks)[1:]:
        x = edges[first] + 0.5
        drawing.line([(x, top), (x, bottom)], RULE)


def name_blocks(
    drawing: Drawing, blocks: Sequence[str], edges: Sequence[int], y: int, size: int
) -> int:
    """Write the blocks' numbers and the stages' names; return the px below.

    Numbers are thinned where there is no room for all. Where a stage's name does not fit, all
    are shortened to their last digits.
    """
    runs = stage_runs(blocks)
    if any("." in block for block in blocks):
        _numbers(drawing, blocks, edges, y, size)
        y += round(1.25 * size)
    names = [stage for stage, _, _ in runs]
    spans = [edges[end] - edges[first] for _, first, end in runs]
    short = [re.sub(r"^.*?(\d*)$", r"\1", name) or name for name in names]
    if not _fit(names, spans, size) and short != names:
        start = fit_text(names[0][: len(names[0]) - len(short[0])], 10_000, size)
        if start.width < edges[0] and len(names) > 1:
            drawing.words(start, edges[0] - size // 6, y, colour=SOFT_INK, align=1)
        names = short
    used = -1
    for name, (_, first, end) in zip(names, runs, strict=True):
        block = fit_text(name, 10_000, size)
        centre = (edges[first] + edges[end]) // 2
        left = centre - block.width // 2
        if left > used + size // 4 and left + block.width <= drawing.width_px:
            drawing.words(block, centre, y, colour=INK, align=0.5)
            used = left + block.width
    return y + round(1.4 * size)


def _fit(names: Sequence[str], spans: Sequence[int], size: int) -> bool:
    pairs = zip(names, spans, strict=True)
    return all(fit_text(name, 10_000, size).width + size // 4 <= span for name, span in pairs)


def _numbers(
    drawing: Drawing, blocks: Sequence[str], edges: Sequence[int], y: int, size: int
) -> None:
    """Write each block's number within its stage, or every second, fifth, ..."""
    small = max(12, round(0.85 * size))
    slot = (edges[-1] - edges[0]) / len(blocks)
    numbers = [fit_text(block.rpartition(".")[2], 10_000, small) for block in blocks]
    widest = max(block.width for block in numbers) + small // 3
    step = next((n for n in _STEPS if n * slot >= widest), _STEPS[-1])
    used = -1
    for _, first, end in stage_runs(blocks):
        for place in range(first, end, step):
            centre = (edges[place] + edges[place + 1]) // 2
            left = centre - numbers[place].width // 2
            if left > used:
                drawing.words(numbers[place], centre, y, colour=SOFT_INK, align=0.5)
                used = left + numbers[place].width + small // 6
