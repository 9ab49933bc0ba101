"""The use cases of the multi-scale lens over several models, where page, CLI and HTTP meet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from timm.data import resolve_model_data_config

from mscnn.engine.network import IsCancelled, Network, Photo
from mscnn.engine.pipeline import same_class
from mscnn.engine.session import Session
from mscnn.errors import BoxError, Cancelled, ImageError, MscnnError, OptionError, UnknownClassError
from mscnn.models import registry
from mscnn.models.architecture import check_supported, from_name
from mscnn.models.labels import LabelSet
from mscnn.models.sources import is_path, shown_name
from mscnn.photos.imaging import load_photo
from mscnn.results.scales import (
    AttentionReport,
    EffectiveField,
    PhotoBox,
    ScaleReport,
    Sweep,
    SweepCurve,
)
from mscnn.scales import receptive_field as fields
from mscnn.scales import topology
from mscnn.scales.receptive_field import ReceptiveField
from mscnn.scales.sweep import FACTORS, Plan, whole

MAX_SWEPT = 4
SweepProgress = Callable[[str, int, int], None]
"""Called with (model, sizes done, sizes in total)."""


class Lens:
    """Scales, receptive fields and zoom sweeps, on one session."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def receptive_field(self, model: str) -> ReceptiveField:
        """Theoretical receptive fields; of a registry model at once, and never by its weights.

        Raises:
            UnknownModelError, UnsupportedModelError.
        """
        spec = registry.find(model)
        found = fields.known(spec.name if spec else model)
        if found is not None:
            return found
        if is_path(self.session.place(model)):  # a folder that training wrote
            return self._network(model).receptive_field()
        blueprint = from_name(model)
        stages = check_supported(blueprint)
        structure = blueprint.build(device="meta")
        px = int(resolve_model_data_config(structure)["input_size"][-1])
        return fields.fields(topology.trace(structure, stages), model=blueprint.name, input_px=px)

    def scales(
        self, photo: Photo, model: str, *, target: str | int = "top1", name: str | None = None
    ) -> ScaleReport:
        """Scale attribution of one model; see ``Network.scales``."""
        return self._network(model).scales(photo, target=target, name=name)

    def scales_of(
        self,
        photo: Photo,
        models: Sequence[str],
        *,
        target: str | int = "top1",
        on_unknown: Callable[[str, str], None] | None = None,
    ) -> list[ScaleReport]:
        """The same class through several models; ``"top1"`` is the first model's best class.

        Args:
            photo: see ``Photo``.
            models: the first one decides which class is meant.
            target: a class (index or name) of the first model, or ``"top1"``.
            on_unknown: called with the name and a sentence for each other model that does not
                know the class, which is then left out; None for an error.

        Raises:
            UnknownClassError: a model does not know the class, see ``on_unknown``.
        """
        image, reports = load_photo(photo), []
        settled: tuple[LabelSet, int] | None = None
        for model in models:
            network = self._network(model)
            try:
                chosen = target if settled is None else same_class(*settled, network.labels)
            except UnknownClassError as error:
                if on_unknown is None:
                    raise UnknownClassError(f"{model}: {error}") from error
                on_unknown(model, str(error))
                continue
            reports.append(network.scales(image, target=chosen, name=""))
            settled = settled or (network.labels, reports[0].target.index)
        return reports

    def split_attention(
        self,
        photo: Photo,
        model: str,
        *,
        target: str | int = "top1",
        references: Sequence[Photo] = (),
    ) -> AttentionReport:
        """Split attention of a ResNeSt; see ``Network.split_attention``."""
        return self._network(model).split_attention(photo, target=target, references=references)

    def effective_receptive_field(
        self,
        photo: Photo | Sequence[Photo],
        model: str,
        *,
        point: tuple[float, float] = (0.5, 0.5),
        layer: str = "last",
        split: int | None = None,
        trained: bool = True,
    ) -> EffectiveField:
        """What a unit uses of its input; see ``Network.effective_receptive_field``."""
        return self._network(model).effective_receptive_field(
            photo, point=point, layer=layer, split=split, trained=trained
        )

    def sweep(
        self,
        photo: Photo,
        models: Sequence[str],
        *,
        target: str | int = "top1",
        box: PhotoBox | None = None,
        factors: Sequence[float] = FACTORS,
        canvas: str = "mean",
        on_progress: SweepProgress | None = None,
        is_cancelled: IsCancelled | None = None,
    ) -> Sweep:
        """Show one object at many sizes to one to four models; what was done before Stop is kept.

        Raises:
            OptionError: no model, more than four, or one named twice.
            BoxError, ImageError, UnknownClassError.
            Cancelled: stopped before anything was done.
        """
        steps = list(
            self.sweep_steps(
                photo,
                models,
                target=target,
                box=box,
                factors=factors,
                canvas=canvas,
                on_progress=on_progress,
                is_cancelled=is_cancelled,
            )
        )
        if not steps:
            raise Cancelled("Stopped before the first model was done.")
        return steps[-1]

    def sweep_steps(
        self,
        photo: Photo,
        models: Sequence[str],
        *,
        target: str | int = "top1",
        box: PhotoBox | None = None,
        factors: Sequence[float] = FACTORS,
        canvas: str = "mean",
        on_progress: SweepProgress | None = None,
        is_cancelled: IsCancelled | None = None,
    ) -> Iterator[Sweep]:
        """Like ``sweep``, yielding what is there after each model."""
        _check_swept(models)
        image = load_photo(photo)
        settled: tuple[LabelSet, int] | None = None
        plan = Plan(factors=tuple(factors), canvas=canvas, box=box)
        done = Sweep("", plan.factors, canvas, box or whole(), (), partial=True)
        for number, model in enumerate(models, 1):
            if is_cancelled is not None and is_cancelled():
                return
            try:
                network = self._network(model, is_cancelled)
                curve = network.sweep(
                    image,
                    target=target if settled is None else same_class(*settled, network.labels),
                    box=box,
                    factors=factors,
                    canvas=canvas,
                    on_progress=_named(on_progress, model),
                    is_cancelled=is_cancelled,
                )
            except Cancelled:
                return
            except MscnnError as error:
                if len(models) == 1 or not _is_the_models_fault(error):
                    raise
                curve = SweepCurve(shown_name(model), None, "", (), None, None, str(error))
            if settled is None and curve.target is not None:
                settled = (network.labels, curve.target)
                done = replace(done, label=curve.label)
            stopped = is_cancelled is not None and is_cancelled()
            done = replace(
                done,
                curves=(*done.curves, curve),
                partial=stopped or number < len(models),
            )
            yield done

    def _network(self, model: str, is_cancelled: IsCancelled | None = None) -> Network:
        return self.session.network(model, is_cancelled=is_cancelled)


def _is_the_models_fault(error: MscnnError) -> bool:
    """Whether other models may still do with the same photo, box and sizes."""
    return not isinstance(error, (BoxError, ImageError, OptionError))


def _named(report: SweepProgress | None, model: str) -> Callable[[int, int], None] | None:
    if report is None:
        return None
    return lambda done, total: report(model, done, total)


def _check_swept(models: Sequence[str]) -> None:
    if not 1 <= len(models) <= MAX_SWEPT:
        raise OptionError(f"{len(models)} model(s) were chosen; choose 1 to {MAX_SWEPT}.")
    repeated = registry.first_repeated(models)
    if repeated is not None:
        raise OptionError(f"{repeated} was chosen twice; choose different models.")
