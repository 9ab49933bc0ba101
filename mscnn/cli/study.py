"""``mscnn study``: does the scale of a decision follow the size of what is seen?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mscnn.cli import options
from mscnn.cli.console import open_engine, progress, tell
from mscnn.results.schema import document
from mscnn.results.writing import check_folder, write


def study(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Photos, or one folder of them per class.")
    ],
    models: Annotated[
        str,
        typer.Option("--models", metavar="A,B", help="Models; the first is compared with."),
    ],
    out: options.Out,
    limit: Annotated[int, typer.Option("--limit", help="Photos to use, at most.")] = 600,
    seed: Annotated[int, typer.Option("--seed", help="Of the choice of photos.")] = 0,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Measure on many photos how a decision's scale follows the size.

    Uses photos that all models classify alike (and rightly, where folders give the class). Shows
    each from twice the network's input down to a fifth, on three canvases and with shuffled pixels
    as a control. Writes study.json, study.csv, study.png, fields.csv and manifest.json into --out.
    """
    from mscnn.draw.files import study_files
    from mscnn.study.run import StudyOptions, run_study

    names = options.split_names(models, "--models")
    chosen = StudyOptions(limit=limit, seed=seed)
    check_folder(out)
    engine = open_engine(device, names)
    networks = [engine.session.network(name) for name in names]
    with progress("study", "batch") as report:
        found = run_study(
            networks, folder, chosen, on_progress=lambda what, done, total: report(done, total)
        )
    files = write(out, study_files(found))
    tell(json, lambda: document(found), found.answers, out, files)
