"""The Compare tab: the same photo and class through several models, on one colour scale."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from mscnn import registry
from mscnn.agreement import density, difference
from mscnn.pipeline import MAX_COMPARED, Engine, summarise
from mscnn.render.legend import with_legend
from mscnn.render.overlay import difference_overlay, overlay
from mscnn.types import ComparedModel, Comparison, RgbArray
from mscnn.ui import choices, handlers
from mscnn.ui.downloads import comparison_zip
from mscnn.ui.feedback import toast
from mscnn.ui.jobs import Jobs

COLUMN_PX = 420
HEADERS = ("Model", "Params (M)", "GMACs", "Input (px)", "Top-1 (%)", "Time here (ms)",
           "Best class", "Best class (%)", "This class (%)")  # fmt: skip
PAIR_HEADERS = ("First model", "Second model", "Rank correlation", "Overlap of strongest 20 %")
HOW_TO_READ = """
**One scale.** Every map counts evidence in units of an even spread (1 = as much as if the whole
view held the same), and all columns share the colours, so a bright place is equally concentrated
in each.

**Fair pairs.** Accuracy and maps depend on how a network was trained, not only on its blocks. The
line above the columns says which of the chosen models were trained alike.

**Agreement.** Rank correlation asks whether two maps order all places alike (1 the same, 0
unrelated, -1 opposite). The overlap counts the strongest fifth of the places of both maps.
Neither says which map is right. Both are taken where both networks looked.

**Time here** is the median of three forwards on this machine, without preprocessing.
"""


@dataclass(frozen=True)
class CompareTab:
    """The components that other parts of the page refer to."""

    models: gr.Dropdown
    target: gr.Textbox
    layer: gr.Dropdown
    run: gr.Button
    stop: gr.Button
    hint: gr.Markdown
    grid: gr.HTML
    table: gr.Dataframe
    pairs: gr.Dataframe
    difference: gr.Image
    download: gr.DownloadButton

    @property
    def results(self) -> list[Any]:
        """Outputs of a comparison."""
        return [self.hint, self.grid, self.table, self.pairs, self.difference, self.download,
                self.stop, self.run]  # fmt: skip


def build_compare(default: Sequence[str], extra: tuple[str, ...]) -> CompareTab:
    """Lay the tab out; ``bind_compare`` gives it life."""
    models = gr.Dropdown(
        label=f"Models to compare (2 to {MAX_COMPARED})",
        choices=choices.model_choices(extra),
        value=list(default),
        multiselect=True,
        max_choices=MAX_COMPARED,
        allow_custom_value=True,
        filterable=True,
        elem_id="models",
    )
    with gr.Row(equal_height=True):
        target = gr.Textbox(
            label="Class", placeholder="the first model's best answer", elem_id="compare-target",
            max_lines=1, scale=3, min_width=180,
        )  # fmt: skip
        layer = gr.Dropdown(
            label="Stage", choices=list(choices.LAYERS), value="last", elem_id="compare-layer",
            scale=2, min_width=130,
        )  # fmt: skip
        run = gr.Button("Compare", variant="primary", elem_id="compare-run", scale=2, min_width=130)
        stop = gr.Button(
            "Stop", variant="stop", visible=False, elem_id="compare-stop", scale=1, min_width=90
        )
    hint = gr.Markdown("", elem_id="compare-hint")
    grid = gr.HTML(
        '<p class="empty">Choose models and press Compare.</p>', elem_id="compare-grid",
        label="Maps side by side",
    )  # fmt: skip
    table = gr.Dataframe(
        headers=list(HEADERS), label="In numbers (click a heading to sort)", interactive=False,
        elem_id="compare-table", wrap=True, datatype=["str", *["number"] * 5, "str", "number", "number"],
    )  # fmt: skip
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=300):
            pairs = gr.Dataframe(
                headers=list(PAIR_HEADERS), label="Do the maps agree?", interactive=False,
                elem_id="compare-agreement", wrap=True, datatype=["str", "str", "number", "number"],
            )  # fmt: skip
            download = gr.DownloadButton(
                "Download sheet, table and maps (ZIP)", elem_id="compare-download", size="sm"
            )
        with gr.Column(scale=2, min_width=280):
            difference_image = gr.Image(
                label="Difference of the first two", elem_id="compare-difference",
                interactive=False, format="png", buttons=["download", "fullscreen"],
                alt_text="The difference of the first two maps appears here.",
            )  # fmt: skip
    with gr.Accordion("How to read this, and what it does not prove", open=False):
        gr.Markdown(HOW_TO_READ)
    return CompareTab(
        models, target, layer, run, stop, hint, grid, table, pairs, difference_image, download
    )


class CompareEvents:
    """The tab's handlers, on one engine; see ``LookEvents``."""

    def __init__(self, engine: Engine, jobs: Jobs) -> None:
        self.engine, self.jobs = engine, jobs

    def run(
        self, photo: Any, models: list[str], target: str, layer: str, opacity: float, cmap: str,
        request: gr.Request, progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[tuple[Any, ...]]:  # fmt: skip
        """Outputs: ``CompareTab.results``; one more column is shown after each model."""
        image = handlers.need_photo(photo)
        width, height = image.size
        factor = COLUMN_PX / max(width, height)
        small = handlers.resized(image, (max(1, round(width * factor)), max(1, round(height * factor))))
        columns: list[ComparedModel] = []
        label = ""
        busy = (gr.update(visible=True), gr.update(interactive=False))
        try:
            with self.jobs.running(str(request.session_hash), "compare") as is_cancelled:
                yield (*[gr.skip()] * 6, *busy)
                steps = self.engine.compare_steps(
                    image, models, target=target.strip() or "top1", layer=layer, name="",
                    is_cancelled=is_cancelled,
                )  # fmt: skip
                progress((0, len(models)), desc=models[0] if models else "", unit="models")
                for label, column in steps:
                    columns.append(column)
                    done = len(columns)
                    nxt = models[done] if done < len(models) else "agreement"
                    progress((done, len(models)), desc=nxt, unit="models")
                    partial = summarise(label, layer, columns)
                    grid = grid_html(partial, small, opacity, cmap, waiting=models[done:])
                    yield (gr.skip(), grid, *[gr.skip()] * 4, *busy)
        finally:
            # Also after Stop or an error: what was done is kept, and the buttons come back.
            idle = (gr.update(visible=False), gr.update(interactive=True))
            last = self._results(label, layer, columns, image, small, opacity, cmap)
        yield (*last, *idle)

    def _results(
        self, label: str, layer: str, columns: list[ComparedModel], image: Image.Image,
        small: RgbArray, opacity: float, cmap: str,
    ) -> tuple[Any, ...]:  # fmt: skip
        if not columns:
            return (gr.skip(),) * 6
        whole = summarise(label, layer, columns)
        head = f"Evidence for **{label}**. {whole.hint}"
        return (
            head,
            grid_html(whole, small, opacity, cmap),
            [row(column) for column in columns],
            [
                [title(a.first), title(a.second), _rounded(a.spearman), _rounded(a.iou_top20)]
                for a in whole.agreements
            ],
            difference_update(whole, small),
            comparison_zip(whole, image, opacity, cmap),
        )

    def stop(self, request: gr.Request) -> None:
        """The Stop button."""
        self.jobs.stop(str(request.session_hash), "compare")


def bind_compare(
    tab: CompareTab, events: CompareEvents, *, photo: gr.Image, opacity: gr.Slider,
    cmap: gr.Dropdown, queue: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Connect the tab; returns the arguments of the comparing event."""
    event = {
        "fn": toast(len(tab.results))(events.run),
        "inputs": [photo, tab.models, tab.target, tab.layer, opacity, cmap],
        "outputs": tab.results,
        "show_progress_on": [tab.grid],
        "api_visibility": "private",
        **queue,
    }
    tab.run.click(**event)
    tab.target.submit(**event)
    tab.stop.click(events.stop, queue=False, api_visibility="private")
    return event


def title(model: str) -> str:
    """A model's name as people say it."""
    spec = registry.find(model)
    return spec.title if spec is not None else model


def row(column: ComparedModel) -> list[Any]:
    """One line of the table; unknown values are empty."""
    facts, explanation = column.facts, column.explanation
    top = explanation.prediction.top[0] if explanation else None
    target = explanation.targets[0] if explanation and explanation.targets else None
    return [
        title(column.model),
        _rounded(facts.params / 1e6, 2) if facts else None,
        _rounded(facts.gmacs) if facts else None,
        facts.input_px if facts else None,
        _rounded(100 * facts.top1, 2) if facts and facts.top1 is not None else None,
        _rounded(column.latency_ms, 1),
        top.label if top else None,
        _rounded(100 * top.probability, 1) if top else None,
        _rounded(100 * target.probability, 1) if target else None,
    ]


def _rounded(value: float | None, digits: int = 3) -> float | None:
    return None if value is None else round(value, digits)


def difference_update(comparison: Comparison, small: RgbArray) -> Any:
    """The difference of the first two maps, drawn on the photo."""
    present = [(c.model, c.cam) for c in comparison.columns if c.cam is not None]
    if len(present) < 2:
        return gr.update(value=None, label="Difference: needs two maps")
    (first, a), (second, b) = present[:2]
    if a is None or b is None:
        return gr.update(value=None)
    diff = difference(a, b, COLUMN_PX, COLUMN_PX)
    vmax = float(np.abs(diff).max()) or 1.0
    drawn = with_legend(
        difference_overlay(small, diff, vmax=vmax), vmax=vmax, signed=True,
        unit=f"left: more evidence in {title(first)}; right: more in {title(second)}",
    )  # fmt: skip
    alt = f"Difference of the maps of {title(first)} and {title(second)} for {comparison.label}."
    return gr.update(value=drawn, alt_text=alt, label="Difference of the first two maps")


def grid_html(
    comparison: Comparison, small: RgbArray, opacity: float, cmap: str, waiting: Sequence[str] = ()
) -> str:
    """The columns: map, five labels and facts of each model, aligned; text is escaped."""
    cards = [_card(column, comparison, small, opacity, cmap) for column in comparison.columns]
    cards += [
        f'<section class="card waiting"><h3>{html.escape(title(m))}</h3><p>waiting</p></section>'
        for m in waiting
    ]
    return f'<div class="cards" style="--columns:{len(cards)}">{"".join(cards)}</div>'


def _card(
    column: ComparedModel, comparison: Comparison, small: RgbArray, opacity: float, cmap: str
) -> str:
    parts = [f"<h3>{html.escape(title(column.model))}</h3>"]
    if column.cam is not None:
        parts.append(_map_html(column, comparison, small, opacity, cmap))
    if column.note:
        parts.append(f'<p class="note">{html.escape(column.note)}</p>')
    if column.explanation is not None:
        rows = "".join(
            f'<li><span class="name">{html.escape(s.label)}</span>'
            f'<meter class="bar" min="0" max="1" value="{s.probability:.4f}"></meter>'
            f'<span class="share">{s.probability:.1%}</span></li>'
            for s in column.explanation.prediction.top
        )
        parts.append(f"<ol>{rows}</ol>")
    if column.facts is not None:
        facts = column.facts
        top1 = f"{facts.top1:.1%}" if facts.top1 is not None else "not published"
        gmacs = f"{facts.gmacs:.2f}" if facts.gmacs is not None else "unknown"
        parts.append(
            f"<dl><dt>Parameters</dt><dd>{facts.params / 1e6:.1f} M</dd>"
            f"<dt>GMACs</dt><dd>{gmacs}</dd><dt>Top-1</dt><dd>{top1}</dd>"
            f"<dt>Time here</dt><dd>{column.latency_ms or 0:.0f} ms</dd></dl>"
        )
    return f'<section class="card">{"".join(parts)}</section>'


def _map_html(
    column: ComparedModel, comparison: Comparison, small: RgbArray, opacity: float, cmap: str
) -> str:
    cam = column.cam
    if cam is None:
        return ""
    heat = density(cam, COLUMN_PX, COLUMN_PX)
    drawn = overlay(
        small, heat, vmax=comparison.scale_max, opacity=opacity, cmap=cmap,
        crop=cam.geometry.crop_on((small.shape[1], small.shape[0])),
    )  # fmt: skip
    drawn = with_legend(drawn, vmax=comparison.scale_max, unit=handlers.UNIT, cmap=cmap)
    label = html.escape(comparison.label, quote=True)
    alt = f"Map of {html.escape(title(column.model), quote=True)} for {label}"
    return f'<img alt="{alt}" src="{_data_url(drawn)}">'


def _data_url(picture: RgbArray) -> str:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "WEBP", quality=90)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()
