"""Loaders for the two parts of a data set, cut for the processes that share them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from timm.data import create_transform
from torch.utils.data import DataLoader

from mscnn.data.layouts import ImageFolders, Photo
from mscnn.data.loaders import leave_signals_to_parent
from mscnn.data.processes import Processes
from mscnn.errors import DatasetError, OptionError
from mscnn.training.dataset import EpochSampler, PhotoDataset, Samples, train_transform
from mscnn.training.recipe import Recipe

Batch = tuple[torch.Tensor, torch.Tensor]


class Batches:
    """Gives the batches of a run, the same for a given epoch and step however it got there."""

    def __init__(
        self,
        data: ImageFolders[Photo],
        recipe: Recipe,
        data_config: dict[str, Any],
        processes: Processes,
    ) -> None:
        self.data, self.recipe, self.config = data, recipe, data_config
        self.processes = processes
        parts = processes.size * recipe.accumulate
        self.part_size = recipe.batch_size // parts
        _check(len(data.train), recipe, processes.size)
        self.steps = len(data.train) // recipe.batch_size

    def training(self, epoch: int, step: int) -> Iterator[list[Batch]]:
        """Yield for each step of an epoch, from ``step`` on, this process's parts of the batch."""
        recipe = self.recipe
        sampler = EpochSampler(
            len(self.data.train), recipe.seed, epoch, step * recipe.batch_size,
            batch=recipe.batch_size, rank=self.processes.rank, processes=self.processes.size,
        )  # fmt: skip
        px = recipe.size_at(epoch, self.config["input_size"][-1])
        transform = train_transform(px, recipe, self.config)
        parts: list[Batch] = []
        for part in self._loader(self.data.train, transform, sampler, epoch, (px, px)):
            parts.append(part)
            if len(parts) == recipe.accumulate:
                yield parts
                parts = []

    def validation(self, epoch: int) -> Iterator[Batch]:
        """Yield this process's part of the validation images, as timm evaluates them."""
        mine = range(self.processes.rank, len(self.data.val), self.processes.size)
        height, width = self.config["input_size"][-2:]
        transform = create_transform(**self.config)
        yield from self._loader(self.data.val, transform, mine, epoch, (height, width))

    def _loader(
        self,
        samples: Samples,
        transform: Callable[..., Any],
        order: Any,
        epoch: int,
        size_px: tuple[int, int],
    ) -> DataLoader[Any]:
        return DataLoader(
            PhotoDataset(samples, transform, self.recipe.seed, epoch, size_px),
            batch_size=self.part_size,
            sampler=order,
            num_workers=self.recipe.workers,
            pin_memory=self.processes.device.type == "cuda",
            worker_init_fn=leave_signals_to_parent,
        )


def fitted(recipe: Recipe, images: int, processes: int) -> Recipe:
    """Return the recipe with its batch lowered to what so few images fill.

    The same images give the same batch, so a resumed run goes on with it. Unchanged where they
    fill a batch, or where not even the smallest one can be shared out.
    """
    if images >= recipe.batch_size:
        return recipe
    parts = processes * recipe.accumulate
    unit = parts * (2 if recipe.mixup or recipe.cutmix else 1)
    batch = images // unit * unit
    return recipe.replaced(batch_size=batch) if batch >= 2 * parts else recipe


def _check(images: int, recipe: Recipe, processes: int) -> None:
    """Refuse a batch that cannot be filled or divided."""
    if images < recipe.batch_size:
        raise DatasetError(
            f"There are {images} training images, fewer than one batch of {recipe.batch_size}; "
            "give a smaller --batch-size or more images."
        )
    parts = processes * recipe.accumulate
    if recipe.batch_size % parts:
        raise OptionError(
            f"--batch-size {recipe.batch_size} cannot be shared by {processes} processes of "
            f"{recipe.accumulate} part(s) each; give a multiple of {parts}."
        )
    if recipe.batch_size < 2 * parts:
        raise OptionError(
            f"--batch-size {recipe.batch_size} leaves one image to each of {parts} parts, and "
            f"batch norm needs two; give at least {2 * parts}, or a smaller --accumulate."
        )
    if (recipe.mixup or recipe.cutmix) and recipe.batch_size // parts % 2:
        raise OptionError(
            f"Mixup and CutMix mix images in pairs, and a part of the batch has "
            f"{recipe.batch_size // parts}; give an even multiple of {parts} as --batch-size."
        )
