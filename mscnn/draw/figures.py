"""The look that all figures share, and the ways out: PNG, SVG, and SVG inside a page.

Figures are matplotlib's, made without pyplot, so several threads may draw at once. No global
setting of matplotlib is changed: everything is set on the artists, except for two settings that
only its SVG writer knows; a lock guards these.

Lengths of a figure are px of its design (72 to the inch), so that a font of 12 is 12 px high.
Files are written at any resolution; in a page the figure scales with its panel.
"""

from __future__ import annotations

import functools
import io
import re
import textwrap
import threading
import unicodedata
import uuid
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

import matplotlib
import numpy as np
from matplotlib import ft2font
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text
from matplotlib.textpath import text_to_path

from mscnn.models import registry
from mscnn.photos.imaging import to_png_bytes
from mscnn.results.explanation import RgbArray

WIDTH = 440
"""Usual width of a chart, px; its text can be read in panels from 340 px."""
FONT, SMALL, TITLE = 12, 11, 14
PER_INCH = 72


def _colours(codes: str) -> tuple[str, ...]:
    return tuple(f"#{code}" for code in codes.split())


INK, SOFT, GRID, PAPER, NEUTRAL = "#1f2329", "#57606b", "#e1e5ea", "#ffffff", "#a4acb7"
SERIES = _colours("0072b2 d55e00 009e73 cc79a7 e69f00 56b4e9 6a51a3 8c510a")
"""Okabe and Ito's colours and two more; told apart with any kind of colour vision."""
_DARK_SERIES = _colours("4da6de ff8a4a 34c79b e59fc5 f3bd4b 9ad4f5 b09be0 cf9f66")
RAMP = _colours("abdeb7 75c9bd 46b8c3 289cc1 1f7ab5 2354a3 253494 0e2265")
"""From little to much, in equal steps of lightness (ColorBrewer's YlGnBu)."""
_DARK_RAMP = _colours("2b4a9b 2a62ad 2a7cba 3196c2 4db1c5 79c6be a4d9ba cdebc0")
SHAPES = ("o", "s", "^", "D", "v", "P", "X", "p")
"""A mark for each colour of ``SERIES``, for readers without colours."""
THEME: dict[str, tuple[str, str]] = {
    "--chart-ink": (INK, "#e8ebf0"),
    "--chart-soft": (SOFT, "#aeb6c2"),
    "--chart-grid": (GRID, "#3b4350"),
    "--chart-paper": (PAPER, "#14181f"),
    "--chart-neutral": (NEUTRAL, "#6f7885"),
    **{f"--chart-{n}": pair for n, pair in enumerate(zip(SERIES, _DARK_SERIES, strict=True), 1)},
    **{f"--chart-ramp-{n}": pair for n, pair in enumerate(zip(RAMP, _DARK_RAMP, strict=True), 1)},
}
"""CSS variables of ``inline_svg`` and their colours in the light and in the dark theme."""

_VARIABLES = {light: f"var({name},{light})" for name, (light, _) in THEME.items()}
_SVG_SETTINGS = threading.Lock()
_MISSING = "\N{WHITE SQUARE}"
_TEXT = "text:"
_FONTS = Path(matplotlib.get_data_path(), "fonts", "ttf")
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def theme_css() -> str:
    """Return the style sheet that a page with ``inline_svg`` needs; ``.dark`` is the dark theme."""
    light, dark = (";".join(f"{k}:{v[i]}" for k, v in THEME.items()) for i in (0, 1))
    shape = (
        ".chart{display:block;width:100%;max-width:42rem;height:auto}"
        ".chart text{font-family:inherit}"
    )
    return f":root{{{light}}}\n.dark{{{dark}}}\n{shape}\n"


def number_text(value: float) -> str:
    """Write a number with three significant digits or down to whole units: 0.0123, 4571.

    Below 0.0001 and from a million on as a power of ten; integers may have any length.
    """
    if value == 0:
        return "0"
    # Decimal takes integers of any length; its exponent is that after rounding: 0.99996 is 1.
    exact = Decimal(value if isinstance(value, int) else float(value))
    digits, exponent = f"{exact:.2e}".split("e")
    power, tail = int(exponent), ""
    if -4 <= power < 6:
        digits = f"{exact:.{max(0, 2 - power)}f}"
    else:
        tail = f" \N{MULTIPLICATION SIGN} {power_of_ten(power)}"
    short = digits.rstrip("0").rstrip(".") if "." in digits else digits
    return short.replace("-", "\N{MINUS SIGN}") + tail


def power_of_ten(power: int) -> str:
    """Write a power of ten: ``10⁻⁵``."""
    return f"10{str(power).translate(_SUPERSCRIPT)}"


def model_title(model: str) -> str:
    """Return a model's name as people say it; of an owner's folder the last part of its path."""
    spec = registry.find(model)
    return spec.title if spec is not None else Path(model).name or model


def place(block: str) -> str:
    """Return where a block stands: ``"layer2.1"`` -> ``"Stage 2, block 2"``; else its name."""
    found = re.fullmatch(r"layer(\d+)\.(\d+)", block)
    return f"Stage {found[1]}, block {int(found[2]) + 1}" if found else stage_title(block)


def stage_title(stage: str) -> str:
    """Return a stage's name: ``"layer2"`` -> ``"Stage 2"``; else the name itself."""
    return re.sub(r"^layer(\d+)$", r"Stage \1", stage)


def wrapped(text: str, width_px: float, font_px: float = FONT, *, bold: bool = False) -> str:
    """Break text into lines no wider than ``width_px``, between words where that is possible."""
    font = FontProperties(size=font_px, weight="bold" if bold else "normal")

    def fits(line: str) -> bool:
        return text_to_path.get_text_width_height_descent(line, font, False)[0] <= width_px

    def fill(line: str) -> list[str]:
        parts = [line]
        for columns in range(max(8, int(2.5 * width_px / font_px)), 1, -1):
            parts = textwrap.wrap(line, columns)
            if all(fits(drawable(part)) for part in parts):
                break
        return parts or [""]

    return "\n".join(part for line in _printable(text).splitlines() for part in fill(line))


def lines(text: str) -> int:
    """Return how many lines a text takes."""
    return text.count("\n") + 1 if text else 0


def _printable(text: str) -> str:
    """Replace what cannot be drawn (control characters, halves of surrogates) by spaces."""
    odd = ("Cc", "Cs")
    return "".join(" " if unicodedata.category(c) in odd and c != "\n" else c for c in text)


@functools.cache
def _glyphs() -> frozenset[str]:
    """Return the characters that both DejaVu Sans and its bold face have."""
    faces = [ft2font.FT2Font(str(_FONTS / f"DejaVuSans{bold}.ttf")) for bold in ("", "-Bold")]
    return frozenset.intersection(*(frozenset(map(chr, face.get_charmap())) for face in faces))


def drawable(text: str) -> str:
    """Return text without what matplotlib's font lacks: such characters become white squares."""
    text = _printable(text)
    if text.isascii():
        return text
    return "".join(c if c in "\n " or c in _glyphs() else _MISSING for c in text)


def say(text: Text, words: str) -> Text:
    """Set an artist's words as they are: no mathtext, and any character is accepted.

    What the font lacks is drawn as squares; ``inline_svg`` leaves it to the browser's fonts.
    """
    shown = drawable(words)
    text.set_parse_math(False)
    text.set_text(shown)
    if shown != words:
        # XML keeps no line feed in an attribute, but this one.
        text.set_gid(_TEXT + _printable(words).replace("\n", "\N{LINE SEPARATOR}"))
    return text


def plain_figure(width: float, height: float, **layout: Any) -> Figure:
    """Make a figure of ``width`` x ``height`` px whose parts are placed by hand."""
    size = width / PER_INCH, height / PER_INCH
    return Figure(figsize=size, dpi=PER_INCH, facecolor=PAPER, **layout)


def new_figure(width: float, height: float, usual: str, title: str | None = None) -> Figure:
    """Make a figure of ``width`` x ``height`` px whose parts find their own room.

    Its title is ``title`` ("" for none), or the ``usual`` one where that is None.
    """
    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.05, hspace=0.03, wspace=0.03)
    words = wrapped(usual if title is None else title, width - 12, TITLE, bold=True)
    figure = plain_figure(width, height + 1.4 * TITLE * lines(words), layout=layout)
    if words:
        look = {"fontsize": TITLE, "fontweight": "bold", "color": INK}
        say(figure.suptitle("", x=6 / width, ha="left", **look), words)
    return figure


def grow(figure: Figure, px: float) -> None:
    """Make a figure taller, so that words do not take the room of what they explain."""
    figure.set_figheight(figure.get_figheight() + px / PER_INCH)


def style(
    axis: Axes,
    *,
    title: str = "",
    x: str = "",
    y: str = "",
    grid: Literal["x", "y", "both", ""] = "y",
) -> None:
    """Give axes the common look, words, and a grid for the values of one or both directions."""
    axis.set_facecolor("none")
    axis.set_axisbelow(True)
    for side, spine in axis.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(GRID)
    axis.tick_params(colors=SOFT, labelsize=SMALL, length=0, pad=4)
    if grid:
        axis.grid(axis=grid, color=GRID, linewidth=0.8)
    figure = axis.figure
    if title and isinstance(figure, Figure):
        spec = axis.get_subplotspec()
        columns = 1 if spec is None else spec.get_gridspec().ncols
        width = figure.get_figwidth() * PER_INCH / columns - (40 if columns == 1 else 55)
        heading = axis.set_title("", loc="left", fontsize=FONT, color=INK, pad=7)
        words = wrapped(title, width)
        say(heading, words)
        grow(figure, 1.2 * FONT * words.count("\n"))
    for label, words in ((axis.xaxis.label, x), (axis.yaxis.label, y)):
        label.set(color=SOFT, fontsize=SMALL)
        if words:
            say(label, words)


def legend(figure: Figure, handles: Sequence[Any], labels: Sequence[str], **options: Any) -> None:
    """Write what the colours mean below the axes, one entry per line unless told otherwise."""
    if not handles:
        return
    box = figure.legend(
        handles=handles, labels=[""] * len(labels), loc="outside lower left", frameon=False,
        fontsize=SMALL, labelcolor=INK, borderpad=0.2, handlelength=2.4, labelspacing=0.35,
        **options,
    )  # fmt: skip
    width = (figure.get_figwidth() * PER_INCH - 48) / options.get("ncols", 1)
    for text, words in zip(box.get_texts(), labels, strict=True):
        say(text, wrapped(words, width, SMALL))
    rows = sum(lines(text.get_text()) for text in box.get_texts())
    grow(figure, 1.45 * SMALL * -(-rows // options.get("ncols", 1)))


def axis_legend(axis: Axes) -> None:
    """Write on the axes themselves what is drawn there, by the artists' labels."""
    axis.legend(frameon=False, fontsize=SMALL, labelcolor=INK)


def note(axis: Axes, words: str, at: tuple[float, float], **options: Any) -> Text:
    """Write words beside a point; see ``Axes.annotate``."""
    look = {"color": SOFT, "fontsize": SMALL, "textcoords": "offset points", "xytext": (0, 0)}
    return say(axis.annotate("", at, annotation_clip=False, **{**look, **options}), words)


def mark(artist: Artist, gid: str, words: str) -> None:
    """Make an artist a mark that a page can name: ``part:layer3.1/2`` and its tooltip."""
    artist.set_gid(_printable(gid).replace("\n", " "))
    artist.set_label(_printable(words))


def marks(figure: Figure) -> dict[str, str]:
    """Return the marks of a figure: gid to tooltip (name, value, unit)."""
    artists = figure.findobj(lambda a: ":" in (a.get_gid() or ""))
    gids = {a.get_gid() or "": str(a.get_label()) for a in artists}
    return {gid: words for gid, words in gids.items() if not gid.startswith(_TEXT)}


def pixels(figure: Figure, width_px: int | None = None) -> RgbArray:
    """Draw a figure: ``(h, width_px, 3)`` uint8 RGB; None for 120 dots to the inch."""
    design = figure.get_figwidth() * PER_INCH
    wanted = width_px or round(120 * design / PER_INCH)
    dpi = PER_INCH * wanted / design
    # Half a px more, so that rounding down cannot take one away.
    figure.set_size_inches((wanted + 0.01) / dpi, figure.get_figheight())
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    drawn: RgbArray = np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]
    return drawn


def png(figure: Figure, width_px: int | None = None) -> bytes:
    """Encode a figure as a PNG file of RGB; see ``pixels``."""
    return to_png_bytes(pixels(figure, width_px))


def svg(figure: Figure) -> bytes:
    """Encode a figure as an SVG file without a ground, whose text stays text."""
    file = io.BytesIO()
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": "mscnn"}
    with _SVG_SETTINGS, matplotlib.rc_context(settings):
        # Not savefig, which lays everything out twice.
        figure.set_facecolor("none")
        figure.set_dpi(PER_INCH)
        canvas: Any = FigureCanvasSVG(figure)
        canvas.print_svg(file, metadata={"Date": None})
    return file.getvalue()


def inline_svg(figure: Figure, label: str = "") -> str:
    """Return a figure without pictures as one ``<svg>`` element for a page.

    Text stays text in the page's own font. Colours are the CSS variables of ``THEME``, with the
    light theme's as fallback (see ``theme_css``). The element has a ``viewBox`` and no size. A mark
    is a ``<g class="mark" data-mark="layer3.1/2" tabindex="-1">`` with its tooltip as ``<title>``.
    Other ids are unique to each call; there are no scripts, styles or references to elsewhere.
    ``label`` is for a screen reader; "" where the page says it elsewhere.
    """
    root = ElementTree.fromstring(svg(figure))
    tooltips = marks(figure)
    link = "{http://www.w3.org/1999/xlink}href"
    prefix = f"c{uuid.uuid4().hex[:10]}-"
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.endswith(("metadata", "style")):
                parent.remove(child)
    for node in root.iter():
        node.tag = node.tag.rpartition("}")[2]
        gid = node.attrib.pop("id", None)
        if gid in tooltips:
            node.attrib |= {"class": "mark", "data-mark": gid.partition(":")[2], "tabindex": "-1"}
            title = ElementTree.Element("title")
            title.text = tooltips[gid]
            node.insert(0, title)
        elif gid is not None and gid.startswith(_TEXT):
            texts = [child for child in node.iter() if child.tag.endswith("text")]
            for child, line in zip(texts, gid[len(_TEXT) :].splitlines(), strict=False):
                child.text = line
        elif gid is not None and node.tag in ("path", "clipPath"):
            node.set("id", prefix + gid)
        if (target := node.attrib.pop(link, None)) is not None:
            node.set("href", f"#{prefix}{target[1:]}")
        if "clip-path" in node.attrib:
            node.set("clip-path", node.attrib["clip-path"].replace("#", f"#{prefix}"))
        if "style" in node.attrib:
            node.set("style", _page_style(node.attrib["style"]))
    root.attrib = {
        "xmlns": "http://www.w3.org/2000/svg",
        **{"class": "chart", "viewBox": root.attrib["viewBox"], "stroke-linejoin": "round"},
        **({"role": "group", "aria-label": label} if label else {}),
    }
    return ElementTree.tostring(root, encoding="unicode")


def _page_style(declarations: str) -> str:
    """Put a theme's variables for its colours, and the page's font for matplotlib's."""
    kept = re.sub(r"#[0-9a-f]{6}\b", lambda m: _VARIABLES.get(m[0], m[0]), declarations)
    kept = re.sub(r"\bfont: *((?:[a-z]+ +|\d{3} +)*)([\d.]+px)[^;]*", _font, kept)
    return re.sub(r"font-family:[^;]*;? *", "", kept)


def _font(found: re.Match[str]) -> str:
    weight = "bold" if {"bold", "700"} & set(found[1].split()) else "normal"
    return f"font-size: {found[2]}; font-weight: {weight}"
