"""The Zoom lens: a slider of sizes that asks nothing, a box that is dragged, the class carried."""

import json
import re
import threading
import zipfile

import numpy as np
import pytest
from playwright.sync_api import expect

from mscnn.page import messages
from mscnn.page.lenses import zoom as zoom_lens
from tests.page.serving import MODELS

RES2NET, RESNET = MODELS


@pytest.fixture
def zoom(visit):
    """The lens, with its whole answer."""
    return visit("?tab=zoom").ready("zoom")


def test_sizes_are_shown_without_a_request_by_slider_and_by_chart(zoom):
    asked, seen = list(zoom.asked), {zoom.pixels().tobytes()}
    expect(zoom.page.locator("#canvases canvas")).to_have_count(2)
    for size in (0, 6, 11):
        zoom.slide("#zoom-size", size)
        expect(zoom.page.locator("#panel-zoom .bar strong:visible")).to_have_count(1)
        seen.add(zoom.pixels().tobytes())
    assert len(seen) == 4
    expect(zoom.caption()).to_contain_text("at 0.1")
    mark = zoom.page.locator(f"#sweep-plot [data-mark='{RESNET}/2']")
    mark.dispatch_event("click")
    expect(zoom.page.locator("#zoom-size")).to_have_value("2")
    expect(zoom.page.locator("#zoom-size")).to_have_attribute("aria-valuetext", re.compile("1.2"))
    expect(zoom.page.locator("#sweep-plot .chosen")).to_have_count(2)
    assert zoom.asked == asked


def test_a_box_is_dragged_and_cleared_again(zoom):
    asked = len(zoom.asked)
    box = zoom.page.locator("#canvases canvas").first.bounding_box()
    mouse = zoom.page.mouse
    mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"])
    mouse.down()
    mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.6 * box["height"], steps=3)
    mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.7 * box["height"], steps=3)
    mouse.up()
    expect(zoom.page.locator("#zoom-whole")).to_be_visible()
    zoom.ready("zoom")
    assert len(zoom.asked) == asked + 1
    zoom.page.locator("#zoom-whole").click()
    expect(zoom.page.locator("#zoom-whole")).to_have_count(0)
    zoom.ready("zoom")
    # A pinch whose second finger comes late sets none.
    asked = len(zoom.asked)
    canvas = zoom.page.locator("#canvases canvas").first
    canvas.evaluate("e => { e.setPointerCapture = null; }")  # these fingers are none of Chromium's
    box = canvas.bounding_box()
    for kind, finger, across in (
        ("down", 1, 0.2), ("move", 1, 0.6), ("down", 2, 0.8), ("move", 2, 0.9), ("up", 2, 0.9),
        ("move", 1, 0.5), ("up", 1, 0.5),
    ):  # fmt: skip
        x, y = box["x"] + across * box["width"], box["y"] + across * box["height"]
        place = {"pointerId": finger, "clientX": x, "clientY": y}
        canvas.dispatch_event(f"pointer{kind}", place)
    zoom.page.wait_for_timeout(200)
    expect(zoom.page.locator("#zoom-whole")).to_have_count(0)
    assert len(zoom.asked) == asked


def test_a_pinch_over_two_columns_enlarges_and_sets_no_box(zoom):
    """On a phone they lie under one hand."""
    asked, canvases = len(zoom.asked), zoom.page.locator("#canvases canvas")
    # these fingers are none of Chromium's
    canvases.evaluate_all("all => all.forEach(e => { e.setPointerCapture = null; })")
    boxes, before = [canvases.nth(k).bounding_box() for k in (0, 1)], zoom.pixels()
    for kind, finger, across in (
        ("down", 1, 0.7), ("down", 2, 0.3), ("move", 1, 0.3), ("move", 2, 0.7), ("up", 1, 0.3),
        ("up", 2, 0.7),
    ):  # fmt: skip
        box = boxes[finger - 1]
        x, y = box["x"] + across * box["width"], box["y"] + across * box["height"]
        place = {"pointerId": finger, "clientX": x, "clientY": y}
        canvases.nth(finger - 1).dispatch_event(f"pointer{kind}", place)
    zoom.page.wait_for_timeout(200)
    expect(zoom.page.locator("#zoom-whole")).to_have_count(0)
    assert len(zoom.asked) == asked
    assert (zoom.pixels() != before).any()


def test_a_box_is_drawn_while_another_network_is_measured(visit, monkeypatch):
    """Its answer brings a second column, and must not take the canvas from under the pointer."""
    gate, curve = threading.Event(), zoom_lens._curve

    def held(network, *asked):
        if network.name == RESNET:
            gate.wait(60)
        return curve(network, *asked)

    monkeypatch.setattr(zoom_lens, "_curve", held)
    lens = visit("?tab=zoom&example=coffee")
    expect(lens.page.locator("#sweep-plot")).to_be_visible()
    mouse, canvas = lens.page.mouse, lens.page.locator("#canvases canvas")
    lens.page.locator("#canvases canvas").first.evaluate("e => { window.first = e; }")
    box = canvas.first.bounding_box()
    mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"])
    mouse.down()
    mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"], steps=3)
    gate.set()
    expect(canvas).to_have_count(2)
    assert canvas.first.evaluate("e => e === window.first")
    box = canvas.first.bounding_box()
    mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.7 * box["height"], steps=3)
    mouse.up()
    expect(lens.page.locator("#zoom-whole")).to_be_visible()
    lens.ready("zoom")


def test_a_drag_that_the_system_takes_over_sets_no_box(zoom):
    asked, canvas = len(zoom.asked), zoom.page.locator("#canvases canvas").first
    canvas.evaluate("e => { e.setPointerCapture = null; }")  # this finger is none of Chromium's
    box = canvas.bounding_box()
    for kind, across in (("down", 0.2), ("move", 0.4), ("move", 0.8), ("cancel", 0.8)):
        x, y = box["x"] + across * box["width"], box["y"] + across * box["height"]
        canvas.dispatch_event(f"pointer{kind}", {"pointerId": 1, "clientX": x, "clientY": y})
    zoom.page.wait_for_timeout(200)
    expect(zoom.page.locator("#zoom-whole")).to_have_count(0)
    assert len(zoom.asked) == asked


def test_a_box_is_drawn_by_the_keyboard_and_given_up_with_escape(zoom):
    asked = len(zoom.asked)
    zoom.page.locator("#canvases canvas").first.focus()
    for key in ("ArrowLeft", "Enter", "ArrowRight", "Escape", "ArrowLeft", "Enter"):
        zoom.page.keyboard.press(key)
    assert len(zoom.asked) == asked
    for key in (*["Shift+ArrowRight"] * 3, *["Shift+ArrowDown"] * 3, "Enter"):
        zoom.page.keyboard.press(key)
    expect(zoom.page.locator("#zoom-whole")).to_be_visible()
    assert len(zoom.asked) == asked + 1
    zoom.ready("zoom")
    zoom.tab("Look")
    zoom.ready()
    zoom.page.go_back()
    zoom.ready("zoom")
    expect(zoom.page.locator("#zoom-whole")).to_be_visible()


def test_networks_whose_inputs_differ_in_size_show_the_same_part(visit, monkeypatch):
    """The second column looks the same where its picture is said to be 3.5 times as large."""
    made, second, seen = messages.map_message, "#canvases figure:nth-child(2) canvas", []

    def larger(cam, **more):
        sent = made(cam, **more)
        if sent["column"] == RESNET:
            own = sent["photo"]
            sent["rect"] = [3.5 * edge for edge in sent["rect"]]
            own |= {key: 3.5 * own[key] for key in ("width", "height")}
            own["whole"] = [3.5 * edge for edge in own["whole"]]
        return sent

    for make in (made, larger):
        monkeypatch.setattr("mscnn.page.lenses.zoom.map_message", make)
        lens = visit("?tab=zoom").ready("zoom")
        lens.page.get_by_role("button", name="Zoom in").click()
        lens.point(0.7, 0.4)
        seen.append((lens.pixels(second), lens.page.locator("#readout").text_content()))
    assert seen[0][1] == seen[1][1]
    assert np.abs(seen[0][0] - seen[1][0]).mean() < 0.5


def test_the_class_of_look_is_the_class_here(visit):
    lens = visit().ready()
    lens.page.locator("#top5 button").nth(2).click()
    name = lens.chosen()
    lens.tab("Zoom")
    lens.ready("zoom")
    expect(lens.caption()).to_contain_text(name)
    expect(lens.page.locator("#zoom-target")).to_have_value(name)


def test_networks_and_canvas_are_chosen_in_the_fold(zoom):
    zoom.page.locator("#panel-zoom .controls summary").click()
    zoom.page.locator("#zoom-canvas").select_option("noise")
    zoom.ready("zoom")
    zoom.page.locator("#zoom-models select").select_option(RESNET)
    zoom.ready("zoom")
    expect(zoom.page.locator("#zoom-models .chips button")).to_have_text(
        ["Starter ResNet \N{MULTIPLICATION SIGN}"]
    )
    path = zoom.download("#zoom-download")
    assert path.name.startswith("mscnn-zoom-")
    with zipfile.ZipFile(path) as archive:
        made = json.loads(archive.read("manifest.json"))["replay"]["options"]
    assert (made["canvas"], made["models"]) == ("noise", [RES2NET, RESNET])
