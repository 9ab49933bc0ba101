"""Load a model: read its weights without running anything that is in the file, and fill the net.

Two formats are opened: safetensors, which holds numbers only, and PyTorch checkpoints through
``torch.load(weights_only=True)``, whose reader knows tensors and plain containers and refuses
every other name a pickle may ask for.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import pickle
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors
import torch
from timm.data.config import resolve_model_data_config
from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset
from timm.models import clean_state_dict, model_entrypoint
from torch import nn

from mscnn.errors import WeightsError
from mscnn.models import architecture, registry, sources
from mscnn.models.architecture import Blueprint
from mscnn.models.files import sha256_of
from mscnn.models.hub import IsCancelled, OnProgress
from mscnn.models.labels import LabelSet, are_wnids, imagenet_labels, wordnet_lemmas
from mscnn.models.manifest import load_manifest
from mscnn.models.sources import Source
from mscnn.results.explanation import WeightsInfo

logger = logging.getLogger(__name__)

_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".pth.tar")
# Where checkpoints keep the weights; the averaged ones come first, as in timm's own loader.
_NESTS = ("state_dict_ema", "model_ema", "state_dict", "model")
_MAX_HEADER_BYTES = 100_000_000  # the safetensors library's own limit
_OPTIONAL = ".num_batches_tracked"  # evaluation does not use it, and files may lack it


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
    tensors, metadata = read_checkpoint(path)
    blueprint = blueprint.fitted(tensors)
    names = _file_labels(metadata, path) or blueprint.labels
    model = blueprint.build(classes=len(names) if names else None)
    _fill(model, blueprint, tensors, path)
    kind = "hub" if source.kind == "download" else source.kind
    return LoadedModel(
        name=blueprint.name,
        model=model,
        labels=_labels(names, int(model.num_classes)),  # type: ignore[arg-type]  # nn.Module
        weights=WeightsInfo(kind, source.label, sha256_of(path)),
        data_config=resolve_model_data_config(model),
        stages=stages,
        head=_pooled_linear_head(model),
    )


def read_checkpoint(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read tensors by parameter name, floats as float32, and the text of a safetensors header.

    Raises:
        WeightsError: the file is missing, unreadable, damaged, of another format, or holds code.
    """
    if not path.name.lower().endswith(_SUFFIXES):
        raise WeightsError(
            f"{path.name} is not a weights file; accepted endings are {', '.join(_SUFFIXES)}."
        )
    sha256_of(path)  # says why, where the file cannot be read; the result is kept for later
    if not path.stat().st_size:
        raise WeightsError(f"{path.name} is empty.")
    if path.name.lower().endswith(".safetensors"):
        tensors, metadata = _read_safetensors(path)
    else:
        tensors, metadata = _read_pickle(path), {}
    return {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}, metadata


def _read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = dict(file.metadata() or {})
    except (safetensors.SafetensorError, OSError, ValueError, RuntimeError) as error:
        logger.info("%s: %s", path.name, error)
        raise WeightsError(f"{path.name} is {_safetensors_fault(path)}.") from error
    return clean_state_dict(tensors), metadata


def _safetensors_fault(path: Path) -> str:
    """Find out from the layout (8 bytes of header length, JSON header, data) what is wrong."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        head = file.read(length) if size >= 8 and length <= _MAX_HEADER_BYTES else None
    if head is not None and len(head) < length:
        return "truncated: the file ends inside its header"
    try:
        fields = json.loads(head or b"")
        ends = [entry["data_offsets"][1] for key, entry in fields.items() if key != "__metadata__"]
        expected = 8 + length + max(ends, default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return "not a safetensors file: its header is broken"
    if size < expected:
        return f"truncated: it has {size} of {expected} bytes"
    return "damaged: its safetensors header does not describe its content"


def _read_pickle(path: Path) -> dict[str, torch.Tensor]:
    damaged = f"{path.name} is truncated or damaged: it cannot be read as a PyTorch checkpoint."
    try:
        # timm's training checkpoints keep their argparse.Namespace; it only holds values.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        logger.info("%s: %s", path.name, error)
        # torch says so of bytes that are no instruction of a pickle it could have written.
        if "Unsupported operand" in str(error) or "truncated" in str(error):
            raise WeightsError(damaged) from error
        raise WeightsError(
            f"{path.name} holds Python objects besides tensors, so it was refused without running "
            "anything in it; save the state_dict alone, best as .safetensors."
        ) from error
    except Exception as error:
        # A damaged file makes this parser fail in many ways: EOFError, RuntimeError, KeyError,
        # struct.error, UnicodeDecodeError. All of them mean the same to the user.
        logger.info("%s: %s: %s", path.name, type(error).__name__, error)
        raise WeightsError(damaged) from error
    if isinstance(content, Mapping):
        held = [key for key in _NESTS if isinstance(content.get(key), Mapping)]
        named = (content[held[0]] if held else content).items()
        tensors = {k: v for k, v in named if isinstance(k, str) and isinstance(v, torch.Tensor)}
        if tensors:
            return dict(clean_state_dict(tensors))
    raise WeightsError(
        f"{path.name} holds no named tensors; accepted are a state_dict or a checkpoint with "
        "the key state_dict, state_dict_ema or model."
    )


def _blueprint(name: str, source: Source) -> Blueprint:
    if source.folder is None:
        blueprint = architecture.from_name(source.model)
        # Weights of one's own for a starter, too, have its classes unless they name others.
        bundled = source.bundled or load_manifest().get(source.model)
        return replace(blueprint, labels=bundled.labels) if bundled else blueprint
    blueprint = architecture.from_folder(source.folder)
    asked = registry.find(name)
    if asked is not None and asked.architecture != blueprint.architecture:
        raise WeightsError(
            f"The folder {blueprint.name} holds a {blueprint.architecture}, not a "
            f"{asked.architecture}; name the folder alone as the model."
        )
    return blueprint


def _file_labels(metadata: Mapping[str, str], path: Path) -> tuple[str, ...] | None:
    """Return the class names that a safetensors header carries under ``label_names``."""
    names: Any = None
    with contextlib.suppress(ValueError):
        names = json.loads(metadata.get("label_names", "[]"))
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise WeightsError(f"The label_names in {path.name} are not a JSON list of names.")
    return tuple(names) or None


def _labels(names: tuple[str, ...] | None, classes: int) -> LabelSet:
    if names is not None:
        return LabelSet(tuple(wordnet_lemmas(names)) if are_wnids(names) else names)
    if classes == 1000:
        return imagenet_labels()
    subset = infer_imagenet_subset({"num_classes": classes})
    if subset is not None:
        return LabelSet(tuple(ImageNetInfo(subset).label_descriptions()))
    return LabelSet(tuple(f"class {index}" for index in range(classes)))


def _fill(
    model: nn.Module, blueprint: Blueprint, tensors: dict[str, torch.Tensor], path: Path
) -> None:
    """Copy the tensors into the model, or raise ``WeightsError`` with every difference."""
    tensors = _converted(model, blueprint, tensors)
    wanted = model.state_dict()
    for key, value in wanted.items():
        if key.endswith(_OPTIONAL):
            tensors.setdefault(key, torch.zeros_like(value))
    missing = [k for k in wanted if k not in tensors]
    reshaped = [k for k in wanted if k in tensors and tensors[k].shape != wanted[k].shape]
    extra = [k for k in tensors if k not in wanted]
    if not missing and not reshaped and not extra:
        model.load_state_dict(tensors, strict=True)
        return
    head = _linear_name(model)
    if not extra and not missing and {*reshaped} <= {f"{head}.weight", f"{head}.bias"}:
        has, expects = tensors[reshaped[0]].shape[0], wanted[reshaped[0]].shape[0]
        raise WeightsError(
            f"{path.name} has {has} classes, but {blueprint.name} expects {expects}; give the "
            "folder that training wrote, its config.json names the classes."
        )
    parts = [f"{len(wanted) - len(missing) - len(reshaped)} of {len(wanted)} tensors fit"]
    if missing:
        parts.append(f"{len(missing)} are missing, such as {missing[0]}")
    for key in reshaped[:1]:
        parts.append(f"{key} is {_shape(tensors[key])} instead of {_shape(wanted[key])}")
    if extra:
        parts.append(f"{len(extra)} belong to another network, such as {extra[0]}")
    raise WeightsError(f"{path.name} does not fit {blueprint.name}: {'; '.join(parts)}.")


def _converted(
    model: nn.Module, blueprint: Blueprint, tensors: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Apply timm's own conversion of older or foreign checkpoints to this architecture."""
    module = sys.modules[model_entrypoint(blueprint.architecture).__module__]
    convert = getattr(module, "checkpoint_filter_fn", lambda tensors, _: tensors)
    try:
        return dict(convert(dict(tensors), model))
    except Exception as error:
        # The conversion expects files of its own network; another file makes it fail anyhow.
        # The comparison that follows says what is wrong with the file.
        logger.info("timm's conversion of %s failed: %s", blueprint.name, error)
        return tensors


def _shape(tensor: torch.Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"


def _linear_name(model: nn.Module) -> str | None:
    """Return the module name of the classifier where it is one linear layer."""
    classifier: Any = getattr(model, "get_classifier", lambda: None)()
    named = model.named_modules() if isinstance(classifier, nn.Linear) else ()
    return next((name for name, module in named if module is classifier), None)


def _pooled_linear_head(model: nn.Module) -> str | None:
    """Return the name of the linear layer if the head is global average pooling and this layer.

    timm has many kinds of heads, so its ``forward_head`` is tried on random maps: the logits must
    equal the linear layer of the maps' means. Then Grad-CAM at the last stage is the classic CAM
    divided by the number of positions (Selvaraju et al. 2017, arXiv:1610.02391, section 3.1).
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
