"""The files of a zoom sweep: curves, a film strip of the maps, and the numbers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from mscnn.draw.charts import Chart, lines_chart
from mscnn.draw.files.drawing import DrawingOptions
from mscnn.draw.files.folder import Files, check_folder, write_files
from mscnn.draw.files.manifest import header, json_bytes
from mscnn.draw.files.table import Value, csv_bytes
from mscnn.draw.legend import with_legend
from mscnn.draw.overlay import overlay
from mscnn.draw.sheet import Panel, contact_sheet, panel_px
from mscnn.draw.text import PAPER, fit_text, text_px
from mscnn.geometry import FloatMap, resize_map
from mscnn.photos.imaging import to_png_bytes
from mscnn.results.explanation import JsonDict, RgbArray
from mscnn.results.scales import Sweep, SweepCurve, SweepStep
from mscnn.results.serialise import SPREAD_UNIT
from mscnn.results.serialise_lens import size_px, step_dict, sweep_dict

SHEET_PX = 1200
FILM_PX = 2000
FRAMES_PER_ROW = 12
X_LABEL = "size of the object / size of the network's input"
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
    files["sweep.png"] = to_png_bytes(sweep_sheet(sweep))
    film = film_strip(sweep, drawing)
    if film is not None:
        files["film.png"] = to_png_bytes(film)
    manifest = {
        **header(created),
        "image": {"name": name},
        **{key: document[key] for key in ("class", "canvas", "box", "factors", "partial")},
        "models": [_summary(model) for model in document["models"]],
        "colour_scale": {
            **{"min": 0.0, "max": film_top(sweep), "unit": SPREAD_UNIT},
            "clipped": film_top(sweep) < max(_highest(sweep), default=0.0),
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


def sweep_charts(sweep: Sweep) -> tuple[Chart, ...]:
    """Draw probability, energy ratio and, where a model has splits, the receptive field by size."""
    charts = [
        _lines(sweep, lambda s: s.probability, "probability", "Probability of the class", (0, 1)),
        _lines(
            sweep, lambda s: s.energy_ratio, "evidence on the object / its share of the area",
            "How much of the evidence lies on the object", reference=1.0,
        ),
    ]  # fmt: skip
    if any(step.weighted_rf_px is not None for curve in sweep.curves for step in curve.steps):
        what, title = "px of the network's input", "Evidence-weighted receptive field"
        charts.append(_lines(sweep, lambda s: s.weighted_rf_px, what, title))
    return tuple(charts)


def _lines(
    sweep: Sweep,
    value: Callable[[SweepStep], float | None],
    y_label: str,
    title: str,
    y_range: tuple[float, float] | None = None,
    reference: float | None = None,
) -> Chart:
    curves = [(c.model, [(s.factor, value(s)) for s in c.steps]) for c in sweep.curves]
    return lines_chart(
        # A network without splits has no evidence-weighted field, and no line.
        [(name, line) for name, line in curves if any(y is not None for _, y in line)],
        x_label=X_LABEL,
        y_label=y_label,
        title=title,
        log_x=True,
        invert_x=True,
        y_range=y_range,
        reference=reference,
        reference_label="" if reference is None else "an even spread",
        width_px=panel_px(1, SHEET_PX),
    )


def sweep_sheet(sweep: Sweep) -> RgbArray:
    """Draw all charts of a sweep below one another.

    Returns:
        ``(h, SHEET_PX, 3)`` uint8 RGB.
    """
    title = f"Zoom sweep: {sweep.label or 'no class'}, canvas {sweep.canvas}"
    panels = [Panel(chart.picture, "") for chart in sweep_charts(sweep)]
    sheet = contact_sheet(panels, columns=1, width_px=SHEET_PX)
    return np.concatenate([_heading(title, SHEET_PX, 30), sheet])


def film_strip(sweep: Sweep, drawing: DrawingOptions) -> RgbArray | None:
    """Draw each size as the network saw it with its map, all on one colour scale.

    Returns:
        ``(h, FILM_PX, 3)`` uint8 RGB, one row per model, largest object first; None where no
        size was done.
    """
    shown = [curve for curve in sweep.curves if curve.steps]
    if not shown:
        return None
    columns = min(FRAMES_PER_ROW, max(len(curve.steps) for curve in shown))
    # A short sweep must not blow a few frames up to the width of twelve.
    columns = max(columns, 4)
    top = film_top(sweep)
    rows: list[RgbArray] = []
    for curve in shown:
        panels = [_frame(step, top, drawing, panel_px(columns, FILM_PX)) for step in curve.steps]
        rows += [
            _heading(_film_title(curve), FILM_PX, 22),
            contact_sheet(panels, columns=columns, width_px=FILM_PX),
        ]
    return with_legend(
        np.concatenate(rows), vmax=top, unit=SPREAD_UNIT, cmap=drawing.colour_map,
        title=f"{sweep.label}: where the evidence lies, size by size",
        clipped=top < max(_highest(sweep)),
    )  # fmt: skip


def _film_title(curve: SweepCurve) -> str:
    if curve.octaves is None:
        return curve.model
    return f"{curve.model}: at least half of its best over {curve.octaves:.1f} octaves"


def film_top(sweep: Sweep) -> float:
    """Top of the film's colour scale, in units of an even spread; 0 without evidence.

    It is the lower quartile of the frames' highest values: evidence on a small object is so
    dense that the highest of all would leave large ones without colour. Denser places are clipped.
    """
    found = [top for top in _highest(sweep) if top > 0]
    return float(np.quantile(found, 0.25)) if found else 0.0


def _highest(sweep: Sweep) -> list[float]:
    return [float(view_density(step).max()) for c in sweep.curves for step in c.steps]


def view_density(step: SweepStep) -> FloatMap:
    """Evidence per area on what the network saw, 1 = an even spread; see ``agreement.density``.

    Returns:
        ``(H, W)`` float32, all 0 for a map without positive evidence.
    """
    height, width = step.view.shape[:2]
    heat = resize_map(np.maximum(step.raw, 0), width, height)
    mean = float(heat.mean())
    return heat / mean if mean > 0 else np.zeros_like(heat)


def _frame(step: SweepStep, top: float, drawing: DrawingOptions, side: int) -> Panel:
    height, width = step.view.shape[:2]
    factor = side / max(width, height)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    # The small view is enlarged before it is drawn on, so that the map stays smooth.
    view = np.asarray(Image.fromarray(step.view).resize(size, Image.Resampling.BICUBIC))
    heat = resize_map(view_density(step), *size)
    painted = overlay(view, heat, vmax=top, opacity=drawing.opacity, cmap=drawing.colour_map)
    caption = f"{step.probability:.1%}, rank {step.rank}"
    return Panel(painted, f"{step.factor:.2g}\N{MULTIPLICATION SIGN} ({size_px(step)} px)", caption)


def _heading(text: str, width_px: int, size_px: int) -> RgbArray:
    """Return bold text on paper of a width: ``(h, width_px, 3)`` uint8 RGB."""
    margin = text_px(width_px)
    block = fit_text(text, width_px - 2 * margin, size_px, bold=True)
    paper = Image.new("RGB", (width_px, block.height + size_px), PAPER)
    block.draw(ImageDraw.Draw(paper), margin, size_px)
    return np.array(paper)
