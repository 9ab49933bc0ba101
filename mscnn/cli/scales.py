"""``mscnn scales``: at which scale a network decided."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mscnn.cli import options
from mscnn.cli.console import open_engine, print_json, settle_model, share
from mscnn.errors import UnsupportedModelError
from mscnn.results.scales import AttentionReport, BlockScales, ScaleReport

if TYPE_CHECKING:
    from PIL import Image

    from mscnn.engine.pipeline import Engine


def scales(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="Photo.")],
    out: options.Out,
    model: options.Model = None,
    target: options.Target = "top1",
    device: options.Device = "auto",
    opacity: options.Opacity = 0.6,
    colour_map: options.ColourMap = "inferno",
    json: options.Json = False,
) -> None:
    """Show at which scale a network decided, block by block.

    A Res2Net block divides its channels into splits that see more and more of the photo. For each
    block this measures how much of the evidence for the class passed through which split. Writes
    attribution.png (shares over depth), attribution.csv, scales.json, a strip of maps for each
    block with a hierarchy (splits-layer2.1.png, ...), splits.npz (the raw maps) and manifest.json
    into --out; for a ResNeSt also its split attention (attention.json, .csv, .npz), which gates
    channels and selects no scale.
    """
    from mscnn.draw.files import DrawingOptions, check_folder, write_scales
    from mscnn.photos.imaging import load_photo

    # What can be refused at once is refused before a model is loaded.
    drawing = DrawingOptions(opacity=opacity, colour_map=colour_map)
    target = options.one_class(target)
    check_folder(out)
    photo = load_photo(image)
    model = settle_model(model)
    lens = open_engine(device, [model])
    report = lens.scales(photo, model, target=target, name=image)
    attention = _attention(lens, photo, model, report.target.index)
    files = write_scales(out, report, photo, attention=attention, drawing=drawing)
    if json:
        from mscnn.results.serialise_lens import attention_dict, scales_dict

        gates = attention_dict(attention)["blocks"] if attention else None
        document = {**scales_dict(report), "attention": gates}
        print_json({**document, "out": str(out), "files": files})
        return
    typer.echo(_as_text(report, out, files))


def _attention(lens: Engine, photo: Image.Image, model: str, target: int) -> AttentionReport | None:
    try:
        return lens.split_attention(photo, model, target=target)
    except UnsupportedModelError:
        return None


def _as_text(report: ScaleReport, out: Path, files: list[str]) -> str:
    prediction, target = report.prediction, report.target
    lines = [
        f"{prediction.photo.name}  ({prediction.model}, {prediction.weights.source}, "
        f"{prediction.device})",
        f"  class         {target.label} {share(target.probability)}",
    ]
    if not report.has_splits:
        lines.append("  no block has more than one split, so there is no scale to choose from")
    if report.weighted_rf_px is not None:
        lines.append(f"  weighted by evidence, it saw {report.weighted_rf_px:.0f} px on average")
    width = max(len(block.block) for block in report.blocks)
    lines += [f"  {block.block:<{width}}  {_splits(block)}" for block in report.blocks]
    lines += [f"  note          {notice}" for notice in report.notices]
    return "\n".join([*lines, f"  written       {out}: {', '.join(files)}"])


def _splits(block: BlockScales) -> str:
    parts = "  ".join(
        f"{'?' if split.rf_max_px is None else split.rf_max_px:>4} px {share(split.share):>7}"
        for split in block.splits
    )
    return f"{block.kind:<9}  {parts}"
