"""The same architecture with random weights, to tell what training changed."""

from __future__ import annotations

import copy
import inspect

import torch
from torch import nn

from mscnn.errors import UnsupportedModelError

_SEED = 1701


def with_random_weights(model: nn.Module) -> nn.Module:
    """Copy a network and draw its weights anew, the same ones every time.

    Every module's own ``reset_parameters`` runs, which also resets the statistics of batch norms;
    then timm's ``init_weights`` where there is one, without its zeroes in the last batch norm of
    each block, which would cut the branches off.

    Args:
        model: left as it is.

    Returns:
        The copy, on the CPU (so that its weights do not depend on the device), in eval mode.

    Raises:
        UnsupportedModelError: some parameters belong to modules that cannot be reset.
    """
    model = copy.deepcopy(model).cpu()
    # torch.manual_seed would also seed the accelerators, which the fork does not restore.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(_SEED)
        for module in model.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
            elif next(module.parameters(recurse=False), None) is not None:
                raise UnsupportedModelError(
                    f"The weights of {type(module).__name__} layers cannot be drawn anew, so this "
                    "model has no version with random weights."
                )
        initialise = getattr(model, "init_weights", None)
        if callable(initialise) and "zero_init_last" in inspect.signature(initialise).parameters:
            initialise(zero_init_last=False)
    return model.eval()
