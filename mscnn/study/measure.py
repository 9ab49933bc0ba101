"""Every photograph at every size on every canvas, through every model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from mscnn.engine.network import Network, Progress
from mscnn.geometry import Doubles, ViewGeometry
from mscnn.models.probabilities import probabilities
from mscnn.photos.imaging import load_photo
from mscnn.photos.preprocess import NetworkInput
from mscnn.results.explanation import RgbArray
from mscnn.results.study import PLAIN, SHUFFLED
from mscnn.scales.canvas import compose, whole
from mscnn.scales.splits import BatchScales, batch_evidence

if TYPE_CHECKING:
    from mscnn.study.photos import StudyPhoto

FACTORS = (2.0, 1.6, 1.25, 1.0, 0.8, 0.63, 0.5, 0.4, 0.32, 0.25, 0.2)
"""Longer side of the photograph over the network's input."""
SETTINGS = ("mean", "blur", "noise", SHUFFLED)
BATCH = 32


@dataclass(frozen=True, slots=True)
class ModelMeasures:
    """What one model did; axes: settings, factors, photographs.

    Attributes:
        probability: of the photograph's class, 0..1.
        weighted_rf: evidence-weighted receptive field, px; NaN where no evidence passed, and for a
            model without splits.
        shares: block name to ``(settings, factors, photos, splits)``: fraction of the evidence,
            timm's order; NaN where none passed.
    """

    model: str
    probability: Doubles
    weighted_rf: Doubles
    shares: dict[str, Doubles]


def measure(
    network: Network,
    photos: Sequence[StudyPhoto],
    which: int,
    *,
    factors: Sequence[float] = FACTORS,
    settings: Sequence[str] = SETTINGS,
    seed: int = 0,
    on_progress: Progress = lambda *_: None,
) -> ModelMeasures:
    """Measure one model, number ``which`` in ``StudyPhoto.targets``.

    ``settings`` are canvases of ``mscnn.scales.canvas``, and ``SHUFFLED``, whose pixels ``seed``
    orders. ``on_progress`` is called with (batches done, in total).
    """
    field = network.receptive_field()
    shape = (len(settings), len(factors), len(photos))
    probability, weighted = np.zeros(shape), np.full(shape, np.nan)
    shares: dict[str, Doubles] = {}

    def see(x: torch.Tensor, targets: Sequence[int]) -> BatchScales:
        x = network.to_device(x)
        if field.has_splits:
            return batch_evidence(network.model, x, targets, network.stages)
        with torch.inference_mode():  # one path per block: nothing to attribute, no backward
            return BatchScales(network.model(x).float().cpu().numpy(), (), ())

    starts = range(0, len(photos), BATCH)
    total, done = len(starts) * len(settings) * len(factors), 0
    for start in starts:
        part = photos[start : start + BATCH]
        # One photograph at a time in memory: its views take 7 MB at 224 px, whatever its size.
        views = [_views(network, photo.path, factors, settings, seed) for photo in part]
        targets = [photo.targets[which] for photo in part]
        here = slice(start, start + len(part))
        for s, f in product(range(len(settings)), range(len(factors))):
            x = torch.cat([network.preprocess.tensor_of(of_photo[s, f]) for of_photo in views])
            got, _ = network.guarded(partial(see, x, targets))
            chances = probabilities(got.logits)
            probability[s, f, here] = chances[np.arange(len(targets)), targets]
            weighted[s, f, here] = np.array(got.weighted_rf_px(field), dtype=np.float64)
            for point, evidence in zip(got.points, got.evidence, strict=True):
                empty = np.full((*shape, evidence.shape[1]), np.nan)
                with np.errstate(invalid="ignore"):  # 0 / 0 where no evidence passed: NaN
                    fractions = evidence / evidence.sum(1, keepdims=True)
                shares.setdefault(point.block, empty)[s, f, here] = fractions
            done += 1
            on_progress(done, total)
    return ModelMeasures(network.name, probability, weighted, shares)


def _views(
    network: Network, path: Path, factors: Sequence[float], settings: Sequence[str], seed: int
) -> dict[tuple[int, int], RgbArray]:
    """A photograph at every size on every canvas, by the numbers of setting and factor."""
    image = load_photo(path)
    return {
        (s, f): view_of(network, image, factor, setting, seed)
        for (s, setting), (f, factor) in product(enumerate(settings), enumerate(factors))
    }


def shuffled(view: RgbArray, rect: tuple[int, int, int, int], seed: int) -> RgbArray:
    """The same view with the pixels inside ``rect`` in random order: same colours, no object."""
    left, top, right, bottom = rect
    out = view.copy()
    pixels = out[top:bottom, left:right].reshape(-1, 3)
    order = np.random.default_rng(seed).permutation(len(pixels))
    out[top:bottom, left:right] = pixels[order].reshape(bottom - top, right - left, 3)
    return out


def view_of(
    network: Network, image: Image.Image, factor: float, setting: str = PLAIN, seed: int = 0
) -> RgbArray:
    """The whole photograph at one size, in one of ``SETTINGS``."""
    pre = network.preprocess
    canvas = PLAIN if setting == SHUFFLED else setting
    view, rect = compose(image, whole(), factor, pre.view_size, canvas, pre.mean_colour)
    return shuffled(view, rect, seed) if setting == SHUFFLED else view


def show(network: Network, image: Image.Image, factor: float) -> NetworkInput:
    """Show a whole photograph at one size, on the plain canvas."""
    pre, view = network.preprocess, view_of(network, image, factor)
    own = ViewGeometry(pre.view_size, pre.view_size, (0, 0), pre.view_size)
    return NetworkInput(pre.tensor_of(view), view, own)
