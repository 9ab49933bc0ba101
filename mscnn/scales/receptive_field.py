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
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, cast

from mscnn.models import registry
from mscnn.results.receptive_field import (
    BlockField,
    ReceptiveField,
    Spectrum,
    SplitField,
    StageField,
)
from mscnn.results.scales import BlockKind
from mscnn.scales.graph import Graph, Reach, from_row, longest_way, reaches

TABLE = "_topologies.json"
"""What ``python -m scripts.topologies --write`` wrote; lies beside this module."""


def fields(graph: Graph, *, model: str, input_px: int) -> ReceptiveField:
    """Work out the receptive fields of all stages, blocks and splits of a network's graph.

    ``model`` is what to call it, ``input_px`` the side of the square that it usually sees. Raises
    ``ValueError``: see ``reaches``.
    """
    seen = reaches(graph.nodes)

    def split(block: str, index: int, node: int) -> SplitField:
        source = graph.points.get(f"{block}/input")
        path = () if source is None else longest_way(graph.nodes, seen, source, node)
        return SplitField(index, path, **_extent(seen[node]))

    def block(name: str, kind: BlockKind) -> BlockField:
        splits = tuple(split(name, i, node) for i, node in enumerate(graph.splits(name)))
        return BlockField(name, kind, splits=splits, **_extent(seen[graph.points[name]]))

    stages = (StageField(name, **_extent(seen[graph.points[name]])) for name in graph.stages)
    blocks = (block(name, kind) for name, kind in graph.kinds.items())
    return ReceptiveField(model, input_px, tuple(stages), tuple(blocks))


def _extent(reach: Reach) -> dict[str, Any]:
    spectrum = Spectrum(dict(sorted(reach.sizes.items())))
    return {"stride_px": reach.stride, "spectrum": spectrum, "low": reach.low, "high": reach.high}


@lru_cache(maxsize=64)
def known(name: str) -> ReceptiveField | None:
    """Return the receptive fields of a model of the registry from the shipped table; else None."""
    spec = registry.find(name)
    if spec is None or spec.architecture not in _table():
        return None
    graph = from_row(_table()[spec.architecture])
    return fields(graph, model=spec.name, input_px=spec.input_px)


@cache
def _table() -> dict[str, Any]:
    text = files("mscnn.scales").joinpath(TABLE).read_text(encoding="utf-8")
    return cast("dict[str, Any]", json.loads(text)["architectures"])
