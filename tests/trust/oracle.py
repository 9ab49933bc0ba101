"""A small network, a picture and a map that need no random numbers, for recorded values."""

import numpy as np
import torch
from torch import nn

SIDE = 12
STEPS = 12
TARGET = 0
BOX = (3, 5, 9, 11)
"""Left, top, right and bottom of an object, px."""


def wave(*shape):
    """Numbers in -1..1 that look irregular."""
    count = int(np.prod(shape))
    return np.sin(1.7 * np.arange(count) ** 1.3).reshape(shape).astype(np.float32)


def picture():
    """``(1, 3, 12, 12)`` float32."""
    return torch.from_numpy(wave(1, 3, SIDE, SIDE))


class Small(nn.Module):
    """Two convolutions at full resolution, an average and a linear layer of three classes."""

    def __init__(self):
        super().__init__()
        self.layer1 = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        self.layer2 = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.ReLU())
        self.fc = nn.Linear(6, 3)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.from_numpy(wave(*parameter.shape)))
            self.fc.weight *= 8

    def forward(self, x):
        return self.fc(self.layer2(self.layer1(x)).mean((2, 3)))


def cam(model, x, target):
    """Grad-CAM at layer2 as its paper has it, signed: ``(12, 12)`` float32."""
    kept = model.layer2(model.layer1(x)).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(model.fc(kept.mean((2, 3)))[0, target], kept)
    found: np.ndarray = (gradient.mean((2, 3), keepdim=True) * kept).sum(1)[0].detach().numpy()
    return found
