"""Labelled photographs to evaluate on, as data sets are usually laid out.

Of a data set with its own validation part that part is used, otherwise all of it. Understood are
class folders (also below ``val/`` or ``train/``), Tiny-ImageNet's layout, a CSV table, a folder of
loose photographs with one such table in it, and a data set that Hugging Face's ``datasets`` saved.
Class names are what the data calls them, WordNet ids included; see ``mscnn.data.classes``.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mscnn.data.layouts import ImageFolders, Photo, parts_of
from mscnn.data.listing import FileList, PhotoList, SampleList
from mscnn.data.walking import SUFFIXES, unreadable_folder, walk
from mscnn.errors import DatasetError

_ANNOTATIONS = "val_annotations.txt"
_SHAPE = "give one folder per class with its images, or a CSV table with the header path,label"
_NO_SEED = 0


@dataclass(frozen=True, slots=True)
class LabelledPhotos:
    """What to evaluate on.

    Attributes:
        names: classes as the data calls them.
        photos: in a fixed order.
        targets: ``(n,)`` int32, indices into ``names``.
        part: which part of the data this is, in words.
    """

    names: tuple[str, ...]
    photos: PhotoList = field(repr=False)
    targets: npt.NDArray[np.int32] = field(repr=False)
    part: str = "all images"


def find_labelled(root: Path) -> LabelledPhotos:
    """Find photographs and their classes.

    Raises:
        DatasetError: nothing is there, or the layout is not understood.
    """
    try:
        found = _find(root)
    except OSError as error:
        raise unreadable_folder(root, error) from error
    if not len(found.photos):
        raise DatasetError(_nothing(root))
    return found


def _find(root: Path) -> LabelledPhotos:
    if root.is_file():
        return _table(root)
    if not root.is_dir():
        raise DatasetError(f"There is no folder {str(root)!r}; give a folder with images.")
    if any((root / name).is_file() for name in ("dataset_dict.json", "dataset_info.json")):
        return _saved(root)
    for folder in (root / "val", root):
        if (folder / _ANNOTATIONS).is_file():
            return _annotated(root, folder)
    folders = _folders_in(root)
    if not folders:
        tables = sorted(root.glob("*.csv"))
        if len(tables) == 1 and any(p.suffix.lower() in SUFFIXES for p in root.iterdir()):
            return _table(tables[0])
    part, words = _part_of(root, [folder.name for folder in folders])
    return _class_folders(root, part, words)


def _folders_in(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def _part_of(root: Path, names: list[str]) -> tuple[Path, str]:
    """Return the folder of class folders to use; ``val`` counts as a part beside ``train`` only."""
    has_train, val = parts_of(names)
    if val is not None:
        return root / val, f"the folder {val}"
    if has_train:
        return root / "train", "the folder train"
    return root, "all images"


def _class_folders(root: Path, part: Path, words: str) -> LabelledPhotos:
    names: list[str] = []
    targets = array("i")
    prefix = "" if part == root else f"{part.name}/"

    def files() -> Iterator[str]:
        for folder in _folders_in(part):
            for number, name in enumerate(walk(folder)):
                if not number:  # folders without a single picture (notes, results) are no classes
                    names.append(folder.name)
                targets.append(len(names) - 1)
                yield f"{prefix}{folder.name}/{name}"

    photos = FileList(root, files())
    return LabelledPhotos(tuple(names), photos, np.array(targets, np.int32), words)


def _annotated(root: Path, folder: Path) -> LabelledPhotos:
    """Read Tiny-ImageNet's validation part: ``file<TAB>wnid<TAB>box...`` for ``images/file``."""
    text = (folder / _ANNOTATIONS).read_text(encoding="utf-8", errors="surrogateescape")
    rows = [line.split("\t") for line in text.splitlines() if line.strip()]
    short = next((number for number, row in enumerate(rows, 1) if len(row) < 2), None)
    if short is not None:
        raise DatasetError(
            f"Line {short} of {_ANNOTATIONS} names no class; each line is a file, a tab and a "
            "WordNet id."
        )
    names = sorted({row[1] for row in rows})
    index = {name: number for number, name in enumerate(names)}
    prefix = "images" if folder == root else f"{folder.name}/images"
    photos = FileList(root, (f"{prefix}/{row[0]}" for row in rows))
    targets = np.array([index[row[1]] for row in rows], np.int32)
    return LabelledPhotos(tuple(names), photos, targets, "the validation images")


def _table(path: Path) -> LabelledPhotos:
    from mscnn.data.table import read_table

    return _samples(path.parent, read_table(path, val_share=0.0, seed=_NO_SEED))


def _saved(root: Path) -> LabelledPhotos:
    from mscnn.data.arrow import read_saved

    return _samples(root, read_saved(root, val_share=0.0, seed=_NO_SEED))


def _samples(root: Path, data: ImageFolders[Photo]) -> LabelledPhotos:
    """Take the validation part; without one all is in the training part, as none was held out."""
    pairs: Iterable[tuple[Photo, int]] = data.val or data.train
    photos, targets = [p for p, _ in pairs], [index for _, index in pairs]
    used = sorted(set(targets))
    # Classes without a photograph here need no place in the model.
    names = tuple(data.names[index] for index in used)
    renumbered = np.searchsorted(used, targets).astype(np.int32)
    words = "the validation part" if data.val else "all images"
    return LabelledPhotos(names, SampleList(root, photos), renumbered, words)


def _nothing(root: Path) -> str:
    if root.is_file():
        return f"The table {root.name!r} names no images; {_SHAPE}."
    if not any(root.iterdir()):
        return f"The folder {str(root)!r} is empty; {_SHAPE}."
    loose = sum(p.suffix.lower() in SUFFIXES for p in root.iterdir())
    if loose:
        return f"{str(root)!r} holds {loose} images but nothing says their classes; {_SHAPE}."
    return f"There is no image in {str(root)!r}; {_SHAPE}."
