"""The reliability diagram: how often a network is right when it is so sure."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

Bin = tuple[float, float, int, float | None, float | None]
"""Low and high edge, photographs, mean probability and accuracy (0..1; None without any)."""


def reliability_figure(bins: Sequence[Bin], title: str) -> Figure:
    """Draw accuracy over probability, and below it how many photographs lie where.

    Args:
        bins: of equal width, from low to high.
        title: a line above.
    """
    figure = Figure(figsize=(5.6, 6.4), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.set_title(title, loc="left", parse_math=False)
    upper.plot([0, 1], [0, 1], color="black", linestyle="--", linewidth=1, label="as sure as right")
    filled = [
        (low, high, images, confidence, accuracy)
        for low, high, images, confidence, accuracy in bins
        if confidence is not None and accuracy is not None
    ]
    left = [low for low, *_ in filled]
    widths = [high - low for low, high, *_ in filled]
    style = {"align": "edge", "edgecolor": "white"}
    shares = [accuracy for *_, accuracy in filled]
    upper.bar(left, shares, widths, color="#0072B2", label="accuracy", **style)
    # The bin's own mean, not its middle: the error is measured from there.
    sure = [confidence for *_, confidence, _ in filled]
    upper.plot(sure, sure, "o", color="#D55E00", markersize=4, label="mean probability")
    upper.set(ylabel="share of right answers", xlim=(0, 1), ylim=(0, 1))
    upper.legend(loc="upper left", framealpha=0.9, edgecolor="white")
    lower.bar(left, [images for _, _, images, *_ in filled], widths, color="#0072B2", **style)
    lower.set(xlabel="probability of the best class", ylabel="photographs")
    lower.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    for axis in (upper, lower):
        axis.grid(alpha=0.3)
        axis.set_axisbelow(True)
    return figure
