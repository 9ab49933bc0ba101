"""From a network's logits to probabilities: the one place where that is done."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import expit, softmax

from mscnn.errors import WeightsError


def check_finite(values: torch.Tensor | npt.NDArray[Any]) -> None:
    """Raise ``WeightsError`` for values that are not finite: ranked, they look like an answer."""
    if not bool(torch.isfinite(torch.as_tensor(values)).all()):
        raise WeightsError(
            "This network gives no finite numbers; its weights are damaged or its training "
            "diverged. Choose other weights."
        )


def probabilities(logits: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the softmax of ``(..., classes)`` logits, 0..1; of a single logit its sigmoid.

    One logit comes of training with binary cross-entropy: its probability is that of the class
    against everything else. That rest is no class of the model, so results have no row for it.
    Raises ``WeightsError``: a logit is not finite.
    """
    check_finite(logits)
    wide = logits.astype(np.float64)
    found: npt.NDArray[np.float64] = expit(wide) if wide.shape[-1] == 1 else softmax(wide, axis=-1)
    return found
