"""How the cultures of a bank usually grow: a population of growth parameters, placeholder or learned."""

from collections.abc import Sequence
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from msc_vision.errors import InvalidArgumentError
from msc_vision.statistics.growth_curve import PARAMETERS, Clock, GrowthParameters
from msc_vision.statistics.growth_posterior import N_PARAMETERS, Mode, Target, find_mode
from msc_vision.statistics.growth_series import GrowthSeries

F64 = NDArray[np.float64]
Vector = Annotated[tuple[float, ...], Field(min_length=N_PARAMETERS, max_length=N_PARAMETERS)]

PLACEHOLDER_MEDIANS = GrowthParameters(
    start_percent=6,
    lag_h=12,
    doubling_time_h=34,
    capacity_percent=96,
    shape=1.5,
    scatter_points=1.5,
    refeed_pause_h=2,
    refeed_gain=1.05,
)
PLACEHOLDER_SDS = (0.7, 0.7, 0.27, 0.8, 0.5, 0.5, 0.5, 0.1)


class BankPrior(BaseModel):
    """How the cultures of a bank grow, as far as is known before the first scan; plain numbers, fit for YAML or JSON.

    ``BankPrior.model_validate(prior.model_dump(mode="json"))`` gives the prior back.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    source: str = Field(min_length=1, description="where the figures come from, for a reader")
    n_cultures: int = Field(ge=0, description="past cultures that it was learned from")
    is_placeholder: bool = Field(description="no culture of the bank was seen: customary figures")
    parameters: tuple[str, ...] = Field(PARAMETERS, description="order of mean and covariance")
    mean: Vector = Field(description="of the parameters on their normal scales")
    covariance: tuple[Vector, ...] = Field(description="between cultures, with what is not known of the mean")
    rate_wobble: float = Field(ge=0, le=2, description="SD of the logarithm of the rate around its formula")

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if self.parameters != PARAMETERS:
            raise ValueError(f"The parameters are {', '.join(PARAMETERS)}, in this order.")
        matrix = np.array(self.covariance)
        if matrix.shape != (N_PARAMETERS, N_PARAMETERS) or not np.allclose(matrix, matrix.T):
            raise ValueError(f"The covariance is {N_PARAMETERS} by {N_PARAMETERS} and symmetric.")
        if np.linalg.eigvalsh(matrix)[0] <= 0:
            raise ValueError("The covariance is not positive: a parameter has no spread.")
        return self

    @property
    def usual(self) -> GrowthParameters:
        """The medians."""
        return GrowthParameters.from_vector(np.array(self.mean))

    def target(self, series: GrowthSeries) -> Target:
        """Return what prior and time points together say."""
        table = np.array([(p.elapsed_h, p.confluency_percent, p.standard_error) for p in series.points], np.float64)
        hours, percents, errors = table.reshape(-1, 3).T
        clock = Clock.until(float(hours.max(initial=0.0)), series.refeeds_h)
        factor = np.linalg.cholesky(np.array(self.covariance))
        return Target(np.array(self.mean), factor, self.rate_wobble, clock, hours, percents, errors)


class LearningSettings(BaseModel):
    """How fast past cultures outweigh the placeholder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cultures_for_mean: float = Field(0.5, gt=0, description="cultures that the placeholder's mean counts for")
    cultures_for_spread: float = Field(4.0, gt=0, description="cultures that the guessed spread counts for")
    spread_within_bank: float = Field(
        0.3, gt=0, le=1, description="guessed spread within a bank over the placeholder's, SDs; placeholder"
    )
    rounds: int = Field(15, ge=1, le=200)


def placeholder_prior() -> BankPrior:
    """Return customary figures, for a bank of which no culture is known.

    Doubling 24-48 h is taken as the middle 80 % of cultures; the start is what 1,000-6,000 cells per cm² of about
    2,100 µm² cover. None of it is confirmed for any bank.
    """
    covariance = np.diag(np.square(PLACEHOLDER_SDS))
    return BankPrior(
        source="placeholder: customary doubling of 24-48 h and seeding of 1,000-6,000 cells/cm², not confirmed",
        n_cultures=0,
        is_placeholder=True,
        mean=_plain(PLACEHOLDER_MEDIANS.vector()),
        covariance=_plain_rows(covariance),
        rate_wobble=0.1,
    )


def learn_prior(
    cultures: Sequence[GrowthSeries],
    *,
    source: str,
    placeholder: BankPrior | None = None,
    settings: LearningSettings | None = None,
) -> BankPrior:
    """Return the population that past cultures of one bank come from.

    Mean and covariance are those of highest posterior density under a normal-inverse-Wishart prior around the
    placeholder, by EM; each culture enters as the normal approximation at its mode. So few cultures move the
    placeholder a little, many replace it, and what no culture shows (a re-feed, the capacity) stays as it was.

    Parameters
    ----------
    cultures : sequence of GrowthSeries
        Whole cultures of the bank, seeding to harvest, all of the same medium and kind of vessel.
    source : str
        Which cultures these are, for a reader.
    placeholder : BankPrior, optional
        What holds without them; by default `placeholder_prior`.

    Raises
    ------
    InvalidArgumentError
        If there is no culture.
    """
    if not cultures:
        raise InvalidArgumentError("No culture to learn from: use the placeholder prior, and say so.")
    base, asked = placeholder or placeholder_prior(), settings or LearningSettings()
    prior = base.model_copy(update={"covariance": _plain_rows(asked.spread_within_bank**2 * np.array(base.covariance))})
    starts: list[F64 | None] = [None] * len(cultures)
    for _ in range(asked.rounds):
        targets = [prior.target(culture) for culture in cultures]
        modes = [find_mode(one, start, tolerance=1e-4) for one, start in zip(targets, starts, strict=True)]
        prior = _population(base, asked, targets, modes, source)
        starts = [mode.x for mode in modes]
    return prior


def _population(
    base: BankPrior, asked: LearningSettings, targets: Sequence[Target], modes: Sequence[Mode], source: str
) -> BankPrior:
    """Return the population of highest posterior density, given each culture's mode and covariance."""
    n, kappa, nu = len(targets), asked.cultures_for_mean, asked.cultures_for_spread
    found = np.stack([t.parameters(m.x[None])[0] for t, m in zip(targets, modes, strict=True)])
    unknown = sum(
        t.factor @ m.covariance[:N_PARAMETERS, :N_PARAMETERS] @ t.factor.T for t, m in zip(targets, modes, strict=True)
    )
    base_mean = np.array(base.mean)
    guess = asked.spread_within_bank**2 * np.array(base.covariance)
    mean = (kappa * base_mean + found.sum(axis=0)) / (kappa + n)
    scatter = (found - mean).T @ (found - mean) + kappa * np.outer(mean - base_mean, mean - base_mean)
    within = (nu * guess + scatter + unknown) / (nu + n)
    covariance = within * (1 + 1 / (kappa + n))
    return BankPrior(
        source=source,
        n_cultures=n,
        is_placeholder=False,
        mean=_plain(mean),
        covariance=_plain_rows((covariance + covariance.T) / 2),
        rate_wobble=_wobble(base, asked, targets, modes),
    )


def _wobble(base: BankPrior, asked: LearningSettings, targets: Sequence[Target], modes: Sequence[Mode]) -> float:
    """Return the amplitude whose expected squares are those of the cultures' wobbles."""
    square, n_knots = asked.cultures_for_spread * base.rate_wobble**2, asked.cultures_for_spread
    for target, mode in zip(targets, modes, strict=True):
        z, spread = mode.x[N_PARAMETERS:], np.diag(mode.covariance)[N_PARAMETERS:]
        square += target.rate_wobble**2 * float((z**2 + spread).mean())
        n_knots += 1
    return float(np.sqrt(square / n_knots))


def _plain(vector: F64) -> Any:
    return tuple(float(value) for value in vector)


def _plain_rows(matrix: F64) -> Any:
    return tuple(_plain(row) for row in matrix)
