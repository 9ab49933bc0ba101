"""What a command prints: results on stdout, progress on stderr where that is a terminal."""

from __future__ import annotations

import hashlib
import json
import sys
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mscnn.errors import OutputError, without_endless_names
from mscnn.results.replay import MANIFEST, recorded
from mscnn.results.schema import JsonDict
from mscnn.results.writing import Files, write

if TYPE_CHECKING:
    from PIL.Image import Image

    from mscnn.engine.pipeline import Engine
    from mscnn.results.explanation import Prediction


RUNNING: ContextVar[tuple[str, dict[str, Any]]] = ContextVar("RUNNING", default=("", {}))
"""The command that runs, and its parameters."""
NOT_KEPT = {
    *("image", "out", "json", "device"),
    *("sheet", "restart", "batch_size", "workers"),  # of folders
}
"""Parameters that say nothing of what a photo's result is."""
_NOT_SHOWN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # controls, formats, half surrogates, line breaks
_JOINERS = "\u200c\u200d"  # formats that words and emoji are written with


def visible(text: str) -> str:
    r"""Return text that a terminal shows and does not obey: a control becomes such as ``\x1b``."""
    return "".join(
        c.encode("unicode_escape").decode("ascii")
        if unicodedata.category(c) in _NOT_SHOWN and c not in _JOINERS
        else c
        for c in text
    )


def say(*lines: str, err: bool = False) -> None:
    """Print lines on stdout, or on stderr: the only place where a command prints a text."""
    typer.echo("\n".join(map(visible, lines)), err=err)


def complain(sentence: str) -> None:
    """Print an error as one line on stderr, bounded whatever it quotes."""
    line, half = without_endless_names(visible(sentence)), (_SENTENCE - 3) // 2
    say(f"mscnn: {line if len(line) <= _SENTENCE else f'{line[:half]}...{line[-half:]}'}", err=True)


_SENTENCE = 1000  # letters


def tell(
    as_json: bool,
    document: JsonDict,
    lines: Sequence[str],
    out: Path | None = None,
    files: Callable[[], Files] = dict,
) -> None:
    """Write the files of a result into ``out``, if there is such a folder, and print the result.

    As JSON it is one document and nothing else (of printable ASCII, to survive every terminal and
    pipe), else ``lines`` for people. ``files`` makes what is written; a
    manifest of one photo also says how to make it again.
    """
    names = [] if out is None else write(out, _recorded(files(), out))
    if as_json:
        written = {} if out is None else {"out": str(out), "files": names}
        text = json.dumps({**document, **written}, indent=2, allow_nan=False)
        typer.echo(text.replace("\x7f", "\\u007f"))  # the one control that JSON does not escape
    else:
        say(*lines, *([] if out is None else [f"written {out}: {', '.join(names)}"]))


def _recorded(files: Files, out: Path) -> Files:
    """Add to a manifest, if it is of one photo, what the command was.

    Raises ``OutputError``: the photo itself lies in ``out``, by the name of one of the files.
    """
    command, given = RUNNING.get()
    image = Path(given.get("image") or "")
    if MANIFEST not in files or not image.is_file():
        return files
    if any((out / name).exists() and image.samefile(out / name) for name in files):
        raise OutputError(
            f"{image.name!r} in --out is the photo itself and would be replaced; give another "
            "folder as --out."
        )
    kept: dict[str, Any] = {k: v for k, v in given.items() if k not in NOT_KEPT}
    weights = {_kept_model(model): sha256 for model, sha256 in weights_of(given).items()}
    if "models" in kept:
        kept["models"] = [*weights]
    else:
        kept |= {"model": next(iter(weights)), "weights": _bare(given.get("weights"))}
    sha256 = hashlib.sha256(image.read_bytes()).hexdigest()
    return recorded(files, command, kept, (image.name, sha256), weights)


def _bare(path: str | Path | None) -> str:
    """A path that says nothing of where it lay on this machine; "" for none."""
    path = Path(path or "")
    return path.name if path.expanduser().is_absolute() else str(path) * (path != Path())


def _kept_model(given: str) -> str:
    """A model as a manifest calls it: what was a path stays one, whatever model is so called."""
    from mscnn.models.sources import is_path

    bare = _bare(given)
    return f"./{bare}" if is_path(given) and Path(bare).name == bare else bare


def weights_of(given: Mapping[str, Any]) -> dict[str, str]:
    """The sha256 of the weights of each model that parameters name, where they are here."""
    from mscnn.cli.options import split_names
    from mscnn.models.files import sha256_of
    from mscnn.models.sources import locate

    one, several, weights = (given.get(key) for key in ("model", "models", "weights"))
    several = [*map(str, several)] if isinstance(several, list) else several and [str(several)]
    names = split_names(several) if several else [settle_model(one and str(one))]
    places = {name: locate(name, weights and str(weights)).path for name in names}
    return {name: sha256_of(path) for name, path in places.items() if path is not None}


def aligned(rows: Sequence[Sequence[str]], left: Sequence[int] = ()) -> list[str]:
    """Lines of a table whose first row are headings, each column as wide as its longest cell.

    Columns whose cells are empty, "-" or start with a digit stand to the right, but for those
    whose numbers are in ``left``.
    """
    columns = []
    for number, column in enumerate(zip(*rows, strict=True)):
        cells = [visible(cell) for cell in column]
        width = max(map(len, cells))
        numeric = all(cell.lstrip("-")[:1].isdigit() or cell in ("", "-") for cell in cells[1:])
        right = numeric and number not in left
        columns.append([f"{cell:>{width}}" if right else f"{cell:<{width}}" for cell in cells])
    return ["  ".join(cells).rstrip() for cells in zip(*columns, strict=True)]


def heading(prediction: Prediction) -> str:
    """Which photo, model, weights and device a result is of."""
    source = f"{prediction.model}, {prediction.weights.source}, {prediction.device}"
    return f"{prediction.photo.name}  ({source})"


class progress:
    """A progress bar that appears with the first report and leaves no line behind.

    It is closed also after an error, before the error's line.
    """

    def __init__(self, what: str, unit: str) -> None:
        self.what, self.unit = visible(what), unit
        self.bar: Any = None

    def __call__(self, done: int, total: int | None) -> None:
        """Show ``done`` of ``total`` units; ``total`` is None where it is not known."""
        if self.bar is None:
            from tqdm import tqdm  # type: ignore[import-untyped]  # ships no types

            scale = {"unit_scale": self.unit == "B", "unit_divisor": 1024}
            # None: only on a terminal. stderr itself is None where it was closed from the start.
            off = None if sys.stderr is not None else True
            self.bar = tqdm(desc=self.what, unit=self.unit, leave=False, disable=off, **scale)
        self.bar.total = total
        self.bar.update(done - self.bar.n)

    def __enter__(self) -> progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.close()


def read_photo(path: str) -> Image:
    """Read a photo, and say on stderr what is to be known of it."""
    from mscnn.photos.imaging import load_photo, notices_of, shown_name

    photo = load_photo(path)
    for notice in notices_of(photo):
        say(f"{shown_name(path)}: {notice}", err=True)
    return photo


def open_engine(device: str, models: list[str], weights: Path | None = None) -> Engine:
    """Load models, downloading with progress what is missing, and return an engine on them."""
    from mscnn.engine.pipeline import Engine
    from mscnn.engine.session import Session

    engine = Engine(Session(device, capacity=max(6, len(models))))
    for model in models:
        with progress(f"downloading {model}", "B") as report:
            engine.session.network(model, weights, on_progress=report)
    return engine


def settle_model(model: str | None) -> str:
    """The model asked for, or the best one on this machine; ``WeightsError`` without any."""
    from mscnn.models.sources import default_model

    return model if model is not None else default_model()


def share(probability: float) -> str:
    """A probability for people: ``"62.1 %"``."""
    return f"{100 * probability:.1f} %"
