"""The use cases, where the page, the command line and HTTP meet."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mscnn.engine.network import IsCancelled, Network, Photo, Progress, photo_name
from mscnn.engine.session import Session
from mscnn.errors import Cancelled, MscnnError, OptionError, UnknownClassError
from mscnn.maps.agreement import all_agreements, density
from mscnn.models import registry
from mscnn.models.labels import LabelSet, short
from mscnn.models.manifest import load_manifest
from mscnn.models.sources import shown_name
from mscnn.photos.imaging import load_photo
from mscnn.results.explanation import ComparedModel, Comparison, Explanation, ModelFacts, Prediction

MIN_COMPARED, MAX_COMPARED = 2, 6
TOP1 = ("top1", "top-1", "")


class Engine:
    """Everything the front ends ask for, on one session."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def predict(
        self,
        photo: Photo,
        model: str,
        *,
        weights: str | Path | None = None,
        top_k: int = 5,
        name: str | None = None,
    ) -> Prediction:
        """Classify a photo; see ``Network.predict``."""
        return self.session.network(model, weights).predict(photo, top_k=top_k, name=name)

    def explain(
        self,
        photo: Photo,
        model: str,
        *,
        weights: str | Path | None = None,
        layers: Sequence[str] | str | None = None,
        targets: Sequence[str | int] | str | int = "top1",
        method: str = "gradcam",
        name: str | None = None,
        on_progress: Progress | None = None,
        is_cancelled: IsCancelled | None = None,
    ) -> Explanation:
        """Classify and explain a photo; see ``Network.explain``."""
        network = self.session.network(model, weights, is_cancelled=is_cancelled)
        return network.explain(
            photo,
            layers=layers,
            targets=targets,
            method=method,
            name=name,
            on_progress=on_progress,
            is_cancelled=is_cancelled,
        )

    def compare(
        self,
        photo: Photo,
        models: Sequence[str],
        *,
        target: str | int = "top1",
        layer: str = "last",
        name: str | None = None,
        is_cancelled: IsCancelled | None = None,
    ) -> Comparison:
        """Run the same photo and class through several models.

        Args:
            photo: see ``Network.predict``.
            models: two to six model names.
            target: a class; ``"top1"`` is the first model's best class, for all of them.
            layer: ``"last"``, a stage number, or a module name that all models have.
            name: what to call the photo in the result.
            is_cancelled: polled before each model, and during a download.

        Raises:
            ImageError: the photo cannot be read.
            OptionError: fewer than two or more than six models, or one named twice.
            Cancelled: stopped between two models.
        """
        steps = list(
            self.compare_steps(
                photo, models, target=target, layer=layer, name=name, is_cancelled=is_cancelled
            )
        )
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
        """Like ``compare``, one model at a time: yields the class's label and a column.

        A model that cannot be used gives a column with a note; the others go on.

        Raises:
            ImageError, OptionError, Cancelled: see ``compare``.
        """
        _check_models(models)
        name = photo_name(photo) if name is None else name
        photo = load_photo(photo)  # once: it may be large, and a bad photo is no model's fault
        settled: tuple[LabelSet, int] | None = None
        label = "" if target in TOP1 else str(target)
        for model in models:
            if is_cancelled is not None and is_cancelled():
                raise Cancelled("Stopped; the models that were done are kept.")
            try:
                network = self.session.network(model, is_cancelled=is_cancelled)
                column = _column(network, photo, target, settled, layer, name)
                if settled is None and column.cam is not None:
                    settled = (network.labels, column.cam.target)
                    label = network.labels.display(column.cam.target)
            except Cancelled:
                raise
            except MscnnError as error:
                column = ComparedModel(shown_name(model), None, None, None, str(error))
            yield label, column


def same_class(known: LabelSet, index: int, labels: LabelSet) -> int:
    """Find the class ``index`` of ``known`` among the classes of another model.

    By index in the same list of classes, else by the full name, else by the first synonym. Unlike
    a name that a user types, part of a name does not do: "tiger" is no tiger shark.

    Raises:
        UnknownClassError: no class, or more than one, has this name.
    """
    if labels.names == known.names:
        return index
    wanted = known.names[index]
    for alike in (str.casefold, lambda name: short(name).casefold()):
        found = [i for i, name in enumerate(labels.names) if alike(name) == alike(wanted)]
        if len(found) == 1:
            return found[0]
    raise UnknownClassError(
        f"This model has no class {known.display(index)!r} of its own, so there is no map of it."
    )


def summarise(label: str, layer: str, columns: Sequence[ComparedModel]) -> Comparison:
    """Put columns beside one another: agreement of each pair, and one colour scale."""
    maps = [(column.model, column.cam) for column in columns]
    present = [(model, cam) for model, cam in maps if cam is not None]
    tops = [float(density(cam).max()) for _, cam in present]
    return Comparison(
        label=label,
        layer=layer,
        columns=tuple(columns),
        agreements=all_agreements(present),
        scale_max=max(tops, default=0.0) or 1.0,
        hint=registry.fair_pair_hint([column.model for column in columns]),
    )


def _check_models(models: Sequence[str]) -> None:
    if not MIN_COMPARED <= len(models) <= MAX_COMPARED:
        raise OptionError(
            f"{len(models)} model(s) were chosen; choose {MIN_COMPARED} to {MAX_COMPARED} to "
            "compare."
        )
    repeated = registry.first_repeated(models)
    if repeated is not None:
        raise OptionError(f"{repeated} was chosen twice; choose different models to compare.")


def _column(
    network: Network,
    photo: Photo,
    target: str | int,
    settled: tuple[LabelSet, int] | None,
    layer: str,
    name: str,
) -> ComparedModel:
    note = ""
    try:
        if settled is not None:
            target = same_class(*settled, network.labels)
        explanation = network.explain(photo, layers=layer, targets=[target], name=name)
    except UnknownClassError as error:
        note = str(error)
        explanation = network.explain(photo, layers=layer, targets="top1", name=name)
        explanation = dataclasses.replace(explanation, targets=(), maps=())
    latency = 1000 * network.seconds_per_forward(photo)
    return ComparedModel(network.name, explanation, model_facts(network), latency, note)


def model_facts(network: Network) -> ModelFacts:
    """Size, cost, and published accuracy (for bundled weights: ours) of a loaded network."""
    spec = network.spec
    top1, source = (spec.top1, spec.top1_source) if spec else (None, "")
    if network.weights.kind == "bundled":
        measured = load_manifest()[network.name].accuracy
        if measured is not None:
            top1 = float(measured["top1"])
            source = f"measured by this project on {measured['set']}"
    return ModelFacts(
        params=sum(p.numel() for p in network.model.parameters()),
        gmacs=spec.gmacs if spec else counted_gmacs(network),
        input_px=network.loaded.data_config["input_size"][-1],
        top1=top1,
        top1_source=source,
    )


class _MacCounter(TorchDispatchMode):
    """Adds up the multiply-accumulates of convolutions and matrix products in this thread.

    ``torch.utils.flop_counter`` counts the same but registers hooks on every module of the
    process, so it would listen to the other users' requests too.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.macs: int = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run one operator and count it."""
        out = func(*args, **(kwargs or {}))
        aten, packet = torch.ops.aten, getattr(func, "overloadpacket", None)
        if packet is aten.convolution:
            # weight: (out channels, in channels of one group, height, width)
            self.macs += out.numel() * math.prod(args[1].shape[1:])
        elif packet in (aten.mm, aten.addmm, aten.bmm, aten.baddbmm):
            self.macs += out.numel() * args[-1].shape[-2]
        return out


def counted_gmacs(network: Network) -> float:
    """Multiply-accumulates (10^9) of one forward, counted over convolutions and linear layers."""
    model = network.copy_of_model().to("meta")
    dtype = next(model.parameters()).dtype
    x = torch.zeros(1, *network.loaded.data_config["input_size"], device="meta", dtype=dtype)
    with _MacCounter() as counter, torch.no_grad():
        model(x)
    return float(counter.macs / 1e9)
