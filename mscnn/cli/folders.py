"""The commands that look at a folder of photos: ``study``, ``features``, ``evaluate``.

And what ``explain``, ``compare`` and ``trust`` do with one in place of a photo.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from mscnn.cli import options
from mscnn.cli.console import aligned, open_engine, progress, say, settle_model, share, tell
from mscnn.errors import OptionError, OutputError
from mscnn.results.schema import document
from mscnn.results.writing import write

if TYPE_CHECKING:
    from mscnn.engine.network import Network
    from mscnn.results.evaluation import Evaluation
    from mscnn.results.folders import FolderMaps
    from mscnn.results.study import Interval

_LABELLED = (
    "Folder with one folder of images per class (its val part where it has one), Tiny-ImageNet, a "
    "CSV file with the header path,label, or a folder that Hugging Face's datasets saved."
)


@contextmanager
def _sharing(
    models: list[str], weights: Path | None, device: str, batch_size: int, workers: int
) -> Iterator[tuple[Callable[..., list[Network]], dict[str, Any]]]:
    """Give what loads the models, or others, and what all measurements below take beside them."""
    from mscnn.data.loading import Loading
    from mscnn.data.processes import sharing
    from mscnn.engine.device import choose_device

    loading = Loading(batch_size=batch_size, workers=None if workers == -1 else workers)
    with sharing(choose_device(device)) as processes, progress("photographs", "photo") as report:

        def load(names: list[str] = models, path: Path | None = weights) -> list[Network]:
            engine = open_engine(str(processes.device), names, path)
            return [engine.session.network(name, path) for name in names]

        told = {"on_progress": report} if processes.is_first else {}
        yield load, {"loading": loading, "processes": processes, **told}


@contextmanager
def _kept(out: Path, restart: bool) -> Iterator[None]:
    """After Ctrl-C, say where what was done is kept, and how to go on."""
    from mscnn.data.part_files import part_folder

    try:
        yield
    except KeyboardInterrupt:
        if (part := part_folder(out.resolve())).is_dir():  # not yet, during a download
            same = "the same command" + " without --restart" * restart
            say(f"what was done is kept in {part}: {same} goes on", err=True)
        raise


def _check_apart(out: Path | None, data: Path) -> None:
    """Raise ``OutputError`` where results would lie among the photographs, for the next run."""
    if out is not None and out.resolve() == data.resolve():
        raise OutputError(
            "--out is the folder of the photos, and the pictures and tables that are written there "
            "would be taken for some of it; give a folder of its own."
        )


def study(
    folder: Annotated[
        Path, Argument(metavar="FOLDER", help="Photos, or one folder of them per class.")
    ],
    models: Annotated[
        list[str], Option(metavar="A,B", help="Models; each is compared with the first.")
    ],
    out: options.Out,
    limit: Annotated[int, Option(help="Maximum number of photos to use.")] = 600,
    seed: Annotated[int, Option(help="Seed of the choice of photos and of the random cuts.")] = 0,
    cuts: Annotated[
        bool, Option("--cuts", help="Also cut parts, to see what each model needs.")
    ] = False,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Measure on many photos whether the scale of a decision follows the object's size.

    Uses photos that all models classify alike (and correctly, where folders give the class). Shows
    each from twice the network's input down to a fifth, on three canvases and with shuffled pixels
    as a control. Writes study.json, study.csv, study.png, fields.csv and manifest.json into --out.

    --cuts also measures what each model needs: it caps receptive fields, compared with random cuts,
    and cuts each split by itself. The results are in study.json, cuts.csv and cuts.png.
    """
    from mscnn.draw.files import study_files
    from mscnn.study.run import StudyOptions, run_study

    _check_apart(out, folder)
    names, chosen = options.split_names(models), StudyOptions(limit=limit, seed=seed, cuts=cuts)
    engine = open_engine(device, names)
    networks = [engine.session.network(name) for name in names]
    with progress("study", "batch") as report:
        found = run_study(
            networks, folder, chosen, on_progress=lambda what, done, total: report(done, total),
            on_notice=partial(say, err=True),
        )  # fmt: skip
    tell(json, document(found), found.answers(), out, lambda: study_files(found))


def features(
    folder: Annotated[Path, Argument(metavar="FOLDER", help="Folder with photos, at any depth.")],
    out: Annotated[
        Path, Option(metavar="FILE", help="File for the features: .npz, .safetensors or .parquet.")
    ],
    model: options.Model = None,
    weights: options.Weights = None,
    stage: Annotated[
        str | None,
        Option(
            help="Mean output of a stage or block, such as layer3.  [default: the features that "
            "the model itself classifies]",
            show_default=False,
        ),
    ] = None,
    split: Annotated[
        str | None,
        Option(
            metavar="BLOCK/N",
            help="Mean of one split of a block, such as layer3.1/2, from 0 in timm's order.",
        ),
    ] = None,
    restart: Annotated[
        bool, Option("--restart", help="Discard what an earlier run left in FILE.part.")
    ] = False,
    batch_size: options.BatchSize = 64,
    workers: options.Workers = -1,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Write one feature vector per photo of a folder into a file.

    FILE holds features (n x d, float32), the paths of the photos, the model's name and the sha256
    of its weights. Files that cannot be read are listed and left out. If it was stopped, the same
    command goes on from what FILE.part holds; the file is then the same to the byte. Under torchrun
    the work is shared.
    """
    from mscnn.data.extraction import extract
    from mscnn.data.feature_files import check_format, check_writable

    block, number = _hook_point(stage, split)
    check_format(out)
    check_writable(out)
    sharing = _sharing([settle_model(model)], weights, device, batch_size, workers)
    with _kept(out, restart), sharing as (load, shared):
        found = extract(
            load()[0], folder, out, stage=block, split=number, restart=restart, **shared
        )  # fmt: skip
    if not shared["processes"].is_first:
        return
    for name, reason in found.unreadable:
        say(f"left out {name}: {reason}", err=True)
    what = found.stage or "pooled features"
    what += "" if found.split is None else f", split {found.split}"
    lines = [
        f"{found.model}  ({found.weights.source}, {found.device}), {what}",
        f"written {out}: {found.images} photographs x {found.width} numbers",
        *(f"note {notice}" for notice in found.notices),
    ]
    tell(json, document(found), lines)


def _hook_point(stage: str | None, split: str | None) -> tuple[str | None, int | None]:
    """Settle ``--stage`` and ``--split``, of which one excludes the other."""
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


def evaluate(
    data: Annotated[Path, Argument(metavar="DATA", help=_LABELLED)],
    model: options.Model = None,
    weights: options.Weights = None,
    real_labels: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="real.json with the ReaL labels, to score ImageNet's validation set by them too.",
        ),
    ] = None,
    out: Annotated[Path | None, options.optional_out("Folder for tables and pictures.")] = None,
    report: Annotated[Path | None, options.optional_out("Folder for a page, index.html.")] = None,
    against: Annotated[
        str | None, Option(metavar="M", help="Second model; the page shows where the two disagree.")
    ] = None,
    batch_size: options.BatchSize = 64,
    workers: options.Workers = -1,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Measure how often a model is right, and how far its probabilities can be trusted.

    Class folders are named by the model's class names, their indices or WordNet ids. Files that
    cannot be read are listed and left out. With --out it writes evaluation.json, tables of the
    classes and of the confusions, a picture of each, reliability.png and manifest.json. With
    --report it writes a page that needs no server: accuracy, confusions, at most 60 mistakes with
    their maps and, with --against, a test of the difference and at most 24 photos with the maps of
    both models. A model folder without reliability.json gets one, which the page reads. Under
    torchrun the work is shared.
    """
    from mscnn.data.evaluation import evaluate as measure
    from mscnn.data.evaluation import evaluate_and_show, write_reliability
    from mscnn.draw.files import evaluation_files, report_files
    from mscnn.models.files import is_model_folder
    from mscnn.models.sources import locate

    if out is not None and is_model_folder(out):
        raise OptionError("--out is a model's folder, whose tables it would replace; give another.")
    _check_apart(out, data)
    model = settle_model(model)
    if against is not None and report is None:
        raise OptionError("--against is for the page; give a folder for it as --report.")
    with _sharing([model], weights, device, batch_size, workers) as (load, shared):
        shared |= {"real_labels": real_labels}
        if report is None:
            found = measure(load()[0], data, **shared)
        else:
            other = None if against is None else load([against], None)[0]
            both, photos = evaluate_and_show(load()[0], data, against=other, **shared)
            found = both[0]
    if not shared["processes"].is_first:
        return
    written = [] if report is None else write(report, report_files(both, photos))
    folder = locate(model).folder if weights is None else None
    if folder is not None and (line := write_reliability(folder, found)):
        say(line, err=True)
    shown, lines = document(found, details=out is not None), _evaluated(found)
    if written:
        shown["report"] = str(report)
        lines.append(f"written {report}: {', '.join(written)}")
    tell(json, shown, lines, out, lambda: evaluation_files(found))


def _evaluated(found: Evaluation) -> list[str]:
    def accuracy(top1: float, top5: float) -> str:
        # Of five classes or fewer top-5 says nothing.
        return f"top-1 {share(top1)}" + f"  top-5 {share(top5)}" * (found.known_classes > 5)

    lines = [
        f"{found.model}  ({found.weights.source}, {found.device})",
        f"  {found.images} photographs of {len(found.class_map)} classes, {found.part}",
        f"  {accuracy(found.top1, found.top5)}  calibration error {share(found.ece)}",
    ]
    if found.real is not None:
        images, top1, top5 = found.real
        shares = "-" if top1 is None or top5 is None else accuracy(top1, top5)
        lines.append(f"  by real labels {shares}  ({images} photographs)")
    if (other := found.against) is not None:
        line = f"  against {other.model}, top-1 {share(other.top1)}: {other.only_first} photos "
        line += f"that it alone gets wrong, {other.only_second} that it alone gets right"
        lines.append(f"{line} (McNemar's exact test, p = {other.p_value:.2g})")
    lines.append(f"  {found.images_per_second:.1f} photographs per second, with decoding")
    lines += [f"  left out {name}: {reason}" for name, reason in found.unreadable]
    return [*lines, *(f"  note {notice}" for notice in found.notices)]


def map_photos(
    work: Callable[..., FolderMaps], folder: str, models: list[str], out: Path, json: bool, *,
    device: str, weights: Path | None = None, batch_size: int = 64, workers: int = -1, **how: Any,
) -> None:  # fmt: skip
    """Look at all photos of a folder, and print what was found.

    ``work`` is called with the networks, the folder and ``out``, and with ``how`` and the rest of
    what ``mscnn.data.folders`` describes.
    """

    def estimate(seconds: float) -> None:
        said = f"{max(seconds, 1):.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
        say(f"about {said} here", err=True)

    sharing = _sharing(models, weights, device, batch_size, workers)
    with _kept(out, how["restart"]), sharing as (load, shared):
        first = shared["processes"].is_first
        shared["on_estimate"] = estimate if first and not json else None
        found = work(load(), Path(folder), out, **how, **shared)
    if not first:
        return
    for name, reason in found.unreadable:
        say(f"left out {name}: {reason}", err=True)
    tell(json, {**document(found), "out": str(out)}, _mapped(found, out))


def _mapped(found: FolderMaps, out: Path) -> list[str]:
    def cell(mean: Interval | None) -> str:
        if mean is None or mean.mean != mean.mean:
            return "-"
        return f"{mean.mean:.3f}" + f" ({mean.low:.3f} to {mean.high:.3f})" * (mean.count > 1)

    names = list(dict.fromkeys(name for one in found.maps for name in one.means))
    aside = ("top1_", "map_m", "map_s", "map_x", "map_y", "beats_", "of", "level")
    controls = ("_random", "_blob", "_blurred")
    shown = [n for n in names if not n.startswith(aside) and not n.endswith(controls)]
    shown += [name for name in names if name.startswith("better_than_random")]
    rows = [["mean of all photos", *(f"{o.model}, {o.method}, {o.layer}" for o in found.maps)]]
    rows += [[name, *(cell(one.means.get(name)) for one in found.maps)] for name in shown]
    return [
        f"{found.images} photographs, class {found.target}, {found.device}; in brackets the 95 % "
        "interval",
        *aligned(rows),
        *(f"note {notice}" for notice in found.notices),
        f"written {out}: {', '.join(found.files or ())}",
    ]
