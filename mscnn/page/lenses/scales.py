"""Scales: through which parts of a network's blocks the evidence passed, so at which scale."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

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
from mscnn.page import messages
from mscnn.page.lens import Context, Lens, model_key
from mscnn.page.lenses.look import drawing
from mscnn.page.messages import Message, percent, stage_name
from mscnn.page.photos import Photo
from mscnn.page.request import Request
from mscnn.results.explanation import CamMap
from mscnn.results.receptive_field import ReceptiveField
from mscnn.results.scales import AttentionReport, BlockAttention, BlockScales, ScaleReport

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

    def gates(self, block: str) -> BlockAttention | None:
        known = self.attention.blocks if self.attention else ()
        return next((gates for gates in known if gates.block == block), None)


def answer(request: Request, context: Context) -> Iterator[Message]:
    """All blocks at once; then, of a ResNeSt, its branches, and its gates beside the usual."""
    photo, seen = context.photo(request), _seen(request, context)
    # Of a network that is not listed only it knows.
    spec, plain = seen.network.spec, not seen.report.has_splits
    gated = spec.family == "resnest" if spec is not None else plain
    key = ("chart", photo.digest, model_key(seen.network), seen.report.target.index)
    chart = context.cached((*key, request.chart_px), lambda: _chart(seen.report, request.chart_px))
    yield _message(seen, chart, request, photo, more=gated)
    if gated:
        seen = _with_attention(seen, photo, context)
        yield _message(seen, chart, request, photo, more=True)
        yield _message(_with_references(seen, context), chart, request, photo, more=False)


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
    view: Message = {"maps": maps, "frame": maps[0]["rect"]}
    if request.static and not more:  # without a canvas one part is shown, the one to begin with
        name, _, split = maps[0]["id"].partition("/")
        drawn = messages.picture(photo, report.block(name).cam(int(split)))
        view["pictures"] = {maps[0]["id"]: cache_file("split.png", drawn)}
    spec = network.spec
    html = messages.render(
        "scales.html", report=report, title=messages.model_title(network.name), chart=chart,
        parts=parts, brightest=brightest, gates=_gates_charts(seen.attention, request.chart_px),
        gated={b.block: b for b in (seen.attention.blocks if seen.attention else ())},
        change=lambda block: f"{np.abs(block.gates - block.reference).mean():.4f}",
        facts=messages.facts(network), plainer=registry.find(spec.baseline or "") if spec else None,
    )  # fmt: skip
    return {
        "html": html, "label": report.target.label, "top": report.prediction.top[0].label,
        "view": view, "more": more,
        "marks": {name: {"show": {"map": map_id}} for name, map_id in brightest.items()},
    }  # fmt: skip


def _stage(block: str) -> str:
    return block.partition(".")[0].removeprefix("layer")


def _brightest(block: BlockScales) -> str:
    return f"{block.block}/{np.maximum(block.maps, 0).sum(axis=(1, 2)).argmax()}"


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
    try:
        known = seen.fields.block(block.block).splits[index] if seen.fields else None
    except MscnnError:
        known = None
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
        seen = _with_references(_with_attention(seen, photo, context), context)
    look = drawing(request)
    made = scales_files(seen.report, photo.image, attention=seen.attention, drawing=look)
    return f"mscnn-scales-{seen.network.name}-{seen.report.target.label}", made


LENS = Lens(
    "scales", "Scales", "At which scale was it decided: by small details or by large parts?",
    answer, files=files, needs=("photo", "model", "target"),
)  # fmt: skip
