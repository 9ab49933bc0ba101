"""The Receptive field lens: the box under the pointer is the table's, and following it is free."""

import re

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from mscnn.models.examples import examples
from mscnn.photos.imaging import load_photo
from mscnn.scales.receptive_field import known
from tests.page.serving import MODELS

RES2NET, RESNET = MODELS
LION = next(example.path for example in examples() if example.id == "lion")


@pytest.fixture
def rf(visit):
    """The lens, with its whole answer."""
    return visit("?tab=rf").ready("rf")


def drawn_box(lens, across, down):
    """What the canvas draws when the pointer comes: left, top, right, bottom in canvas px."""
    lens.page.mouse.move(2, 2)
    expect(lens.page.locator("#readout")).to_have_text("")
    before = lens.pixels()
    lens.point(across, down)
    expect(lens.page.locator("#readout")).to_contain_text("sees")
    changed = np.argwhere(np.abs(lens.pixels() - before).sum(axis=2) > 0)
    (top, left), (bottom, right) = changed.min(axis=0), changed.max(axis=0) + 1
    return [int(left), int(top), int(right), int(bottom)]


def test_the_box_follows_the_pointer_without_a_request_and_equals_the_table(rf, site):
    theory, network = known(RES2NET), site.engine.session.network(RES2NET)
    assert theory is not None
    geometry = network.preprocess(load_photo(LION)).geometry
    height, width = rf.pixels().shape[:2]
    asked = list(rf.asked)
    for number in (1, 2):
        rf.page.locator("#panel-rf .multiples button").nth(number - 1).click()
        stage = theory.stage(str(number))
        for across, down in ((0.58, 0.63), (0.7, 0.4)):
            x, y = geometry.to_view(across * geometry.photo[0], down * geometry.photo[1])
            middle = stage.centre(0, 0)[0]
            unit = [round((side - middle) / stage.stride_px) for side in (y, x)]
            box = stage.box(*unit)
            corners = [*geometry.to_photo(*box[:2]), *geometry.to_photo(*box[2:])]
            scales = (width / geometry.photo[0], height / geometry.photo[1]) * 2
            wanted = [side * scale for side, scale in zip(corners, scales, strict=True)]
            wanted = [*np.clip(wanted, 0, [width, height] * 2)]
            # The line is 4 px wide, half of it outside.
            assert drawn_box(rf, across, down) == pytest.approx(wanted, abs=3.5)
    assert rf.asked == asked, "neither the pointer nor a stage asks the server"
    assert rf.link()["layer"] == "2"


def test_a_click_measures_the_unit_there_once_and_the_keyboard_can_too(rf):
    before, asked, notice = rf.pixels(), list(rf.asked), rf.caption().text_content()
    box = rf.page.locator("#canvases canvas").first.bounding_box()
    rf.page.mouse.click(box["x"] + box["width"] / 4, box["y"] + box["height"] / 4, button="right")
    rf.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert rf.asked == asked, "a right click measures nothing"
    assert rf.caption().text_content() == notice
    rf.point(0.3, 0.6, click=True)
    rf.ready("rf")
    assert rf.asked == [*asked, "join"]
    assert (rf.pixels() != before).any()
    # The readout is of the map that is shown.
    said = rf.page.locator("#readout").text_content()
    rf.page.mouse.move(2, 2)
    rf.point(0.3, 0.6)
    expect(rf.page.locator("#readout")).to_have_text(said)
    canvas = rf.page.locator("#canvases canvas")
    canvas.focus()
    for key in ("ArrowRight", "ArrowDown", "Enter"):
        rf.page.keyboard.press(key)
    rf.ready("rf")
    assert rf.asked == [*asked, "join", "join"]
    expect(rf.page.locator("#panel-rf .lead:visible")).to_contain_text("Stage 4 can see 295 px")


def test_the_saved_picture_holds_the_squares(rf):
    rf.page.locator(".tools summary").click()
    with rf.page.expect_download() as got:
        rf.page.get_by_role("button", name="Save this picture").click()
    with Image.open(got.value.path()) as saved:
        pixels = np.asarray(saved.convert("RGB")).astype(int)
    of_90_percent = np.abs(pixels - (96, 165, 250)).sum(axis=2) < 24
    assert of_90_percent.sum() > 50


def test_a_block_is_chosen_in_the_chart_and_its_splits_ask_nothing(rf):
    mark = rf.page.locator(f"#rf-plot [data-mark='{RES2NET}/layer2.1']")
    expect(mark).to_have_attribute("aria-label", re.compile("Stage 2, block 2"))
    mark.dispatch_event("click")
    expect(rf.page.locator("#panel-rf h2")).to_contain_text("Stage 2, block 2 and its splits")
    rf.ready("rf")
    asked = list(rf.asked)
    rf.page.locator("#panel-rf [data-show*='layer2.1/1']").click()
    expect(rf.page.locator("#panel-rf .lead:visible")).to_contain_text("Stage 2, block 2, split 1")
    assert rf.asked == asked
    rf.page.locator("#panel-rf .multiples button").first.click()
    rf.ready("rf")
    expect(rf.page.locator("#rf-block")).to_have_value("")


def test_theory_needs_no_weights_and_the_measurement_says_what_it_costs(visit):
    lens = visit("?tab=rf&model=res2net50_26w_4s.in1k").ready("rf")
    expect(lens.page.locator("#panel-rf .lead")).to_contain_text("can see up to 1131 px")
    expect(lens.page.locator("#run")).to_have_text(re.compile(r"Download \d+ MB"))
    lens.page.locator("#panel-rf .multiples button").first.click()
    lens.point(0.5, 0.5)
    expect(lens.page.locator("#readout")).to_contain_text("Stage 1: sees")
    lens.tab("Look")
    lens.tab("Receptive field")
    expect(lens.page.locator("#run")).to_be_visible()
