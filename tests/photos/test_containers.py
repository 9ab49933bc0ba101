"""Good pixels are read whatever stands beside them, against the same pixels without it."""

import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from PIL import Image

from mscnn.errors import ImageError
from mscnn.photos import containers
from mscnn.photos.imaging import load_photo, notices_of

RNG = np.random.default_rng(5)
PIXELS = RNG.integers(0, 256, (40, 60, 3), np.uint8)
NOISE = RNG.bytes(3_000_000)
TURNED = b"MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"  # EXIF's orientation 6
UPRIGHT = b"Exif\0\0" + TURNED.replace(b"\0\6", b"\0\1")
HEX = TURNED.hex().encode()
PROFILE_NAME = b"name\0\0"


def encode(fmt, **options):
    out = io.BytesIO()
    Image.fromarray(PIXELS).save(out, fmt, **options)
    return out.getvalue()


def load(data, **options):
    return np.asarray(load_photo(data, **options))


def chunk(name, body, checksum=None):
    crc = zlib.crc32(name + body) if checksum is None else checksum
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", crc)


def png_with(extra, before=b"IDAT"):
    data = encode("PNG")
    at = data.index(before) - 4
    return data[:at] + extra + data[at:]


PNG_CHUNKS: dict[str, Callable[[], bytes]] = {
    "zTXt of 64 MB": lambda: chunk(b"zTXt", b"workflow\0\0" + zlib.compress(bytes(64_000_000))),
    "tEXt of 3 MB": lambda: chunk(b"tEXt", b"workflow\0" + NOISE),
    "iTXt of 10 MB": lambda: chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"x" * 10_000_000),
    "iTXt packed": lambda: chunk(b"iTXt", b"c\0\1\0\0\0" + zlib.compress(bytes(10_000_000))),
    "70 MB in parts": lambda: chunk(b"tEXt", b"k\0" + b"x" * 1_000_000) * 70,
    "iCCP of 3 MB": lambda: chunk(b"iCCP", PROFILE_NAME + zlib.compress(NOISE)),
    "iCCP of 100 MB": lambda: chunk(b"iCCP", PROFILE_NAME + zlib.compress(bytes(100_000_000))),
    "iCCP of another compression": lambda: chunk(b"iCCP", b"name\0\7" + b"rubbish"),
    "eXIf broken": lambda: chunk(b"eXIf", b"II*\0\xff\xff\xff\xff"),
    "eXIf of 3 MB": lambda: chunk(b"eXIf", NOISE),
    "raw profile broken": lambda: chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 4\nzz"),
    "pHYs cut": lambda: chunk(b"pHYs", b"\0"),
    "APNG without frames": lambda: chunk(b"acTL", bytes(8)),
    "APNG twice": lambda: chunk(b"acTL", struct.pack(">II", 2, 0)) * 2,
    "fcTL out of order": lambda: chunk(b"fcTL", struct.pack(">I", 7) + bytes(22)),
    **{
        f"{name.decode()} with a wrong checksum": partial(chunk, name, body, 123)
        for name, body in {
            b"tEXt": b"Comment\0hello", b"gAMA": bytes(4), b"tIME": bytes(7), b"eXIf": TURNED,
            b"iCCP": PROFILE_NAME + zlib.compress(NOISE[:100]), b"tRNS": bytes(6),
        }.items()
    },
}  # fmt: skip


@pytest.mark.parametrize("case", PNG_CHUNKS)
def test_chunks_beside_a_pngs_pixels(case):
    extra = PNG_CHUNKS[case]()
    assert np.array_equal(load(png_with(extra)), PIXELS)
    if b"tRNS" not in extra:
        assert np.array_equal(load(png_with(extra, before=b"IEND")), PIXELS)


def test_of_profiles_the_first_is_unpacked_and_no_other(monkeypatch):
    unpacked, asked = containers._unpacked, []

    def counted(packed):
        asked.append(packed)
        return unpacked(packed)

    monkeypatch.setattr(containers, "_unpacked", counted)
    raw = b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n 26\n" + HEX[:9] + b"\n" + HEX[9:])
    other = zlib.compress(b"other") + bytes(99)
    extra = chunk(b"iCCP", PROFILE_NAME + zlib.compress(b"profile")) + chunk(b"zTXt", raw)
    extra += chunk(b"iCCP", PROFILE_NAME + other) * 50
    extra += chunk(b"zTXt", b"Raw profile type exif\0\0" + other) * 50
    got = containers.bare(png_with(extra))
    assert (got.data, got.orientation, got.icc) == (encode("PNG"), 6, b"profile")
    assert len(asked) <= 2


def test_a_png_of_nothing_but_empty_chunks_takes_no_more_room_than_its_size():
    data = png_with(chunk(b"IDAT", b"") * 100_000)
    tracemalloc.start()
    containers.bare(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * len(data)


@pytest.mark.parametrize("name", [b"IHDR", b"IDAT"])
def test_a_wrong_checksum_of_the_pixels_is_an_error(name):
    data = bytearray(encode("PNG"))
    at = data.index(name)
    (length,) = struct.unpack_from(">I", data, at - 4)
    data[at + 4 + length] ^= 1
    with pytest.raises(ImageError, match="broken or rare PNG"):
        load_photo(bytes(data))


@pytest.mark.parametrize("kept", [8, 4, 0])
def test_a_pngs_end_chunk_may_lack(kept):
    data = encode("PNG")
    assert np.array_equal(load(data[: len(data) - 12 + kept]), PIXELS)
    assert np.array_equal(load(data[:-12] + chunk(b"tEXt", NOISE)[:99]), PIXELS)


def test_a_webps_metadata_may_be_cut_or_miscounted():
    for data in (
        encode("WEBP", lossless=True, exif=UPRIGHT + bytes(5000))[:-100],
        b"RIFF\xff\xff\0\0" + encode("WEBP", lossless=True)[8:],
        encode("WEBP", lossless=True) + b"XMP \xff\xff\xff\x7f rubbish",
    ):
        assert np.array_equal(load(data), PIXELS)


def segment(marker, body):
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body


def jpeg_with(extra):
    data = encode("JPEG", quality=100, subsampling=0)
    return data[:20] + extra + data[20:]  # behind APP0


EXIF, ICC = b"Exif\0\0", b"ICC_PROFILE\0"
PHOTOSHOP = b"Photoshop 3.0\0"
MPF = struct.pack(">IHHHI4sI", 8, 1, 0xB001, 4, 1, b"\0\0\0\5", 0)
JPEG_SEGMENTS = {
    "60 segments": b"".join(
        segment(0xE1 + n % 13, b"vendor\0" + NOISE[:60_000]) for n in range(60)
    ),
    "XMP in 50 parts": segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + NOISE[:65_000]) * 50,
    "8BIM cut": segment(0xED, PHOTOSHOP + b"8BIM\3\xed"),
    "8BIM with a wrong length": segment(0xED, PHOTOSHOP + b"8BIM\3\xed\0\0\xff\xff\xff\xff"),
    "MPF broken": segment(0xE2, b"MPF\0II*\0\x08\0\0\0\xff\xff" + bytes(40)),
    "MPF out of place": segment(0xE2, b"MPF\0MM\0*" + MPF),
    "EXIF in 20 parts": segment(0xE1, EXIF + NOISE[:60_000]) * 20,
    "EXIF without density": segment(0xE1, EXIF + b"MM\0*\0\0\0\x08\0\1\1\x1a\0\5" + bytes(8)),
    "ICC of 3 MB": b"".join(
        segment(0xE2, ICC + bytes([n, 50]) + NOISE[:60_000]) for n in range(1, 51)
    ),
    "ICC in parts that lack": segment(0xE2, ICC + b"\1\2rubbish"),
    "ICC cut": segment(0xE2, ICC),
    "comment": segment(0xFE, NOISE[:65_000]) * 20,
}


@pytest.mark.parametrize("extra", JPEG_SEGMENTS.values(), ids=JPEG_SEGMENTS)
def test_segments_beside_a_jpegs_pixels(extra):
    plain = np.asarray(Image.open(io.BytesIO(jpeg_with(b""))))
    assert np.array_equal(load(jpeg_with(extra)), plain)


class Counting(bytes):
    """Bytes that note how many are copied where they are added to others."""

    copied = 0

    def __getitem__(self, key):
        found = super().__getitem__(key)
        return Counting(found) if isinstance(key, slice) else found

    def __radd__(self, other):
        Counting.copied += len(other) + len(self)
        return bytes(other) + bytes(self)


def test_exif_in_many_parts_is_joined_once():
    parts = [segment(0xE1, EXIF + TURNED[n : n + 9]) for n in range(0, len(TURNED), 9)]
    data = Counting(jpeg_with(b"".join([*parts, segment(0xE1, EXIF) * 2000])))
    Counting.copied = 0
    assert containers.bare(data).orientation == 6
    assert Counting.copied <= len(data)


def test_scans_without_number_are_refused():
    data = encode("JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    scan = data[last:-2]
    assert load(data[:last] + scan * 50 + data[-2:]).shape == PIXELS.shape
    assert load(data + scan * 200).shape == PIXELS.shape  # behind the end
    with pytest.raises(ImageError, match="broken or rare JPEG"):
        load_photo(data[:last] + scan * 200 + data[-2:])
    for marker in (0xFE, 0xE4):  # what looks like the end inside a segment is none
        hidden = segment(marker, b"\xff\xd9")
        with pytest.raises(ImageError, match="broken or rare JPEG"):
            load_photo(data[:last] + hidden + scan * 200 + data[-2:])
        assert load(data[:last] + segment(marker, b"\xff\xda" * 200) + data[last:]).shape


def tiff_with(tag, kind, number, value, order="<", data=None):
    """The TIFF with one more tag: its directory is written anew behind the file."""
    data = data or encode("TIFF")
    (at,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, at)
    entries = [data[at + 2 + 12 * n :][:12] for n in range(count)]
    entries.append(struct.pack(order + "HHII", tag, kind, number, value))
    entries.sort(key=lambda entry: struct.unpack_from(order + "H", entry))
    body = struct.pack(order + "H", count + 1) + b"".join(entries) + bytes(4)
    return data[:4] + struct.pack(order + "I", len(data)) + data[8:] + body


@pytest.mark.parametrize(("tag", "kind", "number", "value"), [
    (270, 2, 2**31, 8), (700, 1, 2**30, 8), (34665, 4, 1, 2**31), (34853, 4, 1, 4),
    (34675, 7, 2**20, 8), (34675, 7, 2**31, 0), (330, 4, 2**28, 8), (33723, 4, 10, 2**31),
    (37724, 7, 2**32 - 1, 2**32 - 1), (282, 5, 1, 2**31), (50838, 4, 2**27, 0), (65000, 99, 1, 1),
])  # fmt: skip
def test_tags_beside_a_tiffs_pixels(tag, kind, number, value):
    assert np.array_equal(load(tiff_with(tag, kind, number, value)), PIXELS)


def test_of_many_pages_the_first_counts_however_broken_the_others_are():
    data = encode("TIFF", save_all=True, append_images=[Image.new("L", (9, 9))])
    assert np.array_equal(load(data), PIXELS)
    (at,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, at)
    end = at + 2 + 12 * count
    assert np.array_equal(load(data[:end] + b"\xff\xff\xff\x7f" + data[end + 4 :]), PIXELS)


def test_big_tiff():
    data = encode("TIFF", big_tiff=True)
    assert data[2] == 43
    assert np.array_equal(load(data), PIXELS)


@pytest.mark.parametrize("fmt", ["WEBP", "AVIF", "HEIF", "GIF", "BMP"])
def test_much_beside_the_pixels_of_other_formats(fmt):
    plain, options = encode(fmt), {}
    if fmt in ("WEBP", "AVIF", "HEIF"):
        options = {"exif": UPRIGHT + NOISE[:60_000], "icc_profile": NOISE, "xmp": NOISE}
    elif fmt == "GIF":
        options = {"comment": NOISE[:60_000]}
    assert np.array_equal(load(encode(fmt, **options)), load(plain))


@pytest.mark.parametrize("write", [
    lambda: jpeg_with(segment(0xE1, EXIF + TURNED)),
    lambda: png_with(chunk(b"eXIf", TURNED)),
    lambda: png_with(chunk(b"eXIf", TURNED), before=b"IEND"),
    lambda: png_with(chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 26\n" + HEX)),
    lambda: png_with(chunk(b"iTXt", b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="6"/>')),
    lambda: jpeg_with(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<tiff:Orientation>6</")),
    lambda: tiff_with(274, 3, 1, 6),
    lambda: tiff_with(274, 3, 1, 6 << 16, ">", big_endian_tiff()),
])  # fmt: skip
def test_the_orientation_is_kept(write):
    got = load(write())
    assert got.shape == (60, 40, 3)
    # Six: the stored top is on the right.
    assert np.abs(got.astype(int) - np.rot90(PIXELS, -1)).mean() < 40


def big_endian_tiff():
    """The pixels as TIFF 6.0, byte by byte."""
    strip = PIXELS.tobytes()
    tags = [(256, 60), (257, 40), (258, 8), (262, 2), (273, 8), (277, 3), (278, 40)]
    tags.append((279, len(strip)))
    body = b"".join(struct.pack(">HHII", tag, 4, 1, value) for tag, value in tags)
    head = b"MM\0*" + struct.pack(">I", 8 + len(strip))
    return head + strip + struct.pack(">H", len(tags)) + body + bytes(4)


SMOOTH = np.add.outer(np.arange(300) * 0.5, np.arange(400) * 0.25)[..., None] * [1, 0.7, 0.4]
SMOOTH = (SMOOTH + RNG.normal(0, 6, SMOOTH.shape)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("options", [
    {}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}, {"grey": True},
    {"cmyk": True},
])  # fmt: skip
def test_a_jpeg_without_its_end(options):
    mode = "L" if options.pop("grey", False) else "CMYK" if options.pop("cmyk", False) else "RGB"
    out = io.BytesIO()
    Image.fromarray(SMOOTH).convert(mode).save(out, "JPEG", quality=85, **options)
    data = out.getvalue()
    whole = load(data)
    assert notices_of(load_photo(data)) == ()
    for cut in (1, 2):  # of the end marker alone
        photo = load_photo(data[:-cut], whole="progressive" not in options)
        assert np.array_equal(np.asarray(photo), whole)
        # How many scans there were to be a file does not say.
        loss = ", and with it detail" if "progressive" in options else "; no pixel is lost"
        said = f"The end of this JPEG file is missing{loss}."
        assert notices_of(photo) == notices_of(load_photo(photo)) == (said,)
    for cut in (3, 5, 40, len(data) // 20, len(data) // 4):
        photo = load_photo(data[:-cut])
        (said,) = notices_of(photo)
        rows = (np.asarray(photo) == whole).all(axis=(1, 2))
        kept = int(np.argmin(rows)) if not rows.all() else len(rows)
        if "progressive" not in options:
            share = int(said.split("%")[0].rsplit(" ")[-1]) / 100
            # At most what is said is lost, in whole rows of 16 px blocks.
            assert 1 - kept / len(rows) <= share + 0.01
            assert share < cut / len(data) + 0.15
        assert "which is grey or coarse" in said or "detail" in said
        with pytest.raises(ImageError, match="broken or rare JPEG"):
            load_photo(data[:-cut], whole=True)
    with pytest.raises(ImageError, match="broken or rare JPEG"):
        load_photo(data[: len(data) // (50 if "progressive" in options else 3)])


def test_a_progressive_jpeg_that_lacks_whole_scans_says_so():
    out = io.BytesIO()
    Image.fromarray(SMOOTH).save(out, "JPEG", progressive=True)
    data = out.getvalue()
    last = data.rindex(b"\xff\xc4")  # the tables of the last scan
    assert notices_of(load_photo(data[:last])) == (
        "The end of this JPEG file is missing, and with it detail.",
    )
    with pytest.raises(ImageError):
        load_photo(data[:last], whole=True)
