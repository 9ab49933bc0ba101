"""What happens on the Scales tab: each event's handler, from inputs to updates of components."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from mscnn.draw.charts import Chart
from mscnn.engine.pipeline import Engine
from mscnn.errors import MscnnError, OptionError
from mscnn.page import handlers, scales_maps
from mscnn.page import scales_view as view
from mscnn.page.compare_view import title
from mscnn.page.scales_attention import Attention
from mscnn.page.scales_download import scales_zip
from mscnn.page.scales_view import Shown

RUN = "Show scales"
DOWNLOAD = "Download charts, maps and tables (ZIP)"
RESULTS = ("state", "hint", "run", "summary", "which", "block", "order", "note", "strip", "table")
"""Outputs of a run, by name; one picture per chart follows."""
PARTS = ("state", "which", "block", "order", "note", "strip")
"""Outputs of events that choose what the maps show."""


class ScalesEvents:
    """The tab's handlers, on one engine; see ``LookEvents``.

    Args:
        engine: shared by all visitors.
        references: photographs to average the gates of split attention over.
    """

    def __init__(self, engine: Engine, references: Sequence[str | Path] = ()) -> None:
        self.engine = self.lens = engine
        self.attention = Attention(self.lens, references)

    def refresh(
        self, front: bool, shown: Shown | None, photo: Any, model: str, target: str,
        also: list[str], paper_order: bool, opacity: float, cmap: str,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[tuple[Any, ...]]:  # fmt: skip
        """Like ``run``, where the tab is in front and the photo or model is new to it.

        What must be downloaded is announced, and left to the button.
        """
        asked = view.asked(model, target, also)
        if not front or not isinstance(photo, Image.Image):
            yield _updates()
        elif shown is not None and shown.asked == asked and view.is_photo_of(shown, photo):
            # Only in a new look: a click on the chart in this very moment draws other maps, and
            # these must not come after them.
            redrawn: dict[str, Any] = {}
            if shown.look != (opacity, cmap):
                redrawn = {
                    "state": replace(shown, look=(opacity, cmap)),
                    "strip": scales_maps.strip_html(shown, opacity, cmap, paper_order=paper_order),
                }
            yield _updates(hint="", **redrawn)
        else:
            hint, run = self.announce(shown, model, also)
            if hint:
                yield _updates(hint=hint, run=run)
            else:
                yield from self.run(
                    photo, model, target, also, paper_order, opacity, cmap, progress
                )

    def announce(self, shown: Shown | None, model: str, also: list[str]) -> tuple[str, Any]:
        """Say what must be downloaded before it is; outputs: hint, run."""
        try:
            missing = handlers.must_download(self.engine, view.models_of(model, also))
            sizes = [f"{title(name)} ({handlers.download_size(name)})" for name in missing]
        except MscnnError as error:
            return str(error), gr.skip()
        if not sizes:
            return "", gr.update(value=RUN)
        hint = f"Press the button to start: it downloads {', '.join(sizes)} first."
        if shown is not None:
            hint += " Until then, what is below belongs to the photo and models before."
        return hint, gr.update(value=f"Download and {RUN[0].lower()}{RUN[1:]}")

    def run(
        self, photo: Any, model: str, target: str, also: list[str], paper_order: bool,
        opacity: float, cmap: str, progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[tuple[Any, ...]]:  # fmt: skip
        """Outputs: ``ScalesTab.results``."""
        image = handlers.need_photo(photo)
        yield _updates(run=gr.update(interactive=False))
        try:
            shown, charts, notes = self._measured(image, model, target, also, progress)
        except Exception as error:
            said = str(error) if isinstance(error, MscnnError) else ""
            yield _updates(hint=said, run=gr.update(interactive=True))
            raise
        yield _updates(
            hint="",
            run=gr.update(interactive=True, value=RUN),
            summary=view.summary(shown.reports, notes),
            table=view.numbers(shown.reports),
            charts=_pictures(shown, charts),
            **_parts(shown, opacity, cmap, paper_order),
        )

    def _measured(
        self, image: Image.Image, model: str, target: str, also: list[str], progress: gr.Progress
    ) -> tuple[Shown, list[Chart], tuple[str, ...]]:
        models = view.models_of(model, also)
        for name in models:
            self._prepare(name, progress)
        classes = view.wanted_classes(target, self.engine.session.network(model).labels)
        found, notes = view.measure(self.lens, image, models, classes)
        asked, reports = zip(*found, strict=True)
        charts = [view.chart(report) for report in reports]
        shown = Shown(
            photo=view.drawn_photo(image, reports[0]),
            asked=view.asked(model, target, also),
            reports=reports,
            models=asked,
            boxes=tuple(chart.boxes for chart in charts),
            block=view.default_block(reports[0]),
        )
        return shown, charts, notes

    def _prepare(self, model: str, progress: gr.Progress) -> None:
        """Load the model, with a progress bar while its weights are downloaded."""

        def show(done: int, total: int | None) -> None:
            mb = 10**6
            steps = (done // mb, None if total is None else total // mb)
            progress(steps, desc=f"Downloading {model}", unit="MB")

        self.engine.session.network(model, on_progress=show)

    def click(self, number: int) -> Callable[..., tuple[Any, ...]]:
        """The handler of a click on a chart; outputs: ``ScalesTab.parts``."""

        def clicked(
            shown: Shown | None, paper_order: bool, opacity: float, cmap: str, event: gr.SelectData
        ) -> tuple[Any, ...]:
            if shown is None or number >= len(shown.reports):
                return _updates(PARTS)
            x, y = event.index
            found = view.part_at(shown.boxes[number], float(x), float(y))
            if found is None:
                return _updates(PARTS)
            block, split = found
            shown = replace(shown, number=number, block=block, split=split)
            return _updates(PARTS, **_parts(shown, opacity, cmap, paper_order))

        return clicked

    def choose_chart(
        self, shown: Shown | None, number: int | None, paper_order: bool, opacity: float, cmap: str
    ) -> tuple[Any, ...]:
        """Show the maps of another class or model; outputs: ``ScalesTab.parts``."""
        if shown is None or number is None or not 0 <= int(number) < len(shown.reports):
            return _updates(PARTS)
        report = shown.reports[int(number)]
        kept = any(block.block == shown.block for block in report.blocks)
        block = shown.block if kept else view.default_block(report)
        shown = replace(shown, number=int(number), block=block, split=None)
        return _updates(PARTS, **_parts(shown, opacity, cmap, paper_order))

    def choose_block(
        self, shown: Shown | None, block: str | None, paper_order: bool, opacity: float, cmap: str
    ) -> tuple[Any, ...]:
        """Show the maps of another block; outputs: ``ScalesTab.parts``."""
        if shown is None or not block:
            return _updates(PARTS)
        shown = replace(shown, block=shown.report.block(block).block, split=None)
        return _updates(PARTS, **_parts(shown, opacity, cmap, paper_order))

    def redraw(self, shown: Shown | None, paper_order: bool, opacity: float, cmap: str) -> Any:
        """Draw the maps again, in another order or colour; outputs: strip."""
        if shown is None:
            return gr.skip()
        return scales_maps.strip_html(shown, opacity, cmap, paper_order=paper_order)

    def pack(self, shown: Shown | None, opacity: float, cmap: str) -> Iterator[tuple[Any, Any]]:
        """Make the files when they are asked for; outputs: file, button.

        Not before: a deep network has dozens of blocks to draw, and few visitors keep them.
        """
        if shown is None:
            raise OptionError(f"There is nothing to download yet; press {RUN} first.")
        yield None, gr.update(interactive=False, value="Packing, a moment ...")
        ready = gr.update(interactive=True, value=DOWNLOAD)
        try:
            path = scales_zip(shown, opacity, cmap)
        except Exception:
            yield None, ready
            raise
        yield path, ready


def _updates(names: Sequence[str] = (), **changed: Any) -> tuple[Any, ...]:
    """Put updates in the order of the outputs; what is not named stays as it is."""
    if names:
        return tuple(changed.get(name, gr.skip()) for name in names)
    charts = changed.get("charts", [gr.skip()] * view.MAX_CHARTS)
    return (*(changed.get(name, gr.skip()) for name in RESULTS), *charts)


def _parts(shown: Shown, opacity: float, cmap: str, paper_order: bool) -> dict[str, Any]:
    report = shown.report
    return {
        "state": replace(shown, look=(opacity, cmap)),
        "which": gr.update(
            choices=view.chart_names(shown.reports),
            value=shown.number,
            visible=len(shown.reports) > 1,
        ),
        "block": gr.update(choices=view.block_choices(report), value=shown.block),
        "order": gr.update(visible=report.has_splits),
        "note": view.block_note(report, report.block(shown.block)),
        "strip": scales_maps.strip_html(shown, opacity, cmap, paper_order=paper_order),
    }


def _pictures(shown: Shown, charts: Sequence[Chart]) -> list[Any]:
    """Updates of all pictures: those without a chart disappear."""
    found = [
        gr.update(
            value=chart.picture,
            label=view.chart_title(report),
            alt_text=view.chart_alt(report),
            visible=True,
        )
        for report, chart in zip(shown.reports, charts, strict=True)
    ]
    hidden = gr.update(value=None, visible=False)
    return [*found, *[hidden] * (view.MAX_CHARTS - len(found))]
