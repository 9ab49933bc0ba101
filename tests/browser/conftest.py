"""The page in a real Chromium, served once from this process; see ``tests/ui/serving.py``.

Every test gets a fresh browser context, and fails when the page asked any other machine for
something or wrote an error to the console.
"""

from __future__ import annotations

import io
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.page.serving import Folders, Site, make_folders, serving

pytest.importorskip("playwright", reason="playwright comes with requirements-test.txt")

from playwright.sync_api import (
    Browser,
    Locator,
    Page,
    Playwright,
    expect,
    sync_playwright,
)
from playwright.sync_api import TimeoutError as NotInTime

LIMIT_MS = 45_000
"""For one answer of the page, or any other wait; two idle cores need a few seconds."""
MODEL = "starter_res2net"
expect.set_options(timeout=LIMIT_MS)
TOP5 = "#top5 [data-testid$='-confidence-set']"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


def chromium() -> str:
    """Path of the browser; where there is none the tests are skipped, in CI they fail."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None and os.environ.get("CI", "").lower() == "true":
        pytest.fail("There is no chromium on this machine, and CI must run the browser tests.")
    if found is None:
        pytest.skip("needs chromium, for example by: apt-get install chromium")
    return found


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    chromium()
    return make_folders(tmp_path_factory.mktemp("browser"))


@pytest.fixture(autouse=True)
def _only_the_starters(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    folders.use(monkeypatch)


@pytest.fixture(scope="session")
def site(folders: Folders) -> Iterator[Site]:
    with serving(folders) as running:
        yield running


@pytest.fixture(scope="module")
def browser(site: Site) -> Iterator[Browser]:
    # Per module: playwright runs an event loop in this thread, which other tests could not stand.
    with sync_playwright() as playwright:
        started = _start(playwright)
        yield started
        started.close()


def _start(playwright: Playwright) -> Browser:
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    return playwright.chromium.launch(executable_path=chromium(), args=arguments)


class Visit:
    """One visitor's page, and what can be done on it."""

    def __init__(self, page: Page, site: Site) -> None:
        self.page, self.site = page, site
        self.outside: list[str] = []
        self.errors: list[str] = []
        page.set_default_timeout(LIMIT_MS)
        page.on("request", self._note_request)
        page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _note_request(self, request: Any) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and parts.hostname != "127.0.0.1":
            self.outside.append(request.url)

    def open(self, query: str = "") -> Visit:
        """Open the page and wait for the first answer, which needs no click."""
        self.page.goto(f"{self.site.url}/{query}", wait_until="domcontentloaded")
        return self

    def ready(self) -> Visit:
        """Wait until a photo is explained and its four stages are drawn."""
        expect(self.page.locator(TOP5)).to_have_count(5)
        expect(self.page.locator("#stages img")).to_have_count(4)
        expect(self.page.locator("#run")).to_be_enabled()
        return self

    def labels(self) -> list[str]:
        """The five class names, best first."""
        ids = self.page.locator(TOP5).evaluate_all("all => all.map(e => e.dataset.testid)")
        return [name.removesuffix("-confidence-set") for name in ids]

    def source(self, selector: str = "#overlay img") -> str:
        """Address of a picture."""
        return str(self.page.locator(selector).first.get_attribute("src"))

    def pixels(self, selector: str = "#overlay img") -> np.ndarray[Any, np.dtype[np.int16]]:
        """A picture as the page got it."""
        content = httpx.get(self.source(selector), timeout=60).content
        with Image.open(io.BytesIO(content)) as image:
            return np.asarray(image.convert("RGB")).astype(np.int16)

    @contextmanager
    def redrawn(self, selector: str = "#overlay img") -> Iterator[None]:
        """Wait until the picture has become another one."""
        before = self.source(selector)
        yield
        expect(self.page.locator(selector).first).not_to_have_attribute("src", before)

    def explained_as(self, label: str) -> None:
        """Wait until the caption speaks of a class."""
        expect(self.page.locator("#caption strong")).to_have_text(label)

    def upload(self, content: bytes, name: str, kind: str = "image/png") -> None:
        """Choose a file, as the dialogue of the photo's box would."""
        file: Any = {"name": name, "mimeType": kind, "buffer": content}
        self.page.locator("#photo input[type=file]").set_input_files(file)

    def click_at(self, selector: str, across: float, down: float) -> None:
        """Click a picture at shares of its width and height, 0 to 1."""
        picture = self.page.locator(selector).first
        picture.scroll_into_view_if_needed()
        # Until its file has come a picture has no size, and a share of nothing is its corner.
        expect(picture).not_to_have_js_property("naturalWidth", 0)
        size = picture.bounding_box()
        assert size is not None
        picture.click(position={"x": across * size["width"], "y": down * size["height"]})

    def toast(self) -> Locator:
        """The newest message."""
        return self.page.get_by_test_id("toast-text").last

    def choose(self, label: str, text: str) -> None:
        """Type into a dropdown and take the first entry that holds the text."""
        box = self.page.get_by_label(label, exact=True)
        box.click()
        box.fill(text)
        self.page.get_by_role("option").filter(has_text=text).first.click()

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name, exact=True).click()

    def compared(self, cards: int = 2) -> None:
        """Wait until a comparison is complete."""
        expect(self.page.locator("#compare-grid .card img")).to_have_count(cards)
        expect(self.page.locator("#compare-run")).to_be_enabled()
        # Not "visible": pictures below the fold are loaded when they are scrolled to.
        expect(self.page.locator("#compare-difference img")).to_have_count(1)

    def download(self, button: str) -> Path:
        """Press a download button, which fills a moment after the pictures have come."""
        for _ in range(10):
            try:
                with self.page.expect_download(timeout=3_000) as got:
                    self.page.locator(button).click()
                return Path(got.value.path()).rename(
                    Path(got.value.path()).with_name(got.value.suggested_filename)
                )
            except NotInTime:
                continue
        raise AssertionError(f"{button} gave no file")


@pytest.fixture
def visit(browser: Browser, site: Site) -> Iterator[Callable[..., Visit]]:
    """``visit(query, **context options)``: open the page in a fresh context."""
    contexts, visits = [], []

    def start(query: str = "", **options: Any) -> Visit:
        context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 1400}, "accept_downloads": True, **options}
        )
        contexts.append(context)
        visits.append(Visit(context.new_page(), site))
        return visits[-1].open(query)

    yield start
    for context in contexts:
        context.close()
    assert [url for v in visits for url in v.outside] == []
    assert [text for v in visits for text in v.errors] == []


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When the models ran; grows while the test goes on."""
    from timm.models.resnet import ResNet

    real, seen = ResNet.forward_features, []

    def counted(self: Any, x: Any) -> Any:
        seen.append(time.monotonic())
        return real(self, x)

    monkeypatch.setattr(ResNet, "forward_features", counted)
    return seen


@pytest.fixture
def my_photo() -> Image.Image:
    """A photo that is none of the examples: coarse coloured patches."""
    generator = np.random.default_rng(5)
    patches = Image.fromarray(generator.integers(0, 256, (5, 7, 3), dtype=np.uint8))
    return patches.resize((210, 150), Image.Resampling.BICUBIC)


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def my_png(my_photo: Image.Image) -> bytes:
    return png(my_photo)
