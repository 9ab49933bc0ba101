"""How far a class activation map can be believed: its scores, each beside controls.

Probabilities are 0..1. ``raw`` is ``(h, w)`` float32, a map at its layer's resolution, signed. For
the methods see ``mscnn.trust``; ``METRICS`` says what each score means.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from mscnn.geometry import Doubles, FloatMap
from mscnn.results.explanation import CamMap, Prediction, RgbArray, Score
from mscnn.results.scales import PhotoBox
from mscnn.results.schema import HIDDEN, column, computed

Kind = Literal["map", "random", "blob", "blurred"]
"""The map itself, or a control: see ``CONTROLS``."""
CONTROLS: dict[Kind, str] = {
    "random": "The map's own values in a smooth random pattern.",
    "blob": "The map's own values around the middle of the photo, the strongest innermost.",
    "blurred": "The map itself, blurred.",
}
WEIGHTS_MATTER = 0.5
"""A map that correlates with its original by this much, after all weights were drawn anew, does not
show what the network has learnt."""


class Metric(NamedTuple):
    """One score: which way is better, whether the verdict counts it, and what it says."""

    title: str
    higher_is_better: bool
    decides: bool
    summary: str


METRICS: dict[str, Metric] = {
    "deletion_mean": Metric("Deletion (plain)", False, True,
        "Mean probability of the class while the strongest pixels are covered with plain colour."),
    "deletion_blur": Metric("Deletion (blur)", False, True,
        "Mean probability of the class while the strongest pixels are blurred away."),
    "insertion_mean": Metric("Insertion (plain)", True, True,
        "Mean probability of the class while the strongest pixels appear on plain colour."),
    "insertion_blur": Metric("Insertion (blur)", True, True,
        "Mean probability of the class while the strongest pixels appear on a blurred photo."),
    "average_drop": Metric("Drop", False, True,
        "What fraction of its probability the class loses when the photo is dimmed where the map "
        "is weak."),
    "increase": Metric("Increase", True, False,
        "1 where the class gains when the photo is dimmed where the map is weak, else 0."),
    "road": Metric("ROAD", True, True,
        "Probability with the weakest pixels filled in from their surroundings, minus that with "
        "the strongest filled in, halved."),
    "infidelity": Metric("Infidelity", False, True,
        "How wrong the map is about what each square of the photo is worth: 0 exact, 1 useless."),
    "complexity": Metric("Complexity", False, False,
        "Entropy of the map, in nats: lower is more concentrated, which is not better by itself."),
}  # fmt: skip
"""By the name of the field of ``Scores``; papers and definitions: ``mscnn.trust.scores``."""


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of one map, None where not asked for; or its ranks by them, 1 for the best."""

    deletion_mean: float | None = None
    deletion_blur: float | None = None
    insertion_mean: float | None = None
    insertion_blur: float | None = None
    average_drop: float | None = None
    increase: float | None = None
    road: float | None = None
    infidelity: float | None = None
    complexity: float | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A map or one of its controls, and its scores; ``draw`` counts the random ones from 0.

    ``curves`` has ``"deletion_mean"`` and so on: ``(steps + 1,)`` probabilities while none to all
    of the pixels are covered or shown.
    """

    kind: Kind
    draw: int | None
    scores: Scores = field(metadata=column(flatten=True))
    raw: FloatMap = field(repr=False, metadata=HIDDEN)
    curves: Mapping[str, Doubles] = field(repr=False, metadata=HIDDEN)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the scores say of a map beside its controls, by the rule of ``mscnn.trust.verdict``.

    Attributes:
        level: how many controls it beats, 0..3, in the order of ``CONTROLS``; None where scores
            are missing.
        beats_random, beats_blob, beats_blurred: on how many scores, ``of`` those that decide.
    """

    level: int | None
    beats_random: int
    beats_blob: int
    beats_blurred: int
    of: int
    sentence: str


@dataclass(frozen=True, slots=True)
class RandomStep:
    """A map after one more part of the network, by module name, got random weights.

    ``similarity`` is Spearman's, with the original map; None where one of them is flat.
    """

    part: str
    similarity: float | None
    raw: FloatMap = field(repr=False, metadata=HIDDEN)


@dataclass(frozen=True, slots=True)
class Randomisation:
    """What becomes of a map as the network loses what it has learnt, from the head down.

    ``emprt`` is the relative rise of the map's entropy once all weights are random: above 0 where
    it lost structure. None for a flat map, and while not all weights are random.
    """

    steps: tuple[RandomStep, ...]
    emprt: float | None = field(metadata=column(before="steps"))

    @property
    @computed(before="steps")
    def follows_weights(self) -> bool | None:
        """Whether nothing like the map is left when all weights are random; None as ``emprt``."""
        if self.emprt is None or not self.steps:
            return None
        last = self.steps[-1].similarity
        return last is None or abs(last) < WEIGHTS_MATTER


@dataclass(frozen=True, slots=True)
class StabilityStep:
    """The map of a changed photo, put back onto the original.

    Attributes:
        change: a name of ``mscnn.trust.plan.CHANGES``.
        correlation: Spearman's, with the original map where both saw the photo; None if flat.
        probability: of the class, after the change.
        raw: put back: ``(H, W)`` of the view, NaN where the changed photo does not reach.
    """

    change: str
    correlation: float | None
    probability: float
    raw: FloatMap = field(repr=False, metadata=HIDDEN)


@dataclass(frozen=True, slots=True)
class Located:
    """Whether a map lies on the object.

    Attributes:
        pointing_game: 1 where its strongest position is in the box, else 0 (Zhang et al., IJCV
            2018), or how often that is so.
        energy_ratio: see ``mscnn.scales.sweep.energy_ratio``; 1 for an even spread.
    """

    kind: Kind
    pointing_game: float
    energy_ratio: float | None


@dataclass(frozen=True, slots=True)
class Placement:
    """The object at a known position, and its picture's map and controls.

    Attributes:
        factor: the object's longer side over the shorter side of the view.
        position: a name of ``mscnn.trust.checks.POSITIONS``.
        rect: where it lies, px of the view.
    """

    factor: float
    position: str
    rect: tuple[int, int, int, int] = field(metadata=column(heading=""))
    probability: float
    located: tuple[Located, ...]
    raw: FloatMap = field(repr=False, metadata=HIDDEN)
    view: RgbArray = field(repr=False, metadata=HIDDEN)


@dataclass(frozen=True, slots=True)
class Localisation:
    """Whether the maps find the object: on average, and in the user's box on the photo itself."""

    mean: tuple[Located, ...]
    box: tuple[Located, ...]
    placements: tuple[Placement, ...]


@dataclass(frozen=True, slots=True)
class MapTrust:
    """One map, and what was found out about it; None or empty where that was not asked for.

    ``candidates`` are the map, then its controls; ``note`` says why there is no map.
    """

    method: str
    layer: str
    map_seconds: float
    cam: CamMap | None = field(repr=False, metadata=HIDDEN)
    verdict: Verdict = field(metadata=column(flatten=True, prefix="verdict_"))
    candidates: tuple[Candidate, ...] = ()
    randomisation: Randomisation | None = field(default=None, metadata=column(heading=""))
    stability: tuple[StabilityStep, ...] = ()
    localisation: Localisation | None = field(default=None, metadata=column(heading=""))
    note: str = field(default="", metadata=column(before="verdict"))

    @property
    def scores(self) -> Scores:
        """The map's own scores."""
        return self.candidates[0].scores if self.candidates else Scores()

    def beside(self) -> dict[str, dict[Kind, float]]:
        """Return each score that was asked for: the map's, and the mean of each kind of control."""
        order: tuple[Kind, ...] = ("map", *CONTROLS)
        kinds = [kind for kind in order if any(c.kind == kind for c in self.candidates)]
        return {
            name: {k: float(np.mean([getattr(c.scores, name) for c in self.candidates
                                     if c.kind == k])) for k in kinds}
            for name in METRICS if getattr(self.scores, name) is not None
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class RankRow:
    """A map's ranks, or those of the mean of one kind of its controls, among all others.

    ``mean`` is over the scores that decide.
    """

    method: str
    layer: str
    kind: Kind
    mean: float | None
    ranks: Scores = field(metadata=column(flatten=True))


@dataclass(frozen=True, slots=True)
class Recommendation:
    """Which of several maps to use, and why; ``method`` and ``layer`` None where none is good."""

    method: str | None
    layer: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Trust:
    """How far maps of one photo and class can be believed; see ``mscnn.trust.plan.Plan``.

    ``disagreement`` says which maps the scores prefer; ``partial``: it was stopped, and what was
    done until then is here.
    """

    prediction: Prediction = field(metadata=column(flatten=True))
    target: Score = field(metadata=column("class"))
    against: tuple[Score, ...]
    box: PhotoBox | None
    steps: int
    draws: int
    seed: int
    maps: tuple[MapTrust, ...]
    ranks: tuple[RankRow, ...]
    disagreement: str
    recommended: Recommendation | None
    view: RgbArray = field(repr=False, metadata=HIDDEN)
    partial: bool = False
    seconds: float = 0.0
    notices: tuple[str, ...] = ()
