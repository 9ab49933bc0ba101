"""How far a class activation map can be believed: its scores, each beside controls.

Probabilities are 0..1. ``raw`` is ``(h, w)`` float32, a map at its layer's resolution, signed. For
the methods see ``mscnn.trust``; what each score means stands in ``METRICS``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from mscnn.geometry import FloatMap, ViewGeometry
from mscnn.results.explanation import CamMap, Prediction, RgbArray, Score
from mscnn.results.scales import PhotoBox
from mscnn.results.schema import HIDDEN, column, computed

Kind = Literal["map", "random", "blob", "blurred"]
"""The map itself, or a control: see ``CONTROLS``."""
CONTROLS: dict[Kind, str] = {
    "random": "The map's own cells at random, smooth places.",
    "blob": "The map's own cells around the middle of the photo, the strongest innermost.",
    "blurred": "The map itself, blurred.",
}
WEIGHTS_MATTER = 0.5
"""A map that still correlates with its original by this much, after all weights were drawn anew,
does not show what the network has learnt."""


class Metric(NamedTuple):
    """One score: which way is better, whether the verdict counts it, and what it says."""

    title: str
    higher_is_better: bool
    decides: bool
    paper: str
    summary: str


_RISE = "Petsiuk et al., BMVC 2018, arXiv:1806.07421"
METRICS: dict[str, Metric] = {
    "deletion_mean": Metric("Deletion (plain)", False, True, _RISE,
        "Mean probability of the class while the strongest places are covered with plain colour."),
    "deletion_blur": Metric("Deletion (blur)", False, True, _RISE,
        "Mean probability of the class while the strongest places are blurred away."),
    "insertion_mean": Metric("Insertion (plain)", True, True, _RISE,
        "Mean probability of the class while the strongest places appear on plain colour."),
    "insertion_blur": Metric("Insertion (blur)", True, True, _RISE,
        "Mean probability of the class while the strongest places appear on a blurred photo."),
    "average_drop": Metric("Drop", False, True,
        "Chattopadhay et al., WACV 2018, arXiv:1710.11063",
        "What fraction of its probability the class loses when the photo is dimmed by the map."),
    "increase": Metric("Increase", True, False,
        "Chattopadhay et al., WACV 2018, arXiv:1710.11063",
        "1 where the class gains from dimming the photo by the map, else 0."),
    "road": Metric("ROAD", True, True, "Rong et al., ICML 2022, arXiv:2202.00449",
        "Probability after the weakest places are filled in from their surroundings, less that "
        "after the strongest are, halved."),
    "infidelity": Metric("Infidelity", False, True, "Yeh et al., NeurIPS 2019, arXiv:1901.09392",
        "How wrong the map is about what covering each square costs: 0 foretold exactly, 1 not "
        "at all."),
    "complexity": Metric("Complexity", False, False, "Bhatt et al., IJCAI 2020, arXiv:2005.00631",
        "Entropy of the map, in nats: lower is more concentrated, which is not better by itself."),
}  # fmt: skip
"""By the name of the field of ``Scores``."""


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of one map, see ``METRICS``; None where it was not asked for.

    Also used for ranks, 1 for the best, ties given their mean.
    """

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
    """A map or one of its controls, and its scores.

    Attributes:
        draw: which of the random controls, from 0; None for the others.
        curves: ``"deletion_mean"`` and so on to the ``(steps + 1,)`` probabilities while 0 to
            all of the pixels are covered or shown.
    """

    kind: Kind
    draw: int | None
    scores: Scores = field(metadata=column(flatten=True))
    raw: FloatMap = field(repr=False, metadata=HIDDEN)
    curves: Mapping[str, npt.NDArray[np.float64]] = field(repr=False, metadata=HIDDEN)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the scores say of a map beside its controls; for the rule see ``mscnn.trust.verdict``.

    Attributes:
        level: how many controls it beats, in the order random, blob, blurred: 0..3; None where
            the scores are missing or incomplete.
        beats_random, beats_blob, beats_blurred: on how many scores it does.
        of: how many scores decide.
        sentence: the same in plain words.
    """

    level: int | None
    beats_random: int
    beats_blob: int
    beats_blurred: int
    of: int
    sentence: str


@dataclass(frozen=True, slots=True)
class RandomStep:
    """A map after one more part of the network got random weights.

    ``part`` is the module's name, ``"stem"`` for what is left; ``similarity`` is Spearman's rank
    correlation with the original map, None where one of them is flat.
    """

    part: str
    similarity: float | None
    raw: FloatMap = field(repr=False, metadata=HIDDEN)


@dataclass(frozen=True, slots=True)
class Randomisation:
    """What becomes of a map as the network loses what it has learnt, from the head down.

    Attributes:
        emprt: relative rise of the map's histogram entropy once all weights are random (Hedström
            et al. 2024): above 0 where the map lost structure; None for a flat map.
    """

    steps: tuple[RandomStep, ...]
    emprt: float | None = field(metadata=column(before="steps"))

    @property
    @computed(before="steps")
    def follows_weights(self) -> bool:
        """Whether nothing like the map is left when all weights are random."""
        last = self.steps[-1].similarity if self.steps else None
        return last is None or abs(last) < WEIGHTS_MATTER


@dataclass(frozen=True, slots=True)
class StabilityStep:
    """The map of a changed photo, put back onto the original.

    Attributes:
        change: ``"flip"``, ``"shift"``, ``"zoom"`` or ``"noise"``.
        correlation: Spearman's, with the original map where both saw the photo; None if flat.
        probability: of the class, after the change.
        raw: put back; ``(H, W)`` of the view, NaN where the changed photo does not reach.
    """

    change: str
    correlation: float | None
    probability: float
    raw: FloatMap = field(repr=False, metadata=HIDDEN)


@dataclass(frozen=True, slots=True)
class Located:
    """Whether a map lies on the object.

    Attributes:
        pointing_game: 1 where the strongest place lies in the box, else 0 (Zhang et al., IJCV
            2018), or the fraction of times that it does.
        energy_ratio: fraction of the evidence in the box over the area's; 1 for an even spread,
            None without evidence. See ``mscnn.scales.sweep.energy_ratio``.
    """

    kind: Kind
    pointing_game: float
    energy_ratio: float | None


@dataclass(frozen=True, slots=True)
class Placement:
    """The object at a known place on a plain canvas.

    Attributes:
        factor: the object's longer side over the shorter side of the view.
        position: such as ``"centre"`` or ``"top left"``.
        rect: where it lies, px of the view.
        probability: of the class.
        located: the map of this picture, then its controls.
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
    """Whether maps find the object where its place is known.

    Attributes:
        mean: over all placements, the map first, then its controls.
        box: on the photo itself, for the box that the user drew; empty without one.
    """

    mean: tuple[Located, ...]
    box: tuple[Located, ...]
    placements: tuple[Placement, ...]


@dataclass(frozen=True, slots=True)
class MapTrust:
    """One map, and what was found out about it; None or empty where that was not asked for.

    Attributes:
        layer: module name.
        map_seconds: what the map itself took.
        note: why there is no map, fit to show; "" where there is one.
        candidates: the map first, then its controls.
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


@dataclass(frozen=True, slots=True)
class RankRow:
    """How the scores rank a map, or the mean of one kind of its controls, among all others.

    ``mean`` is over the scores that decide; None without any.
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
    """How far maps of one photo and class can be believed.

    Attributes:
        against: the classes it is set in contrast to.
        box: of the object, fractions of the upright photo; None for all of it.
        steps, draws, seed: as in ``mscnn.trust.plan.Plan``.
        disagreement: what the scores prefer, in plain words.
        partial: it was stopped; what was done until then is here.
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
    geometry: ViewGeometry = field(repr=False, metadata=HIDDEN)
    partial: bool = False
    seconds: float = 0.0
    notices: tuple[str, ...] = ()
