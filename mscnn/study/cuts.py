"""What a model's answers need: ``Network.cap`` and ``Network.ablate`` on many photographs.

Each is shown whole on the plain canvas and capped at every size; the controls and the cuts of
splits are of the largest size, at which the model knows it. For the quantities see ``CutFinding``.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from mscnn.engine.network import Network, Progress, timed
from mscnn.engine.pipeline import model_facts
from mscnn.photos.imaging import load_photo
from mscnn.photos.preprocess import NetworkInput
from mscnn.results.cuts import SplitCut
from mscnn.results.study import CutFinding, interval, share
from mscnn.scales.cuts import limits
from mscnn.study.measure import show
from mscnn.study.photos import StudyPhoto
from mscnn.study.summary import rank, rank_interval

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
    on_progress: Progress = lambda *_: None,
) -> tuple[CutFinding, ...]:
    """Cut one model, number ``which`` in ``StudyPhoto.targets``; ``seed`` draws the controls.

    Raises ``UnsupportedModelError``: the model is not built of residual blocks.
    """
    values, sides = defaultdict[tuple[Any, ...], list[float]](list), []
    for number, photo in enumerate(photos):
        image = load_photo(photo.path)
        sides.append(box_side(photo.path) / max(image.size))
        shown = [show(network, image, factor) for factor in FACTORS]
        for quantity, at, value in _one(network, shown, photo.targets[which], seed + number):
            values[quantity, at].append(value)
        on_progress(number + 1, len(photos))
    found = {what: (share if what[0] == "top1" else interval)(of) for what, of in values.items()}
    needed = values["needed_px", (FACTORS[0],)]
    found["needed_by_box", ()] = rank_interval(sides, needed, seed)
    return tuple(CutFinding(name, of, len(photos), *at) for (name, at), of in found.items())


def _one(
    network: Network, shown: Sequence[NetworkInput], target: int, seed: int
) -> Iterator[tuple[str, tuple[Any, ...], float]]:
    """One photograph at all sizes: quantity, where (the later fields of ``CutFinding``), value."""
    curve = network.cap(shown[0], target=target, draws=DRAWS, seed=seed)
    curves = [curve, *(network.cap(smaller, target=target) for smaller in shown[1:])]
    needed = [of.needed_px or math.nan for of in curves]
    yield from (("needed_px", (f,), px) for f, px in zip(FACTORS, needed, strict=True))
    yield "needed_change", (), needed[-1] - needed[0]
    yield "needed_by_size", (), rank(FACTORS, needed)
    costs = curve.control.mean(axis=0) - [step.probability for step in curve.steps]
    for step, cost in zip(curve.steps, costs, strict=True):
        yield "probability", (None, step.limit_px), step.probability
        yield "top1", (None, step.limit_px), step.top.index == target
        yield "control_probability", (None, step.limit_px), step.probability + cost
        yield "cap_difference", (None, step.limit_px), -cost
    yield "cap_cost", (), costs[:-1].mean()  # at the largest limit nothing is cut
    blocks = network.receptive_field().blocks
    if chained := {block.block for block in blocks if block.kind == "hierarchy"}:
        cuts = [c for c in network.ablate(shown[0], target=target).cuts if c.block in chained]
        for cut in cuts:
            yield "share", (None, None, cut.block, cut.index), cut.share
            yield "logit_fall", (None, None, cut.block, cut.index), -cut.logit_change
        inside = [_order(list(of)) for _, of in groupby(cuts, lambda cut: cut.block)]
        yield "fall_by_share", (), _order(cuts)
        yield "fall_by_share_in_block", (), interval(inside).mean


def _order(cuts: Sequence[SplitCut]) -> float:
    return rank([c.share for c in cuts], [-c.logit_change for c in cuts], constant=math.nan)


def box_side(photo: Path) -> float:
    """Side of the square that is as large as the object's box, px of the photo; NaN if not known.

    From Tiny-ImageNet's list beside the photograph's folder: file, class, left, top, right, bottom.
    """
    path = photo.parent.parent / "val_annotations.txt"
    text = path.read_bytes().decode(errors="replace") if path.is_file() else ""
    row = re.search(rf"^{re.escape(photo.name)}\t.*?" + 4 * r"\t(\d+)" + r"\s*$", text, re.M)
    left, top, right, bottom = map(int, row.groups()) if row else (0, 0, -1, -1)
    return math.sqrt(max(right - left + 1, 0) * max(bottom - top + 1, 0)) or math.nan
