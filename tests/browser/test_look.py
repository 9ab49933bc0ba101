"""The Look tab as a visitor uses it; every picture is compared with what the engine would draw."""

from __future__ import annotations

import json
import re
import threading
import zipfile
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from mscnn.page import handlers
from mscnn.page.examples import examples
from mscnn.photos.imaging import load_photo

MODEL, OTHER = "starter_res2net", "starter_resnet"


def example(label: str) -> Image.Image:
    return load_photo(next(e.path for e in examples() if e.label == label))


def shown_by_engine(engine: Any, photo: Image.Image, model: str = MODEL) -> handlers.Look:
    return handlers.look(engine, photo, model, "gradcam")


def drawn(shown: handlers.Look, opacity: float = 0.65) -> Any:
    return handlers.picture(shown.photo, shown.cam, opacity=opacity, cmap="inferno")


def assert_same_picture(got: Any, wanted: Any) -> None:
    assert got.shape == wanted.shape
    assert np.abs(got - wanted.astype(np.int16)).max() <= 2


def test_the_first_answer_needs_no_click(visit, site):
    look = visit().ready()
    expected = shown_by_engine(site.engine, example("Lion"))
    assert look.labels() == [s.label for s in expected.explanation.prediction.top]
    look.explained_as(expected.label)
    assert_same_picture(look.pixels(), drawn(expected))
    alt = look.page.locator("#overlay img").get_attribute("alt")
    assert alt == handlers.alt_text(expected)
    expect(look.page.locator("#notice")).to_contain_text("Starter Res2Net")
    expect(look.page.locator("#notice")).to_contain_text("CPU")


def test_an_uploaded_photo_is_explained(visit, site, my_photo, my_png):
    look = visit().ready()
    with look.redrawn():
        look.upload(my_png, "mine.png")
    expected = shown_by_engine(site.engine, my_photo)
    look.explained_as(expected.label)
    look.ready()
    assert look.labels() == [s.label for s in expected.explanation.prediction.top]
    assert_same_picture(look.pixels(), drawn(expected))


@pytest.mark.slow
def test_every_example_has_an_answer_of_its_own(visit, site):
    look = visit().ready()
    for label in ("Cat", "Coffee", "Lion"):
        with look.redrawn():
            look.page.locator("#examples").get_by_role("button", name=label).click()
        expected = shown_by_engine(site.engine, example(label))
        expect(look.page.locator("#overlay img")).to_have_attribute(
            "alt", handlers.alt_text(expected)
        )
        assert look.labels() == [s.label for s in expected.explanation.prediction.top]


def test_a_click_on_a_label_shows_its_map(visit, site):
    look = visit("?example=coffee").ready()
    photo = example("Coffee")
    expected = shown_by_engine(site.engine, photo)
    third = expected.explanation.prediction.top[2]
    with look.redrawn():
        look.page.get_by_test_id(f"{third.label}-confidence-set").click()
    look.explained_as(third.label)
    wanted = handlers.choose_class(site.engine, photo, expected, third.index)
    assert_same_picture(look.pixels(), drawn(wanted))
    alt = f"map of layer4 for {third.label}"
    assert alt in str(look.page.locator("#overlay img").get_attribute("alt"))
    stage = look.page.locator("#stages img").first
    expect(stage).to_have_attribute("alt", f"Stage 1: 32 x 32 places, map for {third.label}")


@pytest.mark.slow
def test_keyboard_alone_reaches_a_label_and_shows_its_map(visit):
    look = visit("?example=coffee").ready()
    second = look.labels()[1]
    page = look.page
    page.locator("body").press("Tab")
    for _ in range(60):
        focused = page.evaluate("document.activeElement.dataset.testid || ''")
        if focused == f"{second}-confidence-set":
            break
        page.keyboard.press("Tab")
    else:
        pytest.fail("the label cannot be reached with the Tab key")
    with look.redrawn():
        page.keyboard.press("Enter")
    look.explained_as(second)


@pytest.mark.slow
def test_opacity_and_colours_need_no_model_run(visit, site, forwards):
    expected = shown_by_engine(site.engine, example("Lion"))
    look = visit().ready()
    look.download("#download")  # the last of the events that follow an answer is over
    ran = len(forwards)
    slider = look.page.get_by_label("range slider for Opacity of the map")
    with look.redrawn():
        slider.press("Home")
    assert_same_picture(look.pixels(), drawn(expected, opacity=0.0))
    with look.redrawn(), look.redrawn("#stages img"):
        slider.press("End")
    assert_same_picture(look.pixels(), drawn(expected, opacity=1.0))
    with look.redrawn(), look.redrawn("#stages img"):
        look.choose("Colours", "viridis")
    assert len(forwards) == ran


@pytest.mark.slow
def test_any_other_class_is_found_by_typing(visit, site):
    look = visit().ready()
    with look.redrawn():
        look.choose("Or any other class (type to search)", "espresso")
    look.explained_as("espresso")
    photo = example("Lion")
    wanted = handlers.choose_class(
        site.engine, photo, shown_by_engine(site.engine, photo), "espresso"
    )
    assert_same_picture(look.pixels(), drawn(wanted))


@pytest.mark.slow
def test_another_model_answers_at_once(visit, site):
    look = visit().ready()
    with look.redrawn():
        look.choose("Model", OTHER)
    expected = shown_by_engine(site.engine, example("Lion"), OTHER)
    look.explained_as(expected.label)
    expect(look.page.locator("#notice")).to_contain_text("Starter ResNet")
    assert look.labels() == [s.label for s in expected.explanation.prediction.top]
    assert_same_picture(look.pixels(), drawn(expected))
    assert "model=starter_resnet" in look.page.url


@pytest.mark.slow
def test_a_model_that_must_be_downloaded_says_how_big_it_is_and_waits(visit):
    look = visit().ready()
    before = look.source()
    look.choose("Model", "res2net50_26w_4s.in1k")
    expect(look.page.locator("#model-note")).to_contain_text("103 MB to download first")
    expect(look.page.locator("#run")).to_contain_text("103 MB")
    expect(look.page.get_by_test_id("toast-text")).to_have_count(0)
    look.page.locator("#run").click()
    expect(look.toast()).to_contain_text("not on this machine")
    expect(look.page.locator("#run")).to_be_enabled()
    assert look.source() == before


@pytest.mark.slow
def test_a_name_that_is_no_model_is_a_sentence(visit):
    look = visit().ready()
    before = look.source()
    box = look.page.get_by_label("Model", exact=True)
    box.click()
    box.fill("no_such_net")
    box.press("Enter")
    expect(look.page.locator("#model-note")).to_contain_text("no_such_net")
    look.page.locator("#run").click()
    expect(look.toast()).to_contain_text("no_such_net")
    assert look.source() == before


@pytest.mark.slow
def test_a_click_on_a_stage_shows_it_large(visit, site):
    look = visit().ready()
    with look.redrawn():
        look.page.get_by_role("button", name="Thumbnail 2 of 4").click()
    expect(look.page.locator("#caption")).to_contain_text("layer2")
    photo = example("Lion")
    shown = handlers.with_stages(site.engine, photo, shown_by_engine(site.engine, photo))
    assert_same_picture(look.pixels(), drawn(handlers.at_layer(shown, "layer2")))


@pytest.mark.slow
def test_another_method_is_named_and_drawn(visit, site):
    look = visit().ready()
    with look.redrawn():
        look.choose("Method", "HiResCAM")
    expect(look.page.locator("#caption")).to_contain_text("HiResCAM")
    expected = handlers.look(site.engine, example("Lion"), MODEL, "hirescam")
    assert_same_picture(look.pixels(), drawn(expected))


@pytest.fixture
def gate(monkeypatch):
    """While the event is cleared, every forward of a model waits."""
    from timm.models.resnet import ResNet

    real = ResNet.forward_features

    passable = threading.Event()
    passable.set()

    def held(self: Any, x: Any) -> Any:
        assert passable.wait(60)
        return real(self, x)

    monkeypatch.setattr(ResNet, "forward_features", held)
    yield passable
    passable.set()


@pytest.mark.slow
def test_stop_ends_a_slow_method_and_keeps_what_was_shown(visit, gate):
    look = visit().ready()
    before, labels = look.source(), look.labels()
    look.choose("Method", "ScoreCAM")
    expect(look.page.locator("#method-note")).to_contain_text("s here")
    assert look.source() == before  # choosing a slow method starts nothing by itself
    gate.clear()
    look.page.locator("#run").click()
    stop = look.page.locator("#stop")
    expect(stop).to_be_visible()
    expect(look.page.locator("#run")).to_be_disabled()
    stop.click()
    gate.set()
    expect(look.page.locator("#run")).to_be_enabled()
    expect(stop).to_be_hidden()
    expect(look.page.get_by_text("Stopped", exact=False).last).to_be_visible()
    assert look.source() == before
    assert look.labels() == labels


def test_bad_files_are_sentences_and_the_photo_and_answer_stay(visit, my_png):
    look = visit("?example=coffee").ready()
    before, labels, photo = look.source(), look.labels(), look.pixels("#photo img")
    svg = b"<svg xmlns='http://www.w3.org/2000/svg'><rect/></svg>"
    for name, kind, content in (
        ("notes.png", "image/png", b"hello, this is no picture"),
        ("drawing.svg", "image/svg+xml", svg),
        ("half.png", "image/png", my_png[: len(my_png) // 2]),
    ):
        look.upload(content, name, kind)
        expect(look.toast()).to_contain_text(name)
        expect(look.toast()).to_contain_text("JPEG")
        # The photo that was there comes back, pixel by pixel.
        another = re.compile(r"/gradio_api/file=(?!.*" + re.escape(name) + ")")
        expect(look.page.locator("#photo img")).to_have_attribute("src", another)
        np.testing.assert_array_equal(look.pixels("#photo img"), photo)
        look.ready()
        assert look.labels() == labels
        expect(look.page.locator("#overlay img")).to_have_attribute("src", before)


@pytest.mark.slow
def test_an_upload_comes_back_unchanged_after_a_bad_file(visit, my_photo, my_png):
    look = visit().ready()
    with look.redrawn():
        look.upload(my_png, "mine.png")
    look.ready()
    look.upload(b"hello, this is no picture", "notes.png")
    expect(look.toast()).to_contain_text("notes.png")
    expect(look.page.locator("#photo img")).to_have_attribute("src", re.compile(r"mine\.png$"))
    np.testing.assert_array_equal(look.pixels("#photo img"), np.asarray(my_photo))


@pytest.mark.slow
def test_without_a_photo_one_sentence_says_what_to_do(visit):
    look = visit().ready()
    before = look.source()
    look.page.get_by_label("Remove Image").click()
    look.page.locator("#run").click()
    expect(look.toast()).to_contain_text("no photo yet")
    assert look.source() == before


@pytest.mark.slow
def test_the_download_holds_picture_map_and_numbers(visit, site):
    look = visit().ready()
    path = look.download("#download")
    assert path.name.startswith("mscnn-starter_res2net-")
    with zipfile.ZipFile(path) as archive:
        names = {"overlay.png", "heatmap.png", "cam.npy", "manifest.json"}
        assert set(archive.namelist()) == names
        manifest = json.loads(archive.read("manifest.json"))
    expected = shown_by_engine(site.engine, example("Lion"))
    assert manifest["class"]["label"] == expected.label


@pytest.mark.slow
def test_two_visitors_never_see_each_others_maps(visit, site):
    ann, bob = visit("?example=lion"), visit("?example=coffee")
    ann.ready()
    bob.ready()
    photos = {ann: example("Lion"), bob: example("Coffee")}
    for step in (1, 2, 1):
        wanted = {}
        for who, photo in photos.items():
            shown = shown_by_engine(site.engine, photo)
            score = shown.explanation.prediction.top[step]
            wanted[who] = handlers.choose_class(site.engine, photo, shown, score.index)
            who.page.get_by_test_id(f"{score.label}-confidence-set").click()
        for who, shown in wanted.items():
            expect(who.page.locator("#overlay img")).to_have_attribute(
                "alt", handlers.alt_text(shown)
            )
            assert_same_picture(who.pixels(), drawn(shown))
