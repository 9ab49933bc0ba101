"""The Look tab: five labels, and where on the photo each came from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from mscnn.explain.methods import METHODS
from mscnn.pipeline import Engine
from mscnn.render.overlay import COLOUR_MAPS
from mscnn.ui import choices, handlers
from mscnn.ui.downloads import explanation_zip
from mscnn.ui.feedback import toast
from mscnn.ui.jobs import Jobs

HOW_TO_READ = """
**What you see.** The network names five classes. The coloured places are where the evidence for
the chosen class came from; click another name to see its places. The thin frame is the part of
the photo that the network saw: what lies outside was cut off before it looked.

**The colour scale** counts in units of an even spread. At 1 a place holds as much evidence as if
the whole view held the same; at 4, four times that.

**Stages** are depths of the network. Early stages see small details at fine places, the last
stage sees large parts at coarse places.

**What it does not prove.** A bright place took part in the answer; that does not mean the answer
would change without it. Maps of early stages are noisy by nature. A map for a class with a low
probability shows what little spoke for it, drawn as brightly as for a sure class.
"""


@dataclass(frozen=True)
class LookTab:
    """The components that other parts of the page refer to."""

    state: gr.State
    top5: gr.Label
    overlay: gr.Image
    opacity: gr.Slider
    cmap: gr.Dropdown
    method: gr.Dropdown
    target: gr.Dropdown
    stages: gr.Gallery
    caption: gr.Markdown
    download: gr.DownloadButton
    stop: gr.Button

    @property
    def drawn(self) -> list[Any]:
        """Outputs of every event that draws the map again."""
        return [self.state, self.overlay, self.caption]


def build_look() -> LookTab:
    """Lay the tab out; ``bind_look`` gives it life."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=7, min_width=320):
            caption = gr.Markdown("", elem_id="caption")
            overlay = gr.Image(
                label="Where the evidence lies",
                show_label=False,
                elem_id="overlay",
                interactive=False,
                format="png",
                buttons=["download", "fullscreen"],
                alt_text="The map on the photo appears here.",
            )
            with gr.Row():
                opacity = gr.Slider(
                    0, 1, value=0.65, step=0.05, label="Opacity of the map", elem_id="opacity",
                    scale=3, min_width=180,
                )  # fmt: skip
                cmap = gr.Dropdown(
                    label="Colours", choices=list(COLOUR_MAPS), value=COLOUR_MAPS[0],
                    elem_id="colours", scale=2, min_width=120,
                )  # fmt: skip
        with gr.Column(scale=4, min_width=280):
            top5 = gr.Label(
                label="Top 5: click a name to see its map", num_top_classes=5, elem_id="top5"
            )
            target = gr.Dropdown(
                label="Or any other class (type to search)", choices=[], value=None,
                elem_id="target", filterable=True,
            )  # fmt: skip
            method = gr.Dropdown(
                label="Method", choices=choices.method_choices(), value="gradcam", elem_id="method"
            )
            stop = gr.Button("Stop", variant="stop", visible=False, elem_id="stop", size="sm")
            download = gr.DownloadButton(
                "Download picture, map and numbers (ZIP)", elem_id="download", size="sm"
            )
    gr.Markdown("### The same class at each stage of the network\nClick one to see it large.")
    stages = gr.Gallery(
        label="The same class at each stage of the network",
        show_label=False,
        elem_id="stages",
        columns=4,
        rows=1,
        height="auto",
        object_fit="contain",
        format="png",
        allow_preview=False,
        buttons=[],
        interactive=False,
    )
    with gr.Accordion("How to read this, and what it does not prove", open=False):
        gr.Markdown(HOW_TO_READ)
    return LookTab(
        gr.State(None, time_to_live=3600), top5, overlay, opacity, cmap, method, target, stages,
        caption, download, stop,
    )  # fmt: skip


class LookEvents:
    """The tab's handlers, on one engine.

    Args:
        engine: shared by all visitors; what belongs to one of them lives in their ``gr.State``.
        jobs: Stop flags.
    """

    def __init__(self, engine: Engine, jobs: Jobs) -> None:
        self.engine, self.jobs = engine, jobs

    def run(
        self, photo: Any, model: str, method: str, opacity: float, cmap: str,
        request: gr.Request, progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[tuple[Any, ...]]:  # fmt: skip
        """Outputs: ``drawn``, top5, target, notice, stop, run."""
        image = handlers.need_photo(photo)
        with self.jobs.running(str(request.session_hash), "look") as is_cancelled:
            yield (*[gr.skip()] * 6, gr.update(visible=True), gr.update(interactive=False))
            self._prepare(model, progress, is_cancelled)
            if METHODS[method].cost == "per-channel":
                network = self.engine.session.network(model)
                seconds = network.seconds_for(image, method)
                gr.Info(f"{METHODS[method].title} takes about {seconds:.0f} s here. Stop ends it.")
            shown = handlers.look(
                self.engine, image, model, method,
                on_progress=lambda done, total: progress((done, total), desc="Measuring channels"),
                is_cancelled=is_cancelled,
            )  # fmt: skip
        labels = self.engine.session.network(model).labels
        yield (
            *self._drawn(shown, opacity, cmap),
            handlers.scores(shown),
            gr.update(choices=choices.class_choices(labels), value=None),
            handlers.status(shown),
            gr.update(visible=False),
            gr.update(interactive=True, value="Explain"),
        )

    def _prepare(self, model: str, progress: gr.Progress, is_cancelled: Any) -> None:
        """Load the model, with a progress bar while its weights are downloaded."""

        def show(done: int, total: int | None) -> None:
            progress((done / 1e6, total and total / 1e6), desc=f"Downloading {model}", unit="MB")

        self.engine.session.network(model, on_progress=show, is_cancelled=is_cancelled)

    def choose(
        self, shown: handlers.Look | None, photo: Any, wanted: str | None, opacity: float,
        cmap: str, request: gr.Request, progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[tuple[Any, ...]]:  # fmt: skip
        """Show another class; outputs: ``drawn``, stop."""
        if shown is None or wanted in (None, ""):
            yield (gr.skip(),) * 4
            return
        slow = METHODS[shown.cam.method].cost == "per-channel"
        with self.jobs.running(str(request.session_hash), "look") as is_cancelled:
            if slow:
                yield (*[gr.skip()] * 3, gr.update(visible=True))
            shown = handlers.choose_class(
                self.engine, handlers.need_photo(photo), shown, str(wanted),
                on_progress=lambda done, total: progress((done, total), desc="Measuring channels"),
                is_cancelled=is_cancelled,
            )  # fmt: skip
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
        if shown is None:
            return gr.skip(), gr.skip()
        shown = handlers.with_stages(self.engine, handlers.need_photo(photo), shown)
        pictures = handlers.stage_pictures(self.engine, shown, opacity=opacity, cmap=cmap)
        return shown, pictures

    def redraw_stages(
        self, shown: handlers.Look | None, opacity: float, cmap: str
    ) -> Any:
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
        maps = handlers.stage_maps(self.engine, shown)
        shown = handlers.replace(shown, layer=maps[int(event.index)].layer)
        return self._drawn(shown, opacity, cmap)

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


def bind_look(
    tab: LookTab, events: LookEvents, *, photo: gr.Image, model: gr.Dropdown, run: gr.Button,
    notice: gr.Markdown, queue: dict[str, Any],
) -> list[dict[str, Any]]:  # fmt: skip
    """Connect the tab.

    Args:
        queue: ``concurrency_id`` and ``concurrency_limit`` of all model events.

    Returns:
        Arguments of the events that explain the photo, in order, for other triggers to share.
    """
    drawn, view = tab.drawn, [tab.opacity, tab.cmap]
    run_event = {
        "fn": toast(8)(events.run),
        "inputs": [photo, model, tab.method, *view],
        "outputs": [*drawn, tab.top5, tab.target, notice, tab.stop, run],
        "show_progress_on": [tab.overlay],
        "api_visibility": "private",
        **queue,
    }
    stage_event = {
        "fn": toast(2)(events.stages),
        "inputs": [tab.state, photo, *view],
        "outputs": [tab.state, tab.stages],
        "show_progress_on": [tab.stages],
        "api_visibility": "private",
        **queue,
    }
    light = {"show_progress": "hidden", "api_visibility": "private"}
    pack_event = {
        "fn": toast(1)(events.pack), "inputs": [tab.state, *view], "outputs": [tab.download], **light
    }  # fmt: skip
    choose = {
        "outputs": [*drawn, tab.stop],
        "show_progress_on": [tab.overlay],
        "api_visibility": "private",
        **queue,
    }
    picked = tab.top5.select(toast(4)(events.pick), [tab.state, photo, *view], **choose)
    typed = tab.target.input(
        toast(4)(events.choose), [tab.state, photo, tab.target, *view], **choose
    )
    for event in (run.click(**run_event), picked, typed):
        event.then(**stage_event).then(**pack_event)
    for control in (tab.opacity.input, tab.cmap.input):
        redrawn = control(
            toast(3)(events.redraw), [tab.state, *view], drawn, trigger_mode="always_last", **light
        )
        redrawn.then(
            toast(1)(events.redraw_stages), [tab.state, *view], [tab.stages], **light
        ).then(**pack_event)
    enlarged = tab.stages.select(toast(3)(events.enlarge), [tab.state, *view], drawn, **light)
    enlarged.then(**pack_event)
    tab.stop.click(events.stop, queue=False, api_visibility="private")
    return [run_event, stage_event, pack_event]
