"""Build a network, fill it with weights that fit it exactly, and say what came out."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timm.data.config import resolve_model_data_config
from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset
from timm.models import model_entrypoint
from torch import nn

from mscnn.errors import WeightsError
from mscnn.models import registry
from mscnn.models.labels import LabelSet, imagenet_labels, wordnet_lemmas
from mscnn.models.weights import architecture, files, resolve
from mscnn.models.weights.architecture import Blueprint
from mscnn.models.weights.digest import sha256_of
from mscnn.models.weights.download import IsCancelled, OnProgress
from mscnn.models.weights.files import Checkpoint
from mscnn.models.weights.resolve import Source
from mscnn.results.explanation import WeightsInfo

logger = logging.getLogger(__name__)

_WNID = re.compile(r"n\d{8}")
# Batch norm counts its training steps; evaluation does not use the count, and files may lack it.
_OPTIONAL = ".num_batches_tracked"


@dataclass(frozen=True)
class LoadedModel:
    """A network ready to be explained.

    Attributes:
        name: registry or timm name, or the model folder's own name.
        model: in eval mode, on the CPU, float32; no parameter requires a gradient.
        data_config: timm's preprocessing: ``input_size``, ``interpolation``, ``crop_pct``, ...
        stages: module names of the stages, first to last, such as ``("layer1", ..., "layer4")``.
        head: module name of the linear layer where the head is global average pooling and this
            layer, nothing else; None for any other head.
    """

    name: str
    model: nn.Module
    labels: LabelSet
    weights: WeightsInfo
    data_config: Mapping[str, Any]
    stages: tuple[str, ...]
    head: str | None


def load_model(
    name: str,
    weights: str | Path | None = None,
    *,
    on_progress: OnProgress | None = None,
    is_cancelled: IsCancelled | None = None,
    offline: bool = False,
) -> LoadedModel:
    """Load a model with its weights, downloading them where they are nowhere on this machine.

    Args:
        name: a registry or timm name, or a folder that training wrote.
        weights: a weights file or such a folder, instead of the model's own weights.
        on_progress: called with bytes done and in total while downloading.
        is_cancelled: asked while downloading.
        offline: never download.

    Raises:
        UnknownModelError: nothing has this name.
        UnsupportedModelError: the network has no convolutional last stage.
        WeightsError: the weights are missing, damaged, unsafe or do not fit.
        DownloadError: the hub could not deliver.
        Cancelled: ``is_cancelled`` returned True.
    """
    source = resolve.locate(name, weights)
    blueprint = _blueprint(name, source)
    stages = architecture.check_supported(blueprint)
    path = resolve.obtain(
        source, on_progress=on_progress, is_cancelled=is_cancelled, offline=offline
    )
    checkpoint = files.read_checkpoint(path)
    names = _file_labels(checkpoint, path) or blueprint.labels
    model = blueprint.build(classes=len(names) if names else None)
    _fill(model, blueprint, checkpoint, path)
    kind = "hub" if source.kind == "download" else source.kind
    return LoadedModel(
        name=blueprint.name,
        model=model,
        labels=_labels(names, int(model.num_classes)),  # type: ignore[arg-type]  # nn.Module
        weights=WeightsInfo(kind, source.label, sha256_of(path)),
        data_config=resolve_model_data_config(model),
        stages=stages,
        head=pooled_linear_head(model),
    )


def _blueprint(name: str, source: Source) -> Blueprint:
    if source.folder is None:
        blueprint = architecture.from_name(source.model)
        if source.bundled is None:
            return blueprint
        return Blueprint(**{**vars(blueprint), "labels": source.bundled.labels})
    blueprint = architecture.from_folder(source.folder)
    asked = registry.find(name)
    if asked is not None and asked.architecture != blueprint.architecture:
        raise WeightsError(
            f"The folder {blueprint.name} holds a {blueprint.architecture}, not a "
            f"{asked.architecture}; name the folder alone as the model."
        )
    return blueprint


def _file_labels(checkpoint: Checkpoint, path: Path) -> tuple[str, ...] | None:
    """Return the class names that a safetensors header carries under ``label_names``."""
    text = checkpoint.metadata.get("label_names")
    if text is None:
        return None
    try:
        names = json.loads(text)
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise WeightsError(f"The label_names in {path.name} are not a JSON list of names.")
    return tuple(names) or None


def _labels(names: tuple[str, ...] | None, classes: int) -> LabelSet:
    if names is not None:
        if all(_WNID.fullmatch(name) for name in names):
            return LabelSet(tuple(wordnet_lemmas(names)))
        return LabelSet(names)
    if classes == 1000:
        return imagenet_labels()
    subset = infer_imagenet_subset({"num_classes": classes})
    if subset is not None:
        return LabelSet(tuple(ImageNetInfo(subset).label_descriptions()))
    return LabelSet(tuple(f"class {index}" for index in range(classes)))


def _fill(model: nn.Module, blueprint: Blueprint, checkpoint: Checkpoint, path: Path) -> None:
    """Copy the tensors into the model, after naming every difference there is.

    Raises:
        WeightsError: the file has another architecture or another number of classes.
    """
    tensors = _filtered(model, blueprint, checkpoint)
    wanted = model.state_dict()
    for key, value in wanted.items():
        if key.endswith(_OPTIONAL):
            tensors.setdefault(key, torch.zeros_like(value))
    unfit = [k for k in wanted if k not in tensors or tensors[k].shape != wanted[k].shape]
    extra = [k for k in tensors if k not in wanted]
    if unfit or extra:
        raise WeightsError(_misfit(model, blueprint, tensors, unfit, extra, path))
    model.load_state_dict(tensors, strict=True)


def _filtered(
    model: nn.Module, blueprint: Blueprint, checkpoint: Checkpoint
) -> dict[str, torch.Tensor]:
    """Apply timm's own conversion of older or foreign checkpoints to this architecture."""
    module = sys.modules[model_entrypoint(blueprint.architecture).__module__]
    convert = getattr(module, "checkpoint_filter_fn", None)
    tensors = dict(checkpoint.tensors)
    if convert is None:
        return tensors
    try:
        return dict(convert(tensors, model))
    except Exception as error:
        # The conversion expects files of its own network; another file makes it fail anyhow.
        # The comparison that follows says what is wrong with the file.
        logger.info("timm's conversion of %s failed: %s", blueprint.name, error)
        return dict(checkpoint.tensors)


def _misfit(
    model: nn.Module,
    blueprint: Blueprint,
    tensors: Mapping[str, torch.Tensor],
    unfit: list[str],
    extra: list[str],
    path: Path,
) -> str:
    wanted = model.state_dict()
    head = _linear_name(model)
    head_keys = {f"{head}.weight", f"{head}.bias"}
    if not extra and set(unfit) <= head_keys and all(key in tensors for key in unfit):
        has, expects = tensors[unfit[0]].shape[0], wanted[unfit[0]].shape[0]
        return (
            f"{path.name} has {has} classes, but {blueprint.name} expects {expects}; give the "
            "folder that training wrote, its config.json names the classes."
        )
    fitting = len(wanted) - len(unfit)
    missing = [key for key in unfit if key not in tensors]
    parts = [f"{fitting} of {len(wanted)} tensors fit"]
    if missing:
        parts.append(f"{len(missing)} are missing, such as {missing[0]}")
    if reshaped := [key for key in unfit if key in tensors]:
        key = reshaped[0]
        parts.append(f"{key} is {_shape(tensors[key])} instead of {_shape(wanted[key])}")
    if extra:
        parts.append(f"{len(extra)} belong to another network, such as {extra[0]}")
    return f"{path.name} does not fit {blueprint.name}: {'; '.join(parts)}."


def _shape(tensor: torch.Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"


def _linear_name(model: nn.Module) -> str | None:
    """Return the module name of the classifier where it is one linear layer."""
    get_classifier = getattr(model, "get_classifier", None)
    classifier = get_classifier() if callable(get_classifier) else None
    if not isinstance(classifier, nn.Linear):
        return None
    return next((name for name, module in model.named_modules() if module is classifier), None)


def pooled_linear_head(model: nn.Module) -> str | None:
    """Return the name of the linear layer if the head is global average pooling and this layer.

    timm has many kinds of heads, so its ``forward_head`` is tried on random maps: the logits must
    equal the linear layer of the maps' means. Then Grad-CAM at the last stage is the classic CAM
    divided by the number of places (Selvaraju et al. 2017, arXiv:1610.02391, section 3.1).
    """
    name = _linear_name(model)
    forward_head = getattr(model, "forward_head", None)
    if name is None or not callable(forward_head):
        return None
    linear = model.get_submodule(name)
    generator = torch.Generator().manual_seed(0)
    # Unequal sides, so that a head which flattens or normalises the maps gives itself away.
    maps = torch.randn(2, int(linear.in_features), 3, 5, generator=generator)  # type: ignore[arg-type]
    try:
        with torch.inference_mode():
            logits, pooled = forward_head(maps), linear(maps.mean((2, 3)))
    except (RuntimeError, ValueError, AssertionError):
        # The head takes other channels than the linear layer: there is a layer in between.
        return None
    same = logits.shape == pooled.shape and torch.allclose(logits, pooled, rtol=1e-4, atol=1e-4)
    return name if same else None
