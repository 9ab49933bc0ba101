"""What an evaluation costs beside the bare forward of the same photographs from memory.

    python -m benchmarks.evaluate
    python -m benchmarks.evaluate --model resnet50 --images 256 --workers 2 --threads 2 --json

``forward`` runs timm's network over batches of the finished input that lie in memory; ``decode``
only reads, decodes and frames the same files with the same loader; ``evaluate`` is all of ``mscnn
evaluate``. On a GPU decoding runs beside the forward, so the speed of the slower one is what can be
had at best. On a CPU both share the cores, so it is their sum: the ratio that counts there is that
of CPU time, which a busy machine does not change. All three take turns in one process; the medians
over the turns are printed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from timm.data import resolve_model_data_config

from benchmarks.timing import take_turns
from mscnn.data.evaluation import evaluate
from mscnn.data.listing import list_photos
from mscnn.data.loading import Loading, Normalise, batches, channels_last
from mscnn.engine.device import choose_device
from mscnn.engine.network import Network
from mscnn.models.labels import LabelSet
from mscnn.models.loading import LoadedModel
from mscnn.results.explanation import WeightsInfo

PROMISED = 0.95
CLASSES = 1000


def network(name: str, device: str) -> Network:
    """A network with random weights; the speed does not depend on what it has learnt."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=CLASSES).eval().requires_grad_(False)
    loaded = LoadedModel(
        name=name,
        model=model,
        labels=LabelSet(tuple(f"class {i}" for i in range(CLASSES))),
        weights=WeightsInfo("file", "random", "0" * 64),
        data_config=resolve_model_data_config(model),
        stages=("layer1", "layer2", "layer3", "layer4"),
        head="fc",
    )
    return Network(loaded, choose_device(device))


def photographs(root: Path, images: int) -> None:
    """JPEG files of ImageNet's usual size, with detail that costs what photographs cost."""
    random = np.random.default_rng(0)
    (root / "0").mkdir()
    for number in range(images):
        coarse = random.integers(0, 256, (48, 64, 3)).astype(np.uint8)
        photo = Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC)
        grain = random.integers(-12, 13, (375, 500, 3))
        pixels = np.clip(np.asarray(photo) + grain, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(root / "0" / f"{number:05}.jpg", quality=90)


def candidates(net: Network, root: Path, loading: Loading) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    photos = list_photos(root)
    numbers = range(-(-len(photos) // loading.batch_size))
    pinned = net.device.type == "cuda"

    def read() -> list[torch.Tensor]:
        found = batches(photos, net.preprocess, loading, numbers, pinned=pinned)
        return [batch.views for batch in found]

    normalise = Normalise(net)
    in_memory = [normalise(views).cpu() for views in read()]

    @torch.inference_mode()
    def forward() -> None:
        with channels_last(net):
            for x in in_memory:
                net.model(x.to(net.device, non_blocking=True)).argmax(1).cpu()

    return {
        "forward": forward,
        "decode": read,
        "evaluate": lambda: evaluate(net, root, loading=loading),
    }


def measure(net: Network, root: Path, loading: Loading, turns: int) -> dict[str, Any]:
    """Photographs per second of each, and the ratios."""
    times, images = take_turns(candidates(net, root, loading), turns), len(list_photos(root))
    middle = {
        name: {clock: statistics.median(seconds) for clock, seconds in both.items()}
        for name, both in times.items()
    }
    forward, decode, whole = (middle[name] for name in ("forward", "decode", "evaluate"))
    if net.device.type == "cpu":
        bound = (forward["cpu"] + decode["cpu"]) / whole["cpu"]
    else:
        bound = max(forward["wall"], decode["wall"]) / whole["wall"]
    return {
        "images_per_second": {n: round(images / t["wall"], 1) for n, t in middle.items()},
        "cpu_ms_per_image": {n: round(1000 * t["cpu"] / images, 2) for n, t in middle.items()},
        "of_forward": round(forward["wall"] / whole["wall"], 3),
        "of_bound": round(bound, 3),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 where the promised share of what can be had is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluate")
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", action="store_true", help="print one JSON document instead")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    loading = Loading(batch_size=options.batch_size, workers=options.workers)
    with tempfile.TemporaryDirectory() as folder:
        photographs(Path(folder), options.images)
        result = measure(
            network(options.model, options.device), Path(folder), loading, options.turns
        )
    document = {"torch": torch.__version__, "timm": timm.__version__, **vars(options), **result}
    if options.json:
        print(json.dumps(document, indent=2))
    else:
        for name, speed in result["images_per_second"].items():
            cpu = result["cpu_ms_per_image"][name]
            print(f"  {name:10}{speed:9.1f} photographs/s{cpu:9.2f} ms CPU each")
        print(f"  {result['of_forward']:.2f}x of the bare forward from memory")
        print(f"  {result['of_bound']:.2f}x of what can be had, at least {PROMISED}x promised")
    return int(result["of_bound"] < PROMISED)


if __name__ == "__main__":
    raise SystemExit(main())
