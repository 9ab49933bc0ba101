"""``mscnn evaluate``: how often a model is right on labelled photographs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from mscnn.cli import options
from mscnn.cli.console import accuracy, open_engine, print_json, progress, settle_model, share

if TYPE_CHECKING:
    from mscnn.results.evaluation import Evaluation

BatchSize = Annotated[int, typer.Option("--batch-size", help="Photographs at a time.")]
Workers = Annotated[
    int,
    typer.Option(
        "--workers",
        help="Processes that decode; 0 for none beside this one.  [default: one per CPU core]",
        show_default=False,
    ),
]


def evaluate(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Folder with one folder of images per class (its val part where it has one), "
            "Tiny-ImageNet, a CSV file with the header path,label, or a folder that Hugging Face's "
            "datasets saved.",
        ),
    ],
    model: options.Model = None,
    weights: options.Weights = None,
    real_labels: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--real-labels",
            metavar="FILE",
            help="Also count by ImageNet's reassessed labels: real.json, for its validation files.",
        ),
    ] = None,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", metavar="DIR", help="Folder for tables and pictures."),
    ] = None,
    batch_size: BatchSize = 64,
    workers: Workers = -1,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Measure how often a model is right, and how well it knows that.

    Class folders are called by the model's class names, their indices or WordNet ids. Files that
    cannot be read are listed and left out. With --out it writes evaluation.json, tables of the
    classes and of the confusions, a picture of each, and reliability.png. Under torchrun the work
    is shared.
    """
    from mscnn.data.evaluation import evaluate as measure
    from mscnn.data.evaluation import write_reliability
    from mscnn.data.loading import Loading
    from mscnn.data.processes import sharing
    from mscnn.engine.device import choose_device
    from mscnn.models.sources import locate

    loading = Loading(batch_size=batch_size, workers=None if workers == -1 else workers)
    if out is not None:
        from mscnn.results.writing import check_folder

        check_folder(out)
    model = settle_model(model)
    with sharing(choose_device(device)) as processes, progress("photographs", "photo") as report:
        engine = open_engine(str(processes.device), [model], weights)
        found = measure(
            engine.session.network(model, weights),
            data,
            loading=loading,
            real_labels=real_labels,
            processes=processes,
            on_progress=report if processes.is_first else None,
        )
    if not processes.is_first:
        return
    folder = locate(model).folder if weights is None else None
    if folder is not None and (line := write_reliability(folder, found)):
        typer.echo(line, err=True)
    _tell(found, out, json)


def _tell(found: Evaluation, out: Path | None, json: bool) -> None:
    files: list[str] = []
    if out is not None:
        from mscnn.draw.files import evaluation_files
        from mscnn.results.writing import write

        files = write(out, evaluation_files(found))
    if json:
        from mscnn.results.schema import document

        written = {"out": str(out), "files": files} if out is not None else {}
        print_json({**document(found, details=out is not None), **written})
        return
    typer.echo("\n".join([*_lines(found), *([f"written {out}: {', '.join(files)}"] * bool(files))]))


def _lines(found: Evaluation) -> list[str]:
    count = f"{found.images} photographs of {len(found.class_map)} classes, {found.part}"
    lines = [
        f"{found.model}  ({found.weights.source}, {found.device})",
        f"  {count}",
        f"  {accuracy(found.top1, found.top5, found.known_classes)}  "
        f"calibration error {share(found.ece)}",
    ]
    if found.real is not None:
        images, top1, top5 = found.real
        known = found.known_classes
        shares = "-" if top1 is None or top5 is None else accuracy(top1, top5, known)
        lines.append(f"  by real labels {shares}  ({images} photographs)")
    lines.append(f"  {found.images_per_second:.0f} photographs per second, with decoding")
    lines += [f"  left out {name}: {reason}" for name, reason in found.unreadable]
    return [*lines, *(f"  note {notice}" for notice in found.notices)]
