"""Accuracy and calibration over labelled photographs of any number, and some to look at."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from mscnn.data.classes import map_classes
from mscnn.data.layouts import Part, find_labelled
from mscnn.data.listing import Samples, check_any
from mscnn.data.loading import Loading, Normalise, batches, channels_last, killed_loader_raises
from mscnn.data.processes import Processes
from mscnn.data.real_labels import RealLabels
from mscnn.data.tally import Tally
from mscnn.draw.sheets import DrawingOptions, fitted, painted
from mscnn.engine.network import Network, Progress
from mscnn.errors import MscnnError, OptionError, OutputError, UnsupportedModelError
from mscnn.models import reliability
from mscnn.photos.imaging import load_photo
from mscnn.results.evaluation import KINDS, Disagreement, Evaluation, ShownPhoto
from mscnn.results.explanation import density
from mscnn.results.writing import bare_name, write

WORST, PAIRS, OF_PAIR, OF_KIND, PHOTO_PX = 24, 12, 3, 6, 192
"""Photographs that are shown at most: the worst mistakes, of each of the most confused pairs, and
of each of ``KINDS``; and the longer side of their small copies."""
_Asked = list[tuple[Network, list[float]]]  # networks, and the classes that each explains


def evaluate(
    classifier: Network,
    root: Path,
    *,
    data: Part | None = None,
    loading: Loading | None = None,
    real_labels: Path | None = None,
    processes: Processes | None = None,
    on_progress: Progress = lambda *_: None,
) -> Evaluation:
    """Measure a network on a folder; see ``mscnn.data.layouts`` for what is understood.

    ``data`` is what ``find_labelled`` found there, and ``real_labels`` a file for ``RealLabels``.
    Of several processes each gets the whole result; ``on_progress`` is called with (photographs
    done by this process, its part of them).

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
    data = data or find_labelled(root)
    photos, mapped = data.samples, map_classes(data.names, classifier.labels)
    targets = torch.from_numpy(mapped[photos.targets])
    real = RealLabels(real_labels, photos, classifier.labels) if real_labels else None
    tally, reasons, done = Tally(), dict[int, str](), 0
    answers = np.full((len(photos), 3), -1.0)
    answers[:, 0] = mapped[photos.targets]
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
                answers[seen.numpy()] = tally.add(logits[readable], targets[seen])
                if real is not None:
                    real.add(logits[readable], [photos.name(n) for n in seen.tolist()])
            done += len(batch.views)
            on_progress(done, mine)
    gathered = processes.gather((tally, reasons, real, answers))
    for rank, (counts, why, by_real, theirs) in enumerate(gathered):
        if rank != processes.rank:
            tally.merge(counts)
            reasons.update(why)
            answers = np.maximum(answers, theirs)
            if real is not None and by_real is not None:
                real.merge(by_real)
    seconds = time.perf_counter() - started
    unreadable = tuple((photos.name(number), reasons[number]) for number in sorted(reasons))
    check_any(unreadable, len(photos))
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
        reliability=tally.reliability(f"{root.resolve().name}, {data.words}"), answers=answers,
    )  # fmt: skip


def evaluate_and_show(
    classifier: Network,
    root: Path,
    *,
    against: Network | None = None,
    loading: Loading | None = None,
    real_labels: Path | None = None,
    processes: Processes | None = None,
    on_progress: Progress = lambda *_: None,
) -> tuple[list[Evaluation], dict[str, list[ShownPhoto]]]:
    """Evaluate a network, and a second one ``against`` it, and explain some of their answers.

    What is shown are ``"mistakes"`` of the first network, with maps for its answer and for the
    right class, and photographs of each of ``KINDS``, with a map for each network's answer: the
    surest, of equals the first. They are read again; of one that cannot be explained the notices of
    the first evaluation say why. Everything else is as for ``evaluate``.

    Raises:
        OptionError: ``against`` has the same weights, or other classes.
    """
    networks = [classifier, *([against] if against else [])]
    if against is not None and against.weights.sha256 == classifier.weights.sha256:
        raise OptionError(f"{against.name} is the same model; compare it with another one.")
    if networks[-1].labels.names != classifier.labels.names:
        what = "has other classes, or has them in another order; choose a model with the classes of"
        # By their weights too: both may be of one architecture.
        names = [f"{n.name} ({n.weights.source})" for n in (networks[-1], classifier)]
        raise OptionError(f"{names[0]} {what} {names[1]}.")
    processes, data = processes or Processes(classifier.device), find_labelled(root)
    how: dict[str, Any] = {"data": data, "loading": loading, "on_progress": on_progress}
    how |= {"processes": processes}
    found = [evaluate(classifier, root, real_labels=real_labels, **how)]
    found += [evaluate(network, root, **how) for network in networks[1:]]
    target, best, sure = found[0].answers.T
    wrong = _surest((best >= 0) & (best != target), sure)
    chosen = wrong[:WORST].tolist()
    for pair, _ in found[0].confused()[:PAIRS]:
        chosen += wrong[(found[0].answers[wrong, :2] == pair).all(1)][:OF_PAIR].tolist()
    asked: dict[tuple[str, int], _Asked] = {
        ("mistakes", n): [(classifier, [best[n], target[n]])]
        for n in wrong[np.isin(wrong, chosen)].tolist()
    }
    if against is not None:
        other = found[1].answers.T
        read, a, b = (best >= 0) & (other[1] >= 0), best == target, other[1] == target
        kinds = dict(zip(KINDS, (a & b, a & ~b & read, b & ~a & read, read & ~a & ~b), strict=True))
        counts = [int(kind.sum()) for kind in kinds.values()]
        from scipy.stats import binomtest  # late: it takes half a second

        p_value = binomtest(counts[1], differ).pvalue if (differ := sum(counts[1:3])) else 1.0
        found[0] = replace(found[0], against=Disagreement(
            against.name, against.weights, found[1].top1, float(p_value), *counts
        ))  # fmt: skip
        for kind, own in kinds.items():
            for n in _surest(own, sure + other[2])[:OF_KIND].tolist():
                asked[kind, n] = [(classifier, [best[n]]), (against, [other[1, n]])]
    made, keys = dict[tuple[str, int], ShownPhoto | str](), list(asked)
    mine = keys[processes.rank :: processes.size]
    for done, (kind, n) in enumerate(mine, 1):
        made[kind, n] = _shown(data.samples, n, int(target[n]), asked[kind, n])
        on_progress(done, len(mine))
    made = {key: one for part in processes.gather(made) for key, one in part.items()}
    shown: dict[str, list[ShownPhoto]] = {kind: [] for kind in ("mistakes", *KINDS)}
    for key in keys:
        if isinstance(one := made[key], ShownPhoto):
            shown[key[0]].append(one)
        else:
            found[0] = replace(found[0], notices=(*found[0].notices, one))
    return found, shown


def _surest(chosen: npt.NDArray[np.bool_], sure: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the numbers of the chosen photographs, the surest first, equals by their number."""
    numbers = np.flatnonzero(chosen)
    return numbers[np.argsort(-sure[numbers], kind="stable")]


def _shown(photos: Samples, number: int, target: int, asked: _Asked) -> ShownPhoto | str:
    """Read a photograph again and explain it, or say why that is not possible."""
    try:
        photo = load_photo(photos.source(number))
        made = [net.explain(photo, targets=[int(i) for i in classes]) for net, classes in asked]
    except MscnnError as error:
        return f"A photograph is not shown: {error}"
    maps = [(cam.geometry, density(cam, PHOTO_PX, PHOTO_PX)) for one in made for cam in one.maps]
    top, options = max(float(heat.max()) for _, heat in maps), DrawingOptions()
    small = fitted(photo, maps[0][0].drawn_size(PHOTO_PX, PHOTO_PX))
    over = [painted(Image.fromarray(small), at, heat, top, options) for at, heat in maps]
    # Without folders, where the data calls files by their paths on this machine.
    name = bare_name(name) if PurePath(name := photos.name(number)).is_absolute() else name
    scores = tuple(score for one in made for score in one.targets)
    return ShownPhoto(number, name, target, scores, (small, *over))


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
