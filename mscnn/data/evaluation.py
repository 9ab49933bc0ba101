"""Accuracy and calibration of a network over labelled photographs of any number."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch

from mscnn.data.classes import map_classes
from mscnn.data.layouts import Part, find_labelled
from mscnn.data.loading import (
    LOADER_KILLED,
    Batch,
    Loading,
    Normalise,
    batches,
    channels_last,
    count_batches,
    killed_loader_raises,
)
from mscnn.data.processes import Processes
from mscnn.data.real_labels import RealLabels
from mscnn.data.tally import Tally
from mscnn.engine.network import Network
from mscnn.errors import DatasetError
from mscnn.models import reliability
from mscnn.results.evaluation import Evaluation
from mscnn.results.writing import replacing

Progress = Callable[[int, int], None]


def evaluate(
    classifier: Network,
    root: Path,
    *,
    loading: Loading | None = None,
    real_labels: Path | None = None,
    processes: Processes | None = None,
    on_progress: Progress | None = None,
) -> Evaluation:
    """Measure a network on a folder; see ``mscnn.data.layouts`` for what is understood.

    Args:
        classifier: a loaded backbone.
        root: the data.
        loading: how photographs are read.
        real_labels: list of ImageNet's reassessed labels.
        processes: those that share the work; each gets the whole result.
        on_progress: called with (photographs done by this process, its part of them).

    Raises:
        DatasetError: the data cannot be used, or no file of it can be read.
        WeightsError, DeviceError.
    """
    loading = loading or Loading()
    processes = processes or Processes(classifier.device)
    data = find_labelled(root)
    mapped = map_classes(data.names, classifier.labels)
    real = RealLabels(real_labels, data.samples, classifier.labels) if real_labels else None
    run = _Run(classifier, data, torch.from_numpy(mapped[data.samples.targets]), real)
    started = time.perf_counter()
    total = count_batches(len(data.samples), loading.batch_size)
    with killed_loader_raises(LOADER_KILLED):
        run.measure(loading, range(processes.rank, total, processes.size), on_progress)
    for rank, other in enumerate(processes.gather((run.tally, run.reasons, run.real))):
        if rank != processes.rank:
            run.merge(*other)
    seconds = time.perf_counter() - started
    tally, names = run.tally, data.samples
    unreadable = [(names.name(number), run.reasons[number]) for number in sorted(run.reasons)]
    if not tally.images:
        raise DatasetError(
            f"None of the {len(data.samples)} photographs can be read; the first: "
            f"{unreadable[0][1]}"
        )
    shown = classifier.labels.display
    accuracy = tally.accuracy(len(classifier.labels))
    indices = [int(index) for index in mapped]
    return Evaluation(
        model=classifier.name,
        weights=classifier.weights,
        device=str(classifier.device),
        part=data.words,
        class_map={name: (i, shown(i)) for name, i in zip(data.names, indices, strict=True)},
        known_classes=len(classifier.labels),
        images=tally.images,
        top1=accuracy.top1,
        top5=accuracy.top5,
        ece=tally.ece(),
        bins=tally.bins(),
        classes=tuple(tally.classes(sorted({true for true, _ in tally.pairs}), shown)),
        confusion=dict(sorted(tally.pairs.items())),
        labels={i: shown(i) for i in sorted({i for pair in tally.pairs for i in pair})},
        seconds=seconds,
        unreadable=tuple(unreadable),
        real=real.counts() if real else None,
        notices=classifier.notices,
        reliability=tally.reliability(f"{root.resolve().name}, {data.words}"),
    )


def write_reliability(folder: Path, found: Evaluation) -> bool:
    """Write ``reliability.json`` into a model folder.

    Returns:
        Whether it was written: only where every class of the model had photographs, and the folder
        may be written.
    """
    if len(found.classes) == found.known_classes:
        document = json.dumps(found.reliability, indent=1) + "\n"
        with contextlib.suppress(OSError), replacing(folder / reliability.FILE) as path:
            path.write_text(document, encoding="utf-8")
            return True
    return False


class _Run:
    """Batches through a network into counts."""

    def __init__(
        self, classifier: Network, data: Part, targets: torch.Tensor, real: RealLabels | None
    ) -> None:
        self.classifier, self.photos, self.targets = classifier, data.samples, targets
        self.tally, self.real = Tally(), real
        self.reasons: dict[int, str] = {}

    def measure(self, loading: Loading, numbers: range, on_progress: Progress | None) -> None:
        size, pinned = loading.batch_size, self.classifier.device.type == "cuda"
        total = sum(min(size, len(self.photos) - n * size) for n in numbers)
        normalise = Normalise(self.classifier)
        done = 0
        with channels_last(self.classifier):
            for batch in batches(
                self.photos, self.classifier.preprocess, loading, numbers, pinned=pinned
            ):
                self._count(batch, normalise)
                done += len(batch.views)
                if on_progress is not None:
                    on_progress(done, total)

    def _count(self, batch: Batch, normalise: Normalise) -> None:
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
        if self.real is not None:
            self.real.add(logits, [self.photos.name(n) for n in numbers.tolist()])

    def merge(self, tally: Tally, reasons: dict[int, str], real: RealLabels | None) -> None:
        """Add another process's counts."""
        self.tally.merge(tally)
        self.reasons.update(reasons)
        if self.real is not None and real is not None:
            self.real.merge(real)
