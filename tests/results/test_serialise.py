"""The dictionaries of results: the contract's keys, plain JSON values, no NaN."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mscnn.geometry import ViewGeometry
from mscnn.models import registry
from mscnn.results import serialise
from mscnn.results.explanation import (
    Agreement,
    CamMap,
    ComparedModel,
    Comparison,
    Explanation,
    ModelFacts,
    PhotoInfo,
    Prediction,
    Score,
    WeightsInfo,
)

GEOMETRY = ViewGeometry(photo=(40, 20), resized=(16, 8), offset=(4, 0), view=(8, 8))
RAW = np.array([[4, -1], [0, -3]], dtype=np.float32)


def explained(probability: float = 0.75) -> Explanation:
    lion = Score(3, "lion", probability)
    prediction = Prediction(
        photo=PhotoInfo("a/lion.jpg", 40, 20, GEOMETRY.crop),
        model="starter_resnet",
        weights=WeightsInfo("bundled", "assets/weights/x.safetensors", "ab" * 32),
        device="cpu",
        top=(lion, Score(0, "cat", 0.25)),
        logits=np.array([0, 0, 0, 1], dtype=np.float32),
    )
    cam = CamMap("layer4", 3, "gradcam", RAW, GEOMETRY)
    view = np.zeros((8, 8, 3), dtype=np.uint8)
    return Explanation(prediction, view, (lion,), (cam,), 0.5, ("a notice",))


def compared() -> Comparison:
    facts = ModelFacts(params=1000, gmacs=0.5, input_px=8, top1=0.5, top1_source="here")
    without = ComparedModel("other", None, None, None, "not on this machine")
    return Comparison(
        label="lion",
        layer="last",
        columns=(ComparedModel("starter_resnet", explained(), facts, 12.5), without),
        agreements=(Agreement("starter_resnet", "other", None, 0.25),),
        scale_max=4.0,
        hint="a hint",
    )


def test_prediction_has_the_contracts_keys_and_values():
    assert serialise.predictions_dict([explained().prediction]) == {
        "results": [
            {
                "image": {
                    **{"path": "a/lion.jpg", "width": 40, "height": 20},
                    # 8 px view at x = 4 of a photo shrunk 2.5 times.
                    "crop": [10.0, 0.0, 30.0, 20.0],
                },
                "model": "starter_resnet",
                "weights": {"source": "assets/weights/x.safetensors", "sha256": "ab" * 32},
                "device": "cpu",
                "top": [
                    {"index": 3, "label": "lion", "probability": 0.75},
                    {"index": 0, "label": "cat", "probability": 0.25},
                ],
            }
        ]
    }


def test_map_is_summed_up_in_its_own_unit():
    assert serialise.map_dict(explained().maps[0]) == {
        **{"layer": "layer4", "target": 3, "method": "gradcam", "shape": [2, 2]},
        **{"min": -3.0, "max": 4.0, "sum": 0.0},
        # One of four places holds all; bilinear resizing keeps its peak of 4 and its mean of 1.
        "highest": {"value": pytest.approx(4.0), "unit": serialise.SPREAD_UNIT},
    }


def test_explanation_adds_targets_maps_and_notices_to_the_prediction():
    document = serialise.explanation_dict(explained())
    prediction = serialise.prediction_dict(explained().prediction)
    assert {key: document[key] for key in prediction} == prediction
    assert document["targets"] == [{"index": 3, "label": "lion", "probability": 0.75}]
    assert [m["layer"] for m in document["maps"]] == ["layer4"]
    assert (document["seconds"], document["notices"]) == (0.5, ["a notice"])


def test_comparison_keeps_a_model_that_failed():
    document = serialise.comparison_dict(compared())
    assert document["image"] == {"path": "a/lion.jpg", "width": 40, "height": 20}
    assert (document["class"], document["layer"], document["hint"]) == ("lion", "last", "a hint")
    assert document["colour_scale"] == {"min": 0.0, "max": 4.0, "unit": serialise.SPREAD_UNIT}
    good, bad = document["models"]
    assert good["target"] == {"index": 3, "label": "lion", "probability": 0.75}
    assert (good["params"], good["gmacs"], good["latency_ms"]) == (1000, 0.5, 12.5)
    assert (good["top1"], good["top1_source"]) == (0.5, "here")
    assert good["crop"] == [10.0, 0.0, 30.0, 20.0]
    assert bad == {
        **dict.fromkeys(("weights", "device", "crop", "target", "map", "params", "gmacs")),
        **dict.fromkeys(("input_px", "top1", "latency_ms")),
        **{"model": "other", "top": [], "top1_source": "", "note": "not on this machine"},
    }
    assert document["agreements"] == [
        {"first": "starter_resnet", "second": "other", "spearman": None, "iou_top20": 0.25}
    ]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float(np.float32("nan"))])
def test_what_is_not_finite_becomes_null(bad):
    document = serialise.explanation_dict(explained(bad))
    assert json.loads(json.dumps(document, allow_nan=False))["top"][0]["probability"] is None


@pytest.mark.parametrize("spec", registry.list_backbones(), ids=lambda spec: spec.name)
def test_backbones_are_plain_json_of_the_registrys_values(spec):
    document = json.loads(json.dumps(serialise.backbone_dict(spec), allow_nan=False))
    assert {key: getattr(spec, key) for key in document} == document


def test_everything_is_plain_json():
    for document in (
        serialise.explanation_dict(explained()),
        serialise.comparison_dict(compared()),
    ):
        assert json.loads(json.dumps(document, allow_nan=False)) == document
