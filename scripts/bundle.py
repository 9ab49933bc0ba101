"""Put a trained model into the bundled folder: ``python -m scripts.bundle RUN_DIR``.

For maintainers. The weights are stored as float16 safetensors, half the size; a float16 of a
trained network's weights changes its logits by about one part in a thousand. Both files, weights
and manifest, are written beside and renamed, the manifest last, so that it never vouches for a
file that is not there.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from mscnn.errors import MscnnError, OutputError, WeightsError
from mscnn.models import manifest, registry
from mscnn.models.files import sha256_of
from mscnn.models.loading import LoadedModel, load_model
from mscnn.models.manifest import BundledWeights
from mscnn.results.writing import reason, replacing


def bundle(
    run: Path,
    *,
    label_set: str,
    training: Mapping[str, Any],
    accuracy: Mapping[str, Any] | None,
    licence: str,
    model: str | None = None,
) -> BundledWeights:
    """Store a trained model folder as float16 in the bundled folder and its manifest.

    Args:
        run: a folder that training wrote (``config.json`` and weights), with label names.
        label_set: the manifest's name for these classes, such as ``"tiny-imagenet-200"``.
        training: at least ``command``, ``data``, ``seed`` and ``epochs``.
        accuracy: ``top1`` and ``top5`` in 0..1, ``images``, ``set``; None where not measured.
        licence: of the weights.
        model: registry name; None for the folder's architecture.

    Returns:
        The new entry, read back from the manifest.

    Raises:
        WeightsError: the folder cannot be loaded, or the label set has other names already.
        OutputError: a file could not be written.
    """
    loaded = load_model(str(run.resolve()))
    cfg: Any = loaded.model.pretrained_cfg
    name = model or registry.full_name(str(cfg["architecture"]))  # a starter's present name
    folder = manifest.weights_folder()
    path = folder / f"{name}.safetensors"
    # Before the file: else the manifest would go on vouching for the one that was replaced.
    _document_with_labels(label_set, loaded.labels.names)
    _write(path, lambda part: save_file(_half(loaded), part, metadata={"format": "pt"}))
    add_to_manifest(
        {
            "model": name,
            "file": path.name,
            "sha256": sha256_of(path),
            "bytes": path.stat().st_size,
            "dtype": "float16",
            "classes": len(loaded.labels),
            "labels": label_set,
            "training": dict(training),
            "accuracy": None if accuracy is None else dict(accuracy),
            "licence": licence,
        },
        loaded.labels.names,
    )
    return manifest.load_manifest()[name]


def add_to_manifest(entry: Mapping[str, Any], labels: Sequence[str]) -> None:
    """Add an entry to the manifest, or replace the one of the same model.

    Args:
        entry: the fields that ``mscnn.models.manifest`` documents.
        labels: names of the entry's label set, in index order.

    Raises:
        WeightsError: the label set has other names already, or the manifest is broken.
        OutputError: the manifest could not be written.
    """
    path = manifest.weights_folder() / manifest.NAME
    document = _document_with_labels(entry["labels"], labels)
    others = [other for other in document["weights"] if other.get("model") != entry["model"]]
    document["weights"] = sorted([*others, dict(entry)], key=lambda other: str(other["model"]))
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    _write(path, lambda part: part.write_text(text, encoding="utf-8"))


def _document_with_labels(label_set: str, labels: Sequence[str]) -> dict[str, Any]:
    """The manifest as it is, or a new one, with these labels.

    Raises:
        WeightsError: the label set has other names already, or the manifest is broken.
    """
    path = manifest.weights_folder() / manifest.NAME
    document: dict[str, Any] = {"schema": manifest.SCHEMA, "labels": {}, "weights": []}
    if path.is_file():
        document = manifest.read_document(path)
    known = document["labels"].setdefault(label_set, list(labels))
    if known != list(labels):
        raise WeightsError(f"The label set {label_set} already has other names.")
    return document


def _half(loaded: LoadedModel) -> dict[str, torch.Tensor]:
    """Return the state as float16; counters keep their type."""
    state = loaded.model.state_dict()
    halves = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    lost = [key for key, value in halves.items() if not bool(torch.isfinite(value).all())]
    if lost:
        raise WeightsError(f"{lost[0]} does not fit into float16; these weights stay unbundled.")
    return {key: value.contiguous() for key, value in halves.items()}


def _write(path: Path, write: Callable[[Path], object]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            write(part)
    except (OSError, SafetensorError) as error:
        why = reason(error) if isinstance(error, OSError) else "the disk refused it"
        raise OutputError(f"{path.name} could not be written: {why}.") from error


def facts_of(run: Path, *, command: str, data: str, measured_on: str) -> tuple[Any, Any]:
    """Return the manifest's ``training`` and ``accuracy`` from the run's ``training.json``.

    Args:
        run: a folder that training wrote.
        command: the command line that trains these weights again.
        data: the data set, by name.
        measured_on: the images that the accuracy was measured on, in words.

    Raises:
        WeightsError: there is no usable ``training.json``.
    """
    try:
        facts = json.loads((run / "training.json").read_text(encoding="utf-8"))
        recipe = facts["recipe"]
        training = {
            "command": command,
            "data": data,
            "seed": recipe["seed"],
            "epochs": recipe["epochs"],
            "recipe": recipe,
            **{key: facts[key] for key in ("train_images", "seconds", "device", "torch", "timm")},
            **_before(facts),
        }
        accuracy = {
            "top1": facts["top1"],
            "top5": facts["top5"],
            "images": facts["val_images"],
            "set": measured_on,
            "weights": "as they were trained, computed in float32",
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"The folder {run.name} has no usable training.json.") from error
    return training, accuracy


def _before(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the trainings of the bundled weights that a run went on from, earliest first."""
    origin = (facts.get("from") or {}).get("sha256")
    for entry in manifest.load_manifest().values():
        before = list(entry.training.get("before", ()))
        if entry.sha256 == origin:
            last = {k: v for k, v in entry.training.items() if k not in ("command", "before")}
            return {"before": [*before, {**last, "sha256": origin}]}
        # Bundled again: what it went on from is no longer an entry of its own.
        for number, part in enumerate(before, 1):
            if origin and part.get("sha256") == origin:
                return {"before": before[:number]}
    return {}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m scripts.bundle")
    parser.add_argument("run", type=Path, help="folder that training wrote")
    parser.add_argument("--labels", required=True, help="the manifest's name for the classes")
    parser.add_argument("--command", required=True, help="command line that trains it again")
    parser.add_argument("--data", required=True, help="training data, by name")
    parser.add_argument("--measured-on", required=True, help="images of the accuracy, in words")
    parser.add_argument("--licence", required=True, help="licence of the weights")
    parser.add_argument("--model", help="registry name, if not the architecture's")
    options = parser.parse_args(arguments)
    try:
        training, accuracy = facts_of(
            options.run, command=options.command, data=options.data, measured_on=options.measured_on
        )
        entry = bundle(
            options.run,
            label_set=options.labels,
            training=training,
            accuracy=accuracy,
            licence=options.licence,
            model=options.model,
        )
    except MscnnError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(f"{entry.source}  {entry.bytes} bytes  sha256 {entry.sha256}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
