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
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mscnn.errors import PointError, UnknownLayerError, UnsupportedModelError
from mscnn.geometry import Box, ViewGeometry
from mscnn.maps.recorder import record
from mscnn.maps.single_pass import check_finite
from mscnn.results.receptive_field import BlockField, ReceptiveField, SplitField, StageField
from mscnn.results.scales import EffectiveField, Square
from mscnn.scales.families import hook_points

SHARES = (0.5, 0.9, 0.99)
_SEED = 1701
_SEEDING = threading.Lock()
Theory = StageField | BlockField | SplitField
"""The theoretical field of what is measured."""


@dataclass(frozen=True, slots=True)
class UnitPoint:
    """Where a unit is read.

    Attributes:
        layer: the stage or block asked for, such as ``"layer3.1"``.
        split: 0-based split of the block, timm's order; None for the layer's output.
        module: module whose input or output is read.
        channels: first and last channel (exclusive) of the split; None for all of them.
        at_input: whether the unit lies in the module's input instead of its output.
    """

    layer: str
    module: str
    split: int | None
    channels: tuple[int, int] | None
    at_input: bool


@dataclass(frozen=True, slots=True)
class Measured:
    """The gradient of one unit.

    Attributes:
        gradient: ``(H, W)`` float64 >= 0, px of the network's input, averaged over the inputs.
        unit: ``(row, column)`` in the layer's map.
        map_size: ``(rows, columns)`` of the layer's map.
    """

    gradient: npt.NDArray[np.float64]
    unit: tuple[int, int]
    map_size: tuple[int, int]


def find_point(model: nn.Module, layer: str, split: int | None) -> UnitPoint:
    """Settle where the units of a layer, or of one split of a block, are read.

    ``layer`` is a module name; with a ``split``, that of a residual block.

    Raises:
        UnknownLayerError: the layer is no block, or the block has no such split.
        UnsupportedModelError: there are no residual blocks.
    """
    if split is None:
        return UnitPoint(layer, layer, None, None, at_input=False)
    points = hook_points(model, [name for name, _ in model.named_modules() if name])
    point = next((p for p in points if p.block == layer), None)
    if point is None:
        known = ", ".join(p.block for p in points)
        raise UnknownLayerError(f"{layer} is no block, so it has no splits; choose one of {known}.")
    if not 0 <= split < point.splits:
        last = point.splits - 1
        numbered = f"are numbered 0 to {last}" if last else "are one, number 0"
        raise UnknownLayerError(f"The block {layer} has no split {split}; its splits {numbered}.")
    channels = None
    if point.splits > 1:
        convolution: Any = model.get_submodule(point.module)
        width = convolution.in_channels // point.splits
        channels = (split * width, (split + 1) * width)
    return UnitPoint(layer, point.module, split, channels, at_input=True)


def seen_point(point: tuple[float, float], geometry: ViewGeometry) -> tuple[float, float]:
    """Where a point of the photo lies on the network's input.

    Args:
        point: ``(x, y)``, fractions 0..1 of the upright photo's width and height.
        geometry: where the network's input lies on the photo.

    Returns:
        ``(x, y)``, px of the network's input, continuous.

    Raises:
        PointError: the network did not see that point.
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
    """Measure |d unit / d input| of the unit under a point.

    The unit's activation is the sum over its channels. One forward and one backward per input.

    Args:
        model: the network.
        xs: at least one ``(1, 3, H, W)`` input.
        at: where the unit is read.
        point: ``(x, y)``, px of the network's input, continuous, inside of it.
        theory: its theoretical field, where it is known: the unit is then the one whose
            field's centre lies nearest to the point, else the one whose cell holds it.

    Raises:
        UnknownLayerError: the module gives no map.
    """
    total = np.zeros(tuple(xs[0].shape[-2:]), dtype=np.float64)
    for x in xs:
        # A copy may ask for gradients even where the caller's tensor was made in inference mode.
        x = x.detach().clone().requires_grad_()
        activation = _activation(model, x, at)
        rows, columns = int(activation.shape[-2]), int(activation.shape[-1])
        unit = _unit(point, (rows, columns), (int(x.shape[-2]), int(x.shape[-1])), theory)
        if at.channels is not None:
            activation = activation[:, slice(*at.channels)]
        value = activation[0, :, unit[0], unit[1]].float().sum()
        (gradient,) = torch.autograd.grad(value, x)
        check_finite(gradient)
        total += gradient[0].cpu().double().abs().sum(dim=0).numpy()
    return Measured(total / len(xs), unit, (rows, columns))


def _activation(model: nn.Module, x: torch.Tensor, at: UnitPoint) -> torch.Tensor:
    """``(1, C, h, w)`` where the unit is read, with the graph that leads back to ``x``."""
    layers, inputs = ((), (at.module,)) if at.at_input else ((at.module,), ())
    with record(model, layers, inputs=inputs) as seen:
        model(x)
    return (seen.inputs if at.at_input else seen.outputs)[at.module]


def _unit(
    point: tuple[float, float],
    map_size: tuple[int, int],
    input_size: tuple[int, int],
    theory: Theory | None,
) -> tuple[int, int]:
    """Row and column of the unit that belongs to a point."""
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
    gradient: npt.NDArray[np.float64],
    centre: tuple[float, float],
    shares: Sequence[float] = SHARES,
) -> tuple[Square, ...]:
    """Find the smallest squares around a unit that hold given fractions of its gradient.

    Args:
        gradient: ``(H, W)`` >= 0.
        centre: ``(x, y)`` of the unit, px, continuous. The squares are centred on the pixel
            there, or, where padding puts the unit outside, on the nearest one.
        shares: 0..1.

    Returns:
        One square per share. A square may reach past the input, where nothing adds to it. Empty
        where the gradient is zero everywhere.
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


def log_scaled(gradient: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Compress a gradient: log10(1000 g / max + 1), which does not depend on its scale.

    Args:
        gradient: ``(H, W)`` >= 0.

    Returns:
        ``(H, W)`` from 0 to log10(1001); zeros for zeros.
    """
    largest = float(gradient.max(initial=0.0))
    if not largest > 0:
        return np.zeros_like(gradient, dtype=np.float64)
    scaled: npt.NDArray[np.float64] = np.log10(1000 * (gradient / largest) + 1)
    return scaled


def as_field(
    measured: Measured, *, field: ReceptiveField | None, at: UnitPoint, **known: Any
) -> EffectiveField:
    """Make a result of a measurement: with its squares, and the theoretical field beside it.

    Args:
        measured: the gradient.
        field: the model's theoretical fields, where they are known. They give the box and the
            unit's centre; without them the centre is that of the unit's cell.
        at: where the unit was read.
        known: the other attributes of ``EffectiveField``.
    """
    (row, column), (rows, columns) = measured.unit, measured.map_size
    height, width = measured.gradient.shape
    theory = theory_of(field, at)
    box: Box | None = None
    centre = ((column + 0.5) * width / columns, (row + 0.5) * height / rows)
    if theory is not None:
        box, centre = theory.box(row, column), theory.centre(row, column)
    return EffectiveField(
        layer=at.layer,
        split=at.split,
        unit=measured.unit,
        centre=centre,
        gradient=measured.gradient.astype(np.float32),
        theoretical=box,
        squares=squares(measured.gradient, centre),
        log_squares=squares(log_scaled(measured.gradient), centre),
        **known,
    )


def theory_of(field: ReceptiveField | None, at: UnitPoint) -> Theory | None:
    """The theoretical field of what is read; None for layers that are neither stage nor block."""
    if field is None:
        return None
    stage = next((s for s in field.stages if s.stage == at.layer), None)
    if stage is not None and at.split is None:
        return stage
    block = next((b for b in field.blocks if b.block == at.layer), None)
    if block is None or at.split is None:
        return block
    return block.splits[at.split]


def with_random_weights(model: nn.Module) -> nn.Module:
    """Copy a network and draw its weights anew, the same ones every time.

    Every module's own ``reset_parameters`` runs, which also resets the statistics of batch norms;
    then timm's ``init_weights`` where there is one, without its zeroes in the last batch norm of
    each block, which would cut the branches off. The copy is in eval mode and on the CPU, so that
    its weights do not depend on the device.

    Raises:
        UnsupportedModelError: some parameters belong to modules that cannot be reset.
    """
    model = copy.deepcopy(model).cpu()
    # torch.manual_seed would also seed the accelerators, which the fork does not restore. The
    # generator belongs to all threads.
    with _SEEDING, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(_SEED)
        for module in model.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
            elif next(module.parameters(recurse=False), None) is not None:
                raise UnsupportedModelError(
                    f"The weights of {type(module).__name__} layers cannot be drawn anew, so this "
                    "model has no version with random weights."
                )
        initialise = getattr(model, "init_weights", None)
        if callable(initialise) and "zero_init_last" in inspect.signature(initialise).parameters:
            initialise(zero_init_last=False)
    return model.eval()
