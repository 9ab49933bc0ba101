"""Scales: through which parts of a network's blocks the evidence passed, so at which scale."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from mscnn.draw.charts import ablation_chart, cap_chart, evidence_chart, gates_chart
from mscnn.draw.figures import grow, inline_svg
from mscnn.draw.files import scales_files
from mscnn.engine.network import Network
from mscnn.engine.pipeline import MAX_SWEPT, same_class
from mscnn.errors import Cancelled, MscnnError, UnsupportedModelError
from mscnn.models import registry
from mscnn.page import messages
from mscnn.page.lens import Context, Lens, NeedsConsent, model_key
from mscnn.page.lenses.look import drawing
from mscnn.page.messages import Message, model_title, percent, stage_name
from mscnn.page.photos import Photo, is_same
from mscnn.page.request import Request
from mscnn.results.cuts import Ablation, Cap, CapCurve
from mscnn.results.explanation import CamMap
from mscnn.results.receptive_field import ReceptiveField
from mscnn.results.scales import AttentionReport, BlockAttention, BlockScales, ScaleReport
from mscnn.scales.cuts import DRAWS
from mscnn.scales.effective import theory_of

HALF_ABOVE = 500_000
"""Raw numbers of more than this many bytes travel as float16."""
_MODULES = re.compile(r" \((?:stage 1, block 1 is )?layer\d+\.\d+\)")


@dataclass(frozen=True, slots=True)
class _Seen:
    """A decision; ``fields`` where they are known, ``attention`` where there is any."""

    network: Network
    report: ScaleReport
    fields: ReceptiveField | None
    attention: AttentionReport | None = None
    ablation: Ablation | None = None
    cap: Cap | None = None

    def gates(self, block: str) -> BlockAttention | None:
        known = self.attention.blocks if self.attention else ()
        return next((gates for gates in known if gates.block == block), None)


def answer(request: Request, context: Context) -> Iterator[Message]:
    """All blocks at once; of a ResNeSt, its branches, and its gates beside the usual; then cuts."""
    photo, seen = context.photo(request), _seen(request, context)
    # Of a network that is not listed only it knows.
    spec, plain = seen.network.spec, not seen.report.has_splits
    gated = spec.family == "resnest" if spec is not None else plain
    key = ("chart", photo.digest, model_key(seen.network), seen.report.target.index)
    chart = context.cached((*key, request.chart_px), lambda: _chart(seen.report, request.chart_px))
    cut = bool(request.options.get("cut"))
    yield _message(seen, chart, request, photo, more=gated or cut)
    if gated:
        seen = _with_attention(seen, photo, context)
        yield _message(seen, chart, request, photo, more=True)
        seen = _with_references(seen, request, context)
        yield _message(seen, chart, request, photo, more=cut)
    if cut:
        for step in _with_cuts(seen, request, context):
            more = step.cap is None or step.cap.partial
            yield _message(step, chart, request, photo, more=more)


def _seen(request: Request, context: Context) -> _Seen:
    photo, network = context.photo(request), context.network(request)
    index = context.target(request, network)
    target = "top1" if index is None else index
    report = context.cached(
        ("scales", *photo.key, model_key(network), target),
        lambda: network.scales(photo.image, target=target, name=photo.name),
    )
    return _Seen(network, report, network._field_or_none())


def _with_attention(seen: _Seen, photo: Photo, context: Context) -> _Seen:
    network, target = seen.network, seen.report.target.index
    try:
        report = context.cached(
            ("attention", *photo.key, model_key(network), target),
            lambda: network.split_attention(photo.image, target=target, name=photo.name),
        )
    except UnsupportedModelError:
        return seen
    return replace(seen, attention=report)


def _with_references(seen: _Seen, request: Request, context: Context) -> _Seen:
    """Add the mean gates of the examples but the photo, measured once for each network."""
    report, own = seen.attention, context.photo(request)
    paths = [e.path for e in context.photos.examples.values() if not is_same(e.path, own)]
    if report is None or not paths:
        return seen
    usual = context.cached(
        ("mean gates", model_key(seen.network), *paths),
        lambda: seen.network.split_attention(paths[0], references=paths),
    )
    pairs = zip(report.blocks, usual.blocks, strict=True)
    blocks = tuple(replace(block, reference=mean.reference) for block, mean in pairs)
    return replace(seen, attention=replace(report, blocks=blocks, references=len(paths)))


def _with_cuts(seen: _Seen, request: Request, context: Context) -> Iterator[_Seen]:
    """What the class loses without each part, then under a cap, one network after the other."""
    photo, index = context.photo(request), seen.report.target.index
    # The visitor's names: two folders of the owner's may be called the same.
    names = context.several(request)[:MAX_SWEPT]
    context.consent_to_download(request, names)
    key = *photo.key, model_key(seen.network), index
    ablation = context.cached(
        ("ablation", *key),
        lambda: seen.network.ablate(
            photo.image, target=index, name=photo.name, is_cancelled=context.is_cancelled,
            on_progress=lambda done, total: context.progress(done, total, "Cutting parts"),
        ),
    )  # fmt: skip
    yield replace(seen, ablation=ablation)
    done = Cap(seen.report.target.label, "mean", DRAWS, (), partial=True)
    for name in names:
        what = f"{model_title(name)}: capping what it sees"
        try:
            network = context.network(request, name)
            own = same_class(seen.network.labels, index, network.labels)
            curve = context.cached(
                ("cap", photo.digest, model_key(network), own),
                partial(
                    network.cap, photo.image, target=own, draws=DRAWS,
                    is_cancelled=context.is_cancelled,
                    on_progress=partial(context.progress, what=what),
                ),
            )  # fmt: skip
        except Cancelled:
            yield replace(seen, ablation=ablation, cap=done if done.curves else None)
            return
        except MscnnError as error:
            curve = CapCurve.without(name, str(error))
        curves = (*done.curves, replace(curve, model=registry.full_name(name)))
        done = replace(done, curves=curves, partial=len(curves) < len(names))
        yield replace(seen, ablation=ablation, cap=done)


def _message(seen: _Seen, chart: Markup, request: Request, photo: Photo, *, more: bool) -> Message:
    report, network = seen.report, seen.network
    brightest = {block.block: _brightest(block) for block in report.blocks}
    starts: dict[str, str] = {}  # of each stage, the last block that has scales to tell apart
    for block in report.blocks:
        if block.kind != "parallel" or _stage(block.block) not in starts:
            starts[_stage(block.block)] = brightest[block.block]
    maps = _maps(seen, list(starts)[-1])
    parts = {name: [m for m in maps if m["group"] == name] for name in brightest}
    maps.sort(key=lambda message: message["id"] not in starts.values())
    caps = _cap_maps(seen.cap.curves[0]) if seen.cap else []
    view: Message = {"maps": [*maps, *caps], "frame": maps[0]["rect"]}
    spec = network.spec
    html = messages.render(
        "scales.html", report=report, title=messages.model_title(network.name), chart=chart,
        parts=parts, brightest=brightest, gates=_gates_charts(seen.attention, request.chart_px),
        gated={b.block: b for b in (seen.attention.blocks if seen.attention else ())},
        change=lambda block: f"{np.abs(block.gates - block.reference).mean():.4f}",
        facts=messages.facts(network), plainer=registry.find(spec.baseline or "") if spec else None,
        slider=[{"map": m["id"], "text": m["name"]} for m in caps],
        cut=_cut(seen, request.chart_px), wanted=bool(request.options.get("cut")),
    )  # fmt: skip
    name = seen.cap.curves[0].model if seen.cap else ""
    marks = {f"{name}/{k}": {"show": {"map": m["id"]}} for k, m in enumerate(caps)}
    return {
        "html": html, "label": report.target.label, "top": report.prediction.top[0].label,
        "view": view, "more": more,
        "marks": marks | {n: {"show": {"map": map_id}} for n, map_id in brightest.items()},
    }  # fmt: skip


def _cap_maps(curve: CapCurve) -> list[Message]:
    """The last stage's map under each cap, on one scale; a box as large as what it needs to see."""
    cams = [cam for k in range(len(curve.steps)) if (cam := curve.cam(k)) is not None]
    made = []
    for k, message in enumerate(_on_one_scale(cams, half=False)):
        step = curve.steps[k]
        said = f"{curve.label} {percent(step.probability)}"
        if step.top.index != curve.target:
            said += f", its top-1 is {step.top.label} {percent(step.top.probability)}"
        box = []
        if step.limit_px == curve.needed_px and curve.input_px >= step.limit_px:
            words = f"{step.limit_px} px: enough to know it"
            box = [{"rect": _square(cams[k], step.limit_px), "title": words, "tone": 1}]
        made.append({
            **message, "id": f"cap/{k}", "group": f"cap/{k}", "name": f"{step.limit_px} px",
            "title": f"No part sees more than {step.limit_px} px", "boxes": box,
            "caption": f"No part sees more than {step.limit_px} px: {said}.",
        })  # fmt: skip
    return made


def _square(cam: CamMap, side: int) -> list[float]:
    """A square of the network's input, in photo px, around the map's strongest position."""
    row, column = np.unravel_index(int(cam.raw.argmax()), cam.raw.shape)
    (width, height), (left, top, right, bottom) = cam.geometry.view, cam.geometry.crop
    across, down = (right - left) / width, (bottom - top) / height
    x = left + (column + 0.5) * (right - left) / cam.raw.shape[1]
    y = top + (row + 0.5) * (bottom - top) / cam.raw.shape[0]
    return [x - side / 2 * across, y - side / 2 * down, x + side / 2 * across, y + side / 2 * down]


def _cut(seen: _Seen, width: int) -> Message | None:
    """What the page says of cuts, and their charts."""
    if seen.ablation is None:
        return None
    target, cuts = seen.ablation.target, seen.ablation.cuts
    label = target.label
    least = min(cuts, key=lambda cut: cut.probability_change)
    where = stage_name(least.block).lower() + (
        f", split {least.index}" if seen.report.has_splits else ""
    )
    lost = 100 * -least.probability_change
    points = "point" if round(lost) == 1 else "points"
    said = f"Without {where}, {label} loses most: {lost:.0f} percentage {points}."
    if target.probability < 0.01:
        had = percent(target.probability)
        said = f"{label} has {had} to lose, too little to tell which part it needs."
    elif lost < 1:
        said = f"No single part is needed: whichever is cut, {label} loses less than a point."
    chart = ablation_chart(seen.ablation, title="", width=width)
    found: Message = {
        "sentence": said, "ablation": _svg(chart, f"What {label} loses without each part"),
        "rank": seen.ablation.rank_correlation, "references": seen.ablation.references, "cap": None,
    }  # fmt: skip
    if seen.cap is not None:
        alt = f"Probability of {label} against how far the network may see"
        found["cap"] = _svg(cap_chart(seen.cap, title="", width=width), alt)
        found["sentences"] = [_said_of_cap(curve) for curve in seen.cap.curves]
        found["start"] = len(seen.cap.curves[0].steps) - 1
    return found


def _said_of_cap(curve: CapCurve) -> str:
    title = model_title(curve.model)
    if not curve.steps:
        return f"{title}: {curve.note}"
    said = f"{title} still says {curve.label} when no part sees more than {curve.needed_px} px"
    if curve.needed_px is None:
        said = f"{title} does not say {curve.label} even where nothing is cut"
    elif curve.needed_px == curve.steps[0].limit_px:
        said = f"{title} says {curve.label} at every limit"
    verdict = " Too few random cuts to tell whether it is the receptive field that counts."
    if curve.beats_control is not None:
        verdict = f" Cutting as many {curve.drawn_at_random} at random costs "
        if not curve.beats_control:
            verdict += "about as much, or more, so that says nothing about the receptive field."
        elif curve.whole_blocks:
            verdict += (
                "less, but they have fewer channels on average: that need not be due to the "
                "receptive field."
            )
        else:
            verdict += "less: it is the receptive field that counts."
    return f"{said} (its input is {curve.input_px} px).{verdict}"


def _stage(block: str) -> str:
    return block.partition(".")[0].removeprefix("layer")


def _brightest(block: BlockScales) -> str:
    # By its peak: on the block's one colour scale, evidence that is spread evenly looks empty.
    return f"{block.block}/{block.maps.max(axis=(1, 2)).argmax()}"


def _maps(seen: _Seen, last: str) -> list[Message]:
    """All splits of all blocks, those that see least first, and the branches with their gates."""
    label, blocks = seen.report.target.label, seen.report.blocks
    size = sum(block.maps.nbytes for block in blocks) * (3 if seen.attention else 1)
    made = []
    for block in blocks:
        name, stage = stage_name(block.block), _stage(block.block)
        group = {"group": block.block, "stage": stage, "last": stage == last}
        single = len(block.splits) == 1
        cams = [block.cam(split.index) for split in block.splits]
        drawn = _on_one_scale(cams, half=size > HALF_ABOVE)
        for split in sorted(block.splits, key=lambda s: (s.rf_max_px or 0, s.index)):
            one = "The whole block" if single else f"Split {split.index}"
            title = name if single else f"{name}, split {split.index}"
            said = f"{percent(split.share)} of the block's evidence for {label}"
            said = f"bright parts spoke for {label}" if single else said
            said = said if split.evidence > 0 else f"nothing here spoke for {label}"
            sees = f" sees {split.rf_max_px} px" if split.rf_max_px else ""
            made.append({
                **drawn[split.index], **group, "id": f"{block.block}/{split.index}", "name": one,
                "title": title, "sees": split.rf_max_px or "", "caption": f"{title}{sees}: {said}.",
                "value": "" if single else percent(split.share),
                "field": _field(seen, block, split.index, one),
            })  # fmt: skip
        gates = seen.gates(block.block)
        cams = [gates.cam(branch) for branch in range(gates.radix)] if gates else []
        for branch, message in enumerate(_on_one_scale(cams, half=size > HALF_ABOVE)):
            title = f"{name}, branch {branch}"
            made.append({
                **message, **group, "id": f"{block.block}/radix{branch}", "title": title,
                "caption": f"{title}, weighted by its gates: bright parts spoke for {label}.",
                "name": f"Branch {branch}", "sees": "", "field": _field(seen, block, 0, "A branch"),
                "value": f"mean gate {gates.gates[branch].mean():.2f}" if gates else "",
            })  # fmt: skip
    return made


def _on_one_scale(cams: Sequence[CamMap], *, half: bool) -> list[Message]:
    """Maps whose numbers are relative to an even spread over all of them."""
    if not cams:
        return []
    mean = float(np.mean([cam.on_view().mean() for cam in cams])) or 1.0
    size = cams[0].geometry.drawn_size(messages.TOP_PX)
    top = max(*(float(cam.on_photo(size).max()) / mean for cam in cams), 1.0)
    how: Message = {"top": top, "half": half, "divisor": 1.0 if half else mean}
    data = [messages.packed(cam.raw / mean if half else cam.raw, half=half) for cam in cams]
    pairs = zip(cams, data, strict=True)
    return [messages.map_message(cam, **how, data=sent) for cam, sent in pairs]


def _field(seen: _Seen, block: BlockScales, index: int, title: str) -> Message | None:
    """What a split's unit under the pointer can see, for the viewer; None where not known."""
    known = theory_of(seen.fields, block.block, index)
    if known is None:
        return None
    grid = list(block.maps.shape[:0:-1])
    return messages.field_message(known, block.geometry, title, grid=grid)


def _chart(report: ScaleReport, width: int) -> Markup:
    figure = evidence_chart(report, title="", width=width)
    grow(figure, -50)
    return _svg(figure, f"Evidence for {report.target.label}, block by block")


def _gates_charts(attention: AttentionReport | None, width: int) -> dict[str, Markup]:
    """Charts of the last block of each stage, for a deep network has dozens."""
    if attention is None or not attention.references:
        return {}
    last = {_stage(block.block): block.block for block in attention.blocks}.values()
    charts = {name: gates_chart(attention, name, title="", width=width) for name in last}
    # Its marks are bins, not parts of a block.
    return {name: Markup(_svg(chart, f"Gates of {stage_name(name)}").replace("-mark=", "-bin="))
            for name, chart in charts.items()}  # fmt: skip


def _svg(figure: Figure, label: str) -> Markup:
    """A chart as the page shows it, without names of modules."""
    return Markup(_MODULES.sub("", inline_svg(figure, label)))


def files(request: Request, context: Context) -> tuple[str, Mapping[str, bytes]]:
    """Charts, maps, tables, raw numbers and manifest."""
    photo, seen = context.photo(request), _seen(request, context)
    if not seen.report.has_splits:
        seen = _with_references(_with_attention(seen, photo, context), request, context)
    if request.options.get("cut"):
        with suppress(NeedsConsent):  # its question is on the page
            *_, seen = _with_cuts(seen, replace(request, agreed=False), context)
    name, label, look = seen.network.name, seen.report.target.label, drawing(request)
    made = scales_files(
        seen.report, photo.image, attention=seen.attention, ablation=seen.ablation, cap=seen.cap,
        drawing=look,
    )  # fmt: skip
    made = context.recorded(
        made, request, [seen.network], "scales", model=name, target=label,
        ablate=seen.ablation is not None, **asdict(look),
    )  # fmt: skip
    return f"mscnn-scales-{name}-{label}", made


LENS = Lens(
    "scales", "Scales", "At which scale was it decided: by small details or by large structures?",
    answer, files=files, needs=("photo", "model", "models", "target", "options"),
)  # fmt: skip
