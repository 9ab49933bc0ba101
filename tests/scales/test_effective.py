"""``mscnn.scales.effective``: against float64 autograd without hooks, squares by brute force."""

import copy
import math

import numpy as np
import numpy.typing as npt
import pytest
import timm
import torch
from PIL import Image
from torch import nn

from mscnn.errors import PointError, UnknownLayerError, UnsupportedModelError, WeightsError
from mscnn.results.receptive_field import ReceptiveField
from mscnn.results.scales import Square
from mscnn.scales import effective as e
from mscnn.scales.families import UnitPoint, find_point
from mscnn.scales.receptive_field import fields
from mscnn.scales.topology import trace
from tests.conftest import FAMILIES, INPUT_PX, STAGES

Doubles = npt.NDArray[np.float64]


def splits_of(block, x):
    """The splits of a Bottle2neck by the paper's equation 1, in timm's order."""
    x = torch.relu(block.bn1(block.conv1(x)))
    parts = list(x.chunk(4, dim=1))
    done: list[torch.Tensor] = []
    for i in range(3):
        given = parts[i] + done[-1] if done and not block.is_first else parts[i]
        done.append(torch.relu(block.bns[i](block.convs[i](given))))
    return [*done, block.pool(parts[3]) if block.is_first else parts[3]]


def by_hand(model, x, layer, split, unit):
    """|gradient| of a unit in float64, module by module, without hooks."""
    model, x = copy.deepcopy(model).double(), x.double().requires_grad_()
    stage, _, number = layer.partition(".")
    y = x
    for name, child in model.named_children():
        if name != stage:
            y = child(y)
            continue
        blocks = list(child.children())
        wanted = int(number) if number else len(blocks) - 1
        for block in blocks[:wanted]:
            y = block(y)
        y = blocks[wanted](y) if split is None else splits_of(blocks[wanted], y)[split]
        break
    y[0, :, unit[0], unit[1]].sum().backward()
    assert x.grad is not None
    return x.grad[0].abs().sum(0).numpy()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layer", ["layer1", "layer3.0", "layer4"])
def test_a_layers_gradient_is_autograds(family, layer, tiny, x):
    at = find_point(tiny(family), layer, None)
    found = e.unit_gradient(tiny(family), [x], at, (50.0, 20.0))
    cells = {"layer1": 24, "layer3.0": 6, "layer4": 3}[layer]
    assert found.map_size == (cells, cells)
    assert found.unit == (20 * cells // 96, 50 * cells // 96)
    expected = by_hand(tiny(family), x, layer, None, found.unit)
    assert found.gradient.dtype == np.float64
    np.testing.assert_allclose(found.gradient, expected, rtol=1e-3, atol=1e-5 * expected.max())


@pytest.mark.parametrize(("family", "block"), [
    ("res2net", "layer1.0"), ("res2net", "layer2.0"), ("res2net", "layer4.1"),
    ("res2next", "layer2.1"),
])  # fmt: skip
@pytest.mark.parametrize("split", [0, 1, 2, 3])
def test_a_splits_gradient_is_autograds(family, block, split, tiny, x):
    at = find_point(tiny(family), block, split)
    found = e.unit_gradient(tiny(family), [x], at, (60.0, 30.0))
    expected = by_hand(tiny(family), x, block, split, found.unit)
    np.testing.assert_allclose(found.gradient, expected, rtol=1e-3, atol=1e-5 * expected.max())
    assert found.gradient.max() > 0


def test_the_gradient_is_averaged_over_the_inputs(tiny, x):
    model, at = tiny("resnet"), UnitPoint("layer2", "layer2")
    one, two = (e.unit_gradient(model, [i], at, (9.0, 9.0)).gradient for i in (x, x.flip(-1)))
    both = e.unit_gradient(model, [x, x.flip(-1)], at, (9.0, 9.0)).gradient
    np.testing.assert_allclose(both, (one + two) / 2, rtol=1e-12)
    assert not np.allclose(one, two)


@pytest.mark.parametrize(("point", "unit"), [
    ((0.0, 0.0), (0, 0)), ((95.999, 95.999), (2, 2)), ((31.999, 0.0), (0, 0)),
    ((32.0, 0.0), (0, 1)), ((0.0, 64.0), (2, 0)), ((96.0, 96.0), (2, 2)),
])  # fmt: skip
def test_the_unit_is_the_cell_under_the_point(point, unit, tiny, x):
    at = find_point(tiny("resnet"), "layer4", None)
    assert e.unit_gradient(tiny("resnet"), [x], at, point).unit == unit


def test_an_input_of_another_shape_has_its_own_cells(tiny):
    wide = torch.randn(1, 3, 64, 160, generator=torch.Generator().manual_seed(0))
    found = e.unit_gradient(
        tiny("res2net"), [wide], find_point(tiny("res2net"), "layer4.1", 2), (159.0, 40.0)
    )
    assert found.gradient.shape == (64, 160)
    assert (found.map_size, found.unit) == ((2, 5), (1, 4))


def made_positive(model):
    """No weight cancels another, no ReLU cuts, no maximum chooses: the gradient goes all ways."""
    model = copy.deepcopy(model).double()
    model.maxpool = nn.AvgPool2d(3, stride=2, padding=1)
    for parameter in model.parameters():
        parameter.data.abs_().add_(1e-3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.zeros_(module.running_mean)  # type: ignore[arg-type]
            nn.init.constant_(module.running_var, 100.0)  # type: ignore[arg-type]
    return model


@pytest.fixture(scope="module")
def theory(tiny):
    found: dict[str, ReceptiveField] = {}

    def get(family):
        if family not in found:
            graph = trace(copy.deepcopy(tiny(family)), STAGES)
            found[family] = fields(graph, model=family, input_px=INPUT_PX)
        return found[family]

    return get


def result(measured, at, field, geometry):
    view = np.zeros((*measured.gradient.shape, 3), np.uint8)
    return e.as_field(
        measured, theory=e.theory_of(field, at.layer, at.split), at=at, model="m", inputs=1,
        trained=True, view=view, geometry=geometry, seconds=0.5,
    )  # fmt: skip


@pytest.mark.parametrize(("family", "layer", "split"), [
    ("resnet", "layer2", None), ("resnet", "layer3.0", 0), ("res2net", "layer2.1", None),
    ("res2net", "layer2.1", 0), ("res2net", "layer2.1", 3), ("res2next", "layer1.1", 2),
    ("resnext", "layer4", None),
])  # fmt: skip
def test_the_support_fills_the_theoretical_box_inside_the_input(family, layer, split, tiny, theory):
    model, x = made_positive(tiny(family)), torch.ones(1, 3, 96, 96).double()
    at = find_point(model, layer, split)
    for point in [(48.0, 48.0), (0.0, 0.0), (95.0, 0.0), (95.0, 95.0), (0.0, 50.0)]:
        measured = e.unit_gradient(model, [x], at, point)
        erf = result(measured, at, theory(family), None)
        rows, columns = np.nonzero(measured.gradient)
        support = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        left, top, right, bottom = erf.theoretical
        assert support == (max(left, 0), max(top, 0), min(right, 96), min(bottom, 96))
        assert erf.centre == ((left + right) / 2, (top + bottom) / 2)


def test_without_theory_the_centre_is_the_cells(tiny, x):
    at = find_point(tiny("resnet"), "layer4", None)
    measured = e.unit_gradient(tiny("resnet"), [x], at, (40.0, 90.0))
    erf = result(measured, at, None, None)
    assert (erf.theoretical, erf.centre, erf.unit) == (None, (48.0, 80.0), (2, 1))
    assert erf.squares == e.squares(measured.gradient, (48.0, 80.0))
    assert erf.log_squares == e.squares(e.log_scaled(measured.gradient), (48.0, 80.0))
    assert np.array_equal(erf.gradient, measured.gradient.astype(np.float32))
    assert (erf.layer, erf.split, erf.seconds) == ("layer4", None, 0.5)


def test_a_layer_that_is_neither_stage_nor_block_has_no_theory(tiny, x, theory):
    at = find_point(tiny("resnet"), "layer2.0.conv1", None)
    measured = e.unit_gradient(tiny("resnet"), [x], at, (40.0, 40.0))
    assert result(measured, at, theory("resnet"), None).theoretical is None


def smallest_square(gradient, row, column, share):
    """By trying one side after the other, pixel by pixel."""
    total = math.fsum(gradient.ravel())
    for reach in range(max(gradient.shape)):
        held = math.fsum(
            gradient[r, c]
            for r in range(max(row - reach, 0), min(row + reach + 1, gradient.shape[0]))
            for c in range(max(column - reach, 0), min(column + reach + 1, gradient.shape[1]))
        )
        if held >= share * total:
            return 2 * reach + 1
    raise AssertionError("the whole map holds everything")


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (7, 5), (8, 8), (13, 20)])
@pytest.mark.parametrize("seed", range(3))
def test_squares_are_the_smallest_that_hold_the_share(shape, seed):
    rng = np.random.default_rng(seed)
    gradient = rng.integers(0, 50, shape).astype(np.float64) ** 2
    gradient[0, 0] += 1
    height, width = shape
    for x, y in [(0.0, 0.0), (width - 0.01, height - 0.01), (width / 2, height / 2), (0.0, 1e9)]:
        row, column = min(int(y), height - 1), int(x)
        expected = tuple(Square(s, smallest_square(gradient, row, column, s)) for s in e.SHARES)
        assert e.squares(gradient, (x, y)) == expected


def test_squares_on_paper():
    # 50 of 100 in the middle, 42 in the ring around it, 8 in the outermost ring.
    gradient = np.zeros((5, 5))
    gradient[2, 2], gradient[1, 1], gradient[4, 0] = 50, 42, 8
    assert [s.side_px for s in e.squares(gradient, (2.5, 2.5))] == [1, 3, 5]
    assert e.squares(gradient, (2.99, 2.0), shares=(0.51, 1.0)) == (Square(0.51, 3), Square(1.0, 5))
    # From the corner, the far side of the square lies outside.
    assert e.squares(gradient, (0.0, 4.0), shares=(0.08, 0.5)) == (Square(0.08, 1), Square(0.5, 5))


def test_a_zero_gradient_has_no_squares():
    assert e.squares(np.zeros((4, 6)), (1.0, 1.0)) == ()
    assert e.squares(e.log_scaled(np.zeros((4, 6))), (1.0, 1.0)) == ()


def test_the_log_does_not_depend_on_the_scale():
    gradient = np.array([[0.0, 0.009], [0.099, 0.0999], [1.0, 0.5]])
    expected = [[0.0, 1.0], [2.0, math.log10(100.9)], [math.log10(1001), math.log10(501)]]
    for scale in (1e-30, 1.0, 1e30):
        np.testing.assert_allclose(e.log_scaled(scale * gradient), expected, rtol=1e-12)


@pytest.mark.parametrize(("family", "layer", "split", "at"), [
    ("resnet", "layer4", None, UnitPoint("layer4", "layer4")),
    ("resnet", "layer2.1", None, UnitPoint("layer2.1", "layer2.1")),
    ("resnet", "layer2.1", 0, UnitPoint("layer2.1", "layer2.1.conv3", 0)),
    ("resnest", "layer3.0", 0, UnitPoint("layer3.0", "layer3.0.conv3", 0)),
    # 16 channels * 26 / 64, rounded down: 6 per split in stage 1, 24 * 26 / 64: 9 in stage 2.
    ("res2net", "layer1.1", 0, UnitPoint("layer1.1", "layer1.1.conv3", 0, (0, 6))),
    ("res2net", "layer1.1", 3, UnitPoint("layer1.1", "layer1.1.conv3", 3, (18, 24))),
    ("res2net", "layer2.0", 2, UnitPoint("layer2.0", "layer2.0.conv3", 2, (18, 27))),
])  # fmt: skip
def test_where_a_unit_is_read(family, layer, split, at, tiny):
    assert find_point(tiny(family), layer, split) == at


@pytest.mark.parametrize(("family", "layer", "split", "message"), [
    ("res2net", "layer2.1", 4, "layer2.1 has no split 4; give a number from 0 to 3"),
    ("res2net", "layer2.1", -1, "has no split -1; give a number from 0 to 3"),
    ("resnet", "layer2.1", 1, "has no split 1; give 0, its only one"),
    ("res2net", "layer2", 0, "layer2 is no block, .* choose one of layer1.0, layer1.1, "),
    ("res2net", "layer2.1.conv3", 0, "layer2.1.conv3 is no block"),
])  # fmt: skip
def test_splits_that_do_not_exist(family, layer, split, message, tiny):
    with pytest.raises(UnknownLayerError, match=message):
        find_point(tiny(family), layer, split)


def test_a_split_of_a_network_without_blocks():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    with pytest.raises(UnsupportedModelError, match="not built of residual blocks"):
        find_point(model, "0", 0)


@pytest.mark.parametrize("family", FAMILIES)
def test_random_weights_are_new_everywhere_and_the_same_every_time(family, tiny):
    model = tiny(family)
    state = torch.get_rng_state()
    one, two = e.with_random_weights(model), e.with_random_weights(model)
    assert torch.equal(state, torch.get_rng_state())
    before = dict(model.named_parameters())
    for (name, a), b in zip(one.named_parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b), name
        assert not torch.equal(a, before[name]), name
    for module in one.modules():
        assert not module.training
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            assert not module.running_mean.any()
            assert bool((module.running_var == 1).all())
            assert bool((module.weight == 1).all()), "timm's zeroes would cut the branch off"


def test_a_unit_of_a_random_network_sees_something(tiny, x):
    model = e.with_random_weights(tiny("res2net"))
    found = e.unit_gradient(model, [x], find_point(model, "layer4.1", 2), (48.0, 48.0))
    assert np.count_nonzero(found.gradient) > 0.9 * 96 * 96


def test_factors_that_begin_at_zero_do_not_cut_the_branches_off():
    model = e.with_random_weights(timm.create_model("nf_resnet26"))
    gains = [p for name, p in model.named_parameters() if name.endswith("gain")]
    assert gains
    assert all(bool((gain == 1).all()) for gain in gains)


def test_weights_that_no_module_can_draw_anew_are_not_called_random():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.gamma = nn.Parameter(torch.ones(3))

    with pytest.raises(UnsupportedModelError, match="weights of Scaled layers"):
        e.with_random_weights(nn.Sequential(nn.Conv2d(3, 3, 1), Scaled()))


@pytest.mark.parametrize("layer", ["layer2", "layer3.1", "layer4"])
@pytest.mark.parametrize("point", [(47.4, 30.2), (1.0, 95.0), (60.5, 12.0)])
def test_the_unit_is_the_one_whose_fields_centre_lies_nearest(layer, point, tiny, theory):
    model, x = tiny("res2net"), torch.randn(1, 3, 96, 96)
    at = find_point(model, layer, None)
    field = e.theory_of(theory("res2net"), at.layer, at.split)
    assert field is not None
    measured = e.unit_gradient(model, [x], at, point, field)
    rows, columns = measured.map_size
    distances = {
        (row, column): math.dist(point, field.centre(row, column))
        for row in range(rows)
        for column in range(columns)
    }
    assert distances[measured.unit] == min(distances.values())


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (7, 5), (640, 480)])
@pytest.mark.parametrize(("layer", "split"), [("last", None), ("layer2.1", 2)])
def test_every_size_of_photo(size, layer, split, network):
    noise = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    erf = network("res2net").effective_receptive_field(
        Image.fromarray(noise), layer=layer, split=split
    )
    cells = erf.gradient.shape[0] // (32 if layer == "last" else 8)
    assert erf.unit == (cells // 2, cells // 2)
    assert erf.gradient.shape == erf.view.shape[:2] == (96, 96)
    assert erf.gradient.max() > 0
    assert [s.share for s in erf.squares] == list(e.SHARES)
    assert erf.geometry.photo == size
    left, top, right, bottom = erf.theoretical
    outside = erf.gradient.copy()
    outside[max(int(top), 0) : int(bottom), max(int(left), 0) : int(right)] = 0
    assert not outside.any()


@pytest.mark.parametrize(
    ("point", "unit"), [((0.14, 0.01), (0, 0)), ((0.86, 0.99), (2, 2)), ((0.5, 0.01), (0, 1))]
)
def test_the_photos_border_and_corners(point, unit, photo, network):
    # 120 x 90 px become 128 x 96; the middle 96 x 96 are seen: shares 0.125 to 0.875 of the width.
    erf = network("resnet", crop_pct=1.0).effective_receptive_field(photo, point=point)
    assert erf.unit == unit


@pytest.mark.parametrize("point", [(0.0, 0.5), (0.12, 0.5), (0.88, 0.5), (-1.0, 0.5), (0.5, 1.0)])
def test_a_point_that_the_network_did_not_see(point, photo, network):
    with pytest.raises(PointError, match="did not see that point"):
        network("resnet", crop_pct=1.0).effective_receptive_field(photo, point=point)


def test_a_network_without_finite_numbers_is_refused(network):
    net = network("res2net", fresh=True)
    with torch.no_grad():
        net.model.conv1.weight.fill_(float("nan"))
    photo = Image.new("RGB", (80, 60), (90, 120, 30))
    for ask in (
        lambda: net.scales(photo, target=0),
        lambda: net.sweep(photo, target=0),
        lambda: net.effective_receptive_field(photo),
    ):
        with pytest.raises(WeightsError, match="gives no finite numbers"):
            ask()
