"""Theoretical receptive fields against published arithmetic, brute force and hand counts."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mscnn.errors import UnknownLayerError
from mscnn.models import registry
from mscnn.scales.graph import Graph, Node, Op, from_row, to_row
from mscnn.scales.receptive_field import fields, known

# Largest receptive field of layer1 to layer4, px, and the number of different sizes at layer4:
# the recursion of Araujo et al. by hand and as a script, checked by gradient support.
PAPER: dict[str, tuple[tuple[int, int, int, int], int]] = {
    "resnet50": ((35, 91, 267, 427), 53),
    "resnext50_32x4d": ((35, 91, 267, 427), 53),
    "res2net50_48w_2s": ((35, 91, 267, 427), 53),
    "res2net50_26w_4s": ((67, 219, 715, 1131), 141),
    "res2next50": ((67, 219, 715, 1131), 141),
    "res2net50_26w_6s": ((99, 347, 1163, 1835), 229),
    "res2net50_14w_8s": ((131, 475, 1611, 2539), 317),
    "res2net50_26w_8s": ((131, 475, 1611, 2539), 317),
    "res2net50d": ((71, 223, 719, 1135), 274),
    "resnet101": ((35, 91, 811, 971), 121),
    "res2net101_26w_4s": ((67, 219, 2347, 2763), 345),
    "resnet50d": ((39, 95, 271, 431), 98),
    "resnest50d": ((39, 103, 295, 487), 110),
    "resnest14d": ((23, 39, 71, 135), 16),
    "resnest26d": ((31, 63, 127, 255), 52),
    "resnest101e": ((39, 103, 839, 1031), 246),
    "resnest200e": ((39, 423, 1575, 1767), 430),
    "resnest269e": ((39, 519, 2055, 2567), 630),
}
# Largest receptive field of each split of res2net50_26w_4s, timm's order.
SPLITS_PX = {
    "layer1.0": (19, 19, 19, 19),
    "layer1.1": (27, 35, 43, 19),
    "layer1.2": (51, 59, 67, 43),
    "layer2.1": (91, 107, 123, 75),
    "layer3.5": (651, 683, 715, 619),
    "layer4.0": (747, 747, 747, 747),
    "layer4.2": (1003, 1067, 1131, 939),
}


def of(name):
    found = known(name)
    assert found is not None
    return found


def chain(*nodes, **points):
    graph = Graph((Node("input", ()), *nodes), points or {"layer1": len(nodes)}, {})
    return fields(graph, model="chain", input_px=32)


@pytest.mark.parametrize("name", PAPER)
def test_stages_of_the_paper_arithmetic(name):
    largest, distinct = PAPER[name]
    field = of(name)
    assert tuple(stage.rf_max_px for stage in field.stages) == largest
    assert [stage.stride_px for stage in field.stages] == [4, 8, 16, 32]
    assert field.stage("layer4").spectrum.distinct == distinct


@pytest.mark.parametrize("block", SPLITS_PX)
def test_splits_of_res2net50(block):
    found = of("res2net50_26w_4s").block(block)
    assert tuple(split.rf_max_px for split in found.splits) == SPLITS_PX[block]
    assert found.kind == ("parallel" if block.endswith(".0") else "hierarchy")
    ends = [("1x1", "pool")] if found.kind == "parallel" else [("1x1",)]
    steps = [1, 1, 1] if found.kind == "parallel" else [1, 2, 3]
    assert [s.path for s in found.splits] == [("1x1", *["3x3"] * n) for n in steps] + ends
    assert [s.index for s in found.splits] == [0, 1, 2, 3]


@pytest.mark.parametrize(("name", "block", "path"), [
    ("resnet18", "layer2.0", ("3x3",)), ("resnet50", "layer4.2", ("1x1", "3x3")),
    ("resnest50d", "layer2.0", ("1x1", "3x3", "pool")),
    ("resnest50d_4s2x40d", "layer2.0", ("1x1", "pool", "3x3")),
    ("starter_resnet", "layer4.1", ("1x1", "3x3")),
    ("starter_resnest", "layer4.1", ("1x1", "3x3")),
])  # fmt: skip
def test_single_paths(name, block, path):
    found = of(name).block(block)
    assert found.kind == "single"
    assert [split.path for split in found.splits] == [path]
    assert not of(name).has_splits


def sizes_of_residual_net(layers, splits):
    """Spectrum of a ResNet (one split) or Res2Net at layer4, block by block on paper.

    Every way through a block widens by one of a few amounts; a spectrum is the product.
    """
    spectrum, stride = Counter({11: 1}), 4  # 7x7 stride 2, 3x3 pool stride 2
    for stage, blocks in enumerate(layers):
        for block in range(blocks):
            first = block == 0
            # Units of 3x3 convolutions: 0 is the shortcut.
            ways = [0, 1] if splits == 1 else [0] + [1] * splits
            if splits > 1 and not first:
                # Split i is conv(split i + what left split i-1): i+1 ways in; the last is free.
                ways = [0, 0] + [n for i in range(splits - 1) for n in range(1, i + 2)]
            widened: Counter[int] = Counter()
            for size, count in spectrum.items():
                for way in ways:
                    widened[size + 2 * stride * way] += count
            spectrum = widened
            stride *= 2 if first and stage > 0 else 1
    return spectrum


@pytest.mark.parametrize(("name", "layers", "splits"), [
    ("resnet50", (3, 4, 6, 3), 1), ("resnet101", (3, 4, 23, 3), 1),
    ("res2net50_48w_2s", (3, 4, 6, 3), 2), ("res2net50_26w_4s", (3, 4, 6, 3), 4),
    ("res2net101_26w_4s", (3, 4, 23, 3), 4), ("res2net50_14w_8s", (3, 4, 6, 3), 8),
])  # fmt: skip
def test_spectrum_block_by_block(name, layers, splits):
    expected = sizes_of_residual_net(layers, splits)
    spectrum = of(name).stage("layer4").spectrum
    assert spectrum.sizes == expected
    assert spectrum.paths == sum(expected.values())
    assert list(spectrum.sizes) == sorted(expected)
    if splits == 1:
        assert spectrum.paths == 2 ** sum(layers)
    if splits == 4:
        # 4 splits and the shortcut; with the hierarchy 1 + 2 + 3 + 1 ways and the shortcut.
        assert spectrum.paths == 5**4 * 8 ** (sum(layers) - 4)


def random_nodes(generator):
    """Up to 14 nodes, each reading earlier ones; joins only where the strides agree."""
    nodes, strides = [Node("input", ())], [1]
    for _ in range(int(generator.integers(3, 14))):
        source = int(generator.integers(len(nodes)))
        alike = [i for i, stride in enumerate(strides) if stride == strides[source]]
        if len(alike) > 1 and generator.random() < 0.5:
            some = generator.choice(alike, int(generator.integers(2, len(alike) + 1)), False)
            nodes.append(Node("merge", tuple(int(i) for i in some)))
            strides.append(strides[source])
        else:
            op: Op = "conv" if generator.random() < 0.7 else "pool"
            kernel, dilation = (int(n) for n in generator.integers(1, (6, 4)))
            stride = int(generator.choice([1, 1, 2, 3]))
            padding = int(generator.integers(-1, 4))
            nodes.append(Node(op, (source,), kernel, stride, dilation, padding))
            strides.append(strides[source] * stride)
    return tuple(nodes)


def all_paths(nodes, node):
    """Every way from the input to a node, last operation first."""
    if nodes[node].op == "input":
        yield []
    for source in nodes[node].inputs:
        for path in all_paths(nodes, source):
            yield [nodes[node], *path]


def seen_backwards(path, unit):
    """First and last px that a unit sees along one path, going from the unit to the input."""
    first = last = unit
    for node in path:
        if node.op != "merge":
            first = first * node.stride - node.padding
            last = last * node.stride - node.padding + node.dilation * (node.kernel - 1)
    return first, last


@pytest.mark.parametrize("seed", range(60))
def test_spectra_equal_an_enumeration_of_all_paths(seed):
    nodes = random_nodes(np.random.default_rng(seed))
    names = {str(i): i for i in range(len(nodes))}
    field = fields(Graph(nodes, names, {}), model="random", input_px=32)
    for node, stage in enumerate(field.stages):
        seen = [seen_backwards(path, 0) for path in all_paths(nodes, node)]
        assert stage.spectrum.sizes == Counter(last - first + 1 for first, last in seen)
        assert stage.low == min(first for first, _ in seen)
        assert stage.high == max(last for _, last in seen) + 1
        further = [seen_backwards(path, 5) for path in all_paths(nodes, node)]
        _, top, _, bottom = stage.box(5, 0)
        assert (top, bottom) == (min(further)[0], max(last for _, last in further) + 1)


def test_box_and_centre():
    """A 3x3 convolution of stride 2 and padding 1: unit (2, 5) sees rows 3-5, columns 9-11."""
    (stage,) = chain(Node("conv", (0,), 3, 2, 1, 1)).stages
    assert (stage.low, stage.high, stage.stride_px) == (-1, 2, 2)
    assert stage.box(2, 5) == (9, 3, 12, 6)
    assert stage.centre(2, 5) == (10.5, 4.5)
    assert stage.box(0, 0) == (-1, -1, 2, 2)


def test_boxes_join_paths_that_are_not_aligned():
    """A 2x2 pool sees px 0-1 of unit 0; a 3x3 convolution px -1 to 1: three in all."""
    join = chain(
        Node("pool", (0,), 2, 2), Node("conv", (0,), 3, 2, 1, 1), Node("merge", (1, 2)), join=3
    ).stage("1")
    assert join.spectrum.sizes == {2: 1, 3: 1}
    assert join.box(0, 0) == (-1, -1, 2, 2)
    shifted = chain(Node("pool", (0,), 2, 2), Node("pool", (1,), padding=3)).stage("1")
    assert shifted.box(0, 0) == (-6, -6, -4, -4)
    assert (shifted.rf_min_px, shifted.rf_max_px) == (2, 2)


def test_counts_are_exact_beyond_floats():
    """Ninety joins of two ways: 2^90 paths; a float would be off from 2^53 on."""
    nodes: list[Node] = []
    for _ in range(90):
        last = len(nodes)
        nodes += [Node("conv", (last,), 3, 1, 1, 1), Node("merge", (last, last + 1))]
    spectrum = chain(*nodes).stage("layer1").spectrum
    assert spectrum.paths == 2**90
    assert spectrum.sizes[1] == spectrum.sizes[181] == 1
    assert spectrum.sizes[3] == 90


@pytest.mark.parametrize(("nodes", "message"), [
    ((Node("conv", (0,), 3, 2), Node("merge", (0, 1))), r"different strides: \[1, 2\]"),
    ((Node("conv", (1,), 3),), "do not come before"),
    ((Node("conv", (-1,), 3),), "do not come before"),
    ((Node("conv", (0, 0), 3),), "cannot have 2 inputs"),
    ((Node("merge", ()),), "cannot have 0 inputs"),
    ((Node("input", (0,)),), "cannot have 1 inputs"),
])  # fmt: skip
def test_broken_graphs(nodes, message):
    with pytest.raises(ValueError, match=message):
        chain(*nodes)


def test_names_of_stages_and_blocks():
    field = of("res2net50d")
    assert field.stage("2") == field.stage("stage2") == field.stage(" layer2 ")
    assert field.stage("layer2").stage == "layer2"
    assert field.has_splits
    with pytest.raises(UnknownLayerError, match="no stage 'layer5'; choose one of layer1, layer2"):
        field.stage("layer5")
    with pytest.raises(UnknownLayerError, match=r"no block 'layer1'; choose one of layer1\.0, "):
        field.block("layer1")
    with pytest.raises(UnknownLayerError, match="chain has no residual blocks"):
        chain(Node("conv", (0,), 3)).block("layer1.0")


@pytest.mark.parametrize("spec", registry.list_backbones(), ids=lambda spec: spec.name)
def test_known_models_fit_their_registry_row(spec):
    field = of(spec.name)
    assert (field.model, field.input_px) == (spec.name, spec.input_px)
    assert {len(block.splits) for block in field.blocks} == {spec.scales}
    assert field.has_splits == (spec.scales > 1)
    for block in field.blocks:
        assert block.kind == "single" or (block.kind == "parallel") == block.block.endswith(".0")
    for stage, before in zip(field.stages[1:], field.stages, strict=False):
        assert stage.rf_max_px > before.rf_max_px
    last = field.blocks[-1]
    assert last.block.startswith(field.stages[-1].stage)
    assert last.spectrum == field.stages[-1].spectrum


def test_known_takes_names_as_the_registry_does():
    assert of("timm/resnet50").model == "resnet50.tv_in1k"
    assert known("convnext_atto") is None
    assert known("no such model") is None


@pytest.mark.parametrize(("name", "largest", "blocks"), [
    ("starter_resnet", [19, 39, 79, 127], {"layer1.1": [19], "layer4.2": [127]}),
    (
        "starter_res2net", [27, 79, 183, 295],
        {"layer1.1": [19, 23, 27, 15], "layer4.2": [263, 279, 295, 247]},
    ),
    (
        "starter_res2next", [27, 79, 183, 295],
        {"layer1.1": [19, 23, 27, 15], "layer4.1": [215, 231, 247, 199]},
    ),
])  # fmt: skip
def test_starters(name, largest, blocks):
    """By hand: strides 2, 4, 8, 8, after three 3x3, the first of which strides."""
    field = of(name)
    assert [stage.stride_px for stage in field.stages] == [2, 4, 8, 8]
    assert [stage.rf_max_px for stage in field.stages] == largest
    for block, expected in blocks.items():
        assert [split.rf_max_px for split in field.block(block).splits] == expected


@pytest.mark.parametrize(("node", "label"), [
    (Node("conv", (0,), 3, 2, 1, 1), "3x3"), (Node("conv", (0,), 3, 1, 2, 2), "3x3 dilated 2"),
    (Node("pool", (0,), 3, 2, 1, 1), "pool"), (Node("pool", (0,), 1, 2), ""),
    (Node("merge", (0, 1)), ""),
])  # fmt: skip
def test_what_a_step_is_called(node, label):
    assert node.label == label


def test_rows_of_the_table_are_lossless():
    nodes = (
        Node("input", ()), Node("conv", (0,), 3, 2, 1, 1), Node("pool", (0,), 1, 2),
        Node("merge", (1, 2)), Node("conv", (3,), 1, 1, 1, -2), Node("conv", (4,)),
    )  # fmt: skip
    points = {"layer1": 5, "layer1.0": 5, "layer1.0/input": 0, "layer1.0/split0": 3}
    points |= {"layer1.0/split1": 2, "layer1.1": 5, "layer1.1/split0": 4}
    graph = Graph(nodes, points, {"layer1.0": "hierarchy", "layer1.1": "single"})
    assert from_row(to_row(graph)) == graph
    blocks = fields(graph, model="", input_px=1).blocks
    assert [split.path for split in blocks[0].splits] == [("3x3",), ()]
    assert blocks[1].splits[0].path == ()


def test_any_model_under_a_second_without_torch():
    code = (
        "import sys, time\n"
        "from mscnn.scales import receptive_field\n"
        "start = time.perf_counter()\n"
        "field = receptive_field.known('resnest269e')\n"
        "assert time.perf_counter() - start < 1\n"
        "assert not {'torch', 'timm'} & set(sys.modules)\n"
        "print(field.stage('4').rf_max_px)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True,
        check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == "2567\n"
