"""timm's own preprocessing of a model, with the exact view it makes and where that view lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import create_transform
from timm.data.transforms import CenterCropOrPad, MaybePILToTensor, MaybeToTensor, ResizeKeepRatio
from torchvision import transforms as tv
from torchvision.transforms import functional

from mscnn.geometry import ViewGeometry
from mscnn.photos.imaging import notices_of
from mscnn.results.explanation import RgbArray

_TENSOR_STEPS = (MaybeToTensor, MaybePILToTensor, tv.ToTensor, tv.PILToTensor)
_MOST_PX = 2**23
"""Resized photos up to this are computed whole, as timm does; of larger ones only the part that
the crop keeps. timm makes 256 x 10,240,000 px (8 GB) of a strip of 1 x 40,000."""


@dataclass(frozen=True, slots=True)
class NetworkInput:
    """A photo made ready for one model, of C channels: RGB, or luminance for a grey network."""

    x: torch.Tensor  # (1, C, H, W) float32, normalised, on the CPU
    view: RgbArray  # (H, W, 3) uint8 RGB, the same pixels before normalisation
    geometry: ViewGeometry  # where the view lies on the photo
    notices: tuple[str, ...] = ()  # of ``imaging.notices_of``


class Preprocessor:
    """timm's evaluation transform by its ``data_config``, step by step so that the view is kept.

    A network of one channel gets the luminance of ITU-R BT.601, as timm's own loaders give it.
    """

    def __init__(self, data_config: Mapping[str, Any]) -> None:
        steps = list(create_transform(**data_config, is_training=False).transforms)
        cut = next(i for i, step in enumerate(steps) if isinstance(step, _TENSOR_STEPS))
        self._geometric, self._numeric = steps[:cut], tv.Compose(steps[cut:])
        channels, height, width = data_config["input_size"]
        self._mode, self._view = "L" if channels == 1 else "RGB", (width, height)

    def __call__(self, photo: Image.Image) -> NetworkInput:
        """Prepare an upright RGB photo of any size from 1 px."""
        if photo.mode != self._mode:  # convert would copy even what is in this mode already
            photo = photo.convert(self._mode)
        image, resized, offset = photo, photo.size, (0, 0)
        for step in self._geometric:
            before = image.size
            if isinstance(step, (tv.CenterCrop, CenterCropOrPad)):
                image = step(image)
                cut = _crop_offset(before, image.size)
                offset = (offset[0] + cut[0], offset[1] + cut[1])
            elif isinstance(step, (tv.Resize, ResizeKeepRatio)):
                resized = _resized_size(step, image)
                if resized[0] * resized[1] <= _MOST_PX:
                    image = functional.resize(image, resized[::-1], step.interpolation)
                else:
                    image, offset = _resize_middle(step, image, resized, self._view)
            else:
                raise TypeError(f"no geometry is known for timm's {type(step).__name__}")
        geometry = ViewGeometry(photo.size, resized, offset, image.size)
        x, view = self._numeric(image)[None], np.array(image.convert("RGB"))
        return NetworkInput(x, view, geometry, notices_of(photo))

    def as_seen(self, photo: Image.Image) -> Image.Image:
        """Return an RGB photo in the colours that the network sees: its own, or grey."""
        return photo if self._mode == photo.mode else photo.convert(self._mode).convert("RGB")

    @property
    def view_size(self) -> tuple[int, int]:
        """``(width, height)`` of the network's input, px."""
        return self._view

    @property
    def mean_colour(self) -> tuple[int, int, int]:
        """The RGB colour, 0..255, that normalisation turns into zeros."""
        means = next((s.mean for s in self._numeric.transforms if hasattr(s, "mean")), (0.5,) * 3)
        red, green, blue = (round(255 * float(value)) for value in tuple(means) * (3 // len(means)))
        return red, green, blue

    def tensor_of(self, view: RgbArray) -> torch.Tensor:
        """Normalise ``(H, W, 3)`` uint8 RGB of the network's size to ``(1, C, H, W)`` float32."""
        tensor: torch.Tensor = self._numeric(Image.fromarray(view).convert(self._mode))[None]
        return tensor


def _resized_size(step: tv.Resize | ResizeKeepRatio, image: Image.Image) -> tuple[int, int]:
    """``(width, height)`` that timm's resize step gives; at least 1 px, where timm would fail."""
    if isinstance(step, ResizeKeepRatio):
        height, width = step.get_params(image, step.size, step.longest)
        return max(width, 1), max(height, 1)
    if not isinstance(step.size, int):
        height, width = step.size
        return width, height
    # torchvision: the shorter side becomes step.size, the longer one is rounded down.
    shorter, longer = step.size, int(step.size * max(image.size) / min(image.size))
    return (shorter, longer) if image.width <= image.height else (longer, shorter)


def _resize_middle(
    step: tv.Resize | ResizeKeepRatio,
    image: Image.Image,
    resized: tuple[int, int],
    view: tuple[int, int],
) -> tuple[Image.Image, tuple[int, int]]:
    """Return what a centre crop of ``view`` px keeps of the resized photo, and its left and top."""
    # The crop step still runs after it: it pads where the resized photo is smaller than the view.
    size = min(resized[0], view[0]), min(resized[1], view[1])
    left, top = _crop_offset(resized, size)
    fx, fy = image.width / resized[0], image.height / resized[1]
    right, bottom = (left + size[0]) * fx, (top + size[1]) * fy
    box = (left * fx, top * fy, min(right, image.width), min(bottom, image.height))
    resample = Image.Resampling[step.interpolation.name]
    return image.resize(size, resample, box=box), (left, top)


def _crop_offset(before: tuple[int, int], after: tuple[int, int]) -> tuple[int, int]:
    """Left and top of a centre crop, as torchvision rounds them; negative where it pads."""
    gaps = (b - a for b, a in zip(before, after, strict=True))
    left, top = (round(gap / 2.0) if gap >= 0 else -(-gap // 2) for gap in gaps)
    return left, top
