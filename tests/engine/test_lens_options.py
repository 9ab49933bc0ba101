"""Boxes and sizes as people type them."""

import itertools

import pytest

from mscnn.engine.lens_options import parse_box, parse_sizes
from mscnn.errors import BoxError, OptionError
from mscnn.scales.sweep import FACTORS


@pytest.mark.parametrize(("text", "box"), [
    ("", None), ("  ", None), ("25,10,75,90", (0.25, 0.1, 0.75, 0.9)),
    ("0.25, 0.1, 0.75, 0.9", (0.25, 0.1, 0.75, 0.9)), ("0,0,1,1", (0.0, 0.0, 1.0, 1.0)),
    ("0,0,100,100", (0.0, 0.0, 1.0, 1.0)), ("0%,0%,1%,1%", (0.0, 0.0, 0.01, 0.01)),
    ("0.5,0.5,1.5,50", (0.005, 0.005, 0.015, 0.5)), ("[25, 10, 75, 90]", (0.25, 0.1, 0.75, 0.9)),
])  # fmt: skip
def test_a_box_in_percent_or_shares(text, box):
    found = parse_box(text)
    assert found == box if box is None else found == pytest.approx(box)


@pytest.mark.parametrize(("text", "says"), [
    ("1,2,3", "'1,2,3' is not four numbers"), ("1,2,3,4,5", "not four numbers"),
    ("a,b,c,d", "not four numbers"), ("nan,0,1,1", "not four numbers"),
    ("inf,0,1,1", "not four numbers"), ("1,\n2", "'1, 2' is not"), ("9" * 500, r"\.\.\.' is not"),
    ("-1,0,50,50", "outside"), ("0,0,50,101", "outside"), ("75,10,25,90", "reversed"),
    ("25,10,25,90", "empty"), ("25,10,25.5,90", "small"),
])  # fmt: skip
def test_a_box_that_is_none(text, says):
    with pytest.raises(BoxError, match=says):
        parse_box(text)


@pytest.mark.parametrize(("text", "sizes"), [
    ("", None), ("12", FACTORS), ("2", (2.0, 0.1)), ("0.5, 2,1 ,2", (2.0, 1.0, 0.5)),
    ("0.5", (0.5,)), ("[1, 2]", (2.0, 1.0)),
])  # fmt: skip
def test_a_count_or_a_list_of_sizes(text, sizes):
    assert parse_sizes(text) == sizes


def test_a_count_gives_equal_ratios():
    sizes = parse_sizes("5") or ()
    # From 2 to 0.1 in four steps: each is the fourth root of 20 smaller.
    assert [a / b for a, b in itertools.pairwise(sizes)] == pytest.approx([20**0.25] * 4, rel=5e-3)


@pytest.mark.parametrize(("text", "says"), [
    ("1", "number of sizes is 1; give 2 to 48"), ("0", "give 2 to 48"),
    ("9" * 5000, "give 2 to 48"), ("many", "'many'; give a count"), ("1,,2", "give a count"),
    ("1,nan", "give a count"),
    (",".join(str(i / 10) for i in range(1, 60)), "There are 59 sizes"),
])  # fmt: skip
def test_sizes_that_are_none(text, says):
    with pytest.raises(OptionError, match=says):
        parse_sizes(text)
