"""The picture of a study: six small charts, each with its 95 % confidence bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mscnn.results.explanation import RgbArray

# Okabe and Ito's colours, told apart with any kind of colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
SETTING_WORDS = {
    "mean": "plain canvas",
    "blur": "blurred canvas",
    "noise": "noise canvas",
    "shuffled": "pixels shuffled (control)",
}
Rows = Sequence[Mapping[str, Any]]


def study_figure(document: Mapping[str, Any]) -> RgbArray:
    """Draw the document of a ``mscnn.results.study.Study``.

    Shown are the first model that has splits, in its last block with a hierarchy of which shares
    are known, and the probability of all models.

    Returns:
        ``(900, 1500, 3)`` uint8 RGB.
    """
    figure = Figure(figsize=(15, 9), dpi=100, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 3)
    factors = document["factors"]
    scaled = next((m for m in document["models"] if m["changes"]), None)
    figure.suptitle(
        f"{document['photos']} photographs shown at {len(factors)} sizes; "
        "bands and bars: 95 % confidence intervals over photographs",
        fontsize=14,
    )
    _probability(axes[0, 0], document)
    if scaled is None:
        for axis in axes.ravel()[1:]:
            axis.set_axis_off()
        axes[0, 1].text(0, 0.9, "None of these models has blocks with several splits.", va="top")
    else:
        blocks = list(next(iter(scaled["shares"].values())))
        _weighted_rf(axes[0, 1], scaled, factors)
        _changes(axes[0, 2], scaled, document["compared"])
        _split_shares(axes[1, 0], scaled, factors, blocks[-1], -1, "untouched split")
        _split_shares(axes[1, 1], scaled, factors, blocks[-1], -2, "split that sees most")
        _fields(axes[1, 2], scaled)
    figure.canvas.draw()
    canvas: Any = figure.canvas
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _band(
    axis: Axes, x: Sequence[float], rows: Rows, label: str, colour: str, **style: Any
) -> None:
    mean, low, high = (
        [np.nan if row[key] is None else row[key] for row in rows]
        for key in ("mean", "low", "high")
    )
    axis.plot(x, mean, color=colour, label=label, marker="o", markersize=4, **style)
    axis.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)


def _by_size(axis: Axes, factors: Sequence[float], title: str, y_label: str) -> None:
    axis.set_xscale("log")
    axis.set_xlim(max(factors) * 1.05, min(factors) / 1.05)
    ticks = [f for f in (2, 1, 0.5, 0.25) if min(factors) <= f <= max(factors)]
    axis.set_xticks(ticks, [f"{tick:g}x" for tick in ticks])
    axis.minorticks_off()
    axis.set_xlabel("size of the photograph over the network's input (smaller to the right)")
    axis.set_ylabel(y_label)
    axis.set_title(title, fontsize=12, loc="left")
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, fontsize=10)


def _probability(axis: Axes, document: Mapping[str, Any]) -> None:
    for model, colour in zip(document["models"], COLOURS, strict=False):
        for setting, style in (("mean", "-"), ("blur", ":")):
            if setting in model["probability"]:
                label = f"{model['model']}, {SETTING_WORDS[setting]}"
                _band(
                    axis, document["factors"], model["probability"][setting], label, colour,
                    linestyle=style,
                )  # fmt: skip
    axis.set_ylim(0, None)
    _by_size(axis, document["factors"], "Probability of the right class", "mean probability")


def _weighted_rf(axis: Axes, model: Mapping[str, Any], factors: Sequence[float]) -> None:
    for (setting, rows), colour in zip(model["weighted_rf_px"].items(), COLOURS, strict=False):
        _band(axis, factors, rows, SETTING_WORDS.get(setting, setting), colour)
    title = f"{model['model']}: evidence-weighted receptive field"
    _by_size(axis, factors, title, "px of the network's input")


def _split_shares(
    axis: Axes, model: Mapping[str, Any], factors: Sequence[float], block: str, split: int,
    words: str,
) -> None:  # fmt: skip
    for (setting, blocks), colour in zip(model["shares"].items(), COLOURS, strict=False):
        rows = [at_factor[split] for at_factor in blocks[block]]
        _band(axis, factors, rows, SETTING_WORDS.get(setting, setting), colour)
    axis.set_ylim(0, None)
    _by_size(axis, factors, f"{block}: the {words}", "share of the block's evidence")


def _changes(axis: Axes, model: Mapping[str, Any], compared: Mapping[str, float]) -> None:
    """The untouched split's change in every block, side by side for every setting."""
    settings = list(model["shares"])
    last = max(change["split"] for change in model["changes"])
    untouched = [c for c in model["changes"] if c["split"] == last]
    blocks = list(dict.fromkeys(c["block"] for c in untouched))
    for s, (setting, colour) in enumerate(zip(settings, COLOURS, strict=False)):
        rows = [c["change"] for c in untouched if c["setting"] == setting]
        x = np.arange(len(rows)) + (s - (len(settings) - 1) / 2) * 0.16
        _bars(axis, x, rows, SETTING_WORDS.get(setting, setting), colour)
    axis.axhline(0, color="black", linewidth=0.8)
    axis.set_xticks(range(len(blocks)), blocks, rotation=30)
    axis.set_ylabel("change of its share")
    axis.set_title(
        f"Untouched split, from {compared['large']:g}x to {compared['small']:g}x",
        fontsize=12, loc="left",
    )  # fmt: skip
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, fontsize=10)


def _fields(axis: Axes, model: Mapping[str, Any]) -> None:
    rows = model["effective_fields"]
    for k, (name, colour) in enumerate((("trained", COLOURS[0]), ("random", COLOURS[1]))):
        x = np.arange(len(rows)) + (k - 0.5) * 0.25
        label = "trained" if name == "trained" else "random weights"
        _bars(axis, x, [row["half_side_px"][name] for row in rows], label, colour)
    names = [f"{row['block'].removeprefix('layer')}/{row['split']}" for row in rows]
    axis.set_xticks(range(len(rows)), names, rotation=90, fontsize=8)
    axis.set_xlabel("stage.block/split, timm's order")
    axis.set_ylabel("side of the square, px")
    axis.set_title("Square that holds half of the gradient", fontsize=12, loc="left")
    axis.set_ylim(0, None)
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, fontsize=10)


def _bars(axis: Axes, x: Any, rows: Rows, label: str, colour: str) -> None:
    known = [(at, row) for at, row in zip(x, rows, strict=True) if row["mean"] is not None]
    mean = np.array([row["mean"] for _, row in known], dtype=float)
    reach = np.array(
        [0.0 if row["high"] is None else row["high"] - row["mean"] for _, row in known], dtype=float
    )
    axis.errorbar(
        [at for at, _ in known], mean, yerr=reach, fmt="o", color=colour, label=label, markersize=4,
        capsize=2,
    )  # fmt: skip
