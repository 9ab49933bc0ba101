"""``mscnn.maps.recorder``: what it keeps, what it refuses, and that it leaves nothing."""

import pytest
import torch
from torch import nn

from mscnn.errors import UnknownLayerError
from mscnn.maps.recorder import record


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_it_keeps_what_the_layer_put_out_although_an_in_place_relu_follows():
    convolution = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.constant_(convolution.weight, -2.0)
    model = nn.Sequential(convolution, nn.ReLU(inplace=True))
    x = torch.ones(1, 1, 2, 2)
    with torch.no_grad(), record(model, ["0", "1"]) as seen:
        y = model(x)
    assert torch.equal(seen.outputs["0"], torch.full((1, 1, 2, 2), -2.0))
    assert torch.equal(seen.outputs["1"], torch.zeros(1, 1, 2, 2))
    assert torch.equal(y, torch.zeros(1, 1, 2, 2))


@pytest.mark.parametrize("family", ["resnet", "res2net", "resnest"])
def test_the_answer_is_the_same_to_the_bit(family, tiny, x):
    model = tiny(family)
    with torch.no_grad():
        plain = model(x)
        with record(model, ["layer1", "layer2.0.conv1", "layer4"]) as seen:
            recorded = model(x)
    assert torch.equal(plain, recorded)
    assert list(seen.outputs) == ["layer1", "layer2.0.conv1", "layer4"]


@pytest.mark.parametrize("trainable", [False, True])
def test_the_graph_starts_at_the_first_tap(trainable, x):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3))
    model.requires_grad_(trainable)
    with record(model, ["1", "2"], with_graph=True) as seen:
        y = model(x)
    assert seen.outputs["1"].is_leaf
    assert not seen.outputs["2"].is_leaf
    first, second = torch.autograd.grad(y.sum(), [seen.outputs["1"], seen.outputs["2"]])
    assert torch.equal(second, torch.ones_like(second))
    assert first.abs().sum() > 0


def test_hooks_are_gone_after_an_error_in_the_model(tiny):
    model = tiny("res2net")
    seven_channels = torch.zeros(1, 7, 32, 32)
    with pytest.raises(RuntimeError), record(model, ["layer1", "layer4"]):
        model(seven_channels)
    assert hooks(model) == 0
    with record(model, ["layer1", "layer4"]):
        assert hooks(model) == 2
        model(torch.zeros(1, 3, 32, 32))
    assert hooks(model) == 0


@pytest.mark.parametrize(("layer", "message"), [
    ("layer9", "has no layer 'layer9'"), ("", "has no layer ''"),
    ("global_pool", "does not give a map"), ("fc", "does not give a map"),
    ("layer2.1.relu", "runs several times"), ("layer2.0.convs", "takes no part"),
])  # fmt: skip
def test_a_layer_without_one_map_is_refused(layer, message, tiny, x):
    model = tiny("res2net")
    with pytest.raises(UnknownLayerError, match=message), record(model, ["layer1", layer]):
        model(x)
    assert hooks(model) == 0


def test_it_keeps_what_a_layer_took_in():
    model = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.ReLU(inplace=True))
    nn.init.constant_(model[0].weight, -2.0)  # type: ignore[arg-type]
    x = torch.ones(1, 1, 2, 2)
    with torch.no_grad(), record(model, ["1"], inputs=["0", "1"]) as seen:
        y = model(x)
    assert torch.equal(seen.inputs["0"], x)
    assert torch.equal(seen.inputs["1"], torch.full((1, 1, 2, 2), -2.0)), "before the in-place ReLU"
    assert torch.equal(seen.outputs["1"], y)
    assert list(seen.outputs) == ["1"]


class Named(nn.Module):
    """Hands its layer two arguments, by place or by name."""

    def __init__(self, by_name):
        super().__init__()
        self.layer, self.by_name = Adding(), by_name

    def forward(self, x):
        return self.layer(x=x, more=1) if self.by_name else self.layer(x, 1)


class Adding(nn.Module):
    def forward(self, x, more):
        return x + more


def test_further_arguments_pass_through():
    model, x = Named(by_name=False), torch.zeros(1, 1, 2, 2)
    with record(model, [], inputs=["layer"]) as seen:
        y = model(x)
    assert torch.equal(seen.inputs["layer"], x)
    assert torch.equal(y, x + 1)


@pytest.mark.parametrize("first", ["input", "output"])
def test_the_graph_starts_at_the_first_tap_of_either_kind(first):
    model = nn.Sequential(*(nn.Conv2d(1, 1, 1, bias=False) for _ in range(4)))
    for number, weight in enumerate((2.0, 3.0, 5.0, 7.0)):
        nn.init.constant_(model[number].weight, weight)  # type: ignore[arg-type]
    outputs, inputs = (["2"], ["1"]) if first == "input" else (["0"], ["2"])
    with record(model, outputs, inputs=inputs, with_graph=True) as seen:
        y = model(torch.ones(1, 1, 1, 1))
    if first == "input":
        early, late = seen.inputs["1"], seen.outputs["2"]
    else:
        early, late = seen.outputs["0"], seen.inputs["2"]
    assert early.is_leaf
    assert not late.is_leaf
    got = [float(g) for g in torch.autograd.grad(y.sum(), [early, late])]
    assert got == ([105, 7] if first == "input" else [105, 35])


def test_a_tap_beside_the_first_one_starts_a_graph_of_its_own(x):
    class Beside(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = nn.Conv2d(3, 1, 1), nn.Conv2d(3, 1, 1)
            self.requires_grad_(False)

        def forward(self, x):
            return 2 * self.left(x) + 3 * self.right(x)

    with record(model := Beside(), ["left", "right"], with_graph=True) as seen:
        y = model(x)
    left, right = torch.autograd.grad(y.sum(), [seen.outputs["left"], seen.outputs["right"]])
    assert (float(left.unique()), float(right.unique())) == (2, 3)


def test_other_shapes_are_kept_where_asked_for(tiny, x):
    model = tiny("resnest")
    names = ["layer1.1.conv2.rsoftmax", "fc"]
    with torch.no_grad(), record(model, names, inputs=["fc"], maps_only=False) as seen:
        y = model(x)
    assert seen.outputs["layer1.1.conv2.rsoftmax"].shape == (1, 2 * 16)
    assert torch.equal(seen.outputs["fc"], y)
    assert torch.equal(model.fc(seen.inputs["fc"]), y)
    assert hooks(model) == 0


@pytest.mark.parametrize(("layer", "maps_only", "message"), [
    ("layer9", True, "has no layer 'layer9'"), ("fc", True, "does not take a map"),
    ("layer2.1.relu", True, "runs several times"), ("layer2.0.convs", False, "takes no part"),
])  # fmt: skip
def test_an_input_that_is_not_one_map_is_refused(layer, maps_only, message, tiny, x):
    model = tiny("res2net")
    with (
        pytest.raises(UnknownLayerError, match=message),
        record(model, ["layer1"], inputs=[layer], maps_only=maps_only),
    ):
        model(x)
    assert hooks(model) == 0


def test_an_input_given_by_name_is_refused(x):
    model = Named(by_name=True)
    with (
        pytest.raises(UnknownLayerError, match="does not take a single tensor"),
        record(model, [], inputs=["layer"], maps_only=False),
    ):
        model(x)
    assert hooks(model) == 0
