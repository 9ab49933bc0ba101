"""Where the network's input lies on the photo, and the way back for a map.

Pure numbers and NumPy. The photo is resized to ``resized`` px, then a ``view`` sized window at
``offset`` is what the network sees; the window may reach past the resized photo where the
preprocessing pads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

FloatMap = npt.NDArray[np.float32]
"""``(h, w)`` float32."""
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
"""These two of any shape."""
Box = tuple[float, float, float, float]
"""``(left, top, right, bottom)`` in px, ``right`` and ``bottom`` exclusive."""
Rect = tuple[int, int, int, int]
"""The same in whole px."""


def resize_map(values: npt.ArrayLike, width: int, height: int) -> FloatMap:
    """Resize a map bilinearly, pixel centres at half-integers (OpenCV's and torch's convention).

    Args:
        values: ``(h, w)`` numbers.
        width: px of the result, at least 1.
        height: px of the result, at least 1.

    Returns:
        ``(height, width)`` float32.
    """
    image = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class ViewGeometry:
    """How a photo became the network's input.

    Attributes:
        photo: ``(width, height)`` of the upright photo, px.
        resized: ``(width, height)`` after the resize, px.
        offset: ``(left, top)`` of the view in the resized photo, px; negative where padded.
        view: ``(width, height)`` of the network's input, px.
    """

    photo: tuple[int, int]
    resized: tuple[int, int]
    offset: tuple[int, int]
    view: tuple[int, int]

    @property
    def scale(self) -> tuple[float, float]:
        """Photo px per view px, horizontally and vertically."""
        return self.photo[0] / self.resized[0], self.photo[1] / self.resized[1]

    @property
    def crop(self) -> Box:
        """The view's box on the photo, in photo px; may reach past its edges."""
        (sx, sy), (left, top), (width, height) = self.scale, self.offset, self.view
        return left * sx, top * sy, (left + width) * sx, (top + height) * sy

    def to_photo(self, x: float, y: float) -> tuple[float, float]:
        """Map a point of the view (px, continuous) to the photo (px, continuous)."""
        return (x + self.offset[0]) * self.scale[0], (y + self.offset[1]) * self.scale[1]

    def to_view(self, x: float, y: float) -> tuple[float, float]:
        """Map a point of the photo (px, continuous) to the view; outside it where not seen."""
        return x / self.scale[0] - self.offset[0], y / self.scale[1] - self.offset[1]

    def drawn_size(self, max_px: int | None = None, min_px: int = 1) -> tuple[int, int]:
        """``(width, height)`` of a drawing of the photo.

        Args:
            max_px: its longer side is at most this; None for the photo's own size.
            min_px: its longer side is at least this, so that a tiny photo can be seen.
        """
        width, height = self.photo
        longer = max(width, height)
        wanted = max(min_px, longer if max_px is None else min(max_px, longer))
        if wanted == longer:
            return width, height
        return max(1, round(width * wanted / longer)), max(1, round(height * wanted / longer))

    def crop_on(self, size: tuple[int, int]) -> Rect:
        """The crop on a drawing of the photo, whole px, clipped to it and at least 1 px wide."""
        (width, height), (left, top, right, bottom) = size, self.crop
        fx, fy = width / self.photo[0], height / self.photo[1]
        x0 = min(max(round(left * fx), 0), width - 1)
        y0 = min(max(round(top * fy), 0), height - 1)
        x1 = max(min(round(right * fx), width), x0 + 1)
        y1 = max(min(round(bottom * fy), height), y0 + 1)
        return x0, y0, x1, y1

    def project(self, on_view: FloatMap, size: tuple[int, int] | None = None) -> FloatMap:
        """Put a map of the view onto the whole photo.

        Args:
            on_view: ``(view height, view width)`` float32.
            size: ``(width, height)`` of the result; None for the photo's own.

        Returns:
            ``(height, width)`` float32, 0 outside the crop.
        """
        width, height = size or self.photo
        x0, y0, x1, y1 = self.crop_on((width, height))
        fx, fy = width / self.photo[0], height / self.photo[1]
        # The part of the view that lies on the photo, in continuous view px.
        left, top = self.to_view(x0 / fx, y0 / fy)
        right, bottom = self.to_view(x1 / fx, y1 / fy)
        box = (
            max(left, 0.0),
            max(top, 0.0),
            min(right, float(self.view[0])),
            min(bottom, float(self.view[1])),
        )
        image = Image.fromarray(np.ascontiguousarray(on_view, dtype=np.float32))
        part = image.resize((x1 - x0, y1 - y0), Image.Resampling.BILINEAR, box=box)
        out = np.zeros((height, width), dtype=np.float32)
        out[y0:y1, x0:x1] = np.asarray(part, dtype=np.float32)
        return out
