"""The page served from this process, on two seeded, untrained starters.

Tests of the page and of HTTP compare what comes out of it with what the engine gives for the same
photo. They must not depend on how well the shipped weights were trained, so they bring their own.
"""

import hashlib
import json
import os
import shutil
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mscnn.models.examples import examples
from scripts.running import free_port

ROOT = Path(__file__).resolve().parents[2]
MODELS = ("starter_res2net", "starter_resnet")
EXAMPLE = next(example for example in examples() if example.id == "lion")
CLASSES = (
    "lion, king of beasts, Panthera leo", "sea lion", "espresso", "tabby, tabby cat",
    'pot <b class="x">bold</b> & lid', *(f"thing {i}" for i in range(195)),
)  # fmt: skip


@dataclass(frozen=True)
class Folders:
    """Where a served page reads and writes; all below pytest's own temporary folder."""

    assets: Path
    cache: Path
    hub: Path

    def use(self, monkeypatch):
        """Point this process at the folders: only the two starters are here, and no hub."""
        monkeypatch.setenv("MSCNN_ASSETS", str(self.assets))
        monkeypatch.setenv("GRADIO_TEMP_DIR", str(self.cache))
        monkeypatch.setenv("HF_HUB_CACHE", str(self.hub))
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
        monkeypatch.setattr("mscnn.engine.pipeline.TIMED_FORWARDS", 2)
        # gradio 6.31's own statistics of its queue; pandas 3 deprecates an argument it uses.
        warnings.filterwarnings("ignore", "The copy keyword is deprecated")


@dataclass(frozen=True)
class Site:
    """A page that is being served."""

    url: str
    engine: Any
    demo: Any
    folders: Folders


def make_folders(root):
    """Write the seeded weights below ``root`` and make the other folders."""
    folders = Folders(root / "assets", root / "gradio", root / "no-hub")
    folders.cache.mkdir()
    write_weights(folders.assets / "weights")
    shutil.copytree(ROOT / "assets" / "examples", folders.assets / "examples")
    return folders


@contextmanager
def serving(folders, owned=(), files=()):
    """Serve the page with the options it has in earnest, on a free port of this machine.

    ``owned`` are model folders of the page's owner, or folders that hold such; ``files`` the
    owner's feature files, opened.

    The server lives for the rest of the session, but the environment that points it at the seeded
    weights does not: other tests read the real ones, so each test of the page sets it again.
    """
    from mscnn.engine.pipeline import Engine
    from mscnn.engine.session import Session
    from mscnn.models.owners import OwnersModels
    from mscnn.page.app import build_app, launch_options

    with pytest.MonkeyPatch.context() as patch:
        folders.use(patch)
        engine = Engine(Session("cpu", offline=True, owners=OwnersModels(owned)))
        for model in MODELS:
            engine.session.network(model)
        demo = build_app(engine, files=files)
        demo.queue(max_size=64, default_concurrency_limit=1)
        options = {**launch_options(), "quiet": True, "prevent_thread_lock": True}
        # Of its own choice gradio takes the first free port. Two test processes that start at once
        # take the same, and with MCP tools gradio cannot try a second one.
        _, url, _ = demo.launch(server_name="127.0.0.1", server_port=free_port(), **options)
    try:
        yield Site(url.rstrip("/"), engine, demo, folders)
    finally:
        demo.close(verbose=False)


def write_weights(folder, classes=CLASSES, prepare=None):
    """Both starters, seeded, and a manifest that vouches for them; ``prepare`` sets the head."""
    import timm
    import torch
    from safetensors.torch import save_file

    import mscnn.starters  # noqa: F401 - registers them with timm

    folder.mkdir(parents=True)
    entries = []
    for seed, name in enumerate(MODELS):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            # timm zeroes each block's last norm, which would make all maps of inner layers flat.
            model = timm.create_model(name, zero_init_last=False)
            (prepare or _spread_answers)(model)
        path = folder / f"{name}.safetensors"
        save_file(model.state_dict(), str(path))
        content = path.read_bytes()
        entries.append({
            "model": name, "file": path.name,
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content), "dtype": "float32", "classes": len(classes),
            "labels": "two hundred things",
            "training": {"command": "none", "data": "none", "seed": seed, "epochs": 0},
            "accuracy": {"top1": 0.25, "top5": 0.5, "images": 4, "set": "four photographs"},
            "licence": "Apache-2.0",
        })  # fmt: skip
    document = {"schema": 1, "labels": {"two hundred things": list(classes)}, "weights": entries}
    (folder / "MANIFEST.json").write_text(json.dumps(document), encoding="utf-8")


def _spread_answers(model):
    """Give an untrained network a last layer that answers differently from photo to photo."""
    import torch

    photos = torch.nn.functional.interpolate(torch.randn(16, 3, 6, 6), (64, 64), mode="bicubic")
    with torch.no_grad():
        seen = model.eval().forward_head(model.forward_features(photos), pre_logits=True)
        weight = torch.randn(model.fc.weight.shape) * 0.08 / seen.std(0).clamp_min(1e-3)
        model.fc.weight.copy_(weight)
        model.fc.bias.copy_(-weight @ seen.mean(0))


def by_id(message):
    """The maps of a message of the page."""
    return {sent["id"]: sent for sent in message["view"]["maps"]}


def files_below(folder):
    """All files below a folder, as they are now."""
    found = (Path(root) / name for root, _, names in os.walk(folder) for name in names)
    return set(found)


def chromium():
    """Path of the browser; where there is none the tests are skipped, in CI they fail."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None and os.environ.get("CI", "").lower() == "true":
        pytest.fail("There is no chromium on this machine, and CI must run the browser tests.")
    if found is None:
        pytest.skip("needs chromium, for example by: apt-get install chromium")
    return found


def launch_chromium(playwright):
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    return playwright.chromium.launch(executable_path=chromium(), args=arguments)


TIMES = ("seconds", "map_seconds", "latency_ms", "latency_range_ms")
"""What differs from run to run in an answer."""


def differences(got, wanted, where="answer"):
    """Say where two JSON documents differ; numbers to 1e-5, times not at all."""
    if isinstance(wanted, dict) and isinstance(got, dict):
        found = [f"{where}: {sorted(set(got) ^ set(wanted))}"] if set(got) != set(wanted) else []
        for key in (set(got) & set(wanted)) - set(TIMES):
            found += differences(got[key], wanted[key], f"{where}.{key}")
        return found
    if isinstance(wanted, list) and isinstance(got, list) and len(got) == len(wanted):
        pairs = enumerate(zip(got, wanted, strict=True))
        return [line for i, (a, b) in pairs for line in differences(a, b, f"{where}[{i}]")]
    if isinstance(wanted, float) and isinstance(got, (int, float)):
        close = abs(got - wanted) <= 1e-5 * max(1.0, abs(wanted))
        return [] if close else [f"{where}: {got} is not {wanted}"]
    return [] if got == wanted else [f"{where}: {got!r} is not {wanted!r}"]
