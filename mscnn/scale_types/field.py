"""Results of the effective receptive field of one unit."""

from __future__ import annotations

from dataclasses import dataclass, field

from mscnn.geometry import Box, FloatMap, ViewGeometry
from mscnn.types import RgbArray


@dataclass(frozen=True, slots=True)
class Square:
    """The smallest square around the unit that holds a share of the gradient.

    Attributes:
        share: 0..1, such as 0.5.
        side_px: odd side length, px of the network's input; what of the square lies outside the
            input holds nothing.
    """

    share: float
    side_px: int


@dataclass(frozen=True, slots=True)
class EffectiveField:
    """The effective receptive field of one unit: the gradient of its activation to the input.

    Attributes:
        layer: stage or block, such as ``"layer3"`` or ``"layer3.1"``.
        split: 0-based, timm's order; None for the whole layer.
        unit: ``(row, column)`` of the unit in the layer's map.
        centre: ``(x, y)`` of the unit's centre, px of the network's input, continuous.
        gradient: ``(H, W)`` float32 >= 0, px of the network's input: |d sum over channels of the
            unit's activation / d input|, summed over RGB and averaged over ``inputs``.
        theoretical: the theoretical field's box, px of the network's input; may reach past it.
            None where the topology is not known.
        squares: on ``gradient`` (Luo et al., NIPS 2016, arXiv:1701.04128).
        log_squares: on ``log10(gradient + 1)`` after scaling to a maximum of 1000 (RepLKNet's
            measure, arXiv:2203.06717, made independent of the gradient's scale).
        inputs: how many photos the gradient was averaged over.
        trained: False for the same architecture with random weights.
    """

    model: str
    layer: str
    split: int | None
    unit: tuple[int, int]
    centre: tuple[float, float]
    gradient: FloatMap = field(repr=False)
    theoretical: Box | None
    squares: tuple[Square, ...]
    log_squares: tuple[Square, ...]
    inputs: int
    trained: bool
    view: RgbArray = field(repr=False)
    geometry: ViewGeometry = field(repr=False)
    seconds: float = 0.0
