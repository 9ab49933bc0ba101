"""Pictures for files: maps on their photo side by side, on one colour scale; all return a figure.

Keyword ``width`` is the design's width in px (see ``figures``); files are written wider.
"""

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
from mscnn.draw.overlay import (
    COLOUR_MAPS,
    CropBox,
    colour_bar,
    difference_overlay,
    heatmap,
    overlay,
    with_legend,
)
from mscnn.errors import OptionError
from mscnn.geometry import Box, FloatMap, resize_map
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
from mscnn.results.scales import (
    SPLIT_UNIT,
    BlockScales,
    EffectiveField,
    ScaleReport,
    SplitEvidence,
    Square,
    Sweep,
    SweepCurve,
    SweepStep,
    size_px,
)

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
_MARGIN = 0.06
_PANEL_PX = 420
_TALLEST = 1.6  # height of a picture over the width of its column


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


def fitted(photo: Image.Image, size: tuple[int, int]) -> RgbArray:
    """Return the photo at ``(width, height)``: ``(h, w, 3)`` uint8 RGB."""
    if size != photo.size:
        photo = photo.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    return np.array(photo)


def drawn(
    photo: Image.Image, cam: CamMap, max_px: int, min_px: int = 1
) -> tuple[RgbArray, CropBox]:
    """Return the photo at exactly the size its map is drawn at, and the crop on it."""
    size = cam.geometry.drawn_size(max_px, min_px)
    return fitted(photo, size), cam.geometry.crop_on(size)


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
    pixels, crop = drawn(photo, cam, max_px, MIN_PX)
    painted = overlay(pixels, heat, vmax=vmax, opacity=drawing.opacity, cmap=cmap, crop=crop)
    target = next(score for score in explanation.targets if score.index == cam.target)
    chance = f" ({target.probability:.1%})" if np.isfinite(target.probability) else ""
    model = explanation.prediction.model
    title = f"{target.label}{chance}: {model}, {cam.layer}, {cam.method}"
    legend = partial(with_legend, vmax=vmax, unit=SPREAD_UNIT, cmap=cmap, title=title)
    plain = heatmap(heat, vmax=vmax, cmap=cmap)
    return legend(painted), legend(plain, transparent=False), vmax


# --- a grid of pictures ----------------------------------------------------------------------


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
    title: str = "",
    width: int = 760,
    units: Sequence[str] = (),
    spare_px: float = 0,
) -> tuple[Figure, list[Axes]]:
    """Put pictures side by side, row by row.

    Args:
        panels: at least one, in reading order.
        columns: pictures per row.
        title: above all; "" for none.
        width: of the design, px.
        units: of the colour scales for which room is left.
        spare_px: more room.

    Returns:
        The figure, and the axes of the pictures.

    Raises:
        ValueError: no panels, or fewer than one column.
    """
    if not panels or columns < 1:
        raise ValueError("a sheet needs at least one panel and one column")
    column = (width - 16) / columns - 8
    aspect = min(max(p.picture.shape[0] / p.picture.shape[1] for p in panels), _TALLEST)
    texts = [
        (look.wrapped(p.title, column, bold=True), look.wrapped(p.caption, column)) for p in panels
    ]
    rows = [texts[first : first + columns] for first in range(0, len(texts), columns)]
    above, below = ([max(_lines(pair[n]) for pair in row) for row in rows] for n in (0, 1))
    height = sum(
        aspect * column + 1.4 * look.FONT * (a + b) + 12 for a, b in zip(above, below, strict=True)
    )
    scales = sum(
        (3.9 + 1.35 * _lines(look.wrapped(unit, 0.9 * width, look.SMALL))) * look.FONT
        for unit in units
    )
    figure = look.new_figure(width, height + scales + spare_px, title)
    axes = figure.subplots(len(rows), columns, squeeze=False).ravel().tolist()
    for axis in axes:
        axis.set_axis_off()
    for axis, panel, (heading, caption) in zip(axes, panels, texts, strict=False):
        axis.imshow(panel.picture, interpolation="antialiased")
        words = axis.set_title(
            "", loc="left", fontsize=look.FONT, fontweight="bold", color=look.INK, pad=4
        )
        look.say(words, heading)
        words = axis.text(0, -0.02, "", transform=axis.transAxes, va="top", color=look.SOFT)
        words.set(fontsize=look.SMALL, linespacing=1.15)
        look.say(words, caption)
    return figure, axes


def _lines(text: str) -> int:
    return text.count("\n") + 1 if text else 0


def _add_bar(figure: Figure, axes: Sequence[Axes], **options: Any) -> None:
    room: dict[str, Any] = {"fraction": 0.03, "aspect": 60, "pad": 0.02}
    colour_bar(figure, ax=list(axes), font_px=look.SMALL, **room, **options)


# --- a comparison ----------------------------------------------------------------------------


def comparison_sheet(
    comparison: Comparison, photo: Image.Image, drawing: DrawingOptions, *, width: int = 1000
) -> Figure:
    """Draw the photo, a map per model on one colour scale, and the difference of two maps."""
    columns = 2 if len(comparison.columns) == 2 else 3
    side = 2 * width // columns
    size = tuple(max(1, round(edge * side / max(photo.size))) for edge in photo.size)
    plain = fitted(photo, (size[0], size[1]))
    panels = [Panel(plain, "Photo")]
    for column in comparison.columns:
        if column.cam is None:
            panels.append(Panel(plain, look.model_title(column.model), column.note or "no map"))
            continue
        pixels, crop = drawn(photo, column.cam, side, side)
        painted = overlay(
            pixels, density(column.cam, side, side), vmax=comparison.scale_max,
            opacity=drawing.opacity, cmap=drawing.colour_map, crop=crop,
        )  # fmt: skip
        panels.append(Panel(painted, look.model_title(column.model), _compared_caption(column)))
    apart, top, units = None, 0.0, [SPREAD_UNIT]
    maps = [(look.model_title(column.model), column.cam) for column in comparison.columns]
    (first, one), (second, other) = maps if len(maps) == 2 else [("", None)] * 2
    if one is not None and other is not None:
        apart = difference(one, other, side, side)
        top = float(np.abs(apart).max())
        painted = difference_overlay(drawn(photo, one, side, side)[0], apart, vmax=top)
        words = f"red: more in {second}; blue: more in {first}"
        panels.append(Panel(painted, "Difference", words))
        units.append(f"difference, {SPREAD_UNIT}")
    title = f"Class {comparison.label}, layer {comparison.layer}"
    figure, axes = picture_sheet(panels, columns=columns, title=title, width=width, units=units)
    _add_bar(figure, axes, vmax=comparison.scale_max, unit=units[0], cmap=drawing.colour_map)
    if apart is not None:
        _add_bar(figure, axes, vmax=top, unit=units[1], signed=True)
    return figure


def _compared_caption(column: ComparedModel) -> str:
    if column.explanation is None:
        return column.note
    best, target = column.explanation.prediction.top[0], column.explanation.targets[0]
    caption = f"{target.label} {target.probability:.1%}"
    if best.index != target.index:
        caption += f"; its top-1 prediction is {best.label} {best.probability:.1%}"
    return caption


# --- splits ----------------------------------------------------------------------------------


split_heats = BlockScales.heats


def split_strip(
    report: ScaleReport,
    block: BlockScales,
    photo: Image.Image,
    drawing: DrawingOptions,
    *,
    width: int = 760,
) -> Figure:
    """Draw the maps of a block's splits on one colour scale, with what each split can see."""
    size = block.geometry.drawn_size(_PANEL_PX, _PANEL_PX)
    heats, top = split_heats(block, size)
    pixels, crop = fitted(photo, size), block.geometry.crop_on(size)
    cmap = drawing.colour_map
    panels = [
        Panel(
            overlay(pixels, heat, vmax=top, opacity=drawing.opacity, cmap=cmap, crop=crop),
            f"Split {split.index}",
            _split_caption(split),
        )
        for heat, split in zip(heats, block.splits, strict=True)
    ]
    count = len(panels)
    model = look.model_title(report.prediction.model)
    title = f"{model}, inside {look.place(block.block)} ({block.block}): {report.target.label}"
    figure, axes = picture_sheet(
        panels, columns=count if count <= 4 else 3 if count <= 6 else 4, title=title, width=width,
        units=[SPLIT_UNIT],
    )  # fmt: skip
    _add_bar(figure, axes, vmax=top, unit=SPLIT_UNIT, cmap=cmap)
    return figure


def _split_caption(split: SplitEvidence) -> str:
    words = f"{split.share:.0%} of the evidence"
    if split.rf_max_px is not None:
        least = "" if split.rf_min_px in (None, split.rf_max_px) else f"{split.rf_min_px} to "
        words += f"; sees {least}{split.rf_max_px} px"
    way = " \N{RIGHTWARDS ARROW} ".join(split.path) or "as it comes"
    return f"{words}\n{re.sub(r'(?<=[0-9])x(?=[0-9])', chr(0xD7), way)}"


# --- effective fields ------------------------------------------------------------------------


def field_heat(gradient: FloatMap, *, log: bool) -> FloatMap:
    """Scale a gradient to 0..1 of its own maximum.

    Args:
        gradient: ``(h, w)`` float32; values below 0 count as 0.
        log: ``log10(1000 g / max + 1) / 3`` in place of ``g / max`` (RepLKNet's measure,
            arXiv:2203.06717, made independent of the gradient's scale).

    Returns:
        ``(h, w)`` float32; all 0 where ``gradient`` has nothing above 0.

    Raises:
        ValueError: there is NaN or infinity.
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


def field_on_photo(one: EffectiveField, size: tuple[int, int], *, log: bool) -> FloatMap:
    """Return an effective field on a drawing of the photo, 0..1: ``(height, width)`` float32."""
    gradient = one.gradient
    if not log and gradient.any():
        top = np.quantile(gradient[gradient > 0], STRONGEST)
        gradient = np.minimum(gradient, top).astype(np.float32)
    return field_heat(one.geometry.project(gradient, size), log=log)


def square_box(one: EffectiveField, square: Square) -> Box:
    """Return where a square lies, px of the network's input: centred on the unit's pixel."""
    height, width = one.gradient.shape
    # The unit's own pixel, or the nearest one where padding puts the unit outside.
    column = min(max(math.floor(one.centre[0]), 0), width - 1)
    row = min(max(math.floor(one.centre[1]), 0), height - 1)
    reach = square.side_px // 2
    return column - reach, row - reach, column + reach + 1, row + reach + 1


def effective_field_sheet(
    fields: Sequence[EffectiveField],
    photo: Image.Image,
    *,
    log: bool = False,
    opacity: float = 0.75,
    cmap: str = "viridis",
    width: int = look.WIDTH,
) -> Figure:
    """Draw how strongly units depend on each position of the photo, each on a scale of its own.

    Shown are the glow of the gradient, the theoretical field and the squares that hold 50, 90 and
    99 % of the gradient (all may reach past the photo), and a cross at the unit.

    Args:
        fields: one or more units of the same photo.
        photo: the whole upright photo.
        log: draw and measure on ``log10(gradient + 1)``; see ``field_heat``.
        opacity: of the top colour, 0..1.
        cmap: one of ``mscnn.draw.overlay.COLOUR_MAPS``.
        width: of the design, px.

    Raises:
        OptionError: ``opacity`` or ``cmap`` is not accepted.
        ValueError: no fields, or a gradient that is not finite.
    """
    panels = []
    for one in fields:
        size = one.geometry.drawn_size(2 * _PANEL_PX, _PANEL_PX)
        heat = field_on_photo(one, size, log=log)
        crop = one.geometry.crop_on(size)
        painted = overlay(
            fitted(photo, size), heat, vmax=1.0, opacity=opacity, cmap=cmap, crop=crop
        )  # fmt: skip
        unit = (
            look.place(one.layer)
            if one.split is None
            else f"{look.place(one.layer)}, split {one.split}"
        )
        weights = "trained" if one.trained else "random"
        panels.append(Panel(painted, f"{unit}, {weights} weights", _field_caption(one, log=log)))
    title = f"Effective receptive field in {look.model_title(fields[0].model)}" if fields else ""
    unit = LOG_FIELD_UNIT if log else FIELD_UNIT
    figure, axes = picture_sheet(
        panels, columns=min(len(panels), 3), title=title, width=width, units=[unit],
        spare_px=4 * look.FONT,
    )  # fmt: skip
    used: dict[str, Patch] = {}
    for axis, one in zip(axes, fields, strict=False):
        used |= _draw_field(axis, one, log=log)
    look.legend(figure, list(used.values()), list(used), ncols=2, columnspacing=1.2)
    any_heat = any(one.gradient.any() for one in fields)
    _add_bar(figure, axes, vmax=1.0 if any_heat else 0.0, unit=unit, cmap=cmap)
    return figure


def _field_caption(one: EffectiveField, *, log: bool) -> str:
    squares = one.log_squares if log else one.squares
    parts = [f"{s.share:.0%} of the gradient in {s.side_px} px" for s in squares]
    if one.theoretical is not None:
        left, _, right, _ = one.theoretical
        parts.insert(0, f"can see {right - left:.0f} px")
        view, (width, height) = one.theoretical, one.geometry.view
        if min(view[:2]) < 0 or view[2] > width or view[3] > height:
            parts[0] += " (reaches past what the network saw)"
    return "; ".join(parts) if squares else "switched off here: no pixel moves it"


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
    key: dict[str, Patch] = {}
    for words, box, colour in boxes:
        (x0, y0), (x1, y1) = at(box[0], box[1]), at(box[2], box[3])
        for line, edge in ((3.4, look.INK), (2.0, colour)):
            axis.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=edge,
                                     linewidth=line, clip_on=True))  # fmt: skip
        key[words] = Patch(facecolor="none", edgecolor=colour, linewidth=2)
    for size, colour in ((4.0, "white"), (1.6, look.INK)):
        axis.plot(*at(*one.centre), "+", color=colour, markersize=12, markeredgewidth=size)
    return key


# --- a sweep's film --------------------------------------------------------------------------


view_density = SweepStep.density


def film_scale(sweep: Sweep) -> tuple[float, bool]:
    """Top of the film's colour scale, in units of an even spread, and whether it clips a frame.

    It is the lower quartile of the frames' highest values: evidence on a small object is so
    dense that the highest of all would leave large ones without colour. 0 without evidence.
    """
    highest = [float(view_density(step).max()) for curve in sweep.curves for step in curve.steps]
    found = [top for top in highest if top > 0]
    top = float(np.quantile(found, 0.25)) if found else 0.0
    return top, top < max(highest, default=0.0)


def film_strip(sweep: Sweep, drawing: DrawingOptions, *, width: int = 1300) -> Figure | None:
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
        starts.append((len(panels), _film_title(curve)))
        panels += [_frame(step, top, drawing, 2 * width // columns) for step in curve.steps]
        panels += [blank] * (-len(panels) % columns)
    title = f"{sweep.label}: where the evidence lies, size by size"
    figure, axes = picture_sheet(
        panels, columns=columns, title=title, width=width, units=[SPREAD_UNIT]
    )  # fmt: skip
    for first, words in starts:
        heading = look.note(
            axes[first], words, (0, 1), xycoords="axes fraction", color=look.INK, fontweight="bold",
            xytext=(0, 1.6 * look.FONT),
        )  # fmt: skip
        heading.set_in_layout(False)  # it is wider than its column
    _add_bar(figure, axes, vmax=top, unit=SPREAD_UNIT, cmap=drawing.colour_map, clipped=clipped)
    return figure


def _film_title(curve: SweepCurve) -> str:
    name = look.model_title(curve.model)
    if curve.octaves is None:
        return name
    return f"{name}: at least half of its best over {curve.octaves:.1f} octaves"


def _frame(step: SweepStep, top: float, drawing: DrawingOptions, side: int) -> Panel:
    height, width = step.view.shape[:2]
    factor = side / max(width, height)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    # The small view is enlarged before it is drawn on, so that the map stays smooth.
    view = np.asarray(Image.fromarray(step.view).resize(size, Image.Resampling.BICUBIC))
    heat = resize_map(view_density(step), *size)
    painted = overlay(view, heat, vmax=top, opacity=drawing.opacity, cmap=drawing.colour_map)
    # The line above is for the model's name.
    title = f"\n{step.factor:.2g}\N{MULTIPLICATION SIGN} ({size_px(step)} px)"
    return Panel(painted, title, f"{step.probability:.1%}, rank {step.rank}")
