"""Accuracy of a classifier over labelled photographs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Shares in 0..1 over ``images`` photographs; ``loss`` is the mean cross-entropy in nats."""

    images: int
    top1: float
    top5: float
    loss: float


@torch.inference_mode()
def accuracy(
    model: nn.Module, batches: Iterable[tuple[torch.Tensor, torch.Tensor]], device: torch.device
) -> Accuracy:
    """Measure ``model`` (set to eval, and back) in float32.

    Args:
        model: takes ``(B, 3, H, W)`` and gives ``(B, classes)`` logits.
        batches: pairs of images and ``(B,)`` int64 targets.
        device: where the model lies.
    """
    was_training = model.training
    model.eval()
    images = correct1 = correct5 = 0
    loss = 0.0
    try:
        for x, target in batches:
            target = target.to(device)
            logits = model(x.to(device)).float()
            k = min(5, logits.shape[1])
            hits = logits.topk(k, dim=1).indices == target[:, None]
            correct1 += int(hits[:, 0].sum())
            correct5 += int(hits.sum())
            loss += float(nn.functional.cross_entropy(logits, target, reduction="sum"))
            images += len(target)
    finally:
        model.train(was_training)
    n = max(images, 1)
    return Accuracy(images, correct1 / n, correct5 / n, loss / n)
