"""The zoom sweep: one object at many sizes, and what a network makes of each.

For every size: the class's probability and rank, the last stage's Grad-CAM (Selvaraju et al.,
ICCV 2017, arXiv:1610.02391), how much of that map's positive evidence lies on the object
(the energy-based pointing game of Score-CAM, Wang et al., CVPRW 2020, section 4.3, over the
object's fraction of the area, so that sizes can be compared), and the evidence-weighted receptive
field. A batch of sizes costs one forward, and one backward where the model has splits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from PIL import Image
from torch import nn

from mscnn.errors import OptionError
from mscnn.geometry import FloatMap, Rect, resize_map
from mscnn.maps.single_pass import batch_grad_cam, cams
from mscnn.models.probabilities import probabilities
from mscnn.photos.preprocess import Preprocessor
from mscnn.results.explanation import RgbArray
from mscnn.results.receptive_field import ReceptiveField
from mscnn.results.scales import PhotoBox, SweepStep
from mscnn.scales import splits
from mscnn.scales.canvas import background, check_box, check_canvas, cut, paste, whole
from mscnn.scales.families import has_splits

FACTORS: tuple[float, ...] = tuple(round(float(f), 3) for f in np.geomspace(2.0, 0.1, 12))
"""Twelve sizes, equally spaced in log size, largest first."""
BATCH = 6
"""Sizes per forward: half a sweep, so that Stop answers soon and memory stays low."""
_SMALLEST, _LARGEST = 0.05, 4.0


@dataclass(frozen=True, slots=True)
class Composed:
    """One size, ready for the network; ``factor``, ``rect`` and ``view`` as in ``SweepStep``.

    ``x`` is ``(1, 3, H, W)`` float32, normalised, on the CPU.
    """

    factor: float
    rect: Rect
    view: RgbArray
    x: torch.Tensor


@dataclass(frozen=True, slots=True)
class Plan:
    """What a sweep shows.

    ``factors`` are sizes, 0.05 to 4, sorted largest first; ``canvas`` a name of ``CANVASES``;
    ``box`` a part of the photo in fractions, None for all of it. Raises ``OptionError``: no sizes,
    one out of range, or an unknown canvas; ``BoxError``: a box that no photo can have.
    """

    factors: tuple[float, ...] = FACTORS
    canvas: str = "mean"
    box: PhotoBox | None = None

    def __post_init__(self) -> None:
        check_canvas(self.canvas)
        if not self.factors:
            raise OptionError("No size was given; give at least one.")
        for factor in self.factors:
            if not _SMALLEST <= factor <= _LARGEST:
                raise OptionError(
                    f"The size {factor:g} is out of range; sizes are {_SMALLEST} to {_LARGEST:g} "
                    "times the network's input."
                )
        object.__setattr__(self, "factors", tuple(sorted(map(float, self.factors), reverse=True)))
        if self.box is not None:
            check_box(self.box)

    def batches(
        self, image: Image.Image, preprocess: Preprocessor, size: int = BATCH
    ) -> Iterator[list[Composed]]:
        """Compose views of an upright RGB photo, ``size`` at a time, when they are asked for.

        Raises ``BoxError``: the box is less than 2 px of this photo on a side.
        """
        image = preprocess.as_seen(image)
        content = cut(image, self.box or whole())
        empty = background(
            image, content, self.canvas, preprocess.view_size, preprocess.mean_colour
        )
        empty = np.asarray(preprocess.as_seen(Image.fromarray(empty)))
        for start in range(0, len(self.factors), size):
            factors = self.factors[start : start + size]
            shown = [(factor, *paste(content, factor, empty)) for factor in factors]
            yield [Composed(f, rect, view, preprocess.tensor_of(view)) for f, view, rect in shown]


def measure(
    model: nn.Module,
    batch: Sequence[Composed],
    target: int,
    *,
    place: Callable[[torch.Tensor], torch.Tensor],
    stages: Sequence[str],
    linear: nn.Linear | None,
    field: ReceptiveField | None,
) -> list[SweepStep]:
    """Show a batch of at least one size to a network, for the class index ``target``.

    ``place`` puts a tensor on the model's device, in its dtype; the last of ``stages`` is mapped.
    For ``linear`` see ``mscnn.maps.methods.Method.compute``: a model without splits then needs no
    backward. Where it turns out not to hold, autograd serves, for one more forward. Raises
    ``WeightsError``: the network gives no finite numbers.
    """
    x = place(torch.cat([shown.x for shown in batch]))
    weighted: Sequence[float | None] = [None] * len(x)
    if has_splits(model, stages):
        found = splits.batch_evidence(model, x, [target] * len(x), stages, last=stages[-1])
        if found.last is None or found.last_gradient is None:
            raise RuntimeError("the last stage was asked for but not recorded")
        maps, weighted = cams(found.last_gradient, found.last), found.weighted_rf_px(field)
        logits = found.logits
    else:
        logits, maps = batch_grad_cam(model, x, target, stages[-1], linear)
    chances = probabilities(logits)
    return [
        SweepStep(
            factor=shown.factor, rect=shown.rect, probability=float(p[target]),
            rank=1 + int((answer > answer[target]).sum()), weighted_rf_px=rf, raw=cam,
            energy_ratio=energy_ratio(cam, shown.rect, shown.view.shape[1::-1]), view=shown.view,
        )
        for shown, p, answer, cam, rf in zip(batch, chances, logits, maps, weighted, strict=True)
    ]  # fmt: skip


def energy_ratio(cam: FloatMap, rect: Rect, view_size: tuple[int, int]) -> float | None:
    """Fraction of a map's positive evidence on a rectangle, over that of the area it covers.

    The ``(h, w)`` signed map is resized to the view, ``(width, height)`` px, bilinearly after its
    ReLU; ``rect`` lies inside the view. Returns 1 for an even spread; None where there is no
    positive evidence.
    """
    on_view = resize_map(np.maximum(cam, 0), *view_size).astype(np.float64)
    total = float(on_view.sum())
    if not total > 0:
        return None
    left, top, right, bottom = rect
    area = (right - left) * (bottom - top) / (view_size[0] * view_size[1])
    return float(on_view[top:bottom, left:right].sum()) / total / area


def score(factors: Sequence[float], probabilities: Sequence[float]) -> tuple[float, float]:
    """Sum a curve up: probability, piecewise linear over log2 of the size, in any order.

    Returns the width of the sizes where the probability is at least half of its best, in octaves
    (factors of two), and the mean probability over the range, 0..1. For a single size: 0 and its
    probability.
    """
    curve = sorted((math.log2(f), p) for f, p in zip(factors, probabilities, strict=True))
    half = max(p for _, p in curve) / 2
    octaves = area = 0.0
    for (x0, p0), (x1, p1) in pairwise(curve):
        area += (x1 - x0) * (p0 + p1) / 2
        low, high = sorted((p0, p1))
        if low >= half:
            octaves += x1 - x0
        elif high >= half:
            octaves += (x1 - x0) * (high - half) / (high - low)
    reach = curve[-1][0] - curve[0][0]
    if not reach > 0:
        return 0.0, float(np.mean([p for _, p in curve]))
    return octaves, area / reach
