"""Finding the photographs of a training set, and reading them the same way on every run.

Two layouts are understood: one folder per class (with or without ``train/`` and ``val/`` above),
and Tiny-ImageNet's (``train/<wnid>/images``, ``val/val_annotations.txt``, ``wnids.txt``).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data.transforms import RandomResizedCropAndInterpolation
from torch.utils.data import Dataset, Sampler
from torchvision.transforms import v2

from mscnn.errors import DatasetError
from mscnn.imaging import load_photo
from mscnn.training.recipe import Recipe

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif"})
VAL_NAMES = ("val", "valid", "validation", "test")
Samples = tuple[tuple[Path, int], ...]


@dataclass(frozen=True, slots=True)
class ImageFolders:
    """A data set: class names in index order, and the files of each part."""

    names: tuple[str, ...]
    train: Samples
    val: Samples


def find_images(root: Path, *, val_share: float = 0.1, seed: int = 0) -> ImageFolders:
    """Find classes and files under ``root``.

    Without a ``val`` folder, ``val_share`` of each class (at least one image where a class has
    two) is held out, drawn with ``seed``.

    Raises:
        DatasetError: no such folder, fewer than two classes, or no images.
    """
    if not root.is_dir():
        raise DatasetError(f"There is no folder {str(root)!r}; give a folder with images.")
    if (root / "wnids.txt").is_file() and (root / "val" / "val_annotations.txt").is_file():
        found = _tiny_imagenet(root)
    else:
        train = root / "train" if (root / "train").is_dir() else root
        val = next((root / name for name in VAL_NAMES if (root / name).is_dir()), None)
        if train != root and val is not None:
            found = _split_folders(root, val)
        else:
            found = _one_folder(train, val_share, seed)
    if len(found.names) < 2 or not found.train or not found.val:
        raise DatasetError(
            f"{str(root)!r} holds {len(found.names)} class folder(s), {len(found.train)} training "
            f"and {len(found.val)} validation images; at least two folders, one per class, with "
            "two images each are needed."
        )
    return found


def _images_of(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())


def _class_folders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def _tiny_imagenet(root: Path) -> ImageFolders:
    from mscnn.labels import wordnet_lemmas

    wnids = sorted((root / "wnids.txt").read_text().split())
    index = {wnid: i for i, wnid in enumerate(wnids)}
    train = tuple((p, i) for wnid, i in index.items() for p in _images_of(root / "train" / wnid))
    val = []
    for line in (root / "val" / "val_annotations.txt").read_text().splitlines():
        file, wnid, *_ = line.split("\t")
        if wnid in index:
            val.append((root / "val" / "images" / file, index[wnid]))
    return ImageFolders(tuple(wordnet_lemmas(wnids)), train, tuple(val))


def _split_folders(root: Path, val_root: Path) -> ImageFolders:
    folders = _class_folders(root / "train")
    index = {folder.name: i for i, folder in enumerate(folders)}
    val = [
        (p, index[folder.name])
        for folder in _class_folders(val_root)
        if folder.name in index
        for p in _images_of(folder)
    ]
    train = tuple((p, index[f.name]) for f in folders for p in _images_of(f))
    return ImageFolders(tuple(index), train, tuple(val))


def _one_folder(root: Path, val_share: float, seed: int) -> ImageFolders:
    folders = _class_folders(root)
    train: list[tuple[Path, int]] = []
    val: list[tuple[Path, int]] = []
    for i, folder in enumerate(folders):
        files = _images_of(folder)
        random.Random(f"{seed}/{folder.name}").shuffle(files)
        held = max(1, round(len(files) * val_share)) if len(files) > 1 and val_share > 0 else 0
        val += [(p, i) for p in files[:held]]
        train += [(p, i) for p in files[held:]]
    return ImageFolders(tuple(f.name for f in folders), tuple(train), tuple(val))


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
    return v2.Compose(
        [
            ScaleJitter(px, recipe, data_config["mean"]),
            v2.RandomHorizontalFlip(),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(data_config["mean"], data_config["std"]),
        ]
    )


class PhotoDataset(Dataset[tuple[torch.Tensor, int]]):
    """Photographs with their class.

    Every sample draws from generators seeded by (seed, epoch, index), so an image looks the same
    whichever process reads it and wherever a run was interrupted.
    """

    def __init__(
        self,
        samples: Samples,
        transform: Callable[[Image.Image], torch.Tensor],
        seed: int,
        epoch: int,
    ) -> None:
        self.samples = samples
        self.transform = transform
        self.seed = seed
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        path, target = self.samples[index]
        random.seed(f"{self.seed}/{self.epoch}/{index}")
        torch.manual_seed(random.getrandbits(62))
        return self.transform(load_photo(path)), target


class EpochSampler(Sampler[int]):
    """A permutation fixed by (seed, epoch), from which a resumed run skips what it has seen."""

    def __init__(self, length: int, seed: int, epoch: int, skip: int = 0) -> None:
        self.length, self.seed, self.epoch, self.skip = length, seed, epoch, skip

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        yield from torch.randperm(self.length, generator=generator)[self.skip :].tolist()

    def __len__(self) -> int:
        return self.length - self.skip
