"""What the Scales tab says: charts, titles, sentences and table rows from reports; no gradio."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from mscnn.draw.charts import Chart
from mscnn.draw.pictures import attribution_chart
from mscnn.engine.pipeline import Engine
from mscnn.errors import MscnnError, OptionError
from mscnn.models.labels import LabelSet
from mscnn.page.compare_view import rounded, title
from mscnn.page.handlers import resized
from mscnn.results.explanation import RgbArray
from mscnn.results.scales import AttentionReport, BlockScales, ScaleReport

MAX_CLASSES = 3
MAX_BESIDE = 2
MAX_CHARTS = MAX_CLASSES * (1 + MAX_BESIDE)
CHART_PX = 720
"""Width of a chart; its words grow with it."""
MAP_PX = 420
HEADERS = ("Class", "Model", "Block", "Splits", "Split", "Sees from (px)", "Sees to (px)",
           "Evidence", "Share (%)", "Block's weighted field (px)", "Path")  # fmt: skip
NUMERIC = frozenset(HEADERS[5:10])
KINDS = {"hierarchy": "each gets the one before", "parallel": "side by side", "single": "one path"}
ARROW = "\N{RIGHTWARDS ARROW}"


@dataclass(frozen=True, slots=True)
class Shown:
    """What one visitor sees on the Scales tab.

    Attributes:
        photo: ``(h, w, 3)`` uint8, longer side ``MAP_PX``.
        asked: class and models as they were asked for.
        reports: one per chart: class by class, each through the models that know the class.
        models: those models as they were asked for, one per report; a result bears only the last
            part of a folder's path.
        boxes: per chart, the boxes of its parts: px of the picture, and ``"layer2.1/0"``.
        number: which report the maps below belong to.
        block: its block that is shown.
        split: the split that was clicked, timm's order; None for none.
        attention: split attention by number of report, where the model has it.
        look: opacity and colours of the maps when they were last drawn.
    """

    photo: RgbArray = field(repr=False)
    asked: tuple[str, ...]
    reports: tuple[ScaleReport, ...] = field(repr=False)
    models: tuple[str, ...]
    boxes: tuple[tuple[Any, ...], ...] = field(repr=False)
    number: int = 0
    block: str = ""
    split: int | None = None
    attention: dict[int, AttentionReport] = field(default_factory=dict, repr=False)
    look: tuple[float, str] | None = None

    @property
    def report(self) -> ScaleReport:
        """The report whose maps are shown."""
        return self.reports[self.number]


def models_of(model: str, also: Sequence[str] | None) -> list[str]:
    """The page's model and those beside it, each once.

    Raises:
        OptionError: more than ``MAX_BESIDE`` beside it.
    """
    names = list(
        dict.fromkeys(name.strip() for name in (model or "", *(also or ())) if name.strip())
    )
    if len(names) > 1 + MAX_BESIDE:
        raise OptionError(f"{len(names)} models were chosen; choose at most {1 + MAX_BESIDE}.")
    return names


def asked(model: str, target: str | None, also: Sequence[str] | None) -> tuple[str, ...]:
    """What was asked for, to tell whether an answer is to the same question."""
    return ((target or "").strip(), *models_of(model, also))


def is_photo_of(shown: Shown, photo: Image.Image) -> bool:
    """Whether the photo in the box is the one whose answer is shown."""
    height, width = shown.photo.shape[:2]
    return np.array_equal(resized(photo, (width, height)), shown.photo)


def wanted_classes(text: str | None, labels: LabelSet) -> list[str]:
    """Split the classes that were typed at their commas; no text is the best answer.

    Raises:
        OptionError: more than ``MAX_CLASSES``.
    """
    whole = (text or "").strip()
    try:
        labels.resolve(whole)
    except MscnnError:
        pass
    else:  # names may hold commas themselves, as in "tabby, tabby cat"
        return [whole]
    names = list(dict.fromkeys(n.strip() for n in whole.split(",") if n.strip()))
    if len(names) > MAX_CLASSES:
        raise OptionError(f"{len(names)} classes were named; name at most {MAX_CLASSES}.")
    return names or ["top1"]


def measure(
    lens: Engine, photo: Image.Image, models: Sequence[str], classes: Sequence[str]
) -> tuple[list[tuple[str, ScaleReport]], tuple[str, ...]]:
    """Reports class by class, each through all models; a class named twice is shown once.

    Returns:
        The reports, each with its model as it was asked for; and a sentence for each model but
        the first that does not know a class.
    """
    found: dict[int, list[tuple[str, ScaleReport]]] = {}
    notes: list[str] = []
    for wanted in classes:
        unknown: dict[str, str] = {}
        reports = lens.scales_of(photo, models, target=wanted, on_unknown=unknown.__setitem__)
        knowing = [model for model in models if model not in unknown]
        found.setdefault(reports[0].target.index, list(zip(knowing, reports, strict=True)))
        notes += [f"{title(model)} is left out: {why}" for model, why in unknown.items()]
    return [pair for pairs in found.values() for pair in pairs], tuple(dict.fromkeys(notes))


def drawn_photo(photo: Image.Image, report: ScaleReport) -> RgbArray:
    """The photo below the maps."""
    size = report.blocks[0].geometry.drawn_size(MAP_PX, MAP_PX)
    return resized(photo, size)


def chart(report: ScaleReport) -> Chart:
    """The shares of all blocks over depth, as the downloaded file has it, but narrower."""
    return attribution_chart(report, width_px=CHART_PX)


def part_at(boxes: Sequence[Any], x: float, y: float) -> tuple[str, int | None] | None:
    """Block and split of a click on a chart; above or below a column the block alone."""
    beside = None
    for (x0, y0, x1, y1), name in boxes:
        block, _, split = str(name).rpartition("/")
        if x0 <= x < x1:
            if y0 <= y < y1:
                return block, int(split)
            beside = (block, None)
    return beside


def chart_title(report: ScaleReport) -> str:
    """Class and model of a report."""
    return f"{report.target.label}: {title(report.prediction.model)}"


def chart_names(reports: Sequence[ScaleReport]) -> list[tuple[str, int]]:
    """Reports as (text, number) for a chooser."""
    return [(chart_title(report), number) for number, report in enumerate(reports)]


def chart_alt(report: ScaleReport) -> str:
    """What a screen reader says of a chart."""
    head = f"Evidence for {report.target.label} in {title(report.prediction.model)}, by block. "
    if not report.has_splits:
        return head + "Every block has one path only, so each column is one part."
    parts = []
    for block in report.blocks:
        if block.kind != "hierarchy" or not any(s.evidence > 0 for s in block.splits):
            continue
        most = max(block.splits, key=lambda s: s.share)
        sees = f", which sees {most.rf_max_px} px" if most.rf_max_px is not None else ""
        parts.append(f"{place(block.block)}: most ({most.share:.0%}) in split {most.index}{sees}")
    return head + "; ".join(parts) + ("." if parts else "No evidence passed.")


def place(block: str) -> str:
    """A block's place in plain words, such as "stage 2, block 2"; else its name."""
    found = re.fullmatch(r"layer(\d+)\.(\d+)", block)
    return f"stage {found[1]}, block {int(found[2]) + 1}" if found else block


def block_title(block: str) -> str:
    """A block's place and name."""
    words = place(block)
    return block if words == block else f"{words[0].upper()}{words[1:]} ({block})"


def block_choices(report: ScaleReport) -> list[tuple[str, str]]:
    """Blocks as (text, name), in order of depth."""
    notes = {
        "parallel": " · no hierarchy: the splits stand side by side", "single": " · one path",
    }  # fmt: skip
    return [(block_title(b.block) + notes.get(b.kind, ""), b.block) for b in report.blocks]


def default_block(report: ScaleReport) -> str:
    """The last block with a hierarchy; the last one where there is none."""
    ladders = [b.block for b in report.blocks if b.kind == "hierarchy"]
    return (ladders or [report.blocks[-1].block])[-1]


def block_note(report: ScaleReport, block: BlockScales) -> str:
    """What kind of block it is, in plain words (Markdown)."""
    head = f"#### {block_title(block.block)} · {chart_title(report)}\n"
    fields = {s.rf_max_px for s in block.splits}
    if block.kind == "single":
        text = (
            "**One path.** This block has one scale only, so all of its evidence passes through "
            "it. It is shown so that a comparison with a split network is fair."
        )
    elif block.kind == "parallel":
        same = " and all see the same area" if len(fields) == 1 and None not in fields else ""
        text = (
            f"**No hierarchy:** as in the first block of every stage, the splits stand side by "
            f"side{same}."
        )
    else:
        text = (
            "Each split also gets what the one before it found, so it sees a larger area. The "
            "last one in timm's order, which the paper's figure has first, is passed on untouched "
            "and sees the least."
        )
    if not any(s.evidence > 0 for s in block.splits):
        text += f" **No evidence for {report.target.label} passed through this block.**"
    return head + text


def summary(reports: Sequence[ScaleReport], notes: Sequence[str] = ()) -> str:
    """One line per report: the evidence-weighted field beside the input's size (Markdown).

    ``notes`` follow, as paragraphs.
    """
    lines = []
    for report in reports:
        head = (
            f"**{report.target.label}** ({report.target.probability:.1%}) in "
            f"**{title(report.prediction.model)}**: "
        )
        side = max(report.view.shape[:2])
        field_px = report.weighted_rf_px
        if field_px is None:
            text = "there is no evidence-weighted field"
            known = all(s.rf_max_px is not None for b in report.blocks for s in b.splits)
            text += " (no evidence for this class passed)." if known else (
                " (how far its parts see is not known for this model)."
            )  # fmt: skip
        else:
            text = (
                f"on average over its blocks, the evidence passed through parts that can see "
                f"**{field_px:.0f} px**; the network's input is {side} px wide."
            )
        if not report.has_splits:
            text += " Each of its blocks has one path, so that number is the architecture's own."
        lines.append(head + text + "".join(f" {notice}" for notice in report.notices))
    return "\n\n".join([*lines, *notes])


def numbers(reports: Sequence[ScaleReport]) -> list[list[Any]]:
    """All numbers of the charts, one row per split; unknown values are empty."""
    return [
        [
            report.target.label,
            title(report.prediction.model),
            block.block,
            KINDS[block.kind],
            split.index,
            split.rf_min_px,
            split.rf_max_px,
            float(f"{split.evidence:.4g}"),
            rounded(100 * split.share, 2),
            rounded(block.weighted_rf_px, 1),
            f" {ARROW} ".join(split.path),
        ]
        for report in reports
        for block in report.blocks
        for split in block.splits
    ]
