"""``mscnn train`` and ``mscnn finetune``: their options are the fields of ``Recipe``."""

from __future__ import annotations

import dataclasses
import inspect
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from mscnn.cli import options
from mscnn.cli.console import progress, say, share
from mscnn.models import registry
from mscnn.training.recipe import FINE_TUNING, Recipe, option_name, parse_sizes, usual_warmup

if TYPE_CHECKING:
    from mscnn.training.loop import TrainProgress

# The order of the help; "device" is the one option of both commands that is no part of a recipe.
_ORDER = (
    "freeze layer_decay epochs batch_size lr opt weight_decay schedule decay warmup_epochs "
    "smoothing ema sizes zoom_in zoom_out zoom_out_prob randaugment mixup cutmix patience "
    "val_share accumulate amp device seed workers threads"
)
_ONLY_FINE_TUNING = ("freeze", "layer_decay")
_WARMUP = "  [default: 0.5, or a tenth of a short run]"

_DATA = (
    "Folder with one folder of images per class (with train/ and val/ above them, or without), "
    "Tiny-ImageNet, a CSV file with the header path,label or path,label,split, or a folder that "
    "Hugging Face's datasets saved."
)
_OUT = "Folder for the model, its tables, pictures and checkpoint."
Data = Annotated[Path, Argument(metavar="DATA", help=_DATA)]
Out = Annotated[Path, Option(metavar="DIR", help=_OUT)]
_RESUME = "Go on from the checkpoint in --out; give the other options again."
Resume = Annotated[bool, Option("--resume", help=_RESUME)]


def train(**given: Any) -> None:
    """Train a model from scratch on a folder of images.

    --out becomes a folder that every command accepts as --model, with its model card, curves,
    confusion matrix and a table of its classes. Progress goes to stderr. A run that was stopped,
    by Ctrl-C or a power cut, goes on with --resume as if nothing had happened.

    'torchrun --nproc_per_node 2 -m mscnn train ...' trains in two processes that share each batch.
    """
    _run(given, fine_tune=False)


def finetune(**given: Any) -> None:
    """Teach a trained model your own classes.

    The model keeps what it has learnt and gets a new classifier for the classes of DATA, unless
    these are its own; then all of it is trained further, its lowest layers least. --out becomes a
    folder that every command accepts as --model, with its model card, curves, confusion matrix and
    a table of its classes. Progress goes to stderr. A run that was stopped goes on with --resume as
    if nothing had happened.

    'torchrun --nproc_per_node 2 -m mscnn finetune ...' trains in two processes that share each
    batch.
    """
    _run(given, fine_tune=True)


def _declare(command: Callable[..., None], usual: Recipe, *, fine_tune: bool) -> None:
    model, nothing = options.Trained if fine_tune else options.Architecture, inspect.Parameter.empty
    found: dict[str, tuple[Any, Any]] = {"data": (Data, nothing), "model": (model, nothing)}
    found["out"] = (Out, nothing)
    if fine_tune:
        found["weights"] = (options.Weights, None)
    fields = {item.name: item for item in dataclasses.fields(Recipe)}
    for name in _ORDER.split():
        if name == "device":
            found[name] = (options.Device, "auto")
        elif fine_tune or name not in _ONLY_FINE_TUNING:
            text, default = fields[name].metadata["help"], getattr(usual, name)
            kind: Any = type(default)
            if name == "sizes":
                kind, default = str, ""
            elif name == "warmup_epochs":  # depends on the number of epochs
                kind, default, text = float | None, None, text + _WARMUP
            shown = default is not None
            option = Option(option_name(name), help=text, show_default=shown)
            found[name] = (Annotated[kind, option], default)
    found["resume"] = (Resume, False)
    parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in found.items()
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # for inspect
    command.__annotations__ = {name: kind for name, (kind, _) in found.items()}


_declare(train, Recipe(), fine_tune=False)
_declare(finetune, FINE_TUNING, fine_tune=True)


def _run(given: dict[str, Any], *, fine_tune: bool) -> None:
    """Train as asked; progress goes to stderr, the result in one line to stdout."""
    from mscnn.data.processes import is_first_by_environment
    from mscnn.training.start import RunPlan, start_training

    names = given.keys() & {item.name for item in dataclasses.fields(Recipe)}
    values = {name: given.pop(name) for name in names}
    if values["warmup_epochs"] is None:
        values["warmup_epochs"] = usual_warmup(values["epochs"])
    values["sizes"] = parse_sizes(values["sizes"])
    plan = RunPlan(recipe=Recipe(**values), fine_tune=fine_tune, **given)
    with progress(f"downloading {plan.model}", "B") as report:

        def downloaded(done: int, total: int | None) -> None:
            report(done, total)
            if done == total:  # or it would stand before the first line of the training
                report.bar.close()

        result = start_training(plan, listener=show, notice=tell, on_progress=downloaded)
    if is_first_by_environment():
        top5 = f", top-5 {result.top5:.4f}" if result.top5_tells else ""
        say(f"top-1 {result.top1:.4f}{top5} on {result.images} images")
        # Without "./" a model of the list would be meant.
        out = shlex.quote(registry.folder_name(str(plan.out)))
        tell(f"written {plan.out}; see it with 'mscnn serve --models {out}'")


def tell(sentence: str) -> None:
    """Print a sentence on stderr."""
    say(sentence, err=True)


def show(at: TrainProgress) -> None:
    """Print one line per fifty steps on stderr; stdout holds the result alone."""
    if at.step % 50 and at.step != at.steps:
        return
    measured = "" if at.val_top1 is None else f"  validation {share(at.val_top1)}"
    tell(
        f"epoch {at.epoch + 1}/{at.epochs}  step {at.step}/{at.steps}  {at.size_px} px  "
        f"loss {at.loss:.3f}{measured}  lr {at.lr:.2g}  {at.images_per_second:.1f} images/s  "
        f"{at.seconds_left / 60:.0f} min left"
    )
