"""How maps are drawn onto a photo for files: size, colours, opacity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from mscnn.draw.overlay import COLOUR_MAPS, CropBox
from mscnn.errors import OptionError
from mscnn.results.explanation import CamMap, RgbArray

MAX_PX = 2048
"""Longer side of a drawn photo; a bigger one is shrunk for its pictures."""
MIN_PX = 256
"""A smaller photo is enlarged for its pictures, so that something can be seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawingOptions:
    """How maps are drawn.

    Attributes:
        opacity: of the strongest place of the map, 0..1.
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
