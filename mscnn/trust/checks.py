"""Sanity checks of a map: other weights, a changed photo, an object at a known position.

* randomisation: the weights are drawn anew part by part, from the head down, each step keeping the
  ones before it (cascading; Adebayo et al., NeurIPS 2018, arXiv:1810.03292). The maps are compared
  at the layer's own resolution with their signs. eMPRT (Hedstroem et al. 2024, arXiv:2405.02383):
  (H(random) - H(original)) / H(original), with H the entropy of a histogram of the signed map,
  enlarged to the view, in 100 bins.
* stability: what the network sees is changed, mapped, and its map put back. A control that does
  not look at the photo is perfectly stable: this finds maps that are not, and praises none.
* placements: sizes and positions on a canvas; see ``mscnn.scales.canvas``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image
from scipy.stats import entropy
from torch import nn

from mscnn.errors import BoxError
from mscnn.geometry import FloatMap, Rect, ViewGeometry, resize_map
from mscnn.models.seeding import seeded
from mscnn.results.explanation import RgbArray
from mscnn.results.scales import PhotoBox
from mscnn.results.trust import Kind, Located
from mscnn.scales.effective import draw_anew
from mscnn.scales.sweep import energy_ratio
from mscnn.trust.plan import STEM

BINS = 100
SHIFT, ZOOM, NOISE = 1 / 16, 1 / 20, 12.0
"""Fractions of each side that the view moves, and that is cut off at each end before it is
enlarged; standard deviation, of 0..255."""
POSITIONS = {
    "centre": (0.5, 0.5), "top left": (0.0, 0.0), "top right": (1.0, 0.0),
    "bottom left": (0.0, 1.0), "bottom right": (1.0, 1.0),
}  # fmt: skip
"""Where the object lies; see ``mscnn.scales.canvas.paste``."""


def cascade(model: nn.Module, stages: Sequence[str], head: str, seed: int) -> Iterator[str]:
    """Draw the weights of a model anew, in place: yields each part's name once it is random.

    The head, the stages from the last to the first, each with what lies between it and the stage
    before (of many networks timm lists only the ends of stages, or layers without weights), and
    what is left. The model is one's own copy, on the CPU. Raises ``UnsupportedModelError``: see
    ``draw_anew``.
    """
    left = dict(model.named_modules())
    order = list(left)

    def inside(part: str) -> list[str]:
        return [name for name in order if name == part or name.startswith(f"{part}.")]

    parts = [(head, inside(head))] if head else []
    for stage, before in zip(reversed(stages), (*reversed(stages[:-1]), None), strict=True):
        # Modules are registered in the order in which they run.
        start = order.index(stage) if before is None else order.index(inside(before)[-1]) + 1
        parts.append((stage, [*order[start:], *inside(stage)]))
    for number, (part, names) in enumerate([*parts, (STEM, order)]):
        with seeded(seed + number):
            draw_anew([left.pop(name) for name in names if name in left])
        yield part


def emprt(original: FloatMap, random: FloatMap) -> float | None:
    """Relative rise in entropy from a signed map of the view to one of random weights."""
    before, after = (entropy(np.histogram(cam, bins=BINS)[0]) for cam in (original, random))
    return float((after - before) / before) if before > 0 else None


def changed(view: RgbArray, change: str, rng: np.random.Generator) -> RgbArray:
    """What the network is shown instead of ``view``, ``(H, W, 3)`` uint8 RGB."""
    height, width = view.shape[:2]
    if change == "flip":
        return np.ascontiguousarray(view[:, ::-1])
    if change == "noise":
        noisy = np.rint(view + NOISE * rng.standard_normal(view.shape))
        return np.clip(noisy, 0, 255).astype(np.uint8)
    if change == "shift":  # past the edge the last pixels are repeated
        down, right = (round(SHIFT * side) for side in (height, width))
        padded = np.pad(view, ((0, down), (0, right), (0, 0)), mode="edge")
        return padded[down:, right:]
    y, x = (round(ZOOM * side) for side in (height, width))
    part = Image.fromarray(view[y : height - y, x : width - x])
    return np.array(part.resize((width, height), Image.Resampling.BICUBIC))


def put_back(on_view: FloatMap, change: str) -> FloatMap:
    """Put a map of the changed view where it belongs; ``(H, W)``, NaN where there is none."""
    height, width = on_view.shape
    back = np.full_like(on_view, np.nan)
    if change == "shift":
        down, right = (round(SHIFT * side) for side in (height, width))
        back[down:, right:] = on_view[: height - down, : width - right]
    elif change == "zoom":
        y, x = (round(ZOOM * side) for side in (height, width))
        back[y : height - y, x : width - x] = resize_map(on_view, width - 2 * x, height - 2 * y)
    else:
        back[:] = on_view[:, ::-1] if change == "flip" else on_view
    return back


def located(kind: Kind, raw: FloatMap, rect: Rect, view_size: tuple[int, int]) -> Located:
    """Whether a map lies on a rectangle of the view, ``(width, height)`` px."""
    on_view = resize_map(np.maximum(raw, 0), *view_size)
    row, column = np.unravel_index(int(on_view.argmax()), on_view.shape)
    left, top, right, bottom = rect
    hit = on_view.max() > 0 and left <= column < right and top <= row < bottom
    return Located(kind, float(hit), energy_ratio(raw, rect, view_size))


def mean_located(found: Sequence[Located]) -> tuple[Located, ...]:
    """The mean for each kind, in the order in which they come."""
    means = []
    for kind in dict.fromkeys(one.kind for one in found):
        hits = [one.pointing_game for one in found if one.kind == kind]
        ratios = [one.energy_ratio for one in found if one.kind == kind]
        known = [ratio for ratio in ratios if ratio is not None]
        means.append(Located(kind, float(np.mean(hits)), float(np.mean(known)) if known else None))
    return tuple(means)


def rect_of(box: PhotoBox, geometry: ViewGeometry) -> Rect:
    """The rectangle of the view that a checked box of the photo covers, clipped to it.

    Raises ``BoxError``: the network sees nothing of it.
    """
    (width, height), sides = geometry.photo, geometry.view
    corners = (geometry.to_view(x * width, y * height) for x, y in (box[:2], box[2:]))
    (left, top), (right, bottom) = (
        [min(max(round(at), 0), side) for at, side in zip(corner, sides, strict=True)]
        for corner in corners
    )
    if right <= left or bottom <= top:
        raise BoxError("The network sees nothing of this box; draw it nearer the middle.")
    return left, top, right, bottom
