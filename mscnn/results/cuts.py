"""What a network answers without some of its splits; see ``mscnn.scales.cuts`` for the methods.

Splits are in timm's order, receptive fields in px of the network's input, probabilities 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mscnn.geometry import Doubles, FloatMap, ViewGeometry
from mscnn.results.explanation import CamMap, Prediction, Score
from mscnn.results.schema import HIDDEN, column, computed

FEWEST_DRAWS = 19
"""Random cuts that a cap has to be compared with at least, for a test at 5 %."""


@dataclass(frozen=True, slots=True)
class SplitCut:
    """One split cut, all others left as they are.

    Attributes:
        rf_max_px: the largest theoretical receptive field of the split; None where not known.
        evidence, share: of the uncut network; see ``SplitEvidence``.
        logit_change, probability_change: of the class, after the cut minus before.
        top: the top-1 prediction after the cut.
    """

    block: str
    index: int = field(metadata=column("split"))
    rf_max_px: int | None
    evidence: float
    share: float
    logit_change: float
    probability_change: float
    top: Score


@dataclass(frozen=True, slots=True)
class Ablation:
    """What one class loses when each split is cut by itself.

    Attributes:
        fill: what replaces a cut split: ``"mean"`` or ``"zero"``.
        references: how many photographs the mean was taken over, without the explained one where
            it is a built-in example; 0 for ``"zero"``.
        rank_correlation: Spearman's, between the evidence of all splits and the fall of the logit
            without them; None where one of the two is constant.
    """

    prediction: Prediction = field(metadata=column(flatten=True))
    target: Score = field(metadata=column("class"))
    fill: str
    references: int
    cuts: tuple[SplitCut, ...]
    rank_correlation: float | None = field(metadata=column(before="cuts"))
    seconds: float = 0.0
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CapStep:
    """All splits that could see more than a limit cut.

    Attributes:
        limit_px: no split that sees more was left.
        cut_channels: fraction of the channels that all blocks' last convolutions read, 0..1.
        logit, probability, top: of the class, and the top-1 prediction, under the cap.
        control_mean, control_low, control_high: the class's probability where as many channels,
            or blocks, were cut at random: mean, and the range of the middle 95 % of the draws; None
            without.
        raw: ``(h, w)`` float32, the last stage's Grad-CAM under the cap, signed, before the ReLU.
    """

    limit_px: int
    cut_channels: float
    logit: float
    probability: float
    top: Score
    control_mean: float | None = None
    control_low: float | None = None
    control_high: float | None = None
    raw: FloatMap | None = field(default=None, repr=False, metadata=HIDDEN)


@dataclass(frozen=True, slots=True)
class CapCurve:
    """One model under a cap on its receptive fields, smallest limit first.

    Attributes:
        needed_px: the smallest limit from which on the class stays the top-1 prediction (an
            only class: more probable than not); None where it is not even at the largest (by
            default without a cap), or not known to the model.
        probabilities: ``(steps, classes)`` float64, of all classes.
        control: ``(draws, steps)`` float64, the class's probability under random cuts.
        whole_blocks: whether these cut as many blocks, not channels: in a network with one path
            per block. They are narrower on average than the deepest, which the cap cuts first.
        note: why something is missing, fit to show; "" where nothing is.
    """

    model: str
    target: int | None
    label: str
    input_px: int
    steps: tuple[CapStep, ...]
    needed_px: int | None = field(metadata=column(before="steps"))
    probabilities: Doubles = field(repr=False, metadata=HIDDEN)
    control: Doubles = field(repr=False, metadata=HIDDEN)
    geometry: ViewGeometry | None = field(repr=False, metadata=HIDDEN)
    note: str = field(default="", metadata=column(before="steps"))
    seconds: float = field(default=0.0, metadata=column(before="steps"))
    whole_blocks: bool = field(default=False, repr=False, metadata=HIDDEN)

    @classmethod
    def without(cls, model: str, note: str) -> CapCurve:
        """The curve of a model that has none, and why."""
        none = np.empty((0, 0))
        return cls(model, None, "", 0, (), None, none, none, None, note)

    @property
    def drawn_at_random(self) -> str:
        """What the control cuts: ``"channels"`` or ``"blocks"``."""
        return "blocks" if self.whole_blocks else "channels"

    @property
    @computed(before="steps")
    def beats_control(self) -> bool | None:
        """Whether the cap costs the class more than the random cuts of its control.

        That is: whether at most 5 % of all cuts, the cap among them, leave it no more probability,
        as the mean over the limits. None with fewer than 19 draws, too few to tell.
        """
        if len(self.control) < FEWEST_DRAWS:
            return None
        mean = float(np.mean([step.probability for step in self.steps]))
        rank = 1 + np.count_nonzero(self.control.mean(axis=1) <= mean)
        return bool(rank * (FEWEST_DRAWS + 1) <= len(self.control) + 1)

    def rivals(self, most: int = 2) -> list[tuple[str, Doubles]]:
        """Other classes that win under some cap with 5 % or more, the most probable first.

        Each with its label and its probability at every step, ``(steps,)``.
        """
        wins = (step.top for step in self.steps if step.top.probability >= 0.05)
        found = {top.index: top.label for top in wins if top.index != self.target}
        order = sorted(found, key=lambda index: -float(self.probabilities[:, index].max()))
        return [(found[index], self.probabilities[:, index]) for index in order[:most]]

    def cam(self, step: int) -> CamMap | None:
        """The last stage's map under one cap, to be projected and drawn like any other."""
        found = self.steps[step]
        if found.raw is None or self.target is None or self.geometry is None:
            return None
        return CamMap(f"cap{found.limit_px}", self.target, "gradcam", found.raw, self.geometry)


@dataclass(frozen=True, slots=True)
class Cap:
    """The same class under a cap on the receptive field, for one to four models.

    ``fill`` is as in ``Ablation``; ``draws`` says how many random cuts each control averages over;
    ``partial``: it was stopped before all models were done.
    """

    label: str = field(metadata=column("class"))
    fill: str
    draws: int
    curves: tuple[CapCurve, ...] = field(metadata=column("models"))
    partial: bool = field(default=False, metadata=column(before="models"))
