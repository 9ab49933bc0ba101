"""A study as a plain document, and as sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mscnn.results.explanation import JsonDict

if TYPE_CHECKING:
    from mscnn.study.statistics import Interval
    from mscnn.study.summary import ModelSummary, Study

SHUFFLED = "shuffled"
PLAIN = "mean"


def study_dict(study: Study) -> JsonDict:
    """All numbers of a study; every mean with its 95 % confidence interval over photographs.

    Shares and probabilities lie in 0..1, fields are px of the network's input, ranges are octaves
    (factors of two). Splits are in timm's order, the untouched one last.
    """
    return {
        "photos": study.photos,
        "looked_at": study.looked_at,
        "labelled": study.labelled,
        "unreadable": study.unreadable,
        "factors": list(study.factors),
        "settings": list(study.settings),
        "compared": {"large": study.large, "small": study.small},
        "models": [_model(m) for m in study.models],
        "range_gain_octaves": {
            model: {s: _interval(i) for s, i in gains.items()}
            for model, gains in study.range_gain.items()
        },
    }


def _model(model: ModelSummary) -> JsonDict:
    return {
        "model": model.model,
        "probability": _curves(model.probability),
        "weighted_rf_px": _curves(model.weighted_rf),
        "weighted_rf_change_px": {s: _interval(i) for s, i in model.weighted_rf_change.items()},
        "octaves": {s: _interval(i) for s, i in model.octaves.items()},
        "shares": {
            setting: {
                block: [[_interval(i) for i in at_factor] for at_factor in rows]
                for block, rows in blocks.items()
            }
            for setting, blocks in model.shares.items()
        },
        "changes": [
            {
                "setting": c.setting,
                "block": c.block,
                "split": c.split,
                "rf_max_px": c.rf_max_px,
                "large": _interval(c.large),
                "small": _interval(c.small),
                "change": _interval(c.change),
            }
            for c in model.changes
        ],
        "effective_fields": [
            {
                "block": f.block,
                "split": f.split,
                "theoretical_px": f.theoretical_px,
                "half_side_px": {"trained": _interval(f.trained), "random": _interval(f.random)},
            }
            for f in model.fields
        ],
    }


def _curves(curves: Mapping[str, Sequence[Interval]]) -> JsonDict:
    return {setting: [_interval(i) for i in row] for setting, row in curves.items()}


def _interval(value: Interval) -> JsonDict:
    numbers = {"mean": value.mean, "low": value.low, "high": value.high}
    known = {k: None if math.isnan(v) else float(v) for k, v in numbers.items()}
    return {**known, "photos": value.count}


def study_text(document: Mapping[str, Any]) -> list[str]:
    """The answers in words, one line each; an interval on both sides of zero is called none.

    Args:
        document: what ``study_dict`` gives.
    """
    lines = [
        f"{document['photos']} photographs that all models classified alike, of "
        f"{document['looked_at']} looked at; 95 % confidence intervals over photographs."
    ]
    for model in document["models"]:
        lines += _model_text(model, document["compared"])
    first = document["models"][0]["model"]
    for name, gains in document["range_gain_octaves"].items():
        for setting, gain in gains.items():
            if setting != SHUFFLED:
                lines.append(
                    f"{name}: its range of sizes against {first}, {_named(setting)}: "
                    f"{_signed(gain, 2)} octaves: {_verdict(gain)}."
                )
    return lines


def _model_text(model: Mapping[str, Any], compared: Mapping[str, float]) -> list[str]:
    kept = model["octaves"][PLAIN]["mean"]
    lines = [
        f"{model['model']}: keeps half of its best probability over {kept:.2f} octaves of size, "
        f"{_named(PLAIN)}."
    ]
    sizes = f"from {compared['large']:g}x to {compared['small']:g}x"
    for setting, change in model["weighted_rf_change_px"].items():
        lines.append(
            f"{model['model']}: evidence-weighted receptive field {sizes}, {_named(setting)}: "
            f"{_signed(change, 2)} px: {_verdict(change)}."
        )
    return lines


def _signed(value: Mapping[str, Any], digits: int) -> str:
    if value["low"] is None:
        return "not known"
    mean, low, high = (f"{value[key]:+.{digits}f}" for key in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})"


def _named(setting: str) -> str:
    return "pixels shuffled (control)" if setting == SHUFFLED else f"{setting} canvas"


def _verdict(change: Mapping[str, Any]) -> str:
    if change["low"] is None:
        return "too few photographs to tell"
    if change["low"] <= 0 <= change["high"]:
        return "no difference that these photographs can show"
    return "larger" if change["mean"] > 0 else "smaller"
