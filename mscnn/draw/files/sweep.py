"""The files of a zoom sweep: curves, a film strip of the maps, and the numbers."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from mscnn.draw.charts import sweep_chart
from mscnn.draw.figures import png
from mscnn.draw.files.drawing import DrawingOptions
from mscnn.draw.files.folder import Files, check_folder, write_files
from mscnn.draw.files.manifest import header, json_bytes
from mscnn.draw.files.table import Value, csv_bytes
from mscnn.draw.sheets import film_scale, film_strip
from mscnn.results.explanation import JsonDict
from mscnn.results.scales import Sweep
from mscnn.results.serialise import SPREAD_UNIT
from mscnn.results.serialise_lens import step_dict, sweep_dict

SHEET_PX = 1200
FILM_PX = 2000
_TABLE = (
    *("model", "class", "factor", "size_px", "probability", "rank"),
    *("energy_ratio", "weighted_rf_px"),
)


def write_sweep(
    folder: Path,
    sweep: Sweep,
    *,
    name: str = "",
    drawing: DrawingOptions | None = None,
    created: datetime | None = None,
) -> list[str]:
    """Write the files of a sweep into ``folder``; see ``sweep_files``.

    Returns:
        The names of the files.

    Raises:
        OutputError: the folder cannot be written.
    """
    check_folder(folder)
    files = sweep_files(sweep, name=name, drawing=drawing, created=created)
    write_files(folder, files)
    return list(files)


def sweep_files(
    sweep: Sweep,
    *,
    name: str = "",
    drawing: DrawingOptions | None = None,
    created: datetime | None = None,
) -> Files:
    """Make the files of a sweep.

    ``sweep.json``, ``sweep.csv`` (one row per model and size), ``sweep.png`` (curves of
    probability, energy ratio and evidence-weighted receptive field) and ``manifest.json``; where
    a size was done also ``film.png``, the maps on what each network saw, one row per model.

    Args:
        sweep: the result to write; it may be partial.
        name: the photo's own file name, for the manifest.
        drawing: None for the usual colours and opacity.
        created: with a time zone; None for now.
    """
    drawing = drawing or DrawingOptions()
    document = sweep_dict(sweep)
    files = {"sweep.json": json_bytes(document), "sweep.csv": sweep_csv(sweep)}
    files["sweep.png"] = png(sweep_chart(sweep), SHEET_PX)
    film = film_strip(sweep, drawing)
    if film is not None:
        files["film.png"] = png(film, FILM_PX)
    top, clipped = film_scale(sweep)
    manifest = {
        **header(created),
        "image": {"name": name},
        **{key: document[key] for key in ("class", "canvas", "box", "factors", "partial")},
        "models": [_summary(model) for model in document["models"]],
        "colour_scale": {
            **{"min": 0.0, "max": top, "unit": SPREAD_UNIT},
            "clipped": clipped,
            **{"colour_map": drawing.colour_map, "opacity": drawing.opacity},
        },
        "files": [*files, "manifest.json"],
    }
    return {**files, "manifest.json": json_bytes(manifest)}


def _summary(model: JsonDict) -> JsonDict:
    return {key: value for key, value in model.items() if key != "steps"}


def sweep_csv(sweep: Sweep) -> bytes:
    """Write one row per model and size; a model without any has none."""
    rows: list[list[Value]] = []
    for curve in sweep.curves:
        for step in map(step_dict, curve.steps):
            rows.append([curve.model, curve.label, *(step[key] for key in _TABLE[2:])])
    return csv_bytes(_TABLE, rows)
