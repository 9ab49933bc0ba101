"""The starter networks: small ResNet-style nets for 64 px photographs, registered with timm.

Importing this module makes ``timm.create_model("starter_res2net")`` work, so a starter is built,
loaded, exported and described by the same code as any other timm model. The blocks are timm's
own; only the proportions are ours:

* Two blocks per stage. timm's first block of each stage has no hierarchy between its splits
  (``is_first``), so one block per stage would be a multi-scale net without scales.
* No pooling in the stem and a dilated last stage, so that a 64 px photograph still gives an
  8 x 8 map to explain (stride 8).
* The same channels for all families. Res2Net's ``26w x 4s`` and Res2NeXt's ``4w x 4s x 8c`` are
  the widths that the paper (arXiv:1904.01169) pairs with ResNet-50 and ResNeXt-50 at equal cost.
  ResNeSt's ``2s1x64d`` computes a fifth more here, as resnest50d does beside resnet50d (5.40 and
  4.35 GMACs).
"""

from __future__ import annotations

from typing import Any

from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.res2net import Bottle2neck
from timm.models.resnest import ResNestBottleneck
from timm.models.resnet import Bottleneck, ResNet
from torch import nn

STARTER_NAMES = ("starter_res2net", "starter_resnet", "starter_res2next", "starter_resnest")

_PROPORTIONS: dict[str, Any] = {
    "layers": (2, 2, 2, 2),
    "channels": (24, 48, 96, 160),
    "stem_width": 24,
    "output_stride": 16,
}


class StarterResNet(ResNet):  # type: ignore[misc]  # timm's class is untyped
    """timm's ResNet without the stem's max pooling: 64 px give stages of 32, 16, 8 and 8 px."""

    def __init__(self, block: type[nn.Module], **kwargs: Any) -> None:
        super().__init__(block, **kwargs)
        self.maxpool = nn.Identity()
        for info in self.feature_info:
            # timm counts the stem's pooling in every reduction after it.
            if info["module"] != "act1":
                info["reduction"] //= 2


default_cfgs = generate_default_cfgs(
    {
        name: {
            "url": "",
            "num_classes": 200,
            "input_size": (3, 64, 64),
            "pool_size": (8, 8),
            "crop_pct": 1.0,
            "crop_mode": "center",
            "interpolation": "bicubic",
            "mean": IMAGENET_DEFAULT_MEAN,
            "std": IMAGENET_DEFAULT_STD,
            "first_conv": "conv1",
            "classifier": "fc",
            "license": "apache-2.0",
        }
        for name in STARTER_NAMES
    }
)


def _create(variant: str, pretrained: bool, options: dict[str, Any]) -> StarterResNet:
    options = _PROPORTIONS | options
    model: StarterResNet = build_model_with_cfg(StarterResNet, variant, pretrained, **options)
    return model


@register_model
def starter_res2net(pretrained: bool = False, **kwargs: Any) -> StarterResNet:
    """Res2Net 26w x 4s (Gao et al., TPAMI 2021, arXiv:1904.01169), layers 2-2-2-2, 64 px."""
    block = {"block": Bottle2neck, "base_width": 26, "block_args": {"scale": 4}}
    return _create("starter_res2net", pretrained, block | kwargs)


@register_model
def starter_resnet(pretrained: bool = False, **kwargs: Any) -> StarterResNet:
    """ResNet bottleneck (He et al., CVPR 2016, arXiv:1512.03385), layers 2-2-2-2, 64 px."""
    return _create("starter_resnet", pretrained, {"block": Bottleneck} | kwargs)


@register_model
def starter_res2next(pretrained: bool = False, **kwargs: Any) -> StarterResNet:
    """Res2NeXt 4w x 4s x 8c (Gao et al., TPAMI 2021, arXiv:1904.01169), layers 2-2-2-2, 64 px."""
    width = {"base_width": 4, "cardinality": 8}
    block = {"block": Bottle2neck, "block_args": {"scale": 4}, **width}
    return _create("starter_res2next", pretrained, block | kwargs)


@register_model
def starter_resnest(pretrained: bool = False, **kwargs: Any) -> StarterResNet:
    """ResNeSt 2s1x64d (Zhang et al., arXiv:2004.08955), layers 2-2-2-2, 64 px."""
    attention = {"radix": 2, "avd": True, "avd_first": False}
    block = {"block": ResNestBottleneck, "base_width": 64, "block_args": attention}
    return _create("starter_resnest", pretrained, block | kwargs)
