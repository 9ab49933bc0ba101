"""An object at a chosen size on a plain canvas: the pictures of a zoom sweep.

Pixels only, no network. Large photos are never enlarged as a whole: of an object that is larger
than the view, only the middle that the view shows is computed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageFilter

from mscnn.errors import BoxError, OptionError
from mscnn.geometry import Rect
from mscnn.results.explanation import RgbArray
from mscnn.results.scales import PhotoBox

CANVASES = {
    "mean": "The mean colour of the network's training photos, which normalisation makes zero.",
    "grey": "Mid grey.",
    "blur": "The photo itself, filling the view and blurred beyond recognition.",
    "edge": "The mean colour of the pixels along the object's border, for the least visible edge.",
    "noise": "Random pixels, the same ones every time.",
}
"""What can surround the object: name to one plain sentence."""

_GREY = 128
_SMALLEST_SHARE = 0.01
_SMALLEST_PX = 2
_REDUCING_GAP = 3.0
"""Pillow shrinks by whole factors first while at least this times the wanted size remains; from
3 on its documentation calls the result hard to tell from the exact one."""


def whole() -> PhotoBox:
    """The box of the whole photo."""
    return 0.0, 0.0, 1.0, 1.0


def check_canvas(name: str) -> None:
    """Raise ``OptionError``, which lists those there are, for an unknown canvas."""
    if name not in CANVASES:
        raise OptionError(f"The canvas {name!r} is unknown; choose one of {', '.join(CANVASES)}.")


def check_box(box: Sequence[float]) -> None:
    """Raise ``BoxError`` for a box outside of the photo, reversed, empty or below 1 % on a side."""
    if len(box) != 4 or not all(0 <= value <= 1 for value in box):
        raise BoxError(
            "The box reaches outside of the photo; give left, top, right and bottom as fractions "
            "of the photo's width and height, 0 to 1."
        )
    left, top, right, bottom = box
    if right < left or bottom < top:
        raise BoxError("The box is reversed; give left before right and top before bottom.")
    if right == left or bottom == top:
        raise BoxError("The box is empty; draw one around the object.")
    if min(right - left, bottom - top) < _SMALLEST_SHARE - 1e-9:
        raise BoxError(
            f"The box is too small: {100 * (right - left):.1f} % by {100 * (bottom - top):.1f} % "
            "of the photo; each side must be at least 1 %."
        )


def pixels_of(box: PhotoBox, size: tuple[int, int]) -> Rect:
    """Return the whole pixels that a checked box covers of a photo of ``(width, height)``.

    Raises ``BoxError``: a side is less than 2 px, where the photo has that many.
    """
    width, height = size
    left, top, right, bottom = (
        round(fraction * side) for fraction, side in zip(box, (width, height) * 2, strict=True)
    )
    if right - left < min(_SMALLEST_PX, width) or bottom - top < min(_SMALLEST_PX, height):
        raise BoxError(
            f"The box is too small: {right - left} x {bottom - top} px of the photo; each side "
            f"must be at least {_SMALLEST_PX} px."
        )
    return left, top, right, bottom


def cut(image: Image.Image, box: PhotoBox) -> Image.Image:
    """Cut out what a checked box covers, so that nothing around it bleeds into its edges."""
    rect = pixels_of(box, image.size)
    return image if rect == (0, 0, *image.size) else image.crop(rect)


def compose(
    image: Image.Image,
    box: PhotoBox,
    factor: float,
    view_size: tuple[int, int],
    canvas: str,
    mean_colour: tuple[int, int, int],
) -> tuple[RgbArray, Rect]:
    """Show a part of an RGB photo, of any size, at one size in the middle of a canvas.

    ``factor`` (> 0) is the object's longer side over the view's shorter side, ``view_size``
    ``(width, height)`` px, ``canvas`` a name of ``CANVASES``, ``mean_colour`` RGB 0..255. Returns
    ``(H, W, 3)`` uint8 RGB, and where the object lies on it, clipped to it. Raises ``BoxError``,
    ``OptionError``.
    """
    check_box(box)
    content = cut(image, box)
    return paste(content, factor, background(image, content, canvas, view_size, mean_colour))


def paste(
    content: Image.Image, factor: float, canvas: RgbArray, at: tuple[float, float] = (0.5, 0.5)
) -> tuple[RgbArray, Rect]:
    """Put the object on a canvas; see ``compose``.

    ``factor``: the object's longer side over the canvas's shorter side; ``canvas`` is not changed;
    ``at``: fractions of the room around the object that lie left of it and above it.
    """
    height, width = canvas.shape[:2]
    scale = max(1, round(factor * min(width, height))) / max(content.size)
    w, h = (max(1, round(side * scale)) for side in content.size)
    left, top = math.floor((width - w) * at[0]), math.floor((height - h) * at[1])
    rect = (max(left, 0), max(top, 0), min(left + w, width), min(top + h, height))
    fx, fy = content.width / w, content.height / h
    far = min((rect[2] - left) * fx, content.width), min((rect[3] - top) * fy, content.height)
    seen = ((rect[0] - left) * fx, (rect[1] - top) * fy, *far)
    size = rect[2] - rect[0], rect[3] - rect[1]
    part = content.resize(size, Image.Resampling.LANCZOS, seen, _REDUCING_GAP)
    view = canvas.copy()
    view[rect[1] : rect[3], rect[0] : rect[2]] = np.asarray(part)
    return view, rect


def background(
    image: Image.Image,
    content: Image.Image,
    canvas: str,
    view_size: tuple[int, int],
    mean_colour: tuple[int, int, int],
) -> RgbArray:
    """Make an empty canvas ``(H, W, 3)`` for an object cut from a photo; see ``compose``."""
    check_canvas(canvas)
    width, height = view_size
    if canvas == "blur":
        return _blurred(image, view_size)
    if canvas == "noise":
        return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    colour = {"mean": mean_colour, "grey": (_GREY,) * 3}.get(canvas) or _border_colour(content)
    return np.full((height, width, 3), colour, dtype=np.uint8)


def _blurred(image: Image.Image, view_size: tuple[int, int]) -> RgbArray:
    """The middle of the photo in the view's aspect, so blurred that shapes are gone."""
    (width, height), (view_width, view_height) = image.size, view_size
    scale = max(view_width / width, view_height / height)
    left = max(width / 2 - view_width / scale / 2, 0.0)
    top = max(height / 2 - view_height / scale / 2, 0.0)
    box = (left, top, width - left, height - top)
    filled = image.resize(view_size, Image.Resampling.BICUBIC, box=box, reducing_gap=_REDUCING_GAP)
    return np.array(filled.filter(ImageFilter.GaussianBlur(min(view_size) / 8)))


def _border_colour(content: Image.Image) -> tuple[int, int, int]:
    """Mean RGB of the outermost pixels, each counted once."""
    inner = np.zeros(content.size[::-1], dtype=bool)
    inner[1:-1, 1:-1] = True
    border = np.asarray(content)[~inner]
    red, green, blue = (math.floor(value + 0.5) for value in border.mean(axis=0))
    return red, green, blue
