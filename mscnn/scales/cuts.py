"""Cut splits out of a network: what its answer needs, which evidence alone cannot say.

A split is cut where the block's last convolution reads it (see ``mscnn.scales.families``): its
channels get a constant, so the block adds nothing there that depends on the photo, while the
splits that go on from it in the hierarchy, and the shortcut around the block, stay as they are.

* fill: the constant of each channel, its mean over reference photographs and all positions (mean
  ablation), or zero. Zero takes the network where it never is; the mean only takes the photo away.
* cap: a limit on the receptive field. In every block the splits are cut whose largest theoretical
  field, as the block's output sees it through them, exceeds it; a block with one path loses all of
  it, and its shortcut remains. A shortcut that pools sees one stride more than what it reads.
* control: as many channels of the same blocks cut at random positions. Where whole blocks are
  cut there is only one way to do that, so in networks with one path per block the control cuts
  as many blocks at random. Those are narrower on average than the deepest, which the cap cuts
  first, so where they cost less that need not be for their reach.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mscnn.errors import OptionError
from mscnn.geometry import Floats
from mscnn.maps.recorder import change_inputs, record
from mscnn.maps.single_pass import batch_grad_cam
from mscnn.models.probabilities import check_finite
from mscnn.results.receptive_field import BlockField, ReceptiveField
from mscnn.scales.families import HookPoint

Cut = Mapping[str, npt.NDArray[np.bool_]]
"""Hook point, by module name, to which of its channels are cut: ``(C,)`` bool."""
Fill = Mapping[str, torch.Tensor]
"""Hook point, by module name, to what replaces each cut channel: ``(C,)`` float32."""
FILLS = ("mean", "zero")
BATCH = 16
"""Cuts per forward, so that Stop answers soon and memory stays low."""
STEPS = 12
DRAWS = 20


def widths(model: nn.Module, points: Sequence[HookPoint]) -> dict[str, int]:
    """How many channels each hook point has, by module name."""
    modules: dict[str, Any] = {p.module: model.get_submodule(p.module) for p in points}
    return {name: int(module.in_channels) for name, module in modules.items()}


@torch.inference_mode()
def fill_of(
    model: nn.Module, points: Sequence[HookPoint], references: Sequence[torch.Tensor]
) -> Fill:
    """What to put in place of cut channels: their means over ``references``, zero without any.

    ``references`` are inputs ``(B, 3, H, W)`` on the model's device, in its dtype; photographs
    count equally, whatever their size.
    """
    sums = {m: torch.zeros(width) for m, width in widths(model, points).items()}
    for x in references:
        with record(model, [], inputs=list(sums)) as seen:
            model(x)
        for module in sums:
            sums[module] += seen.inputs[module].float().mean(dim=(2, 3)).sum(dim=0).cpu()
    count = max(sum(len(x) for x in references), 1)
    return {module: total / count for module, total in sums.items()}


@contextmanager
def cut_out(model: nn.Module, cuts: Sequence[Cut], fill: Fill) -> Iterator[None]:
    """Cut channels while the block runs: sample i of a batch loses what ``cuts[i]`` names."""

    def change(mask: torch.Tensor, constant: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return torch.where(mask.to(x.device), constant.to(x), x)

    changes = {}
    for module, constant in fill.items():
        if any(module in cut for cut in cuts):
            none = np.zeros(len(constant), bool)
            mask = torch.from_numpy(np.stack([cut.get(module, none) for cut in cuts]))
            changes[module] = partial(change, mask[..., None, None], constant[:, None, None])
    with change_inputs(model, changes):
        yield


@torch.inference_mode()
def logits_without(model: nn.Module, x: torch.Tensor, cuts: Sequence[Cut], fill: Fill) -> Floats:
    """The logits of one input ``(1, 3, H, W)`` under each cut: ``(cuts, classes)`` float32.

    Raises ``WeightsError``: the network gives no finite numbers.
    """
    with cut_out(model, cuts, fill):
        logits = model(x.expand(len(cuts), -1, -1, -1)).float()
    check_finite(logits)
    found: Floats = logits.cpu().numpy()
    return found


def maps_without(
    model: nn.Module,
    x: torch.Tensor,
    cuts: Sequence[Cut],
    fill: Fill,
    target: int,
    last: str,
    linear: nn.Linear | None,
) -> tuple[Floats, Floats]:
    """Like ``logits_without``, and the last stage's Grad-CAM: ``(cuts, h, w)`` float32, signed.

    For ``last`` and ``linear`` see ``mscnn.maps.methods.Method.compute``.
    """
    with cut_out(model, cuts, fill):
        return batch_grad_cam(model, x.expand(len(cuts), -1, -1, -1), target, last, linear)


def each_split(model: nn.Module, points: Sequence[HookPoint]) -> list[Cut]:
    """One cut for each split of each block, in order of depth and in timm's order."""
    channels = widths(model, points)
    return [
        {p.module: np.repeat(np.arange(p.splits) == split, channels[p.module] // p.splits)}
        for p in points
        for split in range(p.splits)
    ]


def _through(block: BlockField) -> list[int]:
    """How far a block sees through each split, px: in a basic block a 3x3 convolution reads it."""
    sizes = [split.rf_max_px for split in block.splits]
    return [size + block.rf_max_px - max(sizes) for size in sizes]


def cap(model: nn.Module, points: Sequence[HookPoint], field: ReceptiveField, limit_px: int) -> Cut:
    """The cut of all splits by which a block can see more than a limit, in px of the input.

    Raises ``UnknownLayerError``: the receptive fields of a block are not known.
    """
    channels, found = widths(model, points), {}
    for point in points:
        too_far = [size > limit_px for size in _through(field.block(point.block))]
        if any(too_far):
            found[point.module] = np.repeat(too_far, channels[point.module] // point.splits)
    return found


def limits(field: ReceptiveField, asked: Sequence[int] | None = None) -> list[int]:
    """The limits of a cap, smallest first: those asked for, or spread over the splits' sizes.

    Without ``asked`` these are at most ``STEPS`` of the distinct largest fields through splits, the
    smallest and the largest among them; at the largest nothing is cut. Raises ``OptionError``: no
    limit, or one outside of that range.
    """
    sizes = sorted({size for block in field.blocks for size in _through(block)})
    if asked is None:
        chosen = np.linspace(0, len(sizes) - 1, min(STEPS, len(sizes)))
        return [sizes[round(float(index))] for index in chosen]
    if not len(asked):
        raise OptionError("No limit was given; give at least one, or None for the usual ones.")
    for limit in asked:
        if not sizes[0] <= limit <= sizes[-1]:
            raise OptionError(
                f"The limit {limit} px is out of range: the parts of {field.model} see "
                f"{sizes[0]} to {sizes[-1]} px."
            )
    return sorted({int(limit) for limit in asked})


def has_splits(points: Sequence[HookPoint]) -> bool:
    """Whether some block has more than one path, so that a control can be of its channels."""
    return any(point.splits > 1 for point in points)


def at_random(
    cut: Cut, points: Sequence[HookPoint], channels: Mapping[str, int], rng: np.random.Generator
) -> Cut:
    """Draw a control of a cut: as many channels of the same blocks at random positions.

    In a network with one path per block: as many blocks at random. ``channels`` is what ``widths``
    gives for ``points``.
    """
    if not has_splits(points):
        drawn = rng.choice(len(points), len(cut), replace=False)
        modules = [points[number].module for number in drawn]
        return {module: np.ones(channels[module], bool) for module in modules}
    return {module: rng.permutation(mask) for module, mask in cut.items()}
