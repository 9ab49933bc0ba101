"""The pictures of one unit's receptive field on the photo, large and side by side; no gradio."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from mscnn.draw.boxes import Frame, draw_frames, photo_corner
from mscnn.draw.field import field_heat, field_overlay
from mscnn.draw.overlay import heatmap, overlay
from mscnn.draw.sheet import PixelBox
from mscnn.geometry import Box, FloatMap
from mscnn.page import field_view as view
from mscnn.page.compare_view import data_url
from mscnn.page.field_view import Shown
from mscnn.page.handlers import fitted
from mscnn.results.explanation import RgbArray
from mscnn.results.scales import EffectiveField, Square

CARD_PX = 380
MARGIN_SHARE = 0.06
STRONGEST = 0.99
"""A few pixels move a unit far more than all others; the colours end where these begin."""
UNIT = "how strongly the unit moves when a pixel changes; 1 = the strongest hundredth of the pixels"
LOG_UNIT = "how strongly the unit moves when a pixel changes; 1 = most"
THEORY_COLOUR = "#e69f00"
SQUARE_COLOURS = {50: "#56b4e9", 90: "#009e73", 99: "#cc79a7"}


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture, and where the photo lies on it, px."""

    picture: RgbArray = field(repr=False)
    placed: PixelBox


def large(shown: Shown, measure: str, opacity: float, cmap: str) -> Drawn:
    """Draw the first unit with its box, its squares and the colour scale."""
    one = shown.fields[0]
    height, width = shown.photo.shape[:2]
    frames = frames_of(one, measure, (width, height))
    margin = MARGIN_SHARE if _reach_past(frames, (width, height)) else 0.0
    log = measure == "log"
    picture = field_overlay(
        shown.photo, on_photo(one, measure, (width, height)), frames=frames,
        point=_to_drawing(one, one.centre, (width, height)), title="",
        unit=LOG_UNIT if log else UNIT, opacity=opacity, cmap=cmap, log=log,
        crop=one.geometry.crop_on((width, height)), margin_share=margin,
    )  # fmt: skip
    _, top = photo_corner(shown.photo, margin_share=margin)
    # A picture that is narrower than its legend is centred on the paper.
    left = (picture.shape[1] - width - 2 * top) // 2 + top
    return Drawn(picture, (left, top, left + width, top + height))


def frames_of(one: EffectiveField, measure: str, size: tuple[int, int]) -> list[Frame]:
    """The theoretical box and the squares, px of a drawing of the photo; the largest first."""
    frames = []
    most = view.side_px(one)
    if one.theoretical is not None:
        box = _box_on(one, one.theoretical, size)
        frames.append(Frame(box, f"can see {most} px", THEORY_COLOUR))
    for square in reversed(view.squares_of(one, measure)):
        share = round(100 * square.share)
        box = _box_on(one, _square_box(one, square), size)
        colour = SQUARE_COLOURS.get(share, THEORY_COLOUR)
        frames.append(Frame(box, f"{share} % in {square.side_px} px", colour))
    return frames


def on_photo(one: EffectiveField, measure: str, size: tuple[int, int]) -> FloatMap:
    """The gradient on a drawing of the photo: ``(h, w)`` float32; see ``STRONGEST``."""
    gradient = one.gradient
    if measure != "log" and gradient.any():
        top = np.quantile(gradient[gradient > 0], STRONGEST)
        gradient = np.minimum(gradient, top).astype(np.float32)
    return one.geometry.project(gradient, size)


def _square_box(one: EffectiveField, square: Square) -> Box:
    """Where a square lies, px of the network's input: centred on the unit's pixel."""
    height, width = one.gradient.shape
    # The unit's own pixel, or the nearest one where padding puts the unit outside.
    column = min(max(math.floor(one.centre[0]), 0), width - 1)
    row = min(max(math.floor(one.centre[1]), 0), height - 1)
    reach = square.side_px // 2
    return column - reach, row - reach, column + reach + 1, row + reach + 1


def _to_drawing(
    one: EffectiveField, point: tuple[float, float], size: tuple[int, int]
) -> tuple[float, float]:
    """A point of the network's input on a drawing of the photo, px."""
    x, y = one.geometry.to_photo(*point)
    width, height = one.geometry.photo
    return x * size[0] / width, y * size[1] / height


def _box_on(one: EffectiveField, box: Box, size: tuple[int, int]) -> Box:
    left, top = _to_drawing(one, (box[0], box[1]), size)
    right, bottom = _to_drawing(one, (box[2], box[3]), size)
    return left, top, right, bottom


def _reach_past(frames: list[Frame], size: tuple[int, int]) -> bool:
    width, height = size
    return any(
        left < 0 or top < 0 or right > width or bottom > height
        for left, top, right, bottom in (frame.box for frame in frames)
    )


def cards_html(shown: Shown, measure: str, opacity: float, cmap: str) -> str:
    """All units side by side, where there are several; text is escaped."""
    if len(shown.fields) < 2:
        return ""
    photo = fitted(Image.fromarray(shown.photo), CARD_PX)
    cards = "".join(
        _card(one, shown, photo, measure, opacity, cmap) for one in shown.fields
    )  # fmt: skip
    grid = f'<div class="lens-cards" style="--cards:{len(shown.fields)}">{cards}</div>'
    return grid + _scale(cmap, measure)


def _card(
    one: EffectiveField, shown: Shown, photo: RgbArray, measure: str, opacity: float, cmap: str
) -> str:
    height, width = photo.shape[:2]
    size = (width, height)
    heat = field_heat(on_photo(one, measure, size), log=measure == "log")
    crop = one.geometry.crop_on(size)
    drawn = overlay(photo, heat, vmax=1.0, opacity=opacity, cmap=cmap, crop=crop)
    # The words stand below the picture, where they keep their size on a phone.
    frames = [Frame(f.box, "", f.colour) for f in frames_of(one, measure, size)]
    drawn = draw_frames(drawn, frames, point=_to_drawing(one, one.centre, size))
    alt = html.escape(view.alt_text(one, shown.asked.point, measure), quote=True)
    name = view.unit_name(one) if one.split is None else f"split {one.split}"
    off = "" if one.squares else '<p class="note">Switched off here: no pixel moves it.</p>'
    return (
        f'<section class="card"><h4>{html.escape(name)} · {view.weights_name(one)} weights</h4>'
        f'<img alt="{alt}" src="{data_url(drawn)}">{off}<dl>{_facts(one, measure)}</dl></section>'
    )


def _facts(one: EffectiveField, measure: str) -> str:
    most = view.side_px(one)
    facts = [("can see", most, THEORY_COLOUR)] if most is not None else []
    for square in view.squares_of(one, measure):
        share = round(100 * square.share)
        colour = SQUARE_COLOURS.get(share, THEORY_COLOUR)
        facts.append((f"{share} % lies in", square.side_px, colour))
    return "".join(
        f'<dt><span class="swatch" style="background:{colour}"></span>{name}</dt><dd>{px} px</dd>'
        for name, px, colour in facts
    )


def _scale(cmap: str, measure: str) -> str:
    """The colour bar of all cards."""
    colours = heatmap(np.linspace(0, 1, 9, dtype=np.float32)[None], vmax=1, cmap=cmap)[0]
    stops = ", ".join(f"rgb({r} {g} {b})" for r, g, b in colours.tolist())
    words = f"{LOG_UNIT}, on a logarithmic scale" if measure == "log" else UNIT
    return (
        '<div class="scale-legend"><span>0</span>'
        f'<span class="ramp" style="background:linear-gradient(to right, {stops})"></span>'
        f"<span>1</span><span>{words}; each picture on a scale of its own</span></div>"
    )
