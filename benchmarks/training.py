"""What the training loop costs beside a bare one: ``python -m benchmarks.training``.

Both train the same network by the same optimiser on the same pictures in memory, batch by batch:
``bare`` is forward, backward and step with nothing around; ``loop`` is everything that ``mscnn
train`` does in a step, without its loader: schedule, seeds, moving average of the weights and the
check of the loss. They take turns within one process, so a busy machine slows both alike. The
promise is at least 0.95 of the bare throughput, with the moving average off in both or on in both.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable, Sequence

import timm
import torch
from timm.optim import create_optimizer_v2
from timm.utils import ModelEmaV3
from torch import nn

from benchmarks.timing import all_of, ratios, take_turns
from mscnn.data.processes import Processes
from mscnn.training.networks import fresh
from mscnn.training.recipe import Recipe
from mscnn.training.steps import Stepper, optimiser_and_schedule

LIMIT = 1 / 0.95
"""The most time that the loop may take, bare being 1."""


def bare_loop(
    model: nn.Module, x: torch.Tensor, target: torch.Tensor, recipe: Recipe
) -> Callable[[], None]:
    """One optimiser step with nothing around it but the moving average that the recipe asks for."""
    optimizer = create_optimizer_v2(model, recipe.opt, recipe.lr, recipe.weight_decay)
    average = ModelEmaV3(model, decay=recipe.ema, use_warmup=True) if recipe.ema else None
    loss_of = nn.CrossEntropyLoss(label_smoothing=recipe.smoothing)
    updates = 0

    def step() -> None:
        nonlocal updates
        optimizer.zero_grad(set_to_none=True)
        loss_of(model(x), target).backward()
        optimizer.step()
        if average is not None:
            average.update(model, step=updates)
        updates += 1

    return step


def our_loop(
    model: nn.Module, x: torch.Tensor, target: torch.Tensor, recipe: Recipe
) -> Callable[[], None]:
    """One step of ``mscnn train``."""
    optimizer, scheduler = optimiser_and_schedule(model, recipe, 1000)
    alone = Processes(torch.device("cpu"))
    stepper = Stepper(model, recipe, optimizer, scheduler, 200, alone)
    updates = 0

    def step() -> None:
        nonlocal updates
        stepper.step([(x, target)], updates)
        updates += 1

    return step


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 where the promised ratio of CPU time is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training")
    parser.add_argument("--models", default="starter_resnet,starter_res2net")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--px", type=int, default=64)
    parser.add_argument("--opt", default="sgd")
    parser.add_argument("--ema", type=float, default=0.998)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    recipe = Recipe(batch_size=options.batch_size, opt=options.opt, ema=options.ema)
    generator = torch.Generator().manual_seed(0)
    shape = (options.batch_size, 3, options.px, options.px)
    x = torch.randn(shape, generator=generator).to(memory_format=torch.channels_last)
    target = torch.randint(0, 200, shape[:1], generator=generator)
    results = {}
    for name in options.models.split(","):
        model = fresh(name, 200, 0).model.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        candidates = {
            "bare": bare_loop(copy.deepcopy(model), x, target, recipe),
            "loop": our_loop(model, x, target, recipe),
        }
        times = take_turns(candidates, options.repeats)
        results[name] = ratios(times, all_of(times))
    versions = {"torch": torch.__version__, "timm": timm.__version__, "threads": options.threads}
    print(json.dumps({**versions, "models": results}, indent=2))
    return int(any(r["loop"]["cpu"]["median"] > LIMIT for r in results.values()))


if __name__ == "__main__":
    raise SystemExit(main())
