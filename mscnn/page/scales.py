"""The Scales tab: through which splits of each block, and so at which scale, it was decided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import gradio as gr

from mscnn.http.feedback import toast
from mscnn.page import attention_view, choices, scales_maps, scales_view
from mscnn.page.scales_attention import OUTPUTS
from mscnn.page.scales_events import DOWNLOAD, PARTS, RESULTS, RUN, ScalesEvents

LEAD = (
    "**What to look at:** each column is one block of the network, from the first to the last. "
    "The taller a dark part is, the more of the evidence for the class came through the split "
    "that sees a larger area. Grey columns have no scales to tell apart. Click a part to see its "
    "block's maps."
)
HOW_TO_READ = """
**Splits.** A Res2Net block cuts its channels into splits. Each split passes through one more 3 x 3
convolution than the one before it, so it sees a larger area of the photo; only the last one in
timm's order (the first in the paper's) is passed on untouched. That area, a square, is the split's
receptive field, given in px of the network's input.

**Evidence** is gradient x activation: how much a unit was active, times how much the class's score
grows with it. At each place it is added up over the channels of a split, and only places that
speak for the class count. A split's share is its part of its block's evidence. The maps are made
as in Grad-CAM, with one weight per channel, so a share is not the sum of its map.

**The evidence-weighted field** multiplies each split's share with the largest area it can see. For
the whole decision it is the mean over all blocks. It is often larger than the input: units deep in
the network could see more than there is.

**What it does not prove.** Shares say where evidence passed, not that the answer would change
without it. Shortcut connections carry evidence past the splits, and that is not counted. A larger
theoretical field is only an upper bound: a split may use a small part of it. The first block of
each stage has no hierarchy, and blocks of ResNet, ResNeXt and ResNeSt have one path; there is no
scale to tell apart there.
"""
GATES = """
Split attention is what ResNeSt has instead of splits that see more and more: a gate per channel,
the same at every place of the photo, that weighs branches side by side.
"""


# Reads the page, not the component: an event with a file as input would take any path by HTTP.
KEEP_FILE = """async () => {
  for (let i = 0; i < 40; i++) {
    const link = document.querySelector("#scales-file a[href]");
    if (link) {
      const copy = document.createElement("a");
      copy.href = link.href;
      copy.download = link.download || "mscnn-scales.zip";
      document.body.append(copy);
      copy.click();
      copy.remove();
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}"""


@dataclass(frozen=True)
class ScalesTab:
    """The components that other parts of the page refer to."""

    state: gr.State
    front: gr.State
    target: gr.Textbox
    also: gr.Dropdown
    run: gr.Button
    hint: gr.Markdown
    summary: gr.Markdown
    charts: tuple[gr.Image, ...]
    which: gr.Radio
    block: gr.Dropdown
    order: gr.Radio
    note: gr.Markdown
    strip: gr.HTML
    table: gr.Dataframe
    download: gr.Button
    file: gr.File
    attention: gr.Column
    attention_note: gr.Markdown
    gates: gr.Image
    attention_blocks: gr.Dataframe
    decided: gr.Dataframe
    radix: gr.HTML

    @property
    def results(self) -> list[Any]:
        """Outputs of a run."""
        return [*(getattr(self, name) for name in RESULTS), *self.charts]

    @property
    def parts(self) -> list[Any]:
        """Outputs of events that choose what the maps show."""
        return [getattr(self, name) for name in PARTS]


def build_scales(extra: tuple[str, ...] = ()) -> ScalesTab:
    """Lay the tab out; ``bind_scales`` gives it life.

    Args:
        extra: models of the owner, offered first.
    """
    gr.Markdown(LEAD, elem_id="scales-lead")
    with gr.Row(equal_height=True):
        target = gr.Textbox(
            label="Class (or up to three, with commas)", placeholder="the best answer",
            elem_id="scales-target", max_lines=1, scale=3, min_width=180,
        )  # fmt: skip
        also = gr.Dropdown(
            label="Also show", choices=choices.model_choices(extra), value=[], multiselect=True,
            max_choices=scales_view.MAX_BESIDE, allow_custom_value=True, filterable=True,
            elem_id="scales-also", scale=4, min_width=220,
        )  # fmt: skip
        run = gr.Button(RUN, variant="primary", elem_id="scales-run", scale=2, min_width=130)
    hint = gr.Markdown("", elem_id="scales-hint")
    with gr.Row(elem_id="scale-plot"):
        charts = tuple(_chart(number) for number in range(scales_view.MAX_CHARTS))
    summary = gr.Markdown("", elem_id="scales-summary")
    which = gr.Radio(
        label="Whose maps to show", choices=[], visible=False, elem_id="scales-which"
    )  # fmt: skip
    with gr.Row(equal_height=False):
        block = gr.Dropdown(
            label="Block", choices=[], elem_id="scales-block", scale=3, min_width=240
        )
        order = gr.Radio(
            label="Order of the splits",
            choices=[("timm's order", False), ("paper's order", True)],
            value=False, elem_id="scales-order", scale=2, min_width=220,
        )  # fmt: skip
    note = gr.Markdown("", elem_id="scales-note")
    strip = gr.HTML(scales_maps.EMPTY, elem_id="split-strip", label="Maps of the splits")
    attention = _build_attention()
    table = _table(scales_view.HEADERS, scales_view.NUMERIC, "In numbers", "scales-table")
    download = gr.Button(DOWNLOAD, elem_id="scales-download", size="sm")
    file = gr.File(visible="hidden", label="Files", elem_id="scales-file")
    with gr.Accordion("How to read this, and what it does not prove", open=False):
        gr.Markdown(HOW_TO_READ)
    return ScalesTab(
        gr.State(None, time_to_live=3600), gr.State(False), target, also, run, hint, summary,
        charts, which, block, order, note, strip, table, download, file,
        **attention,
    )  # fmt: skip


def _chart(number: int) -> gr.Image:
    return gr.Image(
        label="Share of the evidence, block by block", show_label=False, interactive=False,
        format="png", buttons=["download", "fullscreen"], elem_id=f"scale-plot-{number + 1}",
        elem_classes=["scale-chart"], visible=number == 0, min_width=280,
        alt_text="The share of the evidence, block by block, appears here.",
    )  # fmt: skip


def _build_attention() -> dict[str, Any]:
    with gr.Column(visible=False, elem_id="attention") as column:
        gr.Markdown(GATES)
        note = gr.Markdown("", elem_id="attention-note")
        with gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=300):
                gates = gr.Image(
                    label="Gates of this photo and of the examples", show_label=False,
                    interactive=False, format="png", buttons=["download", "fullscreen"],
                    elem_id="gates-plot", alt_text="The gates appear here.",
                )  # fmt: skip
            with gr.Column(scale=2, min_width=260):
                decided = _table(
                    attention_view.DECIDED_HEADERS, frozenset(attention_view.DECIDED_HEADERS),
                    "The most decided channels of this block", "attention-decided",
                )  # fmt: skip
        radix = gr.HTML("", elem_id="radix-strip", label="Maps of the branches")
        blocks = _table(
            attention_view.BLOCK_HEADERS, frozenset(attention_view.BLOCK_HEADERS[1:]),
            "All blocks: how undecided the gates are", "attention-blocks",
        )  # fmt: skip
    return {
        "attention": column,
        "attention_note": note,
        "gates": gates,
        "attention_blocks": blocks,
        "decided": decided,
        "radix": radix,
    }


def _table(
    headers: Sequence[str], numeric: frozenset[str], label: str, elem_id: str
) -> gr.Dataframe:
    kinds: list[Literal["str", "number"]] = ["number" if h in numeric else "str" for h in headers]
    return gr.Dataframe(
        headers=list(headers), datatype=kinds, label=label, interactive=False, wrap=True,
        elem_id=elem_id, elem_classes=["scroll-table"], max_height=340,
    )  # fmt: skip


def bind_scales(
    tab: ScalesTab, events: ScalesEvents, *, photo: gr.Image, model: gr.Dropdown,
    opacity: gr.Slider, cmap: gr.Dropdown, queue: dict[str, Any],
    tab_selected: Callable[..., Any], tab_left: Sequence[Callable[..., Any]] = (),
) -> list[dict[str, Any]]:  # fmt: skip
    """Connect the tab.

    Args:
        tab: this tab's components.
        events: its handlers.
        photo: the page's photo.
        model: the page's model.
        opacity: of the maps, from the Look tab.
        cmap: their colours, from the Look tab.
        queue: ``concurrency_id`` and ``concurrency_limit`` of all model events.
        tab_selected: the ``select`` event of this tab.
        tab_left: the ``select`` events of the other tabs.

    Returns:
        Arguments of the events that follow a new photo or model, in order; they do nothing while
        another tab is in front, and never start a download.
    """
    look = [opacity, cmap]
    light: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    asked = [tab.target, tab.also, tab.order, *look]
    run: dict[str, Any] = {
        "fn": toast(len(tab.results))(events.run),
        "inputs": [photo, model, *asked],
        "outputs": tab.results,
        "show_progress_on": [tab.charts[0]],
        "api_visibility": "private",
        **queue,
    }
    refresh = {
        **run,
        "fn": toast(len(tab.results))(events.refresh),
        "inputs": [tab.front, tab.state, photo, model, *asked],
        # It often has nothing to do, and a full one would cover the chart meanwhile.
        "show_progress": "minimal",
    }
    attend = {
        "fn": toast(len(OUTPUTS))(events.attention.show),
        "inputs": [tab.state, photo, *look],
        "outputs": [getattr(tab, name) for name in OUTPUTS],
        **light,
        **queue,
    }
    for trigger in (tab.run.click, tab.target.submit):
        trigger(**run).then(**attend)
    opened = tab_selected(lambda: True, None, [tab.front], queue=False, **light)
    opened.then(**refresh).then(**attend)
    for left in tab_left:
        left(lambda: False, None, [tab.front], queue=False, **light)
    tab.also.input(
        toast(2)(events.announce), [tab.state, model, tab.also], [tab.hint, tab.run],
        concurrency_limit=None, api_visibility="private",
    )  # fmt: skip
    parts = len(tab.parts)
    for number, chart in enumerate(tab.charts):
        chart.select(
            toast(parts)(events.click(number)), [tab.state, tab.order, *look], tab.parts, **light
        ).then(**attend)
    tab.which.input(
        toast(parts)(events.choose_chart), [tab.state, tab.which, tab.order, *look], tab.parts,
        **light,
    ).then(**attend)  # fmt: skip
    tab.block.input(
        toast(parts)(events.choose_block), [tab.state, tab.block, tab.order, *look], tab.parts,
        **light,
    ).then(**attend)  # fmt: skip
    tab.download.click(
        toast(2)(events.pack), [tab.state, *look], [tab.file, tab.download], **light
    ).then(None, None, None, js=KEEP_FILE, api_visibility="private")
    tab.order.input(
        toast(1)(events.redraw), [tab.state, tab.order, *look], [tab.strip], **light
    )  # fmt: skip
    return [refresh, attend]
