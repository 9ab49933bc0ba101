"""The files of a study: ``study.json, study.csv, fields.csv, study.png, manifest.json``."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mscnn.draw.evaluation import study_figure
from mscnn.draw.figures import png
from mscnn.draw.files.folder import Files, write_files
from mscnn.draw.files.manifest import header, json_bytes
from mscnn.draw.files.table import csv_bytes
from mscnn.results.explanation import JsonDict
from mscnn.results.serialise_study import study_dict, study_text

if TYPE_CHECKING:
    from mscnn.study.summary import Study

_INTERVAL = ("mean", "low", "high")


def study_files(study: Study, *, created: datetime | None = None) -> Files:
    """Make the files; ``created`` has a time zone, None is now."""
    document = study_dict(study)
    return {
        "study.json": json_bytes(document),
        "study.csv": csv_bytes(
            ("model", "setting", "quantity", "block", "split", "factor", *_INTERVAL, "photos"),
            _rows(document),
        ),
        "fields.csv": csv_bytes(
            ("model", "block", "split", "theoretical_px", "weights", *_INTERVAL, "photos"),
            _field_rows(document),
        ),
        "study.png": png(study_figure(document), 1500),
        "manifest.json": json_bytes({**header(created), "answers": study_text(document)}),
    }


def write_study(folder: Path, study: Study, *, created: datetime | None = None) -> list[str]:
    """Write the files into ``folder``; returns their names.

    Raises:
        OutputError: the folder cannot be written.
    """
    files = study_files(study, created=created)
    write_files(folder, files)
    return list(files)


def _numbers(interval: JsonDict) -> list[Any]:
    return [interval[key] for key in (*_INTERVAL, "photos")]


def _rows(document: JsonDict) -> Iterable[list[Any]]:
    factors = document["factors"]
    for model in document["models"]:
        name = model["model"]
        for quantity in ("probability", "weighted_rf_px"):
            for setting, row in model[quantity].items():
                for factor, interval in zip(factors, row, strict=True):
                    yield [name, setting, quantity, "", "", factor, *_numbers(interval)]
        for setting, blocks in model["shares"].items():
            for block, rows in blocks.items():
                for factor, splits in zip(factors, rows, strict=True):
                    for i, interval in enumerate(splits):
                        yield [name, setting, "share", block, i, factor, *_numbers(interval)]


def _field_rows(document: JsonDict) -> Iterable[list[Any]]:
    for model in document["models"]:
        for row in model["effective_fields"]:
            for weights, interval in row["half_side_px"].items():
                yield [
                    model["model"], row["block"], row["split"], row["theoretical_px"], weights,
                    *_numbers(interval),
                ]  # fmt: skip
