"""The methods that go through the grad-cam package: same maps, no traces, stoppable."""

import copy
import gc
import weakref
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import pytorch_grad_cam as package
import torch
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from sklearn.decomposition import KernelPCA
from torch import nn

from mscnn.errors import Cancelled, UnknownClassError, UnknownLayerError
from mscnn.maps import packaged
from mscnn.maps.methods import METHODS, Call
from mscnn.maps.packaged import packaged_map, packaged_maps, seconds_needed
from mscnn.maps.single_pass import Targets, grad_cam

LAYER = "layer3"
CHANNELS = 32 * 4
THEIR_CLASSES = {
    "gradcam": package.GradCAM,
    "gradcam++": package.GradCAMPlusPlus,
    "hirescam": package.HiResCAM,
    "layercam": package.LayerCAM,
    "xgradcam": package.XGradCAM,
    "gradcam-elementwise": package.GradCAMElementWise,
    "eigengradcam": package.EigenGradCAM,
    "eigencam": package.EigenCAM,
    "kpcacam": package.KPCA_CAM,
    "scorecam": package.ScoreCAM,
    "ablationcam": package.AblationCAM,
}
OF_ARBITRARY_SIGN = ("eigengradcam", "eigencam", "kpcacam")
GRADIENT_FREE = ("eigencam", "kpcacam", "scorecam", "ablationcam")


@pytest.fixture
def x():
    """Smaller than elsewhere, for the methods with a forward for every channel."""
    return torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(3))


def call_package(model, x, method, target):
    """The package used as its README says, without anything of ours."""
    options: dict[str, Any] = {}
    if method == "ablationcam":
        options["ablation_layer"] = package.AblationLayer()
    x = x.clone().requires_grad_(method not in GRADIENT_FREE)
    with THEIR_CLASSES[method](model, [model.get_submodule(LAYER)], **options) as cam:
        cam.batch_size = 50
        result: npt.NDArray[Any] = cam(x, [ClassifierOutputTarget(target)])[0]
    return result


def test_every_method_has_a_class_behind_it():
    assert set(THEIR_CLASSES) == set(METHODS) == set(packaged._CLASSES)


@pytest.mark.parametrize("family", ["res2net", "resnest"])
@pytest.mark.parametrize("method", METHODS)
def test_the_map_is_the_packages_before_it_is_rescaled(method, family, loaded, tiny, x):
    # A class of these random networks whose map is not all negative, for every method.
    target = 11
    raw = packaged_map(tiny(family), x, LAYER, target, method)
    assert raw.shape == (4, 4)
    assert raw.dtype == np.float32
    theirs = call_package(loaded(family, fresh=True).model, x, method, target)
    assert theirs.max() > 0.9, "the package's map is flat, so nothing would be compared"
    signs = (1, -1) if method in OF_ARBITRARY_SIGN else (1,)
    ours = [scale_cam_image(np.maximum(sign * raw, 0)[None], (64, 64)) for sign in signs]
    assert min(np.abs(scale_cam_image(one)[0] - theirs).max() for one in ours) < 2e-4


@pytest.mark.parametrize("method", OF_ARBITRARY_SIGN)
@pytest.mark.parametrize("layer", ["layer1", "layer2.0.bn1"])  # after a ReLU, and of either sign
def test_a_principal_component_has_the_sign_of_the_activations(method, layer, tiny, x, monkeypatch):
    model, seen = tiny("resnet"), []
    with model.get_submodule(layer).register_forward_hook(lambda _m, _i, out: seen.append(out)):
        raw = packaged_map(model, x, layer, 1, method)
    strength = seen[0][0].detach().abs().mean(dim=0)
    assert np.corrcoef(raw.ravel(), strength.ravel())[0, 1] > 0
    # Another library may find the same component with the other sign.
    svd, flip = np.linalg.svd, KernelPCA.fit_transform
    monkeypatch.setattr(
        np.linalg, "svd", lambda a, **options: [-part if part.ndim == 2 else part for part in
                                                svd(a, **options)],
    )  # fmt: skip
    monkeypatch.setattr(KernelPCA, "fit_transform", lambda self, a: -flip(self, a))
    np.testing.assert_allclose(packaged_map(model, x, layer, 1, method), raw, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", ["hirescam", "layercam"])
def test_methods_that_coincide_with_a_formula(method, tiny, x):
    model = tiny("resnext")
    with torch.no_grad():
        y = model.layer1(model.maxpool(model.act1(model.bn1(model.conv1(x)))))
        a = model.layer3(model.layer2(y))
    a.requires_grad_()
    logits = model.fc(model.layer4(a).mean(dim=(2, 3)))[0]
    (g,) = torch.autograd.grad(logits[2], a)
    products = {"hirescam": g * a, "layercam": g.clamp(min=0) * a}[method]
    expected = products.sum(dim=1)[0].detach().numpy()
    np.testing.assert_allclose(
        packaged_map(model, x, LAYER, 2, method), expected, rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize("layer", ["layer2.0.bn1", "layer2.0.bn3"])
def test_the_activations_are_those_before_layers_in_place_wrote_over_them(layer, tiny, x):
    model, seen = tiny("resnet"), list[torch.Tensor]()

    def keep(_module, _input, output):
        seen.append(output)
        return output.clone()

    with model.get_submodule(layer).register_forward_hook(keep):
        logits = model(x.requires_grad_())
    (g,) = torch.autograd.grad(logits[0, 1], seen)
    expected = (g * seen[0]).sum(dim=1)[0].detach().numpy()
    raw = packaged_map(model, x, layer, 1, "hirescam")
    np.testing.assert_allclose(raw, expected, rtol=1e-3, atol=1e-6)


class Beside(nn.Module):
    """A layer that runs beside the others, as in timm's DLAs, and gives zeros."""

    def __init__(self):
        super().__init__()
        self.conv, self.beside, self.fc = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Linear(4, 2)
        for parameter in self.beside.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x):
        y = self.conv(x)
        self.beside(y)
        return self.fc(y.mean((2, 3)))


@pytest.mark.parametrize("method", METHODS)
def test_a_layer_that_nothing_reads(method, x):
    """The map is all zeros, or a sentence where the method needs a gradient."""
    model = Beside().eval().requires_grad_(False)
    compute = partial(METHODS[method].compute, model, x, ["beside"], Targets([1]))
    if METHODS[method].cost == "gradient":
        with pytest.raises(UnknownLayerError, match="'beside' takes no part"):
            compute()
    else:
        assert not compute().maps["beside", 1].any()


@pytest.mark.parametrize("best", [True, False])
@pytest.mark.parametrize("layer", ["layer2.0.bn1", "layer2"])
def test_ablation_cam_weighs_by_the_fall_of_the_logit_without_a_channel(
    layer, best, tiny, x, monkeypatch
):
    monkeypatch.setattr(packaged, "MOST_IN_BATCH", 10)
    model, channel, seen = tiny("resnet"), -1, list[torch.Tensor]()

    def without(_module, _input, output):
        seen.append(output.clone())
        output = output.clone()
        output[:, channel] *= channel < 0
        return output

    falls = []
    with torch.no_grad(), model.get_submodule(layer).register_forward_hook(without):
        logits = model(x)[0]
        target = int(logits.argmax() if best else logits.argmin())
        assert (logits[target].item() > 0) is best
        for channel in range(seen[0].shape[1]):  # noqa: B007  # the hook reads it
            falls.append(logits[target] - model(x)[0, target])
    weights = torch.stack(falls) / logits[target].abs()
    expected = torch.einsum("c,chw->hw", weights, seen[0][0]).numpy()
    raw = packaged_map(model, x, layer, target, "ablationcam")
    np.testing.assert_allclose(raw, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("scale", [1, 3])
def test_a_contrast_keeps_its_sign_where_the_others_are_improbable(scale, loaded, x):
    model = loaded("resnet", fresh=True).model
    with torch.no_grad():
        model.fc.weight *= scale
        model.fc.bias *= scale
        order = model(x)[0].argsort(descending=True).tolist()
    own, others = order[0], order[-2:]
    double = copy.deepcopy(model).double()
    with torch.no_grad():
        a = double.layer3(double.layer2(double.layer1(double.maxpool(double.act1(
            double.bn1(double.conv1(x.double()))
        )))))  # fmt: skip
    logits = double.fc(double.layer4(a.requires_grad_()).mean(dim=(2, 3)))[0]
    chances = logits.softmax(0)[others]
    assert (chances.sum().item() < 1e-8) is (scale > 1)
    score = (chances * (logits[own] - logits[others])).sum() / chances.sum()
    (g,) = torch.autograd.grad(score, a)
    expected = (g.mean(dim=(2, 3), keepdim=True) * a).sum(dim=1)[0].detach().numpy()
    raw = packaged_map(model, x, LAYER, own, "gradcam", others=others)
    np.testing.assert_allclose(raw, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_grad_cam_is_signed_and_equals_the_single_pass(tiny, x):
    raw = packaged_map(tiny("res2next"), x, LAYER, 1, "gradcam")
    ours = grad_cam(tiny("res2next"), x, [LAYER], Targets([1])).maps[LAYER, 1]
    assert raw.min() < 0
    np.testing.assert_allclose(raw, ours, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_stop_works_before_the_first_forward_and_leaves_nothing(method, tiny, x):
    # The guard of conftest.py looks for hooks, gradients and swapped layers after the test.
    with pytest.raises(Cancelled):
        packaged_map(tiny("res2net"), x, LAYER, 0, method, call=Call(is_cancelled=lambda: True))


@pytest.mark.parametrize("method", ["scorecam", "ablationcam"])
def test_stop_works_between_the_forwards(method, tiny, x, monkeypatch):
    monkeypatch.setattr(packaged, "MOST_IN_BATCH", 16)
    done: list[tuple[int, int]] = []
    with pytest.raises(Cancelled):
        packaged_map(
            tiny("res2net"), x, LAYER, 0, method,
            call=Call(lambda *step: done.append(step), lambda: len(done) >= 3),
        )  # fmt: skip
    assert len(done) == 3


@pytest.mark.parametrize("method", METHODS)
def test_an_error_in_the_model_leaves_nothing(method, tiny, x):
    class Broken(Exception):
        pass

    def fail(done, total):
        # In the middle of the work, where AblationCAM has another layer in the model.
        if total == 1 or done > 2:
            raise Broken

    with pytest.raises(Broken):
        packaged_map(tiny("resnest"), x, LAYER, 0, method, call=Call(fail))


@pytest.mark.parametrize("method", ["scorecam", "ablationcam"])
def test_progress_counts_the_forwards_it_promised(method, tiny, x, monkeypatch):
    monkeypatch.setattr(packaged, "MOST_IN_BATCH", 48)
    steps: list[tuple[int, int]] = []
    packaged_map(tiny("resnet"), x, LAYER, 0, method, call=Call(lambda *s: steps.append(s)))
    assert steps[-1] == (CHANNELS + 1, CHANNELS + 1)
    assert len(steps) > 3
    assert steps == sorted(steps)


@pytest.mark.parametrize("method", ["scorecam", "ablationcam"])
def test_an_estimate_is_what_the_clock_says(method, tiny, x, monkeypatch):
    """By a clock that only forwards move: a fixed cost each, and one per picture."""
    now = [0.0]

    class Clocked(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = tiny("resnet")

        def forward(self, x):
            now[0] += 0.2 + 0.05 * len(x)
            return self.inner(x)

    monkeypatch.setattr(packaged, "MOST_IN_BATCH", 16)
    monkeypatch.setattr("mscnn.maps.packaged.time.perf_counter", lambda: now[0])
    model, layer = Clocked().eval(), f"inner.{LAYER}"
    estimate = seconds_needed(model, x, layer, method)
    cost, now[0] = now[0], 0.0
    packaged_map(model, x, layer, 0, method)
    assert 1 / 1.5 < estimate / now[0] < 1.5
    assert cost < now[0] / 2


def test_no_method_keeps_the_graph_alive(tiny, x):
    """The package's objects hold graphs; without a collection they must be gone all the same."""
    seen: list[weakref.ref[Any]] = []
    handle = tiny("resnet").layer1.register_forward_hook(
        lambda _m, _i, output: seen.append(weakref.ref(output))
    )
    gc.collect()
    gc.disable()
    try:
        packaged_map(tiny("resnet"), x, LAYER, 0, "gradcam++")
        assert seen
        assert [ref for ref in seen if ref() is not None] == []
    finally:
        gc.enable()
        handle.remove()


@pytest.mark.parametrize("method", ["layercam", "eigencam"])
def test_several_layers_and_classes(method, tiny, x):
    steps: list[tuple[int, int]] = []
    result = packaged_maps(
        tiny("res2net"), x, ["layer2", LAYER], Targets([3, "top1"]), method,
        call=Call(lambda *s: steps.append(s)),
    )  # fmt: skip
    best = int(result.logits.argmax())
    assert result.targets == (3, best)
    assert set(result.maps) == {(n, t) for n in ("layer2", LAYER) for t in (3, best)}
    for (layer, target), raw in result.maps.items():
        alone = packaged_map(tiny("res2net"), x, layer, target, method)
        np.testing.assert_allclose(raw, alone, rtol=1e-4, atol=1e-5)
    same = np.array_equal(result.maps[LAYER, 3], result.maps[LAYER, best])
    assert same is not METHODS[method].class_specific
    assert steps[-1] == (len(steps), len(steps))


def test_bfloat16_networks_are_explained_in_float32(loaded, x):
    model = loaded("resnet", fresh=True).model.bfloat16()
    result = packaged_maps(model, x.bfloat16(), [LAYER], Targets([1]), "layercam")
    assert next(model.parameters()).dtype == torch.bfloat16
    expected = packaged_map(model.float(), x.bfloat16().float(), LAYER, 1, "layercam")
    np.testing.assert_allclose(result.maps[LAYER, 1], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("target", [12, -1, "thing 99"])
def test_a_class_out_of_range_never_reaches_the_package(target, network, photo, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("the package was called")

    monkeypatch.setattr(packaged, "packaged_maps", never)
    with pytest.raises(UnknownClassError, match="12 classes"):
        network("res2net").explain(photo, targets=[target], method="layercam")


@pytest.mark.parametrize(("px", "expected"), [(64, 128), (96, 128), (224, 32), (416, 9), (4000, 1)])
def test_large_inputs_go_in_small_batches(px, expected):
    assert packaged.batch_size(px, px) == expected
