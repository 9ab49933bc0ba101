"""``mscnn compare``: one photo and class through several models."""

from __future__ import annotations

from typing import Annotated

import typer

from mscnn.cli import options
from mscnn.cli.console import open_engine, progress, share, tell
from mscnn.errors import MscnnError
from mscnn.results.explanation import ComparedModel, Comparison
from mscnn.results.schema import document


def compare(
    image: options.Image,
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
    from mscnn.draw.files import comparison_files
    from mscnn.engine.pipeline import MAX_COMPARED, MIN_COMPARED, summarise
    from mscnn.results.writing import write

    drawing = options.drawing(opacity, colour_map)
    names = options.model_names(models, MIN_COMPARED, MAX_COMPARED)
    target = options.one_class(target)
    photo = options.open_photo(image, out)
    engine = open_engine(device, names)
    columns: list[ComparedModel] = []
    label = ""
    with progress("models", "model") as report:
        steps = engine.compare_steps(photo, names, target=target, layer=layer, name=image)
        for label, column in steps:  # noqa: B007 - the last one is what all share
            columns.append(column)
            report(len(columns), len(names))
    _check_usable(columns)
    found = summarise(label, layer, columns)
    files = write(out, comparison_files(found, photo, drawing=drawing))
    tell(json, lambda: document(found), lambda: _lines(found), out, files)


def _check_usable(columns: list[ComparedModel]) -> None:
    """Stop where a model failed, or where none knows the class: on a page both are notes."""
    for column in columns:
        if column.explanation is None:
            raise MscnnError(f"{column.model}: {column.note}")
    if not any(column.cam for column in columns):
        raise MscnnError(columns[0].note)


def _lines(found: Comparison) -> list[str]:
    lines = [f"class {found.label}, layer {found.layer}"]
    width = max(len(column.model) for column in found.columns)
    lines += [f"  {column.model:<{width}}  {_column(column)}" for column in found.columns]
    for pair in found.agreements:
        rank, overlap = ("-" if x is None else f"{x:.2f}" for x in (pair.spearman, pair.iou_top20))
        lines.append(f"  {pair.first} and {pair.second}: rank correlation {rank}, IoU {overlap}")
    return [*lines, found.hint] if found.hint else lines


def _column(column: ComparedModel) -> str:
    if column.explanation is None:
        return column.note
    best, targets = column.explanation.prediction.top[0], column.explanation.targets
    parts = [f"{share(targets[0].probability):>7}"] if targets else []
    parts.append(f"top-1 {best.label} {share(best.probability)}")
    parts += [f"{column.latency_ms:.0f} ms"] if column.latency_ms is not None else []
    return "  ".join([*parts, column.note] if column.note else parts)
