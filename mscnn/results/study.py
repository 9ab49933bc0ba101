"""What a study found, as means and confidence intervals over its photographs.

Fractions and probabilities lie in 0..1, fields are px of the network's input, ranges are octaves
(factors of two). Splits are in timm's order, the untouched one last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mscnn.results.schema import column

CONFIDENCE = 0.95
SHUFFLED = "shuffled"
"""Control: the neutral canvas, but the object's pixels in random order."""
PLAIN = "mean"
"""The neutral canvas."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over ``count`` photographs and its two-sided 95 % confidence interval.

    In the unit of the values; NaN without values. With one value ``low`` and ``high`` are NaN.
    """

    mean: float
    low: float
    high: float
    count: int = field(metadata=column("photos"))

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.low > 0 or self.high < 0

    def signed(self, how: str = "+.2f", unit: str = "") -> str:
        """The mean with its sign, the interval and the unit."""
        if math.isnan(self.low):
            return "not known"
        return f"{self.mean:{how}} ({self.low:{how}} to {self.high:{how}}){unit}"

    def verdict(self, more: str = "larger", less: str = "smaller", what: str = "difference") -> str:
        """Say what the interval of a difference, or of something else around zero, tells."""
        if math.isnan(self.low):
            return "too few photographs to tell"
        if not self.excludes_zero:
            return f"no {what} that these photographs can show"
        return more if self.mean > 0 else less


def interval(values: npt.ArrayLike) -> Interval:
    """Student's t interval of the mean over photographs, the independent draws; NaN is left out."""
    from scipy.stats import t

    nan = float("nan")
    known = np.asarray(values, dtype=np.float64).ravel()
    known = known[~np.isnan(known)]
    mean = float(known.mean()) if known.size else nan
    if known.size < 2:
        return Interval(mean, nan, nan, known.size)
    error = float(known.std(ddof=1) / np.sqrt(known.size))
    reach = float(t.ppf(0.5 + CONFIDENCE / 2, known.size - 1)) * error
    return Interval(mean, mean - reach, mean + reach, known.size)


def share(flags: npt.ArrayLike) -> Interval:
    """How often something is so, of 1 and 0, and Wilson's interval (1927); NaN is left out."""
    from scipy.stats import binomtest  # late: it takes half a second

    values = np.asarray(flags, dtype=np.float64)
    count, of = int(np.nansum(values)), int((~np.isnan(values)).sum())
    if not of:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    found = binomtest(count, of).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(count / of, float(found.low), float(found.high), of)


@dataclass(frozen=True, slots=True)
class SplitField:
    """One split's fields: the side of the largest theoretical one, px, and what was measured.

    ``half_side_px``, by whose weights, ``"trained"`` or ``"random"``: side of the smallest centred
    square that holds half of the raw gradient at the centre, one value per photograph.
    """

    block: str
    split: int
    theoretical_px: int
    half_side_px: dict[str, Interval]


@dataclass(frozen=True, slots=True)
class SplitChange:
    """How one split's fraction of the evidence changes when the photograph is shown smaller.

    ``large`` and ``small`` are the fractions at the two factors, ``change`` is ``small - large``
    within each photograph; ``rf_max_px`` is the largest theoretical field.
    """

    setting: str
    block: str
    split: int
    rf_max_px: int | None
    large: Interval
    small: Interval
    change: Interval


@dataclass(frozen=True, slots=True)
class CutFinding:
    """One number about cuts, over photographs that the model classifies correctly.

    Attributes:
        quantity: ``needed_px`` (see ``CapCurve``) at each size; at each limit of the cap the
            class's ``probability``, whether it is ``top1``, its ``control_probability`` and the
            ``cap_difference`` from that; of each split its ``share`` of the block's evidence and
            the ``logit_fall`` without it; and over all of these what ``CUT_WORDS`` names.
        found: over those of the ``of`` photographs that have the number: no field is needed where
            the class is not known uncut, and a rank correlation takes three values.
    """

    quantity: str
    found: Interval = field(metadata=column(flatten=True))
    of: int
    factor: float | None = None
    limit_px: int | None = None
    block: str | None = None
    split: int | None = None


_NEED = ("larger objects need more", "larger objects need less", "relation")
_LOSS = ("the more evidence, the more is lost", "the more evidence, the less is lost", "relation")
CUT_WORDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "needed_change": ("receptive field needed at 0.4x minus that at 1x, px", ()),
    "needed_by_size": ("rank correlation of needed field and size, in a photograph", _NEED),
    "needed_by_box": ("rank correlation of needed field and side of the object's box", _NEED),
    "cap_cost": ("probability with random cuts minus that under a cap, mean over limits",
                 ("the cap costs more", "the cap costs less")),
    "fall_by_share": ("rank correlation of a split's share and the fall of the logit", _LOSS),
    "fall_by_share_in_block": ("the same, in each block by itself", _LOSS),
}  # fmt: skip
"""What a quantity is, and what it says above and below zero."""


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """One model; the intervals are over photographs, one per setting and factor.

    Attributes:
        probability: of the class; setting to one interval per factor.
        weighted_rf: evidence-weighted receptive field; likewise; empty without splits.
        weighted_rf_change: small less large factor, within each photograph; by setting.
        shares: setting to block to one list of intervals (splits) per factor.
        changes: empty without splits.
        octaves: width of the range of sizes with at least half of the best probability; by setting.
        cuts: None where they were not asked for.
    """

    model: str
    probability: dict[str, tuple[Interval, ...]]
    weighted_rf: dict[str, tuple[Interval, ...]] = field(metadata=column("weighted_rf_px"))
    weighted_rf_change: dict[str, Interval] = field(metadata=column("weighted_rf_change_px"))
    shares: dict[str, dict[str, tuple[tuple[Interval, ...], ...]]]
    changes: tuple[SplitChange, ...]
    octaves: dict[str, Interval] = field(metadata=column(before="shares"))
    fields: tuple[SplitField, ...] = field(default=(), metadata=column("effective_fields"))
    cuts: tuple[CutFinding, ...] | None = field(default=None, metadata=column(optional=True))

    def cut_answers(self) -> list[str]:
        """Say in words what the cuts showed, a line each."""
        lines = [
            f"{self.model}, cut: {CUT_WORDS[cut.quantity][0]}: {cut.found.signed('+.3g')}, "
            f"{cut.found.count} of {cut.of} photographs: "
            f"{cut.found.verdict(*CUT_WORDS[cut.quantity][1])}."
            for cut in self.cuts or ()
            if cut.quantity in CUT_WORDS
        ]
        if self.cuts and len(lines) < len(CUT_WORDS):
            lines.append(f"{self.model}, cut: no hierarchy of splits, so none was cut by itself.")
        return lines


@dataclass(frozen=True, slots=True)
class Study:
    """The whole result.

    Attributes:
        photos: how many photographs were used; ``looked_at`` were classified to find them.
        labelled: whether the folder said what is right.
        compared: the two factors that changes compare, ``"large"`` and ``"small"``.
        range_gain: model to setting to its octaves less the first model's, within each photograph;
            without the first model.
    """

    photos: int
    looked_at: int
    labelled: bool
    unreadable: int
    factors: tuple[float, ...]
    settings: tuple[str, ...]
    compared: dict[str, float]
    models: tuple[ModelSummary, ...]
    range_gain: dict[str, dict[str, Interval]] = field(metadata=column("range_gain_octaves"))

    def answers(self) -> list[str]:
        """Say in words what was found, a line each; an interval around zero is no difference."""
        lines = [
            f"{self.photos} photographs that all models classified alike, of "
            f"{self.looked_at} looked at; 95 % confidence intervals over photographs."
        ]
        sizes = f"from {self.compared['large']:g}x to {self.compared['small']:g}x"
        for model in self.models:
            lines.append(
                f"{model.model}: keeps half of its best probability over "
                f"{model.octaves[PLAIN].mean:.2f} octaves of size, {_named(PLAIN)}."
            )
            lines += [
                f"{model.model}: evidence-weighted receptive field {sizes}, {_named(setting)}: "
                f"{change.signed(unit=' px')}: {change.verdict()}."
                for setting, change in model.weighted_rf_change.items()
            ]
        first = self.models[0].model
        lines += [
            f"{name}: its range of sizes against {first}, {_named(setting)}: "
            f"{gain.signed(unit=' octaves')}: {gain.verdict()}."
            for name, gains in self.range_gain.items()
            for setting, gain in gains.items()
            if setting != SHUFFLED
        ]
        return lines + [line for model in self.models for line in model.cut_answers()]


def _named(setting: str) -> str:
    return "pixels shuffled (control)" if setting == SHUFFLED else f"{setting} canvas"
