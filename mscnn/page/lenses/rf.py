"""Receptive field: what one unit of the network can see of the photo, and what of it it uses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
from markupsafe import Markup
from timm.data import resolve_model_data_config

from mscnn.draw.charts import growth_chart, growth_steps, spectrum_chart
from mscnn.draw.figures import inline_svg, pixels
from mscnn.draw.files import receptive_field_files, unit_files
from mscnn.draw.sheets import effective_field_sheet, field_heat, square_box, without_peaks
from mscnn.engine.lens_options import fair_baseline
from mscnn.engine.network import Network
from mscnn.errors import PointError, UnsupportedModelError
from mscnn.geometry import Box, FloatMap, ViewGeometry
from mscnn.models import registry
from mscnn.models.architecture import from_name
from mscnn.page import messages
from mscnn.page.lens import Context, Lens, NeedsConsent, model_key
from mscnn.page.lenses.look import drawing
from mscnn.page.messages import Message, model_title, percent, stage_name
from mscnn.page.photos import Photo, is_same
from mscnn.page.request import Request
from mscnn.photos.preprocess import Preprocessor
from mscnn.results.receptive_field import BlockField, ReceptiveField
from mscnn.results.scales import EffectiveField, Square
from mscnn.scales.effective import theory_of

CENTRE = (0.5, 0.5)
LARGEST_PX = 320
"""The gradient of a larger input is sent at half its resolution."""
SEES_TONE, TONES = 2, {50: 1, 90: 3, 99: 4}
KINDS = {"hierarchy": "each gets the one before", "parallel": "side by side", "single": "one path"}
ATTENTION = (
    "ResNeSt's attention looks at the whole map at once, so strictly every unit can see "
    "everything. That is left out here: the sizes are those of the local path."
)
Unit = tuple[str, int | None, bool]
"""(stage or block, split, whether the weights are the trained ones)."""


@dataclass(slots=True)
class _Found:
    """A request, and what is known for its answer so far.

    Attributes:
        theory: receptive fields; None where the way through the network cannot be followed.
        geometry: where the network's input lies on the photo.
        stages: modules of the stages.
        block: the block to measure; "" for the end of each stage.
        units: what was measured.
    """

    request: Request
    context: Context
    photo: Photo
    name: str
    theory: ReceptiveField | None
    geometry: ViewGeometry
    stages: tuple[str, ...]
    block: str = ""
    network: Network | None = None
    units: dict[Unit, EffectiveField] = field(default_factory=dict)

    @property
    def is_log(self) -> bool:
        """Whether the logarithm of the effect is asked for."""
        return self.request.options.get("log") is True

    def order(self, unit: Unit) -> tuple[Any, ...]:
        """Stages by depth, splits from the one that sees least, random weights last."""
        layer, split, trained = unit
        known = theory_of(self.theory, layer, split)
        sees = known.rf_max_px if known and split is not None else 0
        return not trained, layer, split is not None, sees, split or 0

    def message(self, layer: str, split: int | None, title: str) -> Message | None:
        """The field of every unit of a map, for the viewer."""
        known = theory_of(self.theory, layer, split)
        number = str(self.stages.index(layer) + 1) if layer in self.stages else ""
        if known is None:
            return None
        return messages.field_message(known, self.geometry, title, stage=number)


def answer(request: Request, context: Context) -> Iterator[Message]:
    """What arithmetic tells, which needs no weights; then units, the one in front first."""
    found = _theory(request, context)
    yield _message(found, more=True)
    try:
        todo = _with_network(found)
    except NeedsConsent as question:
        yield {**_message(found, more=False), "need": question.message}
        return
    context.adopt["point"] = list(request.point or CENTRE)  # the cross that the captions speak of
    for number, unit in enumerate(todo, 1):
        try:
            found.units[unit] = _measured(found, unit)
        except PointError as error:
            context.notices.append(str(error))
            break
        if context.is_cancelled():
            break
        if number == 1 < len(todo):
            yield _message(found, more=True)
        context.progress(number, len(todo), "Units measured:")
    yield _message(found, more=context.is_cancelled() and len(found.units) < len(todo))


def _theory(request: Request, context: Context) -> _Found:
    """What is known of a network without its weights, as long as these are not here."""
    photo, name = context.photo(request), context.model(request)
    try:
        theory = context.engine.receptive_field(name)
    except UnsupportedModelError:
        theory = None
    if context.is_here(name):
        prepare = context.network(request, name).preprocess
    else:
        prepare = context.cached(("preprocess", name), lambda: _preprocessor(name))
    stages = tuple(s.stage for s in theory.stages) if theory else ()
    blocks = [block.block for block in theory.blocks] if theory else []
    block = str(request.options.get("block"))
    geometry = prepare(photo.image).geometry
    block = block if block in blocks else ""
    return _Found(request, context, photo, name, theory, geometry, stages, block)


def _preprocessor(name: str) -> Preprocessor:
    return Preprocessor(resolve_model_data_config(from_name(name).build(device="meta")))


def _with_network(found: _Found) -> list[Unit]:
    """Load the network; returns what to measure, that which is shown first."""
    request, context = found.request, found.context
    found.network = network = context.network(request, found.name)
    found.geometry = network.preprocess(found.photo.image).geometry
    found.stages, layer = tuple(network.stages), context.layer(request, network)
    random = request.options.get("random") is True
    if not found.block:
        stages = sorted(found.stages, key=lambda stage: stage != layer)
        return [(s, None, trained) for trained in (True, False)[: 1 + random] for s in stages]
    block = theory_of(found.theory, found.block)
    count = len(block.splits) if isinstance(block, BlockField) else 1
    splits: list[Unit] = [(found.block, n, True) for n in range(count) if count > 1]
    return [(found.block, None, True), *splits, *([(found.block, None, False)] if random else [])]


def _measured(found: _Found, unit: Unit) -> EffectiveField:
    (layer, split, trained), network, photo = unit, found.network, found.photo
    assert network is not None
    many = found.request.options.get("many") is True
    # The right and the lower edge belong to the last pixel.
    x, y = (min(side, 1 - 1e-6) for side in found.request.point or CENTRE)
    examples = found.context.photos.examples.values()
    others = [e.path for e in examples if many and not is_same(e.path, photo)]
    photos: list[Any] = [photo.image, *others]
    return found.context.cached(
        ("field", photo.digest, model_key(network), x, y, unit, many),
        lambda: network.effective_receptive_field(
            photos, point=(x, y), layer=layer, split=split, trained=trained
        ),
    )


# --- the answer ------------------------------------------------------------------------------


def _message(found: _Found, *, more: bool) -> Message:
    context, width = found.context, found.request.chart_px
    fields = [found.message(stage, None, stage_name(stage)) for stage in found.stages]
    order = sorted(found.units, key=found.order)
    units = {_id(found.units[unit]): found.units[unit] for unit in order}
    view: Message = {
        "maps": [_map(found, one) for one in units.values()], "pick": "point",
        "fields": [known for known in fields if known], "frame": messages.rect_of(found.geometry),
    }  # fmt: skip
    beside = fair_baseline(found.name)
    theory = [known for known in (found.theory, beside) if known] if found.theory else []
    resnest = any((spec := registry.find(f.model)) and spec.family == "resnest" for f in theory)
    html = messages.render(
        "rf.html", found=found, theory=theory, title=model_title(found.name),
        steps=growth_steps(theory),
        units={name: _said(found, one) for name, one in units.items()},
        stages=[_stage(found, n, stage) for n, stage in enumerate(found.stages, 1)],
        charts=context.cached(("rf charts", repr(theory), width), lambda: _charts(theory, width)),
        examples=len(context.photos.examples), rows=[r for o in units.values() for r in _rows(o)],
        stage_rows=list(_stage_rows(theory)), block_rows=list(_block_rows(theory)),
        sentences=[*map(_sentence, theory), *([ATTENTION] if resnest else [])],
        facts=messages.facts(found.network) if found.network else None,
    )  # fmt: skip
    marks = {}
    if found.theory:
        names = (block.block for block in found.theory.blocks)
        marks = {f"{found.theory.model}/{n}": {"set": {"options": {"block": n}}} for n in names}
    return {"html": html, "view": view, "marks": marks, "more": more}


def _name(one: EffectiveField) -> str:
    split = "" if one.split is None else f", split {one.split}"
    return f"{stage_name(one.layer)}{split}{'' if one.trained else ', random weights'}"


def _id(one: EffectiveField) -> str:
    split = "" if one.split is None else f"/{one.split}"
    return f"{one.layer}{split}{'' if one.trained else '/random'}"


def _squares(one: EffectiveField, log: bool) -> dict[int, Square]:
    """The squares by the percentage that they hold."""
    return {round(100 * s.share): s for s in (one.log_squares if log else one.squares)}


def _can_see(one: EffectiveField) -> int | None:
    return None if one.theoretical is None else round(one.theoretical[2] - one.theoretical[0])


def glow(one: EffectiveField, *, log: bool) -> FloatMap:
    """The gradient as it is drawn: 0..100 % of the strongest hundredth of its pixels.

    Of its logarithm, % of the largest value. Inputs above ``LARGEST_PX`` at half the resolution.
    """
    heat: FloatMap = 100 * field_heat(without_peaks(one.gradient, log=log), log=log)
    height, width = heat.shape
    if max(height, width) > LARGEST_PX:
        even = heat[: height // 2 * 2, : width // 2 * 2]
        heat = even.reshape(height // 2, 2, width // 2, 2).mean((1, 3)).astype(np.float32)
    return heat


def _map(found: _Found, one: EffectiveField) -> Message:
    heat, squares = glow(one, log=found.is_log), _squares(one, found.is_log)
    boxes = [
        {"rect": _on_photo(one, square_box(one, s)), "title": f"{share} %", "tone": TONES[share]}
        for share, s in reversed(squares.items())
    ]
    if one.theoretical is not None:
        sees = {"rect": _on_photo(one, one.theoretical), "title": "can see", "tone": SEES_TONE}
        boxes.insert(0, sees)
    place: Message = {}
    if not found.block:
        number = found.stages.index(one.layer) + 1
        place = {"stage": str(number), "last": number == len(found.stages)}
        place = place if one.trained else {"stage": "random"}
    held = ", ".join(f"{share} % of it within {s.side_px} px" for share, s in squares.items())
    what = "the glow is what moves the unit" if held else "no pixel of this photo moves the unit"
    moves = "The logarithm of what moves it" if found.is_log else "What moves it"
    return {
        **place, "id": _id(one), "group": _id(one), "title": _name(one), "boxes": boxes,
        "data": messages.packed(heat, half=True), "half": True, "shape": list(heat.shape),
        "rect": messages.rect_of(one.geometry), "divisor": 1.0, "top": 100.0,
        "unit": "% of the strongest effect", "caption": f"{_name(one)}: {what} at the cross.",
        "field": found.message(one.layer, one.split, _name(one)),
        "alt": f"It can see {_can_see(one) or '?'} px. {moves}: {held or 'nothing'}.",
    }  # fmt: skip


def _on_photo(one: EffectiveField, box: Box) -> list[float]:
    corners = (one.geometry.to_photo(*box[:2]), one.geometry.to_photo(*box[2:]))
    return [round(value, 2) for corner in corners for value in corner]


def _said(found: _Found, one: EffectiveField) -> Message:
    """A unit in words, and the key of its boxes."""
    most, held = _can_see(one), _squares(one, found.is_log)
    key = [(SEES_TONE, "can see", most)] if most else []
    what = "the logarithm of what moves it" if found.is_log else "what moves it"
    key += [(TONES[n], f"{n} % of {what}", s.side_px) for n, s in held.items()]
    label = "Whole block" if found.block else stage_name(one.layer)
    label = label if one.split is None else f"Split {one.split}"
    return {"name": _name(one), "most": most, "whole": max(one.geometry.view), "label": label,
            "half": held[50].side_px if held else None, "what": what, "key": key,
            "trained": one.trained, "averaged": one.inputs}  # fmt: skip


def _stage(found: _Found, number: int, stage: str) -> Message:
    known, last = theory_of(found.theory, stage), number == len(found.stages)
    change = {"layer": "last" if last else str(number), "options": {"block": None}}
    return {"number": str(number), "set": change, "sees": known.rf_max_px if known else None}


def _charts(theory: Sequence[ReceptiveField], width: int) -> list[Markup]:
    """Growth over depth, and the number of paths by size."""
    if not theory:
        return []
    ends = [f"{model_title(f.model)} ends with {f.stages[-1].rf_max_px} px" for f in theory]
    growth, paths = (make(theory, title="", width=width) for make in (growth_chart, spectrum_chart))
    label = f"Receptive field, {growth_steps(theory)}: {'; '.join(ends)}."
    return [Markup(inline_svg(growth, label)), Markup(inline_svg(paths, "Paths by size"))]


def _sentence(known: ReceptiveField) -> str:
    last = known.stages[-1].spectrum
    sizes = f"{last.distinct} different sizes" if last.distinct > 1 else "one size"
    return (
        f"{model_title(known.model)}: {paths_text(last.paths)} paths lead to the last stage. They "
        f"see squares of {sizes}, {last.rf_min_px} to {last.rf_max_px} px wide."
    )


def paths_text(paths: int) -> str:
    """A number of paths for a sentence: exact below a thousand million, then rounded."""
    if paths < 10**9:
        return f"{paths:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    digits, _, power = f"{Decimal(paths):.1e}".partition("e+")
    return f"about {digits} \N{MULTIPLICATION SIGN} 10^{power}"


def _stage_rows(theory: Sequence[ReceptiveField]) -> Iterator[Sequence[Any]]:
    for known, stage in ((f, stage) for f in theory for stage in f.stages):
        sizes = (stage.rf_min_px, stage.rf_max_px, percent(stage.rf_max_px / known.input_px))
        yield (model_title(known.model), stage_name(stage.stage), stage.stride_px, *sizes,
               stage.spectrum.distinct, stage.spectrum.paths)  # fmt: skip


def _block_rows(theory: Sequence[ReceptiveField]) -> Iterator[Sequence[Any]]:
    for known, block in ((f, block) for f in theory for block in f.blocks):
        head = (model_title(known.model), stage_name(block.block), KINDS[block.kind])
        for s in block.splits:
            yield (*head, s.index, s.rf_min_px, s.rf_max_px, s.spectrum.distinct, s.spectrum.paths,
                   " → ".join(s.path))  # fmt: skip


def _rows(one: EffectiveField) -> Iterator[Sequence[Any]]:
    side = max(one.geometry.view)
    for square, log in zip(one.squares, one.log_squares, strict=True):
        yield (_name(one), one.inputs, f"{square.share:.0%}", square.side_px,
               percent(square.side_px / side), log.side_px, _can_see(one) or "")  # fmt: skip


def files(request: Request, context: Context) -> tuple[str, Mapping[str, bytes]]:
    """Theory in a folder of its own, and the units that were measured."""
    found, made = _theory(request, context), {}
    if found.theory:
        theory = receptive_field_files(found.theory, fair_baseline(found.name))
        made = {f"theory/{name}": content for name, content in theory.items()}
    if context.is_here(found.name):
        units = [_measured(found, unit) for unit in _with_network(found)]
        (x, y), photo, look = request.point or CENTRE, found.photo, drawing(request)
        point = (x * photo.image.width, y * photo.image.height)
        picture = pixels(effective_field_sheet(units, photo.image, look, log=found.is_log))
        network, many = found.network, bool(request.options.get("many"))
        assert network is not None
        made |= context.recorded(
            unit_files(units, name=photo.name, point=point, picture=picture), request, [network],
            "unit", model=network.name, point=[str(x), str(y)], units=[_id(one) for one in units],
            many=many,
        )  # fmt: skip
    return f"mscnn-field-{found.name}", made


LENS = Lens(
    "rf", "Receptive field", "What can one unit of the network see, and what of it does it use?",
    answer, needs=("photo", "model", "point", "options", "layer"), covers=("layer",), files=files,
)  # fmt: skip
