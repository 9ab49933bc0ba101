"""What a finished run leaves: a model folder in timm's format, its card, tables and pictures."""

from __future__ import annotations

import copy
import dataclasses
import json
import shlex
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import EvalResult, ModelCardData
from safetensors import SafetensorError
from timm.models import save_for_hf
from torch import nn

from mscnn.data.layouts import DataSet
from mscnn.data.processes import Processes
from mscnn.data.tally import Accuracy, Tally
from mscnn.draw.evaluation import class_bars_figure, confusion_figure, training_curves
from mscnn.draw.figures import png
from mscnn.models import reliability
from mscnn.results.schema import Cell, Table, csv_text, harmless
from mscnn.results.writing import replacing
from mscnn.starters import STARTER_NAMES
from mscnn.training.networks import StartingPoint
from mscnn.training.recipe import (
    CHANGES_NOTHING,
    FINE_TUNING,
    Recipe,
    format_sizes,
    option_name,
    usual_warmup,
)
from mscnn.training.state import TrainState, saving

_MAX_NAMES = 50
_TASK = "image-classification"


@dataclass(frozen=True)
class Facts:
    """What is known of a run at its end."""

    start: StartingPoint
    data: DataSet
    recipe: Recipe
    state: TrainState
    epoch_kept: int  # 1-based: the one whose weights are exported
    processes: Processes


def write_history(out: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Write ``history.csv``, one line per epoch, or raise ``TrainingError``."""
    rows = ([f"{value:.6g}" for value in row.values()] for row in history)
    _write(out / "history.csv", _csv(history[0], rows))


def write_results(out: Path, facts: Facts, model: nn.Module, tally: Tally) -> None:
    """Write everything that a finished run leaves into its folder, or raise ``TrainingError``.

    ``model`` has the weights to be exported, ``tally`` its answers on the validation part.
    """
    names, unreadable = facts.data.names, facts.state.unreadable
    accuracy, confusion = tally.accuracy(len(names)), tally.confusion(len(names))
    rows = tally.classes(range(len(names)), names.__getitem__)
    cfg: Any = model.pretrained_cfg  # whose licence is that of timm's own weights
    cfg = {**cfg, "license": facts.start.licence or None}
    model.pretrained_cfg = cfg
    export_folder(model, out, names)
    table = [[name, *counts] for name, counts in zip(names, confusion.tolist(), strict=True)]
    _write(out / "confusion.csv", _csv(["class", *names], table))
    classes: list[list[Cell]] = [
        [r.label, r.images, int(confusion[r.index, r.index]), _cell(r.precision),
         _cell(r.top1 if r.images else None)]
        for r in rows
    ]  # fmt: skip
    fields = ["class", "images", "correct", "precision", "recall"]
    _write(out / "classes.csv", _csv(fields, classes))
    write_history(out, facts.state.history)  # a kill may have come between it and the checkpoint
    if unreadable:
        _write(out / "unreadable.csv", _csv(["file", "reason"], unreadable))
    if unused := facts.data.account.unused:
        listed = [[file, why] for why, files in unused.items() for file in files]
        _write(out / "not_used.csv", _csv(["file", "reason"], listed))
    for file, document in (
        ("training.json", _summary(facts, accuracy)),
        (reliability.FILE, tally.reliability(facts.data.split)),
    ):
        _write(out / file, (json.dumps(document, indent=1) + "\n").encode())
    card = model_card(facts, accuracy, out.resolve().name)
    _write(out / "README.md", card.encode("utf-8", "backslashreplace"))

    words = f"{facts.start.architecture}: top-1 {accuracy.top1:.1%}"
    top5 = f", top-5 {accuracy.top5:.1%}" if accuracy.top5_tells else ""
    title = f"{words} of {accuracy.images} images"
    bars = [row for row in rows if row.images]
    for name, figure in (
        ("curves", training_curves(
            facts.state.history, words + top5, with_top5=accuracy.top5_tells)),
        ("confusion", confusion_figure(confusion, names, title)),
        ("classes", class_bars_figure(bars, title)),
    ):  # fmt: skip
        _write(out / f"{name}.png", png(figure))


def _summary(facts: Facts, accuracy: Accuracy) -> dict[str, Any]:
    start, unused, before = facts.start, facts.data.account.unused, facts.state.earlier
    return {
        "model": start.architecture,
        "from": {"weights": start.source, "sha256": start.sha256} if start.source else None,
        "recipe": facts.recipe.as_dict(),
        **({"earlier": [[n, json.loads(r)] for n, r in before]} if before else {}),
        "train_images": len(facts.data.train),
        "val_images": accuracy.images,
        "split": facts.data.split,
        "unreadable": len(facts.state.unreadable),
        **({"not_used": {why: len(files) for why, files in unused.items()}} if unused else {}),
        "epochs_trained": facts.state.epoch,
        "epoch_kept": facts.epoch_kept,
        "top1": accuracy.top1,
        "top5": accuracy.top5,
        "loss": accuracy.loss,
        "seconds": facts.state.seconds,
        "device": facts.processes.device.type,
        "processes": facts.processes.size,
        "torch": torch.__version__,
        "timm": timm.__version__,
    }


def _csv(head: Iterable[str], rows: Iterable[Sequence[Cell]]) -> bytes:
    """Return UTF-8; what a file's name holds that is no text is written as an escape."""
    table = Table([str(harmless(cell)) for cell in head], [[*row] for row in rows])
    return csv_text(table).encode("utf-8", "backslashreplace")


def _cell(fraction: float | None) -> str:
    return "" if fraction is None else f"{fraction:.4f}"


def _write(path: Path, content: bytes) -> None:
    with saving(path.name), replacing(path) as part:
        part.write_bytes(content)


def export_folder(model: nn.Module, folder: Path, labels: Sequence[str]) -> None:
    """Write a folder that ``timm.create_model("local-dir:<folder>", pretrained=True)`` loads.

    Both files are complete before the first takes its place, else ``TrainingError``. ``labels``
    are class names in index order.
    """
    # safetensors refuses the channels_last layout that training uses.
    plain = copy.deepcopy(model).cpu().requires_grad_(True)
    plain.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    config = {"num_classes": len(labels), "label_names": list(labels)}
    with saving("the model"):
        folder.mkdir(parents=True, exist_ok=True)
        with (
            replacing(folder / "config.json") as config_part,
            replacing(folder / "model.safetensors") as model_part,
            tempfile.TemporaryDirectory(dir=folder, prefix=".model-") as made,
        ):
            try:
                save_for_hf(plain, made, model_config=config, safe_serialization=True)
            except SafetensorError as error:
                raise OSError(str(error)) from error
            (Path(made) / "model.safetensors").replace(model_part)
            (Path(made) / "config.json").replace(config_part)


def model_card(facts: Facts, accuracy: Accuracy, name: str) -> str:
    """Return ``README.md`` for a model folder called ``name``, with the hub's front matter.

    Fine-tuned weights inherit the licence of the weights they come from, where it is known. Fresh
    ones have none until their owner gives them one. ``accuracy`` is of the exported weights.
    """
    start, data, left_out = facts.start, facts.data, len(facts.state.unreadable)
    origin = f"fine-tuned from {start.source}" if start.source else "trained from scratch"
    licence = start.licence if start.source and start.licence else "unknown"
    top5 = f", top-5 {100 * accuracy.top5:.2f} %" if accuracy.top5_tells else ""
    classes = ", ".join(data.names[:_MAX_NAMES]) + ", ..." * (len(data.names) > _MAX_NAMES)
    recipe = {**facts.recipe.as_dict(), "processes": facts.processes.size}
    settings = [
        f"- {key.replace('_', ' ')}: {value}"
        for key, value in recipe.items()
        if key not in CHANGES_NOTHING
    ]
    own = start.architecture in STARTER_NAMES or start.architecture.startswith("starter_")
    teach = "import mscnn.starters  # teaches timm this architecture\n" if own else ""
    unlicensed = "\nNo licence was chosen yet: set `license` above before you publish this.\n"
    lines = [
        "---",
        _front_matter(licence, accuracy, data.split, name),
        "---",
        f"\n# {name}\n",
        f"`{start.architecture}`, {origin} on {len(data.names)} classes.",
        "\n## Accuracy\n",
        f"Top-1 {100 * accuracy.top1:.2f} %{top5} of {accuracy.images} images "
        f"({data.split}), weights of epoch {facts.epoch_kept}.",
        "`classes.csv` has precision and recall of each class, `confusion.csv` the answers.",
        "\n## Data\n",
        f"{len(data.train)} images to learn from and {len(data.val)} to measure with.",
        *([f"{left_out} of the files could not be read and were left out."] if left_out else []),
        f"Classes: {classes}.",
        "\n## Recipe\n",
        f"```bash\n{command(facts, name)}\n```\n",
        *(
            f"Up to epoch {epochs}, before --resume, it was trained otherwise:\n\n```bash\n"
            f"{command(dataclasses.replace(facts, recipe=Recipe.from_json(text)), name)}\n```\n"
            for epochs, text in facts.state.earlier
        ),
        *settings,
        "\n## Use\n",
        f"```python\nimport timm\n{teach}",
        'model = timm.create_model("local-dir:PATH/OF/THIS/FOLDER", pretrained=True)\n```\n',
        "```bash\nmscnn predict photo.jpg --model ./PATH/OF/THIS/FOLDER\n```",
    ]
    return "\n".join(lines) + "\n" + (unlicensed if licence == "unknown" else "")


def _front_matter(licence: str, accuracy: Accuracy, split: str, name: str) -> str:
    measured = {"top-1": accuracy.top1, **({"top-5": accuracy.top5} if accuracy.top5_tells else {})}
    found: str = ModelCardData(
        license=licence,
        library_name="timm",
        pipeline_tag=_TASK,
        tags=[_TASK, "timm", "mscnn"],
        model_name=name,
        eval_results=[
            EvalResult(
                task_type=_TASK,
                dataset_type="imagefolder",
                dataset_name=split,
                metric_type="accuracy",
                metric_name=metric,
                metric_value=round(value, 4),
            )
            for metric, value in measured.items()
        ],
    ).to_yaml()
    return found


def command(facts: Facts, name: str) -> str:
    """Return the command that made the model, without paths, defaults and what changes nothing."""
    start, recipe = facts.start, facts.recipe
    verb, usual = ("finetune", FINE_TUNING) if start.source else ("train", Recipe())
    words = ["mscnn", verb, "DATA", "--model", shlex.quote(start.given)]
    words += ["--weights", shlex.quote(start.weights)] if start.weights else []
    words += ["--out", shlex.quote(name)]
    for item in dataclasses.fields(Recipe):
        value, default = getattr(recipe, item.name), getattr(usual, item.name)
        if item.name == "warmup_epochs":
            default = usual_warmup(recipe.epochs)
        if value == default or item.name in CHANGES_NOTHING:
            continue
        option = option_name(item.name)
        text = format_sizes(value) if item.name == "sizes" else str(value)
        words += [option] if value is True else [option, shlex.quote(text)]
    return " ".join(words)
