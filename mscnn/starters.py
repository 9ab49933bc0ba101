"""The starter networks: small ResNet-style nets for small photographs, registered with timm.

Importing this module makes ``timm.create_model("starter_res2net")`` work, so a starter is built,
loaded, exported and described by the same code as any other timm model. The blocks are timm's
own; only the proportions are ours. There are two generations, which differ in the name of their
first convolution, ``first_conv`` of timm's configuration; a folder that training wrote has it, so
it is built as it was trained, whichever generation its name stands for by now:

* ``conv1.0``, which the bundled ones are: made for the lens and chosen by measurement
  (``docs/training/pilots.md``), with three blocks in all stages but the first, so seven blocks
  have a hierarchy of splits (timm's first block of each stage has none, ``is_first``); stem and
  shortcuts of timm's ``d`` variants; no dilation, which would leave gaps in the ladder of receptive
  fields.
* ``conv1``, for folders of the first generation: two blocks per stage, so four with a hierarchy,
  timm's plain stem, and a dilated last stage.

In both there is no pooling in the stem, and the last stage keeps the stride of the one before, so
that 72 px give a 9 x 9 map to explain (stride 8). All families have the same channels. Res2Net's
``26w x 4s`` and Res2NeXt's ``4w x 4s x 8c`` are the widths that the paper (arXiv:1904.01169) pairs
with ResNet-50 and ResNeXt-50 at equal cost. ResNeSt's ``2s1x64d`` computes a seventh more here (in
the first generation a fifth), as resnest50d does a quarter more than resnet50d.
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
"""Those whose weights are bundled."""

_FIRST, _SECOND = "conv1", "conv1.0"

_PROPORTIONS: dict[str, dict[str, Any]] = {
    _FIRST: {
        "layers": (2, 2, 2, 2),
        "channels": (24, 48, 96, 160),
        "stem_width": 24,
        "output_stride": 16,
    },
    _SECOND: {
        "layers": (2, 3, 3, 3),
        "channels": (24, 48, 96, 176),
        "stem_type": "deep",
        "stem_width": 24,
        "avg_down": True,
        "output_stride": 16,
        "dilated": False,
    },
}


class StarterResNet(ResNet):  # type: ignore[misc]  # timm's class is untyped
    """timm's ResNet without the stem's max pooling: 64 px give stages of 32, 16, 8 and 8 px.

    timm dilates the stage that keeps its stride, unless it is not ``dilated``.
    """

    def __init__(self, block: type[nn.Module], *, dilated: bool = True, **kwargs: Any) -> None:
        super().__init__(block, **kwargs)
        self.maxpool = nn.Identity()
        for info in self.feature_info:
            # timm counts the stem's pooling in every reduction after it.
            if info["module"] != "act1":
                info["reduction"] //= 2
        if not dilated:
            # What timm would build with a stride of 1.
            self.layer4[0].downsample[0] = nn.Identity()
            for module in self.layer4.modules():
                if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
                    module.dilation = module.padding = (1, 1)


_CFG: dict[str, Any] = {
    "url": "",
    "num_classes": 200,
    "input_size": (3, 72, 72),
    "pool_size": (9, 9),
    "crop_pct": 1.0,
    "crop_mode": "center",
    "interpolation": "bicubic",
    "mean": IMAGENET_DEFAULT_MEAN,
    "std": IMAGENET_DEFAULT_STD,
    "first_conv": _SECOND,
    "classifier": "fc",
    "license": "apache-2.0",
}

_FAMILIES: dict[str, dict[str, Any]] = {
    "starter_res2net": {"block": Bottle2neck, "base_width": 26, "block_args": {"scale": 4}},
    "starter_resnet": {"block": Bottleneck},
    "starter_res2next": {
        "block": Bottle2neck, "base_width": 4, "cardinality": 8, "block_args": {"scale": 4},
    },
    "starter_resnest": {
        "block": ResNestBottleneck, "base_width": 64,
        "block_args": {"radix": 2, "avd": True, "avd_first": False},
    },
}  # fmt: skip

default_cfgs = generate_default_cfgs(dict.fromkeys(STARTER_NAMES, _CFG))


def _create(variant: str, pretrained: bool, options: dict[str, Any]) -> StarterResNet:
    given = options.get("pretrained_cfg")
    found = given if isinstance(given, dict) else getattr(given, "__dict__", {})
    generation = found.get("first_conv") or default_cfgs[variant].default.first_conv
    proportions = _PROPORTIONS.get(generation)
    if proportions is None:
        raise ValueError(f"no starter has a first convolution named {generation!r}")
    options = proportions | _FAMILIES[variant] | options
    model: StarterResNet = build_model_with_cfg(StarterResNet, variant, pretrained, **options)
    return model


@register_model
def starter_res2net(pretrained: bool = False, **kwargs: Any) -> StarterResNet:
    """Res2Net 26w x 4s (Gao et al., TPAMI 2021, arXiv:1904.01169)."""
    return _create("starter_res2net", pretrained, kwargs)


@register_model
def starter_resnet(pretrained: bool = False, **kwargs: Any) -> StarterResNet:
    """ResNet bottleneck (He et al., CVPR 2016, arXiv:1512.03385)."""
    return _create("starter_resnet", pretrained, kwargs)


@register_model
def starter_res2next(pretrained: bool = False, **kwargs: Any) -> StarterResNet:
    """Res2NeXt 4w x 4s x 8c (Gao et al., TPAMI 2021, arXiv:1904.01169)."""
    return _create("starter_res2next", pretrained, kwargs)


@register_model
def starter_resnest(pretrained: bool = False, **kwargs: Any) -> StarterResNet:
    """ResNeSt 2s1x64d (Zhang et al., arXiv:2004.08955)."""
    return _create("starter_resnest", pretrained, kwargs)


# What the second generation was called beside the first; folders may still have these names.


@register_model
def starter_res2net35(pretrained: bool = False, **kwargs: Any) -> StarterResNet:
    """``starter_res2net``."""
    return _create("starter_res2net", pretrained, kwargs)


@register_model
def starter_resnet35(pretrained: bool = False, **kwargs: Any) -> StarterResNet:
    """``starter_resnet``."""
    return _create("starter_resnet", pretrained, kwargs)


@register_model
def starter_res2next35(pretrained: bool = False, **kwargs: Any) -> StarterResNet:
    """``starter_res2next``."""
    return _create("starter_res2next", pretrained, kwargs)


@register_model
def starter_resnest35(pretrained: bool = False, **kwargs: Any) -> StarterResNet:
    """``starter_resnest``."""
    return _create("starter_resnest", pretrained, kwargs)
