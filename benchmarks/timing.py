"""Candidates timed in turns in one process, and their ratios: what all benchmarks share.

Whatever else the machine does hits all candidates; each ratio is taken within one turn, and the
medians and quartiles over the turns are printed. CPU time counts the work of all threads and does
not grow while the process waits for a busy machine; wall time is what a user feels.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import timm
import torch
from torch import nn

Candidate = Callable[[], object]
Times = dict[str, dict[str, list[float]]]
"""Name to ``{"wall": [...], "cpu": [...]}``, seconds, one per turn."""
Units = Mapping[str, tuple[str, str]]
"""Row to the candidate that it counts and the candidate that is its unit."""


def build(name: str) -> nn.Module:
    """A frozen network with random weights; the speed does not depend on what it has learnt."""
    torch.manual_seed(0)
    # timm's zeros in the last batch norm of a block would make every gradient in it exactly 0.
    model: nn.Module = timm.create_model(name, zero_init_last=False)
    return model.eval().requires_grad_(False)


def take_turns(running: Mapping[str, Candidate], repeats: int) -> Times:
    """Time all candidates in turns, after one turn to warm up."""
    times: Times = {name: {"wall": [], "cpu": []} for name in running}
    for turn in range(repeats + 1):
        order = list(running.items())
        for name, run in order if turn % 2 else reversed(order):
            wall, cpu = time.perf_counter(), _cpu()
            run()
            if turn:
                times[name]["cpu"].append(_cpu() - cpu)
                times[name]["wall"].append(time.perf_counter() - wall)
    return times


def _cpu() -> float:
    """CPU time, s, of this process and of those it started that have ended."""
    return time.process_time() + sum(os.times()[2:4])


def all_of(times: Times, unit: str = "bare") -> Units:
    """Every candidate as a multiple of one of them."""
    return {name: (name, unit) for name in times if name != unit}


def ratios(times: Times, units: Units) -> dict[str, Any]:
    """Milliseconds of the units (``"ms"``), and the quartiles of each row's ratio to its unit."""
    names = dict.fromkeys(unit for _, unit in units.values())
    result: dict[str, Any] = {
        "ms": {
            unit: {c: round(1000 * statistics.median(t), 1) for c, t in times[unit].items()}
            for unit in names
        }
    }
    for row, (name, unit) in units.items():
        result[row] = {
            c: _spread([a / b for a, b in zip(times[name][c], times[unit][c], strict=True)])
            for c in times[name]
        }
    return result


def _spread(values: list[float]) -> dict[str, float]:
    values = values * (1 + (len(values) < 2))  # of one there are no quartiles
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"q1": round(low, 3), "median": round(middle, 3), "q3": round(high, 3)}


def show(title: str, result: Mapping[str, Any], units: Units, limits: Mapping[str, float]) -> None:
    """Print one network's ratios."""
    print(title)
    for unit, ms in result["ms"].items():
        print(f"  {unit:27}{ms['wall']:8.0f} ms wall {ms['cpu']:8.0f} ms CPU")
    for row, (_, unit) in units.items():
        cells = [
            f"{spread['median']:6.2f}x ({spread['q1']:.2f} to {spread['q3']:.2f}) {clock}"
            for clock, spread in result[row].items()
        ]
        limit = f"   at most {limits[row]}x" if row in limits else ""
        print(f"  {row:27}{cells[0]:32}{cells[1]:32} of {unit}{limit}", flush=True)


def command(
    prog: str,
    candidates: Callable[[str, int], Mapping[str, Candidate]],
    *,
    models: str,
    repeats: int,
    limits: Mapping[str, float],
    units: Units | None = None,
) -> None:
    """Run a benchmark as a command, which exits with 1 where a promise is missed.

    Args:
        prog: as it is called.
        candidates: from a timm name and the number of turns to what is timed, by name.
        models: default of ``--models``.
        repeats: default of ``--repeats``.
        limits: row to the ratio of CPU time that is promised at most.
        units: None for all as multiples of ``bare``.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {prog}")
    parser.add_argument("--models", default=models)
    parser.add_argument("--repeats", type=int, default=repeats)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", action="store_true", help="print one JSON document instead")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    results = {}
    for name in options.models.split(","):
        times = take_turns(candidates(name, options.repeats), options.repeats)
        rows = units or all_of(times)
        results[name] = ratios(times, rows)
        if not options.json:
            show(name, results[name], rows, limits)
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
        result[row]["cpu"]["median"] > limit
        for result in results.values()
        for row, limit in limits.items()
    )
    raise SystemExit(int(missed))
