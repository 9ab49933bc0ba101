"""Two starters with seeded, untrained weights in a bundled folder of their own, and a photo."""

import json

import numpy as np
import pytest
from PIL import Image

from mscnn.cli import main
from tests.page.serving import write_weights

CLASSES = (*(f"thing {i}" for i in range(198)), "lion, king of beasts, Panthera leo", "sea lion")


def engine():
    from mscnn.engine.pipeline import Engine
    from mscnn.engine.session import Session

    return Engine(Session("cpu"))


def run_json(capsys, *argv):
    """Run a command with --json; it must succeed, print one document and leave stderr alone."""
    code = main([*argv, "--json"])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    return json.loads(out)


@pytest.fixture(scope="session")
def bundle_folder(tmp_path_factory):
    """A stand-in for ``assets``: both starters, seeded, and a manifest that vouches for them."""
    from torch.nn.init import normal_

    root = tmp_path_factory.mktemp("assets")
    write_weights(root / "weights", CLASSES, lambda model: normal_(model.fc.weight, std=0.5))
    return root


@pytest.fixture
def bundled(bundle_folder, tmp_path, monkeypatch):
    """Only the two starters are on this machine, there is no hub, and we stand in ``tmp_path``."""
    monkeypatch.setenv("MSCNN_ASSETS", str(bundle_folder))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "no-hub-cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("MSCNN_DEBUG", raising=False)
    monkeypatch.setattr("mscnn.engine.pipeline.TIMED_FORWARDS", 2)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return bundle_folder


@pytest.fixture
def photo(bundled):
    """A landscape photo of 200 x 100 px, by the relative path a user would type."""
    y, x = np.mgrid[0:100, 0:200]
    pixels = np.stack([x, 2 * y, (x * y) % 256], axis=-1).astype(np.uint8)
    Image.fromarray(pixels).save("photo.png")
    return "photo.png"
