"""What a model's answers need: ``Network.cap`` and ``Network.ablate`` on many photographs.

Each is shown whole on the plain canvas and capped at every size; the controls and the cuts of
splits are of the largest size, at which the model knows it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mscnn.engine.network import Network, timed
from mscnn.engine.pipeline import model_facts
from mscnn.photos.imaging import load_photo
from mscnn.results.study import CutFinding
from mscnn.scales.cuts import limits
from mscnn.study.measure import show
from mscnn.study.photos import StudyPhoto
from mscnn.study.summary import interval, rank, rank_interval

FACTORS = (1.0, 0.8, 0.63, 0.5, 0.4)
DRAWS = 5
"""Random cuts per photograph and limit: fewer than the lens draws for one, as the means are over
the draws of all photographs, and draws are half of the cost."""


def estimate(network: Network, photos: Sequence[StudyPhoto], which: int) -> str:
    """Say what ``measure_cuts`` will cost, by the time of one photograph."""
    # The second time, when the means that stand for cut channels are there.
    _, seconds = [timed(partial(measure_cuts, network, photos[:1], which)) for _ in range(2)][1]
    field = network.receptive_field()
    splits = sum(len(block.splits) for block in field.blocks) if field.has_splits else 0
    return (
        f"{network.name}: {len(photos)} photographs x "
        f"{(len(FACTORS) + DRAWS) * len(limits(field)) + splits} forwards with cuts x "
        f"{model_facts(network).gmacs or 0:.2g} GMACs, about {len(photos) * seconds / 60:.1f} min"
    )


def measure_cuts(
    network: Network,
    photos: Sequence[StudyPhoto],
    which: int,
    *,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[CutFinding, ...]:
    """Cut one model, number ``which`` in ``StudyPhoto.targets``; ``seed`` draws the controls.

    Raises ``UnsupportedModelError``: the model is not built of residual blocks.
    """
    blocks = [block for block in network.receptive_field().blocks if block.kind == "hierarchy"]
    splits = [(block.block, split.index) for block in blocks for split in block.splits]
    rows = []
    for number, photo in enumerate(photos):
        rows.append(_one(network, photo, photo.targets[which], splits, seed + number))
        if on_progress is not None:
            on_progress(number + 1, len(photos))
    sides, limits_px, needed, capped, cut = map(np.array, zip(*rows, strict=True))
    by_size = [{"factor": factor} for factor in FACTORS]
    by_limit = [{"limit_px": int(limit)} for limit in limits_px[0]]
    by_split = [{"block": block, "split": split} for block, split in splits]
    capped_names = ("probability", "top1", "control_probability", "cap_difference")
    each: list[tuple[str, Any, Any]] = [
        ("needed_px", needed, by_size),
        *((name, capped[:, n], by_limit) for n, name in enumerate(capped_names)),
        *((name, cut[:, n], by_split) for n, name in enumerate(("share", "logit_fall"))),
    ]
    found = [
        CutFinding(name, interval(of), len(photos), **at)
        for name, values, places in each
        for of, at in zip(values.T, places, strict=True)
    ]
    overall = {
        "needed_change": interval(needed[:, -1] - needed[:, 0]),
        "needed_by_size": interval([rank(FACTORS, px) for px in needed]),
        "needed_by_box": rank_interval(sides, needed[:, 0], seed),
        "cap_cost": interval(-capped[:, -1, :-1].mean(axis=1)),  # the last limit cuts nothing
    }
    if splits:
        inside = [[name == block.block for name, _ in splits] for block in blocks]
        order = partial(rank, constant=math.nan)
        ranks = [interval([order(*of[:, block]) for block in inside]).mean for of in cut]
        overall["fall_by_share"] = interval([order(*of) for of in cut])
        overall["fall_by_share_in_block"] = interval(ranks)
    return (*found, *(CutFinding(name, of, len(photos)) for name, of in overall.items()))


def _one(
    network: Network, photo: StudyPhoto, target: int, splits: Sequence[tuple[str, int]], seed: int
) -> tuple[Any, ...]:
    """Side of the box (fraction), limits, field needed by size, four rows by limit, two by split.

    By limit: probability, whether it is the highest, the control's probability, the difference. By
    split: share of the evidence, fall of the logit.
    """
    image = load_photo(photo.path)
    first, *others = [show(network, image, factor) for factor in FACTORS]
    curve = network.cap(first, target=target, draws=DRAWS, seed=seed)
    curves = [curve, *(network.cap(smaller, target=target) for smaller in others)]
    chances = np.array([step.probability for step in curve.steps])
    known = [step.top.index == target for step in curve.steps]
    control = curve.control.mean(axis=0)
    cuts = network.ablate(first, target=target).cuts if splits else ()
    lost = {(cut.block, cut.index): (cut.share, -cut.logit_change) for cut in cuts}
    return (
        box_side(photo.path) / max(image.size), [step.limit_px for step in curve.steps],
        [of.needed_px or math.nan for of in curves], [chances, known, control, chances - control],
        np.reshape([lost[at] for at in splits], (-1, 2)).T,
    )  # fmt: skip


def box_side(photo: Path) -> float:
    """Side of the square that is as large as the object's box, px of the photo; NaN if not known.

    From Tiny-ImageNet's list beside the photograph's folder: file, class, left, top, right, bottom.
    """
    path = photo.parent.parent / "val_annotations.txt"
    text = path.read_bytes().decode(errors="replace") if path.is_file() else ""
    row = re.search(rf"^{re.escape(photo.name)}\t.*?" + 4 * r"\t(\d+)" + r"\s*$", text, re.M)
    left, top, right, bottom = map(int, row.groups()) if row else (0, 0, -1, -1)
    return math.sqrt(max(right - left + 1, 0) * max(bottom - top + 1, 0)) or math.nan
