"""Reading the photographs of a training set the same way on every run and in every process."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import rand_augment_transform
from timm.data.transforms import RandomResizedCropAndInterpolation
from torch.utils.data import Dataset, Sampler
from torchvision.transforms import v2

from mscnn.data.layouts import ImageFolders, Photo, Samples, find_images
from mscnn.data.walking import SUFFIXES
from mscnn.errors import ImageError
from mscnn.photos.imaging import load_photo
from mscnn.training.recipe import Recipe

__all__ = [
    "SUFFIXES",
    "EpochSampler",
    "ImageFolders",
    "PhotoDataset",
    "Samples",
    "ScaleJitter",
    "find_images",
    "read_photo",
    "train_transform",
]


class ScaleJitter:
    """A random crop, or now and then the whole photo shrunk on a plain canvas.

    Ordinary crops only ever enlarge objects, and a net trained so loses small ones. The canvas
    is of the data's mean colour or of the photo's own, by turns, so that neither edge nor colour
    of it becomes a feature of its own.

    Takes an RGB PIL image of any size; gives one of ``px`` x ``px``.
    """

    def __init__(self, px: int, recipe: Recipe, mean: Sequence[float]) -> None:
        self.recipe = recipe
        self.neutral = tuple(round(255 * value) for value in mean)
        self.crop = RandomResizedCropAndInterpolation(px, scale=(recipe.zoom_in, 1.0))
        self.resize = v2.Resize((px, px), antialias=True)

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the photo cropped or shrunk, ``px`` x ``px``."""
        if random.random() >= self.recipe.zoom_out_prob:
            return self.crop(image)  # type: ignore[no-any-return]
        own = tuple(int(value) for value in np.asarray(image).mean(axis=(0, 1)))
        fill = self.neutral if random.random() < 0.5 else own
        zoom_out = v2.RandomZoomOut(fill=fill, side_range=(1.0, self.recipe.zoom_out), p=1.0)
        return self.resize(zoom_out(image))  # type: ignore[no-any-return]


def train_transform(px: int, recipe: Recipe, data_config: dict[str, Any]) -> v2.Compose:
    """Augmentation to a normalised ``(3, px, px)`` float32 tensor."""
    steps: list[Any] = [ScaleJitter(px, recipe, data_config["mean"]), v2.RandomHorizontalFlip()]
    if recipe.randaugment:
        mean = tuple(min(255, round(255 * value)) for value in data_config["mean"])
        # As timm's own transforms set it: shifts up to 45 % of the side, gaps in the mean colour.
        hparams = {"translate_const": int(0.45 * px), "img_mean": mean}
        steps.append(rand_augment_transform(recipe.randaugment, hparams))
    return v2.Compose(
        [
            *steps,
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(data_config["mean"], data_config["std"]),
        ]
    )


def read_photo(photo: Photo) -> Image.Image:
    """Return a photograph of any data set as an upright RGB image.

    Raises:
        ImageError: it cannot be read.
    """
    return load_photo(photo if isinstance(photo, Path) else photo.read())


class PhotoDataset(Dataset[tuple[torch.Tensor, int]]):
    """Photographs with their class.

    Every sample draws from generators seeded by (seed, epoch, index), so an image looks the same
    whichever process reads it and wherever a run was interrupted.

    A photograph that cannot be read becomes zeros with the target ``-1 - index``: the batch keeps
    its shape, and who takes it knows what to leave out and to report.

    Args:
        samples: pairs of a photograph and its class.
        transform: from an RGB image to a ``(3, height, width)`` float32 tensor.
        seed: of the augmentation, with ``epoch`` and the index.
        epoch: 0-based.
        size_px: height and width that ``transform`` gives, for what cannot be read.
    """

    def __init__(
        self,
        samples: Samples,
        transform: Callable[[Image.Image], torch.Tensor],
        seed: int,
        epoch: int,
        size_px: tuple[int, int] = (0, 0),
    ) -> None:
        self.samples = samples
        self.transform = transform
        self.seed = seed
        self.epoch = epoch
        self.size_px = size_px

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        photo, target = self.samples[index]
        random.seed(f"{self.seed}/{self.epoch}/{index}")
        torch.manual_seed(random.getrandbits(62))
        # timm's RandAugment draws from this one too.
        np.random.seed(torch.initial_seed() % 2**32)
        try:
            image = read_photo(photo)
        except ImageError:
            return torch.zeros(3, *self.size_px), -1 - index
        return self.transform(image), target


class EpochSampler(Sampler[int]):
    """A permutation fixed by (seed, epoch), from which a resumed run skips what it has seen.

    Args:
        length: images in all.
        seed: of the permutation, with ``epoch``.
        epoch: 0-based.
        skip: images already seen in this epoch, by all processes together.
        batch: images per optimiser step over all processes; None, with one process, for no cut.
        rank: of this process, which takes its part of every batch.
        processes: how many share a batch. They take what one process would have taken in the same
            step, and no image twice; an incomplete last batch is left out.
    """

    def __init__(
        self,
        length: int,
        seed: int,
        epoch: int,
        skip: int = 0,
        *,
        batch: int | None = None,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self.length, self.seed, self.epoch, self.skip = length, seed, epoch, skip
        self.batch, self.rank, self.processes = batch, rank, processes

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self.length, generator=generator)[self.skip :].tolist()
        if self.batch is None:
            yield from order
            return
        share = self.batch // self.processes
        for start in range(0, len(order) - self.batch + 1, self.batch):
            first = start + self.rank * share
            yield from order[first : first + share]

    def __len__(self) -> int:
        left = self.length - self.skip
        return left if self.batch is None else left // self.batch * (self.batch // self.processes)
