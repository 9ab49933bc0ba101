"""The Features tab as a visitor uses it."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect

CARD = "#features-cards .near-cards li"


def opened(visit: Any, **options: Any) -> Any:
    """The tab with its first answer, which needs no click; the photo is the lion."""
    look = visit("?tab=features", **options)
    expect(look.page.locator(CARD)).to_have_count(6)
    expect(look.page.locator("#features-run")).to_be_enabled()
    return look


def similarities(page: Any) -> list[float]:
    return [float(text) for text in page.locator(f"{CARD} .near-similarity").all_inner_texts()]


def test_neighbours_come_without_a_click_and_the_place_is_chosen_by_keyboard(visit):
    look = opened(visit)
    page = look.page
    note = page.locator("#features-cards .note")
    expect(note).to_contain_text("5 photographs compared")
    expect(note).to_contain_text("your photo itself: lion.jpg")
    found = similarities(page)
    assert found == sorted(found, reverse=True)
    alt = page.locator(f"{CARD} img").nth(1).get_attribute("alt")
    assert alt.startswith("Neighbour 1: ")
    assert alt.endswith(f"similarity {found[0]:.3f}")
    where = page.get_by_label("Where in the network", exact=True)
    where.focus()
    where.fill("layer3.1), split 2")
    where.press("Enter")
    expect(note).to_contain_text("stage 3, block 2 (layer3.1), split 2")
    look.choose("Also show", "starter_resnet")
    page.keyboard.press("Escape")
    sections = page.locator("#features-cards .near-model")
    expect(sections).to_have_count(2)
    expect(sections.nth(1)).to_contain_text("layer3.1 has no split 2")


@pytest.mark.slow
def test_on_a_phone_the_cards_stand_two_by_two_and_a_new_photo_is_followed(visit, my_png):
    phone: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "is_mobile": True}
    look = opened(visit, **phone, has_touch=True)
    page = look.page
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    # At one moment, for the page grows while its pictures come.
    tops = page.locator(CARD).evaluate_all("all => all.map(e => e.getBoundingClientRect().top)")
    assert tops[0] == tops[1] < tops[2]
    look.upload(my_png, "mine.png")
    expect(page.locator(CARD)).to_have_count(7)
