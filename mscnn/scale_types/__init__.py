"""Frozen results of the multi-scale lens, on NumPy: what is drawn, listed and written.

Blocks are named as timm's modules (``"layer2.1"``). Splits are counted from 0 in timm's order, in
which the untouched split of a Res2Net block is the *last*; the paper's figure has it first. All
receptive fields are px of the network's input, along one side of a square.
"""

from __future__ import annotations

from mscnn.scale_types.attention import AttentionReport, BlockAttention
from mscnn.scale_types.field import EffectiveField, Square
from mscnn.scale_types.splits import BlockKind, BlockScales, ScaleReport, SplitEvidence
from mscnn.scale_types.sweep import PhotoBox, Sweep, SweepCurve, SweepStep

__all__ = [
    "AttentionReport",
    "BlockAttention",
    "BlockKind",
    "BlockScales",
    "EffectiveField",
    "PhotoBox",
    "ScaleReport",
    "SplitEvidence",
    "Square",
    "Sweep",
    "SweepCurve",
    "SweepStep",
]
