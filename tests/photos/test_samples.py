"""Numbers other than 0..255: what a TIFF holds is read by tifffile, or by OpenCV, and scaled here.

Neither shares code with Pillow; tifffile comes with scikit-image, OpenCV with the grad-cam package.
"""

import io
import struct
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from mscnn.photos.imaging import load_photo

ROWS, COLUMNS = 48, 64
RAMP = np.linspace(0, 1, ROWS * COLUMNS).reshape(ROWS, COLUMNS)


def write(values, **options):
    out = io.BytesIO()
    tifffile.imwrite(out, values, **{"photometric": "minisblack", **options})
    return out.getvalue()


def read(data):
    """The file's own numbers, by both decoders where OpenCV knows their kind."""
    page: Any = tifffile.TiffFile(io.BytesIO(data)).pages.first
    values = page.asarray()
    if values.dtype != np.float16:
        other: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if values.dtype.itemsize == 1 and page.photometric == 0:
            other = ~other  # OpenCV turns 8 bits itself
        assert np.array_equal(other, values)
    return values, page.photometric == 0


def shown(data):
    photo = np.asarray(load_photo(data))
    assert (photo[..., 0] == photo[..., 1]).all()
    return photo[..., 0].astype(int)


# What each kind of number holds, and which of them is white by the rules of ``load_photo``.
KINDS = {
    "u1": (255, 255), "u2": (65535, 65535), "u2 12 of 16": (4095, 4095), "u2 10": (1000, 1023),
    "u2 8": (250, 255), "u2 dark": (5000, 65535), "i1": (100, 255), "i2": (32767, 65535),
    "u4": (2**32 - 1, 2**32 - 1), "u4 16": (65000, 65535), "u4 12": (4000, 4095),
    "i4": (2**31 - 1, 2**31 - 1), "i4 16": (65535, 65535), "f2": (1, 1), "f4": (1, 1),
}  # fmt: skip


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("kind", KINDS)
def test_one_sample_per_pixel(kind, order, compression, photometric):
    most, white = KINDS[kind]
    values = (RAMP * most).astype(np.float64 if kind[0] != "f" else kind[:2]).astype(kind[:2])
    data = write(values, byteorder=order, compression=compression, photometric=photometric)
    numbers, is_ink = read(data)
    assert np.array_equal(numbers, values)
    light = numbers.astype(np.float64) * 255 / white
    wanted = 255 - light if is_ink else light
    assert np.abs(shown(data) - wanted).max() <= 0.501


@pytest.mark.parametrize("kind", ["i1", "i2", "i4", "f4"])
@pytest.mark.parametrize("order", "<>")
def test_a_sign_stretches_the_range(kind, order):
    values = ((RAMP - 0.25) * 100).astype(kind)
    numbers = read(write(values, byteorder=order))[0].astype(np.float64)
    wanted = 255 * (numbers - numbers.min()) / (numbers.max() - numbers.min())
    assert np.abs(shown(write(values, byteorder=order)) - wanted).max() <= 0.501


@pytest.mark.parametrize(("tag", "kind"), [(281, "H"), (341, "H"), (341, "f")])
def test_the_largest_value_that_the_file_names_is_white(tag, kind):
    values = (RAMP * 3000).astype(np.uint16)
    for named, white in ((16383, 16383), (4000, 4000), (2000, 4095), (65535, 65535)):
        data = write(values, extratags=[(tag, kind, 1, named, True)])
        assert np.abs(shown(data) - read(data)[0] * 255.0 / white).max() <= 0.501


@pytest.mark.parametrize("bits", [1, 2, 4, 12])
@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("fill_order", [1, 2])
def test_packed_bits(bits, photometric, fill_order):
    """TIFF 6.0 packs samples from the highest bit on; fill order 2 mirrors each byte."""
    if bits == 12 and fill_order == 2:
        pytest.skip("Pillow does not read it")
    values = np.rint(RAMP * (2**bits - 1)).astype(int)
    text = "".join(f"{v:0{bits}b}" for v in values.ravel())
    strip = int(text, 2).to_bytes(len(text) // 8, "big")
    if fill_order == 2:
        strip = bytes(int(f"{byte:08b}"[::-1], 2) for byte in strip)
    tags = [(256, COLUMNS), (257, ROWS), (258, bits), (259, 1), (262, photometric)]
    tags += [(266, fill_order), (273, 8), (277, 1), (278, ROWS), (279, len(strip))]
    body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    head = b"II*\0" + struct.pack("<I", 8 + len(strip))
    data = head + strip + struct.pack("<H", len(tags)) + body + bytes(4)
    light = values if photometric else 2**bits - 1 - values
    assert np.abs(shown(data) - light * 255 / (2**bits - 1)).max() <= 0.501


@pytest.mark.parametrize(("kind", "photometric"), [
    *((kind, "minisblack") for kind in ("u2", "u4", "i2", "f4")),
    ("u2", "miniswhite"), ("f4", "miniswhite"),  # the others Pillow does not open
])  # fmt: skip
def test_an_open_tiff_is_read_as_its_file(kind, photometric):
    data = write((RAMP * (1 if kind == "f4" else 4000)).astype(kind), photometric=photometric)
    assert np.array_equal(shown(Image.open(io.BytesIO(data))), shown(data))


def test_a_png_of_16_bits_is_not_guessed():
    """Its specification fixes white at 65535 (third edition, 4.4 and 13.12)."""
    out = io.BytesIO()
    Image.fromarray((RAMP * 4095).astype(np.uint16)).save(out, "PNG")
    wide: Any = cv2.imdecode(np.frombuffer(out.getvalue(), np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.abs(shown(out.getvalue()) - wide / 257.0).max() <= 0.501
