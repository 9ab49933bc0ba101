"""The Look lens and the viewer: what they show, and that showing it asks the server nothing."""

import io
import json
import re
import threading
import zipfile

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from mscnn.draw.overlay import overlay
from mscnn.maps.agreement import density
from mscnn.models.examples import examples
from mscnn.page.lenses import look as look_lens
from mscnn.photos.imaging import load_photo
from tests.page.serving import MODELS

RES2NET, RESNET = MODELS
LION = next(example.path for example in examples() if example.label == "Lion")


@pytest.fixture
def explained(site):
    """``explained(photo, target)``: what the engine says of the last stage."""

    def of(photo, target="top5", layers=None, model=RES2NET):
        return site.engine.session.network(model).explain(
            photo, targets=target, layers=layers, name=""
        )

    return of


def test_the_first_visit_shows_an_example_with_its_five_classes(visit, explained):
    look = visit().ready()
    found = explained(LION).prediction
    assert look.labels() == [score.label for score in found.top]
    assert look.chosen() == found.top[0].label
    expect(look.caption()).to_contain_text(found.top[0].label)
    assert look.asked == ["join"]
    expect(look.page.locator("#stages button")).to_have_count(4)
    assert look.link() == {"example": "lion", "model": RES2NET}
    # Arrow keys read the map, and the readout is announced.
    canvas = look.page.locator("#canvases canvas")
    canvas.focus()
    look.page.keyboard.press("ArrowRight")
    expect(look.page.locator("#readout")).to_contain_text("Stage 4")
    assert look.page.locator("#readout").get_attribute("aria-live") == "polite"
    expect(canvas).to_have_attribute("aria-label", re.compile("strongest evidence"))
    # The value under the pointer is the map's.
    heat = density(explained(LION, "top1").maps[0], None)
    height, width = heat.shape
    for across, down in ((0.5, 0.5), (0.7, 0.3), (0.3, 0.8)):
        look.point(across, down)
        text = look.page.locator("#readout").text_content()
        value = float(heat[int(down * height), int(across * width)])
        assert text.endswith("times an even spread")
        shown = float(text.split(": ")[-1].split()[0])
        assert abs(shown - value) < 0.15 + 0.03 * value
    # Saving the picture needs no server.
    look.page.locator(".tools summary").click()
    with look.page.expect_download() as got:
        look.page.get_by_role("button", name="Save this picture").click()
    assert got.value.suggested_filename.endswith(".png")
    assert look.asked == ["join"]


def test_the_last_stage_is_chosen_by_its_number_too(visit):
    look = visit("?layer=4").ready()
    expect(look.page.locator("#stages [aria-pressed=true]")).to_have_text("Stage 4")
    look.page.locator("#stages button").nth(1).click()
    expect(look.page.locator("#stages [aria-pressed=true]")).to_have_text("Stage 2")


def test_the_map_is_of_the_class_that_is_chosen_before_its_stage_is_there(visit, monkeypatch):
    third = visit().ready().labels()[2]
    gate, stages = threading.Event(), look_lens._Found.stages

    def held(found, target):
        gate.wait(60)
        return stages(found, target)

    monkeypatch.setattr(look_lens._Found, "stages", held)
    look = visit(f"?class={third}&layer=2")
    expect(look.page.locator("#top5 button")).to_have_count(5)
    assert third in str(look.caption().text_content())
    gate.set()
    look.ready()
    assert third in str(look.caption().text_content())


def test_class_stage_opacity_colours_and_threshold_ask_nothing(visit):
    look = visit().ready()
    before = look.pixels()
    seen = {before.tobytes()}
    second = look.labels()[1]
    look.page.locator("#top5 button").nth(1).click()
    expect(look.caption()).to_contain_text(second)
    seen.add(look.pixels().tobytes())
    for stage in range(3):
        look.page.locator("#stages button").nth(stage).click()
        seen.add(look.pixels().tobytes())
    look.slide("#opacity", 0.3)
    seen.add(look.pixels().tobytes())
    look.slide("#threshold", 0.5)
    seen.add(look.pixels().tobytes())
    look.page.locator(".tools summary").click()
    look.page.locator("#colours").select_option("viridis")
    seen.add(look.pixels().tobytes())
    look.page.get_by_role("button", name="Zoom in").click()
    seen.add(look.pixels().tobytes())
    assert len(seen) == 9, "each of them changes the picture"
    assert look.asked == ["join"]
    assert look.link()["class"] == second
    assert look.link()["layer"] == "3"


def test_the_canvas_equals_the_picture_of_the_file(visit, explained):
    generator = np.random.default_rng(3)
    patches = Image.fromarray(generator.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    look = visit().ready()
    for size in ((210, 150), (150, 210), (96, 96)):
        photo, out = patches.resize(size, Image.Resampling.BICUBIC), io.BytesIO()
        photo.save(out, "PNG")
        look.upload(out.getvalue(), "mine.png")
        expect(look.page.locator("[data-example=lion]")).to_have_attribute("aria-pressed", "false")
        look.ready()
        shown = look.pixels()
        cam = explained(photo, "top1").maps[0]
        drawn = (shown.shape[1], shown.shape[0])
        big = np.asarray(photo.resize(drawn, Image.Resampling.BICUBIC))
        heat = density(cam, max(drawn), max(drawn))
        wanted = overlay(
            big, heat[: drawn[1], : drawn[0]], vmax=max(float(density(cam, 224).max()), 1.0),
            opacity=0.65, crop=cam.geometry.crop_on(drawn),
        ).astype(np.int16)  # fmt: skip
        # Four px of each edge: the frame's line may fall a pixel beside the file's.
        difference = np.abs(shown - wanted)[4:-4, 4:-4]
        assert difference.mean() < 3, size
        assert np.percentile(difference, 99) < 16, size


def test_a_jpeg_that_only_xmp_turns_is_drawn_upright(visit):
    """No browser reads XMP."""
    photo = load_photo(LION).resize((210, 150))
    lying, upright = io.BytesIO(), io.BytesIO()
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    photo.save(lying, "JPEG", quality=95, xmp=xmp)
    photo.transpose(Image.Transpose.ROTATE_270).save(upright, "PNG")
    shown = []
    for file, kind in ((lying, "image/jpeg"), (upright, "image/png")):
        look = visit().ready()
        look.upload(file.getvalue(), f"mine.{kind[6:]}", kind)
        expect(look.page.locator("[data-example=lion]")).to_have_attribute("aria-pressed", "false")
        look.ready()
        shown.append(look.pixels())
    assert shown[0].shape == shown[1].shape
    assert np.abs(shown[0] - shown[1]).mean() < 12


def test_another_class_is_asked_for_once_and_an_unknown_one_says_so(visit, explained):
    look = visit().ready()
    other = next(name for name in ("sea lion", "espresso", "tabby") if name not in look.labels())
    look.page.locator("#target").fill(other)
    look.page.locator("#target").press("Enter")
    expect(look.caption()).to_contain_text(other)
    look.ready()
    assert look.asked == ["join"] * 2
    assert look.link()["class"] == other
    look.page.locator("#target").fill("unheard-of")
    look.page.locator("#target").press("Enter")
    expect(look.notice()).to_contain_text("No class fits")
    expect(look.page.locator("#panel-look")).to_have_class("panel stale")


def test_what_was_said_of_a_class_goes_with_it(visit):
    look = visit("?class=unheard-of&layer=9").ready()
    expect(look.notice()).to_contain_text("Its top-1 prediction is shown instead")
    expect(look.notice()).to_contain_text("its last one is shown")
    look.page.locator("#top5 button").nth(1).click()
    expect(look.notice()).to_be_empty()
    look.page.locator("#stages button").first.click()
    expect(look.notice()).to_be_empty()
    assert look.asked == ["join"]


@pytest.mark.slow
def test_a_method_draws_another_map_and_a_slow_one_asks_first(visit):
    look = visit().ready()
    before = look.pixels()
    look.page.locator("#method").select_option("eigencam")
    expect(look.caption()).to_contain_text("whatever the class")
    look.ready()
    assert (look.pixels() != before).any()
    look.page.locator("#method").select_option("ablationcam")
    expect(look.page.locator("#run")).to_contain_text("Start")
    expect(look.notice()).to_contain_text("about")
    expect(look.page.locator("#panel-look")).to_have_class("panel stale")
    look.page.locator("#run").click()
    expect(look.page.locator("#run")).to_be_hidden()
    look.ready()
    assert look.link()["method"] == "ablationcam"


def test_a_field_that_has_the_focus_says_what_is_chosen_too(visit):
    look = visit().ready()
    field = look.page.locator("#target")
    field.fill("king of beasts")
    field.press("Enter")
    look.ready()
    expect(field).to_be_focused()
    expect(field).to_have_value("lion")
    look.page.go_back()
    expect(field).to_have_value("")
    expect(field).to_be_focused()
    assert "class" not in look.link()


def test_the_download_is_made_on_a_click_and_holds_what_is_shown(visit, explained):
    look = visit().ready()
    look.page.locator("#stages button").nth(2).click()
    assert look.asked == ["join"]
    path = look.download()
    assert look.asked == ["join", "component_server"]
    with zipfile.ZipFile(path) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        raw = np.load(io.BytesIO(archive.read("cam.npy")))
    wanted = explained(load_photo(LION), "top1", "3").maps[0]
    np.testing.assert_allclose(raw, wanted.raw, atol=1e-5)
    assert "Lion" in json.dumps(manifest)


def test_where_there_is_no_canvas_the_drawn_picture_stands(visit):
    none = "HTMLCanvasElement.prototype.getContext = () => null"
    look = visit(script=none).ready()
    picture = look.page.locator("#picture")
    expect(picture).to_be_visible()
    expect(picture).to_have_attribute("src", re.compile("map.webp"))
    alt = picture.get_attribute("alt")
    assert alt is not None
    assert "strongest evidence" in alt
    # Words that belong to one map of many are shown with it.
    look.tab("Compare")
    look.ready("compare")
    expect(look.page.locator("section.agreement:visible")).to_have_count(1)


def test_a_caption_that_stays_is_not_announced_again(visit):
    look = visit().ready()
    look.page.evaluate("""() => {
      window.told = 0;
      new MutationObserver(all => { window.told += all.length; })
        .observe(document.querySelector('#caption'), {childList: true, subtree: true});
    }""")
    look.page.locator("#panel-look summary", has_text="In numbers").click()
    frame = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    look.page.evaluate(frame)
    assert look.page.evaluate("window.told") == 0
