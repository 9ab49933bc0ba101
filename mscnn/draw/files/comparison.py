"""The files of a comparison: a contact sheet, the numbers as JSON and CSV, the raw maps."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

from PIL import Image

from mscnn.draw.figures import png
from mscnn.draw.files.drawing import DrawingOptions, as_image
from mscnn.draw.files.folder import Files, check_folder, write_files
from mscnn.draw.files.manifest import bare_name, header, json_bytes, npy_bytes
from mscnn.draw.files.table import Value, csv_text
from mscnn.draw.sheets import comparison_sheet
from mscnn.results import serialise
from mscnn.results.explanation import Comparison, JsonDict, RgbArray

SHEET_PX = 1600
_TABLE = (
    *("model", "params", "gmacs", "input_px", "top1_published", "top1_source", "latency_ms"),
    *("class", "class_probability", "weights_source", "weights_sha256", "note"),
)
_RANKS = 5


def write_comparison(
    folder: Path,
    comparison: Comparison,
    photo: Image.Image | RgbArray,
    *,
    drawing: DrawingOptions | None = None,
    created: datetime | None = None,
) -> list[str]:
    """Write the files of a comparison into ``folder``; see ``comparison_files``.

    Returns:
        The names of the files.

    Raises:
        OutputError: the folder cannot be written.
    """
    check_folder(folder)
    files = comparison_files(comparison, photo, drawing=drawing, created=created)
    write_files(folder, files)
    return list(files)


def comparison_files(
    comparison: Comparison,
    photo: Image.Image | RgbArray,
    *,
    drawing: DrawingOptions | None = None,
    created: datetime | None = None,
) -> Files:
    """Make the files of a comparison.

    ``comparison.png`` (contact sheet), ``compare.json``, ``table.csv``, ``manifest.json``, and for
    each model that has a map ``cam-<position>-<model>.npy``.

    Args:
        comparison: the result to write.
        photo: the whole upright photo, RGB.
        drawing: None for the usual colours and opacity.
        created: with a time zone; None for now.
    """
    drawing = drawing or DrawingOptions()
    document = serialise.comparison_dict(comparison)
    if document["image"]:
        document["image"]["path"] = bare_name(document["image"]["path"])
    sheet = comparison_sheet(comparison, as_image(photo), drawing)
    files = {
        "comparison.png": png(sheet, SHEET_PX),
        "compare.json": json_bytes(document),
        "table.csv": comparison_csv(comparison).encode("utf-8"),
    }
    for position, column in enumerate(comparison.columns, 1):
        if column.cam is not None:
            safe = re.sub(r"[^A-Za-z0-9._-]", "_", column.model)[:80]
            files[f"cam-{position}-{safe}.npy"] = npy_bytes(column.cam.raw)
    manifest = _manifest(comparison, document, drawing, created, [*files, "manifest.json"])
    return {**files, "manifest.json": json_bytes(manifest)}


def _manifest(
    comparison: Comparison,
    document: JsonDict,
    drawing: DrawingOptions,
    created: datetime | None,
    names: list[str],
) -> JsonDict:
    colours = {"colour_map": drawing.colour_map, "opacity": drawing.opacity}
    cam = next((column.cam for column in comparison.columns if column.cam), None)
    return {
        **header(created),
        "image": {"name": document["image"]["path"]} if document["image"] else None,
        "class": comparison.label,
        "layer": comparison.layer,
        "method": cam.method if cam else None,
        "models": {model["model"]: model["weights"] for model in document["models"]},
        "colour_scale": {**document["colour_scale"], **colours},
        "files": names,
    }


def comparison_csv(comparison: Comparison) -> str:
    """Write one row per model, safe to open in a spreadsheet; what is not known is empty."""
    ranks = [f"top{i}_{what}" for i in range(1, _RANKS + 1) for what in ("label", "probability")]
    rows = map(_table_row, map(serialise.compared_dict, comparison.columns))
    return csv_text([*_TABLE, *ranks], rows)


def _table_row(model: JsonDict) -> list[Value]:
    target, weights = model["target"] or {}, model["weights"] or {}
    cells = [
        *(model["model"], model["params"], model["gmacs"], model["input_px"]),
        *(model["top1"], model["top1_source"], model["latency_ms"]),
        *(target.get("label"), target.get("probability")),
        *(weights.get("source"), weights.get("sha256"), model["note"]),
    ]
    for score in model["top"][:_RANKS]:
        cells += [score["label"], score["probability"]]
    return cells
