"""The page as a whole: one state, links, several visitors, hostile input, phone, keyboard."""

import io
import re
import threading
import time

import pytest
from PIL import Image
from playwright.sync_api import expect

from mscnn.errors import Cancelled
from mscnn.page.lenses import zoom
from tests.page.serving import CLASSES, MODELS

RES2NET, RESNET = MODELS
STALE = "panel stale"


def test_a_new_photo_dims_the_old_answer_at_once_and_renews_it(visit, my_png):
    look = visit().ready()
    first = look.labels()
    # Whatever the page shows, at any moment: an undimmed answer belongs to the photo above it.
    look.page.evaluate(
        """() => {
          [window.wrong, window.notes] = [[], []];
          const check = () => {
            const chosen = document.querySelector('[data-example=lion]').ariaPressed === 'true';
            const lead = document.querySelector('#panel-look .lead')?.textContent;
            const stale = document.querySelector('#panel-look').classList.contains('stale');
            window.first ??= lead;
            window.notes.push(document.querySelector('#panel-look .stale-note')?.textContent);
            if (!chosen && lead === window.first && !stale) window.wrong.push(lead);
          };
          check();
          new MutationObserver(check).observe(document.querySelector('.mscnn'),
            {subtree: true, attributes: true, childList: true});
        }"""
    )
    look.upload(my_png, "mine.png")
    look.ready()
    assert look.labels() != first
    assert look.page.evaluate("window.wrong") == []
    assert "for the previous photo" in look.page.evaluate("window.notes")
    assert "example" not in look.link()
    assert look.asked == ["join", "upload", "join"]


def test_a_new_model_keeps_photo_and_class(visit):
    look = visit().ready()
    look.page.locator("#top5 button").nth(1).click()
    name = look.link()["class"]
    look.page.locator("#model").select_option(RESNET)
    expect(look.caption()).to_contain_text(name)
    look.ready()
    assert look.link() == {"example": "lion", "model": RESNET, "class": name}


def test_a_request_that_was_overtaken_is_never_shown(visit):
    look = visit().ready()
    for example in ("cat", "coffee", "pizza", "lion", "cat"):
        look.page.locator(f"[data-example={example}]").click()
    look.ready()
    assert look.link()["example"] == "cat"
    labels = look.labels()
    fresh = visit("?example=cat").ready()
    assert labels == fresh.labels()


def test_a_link_holds_the_whole_state_and_back_and_reload_work(visit):
    look = visit(f"?example=coffee&model={RESNET}").ready()
    look.page.locator("#top5 button").nth(2).click()
    look.page.locator("#stages button").nth(1).click()
    address, picture = look.page.url, look.pixels()
    assert set(look.link()) == {"example", "model", "class", "layer"}
    other = visit("?" + address.partition("?")[2]).ready()
    assert (other.pixels() == picture).all()
    look.page.reload()
    look.ready()
    assert look.page.url == address
    look.page.locator("[data-example=cat]").click()
    look.ready()
    look.page.go_back()
    expect(look.page.locator("[data-example=coffee]")).to_have_attribute("aria-pressed", "true")
    look.ready()
    assert look.page.url == address
    look.page.go_forward()
    expect(look.page.locator("[data-example=cat]")).to_have_attribute("aria-pressed", "true")
    look.ready()


def test_a_photo_on_its_way_dims_the_answer_and_the_last_choice_wins(visit, my_png):
    look = visit().ready()
    held = []
    look.page.route(re.compile("/upload"), lambda route: held.append(route))
    look.upload(my_png, "mine.png")
    expect(look.page.locator("#overlay")).to_have_attribute("aria-busy", "true")
    expect(look.page.locator("#panel-look")).to_have_class(STALE)
    look.page.locator("#keep").click()
    expect(look.notice()).to_have_text("There is no answer to keep yet.")
    look.page.locator("[data-example=coffee]").click()
    look.ready()
    labels, pixels = look.labels(), look.pixels()
    with look.page.expect_response(re.compile("/upload")):
        held.pop().continue_()
    assert look.page.evaluate("new Promise(done => setTimeout(done, 300))") is None
    look.ready()
    assert look.labels() == labels
    assert (look.pixels() == pixels).all()
    assert look.link()["example"] == "coffee"
    # one that does not arrive leaves what was there
    look.page.unroute(re.compile("/upload"))
    look.page.route(re.compile("/upload"), lambda route: route.fulfill(status=500))
    look.upload(my_png, "mine.png")
    expect(look.notice()).to_contain_text("mine.png could not be uploaded")
    look.ready()
    assert look.labels() == labels
    look.errors.clear()  # the browser's own word on status 500


def test_back_leaves_an_upload_behind(visit, my_png):
    look, held = visit().ready(), []
    lion = look.labels()
    look.page.locator("[data-example=coffee]").click()
    look.ready()
    look.page.route(re.compile("/upload"), lambda route: held.append(route))
    look.upload(my_png, "mine.png")
    expect(look.page.locator("#panel-look")).to_have_class(STALE)
    look.page.go_back()
    expect(look.page.locator("[data-example=lion]")).to_have_attribute("aria-pressed", "true")
    look.ready()
    assert look.labels() == lion
    with look.page.expect_response(re.compile("/upload")):
        held.pop().continue_()
    assert look.page.evaluate("new Promise(done => setTimeout(done, 300))") is None
    look.ready()
    assert look.labels() == lion
    look.page.go_forward()
    expect(look.page.locator("[data-example=coffee]")).to_have_attribute("aria-pressed", "true")


def test_the_camera_is_off_once_it_is_not_needed(visit):
    look = visit().ready()
    # Each a stream of a canvas in the place of a camera.
    look.page.evaluate(
        """() => {
          window.tracks = [];
          Object.defineProperty(navigator, 'mediaDevices', {value: {getUserMedia: async () => {
            const canvas = Object.assign(document.createElement('canvas'), {width: 60, height: 40});
            canvas.getContext('2d').fillRect(0, 0, 30, 40);
            const stream = canvas.captureStream(10);
            window.tracks.push(...stream.getTracks());
            return stream;
          }}});
        }"""
    )
    live = "tracks.map(track => track.readyState)"
    look.page.locator("summary:has-text('Camera')").click()
    for _ in range(2):
        look.page.locator("[data-do=camera]").click()
        expect(look.page.locator("#camera")).to_be_visible()
    look.page.wait_for_function("window.tracks.length === 2")
    assert look.page.evaluate(live) == ["ended", "live"]
    look.page.locator("summary:has-text('Camera')").click()
    look.page.wait_for_function(f"({live}).every(state => state === 'ended')")
    look.page.locator("summary:has-text('Camera')").click()
    expect(look.page.locator("#camera")).to_be_hidden()
    look.page.locator("[data-do=camera]").click()
    look.page.wait_for_function("document.getElementById('camera').videoWidth > 0")
    look.page.locator("#snap").click()
    expect(look.page.locator("[data-example=lion]")).to_have_attribute("aria-pressed", "false")
    look.ready()
    look.page.wait_for_function(f"({live}).every(state => state === 'ended')")
    assert look.asked[-2:] == ["upload", "join"]


def test_back_returns_to_an_uploaded_photo(visit, my_png):
    look = visit().ready()
    look.upload(my_png, "mine.png")
    expect(look.page.locator("#panel-look")).to_have_class(re.compile("stale"))
    look.ready()
    labels, mine = look.labels(), look.pixels()
    flipped = io.BytesIO()
    Image.open(io.BytesIO(my_png)).transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(flipped, "PNG")
    look.upload(flipped.getvalue(), "other.png")
    expect(look.page.locator("#panel-look")).to_have_class(re.compile("stale"))
    look.ready()
    look.page.get_by_role("button", name="Zoom in").click()
    look.page.locator("[data-example=cat]").click()
    look.ready()
    assert look.labels() != labels
    look.page.go_back()
    expect(look.page.locator("[data-example=cat]")).to_have_attribute("aria-pressed", "false")
    look.ready()
    seen = "document.querySelector('#canvases canvas').toDataURL()"
    look.drawn()
    before = look.page.evaluate(seen)
    look.page.go_back()
    look.page.wait_for_function(f"before => {seen} !== before", arg=before)
    look.ready()
    assert (look.pixels() == mine).all(), "the first photo, as large as it was"
    expect(look.page.locator("[data-example=cat]")).to_have_attribute("aria-pressed", "false")
    look.ready()
    assert look.labels() == labels


def test_copy_link_gives_the_address(visit):
    look = visit("", permissions=["clipboard-read", "clipboard-write"]).ready()
    look.page.locator("#link").click()
    expect(look.notice()).to_have_text("The link is copied.")
    assert look.page.evaluate("navigator.clipboard.readText()") == look.page.url


# What the server says of a model or a stage that is not there: tests/page/test_answering.py.
@pytest.mark.parametrize(("query", "words"), [
    ("?tab=nowhere&tour=7", "tab=nowhere, tour=7"),
    ("?layer=-1&example=unicorn&method=%3Cscript%3E&tour=1.5",
     "example=unicorn, layer=-1, method=<script>, tour=1.5"),
    ("?class=unheard-of", "top-1 prediction is shown instead"),
])  # fmt: skip
def test_a_malformed_link_opens_the_page_and_says_what_was_ignored(visit, query, words):
    look = visit(query).ready()
    expect(look.notice()).to_contain_text(words)
    assert len(look.labels()) == 5


def test_a_link_to_a_model_that_is_not_here_waits_for_the_button(visit):
    look = visit("?model=res2net50_26w_4s.in1k")
    expect(look.page.locator("#run")).to_have_text(re.compile(r"Download \d+ MB"))
    expect(look.notice()).to_contain_text("not on this machine yet")
    assert look.page.locator("#panel-look .answer").inner_html() == ""
    look.page.locator("#model").select_option(RES2NET)
    look.ready()
    expect(look.page.locator("#run")).to_be_hidden()


def test_a_question_and_its_button_stay_with_the_tab_that_they_are_for(visit, monkeypatch):
    look, gate, names = visit().ready(), threading.Event(), zoom._names
    page, run, missing = look.page, look.page.locator("#run"), "not on this machine yet"
    look.tab("Scales")
    look.ready("scales")
    look.tab("Zoom")
    look.ready("zoom")
    monkeypatch.setattr(zoom, "_names", lambda *asked: gate.wait(30) and names(*asked))
    page.locator("#panel-zoom .controls summary").click()
    page.locator("#zoom-models select").select_option("resnet50.tv_in1k")
    look.tab("Look")
    gate.set()  # the question comes while another tab is in front
    for _ in range(2):
        look.ready()
        expect(run).to_be_hidden()
        expect(look.notice()).to_be_empty()
        look.tab("Zoom")
        expect(run).to_have_text("Download 102 MB and show it")
        expect(look.notice()).to_contain_text(missing)
        look.tab("Look")
    look.tab("Zoom")
    page.locator("#zoom-download").click()  # of the dimmed answer: agrees to nothing
    expect(page.locator("#zoom-download")).to_have_attribute("aria-disabled", "false")
    expect(look.notice()).to_contain_text(missing)
    asked = list(look.asked)
    # A question that comes after a first answer.
    look.tab("Scales")
    look.ready("scales")
    page.locator("#cut-run").click()
    for _ in range(2):
        expect(run).to_have_text("Download 102 MB and show it")
        look.tab("Look")
        expect(run).to_be_hidden()
        look.tab("Scales")
    assert look.asked[len(asked) :] == ["join"] * 2


def test_what_was_stopped_stays_so_when_another_tab_is_answered(visit, monkeypatch):
    look, curve = visit().ready(), zoom._curve
    stop, run = look.page.locator("#stop"), look.page.locator("#run")

    def waiting(*asked):
        asked[5](1, 12)  # only work that says how far it is can be stopped
        while not asked[3].is_cancelled():
            time.sleep(0.01)
        raise Cancelled("Stopped before the first size was done.")

    monkeypatch.setattr(zoom, "_curve", waiting)
    look.tab("Zoom")
    stop.click()
    expect(run).to_have_text("Try again")
    monkeypatch.setattr(zoom, "_curve", curve)
    look.tab("Scales")
    look.ready("scales")
    asked = list(look.asked)
    look.tab("Zoom")
    expect(run).to_have_text("Try again")
    expect(look.notice()).to_contain_text("Stopped before")
    assert look.asked == asked
    run.click()
    look.ready("zoom")
    expect(run).to_be_hidden()


def test_a_photo_can_be_pasted_and_dropped(visit, my_png):
    look = visit().ready()
    give = """([name, bytes]) => {
      const data = new DataTransfer();
      data.items.add(new File([new Uint8Array(bytes)], 'mine.png', {type: 'image/png'}));
      const made = name === 'paste'
        ? new ClipboardEvent('paste', {clipboardData: data, bubbles: true})
        : new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true});
      document.body.dispatchEvent(made);
    }"""
    for name in ("paste", "drop"):
        look.page.locator("[data-example=lion]").click()
        look.ready()
        look.page.evaluate(give, [name, list(my_png)])
        expect(look.page.locator("[data-example=lion]")).to_have_attribute("aria-pressed", "false")
        look.ready()


def test_a_broken_file_is_refused_with_a_sentence_and_the_next_one_works(visit, my_png):
    look = visit().ready()
    for count in (1, 2):  # a file that is chosen again is asked about again
        look.upload(b"this is no picture", "notes.png")
        expect(look.notice()).to_contain_text("notes.png")
        expect(look.page.locator("#overlay")).to_have_attribute("aria-busy", "false")
        assert look.asked == ["join", *["upload", "join"] * count]
        expect(look.page.locator("#panel-look")).to_have_class(STALE)
    look.upload(my_png, "mine.png")
    look.ready()
    expect(look.notice()).to_be_empty()


def test_two_visitors_never_see_each_others_photo(visit, my_png):
    first, second = visit(), visit("?example=cat")
    first.ready()
    second.ready()
    others = second.labels()
    first.upload(my_png, "mine.png")
    second.page.locator("[data-example=coffee]").click()
    first.ready()
    second.ready()
    assert second.labels() != others
    assert "mine.png" not in second.page.content()
    assert second.link()["example"] == "coffee"


def test_hostile_names_are_shown_as_text(visit, my_png):
    look = visit("?class=%3Cimg%20src%3Dx%20onerror%3D%22window.hit%3D1%22%3E").ready()
    hostile = next(name for name in CLASSES if "<b" in name)
    look.page.locator("#target").fill(hostile)
    look.page.locator("#target").press("Enter")
    expect(look.caption()).to_contain_text(hostile)
    look.ready()
    look.upload(my_png, "<img src=x onerror=window.hit=1>.png")
    look.ready()
    assert look.page.locator("b.x").count() == 0
    assert look.page.evaluate("window.hit") is None


# ---- layout, keyboard -----------------------------------------------------------------------


def test_everything_can_be_reached_with_the_keyboard(visit):
    look = visit().ready()
    reached, ids = set(), ("opacity", "model", "link", "tab-look", "target", "method", "download")
    for _ in range(60):
        look.page.keyboard.press("Tab")
        reached.add(look.page.evaluate(
            "(e => e.id || e.dataset.do || e.dataset.set || e.dataset.example || e.tagName)"
            "(document.activeElement)"
        ))  # fmt: skip
    assert set(ids) <= reached
    assert {"choose", "lion", "CANVAS"} <= reached
    look.page.locator("#top5 button").nth(1).focus()
    look.page.keyboard.press("Enter")
    assert look.page.locator("#top5 button").nth(1).get_attribute("aria-pressed") == "true"
    assert look.page.evaluate("document.activeElement.dataset.set") is not None
