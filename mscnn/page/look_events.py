"""What happens on the Look tab: each event's handler, from inputs to updates of components."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from mscnn.engine.pipeline import Engine
from mscnn.errors import ImageError
from mscnn.maps.methods import METHODS
from mscnn.page import choices, handlers
from mscnn.page.downloads import explanation_zip
from mscnn.page.jobs import Jobs


class LookEvents:
    """The tab's handlers, on one engine.

    Args:
        engine: shared by all visitors; what belongs to one of them lives in their ``gr.State``.
        jobs: Stop flags.
    """

    def __init__(self, engine: Engine, jobs: Jobs) -> None:
        self.engine, self.jobs = engine, jobs

    def run_if_ready(
        self, photo: Any, model: str, method: str, opacity: float, cmap: str,
        request: gr.Request, progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[tuple[Any, ...]]:  # fmt: skip
        """Like ``run``, for events that nobody asked to cost a download or minutes of work."""
        slow = METHODS[method].cost == "per-channel"
        if (
            not isinstance(photo, Image.Image)
            or slow
            or handlers.must_download(self.engine, [model])
        ):
            yield (gr.skip(),) * 8
        else:
            yield from self.run(photo, model, method, opacity, cmap, request, progress)

    def run(
        self, photo: Any, model: str, method: str, opacity: float, cmap: str,
        request: gr.Request, progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[tuple[Any, ...]]:  # fmt: skip
        """Outputs: ``drawn``, top5, target, notice, stop, run."""
        image = handlers.need_photo(photo)
        ready = (gr.update(visible=False), gr.update(interactive=True, value="Explain"))
        yield (*[gr.skip()] * 6, gr.update(visible=True), gr.update(interactive=False))
        try:
            shown = self._explained(image, model, method, str(request.session_hash), progress)
        except Exception:
            yield (*[gr.skip()] * 6, ready[0], gr.update(interactive=True))
            raise
        labels = self.engine.session.network(model).labels
        yield (
            *self._drawn(shown, opacity, cmap),
            handlers.scores(shown),
            gr.update(choices=choices.class_choices(labels), value=None),
            handlers.status(shown),
            *ready,
        )

    def choose_method(self, method: str, photo: Any, model: str) -> tuple[str, Any]:
        """Say what the method is, and for a slow one how long it takes; outputs: note, run."""
        note = choices.method_note(method)
        slow = METHODS[method].cost == "per-channel"
        if slow and isinstance(photo, Image.Image) and self.engine.session.is_loaded(model):
            network = self.engine.session.network(model)
            seconds = handlers.estimate_seconds(network, photo, method)
            note += f"\n\n**About {seconds:.0f} s here; press Explain to start it.**"
        return note, gr.skip()

    def _explained(
        self, image: Image.Image, model: str, method: str, visitor: str, progress: gr.Progress
    ) -> handlers.Look:
        with self.jobs.running(visitor, "look") as is_cancelled:
            self._prepare(model, progress, is_cancelled)
            if METHODS[method].cost == "per-channel":
                network = self.engine.session.network(model)
                seconds = handlers.estimate_seconds(network, image, method)
                gr.Info(f"{METHODS[method].title} takes about {seconds:.0f} s here; Stop ends it.")
            return handlers.look(
                self.engine, image, model, method,
                on_progress=_counting(progress),
                is_cancelled=is_cancelled,
            )  # fmt: skip

    def _prepare(self, model: str, progress: gr.Progress, is_cancelled: Any) -> None:
        """Load the model, with a progress bar while its weights are downloaded."""

        def show(done: int, total: int | None) -> None:
            mb = 10**6
            steps = (done // mb, None if total is None else total // mb)
            progress(steps, desc=f"Downloading {model}", unit="MB")

        self.engine.session.network(model, on_progress=show, is_cancelled=is_cancelled)

    def choose(
        self, shown: handlers.Look | None, photo: Any, wanted: str | None, opacity: float,
        cmap: str, request: gr.Request, progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[tuple[Any, ...]]:  # fmt: skip
        """Show another class; outputs: ``drawn``, stop."""
        if shown is None or wanted in (None, ""):
            yield (gr.skip(),) * 4
            return
        if METHODS[shown.cam.method].cost == "per-channel":
            yield (*[gr.skip()] * 3, gr.update(visible=True))
        try:
            with self.jobs.running(str(request.session_hash), "look") as is_cancelled:
                shown = handlers.choose_class(
                    self.engine, photo_of(shown, photo), shown, str(wanted),
                    on_progress=_counting(progress),
                    is_cancelled=is_cancelled,
                )  # fmt: skip
        except Exception:
            yield (*[gr.skip()] * 3, gr.update(visible=False))
            raise
        yield (*self._drawn(shown, opacity, cmap), gr.update(visible=False))

    def pick(
        self, shown: handlers.Look | None, photo: Any, opacity: float, cmap: str,
        request: gr.Request, event: gr.SelectData,
    ) -> Iterator[tuple[Any, ...]]:  # fmt: skip
        """A click on one of the five labels."""
        wanted = None
        if shown is not None:
            top = shown.explanation.prediction.top
            wanted = next((str(s.index) for s in top if s.label == event.value), None)
        yield from self.choose(shown, photo, wanted, opacity, cmap, request)

    def redraw(self, shown: handlers.Look | None, opacity: float, cmap: str) -> tuple[Any, ...]:
        """Blend again from the maps that are there; no model run."""
        if shown is None:
            return (gr.skip(),) * 3
        return self._drawn(shown, opacity, cmap)

    def stages(
        self, shown: handlers.Look | None, photo: Any, opacity: float, cmap: str
    ) -> tuple[Any, Any]:
        """The maps of all stages for the class shown; outputs: state, stages."""
        if shown is None or not isinstance(photo, Image.Image) or not is_photo_of(shown, photo):
            return gr.skip(), gr.skip()
        shown = handlers.with_stages(self.engine, photo, shown)
        pictures = handlers.stage_pictures(self.engine, shown, opacity=opacity, cmap=cmap)
        return shown, pictures

    def redraw_stages(self, shown: handlers.Look | None, opacity: float, cmap: str) -> Any:
        """Blend the stage pictures again; no model run."""
        if shown is None:
            return gr.skip()
        return handlers.stage_pictures(self.engine, shown, opacity=opacity, cmap=cmap)

    def enlarge(
        self, shown: handlers.Look | None, opacity: float, cmap: str, event: gr.SelectData
    ) -> tuple[Any, ...]:
        """Show the clicked stage large."""
        if shown is None:
            return (gr.skip(),) * 3
        return self.enlarge_stage(shown, str(int(event.index) + 1), opacity, cmap)

    def enlarge_stage(
        self, shown: handlers.Look | None, stage: str, opacity: float, cmap: str
    ) -> tuple[Any, ...]:
        """Show a stage large by its number, as a link asks for; others leave the map as it is."""
        maps = [] if shown is None else handlers.stage_maps(self.engine, shown)
        if shown is None or not (stage.isdigit() and 1 <= int(stage) <= len(maps)):
            return (gr.skip(),) * 3
        return self._drawn(handlers.at_layer(shown, maps[int(stage) - 1].layer), opacity, cmap)

    def pack(self, shown: handlers.Look | None, opacity: float, cmap: str) -> Any:
        """The file behind the download button."""
        return gr.skip() if shown is None else explanation_zip(shown, opacity, cmap)

    def stop(self, request: gr.Request) -> None:
        """The Stop button."""
        self.jobs.stop(str(request.session_hash), "look")

    def _drawn(self, shown: handlers.Look, opacity: float, cmap: str) -> tuple[Any, ...]:
        drawn = handlers.picture(shown.photo, shown.cam, opacity=opacity, cmap=cmap)
        return (
            shown,
            gr.update(value=drawn, alt_text=handlers.alt_text(shown)),
            handlers.caption(shown),
        )


def _counting(progress: gr.Progress) -> handlers.Progress:
    return lambda done, total: progress((done, total), desc="Measuring channels")


def is_photo_of(shown: handlers.Look, photo: Image.Image) -> bool:
    """Whether the photo in the box is the one whose answer is shown."""
    height, width = shown.photo.shape[:2]
    return np.array_equal(handlers.resized(photo, (width, height)), shown.photo)


def photo_of(shown: handlers.Look, photo: Any) -> Image.Image:
    """The photo whose answer is shown.

    Raises:
        ImageError: there is another one in the box by now; its map would be drawn on this one.
    """
    image = handlers.need_photo(photo)
    if not is_photo_of(shown, image):
        raise ImageError("The photo has changed since this answer; press Explain first.")
    return image
