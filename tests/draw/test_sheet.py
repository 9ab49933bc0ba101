"""Contact sheets: every picture where the layout says, every word inside its column."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mscnn.draw.sheet import TALLEST, Panel, contact_sheet, panel_px, picture_boxes

LONG = "res2next50_32x4d.in1k with a title that wraps over several lines, certainly here"


def noise(width: int, height: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 200, (height, width, 3), dtype=np.uint8)


def plain(width: int, height: int, colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def cut(sheet: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    return sheet[box[1] : box[3], box[0] : box[2]]


@pytest.mark.parametrize("columns", [1, 2, 3, 5])
def test_pictures_of_the_columns_width_are_copied(columns: int) -> None:
    width = panel_px(columns, 640)
    panels = [Panel(noise(width, 40 + n, n), LONG * (n % 2), "caption") for n in range(5)]
    sheet = contact_sheet(panels, columns=columns, width_px=640)
    boxes = picture_boxes(panels, columns=columns, width_px=640)
    assert sheet.shape[1] == 640
    for panel, box in zip(panels, boxes, strict=True):
        np.testing.assert_array_equal(cut(sheet, box), panel.picture)


@pytest.mark.parametrize(
    ("width", "height"), [(10, 10), (2000, 1000), (50, 75), (100, 900), (1, 3000), (3000, 1)]
)
def test_pictures_of_any_size_keep_their_proportions(width: int, height: int) -> None:
    panels = [Panel(plain(width, height, (0, 90, 0)), "one"), Panel(plain(9, 9, (90, 0, 0)), "two")]
    boxes = picture_boxes(panels, columns=2, width_px=500)
    sheet = contact_sheet(panels, columns=2, width_px=500)
    column = panel_px(2, 500)
    left, top, right, bottom = boxes[0]
    ratio = min(height / width, 1000.0)
    if min(right - left, bottom - top) > 1:
        assert (bottom - top) / (right - left) == pytest.approx(ratio, rel=0.02)
    assert right - left == column or bottom - top == round(TALLEST * column)
    assert (cut(sheet, boxes[0]) == (0, 90, 0)).all()
    assert (cut(sheet, boxes[1]) == (90, 0, 0)).all()
    assert (sheet == (0, 90, 0)).all(axis=-1).sum() == (right - left) * (bottom - top)


def test_rows_share_their_upper_edge_and_columns_their_left() -> None:
    panels = [Panel(noise(40, 30, n), LONG if n == 1 else "short") for n in range(6)]
    boxes = picture_boxes(panels, columns=3, width_px=700)
    assert {box[1] for box in boxes[:3]} == {boxes[0][1]}
    assert {box[1] for box in boxes[3:]} == {boxes[3][1]}
    assert [box[0] for box in boxes[:3]] == [box[0] for box in boxes[3:]]
    assert boxes[3][1] > boxes[0][3]
    gaps = [right[0] - left[2] for left, right in itertools.pairwise(boxes[:3])]
    assert len(set(gaps)) == 1
    assert gaps[0] > 0


@pytest.mark.parametrize(("columns", "width_px"), [(1, 320), (3, 640), (4, 320)])
def test_text_stays_in_its_column(columns: int, width_px: int) -> None:
    panels = [Panel(plain(30, 20, (255, 255, 255)), LONG, LONG + "_" + "x" * 90)] * 5
    sheet = contact_sheet(panels, columns=columns, width_px=width_px)
    column = panel_px(columns, width_px)
    # Only text has ink here: the pictures are as white as the paper.
    ink = np.asarray((sheet < 255).any(axis=-1))
    allowed = np.zeros(width_px, bool)
    for left, _, right, _ in picture_boxes(panels[:columns], columns=columns, width_px=width_px):
        assert right - left == column
        assert ink[:, left:right].any()
        allowed[left - 3 : right + 3] = True  # a letter may overhang a little
    assert not ink[:, ~allowed].any()
    assert not ink[:3].any()
    assert not ink[-3:].any()


def test_text_does_not_cover_a_picture() -> None:
    panels = [Panel(plain(90, 70, (0, 200, 0)), LONG, LONG) for _ in range(4)]
    sheet = contact_sheet(panels, columns=2, width_px=400)
    for box in picture_boxes(panels, columns=2, width_px=400):
        assert (cut(sheet, box) == (0, 200, 0)).all()


def test_a_row_that_is_not_full_leaves_paper() -> None:
    panels = [Panel(plain(9, 9, (0, 0, 90)), "") for _ in range(3)]
    sheet = contact_sheet(panels, columns=2, width_px=400)
    box = picture_boxes(panels, columns=2, width_px=400)[2]
    assert (sheet[box[1] : box[3], 200:] == 255).all()


@pytest.mark.parametrize(
    ("panels", "columns", "width_px", "match"),
    [
        ([], 2, 400, "at least one panel"),
        ([Panel(plain(9, 9, (0, 0, 0)), "")], 0, 400, "at least one column"),
        ([Panel(plain(9, 9, (0, 0, 0)), "")], 6, 400, "at least 64 px"),
        ([Panel(np.zeros((9, 9), np.uint8), "")], 1, 400, "uint8"),
        ([Panel(np.zeros((9, 0, 3), np.uint8), "")], 1, 400, "uint8"),
        ([Panel(np.zeros((9, 9, 3), np.float32), "")], 1, 400, "uint8"),
    ],
    ids=["none", "no column", "too many columns", "grey", "empty", "float"],
)
def test_what_cannot_be_laid_out_is_refused(panels, columns, width_px, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        contact_sheet(panels, columns=columns, width_px=width_px)
