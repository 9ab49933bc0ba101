"""Photos of up to 200 million pixels, and lines of one pixel: what comes out, and what it takes."""

import io
import json
import os
import subprocess
import sys
import time
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from mscnn.errors import ImageError
from mscnn.photos import imaging
from mscnn.photos.imaging import MAX_PIXELS, load_photo, notices_of

RNG = np.random.default_rng(1)
ROUGH = np.kron(RNG.integers(0, 256, (60, 80, 3), np.uint8), np.ones((8, 8, 1), np.uint8))


def encode(image, fmt, **options):
    out = io.BytesIO()
    image.save(out, fmt, **options)
    return out.getvalue()


@pytest.mark.parametrize("divisor", [1, 3.5, 4, 5, 16])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_large_jpeg_is_scaled_as_it_is_decoded(divisor, mode, progressive, monkeypatch):
    """OpenCV asks its own libjpeg for the same scales."""
    monkeypatch.setattr(imaging, "MAX_PIXELS", int(640 * 480 / divisor))
    data = encode(Image.fromarray(ROUGH).convert(mode), "JPEG", progressive=progressive)
    flags = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4}
    scale = 1 if divisor == 1 else 2 if divisor <= 4 else 4
    wanted = cv2.imdecode(np.frombuffer(data, np.uint8), flags[scale])
    got = np.asarray(load_photo(data))
    assert got.shape == (480 // scale, 640 // scale, 3)
    # OpenCV computes CMYK with another rounding.
    assert np.abs(got[..., ::-1].astype(int) - wanted).mean() < (3 if mode == "CMYK" else 1)


@pytest.mark.parametrize("fmt", ["PNG", "WEBP", "TIFF", "BMP", "AVIF", "HEIF", "GIF"])
@pytest.mark.parametrize("factor", [2, 3])
def test_other_large_photos_are_averaged(fmt, factor, monkeypatch):
    options: dict[str, Any] = {
        "WEBP": {"lossless": True},
        "AVIF": {"quality": 100},
        "HEIF": {"quality": -1},
    }
    image = Image.fromarray(ROUGH[:479, :637])
    if fmt == "GIF":
        image = image.quantize(64)
    data = encode(image, fmt, **options.get(fmt, {}))
    whole = np.asarray(load_photo(data)).astype(float)
    columns, rows = -(-637 // factor), -(-479 // factor)
    monkeypatch.setattr(imaging, "MAX_PIXELS", columns * rows)
    monkeypatch.setattr(imaging, "_BAND_PIXELS", 50_000)
    photo = load_photo(data)
    means = whole[: 479 // factor * factor, : 637 // factor * factor]
    means = means.reshape(479 // factor, factor, 637 // factor, factor, 3).mean(axis=(1, 3))
    assert photo.size == (columns, rows)
    assert np.abs(np.asarray(photo)[: 479 // factor, : 637 // factor] - means).max() <= 1
    assert notices_of(photo) == (
        f"The photo has 637 x 479 px; it was reduced to {photo.width} x {photo.height} px.",
    )


def test_transparency_profile_and_turn_of_a_large_photo_are_those_of_a_small_one(monkeypatch):
    rgba = np.dstack((ROUGH, np.indices((480, 640)).sum(axis=0) % 256)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(Image.fromarray(rgba), "PNG", exif=exif)
    whole = load_photo(data)
    monkeypatch.setattr(imaging, "MAX_PIXELS", 320 * 240)
    photo = load_photo(data)
    assert photo.size == (240, 320)
    assert np.abs(np.asarray(photo).astype(int) - np.asarray(whole.reduce(2))).max() <= 1
    assert notices_of(photo) == ("The photo has 480 x 640 px; it was reduced to 240 x 320 px.",)


def test_what_is_not_large_keeps_every_pixel():
    """Squares of 6324 px are the largest below 40 million pixels."""
    for side in (6324, 6325):
        photo = load_photo(Image.new("L", (side, side), 90))
        assert photo.size == ((6324, 6324) if side == 6324 else (3163, 3163))
        assert bool(notices_of(photo)) == (side == 6325)
    assert 6324**2 < MAX_PIXELS < 6325**2


@pytest.mark.parametrize("size", [(1, 100_000), (100_000, 1), (65_500, 10), (2000, 30)])
def test_narrow_photos_are_read(size):
    started = time.perf_counter()
    assert load_photo(encode(Image.new("RGB", size), "PNG")).size == size
    assert time.perf_counter() - started < 5


def test_a_line_without_end_is_refused_by_its_header():
    with pytest.raises(ImageError, match="1 x 100001 px, more than 100,000 on one side"):
        load_photo(encode(Image.new("1", (1, 100_001)), "PNG"))


WRITE = """
import sys
from PIL import Image
Image.MAX_IMAGE_PIXELS = None
mode, size, options = {arguments}
image = Image.linear_gradient("L").resize(size)
image = Image.merge(mode, (image,) * len(mode)) if mode != "L" else image
image.save(sys.argv[1], **options)
"""
READ = """
import json, resource, sys, time
from mscnn.photos.imaging import load_photo, notices_of
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before, started = peak(), time.perf_counter()
photo = load_photo(sys.argv[1])
print(json.dumps([peak() - before, time.perf_counter() - started, *photo.size, *notices_of(photo)]))
"""
LARGEST = (16_320, 12_240)  # 199.8 million
CASES = {
    "jpeg": ("RGB", LARGEST, {"format": "JPEG"}, 250),
    "jpeg-progressive": ("RGB", LARGEST, {"format": "JPEG", "progressive": True}, 900),
    "png": ("RGB", LARGEST, {"format": "PNG", "compress_level": 1}, 1200),
    "tiff": ("RGB", LARGEST, {"format": "TIFF"}, 1200 + 572),  # and the file
    "tiff-lzw-grey": ("L", LARGEST, {"format": "TIFF", "compression": "tiff_lzw"}, 600),
    "webp": ("RGB", (10_000, 10_000), {"format": "WEBP", "quality": 50, "method": 0}, 1900),
}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted in other units there")
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_memory_of_the_largest_photos(case, tmp_path):
    *arguments, most_mib = case
    path, alone = tmp_path / "photo", {**os.environ, "OMP_NUM_THREADS": "1"}
    writing = WRITE.format(arguments=repr(arguments))
    subprocess.run([sys.executable, "-c", writing, path], check=True, env=alone)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", READ, path], check=True, capture_output=True,
        env=alone, text=True,
    )  # fmt: skip
    assert done.stderr == ""
    grown_mib, seconds, width, height, said = json.loads(done.stdout)
    assert grown_mib < most_mib
    assert seconds < 120
    assert 10_000_000 < width * height <= MAX_PIXELS
    assert f"reduced to {width} x {height} px" in said
