"""The charts of the multi-scale lens, one function each; all return a ``Figure``.

Keyword ``width`` is the design's width in px (see ``figures``), ``title`` replaces the usual one
("" for none). A part that a page may name has a gid ``kind:key`` and a tooltip: see
``figures.marks``.

More than 600 lines: one function per chart; they share axes, keys and marks.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
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
from mscnn.results.cuts import Ablation, Cap
from mscnn.results.receptive_field import ReceptiveField
from mscnn.results.scales import AttentionReport, BlockScales, ScaleReport, SplitEvidence, Sweep
from mscnn.results.scales import SweepStep as Step

RF_PX = "px of the input"
SWEEP_PANELS = ("probability", "energy", "field")
_MOST_MARKS = 24
_BINS = 20
_DASHED: dict[str, Any] = {"color": look.SOFT, "linewidth": 1, "linestyle": "--"}
_Key = tuple[list[Any], list[str]]  # handles and labels of a legend
_Point = tuple[float, float | None, str, str]  # x, y or a gap, gid and tooltip


def split_colours(rf: Sequence[int | None]) -> tuple[str, ...]:
    """Return the colour of each split of a block, by its receptive field: the more, the stronger.

    Equal fields share a colour; where all are equal, or one is not known (None), all are grey.
    """
    known = [size for size in rf if size is not None]
    sizes = sorted(set(known))
    if len(sizes) < 2 or len(known) < len(rf):
        return (look.NEUTRAL,) * len(rf)
    ramp = _ramp(len(sizes))
    return tuple(ramp[sizes.index(size)] for size in known)


def _ramp(count: int) -> list[str]:
    return [look.RAMP[round(at)] for at in np.linspace(0, len(look.RAMP) - 1, count)]


def _block_colours(block: BlockScales) -> tuple[str, ...]:
    return split_colours([split.rf_max_px for split in block.splits])


def evidence_chart(
    report: ScaleReport, *, title: str | None = None, width: int = look.WIDTH
) -> Figure:
    """Draw through which splits the evidence passed, block by block, and at which scale.

    Below, a column per block holds the fraction of each split, the one that sees least at the
    bottom; above, each block's evidence-weighted receptive field on a logarithmic axis. A block
    through which no evidence passed is an empty column, and leaves a gap in the line. Marks:
    ``part:layer2.1/2`` (block and split in timm's order) and ``block:layer2.1``. Raises
    ``ValueError``: the report has no blocks.
    """
    blocks, target = report.blocks, report.target
    if not blocks:
        raise ValueError("a chart over depth needs at least one block")
    usual = f"{look.model_title(report.prediction.model)}: evidence for {target.label}"
    known = any(block.weighted_rf_px is not None for block in blocks)
    figure = look.new_figure(
        width, 350 if known else 230, f"{usual} ({target.probability:.1%})", title
    )  # fmt: skip
    names = [block.block for block in blocks]
    if known:
        line, columns = figure.subplots(2, 1, height_ratios=(2, 3))
        _weighted_line(line, blocks)
        _depth_axis(line, names, width, named=False)
    else:
        columns = figure.subplots()
    look.style(columns, title="Evidence that passed through each split, % of the block's")
    _columns(columns, blocks)
    _depth_axis(columns, names, width)
    _split_legend(figure, {_block_colours(block) for block in blocks})
    return figure


def _columns(axis: Axes, blocks: Sequence[BlockScales]) -> None:
    line = 0.8 if len(blocks) <= 40 else 0.2
    for number, block in enumerate(blocks):
        colours, count, below = _block_colours(block), len(block.splits), 0.0
        # Among equals the last comes first, so that timm's last is at the bottom in every block.
        for split in sorted(block.splits, key=lambda s: (s.rf_max_px or 0, (s.index + 1) % count)):
            if split.share > 0:
                (bar,) = axis.bar(
                    number, 100 * split.share, 0.8, 100 * below, color=colours[split.index],
                    edgecolor=look.PAPER, linewidth=line,
                )  # fmt: skip
                look.mark(bar, f"part:{block.block}/{split.index}", _part_words(block, split))
            below += split.share
        if not below:
            axis.bar(number, 100, 0.8, fill=False, edgecolor=look.GRID, linestyle="--")
    axis.set_ylim(0, 100)
    axis.set_yticks((0, 50, 100))


def _part_words(block: BlockScales, split: SplitEvidence) -> str:
    sees = "" if split.rf_max_px is None else f"; sees {_range(split.rf_min_px, split.rf_max_px)}"
    where = f"{look.place(block.block)} ({block.block})"
    name = f", split {split.index}" if len(block.splits) > 1 else ""
    return f"{where}{name}: {split.share:.1%} of the block's evidence{sees}"


def _range(low: int | None, high: int) -> str:
    return f"{high} px" if low in (None, high) else f"{low} to {high} px"


def _weighted_line(axis: Axes, blocks: Sequence[BlockScales]) -> None:
    look.style(axis, title=f"Evidence-weighted receptive field, {RF_PX} (log scale)")
    points: list[_Point] = []
    for number, (name, size) in enumerate((b.block, b.weighted_rf_px) for b in blocks):
        words = f"{look.place(name)} ({name}): evidence-weighted receptive field {size or 0:.0f} px"
        points.append((number, size, f"block:{name}", words))
    _line(axis, points, look.INK, "o", 4.5)
    known = [(x, y) for x, y, *_ in points if y is not None]
    _log_y(axis, [size for _, size in known], 5)
    own = {"color": look.INK, "fontsize": look.FONT}
    look.note(axis, f"{known[-1][1]:.0f} px", known[-1], xytext=(7, 0), va="center", **own)


def _split_legend(figure: Figure, colours: set[tuple[str, ...]]) -> None:
    """Write what the colours of splits mean, of those that occur; one tuple for each block."""
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
    look.legend(figure, handles, labels, handler_map={tuple: HandlerTuple(ndivide=None, pad=0)})


def growth_chart(
    fields: Sequence[ReceptiveField], *, title: str | None = None, width: int = look.WIDTH
) -> Figure:
    """Draw how the smallest and the largest receptive field grow over depth, with the input's size.

    Where all models have the same blocks these are named, otherwise the depth is relative. A model
    without known blocks is drawn by its stages, which are numbered. Marks:
    ``point:model/block``. Raises ``ValueError``: no model.
    """
    figure = look.new_figure(width, 280, f"Receptive field, {growth_steps(fields)}", title)
    look.legend(figure, *_growth(figure.subplots(), fields, width))
    return figure


def growth_steps(fields: Iterable[ReceptiveField]) -> str:
    """Return in words what a step of ``growth_chart`` is."""
    return "block by block" if any(field.blocks for field in fields) else "stage by stage"


def spectrum_chart(
    fields: Sequence[ReceptiveField], *, title: str | None = None, width: int = look.WIDTH
) -> Figure:
    """Draw how many paths to a network's last stage have which receptive field, with the input's.

    Marks are ``point:model/size``, at most ``_MOST_MARKS`` of them per model. Raises
    ``ValueError``: no model.
    """
    figure = look.new_figure(width, 280, "Paths to the last stage, by receptive field", title)
    look.legend(figure, *_spectrum(figure.subplots(), fields))
    return figure


def field_charts(fields: Sequence[ReceptiveField]) -> Figure:
    """Draw ``growth_chart`` and ``spectrum_chart`` of the last stage on one figure."""
    figure = look.new_figure(look.WIDTH, 580, "Receptive fields")
    upper, lower = figure.subplots(2, 1)
    (handles, ends), (_, labels) = _growth(upper, fields, look.WIDTH), _spectrum(lower, fields)
    # Both keys name the same lines; of the first only the inputs are not said by the second.
    look.legend(figure, handles, [*labels[: len(fields)], *ends[len(fields) :]])
    return figure


def _growth(axis: Axes, fields: Sequence[ReceptiveField], width: int) -> _Key:
    inputs = _inputs(fields)
    look.style(axis, title=f"Largest (line) and smallest (dashes), {RF_PX}")
    steps = [
        [(b.block, b.rf_min_px, b.rf_max_px) for b in field.blocks]
        or [(s.stage, s.rf_min_px, s.rf_max_px) for s in field.stages]
        for field in fields
    ]
    names = [[name for name, _, _ in own] for own in steps]
    same = all(own == names[0] for own in names)
    labels = []
    for number, (field, own) in enumerate(zip(fields, steps, strict=True)):
        model, (colour, shape) = look.model_title(field.model), _series(number)
        x = np.arange(len(own)) if same else np.linspace(0, 100, len(own))
        lows, highs = ([step[n] for step in own] for n in (1, 2))
        axis.fill_between(x, lows, highs, color=colour, alpha=0.08, linewidth=0)
        axis.plot(x, lows, color=colour, linewidth=1.2, linestyle=(number * 3, (4, 4)))
        points: list[_Point] = [
            (at, high, f"point:{field.model}/{name}",
             f"{model}, {look.place(name)}: sees {_range(low, high)}")
            for at, (name, low, high) in zip(x, own, strict=True)
        ]  # fmt: skip
        _line(axis, points, colour, shape)
        labels.append(f"{model}: at last {_range(*own[-1][1:])}")
    _log_y(axis, [px for own in steps for step in own for px in step[1:]] + [*inputs], 7)
    for px in inputs:
        axis.axhline(px, **_DASHED)
        beside = {"xycoords": ("axes fraction", "data"), "xytext": (3, 0), "va": "center"}
        look.note(axis, f"{px} px", (1, px), **beside)
    blocks = any(field.blocks for field in fields)
    if same and blocks:
        _depth_axis(axis, names[0], width)
    elif same:
        axis.set_xticks(range(len(names[0])), [str(n) for n, _ in enumerate(names[0], 1)])
        look.style(axis, x="stages in order of depth")
    else:
        look.style(axis, x=f"depth in the network, % of its {'blocks' if blocks else 'stages'}")
    return _fields_key(labels, inputs)


def _spectrum(axis: Axes, fields: Sequence[ReceptiveField]) -> _Key:
    inputs = _inputs(fields)
    look.style(axis, title="Number of paths (log scale)", x=f"receptive field of a path, {RF_PX}")
    labels = []
    for number, field in enumerate(fields):
        spectrum, model = field.stages[-1].spectrum, look.model_title(field.model)
        colour, shape = _series(number)
        # math.log10 takes integers of any length, where a float would overflow.
        points = [(size, math.log10(count)) for size, count in sorted(spectrum.sizes.items())]
        axis.plot(*zip(*points, strict=True), color=colour, linewidth=1.8)
        step = math.ceil(len(points) / _MOST_MARKS)
        for size, power in {*points[::step], points[-1]}:
            words = f"{model}: {look.number_text(spectrum.sizes[size])} paths see {size} px"
            _line(axis, [(size, power, f"point:{field.model}/{size}", words)], colour, shape)
        count, sizes = look.number_text(spectrum.paths), spectrum.distinct
        words = f"{count} paths, {sizes} size{'s' * (sizes > 1)} up to {spectrum.rf_max_px} px"
        labels.append(f"{model}: {words}")
    axis.set_xlim(0, 1.04 * max(*inputs, axis.get_xlim()[1]))
    # Room above the curves for the inputs' sizes.
    axis.set_ylim(0, max(1.0, axis.get_ylim()[1]) * (1 + 0.07 * len(inputs)))
    axis.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axis.yaxis.set_major_formatter(
        FuncFormatter(lambda power, _: look.power_of_ten(round(power)) if power else "1")
    )
    for row, px in enumerate(inputs):
        axis.axvline(px, **_DASHED)
        below = {"xytext": (4, -1.25 * look.SMALL * row), "va": "top"}
        look.note(axis, f"{px} px", (px, 1), xycoords=("data", "axes fraction"), **below)
    return _fields_key(labels, inputs)


def _inputs(fields: Iterable[ReceptiveField]) -> dict[int, str]:
    """Return what to write at each input's size: whose it is, only where they differ."""
    owners: dict[int, list[str]] = {}
    for field in fields:
        owners.setdefault(field.input_px, []).append(look.model_title(field.model))
    if not owners:
        raise ValueError("a chart of receptive fields needs a model")
    if len(owners) == 1:
        return {px: f"input: {px} px" for px in owners}
    return {
        px: f"input of {own[0] if len(own) == 1 else f'{len(own)} models'}: {px} px"
        for px, own in sorted(owners.items())
    }


def _fields_key(labels: Sequence[str], inputs: dict[int, str]) -> _Key:
    """Return the key of models as lines, and of the dashed lines at their inputs' sizes."""
    lines = [_handle(number) for number in range(len(labels))]
    dashes = [Line2D([], [], **_DASHED) for _ in inputs]
    return [*lines, *dashes], [*labels, *inputs.values()]


def sweep_chart(
    sweep: Sweep,
    *,
    panels: Sequence[str] = SWEEP_PANELS,
    title: str | None = None,
    width: int = look.WIDTH,
) -> Figure:
    """Draw how probability, evidence and scale move with the size of the object.

    The ``panels`` are the class's ``probability``, the ``energy`` ratio of the evidence on the
    object (1: an even spread) and the evidence-weighted receptive ``field`` (left out where no
    model has splits). Sizes that were not done are left out. Marks: ``probability:model/3``
    (likewise ``energy``, ``field``), counted from the largest size.
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
    figure = look.new_figure(width, 15 + 180 * len(shown), usual, title)
    axes = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for axis, kind in zip(axes, shown, strict=True):
        words, value, tooltip = kinds[kind]
        look.style(axis, title=words)
        for number, curve in enumerate(sweep.curves):
            points: list[_Point] = []
            for index, step in enumerate(curve.steps):
                found, at = value(step), f"{look.model_title(curve.model)} at {step.factor:.3g}x"
                text = "" if found is None else f"{at}: {tooltip.format(found)}"
                points.append((step.factor, found, f"{kind}:{curve.model}/{index}", text))
            _line(axis, points, *_series(number))
        if not axis.lines:
            look.note(axis, "nothing to show", (0.5, 0.5), xycoords="axes fraction", ha="center")
        if kind == "energy":
            axis.axhline(1, **_DASHED)
        values = [found for step in steps if (found := value(step)) is not None]
        lowest, highest = min(values, default=0.0), max(values, default=1.0)
        # 0 is left out where all values lie far from it.
        far = kind == "field" and lowest > 0.6 * highest
        axis.set_ylim(
            0.9 * lowest if far else 0, 100 if kind == "probability" else 1.1 * max(highest, 1.0)
        )
        axis.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    size_axis(axes[-1], sweep.factors)
    look.style(axes[-1], x="longer side over the network's input, smaller to the right")
    look.legend(figure, *_curves_key(sweep))
    return figure


def size_axis(axis: Axes, factors: Sequence[float]) -> None:
    """Make the axis of sizes: logarithmic, the largest at the left."""
    axis.set_xscale("log")
    low, high = (min(factors), max(factors)) if factors else (0.1, 2.0)
    axis.set_xlim(high * 1.07, low / 1.07)
    ticks = [size for size in (4, 2, 1, 0.5, 0.25, 0.125) if low <= size <= high * 1.001]
    ticks = ticks if len(ticks) > 1 else sorted({low, high})
    axis.set_xticks(ticks, [f"{tick:.3g}\N{MULTIPLICATION SIGN}" for tick in ticks])
    axis.xaxis.set_minor_locator(NullLocator())


def _curves_key(sweep: Sweep) -> _Key:
    labels = []
    for curve in sweep.curves:
        words = look.model_title(curve.model)
        if curve.octaves is not None:
            words += f": at least half of its best over {curve.octaves:.1f} octaves (halvings)"
        elif curve.note:
            words += f": {curve.note}"
        labels.append(words)
    return [_handle(number) for number in range(len(labels))], labels


def ablation_chart(
    ablation: Ablation, *, title: str | None = None, width: int = look.WIDTH
) -> Figure:
    """Draw what the class's logit loses without each split, block by block.

    The splits of a block stand side by side, the one that sees least at the left. Marks:
    ``part:layer2.1/2``.
    """
    usual = f"{look.model_title(ablation.prediction.model)}: {ablation.target.label} without a part"
    figure = look.new_figure(width, 210, usual, title)
    axis = figure.subplots()
    look.style(axis, title="What the logit loses without the part (below 0: it gains)")
    blocks = [
        (name, list(own)) for name, own in itertools.groupby(ablation.cuts, attrgetter("block"))
    ]
    kinds = set()
    for number, (name, own) in enumerate(blocks):
        colours = split_colours([cut.rf_max_px for cut in own])
        kinds.add(colours)
        order = sorted(own, key=lambda cut: (cut.rf_max_px or 0, (cut.index + 1) % len(own)))
        for slot, cut in enumerate(order):
            wide = 0.8 / len(own)
            left, height = number - 0.4 + slot * wide, -cut.logit_change
            (bar,) = axis.bar(left, height, wide, align="edge", color=colours[cut.index])
            sees = "" if cut.rf_max_px is None else f", sees {cut.rf_max_px} px"
            one = f", split {cut.index}" if len(own) > 1 else ""
            words = (
                f"Without {look.place(name)} ({name}){one}{sees}: the logit "
                f"{'loses' if height >= 0 else 'gains'} {look.number_text(abs(height))}, "
                f"probability {100 * cut.probability_change:+.1f} points, top-1 {cut.top.label}; "
                f"it held {cut.share:.1%} of the block's evidence"
            )
            look.mark(bar, f"part:{name}/{cut.index}", words)
    axis.axhline(0, color=look.SOFT, linewidth=1)
    axis.yaxis.set_major_locator(MaxNLocator(4))
    _depth_axis(axis, [name for name, _ in blocks], width)
    _split_legend(figure, kinds)
    return figure


def cap_chart(cap: Cap, *, title: str | None = None, width: int = look.WIDTH) -> Figure:
    """Draw the class's probability against how far the network may see; a band for the control.

    Of a single model, the classes that it answers on the way are drawn as well, thinner. Marks:
    ``cap:model/3``, counted from the smallest limit.
    """
    figure = look.new_figure(
        width, 260, f"Receptive field capped: {cap.label or 'no class'}", title
    )
    axis, labels, handles = figure.subplots(), list[str](), list[Any]()
    look.style(
        axis, title="Probability, %", x=f"no part sees more than this: {RF_PX} (log scale)"
    )  # fmt: skip
    drawn = [curve for curve in cap.curves if curve.steps]
    axis.set_xscale("log")
    for number, curve in enumerate(drawn):
        model, (colour, shape) = look.model_title(curve.model), _series(number)
        limits = [step.limit_px for step in curve.steps]
        if len(curve.control):
            lows, highs = 100 * np.percentile(curve.control, [2.5, 97.5], axis=0)
            axis.fill_between(limits, lows, highs, color=colour, alpha=0.18, linewidth=0)
        points: list[_Point] = [
            (step.limit_px, 100 * step.probability, f"cap:{curve.model}/{index}",
             f"{model}, nothing beyond {step.limit_px} px: {step.probability:.1%}, top-1 "
             f"{step.top.label} ({step.cut_channels:.0%} of the channels cut)")
            for index, step in enumerate(curve.steps)
        ]  # fmt: skip
        _line(axis, points, colour, shape)
        needed, most = "is not its top-1 prediction even without a cap", curve.steps[-1]
        if most.cut_channels:  # limits of one's own may end below the largest
            needed = f"is not its top-1 prediction up to {most.limit_px} px"
        if curve.needed_px is not None:
            axis.axvline(curve.needed_px, **{**_DASHED, "color": colour})
            needed = f"from {curve.needed_px} px on"
        handles.append(_handle(number))
        labels.append(f"{model}: {curve.label} {needed}")
        if len(drawn) == 1:
            for other, (label, chances) in enumerate(curve.rivals(), 1):
                line: dict[str, Any] = {"color": _series(other)[0], "linewidth": 1.2}
                axis.plot(limits, 100 * chances, **line)
                handles.append(Line2D([], [], **line))
                labels.append(f"its probability of {label}")
    if any(len(curve.control) for curve in drawn):
        handles.append(Patch(color=to_rgba(look.SERIES[0], 0.18)))
        what = " or ".join(sorted({curve.drawn_at_random for curve in drawn}, reverse=True))
        labels.append(f"as many {what} cut at random, 95 % of {cap.draws} draws")
    inputs = {curve.input_px for curve in drawn}
    for px in inputs if len(inputs) == 1 else ():
        axis.axvline(px, **_DASHED)
        beside = {"xycoords": ("data", "axes fraction"), "xytext": (4, 0), "va": "top"}
        look.note(axis, f"input: {px} px", (px, 1), **beside)
    ends = [step.limit_px for curve in drawn for step in curve.steps] or [1]
    axis.set_xlim(0.9 * min(ends), 1.1 * max(*ends, 2))
    axis.set_ylim(0, 100)
    axis.xaxis.set_major_locator(LogLocator(10, (1, 2, 5)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: look.number_text(value)))
    look.legend(figure, handles, labels)
    return figure


def gates_chart(
    report: AttentionReport, block: str, *, title: str | None = None, width: int = look.WIDTH
) -> Figure:
    """Draw how the gates of a block's first branch are spread over its channels.

    Filled: this photo; outline: the mean of the reference photos, where there are any. Marks:
    ``gate:layer3.1/5`` (block and bin). Raises ``ValueError``: the report has no such block.
    """
    found = next((one for one in report.blocks if one.block == block), None)
    if found is None:
        raise ValueError(f"there are no gates of a block {block!r}")
    edges = np.linspace(0, 1, _BINS + 1)

    def fractions(gates: Any) -> Any:
        # Rounding may put a gate just beyond 0 or 1; it counts in the outer bin.
        return np.histogram(np.clip(gates, 0, 1), edges)[0] / max(len(gates), 1)

    figure = look.new_figure(width, 220, f"Gates of {look.place(block)}", title)
    axis = figure.subplots()
    branch = "branch 0 (its branches add up to 1)" if found.radix > 1 else "the only branch"
    look.style(axis, title="Channels, % per bin", x=f"gate of {branch}, one per channel")
    own, other = look.SERIES[:2]
    filled: dict[str, Any] = {"color": own, "alpha": 0.55, "edgecolor": look.PAPER}
    bars = axis.bar(edges[:-1], 100 * fractions(found.gates[0]), 1 / _BINS, align="edge", **filled)
    for number, bar in enumerate(bars):
        if bar.get_height() > 0:
            span = f"{edges[number]:.2f} to {edges[number + 1]:.2f}"
            words = f"gate {span}: {bar.get_height():.1f}% of {found.gates.shape[1]} channels"
            look.mark(bar, f"gate:{block}/{number}", words)
    handles: list[Any] = [Patch(color=to_rgba(own, 0.55))]
    labels = ["this photo"]
    if found.reference is not None:
        axis.stairs(100 * fractions(found.reference[0]), edges, color=other, linewidth=1.8)
        handles.append(Line2D([], [], color=other, linewidth=1.8))
        labels.append(f"mean of {report.references} example photographs")
    axis.set_xlim(0, 1)
    axis.yaxis.set_major_locator(MaxNLocator(5))
    look.legend(figure, handles, labels)
    return figure


def _depth_axis(axis: Axes, blocks: Sequence[str], width: int, *, named: bool = True) -> None:
    """Name the blocks (counted from 1 in each stage) and the stages; thinned to what fits."""
    runs: list[tuple[str, int, int]] = []  # stage, its first block, and the next stage's
    for stage, members in itertools.groupby(b.rpartition(".")[0] or b for b in blocks):
        first = runs[-1][2] if runs else 0
        runs.append((stage, first, first + len(list(members))))
    axis.set_xlim(-0.5, len(blocks) - 0.5)
    for _, first, _ in runs[1:]:
        axis.axvline(first - 0.5, color=look.GRID, linewidth=1)
    if not named:
        axis.set_xticks([])
        return
    slot = (width - 70) / len(blocks)
    step = next((n for n in (1, 2, 5, 10, 20, 50) if n * slot >= 1.9 * look.SMALL), 100)
    numbered = any("." in block for block in blocks)
    ticks = [
        n
        for _, first, end in runs
        for n in range(first, end, step)
        # Not a number that touches the next stage's first.
        if numbered and (n == first or end - n >= step or end == len(blocks))
    ]
    axis.set_xticks(ticks, [_number(blocks[n]) for n in ticks])
    room = min(end - first for _, first, end in runs) * slot
    for shorten in (r"\g<0>", r"St. \1", r"\1"):
        names = [re.sub(r"^.*?(\d*)$", shorten, look.stage_title(stage)) for stage, _, _ in runs]
        if max(map(len, names)) * 0.6 * look.SMALL <= room:
            break
    # A minor tick in the middle of a stage would be dropped where a block's tick is.
    axis.xaxis.remove_overlapping_locs = False
    axis.set_xticks([(first + end - 1) / 2 for _, first, end in runs], names, minor=True)
    below = {"pad": 4 + (1.35 * look.SMALL if numbered else 0), "labelcolor": look.INK}
    axis.tick_params(axis="x", which="minor", length=0, labelsize=look.SMALL, **below)
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


def _series(number: int) -> tuple[str, str]:
    return look.SERIES[number % len(look.SERIES)], look.SHAPES[number % len(look.SHAPES)]


def _line(axis: Axes, points: Sequence[_Point], colour: str, shape: str, size: float = 5.5) -> None:
    """Draw points as marks and the line through them; nothing where all are gaps."""
    if all(y is None for _, y, *_ in points):
        return
    ys = [np.nan if y is None else y for _, y, *_ in points]
    axis.plot([x for x, *_ in points], ys, color=colour, linewidth=1.8)
    own: dict[str, Any] = {"markersize": size, "markeredgecolor": look.PAPER, "clip_on": False}
    for x, y, gid, words in points:
        if y is not None:
            look.mark(axis.plot(x, y, shape, color=colour, **own)[0], gid, words)


def _handle(number: int) -> Line2D:
    colour, shape = _series(number)
    return Line2D([], [], color=colour, marker=shape, linewidth=1.8, markeredgecolor=look.PAPER)
