"""Through which splits of its blocks a network's evidence for a class passed.

With A_i the channels of split i at the input of the block's last convolution, and
G_i = dy_c / dA_i the gradient of the class's logit:

* split CAM: sum over channels k of mean(G_ik) A_ik, signed; Grad-CAM (Selvaraju et al., ICCV
  2017, arXiv:1610.02391) of one split. The ReLU is left to the drawing.
* evidence: e_i = sum over places of ReLU(sum over k of G_ik A_ik), in units of the logit; the
  gradient is not averaged (HiResCAM, Draelos and Carin, arXiv:2011.08891), so that before the
  ReLU the splits add up to the block's gradient times activation.
* evidence-weighted receptive field: sum of e_i r_i / sum of e_i, with r_i the split's largest
  theoretical receptive field.

Splits are counted in timm's order, in which the untouched (or pooled) split comes last. The
Res2Net paper (arXiv:1904.01169, equation 1) has it first: its y_1 is our last split, its y_i for
i > 1 our split i - 2 (ours counted from 0).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mscnn.errors import OptionError, UnknownLayerError
from mscnn.geometry import ViewGeometry
from mscnn.maps.single_pass import Targets
from mscnn.results.scales import BlockScales, SplitEvidence
from mscnn.scales.blocks import BlockTap, block_taps
from mscnn.scales.tapped import run_tapped

if TYPE_CHECKING:
    from mscnn.scales.receptive_field import BlockField, ReceptiveField

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RawBlock:
    """The splits of one block for one input and class.

    Attributes:
        maps: ``(splits, h, w)`` float32: the split CAMs, signed, before the ReLU.
        evidence: ``(splits,)`` float64 >= 0, in units of the logit.
        gradient_times_activation: the sum over all splits, channels and places, signed.
    """

    tap: BlockTap
    maps: Floats
    evidence: Doubles
    gradient_times_activation: float


@dataclass(frozen=True, slots=True)
class RawScales:
    """All blocks for one input and class.

    Attributes:
        logits: ``(classes,)`` float32.
        target: index of the class explained.
        blocks: in order of depth.
    """

    logits: Floats
    target: int
    blocks: tuple[RawBlock, ...]


@dataclass(frozen=True, slots=True)
class BatchScales:
    """The evidence of all blocks for a batch, each sample with its own class.

    Attributes:
        logits: ``(B, classes)`` float32.
        evidence: per block of ``taps``: ``(B, splits)`` float64 >= 0, in units of the logit.
        last: ``(B, C, h, w)`` in the model's dtype, on its device: what the layer named ``last``
            put out; None where none was named.
        last_gradient: the gradient of each sample's class there, likewise.
    """

    logits: Floats
    evidence: tuple[Doubles, ...]
    taps: tuple[BlockTap, ...]
    last: torch.Tensor | None = None
    last_gradient: torch.Tensor | None = None

    def sample(self, number: int) -> dict[str, Doubles]:
        """One sample: block to the ``(splits,)`` evidence of its splits."""
        pairs = zip(self.taps, self.evidence, strict=True)
        return {tap.block: evidence[number] for tap, evidence in pairs}

    def weighted_rf_px(self, field: ReceptiveField | None) -> tuple[float | None, ...]:
        """The evidence-weighted receptive field of each sample; see ``weighted_rf``."""
        return tuple(weighted_rf(self.sample(n), field) for n in range(len(self.logits)))


def split_evidence(
    model: nn.Module, x: torch.Tensor, targets: Targets, stages: Sequence[str]
) -> RawScales:
    """Compute the split maps and the evidence of all blocks: one forward, one backward.

    Args:
        model: in eval mode; its parameters are not touched.
        x: ``(1, 3, H, W)``, on the model's device and in its dtype.
        targets: the class to explain; the first one is taken.
        stages: module names of the model's stages.

    Raises:
        UnsupportedModelError: the model is not built of residual blocks.
    """
    done = run_tapped(
        model, x, block_taps(model, stages), lambda logits: targets.choose(logits[0])[:1]
    )
    blocks = []
    for tapped in done.blocks:
        places = tapped.place_sums()[0]
        blocks.append(
            RawBlock(
                tap=tapped.tap,
                maps=tapped.split_cams()[0],
                evidence=_evidence(places),
                gradient_times_activation=float(places.sum()),
            )
        )
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

    In eval mode samples do not mix, so the gradient of the sum of their logits is each one's own.

    Args:
        model: in eval mode; its parameters are not touched.
        x: ``(B, 3, H, W)``, on the model's device and in its dtype.
        targets: B class indices.
        stages: module names of the model's stages.
        last: name of a layer after all blocks, such as the last stage, to keep as well.

    Raises:
        UnsupportedModelError: the model is not built of residual blocks.
        OptionError: not one class per sample.
    """
    if len(targets) != len(x):
        raise OptionError(f"{len(targets)} classes were given for {len(x)} inputs; give one each.")
    done = run_tapped(model, x, block_taps(model, stages), lambda _: targets, last)
    return BatchScales(
        logits=done.logits,
        evidence=tuple(_evidence(tapped.place_sums()) for tapped in done.blocks),
        taps=tuple(tapped.tap for tapped in done.blocks),
        last=done.last,
        last_gradient=done.last_gradient,
    )


def with_fields(
    raw: RawScales, field: ReceptiveField | None, geometry: ViewGeometry
) -> tuple[BlockScales, ...]:
    """Join the evidence with the receptive fields of the splits, in order of depth.

    Args:
        raw: what ``split_evidence`` returned.
        field: theoretical receptive fields; None, or without a block, where they are not known.
        geometry: where the network's input lies on the photo.
    """
    blocks = []
    for block in raw.blocks:
        known = _block_field(field, block.tap.block)
        blocks.append(
            BlockScales(
                block=block.tap.block,
                kind=block.tap.kind,
                stride_px=known.stride_px if known else None,
                splits=_splits(block, known),
                maps=block.maps,
                gradient_times_activation=block.gradient_times_activation,
                target=raw.target,
                geometry=geometry,
            )
        )
    return tuple(blocks)


def weighted_rf(evidence: Mapping[str, Doubles], field: ReceptiveField | None) -> float | None:
    """Evidence-weighted receptive field of one decision, px of the network's input.

    As ``ScaleReport.weighted_rf_px``: the mean over the blocks in which evidence passed and whose
    fields are known, each block counted once. But not for a network without splits, whose value
    is a constant of its architecture: it would cost a backward and say nothing of the photo.

    Args:
        evidence: block to the ``(splits,)`` evidence of its splits.
        field: theoretical receptive fields, where they are known.

    Returns:
        None where no block has more than one split, or where no block has one.
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


def _evidence(places: Doubles) -> Doubles:
    evidence: Doubles = np.maximum(places, 0).sum(axis=(-2, -1))
    return evidence


def _block_field(field: ReceptiveField | None, name: str) -> BlockField | None:
    if field is None:
        return None
    try:
        return field.block(name)
    except UnknownLayerError:
        return None


def _splits(block: RawBlock, known: BlockField | None) -> tuple[SplitEvidence, ...]:
    total = float(block.evidence.sum())
    splits = []
    for index, evidence in enumerate(block.evidence.tolist()):
        of_split = known.splits[index] if known else None
        splits.append(
            SplitEvidence(
                index=index,
                path=tuple(of_split.path) if of_split else _plain_path(block.tap, index),
                rf_min_px=of_split.rf_min_px if of_split else None,
                rf_max_px=of_split.rf_max_px if of_split else None,
                evidence=evidence,
                share=evidence / total if total > 0 else 0.0,
            )
        )
    return tuple(splits)


def _plain_path(tap: BlockTap, index: int) -> tuple[str, ...]:
    """The way to a split as the kind of block has it, where the topology is not known."""
    if tap.kind == "single":
        return ("1x1", "3x3") if tap.module.endswith("conv3") else ("3x3",)
    if index == tap.splits - 1:
        return ("1x1", "pool") if tap.kind == "parallel" else ("1x1",)
    return ("1x1", *["3x3"] * (1 if tap.kind == "parallel" else index + 1))
