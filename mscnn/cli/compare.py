"""``mscnn compare``: one photo and class through several models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mscnn.cli import options
from mscnn.cli.console import open_engine, print_json, progress, share
from mscnn.errors import MscnnError
from mscnn.results.explanation import ComparedModel, Comparison


def compare(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="Photo.")],
    models: Annotated[
        str,
        typer.Option("--models", metavar="A,B,C", help="Two to six models, separated by commas."),
    ],
    out: options.Out,
    target: options.Target = "top1",
    layer: Annotated[
        str, typer.Option("--layer", help="last, a stage number, or a layer all models have.")
    ] = "last",
    device: options.Device = "auto",
    opacity: options.Opacity = 0.6,
    colour_map: options.ColourMap = "inferno",
    json: options.Json = False,
) -> None:
    """Compare the maps of several models for one photo.

    The class top1 is the first model's best one. Writes comparison.png (all maps on one colour
    scale; for two models also their difference), compare.json, table.csv, manifest.json and the raw
    map of each model (cam-1-NAME.npy, ...) into --out.
    """
    from mscnn.draw.files import DrawingOptions, check_folder, write_comparison
    from mscnn.engine.pipeline import MAX_COMPARED, MIN_COMPARED, summarise
    from mscnn.photos.imaging import load_photo

    drawing = DrawingOptions(opacity=opacity, colour_map=colour_map)
    names = options.model_names(models, MIN_COMPARED, MAX_COMPARED)
    target = options.one_class(target)
    check_folder(out)
    photo = load_photo(image)
    engine = open_engine(device, names)
    columns: list[ComparedModel] = []
    label = ""
    with progress("models", "model") as report:
        for named, column in engine.compare_steps(
            photo, names, target=target, layer=layer, name=image
        ):
            label = named
            columns.append(column)
            report(len(columns), len(names))
    _check_usable(columns)
    comparison = summarise(label, layer, columns)
    files = write_comparison(out, comparison, photo, drawing=drawing)
    if json:
        from mscnn.results.serialise import comparison_dict

        print_json({**comparison_dict(comparison), "out": str(out), "files": files})
        return
    typer.echo(_as_text(comparison, out, files))


def _check_usable(columns: list[ComparedModel]) -> None:
    """Stop where a model failed, or where none knows the class: on a page both are notes."""
    for column in columns:
        if column.explanation is None:
            raise MscnnError(f"{column.model}: {column.note}")
    if not any(column.cam for column in columns):
        raise MscnnError(columns[0].note)


def _as_text(comparison: Comparison, out: Path, files: list[str]) -> str:
    lines = [f"class {comparison.label}, layer {comparison.layer}"]
    width = max(len(column.model) for column in comparison.columns)
    for column in comparison.columns:
        lines.append(f"  {column.model:<{width}}  {_column_text(column)}")
    for pair in comparison.agreements:
        rank = "-" if pair.spearman is None else f"{pair.spearman:.2f}"
        overlap = "-" if pair.iou_top20 is None else f"{pair.iou_top20:.2f}"
        lines.append(f"  {pair.first} and {pair.second}: rank correlation {rank}, IoU {overlap}")
    lines += [comparison.hint] if comparison.hint else []
    return "\n".join([*lines, f"written {out}: {', '.join(files)}"])


def _column_text(column: ComparedModel) -> str:
    explanation = column.explanation
    if explanation is None:
        return column.note
    best = explanation.prediction.top[0]
    answer = f"first answer {best.label} {share(best.probability)}"
    if explanation.targets:
        answer = f"{share(explanation.targets[0].probability):>7}  {answer}"
    latency = f"  {column.latency_ms:.0f} ms" if column.latency_ms is not None else ""
    return f"{answer}{latency}{'  ' + column.note if column.note else ''}"
