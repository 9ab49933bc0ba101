"""The page as a whole: on a phone, in the dark, for a screen reader, without the outside world."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import expect

PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "is_mobile": True,
    "has_touch": True,
}


def full(visit: Any, query: str = "", **options: Any) -> Any:
    """A page with results on both tabs, the Look tab in front."""
    look = visit(query, **options).ready()
    look.tab("Compare")
    look.page.locator("#compare-run").click()
    look.compared()
    look.tab("Look")
    expect(look.page.locator("#overlay img")).to_be_visible()
    return look


def widest(page: Any) -> list[str]:
    """What reaches past the right edge of the window, unless a box of its own scrolls it."""
    found: list[str] = page.evaluate(
        """() => {
          const inScroller = e => {
            for (let p = e.parentElement; p; p = p.parentElement)
              if (["auto", "scroll", "hidden", "clip"].includes(getComputedStyle(p).overflowX)
                  && p !== document.body && p !== document.documentElement
                  && p.getBoundingClientRect().right <= innerWidth + 1) return true;
            return false;
          };
          return [...document.querySelectorAll("main *")]
            .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !inScroller(e))
            .map(e => e.tagName + "#" + e.id + "." + e.className).slice(0, 5);
        }"""
    )
    return found


def test_on_a_phone_nothing_is_wider_than_the_screen_and_columns_stack(visit):
    look = full(visit, **PHONE)
    for tab in ("Look", "Compare"):
        look.tab(tab)
        expect(look.page.get_by_role("tab", name=tab)).to_have_attribute("aria-selected", "true")
        size = look.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert size == [390, 390], f"{tab}: {widest(look.page)}"
        assert widest(look.page) == []
    # At one moment, for the page grows while its pictures come.
    (_, below), (top, _) = look.page.locator("#compare-grid .card").evaluate_all(
        "all => all.map(e => e.getBoundingClientRect()).map(box => [box.top, box.bottom])"
    )
    assert top >= below
    picture = look.page.locator("#compare-grid .card img").first.bounding_box()
    assert picture is not None
    assert picture["width"] > 250


CONTRAST = """selector => {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const paint = colours => {  // from the back to the front, whatever notation each has
    pen.clearRect(0, 0, 1, 1);
    for (const colour of colours) { pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1); }
    return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = c => {
    const [r, g, b] = c.map(v => v / 255)
      .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const e = document.querySelector(selector);
  const behind = [];
  for (let p = e; p; p = p.parentElement) behind.unshift(getComputedStyle(p).backgroundColor);
  const front = light(paint(["white", ...behind, getComputedStyle(e).color]));
  const back = light(paint(["white", ...behind]));
  return [(Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05), back];
}"""
"""Contrast of an element's text to what lies behind it (WCAG 2.2), and how light that is."""


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_text_can_be_read_in_the_dark_and_in_the_light(visit, theme):
    look = full(visit, f"?__theme={theme}")
    dark = look.page.evaluate("document.body.classList.contains('dark')")
    assert dark == (theme == "dark")
    texts = {
        "Look": ("#intro p", "#caption p", "#notice p", "#model-note p", "#top5 dt", "#run"),
        "Compare": (
            "#compare-hint p",
            ".card h3",
            ".card .name",
            ".card .share",
            ".card dt",
            ".card dd",
            "#compare-run",
        ),
    }
    for tab, selectors in texts.items():
        look.tab(tab)
        for selector in selectors:
            expect(look.page.locator(selector).first).to_be_visible()
            contrast, behind = look.page.evaluate(CONTRAST, selector)
            # 3 for large or bold text such as buttons, 4.5 for the rest
            assert contrast >= (3 if "run" in selector else 4.5), f"{selector}: {contrast:.1f}"
            if "run" not in selector:
                assert (behind < 0.3) == (theme == "dark"), selector


NAMELESS = """() => {
  const name = e => [
    e.getAttribute("aria-label"), e.title, e.textContent,
    ...(e.getAttribute("aria-labelledby") || "").split(" ")
      .map(id => document.getElementById(id)?.textContent),
    ...[...e.querySelectorAll("img, [aria-label]")].map(i => i.alt || i.ariaLabel),
  ].join("").trim();
  const labelled = e => e.labels?.length || e.getAttribute("aria-label")
    || e.getAttribute("aria-labelledby") || e.title;
  const html = e => e.outerHTML.replace(/href="[^"]*"/, "").slice(0, 400);
  const all = q => [...document.querySelectorAll(q)];
  return [
    ...all("img").filter(e => !e.hasAttribute("alt")).map(e => "no alt: " + html(e)),
    ...all("button, a[href], [role=button], [role=tab]").filter(e => !name(e))
      .map(e => "no name: " + html(e)),
    ...all("input:not([type=hidden]), select, textarea").filter(e => !labelled(e))
      .map(e => "no label: " + html(e)),
  ];
}"""


@pytest.mark.slow
def test_every_picture_button_and_field_has_a_name(visit):
    look = full(visit)
    results = {
        "Look": ("#overlay img", "#stages img"),
        "Compare": ("#compare-grid img", "#compare-difference img"),
    }
    for tab, selectors in results.items():
        look.tab(tab)
        expect(look.page.locator(selectors[0]).first).to_be_visible()
        assert look.page.evaluate(NAMELESS) == []
        for selector in selectors:
            pictures = look.page.locator(selector)
            for alt in pictures.evaluate_all("all => all.map(e => e.alt)"):
                assert re.search(r"map", alt, re.IGNORECASE), f"{selector}: {alt!r}"


@pytest.mark.slow
def test_heading_language_title_and_notes_on_reading(visit):
    look = visit().ready()
    expect(look.page.get_by_role("heading", level=1)).to_have_count(1)
    assert look.page.locator("html").get_attribute("lang") == "en"
    assert "mscnn" in look.page.title()
    hidden = look.page.get_by_text("What it does not prove.", exact=False)
    expect(hidden).to_have_count(0)
    look.page.get_by_role("button", name="How to read this").first.click()
    expect(hidden.first).to_be_visible()


@pytest.mark.slow
def test_nothing_leaves_this_machine_and_nothing_stays_in_the_browser(visit):
    """The fixture looks at every test's requests; here a whole visit is what is looked at."""
    look = full(visit)
    assert look.outside == []
    assert look.errors == []
    kept = look.page.evaluate(
        "[Object.entries(localStorage), Object.entries(sessionStorage), document.cookie]"
    )
    assert "gradio_api/file" not in str(kept)


LENS = {
    "Scales": ("#split-strip img", "#scales-lead p", "#scales-summary p", ".scale-card h4",
               ".scale-card dt", ".scale-legend"),
    "Receptive field": ("#erf-overlay img", "#rf-lead p", "#erf-caption p"),
    "Zoom": ("#zoom-object img", "#zoom-lead p", "#zoom-object-hint p"),
    "Features": ("#features-cards img", "#features-lead p", "#features-cards .note",
                 ".near-similarity"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_the_lens_fits_a_phone_can_be_read_and_has_names(visit, theme):
    page = visit(f"?__theme={theme}", **PHONE).ready().page
    for tab, (picture, *texts) in LENS.items():
        page.get_by_role("tab", name=tab, exact=True).click()
        expect(page.locator(picture)).not_to_have_count(0)
        expect(page.locator(texts[-1]).first).to_be_visible()
        size = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert size == [390, 390], f"{tab}: {widest(page)}"
        for selector in texts:
            contrast, behind = page.evaluate(CONTRAST, selector)
            assert contrast >= 4.5, f"{selector}: {contrast:.1f}"
            assert (behind < 0.3) == (theme == "dark"), selector
        assert page.evaluate(NAMELESS) == [], tab
