from typing import cast

from matplotlib.patches import Rectangle

from mscnn.draw.class_bars import SHOWN, ClassBar, class_bars_figure


def test_recall_is_a_bar_and_precision_a_dot_with_the_least_found_on_top():
    classes: list[ClassBar] = [
        ("cat, $felis", 4, 0.75, 1.0), ("dog", 2, 0.5, None), ("fox", 8, 0.5, 0.25),
    ]  # fmt: skip
    figure = class_bars_figure(classes, "t$itle")
    figure.canvas.draw()
    (axis,) = figure.axes
    names = [label.get_text() for label in axis.get_yticklabels()]
    assert names == ["dog (2)", "fox (8)", "cat (4)"]
    assert [bar.get_width() for bar in cast("list[Rectangle]", axis.patches)] == [50, 50, 75]
    (dots,) = axis.lines
    assert dots.get_xdata().tolist() == [25, 100]  # type: ignore[union-attr]
    assert dots.get_ydata().tolist() == [1, 2]  # type: ignore[union-attr]
    assert axis.yaxis_inverted()
    assert axis.get_title(loc="left") == "t$itle"


def test_of_many_classes_the_least_found_are_drawn_and_the_title_says_so():
    classes: list[ClassBar] = [(f"c{i}", 1, i / 100, 1.0) for i in reversed(range(100))]
    (axis,) = class_bars_figure(classes, "title").axes
    assert len(axis.patches) == SHOWN
    assert axis.get_yticklabels()[0].get_text() == "c0 (1)"
    assert axis.get_title(loc="left") == f"title; the {SHOWN} least found of 100"
