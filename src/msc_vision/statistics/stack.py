"""From the layers that were measured to those that nobody saw, and to the whole vessel.

Measured layers scatter around the vessel's mean by more than their own errors explain; how much more is estimated, with
what is left in doubt about it, and that is how far off a layer may be that nobody saw. The answer is a set of draws of
all layers together, so that any figure of the vessel has its interval from the same draws.

Without a layer study the variance of layer means is drawn as their sum of squares over chi-squared, and what fields
explain of it is taken off (a generalised pivot: Weerahandi, J. Am. Stat. Assoc. 88, 899 (1993)): with equal errors that
is Student's t over layer means. With a study, its variance is the prior. The error that all layers share, because one
method measured them all, is drawn once per vessel.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv, ndtri

from msc_vision.statistics.layer_study import LayerStudy
from msc_vision.statistics.scales import Scale

FloatArray = NDArray[np.float64]
Basis = Literal["all layers measured", "measured layers over the stack", "layer study"]

N_DRAWS = 4096
FEWEST_LAYERS = 3
_SEED = 20_261_122
_N_SPREADS = 200
_LARGEST_SPREAD = math.pi / 4
"""Angles of shares cannot scatter more than this around any mean."""


@dataclass(frozen=True, slots=True)
class LayerMean:
    """What was measured of one layer, on the inner scale of its figure.

    Attributes
    ----------
    layer : int
    centre, error, freedom : float
        Mean, standard error from the choice of fields, and its degrees of freedom.
    """

    layer: int
    centre: float
    error: float
    freedom: float


@dataclass(frozen=True, slots=True)
class StackDraws:
    """What the layers of a vessel may be.

    Attributes
    ----------
    values : (draws, layers) float array
        The outer figure of every layer, layer 1 first.
    shares : (layers,) float array
        Of the culture area.
    basis : str
        What the layers without a measurement are inferred from.
    between : float or None
        Standard deviation between layers on the inner scale, the median of what it may be; None with all measured.
    """

    values: FloatArray
    shares: FloatArray
    basis: Basis
    between: float | None

    @property
    def vessel(self) -> FloatArray:
        """The figure of the vessel in each draw (draws,)."""
        return np.asarray(self.values @ self.shares)


def why_undetermined(layers: tuple[int, ...], n_layers: int, study: LayerStudy | None) -> str | None:
    """Return why nothing can be said of the layers that were not measured; None if it can.

    Without a study of the stack, layers speak for the others only if at least three were measured, one of them in each
    third of the stack. Layers that are near the objective are no random sample.
    """
    if len(layers) == n_layers or (layers and study is not None):
        return None
    if not layers:
        return "no layer has an interval of its own"
    thirds = {(layer - 1) * 3 // n_layers for layer in layers}
    if len(layers) >= FEWEST_LAYERS and len(thirds) == 3:
        return None
    which = "the lowest" if max(layers) == len(layers) else "some"
    return (
        f"only {which} layers speak for themselves ({len(layers)} of {n_layers}), and nothing tells how the others"
        " differ: a layer study of the site would tell, or layers measured in every third of the stack"
    )


def draw_stack(
    measured: tuple[LayerMean, ...],
    areas: FloatArray,
    scale: Scale,
    shared_error: float = 0.0,
    study: LayerStudy | None = None,
    key: int = 0,
) -> StackDraws:
    """Draw all layers of a vessel.

    Parameters
    ----------
    measured : tuple of LayerMean
        At least one; `why_undetermined` says whether they are enough.
    areas : (layers,) float array
        Culture area of each layer, layer 1 first.
    scale : Scale
    shared_error : float
        Standard deviation on the inner scale of the error that all layers have in common.
    study : LayerStudy, optional
    key : int
        Makes the draws of one vessel independent of those of another; the shared error is the same for all.
    """
    rng = np.random.Generator(np.random.PCG64([_SEED, key]))
    index = np.array([one.layer - 1 for one in measured])
    centre, error, freedom = np.array([(one.centre, one.error, one.freedom) for one in measured]).T
    offsets, offset_errors = _offsets(study, areas.size)
    true = centre + error * _misjudged(rng, error, freedom)[:, None] * rng.standard_normal((N_DRAWS, index.size))
    inner = np.empty((N_DRAWS, areas.size))
    inner[:, index] = true
    between = None
    unseen = np.setdiff1d(np.arange(areas.size), index)
    if unseen.size:
        spread = _spreads(rng, centre - offsets[index], error, study)
        between = float(np.median(spread))
        offset = offsets + offset_errors * spread[:, None] * rng.standard_normal((N_DRAWS, areas.size))
        middle = (true - offset[:, index]).mean(axis=1) + spread * rng.standard_normal(N_DRAWS) / math.sqrt(index.size)
        own = spread[:, None] * rng.standard_normal((N_DRAWS, unseen.size))
        inner[:, unseen] = middle[:, None] + offset[:, unseen] + own
    inner += shared_error * _shared()[:, None]
    basis: Basis = (
        "all layers measured" if not unseen.size else "layer study" if study else "measured layers over the stack"
    )
    return StackDraws(scale.outer(inner), areas / areas.sum(), basis, between)


def interval(draws: FloatArray) -> tuple[float, float]:
    """Return the 95 % interval of a figure."""
    low, high = np.percentile(draws, (2.5, 97.5))
    return float(low), float(high)


def _shared() -> FloatArray:
    """Return standard normal draws, evenly spread, in an order of their own."""
    order = np.random.Generator(np.random.PCG64(_SEED)).permutation(N_DRAWS)
    return np.asarray(ndtri((order + 0.5) / N_DRAWS))


def _offsets(study: LayerStudy | None, n_layers: int) -> tuple[FloatArray, float]:
    """Return by how much each layer usually differs from the vessel's mean, and that figure's error in spreads."""
    if study is None:
        return np.zeros(n_layers), 0.0
    return np.asarray(study.offsets, dtype=float), 1 / math.sqrt(study.n_vessels)


def _misjudged(rng: np.random.Generator, error: FloatArray, freedom: FloatArray) -> FloatArray:
    """Draw the factor by which standard errors were misjudged (draws,); degrees of freedom after Satterthwaite."""
    if not error.any():
        return np.ones(N_DRAWS)
    squares = error**2
    pooled = squares.sum() ** 2 / (squares**2 / freedom).sum()
    return np.sqrt(pooled / _chi_squared(rng, pooled))


def _chi_squared(rng: np.random.Generator, freedom: float) -> FloatArray:
    """Draw from a chi-squared distribution, evenly spread (draws,)."""
    return np.asarray(2 * gammaincinv(freedom / 2, (rng.permutation(N_DRAWS) + 0.5) / N_DRAWS))


def _spreads(rng: np.random.Generator, centre: FloatArray, error: FloatArray, study: LayerStudy | None) -> FloatArray:
    """Draw the standard deviation between layers (draws,)."""
    if study is not None:
        return _spreads_of_study(rng, centre, error, study)
    total = float(((centre - centre.mean()) ** 2).sum()) / _chi_squared(rng, centre.size - 1)
    return np.minimum(np.sqrt(np.maximum(total - float((error**2).mean()), 0.0)), _LARGEST_SPREAD)


def _spreads_of_study(rng: np.random.Generator, centre: FloatArray, error: FloatArray, study: LayerStudy) -> FloatArray:
    spread = study.between * np.geomspace(1 / 20, 20, _N_SPREADS)
    precision = 1 / (spread[:, None] ** 2 + error**2)
    middle = (precision * centre).sum(axis=1) / precision.sum(axis=1)
    misfit = (precision * (centre - middle[:, None]) ** 2).sum(axis=1)
    log_weight = 0.5 * (np.log(precision).sum(axis=1) - np.log(precision.sum(axis=1)) - misfit)
    log_weight -= study.freedom * (np.log(spread) + study.between**2 / (2 * spread**2))
    weight = np.exp(log_weight - log_weight.max())
    chance = np.cumsum(weight) / weight.sum()
    even = (rng.permutation(N_DRAWS) + 0.5) / N_DRAWS
    return np.exp(np.interp(even, chance, np.log(spread)))
