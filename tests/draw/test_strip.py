"""The strip of splits: the pictures are overlays on one scale, the paths have the right boxes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mscnn.draw.overlay import overlay
from mscnn.draw.sheet import panel_px
from mscnn.draw.strip import SplitPanel, path_diagram, split_strip, strip_boxes
from mscnn.errors import OptionError

INK = (32, 33, 36)
PLAIN, WIDER = (236, 238, 241), (255, 221, 170)
LONG = "a caption that is far too long for its column, by a_name_without_any_space_" + "x" * 40


def noise(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(width).integers(0, 200, (height, width, 3), dtype=np.uint8)


def ramp(width: int, height: int, top: float) -> np.ndarray:
    return np.tile(np.linspace(0, top, width, dtype=np.float32), (height, 1))


def panels(count: int, width: int, height: int, **words: str) -> list[SplitPanel]:
    return [
        SplitPanel(
            ramp(width, height, 1.0 + n),
            words.get("title", f"split {n}"),
            words.get("caption", "sees 27 px"),
            ("1x1", *["3x3"] * n),
        )
        for n in range(count)
    ]


def cut(picture: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    return picture[box[1] : box[3], box[0] : box[2]]


@pytest.mark.parametrize("title", ["", "layer2.1", LONG])
@pytest.mark.parametrize("columns", [2, 3, 4])
def test_each_picture_is_the_overlay_on_the_shared_scale(columns: int, title: str) -> None:
    width = panel_px(columns, 800)
    photo, own = noise(width, 60), panels(5, width, 60)
    drawn = split_strip(
        photo, own, vmax=4.0, unit="evidence", title=title, width_px=800, columns=columns
    )
    assert drawn.shape[1:] == (800, 3)
    places = strip_boxes(photo, own, title=title, width_px=800, columns=columns)
    for panel, box in zip(own, places, strict=True):
        expected = overlay(photo, panel.heat, vmax=4.0, opacity=0.65)
        np.testing.assert_array_equal(cut(drawn, box), expected)
    rows = [box[1] for box in places]
    assert rows[:columns] == [rows[0]] * columns
    assert rows[columns] >= places[0][3]


def test_one_value_has_one_colour_in_all_panels() -> None:
    photo = np.full((50, 80, 3), 90, np.uint8)
    heats = [np.full((50, 80), value, np.float32) for value in (1.0, 2.0, 1.0, 0.0)]
    own = [SplitPanel(heat, "t", "c", ()) for heat in heats]
    drawn = split_strip(photo, own, vmax=2.0, unit="u", cmap="viridis", opacity=1.0)
    first, second, third, last = (cut(drawn, box)[10, 10] for box in strip_boxes(photo, own))
    np.testing.assert_array_equal(first, third)
    np.testing.assert_array_equal(second, (253, 231, 36))  # the top of viridis
    np.testing.assert_array_equal(last, (90, 90, 90))
    assert (first != second).any()


@pytest.mark.parametrize(
    ("count", "rows"), [(1, [1]), (2, [2]), (4, [4]), (5, [3, 2]), (6, [3, 3]), (8, [4, 4])]
)
def test_rows_are_chosen_by_the_number_of_splits(count: int, rows: list[int]) -> None:
    photo = noise(90, 60)
    places = strip_boxes(photo, panels(count, 90, 60))
    found = [len(list(row)) for _, row in itertools.groupby(places, key=lambda box: box[1])]
    assert found == rows
    widths = {box[2] - box[0] for box in places}
    assert len(widths) == 1
    assert max(widths) <= 480  # a single split is not blown up
    for box in places:
        assert (box[3] - box[1]) / (box[2] - box[0]) == pytest.approx(60 / 90, abs=0.01)
    # Centred.
    assert places[0][0] == pytest.approx(1200 - places[rows[0] - 1][2], abs=1)


def test_words_stand_below_their_pictures(find_words) -> None:
    photo = noise(90, 60)
    own = panels(4, 90, 60)
    drawn = split_strip(photo, own, vmax=3.0, unit="evidence per area")
    places = strip_boxes(photo, own)
    for number, box in enumerate(places):
        (title,) = find_words(drawn, f"split {number}", 16, bold=True)
        assert abs(title[0] - box[0]) < 4
        assert 0 < title[1] - box[3] < 30
        caption = find_words(drawn, "sees 27 px", 16, colour=(88, 92, 98))[number]
        assert caption[1] > title[3] - 2
    assert find_words(drawn, "evidence per area", 20, colour=(88, 92, 98))


@pytest.mark.parametrize(("columns", "width"), [(2, 640), (1, 320), (4, 1200), (None, 1200)])
def test_long_words_stay_in_their_columns(columns: int | None, width: int) -> None:
    photo = np.full((40, 60, 3), 255, np.uint8)
    own = [SplitPanel(np.zeros((40, 60), np.float32), LONG, LONG, ("1x1", *["3x3"] * 7))] * 8
    drawn = split_strip(photo, own, vmax=0.0, unit="", width_px=width, columns=columns)
    places = strip_boxes(photo, own, width_px=width, columns=columns)
    sheet = drawn[: places[-1][3]]
    allowed = np.zeros(width, bool)
    for left, _, right, _ in places:
        allowed[left - 3 : right + 3] = True
    assert (sheet[:, ~allowed] == 255).all()
    for one, other in itertools.combinations(places, 2):
        apart = one[2] <= other[0] or one[3] <= other[1] or other[2] <= one[0]
        assert apart


def test_what_is_given_stays_as_it_is_and_bad_options_are_refused() -> None:
    photo = noise(90, 60)
    before = photo.copy()
    own = panels(2, 90, 60)
    first = split_strip(photo, own, vmax=1.0, unit="u", crop=(5, 5, 80, 50))
    np.testing.assert_array_equal(
        first, split_strip(photo, own, vmax=1.0, unit="u", crop=(5, 5, 80, 50))
    )
    np.testing.assert_array_equal(photo, before)
    with pytest.raises(ValueError, match="at least one panel"):
        split_strip(photo, [], vmax=1.0, unit="u")
    with pytest.raises(OptionError, match="opacity"):
        split_strip(photo, own, vmax=1.0, unit="u", opacity=2)
    with pytest.raises(ValueError, match="must be equal"):
        split_strip(photo, panels(2, 80, 60), vmax=1.0, unit="u")


# --- paths -----------------------------------------------------------------------------------


def filled(picture: np.ndarray, colour: tuple[int, int, int]) -> int:
    """Return how many separate boxes have this colour, counted row by row of boxes."""
    mask = (picture == colour).all(axis=-1)
    rows = mask.any(axis=1)
    count = 0
    for inside, run in itertools.groupby(range(len(rows)), key=lambda y: bool(rows[y])):
        if not inside:
            continue
        # The row just below a box's upper edge has no letters.
        line = mask[list(run)[1]]
        count += int((np.diff(line.astype(int), prepend=0) == 1).sum())
    return count


@pytest.mark.parametrize("threes", [0, 1, 2, 3, 7])
@pytest.mark.parametrize("width", [150, 275, 600])
def test_there_is_one_box_per_operation(threes: int, width: int) -> None:
    drawn = path_diagram(("1x1", *["3x3"] * threes), width_px=width)
    assert drawn.shape[1:] == (width, 3)
    assert filled(drawn, PLAIN) == 1
    assert filled(drawn, WIDER) == threes
    for edge in (drawn[0], drawn[-1], drawn[:, 0], drawn[:, -1]):
        assert (edge == 255).all()


def test_an_average_is_dashed(find_words) -> None:
    convolution = path_diagram(("3x3",), width_px=200)
    average = path_diagram(("pool",), width_px=200)
    assert filled(average, WIDER) == filled(average, PLAIN) == 0
    assert find_words(average, "pool", 12) or find_words(average, "pool", 13)

    def upper_edge(drawn: np.ndarray) -> int:
        """Return into how many pieces the upper edge of the box falls."""
        dark = (drawn[:5].min(axis=(0, 2)) < 170).astype(int)
        return int((np.diff(dark, prepend=0) == 1).sum())

    assert upper_edge(convolution) == 1
    assert upper_edge(average) > 4


def test_no_operation_is_said() -> None:
    assert (path_diagram((), width_px=200) < 100).any()


@pytest.mark.parametrize("height", [12, 20, 30, 80])
@pytest.mark.parametrize("width", [60, 120, 400])
def test_a_given_height_is_kept(height: int, width: int) -> None:
    drawn = path_diagram(("1x1", "3x3", "3x3"), width_px=width, height_px=height)
    assert drawn.shape == (height, width, 3)


def test_boxes_shrink_to_fit() -> None:
    path = ("1x1", "3x3", "3x3", "3x3")
    needed = len(path_diagram(path, width_px=150))
    drawn = path_diagram(path, width_px=150, height_px=needed - 8)
    assert filled(drawn, WIDER) == 3
    assert (drawn[-1] == 255).all()


@pytest.mark.parametrize("size", [(0, None), (100, 0)])
def test_a_path_needs_pixels(size: tuple[int, int | None]) -> None:
    with pytest.raises(ValueError, match="cannot hold"):
        path_diagram(("1x1",), width_px=size[0], height_px=size[1])
