"""Which growth curves agree with the time points of a culture: mode by Fisher scoring, draws by importance sampling.

Everything is written in independent unit normals x = (u, z): u moves the parameters within their prior, z the wobble.
Proposals are Student distributions, first around the mode, then around the draws so far; all rounds count, weighted
by the mixture of their proposals (adaptive multiple importance sampling, doi:10.1111/j.1467-9469.2011.00756.x).
Points are scrambled Sobol numbers of a fixed seed: the same input gives the same draws.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.special import gammaln, logsumexp, ndtri
from scipy.stats import chi2, qmc

from msc_vision.errors import UndefinedResultError
from msc_vision.statistics.growth_curve import (
    PARAMETERS,
    Clock,
    confluency,
    growing_time,
    interpolated,
    scatter_sd,
)

F64 = NDArray[np.float64]

N_PARAMETERS = len(PARAMETERS)
FREEDOM = 8.0
"""Degrees of freedom of the proposals: tails heavier than a posterior's."""
WIDENING = 1.2
"""The first proposal is wider than the curvature at the mode says, because posteriors of growth are bent."""
FARTHEST = 50.0
"""Bound of every parameter on its logarithmic scale: beyond any culture, and before numbers overflow."""
DIFFERENCE = 1e-5
SCORING_STEPS = 60
WALKS = (2.4, 1.2, 0.6, 2.4, 1.2, 0.6)
"""Lengths of the random walks at each temperature; 2.4 is best for a normal posterior."""
STAGES = 60
SHORTENED = 0.5 ** np.arange(8.0)


class SamplerSettings(BaseModel):
    """How thoroughly a posterior is drawn; no biology."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    log2_proposals: int = Field(12, ge=8, le=16, description="draws proposed in each round: 2 to this power")
    n_draws: int = Field(2048, ge=200, le=65_536, description="curves that are kept, of equal weight")
    least_effective: float = Field(500, ge=50, description="effective draws below which another round follows")
    least_usable: float = Field(
        150, ge=20, description="effective draws below which no result is given after all rounds"
    )
    max_rounds: int = Field(4, ge=1, le=20)
    seed: int = Field(20_261_122, ge=0, description="of the Sobol numbers")


@dataclass(frozen=True, slots=True)
class Target:
    """What is known: prior and time points.

    Attributes
    ----------
    mean, factor : (8,) and (8, 8) float64 arrays
        Prior of the `PARAMETERS`: mean, and Cholesky factor of the covariance.
    rate_wobble : float
        Standard deviation of the logarithm of the rate of growth around its formula.
    clock : Clock
        Up to the last time point.
    hours, percents, errors : (n,) float64 arrays
        Time, confluency and standard error of each point.
    """

    mean: F64
    factor: F64
    rate_wobble: float
    clock: Clock
    hours: F64
    percents: F64
    errors: F64

    @property
    def n_dimensions(self) -> int:
        """How many unit normals describe a culture."""
        return N_PARAMETERS + self.clock.n_knots

    def parameters(self, x: F64) -> F64:
        """Return the `PARAMETERS`, (N, 8), of unit normals."""
        return np.clip(self.mean + x[:, :N_PARAMETERS] @ self.factor.T, -FARTHEST, FARTHEST)

    def predicted(self, x: F64) -> tuple[F64, F64]:
        """Return the confluency at the points' times, and the standard deviation of a reading there; both (N, n)."""
        theta = self.parameters(x)
        wobble = self.rate_wobble * (x[:, N_PARAMETERS:] @ self.clock.wobble_matrix())
        growing = interpolated(self.clock.edges_h, growing_time(theta, wobble, self.clock), self.hours)
        percent = confluency(theta, growing)
        return percent, np.hypot(self.errors, scatter_sd(theta, percent))

    def log_density(self, x: F64) -> F64:
        """Return the logarithm of prior times likelihood of each row, up to a constant."""
        percent, sd = self.predicted(x)
        misfit = ((self.percents - percent) / sd) ** 2 + 2 * np.log(sd)
        return -0.5 * (misfit.sum(axis=1) + (x**2).sum(axis=1))


@dataclass(frozen=True, slots=True)
class Weighing:
    """All that was proposed so far, and by which Student distributions.

    Attributes
    ----------
    proposals : tuple of (centre, factor)
        The last has not proposed yet after `adapted`.
    x : (N, d) float64 array
    log_posterior, log_weights : (N,) float64 arrays
    """

    proposals: tuple[tuple[F64, F64], ...]
    x: F64
    log_posterior: F64
    log_weights: F64

    @classmethod
    def around(cls, centre: F64, covariance: F64) -> Self:
        """Return a weighing that has yet to begin."""
        factor = np.asarray(np.linalg.cholesky(covariance), np.float64)
        return cls(((centre, factor),), np.empty((0, centre.size)), np.empty(0), np.empty(0))

    def extended(self, target: Target, base: F64) -> "Weighing":
        """Return the weighing with draws of the last proposal, made of standard Student points."""
        centre, factor = self.proposals[-1]
        fresh = centre + base @ factor.T
        x = np.concatenate([self.x, fresh])
        log_posterior = np.concatenate([self.log_posterior, target.log_density(fresh)])
        return Weighing(self.proposals, x, log_posterior, log_posterior - self.log_proposal(x))

    def log_proposal(self, x: F64) -> F64:
        """Return the logarithm of the mixture of all proposals, up to a constant."""
        each = [_log_student(x, *proposal) for proposal in self.proposals]
        return np.asarray(logsumexp(np.stack(each), axis=0) - np.log(len(each)), np.float64)

    def effective(self, power: float) -> float:
        """Return how many draws count, once the weights are raised to a power."""
        return _effective(power * self.log_weights)

    def flattening(self) -> float:
        """Return the power, at most 1, at which enough draws count to have a covariance."""
        power = 1.0
        while self.effective(power) < 12 * self.x.shape[1] and power > 1e-3:
            power *= 0.7
        return power

    def flattened(self) -> F64:
        """Return the logarithm of the weights so flattened; the highest is 0."""
        return self.flattening() * (self.log_weights - self.log_weights.max())

    def adapted(self) -> "Weighing":
        """Return the weighing with a further proposal, at the mean and covariance of what was found."""
        weights = np.exp(self.flattened())
        covariance = np.cov(self.x.T, aweights=weights, ddof=0) + 1e-9 * np.eye(self.x.shape[1])
        proposal = np.average(self.x, axis=0, weights=weights), np.asarray(np.linalg.cholesky(covariance), np.float64)
        return Weighing((*self.proposals, proposal), self.x, self.log_posterior, self.log_weights)


@dataclass(frozen=True, slots=True)
class Mode:
    """The most plausible culture: unit normals x, (d,), and covariance there, (d, d), by the expected information."""

    x: F64
    covariance: F64


@dataclass(frozen=True, slots=True)
class Draws:
    """Unit normals of equal weight, (n_draws, d), and how many independent draws they were made of."""

    x: F64
    effective: float


def find_mode(target: Target, start: F64 | None = None, *, tolerance: float = 1e-9) -> Mode:
    """Return the mode, by Fisher scoring with shortened steps where a whole one leads down.

    Parameters
    ----------
    start : (d,) float64 array, optional
        Where to begin; by default at the centre of the prior.
    tolerance : float
        Stop when a step is shorter than this in every direction.
    """
    x = np.zeros(target.n_dimensions) if start is None else start
    best = float(target.log_density(x[None])[0])
    for _ in range(SCORING_STEPS):
        gradient, information = _score(target, x)
        step = np.linalg.solve(information, gradient)
        tried = x + SHORTENED[:, None] * step
        values = target.log_density(tried)
        i = int(np.argmax(np.where(np.isfinite(values), values, -np.inf)))
        if not values[i] > best:
            break
        x, best = tried[i], float(values[i])
        if np.abs(SHORTENED[i] * step).max() < tolerance:
            break
    return Mode(x, np.asarray(np.linalg.inv(_score(target, x)[1]), np.float64))


def draw(target: Target, settings: SamplerSettings) -> Draws:
    """Return draws of the posterior: by importance sampling, else, where its shape defeats that, by moving particles.

    Raises
    ------
    UndefinedResultError
        If both leave too few draws that count: then no interval would be honest.
    """
    found, weighing = _weighed(target, settings)
    if found.effective < settings.least_effective:
        found = _moved(target, weighing, settings)
    if not found.effective >= settings.least_usable:
        raise UndefinedResultError(
            f"The growth curve cannot be told from these points: only {found.effective:.0f} draws carry the weight. "
            "Points and prior contradict each other; check times, confluencies and standard errors."
        )
    return found


def _weighed(target: Target, settings: SamplerSettings) -> tuple[Draws, Weighing]:
    """Return draws by adaptive importance sampling, and all that was proposed."""
    mode = find_mode(target, tolerance=1e-3)
    weighing = Weighing.around(mode.x, WIDENING**2 * mode.covariance)
    for number in range(settings.max_rounds):
        base = student_points(target.n_dimensions, settings.log2_proposals, settings.seed + number)
        weighing = weighing.extended(target, base)
        if weighing.effective(1.0) >= settings.least_effective:
            break
        weighing = weighing.adapted()
    weights = np.exp(weighing.log_weights - weighing.log_weights.max())
    return Draws(weighing.x[_systematic(weights, settings.n_draws)], weighing.effective(1.0)), weighing


def _moved(target: Target, weighing: Weighing, settings: SamplerSettings) -> Draws:
    """Return draws by sequential Monte Carlo from proposals to posterior (doi:10.1111/j.1467-9868.2006.00553.x).

    At each temperature the draws are weighted, resampled, and moved by random walks along their own covariance.
    """
    rng = np.random.default_rng(settings.seed)
    n, d = settings.n_draws, target.n_dimensions
    x = weighing.x[_systematic(np.exp(weighing.flattened()), n)]
    power = weighing.flattening()
    log_posterior, log_proposal = target.log_density(x), weighing.log_proposal(x)
    for _ in range(STAGES):
        ratio = log_posterior - log_proposal
        step = 1 - power
        while step > 1e-6 and _effective(step * ratio) < n / 2:
            step *= 0.8
        power = 1.0 if step == 1 - power else power + step
        weights = np.exp(step * (ratio - ratio.max()))
        order = _systematic(weights, n)
        x, log_posterior, log_proposal = x[order], log_posterior[order], log_proposal[order]
        moved_share = 0.0
        for scale in WALKS:
            factor = np.linalg.cholesky(np.cov(x.T) + 1e-12 * np.eye(d)) * scale / np.sqrt(d)
            tried = x + rng.standard_normal(x.shape) @ factor.T
            log_posterior_there, log_proposal_there = target.log_density(tried), weighing.log_proposal(tried)
            gain = power * (log_posterior_there - log_posterior) + (1 - power) * (log_proposal_there - log_proposal)
            is_taken = np.log(rng.random(n)) < gain
            x = np.where(is_taken[:, None], tried, x)
            log_posterior = np.where(is_taken, log_posterior_there, log_posterior)
            log_proposal = np.where(is_taken, log_proposal_there, log_proposal)
            moved_share += float(is_taken.mean())
        if power >= 1.0:
            return Draws(x, n / 2 * min(1.0, moved_share / 2))
    return Draws(x, 0.0)


@lru_cache(maxsize=64)
def student_points(n_dimensions: int, log2_points: int, seed: int) -> F64:
    """Return quasi-random points of the standard multivariate Student distribution, (2^log2_points, n_dimensions)."""
    uniform = qmc.Sobol(n_dimensions + 1, scramble=True, rng=seed).random_base2(log2_points)
    uniform = np.clip(uniform, 1e-12, 1 - 1e-12)
    points = ndtri(uniform[:, :-1]) * np.sqrt(FREEDOM / chi2.ppf(uniform[:, -1:], FREEDOM))
    points.setflags(write=False)
    return points


def _score(target: Target, x: F64) -> tuple[F64, F64]:
    """Return the gradient of the log density and the expected information, prior included."""
    d = x.size
    steps = DIFFERENCE * np.eye(d)
    percent, sd = target.predicted(np.concatenate([x[None], x + steps, x - steps]))
    slopes = (percent[1 : d + 1] - percent[d + 1 :]) / (2 * DIFFERENCE)
    log_sd_slopes = np.log(sd[1 : d + 1] / sd[d + 1 :]) / (2 * DIFFERENCE)
    residual = (target.percents - percent[0]) / sd[0]
    scaled = slopes / sd[0]
    gradient = scaled @ residual + log_sd_slopes @ (residual**2 - 1) - x
    return gradient, scaled @ scaled.T + 2 * log_sd_slopes @ log_sd_slopes.T + np.eye(d)


def _log_student(x: F64, centre: F64, factor: F64) -> F64:
    d = centre.size
    distance2 = (np.linalg.solve(factor, (x - centre).T) ** 2).sum(axis=0)
    constant = gammaln((FREEDOM + d) / 2) - np.log(np.diag(factor)).sum()
    return np.asarray(constant - (FREEDOM + d) / 2 * np.log1p(distance2 / FREEDOM), np.float64)


def _effective(log_weights: F64) -> float:
    scaled = log_weights - log_weights.max()
    return float(np.exp(2 * logsumexp(scaled) - logsumexp(2 * scaled)))


def _systematic(weights: F64, n: int) -> NDArray[np.intp]:
    """Return indices drawn in proportion to the weights, at even steps."""
    share = np.cumsum(weights / weights.sum())
    return np.minimum(np.searchsorted(share, (np.arange(n) + 0.5) / n), weights.size - 1)
