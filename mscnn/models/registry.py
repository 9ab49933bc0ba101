"""The backbones this project knows, and how to find one by name.

Plain data and lookups: no torch, no timm. The rows are in ``_backbones``. Any other timm
model or a folder of one's own is not here; ``find`` returns None and the caller looks further.
"""

from __future__ import annotations

from collections.abc import Sequence

from mscnn.errors import UnknownModelError
from mscnn.models._backbones import BACKBONES, Family, Group
from mscnn.models._backbones import BackboneSpec as BackboneSpec

_PREFIXES = ("hf-hub:", "hf_hub:", "timm/")
_BY_NAME = {spec.architecture: spec for spec in reversed(BACKBONES)}
_BY_NAME |= {spec.name: spec for spec in BACKBONES}
# What the starters were called while they stood beside an earlier generation.
_BY_NAME |= {f"{spec.name}35": spec for spec in BACKBONES if spec.group == "starter"}
_COST_RATIO = 1.3  # models further apart in multiply-accumulates get a word about it


def list_backbones(
    group: Group | None = None, family: Family | None = None
) -> tuple[BackboneSpec, ...]:
    """Return the backbones, of one group or family where it is given: starters first."""
    return tuple(s for s in BACKBONES if group in (None, s.group) and family in (None, s.family))


def find(name: str) -> BackboneSpec | None:
    """Return the backbone of this name, or None.

    Ignores case and the prefixes ``timm/``, ``hf-hub:`` and ``hf-hub:timm/``. Without a tag the
    first row of that architecture is meant: ``resnet50`` is ``resnet50.tv_in1k`` here, the fair
    partner, although timm alone would take another tag.
    """
    return _BY_NAME.get(without_prefix(name.lower()))


def without_prefix(name: str) -> str:
    """Return a name without the hub's prefixes, such as ``hf-hub:timm/``, and spaces around it."""
    name = name.strip()
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def full_name(name: str) -> str:
    """Return a name without the hub's prefixes; of a backbone of the list with its tag."""
    spec = find(name)
    return without_prefix(name) if spec is None else spec.name


def folder_name(name: str) -> str:
    """Return a folder's own name, with ``./`` before it where a model of the list is so called."""
    return name if find(name) is None else f"./{name}"


def first_repeated(names: Sequence[str]) -> str | None:
    """Return the first model that is named twice, however it is spelled; None where none is."""
    full = [full_name(name) for name in names]
    return next((name for name in full if full.count(name) > 1), None)


def get(name: str) -> BackboneSpec:
    """Return what ``find`` does, or raise ``UnknownModelError``."""
    spec = find(name)
    if spec is None:
        raise UnknownModelError(
            f"There is no backbone {name[:60]!r} in the list; see `mscnn models`."
        )
    return spec


def partner(name: str) -> str | None:
    """Name the model that this one is best compared with; None where the list has none."""
    spec = find(name)
    if spec is None:
        return None
    return spec.baseline or next((s.name for s in BACKBONES if s.baseline == spec.name), None)


def fair_pair_hint(names: Sequence[str]) -> str:
    """Say whether models are a fair comparison, and why, in one to three sentences.

    Names are taken as ``find`` takes them and may be unknown; "" for fewer than two models.
    """
    found = {name: find(name) for name in names}
    specs = list(dict.fromkeys(spec for spec in found.values() if spec is not None))
    unknown = [name for name, spec in found.items() if spec is None]
    if len(specs) + len(unknown) < 2:
        return ""
    chosen = {spec.name for spec in specs}
    if pairs := [spec for spec in specs if spec.baseline in chosen]:
        return " ".join(filter(None, (_pairs_text(pairs), _outsiders(specs, pairs, unknown))))
    if not unknown and len({(spec.recipe, spec.input_px) for spec in specs}) == 1:
        sentence = "These models share one training recipe and input size, so what differs is the "
        low, high = min(s.gmacs for s in specs), max(s.gmacs for s in specs)
        differs = high > _COST_RATIO * low
        cost = f" Their cost differs too: {low:.1f} to {high:.1f} GMACs." if differs else ""
        return f"{sentence}architecture.{cost}"
    reason = "Not a fair pair: these models differ in training recipe or input size"
    if unknown:
        reason = f"Nothing is known here of how {_were(unknown)} trained"
    return f"{reason}, so a gap may come from training alone. {_suggestion(specs)}".rstrip()


def _pairs_text(pairs: Sequence[BackboneSpec]) -> str:
    unequal = [spec.title for spec in pairs if not is_fair(spec)]
    if len(pairs) == 1:
        spec = pairs[0]
        kind = "Nearest pair" if unequal else "Fair pair"
        return f"{kind}: {spec.title} and {_baseline(spec).title}. {spec.baseline_reason}"
    listed = ", ".join(f"{spec.title} with {_baseline(spec).title}" for spec in pairs)
    if not unequal:
        return f"Pairs: {listed}. Each pair shares its training recipe and input size."
    return (
        f"Pairs: {listed}. The training recipes still differ for {_listed(unequal)}, so part of "
        "that gap is training."
    )


def _outsiders(
    specs: Sequence[BackboneSpec], pairs: Sequence[BackboneSpec], unknown: Sequence[str]
) -> str:
    """Name the chosen models that a pair's recipe and input do not cover."""
    inside = {spec.name for spec in pairs} | {spec.baseline for spec in pairs}
    terms = {(spec.recipe, spec.input_px) for spec in specs if spec.name in inside}
    outside = [spec.title for spec in specs if (spec.recipe, spec.input_px) not in terms]
    said = []
    if outside:
        said = [
            f"{_were(outside)} trained by another recipe or at another input size, so do not rank "
            "them against the pair."
        ]
    if unknown:
        said.append(f"Nothing is known here of how {_were(unknown)} trained.")
    return " ".join(said)


def _suggestion(specs: Sequence[BackboneSpec]) -> str:
    """Name the partner of the first model that has one, or say why it has none."""
    for spec in specs:
        if spec.baseline is not None:
            kind = "fair" if is_fair(spec) else "nearest"
            return f"The {kind} partner of {spec.title} is {spec.baseline}."
    for spec in specs:
        if other := partner(spec.name):
            return f"{spec.title} is in the list as the partner of {other}."
    reasons = (f"{spec.title}: {spec.baseline_reason}" for spec in specs if spec.baseline_reason)
    return next(reasons, "")


def _baseline(spec: BackboneSpec) -> BackboneSpec:
    return get(spec.baseline or "")


def is_fair(spec: BackboneSpec) -> bool:
    """Whether the baseline was trained by the same recipe."""
    return spec.recipe == _baseline(spec).recipe


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _were(names: Sequence[str]) -> str:
    return f"{_listed(names)} {'was' if len(names) == 1 else 'were'}"
