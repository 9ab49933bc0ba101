"""Finding the photographs of a training set and their classes.

Understood are one folder per class (with or without ``train/`` and ``val/`` above),
Tiny-ImageNet's layout (``train/<wnid>/images``, ``val/val_annotations.txt``, ``wnids.txt``), a
CSV table of paths and classes, and a data set that Hugging Face's ``datasets`` saved to disk.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from mscnn.data.walking import SUFFIXES, unreadable_folder, walk
from mscnn.errors import DatasetError, ImageError
from mscnn.photos.file_kinds import KINDS
from mscnn.photos.imaging import PhotoSource, load_photo

VAL_NAMES = ("val", "valid", "validation", "test")
_ACCEPTED = [(offset, magic) for offset, magic, kind in KINDS if "broken" in kind]


class StoredPhoto(Protocol):
    """A photograph inside a larger file."""

    @property
    def name(self) -> str:
        """How messages and lists call it."""

    def read(self) -> PhotoSource:
        """Return what ``load_photo`` takes."""


Photo = Path | StoredPhoto
Item = TypeVar("Item", bound=Photo)
Found = TypeVar("Found", bound=Photo, covariant=True)
Samples = tuple[tuple[Photo, int], ...]


@dataclass(frozen=True)
class ImageFolders(Generic[Found]):
    """A data set: class names in index order, and the photographs of each part.

    Attributes:
        names: of the classes.
        train: pairs of a photograph and a class index.
        val: the same, for measuring.
        split: where the validation part comes from, in words.
        unreadable: what was left out, as ``(name, reason)``.
    """

    names: tuple[str, ...]
    train: tuple[tuple[Found, int], ...]
    val: tuple[tuple[Found, int], ...]
    split: str = "the data's own validation part"
    unreadable: tuple[tuple[str, str], ...] = ()


def open_data(root: Path, *, val_share: float = 0.1, seed: int = 0) -> ImageFolders[Photo]:
    """Open a data set of any kind: what ``find_images`` finds, or a saved Hugging Face data set.

    Raises:
        DatasetError: as ``find_images``, or the ``datasets`` package is missing.
    """
    if not any((root / name).is_file() for name in ("dataset_dict.json", "dataset_info.json")):
        return find_images(root, val_share=val_share, seed=seed)
    from mscnn.data.arrow import read_saved

    found = read_saved(root, val_share=val_share, seed=seed)
    check_classes(root, found)
    return found


def find_images(root: Path, *, val_share: float = 0.1, seed: int = 0) -> ImageFolders[Path]:
    """Find classes and photographs in a folder or a CSV table.

    Without a validation part, ``val_share`` of each class (at least one image where a class has
    two) is held out, drawn with ``seed``.

    Raises:
        DatasetError: nothing there, fewer than two classes, no images, or a layout that is not
            understood.
    """
    if root.is_file():
        from mscnn.data.table import read_table

        found = read_table(root, val_share=val_share, seed=seed)
    elif not root.is_dir():
        raise DatasetError(f"There is no folder {str(root)!r}; give a folder with images.")
    else:
        is_tiny = (root / "wnids.txt").is_file() and (root / "val/val_annotations.txt").is_file()
        try:
            found = _tiny_imagenet(root) if is_tiny else _folders(root, val_share, seed)
        except OSError as error:
            raise unreadable_folder(root, error) from error
    check_classes(root, found)
    return found


def check_classes(root: Path, data: ImageFolders[Photo]) -> None:
    """Refuse a data set of fewer than two classes, or without images in one of its parts.

    Raises:
        DatasetError: as said.
    """
    if not data.names or not (data.train or data.val):
        raise DatasetError(_nothing(root))
    if len(data.names) < 2:
        raise DatasetError(
            f"{str(root)!r} holds one class folder or class, {data.names[0]!r}; a classifier needs "
            "two or more, so add a second one."
        )
    if not data.train or not data.val:
        raise DatasetError(
            f"{str(root)!r} holds {len(data.names)} class folders or classes, {len(data.train)} "
            f"training and {len(data.val)} validation images; give each class two or more images."
        )


def _nothing(root: Path) -> str:
    shape = "make one folder per class and put its images in there"
    if root.is_file():
        return f"The table {root.name!r} names no images; give lines of a path and a label."
    loose = sum(p.suffix.lower() in SUFFIXES for p in root.iterdir() if p.is_file())
    if loose:
        return f"{str(root)!r} holds {loose} images and no folder per class; {shape}."
    if not any(root.iterdir()):
        return f"The folder {str(root)!r} is empty; {shape}."
    folders = len(_class_folders(root))
    return f"{str(root)!r} holds {folders} folders and no images in them; {shape}."


def check_trainable(data: ImageFolders[Photo]) -> None:
    """Refuse classes that nothing can be learnt about.

    Raises:
        DatasetError: a class has no training image, or only one where some were to be held out.
    """
    train, val = (Counter(index for _, index in part) for part in (data.train, data.val))
    lonely = [n for i, n in enumerate(data.names) if train[i] + val[i] == 1]
    if lonely:
        raise DatasetError(
            f"{_some(lonely)} with a single image; one to learn from and one to measure with are "
            "needed, so add images or take the class out."
        )
    missing = [n for i, n in enumerate(data.names) if not train[i]]
    if missing:
        raise DatasetError(
            f"{_some(missing)} without a training image; add images or take the class out."
        )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")
    return f"There {'is a class' if len(names) == 1 else f'are {len(names)} classes'} ({shown})"


def drop_unreadable(data: ImageFolders[Photo]) -> ImageFolders[Photo]:
    """Leave out files that are missing, empty or no pictures, by their first bytes.

    A file that is damaged further on is only found when it is decoded; training leaves it out
    then.
    """
    bad: list[tuple[str, str]] = []

    def kept(samples: Samples) -> Samples:
        good = []
        for photo, index in samples:
            reason = unreadable_reason(photo) if isinstance(photo, Path) else None
            if reason is None:
                good.append((photo, index))
            else:
                bad.append((str(photo), reason))
        return tuple(good)

    return replace(data, train=kept(data.train), val=kept(data.val), unreadable=tuple(bad))


def unreadable_reason(path: Path) -> str | None:
    """Say why a file cannot be a photograph; None where its first bytes are those of one."""
    try:
        with path.open("rb") as file:
            head = file.read(16)
        if any(head.startswith(magic, offset) for offset, magic in _ACCEPTED):
            return None
    except OSError:
        pass  # load_photo says it better
    try:
        load_photo(path)
    except ImageError as error:
        return str(error)
    return None


def hold_out(
    classes: Sequence[tuple[str, Sequence[Item]]], val_share: float, seed: int
) -> tuple[list[tuple[Item, int]], list[tuple[Item, int]]]:
    """Split photographs per class; what is held out depends on the class's name and ``seed``.

    Args:
        classes: names in index order, each with its photographs in a fixed order.
        val_share: of each class; at least one of two or more.
        seed: of the draw.

    Returns:
        The training and the validation part.
    """
    train: list[tuple[Item, int]] = []
    val: list[tuple[Item, int]] = []
    for i, (name, photos) in enumerate(classes):
        files = list(photos)
        random.Random(f"{seed}/{name}").shuffle(files)
        held = max(1, round(len(files) * val_share)) if len(files) > 1 and val_share > 0 else 0
        # A small class must keep something to learn from, however much is to be held out.
        held = min(held, len(files) - 1) if files else 0
        val += [(p, i) for p in files[:held]]
        train += [(p, i) for p in files[held:]]
    return train, val


def held_out_words(val_share: float, seed: int) -> str:
    """Return how ``hold_out`` made a validation part, for the model card."""
    return f"{100 * val_share:.3g} % of each class, held out with seed {seed}"


def _images_of(folder: Path) -> list[Path]:
    return [folder / name for name in walk(folder)]


def _class_folders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def parts_of(names: Sequence[str]) -> tuple[bool, str | None]:
    """Whether ``train`` is a part among these folders, and which one is the validation part.

    Beside ``bus`` and ``car`` both would be classes: ``train`` is a part beside a validation part
    or where nothing else is, and a validation part beside ``train`` or likewise.
    """
    val = next((name for name in VAL_NAMES if name in names), None)
    only_parts = set(names) <= {"train", *VAL_NAMES}
    has_train = "train" in names and (val is not None or only_parts)
    return has_train, val if has_train or only_parts else None


def _folders(root: Path, val_share: float, seed: int) -> ImageFolders[Path]:
    has_train, val = parts_of([folder.name for folder in _class_folders(root)])
    train = root / "train" if has_train else root
    if has_train and val is not None:
        return _split_folders(train, root / val)
    classes = [(folder.name, _images_of(folder)) for folder in _class_folders(train)]
    # Folders without a single picture (notes, results) are no classes.
    classes = [(name, files) for name, files in classes if files]
    learnt, held = hold_out(classes, val_share, seed)
    names = tuple(name for name, _ in classes)
    return ImageFolders(names, tuple(learnt), tuple(held), held_out_words(val_share, seed))


def _split_folders(train_root: Path, val_root: Path) -> ImageFolders[Path]:
    folders = _class_folders(train_root)
    index = {folder.name: i for i, folder in enumerate(folders)}
    val_folders = _class_folders(val_root)
    unknown = [folder.name for folder in val_folders if folder.name not in index]
    if unknown:
        raise DatasetError(
            f"{_some(unknown)} under {val_root.name!r} but not under {train_root.name!r}; both "
            "need the same class folders."
        )
    val = [(p, index[folder.name]) for folder in val_folders for p in _images_of(folder)]
    train = tuple((p, index[f.name]) for f in folders for p in _images_of(f))
    return ImageFolders(tuple(index), train, tuple(val))


def _tiny_imagenet(root: Path) -> ImageFolders[Path]:
    from mscnn.models.labels import wordnet_lemmas

    wnids = sorted((root / "wnids.txt").read_text().split())
    index = {wnid: i for i, wnid in enumerate(wnids)}
    train = tuple((p, i) for wnid, i in index.items() for p in _images_of(root / "train" / wnid))
    val = []
    for line in (root / "val" / "val_annotations.txt").read_text().splitlines():
        file, wnid, *_ = line.split("\t")
        if wnid in index:
            val.append((root / "val" / "images" / file, index[wnid]))
    return ImageFolders(tuple(wordnet_lemmas(wnids)), train, tuple(val))
