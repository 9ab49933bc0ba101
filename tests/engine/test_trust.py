"""Trust as the Python API gives it: a detector made by hand, and tiny networks."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_grad_cam as package
import torch
from PIL import Image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr
from torch import nn

from mscnn.engine.network import Network
from mscnn.errors import BoxError, Cancelled, MethodError, OptionError, UnknownLayerError
from mscnn.maps.methods import METHODS, Method
from mscnn.maps.single_pass import RawMaps
from mscnn.models.labels import LabelSet
from mscnn.models.loading import LoadedModel
from mscnn.results.explanation import WeightsInfo
from mscnn.results.schema import csv_text, document, table
from mscnn.trust.plan import GRID, PARTS, Plan

CELL, SIDE = 8, 96
AT = (slice(16, 48), slice(56, 88))
"""The patch of the detector's photo: 4 x 4 cells, off the middle."""


class Detector(nn.Module):
    """Class 0 is how much of the photo is red, in cells of 8 x 8 px; class 1 is anything else."""

    def __init__(self):
        super().__init__()
        self.layer1 = nn.Sequential(nn.Conv2d(3, 1, CELL, CELL), nn.ReLU())
        self.fc = nn.Linear(1, 2)
        with torch.no_grad():
            self.layer1[0].weight[0] = torch.tensor([1.0, -1.0, -1.0])[:, None, None] / CELL**2
            self.layer1[0].bias[0] = -0.5
            self.fc.weight[:, 0] = torch.tensor([60.0, 0.0])
            self.fc.bias[:] = torch.tensor([-6.0, 0.0])

    def forward(self, x):
        return self.fc(self.layer1(x).mean((2, 3)))


@pytest.fixture
def detector():
    loaded = LoadedModel(
        name="detector", model=Detector().eval().requires_grad_(False),
        labels=LabelSet(("red", "other")), weights=WeightsInfo("file", "x", "0" * 64),
        data_config={
            "input_size": (3, SIDE, SIDE), "interpolation": "bicubic", "mean": (0.5,) * 3,
            "std": (0.5,) * 3, "crop_pct": 1.0, "crop_mode": "center",
        },
        stages=("layer1",), head="fc",
    )  # fmt: skip
    return Network(loaded, torch.device("cpu"))


@pytest.fixture
def red():
    pixels = np.random.default_rng(0).integers(90, 165, (SIDE, SIDE, 3))
    pixels[AT] = (250, 20, 20)
    return Image.fromarray(pixels.astype(np.uint8))


def test_the_true_map_beats_every_control(detector, red):
    done = detector.trust(red, target="red", plan=Plan(parts=("scores",)))
    (made,) = done.maps
    assert done.target.probability > 0.9
    assert made.verdict.level == 3, made
    assert made.verdict.beats_random == made.verdict.beats_blob == made.verdict.of == 7
    assert all(row.ranks.deletion_mean == 1 for row in done.ranks if row.kind == "map")
    print(made.verdict, [c.scores for c in made.candidates if c.kind != "random"])


def test_a_random_map_beats_none(detector, red, monkeypatch):
    draws = iter(range(10))

    def noise(model, x, layers, targets, **_):
        rng = np.random.default_rng(100 + next(draws))
        raw = gaussian_filter(rng.standard_normal((12, 12)), 1.2).astype(np.float32)
        return RawMaps(np.zeros(2, np.float32), (0,), {(layers[0], 0): raw})

    monkeypatch.setitem(sys.modules, "noise", SimpleNamespace(maps=noise))
    row = Method("noise", "Noise", "forward", False, "", "", by="noise:maps")
    monkeypatch.setitem(METHODS, "noise", row)
    from mscnn.trust import plan
    monkeypatch.setitem(plan.EVERY, "noise", row)
    wanted = Plan(methods=("noise",), parts=("scores",))
    levels = [detector.trust(red, target=0, plan=wanted).maps[0].verdict for _ in range(10)]
    print([(v.level, v.beats_random, v.beats_blob, v.beats_blurred) for v in levels])
    assert [verdict.level for verdict in levels] == [0] * 10
