"""A page owner's model folder, with classes of its own, and feature file, on every lens."""

import shutil
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from mscnn.data.extraction import extract
from mscnn.data.loading import Loading
from mscnn.engine.session import load
from mscnn.models.loading import load_model
from mscnn.page.lenses.features import open_files
from mscnn.training.results import export_folder
from tests.browser.conftest import png
from tests.page.serving import serving

CLASSES = ["espresso", "lion", "my cat"]


@pytest.fixture(scope="module")
def own(folders, tmp_path_factory):
    """As fine-tuning writes it: a starter's weights below a classifier of three classes."""
    folder = tmp_path_factory.mktemp("own") / "my-animals"
    with pytest.MonkeyPatch.context() as patch:
        folders.use(patch)
        model: Any = load_model("starter_res2net").model
        weight, bias = model.fc.weight[:3].clone(), model.fc.bias[:3].clone()
        model.reset_classifier(len(CLASSES))
        model.fc.weight.data, model.fc.bias.data = weight, bias
        export_folder(model, folder, CLASSES)
    return folder


@pytest.fixture(scope="module")
def site(folders, own, tmp_path_factory):
    root = tmp_path_factory.mktemp("features")
    photos = root / "photos"
    # Fewer than the five that are shown of more.
    shutil.copytree("assets/examples", photos, ignore=shutil.ignore_patterns("elephant.jpg"))
    (photos / "README.md").unlink()
    extract(load(str(own)), photos, root / "mine.npz", loading=Loading(workers=0))
    files = open_files([(root / "mine.npz", photos)])
    with serving(folders, [str(own.parent)], files) as running:
        yield running


@pytest.mark.slow
def test_the_owners_model_comes_first_and_works_on_every_lens(visit, own, few_steps):
    look = visit().ready()
    page = look.page
    assert sorted(look.labels()) == CLASSES
    expect(page.locator("#model")).to_have_value("my-animals")
    for tab in page.get_by_role("tab").all():
        tab.click()
        look.ready(str(tab.get_attribute("id")).removeprefix("tab-"))
    # Where the owner keeps the folders is no visitor's business.
    assert str(own.parent) not in page.content()
    assert str(own.parent) not in httpx.get(f"{look.site.url}/config").text


def test_the_owners_model_beside_a_starter_that_lacks_a_class(visit):
    """The lion is known to both, the cat of this name to the owner's alone."""
    look = visit("?models=my-animals,starter_resnet&class=my cat").ready("compare")
    cards = look.page.locator("#compare-grid .card")
    expect(cards.nth(0).locator("h2")).to_have_text("my-animals")
    expect(cards.nth(1)).to_contain_text("no class")
    expect(look.page.locator("#canvases figcaption").nth(1)).to_contain_text("no map of this class")


def test_suggestions_are_classes_of_the_network_that_the_tab_asks(visit):
    """Of Compare it is the first one, which need not be the page's."""
    look = visit("?tab=look&model=my-animals&models=starter_resnet,my-animals").ready()
    names = look.page.locator("#classes option")
    expect(names).to_have_count(3)
    look.tab("Compare")
    look.ready("compare")
    assert names.count() > 3
    look.tab("Look")
    look.ready()
    expect(names).to_have_count(3)


@pytest.mark.slow
def test_a_long_name_fits_a_phone(visit, own):
    long = own.with_name("res2net50_finetuned_on_all_my_flowers_of_summer_run_27_best")
    shutil.copytree(own, long)
    try:
        phone: Any = {"viewport": {"width": 390, "height": 844}, "is_mobile": True}
        for tab in ("features", "compare"):
            look = visit(f"?tab={tab}&model={long.name}", **phone).ready(tab)
            assert look.page.evaluate("document.documentElement.scrollWidth") <= 390, tab
    finally:
        shutil.rmtree(long)


def test_the_owners_photographs_are_searched_with_thumbnails(visit, my_photo, own):
    look = visit("?tab=features").ready("features")
    page, near = look.page, look.page.locator("#panel-features .near li")
    expect(near.first).to_be_visible()
    page.locator("#features-among").select_option("0")
    look.ready("features")
    expect(near).to_have_count(4)
    expect(page.locator("#features-among")).to_have_value("0")
    expect(near.first.locator("img")).to_have_js_property("complete", True)
    assert near.first.locator("img").evaluate("e => e.naturalWidth") > 0
    alt = str(near.first.locator("img").get_attribute("alt"))
    assert alt.startswith("Neighbour 1: ")
    values = [float(text) for text in near.locator(".value").all_inner_texts()]
    assert values == sorted(values, reverse=True)
    look.upload(png(my_photo), "mine.png")
    expect(page.locator("[data-example=lion]")).to_have_attribute("aria-pressed", "false")
    look.ready("features")
    expect(near).to_have_count(4)
    # Classes and layers of another network: the second one beside the page's.
    page.locator("#features-among").select_option("")
    page.locator("#also").select_option("starter_resnet")
    look.ready("features")
    expect(page.locator("#panel-features section.near")).to_have_count(2)
    page.locator("#also").select_option(label="None")
    expect(page.locator("#panel-features section.near")).to_have_count(1)


@pytest.mark.slow
def test_a_folder_put_beside_it_is_offered_when_the_page_is_opened_again(visit, own):
    new = own.with_name("new-animals")
    shutil.copytree(own, new)
    try:
        look = visit().ready()  # the server has built its page before
        look.page.locator("#model").select_option("new-animals")
        look.ready()
        assert look.link()["model"] == "new-animals"
    finally:
        shutil.rmtree(new)
    look.page.locator("#model").select_option("my-animals")
    look.ready()
    expect(look.page.locator("#model option[value=new-animals]")).to_have_count(0)
