"""Maps of one block's parts side by side, as HTML that wraps on a phone; no gradio.

Words and diagrams are text, not pixels: they keep their size on every screen, follow the dark
theme and are read aloud. All maps share one colour scale, drawn once below them.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from mscnn.draw.overlay import CropBox, heatmap, overlay
from mscnn.draw.text import number_text
from mscnn.geometry import FloatMap
from mscnn.page.compare_view import data_url
from mscnn.page.scales_view import Shown, place
from mscnn.results.explanation import RgbArray
from mscnn.results.scales import SPLIT_UNIT, BlockScales

EMPTY = '<p class="empty">The maps of one block appear here.</p>'
REMARK = (
    '<p class="scale-remark">All maps share one colour scale. Shares and maps are measured '
    "differently (the note at the end says how), so a pale map can hold a large share.</p>"
)
_STOPS = 9


@dataclass(frozen=True, slots=True)
class MapCard:
    """One map with what there is to say about it.

    Attributes:
        heat: ``(h, w)`` float32 >= 0, as large as the photo.
        share: 0..1, drawn as a bar; None for none.
        facts: lines below, as (name, value).
        path: the operations that led here, drawn as a chain.
        marked: drawn with an accent, because it was clicked.
    """

    name: str
    heat: FloatMap = field(repr=False)
    alt: str
    share: float | None = None
    facts: tuple[tuple[str, str], ...] = ()
    path: tuple[str, ...] = ()
    marked: bool = False


def cards_html(
    photo: RgbArray, cards: Sequence[MapCard], crop: CropBox, opacity: float, cmap: str, unit: str
) -> str:
    """Draw maps on the photo, all on the scale of the strongest place of any; text is escaped.

    The photo is grey, so that none of its own colours can be taken for the map's.
    """
    grey = np.array(Image.fromarray(photo).convert("L").convert("RGB"))
    vmax = max(float(card.heat.max()) for card in cards)
    items = "".join(
        _card(card, overlay(grey, card.heat, vmax=vmax, opacity=opacity, cmap=cmap, crop=crop))
        for card in cards
    )
    grid = f'<div class="scale-cards" style="--cards:{len(cards)}">{items}</div>'
    return grid + _scale(vmax, cmap, unit)


def _card(card: MapCard, drawn: RgbArray) -> str:
    mark = " marked" if card.marked else ""
    parts = [f"<h4>{html.escape(card.name)}</h4>"]
    parts.append(f'<img alt="{html.escape(card.alt, quote=True)}" src="{data_url(drawn)}">')
    if card.share is not None:
        parts.append(
            f'<p class="evidence"><strong>{card.share:.1%}</strong> of the evidence</p>'
            f'<meter class="bar" min="0" max="1" value="{card.share:.4f}"></meter>'
        )
    if card.facts:
        rows = "".join(
            f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>"
            for name, value in card.facts
        )
        parts.append(f"<dl>{rows}</dl>")
    if card.path:
        steps = "".join(f"<li>{html.escape(step)}</li>" for step in ("in", *card.path))
        parts.append(f'<ol class="path" aria-label="Path through the block">{steps}</ol>')
    return f'<section class="card scale-card{mark}">{"".join(parts)}</section>'


def _scale(vmax: float, cmap: str, unit: str) -> str:
    """The colour bar of all maps above."""
    if vmax <= 0:
        return '<p class="scale-legend">Nothing in these maps speaks for the class.</p>'
    places = np.linspace(0, 1, _STOPS, dtype=np.float32)[None]
    colours = heatmap(places, vmax=1, cmap=cmap)[0]
    stops = ", ".join(f"rgb({r} {g} {b})" for r, g, b in colours.tolist())
    return (
        '<div class="scale-legend"><span>0 (the photo itself)</span>'
        f'<span class="ramp" style="background:linear-gradient(to right, {stops})"></span>'
        f"<span>{number_text(vmax)}</span><span>{html.escape(unit)}</span></div>"
    )


def strip_html(shown: Shown, opacity: float, cmap: str, *, paper_order: bool) -> str:
    """The splits of the block that is shown, one map each."""
    report = shown.report
    block = report.block(shown.block)
    order = split_order(block, paper_order=paper_order)
    height, width = shown.photo.shape[:2]
    heats, _ = block.heats((width, height))
    cards = [_split_card(shown, block, split, name, heats[split]) for split, name in order]
    crop = block.geometry.crop_on((width, height))
    drawn = cards_html(shown.photo, cards, crop, opacity, cmap, SPLIT_UNIT)
    return drawn + (REMARK if len(cards) > 1 else "")


def split_order(block: BlockScales, *, paper_order: bool) -> list[tuple[int, str]]:
    """Splits as (timm's index, name), in timm's order or the paper's.

    The paper's figure (arXiv:1904.01169, figure 2) counts from 1 and has the untouched split
    first; timm counts from 0 and has it last.
    """
    count = len(block.splits)
    if count == 1:
        return [(0, "The whole block")]
    if not paper_order:
        return [(i, f"Split {i}") for i in range(count)]
    return [((i - 1) % count, f"Split x{i + 1} of the paper") for i in range(count)]


def _split_card(shown: Shown, block: BlockScales, split: int, name: str, heat: FloatMap) -> MapCard:
    part = block.splits[split]
    label = shown.report.target.label
    alt = f"{name} of {place(block.block)}, map for {label}: {part.share:.0%} of the evidence"
    return MapCard(
        name=name,
        heat=heat,
        alt=f"{alt}; {strongest(heat)}.",
        share=part.share,
        facts=(
            ("sees", _pixels(part.rf_min_px, part.rf_max_px)),
            ("strongest place", number_text(float(heat.max())) if heat.max() > 0 else "none"),
        ),
        path=part.path,
        marked=split == shown.split and len(block.splits) > 1,
    )


def strongest(heat: FloatMap) -> str:
    """Where a map is strongest, in words."""
    if not heat.max() > 0:
        return "no place speaks for it"
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    vertical = ("top", "middle", "bottom")[min(2, 3 * int(row) // heat.shape[0])]
    side = ("left", "centre", "right")[min(2, 3 * int(column) // heat.shape[1])]
    return f"strongest at the {vertical} {side}"


def _pixels(least: int | None, most: int | None) -> str:
    if most is None or least is None:
        return "not known"
    return f"{most} px" if least == most else f"{least} to {most} px"
