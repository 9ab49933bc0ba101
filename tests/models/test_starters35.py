"""The starters made for the lens: their proportions, and the folders of both generations."""

import json

import pytest
import timm
import torch
from timm.models.res2net import Bottle2neck
from torch import nn

from mscnn.errors import WeightsError
from mscnn.models import registry
from mscnn.models.architecture import check_supported, from_folder, from_name
from mscnn.scales.receptive_field import fields
from mscnn.scales.topology import trace
from mscnn.starters import STARTER_NAMES

PX = 72
# By hand: the stem's three 3x3 see 3, 7, 11 px; a 3x3 adds twice the stride of what it reads, which
# is 2 px in the first stage and in the block that leaves it, then 4, then 8. A ResNet's block has
# one 3x3, a Res2Net's up to three in a row, but one in the first block of a stage. ResNeSt pools
# 3x3 behind its 3x3 where a stage strides; a shortcut sees 2x2 there.
LARGEST = {
    "resnet": [19, 39, 79, 127], "resnest": [19, 43, 91, 139],
    "res2net": [27, 79, 183, 295], "res2next": [27, 79, 183, 295],
}  # fmt: skip


def built(kind):
    with torch.device("meta"):
        return timm.create_model(f"starter_{kind}").eval()


@pytest.mark.parametrize("kind", LARGEST)
def test_proportions(kind):
    model = built(kind)
    params = sum(p.numel() for p in model.parameters())
    plain = sum(p.numel() for p in built("resnet").parameters())
    assert params <= 3_000_000
    assert params == pytest.approx(plain, rel=0.1)
    assert 2 * sum(t.numel() for t in model.state_dict().values()) <= 6_000_000
    shapes = []
    for info in model.feature_info[1:]:
        model.get_submodule(info["module"]).register_forward_hook(
            lambda _m, _x, out, info=info: shapes.append((*out.shape[1:], info["reduction"]))
        )
    model(torch.empty(1, 3, PX, PX, device="meta"))
    sides = [PX // 2, PX // 4, PX // 8, PX // 8]
    assert [(h, w) for _, h, w, _ in shapes] == [(side, side) for side in sides]
    assert [(c, r) for c, _, _, r in shapes] == [(96, 2), (192, 4), (384, 8), (704, 8)]
    chained = [m for m in model.modules() if isinstance(m, Bottle2neck) and not m.is_first]
    assert len(chained) == (7 if kind.startswith("res2") else 0)
    windows = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert {(m.dilation, m.padding) for m in windows} == {((1, 1), (1, 1))}


@pytest.mark.parametrize(("kind", "largest"), LARGEST.items())
def test_the_ladder_of_receptive_fields(kind, largest):
    blueprint = from_name(f"starter_{kind}")
    found = fields(trace(blueprint.build(), check_supported(blueprint)), model=kind, input_px=PX)
    assert [stage.rf_max_px for stage in found.stages] == largest
    # Of the shortcuts alone: the stem, and 2x2 at strides of 2 and 4 px.
    assert [stage.rf_min_px for stage in found.stages] == [11, 13, 17, 17]


def of_the_first_generation(model, name):
    assert [len(model.get_submodule(f"layer{n}")) for n in (1, 2, 3, 4)] == [2, 2, 2, 2], name
    assert model.pretrained_cfg["input_size"] == (3, 64, 64)
    dilated = {m.dilation for m in model.layer4[1].modules() if isinstance(m, nn.Conv2d)}
    assert (2, 2) in dilated


FIRST_CFG = {"input_size": (3, 64, 64), "pool_size": (8, 8), "first_conv": "conv1"}


@pytest.mark.parametrize("kind", LARGEST)
def test_a_folder_is_built_as_it_was_trained_whatever_its_name_stands_for(kind, tmp_path):
    """Folders that were trained or fine-tuned hold a name, and nothing of its proportions."""
    for name in (f"starter_{kind}", f"starter_{kind}35"):
        for generation in ({}, FIRST_CFG):
            cfg = built(kind).pretrained_cfg | generation
            config = {"architecture": name, "num_classes": 200, "pretrained_cfg": cfg}
            (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
            model = from_folder(tmp_path).build(device="meta")
            if generation:
                of_the_first_generation(model, name)
            else:
                assert {k: v.shape for k, v in model.state_dict().items()} == {
                    k: v.shape for k, v in built(kind).state_dict().items()
                }


@pytest.mark.parametrize("name", STARTER_NAMES)
def test_what_the_second_generation_was_called_still_opens_it(name):
    assert registry.full_name(f"{name}35") == name
    assert from_name(f"{name}35") == from_name(name)


def test_a_first_convolution_of_another_name_is_a_sentence(tmp_path):
    cfg = built("resnet").pretrained_cfg | {"first_conv": "stem.conv"}
    config = {"architecture": "starter_resnet", "num_classes": 200, "pretrained_cfg": cfg}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(WeightsError, match="a first convolution named 'stem"):
        from_folder(tmp_path).build(device="meta")
