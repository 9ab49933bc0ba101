"""Take the README's screenshots: ``python -m scripts.screenshots``.

Starts the page on a free port with the bundled weights and drives Debian's Chromium through it.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "screenshots"
WIDE, PHONE = (1280, 900), (390, 844)
TIMEOUT_MS = 120_000
LOOK, COMPARE = "?example=lion", "?tab=compare&example=coffee"
SHOTS = {
    "look-wide": (LOOK, WIDE),
    "look-phone": (LOOK, PHONE),
    "look-dark": (f"{LOOK}&__theme=dark", WIDE),
    "compare-wide": (COMPARE, WIDE),
    "compare-phone": (COMPARE, PHONE),
    "compare-dark": (f"{COMPARE}&__theme=dark", WIDE),
}


@contextmanager
def page_url() -> Iterator[str]:
    """Serve the page in this process; yields its address."""
    from mscnn.pipeline import Engine
    from mscnn.session import Session
    from mscnn.ui.app import build_app, launch_options

    demo = build_app(Engine(Session("cpu", offline=True)))
    _, url, _ = demo.launch(prevent_thread_lock=True, **{**launch_options(), "quiet": True})
    try:
        yield url
    finally:
        demo.close()


def take(browser: Browser, url: str, size: tuple[int, int], target: Path) -> None:
    """Open the page, wait until its results are drawn, and save all of it."""
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height}, is_mobile=width < 500, has_touch=width < 500
    )
    page = context.new_page()
    page.set_default_timeout(TIMEOUT_MS)
    page.goto(url)
    if "tab=compare" in url:
        page.get_by_role("button", name="Compare", exact=True).click()
        settle(page, "#compare-grid img")
        settle(page, "#compare-difference img")
    else:
        settle(page, "#overlay img")
        settle(page, "#stages img")
    page.evaluate("window.scrollTo(0, 0)")
    page.screenshot(path=target, full_page=True)
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
            query, size = SHOTS[name]
            take(browser, url + query, size, FOLDER / f"{name}.png")
        browser.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
