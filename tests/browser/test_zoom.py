"""The Zoom tab as a visitor uses it."""

from __future__ import annotations

import threading
import zipfile
from typing import Any

import pytest
from playwright.sync_api import expect

from mscnn.engine.lens_options import parse_box
from mscnn.engine.network import Network
from mscnn.page.examples import examples
from mscnn.photos.imaging import load_photo

MODELS = ("starter_res2net", "starter_resnet")
OBJECT = "#zoom-object img"
FRAMES = "#sweep-film .frame"


@pytest.fixture
def lion():
    return load_photo(next(e.path for e in examples() if e.label == "Lion"))


def opened(visit, **options):
    look = visit("?tab=zoom", **options)
    expect(look.page.locator(OBJECT)).to_have_count(1)
    return look


def swept(page: Any, frames: int = 24) -> None:
    expect(page.locator(FRAMES)).to_have_count(frames)
    expect(page.locator("#sweep-run")).to_be_enabled()


def test_two_clicks_make_the_box_and_the_sweep_uses_it(visit, site, lion):
    look = opened(visit)
    page = look.page
    look.click_at(OBJECT, 0.2, 0.1)
    expect(page.locator("#zoom-object-hint")).to_contain_text("opposite corner")
    look.click_at(OBJECT, 0.8, 0.9)
    expect(page.locator("#zoom-object-hint")).to_contain_text("what the box holds")
    box = parse_box(page.get_by_label("Box: left, top, right, bottom in %").input_value())
    assert box == pytest.approx((0.2, 0.1, 0.8, 0.9), abs=0.01)
    page.locator("#sweep-run").click()
    swept(page)
    expected = site.engine.sweep(lion, MODELS, box=box)
    expect(page.locator("#sweep-hint")).to_contain_text(expected.label)
    shown = page.locator(f"{FRAMES} strong").all_inner_texts()
    wanted = [s.probability for curve in expected.curves for s in curve.steps]
    assert [float(text.rstrip("%")) / 100 for text in shown] == pytest.approx(wanted, abs=0.002)
    for chart in ("#sweep-plot", "#sweep-energy"):
        assert page.locator(f"{chart} img").get_attribute("alt")
    with zipfile.ZipFile(look.download("#sweep-download")) as archive:
        assert {"sweep.csv", "film.png", "sweep.json"} <= set(archive.namelist())


@pytest.mark.slow
def test_a_typed_box_that_is_none_is_a_sentence_and_the_whole_photo_comes_back(visit):
    look = opened(visit, viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    page = look.page
    text = page.get_by_label("Box: left, top, right, bottom in %")
    with look.redrawn(OBJECT):
        text.fill("20, 20, 60, 60")
        text.press("Enter")
    text.fill("90, 20, 60, 60")
    text.press("Enter")
    expect(look.toast()).to_contain_text("reversed")
    page.locator("#sweep-run").click()
    expect(page.locator("#sweep-run")).to_be_enabled()
    expect(page.locator(FRAMES)).to_have_count(0)
    with look.redrawn(OBJECT):
        page.locator("#zoom-whole").click()
    expect(text).to_have_value("")
    page.locator("#sweep-run").click()
    swept(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 390


@pytest.mark.slow
def test_stop_keeps_the_model_that_was_done(visit, monkeypatch):
    """The second model is held up until Stop was pressed."""
    passable, reached = threading.Event(), threading.Event()
    real = Network.sweep

    def held(self: Network, photo: Any, **options: Any) -> Any:
        if self.name == MODELS[1]:
            reached.set()
            assert passable.wait(60)
        return real(self, photo, **options)

    monkeypatch.setattr(Network, "sweep", held)
    look = opened(visit)
    page = look.page
    page.locator("#sweep-run").click()
    try:
        expect(page.locator(FRAMES)).to_have_count(12)
        assert reached.wait(30)
        expect(page.locator("#sweep-run")).to_be_disabled()
        page.locator("#sweep-stop").click()
    finally:
        passable.set()
    expect(page.locator("#sweep-hint")).to_contain_text("Stopped")
    expect(page.locator("#sweep-run")).to_be_enabled()
    expect(page.locator("#sweep-stop")).to_be_hidden()
    expect(page.locator(FRAMES)).to_have_count(12)
