"""What the multi-scale lens costs, as a multiple of the passes that it cannot do without.

    python -m benchmarks.lens
    python -m benchmarks.lens --models res2net50_26w_4s --repeats 31 --threads 2 --json

Two questions, each asked of a single-path and of a Res2Net network:

* ``click``: the effective receptive field of one unit, at layer4 and at layer3, over one bare
  forward and backward: the logit's gradient to the input, without hooks.
* ``sweep``: twelve sizes in two batches, with their probabilities, maps, evidence shares and
  energy, over two batched passes of prepared inputs that yield nothing but their tensors. A
  network without splits needs a forward (its maps follow from the head's weights), one with
  splits a backward as well, down to the first block; the bare pass is the same. The ratio to the
  plain batched forwards is printed too. Composing the pictures, which happens on the CPU before
  the network is asked, is a row of its own.

Everything runs at 224 px, float32, on the CPU, with frozen parameters in eval mode. The
candidates take turns, so that whatever else the machine does hits all of them; each ratio is
taken within one turn, and the medians and quartiles over the turns are printed. CPU time counts
the work of all threads and does not grow while the process waits for a busy machine.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from torch import nn

from mscnn.errors import UnsupportedModelError
from mscnn.preprocess import Preprocessor
from mscnn.scales import receptive_field
from mscnn.scales.blocks import block_taps
from mscnn.scales.effective import find_tap, log_scaled, squares, unit_gradient
from mscnn.scales.sweep import Plan, measure, score

STAGES = ("layer1", "layer2", "layer3", "layer4")
TARGET = 281
LIMITS = {"click, layer4": 2.5, "click, layer3": 2.5, "sweep": 1.2}
"""The ratios that mscnn promises at most."""
UNITS = {
    "click, layer4": "forward and backward",
    "click, layer3": "forward and backward",
    "sweep": "batched passes",
    "sweep (plain forwards)": "batched forwards",
    "composing": "batched passes",
}
Candidate = Callable[[], object]
Times = dict[str, list[tuple[float, float]]]


def candidates(name: str, model: nn.Module, photo: Image.Image) -> dict[str, Candidate]:
    """Return what is timed, by name."""
    preprocess = Preprocessor(timm.data.resolve_model_data_config(model))
    plan, x = Plan(), preprocess(photo).x
    batches = list(plan.batches(photo, preprocess))
    inputs = [torch.cat([shown.x for shown in batch]) for batch in batches]
    linear = model.get_submodule("fc")
    assert isinstance(linear, nn.Linear)
    field = receptive_field.known(name)

    def click(layer: str) -> object:
        measured = unit_gradient(model, [x], find_tap(model, layer, None), (100.0, 120.0))
        gradient = measured.gradient
        return squares(gradient, (100.0, 120.0)), squares(log_scaled(gradient), (100.0, 120.0))

    def sweep() -> object:
        steps = []
        for batch in batches:
            steps += measure(
                model, batch, TARGET, place=_same, stages=STAGES, linear=linear, field=field
            )
        return score(steps)

    def passes() -> object:
        return [_evidence_pass(model, batch) if _has_splits(model) else _forward(model, batch)
                for batch in inputs]  # fmt: skip

    return {
        "forward and backward": lambda: _input_gradient(model, x),
        "batched passes": passes,
        "batched forwards": lambda: [_forward(model, batch) for batch in inputs],
        "click, layer4": lambda: click("layer4"),
        "click, layer3": lambda: click("layer3"),
        "sweep": sweep,
        "composing": lambda: list(plan.batches(photo, preprocess)),
    }


def _same(x: torch.Tensor) -> torch.Tensor:
    return x


@torch.inference_mode()
def _forward(model: nn.Module, x: torch.Tensor) -> object:
    return model(x)


def _input_gradient(model: nn.Module, x: torch.Tensor) -> object:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(model(x)[0, TARGET], x)


def _has_splits(model: nn.Module) -> bool:
    try:
        return any(tap.splits > 1 for tap in block_taps(model, STAGES))
    except UnsupportedModelError:
        return False


def _evidence_pass(model: nn.Module, x: torch.Tensor) -> object:
    """Forward and backward between the first block's last convolution and the logits."""
    starts: list[torch.Tensor] = []

    def start(module: nn.Module, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        starts.append(args[0].detach().requires_grad_())
        return (starts[0],)

    handle = model.get_submodule(block_taps(model, STAGES)[0].module).register_forward_pre_hook(
        start
    )
    try:
        return torch.autograd.grad(model(x)[:, TARGET].sum(), starts)
    finally:
        handle.remove()


def measure_turns(running: dict[str, Candidate], repeats: int) -> Times:
    """Time all candidates in turns: name to (wall, CPU) seconds, one pair per turn."""
    times: Times = {name: [] for name in running}
    for turn in range(repeats + 1):
        order = list(running.items())
        for name, run in order if turn % 2 else reversed(order):
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            if turn:  # the first turn warms up
                times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return times


def summary(times: Times) -> dict[str, Any]:
    """Milliseconds of the units, and each row's ratio to its unit, for both clocks."""
    result: dict[str, Any] = {"ms": {}}
    for unit in dict.fromkeys(UNITS.values()):
        result["ms"][unit] = {
            clock: round(1000 * statistics.median(t[i] for t in times[unit]), 1)
            for i, clock in enumerate(("wall", "cpu"))
        }
    for row, unit in UNITS.items():
        taken = times[row.partition(" (")[0]]
        result[row] = {
            clock: _spread([a[i] / b[i] for a, b in zip(taken, times[unit], strict=True)])
            for i, clock in enumerate(("wall", "cpu"))
        }
    return result


def _spread(ratios: list[float]) -> dict[str, float]:
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return {"q1": round(low, 3), "median": round(middle, 3), "q3": round(high, 3)}


def _build(name: str) -> nn.Module:
    torch.manual_seed(0)  # the speed does not depend on what the network has learnt
    model: nn.Module = timm.create_model(name)
    return model.eval().requires_grad_(False)


def _photo() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((1024, 768))


def _print(name: str, result: dict[str, Any]) -> None:
    print(name)
    for unit, ms in result["ms"].items():
        print(f"  {unit:24}{ms['wall']:8.0f} ms wall {ms['cpu']:8.0f} ms CPU")
    for row, unit in UNITS.items():
        cells = [
            f"{result[row][c]['median']:6.2f}x"
            f" ({result[row][c]['q1']:.2f} to {result[row][c]['q3']:.2f}) {c}"
            for c in ("wall", "cpu")
        ]
        limit = f"   at most {LIMITS[row]}x" if row in LIMITS else ""
        print(f"  {row:24}{cells[0]:32}{cells[1]:32} of {unit}{limit}", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 where a promised ratio of CPU time is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lens")
    parser.add_argument("--models", default="resnet50,res2net50_26w_4s")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", action="store_true", help="print one JSON document instead")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    results = {}
    for name in options.models.split(","):
        running = candidates(name, _build(name), _photo())
        results[name] = summary(measure_turns(running, options.repeats))
        if not options.json:
            _print(name, results[name])
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
