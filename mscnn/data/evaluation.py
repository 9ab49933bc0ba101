"""Accuracy and calibration of a network over labelled photographs of any number."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from mscnn.data.classes import map_classes
from mscnn.data.evaluation_layouts import LabelledPhotos, find_labelled
from mscnn.data.loaders import a_killed_loader_is
from mscnn.data.loading import (
    Batch,
    Loading,
    Normalise,
    batches,
    channels_last,
    count_batches,
    in_list,
    killed,
)
from mscnn.data.processes import Processes
from mscnn.data.real_labels import RealAccuracy, RealLabels
from mscnn.data.sharing import gather_objects
from mscnn.data.tally import ReliabilityBin, Tally
from mscnn.engine.network import Network
from mscnn.errors import DatasetError
from mscnn.results.explanation import WeightsInfo

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class ClassResult:
    """One class of the model that the data has photographs of.

    Attributes:
        index: in the model.
        label: short name.
        images: photographs of it.
        top1, top5: shares of them, 0..1.
        predicted: how often it was the best answer to any photograph.
        precision: share of those that were right, 0..1; None where it never was the answer.
    """

    index: int
    label: str
    images: int
    top1: float
    top5: float
    predicted: int
    precision: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        model, weights, device: what was evaluated, and where.
        part: which part of the data, in words.
        class_map: the data's name of a class to the model's index and short name.
        known_classes: how many classes the model has.
        images: photographs that counted.
        top1, top5: shares of right answers among all of the model's classes, 0..1.
        ece: expected calibration error over ``bins``, 0..1.
        bins: of the reliability diagram.
        classes: per class, by index.
        confusion: ``(class, best answer)`` to how often, without zeros.
        labels: short names of all classes in ``confusion``.
        seconds: wall time, with decoding.
        unreadable: what was left out, as ``(name, reason)``.
        real: by ImageNet's reassessed labels, where asked for.
        notices: what the user should know, such as a change of device.
    """

    model: str
    weights: WeightsInfo
    device: str
    part: str
    class_map: dict[str, tuple[int, str]] = field(repr=False)
    known_classes: int
    images: int
    top1: float
    top5: float
    ece: float
    bins: tuple[ReliabilityBin, ...] = field(repr=False)
    classes: tuple[ClassResult, ...] = field(repr=False)
    confusion: dict[tuple[int, int], int] = field(repr=False)
    labels: dict[int, str] = field(repr=False)
    seconds: float
    unreadable: tuple[tuple[str, str], ...] = ()
    real: RealAccuracy | None = None
    notices: tuple[str, ...] = ()

    @property
    def images_per_second(self) -> float:
        """Speed, with decoding."""
        return self.images / max(self.seconds, 1e-9)


def evaluate(
    classifier: Network,
    root: Path,
    *,
    loading: Loading | None = None,
    real_labels: Path | None = None,
    processes: Processes | None = None,
    on_progress: Progress | None = None,
) -> Evaluation:
    """Measure a network on a folder; see ``mscnn.data.evaluation_layouts`` for what is understood.

    Args:
        classifier: a loaded backbone.
        root: the data.
        loading: how photographs are read.
        real_labels: list of ImageNet's reassessed labels.
        processes: those that share the work; each gets the whole result.
        on_progress: called with (photographs done by this process, its share of them).

    Raises:
        DatasetError: the data cannot be used, or no file of it can be read.
        WeightsError, DeviceError.
    """
    loading = loading or Loading()
    processes = processes or Processes(classifier.device)
    data = find_labelled(root)
    mapped = map_classes(data.names, classifier.labels)
    real = RealLabels(real_labels, data.photos, classifier.labels) if real_labels else None
    run = _Run(classifier, data, torch.from_numpy(mapped)[torch.from_numpy(data.targets).long()])
    started = time.perf_counter()
    total = count_batches(len(data.photos), loading.batch_size)
    with a_killed_loader_is(killed()):
        run.measure(loading, range(processes.rank, total, processes.size), real, on_progress)
    for tally, reasons, counted in gather_objects(processes, (run.tally, run.reasons, real)):
        run.merge(tally, reasons, real, counted)
    seconds = time.perf_counter() - started
    return _result(run, [int(index) for index in mapped], real, seconds)


def _result(
    run: _Run, mapped: Sequence[int], real: RealLabels | None, seconds: float
) -> Evaluation:
    classifier, data, tally = run.classifier, run.data, run.tally
    unreadable = in_list(data.photos, run.reasons)
    if not tally.images:
        raise DatasetError(
            f"None of the {len(data.photos)} photographs can be read; the first: {unreadable[0][1]}"
        )
    shown = classifier.labels.display
    return Evaluation(
        model=classifier.name,
        weights=classifier.weights,
        device=str(classifier.device),
        part=data.part,
        class_map={name: (i, shown(i)) for name, i in zip(data.names, mapped, strict=True)},
        known_classes=len(classifier.labels),
        images=tally.images,
        top1=tally.top1_share(),
        top5=tally.top5_share(),
        ece=tally.ece(),
        bins=tally.bins(),
        classes=_per_class(tally, shown),
        confusion=dict(sorted(tally.pairs.items())),
        labels={i: shown(i) for i in sorted({i for pair in tally.pairs for i in pair})},
        seconds=seconds,
        unreadable=tuple(unreadable),
        real=real.counts() if real else None,
        notices=classifier.notices,
    )


class _Run:
    """Batches through a network into counts."""

    def __init__(self, classifier: Network, data: LabelledPhotos, targets: torch.Tensor) -> None:
        self.classifier, self.data, self.targets = classifier, data, targets
        self.tally = Tally()
        self.reasons: dict[int, str] = {}

    def measure(
        self,
        loading: Loading,
        numbers: range,
        real: RealLabels | None,
        on_progress: Progress | None,
    ) -> None:
        normalise = Normalise(self.classifier)
        total = sum(
            min(loading.batch_size, len(self.data.photos) - n * loading.batch_size) for n in numbers
        )
        done = 0
        pinned = self.classifier.device.type == "cuda"
        with channels_last(self.classifier):
            for batch in batches(
                self.data.photos, self.classifier.preprocess, loading, numbers, pinned=pinned
            ):
                self._count(batch, normalise, real)
                done += len(batch.views)
                if on_progress is not None:
                    on_progress(done, total)

    def _count(self, batch: Batch, normalise: Normalise, real: RealLabels | None) -> None:
        self.reasons.update(batch.reasons)
        readable = batch.readable()
        if not readable.any():
            return

        @torch.inference_mode()
        def forward() -> torch.Tensor:
            logits: torch.Tensor = self.classifier.model(normalise(batch.views))
            return logits.float().cpu()

        logits = self.classifier.guarded(forward)[0][readable]
        numbers = batch.first + readable.nonzero()[:, 0]
        self.tally.add(logits, self.targets[numbers])
        if real is not None:
            real.add(logits, [self.data.photos.name(n) for n in numbers.tolist()])

    def merge(
        self,
        tally: Tally,
        reasons: dict[int, str],
        real: RealLabels | None,
        counted: RealLabels | None,
    ) -> None:
        """Add another process's counts."""
        self.tally.merge(tally)
        self.reasons.update(reasons)
        if real is not None and counted is not None:
            real.merge(counted)


def _per_class(tally: Tally, shown: Callable[[int], str]) -> tuple[ClassResult, ...]:
    images: dict[int, int] = defaultdict(int)
    predicted: dict[int, int] = defaultdict(int)
    for (true, best), count in tally.pairs.items():
        images[true] += count
        predicted[best] += count
    found = []
    for index in sorted(images):
        n, right = images[index], tally.pairs[index, index]
        answers = predicted[index]
        precision = right / answers if answers else None
        top5 = tally.top5[index] / n
        found.append(ClassResult(index, shown(index), n, right / n, top5, answers, precision))
    return tuple(found)
