"""Confluency over time: a Richards curve in "growing time", which runs late at first and stops after a medium change.

With y the confluency in percent, K the capacity, ν the shape and μ = ln 2 / doubling time,
``dy/ds = μ y (1 - (y / K)^ν)`` (Richards 1959, doi:10.1093/jxb/10.2.290; ν = 1 is the logistic), where growing time s
runs at the rate ``(1 - exp(-t / lag))``: cells take up growth one after another, after ``lag_h`` on average.
Each re-feed multiplies that rate by ``(1 - exp(-(t - t_refeed) / pause))`` and, from the first on, by a gain. A
wobble of the rate, exp of a Gaussian process on knots, says that no culture keeps to a formula.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

F64 = NDArray[np.float64]

PARAMETERS = (
    "log_start_percent",
    "log_lag_h",
    "log_doubling_time_h",
    "logit_capacity",
    "log_shape",
    "log_scatter_points",
    "log_refeed_pause_h",
    "log_refeed_gain",
)
"""What a culture is described by, on the scales on which the prior is normal; the order of every vector of them."""

KNOT_H, WOBBLE_TIME_H = 24.0, 36.0
STEP_H = 2.0
"""Within a step the rate of growth is taken as constant."""
SCATTER_FLOOR = 0.1
"""Part of the scatter between scans that is left where nothing, or everything, is covered."""


@dataclass(frozen=True, slots=True)
class GrowthParameters:
    """One culture, in the units a biologist reads.

    Attributes
    ----------
    start_percent : float
        Confluency at hour 0, if every attached cell had spread.
    lag_h : float
        Hours that growth is late by, in the end.
    doubling_time_h : float
        Of confluency, once all cells grow and none touches another.
    capacity_percent : float
        Confluency at which growth ends.
    shape : float
        ν: 1 slows down evenly (logistic), above 1 later and more abruptly, below 1 earlier.
    scatter_points : float
        Standard deviation between scans beyond the given errors, at 50 %; smaller towards 0 and 100 %.
    refeed_pause_h : float
        Hours that a medium change costs.
    refeed_gain : float
        Factor on the rate of growth after the first medium change.
    """

    start_percent: float
    lag_h: float
    doubling_time_h: float
    capacity_percent: float
    shape: float
    scatter_points: float
    refeed_pause_h: float
    refeed_gain: float

    def vector(self) -> F64:
        """Return the parameters on the scales of `PARAMETERS`."""
        values = [self.start_percent, self.lag_h, self.doubling_time_h, self.capacity_percent / 100, self.shape]
        values += [self.scatter_points, self.refeed_pause_h, self.refeed_gain]
        return np.array([logit(v) if i == 3 else np.log(v) for i, v in enumerate(values)], np.float64)

    @classmethod
    def from_vector(cls, vector: F64) -> Self:
        """Return what a vector of `PARAMETERS` means."""
        values = np.exp(vector)
        values[3] = 100 * expit(vector[3])
        return cls(*(float(value) for value in values))


@dataclass(frozen=True, slots=True)
class Clock:
    """Steps and knots from hour 0 to a horizon, and the re-feeds in between.

    Attributes
    ----------
    edges_h : (n_steps + 1,) float64 array
    refeeds_h : tuple of float
    """

    edges_h: F64
    refeeds_h: tuple[float, ...]

    @classmethod
    def until(cls, horizon_h: float, refeeds_h: Sequence[float]) -> Self:
        """Return the clock from hour 0 to at least `horizon_h`."""
        n_steps = max(1, int(np.ceil(horizon_h / STEP_H)))
        return cls(np.arange(n_steps + 1, dtype=np.float64) * STEP_H, tuple(refeeds_h))

    @property
    def horizon_h(self) -> float:
        """The last hour that can be asked for."""
        return float(self.edges_h[-1])

    @property
    def n_knots(self) -> int:
        """How many values the wobble has."""
        return int(np.ceil(self.horizon_h / KNOT_H)) + 1

    def wobble_matrix(self) -> F64:
        """Return (n_knots, n_steps): from independent unit normals to the wobble in each step, at an amplitude of 1."""
        knots_h = np.arange(self.n_knots) * KNOT_H
        covariance = np.exp(-np.abs(knots_h[:, None] - knots_h[None, :]) / WOBBLE_TIME_H)
        middles = (self.edges_h[1:] + self.edges_h[:-1]) / 2
        between = np.maximum(0.0, 1 - np.abs(middles[None, :] - knots_h[:, None]) / KNOT_H)
        return np.linalg.cholesky(covariance).T @ between


def growing_time(theta: F64, wobble: F64, clock: Clock) -> F64:
    """Return the growing time at the edges of the clock's steps.

    Parameters
    ----------
    theta : (N, 8) float64 array
        Vectors of `PARAMETERS`.
    wobble : (N, n_steps) float64 array
        Logarithm of the factor on the rate in each step.

    Returns
    -------
    (N, n_steps + 1) float64 array
        Hours; 0 at hour 0, never falling.
    """
    middles = (clock.edges_h[1:] + clock.edges_h[:-1]) / 2
    rate = np.exp(wobble)
    rate *= -np.expm1(-middles / np.exp(theta[:, 1, None]))
    for refeed_h in clock.refeeds_h:
        after = middles > refeed_h
        rate[:, after] *= -np.expm1(-(middles[after] - refeed_h) / np.exp(theta[:, 6, None]))
    if clock.refeeds_h:
        rate[:, middles > min(clock.refeeds_h)] *= np.exp(theta[:, 7, None])
    total = np.zeros((len(theta), middles.size + 1))
    np.cumsum(rate * np.diff(clock.edges_h), axis=1, out=total[:, 1:])
    return total


def interpolated(edges_h: F64, values: F64, hours: F64) -> F64:
    """Return rows of values given at equally spaced edges, at other hours, by straight lines: (N, n_hours)."""
    place = hours / STEP_H
    left = np.clip(np.floor(place).astype(int), 0, edges_h.size - 2)
    part = place - left
    return values[:, left] * (1 - part) + values[:, left + 1] * part


def confluency(theta: F64, growing_h: F64) -> F64:
    """Return the confluency in percent, (N, n), after the growing times, (N, n); never above the capacity."""
    capacity, shape, rate = _capacity(theta), np.exp(theta[:, 4, None]), np.log(2) / np.exp(theta[:, 2, None])
    return capacity * np.exp(-np.log1p(_start_gap(theta) * np.exp(-rate * shape * growing_h)) / shape)


def growing_time_until(theta: F64, percent: F64 | float) -> F64:
    """Return the growing time after which a confluency is reached, (N,): 0 if at once, inf if never."""
    capacity, shape, rate = _capacity(theta)[:, 0], np.exp(theta[:, 4]), np.log(2) / np.exp(theta[:, 2])
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        wanted = np.expm1(shape * np.log(capacity / percent))
        hours = np.log(_start_gap(theta)[:, 0] / wanted) / (rate * shape)
    return np.where(capacity <= percent, np.inf, np.maximum(hours, 0.0))


def scatter_sd(theta: F64, percent: F64) -> F64:
    """Return the standard deviation between scans, (N, n) points, at confluencies (N, n)."""
    part = np.clip(percent / 100, 0.0, 1.0)
    return np.exp(theta[:, 5, None]) * np.maximum(2 * np.sqrt(part * (1 - part)), SCATTER_FLOOR)


def _capacity(theta: F64) -> F64:
    return 100 * expit(theta[:, 3, None])


def _start_gap(theta: F64) -> F64:
    """Return (K / y0)^ν - 1, (N, 1): how far the start lies below the capacity; above it counts as at it."""
    ratio = np.log(_capacity(theta)) - theta[:, 0, None]
    return np.expm1(np.minimum(np.exp(theta[:, 4, None]) * np.maximum(ratio, 1e-9), 500.0))
