"""Names of boxes on a photo: placed where there is room, or below the photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from mscnn.draw.places import free_place
from mscnn.draw.sheet import PixelBox
from mscnn.draw.text import INK, PAPER, RULE, Colour, TextBlock, fit_text, text_px
from mscnn.results.explanation import RgbArray

_WIDEST = 0.6  # label over the width of the picture


@dataclass(frozen=True, slots=True)
class Label:
    """The name of a box.

    Attributes:
        words: may wrap.
        box: what is named, px of the picture; may reach past it.
        colour: RGB of the box's line, shown beside the words.
    """

    words: str
    box: PixelBox
    colour: Colour


def write_labels(
    picture: Image.Image,
    labels: Sequence[Label],
    *,
    gap: int,
    taken: Sequence[PixelBox],
    busy: npt.NDArray[np.bool_],
) -> list[Label]:
    """Write labels near a corner of their boxes, where they cover fewest lines.

    Args:
        picture: RGB; is drawn on.
        labels: those that come first choose first.
        gap: px between a box's edge and its label.
        taken: where no label may lie.
        busy: ``(h, w)``, True on lines.

    Returns:
        The labels for which there is no room.
    """
    pen = ImageDraw.Draw(picture)
    width, height = picture.size
    bounds = (2, 2, width - 2, height - 2)
    used = list(taken)
    homeless = []
    for label in labels:
        block = fit_text(label.words, max(1, round(_WIDEST * width)), text_px(width))
        size = _size(block)
        corners = _corners(_seen(label.box, picture.size), size, gap)
        place = free_place(size, corners, bounds=bounds, taken=used, busy=busy)
        if place is None:
            homeless.append(label)
            continue
        used.append(place)
        pen.rectangle((place[0], place[1], place[2] - 1, place[3] - 1), PAPER, RULE)
        _draw(pen, block, label.colour, place)
    return homeless


def labels_below(labels: Sequence[Label], width: int) -> RgbArray | None:
    """Return paper with labels, one below the other; None without labels."""
    if not labels:
        return None
    size = text_px(width)
    blocks = [fit_text(label.words, max(1, width - 3 * size), size) for label in labels]
    step = size // 3
    paper = Image.new("RGB", (width, sum(_size(b)[1] + step for b in blocks) + step), PAPER)
    pen = ImageDraw.Draw(paper)
    y = step
    for label, block in zip(labels, blocks, strict=True):
        wide, tall = _size(block)
        _draw(pen, block, label.colour, (step, y, step + wide, y + tall))
        y += tall + step
    return np.array(paper)


def _pad(block: TextBlock) -> int:
    return max(2, block.line_px // 6)


def _size(block: TextBlock) -> tuple[int, int]:
    """Return width and height of a label: a bar of colour, the words, a little paper around."""
    pad = _pad(block)
    return block.width + 5 * pad, block.height + pad


def _draw(pen: ImageDraw.ImageDraw, block: TextBlock, colour: Colour, place: PixelBox) -> None:
    left, top, _, bottom = place
    pad = _pad(block)
    pen.rectangle((left, top, left + 2 * pad - 1, bottom - 1), colour)
    block.draw(pen, left + 3 * pad, top + pad // 2, colour=INK)


def _seen(box: PixelBox, size: tuple[int, int]) -> PixelBox:
    """Return the part of a box on the picture; the nearest place on its edge if there is none."""
    left, right = (min(max(edge, 0), size[0]) for edge in (box[0], box[2]))
    top, bottom = (min(max(edge, 0), size[1]) for edge in (box[1], box[3]))
    return left, top, right, bottom


def _corners(box: PixelBox, size: tuple[int, int], gap: int) -> list[tuple[int, int]]:
    """Return where a label may stand, best first: inside the box, then outside, at each corner."""
    left, top, right, bottom = box
    width, height = size
    inner_right, inner_bottom = right - gap - width, bottom - gap - height
    return [
        (left + gap, top + gap),
        (left, top - gap - height),
        (inner_right, top + gap),
        (left + gap, inner_bottom),
        (inner_right, inner_bottom),
        (left, bottom + gap),
        (right - width, top - gap - height),
        (right - width, bottom + gap),
        (right + gap, top),
        (left - gap - width, top),
    ]
