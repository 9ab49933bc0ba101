"""A data set from a CSV table of paths and classes."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mscnn.data.layouts import VAL_NAMES, ImageFolders, held_out_words, hold_out
from mscnn.errors import DatasetError

_HEADER = "the header path,label or path,label,split"


def read_table(path: Path, *, val_share: float, seed: int) -> ImageFolders[Path]:
    """Read a table with ``path,label`` and, where the parts are given, ``split`` as its header.

    Paths are relative to the table's folder. A split is ``train``, or one of ``VAL_NAMES``, of
    which the first that occurs is the validation part; rows of the others are left out. Classes
    are sorted by name.

    Raises:
        DatasetError: the table cannot be read, or a line of it says too little.
    """
    rows = _rows(path)
    names = sorted({label for _, label, _ in rows})
    index = {name: i for i, name in enumerate(names)}
    if not any(split for _, _, split in rows):
        classes = [(name, [p for p, label, _ in rows if label == name]) for name in names]
        train, val = hold_out(classes, val_share, seed)
        words = held_out_words(val_share, seed)
        return ImageFolders(tuple(names), tuple(train), tuple(val), words)
    splits = {split for _, _, split in rows}
    part = next((name for name in VAL_NAMES if name in splits), None)
    train = [(p, index[label]) for p, label, split in rows if split == "train"]
    val = [(p, index[label]) for p, label, split in rows if split == part]
    found = ImageFolders(tuple(names), tuple(train), tuple(val))
    others = sorted(splits - {"train", part})
    if not others:
        return found
    words = f"the table's {part} part; its {' and '.join(others)} part is left out"
    return replace(found, split=words)


def _rows(path: Path) -> list[tuple[Path, str, str]]:
    """Return path, label and split of every line; the split is empty where none is given."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            fields = [name.strip().lower() for name in reader.fieldnames or ()]
            if not {"path", "label"} <= set(fields):
                raise DatasetError(_no_header(path, fields))
            reader.fieldnames = fields
            rows = [
                (number, _cell(row, "path"), _cell(row, "label"), _cell(row, "split").lower())
                for number, row in enumerate(reader, 2)
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(
            f"{path.name!r} cannot be read as a table; give a folder of images, or a CSV file in "
            f"UTF-8 with {_HEADER}."
        ) from error
    has_split = "split" in fields
    for number, file_name, label, split in rows:
        if not file_name or not label:
            raise DatasetError(f"Line {number} of {path.name!r} has no path or no label.")
        if has_split and split not in ("train", *VAL_NAMES):
            raise DatasetError(
                f"Line {number} of {path.name!r} has the split {split!r}; accepted are train, "
                f"{', '.join(VAL_NAMES)}."
            )
    return [(path.parent / file_name, label, split) for _, file_name, label, split in rows]


def _cell(row: Mapping[str, str | None], name: str) -> str:
    return (row.get(name) or "").strip()


def _no_header(path: Path, fields: Sequence[str]) -> str:
    found = ", ".join(fields)[:80].encode("ascii", "replace").decode() or "nothing"
    return f"{path.name!r} begins with {found!r}; a table of images begins with {_HEADER}."
