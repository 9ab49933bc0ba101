"""The Zoom tab: one object at many sizes, and at which of them each network still knows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import gradio as gr

from mscnn.engine.pipeline import MAX_SWEPT
from mscnn.http.feedback import toast
from mscnn.page import choices, zoom_film, zoom_view
from mscnn.page.zoom_events import OBJECT, OPENED, RESULTS, RUN, ZoomEvents
from mscnn.scales.canvas import CANVASES

LEAD = (
    "**What to look at:** the same thing, shown larger and smaller on a plain canvas: at which "
    "sizes does each network still know it?"
)
HOW_TO_READ = """
**The sweep.** The object is cut out of the photo and pasted into the middle of a plain canvas at
twelve sizes, from twice the network's input, where only its middle is seen, down to a tenth of it.
Each picture is a new question to each network; all are asked for the same class. They are drawn
with the Lanczos filter, not with each network's own preprocessing, so the answer at 100 % differs
a little from that of the Look tab.

**Octaves** say over how many halvings of the size the probability stays at half of its best or
more. The mean probability is taken over the logarithm of the size, so every halving counts alike.

**Evidence on the object** is the part of the map (Grad-CAM of the last stage) that lies on the
object, over the object's share of the area: 1 is an even spread, and less means that the network
looked at the canvas.

**The evidence-weighted field** says through how far-seeing parts the evidence passed. A network
with one path per block has no choice there, so it has no curve, or a flat one, by construction.

**What it does not prove.** The edge of the canvas is itself something to see, and an object that
floats in nothing is no photo: try other canvases, and trust what all of them show. A network that
was never trained on small things fails on them whatever its blocks can see. A small object is also
a blurred one: it has fewer pixels. One photo is one case; for numbers over many, there is
`mscnn study`.
"""


@dataclass(frozen=True)
class ZoomTab:
    """The components that other parts of the page refer to."""

    front: gr.State
    state: gr.State
    default: gr.State
    models: gr.Dropdown
    target: gr.Textbox
    canvas: gr.Dropdown
    canvas_note: gr.Markdown
    object: gr.Image
    object_hint: gr.Markdown
    box: gr.Textbox
    whole: gr.Button
    run: gr.Button
    stop: gr.Button
    hint: gr.Markdown
    probability: gr.Image
    energy: gr.Image
    field: gr.Image
    film: gr.HTML
    scores: gr.Dataframe
    steps: gr.Dataframe
    download: gr.DownloadButton

    def named(self, names: Sequence[str]) -> list[Any]:
        """Components by name, in order."""
        return [getattr(self, name) for name in names]


def build_zoom(default: Sequence[str], extra: tuple[str, ...] = ()) -> ZoomTab:
    """Lay the tab out; ``bind_zoom`` gives it life.

    Args:
        default: models to start with.
        extra: models of the owner, offered first.
    """
    gr.Markdown(LEAD, elem_id="zoom-lead", elem_classes=["lens-lead"])
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=300):
            picked = gr.Image(
                label="The object", show_label=False, interactive=False, format="png", buttons=[],
                elem_id="zoom-object", elem_classes=["pick"], alt_text="The photo appears here.",
            )  # fmt: skip
            object_hint = gr.Markdown(zoom_view.WHOLE, elem_id="zoom-object-hint")
        with gr.Column(scale=5, min_width=300):
            question = _build_question(default, extra)
            box = gr.Textbox(
                label="Box: left, top, right, bottom in %", placeholder="the whole photo",
                elem_id="zoom-box", max_lines=1, info="Or click two opposite corners on the photo",
            )  # fmt: skip
            with gr.Row():
                whole = gr.Button("Whole photo", elem_id="zoom-whole", scale=2, min_width=110)
                run = gr.Button(RUN, variant="primary", elem_id="sweep-run", scale=3, min_width=130)
                stop = gr.Button(
                    "Stop", variant="stop", visible=False, elem_id="sweep-stop", scale=1,
                    min_width=90,
                )  # fmt: skip
    hint = gr.Markdown("", elem_id="sweep-hint")
    with gr.Row(elem_id="sweep-charts"):
        charts: dict[str, Any] = {n: _chart(elem_id, label) for n, elem_id, label in _CHARTS}
    gr.Markdown("### Size by size: where each network looked", elem_id="sweep-film-title")
    film = gr.HTML(zoom_film.EMPTY, elem_id="sweep-film", label="Maps of every size")
    scores = _table(zoom_view.SCORE_HEADERS, "Each network in one line", "sweep-scores")
    steps = _table(zoom_view.STEP_HEADERS, "All numbers", "sweep-table")
    download = gr.DownloadButton(
        "Download curves, film strip and tables (ZIP)", elem_id="sweep-download", size="sm"
    )
    with gr.Accordion("How to read this, and what it does not prove", open=False):
        gr.Markdown(HOW_TO_READ)
    return ZoomTab(
        front=gr.State(False), state=gr.State(None, time_to_live=3600),
        default=gr.State(list(default)), object=picked, object_hint=object_hint, box=box,
        whole=whole, run=run, stop=stop, hint=hint, film=film, scores=scores, steps=steps,
        download=download, **charts, **question,
    )  # fmt: skip


_CHARTS = (
    ("probability", "sweep-plot", "Probability at each size"),
    ("energy", "sweep-energy", "Evidence on the object at each size"),
    ("field", "sweep-field", "Evidence-weighted receptive field at each size"),
)


def _chart(elem_id: str, label: str) -> gr.Image:
    return gr.Image(
        label=label, show_label=False, interactive=False, format="png",
        buttons=["download", "fullscreen"], elem_id=elem_id, min_width=280,
        visible=elem_id == "sweep-plot", alt_text=f"{label}: the chart appears here.",
    )  # fmt: skip


def _build_question(default: Sequence[str], extra: tuple[str, ...]) -> dict[str, Any]:
    models = gr.Dropdown(
        label=f"Models (1 to {MAX_SWEPT})", choices=choices.model_choices(extra),
        value=list(default), multiselect=True, max_choices=MAX_SWEPT, allow_custom_value=True,
        filterable=True, elem_id="zoom-models",
    )  # fmt: skip
    with gr.Row(equal_height=True):
        target = gr.Textbox(
            label="Class", placeholder="the first model's best answer", elem_id="zoom-target",
            max_lines=1, scale=3, min_width=160,
        )  # fmt: skip
        canvas = gr.Dropdown(
            label="Canvas", choices=list(CANVASES), value="mean", elem_id="zoom-canvas", scale=2,
            min_width=110,
        )  # fmt: skip
    canvas_note = gr.Markdown(CANVASES["mean"], elem_id="zoom-canvas-note")
    return {"models": models, "target": target, "canvas": canvas, "canvas_note": canvas_note}


def _table(headers: Sequence[str], label: str, elem_id: str) -> gr.Dataframe:
    kinds: list[Literal["str", "number"]] = [
        "number" if h in zoom_view.NUMERIC else "str" for h in headers
    ]
    return gr.Dataframe(
        headers=list(headers), datatype=kinds, label=label, interactive=False, wrap=True,
        elem_id=elem_id, elem_classes=["scroll-table"], max_height=340,
    )  # fmt: skip


def bind_zoom(
    tab: ZoomTab, events: ZoomEvents, *, photo: gr.Image, model: gr.Dropdown,
    opacity: gr.Slider, cmap: gr.Dropdown, queue: dict[str, Any],
    tab_selected: Callable[..., Any], tab_left: Sequence[Callable[..., Any]] = (),
) -> list[dict[str, Any]]:  # fmt: skip
    """Connect the tab; arguments and result as for ``bind_scales``. Only the button sweeps."""
    light: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    run = {
        "fn": toast(len(RESULTS))(events.run),
        "inputs": [
            photo, tab.models, tab.target, tab.canvas, tab.box, tab.state, opacity, cmap,
        ],
        "outputs": tab.named(RESULTS),
        "show_progress_on": [tab.probability],
        "api_visibility": "private",
        **queue,
    }  # fmt: skip
    for trigger in (tab.run.click, tab.target.submit):
        trigger(**run)
    shown = {
        "fn": toast(len(OPENED))(events.open),
        "inputs": [tab.front, tab.state, photo, model, tab.models, tab.default],
        "outputs": tab.named(OPENED),
        "concurrency_limit": None,
        **light,
    }
    opened = tab_selected(lambda: True, None, [tab.front], queue=False, **light)
    opened.then(**shown)
    for left in tab_left:
        left(lambda: False, None, [tab.front], queue=False, **light)
    picked, picking = tab.named(OBJECT), toast(len(OBJECT))
    tab.object.select(picking(events.pick), [tab.state], picked, **light)
    for trigger in (tab.box.submit, tab.box.blur):
        trigger(picking(events.type_box), [tab.state, tab.box], picked, **light)
    tab.whole.click(picking(events.whole), [tab.state], picked, **light)
    tab.canvas.input(CANVASES.get, [tab.canvas], [tab.canvas_note], queue=False, **light)
    tab.models.input(
        toast(2)(events.announce), [tab.models], [tab.hint, tab.run],
        concurrency_limit=None, api_visibility="private",
    )  # fmt: skip
    tab.stop.click(events.stop, queue=False, api_visibility="private")
    return [shown]
