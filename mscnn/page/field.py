"""The Receptive field tab: what a unit can see in theory, and what of the photo it really uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import gradio as gr

from mscnn.http.feedback import toast
from mscnn.page import choices, field_theory, field_view
from mscnn.page.field_events import RESULTS, RUN, THEORY, FieldEvents

LEAD = (
    "**What to look at:** the receptive field of a unit is the part of the photo that can change "
    "it. The box is the most it can see; the glow is what it really uses. Click another place on "
    "the photo to look at the unit there."
)
THEORY_LEAD = (
    "### How far the network can see, block by block\n"
    "This is arithmetic on the architecture: the same for every photo and for any weights."
)
HOW_TO_READ = """
**The box** follows from the sizes and strides of the convolutions on the way to the unit (Araujo,
Norris and Sim, Distill 2019). Many paths lead through a network with shortcuts and splits; each
sees a square of its own, and the box holds them all. A path is one way through the modules.

**The glow** is the gradient: how strongly the unit moves when a pixel changes a little (Luo et
al., *Understanding the Effective Receptive Field in Deep Convolutional Neural Networks*, 2016).
The unit is the sum over the channels of a stage, a block or a split at one place; what counts is
the size of the gradient, added up over red, green and blue. The smallest squares around the unit
that hold 50, 90 and 99 % of it are drawn, and listed below. Sizes are px of the network's input,
which is smaller than the photo; what is dimmed was cut off before the network looked.

**The logarithm** is the measure of RepLKNet (2022), made independent of the gradient's scale. It
gives weak pixels more weight, so its squares are larger. The paper averages over many photos;
"also the example photographs" does so with the few that this page has.

**Random weights** show what the architecture alone prefers; the difference to the trained ones
was learned. The same random weights are drawn every time.

**What it does not prove.** A gradient is local: it says what a tiny change would do, not what
happens when a part is covered. It is the gradient of one unit, not of the answer. The box is an
upper bound on local paths; where it reaches past the photo there is only padding. Attention over
the whole map (ResNeSt, squeeze-and-excitation) lets every pixel reach every unit. It is left out
of the box, and is why a faint glow can lie outside of it.
"""


@dataclass(frozen=True)
class FieldTab:
    """The components that other parts of the page refer to."""

    front: gr.State
    state: gr.State
    caption: gr.Markdown
    overlay: gr.Image
    layer: gr.Dropdown
    split: gr.Dropdown
    beside: gr.Checkbox
    weights: gr.Radio
    many: gr.Radio
    measure: gr.Radio
    point: gr.Textbox
    run: gr.Button
    stop: gr.Button
    cards: gr.HTML
    table: gr.Dataframe
    read: gr.State
    others: gr.Dropdown
    kind: gr.Radio
    plot: gr.Image
    summary: gr.Markdown
    stages: gr.Dataframe
    blocks: gr.Dataframe
    download: gr.DownloadButton

    @property
    def results(self) -> list[Any]:
        """Outputs of a measurement."""
        return [getattr(self, name) for name in RESULTS]

    @property
    def theory(self) -> list[Any]:
        """Outputs of theory."""
        return [getattr(self, name) for name in THEORY]


def build_field(extra: tuple[str, ...] = (), photos: int = 0) -> FieldTab:
    """Lay the tab out; ``bind_field`` gives it life.

    Args:
        extra: models of the owner, offered first.
        photos: how many example photographs there are to average over.
    """
    gr.Markdown(LEAD, elem_id="rf-lead", elem_classes=["lens-lead"])
    caption = gr.Markdown("", elem_id="erf-caption")
    with gr.Row(equal_height=False):
        with gr.Column(scale=7, min_width=320):
            overlay = gr.Image(
                label="What one unit sees of the photo", show_label=False, interactive=False,
                format="png", buttons=["download", "fullscreen"], elem_id="erf-overlay",
                elem_classes=["pick"], alt_text="The receptive field on the photo appears here.",
            )  # fmt: skip
        with gr.Column(scale=4, min_width=280):
            controls = _build_controls(photos)
    cards = gr.HTML("", elem_id="erf-cards", label="Units side by side")
    table = _table(field_view.HEADERS, "What it uses, in numbers", "erf-table")
    gr.Markdown(THEORY_LEAD, elem_id="rf-theory")
    theory = _build_theory(extra)
    download = gr.DownloadButton(
        "Download pictures, tables and the gradient (ZIP)", elem_id="rf-download", size="sm"
    )
    with gr.Accordion("How to read this, and what it does not prove", open=False):
        gr.Markdown(HOW_TO_READ)
    return FieldTab(
        front=gr.State(False), state=gr.State(None, time_to_live=3600),
        read=gr.State(None, time_to_live=3600), caption=caption, overlay=overlay, cards=cards,
        table=table, download=download, **controls, **theory,
    )  # fmt: skip


def _build_controls(photos: int) -> dict[str, Any]:
    layer = gr.Dropdown(label="Where in the network", choices=[], elem_id="erf-layer")
    split = gr.Dropdown(
        label="Split of the block", choices=[("all together", "all")], value="all",
        elem_id="erf-split",
    )  # fmt: skip
    beside = gr.Checkbox(label="Show all its splits side by side", elem_id="erf-beside")
    weights = gr.Radio(
        label="Weights", choices=list(field_view.WEIGHTS), value="trained", elem_id="erf-weights"
    )
    all_photos = f"also the {photos} example photographs, as the papers do"
    many = gr.Radio(
        label="Average over", choices=[("this photo", False), (all_photos, True)], value=False,
        elem_id="erf-average", visible=photos > 0,
    )  # fmt: skip
    measure = gr.Radio(
        label="Measure", choices=list(field_view.MEASURES), value="raw", elem_id="erf-measure"
    )
    point = gr.Textbox(
        label="Point (x %, y %)", value="50, 50", elem_id="erf-point", max_lines=1,
        info="From the left and from the top; or click on the photo",
    )  # fmt: skip
    with gr.Row():
        run = gr.Button(RUN, variant="primary", elem_id="erf-run", scale=3, min_width=130)
        stop = gr.Button(
            "Stop", variant="stop", visible=False, elem_id="erf-stop", scale=1, min_width=90
        )
    return {
        "layer": layer, "split": split, "beside": beside, "weights": weights, "many": many,
        "measure": measure, "point": point, "run": run, "stop": stop,
    }  # fmt: skip


def _build_theory(extra: tuple[str, ...]) -> dict[str, Any]:
    with gr.Row(equal_height=True):
        others = gr.Dropdown(
            label=f"Compare with (up to {field_theory.MAX_BESIDE})",
            choices=choices.model_choices(extra), value=[], multiselect=True,
            max_choices=field_theory.MAX_BESIDE, allow_custom_value=True, filterable=True,
            elem_id="rf-others", scale=4, min_width=240,
        )  # fmt: skip
        kind = gr.Radio(
            label="Show", choices=list(field_theory.VIEWS), value="growth", elem_id="rf-kind",
            scale=3, min_width=240,
        )  # fmt: skip
    plot = gr.Image(
        label="Theoretical receptive field", show_label=False, interactive=False, format="png",
        buttons=["download", "fullscreen"], elem_id="rf-plot",
        alt_text="The chart of receptive fields appears here.",
    )  # fmt: skip
    summary = gr.Markdown("", elem_id="rf-summary")
    stages = _table(field_theory.STAGE_HEADERS, "Stages, in numbers", "rf-table")
    with gr.Accordion("Blocks and their splits, in numbers", open=False):
        blocks = _table(field_theory.BLOCK_HEADERS, "Blocks and splits", "rf-blocks")
    return {
        "others": others, "kind": kind, "plot": plot, "summary": summary, "stages": stages,
        "blocks": blocks,
    }  # fmt: skip


def _table(headers: Sequence[str], label: str, elem_id: str) -> gr.Dataframe:
    numeric = field_view.NUMERIC | field_theory.NUMERIC
    kinds: list[Literal["str", "number"]] = ["number" if h in numeric else "str" for h in headers]
    return gr.Dataframe(
        headers=list(headers), datatype=kinds, label=label, interactive=False, wrap=True,
        elem_id=elem_id, elem_classes=["scroll-table"], max_height=340,
    )  # fmt: skip


def bind_field(
    tab: FieldTab, events: FieldEvents, *, photo: gr.Image, model: gr.Dropdown,
    opacity: gr.Slider, cmap: gr.Dropdown, queue: dict[str, Any],
    tab_selected: Callable[..., Any], tab_left: Sequence[Callable[..., Any]] = (),
) -> list[dict[str, Any]]:  # fmt: skip
    """Connect the tab; arguments and result as for ``bind_scales``."""
    light: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    asked = [
        photo, model, tab.layer, tab.split, tab.beside, tab.weights, tab.many, tab.point,
        tab.measure, opacity, cmap,
    ]  # fmt: skip
    run = {
        "fn": toast(len(RESULTS))(events.run),
        "inputs": asked,
        "outputs": tab.results,
        "show_progress_on": [tab.overlay],
        "api_visibility": "private",
        **queue,
    }
    refresh = {
        **run,
        "fn": toast(len(RESULTS))(events.refresh),
        "inputs": [tab.front, tab.state, *asked],
    }
    pack = {
        "fn": toast(1)(events.pack),
        "inputs": [tab.state, tab.read, tab.measure, opacity, cmap],
        "outputs": [tab.download],
        **light,
    }
    read, read_typed = _theory_events(tab, events, model, queue)
    opened = tab_selected(lambda: True, None, [tab.front], queue=False, **light)
    opened.then(**read).then(**read_typed).then(**refresh).then(**pack)
    for left in tab_left:
        left(lambda: False, None, [tab.front], queue=False, **light)
    tab.others.input(**read).then(**read_typed).then(**pack)
    tab.kind.input(toast(1)(events.choose_kind), [tab.read, tab.kind], [tab.plot], **light)
    tab.overlay.select(
        **{**run, "fn": toast(len(RESULTS))(events.click), "inputs": [tab.state, *asked]}
    ).then(**pack)
    chosen = tab.layer.input(
        toast(1)(events.choose_layer), [tab.read, tab.layer], [tab.split], **light
    )
    chosen.then(**run).then(**pack)
    for trigger in (
        tab.run.click, tab.point.submit, tab.split.input, tab.beside.input, tab.weights.input,
        tab.many.input,
    ):  # fmt: skip
        trigger(**run).then(**pack)
    tab.measure.input(
        toast(len(RESULTS))(events.redraw), [tab.state, tab.measure, opacity, cmap], tab.results,
        **light,
    ).then(**pack)  # fmt: skip
    tab.stop.click(events.stop, queue=False, api_visibility="private")
    return [read, read_typed, refresh, pack]


def _theory_events(
    tab: FieldTab, events: FieldEvents, model: gr.Dropdown, queue: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What fills the theory: at once for models in the table, then for those to be loaded."""
    chosen = [tab.kind, tab.layer, tab.split]
    at_once = {
        "fn": toast(len(THEORY))(events.read),
        "inputs": [tab.front, tab.read, model, tab.others, *chosen],
        "outputs": tab.theory,
        "show_progress": "hidden",
        "concurrency_limit": None,
        "api_visibility": "private",
    }
    typed = {
        **at_once,
        "fn": toast(len(THEORY))(events.read_typed),
        "inputs": [tab.front, tab.read, *chosen],
        **queue,
    }
    return at_once, typed
