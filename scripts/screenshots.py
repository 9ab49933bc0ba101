"""Take the README's screenshots: ``python -m scripts.screenshots``.

Starts the page on a free port with the bundled weights and drives Debian's Chromium through it.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "screenshots"
WIDE, PHONE = (1280, 900), (390, 844)
TIMEOUT_MS = 120_000
JPEG_QUALITY = 88


@dataclass(frozen=True)
class Tab:
    """How a tab is shown.

    Attributes:
        query: of the address.
        title: on the tab; "" for the one that is open already.
        button: pressed once the tab is open; "" for none.
        pictures: what must be drawn before the picture is taken.
    """

    query: str
    title: str
    button: str
    pictures: tuple[str, ...]


TABS = {
    "look": Tab("?example=lion", "", "", ("#overlay img", "#stages img")),
    "scales": Tab("?example=lion", "Scales", "", ("#scale-plot img", "#split-strip img")),
    "field": Tab("?example=lion", "Receptive field", "", ("#erf-overlay img", "#rf-plot img")),
    "zoom": Tab("?example=coffee", "Zoom", "#sweep-run", ("#sweep-plot img",)),
    "features": Tab("?example=cat", "Features", "", ("#features-cards img",)),
    "compare": Tab(
        "?tab=compare&example=coffee", "", "#compare-run",
        ("#compare-grid img", "#compare-difference img"),
    ),
}  # fmt: skip
STYLES = {"wide": (WIDE, ""), "phone": (PHONE, ""), "dark": (WIDE, "&__theme=dark")}
SHOTS = {f"{tab}-{style}": (tab, style) for tab in TABS for style in STYLES}


@contextmanager
def page_url() -> Iterator[str]:
    """Serve the page in this process; yields its address."""
    from mscnn.engine.pipeline import Engine
    from mscnn.engine.session import Session
    from mscnn.page.app import build_app, launch_options

    demo = build_app(Engine(Session("cpu", offline=True)))
    _, url, _ = demo.launch(prevent_thread_lock=True, **{**launch_options(), "quiet": True})
    try:
        yield url
    finally:
        demo.close()


def take(browser: Browser, url: str, tab: Tab, style: str, target: Path) -> None:
    """Open the page, wait until its results are drawn, and save all of it."""
    (width, height), theme = STYLES[style]
    context = browser.new_context(
        viewport={"width": width, "height": height}, is_mobile=width < 500, has_touch=width < 500
    )
    page = context.new_page()
    page.set_default_timeout(TIMEOUT_MS)
    page.goto(f"{url}{tab.query}{theme}")
    if "tab=" not in tab.query:
        settle(page, "#stages img")
    if tab.title:
        page.get_by_role("tab", name=tab.title, exact=True).click()
    if tab.button:
        page.locator(f"{tab.button}:enabled").click()
        page.locator(f"{tab.button}:disabled").wait_for(state="attached")
        page.locator(f"{tab.button}:enabled").wait_for(state="attached")
    for selector in tab.pictures:
        settle(page, selector)
    page.evaluate("window.scrollTo(0, 0)")
    # The pointer rests on a button, and what fades in after a result is not there at once.
    page.mouse.move(0, 0)
    page.wait_for_timeout(1500)
    page.screenshot(path=target, full_page=True, type="jpeg", quality=JPEG_QUALITY)
    context.close()


def settle(page: Page, selector: str) -> None:
    """Wait for a picture to be there, scrolled into view and decoded."""
    picture = page.locator(selector).last
    picture.wait_for(state="attached")
    picture.scroll_into_view_if_needed()
    page.wait_for_function(
        "s => [...document.querySelectorAll(s)].every(i => i.complete && i.naturalWidth > 0)",
        arg=selector,
    )


def main() -> int:
    """Take all screenshots, or those named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(SHOTS), help="default: all")
    names = parser.parse_args().names
    FOLDER.mkdir(parents=True, exist_ok=True)
    chromium = shutil.which("chromium") or "/usr/bin/chromium"
    flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    with page_url() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        for name in names:
            tab, style = SHOTS[name]
            take(browser, url, TABS[tab], style, FOLDER / f"{name}.jpg")
        browser.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
