"""The page of an evaluation, opened from its file: for everyone, and without any request."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from mscnn.data.evaluation import evaluate_and_show
from mscnn.data.loading import Loading
from mscnn.draw.files import report_files
from mscnn.results.writing import write
from tests.browser.test_access import findings

pytestmark = pytest.mark.slow
CLASSES = (0, 1, 4)  # one of them has HTML in its name


@pytest.fixture(scope="module")
def report(site, tmp_path_factory):
    """The page of two starters on nine photographs."""
    root = tmp_path_factory.mktemp("report")
    for number in range(9):
        random = np.random.default_rng(number)
        patches = Image.fromarray(random.integers(0, 256, (4, 5, 3), dtype=np.uint8))
        path = root / "photos" / str(CLASSES[number % 3]) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        patches.resize((110, 80)).save(path)
    first, second = (
        site.engine.session.network(name) for name in ("starter_res2net", "starter_resnet")
    )
    loading = Loading(workers=0)
    made = evaluate_and_show(first, root / "photos", against=second, loading=loading)
    write(root / "page", report_files(*made))
    return (root / "page" / "index.html").as_uri()


@pytest.fixture
def opened(browser, report):
    """``opened(**context options)``: the page from its file; it may ask for nothing else."""
    asked, errors, contexts = [], [], []

    def start(**options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("request", lambda request: asked.append(request.url.partition("#")[0]))
        page.on("console", lambda message: errors.append(message.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(report)
        return page

    yield start
    for context in contexts:
        context.close()
    assert {url for url in asked if not url.startswith("data:")} == {report}
    assert errors == []


# What fits depends on the width, what can be told apart on the colours.
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_nothing_and_the_page_fits(opened, scheme, width):
    page = opened(color_scheme=scheme, viewport={"width": width, "height": 844})
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert findings(SimpleNamespace(page=page)) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 50)")


def test_the_filter_shows_what_has_to_do_with_a_class(opened):
    page = opened()
    for index in map(str, CLASSES):
        page.get_by_label("Show only").select_option(index)
        every = page.locator("[data-classes]")
        seen = [e.is_visible() for e in every.all()]
        about = [index in str(e.get_attribute("data-classes")).split() for e in every.all()]
        assert seen == about
        assert 0 < sum(seen) < len(seen)
        figures = page.locator("figure:visible").count()
        expect(page.get_by_role("status")).to_have_text(f"{figures} of the photographs here")
    page.get_by_label("Show only").select_option("all classes")
    assert all(e.is_visible() for e in page.locator("[data-classes]").all())
    link = page.locator("a[href^='#photo-']").first
    link.click()
    expect(page.locator(str(link.get_attribute("href")))).to_be_in_viewport()


def test_the_table_of_classes_is_sorted_by_any_column(opened):
    page = opened()
    table = page.get_by_role("region", name="Classes", exact=True)

    # As of a class of thousands: more than nothing.
    table.locator("tbody tr > :nth-child(3)").last.evaluate(
        "cell => cell.innerHTML = '<data value=3e-4>&lt; 0.1 %</data>'"
    )

    def column(number):
        texts = table.locator(f"tbody tr > :nth-child({number})").all_text_contents()
        texts = ["0.03" if text == "< 0.1 %" else text for text in texts]
        return [float(t.partition(" %")[0]) if number > 1 and t[0].isdigit() else t for t in texts]

    for number, head in enumerate(("class", "photos", "recall"), 1):
        button = table.get_by_role("button", name=head)
        whole = sorted(column(number))
        button.click()
        assert column(number) == whole
        button.click()
        assert column(number) == whole[::-1]
        assert table.locator("[aria-sort]").count() == 1
        expect(table.locator("[aria-sort=descending]")).to_have_text(head)
    assert findings(SimpleNamespace(page=page)) == []


def test_the_page_is_whole_without_its_script(opened):
    page = opened(java_script_enabled=False)
    expect(page.locator("#class")).to_be_hidden()
    expect(page.get_by_role("heading", level=1)).to_contain_text(
        "Starter Res2Net and Starter ResNet"
    )
    assert all(e.is_visible() for e in page.locator("[data-classes]").all())
