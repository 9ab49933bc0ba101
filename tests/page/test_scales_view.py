"""What the Scales tab says of a report, against reports whose numbers are known by hand."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mscnn.errors import OptionError
from mscnn.models.labels import LabelSet
from mscnn.page import attention_view, scales_maps
from mscnn.page import scales_view as view
from mscnn.results.explanation import Score
from tests.page.reports import LION, attention, block, report

LADDER = ((1.0, 2.0, 0.0, 1.0), (35, 43, 51, 27))
LABELS = LabelSet(("lion, king of beasts", "sea lion", "espresso", "tabby, tabby cat", "lid"))


def ladder_report(**changed: Any) -> Any:
    return report(
        block("layer1.0", "parallel", (1, 1, 1, 1), (11, 11, 11, 11)),
        block("layer1.1", "hierarchy", *LADDER),
        block("layer2.0", "parallel", (1, 1, 1, 1), (27, 27, 27, 27)),
        **changed,
    )


def shown(*reports: Any, **changed: Any) -> view.Shown:
    pixels = np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    chosen = {"block": "layer1.1", "boxes": (), "asked": (), "models": (), **changed}
    return view.Shown(photo=pixels, reports=reports, **chosen)


def pictures(html: str) -> list[Any]:
    """The pictures in a piece of HTML as ``(h, w, 3)`` int."""
    found = re.findall(r'src="data:image/webp;base64,([^"]+)"', html)
    opened = [Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB") for data in found]
    return [np.asarray(image).astype(int) for image in opened]


@pytest.mark.parametrize(
    ("name", "words", "heading"),
    [
        ("layer2.1", "stage 2, block 2", "Stage 2, block 2 (layer2.1)"),
        ("layer4.0", "stage 4, block 1", "Stage 4, block 1 (layer4.0)"),
        ("layer3.22", "stage 3, block 23", "Stage 3, block 23 (layer3.22)"),
        ("stages.0.blocks.1", "stages.0.blocks.1", "stages.0.blocks.1"),
    ],
)
def test_a_block_is_named_by_its_place(name, words, heading):
    assert (view.place(name), view.block_title(name)) == (words, heading)


def test_the_first_view_is_the_last_block_with_a_hierarchy():
    assert view.default_block(ladder_report()) == "layer1.1"
    plain = report(
        block("layer1.0", "single", (1,), (11,)), block("layer2.0", "single", (1,), (2,))
    )
    assert view.default_block(plain) == "layer2.0"


def test_blocks_without_a_hierarchy_are_offered_as_what_they_are():
    (first, _), (second, _), _ = view.block_choices(ladder_report())
    assert first.endswith("no hierarchy: the splits stand side by side")
    assert second == "Stage 1, block 2 (layer1.1)"
    plain = report(block("layer1.0", "single", (1,), (11,)))
    assert view.block_choices(plain) == [("Stage 1, block 1 (layer1.0) · one path", "layer1.0")]


@pytest.mark.parametrize(
    ("kind", "says"),
    [("single", "one scale only"), ("parallel", "No hierarchy"), ("hierarchy", "untouched")],
)
def test_each_kind_of_block_is_explained(kind, says):
    count = 1 if kind == "single" else 2
    one = block("layer1.0", kind, (1.0,) * count, (11,) * count)
    assert says in view.block_note(report(one), one)
    none = block("layer1.0", kind, (0.0,) * count, (11,) * count)
    assert "No evidence for lion" in view.block_note(report(none), none)


def test_the_summary_gives_the_evidence_weighted_field_beside_the_input():
    # layer1.1: 1/4 of 35, 2/4 of 43, 1/4 of 27 are 37; with 11 and 27 the mean is 25.
    text = view.summary([ladder_report()])
    assert "**lion** (75.0%)" in text
    assert "can see **25 px**" in text
    assert "input is 64 px" in text
    assert "architecture" not in text


@pytest.mark.parametrize(
    ("evidence", "rf", "says"),
    [((1.0,), (11,), "architecture's own"), ((0.0,), (11,), "no evidence"),
     ((1.0,), (None,), "not known")],
)  # fmt: skip
def test_the_summary_says_what_a_number_is_worth(evidence, rf, says):
    assert says in view.summary([report(block("layer1.0", "single", evidence, rf))])


def test_the_table_holds_each_split_once_with_its_numbers():
    rows = view.numbers([ladder_report()])
    assert len(rows) == 12
    assert rows[5] == [
        "lion", "Starter Res2Net", "layer1.1", "each gets the one before", 1, 7, 43, 2.0, 50.0,
        37.0, "1x1 → 3x3",
    ]  # fmt: skip
    assert len(rows[5]) == len(view.HEADERS)


def test_every_part_of_a_chart_leads_to_its_split():
    chart = view.chart(ladder_report())
    assert len(chart.boxes) == 11  # one of the twelve splits has no evidence
    for (x0, y0, x1, y1), name in chart.boxes:
        place, split = name.split("/")
        assert view.part_at(chart.boxes, (x0 + x1) / 2, (y0 + y1) / 2) == (place, int(split))
        assert view.part_at(chart.boxes, x0, 0) == (place, None)
    assert view.part_at(chart.boxes, 1, 1) is None


def test_a_chart_in_words_names_the_split_with_most_evidence():
    text = view.chart_alt(ladder_report())
    assert "stage 1, block 2: most (50%) in split 1, which sees 43 px" in text
    assert "block 1" not in text
    assert "one path" in view.chart_alt(report(block("layer1.0", "single", (1,), (11,))))


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        (None, ["top1"]),
        ("  ", ["top1"]),
        ("espresso", ["espresso"]),
        ("espresso, lid", ["espresso", "lid"]),
        ("espresso,, espresso ,", ["espresso"]),
        ("tabby, tabby cat", ["tabby, tabby cat"]),
        ("2, top1", ["2", "top1"]),
    ],
)
def test_classes_are_split_at_commas_that_are_not_part_of_a_name(text, classes):
    assert view.wanted_classes(text, LABELS) == classes


def test_a_fourth_class_is_one_too_many():
    with pytest.raises(OptionError, match=r"4 classes .* at most 3"):
        view.wanted_classes("espresso, lid, sea lion, 0", LABELS)


class Canned:
    """A lens that answers every name of a class with a report."""

    def __init__(self, **classes: Score) -> None:
        self.classes = classes

    def scales_of(
        self, photo: Any, models: Any, *, target: str, on_unknown: Callable[[str, str], None]
    ) -> list[Any]:
        known = [model for model in models if model != "runs/mine"]
        for model in set(models) - set(known):
            on_unknown(model, "It knows no such class.")
        return [ladder_report(target=self.classes[target], model=m) for m in known]


def test_reports_come_class_by_class_and_none_twice():
    lens: Any = Canned(top1=LION, lion=LION, lid=Score(4, "lid", 0.1))
    photo = Image.new("RGB", (64, 64))
    models = ["starter_res2net", "runs/mine", "starter_resnet"]
    found, notes = view.measure(lens, photo, models, ["top1", "lid", "lion"])
    reports = [report for _, report in found]
    assert [model for model, _ in found] == ["starter_res2net", "starter_resnet"] * 2
    assert [view.chart_title(r) for r in reports] == [
        "lion: Starter Res2Net", "lion: Starter ResNet", "lid: Starter Res2Net",
        "lid: Starter ResNet",
    ]  # fmt: skip
    assert notes == ("mine is left out: It knows no such class.",)
    assert view.summary(reports, notes).endswith(f"\n\n{notes[0]}")


def test_the_papers_order_has_the_untouched_split_first():
    (_, ladder, _) = ladder_report().blocks
    assert [i for i, _ in scales_maps.split_order(ladder, paper_order=False)] == [0, 1, 2, 3]
    paper = scales_maps.split_order(ladder, paper_order=True)
    assert [i for i, _ in paper] == [3, 0, 1, 2]
    assert [name.split()[1] for _, name in paper] == ["x1", "x2", "x3", "x4"]


def test_all_maps_of_a_block_share_one_colour_scale():
    maps = np.zeros((2, 4, 4))
    maps[0, 0, 0], maps[1, 0, 0] = 8.0, 1.0
    one = report(block("layer1.1", "hierarchy", (3.0, 1.0), (15, 19), maps))
    html = scales_maps.strip_html(shown(one), 1.0, "viridis", paper_order=False)
    strong, weak = pictures(html)
    grey = np.asarray(Image.fromarray(shown(one).photo).convert("L").convert("RGB")).astype(int)
    changed = [np.abs(p - grey)[:16, :16].mean() for p in (strong, weak)]
    assert changed[0] > 4 * changed[1]
    assert "strongest at the top left" in html
    assert "75.0%</strong> of the evidence" in html
    assert "7 to 15 px" in html


def test_a_block_without_evidence_has_maps_without_colour():
    html = scales_maps.strip_html(shown(ladder_report()), 1.0, "inferno", paper_order=False)
    for picture in pictures(html):
        assert np.ptp(picture, axis=2).max() <= 12  # grey but for the compression
    assert "Nothing in these maps speaks for the class" in html


@pytest.mark.parametrize(("paper_order", "place"), [(False, 2), (True, 3)])
def test_the_clicked_split_is_marked_wherever_it_stands(paper_order, place):
    html = scales_maps.strip_html(
        shown(ladder_report(), split=2), 0.6, "inferno", paper_order=paper_order
    )
    cards = html.split("<section ")[1:]
    assert ["marked" in card for card in cards] == [i == place for i in range(4)]


def test_names_of_classes_cannot_write_html():
    evil = Score(3, 'pot <b class="x">bold</b> & lid', 0.5)
    html = scales_maps.strip_html(
        shown(ladder_report(target=evil)), 0.6, "inferno", paper_order=False
    )
    assert "<b" not in html
    assert "&lt;b class=&quot;x&quot;&gt;" in html


@pytest.mark.parametrize(
    ("radix", "says"), [(2, "does not choose a scale"), (1, "sigmoid without competition")]
)
def test_it_is_said_what_the_gate_is_not(radix, says):
    found = attention(radix=radix, references=3)
    assert says in attention_view.note(found.blocks[0], found.references)
    assert attention_view.gates_picture(found.blocks[0], found.references).ndim == 3


def test_the_gates_in_numbers():
    found = attention(references=3)
    # |0, 0.1, 0.1, 0.4| of either branch from the mean of 0.5: 0.15
    assert attention_view.block_rows(found) == [["layer4.0", 2, 2, 4, 0.853, 1.0, 0.15]]
    rows = attention_view.decided_rows(found.blocks[0])
    assert rows[0] == [3, 1, 1, 0.9, 0.5]  # channel 3 is in the second group of two
    assert [row[0] for row in rows] == [3, 1, 2, 0]
    assert "0.15 away" in attention_view.gates_alt(found.blocks[0])


def test_without_reference_photos_nothing_is_compared():
    found = attention(radix=1)
    assert attention_view.block_rows(found) == [["layer4.0", 1, 2, 4, None, None, None]]
    assert all(row[-1] is None for row in attention_view.decided_rows(found.blocks[0]))
    assert "example" not in attention_view.note(found.blocks[0], found.references)
    assert "example" not in attention_view.gates_alt(found.blocks[0])


def test_each_branch_has_its_map():
    found = attention()
    html = attention_view.radix_html(shown(ladder_report()), found.blocks[0], 1.0, "inferno")
    assert len(pictures(html)) == 2
    assert html.count("strongest at the top left") == 1
    assert html.count("no place speaks for it") == 1


@pytest.mark.parametrize(
    ("model", "kind", "splits", "expected"),
    [
        ("resnest50d.in1k", "single", 1, True),
        ("starter_resnet", "single", 1, False),
        ("my/folder", "single", 1, True),
        ("my/folder", "hierarchy", 4, False),
    ],
)
def test_only_models_that_may_have_split_attention_are_asked(model, kind, splits, expected):
    one = report(block("layer1.1", kind, (1.0,) * splits, (11,) * splits), model=model)
    assert attention_view.may_have_attention(one) is expected
