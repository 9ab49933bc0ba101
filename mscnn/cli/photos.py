"""The commands that look at one photo, or name what is on several.

What can be refused at once is refused before a model is loaded.
"""

from __future__ import annotations

import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from mscnn.cli import options
from mscnn.cli.console import (
    aligned,
    heading,
    open_engine,
    progress,
    read_photo,
    say,
    settle_model,
    share,
    tell,
)
from mscnn.cli.folders import map_photos
from mscnn.errors import Cancelled, ImageError, MscnnError, OptionError, UnsupportedModelError
from mscnn.results.cuts import FEWEST_DRAWS, Ablation, CapCurve
from mscnn.results.explanation import ComparedModel, Comparison, Explanation, Prediction
from mscnn.results.scales import BlockScales, ScaleReport, Sweep, SweepCurve
from mscnn.results.schema import JsonDict, document
from mscnn.results.trust import METRICS, MapTrust, Trust

INTERRUPTED = 130  # 128 + the number of SIGINT


def predict(
    images: Annotated[list[str], Argument(metavar="IMAGE...", help="Photos.")],
    model: options.Model = None,
    weights: options.Weights = None,
    top_k: Annotated[int, Option(help="Classes to list for each photo.")] = 5,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Name what photos show.

    All or nothing: when one photo cannot be read, the error names it and nothing is printed.
    """
    if top_k < 1:
        raise OptionError(f"--top-k is {top_k}; it must be 1 or more.")
    name = settle_model(model)
    network = open_engine(device, [name], weights).session.network(name, weights)
    for notice in network.notices:
        say(notice, err=True)
    found: list[Prediction] = []
    with progress("photos", "photo") as report:
        for number, path in enumerate(images, 1):
            try:
                photo = read_photo(path)
            except ImageError as error:
                if len(images) == 1:
                    raise
                # The sentence has the file's own name only, which several of them may share.
                raise ImageError(f"Photo {number} of {len(images)}, {path}: {error}") from error
            found.append(network.predict(photo, top_k=top_k, name=path))
            if len(images) > 1:
                report(number, len(images))
    lines: list[str] = []
    for prediction in found:
        lines += ["", heading(prediction)] if lines else [heading(prediction)]
        lines += [f"  {share(s.probability):>7}  {s.label}  [{s.index}]" for s in prediction.top]
    tell(json, {"results": [document(one) for one in found]}, lines)


def explain(
    image: options.Photos,
    out: options.Out,
    model: options.Model = None,
    layer: Annotated[
        str, Option(help="Layer to look at: layer1 to layer4, a block such as layer4.0, or last.")
    ] = "last",
    target: options.Targets = "top1",
    method: Annotated[
        str, Option(help="gradcam or another method; a wrong name lists them all.")
    ] = "gradcam",
    weights: options.Weights = None,
    sheet: options.Sheet = 24,
    restart: options.Restart = False,
    batch_size: options.BatchSize = 64,
    workers: options.Workers = -1,
    device: options.Device = "auto",
    opacity: options.Opacity = 0.6,
    colour_map: options.ColourMap = "inferno",
    json: options.Json = False,
) -> None:
    """Draw where in a photo the evidence for a class lies.

    Writes overlay.png, heatmap.png, cam.npy (the raw map: signed, float32, at the layer's own
    resolution) and manifest.json into --out. In the pictures the photo has at most 2048 px on its
    longer side, without title and colour scale. Files of these names are replaced; an error leaves
    no file half written.

    For a folder it writes table.csv (and .parquet, where pyarrow is installed), maps.npy (all raw
    maps, in the table's order), contact-sheet.png, the mean map of each class (mean-maps.npz, .png)
    and summary.json with means and 95 % intervals. Files that cannot be read are listed and left
    out. If it was stopped, the same command goes on from what DIR.part holds. Under torchrun the
    work is shared. gradcam at the last stage is fast, because photos go through it in batches.
    """
    from mscnn.draw.files import DrawingOptions, explanation_files
    from mscnn.maps.methods import get_method

    drawing = DrawingOptions(opacity=opacity, colour_map=colour_map)
    method, name = get_method(method).name, settle_model(model)
    if Path(image).is_dir():
        from mscnn.data.folders import explain_folder

        map_photos(
            lambda nets, *at, **how: explain_folder(nets[0], *at, **how), image, [name], out, json,
            weights=weights, device=device, batch_size=batch_size, workers=workers, layer=layer,
            method=method, target=target, drawing=drawing, sheet=sheet, restart=restart,
        )  # fmt: skip
        return
    photo = read_photo(image)
    network = open_engine(device, [name], weights).session.network(name, weights)
    with progress(method, "forward") as report:
        found = network.explain(
            photo, layers=layer, targets=target, method=method, name=image, on_progress=report
        )
    best, target_score, cam = found.prediction.top[0], found.targets[0], found.maps[0]
    lines = [
        heading(found.prediction),
        f"  top-1         {best.label} {share(best.probability)}",
        f"  map of        {target_score.label} {share(target_score.probability)}, "
        f"{cam.layer}, {cam.method}",
        *(f"  note          {notice}" for notice in found.notices),
    ]
    files = partial(explanation_files, found, cam, photo, drawing=drawing)
    tell(json, _explained(found), lines, out, files)


def _explained(found: Explanation) -> JsonDict:
    shown, (cam, *_) = document(found), found.maps
    return {
        **document(found.prediction),
        "class": shown["targets"][0],
        **{"layer": cam.layer, "method": cam.method},
        "map": shown["maps"][0],
        **{key: shown[key] for key in ("seconds", "notices")},
    }


def compare(
    image: options.Photos,
    models: Annotated[
        list[str], Option(metavar="A,B,C", help="Two to six models, separated by commas.")
    ],
    out: options.Out,
    target: options.Targets = "top1",
    layer: Annotated[
        str, Option(help="last, a stage number, or a layer that all models have.")
    ] = "last",
    sheet: options.Sheet = 24,
    restart: options.Restart = False,
    batch_size: options.BatchSize = 64,
    workers: options.Workers = -1,
    device: options.Device = "auto",
    opacity: options.Opacity = 0.6,
    colour_map: options.ColourMap = "inferno",
    json: options.Json = False,
) -> None:
    """Compare the maps of several models for one photo.

    The class top1 is the first model's top-1 prediction. Writes comparison.png (all maps on one
    colour scale; for two models also their difference), compare.json, table.csv, agreements.csv,
    manifest.json and the raw map of each model (cam-1-NAME.npy, ...) into --out.

    For a folder it writes what explain does, with maps-1-NAME.npy and so on, how far the maps of
    each pair agree (rank correlation, IoU) and how often both give the same answer; the contact
    sheet shows the photos where the maps differ most.
    """
    from mscnn.draw.files import DrawingOptions, comparison_files
    from mscnn.engine.pipeline import MAX_COMPARED, MIN_COMPARED, summarise

    drawing = DrawingOptions(opacity=opacity, colour_map=colour_map)
    names = options.model_names(models, MIN_COMPARED, MAX_COMPARED)
    if Path(image).is_dir():
        from mscnn.data.folders import compare_folder

        map_photos(
            compare_folder, image, names, out, json, device=device, batch_size=batch_size,
            workers=workers, layer=layer, target=target, drawing=drawing, sheet=sheet,
            restart=restart,
        )  # fmt: skip
        return
    photo = read_photo(image)
    engine = open_engine(device, names)
    columns: list[ComparedModel] = []
    label = ""
    with progress("models", "model") as report:
        steps = engine.compare_steps(photo, names, target=target, layer=layer, name=image)
        for label, column in steps:  # noqa: B007 - the last one is what all share
            columns.append(column)
            report(len(columns), len(names))
    # Where a model failed, or none knows the class, this stops: on a page both are notes.
    for column in columns:
        if column.explanation is None:
            raise MscnnError(f"{column.model}: {column.note}")
    if not any(column.cam for column in columns):
        raise MscnnError(columns[0].note)
    found = summarise(label, layer, columns)
    files = partial(comparison_files, found, photo, drawing=drawing)
    tell(json, document(found), _compared(found), out, files)


def _compared(found: Comparison) -> list[str]:
    lines = [f"class {found.label}, layer {found.layer}"]
    width = max(len(column.model) for column in found.columns)
    for column in found.columns:
        parts = [f"{column.model:<{width}}"]
        if column.explanation is not None:
            best, targets = column.explanation.prediction.top[0], column.explanation.targets
            parts += [f"{share(target.probability):>7}" for target in targets[:1]]
            parts.append(f"top-1 {best.label} {share(best.probability)}")
        parts += [f"{column.latency_ms:.0f} ms"] if column.latency_ms is not None else []
        lines.append("  ".join(["", *parts, *([column.note] if column.note else [])]))
    for pair in found.agreements:
        rank, overlap = ("-" if x is None else f"{x:.2f}" for x in (pair.spearman, pair.iou_top20))
        lines.append(f"  {pair.first} and {pair.second}: rank correlation {rank}, IoU {overlap}")
    return [*lines, found.hint] if found.hint else lines


def scales(
    image: options.Image,
    out: options.Out,
    model: options.Model = None,
    target: options.Target = "top1",
    ablate: Annotated[
        bool,
        Option(
            "--ablate", help="Also cut each split by itself, and all that see further than a limit."
        ),
    ] = False,
    fill: Annotated[
        str, Option(help="What replaces a channel that is cut: mean or zero.")
    ] = "mean",
    draws: Annotated[int, Option(help="Random cuts to compare the receptive-field cap with.")] = 20,
    device: options.Device = "auto",
    opacity: options.Opacity = 0.6,
    colour_map: options.ColourMap = "inferno",
    json: options.Json = False,
) -> None:
    """Show at which scale a network decided, block by block.

    A Res2Net block divides its channels into splits that see more and more of the photo. For each
    block this measures how much of the evidence for the class passed through which split. Writes
    attribution.png (fractions over depth), attribution.csv, scales.json, a strip of maps for each
    block with a hierarchy (splits-layer2.1.png, ...), splits.npz (the raw maps) and manifest.json
    into --out; for a ResNeSt also its split attention (attention.json, .csv, .npz), which gates
    channels and selects no scale.

    --ablate tells what the answer needs, which evidence alone cannot: what the class loses without
    each split (ablation.json, .csv, .png), and without all splits that see more than a limit, from
    the smallest limit to the largest, beside as many channels cut at random (cap.json, .csv, .png).
    """
    from mscnn.draw.files import DrawingOptions, scales_files
    from mscnn.scales.cuts import FILLS

    drawing = DrawingOptions(opacity=opacity, colour_map=colour_map)
    if not ablate and (fill, draws) != ("mean", 20):  # a manifest gives both
        raise OptionError("--fill and --draws are for --ablate; give that too, or leave them out.")
    if draws < 0:
        raise OptionError(f"--draws is {draws}; it must be 0 or more.")
    if fill not in FILLS:
        raise OptionError(f"--fill is {fill!r}; choose {' or '.join(FILLS)}.")
    photo, name = read_photo(image), settle_model(model)
    engine = open_engine(device, [name])
    network = engine.session.network(name)
    report = network.scales(photo, target=target, name=image)
    try:
        attention = network.split_attention(photo, target=report.target.index)
    except UnsupportedModelError:
        attention = None
    shown = {**document(report), "attention": attention and document(attention)["blocks"]}
    lines = _scaled(report)
    made: dict[str, Any] = {"attention": attention}
    if ablate:
        which: dict[str, Any] = {"target": report.target.index, "fill": fill}
        with progress("cuts", "cut") as counted:
            cut = network.ablate(photo, name=image, **which, on_progress=counted)
            *_, cap = engine.cap_steps(
                photo, [name], **which, draws=draws, on_progress=lambda _, *done: counted(*done)
            )
        lines += _cut(cut, cap.curves[0])
        shown |= {"ablation": document(cut)["cuts"], "cap": document(cap)}
        made |= {"ablation": cut, "cap": cap}
    files = partial(scales_files, report, photo, **made, drawing=drawing)
    tell(json, shown, lines, out, files)


def _cut(cut: Ablation, curve: CapCurve) -> list[str]:
    label, lines = cut.target.label, []
    for one in sorted(cut.cuts, key=lambda c: c.probability_change)[:3]:
        part = f"{one.block}, split {one.index}"
        lines.append(
            f"  without {part}  {100 * one.probability_change:+.1f} percentage points, "
            f"top-1 {one.top.label}"
        )
    needed = f"from {curve.needed_px} px on" if curve.needed_px else "not even without a cap"
    lines.append(f"  with its receptive field capped, {label} is the top-1 class {needed}")
    if curve.beats_control is False:
        what = curve.drawn_at_random
        lines.append(f"  cutting as many {what} at random costs as much: it need not be the scale")
    elif curve.beats_control is None and len(curve.control):
        lines.append(f"  too few random cuts to compare with: give --draws {FEWEST_DRAWS} or more")
    return lines


def _scaled(report: ScaleReport) -> list[str]:
    target, seen = report.target, report.weighted_rf_px
    lines = [
        heading(report.prediction),
        f"  class         {target.label} {share(target.probability)}",
    ]
    if not report.has_splits:
        lines.append("  no block has more than one split, so there is no scale to choose from")
    if seen is not None:
        lines.append(f"  evidence-weighted receptive field: {seen:.0f} px (mean over the blocks)")
    width = max(len(block.block) for block in report.blocks)
    lines += [f"  {block.block:<{width}}  {_splits(block)}" for block in report.blocks]
    return [*lines, *(f"  note          {notice}" for notice in report.notices)]


def _splits(block: BlockScales) -> str:
    parts = "  ".join(
        f"{'?' if split.rf_max_px is None else split.rf_max_px:>4} px {share(split.share):>7}"
        for split in block.splits
    )
    return f"{block.kind:<9}  {parts}"


def sweep(
    image: options.Image,
    models: Annotated[
        list[str], Option(metavar="A,B", help="One to four models, separated by commas.")
    ],
    out: options.Out,
    target: options.Target = "top1",
    box: options.Box = "",
    sizes: Annotated[
        str,
        Option(
            help="How many sizes from 2 down to 0.1 times the network's input, or a list such as "
            "2,1,0.5,0.25."
        ),
    ] = "12",
    canvas: Annotated[
        str, Option(help="What surrounds the object: mean, grey, blur, edge, noise.")
    ] = "mean",
    device: options.Device = "auto",
    opacity: options.Opacity = 0.6,
    colour_map: options.ColourMap = "inferno",
    json: options.Json = False,
) -> None:
    """Show one object at many sizes to several networks.

    Says at which sizes they still recognise it. Sizes are drawn with the Lanczos filter, not with
    each network's own preprocessing, so the answer at 1 differs a little from that of predict. The
    class top1 is the first model's top-1 prediction for the whole photo. Writes sweep.png (by size:
    probability, evidence on the object per area, 1 for an even spread, and evidence-weighted
    receptive field), film.png (the maps), sweep.csv, sweep.json and manifest.json into --out.
    Ctrl-C stops and keeps what was done; the exit code is 130 then.
    """
    from mscnn.draw.files import DrawingOptions, sweep_files
    from mscnn.engine.lens_options import parse_box, parse_sizes
    from mscnn.engine.pipeline import MAX_SWEPT
    from mscnn.results.writing import bare_name
    from mscnn.scales.sweep import FACTORS, Plan
    from mscnn.training.state import noting_stops

    drawing = DrawingOptions(opacity=opacity, colour_map=colour_map)
    names = options.model_names(models, 1, MAX_SWEPT)
    plan = Plan(factors=parse_sizes(sizes) or FACTORS, canvas=canvas, box=parse_box(box))
    photo = read_photo(image)
    engine = open_engine(device, names)
    with noting_stops(signal.SIGINT) as stop, progress("sizes", "size") as report:

        def show(model: str, done: int, total: int) -> None:
            report(names.index(model) * total + done, len(names) * total)

        found = engine.sweep(
            photo, names, target=target, box=plan.box, factors=plan.factors, canvas=plan.canvas,
            on_progress=show, is_cancelled=lambda: stop.wanted,
        )  # fmt: skip
    if not any(curve.steps for curve in found.curves):  # nothing to write; a note on a page
        note = next((curve.note for curve in found.curves if curve.note), "")
        raise MscnnError(note) if note else Cancelled("Stopped before the first size was done.")
    head = {"image": {"path": image, "width": photo.width, "height": photo.height}}
    files = partial(sweep_files, found, name=bare_name(image), drawing=drawing)
    tell(json, {**head, **document(found)}, _swept(found), out, files)
    if found.partial:
        raise typer.Exit(INTERRUPTED)


def _swept(found: Sweep) -> list[str]:
    left, top, right, bottom = found.box
    box = f"{left:.0%} to {right:.0%} across and {top:.0%} to {bottom:.0%} down of the photo"
    width = max(len(curve.model) for curve in found.curves)
    curves = [curve for curve in found.curves if curve.steps]
    rows = [["", "size", *(f"{curve.model} (rank)" for curve in curves)]]
    for number, step in enumerate(max(curves, key=lambda curve: len(curve.steps)).steps):
        cells = [curve.steps[number : number + 1] for curve in curves]
        found_at = (f"{share(c[0].probability)} ({c[0].rank})" if c else "-" for c in cells)
        rows.append(["", f"{step.factor:.2f}x", *found_at])
    return [
        f"class {found.label}, canvas {found.canvas}; probability (rank); object: {box}",
        *(f"  {curve.model:<{width}}  {_summary(curve)}" for curve in found.curves),
        "",
        *aligned(rows),
        *(["stopped early; what was done is kept"] if found.partial else []),
    ]


def _summary(curve: SweepCurve) -> str:
    if curve.octaves is None or curve.mean_probability is None:
        return curve.note or "stopped before all sizes were done"
    best = max(curve.steps, key=lambda step: step.probability)
    return (
        f"at least half of its best over {curve.octaves:.1f} octaves, "
        f"best {share(best.probability)} at {best.factor:.3g}x, "
        f"mean {share(curve.mean_probability)}"
    )


def trust(
    image: options.Photos,
    out: options.Out,
    model: options.Model = None,
    target: options.Targets = "top1",
    methods: options.Methods = "gradcam",
    layers: options.Layers = "last",
    against: options.Against = None,
    box: options.Box = "",
    parts: options.Parts = "",
    sheet: options.Sheet = 24,
    restart: options.Restart = False,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Tell whether a map of a photo can be believed.

    Scores each map beside a blob in the middle, the map blurred, and random maps, and sums up in a
    sentence. Checks whether the map depends on what the network has learnt, how stable it is, and
    whether it finds the object (the whole photo, or --box) at known positions. Several methods or
    layers, or all stages, are ranked; with --against (may be repeated) the question is why this
    class and not that. Writes trust.json, scores.csv, methods.csv (a row for each map, with its
    rank), maps.npz, curves.npz, charts of each map and manifest.json into --out. Ctrl-C stops and
    keeps what was done; the exit code is 130 then.

    For a folder it writes what explain does, with maps-1-METHOD-LAYER.npy and so on where there are
    several, each score beside its controls, and on how many photos the map is better than all of
    them. Each photo takes seconds, so only brief scores are made unless --parts asks for more; the
    command first says how long all of it will take.
    """
    from mscnn.draw.files import trust_files
    from mscnn.engine.lens_options import parse_box
    from mscnn.trust.plan import BRIEF, Plan

    chosen, places = (tuple(map(str.strip, text.split(","))) for text in (methods, layers))
    if against and methods == "gradcam":
        chosen = ()  # what suits the contrast
    where, rivals = parse_box(box), tuple(against or ())
    layers_asked = tuple(filter(None, places))
    named = tuple(filter(None, map(str.strip, parts.split(","))))
    whole = Plan() if named or not Path(image).is_dir() else BRIEF
    plan = replace(
        whole, methods=chosen, layers=layers_asked, against=rivals, box=where,
        parts=named or whole.parts,
    )  # fmt: skip
    name = settle_model(model)
    if Path(image).is_dir():
        from mscnn.data.folders import trust_folder

        map_photos(
            lambda nets, *at, **how: trust_folder(nets[0], *at, **how), image, [name], out, json,
            device=device, target=target, plan=plan, sheet=sheet, restart=restart,
        )  # fmt: skip
        return
    photo = read_photo(image)
    network = open_engine(device, [name]).session.network(name)
    if not json:
        seconds = network.trust_seconds(photo, target=target, plan=plan)
        say(f"about {max(seconds, 1):.0f} s here", err=True)
    from mscnn.training.state import noting_stops

    with noting_stops(signal.SIGINT) as stop, progress("trust", "forward") as report:
        found = network.trust(
            photo, target=target, plan=plan, name=image, on_progress=report,
            is_cancelled=lambda: stop.wanted,
        )  # fmt: skip
    tell(json, document(found), _trusted(found), out, partial(trust_files, found))
    if found.partial:
        raise typer.Exit(INTERRUPTED)


def _trusted(found: Trust) -> list[str]:
    from mscnn.trust.verdict import said_of_checks

    rivals = "".join(f", not {one.label}" for one in found.against)
    lines = [
        heading(found.prediction),
        f"  class         {found.target.label} {share(found.target.probability)}{rivals}",
    ]
    for made in found.maps:
        lines += ["", f"{made.method}, {made.layer}: {made.verdict.sentence}"]
        if len(found.maps) == 1 and made.candidates:
            lines += [f"  {line}" for line in (*_scored(made), *said_of_checks(made).values())]
    best = [found.recommended.reason] if found.recommended else []
    said = [found.disagreement] if found.disagreement else []
    return [*lines, "", *best, *said, *(f"  note          {notice}" for notice in found.notices)]


def _scored(made: MapTrust) -> list[str]:
    beside = made.beside()
    rows = [["", "better", *next(iter(beside.values()))]]
    for name, values in beside.items():
        better = "higher" if METRICS[name].higher_is_better else "lower"
        better = better if METRICS[name].decides else "-"
        rows.append([METRICS[name].title, better, *(f"{x:.3f}" for x in values.values())])
    return aligned(rows)
