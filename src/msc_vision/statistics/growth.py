"""From a few time points of one vessel to its growth curve, and when it will be inside a window of confluency.

`fit_growth` weighs the points against what the bank's cultures usually do (`BankPrior`) and keeps a few thousand
curves that agree with both. A forecast is read off these curves: of the culture itself, not of a next reading of it.
An error that every scan of the vessel shares (a camera that reads 5 points too high) is in it after `misread_by`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field
from scipy.special import expit, ndtr, ndtri
from scipy.stats import chi2

from msc_vision.errors import InvalidArgumentError, UndefinedResultError
from msc_vision.statistics.growth_curve import (
    STEP_H,
    Clock,
    GrowthParameters,
    confluency,
    growing_time,
    growing_time_until,
    interpolated,
)
from msc_vision.statistics.growth_posterior import N_PARAMETERS, SamplerSettings, draw, find_mode
from msc_vision.statistics.growth_prior import BankPrior
from msc_vision.statistics.growth_series import GrowthSeries, TimePoint
from msc_vision.statistics.scales import PERCENT

F64 = NDArray[np.float64]

WindowState = Literal["before", "inside", "after", "never"]


class GrowthSettings(SamplerSettings):
    """How far ahead is looked, and how thoroughly."""

    horizon_h: float = Field(240.0, gt=0, le=2000, description="hours after the last point that can be asked for")


@dataclass(frozen=True, slots=True)
class ForecastBand:
    """Confluency of the culture at some hours.

    Attributes
    ----------
    hours : (n,) float64 array
        Since the origin of the series.
    mean_percent, low_percent, high_percent : (n,) float64 arrays
        Mean, and 95 % interval.
    """

    hours: F64
    mean_percent: F64
    low_percent: F64
    high_percent: F64


@dataclass(frozen=True, slots=True)
class TimeEstimate:
    """When something happens.

    Attributes
    ----------
    median_h, low_h, high_h : float or None
        Median and 95 % interval in hours since the origin; None where it is later than the horizon, or never.
    passed_probability : float
        That it has happened by the last point.
    horizon_probability : float
        That it happens by the horizon.
    never_probability : float
        That it does not happen however long one waits, because growth ends before.
    """

    median_h: float | None
    low_h: float | None
    high_h: float | None
    passed_probability: float
    horizon_probability: float
    never_probability: float


@dataclass(frozen=True, slots=True)
class WindowForecast:
    """When a culture is inside a window of confluency.

    Attributes
    ----------
    low_percent, high_percent : float
        The window.
    state : "before", "inside", "after" or "never"
        Where the culture most probably is at the last point; ``never``: before, and it most probably ends below.
    inside_probability : float
        That it is inside at the last point.
    entered, left : TimeEstimate
    words : str
        Full sentences for a person.
    """

    low_percent: float
    high_percent: float
    state: WindowState
    inside_probability: float
    entered: TimeEstimate
    left: TimeEstimate
    words: str


@dataclass(frozen=True, slots=True)
class GrowthPosterior:
    """Curves of equal weight that agree with the points of a culture and with the prior.

    Attributes
    ----------
    series : GrowthSeries or None
        None: the bank's usual culture, before any scan.
    prior : BankPrior
    clock : Clock
        Up to the horizon.
    parameters : (n_draws, 8) float64 array
        `PARAMETERS` of each curve.
    growing_h : (n_draws, n_steps + 1) float64 array
        Growing time of each curve at the edges of the clock.
    effective_draws : float
        How many independent draws the curves are worth.
    notes : tuple of str
        What a reader has to know, full sentences.
    misreading : (n_draws,) float64 array or None
        By how much every scan reads too high in each draw, on the angle scale; None: the curves are those of readings.
    """

    series: GrowthSeries | None
    prior: BankPrior
    clock: Clock
    parameters: F64
    growing_h: F64
    effective_draws: float
    notes: tuple[str, ...]
    misreading: F64 | None = None

    def misread_by(self, points: float) -> "GrowthPosterior":
        """Return the curves of the culture itself, where every scan of it shares an error of the method.

        Parameters
        ----------
        points : float
            Standard deviation of that error in points at half cover, less towards 0 and 100 %.
        """
        n = len(self.parameters)
        order = np.random.default_rng(n).permutation(n)
        return replace(self, misreading=points / 100 * np.asarray(ndtri((order + 0.5) / n)))

    @property
    def now_h(self) -> float:
        """Hour of the last point, 0 without any."""
        return self.series.last_h if self.series is not None else 0.0

    @property
    def horizon_h(self) -> float:
        """Last hour that can be asked for."""
        ends_h = self.series.ends_h if self.series is not None else None
        return self.clock.horizon_h if ends_h is None else min(ends_h, self.clock.horizon_h)

    def curves(self, hours: ArrayLike) -> F64:
        """Return each curve's confluency at some hours, (n_draws, n_hours) percent.

        Raises
        ------
        InvalidArgumentError
            If an hour is not finite, before the origin, or beyond the horizon.
        UndefinedResultError
            If an hour lies after the passage that ends the culture.
        """
        asked = np.atleast_1d(np.asarray(hours, np.float64))
        if asked.ndim != 1 or not (np.isfinite(asked).all() and (asked >= 0).all()):
            raise InvalidArgumentError("Hours to forecast are finite and count from 0 on.")
        latest = float(asked.max(initial=0.0))
        if self.series is not None and self.series.ends_h is not None and latest > self.series.ends_h:
            raise UndefinedResultError(
                f"The culture ends by passage at {self.series.ends_h:g} h: none at {latest:g} h."
            )
        if latest > self.clock.horizon_h:
            raise InvalidArgumentError(f"{latest:g} h lies beyond the horizon of {self.clock.horizon_h:g} h.")
        read = confluency(self.parameters, interpolated(self.clock.edges_h, self.growing_h, asked))
        return read if self.misreading is None else _moved_on(read, -self.misreading[:, None])

    def forecast(self, hours: ArrayLike) -> ForecastBand:
        """Return mean and 95 % interval of the confluency at some hours; errors as `curves`."""
        percent = self.curves(hours)
        low, high = np.quantile(percent, (0.025, 0.975), axis=0)
        return ForecastBand(np.atleast_1d(np.asarray(hours, np.float64)), percent.mean(axis=0), low, high)

    def probability_inside(self, hour: float, low_percent: float, high_percent: float) -> float:
        """Return the probability that the culture is inside a window, ends included, at an hour; errors as `curves`."""
        _check_window(low_percent, high_percent)
        percent = self.curves(hour)
        return float(((percent >= low_percent) & (percent <= high_percent)).mean())

    def window(self, low_percent: float, high_percent: float) -> WindowForecast:
        """Return when the culture enters and leaves a window of confluency.

        Raises
        ------
        InvalidArgumentError
            If the window is not two confluencies in order.
        """
        _check_window(low_percent, high_percent)
        entered, left = self._reached(low_percent), self._reached(high_percent)
        inside = self.probability_inside(min(self.now_h, self.horizon_h), low_percent, high_percent)
        state = _state(entered, left)
        words = _window_words(self, state, entered, left, inside, (low_percent, high_percent))
        return WindowForecast(low_percent, high_percent, state, inside, entered, left, words)

    def _reached(self, percent: float) -> TimeEstimate:
        """Return when a confluency is reached."""
        read = self._as_read(percent)
        times = self.hours_until(percent)
        low, median, high = (
            _within(q, self.horizon_h) for q in np.quantile(times, (0.025, 0.5, 0.975), method="higher")
        )
        capacity = 100 * expit(self.parameters[:, 3])
        return TimeEstimate(
            median_h=median,
            low_h=low,
            high_h=high,
            passed_probability=float((times <= self.now_h).mean()),
            horizon_probability=float((times <= self.horizon_h).mean()),
            never_probability=float((capacity <= read).mean()),
        )

    def _as_read(self, percent: float) -> F64:
        """Return what the method reads in each draw where the culture has a confluency (n_draws,)."""
        level = np.full(len(self.parameters), percent)
        return level if self.misreading is None else np.clip(_moved_on(level, self.misreading), 1e-6, 100.0)

    def hours_until(self, percent: float) -> F64:
        """Return for each curve the hour at which it reaches a confluency, (n_draws,); inf where not by the horizon."""
        needed = growing_time_until(self.parameters, self._as_read(percent))
        n_before = (self.growing_h < needed[:, None]).sum(axis=1)
        is_reached = n_before <= self.clock.edges_h.size - 1
        right = np.clip(n_before, 1, self.clock.edges_h.size - 1)
        rows = np.arange(len(needed))
        before, after = self.growing_h[rows, right - 1], self.growing_h[rows, right]
        with np.errstate(invalid="ignore", divide="ignore"):
            part = np.where(n_before > 0, (needed - before) / (after - before), 0.0)
        return np.where(is_reached, (right - 1 + part) * STEP_H, np.inf)


def _moved_on(percent: F64, by: F64) -> F64:
    """Return confluencies moved on the angle scale, on which an error of the method is alike at every level."""
    return PERCENT.outer(np.clip(PERCENT.inner(percent) + by, 0.0, np.pi / 2))


@dataclass(frozen=True, slots=True)
class PointSurprise:
    """How usual one point is.

    Attributes
    ----------
    elapsed_h : float
    usual_p_value : float
        Two-sided chance of a reading so far off among the bank's cultures.
    next_p_value : float
        The same, given the points before it: small where the culture breaks with its own course.
    deviation_sd : float
        The latter as a normal score: below 0 is less confluent than expected.
    """

    elapsed_h: float
    usual_p_value: float
    next_p_value: float
    deviation_sd: float


@dataclass(frozen=True, slots=True)
class Departure:
    """Whether a culture keeps to the bank's usual course.

    Attributes
    ----------
    points : tuple of PointSurprise
    p_value : float
        Chance of points so unusual, taken together, if the culture is one of the bank's.
    since_h : float or None
        From this point on the points up to there are unusual together, and stay so; None if they are not.
    direction : "slower", "faster" or None
        Whether the points from there on lie below or above what was expected.
    words : str
        Full sentences for a person.
    """

    points: tuple[PointSurprise, ...]
    p_value: float
    since_h: float | None
    direction: Literal["slower", "faster"] | None
    words: str


def fit_growth(series: GrowthSeries, prior: BankPrior, settings: GrowthSettings | None = None) -> GrowthPosterior:
    """Return the growth curves that agree with a culture's points and with what its bank's cultures usually do.

    Parameters
    ----------
    series : GrowthSeries
        One point or more; with one or two, the prior decides most, and the notes say so.
    prior : BankPrior
    settings : GrowthSettings, optional

    Raises
    ------
    UndefinedResultError
        If points and prior contradict each other so much that too few curves carry the weight.
    """
    asked = settings or GrowthSettings()
    draws = draw(prior.target(series), asked)
    clock = Clock.until(series.last_h + asked.horizon_h, series.refeeds_h)
    return _posterior(series, prior, clock, draws.x, draws.effective, asked.seed)


def usual_growth(
    prior: BankPrior, refeeds_h: Sequence[float] = (), settings: GrowthSettings | None = None
) -> GrowthPosterior:
    """Return the curves of the bank's cultures before any scan: what is usual, for a picture or a comparison."""
    asked = settings or GrowthSettings()
    x = _normals(N_PARAMETERS, asked)
    clock = Clock.until(asked.horizon_h, sorted(hour for hour in refeeds_h if hour > 0))
    return _posterior(None, prior, clock, x, float(len(x)), asked.seed)


def most_plausible(series: GrowthSeries, prior: BankPrior) -> GrowthParameters:
    """Return the single most plausible culture, without uncertainty: for comparison with other fits, not for use."""
    target = prior.target(series)
    return GrowthParameters.from_vector(target.parameters(find_mode(target, tolerance=1e-12).x[None])[0])


def departure(
    series: GrowthSeries, prior: BankPrior, *, level: float = 0.05, settings: GrowthSettings | None = None
) -> Departure:
    """Return whether, and from when, a culture departs from its bank's usual course.

    Each point is compared with what the prior and the points before it predict (posterior predictive p-value, with
    the point's own error and scatter); such p-values are independent of each other if the prior is right. Together
    they are judged by Fisher's sum of logarithms and Stouffer's sum of scores, the smaller chance doubled.

    Parameters
    ----------
    level : float
        Chance below which a course is called unusual.

    Raises
    ------
    InvalidArgumentError
        If the level is not between 0 and 1.
    UndefinedResultError
        As `fit_growth`.
    """
    if not 0 < level < 1:
        raise InvalidArgumentError(f"The level is a chance between 0 and 1, not {level}.")
    asked = settings or GrowthSettings()
    ranks = [_ranks(series, i, prior, asked) for i in range(len(series.points))]
    scores = ndtri(np.clip([rank[1] for rank in ranks], 1e-12, 1 - 1e-12))
    points = tuple(
        PointSurprise(point.elapsed_h, _two_sided(usual), _two_sided(following), float(score))
        for point, (usual, following), score in zip(series.points, ranks, scores, strict=True)
    )
    running = [_together(scores[: i + 1]) for i in range(len(scores))]
    since = _since(running, level)
    direction: Literal["slower", "faster"] | None = None
    if since is not None:
        direction = "slower" if scores[since:].sum() < 0 else "faster"
    since_h = None if since is None else points[since].elapsed_h
    words = _departure_words(prior, points, running[-1], since_h, direction)
    return Departure(points, running[-1], since_h, direction, words)


def _posterior(
    series: GrowthSeries | None, prior: BankPrior, clock: Clock, x: F64, effective: float, seed: int
) -> GrowthPosterior:
    """Return the curves of unit normals; the wobble after the last point is drawn anew."""
    later = np.random.default_rng(seed).standard_normal((len(x), clock.n_knots))
    n_fitted = min(x.shape[1] - N_PARAMETERS, clock.n_knots)
    later[:, :n_fitted] = x[:, N_PARAMETERS : N_PARAMETERS + n_fitted]
    parameters = np.array(prior.mean) + x[:, :N_PARAMETERS] @ np.linalg.cholesky(np.array(prior.covariance)).T
    wobble = prior.rate_wobble * (later @ clock.wobble_matrix())
    growing = growing_time(parameters, wobble, clock)
    return GrowthPosterior(series, prior, clock, parameters, growing, effective, _notes(series, prior))


def _normals(n_dimensions: int, asked: GrowthSettings) -> F64:
    """Return draws of the prior alone."""
    return np.random.default_rng(asked.seed).standard_normal((asked.n_draws, n_dimensions))


def _notes(series: GrowthSeries | None, prior: BankPrior) -> tuple[str, ...]:
    notes = list(series.notes) if series is not None else ["No scan yet: this is what is usual."]
    if series is not None and len(series.points) < 3:
        n = len(series.points)
        notes.append(f"Only {n} time point{'s' if n > 1 else ''}: the prior decides most of the forecast.")
    if prior.is_placeholder:
        notes.append(f"The prior is a placeholder, not learned from this bank ({prior.source}).")
    return tuple(notes)


def _check_window(low_percent: float, high_percent: float) -> None:
    if not 0 < low_percent < high_percent <= 100:
        raise InvalidArgumentError(
            f"A window goes from above 0 up to at most 100 %, the lower end first; got {low_percent} to {high_percent}."
        )


def _within(hour: float, horizon_h: float) -> float | None:
    return float(hour) if hour <= horizon_h else None


def _state(entered: TimeEstimate, left: TimeEstimate) -> WindowState:
    if left.passed_probability >= 0.5:
        return "after"
    if entered.passed_probability >= 0.5:
        return "inside"
    return "never" if entered.never_probability >= 0.5 else "before"


def _window_words(
    growth: GrowthPosterior,
    state: WindowState,
    entered: TimeEstimate,
    left: TimeEstimate,
    inside: float,
    window: tuple[float, float],
) -> str:
    name = f"{window[0]:g}-{window[1]:g} %"
    opening = {
        "before": f"Before the window of {name} at {growth.now_h:.0f} h (inside with {inside:.0%}).",
        "inside": f"Already inside the window of {name} at {growth.now_h:.0f} h ({inside:.0%}).",
        "after": f"Already past the window of {name} at {growth.now_h:.0f} h (inside with {inside:.0%}).",
        "never": f"Most probably never inside the window of {name}: growth ends below it "
        f"({entered.never_probability:.0%}).",
    }[state]
    sentences = [opening]
    if state in ("before", "never"):
        sentences.append(_time_words("Enters", entered, growth.horizon_h))
    if state != "never":
        sentences.append(_time_words("Leaves" if state != "after" else "Left", left, growth.horizon_h))
    return " ".join((*sentences, *growth.notes))


def _time_words(verb: str, when: TimeEstimate, horizon_h: float) -> str:
    if when.median_h is None:
        chance = f"{when.horizon_probability:.0%}"
        return f"{verb} it not within the horizon of {horizon_h:.0f} h: probability {chance} by then."
    low = f"{when.low_h:.0f} h" if when.low_h is not None else "the horizon"
    high = f"{when.high_h:.0f} h" if when.high_h is not None else f"beyond the horizon of {horizon_h:.0f} h"
    return f"{verb} it at {when.median_h:.0f} h (95 %: {low} to {high})."


def _ranks(series: GrowthSeries, i: int, prior: BankPrior, asked: GrowthSettings) -> tuple[float, float]:
    """Return where point i ranks, 0 to 1, among readings of the bank's cultures, and of those that fit those before.

    The first point has nothing before it: both are the same.
    """
    point = series.points[i]
    alone = replace(series, points=(point,), ends_h=None)
    target = prior.target(alone)
    usual = _rank(target.predicted(_normals(target.n_dimensions, asked)), point)
    if i == 0:
        return usual, usual
    before = replace(series, points=series.points[:i], ends_h=None)
    draws = draw(prior.target(before), asked).x
    following = _normals(target.n_dimensions, asked)
    shared = min(draws.shape[1], following.shape[1])
    following[:, :shared] = draws[:, :shared]
    return usual, _rank(target.predicted(following), point)


def _rank(predicted: tuple[F64, F64], point: TimePoint) -> float:
    percent, sd = predicted
    return float(ndtr((point.confluency_percent - percent[:, 0]) / sd[:, 0]).mean())


def _two_sided(rank: float) -> float:
    return 2 * min(rank, 1 - rank)


def _together(scores: F64) -> float:
    """Return the chance of scores so far from 0: by their sum or by that of logarithms of chances, the rarer."""
    chances = 2 * ndtr(-np.abs(scores))
    fisher = float(chi2.sf(-2 * np.log(chances).sum(), 2 * scores.size))
    stouffer = float(2 * ndtr(-abs(scores.sum()) / math.sqrt(scores.size)))
    return min(1.0, 2 * min(fisher, stouffer))


def _since(running: Sequence[float], level: float) -> int | None:
    """Return from which point on the running chance stays below the level."""
    above = [i for i, p in enumerate(running) if p >= level]
    first = above[-1] + 1 if above else 0
    return first if first < len(running) else None


def _departure_words(
    prior: BankPrior,
    points: Sequence[PointSurprise],
    p_value: float,
    since_h: float | None,
    direction: Literal["slower", "faster"] | None,
) -> str:
    usual = (
        "what is customary (placeholder)" if prior.is_placeholder else f"the bank's {prior.n_cultures} past cultures"
    )
    chance = "below 0.001" if p_value < 0.001 else f"{p_value:.3f}"
    if since_h is None:
        return f"No departure from {usual} in {len(points)} points (chance of such a course: {chance})."
    return (
        f"Departs from {usual} from the scan at {since_h:g} h on at the latest: {direction} than expected "
        f"(chance of such a course: {chance})."
    )
