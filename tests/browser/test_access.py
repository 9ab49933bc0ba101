"""Every tab for everyone: axe-core's rules, contrast, sizes of screen, the keyboard."""

import importlib.resources
import re
from typing import Any

import pytest
from playwright.sync_api import expect

from mscnn.page.lenses import LENSES

pytest.importorskip("axe_playwright_python", reason="it comes with requirements-test.txt")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("few_steps")]

AXE = (importlib.resources.files("axe_playwright_python") / "axe.min.js").read_text("utf-8")
SIZES: dict[str, dict[str, Any]] = {
    "wide": {"viewport": {"width": 1280, "height": 800}},
    "phone": {"viewport": {"width": 390, "height": 844}, "is_mobile": True},
    "zoomed to 200 %": {"viewport": {"width": 640, "height": 400}, "device_scale_factor": 2},
}
NONE = "document.activeElement === document.body"
# Effective contrast of each text on what lies behind it, with the opacity of all around it: axe
# says nothing of a text that is dimmed by CSS filters or lies on a select's drawn arrow.
FAINT = """() => {
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const over = (top, below) => [0, 1, 2].map(k => top[k] * top[3] + below[k] * (1 - top[3]));
  const light = rgb => rgb.map(v => v / 255)
    .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, k) => sum + v * [.2126, .7152, .0722][k], 0);
  const alpha = c => c.length > 3 ? c : [...c, 1];
  const faint = [];
  const walk = (e, behind, opacity) => {
    const style = getComputedStyle(e), own = alpha(parse(style.backgroundColor));
    if (!e.checkVisibility() || style.visibility === 'hidden') return;
    const clear = opacity * style.opacity;
    if (!clear) return;
    const ground = over([...own.slice(0, 3), own[3] * clear], behind);
    const text = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())
      || e.matches('input[type=text], input[type=number], select');
    const paint = e instanceof SVGElement ? style.fill : style.color;
    if (text && e.tagName !== 'title' && paint.startsWith('rgb')) {
      const ink = alpha(parse(paint));
      const [a, b] = [light(over([...ink.slice(0, 3), ink[3] * clear], ground)), light(ground)];
      const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
      const said = `${e.tagName} ${e.textContent.trim().slice(0, 40)}`;
      if (ratio < 4.5) faint.push(`${said}: ${ratio.toFixed(2)}`);
    }
    const children = ['SELECT', 'title'].includes(e.tagName) ? [] : e.children;
    for (const child of children) walk(child, ground, clear);
  };
  walk(document.body, [255, 255, 255], 1);
  return faint;
}"""


def open_tabs(look):
    """Show one tab after the other, each with its answer or the button that it waits for."""
    for lens in LENSES:
        look.page.locator(f"#tab-{lens}").click()
        shown = look.page.locator(f"#panel-{lens} .answer > :visible, #run:visible")
        expect(shown.first).to_be_visible()
        expect(look.page.locator("#overlay")).to_have_attribute("aria-busy", "false")
        yield lens


def findings(look):
    """What axe-core and the contrast of all text complain of."""
    look.page.evaluate(AXE)
    found = look.page.evaluate("axe.run().then(result => result.violations)")
    named = [f"{v['id']}: {n['target']}" for v in found for n in v["nodes"]]
    return named + list(look.page.evaluate(FAINT))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_any_tab(visit, scheme):
    look = visit("", color_scheme=scheme).ready()
    for lens in open_tabs(look):
        look.page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
        assert findings(look) == [], lens
        words = str(look.page.evaluate("document.querySelector('.mscnn').textContent"))
        assert re.findall(r"(?<!/)(?:layer\d|starter_|\bNone\b|\bnan\b)\S*", words) == [], lens


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_dimmed_answer_can_still_be_read(visit, scheme):
    look = visit("", color_scheme=scheme).ready()
    look.upload(b"this is no picture", "notes.png")
    expect(look.page.locator("#panel-look .stale-note")).to_be_visible()
    expect(look.page.locator("#panel-look .answer")).to_have_css("opacity", "0.7")
    assert findings(look) == []


@pytest.mark.parametrize("size", SIZES)
def test_every_tab_fits_the_screen_and_starts_with_the_picture(visit, size, my_png):
    look = visit("", **SIZES[size]).ready()
    look.upload(my_png, "a name that is rather long for a phone.png")
    look.ready()
    width, height = SIZES[size]["viewport"].values()
    for lens in open_tabs(look):
        assert look.page.evaluate("document.documentElement.scrollWidth") <= width, lens
        seen = [
            "#canvases canvas", f"#panel-{lens} .answer > :visible",
            *["#top5 button"][: lens == "look"],
        ]  # fmt: skip
        look.page.evaluate("scrollTo(0, 0)")
        for selector in seen:
            box = look.page.locator(selector).first.bounding_box()
            if box is None:
                assert look.page.locator("#run").is_visible(), lens
                continue
            assert box["y"] >= 0, (lens, selector)
            last = box["y"] + (box["height"] if selector != seen[1] or lens == "look" else 0)
            assert last <= height, (lens, selector)


def test_every_stop_of_the_tab_key_has_a_ring(visit):
    look = visit().ready()
    bare = set()
    for _ in range(70):
        look.page.keyboard.press("Tab")
        bare.add(
            look.page.evaluate(
                """() => {
                  const e = document.activeElement, style = getComputedStyle(e);
                  const wide = parseFloat(style.outlineWidth) >= 2;
                  const ringed = style.outlineStyle !== "none" && wide;
                  return e === document.body || ringed ? '' : e.outerHTML.slice(0, 80);
                }"""
            )
        )
    assert bare == {""}


def test_focus_is_kept_by_the_keyboard_alone(visit, my_png):
    look = visit().ready()
    page, press = look.page, look.page.keyboard.press

    def focused():
        return str(page.evaluate("(e => e.id || e.textContent.trim())(document.activeElement)"))

    # another class, then another photo, while a fold of the answer has the focus
    page.locator("#panel-look .answer summary").focus()
    page.evaluate("document.querySelector('[data-example=coffee]').click()")
    look.ready()
    assert focused() == "In numbers"
    # Back, which replaces the answer
    page.locator("#top5 button").nth(1).focus()
    press("Enter")
    page.go_back()
    look.ready()
    assert not page.evaluate(NONE)
    # a photo that is uploaded while one of the five classes has the focus, which is then gone
    page.locator("#top5 button").nth(1).focus()
    look.upload(my_png, "mine.png")
    expect(page.locator("[data-example=coffee]")).to_have_attribute("aria-pressed", "false")
    look.ready()
    assert not page.evaluate(NONE)
    # the button that a slow method waits for goes when it is pressed
    page.locator("#method").select_option("ablationcam")
    expect(page.locator("#run")).to_contain_text("Start")
    page.locator("#run").focus()
    press("Enter")
    expect(page.locator("#run")).to_be_hidden()
    assert focused() == "tab-look"
    page.locator("#method").select_option("gradcam")
    look.ready()
    # a file that is being made
    page.locator("#download").focus()
    with page.expect_download():
        press("Enter")
    assert focused() == "download"
    # Escape closes a popup and stays beside it
    page.locator(".tools summary").focus()
    press("Enter")
    press("Tab")
    assert focused() == "colours"
    press("Escape")
    assert focused() == "More"
    expect(page.locator("#colours")).to_be_hidden()
    # a step to another block takes its own button away, and the last step ends at the parts
    look.tab("Scales")
    look.ready("scales")
    for _ in range(20):
        before = page.locator("#split-strip section:visible [title='Block before']")
        if before.is_disabled():
            break
        before.focus()
        press("Enter")
        assert not page.evaluate(NONE)
    assert page.evaluate("document.activeElement.ariaPressed") == "true"
