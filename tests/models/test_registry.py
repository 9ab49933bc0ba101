"""The table of backbones, against the models timm builds and timm's own configuration."""

import functools
from typing import Any

import pytest
import timm
import timm.data
import torch
from timm.layers.split_attn import SplitAttn
from timm.models.res2net import Bottle2neck
from timm.models.resnest import ResNestBottleneck
from timm.models.resnet import BasicBlock, Bottleneck
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mscnn.errors import UnknownModelError
from mscnn.models.architecture import from_name
from mscnn.models.registry import fair_pair_hint, find, get, list_backbones
from mscnn.starters import STARTER_NAMES  # importing it registers them with timm
from scripts import readme

ALL = list_backbones()
HUB = [spec for spec in ALL if spec.group != "starter"]
NAMES = [spec.name for spec in ALL]
every_spec = pytest.mark.parametrize("spec", ALL, ids=NAMES)
every_hub_spec = pytest.mark.parametrize("spec", HUB, ids=[s.name for s in HUB])

# infer_gmacs of timm's results/benchmark-infer-*.csv, which count batch norm as well, and top-1
# errors in %: Tables 1 to 3 of arXiv:1904.01169, README of Res2Net-PretrainedModels (219c8c6)
PUBLISHED: dict[str, tuple[float, float | None]] = {
    "resnet18.tv_in1k": (1.82, None), "resnet50.tv_in1k": (4.11, 23.85),
    "resnext50_32x4d.tv_in1k": (4.26, 22.61), "resnet101.tv_in1k": (7.83, 22.63),
    "resnet50d.ra2_in1k": (4.35, None), "resnet101d.ra2_in1k": (10.55, None),
    "resnet101d.gluon_in1k": (8.08, None), "res2net50_48w_2s.in1k": (4.18, 22.68),
    "res2net50_26w_4s.in1k": (4.28, 22.01), "res2net50_14w_8s.in1k": (4.21, 21.86),
    "res2net50_26w_6s.in1k": (6.33, 21.42), "res2net50_26w_8s.in1k": (8.37, 20.8),
    "res2net50d.in1k": (4.52, 19.73), "res2net101_26w_4s.in1k": (8.1, 20.81),
    "res2net101d.in1k": (8.35, 18.77), "res2next50.in1k": (4.2, 21.76),
    "resnest14d.gluon_in1k": (2.76, None), "resnest26d.gluon_in1k": (3.64, None),
    "resnest50d.in1k": (5.4, None), "resnest50d_1s4x24d.in1k": (4.43, None),
    "resnest50d_4s2x40d.in1k": (4.4, None), "resnest101e.in1k": (13.38, None),
    "resnest200e.in1k": (35.69, None), "resnest269e.in1k": (77.69, None),
}  # fmt: skip


@functools.cache
def built(name):  # timm is untyped
    """Return timm's model on the meta device: shapes without memory."""
    return from_name(name).build(device="meta")


def blocks(model):
    kinds = (BasicBlock, Bottleneck, Bottle2neck, ResNestBottleneck)
    return [m for m in model.modules() if isinstance(m, kinds)]


def test_all_required_names_are_there_once():
    assert sorted(NAMES) == sorted([*PUBLISHED, *STARTER_NAMES])
    assert len({spec.title for spec in ALL}) == len(ALL)


@every_hub_spec
def test_timm_has_weights_of_this_name(spec):
    assert spec.name in timm.list_models(pretrained=True)
    assert spec.hub_id == built(spec.name).pretrained_cfg["hf_hub_id"]


@every_spec
def test_params_and_bytes(spec):
    model = built(spec.name)
    assert spec.params == sum(p.numel() for p in model.parameters())
    if spec.group == "starter":
        assert spec.download_bytes is None
    else:
        state = model.state_dict().values()
        assert spec.download_bytes == sum(t.numel() * t.element_size() for t in state)


@pytest.mark.parametrize(
    "name", [*STARTER_NAMES, "resnet18.tv_in1k", "res2next50.in1k", "resnest50d.in1k"]
)
def test_gmacs_are_what_torch_counts(name):
    spec = get(name)
    x = torch.empty(1, 3, spec.input_px, spec.input_px, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        built(name)(x)
    assert spec.gmacs == pytest.approx(counter.get_total_flops() / 2e9, abs=0.5001e-4)


@every_hub_spec
def test_gmacs_agree_with_timms_benchmark(spec):
    theirs, _ = PUBLISHED[spec.name]
    assert 0.990 * theirs < spec.gmacs < theirs


@every_spec
def test_input_is_timms_default(spec):
    resolve: Any = timm.data.config.resolve_model_data_config
    config = resolve(built(spec.name))
    assert config["input_size"] == (3, spec.input_px, spec.input_px)
    assert config["crop_pct"] == spec.crop_pct
    assert config["interpolation"] == spec.interpolation
    assert built(spec.name).get_submodule("fc").out_features == spec.classes


@every_spec
def test_block_class_fits_the_family(spec):
    found = {type(b) for b in blocks(built(spec.name))}
    expected: type[nn.Module] = Bottleneck
    if spec.family in ("res2net", "res2next"):
        expected = Bottle2neck
    elif spec.family == "resnest":
        expected = ResNestBottleneck
    elif spec.architecture == "resnet18":
        expected = BasicBlock
    assert found == {expected}


@every_spec
def test_scales_radix_and_cardinality_fit_the_model(spec):
    for block in blocks(built(spec.name)):
        scales = block.scale if isinstance(block, Bottle2neck) else 1
        radix = block.radix if isinstance(block, ResNestBottleneck) else 0
        if isinstance(block, Bottle2neck):
            conv: Any = block.convs[0]
        elif isinstance(block, ResNestBottleneck):
            assert isinstance(block.conv2, SplitAttn)
            conv = block.conv2.conv
        else:
            conv = block.conv2
        # ResNeSt's convolution holds all radix branches in one
        groups = conv.groups // max(radix, 1)
        assert (scales, radix, groups) == (spec.scales, spec.radix, spec.cardinality)


@every_spec
def test_every_number_has_a_source(spec):
    assert spec.top1_source
    assert (spec.paper_top1 is None) == (spec.paper_source == "")
    for value in (spec.top1, spec.paper_top1):
        assert value is None or 0.5 < value < 0.9
    assert (spec.top1 is None) == (spec.group == "starter")
    if spec.top1 is not None and spec.paper_top1 is not None:
        # timm re-measured the same weights; a typo would be further away
        assert abs(spec.top1 - spec.paper_top1) < 0.003


@every_hub_spec
def test_paper_accuracy_is_one_minus_the_published_error(spec):
    _, error = PUBLISHED[spec.name]
    # ResNeSt's authors publish accuracies, and some baselines nobody measured for a paper.
    if error is not None:
        assert spec.paper_top1 is not None
        assert 100 * (1 - spec.paper_top1) == pytest.approx(error, abs=1e-9)


@every_spec
def test_licence_is_timms_or_stricter(spec):
    timms = built(spec.name).pretrained_cfg["license"]
    if spec.family in ("res2net", "res2next") and spec.group != "starter":
        assert timms == "unknown"
        assert spec.licence == "CC-BY-NC-SA-4.0"
        assert "non-commercial" in spec.licence_note
        assert "unknown" in spec.licence_note
    else:
        assert spec.licence.lower() == timms
    if spec.group == "starter":
        assert "Tiny-ImageNet-200" in spec.licence_note


@every_spec
def test_baseline_is_a_plain_partner_of_like_cost(spec):
    if spec.group == "baseline":
        assert spec.baseline is None
        assert spec.baseline_reason == ""
        return
    assert spec.baseline_reason
    if spec.baseline is None:
        return
    partner = get(spec.baseline)
    assert partner.name == spec.baseline
    assert partner.family in ("resnet", "resnext")
    assert partner.input_px == spec.input_px
    assert partner.classes == spec.classes
    assert 1 / 1.3 < spec.gmacs / partner.gmacs < 1.3
    if spec.recipe == partner.recipe:
        assert spec.baseline_reason.startswith("Same ")
    else:
        assert "part of any gap is training" in spec.baseline_reason


@pytest.mark.parametrize(("name", "other", "words", "ratio"), [
    ("res2net50_26w_6s", "resnet101", "24 % more", lambda own, his: his / own - 1),
    ("res2net50_26w_6s", "resnet50", "35 % fewer", lambda own, his: 1 - his / own),
    ("resnest50d", "resnet50d", "24 % more", lambda own, his: own / his - 1),
    ("resnest101e", "resnet101d", "27 % more", lambda own, his: own / his - 1),
])  # fmt: skip
def test_costs_named_in_reasons(name, other, words, ratio):
    assert words in get(name).baseline_reason
    assert f"{100 * ratio(get(name).gmacs, get(other).gmacs):.0f} %" == words[:4]


def test_the_better_recipe_is_not_the_pair():
    assert get("res2net50_26w_4s").baseline == "resnet50.tv_in1k"
    assert "resnet50.a1_in1k would not be fair" in get("res2net50_26w_4s").baseline_reason


def test_order_and_filters():
    groups = [spec.group for spec in ALL]
    assert groups == sorted(groups, key=["starter", "multi-scale", "baseline"].index)
    scales = [spec.family for spec in list_backbones("multi-scale")]
    assert scales == ["res2net"] * 8 + ["res2next"] + ["resnest"] * 8
    assert [s.name for s in list_backbones(family="resnext")] == ["resnext50_32x4d.tv_in1k"]
    assert [s.name for s in list_backbones("starter", "res2next")] == ["starter_res2next"]
    assert list_backbones("baseline", "resnest") == ()


@pytest.mark.parametrize(("query", "name"), [
    ("res2next50.in1k", "res2next50.in1k"), ("res2next50", "res2next50.in1k"),
    (" Res2NeXt50 ", "res2next50.in1k"), ("timm/res2next50.in1k", "res2next50.in1k"),
    ("hf-hub:timm/res2next50.in1k", "res2next50.in1k"),
    ("hf_hub:timm/RES2NEXT50.IN1K", "res2next50.in1k"), ("resnet50", "resnet50.tv_in1k"),
    ("resnet101d", "resnet101d.ra2_in1k"), ("starter_res2net", "starter_res2net"),
    ("", None), ("  ", None), ("res2net50.tv_in1k", None), ("resnet50.a1_in1k", None),
    ("vit", None), ("timm/", None),
])  # fmt: skip
def test_find(query, name):
    spec = find(query)
    assert (spec and spec.name) == name
    assert spec is None or get(query) is spec


@every_spec
def test_names_take_apart_and_lead_back(spec):
    assert get(spec.name) is spec
    assert spec.name == ".".join(part for part in (spec.architecture, spec.tag) if part)
    assert spec.hub_id == (None if spec.group == "starter" else f"timm/{spec.name}")


@pytest.mark.parametrize("query", ["res2net50.tv_in1k", "qqqqqqqq", "x" * 10_000, "a\nb"])
def test_get_of_an_unknown_name_is_one_short_line(query):
    with pytest.raises(UnknownModelError, match="`mscnn models`") as caught:
        get(query)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(("names", "parts"), [
    ("", []), ("resnet50", []), ("resnet50 resnet50.tv_in1k", []),
    ("res2net50_26w_4s resnet50",
     ["Fair pair: Res2Net-50 (26w x 4s) and ResNet-50. Same classic recipe"]),
    ("resnet50d resnest50d",
     ["Nearest pair: ResNeSt-50 and ResNet-50d (RA2).", "part of any gap is training"]),
    ("resnet50 res2net50_26w_4s res2net50_14w_8s",
     ["Pairs: Res2Net-50 (26w x 4s) with ResNet-50", "Each pair shares"]),
    ("res2net50_26w_4s resnet50 resnest50d resnet50d",
     ["Pairs: ", "still differ for ResNeSt-50, so"]),
    ("res2net50_26w_4s resnet50 resnest50d mine",
     ["Fair pair", "ResNeSt-50 was trained by another recipe", "is known here of how mine was"]),
    ("res2net50_26w_4s res2net50_26w_8s", ["share one training recipe", "4.3 to 8.3 GMACs"]),
    ("res2net50_26w_4s res2net50_14w_8s", ["share one training recipe"]),
    ("resnet50 resnest50d",
     ["Not a fair pair", "nearest partner of ResNeSt-50 is resnet50d.ra2_in1k."]),
    ("resnest14d resnest200e", ["Not a fair pair", "ResNeSt-14: No plain 14-layer"]),
    ("starter_res2net mine", ["of how mine was trained", "is starter_resnet."]),
    ("mine yours", ["Nothing is known here of how mine and yours were trained"]),
])  # fmt: skip
def test_fair_pair_hint(names, parts):
    hint = fair_pair_hint(names.split())
    assert (hint == "") == (not parts)
    for part in parts:
        assert part in hint
    # Cost is named where it differs, and only there.
    assert ("GMACs" in hint) == any("GMACs" in part for part in parts)


def test_markdown_table():
    text = readme.models()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == NAMES
    header = text.splitlines()[0].count("|")
    assert {row.count("|") for row in rows} == {header}
    row = next(r for r in rows if "`res2net50_26w_8s.in1k`" in r)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:5] == ["48.40", "8.34", "224", "78.95"]
    assert cells[5].startswith("79.20 [")
    assert cells[6:] == ["CC-BY-NC-SA-4.0 `*`", "`resnet101.tv_in1k`"]
    for spec in ALL:
        assert spec.paper_source in text
    assert text.endswith(".\n")
