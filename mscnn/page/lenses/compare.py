"""Compare: the same photo and class through several networks, on one colour scale."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np

from mscnn.draw.files import comparison_files
from mscnn.engine.network import TOP1
from mscnn.engine.pipeline import MIN_COMPARED, OneClass, compared, summarise
from mscnn.errors import Cancelled, MscnnError, UnknownClassError
from mscnn.maps.agreement import all_agreements, difference
from mscnn.models import registry
from mscnn.models.sources import default_or
from mscnn.page import messages
from mscnn.page.lens import Context, Lens, NeedsConsent, model_key
from mscnn.page.lenses.look import NOTHING_SPEAKS, drawing
from mscnn.page.messages import Message, map_message, model_title, stage_name
from mscnn.page.request import Request
from mscnn.results.explanation import Agreement, ComparedModel

DIFFERENCE_PX = 96
"""Longer side of the photo on which two maps are subtracted."""
ONE_SCALE = "Bright parts spoke for {label}, on one scale for all networks."
ORDERS = (
    (0.8, "look at nearly the same places"),
    (0.5, "look at much the same places"),
    (0.2, "look at partly the same places"),
    (-0.2, "look at unrelated places"),
    (-1.1, "look at opposite places"),
)
"""In words, from which rank correlation on."""
OVERLAPS = (
    (0.6, "their strongest parts are mostly the same"),
    (0.3, "their strongest parts overlap"),
    (0.15, "their strongest parts overlap a little"),
    (-1.0, "their strongest parts lie apart, as two random ones would"),
)
"""In words, from which overlap of the strongest fifths on; two random fifths have 0.11."""


@dataclass
class _Found:
    """What is known so far.

    Attributes:
        names: the networks, as the visitor named them.
        one: the class.
        columns: by name; their explanations hold a map of every stage.
        stages: module names of a network's stages, by name.
        need: the question about what must be downloaded first.
        classes: of the first network.
        top: its top-1 class.
        keys: of the networks; see ``model_key``.
        is_done: nothing more is coming.
        is_whole: and nothing was left out because of Stop.
    """

    names: tuple[str, ...]
    one: OneClass
    columns: dict[str, ComparedModel]
    stages: dict[str, tuple[str, ...]]
    need: NeedsConsent | None = None
    classes: tuple[str, ...] = ()
    top: str = ""
    keys: tuple[Hashable, ...] = ()
    is_done: bool = False
    is_whole: bool = False

    def at(self, stage: int | None) -> Iterator[tuple[str, ComparedModel]]:
        """Yield names and columns with their maps of one stage, counted from 1; None: the last."""
        for name, column in self.columns.items():
            layers = self.stages.get(name, ())
            number = len(layers) if stage is None else stage
            wanted, found = layers[number - 1 : number], column.explanation
            if found is not None:
                maps = tuple(cam for cam in found.maps if cam.layer in wanted)
                column = replace(column, explanation=replace(found, maps=maps))
            yield name, column


def answer(request: Request, context: Context) -> Iterator[Message]:
    """One network more in each answer; what must be downloaded is left out until agreed."""
    for found in _steps(request, context):
        yield _message(found, request, context)


def models_of(request: Request, context: Context) -> tuple[str, ...]:
    """The networks chosen; where they are fewer than two, the page's and its fair partner."""
    chosen = tuple(dict.fromkeys(map(registry.full_name, request.models)))
    if len(chosen) >= MIN_COMPARED:
        return chosen
    if chosen and request.changed == "models":
        context.notices.append("A comparison needs at least two networks.")
    own = context.model(request)
    others = (*chosen, registry.partner(own), *context.engine.session.offered(), default_or(""))
    other = next(n for n in (*others, "starter_resnet", "starter_res2net")
                 if n and registry.full_name(n) != registry.full_name(own))  # fmt: skip
    return own, other


def _steps(request: Request, context: Context) -> Iterator[_Found]:
    names, missing = models_of(request, context), []
    found = _Found(names, OneClass(request.target or "top1"), {}, {})
    if request.agreed:
        context.consent_to_download(request, names)
    for number, name in enumerate(names):
        context.progress(number, len(names), "Networks compared:")
        try:
            found.columns[name] = _column(name, found, request, context)
        except NeedsConsent:
            missing.append(name)
            continue
        except Cancelled:
            break
        except MscnnError as error:
            found.columns[name] = ComparedModel(name, None, None, None, str(error))
        if context.is_cancelled():
            break
        yield found
    if missing and not context.is_cancelled():
        try:
            context.consent_to_download(request, missing)
        except NeedsConsent as question:
            found.need = question
    if not found.columns:
        raise found.need or Cancelled("Stopped before the first network was done.")
    is_all = len(found.columns) == len(names)  # one not downloaded or not done may know it
    if is_all and request.target and found.classes and found.one.settled is None:
        unknown = f"None of these networks has a class “{request.target}”"
        if request.changed == "target":
            raise UnknownClassError(f"{unknown}; choose one from the list.")
        context.notices.append(f"{unknown}: the top-1 class of the first one is shown instead.")
        context.adopt["target"] = None
        yield from _steps(replace(request, target=""), context)
        return
    deepest = max(map(len, found.stages.values()), default=0)
    if is_all and deepest and request.layer != "last" and int(request.layer) > deepest:
        context.adopt["layer"] = "last"
        context.notices.append(f"No network here has {request.layer} stages; the last is shown.")
    found.is_done = True
    found.is_whole = len(found.columns) == len(names) or not context.is_cancelled()
    yield found


def _column(name: str, found: _Found, request: Request, context: Context) -> ComparedModel:
    one, network, photo = found.one, context.network(request, name), context.photo(request)
    found.stages[name] = network.stages
    found.keys = (*found.keys, model_key(network))
    try:  # by the class: what one network calls so may be another's only by a part of its name
        wanted = one.of(network)
        wanted = wanted if wanted in TOP1 else network.labels.resolve(wanted)
    except UnknownClassError as error:
        wanted = str(error)
    key = ("compare", *photo.key, model_key(network), wanted)
    column = context.cached(
        key, lambda: compared(network, photo.image, one, list(network.stages), photo.name)
    )
    if column.cam is not None:
        one.settle(network, column.cam.target)
        if request.target:
            context.adopt["target"] = one.label
    if not found.classes and column.explanation is not None:
        found.classes = tuple(map(network.labels.display, range(len(network.labels))))
        found.top = column.explanation.prediction.top[0].label
    return column


def _message(found: _Found, request: Request, context: Context) -> Message:
    photo = context.photo(request)
    maps: list[Message] = []
    stages: list[tuple[int | None, Sequence[Agreement], list[Message]]] = []
    counts = {*map(len, found.stages.values())}
    # Last stages of other numbers are a group of their own.
    last = [None] if len(counts) > 1 else []
    for stage in (*last, *range(max(counts, default=0), 0, -1)):
        shown = [(name, column) for name, column in found.at(stage) if column.cam is not None]
        made = [_map(name, column, stage, found) for name, column in shown]
        top = max((sent["top"] for sent in made), default=1.0)
        maps += [sent | {"top": top} for sent in made]
        if found.is_done and shown:
            cams = [(name, column.cam) for name, column in shown if column.cam is not None]
            key = ("agreement", photo.digest, found.one.label, stage, *found.keys)
            pairs = context.cached(key, partial(all_agreements, cams))
            differences = [_difference(shown[0], other, stage) for other in shown[1:]]
            stages.append((stage, pairs, differences))
    view: Message = {
        "maps": [*maps, *(sent for *_, differences in stages for sent in differences)],
        "columns": [_column_of(name, found) for name in found.names],
    }
    html = messages.render(
        "compare.html", label=found.one.label, is_done=found.is_done,
        stages=[(_group(stage), _stage_name(stage), *beside) for stage, *beside in stages],
        cards=[(model_title(name), column) for name, column in found.columns.items()],
        rows=[_row(*item) for item in found.columns.items()],
        waiting=[model_title(name) for name in found.names if name not in found.columns],
        need=found.need,
        hint=registry.fair_pair_hint(found.names), sentence=agreement_in_words,
        beside={m["group"]: m["id"] for m in reversed(maps)},
        agreements=[(_stage_name(s), *_numbers(p)) for s, pairs, _ in stages for p in pairs],
    )  # fmt: skip
    return {
        "html": html, "label": found.one.label, "top": found.top, "view": view,
        "more": not found.is_whole, "models": list(found.names), "classes": list(found.classes),
        "need": found.need and found.need.message,
    }  # fmt: skip


def _group(stage: int | None) -> str:
    return "last" if stage is None else str(stage)


def _stage_name(stage: int | None) -> str:
    return "Last stage" if stage is None else stage_name(str(stage))


def _map(name: str, column: ComparedModel, stage: int | None, found: _Found) -> Message:
    cam, label, count = column.cam, found.one.label, len(found.stages[name])
    are_alike = len({*map(len, found.stages.values())}) == 1
    is_last = stage is None or (are_alike and stage == count)
    assert cam is not None
    sentence = ONE_SCALE if float(cam.raw.max()) > 0 else NOTHING_SPEAKS
    return map_message(
        cam, map_id=f"{name}/{_group(stage)}", label=label, stage=_group(stage),
        group=_group(stage), column=name, last=is_last, caption=sentence.format(label=label),
        title=f"{model_title(name)}, {stage_name(str(stage or count))}",
    )  # fmt: skip


def _difference(
    first: tuple[str, ComparedModel], other: tuple[str, ComparedModel], stage: int | None
) -> Message:
    """Evidence of ``other`` minus that of ``first``, on the whole photo."""
    (one, left), (two, right) = first, other
    assert left.cam is not None
    assert right.cam is not None
    values = difference(left.cam, right.cam, DIFFERENCE_PX)
    width, height = left.cam.geometry.photo
    title, than = model_title(two), model_title(one)
    return {
        "id": f"difference/{two}/{_group(stage)}", "shape": list(values.shape),
        "group": _group(stage),
        "data": messages.packed(values, half=True), "half": True, "signed": True, "divisor": 1.0,
        "rect": [0, 0, width, height], "top": float(np.abs(values).max()) or 1.0,
        "unit": "times an even spread", "title": f"{title} minus {than}, {_stage_name(stage)}",
        "caption": f"Red: more evidence in {title}. Blue: more in {than}.",
        "alt": f"Red where {title} finds more evidence, blue where {than} does.",
        "label": "", "stage": "", "other": title,
    }  # fmt: skip


def _column_of(name: str, found: _Found) -> Message:
    column, title = found.columns.get(name), model_title(name)
    if column is not None and column.cam is not None:
        return {"title": title, "key": name}
    note = "no map of this class"
    if column is None:
        note = "not done yet" if found.need is None else "not downloaded"
    return {"title": title, "map": None, "note": note}


def _row(name: str, column: ComparedModel) -> tuple[str, ...]:
    """What is known of a network, for the table."""
    explanation, facts = column.explanation, column.facts
    if explanation is None or facts is None:
        return model_title(name), *[""] * 9
    prediction, (low, high) = explanation.prediction, column.latency_range_ms or (0.0, 0.0)
    own, score = prediction.top[0], explanation.targets[0] if explanation.targets else None
    return (
        model_title(name), f"{facts.params / 1e6:.2f}", f"{facts.gmacs or 0:.3g}",
        str(facts.input_px), "" if facts.top1 is None else f"{100 * facts.top1:.2f}",
        f"{low:.1f} to {high:.1f}", "" if score is None else f"{100 * score.probability:.2f}",
        own.label, f"{100 * own.probability:.2f}", prediction.weights.sha256[:12],
    )  # fmt: skip


def agreement_in_words(pair: Agreement) -> str:
    """Say how far two maps agree."""
    both = f"{model_title(pair.first)} and {model_title(pair.second)}"
    if pair.spearman is None or pair.iou_top20 is None:
        return f"{both} cannot be compared here: a map is the same everywhere."
    order = next(words for least, words in ORDERS if pair.spearman >= least)
    overlap = next(words for least, words in OVERLAPS if pair.iou_top20 >= least)
    return f"{both} {order}; {overlap}."


def _numbers(pair: Agreement) -> tuple[str, ...]:
    values = (pair.spearman, pair.iou_top20)
    found = ("" if value is None else f"{value:.3f}" for value in values)
    return model_title(pair.first), model_title(pair.second), *found


def files(request: Request, context: Context) -> tuple[str, Mapping[str, bytes]]:
    """The comparison at the stage that is shown, of the networks that are here."""
    *_, found = _steps(replace(request, agreed=False), context)
    label, layer, look = found.one.label, request.layer, drawing(request)
    at = [*found.at(None if layer == "last" else int(layer))]
    own = [column.model for _, column in at]
    # As the command calls them; the visitor's names where two of the owner's folders have one.
    columns = [
        replace(column, model=registry.full_name(name)) if own.count(column.model) > 1 else column
        for name, column in at
    ]
    made = comparison_files(
        summarise(label, layer, columns), context.photo(request).image, drawing=look
    )
    networks = [context.network(request, name) for name in found.stages]
    # The command compares two networks or more, of different names, at a stage that all have.
    are_enough = len({network.name for network in networks}) == len(networks) >= MIN_COMPARED
    if are_enough and (layer == "last" or int(layer) <= min(map(len, found.stages.values()))):
        made = context.recorded(
            made, request, networks, "compare", models=[network.name for network in networks],
            target=label, layer=layer, **asdict(look),
        )  # fmt: skip
    return f"mscnn-compare-{label}-{layer}", made


LENS = Lens(
    "compare", "Compare", "Do two networks look at the same place?", answer, needs=("photo",
    "model", "models", "target", "layer"), covers=("layer",), files=files,
)  # fmt: skip
