"""Results as plain dictionaries, fit for JSON: what ``--json``, manifests and HTTP share.

No torch. Probabilities and accuracies lie in 0..1, lengths are px, numbers that are not finite
become None, because JSON has no word for them. No absolute path of this machine is ever added; a
photo's ``path`` is what its user called it.
"""

from __future__ import annotations

import math

from mscnn.geometry import Box
from mscnn.maps.agreement import density
from mscnn.models.registry import BackboneSpec
from mscnn.results.explanation import (
    Agreement,
    CamMap,
    ComparedModel,
    Comparison,
    Explanation,
    JsonDict,
    PhotoInfo,
    Prediction,
    Score,
    WeightsInfo,
)

SPREAD_UNIT = "evidence, 1 = an even spread"
"""Unit of ``maps.agreement.density``: 1 where a place holds as much as if all held the same."""


def score_dict(score: Score) -> JsonDict:
    """One class with its probability."""
    return {
        "index": score.index,
        "label": score.label,
        "probability": _number(score.probability),
    }


def weights_dict(weights: WeightsInfo) -> JsonDict:
    """Which weights gave a result."""
    return {"source": weights.source, "sha256": weights.sha256}


def image_dict(photo: PhotoInfo) -> JsonDict:
    """The photo, and what of it the network saw."""
    return {
        "path": photo.name or None,
        "width": photo.width,
        "height": photo.height,
        "crop": crop_list(photo.crop),
    }


def crop_list(crop: Box) -> list[float]:
    """``[left, top, right, bottom]``, px of the photo, to a thousandth."""
    return [round(float(edge), 3) for edge in crop]


def prediction_dict(prediction: Prediction) -> JsonDict:
    """One element of ``predict``'s ``results``."""
    return {
        "image": image_dict(prediction.photo),
        "model": prediction.model,
        "weights": weights_dict(prediction.weights),
        "device": prediction.device,
        "top": [score_dict(score) for score in prediction.top],
    }


def predictions_dict(predictions: list[Prediction]) -> JsonDict:
    """The document of ``predict``: one element per image, in the order they were given."""
    return {"results": [prediction_dict(prediction) for prediction in predictions]}


def map_dict(cam: CamMap) -> JsonDict:
    """What can be said of a map in a few numbers; the map itself is ``cam.npy``."""
    return {
        "layer": cam.layer,
        "target": cam.target,
        "method": cam.method,
        "shape": list(cam.raw.shape),
        "min": _number(cam.raw.min()),
        "max": _number(cam.raw.max()),
        "sum": _number(cam.raw.sum(dtype="float64")),
        "highest": {"value": _number(density(cam).max()), "unit": SPREAD_UNIT},
    }


def explanation_dict(explanation: Explanation) -> JsonDict:
    """A prediction with a line on each of its maps."""
    return {
        **prediction_dict(explanation.prediction),
        "targets": [score_dict(score) for score in explanation.targets],
        "maps": [map_dict(cam) for cam in explanation.maps],
        "seconds": _number(explanation.seconds),
        "notices": list(explanation.notices),
    }


def comparison_dict(comparison: Comparison) -> JsonDict:
    """The document of ``compare``: one element of ``models`` per model, in the order asked for."""
    photo = next(
        (c.explanation.prediction.photo for c in comparison.columns if c.explanation), None
    )
    image = (
        {"path": photo.name or None, "width": photo.width, "height": photo.height}
        if photo
        else None
    )
    return {
        "image": image,
        "class": comparison.label,
        "layer": comparison.layer,
        "colour_scale": {"min": 0.0, "max": _number(comparison.scale_max), "unit": SPREAD_UNIT},
        "hint": comparison.hint,
        "models": [compared_dict(column) for column in comparison.columns],
        "agreements": [agreement_dict(pair) for pair in comparison.agreements],
    }


def compared_dict(column: ComparedModel) -> JsonDict:
    """One model of a comparison; what it could not give is None, and ``note`` says why."""
    explanation, cam, facts = column.explanation, column.cam, column.facts
    prediction = explanation.prediction if explanation else None
    target = explanation.targets[0] if explanation and explanation.targets else None
    return {
        "model": column.model,
        "weights": weights_dict(prediction.weights) if prediction else None,
        "device": prediction.device if prediction else None,
        "crop": crop_list(prediction.photo.crop) if prediction else None,
        "top": [score_dict(score) for score in prediction.top] if prediction else [],
        "target": score_dict(target) if target else None,
        "map": map_dict(cam) if cam else None,
        "params": facts.params if facts else None,
        "gmacs": _number(facts.gmacs) if facts else None,
        "input_px": facts.input_px if facts else None,
        "top1": _number(facts.top1) if facts else None,
        "top1_source": facts.top1_source if facts else "",
        "latency_ms": _number(column.latency_ms),
        "note": column.note,
    }


def agreement_dict(pair: Agreement) -> JsonDict:
    """How far the maps of two models agree."""
    return {
        "first": pair.first,
        "second": pair.second,
        "spearman": _number(pair.spearman),
        "iou_top20": _number(pair.iou_top20),
    }


def backbone_dict(spec: BackboneSpec) -> JsonDict:
    """What the registry knows of a backbone; one element of ``models``, before its weights."""
    return {
        "name": spec.name,
        "title": spec.title,
        "group": spec.group,
        "family": spec.family,
        "summary": spec.summary,
        "params": spec.params,
        "gmacs": spec.gmacs,
        "input_px": spec.input_px,
        "classes": spec.classes,
        "top1": _number(spec.top1),
        "top1_source": spec.top1_source,
        "paper_top1": _number(spec.paper_top1),
        "paper_source": spec.paper_source,
        "licence": spec.licence,
        "licence_note": spec.licence_note,
        "baseline": spec.baseline,
    }


def _number(value: float | None) -> float | None:
    """A Python float; None for None, NaN and infinities."""
    return float(value) if value is not None and math.isfinite(value) else None
