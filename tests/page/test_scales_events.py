"""The Scales tab's handlers as gradio calls them: what each event changes, and what it costs."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from mscnn.errors import (
    ImageError,
    OptionError,
    UnknownClassError,
    UnknownLayerError,
    UnsupportedModelError,
)
from mscnn.page import scales_view as view
from mscnn.page.scales_attention import Attention
from mscnn.page.scales_events import PARTS, RESULTS, ScalesEvents
from tests.page import reports

MODEL, BASELINE = "starter_res2net", "starter_resnet"
LOOK = (0.65, "inferno")
SKIPPED = gr.skip()
NOTHING = (SKIPPED,) * (len(RESULTS) + view.MAX_CHARTS)


@pytest.fixture
def events(engine) -> ScalesEvents:
    return ScalesEvents(engine)


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each run of a model."""
    from timm.models.resnet import ResNet

    real, seen = ResNet.forward_features, []

    def counted(self: Any, x: Any) -> Any:
        seen.append(1)
        return real(self, x)

    monkeypatch.setattr(ResNet, "forward_features", counted)
    return seen


def another_photo() -> Image.Image:
    pixels = np.random.default_rng(11).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((120, 90), Image.Resampling.BICUBIC)


def run(events: ScalesEvents, photo: Any, target: str = "", also: Any = (), **changed: Any) -> Any:
    """All updates of a run, the last one by name, with the pictures under "charts"."""
    model = changed.get("model", MODEL)
    steps = list(events.run(photo, model, target, list(also), False, *LOOK, gr.Progress()))
    last = dict(zip(RESULTS, steps[-1], strict=False))
    return {**last, "charts": steps[-1][len(RESULTS) :], "steps": steps}


def refresh(events: ScalesEvents, shown: Any, photo: Any, **changed: Any) -> dict[str, Any]:
    """The last update of a refresh, by name."""
    asked = {"front": True, "model": MODEL, "target": None, "also": [], **changed}
    steps = list(
        events.refresh(
            asked["front"], shown, photo, asked["model"], asked["target"], asked["also"], False,
            *LOOK, gr.Progress(),
        )
    )  # fmt: skip
    return {**dict(zip(RESULTS, steps[-1], strict=False)), "all": steps[-1]}


def parts(updates: Any) -> dict[str, Any]:
    return dict(zip(PARTS, updates, strict=True))


def test_an_answer_is_the_lenses_own_and_fills_every_output(events, engine, photo):
    found = run(events, photo)
    (report,) = found["state"].reports
    expected = events.lens.scales(photo, MODEL)
    assert report.attribution == expected.attribution
    assert report.target == expected.target
    assert expected.target.label in found["summary"]
    assert found["block"]["value"] == "layer4.1"
    assert found["which"]["visible"] is False
    assert found["order"]["visible"] is True
    assert found["strip"].count("<section") == 4
    assert len(found["table"]) == 32  # eight blocks of four splits
    assert [chart["visible"] for chart in found["charts"]] == [True] + [False] * 8
    assert found["charts"][0]["alt_text"] == view.chart_alt(expected)
    assert found["run"]["interactive"] is True
    assert found["steps"][0][RESULTS.index("run")] == gr.update(interactive=False)


def test_one_answer_costs_one_forward(events, photo, forwards):
    events.engine.session.network(MODEL)
    run(events, photo)
    assert len(forwards) == 1


def test_classes_and_models_stand_side_by_side(events, photo):
    found = run(events, photo, "espresso, 0", [BASELINE])
    titles = [view.chart_title(r) for r in found["state"].reports]
    assert [title.split(": ")[1] for title in titles] == ["Starter Res2Net", "Starter ResNet"] * 2
    assert titles[0].startswith("espresso")
    assert found["state"].reports[2].target.index == 0
    assert found["which"] == gr.update(
        choices=[(title, i) for i, title in enumerate(titles)], value=0, visible=True
    )
    assert sum(chart["visible"] for chart in found["charts"]) == 4


def test_the_pages_model_beside_itself_is_shown_once(events, photo):
    assert len(run(events, photo, also=[MODEL])["state"].reports) == 1


@pytest.mark.parametrize(
    ("photo_in", "target", "error", "says"),
    [(None, "", ImageError, "no photo yet"), (..., "unicorn", UnknownClassError, "unicorn")],
)
def test_an_error_leaves_the_tab_usable(events, photo, photo_in, target, error, says):
    seen: list[Any] = []
    image = photo if photo_in is ... else photo_in
    with pytest.raises(error, match=says):
        seen.extend(events.run(image, MODEL, target, [], False, *LOOK, gr.Progress()))
    if seen:
        last = dict(zip(RESULTS, seen[-1], strict=False))
        assert says in last["hint"]
        assert last["run"] == gr.update(interactive=True)
        assert last["state"] == SKIPPED


def test_the_tab_computes_only_in_front_and_for_what_is_new(events, photo, forwards):
    assert refresh(events, None, photo, front=False)["all"] == NOTHING
    assert refresh(events, None, None)["all"] == NOTHING
    assert refresh(events, None, ImageError("Bad."))["all"] == NOTHING
    assert forwards == []
    shown = refresh(events, None, photo)["state"]
    ran = len(forwards)
    again = refresh(events, shown, photo)
    assert (again["state"], again["hint"]) == (SKIPPED, "")
    # Nothing is drawn that could come after, and hide, what a click draws meanwhile.
    assert again["strip"] == SKIPPED
    recoloured = refresh(events, replace(shown, look=(0.1, "viridis")), photo)
    assert recoloured["strip"].count("<section") == 4
    # The look is kept, so that going back to an earlier one draws again.
    assert recoloured["state"] == shown
    assert len(forwards) == ran
    fresh = refresh(events, shown, another_photo())["state"]
    other = events.lens.scales(another_photo(), MODEL)
    assert fresh.report.attribution == other.attribution
    assert refresh(events, shown, photo, model=BASELINE)["state"].report.has_splits is False
    assert refresh(events, shown, photo, target="espresso")["state"].report.target.index == 2


def test_a_download_is_announced_and_left_to_the_button(events, photo, forwards):
    name = "res2net50_26w_4s.in1k"
    said = refresh(events, None, photo, model=name)
    assert "103 MB" in said["hint"]
    assert said["run"]["value"] == "Download and show scales"
    shown = run(events, photo)["state"]
    ran = len(forwards)
    assert "photo and models before" in refresh(events, shown, photo, also=[name])["hint"]
    assert len(forwards) == ran
    assert events.announce(None, MODEL, [BASELINE]) == ("", gr.update(value="Show scales"))


def test_a_model_that_is_none_is_a_sentence_when_the_tab_opens(events, photo, forwards):
    assert "no_such_net" in refresh(events, None, photo, model="no_such_net")["hint"]
    assert forwards == []


def test_a_click_on_a_part_shows_its_block_and_marks_its_split(events, photo, forwards):
    shown = run(events, photo, also=[BASELINE])["state"]
    ran = len(forwards)
    (x0, y0, x1, y1), _ = next(b for b in shown.boxes[0] if b[1] == "layer2.1/2")
    click = SimpleNamespace(index=[(x0 + x1) // 2, (y0 + y1) // 2])
    found = parts(events.click(0)(shown, False, *LOOK, click))
    assert (found["state"].block, found["state"].split) == ("layer2.1", 2)
    assert found["block"]["value"] == "layer2.1"
    assert "Stage 2, block 2" in found["note"]
    assert found["strip"].split("<section ")[3].startswith('class="card scale-card marked"')
    (x0, y0, x1, y1), _ = shown.boxes[1][0]
    click = SimpleNamespace(index=[(x0 + x1) // 2, (y0 + y1) // 2])
    found = parts(events.click(1)(found["state"], False, *LOOK, click))
    assert (found["state"].number, found["state"].block) == (1, "layer1.0")
    assert found["which"]["value"] == 1
    assert found["order"]["visible"] is False
    assert "one scale only" in found["note"]
    assert len(forwards) == ran


def test_a_click_beside_the_columns_changes_nothing(events, photo):
    shown = run(events, photo)["state"]
    nothing = (SKIPPED,) * len(PARTS)
    click = SimpleNamespace(index=[0, 0])
    assert events.click(0)(shown, False, *LOOK, click) == nothing
    assert events.click(5)(shown, False, *LOOK, click) == nothing
    assert events.click(0)(None, False, *LOOK, click) == nothing


def test_blocks_and_charts_are_chosen_without_a_run(events, photo, forwards):
    shown = run(events, photo, also=[BASELINE])["state"]
    ran = len(forwards)
    found = parts(events.choose_block(shown, "layer1.0", False, *LOOK))
    assert "No hierarchy" in found["note"]
    found = parts(events.choose_chart(found["state"], 1, False, *LOOK))
    assert (found["state"].number, found["state"].block) == (1, "layer1.0")
    assert found["strip"].count("<section") == 1
    with pytest.raises(UnknownLayerError, match="choose one of"):
        events.choose_block(shown, "layer9.9", False, *LOOK)
    assert len(forwards) == ran


def test_the_papers_order_moves_the_last_split_to_the_front(events, photo):
    shown = run(events, photo)["state"]
    timm, paper = (events.redraw(shown, order, *LOOK).split("<section ") for order in (False, True))
    last = f"{shown.report.block('layer4.1').splits[3].share:.1%}</strong>"
    assert last in timm[4]
    assert last in paper[1]


def test_before_the_first_answer_no_control_fails(events):
    nothing = (SKIPPED,) * len(PARTS)
    assert events.choose_block(None, "layer1.0", False, *LOOK) == nothing
    assert events.choose_chart(None, 0, False, *LOOK) == nothing
    assert events.redraw(None, True, *LOOK) == SKIPPED
    with pytest.raises(OptionError, match="press Show scales first"):
        list(events.pack(None, *LOOK))


def test_the_download_holds_a_folder_for_each_chart(events, photo, cache):
    one = run(events, photo)["state"]
    (_, busy), (path, ready) = events.pack(one, *LOOK)
    assert (busy["interactive"], ready["interactive"]) == (False, True)
    with zipfile.ZipFile(path) as archive:
        document = json.loads(archive.read("scales.json"))
        assert "attribution.png" in archive.namelist()
    assert document["model"] == MODEL
    two = run(events, photo, "espresso", [BASELINE])["state"]
    *_, (path, _) = events.pack(two, *LOOK)
    with zipfile.ZipFile(path) as archive:
        folders = {name.split("/")[0] for name in archive.namelist()}
    assert folders == {f"1-{MODEL}-espresso", f"2-{BASELINE}-espresso"}


class AttentiveLens:
    """A lens whose every model has split attention, except those it is told of."""

    def __init__(self, *without: str) -> None:
        self.without = without
        self.asked: list[tuple[str, int, tuple[Any, ...]]] = []

    def split_attention(self, photo: Any, model: str, *, target: int, references: Any) -> Any:
        if model in self.without:
            raise UnsupportedModelError("This model has no split attention.")
        self.asked.append((model, target, tuple(references)))
        return reports.attention(model, references=len(references))


def attentive(photo: Any, model: str) -> view.Shown:
    """An answer of a model with one path, for this photo."""
    one = reports.report(reports.block("layer4.0", "single", (1.0,), (435,)), model=model)
    # As large as the photo below the maps would be.
    drawn = view.drawn_photo(photo, one)
    return view.Shown(drawn, ("", model), (one,), (model,), ((),), block="layer4.0")


def test_split_attention_is_asked_for_once_and_the_examples_once_per_model(photo):
    lens: Any = AttentiveLens()
    attention = Attention(lens, ["a.jpg", "b.jpg"])
    square, other = photo.resize((64, 64)), another_photo().resize((64, 64))
    shown = attentive(square, "resnest14d.gluon_in1k")
    shown, column, note, gates, blocks, decided, radix = attention.show(shown, square, *LOOK)
    assert column == gr.update(visible=True)
    assert "2 example photographs" in note
    assert gates["value"].ndim == 3
    assert (blocks[0][0], decided[0][0]) == ("layer4.0", 3)
    assert radix.count("<section") == 2
    attention.show(shown, square, *LOOK)
    assert [references for *_, references in lens.asked] == [("a.jpg", "b.jpg")]
    _, _, again, *_ = attention.show(attentive(other, "resnest14d.gluon_in1k"), other, *LOOK)
    assert [references for *_, references in lens.asked] == [("a.jpg", "b.jpg"), ()]
    assert again == note


def test_split_attention_is_asked_of_the_model_that_the_chart_is_of(photo):
    """A model that did not know the class has no chart, so charts and models do not match up."""
    square = photo.resize((64, 64))
    lens: Any = AttentiveLens("my/folder")
    shown = attentive(square, "resnest14d.gluon_in1k")
    shown = dataclasses.replace(shown, asked=("", "my/folder", "resnest14d.gluon_in1k"))
    assert Attention(lens, []).show(shown, square, *LOOK)[1] == gr.update(visible=True)
    assert [model for model, *_ in lens.asked] == ["resnest14d.gluon_in1k"]


def test_the_part_is_hidden_where_there_is_no_split_attention(photo):
    square = photo.resize((64, 64))
    lens: Any = AttentiveLens("my/folder")
    attention = Attention(lens, [])
    hidden = (SKIPPED, gr.update(visible=False), *[SKIPPED] * 5)
    assert attention.show(None, square, *LOOK) == hidden
    assert attention.show(attentive(square, MODEL), square, *LOOK) == hidden
    assert attention.show(attentive(square, "my/folder"), square, *LOOK) == hidden
    changed = another_photo()
    assert attention.show(attentive(square, "resnest14d.gluon_in1k"), changed, *LOOK) == hidden
    assert lens.asked == []
    elsewhere = dataclasses.replace(attentive(square, "resnest14d.gluon_in1k"), block="layer1.0")
    assert attention.show(elsewhere, square, *LOOK)[1] == gr.update(visible=False)
