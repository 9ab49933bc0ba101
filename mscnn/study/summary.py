"""What a study found, as means and confidence intervals over its photographs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mscnn.results.study import Interval, ModelSummary, SplitChange, SplitField
from mscnn.scales.sweep import score_curve
from mscnn.study.measure import FloatArray, ModelMeasures
from mscnn.study.statistics import interval, paired


def octaves(probability: FloatArray, factors: Sequence[float]) -> FloatArray:
    """``(settings, photos)`` octaves from ``(settings, factors, photos)`` probabilities."""
    settings, _, photos = probability.shape
    out = np.zeros((settings, photos))
    for s in range(settings):
        for p in range(photos):
            out[s, p] = score_curve(factors, probability[s, :, p].tolist())[0]
    return out


def summarise_model(
    measures: ModelMeasures,
    rf: dict[tuple[str, int], int],
    factors: Sequence[float],
    settings: Sequence[str],
    large: float,
    small: float,
    fields: tuple[SplitField, ...] = (),
) -> ModelSummary:
    """Reduce one model's measures.

    Args:
        measures: of all photographs.
        rf: (block, split) to the split's largest theoretical field, px.
        factors: as measured.
        settings: as measured.
        large: factor that changes start from; one of ``factors``.
        small: factor that they end at.
        fields: passed on.
    """
    at, to = list(factors).index(large), list(factors).index(small)
    has_rf = not np.isnan(measures.weighted_rf).all()
    split_blocks = {b: v for b, v in measures.shares.items() if v.shape[-1] > 1}
    range_ = octaves(measures.probability, factors)
    changes, shares = [], {}
    for s, setting in enumerate(settings):
        shares[setting] = {
            block: tuple(
                tuple(interval(values[s, f, :, i]) for i in range(values.shape[-1]))
                for f in range(len(factors))
            )
            for block, values in split_blocks.items()
        }
        for block, values in split_blocks.items():
            for i in range(values.shape[-1]):
                big, little = values[s, at, :, i], values[s, to, :, i]
                changes.append(
                    SplitChange(
                        setting,
                        block,
                        i,
                        rf.get((block, i)),
                        interval(big),
                        interval(little),
                        paired(little, big),
                    )
                )
    return ModelSummary(
        model=measures.model,
        probability=_curves(measures.probability, settings),
        weighted_rf=_curves(measures.weighted_rf, settings) if has_rf else {},
        weighted_rf_change={
            setting: paired(measures.weighted_rf[s, to], measures.weighted_rf[s, at])
            for s, setting in enumerate(settings)
            if has_rf
        },
        shares=shares,
        changes=tuple(changes),
        octaves={setting: interval(range_[s]) for s, setting in enumerate(settings)},
        fields=fields,
    )


def range_gains(
    measures: Sequence[ModelMeasures], factors: Sequence[float], settings: Sequence[str]
) -> dict[str, dict[str, Interval]]:
    """Each later model's octaves less the first model's, within each photograph."""
    first, *others = (octaves(m.probability, factors) for m in measures)
    return {
        m.model: {setting: paired(o[s], first[s]) for s, setting in enumerate(settings)}
        for m, o in zip(measures[1:], others, strict=True)
    }


def _curves(values: FloatArray, settings: Sequence[str]) -> dict[str, tuple[Interval, ...]]:
    return {
        setting: tuple(interval(at_factor) for at_factor in values[s])
        for s, setting in enumerate(settings)
    }
