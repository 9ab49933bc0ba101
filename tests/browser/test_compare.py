"""The Compare lens: columns, the class carried over, choices that ask nothing, models by chips."""

import re
import zipfile

from playwright.sync_api import expect

from mscnn.models.examples import examples
from mscnn.page.lenses.compare import agreement_in_words
from tests.page.serving import MODELS

RES2NET, RESNET = MODELS
LION = next(example.path for example in examples() if example.label == "Lion")


def test_the_class_of_look_is_compared_and_choices_ask_nothing(visit, site):
    look = visit().ready()
    second = look.labels()[1]
    look.page.locator("#top5 button").nth(1).click()
    look.tab("Compare")
    look.ready("compare")
    asked = list(look.asked)
    page, wanted = look.page, site.engine.compare(LION, MODELS, target=second)
    expect(look.caption()).to_contain_text(second)
    expect(page.locator("#canvases canvas")).to_have_count(2)
    expect(page.locator("#compare-grid .card")).to_have_count(2)
    expect(page.locator("#compare-grid h2").nth(1)).to_have_text("Starter ResNet")
    expect(page.locator("#compare-hint")).to_contain_text("Fair pair")
    lead = page.locator("#panel-compare .lead:visible")
    expect(lead).to_have_text(agreement_in_words(wanted.agreements[0]))
    both = look.pixels()
    difference = page.get_by_role("button", name="Difference")
    difference.click()
    expect(page.locator("#canvases canvas")).to_have_count(1)
    expect(look.caption()).to_contain_text("Red: more evidence in Starter ResNet")
    page.get_by_role("button", name="Side by side").click()
    expect(page.locator("#canvases canvas")).to_have_count(2)
    page.locator("#compare-layer").select_option("2")
    expect(page.locator("section.agreement:visible")).to_have_attribute("aria-label", "Stage 2")
    assert (look.pixels() != both).any()
    look.point(0.5, 0.5)
    expect(page.locator("#readout")).to_contain_text("Starter ResNet: ")
    assert look.asked == asked
    with zipfile.ZipFile(look.download("#compare-download")) as archive:
        assert {"comparison.png", "table.csv", "manifest.json"} <= set(archive.namelist())


def test_networks_are_added_and_removed_and_one_to_download_is_asked_for(visit):
    look = visit("?models=starter_resnet,starter_res2net").ready("compare")
    page, titles = look.page, look.page.locator("#canvases figcaption")
    chips = page.locator("#models .chips button")
    expect(titles).to_have_text(["Starter ResNet", "Starter Res2Net"])
    page.locator("#models select").select_option("resnet50.tv_in1k")
    expect(page.locator("#run")).to_have_text("Download 102 MB and show it")
    look.ready("compare")
    expect(chips).to_have_count(3)
    expect(page.locator("#canvases canvas")).to_have_count(3)
    expect(titles.nth(2)).to_contain_text("not downloaded")
    assert look.link()["models"].count(",") == 2
    chips.nth(2).click()
    look.ready("compare")
    expect(page.locator("#run")).to_be_hidden()
    expect(titles).to_have_count(2)


def test_the_page_s_model_is_compared_until_others_are_chosen(visit):
    look = visit("?tab=compare").ready("compare")
    chips = look.page.locator("#models .chips button")
    expect(chips.first).to_have_attribute("value", RES2NET)
    look.page.locator("#model").select_option(RESNET)
    look.ready("compare")
    expect(chips.first).to_have_attribute("value", RESNET)
    expect(chips).to_have_count(2)
    assert "models" not in look.link()


def test_a_network_is_added_to_the_page_s_model_not_to_the_one_before(visit):
    """One that waits for its download leaves the answer of the one before, dimmed."""
    look, absent = visit("?tab=compare").ready("compare"), "res2net50_26w_4s.in1k"
    page, chips = look.page, look.page.locator("#models .chips button")
    page.locator("#model").select_option(absent)
    expect(page.locator("#run")).to_contain_text("Download")
    page.locator("#models select").select_option(RESNET)
    look.ready("compare")
    assert look.link()["models"] == RESNET
    expect(chips).to_have_count(2)
    expect(chips.first).to_have_attribute("value", absent)


def test_a_size_of_zoom_is_no_stage_here_and_a_chip_that_cannot_go_says_why(visit):
    """One network beside the page's own, chosen on Zoom."""
    look = visit(f"?tab=zoom&models={RESNET}").ready("zoom")
    look.slide("#zoom-size", 2)
    look.tab("Compare")
    look.ready("compare")
    agreement = look.page.locator("section.agreement:visible")
    expect(agreement).to_have_attribute("aria-label", re.compile("Stage 4|Last stage"))
    look.page.locator("#models .chips button").first.click()
    expect(look.notice()).to_contain_text("always one of two")


def test_a_seventh_network_is_refused_with_a_word(visit):
    absent = ["res2net50_26w_4s", "res2net50_14w_8s", "res2net50_48w_2s", "res2next50"]
    look = visit(f"?models={','.join([*MODELS, *absent])}").ready("compare")
    chips, asked = look.page.locator("#models .chips button"), list(look.asked)
    expect(chips).to_have_count(6)
    look.page.locator("#models select").select_option("resnet50.tv_in1k")
    expect(look.notice()).to_contain_text("6 networks already")
    expect(chips).to_have_count(6)
    assert look.asked == asked


def test_a_link_to_look_with_networks_opens_look(visit):
    look = visit("?models=starter_resnet,starter_res2net").ready("compare")
    look.tab("Look")
    look.ready()
    again = visit("?" + look.page.url.partition("?")[2]).ready()
    assert again.link()["models"] == "starter_resnet,starter_res2net"
