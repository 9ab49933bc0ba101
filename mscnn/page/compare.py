"""The Compare tab: the same photo and class through several models, on one colour scale."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import gradio as gr
from PIL import Image

from mscnn.engine.pipeline import MAX_COMPARED, Engine, summarise
from mscnn.http.feedback import toast
from mscnn.page import choices, handlers
from mscnn.page.compare_view import COLUMN_PX, difference_picture, grid_html, rounded, row, title
from mscnn.page.downloads import comparison_zip
from mscnn.page.jobs import Jobs
from mscnn.results.explanation import ComparedModel, Comparison, RgbArray

HEADERS = ("Model", "Params (M)", "GMACs", "Input (px)", "Top-1 (%)", "Time here (ms)",
           "Best class", "Best class (%)", "This class (%)")  # fmt: skip
DATATYPES: tuple[Literal["str", "number"], ...] = (
    "str", "number", "number", "number", "number", "number", "str", "number", "number"
)  # fmt: skip
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
        headers=list(HEADERS), label="In numbers (the menu of a heading sorts)", interactive=False,
        elem_id="compare-table", wrap=True, datatype=list(DATATYPES),
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
        small = handlers.fitted(image, COLUMN_PX)
        columns: list[ComparedModel] = []
        label = ""
        busy = (gr.update(visible=True), gr.update(interactive=False))
        idle = (gr.update(visible=False), gr.update(interactive=True, value="Compare"))
        yield (*[gr.skip()] * 6, *busy)
        try:
            with self.jobs.running(str(request.session_hash), "compare") as is_cancelled:
                steps = self.engine.compare_steps(
                    image, models, target=target.strip() or "top1", layer=layer, name="",
                    is_cancelled=is_cancelled,
                )  # fmt: skip
                progress((0, len(models)), desc=title(models[0]) if models else "", unit="models")
                for label, column in steps:
                    columns.append(column)
                    done = len(columns)
                    following = title(models[done]) if done < len(models) else "agreement"
                    progress((done, len(models)), desc=following, unit="models")
                    partial = summarise(label, layer, columns)
                    grid = grid_html(partial, small, opacity, cmap, waiting=models[done:])
                    yield (gr.skip(), grid, *[gr.skip()] * 4, *busy)
        except Exception:
            # After Stop or an error what was done is kept, and the buttons come back.
            yield (*self._results(label, layer, columns, image, small, opacity, cmap), *idle)
            raise
        yield (*self._results(label, layer, columns, image, small, opacity, cmap), *idle)

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
                [title(a.first), title(a.second), rounded(a.spearman), rounded(a.iou_top20)]
                for a in whole.agreements
            ],
            _difference(whole, small),
            comparison_zip(whole, image, opacity, cmap),
        )

    def announce(self, models: list[str]) -> tuple[Any, Any]:
        """Say what must be downloaded before it is; outputs: hint, run."""
        missing = handlers.must_download(self.engine, models)
        if not missing:
            return "", gr.update(value="Compare")
        sizes = [f"{title(name)} ({handlers.download_size(name)})" for name in missing]
        return (
            f"Not on this machine yet, and downloaded first: {', '.join(sizes)}.",
            gr.update(value="Download and compare"),
        )

    def stop(self, request: gr.Request) -> None:
        """The Stop button."""
        self.jobs.stop(str(request.session_hash), "compare")


def _difference(whole: Comparison, small: RgbArray) -> Any:
    names = [title(column.model) for column in whole.columns if column.cam is not None][:2]
    alt = f"Difference of the maps of {' and '.join(names)} for {whole.label}."
    return gr.update(value=difference_picture(whole, small), alt_text=alt)


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
    tab.models.input(
        toast(2)(events.announce), [tab.models], [tab.hint, tab.run],
        concurrency_limit=None, api_visibility="private",
    )  # fmt: skip
    tab.stop.click(events.stop, queue=False, api_visibility="private")
    return event
