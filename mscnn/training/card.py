"""The model card: what was trained, from what, how and how well, in the hub's own form."""

from __future__ import annotations

import dataclasses
import json
import shlex
from dataclasses import dataclass

from mscnn.data.layouts import ImageFolders, Photo
from mscnn.data.processes import Processes
from mscnn.models.starters import STARTER_NAMES
from mscnn.training.evaluate import Accuracy
from mscnn.training.networks import StartingPoint
from mscnn.training.recipe import FINE_TUNING, Recipe, usual_warmup
from mscnn.training.state import Position

_MAX_NAMES = 50


@dataclass(frozen=True)
class Facts:
    """What is known of a run at its end.

    Attributes:
        start: the network before its first step.
        data: classes and photographs.
        recipe: how it was trained.
        position: history, time and what was left out.
        epoch_kept: number (1-based) of the epoch whose weights are exported.
        processes: who trained.
    """

    start: StartingPoint
    data: ImageFolders[Photo]
    recipe: Recipe
    position: Position
    epoch_kept: int
    processes: Processes


def model_card(facts: Facts, accuracy: Accuracy, name: str) -> str:
    """Return ``README.md`` for a model folder, with the hub's front matter.

    Fine-tuned weights inherit the licence of the weights they come from, where it is known. Fresh
    ones have none until their owner gives them one.

    Args:
        facts: about the run.
        accuracy: of the exported weights on the validation part.
        name: of the folder.
    """
    start, data = facts.start, facts.data
    origin = f"fine-tuned from {start.source}" if start.source else "trained from scratch"
    licence = start.licence if start.source and start.licence else "unknown"
    top5 = f", top-5 {100 * accuracy.top5:.2f} %" if accuracy.top5_tells else ""
    parts = [
        "---",
        f"license: {json.dumps(licence)}",
        "library_name: timm",
        "pipeline_tag: image-classification",
        "tags:\n- image-classification\n- timm\n- mscnn",
        "---",
        "",
        f"# {name}",
        "",
        f"`{start.architecture}`, {origin} on {len(data.names)} classes.",
        "",
        "## Accuracy",
        "",
        f"Top-1 {100 * accuracy.top1:.2f} %{top5} of {accuracy.images} images "
        f"({data.split}), weights of epoch {facts.epoch_kept}.",
        "`classes.csv` has precision and recall of each class, `confusion.csv` the answers.",
        "",
        "## Data",
        "",
        *_data(facts),
        "",
        "## Recipe",
        "",
        f"```bash\n{command(facts, name)}\n```",
        "",
        *(f"- {key.replace('_', ' ')}: {value}" for key, value in _recipe(facts)),
        "",
        "## Use",
        "",
        _usage(start.architecture),
    ]
    if licence == "unknown":
        parts += ["", "No licence was chosen yet: set `license` above before you publish this."]
    return "\n".join(parts) + "\n"


def _data(facts: Facts) -> list[str]:
    data, left_out = facts.data, len(facts.position.unreadable)
    shown = ", ".join(data.names[:_MAX_NAMES]) + (", ..." if len(data.names) > _MAX_NAMES else "")
    lines = [f"{len(data.train)} images to learn from and {len(data.val)} to measure with."]
    if left_out:
        lines.append(f"{left_out} of the files could not be read and were left out.")
    return [*lines, f"Classes: {shown}."]


def _recipe(facts: Facts) -> list[tuple[str, object]]:
    values = [(k, v) for k, v in facts.recipe.as_dict().items() if k not in ("workers", "threads")]
    return [*values, ("processes", facts.processes.size)]


def _usage(architecture: str) -> str:
    lines = ["import timm"]
    if architecture in STARTER_NAMES or architecture.startswith("starter_"):
        lines.append("import mscnn.models.starters  # teaches timm this architecture")
    lines += ["", 'model = timm.create_model("local-dir:PATH/OF/THIS/FOLDER", pretrained=True)']
    return "\n".join(
        [
            "```python",
            *lines,
            "```",
            "",
            "```bash",
            "mscnn predict photo.jpg --model ./PATH/OF/THIS/FOLDER",
            "```",
        ]
    )


def command(facts: Facts, name: str) -> str:
    """Return the command that made the model; folders and files by their own names only.

    Options at their defaults are left away, and so is what cannot change the result.
    """
    start, recipe = facts.start, facts.recipe
    verb, usual = ("finetune", FINE_TUNING) if start.source else ("train", Recipe())
    words = ["mscnn", verb, "DATA", "--model", shlex.quote(start.given)]
    words += ["--weights", shlex.quote(start.weights)] if start.weights else []
    words += ["--out", shlex.quote(name)]
    for item in dataclasses.fields(Recipe):
        value = getattr(recipe, item.name)
        default = getattr(usual, item.name)
        if item.name == "warmup_epochs":
            default = usual_warmup(recipe.epochs)
        if value == default or item.name in ("workers", "threads"):
            continue
        option = f"--{item.name.replace('_', '-')}"
        if item.name == "sizes":
            value = ",".join(f"{px}:{epochs}" for px, epochs in value)
        words += [option] if value is True else [option, shlex.quote(str(value))]
    return " ".join(words)
