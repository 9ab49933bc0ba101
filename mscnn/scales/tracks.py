"""Where the places of one tensor come from, and what one operation of PyTorch was given.

The vocabulary of ``mscnn.scales.dataflow``. A *place* is one row and column of a map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class Local:
    """The tensor's places lie on a grid over the picture.

    Attributes:
        node: number of the node whose units they are.
        before: product of the dimensions before the rows. Together with the size it finds rows
            and columns in any reshaped form, also where they were flattened into one dimension.
        size: rows and columns.
    """

    node: int
    before: int
    size: tuple[int, int]

    def axes(self, shape: Sequence[int]) -> tuple[int, int] | None:
        """First dimension of the places, counted from the end (negative), and their number."""
        for first in range(len(shape)):
            if prod(shape[:first]) == self.before:
                if tuple(shape[first : first + 2]) == self.size:
                    return first - len(shape), 2
                if shape[first] == prod(self.size):
                    return first - len(shape), 1
        return None


@dataclass(frozen=True, slots=True)
class Everywhere:
    """The tensor depends on the whole picture and has no places: the context of a gate."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The tensor's places cannot be followed; ``reason`` completes "the model ..."."""

    reason: str


Track = Local | Everywhere | Lost


class Call:
    """One operation: its name, its arguments, and which of its tensors are followed.

    Attributes:
        name: as in aten's schemas, without the final underscore of the in-place form.
        elementwise: whether aten says that it works number by number.
        creates: whether it takes only the shape and the type of its argument.
        tensors: among the arguments, in order.
        tracks: of all followed tensors among the arguments.
        locals: those of them that have places, each with its tensor.
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

    def pair(self, name: str, default: Sequence[int]) -> tuple[int, int]:
        """Return an argument for rows and columns, which torch also takes as one number."""
        value = self.get(name)
        if isinstance(value, int):
            value = [value]
        rows, *columns = value or default
        return rows, columns[0] if columns else rows

    def dims(self, ndim: int) -> tuple[int, ...]:
        """Return the dimensions it works along, counted from 0; () for all."""
        value = self.get("dim")
        if value is None:
            return ()
        return tuple(d % ndim for d in ([value] if isinstance(value, int) else value))


def map_of(node: int, out: torch.Tensor) -> Local:
    """The track of a ``(B, C, H, W)`` tensor."""
    return Local(node, out.shape[0] * out.shape[1], (out.shape[2], out.shape[3]))


def tensors_in(value: Any) -> list[torch.Tensor]:
    """All tensors in an argument or a result, lists opened up, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    return [x for v in value for x in tensors_in(v)] if isinstance(value, (list, tuple)) else []


def places_in(x: torch.Tensor, track: Local) -> range:
    """The dimensions of rows and columns, counted from 0; empty where they are not found."""
    first, count = track.axes(x.shape) or (0, 0)
    return range(first + x.ndim, first + x.ndim + count)


def works_on_places(call: Call, x: torch.Tensor, track: Local) -> bool:
    """Whether an operation works along rows or columns, or along all dimensions."""
    dims, places = call.dims(x.ndim), places_in(x, track)
    return not dims or any(dim in places for dim in dims)
