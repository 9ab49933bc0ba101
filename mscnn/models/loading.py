"""Load a model: from a name to a network with weights and the names of its classes.

``checkpoint`` reads the file of weights, and ``fitting`` finds the network's among them.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from timm.data.config import resolve_model_data_config
from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset
from torch import nn

from mscnn.errors import WeightsError
from mscnn.models import architecture, registry, sources
from mscnn.models.architecture import Blueprint
from mscnn.models.checkpoint import Checkpoint, read_checkpoint
from mscnn.models.files import sha256_of
from mscnn.models.fitting import classifiers, fit
from mscnn.models.hub import IsCancelled, OnProgress
from mscnn.models.labels import LabelSet, are_wnids, wordnet_lemmas
from mscnn.models.manifest import load_manifest
from mscnn.models.seeding import seeded
from mscnn.models.sources import Source
from mscnn.results.explanation import WeightsInfo


@dataclass(frozen=True)
class LoadedModel:
    """A network ready to be explained: in eval mode, on the CPU, float32, without gradients."""

    name: str  # in the registry or timm, or the model folder's own
    model: nn.Module
    labels: LabelSet
    weights: WeightsInfo
    data_config: Mapping[str, Any]  # timm's preprocessing: ``input_size``, ``crop_pct``, ...
    stages: tuple[str, ...]  # module names, first to last: ``("layer1", ..., "layer4")``
    head: str | None  # the linear layer after global average pooling; None for any other head
    notices: tuple[str, str] = ("", "")  # of what else is in the file, and of unnamed classes


def load_model(
    name: str,
    weights: str | Path | None = None,
    *,
    on_progress: OnProgress | None = None,
    is_cancelled: IsCancelled | None = None,
    offline: bool = False,
) -> LoadedModel:
    """Load a model with its weights, downloading them where they are nowhere on this machine.

    ``name`` is a registry or timm name, or a folder that training wrote; ``weights`` a weights file
    or such a folder to use instead of the model's own. ``on_progress`` (called with bytes done and
    in total), ``is_cancelled`` and ``offline`` (never download) are for the download.

    Raises:
        UnknownModelError: nothing has this name.
        UnsupportedModelError: the network has no convolutional last stage.
        WeightsError: the weights are missing, damaged, unsafe or do not fit.
        DownloadError: the hub could not deliver.
        Cancelled: ``is_cancelled`` returned True.
    """
    source = sources.locate(name, weights)
    blueprint = _blueprint(name, source)
    stages = architecture.check_supported(blueprint)
    path = sources.obtain(
        source, on_progress=on_progress, is_cancelled=is_cancelled, offline=offline
    )
    checkpoint = read_checkpoint(path)
    blueprint = blueprint.fitted(checkpoint.tensors)
    found = fit(blueprint, checkpoint.tensors, path.name)
    names = _class_names(checkpoint, blueprint, source, found.classes)
    with seeded(0):  # what it draws is overwritten, and must not fall among others' numbers
        model = blueprint.build(classes=found.classes)
    model.load_state_dict(found.tensors, strict=False)  # which holds all that counts
    classes = int(model.num_classes)  # type: ignore[arg-type]  # nn.Module
    sha256 = sha256_of(path)
    labels, unnamed = _labels(names, classes, sha256), ""
    if not classes:
        unnamed = f"{path.name} has no classifier that fits, so it gives features, not classes."
    elif labels.numbered_in:
        unnamed = f"{path.name} does not name its {classes} classes, so they are numbered."
    kind = "hub" if source.kind == "download" else source.kind
    part = f" ({found.part})" if found.part else ""
    return LoadedModel(
        name=blueprint.name,
        model=model,
        labels=labels,
        weights=WeightsInfo(kind, source.label + part, sha256),
        data_config=resolve_model_data_config(model),
        stages=stages,
        head=_pooled_linear_head(model),
        notices=(found.note(path.name), unnamed),
    )


def _blueprint(name: str, source: Source) -> Blueprint:
    if source.folder is None:
        blueprint = architecture.from_name(source.model)
        # Weights of one's own for a starter, too, have its classes unless they name others.
        bundled = source.bundled or load_manifest().get(source.model)
        return replace(blueprint, labels=bundled.labels) if bundled else blueprint
    blueprint = architecture.from_folder(source.folder)
    asked: Any = registry.find(name)
    if asked is None and not sources.is_path(name):  # what was typed beside the folder counts too
        asked = architecture.from_name(name)
    holds = registry.find(blueprint.architecture)  # a starter may have had another name
    if asked is not None and asked.architecture != (holds or blueprint).architecture:
        raise WeightsError(
            f"The folder {blueprint.name} holds a {blueprint.architecture}, not a "
            f"{asked.architecture}; name the folder alone as the model."
        )
    return blueprint


def _class_names(
    checkpoint: Checkpoint, blueprint: Blueprint, source: Source, classes: int | None
) -> tuple[str, ...] | None:
    """Return the names that the file has for its classes, or else the model folder; or None."""
    own = checkpoint.labels or next((n for n in checkpoint.lists if len(n) == classes), None)
    names = own or blueprint.labels
    expected = len(names) if names else (blueprint.pretrained_cfg or {}).get("num_classes")
    if not classes or expected in (None, classes):
        return names if classes != 0 else None
    if source.kind == "file" and own is None:
        return None  # the folder that was named besides describes its own weights
    raise WeightsError(
        f"{source.label} has {classes} classes, but {blueprint.name} expects {expected}; give the "
        "folder that training wrote, its config.json names the classes."
    )


def _labels(names: tuple[str, ...] | None, classes: int, sha256: str) -> LabelSet:
    if names is not None and are_wnids(names):
        return LabelSet(tuple(wordnet_lemmas(names)), names)
    subset = infer_imagenet_subset({"num_classes": classes})
    if subset is not None:
        known = _imagenet(subset)
        if names in (None, known.names):
            return known
    if names is not None:
        return LabelSet(names)
    return LabelSet(tuple(f"class {index}" for index in range(classes)), numbered_in=sha256)


@functools.lru_cache(maxsize=8)
def _imagenet(subset: str) -> LabelSet:
    info = ImageNetInfo(subset)
    return LabelSet(tuple(info.label_descriptions()), tuple(info.label_names()))


def _pooled_linear_head(model: nn.Module) -> str | None:
    """Return the name of the linear layer if the head is global average pooling and this layer.

    timm has many kinds of heads, so its ``forward_head`` is tried on random maps: the logits must
    equal the linear layer of the maps' means. Then Grad-CAM at the last stage is the classic CAM
    divided by the number of positions (Selvaraju et al. 2017, arXiv:1610.02391, section 3.1).
    """
    layers = classifiers(model)
    name, linear = next(iter(layers.items()), ("", None))
    forward_head = getattr(model, "forward_head", None)
    if len(layers) != 1 or not isinstance(linear, nn.Linear) or not callable(forward_head):
        return None
    generator = torch.Generator().manual_seed(0)
    # Unequal sides, so that a head which flattens or normalises the maps gives itself away.
    maps = torch.randn(2, linear.in_features, 3, 5, generator=generator)
    try:
        with torch.inference_mode():
            logits, pooled = forward_head(maps), linear(maps.mean((2, 3)))
    except (RuntimeError, ValueError, AssertionError):
        # The head takes other channels than the linear layer: there is a layer in between.
        return None
    same = logits.shape == pooled.shape and torch.allclose(logits, pooled, rtol=1e-4, atol=1e-4)
    return name if same else None
