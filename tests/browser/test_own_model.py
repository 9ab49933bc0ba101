"""A model folder of the page's owner, with classes of its own, on every tab."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from mscnn.models.loading import load_model
from mscnn.training.export import export_folder
from tests.browser.conftest import TOP5
from tests.page.serving import Folders, Site, serving

CLASSES = ["espresso", "lion", "my cat"]


@pytest.fixture(scope="module")
def own(folders: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
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
def site(folders: Folders, own: Path) -> Iterator[Site]:
    with serving(folders, [str(own.parent)]) as running:
        yield running


def test_the_owners_model_comes_first_and_works_on_every_tab(visit):
    look = visit()
    page = look.page
    expect(page.locator(TOP5)).to_have_count(len(CLASSES))
    expect(page.locator("#stages img")).to_have_count(4)
    assert sorted(look.labels()) == CLASSES
    expect(page.get_by_label("Model", exact=True).first).to_have_value("Yours · my-animals")

    look.tab("Scales")
    expect(page.locator("#scale-plot img")).to_have_count(1)
    expect(page.locator("#split-strip .scale-card")).to_have_count(4)
    expect(page.locator("#scales-summary")).to_contain_text("my-animals")

    look.tab("Receptive field")
    for picture in ("#erf-overlay img", "#rf-plot img"):
        expect(page.locator(picture)).to_have_count(1)
    expect(page.locator("#erf-caption")).to_contain_text("at most")

    look.tab("Zoom")
    expect(page.locator("#zoom-object img")).to_have_count(1)
    page.locator("#sweep-run").click()
    expect(page.locator("#sweep-film .frame")).to_have_count(12)

    look.tab("Features")
    expect(page.locator("#features-cards .near-cards li")).to_have_count(6)


@pytest.mark.slow
def test_a_folder_put_beside_it_is_offered_when_the_page_is_opened_again(visit, own):
    new = own.with_name("new-animals")
    shutil.copytree(own, new)
    try:
        look = visit()  # the server has built its page before
        page = look.page
        expect(page.locator(TOP5)).to_have_count(len(CLASSES))
        look.choose("Model", "Yours · new-animals")
        expect(page.locator("#notice")).to_contain_text("new-animals")
        assert "model=new-animals" in page.url
        # Where the owner keeps the folders is no visitor's business.
        assert str(own.parent) not in page.content()
        assert str(own.parent) not in httpx.get(f"{look.site.url}/config").text
    finally:
        shutil.rmtree(new)


@pytest.mark.slow
def test_the_owners_model_beside_a_starter_that_lacks_a_class(visit):
    """The lion is known to both, the cat of this name to the owner's alone."""
    look = visit("?models=my-animals,starter_resnet")
    page = look.page
    expect(page.locator("#compare-run")).to_be_enabled()
    page.locator("#compare-target textarea, #compare-target input").first.fill("my cat")
    page.locator("#compare-run").click()
    cards = page.locator("#compare-grid .card")
    expect(cards).to_have_count(2)
    expect(cards.nth(0).locator("h3")).to_have_text("my-animals")
    expect(cards.nth(1)).to_contain_text("no class")
