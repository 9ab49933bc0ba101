"""The dictionaries of the lens: the contract's keys, exact integers, plain JSON, no NaN."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from mscnn.geometry import ViewGeometry
from mscnn.results import serialise, serialise_lens
from mscnn.results.explanation import PhotoInfo, Prediction, Score, WeightsInfo
from mscnn.results.scales import (
    AttentionReport,
    BlockAttention,
    BlockScales,
    EffectiveField,
    ScaleReport,
    SplitEvidence,
    Square,
    Sweep,
    SweepCurve,
    SweepStep,
)
from mscnn.scales.receptive_field import (
    BlockField,
    ReceptiveField,
    Spectrum,
    SplitField,
    StageField,
)

GEOMETRY = ViewGeometry(photo=(40, 20), resized=(16, 8), offset=(4, 0), view=(8, 8))
VIEW = np.zeros((8, 8, 3), dtype=np.uint8)
LION = Score(3, "lion", 0.75)
NAN = float("nan")


def predicted() -> Prediction:
    return Prediction(
        photo=PhotoInfo("a/lion.jpg", 40, 20, GEOMETRY.crop),
        model="starter_res2net",
        weights=WeightsInfo("bundled", "assets/weights/x.safetensors", "ab" * 32),
        device="cpu",
        top=(LION, Score(0, "cat", 0.25)),
        logits=np.array([0, 0, 0, 1], dtype=np.float32),
    )


def scaled() -> ScaleReport:
    splits = (
        SplitEvidence(0, ("1x1", "3x3"), 11, 27, 1.0, 0.25),
        SplitEvidence(1, ("1x1",), 11, 19, 3.0, 0.75),
    )
    maps = np.arange(8, dtype=np.float32).reshape(2, 2, 2) - 3
    known = BlockScales("layer1.1", "hierarchy", 4, splits, maps, -0.5, 3, GEOMETRY)
    unknown = tuple(dataclasses.replace(s, rf_min_px=None, rf_max_px=None) for s in splits)
    other = BlockScales("layer2.0", "parallel", None, unknown, maps, NAN, 3, GEOMETRY)
    return ScaleReport(predicted(), LION, (known, other), VIEW, 0.5, ("a notice",))


def attended(radix: int = 2) -> AttentionReport:
    # Four channels in two cardinal groups: 0 and 1, 2 and 3.
    first = np.array([0.1, 0.3, 0.5, 0.9], dtype=np.float32)
    gates = np.stack([first, 1 - first])[:radix]
    maps = np.zeros((radix, 2, 2), dtype=np.float32)
    reference = np.full_like(gates, 0.5)
    entropy = 0.8 if radix > 1 else None
    block = BlockAttention("layer3.1", radix, 2, gates, entropy, reference, maps, 3, GEOMETRY)
    return AttentionReport(predicted(), LION, (block,), 4, 0.5)


PATHS = 10**40 + 1


def field() -> ReceptiveField:
    one, many = Spectrum({19: 2}), Spectrum({35: PATHS, 11: 1})
    extent = {"low": -5, "high": 6}
    splits = (
        SplitField(0, ("1x1", "3x3"), many, stride_px=4, **extent),
        SplitField(1, ("1x1",), one, stride_px=4, **extent),
    )
    block = BlockField("layer1.1", "hierarchy", 4, splits, many, **extent)
    return ReceptiveField("net", 224, (StageField("layer1", 4, many, **extent),), (block,))


def stepped(factor: float, **changes: Any) -> SweepStep:
    step = SweepStep(
        factor=factor,
        rect=(1, 2, 7, 6),
        probability=0.5,
        rank=1,
        energy_ratio=1.5,
        weighted_rf_px=33.0,
        raw=np.ones((2, 2), dtype=np.float32),
        view=VIEW,
    )
    return dataclasses.replace(step, **changes)


def swept() -> Sweep:
    steps = (stepped(2.0), stepped(0.1, energy_ratio=None, weighted_rf_px=NAN))
    good = SweepCurve("net", 3, "lion", steps, 1.5, 0.4, seconds=2.0)
    bad = SweepCurve("other", None, "", (), None, None, "it does not know lions")
    return Sweep("lion", (2.0, 0.1), "mean", (0.1, 0.2, 1 / 3, 1.0), (good, bad), partial=True)


def effective() -> EffectiveField:
    gradient = np.zeros((8, 8), dtype=np.float32)
    square = (Square(0.5, 3), Square(0.99, 7))
    return EffectiveField(
        model="net",
        layer="layer2.1",
        split=1,
        unit=(1, 2),
        centre=(3.5, NAN),
        gradient=gradient,
        theoretical=(-4.0, -3.0, 9.0, 10.0),
        squares=square,
        log_squares=square[:1],
        inputs=2,
        trained=False,
        view=VIEW,
        geometry=GEOMETRY,
        seconds=0.25,
    )


def test_scales_has_the_prediction_and_every_split() -> None:
    document = serialise_lens.scales_dict(scaled())
    prediction = serialise.prediction_dict(predicted())
    assert {key: document[key] for key in prediction} == prediction
    assert document["class"] == {"index": 3, "label": "lion", "probability": 0.75}
    # 0.25 x 27 + 0.75 x 19; the other block's fields are not known, so it does not count.
    assert document["weighted_rf_px"] == 21.0
    assert (document["input_px"], document["notices"]) == (8, ["a notice"])
    first, second = document["blocks"]
    assert first == {
        "block": "layer1.1",
        "kind": "hierarchy",
        "stride_px": 4,
        "weighted_rf_px": 21.0,
        "gradient_times_activation": -0.5,
        "splits": [
            {
                **{"index": 0, "path": ["1x1", "3x3"], "rf_min_px": 11, "rf_max_px": 27},
                **{"evidence": 1.0, "share": 0.25},
            },
            {
                **{"index": 1, "path": ["1x1"], "rf_min_px": 11, "rf_max_px": 19},
                **{"evidence": 3.0, "share": 0.75},
            },
        ],
    }
    assert second["weighted_rf_px"] is second["gradient_times_activation"] is None
    assert second["splits"][0]["rf_max_px"] is None


def test_receptive_fields_have_the_contracts_keys_and_exact_counts() -> None:
    document = serialise_lens.receptive_field_dict(field())
    more = {"distinct_sizes": 2, "paths": PATHS + 1}
    assert document == {
        "model": "net",
        "input_px": 224,
        "stages": [{"stage": "layer1", "stride_px": 4, "rf_min_px": 11, "rf_max_px": 35, **more}],
        "blocks": [
            {
                **{"block": "layer1.1", "kind": "hierarchy", "stride_px": 4},
                **{"rf_min_px": 11, "rf_max_px": 35, **more},
                "splits": [
                    {
                        **{"index": 0, "path": ["1x1", "3x3"]},
                        **{"rf_min_px": 11, "rf_max_px": 35, **more},
                    },
                    {
                        **{"index": 1, "path": ["1x1"], "rf_min_px": 19, "rf_max_px": 19},
                        **{"distinct_sizes": 1, "paths": 2},
                    },
                ],
            }
        ],
    }
    assert json.loads(json.dumps(document))["stages"][0]["paths"] == PATHS + 1


def test_the_spectrum_is_sorted_by_size_and_only_there_on_demand() -> None:
    document = serialise_lens.receptive_field_dict(field(), spectrum=True)
    assert document["stages"][0].pop("spectrum") == [[11, 1], [35, PATHS]]
    assert document == serialise_lens.receptive_field_dict(field())


def test_what_javascript_cannot_hold_becomes_text_and_nothing_else() -> None:
    largest = 2**53 - 1
    document = {"a": [largest, largest + 1, -largest - 1, [10**30]], "b": True, "c": 0.5, "d": None}
    assert serialise_lens.safe_integers(document) == {
        "a": [largest, str(2**53), str(-(2**53)), ["1" + "0" * 30]],
        **{"b": True, "c": 0.5, "d": None},
    }
    safe = serialise_lens.safe_integers(serialise_lens.receptive_field_dict(field(), spectrum=True))
    assert safe["stages"][0]["spectrum"] == [[11, 1], [35, str(PATHS)]]
    assert safe["stages"][0]["rf_max_px"] == 35


def test_attention_is_averaged_over_channels_and_per_group() -> None:
    (block,) = serialise_lens.attention_dict(attended())["blocks"]
    assert block["mean_gates"] == pytest.approx([0.45, 0.55])
    assert [pytest.approx(gates) for gates in block["group_gates"]] == [[0.2, 0.8], [0.7, 0.3]]
    assert block["reference_gates"] == [0.5, 0.5]
    assert (block["radix"], block["cardinality"], block["channels"]) == (2, 2, 4)
    assert block["entropy_bits"] == 0.8
    # Channels 0 and 3 are equally decided, 0.9 to 0.1: the first stays first.
    decided = [(c["channel"], c["radix"], round(c["gate"], 6)) for c in block["decided"]]
    assert decided == [(0, 1, 0.9), (3, 0, 0.9), (1, 1, 0.7), (2, 0, 0.5)]


def test_a_sigmoid_gate_has_no_entropy() -> None:
    document = serialise_lens.attention_dict(attended(radix=1))
    assert document["references"] == 4
    assert document["blocks"][0]["entropy_bits"] is None
    assert document["blocks"][0]["mean_gates"] == pytest.approx([0.45])


def test_sweep_keeps_a_model_that_failed() -> None:
    document = serialise_lens.sweep_dict(swept())
    good, bad = document.pop("models")
    assert document == {
        "class": "lion",
        "canvas": "mean",
        "box": [0.1, 0.2, 0.333333, 1.0],
        "factors": [2.0, 0.1],
        "partial": True,
    }
    assert (good["model"], good["target"], good["label"], good["octaves"]) == (
        "net",
        3,
        "lion",
        1.5,
    )
    # 0.1 of 8 px is 0.8 px, which is drawn as one.
    assert [step["size_px"] for step in good["steps"]] == [16, 1]
    assert good["steps"][0]["rect"] == [1, 2, 7, 6]
    assert good["steps"][1]["energy_ratio"] is good["steps"][1]["weighted_rf_px"] is None
    assert (bad["note"], bad["steps"], bad["octaves"]) == ("it does not know lions", [], None)


def test_effective_field_is_described_without_its_map() -> None:
    assert serialise_lens.effective_dict(effective()) == {
        **{"model": "net", "layer": "layer2.1", "split": 1, "input_px": 8},
        # The 8 px view at x = 4 of a photo shrunk 2.5 times.
        "crop": [10.0, 0.0, 30.0, 20.0],
        "unit": [1, 2],
        "centre": [3.5, None],
        "theoretical": [-4.0, -3.0, 9.0, 10.0],
        "squares": [{"share": 0.5, "side_px": 3}, {"share": 0.99, "side_px": 7}],
        "log_squares": [{"share": 0.5, "side_px": 3}],
        **{"inputs": 2, "trained": False, "seconds": 0.25},
    }


def test_everything_is_plain_json() -> None:
    for document in (
        serialise_lens.scales_dict(scaled()),
        serialise_lens.attention_dict(attended()),
        serialise_lens.receptive_field_dict(field(), spectrum=True),
        serialise_lens.sweep_dict(swept()),
        serialise_lens.effective_dict(effective()),
    ):
        assert json.loads(json.dumps(document, allow_nan=False)) == document
