"""The charts of the multi-scale lens, one function each; all return a ``Figure``.

Keyword ``width`` is the design's width in px (see ``figures``), ``title`` replaces the usual one
("" for none). A part that a page may name has a gid ``kind:key`` and a tooltip: see
``figures.marks``.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from mscnn.draw import figures as look
from mscnn.results.receptive_field import BlockField, ReceptiveField, StageField
from mscnn.results.scales import AttentionReport, BlockScales, ScaleReport, SplitEvidence, Sweep
from mscnn.results.scales import SweepStep as Step

RF_PX = "px of the input"
SWEEP_PANELS = ("probability", "energy", "field")
_STEPS = (1, 2, 5, 10, 20, 50, 100)
_MOST_MARKS = 24


# --- evidence --------------------------------------------------------------------------------


def split_colours(rf: Sequence[int | None]) -> tuple[str, ...]:
    """Return the colour of each split of a block: the more it sees, the stronger.

    Splits of equal receptive field share a colour. A block whose splits all see the same, or whose
    receptive fields are not known, is grey: there is no scale to tell apart.

    Args:
        rf: receptive field per split, px; None where it is not known.
    """
    known = [size for size in rf if size is not None]
    sizes = sorted(set(known))
    if len(sizes) < 2 or len(known) < len(rf):
        return (look.NEUTRAL,) * len(rf)
    ramp = _ramp(len(sizes))
    return tuple(ramp[sizes.index(size)] for size in known)


def evidence_chart(
    report: ScaleReport, *, title: str | None = None, width: int = look.WIDTH
) -> Figure:
    """Draw through which splits the evidence passed, block by block, and at which scale.

    Below, a column per block holds the fraction of each split, the one that sees least at the
    bottom; above, each block's evidence-weighted receptive field on a logarithmic axis. A block
    through which no evidence passed is an empty column, and leaves a gap in the line. Marks:
    ``part:layer2.1/2`` (block and split in timm's order) and ``block:layer2.1``.

    Raises:
        ValueError: the report has no blocks.
    """
    blocks = report.blocks
    if not blocks:
        raise ValueError("a chart over depth needs at least one block")
    target = report.target
    usual = f"{look.model_title(report.prediction.model)}: evidence for {target.label}"
    heading = f"{usual} ({target.probability:.1%})" if title is None else title
    weighted = [block.weighted_rf_px for block in blocks]
    known = any(value is not None for value in weighted)
    figure = look.new_figure(width, 350 if known else 230, heading)
    if known:
        line, columns = figure.subplots(2, 1, height_ratios=(2, 3))
        _weighted_line(line, blocks, weighted)
    else:
        columns = figure.subplots()
    look.style(columns, title="Evidence that passed through each split, % of the block's")
    _columns(columns, blocks)
    for axis in (line, columns) if known else (columns,):
        _depth_axis(axis, [block.block for block in blocks], width, named=axis is columns)
    look.legend(
        figure, *_evidence_key(blocks), handler_map={tuple: HandlerTuple(ndivide=None, pad=0)}
    )
    return figure


def _columns(axis: Axes, blocks: Sequence[BlockScales]) -> None:
    parts: list[tuple[int, float, BlockScales, SplitEvidence, str]] = []
    for number, block in enumerate(blocks):
        colours = split_colours([split.rf_max_px for split in block.splits])
        count, below = len(block.splits), 0.0
        # Among equals the last comes first, so that timm's last is at the bottom in every block.
        for split in sorted(
            block.splits, key=lambda s: (s.rf_max_px or 0, (s.index + 1) % count)
        ):  # fmt: skip
            if split.share > 0:
                parts.append((number, below, block, split, colours[split.index]))
            below += split.share
        if not below:
            axis.bar(
                number, 100, 0.8, fill=False, edgecolor=look.GRID, linestyle="--", label="empty"
            )
    bars = axis.bar(
        [number for number, *_ in parts],
        [100 * split.share for *_, split, _ in parts],
        0.8,
        bottom=[100 * below for _, below, *_ in parts],
        color=[colour for *_, colour in parts],
        edgecolor=look.PAPER,
        linewidth=0.8 if len(blocks) <= 40 else 0.2,
    )
    for bar, (_, _, block, split, _) in zip(bars, parts, strict=True):
        look.mark(bar, f"part:{block.block}/{split.index}", _part_words(block, split))
    axis.set_ylim(0, 100)
    axis.set_yticks((0, 50, 100))


def _part_words(block: BlockScales, split: SplitEvidence) -> str:
    sees = "" if split.rf_max_px is None else f"; sees {_range(split.rf_min_px, split.rf_max_px)}"
    where = f"{look.place(block.block)} ({block.block})"
    name = f", split {split.index}" if len(block.splits) > 1 else ""
    return f"{where}{name}: {split.share:.1%} of the block's evidence{sees}"


def _range(low: int | None, high: int) -> str:
    return f"{high} px" if low in (None, high) else f"{low} to {high} px"


def _weighted_line(
    axis: Axes, blocks: Sequence[BlockScales], values: Sequence[float | None]
) -> None:
    look.style(axis, title=f"Evidence-weighted receptive field, {RF_PX} (log scale)")
    known = [(n, value) for n, value in enumerate(values) if value is not None]
    axis.plot(
        range(len(values)),
        [np.nan if v is None else v for v in values],
        color=look.INK,
        linewidth=1.8,
    )
    for number, value in known:
        (dot,) = axis.plot(
            number, value, "o", color=look.INK, markersize=4.5, markeredgecolor=look.PAPER
        )
        name = blocks[number].block
        words = f"{look.place(name)} ({name}): evidence-weighted receptive field {value:.0f} px"
        look.mark(dot, f"block:{name}", words)
    _log_y(axis, [value for _, value in known], 5)
    look.note(
        axis, f"{known[-1][1]:.0f} px", (known[-1][0], known[-1][1]), xytext=(7, 0), va="center",
        color=look.INK, fontsize=look.FONT,
    )  # fmt: skip


def _evidence_key(blocks: Sequence[BlockScales]) -> tuple[list[tuple[Patch, ...]], list[str]]:
    """Return what the colours mean, of those that occur."""
    colours = [split_colours([split.rf_max_px for split in block.splits]) for block in blocks]
    levels = max(len(set(own)) for own in colours)
    handles, labels = [], []
    if levels > 1:
        handles.append(tuple(Patch(color=colour) for colour in _ramp(levels)))
        labels.append("from the split that sees least to the one that sees most")
    grey = [own for own in colours if set(own) == {look.NEUTRAL}]
    if grey:
        parallel = any(len(own) > 1 for own in grey)
        handles.append((Patch(color=look.NEUTRAL),))
        labels.append("splits that all see the same" if parallel else "blocks with a single path")
    return handles, labels


def _ramp(count: int) -> list[str]:
    """Return ``count`` colours of the ramp, evenly spread over it."""
    if count > len(look.RAMP):
        return [look.RAMP[n * len(look.RAMP) // count] for n in range(count)]
    return [look.RAMP[round(n * (len(look.RAMP) - 1) / max(count - 1, 1))] for n in range(count)]


# --- theoretical receptive fields ------------------------------------------------------------


def growth_chart(
    fields: Sequence[ReceptiveField], *, title: str | None = None, width: int = look.WIDTH
) -> Figure:
    """Draw how the smallest and the largest receptive field grow over depth, with the input's size.

    Where all models have the same blocks these are named, otherwise the depth is relative. A
    model without known blocks is drawn by its stages. Marks: ``point:model/block``.

    Raises:
        ValueError: no model.
    """
    figure = look.new_figure(
        width, 280, "Receptive field, block by block" if title is None else title
    )  # fmt: skip
    look.legend(figure, *_growth(figure.subplots(), fields, width))
    return figure


def spectrum_chart(
    fields: ReceptiveField | Sequence[ReceptiveField],
    where: str = "",
    *,
    title: str | None = None,
    width: int = look.WIDTH,
) -> Figure:
    """Draw how many paths through a network have which receptive field, with the input's size.

    Args:
        fields: of one or several models.
        where: a stage or block whose paths are counted; "" for the last stage.
        title: None for the usual one.
        width: of the design, px.

    Marks are ``point:model/size``, at most ``_MOST_MARKS`` of them per model.

    Raises:
        UnknownLayerError: a model has no such stage or block.
        ValueError: no model.
    """
    shown = [fields] if isinstance(fields, ReceptiveField) else list(fields)
    end = look.place(where) if where else "the last stage"
    figure = look.new_figure(
        width, 280, f"Paths to {end}, by receptive field" if title is None else title
    )  # fmt: skip
    look.legend(figure, *_spectrum(figure.subplots(), shown, where))
    return figure


def field_charts(fields: Sequence[ReceptiveField], *, width: int = look.WIDTH) -> Figure:
    """Draw ``growth_chart`` and ``spectrum_chart`` of the last stage on one figure."""
    figure = look.new_figure(width, 580, "Receptive fields")
    upper, lower = figure.subplots(2, 1)
    (handles, ends), (_, labels) = _growth(upper, fields, width), _spectrum(lower, fields, "")
    # Both keys name the same lines; of the first only the inputs are not said by the second.
    look.legend(figure, handles, [*labels[: len(fields)], *ends[len(fields) :]])
    return figure


_Key = tuple[list[Line2D], list[str]]


def _growth(axis: Axes, fields: Sequence[ReceptiveField], width: int) -> _Key:
    if not fields:
        raise ValueError("a chart of receptive fields needs a model")
    look.style(axis, title=f"Largest (line) and smallest (dashes), {RF_PX}")
    steps = [
        [(b.block, b.rf_min_px, b.rf_max_px) for b in field.blocks]
        or [(s.stage, s.rf_min_px, s.rf_max_px) for s in field.stages]
        for field in fields
    ]
    names = [[name for name, _, _ in own] for own in steps]
    same = all(own == names[0] for own in names)
    for number, (field, own) in enumerate(zip(fields, steps, strict=True)):
        colour = look.SERIES[number % len(look.SERIES)]
        x = np.arange(len(own)) if same else np.linspace(0, 100, len(own))
        lows, highs = ([step[n] for step in own] for n in (1, 2))
        axis.fill_between(x, lows, highs, color=colour, alpha=0.08, linewidth=0)
        axis.plot(x, lows, color=colour, linewidth=1.2, linestyle=(number * 3, (4, 4)))
        axis.plot(x, highs, color=colour, linewidth=1.8)
        for at, (name, low, high) in zip(x, own, strict=True):
            words = f"{look.model_title(field.model)}, {look.place(name)}: sees {_range(low, high)}"
            _dot(axis, at, high, number, f"point:{field.model}/{name}", words)
    sizes = [px for own in steps for _, low, high in own for px in (low, high)]
    inputs = _inputs(fields)
    _log_y(axis, [*sizes, *inputs], 7)
    for px in inputs:
        axis.axhline(px, color=look.SOFT, linewidth=1, linestyle="--")
        look.note(
            axis,
            f"{px} px",
            (1, px),
            xycoords=("axes fraction", "data"),
            xytext=(3, 0),
            va="center",
        )
    if same:
        _depth_axis(axis, names[0], width)
    else:
        look.style(axis, x="depth in the network, % of its blocks")
    ends = [f"{look.model_title(f.model)}: at last {_range(*own[-1][1:])}"
            for f, own in zip(fields, steps, strict=True)]  # fmt: skip
    return _fields_key(len(fields), ends, inputs)


def _spectrum(axis: Axes, fields: Sequence[ReceptiveField], where: str) -> _Key:
    if not fields:
        raise ValueError("a chart of receptive fields needs a model")
    look.style(axis, title="Number of paths (log scale)", x=f"receptive field of a path, {RF_PX}")
    labels = []
    for number, field in enumerate(fields):
        spectrum = _layer(field, where).spectrum
        # math.log10 takes integers of any length, where a float would overflow.
        points = [(size, math.log10(count)) for size, count in sorted(spectrum.sizes.items())]
        axis.plot(
            *zip(*points, strict=True), color=look.SERIES[number % len(look.SERIES)], linewidth=1.8
        )
        step = math.ceil(len(points) / _MOST_MARKS)
        for size, power in {*points[::step], points[-1]}:
            paths = look.number_text(spectrum.sizes[size])
            words = f"{look.model_title(field.model)}: {paths} paths see {size} px"
            _dot(axis, size, power, number, f"point:{field.model}/{size}", words)
        count, sizes = look.number_text(spectrum.paths), spectrum.distinct
        words = f"{count} paths, {sizes} size{'s' * (sizes > 1)} up to {spectrum.rf_max_px} px"
        labels.append(f"{look.model_title(field.model)}: {words}")
    inputs = _inputs(fields)
    axis.set_xlim(0, 1.04 * max(*inputs, axis.get_xlim()[1]))
    top = max(1.0, axis.get_ylim()[1])
    # Room above the curves for the inputs' sizes.
    axis.set_ylim(0, top * (1 + 0.07 * len(inputs)))
    axis.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axis.yaxis.set_major_formatter(
        FuncFormatter(lambda power, _: look.power_of_ten(round(power)) if power else "1")
    )
    for row, px in enumerate(inputs):
        axis.axvline(px, color=look.SOFT, linewidth=1, linestyle="--")
        look.note(axis, f"{px} px", (px, 1), xycoords=("data", "axes fraction"),
             xytext=(4, -1.25 * look.SMALL * row), va="top")  # fmt: skip
    return _fields_key(len(fields), labels, inputs)


def _layer(field: ReceptiveField, where: str) -> StageField | BlockField:
    if not where:
        return field.stages[-1]
    return field.block(where) if "." in where else field.stage(where)


def _inputs(fields: Iterable[ReceptiveField]) -> dict[int, str]:
    """Return what to write at each input's size: whose it is, only where they differ."""
    owners: dict[int, list[str]] = {}
    for field in fields:
        owners.setdefault(field.input_px, []).append(look.model_title(field.model))
    if len(owners) == 1:
        return {px: f"input: {px} px" for px in owners}
    return {
        px: f"input of {own[0] if len(own) == 1 else f'{len(own)} models'}: {px} px"
        for px, own in sorted(owners.items())
    }


# --- zoom sweep ------------------------------------------------------------------------------


def sweep_chart(
    sweep: Sweep,
    *,
    panels: Sequence[str] = SWEEP_PANELS,
    title: str | None = None,
    width: int = look.WIDTH,
) -> Figure:
    """Draw how probability, evidence and scale move with the size of the object.

    Args:
        sweep: the result; sizes that were not done are left out.
        panels: of ``SWEEP_PANELS``: the class's ``probability``, the ``energy`` ratio of the
            evidence on the object (1: an even spread), the evidence-weighted receptive ``field``
            (left out where no model has splits).
        title: None for the usual one.
        width: of the design, px.

    Marks: ``probability:model/3`` (likewise ``energy``, ``field``), counted from the largest size.
    """
    kinds: dict[str, tuple[str, Callable[[Step], float | None], str]] = {
        "probability": (
            f"Probability of {sweep.label or 'the class'}, %",
            lambda step: 100 * step.probability,
            "probability {:.1f} %",
        ),
        "energy": (
            "Evidence on the object, per area (1: an even spread)",
            lambda step: step.energy_ratio,
            "{:.2f} times an even spread",
        ),
        "field": (
            f"Evidence-weighted receptive field, {RF_PX}",
            lambda step: step.weighted_rf_px,
            "evidence-weighted receptive field {:.0f} px",
        ),
    }
    steps = [step for curve in sweep.curves for step in curve.steps]
    no_field = all(step.weighted_rf_px is None for step in steps)
    shown = [kind for kind in panels if kind != "field" or not no_field]
    usual = f"Zoom sweep: {sweep.label or 'no class'}, canvas {sweep.canvas}"
    figure = look.new_figure(width, 15 + 180 * len(shown), usual if title is None else title)
    axes = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for axis, kind in zip(axes, shown, strict=True):
        words, value, tooltip = kinds[kind]
        look.style(axis, title=words)
        values = [value(step) for step in steps]
        for number, curve in enumerate(sweep.curves):
            points = [(step.factor, value(step)) for step in curve.steps]
            if all(y is None for _, y in points):
                continue  # a network without splits has no evidence-weighted field, and no line
            ys = [np.nan if y is None else y for _, y in points]
            axis.plot(
                [x for x, _ in points],
                ys,
                color=look.SERIES[number % len(look.SERIES)],
                linewidth=1.8,
            )
            for index, (x, y) in enumerate(points):
                if y is not None:
                    found = f"{look.model_title(curve.model)} at {x:.2g}x: {tooltip.format(y)}"
                    _dot(axis, x, y, number, f"{kind}:{curve.model}/{index}", found)
        if kind == "energy":
            axis.axhline(1, color=look.SOFT, linewidth=1, linestyle="--")
        highest = max((y for y in values if y is not None), default=1.0)
        lowest = min((y for y in values if y is not None), default=0.0)
        # 0 is left out where all values lie far from it.
        axis.set_ylim(
            0.9 * lowest if lowest > 0.6 * highest and kind == "field" else 0,
            100 if kind == "probability" else 1.1 * max(highest, lowest, 1.0),
        )
        axis.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
        if not axis.lines or not steps:
            look.note(axis, "nothing to show", (0.5, 0.5), xycoords="axes fraction", ha="center")
    _by_size(axes[-1], sweep.factors)
    look.style(axes[-1], x="longer side over the network's input, smaller to the right")
    look.legend(figure, *_curves_key(sweep))
    return figure


def _by_size(axis: Axes, factors: Sequence[float]) -> None:
    """Make the axis of sizes: logarithmic, the largest at the left."""
    axis.set_xscale("log")
    low, high = (min(factors), max(factors)) if factors else (0.1, 2.0)
    axis.set_xlim(high * 1.07, low / 1.07)
    ticks = [size for size in (4, 2, 1, 0.5, 0.25, 0.125) if low <= size <= high * 1.001]
    ticks = ticks if len(ticks) > 1 else sorted({low, high})
    axis.set_xticks(ticks, [f"{tick:.3g}\N{MULTIPLICATION SIGN}" for tick in ticks])
    axis.xaxis.set_minor_locator(NullLocator())


def _curves_key(sweep: Sweep) -> _Key:
    handles, labels = [], []
    for number, curve in enumerate(sweep.curves):
        words = look.model_title(curve.model)
        if curve.octaves is not None:
            words += f": at least half of its best over {curve.octaves:.1f} octaves (halvings)"
        elif curve.note:
            words += f": {curve.note}"
        handles.append(_line(number))
        labels.append(words)
    return handles, labels


# --- gates -----------------------------------------------------------------------------------


def gates_chart(
    report: AttentionReport,
    block: str,
    *,
    bins: int = 20,
    title: str | None = None,
    width: int = look.WIDTH,
) -> Figure:
    """Draw how the gates of a block's first branch are spread over its channels.

    Filled: this photo; outline: the mean of the reference photos, where there are any. Marks:
    ``gate:layer3.1/5`` (block and bin).

    Raises:
        ValueError: the report has no such block.
    """
    found = next((one for one in report.blocks if one.block == block), None)
    if found is None:
        raise ValueError(f"there are no gates of a block {block!r}")
    edges = np.linspace(0, 1, bins + 1)
    fractions = _binned(found.gates[0], edges)
    usual = f"Gates of {look.place(block)}"
    figure = look.new_figure(width, 220, usual if title is None else title)
    axis = figure.subplots()
    branch = "branch 0 (its branches add up to 1)" if found.radix > 1 else "the only branch"
    look.style(axis, title="Channels, % per bin", x=f"gate of {branch}, one per channel")
    colour = look.SERIES[0]
    bars = axis.bar(edges[:-1], 100 * fractions, 1 / bins, align="edge", color=colour,
                    alpha=0.55, edgecolor=look.PAPER)  # fmt: skip
    for number, (bar, fraction) in enumerate(zip(bars, fractions, strict=True)):
        if fraction > 0:
            span = f"{edges[number]:.2f} to {edges[number + 1]:.2f}"
            words = f"gate {span}: {fraction:.1%} of {found.gates.shape[1]} channels"
            look.mark(bar, f"gate:{block}/{number}", words)
    handles: list[Any] = [Patch(color=to_rgba(colour, 0.55))]
    labels = ["this photo"]
    if found.reference is not None:
        axis.stairs(
            100 * _binned(found.reference[0], edges), edges, color=look.SERIES[1], linewidth=1.8
        )
        handles.append(Line2D([], [], color=look.SERIES[1], linewidth=1.8))
        labels.append(f"mean of {report.references} example photographs")
    axis.set_xlim(0, 1)
    axis.yaxis.set_major_locator(MaxNLocator(5))
    look.legend(figure, handles, labels)
    return figure


def _binned(values: Any, edges: Any) -> Any:
    """Return the fraction of the values in each bin; values beyond count in the outer ones."""
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    return counts / max(len(values), 1)


# --- what they share -------------------------------------------------------------------------


def stage_runs(blocks: Sequence[str]) -> list[tuple[str, int, int]]:
    """Return ``(stage, first, end)`` of neighbouring blocks of the same stage, end exclusive."""
    stages = [block.rpartition(".")[0] or block for block in blocks]
    runs, first = [], 0
    for stage, members in itertools.groupby(stages):
        end = first + len(list(members))
        runs.append((stage, first, end))
        first = end
    return runs


def _depth_axis(axis: Axes, blocks: Sequence[str], width: int, *, named: bool = True) -> None:
    """Name the blocks (counted from 1 in each stage) and the stages; thinned to what fits."""
    runs = stage_runs(blocks)
    axis.set_xlim(-0.5, len(blocks) - 0.5)
    for _, first, _ in runs[1:]:
        axis.axvline(first - 0.5, color=look.GRID, linewidth=1)
    if not named:
        axis.set_xticks([])
        return
    slot = (width - 70) / len(blocks)
    step = next((n for n in _STEPS if n * slot >= 1.9 * look.SMALL), _STEPS[-1])
    numbered = any("." in block for block in blocks)
    places = [
        n
        for _, first, end in runs
        for n in range(first, end, step)
        # Not a number that touches the next stage's first.
        if numbered and (n == first or end - n >= step or end == len(blocks))
    ]
    axis.set_xticks(places, [_number(blocks[n]) for n in places])
    room = min(end - first for _, first, end in runs) * slot
    for shorten in (r"\g<0>", r"St. \1", r"\1"):
        names = [re.sub(r"^.*?(\d*)$", shorten, look.stage_title(stage)) for stage, _, _ in runs]
        if max(map(len, names)) * 0.6 * look.SMALL <= room:
            break
    # A minor tick in the middle of a stage would be dropped where a block's tick is.
    axis.xaxis.remove_overlapping_locs = False
    axis.set_xticks([(first + end - 1) / 2 for _, first, end in runs], names, minor=True)
    axis.tick_params(
        axis="x", which="minor", length=0, labelsize=look.SMALL, labelcolor=look.INK,
        pad=4 + (1.35 * look.SMALL if numbered else 0),
    )  # fmt: skip
    if numbered:
        look.style(axis, x="blocks in order of depth")


def _number(block: str) -> str:
    number = block.rpartition(".")[2]
    return str(int(number) + 1) if number.isdecimal() else number


def _log_y(axis: Axes, values: Sequence[float], most: int) -> None:
    """Make a logarithmic axis with round numbers, wide enough for all values."""
    low, high = 0.8 * max(min(values), 1.0), 1.25 * max(*values, 1.0)
    axis.set_yscale("log")
    axis.set_ylim(low, high)
    narrow = high / low < 8
    axis.yaxis.set_major_locator(
        MaxNLocator(most - 1) if narrow else LogLocator(10, (1, 2, 5) if high / low < 300 else (1,))
    )
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: look.number_text(value)))


def _dot(axis: Axes, x: float, y: float, number: int, gid: str, words: str) -> None:
    """Draw a point of the n-th model as a mark."""
    shape, colour = look.SHAPES[number % len(look.SHAPES)], look.SERIES[number % len(look.SERIES)]
    (dot,) = axis.plot(
        x, y, shape, color=colour, markersize=5.5, markeredgecolor=look.PAPER, clip_on=False
    )
    look.mark(dot, gid, words)


def _line(number: int) -> Line2D:
    shape, colour = look.SHAPES[number % len(look.SHAPES)], look.SERIES[number % len(look.SERIES)]
    return Line2D([], [], color=colour, marker=shape, linewidth=1.8, markeredgecolor=look.PAPER)


def _fields_key(count: int, labels: Sequence[str], inputs: dict[int, str]) -> _Key:
    """Return the key of models as lines, and of the dashed lines at their inputs' sizes."""
    lines = [_line(number) for number in range(count)]
    dashes = [Line2D([], [], color=look.SOFT, linewidth=1, linestyle="--") for _ in inputs]
    return [*lines, *dashes], [*labels, *inputs.values()]
