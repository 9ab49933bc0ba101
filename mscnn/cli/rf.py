"""``mscnn rf``: theoretical receptive fields, for registry models without loading anything."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from mscnn.cli import options
from mscnn.cli.console import aligned, open_engine, tell
from mscnn.results.receptive_field import BlockField, ReceptiveField
from mscnn.results.schema import document, text_cells
from mscnn.results.writing import check_folder, write
from mscnn.scales import receptive_field as fields


def rf(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A name of 'mscnn models', another timm CNN, or a folder that training wrote.",
        ),
    ],
    spectrum: Annotated[
        bool,
        typer.Option("--spectrum", help="Also list how many paths of each stage have which size."),
    ] = False,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", metavar="DIR", help="Folder for charts and tables; none without it."),
    ] = None,
    json: options.Json = False,
) -> None:
    """List how much of its input each part of a network can see.

    Receptive fields in px of the input, exact over every path, for all stages, blocks and splits
    (numbered from 0 in timm's order), beside the network that the model is fairly compared with.
    What a network can see is not what it uses. Global context (split attention,
    squeeze-and-excitation) is left out. With --out it writes rf.json, rf.csv, spectrum.png and
    growth.png.
    """
    from mscnn.engine.lens_options import fair_baseline

    if out is not None:
        check_folder(out)
    field = fields.known(model)
    if field is None:
        field = open_engine("cpu", [model]).receptive_field(model)
    found, baseline = field, fair_baseline(field.model)
    files: list[str] = []
    if out is not None:
        from mscnn.draw.files import receptive_field_files

        files = write(out, receptive_field_files(found, baseline))
    tell(
        json,
        lambda: document(found, details=spectrum),
        lambda: _lines(found, baseline, spectrum),
        out,
        files,
    )


def _lines(field: ReceptiveField, baseline: ReceptiveField | None, spectrum: bool) -> list[str]:
    beside = "" if baseline is None else f"; beside {baseline.model}"
    rows = [text_cells(stage) for stage in field.stages]
    if baseline is not None:
        for row, stage in zip(rows, baseline.stages, strict=False):
            row[f"largest of {baseline.model}"] = f"{stage.rf_max_px} px"
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [f"{field.model}, input {field.input_px} px{beside}", ""]
    lines += aligned([names, *([row.get(name, "") for name in names] for row in rows)])
    if field.blocks:
        head = ["block", "stride", "kind", "largest of each split"]
        lines += ["", *aligned([head, *map(_block, field.blocks)], left=(3,))]
    for stage in field.stages if spectrum else ():
        sizes = [[f"{px} px", f"{paths:,}"] for px, paths in sorted(stage.spectrum.sizes.items())]
        lines += ["", f"Paths to {stage.stage}", *aligned([["size", "paths"], *sizes])]
    return lines


def _block(block: BlockField) -> list[str]:
    splits = "  ".join(f"{split.index}: {split.rf_max_px} px" for split in block.splits)
    return [block.block, f"{block.stride_px} px", block.kind, splits]
