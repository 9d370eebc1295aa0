"""Has a score moved over passages or time? CUSUM and EWMA charts whose limits follow from a stated rate of alarms.

The points must be independent of each other: one value per passage or time point, not several fields of one layer.
Points that follow each other closely give alarms more often than stated. The baseline must come from cultures that
nobody doubts, and enough of them: limits take its mean and standard deviation for known.

Run lengths follow from a Markov chain over the states of the chart: Brook & Evans (doi:10.1093/biomet/59.3.539) for
CUSUM, Lucas & Saccucci (doi:10.1080/00401706.1990.10484583) for EWMA; the limit is then found by root finding.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.optimize import brentq
from scipy.special import ndtr

from msc_vision.errors import InvalidArgumentError

Side = Literal["two-sided", "rise", "fall"]
"""Which way the score must move to count."""

F64 = NDArray[np.float64]


class CusumSettings(BaseModel):
    """When a CUSUM chart raises an alarm. It answers fastest to a lasting shift of twice the allowance."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    side: Side = "two-sided"
    allowance_sd: float = Field(0.5, ge=0.05, le=3, description="drift per point that is forgiven, in baseline SDs")
    in_control_points: float = Field(
        370.0, ge=5, le=100_000, description="mean number of points to a false alarm; placeholder"
    )


class EwmaSettings(BaseModel):
    """When an EWMA chart raises an alarm. A small weight remembers long and finds small shifts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    side: Side = "two-sided"
    weight: float = Field(0.2, ge=0.02, le=1, description="part that the newest point has in the mean; 1: Shewhart")
    in_control_points: float = Field(
        370.0, ge=5, le=100_000, description="mean number of points to a false alarm; placeholder"
    )


@dataclass(frozen=True, slots=True)
class ControlChart:
    """A score over passages or time, and when it left its baseline.

    Attributes
    ----------
    upper, lower : (n,) float64 arrays
        The statistic towards a rise and towards a fall, in baseline standard deviations; 0 is on the baseline and a
        fall is negative. For EWMA both are the same mean. Where a value is missing, the statistic stays; NaN for a
        side that is not watched.
    limit : float
        Alarm where ``upper`` is above it or ``lower`` below its negative; baseline standard deviations.
    first_alarm : int or None
        Index into the values of the first alarm; later points count as if nobody had acted.
    direction : "rise", "fall" or None
        Way in which the score had moved at the first alarm.
    missing : tuple of int
        Indices of the values that were missing.
    in_control_points : float
        Mean number of points to a false alarm that the limit was chosen for.
    words : str
        Full sentences for a person.
    """

    upper: F64
    lower: F64
    limit: float
    first_alarm: int | None
    direction: Literal["rise", "fall"] | None
    missing: tuple[int, ...]
    in_control_points: float
    words: str


def cusum_chart(values: ArrayLike, baseline_mean: float, baseline_sd: float, settings: CusumSettings) -> ControlChart:
    """Sum up how far values lie above or below the baseline, less what is forgiven.

    Parameters
    ----------
    values : (n,) array
        One independent value per passage or time point, in order; NaN is missing and skipped.
    baseline_mean, baseline_sd : float
        Of single values in control.

    Raises
    ------
    InvalidArgumentError
        If the values are no series, one is infinite, or the baseline has no spread.
    """
    scores, missing = _standardised(values, baseline_mean, baseline_sd)
    limit = cusum_limit(settings)
    upper, lower = np.zeros(scores.size), np.zeros(scores.size)
    rise = fall = 0.0
    for i, score in enumerate(scores):
        if not math.isnan(score):
            rise = max(0.0, rise + score - settings.allowance_sd)
            fall = min(0.0, fall + score + settings.allowance_sd)
        upper[i], lower[i] = rise, fall
    return _chart("CUSUM", upper, lower, limit, missing, settings)


def ewma_chart(values: ArrayLike, baseline_mean: float, baseline_sd: float, settings: EwmaSettings) -> ControlChart:
    """Average values, the newest counting most; parameters and errors as for `cusum_chart`.

    The limit is that of a long series from the first point on, not narrower at the start.
    """
    scores, missing = _standardised(values, baseline_mean, baseline_sd)
    mean, means = 0.0, np.zeros(scores.size)
    for i, score in enumerate(scores):
        if not math.isnan(score):
            mean += settings.weight * (score - mean)
        means[i] = mean
    limit = ewma_limit(settings) * math.sqrt(settings.weight / (2 - settings.weight))
    return _chart("EWMA", means, means.copy(), limit, missing, settings)


def cusum_run_length(limit_sd: float, allowance_sd: float, shift_sd: float = 0.0, *, side: Side = "two-sided") -> float:
    """Return the mean number of points to an alarm.

    Parameters
    ----------
    limit_sd, allowance_sd : float
        h and k of the chart, in baseline standard deviations.
    shift_sd : float
        How far the score has moved from the first point on; 0 is in control.
    """
    rise, fall = (_one_sided_cusum(limit_sd, allowance_sd, shift) for shift in (shift_sd, -shift_sd))
    if side == "two-sided":
        return 1 / (1 / rise + 1 / fall)  # exact for charts that forgive: the two sums are never both at work
    return rise if side == "rise" else fall


def ewma_run_length(limit_sigmas: float, weight: float, shift_sd: float = 0.0, *, side: Side = "two-sided") -> float:
    """Return the mean number of points to an alarm.

    Parameters
    ----------
    limit_sigmas : float
        L: the limit over the standard deviation of the mean in the long run.
    weight : float
        Part that the newest point has, lambda.
    shift_sd : float
        How far the score has moved from the first point on, baseline standard deviations.
    """
    limit = limit_sigmas * math.sqrt(weight / (2 - weight))
    if side == "two-sided":
        return _ewma_chain(-limit, limit, weight, shift_sd)
    floor = -(8 * math.sqrt(weight / (2 - weight)) + abs(shift_sd))  # a mean so far below is all but never
    return _ewma_chain(floor, limit, weight, shift_sd if side == "rise" else -shift_sd)


@lru_cache(maxsize=64)
def cusum_limit(settings: CusumSettings) -> float:
    """Return the limit h, in baseline standard deviations, at which false alarms come as rarely as stated."""
    return _limit(lambda h: cusum_run_length(h, settings.allowance_sd, side=settings.side), settings.in_control_points)


@lru_cache(maxsize=64)
def ewma_limit(settings: EwmaSettings) -> float:
    """Return the limit L, in standard deviations of the mean in the long run."""
    return _limit(lambda width: ewma_run_length(width, settings.weight, side=settings.side), settings.in_control_points)


def _one_sided_cusum(limit_sd: float, allowance_sd: float, shift_sd: float) -> float:
    """Return the mean run length from 0; state i of n is the sum within half a width of i widths (Brook & Evans)."""
    if not (limit_sd > 0 and allowance_sd > 0):
        raise InvalidArgumentError(f"Limit and allowance are above 0, not {limit_sd} and {allowance_sd}.")
    n = max(160, math.ceil(10 * limit_sd))
    width = 2 * limit_sd / (2 * n - 1)
    state = np.arange(n)
    below = ndtr((state[None, :] - state[:, None] + 0.5) * width + allowance_sd - shift_sd)
    return float(_run_lengths(np.diff(below, axis=1, prepend=0.0))[0])


def _ewma_chain(lower: float, upper: float, weight: float, shift_sd: float) -> float:
    """Return the mean run length from 0 between two limits; the states are slices of equal width."""
    if not (upper > 0 and 0 < weight <= 1):
        raise InvalidArgumentError(f"The limit is above 0 and the weight in 0 to 1, not {upper} and {weight}.")
    n = min(max(301, 2 * math.ceil(5 * (upper - lower) / weight) + 1), 1201)
    edges = np.linspace(lower, upper, n + 1, dtype=np.float64)
    middle: F64 = (edges[1:] + edges[:-1]) / 2
    below = ndtr((edges[None, :] - (1 - weight) * middle[:, None]) / weight - shift_sd)
    return float(np.interp(0.0, middle, _run_lengths(np.diff(below, axis=1))))


def _run_lengths(chances: F64) -> F64:
    """Return the mean number of steps until each state is left for good: (I - R)^-1 1."""
    return np.asarray(np.linalg.solve(np.eye(len(chances)) - chances, np.ones(len(chances))), np.float64)


def _limit(run_length: Callable[[float], float], wanted: float) -> float:
    """Return the limit whose run length is the wanted one; run lengths grow with the limit."""
    low, high = 1e-3, 1.0
    if run_length(low) >= wanted:
        raise InvalidArgumentError(
            f"Without any limit, false alarms are rarer than one in {wanted:g} points: choose a smaller allowance or "
            f"more points than {run_length(low):.3g}."
        )
    while run_length(high) < wanted:
        low, high = high, 1.5 * high
    return float(brentq(lambda limit: math.log(run_length(limit) / wanted), low, high, xtol=1e-6))


def _standardised(values: ArrayLike, mean: float, sd: float) -> tuple[F64, tuple[int, ...]]:
    series: F64 = np.asarray(values, np.float64)
    if series.ndim != 1 or np.isinf(series).any():
        raise InvalidArgumentError(f"Need one series of finite values, NaN where missing; got shape {series.shape}.")
    if not (math.isfinite(mean) and 0 < sd < math.inf):
        raise InvalidArgumentError(f"The baseline needs a mean and a spread above 0, not {mean} and {sd}.")
    return (series - mean) / sd, tuple(int(i) for i in np.flatnonzero(np.isnan(series)))


def _chart(
    kind: str,
    upper: F64,
    lower: F64,
    limit: float,
    missing: tuple[int, ...],
    settings: CusumSettings | EwmaSettings,
) -> ControlChart:
    if settings.side == "rise":
        lower = np.full_like(lower, math.nan)
    if settings.side == "fall":
        upper = np.full_like(upper, math.nan)
    alarms = np.flatnonzero((upper > limit) | (lower < -limit))
    first = int(alarms[0]) if alarms.size else None
    direction: Literal["rise", "fall"] | None = None
    if first is not None:
        direction = "rise" if upper[first] > limit else "fall"
    often = f"{settings.in_control_points:g}"
    sentences = [
        _finding(kind, upper, lower, limit, first, missing),
        f"A score that stays on its baseline gives a false alarm once in {often} points on average, if the points are "
        "independent of each other and the baseline is known.",
        *_missing_words(missing),
    ]
    return ControlChart(upper, lower, limit, first, direction, missing, settings.in_control_points, " ".join(sentences))


def _finding(kind: str, upper: F64, lower: F64, limit: float, first: int | None, missing: tuple[int, ...]) -> str:
    n = upper.size - len(missing)
    if n == 0:
        return "There is no value to judge."
    if first is None:
        return f"No alarm in {n} points: the {kind} stayed within its limit of {limit:.2f} baseline SDs."
    rose = upper[first] > limit
    value = upper[first] if rose else -lower[first]
    return (
        f"The score lies {'above' if rose else 'below'} its baseline from point {first + 1} of {upper.size} at the "
        f"latest: {kind} {value:.2f} baseline SDs, limit {limit:.2f}."
    )


def _missing_words(missing: tuple[int, ...]) -> tuple[str, ...]:
    if not missing:
        return ()
    names = ", ".join(str(i + 1) for i in missing)
    return (f"Missing and skipped: point{'s' if len(missing) > 1 else ''} {names}.",)
