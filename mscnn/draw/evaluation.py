"""Charts of training, evaluation and studies, for files; all return a figure."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mscnn.draw import figures as look
from mscnn.draw.charts import size_axis
from mscnn.models.labels import short
from mscnn.results.evaluation import ClassResult, ReliabilityBin

CLASS_BARS, CONFUSED_PAIRS = 40, 25
"""So many classes and pairs are drawn at most."""
SETTING_WORDS = {
    "mean": "plain canvas",
    "blur": "blurred canvas",
    "noise": "noise canvas",
    "shuffled": "pixels shuffled (control)",
}
_NAMED, _NUMBERED = 40, 14  # so many classes leave room for their names, and for numbers in cells
_TILTED, _UPRIGHT = 12, 36  # so many names have room below a chart of a study


def training_curves(
    history: Sequence[Mapping[str, float]], title: str, *, with_top5: bool = True
) -> Figure:
    """Draw loss and accuracy per epoch, side by side.

    ``history`` has per epoch ``epoch`` (1-based), ``train_loss``, ``val_loss`` (nats), ``val_top1``
    and ``val_top5`` (0..1), which is 1 where there are five classes or fewer.
    """
    figure = look.new_figure(760, 300, title)
    top5 = [("val_top5", "top-5")] if with_top5 else []
    panels = (
        ("Loss, nats", 1, [("train_loss", "training"), ("val_loss", "validation")]),
        ("Validation accuracy, %", 100, [("val_top1", "top-1"), *top5]),
    )
    axes = figure.subplots(1, 2)
    for axis, (words, factor, series) in zip(axes, panels, strict=True):
        look.style(axis, title=words, x="epoch", grid="both")
        for (key, label), colour, shape in zip(series, look.SERIES, look.SHAPES, strict=False):
            x, y = [row["epoch"] for row in history], [factor * row[key] for row in history]
            axis.plot(x, y, label=label, color=colour, marker=shape, markersize=3.5)
        look.axis_legend(axis)
        axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes[1].set_ylim(0, 100)
    return figure


def reliability_figure(bins: Sequence[ReliabilityBin], title: str) -> Figure:
    """Draw accuracy over probability, and how many photographs lie in each of equal bins."""
    figure = look.new_figure(430, 470, title)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    filled = [one for one in bins if one.confidence is not None and one.accuracy is not None]
    left, widths = [one.low for one in filled], [one.high - one.low for one in filled]
    own: dict[str, Any] = {"align": "edge", "edgecolor": "white", "color": look.SERIES[0]}
    bars = upper.bar(left, [one.accuracy or 0.0 for one in filled], widths, **own)
    # The bin's own mean, not its middle: the calibration error is measured from there.
    sure = [one.confidence or 0.0 for one in filled]
    (dots,) = upper.plot(sure, sure, "o", color=look.SERIES[1], markersize=4.5)
    (even,) = upper.plot([0, 1], [0, 1], color=look.SOFT, linestyle="--", linewidth=1)
    look.style(upper, title="Fraction of right predictions", grid="both")
    upper.set(xlim=(0, 1), ylim=(0, 1))
    lower.bar(left, [one.images for one in filled], widths, **own)
    look.style(lower, title="Photographs", x="probability of the top-1 prediction")
    lower.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    handles = [even, dots, *([bars] if filled else [])]
    names = ("as sure as right", "mean probability", "accuracy")
    look.legend(figure, handles, names[: len(handles)], ncols=3)
    return figure


def confusion_figure(counts: npt.NDArray[np.int64], names: Sequence[str], title: str) -> Figure:
    """Draw ``(classes, classes)`` int64 counts, true class by row, prediction by column."""
    n = len(names)
    side = float(np.clip(180 + 23 * n, 340, 860))
    figure = look.new_figure(side + 80, side, title)
    axis = figure.subplots()
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    picture = axis.imshow(fractions, vmin=0, vmax=1, cmap="viridis", interpolation="nearest")
    look.style(axis, x="prediction", y="class", grid="")
    if n <= _NAMED:
        shown = [_short(name, 24) for name in names]
        axis.set_xticks(range(n), shown, rotation=90, parse_math=False)
        axis.set_yticks(range(n), shown, parse_math=False)
    if n <= _NUMBERED:
        for row, column in np.argwhere(counts > 0):
            ink = "white" if fractions[row, column] < 0.45 else "black"  # 4.5 : 1 or nearly
            words = str(counts[row, column])
            axis.text(column, row, words, ha="center", va="center", color=ink, fontsize=look.SMALL)
    bar = figure.colorbar(picture, ax=axis, shrink=0.8)
    look.style(bar.ax, y="fraction of the class's images", grid="")
    return figure


def class_bars_figure(classes: Sequence[ClassResult], title: str) -> Figure:
    """Draw recall and precision per class that has images, the least found ``CLASS_BARS``."""
    worst = sorted(classes, key=lambda row: (row.top1, row.precision or 0.0))[:CLASS_BARS]
    some = f"; the {CLASS_BARS} least found of {len(classes)}" if len(classes) > CLASS_BARS else ""
    figure = look.new_figure(540, 70 + 20 * max(len(worst), 3), title + some)
    axis = figure.subplots()
    names = [f"{_short(row.label, 28)} ({row.images})" for row in worst]
    bars = _rows(axis, [100 * row.top1 for row in worst], names, look.SERIES[0])
    called = [(100 * r.precision, n) for n, r in enumerate(worst) if r.precision is not None]
    own: dict[str, Any] = {"color": look.SERIES[4], "markeredgecolor": look.INK}
    (dots,) = axis.plot(*np.reshape(called, (-1, 2)).T, "o", markersize=5.5, **own)
    look.style(axis, x="%", y="class (images)", grid="x")
    axis.set_xlim(0, 102)
    words = ["precision: predictions that are right", "recall: images that are found"]
    look.legend(figure, [dots, *([bars] if worst else [])], words[: 1 + bool(worst)], ncols=2)
    return figure


def confused_pairs_figure(pairs: Sequence[tuple[str, str, int, int]], title: str) -> Figure:
    """Draw the most frequent mistakes as bars, ``CONFUSED_PAIRS`` of them.

    ``pairs`` are class, prediction, how often, and photographs of the class; most frequent first.
    """
    pairs = pairs[:CONFUSED_PAIRS]
    figure = look.new_figure(680, 50 + 20 * max(len(pairs), 3), title)
    axis = figure.subplots()
    if not pairs:
        axis.set_axis_off()
        look.note(axis, "No photograph was taken for another class.", (0, 0.5))
        return figure
    counts = [count for _, _, count, _ in pairs]
    names = [look.drawable(f"{true[:28]}, taken for {found[:28]}") for true, found, _, _ in pairs]
    _rows(axis, counts, names, look.SERIES[1])
    words = "photographs of the first class whose top-1 prediction was the second"
    look.style(axis, x=words, grid="x")
    for row, (_, _, count, images) in enumerate(pairs):
        look.note(axis, f"{count} of {images}", (count, row), xytext=(4, 0), va="center")
    axis.set_xlim(0, 1.15 * max(counts))
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _rows(axis: Axes, widths: Sequence[float], names: Sequence[str], colour: str) -> Any:
    bars = axis.barh(range(len(widths)), widths, 0.72, color=colour)
    axis.set_yticks(range(len(widths)), names, parse_math=False)
    axis.invert_yaxis()
    return bars


def _short(name: str, most: int) -> str:
    """Return a short form: names of ImageNet list all their synonyms."""
    return look.drawable(short(name)[:most])


def study_figure(document: Mapping[str, Any]) -> Figure:
    """Draw a study's document: six charts with their 95 % confidence intervals.

    Shown are the probability of all models and, of the first model that has splits, its
    evidence-weighted receptive field, its splits' fractions and changes, and its effective fields.
    """
    factors = document["factors"]
    scaled = next((m for m in document["models"] if m["changes"]), None)
    title = (
        f"{document['photos']} photographs shown at {len(factors)} sizes; "
        "bands and bars: 95 % confidence intervals over photographs"
    )
    figure = look.new_figure(1080, 640, title)
    axes = figure.subplots(2, 3)
    lines = [
        (f"{look.model_title(model['model'])}, {SETTING_WORDS[setting]}", rows, colour, line)
        for model, colour in zip(document["models"], itertools.cycle(look.SERIES), strict=False)
        for setting, line in (("mean", "-"), ("blur", ":"))
        if (rows := model["probability"].get(setting))
    ]
    _bands(axes[0, 0], lines, factors, "Mean probability of the class")
    axes[0, 0].set_ylim(0, None)
    if scaled is None:
        for axis in axes.ravel()[1:]:
            axis.set_axis_off()
        look.note(axes[0, 1], "None of these models has blocks with several splits.", (0, 0.9))
        return figure
    words = "evidence-weighted receptive field, px of the input"
    found = _by_setting(scaled["weighted_rf_px"].items())
    _bands(axes[0, 1], found, factors, f"{look.model_title(scaled['model'])}: {words}")
    _changes(axes[0, 2], scaled, document["compared"])
    block = list(next(iter(scaled["shares"].values())))[-1]
    named = ((-1, "the untouched split"), (-2, "the split that sees most"))
    for axis, (split, words) in zip(axes[1], named, strict=False):
        of_split = ((s, [row[split] for row in own[block]]) for s, own in scaled["shares"].items())
        title = f"{look.place(block)}: evidence of {words} (fraction)"
        _bands(axis, _by_setting(of_split), factors, title)
        axis.set_ylim(0, None)
    _fields(axes[1, 2], scaled)
    return figure


def cuts_figure(document: Mapping[str, Any]) -> Figure:
    """Draw what cuts showed of each model of a study's document: needed fields, caps, splits."""
    figure = look.new_figure(1080, 440, "Cuts; bars: 95 % confidence intervals over photographs")
    need, cap, split = figure.subplots(1, 3)
    for model, colour in zip(document["models"], itertools.cycle(look.SERIES), strict=False):
        rows, name = defaultdict(list), look.drawable(look.model_title(model["model"]))
        for row in model["cuts"]:
            rows[row["quantity"]].append(row)
        sizes = [row["factor"] for row in rows["needed_px"]]
        limits = [row["limit_px"] for row in rows["probability"]]
        _intervals(need, sizes, rows["needed_px"], name, colour, "o-")
        _intervals(cap, limits, rows["probability"], name, colour, "o-")
        _intervals(cap, limits, rows["control_probability"], f"{name}, at random", colour, "o:")
        if rows["share"]:
            shares = [row["mean"] for row in rows["share"]]
            _intervals(split, shares, rows["logit_fall"], name, colour)
    words = "size of the photo over the input (smaller to the right)"
    look.style(need, title="Receptive field needed by those known uncut, px", x=words)
    size_axis(need, sizes)
    words = "no part sees more than this, px of the input"
    look.style(cap, title="Mean probability of the class, capped", x=words)
    cap.set_xscale("log", base=2)
    cap.xaxis.set_major_formatter("{x:.0f}")
    look.style(split, title="What the logit loses without a split", x="its share of the evidence")
    look.legend(figure, *cap.get_legend_handles_labels(), ncols=4)
    return figure


_Band = tuple[str, Sequence[Mapping[str, Any]], str, str]  # label, intervals, colour, line


def _by_setting(found: Iterable[tuple[str, Any]]) -> list[_Band]:
    return [
        (SETTING_WORDS.get(setting, setting), rows, colour, "-")
        for (setting, rows), colour in zip(found, look.SERIES, strict=False)
    ]


def _bands(axis: Axes, bands: Sequence[_Band], factors: Sequence[float], title: str) -> None:
    for label, rows, colour, line in bands:
        mean, low, high = (
            [np.nan if row[key] is None else row[key] for row in rows]
            for key in ("mean", "low", "high")
        )
        own: dict[str, Any] = {"color": colour, "marker": "o", "markersize": 3.5}
        axis.plot(factors, mean, line, label=look.drawable(label), **own)
        axis.fill_between(factors, low, high, color=colour, alpha=0.18, linewidth=0)
    look.style(axis, title=title, x="size of the photo over the input (smaller to the right)")
    size_axis(axis, factors)
    look.axis_legend(axis)


def _changes(axis: Axes, model: Mapping[str, Any], compared: Mapping[str, float]) -> None:
    """Draw the untouched split's change in each block that has one, setting by setting."""
    settings, fields = list(model["shares"]), defaultdict(set)
    for change in model["changes"]:
        fields[change["block"]].add(change["rf_max_px"])
    last = max(change["split"] for change in model["changes"])
    # Where all splits see the same, as in the first block of a stage, the last one is pooled.
    several = {block for block, sizes in fields.items() if len(sizes) > 1}
    untouched = [c for c in model["changes"] if c["split"] == last and c["block"] in several]
    blocks = list(dict.fromkeys(c["block"] for c in untouched))
    for s, (setting, colour) in enumerate(zip(settings, look.SERIES, strict=False)):
        rows = [c["change"] for c in untouched if c["setting"] == setting]
        x = np.arange(len(rows)) + (s - (len(settings) - 1) / 2) * 0.16
        _intervals(axis, x, rows, SETTING_WORDS.get(setting, setting), colour)
    axis.axhline(0, color=look.SOFT, linewidth=0.8)
    large, small = (f"{compared[name]:g}\N{MULTIPLICATION SIGN}" for name in ("large", "small"))
    look.style(axis, title=f"Change of the untouched split's fraction, from {large} to {small}")
    step = -(-len(blocks) // _TILTED) or 1
    axis.set_xticks(range(0, len(blocks), step), blocks[::step], rotation=30)
    look.axis_legend(axis)


def _fields(axis: Axes, model: Mapping[str, Any]) -> None:
    rows = model["effective_fields"]
    for k, (name, label) in enumerate((("trained", "trained"), ("random", "random weights"))):
        x = np.arange(len(rows)) + (k - 0.5) * 0.25
        _intervals(axis, x, [row["half_side_px"][name] for row in rows], label, look.SERIES[k])
    title = "Side of the square that holds half of the gradient, px"
    look.style(axis, title=title, x="stage.block/split, timm's order")
    names = [f"{row['block'].removeprefix('layer')}/{row['split']}" for row in rows]
    step = -(-len(rows) // _UPRIGHT) or 1  # of a deep network every fourth: one split of each block
    axis.set_xticks(range(0, len(rows), step), names[::step], rotation=90, fontsize=8)
    axis.set_ylim(0, None)
    look.axis_legend(axis)


def _intervals(
    axis: Axes, x: Any, rows: Sequence[Mapping[str, Any]], label: str, colour: str, fmt: str = "o"
) -> None:
    known = [
        (at, row["mean"], 0.0 if row["high"] is None else row["high"] - row["mean"])
        for at, row in zip(x, rows, strict=True)
        if row["mean"] is not None
    ]
    at, mean, reach = np.reshape(known, (-1, 3)).T
    own: dict[str, Any] = {"color": colour, "ecolor": colour, "markersize": 4, "capsize": 2}
    axis.errorbar(at, mean, yerr=reach, fmt=fmt, label=label, **own)
