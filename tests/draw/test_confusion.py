import numpy as np
import pytest

from mscnn.draw.confusion import confusion_figure


@pytest.mark.parametrize(
    ("n", "named", "numbered"), [(2, True, True), (30, True, False), (60, False, False)]
)
def test_shares_are_of_the_row_and_text_stays_where_there_is_room(n, named, numbered):
    counts = np.zeros((n, n), np.int64)
    counts[0, 0], counts[0, 1] = 3, 1  # every other class has no image at all
    figure = confusion_figure(counts, [f"thing {i}, or $x" for i in range(n)], "title")
    figure.canvas.draw()
    axis = figure.axes[0]
    drawn = axis.images[0].get_array()
    assert drawn is not None
    assert drawn[0, :2].tolist() == [0.75, 0.25]
    assert drawn.sum() == 1.0
    assert axis.images[0].get_clim() == (0, 1)
    assert [t.get_text() for t in axis.texts] == (["3", "1"] if numbered else [])
    labels = [t.get_text() for t in axis.get_yticklabels()]
    assert (labels[:1] == ["thing 0"]) == named
