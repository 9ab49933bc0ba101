"""``mscnn rf``: theoretical receptive fields, for registry models without loading anything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Optional

import typer

from mscnn.cli import options
from mscnn.cli.console import open_engine, print_json
from mscnn.scales import receptive_field as fields
from mscnn.scales.receptive_field import BlockField, ReceptiveField, SplitField, StageField


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
        from mscnn.draw.files import check_folder

        check_folder(out)
    field = _field(model)
    baseline = fair_baseline(field.model)
    files: list[str] = []
    if out is not None:
        from mscnn.draw.files import write_receptive_field

        files = write_receptive_field(out, field, baseline)
    if json:
        from mscnn.results.serialise_lens import receptive_field_dict

        written = {"out": str(out), "files": files} if out is not None else {}
        print_json({**receptive_field_dict(field, spectrum=spectrum), **written})
        return
    text = _as_text(field, baseline, spectrum)
    typer.echo(f"{text}\n\nwritten {out}: {', '.join(files)}" if out is not None else text)


def _field(model: str) -> ReceptiveField:
    found = fields.known(model)
    if found is not None:
        return found
    return open_engine("cpu", [model]).receptive_field(model)


def _as_text(field: ReceptiveField, baseline: ReceptiveField | None, spectrum: bool) -> str:
    beside = "" if baseline is None else f"; beside {baseline.model}"
    lines = [f"{field.model}, input {field.input_px} px{beside}", "", *_stages(field, baseline)]
    if field.blocks:
        lines += ["", *_blocks(field.blocks)]
    for stage in field.stages if spectrum else ():
        sizes = stage.spectrum.sizes
        rows = [("size", "paths"), *((f"{px} px", f"{sizes[px]:,}") for px in sorted(sizes))]
        lines += ["", f"Paths to {stage.stage}", *_aligned(rows)]
    return "\n".join(lines)


def _stages(field: ReceptiveField, baseline: ReceptiveField | None) -> list[str]:
    rows: list[tuple[str, ...]] = [
        ("stage", "stride", "smallest", "largest", "sizes", "paths")
        + (() if baseline is None else (f"largest of {baseline.model}",))
    ]
    for number, stage in enumerate(field.stages):
        other = baseline.stages[number : number + 1] if baseline is not None else ()
        rows.append(_stage_row(stage) + tuple(f"{s.rf_max_px} px" for s in other))
    return _aligned(rows)


def _stage_row(stage: StageField) -> tuple[str, ...]:
    return (
        *(stage.stage, f"{stage.stride_px} px"),
        *(f"{stage.rf_min_px} px", f"{stage.rf_max_px} px"),
        *(str(stage.spectrum.distinct), f"{stage.spectrum.paths:,}"),
    )


def _blocks(blocks: Sequence[BlockField]) -> list[str]:
    rows = [("block", "stride", "kind", "largest of each split")]
    for block in blocks:
        splits = "  ".join(_split(split) for split in block.splits)
        rows.append((block.block, f"{block.stride_px} px", block.kind, splits))
    return _aligned(rows)


def _split(split: SplitField) -> str:
    return f"{split.index}: {split.rf_max_px} px"


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns as wide as their longest cell; what starts with a digit stands to the right."""
    count = max(len(row) for row in rows)
    padded = [(*row, *[""] * (count - len(row))) for row in rows]
    widths = [max(len(row[i]) for row in padded) for i in range(count)]
    numeric = [all(r[i][:1].isdigit() or not r[i] for r in padded[1:]) for i in range(count)]
    # The last column of the blocks is a list of splits, which reads from the left.
    numeric = [
        right and not any(":" in row[i] for row in padded) for i, right in enumerate(numeric)
    ]
    return [
        "  ".join(
            f"{text:>{width}}" if right else f"{text:<{width}}"
            for text, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in padded
    ]
