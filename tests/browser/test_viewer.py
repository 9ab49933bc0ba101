"""What the viewer and the panels offer to every lens, on a toy lens that uses all of it."""

from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect

from mscnn.geometry import ViewGeometry
from mscnn.page import lenses
from mscnn.page.lens import Lens
from mscnn.page.messages import map_message
from mscnn.results.explanation import CamMap
from tests.page.serving import serving

HTML = """
<button data-show='{"map": "a"}' id="show-a">A</button>
<button data-show='{"map": "b"}' data-hover id="show-b">B</button>
<button data-set='{"options": {"size": 3}}' id="three">Three</button>
<input type="number" id="size" data-field="options.size" min="1" max="9">
<input type="checkbox" id="flag" data-field="options.flag">
<canvas data-map="b" id="small"></canvas>
<fieldset data-list="models"><div class="chips"></div>
  <select data-add="models" id="add" data-choices="models"></select></fieldset>
<svg viewBox="0 0 10 10"><g data-mark="b"><title>Part B</title><rect width="5" height="5"/></g>
  <g data-mark="nothing"><rect x="5" width="5" height="5"/></g></svg>
<p id="heard">%s</p>
"""
HEARD: list[Any] = []


def answer(request, context):
    HEARD.append(request)
    width, height = context.photo(request).image.size
    geometry = ViewGeometry((width, height), (width, height), (0, 0), (width, height))
    raw = np.zeros((4, 4), np.float32)
    raw[1, 2] = 3
    maps = [
        map_message(CamMap("layer4", 0, "toy", raw, geometry), map_id="a", title="A", caption="a"),
        map_message(CamMap("layer4", 0, "toy", raw.T, geometry), map_id="b", title="B"),
        map_message(
            CamMap("layer4", 0, "toy", raw - raw.T, geometry), map_id="d", title="D", signed=True
        ),
    ]
    pick = request.options.get("pick", "point")
    view: dict[str, Any] = {"maps": maps, "pick": pick}
    if request.options.get("flag"):
        view["columns"] = [{"title": "One", "map": "a"}, {"title": "Two", "map": "b"}]
    view["fields"] = [
        {"title": "Stage 4", "stage": "4", "stride": [64, 64], "start": [32, 32],
         "size": [100, 100], "grid": [4, 4], "view": [256, 256], "rect": [0, 0, width, height]}
    ]  # fmt: skip
    view["boxes"] = [{"rect": [10, 10, 60, 60], "title": "box", "tone": 2}]
    yield {"view": view, "html": HTML % request.serial}


TOY = Lens(
    id="toy", title="Toy", question="Does it work?", answer=answer,
    needs=("photo", "model", "models", "options", "point", "box"),
)  # fmt: skip


@pytest.fixture(scope="module")
def site(folders):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(lenses.LENSES, "toy", TOY)
        with serving(folders) as running:
            yield running


@pytest.fixture
def toy(visit):
    HEARD.clear()
    return visit("?tab=toy").ready("toy")


def test_a_map_is_chosen_hovered_and_pointed_at_without_a_request(toy):
    first = toy.pixels()
    toy.page.locator("#show-b").hover()
    hovered = toy.pixels()
    assert (hovered != first).any()
    toy.page.locator("#show-a").hover()
    assert (toy.pixels() == first).all()
    toy.page.locator("#show-b").click()
    toy.page.mouse.move(0, 0)
    assert toy.page.locator("#show-b").get_attribute("aria-pressed") == "true"
    assert toy.page.locator("#small").evaluate("c => c.width") > 0
    toy.page.locator("#show-a").click()
    toy.page.mouse.move(0, 0)
    assert (toy.pixels() == first).all()
    # A mark of a chart is a button if it shows something.
    mark = toy.page.get_by_role("button", name="Part B")
    mark.focus()
    toy.page.keyboard.press("Enter")
    assert (toy.pixels() != first).any()
    assert toy.page.locator("[data-mark=nothing]").get_attribute("role") is None
    # The receptive field under the pointer: 100 of 256 px of the input, whatever the photo's size.
    toy.page.locator("#show-a").click()
    toy.point(0.5, 0.5)
    assert (toy.pixels() != first).any()
    expect(toy.page.locator("#readout")).to_contain_text("sees 39 % of the width")
    assert len(HEARD) == 1


def test_options_are_bound_both_ways_and_asked_for(toy):
    toy.page.locator("#three").click()
    expect(toy.page.locator("#size")).to_have_value("3")
    toy.ready("toy")
    toy.page.locator("#size").fill("5")
    toy.page.locator("#size").press("Tab")
    expect(toy.page.locator("#three")).to_have_attribute("aria-pressed", "false")
    toy.ready("toy")
    assert [r.options.get("size") for r in HEARD] == [None, 3.0, 5.0]


def test_columns_share_zoom_and_pointer(toy):
    toy.page.locator("#flag").check()
    expect(toy.page.locator("#canvases canvas")).to_have_count(2)
    expect(toy.page.locator("#canvases figcaption").nth(1)).to_have_text("Two")
    toy.point(0.6, 0.4)
    expect(toy.page.locator("#readout")).to_contain_text("One: ")
    expect(toy.page.locator("#readout")).to_contain_text("Two: ")
    before = [toy.pixels(f"#canvases figure:nth-child({k}) canvas") for k in (1, 2)]
    toy.page.get_by_role("button", name="Zoom in").click()
    after = [toy.pixels(f"#canvases figure:nth-child({k}) canvas") for k in (1, 2)]
    assert all((a != b).any() for a, b in zip(before, after, strict=True))
    assert len(HEARD) == 2


def test_a_click_sets_the_point_and_the_keyboard_does_too(toy):
    toy.point(0.25, 0.75, click=True)
    toy.ready("toy")
    assert HEARD[-1].point == pytest.approx((0.25, 0.75), abs=0.01)
    toy.page.locator("#canvases canvas").focus()
    toy.page.keyboard.press("ArrowRight")
    toy.page.keyboard.press("Enter")
    toy.ready("toy")
    assert HEARD[-1].point[0] > 0.26
    # A wheel over a photo that was clicked scrolls the page.
    toy.point(0.5, 0.5, click=True)
    toy.ready("toy")
    canvas = toy.page.locator("#canvases canvas").first
    expect(canvas).to_be_focused()
    taken = """(canvas, [deltaY, ctrlKey]) => !canvas.dispatchEvent(
      new WheelEvent("wheel", {deltaY, ctrlKey, bubbles: true, cancelable: true}))"""
    first = toy.pixels()
    assert not canvas.evaluate(taken, [60, False])
    assert not canvas.evaluate(taken, [-60, False])
    assert (toy.pixels() == first).all()
    assert canvas.evaluate(taken, [-60, True])
    assert (toy.pixels() != first).any(), "enlarged"
    assert canvas.evaluate(taken, [60, False]), "which the wheel alone takes back"


def test_a_drag_sets_the_box(visit):
    HEARD.clear()
    toy = visit("?tab=toy").ready("toy")
    toy.page.evaluate(
        """() => {
          const button = document.querySelector('#three');
          button.dataset.set = '{"options": {"pick": "box"}}';
          button.click();
        }"""
    )
    expect(toy.page.locator("#heard")).to_have_text("2")
    toy.ready("toy")
    box = toy.page.locator("#canvases canvas").bounding_box()
    toy.page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.3 * box["height"])
    toy.page.mouse.down()
    for part in (0.5, 0.7):
        toy.page.mouse.move(box["x"] + part * box["width"], box["y"] + 0.8 * box["height"])
    toy.page.mouse.up()
    toy.ready("toy")
    assert HEARD[-1].box == pytest.approx((0.2, 0.3, 0.7, 0.8), abs=0.01)


def test_models_are_a_list_of_chips(toy):
    toy.page.locator("#add").select_option("starter_resnet")
    expect(toy.page.locator("#panel-toy .chips button")).to_have_count(1)
    toy.page.locator("#add").select_option("starter_res2net")
    toy.ready("toy")
    assert HEARD[-1].models == ("starter_resnet", "starter_res2net")
    assert toy.link()["models"] == "starter_resnet,starter_res2net"
    toy.page.locator("#panel-toy").get_by_role("button", name="Remove Starter ResNet").first.click()
    toy.ready("toy")
    assert HEARD[-1].models == ("starter_res2net",)


def test_arrow_keys_move_between_tabs_and_other_tabs_are_dimmed_until_opened(visit):
    look = visit().ready()
    look.tab("Toy")
    look.ready("toy")
    look.page.locator("#tab-toy").focus()
    for key, name in (("ArrowLeft", "Compare"), ("ArrowRight", "Toy"), ("Home", "Look")):
        look.page.keyboard.press(key)
        expect(look.page.get_by_role("tab", name=name)).to_be_focused()
    look.page.locator("[data-example=cat]").click()
    look.ready()
    look.page.keyboard.press("End")
    assert look.page.locator("#panel-toy").get_attribute("class") == "panel stale"
    look.tab("Toy")
    look.ready("toy")
    expect(look.page.locator("#panel-toy .stale-note")).to_be_empty()
