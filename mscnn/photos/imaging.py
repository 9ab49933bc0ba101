"""The only door to ``PIL.Image.open``: any upload in, an upright sRGB photo without metadata out.

A photo of unknown origin is read whole into memory, its header is checked before a pixel is
decoded, and the result is painted onto a new canvas, so that no EXIF, GPS, colour profile or
comment is passed on. Whatever cannot be read raises ``ImageError``.
"""

from __future__ import annotations

import io
import logging
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

# The plugins are imported by name, so that Image.open never has to load all forty at once.
from PIL import (  # noqa: F401
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from mscnn.errors import ImageError, OptionError
from mscnn.photos.colour import on_white
from mscnn.results.explanation import RgbArray

logger = logging.getLogger(__name__)

MAX_PIXELS = 40_000_000  # width times height
MAX_BYTES = 256 * 2**20
"""Largest file: an uncompressed BMP or 16-bit TIFF of ``MAX_PIXELS`` has 115 to 229 MiB."""
ACCEPTED = "JPEG, PNG, WebP, AVIF, BMP, TIFF or GIF"

Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # for other libraries of this process that open uploads

PhotoSource = (
    str | os.PathLike[str] | bytes | bytearray | BinaryIO | Image.Image | npt.NDArray[np.uint8]
)

# Pillow opens a phone's MPO (JPEG with a second picture behind it) as JPEG.
_FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "BMP", "TIFF", "GIF")
# "https:/" too: that is what pathlib makes of a link.
_LINK = re.compile(r"https?:/|ftp:/|file:/|data:[a-z]+/|[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_LIMIT = f"{MAX_PIXELS // 10**6} million"
_ORIENTATION_TAG = 0x0112  # Exif 2.3, table 4
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# (offset, magic bytes, what it is), only asked once decoding has failed; first match wins.
_BROKEN = "a broken or rare {} file"
KINDS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", _BROKEN.format("JPEG")),
    (0, b"\x89PNG", _BROKEN.format("PNG")),
    (0, b"GIF8", _BROKEN.format("GIF")),
    (8, b"WEBP", _BROKEN.format("WebP")),
    *((0, tiff, _BROKEN.format("TIFF")) for tiff in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    (0, b"BM", _BROKEN.format("BMP")),
    (4, b"ftypavi", _BROKEN.format("AVIF")),
    *((4, b"ftyp" + brand, "a HEIC photo") for brand in (b"hei", b"hev", b"mif1", b"msf1")),
    *((at, magic, "a video") for at, magic in ((4, b"ftyp"), (8, b"AVI "))),
    *((0, magic, "a video") for magic in (b"\x1aE\xdf\xa3", b"\0\0\1\xba")),
    (0, b"%PDF", "a PDF document"),
    (0, b"%!PS", "a PostScript document"),
    (0, b"8BPS", "a Photoshop file"),
    *((0, magic, "a JPEG XL photo") for magic in (b"\0\0\0\x0cJXL ", b"\xff\x0a")),
    (0, b"\0\0\0\x0cjP", "a JPEG 2000 photo"),
    (0, b"PK\3\4", "a ZIP archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
)


def load_photo(source: PhotoSource) -> Image.Image:
    """Read a photo of any accepted kind and return it upright, in sRGB, without metadata.

    Of an animation the first frame is read, of an open PIL image the current one, turned as its
    EXIF says. Alpha is composited over white. A valid ICC profile that is not sRGB is converted,
    a broken or unfitting one ignored. Grey data of more than 8 bits becomes

    - 16 bits: ``round(v / 257)``, so that 65535 is 255 (12-bit TIFF: ``4095`` is 255);
    - 32-bit integers: as they are if all lie in 0..255, as 16 bits if in 0..65535, otherwise
      the range from minimum to maximum is stretched to 0..255;
    - floats: times 255 if all lie in 0..1, otherwise stretched likewise; NaN counts as the
      minimum, an infinity as the end on its side.

    Truncated pixel data is refused, whatever ``ImageFile.LOAD_TRUNCATED_IMAGES`` says; only a
    JPEG or PNG that was cut and then properly closed again goes unnoticed.

    A path, the bytes of a file, a binary stream (read from its start), a PIL image (left unchanged)
    and uint8 arrays ``(h, w)``, ``(h, w, 3)`` or ``(h, w, 4)`` give a new image of mode RGB with
    an empty ``info``, of 1 px to ``MAX_PIXELS``.

    Raises:
        ImageError: it is missing, unreadable, no picture, damaged or too large.
    """
    if isinstance(source, np.ndarray):
        return _clean(_from_array(source))
    if isinstance(source, Image.Image):
        with _refusing("The image"):
            _check_size(source.size, "The image")
            source.load()
            # Palette conversions write into the image they read, so work on a copy.
            return _clean(source.copy(), _orientation(source))
    data, who = _read(source)
    with _refusing(who, data):
        image = Image.open(_WholeFile(data), formats=_FORMATS)
        _check_size(image.size, who)
        image.load()
        return _clean(image, _orientation(image))


def thumbnail_of(photo: Image.Image, max_px: int) -> Image.Image:
    """Return a copy of at most ``max_px`` px a side (Lanczos, never enlarged), without metadata."""
    if max_px < 1:
        raise OptionError(f"A thumbnail of {max_px} px is not possible; give 1 or more.")
    rgb = photo if photo.mode == "RGB" else _clean(photo.copy())
    longer = max(rgb.size)
    if longer > max_px:
        width, height = (max(1, round(side * max_px / longer)) for side in rgb.size)
        rgb = rgb.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return _clean(rgb)


def to_png_bytes(array: RgbArray) -> bytes:
    """Encode ``(h, w, 3)`` uint8 RGB, else ``ImageError``, as a PNG file without metadata."""
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise ImageError(
            f"A {array.dtype} array of shape {array.shape} is not a picture; "
            "a PNG is made from (h, w, 3) uint8."
        )
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(out, "PNG")
    return out.getvalue()


class _WholeFile(io.BytesIO):
    """A file in memory that refuses to be read beyond its end.

    Pillow takes an empty read for a truncated file, and ignores it where a library of this
    process has set ``LOAD_TRUNCATED_IMAGES``; an error it cannot ignore.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if not data and size is not None and size > 0:
            raise OSError("the file ends too early")
        return data


def _read(source: Any) -> tuple[bytes, str]:
    """Return the bytes of a path, stream or bytes, and how messages call it."""
    if isinstance(source, (bytes, bytearray)):
        data, who = bytes(source[: MAX_BYTES + 1]), "The picture"
    elif isinstance(source, (str, os.PathLike)):
        data, who = _read_path(os.fsdecode(source))
    elif callable(getattr(source, "read", None)):
        who = _call(str(getattr(source, "name", "")))
        data = _read_stream(source, who)
    else:
        given = "Nothing" if source is None else f"An object of type {type(source).__name__}"
        raise _give(f"{given} was given where a photo is needed")
    if not data:
        raise _give(f"{who} is empty (0 bytes)")
    if len(data) > MAX_BYTES:
        raise _too_large(f"{who} has more than {MAX_BYTES // 2**20} MiB", "files")
    return data, who


def _give(fault: str, kind: str = "file") -> ImageError:
    return ImageError(f"{fault}; give a {ACCEPTED} {kind}.")


def _too_large(fault: str, kind: str = "photos") -> ImageError:
    return ImageError(f"{fault}; smaller {ACCEPTED} {kind} are accepted.")


def _read_path(path: str) -> tuple[bytes, str]:
    """Return a regular file's bytes, ``MAX_BYTES`` + 1 at most, and its name for messages."""
    if _LINK.match(path):
        raise _give("A link cannot be opened here")
    if not path:
        raise _give("The file name is empty")
    who = _call(path)
    try:
        mode = Path(path).stat().st_mode
        if stat.S_ISDIR(mode):
            raise _give(f"{who} is a folder")
        if not stat.S_ISREG(mode):  # a pipe would block, a device never end
            raise _give(f"{who} is not a regular file")
        with Path(path).open("rb") as file:
            return file.read(MAX_BYTES + 1), who
    except (FileNotFoundError, NotADirectoryError):
        raise _give(f"{who} does not exist") from None
    except PermissionError:
        raise _give(f"{who} may not be read (no permission)", "file that can be read") from None
    except (OSError, ValueError):  # ValueError: a NUL in the name
        raise _give(f"{who} cannot be read") from None


def _read_stream(stream: Any, who: str) -> bytes:
    """Return a binary stream's bytes from its start, ``MAX_BYTES`` + 1 at most."""
    data = bytearray()
    try:
        if stream.seekable():
            stream.seek(0)
        while len(data) <= MAX_BYTES and (part := stream.read(MAX_BYTES + 1 - len(data))):
            data += part
    except (OSError, ValueError, TypeError, AttributeError):
        fault = f"{who} cannot be read as a binary stream"
        raise _give(fault, "file opened with 'rb'") from None
    return bytes(data)


def _call(path: str) -> str:
    """Return how a message names a file: its last part, printable, at most 80 characters."""
    name = re.split(r"[\\/]", path.rstrip("\\/"))[-1]
    name = "".join(c if c.isprintable() else "?" for c in name)
    if not name:
        return "The picture"
    return f"'{name}'" if len(name) <= 80 else f"'{name[:60]}...{name[-16:]}'"


def _check_size(size: tuple[int, int], who: str) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise _give(f"{who} has no pixels", "photo of 1 px or more")
    if width * height > MAX_PIXELS:
        raise _too_large(f"{who} has {width} x {height} px, which is more than {_LIMIT}")


@contextmanager
def _refusing(who: str, data: bytes = b"") -> Iterator[None]:
    try:
        yield
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large(f"{who} has more than {_LIMIT} pixels") from None
    except MemoryError:
        fault = f"{who} needs more memory than there is; give a smaller {ACCEPTED} photo."
        raise ImageError(fault) from None
    # Pillow's plugins let nearly every built-in exception out on hostile bytes (Pillow #9814).
    except Exception as error:
        raise ImageError(f"{who} is {kind_of(data)}; give a complete {ACCEPTED} photo.") from error


def kind_of(data: bytes) -> str:
    """Return in words what kind of file failed to decode."""
    text = data[:4096].replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n").lower()
    if text.startswith(b"<") and (b"<svg" not in text or b"<html" in text):
        return "a web page or XML text, not a photo"
    kinds = (kind for offset, magic, kind in KINDS if data.startswith(magic, offset))
    kind = "an SVG drawing" if text.startswith(b"<") else next(kinds, "")
    if not kind:
        return "not a picture that can be read"
    return kind if "broken" in kind else f"{kind}, which is not accepted"


def _orientation(image: Image.Image) -> int:
    """Return EXIF's orientation 1..8 of a loaded image; 1 where it is missing or broken."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception as error:  # broken metadata is no reason to refuse good pixels
        logger.debug("EXIF is broken: %r", error)
        return 1
    return value if isinstance(value, int) else 1


def _from_array(array: npt.NDArray[Any]) -> Image.Image:
    fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if array.dtype != np.uint8 or not fits:
        raise ImageError(
            f"A {array.dtype} array of shape {array.shape} is not a photo; "
            "(h, w), (h, w, 3) and (h, w, 4) uint8 are accepted."
        )
    _check_size((array.shape[1], array.shape[0]), "The array")
    return Image.fromarray(np.ascontiguousarray(array))


def _clean(image: Image.Image, orientation: int = 1) -> Image.Image:
    """Return a loaded image as upright RGB on a new canvas, without metadata."""
    canvas = on_white(image)
    return canvas.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else canvas
