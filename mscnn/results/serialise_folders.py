"""Evaluations and feature files as plain dictionaries, fit for JSON.

No torch. Accuracies lie in 0..1. The keys of ``evaluation_dict`` up to ``unreadable`` are a
contract; see ``mscnn.results.serialise`` for what holds for all results.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from mscnn.results.explanation import JsonDict
from mscnn.results.serialise import weights_dict

if TYPE_CHECKING:
    from mscnn.data.evaluation import Evaluation
    from mscnn.data.extraction import Extraction


def evaluation_dict(found: Evaluation, *, details: bool = False) -> JsonDict:
    """What an evaluation found.

    Args:
        found: the result.
        details: also the table of classes and the reliability diagram's bins.
    """
    document: JsonDict = {
        "model": found.model,
        "weights": weights_dict(found.weights),
        "images": found.images,
        "top1": found.top1,
        "top5": found.top5,
        "images_per_second": found.images_per_second,
        "unreadable": [name for name, _ in found.unreadable],
        "unreadable_reasons": dict(found.unreadable),
        "ece": found.ece,
        "device": found.device,
        "seconds": found.seconds,
        "part": found.part,
        "class_map": {
            name: {"index": index, "label": label}
            for name, (index, label) in found.class_map.items()
        },
        "notices": list(found.notices),
    }
    if found.real is not None:
        images, top1, top5 = found.real
        document |= {"real_images": images, "real_top1": top1, "real_top5": top5}
    if details:
        document["classes"] = [dataclasses.asdict(row) for row in found.classes]
        document["reliability"] = [dataclasses.asdict(row) for row in found.bins]
    return document


def extraction_dict(found: Extraction) -> JsonDict:
    """What a feature file holds."""
    return {
        "model": found.model,
        "weights": weights_dict(found.weights),
        "file": found.file,
        "images": found.images,
        "width": found.width,
        "stage": found.stage,
        "split": found.split,
        "images_per_second": found.computed / max(found.seconds, 1e-9),
        "unreadable": [name for name, _ in found.unreadable],
        "unreadable_reasons": dict(found.unreadable),
        "device": found.device,
        "seconds": found.seconds,
        "computed": found.computed,
        "notices": list(found.notices),
    }
