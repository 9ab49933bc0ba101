"""Two starters with seeded, untrained weights in a bundled folder of their own, and a photo."""

import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from mscnn.cli import main

CLASSES = (*(f"thing {i}" for i in range(198)), "lion, king of beasts", "sea lion")


def run_json(capsys, *argv):
    """Run a command with --json; it must succeed, print one document and leave stderr alone."""
    code = main([*argv, "--json"])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    return json.loads(out)


@pytest.fixture(scope="session")
def bundle_folder(tmp_path_factory):
    """A stand-in for ``assets``: both starters, seeded, and a manifest that vouches for them."""
    import timm
    import torch
    from safetensors.torch import save_file

    import mscnn.models.starters  # noqa: F401 - registers them with timm

    root = tmp_path_factory.mktemp("assets")
    folder = root / "weights"
    folder.mkdir()
    entries = []
    for seed, name in enumerate(("starter_res2net", "starter_resnet")):
        torch.manual_seed(seed)
        # timm zeroes each block's last norm, which would make all maps of inner layers flat.
        model = timm.create_model(name, zero_init_last=False)
        torch.nn.init.normal_(model.fc.weight, std=0.5)
        path = folder / f"{name}.safetensors"
        save_file(model.state_dict(), str(path))
        data = path.read_bytes()
        entries.append({
            "model": name, "file": path.name,
            "sha256": hashlib.sha256(data).hexdigest(),
            "bytes": len(data), "dtype": "float32", "classes": 200,
            "labels": "two hundred things",
            "training": {"command": "none", "data": "none", "seed": seed, "epochs": 0},
            "accuracy": {"top1": 0.25, "top5": 0.5, "images": 4, "set": "four photographs"},
            "licence": "Apache-2.0",
        })  # fmt: skip
    document = {"schema": 1, "labels": {"two hundred things": list(CLASSES)}, "weights": entries}
    (folder / "MANIFEST.json").write_text(json.dumps(document), encoding="utf-8")
    return root


@pytest.fixture
def bundled(bundle_folder, tmp_path, monkeypatch):
    """Only the two starters are on this machine, there is no hub, and we stand in ``tmp_path``."""
    monkeypatch.setenv("MSCNN_ASSETS", str(bundle_folder))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "no-hub-cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("MSCNN_DEBUG", raising=False)
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
