"""Decoding in loader processes, batch by batch, and the batches' way into the network.

A batch is a fixed range of the list, whatever was read before and whoever reads it: a network's
answer to one photograph can differ in its last bits with the size of the batch, and resumed or
shared work must give the same file. A photograph that cannot be read leaves its row black.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from mscnn.data.listing import PhotoList
from mscnn.engine.network import Network
from mscnn.errors import DeviceError, ImageError, MscnnError, OptionError
from mscnn.geometry import ViewGeometry
from mscnn.photos.imaging import load_photo
from mscnn.photos.preprocess import Preprocessor

T = TypeVar("T")
MAX_WORKERS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """How photographs are read."""

    batch_size: int = 64
    workers: int | None = None  # processes; 0 for this one alone, None for one per CPU core

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise OptionError(f"The batch size is {self.batch_size}; it must be 1 or more.")
        if self.workers is not None and not 0 <= self.workers <= 256:
            raise OptionError(f"There are {self.workers} workers; it must be 0 to 256.")

    def workers_for(self, batches: int) -> int:
        """Return how many processes to start for so many batches."""
        if self.workers is not None:
            return min(self.workers, batches)
        affinity = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
        cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
        return min(cores, MAX_WORKERS, batches)


class Batch(NamedTuple):
    """A range of the list."""

    first: int  # number of its first photograph
    views: torch.Tensor  # (B, H, W, 3) uint8 RGB, the network's input before normalisation
    reasons: dict[int, str]  # number of a photograph that cannot be read, and why
    geometries: dict[int, ViewGeometry]  # of the others: where the view lies

    def readable(self) -> torch.Tensor:
        """Return ``(B,)`` bool: which rows are photographs."""
        numbers = range(self.first, self.first + len(self.views))
        return torch.tensor([number not in self.reasons for number in numbers])


class _Batches(Dataset[Batch]):
    """Batches by the range of their numbers, decoded in whichever process asks."""

    def __init__(self, photos: PhotoList, preprocess: Preprocessor) -> None:
        self.photos, self.preprocess = photos, preprocess

    def __getitem__(self, numbers: Sequence[int]) -> Batch:
        width, height = self.preprocess.view_size
        views = torch.zeros(len(numbers), height, width, 3, dtype=torch.uint8)
        reasons, geometries = {}, {}
        for row, number in enumerate(numbers):
            try:
                image = load_photo(self.photos.source(number), whole=True)
            except ImageError as error:
                reasons[number] = str(error)
            else:
                shown = self.preprocess(image)
                views[row], geometries[number] = torch.from_numpy(shown.view), shown.geometry
        return Batch(numbers[0], views, reasons, geometries)


def batches(
    photos: PhotoList,
    preprocess: Preprocessor,
    loading: Loading,
    numbers: Sequence[int],
    *,
    pinned: bool = False,
) -> Iterator[Batch]:
    """Decode batches by their ``numbers``, in this order; ``pinned`` ones reach a GPU faster."""
    size = loading.batch_size
    ranges: Any = [range(n * size, min((n + 1) * size, len(photos))) for n in numbers]
    yield from DataLoader(
        _Batches(photos, preprocess), sampler=ranges, batch_size=None,
        num_workers=loading.workers_for(len(ranges)), pin_memory=pinned,
    )  # fmt: skip


LOADER_KILLED = DeviceError(
    "A process that decodes photographs was killed, perhaps because memory ran out; use fewer "
    "--workers or a smaller --batch-size."
)


@contextmanager
def killed_loader_raises(error: MscnnError = LOADER_KILLED) -> Iterator[None]:
    """Raise ``error`` where torch finds that a loader process was killed.

    torch says so from a signal handler, in whatever the main process is doing, so this belongs
    around all that uses the batches, not only around their loader.
    """
    try:
        yield
    except RuntimeError as found:
        if "DataLoader worker (pid" not in str(found):
            raise
        raise error from found


def leave_signals_to_parent(worker: int) -> None:
    """Keep a loader process alive through a request to stop: one more step needs it.

    Ctrl-C, a terminal that closes, and a kill of all processes at once reach the loaders as well as
    the main process, which ends them itself. A second kill ends them. A ``worker_init_fn``.
    """
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.signal(number, signal.SIG_DFL))


class Normalise:
    """Turns views into a network's input, as timm's ``ToTensor`` and ``Normalize`` do.

    On the network's device: four times less travels there than of float32. The result lies in
    memory as its channels last, which convolutions like best.
    """

    def __init__(self, classifier: Network) -> None:
        self._classifier = classifier
        config = classifier.loaded.data_config
        self._mean, self._std = (
            torch.tensor(config[key], dtype=torch.float32).view(-1, 1, 1) for key in ("mean", "std")
        )

    def __call__(self, views: torch.Tensor) -> torch.Tensor:
        """Turn ``(B, H, W, 3)`` uint8 into ``(B, C, H, W)``, ready for the model."""
        device = self._classifier.device
        views = views[..., : len(self._mean)]  # the three of a grey network's views are the same
        x = views.to(device, non_blocking=True).permute(0, 3, 1, 2).to(torch.float32).div_(255)
        x = x.sub_(self._mean.to(device)).div_(self._std.to(device))
        return self._classifier.to_device(x)

    def into(self, forward: Callable[[torch.Tensor], T], views: torch.Tensor) -> T:
        """Return what ``forward`` makes of the input; ``DeviceError`` where the device failed."""

        @torch.inference_mode()
        def work() -> T:
            return forward(self(views))

        return self._classifier.guarded(work)[0]


@contextmanager
def channels_last(classifier: Network) -> Iterator[None]:
    """Lay the weights out as the batches are, and back; values stay what they are."""
    model: Any = classifier.model  # torch's annotations do not know this use of "to"
    classifier.guarded(lambda: model.to(memory_format=torch.channels_last))
    try:
        yield
    finally:
        classifier.guarded(lambda: model.to(memory_format=torch.contiguous_format))
