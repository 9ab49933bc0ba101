"""From any mode a file can hold to eight-bit sRGB: transparency, 16 bits, colour profiles."""

from __future__ import annotations

import io
import logging
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, TiffImagePlugin

logger = logging.getLogger(__name__)


def on_white(image: Image.Image) -> Image.Image:
    """Paint a loaded image of any mode onto a new white RGB canvas, without metadata."""
    colour, alpha = _colour_and_alpha(image)
    colour = _to_srgb(colour, image.info.get("icc_profile"))
    canvas = Image.new("RGB", image.size, "white")
    canvas.paste(colour, (0, 0), alpha)
    return canvas


def _colour_and_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Return the colours as L, RGB or CMYK, and the alpha channel as L where there is one."""
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        values, clear = np.asarray(image), image.info.get("transparency")
        colour = Image.fromarray(_eight_bits(values, _white(image)))
        if not isinstance(clear, int):
            return colour, None
        return colour, Image.fromarray(np.where(values == clear, np.uint8(0), np.uint8(255)))
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data and image.mode != "CMYK":
        rgba = image.convert("RGBA")
        # Grey stays one channel, for the sake of grey colour profiles.
        return rgba.convert("L" if image.mode in ("1", "L", "LA") else "RGB"), rgba.getchannel("A")
    if image.mode in ("L", "RGB", "CMYK"):
        return image, None
    return image.convert("L" if image.mode == "1" else "RGB"), None


def _white(image: Image.Image) -> int:
    """Return the value of white in a 16-bit image: Pillow leaves 12-bit TIFF data unscaled."""
    bits = image.tag_v2.get(258) if isinstance(image, TiffImagePlugin.TiffImageFile) else None
    return 4095 if bits == (12,) else 65535


def _eight_bits(values: npt.NDArray[Any], white: int) -> npt.NDArray[np.uint8]:
    """Return ``(h, w)`` uint16, int32 or float32 as uint8, by the rules of ``load_photo``."""
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if not finite.size:
        return np.zeros(values.shape, np.uint8)
    low, high = float(finite.min()), float(finite.max())
    if values.dtype.kind == "u":
        low, high = 0.0, float(white)
    elif low >= 0 and values.dtype.kind == "i" and high <= 65535:
        low, high = 0.0, 255.0 if high <= 255 else 65535.0
    elif low >= 0 and values.dtype.kind == "f" and high <= 1:
        low, high = 0.0, 1.0
    # In place, and 16 bits in float32: at 40 million pixels each array counts.
    exact = np.float32 if values.dtype.kind == "u" else np.float64
    scaled: npt.NDArray[np.floating[Any]] = values.astype(exact)
    scaled -= low
    scaled *= 255.0 / ((high - low) or 1.0)
    np.nan_to_num(scaled, copy=False, nan=0.0, posinf=255.0, neginf=0.0)
    return np.clip(np.rint(scaled, out=scaled), 0, 255, out=scaled).astype(np.uint8)


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
