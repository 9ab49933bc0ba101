"""A small data set of two kinds of picture that any net can learn."""

import pytest

import tests.training.trainee  # noqa: F401 - registers the network with timm
from mscnn.training.recipe import Recipe
from tests.data.conftest import draw_kind


@pytest.fixture
def folder(tmp_path):
    """Two classes of 16 images, one folder each."""
    root = tmp_path / "data"
    for kind, name in enumerate(("red", "blue")):
        (root / name).mkdir(parents=True)
        for i in range(16):
            draw_kind(kind, i).save(root / name / f"{i:02}.png")
    return root


@pytest.fixture(autouse=True)
def _no_charts(monkeypatch):
    """Three for each run, which nobody looks at here; ``tests/draw`` and the golden runs do."""
    monkeypatch.setattr("mscnn.training.results.png", lambda *_: b"")


@pytest.fixture
def recipe():
    def make(**changes):
        settings: dict[str, object] = {
            "epochs": 2, "batch_size": 7, "lr": 0.01, "workers": 0, "ema": 0.5, "threads": 1,
            "warmup_epochs": 0.0,
        }  # fmt: skip
        return Recipe(**{**settings, **changes})

    return make
