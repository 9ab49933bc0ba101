"""Take the README's screenshots: ``python -m scripts.screenshots``.

Starts the page on a free port with the bundled weights and drives Debian's Chromium through it.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from scripts.running import running_app

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "screenshots"
WIDE, PHONE = (1280, 800), (390, 844)
TIMEOUT_MS = 120_000
JPEG_QUALITY = 88
# Name: what the address says, the size of the window, and a part of the page that comes last.
SHOTS = {
    "look-wide": ("example=cat", WIDE, "#stages canvas"),
    "look-phone": ("example=coffee", PHONE, "#stages canvas"),
    "scales-wide": ("tab=scales&example=cat", WIDE, "#split-strip canvas"),
    "scales-dark": ("tab=scales&example=coffee&__theme=dark", WIDE, "#split-strip canvas"),
    "field-wide": ("tab=rf&example=cat", WIDE, "#rf-plot svg"),
    "zoom-wide": ("tab=zoom&example=coffee", WIDE, "#sweep-plot svg"),
    "trust-wide": ("tab=trust&example=cat", WIDE, "#trust-plot svg"),
    "compare-wide": ("tab=compare&example=coffee", WIDE, "#compare-grid"),
}


def take(browser: Browser, url: str, name: str) -> None:
    """Open the page, wait until its results are drawn, and save the first screen."""
    query, (width, height), last = SHOTS[name]
    context = browser.new_context(
        viewport={"width": width, "height": height}, is_mobile=width < 500, has_touch=width < 500
    )
    page = context.new_page()
    page.set_default_timeout(TIMEOUT_MS)
    page.goto(f"{url}?{query}")
    drawn, run = page.locator(f"{last}:visible").first, page.locator("#run")
    page.locator(f"{last}:visible, #run:visible").first.wait_for()
    if run.is_visible():  # a slow machine is asked first
        run.click()
    drawn.wait_for()
    page.locator("#overlay[aria-busy=false]").wait_for()
    if name == "field-wide":
        page.locator("#canvases canvas").click(position={"x": 230, "y": 170})
        page.locator("#overlay[aria-busy=true]").wait_for()
        page.locator("#overlay[aria-busy=false]").wait_for()
    page.mouse.move(0, 0)
    page.screenshot(path=FOLDER / f"{name}.jpg", type="jpeg", quality=JPEG_QUALITY)
    context.close()


def main() -> int:
    """Take all screenshots, or those named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(SHOTS), help="default: all")
    names = parser.parse_args().names
    FOLDER.mkdir(parents=True, exist_ok=True)
    chromium = shutil.which("chromium") or "/usr/bin/chromium"
    flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    with tempfile.TemporaryFile("w+") as log, running_app(log) as url, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=flags)
        for name in names:
            take(browser, url, name)
        browser.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
