"""The arithmetic of receptive fields: what every node of a graph sees, over all paths to it.

Exact integers; see ``mscnn.scales.receptive_field`` for the source and for what counts as a path.
"""

from __future__ import annotations

from typing import NamedTuple

from mscnn.scales.graph import Node


class Reach(NamedTuple):
    """What the units of one node see.

    Attributes:
        sizes: receptive field, px, to the number of paths that have it. Nodes may share it.
        stride: px of the network's input between two units.
        low, high: unit 0 sees px ``low`` to ``high - 1`` of the input, over all paths.
    """

    sizes: dict[int, int]
    stride: int
    low: int
    high: int


def reaches(nodes: tuple[Node, ...]) -> list[Reach]:
    """Work out what each node sees.

    Raises:
        ValueError: a node reads one that does not come before it, has a wrong number of inputs,
            or joins maps of different strides.
    """
    seen: list[Reach] = []
    for number, node in enumerate(nodes):
        wanted = {"input": node.inputs == (), "merge": len(node.inputs) > 0}
        if not wanted.get(node.op, len(node.inputs) == 1):
            raise ValueError(f"node {number} ({node.op}) cannot have {len(node.inputs)} inputs")
        if not all(0 <= source < number for source in node.inputs):
            raise ValueError(f"node {number} reads {node.inputs}, which do not come before it")
        sources = [seen[source] for source in node.inputs]
        if node.op == "input":
            seen.append(Reach({1: 1}, 1, 0, 1))
        elif node.op == "merge":
            seen.append(_merged(sources, number))
        else:
            seen.append(_widened(sources[0], node))
    return seen


def _widened(reach: Reach, node: Node) -> Reach:
    growth = node.dilation * (node.kernel - 1) * reach.stride
    shift = node.padding * reach.stride
    sizes = {size + growth: count for size, count in reach.sizes.items()} if growth else reach.sizes
    return Reach(sizes, reach.stride * node.stride, reach.low - shift, reach.high - shift + growth)


def _merged(joined: list[Reach], number: int) -> Reach:
    strides = sorted({reach.stride for reach in joined})
    if len(strides) > 1:
        raise ValueError(f"node {number} joins maps of different strides: {strides}")
    sizes = dict(joined[0].sizes)
    for reach in joined[1:]:
        for size, count in reach.sizes.items():
            sizes[size] = sizes.get(size, 0) + count
    low, high = min(reach.low for reach in joined), max(reach.high for reach in joined)
    return Reach(sizes, strides[0], low, high)


class _Way(NamedTuple):
    """A way through the nodes; the longer one compares as greater."""

    growth_px: int
    steps: int
    labels: tuple[str, ...]


def longest_way(
    nodes: tuple[Node, ...], seen: list[Reach], source: int, target: int
) -> tuple[str, ...]:
    """Labels of the way from ``source`` to ``target`` that widens most, then has most steps."""
    best: dict[int, _Way] = {source: _Way(0, 0, ())}
    for number in range(source + 1, target + 1):
        node = nodes[number]
        ways = [(best[i], seen[i].stride) for i in node.inputs if i in best]
        if not ways:
            continue
        way, stride = max(ways)
        growth = node.dilation * (node.kernel - 1) * stride
        step = (node.label,) if node.label else ()
        best[number] = _Way(way.growth_px + growth, way.steps + len(step), way.labels + step)
    return best[target].labels if target in best else ()
