"""Results of a zoom sweep."""

from __future__ import annotations

from dataclasses import dataclass, field

from mscnn.geometry import FloatMap
from mscnn.types import RgbArray

PhotoBox = tuple[float, float, float, float]
"""``(left, top, right, bottom)`` as shares 0..1 of the upright photo's width and height."""


@dataclass(frozen=True, slots=True)
class SweepStep:
    """One size of the object.

    Attributes:
        factor: longer side of the pasted object over the side of the network's input.
        rect: where the object lies on the network's input, px, clipped to it.
        probability: of the class, 0..1.
        rank: of the class among all, 1 is best.
        energy_ratio: share of the map's positive evidence inside ``rect`` over the rectangle's
            share of the area; 1 for an even spread. None where the map has no positive evidence.
        weighted_rf_px: evidence-weighted receptive field of the decision; None where the model has
            no splits or no evidence passed.
        raw: ``(h, w)`` float32, the last stage's Grad-CAM, signed, before the ReLU.
        view: ``(H, W, 3)`` uint8 RGB, what the network saw.
    """

    factor: float
    rect: tuple[int, int, int, int]
    probability: float
    rank: int
    energy_ratio: float | None
    weighted_rf_px: float | None
    raw: FloatMap = field(repr=False)
    view: RgbArray = field(repr=False)


@dataclass(frozen=True, slots=True)
class SweepCurve:
    """One model over all sizes, largest first.

    Attributes:
        label: the class, as this model calls it; "" where it does not know it.
        octaves: width of the range of sizes in which the probability stays at or above half of
            its best, in factors of two, interpolated; None where the class is unknown.
        mean_probability: area under probability over log size, divided by the range, 0..1.
        note: why something is missing, fit to show; "" where nothing is.
    """

    model: str
    target: int | None
    label: str
    steps: tuple[SweepStep, ...]
    octaves: float | None
    mean_probability: float | None
    note: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Sweep:
    """The same object at many sizes through one to four models.

    Attributes:
        label: the class.
        factors: sizes, largest first; see ``SweepStep.factor``.
        canvas: what surrounds the object: see ``mscnn.scales.sweep.CANVASES``.
        box: the part of the photo that was used, shares of the photo.
        partial: it was stopped before all sizes or models were done.
    """

    label: str
    factors: tuple[float, ...]
    canvas: str
    box: PhotoBox
    curves: tuple[SweepCurve, ...]
    partial: bool = False
