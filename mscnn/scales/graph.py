"""What of a network decides its receptive fields: kernels, strides and joins, as a small graph.

Also the form in which the shipped table keeps it, and the arithmetic: what every node sees, over
all paths to it, in exact integers. See ``mscnn.scales.receptive_field`` for the source and for
what counts as a path. Plain data, no torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count, takewhile
from typing import Any, Literal, NamedTuple, get_args

from mscnn.results.scales import BlockKind

Op = Literal["input", "conv", "pool", "merge"]
_OPS: Mapping[str, Op] = {op[0]: op for op in get_args(Op)}
_DEFAULTS = (1, 1, 1, 0)
"""Kernel, stride, dilation and padding of a bare ``Node``."""


@dataclass(frozen=True, slots=True)
class Node:
    """One operation that widens, strides, shifts or joins.

    Attributes:
        op: ``merge``: several inputs (numbers of nodes) of one stride added, multiplied or
            concatenated; all but ``input`` have one. A pool of kernel 1 is bare padding.
        padding: px of its own input, on the left and at the top; negative where it crops.
    """

    op: Op
    inputs: tuple[int, ...]
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    padding: int = 0
    name: str = ""

    @property
    def label(self) -> str:
        """What a person calls it: ``"3x3"``, ``"3x3 dilated 2"``, ``"pool"``; "" for no step."""
        if self.op != "conv":
            return "pool" if self.op == "pool" and self.kernel > 1 else ""
        dilated = f" dilated {self.dilation}" if self.dilation > 1 else ""
        return f"{self.kernel}x{self.kernel}{dilated}"


@dataclass(frozen=True, slots=True)
class Graph:
    """What of a network decides its receptive fields.

    Attributes:
        nodes: each after all of its inputs.
        points: name of a hook point to the node that it sees: ``"layer1"`` a stage's output,
            ``"layer1.0"`` a block's output, ``"layer1.0/input"`` what the block reads, if one
            map, ``"layer1.0/split0"`` split 0 of what its last convolution reads.
        kinds: name of each block to how its splits relate, in order of depth.
    """

    nodes: tuple[Node, ...]
    points: Mapping[str, int]
    kinds: Mapping[str, BlockKind]

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages, in order of depth."""
        return tuple(n for n in self.points if n not in self.kinds and "/" not in n)

    def splits(self, block: str) -> tuple[int, ...]:
        """Nodes of a block's splits, in timm's order."""
        names = (f"{block}/split{index}" for index in count())
        return tuple(map(self.points.__getitem__, takewhile(self.points.__contains__, names)))


def to_row(graph: Graph) -> dict[str, Any]:
    """Return a graph as short JSON, which ``from_row`` reads.

    A node is its operation's first letter, its inputs counted backwards from itself, then kernel,
    stride, dilation and padding as far as they differ from 1, 1, 1, 0.
    """
    nodes = []
    for number, node in enumerate(graph.nodes):
        numbers = [node.kernel, node.stride, node.dilation, node.padding]
        while numbers and numbers[-1] == _DEFAULTS[len(numbers) - 1]:
            numbers.pop()
        nodes.append([node.op[0], [number - source for source in node.inputs], *numbers])
    blocks = {
        name: [kind, graph.points.get(f"{name}/input"), graph.points[name], *graph.splits(name)]
        for name, kind in graph.kinds.items()
    }
    stages = {name: graph.points[name] for name in graph.stages}
    return {"nodes": nodes, "stages": stages, "blocks": blocks}


def from_row(row: Mapping[str, Any]) -> Graph:
    """Return the graph of a row that ``to_row`` made."""
    nodes: list[Node] = []
    for number, entry in enumerate(row["nodes"]):
        inputs = tuple(number - steps for steps in entry[1])
        nodes.append(Node(_OPS[entry[0]], inputs, *entry[2:]))
    points: dict[str, int] = dict(row["stages"])
    kinds: dict[str, BlockKind] = {}
    for name, (kinds[name], source, points[name], *splits) in row["blocks"].items():
        if source is not None:
            points[f"{name}/input"] = source
        points |= {f"{name}/split{index}": node for index, node in enumerate(splits)}
    return Graph(tuple(nodes), points, kinds)


class Reach(NamedTuple):
    """What the units of one node see.

    Attributes:
        sizes: receptive field, px, to the number of paths that have it. Nodes may share it.
        stride: px of the network's input between two units; unit 0 sees px ``low`` to ``high - 1``.
    """

    sizes: dict[int, int]
    stride: int
    low: int
    high: int


def reaches(nodes: tuple[Node, ...]) -> list[Reach]:
    """Work out what each node sees; ``ValueError``: nodes out of order or that do not fit."""
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
    sizes = sum((Counter(reach.sizes) for reach in joined), Counter[int]())
    low, high = min(reach.low for reach in joined), max(reach.high for reach in joined)
    return Reach(sizes, strides[0], low, high)


def longest_way(
    nodes: tuple[Node, ...], seen: list[Reach], source: int, target: int
) -> tuple[str, ...]:
    """Labels of the way from ``source`` to ``target`` that widens most, then has most steps."""
    # To each node: growth in px, number of steps, and labels; the longer way compares as greater.
    best: dict[int, tuple[int, int, tuple[str, ...]]] = {source: (0, 0, ())}
    for number in range(source + 1, target + 1):
        node = nodes[number]
        ways = [(*best[i], seen[i].stride) for i in node.inputs if i in best]
        if ways:
            px, steps, labels, stride = max(ways)
            step = (node.label,) if node.label else ()
            px += node.dilation * (node.kernel - 1) * stride
            best[number] = px, steps + len(step), labels + step
    return best[target][2] if target in best else ()
