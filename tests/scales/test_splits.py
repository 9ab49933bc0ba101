"""Split maps and evidence, against paper arithmetic and a float64 forward written by hand here."""

import copy
from collections import OrderedDict
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from timm.models.res2net import Bottle2neck
from timm.models.resnet import BasicBlock, ResNet
from torch import nn

from mscnn.errors import OptionError, UnsupportedModelError
from mscnn.geometry import ViewGeometry
from mscnn.maps.single_pass import Targets, grad_cam
from mscnn.results.scales import ScaleReport
from mscnn.scales import families, receptive_field, splits, topology
from mscnn.scales.splits import BatchScales, batch_evidence, weighted_rf
from tests.conftest import FAMILIES, STAGES, randomise_batch_norms

GEOMETRY = ViewGeometry((96, 96), (96, 96), (0, 0), (96, 96))


def split_evidence(model, x, target, stages=STAGES, field=None):
    return splits.split_evidence(model, x, Targets([target]), stages, field, GEOMETRY)


def evidence_of(block):
    return np.array([split.evidence for split in block.splits])


def by_name(raw):
    return {block.block: block for block in raw.blocks}


class Paper(nn.Module):
    """One Bottle2neck of three splits, one channel each, on maps of 1 x 2.

    Input channels x0 = [1 2], x1 = [3 0], x2 = [2 1], and a fourth that is 0. conv1 hands them
    on. Split 0 is 2 x0 = [2 4]. Split 1 adds to each place the one on its left, on split 0 + x1 =
    [5 4]: [5 9]. Split 2 is x2 itself. conv3 makes (split 0 - 3 split 2), (split 1),
    (-split 1) and nothing; with the shortcut: [-3 3], [8 9], [-3 -8], [0 0]; the ReLU leaves
    [0 3], [8 9], nothing, nothing. Their means are 1.5 and 8.5.
    """

    X = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]], [[2.0, 1.0]]]])

    def __init__(self):
        super().__init__()
        block = Bottle2neck(4, 1, base_width=64, scale=3, norm_layer=lambda *_, **__: nn.Identity())
        self.layer1 = nn.Sequential(block)
        self.fc = nn.Linear(4, 3, bias=False)
        with torch.no_grad():
            for weight in (block.conv1.weight, *(c.weight for c in block.convs)):
                weight.zero_()
            for i in range(3):
                block.conv1.weight[i, i] = 1
            block.convs[0].weight[0, 0, 1, 1] = 2
            block.convs[1].weight[0, 0, 1, :2] = 1
            block.conv3.weight[:, :, 0, 0] = torch.tensor(
                [[1.0, 0.0, -3.0], [0.0, 1.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 0.0]]
            )
            self.fc.weight.copy_(
                torch.tensor([[2.0, -1.0, 5.0, 0.0], [-1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 9.0, 9.0]])
            )
        self.eval().requires_grad_(False)

    def forward(self, x):
        return self.fc(self.layer1(torch.cat([x, 0 * x[:, :1]], 1)).mean((2, 3)))


@pytest.mark.parametrize(("target", "maps", "evidence", "total"), [
    # dy0/d mean is (2, -1, 5, 0), half of it per place; the first place of channel 0 and all
    # of channel 2 are behind the ReLU. So G is [0 1] for split 0, [-.5 -.5] for split 1 and
    # [0 -3] for split 2, and G x A is [0 4], [-2.5 -4.5] and [0 -3].
    (0, [[1, 2], [-2.5, -4.5], [-3, -1.5]], [4, 0, 0], -6),
    # G is [0 -.5], [.5 .5], [0 1.5]; G x A is [0 -2], [2.5 4.5], [0 1.5].
    (1, [[-0.5, -1], [2.5, 4.5], [1.5, 0.75]], [0, 7, 1.5], 6.5),
    # Only dead channels.
    (2, [[0, 0], [0, 0], [0, 0]], [0, 0, 0], 0),
])  # fmt: skip
def test_a_block_computed_on_paper(target, maps, evidence, total):
    raw = split_evidence(Paper(), Paper.X, target, ["layer1"])
    np.testing.assert_allclose(raw.logits, [-5.5, 7.0, 0.0])
    (block,) = raw.blocks
    assert (block.block, block.kind, raw.target) == ("layer1.0", "hierarchy", target)
    assert block.maps.dtype == np.float32
    np.testing.assert_allclose(block.maps[:, 0], maps)
    np.testing.assert_allclose(evidence_of(block), evidence)
    assert block.gradient_times_activation == pytest.approx(total)


def test_top1_is_the_class_explained():
    assert split_evidence(Paper(), Paper.X, "top1", ["layer1"]).target == 1


Found = list[tuple[str, torch.Tensor, torch.Tensor]]


def by_hand(model, x, target):
    """Per block: its name, what its last convolution takes in, and the gradient there.

    A zero tensor that asks for gradients is added at each of these places.
    """
    found, leaves = [], []

    def watched(name, activation):
        leaf = torch.zeros_like(activation, requires_grad=True)
        leaves.append(leaf)
        found.append((name, activation))
        return activation + leaf

    m: Any = model
    y = torch.max_pool2d(torch.relu(m.bn1(m.conv1(x))), 3, 2, 1)
    for stage in STAGES:
        for number, block in enumerate(getattr(m, stage)):
            before = before_last(block, y)
            shortcut = y if block.downsample is None else block.downsample(y)
            last, norm = (block.conv2, block.bn2) if is_basic(block) else (block.conv3, block.bn3)
            y = torch.relu(norm(last(watched(f"{stage}.{number}", before))) + shortcut)
    logits = y.mean((2, 3)) @ m.fc.weight.T + m.fc.bias
    gradients = torch.autograd.grad(logits[0, target], leaves)
    return [(n, a.detach(), g) for (n, a), g in zip(found, gradients, strict=True)]


def is_basic(block):
    return isinstance(block, BasicBlock)


def before_last(block, x):
    """What enters the block's last convolution: equation 1 of the Res2Net paper, and others."""
    y = torch.relu(block.bn1(block.conv1(x)))
    if is_basic(block):
        return y
    if not isinstance(block, Bottle2neck):
        y = block.conv2(y)  # for ResNeSt, all of its split attention
        y = torch.relu(block.bn2(y)) if isinstance(block.bn2, nn.BatchNorm2d) else y
        pool = getattr(block, "avd_last", None)
        return y if pool is None else pool(y)
    *parts, rest = y.chunk(len(block.convs) + 1, dim=1)
    out: list[torch.Tensor] = []
    chained = block.downsample is None
    for part, convolution, norm in zip(parts, block.convs, block.bns, strict=True):
        part = part + out[-1] if chained and out else part
        out.append(torch.relu(norm(convolution(part))))
    stride = block.convs[0].stride
    out.append(rest if chained else nn.functional.avg_pool2d(rest, 3, stride, 1))
    return torch.cat(out, dim=1)


def basic():
    """A small ResNet of BasicBlocks."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = ResNet(
            block=BasicBlock, layers=(2, 2, 1, 1), channels=(8, 12, 16, 24), num_classes=5,
            zero_init_last=False,
        )  # fmt: skip
        randomise_batch_norms(model)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def doubles(tiny):
    """Networks in float64."""
    made: dict[str, nn.Module] = {}

    def get(family):
        if family not in made:
            source = basic() if family == "basic" else copy.deepcopy(tiny(family))
            made[family] = source.double()
        return made[family]

    return get


@pytest.mark.parametrize("family", ["res2net", "res2next", "resnet", "resnext", "basic"])
def test_maps_and_evidence_equal_autograd_in_float64(family, doubles, x):
    check_against_hand(doubles(family), x.double(), 4 if family.startswith("res2") else 1)


def test_the_single_path_of_resnest(doubles, x):
    model = doubles("resnest")
    # The deep stem is a module of its own; the rest is as in the other families.
    stem = SimpleNamespace(**{s: getattr(model, s) for s in (*STAGES, "fc", "conv1", "bn1")})
    check_against_hand(model, x.double(), 1, stem)


def check_against_hand(model, x, scale, watched=None):
    raw = split_evidence(model, x, 3)
    expected = by_hand(watched or model, x, 3)
    assert [b.block for b in raw.blocks] == [name for name, _, _ in expected]
    for block, (_, activation, gradient) in zip(raw.blocks, expected, strict=True):
        size = activation.shape[1] // scale
        assert len(block.splits) == scale
        assert block.maps.shape == (scale, *activation.shape[2:])
        before_relu = 0.0
        for i in range(scale):
            a, g = (t[0, i * size : (i + 1) * size].numpy() for t in (activation, gradient))
            cam = (g.mean((1, 2), keepdims=True) * a).sum(0)
            assert np.abs(cam).max() > 0
            np.testing.assert_allclose(block.maps[i], cam, rtol=1e-5, atol=1e-6 * np.abs(cam).max())
            places = (g * a).sum(0)
            np.testing.assert_allclose(
                block.splits[i].evidence, places[places > 0].sum(), rtol=1e-9
            )
            before_relu += places.sum()
        assert block.gradient_times_activation == pytest.approx(before_relu, rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_float32_agrees_with_float64(family, tiny, doubles, x):
    single = split_evidence(tiny(family), x, 3)
    double = split_evidence(doubles(family), x.double(), 3)
    np.testing.assert_allclose(single.logits, double.logits, rtol=1e-4, atol=1e-5)
    for a, b in zip(single.blocks, double.blocks, strict=True):
        np.testing.assert_allclose(evidence_of(a), evidence_of(b), rtol=2e-3)
        np.testing.assert_allclose(a.maps, b.maps, atol=2e-3 * np.abs(b.maps).max())


def test_the_splits_add_up_to_the_grad_cam_of_the_whole_tensor(tiny, x):
    """At a module that hands its input on, the ordinary engine sees the same tensor."""
    model = copy.deepcopy(tiny("res2net"))
    block = model.layer2[1]
    block.conv3 = nn.Sequential(nn.Identity(), block.conv3)
    raw = split_evidence(model, x, 2)
    whole = grad_cam(model, x, ["layer2.1.conv3.0"], Targets([2])).maps["layer2.1.conv3.0", 2]
    np.testing.assert_allclose(
        by_name(raw)["layer2.1"].maps.sum(0), whole, rtol=0, atol=1e-4 * np.abs(whole).max()
    )


@pytest.mark.parametrize("change", ["bfloat16", "channels last"])
def test_other_precisions_and_memory_layouts(change, tiny, x):
    model = copy.deepcopy(tiny("res2net"))
    expected = evidence_of(split_evidence(model, x, 3).blocks[-1])
    if change == "bfloat16":
        model, x, tolerance = model.bfloat16(), x.bfloat16(), 0.1
    else:
        model = model.to(memory_format=torch.channels_last)
        x, tolerance = x.to(memory_format=torch.channels_last), 1e-3
    raw = split_evidence(model, x, 3)
    block = raw.blocks[-1]
    assert raw.logits.dtype == block.maps.dtype == np.float32
    np.testing.assert_allclose(
        evidence_of(block), expected, rtol=0, atol=tolerance * expected.max()
    )


@pytest.mark.parametrize(("family", "first", "later"), [
    ("res2net", "parallel", "hierarchy"), ("res2next", "parallel", "hierarchy"),
    ("resnet", "single", "single"), ("resnest", "single", "single"),
])  # fmt: skip
def test_the_first_block_of_every_stage_has_no_hierarchy(family, first, later, tiny, x):
    raw = split_evidence(tiny(family), x, 0)
    kinds = {b.block: b.kind for b in raw.blocks}
    # The tiny networks' stem is as wide as layer1, so layer1.0 needs no convolution beside it.
    expected = {f"{s}.{n}": (later if n else first) for s in STAGES for n in (0, 1)}
    assert kinds == {**expected, "layer1.0": later}


def test_a_model_without_residual_blocks_is_refused(x):
    model = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 1)), nn.Flatten())
    with pytest.raises(UnsupportedModelError, match="choose a Res2Net"):
        split_evidence(model, x, 0, ["0"])


@pytest.mark.parametrize("family", ["res2net", "resnet"])
def test_a_batch_equals_its_samples(family, doubles):
    model = doubles(family)
    x = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1)).double()
    batch = batch_evidence(model, x, [4, 0, 4], STAGES, last="layer4")
    assert batch.logits.dtype == np.float32
    assert batch.last is not None
    assert batch.last_gradient is not None
    for number, target in enumerate([4, 0, 4]):
        one = split_evidence(model, x[number : number + 1], target)
        np.testing.assert_allclose(batch.logits[number], one.logits, rtol=1e-6)
        sample = batch.sample(number)
        assert list(sample) == [b.block for b in one.blocks]
        for block in one.blocks:
            assert sample[block.block].dtype == np.float64
            np.testing.assert_allclose(sample[block.block], evidence_of(block), rtol=1e-9)
        cam = (batch.last_gradient[number].mean((1, 2), keepdim=True) * batch.last[number]).sum(0)
        expected = grad_cam(model, x[number : number + 1], ["layer4"], Targets([target]))
        np.testing.assert_allclose(cam, expected.maps["layer4", target], rtol=1e-5, atol=1e-7)


def test_the_last_stage_is_kept_only_where_it_is_asked_for(tiny, x):
    batch = batch_evidence(tiny("res2net"), x, [1], STAGES)
    assert batch.last is None
    assert batch.last_gradient is None
    kept = batch_evidence(tiny("res2net"), x, [1], STAGES, last="layer4").last
    assert kept is not None
    assert not kept.requires_grad
    with torch.no_grad():
        assert torch.equal(kept, tiny("res2net").forward_features(x))


def test_a_batch_needs_one_class_per_sample(tiny, x):
    with pytest.raises(OptionError, match="2 classes were given for 1 inputs"):
        batch_evidence(tiny("res2net"), x, [1, 2], STAGES)


class StandIn:
    """Receptive fields of some blocks, as the theory gives them, without the theory."""

    def __init__(self, **sizes):
        self.blocks = [
            SimpleNamespace(
                block=name.replace("_", "."),
                stride_px=4,
                splits=[
                    SimpleNamespace(index=i, path=("1x1", f"way{i}"), rf_min_px=3, rf_max_px=r)
                    for i, r in enumerate(of_block)
                ],
            )
            for name, of_block in sizes.items()
        ]


def test_fields_and_shares_are_joined():
    field = StandIn(layer1_0=[5, 7, 3])
    (block,) = split_evidence(Paper(), Paper.X, 1, ["layer1"], field).blocks
    assert (block.stride_px, block.target, block.kind) == (4, 1, "hierarchy")
    assert [s.path for s in block.splits] == [("1x1", "way0"), ("1x1", "way1"), ("1x1", "way2")]
    assert [(s.index, s.rf_min_px, s.rf_max_px) for s in block.splits] == [
        (0, 3, 5), (1, 3, 7), (2, 3, 3),
    ]  # fmt: skip
    assert [s.share for s in block.splits] == pytest.approx([0, 7 / 8.5, 1.5 / 8.5])
    assert sum(s.share for s in block.splits) == pytest.approx(1)
    assert block.weighted_rf_px == pytest.approx((7 * 7 + 1.5 * 3) / 8.5)
    np.testing.assert_allclose(block.cam(1).raw, [[2.5, 4.5]])
    # Without evidence there are no shares.
    (block,) = split_evidence(Paper(), Paper.X, 2, ["layer1"], field).blocks
    assert [s.share for s in block.splits] == [0, 0, 0]
    assert block.weighted_rf_px is None


@pytest.mark.parametrize(("family", "first", "later"), [
    (
        "res2net",
        [("1x1", "3x3"), ("1x1", "3x3"), ("1x1", "3x3"), ("1x1", "pool")],
        [("1x1", "3x3"), ("1x1", *["3x3"] * 2), ("1x1", *["3x3"] * 3), ("1x1",)],
    ),
    ("resnet", [("1x1", "3x3")], [("1x1", "3x3")]), ("basic", [("3x3",)], [("3x3",)]),
])  # fmt: skip
@pytest.mark.parametrize("field", [None, StandIn(layer4_9=[1])], ids=["no field", "other blocks"])
def test_where_fields_are_not_known_the_plain_way_is_named(field, family, first, later, tiny, x):
    model = basic() if family == "basic" else tiny(family)
    blocks = by_name(split_evidence(model, x, 0, STAGES, field))
    assert [s.path for s in blocks["layer2.0"].splits] == first
    assert [s.path for s in blocks["layer2.1"].splits] == later
    assert all(s.rf_max_px is None and s.rf_min_px is None for s in blocks["layer2.1"].splits)
    assert blocks["layer2.1"].stride_px is None
    assert blocks["layer2.1"].weighted_rf_px is None


@pytest.mark.parametrize("family", ["res2net", "res2next", "resnet", "basic"])
def test_the_plain_way_is_the_traced_one(family, tiny, x):
    model = basic() if family == "basic" else tiny(family)
    graph = topology.trace(copy.deepcopy(model), STAGES)
    field = receptive_field.fields(graph, model=family, input_px=96)
    traced = by_name(split_evidence(model, x, 0, STAGES, field))
    for name, block in by_name(split_evidence(model, x, 0)).items():
        assert [s.path for s in block.splits] == [s.path for s in traced[name].splits]
        assert traced[name].weighted_rf_px is not None


EVIDENCE = {"a": np.array([1.0, 3.0]), "b": np.array([2.0, 0.0]), "c": np.array([5.0])}


@pytest.mark.parametrize(("evidence", "field", "expected"), [
    # (1 x 10 + 3 x 20) / 4 = 17.5; 30; 50; each block counts once.
    (EVIDENCE, StandIn(a=[10, 20], b=[30, 40], c=[50]), (17.5 + 30 + 50) / 3),
    ({**EVIDENCE, "b": np.zeros(2)}, StandIn(a=[10, 20], b=[30, 40], c=[50]), 33.75),
    (EVIDENCE, StandIn(a=[10, 20]), 17.5), (EVIDENCE, StandIn(z=[1]), None),
    (EVIDENCE, None, None), ({"c": np.array([5.0])}, StandIn(c=[50]), None),
    ({"a": np.zeros(2)}, StandIn(a=[10, 20]), None), ({}, StandIn(a=[10, 20]), None),
])  # fmt: skip
def test_the_evidence_weighted_receptive_field(evidence, field, expected):
    got = weighted_rf(evidence, field)
    assert got == (None if expected is None else pytest.approx(expected))


def test_the_sweep_and_the_report_mean_the_same_by_it(tiny, x):
    names = [f"{s}_{n}" for s in STAGES for n in (0, 1)]
    field: Any = StandIn(**{n: [9 + i, 40, 77, 5] for i, n in enumerate(names[1:])})
    blocks = split_evidence(tiny("res2net"), x, 2, STAGES, field).blocks
    report = ScaleReport(None, None, blocks, np.empty(0))  # type: ignore[arg-type]
    batch: BatchScales = batch_evidence(tiny("res2net"), torch.cat([x, x.flip(-1)]), [2, 2], STAGES)
    first, second = batch.weighted_rf_px(field)
    assert first == pytest.approx(report.weighted_rf_px, rel=1e-4)
    assert second is not None
    assert second != pytest.approx(first, rel=1e-4)


def test_a_family_of_ones_own_is_one_adapter(monkeypatch):
    """Blocks with two branches of another kernel each, read by the lens and traced like others."""

    class Forked(nn.Module):
        def __init__(self):
            super().__init__()
            self.small = nn.Conv2d(8, 4, 3, padding=1)
            self.large = nn.Conv2d(8, 4, 5, padding=2)
            self.join = nn.Conv2d(8, 8, 1)

        def forward(self, x):
            branches = [self.small(x).relu(), self.large(x).relu()]
            return x + self.join(torch.cat(branches, 1))

    model = nn.Sequential(OrderedDict(
        stem=nn.Conv2d(3, 8, 4, stride=4), stage=nn.Sequential(Forked(), Forked()),
        pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), fc=nn.Linear(8, 5),
    )).eval()  # fmt: skip
    with pytest.raises(UnsupportedModelError):
        families.hook_points(model, ["stage"])
    adapter = families.Adapter(
        fits=lambda block: isinstance(block, Forked), last="join", splits=lambda _: 2,
        kind=lambda _: "parallel", path=lambda _, index: (("3x3",), ("5x5",))[index],
    )  # fmt: skip
    monkeypatch.setattr(families, "ADAPTERS", [*families.ADAPTERS, adapter])
    field = receptive_field.fields(topology.trace(model, ["stage"]), model="m", input_px=32)
    assert [[s.rf_max_px for s in block.splits] for block in field.blocks] == [[12, 20], [28, 36]]
    assert [s.path for s in field.blocks[0].splits] == [("3x3",), ("5x5",)]
    found = split_evidence(model, torch.randn(1, 3, 32, 32), 2, ["stage"])
    assert [block.maps.shape for block in found.blocks] == [(2, 8, 8)] * 2
    assert [split.path for split in found.blocks[1].splits] == [("3x3",), ("5x5",)]
