"""Scale reports made by hand, so that every sentence and number can be worked out on paper."""

from __future__ import annotations

from typing import Any

import numpy as np

from mscnn.geometry import ViewGeometry
from mscnn.results.explanation import PhotoInfo, Prediction, Score, WeightsInfo
from mscnn.results.scales import (
    AttentionReport,
    BlockAttention,
    BlockKind,
    BlockScales,
    ScaleReport,
    SplitEvidence,
)

GEOMETRY = ViewGeometry(photo=(64, 64), resized=(64, 64), offset=(0, 0), view=(64, 64))
LION = Score(0, "lion", 0.75)


def block(
    name: str,
    kind: BlockKind,
    evidence: tuple[float, ...],
    rf: tuple[int | None, ...],
    maps: Any = None,
) -> BlockScales:
    """A block whose maps are 4 x 4; without ``maps`` all are 0."""
    total = sum(evidence) or 1.0
    splits = tuple(
        SplitEvidence(i, ("1x1", *["3x3"] * i), 7 if px else None, px, e, e / total)
        for i, (e, px) in enumerate(zip(evidence, rf, strict=True))
    )
    if maps is None:
        maps = np.zeros((len(splits), 4, 4))
    values = np.asarray(maps, dtype=np.float32)
    return BlockScales(name, kind, 16, splits, values, 0.0, LION.index, GEOMETRY)


def report(
    *blocks: BlockScales, target: Score = LION, model: str = "starter_res2net"
) -> ScaleReport:
    return ScaleReport(prediction(model), target, blocks, np.zeros((64, 64, 3), np.uint8))


def prediction(model: str) -> Prediction:
    photo = PhotoInfo("", 64, 64, GEOMETRY.crop)
    weights = WeightsInfo("bundled", f"{model}.safetensors", "0" * 64)
    return Prediction(photo, model, weights, "cpu", (LION,), np.zeros(2, np.float32))


def attention(
    model: str = "resnest14d.gluon_in1k", *, references: int = 0, radix: int = 2
) -> AttentionReport:
    """One block of four channels in two groups; its second branch wins channel 3."""
    first = np.array([0.5, 0.6, 0.4, 0.1], np.float32)
    gates = np.stack([first, 1 - first]) if radix == 2 else first[None]
    maps = np.zeros((radix, 4, 4), np.float32)
    maps[0, 0, 0] = 1.0
    one = BlockAttention(
        block="layer4.0",
        radix=radix,
        cardinality=2,
        gates=gates,
        entropy_bits=0.853 if radix == 2 else None,
        reference=np.full_like(gates, 0.5) if references else None,
        maps=maps,
        target=LION.index,
        geometry=GEOMETRY,
    )
    return AttentionReport(prediction(model), LION, (one,), references)
