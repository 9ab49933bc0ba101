"""The Look tab: five labels, and where on the photo each came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from mscnn.draw.overlay import COLOUR_MAPS
from mscnn.http.feedback import toast
from mscnn.page import choices
from mscnn.page.look_events import LookEvents

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
    method_note: gr.Markdown
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
            method_note = gr.Markdown(choices.method_note("gradcam"), elem_id="method-note")
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
        gr.State(None, time_to_live=3600), top5, overlay, opacity, cmap, method, method_note,
        target, stages, caption, download, stop,
    )  # fmt: skip


def bind_look(
    tab: LookTab, events: LookEvents, *, photo: gr.Image, model: gr.Dropdown, run: gr.Button,
    notice: gr.Markdown, queue: dict[str, Any],
) -> list[dict[str, Any]]:  # fmt: skip
    """Connect the tab.

    Args:
        tab: this tab's components.
        events: its handlers.
        photo: the page's photo.
        model: the page's model.
        run: the page's button.
        notice: the page's status line.
        queue: ``concurrency_id`` and ``concurrency_limit`` of all model events.

    Returns:
        Arguments of the events that explain the photo, in order, for triggers other than the
        button; these never start a download.
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
    light: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    pack_event = {
        "fn": toast(1)(events.pack),
        "inputs": [tab.state, *view],
        "outputs": [tab.download],
        **light,
    }
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
    noted = tab.method.input(
        toast(2)(events.choose_method), [tab.method, photo, model], [tab.method_note, run],
        api_visibility="private", **queue,
    )  # fmt: skip
    explained = noted.then(**{**run_event, "fn": toast(8)(events.run_if_ready)})
    for event in (run.click(**run_event), picked, typed, explained):
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
    return [{**run_event, "fn": toast(8)(events.run_if_ready)}, stage_event, pack_event]
