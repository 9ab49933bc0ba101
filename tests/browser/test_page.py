"""The page as a whole: one state, links, several visitors, hostile input, phone, keyboard."""

import io
import re
import threading
import time

import pytest
from PIL import Image
from playwright.sync_api import expect

from mscnn.errors import Cancelled
from mscnn.page.lenses import look as look_lens
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


def test_a_choice_that_is_taken_back_leaves_the_answer_that_is_there(visit, monkeypatch):
    look, gate, last_stage = visit().ready(), threading.Event(), look_lens._Found.last_stage
    labels, pixels = look.labels(), look.pixels()

    def held(found, target):
        gate.wait(30)
        return last_stage(found, target)

    monkeypatch.setattr(look_lens._Found, "last_stage", held)
    look.page.locator("[data-example=coffee]").click()
    expect(look.page.locator("#panel-look")).to_have_class(STALE)
    look.page.locator("[data-example=lion]").click()
    look.ready()  # the coffee is still on its way
    gate.set()
    assert look.page.evaluate("new Promise(done => setTimeout(done, 500))") is None
    expect(look.page.locator("#panel-look")).to_have_class("panel")
    assert look.labels() == labels
    assert (look.pixels() == pixels).all()
    assert look.asked == ["join"] * 2


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


def test_an_uploaded_photo_outlives_gradios_settings(visit, my_png):
    look = visit().ready()
    look.upload(my_png, "mine.png")
    expect(look.page.locator("[data-example=lion]")).to_have_attribute("aria-pressed", "false")
    look.ready()
    labels = look.labels()
    look.page.evaluate("history.replaceState(null, '', '?view=settings')")  # as gradio does
    look.page.locator("#tab-rf").click()
    look.ready("rf")
    look.page.go_back()
    look.ready()
    assert look.labels() == labels
    look.page.evaluate("history.replaceState(null, '', '?')")
    look.page.locator("#intro").click()
    look.page.wait_for_function("history.state?.mscnn")
    look.page.reload()
    look.ready()
    assert look.labels() == labels
    expect(look.page.locator("[data-example][aria-pressed=true]")).to_have_count(0)


def test_copy_link_gives_the_address(visit):
    look = visit("", permissions=["clipboard-read", "clipboard-write"]).ready()
    look.page.locator("#link").click()
    expect(look.notice()).to_have_text("The link is copied.")
    assert look.page.evaluate("navigator.clipboard.readText()") == look.page.url


def test_a_question_stays_beside_its_button_when_the_link_is_copied(visit):
    permissions = ["clipboard-read", "clipboard-write"]
    look = visit("?model=res2net50_26w_4s.in1k", permissions=permissions)
    expect(look.page.locator("#run")).to_have_text(re.compile("Download"))
    look.page.locator("#link").click()
    expect(look.notice()).to_contain_text(re.compile("not on this machine yet.*The link is copied"))


def test_a_link_holds_names_with_commas_and_long_classes(visit):
    name, label = "cats, dogs", "x" * 290
    query = f"?models={RESNET},{name.replace(',', '%252C')}&class={label}"
    look = visit(query).ready("compare")
    expect(look.page.locator("#models .chips button")).to_have_count(2)
    expect(look.page.locator("#compare-grid h2").nth(1)).to_have_text(name)
    assert look.link()["models"] == f"{RESNET},cats%2C dogs"
    expect(look.notice()).not_to_contain_text("ignored")


def test_where_nothing_can_be_copied_the_link_is_shown_with_a_word(visit, my_png):
    look = visit(script="Object.defineProperty(navigator, 'clipboard', {value: undefined})").ready()
    look.upload(my_png, "mine.png")
    expect(look.page.locator("[data-example=lion]")).to_have_attribute("aria-pressed", "false")
    look.ready()
    look.page.locator("#link").click()
    expect(look.notice()).to_contain_text(f"which does not hold your own photo: {look.page.url}")


# What the server says of a model or a stage that is not there: tests/page/test_answering.py.
@pytest.mark.parametrize(("query", "words"), [
    ("?tab=constructor&tour=7", "tab=constructor, tour=7"),
    ("?layer=-1&example=unicorn&method=%3Cscript%3E&tour=1.5",
     "example=unicorn, layer=-1, method=<script>, tour=1.5"),
    ("?class=unheard-of", "top-1 prediction is shown instead"),
    ("?tab=look&models=a,b,c,d,e,f,resnet18", "ignored: models=resnet18."),
])  # fmt: skip
def test_a_malformed_link_opens_the_page_and_says_what_was_ignored(visit, query, words):
    look = visit(query).ready()
    expect(look.notice()).to_contain_text(words)
    assert len(look.labels()) == 5


def test_a_typed_link_to_a_method_with_pluses_is_that_method(visit):
    look = visit("?method=gradcam++").ready()
    expect(look.page.locator("#method")).to_have_value("gradcam++")
    expect(look.notice()).not_to_contain_text("ignored")


def test_a_link_to_a_model_that_is_not_here_waits_for_the_button(visit):
    look = visit("?model=res2net50_26w_4s.in1k")
    expect(look.page.locator("#run")).to_have_text(re.compile(r"Download \d+ MB"))
    expect(look.notice()).to_contain_text("not on this machine yet")
    assert look.page.locator("#panel-look .answer").inner_html() == ""
    look.page.locator("#model").select_option(RES2NET)
    look.ready()
    expect(look.page.locator("#run")).to_be_hidden()


def test_a_question_is_gone_while_another_photo_is_on_its_way(visit, my_png):
    look, held = visit("?model=res2net50_26w_4s.in1k"), []
    run = look.page.locator("#run")
    expect(run).to_have_text(re.compile("Download"))
    look.page.route(re.compile("/upload"), lambda route: held.append(route))
    with look.page.expect_request(re.compile("/upload")):
        look.upload(my_png, "mine.png")
    expect(look.page.locator("#overlay")).to_have_attribute("aria-busy", "true")
    expect(run).to_be_hidden()
    with look.page.expect_response(re.compile("/upload")):
        held.pop().continue_()
    expect(run).to_have_text(re.compile("Download"))
    expect(look.page.locator("[data-example=lion]")).to_have_attribute("aria-pressed", "false")


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


def test_a_request_that_the_server_turns_away_can_be_made_again(visit):
    """As gradio does when its queue is full."""
    look = visit().ready()
    full = re.compile("/queue/join")
    look.page.route(full, lambda route: route.fulfill(status=503, json={"detail": "full"}))
    look.page.locator("[data-example=coffee]").click()
    expect(look.page.locator("#run")).to_have_text("Try again")
    expect(look.notice()).to_contain_text("try again in a moment")
    expect(look.page.locator("#overlay")).to_have_attribute("aria-busy", "false")
    expect(look.page.locator("#panel-look")).to_have_class(STALE)
    look.page.unroute(full)
    look.page.locator("#run").click()
    look.ready()
    expect(look.page.locator("#run")).to_be_hidden()
    expect(look.notice()).to_be_empty()
    look.errors.clear()  # the browser's own word on status 503


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


def test_words_pasted_into_a_field_are_no_photo(visit, my_png):
    """Spreadsheets put a picture of a cell beside its words."""
    look = visit().ready()
    taken = look.page.locator("#target").evaluate(
        """(field, bytes) => {
          const data = new DataTransfer();
          data.setData('text/plain', 'espresso');
          data.items.add(new File([new Uint8Array(bytes)], 'cell.png', {type: 'image/png'}));
          const pasted = {clipboardData: data, bubbles: true, cancelable: true};
          return !field.dispatchEvent(new ClipboardEvent('paste', pasted));
        }""",
        list(my_png),
    )
    assert not taken
    look.ready()
    expect(look.page.locator("[data-example=lion]")).to_have_attribute("aria-pressed", "true")
    assert look.asked == ["join"]


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


def test_the_browser_keeps_no_file_that_is_not_shown(visit, my_png):
    held = """(() => { window.held = new Set();
      const {createObjectURL: make, revokeObjectURL: drop} = URL;
      URL.createObjectURL = file => { const url = make(file); held.add(url); return url; };
      URL.revokeObjectURL = url => { held.delete(url); drop(url); }; })()"""
    look = visit(script=held).ready()
    for name in ("one.png", "two.png"):
        look.upload(my_png, name)
        expect(look.page.locator("[data-example=lion]")).to_have_attribute("aria-pressed", "false")
        look.ready()
    look.page.locator("[data-example=cat]").click()
    look.ready()
    assert look.page.evaluate("held.size") == 0


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
