"""The photographs that the Features tab searches: the examples, and the owner's; no gradio."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Protocol

import numpy as np
from PIL import Image

from mscnn.data.feature_files import read_feature_file
from mscnn.engine.network import Floats as Vectors
from mscnn.engine.network import Network
from mscnn.errors import DatasetError, ImageError, OptionError
from mscnn.photos.imaging import load_photo, thumbnail_of, to_png_bytes
from mscnn.results.features import FeatureFile, FeatureHead

THUMB_PX = 240
_KEPT_VECTORS = 64
_KEPT_PICTURES = 256


@dataclass(frozen=True, slots=True)
class Where:
    """Where in a network features are read.

    Attributes:
        stage: a stage (``"stage3"`` or its module's name) or a block; None for the pooled features.
        split: of the block, 0-based, timm's order.
    """

    stage: str | None = None
    split: int | None = None

    @classmethod
    def of(cls, text: str | None) -> Where:
        """Read ``"pooled"``, ``"stage3"`` or ``"layer3.1/2"``.

        Raises:
            OptionError: the split is no number.
        """
        wanted = (text or "").strip()
        if wanted in ("", "pooled"):
            return cls()
        stage, slash, split = wanted.partition("/")
        if not slash:
            return cls(stage)
        if not (split.isascii() and split.isdigit()):
            raise OptionError(f"{wanted!r} is no split; choose a place from the list.")
        return cls(stage, int(split[:9]))

    @classmethod
    def of_file(cls, head: FeatureHead) -> Where:
        """Return where the features of a file were read."""
        return cls(head.stage or None, int(head.split) if head.split else None)

    def __str__(self) -> str:
        """Return what ``of`` reads."""
        if self.stage is None:
            return "pooled"
        return self.stage if self.split is None else f"{self.stage}/{self.split}"


@dataclass(frozen=True, slots=True)
class Picture:
    """A small picture of a photograph.

    Attributes:
        url: a data URL.
        fingerprint: of all its pixels; see ``fingerprint``.
    """

    url: str = field(repr=False)
    fingerprint: str


class PhotoSet(Protocol):
    """Photographs with features."""

    @property
    def names(self) -> Sequence[str]:
        """Return how they are called, one per row."""

    def vectors(self, network: Network, where: Where) -> Vectors:
        """Return their features, ``(n, d)``."""

    def picture(self, row: int) -> Picture | None:
        """Return one of them; None where it is missing or cannot be read."""


class Examples:
    """The page's example photographs; what was computed of them is kept.

    Args:
        paths: of the photographs.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)
        self._vectors: OrderedDict[Any, Vectors] = OrderedDict()
        self._lock = threading.Lock()
        self._kept_picture = lru_cache(_KEPT_PICTURES)(self._picture)

    @property
    def names(self) -> Sequence[str]:
        """File names."""
        return [path.name for path in self._paths]

    def vectors(self, network: Network, where: Where) -> Vectors:
        """Return the features of all examples, computed once for each network and place."""
        # A folder may be trained anew under its old name, so the weights are part of the key.
        key = (network.name, network.weights.sha256, where)
        with self._lock:
            if key in self._vectors:
                self._vectors.move_to_end(key)
                return self._vectors[key]
        found = network.features(list(self._paths), stage=where.stage, split=where.split)
        with self._lock:
            self._vectors[key] = found
            while len(self._vectors) > _KEPT_VECTORS:
                self._vectors.popitem(last=False)
        return found

    def picture(self, row: int) -> Picture | None:
        """Return one example, small."""
        return self._kept_picture(row)

    def _picture(self, row: int) -> Picture | None:
        return small_picture(load_photo(self._paths[row]))


class OwnersFile:
    """A feature file that the owner named, with the folder of its photographs.

    Args:
        name: the file's name, without its folder.
        content: what it holds.
        folder: where its photographs are.
    """

    def __init__(self, name: str, content: FeatureFile, folder: Path) -> None:
        self.name, self.head = name, content.head
        self._content, self._folder = content, folder
        self._kept_picture = lru_cache(_KEPT_PICTURES)(self._picture)

    @property
    def names(self) -> Sequence[str]:
        """Paths below the folder."""
        return self._content.paths

    def vectors(self, network: Network, where: Where) -> Vectors:
        """Return the file's features, whatever the network; the caller sees that it fits."""
        return self._content.features

    def picture(self, row: int) -> Picture | None:
        """Return one photograph, small; None where it is missing or cannot be read."""
        return self._kept_picture(row)

    def _picture(self, row: int) -> Picture | None:
        name = self._content.paths[row]
        if not _stays_inside(name):
            return None
        try:
            return small_picture(load_photo(self._folder / name))
        except ImageError:
            return None


def open_files(pairs: Sequence[tuple[Path, Path]]) -> tuple[OwnersFile, ...]:
    """Read the owner's feature files, when the page starts.

    Args:
        pairs: a feature file, and the folder that ``mscnn features`` was given.

    Raises:
        DatasetError: a file is no feature file or holds nothing, or the folder is missing.
        OptionError: its name ends in no known kind.
    """
    opened = []
    for path, folder in pairs:
        if not folder.is_dir():
            raise DatasetError(
                f"There is no folder {str(folder)!r}; after {path.name}= give the folder whose "
                "photographs the file describes."
            )
        content = read_feature_file(path)
        if not len(content.paths):
            raise DatasetError(f"{path.name!r} holds no photographs; make it anew.")
        opened.append(OwnersFile(path.name, content, folder))
    return tuple(opened)


def fingerprint(photo: Image.Image) -> str:
    """Return a digest of a photo's size and pixels, as ``load_photo`` gives them."""
    found = hashlib.blake2b(f"{photo.size}".encode(), digest_size=16)
    found.update(photo.tobytes())
    return found.hexdigest()


def small_picture(photo: Image.Image) -> Picture:
    """Return a photo for a card."""
    small = np.asarray(thumbnail_of(photo, THUMB_PX))
    url = f"data:image/png;base64,{base64.b64encode(to_png_bytes(small)).decode()}"
    return Picture(url, fingerprint(photo))


def _stays_inside(name: str) -> bool:
    """Whether a path in a file, which may come from anywhere, leads below the folder.

    By its words alone: links that the owner has put into the folder are followed, as they were
    when the features were computed.
    """
    kinds = (PurePosixPath(name), PureWindowsPath(name))
    return not any(path.anchor or ".." in path.parts for path in kinds)
