"""The effective receptive field of a unit on the photo."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mscnn.draw.boxes import Frame, draw_frames
from mscnn.draw.legend import with_legend
from mscnn.draw.overlay import CropBox, overlay
from mscnn.geometry import FloatMap
from mscnn.results.explanation import RgbArray

_SPAN = 1000.0
_LOG_WORDS = (
    "The colours grow with the logarithm: a tenth of the largest value lies at 0.67, "
    "a hundredth at 0.35."
)


def field_overlay(
    photo: RgbArray,
    gradient_on_photo: FloatMap,
    *,
    frames: Sequence[Frame],
    point: tuple[float, float] | None,
    title: str,
    unit: str,
    opacity: float = 0.75,
    cmap: str = "viridis",
    log: bool,
    crop: CropBox | None = None,
    margin_share: float = 0.0,
) -> RgbArray:
    """Draw how strongly a unit depends on each place of the photo, scaled to its own maximum.

    Args:
        photo: ``(h, w, 3)`` uint8 RGB.
        gradient_on_photo: ``(h, w)`` float32 >= 0; all 0 shows the plain photo.
        frames: the theoretical field, and the squares that hold a share of the gradient.
        point: ``(x, y)`` of the unit's centre, px of ``photo``; None for no cross.
        title: a line above; "" for none.
        unit: what the colours count, in words, below the bar.
        opacity: of the top colour, 0..1.
        cmap: one of ``mscnn.draw.overlay.COLOUR_MAPS``.
        log: draw ``log10(1000 g / max + 1) / 3`` in place of ``g / max`` (RepLKNet's measure,
            arXiv:2203.06717, made independent of the gradient's scale); the legend says so.
        crop: what the network saw, in px of ``photo``.
        margin_share: paper around the photo; see ``draw_frames``.

    Returns:
        ``(h', w', 3)`` uint8 RGB.

    Raises:
        OptionError: ``opacity`` or ``cmap`` is not accepted.
        ValueError: the arrays do not fit, or a number is not finite; see ``draw_frames``.
    """
    heat = field_heat(gradient_on_photo, log=log)
    drawn = overlay(photo, heat, vmax=1.0, opacity=opacity, cmap=cmap, crop=crop)
    framed = draw_frames(drawn, frames, point=point, margin_share=margin_share)
    words = "\n".join(part for part in (unit, _LOG_WORDS if log else "") if part)
    top = 1.0 if heat.any() else 0.0
    return with_legend(framed, vmax=top, unit=words, cmap=cmap, title=title)


def field_heat(gradient: FloatMap, *, log: bool) -> FloatMap:
    """Scale a gradient to 0..1.

    Args:
        gradient: ``(h, w)`` float32; values below 0 count as 0.
        log: as for ``field_overlay``.

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
    share = np.clip(gradient.astype(np.float64) / top, 0.0, 1.0)
    if log:
        # log10(1001) is a little more than 3.
        share = np.minimum(np.log10(_SPAN * share + 1) / 3, 1.0)
    return share.astype(np.float32)
