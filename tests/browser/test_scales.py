"""The Scales lens in the browser: class carried over, no request for choices, boxes, keyboard."""

import re

import numpy as np
import pytest
from playwright.sync_api import expect

from mscnn.models.examples import examples
from mscnn.scales.receptive_field import known
from tests.page.serving import MODELS

RES2NET, RESNET = MODELS
LION = next(example.path for example in examples() if example.label == "Lion")


@pytest.fixture
def scales(visit):
    """``scales(query)``: the page with the whole answer of this lens in front."""

    def of(query="", **options):
        return visit(f"?tab=scales&example=lion{query}", **options).ready("scales")

    return of


def test_the_class_of_look_is_the_class_here_and_its_block_stays(visit, site):
    page = visit("?example=lion").ready()
    second = page.labels()[1]
    page.page.locator("#top5 button").nth(1).click()
    page.tab("Scales")
    page.ready("scales")
    report = site.engine.session.network(RES2NET).scales(LION, target=second)
    expect(page.caption()).to_contain_text(second)
    text = f"{report.weighted_rf_px:.0f} px"
    expect(page.page.locator("#panel-scales .lead")).to_contain_text(text)
    page.page.locator("[data-mark='layer2.1/1']").click()
    page.page.mouse.move(1, 1)  # else another part may come to lie under the mouse
    page.page.locator("#scales-target").fill("espresso")
    page.page.locator("#scales-target").press("Enter")
    expect(page.caption()).to_contain_text("espresso")
    page.ready("scales")
    expect(page.caption()).to_contain_text("Stage 2, block 2, split 1")
    assert page.link()["class"] == "espresso"
    assert page.asked == ["join"] * 3


def test_pointing_and_choosing_show_maps_and_ask_nothing(scales):
    page = scales()
    strip, canvas = page.page.locator("#split-strip section:visible"), page.pixels
    assert page.asked == ["join"]
    first = canvas()
    page.page.locator("[data-mark='layer1.1/2']").hover()
    expect(strip.locator("h2")).to_have_text("Stage 1, block 2")
    expect(page.caption()).to_contain_text("Stage 1, block 2, split 2 sees 27 px")
    assert (canvas() != first).any()
    page.page.locator("#intro").hover()
    expect(strip.locator("h2")).to_have_text("Stage 4, block 3")
    np.testing.assert_array_equal(canvas(), first)
    page.page.locator("[data-mark='layer3.1/0']").click()
    page.page.locator("#intro").hover()
    expect(strip.locator("h2")).to_have_text("Stage 3, block 2")
    expect(strip.locator("[aria-pressed=true]")).to_contain_text("103 px")
    expect(strip.locator(".multiples strong")).to_have_text(["87 px", "103 px", "119 px", "135 px"])
    strip.locator(".multiples button").last.click()
    expect(page.caption()).to_contain_text("split 2 sees 135 px")
    strip.get_by_role("button", name="Block before").click()
    expect(strip.locator("h2")).to_have_text("Stage 3, block 1")
    page.page.locator("[data-mark='layer2.0']").click()  # a dot of the line
    page.page.locator("#intro").hover()
    expect(strip.locator("h2")).to_have_text("Stage 2, block 1")
    assert page.asked == ["join"]


def test_the_box_under_the_pointer_is_the_one_of_the_table(scales, site):
    page = scales()
    page.page.locator("[data-mark='layer2.1/0']").click()
    page.point(0.31, 0.72)
    expect(page.page.locator("#readout")).to_contain_text("Split 0")
    text = page.page.locator("#readout").text_content()
    fields = known(RES2NET)
    assert fields is not None
    block = site.engine.session.network(RES2NET).scales(LION).block("layer2.1")
    left, _, right, _ = block.geometry.crop
    seen = (right - left) / block.geometry.photo[0]
    percent = 100 * fields.block("layer2.1").splits[0].rf_max_px / fields.input_px * seen
    assert text is not None
    assert f"sees {percent:.0f} % of the width" in text


def test_a_chart_is_one_stop_of_the_tab_key_and_arrows_go_on(scales):
    page = scales()
    marks = page.page.locator("#scale-plot [role=button]")
    assert marks.evaluate_all("all => all.filter(e => e.tabIndex === 0).length") == 1
    page.page.locator("#scale-plot [role=button][tabindex='0']").focus()
    page.page.keyboard.press("ArrowRight")
    focused = page.page.evaluate("document.activeElement.dataset.mark")
    assert focused
    page.page.keyboard.press("Enter")
    page.page.keyboard.press("ArrowRight")
    chosen = page.page.locator("#scale-plot .chosen").first
    expect(chosen).to_have_attribute("data-mark", re.compile(r"layer"))
    label = page.page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert label.startswith("Stage")
    assert "layer" not in label


def test_another_stage_chosen_on_look_is_where_it_begins(visit):
    page = visit("?tab=scales&example=lion&layer=2").ready("scales")
    expect(page.page.locator("#split-strip section:visible h2")).to_have_text("Stage 2, block 3")


def test_the_limit_and_the_charts_of_cuts_stay_under_the_pointer(scales):
    page = scales()
    slider, strip = (page.page.locator(s) for s in ("#cap-limit", "#split-strip h2:visible"))
    page.page.locator("#cut-run").click()
    expect(slider).to_be_attached()
    page.ready("scales")
    page.page.mouse.move(1, 1)
    slider.scroll_into_view_if_needed()
    block, before = strip.text_content(), slider.bounding_box()
    for limit in (5, 0, 3):
        page.slide("#cap-limit", limit)
        expect(page.caption()).to_contain_text("No part sees more than")
        expect(strip).to_have_text(block)
        assert slider.bounding_box() == before
    bar = page.page.locator("#ablation-plot [data-mark='layer2.0/1']")
    bar.hover()
    expect(page.caption()).to_contain_text("Stage 2, block 1")
    expect(strip).to_have_text(block)
    bar.click()
    page.slide("#cap-limit", 2)  # by keyboard, while the pointer rests on the bar
    expect(page.caption()).to_contain_text("No part sees more than")
    bar.click()
    page.page.mouse.move(1, 1)
    expect(strip).to_have_text("Stage 2, block 1")


def test_its_plain_counterpart_is_one_click_away(scales):
    page = scales()
    page.page.locator("#panel-scales [data-set]", has_text="Starter ResNet").click()
    expect(page.page.locator("#panel-scales .lead")).to_contain_text("has one path")
    page.ready("scales")
    assert page.link()["model"] == RESNET


def test_the_photo_stays_in_sight_beside_a_long_answer(scales):
    page = scales()
    page.page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    assert page.page.evaluate("scrollY") > 300
    expect(page.page.locator("#canvases canvas")).to_be_in_viewport(ratio=1)


def test_on_a_phone_words_stay_on_their_tiles(scales):
    page = scales(f"&model={RESNET}", viewport={"width": 390, "height": 844})
    words = page.page.locator("#split-strip .multiples span:visible")
    expect(words.first).to_have_text("The whole block")
    wider = "all => all.filter(e => e.offsetWidth > e.parentElement.clientWidth).length"
    assert words.evaluate_all(wider) == 0


def test_a_phone_shows_it_without_sideways_scrolling_and_charts_follow_the_dark_theme(scales):
    page = scales("&__theme=dark", viewport={"width": 390, "height": 844}, color_scheme="dark")
    assert page.page.evaluate("document.documentElement.scrollWidth") <= 390
    colour = "e => getComputedStyle(e).fill"
    text = page.page.locator("#scale-plot text").first.evaluate(colour)
    assert min(map(int, re.findall(r"\d+", text)[:3])) > 120
    path = page.download("#scales-download")
    assert path.name.startswith(f"mscnn-scales-{RES2NET}-")
