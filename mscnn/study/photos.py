"""Which photographs a study uses: those that every model calls by the same, right name."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch

from mscnn.data.classes import map_classes
from mscnn.data.layouts import find_labelled
from mscnn.data.listing import Account, entries, reading, walk
from mscnn.engine.network import Network, Progress
from mscnn.engine.pipeline import same_class
from mscnn.errors import DatasetError, ImageError, UnknownClassError
from mscnn.models.probabilities import check_finite
from mscnn.photos.imaging import load_photo
from mscnn.results.explanation import RgbArray
from mscnn.study.measure import view_of

BATCH = 32


@dataclass(frozen=True, slots=True)
class StudyPhoto:
    """A photograph, and the index of its class in each model, in the order of the models."""

    path: Path
    targets: tuple[int, ...]


@dataclass(slots=True)
class Chosen:
    """The photographs of a study, how many were classified to find them, and what is none."""

    photos: list[StudyPhoto] = field(default_factory=list)
    looked_at: int = 0
    unreadable: list[Path] = field(default_factory=list)


def find_photos(
    root: Path, seed: int, account: Account | None = None
) -> tuple[list[tuple[Path, str | None]], bool]:
    """List the files of a folder in an order fixed by ``seed``, with their class where it is known.

    Class folders and Tiny-ImageNet's layout give classes (of these the validation part is used); a
    folder of loose photographs, but for two folders of more, gives none. What is not used is noted
    in ``account``. Raises ``DatasetError``: there is no such folder, or no photograph in it.
    """
    account, beside = account or Account(root), Account(root)
    if not root.is_dir():
        raise DatasetError(f"There is no folder {str(root)!r}; give a folder with photographs.")
    with reading(root):
        inside = entries(root, beside)
        loose = [root / name for name, is_folder in inside if not is_folder]
        folders = [name for name, is_folder in inside if is_folder and loose]
        loose *= sum(next(walk(root / name), "") != "" for name in folders) < 2
    found: list[tuple[Path, str | None]] = [(path, None) for path in loose]
    for name in folders if loose else ():
        beside.note(root / name, "a folder beside the photographs that are used", folder=True)
    if not loose:
        data = find_labelled(root)
        found = [(path, data.names[i]) for path, i in data.samples if isinstance(path, Path)]
        beside = data.account
        if not found:  # rows of a saved data set
            raise DatasetError(f"{str(root)!r} is not a folder of photographs; give one that is.")
    account.unused |= beside.unused
    account.notices += beside.notices
    random.Random(seed).shuffle(found)
    return found, not loose


def choose(
    networks: Sequence[Network],
    files: Sequence[tuple[Path, str | None]],
    *,
    limit: int,
    on_progress: Progress = lambda *_: None,
) -> Chosen:
    """Take up to ``limit`` photographs that every network classifies alike, and correctly.

    What is right is the file's class, or, where it has none, the first network's answer. Raises
    ``DatasetError``: no photograph is left, or a network knows none of the classes;
    ``UnknownClassError``: see ``_check_names``; ``WeightsError``.
    """
    _check_names(networks, files)
    chosen = Chosen()
    for start in range(0, len(files), BATCH):
        read: list[tuple[Path, str | None, list[RgbArray]]] = []
        for path, label in files[start : start + BATCH]:
            try:
                image = load_photo(path, whole=True)
            except ImageError:
                chosen.unreadable.append(path)
            else:  # not the photographs themselves, which may be large
                read.append((path, label, [view_of(network, image, 1.0) for network in networks]))
        if read:
            chosen.looked_at += len(read)
            best = [
                _best(network, [views[which] for _, _, views in read])
                for which, network in enumerate(networks)
            ]
            for (path, label, _), *indices in zip(read, *best, strict=True):
                targets = _agreed(networks, indices, label)
                if targets is not None and len(chosen.photos) < limit:
                    chosen.photos.append(StudyPhoto(path, targets))
        on_progress(len(chosen.photos), limit)
        if len(chosen.photos) >= limit:
            break
    if not chosen.photos:
        raise DatasetError(
            f"Of {chosen.looked_at} photographs none was classified correctly by all models, so "
            "there is nothing to measure; choose other photographs or models."
            + f" {len(chosen.unreadable)} files could not be read."
            * bool(chosen.unreadable)
        )
    return chosen


def _check_names(networks: Sequence[Network], files: Sequence[tuple[Path, str | None]]) -> None:
    """Raise ``DatasetError``, which names the classes, where a network knows none of them.

    ``UnknownClassError``: what is right would be another network's answer, but the classes of one
    are only numbered.
    """
    for network in networks if any(label is None for _, label in files) else ():
        networks[0].labels.check_comparable(network.labels)
    names = sorted({label for _, label in files if label is not None})
    for network in networks:
        for name in names:
            with suppress(DatasetError):
                map_classes([name], network.labels)
                break
        else:
            map_classes(names, network.labels)


@torch.inference_mode()
def _best(network: Network, views: Sequence[RgbArray]) -> list[int]:
    """The best class of each view; ``WeightsError``: the network gives no finite numbers."""
    x = torch.cat([network.preprocess.tensor_of(view) for view in views])
    logits, _ = network.guarded(lambda: network.model(network.to_device(x)))
    check_finite(logits)
    return list(logits.argmax(1).tolist())


def _agreed(
    networks: Sequence[Network], best: Sequence[int], label: str | None
) -> tuple[int, ...] | None:
    """The class in each network, where all of them gave it; else None."""
    labels = [network.labels for network in networks]
    try:
        if label is None:
            wanted = [same_class(labels[0], best[0], of_model) for of_model in labels]
        else:
            wanted = [int(map_classes([label], of_model)[0]) for of_model in labels]
    except (DatasetError, UnknownClassError):
        return None
    return tuple(best) if list(best) == wanted else None
