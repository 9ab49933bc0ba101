"""The Compare tab as a visitor uses it."""

from __future__ import annotations

import re
import threading
import zipfile
from typing import Any

import pytest
from playwright.sync_api import expect

from mscnn.engine.network import Network
from mscnn.page.examples import examples
from mscnn.photos.imaging import load_photo

MODELS = ("starter_res2net", "starter_resnet")
TITLES = ("Starter Res2Net", "Starter ResNet")
CARD = "#compare-grid .card"


@pytest.fixture
def lion():
    return load_photo(next(e.path for e in examples() if e.label == "Lion"))


def cells(look: Any, table: str) -> list[list[str]]:
    """The text of a table's body, row by row."""
    rows = look.page.locator(f"{table} [role=row]:has([role=gridcell])")
    return [
        [text.strip() for text in rows.nth(i).locator("[role=gridcell]").all_inner_texts()]
        for i in range(rows.count())
    ]


def in_table(value: float | None) -> str:
    """A number as the table shows it; nothing where it is not known."""
    return "" if value is None else f"{round(value, 3):g}"


def test_two_models_side_by_side_on_one_scale(visit, site, lion):
    look = visit().ready()
    look.tab("Compare")
    look.page.locator("#compare-run").click()
    look.compared()
    expected = site.engine.compare(lion, MODELS, name="")
    page = look.page
    for i, (title, column) in enumerate(zip(TITLES, expected.columns, strict=True)):
        card = page.locator(CARD).nth(i)
        expect(card.locator("h3")).to_have_text(title)
        expect(card.locator("img")).to_have_attribute("alt", f"Map of {title} for {expected.label}")
        names = card.locator("li .name").all_inner_texts()
        assert names == [s.label for s in column.explanation.prediction.top]
        expect(card).to_contain_text("Time here")
    expect(page.locator("#compare-hint")).to_contain_text(expected.label)
    expect(page.locator("#compare-hint")).to_contain_text("Fair pair")
    table = cells(look, "#compare-table")
    assert [row[0] for row in table] == list(TITLES)
    assert [row[1] for row in table] == ["1.7", "1.71"]
    assert [row[6] for row in table] == [
        c.explanation.prediction.top[0].label for c in expected.columns
    ]
    (pair,) = cells(look, "#compare-agreement")
    assert pair[:2] == list(TITLES)
    agreement = expected.agreements[0]
    assert pair[2:] == [in_table(agreement.spearman), in_table(agreement.iou_top20)]
    alt = str(page.locator("#compare-difference img").get_attribute("alt"))
    assert TITLES[0] in alt
    assert TITLES[1] in alt


@pytest.mark.slow
def test_the_table_can_be_sorted_and_the_files_be_kept(visit):
    look = visit("?tab=compare").ready()
    look.page.locator("#compare-run").click()
    look.compared()
    heading = look.page.locator("#compare-table").get_by_role("columnheader", name="Params (M)")
    first = look.page.locator("#compare-table [role=gridcell]").first
    expect(first).to_have_text(TITLES[0])
    heading.click()  # shows the button of its menu
    heading.get_by_role("button", name="Open cell menu").click()
    look.page.get_by_text("Sort descending", exact=True).click()
    expect(first).to_have_text(TITLES[1])
    path = look.download("#compare-download")
    with zipfile.ZipFile(path) as archive:
        names = {"comparison.png", "table.csv", "compare.json", "manifest.json"}
        assert names <= set(archive.namelist())


@pytest.mark.slow
def test_the_class_compared_can_be_named(visit):
    look = visit("?tab=compare").ready()
    named = look.page.get_by_label("Class", exact=True)
    named.fill("espresso")
    named.press("Enter")
    look.compared()
    expect(look.page.locator("#compare-hint")).to_contain_text("espresso")
    expect(look.page.locator(f"{CARD} img").first).to_have_attribute(
        "alt", "Map of Starter Res2Net for espresso"
    )
    named.fill("unicorn")
    look.page.locator("#compare-run").click()
    for i in range(2):
        note = look.page.locator(CARD).nth(i).locator(".note")
        expect(note).to_contain_text("unicorn")
    expect(look.page.locator("#compare-run")).to_be_enabled()


@pytest.mark.slow
def test_one_model_is_too_few(visit):
    look = visit("?models=starter_resnet").ready()
    look.page.locator("#compare-run").click()
    expect(look.toast()).to_contain_text("2 to 6")
    expect(look.page.locator("#compare-run")).to_be_enabled()
    expect(look.page.locator(CARD)).to_have_count(0)


@pytest.mark.slow
def test_a_model_that_cannot_be_used_gets_a_note_and_the_others_go_on(visit):
    look = visit("?models=starter_res2net,starter_resnet,no_such_net").ready()
    look.page.locator("#compare-run").click()
    look.compared(cards=2)
    expect(look.page.locator(CARD).nth(2).locator(".note")).to_contain_text("no_such_net")


@pytest.mark.slow
def test_stop_keeps_the_models_that_were_done(visit, monkeypatch):
    """The second model is held up until Stop was pressed."""
    passable, reached = threading.Event(), threading.Event()
    real = Network.seconds_per_forward

    def held(self: Network, photo: Any, **options: Any) -> float:
        if self.name == MODELS[1]:
            reached.set()
            assert passable.wait(60)
        return real(self, photo, **options)

    monkeypatch.setattr(Network, "seconds_per_forward", held)
    look = visit("?models=starter_res2net,starter_resnet,no_such_net").ready()
    look.page.locator("#compare-run").click()
    stop = look.page.locator("#compare-stop")
    try:
        expect(look.page.locator(f"{CARD} img")).to_have_count(1)
        expect(look.page.locator(f"{CARD}.waiting")).to_have_count(2)
        expect(look.page.locator("#compare-run")).to_be_disabled()
        assert reached.wait(30)
        stop.click()
    finally:
        passable.set()
    expect(look.page.locator("#compare-run")).to_be_enabled()
    expect(stop).to_be_hidden()
    expect(look.page.locator(f"{CARD}.waiting")).to_have_count(0)
    expect(look.page.locator(f"{CARD} img")).to_have_count(2)
    expect(look.page.get_by_text("Stopped", exact=False).last).to_be_visible()


@pytest.mark.slow
def test_a_link_opens_models_tab_and_stage(visit, site, lion):
    query = "?model=starter_resnet&tab=compare&models=starter_resnet,starter_res2net&layer=layer3"
    look = visit(query).ready()
    page = look.page
    expect(page.get_by_role("tab", name="Compare")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#notice")).to_contain_text("Starter ResNet")
    expect(page.get_by_label("Stage", exact=True)).to_have_value("stage 3")
    page.locator("#compare-run").click()
    look.compared()
    expect(page.locator(CARD).locator("h3").first).to_have_text("Starter ResNet")
    expected = site.engine.compare(lion, MODELS[::-1], layer="3", name="")
    expect(page.locator("#compare-hint")).to_contain_text(expected.label)
    (pair,) = cells(look, "#compare-agreement")
    assert pair[2] == in_table(expected.agreements[0].spearman)


@pytest.mark.slow
def test_a_link_with_nonsense_opens_the_page_with_a_sentence(visit):
    look = visit("?model=../../etc/passwd&layer=conv1&tab=nowhere&example=unicorn").ready()
    expect(look.toast()).to_contain_text(re.compile("model", re.IGNORECASE))
    expect(look.page.locator("#notice")).to_contain_text("Starter Res2Net")
