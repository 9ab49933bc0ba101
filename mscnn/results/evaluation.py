"""How often a network is right on labelled photographs, and how well it knows that."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mscnn.results.explanation import RgbArray, Score, WeightsInfo
from mscnn.results.schema import HIDDEN, LEFT_OUT, NOT_USED, column, computed


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """The photographs whose best class had a probability in ``(low, high]``.

    Its mean is ``confidence``; both fractions are 0..1, None where there is no photograph.
    """

    low: float
    high: float
    images: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class ClassResult:
    """One class of the model that the data has ``images`` of.

    Attributes:
        top1, top5: fractions of them with a right answer, 0..1; 0 without any photograph.
        predicted: how often it was the best answer to any photograph.
        precision: fraction of those that were right, 0..1; None where it never was the answer.
    """

    index: int
    label: str = field(metadata=column(heading="class"))
    images: int
    top1: float
    top5: float
    predicted: int
    precision: float | None


class RealAccuracy(NamedTuple):
    """Accuracy, 0..1, by ImageNet's reassessed labels, which ``images`` photographs have.

    ``top1`` and ``top5`` are None where none has one.
    """

    images: int
    top1: float | None
    top5: float | None


class Disagreement(NamedTuple):
    """How a second model, with its ``top1``, did on the same photographs, which are counted.

    ``p_value`` is that of McNemar's exact test (Psychometrika 12, 1947): how likely ``only_first``
    and ``only_second`` differ at least so much where both models are equally good, 0..1.
    """

    model: str
    weights: WeightsInfo
    top1: float
    p_value: float
    both_right: int
    only_first: int
    only_second: int
    both_wrong: int


KINDS = Disagreement._fields[4:]
"""Kinds of photographs, by which model is right."""


class ShownPhoto(NamedTuple):
    """A photograph of the data by its ``number``; ``target`` is the index of its class.

    ``pictures`` are a small copy and, for each of ``scores``, the map of that class over it.
    """

    number: int
    name: str
    target: int
    scores: tuple[Score, ...]
    pictures: tuple[RgbArray, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        images: photographs that counted.
        top1, top5: fractions of right answers among all ``known_classes`` of the model, 0..1.
        unreadable: what was left out, as ``(name, reason)``.
        not_used: reason to names of files that are no photographs of the data; None for none.
        ece: expected calibration error over ``bins``, 0..1.
        seconds: wall time, with decoding.
        part: which part of the data, in words.
        class_map: the data's name of a class to the model's index and short name.
        real: by ImageNet's reassessed labels, where asked for.
        confusion: ``(class, best answer)`` to how often, without zeros; ``labels`` are short names.
        reliability: what ``mscnn.models.reliability`` reads.
        answers: per photograph of the data its class, the best answer (-1 where it cannot be read)
            and the probability of that, ``(n, 3)`` float64: fewer bytes than its name.
        against: how a second model did, where asked for.
    """

    model: str
    weights: WeightsInfo
    images: int
    top1: float
    top5: float
    unreadable: tuple[tuple[str, str], ...] = field(default=(), metadata=LEFT_OUT)
    ece: float
    device: str
    seconds: float
    part: str
    class_map: dict[str, tuple[int, str]] = field(
        repr=False,
        metadata=column(
            convert=lambda known: {k: {"index": i, "label": t} for k, (i, t) in known.items()}
        ),
    )
    notices: tuple[str, ...] = ()
    not_used: dict[str, list[str]] | None = field(default=None, repr=False, metadata=NOT_USED)
    real: RealAccuracy | None = field(
        default=None, metadata=column(flatten=True, prefix="real_", optional=True, heading="")
    )
    against: Disagreement | None = field(default=None, metadata=column(optional=True, heading=""))
    classes: tuple[ClassResult, ...] = field(repr=False, metadata=column(details=True))
    bins: tuple[ReliabilityBin, ...] = field(
        repr=False, metadata=column("reliability", details=True)
    )
    known_classes: int = field(metadata=HIDDEN)
    confusion: dict[tuple[int, int], int] = field(repr=False, metadata=HIDDEN)
    labels: dict[int, str] = field(repr=False, metadata=HIDDEN)
    answers: npt.NDArray[np.float64] = field(repr=False, compare=False, metadata=HIDDEN)
    reliability: dict[str, Any] = field(default_factory=dict, repr=False, metadata=HIDDEN)

    @property
    @computed(before="unreadable")
    def images_per_second(self) -> float:
        """Speed, with decoding."""
        return self.images / max(self.seconds, 1e-9)

    def confused(self) -> list[tuple[tuple[int, int], int]]:
        """Return ``(class, wrong answer)`` and how often, most frequent first."""
        wrong = (pair for pair in self.confusion.items() if len(set(pair[0])) > 1)
        return sorted(wrong, key=lambda pair: (-pair[1], pair[0]))
