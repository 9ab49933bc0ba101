"""Whatever bytes come in: an RGB photo within bounds, or one sentence."""

import io
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, Verbosity, given, settings
from hypothesis import strategies as st
from PIL import Image

from mscnn.errors import ImageError
from mscnn.photos import imaging
from mscnn.photos.imaging import ACCEPTED, load_photo

RNG = np.random.default_rng(0)
SMALL = Image.fromarray(RNG.integers(0, 256, (24, 40, 3), np.uint8))
EXIF = Image.Exif()
EXIF[0x0112] = 6
BESIDE = {"exif": EXIF.tobytes(), "icc_profile": RNG.bytes(200), "xmp": b"<x/>" * 20}


def encode(image, fmt, **options):
    out = io.BytesIO()
    image.save(out, fmt, **options)
    return out.getvalue()


GREY = Image.fromarray((np.arange(960, dtype=np.uint16) * 68).reshape(24, 40))
SEEDS = {
    "jpeg": encode(SMALL, "JPEG", **BESIDE),
    "jpeg-progressive": encode(SMALL, "JPEG", progressive=True, comment=b"words"),
    "jpeg-cmyk": encode(SMALL.convert("CMYK"), "JPEG"),
    "mpo": encode(SMALL, "MPO", save_all=True, append_images=[SMALL]),
    "png": encode(SMALL, "PNG", exif=BESIDE["exif"], icc_profile=BESIDE["icc_profile"]),
    "png-palette": encode(SMALL.quantize(16), "PNG", transparency=b"\xff\x33", bits=4),
    "png-16": encode(GREY, "PNG", transparency=68),
    "apng": encode(SMALL, "PNG", save_all=True, append_images=[SMALL.rotate(180)]),
    "webp": encode(SMALL, "WEBP", **BESIDE),
    "webp-animation": encode(SMALL, "WEBP", save_all=True, append_images=[SMALL.rotate(180)]),
    "avif": encode(SMALL, "AVIF", **BESIDE),
    "heic": encode(SMALL, "HEIF", **BESIDE),
    "gif": encode(SMALL.quantize(16), "GIF", save_all=True, append_images=[SMALL.quantize(9)]),
    "bmp": encode(SMALL, "BMP"),
    "tiff": encode(SMALL, "TIFF", tiffinfo={270: "words", 305: "more"}),
    "tiff-16": encode(GREY, "TIFF", compression="tiff_lzw"),
    "tiff-jpeg": encode(SMALL, "TIFF", compression="jpeg"),
    "tiff-big": encode(GREY, "TIFF", big_tiff=True, save_all=True, append_images=[SMALL]),
    "tiff-float": encode(Image.fromarray(np.asarray(GREY).astype(np.float32)), "TIFF"),
}


@st.composite
def mutants(draw, data):
    """Up to four changes; half of them in the head, where most is decided."""
    out = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, draw(st.sampled_from([min(len(out), 160), len(out)]))))
        size = draw(st.sampled_from([1, 2, 4, 8, 40]))
        new = draw(st.one_of(
            st.sampled_from([b"\0", b"\xff", bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff"]),
            st.binary(max_size=8),
        ))  # fmt: skip
        kind = draw(st.sampled_from(["set", "insert", "delete", "repeat", "cut"]))
        if kind == "set":
            out[at : at + len(new)] = new
        elif kind == "insert":
            out[at:at] = new
        elif kind == "delete":
            del out[at : at + size]
        elif kind == "repeat":
            out[at:at] = out[at : at + size]
        elif draw(st.booleans()):
            del out[at:]
    return bytes(out)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS.values(), ids=SEEDS)
def test_mutants_give_a_photo_or_a_sentence(seed):
    load_photo(seed)

    # Without the bytes of each example, which nobody could read.
    @settings(
        max_examples=400, verbosity=Verbosity.quiet, deadline=None, derandomize=True,
        database=None, suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(mutants(seed))
    def check(data):
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            # What the module asks of the process, and pytest takes back.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            try:
                photo = load_photo(data)
            except ImageError as error:
                words = str(error)
                assert words.endswith(".")
                assert words.count(". ") == 0
                assert ACCEPTED in words
            else:
                assert photo.mode == "RGB"
                assert set(photo.info) <= {imaging.NOTICES}
                assert photo.width * photo.height <= imaging.MAX_PIXELS
        assert not warned, warned[0].message

    check()
