"""From any mode a file can hold to eight-bit sRGB: transparency, 16 bits, colour profiles."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, TiffImagePlugin

from mscnn.photos.containers import Samples

logger = logging.getLogger(__name__)

SENSOR_WHITES = (255.0, 1023.0, 4095.0, 65535.0)
"""What white is where a file does not say: the least of these that no pixel exceeds. Cameras and
microscopes keep 8, 10 or 12 bits in 16 or 32; read as 16, their photos would be all but black."""


def on_white(image: Image.Image, profile: object = None) -> Image.Image:
    """Paint a loaded image of 8 bits onto a new white RGB canvas, without metadata.

    ``profile`` is the ICC profile that its colours are meant in, None where there is none.
    """
    colour, alpha = _colour_and_alpha(image)
    canvas = Image.new("RGB", image.size, "white")
    canvas.paste(_to_srgb(colour, profile), (0, 0), alpha)
    return canvas


def _colour_and_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Return the colours as L, RGB or CMYK, and the alpha channel as L where there is one."""
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data and image.mode != "CMYK":
        rgba = image.convert("RGBA")
        # Grey stays one channel, for the sake of grey colour profiles.
        return rgba.convert("L" if image.mode in ("1", "L", "LA") else "RGB"), rgba.getchannel("A")
    if image.mode in ("L", "RGB", "CMYK"):
        return image, None
    return image.convert("L" if image.mode == "1" else "RGB"), None


def samples_of(image: Image.Image) -> Samples | None:
    """Return what an open image's numbers mean, where it is a TIFF of one sample per pixel."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile) or not _is_wide(image):
        return None
    tags, size = image.tag_v2, np.asarray(image).dtype.itemsize
    bits, (sign, *_) = tags.get(258, (16,))[0], tags.get(339, (1,))
    # Pillow has read 16 bits with a sign as 32 by now.
    letter = "f" if image.mode == "F" else "u" if sign == 1 else "i"
    white = 4095 if bits == 12 else tags.get(341, tags.get(281, (None,)))[0]
    return Samples(f"{letter}{size}", white, tags.get(262) == 0)


def _is_wide(image: Image.Image) -> bool:
    return image.mode in ("I", "F") or image.mode.startswith("I;")


def eight_bits(image: Image.Image, samples: Samples | None = None) -> Image.Image:
    """Return an image of other numbers than 0..255 as L, or as LA where one is transparent.

    By the rules of ``load_photo``; other images are returned as they are.
    """
    if samples is None and not _is_wide(image):
        return image

    def bands() -> Iterator[tuple[int, npt.NDArray[Any]]]:
        # At 200 million pixels each array counts.
        step = max(1, 2**22 // image.width)
        for top in range(0, image.height, step):
            part = image.crop((0, top, image.width, min(top + step, image.height)))
            values = np.asarray(part)
            values = values.astype(values.dtype.newbyteorder("="), copy=False)
            yield top, values if samples is None else values.view(samples.dtype)

    ends = [(v.min(), v.max()) for _, part in bands() if (v := part[np.isfinite(part)]).size]
    low, high, kind = 0.0, 0.0, next(bands())[1].dtype
    if ends:
        low, high = float(min(end[0] for end in ends)), float(max(end[1] for end in ends))
    white = (65535.0 if kind == np.uint16 else None) if samples is None else samples.white
    if low >= 0 and white is not None and high <= white:
        low, high = 0.0, float(white)
    elif low >= 0 and kind.kind in "iu" and high <= SENSOR_WHITES[-1]:
        low, high = 0.0, next(top for top in SENSOR_WHITES if high <= top)
    elif low >= 0 and kind.kind == "f" and high <= 1:
        low, high = 0.0, 1.0
    clear = image.info.get("transparency")
    grey = Image.new("LA" if isinstance(clear, int) else "L", image.size)
    for top, part in bands():
        # In place, and 16 bits in float32.
        with np.errstate(all="ignore"):  # NaN, infinity, and a range of almost nothing
            scaled: npt.NDArray[Any] = part.astype(np.float32 if kind == np.uint16 else np.float64)
            scaled -= low
            scaled *= 255.0 / ((high - low) or 1.0)
        np.nan_to_num(scaled, copy=False, nan=0.0, posinf=255.0, neginf=0.0)
        if samples is not None and samples.white_is_zero:
            np.subtract(255.0, scaled, out=scaled)
        levels = np.clip(np.rint(scaled, out=scaled), 0, 255, out=scaled).astype(np.uint8)
        if isinstance(clear, int):
            levels = np.dstack((levels, np.where(part == clear, np.uint8(0), np.uint8(255))))
        grey.paste(Image.fromarray(levels), (0, top))
    return grey


def _to_srgb(colour: Image.Image, profile: object) -> Image.Image:
    """Return L, RGB or CMYK as RGB, through the embedded ICC profile where it is of use."""
    if isinstance(profile, bytes) and profile:
        try:
            return _through_profile(colour, profile)
        except Exception as error:  # a broken profile is no reason to refuse good pixels
            logger.debug("The colour profile is ignored: %r", error)
    return colour.convert("RGB")


def _through_profile(colour: Image.Image, profile: bytes) -> Image.Image:
    """Convert to sRGB with LittleCMS; plainly where the profile is sRGB or does not fit."""
    icc = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    mode = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}.get(icc.profile.xcolor_space)
    if mode is None or (mode != colour.mode and (mode, colour.mode) != ("RGB", "L")):
        return colour.convert("RGB")
    # LittleCMS would squeeze one channel through 33 points, too coarse for dark greys.
    flags = ImageCms.Flags.NOOPTIMIZE if colour.mode == "L" else ImageCms.Flags.NONE
    srgb = ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(icc, srgb, mode, "RGB", flags=flags)
    if colour.mode == "CMYK":
        return transform.apply(colour)
    # Profiles called sRGB are many, and some are not. Ask the transform itself, so that the
    # usual photo keeps its exact pixels.
    probe = _probe(colour.mode)
    plain = np.asarray(probe.convert("RGB"), np.int16)
    seen = np.asarray(transform.apply(probe.convert(mode)))
    if np.abs(seen - plain).max() <= 3:
        return colour.convert("RGB")
    if colour.mode == "L":
        return Image.fromarray(seen[0][np.asarray(colour)])
    return transform.apply(colour)


def _probe(mode: str) -> Image.Image:
    """Return all 256 greys in one row (L), or 18 steps of each channel in all combinations."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    steps = np.arange(0, 256, 15, dtype=np.uint8)
    return Image.fromarray(np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(18, -1, 3))
