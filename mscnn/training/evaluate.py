"""Accuracy of a classifier over labelled photographs, and which classes it takes for which."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mscnn.data.processes import Processes

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Shares in 0..1 over ``images`` photographs of ``classes`` possible answers.

    ``loss`` is the mean cross-entropy in nats.
    """

    images: int
    top1: float
    top5: float
    loss: float
    classes: int

    @property
    def top5_tells(self) -> bool:
        """Whether top-5 can be anything but 1."""
        return self.classes > 5


@dataclass(frozen=True, slots=True)
class ClassRow:
    """How one class fared.

    Attributes:
        name: of the class.
        images: photographs of it.
        correct: of these, how many were called so.
        precision: of the photographs called so, how many are; None where none was.
        recall: of the photographs of it, how many were called so; None where there is none.
    """

    name: str
    images: int
    correct: int
    precision: float | None
    recall: float | None


@dataclass(frozen=True)
class Tally:
    """Counts over photographs, which add up over processes.

    Attributes:
        confusion: ``(classes, classes)`` int64, true class by row, answer by column.
        correct5: photographs whose class is among the five best.
        loss_sum: sum of the cross-entropies, nats.
        unread: positions (0-based, in the data set) of photographs that could not be read.
    """

    confusion: Counts
    correct5: int
    loss_sum: float
    unread: tuple[int, ...] = field(default=())

    @property
    def accuracy(self) -> Accuracy:
        """The counts as shares; zeros where there are no images."""
        images = int(self.confusion.sum())
        n = max(images, 1)
        correct = int(self.confusion.trace())
        classes = len(self.confusion)
        return Accuracy(images, correct / n, self.correct5 / n, self.loss_sum / n, classes)

    def joined(self, processes: Processes) -> Tally:
        """Add up what all processes counted; ``unread`` stays this one's."""
        correct5, loss_sum = processes.sum([self.correct5, self.loss_sum])
        confusion = processes.sum_counts(self.confusion)
        return Tally(confusion, round(correct5), loss_sum, self.unread)


@torch.inference_mode()
def tally(
    model: nn.Module,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    device: torch.device,
    classes: int,
) -> Tally:
    """Count the answers of ``model`` (set to eval, and back module by module) in float32.

    Args:
        model: takes ``(B, 3, H, W)`` and gives ``(B, classes)`` logits.
        batches: pairs of images and ``(B,)`` int64 targets; a target of ``-1 - position`` marks a
            photograph that could not be read.
        device: where the model lies.
        classes: number of logits.
    """
    flags = [(module, module.training) for module in model.modules()]
    model.eval()
    confusion = torch.zeros(classes * classes, dtype=torch.int64)
    correct5, loss = 0, 0.0
    unread: list[int] = []
    try:
        for x, target in batches:
            known = target >= 0
            if not bool(known.all()):
                unread += (-1 - target[~known]).tolist()
                x, target = x[known], target[known]
                if not len(target):
                    continue
            target = target.to(device)
            logits = model(x.to(device)).float()
            best = logits.topk(min(5, logits.shape[1]), dim=1).indices
            pairs = target * classes + best[:, 0]
            confusion += torch.bincount(pairs, minlength=classes * classes).cpu()
            correct5 += int((best == target[:, None]).sum())
            loss += float(nn.functional.cross_entropy(logits, target, reduction="sum"))
    finally:
        for module, training in flags:
            module.training = training
    return Tally(confusion.view(classes, classes).numpy(), correct5, loss, tuple(unread))


def accuracy(
    model: nn.Module, batches: Iterable[tuple[torch.Tensor, torch.Tensor]], device: torch.device
) -> Accuracy:
    """Measure ``model``; see ``tally`` for the arguments.

    The number of classes is that of timm's ``model.num_classes``.
    """
    return tally(model, batches, device, int(model.num_classes)).accuracy  # type: ignore[arg-type]


def class_rows(confusion: Counts, names: Iterable[str]) -> list[ClassRow]:
    """Return precision and recall of every class from ``(classes, classes)`` counts."""
    rows = []
    for index, name in enumerate(names):
        images, called = int(confusion[index].sum()), int(confusion[:, index].sum())
        correct = int(confusion[index, index])
        precision = correct / called if called else None
        recall = correct / images if images else None
        rows.append(ClassRow(name, images, correct, precision, recall))
    return rows
