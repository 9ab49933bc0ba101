"""Wrapped text, measured with Pillow's own font."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from mscnn.draw.text import fit_text, number_text, text_px

LONG = "res2next50_32x4d.supercalifragilisticexpialidocious_in1k on layer4, lion 62 %, cheetah 8 %"
TIMES = "\N{MULTIPLICATION SIGN}"
FONTS = Path(matplotlib.get_data_path(), "fonts", "ttf")


@pytest.mark.parametrize("bold", [False, True])
@pytest.mark.parametrize("width", [60, 100, 176, 320, 5000])
def test_every_line_fits_and_nothing_is_lost(width: int, bold: bool) -> None:
    block = fit_text(LONG, width, 13, bold=bold)
    font = ImageFont.truetype(FONTS / f"DejaVuSans{'-Bold' * bold}.ttf", 13)
    assert max(font.getlength(line) for line in block.lines) <= width
    squeezed = "".join(block.lines).replace(" ", "").replace("\u00a0", "")
    assert squeezed == LONG.replace(" ", "")


def test_lines_are_filled_before_they_break() -> None:
    room = math.ceil(ImageFont.truetype(FONTS / "DejaVuSans.ttf", 20).getlength("a b"))
    assert fit_text("a b a b", room, 20).lines == ("a b", "a b")
    assert fit_text("a b a b", room - 1, 20).lines == ("a", "b", "a", "b")
    assert fit_text("one two", 5000, 20).lines == ("one two",)


def test_a_long_name_breaks_behind_a_seam() -> None:
    block = fit_text("res2net50_26w_4s.in1k", 130, 13)
    assert len(block.lines) > 1
    assert block.lines[0][-1] in "_."


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", ()),
        (" \n ", ()),
        ("one\ntwo", ("one", "two")),
        ("tab\tand\x00null\r\nnext", ("tab and null", "next")),
        ("broken \ud800 half", ("broken half",)),
    ],
    ids=["empty", "blank", "line break", "control", "surrogate"],
)
def test_odd_text_is_tamed(text: str, lines: tuple[str, ...]) -> None:
    assert fit_text(text, 1000, 12).lines == lines


def test_a_percentage_stays_in_one_piece() -> None:
    for width in range(60, 200, 7):
        assert not any(line.startswith("%") for line in fit_text(LONG, width, 13).lines)


def test_a_letter_wider_than_the_room_still_ends() -> None:
    assert fit_text("WWW", 1, 20).lines == ("W", "W", "W")


def test_ink_stays_inside_the_measured_block() -> None:
    block = fit_text("Ågj/_{}[|] ÉÑy Wing", 110, 18)
    paper = Image.new("RGB", (300, 300), "white")
    block.draw(ImageDraw.Draw(paper), 50, 50, colour=(0, 0, 0))
    rows, columns = np.nonzero((np.asarray(paper) < 255).any(axis=-1))
    assert rows.min() >= 50
    assert rows.max() < 50 + block.height
    overhang = 18 // 6
    assert columns.min() >= 50 - overhang
    assert columns.max() < 50 + block.width + overhang


@pytest.mark.parametrize(("align", "side"), [(0.0, "left"), (1.0, "right")])
def test_lines_are_aligned(align: float, side: str) -> None:
    paper = Image.new("RGB", (300, 100), "white")
    fit_text("short\nmuch longer", 280, 16).draw(ImageDraw.Draw(paper), 150, 5, align=align)
    columns = np.nonzero((np.asarray(paper) < 255).any(axis=(0, 2)))[0]
    assert columns.min() >= 149 if side == "left" else columns.max() <= 151


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (8.0, "8"),
        (1.5, "1.5"),
        (4.20657, "4.21"),
        (9.999, "10"),
        (0.99996, "1"),
        (99.96, "100"),
        (0.01234, "0.0123"),
        (4570.6, "4571"),
        (-2.5, "\N{MINUS SIGN}2.5"),
        (999_400.4, "999400"),
        (999_600.0, f"1 {TIMES} 10⁶"),
        (1.23456e-5, f"1.23 {TIMES} 10⁻⁵"),
        (0.000099999, "0.0001"),
        (2_500_000, f"2.5 {TIMES} 10⁶"),
    ],
)
def test_numbers_are_short_and_true(value: float, text: str) -> None:
    assert number_text(value) == text


def test_text_is_never_below_12_px() -> None:
    sizes = [text_px(width) for width in (1, 64, 320, 640, 1200, 9000)]
    assert sizes == sorted(sizes)
    assert sizes[0] == 12
    assert sizes[-1] <= 28
