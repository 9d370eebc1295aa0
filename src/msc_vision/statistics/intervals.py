"""Intervals and probabilities of one mean, from its own error and from the error that its method shares."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from msc_vision.statistics.sampled_mean import SampledMean
from msc_vision.statistics.scales import Scale

CONFIDENCE = 0.95
"""Of every interval in a run folder."""
QUANTILE_LEVELS = (0.005, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.995)
"""At which a run folder says what a confluency may be; the interval of 95 % is from the second to the last but one."""
_SURE = 1e9


@dataclass(frozen=True, slots=True)
class Figure:
    """What a mean may be, on the inner scale of its figure: Student's t around a centre.

    Attributes
    ----------
    scale : Scale
    centre, error, freedom : float
        The error is that of the choice of fields and of the method together, the degrees of freedom after Welch and
        Satterthwaite (Welch, Biometrika 34, 28 (1947)).
    """

    scale: Scale
    centre: float
    error: float
    freedom: float

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval."""
        half = self.error * float(stdtrit(self.freedom, (1 + CONFIDENCE) / 2))
        return self._outer(self.centre - half), self._outer(self.centre + half)

    def quantiles(self, levels: tuple[float, ...] = QUANTILE_LEVELS) -> tuple[float, ...]:
        """Return the figures that lie above the truth with these probabilities; none leaves the range."""
        return tuple(self._outer(self.centre + self.error * float(stdtrit(self.freedom, one))) for one in levels)

    def probability_within(self, low: float, high: float) -> float:
        """Return the probability that the figure lies between two levels."""
        if self.error == 0:
            return float(low <= self._outer(self.centre) <= high)
        ends = self.scale.inner(np.array([low, high]))
        low_inner = -math.inf if low <= self.scale.lowest else float(ends[0])
        high_inner = math.inf if high >= self.scale.highest else float(ends[1])
        return self._below(high_inner) - self._below(low_inner)

    def _below(self, inner: float) -> float:
        return float(stdtr(self.freedom, (inner - self.centre) / self.error))

    def _outer(self, inner: float) -> float:
        """Return the outer figure; what lies beyond an end of the range is that end."""
        ends = self.scale.inner(np.array([self.scale.lowest, self.scale.highest]))
        return float(self.scale.outer(np.clip(np.array(inner), ends[0], ends[1])))


def figure(mean: SampledMean, scale: Scale, shared_error: float) -> Figure:
    """Return what a mean may be.

    Parameters
    ----------
    mean : SampledMean
        On the outer scale.
    scale : Scale
    shared_error : float
        Standard deviation on the inner scale of the error that every field shares.
    """
    own = scale.inner_error(mean.mean, mean.standard_error)
    error = math.hypot(own, shared_error)
    freedom = min(mean.freedom * (error / own) ** 4, _SURE) if own > 0 else _SURE
    return Figure(scale, float(scale.inner(np.array(mean.mean))), error, freedom)
