"""The files of each result, by name: pictures, tables, raw maps, the document and a manifest.

Everything is made in memory; ``mscnn.results.writing.write`` puts it into a folder at once.
``created`` has a time zone and is None for now.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from PIL import Image

from mscnn.draw.charts import evidence_chart, growth_chart, spectrum_chart, sweep_chart
from mscnn.draw.evaluation import (
    class_bars_figure,
    confused_pairs_figure,
    confusion_figure,
    reliability_figure,
    study_figure,
)
from mscnn.draw.figures import png
from mscnn.draw.sheets import (
    DrawingOptions,
    as_image,
    comparison_sheet,
    film_scale,
    film_strip,
    map_pictures,
    split_strip,
)
from mscnn.photos.imaging import to_png_bytes
from mscnn.results.evaluation import ClassResult, Evaluation
from mscnn.results.explanation import (
    SPREAD_UNIT,
    Agreement,
    CamMap,
    ComparedModel,
    Comparison,
    Explanation,
    RgbArray,
)
from mscnn.results.features import FeatureHead
from mscnn.results.receptive_field import ReceptiveField
from mscnn.results.scales import (
    SPLIT_UNIT,
    AttentionReport,
    EffectiveField,
    ScaleReport,
    Sweep,
    SweepStep,
)
from mscnn.results.schema import (
    Cell,
    JsonDict,
    Table,
    cells,
    csv_text,
    document,
    headings,
    json_bytes,
    manifest,
    table,
)
from mscnn.results.study import Interval, Study
from mscnn.results.writing import Files, bare_name, safe_name

__all__ = [
    "MATRIX_CLASSES",
    "DrawingOptions",
    "comparison_files",
    "evaluation_files",
    "explanation_files",
    "features_files",
    "receptive_field_files",
    "scales_files",
    "study_files",
    "sweep_files",
    "unit_files",
]

Photo = Image.Image | RgbArray
"""The whole upright photo, RGB."""
CHART_PX, SHEET_PX, FILM_PX = 1200, 1600, 2000
MATRIX_CLASSES = 40
"""Up to so many classes are drawn as a matrix; of more the most confused pairs are."""
NO_EVIDENCE = "Nothing in this layer speaks for the class, so the map is empty."


# --- one map, and several ------------------------------------------------------------------


def explanation_files(
    explanation: Explanation,
    cam: CamMap,
    photo: Photo,
    *,
    drawing: DrawingOptions | None = None,
    created: datetime | None = None,
) -> Files:
    """Make ``overlay.png, heatmap.png, cam.npy, manifest.json`` of ``cam``, a map of the result."""
    drawing = drawing or DrawingOptions()
    painted, plain, top = map_pictures(explanation, cam, as_image(photo), drawing)
    target = next(score for score in explanation.targets if score.index == cam.target)
    packages = () if cam.method == "gradcam" else ("grad-cam",)
    say = {
        **_with_name(document(explanation.prediction)),
        **{"class": target, "layer": cam.layer, "method": cam.method},
        "map": {"file": "cam.npy", "dtype": "float32", **document(cam)},
        "colour_scale": {"min": 0.0, "max": top, "unit": SPREAD_UNIT, **_colours(drawing)},
        "notices": [*explanation.notices, *([] if top > 0 else [NO_EVIDENCE])],
    }
    return {
        "overlay.png": to_png_bytes(painted),
        "heatmap.png": to_png_bytes(plain),
        "cam.npy": _npy(cam.raw),
        "manifest.json": json_bytes(manifest(say, created, ("torch", "timm", *packages))),
    }


def comparison_files(
    comparison: Comparison,
    photo: Photo,
    *,
    drawing: DrawingOptions | None = None,
    created: datetime | None = None,
) -> Files:
    """Make the files of a comparison.

    ``comparison.png`` (contact sheet), ``compare.json``, ``table.csv``, ``agreements.csv``,
    ``manifest.json``, and for each model that has a map ``cam-<position>-<model>.npy``.
    """
    drawing = drawing or DrawingOptions()
    shown = _without_path(document(comparison))
    files = {
        "comparison.png": png(comparison_sheet(comparison, as_image(photo), drawing), SHEET_PX),
        "compare.json": json_bytes(shown),
        "table.csv": _csv(table(map(_compared_cells, comparison.columns))),
        "agreements.csv": _csv(table(comparison.agreements, headings(Agreement))),
    }
    for position, column in enumerate(comparison.columns, 1):
        if column.cam is not None:
            files[f"cam-{position}-{safe_name(column.model)}.npy"] = _npy(column.cam.raw)
    cam = next((column.cam for column in comparison.columns if column.cam), None)
    say = {
        "image": {"name": shown["image"]["path"]} if shown["image"] else None,
        **{key: shown[key] for key in ("class", "layer")},
        "method": cam.method if cam else None,
        "models": {model["model"]: model["weights"] for model in shown["models"]},
        "colour_scale": {**shown["colour_scale"], **_colours(drawing)},
    }
    return _with_manifest(files, say, created)


def _compared_cells(column: ComparedModel) -> dict[str, Cell]:
    row, shown = cells(column), document(column)
    note, target, weights = row.pop("note"), shown["target"] or {}, shown["weights"] or {}
    row |= {"class": target.get("label"), "class_probability": target.get("probability")}
    row |= {f"weights_{key}": weights.get(key) for key in ("source", "sha256")}
    row["note"] = note
    for rank, score in enumerate([*shown["top"], *[{}] * 5][:5], 1):
        row |= {f"top{rank}_{key}": score.get(key) for key in ("label", "probability")}
    return row


# --- the multi-scale lens ------------------------------------------------------------------


def scales_files(
    report: ScaleReport,
    photo: Photo,
    *,
    attention: AttentionReport | None = None,
    drawing: DrawingOptions | None = None,
    created: datetime | None = None,
) -> Files:
    """Make the files of a scale report.

    ``scales.json``, ``attribution.png`` (fractions over depth), ``attribution.csv``, for each block
    with a hierarchy ``splits-<block>.png``, ``splits.npz`` (per block ``(splits, h, w)`` float32,
    signed, before the ReLU) and ``manifest.json``. With ``attention``, of the same photo and class,
    also ``attention.json``, ``attention.csv`` and ``attention.npz`` (per block ``<block>.gates``
    ``(radix, channels)`` and ``<block>.maps`` ``(radix, h, w)``, float32).
    """
    drawing, image = drawing or DrawingOptions(), as_image(photo)
    shown = document(report)
    splits = [
        {"block": block.block, **cells(split)} for block in report.blocks for split in block.splits
    ]
    files = {
        "scales.json": json_bytes(_without_path(shown)),
        "attribution.png": png(evidence_chart(report), CHART_PX),
        "attribution.csv": _csv(table(splits)),
    }
    for block in report.blocks:
        if block.kind == "hierarchy":
            strip = split_strip(report, block, image, drawing)
            files[f"splits-{block.block}.png"] = png(strip, CHART_PX)
    files["splits.npz"] = _npz({block.block: block.maps for block in report.blocks})
    if attention is not None:
        arrays = {f"{block.block}.gates": block.gates for block in attention.blocks}
        arrays |= {f"{block.block}.maps": block.maps for block in attention.blocks}
        files["attention.json"] = json_bytes(_without_path(document(attention)))
        files["attention.csv"] = _csv(table(attention.blocks))
        files["attention.npz"] = _npz(arrays)
    say = _with_name(shown)
    kept = ("image", "model", "weights", "device", "class", "notices")
    scale = {"min": 0.0, "unit": SPLIT_UNIT, "scope": "each block has its own top"}
    say = {
        **{key: say[key] for key in kept},
        "method": "split evidence",
        "weighted_rf_px": shown["weighted_rf_px"],
        "colour_scale": {**scale, **_colours(drawing)},
    }
    return _with_manifest(files, say, created)


def receptive_field_files(
    field: ReceptiveField, baseline: ReceptiveField | None, *, created: datetime | None = None
) -> Files:
    """Make the files of a model's receptive fields, beside a baseline's where there is one.

    ``rf.json`` (with the spectrum of each stage), ``rf.csv`` (stages, blocks and splits; paths are
    exact), ``spectrum.png``, ``growth.png`` and ``manifest.json``.
    """
    shown = [field] if baseline is None else [field, baseline]
    head = ("model", "level", "name", "split", "kind", "path", "stride_px")
    full = document(field, details=True)
    files = {
        "rf.json": json_bytes({**full, "baseline": baseline and document(baseline, details=True)}),
        "rf.csv": _csv(table([row for one in shown for row in _field_rows(one)], head)),
        "spectrum.png": png(spectrum_chart(shown), CHART_PX),
        "growth.png": png(growth_chart(shown), CHART_PX),
    }
    say = {"model": field.model, "input_px": field.input_px}
    return _with_manifest(files, {**say, "baseline": baseline and baseline.model}, created)


def _field_rows(field: ReceptiveField) -> list[dict[str, Cell]]:
    stages = [{"model": field.model, "level": "stage", **cells(stage)} for stage in field.stages]
    rows: list[dict[str, Cell]] = [*stages]
    for block in field.blocks:
        own = cells(block)
        rows.append({"model": field.model, "level": "block", **own})
        inside = {"model": field.model, "level": "split", "name": own["name"], "kind": own["kind"]}
        rows += [{**inside, **cells(split)} for split in block.splits]
    return rows


def unit_files(
    fields: Sequence[EffectiveField],
    *,
    name: str = "",
    point: tuple[float, float] | None = None,
    picture: RgbArray | None = None,
    created: datetime | None = None,
) -> Files:
    """Make the files of effective receptive fields that were measured at one point of a photo.

    ``unit.json``, ``unit.csv`` (sides of the squares in px of the network's input),
    ``manifest.json``, ``gradient-<layer>[-split<n>]-<weights>.npy`` for each, ``(H, W)`` float32,
    and ``unit.png`` where there is a picture.

    Args:
        fields: the results.
        name: the photo's own file name.
        point: ``(x, y)``, px of the photo; None where none was chosen.
        picture: of the units on the photo.
        created: see above.
    """
    where = point and dict(zip(("x", "y"), point, strict=True))
    files = {
        "unit.json": json_bytes({"point": where, "units": [document(one) for one in fields]}),
        "unit.csv": _csv(table(map(_unit_cells, fields))),
    }
    for one in fields:
        part = "" if one.split is None else f"-split{one.split}"
        weights = "trained" if one.trained else "random"
        files[f"gradient-{safe_name(one.layer)}{part}-{weights}.npy"] = _npy(one.gradient)
    if picture is not None:
        files["unit.png"] = to_png_bytes(picture)
    return _with_manifest(files, {"image": {"name": bare_name(name)}, "point": where}, created)


def _unit_cells(field: EffectiveField) -> dict[str, Cell]:
    row = cells(field)
    row |= {f"side_{100 * one.share:g}_px": one.side_px for one in field.squares}
    return row | {f"log_side_{100 * one.share:g}_px": one.side_px for one in field.log_squares}


def sweep_files(
    sweep: Sweep,
    *,
    name: str = "",
    drawing: DrawingOptions | None = None,
    created: datetime | None = None,
) -> Files:
    """Make the files of a sweep, which may be partial.

    ``sweep.json``, ``sweep.csv`` (one row per model and size), ``sweep.png`` (curves of
    probability, energy ratio and evidence-weighted receptive field) and ``manifest.json``; where
    a size was done also ``film.png``, the maps on what each network saw, one row per model.

    Args:
        sweep: the result.
        name: the photo's own file name, for the manifest.
        drawing: None for the usual colours and opacity.
        created: see above.
    """
    drawing = drawing or DrawingOptions()
    shown = document(sweep)
    rows = [
        {"model": curve.model, "class": curve.label, **cells(step)}
        for curve in sweep.curves
        for step in curve.steps
    ]
    files = {
        "sweep.json": json_bytes(shown),
        "sweep.csv": _csv(table(rows, ("model", "class", *headings(SweepStep)))),
        "sweep.png": png(sweep_chart(sweep), CHART_PX),
    }
    film = film_strip(sweep, drawing)
    if film is not None:
        files["film.png"] = png(film, FILM_PX)
    top, clipped = film_scale(sweep)
    models = [
        {key: value for key, value in model.items() if key != "steps"}
        for model in shown.pop("models")
    ]
    scale = {"min": 0.0, "max": top, "unit": SPREAD_UNIT, "clipped": clipped}
    say = {
        "image": {"name": name},
        **shown,
        "models": models,
        "colour_scale": {**scale, **_colours(drawing)},
    }
    return _with_manifest(files, say, created)


# --- many photographs ----------------------------------------------------------------------


def evaluation_files(found: Evaluation, *, created: datetime | None = None) -> Files:
    """Make ``evaluation.json``, tables and pictures of classes and confusions, and the manifest."""
    labels = found.labels
    pairs = [
        {
            **{"index": true, "class": labels[true]},
            **{"answer_index": answer, "answer": labels[answer], "images": count},
        }
        for (true, answer), count in found.confusion.items()
    ]
    title = f"{found.model}: top-1 {100 * found.top1:.1f} % of {found.images} photographs"
    bars = [(row.label, row.images, row.top1, row.precision) for row in found.classes]
    bins = [dataclasses.astuple(row) for row in found.bins]
    calibration = f"{found.model}: calibration error {100 * found.ece:.1f} %"
    files = {
        "evaluation.json": json_bytes(manifest(document(found, details=True), created)),
        "classes.csv": _csv(table(found.classes, headings(ClassResult))),
        "confusion.csv": _csv(table(pairs)),
        "classes.png": png(class_bars_figure(bars, title)),
        "confusion.png": png(_confusion(found, title)),
        "reliability.png": png(reliability_figure(bins, calibration)),
    }
    shown, kept = document(found), ("model", "weights", "device", "part", "images")
    return _with_manifest(files, {key: shown[key] for key in kept}, created)


def _confusion(found: Evaluation, title: str) -> Figure:
    shown = sorted(found.labels)
    if len(shown) <= MATRIX_CLASSES:
        counts = np.zeros((len(shown), len(shown)), np.int64)
        for (true, answer), count in found.confusion.items():
            counts[shown.index(true), shown.index(answer)] = count
        return confusion_figure(counts, [found.labels[index] for index in shown], title)
    images = {row.index: row.images for row in found.classes}
    mistakes = [(pair, count) for pair, count in found.confusion.items() if pair[0] != pair[1]]
    return confused_pairs_figure(
        [
            (found.labels[true], found.labels[answer], count, images[true])
            for (true, answer), count in sorted(mistakes, key=lambda one: (-one[1], one[0]))
        ],
        f"{title}; the most frequent mistakes",
    )


def features_files(
    head: FeatureHead,
    query: str,
    found: Sequence[tuple[str, float]],
    *,
    created: datetime | None = None,
) -> Files:
    """Make ``neighbours.json``, ``neighbours.csv`` and ``manifest.json`` of a search.

    Args:
        head: of the feature file that was searched.
        query: name of the photo that was looked for; only its last part is kept.
        found: ``(path, similarity)`` of the nearest photographs, nearest first.
        created: see above.
    """
    rows = [
        {"rank": rank, "path": path, "similarity": similarity}
        for rank, (path, similarity) in enumerate(found, 1)
    ]
    image = {"name": bare_name(query)}
    files = {
        "neighbours.json": json_bytes({"image": image, "neighbours": rows}),
        "neighbours.csv": _csv(table(rows, ("rank", "path", "similarity"))),
    }
    searched = {key: getattr(head, key) for key in ("model", "weights_sha256", "rows")}
    where = {"stage": head.stage or None, "split": head.split or None}
    return _with_manifest(files, {"image": image, **searched, **where}, created)


def study_files(study: Study, *, created: datetime | None = None) -> Files:
    """Make ``study.json, study.csv, fields.csv, study.png, manifest.json``."""
    shown = document(study)
    head = ("model", "setting", "quantity", "block", "split", "factor")
    field_head = ("model", "block", "split", "theoretical_px", "weights")
    interval = headings(Interval)
    return {
        "study.json": json_bytes(shown),
        "study.csv": _csv(table(_study_rows(study), (*head, *interval))),
        "fields.csv": _csv(table(_study_field_rows(study), (*field_head, *interval))),
        "study.png": png(study_figure(shown), 1500),
        "manifest.json": json_bytes(manifest({"answers": study.answers()}, created)),
    }


def _study_rows(study: Study) -> list[dict[str, Cell]]:
    rows: list[dict[str, Cell]] = []
    for model in study.models:
        curves = {"probability": model.probability, "weighted_rf_px": model.weighted_rf}
        for quantity, by_setting in curves.items():
            for setting, row in by_setting.items():
                head: dict[str, Cell] = {"model": model.model, "setting": setting}
                head["quantity"] = quantity
                for factor, found in zip(study.factors, row, strict=True):
                    rows.append({**head, "factor": factor, **cells(found)})
        for setting, blocks in model.shares.items():
            for block, by_factor in blocks.items():
                head = {"model": model.model, "setting": setting, "quantity": "share"}
                for factor, splits in zip(study.factors, by_factor, strict=True):
                    place = {**head, "block": block, "factor": factor}
                    rows += [{**place, "split": i, **cells(s)} for i, s in enumerate(splits)]
    return rows


def _study_field_rows(study: Study) -> list[dict[str, Cell]]:
    return [
        {"model": model.model, **cells(field), "weights": weights, **cells(interval)}
        for model in study.models
        for field in model.fields
        for weights, interval in field.half_side_px.items()
    ]


# --- what they share -----------------------------------------------------------------------


def _with_manifest(files: Files, say: JsonDict, created: datetime | None) -> Files:
    """Add the manifest, which also lists all files."""
    content = manifest({**say, "files": [*files, "manifest.json"]}, created)
    return {**files, "manifest.json": json_bytes(content)}


def _without_path(shown: JsonDict) -> JsonDict:
    """A document whose photo is called by its own name: files travel, paths must not."""
    image = shown["image"]
    return {**shown, "image": image and {**image, "path": bare_name(image["path"])}}


def _with_name(shown: JsonDict) -> JsonDict:
    """The same for a manifest, where the key is ``name``."""
    image = {key: value for key, value in shown["image"].items() if key != "path"}
    return {**shown, "image": {"name": bare_name(shown["image"]["path"]), **image}}


def _colours(drawing: DrawingOptions) -> JsonDict:
    return {"colour_map": drawing.colour_map, "opacity": drawing.opacity}


def _csv(content: Table) -> bytes:
    return csv_text(content).encode("utf-8")


def _npy(raw: npt.NDArray[np.float32]) -> bytes:
    """Encode a map as a ``.npy`` file of float32, without pickle."""
    out = io.BytesIO()
    np.save(out, np.asarray(raw, dtype=np.float32), allow_pickle=False)
    return out.getvalue()


def _npz(arrays: Mapping[str, npt.NDArray[np.float32]]) -> bytes:
    """Encode arrays by name as a compressed ``.npz`` file of float32, without pickle."""
    out = io.BytesIO()
    plain = {name: np.asarray(values, dtype=np.float32) for name, values in arrays.items()}
    np.savez_compressed(out, allow_pickle=False, **plain)
    return out.getvalue()
