"""A data set that Hugging Face's ``datasets`` package saved to disk; the package is optional."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mscnn.data.layouts import VAL_NAMES, ImageFolders, held_out_words, hold_out
from mscnn.errors import DatasetError
from mscnn.photos.imaging import PhotoSource


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table; the photograph is read when it is asked for."""

    table: Any
    number: int
    column: str
    part: str

    @property
    def name(self) -> str:
        """The row's place: ``"train[17]"``."""
        return f"{self.part}[{self.number}]"

    def read(self) -> PhotoSource:
        """Return the encoded bytes, or the path of a photograph that lies beside the table."""
        stored = self.table[self.number][self.column] or {}
        source: PhotoSource = stored.get("bytes") or stored.get("path") or b""
        return source


def read_saved(root: Path, *, val_share: float, seed: int) -> ImageFolders[Row]:
    """Open what ``Dataset.save_to_disk`` or ``DatasetDict.save_to_disk`` wrote.

    The first column of images and the first of class labels (else one called ``label``,
    ``labels`` or ``class``) are used.

    Raises:
        DatasetError: the package is missing, or the data set has no images or labels.
    """
    parts = _open(root)
    train = parts.get("train")
    if train is None:
        train = next(iter(parts.values()))
    val = next((parts[name] for name in VAL_NAMES if name in parts), None)
    image, label = _columns(root, train)
    raw_train = train[label]
    raw_val = val[label] if val is not None else []
    names, index = _classes(train, label, [*raw_train, *raw_val])
    rows = _rows(train, image, "train", raw_train, index)
    if val is not None:
        return ImageFolders(tuple(names), rows, _rows(val, image, "val", raw_val, index))
    classes = [(name, [row for row, i in rows if i == c]) for c, name in enumerate(names)]
    learnt, held = hold_out(classes, val_share, seed)
    words = held_out_words(val_share, seed)
    return ImageFolders(tuple(names), tuple(learnt), tuple(held), words)


def _open(root: Path) -> Mapping[str, Any]:
    try:
        from datasets import load_from_disk
    except ImportError:
        raise DatasetError(
            f"{str(root)!r} was saved by Hugging Face's datasets package, which is not installed; "
            "install it with 'pip install datasets', or give a folder of images."
        ) from None
    try:
        found = load_from_disk(str(root))
    except Exception as error:
        # Arrow files come from anywhere, and the package lets many kinds of errors out.
        raise DatasetError(
            f"{str(root)!r} cannot be opened as a saved data set; save it again with save_to_disk."
        ) from error
    return found if isinstance(found, Mapping) else {"train": found}


def _columns(root: Path, table: Any) -> tuple[str, str]:
    kinds = {name: type(feature).__name__ for name, feature in table.features.items()}
    images = [name for name, kind in kinds.items() if kind == "Image"]
    labels = [name for name, kind in kinds.items() if kind == "ClassLabel"]
    labels += [name for name in ("label", "labels", "class") if name in kinds]
    if not images or not labels:
        raise DatasetError(
            f"{str(root)!r} has the columns {', '.join(kinds)}; one of type Image and one of type "
            "ClassLabel are needed."
        )
    return images[0], labels[0]


def _classes(table: Any, label: str, values: Sequence[Any]) -> tuple[list[str], dict[Any, int]]:
    """Return the class names and the index of each stored label."""
    names = getattr(table.features[label], "names", None)
    if names:
        return [str(name) for name in names], {i: i for i in range(len(names))}
    found = sorted({value for value in values if value is not None})
    return [str(value) for value in found], {value: i for i, value in enumerate(found)}


def _rows(
    table: Any, image: str, part: str, values: Sequence[Any], index: Mapping[Any, int]
) -> tuple[tuple[Row, int], ...]:
    """Return the rows that have a label; None and -1 say that one has none."""
    import datasets

    # As stored: decoding is for ``load_photo`` alone.
    encoded = table.cast_column(image, datasets.Image(decode=False))
    return tuple(
        (Row(encoded, number, image, part), index[value])
        for number, value in enumerate(values)
        if value is not None and value != -1
    )
