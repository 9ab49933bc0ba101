"""Data sets of labelled photographs, to train or to evaluate on.

Understood are one folder per class (also below parts such as ``train/`` and ``val/``, whose names
``mscnn.data.parts`` knows, and below a folder that wraps all of it), Tiny-ImageNet's layout
(``train/<wnid>``, ``val/val_annotations.txt``, ``wnids.txt``), a CSV table of paths and classes
(or a folder of loose photographs with one such table in it), and a data set that Hugging Face's
``datasets`` saved to disk. Of a data set with its own validation part an evaluation uses that part,
otherwise all of it; training holds some photographs out where there is none. Class names are kept
as they are written; two that differ only in how Unicode composes them are one class. What is not
used is in the ``Account``.
"""

from __future__ import annotations

import random
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mscnn.data import listing
from mscnn.data.label_tables import below, table_rows
from mscnn.data.listing import Account, FileList, Numbers, RowList, Samples, reading, walk
from mscnn.data.parts import VAL_NAMES, composed, is_part, train_and_val
from mscnn.errors import DatasetError
from mscnn.models.labels import are_wnids, wordnet_lemmas
from mscnn.photos.imaging import KINDS

OWN_PART = "the data's own validation part"
_ALL, _VAL = "all images", "the validation part"
_OTHER = "beside the parts that are used"
_NO_CLASS = "a folder with no picture to use, so no class"
_ANNOTATIONS = "val_annotations.txt"
_ACCEPTED = [(offset, magic) for offset, magic, kind in KINDS if "broken" in kind]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a data set, called ``words``; ``names`` may be WordNet ids."""

    names: tuple[str, ...]
    samples: Samples = field(repr=False)
    words: str = _ALL
    account: Account = field(default_factory=Account, repr=False)

    def used(self) -> Part:
        """Return the part without classes that have no photograph in it."""
        return self.kept(np.unique(self.samples.targets))

    def kept(self, classes: Numbers) -> Part:
        """Return the part with some of its classes, sorted numbers, that all photographs have."""
        samples = self.samples.aimed(np.searchsorted(classes, self.samples.targets))
        return replace(self, names=tuple(self.names[i] for i in classes), samples=samples)


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set to train on, its ``names`` in the order of class indices."""

    names: tuple[str, ...]
    train: Samples = field(repr=False)
    val: Samples = field(repr=False)
    split: str = OWN_PART  # in words, where the validation part comes from
    unreadable: tuple[tuple[str, str], ...] = ()  # what was left out: name, reason
    account: Account = field(default_factory=Account, repr=False)


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
    account = Account(root)
    with reading(root):
        found = _layout(root, account).measured().used()
    if not len(found.samples):
        raise DatasetError(_nothing_in(root, account, to_learn=False))
    return replace(found, account=account)


def open_data(root: Path, *, val_share: float = 0.1, seed: int = 0) -> DataSet:
    """Open a data set to train on, or raise ``DatasetError``.

    Without a validation part, ``val_share`` of each class (at least one image where a class has
    two) is held out, drawn with ``seed``.
    """
    account = Account(root)
    with reading(root):
        layout = _layout(root, account)
        train = layout.train()
        if layout.val is not None:
            found = DataSet(train.names, train.samples, layout.val().samples, layout.split)
            held = set(map(found.val.name, range(len(found.val))))
            learnt = map(found.train.name, range(len(found.train)))
            if both := [name for name in learnt if name in held]:
                raise DatasetError(
                    f"{len(both)} training images, such as {both[0]!r}, are also among those to "
                    "measure with; give each photograph one split."
                )
        else:
            # In words, for the model card.
            split = f"{100 * val_share:.3g} % of each class, held out with seed {seed}"
            found = DataSet(train.names, *_hold_out(train, val_share, seed), split)
    if layout.wordnet:
        found = replace(found, names=tuple(wordnet_lemmas(found.names)))
    found = replace(found, account=account)
    check_classes(root, found)
    return found


def _hold_out(part: Part, val_share: float, seed: int) -> tuple[Samples, Samples]:
    """Split photographs per class; what is held out depends on the class's name and ``seed``."""
    train: list[int] = []
    val: list[int] = []
    for index, name in enumerate(part.names):
        numbers = np.flatnonzero(part.samples.targets == index).tolist()
        # As bytes: the name of a folder may be no text.
        random.Random(f"{seed}/{name}".encode("utf-8", "surrogateescape")).shuffle(numbers)
        # Of two one is held out, and one is left to learn from, whatever the fraction.
        held = min(max(1, round(len(numbers) * val_share)), max(len(numbers) - 1, 0))
        val += numbers[:held]
        train += numbers[held:]
    # A table may give a photograph several classes; none of its rows is learnt from then.
    kept = {part.samples.name(number) for number in val}
    train = [number for number in train if part.samples.name(number) not in kept]
    return part.samples.select(train), part.samples.select(val)


def check_classes(root: Path, data: DataSet) -> None:
    """Raise ``DatasetError`` for fewer than two classes, or a part without images."""
    if not data.names or not (len(data.train) or len(data.val)):
        raise DatasetError(_nothing_in(root, data.account, to_learn=True))
    if len(data.names) < 2:
        tables = [f", or give the table {table.name!r}" for table in sorted(root.glob("*.csv"))]
        raise DatasetError(
            f"{str(root)!r} holds one class folder or class, {data.names[0]!r}; a classifier needs "
            f"two or more, so add a second one{tables[0] if tables else ''}."
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


def not_measured(data: DataSet) -> str:
    """Say which classes have no validation image; "" where all have one."""
    measured = set(data.val.targets.tolist())
    blind = [name for index, name in enumerate(data.names) if index not in measured]
    return f"{_some(blind)} without a validation image." if blind else ""


def _nothing_in(root: Path, account: Account, *, to_learn: bool) -> str:
    return " ".join([_none_in(root, to_learn=to_learn), *account.lines()])


def _none_in(root: Path, *, to_learn: bool) -> str:
    shape = "give one folder per class with its images, or a CSV table with the header path,label"
    loose_but = "but nothing says their classes"
    if to_learn:
        shape = "make one folder per class and put its images in there"
        loose_but = "and no folder per class"
    if root.is_file():
        lines = "give lines of a path and a label" if to_learn else shape
        return f"The table {root.name!r} names no images; {lines}."
    folders, loose = _inside(root)
    if loose:
        return f"{str(root)!r} holds {len(loose)} images {loose_but}; {shape}."
    if not any(root.iterdir()):
        return f"The folder {str(root)!r} is empty; {shape}."
    if to_learn:
        return f"{str(root)!r} holds {len(folders)} folders and no images in them; {shape}."
    return f"There is no image in {str(root)!r}; {shape}."


def _some(names: Sequence[str]) -> str:
    count = "is a class" if len(names) == 1 else f"are {len(names)} classes"
    return f"There {count} ({_names(names)})"


def _names(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")


def drop_unreadable(data: DataSet) -> DataSet:
    """Leave out files that are missing, empty or no pictures, by their first bytes alone."""
    bad: list[tuple[str, str]] = []

    def kept(samples: Samples) -> Samples:
        if not isinstance(samples.photos, FileList):
            return samples
        good = []
        for number in range(len(samples)):
            path = samples.full_name(number)
            if _begins_well(path) or not (reason := listing.why_unreadable(path)):
                good.append(number)
            else:
                bad.append((path, reason))
        return samples.select(good)

    left = replace(data, train=kept(data.train), val=kept(data.val), unreadable=tuple(bad))
    listing.check_any(bad, len(data.train) + len(data.val))
    return left


def _begins_well(path: str) -> bool:
    """Whether a file's first bytes are those of an accepted format."""
    try:
        if not Path(path).is_file():  # opening a pipe would wait for ever
            return False
        with Path(path).open("rb") as file:
            head = file.read(16)
    except OSError:
        return False
    return any(head.startswith(magic, offset) for offset, magic in _ACCEPTED)


def _layout(root: Path, account: Account, inner: str = "") -> _Layout:
    """Find the layout of a folder, or of the one ``inner`` below it, which wraps all."""
    if root.is_file():
        return _table(root)
    if not root.is_dir():
        raise DatasetError(f"There is no folder {str(root)!r}; give a folder with images.")
    if inner:
        account.notices.append(f"The data is taken from the folder {inner!r} in it.")
    described = _described(root / inner, account)
    return described() if described else _class_folders(root, inner, account)


def _described(root: Path, account: Account) -> Callable[[], _Layout] | None:
    """Return what opens a folder in which a file says what the others are, else None."""
    if any((root / name).is_file() for name in ("dataset_dict.json", "dataset_info.json")):
        return partial(_saved, root, account)
    for folder in (root / "val", root):
        if (folder / _ANNOTATIONS).is_file():
            return partial(_annotated, root, folder, account)
    folders, loose = _inside(root)
    tables = sorted(root.glob("*.csv")) if loose and not folders else []
    return partial(_table, tables[0], account) if len(tables) == 1 else None


def _inside(folder: Path, account: Account | None = None) -> tuple[list[str], list[str]]:
    """Return the names of folders and of photographs directly in a folder of folders.

    These photographs, and what is neither, are noted in the ``account``.
    """
    account = account or Account(folder)
    found = listing.entries(folder, account)
    loose = [name for name, is_folder in found if not is_folder]
    for name in loose:
        account.note(folder / name, "beside the folders of the classes")
    return [name for name, is_folder in found if is_folder], loose


def _filled(folder: Path, but: Sequence[str] = ()) -> list[str]:
    """Return the first two folders with a photograph at any depth, ``but`` for some."""
    names = (name for name in _inside(folder)[0] if name not in but)
    filled = (name for name in names if next(walk(folder / name, Account(folder)), ""))
    return list(islice(filled, 2))


def _unwrapped(
    root: Path, folder: str, account: Account, known: Sequence[str] | None = None
) -> str:
    """Return a folder below ``root``, or the one at any depth in it that holds all its classes.

    ``known`` are the classes of the other part, where it is a part.
    """
    path: list[str] = []
    here, several, described = root / folder, False, False
    while not (described or several):
        filled = _filled(here)
        if len(filled) != 1 or filled[0] in (known or ()):
            return folder
        path, here = [*path, *filled], here / filled[0]
        described = known is None and _described(here, account) is not None
        several = len(_filled(here)) == 2 and not _inside(here)[1]
    here = root / folder
    for wrapped in path:
        for name in _inside(here, account)[0]:
            if name != wrapped:
                deque(walk(here / name, account), 0)  # has no photographs, but files
        here /= wrapped
    return "/".join(filter(None, (folder, *path)))


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


def _folder_part(
    root: Path, folder: str, account: Account, names: Sequence[str] | None = None, like: str = ""
) -> Part:
    """List the photographs of classes, each of them a folder below the ``folder`` of a part.

    ``names`` has all classes in order where something else gives them; that other part, ``like``,
    must have all that are here, else ``DatasetError``.
    """
    here, known, unknown = root / folder, dict[str, str](), list[str]()
    folders = _inside(here, account)[0]
    for name in folders if names is None else names:
        known.setdefault(composed(name), name)
    below = {name: set[str]() for name in folders}  # what its photographs lie in, "" for itself

    def rows() -> Iterator[tuple[str, str]]:
        for name in folders:
            named = known.get(composed(name), "")
            for file in walk(here / name, account):
                below[name].add(file.partition("/")[0] if "/" in file else "")
                if not named:
                    account.note(here / name, _OTHER, folder=True)
                    break
                yield f"{folder}/{name}/{file}".lstrip("/"), named
            if below[name] and not named:
                unknown.append(name)
            elif not below[name] and not (here / name).is_symlink():
                account.note(here / name, _NO_CLASS, folder=True)

    part = _part(root, tuple(known.values()), rows(), f"the folder {folder}" if folder else _ALL)
    if unknown and like:
        raise DatasetError(
            f"{_some(unknown)} under {folder!r} but not under {like!r}; both need the same class "
            "folders."
        )
    _check_below(below, account)
    return part


def _check_below(below: Mapping[str, set[str]], account: Account) -> None:
    """Raise ``DatasetError`` where classes hold parts; say where parts may be taken for classes."""
    filled = {name: inside for name, inside in below.items() if inside}
    for name, inside in filled.items():
        if all(parts := train_and_val(inside)):
            raise DatasetError(
                f"The folder {name!r} holds the parts {parts[0]!r} and {parts[1]!r}; give it alone "
                f"if it is the data, or make {parts[0]}/{name} and {parts[1]}/{name} if a class."
            )
        if is_part(name) and len(inside) > 1 and "" not in inside:
            raise DatasetError(
                f"{name!r} holds folders ({_names(sorted(inside))}) as a part does; give it alone, "
                "call the part beside it val, or put its images right in it if it is a class."
            )
    alike = set(map(frozenset, filled.values()))
    same = sorted(next(iter(alike))) if len(alike) == 1 < len(filled) else []
    if len(same) > 1 and "" not in same:
        account.notices.append(
            f"{_names(list(filled))} hold folders of the same names ({_names(same)}) and are taken "
            "for the classes; if they are parts, call them train and val."
        )


def _class_folders(root: Path, inner: str, account: Account) -> _Layout:
    """Find the parts among folders.

    Beside ``bus`` and ``car``, ``train`` would be a class: it is a part beside a validation part
    or where nothing else is, and a validation part beside ``train`` or likewise.
    """
    here = root / inner
    folders = _inside(here)[0]
    train, val = train_and_val(folders)
    parts = [name for name in folders if is_part(name)]
    if not (train and val) and (not parts or _filled(here, parts)):
        if (wrapped := _unwrapped(root, inner, account)) != inner:
            return _layout(root, account, wrapped)
        return _Layout(*2 * (lambda: _folder_part(root, inner, account).used(),))
    for name in _inside(here, account)[0]:
        if name not in (train, val):
            account.note(here / name, _OTHER, folder=True)
    if train and val and not _inside(here / val)[0]:
        account.note(here / val, _OTHER, folder=True)
        account.notices.append(f"{val!r} holds no folder per class, so it is not measured with.")
        val = ""
    learnt = _unwrapped(root, f"{inner}/{train or val}".lstrip("/"), account, ())
    if not (train and val):
        return _Layout(*2 * (lambda: _folder_part(root, learnt, account).used(),))
    if train != "train" or val not in VAL_NAMES:
        account.notices.append(f"The training part is {train!r}, the validation part {val!r}.")
    known = _inside(root / learnt)[0]
    held = _unwrapped(root, f"{inner}/{val}".lstrip("/"), account, known)

    @cache
    def both() -> tuple[Part, Part]:
        train = _folder_part(root, learnt, account)
        val = _folder_part(root, held, account, train.names, learnt)
        used = np.union1d(train.samples.targets, val.samples.targets)
        return train.kept(used), val.kept(used)

    measured = partial(_folder_part, root, held, account)
    return _Layout(lambda: measured().used(), lambda: both()[0], lambda: both()[1])


def _annotated(root: Path, folder: Path, account: Account) -> _Layout:
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
    _note_unnamed(root / prefix, (row[0] for row in rows if row[1] in known), account)

    def val() -> Part:
        listed = ((f"{prefix}/{row[0]}", row[1]) for row in rows if row[1] in known)
        return _part(root, names, listed, "the validation images")

    if not (root / "train").is_dir():
        return _Layout(val, val, wordnet=are_wnids(names))
    train = partial(_folder_part, root, "train", account, names)
    return _Layout(val, train, val, wordnet=are_wnids(names))


def _note_unnamed(folder: Path, names: Iterable[str], account: Account) -> None:
    known = set(names)
    for name, _ in listing.entries(folder, account) if folder.is_dir() else ():
        if name not in known:
            account.note(folder / name, "not in the list that gives the classes")


def _table(path: Path, account: Account | None = None) -> _Layout:
    """Read a table with ``path,label`` and, where the parts are given, ``split`` as its header.

    Paths are relative to the table's folder. A split is called as a part of folders may be; of
    several to measure with, the first of ``VAL_NAMES`` is the validation part, and rows of the
    others are left out. Classes are sorted by name.
    """
    # Once each: as of a table with a row for each object in a photo.
    root, rows = path.parent, list(dict.fromkeys(table_rows(path)))
    splits = {split for _, _, split in rows}
    val = train_and_val(splits)[1] or "val"
    # A class that only a part has which is left out is neither learnt nor measured.
    names = sorted({label for _, label, split in rows if split in ("", "train", val)})
    if account is not None:
        _note_unnamed(root, (below(root, file) for file, _, _ in rows), account)
        account.take_back(path)

    def part(split: str | None, words: str = _ALL) -> Part:
        mine = ((below(root, file), label) for file, label, s in rows if split in (None, s))
        return _part(root, names, mine, words)

    if splits <= {"", "train"}:
        return _Layout(lambda: part(None), lambda: part(None))
    others = sorted(splits - {"train", val})
    called = _VAL if val.startswith("val") else f"the {val} part"
    left_out = f"the table's {val} part; its {' and '.join(others)} part is left out"
    return _Layout(
        lambda: part(val, called) if val in splits else part("train"),
        lambda: part("train"),
        lambda: part(val, called),
        left_out if others else OWN_PART,
    )


def _saved(root: Path, account: Account) -> _Layout:
    """Open what ``Dataset.save_to_disk`` or ``DatasetDict.save_to_disk`` wrote.

    The first column of images and the first of class labels (else one called ``label``,
    ``labels`` or ``class``) are used. A label of None or -1 says that a row has none. A class that
    no row has, as after ``filter``, is not learnt.
    """
    tables = _open_saved(root)
    learnt_from, measured_with = train_and_val(tables)
    # What is measured with is not learnt from: of a part that stands alone some is held out.
    others = (name for name in tables if name != measured_with)
    learnt_from = learnt_from or next(others, measured_with)
    train = tables[learnt_from]
    val = tables.get(measured_with) if measured_with != learnt_from else None
    if left := [name for name in tables if name not in (learnt_from, measured_with)]:
        verb = "is" if len(left) == 1 else "are"
        account.notices.append(f"Of the saved data set {_names(left)} {verb} left out.")
    image, label = _columns(root, train)
    known = getattr(train.features[label], "names", None) or []

    def given(table: Any) -> list[Any]:  # of a data set that was saved in NumPy's format too
        return [v.item() if isinstance(v, np.generic) else v for v in table[label]]

    is_numbered = not known and isinstance(next(iter(given(train)), None), int)

    def named(table: Any) -> list[Any]:
        # Each part may number its classes in its own way, unless those learnt from have no names.
        own = [] if is_numbered else getattr(table.features[label], "names", None) or known
        return [own[v] if own and isinstance(v, int) and v >= 0 else v for v in given(table)]

    labels = {"train": named(train), "val": named(val) if val is not None else []}
    every = [v for part in labels.values() for v in part if v is not None and v != -1]
    kinds = set(map(type, every))
    if not (kinds <= {str} or kinds <= {bool, int, float}):
        such = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise DatasetError(
            f"The labels of {str(root)!r} are of the kind {such}; one text, or one number, for "
            "each image is needed."
        )
    values = [*known, *sorted(set(every).difference(known))]
    index = {value: i for i, value in enumerate(values)}

    def part(table: Any, name: str, words: str = _ALL) -> Part:
        import datasets

        # As stored: decoding is for ``load_photo`` alone.
        alone = table.select_columns([image])  # a row is read with all its columns
        encoded = alone.cast_column(image, datasets.Image(decode=False))
        kept = [i for i, value in enumerate(labels[name]) if value is not None and value != -1]
        photos = RowList(encoded, len(labels[name]), image, name)
        samples = Samples(photos, [index[labels[name][i]] for i in kept], kept)
        return Part(tuple(map(str, values)), samples, words)

    words = f"the part {learnt_from!r}" if left else _ALL
    learnt, own = partial(part, train, "train", words), partial(part, val, "val", _VAL)

    @cache
    def used() -> Numbers:
        shown = set(every)
        if empty := [str(value) for value in values if value not in shown]:
            account.notices.append(f"{_some(empty)} without any image, so not learnt.")
        return np.array(sorted(index[value] for value in shown), np.int64)

    if val is None:
        return _Layout(learnt, lambda: learnt().kept(used()))
    instead = partial(part, train, "train", "the training part")  # of a part without labels
    return _Layout(
        lambda: found if len((found := own()).samples) else instead(),
        lambda: learnt().kept(used()), lambda: own().kept(used()),
    )  # fmt: skip


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
