"""A network of 13 thousand parameters for 32 px, so that a test can train it in a second."""

import timm
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnet import BasicBlock, ResNet

NAME = "trainee"

default_cfgs = generate_default_cfgs({
    NAME: {
        "url": "",
        "num_classes": 7,
        "input_size": (3, 32, 32),
        "pool_size": (1, 1),
        "crop_pct": 1.0,
        "interpolation": "bilinear",
        "mean": (0.5, 0.5, 0.5),
        "std": (0.25, 0.25, 0.25),
        "first_conv": "conv1",
        "classifier": "fc",
        "license": "cc0-1.0",
    }
})  # fmt: skip


def trainee(pretrained=False, **kwargs):
    proportions = {"block": BasicBlock, "layers": (1, 1, 1, 1), "channels": (8, 8, 16, 16)}
    return build_model_with_cfg(ResNet, NAME, pretrained, **{**proportions, **kwargs})


if not timm.is_model(NAME):  # pytest may import this module under two names
    register_model(trainee)
