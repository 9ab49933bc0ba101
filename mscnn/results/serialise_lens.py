"""Results of the multi-scale lens as plain dictionaries, fit for JSON; see ``serialise``.

No torch. Keys that end in ``_px`` are px of the network's input, shares and probabilities lie in
0..1, splits are counted from 0 in timm's order. What is not known, or not finite, is None.

Numbers of paths are exact integers of any size, which JSON allows. JavaScript (and gradio's
encoder) cannot hold them beyond 2^53, so HTTP passes documents through ``safe_integers``.
"""

from __future__ import annotations

import math
from typing import Any

from mscnn.results.explanation import JsonDict
from mscnn.results.scales import (
    AttentionReport,
    BlockAttention,
    BlockScales,
    EffectiveField,
    PhotoBox,
    ScaleReport,
    Square,
    Sweep,
    SweepCurve,
    SweepStep,
)
from mscnn.results.serialise import crop_list, prediction_dict, score_dict
from mscnn.scales.receptive_field import ReceptiveField, Spectrum

MAX_SAFE_INTEGER = 2**53 - 1
"""The largest whole number that JavaScript holds exactly (ECMA-262, Number.MAX_SAFE_INTEGER)."""


def scales_dict(report: ScaleReport) -> JsonDict:
    """The document of ``scales``: a prediction, and the splits that its evidence passed through.

    ``weighted_rf_px`` is the mean over the blocks; ``blocks`` are in order of depth.
    """
    return {
        **prediction_dict(report.prediction),
        "class": score_dict(report.target),
        "input_px": int(report.view.shape[1]),
        "weighted_rf_px": _number(report.weighted_rf_px),
        "blocks": [block_dict(block) for block in report.blocks],
        "seconds": _number(report.seconds),
        "notices": list(report.notices),
    }


def block_dict(block: BlockScales) -> JsonDict:
    """One block; ``evidence`` and ``gradient_times_activation`` are in units of the logit."""
    return {
        "block": block.block,
        "kind": block.kind,
        "stride_px": block.stride_px,
        "weighted_rf_px": _number(block.weighted_rf_px),
        "gradient_times_activation": _number(block.gradient_times_activation),
        "splits": [
            {
                "index": split.index,
                "path": list(split.path),
                "rf_min_px": split.rf_min_px,
                "rf_max_px": split.rf_max_px,
                "evidence": _number(split.evidence),
                "share": _number(split.share),
            }
            for split in block.splits
        ],
    }


def attention_dict(report: AttentionReport) -> JsonDict:
    """Split attention of a ResNeSt; it gates channels, has no map and selects no scale.

    ``references`` counts the photos that ``reference_gates`` was averaged over.
    """
    return {
        **prediction_dict(report.prediction),
        "class": score_dict(report.target),
        "references": report.references,
        "blocks": [attention_block_dict(block) for block in report.blocks],
        "seconds": _number(report.seconds),
    }


def attention_block_dict(block: BlockAttention) -> JsonDict:
    """One block's gates, 0..1, as means over channels; ``entropy_bits`` is 0..log2(radix).

    ``mean_gates`` has one number per radix branch, ``group_gates`` one such list per cardinal
    group. ``decided`` are the channels in which one branch wins most clearly; for radix 1, a
    sigmoid without competition, those farthest from one half.
    """
    groups = block.gates.reshape(block.radix, block.cardinality, -1).mean(-1).T
    reference = block.reference
    return {
        "block": block.block,
        "radix": block.radix,
        "cardinality": block.cardinality,
        "channels": int(block.gates.shape[1]),
        "entropy_bits": _number(block.entropy_bits),
        "mean_gates": _numbers(block.gates.mean(1)),
        "group_gates": [_numbers(gates) for gates in groups],
        "reference_gates": None if reference is None else _numbers(reference.mean(1)),
        "decided": [
            {"channel": channel, "radix": radix, "gate": _number(gate)}
            for channel, radix, gate in block.decided()
        ],
    }


def receptive_field_dict(field: ReceptiveField, *, spectrum: bool = False) -> JsonDict:
    """The document of ``rf``: theoretical receptive fields along one side, px.

    ``paths`` counts the ways from the input to one place, exactly; ``distinct_sizes`` the sizes
    of receptive field that they have.

    Args:
        field: of one model.
        spectrum: also give each stage's ``spectrum``: ``[px, paths]`` for each size, smallest
            first.
    """
    stages = []
    for stage in field.stages:
        row = {"stage": stage.stage, "stride_px": stage.stride_px, **_extent(stage.spectrum)}
        if spectrum:
            row["spectrum"] = [
                [px, stage.spectrum.sizes[px]] for px in sorted(stage.spectrum.sizes)
            ]
        stages.append(row)
    blocks = [
        {
            "block": block.block,
            "kind": block.kind,
            "stride_px": block.stride_px,
            **_extent(block.spectrum),
            "splits": [
                {"index": split.index, "path": list(split.path), **_extent(split.spectrum)}
                for split in block.splits
            ],
        }
        for block in field.blocks
    ]
    return {"model": field.model, "input_px": field.input_px, "stages": stages, "blocks": blocks}


def _extent(spectrum: Spectrum) -> JsonDict:
    return {
        "rf_min_px": spectrum.rf_min_px,
        "rf_max_px": spectrum.rf_max_px,
        "distinct_sizes": spectrum.distinct,
        "paths": spectrum.paths,
    }


def effective_dict(field: EffectiveField) -> JsonDict:
    """The effective receptive field of one unit; its gradient map itself is not in here.

    ``unit`` is ``[row, column]`` in the layer's map, ``centre`` is ``[x, y]`` and ``theoretical``
    is ``[left, top, right, bottom]`` in px of the network's input, which the box may exceed.
    ``squares`` are on the gradient itself, ``log_squares`` on its logarithm; ``side_px`` is the
    side of the smallest square that holds ``share`` of it.
    """
    width, height = field.geometry.view
    return {
        "model": field.model,
        "layer": field.layer,
        "split": field.split,
        "input_px": width if width == height else [width, height],
        "crop": crop_list(field.geometry.crop),
        "unit": list(field.unit),
        "centre": [_number(edge) for edge in field.centre],
        "theoretical": None if field.theoretical is None else crop_list(field.theoretical),
        "squares": [_square(square) for square in field.squares],
        "log_squares": [_square(square) for square in field.log_squares],
        "inputs": field.inputs,
        "trained": field.trained,
        "seconds": _number(field.seconds),
    }


def _square(square: Square) -> JsonDict:
    return {"share": square.share, "side_px": square.side_px}


def sweep_dict(sweep: Sweep) -> JsonDict:
    """The document of ``sweep``: one element of ``models`` per model, in the order asked for.

    ``box`` is ``[left, top, right, bottom]`` in shares of the photo, ``factors`` are sizes of the
    object over the shorter side of the network's input, largest first; ``partial`` says that it was
    stopped.
    """
    return {
        "class": sweep.label,
        "canvas": sweep.canvas,
        "box": box_list(sweep.box),
        "factors": [_number(factor) for factor in sweep.factors],
        "partial": sweep.partial,
        "models": [curve_dict(curve) for curve in sweep.curves],
    }


def box_list(box: PhotoBox) -> list[float]:
    """``[left, top, right, bottom]``, shares of the photo, to a millionth."""
    return [round(float(edge), 6) for edge in box]


def curve_dict(curve: SweepCurve) -> JsonDict:
    """One model of a sweep.

    ``octaves`` is the width of the range of sizes in which the probability stays at or above half
    of its best, in factors of two; what is missing is None, and ``note`` says why.
    """
    return {
        "model": curve.model,
        "target": curve.target,
        "label": curve.label,
        "octaves": _number(curve.octaves),
        "mean_probability": _number(curve.mean_probability),
        "note": curve.note,
        "seconds": _number(curve.seconds),
        "steps": [step_dict(step) for step in curve.steps],
    }


def step_dict(step: SweepStep) -> JsonDict:
    """One size: ``rect`` is ``[left, top, right, bottom]``, px; ``rank`` 1 is the best class.

    ``size_px`` is the object's longer side, part of which lies outside the input for a factor
    above 1. ``energy_ratio`` is the map's share inside ``rect`` over the rectangle's share of the
    area: 1 for an even spread.
    """
    return {
        "factor": _number(step.factor),
        "size_px": size_px(step),
        "rect": [int(edge) for edge in step.rect],
        "probability": _number(step.probability),
        "rank": step.rank,
        "energy_ratio": _number(step.energy_ratio),
        "weighted_rf_px": _number(step.weighted_rf_px),
    }


def size_px(step: SweepStep) -> int:
    """The object's longer side in px of the network's input, before clipping."""
    return max(1, round(step.factor * int(min(step.view.shape[:2]))))


def safe_integers(document: Any) -> Any:
    """Return a copy in which integers beyond ``MAX_SAFE_INTEGER`` are decimal text.

    For readers that hold every number as a 64-bit float.
    """
    if isinstance(document, dict):
        return {key: safe_integers(value) for key, value in document.items()}
    if isinstance(document, list):
        return [safe_integers(value) for value in document]
    if isinstance(document, int) and abs(document) > MAX_SAFE_INTEGER:
        return str(document)
    return document


def _numbers(values: Any) -> list[float | None]:
    return [_number(float(value)) for value in values]


def _number(value: float | None) -> float | None:
    """A Python float; None for None, NaN and infinities."""
    return float(value) if value is not None and math.isfinite(value) else None
