"""Follow places of a picture through PyTorch's operations, into the nodes of a graph.

One forward on the ``meta`` device, where tensors have shapes and no memory, shows every operation
that really runs; ``Tracker`` notes for each tensor which node of the graph its places come from.
Working below the modules, on some thirty kinds of operation, needs no list of timm's layers, and
follows code whose control flow depends on shapes (padding to "same" sizes), where symbolic
tracing stops.

What is not followed is marked with the reason, and matters only if something that is asked for
depends on it: a classifier head may do what it likes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mscnn.scales.graph import Node
from mscnn.scales.tracks import (
    Call,
    Everywhere,
    Local,
    Lost,
    Track,
    map_of,
    places_in,
    tensors_in,
    works_on_places,
)


class Tracker(TorchDispatchMode):
    """Build the nodes of a graph from what runs inside the ``with`` block.

    Args:
        x: ``(B, C, H, W)`` input; rows and columns should differ in number, so that they are
            never mistaken for one another.
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
        """Return where the places of a tensor come from, at this moment."""
        if not isinstance(tensor, torch.Tensor):
            return Lost("does not give one map there")
        return self._tracks.get(id(tensor), Lost("does not use the picture there"))

    def parts(self, tensor: torch.Tensor) -> tuple[Track | None, ...]:
        """Return the tracks of what was concatenated into a tensor; () for any other tensor."""
        return self._parts.get(id(tensor), ())

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation and note where the places of its results come from."""
        call = Call(func, args, kwargs or {}, self._tracks)
        parts = tuple(self._tracks.get(id(x)) for x in call.tensors)
        result = func(*args, **(kwargs or {}))
        if call.tracks and not call.creates:
            for out in tensors_in(result):
                self._note(call, out)
                if call.name == "cat":
                    self._parts[id(out)] = parts
        return result

    def _note(self, call: Call, out: torch.Tensor) -> None:
        old, new = self._tracks.get(id(out)), self._follow(call, out)
        written = any(x is out for x in call.tensors)
        if written and out._base is not None and old != new:
            # A part was written to; what it is a part of is a mixture now.
            self._set(out._base, Lost("overwrites a part of a map"))
        self._set(out, new)

    def _set(self, tensor: torch.Tensor, track: Track) -> None:
        self._tracks[id(tensor)] = track
        self._parts.pop(id(tensor), None)
        self._alive.append(tensor)  # ids are unique among the living only

    def _follow(self, call: Call, out: torch.Tensor) -> Track:
        for track in call.tracks:
            if isinstance(track, Lost):
                return track
        if not call.locals:
            return Everywhere()
        rule = _RULES.get(call.name, Tracker._keep if call.elementwise else None)
        if rule is None:
            return Lost(f"uses {call.name}, which is not followed")
        return rule(self, call, out)

    def _add(self, node: Node, out: torch.Tensor) -> Track:
        """Append a node that makes the ``(B, C, H, W)`` result."""
        self.nodes.append(node)
        self._strides.append(self._strides[node.inputs[0]] * node.stride)
        return map_of(len(self.nodes) - 1, out)

    def _keep(self, call: Call, out: torch.Tensor) -> Track:
        """Every place stays where it is; several maps are joined place by place."""
        places = {(track.axes(x.shape), track.size) for x, track in call.locals}
        # The same node twice is still one way through the modules: nothing happened in between.
        sources = tuple(dict.fromkeys(track.node for _, track in call.locals))
        axes, size = places.pop()
        if places or axes is None or len({self._strides[node] for node in sources}) > 1:
            return Lost("joins maps of different sizes")
        first, count = axes
        kept = tuple(out.shape[first:])[:count] if -first <= out.ndim else ()
        if kept not in (size, (prod(size),)):
            return Lost(f"cuts or adds rows or columns by {call.name}")
        track = Local(sources[0], prod(out.shape[:first]), size)
        if len(sources) > 1:
            self.nodes.append(Node("merge", sources))
            self._strides.append(self._strides[sources[0]])
            track = replace(track, node=len(self.nodes) - 1)
        return track

    def _softmax(self, call: Call, out: torch.Tensor) -> Track:
        x, track = call.locals[0]
        if works_on_places(call, x, track):
            return Lost("mixes all places by a softmax")
        return self._keep(call, out)

    def _window(self, call: Call, out: torch.Tensor) -> Track:
        """A convolution or a pool over windows of places."""
        x, track = call.locals[0]
        weight = call.get("weight")
        if len(call.locals) > 1 or x is weight or x.ndim != 4 or track.axes(x.shape) != (-2, 2):
            return Lost(f"uses {call.name} in a way that is not followed")
        if call.get("transposed"):
            return Lost("enlarges maps by a transposed convolution")
        kernel = call.pair("kernel_size", ()) if weight is None else tuple(weight.shape[2:])
        (stride, across), dilation = call.pair("stride", kernel), call.pair("dilation", (1,))
        if stride != across:
            return Lost("has different strides for rows and columns")
        # Not square: the wider side stands for both.
        wide = max((0, 1), key=lambda side: dilation[side] * (kernel[side] - 1))
        window = kernel[wide], stride, dilation[wide], call.pair("padding", (0,))[wide]
        return self._add(Node("pool" if weight is None else "conv", (track.node,), *window), out)

    def _pad(self, call: Call, out: torch.Tensor) -> Track:
        """Padding on the left and at the top moves the places; on the right it only adds some."""
        x, track = call.locals[0]
        left, right, top, bottom = (*call.get("pad", "padding"), 0, 0)[:4]
        if not any((left, right, top, bottom)):
            return self._keep(call, out)
        if x.ndim != 4 or track.axes(x.shape) != (-2, 2) or left != top:
            return Lost("pads rows and columns differently")
        return self._add(Node("pool", (track.node,), padding=left), out)

    def _reshape(self, call: Call, out: torch.Tensor) -> Track:
        """The order of the numbers stays, so the places lie where they lay before."""
        _, track = call.locals[0]
        return track if track.axes(out.shape) else Lost("reshapes rows and columns")

    def _permute(self, call: Call, out: torch.Tensor) -> Track:
        x, track = call.locals[0]
        order = list(range(x.ndim))
        if call.name == "permute":
            order = [dim % x.ndim for dim in call.get("dims")]
        else:
            a, b = (0, 1) if call.name == "t" else (call.get("dim0"), call.get("dim1"))
            order[a], order[b] = order[b], order[a]
        moved = [order.index(dim) for dim in places_in(x, track)]
        if not moved or moved != list(range(moved[0], moved[0] + len(moved))):
            return Lost("swaps or parts rows and columns")
        return replace(track, before=prod(out.shape[: moved[0]]))

    def _reduce(self, call: Call, out: torch.Tensor) -> Track:
        """Over places, none are left: context of the whole picture. Else every place stays."""
        x, track = call.locals[0]
        if works_on_places(call, x, track):
            return Everywhere()
        places = places_in(x, track)
        if not places or len(call.locals) > 1:
            return Lost(f"uses {call.name} in a way that is not followed")
        gone = 0 if out.ndim == x.ndim else sum(d > places[-1] for d in call.dims(x.ndim))
        return replace(track, before=prod(out.shape[: places[0] - x.ndim + gone]))

    def _select(self, call: Call, out: torch.Tensor) -> Track:
        x, track = call.locals[0]
        if works_on_places(call, x, track):
            return Lost("takes single rows or columns")
        return self._reduce(call, out)

    def _pool_to(self, call: Call, out: torch.Tensor) -> Track:
        _, track = call.locals[0]
        if tuple(out.shape[-2:]) == (1, 1):
            return Everywhere()
        return track if track.axes(out.shape) else Lost("pools to a fixed number of places")

    def _multiply(self, call: Call, out: torch.Tensor) -> Track:
        """A linear layer along the last dimension, the channels of a channels-last map."""
        x, track = call.locals[0]
        places, left = places_in(x, track), call.get("mat1", "batch1", "self")
        if len(call.locals) > 1 or x is not left or not places or places[-1] == x.ndim - 1:
            return Lost(f"mixes places by the matrix product {call.name}")
        return track if track.axes(out.shape) else Lost("reshapes rows and columns")


_Rule = Callable[[Tracker, Call, torch.Tensor], Track]
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
