"""The effective receptive field: how strongly each pixel of the input moves one unit.

Luo et al. (NIPS 2016, arXiv:1701.04128) put a gradient of 1 on one unit, 0 elsewhere, and
propagate it back to the input. RepLKNet (CVPR 2022, arXiv:2203.06717) takes as the unit the sum
over the channels of the last map, adds RGB up, averages over photos and reports the side of the
smallest centred square that holds a fraction of the result. We do the same for any layer and any
split of a block, and deviate in three points:

* |gradient| instead of ReLU(gradient), so that inhibition counts as well;
* squares on the gradient itself, and beside them on its logarithm, which RepLKNet uses alone;
* log10(1000 g / max + 1) instead of log10(g + 1), whose squares change when the weights are
  scaled, although the unit looks at the same pixels.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from mscnn.errors import PointError, UnsupportedModelError
from mscnn.geometry import Doubles, ViewGeometry
from mscnn.models.probabilities import check_finite
from mscnn.models.seeding import seeded
from mscnn.results.receptive_field import BlockField, ReceptiveField, SplitField, StageField
from mscnn.results.scales import EffectiveField, Square
from mscnn.scales.families import UnitPoint

SHARES = (0.5, 0.9, 0.99)
_SEED = 1701
_GAINS = ("gain", "gamma")
"""What timm's scaled convolutions and layer scales call a factor that begins at or near zero."""
Theory = StageField | BlockField | SplitField
"""The theoretical field of what is measured."""


class Measured(NamedTuple):
    """The gradient of one unit, averaged over the inputs: ``(H, W)`` float64 >= 0.

    ``unit``, ``map_size``: ``(row, column)`` and ``(rows, columns)`` in the layer's map.
    """

    gradient: Doubles
    unit: tuple[int, int]
    map_size: tuple[int, int]


def seen_point(point: tuple[float, float], geometry: ViewGeometry) -> tuple[float, float]:
    """Where a point of the photo, fractions 0..1 of its sides, lies on the network's input, px.

    Raises ``PointError``: the network did not see that point.
    """
    x_px, y_px = geometry.to_view(point[0] * geometry.photo[0], point[1] * geometry.photo[1])
    width, height = geometry.view
    if not (0 <= x_px < width and 0 <= y_px < height):
        raise PointError(
            "The network did not see that point: it lies outside the framed part of the "
            "photo. Choose a point inside the frame."
        )
    return x_px, y_px


@torch.inference_mode(False)
@torch.enable_grad()
def unit_gradient(
    model: nn.Module,
    xs: Sequence[torch.Tensor],
    at: UnitPoint,
    point: tuple[float, float],
    theory: Theory | None = None,
) -> Measured:
    """Measure |d unit / d input|, the unit's activation being the sum over its channels.

    One forward and one backward for each of ``xs``, ``(1, 3, H, W)``. The unit is the one whose
    theoretical field's centre lies nearest to ``point`` (``(x, y)``, px of the input, inside of
    it), or, where ``theory`` is not known, the one whose cell holds it. Raises
    ``UnknownLayerError``: the module gives no map.
    """
    total = np.zeros(tuple(xs[0].shape[-2:]), dtype=np.float64)
    for x in xs:
        # A copy may ask for gradients even where the caller's tensor was made in inference mode.
        x = x.detach().clone().requires_grad_()
        activation = at.read(model, x)
        unit = _unit(point, activation.shape[-2:], x.shape[-2:], theory)
        value = activation[0, :, unit[0], unit[1]].float().sum()
        (gradient,) = torch.autograd.grad(value, x)
        check_finite(gradient)
        total += gradient[0].cpu().double().abs().sum(dim=0).numpy()
    rows, columns = activation.shape[-2:]
    return Measured(total / len(xs), unit, (int(rows), int(columns)))


def _unit(
    point: tuple[float, float],
    map_size: Sequence[int],
    input_size: Sequence[int],
    theory: Theory | None,
) -> tuple[int, int]:
    (x, y), (rows, columns), (height, width) = point, map_size, input_size
    if theory is None:
        row, column = math.floor(y * rows / height), math.floor(x * columns / width)
    else:
        # Padding on one side puts the fields' centres beside the middles of the cells.
        first_x, first_y = theory.centre(0, 0)
        row = math.ceil((y - first_y) / theory.stride_px - 0.5)
        column = math.ceil((x - first_x) / theory.stride_px - 0.5)
    return min(max(row, 0), rows - 1), min(max(column, 0), columns - 1)


def squares(
    gradient: Doubles, centre: tuple[float, float], shares: Sequence[float] = SHARES
) -> tuple[Square, ...]:
    """Find the smallest squares around a unit that hold given fractions of its gradient.

    ``gradient`` is ``(H, W)`` >= 0, ``centre`` the unit's ``(x, y)``, px: the squares are centred
    on the pixel there, or, where padding puts the unit outside, on the nearest one. Returns one
    square per fraction. A square may reach past the input, where nothing adds to it. Empty where
    the gradient is zero everywhere.
    """
    height, width = gradient.shape
    column = min(max(math.floor(centre[0]), 0), width - 1)
    row = min(max(math.floor(centre[1]), 0), height - 1)
    # A square of side 2 d + 1 holds the pixels at a Chebyshev distance of up to d.
    distance = np.maximum(
        np.abs(np.arange(height) - row)[:, None], np.abs(np.arange(width) - column)[None]
    )
    held = np.cumsum(np.bincount(distance.ravel(), weights=gradient.ravel()))
    if not held[-1] > 0:
        return ()
    reach = np.searchsorted(held, np.asarray(shares) * held[-1], side="left")
    return tuple(
        Square(float(share), 2 * int(d) + 1) for share, d in zip(shares, reach, strict=True)
    )


def log_scaled(gradient: Doubles) -> Doubles:
    """Compress a gradient >= 0: log10(1000 g / max + 1), 0..log10(1001); zeros for zeros."""
    largest = float(gradient.max(initial=0.0)) or 1.0
    scaled: Doubles = np.log10(1000 * (gradient / largest) + 1)
    return scaled


def as_field(
    measured: Measured, *, theory: Theory | None, at: UnitPoint, **known: Any
) -> EffectiveField:
    """Make a result of a measurement: with its squares, and the theoretical field beside it.

    The latter gives the box and the unit's centre, else the centre is that of the unit's cell.
    ``known`` are the other attributes of ``EffectiveField``.
    """
    (row, column), (rows, columns) = measured.unit, measured.map_size
    height, width = measured.gradient.shape
    centre = ((column + 0.5) * width / columns, (row + 0.5) * height / rows)
    if theory is not None:
        centre = theory.centre(row, column)
    return EffectiveField(
        layer=at.layer, split=at.split, unit=measured.unit, centre=centre,
        gradient=measured.gradient.astype(np.float32),
        theoretical=theory.box(row, column) if theory is not None else None,
        squares=squares(measured.gradient, centre),
        log_squares=squares(log_scaled(measured.gradient), centre), **known,
    )  # fmt: skip


def theory_of(field: ReceptiveField | None, layer: str, split: int | None = None) -> Theory | None:
    """The field of a stage, a block or a split; None for other layers, and where none is known."""
    if field is None:
        return None
    block = next((b for b in field.blocks if b.block == layer), None)
    if split is not None:
        return block.splits[split] if block is not None else None
    return next((s for s in field.stages if s.stage == layer), block)


def with_random_weights(model: nn.Module) -> nn.Module:
    """Copy a network and draw its weights anew, the same ones every time.

    Every module's own ``reset_parameters`` runs, which also resets the statistics of batch norms;
    then timm's ``init_weights`` where there is one. Neither leaves the zeroes with which a branch
    may begin to learn (in the last batch norm of a block, in gains, in layer scales): they would
    cut the branches off. The copy is in eval mode and on the CPU, so that
    its weights do not depend on the device. Raises ``UnsupportedModelError``: some parameters
    belong to modules that cannot be reset.
    """
    model = copy.deepcopy(model).cpu()
    with seeded(_SEED):
        draw_anew(model.modules())
        initialise = getattr(model, "init_weights", None)
        if callable(initialise) and "zero_init_last" in inspect.signature(initialise).parameters:
            initialise(zero_init_last=False)
    return model.eval()


def draw_anew(modules: Iterable[nn.Module]) -> None:
    """Let every module reset its own parameters; see ``with_random_weights``, also for errors."""
    for module in modules:
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
            for name, own in module.named_parameters(recurse=False):
                if name in _GAINS:
                    nn.init.ones_(own)
        elif next(module.parameters(recurse=False), None) is not None:
            raise UnsupportedModelError(
                f"The weights of {type(module).__name__} layers cannot be drawn anew, so this "
                "model has no version with random weights."
            )
