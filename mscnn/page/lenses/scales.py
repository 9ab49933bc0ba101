"""Scales: through which parts of a network's blocks the evidence passed, so at which scale."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

import numpy as np
from markupsafe import Markup

from mscnn.draw.charts import evidence_chart, gates_chart
from mscnn.draw.figures import inline_svg
from mscnn.draw.files import scales_files
from mscnn.engine.network import Network
from mscnn.engine.pipeline import same_class
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
from mscnn.scales.receptive_field import ReceptiveField, SplitField

SECOND = "also:"
"""Begins the names of the second network's blocks and maps."""
HALF_ABOVE = 500_000
"""Raw numbers of more than this many bytes travel as float16."""
KINDS = {
    "hierarchy": "Each part also gets what the one before it found, so it sees a larger square.",
    "parallel": "In the first block of a stage the parts stand side by side: {same}no scale to "
    "tell apart.",
    "single": "This block has one path: all of its evidence goes through it.",
}
GATES = (
    "Split attention: for each channel, gates weigh the block’s {radix} branches on this photo. "
    "That is no choice of scale: a gate is one number for the whole picture, and all branches see "
    "the same square."
)
ONE_GATE = (
    "Split attention with one branch: a gate lets each channel through or damps it. There is "
    "nothing to choose between, and no scale."
)


@dataclass(frozen=True, slots=True)
class _Seen:
    """One network's decision, as it is shown.

    Attributes:
        prefix: of the names of its blocks; ``SECOND`` for the network beside the first.
        fields: theoretical receptive fields; None where the way through it is not known.
    """

    network: Network
    report: ScaleReport
    fields: ReceptiveField | None
    prefix: str = ""
    attention: AttentionReport | None = None

    @property
    def title(self) -> str:
        return model_title(self.network.name)

    def gates(self, block: BlockScales) -> BlockAttention | None:
        """Split attention of a block, where it has it."""
        known = self.attention.blocks if self.attention else ()
        return next((b for b in known if b.block == block.block), None)

    def split(self, block: BlockScales, index: int) -> SplitField | None:
        """What a split can see."""
        try:
            return self.fields.block(block.block).splits[index] if self.fields else None
        except MscnnError:
            return None

    def starts(self) -> dict[str, str]:
        """The map to begin with, by the stage's number; the last one is the network's."""
        found: dict[str, BlockScales] = {}
        for block in self.report.blocks:
            stage = stage_of(block.block)
            if block.kind != "parallel" or stage not in found:
                found[stage] = block
        return {stage: self.strongest(block) for stage, block in found.items()}

    def strongest(self, block: BlockScales) -> str:
        """Name of the map of the split that most of a block's evidence passed through."""
        return f"{self.prefix}{block.block}/{max(block.splits, key=lambda s: s.share).index}"

    def sentence(self) -> str:
        """At which scale it was decided."""
        report, side = self.report, max(self.report.view.shape[:2])
        px, label = report.weighted_rf_px, report.target.label
        if not any(split.evidence > 0 for block in report.blocks for split in block.splits):
            return f"Nothing in this photo spoke for {label}."
        if px is None:
            return f"How far the parts of {self.title} see is not known."
        if not report.has_splits:
            sizes = [s.rf_max_px for b in report.blocks for s in b.splits if s.rf_max_px]
            return (
                f"Each block of {self.title} has one path, so no scale is chosen inside a block: "
                f"from the first block to the last they see {min(sizes)} to {max(sizes)} px of "
                f"the {side} px input."
            )
        whole = f", more than the whole {side} px input" if px > side else f" of the {side} px input"
        return f"{label} was decided by parts that see about {px:.0f} px{whole}."


def answer(request: Request, context: Context) -> Iterator[Message]:
    """Chart, maps and numbers of all blocks; then, of a ResNeSt, its gates beside the usual."""
    photo = context.photo(request)
    seen = _asked(request, context, photo)
    gated = [one for one in seen if _may_be_gated(one)]
    yield _message(seen, request, photo, more=bool(gated))
    if gated:
        seen = [_with_attention(one, photo, context) if one in gated else one for one in seen]
        yield _message(seen, request, photo, more=True)
        seen = [_with_references(one, context) for one in seen]
        yield _message(seen, request, photo, more=False)


def _asked(request: Request, context: Context, photo: Photo) -> list[_Seen]:
    """The network's report, and that of the one to show beside it where it knows the class."""
    network = context.network(request)
    index = context.target(request, network)
    seen = [_seen(context, photo, network, index)]
    also = request.options.get("also")
    if isinstance(also, str) and also and also != network.name:
        try:
            other = context.network(request, also)
            same = same_class(network.labels, seen[0].report.target.index, other.labels)
            seen.append(replace(_seen(context, photo, other, same), prefix=SECOND))
        except MscnnError as error:
            context.notices.append(f"{model_title(also)} is left out: {error}")
    return seen


def _seen(context: Context, photo: Photo, network: Network, index: int | None) -> _Seen:
    target = "top1" if index is None else index
    report = context.cached(
        ("scales", photo.digest, model_key(network), target),
        lambda: network.scales(photo.image, target=target, name=photo.name),
    )
    try:
        fields = network.receptive_field()
    except UnsupportedModelError:
        fields = None
    return _Seen(network, report, fields)


# --- split attention -------------------------------------------------------------------------


def _may_be_gated(seen: _Seen) -> bool:
    """Whether it is worth asking the network; of one that is not listed only it knows."""
    spec = seen.network.spec
    return spec.family == "resnest" if spec is not None else not seen.report.has_splits


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

    def measured() -> dict[str, Any]:
        found = seen.network.split_attention(paths[0], references=paths)
        return {block.block: block.reference for block in found.blocks}

    means = context.cached(("mean gates", model_key(seen.network)), measured)
    blocks = tuple(replace(b, reference=means[b.block]) for b in report.blocks)
    return replace(seen, attention=replace(report, blocks=blocks, references=len(paths)))


# --- the answer ------------------------------------------------------------------------------


def _message(seen: Sequence[_Seen], request: Request, photo: Photo, *, more: bool) -> Message:
    first = seen[0]
    report, network = first.report, first.network
    raw = sum(b.maps.nbytes for s in seen for b in (*s.report.blocks, *_gated(s)))
    maps = [message for one in seen for message in _maps(one, half=raw > HALF_ABOVE)]
    maps.sort(key=lambda message: message["id"] not in first.starts().values())
    view: Message = {"maps": maps, "frame": maps[0]["rect"]}
    if request.static and not more:
        # Without a canvas one part is shown, the one to begin with.
        layer, _, split = maps[0]["id"].partition("/")
        drawn = picture(photo, report.block(layer).cam(int(split)))
        view["pictures"] = {maps[0]["id"]: cache_file("split.png", drawn)}
    html = render(
        "scales.html", seen=seen, report=report,
        charts=[_chart(one, request.chart_px) for one in seen],
        groups=[group for one in seen for group in _groups(one, request.chart_px, len(seen) > 1)],
        rows=[row for one in seen for row in _rows(one)],
        gate_rows=[row for one in seen for row in _gate_rows(one)],
        facts=facts(network), kinds=_choices(network), also=request.options.get("also", ""),
    )  # fmt: skip
    top = report.prediction.top[0].label
    return {
        "html": html, "label": report.target.label, "top": top, "view": view, "more": more,
        "marks": {f"{s.prefix}{b.block}": {"show": {"map": s.strongest(b)}}
                  for s in seen for b in s.report.blocks},
        "classes": list(map(network.labels.display, range(len(network.labels)))),
    }  # fmt: skip


def _gated(seen: _Seen) -> tuple[BlockAttention, ...]:
    return seen.attention.blocks if seen.attention else ()


def _maps(seen: _Seen, *, half: bool) -> Iterator[Message]:
    """All splits of all blocks, and the branches of those with split attention."""
    starts, label = seen.starts(), seen.report.target.label
    default = list(starts)[-1]
    for block in seen.report.blocks:
        name, stage = stage_name(block.block), stage_of(block.block)
        group = {"group": f"{seen.prefix}{block.block}", "stage": stage, "last": stage == default}
        if seen.prefix:
            group |= {"stage": "", "last": False}
            name = f"{seen.title}, {name[0].lower()}{name[1:]}"
        cams = [block.cam(split.index) for split in block.splits]
        for split, message in zip(block.splits, _on_one_scale(cams, half), strict=True):
            part = f"{name}, split {split.index}" if len(cams) > 1 else name
            sees = f" sees {split.rf_max_px} px" if split.rf_max_px else ""
            said = f"{split.share:.0%} of the block’s evidence for {label}"
            if split.evidence <= 0:
                said = f"nothing here spoke for {label}"
            elif len(cams) == 1:
                said = f"bright parts of the photo spoke for {label}"
            yield {
                **message, **group, "id": f"{group['group']}/{split.index}", "title": part,
                "caption": f"{part}{sees}: {said}.",
                "field": _field(seen, block, split.index, f"Split {split.index}"),
            }  # fmt: skip
        gates = seen.gates(block)
        if gates is None:
            continue
        cams = [gates.cam(branch) for branch in range(gates.radix)]
        for branch, message in enumerate(_on_one_scale(cams, half)):
            part = f"{name}, branch {branch}"
            yield {
                **message, **group, "id": f"{group['group']}/radix{branch}", "title": part,
                "caption": f"{part}, weighted by its gates: bright parts spoke for {label}.",
                "field": _field(seen, block, 0, "Each branch"),
            }  # fmt: skip


def _on_one_scale(cams: Sequence[CamMap], half: bool) -> Iterator[Message]:
    """Maps whose numbers are relative to an even spread over all of them."""
    mean = float(np.mean([cam.on_view().mean() for cam in cams])) or 1.0
    size = cams[0].geometry.drawn_size(TOP_PX)
    top = max(float(cam.on_photo(size).max()) for cam in cams) / mean
    for cam in cams:
        more: Message = {"divisor": mean, "top": max(top, 1.0)}
        if half:
            more = {**more, "divisor": 1.0, "data": packed(cam.raw / mean, half=True), "half": True}
        yield map_message(cam, **more)


def _field(seen: _Seen, block: BlockScales, index: int, title: str) -> Message | None:
    known = seen.split(block, index)
    if known is None:
        return None
    height, width = seen.report.view.shape[:2]
    return {
        "title": title, "stride": [known.stride_px] * 2,
        "start": [(known.low + known.high) / 2] * 2, "size": [known.high - known.low] * 2,
        "grid": [int(block.maps.shape[2]), int(block.maps.shape[1])],
        "view": [width, height], "rect": rect_of(block.geometry),
    }  # fmt: skip


def _chart(seen: _Seen, width: int) -> Markup:
    figure = evidence_chart(seen.report, title="", width=width)
    alt = f"Evidence for {seen.report.target.label} in {seen.title}, block by block"
    drawn = inline_svg(figure, alt)
    return Markup(drawn.replace(' data-mark="', f' data-mark="{seen.prefix}'))


def _groups(seen: _Seen, width: int, several: bool) -> list[Message]:
    """The blocks with their parts, the one that sees least first."""
    blocks, made = seen.report.blocks, []
    ends = {stage_of(block.block): block.block for block in blocks}
    for number, block in enumerate(blocks):
        splits = sorted(block.splits, key=lambda s: (s.rf_max_px or 0, s.index))
        parts = [
            {"map": f"{seen.prefix}{block.block}/{s.index}", "sees": s.rf_max_px,
             "name": f"Split {s.index}" if len(splits) > 1 else "The whole block",
             "share": percent(s.share) if len(splits) > 1 else ""}
            for s in splits
        ]  # fmt: skip
        same = len({s.rf_max_px for s in splits}) == 1 and splits[0].rf_max_px is not None
        same_words = "all see the same square, so there is " if same else "there is "
        note, chart = KINDS[block.kind].format(same=same_words), None
        gates = seen.gates(block)
        if gates is not None:
            note = GATES.format(radix=gates.radix) if gates.radix > 1 else ONE_GATE
            parts += [
                {"map": f"{seen.prefix}{block.block}/radix{branch}", "sees": None,
                 "name": f"Branch {branch}",
                 "share": f"mean gate {float(gates.gates[branch].mean()):.2f}"}
                for branch in range(gates.radix)
            ]  # fmt: skip
        if gates is not None and gates.reference is not None and seen.attention is not None:
            # Only the last block of each stage: a deep network has dozens.
            if ends[stage_of(block.block)] == block.block:
                drawn = gates_chart(seen.attention, block.block, title="", width=width)
                chart = Markup(inline_svg(drawn, f"Gates of {stage_name(block.block)}"))
        made.append({
            "id": f"{seen.prefix}{block.block}", "parts": parts, "note": note, "chart": chart,
            "title": stage_name(block.block) + (f" of {seen.title}" if several else ""),
            "before": seen.strongest(blocks[number - 1]) if number else "",
            "after": seen.strongest(blocks[number + 1]) if number + 1 < len(blocks) else "",
        })  # fmt: skip
    return made


def _rows(seen: _Seen) -> Iterator[Sequence[str]]:
    """All numbers of the chart, one row per split."""
    for block in seen.report.blocks:
        weighted = block.weighted_rf_px
        for split in block.splits:
            sees = "" if split.rf_max_px is None else f"{split.rf_min_px} to {split.rf_max_px}"
            yield (
                seen.title, stage_name(block.block), str(split.index), sees,
                f"{split.evidence:.4g}", f"{split.share:.1%}",
                "" if weighted is None else f"{weighted:.1f}", " → ".join(split.path),
            )  # fmt: skip


def _gate_rows(seen: _Seen) -> Iterator[Sequence[str]]:
    """How undecided the gates of each block are."""
    for block in _gated(seen):
        bits = "" if block.entropy_bits is None else f"{block.entropy_bits:.3f}"
        most = f"{math.log2(block.radix):g}" if block.radix > 1 else ""
        usual = block.reference
        change = "" if usual is None else f"{float(np.abs(block.gates - usual).mean()):.4f}"
        channels = str(block.gates.shape[1])
        yield (seen.title, stage_name(block.block), str(block.radix), str(block.cardinality),
               channels, bits, most, change)  # fmt: skip


def _choices(network: Network) -> list[tuple[str, list[tuple[str, str]]]]:
    """Networks to show beside this one: first the one that differs in little else."""
    baseline = network.spec.baseline if network.spec else ""
    listed = [s for s in registry.list_backbones() if s.name != network.name]
    fair = [(s.name, s.title) for s in listed if s.name == baseline]
    others = [(s.name, s.title) for s in listed if s.name != baseline]
    return [("Made the same way, without splits", fair), ("Others", others)]


def stage_of(block: str) -> str:
    """``"layer3.1"`` -> ``"3"``; "" where a block is named otherwise."""
    number = block.partition(".")[0].removeprefix("layer")
    return number if number.isdigit() else ""


def files(request: Request, context: Context) -> tuple[str, bytes]:
    """Charts, maps, tables and raw numbers; a folder for each network where there are two."""
    photo = context.photo(request)
    seen = _asked(request, context, photo)
    packed_files: dict[str, bytes] = {}
    created = datetime.now(timezone.utc)
    for one in seen:
        if _may_be_gated(one):
            one = _with_references(_with_attention(one, photo, context), context)
        made: Mapping[str, bytes] = scales_files(
            one.report, photo.image, attention=one.attention, drawing=drawing(request),
            created=created,
        )  # fmt: skip
        folder = f"{bare(one.network.name)}/" if len(seen) > 1 else ""
        packed_files |= {folder + name: content for name, content in made.items()}
    name = f"mscnn-scales-{seen[0].network.name}-{seen[0].report.target.label}"
    return f"{bare(name)}.zip", zipped(packed_files)


LENS = Lens(
    id="scales",
    title="Scales",
    question="At which scale was it decided: by small details or by large parts?",
    answer=answer,
    needs=("photo", "model", "target", "options"),
    files=files,
)
