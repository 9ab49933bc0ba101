"""Feature vectors of all photographs below a folder, into a file."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from mscnn.data.feature_files import check_format, check_writable, write_feature_file
from mscnn.data.listing import FileList, list_photos
from mscnn.data.loaders import a_killed_loader_is
from mscnn.data.loading import Loading, Normalise, batches, channels_last, in_list, killed
from mscnn.data.part_files import PartFiles, Plan, Rows, part_folder, writing
from mscnn.data.processes import Processes
from mscnn.engine.network import Network
from mscnn.engine.pooling import FeatureTap, find_tap, pooled
from mscnn.errors import DatasetError
from mscnn.results.explanation import WeightsInfo
from mscnn.results.features import FeatureHead, Paths

Progress = Callable[[int, int], None]
_WAIT_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """What a feature file holds, and what it took.

    Attributes:
        file: the feature file's name as the user gave it.
        model, weights, device: what the features are of, and where they were computed.
        stage: layer; None for the network's own pooled features.
        split: of the block ``stage``; None for none.
        images: rows of the file.
        width: numbers per row.
        seconds: wall time of this run.
        computed: photographs of this run, by all processes; the others were there from before.
        unreadable: what was left out, as ``(name, reason)``.
        notices: what the user should know, such as a change of device.
    """

    file: str
    model: str
    weights: WeightsInfo
    device: str
    stage: str | None
    split: int | None
    images: int
    width: int
    seconds: float
    computed: int
    unreadable: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    notices: tuple[str, ...] = ()


def extract(
    classifier: Network,
    folder: Path,
    out: Path,
    *,
    stage: str | None = None,
    split: int | None = None,
    loading: Loading | None = None,
    processes: Processes | None = None,
    restart: bool = False,
    on_progress: Progress | None = None,
) -> Extraction:
    """Write the features of all photographs below ``folder`` into ``out``.

    What is done is kept beside ``out`` (see ``mscnn.data.part_files``): the same call after a
    kill goes on, and gives the same bytes as an undisturbed one.

    Args:
        classifier: a loaded backbone.
        folder: photographs, at any depth.
        out: a name that ends in ``.npz``, ``.parquet`` or ``.safetensors``.
        stage: see ``mscnn.engine.pooling.find_tap``.
        split: likewise.
        loading: how photographs are read.
        processes: those that share the work: batch k is done by process k mod their number.
        restart: forget what an earlier run kept.
        on_progress: called with (photographs done by all processes, in total).

    Raises:
        DatasetError: no photograph is there, or none can be read.
        OutputError: ``out`` cannot be written, or an earlier run had other settings.
        OptionError, UnknownLayerError, UnsupportedModelError, DeviceError.
    """
    loading, processes = loading or Loading(), processes or Processes(classifier.device)
    started = time.perf_counter()
    check_format(out)
    check_writable(out)
    tap = find_tap(classifier, stage, split)
    photos = list_photos(folder)
    plan = _plan(classifier, photos, tap, loading)
    if restart and processes.is_first:
        forget(out)
    processes.wait()
    with PartFiles(out, plan, processes.rank) as part:
        kept = _photographs(part)
        todo = [
            n for n in range(processes.rank, plan.batches, processes.size) if n not in part.done
        ]
        # No process may delete the part while another one still looks what is to do.
        processes.wait()
        with a_killed_loader_is(killed()):
            _compute(classifier, photos, tap, loading, todo, part, on_progress)
        _wait_for_all(part, on_progress)
        processes.wait()
        unreadable = tuple(in_list(photos, part.reasons))
        head = _head(plan, [name for name, _ in unreadable])
        if processes.is_first:
            _finish(part, photos, head, unreadable)
    return Extraction(
        file=str(out),
        model=classifier.name,
        weights=classifier.weights,
        device=str(classifier.device),
        stage=tap.stage,
        split=tap.split,
        images=head.rows,
        width=head.width,
        seconds=time.perf_counter() - started,
        computed=plan.images - kept,
        unreadable=unreadable,
        notices=classifier.notices,
    )


def forget(out: Path) -> None:
    """Delete what an earlier run kept for ``out``."""
    shutil.rmtree(part_folder(out), ignore_errors=True)


def _plan(classifier: Network, photos: FileList, tap: FeatureTap, loading: Loading) -> Plan:
    width, height = classifier.preprocess.view_size
    blank = torch.zeros(1, height, width, 3, dtype=torch.uint8)
    return Plan(
        model=classifier.name,
        weights_sha256=classifier.weights.sha256,
        stage=tap.stage,
        split=tap.split,
        device=classifier.device.type,
        batch_size=loading.batch_size,
        images=len(photos),
        width=_rows(classifier, Normalise(classifier), blank, tap).shape[1],
        photographs=photos.digest(),
    )


def _rows(
    classifier: Network, normalise: Normalise, views: torch.Tensor, tap: FeatureTap
) -> Rows:
    def work() -> Rows:
        with torch.inference_mode():
            rows: Rows = pooled(classifier.model, normalise(views), tap).cpu().numpy()
        return rows

    return classifier.guarded(work)[0]


def _compute(
    classifier: Network,
    photos: FileList,
    tap: FeatureTap,
    loading: Loading,
    todo: Sequence[int],
    part: PartFiles,
    on_progress: Progress | None,
) -> None:
    normalise = Normalise(classifier)
    pinned = classifier.device.type == "cuda"
    with channels_last(classifier):
        for batch in batches(photos, classifier.preprocess, loading, todo, pinned=pinned):
            rows = _rows(classifier, normalise, batch.views, tap)
            part.write(batch.first // loading.batch_size, rows, batch.reasons)
            _report(part, on_progress)


def _photographs(part: PartFiles) -> int:
    return sum(len(part.plan.batch(number)) for number in part.done)


def _report(part: PartFiles, on_progress: Progress | None) -> None:
    if on_progress is not None:
        part.refresh()
        on_progress(_photographs(part), part.plan.images)


def _wait_for_all(part: PartFiles, on_progress: Progress | None) -> None:
    """Return when all processes have written their batches.

    By looking at the files, for as long as it takes: a barrier of torch gives up after minutes.
    """
    while not part.is_complete():
        time.sleep(_WAIT_S)
        part.refresh()
        _report(part, on_progress)


def _head(plan: Plan, unreadable: Sequence[str]) -> FeatureHead:
    return FeatureHead(
        rows=plan.images - len(unreadable),
        width=plan.width,
        model=plan.model,
        weights_sha256=plan.weights_sha256,
        stage=plan.stage or "",
        split="" if plan.split is None else str(plan.split),
        unreadable=tuple(unreadable),
    )


def _finish(
    part: PartFiles, photos: FileList, head: FeatureHead, unreadable: Sequence[tuple[str, str]]
) -> None:
    """Turn the rows into the feature file, which appears when it is whole."""
    if not head.rows:
        part.remove()
        raise DatasetError(
            f"None of the {len(photos)} photographs can be read; the first: {unreadable[0][1]}"
        )

    def names() -> Iterator[str]:
        return (photos.name(i) for i in range(len(photos)) if i not in part.reasons)

    whole = part.folder / f"whole{part.out.suffix.lower()}"
    with writing(part.out):
        write_feature_file(whole, head, Paths(names), part.readable_rows())
        with whole.open("r+b") as file:
            os.fsync(file.fileno())
        whole.replace(part.out)
    part.remove()
