"""Results per split of a block: evidence, maps, and what each can see."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from mscnn.errors import UnknownLayerError
from mscnn.geometry import ViewGeometry
from mscnn.types import CamMap, Prediction, RgbArray, Score

BlockKind = Literal["hierarchy", "parallel", "single"]
"""How the parts of a block relate: ``hierarchy``: each split also gets the one before it (Res2Net);
``parallel``: the splits stand side by side, as in the first block of every Res2Net stage (timm's
``is_first``); ``single``: one path (ResNet, ResNeXt, ResNeSt)."""


@dataclass(frozen=True, slots=True)
class SplitEvidence:
    """One split of a block: what it can see, and how much of the evidence passed through it.

    Attributes:
        index: 0-based, timm's order.
        path: the operations from the block's input to this split, in order, along its longest
            way: ``("1x1", "3x3", "3x3")``; ``"pool"`` where timm averages the last split.
        rf_min_px, rf_max_px: theoretical receptive field, px of the network's input; None where
            the topology of the model is not known.
        evidence: sum over places of ReLU(sum over channels of gradient x activation), in units
            of the logit, >= 0.
        share: ``evidence`` over the sum of the block's splits, 0..1; 0 where the block has none.
    """

    index: int
    path: tuple[str, ...]
    rf_min_px: int | None
    rf_max_px: int | None
    evidence: float
    share: float


@dataclass(frozen=True, slots=True)
class BlockScales:
    """The splits of one block for one photo and class.

    Attributes:
        block: module name, such as ``"layer2.1"``.
        stride_px: px of the network's input between two places of the splits' maps.
        maps: ``(splits, h, w)`` float32: the split CAMs, signed, before the ReLU:
            sum over channels of mean gradient x activation. One colour scale suits them all.
        gradient_times_activation: sum over all splits, channels and places, signed; equals the
            sum of the splits' parts before the ReLU.
    """

    block: str
    kind: BlockKind
    stride_px: int | None
    splits: tuple[SplitEvidence, ...]
    maps: npt.NDArray[np.float32] = field(repr=False)
    gradient_times_activation: float
    target: int
    geometry: ViewGeometry = field(repr=False)

    @property
    def weighted_rf_px(self) -> float | None:
        """Evidence-weighted receptive field: sum of share x largest receptive field, px.

        None where no evidence passed, or where the receptive fields are not known.
        """
        if not any(s.evidence > 0 for s in self.splits):
            return None
        if any(s.rf_max_px is None for s in self.splits):
            return None
        return float(sum(s.share * (s.rf_max_px or 0) for s in self.splits))

    def cam(self, split: int) -> CamMap:
        """The map of one split, to be projected and drawn like any other.

        Raises:
            UnknownLayerError: the block has no such split.
        """
        if not 0 <= split < len(self.splits):
            raise UnknownLayerError(
                f"The block {self.block} has no split {split}; "
                f"its splits are numbered 0 to {len(self.splits) - 1}."
            )
        layer = f"{self.block}/split{split}"
        return CamMap(layer, self.target, "splitcam", self.maps[split], self.geometry)


@dataclass(frozen=True, slots=True)
class ScaleReport:
    """Through which splits the evidence for one class passed, block by block.

    Attributes:
        prediction: the answer itself.
        target: the class explained.
        blocks: all blocks of the model that have a tap, in order of depth.
        view: ``(H, W, 3)`` uint8 RGB, the pixels the network saw.
    """

    prediction: Prediction
    target: Score
    blocks: tuple[BlockScales, ...]
    view: RgbArray = field(repr=False)
    seconds: float = 0.0
    notices: tuple[str, ...] = ()

    @property
    def attribution(self) -> dict[str, tuple[float, ...]]:
        """Block to the shares of its splits (0..1, timm's order), in order of depth."""
        return {b.block: tuple(s.share for s in b.splits) for b in self.blocks}

    @property
    def weighted_rf_px(self) -> float | None:
        """Evidence-weighted receptive field of the whole decision, px.

        Mean over the blocks that have one, each block counted once: every block passes on the
        same decision, so its evidence must not count more where maps are larger.
        """
        known = [w for b in self.blocks if (w := b.weighted_rf_px) is not None]
        return float(np.mean(known)) if known else None

    @property
    def has_splits(self) -> bool:
        """Whether any block has more than one split."""
        return any(len(b.splits) > 1 for b in self.blocks)

    def block(self, name: str) -> BlockScales:
        """Return one block.

        Raises:
            UnknownLayerError: no block has this name; the message lists those there are.
        """
        for block in self.blocks:
            if block.block == name:
                return block
        known = ", ".join(b.block for b in self.blocks)
        raise UnknownLayerError(f"There is no block {name!r}; choose one of {known}.")
