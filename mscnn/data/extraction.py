"""Feature vectors of all photographs below a folder, into a file."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from mscnn.data.feature_files import check_format, check_writable, write_feature_file
from mscnn.data.listing import MOMENTARY, FileList, list_photos, why_unreadable
from mscnn.data.loading import Loading, Normalise, batches, channels_last, killed_loader_raises
from mscnn.data.part_files import PartFiles, Plan, forget, writing
from mscnn.data.processes import Processes
from mscnn.engine.network import Network
from mscnn.errors import DatasetError
from mscnn.results.features import Extraction, FeatureHead, Rows

Progress = Callable[[int, int], None]
_WAIT_S = 0.2


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
    """Write the features of all photographs below ``folder``, at any depth, into ``out``.

    What is done is kept beside ``out`` (see ``mscnn.data.part_files``): the same call after a kill
    goes on, and gives the same bytes as an undisturbed one; ``restart`` forgets what was kept. Of
    several processes, number k mod their number does batch k. ``on_progress`` is called with
    (photographs done by all of them, in total).

    ``out`` ends in ``.npz``, ``.parquet`` or ``.safetensors``; ``stage`` and ``split`` are as
    ``Network.feature_point`` takes them.

    Raises:
        DatasetError: no photograph is there, or none can be read.
        OutputError: ``out`` cannot be written, or an earlier run had other settings.
        OptionError, UnknownLayerError, UnsupportedModelError, DeviceError.
    """
    loading, processes = loading or Loading(), processes or Processes(classifier.device)
    started = time.perf_counter()
    check_format(out)
    check_writable(out)
    point = classifier.feature_point(stage, split)
    photos, normalise = list_photos(folder), Normalise(classifier)

    def rows_of(views: torch.Tensor) -> Rows:
        return normalise.into(lambda x: classifier.pooled(x, point), views)

    width, height = classifier.preprocess.view_size
    plan = Plan(
        model=classifier.name,
        weights_sha256=classifier.weights.sha256,
        stage=point.layer if point else None,
        split=split,
        device=classifier.device.type,
        batch_size=loading.batch_size,
        images=len(photos),
        width=rows_of(torch.zeros(1, height, width, 3, dtype=torch.uint8)).shape[1],
        photographs=photos.digest(),
    )
    # The first process makes and checks what is kept, then the others look at it.
    if processes.is_first:
        if restart:
            forget(out)
        part = PartFiles(out, plan)
    processes.wait()
    if not processes.is_first:
        part = PartFiles(out, plan, first=False)
    kept = part.photographs()
    todo = sorted({*range(processes.rank, plan.batches, processes.size)} - {*part.done()})
    # No process may write before all have looked what is to do.
    processes.wait()

    def report() -> None:
        if on_progress is not None:
            on_progress(part.photographs(), plan.images)

    pinned = classifier.device.type == "cuda"
    with killed_loader_raises(), channels_last(classifier):
        for batch in batches(photos, classifier.preprocess, loading, todo, pinned=pinned):
            number = batch.first // plan.batch_size
            part.write(number, rows_of(batch.views), batch.readable().numpy())
            report()
    # However long the others take: a barrier of torch gives up after minutes.
    while not part.is_complete():
        time.sleep(_WAIT_S)
        report()
    unreadable = tuple(
        (photos.name(number), why_unreadable(photos.source(number)) or MOMENTARY)
        for number in (~part.readable).nonzero()[0].tolist()
    )
    # No process may delete the rows while another one still reads them.
    processes.wait()
    if processes.is_first:
        _finish(part, photos, unreadable)
    return Extraction(
        file=str(out),
        model=classifier.name,
        weights=classifier.weights,
        device=str(classifier.device),
        stage=point.layer if point else None,
        split=split,
        images=plan.images - len(unreadable),
        width=plan.width,
        seconds=time.perf_counter() - started,
        computed=plan.images - kept,
        unreadable=unreadable,
        notices=classifier.notices,
    )


class _Names:
    """Paths of readable photographs; file names of any bytes fit into UTF-8."""

    def __init__(self, photos: FileList, part: PartFiles) -> None:
        self.photos, self.numbers = photos, part.readable.nonzero()[0]

    def __iter__(self) -> Iterator[str]:
        for number in self.numbers:
            yield self.photos.name(int(number)).encode("utf-8", "backslashreplace").decode()


def _finish(part: PartFiles, photos: FileList, unreadable: Sequence[tuple[str, str]]) -> None:
    """Turn the rows into the feature file, which appears when it is whole."""
    plan = part.plan
    if len(unreadable) == plan.images:
        part.remove()
        raise DatasetError(
            f"None of the {len(photos)} photographs can be read; the first: {unreadable[0][1]}"
        )
    head = FeatureHead(
        rows=plan.images - len(unreadable),
        width=plan.width,
        model=plan.model,
        weights_sha256=plan.weights_sha256,
        stage=plan.stage or "",
        split="" if plan.split is None else str(plan.split),
        unreadable=tuple(name for name, _ in unreadable),
    )
    whole = part.folder / f"whole{part.out.suffix.lower()}"
    with writing(part.out):
        write_feature_file(whole, head, _Names(photos, part), part.readable_rows())
        with whole.open("r+b") as file:
            os.fsync(file.fileno())
        whole.replace(part.out)
    part.remove()
