"""A small data set of two kinds of picture that any net can learn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tests.training.trainee  # noqa: F401 - registers the network with timm
from mscnn.training.recipe import Recipe


def draw(kind: int, seed: int, px: int = 24) -> Image.Image:
    """Kind 0 is reddish noise, kind 1 bluish."""
    noise = np.random.default_rng([kind, seed]).integers(0, 90, (px, px, 3))
    noise[..., 0 if kind == 0 else 2] += 150
    return Image.fromarray(noise.astype(np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of 16 images, one folder each."""
    root = tmp_path / "data"
    for kind, name in enumerate(("red", "blue")):
        (root / name).mkdir(parents=True)
        for i in range(16):
            draw(kind, i).save(root / name / f"{i:02}.png")
    return root


@pytest.fixture
def recipe() -> Callable[..., Recipe]:
    def make(**changes: object) -> Recipe:
        settings: dict[str, object] = {
            "epochs": 2, "batch_size": 7, "lr": 0.01, "workers": 0, "ema": 0.5, "threads": 1,
            "warmup_epochs": 0.0,
        }  # fmt: skip
        return Recipe(**{**settings, **changes})  # type: ignore[arg-type]

    return make
