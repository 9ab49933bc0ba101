"""Axes in numbers: from values to px, and which round values to write beside them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mscnn.draw.text import number_text


@dataclass(frozen=True, slots=True)
class Scale:
    """From values to px along one axis.

    Attributes:
        low, high: values at the ends, ``low < high``; above 0 with ``log``.
        start, end: px of ``low`` and ``high``.
        log: logarithmic.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def px(self, value: float) -> float:
        """Return where a value lies, px; values beyond an end lie on it."""
        value = min(max(value, self.low), self.high)
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return self.start + (self.end - self.start) * (value - low) / (high - low)


def linear_ticks(low: float, high: float, most: int) -> tuple[float, ...]:
    """Return at most ``most`` round values (1, 2 or 5 times a power of ten apart) in a range."""
    step = 10.0 ** math.floor(math.log10((high - low) / 1000))
    for factor in (f * 10**power for power in range(6) for f in (1, 2, 5)):
        first = math.ceil(low / (step * factor) - 1e-9)
        last = math.floor(high / (step * factor) + 1e-9)
        if last - first < most:
            # Rounded, so that 3 steps of 0.1 are 0.3.
            return tuple(float(f"{n * step * factor:.12g}") for n in range(first, last + 1))
    return (low, high)


def log_ticks(low: float, high: float, most: int) -> tuple[float, ...]:
    """Return at most ``most`` round values of a range above 0, for a logarithmic axis."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 2, 5), (1, 3), (1,)):
        ticks = [float(f"{digit}e{power}") for power in powers for digit in digits]
        ticks = [t for t in ticks if low * (1 - 1e-9) <= t <= high * (1 + 1e-9)]
        if len(ticks) <= most:
            # A narrow range may hold none of them.
            enough = len(ticks) > 2 or high / low > 10
            return tuple(ticks) if enough else linear_ticks(low, high, most)
    return tuple(ticks[:: math.ceil(len(ticks) / most)])


def with_numbers(values: Sequence[float]) -> list[tuple[float, str]]:
    """Return ticks with their values as words."""
    return [(value, number_text(value)) for value in values]
