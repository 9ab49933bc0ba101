"""What happens on the Features tab: each event's handler, from inputs to updates of components."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from mscnn.engine.network import Network
from mscnn.engine.pipeline import Engine
from mscnn.errors import (
    MscnnError,
    OptionError,
    UnknownLayerError,
    UnknownModelError,
    UnsupportedModelError,
    WeightsError,
)
from mscnn.page import features_view as view
from mscnn.page import handlers
from mscnn.page.compare_view import title
from mscnn.page.features_search import Answer, search
from mscnn.page.features_sets import (
    Examples,
    OwnersFile,
    PhotoSet,
    Where,
    fingerprint,
    small_picture,
)
from mscnn.page.features_view import Shown
from mscnn.page.scales_view import models_of
from mscnn.scales import receptive_field as fields

RUN = "Find similar"
RESULTS = ("state", "hint", "run", "also", "where", "cards", "table")
"""Outputs of a run, by name."""
_STALE = " Until then, what is below belongs to what was chosen before."


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is searched, by whom.

    Attributes:
        among: the chosen set, as its dropdown names it.
        file: the owner's file that is searched; None for the examples.
        models: names that the session knows.
    """

    among: str
    file: OwnersFile | None
    models: tuple[str, ...]


class FeaturesEvents:
    """The tab's handlers, on one engine; see ``LookEvents``.

    Args:
        engine: shared by all visitors.
        references: the example photographs.
        files: the owner's feature files.
    """

    def __init__(
        self, engine: Engine, references: Sequence[Path] = (), files: Sequence[OwnersFile] = ()
    ) -> None:
        self.engine = self.lens = engine
        self.examples, self.files = Examples(references), tuple(files)

    def refresh(
        self, front: bool, shown: Shown | None, photo: Any, model: str, also: list[str] | None,
        where: str | None, among: str | None, progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[tuple[Any, ...]]:  # fmt: skip
        """Like ``run``, where the tab is in front and the question is new to it.

        What must be downloaded is announced, and left to the button.
        """
        if not front or not isinstance(photo, Image.Image):
            yield updates()
            return
        hint, run = self.announce(shown, model, also, among)
        question = view.asked(among or view.EXAMPLES, where or "", model, also) if not hint else ()
        if hint:
            yield updates(hint=hint, run=run)
        elif shown is not None and (shown.asked, shown.photo) == (question, fingerprint(photo)):
            # The hint may still be of what was asked in between.
            yield updates(hint=_remark(self._plan(model, also, among), model), run=run)
        else:
            yield from self.run(photo, model, also, where, among, progress)

    def announce(
        self, shown: Shown | None, model: str, also: list[str] | None, among: str | None
    ) -> tuple[str, Any]:
        """Say what must be downloaded before it is; outputs: hint, run."""
        try:
            missing = handlers.must_download(self.engine, self._plan(model, also, among).models)
            sizes = [f"{title(name)} ({handlers.download_size(name)})" for name in missing]
        except MscnnError as error:
            return str(error), gr.skip()
        if not sizes:
            return "", gr.update(value=RUN)
        hint = f"Press the button to start: it downloads {', '.join(sizes)} first."
        hint += "" if shown is None else _STALE
        return hint, gr.update(value=f"Download and {RUN[0].lower()}{RUN[1:]}")

    def run(
        self, photo: Any, model: str, also: list[str] | None, where: str | None,
        among: str | None, progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[tuple[Any, ...]]:  # fmt: skip
        """Outputs: ``RESULTS``."""
        image = handlers.need_photo(photo)
        yield updates(run=gr.update(interactive=False))
        try:
            found = self._found(image, model, also, where, among, progress)
        except Exception as error:
            said = str(error) if isinstance(error, MscnnError) else ""
            yield updates(hint=said, run=gr.update(interactive=True))
            raise
        yield updates(**found)

    def _found(
        self, image: Image.Image, model: str, also: list[str] | None, where: str | None,
        among: str | None, progress: gr.Progress,
    ) -> dict[str, Any]:  # fmt: skip
        plan = self._plan(model, also, among)
        networks = self._networks(plan, progress)
        choices, chosen = self._places(plan, networks[0], where)
        photos = plan.file or self.examples
        answers = [_answer(photos, network, Where.of(chosen), image) for network in networks]
        own = small_picture(image)
        of_file = plan.file is not None
        return {
            "state": Shown(view.asked(plan.among, chosen, model, also), own.fingerprint),
            "hint": _remark(plan, model),
            "run": gr.update(interactive=True, value=RUN),
            "also": gr.update(interactive=not of_file),
            "where": gr.update(choices=choices, value=chosen, interactive=not of_file),
            "cards": view.grid_html(own, answers),
            "table": view.rows(answers),
        }

    def _plan(self, model: str, also: Sequence[str] | None, among: str | None) -> _Plan:
        """Settle what is searched and by whom; of a file its own model is asked, alone.

        Raises:
            OptionError: there is no such set, or too many models were chosen.
        """
        chosen = among or view.EXAMPLES
        if chosen == view.EXAMPLES:
            if not self.examples.names:
                raise OptionError(
                    "There are no example photographs on this machine; start the page with "
                    "'mscnn serve --features FILE=FOLDER' to search photographs of yours."
                )
            return _Plan(chosen, None, tuple(models_of(model, also)))
        known = {str(number): file for number, file in enumerate(self.files)}
        if chosen not in known:
            raise OptionError("There is no such set of photographs; choose one from the list.")
        return _Plan(chosen, known[chosen], self._models_of(known[chosen]))

    def _models_of(self, file: OwnersFile) -> tuple[str, ...]:
        """The models that a file may be of, best guess first: the owner's folders, then its name.

        A model that would have to be downloaded first is no guess beside a folder.

        Raises:
            OptionError: none of that name is offered here.
        """
        session, own = self.engine.session, file.head.model.removeprefix("./")
        found = tuple(n for n in session.offered() if Path(session.place(n)).name == own)
        try:
            missing = handlers.must_download(self.engine, [file.head.model])
        except (UnknownModelError, UnsupportedModelError, WeightsError) as error:
            if found:
                return found
            raise OptionError(
                f"{file.name} holds features of {file.head.model}, which is not offered here; "
                "start the page with --models and that model's folder."
            ) from error
        return found if found and missing else (*found, file.head.model)

    def _networks(self, plan: _Plan, progress: gr.Progress) -> list[Network]:
        """Load the models, with a progress bar while weights are downloaded.

        Raises:
            OptionError: no model has the weights that a file was made with.
        """

        def load(name: str) -> Network:
            def show(done: int, total: int | None) -> None:
                steps = (done // 10**6, None if total is None else total // 10**6)
                progress(steps, desc=f"Downloading {name}", unit="MB")

            return self.engine.session.network(name, on_progress=show)

        if plan.file is None:
            return [load(name) for name in plan.models]
        head, loaded = plan.file.head, []
        for name in plan.models:
            loaded.append(load(name))
            if loaded[-1].weights.sha256 == head.weights_sha256:
                return loaded[-1:]
        raise OptionError(
            f"{plan.file.name} was made with weights {head.weights_sha256[:12]} of {head.model}, "
            f"but here it has {loaded[0].weights.sha256[:12]}, and features of different weights "
            "cannot be compared; make the file anew with 'mscnn features'."
        )

    def _places(
        self, plan: _Plan, network: Network, where: str | None
    ) -> tuple[list[tuple[str, str]], str]:
        """The places to choose from and the chosen one; the pooled features where it is gone."""
        if plan.file is not None:
            own = Where.of_file(plan.file.head)
            return [(f"As in the file: {view.where_text(own)}", str(own))], str(own)
        try:
            known = fields.known(network.name) or self.lens.receptive_field(plan.models[0])
        except UnsupportedModelError:
            known = None
        choices = view.where_choices(known, len(network.stages))
        kept = where if where in {value for _, value in choices} else None
        return choices, kept or view.POOLED[1]


def _remark(plan: _Plan, model: str) -> str:
    return "" if plan.file is None else view.other_model(plan.file, model)


def _answer(photos: PhotoSet, network: Network, where: Where, image: Image.Image) -> Answer:
    """Search; of models side by side, one that lacks the place says so in its own part."""
    try:
        return search(photos, network, where, image)
    except (UnknownLayerError, UnsupportedModelError, OptionError) as error:
        return Answer(network.name, where, note=str(error))


def updates(**changed: Any) -> tuple[Any, ...]:
    """Put updates in the order of ``RESULTS``; what is not named stays as it is."""
    return tuple(changed.get(name, gr.skip()) for name in RESULTS)
