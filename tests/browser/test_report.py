"""Keep: one click gives an archive whose page opens without a server and asks for nothing."""

import time
import zipfile

import pytest
from playwright.sync_api import expect

from mscnn.page.lenses import zoom
from tests.browser.test_access import AXE, FAINT
from tests.page.serving import MODELS

pytestmark = pytest.mark.slow


@pytest.fixture
def opened(browser, tmp_path):
    """``opened(archive, **context options)``: its report as a file, where every request fails."""
    contexts, asked = [], []

    def refuse(route):
        asked.append(route.request.url[:100])
        route.abort()

    def of(archive, **options):
        with zipfile.ZipFile(archive) as files:
            files.extractall(tmp_path / "kept")
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("console", lambda m: asked.append(m.text) if m.type == "error" else None)
        report = (tmp_path / "kept" / "report.html").as_uri()
        page.route(lambda url: url != report and not url.startswith("data:"), refuse)
        page.goto(report)
        return page

    yield of
    for context in contexts:
        context.close()
    assert asked == []


@pytest.fixture(scope="module")
def archives():
    """What was kept, for the tests after the first."""
    return {}


def kept(visit, archives, my_png):
    """Look at four tabs and keep them; once for all tests."""
    if not archives:
        look = visit("", viewport={"width": 1280, "height": 800}).ready()
        look.upload(my_png, "my <b>photo</b>.png")
        look.ready()
        for tab, lens in (("Scales", "scales"), ("Receptive field", "rf"), ("Zoom", "zoom")):
            look.tab(tab)
            look.ready(lens)
        found = look.download("#keep")
        expect(look.notice()).to_be_empty()
        archives["all"] = found.read_bytes()
    return archives["all"]


# What fits depends on the width, what can be told apart on the colours.
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_the_report_opens_by_itself(visit, opened, archives, my_png, tmp_path, scheme, width):
    archive = tmp_path / "kept.zip"
    archive.write_bytes(kept(visit, archives, my_png))
    page = opened(archive, color_scheme=scheme, viewport={"width": width, "height": 800})
    assert page.locator("h2").all_text_contents() == ["Look", "Scales", "Receptive field", "Zoom"]
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    assert page.evaluate(broken) == 0
    assert page.locator("img").count() > 20
    assert page.locator("button, input, select, canvas").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate(AXE)
    found = page.evaluate("axe.run().then(result => result.violations)")
    assert [f"{v['id']}: {n['target']}" for v in found for n in v["nodes"]] == []
    assert page.evaluate(FAINT) == []
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(19, 19, 24)") == (scheme == "dark")


def test_only_what_was_looked_at_for_this_photo_is_kept(visit, tmp_path):
    look = visit("?example=lion").ready()
    look.tab("Zoom")
    look.ready("zoom")
    look.page.locator("[data-example=coffee]").click()
    look.ready("zoom")
    with zipfile.ZipFile(look.download("#keep")) as archive:
        folders = {name.partition("/")[0] for name in archive.namelist()}
    assert folders == {"zoom", "coffee.png", "report.html"}


def test_a_tab_whose_answer_is_of_another_choice_is_said_to_be_left_out(visit):
    look = visit("?example=lion").ready()
    look.tab("Zoom")
    look.ready("zoom")
    look.page.locator("#model").select_option(MODELS[1])
    look.ready("zoom")
    with zipfile.ZipFile(look.download("#keep")) as archive:
        assert not any(name.startswith("look/") for name in archive.namelist())
    expect(look.notice()).to_contain_text("Not in the report")
    expect(look.notice()).to_contain_text("Look.")


def test_what_was_stopped_is_said_to_be_left_out(visit, monkeypatch):
    curve = zoom._curve

    def waiting(network, index, asked, context, photo, tell):
        if network.name == MODELS[1]:
            tell(1, 12)  # only work that says how far it is can be stopped
            while not context.is_cancelled():
                time.sleep(0.01)
        return curve(network, index, asked, context, photo, tell)

    monkeypatch.setattr(zoom, "_curve", waiting)
    look = visit("?example=pizza").ready()
    look.tab("Zoom")
    look.page.locator("#stop").click()
    expect(look.page.locator("#run")).to_have_text("Do the rest")
    with zipfile.ZipFile(look.download("#keep")) as archive:
        assert not any(name.startswith("zoom/") for name in archive.namelist())
    expect(look.notice()).to_contain_text("no finished answer to what is chosen now: Zoom.")
