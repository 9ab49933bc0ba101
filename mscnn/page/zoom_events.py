"""What happens on the Zoom tab: each event's handler, from inputs to updates of components."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import gradio as gr
from PIL import Image

from mscnn.engine.lens_options import parse_box
from mscnn.engine.pipeline import MAX_SWEPT, Engine
from mscnn.errors import BoxError, Cancelled
from mscnn.page import handlers, zoom_film
from mscnn.page import zoom_view as view
from mscnn.page.compare_view import title
from mscnn.page.field_view import is_photo_of
from mscnn.page.jobs import Jobs
from mscnn.page.zoom_download import sweep_zip
from mscnn.page.zoom_view import Picking
from mscnn.results.scales import PhotoBox, Sweep

RUN = "Sweep"
OBJECT = ("state", "object", "box", "object_hint")
RESULTS = ("hint", "probability", "energy", "field", "film", "scores", "steps", "download", "stop",
           "run")  # fmt: skip
OPENED = (*OBJECT, "models", "default")
JOB = "zoom"
CHANGED = "The photo has changed since the box was drawn; draw it again, or press Whole photo."


class Inputs(NamedTuple):
    """What the tab's controls hold, in the order in which they are handed over."""

    photo: Any
    models: list[str]
    target: str
    canvas: str
    box: str
    state: Picking | None
    opacity: float
    cmap: str


class ZoomEvents:
    """The tab's handlers, on one engine; see ``LookEvents``."""

    def __init__(self, engine: Engine, jobs: Jobs) -> None:
        self.engine, self.jobs = engine, jobs
        self.lens = engine

    def open(
        self, front: bool, shown: Picking | None, photo: Any, model: str, models: list[str],
        default: list[str] | None,
    ) -> tuple[Any, ...]:  # fmt: skip
        """Show the photo where it is new, and offer the page's model; outputs: ``OPENED``.

        Models that the visitor has chosen stay.
        """
        if not front:
            return updates(OPENED)
        changed: dict[str, Any] = {}
        if isinstance(photo, Image.Image) and (
            shown is None or not is_photo_of(shown.photo, photo)
        ):
            changed = _picked(view.picking(photo))
        wanted = view.default_models(model)
        if wanted != default and (default is None or models == default):
            changed["models"] = wanted
        return updates(OPENED, default=wanted, **changed)

    def pick(self, shown: Picking | None, event: gr.SelectData) -> tuple[Any, ...]:
        """Take a click for a corner; outputs: ``OBJECT``."""
        if shown is None:
            return updates(OBJECT)
        return updates(OBJECT, **_picked(view.clicked(shown, event.index)))

    def type_box(self, shown: Picking | None, text: str) -> tuple[Any, ...]:
        """Take the box that was typed; outputs: ``OBJECT``."""
        if shown is None:
            return updates(OBJECT)
        return updates(OBJECT, **_picked(view.typed(shown, text)))

    def whole(self, shown: Picking | None) -> tuple[Any, ...]:
        """The button Whole photo; outputs: ``OBJECT``."""
        return self.type_box(shown, "")

    def announce(self, models: list[str]) -> tuple[Any, Any]:
        """Say what must be downloaded before it is; outputs: hint, run."""
        missing = handlers.must_download(self.engine, models)
        if not missing:
            return "", gr.update(value=RUN)
        sizes = [f"{title(name)} ({handlers.download_size(name)})" for name in missing]
        return (
            f"Not on this machine yet, and downloaded first: {', '.join(sizes)}.",
            gr.update(value="Download and sweep"),
        )

    def run(
        self, request: gr.Request, progress: gr.Progress = gr.Progress(),  # noqa: B008
        *inputs: Any,
    ) -> Iterator[tuple[Any, ...]]:  # fmt: skip
        """Sweep; inputs: ``Inputs``, outputs: ``RESULTS``, filled after each model."""
        asked = Inputs(*inputs)
        image, box = handlers.need_photo(asked.photo), self._box(asked)
        busy = {"stop": gr.update(visible=True), "run": gr.update(interactive=False)}
        idle = {"stop": gr.update(visible=False), "run": gr.update(interactive=True, value=RUN)}
        done: Sweep | None = None
        yield updates(RESULTS, **busy)
        try:
            with self.jobs.running(str(request.session_hash), JOB) as is_cancelled:
                steps = self.lens.sweep_steps(
                    image, asked.models, target=asked.target.strip() or "top1", box=box,
                    canvas=asked.canvas, on_progress=_counting(progress, asked.models),
                    is_cancelled=is_cancelled,
                )  # fmt: skip
                for done in steps:
                    if done.partial and not is_cancelled():
                        yield updates(RESULTS, **busy, **_drawn(done, asked))
                stopped = is_cancelled()
        except Exception:
            yield updates(RESULTS, **idle, **(_finished(done, asked) if done else {}))
            raise
        if done is None:
            yield updates(RESULTS, **idle)
            raise Cancelled("Stopped before the first model was done.")
        yield updates(RESULTS, **idle, **_finished(done, asked, stopped=stopped))

    def stop(self, request: gr.Request) -> None:
        """The Stop button: what is done until then is kept."""
        self.jobs.stop(str(request.session_hash), JOB)

    def _box(self, asked: Inputs) -> PhotoBox | None:
        """The box in the text field, which clicks fill as well.

        Raises:
            BoxError: it is no box, or was drawn on another photo.
        """
        box, shown = parse_box(asked.box), asked.state
        if box is not None and shown is not None and isinstance(asked.photo, Image.Image):  # noqa: SIM102
            if not is_photo_of(shown.photo, asked.photo):
                raise BoxError(CHANGED)
        return box


def updates(names: Sequence[str], **changed: Any) -> tuple[Any, ...]:
    """Put updates in the order of the outputs; what is not named stays as it is."""
    return tuple(changed.get(name, gr.skip()) for name in names)


def _picked(shown: Picking) -> dict[str, Any]:
    return {
        "state": shown,
        "object": gr.update(value=view.object_picture(shown), alt_text=view.object_alt(shown)),
        "box": view.box_text(shown.box),
        "object_hint": shown.hint,
    }


def _counting(progress: gr.Progress, models: Sequence[str]) -> Callable[[str, int, int], None]:
    def show(model: str, done: int, total: int) -> None:
        whole = list(models).index(model) * total + done if model in models else done
        progress((whole, total * len(models)), desc=title(model), unit="sizes")

    return show


def _drawn(sweep: Sweep, asked: Inputs, *, stopped: bool = False) -> dict[str, Any]:
    """Updates of everything but the file."""
    charts = view.charts(sweep)
    pictures = {
        name: gr.update(value=charts[name][0], alt_text=charts[name][1], visible=True)
        if name in charts
        else gr.update(visible=False)
        for name, _, _ in view.LINES
    }
    return {
        **pictures,
        "hint": view.summary(sweep, stopped=stopped),
        "film": zoom_film.film_html(sweep, asked.opacity, asked.cmap),
        "scores": view.score_rows(sweep),
        "steps": view.step_rows(sweep),
    }


def _finished(sweep: Sweep, asked: Inputs, *, stopped: bool = False) -> dict[str, Any]:
    packed = sweep_zip(sweep, asked.opacity, asked.cmap)
    return {**_drawn(sweep, asked, stopped=stopped), "download": packed}


__all__ = ["JOB", "MAX_SWEPT", "OBJECT", "OPENED", "RESULTS", "RUN", "Inputs", "ZoomEvents"]
