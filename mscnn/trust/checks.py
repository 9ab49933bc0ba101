"""Sanity checks of a map: other weights, a changed photo, an object at a known place.

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
from torch import nn

from mscnn.errors import BoxError
from mscnn.geometry import FloatMap, ViewGeometry, resize_map
from mscnn.maps.seeding import seeded
from mscnn.results.explanation import RgbArray
from mscnn.results.scales import PhotoBox
from mscnn.results.trust import Kind, Located
from mscnn.scales.canvas import Rect
from mscnn.scales.effective import draw_anew
from mscnn.scales.sweep import energy_ratio

BINS = 100
STEM = "stem"
_WINDOWS = {
    "flip": (0.0, 0.0, 1.0, 1.0),
    "shift": (1 / 16, 1 / 16, 17 / 16, 17 / 16),
    "zoom": (1 / 20, 1 / 20, 19 / 20, 19 / 20),
    "noise": (0.0, 0.0, 1.0, 1.0),
}
"""Change to the part of the view that is seen after it, in fractions; past the edge the last
pixels are repeated."""
CHANGES = tuple(_WINDOWS)
NOISE = 12.0
"""Standard deviation, of 0..255."""
POSITIONS = {
    "centre": (0.5, 0.5),
    "top left": (0.0, 0.0),
    "top right": (1.0, 0.0),
    "bottom left": (0.0, 1.0),
    "bottom right": (1.0, 1.0),
}
"""Where the object lies; see ``mscnn.scales.canvas.paste``."""


def cascade(model: nn.Module, stages: Sequence[str], head: str, seed: int) -> Iterator[str]:
    """Draw the weights of a model anew, in place: yields each part's name once it is random.

    The head, the stages from the last to the first, and what is left. The model is one's own copy,
    on the CPU. Raises ``UnsupportedModelError``: see ``draw_anew``.
    """
    parts = [*([head] if head else []), *reversed(stages)]
    left = [
        module
        for name, module in model.named_modules()
        if not any(name == part or name.startswith(f"{part}.") for part in parts)
    ]
    for number, part in enumerate([*parts, STEM]):
        with seeded(seed + number):
            draw_anew(left if part == STEM else model.get_submodule(part).modules())
        yield part


def histogram_entropy(on_view: FloatMap) -> float:
    """Entropy, in nats, of how often each value occurs."""
    found, _ = np.histogram(on_view, bins=BINS)
    parts = found[found > 0] / found.sum()
    return float(-(parts * np.log(parts)).sum())


def emprt(original: FloatMap, random: FloatMap) -> float | None:
    """Relative rise in entropy from a signed map of the view to one of random weights."""
    before = histogram_entropy(original)
    return (histogram_entropy(random) - before) / before if before > 0 else None


def _window(change: str, height: int, width: int) -> tuple[int, int, int, int, int]:
    """What is seen after a change, px, from the margin on; and the margin around the view."""
    margin = round(max(height, width) / 8)
    left, top, right, bottom = _WINDOWS[change]
    return (
        margin + round(left * width), margin + round(top * height),
        margin + round(right * width), margin + round(bottom * height), margin,
    )  # fmt: skip


def changed(view: RgbArray, change: str, rng: np.random.Generator) -> RgbArray:
    """What the network is shown instead of ``view``, ``(H, W, 3)`` uint8 RGB."""
    if change == "flip":
        return np.ascontiguousarray(view[:, ::-1])
    if change == "noise":
        noisy = np.rint(view + NOISE * rng.standard_normal(view.shape))
        return np.clip(noisy, 0, 255).astype(np.uint8)
    height, width = view.shape[:2]
    left, top, right, bottom, margin = _window(change, height, width)
    padded = np.pad(view, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    part = Image.fromarray(padded[top:bottom, left:right])
    return np.array(part.resize((width, height), Image.Resampling.BICUBIC))


def put_back(on_view: FloatMap, change: str) -> FloatMap:
    """Put a map of the changed view where it belongs; ``(H, W)``, NaN where there is none."""
    if change == "flip":
        return np.ascontiguousarray(on_view[:, ::-1])
    height, width = on_view.shape
    left, top, right, bottom, margin = _window(change, height, width)
    padded = np.full((height + 2 * margin, width + 2 * margin), np.nan, np.float32)
    padded[top:bottom, left:right] = resize_map(on_view, right - left, bottom - top)
    return padded[margin : margin + height, margin : margin + width]


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
        same = [one for one in found if one.kind == kind]
        ratios = [one.energy_ratio for one in same if one.energy_ratio is not None]
        hits = float(np.mean([one.pointing_game for one in same]))
        means.append(Located(kind, hits, float(np.mean(ratios)) if ratios else None))
    return tuple(means)


def rect_of(box: PhotoBox, geometry: ViewGeometry) -> Rect:
    """The rectangle of the view that a checked box of the photo covers, clipped to it.

    Raises ``BoxError``: the network sees nothing of it.
    """
    (width, height), (across, down) = geometry.photo, geometry.view
    left, top = geometry.to_view(box[0] * width, box[1] * height)
    right, bottom = geometry.to_view(box[2] * width, box[3] * height)
    rect = (
        max(round(left), 0), max(round(top), 0),
        min(round(right), across), min(round(bottom), down),
    )  # fmt: skip
    if rect[2] <= rect[0] or rect[3] <= rect[1]:
        raise BoxError("The network sees nothing of this box; draw it nearer the middle.")
    return rect
