"""Which growth curves agree with the time points of a culture: mode by Fisher scoring, draws by importance sampling.

Everything is written in independent unit normals x = (u, z): u moves the parameters within their prior, z the wobble.
Proposals are Student distributions, first around the mode, then around the draws so far; all rounds count, weighted
by the mixture of their proposals (adaptive multiple importance sampling, doi:10.1111/j.1467-9469.2011.00756.x).
Points are scrambled Sobol numbers of a fixed seed: the same input gives the same draws.
"""

from dataclasses import dataclass
from functools import lru_cache

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
    max_rounds: int = Field(6, ge=1, le=20)
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
    """Return draws of the posterior.

    Raises
    ------
    UndefinedResultError
        If after all rounds too few draws carry the weight: then no interval would be honest.
    """
    mode = find_mode(target, tolerance=1e-3)
    centre, covariance = mode.x, WIDENING**2 * mode.covariance
    n = 2**settings.log2_proposals
    proposals: list[tuple[F64, F64]] = []
    x, log_posterior, log_proposal = np.empty((0, target.n_dimensions)), np.empty(0), np.empty((0, 0))
    effective = 0.0
    for number in range(settings.max_rounds):
        factor: F64 = np.asarray(np.linalg.cholesky(covariance), np.float64)
        proposals.append((centre, factor))
        base = student_points(target.n_dimensions, settings.log2_proposals, settings.seed + number)
        fresh = centre + base @ factor.T
        x = np.concatenate([x, fresh])
        log_posterior = np.concatenate([log_posterior, target.log_density(fresh)])
        old = _log_student(x[:-n], *proposals[-1])[:, None]
        new = np.stack([_log_student(fresh, *proposal) for proposal in proposals], axis=1)
        log_proposal = np.concatenate([np.hstack([log_proposal, old]), new]) if number else new
        log_weights = log_posterior - logsumexp(log_proposal, axis=1)
        effective = _effective(log_weights, 1.0)
        if effective >= settings.least_effective:
            break
        centre, covariance = _adapted(x, log_weights)
    if not effective >= settings.least_usable:
        raise UndefinedResultError(
            f"The growth curve cannot be told from these points: of {len(x)} curves only {effective:.0f} carry the "
            "weight. Points and prior contradict each other; check times, confluencies and standard errors."
        )
    weights = np.exp(log_weights - log_weights.max())
    return Draws(x[_systematic(weights, settings.n_draws)], effective)


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


def _effective(log_weights: F64, power: float) -> float:
    scaled = power * (log_weights - log_weights.max())
    return float(np.exp(2 * logsumexp(scaled) - logsumexp(2 * scaled)))


def _adapted(x: F64, log_weights: F64) -> tuple[F64, F64]:
    """Return mean and covariance of the draws, weights flattened until enough of them count to have a covariance."""
    power = 1.0
    while _effective(log_weights, power) < 12 * x.shape[1] and power > 1e-3:
        power *= 0.7
    weights = np.exp(power * (log_weights - log_weights.max()))
    covariance = np.cov(x.T, aweights=weights, ddof=0)
    return np.average(x, axis=0, weights=weights), covariance + 1e-9 * np.eye(x.shape[1])


def _systematic(weights: F64, n: int) -> NDArray[np.intp]:
    """Return indices drawn in proportion to the weights, at even steps."""
    share = np.cumsum(weights / weights.sum())
    return np.minimum(np.searchsorted(share, (np.arange(n) + 0.5) / n), weights.size - 1)
