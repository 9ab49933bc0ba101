"""The Trust lens in the browser: controls are shown without a request, cells set the state."""

import re

import pytest
from playwright.sync_api import expect

from mscnn.page.lenses import trust as lens
from tests.browser.test_access import findings


@pytest.fixture(autouse=True)
def _quick(few_steps, monkeypatch):
    monkeypatch.setattr(lens, "LONG", 1e9)
    grid = few_steps(methods=("gradcam", "layercam"), layers=("stages",), parts=("scores",))
    monkeypatch.setattr(lens, "GRID", grid)


@pytest.fixture
def trust(visit):
    return visit("?tab=trust").ready("trust")


def test_controls_and_curves_show_their_maps_without_a_request(trust):
    asked, seen = list(trust.asked), {trust.pixels().tobytes()}
    for kind in (1, 2):
        trust.page.locator("#trust-kinds button").nth(kind).click()
        expect(trust.caption()).to_contain_text("A control.")
        seen.add(trust.pixels().tobytes())
    trust.page.mouse.move(0, 0)  # what lies under it would be shown
    trust.page.locator("#trust-plot [data-mark=map]").first.dispatch_event("click")
    expect(trust.caption()).to_contain_text("The map that is checked")
    assert len(seen) == 3
    assert trust.asked == asked


def test_a_cell_sets_method_and_stage(trust):
    trust.page.locator("#trust-grid summary").click()
    trust.page.locator("#trust-compare").click()
    trust.ready("trust")
    cell = trust.page.locator("#trust-grid tr", has_text="LayerCAM").first.locator("button").nth(1)
    cell.click()
    trust.ready("trust")
    assert (trust.link()["layer"], trust.link()["method"]) == ("2", "layercam")
    expect(cell).to_have_attribute("aria-pressed", "true")
    expect(trust.page.locator("#panel-trust .hint").first).to_contain_text("LayerCAM, Stage 2")
    path = trust.download("#trust-download")
    assert path.name.startswith("mscnn-trust-")


def test_a_box_is_asked_about_and_cleared_again(trust):
    canvas = trust.page.locator("#canvases canvas").first
    canvas.focus()
    for key in ("ArrowLeft", "Enter", *["Shift+ArrowRight"] * 3, *["Shift+ArrowDown"] * 3, "Enter"):
        trust.page.keyboard.press(key)
    trust.ready("trust")
    expect(trust.page.locator("#panel-trust")).to_contain_text("In your box")
    trust.page.locator("#panel-trust summary", has_text="find the object").click()
    trust.page.locator("#trust-whole").click()
    trust.ready("trust")
    expect(trust.page.locator("#trust-whole")).to_have_count(0)


def test_the_page_asks_first_and_the_button_starts(visit, monkeypatch):
    monkeypatch.setattr(lens, "LONG", -1.0)
    trust = visit("?tab=trust&example=cat").ready("trust")
    expect(trust.notice()).to_contain_text(re.compile("takes about .* here"))
    expect(trust.page.locator("#panel-trust .lead")).to_have_text("Not checked yet.")
    trust.page.locator("#run").click()
    expect(trust.page.locator("#trust-kinds button")).to_have_count(4)
    trust.ready("trust")
    expect(trust.page.locator("#run")).to_be_hidden()


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_nothing_with_all_folds_open(visit, scheme, width):
    pytest.importorskip("axe_playwright_python")
    size = {"width": width, "height": 800}
    trust = visit("?tab=trust", color_scheme=scheme, viewport=size).ready("trust")
    trust.page.locator("#trust-grid summary").click()
    trust.page.locator("#trust-compare").click()
    trust.ready("trust")
    trust.page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert findings(trust) == []
    assert trust.page.evaluate("document.documentElement.scrollWidth") <= width
    words = str(trust.page.evaluate("document.querySelector('.mscnn').textContent"))
    assert re.findall(r"(?<!/)(?:layer\d|starter_|\bNone\b|\bnan\b)\S*", words) == []
