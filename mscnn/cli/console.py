"""What a command prints: results on stdout, progress on stderr where that is a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from mscnn.results.schema import JsonDict

if TYPE_CHECKING:
    from pathlib import Path

    from mscnn.engine.pipeline import Engine
    from mscnn.results.explanation import Prediction


def tell(
    as_json: bool,
    document: Callable[[], JsonDict],
    lines: Callable[[], Sequence[str]],
    out: Path | None = None,
    files: Sequence[str] = (),
) -> None:
    """Print a result and, where there is ``out``, which files were written into it.

    Args:
        as_json: one JSON document and nothing else, or lines for people.
        document: makes the document.
        lines: makes the lines.
        out: folder as it was typed; None where nothing was written.
        files: names of what was written.
    """
    if as_json:
        written = {} if out is None else {"out": str(out), "files": [*files]}
        print_json({**document(), **written})
    else:
        said = [] if out is None else [f"written {out}: {', '.join(files)}"]
        typer.echo("\n".join([*lines(), *said]))


def aligned(rows: Sequence[Sequence[str]], left: Sequence[int] = ()) -> list[str]:
    """Lines of a table whose first row are headings, each column as wide as its longest cell.

    Columns whose cells are empty, "-" or start with a digit stand to the right, but for those
    whose numbers are in ``left``.
    """
    columns = []
    for number, cells in enumerate(zip(*rows, strict=True)):
        width = max(map(len, cells))
        numeric = all(cell[:1].isdigit() or cell in ("", "-") for cell in cells[1:])
        right = numeric and number not in left
        columns.append([f"{cell:>{width}}" if right else f"{cell:<{width}}" for cell in cells])
    return ["  ".join(cells).rstrip() for cells in zip(*columns, strict=True)]


def heading(prediction: Prediction) -> str:
    """Which photo, model, weights and device a result is of."""
    source = f"{prediction.model}, {prediction.weights.source}, {prediction.device}"
    return f"{prediction.photo.name}  ({source})"


def print_json(document: JsonDict) -> None:
    """Print one JSON document; ASCII, so that it survives every terminal and pipe."""
    typer.echo(json.dumps(document, indent=2, allow_nan=False))


class Progress:
    """A progress bar that appears with the first report and leaves no line behind."""

    def __init__(self, what: str, unit: str) -> None:
        self.what, self.unit = what, unit
        self.reported = False
        self._bar: Any = None

    def __call__(self, done: int, total: int | None) -> None:
        """Show ``done`` of ``total`` units; ``total`` is None where it is not known."""
        self.reported = True
        if not sys.stderr.isatty():
            return
        if self._bar is None:
            from tqdm import tqdm  # type: ignore[import-untyped]  # ships no types

            scaled = self.unit == "B"
            self._bar = tqdm(
                desc=self.what, unit=self.unit, unit_scale=scaled, unit_divisor=1024, leave=False
            )
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Take the bar off the terminal."""
        if self._bar is not None:
            self._bar.close()


@contextmanager
def progress(what: str, unit: str) -> Iterator[Progress]:
    """Give a ``Progress`` that is closed also after an error, before the error's line."""
    reporter = Progress(what, unit)
    try:
        yield reporter
    finally:
        reporter.close()


def open_engine(device: str, models: list[str], weights: Path | None = None) -> Engine:
    """Load models, downloading with progress what is missing, and return an engine on them.

    Raises:
        UnknownModelError, UnsupportedModelError, WeightsError, DownloadError, DeviceError.
    """
    from mscnn.engine.pipeline import Engine
    from mscnn.engine.session import Session

    engine = Engine(Session(device))
    for model in models:
        with progress(f"downloading {model}", "B") as report:
            engine.session.network(model, weights, on_progress=report)
    return engine


def settle_model(model: str | None) -> str:
    """Return the model asked for, or the best one that is already on this machine.

    Raises:
        WeightsError: none was asked for and none is there.
    """
    from mscnn.models.sources import default_model

    return model if model is not None else default_model()


def accuracy(top1: float, top5: float, classes: int) -> str:
    """Both accuracies (0..1) for people; of five classes or fewer top-5 says nothing."""
    return f"top-1 {share(top1)}" + (f"  top-5 {share(top5)}" if classes > 5 else "")


def share(probability: float) -> str:
    """A probability for people: ``"62.1 %"``."""
    return f"{100 * probability:.1f} %"
