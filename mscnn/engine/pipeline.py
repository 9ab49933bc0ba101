"""The use cases, where the page, the command line, HTTP and Python meet."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import torch
from timm.data import resolve_model_data_config
from torch.utils._python_dispatch import TorchDispatchMode

from mscnn.engine.network import TOP1, IsCancelled, Network, Photo, photo_name
from mscnn.engine.session import Session
from mscnn.errors import BoxError, Cancelled, ImageError, MscnnError, OptionError, UnknownClassError
from mscnn.maps.agreement import all_agreements, density
from mscnn.maps.methods import Call
from mscnn.models import registry
from mscnn.models.architecture import check_supported, from_name, on_meta
from mscnn.models.labels import LabelSet, folded, short
from mscnn.models.manifest import load_manifest
from mscnn.models.sources import check_names, is_path, shown_name
from mscnn.photos.imaging import load_photo
from mscnn.results.cuts import Cap, CapCurve
from mscnn.results.explanation import ComparedModel, Comparison, ModelFacts
from mscnn.results.receptive_field import ReceptiveField
from mscnn.results.scales import PhotoBox, Sweep, SweepCurve
from mscnn.scales import receptive_field as fields
from mscnn.scales import topology
from mscnn.scales.canvas import whole
from mscnn.scales.sweep import FACTORS, Plan

MIN_COMPARED, MAX_COMPARED = 2, 6
MAX_SWEPT = 4
TIMED_FORWARDS = 10
SweepProgress = Callable[[str, int, int], None]
"""Called with (model, sizes done, sizes in total)."""
T = TypeVar("T")
N = TypeVar("N", ComparedModel, SweepCurve, CapCurve)


class Engine:
    """What the front ends ask of several networks, or of one without its weights."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def receptive_field(self, model: str) -> ReceptiveField:
        """Theoretical receptive fields; of a registry model at once, and never by its weights."""
        if (found := fields.known(model)) is not None:
            return found
        if is_path(self.session.place(model)):  # a folder that training wrote
            return self.session.network(model).receptive_field()
        blueprint = from_name(model)
        stages = check_supported(blueprint)
        structure = blueprint.build(device="meta")
        px = int(resolve_model_data_config(structure)["input_size"][-1])
        graph = topology.trace(structure, stages, px)
        return fields.fields(graph, model=blueprint.name, input_px=px)

    def compare(
        self, photo: Photo, models: Sequence[str], *, layer: str = "last", **options: Any
    ) -> Comparison:
        """Run the same photo and class through several models; see ``compare_steps``."""
        steps = list(self.compare_steps(photo, models, layer=layer, **options))
        return summarise(steps[-1][0], layer, [column for _, column in steps])

    def compare_steps(
        self,
        photo: Photo,
        models: Sequence[str],
        *,
        target: str | int = "top1",
        layer: str = "last",
        name: str | None = None,
        is_cancelled: IsCancelled | None = None,
    ) -> Iterator[tuple[str, ComparedModel]]:
        """Compare one model after the other: yields the class's label and a column.

        A model that cannot be used gives a column with a note; the others go on. ``"top1"`` is the
        best class of the first of the two to six models; ``layer`` is ``"last"``, a stage number,
        or a module name that all have. ``is_cancelled`` is polled before each model,
        and during a download. Raises ``OptionError``: too few or many models, or one named twice;
        ``ImageError``; ``Cancelled``.
        """
        check_models(models, MIN_COMPARED, MAX_COMPARED, " to compare")
        name = photo_name(photo) if name is None else name
        photo = load_photo(photo)  # once: it may be large, and a bad photo is no model's fault

        def column(network: Network, one: OneClass) -> tuple[ComparedModel, int | None]:
            made = self._named(compared(network, photo, one, [layer], name), one.model)
            return made, made.cam.target if made.cam else None

        def failed(model: str, error: MscnnError, _: OneClass) -> ComparedModel:
            return ComparedModel(shown_name(model), None, None, None, str(error))

        one = OneClass(target)
        for made in self._each(models, one, Call(None, is_cancelled), column, failed):
            yield one.label, made

    def sweep(self, photo: Photo, models: Sequence[str], **options: Any) -> Sweep:
        """Like ``sweep_steps``, all at once; ``Cancelled`` only before anything was done."""
        steps = list(self.sweep_steps(photo, models, **options))
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
        """Show one object at many sizes to one to four models: yields what is there after each.

        For the arguments see ``Network.sweep``. Raises ``OptionError``: no model, more than four,
        or one named twice; ``BoxError``, ``ImageError``, ``UnknownClassError``.
        """
        check_models(models, 1, MAX_SWEPT)
        image = load_photo(photo)
        plan = Plan(factors=tuple(factors), canvas=canvas, box=box)
        call = Call(None, is_cancelled)

        def curve(network: Network, one: OneClass) -> tuple[SweepCurve, int | None]:
            report = on_progress and partial(on_progress, one.model)
            made = network.sweep(
                image, target=one.of(network), box=box, factors=factors, canvas=canvas,
                on_progress=report, is_cancelled=is_cancelled,
            )  # fmt: skip
            made = self._named(made, one.model)
            return made, made.target

        def failed(model: str, error: MscnnError, _: OneClass) -> SweepCurve:
            # Not the model's fault: no other one does with this photo, box or size either.
            if len(models) == 1 or isinstance(error, (BoxError, ImageError, OptionError)):
                raise error
            return SweepCurve(shown_name(model), None, "", (), None, None, str(error))

        done = Sweep("", plan.factors, canvas, box or whole(), (), partial=True)
        with suppress(Cancelled):
            for made in self._each(models, OneClass(target), call, curve, failed):
                curves = (*done.curves, made)
                stopped = call.cancelled or len(curves) < len(models)
                label = done.label or made.label
                done = replace(done, label=label, curves=curves, partial=stopped)
                yield done

    def cap_steps(
        self,
        photo: Photo,
        models: Sequence[str],
        *,
        target: str | int = "top1",
        fill: str = "mean",
        draws: int = 0,
        on_progress: SweepProgress | None = None,
        is_cancelled: IsCancelled | None = None,
        **options: Any,
    ) -> Iterator[Cap]:
        """Cap the receptive fields of one to four models: yields what is there after each.

        ``on_progress`` is called with (model, cuts done, in total); ``options`` are those of
        ``Network.cap``. Raises ``OptionError``: no model, more than four, or one named twice;
        ``ImageError``, ``UnknownClassError``.
        """
        check_models(models, 1, MAX_SWEPT)
        image = load_photo(photo)
        call = Call(None, is_cancelled)

        def curve(network: Network, one: OneClass) -> tuple[CapCurve, int | None]:
            made = network.cap(
                image, target=one.of(network), fill=fill, draws=draws,
                on_progress=on_progress and partial(on_progress, one.model),
                is_cancelled=is_cancelled, **options,
            )  # fmt: skip
            made = self._named(made, one.model)
            return made, made.target

        def failed(model: str, error: MscnnError, _: OneClass) -> CapCurve:
            if len(models) == 1 or isinstance(error, (ImageError, OptionError)):
                raise error
            return CapCurve.without(shown_name(model), str(error))

        one, done = OneClass(target), Cap("", fill, draws, (), partial=True)
        with suppress(Cancelled):
            for made in self._each(models, one, call, curve, failed):
                curves = (*done.curves, made)
                done = Cap(one.label, fill, draws, curves, partial=len(curves) < len(models))
                yield done

    def _named(self, made: N, model: str) -> N:
        """Call a result as the visitor does: two of the owner's folders may have one name."""
        return replace(made, model=model) if model in self.session.offered() else made

    def _each(
        self,
        models: Sequence[str],
        one: OneClass,
        call: Call,
        work: Callable[[Network, OneClass], tuple[T, int | None]],
        failed: Callable[[str, MscnnError, OneClass], T],
    ) -> Iterator[T]:
        """Ask each model for the same class, and go on where one fails.

        Args:
            models, one: the class is settled by the first model that gives its index.
            call: Stop raises ``Cancelled`` before each model, and during a download.
            work: from a network and the class to a result and the class's index, if it knows it.
            failed: from a model's name and what went wrong to a result; or raises.
        """
        for model in models:
            call.check("Stopped; the models that were done are kept.")
            try:
                network = self.session.network(model, is_cancelled=call.is_cancelled)
                one.model = model
                result, index = work(network, one)
                one.settle(network, index)
            except Cancelled:
                raise
            except MscnnError as error:
                result = failed(model, error, one)
            yield result


class OneClass:
    """A class that the first model to know it settles, and that others are asked for by name."""

    def __init__(self, target: str | int) -> None:
        self.target = target
        self.settled: tuple[LabelSet, int] | None = None
        self.label = "" if target in TOP1 else str(target)
        self.model = ""

    def of(self, network: Network) -> str | int:
        """What to ask this network for; raises ``UnknownClassError`` where it has no such class."""
        return self.target if self.settled is None else same_class(*self.settled, network.labels)

    def settle(self, network: Network, index: int | None) -> None:
        """Note that this network knows the class, by this index."""
        if self.settled is None and index is not None:
            self.settled = (network.labels, index)
            self.label = network.labels.display(index)


def same_class(known: LabelSet, index: int, labels: LabelSet) -> int:
    """Find the class ``index`` of ``known`` among the classes of another model.

    By the WordNet id where both have these, or by index in the same list of classes, else by the
    full name, first to the letter, else by the first synonym; part of a name does not do, unlike in
    a name that a user types: "tiger" is not "tiger shark". Nor does what two classes of ``known``
    are both called: ImageNet's Cardigan, a corgi, is no cardigan, and of its two cranes only one is
    a machine. Raises ``UnknownClassError``: no class, or more than one, has this name, or those of
    one network are only numbered.
    """
    known.check_comparable(labels)
    if known.wnids and labels.wnids:
        if (wnid := known.wnids[index]) in labels.wnids:
            return labels.wnids.index(wnid)
    elif labels.names == known.names:
        return index
    else:
        wanted = known.names[index]
        for alike in (str, folded, lambda name: folded(short(name))):
            own = [name for name in known.names if alike(name) == alike(wanted)]
            found = [i for i, name in enumerate(labels.names) if alike(name) == alike(wanted)]
            if len(found) == len(own) == 1:
                return found[0]
    raise UnknownClassError(
        f"This model has no class {known.display(index)!r} of its own, so there is no map of it."
    )


def summarise(label: str, layer: str, columns: Sequence[ComparedModel]) -> Comparison:
    """Put columns beside one another: agreement of each pair, and one colour scale."""
    maps = [(column.model, cam) for column in columns if (cam := column.cam) is not None]
    top = max((float(density(cam).max()) for _, cam in maps), default=0.0) or 1.0
    hint = registry.fair_pair_hint([column.model for column in columns])
    return Comparison(label, layer, tuple(columns), all_agreements(maps), top, hint)


def check_models(models: Sequence[str], least: int, most: int, purpose: str = "") -> None:
    """Raise ``OptionError`` for too few or many models, or one named twice, or two of one name."""
    if not least <= len(models) <= most:
        raise OptionError(f"{len(models)} model(s) were chosen; choose {least} to {most}{purpose}.")
    repeated = registry.first_repeated(models)
    if repeated is not None:
        raise OptionError(f"{repeated} was chosen twice; choose different models{purpose}.")
    check_names(models)


def compared(
    network: Network, photo: Photo, one: OneClass, layers: Sequence[str], name: str
) -> ComparedModel:
    """Explain the class with one network, and time it; without maps where it lacks the class.

    Each of ``layers`` gets a map; the first one's is the column's. ``name`` is the photo's in the
    result.
    """
    note = ""
    explain = partial(network.explain, photo, layers=layers, name=name)
    try:
        explanation = explain(targets=[one.of(network)])
    except UnknownClassError as error:
        note, explanation = str(error), replace(explain(), targets=(), maps=())
    times = [1000 * seconds for seconds in network._forward_times(photo, TIMED_FORWARDS)]
    reach = min(times), max(times)
    threads = torch.get_num_threads() if explanation.prediction.device == "cpu" else None
    facts = model_facts(network)
    return ComparedModel(network.name, explanation, facts, reach[0], note, reach, threads)


def model_facts(network: Network) -> ModelFacts:
    """Size, cost, and published accuracy (for bundled weights: ours) of a loaded network."""
    spec = network.spec
    top1, source = (spec.top1, spec.top1_source) if spec else (None, "")
    if network.weights.kind == "bundled":
        measured = load_manifest()[network.name].accuracy
        if measured is not None:
            top1 = float(measured["top1"])
            source = f"measured by this project on {measured['set']}"
    params = sum(p.numel() for p in network.model.parameters())
    gmacs = spec.gmacs if spec else counted_gmacs(network)
    return ModelFacts(params, gmacs, network.loaded.data_config["input_size"][-1], top1, source)


class _MacCounter(TorchDispatchMode):
    """Adds up the multiply-accumulates of convolutions and matrix products in this thread.

    ``torch.utils.flop_counter`` counts the same but registers hooks on every module of the
    process, so it would listen to the other users' requests too.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.macs = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operator and count it."""
        out = func(*args, **(kwargs or {}))
        aten, packet = torch.ops.aten, func.overloadpacket
        if packet is aten.convolution:
            # weight: (out channels, in channels of one group, height, width)
            self.macs += out.numel() * math.prod(args[1].shape[1:])
        elif packet in (aten.mm, aten.addmm, aten.bmm, aten.baddbmm):
            self.macs += out.numel() * args[-1].shape[-2]
        return out


def counted_gmacs(network: Network) -> float:
    """Multiply-accumulates (10^9) of one forward, counted over convolutions and linear layers."""
    # Between two requests, so that the copy carries no request's hooks.
    model, _ = network.guarded(lambda: on_meta(network.model))
    dtype = next(model.parameters()).dtype
    x = torch.zeros(1, *network.loaded.data_config["input_size"], device="meta", dtype=dtype)
    with _MacCounter() as counter, torch.no_grad():
        model(x)
    return float(counter.macs / 1e9)
