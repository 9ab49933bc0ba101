"""Numbers that are none: a network whose training diverged, or whose file is damaged."""

from __future__ import annotations

import torch

from mscnn.errors import WeightsError


def check_finite(values: torch.Tensor) -> None:
    """Refuse what a measure of shares, ranks or sizes would turn into a confident answer.

    Raises:
        WeightsError: some value is infinite or not a number.
    """
    if not bool(torch.isfinite(values).all()):
        raise WeightsError(
            "This network gives no finite numbers; its weights are damaged or its training "
            "diverged. Choose other weights."
        )
