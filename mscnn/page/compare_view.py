"""What the Compare tab draws: columns as HTML, table rows, the difference; no gradio."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mscnn.draw.overlay import difference_overlay, overlay, with_legend
from mscnn.maps.agreement import density, difference
from mscnn.models import registry
from mscnn.page.handlers import UNIT
from mscnn.results.explanation import ComparedModel, Comparison, RgbArray

COLUMN_PX = 420
"""Longer side of the pictures in the columns."""


def title(model: str) -> str:
    """A model's name as people say it; of an owner's folder the last part of its path."""
    spec = registry.find(model)
    return spec.title if spec is not None else Path(model).name or model


def row(column: ComparedModel) -> list[Any]:
    """One line of the table; unknown values are empty."""
    facts, explanation = column.facts, column.explanation
    top = explanation.prediction.top[0] if explanation else None
    target = explanation.targets[0] if explanation and explanation.targets else None
    return [
        title(column.model),
        rounded(facts.params / 1e6, 2) if facts else None,
        rounded(facts.gmacs) if facts else None,
        facts.input_px if facts else None,
        rounded(100 * facts.top1, 2) if facts and facts.top1 is not None else None,
        rounded(column.latency_ms, 1),
        top.label if top else None,
        rounded(100 * top.probability, 1) if top else None,
        rounded(100 * target.probability, 1) if target else None,
    ]


def rounded(value: float | None, digits: int = 3) -> float | None:
    """A number for a table; None stays empty."""
    return None if value is None else round(value, digits)


def difference_picture(comparison: Comparison, small: RgbArray) -> RgbArray | None:
    """The difference of the first two maps on the grey photo; None where there are not two."""
    present = [(c.model, c.cam) for c in comparison.columns if c.cam is not None]
    if len(present) < 2:
        return None
    (first, a), (second, b) = present[:2]
    diff = difference(a, b, COLUMN_PX, COLUMN_PX)
    vmax = float(np.abs(diff).max()) or 1.0
    unit = f"left: more evidence in {title(first)}; right: more in {title(second)}"
    drawn = difference_overlay(small, diff, vmax=vmax)
    return with_legend(drawn, vmax=vmax, signed=True, unit=unit)


def grid_html(
    comparison: Comparison, small: RgbArray, opacity: float, cmap: str, waiting: Sequence[str] = ()
) -> str:
    """The columns: map, five labels and facts of each model, aligned; text is escaped."""
    cards = [_card(column, comparison, small, opacity, cmap) for column in comparison.columns]
    cards += [
        f'<section class="card waiting"><h3>{html.escape(title(m))}</h3><p>waiting</p></section>'
        for m in waiting
    ]
    return f'<div class="cards" style="--columns:{len(cards)}">{"".join(cards)}</div>'


def _card(
    column: ComparedModel, comparison: Comparison, small: RgbArray, opacity: float, cmap: str
) -> str:
    parts = [f"<h3>{html.escape(title(column.model))}</h3>"]
    if column.cam is not None:
        parts.append(_map_html(column, comparison, small, opacity, cmap))
    if column.note:
        parts.append(f'<p class="note">{html.escape(column.note)}</p>')
    if column.explanation is not None:
        rows = "".join(
            f'<li><span class="name">{html.escape(s.label)}</span>'
            f'<meter class="bar" min="0" max="1" value="{s.probability:.4f}"></meter>'
            f'<span class="share">{s.probability:.1%}</span></li>'
            for s in column.explanation.prediction.top
        )
        parts.append(f"<ol>{rows}</ol>")
    if column.facts is not None:
        facts = column.facts
        top1 = f"{facts.top1:.1%}" if facts.top1 is not None else "not published"
        gmacs = f"{facts.gmacs:.2f}" if facts.gmacs is not None else "unknown"
        parts.append(
            f"<dl><dt>Parameters</dt><dd>{facts.params / 1e6:.1f} M</dd>"
            f"<dt>GMACs</dt><dd>{gmacs}</dd><dt>Top-1</dt><dd>{top1}</dd>"
            f"<dt>Time here</dt><dd>{column.latency_ms or 0:.0f} ms</dd></dl>"
        )
    return f'<section class="card">{"".join(parts)}</section>'


def _map_html(
    column: ComparedModel, comparison: Comparison, small: RgbArray, opacity: float, cmap: str
) -> str:
    cam = column.cam
    if cam is None:
        return ""
    heat = density(cam, COLUMN_PX, COLUMN_PX)
    drawn = overlay(
        small, heat, vmax=comparison.scale_max, opacity=opacity, cmap=cmap,
        crop=cam.geometry.crop_on((small.shape[1], small.shape[0])),
    )  # fmt: skip
    drawn = with_legend(drawn, vmax=comparison.scale_max, unit=UNIT, cmap=cmap)
    label = html.escape(comparison.label, quote=True)
    alt = f"Map of {html.escape(title(column.model), quote=True)} for {label}"
    return f'<img alt="{alt}" src="{data_url(drawn)}">'


def data_url(picture: RgbArray) -> str:
    """The picture as an address that holds it (WebP), for HTML."""
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "WEBP", quality=90)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()
