"""Frozen results of the multi-scale lens, on NumPy: what is drawn, listed and written.

Blocks are named as timm's modules (``"layer2.1"``). Splits are counted from 0 in timm's order, in
which the untouched split of a Res2Net block is the *last*; the paper's figure has it first. All
receptive fields are px of the network's input, along one side of a square.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from mscnn.errors import UnknownLayerError
from mscnn.geometry import Box, FloatMap, ViewGeometry, resize_map
from mscnn.results.explanation import CamMap, Prediction, RgbArray, Score
from mscnn.results.schema import HIDDEN, column, computed

BlockKind = Literal["hierarchy", "parallel", "single"]
"""How the parts of a block relate: ``hierarchy``: each split also gets the one before it (Res2Net);
``parallel``: the splits stand side by side, as in the first block of every Res2Net stage (timm's
``is_first``); ``single``: one path (ResNet, ResNeXt, ResNeSt)."""
SPLIT_UNIT = "evidence, 1 = an even spread over all splits and places"
"""Unit of ``BlockScales.heats``."""


@dataclass(frozen=True, slots=True)
class SplitEvidence:
    """One split of a block: what it can see, and how much of the evidence passed through it.

    Attributes:
        path: the operations from the block's input to this split, in order, along its longest
            way: ``("1x1", "3x3", "3x3")``; ``"pool"`` where timm averages the last split.
        rf_min_px, rf_max_px: theoretical; None where the topology of the model is not known.
        evidence: sum over positions of ReLU(sum over channels of gradient x activation), in units
            of the logit, >= 0.
        share: ``evidence`` over the sum of the block's splits, 0..1; 0 where the block has none.
    """

    index: int = field(metadata=column(heading="split"))
    path: tuple[str, ...]
    rf_min_px: int | None
    rf_max_px: int | None
    evidence: float
    share: float


@dataclass(frozen=True, slots=True)
class BlockScales:
    """The splits of one block for one photo and class.

    Attributes:
        stride_px: px of the network's input between two positions of the splits' maps.
        maps: ``(splits, h, w)`` float32: the split CAMs, signed, before the ReLU:
            sum over channels of mean gradient x activation. One colour scale suits them all.
        gradient_times_activation: sum over all splits, channels and positions, signed; equals the
            sum of the splits' parts before the ReLU.
    """

    block: str
    kind: BlockKind
    stride_px: int | None
    splits: tuple[SplitEvidence, ...]
    maps: npt.NDArray[np.float32] = field(repr=False, metadata=HIDDEN)
    gradient_times_activation: float = field(metadata=column(before="splits"))
    target: int = field(metadata=HIDDEN)
    geometry: ViewGeometry = field(repr=False, metadata=HIDDEN)

    @property
    @computed(before="gradient_times_activation")
    def weighted_rf_px(self) -> float | None:
        """Evidence-weighted receptive field: sum of fraction x largest receptive field, px.

        None where no evidence passed, or where the receptive fields are not known.
        """
        parts = [s.share * s.rf_max_px for s in self.splits if s.rf_max_px is not None]
        known = len(parts) == len(self.splits) and any(s.evidence > 0 for s in self.splits)
        return float(sum(parts)) if known else None

    def cam(self, split: int) -> CamMap:
        """The map of one split, to be projected and drawn like any other.

        Raises ``UnknownLayerError``: the block has no such split.
        """
        if not 0 <= split < len(self.splits):
            raise UnknownLayerError(
                f"The block {self.block} has no split {split}; "
                f"its splits are numbered 0 to {len(self.splits) - 1}."
            )
        layer = f"{self.block}/split{split}"
        return CamMap(layer, self.target, "splitcam", self.maps[split], self.geometry)

    def heats(self, size: tuple[int, int]) -> tuple[list[FloatMap], float]:
        """Put the maps on the photo, on one scale.

        ReLU(map) divided by its mean over all splits and the view, so that a split with little
        evidence stays dark beside one with much. ``size``: ``(width, height)`` of a drawing of the
        photo. Returns per split ``(height, width)`` float32 in ``SPLIT_UNIT``, 0 outside the crop,
        and the largest value of all: the top of their colour scale, 0 without evidence.
        """
        cams = [self.cam(split.index) for split in self.splits]
        mean = float(np.mean([cam.on_view().mean() for cam in cams]))
        heats = [cam.on_photo(size) / mean if mean > 0 else np.zeros(size[::-1]) for cam in cams]
        as_float32 = [heat.astype(np.float32) for heat in heats]
        return as_float32, max(float(heat.max()) for heat in as_float32)


@dataclass(frozen=True, slots=True)
class ScaleReport:
    """Through which splits the evidence for one class passed, in every residual block.

    ``view`` is ``(H, W, 3)`` uint8 RGB, the pixels the network saw.
    """

    prediction: Prediction = field(metadata=column(flatten=True))
    target: Score = field(metadata=column("class"))
    blocks: tuple[BlockScales, ...]
    view: RgbArray = field(
        repr=False,
        metadata=column("input_px", before="weighted_rf_px", convert=lambda view: view.shape[1]),
    )
    seconds: float = 0.0
    notices: tuple[str, ...] = ()

    @property
    def attribution(self) -> dict[str, tuple[float, ...]]:
        """Block to the fractions of its splits (0..1, timm's order), in order of depth."""
        return {b.block: tuple(s.share for s in b.splits) for b in self.blocks}

    @property
    @computed(before="blocks")
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

        Raises ``UnknownLayerError``: no block has this name; the message lists those there are.
        """
        for block in self.blocks:
            if block.block == name:
                return block
        known = ", ".join(b.block for b in self.blocks)
        raise UnknownLayerError(f"There is no block {name!r}; choose one of {known}.")


class DecidedChannel(NamedTuple):
    """A channel with the radix branch that wins in it, and that branch's gate, 0..1."""

    channel: int
    radix: int
    gate: float


def _channel_means(gates: npt.NDArray[Any] | None) -> Any:
    return None if gates is None else gates.mean(1)


@dataclass(frozen=True, slots=True)
class BlockAttention:
    """Split attention (ResNeSt) of one block for one photo.

    The gate weighs channels of branches that all see the same area; it has no map and selects no
    scale.

    Attributes:
        radix, cardinality: as in the paper; channel c belongs to cardinal group
            ``c // (channels / cardinality)``.
        gates: ``(radix, channels)`` float32 in 0..1; adds up to 1 over ``radix`` (softmax), or, for
            radix 1, a sigmoid without competition.
        entropy_bits: mean over channels of the entropy over ``radix``, 0..log2(radix); None for
            radix 1, where there is no distribution.
        reference: ``(radix, channels)`` mean gates over reference photos; None where not asked for.
        maps: ``(radix, h, w)`` float32: per radix branch, sum over channels of
            mean gradient x gate x branch, signed; they add up to the map of the gated sum.
    """

    block: str
    radix: int
    cardinality: int
    gates: npt.NDArray[np.float32] = field(
        repr=False, metadata=column("mean_gates", heading="mean_gate_{}", convert=_channel_means)
    )
    entropy_bits: float | None = field(metadata=column(before="mean_gates"))
    reference: npt.NDArray[np.float32] | None = field(
        repr=False, metadata=column("reference_gates", heading="", convert=_channel_means)
    )
    maps: npt.NDArray[np.float32] = field(repr=False, metadata=HIDDEN)
    target: int = field(metadata=HIDDEN)
    geometry: ViewGeometry = field(repr=False, metadata=HIDDEN)

    @property
    @computed("channels", before="entropy_bits")
    def _channels(self) -> int:
        return int(self.gates.shape[1])

    @property
    @computed("group_gates", before="reference_gates")
    def _group_gates(self) -> npt.NDArray[Any]:
        # (cardinality, radix): means over the channels of each cardinal group.
        means: npt.NDArray[Any] = self.gates.reshape(self.radix, self.cardinality, -1).mean(-1)
        return means.T

    @property
    @computed("decided")
    def _decided(self) -> tuple[DecidedChannel, ...]:
        return self.decided()

    def decided(self, count: int = 10) -> tuple[DecidedChannel, ...]:
        """The most decided channels first; for radix 1 those farthest from one half."""
        best, top = self.gates.argmax(0), self.gates.max(0)
        rank = top if self.radix > 1 else np.abs(self.gates[0] - 0.5)
        order = np.argsort(-rank, kind="stable")[:count]
        return tuple(DecidedChannel(int(c), int(best[c]), float(top[c])) for c in order)

    def cam(self, branch: int) -> CamMap:
        """The gated map of one radix branch."""
        layer = f"{self.block}/radix{branch}"
        return CamMap(layer, self.target, "radixcam", self.maps[branch], self.geometry)


@dataclass(frozen=True, slots=True)
class AttentionReport:
    """Split attention of all blocks of a ResNeSt for one photo and class.

    ``references``: how many photos ``BlockAttention.reference`` was averaged over; 0 for none.
    """

    prediction: Prediction = field(metadata=column(flatten=True))
    target: Score = field(metadata=column("class"))
    blocks: tuple[BlockAttention, ...]
    references: int = field(metadata=column(before="blocks"))
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Square:
    """The smallest square around the unit that holds a fraction (``share``) of the gradient.

    ``side_px`` is odd; what of the square lies outside the network's input holds nothing.
    """

    share: float
    side_px: int


@dataclass(frozen=True, slots=True)
class EffectiveField:
    """The effective receptive field of one unit: the gradient of its activation to the input.

    Attributes:
        split: of the block ``layer``; None for a whole stage or block.
        unit: ``(row, column)`` of the unit in the layer's map.
        centre: ``(x, y)`` of the unit's centre, px of the network's input, continuous.
        gradient: ``(H, W)`` float32 >= 0, px of the network's input: |d sum over channels of the
            unit's activation / d input|, summed over RGB and averaged over ``inputs`` photos.
        theoretical: the theoretical field's box, px of the network's input; may reach past it.
            None where the topology is not known.
        squares: on ``gradient`` (Luo et al., NIPS 2016, arXiv:1701.04128).
        log_squares: on ``log10(gradient + 1)`` after scaling to a maximum of 1000 (RepLKNet's
            measure, arXiv:2203.06717, made independent of the gradient's scale).
        trained: False for the same architecture with random weights.
    """

    model: str
    layer: str
    split: int | None
    unit: tuple[int, int]
    centre: tuple[float, float]
    gradient: FloatMap = field(repr=False, metadata=HIDDEN)
    theoretical: Box | None = field(metadata=column(digits=3))
    squares: tuple[Square, ...]
    log_squares: tuple[Square, ...]
    inputs: int
    trained: bool
    view: RgbArray = field(repr=False, metadata=HIDDEN)
    geometry: ViewGeometry = field(repr=False, metadata=HIDDEN)
    seconds: float = 0.0

    @property
    @computed("input_px", before="unit")
    def _input_px(self) -> int | tuple[int, int]:
        # The side; (width, height) where the input is no square.
        width, height = self.geometry.view
        return width if width == height else (width, height)

    @property
    @computed("crop", before="unit", digits=3)
    def _crop(self) -> Box:
        return self.geometry.crop


PhotoBox = tuple[float, float, float, float]
"""``(left, top, right, bottom)`` as fractions 0..1 of the upright photo's width and height."""


def size_px(step: SweepStep) -> int:
    """The object's longer side in px of the network's input, before clipping."""
    return max(1, round(step.factor * int(min(step.view.shape[:2]))))


@dataclass(frozen=True, slots=True)
class SweepStep:
    """One size of the object.

    Attributes:
        factor: longer side of the pasted object over the side of the network's input.
        rect: where the object lies on the network's input, px, clipped to it.
        probability, rank: of the class, 0..1, and among all classes, 1 is best.
        energy_ratio: fraction of the map's positive evidence inside ``rect`` over its fraction of
            the area; 1 for an even spread. None where the map has no positive evidence.
        weighted_rf_px: evidence-weighted receptive field of the decision; None where the model has
            no splits or no evidence passed.
        raw: ``(h, w)`` float32, the last stage's Grad-CAM, signed, before the ReLU.
        view: ``(H, W, 3)`` uint8 RGB, what the network saw.
    """

    factor: float = field(metadata=column(convert=float))
    rect: tuple[int, int, int, int] = field(metadata=column(heading=""))
    probability: float
    rank: int
    energy_ratio: float | None
    weighted_rf_px: float | None
    raw: FloatMap = field(repr=False, metadata=HIDDEN)
    view: RgbArray = field(repr=False, metadata=HIDDEN)

    @property
    @computed("size_px", before="rect")
    def _size_px(self) -> int:
        return size_px(self)

    def density(self) -> FloatMap:
        """Evidence per area on what the network saw: ``(H, W)`` float32; see ``density``."""
        height, width = self.view.shape[:2]
        heat = resize_map(np.maximum(self.raw, 0), width, height)
        mean = float(heat.mean())
        return heat / mean if mean > 0 else np.zeros_like(heat)


@dataclass(frozen=True, slots=True)
class SweepCurve:
    """One model over all sizes, largest first.

    Attributes:
        label: the class, as this model calls it; "" where it does not know it.
        octaves: width of the range of sizes in which the probability stays at or above half of
            its best, in factors of two, interpolated; None where the class is unknown.
        mean_probability: area under probability over log size, divided by the range, 0..1.
        note: why something is missing, fit to show; "" where nothing is.
        is_only: whether the network has no other class, so that the rank is always 1.
    """

    model: str
    target: int | None
    label: str
    steps: tuple[SweepStep, ...]
    octaves: float | None = field(metadata=column(before="steps"))
    mean_probability: float | None = field(metadata=column(before="steps"))
    note: str = field(default="", metadata=column(before="steps"))
    seconds: float = field(default=0.0, metadata=column(before="steps"))
    is_only: bool = field(default=False, repr=False, metadata=HIDDEN)


@dataclass(frozen=True, slots=True)
class Sweep:
    """The same object at many sizes, largest first, through one to four models.

    Attributes:
        canvas: what surrounds the object: see ``mscnn.scales.canvas.CANVASES``.
        box: the part of the photo that was used, fractions of the photo.
        partial: it was stopped before all sizes or models were done.
    """

    label: str = field(metadata=column("class"))
    factors: tuple[float, ...] = field(metadata=column(convert=lambda sizes: [*map(float, sizes)]))
    canvas: str = field(metadata=column(before="factors"))
    box: PhotoBox = field(metadata=column(before="factors", digits=6))
    curves: tuple[SweepCurve, ...] = field(metadata=column("models"))
    partial: bool = field(default=False, metadata=column(before="models"))
