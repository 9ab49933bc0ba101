"""Theoretical receptive fields: exact integers over every path of a network, without torch.

The arithmetic is that of Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional
Neural Networks", Distill 2019, doi:10.23915/distill.00021, in its forward form: an operation with
kernel k, stride s and dilation d on maps of stride j adds d(k-1)j to the size and multiplies the
stride by s. Where they keep the largest size of all paths, every path is counted here, so that a
position has a spectrum: how many paths see how much.

A path is one way through the modules from the input to a position. The splits of a Res2Net block
are ways of their own; channels, cardinal groups and radix branches are not, for they all pass the
same module. Global context (squeeze-and-excitation, split attention) is left out: strictly, a
gate lets every position depend on the whole picture. What is reported is the local path.

All sizes are px of the network's input, along one side of a square.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from typing import Any, cast

from mscnn.errors import UnknownLayerError
from mscnn.models import registry
from mscnn.results.scales import BlockKind
from mscnn.scales.graph import Graph, Reach, from_row, longest_way, reaches

TABLE = "_topologies.json"
"""What ``python -m scripts.topologies --write`` wrote; lies beside this module."""


@dataclass(frozen=True, slots=True)
class Spectrum:
    """How many paths see how much.

    Attributes:
        sizes: receptive field, px, to the exact number of paths that have it; smallest first.
    """

    sizes: Mapping[int, int]

    @property
    def rf_min_px(self) -> int:
        """Receptive field of the shortest path, px."""
        return min(self.sizes)

    @property
    def rf_max_px(self) -> int:
        """Receptive field of the longest path, px."""
        return max(self.sizes)

    @property
    def paths(self) -> int:
        """Number of all paths, exactly."""
        return sum(self.sizes.values())

    @property
    def distinct(self) -> int:
        """Number of different sizes."""
        return len(self.sizes)


class _Field:
    """What stages, blocks and splits have in common."""

    __slots__ = ()
    stride_px: int
    spectrum: Spectrum
    low: int
    high: int

    @property
    def rf_min_px(self) -> int:
        """Receptive field of the shortest path, px."""
        return self.spectrum.rf_min_px

    @property
    def rf_max_px(self) -> int:
        """Receptive field of the longest path, px."""
        return self.spectrum.rf_max_px

    def box(self, row: int, column: int) -> tuple[int, int, int, int]:
        """What the unit at ``(row, column)`` of the map can see, over all its paths.

        Returns:
            ``(left, top, right, bottom)``, px of the network's input, ``right`` and ``bottom``
            exclusive; may reach past the input, where there is only padding.
        """
        left, top = column * self.stride_px + self.low, row * self.stride_px + self.low
        side = self.high - self.low
        return left, top, left + side, top + side

    def centre(self, row: int, column: int) -> tuple[float, float]:
        """The middle of ``box``: ``(x, y)``, px of the network's input, continuous."""
        left, top, right, bottom = self.box(row, column)
        return (left + right) / 2, (top + bottom) / 2


@dataclass(frozen=True, slots=True)
class SplitField(_Field):
    """One split of a block, as the block's last convolution reads it.

    Attributes:
        index: 0-based, timm's order.
        path: the operations from the block's input to the split along its longest way, such as
            ``("1x1", "3x3", "3x3")``; ``"pool"`` where the split is averaged;
            () where the block has no single input.
        low, high: the unit in row 0 and column 0 sees px ``low`` to ``high - 1`` of the input.
        stride_px: px of the input between two units.
    """

    index: int
    path: tuple[str, ...]
    spectrum: Spectrum = field(repr=False)
    low: int
    high: int
    stride_px: int


@dataclass(frozen=True, slots=True)
class BlockField(_Field):
    """The output of one residual block, and its splits; see ``SplitField`` for the units."""

    block: str
    kind: BlockKind
    stride_px: int
    splits: tuple[SplitField, ...]
    spectrum: Spectrum = field(repr=False)
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class StageField(_Field):
    """The output of one stage; see ``SplitField`` for the units."""

    stage: str
    stride_px: int
    spectrum: Spectrum = field(repr=False)
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class ReceptiveField:
    """The theoretical receptive fields of one network, local paths only.

    Attributes:
        input_px: side of the square that the network usually sees.
        stages, blocks: in order of depth; no blocks where the network has none of a known kind.
    """

    model: str
    input_px: int
    stages: tuple[StageField, ...]
    blocks: tuple[BlockField, ...]

    def stage(self, name: str) -> StageField:
        """Return one stage, by its module's name or its number (``"2"``, ``"stage2"``).

        Raises:
            UnknownLayerError: there is no such stage; the message lists those there are.
        """
        wanted = str(name).strip()
        for number, stage in enumerate(self.stages, 1):
            if wanted in (stage.stage, str(number), f"stage{number}"):
                return stage
        known = ", ".join(stage.stage for stage in self.stages)
        raise UnknownLayerError(f"{self.model} has no stage {wanted!r}; choose one of {known}.")

    def block(self, name: str) -> BlockField:
        """Return one block, by its module's name.

        Raises:
            UnknownLayerError: there is no such block; the message lists those there are.
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


def fields(graph: Graph, *, model: str, input_px: int) -> ReceptiveField:
    """Work out the receptive fields of all stages, blocks and splits of a graph.

    Args:
        graph: a network's.
        model: what to call it.
        input_px: side of the square that it usually sees.

    Raises:
        ValueError: a node reads one that does not come before it, has a wrong number of inputs,
            or joins maps of different strides.
    """
    seen = reaches(graph.nodes)

    def split(block: str, index: int, node: int) -> SplitField:
        source = graph.taps.get(f"{block}/input")
        path = () if source is None else longest_way(graph.nodes, seen, source, node)
        return SplitField(index, path, **_extent(seen[node]))

    def block(name: str, kind: BlockKind) -> BlockField:
        splits = tuple(split(name, i, node) for i, node in enumerate(graph.splits(name)))
        return BlockField(name, kind, splits=splits, **_extent(seen[graph.taps[name]]))

    stages = (StageField(name, **_extent(seen[graph.taps[name]])) for name in graph.stages)
    blocks = (block(name, kind) for name, kind in graph.kinds.items())
    return ReceptiveField(model, input_px, tuple(stages), tuple(blocks))


def _extent(reach: Reach) -> dict[str, Any]:
    spectrum = Spectrum(dict(sorted(reach.sizes.items())))
    return {"stride_px": reach.stride, "spectrum": spectrum, "low": reach.low, "high": reach.high}


@lru_cache(maxsize=64)
def known(name: str) -> ReceptiveField | None:
    """Return the receptive fields of a model of the registry at once, from the shipped table.

    Args:
        name: as ``registry.find`` takes it.

    Returns:
        None for a model that the table does not have.
    """
    spec = registry.find(name)
    row = _table().get(spec.architecture) if spec is not None else None
    if spec is None or row is None:
        return None
    return fields(from_row(row), model=spec.name, input_px=spec.input_px)


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    text = files("mscnn.scales").joinpath(TABLE).read_text(encoding="utf-8")
    return cast("dict[str, Any]", json.loads(text)["architectures"])
