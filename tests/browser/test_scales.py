"""The Scales tab as a visitor uses it."""

from __future__ import annotations

import json
import zipfile
from typing import Any

import pytest
from playwright.sync_api import expect

from mscnn.page import scales_view as view
from mscnn.page.examples import examples
from mscnn.photos.imaging import load_photo

MODEL, BASELINE = "starter_res2net", "starter_resnet"
CARD = "#split-strip .scale-card"
CHART = "#scale-plot img"


@pytest.fixture
def report(site):
    photo = load_photo(next(e.path for e in examples() if e.label == "Lion"))
    return site.engine.scales(photo, MODEL)


def opened(visit: Any, **options: Any) -> Any:
    """The tab with its first answer, which needs no click."""
    look = visit("?tab=scales", **options)
    expect(look.page.locator(CHART)).to_have_count(1)
    expect(look.page.locator(CARD)).to_have_count(4)
    expect(look.page.locator("#scales-run")).to_be_enabled()
    return look


def test_a_click_on_a_column_shows_its_block_and_marks_its_split(visit, report):
    look = opened(visit)
    page = look.page
    picture = page.locator(CHART)
    assert picture.get_attribute("alt") == view.chart_alt(report)
    expect(page.locator("#scales-summary")).to_contain_text(f"{report.weighted_rf_px:.0f} px")
    expect(page.get_by_label("Block", exact=True)).to_have_value("Stage 4, block 2 (layer4.1)")
    chart = view.chart(report)
    (x0, y0, x1, y1), _ = next(b for b in chart.boxes if b[1] == "layer2.1/0")
    height, width = chart.picture.shape[:2]
    look.click_at(CHART, (x0 + x1) / 2 / width, (y0 + y1) / 2 / height)
    marked = page.locator(f"{CARD}.marked")
    expect(marked).to_have_count(1)
    expect(marked.locator("h4")).to_have_text("Split 0")
    share = report.block("layer2.1").splits[0].share
    expect(marked.locator(".evidence")).to_have_text(f"{share:.1%} of the evidence")
    expect(page.locator("#scales-note h4")).to_contain_text("Stage 2, block 2 (layer2.1)")
    expect(page.get_by_label("Block", exact=True)).to_have_value("Stage 2, block 2 (layer2.1)")


@pytest.mark.slow
def test_a_block_is_chosen_by_keyboard_and_shown_in_the_papers_order(visit, report):
    look = opened(visit)
    page = look.page
    chooser = page.get_by_label("Block", exact=True)
    chooser.focus()
    chooser.fill("layer1.0")
    chooser.press("Enter")
    expect(page.locator("#scales-note")).to_contain_text("No hierarchy")
    page.get_by_label("paper's order", exact=True).check()
    untouched = report.block("layer1.0").splits[3]
    first = page.locator(CARD).first
    expect(first.locator("h4")).to_contain_text("x1 of the paper")
    expect(first.locator(".evidence")).to_contain_text(f"{untouched.share:.1%}")
    expect(first.locator(".path li")).to_have_text(["in", *untouched.path])
    with page.expect_download() as got:
        page.locator("#scales-download").click()
    assert got.value.suggested_filename.startswith(f"mscnn-scales-{MODEL}-")
    with zipfile.ZipFile(got.value.path()) as archive:
        document = json.loads(archive.read("scales.json"))
        assert {"attribution.png", "attribution.csv", "splits.npz"} <= set(archive.namelist())
    assert document["model"] == MODEL


@pytest.mark.slow
def test_classes_and_models_side_by_side_and_an_error_in_between(visit):
    look = opened(visit)
    page = look.page
    named = page.get_by_label("Class (or up to three, with commas)", exact=True)
    named.fill("unicorn")
    named.press("Enter")
    expect(look.toast()).to_contain_text("unicorn")
    expect(page.locator("#scales-run")).to_be_enabled()
    expect(page.locator(CARD)).to_have_count(4)
    look.choose("Also show", BASELINE)
    page.keyboard.press("Escape")
    named.fill("espresso, lid")
    page.locator("#scales-run").click()
    expect(page.locator(CHART)).to_have_count(4)
    page.get_by_label("espresso: Starter ResNet", exact=True).check()
    expect(page.locator(CARD)).to_have_count(1)
    expect(page.locator("#scales-note")).to_contain_text("one scale only")
    expect(page.locator("#attention")).to_have_count(0)


@pytest.mark.slow
def test_on_a_phone_the_maps_stand_two_by_two_and_a_new_photo_is_followed(visit, my_png):
    phone: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "is_mobile": True}
    look = opened(visit, **phone, has_touch=True)
    page = look.page
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    # At one moment, for the page grows while its pictures come.
    tops = page.locator(CARD).evaluate_all("all => all.map(e => e.getBoundingClientRect().top)")
    assert tops[0] == tops[1] < tops[2]
    with look.redrawn(f"{CARD} img"):
        look.upload(my_png, "mine.png")
    expect(page.locator("#scales-run")).to_be_enabled()
