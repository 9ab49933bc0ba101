"""Accuracy and calibration of a network over labelled photographs of any number."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import torch

from mscnn.data.classes import map_classes
from mscnn.data.layouts import find_labelled
from mscnn.data.loading import Loading, Normalise, batches, channels_last, killed_loader_raises
from mscnn.data.processes import Processes
from mscnn.data.real_labels import RealLabels
from mscnn.data.tally import Tally
from mscnn.engine.network import Network
from mscnn.errors import DatasetError, OutputError, UnsupportedModelError
from mscnn.models import reliability
from mscnn.results.evaluation import Evaluation
from mscnn.results.writing import write

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

    ``real_labels`` is a file for ``RealLabels``. Of several processes each gets the whole result;
    ``on_progress`` is called with (photographs done by this process, its part of them).

    Raises:
        DatasetError: the data cannot be used, or no file of it can be read.
        UnsupportedModelError: the network has fewer than two classes.
        WeightsError, DeviceError.
    """
    if (known := len(classifier.labels)) < 2:
        raise UnsupportedModelError(
            f"{classifier.name} has {'one class' if known else 'no classes'}, so accuracy says "
            "nothing of it; choose a model of two classes or more."
        )
    loading, processes = loading or Loading(), processes or Processes(classifier.device)
    data = find_labelled(root)
    photos, mapped = data.samples, map_classes(data.names, classifier.labels)
    targets = torch.from_numpy(mapped[photos.targets])
    real = RealLabels(real_labels, photos, classifier.labels) if real_labels else None
    tally, reasons, done = Tally(), dict[int, str](), 0
    started, size = time.perf_counter(), loading.batch_size
    numbers = range(processes.rank, -(-len(photos) // size), processes.size)
    mine = sum(min(size, len(photos) - n * size) for n in numbers)
    normalise, pinned = Normalise(classifier), classifier.device.type == "cuda"
    with killed_loader_raises(), channels_last(classifier):
        for batch in batches(photos, classifier.preprocess, loading, numbers, pinned=pinned):
            reasons.update(batch.reasons)
            readable = batch.readable()
            if readable.any():
                logits = normalise.into(lambda x: classifier.model(x).float().cpu(), batch.views)
                seen = batch.first + readable.nonzero()[:, 0]
                tally.add(logits[readable], targets[seen])
                if real is not None:
                    real.add(logits[readable], [photos.name(n) for n in seen.tolist()])
            done += len(batch.views)
            if on_progress is not None:
                on_progress(done, mine)
    for rank, (counts, why, by_real) in enumerate(processes.gather((tally, reasons, real))):
        if rank != processes.rank:
            tally.merge(counts)
            reasons.update(why)
            if real is not None and by_real is not None:
                real.merge(by_real)
    seconds = time.perf_counter() - started
    unreadable = tuple((photos.name(number), reasons[number]) for number in sorted(reasons))
    if not tally.images:
        raise DatasetError(
            f"None of the {len(photos)} photographs can be read; the first: {unreadable[0][1]}"
        )
    shown = classifier.labels.display
    accuracy = tally.accuracy(len(classifier.labels))
    return Evaluation(
        model=classifier.name, weights=classifier.weights, device=str(classifier.device),
        part=data.words,
        class_map={n: (i, shown(i)) for n, i in zip(data.names, mapped.tolist(), strict=True)},
        known_classes=len(classifier.labels), images=tally.images, top1=accuracy.top1,
        top5=accuracy.top5, ece=tally.ece(), bins=tally.bins(),
        classes=tuple(tally.classes(sorted({true for true, _ in tally.pairs}), shown)),
        confusion=dict(sorted(tally.pairs.items())),
        labels={i: shown(i) for i in sorted({i for pair in tally.pairs for i in pair})},
        seconds=seconds, unreadable=unreadable, real=real.counts() if real else None,
        notices=(*classifier.notices, *data.account.notices, *data.account.lines()),
        not_used=data.account.unused or None,
        reliability=tally.reliability(f"{root.resolve().name}, {data.words}"),
    )  # fmt: skip


def write_reliability(folder: Path, found: Evaluation) -> str:
    """Write ``reliability.json`` into a model folder, and say so; "" where that is not possible.

    What was measured before on other photographs, such as those training held out, is kept.
    """
    if len(found.classes) != found.known_classes:
        return ""
    path, measured = folder / reliability.FILE, found.reliability["set"]
    before = reliability.reliability_of(folder)
    if before is not None and before.set != measured:
        return f"kept {path}, which was measured on other photographs: {before.set}"
    try:
        write(folder, {path.name: (json.dumps(found.reliability, indent=1) + "\n").encode()})
    except OutputError:
        return ""
    return f"written {path}: how often this model is right when it is so sure"
