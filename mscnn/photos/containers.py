"""What of a file's bytes its pixels need, and the two things beside them that change how they look.

Texts, thumbnails, maker notes and what else surrounds the pixels of a JPEG, PNG, WebP or TIFF is
taken off before decoding, whatever its size and however broken: decoders refuse good photos for
it. Orientation and colour profile are read here; nothing is checked that decoders check themselves.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from binascii import unhexlify
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

MAX_PROFILE_BYTES = 16 * 2**20
"""Of a colour profile once unpacked; those of printers have 3 MiB at most."""
MAX_SCANS = 100
"""Of a JPEG; encoders write up to some 20."""
MAX_PIECES = 100_000
"""Before the pixels of a JPEG: segments, single markers and fill bytes."""

_ORIENTATION = 0x0112  # Exif 2.3, table 4
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=[\"']|>)([1-8])")
_STANDALONE = frozenset((0x01, *range(0xD0, 0xD9)))  # without a length (ITU-T T.81, table B.1)
_SEGMENT = re.compile(rb"\xff[\xc0-\xcf\xd9-\xfe]")  # with one, or the end
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_TIFF_MARKS = {b"II*\0": "<", b"II+\0": "<", b"MM\0*": ">", b"MM\0+": ">"}
_TIFF_NUMBERS = {1: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 11: "f", 12: "d", 16: "Q"}
_TIFF_USUALLY_ONE = frozenset((259, 266, 277, 284))  # compression, order of bits, samples, planes
_TIFF_NUMBERS_OF_ONE = _TIFF_USUALLY_ONE | {256, 257, 262, 278, 317, 322, 323}
_TIFF_TAGS = _TIFF_NUMBERS_OF_ONE | frozenset((
    258, 273, 279, 292, 293, 320, 324, 325, 332, 334, 338, 339, 347,
    *range(512, 522), *range(529, 533),
))  # fmt: skip
"""What a decoder needs: size, layout, compression and colours (TIFF 6.0, sections 8 to 23)."""


@dataclass(frozen=True, slots=True)
class Samples:
    """How the numbers of a TIFF with one sample per pixel are meant, where Pillow does not say."""

    dtype: str  # as which the decoded bits are to be read, such as "u2" or "f4"
    white: float | None = None  # the largest value that the file says there can be
    white_is_zero: bool = False


@dataclass(frozen=True, slots=True)
class Bare:
    """A file without what its pixels do not need; what was not looked for is None."""

    data: bytes
    orientation: int | None = None  # EXIF's, 1..8
    icc: bytes | None = None
    samples: Samples | None = None


def bare(data: bytes) -> Bare:
    """Take off what the pixels of a JPEG, PNG, WebP or TIFF do not need; leave other files.

    Raises one of several built-in errors where no decoder could follow the file's structure, or
    where a PNG's header, palette or pixels do not fit their checksum.
    """
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data.startswith(_PNG_SIGNATURE):
        return _png(data)
    if data[8:12] == b"WEBP":
        return _webp(data)
    return _tiff(data) if data[:4] in _TIFF_MARKS else Bare(data)


def orientation_of(exif: bytes, xmp: bytes = b"") -> int:
    """Return EXIF's orientation 1..8, else XMP's; 1 where both are missing or broken."""
    with suppress(struct.error, KeyError):
        value = _Directory(exif.removeprefix(b"Exif\0\0")).number(_ORIENTATION)
        if value in range(1, 9):
            return int(value)
    found = _XMP_ORIENTATION.search(xmp)
    return int(found[1]) if found else 1


def _jpeg(data: bytes) -> Bare:
    """Keep the tables, the frame, and the APP0 and APP14 that tell how colours are coded."""
    kept, at, xmp = [data[:2]], 2, b""
    exif: list[bytes] = []
    profile: dict[int, bytes] = {}
    parts = 0
    for _ in range(MAX_PIECES):
        at = data.index(b"\xff", at)
        marker = data[at + 1]
        if marker in (0x00, 0xFF) or marker in _STANDALONE:
            at += 1 if marker == 0xFF else 2
            continue
        if marker == 0xDA:  # the pixels
            break
        if marker < 0xC0 or marker in (0xC8, 0xD9) or 0xF0 <= marker <= 0xFD:
            raise ValueError("no JPEG, or one without pixels")
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : end]
        if marker == 0xE1 and body.startswith(b"Exif\0\0"):
            exif.append(body[6:])
        elif marker == 0xE1 and body.startswith(b"http://ns.adobe.com/xap/"):
            xmp = xmp or body
        elif marker == 0xE2 and body.startswith(b"ICC_PROFILE\0") and len(body) > 14:
            profile[body[12]], parts = body[14:], body[13]  # ICC.1, annex B.4
        elif marker in (0xE0, 0xEE) or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            kept.append(data[at:end])
        at = end
    else:
        raise ValueError("more pieces than an encoder writes")
    if _scans(data, at) > MAX_SCANS:  # each costs time for the whole picture
        raise ValueError("more scans than an encoder writes")
    whole = b"".join(part for _, part in sorted(profile.items()))
    icc = whole if parts == len(profile) else b""
    return Bare(b"".join([*kept, data[at:]]), orientation_of(b"".join(exif), xmp), icc)


def _scans(data: bytes, at: int) -> int:
    """Count the scans from ``at`` up to the end marker, after which a video may follow.

    What looks like a marker inside a segment is none: segments are passed over by their lengths.
    """
    scans = 0
    while (found := _SEGMENT.search(data, at)) and found[0][1] != 0xD9:
        scans += found[0][1] == 0xDA
        at = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
    return scans


def _png(data: bytes) -> Bare:
    """Keep what the pixels are made of; an animation becomes its still picture.

    Ancillary chunks with a wrong checksum are ignored, as libpng does; the end chunk may lack.
    Of profiles the first counts: each is unpacked once, however many a file has.
    """
    view, at, exif, xmp, last = memoryview(data), 8, b"", b"", b""
    cut = False
    packed: dict[bytes, bytes] = {}
    kept = io.BytesIO()  # not a list: a file may be nothing but millions of chunks
    kept.write(view[:8])
    while at + 8 <= len(data) and last != b"IEND":
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if not name.isalpha():
            break
        checksum = int.from_bytes(view[end - 4 : end], "big")
        sound = end <= len(data) and zlib.crc32(view[at + 4 : end - 4]) == checksum
        if name in (b"IHDR", b"PLTE", b"IDAT", b"IEND") or (name == b"tRNS" and sound):
            if name != b"IEND" and not sound and end <= len(data):
                raise OSError(f"the checksum of {name!r} is wrong")
            kept.write(view[at:end])
            cut, last = end > len(data), name
        elif sound and name == b"eXIf":
            exif = bytes(view[at + 8 : end - 4])
        elif sound and name in (b"iCCP", b"iTXt", b"zTXt", b"tEXt"):
            key, _, rest = bytes(view[at + 8 : end - 4]).partition(b"\0")
            if key == b"XML:com.adobe.xmp":
                xmp = rest
            elif name == b"iCCP" or key == b"Raw profile type exif":
                packed.setdefault(name, rest)
        at = end
    if not cut and last != b"IEND":
        kept.write(_PNG_END)
    # ImageMagick's, before there was eXIf: its kind, its length, and the bytes in hexadecimal.
    for text in (packed.get(b"tEXt", b""), _unpacked(packed.get(b"zTXt", b"")[1:])):
        with suppress(ValueError):
            exif = exif or unhexlify(b"".join(text.split(None, 2)[2:]).translate(None, b" \r\n\t"))
    pixels = data if kept.tell() == len(data) else kept.getvalue()
    return Bare(pixels, orientation_of(exif, xmp), _unpacked(packed.get(b"iCCP", b"")[1:]))


def _webp(data: bytes) -> Bare:
    """Keep the pictures (RFC 9649, section 2.7), and say no longer that there is more."""
    kept, beside, at = [b"WEBP"], {b"EXIF": b"", b"XMP ": b"", b"ICCP": b""}, 12
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        end = at + 8 + size + size % 2
        if name == b"VP8X":
            kept.append(data[at : at + 8] + bytes([data[at + 8] & 0x12]) + data[at + 9 : end])
        elif name in (b"ALPH", b"VP8 ", b"VP8L", b"ANIM", b"ANMF"):
            kept.append(data[at:end])
        elif name in beside:
            beside[name] = data[at + 8 : at + 8 + size]
        at = end
    body = b"".join(kept)
    turned = orientation_of(beside[b"EXIF"], beside[b"XMP "])
    return Bare(b"RIFF" + struct.pack("<I", len(body)) + body, turned, beside[b"ICCP"])


def _unpacked(packed: bytes) -> bytes:
    """Decompress ``MAX_PROFILE_BYTES`` at most; nothing where that is broken."""
    with suppress(zlib.error):
        return zlib.decompressobj().decompress(packed, MAX_PROFILE_BYTES)
    return b""


class _Directory:
    """The first directory of a TIFF, a BigTIFF, or EXIF: which tags, and where they stand."""

    def __init__(self, data: bytes) -> None:
        self.data, self.order = data, _TIFF_MARKS[data[:4]]
        self.big = b"+" in data[2:4]
        self.count, self.head, self.word = (
            self.order + part for part in (("Q", "HHQ", "Q") if self.big else ("H", "HHI", "I"))
        )
        (self.start,) = struct.unpack_from(self.word, data, 8 if self.big else 4)
        (count,) = struct.unpack_from(self.count, data, self.start)
        at = self.start + struct.calcsize(self.count)
        step = struct.calcsize(self.head) + struct.calcsize(self.word)
        # A count that leads past the end is no reason to lose what stands before.
        entries = [
            data[n : n + step]
            for n in range(at, min(at + step * count, len(data) - step + 1), step)
        ]
        self.end = at + step * len(entries)
        self.entries = {struct.unpack_from(self.order + "H", entry)[0]: entry for entry in entries}

    def value(self, tag: int) -> tuple[bytes, str]:
        """Return a tag's bytes, and which numbers they are; nothing where any is missing."""
        entry = self.entries.get(tag, b"")
        _, kind, number = struct.unpack_from(self.head, entry) if entry else (0, 0, 0)
        letter = _TIFF_NUMBERS.get(kind, "")
        size, at = number * struct.calcsize(letter), struct.calcsize(self.head)
        if size > max(len(entry) - at, 0):
            entry, (at,) = self.data, struct.unpack_from(self.word, entry, at)
        value = entry[at : at + size]
        return (value, letter) if len(value) == size else (b"", "")

    def number(self, tag: int, default: Any = None) -> Any:
        """Return the first number of a tag."""
        value, letter = self.value(tag)
        return struct.unpack_from(self.order + letter, value)[0] if value else default


def _tiff(data: bytes) -> Bare:
    """Leave the tags of the first page's pixels in its directory.

    Numbers that Pillow misreads or refuses get another kind there, and ``Samples`` says which.
    """
    old = _Directory(data)
    kept = {t: entry for t, entry in old.entries.items() if t in _TIFF_TAGS and old.value(t)[0]}
    # One number where there can be no more, and room for others where it is the usual 1.
    single = {tag: old.number(tag) for tag in kept if tag in _TIFF_NUMBERS_OF_ONE}
    for tag in [tag for tag in single if tag in _TIFF_USUALLY_ONE and single[tag] == 1]:
        del kept[tag], single[tag]
    bits, colours, sign = old.number(258, 1), old.number(262, 0), old.number(339, 1)
    letter = {1: "u", 2: "i", 3: "f", 4: "u"}.get(sign)
    samples = None
    if letter and old.number(277, 1) == 1 and colours < 2 and (bits > 8 or sign == 2):
        white = 4095 if bits == 12 else old.number(341, old.number(281))
        samples = Samples(f"{letter}{-(-bits // 8)}", white, colours == 0)
        # What Pillow knows of each size; it has no unsigned 32 bits of the other byte order.
        known = {"f": 3, "i": 2, "u": 2 if old.order == ">" else 1}[letter] if bits == 32 else 1
        single |= {262: 1} | ({339: known} if known != sign else {})
    kind = 16 if old.big else 4
    kept |= {tag: struct.pack(old.head + old.word[1], tag, kind, 1, single[tag]) for tag in single}
    body = struct.pack(old.count, len(kept)) + b"".join(kept[tag] for tag in sorted(kept))
    room = old.end - old.start
    if len(body) > room:
        raise ValueError("there is no room")
    body = body.ljust(room + struct.calcsize(old.word), b"\0")  # and no next page
    pixels = data[: old.start] + body + data[old.start + len(body) :]
    turned = old.number(_ORIENTATION)
    if turned not in range(1, 9):
        turned = orientation_of(b"", old.value(700)[0])
    return Bare(pixels, turned, old.value(34675)[0], samples)
