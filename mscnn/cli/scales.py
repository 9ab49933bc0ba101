"""``mscnn scales``: at which scale a network decided."""

from __future__ import annotations

from mscnn.cli import options
from mscnn.cli.console import heading, open_engine, settle_model, share, tell
from mscnn.errors import UnsupportedModelError
from mscnn.results.scales import BlockScales, ScaleReport
from mscnn.results.schema import document


def scales(
    image: options.Image,
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
    from mscnn.draw.files import scales_files
    from mscnn.results.writing import write

    # What can be refused at once is refused before a model is loaded.
    drawing = options.drawing(opacity, colour_map)
    target = options.one_class(target)
    photo = options.open_photo(image, out)
    name = settle_model(model)
    lens = open_engine(device, [name])
    report = lens.scales(photo, name, target=target, name=image)
    try:
        attention = lens.split_attention(photo, name, target=report.target.index)
    except UnsupportedModelError:
        attention = None
    files = write(out, scales_files(report, photo, attention=attention, drawing=drawing))
    gates = document(attention)["blocks"] if attention else None
    tell(json, lambda: {**document(report), "attention": gates}, lambda: _lines(report), out, files)


def _lines(report: ScaleReport) -> list[str]:
    target, seen = report.target, report.weighted_rf_px
    lines = [
        heading(report.prediction),
        f"  class         {target.label} {share(target.probability)}",
    ]
    if not report.has_splits:
        lines.append("  no block has more than one split, so there is no scale to choose from")
    if seen is not None:
        lines.append(f"  weighted by evidence, it saw {seen:.0f} px on average")
    width = max(len(block.block) for block in report.blocks)
    lines += [f"  {block.block:<{width}}  {_splits(block)}" for block in report.blocks]
    return [*lines, *(f"  note          {notice}" for notice in report.notices)]


def _splits(block: BlockScales) -> str:
    parts = "  ".join(
        f"{'?' if split.rf_max_px is None else split.rf_max_px:>4} px {share(split.share):>7}"
        for split in block.splits
    )
    return f"{block.kind:<9}  {parts}"
