"""Which network a name or a model folder means, built by timm, and whether it can be explained.

Everything here works before any weights are there: a network is examined on torch's ``meta``
device, where tensors have shapes and no memory.
"""

from __future__ import annotations

import contextlib
import copy
import difflib
import functools
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import get_pretrained_cfg, is_model, list_models
from torch import nn
from torch.overrides import TorchFunctionMode

import mscnn.starters  # noqa: F401 - registers the starters with timm
from mscnn.errors import UnknownModelError, UnsupportedModelError
from mscnn.models import registry
from mscnn.models.config import in_channels, read_config, unfit

# A transformer may have a convolutional stem or neck; three overlapping convolutions it has not.
_MIN_CONVOLUTIONS = 3
_MAX_STAGES = 6
# What one torch function may return, and what building a folder's network may take: timm's deepest
# network of convolutions takes 33,000 calls, and its largest has 1.3e9 numbers.
_MAX_TENSOR, _MAX_CALLS, _MAX_NUMBERS = 2**29, 36_000, 2**31
_HEAD_NUMBERS = 50_000_000  # a classifier that the file does not have may come on top
# What layers draw with; a mode does not see what a torch function calls inside.
_DRAWS = {
    torch.Tensor.normal_, torch.Tensor.uniform_, nn.init.normal_, nn.init.uniform_,
    nn.init.kaiming_uniform_,
}  # fmt: skip


@dataclass(frozen=True)
class Blueprint:
    """How to build a network, without weights."""

    name: str  # as shown to users: timm's ``architecture.tag`` or the folder's own name
    architecture: str
    tag: str | None = None
    pretrained_cfg: Mapping[str, Any] | None = None  # of a model folder; None for timm's own
    model_args: Mapping[str, Any] = field(default_factory=dict)
    labels: tuple[str, ...] | None = None  # class names in index order, of a model folder
    max_numbers: int = _MAX_NUMBERS  # of a model folder: what building it may allocate

    def fitted(self, tensors: Mapping[str, torch.Tensor]) -> Blueprint:
        """Return it with the input channels of these weights, and not much larger than they are.

        Nothing but its weights tells a grey network where a config, or a name, is a colour's.
        """
        numbers = 2 * sum(tensor.numel() for tensor in tensors.values()) + _HEAD_NUMBERS
        bounded = replace(self, max_numbers=min(numbers, _MAX_NUMBERS))
        timms = self.pretrained_cfg is None and get_pretrained_cfg(self.name)
        cfg = timms.to_dict(remove_source=True) if timms else self.pretrained_cfg or {}
        first = cfg.get("first_conv") or ""
        layer = first if isinstance(first, str) else first[0]
        # A file may keep it in any nesting, under a name with any prefix.
        known = re.compile(rf"(^|[./]){re.escape(layer)}\.weight$")
        # Deeper layers may be called alike, and depthwise ones read one channel each.
        kernel = tensors.get(min(filter(known.search, tensors), key=len, default=""))
        channels = kernel.shape[1] if kernel is not None and kernel.ndim == 4 else 0
        # More than four are another network's, of which the comparison with its tensors says more.
        if not 1 <= channels <= 4 or channels == cfg["input_size"][0]:
            return bounded
        return replace(bounded, pretrained_cfg=in_channels(self.name, cfg, channels))

    def build(
        self, *, device: str = "cpu", classes: int | None = None, pretrained: bool = False
    ) -> nn.Module:
        """Build in eval mode, with weights of no meaning, which are there to be loaded.

        Raises ``WeightsError`` for a model folder that timm cannot build.
        """
        arguments = dict(self.model_args) | ({} if classes is None else {"num_classes": classes})
        arguments["pretrained"] = pretrained
        source = dict(self.pretrained_cfg) if self.pretrained_cfg is not None else self.tag
        is_timms = self.pretrained_cfg is None
        bounded = contextlib.nullcontext() if is_timms else _Bounded(self.max_numbers)
        try:
            with _Undrawn(), torch.device(device), bounded:
                model = timm.create_model(self.architecture, pretrained_cfg=source, **arguments)
        except Exception as error:  # a folder's arguments may make timm fail anywhere
            if is_timms:
                raise
            fault = "does not describe a network that timm can build: "
            why = " ".join(str(error).split()) or type(error).__name__
            raise unfit(self.name, fault + why[:120]) from error
        built: nn.Module = model.eval().requires_grad_(False)
        return built


class _WrongSize(ValueError):
    """A network of a size that no network of its kind has."""


class _Undrawn(TorchFunctionMode):
    """Leaves out random numbers: drawing them would take most of the time of building."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call one function of torch, but for those that fill a tensor at random."""
        kwargs = kwargs or {}
        if func in _DRAWS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


class _Bounded(TorchFunctionMode):
    """Counts what torch is asked for in this thread, and stops before it is too much.

    Fresh memory takes no room until it is filled, so a network that does not fit has cost nothing.
    """

    def __init__(self, max_numbers: int) -> None:
        super().__init__()
        self.calls, self.left = 0, max_numbers

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call one function of torch."""
        self.calls += 1
        if self.calls > _MAX_CALLS:
            raise _WrongSize("it has too many layers")
        out = func(*args, **(kwargs or {}))
        size = out.numel() if isinstance(out, torch.Tensor) else 1
        if func in (torch.empty, torch.zeros, torch.ones):
            self.left -= size
            if not size:  # which torch fills with a warning
                raise _WrongSize("it has a layer without weights")
        if self.left < 0:
            raise _WrongSize("it has more numbers than its weights can fill")
        if size > _MAX_TENSOR:
            raise _WrongSize(f"one of its tensors takes more than {_MAX_TENSOR >> 28} GiB")
        return out


def from_name(name: str) -> Blueprint:
    """Return the blueprint of a timm name, with or without its tag, or ``UnknownModelError``."""
    spec = registry.find(name)
    plain = spec.name if spec else registry.without_prefix(name)
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
    """Return the blueprint of a folder that ``save_for_hf`` wrote; raises as ``read_config``."""
    config, name = read_config(folder), registry.folder_name(folder.resolve().name)
    cfg, arguments = config.pretrained_cfg, config.model_args
    return Blueprint(name, config.architecture, None, cfg, arguments, config.labels)


def check_supported(blueprint: Blueprint) -> tuple[str, ...]:
    """Return the stages, first to last, or raise ``UnsupportedModelError`` without such maps."""
    if blueprint.pretrained_cfg is None:
        reason, stages = _examine_timms(blueprint.architecture, blueprint.tag)
    else:
        reason, stages = _examine(on_meta(blueprint.build(device="meta")))
    if reason:
        raise UnsupportedModelError(
            f"{blueprint.name} cannot be explained here: {reason}; accepted are convolutional "
            "networks such as ResNet, Res2Net, ResNeSt, ConvNeXt or EfficientNet."
        )
    return stages


@functools.lru_cache(maxsize=64)
def _examine_timms(architecture: str, tag: str | None) -> tuple[str | None, tuple[str, ...]]:
    """Examine one of timm's own networks, which is the same whenever it is built."""
    return _examine(on_meta(Blueprint(architecture, architecture, tag).build(device="meta")))


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
        with torch.no_grad(), _Bounded(_MAX_NUMBERS):
            maps = model.forward_features(x)  # type: ignore[operator]  # nn.Module
            logits = model.forward_head(maps)  # type: ignore[operator]  # nn.Module
    except _WrongSize as error:
        return str(error), ()
    except Exception as error:  # the network is anybody's, so its layers may raise anything
        return f"its layers could not be examined ({type(error).__name__})", ()
    if getattr(model, "output_fmt", None) == "NHWC":
        return "its last stage keeps channels last and is no convolutional map", ()
    if not _is_map(maps):
        return "its last stage gives tokens, not a map of the picture", ()
    if model.num_classes and tuple(logits.shape) != (1, model.num_classes):
        return "its head does not give one number for each class", ()
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
        last = len(names) - 1 - kinds[::-1].index(kind)
        parent, _, number = names[last].rpartition(".")
        following = f"{parent}.{int(number) + 1}" if number.isdecimal() else ""
        inside = [name for name in modules if name.rpartition(".")[0] == parent]
        if last < len(names) - 1 and following == inside[-1]:
            # Of NFNets and ByobNets timm lists the convolution after the last stage in the place of
            # this one. Where there is none (RepVGG, MobileOne) that gives the same map again.
            names.insert(last + 1, following)
            if isinstance(modules[names[last + 2]], nn.Identity):
                del names[last + 2]
    if len(names) > _MAX_STAGES:
        # A net of equal blocks (ConvMixer) has no stages; four depths of it stand in for them.
        names = [names[len(names) * i // 4 - 1] for i in (1, 2, 3, 4)]
    return tuple(names)
