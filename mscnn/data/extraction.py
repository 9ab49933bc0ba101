"""Feature vectors of all photographs below a folder, into a file; see ``mscnn.data.part_files``."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Sequence
from pathlib import Path

import torch

from mscnn.data import part_files
from mscnn.data.feature_files import check_format, check_writable, write_feature_file
from mscnn.data.listing import Account, PhotoList, list_photos
from mscnn.data.loading import Loading, Normalise, batches, channels_last
from mscnn.data.part_files import Done, PartFiles, Plan
from mscnn.data.processes import Processes
from mscnn.engine.network import Network, Progress
from mscnn.results.features import Extraction, FeatureHead, Rows
from mscnn.results.schema import plain


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
    on_progress: Progress = lambda *_: None,
) -> Extraction:
    """Write the features of all photographs below ``folder``, at any depth, into ``out``.

    What is done is kept beside ``out``: the same call after a kill goes on, and gives the same
    bytes as an undisturbed one; ``restart`` forgets what was kept. ``on_progress`` is called with
    (photographs done by all processes, in total). ``out`` ends in one of ``SUFFIXES``; ``stage``
    and ``split`` are as ``Network.feature_point`` takes them.

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
    account = Account(folder)
    photos, normalise = list_photos(folder, account), Normalise(classifier)

    def rows_of(views: torch.Tensor) -> Rows:
        return normalise.into(lambda x: classifier.pooled(x, point), views)

    width, height = classifier.preprocess.view_size
    numbers = rows_of(torch.zeros(1, height, width, 3, dtype=torch.uint8)).shape[1]
    settings = {
        "model": classifier.name, "weights_sha256": classifier.weights.sha256,
        "preparation": plain(classifier.loaded.data_config),
        "stage": point.layer if point else None, "split": split, "device": classifier.device.type,
        "width": numbers,
    }  # fmt: skip
    plan = Plan(
        settings=settings, images=len(photos), batch_size=loading.batch_size,
        photographs=photos.digest(), arrays={"rows": ("<f4", (numbers,))},
    )  # fmt: skip
    pinned = classifier.device.type == "cuda"

    def compute(todo: Sequence[int]) -> Generator[Done]:
        with channels_last(classifier):
            for batch in batches(photos, classifier.preprocess, loading, todo, pinned=pinned):
                number = batch.first // plan.batch_size
                yield number, {"rows": rows_of(batch.views)}, batch.readable().numpy()

    with part_files.alone(out, processes):
        part, kept = part_files.fill(
            out, plan, compute, processes=processes, restart=restart, on_progress=on_progress
        )
        unreadable = part_files.left_out(photos, part.readable)
        # No process may delete the rows while another one still reads them.
        processes.wait()
        if processes.is_first:
            _finish(part, photos, unreadable)
    return Extraction(
        file=str(out), model=classifier.name, weights=classifier.weights,
        device=str(classifier.device), stage=point.layer if point else None, split=split,
        images=plan.images - len(unreadable), width=numbers,
        seconds=time.perf_counter() - started, computed=plan.images - kept, unreadable=unreadable,
        notices=(*classifier.notices, *account.lines()), not_used=account.unused or None,
    )  # fmt: skip


def _finish(part: PartFiles, photos: PhotoList, unreadable: Sequence[tuple[str, str]]) -> None:
    """Turn the rows into the feature file, which appears when it is whole."""
    known, images = part.plan.settings, part.plan.images
    part_files.check_any(part, unreadable)
    head = FeatureHead(
        rows=images - len(unreadable), width=known["width"], model=known["model"],
        weights_sha256=known["weights_sha256"], stage=known["stage"] or "",
        split="" if known["split"] is None else str(known["split"]),
        preparation=known["preparation"],
        unreadable=tuple(name for name, _ in unreadable),
    )  # fmt: skip
    whole = part.folder / f"whole{part.out.suffix.lower()}"
    with part_files.writing(part.out):
        rows = part.readable_rows("rows")
        write_feature_file(whole, head, part_files.Names(photos, part.readable), rows)
        with whole.open("r+b") as file:
            os.fsync(file.fileno())
        whole.replace(part.out)
    del rows
    part.remove()
