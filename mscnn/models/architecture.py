"""Which network a name or a model folder means, built by timm, and whether it can be explained.

Everything here works before any weights are there: a network is examined on torch's ``meta``
device, where tensors have shapes and no memory.
"""

from __future__ import annotations

import copy
import difflib
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import get_pretrained_cfg, is_model, list_models
from torch import nn

import mscnn.models.starters  # noqa: F401 - registers the starters with timm
from mscnn.errors import UnknownModelError, UnsupportedModelError, WeightsError
from mscnn.models import registry
from mscnn.models.files import CONFIG, no_model_folder
from mscnn.results.writing import reason

# Arguments of timm.create_model that a model folder must not decide: they reach for other files
# or the network, or return something that is not the classifier.
_NOT_FROM_FOLDER = {
    *("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"),
    *("features_only", "scriptable", "exportable", "no_jit", "pruned"),
}
_NOT_OF_FOLDER = {
    *("url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "source"),
    *("label_names", "label_descriptions"),
}
# A transformer may have a convolutional stem or neck; three overlapping convolutions it has not.
_MIN_CONVOLUTIONS = 3
_MAX_STAGES = 6


@dataclass(frozen=True)
class Blueprint:
    """How to build a network, without weights."""

    name: str  # as shown to users: timm's ``architecture.tag`` or the folder's own name
    architecture: str
    tag: str | None = None
    pretrained_cfg: Mapping[str, Any] | None = None  # of a model folder; None for timm's own
    model_args: Mapping[str, Any] = field(default_factory=dict)
    labels: tuple[str, ...] | None = None  # class names in index order, of a model folder

    def build(
        self, *, device: str = "cpu", classes: int | None = None, pretrained: bool = False
    ) -> nn.Module:
        """Build in eval mode, fresh; ``WeightsError`` for a model folder that timm cannot build."""
        arguments = dict(self.model_args) | ({} if classes is None else {"num_classes": classes})
        arguments["pretrained"] = pretrained
        source = dict(self.pretrained_cfg) if self.pretrained_cfg is not None else self.tag
        try:
            with torch.device(device):
                model = timm.create_model(self.architecture, pretrained_cfg=source, **arguments)
        except (TypeError, ValueError, KeyError, RuntimeError, AssertionError) as error:
            if self.pretrained_cfg is None:
                raise
            fault = "does not describe a network that timm can build: "
            raise _unfit(self.name, fault + " ".join(str(error).split())[:120]) from error
        built: nn.Module = model.eval().requires_grad_(False)
        return built


def from_name(name: str) -> Blueprint:
    """Return the blueprint of a timm name, with or without its tag, or ``UnknownModelError``."""
    spec = registry.find(name)
    plain = spec.name if spec else name.strip().removeprefix("hf-hub:").removeprefix("timm/")
    architecture, _, tag = plain.partition(".")
    if not is_model(architecture):
        raise unknown_model(name)
    try:
        cfg = get_pretrained_cfg(plain.rstrip("."))
    except RuntimeError:  # timm knows the architecture but not this tag
        raise unknown_model(name) from None
    tag = tag or (cfg and cfg.tag) or ""
    return Blueprint(f"{architecture}.{tag}" if tag else architecture, architecture, tag or None)


def unknown_model(name: str) -> UnknownModelError:
    """Return the error for a name that nothing can build, with up to five names alike."""
    ours = [spec.name for spec in registry.list_backbones()]
    known = list(dict.fromkeys([*ours, *list_models(pretrained=True)]))
    architectures = list(dict.fromkeys(full.partition(".")[0] for full in known))
    head = name.strip().partition(".")[0].lower()
    bare = re.sub(r"[^a-z0-9]", "", head)
    # Other tags of a known architecture, then what begins like it, then similar spelling.
    alike = [full for full in known if full.partition(".")[0] == head]
    alike += [full for full in known if bare and full.replace("_", "").startswith(bare)]
    alike += difflib.get_close_matches(name.lower(), [*known, *architectures], n=5, cutoff=0.75)
    alike = list(dict.fromkeys(alike))[:5]
    shown = name if len(name) <= 80 else f"{name[:77]}..."
    if alike:
        return UnknownModelError(f"There is no model {shown!r}; close names: {', '.join(alike)}.")
    return UnknownModelError(
        f"There is no model {shown!r}; give a name of the model list, a timm name such as "
        "resnet34.a1_in1k, or a folder that training wrote."
    )


def typed_bytes(name: str) -> int:
    """Return the bytes of a supported timm model's float32 weights, by its name alone."""
    blueprint = from_name(name)
    check_supported(blueprint)
    return sum(t.nbytes for t in blueprint.build(device="meta").state_dict().values())


def from_folder(folder: Path) -> Blueprint:
    """Return the blueprint of a folder that ``save_for_hf`` wrote, or raise ``WeightsError``."""
    config = _read_config(folder)
    nested = config.get("pretrained_cfg")
    cfg = dict(nested if isinstance(nested, dict) else config)
    architecture = config.get("architecture")
    if not isinstance(architecture, str) or not is_model(architecture):
        fault = f"names the architecture {architecture!r}, which timm does not know"
        raise _unfit(folder.name, fault)
    outer = ("num_classes", "label_names", "label_descriptions")
    cfg |= {key: config[key] for key in outer if key in config}
    labels = _labels(cfg.get("label_names"), cfg.get("label_descriptions"), folder)
    known = timm.models.PretrainedCfg.__dataclass_fields__.keys() - _NOT_OF_FOLDER
    cfg = {key: value for key, value in cfg.items() if key in known}
    classes = cfg.setdefault("num_classes", len(labels) if labels else 1000)
    if not isinstance(classes, int) or (labels and len(labels) != classes):
        raise _unfit(folder.name, f"has {len(labels or ())} label names for {classes} classes")
    arguments = config.get("model_args") or {}
    return Blueprint(
        name=registry.folder_name(folder.resolve().name),
        architecture=architecture,
        pretrained_cfg={**cfg, "architecture": architecture},
        model_args={k: v for k, v in arguments.items() if k not in _NOT_FROM_FOLDER},
        labels=labels,
    )


def _unfit(folder: str, fault: str) -> WeightsError:
    return WeightsError(f"The {CONFIG} of {folder} {fault}.")


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise no_model_folder(folder) from None
    except OSError as error:
        raise _unfit(folder.name, f"cannot be read: {reason(error)}") from error
    except ValueError as error:
        raise _unfit(folder.name, "is not valid JSON") from error
    if not isinstance(config, dict) or not isinstance(config.get("model_args", {}), dict):
        raise _unfit(folder.name, "is not in timm's format")
    return config


def _labels(names: Any, descriptions: Any, folder: Path) -> tuple[str, ...] | None:
    """Return names in index order; timm stores a list, or a dict of index to name."""
    if not names:
        return None
    if isinstance(names, dict):
        try:
            by_index = {int(index): name for index, name in names.items()}
            names = [by_index[i] for i in range(len(by_index))]
        except (ValueError, KeyError):
            names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise WeightsError(
            f"The label_names in the {CONFIG} of {folder.name} are no list of names."
        )
    if isinstance(descriptions, dict):
        return tuple(str(descriptions.get(name, name)) for name in names)
    return tuple(names)


def check_supported(blueprint: Blueprint) -> tuple[str, ...]:
    """Return the stages, first to last, or raise ``UnsupportedModelError`` without such maps."""
    reason, stages = _examine(on_meta(blueprint.build(device="meta")))
    if reason:
        raise UnsupportedModelError(
            f"{blueprint.name} cannot be explained here: {reason}; accepted are convolutional "
            "networks such as ResNet, Res2Net, ResNeSt, ConvNeXt or EfficientNet."
        )
    return stages


def _examine(model: nn.Module) -> tuple[str | None, tuple[str, ...]]:
    """Return why maps do not fit ``model`` (None: they do) and the names of its stages.

    Class activation maps need stages that give ``(B, C, h, w)`` and are made of convolutions. The
    model is on the ``meta`` device, and thrown away afterwards: hooks stay on it.
    """
    if not hasattr(model, "forward_features") or not getattr(model, "feature_info", None):
        return "timm describes no feature stages for it", ()
    stages = _stage_names(model)
    cfg = getattr(model, "pretrained_cfg", None) or {}
    x = torch.empty(1, *cfg.get("input_size", (3, 224, 224)), device="meta")
    outputs: dict[str, Any] = {}
    # A module's output is not always what its name promises.
    for name in stages:
        model.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: outputs.update({name: output})
        )
    try:
        with torch.no_grad():
            maps = model.forward_features(x)  # type: ignore[operator]  # nn.Module
    except Exception as error:  # the network is anybody's, so its layers may raise anything
        return f"its layers could not be examined ({type(error).__name__})", ()
    if getattr(model, "output_fmt", None) == "NHWC":
        return "its last stage keeps channels last and is no convolutional map", ()
    if not _is_map(maps):
        return "its last stage gives tokens, not a map of the picture", ()
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    # Windows that overlap, unlike a cut into patches.
    if sum(max(c.kernel_size) > max(c.stride) for c in convolutions) < _MIN_CONVOLUTIONS:
        return "its stages are not made of convolutions", ()
    stages = tuple(name for name in stages if _is_map(outputs.get(name)))
    return (None, stages) if stages else ("its stages give no single map each", ())


def _is_map(output: Any) -> bool:
    return isinstance(output, torch.Tensor) and output.ndim == 4


def on_meta(model: nn.Module) -> nn.Module:
    """Copy the structure of ``model`` to the meta device; no weight is copied."""
    memo: dict[int, Any] = {}
    for tensor in [*model.parameters(), *model.buffers()]:
        bare = tensor.detach().to("meta")
        is_parameter = isinstance(tensor, nn.Parameter)
        memo[id(tensor)] = nn.Parameter(bare, requires_grad=False) if is_parameter else bare
    return copy.deepcopy(model, memo).eval()


def _stage_names(model: nn.Module) -> tuple[str, ...]:
    """Return the modules that timm lists as feature stages, without the stem.

    A stage is called like most of the others, but for its number; what comes before the first
    of these is the stem.
    """
    names = [str(info["module"]) for info in model.feature_info]  # type: ignore[union-attr]
    modules = dict(model.named_modules())
    names = [name for name in dict.fromkeys(names) if name and name in modules]
    kinds = [re.sub(r"\d+", "#", name) for name in names]
    if not kinds:
        return ()
    kind, count = Counter(kinds).most_common(1)[0]
    if count > 1:
        names = names[kinds.index(kind) :]
    if len(names) > _MAX_STAGES:
        # A net of equal blocks (ConvMixer) has no stages; four depths of it stand in for them.
        names = [names[len(names) * i // 4 - 1] for i in (1, 2, 3, 4)]
    return tuple(names)
