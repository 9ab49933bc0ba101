"""The only door to ``PIL.Image.open``: any upload in, an upright sRGB photo without metadata out.

A photo of unknown origin is read whole into memory, its header is checked before a pixel is
decoded, and the result is painted onto a new canvas, so that no EXIF, GPS, colour profile or
comment is passed on. Whatever cannot be read raises ``ImageError``.

Photos of up to ``MAX_PIXELS`` keep every pixel. Larger ones, up to ``MAX_FILE_PIXELS``, are reduced
while they are decoded, one at a time: beside the file itself that takes 2 GiB at most.
"""

from __future__ import annotations

import io
import logging
import os
import re
import stat
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
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
    ImageChops,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from mscnn.errors import ImageError, OptionError
from mscnn.photos.colour import eight_bits, on_white, samples_of
from mscnn.photos.containers import Bare, Samples, bare, orientation_of
from mscnn.results.explanation import RgbArray

logger = logging.getLogger(__name__)

MAX_PIXELS = 40_000_000
"""Of a photo as it is returned, width times height; larger ones are reduced to this."""
MAX_FILE_PIXELS = 200_000_000
MAX_SIDE_PX = 100_000
"""Lines of one pixel cost as much as lines of a thousand."""
MAX_BYTES = 640 * 2**20
"""Largest file: an uncompressed BMP or TIFF of ``MAX_FILE_PIXELS`` has 572 MiB."""
ACCEPTED = "JPEG, PNG, WebP, AVIF, HEIC, BMP, TIFF or GIF"
NOTICES = "notices"
"""Key in a photo's ``info`` of what a user should know of it: a tuple of sentences."""

# For other libraries of this process that open uploads, too: a limit, no warning.
Image.MAX_IMAGE_PIXELS = MAX_FILE_PIXELS
warnings.simplefilter("error", Image.DecompressionBombWarning)
logging.getLogger("PIL").addHandler(logging.NullHandler())  # or it prints

PhotoSource = (
    str | os.PathLike[str] | bytes | bytearray | BinaryIO | Image.Image | npt.NDArray[np.uint8]
)

# Pillow opens a phone's MPO (JPEG with a second picture behind it) as JPEG.
_FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "BMP", "TIFF", "GIF")
# "https:/" too: that is what pathlib makes of a link.
_LINK = re.compile(r"https?:/|ftp:/|file:/|data:[a-z]+/|[a-z][a-z0-9+.-]+://", re.IGNORECASE)
# libwebp holds four copies of a picture, 16 bytes a pixel.
_FILE_PIXELS = {"WEBP": 100_000_000}
_MOST_LOST = 0.5
"""A JPEG of which more is missing is refused."""
_BAND_PIXELS = 2**22
_one_large = threading.Lock()
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
_HEIF_BRANDS = (b"hei", b"hev", b"mif1", b"msf1")
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
    *((4, b"ftyp" + brand, _BROKEN.format("HEIC")) for brand in _HEIF_BRANDS),
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


def load_photo(source: PhotoSource, *, whole: bool = False) -> Image.Image:
    """Read a photo of any accepted kind and return it upright, in sRGB, without metadata.

    Of an animation the first frame is read, of an open PIL image the current one, turned as its
    EXIF says. Alpha is composited over white. A valid ICC profile that is not sRGB is converted,
    a broken or unfitting one ignored. Grey data of other than 8 bits becomes

    - 16 bits: ``round(v / 257)``, so that 65535 is 255. Only in TIFF may less be white: what the
      file says in MaxSampleValue (12-bit TIFF: 4095), else the least of 255, 1023, 4095 and 65535
      that no pixel exceeds, for 12 bits of a sensor are often kept in 16;
    - 32-bit integers, signed or not: by the same rule if all lie in 0..65535, otherwise the range
      from minimum to maximum is stretched to 0..255;
    - floats: times 255 if all lie in 0..1, otherwise stretched likewise; NaN counts as the
      minimum, an infinity as the end on its side.

    A photo of more than ``MAX_PIXELS`` is reduced: a JPEG by its own scaling to 1/2 or 1/4, others
    by averaging squares of pixels. A JPEG without its end is returned as far as it goes, the rest
    grey. Other truncated pixel data is refused, whatever ``ImageFile.LOAD_TRUNCATED_IMAGES`` says;
    only a JPEG or PNG that was cut and then properly closed again goes unnoticed.

    A path, the bytes of a file, a binary stream (read from its start), a PIL image (left unchanged)
    and uint8 arrays ``(h, w)``, ``(h, w, 3)`` or ``(h, w, 4)`` give a new image of mode RGB, of
    1 px to ``MAX_PIXELS``. Its ``info`` holds nothing but, under ``NOTICES``, what was done.

    Args:
        source: what to read.
        whole: refuse a JPEG that may have lost more than its end marker.

    Raises:
        ImageError: it is missing, unreadable, no picture, damaged or too large.
    """
    if isinstance(source, np.ndarray):
        return _finished(_from_array(source))
    if isinstance(source, Image.Image):
        with _refusing("The image"), _reading(source.size, "The image", source.format):
            source.load()
            # Palette conversions write into the image they read, so work on a copy.
            own = source.copy() if source.width * source.height <= MAX_PIXELS else source
            profile, samples = source.info.get("icc_profile"), samples_of(source)
            return _finished(
                own, _orientation(source), profile, samples, source.size, notices_of(source)
            )
    data, who = _read(source)
    with _refusing(who, data[:4096]):
        if data[4:8] == b"ftyp" and data[8:12].startswith(_HEIF_BRANDS):
            with suppress(UnidentifiedImageError):  # an AVIF may bear such a brand too
                return _decoded(Bare(data), who, whole)
            return _heif(data, who)
        file = bare(data)
        del data  # of which that is another copy
        return _decoded(file, who, whole)


def notices_of(photo: Image.Image) -> tuple[str, ...]:
    """Return what a user should know of how a photo was read; nothing in most cases."""
    found = photo.info.get(NOTICES)
    return found if isinstance(found, tuple) else ()


def thumbnail_of(photo: Image.Image, max_px: int) -> Image.Image:
    """Return a copy of at most ``max_px`` px a side (Lanczos, never enlarged), without metadata."""
    if max_px < 1:
        raise OptionError(f"A thumbnail of {max_px} px is not possible; give 1 or more.")
    rgb = photo if photo.mode == "RGB" else on_white(eight_bits(photo.copy()))
    longer = max(rgb.size)
    if longer > max_px:
        width, height = (max(1, round(side * max_px / longer)) for side in rgb.size)
        rgb = rgb.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return on_white(rgb)


def to_png_bytes(array: RgbArray) -> bytes:
    """Encode ``(h, w, 3)`` uint8 RGB, else ``ImageError``, as a PNG file without metadata."""
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise ImageError(
            f"A {array.dtype} array of shape {array.shape} is not a picture; "
            "a PNG is made from (h, w, 3) uint8."
        )
    return image_bytes(Image.fromarray(np.ascontiguousarray(array)), "PNG")


def image_bytes(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Encode a picture as a file of a kind, such as ``"PNG"``, with what ``save`` takes for it."""
    out = io.BytesIO()
    image.save(out, kind, **options)
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
        who = shown_name(str(getattr(source, "name", "")))
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
    who = shown_name(path)
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


def shown_name(path: str) -> str:
    """Return how a message names a file: its last part, printable, at most 80 characters."""
    name = re.split(r"[\\/]", path.rstrip("\\/"))[-1]
    name = "".join(c if c.isprintable() else "?" for c in name)
    if not name:
        return "The picture"
    return f"'{name}'" if len(name) <= 80 else f"'{name[:60]}...{name[-16:]}'"


def _check_size(size: tuple[int, int], who: str, kind: str | None = None) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise _give(f"{who} has no pixels", "photo of 1 px or more")
    most = _FILE_PIXELS.get(kind or "", MAX_FILE_PIXELS)
    if width * height > most:
        limit = f"{most // 10**6} million" + (" pixels of a WebP" if most < MAX_FILE_PIXELS else "")
        raise _too_large(f"{who} has {width} x {height} px, which is more than {limit}")
    if max(size) > MAX_SIDE_PX:
        raise _too_large(f"{who} has {width} x {height} px, more than {MAX_SIDE_PX:,} on one side")


@contextmanager
def _reading(size: tuple[int, int], who: str, kind: str | None = None) -> Iterator[None]:
    """Check an image's size by its header, and decode large ones one at a time."""
    _check_size(size, who, kind)
    with _one_large if size[0] * size[1] > MAX_PIXELS else nullcontext():
        yield


def _decoded(file: Bare, who: str, whole: bool) -> Image.Image:
    image = _opened(file)
    stored, notices = image.size, notices_of(image)
    with _reading(image.size, who, image.format):
        _draft(image)
        try:
            image.load()
        except OSError:
            if image.format != "JPEG":
                raise
            image, notices = _without_end(file, whole)
        turn, profile = file.orientation, file.icc
        if turn is None:
            turn = orientation_of(image.info.get("exif", b""), image.info.get("xmp", b""))
            profile = image.info.get("icc_profile")
        return _finished(image, turn, profile, file.samples, stored, notices)


def _opened(file: Bare, end: bytes = b"") -> Image.Image:
    image = Image.open(_WholeFile(file.data + end if end else file.data), formats=_FORMATS)
    tiles: Any = image.tile
    if file.samples and tiles and tiles[0].codec_name == "libtiff":
        # libtiff gives numbers as this machine has them; Pillow knows that of 16 bits only.
        mode, *args = tiles[0].args
        mode = {"I;32BS": "I;32NS", "F;32BF": "F;32NF"}.get(mode, mode)
        tiles[0] = tiles[0]._replace(args=(mode, *args))
    return image


def _draft(image: Image.Image) -> None:
    """Let the decoder of a large JPEG give a half or a quarter of its size."""
    scale = _factor(image, (1, 2, 4, 8))
    if scale > 1 and min(image.size) >= scale:
        image.draft(None, (image.width // scale, image.height // scale))


def _without_end(file: Bare, whole: bool) -> tuple[Image.Image, tuple[str, ...]]:
    """Decode a JPEG whose last bytes are missing; also say how much of the picture is."""
    # What was lost is where it matters what stands in for it: zero bits, which libjpeg takes where
    # there are none, or others. Behind a byte of 255 another than 0 would be a marker.
    found, gap = [], b"\0" if file.data.endswith(b"\xff") else b""
    for filler in (b"", gap + bytes(range(254, 0, -1)) * 2):
        image = _opened(file, filler + b"\xff\xd9")
        _draft(image)
        image.load()
        found.append(image)
    box = ImageChops.difference(*found).getbbox()
    lost = 0.0 if box is None else 1 - box[1] / found[0].height
    # The first scan of several shows the whole picture; nothing tells how many there should be.
    scans = file.data.count(b"\xff\xda")
    sure = scans == 1 and "progressive" not in found[0].info
    if (whole and not (sure and not lost)) or (lost > _MOST_LOST and scans == 1):
        raise OSError("too much of the picture is missing")
    part = f"{max(lost, 0.01):.0%} of the picture, which is grey or coarse" if lost else "detail"
    said = "; no pixel is lost" if sure and not lost else f", and with it {part}"
    return found[0], (f"The end of this JPEG file is missing{said}.",)


def _heif(data: bytes, who: str) -> Image.Image:
    import pillow_heif  # only here: few photos need it

    file = pillow_heif.open_heif(io.BytesIO(data))
    with _reading(file.size, who):
        image = file.to_pillow()  # already upright
        return _finished(image, 1, image.info.get("icc_profile"))


@contextmanager
def _refusing(who: str, data: bytes = b"") -> Iterator[None]:
    try:
        yield
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        limit = f"{MAX_FILE_PIXELS // 10**6} million"
        raise _too_large(f"{who} has more than {limit} pixels") from None
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


def _finished(
    image: Image.Image,
    orientation: int = 1,
    profile: object = None,
    samples: Samples | None = None,
    stored: tuple[int, int] | None = None,
    notices: tuple[str, ...] = (),
) -> Image.Image:
    """Return a loaded image as upright RGB on a new canvas, reduced to ``MAX_PIXELS``.

    ``stored`` is its size in the file, where decoding may have reduced it.
    """
    stored = stored or image.size
    image = eight_bits(image, samples)
    canvas = on_white(image, profile) if _factor(image) == 1 else _reduced(image, profile)
    reduced = canvas.size != stored
    if orientation in _UPRIGHT:
        canvas = canvas.transpose(_UPRIGHT[orientation])
    if reduced:
        width, height = stored if orientation < 5 else stored[::-1]
        now = f"{canvas.width} x {canvas.height} px"
        notices = (*notices, f"The photo has {width} x {height} px; it was reduced to {now}.")
    if notices:
        canvas.info[NOTICES] = notices
    return canvas


def _factor(image: Image.Image, factors: Iterable[int] = range(1, 100)) -> int:
    """Return the first of the factors by which an image is to be reduced."""
    return next(f for f in factors if -(-image.width // f) * -(-image.height // f) <= MAX_PIXELS)


def _reduced(image: Image.Image, profile: object) -> Image.Image:
    """Average squares of pixels, band by band, so that few are in memory as colours."""
    (width, height), factor = image.size, _factor(image)
    canvas = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    step = factor * max(1, _BAND_PIXELS // (width * factor))
    for top in range(0, height, step):
        band = image.crop((0, top, width, min(top + step, height)))
        canvas.paste(on_white(band, profile).reduce(factor), (0, top // factor))
    return canvas
