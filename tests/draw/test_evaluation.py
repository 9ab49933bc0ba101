"""Charts of training and evaluation: their numbers, and any number of classes with any name."""

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from mscnn.draw import evaluation as e
from mscnn.draw.figures import png
from mscnn.results.evaluation import ClassResult, ReliabilityBin


def bars(axis):
    return [patch for patch in axis.patches if isinstance(patch, Rectangle)]


def labels(axis):
    return [label.get_text() for label in axis.get_yticklabels()]


def test_curves_are_nats_and_percent():
    history = [
        {"epoch": n, "train_loss": 3 / n, "val_loss": 4 / n, "val_top1": n / 10, "val_top5": n / 5}
        for n in (1, 2, 3)
    ]
    figure = e.training_curves(history, "net_$: top-1 30 %")
    assert png(figure)
    loss, accuracy = figure.axes
    lines = [*loss.lines, *accuracy.lines]
    drawn = {str(line.get_label()): np.ravel(line.get_ydata()).tolist() for line in lines}
    assert drawn["training"] == [3, 1.5, 1]
    assert drawn["validation"] == [4, 2, pytest.approx(4 / 3)]
    assert drawn["top-1"] == pytest.approx([10, 20, 30])
    assert drawn["top-5"] == pytest.approx([20, 40, 60])
    assert accuracy.get_ylim() == (0, 100)
    assert len(e.training_curves(history, "t", with_top5=False).axes[1].lines) == 1


def test_a_reliability_diagram_shows_filled_bins_only():
    bins = [ReliabilityBin(i / 15, (i + 1) / 15, 0, None, None) for i in range(15)]
    assert png(e.reliability_figure(bins, "t"))
    bins[9] = ReliabilityBin(0.6, 2 / 3, 3, 0.62, 2 / 3)
    upper, lower = e.reliability_figure(bins, "t").axes
    (bar,) = bars(upper)
    assert [bar.get_x(), bar.get_height()] == pytest.approx([0.6, 2 / 3])
    assert list(upper.lines[0].get_xdata()) == [0.62]  # type: ignore[arg-type]
    assert [p.get_height() for p in bars(lower)] == [3]


@pytest.mark.parametrize(
    ("n", "named", "numbered"), [(2, True, True), (30, True, False), (60, False, False)]
)
def test_fractions_are_of_the_row_and_text_stays_where_there_is_room(n, named, numbered):
    counts = np.zeros((n, n), np.int64)
    counts[0, 0], counts[0, 1] = 3, 1  # every other class has no image at all
    figure = e.confusion_figure(counts, [f"thing {i}$_猫, or x" for i in range(n)], "title")
    assert png(figure)
    axis = figure.axes[0]
    drawn = axis.images[0].get_array()
    assert drawn is not None
    assert drawn[0, :2].tolist() == [0.75, 0.25]
    assert drawn.sum() == 1.0
    assert axis.images[0].get_clim() == (0, 1)
    assert [t.get_text() for t in axis.texts] == (["3", "1"] if numbered else [])
    assert (labels(axis)[:1] == ["thing 0$_□, or x"]) == named


def test_recall_is_a_bar_and_precision_a_dot_with_the_least_found_on_top():
    classes = [
        ClassResult(0, "cat, $felis", 4, 0.75, 1.0, 3, 1.0),
        ClassResult(1, "dog", 2, 0.5, 1.0, 0, None), ClassResult(2, "fox", 8, 0.5, 1.0, 16, 0.25),
    ]  # fmt: skip
    figure = e.class_bars_figure(classes, "t$itle")
    assert png(figure)
    (axis,) = figure.axes
    assert labels(axis) == ["dog (2)", "fox (8)", "cat, $felis (4)"]
    assert [bar.get_width() for bar in bars(axis)] == [50, 50, 75]
    (dots,) = axis.lines
    assert list(dots.get_xdata()) == [25, 100]  # type: ignore[arg-type]
    assert list(dots.get_ydata()) == [1, 2]  # type: ignore[arg-type]
    assert axis.yaxis_inverted()
    assert figure.get_suptitle() == "t$itle"
    assert png(e.class_bars_figure([], "no class"))


def test_of_many_classes_the_least_found_are_drawn_and_the_title_says_so():
    classes = [ClassResult(i, f"c{i}", 1, i / 100, 1.0, 1, 1.0) for i in reversed(range(100))]
    figure = e.class_bars_figure(classes, "title")
    assert len(bars(figure.axes[0])) == e.CLASS_BARS
    assert labels(figure.axes[0])[0] == "c0 (1)"
    assert figure.get_suptitle() == f"title; the {e.CLASS_BARS} least found of 100"


def test_the_most_frequent_mistakes_are_bars_with_their_counts():
    pairs = [(f"class {i}", "b$", 30 - i, 50) for i in range(30)]
    figure = e.confused_pairs_figure(pairs, "a$title")
    assert png(figure)
    (axis,) = figure.axes
    assert [bar.get_width() for bar in bars(axis)] == list(range(30, 30 - e.CONFUSED_PAIRS, -1))
    assert axis.texts[0].get_text() == "30 of 50"
    assert labels(axis)[0] == "class 0, taken for b$"
    assert "No photograph" in e.confused_pairs_figure([], "t").axes[0].texts[0].get_text()
