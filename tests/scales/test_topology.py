"""Traced graphs: the shipped table is fresh, and fields equal the support of real gradients.

The support oracle: with positive weights and nothing but convolutions, averages and sums, nothing
cancels, so the gradient of one unit to the input is positive exactly where the unit can see.
"""

import copy
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import timm
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from timm.layers.split_attn import RadixSoftmax
from torch import nn
from torch.nn import functional

from mscnn.errors import UnsupportedModelError
from mscnn.models.architecture import from_name
from mscnn.results.receptive_field import BlockField, SplitField, StageField
from mscnn.scales.families import hook_points
from mscnn.scales.graph import to_row
from mscnn.scales.receptive_field import fields
from mscnn.scales.topology import trace
from scripts import topologies

STAGES = ("layer1", "layer2", "layer3", "layer4")
FAMILIES = ("resnet", "resnext", "res2net", "res2next", "resnest")
TABLE = json.loads(topologies.PATH.read_text(encoding="utf-8"))["architectures"]
LARGE = ("101", "200", "269", "8s", "6s")

AnyField = StageField | BlockField | SplitField
Build = Callable[..., nn.Module]


def traced(model, stages=STAGES):
    return fields(trace(model, stages), model="traced", input_px=64)


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=[pytest.mark.slow] if any(x in name for x in LARGE) else [])
    for name in topologies.architectures()
])  # fmt: skip
def test_table_is_fresh(name):
    row = TABLE.get(name)
    assert row is not None, "run: python -m scripts.topologies --write"
    fresh = to_row(trace(from_name(name).build(device="meta"), STAGES))
    assert fresh == row, "run: python -m scripts.topologies --write"


def test_table_has_the_registry_and_nothing_else():
    assert list(TABLE) == list(topologies.architectures())


def test_stale_table_is_noticed_and_rewritten(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(topologies, "PATH", tmp_path / "table.json")
    monkeypatch.setattr(topologies, "architectures", lambda: ("starter_resnet",))
    assert topologies.main([]) == 1
    assert "is stale" in capsys.readouterr().err
    assert topologies.main(["--write"]) == 0
    assert json.loads((tmp_path / "table.json").read_text("utf-8")) == {
        "architectures": {"starter_resnet": TABLE["starter_resnet"]}
    }
    assert topologies.main([]) == 0


class Ones(nn.Module):
    """Stands in for a gate: global context is no part of the local path."""

    def forward(self, x):
        return torch.ones_like(x)


def positive(model):
    """A float64 copy with positive weights, without nonlinearities, norms and gates."""
    model = copy.deepcopy(model).double()
    for name, module in list(model.named_modules()):
        new: nn.Module | None = None
        if isinstance(module, (nn.BatchNorm2d, nn.ReLU)):
            new = nn.Identity()
        elif isinstance(module, nn.MaxPool2d):
            new = nn.AvgPool2d(module.kernel_size, module.stride, module.padding)
        elif isinstance(module, (RadixSoftmax, nn.Sigmoid)):
            new = Ones()
        if new is not None:
            model.set_submodule(name, new)
    generator = torch.Generator().manual_seed(5)
    for parameter in model.parameters():
        values = torch.rand(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.data = (values + 0.5) / parameter[0].numel()
    return model


def support(gradient, axis):
    """First px with a gradient, and one past the last, along an axis of ``(1, C, H, W)``."""
    others = [dim for dim in range(4) if dim != axis]
    px = (gradient.sum(dim=others) > 0).nonzero().flatten()
    return int(px.min()), int(px.max()) + 1


def unit_for(field):
    """The first unit whose box lies 3 px or more inside the input."""
    return max(0, -(-(3 - field.low) // field.stride_px))


def places(field):
    found: dict[str, AnyField] = {stage.stage: stage for stage in field.stages}
    for block in field.blocks:
        found[block.block] = block
        found |= {f"{block.block}/split{split.index}": split for split in block.splits}
    return found


def record(model, field, x):
    """Run once; the tensor of each place, without the code under test."""
    seen: dict[str, torch.Tensor] = {}
    for name in [s.stage for s in field.stages] + [b.block for b in field.blocks]:
        model.get_submodule(name).register_forward_hook(
            lambda _m, _x, out, name=name: seen.update({name: out})
        )
    for block in field.blocks:
        count = len(block.splits)
        model.get_submodule(f"{block.block}.conv3").register_forward_pre_hook(
            lambda _m, args, name=block.block, count=count: seen.update(
                {f"{name}/split{i}": part for i, part in enumerate(args[0].chunk(count, 1))}
            )
        )
    model(x)
    return seen


@pytest.mark.parametrize("along", ["rows", "columns"])
@pytest.mark.parametrize("family", FAMILIES)
def test_fields_equal_gradient_support(tiny, family, along):
    """All stages, blocks and splits of a small net of each family, and where their boxes lie.

    The input is one px wide across: kernels then only reach into padding on that side, and
    hundreds of px along it cost nothing.
    """
    model = tiny(family)
    field = traced(model)
    axis = 2 if along == "rows" else 3
    found = places(field)
    length = max(f.box(unit_for(f), 0)[3] for f in found.values()) + 3
    shape = [1, 3, 1, 1]
    shape[axis] = length
    x = torch.ones(shape, dtype=torch.float64, requires_grad=True)
    seen = record(positive(model), field, x)
    splits = 4 if family.startswith("res2") else 1
    assert len(found) == 4 + 8 * (1 + splits)
    for name, expected in found.items():
        unit = unit_for(expected)
        output = seen[name].select(axis, unit).sum()
        (gradient,) = torch.autograd.grad(output, x, retain_graph=True)
        left, top, right, bottom = expected.box(unit, unit)
        box = (top, bottom) if along == "rows" else (left, right)
        assert support(gradient, axis) == box, name
        assert box[1] - box[0] == expected.rf_max_px, name


def test_golden_splits():
    """Res2Net 26w4s with layers 2-2-2-2, measured by gradient support in another program."""
    with torch.device("meta"):
        model = timm.create_model("res2net50_26w_4s", layers=[2, 2, 2, 2])
    field = traced(model)
    golden = {
        "layer1.0": [19, 19, 19, 19], "layer1.1": [27, 35, 43, 19], "layer2.0": [51, 51, 51, 51],
        "layer2.1": [67, 83, 99, 51], "layer3.1": [147, 179, 211, 115],
    }  # fmt: skip
    for block, expected in golden.items():
        assert [split.rf_max_px for split in field.block(block).splits] == expected


def test_model_is_left_as_it_was(tiny):
    """The autouse guard of conftest.py looks for hooks and moved weights; twice gives the same."""
    model = tiny("resnest")
    assert trace(model, STAGES) == trace(model, STAGES)


@pytest.mark.parametrize(("name", "smallest", "largest"), [
    ("resnet18", [11, 11, 11, 11], [43, 99, 211, 435]),
    # Stem 4x4, blocks of one 7x7 convolution and a shortcut, 2x2 between the stages.
    ("convnext_atto", [4, 8, 16, 32], [52, 152, 736, 1136]),
    # The same 3, 3, 9, 3 blocks, but with linear layers on channels-last maps.
    ("convnext_tiny", [4, 8, 16, 32], [76, 224, 1096, 1688]),
    ("regnety_002", [3, 3, 3, 3], [7, 15, 127, 543]), ("mobilenetv3_small_050", None, None),
    ("efficientnet_b0", [11, 27, 107, 235], [19, 67, 339, 851]),
    # Pads on the right only, by an amount that depends on the input's size.
    ("tf_efficientnet_b0", [11, 27, 107, 235], [19, 67, 339, 851]),
    ("densenet121", None, None),
])  # fmt: skip
def test_other_networks(name, smallest, largest):
    with torch.device("meta"):
        model = timm.create_model(name)
    infos = [info for info in model.feature_info if info["reduction"] >= 4][-4:]
    field = traced(model, [info["module"] for info in infos])
    assert [s.stride_px for s in field.stages] == [info["reduction"] for info in infos]
    if smallest and largest:
        assert [s.rf_min_px for s in field.stages] == smallest
        assert [s.rf_max_px for s in field.stages] == largest
    assert bool(field.blocks) == (name in ("resnet18", "regnety_002"))


@pytest.mark.parametrize("name", ["dla34", "densenet121", "tiny_vit_5m_224"])
def test_what_ends_like_a_block_and_has_no_shortcut_is_none(name):
    """Its parts would be a few of the network's, and taken for all."""
    with torch.device("meta"):
        model = timm.create_model(name)
    with pytest.raises(UnsupportedModelError, match="not built of residual blocks"):
        hook_points(model, [info["module"] for info in model.feature_info])


def test_padding_to_same_moves_the_box():
    """TensorFlow's padding of an even input at stride 2: none on the left, one on the right."""
    with torch.device("meta"):
        plain, tf = (timm.create_model(f"{kind}efficientnet_b0") for kind in ("", "tf_"))
    stage = ["blocks.0"]
    assert (traced(plain, stage).stages[0].low, traced(tf, stage).stages[0].low) == (-3, -2)


def test_padding_to_same_depends_on_the_input():
    """300 px become 150, 75 and 38: an odd side at a stride of 2 is padded on the left as well."""
    with torch.device("meta"):
        model = timm.create_model("tf_efficientnet_b3", pretrained=False)
    stage = ["blocks.2"]
    lows = [fields(trace(model, stage, px), model="", input_px=px).stages[0].low
            for px in (256, 300, 320)]  # fmt: skip
    assert lows[0] == lows[2] != lows[1]


@pytest.mark.parametrize(("name", "stages", "message"), [
    ("vit_tiny_patch16_224", ["blocks.11"], "could not be run"),
    ("selecsls42b", ["features.3"], "does not give one map"),
    ("edgenext_xx_small", ["stages.1"], "mixes positions by the matrix product bmm"),
    ("resnet18", ["layer9"], "no module layer9"),
])  # fmt: skip
def test_networks_that_cannot_be_followed(name, stages, message):
    with torch.device("meta"):
        model = timm.create_model(name)
    with pytest.raises(UnsupportedModelError, match=message):
        trace(model, stages)


class Step(nn.Module):
    """A module from a function, after a 3x3 convolution of stride 2 to 8 channels."""

    def __init__(self, function):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.wide = nn.Conv2d(8, 8, 5, padding=2)
        self.linear = nn.Linear(8, 8)
        self.function = function
        self.stage = nn.Identity()

    def forward(self, x):
        return self.stage(self.function(self, self.conv(x)))


def _written(m, x):
    x[:, :4] += m.wide(x)[:, :4]
    return x


def _filled(m, x):
    y = torch.zeros(1, 8, x.shape[2], x.shape[3], device=x.device)
    y[:, :4] = m.wide(x)[:, :4]
    return x + y


KEEPS: dict[str, tuple[Any, dict[int, int]]] = {
    "add": (lambda m, x: x + m.wide(x), {3: 1, 11: 1}),
    "cat": (lambda m, x: torch.cat([m.wide(x), x], 1), {3: 1, 11: 1}),
    "same node twice": (lambda m, x: x * x.sigmoid(), {3: 1}),
    "chunk": (lambda m, x: x.chunk(2, 1)[0] * m.wide(x)[:, 4:], {3: 1, 11: 1}),
    "gate": (lambda m, x: x * x.mean((2, 3), keepdim=True), {3: 1}),
    "linear gate": (lambda m, x: x * m.linear(x.mean((2, 3))).sigmoid()[..., None, None], {3: 1}),
    "context": (lambda m, x: x + functional.adaptive_avg_pool2d(m.wide(x), 1).expand_as(x), {3: 1}),
    "position gate": (lambda m, x: x * m.wide(x).mean(1, keepdim=True), {3: 1, 11: 1}),
    "channel shuffle": (
        lambda m, x: m.wide(x.unflatten(1, (2, 4)).transpose(1, 2).flatten(1, 2)), {11: 1},
    ),
    "channels last": (lambda m, x: m.linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), {3: 1}),
    "tokens and back": (
        lambda m, x: x.flatten(2).transpose(1, 2).softmax(2).transpose(1, 2).view_as(x), {3: 1},
    ),
    "pad": (lambda m, x: m.wide(functional.pad(x, (2, 1, 2, 1))), {11: 1}),
    "select": (lambda m, x: x.select(1, 0)[None], {3: 1}),
    "sum of channels": (lambda m, x: x.sum(1)[:, None], {3: 1}),
    "constant": (lambda m, x: x + torch.zeros_like(m.wide(x)), {3: 1}),
}  # fmt: skip


@pytest.mark.parametrize("name", KEEPS)
def test_operations_that_keep_positions(name):
    function, sizes = KEEPS[name]
    (stage,) = traced(Step(function), ["stage"]).stages
    assert stage.spectrum.sizes == sizes
    assert stage.stride_px == 2


def test_explicit_padding_moves_the_box():
    """Unit 0 of the 5x5 reads padded places -2 to 2, places -4 to 0, px -9 to 1."""
    model = Step(lambda m, x: m.wide(functional.pad(x, (2, 1, 2, 3))))
    (stage,) = traced(model, ["stage"]).stages
    assert (stage.low, stage.high) == (-9, 2)
    assert stage.box(3, 0) == (-9, -3, 2, 8)


def _ones(size):
    return torch.ones(8, 8, size, size, device="meta")


LOSES: dict[str, tuple[Any, str]] = {
    "global": (lambda m, x: x.mean((2, 3)), "mixes the whole picture"),
    "tuple": (lambda m, x: (x, x), "does not give one map"),
    "constant": (lambda m, x: torch.ones_like(x) * 2, "does not use the"),
    "upsample": (lambda m, x: functional.interpolate(x, scale_factor=2.0), "upsample"),
    "softmax": (lambda m, x: x.flatten(2).softmax(2), "softmax"),
    "transpose": (lambda m, x: x.transpose(2, 3), "swaps"),
    "flatten": (lambda m, x: x.flatten(1), "reshapes"),
    "skip rows": (lambda m, x: x[:, :, ::2], "cuts or adds"),
    "flip": (lambda m, x: x.flip(2), "flip"),
    "one row": (lambda m, x: x[:, :, 0], "single rows"),
    "attention": (lambda m, x: x.flatten(2) @ x.flatten(2).mT, "bmm"),
    "shuffle": (lambda m, x: functional.pixel_shuffle(x, 2), "pixel_shuffle"),
    "pad": (lambda m, x: functional.pad(x, (1, 0, 0, 0)), "differently"),
    "written": (_written, "overwrites a part"),
    "filled": (_filled, "overwrites a part"),
    "strides": (lambda m, x: functional.conv2d(x, _ones(3), stride=(1, 2)), "different strides"),
    "transposed": (lambda m, x: functional.conv_transpose2d(x, _ones(2)), "transposed"),
    "adaptive": (
        lambda m, x: x[:, :, :8, :8] + functional.adaptive_avg_pool2d(x, 8),
        "cuts or adds|fixed number",
    ),
}


@pytest.mark.parametrize("name", LOSES)
def test_operations_that_lose_positions(name):
    function, message = LOSES[name]
    with pytest.raises(UnsupportedModelError, match=message):
        trace(Step(function), ["stage"])


def test_wider_side_of_a_kernel_that_is_not_square():
    model = nn.Sequential(nn.Conv2d(1, 1, (1, 7), padding=(0, 3)))
    (stage,) = traced(model, ["0"]).stages
    assert (stage.rf_max_px, stage.low, stage.high) == (7, -3, 4)


@dataclass(frozen=True)
class Window:
    """One operation; ``odd`` ones keep the size at stride 1."""

    op: str
    kernel: int
    stride: int
    dilation: int
    padding: int

    def module(self):
        if self.op == "pool":
            return nn.AvgPool2d(self.kernel, self.stride, self.padding)
        conv = nn.LazyConv2d(2, self.kernel, self.stride, self.padding, self.dilation, bias=False)
        return nn.Sequential(conv, nn.ReLU())


Part = Any
"""A ``Window``, or ``("add" | "cat", (ways, ...))``, each way a tuple of parts."""


class Ways(nn.Module):
    def __init__(self, join, ways):
        super().__init__()
        self.join = join
        self.ways = nn.ModuleList(ways)

    def forward(self, x):
        outputs = [way(x) for way in self.ways]
        if self.join == "cat":
            return torch.cat(outputs, 1)
        return torch.stack([output.sum(1, keepdim=True) for output in outputs]).sum(0)


def build(parts):
    return nn.Sequential(
        *(
            part.module()
            if isinstance(part, Window)
            else Ways(part[0], [build(way) for way in part[1]])
            for part in parts
        )
    )


def flat(parts):
    """Every way through the parts, as its operations in order."""
    ways: list[list[Window]] = [[]]
    for part in parts:
        further = [[part]] if isinstance(part, Window) else [w for p in part[1] for w in flat(p)]
        ways = [way + more for way in ways for more in further]
    return ways


@st.composite
def same(draw, stride=1):
    """An operation with ceil(n / stride) rows from n, so that ways around it can be joined."""
    op = draw(st.sampled_from(["conv", "conv", "pool"]))
    kernel = draw(st.sampled_from([3, 3, 5, 1]))
    dilation = draw(st.integers(1, 2)) if op == "conv" else 1
    return Window(op, kernel, stride, dilation, dilation * (kernel - 1) // 2)


@st.composite
def free(draw):
    """Any operation: even kernels, no padding or uneven padding."""
    op, kernel = draw(st.sampled_from(["conv", "pool"])), draw(st.integers(2, 4))
    return Window(op, kernel, draw(st.integers(1, 2)), 1, draw(st.integers(0, kernel // 2)))


@st.composite
def joined(draw, depth=2):
    stride = draw(st.sampled_from([1, 1, 2]))
    ways: list[tuple[Part, ...]] = []
    for number in range(draw(st.integers(2, 3))):
        # A shortcut without any operation at most once: two would be one way.
        least = 0 if number == 0 and stride == 1 else 1
        way: list[Part] = draw(st.lists(same(), min_size=least, max_size=2))
        if depth > 1 and draw(st.integers(0, 3)) == 0:
            inner = draw(joined(depth - 1).filter(lambda part: stride_of(part) == 1))
            way.append(inner)
        if stride == 2:
            way[draw(st.integers(0, len(way) - 1))] = draw(same(stride=2))
        ways.append(tuple(way))
    return draw(st.sampled_from(["add", "cat"])), tuple(ways)


def stride_of(part):
    result = 1
    for window in flat([part])[0]:
        result *= window.stride
    return result


networks = st.lists(st.one_of(free(), same(), joined()), min_size=1, max_size=4).map(tuple)


@settings(
    max_examples=40, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)  # fmt: skip
@given(networks)
def test_random_topologies(parts):
    """The spectrum is the enumeration of all ways; the box is where the gradient is."""
    model = nn.Sequential(build(parts))
    model(torch.zeros(1, 1, 96, 96))  # settles the numbers of channels
    (stage,) = traced(model, ["0"]).stages

    sizes: Counter[int] = Counter()
    for way in flat(parts):
        size = 1
        for window in reversed(way):  # the backward recursion of Araujo et al.
            size = window.stride * size + window.dilation * (window.kernel - 1) + 1 - window.stride
        sizes[size] += 1
    assert stage.spectrum.sizes == sizes

    unit = unit_for(stage)
    length = stage.box(unit, unit)[3] + 6
    x = torch.ones(1, 1, length, length, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(positive(model)(x)[0, :, unit, unit].sum(), x)
    left, top, right, bottom = stage.box(unit, unit)
    assert support(gradient, 2) == (top, bottom)
    assert support(gradient, 3) == (left, right)
