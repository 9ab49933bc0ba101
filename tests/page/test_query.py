"""Links into the page: ``?model=&models=&layer=&tab=&example=``, right or wrong."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from mscnn.page import app
from mscnn.page.examples import Example, examples

FIRST = "starter_res2net"
SKIPPED = gr.skip()


@pytest.fixture
def known() -> tuple[Example, ...]:
    return examples()


@pytest.fixture
def warnings_shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    shown: list[str] = []
    monkeypatch.setattr(gr, "Warning", lambda message, *a, **k: shown.append(message))
    return shown


@pytest.fixture
def opened(engine, known):
    """``opened(model=...)``: what the page starts with, by name."""

    def get(**query: str) -> dict[str, Any]:
        handler = app._open_page(engine, known)
        values = handler(SimpleNamespace(query_params=query))
        names = ("photo", "kept", "model", "note", "models", "layer", "tab")
        return dict(zip(names, values, strict=True))

    return get


def test_without_a_query_an_example_and_the_first_model(opened, known, warnings_shown):
    page = opened()
    assert page["photo"] == page["kept"] == str(known[0].path)
    assert page["model"] == FIRST
    assert page["models"] == SKIPPED
    assert page["layer"] == "last"
    assert page["tab"] == gr.update(selected="look")
    assert warnings_shown == []


def test_a_link_names_model_tab_models_layer_and_example(opened, known, warnings_shown):
    page = opened(
        model="starter_resnet",
        tab="compare",
        models="starter_resnet, starter_res2net,",
        layer="layer3",
        example="CoFFee",
    )
    coffee = next(e for e in known if e.label == "Coffee")
    assert page["model"] == "starter_resnet"
    assert page["tab"] == gr.update(selected="compare")
    assert page["models"] == ["starter_resnet", "starter_res2net"]
    assert page["layer"] == "3"
    assert page["photo"] == str(coffee.path)
    assert warnings_shown == []


def test_models_alone_open_the_compare_tab(opened):
    assert opened(models="starter_resnet,starter_res2net")["tab"] == gr.update(selected="compare")


@pytest.mark.parametrize(("layer", "chosen"), [("2", "2"), ("stage1", "1"), ("layer4", "4")])
def test_a_stage_may_be_written_as_layer_or_number(opened, layer, chosen):
    assert opened(layer=layer)["layer"] == chosen


def test_a_model_that_must_be_downloaded_is_shown_but_not_fetched(opened, warnings_shown):
    page = opened(model="resnest50d.in1k")
    assert page["model"] == "resnest50d.in1k"
    assert "to download first" in page["note"]
    assert warnings_shown == []


@pytest.mark.parametrize("name", ["no_such_net", "../../etc", "/etc/passwd", "<script>"])
def test_an_unknown_model_falls_back_with_a_sentence(opened, warnings_shown, name):
    page = opened(model=name)
    assert page["model"] == FIRST
    assert page["photo"] is not None
    assert len(warnings_shown) == 1


@pytest.mark.parametrize("query", [{"layer": "conv1"}, {"tab": "nowhere"}, {"example": "unicorn"}])
def test_nonsense_falls_back_to_what_is_usual(opened, query, known):
    page = opened(**query)
    assert page["layer"] == "last"
    assert page["tab"] == gr.update(selected="look")
    assert page["photo"] == str(known[0].path)


def test_no_more_models_than_can_be_compared(opened):
    page = opened(models=",".join(f"m{i}" for i in range(9)))
    assert len(page["models"]) == 6
