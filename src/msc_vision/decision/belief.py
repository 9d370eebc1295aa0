"""What a figure may be, as quantiles of what is believed of it."""

import math
from bisect import bisect_right
from dataclasses import dataclass, field
from functools import lru_cache
from statistics import NormalDist
from typing import Literal

from msc_vision.errors import InvalidArgumentError

ScaleName = Literal["percent", "amount", "plain"]
INTERVAL_LEVELS = (0.025, 0.5, 0.975)
"""Of a figure and its 95 % interval: low end, figure, high end."""
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Belief:
    """What a figure may be, as quantiles.

    Between quantiles, and beyond the outermost, the normal score of the probability is taken as a straight line over
    the figure on its inner scale (angle for percent, root for amounts): exact where the belief is normal there.

    Attributes
    ----------
    levels : tuple of float
        Probabilities, rising, between 0 and 1.
    values : tuple of float
        The figure that lies above the truth with that probability; never falling.
    scale : {'percent', 'amount', 'plain'}
    """

    levels: tuple[float, ...]
    values: tuple[float, ...]
    scale: ScaleName = "plain"
    _inner: tuple[float, ...] = field(init=False, repr=False, compare=False)
    _scores: tuple[float, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.levels) != len(self.values) or len(self.levels) < 2:
            raise InvalidArgumentError(f"{len(self.levels)} levels and {len(self.values)} quantiles; two at the least.")
        if not all(math.isfinite(one) for one in (*self.levels, *self.values)):
            raise InvalidArgumentError(f"Quantiles have to be finite, got {self.values}.")
        rises = all(low < high for low, high in zip((0.0, *self.levels), (*self.levels, 1.0), strict=True))
        if not rises or any(low > high for low, high in zip(self.values, self.values[1:], strict=False)):
            raise InvalidArgumentError(f"Quantiles have to rise, got {self.values} at {self.levels}.")
        inner, scores = _knots(self.levels, self.values, self.scale)
        object.__setattr__(self, "_inner", inner)
        object.__setattr__(self, "_scores", scores)

    @property
    def has_width(self) -> bool:
        """False: every quantile is the same, which tells nothing of how sure the figure is."""
        return self.values[-1] > self.values[0]

    def probability_within(self, low: float | None, high: float | None) -> float:
        """Return the probability that the truth lies between two limits; None: no limit on that side."""
        lowest, highest = _RANGES[self.scale]
        below = 0.0 if low is None or low <= lowest else self._below(low)
        above = 0.0 if high is None or high >= highest else 1 - self._below(high)
        return min(max(1 - below - above, 0.0), 1.0)

    def quantile(self, level: float) -> float:
        """Return the figure that lies above the truth with some probability, between 0 and 1."""
        score = _NORMAL.inv_cdf(level)
        if len(self._inner) == 1:
            return self.values[0]
        first = min(max(bisect_right(self._scores, score) - 1, 0), len(self._scores) - 2)
        start, end = self._scores[first], self._scores[first + 1]
        share = (score - start) / (end - start)
        return to_outer(self._inner[first] + share * (self._inner[first + 1] - self._inner[first]), self.scale)

    def _below(self, limit: float) -> float:
        """Return the probability that the truth is below a limit."""
        inner = to_inner(limit, self.scale)
        if len(self._inner) == 1:
            return 0.5 if inner == self._inner[0] else float(inner > self._inner[0])
        first = min(max(bisect_right(self._inner, inner) - 1, 0), len(self._inner) - 2)
        start, end = self._inner[first], self._inner[first + 1]
        share = (inner - start) / (end - start)
        return _NORMAL.cdf(self._scores[first] + share * (self._scores[first + 1] - self._scores[first]))


_RANGES: dict[ScaleName, tuple[float, float]] = {
    "percent": (0.0, 100.0),
    "amount": (0.0, math.inf),
    "plain": (-math.inf, math.inf),
}


def of_interval(value: float, interval: tuple[float, float], scale: ScaleName) -> Belief:
    """Return the belief that a figure and its 95 % interval stand for."""
    low, high = interval
    return Belief(INTERVAL_LEVELS, (min(low, value), value, max(high, value)), scale)


def to_inner(value: float, scale: ScaleName) -> float:
    """Return a figure on its inner scale; the scales are those of `msc_vision.statistics.scales`, for one number."""
    if scale == "percent":
        return math.asin(math.sqrt(min(max(value, 0.0), 100.0) / 100))
    return math.sqrt(max(value, 0.0)) if scale == "amount" else value


def to_outer(inner: float, scale: ScaleName) -> float:
    """Return a figure from its inner scale; what lies beyond an end of its range is that end."""
    if scale == "percent":
        return 100 * math.sin(min(max(inner, 0.0), math.pi / 2)) ** 2
    return max(inner, 0.0) ** 2 if scale == "amount" else inner


def _knots(
    levels: tuple[float, ...], values: tuple[float, ...], scale: ScaleName
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return inner figures, each once, and the mean normal score of those that are alike."""
    alike: dict[float, list[float]] = {}
    for value, score in zip(values, _normal_scores(levels), strict=True):
        alike.setdefault(to_inner(value, scale), []).append(score)
    return tuple(alike), tuple(math.fsum(scores) / len(scores) for scores in alike.values())


@lru_cache(maxsize=16)
def _normal_scores(levels: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(_NORMAL.inv_cdf(level) for level in levels)
