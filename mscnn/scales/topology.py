"""The graph of a loaded network: what ``mscnn.scales.receptive_field`` needs to know of it.

Nothing is computed but shapes: a copy of the network without its weights runs once on torch's
``meta`` device, and ``Tracker`` notes for each tensor which node of the graph its positions (a
position is one row and column of a map) come from. Working below the modules, on some thirty kinds
of operation, needs no list of timm's layers, and follows code whose control flow depends on shapes
(padding to "same" sizes), where symbolic tracing stops.

What is not followed is marked with the reason, and matters only if something that is asked for
depends on it: a classifier head need not be followed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mscnn.errors import UnsupportedModelError
from mscnn.models.architecture import on_meta
from mscnn.results.scales import BlockKind
from mscnn.scales.families import HookPoint, hook_points
from mscnn.scales.graph import Graph, Node

# Deep enough for a stride of 64, and not square, so that rows are never taken for columns.
_ROWS, _WIDER = 256, 64
# Sides that differ by a multiple of this are alike down to it: padding to "same" sizes, which adds
# on the left what is odd, then moves the fields alike.
_ALIKE = 32


def trace(model: nn.Module, stages: Sequence[str], input_px: int = _ROWS) -> Graph:
    """Return the graph of a network, with hook points at its stages, blocks and splits.

    ``input_px`` is the side of the square that it usually sees, on which padding may depend.

    The splits of a Res2Net block are what is concatenated before its last convolution; any other
    block has one split, the input of that convolution. Blocks that cannot be followed are left out,
    and so is global context (gates, statistics of whole maps). A kernel that is not square counts
    with its wider side in both directions. Raises ``UnsupportedModelError``: something between the
    picture and a stage cannot be followed.
    """
    bare = on_meta(model)
    modules = dict(bare.named_modules())
    for stage in stages:
        if stage not in modules:
            raise UnsupportedModelError(f"This model has no module {stage} to take as a stage.")
    try:
        blocks = hook_points(bare, stages)
    except UnsupportedModelError:
        blocks = ()
    first = next((m for m in modules.values() if isinstance(m, nn.Conv2d)), None)
    channels = 3 if first is None else first.in_channels
    rows = _ROWS + input_px % _ALIKE
    x = torch.empty(1, channels, rows, rows + _WIDER, device="meta")
    tracker = Tracker(x)
    tracks: dict[str, Track] = {}

    def see(name: str, value: Any) -> None:
        tracks[name] = tracker.track(value)

    def see_splits(block: HookPoint, value: torch.Tensor) -> None:
        parts = tracker.parts(value) if block.splits > 1 else (tracker.track(value),)
        if len(parts) == block.splits:  # else put together in another way
            named = {f"{block.block}/split{i}": track for i, track in enumerate(parts)}
            tracks.update((name, track) for name, track in named.items() if track is not None)

    # A throw-away copy may keep its hooks.
    for name in [*stages, *(block.block for block in blocks)]:
        modules[name].register_forward_hook(lambda _m, _args, out, name=name: see(name, out))
    for block in blocks:
        modules[block.block].register_forward_pre_hook(
            lambda _m, args, name=f"{block.block}/input": see(name, args[0])
        )
        modules[block.module].register_forward_pre_hook(
            lambda _m, args, block=block: see_splits(block, args[0])
        )
    failure: Exception | None = None
    with torch.no_grad(), tracker:
        try:
            bare(x)
        except Exception as error:
            # The network is anybody's, and may refuse this size of input; what ran until then
            # may be all that is needed.
            failure = error
    local = {name: track.node for name, track in tracks.items() if isinstance(track, Local)}
    for stage in stages:
        if stage not in local:
            raise UnsupportedModelError(
                f"The receptive field of {stage} is not known: on the way there, this model "
                f"{_reason(tracks.get(stage), failure)}."
            )
    points, kinds = {stage: local[stage] for stage in stages}, dict[str, BlockKind]()
    for block in blocks:
        names = [block.block, *(f"{block.block}/split{i}" for i in range(block.splits))]
        if all(name in local for name in names):
            kinds[block.block] = block.kind
            points |= {name: local[name] for name in (*names, f"{names[0]}/input") if name in local}
    kept, points = _pruned(tracker.nodes, points)
    return Graph(kept, points, kinds)


def _reason(track: Track | None, failure: Exception | None) -> str:
    """Why a hook point sees no node: it was not reached, or its positions were lost."""
    if isinstance(track, Lost):
        return track.reason
    if track is not None:
        return "mixes the whole picture there"
    if failure is not None:
        return f"could not be run ({type(failure).__name__})"
    return "does not run it as a module"


def _pruned(
    nodes: Sequence[Node], points: dict[str, int]
) -> tuple[tuple[Node, ...], dict[str, int]]:
    needed = set(points.values()) | {0}
    for number in range(len(nodes) - 1, -1, -1):
        if number in needed:
            needed.update(nodes[number].inputs)
    new = {old: number for number, old in enumerate(sorted(needed))}
    kept = (replace(nodes[old], inputs=tuple(new[i] for i in nodes[old].inputs)) for old in new)
    return tuple(kept), {name: new[old] for name, old in points.items()}


@dataclass(frozen=True, slots=True)
class Local:
    """The tensor's positions lie on a grid over the picture: they are the units of a ``node``.

    ``before``: product of the dimensions before the rows. Together with the size, rows and columns,
    it finds them in any reshaped form, also flattened into one dimension.
    """

    node: int
    before: int
    size: tuple[int, int]

    def axes(self, shape: Sequence[int]) -> tuple[int, int] | None:
        """First dimension of the positions, counted from the end (negative), and their number."""
        for first in range(len(shape)):
            if prod(shape[:first]) == self.before:
                if tuple(shape[first : first + 2]) == self.size:
                    return first - len(shape), 2
                if shape[first] == prod(self.size):
                    return first - len(shape), 1
        return None


@dataclass(frozen=True, slots=True)
class Everywhere:
    """The tensor depends on the whole picture and has no positions: the context of a gate."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The tensor's positions cannot be followed; ``reason`` completes "the model ..."."""

    reason: str


Track = Local | Everywhere | Lost


class Operation:
    """One operation: its name, its arguments, and which of its tensors are followed.

    ``name`` is as in aten's schemas, without the final underscore of the in-place form; an
    ``elementwise`` one works number by number; one that ``creates`` takes only shape and type of
    its argument. ``tracks`` are those of ``tensors`` that are followed; ``locals``, with their
    tensors, those that have positions.
    """

    def __init__(
        self, func: Any, args: Sequence[Any], kwargs: dict[str, Any], known: dict[int, Track]
    ) -> None:
        schema = func._schema
        self.name: str = schema.name.removeprefix("aten::").rstrip("_")
        self.elementwise = torch.Tag.pointwise in func.tags
        self.creates = self.name.startswith("new_") or self.name.endswith("_like")
        names = [argument.name for argument in schema.arguments]
        self._arguments = {a.name: a.default_value for a in schema.arguments if not a.is_out}
        self._arguments |= {**dict(zip(names, args, strict=False)), **kwargs}
        self.tensors = tensors_in(list(self._arguments.values()))
        followed = [(x, known[id(x)]) for x in self.tensors if id(x) in known]
        self.tracks = [track for _, track in followed]
        self.locals = [(x, track) for x, track in followed if isinstance(track, Local)]

    def get(self, *names: str) -> Any:
        """Return the first of these arguments that the operation has; None without any."""
        return next((self._arguments[name] for name in names if name in self._arguments), None)

    def numbers(self, name: str) -> Sequence[int]:
        """Return an argument that torch takes as one number or several; () without it."""
        value = self.get(name)
        return [value] if isinstance(value, int) else value or ()

    def pair(self, name: str, default: Sequence[int]) -> tuple[int, int]:
        """Return an argument for rows and columns, of which one number stands for both."""
        rows, *columns = self.numbers(name) or default
        return rows, columns[0] if columns else rows

    def dims(self, ndim: int) -> tuple[int, ...]:
        """Return the dimensions it works along, counted from 0; () for all."""
        return tuple(dim % ndim for dim in self.numbers("dim"))


def map_of(node: int, out: torch.Tensor) -> Local:
    """The track of a ``(B, C, H, W)`` tensor."""
    return Local(node, out.shape[0] * out.shape[1], (out.shape[2], out.shape[3]))


def tensors_in(value: Any) -> list[torch.Tensor]:
    """All tensors in an argument or a result, lists opened up, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    return [x for v in value for x in tensors_in(v)] if isinstance(value, (list, tuple)) else []


def positions_in(x: torch.Tensor, track: Local) -> range:
    """The dimensions of rows and columns, counted from 0; empty where they are not found."""
    first, count = track.axes(x.shape) or (0, 0)
    return range(first + x.ndim, first + x.ndim + count)


def works_on_positions(op: Operation, x: torch.Tensor, track: Local) -> bool:
    """Whether an operation works along rows or columns, or along all dimensions."""
    dims, positions = op.dims(x.ndim), positions_in(x, track)
    return not dims or any(dim in positions for dim in dims)


class Tracker(TorchDispatchMode):
    """Build the nodes of a graph from what runs inside the ``with`` block.

    The input is ``(B, C, H, W)``; H and W should differ, so that neither is taken for the other.
    """

    def __init__(self, x: torch.Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.nodes = [Node("input", ())]
        self._strides = [1]
        self._tracks: dict[int, Track] = {}
        self._parts: dict[int, tuple[Track | None, ...]] = {}
        self._alive: list[torch.Tensor] = []
        self._set(x, map_of(0, x))

    def track(self, tensor: Any) -> Track:
        """Return where the positions of a tensor come from, at this moment."""
        if not isinstance(tensor, torch.Tensor):
            return Lost("does not give one map there")
        return self._tracks.get(id(tensor), Lost("does not use the picture there"))

    def parts(self, tensor: torch.Tensor) -> tuple[Track | None, ...]:
        """Return the tracks of what was concatenated into a tensor; () for any other tensor."""
        return self._parts.get(id(tensor), ())

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation and note where the positions of its results come from."""
        op = Operation(func, args, kwargs or {}, self._tracks)
        parts = tuple(self._tracks.get(id(x)) for x in op.tensors)
        result = func(*args, **(kwargs or {}))
        if op.tracks and not op.creates:
            for out in tensors_in(result):
                old, new = self._tracks.get(id(out)), self._follow(op, out)
                written = any(x is out for x in op.tensors)
                if written and out._base is not None and old != new:
                    # A part was written to; what it is a part of is a mixture now.
                    self._set(out._base, Lost("overwrites a part of a map"))
                self._set(out, new)
                if op.name == "cat":
                    self._parts[id(out)] = parts
        return result

    def _set(self, tensor: torch.Tensor, track: Track) -> None:
        self._tracks[id(tensor)] = track
        self._parts.pop(id(tensor), None)
        self._alive.append(tensor)  # ids are unique among the living only

    def _follow(self, op: Operation, out: torch.Tensor) -> Track:
        for track in op.tracks:
            if isinstance(track, Lost):
                return track
        if not op.locals:
            return Everywhere()
        rule = _RULES.get(op.name, Tracker._keep if op.elementwise else None)
        if rule is None:
            return Lost(f"uses {op.name}, which is not followed")
        return rule(self, op, out)

    def _add(self, node: Node, out: torch.Tensor) -> Track:
        self.nodes.append(node)
        self._strides.append(self._strides[node.inputs[0]] * node.stride)
        return map_of(len(self.nodes) - 1, out)

    def _keep(self, op: Operation, out: torch.Tensor) -> Track:
        """Every position stays where it is; several maps are joined position by position."""
        positions = {(track.axes(x.shape), track.size) for x, track in op.locals}
        # The same node twice is still one way through the modules: nothing happened in between.
        sources = tuple(dict.fromkeys(track.node for _, track in op.locals))
        axes, size = positions.pop()
        if positions or axes is None or len({self._strides[node] for node in sources}) > 1:
            return Lost("joins maps of different sizes")
        first, count = axes
        kept = tuple(out.shape[first:])[:count] if -first <= out.ndim else ()
        if kept not in (size, (prod(size),)):
            return Lost(f"cuts or adds rows or columns by {op.name}")
        track = Local(sources[0], prod(out.shape[:first]), size)
        if len(sources) > 1:
            self.nodes.append(Node("merge", sources))
            self._strides.append(self._strides[sources[0]])
            track = replace(track, node=len(self.nodes) - 1)
        return track

    def _softmax(self, op: Operation, out: torch.Tensor) -> Track:
        x, track = op.locals[0]
        if works_on_positions(op, x, track):
            return Lost("mixes all positions by a softmax")
        return self._keep(op, out)

    def _window(self, op: Operation, out: torch.Tensor) -> Track:
        x, track = op.locals[0]
        weight = op.get("weight")
        if len(op.locals) > 1 or x is weight or x.ndim != 4 or track.axes(x.shape) != (-2, 2):
            return Lost(f"uses {op.name} in a way that is not followed")
        if op.get("transposed"):
            return Lost("enlarges maps by a transposed convolution")
        kernel = op.pair("kernel_size", ()) if weight is None else tuple(weight.shape[2:])
        (stride, across), dilation = op.pair("stride", kernel), op.pair("dilation", (1,))
        if stride != across:
            return Lost("has different strides for rows and columns")
        # Not square: the wider side stands for both.
        wide = max((0, 1), key=lambda side: dilation[side] * (kernel[side] - 1))
        window = kernel[wide], stride, dilation[wide], op.pair("padding", (0,))[wide]
        return self._add(Node("pool" if weight is None else "conv", (track.node,), *window), out)

    def _pad(self, op: Operation, out: torch.Tensor) -> Track:
        """Padding on the left and top moves the positions; on the right it only adds some."""
        x, track = op.locals[0]
        left, right, top, bottom = (*op.get("pad", "padding"), 0, 0)[:4]
        if not any((left, right, top, bottom)):
            return self._keep(op, out)
        if x.ndim != 4 or track.axes(x.shape) != (-2, 2) or left != top:
            return Lost("pads rows and columns differently")
        return self._add(Node("pool", (track.node,), padding=left), out)

    def _reshape(self, op: Operation, out: torch.Tensor) -> Track:
        """The order of the numbers stays, so the positions lie where they lay before."""
        _, track = op.locals[0]
        return track if track.axes(out.shape) else Lost("reshapes rows and columns")

    def _permute(self, op: Operation, out: torch.Tensor) -> Track:
        x, track = op.locals[0]
        order = list(range(x.ndim))
        if op.name == "permute":
            order = [dim % x.ndim for dim in op.get("dims")]
        else:
            a, b = (0, 1) if op.name == "t" else (op.get("dim0"), op.get("dim1"))
            order[a], order[b] = order[b], order[a]
        moved = [order.index(dim) for dim in positions_in(x, track)]
        if not moved or moved != list(range(moved[0], moved[0] + len(moved))):
            return Lost("swaps or parts rows and columns")
        return replace(track, before=prod(out.shape[: moved[0]]))

    def _reduce(self, op: Operation, out: torch.Tensor) -> Track:
        """Over positions, none are left: context of the whole picture. Else all stay."""
        x, track = op.locals[0]
        if works_on_positions(op, x, track):
            return Everywhere()
        positions = positions_in(x, track)
        if not positions or len(op.locals) > 1:
            return Lost(f"uses {op.name} in a way that is not followed")
        gone = 0 if out.ndim == x.ndim else sum(d > positions[-1] for d in op.dims(x.ndim))
        return replace(track, before=prod(out.shape[: positions[0] - x.ndim + gone]))

    def _select(self, op: Operation, out: torch.Tensor) -> Track:
        x, track = op.locals[0]
        if works_on_positions(op, x, track):
            return Lost("takes single rows or columns")
        return self._reduce(op, out)

    def _pool_to(self, op: Operation, out: torch.Tensor) -> Track:
        _, track = op.locals[0]
        if tuple(out.shape[-2:]) == (1, 1):
            return Everywhere()
        return track if track.axes(out.shape) else Lost("pools to a fixed number of positions")

    def _multiply(self, op: Operation, out: torch.Tensor) -> Track:
        """A linear layer along the last dimension, the channels of a channels-last map."""
        x, track = op.locals[0]
        positions, left = positions_in(x, track), op.get("mat1", "batch1", "self")
        if len(op.locals) > 1 or x is not left or not positions or positions[-1] == x.ndim - 1:
            return Lost(f"mixes positions by the matrix product {op.name}")
        return track if track.axes(out.shape) else Lost("reshapes rows and columns")


_Rule = Callable[[Tracker, Operation, torch.Tensor], Track]
# Some elementwise operations are not tagged so, and normalisations work along channels, apart
# from statistics of the whole map, which are context and left out.
_RULES: dict[str, _Rule] = {
    name: rule
    for rule, names in {
        Tracker._window: "convolution max_pool2d_with_indices max_pool2d avg_pool2d",
        Tracker._pad: "constant_pad_nd reflection_pad2d replication_pad2d",
        Tracker._reshape: "view _unsafe_view reshape _reshape_alias squeeze unsqueeze clone "
        "detach alias _to_copy",
        Tracker._permute: "permute transpose t",
        Tracker._reduce: "mean sum amax amin max min var std var_mean linalg_vector_norm",
        Tracker._select: "select unbind",
        Tracker._softmax: "_softmax _log_softmax",
        Tracker._pool_to: "_adaptive_avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d",
        Tracker._multiply: "mm addmm bmm baddbmm",
        Tracker._keep: "hardswish hardtanh leaky_relu elu celu prelu _prelu_kernel "
        "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training "
        "cudnn_batch_norm _batch_norm_no_update native_layer_norm native_group_norm "
        "_fused_rms_norm native_dropout split split_with_sizes slice cat stack expand index_select",
    }.items()
    for name in names.split()
}
