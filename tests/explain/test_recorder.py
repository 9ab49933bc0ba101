"""``mscnn.explain.recorder``: what it keeps, what it refuses, and that it leaves nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from mscnn.errors import UnknownLayerError
from mscnn.explain.recorder import record


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_it_keeps_what_the_layer_put_out_although_an_in_place_relu_follows() -> None:
    convolution = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.constant_(convolution.weight, -2.0)
    model = nn.Sequential(convolution, nn.ReLU(inplace=True))
    x = torch.ones(1, 1, 2, 2)
    with torch.no_grad(), record(model, ["0", "1"]) as taps:
        y = model(x)
    assert torch.equal(taps.outputs["0"], torch.full((1, 1, 2, 2), -2.0))
    assert torch.equal(taps.outputs["1"], torch.zeros(1, 1, 2, 2))
    assert torch.equal(y, torch.zeros(1, 1, 2, 2))


@pytest.mark.parametrize("family", ["resnet", "res2net", "resnest"])
def test_the_answer_is_the_same_to_the_bit(family: str, tiny: Any, x: torch.Tensor) -> None:
    model = tiny(family)
    with torch.no_grad():
        plain = model(x)
        with record(model, ["layer1", "layer2.0.conv1", "layer4"]) as taps:
            recorded = model(x)
    assert torch.equal(plain, recorded)
    assert list(taps.outputs) == ["layer1", "layer2.0.conv1", "layer4"]


@pytest.mark.parametrize("trainable", [False, True])
def test_the_graph_starts_at_the_first_tap(trainable: bool, x: torch.Tensor) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3))
    model.requires_grad_(trainable)
    with record(model, ["1", "2"], with_graph=True) as taps:
        y = model(x)
    assert taps.outputs["1"].is_leaf
    assert not taps.outputs["2"].is_leaf
    first, second = torch.autograd.grad(y.sum(), [taps.outputs["1"], taps.outputs["2"]])
    assert torch.equal(second, torch.ones_like(second))
    assert first.abs().sum() > 0


def test_hooks_are_gone_after_an_error_in_the_model(tiny: Any) -> None:
    model = tiny("res2net")
    seven_channels = torch.zeros(1, 7, 32, 32)
    with pytest.raises(RuntimeError), record(model, ["layer1", "layer4"]):
        model(seven_channels)
    assert hooks(model) == 0
    with record(model, ["layer1", "layer4"]):
        assert hooks(model) == 2
        model(torch.zeros(1, 3, 32, 32))
    assert hooks(model) == 0


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("layer9", "has no layer 'layer9'"),
        ("", "has no layer ''"),
        ("global_pool", "does not give a map"),
        ("fc", "does not give a map"),
        ("layer2.1.relu", "runs several times"),
        ("layer2.0.convs", "takes no part"),
    ],
)
def test_a_layer_without_one_map_is_refused(
    layer: str, message: str, tiny: Any, x: torch.Tensor
) -> None:
    model = tiny("res2net")
    with pytest.raises(UnknownLayerError, match=message), record(model, ["layer1", layer]):
        model(x)
    assert hooks(model) == 0
