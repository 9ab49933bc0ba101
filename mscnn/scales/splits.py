"""Through which splits of its blocks a network's evidence for a class passed.

With A_i the channels of split i at the input of the block's last convolution, and
G_i = dy_c / dA_i the gradient of the class's logit:

* split CAM: sum over channels k of mean(G_ik) A_ik, signed; Grad-CAM (Selvaraju et al., ICCV
  2017, arXiv:1610.02391) of one split. The ReLU is left to the drawing.
* evidence: e_i = sum over positions of ReLU(sum over k of G_ik A_ik), in units of the logit; the
  gradient is not averaged (HiResCAM, Draelos and Carin, arXiv:2011.08891), so that before the
  ReLU the splits add up to the block's gradient times activation.
* evidence-weighted receptive field: sum of e_i r_i / sum of e_i, with r_i the split's largest
  theoretical receptive field.

Splits are counted in timm's order, in which the untouched (or pooled) split comes last. The
Res2Net paper (arXiv:1904.01169, equation 1) has it first: its y_1 is our last split, its y_i for
i > 1 our split i - 2 (ours counted from 0).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import nn

from mscnn.errors import OptionError
from mscnn.geometry import Doubles, Floats, ViewGeometry
from mscnn.maps.recorder import record
from mscnn.maps.single_pass import Targets
from mscnn.results.scales import BlockScales, SplitEvidence
from mscnn.scales.families import HookPoint, hook_points

if TYPE_CHECKING:
    from mscnn.results.receptive_field import BlockField, ReceptiveField


class RawScales(NamedTuple):
    """All blocks, in order of depth, for one input and class; ``logits`` as ``(classes,)``."""

    logits: Floats
    target: int
    blocks: tuple[BlockScales, ...]


@dataclass(frozen=True, slots=True)
class BatchScales:
    """The evidence of all blocks for a batch, each sample with its own class.

    Attributes:
        logits: ``(B, classes)`` float32.
        evidence: per block of ``points``: ``(B, splits)`` float64 >= 0, in units of the logit.
        last, last_gradient: output of the layer named ``last``, and the gradient of each sample's
            class there: ``(B, C, h, w)`` in the model's dtype, on its device; None without a name.
    """

    logits: Floats
    evidence: tuple[Doubles, ...]
    points: tuple[HookPoint, ...]
    last: torch.Tensor | None = None
    last_gradient: torch.Tensor | None = None

    def sample(self, number: int) -> dict[str, Doubles]:
        """One sample: block to the ``(splits,)`` evidence of its splits."""
        pairs = zip(self.points, self.evidence, strict=True)
        return {point.block: evidence[number] for point, evidence in pairs}

    def weighted_rf_px(self, field: ReceptiveField | None) -> tuple[float | None, ...]:
        """The evidence-weighted receptive field of each sample; see ``weighted_rf``."""
        return tuple(weighted_rf(self.sample(n), field) for n in range(len(self.logits)))


def split_evidence(
    model: nn.Module,
    x: torch.Tensor,
    targets: Targets,
    stages: Sequence[str],
    field: ReceptiveField | None,
    geometry: ViewGeometry,
) -> RawScales:
    """Compute the split maps and the evidence of all blocks: one forward, one backward.

    Of one input, for the first of ``targets``; ``geometry`` says where it lies on the photo. Raises
    ``UnsupportedModelError``: the model is not built of residual blocks.
    """
    points = hook_points(model, stages)
    done = _record(model, x, points, lambda logits: targets.choose(logits[0])[:1])
    blocks = []
    for point, activation, gradient in zip(points, *done.by_split, strict=True):
        cams = torch.einsum("sk,skhw->shw", gradient[0].mean(dim=(2, 3)), activation[0])
        sums, known = _position_sums(activation, gradient)[0], _block_field(field, point.block)
        block = BlockScales(
            block=point.block, kind=point.kind, stride_px=known.stride_px if known else None,
            splits=_splits(_evidence(sums), point, known),
            maps=cams.cpu().numpy().astype(np.float32), geometry=geometry,
            gradient_times_activation=float(sums.sum()), target=done.targets[0],
        )  # fmt: skip
        blocks.append(block)
    return RawScales(done.logits[0], done.targets[0], tuple(blocks))


def batch_evidence(
    model: nn.Module,
    x: torch.Tensor,
    targets: Sequence[int],
    stages: Sequence[str],
    *,
    last: str | None = None,
) -> BatchScales:
    """Compute the evidence of all blocks for a batch: one forward, one backward.

    ``targets`` are B class indices; ``last`` names a layer after all blocks, such as the last
    stage, to keep as well. Raises ``UnsupportedModelError``: the model is not built of residual
    blocks; ``OptionError``: not one class per sample.
    """
    if len(targets) != len(x):
        raise OptionError(f"{len(targets)} classes were given for {len(x)} inputs; give one each.")
    points = hook_points(model, stages)
    done = _record(model, x, points, lambda _: targets, last)
    evidence = (_evidence(_position_sums(a, g)) for a, g in zip(*done.by_split, strict=True))
    return BatchScales(done.logits, tuple(evidence), points, *done.last)


class _Recorded(NamedTuple):
    """One forward and one backward of a batch; ``logits`` and ``last`` as in ``BatchScales``.

    ``by_split`` holds the activations of all hook points, and the gradients there:
    ``(B, splits, channels of one split, h, w)``, float32 or wider.
    """

    logits: Floats
    targets: tuple[int, ...]
    by_split: tuple[list[torch.Tensor], list[torch.Tensor]]
    last: tuple[torch.Tensor | None, torch.Tensor | None]


@torch.inference_mode(False)
@torch.enable_grad()
def _record(
    model: nn.Module,
    x: torch.Tensor,
    points: Sequence[HookPoint],
    choose: Callable[[torch.Tensor], Sequence[int]],
    last: str | None = None,
) -> _Recorded:
    """Run forward and backward once; only what follows the first hook point keeps a graph.

    ``choose`` turns the ``(B, classes)`` float32 logits into one class per sample.
    """
    outputs = [] if last is None else [last]
    with record(model, outputs, inputs=[p.module for p in points], with_graph=True) as seen:
        logits = model(x)
    detached = logits.detach().float()
    targets = tuple(choose(detached))
    activations = [seen.inputs[point.module] for point in points]
    activations += [seen.outputs[name] for name in outputs]
    # In eval mode samples do not mix: the gradient of the sum is each sample's own.
    score = logits[list(range(len(targets))), list(targets)].sum()
    gradients = torch.autograd.grad(score, activations)
    by_split = (_by_split(activations, points), _by_split(gradients, points))
    kept = (None, None) if last is None else (activations[-1].detach(), gradients[-1])
    return _Recorded(detached.cpu().numpy(), targets, by_split, kept)


def _by_split(tensors: Sequence[torch.Tensor], points: Sequence[HookPoint]) -> list[torch.Tensor]:
    # Sums over many channels lose too much in half precision.
    wide = [x.detach() if x.dtype == torch.float64 else x.detach().float() for x in tensors]
    return [x.unflatten(1, (p.splits, -1)) for x, p in zip(wide, points, strict=False)]


def _position_sums(activation: torch.Tensor, gradient: torch.Tensor) -> Doubles:
    """Sum over channels of gradient x activation: ``(B, splits, h, w)``, signed."""
    # In NumPy: not every device has the float64 in which sums over positions are taken.
    return (gradient * activation).sum(dim=2).cpu().numpy().astype(np.float64)


def weighted_rf(evidence: Mapping[str, Doubles], field: ReceptiveField | None) -> float | None:
    """Evidence-weighted receptive field of one decision, px of the network's input.

    As ``ScaleReport.weighted_rf_px``: the mean over the blocks in which evidence passed and whose
    fields are known, each block counted once. ``evidence`` is block to ``(splits,)``. Returns None
    where no block has a value; and for a network without splits, whose value is a constant of its
    architecture: it would cost a backward and say nothing of the photo.
    """
    if all(len(of_block) < 2 for of_block in evidence.values()):
        return None
    found = []
    for name, of_block in evidence.items():
        known, total = _block_field(field, name), float(of_block.sum())
        if known is not None and total > 0:
            sizes = [split.rf_max_px for split in known.splits]
            found.append(float(np.dot(of_block, sizes)) / total)
    return float(np.mean(found)) if found else None


def _evidence(positions: Doubles) -> Doubles:
    evidence: Doubles = np.maximum(positions, 0).sum(axis=(-2, -1))
    return evidence


def _block_field(field: ReceptiveField | None, name: str) -> BlockField | None:
    return next((b for b in field.blocks if b.block == name), None) if field else None


def _splits(
    evidence: Doubles, point: HookPoint, known: BlockField | None
) -> tuple[SplitEvidence, ...]:
    total = float(evidence.sum())
    shares = evidence / total if total > 0 else np.zeros_like(evidence)
    splits = []
    for index, (value, share) in enumerate(zip(evidence.tolist(), shares.tolist(), strict=True)):
        path, least, most = point.paths[index], None, None
        if known is not None:
            split = known.splits[index]
            path, least, most = tuple(split.path), split.rf_min_px, split.rf_max_px
        splits.append(SplitEvidence(index, path, least, most, value, share))
    return tuple(splits)
