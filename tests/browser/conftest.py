"""The page in a real Chromium, served once from this process; see ``tests/page/serving.py``.

Every test gets a fresh page, and fails when the page asked any other machine for
something or wrote an error to the console.
"""

import base64
import io
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from PIL import Image

from tests.page.serving import chromium, launch_chromium

pytest.importorskip("playwright", reason="playwright comes with requirements-test.txt")

from playwright.sync_api import expect, sync_playwright

LIMIT_MS = 45_000
"""For one answer of the page, or any other wait; two idle cores need a few seconds."""
expect.set_options(timeout=LIMIT_MS)


MAIN = {
    # of the page as a whole
    "test_a_new_photo_dims_the_old_answer_at_once_and_renews_it",
    "test_a_link_holds_the_whole_state_and_back_and_reload_work",
    "test_a_broken_file_is_refused_with_a_sentence_and_the_next_one_works",
    "test_two_visitors_never_see_each_others_photo",
    "test_hostile_names_are_shown_as_text",
    "test_everything_can_be_reached_with_the_keyboard",
    # of each tab, and of the tour
    "test_the_first_visit_shows_an_example_with_its_five_classes",
    "test_class_stage_opacity_colours_and_threshold_ask_nothing",
    "test_the_canvas_equals_the_picture_of_the_file",
    "test_the_download_is_made_on_a_click_and_holds_what_is_shown",
    "test_the_class_of_look_is_the_class_here_and_its_block_stays",
    "test_pointing_and_choosing_show_maps_and_ask_nothing",
    "test_the_box_follows_the_pointer_without_a_request_and_equals_the_table",
    "test_sizes_are_shown_without_a_request_by_slider_and_by_chart",
    "test_a_box_is_dragged_and_cleared_again",
    "test_controls_and_curves_show_their_maps_without_a_request",
    "test_the_owners_photographs_are_searched_with_thumbnails",
    "test_the_class_of_look_is_compared_and_choices_ask_nothing",
    "test_a_link_opens_a_step_and_escape_leaves",
}
"""The other tests of the page go into depth, and are slow."""


@pytest.hookimpl(tryfirst=True)  # before those that -m leaves out are left out
def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)
            # On a loaded machine a browser may miss a moment; a fault fails three times.
            item.add_marker(pytest.mark.flaky(reruns=2))
            if item.originalname not in MAIN:
                item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def folders(request):
    chromium()
    return request.getfixturevalue("served_folders")


@pytest.fixture(autouse=True)
def _only_the_starters(folders, monkeypatch):
    folders.use(monkeypatch)


@pytest.fixture(scope="session")
def site(folders, served):
    return served


@pytest.fixture(scope="module")
def browser(site):
    # Per module: playwright runs an event loop in this thread, which other tests could not stand.
    with sync_playwright() as playwright:
        started = launch_chromium(playwright)
        yield started
        started.close()


USUAL: Any = {"viewport": {"width": 1280, "height": 800}, "accept_downloads": True}

PICTURES = """(() => { const Plain = window.Image; window.undrawn = 0;
  window.Image = function (...size) { const made = new Plain(...size); window.undrawn += 1;
    const done = () => setTimeout(() => { window.undrawn -= 1; });
    for (const kind of ['load', 'error']) made.addEventListener(kind, done, {once: true});
    return made; }; })()"""
"""Counts the pictures that the viewer has asked for and not drawn yet."""


class Visit:
    """One visitor's page, and what can be done on it."""

    def __init__(self, page, site):
        self.page, self.site = page, site
        self.outside: list[str] = []
        self.errors: list[str] = []
        self.asked: list[str] = []
        """Addresses of the requests for an answer or a file, as they were sent."""
        page.set_default_timeout(LIMIT_MS)
        page.on("request", self._note_request)
        page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _note_request(self, request):
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and parts.hostname != "127.0.0.1":
            self.outside.append(request.url)
        last = parts.path.rstrip("/").rpartition("/")[2]
        if last in ("join", "component_server", "upload"):
            self.asked.append(last)

    def open(self, query=""):
        """Open the page, of the lion unless ``query`` says otherwise, as ``/`` for nothing at all.

        ``ready`` waits for the first answer, which needs no click.
        """
        if query != "/" and "example=" not in query and "tour=" not in query:
            query += f"{'&' if query else '?'}example=lion"
        query = query.removeprefix("/")
        self.page.goto(f"{self.site.url}/{query}", wait_until="domcontentloaded")
        return self

    def ready(self, lens="look"):
        """Wait until the lens in front has its whole answer and nothing is on its way."""
        panel = self.page.locator(f"#panel-{lens}")
        expect(panel).to_be_visible()
        expect(panel.locator(".answer > *").first).to_be_attached()
        expect(self.page.locator("#overlay")).to_have_attribute("aria-busy", "false")
        expect(panel).not_to_have_class("panel stale")
        self.drawn()
        return self

    def drawn(self):
        """Wait until the viewer has all pictures that it draws: they come by themselves."""
        self.page.wait_for_function("window.undrawn === 0")

    def labels(self):
        """The five class names, best first."""
        return self.page.locator("#top5 .name").all_text_contents()

    def chosen(self):
        """The class whose map is shown."""
        return str(self.page.locator("#top5 [aria-pressed=true] .name").text_content())

    def caption(self):
        return self.page.locator("#caption")

    def notice(self):
        return self.page.locator("#notice")

    def link(self):
        """The parameters of the address."""
        return {k: v[0] for k, v in parse_qs(urlsplit(self.page.url).query).items()}

    def pixels(self, selector="#canvases canvas"):
        """What a canvas shows: ``(h, w, 3)``."""
        self.drawn()
        locator = self.page.locator(selector).first
        url = locator.evaluate("canvas => canvas.toDataURL()")
        with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
            return np.asarray(image.convert("RGB")).astype(np.int16)

    def upload(self, content, name, kind="image/png"):
        """Choose a file, as the dialogue would."""
        file: Any = {"name": name, "mimeType": kind, "buffer": content}
        self.page.locator("#file").set_input_files(file)

    def slide(self, selector, value):
        """Move a range."""
        self.page.locator(selector).evaluate(
            "(e, v) => { e.value = v; e.dispatchEvent(new Event('input', {bubbles: true})) }", value
        )

    def point(self, across, down, *, click=False):
        """Move the mouse over the first canvas, to fractions of its width and height."""
        box = self.page.locator("#canvases canvas").first.bounding_box()
        x, y = box["x"] + across * box["width"], box["y"] + down * box["height"]
        self.page.mouse.move(x, y)
        if click:
            self.page.mouse.click(x, y)

    def tab(self, name):
        self.page.get_by_role("tab", name=name, exact=True).click()

    def download(self, button="#download"):
        """Press a download button."""
        with self.page.expect_download() as got:
            self.page.locator(button).click()
        path = Path(got.value.path())
        return path.rename(path.with_name(got.value.suggested_filename))


@pytest.fixture(scope="module")
def usual(browser):
    """A context for a module's visits: gradio's own scripts are fetched and compiled once."""
    context = browser.new_context(**USUAL)
    yield context
    context.close()


@pytest.fixture
def visit(browser, usual, site):
    """``visit(query, **context options)``: open a page, with options in a context of its own."""
    contexts, visits = [], []

    def start(query="", **options):
        script, context = options.pop("script", ""), usual
        if options:
            contexts.append(context := browser.new_context(**{**USUAL, **options}))
        page = context.new_page()
        page.add_init_script(PICTURES)
        if script:
            page.add_init_script(script)
        visits.append(Visit(page, site))
        return visits[-1].open(query)

    yield start
    for visited in visits:
        visited.page.close()
    for context in contexts:
        context.close()
    assert [url for v in visits for url in v.outside] == []
    assert [text for v in visits for text in v.errors] == []


@pytest.fixture
def my_photo():
    """A photo that is none of the examples: coarse coloured patches."""
    generator = np.random.default_rng(5)
    patches = Image.fromarray(generator.integers(0, 256, (5, 7, 3), dtype=np.uint8))
    return patches.resize((210, 150), Image.Resampling.BICUBIC)


def png(image):
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def my_png(my_photo):
    return png(my_photo)
