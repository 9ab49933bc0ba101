"""The tour: six steps forth and back, for everyone; what the visitor had is there afterwards."""

import hashlib

import pytest
from playwright.sync_api import expect

from tests.browser.test_access import SIZES, findings
from tests.page.serving import MODELS

RES2NET, RESNET = MODELS
TABS = ("look", "look", "look", "scales", "scales", "rf")
SPOKEN_OF = ("#top5", "#top5", "#stages", "#scale-plot", "#cut", "#canvases canvas")


def step(look, k):
    """Wait until a step and its whole answer are there; returns its text."""
    text = look.page.locator(f"#tour-{k}")
    expect(text).to_be_visible()
    expect(text).to_be_focused()
    expect(text.locator("h2")).to_contain_text(f"Step {k + 1} of 6")
    assert look.page.locator("#tour > [role=group]:visible").count() == 1
    look.ready(TABS[k])
    expect(look.page.locator("#run")).to_be_hidden()  # no step asks for consent
    return text


def state(look):
    """What a visitor sees of the state, and a digest of its picture, which pytest can compare."""
    look.page.mouse.move(1, 1)
    look.page.evaluate(
        "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )
    chosen = "all => all.map(e => e.textContent + (e.value ?? ''))"
    pressed = look.page.locator("[aria-pressed=true]:visible").evaluate_all(chosen)
    fields = look.page.locator(":is(select, input):visible").evaluate_all(chosen)
    drawn = hashlib.sha256(look.pixels().tobytes()).hexdigest()
    return look.link(), pressed, fields, look.caption().text_content(), drawn


@pytest.mark.slow
def test_six_steps_forth_and_back_and_the_visitors_own_state_is_restored(visit, my_png):
    look = visit(f"?model={RESNET}&method=hirescam").ready()
    look.upload(my_png, "mine.png")
    expect(look.page.locator("[data-example=lion]")).to_have_attribute("aria-pressed", "false")
    look.ready()
    look.page.locator("#top5 button").nth(2).click()
    look.page.locator("#stages button").nth(1).click()
    look.slide("#opacity", 0.9)
    look.page.locator("[data-do=zoom-in]").click()
    expect(look.caption()).to_contain_text(look.labels()[2])
    own, entries = state(look), look.page.evaluate("history.length")
    look.asked.clear()

    look.page.locator("#tour-start").click()
    for k in range(6):
        step(look, k)
        if k == 0:
            first = look.labels()
        if k == 1:
            expect(look.caption()).to_contain_text(look.labels()[1])
        if k == 2:
            expect(look.page.locator("#stages [aria-pressed=true]")).to_have_text("Stage 1")
        if k == 4:
            expect(look.page.locator("#cap-plot")).to_be_visible()
        if k < 5:
            look.page.locator("#tour-next").click()
    assert look.asked == ["join"] * 4  # one for each answer that was not there yet
    for k in (4, 3, 2, 1, 0):
        look.page.locator("#tour-back").click()
        step(look, k)
    assert look.labels() == first
    assert look.chosen() == first[0]
    assert look.asked == ["join"] * 5  # Scales without cuts again
    assert look.link() == own[0]

    look.page.get_by_role("button", name="Leave the tour").click()
    expect(look.page.locator("#tour")).to_be_hidden()
    expect(look.page.locator("#tour-start")).to_be_focused()
    assert state(look) == own
    assert look.page.evaluate("history.length") == entries
    assert look.asked == ["join"] * 5


def test_a_link_opens_a_step_and_escape_leaves(visit):
    look = visit("?tour=2&example=coffee&tab=rf")
    step(look, 1)
    expect(look.caption()).to_contain_text(look.labels()[1])
    assert look.asked == ["join"]  # nothing for what the link shows besides
    look.page.reload()
    step(look, 1)
    # Escape closes a popup first
    look.page.locator(".tools summary").click()
    look.page.keyboard.press("Escape")
    expect(look.page.locator("#colours")).to_be_hidden()
    look.page.keyboard.press("Escape")
    expect(look.page.locator("#tour")).to_be_hidden()
    look.ready("rf")
    assert look.link() == {"example": "coffee", "tab": "rf", "model": RES2NET}


def test_who_chooses_a_photo_or_goes_back_has_left(visit, my_png):
    look = visit(f"?model={RESNET}").ready()
    look.page.locator("[data-example=cat]").click()
    look.ready()
    look.page.locator("#tour-start").click()
    step(look, 0)
    look.upload(my_png, "mine.png")
    expect(look.page.locator("#tour")).to_be_hidden()
    look.ready()
    assert look.link() == {"model": RESNET}
    look.page.locator("#tour-start").click()
    step(look, 0)
    look.page.go_back()
    expect(look.page.locator("#tour")).to_be_hidden()
    look.ready()
    assert look.link() == {"example": "cat", "model": RESNET}


@pytest.mark.slow
def test_a_long_answer_that_is_left_is_not_shown(visit):
    look = visit("?example=coffee").ready()
    labels = look.labels()
    look.page.locator("#tour-start").click()
    for k in range(3):
        step(look, k)
        look.page.locator("#tour-next").click()
    look.page.locator("#tour-next").click()  # the cuts are on their way
    look.page.keyboard.press("Escape")
    look.ready()
    assert look.labels() == labels
    look.page.locator("#tour-start").click()
    step(look, 0)


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_every_step_fits_covers_nothing_and_axe_finds_nothing(visit, size):
    # What fits depends on the size, what axe finds in the dark on colours alone.
    scheme = "dark" if size == "phone" else "light"
    look = visit("?tour=1", color_scheme=scheme, **SIZES[size])
    for k, spoken in enumerate(SPOKEN_OF):
        step(look, k)
        assert findings(look) == [], k
        width, height = SIZES[size]["viewport"].values()
        assert look.page.evaluate("document.documentElement.scrollWidth") <= width
        card = look.page.locator("#tour").bounding_box()
        assert card["y"] >= 0, k
        assert card["y"] + card["height"] <= height, k
        thing = look.page.locator(spoken).first.bounding_box()
        beside = thing["x"] + thing["width"] <= card["x"]
        below = card["y"] + card["height"] <= thing["y"]
        above = thing["y"] + thing["height"] <= card["y"]
        assert beside or below or above, k
        # At most the tabs and a sentence stand between the step and what it speaks of.
        assert not below or thing["y"] - card["y"] - card["height"] < 260, k
        if k < 5:
            look.page.keyboard.press("Tab")
            if k:
                look.page.keyboard.press("Tab")
            assert look.page.evaluate("document.activeElement.id") == "tour-next"
            look.page.keyboard.press("Enter")
