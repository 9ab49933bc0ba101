"""The network at the start of a run: fresh, or with weights that were trained before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from torch import nn

import mscnn.starters  # noqa: F401 - registers the starters with timm
from mscnn.data.parts import composed
from mscnn.errors import UnsupportedModelError, WeightsError
from mscnn.models import registry
from mscnn.models.architecture import unknown_model
from mscnn.models.fitting import classifiers
from mscnn.models.hub import OnProgress
from mscnn.models.labels import are_wnids, wordnet_lemmas
from mscnn.models.loading import load_model
from mscnn.models.registry import find, without_prefix
from mscnn.models.sources import shown_name


@dataclass(frozen=True)
class StartingPoint:
    """A network before its first step, with the classes of the data; fresh where the rest is ""."""

    model: nn.Module  # all of its parameters have gradients
    architecture: str  # timm's name
    given: str  # the model that the user named; of a folder the last part of its path
    source: str = ""  # how a user would name the weights
    sha256: str = ""  # of their file
    licence: str = ""  # its identifier, where known
    weights: str = ""  # name of the file or folder of weights, where one was given
    notice: str = ""  # what else is in the file of weights


def fresh(architecture: str, classes: int, seed: int) -> StartingPoint:
    """Build an architecture with random weights; ``UnknownModelError`` where timm has none."""
    name = without_prefix(architecture)
    if not timm.is_model(name) and (spec := find(name)):  # in another case
        name = spec.name
    if not timm.is_model(name):
        raise unknown_model(architecture)
    torch.manual_seed(seed)
    model = timm.create_model(name, num_classes=classes)
    return StartingPoint(model, name, name)


def pretrained(
    name: str,
    weights: Path | None,
    classes: Sequence[str],
    seed: int,
    *,
    on_progress: OnProgress | None = None,
) -> StartingPoint:
    """Load a network as ``load_model`` does, and give it a fresh classifier for other classes.

    A network of exactly these ``classes``, in this order, keeps its own and goes on learning.
    Raises ``WeightsError`` also for weights that are not finite: no learning rate mends these.
    """
    loaded = load_model(name, weights, on_progress=on_progress)
    model = loaded.model
    torch.manual_seed(seed)
    # A network's labels are words where its folder has WordNet ids.
    names = wordnet_lemmas(classes) if are_wnids(classes) else classes
    if [*map(composed, names)] == [*map(composed, loaded.labels.names)]:
        kept = (
            f"{shown_name(name)} knows these classes and keeps its classifier. Photographs that it "
            "has learnt from may be among those to measure with, and flatter the result."
        )
    else:
        kept = ""
        model.reset_classifier(len(classes))  # type: ignore[operator]  # nn.Module
    spoiled = [name for name, t in model.state_dict().items() if not bool(t.isfinite().all())]
    if spoiled:
        raise WeightsError(
            f"The weights of {loaded.weights.source} hold numbers that are not finite, in "
            f"{len(spoiled)} tensor(s) such as {spoiled[0]}; start from other weights."
        )
    cfg = model.pretrained_cfg
    licence = str(cfg.get("license") or "")  # type: ignore[operator, union-attr]
    if loaded.weights.kind == "file":  # timm's is that of its own weights
        licence = ""
    elif loaded.weights.kind != "folder" and (spec := registry.find(loaded.name)):
        licence = spec.licence.lower()  # as the hub writes it; timm lacks that of the Res2Nets
    return StartingPoint(
        model.requires_grad_(True),
        architecture=str(cfg["architecture"]),  # type: ignore[index]
        given=shown_name(name),
        source=loaded.weights.source,
        sha256=loaded.weights.sha256,
        weights=weights.name if weights is not None else "",
        notice=" ".join(filter(None, (loaded.notices[0], kept))),
        licence=licence,
    )


def classifier_modules(model: nn.Module) -> tuple[nn.Module, ...]:
    """Return timm's classifier layers; ``UnsupportedModelError`` where there are none."""
    layers = tuple(classifiers(model).values())
    if not layers:
        raise UnsupportedModelError(
            "This network has no classifier of its own to train; leave --freeze out."
        )
    return layers


def freeze_backbone(model: nn.Module) -> None:
    """Let only the classifier learn."""
    model.requires_grad_(False)
    for layer in classifier_modules(model):
        layer.requires_grad_(True)


def set_training(model: nn.Module, *, frozen: bool) -> None:
    """Put a model into training mode; a frozen backbone keeps its batch statistics."""
    model.train(not frozen)
    for layer in classifier_modules(model) if frozen else ():
        layer.train()
