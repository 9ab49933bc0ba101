"""The project's only hooks: record or change what chosen layers see, and leave no trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import cast

import torch
from torch import nn

from mscnn.errors import UnknownLayerError


class Record:
    """What the recorded layers took in and put out during one forward.

    ``outputs`` has the output of each layer by name, ``inputs`` the first positional argument:
    ``(B, C, h, w)`` in the model's dtype, or any shape where ``maps_only`` is off.
    """

    def __init__(self) -> None:
        self.outputs: dict[str, torch.Tensor] = {}
        self.inputs: dict[str, torch.Tensor] = {}


@contextmanager
def record(
    model: nn.Module,
    layers: Sequence[str],
    *,
    inputs: Sequence[str] = (),
    with_graph: bool = False,
    maps_only: bool = True,
) -> Iterator[Record]:
    """Record the outputs of ``layers``, and the inputs of ``inputs``, while the block runs.

    Yields a record that fills during the forward. The next layer gets a copy, so an in-place ReLU
    cannot rewrite what was recorded. The hooks are removed again, whatever happens. ``with_graph``
    starts a graph at the first recorded tensor, of either kind: what lies before it then keeps no
    graph, whether or not parameters ask for gradients. ``maps_only`` refuses tensors that are not
    ``(B, C, h, w)``.

    Raises ``UnknownLayerError``: a name that is no module, or a module that does not take or give a
    single tensor (a map, where ``maps_only``), that runs several times in one forward, or not at
    all.
    """
    seen, modules = Record(), dict(model.named_modules())
    for name in (*layers, *inputs):
        if not name or name not in modules:
            raise UnknownLayerError(f"The model has no layer {name!r}.")

    def keep(kept: dict[str, torch.Tensor], name: str, value: object, verb: str) -> torch.Tensor:
        if not isinstance(value, torch.Tensor) or (maps_only and value.dim() != 4):
            what = "map" if maps_only else "single tensor"
            raise UnknownLayerError(
                f"The layer {name!r} does not {verb} a {what}, so it has no CAM."
            )
        if name in kept:
            raise UnknownLayerError(f"The layer {name!r} runs several times; choose another.")
        is_first = not (seen.outputs or seen.inputs)
        if with_graph and (is_first or not value.requires_grad):
            value = value.detach().requires_grad_()
        kept[name] = value
        return value.clone()

    def on_output(name: str, _module: nn.Module, _args: object, output: object) -> torch.Tensor:
        return keep(seen.outputs, name, output, "give")

    def on_input(name: str, _module: nn.Module, args: tuple[object, ...]) -> tuple[object, ...]:
        return (keep(seen.inputs, name, args[0] if args else None, "take"), *args[1:])

    with ExitStack() as hooks:
        for name in layers:
            hooks.enter_context(modules[name].register_forward_hook(partial(on_output, name)))
        for name in inputs:
            hooks.enter_context(modules[name].register_forward_pre_hook(partial(on_input, name)))
        yield seen
        missing = [name for name in layers if name not in seen.outputs]
        for name in [*missing, *(name for name in inputs if name not in seen.inputs)]:
            raise unused(name)


def unused(layer: str) -> UnknownLayerError:
    """Return the error for a layer that the model does not run, or whose output nothing reads."""
    return UnknownLayerError(f"The layer {layer!r} takes no part in the model's answer.")


@contextmanager
def change_inputs(
    model: nn.Module, changes: Mapping[str, Callable[[torch.Tensor], torch.Tensor]]
) -> Iterator[None]:
    """Let layers, by module name, read what a function makes of their input, while the block runs.

    The hooks are removed again, whatever happens.
    """

    def on_input(
        change: Callable[[torch.Tensor], torch.Tensor], _module: nn.Module, args: tuple[object, ...]
    ) -> tuple[object, ...]:
        first, *others = args
        return (change(cast("torch.Tensor", first)), *others)

    modules = dict(model.named_modules())
    with ExitStack() as hooks:
        for name, change in changes.items():
            hooks.enter_context(modules[name].register_forward_pre_hook(partial(on_input, change)))
        yield
