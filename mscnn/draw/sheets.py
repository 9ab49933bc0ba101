"""Pictures for files: maps on their photo side by side, on one colour scale; all give a figure."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from PIL import Image

from mscnn.draw import figures as look
from mscnn.draw.overlay import DrawingOptions as DrawingOptions
from mscnn.draw.overlay import colour_bar, difference_overlay, heatmap, overlay, with_legend
from mscnn.geometry import Box, FloatMap, ViewGeometry, resize_map
from mscnn.maps.agreement import difference
from mscnn.results import scales
from mscnn.results.explanation import (
    SPREAD_UNIT,
    CamMap,
    ComparedModel,
    Comparison,
    Explanation,
    RgbArray,
    density,
)
from mscnn.results.folders import MapsSummary
from mscnn.results.scales import SPLIT_UNIT, EffectiveField, Sweep, SweepStep

MAX_PX, MIN_PX = 2048, 256
"""Longer side of a drawn photo: a bigger one is shrunk, a smaller one enlarged for its pictures."""
FRAMES_PER_ROW = 12
THEORY_COLOUR = "#e69f00"
SQUARE_COLOURS = {50: "#56b4e9", 90: "#009e73", 99: "#cc79a7"}
STRONGEST = 0.99
"""A few pixels move a unit far more than all others; the colours end where these begin."""
FIELD_UNIT = (
    "how strongly the unit moves when a pixel changes; 1 = the strongest hundredth of the pixels"
)
LOG_FIELD_UNIT = (
    "how strongly the unit moves when a pixel changes; 1 = most. The colours grow with the "
    "logarithm: a tenth of the largest value lies at 0.67, a hundredth at 0.35."
)
MEAN_MAPS = 24
"""So many are drawn at most, but one of each model, method and layer."""
FolderSample = tuple[str, Image.Image, Sequence[tuple[str, CamMap, str]]]
"""A photograph of a folder: its name, itself, and of each map a name, the map and a caption."""
_MARGIN = 0.06
_PANEL_PX = 420
_TALLEST = 1.6  # height of a picture over the width of its column
_WIDE, _WIDEST = 1000, 1300  # of the design (see ``figures``), px; files are written wider


def fitted(photo: Image.Image, size: tuple[int, int]) -> RgbArray:
    """Return the photo at ``(width, height)``: ``(h, w, 3)`` uint8 RGB."""
    if size != photo.size:
        photo = photo.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    return np.array(photo)


def painted(
    photo: Image.Image, geometry: ViewGeometry, heat: FloatMap, top: float, drawing: DrawingOptions
) -> RgbArray:
    """Draw a map over its photo, at the map's own size."""
    size = heat.shape[1], heat.shape[0]
    how: dict[str, Any] = {"opacity": drawing.opacity, "cmap": drawing.colour_map}
    return overlay(fitted(photo, size), heat, vmax=top, crop=geometry.crop_on(size), **how)


def map_pictures(
    explanation: Explanation, cam: CamMap, photo: Image.Image, drawing: DrawingOptions
) -> tuple[RgbArray, RgbArray, float]:
    """Draw a map over its photo and alone, at the photo's size within ``MIN_PX`` and ``MAX_PX``.

    Returns both with their legend, ``(h, w, 3)`` uint8 RGB, and the scale's top in ``SPREAD_UNIT``.
    """
    heat, cmap = density(cam, min(MAX_PX, max(photo.size)), MIN_PX), drawing.colour_map
    vmax = float(heat.max())
    target = next(score for score in explanation.targets if score.index == cam.target)
    chance = f" ({target.probability:.1%})" if np.isfinite(target.probability) else ""
    model = explanation.prediction.model
    title = f"{target.label}{chance}: {model}, {cam.layer}, {cam.method}"
    legend = partial(with_legend, vmax=vmax, unit=SPREAD_UNIT, cmap=cmap, title=title)
    plain = legend(heatmap(heat, vmax=vmax, cmap=cmap), transparent=False)
    return legend(painted(photo, cam.geometry, heat, vmax, drawing)), plain, vmax


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture of a sheet: ``(h, w, 3)`` uint8 RGB, a title above, a caption below."""

    picture: RgbArray = field(repr=False)
    title: str = ""
    caption: str = ""


def picture_sheet(
    panels: Sequence[Panel],
    *,
    columns: int,
    title: str,
    width: int,
    bars: Sequence[dict[str, Any]],
    spare_px: float = 0,
) -> tuple[Figure, list[Axes]]:
    """Put pictures side by side in reading order, with their colour scales below.

    Each of ``bars`` holds arguments of ``colour_bar``. Returned are the figure, which has room for
    ``spare_px`` more, and the axes of the pictures. Raises ``ValueError``: no panels.
    """
    if not panels:
        raise ValueError("a sheet needs at least one panel")
    column = (width - 16) / columns - 8
    aspect = min(max(p.picture.shape[0] / p.picture.shape[1] for p in panels), _TALLEST)
    texts = [
        (look.wrapped(p.title, column, bold=True), look.wrapped(p.caption, column)) for p in panels
    ]
    rows = [texts[first : first + columns] for first in range(0, len(texts), columns)]
    words = sum(max(look.lines(pair[n]) for pair in row) for row in rows for n in (0, 1))
    height = len(rows) * (aspect * column + 12) + 1.4 * look.FONT * words + spare_px
    for bar in bars:
        unit = look.lines(look.wrapped(bar["unit"], 0.9 * width, look.SMALL))
        height += (3.9 + 1.35 * unit) * look.FONT
    figure = look.new_figure(width, height, title)
    axes = figure.subplots(len(rows), columns, squeeze=False).ravel().tolist()
    for axis in axes:
        axis.set_axis_off()
    for axis, panel, (heading, caption) in zip(axes, panels, texts, strict=False):
        axis.imshow(panel.picture, interpolation="antialiased")
        own = {"fontsize": look.FONT, "fontweight": "bold", "color": look.INK}
        look.say(axis.set_title("", loc="left", pad=4, **own), heading)
        own = {"fontsize": look.SMALL, "linespacing": 1.15, "color": look.SOFT}
        look.say(axis.text(0, -0.02, "", transform=axis.transAxes, va="top", **own), caption)
    room: dict[str, Any] = {"fraction": 0.03, "aspect": 60, "pad": 0.02, "font_px": look.SMALL}
    for bar in bars:
        colour_bar(figure, ax=axes, **room, **bar)
    return figure, axes


def comparison_sheet(comparison: Comparison, photo: Image.Image, drawing: DrawingOptions) -> Figure:
    """Draw the photo, a map per model on one colour scale, and the difference of two maps."""
    columns = 2 if len(comparison.columns) == 2 else 3
    side, top = 2 * _WIDE // columns, comparison.scale_max
    width_px, height_px = (max(1, round(edge * side / max(photo.size))) for edge in photo.size)
    plain = fitted(photo, (width_px, height_px))
    panels = [Panel(plain, "Photo")]
    scale = {"vmax": top, "unit": SPREAD_UNIT, "cmap": drawing.colour_map, "clipped": False}
    bars: list[dict[str, Any]] = [scale]
    for column in comparison.columns:
        cam, name = column.cam, look.model_title(column.model)
        picture, caption = plain, column.note or "no map"
        if cam is not None:
            heat = density(cam, side, side)  # more finely drawn than what the top was found in
            bars[0]["clipped"] |= bool(heat.max() > top)
            picture = painted(photo, cam.geometry, heat, top, drawing)
            caption = _compared_caption(column)
        panels.append(Panel(picture, name, caption))
    if len(comparison.columns) == 2:
        (first, one), (second, other) = ((c.model, c.cam) for c in comparison.columns)
        if one is not None and other is not None:
            apart = difference(one, other, side, side)
            end = float(np.abs(apart).max())
            ground = fitted(photo, (apart.shape[1], apart.shape[0]))
            more, less = look.model_title(second), look.model_title(first)
            caption = f"red: more in {more}; blue: more in {less}"
            panels.append(Panel(difference_overlay(ground, apart, vmax=end), "Difference", caption))
            bars.append({"vmax": end, "unit": f"difference, {SPREAD_UNIT}", "signed": True})
    title = f"Class {comparison.label}, layer {comparison.layer}"
    return picture_sheet(panels, columns=columns, title=title, width=_WIDE, bars=bars)[0]


def _compared_caption(column: ComparedModel) -> str:
    if column.explanation is None:
        return column.note
    best, target = column.explanation.prediction.top[0], column.explanation.targets[0]
    caption = f"{target.label} {target.probability:.1%}"
    if best.index != target.index:
        caption += f"; its top-1 prediction is {best.label} {best.probability:.1%}"
    return caption


def contact_sheet(samples: Sequence[FolderSample], title: str, drawing: DrawingOptions) -> Figure:
    """Draw photographs with their maps on one colour scale, clipped at the median of their tops.

    Raises ``ValueError``: no photographs.
    """
    count = max((len(maps) for _, _, maps in samples), default=1)
    columns = count * (6 // count) or 6  # the maps of a photograph in one row
    shown = [(name, photo, *one) for name, photo, maps in samples for one in maps]
    side = 2 * _WIDEST // columns
    heats = [density(cam, side, side) for *_, cam, _ in shown]
    tops = [float(heat.max()) for heat in heats]
    top = float(np.median([top for top in tops if top > 0] or [0.0]))
    panels = []
    for (name, photo, of, cam, said), heat in zip(shown, heats, strict=True):
        words = (look.model_title(of), f"{name}: {said}") if count > 1 else (name, said)
        panels.append(Panel(painted(photo, cam.geometry, heat, top, drawing), *words))
    bar: dict[str, Any] = {"vmax": top, "unit": SPREAD_UNIT, "cmap": drawing.colour_map}
    bar["clipped"] = max(tops, default=0.0) > top
    return picture_sheet(panels, columns=columns, title=title, width=_WIDEST, bars=[bar])[0]


def mean_maps_sheet(maps: Sequence[MapsSummary], title: str, drawing: DrawingOptions) -> Figure:
    """Draw mean maps, of each model, method and layer those of the most frequent classes."""
    found: list[tuple[FloatMap, str, str]] = []
    for one in maps:
        often = sorted(one.classes, key=lambda mean: -mean.photos)
        for mean in often[: max(MEAN_MAPS // len(maps), 1)]:
            height, width = mean.raw.shape  # as what the network sees, which need not be square
            scale = _WIDE // 3 / max(height, width)
            size = (max(1, round(scale * width)), max(1, round(scale * height)))
            heat = resize_map(np.maximum(mean.raw, 0), *size)
            said = f"{mean.photos} photos; {one.model}, {one.method}, {one.layer}"
            found.append((heat / (float(heat.mean()) or 1.0), mean.label, said))
    top, cmap = max((float(heat.max()) for heat, *_ in found), default=0.0), drawing.colour_map
    panels = [Panel(heatmap(heat, vmax=top, cmap=cmap), *words) for heat, *words in found]
    bar = {"vmax": top, "unit": SPREAD_UNIT, "cmap": cmap, "transparent": False}
    return picture_sheet(panels, columns=6, title=title, width=_WIDE, bars=[bar])[0]


def split_strip(
    report: scales.ScaleReport,
    block: scales.BlockScales,
    photo: Image.Image,
    drawing: DrawingOptions,
) -> Figure:
    """Draw the maps of a block's splits on one colour scale, with what each split can see."""
    heats, top = block.heats(block.geometry.drawn_size(_PANEL_PX, _PANEL_PX))
    panels = []
    for heat, split in zip(heats, block.splits, strict=True):
        caption = f"{split.share:.0%} of the evidence"
        if split.rf_max_px is not None:
            least = "" if split.rf_min_px in (None, split.rf_max_px) else f"{split.rf_min_px} to "
            caption += f"; sees {least}{split.rf_max_px} px"
        way = " \N{RIGHTWARDS ARROW} ".join(split.path) or "as it comes"
        caption += "\n" + re.sub(r"(?<=[0-9])x(?=[0-9])", "\N{MULTIPLICATION SIGN}", way)
        picture = painted(photo, block.geometry, heat, top, drawing)
        panels.append(Panel(picture, f"Split {split.index}", caption))
    count = len(panels)
    columns = count if count <= 4 else 3 if count <= 6 else 4
    model = look.model_title(report.prediction.model)
    title = f"{model}, inside {look.place(block.block)} ({block.block}): {report.target.label}"
    bar = {"vmax": top, "unit": SPLIT_UNIT, "cmap": drawing.colour_map}
    return picture_sheet(panels, columns=columns, title=title, width=760, bars=[bar])[0]


def without_peaks(gradient: FloatMap, *, log: bool) -> FloatMap:
    """Cut a gradient off at the quantile ``STRONGEST`` of what is above 0, but for a ``log``."""
    if log or not gradient.any():
        return gradient
    strong = np.quantile(gradient[gradient > 0], STRONGEST)
    return np.minimum(gradient, strong).astype(np.float32)


def field_heat(gradient: FloatMap, *, log: bool) -> FloatMap:
    """Scale a ``(h, w)`` float32 gradient to 0..1 of its own maximum; below 0 counts as 0.

    ``log``: ``log10(1000 g / max + 1) / 3`` in place of ``g / max`` (RepLKNet's measure,
    arXiv:2203.06717, made independent of the gradient's scale). All 0 where nothing is above 0.
    Raises ``ValueError``: there is NaN or infinity.
    """
    if not np.isfinite(gradient).all():
        raise ValueError("a gradient must be finite; there is NaN or infinity")
    top = float(gradient.max(initial=0.0))
    if top <= 0:
        return np.zeros(gradient.shape, np.float32)
    # In float64: dividing by a tiny maximum in float32 could overflow on the way.
    fraction = np.clip(gradient.astype(np.float64) / top, 0.0, 1.0)
    if log:
        # log10(1001) is a little more than 3.
        fraction = np.minimum(np.log10(1000.0 * fraction + 1) / 3, 1.0)
    return fraction.astype(np.float32)


def square_box(one: EffectiveField, square: scales.Square) -> Box:
    """Return where a square lies, px of the network's input: centred on the unit's pixel."""
    height, width = one.gradient.shape
    # The unit's own pixel, or the nearest one where padding puts the unit outside.
    column = min(max(math.floor(one.centre[0]), 0), width - 1)
    row = min(max(math.floor(one.centre[1]), 0), height - 1)
    reach = square.side_px // 2
    return column - reach, row - reach, column + reach + 1, row + reach + 1


def effective_field_sheet(
    fields: Sequence[EffectiveField], photo: Image.Image, drawing: DrawingOptions, *, log: bool
) -> Figure:
    """Draw how strongly units depend on each position of the photo, each on a scale of its own.

    Shown are the glow of the gradient, the theoretical field and the squares that hold 50, 90 and
    99 % of the gradient (all may reach past the photo), and a cross at the unit. ``log`` draws and
    measures on ``log10(gradient + 1)``; see ``field_heat``. Raises ``ValueError``: no fields, or a
    gradient that is not finite.
    """
    panels = []
    for one in fields:
        size = one.geometry.drawn_size(2 * _PANEL_PX, _PANEL_PX)
        gradient = one.geometry.project(without_peaks(one.gradient, log=log), size)
        heat = field_heat(gradient, log=log)
        split = "" if one.split is None else f", split {one.split}"
        weights = "trained" if one.trained else "random"
        heading = f"{look.place(one.layer)}{split}, {weights} weights"
        picture = painted(photo, one.geometry, heat, 1.0, drawing)
        panels.append(Panel(picture, heading, _field_caption(one, log=log)))
    title = f"Effective receptive field in {look.model_title(fields[0].model)}" if fields else ""
    top = 1.0 if any(one.gradient.any() for one in fields) else 0.0
    unit = LOG_FIELD_UNIT if log else FIELD_UNIT
    bar = {"vmax": top, "unit": unit, "cmap": drawing.colour_map}
    figure, axes = picture_sheet(
        panels, columns=min(len(panels), 3), title=title, width=look.WIDTH, bars=[bar],
        spare_px=4 * look.FONT,
    )  # fmt: skip
    used: dict[str, Patch] = {}
    for axis, one in zip(axes, fields, strict=False):
        used |= _draw_field(axis, one, log=log)
    look.legend(figure, list(used.values()), list(used), ncols=2, columnspacing=1.2)
    return figure


def _field_caption(one: EffectiveField, *, log: bool) -> str:
    squares = one.log_squares if log else one.squares
    if not squares:
        return "switched off here: no pixel moves it"
    parts = [f"{s.share:.0%} of the gradient in {s.side_px} px" for s in squares]
    if one.theoretical is not None:
        (left, top, right, bottom), (width, height) = one.theoretical, one.geometry.view
        past = min(left, top) < 0 or right > width or bottom > height
        words = " (reaches past what the network saw)" if past else ""
        parts.insert(0, f"can see {right - left:.0f} px{words}")
    return "; ".join(parts)


def _draw_field(axis: Axes, one: EffectiveField, *, log: bool) -> dict[str, Patch]:
    """Draw the boxes and the cross in px of the drawn photo; return the boxes for the key."""
    left, right = axis.get_xlim()
    bottom, top = axis.get_ylim()
    scale = (right - left) / one.geometry.photo[0]
    # Paper around the photo, on which a box that reaches past it can be seen to do so.
    margin = _MARGIN * max(right - left, bottom - top)
    axis.set(xlim=(left - margin, right + margin), ylim=(bottom + margin, top - margin))

    def at(x: float, y: float) -> tuple[float, float]:
        on_x, on_y = one.geometry.to_photo(x, y)
        return on_x * scale - 0.5, on_y * scale - 0.5

    boxes: list[tuple[str, Box, str]] = []
    if one.theoretical is not None:
        boxes.append(("theoretical field", one.theoretical, THEORY_COLOUR))
    for square in one.log_squares if log else one.squares:
        percent = round(100 * square.share)
        colour = SQUARE_COLOURS.get(percent, THEORY_COLOUR)
        boxes.append((f"{percent} % of the gradient", square_box(one, square), colour))
    for _, box, colour in boxes:
        (x0, y0), (x1, y1) = at(*box[:2]), at(*box[2:])
        for line, edge in ((3.4, look.INK), (2.0, colour)):
            own: dict[str, Any] = {"fill": False, "edgecolor": edge, "linewidth": line}
            axis.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, **own))
    for size, colour in ((4.0, "white"), (1.6, look.INK)):
        axis.plot(*at(*one.centre), "+", color=colour, markersize=12, markeredgewidth=size)
    return {
        words: Patch(facecolor="none", edgecolor=colour, linewidth=2) for words, _, colour in boxes
    }


def film_scale(sweep: Sweep) -> tuple[float, bool]:
    """Top of the film's colour scale, in units of an even spread, and whether it clips a frame.

    It is the lower quartile of the frames' highest values: evidence on a small object is so
    dense that the highest of all would leave large ones without colour. 0 without evidence.
    """
    highest = [float(step.density().max()) for curve in sweep.curves for step in curve.steps]
    found = [top for top in highest if top > 0]
    top = float(np.quantile(found, 0.25)) if found else 0.0
    return top, top < max(highest, default=0.0)


def film_strip(sweep: Sweep, drawing: DrawingOptions) -> Figure | None:
    """Draw each size as the network saw it with its map, all on one colour scale.

    One row per model, the largest object first; None where no size was done.
    """
    shown = [curve for curve in sweep.curves if curve.steps]
    if not shown:
        return None
    # A short sweep must not blow a few frames up to the width of twelve.
    columns = max(min(FRAMES_PER_ROW, max(len(curve.steps) for curve in shown)), 4)
    top, clipped = film_scale(sweep)
    blank = Panel(np.full((1, 1, 3), 255, np.uint8))
    panels: list[Panel] = []
    starts: list[tuple[int, str]] = []
    for curve in shown:
        words = look.model_title(curve.model)
        if curve.octaves is not None:
            words += f": at least half of its best over {curve.octaves:.1f} octaves"
        starts.append((len(panels), words))
        panels += [_frame(step, top, drawing, 2 * _WIDEST // columns) for step in curve.steps]
        panels += [blank] * (-len(panels) % columns)
    title = f"{sweep.label}: where the evidence lies, size by size"
    bar = {"vmax": top, "unit": SPREAD_UNIT, "cmap": drawing.colour_map, "clipped": clipped}
    figure, axes = picture_sheet(panels, columns=columns, title=title, width=_WIDEST, bars=[bar])
    above = {"xytext": (0, 1.6 * look.FONT), "color": look.INK, "fontweight": "bold"}
    for first, words in starts:
        heading = look.note(axes[first], words, (0, 1), xycoords="axes fraction", **above)
        heading.set_in_layout(False)  # it is wider than its column
    return figure


def _frame(step: SweepStep, top: float, drawing: DrawingOptions, side: int) -> Panel:
    height, width = step.view.shape[:2]
    factor = side / max(width, height)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    # The small view is enlarged before it is drawn on, so that the map stays smooth.
    view = np.asarray(Image.fromarray(step.view).resize(size, Image.Resampling.BICUBIC))
    heat = resize_map(step.density(), *size)
    painted = overlay(view, heat, vmax=top, opacity=drawing.opacity, cmap=drawing.colour_map)
    # The line above is for the model's name.
    title = f"\n{step.factor:.3g}\N{MULTIPLICATION SIGN} ({scales.size_px(step)} px)"
    return Panel(painted, title, f"{step.probability:.1%}, rank {step.rank}")
