"""Cuts, against paper arithmetic, a float64 forward written by hand here, and gradient support."""

import copy

import numpy as np
import pytest
import timm
import torch

from mscnn.errors import OptionError, WeightsError
from mscnn.maps.recorder import change_inputs, record
from mscnn.scales import cuts, receptive_field, topology
from mscnn.scales.families import hook_points
from tests.conftest import FAMILIES, STAGES
from tests.scales.test_splits import Paper


def field_of(model):
    return receptive_field.fields(topology.trace(model, STAGES), model="net", input_px=96)


# The block's uncut answer is (-5.5, 7, 0): see ``Paper``. Worked out on paper as there.
@pytest.mark.parametrize(("fill", "split", "logits"), [
    ("zero", None, [-5.5, 7, 0]),
    # Channel 0 loses [2 4] and is behind the ReLU; split 1, which read split 0, stays [5 9].
    ("zero", 0, [-8.5, 8.5, 0]),
    # Left are [0 3], the shortcut's [3 0] and [2 1].
    ("zero", 1, [9, 0, 13.5]),
    # Left are [3 6], [8 9] and nothing.
    ("zero", 2, [0.5, 4, 0]),
    # [3 3] in place of [2 4]: channel 0 is [-2 2], behind the ReLU [0 2].
    ("mean", 0, [-6.5, 7.5, 0]),
])  # fmt: skip
def test_cuts_of_a_block_computed_on_paper(fill, split, logits):
    model = Paper()
    points = hook_points(model, ["layer1"])
    constants = cuts.fill_of(model, points, [Paper.X] if fill == "mean" else [])
    cut = {} if split is None else cuts.each_split(model, points)[split]
    found = cuts.logits_without(model, Paper.X, [cut], constants)
    np.testing.assert_allclose(found, [logits], atol=1e-6)


def test_without_all_splits_a_block_is_its_shortcut_and_a_constant(tiny, x):
    """A float64 forward by hand: layer3.1 adds what conv3 and bn3 make of the means."""
    model = copy.deepcopy(tiny("res2net")).double()
    x = x.double()
    points = [p for p in hook_points(model, STAGES) if p.block == "layer3.1"]
    fill = cuts.fill_of(model, points, [x, x.flip(3)])
    whole = {points[0].module: np.ones(len(fill[points[0].module]), bool)}
    found = cuts.logits_without(model, x, [whole], fill)[0]
    block = model.layer3[1]
    with torch.inference_mode():
        stem = model.maxpool(model.act1(model.bn1(model.conv1(x))))
        before = model.layer3[0](model.layer2(model.layer1(stem)))
        mean = fill[points[0].module].double()[None, :, None, None]
        y = torch.einsum("oi,bihw->bohw", block.conv3.weight[:, :, 0, 0], mean)
        bn = block.bn3
        y = (y - bn.running_mean[:, None, None]) / torch.sqrt(bn.running_var + bn.eps)[
            :, None, None
        ]
        after = torch.relu(y * bn.weight[:, None, None] + bn.bias[:, None, None] + before)
        pooled = model.layer4(after).mean((2, 3))
        wanted = pooled @ model.fc.weight.T + model.fc.bias
    np.testing.assert_allclose(found, wanted[0].numpy(), atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_of_cuts_is_a_loop_and_leaves_no_trace(family, tiny, x):
    model = tiny(family)
    points = hook_points(model, STAGES)
    fill = cuts.fill_of(model, points, [x])
    wanted = [{}, *cuts.each_split(model, points)]
    assert len(wanted) == 1 + sum(point.splits for point in points)
    together = cuts.logits_without(model, x, wanted, fill)
    alone = [cuts.logits_without(model, x, [cut], fill)[0] for cut in wanted]
    np.testing.assert_allclose(together, alone, atol=1e-3)
    with torch.inference_mode():
        np.testing.assert_allclose(together[0], model(x)[0], atol=1e-3)


def test_the_mean_is_over_photographs_and_positions(tiny, x):
    model = tiny("res2next")
    points = hook_points(model, STAGES)
    photos = [x, 2 * x + 1, x[..., :64]]
    means = []
    for photo in photos:
        with torch.inference_mode(), record(model, [], inputs=[points[2].module]) as seen:
            model(photo)
        means.append(seen.inputs[points[2].module].mean((0, 2, 3)))
    found = cuts.fill_of(model, points, photos)[points[2].module]
    np.testing.assert_allclose(found, torch.stack(means).mean(0), rtol=1e-5, atol=1e-6)


def test_a_class_that_hangs_on_one_split_is_lost_under_that_cut_alone(tiny, x):
    """Block layer4.1 listens to its split 2 only, and the shortcut around it carries nothing."""
    model = copy.deepcopy(tiny("res2net"))
    points = [p for p in hook_points(model, STAGES) if p.block == "layer4.1"]
    width = model.layer4[1].width
    with torch.no_grad():
        model.layer4[1].conv3.weight[:, : 2 * width] = 0
        model.layer4[1].conv3.weight[:, 3 * width :] = 0
        model.layer4[0].bn3.weight.zero_()
        model.layer4[0].bn3.bias.zero_()
        model.layer4[0].downsample[1].weight.zero_()
        model.layer4[0].downsample[1].bias.fill_(0.5)
    fill = cuts.fill_of(model, points, [])
    found = cuts.logits_without(model, x, [{}, *cuts.each_split(model, points)], fill)
    change = np.abs(found[1:] - found[0]).max(axis=1)
    assert change[2] > 1e-3
    assert max(change[0], change[1], change[3]) < 1e-6


@pytest.mark.parametrize("family", [*FAMILIES, "resnet18"])  # whose splits a 3x3 reads
def test_the_cap_leaves_nothing_that_sees_more_than_its_limit(family, tiny, x):
    """By gradient support; ResNeSt's gates are global and its shortcuts pool."""
    if family == "resnet18":
        model = timm.create_model(family, zero_init_last=False).eval()
    else:
        model = tiny(family)
    points, field = hook_points(model, STAGES), field_of(model)
    fill = cuts.fill_of(model, points, [x])
    sizes = cuts.limits(field)
    caps = [cuts.cap(model, points, field, limit) for limit in sizes]
    counts = [sum(int(mask.sum()) for mask in cut.values()) for cut in caps]
    assert caps[-1] == {}
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > 0
    with torch.inference_mode():
        largest = cuts.logits_without(model, x, [caps[-1]], fill)
        np.testing.assert_allclose(largest, model(x), atol=1e-6)
    if family == "resnest":
        return
    limit = sizes[len(sizes) // 3]
    image = torch.randn(1, 3, 256, 256, requires_grad=True)
    far = [cuts.cap(model, points, field, limit)]
    with torch.enable_grad(), record(model, ["layer4"]) as seen, cuts.cut_out(model, far, fill):
        model(image)
    (gradient,) = torch.autograd.grad(seen.outputs["layer4"][0, :, 4, 4].sum(), image)
    rows = np.flatnonzero(gradient.abs().sum((0, 1, 3)).numpy())
    assert limit - 32 < rows[-1] - rows[0] + 1 <= limit


def test_the_control_cuts_as_much_of_the_same_blocks(tiny):
    model = tiny("res2net")
    points, channels = hook_points(model, STAGES), cuts.widths(model, hook_points(model, STAGES))
    field = field_of(model)
    cut = cuts.cap(model, points, field, cuts.limits(field)[-3])
    rng = np.random.default_rng(0)
    drawn = [cuts.at_random(cut, points, channels, rng) for _ in range(3)]
    for control in drawn:
        assert {m: mask.sum() for m, mask in control.items()} == {
            m: k.sum() for m, k in cut.items()
        }
    assert any((drawn[0][m] != drawn[1][m]).any() for m in cut)


def test_the_control_of_single_paths_cuts_as_many_blocks(tiny):
    model = tiny("resnet")
    points = hook_points(model, STAGES)
    channels, field = cuts.widths(model, points), field_of(model)
    cut = cuts.cap(model, points, field, cuts.limits(field)[4])
    rng = np.random.default_rng(0)
    drawn = [frozenset(cuts.at_random(cut, points, channels, rng)) for _ in range(8)]
    assert {len(control) for control in drawn} == {len(cut)}
    assert len(set(drawn)) > 1


def test_limits_lie_within_what_the_splits_see(tiny, monkeypatch):
    field = field_of(tiny("res2net"))
    sizes = sorted({split.rf_max_px for block in field.blocks for split in block.splits})
    monkeypatch.setattr(cuts, "STEPS", 5)
    assert cuts.limits(field)[::4] == [sizes[0], sizes[-1]]
    assert cuts.limits(field, [sizes[3], sizes[1], sizes[3]]) == [sizes[1], sizes[3]]
    for wrong in (sizes[0] - 1, sizes[-1] + 1):
        with pytest.raises(OptionError, match=f"{wrong} px is out of range"):
            cuts.limits(field, [wrong])
    with pytest.raises(OptionError, match="No limit was given"):
        cuts.limits(field, [])


def test_non_finite_logits_are_an_error(tiny, x):
    model = tiny("resnet")
    points = hook_points(model, STAGES)
    with pytest.raises(WeightsError):
        cuts.logits_without(model, x * float("nan"), [{}], cuts.fill_of(model, points, []))


def test_hooks_that_change_inputs_go_when_something_fails(tiny, x):
    def fail(_):
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"), change_inputs(tiny("resnet"), {"layer4": fail}):
        tiny("resnet")(x)
