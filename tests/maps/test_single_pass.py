"""Grad-CAM in one pass, against paper arithmetic, plain autograd and the grad-cam package."""

import copy
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import pytest
import timm
import torch
from pytorch_grad_cam import GradCAM, HiResCAM
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from mscnn.maps.single_pass import Targets, grad_cam
from tests.conftest import FAMILIES, STAGES, randomise_batch_norms

Maps = npt.NDArray[np.float32]


def by_package(model, x, layer, target, method=GradCAM):
    """The package's own map: after its ReLU, resize to the input and min-max scaling."""
    x = x.clone().requires_grad_()  # the parameters are frozen, something has to start the graph
    cam = method(model, [model.get_submodule(layer)])
    try:
        result: Maps = cam(x, [ClassifierOutputTarget(target)])[0]
    finally:
        cam.activations_and_grads.release()
    return result


def as_package(raw, x):
    """Our raw map, put through the package's normalisation (twice, as it does itself)."""
    size = (x.shape[-1], x.shape[-2])
    return scale_cam_image(scale_cam_image(np.maximum(raw, 0)[None], size))[0]


@contextmanager
def counted_forwards(model):
    calls: list[int] = []
    handle = model.register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        yield calls
    finally:
        handle.remove()


class Paper(nn.Module):
    """Two channels, so small that every map can be computed on paper.

    Input 0..15 in rows of four. Channel 0 adds each 2 x 2 window up: [[10, 18], [42, 50]].
    Channel 1 is 5 less the window's first pixel: [[5, 3], [-3, -5]], after the ReLU
    [[5, 3], [0, 0]]. The pooled channels are 30 and 2.
    """

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 2, stride=2)
        self.act = nn.ReLU(inplace=True)
        self.fc = nn.Linear(2, 3)
        with torch.no_grad():
            self.conv.weight.copy_(
                torch.tensor([[[[1.0, 1.0], [1.0, 1.0]]], [[[-1.0, 0.0], [0.0, 0.0]]]])
            )
            self.conv.bias.copy_(torch.tensor([0.0, 5.0]))
            self.fc.weight.copy_(torch.tensor([[1.0, 2.0], [0.5, -4.0], [0.0, 0.0]]))
            self.fc.bias.copy_(torch.tensor([0.5, 0.0, 1.0]))
        self.eval().requires_grad_(False)

    def forward(self, x):
        return self.fc(self.act(self.conv(x)).mean(dim=(2, 3)))


PAPER_INPUT = torch.arange(16.0).reshape(1, 1, 4, 4)
PAPER_MAPS = {
    # W[c] / 4 times the two channels: 0: (A0 + 2 A1) / 4, 1: (A0 / 2 - 4 A1) / 4.
    ("act", 0): [[5.0, 6.0], [10.5, 12.5]], ("act", 1): [[-3.75, -0.75], [5.25, 6.25]],
    ("act", 2): [[0.0, 0.0], [0.0, 0.0]],
    # Before the ReLU two of channel 1's four places have no gradient, so its weight is half as
    # large: class 0: A0 / 4 + A1 / 4, class 1: A0 / 8 - A1 / 2, with A1 = [[5, 3], [-3, -5]].
    ("conv", 0): [[3.75, 5.25], [9.75, 11.25]], ("conv", 1): [[-1.25, 0.75], [6.75, 8.75]],
    ("conv", 2): [[0.0, 0.0], [0.0, 0.0]],
}  # fmt: skip


@pytest.mark.parametrize("closed_form", [False, True], ids=["autograd", "closed form"])
@pytest.mark.parametrize("layers", [["act"], ["conv", "act"], ["act", "conv"], ["conv"]], ids=str)
def test_the_maps_computed_on_paper(layers, closed_form):
    model = Paper()
    linear = model.fc if closed_form else None
    result = grad_cam(model, PAPER_INPUT, layers, Targets([0, 1, 2]), linear=linear, last="act")
    assert result.logits.tolist() == [34.5, 7.0, 1.0]
    assert result.targets == (0, 1, 2)
    expected = {key: value for key, value in PAPER_MAPS.items() if key[0] in layers}
    assert {key: cam.tolist() for key, cam in result.maps.items()} == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_each_stage_equals_the_package(family, tiny, x):
    model = tiny(family)
    result = grad_cam(model, x, STAGES, Targets(["top1", 3]))
    assert len(result.maps) == 4 * len(result.targets)
    for (layer, target), raw in result.maps.items():
        theirs = by_package(model, x, layer, target)
        np.testing.assert_allclose(as_package(raw, x), theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("name", "layer"), [
    pytest.param("resnet50", "layer2", marks=pytest.mark.slow),
    pytest.param("res2net50_26w_4s", "layer3", marks=pytest.mark.slow),
    pytest.param("resnest50d", "layer4", marks=pytest.mark.slow),
    pytest.param("resnest14d", "layer1", marks=pytest.mark.slow),
])  # fmt: skip
def test_a_real_backbone_equals_the_package(name, layer, x):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = timm.create_model(name, zero_init_last=False)
        randomise_batch_norms(model)
    model.eval().requires_grad_(False)
    result = grad_cam(model, x, [layer], Targets(["top1"]))
    (target,) = result.targets
    theirs = by_package(model, x, layer, target)
    assert theirs.max() > 0.9, "the package's map is flat, so nothing would be compared"
    ours = as_package(result.maps[layer, target], x)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_plain_autograd_in_float64_gives_the_same_maps(family, loaded, x):
    """An oracle without hooks: the stages are called one by one, in float64."""
    shared, model = loaded(family).model, loaded(family, fresh=True).model.double()
    y = model.maxpool(model.act1(model.bn1(model.conv1(x.double()))))
    activations: list[torch.Tensor] = []
    for stage in STAGES:
        y = model.get_submodule(stage)(y)
        y = y if activations else y.requires_grad_()
        activations.append(y)
    logits = model.fc(y.mean(dim=(2, 3)))[0]
    result = grad_cam(shared, x, STAGES, Targets([0, 7]))
    np.testing.assert_allclose(result.logits, logits.detach(), rtol=1e-4, atol=1e-4)
    for target in (0, 7):
        gradients = torch.autograd.grad(logits[target], activations, retain_graph=True)
        for stage, a, g in zip(STAGES, activations, gradients, strict=True):
            expected = (g.mean(dim=(2, 3), keepdim=True) * a).sum(dim=1)[0].detach().numpy()
            scale = np.abs(expected).max()
            assert scale > 0
            np.testing.assert_allclose(
                result.maps[stage, target], expected, rtol=0, atol=1e-4 * scale
            )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_closed_form_equals_autograd(family, dtype, loaded, x):
    model = loaded(family, fresh=dtype != torch.float32).model.to(dtype)
    x = x.to(dtype)
    closed = grad_cam(model, x, ["layer4"], Targets(best=5), linear=model.fc, last="layer4")
    autograd = grad_cam(model, x, ["layer4"], Targets(best=5))
    assert closed.targets == autograd.targets == tuple(np.argsort(-closed.logits)[:5])
    np.testing.assert_allclose(closed.logits, autograd.logits, rtol=1e-5)
    bias = model.fc.bias.float().numpy()
    for key, cam in closed.maps.items():
        assert cam.dtype == np.float32
        np.testing.assert_allclose(cam, autograd.maps[key], rtol=1e-4, atol=1e-5)
        # The cells add up to what the picture adds to the class.
        np.testing.assert_allclose(cam.sum(), closed.logits[key[1]] - bias[key[1]], rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_at_the_last_stage_grad_cam_is_hirescam(family, tiny, x):
    """The gradient is the same at all places there, so averaging it changes nothing."""
    model = tiny(family)
    result = grad_cam(model, x, ["layer4"], Targets([1]), linear=model.fc, last="layer4")
    theirs = by_package(model, x, "layer4", 1, HiResCAM)
    np.testing.assert_allclose(as_package(result.maps["layer4", 1], x), theirs, rtol=0, atol=1e-5)
    first = grad_cam(model, x, ["layer1"], Targets([1])).maps["layer1", 1]
    other = by_package(model, x, "layer1", 1, HiResCAM)
    assert np.abs(as_package(first, x) - other).max() > 0.05, "at layer1 the two differ"


@pytest.mark.parametrize(("layers", "targets", "linear"), [
    (["layer4"], Targets(best=5), True), (list(STAGES), Targets([3]), False),
], ids=["default view", "four stages"])  # fmt: skip
def test_one_forward_serves_everything(layers, targets, linear, tiny, x):
    model = tiny("res2net")
    with counted_forwards(model) as calls:
        grad_cam(model, x, layers, targets, linear=model.fc if linear else None, last="layer4")
    assert len(calls) == 1


class ScaledHead(nn.Module):
    """A head that doubles what the linear layer says, so that the closed form would be wrong."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return 2 * self.model(x)


def test_a_head_that_does_more_is_noticed(tiny, x):
    model = ScaledHead(tiny("resnet")).eval()
    last, linear = "model.layer4", model.get_submodule("model.fc")
    assert isinstance(linear, nn.Linear)
    result = grad_cam(model, x, [last], Targets([2]), linear=linear, last=last)
    expected = grad_cam(model, x, [last], Targets([2]))
    np.testing.assert_array_equal(result.maps[last, 2], expected.maps[last, 2])
    plain = grad_cam(tiny("resnet"), x, ["layer4"], Targets([2])).maps["layer4", 2]
    np.testing.assert_allclose(result.maps[last, 2], 2 * plain, rtol=1e-4, atol=1e-5)


def test_a_layer_inside_a_block_equals_the_package(tiny, x):
    # In-place additions and ReLUs follow these; the package's own record of them is overwritten
    # on the CPU, so the oracle is a copy of the network without in-place operations.
    model = tiny("resnet")
    plain = copy.deepcopy(model)
    for module in plain.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    for layer in ("layer1.0.conv2", "layer3.1.bn2", "layer2.0.downsample"):
        raw = grad_cam(model, x, [layer], Targets([4])).maps[layer, 4]
        theirs = by_package(plain, x, layer, 4)
        np.testing.assert_allclose(as_package(raw, x), theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("targets", "expected"), [
    (Targets([4, 1, 4]), (4, 1)), (Targets(["top1"]), (2,)), (Targets(["top1", 2, 0]), (2, 0)),
    (Targets(best=3), (2, 4, 0)), (Targets(best=99), (2, 4, 0, 1, 3)),
], ids=["repeats", "top1", "top1 named again", "best 3", "more than there are"])  # fmt: skip
def test_targets_are_settled_from_the_answer(targets, expected):
    assert targets.choose(torch.tensor([0.5, 0.1, 3.0, -1.0, 2.0])) == expected
