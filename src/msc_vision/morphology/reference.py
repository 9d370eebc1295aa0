"""How fields of a reference population look at a given confluency, how much they differ, and how far another lies off.

Everything here is on plain arrays: profiles (fields, traits), confluencies, and which vessel and layer a field is of.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

GROUPS_OF_ALL = 6.0
"""Vessels or layers from which a trait's own share counts as much as the mean of all traits (own)."""

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class DriftSettings(BaseModel):
    """How a deviation from a reference population is judged. None of these figures is a limit of biology."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    knot_points: float = Field(15.0, gt=1, description="confluency between the knots of the expected figures, points")
    stiffness: float = Field(0.3, ge=0, description="how strongly expected figures resist to bend at a knot (ridge)")
    clip: float = Field(4.0, gt=1, description="spreads from the expected figure beyond which a field counts no more")
    tolerated_shift: float = Field(
        0.05, ge=0, description="shift of every trait, in field spreads, that an instrument may cause without drift"
    )
    tolerated_errors: float = Field(
        0.75,
        ge=0,
        description="standard deviation of cells split, and of cells merged, more or less often than in the baseline"
        " without drift, in units of 5 % of the cells",
    )
    alarm_probability: float = Field(
        0.05, gt=0, lt=0.5, description="alarm if so much deviation is less likely than this without drift"
    )
    vessels_min: int = Field(3, ge=2, description="vessels of a baseline, from which spread between vessels is known")
    fields_min: int = Field(30, ge=10, description="fields of a baseline")
    range_margin_points: float = Field(3.0, ge=0, description="confluency beyond the baseline's that is compared still")
    n_refits: int = Field(200, ge=50, description="simulated baselines from which the chance of a deviation is known")
    n_resamples: int = Field(500, ge=100, description="resamples of fields for an interval")


class Grouping(NamedTuple):
    """Of which vessel and which layer each field is, (n,) numbers; a layer number means one layer of one vessel."""

    vessel: IntArray
    layer: IntArray

    @classmethod
    def of(cls, vessels: Sequence[str], layers: Sequence[int]) -> "Grouping":
        """Return the grouping of fields by the ids of their vessels and the numbers of their layers."""
        named = list(zip(vessels, layers, strict=True))
        _, vessel = np.unique(np.asarray(vessels, np.str_), return_inverse=True)
        known = {name: number for number, name in enumerate(dict.fromkeys(named))}
        return cls(vessel.astype(np.int64), np.array([known[name] for name in named], np.int64))


@dataclass(frozen=True, slots=True)
class Reference:
    """A fitted reference population.

    Attributes
    ----------
    knots : (k,) float array
        Confluencies at which the expected figures are stated; straight lines between.
    centre, spread : (k, p) float array
        Expected figure of each trait at the knots, and the standard deviation between fields there.
    correlation : (p, p) float array
        Of standardised deviations between fields, shrunk (Ledoit and Wolf 2004).
    root : (p, p) float array
        Independent directions in which fields differ (principal axes of the correlation, times their extent), a column
        each: a vessel's cells may all be a little larger, but their outlines no rounder.
    vessel_share, layer_share : (p,) float array
        Of the variance of fields in each direction, what all fields of a vessel, or of a layer beyond that, share.
    n_vessels, n_fields : int
    fit_variance : (k, k) float array
        Covariance of the expected figures at the knots over the variance of one field.
    """

    knots: FloatArray
    centre: FloatArray
    spread: FloatArray
    correlation: FloatArray
    root: FloatArray
    vessel_share: FloatArray
    layer_share: FloatArray
    n_vessels: int
    n_fields: int
    fit_variance: FloatArray

    def standardised(self, profiles: FloatArray, confluency_percent: FloatArray, clip: float) -> FloatArray:
        """Return deviations from what is expected at each confluency, in spreads between fields; 0 where unknown."""
        at = hats(confluency_percent, self.knots)
        deviation = (profiles - at @ self.centre) / (at @ self.spread)
        return np.where(np.isfinite(deviation), deviation, 0.0).clip(-clip, clip)


def hats(confluency_percent: FloatArray, knots: FloatArray) -> FloatArray:
    """Return the weights of the knots at each confluency, (n, k): linear between knots, constant beyond."""
    return np.stack([np.interp(confluency_percent, knots, unit) for unit in np.eye(knots.size)], axis=1)


def knots_for(confluency_percent: FloatArray, step_points: float) -> FloatArray:
    """Return knots over the range of the confluencies, at most ``step_points`` apart."""
    low, high = float(confluency_percent.min()), float(confluency_percent.max())
    n = max(int(np.ceil((high - low) / step_points)), 1) + 1
    return np.linspace(low, max(high, low + 1e-6), n)


def fit_reference(
    profiles: FloatArray, confluency_percent: FloatArray, groups: Grouping, settings: DriftSettings
) -> Reference:
    """Fit what fields of a population look like.

    Parameters
    ----------
    profiles : (n, p) float array
        On the compared scale; NaN where a field has no figure.
    confluency_percent : (n,) float array
    groups : Grouping
    settings : DriftSettings
    """
    knots = knots_for(confluency_percent, settings.knot_points)
    at = hats(confluency_percent, knots)
    smooth = _smoother(at, settings.stiffness)
    known = np.isfinite(profiles)
    centre = _fitted(at, profiles, known, settings.stiffness)
    residual = np.where(known, profiles - at @ centre, 0.0)
    spread = _spreads(at, residual, known, settings.stiffness)
    standardised = (residual / (at @ spread)).clip(-settings.clip, settings.clip)
    correlation = _shrunk(standardised)
    values, directions = np.linalg.eigh(correlation)
    root = directions * np.sqrt(values)
    vessel_share, layer_share = _shares(standardised @ (directions / np.sqrt(values)), groups)
    return Reference(
        knots,
        centre,
        spread,
        correlation,
        np.asarray(root, np.float64),
        vessel_share,
        layer_share,
        int(np.unique(groups.vessel).size),
        int(profiles.shape[0]),
        smooth @ smooth.T,
    )


def _penalty(n_knots: int, stiffness: float) -> FloatArray:
    bends = np.diff(np.eye(n_knots), 2, axis=0)
    return stiffness * bends.T @ bends + 1e-6 * np.eye(n_knots)


def _smoother(at: FloatArray, stiffness: float) -> FloatArray:
    """Return the (k, n) matrix that gives the figures at the knots from those of the fields."""
    mean_weight = at.shape[0] / at.shape[1]
    return np.linalg.solve(at.T @ at + mean_weight * _penalty(at.shape[1], stiffness), at.T)


def _fitted(at: FloatArray, figures: FloatArray, known: NDArray[np.bool_], stiffness: float) -> FloatArray:
    """Return the (k, p) figures at the knots; each trait from the fields that have it."""
    if known.all():
        return _smoother(at, stiffness) @ figures
    columns = [
        _smoother(at[seen], stiffness) @ column[seen] if seen.any() else np.full(at.shape[1], np.nan)
        for column, seen in zip(figures.T, known.T, strict=True)
    ]
    return np.stack(columns, axis=1)


def _spreads(at: FloatArray, residual: FloatArray, known: NDArray[np.bool_], stiffness: float) -> FloatArray:
    """Return the (k, p) standard deviations at the knots, held between half and twice the overall one."""
    counted = np.maximum(known.sum(axis=0), 1)
    overall = np.sqrt((residual**2).sum(axis=0) / np.maximum(counted - at.shape[1], 1)).clip(1e-9)
    local = _fitted(at, np.where(known, np.abs(residual), np.nan), known, 10 * stiffness) * np.sqrt(np.pi / 2)
    local = np.where(np.isfinite(local), local, overall).clip(0.5 * overall, 2 * overall)
    n_lost = np.sqrt(counted / np.maximum(counted - at.shape[1], 1))
    return np.asarray(local * n_lost)


def _shrunk(standardised: FloatArray) -> FloatArray:
    from sklearn.covariance import ledoit_wolf

    return np.asarray(ledoit_wolf(standardised, assume_centered=True)[0])


def _shares(whitened: FloatArray, groups: Grouping) -> tuple[FloatArray, FloatArray]:
    """Return what fields of a vessel, and of a layer beyond that, share in each direction; at least 0.

    Few groups say little of one direction, so each is drawn towards the mean of all, the more the fewer there are. Only
    then are figures below 0 taken for 0: before, that would raise the mean.
    """
    n_vessels, n_layers = (int(np.unique(group).size) for group in groups)
    vessel, layer = (
        _towards_mean(share, own)
        for share, own in zip(shared_variance(whitened, groups), (n_vessels - 1, n_layers - n_vessels), strict=True)
    )
    vessel = vessel.clip(0.0, 0.9)
    return vessel, np.minimum(layer.clip(0.0), 0.9 - vessel)


def _towards_mean(shares: FloatArray, own: int) -> FloatArray:
    trust = own / (own + GROUPS_OF_ALL)
    return np.asarray(trust * shares + (1 - trust) * shares.mean())


def shared_variance(standardised: FloatArray, groups: Grouping) -> tuple[FloatArray, FloatArray]:
    """Return which shares of each trait's variance the fields of a vessel, and of a layer beyond that, have in common.

    The mean product of two fields of one layer is what vessel and layer share, that of two layers of one vessel what
    the vessel shares, that of two vessels what the fitted mean has taken away (moments of a nested random-effects
    model). By chance these may be below 0.
    """
    n = standardised.shape[0]
    by_layer = _sums(standardised, groups.layer)
    n_layer = np.bincount(groups.layer)
    vessel_of_layer = np.zeros(n_layer.size, np.int64)
    vessel_of_layer[groups.layer] = groups.vessel
    by_vessel = _sums(by_layer, vessel_of_layer)
    n_vessel = np.bincount(groups.vessel)
    alone, layers, vessels = ((part**2).sum(axis=0) for part in (standardised, by_layer, by_vessel))
    everywhere = standardised.sum(axis=0) ** 2
    nothing = np.zeros_like(alone)
    taken = _mean_product(everywhere - vessels, n**2 - float((n_vessel**2).sum()), nothing)
    total = np.maximum(alone / n - taken, 1e-9)
    in_layer = _mean_product(layers - alone, float((n_layer**2).sum()) - n, taken)
    in_vessel = _mean_product(vessels - layers, float((n_vessel**2).sum() - (n_layer**2).sum()), in_layer)
    return (in_vessel - taken) / total, (in_layer - in_vessel) / total


def _mean_product(total: FloatArray, n_pairs: float, otherwise: FloatArray) -> FloatArray:
    return total / n_pairs if n_pairs > 0 else otherwise


def _sums(values: FloatArray, groups: IntArray) -> FloatArray:
    total = np.zeros((int(groups.max()) + 1, values.shape[1]))
    np.add.at(total, groups, values)
    return total


class Tolerance(NamedTuple):
    """What moves the mean of a vessel's fields though its cells have not changed, in spreads between fields.

    ``errors`` (e, p): one standard deviation of each error of the segmentation, a direction each. ``shift``: that of
    every trait by itself, which an instrument may cause.
    """

    errors: FloatArray
    shift: float

    @property
    def of_errors(self) -> FloatArray:
        """Covariance (p, p) that the errors explain."""
        return np.asarray(self.errors.T @ self.errors)

    @property
    def covariance(self) -> FloatArray:
        """Covariance (p, p) that errors and instrument explain together."""
        return self.of_errors + self.shift**2 * np.eye(self.errors.shape[1])

    def drawn(self, rng: np.random.Generator) -> FloatArray:
        """Draw what one vessel's mean is moved by (p,)."""
        moved = self.shift * rng.standard_normal(self.errors.shape[1])
        return np.asarray(moved + rng.standard_normal(self.errors.shape[0]) @ self.errors)


class Deviation(NamedTuple):
    """How far a set of fields lies off.

    ``squared`` is the squared distance of their mean in spreads between fields, directions of tolerated errors drawn
    in; ``statistic`` the same over what chance, the fitting and the tolerance explain: about the number of traits
    without drift.
    """

    squared: float
    statistic: float
    mean: FloatArray


def deviation(
    reference: Reference,
    standardised: FloatArray,
    confluency_percent: FloatArray,
    layers: IntArray,
    tolerance: Tolerance,
) -> Deviation:
    """Return how far the mean of some fields of one vessel lies off.

    Parameters
    ----------
    standardised : (m, p) float array
        From `Reference.standardised`.
    confluency_percent : (m,) float array
    layers : (m,) int array
        Which layer each field is of.
    tolerance : Tolerance
    """
    mean = standardised.mean(axis=0)
    explained = mean_covariance(reference, confluency_percent, layers) + tolerance.covariance
    squared = float(mean @ np.linalg.solve(reference.correlation + tolerance.of_errors, mean))
    return Deviation(squared, float(mean @ np.linalg.solve(explained, mean)), mean)


def mean_covariance(reference: Reference, confluency_percent: FloatArray, layers: IntArray) -> FloatArray:
    """Return the covariance (p, p) of the mean of some fields of one vessel, in spreads of fields, fitting included."""
    m = layers.size
    _, counts = np.unique(layers, return_counts=True)
    own = 1 - reference.vessel_share - reference.layer_share
    at = hats(confluency_percent, reference.knots).mean(axis=0)
    fitting = own * float(at @ reference.fit_variance @ at)
    shared = reference.vessel_share * (1 + 1 / reference.n_vessels)
    variance = shared + reference.layer_share * float((counts**2).sum()) / m**2 + own / m + fitting
    return np.asarray((reference.root * variance) @ reference.root.T)
