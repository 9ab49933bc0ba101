"""The look and the ways out: sizes of pictures, inline SVG, marks, and any words."""

import io
import re
from concurrent.futures import ThreadPoolExecutor
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from PIL import Image

from mscnn.draw import figures as f

HOSTILE = '<script>alert("x")</script> & $x_1$ 100 % \\frac{'
NAMES = [HOSTILE, "_hidden", "猫 and \U0001f981", "a\x00b\ud800c\nd", "", "x" * 300, "$", "Ärger"]


def chart(name="lion"):
    figure = f.new_figure(400, 200, name)
    axis = figure.subplots()
    f.style(axis, title=name, x=name, y="px")
    (bar,) = axis.bar([0], [3], color=f.SERIES[0])
    f.mark(bar, f"part:layer1.0/{name[:9]}", f"{name}: 3 px")
    f.legend(figure, [bar], [name])
    return figure


def parsed(svg):
    return ElementTree.fromstring(svg)


@pytest.mark.parametrize("width", [333, 400, 1200])
def test_a_png_has_the_width_asked_for(width):
    with Image.open(io.BytesIO(f.png(chart(), width))) as image:
        assert (image.format, image.mode, image.width) == ("PNG", "RGB", width)
        assert image.height > width / 2
        assert np.asarray(image).min() < 60


def test_inline_svg_is_one_harmless_element_of_the_page():
    text = f.inline_svg(chart(), "what it shows")
    root = parsed(text)
    assert text.startswith("<svg ")
    assert {"width", "height", "style"}.isdisjoint(root.attrib)
    assert re.fullmatch(r"0 0 [\d.]+ [\d.]+", root.attrib["viewBox"])
    assert root.attrib["aria-label"] == "what it shows"
    assert {node.tag.rpartition("}")[2] for node in root.iter()}.isdisjoint(
        {"script", "style", "metadata", "image", "foreignObject"}
    )
    links = [v for node in root.iter() for k, v in node.attrib.items() if k.endswith("href")]
    ids = {node.attrib["id"] for node in root.iter() if "id" in node.attrib}
    assert all(link[1:] in ids for link in links)
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= ids
    assert "http" not in text.replace('xmlns="http://www.w3.org/2000/svg"', "")


def test_ids_are_unique_to_each_call():
    figure = chart()
    first, second = (
        {n.attrib["id"] for n in parsed(f.inline_svg(figure)).iter() if "id" in n.attrib}
        for _ in range(2)
    )
    assert first.isdisjoint(second)


def test_colours_follow_the_theme_and_text_the_pages_font():
    text, css = f.inline_svg(chart()), f.theme_css()
    assert "var(--chart-1,#0072b2)" in text
    used = set(re.findall(r"var\((--[a-z0-9-]+),", text))
    assert {"--chart-ink", "--chart-grid", "--chart-1"} <= used
    light, dark = css.split(".dark")[0], css.split(".dark")[1]
    for name in used:
        assert f"{name}:#" in light
        assert f"{name}:#" in dark
    # Every colour is one of the theme.
    assert not re.findall(r"(?<!,)#[0-9a-f]{6}\b", re.sub(r'"#[^"]*"|url\([^)]*\)', "", text))
    assert "DejaVu" not in text
    assert ">lion</text>" in text


def test_marks_have_their_name_and_tooltip():
    figure = chart()
    assert f.marks(figure) == {"part:layer1.0/lion": "lion: 3 px"}
    (group,) = [n for n in parsed(f.inline_svg(figure)).iter() if "data-mark" in n.attrib]
    assert group.attrib["data-mark"] == "layer1.0/lion"
    assert group.attrib["class"] == "mark"
    assert [child.text for child in group if child.tag.endswith("title")] == ["lion: 3 px"]


@pytest.mark.parametrize("name", NAMES)
def test_any_words_can_be_drawn_and_stay_words(name):
    """Warnings, as of missing glyphs, are errors in our tests."""
    assert f.png(chart(name))
    assert f.svg(chart(name)).startswith(b"<?xml")
    text = f.inline_svg(chart(name))
    assert "<script" not in text
    words = "".join(node.text or "" for node in parsed(text).iter())
    for wanted in ("猫", "\U0001f981", "$x_1$", "_hidden"):
        assert (wanted in words) == (wanted in name)


def test_missing_letters_become_squares_in_files():
    assert f.drawable("猫 lion Ärger") == "□ lion Ärger"
    assert f.drawable("a\x00b\ud800") == "a b "


def test_settings_of_matplotlib_stay_as_they_are_and_threads_draw_alike():
    before = dict(matplotlib.rcParams)
    expected = f.svg(chart()), f.png(chart())
    with ThreadPoolExecutor(6) as pool:
        drawn = list(pool.map(lambda _: (f.svg(chart()), f.png(chart())), range(12)))
    assert all(one == expected for one in drawn)
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(("value", "text"), [
    (0, "0"), (8.0, "8"), (1.5, "1.5"), (4.20657, "4.21"), (9.999, "10"), (0.99996, "1"),
    (99.96, "100"), (0.01234, "0.0123"), (4570.6, "4571"), (-2.5, "\N{MINUS SIGN}2.5"),
    (999_400.4, "999400"), (999_600.0, "1 \N{MULTIPLICATION SIGN} 10⁶"),
    (1.23456e-5, "1.23 \N{MULTIPLICATION SIGN} 10⁻⁵"), (0.000099999, "0.0001"),
    (2_500_000, "2.5 \N{MULTIPLICATION SIGN} 10⁶"),
    (10**400 + 1, "1 \N{MULTIPLICATION SIGN} 10⁴⁰⁰"),
])  # fmt: skip
def test_numbers_are_short_and_true(value, text):
    assert f.number_text(value) == text


@pytest.mark.parametrize(("name", "words"), [
    ("layer2.1", "Stage 2, block 2"), ("layer4", "Stage 4"), ("trunk.3", "trunk.3"),
])  # fmt: skip
def test_places_have_one_name(name, words):
    assert f.place(name) == words
    assert f.model_title("starter_res2net") == "Starter Res2Net"
    assert f.model_title("/home/me/mine") == "mine"
