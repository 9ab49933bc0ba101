"""Counts over labelled photographs, from which accuracy and calibration follow.

Nothing grows with the number of photographs. Calibration is the expected calibration error of Guo
et al., "On Calibration of Modern Neural Networks" (ICML 2017, arXiv:1706.04599), equations 2, 3
and 5: 15 bins of equal width, the m-th is ((m-1)/15, m/15], by the probability of the best class.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch

from mscnn.errors import WeightsError
from mscnn.results.evaluation import ReliabilityBin

BINS = 15


class Tally:
    """Counts of right and wrong answers.

    Attributes:
        images: photographs counted.
        pairs: ``(class, best answer)`` to a count: the confusion matrix without its zeros.
        top5: class to how often it was among the five best answers.
    """

    def __init__(self) -> None:
        self.images = 0
        self.pairs: Counter[tuple[int, int]] = Counter()
        self.top5: Counter[int] = Counter()
        self._bin_images = np.zeros(BINS, np.int64)
        self._bin_right = np.zeros(BINS, np.int64)
        self._bin_confidence = np.zeros(BINS)

    def add(self, logits: torch.Tensor, targets: torch.Tensor) -> None:
        """Count a batch.

        Args:
            logits: ``(B, classes)``, on any device.
            targets: ``(B,)`` int64, on the CPU.

        Raises:
            WeightsError: an answer is not a finite number.
        """
        logits = logits.float().cpu().double()  # in this order: some GPUs know no doubles
        if not bool(logits.isfinite().all()):
            raise WeightsError(
                "The model answers with numbers that are not finite; its weights are damaged or "
                "do not fit this model."
            )
        best = logits.topk(min(5, logits.shape[1]), dim=1).indices
        first = best[:, 0]
        confidence = logits.softmax(1).gather(1, first[:, None])[:, 0].numpy()
        right = (first == targets).numpy()
        self.images += len(targets)
        self.pairs.update(zip(targets.tolist(), first.tolist(), strict=True))
        self.top5.update(targets[(best == targets[:, None]).any(1)].tolist())
        place = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
        self._bin_images += np.bincount(place, minlength=BINS)
        self._bin_right += np.bincount(place[right], minlength=BINS)
        self._bin_confidence += np.bincount(place, confidence, minlength=BINS)

    def merge(self, other: Tally) -> None:
        """Add another process's counts."""
        self.images += other.images
        self.pairs.update(other.pairs)
        self.top5.update(other.top5)
        self._bin_images += other._bin_images
        self._bin_right += other._bin_right
        self._bin_confidence += other._bin_confidence

    def top1_share(self) -> float:
        """Return the share whose best answer was right, 0..1."""
        return sum(n for (true, best), n in self.pairs.items() if true == best) / self.images

    def top5_share(self) -> float:
        """Return the share whose class was among the five best answers, 0..1."""
        return self.top5.total() / self.images

    def ece(self) -> float:
        """Return the expected calibration error, 0..1."""
        # sum of n_b/N * |right_b/n_b - confidence_b/n_b|, with n_b taken out.
        return float(np.abs(self._bin_right - self._bin_confidence).sum() / self.images)

    def bins(self) -> tuple[ReliabilityBin, ...]:
        """Return the reliability diagram's bins, from low to high probability."""
        found = []
        for number, images in enumerate(self._bin_images.tolist()):
            confidence = float(self._bin_confidence[number] / images) if images else None
            accuracy = float(self._bin_right[number] / images) if images else None
            found.append(
                ReliabilityBin(number / BINS, (number + 1) / BINS, images, confidence, accuracy)
            )
        return tuple(found)
