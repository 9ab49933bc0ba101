"""Boxes on a photo: what a unit can see, or what a user chose."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageColor, ImageDraw

from mscnn.draw.frame_labels import Label, labels_below, write_labels
from mscnn.draw.places import overlap
from mscnn.draw.sheet import PixelBox
from mscnn.draw.text import INK, PAPER, Colour, fit_text, text_px
from mscnn.geometry import Box
from mscnn.results.explanation import RgbArray

_ARROWS = (
    "\N{LEFTWARDS ARROW}",
    "\N{UPWARDS ARROW}",
    "\N{RIGHTWARDS ARROW}",
    "\N{DOWNWARDS ARROW}",
)
_PAST = "reaches past the photo"


@dataclass(frozen=True, slots=True)
class Frame:
    """A box to draw.

    Attributes:
        box: ``(left, top, right, bottom)``, px of the drawn photo; may reach past it.
        label: written beside it; "" for none.
        colour: of the line, as CSS has it: ``"#0072b2"``.
    """

    box: Box
    label: str
    colour: str


def draw_frames(
    photo: RgbArray,
    frames: Sequence[Frame],
    *,
    point: tuple[float, float] | None = None,
    title: str = "",
    margin_share: float = 0.0,
) -> RgbArray:
    """Draw boxes with labels, and a cross at a point.

    The outermost px of a line lie on the outermost px of its box. A line has a light and a dark
    edge, so that it shows on any photo. Where a box reaches past the picture it is left open, an
    arrow points outwards, and its label says so. Labels lie inside the picture and on no other
    label; those for which there is no room are written below the picture.

    Args:
        photo: ``(h, w, 3)`` uint8 RGB.
        frames: from the bottom up.
        point: ``(x, y)``, px of ``photo``, continuous; None for no cross.
        title: a line above; "" for none.
        margin_share: paper on all sides, as a share of the longer side, so that boxes that reach
            past the photo can be seen to do so.

    Returns:
        ``(h', w', 3)`` uint8 RGB; the photo begins at ``photo_corner``.

    Raises:
        ValueError: ``photo`` is not ``(h, w, 3)`` uint8, a number is not finite, a box has no
            area, a colour is not known, or ``margin_share`` is below 0.
    """
    _check(photo, frames, point, margin_share)
    margin = _margin(photo, margin_share)
    canvas = np.pad(photo, ((margin, margin), (margin, margin), (0, 0)), constant_values=PAPER[0])
    height, width = canvas.shape[:2]
    line = max(2, round(max(photo.shape[:2]) / 300))
    busy = np.zeros((height, width), bool)
    boxes = [_whole(frame.box, margin) for frame in frames]
    taken: list[PixelBox] = []
    for frame, box in zip(frames, boxes, strict=True):
        colour = _colour(frame)
        _draw_sides(canvas, busy, _sides(box, (width, height), line), colour, line)
        _draw_arrows(canvas, box, colour, line, taken)
    if point is not None:
        x, y = math.floor(point[0]) + margin, math.floor(point[1]) + margin
        taken += _draw_cross(canvas, x, y, line)
    labels = _labels(frames, boxes, (width, height))
    picture = Image.fromarray(canvas)
    homeless = write_labels(picture, labels, gap=2 * line, taken=taken, busy=busy)
    parts = [_heading(title, width), np.array(picture), labels_below(homeless, width)]
    return np.concatenate([part for part in parts if part is not None])


def photo_corner(photo: RgbArray, *, title: str = "", margin_share: float = 0.0) -> tuple[int, int]:
    """Return where the upper left corner of the photo lies on ``draw_frames``' picture, px."""
    margin = _margin(photo, margin_share)
    heading = _heading(title, photo.shape[1] + 2 * margin)
    return margin, margin + (0 if heading is None else len(heading))


def _check(
    photo: RgbArray,
    frames: Sequence[Frame],
    point: tuple[float, float] | None,
    margin_share: float,
) -> None:
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3 or not photo.size:
        raise ValueError(f"a photo is (h, w, 3) uint8, not {photo.shape} {photo.dtype}")
    numbers = [margin_share, *(point or ()), *(edge for frame in frames for edge in frame.box)]
    if not np.isfinite(numbers).all() or margin_share < 0:
        raise ValueError("boxes, point and margin must be finite, and the margin not below 0")
    for left, top, right, bottom in (frame.box for frame in frames):
        if left >= right or top >= bottom:
            raise ValueError(f"the box {(left, top, right, bottom)} has no area")


def _colour(frame: Frame) -> Colour:
    red, green, blue = ImageColor.getrgb(frame.colour)[:3]
    return red, green, blue


def _margin(photo: RgbArray, share: float) -> int:
    height, width = photo.shape[:2]
    return round(share * max(int(height), int(width)))


def _whole(box: Box, margin: int) -> PixelBox:
    """Return the box in whole px of the canvas, at least 1 px wide and tall."""
    left, top = round(box[0]) + margin, round(box[1]) + margin
    right = max(round(box[2]) + margin, left + 1)
    return left, top, right, max(round(box[3]) + margin, top + 1)


def _sides(box: PixelBox, size: tuple[int, int], line: int) -> list[PixelBox]:
    """Return the lines of a box that lie on the canvas, clipped to it."""
    left, top, right, bottom = box
    sides = [
        (left, top, left + line, bottom),
        (left, top, right, top + line),
        (right - line, top, right, bottom),
        (left, bottom - line, right, bottom),
    ]
    inside = [_clipped(_clipped(side, box), (0, 0, *size)) for side in sides]
    return [side for side in inside if side[0] < side[2] and side[1] < side[3]]


def _clipped(box: PixelBox, bounds: PixelBox) -> PixelBox:
    left, top, right, bottom = bounds
    return max(box[0], left), max(box[1], top), min(box[2], right), min(box[3], bottom)


def _draw_sides(
    canvas: RgbArray,
    busy: npt.NDArray[np.bool_],
    sides: Sequence[PixelBox],
    colour: Colour,
    line: int,
) -> None:
    """Draw lines with a light edge around a dark edge."""
    edge = max(1, line // 3)
    for reach, tone in ((2 * edge, PAPER), (edge, INK), (0, colour)):
        for left, top, right, bottom in sides:
            rows = slice(max(top - reach, 0), bottom + reach)
            columns = slice(max(left - reach, 0), right + reach)
            canvas[rows, columns] = tone
            busy[rows, columns] = True


def _open_sides(box: PixelBox, size: tuple[int, int]) -> tuple[bool, bool, bool, bool]:
    """Say which sides (left, top, right, bottom) lie outside the canvas."""
    return box[0] < 0, box[1] < 0, box[2] > size[0], box[3] > size[1]


def _labels(
    frames: Sequence[Frame], boxes: Sequence[PixelBox], size: tuple[int, int]
) -> list[Label]:
    """Return what is written beside the boxes; one that reaches past the picture says so."""
    labels = []
    for frame, box in zip(frames, boxes, strict=True):
        past = zip(_ARROWS, _open_sides(box, size), strict=True)
        arrows = "".join(arrow for arrow, is_open in past if is_open)
        words = f"{frame.label} {arrows} {_PAST}" if arrows else frame.label
        if frame.label:
            labels.append(Label(words, box, _colour(frame)))
    return labels


def _heading(title: str, width: int) -> RgbArray | None:
    """Return the title on paper; None without one."""
    size = text_px(width)
    block = fit_text(title, max(1, width - 2 * size), round(1.15 * size), bold=True)
    if not block.lines:
        return None
    paper = Image.new("RGB", (width, block.height + size), PAPER)
    block.draw(ImageDraw.Draw(paper), size, size // 2)
    return np.array(paper)


def _draw_arrows(
    canvas: RgbArray, box: PixelBox, colour: Colour, line: int, taken: list[PixelBox]
) -> None:
    """Draw an arrow head at the canvas's edge for each open side, and add it to ``taken``."""
    height, width = canvas.shape[:2]
    seen = _clipped(box, (0, 0, width, height))
    if seen[0] >= seen[2] or seen[1] >= seen[3]:
        return
    image = Image.fromarray(canvas)
    pen = ImageDraw.Draw(image)
    for side, is_open in enumerate(_open_sides(box, (width, height))):
        if not is_open:
            continue
        heads = [_head(seen, side, place, 4 * line) for place in (0.5, 0.3, 0.7, 0.15, 0.85)]
        # Several frames' arrows stand side by side where there is room.
        free = [head for head in heads if not any(overlap(_around(head), box) for box in taken)]
        corners = (free or heads)[0]
        pen.polygon(corners, colour, INK, width=max(1, line // 3))
        taken.append(_around(corners))
    canvas[:] = np.array(image)


def _head(seen: PixelBox, side: int, place: float, reach: int) -> list[tuple[int, int]]:
    """Return the corners of an arrow head.

    Args:
        seen: the part of a box on the canvas.
        side: of it, 0..3: left, top, right, bottom.
        place: along the side, 0..1.
        reach: length of the head, px.
    """
    left, top, right, bottom = seen
    if side in (0, 2):
        x = left if side == 0 else right - 1
        middle = round(top + place * (bottom - top))
        foot = x + reach if side == 0 else x - reach
        return [(x, middle), (foot, middle - reach), (foot, middle + reach)]
    x, y = round(left + place * (right - left)), top if side == 1 else bottom - 1
    foot = y + reach if side == 1 else y - reach
    return [(x, y), (x - reach, foot), (x + reach, foot)]


def _around(corners: Sequence[tuple[int, int]]) -> PixelBox:
    xs, ys = [x for x, _ in corners], [y for _, y in corners]
    return min(xs), min(ys), max(xs) + 1, max(ys) + 1


def _draw_cross(canvas: RgbArray, x: int, y: int, line: int) -> list[PixelBox]:
    """Draw a cross whose middle pixel is left free, dark within light; return where it is."""
    height, width = canvas.shape[:2]
    arm, gap, half = 6 * line, line, max(1, line // 2)
    bars = [
        (x - arm, y - half, x - gap, y + half + 1),
        (x + gap + 1, y - half, x + arm + 1, y + half + 1),
        (x - half, y - arm, x + half + 1, y - gap),
        (x - half, y + gap + 1, x + half + 1, y + arm + 1),
    ]
    for reach, tone in ((half, PAPER), (0, INK)):
        for left, top, right, bottom in bars:
            rows = slice(max(top - reach, 0), max(bottom + reach, 0))
            canvas[rows, max(left - reach, 0) : max(right + reach, 0)] = tone
    return [_clipped((x - arm, y - arm, x + arm + 1, y + arm + 1), (0, 0, width, height))]
