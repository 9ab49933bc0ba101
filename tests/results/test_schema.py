"""Documents and tables of results: the contract's keys, exact integers, plain JSON, no NaN."""

import csv
import io
import json
from dataclasses import dataclass, field, replace

import jsonschema  # type: ignore[import-untyped]  # ships no types
import numpy as np
import pytest

from mscnn.results.evaluation import RealAccuracy
from mscnn.results.explanation import SPREAD_UNIT, Score
from mscnn.results.receptive_field import BlockField, StageField
from mscnn.results.scales import SplitEvidence
from mscnn.results.schema import (
    Table,
    column,
    csv_text,
    document,
    json_schema,
    manifest,
    safe_integers,
    table,
)
from tests.results import samples
from tests.results.samples import LION, NAN, PATHS

SCORE = {"index": 3, "label": "lion", "probability": 0.75}


def test_a_number_cannot_stand_before_one_that_there_is_not():
    @dataclass
    class Wrong:
        size: int = field(default=1, metadata=column(before="nothing"))

    with pytest.raises(TypeError, match="Wrong"):
        document(Wrong())


@pytest.mark.parametrize("bad", [NAN, float("inf"), float(np.float32("nan"))])
def test_what_is_not_finite_becomes_null(bad):
    shown = document(samples.explained(target=Score(3, "lion", bad)))
    assert json.loads(json.dumps(shown, allow_nan=False))["top"][0]["probability"] is None


def test_tables_have_a_cell_per_heading_and_run_nothing_in_a_spreadsheet():
    content = table([{"b": "=HYPERLINK(1)\nx", "c": 10**30}, {"a": None, "d": -1.5}], ("a", "b"))
    assert content == Table(
        ["a", "b", "c", "d"], [[None, "=HYPERLINK(1)\nx", 10**30, None], [None, None, None, -1.5]]
    )
    assert list(csv.reader(io.StringIO(csv_text(content))))[1:] == [
        ["", "'=HYPERLINK(1) x", str(10**30), ""], ["", "", "", "-1.5"],
    ]  # fmt: skip


def test_a_name_stays_as_it_is_but_for_breaks():
    name = "Bildschirmfoto  2026-11-26 um 9.41.00\u202fAM\u00a0.png"
    lines = csv_text(Table(["path"], [[name], ["a\r\nb\u2028c"]])).split("\n")
    assert lines[1:] == [name, "a b c", ""]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "|", "%", "\t=", "\r="])
def test_text_is_no_formula(start):
    assert csv_text(Table(["a"], [[f"{start}cmd"]])).splitlines()[1].startswith("'")


def test_a_manifest_says_when_and_with_which_versions():
    shown = manifest({"class": LION}, packages=("torch", "no-such-package"))
    assert list(shown) == ["schema", "created", "versions", "class"]
    assert list(shown["versions"]) == ["mscnn", "torch", "no-such-package"]
    assert shown["versions"]["no-such-package"] is None
    assert shown["class"] == SCORE


def test_prediction_has_the_contracts_keys_and_values():
    assert document(samples.predicted()) == {
        # A 64 px view at x = 32 of a photo shrunk 3.125 times.
        "image": {
            **{"path": "/home/me/lion.jpg", "width": 400, "height": 200},
            "crop": [100.0, 0.0, 300.0, 200.0],
        },
        "model": "starter_resnet",
        "weights": {"source": "assets/weights/x.safetensors", "sha256": "ab" * 32},
        "device": "cpu",
        "top": [SCORE, {"index": 0, "label": "cat", "probability": 0.25}],
    }
    assert document(samples.predicted(name=""))["image"]["path"] is None


def test_explanation_adds_targets_maps_and_notices_to_the_prediction():
    shown = document(samples.explained(seconds=0.5, notices=("a notice",)))
    prediction = document(samples.predicted())
    assert {key: shown[key] for key in prediction} == prediction
    assert list(shown) == [*prediction, "targets", "maps", "seconds", "notices"]
    assert (shown["targets"], shown["seconds"], shown["notices"]) == ([SCORE], 0.5, ["a notice"])
    assert shown["maps"] == [
        {
            **{"layer": "layer4", "target": 3, "method": "gradcam", "shape": [2, 2]},
            **{"min": -3.0, "max": 4.0, "sum": 0.0},
            # One of four positions holds all; bilinear resizing keeps its peak of 4, its mean of 1.
            "highest": {"value": pytest.approx(4, rel=0.02), "unit": SPREAD_UNIT},
        }
    ]


def test_comparison_keeps_a_model_that_failed():
    shown = document(samples.compared(samples.column("starter_resnet"), samples.failed()))
    good, bad = shown.pop("models")
    assert shown == {
        "image": {"path": "/home/me/lion.jpg", "width": 400, "height": 200},
        **{"class": "lion", "layer": "last"},
        "colour_scale": {"min": 0.0, "max": 4.0, "unit": SPREAD_UNIT},
        "hint": "a hint",
        "agreements": [{"first": "a", "second": "b", "spearman": None, "iou_top20": 0.25}],
    }
    assert good["target"] == SCORE
    assert good["crop"] == [100.0, 0.0, 300.0, 200.0]
    assert (good["params"], good["gmacs"], good["latency_ms"]) == (1000, 0.5, 12.5)
    assert (good["top1"], good["top1_source"]) == (0.5, "here")
    assert list(bad) == list(good)
    assert list(good)[-4:] == ["latency_ms", "latency_range_ms", "threads", "note"]
    assert bad == {
        **dict.fromkeys(("weights", "device", "crop", "target", "map", "params", "gmacs")),
        **dict.fromkeys(("input_px", "top1", "latency_ms", "latency_range_ms", "threads")),
        **{"model": "other", "top": [], "top1_source": "", "note": "not on this machine"},
    }


def test_scales_has_the_prediction_and_every_split():
    known = samples.block("layer1.1", gradient_times_activation=-0.5)
    unknown = tuple(replace(s, rf_min_px=None, rf_max_px=None) for s in known.splits)
    other = samples.block("layer2.0", splits=unknown, gradient_times_activation=NAN)
    shown = document(samples.scaled(known, other))
    prediction = document(samples.predicted())
    assert {key: shown[key] for key in prediction} == prediction
    assert list(shown)[len(prediction) :] == [
        *("class", "input_px", "weighted_rf_px", "blocks", "seconds", "notices")
    ]
    # 0.25 x 27 + 0.75 x 19; the other block's fields are not known, so it does not count.
    assert (shown["class"], shown["input_px"], shown["weighted_rf_px"]) == (SCORE, 64, 21.0)
    first, second = shown["blocks"]
    assert first == {
        **{"block": "layer1.1", "kind": "hierarchy", "stride_px": 4, "weighted_rf_px": 21.0},
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


def test_receptive_fields_have_the_contracts_keys_and_exact_counts():
    more = {"distinct_sizes": 2, "paths": PATHS + 1}
    expected = {
        "model": "net", "input_px": 224,
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
    }  # fmt: skip
    shown = document(samples.theory())
    assert json.loads(json.dumps(shown)) == shown == expected
    full = document(samples.theory(), details=True)
    # Sorted by size, and only there on demand.
    assert full["stages"][0].pop("spectrum") == [[11, 1], [35, PATHS]]
    assert full == expected


def test_what_javascript_cannot_hold_becomes_text_and_nothing_else():
    largest = 2**53 - 1
    shown = {"a": [largest, largest + 1, -largest - 1, [10**30]], "b": True, "c": 0.5, "d": None}
    assert safe_integers(shown) == {
        "a": [largest, str(2**53), str(-(2**53)), ["1" + "0" * 30]],
        **{"b": True, "c": 0.5, "d": None},
    }
    stage = safe_integers(document(samples.theory(), details=True))["stages"][0]
    assert (stage["spectrum"], stage["rf_max_px"]) == ([[11, 1], [35, str(PATHS)]], 35)


def test_attention_is_averaged_over_channels_and_per_group():
    # Four channels in two cardinal groups: 0 and 1, 2 and 3.
    first = np.array([0.1, 0.3, 0.5, 0.9], dtype=np.float32)
    half = np.full((2, 4), 0.5, dtype=np.float32)
    inside = samples.attention("layer3.1", [first, 1 - first], 2, half)
    (block,) = document(samples.attended(inside))["blocks"]
    assert list(block) == [
        *("block", "radix", "cardinality", "channels", "entropy_bits", "mean_gates"),
        *("group_gates", "reference_gates", "decided"),
    ]
    assert block["mean_gates"] == pytest.approx([0.45, 0.55])
    assert [pytest.approx(gates) for gates in block["group_gates"]] == [[0.2, 0.8], [0.7, 0.3]]
    assert block["reference_gates"] == [0.5, 0.5]
    assert (block["radix"], block["cardinality"], block["channels"]) == (2, 2, 4)
    assert block["entropy_bits"] == 0.8
    # Channels 0 and 3 are equally decided, 0.9 to 0.1: the first stays first.
    decided = [(c["channel"], c["radix"], round(c["gate"], 6)) for c in block["decided"]]
    assert decided == [(0, 1, 0.9), (3, 0, 0.9), (1, 1, 0.7), (2, 0, 0.5)]


def test_a_sigmoid_gate_has_no_entropy():
    shown = document(samples.attended(samples.attention("layer3.1", [[0.1, 0.3, 0.5, 0.9]])))
    assert shown["references"] == 4
    assert shown["blocks"][0]["entropy_bits"] is None
    assert shown["blocks"][0]["mean_gates"] == pytest.approx([0.45])


def test_sweep_keeps_a_model_that_failed():
    steps = (samples.stepped(2), samples.stepped(0.001, energy_ratio=None, weighted_rf_px=NAN))
    shown = document(samples.swept(samples.curve("net", *steps), samples.UNKNOWN, partial=True))
    good, bad = shown.pop("models")
    assert json.dumps(shown) == json.dumps({
        **{"class": "lion", "canvas": "mean", "box": [0.1, 0.2, 0.333333, 1.0]},
        **{"factors": [2.0, 1.0, 0.5], "partial": True},
    })  # fmt: skip
    first, last = good.pop("steps")
    assert good == {
        **{"model": "net", "target": 3, "label": "lion", "octaves": 1.5},
        **{"mean_probability": 0.4, "note": "", "seconds": 2.0},
    }
    # A thousandth of 64 px is drawn as one.
    assert (first["size_px"], last["size_px"]) == (128, 1)
    assert first["rect"] == [1, 2, 63, 60]
    assert last["energy_ratio"] is last["weighted_rf_px"] is None
    assert (bad["note"], bad["steps"], bad["octaves"]) == ("it does not know lions", [], None)


def test_effective_field_is_described_without_its_map():
    assert document(samples.effective()) == {
        **{"model": "net", "layer": "layer2.1", "split": 1, "input_px": 64},
        "crop": [100.0, 0.0, 300.0, 200.0], "unit": [1, 2], "centre": [3.5, None],
        "theoretical": [-4.0, -3.0, 9.0, 10.0],
        "squares": [{"share": 0.5, "side_px": 3}, {"share": 0.99, "side_px": 7}],
        "log_squares": [{"share": 0.5, "side_px": 3}],
        **{"inputs": 2, "trained": False, "seconds": 0.25},
    }  # fmt: skip


def test_evaluation_has_the_contracts_keys_first():
    shown = document(samples.evaluated(real=RealAccuracy(2, 0.5, 1.0)))
    contract = ["model", "weights", "images", "top1", "top5", "images_per_second", "unreadable"]
    assert list(shown)[: len(contract)] == contract
    assert shown["weights"] == {"source": "assets/weights/x.safetensors", "sha256": "ab" * 32}
    assert shown["unreadable"] == ["a/bad.png"]
    assert shown["unreadable_reasons"] == {"a/bad.png": "'bad.png' is empty."}
    assert shown["images_per_second"] == 2.0
    assert (shown["real_images"], shown["real_top1"], shown["real_top5"]) == (2, 0.5, 1.0)
    assert "classes" not in shown
    assert "real_images" not in document(samples.evaluated())


RESULTS = {
    "explanation": samples.explained(),
    "comparison": samples.compared(samples.column("a"), samples.failed()),
    "scales": samples.scaled(samples.block("layer1.1")),
    "attention": samples.attended(samples.attention("layer1.1", [[0.5], [0.5]])),
    "receptive field": samples.theory(),
    "effective field": samples.effective(),
    "sweep": samples.swept(samples.curve("a", *samples.STEPS), samples.UNKNOWN),
    "evaluation": samples.evaluated(),
}


@pytest.mark.parametrize("name", RESULTS)
def test_everything_is_plain_json(name):
    shown = document(RESULTS[name], details=True)
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown


@pytest.mark.parametrize("name", RESULTS)
def test_every_document_fits_the_schema_of_its_class(name):
    schema = json_schema(type(RESULTS[name]))
    jsonschema.Draft202012Validator.check_schema(schema)
    # As it travels: JavaScript's readers get the largest numbers as text.
    shown = safe_integers(document(RESULTS[name], details=True))
    jsonschema.validate(shown, schema, jsonschema.Draft202012Validator)
    for key in schema["required"]:
        less = {k: v for k, v in shown.items() if k != key}
        with pytest.raises(jsonschema.ValidationError, match=key):
            jsonschema.validate(less, schema)


def test_a_schema_says_what_each_number_is():
    whole, text = {"type": "integer"}, {"type": "string"}
    number = {"type": ["number", "null"]}  # null where it is not finite
    assert json_schema(Score) == {
        "type": "object", "required": ["index", "label", "probability"],
        "properties": {"index": whole, "label": text, "probability": number},
    }  # fmt: skip
    split = json_schema(SplitEvidence)["properties"]
    assert split["path"] == {"type": "array", "items": text}
    assert split["rf_min_px"] == {"anyOf": [whole, {"type": "null"}]}
    stage = json_schema(StageField)["properties"]
    # A spectrum's numbers stand beside the stage's own; paths are counted beyond 2^53.
    assert stage["distinct_sizes"] == whole
    assert stage["paths"] == {"type": ["integer", "string"]}
    assert json_schema(BlockField)["properties"]["kind"] == {
        "enum": ["hierarchy", "parallel", "single"]
    }
