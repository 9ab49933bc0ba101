"""Theoretical receptive fields of a network; see ``mscnn.scales.receptive_field`` for the theory.

All sizes are px of the network's input, along one side of a square; splits are in timm's order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mscnn.errors import UnknownLayerError
from mscnn.results.scales import BlockKind
from mscnn.results.schema import HIDDEN, BigInteger, column, computed


@dataclass(frozen=True, slots=True)
class Spectrum:
    """How many paths see how much: receptive field, px, smallest first, to an exact number."""

    sizes: Mapping[int, int] = field(metadata=HIDDEN)

    @property
    @computed()
    def rf_min_px(self) -> int:
        """Receptive field of the shortest path."""
        return min(self.sizes)

    @property
    @computed()
    def rf_max_px(self) -> int:
        """Receptive field of the longest path."""
        return max(self.sizes)

    @property
    @computed("distinct_sizes")
    def distinct(self) -> int:
        """Number of different sizes."""
        return len(self.sizes)

    @property
    @computed()
    def paths(self) -> BigInteger:
        """Number of all paths, exactly."""
        return sum(self.sizes.values())


class _Field:
    """What stages, blocks and splits have in common."""

    __slots__ = ()
    stride_px: int
    spectrum: Spectrum
    low: int
    high: int

    @property
    def rf_min_px(self) -> int:
        """Receptive field of the shortest path."""
        return self.spectrum.rf_min_px

    @property
    def rf_max_px(self) -> int:
        """Receptive field of the longest path."""
        return self.spectrum.rf_max_px

    def box(self, row: int, column: int) -> tuple[int, int, int, int]:
        """What the unit at ``(row, column)`` of the map can see, over all its paths.

        Edges as in ``geometry.Box``; may reach past the input, where there is only padding.
        """
        left, top = column * self.stride_px + self.low, row * self.stride_px + self.low
        side = self.high - self.low
        return left, top, left + side, top + side

    def centre(self, row: int, column: int) -> tuple[float, float]:
        """The middle of ``box``: ``(x, y)``, continuous."""
        left, top, right, bottom = self.box(row, column)
        return (left + right) / 2, (top + bottom) / 2


@dataclass(frozen=True, slots=True)
class SplitField(_Field):
    """One split of a block, as the block's last convolution reads it.

    Attributes:
        path: the operations from the block's input to the split along its longest way, such as
            ``("1x1", "3x3", "3x3")``; ``"pool"`` where the split is averaged;
            () where the block has no single input.
        low, high: the unit in row 0 and column 0 sees px ``low`` to ``high - 1``.
    """

    index: int = field(metadata=column(heading="split"))
    path: tuple[str, ...]
    spectrum: Spectrum = field(repr=False, metadata=column(flatten=True))
    low: int = field(metadata=HIDDEN)
    high: int = field(metadata=HIDDEN)
    stride_px: int = field(metadata=column(None, heading="stride_px"))


@dataclass(frozen=True, slots=True)
class BlockField(_Field):
    """The output of one residual block, and its splits; see ``SplitField`` for the units."""

    block: str = field(metadata=column(heading="name"))
    kind: BlockKind
    stride_px: int
    splits: tuple[SplitField, ...]
    spectrum: Spectrum = field(repr=False, metadata=column(flatten=True, before="splits"))
    low: int = field(metadata=HIDDEN)
    high: int = field(metadata=HIDDEN)


@dataclass(frozen=True, slots=True)
class StageField(_Field):
    """The output of one stage; see ``SplitField`` for the units."""

    stage: str = field(metadata=column(heading="name"))
    stride_px: int
    spectrum: Spectrum = field(repr=False, metadata=column(flatten=True))
    low: int = field(metadata=HIDDEN)
    high: int = field(metadata=HIDDEN)

    @property
    @computed("spectrum", details=True)
    def _spectrum(self) -> list[tuple[int, BigInteger]]:
        # Receptive field, px, and the number of paths that have it; smallest first.
        return sorted(self.spectrum.sizes.items())


@dataclass(frozen=True, slots=True)
class ReceptiveField:
    """The theoretical receptive fields of one network, local paths only, in order of depth.

    ``input_px`` is the side of the square that the network usually sees; there are no blocks where
    it has none of a known kind.
    """

    model: str
    input_px: int
    stages: tuple[StageField, ...]
    blocks: tuple[BlockField, ...]

    def stage(self, name: str) -> StageField:
        """Return one stage, by its module's name or its number (``"2"``, ``"stage2"``).

        Raises ``UnknownLayerError``: there is no such stage; the message lists those there are.
        """
        wanted = str(name).strip()
        for number, stage in enumerate(self.stages, 1):
            if wanted in (stage.stage, str(number), f"stage{number}"):
                return stage
        known = ", ".join(stage.stage for stage in self.stages)
        raise UnknownLayerError(f"{self.model} has no stage {wanted!r}; choose one of {known}.")

    def block(self, name: str) -> BlockField:
        """Return one block, by its module's name.

        Raises ``UnknownLayerError``: there is no such block; the message lists those there are.
        """
        wanted = str(name).strip()
        for block in self.blocks:
            if block.block == wanted:
                return block
        if not self.blocks:
            raise UnknownLayerError(f"{self.model} has no residual blocks whose paths are known.")
        known = ", ".join(block.block for block in self.blocks)
        raise UnknownLayerError(f"{self.model} has no block {wanted!r}; choose one of {known}.")

    @property
    def has_splits(self) -> bool:
        """Whether any block has more than one split."""
        return any(len(block.splits) > 1 for block in self.blocks)
