"""The files of each result, by name: pictures, tables, raw maps, the document and a manifest.

Everything is made in memory; ``mscnn.results.writing.write`` puts it into a folder at once.
``drawing`` is None for the usual colours.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from mscnn.draw import evaluation, sheets, trust
from mscnn.draw.charts import (
    ablation_chart,
    cap_chart,
    evidence_chart,
    growth_chart,
    spectrum_chart,
    sweep_chart,
)
from mscnn.draw.figures import THEME, inline_svg, model_title, png
from mscnn.draw.overlay import DrawingOptions as DrawingOptions
from mscnn.maps.methods import METHODS
from mscnn.photos.imaging import image_bytes, to_png_bytes
from mscnn.results import scales, schema
from mscnn.results.cuts import Ablation, Cap, CapStep
from mscnn.results.evaluation import ClassResult, Evaluation, ShownPhoto
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
from mscnn.results.folders import FolderMaps
from mscnn.results.receptive_field import ReceptiveField
from mscnn.results.schema import Cell, JsonDict, Table, cells, document, headings, table
from mscnn.results.study import Interval, Study, share
from mscnn.results.trust import Candidate, Trust
from mscnn.results.writing import Files, bare_name, safe_name
from mscnn.trust.plan import method_of

CHART_PX, SHEET_PX, FILM_PX = 1200, 1600, 2000
MATRIX_CLASSES = 40
"""Up to so many classes are drawn as a matrix; of more the most confused pairs are."""
NO_EVIDENCE = "Nothing in this layer speaks for the class, so the map is empty."


def explanation_files(
    explanation: Explanation,
    cam: CamMap,
    photo: Image.Image,
    *,
    drawing: DrawingOptions | None = None,
) -> Files:
    """Make ``overlay.png, heatmap.png, cam.npy, manifest.json`` of ``cam``, a map of the result."""
    drawing = drawing or DrawingOptions()
    painted, plain, top = sheets.map_pictures(explanation, cam, photo, drawing)
    target = next(score for score in explanation.targets if score.index == cam.target)
    say = {
        **_with_name(document(explanation.prediction)),
        **{"class": target, "layer": cam.layer, "method": cam.method},
        "map": {"file": "cam.npy", "dtype": "float32", **document(cam)},
        "colour_scale": _scale(drawing, max=top, unit=SPREAD_UNIT),
        "notices": [*explanation.notices, *([] if top > 0 else [NO_EVIDENCE])],
    }
    files = {"overlay.png": to_png_bytes(painted), "heatmap.png": to_png_bytes(plain)}
    said = schema.manifest(say, METHODS[cam.method].packages)
    return _encoded({**files, "cam.npy": cam.raw, "manifest.json": said})


def comparison_files(
    comparison: Comparison, photo: Image.Image, *, drawing: DrawingOptions | None = None
) -> Files:
    """Make the files of a comparison.

    ``comparison.png`` (contact sheet), ``compare.json``, ``table.csv``, ``agreements.csv``,
    ``manifest.json``, and for each model that has a map ``cam-<position>-<model>.npy``, positions
    from 1 among those that have one.
    """
    drawing = drawing or DrawingOptions()
    shown = _without_path(document(comparison))
    sheet = sheets.comparison_sheet(comparison, photo, drawing)
    files = {
        "comparison.png": png(sheet, SHEET_PX),
        "compare.json": shown,
        "table.csv": table(map(_compared_cells, comparison.columns)),
        "agreements.csv": table(comparison.agreements, headings(Agreement)),
    }
    cams = [(column.model, column.cam) for column in comparison.columns]
    for position, (model, cam) in enumerate(((m, c) for m, c in cams if c is not None), 1):
        files[f"cam-{position}-{safe_name(model)}.npy"] = cam.raw
    say = {
        "image": {"name": shown["image"]["path"]} if shown["image"] else None,
        **{key: shown[key] for key in ("class", "layer")},
        "method": next((column.cam.method for column in comparison.columns if column.cam), None),
        "models": {model["model"]: model["weights"] for model in shown["models"]},
        "colour_scale": _scale(drawing, **shown["colour_scale"]),
    }
    return _with_manifest(files, say)


def _compared_cells(column: ComparedModel) -> dict[str, Cell]:
    row, shown = cells(column), document(column)
    note, target, weights = row.pop("note"), shown["target"] or {}, shown["weights"] or {}
    row |= {"class": target.get("label"), "class_probability": target.get("probability")}
    row |= {f"weights_{key}": weights.get(key) for key in ("source", "sha256")}
    row["note"] = note
    for rank, score in enumerate([*shown["top"], *[{}] * 5][:5], 1):
        row |= {f"top{rank}_{key}": score.get(key) for key in ("label", "probability")}
    return row


def scales_files(
    report: scales.ScaleReport,
    photo: Image.Image,
    *,
    attention: scales.AttentionReport | None = None,
    ablation: Ablation | None = None,
    cap: Cap | None = None,
    drawing: DrawingOptions | None = None,
) -> Files:
    """Make the files of a scale report.

    ``scales.json``, ``attribution.png`` (fractions over depth), ``attribution.csv``, for each block
    with a hierarchy ``splits-<block>.png``, ``splits.npz`` (per block ``(splits, h, w)`` float32,
    signed, before the ReLU) and ``manifest.json``. With ``attention``, of the same photo and class,
    also ``attention.json``, ``attention.csv`` and ``attention.npz`` (per block ``<block>.gates``
    ``(radix, channels)`` and ``<block>.maps`` ``(radix, h, w)``, float32). What was cut, of the
    same photo and class, gives ``ablation`` and ``cap`` as ``.json``, ``.csv`` and ``.png``.
    """
    drawing = drawing or DrawingOptions()
    shown = document(report)
    files: dict[str, Any] = {
        "scales.json": _without_path(shown),
        "attribution.png": png(evidence_chart(report), CHART_PX),
        "attribution.csv": table(
            {"block": block.block, **cells(split)}
            for block in report.blocks
            for split in block.splits
        ),
    }
    for block in report.blocks:
        if block.kind == "hierarchy":
            strip = sheets.split_strip(report, block, photo, drawing)
            files[f"splits-{block.block}.png"] = png(strip, CHART_PX)
    files["splits.npz"] = _npz({block.block: block.maps for block in report.blocks})
    if attention is not None:
        arrays = {f"{block.block}.gates": block.gates for block in attention.blocks}
        arrays |= {f"{block.block}.maps": block.maps for block in attention.blocks}
        files["attention.json"] = _without_path(document(attention))
        files["attention.csv"] = table(attention.blocks)
        files["attention.npz"] = _npz(arrays)
    if ablation is not None:
        files["ablation.json"] = _without_path(document(ablation))
        files["ablation.csv"] = table(ablation.cuts)
        files["ablation.png"] = png(ablation_chart(ablation), CHART_PX)
    if cap is not None:
        steps = (
            {"model": c.model, "class": c.label, **cells(s)} for c in cap.curves for s in c.steps
        )
        files["cap.json"] = document(cap)
        files["cap.csv"] = table(steps, ("model", "class", *headings(CapStep)))
        files["cap.png"] = png(cap_chart(cap), CHART_PX)
    said, kept = _with_name(shown), ("image", "model", "weights", "device", "class", "notices")
    scope = "each block has its own top"
    say = {
        **{key: said[key] for key in kept},
        "method": "split evidence",
        "weighted_rf_px": shown["weighted_rf_px"],
        "colour_scale": _scale(drawing, unit=scales.SPLIT_UNIT, scope=scope),
    }
    return _with_manifest(files, say)


def receptive_field_files(field: ReceptiveField, baseline: ReceptiveField | None) -> Files:
    """Make the files of a model's receptive fields, beside a baseline's where there is one.

    ``rf.json`` (with the spectrum of each stage), ``rf.csv`` (stages, blocks and splits; paths are
    exact), ``spectrum.png``, ``growth.png`` and ``manifest.json``.
    """
    shown = [field] if baseline is None else [field, baseline]
    head = ("model", "level", "name", "split", "kind", "path", "stride_px")
    beside = baseline and document(baseline, details=True)
    files = {
        "rf.json": {**document(field, details=True), "baseline": beside},
        "rf.csv": table((row for one in shown for row in _field_rows(one)), head),
        "spectrum.png": png(spectrum_chart(shown), CHART_PX),
        "growth.png": png(growth_chart(shown), CHART_PX),
    }
    say = {"model": field.model, "input_px": field.input_px}
    return _with_manifest(files, {**say, "baseline": baseline and baseline.model})


def _field_rows(field: ReceptiveField) -> Iterator[dict[str, Cell]]:
    for stage in field.stages:
        yield {"model": field.model, "level": "stage", **cells(stage)}
    for block in field.blocks:
        own = cells(block)
        yield {"model": field.model, "level": "block", **own}
        for split in block.splits:
            inside = {"name": own["name"], "kind": own["kind"], **cells(split)}
            yield {"model": field.model, "level": "split", **inside}


def unit_files(
    fields: Sequence[scales.EffectiveField],
    *,
    name: str = "",
    point: tuple[float, float] | None = None,
    picture: RgbArray | None = None,
) -> Files:
    """Make the files of effective receptive fields measured at one point of a photo.

    ``unit.json``, ``unit.csv`` (sides of the squares in px of the network's input),
    ``manifest.json``, ``gradient-<layer>[-split<n>]-<weights>.npy`` for each, ``(H, W)`` float32,
    and ``unit.png`` where there is a ``picture`` of the units on the photo. ``name`` is the photo's
    own file name, ``point`` is ``(x, y)``, px of the photo, None where none was chosen.
    """
    where = point and dict(zip(("x", "y"), point, strict=True))
    files: dict[str, Any] = {
        "unit.json": {"point": where, "units": [document(one) for one in fields]},
        "unit.csv": table(map(_unit_cells, fields)),
    }
    for one in fields:
        part = "" if one.split is None else f"-split{one.split}"
        weights = "trained" if one.trained else "random"
        files[f"gradient-{safe_name(one.layer)}{part}-{weights}.npy"] = one.gradient
    if picture is not None:
        files["unit.png"] = to_png_bytes(picture)
    return _with_manifest(files, {"image": {"name": bare_name(name)}, "point": where})


def _unit_cells(field: scales.EffectiveField) -> dict[str, Cell]:
    row = cells(field)
    row |= {f"side_{100 * one.share:g}_px": one.side_px for one in field.squares}
    return row | {f"log_side_{100 * one.share:g}_px": one.side_px for one in field.log_squares}


def sweep_files(
    sweep: scales.Sweep, *, name: str = "", drawing: DrawingOptions | None = None
) -> Files:
    """Make the files of a sweep, which may be partial; ``name`` is the photo's own file name.

    ``sweep.json``, ``sweep.csv`` (one row per model and size), ``sweep.png`` (curves of
    probability, energy ratio and evidence-weighted receptive field) and ``manifest.json``; where
    a size was done also ``film.png``, the maps on what each network saw, one row per model.
    """
    drawing = drawing or DrawingOptions()
    shown = document(sweep)
    rows = (
        {"model": curve.model, "class": curve.label, **cells(step)}
        for curve in sweep.curves
        for step in curve.steps
    )
    files = {
        "sweep.json": shown,
        "sweep.csv": table(rows, ("model", "class", *headings(scales.SweepStep))),
        "sweep.png": png(sweep_chart(sweep), CHART_PX),
    }
    film = sheets.film_strip(sweep, drawing)
    if film is not None:
        files["film.png"] = png(film, FILM_PX)
    top, clipped = sheets.film_scale(sweep)
    models = [{k: v for k, v in model.items() if k != "steps"} for model in shown["models"]]
    say = {
        "image": {"name": name},
        **{key: value for key, value in shown.items() if key != "models"},
        "models": models,
        "colour_scale": _scale(drawing, max=top, unit=SPREAD_UNIT, clipped=clipped),
    }
    return _with_manifest(files, say)


def trust_files(found: Trust, grid: Trust | None = None) -> Files:
    """Make the files of a trust analysis, which may be partial.

    ``trust.json``, ``scores.csv`` (maps and controls), ``methods.csv`` (a row for each map of
    ``grid``, by default of ``found``: its verdict, mean rank and scores), ``maps.npz`` (signed, at
    the layer's resolution: ``gradcam.layer4.map``, ``.blob``, ``.random0``, ``.weights.fc`` ...),
    ``curves.npz`` (``gradcam.layer4.map.deletion_mean`` ...), per map
    ``curves-<method>-<layer>.png`` and, where there were checks, ``checks-<method>-<layer>.png``;
    and ``manifest.json``.
    """
    shown, rows = document(found), list[dict[str, Cell]]()
    label = found.target.label
    if found.against:  # the probability is that among these
        label += f" (among {', '.join(one.label for one in (found.target, *found.against))})"
    maps, curves, pictures = dict[str, Any](), dict[str, Any](), dict[str, bytes]()
    for made in found.maps:
        name, file = f"{made.method}.{made.layer}", safe_name(f"{made.method}-{made.layer}")
        if made.cam is not None:
            maps[f"{name}.map"] = made.cam.raw
        for one in made.candidates:
            own = f"{name}.{one.kind}{'' if one.draw is None else one.draw}"
            maps[own] = one.raw
            curves |= {f"{own}.{curve}": values for curve, values in one.curves.items()}
            rows.append({"method": made.method, "layer": made.layer, **cells(one)})
        steps = made.randomisation.steps if made.randomisation else ()
        maps |= {f"{name}.weights.{step.part}": step.raw for step in steps}
        if made.candidates:
            chart = trust.trust_chart(made, label)
            pictures[f"curves-{file}.png"] = png(chart, CHART_PX)
        if steps or made.stability:
            pictures[f"checks-{file}.png"] = png(trust.checks_chart(made), CHART_PX)
    files = {
        "trust.json": _without_path(shown),
        "scores.csv": table(rows, ("method", "layer", *headings(Candidate))),
        "methods.csv": table(_method_rows(grid or found)),
        "maps.npz": _npz(maps), "curves.npz": _npz(curves), **pictures,
    }  # fmt: skip
    methods = [*dict.fromkeys(made.method for made in found.maps)]
    say = {k: v for k, v in _with_name(shown).items() if k not in ("maps", "ranks", "disagreement")}
    packages = dict.fromkeys(name for method in methods for name in method_of(method).packages)
    return _with_manifest(files, {**say, "methods": methods}, [*packages])


def _method_rows(found: Trust) -> Iterator[dict[str, Cell]]:
    """Which method, which layer; in how many steps and beside how many random maps."""
    rank = {(row.method, row.layer): row.mean for row in found.ranks if row.kind == "map"}
    best = found.recommended
    for made in found.maps:
        own = made.method, made.layer
        yield {
            **cells(made), "mean_rank": rank.get(own),
            "recommended": best is not None and own == (best.method, best.layer),
            **cells(made.scores), "steps": found.steps, "draws": found.draws,
        }  # fmt: skip


def evaluation_files(found: Evaluation) -> Files:
    """Make ``evaluation.json``, tables and pictures of classes and confusions, and the manifest."""
    labels = found.labels
    pairs = (
        {
            **{"index": true, "class": labels[true]},
            **{"answer_index": answer, "answer": labels[answer], "images": count},
        }
        for (true, answer), count in found.confusion.items()
    )
    title = f"{found.model}: top-1 {100 * found.top1:.1f} % of {found.images} photographs"
    calibration = f"{found.model}: calibration error {100 * found.ece:.1f} %"
    files = {
        "evaluation.json": schema.manifest(document(found, details=True)),
        "classes.csv": table(found.classes, headings(ClassResult)),
        "confusion.csv": table(pairs),
        "classes.png": png(evaluation.class_bars_figure(found.classes, title)),
        "confusion.png": png(_confusion(found, title)),
        "reliability.png": png(evaluation.reliability_figure(found.bins, calibration)),
    }
    shown, kept = document(found), ("model", "weights", "device", "part", "images")
    return _with_manifest(files, {key: shown[key] for key in kept})


def _confusion(found: Evaluation, title: str) -> Figure:
    labels, shown = found.labels, sorted(found.labels)
    if len(shown) <= MATRIX_CLASSES:
        counts = np.zeros((len(shown), len(shown)), np.int64)
        for (true, answer), count in found.confusion.items():
            counts[shown.index(true), shown.index(answer)] = count
        return evaluation.confusion_figure(counts, [labels[index] for index in shown], title)
    images = {row.index: row.images for row in found.classes}
    mistakes = [
        (labels[true], labels[answer], count, images[true])
        for (true, answer), count in found.confused()
    ]
    return evaluation.confused_pairs_figure(mistakes, f"{title}; the most frequent mistakes")


def report_files(
    evaluations: Sequence[Evaluation], shown: Mapping[str, Sequence[ShownPhoto]]
) -> Files:
    """Make ``index.html`` of what ``evaluate_and_show`` returned: a page that needs no server."""
    names = [model_title(one.model) for one in evaluations]
    if len(set(names)) < len(names):
        names = [f"{name} ({letter})" for name, letter in zip(names, "AB", strict=False)]
    intervals, charts = [], []
    for name, one in zip(names, evaluations, strict=True):
        right = sum(count for (true, best), count in one.confusion.items() if true == best)
        between = share([1] * right + [0] * (one.images - right))
        intervals.append((between.low, between.high))
        chart = evaluation.reliability_figure(one.bins, name)
        charts.append(Markup(inline_svg(chart, f"Reliability of {name}")))
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")), autoescape=True,
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    templates.filters |= {"percent": _percent, "address": _address}
    page = templates.get_template("report.html").render(
        evaluations=evaluations, names=names, intervals=intervals, charts=charts, photos=shown,
        found=evaluations[0], theme=THEME, made=schema.manifest({}),
    )  # fmt: skip
    return {"index.html": page.encode("utf-8", "replace")}  # a file's name may be no text


def _percent(fraction: float | None) -> Markup:
    words = "-" if fraction is None else f"{100 * fraction:.1f} %"
    words = "< 0.1 %" if 0 < (fraction or 0) < 0.0005 else words
    return Markup('<data value="{}">{}</data>').format("" if fraction is None else fraction, words)


def _address(picture: RgbArray) -> str:
    content = image_bytes(Image.fromarray(picture), "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"


def folder_files(
    found: FolderMaps,
    samples: Iterable[sheets.FolderSample],
    settings: Sequence[JsonDict],
    also: Sequence[str] = (),
    *,
    drawing: DrawingOptions | None = None,
) -> Files:
    """Make the small files of a folder's run, beside ``also``.

    ``summary.json``, ``mean-maps.npz`` (``<model>.<method>.<layer>``: ``(classes, h, w)`` in the
    order of the summary's ``classes``), ``mean-maps.png``, ``contact-sheet.png`` of the samples,
    and ``manifest.json`` with the ``settings`` of each model.
    """
    drawing, shown = drawing or DrawingOptions(), list(samples)
    of = f"{found.images} photographs, class {found.target}"
    files: dict[str, Any] = {"summary.json": document(found, details=True)}
    if maps := [one for one in found.maps if one.classes]:
        names = (f"{one.model}.{one.method}.{one.layer}" for one in maps)
        means = (np.stack([mean.raw for mean in one.classes]) for one in maps)
        files["mean-maps.npz"] = _npz(dict(zip(names, means, strict=True)))
        files["mean-maps.png"] = png(sheets.mean_maps_sheet(maps, f"Mean maps: {of}", drawing))
    if shown:
        sheet = sheets.contact_sheet(shown, f"{found.command.title()}: {of}", drawing)
        files["contact-sheet.png"] = png(sheet, SHEET_PX)
    say = {
        "settings": settings, "unreadable": [name for name, _ in found.unreadable],
        "files": [*files, *also, "manifest.json"],
    }  # fmt: skip
    packages = dict.fromkeys(p for one in found.maps for p in method_of(one.method).packages)
    return _encoded({**files, "manifest.json": schema.manifest(say, [*packages])})


def features_files(head: FeatureHead, query: str, found: Sequence[tuple[str, float]]) -> Files:
    """Make ``neighbours.json``, ``neighbours.csv`` and ``manifest.json`` of a search.

    ``head`` is of the file that was searched for the photo named ``query``; ``found`` are ``(path,
    similarity)`` of the nearest photographs, nearest first.
    """
    rows = [
        {"rank": rank, "path": path, "similarity": similarity}
        for rank, (path, similarity) in enumerate(found, 1)
    ]
    image = {"name": bare_name(query)}
    files = {
        "neighbours.json": {"image": image, "neighbours": rows},
        "neighbours.csv": table(rows, ("rank", "path", "similarity")),
    }
    searched = {key: getattr(head, key) for key in ("model", "weights_sha256", "rows")}
    where = {"stage": head.stage or None, "split": head.split or None}
    return _with_manifest(files, {"image": image, **searched, **where})


def study_files(study: Study) -> Files:
    """Make ``study.json, study.csv, fields.csv, study.png, manifest.json``, and two of cuts."""
    shown, interval = document(study), headings(Interval)
    head = ("model", "setting", "quantity", "block", "split", "factor", *interval)
    field_head = ("model", "block", "split", "theoretical_px", "weights", *interval)
    fields = (
        {"model": model.model, **cells(field), "weights": weights, **cells(found)}
        for model in study.models
        for field in model.fields
        for weights, found in field.half_side_px.items()
    )
    files = {
        "study.json": shown,
        "study.csv": table(_study_rows(study), head),
        "fields.csv": table(fields, field_head),
        "study.png": png(evaluation.study_figure(shown), 1500),
    }
    cut = [{"model": m.model, **cells(found)} for m in study.models for found in m.cuts or ()]
    if cut:
        files |= {"cuts.csv": table(cut), "cuts.png": png(evaluation.cuts_figure(shown), 1500)}
    said = schema.manifest({"answers": study.answers()})
    return _encoded({**files, "manifest.json": said})


def _study_rows(study: Study) -> Iterator[dict[str, Cell]]:
    for model in study.models:
        curves = {"probability": model.probability, "weighted_rf_px": model.weighted_rf}
        for quantity, by_setting in curves.items():
            for setting, intervals in by_setting.items():
                head = {"model": model.model, "setting": setting, "quantity": quantity}
                for factor, found in zip(study.factors, intervals, strict=True):
                    yield {**head, "factor": factor, **cells(found)}
        for setting, blocks in model.shares.items():
            head = {"model": model.model, "setting": setting, "quantity": "share"}
            for block, by_factor in blocks.items():
                for factor, splits in zip(study.factors, by_factor, strict=True):
                    for split, found in enumerate(splits):
                        where: dict[str, Cell] = {"block": block, "factor": factor, "split": split}
                        yield {**head, **where, **cells(found)}


def _with_manifest(
    files: Mapping[str, Any], say: JsonDict, packages: Sequence[str] = ("torch", "timm")
) -> Files:
    """Encode files, and add the manifest, which also lists all of them."""
    said = schema.manifest({**say, "files": [*files, "manifest.json"]}, packages)
    return _encoded({**files, "manifest.json": said})


def _encoded(files: Mapping[str, Any]) -> Files:
    """Encode tables as CSV, documents as JSON and arrays as ``.npy`` of float32, no pickle.

    What the name of a file or folder holds that is no text is written as an escape.
    """
    done: Files = {}
    for name, content in files.items():
        if isinstance(content, Table):
            content = schema.csv_text(content).encode("utf-8", "backslashreplace")
        elif isinstance(content, dict):
            content = schema.json_bytes(content)
        elif isinstance(content, np.ndarray):
            out = io.BytesIO()
            np.save(out, np.asarray(content, dtype=np.float32), allow_pickle=False)
            content = out.getvalue()
        done[name] = content
    return done


def _npz(arrays: Mapping[str, Any]) -> bytes:
    """Encode arrays by name as a compressed ``.npz`` file of float32, which needs no pickle."""
    out = io.BytesIO()
    plain: dict[str, Any] = {k: np.asarray(v, dtype=np.float32) for k, v in arrays.items()}
    # Not allow_pickle=False, which NumPy before 2.2 takes for one more array.
    np.savez_compressed(out, **plain)
    return out.getvalue()


def _without_path(shown: JsonDict) -> JsonDict:
    """A document whose photo is called by its own name: files travel, paths must not."""
    image = shown["image"]
    return {**shown, "image": image and {**image, "path": bare_name(image["path"])}}


def _with_name(shown: JsonDict) -> JsonDict:
    """The same for a manifest, where the key is ``name``."""
    image = {key: value for key, value in shown["image"].items() if key != "path"}
    return {**shown, "image": {"name": bare_name(shown["image"]["path"]), **image}}


def _scale(drawing: DrawingOptions, **say: Any) -> JsonDict:
    how = {"colour_map": drawing.colour_map, "opacity": drawing.opacity}
    return {"min": 0.0, **say, **how}
