"""The classes that are most often taken for one another, for more classes than a matrix shows."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

SHOWN = 25


def confused_pairs_figure(pairs: Sequence[tuple[str, str, int, int]], title: str) -> Figure:
    """Draw the most frequent mistakes as bars.

    Args:
        pairs: class, answer, how often, and photographs of the class; the most frequent first.
            ``SHOWN`` of them are drawn.
        title: a line above.
    """
    pairs = pairs[:SHOWN]
    figure = Figure(figsize=(9.5, 1.6 + 0.28 * max(len(pairs), 3)), layout="constrained")
    axis = figure.subplots()
    axis.set_title(title, loc="left", parse_math=False)
    if not pairs:
        axis.set_axis_off()
        axis.text(0, 0.5, "No photograph was taken for another class.")
        return figure
    places = range(len(pairs))
    axis.barh(places, [count for _, _, count, _ in pairs], color="#D55E00")
    names = [f"{true[:28]}, taken for {answer[:28]}" for true, answer, _, _ in pairs]
    axis.set_yticks(places, names, parse_math=False)
    axis.invert_yaxis()
    for place, (_, _, count, images) in enumerate(pairs):
        axis.text(count, place, f" {count} of {images}", va="center", fontsize=9)
    axis.set_xlabel("photographs of the first class to which the second was the best answer")
    axis.set_xlim(0, 1.15 * max(count for _, _, count, _ in pairs))
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(axis="x", alpha=0.3)
    axis.set_axisbelow(True)
    return figure
