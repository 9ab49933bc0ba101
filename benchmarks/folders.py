"""How fast the maps of a folder are made, beside an evaluation of the same folder.

    python -m benchmarks.folders
    python -m benchmarks.folders --model resnet50 --images 256 --turns 5 --threads 1 --json

``explain`` is all of ``mscnn explain FOLDER`` with Grad-CAM at the last stage, whose closed form
needs no backward: it also keeps the maps, and writes tables, mean maps and the contact sheet.
``evaluate`` is all of ``mscnn evaluate``. Both read with the same loader and take turns in one
process; the ratio is that of CPU time within one turn, which a busy machine does not change. The
pictures cost the same for any folder, so the ratio rises with ``--images``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import timm
import torch

from benchmarks.evaluate import network, photographs
from benchmarks.timing import take_turns
from mscnn.data.evaluation import evaluate
from mscnn.data.folders import explain_folder
from mscnn.data.loading import Loading

PROMISED = 0.9


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 where the promised share of an evaluation's throughput is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.folders")
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--sheet", type=int, default=24)
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", action="store_true", help="print one JSON document instead")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    loading = Loading(batch_size=options.batch_size, workers=options.workers)
    net = network(options.model, options.device)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "photos"
        root.mkdir()
        photographs(root, options.images)
        out = Path(scratch) / "maps"
        running: dict[str, Callable[[], object]] = {
            "evaluate": lambda: evaluate(net, root, loading=loading),
            "explain": lambda: explain_folder(net, root, out, loading=loading, sheet=options.sheet),
        }
        times = take_turns(running, options.turns)
    clock = "cpu" if net.device.type == "cpu" else "wall"
    ratios = {
        name: [a / b for a, b in zip(times["evaluate"][clock], both[clock], strict=True)]
        for name, both in times.items()
    }
    found = {
        name: {
            "cpu_ms_per_image": round(
                1000 * statistics.median(times[name]["cpu"]) / options.images, 2
            ),
            "of_evaluate": [round(x, 3) for x in sorted(ratio)],
        }
        for name, ratio in ratios.items()
    }
    reached = statistics.median(ratios["explain"])
    document = {"torch": torch.__version__, "timm": timm.__version__, **vars(options), **found}
    if options.json:
        print(json.dumps(document, indent=2))
    else:
        for name, said in found.items():
            middle = statistics.median(ratios[name])
            print(f"  {name:20}{said['cpu_ms_per_image']:9.2f} ms CPU each{middle:8.2f}x")
        print(f"  explain: {reached:.2f}x of evaluate's throughput, at least {PROMISED}x promised")
    return int(reached < PROMISED)


if __name__ == "__main__":
    raise SystemExit(main())
