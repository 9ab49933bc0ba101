"""What runs hooks and gradients leaves no trace, whatever the caller's gradient mode.

That hooks, ``requires_grad`` and ``.grad`` of shared networks are gone is checked after every test.
"""

import copy
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mscnn.geometry import ViewGeometry
from mscnn.maps.packaged import packaged_map
from mscnn.maps.single_pass import Targets, grad_cam
from mscnn.scales import attention, splits
from mscnn.scales.effective import unit_gradient
from mscnn.scales.families import find_point
from tests.conftest import STAGES

GEOMETRY = ViewGeometry((96, 96), (96, 96), (0, 0), (96, 96))
Run = Callable[[nn.Module, torch.Tensor, Any], list[Any]]


def _evidence(model, x, target):
    raw = splits.split_evidence(model, x, Targets([target]), STAGES, None, GEOMETRY)
    return [raw.logits, *(block.maps for block in raw.blocks)]


def _batch(model, x, target):
    return list(splits.batch_evidence(model, x, [target], STAGES).evidence)


def _gates(model, x, target):
    raw = attention.gated_maps(model, x, Targets([target]), GEOMETRY)
    return [*(block.maps for block in raw.blocks), *attention.gates(model, x).values()]


def _unit(model, x, target):
    return [unit_gradient(model, [x], find_point(model, "layer3.1", 1), (5.0, 5.0)).gradient]


def _cam(model, x, target):
    return list(grad_cam(model, x, ["layer2"], Targets([target])).maps.values())


def _packaged(model, x, target):
    return [packaged_map(model, x, "layer3", target, "layercam")]


RUNS = {"res2net": [_evidence, _batch, _unit, _cam], "resnest": [_gates]}
EACH = pytest.mark.parametrize(
    ("family", "run"), [(family, run) for family, runs in RUNS.items() for run in runs]
)


@pytest.mark.parametrize(("family", "run"), [*EACH.args[1], ("res2net", _packaged)])
@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, nullcontext])
def test_the_callers_gradient_mode_does_not_matter(mode, family, run, tiny, x):
    expected = run(tiny(family), x, 0)
    with mode():
        got = run(tiny(family), x.clone(), 0)
    for a, b in zip(expected, got, strict=True):
        np.testing.assert_array_equal(a, b)


@EACH
def test_nothing_stays_after_an_error(family, run, tiny):
    with pytest.raises(RuntimeError):
        run(tiny(family), torch.zeros(1, 7, 64, 64), 0)
    if run is not _unit:
        with pytest.raises(IndexError):  # the forward is done by then
            run(tiny(family), torch.zeros(1, 3, 64, 64), 999)


@EACH
def test_trainable_parameters_get_no_gradient(family, run, tiny, x):
    model = copy.deepcopy(tiny(family)).requires_grad_(True)
    for a, b in zip(run(model, x, 0), run(tiny(family), x, 0), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not x.requires_grad


@pytest.mark.parametrize("run", [_evidence, _batch, _cam, _unit])
def test_one_forward_serves_everything(run, tiny, x):
    model, calls = tiny("res2net"), []
    handle = model.register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        run(model, x, 0)
    finally:
        handle.remove()
    assert calls == [1]
