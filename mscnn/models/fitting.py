"""Find the weights of a network among the tensors of a file, by what the network needs.

Training programs wrap a ``state_dict`` in many ways: under any key, in any nesting, with a prefix
to every name, beside averaged weights, losses and counters. A name of the file that ends in a name
of the network says where the network's tensors would lie; the place where most of them lie with
the right shapes is taken. Files of other programs go through timm's own conversion first.
"""

from __future__ import annotations

import logging
import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from timm.models import _builder
from torch import nn

from mscnn.errors import WeightsError
from mscnn.models.architecture import Blueprint
from mscnn.models.checkpoint import printable

logger = logging.getLogger(__name__)

Tensors = Mapping[str, torch.Tensor]
Convert = Callable[..., Mapping[str, Any]]

_OPTIONAL = ".num_batches_tracked"  # evaluation does not use it, and files may lack it
_AVERAGED = re.compile(r"(?<![a-z])(ema|swa|avg|averaged?)(?![a-z])", re.IGNORECASE)
_NO_LAYER = re.compile(r"\w*(loss|criterion|metric)\w*\.", re.IGNORECASE)
_MAX_CONVERSIONS = 12  # parts of a file that are tried
_asking = threading.Lock()


@dataclass(frozen=True)
class Fit:
    """The weights of a network as a file has them.

    Attributes:
        tensors: by the network's own names; without the classifier's where none fits, and maybe
            without the counters of batches.
        classes: rows of the classifier; 0 where the file has none that fits, None where the
            network has none.
        part: where in the file they are, ``"model_ema/module"``; "" for the file itself.
        rivals: other parts where as many fit.
        needed: how many tensors there must be beside the classifier's; ``missing`` and
            ``reshaped`` are those that are not there, or have another shape than this.
        strangers: of layers that the network does not have.
        beside: what else lies in the same mapping.
    """

    tensors: dict[str, torch.Tensor]
    classes: int | None
    part: str
    rivals: list[str]
    needed: int
    missing: list[str]
    reshaped: dict[str, torch.Size]
    strangers: list[str]
    beside: list[str]

    @property
    def fits(self) -> int:
        """How many of the needed tensors are there."""
        return self.needed - len(self.missing) - len(self.reshaped)

    def note(self, file: str) -> str:
        """Say what else is in the file; "" where nothing is."""
        said = []
        if self.rivals:
            used = self.part or "the outermost"
            said.append(f"{used} was used; {_listed(self.rivals)} would do as well")
        if self.beside:
            said.append(f"what is beside the weights was left out: {_listed(self.beside)}")
        return f"In {file} {'; '.join(said)}." if said else ""


def fit(blueprint: Blueprint, tensors: Tensors, file: str) -> Fit:
    """Find the weights of a network, or raise ``WeightsError`` where a file's do not fit.

    ``tensors`` are those of a ``Checkpoint``. The classifier may have any number of classes, or be
    none that the network knows.
    """
    model, strict = blueprint.build(device="meta"), True
    best, wanted = _best(tensors, model), model.state_dict()
    if best.fits < best.needed or best.strangers:
        convert, strict = _timms_way(blueprint)
        if best.fits < best.needed and convert is not None:
            best = _converted(tensors, model, convert, best)
    for key, tensor in best.tensors.items():
        if fault := _fault(tensor, wanted[key]):
            raise WeightsError(f"{key} in {file} {fault}.")
    if best.fits < best.needed or (strict and best.strangers):
        raise WeightsError(f"{file} does not fit {blueprint.name}: {_misfit(best, strict)}.")
    return best


def classifiers(model: nn.Module) -> dict[str, nn.Module]:
    """Return timm's classifier layers that have weights, by module name."""
    layer: Any = getattr(model, "get_classifier", lambda: None)()
    layers = layer if isinstance(layer, (tuple, list)) else (layer,)
    named = model.named_modules()
    return {n: m for n, m in named if any(m is one for one in layers) and [*m.parameters()]}


def _best(tensors: Tensors, model: nn.Module, root: str = "") -> Fit:
    wanted, heads = model.state_dict(), tuple(f"{name}." for name in classifiers(model))
    head = {key for key in wanted if key.startswith(heads)}
    body = [key for key in wanted if key not in head and not key.endswith(_OPTIONAL)]
    start, rivals = _start(tensors, wanted, set(body), root)
    names = {key: start + key for key in wanted if start + key in tensors}
    if head and not head & names.keys():
        # A classifier of its own beside the backbone: "backbone.conv1.weight", "head.fc.weight".
        mapping, first = start.rpartition("/")[0], min(head)
        owners = [n[: -len(first)] for n in tensors if n.endswith(f".{first}")]
        owners = [s for s in owners if s.rpartition("/")[0] == mapping]
        if len(owners) == 1 and all(owners[0] + key in tensors for key in head):
            names |= {key: owners[0] + key for key in head}
    shapes = {key: tensors[name].shape for key, name in names.items()}
    classes = _classes(shapes, {key: wanted[key].shape for key in head}) if head else None
    used = {*names.values()}
    mappings = {name.rpartition("/")[0] for name in (start, *used)}
    near = [name for name in tensors if name.rpartition("/")[0] in mappings and name not in used]
    last = {key.rpartition(".")[2] for key in body}
    cut = len(start)
    return Fit(
        tensors={k: tensors[n] for k, n in names.items() if classes != 0 or k not in head},
        classes=classes,
        part=printable((root + start).rstrip("./")),
        rivals=[(root + rival).rstrip("./") or "the outermost" for rival in rivals],
        needed=len(body),
        missing=[key for key in body if key not in names],
        reshaped={k: wanted[k].shape for k in body if k in names and shapes[k] != wanted[k].shape},
        # Neither a counter, nor a loss, nor a classifier that is not used.
        strangers=[
            name[cut:] for name in near
            if name.startswith(start)
            and (tensors[name].numel() != 1 or name.rpartition(".")[2] in last)
            and not _NO_LAYER.match(name, cut)
            and not (classes == 0 and name.startswith(heads, cut))
        ],
        beside=[
            name.rpartition("/")[2] for name in near
            if not (rivals and name.startswith(tuple(rivals)))
        ],
    )  # fmt: skip


def _start(tensors: Tensors, wanted: Tensors, body: set[str], root: str) -> tuple[str, list[str]]:
    """Return what the names of the network's tensors begin with: where most of its body lies.

    Of equals averaged weights, else the first; the others, where all of the body lies, come second.
    """
    depth = 1 + max(key.count(".") for key in wanted)
    fits: Counter[str] = Counter()
    named: Counter[str] = Counter()
    for name, tensor in tensors.items():
        for cut in [0, *(dot.end() for dot in re.finditer(r"[./]", name))][-depth:]:
            start, key = name[:cut], name[cut:]
            if key in wanted:
                named[start] += 1
                fits[start] += key in body and tensor.shape == wanted[key].shape
    averaged = {start: bool(_AVERAGED.search(root + start)) for start in named}
    best = max(named, key=lambda s: (fits[s], averaged[s], named[s]), default="")
    if not fits[best]:  # another network's: the mapping with most of its tensors
        mappings = Counter(name[: name.rfind("/") + 1] for name in tensors)
        best = max(mappings, key=lambda mapping: mappings[mapping], default="")
    return best, [start for start in named if start != best and fits[start] == len(body)]


def _classes(has: Mapping[str, torch.Size], wants: Mapping[str, torch.Size]) -> int:
    """Return the rows of a classifier whose layers have the right shape but for these, or 0."""
    if not wants.keys() <= has.keys() or any(has[key][1:] != wants[key][1:] for key in wants):
        return 0
    rows = {has[key][:1] for key in wants}
    return sum(rows.pop()) if len(rows) == 1 else 0


def _fault(tensor: torch.Tensor, wanted: torch.Tensor) -> str:
    """Say why the numbers of a tensor cannot be used; "" where they can."""
    if tensor.is_meta:
        return "has no values (it was saved from the meta device); save it after loading them"
    if tensor.layout != torch.strided:
        return "is a sparse tensor; save it after to_dense()"
    if tensor.is_quantized or (wanted.is_floating_point() and not tensor.is_floating_point()):
        kind = str(tensor.dtype).removeprefix("torch.")
        return f"holds {kind} instead of floating-point numbers; give the network before quantising"
    if tensor.shape != wanted.shape and tensor.nbytes > tensor.untyped_storage().nbytes():
        return "is larger than what the file has of it; save it after contiguous()"
    return ""


def _misfit(best: Fit, strict: bool) -> str:
    parts = [f"{best.fits} of {best.needed} tensors fit"]
    if best.missing:
        parts.append(f"{len(best.missing)} are missing, such as {best.missing[0]}")
    for key, shape in [*best.reshaped.items()][:1]:
        parts.append(f"{key} is {_shape(best.tensors[key].shape)} instead of {_shape(shape)}")
    if strict and best.strangers:
        such = printable(best.strangers[0])
        parts.append(f"{len(best.strangers)} belong to another network, such as {such}")
    return "; ".join(parts)


def _shape(shape: torch.Size) -> str:
    return "x".join(map(str, shape[:8])) or "one number"


def _listed(names: list[str]) -> str:
    more = [f"and {len(names) - 3} more"] if len(names) > 3 else []
    return " ".join([", ".join(map(printable, names[:3])), *more])


def _converted(tensors: Tensors, model: nn.Module, convert: Convert, best: Fit) -> Fit:
    """Return what timm's conversion makes of a part of the file where more of that fits."""
    # A conversion computes, so it gets what is no larger than it is in the file.
    plain = {
        name: tensor for name, tensor in tensors.items()
        if tensor.layout == torch.strided and not tensor.is_meta and not tensor.is_quantized
        and tensor.nbytes <= tensor.untyped_storage().nbytes()
    }  # fmt: skip
    below: Counter[str] = Counter()
    for name in plain:
        cuts = [dot.end() for dot in re.finditer(r"\.|.*/|^", name)]
        below.update(name[:cut] for cut in cuts[:_MAX_CONVERSIONS])
    roots = [root for root, count in below.items() if 3 * count >= best.needed]
    roots.sort(key=lambda root: not _AVERAGED.search(root))
    for root in roots[:_MAX_CONVERSIONS]:
        inside = {n[len(root) :]: tensor for n, tensor in plain.items() if n.startswith(root)}
        try:
            made = convert({n: t for n, t in inside.items() if "/" not in n}, model)
        except Exception as error:
            # The conversion expects files of its own network; another file makes it fail anyhow.
            logger.info("timm's conversion failed: %s", error)
            continue
        found = _best({k: t for k, t in made.items() if isinstance(t, torch.Tensor)}, model, root)
        best = max(best, found, key=lambda one: one.fits)
        if best.fits == best.needed:
            break
    return best


def _timms_way(blueprint: Blueprint) -> tuple[Convert | None, bool]:
    """Return how timm converts foreign files for an architecture, and whether all must then fit.

    Every architecture hands both to timm's builder, which is asked here instead of for weights.
    """
    asked: dict[str, Any] = {}
    with _asking:
        load, _builder.load_pretrained = (
            _builder.load_pretrained,
            lambda _, **how: asked.update(how),
        )
        try:
            blueprint.build(device="meta", pretrained=True)
        finally:
            _builder.load_pretrained = load
    given: Convert | None = asked.get("filter_fn")

    def convert(tensors: dict[str, torch.Tensor], model: nn.Module) -> Mapping[str, Any]:
        try:
            return given(tensors, model)  # type: ignore[misc]  # only used where there is one
        except TypeError:  # timm too knows conversions that take the tensors alone
            return given(tensors)  # type: ignore[misc]

    return (convert if given else None), bool(asked.get("strict", True))
