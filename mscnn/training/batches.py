"""Reading the photographs of a training set the same way on every run and in every process."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import rand_augment_transform
from timm.data.transforms import RandomResizedCropAndInterpolation
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from mscnn.data.layouts import DataSet
from mscnn.data.listing import Samples
from mscnn.data.loading import leave_signals_to_parent
from mscnn.data.processes import Processes
from mscnn.errors import DatasetError, ImageError, OptionError
from mscnn.photos.imaging import load_photo
from mscnn.photos.preprocess import Preprocessor
from mscnn.training.recipe import Recipe

Batch = tuple[torch.Tensor, torch.Tensor]


class ScaleJitter:
    """A random crop, or now and then the whole photo shrunk on a plain canvas, ``px`` x ``px`` RGB.

    Ordinary crops only ever enlarge objects, and a net trained so loses small ones. The canvas is
    of the data's mean colour or of the photo's own, either with a probability of one half, so that
    neither edge nor colour of it becomes a feature of its own.
    """

    def __init__(self, px: int, recipe: Recipe, mean: Sequence[float]) -> None:
        self.px, self.recipe = px, recipe
        self.neutral = tuple(round(255 * value) for value in mean)
        self.crop = RandomResizedCropAndInterpolation(px, scale=(recipe.zoom_in, 1.0))
        self.resize = v2.Resize((px, px), antialias=True)

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the photo cropped or shrunk, ``px`` x ``px``."""
        if random.random() >= self.recipe.zoom_out_prob:
            return self.crop(image)  # type: ignore[no-any-return]
        own = tuple(int(value) for value in np.asarray(image).mean(axis=(0, 1)))
        fill = self.neutral if random.random() < 0.5 else own
        # Of a large photo the canvas would have its pixels times zoom_out squared.
        if (factor := max(image.size) // (2 * self.px)) > 1:
            image = image.reduce(factor)
        zoom_out = v2.RandomZoomOut(fill=fill, side_range=(1.0, self.recipe.zoom_out), p=1.0)
        return self.resize(zoom_out(image))  # type: ignore[no-any-return]


def train_transform(px: int, recipe: Recipe, data_config: dict[str, Any]) -> v2.Compose:
    """Augmentation to a ``(C, px, px)`` uint8 tensor, of C channels of the network.

    ``Batches`` makes float32 of a whole batch at once, on the device that needs it.
    """
    channels = data_config["input_size"][0]
    colour = tuple(data_config["mean"]) * (3 // channels)
    steps: list[Any] = [ScaleJitter(px, recipe, colour), v2.RandomHorizontalFlip()]
    if recipe.randaugment:
        mean = tuple(min(255, round(255 * value)) for value in colour)
        # As timm's own transforms set it: shifts up to 45 % of the side, gaps in the mean colour.
        hparams = {"translate_const": int(0.45 * px), "img_mean": mean}
        steps.append(rand_augment_transform(recipe.randaugment, hparams))
    if channels == 1:  # see ``Preprocessor``
        steps.append(v2.Grayscale())
    return v2.Compose([*steps, v2.PILToTensor()])


def _evaluated(preprocess: Preprocessor, channels: int, photo: Image.Image) -> torch.Tensor:
    """Return what a network of so many channels sees of a photo: ``(channels, H, W)`` uint8."""
    return torch.from_numpy(preprocess(photo).view).permute(2, 0, 1)[:channels]


@dataclass(eq=False)
class PhotoDataset(Dataset[tuple[torch.Tensor, int]]):
    """Photographs with their class, through ``transform`` to ``(C, height, width)``.

    Every sample draws from generators seeded by (seed, epoch, index), so an image looks the same
    whichever process reads it and wherever a run was interrupted. One that cannot be read becomes
    ``missing``, of that shape and dtype, with the target ``-1 - index``, for others to leave out.
    """

    samples: Samples
    transform: Callable[[Image.Image], torch.Tensor]
    seed: int
    epoch: int
    missing: torch.Tensor = field(default_factory=lambda: torch.zeros(3, 0, 0))

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        photo, target = self.samples[index]
        random.seed(f"{self.seed}/{self.epoch}/{index}")
        # ``torch.manual_seed`` would keep a trace of the stack for each GPU library, which takes
        # as long as the photo.
        torch.default_generator.manual_seed(random.getrandbits(62))
        # timm's RandAugment draws from this one too.
        np.random.seed(torch.initial_seed() % 2**32)
        try:
            image = load_photo(photo, whole=True)
        except ImageError:
            return self.missing, -1 - index
        return self.transform(image), target


def epoch_order(
    length: int,
    seed: int,
    epoch: int,
    batch: int,
    *,
    skip: int = 0,
    rank: int = 0,
    processes: int = 1,
) -> list[int]:
    """Return this process's part of a permutation fixed by (seed, epoch).

    Together the processes take of each whole batch, after the first ``skip`` images, what one
    would have taken in the same step. An incomplete last batch is left out.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order = torch.randperm(length, generator=generator)[skip:]
    whole = order[: len(order) // batch * batch].view(-1, processes, batch // processes)
    mine: list[int] = whole[:, rank].flatten().tolist()
    return mine


class Batches:
    """Gives the batches of a run, the same for a given epoch and step however it got there."""

    def __init__(
        self, data: DataSet, recipe: Recipe, data_config: dict[str, Any], processes: Processes
    ) -> None:
        self.data, self.recipe, self.config = data, recipe, data_config
        self.processes = processes
        _check(len(data.train), recipe, processes.size)
        self.part_size = recipe.batch_size // (processes.size * recipe.accumulate)
        self.steps = len(data.train) // recipe.batch_size
        mean, std = (torch.tensor(data_config[key]).view(-1, 1, 1) for key in ("mean", "std"))
        self.mean, self.std = mean.to(processes.device), std.to(processes.device)

    def training(self, epoch: int, step: int) -> Iterator[list[Batch]]:
        """Yield for each step of an epoch, from ``step`` on, this process's parts of the batch."""
        recipe, shared = self.recipe, self.processes
        order = epoch_order(
            len(self.data.train), recipe.seed, epoch, recipe.batch_size,
            skip=step * recipe.batch_size, rank=shared.rank, processes=shared.size,
        )  # fmt: skip
        px = recipe.size_at(epoch, self.config["input_size"][-1])
        transform = train_transform(px, recipe, self.config)
        found = self._read(self.data.train, transform, epoch, (px, px), order)
        while parts := list(islice(found, recipe.accumulate)):
            yield parts

    def validation(self, epoch: int) -> Iterator[Batch]:
        """Yield this process's part of the validation images, as timm evaluates them."""
        mine = range(self.processes.rank, len(self.data.val), self.processes.size)
        channels, *size = self.config["input_size"]
        transform = partial(_evaluated, Preprocessor(self.config), channels)
        yield from self._read(self.data.val, transform, epoch, size, mine)

    def _read(
        self, samples: Samples, transform: Any, epoch: int, size: Sequence[int], order: Any
    ) -> Iterator[Batch]:
        """Yield ``(b, C, *size)`` float32 on the device, normalised as timm does, and targets."""
        device = self.processes.device
        missing = torch.zeros((len(self.mean), *size), dtype=torch.uint8)
        photos = PhotoDataset(samples, transform, self.recipe.seed, epoch, missing)
        loader = DataLoader(
            photos, batch_size=self.part_size, sampler=order, num_workers=self.recipe.workers,
            pin_memory=device.type == "cuda", worker_init_fn=leave_signals_to_parent,
        )  # fmt: skip
        for x, target in loader:
            x = x.to(device, memory_format=torch.channels_last, non_blocking=True)
            yield x.float().div_(255).sub_(self.mean).div_(self.std), target


def fitted(recipe: Recipe, images: int, processes: int) -> Recipe:
    """Return the recipe with its batch lowered to what so few images fill, where one can be."""
    parts = processes * recipe.accumulate
    unit = parts * (2 if recipe.mixup or recipe.cutmix else 1)
    batch = images // unit * unit
    fits = images >= recipe.batch_size or batch < 2 * parts
    return recipe if fits else recipe.replaced(batch_size=batch)


def _check(images: int, recipe: Recipe, processes: int) -> None:
    batch, parts = recipe.batch_size, processes * recipe.accumulate
    if images < batch:
        raise DatasetError(
            f"There are {images} training images, fewer than one batch of {batch}; give a smaller "
            "--batch-size or more images."
        )
    if batch % parts:
        raise OptionError(
            f"--batch-size {batch} cannot be shared by {processes} processes of "
            f"{recipe.accumulate} part(s) each; give a multiple of {parts}."
        )
    if batch < 2 * parts:
        raise OptionError(
            f"--batch-size {batch} leaves one image to each of {parts} parts, and batch norm "
            f"needs two; give at least {2 * parts}, or a smaller --accumulate."
        )
    if (recipe.mixup or recipe.cutmix) and batch // parts % 2:
        raise OptionError(
            f"Mixup and CutMix mix images in pairs, and a part of the batch has {batch // parts}; "
            f"give an even multiple of {parts} as --batch-size."
        )
