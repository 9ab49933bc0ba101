"""Split attention: gates and branch maps, against timm's own modules and a float64 forward."""

from typing import Any

import numpy as np
import pytest
import torch
from timm.layers import SplitAttn
from timm.models.resnest import ResNestBottleneck
from timm.models.resnet import ResNet
from torch import nn

from mscnn.errors import UnsupportedModelError
from mscnn.geometry import ViewGeometry
from mscnn.maps.single_pass import Targets, grad_cam
from mscnn.scales import attention
from mscnn.scales.attention import entropy_bits, gates, mean_gates
from tests.conftest import STAGES, randomise_batch_norms

BLOCKS = [f"{stage}.{number}" for stage in STAGES for number in (0, 1)]
SETTINGS = [(1, 1), (2, 1), (4, 1), (1, 2), (2, 2), (4, 2)]
_MADE: dict[tuple[int, int], nn.Module] = {}
GEOMETRY = ViewGeometry((64, 64), (64, 64), (0, 0), (64, 64))


def gated_maps(model, x, targets):
    return attention.gated_maps(model, x, targets, GEOMETRY)


def resnest(radix, cardinality):
    """A small ResNeSt in float64; as in timm, 1s4x24d and 4s2x40d pool before the convolution."""
    key = (radix, cardinality)
    if key not in _MADE:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(11 + 10 * radix + cardinality)
            model = ResNet(
                block=ResNestBottleneck, layers=(2, 2, 2, 2), channels=(8, 16, 16, 24),
                num_classes=6, stem_type="deep", stem_width=4, avg_down=True,
                base_width=64 if cardinality == 1 else 32, cardinality=cardinality,
                zero_init_last=False,
                block_args={"radix": radix, "avd": True, "avd_first": cardinality > 1},
            )  # fmt: skip
            randomise_batch_norms(model)
        _MADE[key] = model.double().eval().requires_grad_(False)
    return _MADE[key]


@pytest.fixture
def small():
    """``(1, 3, 64, 64)`` float64."""
    return torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(2)).double()


def by_hand(module, x):
    """Equations 1 to 3 of the paper: gates ``(radix, C)`` and branches ``(radix, C, h, w)``.

    The cardinal groups are treated one by one, as the paper draws them.
    """
    radix, groups = module.radix, module.rsoftmax.cardinality
    branches = torch.relu(module.bn0(module.conv(x)))[0]
    channels = len(branches) // radix
    branches = torch.stack([branches[r * channels : (r + 1) * channels] for r in range(radix)])
    means = branches.sum(0).mean((1, 2))[None, :, None, None]
    dense = module.fc2(torch.relu(module.bn1(module.fc1(means))))[0, :, 0, 0]
    gate = torch.empty(radix, channels, dtype=x.dtype)
    size = channels // groups
    for k in range(groups):
        of_group = dense[k * radix * size : (k + 1) * radix * size]
        rows = torch.stack([of_group[r * size : (r + 1) * size] for r in range(radix)])
        rows = rows.exp() / rows.exp().sum(0) if radix > 1 else 1 / (1 + (-rows).exp())
        gate[:, k * size : (k + 1) * size] = rows
    return gate, branches


def inputs_and_outputs(model, x):
    """What each SplitAttn takes in and puts out, by torch's own hooks."""
    seen: dict[str, tuple[Any, ...]] = {}
    handles = [
        module.register_forward_hook(
            lambda _, args, out, name=name: seen.__setitem__(name, (args[0].clone(), out.clone()))
        )
        for name, module in model.named_modules()
        if isinstance(module, SplitAttn)
    ]
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    return {name.removesuffix(".conv2"): pair for name, pair in seen.items()}


@pytest.mark.parametrize(("radix", "cardinality"), SETTINGS)
def test_gates_equal_the_papers_equations(radix, cardinality, small):
    model = resnest(radix, cardinality)
    found = gates(model, small)
    assert list(found) == BLOCKS
    for block, (taken, given) in inputs_and_outputs(model, small).items():
        module = model.get_submodule(f"{block}.conv2")
        gate, branches = by_hand(module, taken)
        assert found[block].dtype == np.float32
        np.testing.assert_allclose(found[block], gate, rtol=1e-5)
        # The channels' order: gates and branches make what timm's module puts out.
        mixed = np.einsum("rk,rkhw->khw", found[block], branches)
        np.testing.assert_allclose(mixed, given[0], rtol=1e-4, atol=1e-6)
        if cardinality > 1:
            assert found[block][:, 0] != pytest.approx(found[block][:, -1], rel=1e-3)


@pytest.mark.parametrize(("radix", "cardinality"), SETTINGS)
def test_gates_add_up_to_one_over_radix(radix, cardinality, small):
    for gate in gates(resnest(radix, cardinality), small).values():
        assert ((gate > 0) & (gate < 1)).all()
        if radix > 1:
            np.testing.assert_allclose(gate.sum(0), 1, rtol=1e-6)
        else:  # a sigmoid, without competition
            assert not np.allclose(gate, 1)


@pytest.mark.parametrize(("radix", "cardinality"), SETTINGS)
def test_branch_maps_equal_autograd_and_add_up_to_grad_cam(radix, cardinality, small):
    model = resnest(radix, cardinality)
    raw = gated_maps(model, small, Targets([3]))
    layers = [f"{block}.conv2" for block in BLOCKS]
    whole = grad_cam(model, small, layers, Targets([3])).maps
    seen = inputs_and_outputs(model, small)
    assert [b.block for b in raw.blocks] == BLOCKS
    np.testing.assert_allclose(raw.logits, model(small)[0], rtol=1e-5)
    assert raw.target == 3
    for block in raw.blocks:
        assert (block.radix, block.cardinality) == (radix, cardinality)
        module = model.get_submodule(f"{block.block}.conv2")
        gate, branches = by_hand(module, seen[block.block][0])
        gradient = gradient_at(model, small, f"{block.block}.conv2", 3)
        expected = torch.einsum("k,rk,rkhw->rhw", gradient.mean((1, 2)), gate, branches).numpy()
        scale = np.abs(expected).max()
        assert scale > 0
        np.testing.assert_allclose(block.maps, expected, rtol=0, atol=1e-5 * scale)
        cam = whole[f"{block.block}.conv2", 3]
        np.testing.assert_allclose(block.maps.sum(0), cam, rtol=0, atol=1e-5 * scale)
        assert block.maps.dtype == block.gates.dtype == np.float32
        np.testing.assert_allclose(block.gates, gate, rtol=1e-5)


def gradient_at(model, x, layer, target):
    """The gradient of a logit at a layer's output: a zero leaf is added there."""
    leaves: list[torch.Tensor] = []

    def add(_, __, out):
        leaves.append(torch.zeros_like(out, requires_grad=True))
        return out + leaves[0]

    handle = model.get_submodule(layer).register_forward_hook(add)
    try:
        (gradient,) = torch.autograd.grad(model(x)[0, target], leaves)
    finally:
        handle.remove()
    return gradient[0]


def test_a_map_of_one_place(small):
    """On 32 px the last stage is one place; its gates must not be taken for its branches."""
    blocks = gated_maps(resnest(1, 1), small[..., :32, :32], Targets([0])).blocks
    assert blocks[-1].maps.shape == (1, 1, 1)
    assert blocks[-1].gates.shape[0] == 1


@pytest.mark.parametrize(
    ("gate", "expected"),
    [
        ([[0.5, 0.5], [0.5, 0.5]], 1.0), ([[1.0, 0.0], [0.0, 1.0]], 0.0), ([[0.25] * 3] * 4, 2.0),
        ([[0.5, 1.0], [0.5, 0.0]], 0.5), ([[0.75], [0.25]], 0.75 * np.log2(4 / 3) + 0.25 * 2),
        ([[0.3, 0.9]], None),
    ],
    ids=["even", "decided", "four branches", "half of the channels decided", "3 to 1", "radix 1"],
)  # fmt: skip
def test_entropy(gate, expected):
    got = entropy_bits(np.array(gate, dtype=np.float32))
    assert got == (None if expected is None else pytest.approx(expected, abs=1e-7))


def test_mean_gates():
    one = {"a": np.array([[0.2], [0.8]], np.float32), "b": np.array([[0.5]], np.float32)}
    two = {"a": np.array([[0.6], [0.4]], np.float32), "b": np.array([[0.1]], np.float32)}
    mean = mean_gates([one, two])
    assert list(mean) == ["a", "b"]
    np.testing.assert_allclose(mean["a"], [[0.4], [0.6]], rtol=1e-6)
    np.testing.assert_allclose(mean["b"], [[0.3]], rtol=1e-6)
    assert mean["a"].dtype == np.float32
    assert mean_gates([]) == {}


@pytest.mark.parametrize("family", ["resnet", "res2net"])
def test_a_model_without_split_attention_is_refused(family, tiny, x):
    with pytest.raises(UnsupportedModelError, match="ResNeSt"):
        gates(tiny(family), x)
    with pytest.raises(UnsupportedModelError, match="ResNeSt"):
        gated_maps(tiny(family), x, Targets([0]))
