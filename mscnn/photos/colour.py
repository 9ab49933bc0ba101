"""From any mode a file can hold to eight-bit sRGB: transparency, 16 bits, colour profiles."""

from __future__ import annotations

import io
import logging
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
    (white, *_) = tags.get(341, (tags.get(281),))
    return Samples(f"{letter}{size}", bits, white, tags.get(262) == 0)


def _is_wide(image: Image.Image) -> bool:
    return image.mode in ("I", "F") or image.mode.startswith("I;")


def eight_bits(image: Image.Image, samples: Samples | None = None) -> Image.Image:
    """Return an image of other numbers than 0..255 as L, or as LA where one is transparent.

    By the rules of ``load_photo``; other images are returned as they are.
    """
    if samples is None and not _is_wide(image):
        return image
    values, clear = np.asarray(image), image.info.get("transparency")
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if samples is None:
        white = 65535.0 if values.dtype == np.uint16 else None
    else:
        values = values.view(samples.dtype)
        white = samples.white or (4095.0 if samples.bits == 12 else None)
    grey = _scaled(values, white)
    if samples is not None and samples.white_is_zero:
        np.subtract(255, grey, out=grey)
    if not isinstance(clear, int):
        return Image.fromarray(grey)
    alpha = np.where(values == clear, np.uint8(0), np.uint8(255))
    return Image.merge("LA", (Image.fromarray(grey), Image.fromarray(alpha)))


def _scaled(values: npt.NDArray[Any], white: float | None) -> npt.NDArray[np.uint8]:
    """Return ``(h, w)`` numbers as uint8: 0..``white`` where all lie there, else by their range."""
    known = np.isfinite(values)
    grey = np.zeros(values.shape, np.uint8)
    if not known.any():
        return grey
    kind, fit = values.dtype.kind, values[known] if not known.all() else values
    low, high = float(fit.min()), float(fit.max())
    if low >= 0 and white is not None and high <= white:
        low, high = 0.0, white
    elif low >= 0 and kind in "iu" and high <= SENSOR_WHITES[-1]:
        low, high = 0.0, next(top for top in SENSOR_WHITES if high <= top)
    elif low >= 0 and kind == "f" and high <= 1:
        low, high = 0.0, 1.0
    del known, fit
    exact = np.float32 if values.dtype == np.uint16 else np.float64
    # By rows: at 200 million pixels each array counts.
    step = max(1, 2**22 // values.shape[1])
    for top in range(0, len(values), step):
        part: npt.NDArray[np.floating[Any]] = values[top : top + step].astype(exact)
        part -= low
        part *= 255.0 / ((high - low) or 1.0)
        np.nan_to_num(part, copy=False, nan=0.0, posinf=255.0, neginf=0.0)
        grey[top : top + step] = np.clip(np.rint(part, out=part), 0, 255, out=part)
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
