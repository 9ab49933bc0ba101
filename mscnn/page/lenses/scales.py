"""Scales: through which parts of a network's blocks the evidence passed, so at which scale."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from mscnn.draw.charts import evidence_chart, gates_chart
from mscnn.draw.figures import grow, inline_svg
from mscnn.draw.files import scales_files
from mscnn.engine.network import Network
from mscnn.errors import MscnnError, UnsupportedModelError
from mscnn.http.uploads import cache_file
from mscnn.models import registry
from mscnn.page.lens import Context, Lens, model_key
from mscnn.page.lenses.look import drawing
from mscnn.page.messages import (
    TOP_PX,
    Message,
    bare,
    facts,
    map_message,
    model_title,
    packed,
    percent,
    picture,
    rect_of,
    render,
    stage_name,
    zipped,
)
from mscnn.page.photos import Photo
from mscnn.page.request import Request
from mscnn.results.explanation import CamMap
from mscnn.results.scales import AttentionReport, BlockAttention, BlockScales, ScaleReport
from mscnn.scales.receptive_field import ReceptiveField

HALF_ABOVE = 500_000
"""Raw numbers of more than this many bytes travel as float16."""
_MODULES = re.compile(r" \((?:stage 1, block 1 is )?layer\d+\.\d+\)")
_KINDS = {
    "hierarchy": "Each part also gets what the one before it found, so it sees a larger square.",
    "parallel": "The first block of a stage has its parts side by side: no scale to tell apart.",
    "single": "This block has one path: all of its evidence goes through it.",
}
_GATES = (
    "Split attention weighs the block's branches on this photo, channel by channel. That is no "
    "choice of scale: a gate is one number for the whole picture, and all branches see the same "
    "square."
)
_ONE_GATE = (
    "Split attention with one branch: a gate lets each channel through or damps it. There is "
    "nothing to choose between, and no scale."
)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A decision; ``fields`` and ``attention`` where they are known, or there are any."""

    network: Network
    report: ScaleReport
    fields: ReceptiveField | None
    attention: AttentionReport | None = None

    def gates(self, block: str) -> BlockAttention | None:
        known = self.attention.blocks if self.attention else ()
        return next((gates for gates in known if gates.block == block), None)


def answer(request: Request, context: Context) -> Iterator[Message]:
    """All blocks at once; then, of a ResNeSt, its branches, and its gates beside the usual."""
    photo, seen = context.photo(request), _seen(request, context)
    # Of a network that is not listed only it knows.
    spec, split = seen.network.spec, seen.report.has_splits
    gated = spec.family == "resnest" if spec is not None else not split
    yield _message(seen, request, photo, more=gated)
    if gated:
        seen = _with_attention(seen, photo, context)
        yield _message(seen, request, photo, more=True)
        yield _message(_with_references(seen, context), request, photo, more=False)


def _seen(request: Request, context: Context) -> _Seen:
    photo, network = context.photo(request), context.network(request)
    index = context.target(request, network)
    target = "top1" if index is None else index
    report = context.cached(
        ("scales", photo.digest, model_key(network), target),
        lambda: network.scales(photo.image, target=target, name=photo.name),
    )
    try:
        return _Seen(network, report, network.receptive_field())
    except UnsupportedModelError:
        return _Seen(network, report, None)


def _with_attention(seen: _Seen, photo: Photo, context: Context) -> _Seen:
    network, target = seen.network, seen.report.target.index
    try:
        report = context.cached(
            ("attention", photo.digest, model_key(network), target),
            lambda: network.split_attention(photo.image, target=target, name=photo.name),
        )
    except UnsupportedModelError:
        return seen
    return replace(seen, attention=report)


def _with_references(seen: _Seen, context: Context) -> _Seen:
    """Add the mean gates of the examples, which never change: measured once for each network."""
    report, paths = seen.attention, [e.path for e in context.photos.examples.values()]
    if report is None or not paths:
        return seen
    usual = context.cached(
        ("mean gates", model_key(seen.network)),
        lambda: seen.network.split_attention(paths[0], references=paths),
    )
    pairs = zip(report.blocks, usual.blocks, strict=True)
    blocks = tuple(replace(block, reference=mean.reference) for block, mean in pairs)
    return replace(seen, attention=replace(report, blocks=blocks, references=len(paths)))


def _message(seen: _Seen, request: Request, photo: Photo, *, more: bool) -> Message:
    report, network = seen.report, seen.network
    starts = _starts(report)
    maps = _maps(seen, list(starts)[-1])
    parts = {block.block: [m for m in maps if m["group"] == block.block] for block in report.blocks}
    maps.sort(key=lambda message: message["id"] not in starts.values())
    view: Message = {"maps": maps, "frame": maps[0]["rect"]}
    if request.static and not more:  # without a canvas one part is shown, the one to begin with
        layer, _, split = maps[0]["id"].partition("/")
        drawn = picture(photo, report.block(layer).cam(int(split)))
        view["pictures"] = {maps[0]["id"]: cache_file("split.png", drawn)}
    attention, gates = seen.attention, {}
    if attention is not None and attention.references:
        # Of the last block of each stage: a deep network has dozens.
        last = {block.block.partition(".")[0]: block.block for block in attention.blocks}.values()
        charts = {b: gates_chart(attention, b, title="", width=request.chart_px) for b in last}
        gates = {b: _svg(chart, f"Gates of {stage_name(b)}", "bin") for b, chart in charts.items()}
    chart = evidence_chart(report, title="", width=request.chart_px)
    grow(chart, -90)
    baseline = network.spec.baseline if network.spec else ""
    html = render(
        "scales.html", report=report, sentence=_sentence(seen), parts=parts, gates=gates,
        chart=_svg(chart, f"Evidence for {report.target.label}, block by block", "mark"),
        strongest={b.block: _strongest(b) for b in report.blocks}, facts=facts(network),
        notes={b.block: _note(seen, b) for b in report.blocks}, gate_rows=_gate_rows(attention),
        baseline=registry.find(baseline) if baseline else None,
    )  # fmt: skip
    return {
        "html": html, "label": report.target.label, "top": report.prediction.top[0].label,
        "view": view, "more": more,
        "marks": {b.block: {"show": {"map": _strongest(b)}} for b in report.blocks},
        "classes": list(map(network.labels.display, range(len(network.labels)))),
    }  # fmt: skip


def _sentence(seen: _Seen) -> str:
    report, side = seen.report, max(seen.report.view.shape[:2])
    px, label, title = report.weighted_rf_px, report.target.label, model_title(seen.network.name)
    splits = [split for block in report.blocks for split in block.splits]
    if not any(split.evidence > 0 for split in splits):
        return f"Nothing in this photo spoke for {label}."
    if px is None:
        return f"How far the parts of {title} see is not known."
    if not report.has_splits:
        sizes = [split.rf_max_px for split in splits if split.rf_max_px]
        return (
            f"Each block of {title} has one path, so no scale is chosen inside a block: from the "
            f"first block to the last they see {min(sizes)} to {max(sizes)} px of the {side} px "
            "input."
        )
    saw = f"see about {px:.0f} px of the {side} px input"
    if px > side:
        saw = f"could see about {px:.0f} px, more than the whole {side} px input"
    return f"{label[:1].upper()}{label[1:]} was decided by parts that {saw}."


def _starts(report: ScaleReport) -> dict[str, str]:
    """The map to begin with, by stage: of the last block that has scales to tell apart."""
    found: dict[str, BlockScales] = {}
    for block in report.blocks:
        stage = block.block.partition(".")[0]
        if block.kind != "parallel" or stage not in found:
            found[stage] = block
    return {stage: _strongest(block) for stage, block in found.items()}


def _strongest(block: BlockScales) -> str:
    return f"{block.block}/{max(block.splits, key=lambda split: split.share).index}"


def _note(seen: _Seen, block: BlockScales) -> str:
    gates = seen.gates(block.block)
    return _KINDS[block.kind] if gates is None else _GATES if gates.radix > 1 else _ONE_GATE


def _maps(seen: _Seen, last: str) -> list[Message]:
    """All splits of all blocks, those that see least first, and the branches with their gates."""
    report, label, made = seen.report, seen.report.target.label, []
    size = sum(block.maps.nbytes for block in report.blocks)
    half = size * (1 if seen.attention is None else 3) > HALF_ABOVE
    for block in report.blocks:
        name, stage = stage_name(block.block), block.block.partition(".")[0]
        group = {"group": block.block, "stage": stage.removeprefix("layer"), "last": stage == last}
        drawn = _on_one_scale([block.cam(split.index) for split in block.splits], half)
        for split in sorted(block.splits, key=lambda s: (s.rf_max_px or 0, s.index)):
            one = f"Split {split.index}" if len(drawn) > 1 else "The whole block"
            title = f"{name}, {one[0].lower()}{one[1:]}"
            said = f"{percent(split.share)} of the block's evidence for {label}"
            said = said if split.evidence > 0 else f"nothing here spoke for {label}"
            sees = f" sees {split.rf_max_px} px" if split.rf_max_px else ""
            made.append({
                **drawn[split.index], **group, "id": f"{block.block}/{split.index}", "name": one,
                "title": title, "sees": split.rf_max_px or "", "caption": f"{title}{sees}: {said}.",
                "value": percent(split.share), "field": _field(seen, block, split.index, one),
            })  # fmt: skip
        gates = seen.gates(block.block)
        if gates is None:
            continue
        cams = [gates.cam(branch) for branch in range(gates.radix)]
        for branch, message in enumerate(_on_one_scale(cams, half)):
            one = f"Branch {branch}"
            made.append({
                **message, **group, "id": f"{block.block}/radix{branch}", "name": one, "sees": "",
                "title": f"{name}, branch {branch}", "field": _field(seen, block, 0, one),
                "caption": f"{name}, branch {branch}, weighted by its gates for {label}.",
                "value": f"mean gate {float(gates.gates[branch].mean()):.2f}",
            })  # fmt: skip
    return made


def _on_one_scale(cams: Sequence[CamMap], half: bool) -> list[Message]:
    """Maps whose numbers are relative to an even spread over all of them."""
    mean = float(np.mean([cam.on_view().mean() for cam in cams])) or 1.0
    size = cams[0].geometry.drawn_size(TOP_PX)
    top = max(*(float(cam.on_photo(size).max()) / mean for cam in cams), 1.0)
    how: Message = {"top": top, "half": half, "divisor": 1.0 if half else mean}
    data = [packed(cam.raw / mean, half=True) if half else packed(cam.raw) for cam in cams]
    return [map_message(cam, **how, data=raw) for cam, raw in zip(cams, data, strict=True)]


def _field(seen: _Seen, block: BlockScales, index: int, title: str) -> Message | None:
    """What a split's unit under the pointer can see, for the viewer."""
    try:
        known = seen.fields.block(block.block).splits[index] if seen.fields else None
    except MscnnError:
        known = None
    if known is None:
        return None
    return {
        "title": title, "stride": [known.stride_px] * 2, "size": [known.high - known.low] * 2,
        "start": [(known.low + known.high) / 2] * 2, "grid": list(block.maps.shape[:0:-1]),
        "view": list(seen.report.view.shape[1::-1]), "rect": rect_of(block.geometry),
    }  # fmt: skip


def _svg(figure: Figure, label: str, mark: str) -> Markup:
    """A chart as the page shows it, without names of modules."""
    drawn = inline_svg(figure, label).replace(" data-mark=", f" data-{mark}=")
    return Markup(_MODULES.sub("", drawn))


def _gate_rows(attention: AttentionReport | None) -> list[list[str]]:
    """How undecided the gates of each block are."""
    rows = []
    for block in attention.blocks if attention else ():
        bits = "" if block.entropy_bits is None else f"{block.entropy_bits:.3f}"
        usual = block.reference
        change = "" if usual is None else f"{np.abs(block.gates - usual).mean():.4f}"
        counts = (block.radix, block.cardinality, block.gates.shape[1])
        rows.append([stage_name(block.block), *map(str, counts), bits, change])
    return rows


def files(request: Request, context: Context) -> tuple[str, bytes]:
    """Charts, maps, tables, raw numbers and manifest, as a ZIP."""
    photo, seen = context.photo(request), _seen(request, context)
    if not seen.report.has_splits:
        seen = _with_references(_with_attention(seen, photo, context), context)
    made = scales_files(
        seen.report, photo.image, attention=seen.attention, drawing=drawing(request),
        created=datetime.now(timezone.utc),
    )  # fmt: skip
    name = f"mscnn-scales-{seen.network.name}-{seen.report.target.label}"
    return f"{bare(name)}.zip", zipped(made)


LENS = Lens(
    id="scales",
    title="Scales",
    question="At which scale was it decided: by small details or by large parts?",
    answer=answer,
    needs=("photo", "model", "target"),
    files=files,
)
