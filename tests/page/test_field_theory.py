"""What the Receptive field tab says of theory."""

from __future__ import annotations

from typing import Any

import pytest

from mscnn.page import field_theory as theory
from mscnn.results.receptive_field import (
    BlockField,
    ReceptiveField,
    Spectrum,
    SplitField,
    StageField,
)

MANY = 2**70 + 1
MODEL, BASELINE = "starter_res2net", "starter_resnet"


def by_hand(model: str = "a_net") -> ReceptiveField:
    """One stage of two blocks: a ladder of two splits, and a block of one path."""
    ladder, one = Spectrum({7: 2, 15: MANY}), Spectrum({7: 1})
    splits = (
        SplitField(0, ("1x1", "3x3"), ladder, -3, 12, 4),
        SplitField(1, ("1x1",), one, 0, 7, 4),
    )
    blocks = (
        BlockField("layer1.0", "hierarchy", 4, splits, ladder, -3, 12),
        BlockField("layer1.1", "single", 4, splits[:1], ladder, -3, 12),
    )
    return ReceptiveField(model, 10, (StageField("layer1", 4, ladder, -3, 12),), blocks)


def test_paths_are_exact_and_text_in_every_table():
    stages, blocks = theory.stage_rows([by_hand()]), theory.block_rows([by_hand()])
    assert stages == [["a_net", "layer1", 4, 7, 70.0, 15, 150.0, 2, str(MANY + 2)]]
    assert [row[8] for row in blocks] == [str(MANY + 2), "1", str(MANY + 2)]
    assert blocks[0][3:7] == ["0", 7, 15, 150.0]
    assert {len(row) for row in stages} == {len(theory.STAGE_HEADERS)}
    assert {len(row) for row in blocks} == {len(theory.BLOCK_HEADERS)}


@pytest.mark.parametrize(
    ("paths", "text"),
    [
        (256, "256"),
        (2_560_000, "2\u202f560\u202f000"),
        (999_999_999, "999\u202f999\u202f999"),
        (1_960_000_000, "about 2.0 \u00d7 10^9"),
        (10**30, "about 1.0 \u00d7 10^30"),
    ],
)
def test_a_number_of_paths_in_a_sentence(paths, text):
    assert theory.paths_text(paths) == text


def test_layers_are_offered_in_order_of_depth_with_their_size():
    choices = theory.layer_choices(by_hand())
    assert [name for _, name in choices] == ["layer1.0", "layer1.1", "layer1"]
    assert all("15 px" in text for text, _ in choices)
    assert theory.default_layer(by_hand()) == "layer1.1"


def test_splits_are_offered_where_there_are_some():
    assert [v for _, v in theory.split_choices(by_hand(), "layer1.0")] == ["all", "0", "1"]
    assert "7 px" in theory.split_choices(by_hand(), "layer1.0")[2][0]
    for layer in ("layer1.1", "layer1", "no_layer"):
        assert [v for _, v in theory.split_choices(by_hand(), layer)] == ["all"]


def test_a_registry_model_needs_no_weights(engine, monkeypatch):
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("nothing may be loaded")

    monkeypatch.setattr(engine.session, "network", refuse)
    names = theory.models_of("res2net50_26w_4s", ["resnet50.tv_in1k", "res2net50_26w_4s.in1k"])
    found = theory.gather(engine, names)
    assert [f.model for f in found.found] == ["res2net50_26w_4s.in1k", "resnet50.tv_in1k"]
    assert found.first is found.found[0]
    # The stem sees 11 px; each 3x3 adds twice the stride of the maps that it reads.
    by_hand = 11 + 2 * (3 * 4 + (4 + 3 * 8) + (8 + 5 * 16) + (16 + 2 * 32))
    assert found.found[1].stages[-1].rf_max_px == by_hand == 427
    assert "427 px" in theory.summary(found)


def test_a_typed_model_that_is_not_here_is_not_downloaded(engine):
    found = theory.gather(engine, [MODEL, "resnet10t.c3_in1k", "no_such_net"])
    assert [f.model for f in found.found] == [MODEL]
    assert found.waiting == ()
    assert "resnet10t.c3_in1k is not on this machine" in found.notes[0]
    assert "no_such_net" in found.notes[1]


def test_a_model_of_ones_own_waits_to_be_loaded(engine, monkeypatch):
    monkeypatch.setattr("mscnn.scales.receptive_field.known", lambda name: None)
    waiting = theory.gather(engine, [MODEL])
    assert (waiting.first, waiting.waiting) == (None, (MODEL,))
    assert "Working out" in theory.summary(waiting)
    loaded = theory.gather(engine, [MODEL], by_hand)
    assert loaded.first is loaded.found[0]
    assert loaded.first.model == MODEL


@pytest.mark.parametrize("kind", ["growth", "paths"])
def test_charts_and_their_words(engine, kind):
    found = theory.gather(engine, [MODEL, BASELINE]).found
    picture = theory.chart(found, kind)
    assert picture.shape[1] == theory.CHART_PX
    assert picture.min() < 100
    text = theory.chart_alt(found, kind)
    for f in found:
        assert f"{f.stages[-1].rf_min_px} to {f.stages[-1].rf_max_px} px" in text


def test_the_fair_baseline_stands_beside_a_model():
    assert theory.partner(MODEL) == [BASELINE]
    assert theory.partner(BASELINE) == []
    assert theory.partner("a_net") == []


def test_attention_over_the_whole_map_is_said_to_be_left_out(engine):
    text = theory.summary(theory.gather(engine, ["resnest50d.in1k"]))
    assert "left out" in text
    assert "left out" not in theory.summary(theory.gather(engine, [MODEL]))
