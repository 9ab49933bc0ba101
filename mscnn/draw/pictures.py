"""The pictures among the files of a result: maps on their photo, side by side, or as charts."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from mscnn.draw.charts import Chart, growth_chart, lines_chart, shares_chart, spectrum_chart
from mscnn.draw.legend import with_legend
from mscnn.draw.overlay import COLOUR_MAPS, CropBox, difference_overlay, heatmap, overlay
from mscnn.draw.sheet import Panel, contact_sheet, panel_px
from mscnn.draw.strip import SplitPanel, split_strip
from mscnn.draw.text import PAPER, fit_text, text_px
from mscnn.errors import OptionError
from mscnn.geometry import resize_map
from mscnn.maps.agreement import difference
from mscnn.results.explanation import (
    SPREAD_UNIT,
    CamMap,
    ComparedModel,
    Comparison,
    Explanation,
    RgbArray,
    density,
)
from mscnn.results.receptive_field import ReceptiveField
from mscnn.results.scales import (
    SPLIT_UNIT,
    BlockScales,
    ScaleReport,
    SplitEvidence,
    Sweep,
    SweepCurve,
    SweepStep,
    size_px,
)

MAX_PX, MIN_PX = 2048, 256
"""Longer side of a drawn photo: a bigger one is shrunk, a smaller one enlarged for its pictures."""
CHART_PX = 1200
SHEET_PX = 1600
PANEL_PX = 420
"""Longer side of the photo in a strip."""
FILM_PX = 2000
FRAMES_PER_ROW = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawingOptions:
    """How maps are drawn.

    Attributes:
        opacity: of the strongest position of the map, 0..1.
        colour_map: one of ``mscnn.draw.overlay.COLOUR_MAPS``.
    """

    opacity: float = 0.6
    colour_map: str = COLOUR_MAPS[0]

    def __post_init__(self) -> None:
        if not 0 <= self.opacity <= 1:
            raise OptionError(f"The opacity is {self.opacity}; it must lie between 0 and 1.")
        if self.colour_map not in COLOUR_MAPS:
            raise OptionError(
                f"There is no colour map {self.colour_map!r}; choose one of "
                f"{', '.join(COLOUR_MAPS)}."
            )


def as_image(photo: Image.Image | RgbArray) -> Image.Image:
    """Return a photo as a PIL image of mode RGB."""
    return photo if isinstance(photo, Image.Image) else Image.fromarray(photo)


def _fitted(photo: Image.Image, size: tuple[int, int]) -> RgbArray:
    """Return the photo at ``(width, height)``: ``(h, w, 3)`` uint8 RGB."""
    if size != photo.size:
        photo = photo.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    return np.array(photo)


def _drawn(photo: Image.Image, cam: CamMap, max_px: int, min_px: int) -> tuple[RgbArray, CropBox]:
    """Return the photo at exactly the size its map is drawn at, and the crop on it."""
    size = cam.geometry.drawn_size(max_px, min_px)
    return _fitted(photo, size), cam.geometry.crop_on(size)


# --- one map -------------------------------------------------------------------------------


def map_pictures(
    explanation: Explanation, cam: CamMap, photo: Image.Image, drawing: DrawingOptions
) -> tuple[RgbArray, RgbArray, float]:
    """Draw a map over its photo and alone, at the photo's size within ``MIN_PX`` and ``MAX_PX``.

    Returns:
        Both pictures with their legend, ``(h, w, 3)`` uint8 RGB, and the top of the colour scale
        in ``SPREAD_UNIT``.
    """
    max_px = min(MAX_PX, max(photo.size))
    heat, cmap = density(cam, max_px, MIN_PX), drawing.colour_map
    vmax = float(heat.max())
    pixels, crop = _drawn(photo, cam, max_px, MIN_PX)
    painted = overlay(pixels, heat, vmax=vmax, opacity=drawing.opacity, cmap=cmap, crop=crop)
    target = next(score for score in explanation.targets if score.index == cam.target)
    chance = f" ({target.probability:.1%})" if np.isfinite(target.probability) else ""
    model = explanation.prediction.model
    title = f"{target.label}{chance}: {model}, {cam.layer}, {cam.method}"
    legend = functools.partial(with_legend, vmax=vmax, unit=SPREAD_UNIT, cmap=cmap, title=title)
    plain = heatmap(heat, vmax=vmax, cmap=cmap)
    return legend(painted), legend(plain, transparent=False), vmax


# --- a comparison --------------------------------------------------------------------------


def comparison_sheet(
    comparison: Comparison, photo: Image.Image, drawing: DrawingOptions
) -> RgbArray:
    """Draw the photo, a map per model on one colour scale, and the difference of two maps.

    Returns:
        ``(h, SHEET_PX, 3)`` uint8 RGB with the legend of the common scale below.
    """
    columns = 2 if len(comparison.columns) == 2 else 3
    side = panel_px(columns, SHEET_PX)
    width, height = (max(1, round(edge * side / max(photo.size))) for edge in photo.size)
    plain = _fitted(photo, (width, height))
    panels = [Panel(plain, "Photo")]
    for column in comparison.columns:
        if column.cam is None:
            panels.append(Panel(plain, column.model, column.note or "no map"))
            continue
        pixels, crop = _drawn(photo, column.cam, side, side)
        painted = overlay(
            pixels,
            density(column.cam, side, side),
            vmax=comparison.scale_max,
            opacity=drawing.opacity,
            cmap=drawing.colour_map,
            crop=crop,
        )
        panels.append(Panel(painted, column.model, _compared_caption(column)))
    maps = [(column.model, column.cam) for column in comparison.columns if column.cam]
    if len(maps) == len(comparison.columns) == 2:
        (first, a), (second, b) = maps
        apart = difference(a, b, side, side)
        vmax = float(np.abs(apart).max())
        painted = difference_overlay(_drawn(photo, a, side, side)[0], apart, vmax=vmax)
        painted = with_legend(painted, vmax=vmax, unit=SPREAD_UNIT, signed=True)
        words = f"red: more in {second}; blue: more in {first}"
        panels.append(Panel(painted, "Difference", words))
    return with_legend(
        contact_sheet(panels, columns=columns, width_px=SHEET_PX),
        vmax=comparison.scale_max,
        unit=SPREAD_UNIT,
        cmap=drawing.colour_map,
        title=f"Class {comparison.label}, layer {comparison.layer}",
    )


def _compared_caption(column: ComparedModel) -> str:
    if column.explanation is None:
        return column.note
    best, target = column.explanation.prediction.top[0], column.explanation.targets[0]
    caption = f"{target.label} {target.probability:.1%}"
    if best.index != target.index:
        caption += f"; its top-1 prediction is {best.label} {best.probability:.1%}"
    return caption


# --- scales --------------------------------------------------------------------------------


def attribution_chart(report: ScaleReport, *, width_px: int = CHART_PX) -> Chart:
    """Draw each block's fractions over depth, with the evidence-weighted receptive field."""
    target = report.target
    return shares_chart(
        [block.block for block in report.blocks],
        [[split.share for split in block.splits] for block in report.blocks],
        weighted_rf=[block.weighted_rf_px for block in report.blocks],
        rf=[[split.rf_max_px for split in block.splits] for block in report.blocks],
        title=f"{report.prediction.model}: evidence for {target.label} ({target.probability:.1%})",
        width_px=width_px,
    )


def block_strip(
    report: ScaleReport, block: BlockScales, photo: Image.Image, drawing: DrawingOptions
) -> RgbArray:
    """Draw the maps of a block's splits side by side, with what each split can see.

    Returns:
        ``(h, w, 3)`` uint8 RGB.
    """
    size = block.geometry.drawn_size(PANEL_PX, PANEL_PX)
    heats, vmax = block.heats(size)
    panels = [
        SplitPanel(heat, f"Split {split.index}", _split_caption(split), split.path)
        for heat, split in zip(heats, block.splits, strict=True)
    ]
    return split_strip(
        _fitted(photo, size),
        panels,
        vmax=vmax,
        unit=SPLIT_UNIT,
        title=f"{report.prediction.model}, inside {block.block}: {report.target.label}",
        opacity=drawing.opacity,
        cmap=drawing.colour_map,
        crop=block.geometry.crop_on(size),
    )


def _split_caption(split: SplitEvidence) -> str:
    fraction = f"{split.share:.0%} of the evidence"
    if split.rf_max_px is None:
        return fraction
    least = "" if split.rf_min_px in (None, split.rf_max_px) else f"{split.rf_min_px} to "
    return f"{fraction}; sees {least}{split.rf_max_px} px"


# --- receptive fields ----------------------------------------------------------------------


def field_growth_chart(shown: Sequence[ReceptiveField]) -> Chart:
    """Draw each model's smallest and largest field, block by block, or stage by stage."""

    def growth(field: ReceptiveField) -> list[tuple[str, int, int]]:
        stages = [(stage.stage, stage.rf_min_px, stage.rf_max_px) for stage in field.stages]
        return [(b.block, b.rf_min_px, b.rf_max_px) for b in field.blocks] or stages

    return growth_chart(
        [(field.model, growth(field)) for field in shown],
        inputs_px=[field.input_px for field in shown],
        title="Receptive field, block by block",
        width_px=panel_px(1, CHART_PX),
    )


def field_spectrum_chart(shown: Sequence[ReceptiveField]) -> Chart:
    """Draw how many paths to each model's last stage have which receptive field."""
    return spectrum_chart(
        [(field.model, field.stages[-1].spectrum.sizes) for field in shown],
        inputs_px=[field.input_px for field in shown],
        title="Paths to the last stage, by receptive field",
        width_px=panel_px(1, CHART_PX),
    )


def receptive_field_sheet(field: ReceptiveField, baseline: ReceptiveField | None) -> RgbArray:
    """Draw growth and spectrum on one sheet: ``(h, CHART_PX, 3)`` uint8 RGB."""
    shown = [field] if baseline is None else [field, baseline]
    charts = (field_growth_chart(shown), field_spectrum_chart(shown))
    panels = [Panel(chart.picture, "") for chart in charts]
    return contact_sheet(panels, columns=1, width_px=CHART_PX)


# --- a sweep -------------------------------------------------------------------------------


def sweep_charts(sweep: Sweep) -> tuple[Chart, ...]:
    """Draw probability, energy ratio and, where a model has splits, the receptive field by size."""

    def lines(
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
            x_label="size of the object / size of the network's input",
            y_label=y_label,
            title=title,
            log_x=True,
            invert_x=True,
            y_range=y_range,
            reference=reference,
            reference_label="" if reference is None else "an even spread",
            width_px=panel_px(1, CHART_PX),
        )

    charts = [
        lines(lambda s: s.probability, "probability", "Probability of the class", (0, 1)),
        lines(
            lambda s: s.energy_ratio,
            "evidence on the object / its fraction of the area",
            "How much of the evidence lies on the object",
            reference=1.0,
        ),
    ]
    if any(step.weighted_rf_px is not None for curve in sweep.curves for step in curve.steps):
        what, title = "px of the network's input", "Evidence-weighted receptive field"
        charts.append(lines(lambda s: s.weighted_rf_px, what, title))
    return tuple(charts)


def sweep_sheet(sweep: Sweep) -> RgbArray:
    """Draw all charts of a sweep below one another: ``(h, CHART_PX, 3)`` uint8 RGB."""
    title = f"Zoom sweep: {sweep.label or 'no class'}, canvas {sweep.canvas}"
    panels = [Panel(chart.picture, "") for chart in sweep_charts(sweep)]
    sheet = contact_sheet(panels, columns=1, width_px=CHART_PX)
    return np.concatenate([_heading(title, CHART_PX, 30), sheet])


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
    top, clipped = film_scale(sweep)
    rows: list[RgbArray] = []
    for curve in shown:
        panels = [_frame(step, top, drawing, panel_px(columns, FILM_PX)) for step in curve.steps]
        rows.append(_heading(_film_title(curve), FILM_PX, 22))
        rows.append(contact_sheet(panels, columns=columns, width_px=FILM_PX))
    return with_legend(
        np.concatenate(rows),
        vmax=top,
        unit=SPREAD_UNIT,
        cmap=drawing.colour_map,
        title=f"{sweep.label}: where the evidence lies, size by size",
        clipped=clipped,
    )


def film_scale(sweep: Sweep) -> tuple[float, bool]:
    """Top of the film's colour scale, in units of an even spread, and whether it clips a frame.

    It is the lower quartile of the frames' highest values: evidence on a small object is so
    dense that the highest of all would leave large ones without colour. 0 without evidence.
    """
    highest = [float(step.density().max()) for curve in sweep.curves for step in curve.steps]
    found = [top for top in highest if top > 0]
    top = float(np.quantile(found, 0.25)) if found else 0.0
    return top, top < max(highest, default=0.0)


def _film_title(curve: SweepCurve) -> str:
    if curve.octaves is None:
        return curve.model
    return f"{curve.model}: at least half of its best over {curve.octaves:.1f} octaves"


def _frame(step: SweepStep, top: float, drawing: DrawingOptions, side: int) -> Panel:
    height, width = step.view.shape[:2]
    factor = side / max(width, height)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    # The small view is enlarged before it is drawn on, so that the map stays smooth.
    view = np.asarray(Image.fromarray(step.view).resize(size, Image.Resampling.BICUBIC))
    heat = resize_map(step.density(), *size)
    painted = overlay(view, heat, vmax=top, opacity=drawing.opacity, cmap=drawing.colour_map)
    title = f"{step.factor:.2g}\N{MULTIPLICATION SIGN} ({size_px(step)} px)"
    return Panel(painted, title, f"{step.probability:.1%}, rank {step.rank}")


def _heading(text: str, width_px: int, size_px: int) -> RgbArray:
    """Return bold text on paper of a width: ``(h, width_px, 3)`` uint8 RGB."""
    margin = text_px(width_px)
    block = fit_text(text, width_px - 2 * margin, size_px, bold=True)
    paper = Image.new("RGB", (width_px, block.height + size_px), PAPER)
    block.draw(ImageDraw.Draw(paper), margin, size_px)
    return np.array(paper)
