"""Data sets of labelled photographs, to train or to evaluate on.

Understood are one folder per class (also below ``train/`` and ``val/``), Tiny-ImageNet's layout
(``train/<wnid>``, ``val/val_annotations.txt``, ``wnids.txt``), a CSV table of paths and classes
(or a folder of loose photographs with one such table in it), and a data set that Hugging Face's
``datasets`` saved to disk. Of a data set with its own validation part an evaluation uses that part,
otherwise all of it; training holds some photographs out where there is none.
"""

from __future__ import annotations

import csv
import random
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mscnn.data.listing import SUFFIXES, FileList, RowList, Samples, reading, walk, why_unreadable
from mscnn.errors import DatasetError
from mscnn.models.labels import are_wnids, wordnet_lemmas
from mscnn.photos.imaging import KINDS

VAL_NAMES = ("val", "valid", "validation", "test")
OWN_PART = "the data's own validation part"
_ALL, _VAL = "all images", "the validation part"
_ANNOTATIONS = "val_annotations.txt"
_HEADER = "the header path,label or path,label,split"
_ACCEPTED = [(offset, magic) for offset, magic, kind in KINDS if "broken" in kind]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a data set, called ``words``; ``names`` may be WordNet ids."""

    names: tuple[str, ...]
    samples: Samples = field(repr=False)
    words: str = _ALL

    def used(self) -> Part:
        """Return the part without classes that have no photograph in it."""
        used, targets = np.unique(self.samples.targets, return_inverse=True)
        samples = self.samples.select(range(len(targets)))
        samples.targets = targets
        return Part(tuple(self.names[index] for index in used), samples, self.words)


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set to train on, its ``names`` in the order of class indices."""

    names: tuple[str, ...]
    train: Samples = field(repr=False)
    val: Samples = field(repr=False)
    split: str = OWN_PART  # in words, where the validation part comes from
    unreadable: tuple[tuple[str, str], ...] = ()  # what was left out: name, reason


@dataclass(frozen=True, slots=True)
class _Layout:
    """The parts of a data set, none of them listed before it is asked for."""

    measured: Callable[[], Part]  # what an evaluation uses
    train: Callable[[], Part]
    val: Callable[[], Part] | None = None  # of the same classes; None: to be held out of train
    split: str = OWN_PART
    wordnet: bool = False  # whether classes are called by WordNet ids


def find_labelled(root: Path) -> Part:
    """Find what to evaluate on; ``DatasetError`` where no layout fits or nothing is there."""
    with reading(root):
        found = _layout(root).measured().used()
    if not len(found.samples):
        raise DatasetError(_nothing_in(root, to_learn=False))
    return found


def open_data(root: Path, *, val_share: float = 0.1, seed: int = 0) -> DataSet:
    """Open a data set to train on, or raise ``DatasetError``.

    Without a validation part, ``val_share`` of each class (at least one image where a class has
    two) is held out, drawn with ``seed``.
    """
    with reading(root):
        layout = _layout(root)
        train = layout.train()
        if layout.val is not None:
            found = DataSet(train.names, train.samples, layout.val().samples, layout.split)
        else:
            # In words, for the model card.
            split = f"{100 * val_share:.3g} % of each class, held out with seed {seed}"
            found = DataSet(train.names, *_hold_out(train, val_share, seed), split)
    if layout.wordnet:
        found = replace(found, names=tuple(wordnet_lemmas(found.names)))
    check_classes(root, found)
    return found


def _hold_out(part: Part, val_share: float, seed: int) -> tuple[Samples, Samples]:
    """Split photographs per class; what is held out depends on the class's name and ``seed``."""
    train: list[int] = []
    val: list[int] = []
    for index, name in enumerate(part.names):
        numbers = np.flatnonzero(part.samples.targets == index).tolist()
        random.Random(f"{seed}/{name}").shuffle(numbers)
        # Of two one is held out, and one is left to learn from, whatever the fraction.
        held = min(max(1, round(len(numbers) * val_share)), max(len(numbers) - 1, 0))
        val += numbers[:held]
        train += numbers[held:]
    return part.samples.select(train), part.samples.select(val)


def check_classes(root: Path, data: DataSet) -> None:
    """Raise ``DatasetError`` for fewer than two classes, or a part without images."""
    if not data.names or not (len(data.train) or len(data.val)):
        raise DatasetError(_nothing_in(root, to_learn=True))
    if len(data.names) < 2:
        raise DatasetError(
            f"{str(root)!r} holds one class folder or class, {data.names[0]!r}; a classifier needs "
            "two or more, so add a second one."
        )
    if not len(data.train) or not len(data.val):
        raise DatasetError(
            f"{str(root)!r} holds {len(data.names)} class folders or classes, {len(data.train)} "
            f"training and {len(data.val)} validation images; give each class two or more images."
        )


def check_trainable(data: DataSet) -> None:
    """Raise ``DatasetError`` for a class without a training image, or with a single image."""
    train, val = (Counter(part.targets.tolist()) for part in (data.train, data.val))
    if lonely := [n for i, n in enumerate(data.names) if train[i] + val[i] == 1]:
        raise DatasetError(
            f"{_some(lonely)} with a single image; one to learn from and one to measure with are "
            "needed, so add images or take the class out."
        )
    if missing := [n for i, n in enumerate(data.names) if not train[i]]:
        raise DatasetError(
            f"{_some(missing)} without a training image; add images or take the class out."
        )


def _nothing_in(root: Path, *, to_learn: bool) -> str:
    shape = "give one folder per class with its images, or a CSV table with the header path,label"
    loose_but = "but nothing says their classes"
    if to_learn:
        shape = "make one folder per class and put its images in there"
        loose_but = "and no folder per class"
    if root.is_file():
        lines = "give lines of a path and a label" if to_learn else shape
        return f"The table {root.name!r} names no images; {lines}."
    if loose := _loose(root):
        return f"{str(root)!r} holds {loose} images {loose_but}; {shape}."
    if not any(root.iterdir()):
        return f"The folder {str(root)!r} is empty; {shape}."
    if to_learn:
        return f"{str(root)!r} holds {len(_folders(root))} folders and no images in them; {shape}."
    return f"There is no image in {str(root)!r}; {shape}."


def _loose(root: Path) -> int:
    return sum(p.suffix.lower() in SUFFIXES for p in root.iterdir() if p.is_file())


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")
    return f"There {'is a class' if len(names) == 1 else f'are {len(names)} classes'} ({shown})"


def drop_unreadable(data: DataSet) -> DataSet:
    """Leave out files that are missing, empty or no pictures, by their first bytes alone."""
    bad: list[tuple[str, str]] = []

    def kept(samples: Samples) -> Samples:
        if not isinstance(samples.photos, FileList):
            return samples
        good = []
        for number in range(len(samples)):
            path = samples.full_name(number)
            if _begins_well(path) or not (reason := why_unreadable(path)):
                good.append(number)
            else:
                bad.append((path, reason))
        return samples.select(good)

    return replace(data, train=kept(data.train), val=kept(data.val), unreadable=tuple(bad))


def _begins_well(path: str) -> bool:
    """Whether a file's first bytes are those of an accepted format."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(16)
    except OSError:
        return False
    return any(head.startswith(magic, offset) for offset, magic in _ACCEPTED)


def _layout(root: Path) -> _Layout:
    if root.is_file():
        return _table(root)
    if not root.is_dir():
        raise DatasetError(f"There is no folder {str(root)!r}; give a folder with images.")
    if any((root / name).is_file() for name in ("dataset_dict.json", "dataset_info.json")):
        return _saved(root)
    for folder in (root / "val", root):
        if (folder / _ANNOTATIONS).is_file():
            return _annotated(root, folder)
    folders = _folders(root)
    tables = [] if folders else sorted(root.glob("*.csv"))
    if len(tables) == 1 and _loose(root):
        return _table(tables[0])
    return _class_folders(root, folders)


def _folders(root: Path) -> list[str]:
    return sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def _part(
    root: Path, names: Sequence[str], rows: Iterable[tuple[str, str]], words: str = _ALL
) -> Part:
    """Pack rows of a file and its class, gone through once; ``names`` has all classes in order."""
    index = {name: number for number, name in enumerate(names)}
    targets = array("q")

    def files() -> Iterator[str]:
        for file, name in rows:
            targets.append(index[name])
            yield file

    photos = FileList(root, files())
    return Part(tuple(names), Samples(photos, np.array(targets, np.int64)), words)


def _folder_part(root: Path, folder: str | None, classes: Sequence[str]) -> Part:
    """List the photographs of classes, each of them a folder below a part's folder."""
    prefix = "" if folder is None else f"{folder}/"
    rows = (
        (f"{prefix}{name}/{file}", name)
        for name in classes
        if (root / prefix / name).is_dir()
        for file in walk(root / prefix / name)
    )
    return _part(root, classes, rows, _ALL if folder is None else f"the folder {folder}")


def _class_folders(root: Path, folders: Sequence[str]) -> _Layout:
    """Find the parts among folders.

    Beside ``bus`` and ``car``, ``train`` would be a class: it is a part beside a validation part
    or where nothing else is, and a validation part beside ``train`` or likewise.
    """
    val = next((name for name in VAL_NAMES if name in folders), None)
    if val is None or "train" not in folders:
        only_parts = bool(folders) and set(folders) <= {"train", *VAL_NAMES}
        folder = (val or "train") if only_parts else None
        inside = folders if folder is None else _folders(root / folder)

        def everything() -> Part:
            # Folders without a single picture (notes, results) are no classes.
            return _folder_part(root, folder, inside).used()

        return _Layout(everything, everything)
    classes, held = _folders(root / "train"), _folders(root / val)

    def val_part() -> Part:
        if unknown := [name for name in held if name not in classes]:
            raise DatasetError(
                f"{_some(unknown)} under {val!r} but not under 'train'; both need the same class "
                "folders."
            )
        return _folder_part(root, val, classes)

    return _Layout(
        lambda: _folder_part(root, val, held),
        lambda: _folder_part(root, "train", classes),
        val_part,
    )


def _annotated(root: Path, folder: Path) -> _Layout:
    """Read Tiny-ImageNet's validation part: ``file<TAB>wnid<TAB>box...`` for ``images/file``."""
    text = (folder / _ANNOTATIONS).read_text(encoding="utf-8", errors="surrogateescape")
    rows = [line.split("\t") for line in text.splitlines() if line.strip()]
    for number, row in enumerate(rows, 1):
        if len(row) < 2:
            raise DatasetError(
                f"Line {number} of {_ANNOTATIONS} names no class; each line is a file, a tab and a "
                "WordNet id."
            )
    wnids = root / "wnids.txt"
    known = wnids.read_text().split() if wnids.is_file() else [row[1] for row in rows]
    names = sorted(set(known))
    prefix = "images" if folder == root else f"{folder.name}/images"

    def val() -> Part:
        listed = ((f"{prefix}/{row[0]}", row[1]) for row in rows if row[1] in known)
        return _part(root, names, listed, "the validation images")

    if not (root / "train").is_dir():
        return _Layout(val, val, wordnet=are_wnids(names))
    return _Layout(val, lambda: _folder_part(root, "train", names), val, wordnet=are_wnids(names))


def _table(path: Path) -> _Layout:
    """Read a table with ``path,label`` and, where the parts are given, ``split`` as its header.

    Paths are relative to the table's folder. A split is ``train``, or one of ``VAL_NAMES``, of
    which the first that occurs is the validation part; rows of the others are left out. Classes
    are sorted by name.
    """
    root, rows = path.parent, _table_rows(path)
    names = sorted({label for _, label, _ in rows})

    def part(split: str | None, words: str = _ALL) -> Part:
        mine = ((_below(root, file), label) for file, label, s in rows if split in (None, s))
        return _part(root, names, mine, words)

    splits = {split for _, _, split in rows}
    if not any(splits):
        return _Layout(lambda: part(None), lambda: part(None))
    val = next((name for name in VAL_NAMES if name in splits), "val")
    others = sorted(splits - {"train", val})
    left_out = f"the table's {val} part; its {' and '.join(others)} part is left out"
    return _Layout(
        lambda: part(val, _VAL) if val in splits else part("train"),
        lambda: part("train"),
        lambda: part(val, _VAL),
        left_out if others else OWN_PART,
    )


def _below(root: Path, name: str) -> str:
    path = root / name
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def _table_rows(path: Path) -> list[tuple[str, str, str]]:
    """Return path, label and split of every line; the split is empty where none is given."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            fields = [name.strip().lower() for name in reader.fieldnames or ()]
            if not {"path", "label"} <= set(fields):
                found = ", ".join(fields)[:80].encode("ascii", "replace").decode() or "nothing"
                raise DatasetError(
                    f"{path.name!r} begins with {found!r}; a table of images begins with {_HEADER}."
                )
            reader.fieldnames = fields
            cells = ([row.get(k, "").strip() for k in ("path", "label", "split")] for row in reader)
            rows = [(name, label, split.lower()) for name, label, split in cells]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(
            f"{path.name!r} cannot be read as a table; give a folder of images, or a CSV file in "
            f"UTF-8 with {_HEADER}."
        ) from error
    for number, (file_name, label, split) in enumerate(rows, 2):
        if not file_name or not label:
            raise DatasetError(f"Line {number} of {path.name!r} has no path or no label.")
        if "split" in fields and split not in ("train", *VAL_NAMES):
            raise DatasetError(
                f"Line {number} of {path.name!r} has the split {split!r}; accepted are train, "
                f"{', '.join(VAL_NAMES)}."
            )
    return rows


def _saved(root: Path) -> _Layout:
    """Open what ``Dataset.save_to_disk`` or ``DatasetDict.save_to_disk`` wrote.

    The first column of images and the first of class labels (else one called ``label``,
    ``labels`` or ``class``) are used. A label of None or -1 says that a row has none.
    """
    tables = _open_saved(root)
    train = tables["train"] if "train" in tables else next(iter(tables.values()))
    val = next((tables[name] for name in VAL_NAMES if name in tables), None)
    image, label = _columns(root, train)
    labels = {"train": train[label], "val": val[label] if val is not None else []}
    names = getattr(train.features[label], "names", None)
    values = range(len(names or ())) or sorted(
        {value for part in labels.values() for value in part if value is not None}
    )
    index = {value: i for i, value in enumerate(values)}

    def part(table: Any, name: str, words: str = _ALL) -> Part:
        import datasets

        # As stored: decoding is for ``load_photo`` alone.
        encoded = table.cast_column(image, datasets.Image(decode=False))
        kept = [i for i, value in enumerate(labels[name]) if value is not None and value != -1]
        photos = RowList(encoded, len(labels[name]), image, name)
        samples = Samples(photos, [index[labels[name][i]] for i in kept], kept)
        return Part(tuple(map(str, names or values)), samples, words)

    learnt, own = partial(part, train, "train"), partial(part, val, "val", _VAL)
    if val is None:
        return _Layout(learnt, learnt)
    return _Layout(lambda: found if len((found := own()).samples) else learnt(), learnt, own)


def _open_saved(root: Path) -> Mapping[str, Any]:
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
