"""How far the cells of a vessel, a layer or a field have drifted from a reference population, and how sure that is.

The distance is that of the mean profile of the fields from what the reference shows at the same confluency, in spreads
between fields of the reference (a Mahalanobis distance with a shrunk correlation). Its chance without drift comes from
simulated references: each is fitted anew, so what the fitting costs is in it. Fields, not cells, are what is counted
and resampled: cells of one picture are no independent witnesses.
"""

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from msc_vision.morphology.reference import (
    GROUPS_OF_ALL,
    DriftSettings,
    FloatArray,
    Grouping,
    IntArray,
    Reference,
    Tolerance,
    deviation,
    fit_reference,
    hats,
    mean_covariance,
)

DriftState = Literal["compared", "no baseline", "not comparable", "not measured"]

_ALIKE_POINTS = 5.0


@dataclass(frozen=True, slots=True)
class Driver:
    """A trait that drives a drift score. ``shift`` is in spreads between fields, ``words`` say what changed."""

    trait: str
    shift: float
    words: str


@dataclass(frozen=True, slots=True)
class Drift:
    """Deviation of some fields from a baseline.

    Attributes
    ----------
    state : DriftState
        ``compared``, or why there is no figure; then ``reason`` says it and every figure is None.
    score : float or None
        Distance of the fields' mean in spreads between fields of the baseline, corrected for chance; 0: none.
    interval : (float, float) or None
        95 % of the score, from resampled layers and fields; needs three fields.
    probability : float or None
        Chance of at least this much deviation without any drift.
    is_alarm : bool or None
        Whether that chance is below the alarm's.
    n_fields : int
        Compared fields.
    drivers : tuple of Driver
        What changed, the strongest first; only what stands out from chance.
    limit : float or None
        The score that such fields without drift exceed with the chance of the alarm.
    """

    state: DriftState
    reason: str | None = None
    score: float | None = None
    interval: tuple[float, float] | None = None
    probability: float | None = None
    is_alarm: bool | None = None
    n_fields: int = 0
    drivers: tuple[Driver, ...] = ()
    limit: float | None = None


@dataclass(frozen=True)
class DriftJudge:
    """A reference population with all that is needed to judge deviations from it.

    Attributes
    ----------
    profiles : (n, p) float array
        Of the baseline's fields, on the compared scale.
    confluency_percent : (n,) float array
    groups : Grouping
    settings : DriftSettings
    errors : (e, p) float array
        What errors of the segmentation do to a field, on the compared scale, a row each.
    """

    profiles: FloatArray
    confluency_percent: FloatArray
    groups: Grouping
    settings: DriftSettings
    errors: FloatArray
    _known_nulls: dict[tuple[Any, ...], tuple[FloatArray, FloatArray]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @cached_property
    def reference(self) -> Reference:
        """The fitted baseline."""
        return fit_reference(self.profiles, self.confluency_percent, self.groups, self.settings)

    @cached_property
    def refits(self) -> tuple[Reference, ...]:
        """Baselines that the fitted one could have given rise to, each fitted anew."""
        rng = np.random.Generator(np.random.PCG64(20_260_101))
        known = np.isfinite(self.profiles)
        refits = []
        for _ in range(self.settings.n_refits):
            drawn = _nested(rng, self.groups, self.reference)
            refits.append(
                fit_reference(np.where(known, drawn, np.nan), self.confluency_percent, self.groups, self.settings)
            )
        return tuple(refits)

    def drift(
        self, profiles: FloatArray, confluency_percent: FloatArray, layers: IntArray
    ) -> tuple[float, float, FloatArray]:
        """Return score, chance without drift, and mean standardised shift of each trait (p,) for fields of a vessel."""
        fields = self.reference.standardised(profiles, confluency_percent, self.settings.clip)
        found = deviation(self.reference, fields, confluency_percent, layers, self.tolerance(confluency_percent))
        null_squared, null_statistic = self.without_drift(confluency_percent, layers)
        probability = float(_null_law(null_statistic).sf(found.statistic))
        return math.sqrt(max(found.squared - float(null_squared.mean()), 0.0)), probability, found.mean

    def interval(
        self, profiles: FloatArray, confluency_percent: FloatArray, layers: IntArray
    ) -> tuple[float, float] | None:
        """Return a 95 % interval of the score from resampled layers and fields of them; None below three fields."""
        m = layers.size
        if m < 3:
            return None
        fields = self.reference.standardised(profiles, confluency_percent, self.settings.clip)
        null_squared, _ = self.without_drift(confluency_percent, layers)
        rng = np.random.Generator(np.random.PCG64(20_260_102))
        inverse = np.linalg.inv(self.metric(confluency_percent))
        centre = fields.mean(axis=0)
        means = np.stack([fields[_resampled(rng, layers)].mean(axis=0) for _ in range(self.settings.n_resamples)])
        squares = np.einsum("rp,pq,rq->r", means, inverse, means)
        scatter = means - centre
        extra = float(np.einsum("rp,pq,rq->r", scatter, inverse, scatter).mean())
        scores = np.sqrt(np.maximum(squares - extra - float(null_squared.mean()), 0.0))
        low, high = np.percentile(scores, (2.5, 97.5))
        return float(low), float(high)

    def _uncertain(self, rng: np.random.Generator) -> Reference:
        """Return the reference with other shares between vessels that it might have: few vessels say little of them."""
        freedom = self.reference.n_vessels - 1 + GROUPS_OF_ALL
        share = self.reference.vessel_share * freedom / rng.chisquare(freedom)
        return replace(self.reference, vessel_share=np.minimum(share, 0.9 - self.reference.layer_share))

    def tolerance(self, confluency_percent: FloatArray) -> Tolerance:
        """Return what moves the mean of fields at these confluencies though their cells have not changed."""
        spread = hats(confluency_percent, self.reference.knots) @ self.reference.spread
        errors = self.settings.tolerated_errors * self.errors * (1 / spread).mean(axis=0)
        return Tolerance(errors, self.settings.tolerated_shift)

    def reach(self, confluency_percent: FloatArray, layers: IntArray, chance: float) -> float:
        """Return the distance that means without drift exceed by this chance, in their standard errors."""
        _, null_statistic = self.without_drift(confluency_percent, layers)
        return math.sqrt(float(_null_law(null_statistic).isf(chance)))

    def limit(self, confluency_percent: FloatArray, layers: IntArray, chance: float) -> float:
        """Return the score that fields without drift exceed by this chance."""
        null_squared, _ = self.without_drift(confluency_percent, layers)
        return math.sqrt(max(float(_null_law(null_squared).isf(chance)) - float(null_squared.mean()), 0.0))

    def metric(self, confluency_percent: FloatArray) -> FloatArray:
        """Return the covariance (p, p) in whose spreads the score is a distance."""
        return self.reference.correlation + self.tolerance(confluency_percent).of_errors

    def shift_error(self, confluency_percent: FloatArray, layers: IntArray) -> FloatArray:
        """Return the standard error of each trait's mean shift without drift (p,), in spreads between fields."""
        covariance = mean_covariance(self.reference, confluency_percent, layers)
        return np.asarray(np.sqrt(np.diag(covariance + self.tolerance(confluency_percent).covariance)))

    def change(self, profiles: FloatArray, confluency_percent: FloatArray) -> FloatArray:
        """Return the mean deviation of each trait (p,) from what is expected, on the compared scale."""
        expected = hats(confluency_percent, self.reference.knots) @ self.reference.centre
        known = np.isfinite(profiles)
        total = np.where(known, profiles - expected, 0.0).sum(axis=0)
        return np.asarray(total / np.maximum(known.sum(axis=0), 1))

    def without_drift(self, confluency_percent: FloatArray, layers: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return squared distances and statistics of vessels without drift, each against its own simulated baseline.

        What chance does hangs on how many fields lie on how many layers, and hardly on their exact confluency: sets of
        fields alike in both share one answer.
        """
        counts = np.sort(np.unique(layers, return_counts=True)[1])
        near = float(np.rint(confluency_percent.mean() / _ALIKE_POINTS) * _ALIKE_POINTS)
        key = (*counts.tolist(), near)
        if key not in self._known_nulls:
            self._known_nulls[key] = self._simulated(np.repeat(np.arange(counts.size), counts), near)
        return self._known_nulls[key]

    def _simulated(self, layers: IntArray, confluency: float) -> tuple[FloatArray, FloatArray]:
        confluency_percent = np.full(layers.size, confluency)
        rng = np.random.Generator(np.random.PCG64(20_260_103))
        groups = Grouping(np.zeros_like(layers), layers)
        tolerance = self.tolerance(confluency_percent)
        found = []
        for refit in self.refits:
            drawn = _nested(rng, groups, self._uncertain(rng))
            drawn += tolerance.drawn(rng)
            fields = refit.standardised(drawn, confluency_percent, self.settings.clip)
            found.append(deviation(refit, fields, confluency_percent, groups.layer, tolerance)[:2])
        squares, statistics = np.array(found).T
        return squares, statistics


def _nested(rng: np.random.Generator, groups: Grouping, reference: Reference) -> FloatArray:
    """Draw standardised deviations of fields that share what vessels and layers share."""
    n, p = groups.vessel.size, reference.root.shape[0]
    own = 1 - reference.vessel_share - reference.layer_share
    parts = (
        (reference.vessel_share, groups.vessel),
        (reference.layer_share, groups.layer),
        (own, np.arange(n)),
    )
    drawn = np.zeros((n, p))
    for share, group in parts:
        drawn += (rng.standard_normal((int(group.max()) + 1, p)) * np.sqrt(share))[group]
    return drawn @ reference.root.T


def _resampled(rng: np.random.Generator, layers: IntArray) -> NDArray[np.int64]:
    """Return fields drawn again: layers with replacement, then as many fields of each as it has."""
    numbers = np.unique(layers)
    chosen = numbers if numbers.size < 3 else rng.choice(numbers, numbers.size)
    return np.concatenate(
        [rng.choice(np.flatnonzero(layers == layer), np.count_nonzero(layers == layer)) for layer in chosen]
    )


def _null_law(null: FloatArray) -> Any:
    """Return the gamma distribution that has the mean and the variance of a simulated null."""
    from scipy.stats import gamma

    mean, variance = float(null.mean()), float(null.var(ddof=1))
    return gamma(mean**2 / variance, scale=variance / mean)
