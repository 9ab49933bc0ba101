"""The project's only hooks: record what chosen layers take in or put out, and leave no trace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from mscnn.errors import UnknownLayerError


class Record:
    """What the tapped layers took in and put out during one forward.

    Attributes:
        outputs: layer name to its output, ``(B, C, h, w)`` in the model's dtype; any shape where
            ``maps_only`` is off.
        inputs: layer name to its first positional argument, likewise.
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

    Args:
        model: hooks are registered on it and removed again, whatever happens.
        layers: names of the modules whose output is kept.
        inputs: names of the modules whose first positional argument is kept.
        with_graph: start a graph at the first tap that fires, of either kind. What lies before it
            then keeps no graph, whether or not parameters ask for gradients.
        maps_only: refuse tensors that are not ``(B, C, h, w)``.

    Yields:
        A record that fills during the forward. The next layer gets a copy, so an in-place ReLU
        after a tap cannot rewrite what was recorded.

    Raises:
        UnknownLayerError: a name that is no module, or a module that does not take or give a
            single tensor (a map, where ``maps_only``), that runs several times in one forward, or
            not at all.
    """
    recorder = _Recorder(with_graph, maps_only)
    handles: list[RemovableHandle] = []
    modules = dict(model.named_modules())
    for name in (*layers, *inputs):
        if not name or name not in modules:
            raise UnknownLayerError(f"The model has no layer {name!r}.")
    try:
        for name in layers:
            handles.append(recorder.tap_output(name, modules[name]))
        for name in inputs:
            handles.append(recorder.tap_input(name, modules[name]))
        yield recorder.taps
        recorder.check_complete(layers, inputs)
    finally:
        for handle in handles:
            handle.remove()


class _Recorder:
    """The hooks of one recording."""

    def __init__(self, with_graph: bool, maps_only: bool) -> None:
        self.taps = Record()
        self._with_graph, self._maps_only = with_graph, maps_only

    def tap_output(self, name: str, module: nn.Module) -> RemovableHandle:
        def hook(module: nn.Module, args: object, output: object) -> torch.Tensor:
            return self._keep(self.taps.outputs, name, output, "give")

        handle: RemovableHandle = module.register_forward_hook(hook)
        return handle

    def tap_input(self, name: str, module: nn.Module) -> RemovableHandle:
        def hook(module: nn.Module, args: tuple[object, ...]) -> tuple[object, ...]:
            first = args[0] if args else None
            return (self._keep(self.taps.inputs, name, first, "take"), *args[1:])

        handle: RemovableHandle = module.register_forward_pre_hook(hook)
        return handle

    def check_complete(self, layers: Sequence[str], inputs: Sequence[str]) -> None:
        missing = [name for name in layers if name not in self.taps.outputs]
        missing += [name for name in inputs if name not in self.taps.inputs]
        for name in missing:
            raise UnknownLayerError(f"The layer {name!r} takes no part in the model's answer.")

    def _keep(
        self, kept: dict[str, torch.Tensor], name: str, value: object, verb: str
    ) -> torch.Tensor:
        if not isinstance(value, torch.Tensor) or (self._maps_only and value.dim() != 4):
            what = "map" if self._maps_only else "single tensor"
            raise UnknownLayerError(
                f"The layer {name!r} does not {verb} a {what}, so it has no CAM."
            )
        if name in kept:
            raise UnknownLayerError(f"The layer {name!r} runs several times; choose another.")
        is_first = not (self.taps.outputs or self.taps.inputs)
        if self._with_graph and (is_first or not value.requires_grad):
            value = value.detach().requires_grad_()
        kept[name] = value
        return value.clone()
