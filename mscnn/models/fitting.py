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
from collections.abc import Callable, Iterable, Mapping
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

_OPTIONAL = ".num_batches_tracked"  # evaluation does not use it, and files may lack it
_AVERAGED = re.compile(r"(?<![a-z])(ema|swa|avg|averaged?)(?![a-z])", re.IGNORECASE)
_NO_LAYER = re.compile(r"\w*(loss|criterion|metric)\w*\.", re.IGNORECASE)
_MAX_CONVERSIONS = 12  # parts of a file that are tried
_asking = threading.Lock()


@dataclass(frozen=True)
class Fit:
    """The weights of a network.

    Attributes:
        tensors: by the network's own names; without the classifier's where the file has none that
            fits, and maybe without the counters of batches.
        classes: rows of the classifier; 0 where the file has none that fits, None where the
            network has none.
        part: where in the file they are, ``"model_ema/module"``; "" for the file itself.
        note: a sentence on what else is there; "" where nothing is.
    """

    tensors: dict[str, torch.Tensor]
    classes: int | None
    part: str
    note: str


@dataclass(frozen=True)
class _Needs:
    """What a network needs: all its tensors, and which of them must be there as they are."""

    wanted: Tensors
    body: frozenset[str]
    head: frozenset[str]  # the classifier's, which may have other rows
    heads: tuple[str, ...]  # what their names begin with


@dataclass(frozen=True)
class _Place:
    """A place in a file where tensors of a network lie."""

    tensors: Tensors  # of the whole file, or what timm's conversion made of a part of it
    start: str  # what their names begin with: ``"state_dict/module."``
    names: Mapping[str, str]  # names in ``tensors`` by those of the network
    fits: int  # how many of the body's have the right shape
    root: str = ""  # the part that was converted
    rivals: tuple[str, ...] = ()  # other starts where as many fit

    def beside(self) -> list[str]:
        """Names in the same mapping that are not the network's."""
        used = set(self.names.values())
        mappings = {name.rpartition("/")[0] for name in (self.start, *used)}
        rest = [name for name in self.tensors if name not in used]
        return [name for name in rest if name.rpartition("/")[0] in mappings]


def fit(blueprint: Blueprint, tensors: Tensors, file: str) -> Fit:
    """Find the weights of a network, or raise ``WeightsError`` where a file's do not fit.

    ``tensors`` are those of a ``Checkpoint``. The classifier may have any number of classes, or be
    none that the network knows.
    """
    model, strict = blueprint.build(device="meta"), True
    needs = _needs_of(model)
    place = _best(tensors, needs)
    classes = _classes(place, needs)
    if place.fits < len(needs.body) or _strangers(place, needs, classes):
        convert, strict = _timms_way(blueprint)
        if place.fits < len(needs.body) and convert is not None:
            place = _converted(place, needs, model, convert)
            classes = _classes(place, needs)
    found = {key: place.tensors[name] for key, name in place.names.items()}
    if classes == 0:
        found = {key: value for key, value in found.items() if key not in needs.head}
    for key, tensor in found.items():
        if fault := _fault(tensor, needs.wanted[key]):
            raise WeightsError(f"{printable(key)} in {file} {fault}.")
    strangers = _strangers(place, needs, classes) if strict else []
    if place.fits < len(needs.body) or strangers:
        what = _misfit(found, place, needs, strangers)
        raise WeightsError(f"{file} does not fit {blueprint.name}: {what}.")
    part = printable((place.root + place.start).rstrip("./"))
    return Fit(found, classes, part, _note(place, file, part))


def classifiers(model: nn.Module) -> dict[str, nn.Module]:
    """Return timm's classifier layers that have weights, by module name."""
    layer: Any = getattr(model, "get_classifier", lambda: None)()
    layers = layer if isinstance(layer, (tuple, list)) else (layer,)
    named = model.named_modules()
    return {n: m for n, m in named if any(m is one for one in layers) and [*m.parameters()]}


def _needs_of(model: nn.Module) -> _Needs:
    wanted = model.state_dict()
    heads = tuple(f"{name}." for name in classifiers(model))
    head = frozenset(key for key in wanted if key.startswith(heads))
    body = frozenset(key for key in wanted if not key.endswith(_OPTIONAL)) - head
    return _Needs(wanted, body, head, heads)


def _best(tensors: Tensors, needs: _Needs, root: str = "") -> _Place:
    """Return the place with most of the body; of equals, averaged weights or the first."""
    depth = 1 + max(key.count(".") for key in needs.wanted)
    fits: Counter[str] = Counter()
    named: Counter[str] = Counter()
    for name, tensor in tensors.items():
        for cut in [0, *(dot.end() for dot in re.finditer(r"[./]", name))][-depth:]:
            start, key = name[:cut], name[cut:]
            if key in needs.wanted:
                named[start] += 1
                fits[start] += key in needs.body and tensor.shape == needs.wanted[key].shape
    ranks = {start: (fits[start], bool(_AVERAGED.search(root + start))) for start in named}
    start = max(named, key=lambda start: (*ranks[start], named[start]), default="")
    if not fits[start]:  # another network's: the mapping with most of its tensors
        mappings = Counter(name[: name.rfind("/") + 1] for name in tensors)
        start = max(mappings, key=lambda mapping: mappings[mapping], default="")
    names = {key: start + key for key in needs.wanted if start + key in tensors}
    if not needs.head & names.keys():
        # A classifier of its own beside the backbone: "backbone.conv1.weight", "head.fc.weight".
        mapping = start.rpartition("/")[0]
        near = [s for s in named if s.rpartition("/")[0] == mapping]
        owners = [s for s in near if needs.head and all(s + key in tensors for key in needs.head)]
        if len(owners) == 1:
            names |= {key: owners[0] + key for key in needs.head}
    rivals = [other for other in named if other != start and fits[other] == len(needs.body)]
    return _Place(tensors, start, names, fits[start], root, tuple(rivals))


def _classes(place: _Place, needs: _Needs) -> int | None:
    if not needs.head:
        return None
    if not needs.head <= place.names.keys():
        return 0
    pairs = [(place.tensors[place.names[key]].shape, needs.wanted[key].shape) for key in needs.head]
    rows = {has[:1] for has, _ in pairs}
    same = len(rows) == 1 and all(has[1:] == wants[1:] for has, wants in pairs)
    return int(pairs[0][0][0]) if same else 0


def _strangers(place: _Place, needs: _Needs, classes: int | None) -> list[str]:
    """Return what belongs to layers the network has not: no counter, loss or unused classifier."""
    last = {key.rpartition(".")[2] for key in needs.wanted}
    cut = len(place.start)
    return [
        name[cut:] for name in place.beside()
        if name.startswith(place.start)
        and (place.tensors[name].numel() != 1 or name.rpartition(".")[2] in last)
        and not _NO_LAYER.match(name, cut)
        and not (classes == 0 and name.startswith(needs.heads, cut))
    ]  # fmt: skip


def _fault(tensor: torch.Tensor, wanted: torch.Tensor) -> str:
    """Say why the numbers of a tensor cannot be used; "" where they can."""
    if tensor.is_meta:
        return "has no values (it was saved from the meta device); save it after loading them"
    if tensor.layout != torch.strided:
        return "is a sparse tensor; save it after to_dense()"
    if tensor.is_quantized or (wanted.is_floating_point() and not tensor.is_floating_point()):
        kind = str(tensor.dtype).removeprefix("torch.")
        return f"holds {kind} instead of floating-point numbers; give the network before quantising"
    return ""


def _misfit(found: Tensors, place: _Place, needs: _Needs, strangers: list[str]) -> str:
    missing = sorted(needs.body - found.keys(), key=[*needs.wanted].index)
    reshaped = [k for k in found if k in needs.body and found[k].shape != needs.wanted[k].shape]
    parts = [f"{place.fits} of {len(needs.body)} tensors fit"]
    if missing:
        parts.append(f"{len(missing)} are missing, such as {missing[0]}")
    for key in reshaped[:1]:
        parts.append(f"{key} is {_shape(found[key])} instead of {_shape(needs.wanted[key])}")
    if strangers:
        such = printable(strangers[0])
        parts.append(f"{len(strangers)} belong to another network, such as {such}")
    return "; ".join(parts)


def _shape(tensor: torch.Tensor) -> str:
    return "x".join(map(str, tensor.shape[:8])) or "one number"


def _note(place: _Place, file: str, part: str) -> str:
    rest = [name for name in place.beside() if not (place.rivals and name.startswith(place.rivals))]
    said = []
    if place.rivals:
        also = _listed(rival.rstrip("./") or "the file itself" for rival in place.rivals)
        said.append(f"{part or 'its outermost weights'} was used, and {also} would fit as well")
    if rest:
        names = _listed(name.rpartition("/")[2] for name in rest)
        said.append(f"what is beside the weights was left out: {names}")
    return f"In {file} {'; '.join(said)}." if said else ""


def _listed(names: Iterable[str]) -> str:
    shown = [printable(name) for name in names]
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "")


def _converted(place: _Place, needs: _Needs, model: nn.Module, convert: Convert) -> _Place:
    """Return what timm's conversion makes of a part of the file where more of that fits."""
    # A conversion computes, so it gets what is no larger than it is in the file.
    plain = {
        name: tensor for name, tensor in place.tensors.items()
        if tensor.layout == torch.strided and not tensor.is_meta and not tensor.is_quantized
        and tensor.nbytes <= tensor.untyped_storage().nbytes()
    }  # fmt: skip
    below: Counter[str] = Counter()
    for name in plain:
        start = name.rfind("/") + 1
        dots = [dot.end() for dot in re.finditer(r"\.", name[start:])]
        below.update(name[: start + cut] for cut in [0, *dots[:_MAX_CONVERSIONS]])
    roots = [root for root, count in below.items() if 3 * count >= len(needs.body)]
    roots.sort(key=lambda root: not _AVERAGED.search(root))
    for root in roots[:_MAX_CONVERSIONS]:
        inside = {n[len(root) :]: tensor for n, tensor in plain.items() if n.startswith(root)}
        try:
            result = convert({n: t for n, t in inside.items() if "/" not in n}, model)
            made = {key: value for key, value in result.items() if isinstance(value, torch.Tensor)}
        except Exception as error:
            # The conversion expects files of its own network; another file makes it fail anyhow.
            logger.info("timm's conversion failed: %s", error)
            continue
        place = max(place, _best(made, needs, root), key=lambda found: found.fits)
        if place.fits == len(needs.body):
            break
    return place


Convert = Callable[[dict[str, torch.Tensor], nn.Module], Mapping[str, Any]]


def _timms_way(blueprint: Blueprint) -> tuple[Convert | None, bool]:
    """Return how timm converts foreign files for an architecture, and whether these must fit.

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
    convert = asked.get("filter_fn")

    def with_model(tensors: dict[str, torch.Tensor], model: nn.Module) -> Mapping[str, Any]:
        try:
            converted: Mapping[str, Any] = convert(tensors, model)  # type: ignore[misc]
        except TypeError:  # timm too knows conversions that take the tensors alone
            converted = convert(tensors)  # type: ignore[misc]
        return converted

    return (with_model if convert is not None else None), bool(asked.get("strict", True))
