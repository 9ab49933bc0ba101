"""``mscnn features``: feature vectors of a folder of photographs, into a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from mscnn.cli import options
from mscnn.cli.console import open_engine, print_json, progress, settle_model
from mscnn.cli.evaluate import BatchSize, Workers
from mscnn.errors import OptionError


def features(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder with photos, at any depth.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="FILE", help="File for the features: .npz, .safetensors or .parquet."
        ),
    ],
    model: options.Model = None,
    weights: options.Weights = None,
    stage: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--stage",
            help="Mean output of a stage or block, such as layer3.  [default: the features that "
            "the model itself classifies]",
            show_default=False,
        ),
    ] = None,
    split: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--split",
            metavar="BLOCK/N",
            help="Mean of one split of a block, such as layer3.1/2, from 0 in timm's order.",
        ),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Forget what an earlier run left in FILE.part.")
    ] = False,
    batch_size: BatchSize = 64,
    workers: Workers = -1,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Write one feature vector per photo of a folder into a file.

    FILE holds features (n x d, float32), the paths of the photos, the model and its weights. Files
    that cannot be read are listed and left out. When it was stopped, the same command goes on with
    what FILE.part holds; the file is then the same to the byte. Under torchrun the work is shared.
    """
    from mscnn.data.extraction import extract
    from mscnn.data.feature_files import check_format, check_writable
    from mscnn.data.loading import Loading
    from mscnn.data.processes import sharing
    from mscnn.engine.device import choose_device

    loading = Loading(batch_size=batch_size, workers=None if workers == -1 else workers)
    block, number = _tap(stage, split)
    check_format(out)
    check_writable(out)
    model = settle_model(model)
    with sharing(choose_device(device)) as processes, progress("photographs", "photo") as report:
        engine = open_engine(str(processes.device), [model], weights)
        found = extract(
            engine.session.network(model, weights),
            folder,
            out,
            stage=block,
            split=number,
            loading=loading,
            processes=processes,
            restart=restart,
            on_progress=report if processes.is_first else None,
        )
    if not processes.is_first:
        return
    for name, reason in found.unreadable:
        typer.echo(f"left out {name}: {reason}", err=True)
    if json:
        from mscnn.results.schema import document

        print_json(document(found))
        return
    what = found.stage or "pooled features"
    what += "" if found.split is None else f", split {found.split}"
    typer.echo(
        f"{found.model}  ({found.weights.source}, {found.device}), {what}\n"
        f"written {out}: {found.images} photographs x {found.width} numbers"
    )


def _tap(stage: str | None, split: str | None) -> tuple[str | None, int | None]:
    """Settle ``--stage`` and ``--split``.

    Raises:
        OptionError: both were given, or the split is not written as BLOCK/N.
    """
    if split is None:
        return stage, None
    if stage is not None:
        raise OptionError("--split names its block itself; leave --stage out.")
    block, _, number = split.rpartition("/")
    if not block or not (number.isascii() and number.isdigit()):
        raise OptionError(
            f"--split is {split!r}; give a block and the number of its split, such as layer3.1/2."
        )
    return block, int(number[:9])
