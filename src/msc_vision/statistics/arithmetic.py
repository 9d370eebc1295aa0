"""Sums that do not show in which order they were added, and counts in words."""

import math
from collections.abc import Sequence


def weighted_mean(values: Sequence[float], weights: Sequence[float]) -> float | None:
    """Return the weighted mean, None of nothing; `math.fsum` rounds once, so the order cannot show."""
    if not values:
        return None
    mean = math.fsum(v * w for v, w in zip(values, weights, strict=True)) / math.fsum(weights)
    return min(max(mean, min(values)), max(values))


def sample_sd(values: Sequence[float]) -> float | None:
    """Return the standard deviation (n - 1), None below two values."""
    if len(values) < 2:
        return None
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def counted(n: int, noun: str) -> str:
    """Return a count in words, such as ``1 field`` or ``3 fields``."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
