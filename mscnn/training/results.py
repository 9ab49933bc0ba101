"""What a finished run leaves beside its weights: tables, pictures, facts and the model card."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from mscnn.draw.evaluation import class_bars_figure, confusion_figure, training_curves
from mscnn.draw.figures import png
from mscnn.training.card import Facts, model_card
from mscnn.training.checkpoint import write_atomically
from mscnn.training.evaluate import Accuracy, Tally, class_rows
from mscnn.training.export import export_folder

__all__ = ["Facts", "write_history", "write_results"]


def write_history(out: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Write ``history.csv``, one line per epoch.

    Raises:
        TrainingError: the folder cannot be written.
    """
    rows = [history[0], *([f"{value:.6g}" for value in row.values()] for row in history)]
    _write(out / "history.csv", _csv(rows))


def write_results(out: Path, facts: Facts, model: nn.Module, tally: Tally) -> None:
    """Write everything that a finished run leaves.

    Args:
        out: the run's folder.
        facts: about the run.
        model: with the weights to be exported.
        tally: its answers on the validation part.

    Raises:
        TrainingError: the folder cannot be written.
    """
    names, accuracy = facts.data.names, tally.accuracy
    export_folder(model, out, names)
    rows = [list(map(str, row)) for row in tally.confusion.tolist()]
    table = [["class", *names], *([name, *row] for name, row in zip(names, rows, strict=True))]
    _write(out / "confusion.csv", _csv(table))
    fields = ["class", "images", "correct", "precision", "recall"]
    classes = [_cells(dataclasses.astuple(r)) for r in class_rows(tally.confusion, names)]
    _write(out / "classes.csv", _csv([fields, *classes]))
    unreadable = facts.position.unreadable
    if unreadable:
        _write(out / "unreadable.csv", _csv([["file", "reason"], *unreadable]))
    summary = json.dumps(_summary(facts, accuracy), indent=1) + "\n"
    _write(out / "training.json", summary.encode())
    _write(out / "README.md", _encoded(model_card(facts, accuracy, out.resolve().name)))
    _draw(out, facts, tally)


def _summary(facts: Facts, accuracy: Accuracy) -> dict[str, Any]:
    return {
        "model": facts.start.architecture,
        "from": {"weights": facts.start.source, "sha256": facts.start.sha256}
        if facts.start.source
        else None,
        "recipe": facts.recipe.as_dict(),
        "train_images": len(facts.data.train),
        "val_images": accuracy.images,
        "split": facts.data.split,
        "unreadable": len(facts.position.unreadable),
        "epochs_trained": facts.position.epoch,
        "epoch_kept": facts.epoch_kept,
        "top1": accuracy.top1,
        "top5": accuracy.top5,
        "loss": accuracy.loss,
        "seconds": facts.position.seconds,
        "device": facts.processes.device.type,
        "processes": facts.processes.size,
        "torch": torch.__version__,
        "timm": timm.__version__,
    }


def _draw(out: Path, facts: Facts, tally: Tally) -> None:
    accuracy = tally.accuracy
    words = f"{facts.start.architecture}: top-1 {accuracy.top1:.1%}"
    top5 = f", top-5 {accuracy.top5:.1%}" if accuracy.top5_tells else ""
    curves = training_curves(facts.position.history, words + top5, with_top5=accuracy.top5_tells)
    _write(out / "curves.png", png(curves))
    title = f"{words} of {accuracy.images} images"
    _write(out / "confusion.png", png(confusion_figure(tally.confusion, facts.data.names, title)))
    rows = class_rows(tally.confusion, facts.data.names)
    bars = [(r.name, r.images, r.recall, r.precision) for r in rows if r.recall is not None]
    _write(out / "classes.png", png(class_bars_figure(bars, title)))


def _csv(rows: Iterable[Iterable[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return _encoded(text.getvalue())


def _encoded(text: str) -> bytes:
    """UTF-8; what a file's name holds that is no text is written as an escape."""
    return text.encode("utf-8", "backslashreplace")


def _cells(values: Iterable[object]) -> list[str]:
    """Return values as a table shows them: shares with four digits, nothing for None."""
    return [_cell(value) for value in values]


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _write(path: Path, content: bytes) -> None:
    write_atomically(path, lambda temporary: temporary.write_bytes(content))
