"""How each class fared, as bars: of its images how many are found, of its answers how many hold."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

SHOWN = 40
ClassBar = tuple[str, int, float, float | None]
"""Name, images (1 or more), recall and precision (0..1; None where it never was the answer)."""


def class_bars_figure(classes: Sequence[ClassBar], title: str) -> Figure:
    """Draw recall and precision per class, the least found first.

    Args:
        classes: those that have images, in any order; ``SHOWN`` of them are drawn.
        title: a line above.
    """
    worst = sorted(classes, key=lambda row: (row[2], row[3] or 0.0))[:SHOWN]
    figure = Figure(figsize=(7.5, 1.7 + 0.3 * max(len(worst), 3)), layout="constrained")
    axis = figure.subplots()
    more = f"; the {SHOWN} least found of {len(classes)}" if len(classes) > SHOWN else ""
    axis.set_title(title + more, loc="left", parse_math=False, fontsize=11)
    places = range(len(worst))
    axis.barh(
        places,
        [100 * row[2] for row in worst],
        color="#0072B2",
        label="recall: images that are found",
    )
    called = [(100 * row[3], place) for place, row in zip(places, worst, strict=True)
              if row[3] is not None]  # fmt: skip
    axis.plot(
        [share for share, _ in called], [place for _, place in called], "o", color="#E69F00",
        markeredgecolor="black", markersize=5, linestyle="none",
        label="precision: answers that are right",
    )  # fmt: skip
    # A short form: names of WordNet list all their synonyms.
    names = [f"{row[0].split(',')[0][:28]} ({row[1]})" for row in worst]
    axis.set_yticks(places, names, parse_math=False)
    axis.invert_yaxis()
    axis.set(xlim=(0, 102), xlabel="%", ylabel="class (images)")
    axis.grid(axis="x", alpha=0.3)
    axis.set_axisbelow(True)
    figure.legend(loc="outside lower right", ncols=2, frameon=False)
    return figure
