"""What the Scales tab says of split attention (ResNeSt): gates, tables and maps; no gradio."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mscnn.draw.charts import histogram_chart
from mscnn.models import registry
from mscnn.page.compare_view import rounded
from mscnn.page.scales_maps import MapCard, cards_html, strongest
from mscnn.page.scales_view import Shown, block_title, place
from mscnn.results.explanation import RgbArray
from mscnn.results.scales import AttentionReport, BlockAttention, ScaleReport

UNIT = "evidence, 1 = an even spread over all branches and places"
BLOCK_HEADERS = ("Block", "Branches (radix)", "Groups", "Channels", "Entropy (bits)",
                 "Entropy at most (bits)", "Mean change from the examples")  # fmt: skip
DECIDED_HEADERS = ("Channel", "Group", "Branch chosen", "Its gate", "Its mean on the examples")
DECIDED = 10
GATES_PX = 640


def may_have_attention(report: ScaleReport) -> bool:
    """Whether it is worth asking the model; of one that is not in the registry only it knows."""
    spec = registry.find(report.prediction.model)
    return spec.family == "resnest" if spec is not None else not report.has_splits


def block_of(attention: AttentionReport, name: str) -> BlockAttention | None:
    """The block of this name, where it has split attention."""
    return next((b for b in attention.blocks if b.block == name), None)


def note(block: BlockAttention, references: int) -> str:
    """What the gates are, in plain words (Markdown)."""
    head = f"#### Split attention in {block_title(block.block)}\n"
    if block.radix > 1:
        text = (
            f"This block has {block.radix} branches. For each of its {block.gates.shape[1]} "
            "channels a gate says how much of each branch goes on; the gates of a channel add up "
            "to 1, so 0.5 means undecided between two. **The gate does not choose a scale:** it "
            "weighs channels, and all branches see the same area."
        )
    else:
        text = (
            f"This block has one branch (radix 1), so each of its {block.gates.shape[1]} channels "
            "has one gate from 0 to 1: **a sigmoid without competition.** It lets a channel "
            "through or damps it, and does not choose between branches, let alone scales."
        )
    if references:
        text += f" The outline is the mean over the page's {references} example photographs."
    return head + text


def gates_picture(block: BlockAttention, references: int) -> RgbArray:
    """How the gates are spread: this photo against the mean of the examples."""
    first = block.gates[0]
    groups = [("this photo", first.tolist())]
    if block.reference is not None:
        groups.append((f"mean of {references} examples", block.reference[0].tolist()))
    label = "gate of branch 0, one per channel" if block.radix > 1 else "gate, one per channel"
    title = f"Gates of {block.block}"
    return histogram_chart(groups, x_label=label, title=title, width_px=GATES_PX).picture


def gates_alt(block: BlockAttention) -> str:
    """What a screen reader says of the histogram."""
    first = block.gates[0]
    low, high = np.percentile(first, (10, 90))
    text = (
        f"Gates of branch 0 in {place(block.block)}: eight of ten channels lie between "
        f"{low:.2f} and {high:.2f}"
    )
    if block.reference is not None:
        far = float(np.abs(block.gates - block.reference).mean())
        text += f"; on average {far:.2f} away from the mean of the example photographs"
    return text + "."


def block_rows(attention: AttentionReport) -> list[list[Any]]:
    """One row per block; unknown values are empty."""
    return [
        [
            b.block,
            b.radix,
            b.cardinality,
            int(b.gates.shape[1]),
            rounded(b.entropy_bits),
            rounded(math.log2(b.radix)) if b.radix > 1 else None,
            rounded(
                None if b.reference is None else float(np.abs(b.gates - b.reference).mean()), 4
            ),
        ]
        for b in attention.blocks
    ]


def decided_rows(block: BlockAttention) -> list[list[Any]]:
    """The most decided channels of a block, most decided first."""
    per_group = block.gates.shape[1] // block.cardinality
    return [
        [
            channel,
            channel // per_group,
            branch,
            rounded(gate),
            rounded(None if block.reference is None else float(block.reference[branch, channel])),
        ]
        for channel, branch, gate in block.decided(DECIDED)
    ]


def radix_html(shown: Shown, block: BlockAttention, opacity: float, cmap: str) -> str:
    """The map of each radix branch, weighted by its gate."""
    height, width = shown.photo.shape[:2]
    cams = [block.cam(branch) for branch in range(block.radix)]
    mean = float(np.mean([cam.on_view().mean() for cam in cams])) or 1.0
    heats = [(cam.on_photo((width, height)) / mean).astype(np.float32) for cam in cams]
    label = shown.report.target.label
    cards = [
        MapCard(
            name=f"Branch {branch}" if block.radix > 1 else "The only branch",
            heat=heat,
            alt=f"Branch {branch} of {place(block.block)}, weighted by its gate, map for {label}; "
            f"{strongest(heat)}.",
            facts=(("mean gate", f"{float(block.gates[branch].mean()):.2f}"),),
        )
        for branch, heat in enumerate(heats)
    ]
    crop = block.geometry.crop_on((width, height))
    return cards_html(shown.photo, cards, crop, opacity, cmap, UNIT)
