"""The film strip of the Zoom tab: what each network saw, size by size, with its map; no gradio."""

from __future__ import annotations

import html

import numpy as np
from PIL import Image

from mscnn.draw.overlay import heatmap, overlay
from mscnn.draw.pictures import film_scale
from mscnn.draw.text import number_text
from mscnn.geometry import resize_map
from mscnn.page.compare_view import data_url, title
from mscnn.results.explanation import SPREAD_UNIT
from mscnn.results.scales import Sweep, SweepCurve, SweepStep

FRAME_PX = 176
EMPTY = '<p class="empty">Press Sweep; the maps of every size appear here.</p>'


def film_html(sweep: Sweep, opacity: float, cmap: str) -> str:
    """Rows of small pictures, one row per model, all on one colour scale; text is escaped."""
    shown = [curve for curve in sweep.curves if curve.steps]
    if not shown:
        return EMPTY
    top, _ = film_scale(sweep)
    rows = "".join(_row(curve, top, opacity, cmap) for curve in shown)
    return f'<div class="film">{rows}</div>{_scale(top, cmap)}'


def _row(curve: SweepCurve, top: float, opacity: float, cmap: str) -> str:
    frames = "".join(_frame(step, curve, top, opacity, cmap) for step in curve.steps)
    return f'<h4>{html.escape(title(curve.model))}</h4><div class="frames">{frames}</div>'


def _frame(step: SweepStep, curve: SweepCurve, top: float, opacity: float, cmap: str) -> str:
    height, width = step.view.shape[:2]
    scale = FRAME_PX / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    view = np.asarray(Image.fromarray(step.view).resize(size, Image.Resampling.BICUBIC))
    heat = resize_map(step.density(), *size)
    drawn = overlay(view, heat, vmax=top, opacity=opacity, cmap=cmap)
    alt = (
        f"The object at {step.factor:.0%} of the view with the map of {title(curve.model)} for "
        f"{curve.label}: {step.probability:.1%}, rank {step.rank}."
    )
    mark = " first" if step.rank == 1 else ""
    return (
        f'<figure class="frame{mark}"><img alt="{html.escape(alt, quote=True)}" '
        f'src="{data_url(drawn)}"><figcaption>{step.factor:.0%}'
        f"<br><strong>{step.probability:.1%}</strong><br>rank {step.rank}</figcaption></figure>"
    )


def _scale(top: float, cmap: str) -> str:
    """The colour bar of all maps above, and what the accent means."""
    note = "<span>An accented frame: the class is the network's first answer.</span>"
    if top <= 0:
        return f'<div class="scale-legend"><span>No map holds evidence.</span>{note}</div>'
    colours = heatmap(np.linspace(0, 1, 9, dtype=np.float32)[None], vmax=1, cmap=cmap)[0]
    stops = ", ".join(f"rgb({r} {g} {b})" for r, g, b in colours.tolist())
    return (
        '<div class="scale-legend"><span>0</span>'
        f'<span class="ramp" style="background:linear-gradient(to right, {stops})"></span>'
        f"<span>{number_text(top)}</span><span>{html.escape(SPREAD_UNIT)}</span>{note}</div>"
    )
