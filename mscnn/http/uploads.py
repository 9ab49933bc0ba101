"""The border for files: only uploads come in, as decoded photos; answers go to gradio's cache."""

from __future__ import annotations

import base64
import re
import tempfile
from collections.abc import Iterator, Set
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes, urlsplit

import gradio as gr
from gradio import utils
from gradio.context import LocalContext
from gradio.data_classes import ImageData
from gradio.route_utils import API_PREFIX
from gradio_client import utils as client_utils
from PIL import Image

from mscnn.errors import ImageError
from mscnn.http.feedback import NOT_UPLOADED
from mscnn.photos.imaging import load_photo

_BASE64_HEAD = re.compile(r"\s*data:(.{0,999}?;)?\s*base64\s*,", re.IGNORECASE | re.DOTALL)
_BASE64 = re.compile(r"[A-Za-z0-9+/]*")
_ONE_ALPHABET = str.maketrans("-_", "+/")
_ANSWER = "answer-"
NO_PHOTO = "There is no photo yet; upload one, or choose an example."


class FileSet(set[str]):
    """Paths that gradio can go through in one thread while another adds to them."""

    def __iter__(self) -> Iterator[str]:
        return iter(frozenset(self))

    def __isub__(self, gone: Set[object]) -> FileSet:
        """Forget files that gradio deleted, and delete the folders that held our answers."""
        for path in gone:
            folder = Path(str(path)).parent
            if folder.name.startswith(_ANSWER):
                with suppress(OSError):  # not empty, or gone
                    folder.rmdir()
        self.difference_update(gone)
        return self


def cache_file(name: str, content: bytes) -> str:
    """Keep ``content`` as ``name`` in a fresh folder of gradio's cache; return its path.

    gradio serves files from there; a file made anywhere else would be copied and its original left
    behind. ``delete_cache`` removes only what is in a set of the page's: what is made during a
    request is put there, as a path in one of our messages alone would not be.
    """
    root = Path(utils.get_upload_folder())
    root.mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix=_ANSWER, dir=root)) / name
    path.write_bytes(content)
    if (blocks := LocalContext.blocks.get(None)) is not None:
        blocks.upload_file_set.add(str(path))
    return str(path)


class PhotoInput(gr.Image):
    """gradio's image component, with our own decoding.

    gradio decodes an upload before our code sees it: it drops EXIF rotation or alpha in some
    modes, clips 16-bit greys, and would open any path or link that a request names. Here only
    files in gradio's upload folder are read, and what is wrong with one comes back as an
    ``ImageError`` value, which the handler shows.
    """

    is_template = True  # gradio's front end of its image serves

    def preprocess(self, payload: ImageData | None) -> Image.Image | ImageError | None:  # type: ignore[override]
        """Decode the upload; what is wrong with it is returned, not raised."""
        if payload is None:
            return None
        try:
            return load_photo(_uploaded(payload))
        except ImageError as error:
            return error

    async def async_move_resource_to_block_cache(
        self, url_or_file_path: str | Path | None
    ) -> str | None:
        """Refuse links before gradio fetches them, but for links to uploads of this page."""
        if url_or_file_path is not None and client_utils.is_http_url_like(str(url_or_file_path)):
            try:
                return str(in_upload_folder(_linked_file(str(url_or_file_path))))
            except ImageError as error:
                raise gr.Error(str(error), print_exception=False) from None
        return await super().async_move_resource_to_block_cache(url_or_file_path)


def _uploaded(payload: ImageData) -> Any:
    """The bytes of a data URL, or the path of a file in the upload folder."""
    if payload.url and payload.url.lstrip()[:5].lower() == "data:":
        return _data_in(payload.url)
    if not payload.path or client_utils.is_http_url_like(payload.path):
        raise ImageError(NOT_UPLOADED)
    return in_upload_folder(payload.path)


def _data_in(link: str) -> bytes:
    """The bytes in a data URL (RFC 2397), as clients really write them.

    The media type may be any; base64 (RFC 4648) of either alphabet, in lines and without padding.
    What is not base64 by its head or its letters is percent-encoded.
    """
    marked = _BASE64_HEAD.match(link)
    body = link[marked.end() :] if marked else link.partition(",")[2]
    text = "".join(unquote(body).split()).translate(_ONE_ALPHABET).rstrip("=")
    if not marked and not _BASE64.fullmatch(text):
        return unquote_to_bytes(body)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as error:  # binascii.Error among them
        raise ImageError("The picture's data is damaged; upload the file itself.") from error


def _linked_file(link: str) -> str:
    """The path in a link to a file that gradio serves, which is how MCP clients name uploads.

    The host does not matter, because nothing is fetched: the path must be one of our uploads.
    """
    try:
        _, served, path = urlsplit(link).path.partition(f"{API_PREFIX}/file=")
    except ValueError:  # such as http://[
        raise ImageError(NOT_UPLOADED) from None
    return unquote(path) if served else ""


def in_upload_folder(path: str) -> Path:
    """Resolve a path; ``ImageError`` where it leads out of gradio's upload folder, or is none."""
    try:
        real = Path(path).resolve()
    except (OSError, ValueError, RuntimeError):  # too long, a NUL, a loop of links
        raise ImageError(NOT_UPLOADED) from None
    if not real.is_relative_to(Path(utils.get_upload_folder()).resolve()):
        raise ImageError(NOT_UPLOADED)
    return real
