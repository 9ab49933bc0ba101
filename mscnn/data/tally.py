"""Counts over labelled photographs, from which accuracy and calibration follow.

Nothing grows with the number of photographs. Calibration is the expected calibration error of Guo
et al., "On Calibration of Modern Neural Networks" (ICML 2017, arXiv:1706.04599), section 2: 15 bins
of equal width, the m-th is ((m-1)/15, m/15], by the probability of the best class.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mscnn.models.probabilities import probabilities
from mscnn.results.evaluation import ClassResult, ReliabilityBin

BINS = 15
RELIABILITY_BINS = 10
_FINE = 30  # bins counted: of equal width, and both numbers above divide it


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Fractions in 0..1 over ``images`` photographs of ``classes`` possible answers."""

    images: int
    top1: float
    top5: float
    loss: float  # mean cross-entropy, nats
    classes: int

    @property
    def top5_tells(self) -> bool:
        """Whether top-5 can be anything but 1."""
        return self.classes > 5


class Tally:
    """Counts of right and wrong answers."""

    def __init__(self) -> None:
        self.images = 0
        self.pairs: Counter[tuple[int, int]] = Counter()  # (class, best answer): confusion matrix
        self.top5: Counter[int] = Counter()  # class to how often it was among the five best
        self.loss_sum = 0.0  # cross-entropies, nats
        self._bins = np.zeros((3, _FINE))  # images, right ones, sum of probabilities

    def add(self, logits: torch.Tensor, targets: torch.Tensor) -> npt.NDArray[np.float64]:
        """Count ``(B, classes)`` logits, finite or ``WeightsError``, and ``(B,)`` CPU targets.

        Returns ``(B, 3)``: target, best class and its probability.
        """
        logits = logits.float().cpu().double()  # in this order: some GPUs know no doubles
        chances = probabilities(logits.numpy())
        best = logits.topk(min(5, logits.shape[1]), dim=1).indices
        first = best[:, 0]
        probability = np.take_along_axis(chances, first[:, None].numpy(), 1)[:, 0]
        self.images += len(targets)
        self.pairs.update(zip(targets.tolist(), first.tolist(), strict=True))
        self.top5.update(targets[(best == targets[:, None]).any(1)].tolist())
        self.loss_sum += float(torch.nn.functional.cross_entropy(logits, targets, reduction="sum"))
        inside = np.clip(np.ceil(probability * _FINE).astype(int) - 1, 0, _FINE - 1)
        for row, weights in enumerate((None, (first == targets).numpy(), probability)):
            self._bins[row] += np.bincount(inside, weights, minlength=_FINE)
        return np.stack([targets.numpy(), first.numpy(), probability], 1)

    def merge(self, other: Tally) -> None:
        """Add another process's counts."""
        self.images += other.images
        self.pairs.update(other.pairs)
        self.top5.update(other.top5)
        self.loss_sum += other.loss_sum
        self._bins += other._bins

    def accuracy(self, classes: int) -> Accuracy:
        """Return the counts as fractions; zeros where there are no images."""
        n = max(self.images, 1)
        right = sum(count for (true, best), count in self.pairs.items() if true == best)
        return Accuracy(self.images, right / n, self.top5.total() / n, self.loss_sum / n, classes)

    def confusion(self, classes: int) -> npt.NDArray[np.int64]:
        """Return ``(classes, classes)`` counts, true class by row, answer by column."""
        found = np.zeros((classes, classes), np.int64)
        for pair, count in self.pairs.items():
            found[pair] = count
        return found

    def classes(self, indices: Iterable[int], label: Callable[[int], str]) -> list[ClassResult]:
        """Return how each of some classes fared."""
        images, predicted = Counter[int](), Counter[int]()
        for (true, best), count in self.pairs.items():
            images[true] += count
            predicted[best] += count
        found = []
        for index in indices:
            n, right, called = images[index], self.pairs[index, index], predicted[index]
            top1, top5 = right / max(n, 1), self.top5[index] / max(n, 1)
            precision = right / called if called else None
            found.append(ClassResult(index, label(index), n, top1, top5, called, precision))
        return found

    def ece(self) -> float:
        """Return the expected calibration error, 0..1."""
        # sum of n_b/N * |right_b/n_b - confidence_b/n_b|, with n_b taken out.
        _, right, confidence = self._bins.reshape(3, BINS, -1).sum(2)
        return float(np.abs(right - confidence).sum() / self.images)

    def bins(self) -> tuple[ReliabilityBin, ...]:
        """Return the reliability diagram's bins, from low to high probability."""
        return tuple(
            ReliabilityBin(low, high, images, mean, right / images if images else None)
            for low, high, images, right, mean in self._grouped(BINS)
        )

    def reliability(self, what: str) -> dict[str, Any]:
        """Return what ``mscnn.models.reliability`` reads; ``what`` was measured, in words."""
        keys = ("from", "to", "images", "right", "mean_probability")
        bins = [dict(zip(keys, row, strict=True)) for row in self._grouped(RELIABILITY_BINS)]
        return {"set": what, "images": self.images, "bins": bins}

    def _grouped(self, bins: int) -> Iterator[tuple[float, float, int, int, float | None]]:
        """Yield by probability: ends, images, right ones, mean probability (None without any)."""
        for i, row in enumerate(self._bins.reshape(3, bins, -1).sum(2).T.tolist()):
            images, right, total = row
            mean = total / images if images else None
            yield i / bins, (i + 1) / bins, int(images), int(right), mean
