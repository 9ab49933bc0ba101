"""Photos as visitors' requests name them: read and decoded once, kept within bounds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from PIL import Image

from mscnn.errors import ImageError
from mscnn.http.uploads import NO_PHOTO, cache_file
from mscnn.models.examples import Example, examples
from mscnn.page.cache import Cache
from mscnn.page.request import GONE, Request
from mscnn.photos.imaging import image_bytes, load_photo, thumbnail_of

T = TypeVar("T")
SERVED_PX = 1600
"""Longer side of the copy that the browser draws, at most."""
THUMB_PX = 160
_KEPT_BYTES = 128 * 2**20


@dataclass(frozen=True, slots=True)
class Photo:
    """A decoded photo.

    Attributes:
        digest: sha256 of the file; the photo's part of a cache key, where its name is not kept.
        image: upright, RGB.
        name: what to call it: the file's own name, or the example's.
        served: path of its copy in gradio's cache, which the browser may fetch.
        note: a sentence that belongs beside its answers, or "".
    """

    digest: str
    image: Image.Image
    name: str
    served: str
    note: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """The photo's part of the cache key of a result that holds its name."""
        return self.digest, self.name

    def message(self) -> dict[str, object]:
        """Return what the viewer draws it from; ``path`` is one in gradio's cache."""
        width, height = self.image.size
        return {"path": self.served, "width": width, "height": height, "name": self.name}


class PhotoStore:
    """All visitors' photos, and the examples that the page offers."""

    def __init__(self) -> None:
        self._cache = Cache(_KEPT_BYTES)
        self.examples: dict[str, Example] = {e.id: e for e in examples()}

    def get(self, request: Request) -> Photo:
        """Return the photo of a request.

        Raises:
            ImageError: there is none, or it cannot be read.
        """
        example, path = self.examples.get(request.example), self.path(request)
        if example is not None:
            return replace(self._open(path, example.label), note=example.fails)
        return self._open(path, path.name)

    def path(self, request: Request) -> Path:
        """Return where the photo of a request lies; ``ImageError``: there is none."""
        if request.example:
            if request.example not in self.examples:
                raise ImageError("There is no such example; choose one of those on the page.")
            return self.examples[request.example].path
        if request.photo is None:
            raise ImageError(NO_PHOTO)
        return request.photo

    def small(self, path: Path) -> str | None:
        """Return the path, in gradio's cache, of a small picture; None where it is no photo."""
        try:
            status = path.stat()
            key = ("small", path, status.st_size, status.st_mtime_ns)
            return self._kept(key, lambda: thumbnail(path), lambda made: made)
        except (OSError, ValueError, ImageError):  # ValueError: a NUL in the name
            return None

    def served(self, example: Example) -> str:
        """Return the path, in gradio's cache, of an example as the viewer draws it."""
        return self._open(example.path, example.label).served

    def _open(self, path: Path, name: str) -> Photo:
        try:
            status = path.stat()
        except OSError:
            raise ImageError(GONE) from None
        key = (path, status.st_size, status.st_mtime_ns)
        return self._kept(key, lambda: _decoded(path, name), lambda photo: photo.served)

    def _kept(self, key: Hashable, make: Callable[[], T], served: Callable[[T], str]) -> T:
        made = self._cache.get(key, make)
        if not Path(served(made)).is_file():  # an hour later gradio has removed it
            self._cache.drop(key)
            made = self._cache.get(key, make)
        return made


def _decoded(path: Path, name: str) -> Photo:
    image = load_photo(path)
    small = image_bytes(thumbnail_of(image, SERVED_PX), "JPEG", quality=90, subsampling=0)
    served = cache_file("photo.jpg", small)
    return Photo(_digest(path), image, name, served)


def is_same(path: Path, photo: Photo) -> bool:
    """Whether a file is the photo's."""
    try:
        return _digest(path) == photo.digest
    except OSError:
        return False


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def thumbnail(path: Path) -> str:
    """Save a small picture of a photo in gradio's cache; return its path."""
    small = image_bytes(thumbnail_of(load_photo(path), THUMB_PX), "WEBP", quality=82)
    return cache_file("small.webp", small)
