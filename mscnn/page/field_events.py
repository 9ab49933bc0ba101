"""What happens on the Receptive field tab: each event's handler, from inputs to updates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from mscnn.engine.pipeline import Engine
from mscnn.errors import Cancelled, MscnnError, PointError, UnsupportedModelError
from mscnn.page import field_draw, handlers
from mscnn.page import field_theory as theory
from mscnn.page import field_view as view
from mscnn.page.compare_view import title
from mscnn.page.field_download import field_zip
from mscnn.page.field_view import Asked, Inputs, Shown
from mscnn.page.jobs import Jobs
from mscnn.photos.imaging import load_photo
from mscnn.results.receptive_field import ReceptiveField
from mscnn.results.scales import EffectiveField

RUN = "Measure"
STALE = "What is shown below belongs to the photo and model before."
RESULTS = ("state", "overlay", "caption", "cards", "table", "point", "layer", "split", "run",
           "stop")  # fmt: skip
THEORY = ("read", "plot", "summary", "stages", "blocks", "layer", "split", "others")
JOB = "field"


class FieldEvents:
    """The tab's handlers, on one engine; see ``LookEvents``.

    Args:
        engine: shared by all visitors.
        jobs: Stop flags.
        references: photographs to average over, besides the visitor's own.
    """

    def __init__(self, engine: Engine, jobs: Jobs, references: Sequence[Path] = ()) -> None:
        self.engine, self.jobs, self.references = engine, jobs, tuple(references)
        self.lens = engine

    def read(
        self, front: bool, read: tuple[str, ...] | None, model: str, others: list[str] | None,
        kind: str, layer: str | None, split: str | None,
    ) -> tuple[Any, ...]:  # fmt: skip
        """Show theory at once, where the tab is in front; outputs: ``THEORY``.

        A new model gets its own fair baseline beside it.
        """
        names = theory.models_of(model, ())
        if not front or not names:
            return updates(THEORY)
        new = read is None or read[0] != names[0]
        beside = theory.partner(model) if new else list(others or ())[: theory.MAX_BESIDE]
        names = theory.models_of(model, beside)
        if read == names:
            return updates(THEORY)
        shown = _theory(theory.gather(self.engine, names), kind, layer, split)
        return updates(THEORY, **{"read": names, "others": beside, **shown})

    def read_typed(
        self, front: bool, read: tuple[str, ...] | None, kind: str, layer: str | None,
        split: str | None,
    ) -> tuple[Any, ...]:  # fmt: skip
        """Load the models that no table knows, where they are on this machine."""
        if not front or read is None or not theory.gather(self.engine, read).waiting:
            return updates(THEORY)
        return updates(THEORY, **_theory(self._complete(read), kind, layer, split))

    def choose_kind(self, read: tuple[str, ...] | None, kind: str) -> Any:
        """Draw the other chart; outputs: plot."""
        found = () if read is None else self._complete(read).found
        return _plot(found, kind) if found else gr.skip()

    def _complete(self, names: Sequence[str]) -> theory.Theory:
        return theory.gather(self.engine, names, self.lens.receptive_field)

    def choose_layer(self, read: tuple[str, ...] | None, layer: str | None) -> Any:
        """Offer the splits of a layer; outputs: split."""
        first = None if read is None else self._complete(read[:1]).first
        if first is None or not layer:
            return gr.skip()
        return gr.update(choices=theory.split_choices(first, layer), value="all")

    def refresh(
        self, request: gr.Request, progress: gr.Progress = gr.Progress(),  # noqa: B008
        *inputs: Any,
    ) -> Iterator[tuple[Any, ...]]:  # fmt: skip
        """Like ``run``, where the tab is in front and something is new; never downloads.

        Inputs: whether it is in front, the state, then ``Inputs``.
        """
        front, shown, asked = inputs[0], inputs[1], Inputs(*inputs[2:])
        yield updates(RESULTS)
        if not front or not isinstance(asked.photo, Image.Image):
            return
        try:
            caption, run = self.announce(asked.model)
        except MscnnError:  # the page has said so, where the model was chosen
            return
        if caption:
            said = caption if shown is None else f"{caption} {STALE}"
            yield updates(RESULTS, caption=said, run=run)
            return
        new = shown is None or shown.asked.model != asked.model
        if new or not view.is_photo_of(shown.photo, asked.photo):
            yield from self.run(request, progress, *asked)

    def announce(self, model: str) -> tuple[str, Any]:
        """Say what must be downloaded before it is; outputs: caption, run."""
        if not handlers.must_download(self.engine, [model]):
            return "", gr.update(value=RUN)
        size = handlers.download_size(model)
        return (
            f"{title(model)} is not on this machine yet; {size} are downloaded first.",
            gr.update(value=f"Download {size} and measure"),
        )

    def run(
        self, request: gr.Request, progress: gr.Progress = gr.Progress(),  # noqa: B008
        *inputs: Any,
    ) -> Iterator[tuple[Any, ...]]:  # fmt: skip
        """Measure what the controls ask for; inputs: ``Inputs``, outputs: ``RESULTS``."""
        wanted = Inputs(*inputs)
        image, asked = handlers.need_photo(wanted.photo), wanted.asked()
        yield updates(RESULTS, run=gr.update(interactive=False), stop=gr.update(visible=True))
        idle = gr.update(visible=False)
        try:
            with self.jobs.running(str(request.session_hash), JOB) as is_cancelled:
                shown = self._measured(image, asked, progress, is_cancelled)
        except Exception:
            yield updates(RESULTS, run=gr.update(interactive=True), stop=idle)
            raise
        drawn = _drawn(shown, wanted.measure, wanted.opacity, wanted.cmap)
        ready = gr.update(interactive=True, value=RUN)
        yield updates(RESULTS, run=ready, stop=idle, **self._chosen(shown), **drawn)

    def click(
        self, request: gr.Request, event: gr.SelectData,
        progress: gr.Progress = gr.Progress(), *inputs: Any,  # noqa: B008
    ) -> Iterator[tuple[Any, ...]]:  # fmt: skip
        """Measure the unit under a click on the picture; inputs: the state, then ``Inputs``."""
        shown, wanted = inputs[0], Inputs(*inputs[1:])
        yield updates(RESULTS)
        if shown is None:
            return
        if not view.is_photo_of(shown.photo, handlers.need_photo(wanted.photo)):
            raise PointError("The photo has changed since this picture; press Measure first.")
        text = view.point_text(view.point_at(event.index, shown.placed))
        yield from self.run(request, progress, *wanted._replace(point=text))

    def redraw(self, shown: Shown | None, measure: str, opacity: float, cmap: str) -> Any:
        """Draw again by another measure; no model run. Outputs: ``RESULTS``."""
        if shown is None:
            return updates(RESULTS)
        return updates(RESULTS, **_drawn(shown, measure, opacity, cmap))

    def pack(
        self, shown: Shown | None, read: tuple[str, ...] | None, measure: str, opacity: float,
        cmap: str,
    ) -> Any:  # fmt: skip
        """The file behind the download button: theory, and the unit where one was measured."""
        found = () if read is None else self._complete(read).found
        if shown is None and not found:
            return gr.skip()
        return field_zip(shown, found, measure, opacity, cmap)

    def stop(self, request: gr.Request) -> None:
        """The Stop button."""
        self.jobs.stop(str(request.session_hash), JOB)

    def _measured(
        self, image: Image.Image, wanted: Asked, progress: gr.Progress,
        is_cancelled: Callable[[], bool],
    ) -> Shown:  # fmt: skip
        self._prepare(wanted.model, progress, is_cancelled)
        known = self._known(wanted.model)
        asked, notes = view.settled(wanted, known)
        photos = [image, *(self._others(image) if asked.many else ())]
        todo = view.units(asked, known)
        found: list[EffectiveField] = []
        for split, trained in todo:
            if is_cancelled():
                break
            if len(todo) > 1:
                progress((len(found), len(todo)), desc="Measuring", unit="units")
            measured = self.lens.effective_receptive_field(
                photos, asked.model, point=asked.point, layer=asked.layer, split=split,
                trained=trained,
            )  # fmt: skip
            found.append(measured)
        if not found:
            raise Cancelled("Stopped before anything was measured.")
        if len(found) < len(todo):
            notes = (*notes, f"Stopped after {len(found)} of {len(todo)}.")
        return Shown(asked, handlers.fitted(image, view.DRAWN_PX), tuple(found), notes=notes)

    def _known(self, model: str) -> ReceptiveField | None:
        """The theoretical fields; None where the way through the model cannot be followed."""
        try:
            return self.lens.receptive_field(model)
        except UnsupportedModelError:
            return None

    def _prepare(self, model: str, progress: gr.Progress, is_cancelled: Callable[[], bool]) -> None:
        """Load the model, with a progress bar while its weights are downloaded."""

        def show(done: int, total: int | None) -> None:
            mb = 10**6
            steps = (done // mb, None if total is None else total // mb)
            progress(steps, desc=f"Downloading {model}", unit="MB")

        self.engine.session.network(model, on_progress=show, is_cancelled=is_cancelled)

    def _others(self, image: Image.Image) -> list[Image.Image]:
        """The example photographs, without the visitor's own where it is one of them."""
        others = [load_photo(path) for path in self.references]
        own = handlers.fitted(image, view.DRAWN_PX)
        return [other for other in others if not view.is_photo_of(own, other)]

    def _chosen(self, shown: Shown) -> dict[str, Any]:
        """Bring the controls to what was measured, which fits the model."""
        known, asked = self._known(shown.asked.model), shown.asked
        if known is None:
            return {"point": view.point_text(asked.point)}
        return {
            "point": view.point_text(asked.point),
            "layer": gr.update(choices=theory.layer_choices(known), value=asked.layer),
            "split": gr.update(choices=theory.split_choices(known, asked.layer), value=asked.split),
        }


def updates(names: Sequence[str], **changed: Any) -> tuple[Any, ...]:
    """Put updates in the order of the outputs; what is not named stays as it is."""
    return tuple(changed.get(name, gr.skip()) for name in names)


def _plot(found: Sequence[Any], kind: str) -> Any:
    return gr.update(value=theory.chart(found, kind), alt_text=theory.chart_alt(found, kind))


def _theory(
    known: theory.Theory, kind: str, layer: str | None, split: str | None
) -> dict[str, Any]:
    """Updates of everything that theory fills."""
    nothing = gr.update(value=None, alt_text="No receptive field is known here.")
    shown = {
        "plot": _plot(known.found, kind) if known.found else nothing,
        "summary": theory.summary(known),
        "stages": theory.stage_rows(known.found),
        "blocks": theory.block_rows(known.found),
    }
    if known.first is None:
        return shown
    choices = theory.layer_choices(known.first)
    default = theory.default_layer(known.first)
    kept = layer if layer in {name for _, name in choices} else default
    splits = theory.split_choices(known.first, str(kept))
    same = kept == layer and split in {value for _, value in splits}
    return {
        **shown,
        "layer": gr.update(choices=choices, value=kept),
        "split": gr.update(choices=splits, value=split if same else "all"),
    }


def _drawn(shown: Shown, measure: str, opacity: float, cmap: str) -> dict[str, Any]:
    """Updates of everything that a measurement fills."""
    drawn = field_draw.large(shown, measure, opacity, cmap)
    first = shown.fields[0]
    return {
        "state": replace(shown, placed=drawn.placed),
        "overlay": gr.update(
            value=drawn.picture, alt_text=view.alt_text(first, shown.asked.point, measure)
        ),
        "caption": view.caption(shown, measure),
        "cards": field_draw.cards_html(shown, measure, opacity, cmap),
        "table": view.rows(shown.fields),
    }
