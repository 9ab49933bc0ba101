"""The picture of a confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

_NAMED, _NUMBERED = 40, 14
"""Up to how many classes there is room for their names and for numbers in the cells."""


def confusion_figure(counts: npt.NDArray[np.int64], names: Sequence[str], title: str) -> Figure:
    """Draw which classes are taken for which.

    Args:
        counts: ``(classes, classes)`` int64, true class by row, answer by column.
        names: of the classes, in order.
        title: a line above.
    """
    n = len(names)
    side = float(np.clip(2.5 + 0.32 * n, 4.5, 12.0))
    figure = Figure(figsize=(side + 1.0, side), layout="constrained")
    axis = figure.subplots()
    images = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(images, 1)
    picture = axis.imshow(shares, vmin=0, vmax=1, cmap="viridis", interpolation="nearest")
    axis.set(title=title, xlabel="answer", ylabel="class")
    if n <= _NAMED:
        # A short form: names of WordNet list all their synonyms.
        short = [name.split(",")[0][:24] for name in names]
        axis.set_xticks(range(n), short, rotation=90, parse_math=False)
        axis.set_yticks(range(n), short, parse_math=False)
    if n <= _NUMBERED:
        for row, column in np.argwhere(counts > 0):
            ink = "white" if shares[row, column] < 0.6 else "black"
            text = str(counts[row, column])
            axis.text(column, row, text, ha="center", va="center", color=ink, fontsize=8)
    figure.colorbar(picture, ax=axis, label="share of the class's images", shrink=0.8)
    return figure
