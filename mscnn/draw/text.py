"""Text on pictures: one typeface, wrapped to a width and measured before it is drawn."""

from __future__ import annotations

import bisect
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib
from PIL import ImageDraw, ImageFont

Colour = tuple[int, int, int]

PAPER: Colour = (255, 255, 255)
INK: Colour = (32, 33, 36)
SOFT_INK: Colour = (88, 92, 98)
RULE: Colour = (168, 172, 178)

_MIN_PX, _MAX_PX = 12, 28
MINUS = "\N{MINUS SIGN}"
_TIMES = "\N{MULTIPLICATION SIGN}"
_NO_BREAK = "\N{NO-BREAK SPACE}"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
# A long model name breaks best behind one of these.
_SEAM = re.compile(r".*[_./\\\-:,]")


def text_px(width_px: int) -> int:
    """Return the font size that suits a picture of this width: 12 px at 320, 20 px at 1200."""
    return min(max(round(12 + (width_px - 320) / 110), _MIN_PX), _MAX_PX)


@dataclass(frozen=True, slots=True)
class TextBlock:
    """Lines of text that fit a width.

    Attributes:
        lines: top to bottom; empty where there is no text.
        font: of all lines. Made for this block, because a font is not to be shared by threads.
    """

    lines: tuple[str, ...]
    font: ImageFont.FreeTypeFont = field(repr=False)

    @property
    def line_px(self) -> int:
        """Height of one line, room for accents and descenders included."""
        return sum(self.font.getmetrics())

    @property
    def height(self) -> int:
        """Height of all lines, px; 0 without text."""
        return self.line_px * len(self.lines)

    @property
    def width(self) -> int:
        """Width of the longest line, px, rounded up."""
        return max((measure(line, self.font) for line in self.lines), default=0)

    def draw(
        self,
        pen: ImageDraw.ImageDraw,
        x: int,
        y: int,
        *,
        colour: Colour = INK,
        align: float = 0.0,
    ) -> None:
        """Draw the lines below ``y``.

        Args:
            pen: draws on an RGB image.
            x: px; where the left end (``align`` 0), middle (0.5) or right end (1) of a line lies.
            y: px of the upper edge.
            colour: RGB.
            align: 0..1.
        """
        for number, line in enumerate(self.lines):
            left = x - round(align * measure(line, self.font))
            # Anchored at the ascender, so that lines of different letters share a rhythm.
            pen.text((left, y + number * self.line_px), line, colour, self.font, anchor="la")


def fit_text(text: str, width_px: int, size_px: int, *, bold: bool = False) -> TextBlock:
    """Break text into lines that are no wider than ``width_px``.

    Breaks lie between words, and inside a word only where it alone is too wide. Nothing is left
    out; a width below that of a single letter gives one letter per line. Line breaks in the text
    are kept, no-break spaces honoured; other characters that cannot be printed become spaces.

    Args:
        text: any characters; what DejaVu Sans does not have is drawn as an empty box.
        width_px: px, at least 1.
        size_px: font size in px.
        bold: use the bold face.
    """
    font = _font(size_px, bold)
    printable = "".join(c if c.isprintable() or c in ("\n", _NO_BREAK) else " " for c in text)
    # A percentage stays in one piece.
    printable = re.sub(r"(?<=\d) (?=%)", _NO_BREAK, printable)
    lines: list[str] = []
    for paragraph in printable.strip().splitlines():
        lines += _wrapped(paragraph.split(" "), width_px, font)
    return TextBlock(tuple(lines), font)


def measure(line: str, font: ImageFont.FreeTypeFont) -> int:
    """Return the advance width of one line in px, rounded up.

    The ink of single letters may overhang by a sixth of the font size at either end, so keep text
    that far from an edge.
    """
    # Five times as fast as the exact box of the ink, and titles are measured a lot.
    return math.ceil(font.getlength(line))


def number_text(value: float) -> str:
    """Write a number with three significant digits or down to whole units: 0.0123, 4571.

    Below 0.0001 and from a million on with three digits and a power of ten.
    """
    if value == 0:
        return "0"
    sign, size = (MINUS if value < 0 else ""), abs(value)
    # The exponent after rounding, so that 0.99996 counts as 1.
    digits, exponent = f"{size:.2e}".split("e")
    power = int(exponent)
    if -4 <= power < 6:
        return sign + _short(f"{size:.{max(0, 2 - power)}f}")
    return f"{sign}{_short(digits)} {_TIMES} 10{str(power).translate(_SUPERSCRIPT)}"


def _short(decimal: str) -> str:
    """Drop zeros behind the point: 1.50 -> 1.5, 100 stays."""
    return decimal.rstrip("0").rstrip(".") if "." in decimal else decimal


def _font(size_px: int, bold: bool) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", name), size_px)


def _wrapped(words: list[str], width_px: int, font: ImageFont.FreeTypeFont) -> Iterator[str]:
    """Yield lines, each filled with as many words as fit."""
    line = ""
    for word in filter(None, words):
        longer = f"{line} {word}" if line else word
        if measure(longer, font) <= width_px:
            line = longer
            continue
        if line:
            yield line
        *full, line = _pieces(word, width_px, font)
        yield from full
    if line:
        yield line


def _pieces(word: str, width_px: int, font: ImageFont.FreeTypeFont) -> Iterator[str]:
    """Cut one word into pieces that fit, behind a seam where there is one in the second half."""
    while len(word) > 1 and measure(word, font) > width_px:
        lengths = range(1, len(word))
        fitting = bisect.bisect_right(lengths, width_px, key=lambda n: measure(word[:n], font))
        count = max(1, fitting)
        seam = _SEAM.match(word[:count])
        if seam and seam.end() > count // 2:
            count = seam.end()
        yield word[:count]
        word = word[count:]
    yield word
