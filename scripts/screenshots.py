"""Take the README's screenshots: ``python -m scripts.screenshots``.

Starts the page on a free port with the bundled weights and drives Debian's Chromium through it.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "screenshots"
WIDE, PHONE = (1280, 800), (390, 844)
TIMEOUT_MS = 120_000
JPEG_QUALITY = 88


TABS = {
    "look": "example=lion",
    "scales": "tab=scales&example=lion",
    "field": "tab=rf&example=lion",
    "zoom": "tab=zoom&example=coffee",
    "features": "tab=features&example=cat",
    "compare": "tab=compare&example=coffee",
}
"""Queries of the page's address, by the names of the files."""
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


def take(browser: Browser, url: str, query: str, style: str, target: Path) -> None:
    """Open the page, wait until the whole answer is there, and save the first screen."""
    (width, height), theme = STYLES[style]
    context = browser.new_context(
        viewport={"width": width, "height": height}, is_mobile=width < 500, has_touch=width < 500
    )
    page = context.new_page()
    page.set_default_timeout(TIMEOUT_MS)
    page.goto(f"{url}?{query}{theme}")
    page.locator(".panel:not([hidden]):not(.stale) .answer > *").first.wait_for()
    page.locator("#overlay[aria-busy=false] canvas").first.wait_for()
    # Pictures are decoded and drawn a moment after their data have come.
    page.wait_for_timeout(1500)
    page.screenshot(path=target, type="jpeg", quality=JPEG_QUALITY)
    context.close()


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
