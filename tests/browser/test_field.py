"""The Receptive field tab as a visitor uses it."""

from __future__ import annotations

import json
import zipfile

import pytest
from playwright.sync_api import expect

from mscnn.page.examples import examples
from mscnn.photos.imaging import load_photo

OVERLAY = "#erf-overlay img"


@pytest.fixture
def lion():
    return load_photo(next(e.path for e in examples() if e.label == "Lion"))


def opened(visit, **options):
    look = visit("?tab=rf", **options)
    # Not "visible": pictures below the fold are loaded when they are scrolled to.
    for picture in (OVERLAY, "#rf-plot img"):
        expect(look.page.locator(picture)).to_have_count(1)
    expect(look.page.locator("#erf-run")).to_be_enabled()
    return look


def packed(look):
    """What the ZIP says of the unit, once it is no longer the one in the middle."""
    for _ in range(20):
        with zipfile.ZipFile(look.download("#rf-download")) as archive:
            kept = json.loads(archive.read("unit/unit.json"))
        if kept["point"] != {"x": 0.5, "y": 0.5}:
            return kept
        look.page.wait_for_timeout(500)
    raise AssertionError("the ZIP still holds the unit in the middle")


def test_the_tab_answers_without_a_click_and_a_click_chooses_the_unit(visit, site, lion):
    look = opened(visit)
    page = look.page
    lens = site.engine
    theory = lens.receptive_field("starter_res2net")
    middle = lens.effective_receptive_field(lion, "starter_res2net", layer=theory.blocks[-1].block)
    most = theory.blocks[-1].rf_max_px
    expect(page.locator("#erf-caption")).to_contain_text(f"at most {most} px")
    half = middle.squares[0].side_px
    expect(page.locator("#erf-caption")).to_contain_text(f"within {half} px")
    table = page.locator("#rf-table [role=gridcell]")
    expect(table.filter(has_text=str(theory.stages[-1].spectrum.paths))).not_to_have_count(0)
    alt = str(page.locator("#rf-plot img").get_attribute("alt"))
    assert "Starter ResNet ends with" in alt

    with look.redrawn(OVERLAY):
        look.click_at(OVERLAY, 0.4, 0.35)
    expect(page.locator("#erf-point textarea, #erf-point input")).not_to_have_value("50, 50")
    kept = packed(look)
    x, y = kept["point"]["x"], kept["point"]["y"]
    expected = lens.effective_receptive_field(
        lion, "starter_res2net", point=(x, y), layer=theory.blocks[-1].block
    )
    assert kept["units"][0]["unit"] == list(expected.unit)


@pytest.mark.slow
def test_the_keyboard_chooses_a_point_and_what_is_none_keeps_the_picture(visit):
    look = opened(visit)
    page = look.page
    point = page.get_by_label("Point (x %, y %)")
    with look.redrawn(OVERLAY):
        point.fill("30, 40")
        point.press("Enter")
    assert "30 % from the left" in str(page.locator(OVERLAY).get_attribute("alt"))
    before = look.source(OVERLAY)
    point.fill("somewhere")
    point.press("Enter")
    expect(look.toast()).to_contain_text("such as 50, 50")
    expect(page.locator("#erf-run")).to_be_enabled()
    assert look.source(OVERLAY) == before


@pytest.mark.slow
def test_splits_and_weights_stand_side_by_side_on_a_phone(visit):
    look = opened(visit, viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    page = look.page
    page.get_by_label("Show all its splits side by side").click()
    cards = page.locator("#erf-cards .card img")
    expect(cards).to_have_count(5)
    page.get_by_label("both side by side").click()
    expect(cards).to_have_count(10)
    alts = cards.evaluate_all("all => all.map(e => e.alt)")
    assert sum("random weights" in alt for alt in alts) == 5
    assert page.evaluate("document.documentElement.scrollWidth") == 390


@pytest.mark.slow
def test_the_number_of_paths_can_be_shown_and_another_model_beside_it(visit):
    look = opened(visit)
    page = look.page
    with look.redrawn("#rf-plot img"):
        page.get_by_label("Number of paths per size").click()
    assert "over" in str(page.locator("#rf-plot img").get_attribute("alt"))
    look.choose("Compare with (up to 3)", "res2net50_26w_4s.in1k")
    rows = page.locator("#rf-table [role=gridcell]").filter(has_text="Res2Net-50")
    expect(rows).not_to_have_count(0)
