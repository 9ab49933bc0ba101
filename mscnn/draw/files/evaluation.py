"""The files of an evaluation: document, tables and pictures."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from mscnn.draw.evaluation import (
    class_bars_figure,
    confused_pairs_figure,
    confusion_figure,
    reliability_figure,
)
from mscnn.draw.figures import png
from mscnn.draw.files.folder import Files, write_files
from mscnn.draw.files.manifest import header, json_bytes
from mscnn.draw.files.table import csv_bytes
from mscnn.results.serialise_folders import evaluation_dict

if TYPE_CHECKING:
    from mscnn.data.evaluation import Evaluation

MATRIX_CLASSES = 40
"""Up to so many classes are drawn as a matrix; of more the most confused pairs are."""


def evaluation_files(found: Evaluation, *, created: datetime | None = None) -> Files:
    """Make the files; ``created`` has a time zone, None is now."""
    labels = found.labels
    pairs = [
        (true, labels[true], answer, labels[answer], count)
        for (true, answer), count in found.confusion.items()
    ]
    return {
        "evaluation.json": json_bytes({**header(created), **evaluation_dict(found, details=True)}),
        "classes.csv": csv_bytes(
            ("index", "class", "images", "top1", "top5", "predicted", "precision"),
            [dataclasses.astuple(row) for row in found.classes],
        ),
        "confusion.csv": csv_bytes(("index", "class", "answer_index", "answer", "images"), pairs),
        "classes.png": png(
            class_bars_figure(
                [(row.label, row.images, row.top1, row.precision) for row in found.classes],
                _title(found),
            )
        ),
        "confusion.png": png(_confusion(found)),
        "reliability.png": png(
            reliability_figure(
                [dataclasses.astuple(row) for row in found.bins],
                f"{found.model}: calibration error {100 * found.ece:.1f} %",
            )
        ),
    }


def write_evaluation(
    folder: Path, found: Evaluation, *, created: datetime | None = None
) -> list[str]:
    """Write the files into ``folder``; returns their names.

    Raises:
        OutputError: the folder cannot be written.
    """
    files = evaluation_files(found, created=created)
    write_files(folder, files)
    return list(files)


def _title(found: Evaluation) -> str:
    return f"{found.model}: top-1 {100 * found.top1:.1f} % of {found.images} photographs"


def _confusion(found: Evaluation) -> Figure:
    title = _title(found)
    shown = sorted(found.labels)
    if len(shown) <= MATRIX_CLASSES:
        place = {index: number for number, index in enumerate(shown)}
        counts = np.zeros((len(shown), len(shown)), np.int64)
        for (true, answer), count in found.confusion.items():
            counts[place[true], place[answer]] = count
        return confusion_figure(counts, [found.labels[index] for index in shown], title)
    images = {row.index: row.images for row in found.classes}
    mistakes = sorted(
        ((pair, count) for pair, count in found.confusion.items() if pair[0] != pair[1]),
        key=lambda one: (-one[1], one[0]),
    )
    return confused_pairs_figure(
        [
            (found.labels[true], found.labels[answer], count, images[true])
            for (true, answer), count in mistakes
        ],
        f"{title}; the most frequent mistakes",
    )
