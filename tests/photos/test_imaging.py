"""``mscnn.photos.imaging`` against oracles that share no code with it.

Expected pixels come from the definitions (EXIF's table of orientations, the formula of alpha
compositing, round(v / 257), the sRGB curve), files from Pillow's writers or byte by byte.
"""

import functools
import io
import os
import random
import struct
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageCms, ImageFile

from mscnn.errors import ImageError, OptionError
from mscnn.photos import imaging
from mscnn.photos.imaging import ACCEPTED, load_photo, notices_of, thumbnail_of, to_png_bytes

Rgb = tuple[int, int, int]
U8 = npt.NDArray[np.uint8]

TOP_LEFT = (200, 40, 40)
FOUR = np.array([[TOP_LEFT, (40, 180, 60)], [(40, 60, 200), (230, 220, 70)]], np.uint8)


def quadrants(height=48, width=64):
    """Four flat colours, none of them symmetric to another, on a picture that is not square."""
    rows, columns = np.arange(height) >= height // 2, np.arange(width) >= width // 2
    return FOUR[rows.astype(int)[:, None], columns.astype(int)]


def encode(image, fmt, **options):
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    out = io.BytesIO()
    image.save(out, fmt, **options)
    return out.getvalue()


def pixels(image):
    assert image.mode == "RGB"
    assert image.info == {}
    assert type(image) is Image.Image
    return np.asarray(image).astype(np.int16)


def load(source):
    return pixels(load_photo(source))


def assert_quadrants(got, tolerance):
    """Compare the middle of each quadrant; lossy codecs smear the borders."""
    assert got.shape == (48, 64, 3)
    for i, j in np.ndindex(2, 2):
        patch = got[24 * i + 8 : 24 * i + 16, 32 * j + 12 : 32 * j + 20]
        assert np.abs(patch - FOUR[i, j].astype(int)).max() <= tolerance, (i, j)


# Encoders of one still picture: name -> (format, options, tolerance of a flat patch).
ENCODERS: dict[str, tuple[str, dict[str, Any], int]] = {
    "jpeg": ("JPEG", {"quality": 95}, 4),
    "jpeg-progressive": ("JPEG", {"quality": 95, "progressive": True}, 4),
    "mpo": ("MPO", {"quality": 95, "append_images": [Image.new("RGB", (64, 48))]}, 4),
    "png": ("PNG", {}, 0),
    "webp": ("WEBP", {"quality": 95}, 6),
    "webp-lossless": ("WEBP", {"lossless": True}, 0),
    "avif": ("AVIF", {"quality": 95}, 6),
    "heic": ("HEIF", {"quality": 95}, 6),
    "bmp": ("BMP", {}, 0),
    "tiff": ("TIFF", {}, 0),
    "tiff-lzw": ("TIFF", {"compression": "tiff_lzw"}, 0),
    "tiff-deflate": ("TIFF", {"compression": "tiff_adobe_deflate"}, 0),
    "tiff-jpeg": ("TIFF", {"compression": "jpeg", "quality": 95}, 6),
    "gif": ("GIF", {}, 2),
}


def encoded(kind, image):
    fmt, options, _ = ENCODERS[kind]
    options = options | ({"save_all": True} if fmt == "MPO" else {})
    return encode(image.quantize(16) if fmt == "GIF" else image, fmt, **options)


@pytest.fixture(params=ENCODERS)
def still(request):
    return encoded(request.param, Image.fromarray(quadrants())), ENCODERS[request.param][2]


def test_colours_survive_each_format(still):
    data, tolerance = still
    assert_quadrants(load(data), tolerance)


def test_every_kind_of_source_gives_the_same_pixels(tmp_path):
    data = encode(quadrants(), "PNG")
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    moved = io.BytesIO(data)
    moved.seek(20)  # a stream counts from its start, wherever it stands
    with path.open("rb") as file, path.open("rb", buffering=0) as raw:
        for source in (path, str(path), data, bytearray(data), moved, file, raw):
            assert np.array_equal(load(source), quadrants())
    assert np.array_equal(load(quadrants()), quadrants())
    assert np.array_equal(load(quadrants()[:, ::-1]), quadrants()[:, ::-1])
    assert np.array_equal(load(Image.fromarray(quadrants())), quadrants())


def test_array_channels():
    grey = np.array([[0, 100, 255]], np.uint8)
    assert load(grey).tolist() == [[[0] * 3, [100] * 3, [255] * 3]]
    assert load(np.array([[[10, 20, 30, 0], [10, 20, 30, 255]]], np.uint8)).tolist() == [
        [[255, 255, 255], [10, 20, 30]]
    ]


def test_the_content_counts_not_the_extension(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(encode(quadrants(), "PNG") + b"PK\x03\x04 and an archive behind it")
    assert np.array_equal(load(path), quadrants())


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "AVIF", "BMP", "TIFF", "GIF"])
def test_one_pixel(fmt):
    got = load(encode(Image.new("RGB", (1, 1), (250, 250, 250)), fmt))
    assert got.shape == (1, 1, 3)
    assert np.abs(got - 250).max() <= 3


@pytest.mark.parametrize("fmt", ["GIF", "PNG", "WEBP", "AVIF", "TIFF"])
def test_the_first_frame_counts(fmt):
    first, second = Image.new("RGB", (16, 16), "red"), Image.new("RGB", (16, 16), "blue")
    data = encode(first, fmt, save_all=True, append_images=[second])
    assert np.abs(load(data) - [255, 0, 0]).max() <= 4


# EXIF 2.3, tag 0x0112: where the stored row 0 and column 0 lie on the upright picture.
STORED: dict[int, Callable[[U8], U8]] = {
    1: lambda up: up,  # row 0 top, column 0 left
    2: lambda up: up[:, ::-1],  # top, right
    3: lambda up: up[::-1, ::-1],  # bottom, right
    4: lambda up: up[::-1],  # bottom, left
    5: lambda up: up.swapaxes(0, 1),  # left, top
    6: lambda up: up.swapaxes(0, 1)[::-1],  # right, top
    7: lambda up: up.swapaxes(0, 1)[::-1, ::-1],  # right, bottom
    8: lambda up: up.swapaxes(0, 1)[:, ::-1],  # left, bottom
    **dict.fromkeys((0, 9, 65535), lambda up: up),  # outside the table: upright
}


@pytest.mark.parametrize("fmt", ["JPEG", "MPO", "PNG", "WEBP", "AVIF", "HEIF", "TIFF"])
@pytest.mark.parametrize("orientation", STORED)
def test_orientation(fmt, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED[orientation](quadrants()))
    # As bytes, from which HEIF's encoder makes the rotation of its own that counts there.
    data = encode(stored, fmt, exif=exif.tobytes(), quality=95)
    assert_quadrants(load(data), 6)
    assert_quadrants(load(Image.open(io.BytesIO(data))), 6)  # and as an image not yet decoded


@pytest.mark.parametrize("fmt", ["JPEG", "PNG"])
@pytest.mark.parametrize("exif", [
    b"Exif\0\0", b"Exif\0\0II*\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"rubbish",
    # an orientation that is the text "abc"
    b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\2\0\0\0\4abc\0",
])  # fmt: skip
def test_broken_exif_does_not_refuse_good_pixels(fmt, exif):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns, which is right
        assert_quadrants(load(encode(quadrants(), fmt, exif=exif, quality=95)), 4)


def palette_image(transparency, mode="P"):
    """Left (10, 20, 30), right (200, 100, 50)."""
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([0, 1])
    if transparency is not None:
        image.info["transparency"] = transparency
    return image if mode == "P" else image.convert(mode)


@pytest.mark.parametrize(("mode", "value", "expected", "tolerance"), [
    ("1", 1, (255, 255, 255), 0), ("L", 100, (100, 100, 100), 0),
    ("LA", (100, 51), (224, 224, 224), 0),  # 0.2 * 100 + 0.8 * 255
    ("La", (20, 51), (224, 224, 224), 0),  # the same, premultiplied
    ("RGB", (1, 2, 3), (1, 2, 3), 0), ("RGBX", (1, 2, 3, 4), (1, 2, 3), 0),
    ("RGBA", (100, 0, 255, 51), (224, 204, 255), 0),
    ("RGBa", (20, 0, 51, 51), (224, 204, 255), 0), ("CMYK", (0, 255, 255, 0), (255, 0, 0), 0),
    ("CMYK", (0, 0, 0, 255), (0, 0, 0), 0),
    ("YCbCr", (76, 85, 255), (254, 0, 0), 1),  # JFIF: R = Y + 1.402 (Cr - 128)
    ("HSV", (85, 255, 255), (0, 255, 0), 1),
    ("LAB", (255, 128, 128), (255, 255, 255), 1),  # a* and b* are stored plus 128
    # L* = 50: Y = ((50 + 16) / 116) ** 3 = 0.1842, sRGB 1.055 * Y ** (1 / 2.4) - 0.055
    ("LAB", (128, 128, 128), (119, 119, 119), 1),
])  # fmt: skip
def test_modes(mode, value, expected, tolerance):
    got = load(Image.new(mode, (3, 2), value))
    assert np.abs(got - np.array(expected)).max() <= tolerance, got[0, 0]


@pytest.mark.parametrize("fmt", [None, "PNG", "GIF"])
@pytest.mark.parametrize(("transparency", "left", "right"), [
    (None, (10, 20, 30), (200, 100, 50)), (0, (255, 255, 255), (200, 100, 50)),
    (1, (10, 20, 30), (255, 255, 255)),
    (b"\xff\x33", (10, 20, 30), (244, 224, 214)),  # alpha 51 = 0.2
])  # fmt: skip
def test_palettes(fmt, transparency, left, right):
    if fmt == "GIF" and isinstance(transparency, bytes):
        pytest.skip("GIF has no partial transparency")
    image = palette_image(transparency)
    before = (image.tobytes(), image.getpalette("RGBA"), dict(image.info))
    source: Any = image
    if fmt is not None:
        options = {} if transparency is None else {"transparency": transparency}
        source = encode(image, fmt, **options)
    assert load(source).tolist() == [[list(left), list(right)]]
    assert (image.tobytes(), image.getpalette("RGBA"), dict(image.info)) == before


def test_palette_with_alpha_channel():
    assert load(palette_image(b"\xff\x33", "PA")).tolist() == [[[10, 20, 30], [244, 224, 214]]]


@pytest.mark.parametrize("fmt", ["PNG", "WEBP", "TIFF"])
def test_alpha_over_white_is_exact(fmt):
    value, alpha = np.meshgrid(np.arange(256), np.arange(256))
    rgba = np.stack([value, 255 - value, value // 2, alpha], axis=-1).astype(np.uint8)
    data = encode(rgba, fmt, **({"lossless": True, "exact": True} if fmt == "WEBP" else {}))
    colour, weight = rgba[..., :3].astype(np.int64), rgba[..., 3:].astype(np.int64)
    expected = (2 * (colour * weight + 255 * (255 - weight)) + 255) // 510  # rounded half up
    assert np.array_equal(load(data), expected)


def test_transparent_colour_of_png_without_alpha():
    rgb = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)
    assert load(encode(rgb, "PNG", transparency=(1, 2, 3))).tolist() == [[[255] * 3, [4, 5, 6]]]
    grey = np.array([[7, 8]], np.uint8)
    assert load(encode(grey, "PNG", transparency=7)).tolist() == [[[255] * 3, [8] * 3]]
    wide = np.array([[514, 771]], np.uint16)
    assert load(encode(wide, "PNG", transparency=514)).tolist() == [[[255] * 3, [3] * 3]]


def test_cmyk_jpeg_with_adobe_marker():
    ink = np.zeros((16, 16, 4), np.uint8)
    ink[:, :8] = (0, 255, 255, 0)  # red, by full magenta and yellow
    data = encode(Image.frombytes("CMYK", (16, 16), ink.tobytes()), "JPEG", quality=95)
    assert b"Adobe" in data
    got = load(data)
    assert np.abs(got[:, :6] - [255, 0, 0]).max() <= 6
    assert np.abs(got[:, 10:] - 255).max() <= 6


RAMP = np.arange(65536, dtype=np.uint16).reshape(256, 256)
RAMP_AS_BYTES = (RAMP.astype(np.int64) + 128) // 257  # round(v / 257): 257 is odd, no ties

SIXTEEN_BITS: dict[str, Callable[[], Any]] = {
    "png": lambda: encode(RAMP, "PNG"),
    "tiff": lambda: encode(RAMP, "TIFF"),
    "tiff-big-endian": lambda: encode(
        Image.frombytes("I;16B", (256, 256), RAMP.astype(">u2").tobytes()), "TIFF"
    ),
    "I;16": lambda: Image.fromarray(RAMP),
    "I": lambda: Image.fromarray(RAMP.astype(np.int32)),
    "tiff-32": lambda: encode(RAMP.astype(np.int32), "TIFF"),
}


@pytest.mark.parametrize("source", SIXTEEN_BITS.values(), ids=SIXTEEN_BITS)
def test_sixteen_bits(source):
    assert np.array_equal(load(source()), np.repeat(RAMP_AS_BYTES[..., None], 3, axis=2))


def test_dark_sixteen_bits_are_not_stretched():
    assert load(encode(np.array([[0, 257, 514]], np.uint16), "PNG"))[0, :, 0].tolist() == [0, 1, 2]


def tiff(bits, strip, width, height):
    """A little-endian greyscale TIFF with one strip, byte by byte (TIFF 6.0)."""
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, 1), (273, 8)]
    tags += [(277, 1), (278, height), (279, len(strip))]
    ifd = struct.pack("<H", len(tags))
    ifd += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(strip)) + strip + ifd + bytes(4)


def test_twelve_bits_reach_white():
    # Two pixels in three bytes: 0x000 and 0xFFF, then 0x800 and 0x001.
    data = tiff(12, b"\x00\x0f\xff" + b"\x80\x00\x01", 4, 1)
    assert load(data)[0, :, 0].tolist() == [0, 255, round(0x800 * 255 / 4095), 0]


@pytest.mark.parametrize(("values", "expected"), [
    ([0, 100, 255], [0, 100, 255]), ([257, 514, 65535], [1, 2, 255]),
    ([-100, 20, 100], [0, 153, 255]), ([0, 1_000_000, 5_000_000], [0, 51, 255]),
    ([-(2**31), 2**30, 2**31 - 1], [0, 191, 255]), ([70_000] * 3, [0, 0, 0]),
])  # fmt: skip
def test_32_bit_integers(values, expected):
    got = load(Image.fromarray(np.array([values], np.int32)))
    assert got[0, :, 0].tolist() == expected


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(("values", "expected"), [
    ([0.0, 0.2, 1.0], [0, 51, 255]), ([0.0, 0.2, 0.4], [0, 51, 102]),
    ([20.0, 32.0, 40.0], [0, 153, 255]), ([-1.0, 0.6, 1.0], [0, 204, 255]),
    ([-3e38, -1.8e38, 3e38], [0, 51, 255]), ([NAN, 0.2, 1.0], [0, 51, 255]),
    ([-INF, 0.2, INF], [0, 51, 255]), ([NAN, 10.0, 20.0], [0, 0, 255]),
    ([NAN, NAN, NAN], [0, 0, 0]), ([7.0, 7.0, 7.0], [0, 0, 0]),
])  # fmt: skip
@pytest.mark.parametrize("as_file", [False, True])
def test_floats(values, expected, as_file):
    image = Image.fromarray(np.array([values], np.float32))
    got = load(encode(image, "TIFF") if as_file else image)
    assert got[0, :, 0].tolist() == expected


def icc_profile(space, pcs, tags):
    """An ICC profile of version 2.1 (ICC.1:1998-09): header, tag table, tags."""
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += name + struct.pack(">II", start + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    header = struct.pack(">I4sI", start + len(body), bytes(4), 0x02100000) + kind + space + pcs
    header += bytes(12) + b"acsp" + bytes(28) + D50[8:]
    return header.ljust(128, b"\0") + table + body


def xyz(*values):
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in values))


D50 = xyz(0.9642, 1.0, 0.8249)
LINEAR = b"curv\0\0\0\0" + struct.pack(">I", 0)  # an empty curve is the identity


def rgb_profile(curve):
    """The primaries of sRGB with another curve."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).profile
    tags = {b"wtpt": D50}
    for letter, colorant in zip("rgb", ("red", "green", "blue"), strict=True):
        tags[f"{letter}XYZ".encode()] = xyz(*getattr(srgb, f"{colorant}_colorant")[0])
        tags[f"{letter}TRC".encode()] = curve
    return icc_profile(b"RGB ", b"XYZ ", tags)


def srgb_by_table():
    """sRGB as cameras write it: the curve as a short table, so that rounding differs."""
    encoded = np.linspace(0, 1, 16)
    table = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    words = np.rint(65535 * table).astype(">u2").tobytes()
    return rgb_profile(b"curv\0\0\0\0" + struct.pack(">I", 16) + words)


def only_black_counts():
    """A CMYK profile in which cyan, magenta and yellow are invisible: L* = 100 (1 - K)."""
    nodes = bytes(v for i in range(16) for v in (0 if i & 1 else 255, 128, 128))
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0])
    lut += struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    lut += bytes(range(256)) * 4 + nodes + bytes(range(256)) * 3
    return icc_profile(b"CMYK", b"Lab ", {b"wtpt": D50, b"A2B0": lut})


def srgb_curve(linear):
    """IEC 61966-2-1."""
    high = 1.055 * linear ** (1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, 12.92 * linear, high)


GREYS = np.arange(256, dtype=np.uint8).reshape(16, 16)
GREYS_FROM_LINEAR = 255 * srgb_curve(GREYS / 255.0)[..., None]


@pytest.mark.parametrize("fmt", ["PNG", "TIFF", "WEBP"])
def test_rgb_profile_is_converted(fmt):
    rgb = np.repeat(GREYS[..., None], 3, axis=2)
    options = {"lossless": True} if fmt == "WEBP" else {}
    got = load(encode(rgb, fmt, icc_profile=rgb_profile(LINEAR), **options))
    assert np.abs(got - GREYS_FROM_LINEAR).max() <= 2
    red = np.array([[[55, 0, 0]]], np.uint8)  # a colour, so that channels cannot be swapped
    got = load(encode(red, fmt, icc_profile=rgb_profile(LINEAR), **options))
    assert np.abs(got - [255 * srgb_curve(55 / 255), 0, 0]).max() <= 2


def test_grey_profile_is_converted_also_below_alpha_and_in_16_bits():
    profile = icc_profile(b"GRAY", b"XYZ ", {b"wtpt": D50, b"kTRC": LINEAR})
    for picture in (GREYS, np.stack([GREYS, np.full_like(GREYS, 255)], axis=-1), RAMP[::16, ::16]):
        expected = GREYS_FROM_LINEAR
        if picture.dtype == np.uint16:
            eight_bits = (picture.astype(np.int64) + 128) // 257
            expected = 255 * srgb_curve(eight_bits / 255)[..., None]
        got = load(encode(picture, "PNG", icc_profile=profile))
        assert np.abs(got - expected).max() <= 2


def test_rgb_profile_of_a_grey_photo_and_below_alpha():
    got = load(encode(GREYS, "PNG", icc_profile=rgb_profile(LINEAR)))
    assert np.abs(got - GREYS_FROM_LINEAR).max() <= 2
    rgba = np.array([[[55, 55, 55, 51]]], np.uint8)
    got = load(encode(rgba, "PNG", icc_profile=rgb_profile(LINEAR)))
    assert np.abs(got - (0.2 * 255 * srgb_curve(55 / 255) + 0.8 * 255)).max() <= 1


def test_cmyk_profile_is_converted():
    ink = np.zeros((16, 48, 4), np.uint8)
    ink[:, :16] = (255, 0, 0, 0)
    ink[:, 16:32] = (0, 0, 0, 255)
    image = Image.frombytes("CMYK", (48, 16), ink.tobytes())
    plain, through = (
        load(encode(image, "TIFF", **options))
        for options in ({}, {"icc_profile": only_black_counts()})
    )
    assert [plain[8, x].tolist() for x in (8, 24, 40)] == [[0, 255, 255], [0] * 3, [255] * 3]
    assert np.abs(through[8, [8, 24, 40]] - [[255] * 3, [0] * 3, [255] * 3]).max() <= 1


def test_srgb_profile_leaves_every_pixel_as_it_is():
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    littlecms = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (srgb_by_table(), littlecms):
        assert np.array_equal(load(encode(noise, "PNG", icc_profile=profile)), noise)


USELESS_PROFILES = {
    "rubbish": b"rubbish",
    "cut": rgb_profile(LINEAR)[:200],
    "cmyk-on-rgb": only_black_counts(),
    "grey-on-rgb": icc_profile(b"GRAY", b"XYZ ", {b"wtpt": D50, b"kTRC": LINEAR}),
    "no-curves": icc_profile(b"RGB ", b"XYZ ", {b"wtpt": D50}),
}


@pytest.mark.parametrize("profile", USELESS_PROFILES.values(), ids=USELESS_PROFILES)
def test_useless_profile_is_ignored(profile):
    assert np.array_equal(load(encode(quadrants(), "PNG", icc_profile=profile)), quadrants())


def photo_with_secrets(fmt):
    exif = Image.Exif()
    exif[0x013B] = "SECRET artist"
    exif[0x0112] = 6
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0), 29: "SECRET:day"})
    options: dict[str, Any] = {"exif": exif.tobytes(), "icc_profile": rgb_profile(LINEAR)}
    if fmt in ("JPEG", "WEBP"):
        options["xmp"] = b"<x:xmpmeta>SECRET</x:xmpmeta>"
    if fmt == "JPEG":
        options["comment"] = b"SECRET comment"
    return encode(quadrants(), fmt, **options)


@pytest.mark.parametrize("source", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("target", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "GIF"])
@pytest.mark.parametrize("shrink", [False, True])
def test_metadata_does_not_survive(source, target, shrink):
    data = photo_with_secrets(source)
    assert b"SECRET" in data
    assert Image.open(io.BytesIO(data)).getexif().get_ifd(0x8825)
    photo = load_photo(data)
    written = encode(thumbnail_of(photo, 20) if shrink else photo, target)
    assert b"SECRET" not in written
    again = Image.open(io.BytesIO(written))
    again.load()
    assert not {"exif", "icc_profile", "xmp", "comment", "photoshop"} & set(again.info)
    assert not again.getexif().get_ifd(0x8825)
    assert 0x013B not in again.getexif()


def test_metadata_of_an_open_image_does_not_survive():
    image = Image.open(io.BytesIO(photo_with_secrets("JPEG")))
    assert b"SECRET" not in encode(load_photo(image), "JPEG")
    assert b"SECRET" not in encode(thumbnail_of(image, 1000), "JPEG")
    assert "exif" in image.info  # the caller's image is left alone


def assert_refusal(error, *secrets):
    message = str(error.value)
    assert message.endswith(".")
    assert message.count(". ") == 0
    assert "\n" not in message
    assert ACCEPTED in message
    for secret in secrets:
        assert str(secret) not in message


def png_chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


@functools.cache
def flat_png(width, height, bits=1, colours=0):
    """A black PNG, written so that no picture is ever in memory."""
    deflate = zlib.compressobj(1)
    left = height * (1 + (width * bits * (3 if colours else 1) + 7) // 8)
    body = b"".join(
        deflate.compress(bytes(min(2**20, left - done))) for done in range(0, left, 2**20)
    )
    header = struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", body + deflate.flush()), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


SVG = b"<svg xmlns='http://www.w3.org/2000/svg'/>"


@pytest.mark.parametrize(("data", "words"), [
    (b"", "empty"), (SVG, "SVG"),
    (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- made by hand -->' + SVG, "SVG"),
    ("<svg></svg>".encode("utf-16"), "SVG"),
    (b"<!DOCTYPE html><html><body>404" + SVG, "web page"), (b"%PDF-1.7\n", "PDF"),
    (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "rare HEIC"), (b"\0\0\0\x18ftypmp42\0\0\0\0", "video"),
    (b"\x1aE\xdf\xa3 webm", "video"), (b"RIFF\0\0\0\0AVI LIST", "video"), (b"PK\3\4", "ZIP"),
    (b"just some words", "not a picture"), (b"\0" * 4096, "not a picture"),
    (b"P6 1 1 255 \0\0\0", "not a picture"),  # PPM, which Pillow could open
    (b"\xff\xd8\xff\xe0", "broken or rare JPEG"), (b"\x89PNG\r\n\x1a\n", "broken or rare PNG"),
    (b"\0\0\0\x18ftypavif\0\0\0\0", "broken or rare AVIF"), (flat_png(0, 1), "no pixels|broken"),
])  # fmt: skip
def test_what_is_no_photo_is_named(tmp_path, data, words):
    path = tmp_path / "upload.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=words) as error:
        load_photo(path)
    assert_refusal(error, tmp_path)
    assert "'upload.jpg'" in str(error.value)
    with pytest.raises(ImageError, match=words) as error:
        load_photo(data)
    assert_refusal(error)


@pytest.mark.parametrize("link", [
    "http://example.org/cat.jpg", "HTTPS://example.org/cat.jpg",
    Path("https://example.org/cat.jpg"),  # pathlib makes it https:/example.org/cat.jpg
    "file:///etc/passwd", "s3://bucket/cat.jpg", "data:image/png;base64,AAAA",
])  # fmt: skip
def test_links_are_refused(link):
    with pytest.raises(ImageError, match="link") as error:
        load_photo(link)
    assert_refusal(error, "example", "passwd")


@pytest.mark.parametrize(("path", "words"), [
    ("missing.jpg", "'missing.jpg' does not exist"),
    ("photo.png/inside.jpg", "'inside.jpg' does not exist"), ("folder", "'folder' is a folder"),
    ("n" * 300, "nnn.*cannot be read"), ("nul\0.jpg", r"'nul\?\.jpg' cannot be read"),
    ("line\nbreak.jpg", r"'line\?break\.jpg' does not exist"),
])  # fmt: skip
def test_wrong_paths(tmp_path, path, words):
    (tmp_path / "folder").mkdir()
    (tmp_path / "photo.png").write_bytes(b"x")
    with pytest.raises(ImageError, match=words) as error:
        load_photo(f"{tmp_path}/{path}")
    assert_refusal(error, tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ImageError, match="'pipe' is not a regular file"):
        load_photo(tmp_path / "pipe")


def test_no_permission(tmp_path, monkeypatch):
    (tmp_path / "private.jpg").write_bytes(b"x")

    def refuse(self, *_):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)  # chmod would not stop root
    with pytest.raises(ImageError, match=r"'private\.jpg' may not be read") as error:
        load_photo(tmp_path / "private.jpg")
    assert_refusal(error, tmp_path)


class Failing(io.RawIOBase):
    name = "/srv/uploads/live.jpg"

    def read(self, size=-1):
        raise OSError("/srv/uploads is gone")


@pytest.mark.parametrize("source", [None, 3, object(), "", io.StringIO("text"), Failing()])
def test_wrong_things(source):
    with pytest.raises(ImageError) as error:
        load_photo(source)
    assert_refusal(error, "/srv")


@pytest.mark.parametrize("array", [
    np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 3), bool), np.zeros((4, 4, 2), np.uint8),
    np.zeros(4, np.uint8), np.zeros((0, 4, 3), np.uint8), np.zeros((2, 4, 4, 3), np.uint8),
])  # fmt: skip
def test_wrong_arrays(array):
    with pytest.raises(ImageError, match="array"):
        load_photo(array)


def test_too_many_bytes(tmp_path, monkeypatch):
    data = encode(quadrants(), "BMP")
    path = tmp_path / "big.bmp"
    path.write_bytes(data)
    for source in (path, data, io.BytesIO(data)):
        monkeypatch.setattr(imaging, "MAX_BYTES", len(data))
        assert_quadrants(load(source), 0)
        monkeypatch.setattr(imaging, "MAX_BYTES", len(data) - 1)
        with pytest.raises(ImageError, match=r"more than .* MiB") as error:
            load_photo(source)
        assert_refusal(error, tmp_path)


@pytest.fixture
def no_decoding(monkeypatch):
    """Fail where a pixel buffer is asked for."""

    def fail(*_, **__):
        raise AssertionError("a refused picture was decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    monkeypatch.setattr(ImageFile.ImageFile, "load_prepare", fail)
    monkeypatch.setattr(Image, "new", fail)


@pytest.mark.usefixtures("no_decoding")
@pytest.mark.parametrize(("size", "words"), [
    ((15_000, 15_000), "more than 200 million"), ((8_000, 25_001), "more than 200 million"),
    ((200_000_001, 1), "more than 200 million"), ((100_001, 1), "more than (100,000|200 million)"),
    ((1, 40_000_000), "more than (100,000|200 million)"),
])  # fmt: skip
@pytest.mark.parametrize("pillow_limit", [imaging.MAX_FILE_PIXELS, None, 10])
@pytest.mark.parametrize("action", ["error", "ignore"])
def test_bombs_are_refused_by_their_header(size, words, pillow_limit, action, monkeypatch):
    data = flat_png(*size)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillow_limit)
    with warnings.catch_warnings():
        warnings.simplefilter(action)
        with pytest.raises(ImageError, match=words) as error:
            load_photo(data)
    assert_refusal(error)


def test_limits_are_inclusive_and_hold_for_every_source(monkeypatch):
    monkeypatch.setattr(imaging, "MAX_PIXELS", 48 * 64)
    monkeypatch.setattr(imaging, "MAX_FILE_PIXELS", 96 * 128)
    fits, large, over = quadrants(), quadrants(96, 128), quadrants(97, 128)
    for make in (lambda a: a, Image.fromarray, lambda a: encode(a, "PNG")):
        assert np.array_equal(load(make(fits)), fits)
        reduced = load_photo(make(large))
        assert np.array_equal(np.asarray(reduced), quadrants())  # squares of four equal pixels
        said = "The photo has 128 x 96 px; it was reduced to 64 x 48 px."
        assert notices_of(reduced) == notices_of(load_photo(reduced)) == (said,)
        with pytest.raises(ImageError, match="more than 0 million"):
            load_photo(make(over))


@pytest.mark.parametrize("tolerant", [False, True])
def test_half_pictures_are_never_returned(still, tolerant, monkeypatch):
    """Cut anywhere, a file is refused, or gives every pixel; a JPEG also with a notice of it."""
    # Other libraries of the process like to set this switch.
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", tolerant)
    data, _ = still
    whole, refused = load(data), 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for length in range(1, len(data), max(1, len(data) // 150)):
            try:
                photo = load_photo(data[:length], whole=True)
            except ImageError:
                refused += 1
            else:
                assert np.array_equal(np.asarray(photo), whole), length
                assert data[:2] == b"\xff\xd8" or not notices_of(photo)
    assert refused >= 60


def test_a_truncated_open_image_is_refused():
    image = Image.open(io.BytesIO(encode(quadrants(), "JPEG")[:-100]))
    with pytest.raises(ImageError) as error:
        load_photo(image)
    assert_refusal(error)


def rle_bmp():
    """A 4 x 2 BMP of compression BI_RLE8: two runs of one palette entry each."""
    palette = bytes([0, 0, 255, 0, 255, 0, 0, 0])  # red, blue as BGR0
    body = bytes([4, 0, 0, 0, 4, 1, 0, 1])
    header = struct.pack("<IiiHHIIiiII", 40, 4, 2, 1, 8, 1, len(body), 2835, 2835, 2, 2)
    offset = 14 + len(header) + len(palette)
    return struct.pack("<2sIHHI", b"BM", offset + len(body), 0, 0, offset) + header + palette + body


def test_rle_bmp():
    assert load(rle_bmp()).tolist() == [[[0, 0, 255]] * 4, [[255, 0, 0]] * 4]  # bottom row first


def mutants(data, count):
    """Yield copies with a few bytes changed, removed, repeated or cut, by a fixed seed."""
    rng = random.Random(len(data))
    for _ in range(count):
        mutant = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            # Headers decide most, so half of the changes fall into the first 128 bytes.
            at = rng.randrange(min(len(mutant), rng.choice([128, len(mutant)])))
            match rng.randrange(6):
                case 0:
                    del mutant[at : at + rng.randint(1, 8)]
                case 1:
                    mutant[at:at] = mutant[at : at + rng.randint(1, 8)]
                case 2:
                    mutant[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF])
                case _:
                    mutant[at] = rng.randrange(256)
            if not mutant:
                break
        yield bytes(mutant)


@pytest.mark.parametrize(
    "kind", [*ENCODERS, "bmp-rle", "png-palette", "png-16", "secrets-jpeg", "secrets-tiff"]
)
def test_mutated_files_give_a_photo_or_an_image_error(kind):
    small = Image.fromarray(quadrants(12, 16))
    data = {
        "bmp-rle": rle_bmp,
        "png-palette": lambda: encode(palette_image(b"\xff\x33"), "PNG", transparency=b"\xff\x33"),
        "png-16": lambda: encode(RAMP[::32, ::32], "PNG", transparency=0),
        "secrets-jpeg": lambda: photo_with_secrets("JPEG"),
        "secrets-tiff": lambda: photo_with_secrets("TIFF"),
    }.get(kind, lambda: encoded(kind, small))()
    messages = []
    load_photo(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for mutant in mutants(data, 200):
            try:
                photo = load_photo(mutant)
            except ImageError as error:
                messages.append(str(error))
            else:
                assert (photo.mode, photo.info) == ("RGB", {})
    assert messages, "the mutations do not reach the decoder"
    assert all(message.endswith(".") for message in messages)


@pytest.mark.parametrize(("size", "max_px", "expected"), [
    ((400, 200), 100, (100, 50)), ((200, 400), 100, (50, 100)), ((100, 50), 100, (100, 50)),
    ((30, 20), 100, (30, 20)), ((1000, 1), 10, (10, 1)), ((301, 300), 7, (7, 7)),
])  # fmt: skip
def test_thumbnail_size(size, max_px, expected):
    assert thumbnail_of(Image.new("RGB", size), max_px).size == expected


def test_thumbnail_averages_instead_of_picking():
    board = (np.indices((256, 256)).sum(axis=0) % 2 * 255).astype(np.uint8)
    got = pixels(thumbnail_of(Image.fromarray(board), 32))
    assert np.abs(got[2:-2, 2:-2] - 127.5).max() < 6
    assert_quadrants(pixels(thumbnail_of(Image.fromarray(quadrants(480, 640)), 64)), 0)


def test_thumbnail_is_a_copy_and_needs_a_pixel():
    photo = load_photo(quadrants())
    copy = thumbnail_of(photo, 1000)
    assert np.array_equal(pixels(copy), quadrants())
    copy.putpixel((0, 0), (0, 0, 0))
    assert photo.getpixel((0, 0)) == TOP_LEFT

    for max_px in (0, -5):
        with pytest.raises(OptionError, match=f"{max_px} px"):
            thumbnail_of(photo, max_px)


def test_the_result_belongs_to_the_caller():
    array = quadrants()
    image = Image.fromarray(array.copy())
    for source in (array, image):
        load_photo(source).paste("black", (0, 0, 64, 48))
    assert np.array_equal(array, quadrants())
    assert np.array_equal(np.asarray(image), quadrants())


def test_png_bytes_hold_the_pixels_and_nothing_else():
    noise = np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8)
    for array in (noise, noise[::2, ::-1], np.asfortranarray(noise)):
        data = to_png_bytes(array)
        names, at = [], 8
        while at < len(data):
            (length,) = struct.unpack_from(">I", data, at)
            names.append(data[at + 4 : at + 8])
            at += 12 + length
        assert set(names) == {b"IHDR", b"IDAT", b"IEND"}
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), array)


@pytest.mark.parametrize(
    "array", [np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)]
)
def test_png_bytes_of_something_else(array):
    with pytest.raises(ImageError, match=r"\(h, w, 3\) uint8"):
        to_png_bytes(array)


def test_threads_get_the_serial_answers():
    image = Image.fromarray(quadrants())
    files = [encoded(kind, image) for kind in ENCODERS]
    files.append(encode(quadrants(), "PNG", icc_profile=rgb_profile(LINEAR)))
    serial = [load(data) for data in files]
    with ThreadPoolExecutor(8) as pool:
        for got, expected in zip(pool.map(load, files * 8), serial * 8, strict=True):
            assert np.array_equal(got, expected)


def test_pillow_has_our_limit_for_other_libraries():
    assert Image.MAX_IMAGE_PIXELS == imaging.MAX_FILE_PIXELS == 200_000_000
