"""The project's only hooks: record what chosen layers put out, and leave no trace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from mscnn.errors import UnknownLayerError


class Record:
    """What the tapped layers put out during one forward.

    Attributes:
        outputs: layer name to its output, ``(B, C, h, w)`` in the model's dtype.
    """

    def __init__(self) -> None:
        self.outputs: dict[str, torch.Tensor] = {}


@contextmanager
def record(
    model: nn.Module, layers: Sequence[str], *, with_graph: bool = False
) -> Iterator[Record]:
    """Record the outputs of ``layers`` while the block runs.

    Args:
        model: hooks are registered on it and removed again, whatever happens.
        layers: module names.
        with_graph: start a graph at the first tap that fires. What lies before it then keeps no
            graph, whether or not parameters ask for gradients.

    Yields:
        A record that fills during the forward. The next layer gets a copy, so an in-place ReLU
        after a tap cannot rewrite what was recorded.

    Raises:
        UnknownLayerError: a name that is no module, or a module whose output is not a single
            ``(B, C, h, w)`` tensor, that runs several times in one forward, or not at all.
    """
    taps = Record()
    handles: list[RemovableHandle] = []
    modules = dict(model.named_modules())

    def hook_for(name: str) -> RemovableHandle:
        def keep(module: nn.Module, args: object, output: object) -> torch.Tensor:
            if not isinstance(output, torch.Tensor) or output.dim() != 4:
                raise UnknownLayerError(
                    f"The layer {name!r} does not give a map, so it has no CAM."
                )
            if name in taps.outputs:
                raise UnknownLayerError(f"The layer {name!r} runs several times; choose another.")
            if with_graph and not (taps.outputs and output.requires_grad):
                output = output.detach().requires_grad_()
            taps.outputs[name] = output
            return output.clone()

        handle: RemovableHandle = modules[name].register_forward_hook(keep)
        return handle

    for name in layers:
        if not name or name not in modules:
            raise UnknownLayerError(f"The model has no layer {name!r}.")
    try:
        for name in layers:
            handles.append(hook_for(name))
        yield taps
        for name in layers:
            if name not in taps.outputs:
                raise UnknownLayerError(f"The layer {name!r} takes no part in the model's answer.")
    finally:
        for handle in handles:
            handle.remove()
