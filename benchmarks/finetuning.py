"""Fine-tune a starter on ten classes it has never seen, beside the linear baseline.

``python -m benchmarks.finetuning`` draws 100 training and 50 validation pictures of each of ten
shapes, in random size, place, colour and on a random background, then compares

* logistic regression on the pooled features of the same network with random weights,
* logistic regression on its trained features,
* ``mscnn finetune`` with its defaults.

The regressions take the best of several strengths of regularisation on the validation pictures,
which flatters them.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image, ImageDraw
from torch import nn

import mscnn.starters  # noqa: F401 - registers them with timm
from mscnn.data.layouts import open_data
from mscnn.data.listing import Samples
from mscnn.models.loading import load_model
from mscnn.photos.imaging import load_photo
from mscnn.training.recipe import FINE_TUNING
from mscnn.training.start import RunPlan, start_training

SHAPES = (
    "arc", "bars", "chequers", "cross", "disc", "dots", "ring", "square", "star", "triangle",
)  # fmt: skip
_SIDE = 72


def draw_shape(shape: str, seed: int) -> Image.Image:
    """Draw one of ``SHAPES``, 72 x 72 px RGB; where, how large and in which colours is chance."""
    random = np.random.default_rng([SHAPES.index(shape), seed])
    big = 4 * _SIDE  # drawn large and shrunk, so that edges are smooth
    back, front = random.integers(0, 256, (2, 3))
    while abs(back.astype(int) - front).sum() < 150:
        front = random.integers(0, 256, 3)
    y, x = np.mgrid[:big, :big] / big
    slope = (random.normal(0, 40) * x + random.normal(0, 40) * y)[..., None]
    ground = Image.fromarray(np.clip(back + slope, 0, 255).astype(np.uint8))
    r = big * random.uniform(0.12, 0.4)
    cx, cy = random.uniform(r * 0.8, big - r * 0.8, 2)
    mask = Image.new("L", (big, big))
    _paint(ImageDraw.Draw(mask), shape, cx, cy, r, random.uniform(0, 2 * math.pi))
    ground.paste(tuple(int(c) for c in front), mask=mask)
    picture = np.asarray(ground.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)).astype(float)
    grain = random.normal(0, random.uniform(2, 16), picture.shape)
    return Image.fromarray(np.clip(picture + grain, 0, 255).astype(np.uint8))


def _paint(draw: ImageDraw.ImageDraw, shape: str, cx: float, cy: float, r: float, a: float) -> None:
    def at(u: float, v: float) -> tuple[float, float]:
        """A point of the unit square, turned by ``a``, scaled and moved."""
        return (
            cx + r * (u * math.cos(a) - v * math.sin(a)),
            cy + r * (u * math.sin(a) + v * math.cos(a)),
        )

    def box(u: float, v: float, w: float, h: float) -> None:
        draw.polygon([at(u, v), at(u + w, v), at(u + w, v + h), at(u, v + h)], fill=255)

    def disc(u: float, v: float, s: float, fill: int = 255) -> None:
        px, py = at(u, v)
        draw.ellipse((px - s * r, py - s * r, px + s * r, py + s * r), fill=fill)

    if shape == "disc":
        disc(0, 0, 1)
    elif shape == "ring":
        disc(0, 0, 1)
        disc(0, 0, 0.6, 0)
    elif shape == "arc":
        disc(0, 0, 1)
        disc(0.45, 0, 0.85, 0)
    elif shape == "square":
        box(-0.8, -0.8, 1.6, 1.6)
    elif shape == "bars":
        for v in (-0.8, -0.2, 0.4):
            box(-0.8, v, 1.6, 0.4)
    elif shape == "cross":
        box(-1, -0.25, 2, 0.5)
        box(-0.25, -1, 0.5, 2)
    elif shape == "chequers":
        for i in range(4):
            for j in range(i % 2, 4, 2):
                box(-0.8 + 0.4 * i, -0.8 + 0.4 * j, 0.4, 0.4)
    elif shape == "dots":
        for i in range(3):
            for j in range(3):
                disc(0.7 * (i - 1), 0.7 * (j - 1), 0.25)
    else:
        count, inner = (5, 0.4) if shape == "star" else (3, 0.5)
        points = []
        for i in range(2 * count):
            radius, angle = (1.0, inner)[i % 2], math.pi * i / count
            points.append(at(radius * math.cos(angle), radius * math.sin(angle)))
        draw.polygon(points, fill=255)


def make_folder(root: Path, train: int, val: int, shapes: Sequence[str] = SHAPES) -> Path:
    """Write ``root/train/<shape>`` and ``root/val/<shape>`` with so many pictures each."""
    for part, numbers in (("train", range(train)), ("val", range(train, train + val))):
        for shape in shapes:
            folder = root / part / shape
            folder.mkdir(parents=True)
            for number in numbers:
                draw_shape(shape, number).save(folder / f"{number:04}.png")
    return root


def random_network(name: str, folder: Path) -> nn.Module:
    """A network with random weights that is as good a source of features as one can be.

    The last batch norm of each block is not zero, as timm would begin, and all batch norms know
    the statistics of the training pictures.
    """
    torch.manual_seed(0)
    model: nn.Module = timm.create_model(name, zero_init_last=False)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches
    with torch.inference_mode():
        for part in _pictures(_files(open_data(folder).train)):
            model.train()(part)
    return model


def _files(samples: Samples) -> list[Path]:
    return [Path(samples.full_name(index)) for index in range(len(samples))]


def _pictures(files: Sequence[Path]) -> Iterator[torch.Tensor]:
    """Yield ``(50, 3, 72, 72)`` float32 normalised pictures."""
    mean = torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1)
    std = torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1)
    for start in range(0, len(files), 50):
        arrays = [np.array(load_photo(file)) for file in files[start : start + 50]]
        yield (torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2) / 255 - mean) / std


@torch.inference_mode()
def pooled_features(model: nn.Module, files: Sequence[Path]) -> torch.Tensor:
    """``(n, d)`` float32: the features before the classifier."""
    net: Any = model.eval()
    parts = _pictures(files)
    return torch.cat([net.forward_head(net.forward_features(p), pre_logits=True) for p in parts])


def probe(model: nn.Module, folder: Path) -> float:
    """Top-1 (0..1) of logistic regression on standardised features, the best of five strengths."""
    data = open_data(folder)
    x, x_val = (pooled_features(model, _files(part)) for part in (data.train, data.val))
    y, y_val = (torch.from_numpy(part.targets) for part in (data.train, data.val))
    mean, std = x.mean(0), x.std(0) + 1e-6
    x, x_val = (x - mean) / std, (x_val - mean) / std
    best = 0.0
    for strength in (1e-4, 1e-3, 1e-2, 1e-1, 1.0):
        linear = nn.Linear(x.shape[1], len(data.names))
        nn.init.zeros_(linear.weight)
        _fit(linear, x, y, strength)
        best = max(best, float((linear(x_val).argmax(1) == y_val).float().mean()))
    return best


def _fit(linear: nn.Linear, x: torch.Tensor, y: torch.Tensor, strength: float) -> None:
    optimizer = torch.optim.LBFGS(linear.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(linear(x), y) + strength * linear.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call, unused-ignore]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the comparison; 1 where fine-tuning is not well above the baseline."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.finetuning")
    parser.add_argument("--model", default="starter_res2net")
    parser.add_argument("--epochs", type=int, default=FINE_TUNING.epochs)
    parser.add_argument("--train", type=int, default=100, help="pictures per class")
    parser.add_argument("--val", type=int, default=50, help="pictures per class")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        folder = make_folder(Path(scratch) / "shapes", options.train, options.val)
        results: dict[str, float] = {
            "random_features": probe(random_network(options.model, folder), folder),
            "trained_features": probe(load_model(options.model).model, folder),
        }
        recipe = FINE_TUNING.replaced(epochs=options.epochs)
        started = time.perf_counter()
        plan = RunPlan(folder, options.model, Path(scratch) / "run", recipe, "cpu", fine_tune=True)
        results["fine_tuned"] = start_training(plan).top1
        results["seconds"] = round(time.perf_counter() - started, 1)
    print(json.dumps({"model": options.model, "epochs": options.epochs, **results}, indent=2))
    return int(results["fine_tuned"] < results["random_features"] + 0.1)


if __name__ == "__main__":
    raise SystemExit(main())
