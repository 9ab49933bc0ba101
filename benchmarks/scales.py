"""What the multi-scale lens costs, as a multiple of timm's bare forward.

    python -m benchmarks.scales
    python -m benchmarks.scales --models res2net50_26w_4s,resnet50 --repeats 31 --threads 2 --json

``splits`` is all split maps and the scale attribution of every block for one class, from the
prepared input to NumPy arrays. Batch 1, 224 px, float32, on the CPU, with frozen parameters in
eval mode. The candidates take turns in one process, so that whatever else the machine does hits
all of them; each ratio is taken within one turn, and the medians and quartiles over the turns are
printed. CPU time counts the work of all threads and does not grow while the process waits for a
busy machine; wall time is what a user feels.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import timm
import torch
from torch import nn

from mscnn.explain.single_pass import Targets
from mscnn.scales.splits import split_evidence

STAGES = ("layer1", "layer2", "layer3", "layer4")
TARGET = 281
LIMITS = {"splits": 2.6}
"""The ratios that mscnn promises at most."""
Candidate = Callable[[], object]
Times = dict[str, dict[str, list[float]]]
"""Name to ``{"wall": [...], "cpu": [...]}``, seconds, one per turn."""


def build(name: str) -> nn.Module:
    """A frozen network with random weights; the speed does not depend on what it has learnt."""
    torch.manual_seed(0)
    # timm's zeros in the last batch norm of a block would make every gradient in it exactly 0.
    model: nn.Module = timm.create_model(name, zero_init_last=False)
    return model.eval().requires_grad_(False)


def network_input(batch: int = 1, px: int = 224) -> torch.Tensor:
    """``(batch, 3, px, px)`` float32 noise, always the same."""
    return torch.randn(batch, 3, px, px, generator=torch.Generator().manual_seed(0))


def bare_forward(model: nn.Module, x: torch.Tensor) -> Candidate:
    """The unit: one forward in inference mode."""

    @torch.inference_mode()
    def bare() -> torch.Tensor:
        logits: torch.Tensor = model(x)
        return logits

    return bare


def take_turns(running: Mapping[str, Candidate], repeats: int) -> Times:
    """Time all candidates in turns, after one turn to warm up."""
    times: Times = {name: {"wall": [], "cpu": []} for name in running}
    for turn in range(repeats + 1):
        order = list(running.items())
        for name, run in order if turn % 2 else reversed(order):
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            if turn:
                times[name]["cpu"].append(time.process_time() - cpu)
                times[name]["wall"].append(time.perf_counter() - wall)
    return times


def ratios(times: Times, unit: str = "bare") -> dict[str, Any]:
    """Ratios to ``unit``: median and quartiles over the turns, for both clocks."""
    result: dict[str, Any] = {
        f"{unit}_ms": {c: round(1000 * statistics.median(times[unit][c]), 1) for c in times[unit]}
    }
    for name, clocks in times.items():
        if name != unit:
            result[name] = {
                c: _spread([a / b for a, b in zip(clocks[c], times[unit][c], strict=True)])
                for c in clocks
            }
    return result


def _spread(values: list[float]) -> dict[str, float]:
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"q1": round(low, 3), "median": round(middle, 3), "q3": round(high, 3)}


def candidates(model: nn.Module, x: torch.Tensor) -> dict[str, Candidate]:
    """What is timed, by name; ``bare`` is the unit."""
    targets = Targets([TARGET])
    return {
        "bare": bare_forward(model, x),
        "splits": lambda: split_evidence(model, x, targets, STAGES),
    }


def show(title: str, result: dict[str, Any], limits: Mapping[str, float]) -> None:
    """Print one model's ratios."""
    (unit, times), *rows = result.items()
    unit = unit.removesuffix("_ms")
    print(f"{title}: {unit} {times['wall']:.0f} ms wall, {times['cpu']:.0f} ms CPU")
    for row, clocks in rows:
        cells = [
            f"{clocks[c]['median']:6.2f}x ({clocks[c]['q1']:.2f} to {clocks[c]['q3']:.2f}) {c}"
            for c in ("wall", "cpu")
        ]
        limit = f"   at most {limits[row]}x" if row in limits else ""
        print(f"  {row:27}{cells[0]:32}{cells[1]}{limit}", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 where a promised ratio of CPU time is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scales")
    parser.add_argument("--models", default="res2net50_26w_4s")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", action="store_true", help="print one JSON document instead")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    results = {}
    for name in options.models.split(","):
        running = candidates(build(name), network_input())
        results[name] = ratios(take_turns(running, options.repeats))
        if not options.json:
            show(name, results[name], LIMITS)
    document = {
        "torch": torch.__version__,
        "timm": timm.__version__,
        "machine": platform.processor() or platform.machine(),
        "threads": options.threads,
        "repeats": options.repeats,
        "models": results,
    }
    if options.json:
        print(json.dumps(document, indent=2))
    missed = any(
        r[row]["cpu"]["median"] > limit for r in results.values() for row, limit in LIMITS.items()
    )
    return int(missed)


if __name__ == "__main__":
    raise SystemExit(main())
