"""The mean of a layer from a few fields of it, and how far off it may be.

Fields near each other are alike, and a grid leaves no large hole; both change how sure a mean is. So the error of the
mean is that of a random surface with a share of variance that is correlated over some distance (Matheron's estimation
variance; Cressie, Statistics for Spatial Data, 1993, section 5.2). Which share and distance is not known: all that are
sensible take part, each weighted by how well it explains the fields (restricted likelihood). Fields that are not
correlated at all give the usual s / sqrt(n).
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.special import stdtrit

FloatArray = NDArray[np.float64]

RANGES = (0.06, 0.12, 0.25, 0.5)
"""Distances over which the correlation falls to 1/e, as shares of the layer's side."""
SHARES = (0.3, 0.6, 0.9)
"""Shares of the variance between fields that are correlated."""
SLOPES = (1.5, 5.0)
"""Rises over the layer's side, from one side to the other, in standard deviations of the rest."""
PLAIN = 0.5
"""Weight beforehand of there being no correlation at all, and of there being no slope."""
MOST_APART = 200
"""More fields of a layer than these are taken in blocks."""
_BLOCKS = 12
_FINE, _COARSE, _SHIFTS = 13, 12, 4
_ROUNDING = 1e-12
"""Values that differ by less than this, in their unit or as a share of their size, differ by the rounding of floats."""


@dataclass(frozen=True, slots=True)
class SampledMean:
    """A mean over fields as an estimate of the mean over their layer.

    Attributes
    ----------
    mean : float
        Weighted mean of the fields.
    standard_error : float
        Of the mean as an estimate of that of the layer, in its unit.
    freedom : float
        Degrees of freedom of the standard error.
    effective_n : float
        Uncorrelated fields, placed at random, that would be as sure.
    """

    mean: float
    standard_error: float
    freedom: float
    effective_n: float

    def of_finite(self, seen_share: float) -> "SampledMean":
        """Return the mean with its error for a layer of which so much was seen (finite population; Cochran, 1977)."""
        return replace(self, standard_error=self.standard_error * math.sqrt(max(0.0, 1.0 - seen_share)))


def simple_mean(values: FloatArray, weights: FloatArray) -> SampledMean:
    """Return the mean of fields placed at random, or of unknown correlation: s / sqrt(n) where all weigh the same.

    Parameters
    ----------
    values, weights : (n,) float array
        At least two; weights above zero.
    """
    shares = weights / weights.sum()
    low, high = float(values.min()), float(values.max())
    mean = min(max(float(shares @ values), low), high)
    n = values.size
    if high - low <= _ROUNDING * max(1.0, abs(low), abs(high)):
        return SampledMean(mean, 0.0, n - 1.0, float(n))
    variance = float((shares**2) @ (values - mean) ** 2) * n / (n - 1)
    return SampledMean(mean, math.sqrt(variance), n - 1.0, float(n))


def spatial_mean(
    values: FloatArray, weights: FloatArray, places: FloatArray, sides: tuple[float, float]
) -> SampledMean:
    """Return the mean of fields at known places of a layer.

    It is never said to be less sure than fields placed at random would be: that holds for them whatever the surface,
    and a grid that leaves no hole is surer.

    Parameters
    ----------
    values, weights : (n,) float array
        At least three; weights above zero.
    places : (n, 2) float array
        Rows before columns, in the unit of `sides`.
    sides : (float, float)
        Height and width of the layer. Stages have their own zero, so where the layer lies is not known: anywhere that
        holds all fields, which is what the random start of a grid amounts to.
    """
    simple = simple_mean(values, weights)
    if simple.standard_error == 0:
        return simple
    values, weights, places = _blocks(values, weights, places)
    n = values.size
    shares = weights / weights.sum()
    factors, fits = _surfaces(values, shares, places, sides)
    prior = np.outer(_beforehand(1 + len(SLOPES)), _beforehand(1 + len(SHARES) * len(RANGES))).ravel()
    posterior = prior * np.exp(fits - fits.max())
    posterior /= posterior.sum()
    variance = float(posterior @ factors)
    scatter = float(posterior @ (factors - variance) ** 2)
    freedom = 1 / (1 / (n - 1) + scatter / (2 * variance**2))
    effective_n = simple.standard_error**2 / variance * simple.effective_n
    surface = SampledMean(simple.mean, math.sqrt(variance), freedom, effective_n)
    return min(simple, surface, key=half_width)


def half_width(mean: SampledMean) -> float:
    """Return half the width of the 95 % interval (Student's t)."""
    return mean.standard_error * float(stdtrit(mean.freedom, 0.975))


def _blocks(values: FloatArray, weights: FloatArray, places: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the fields, or means over blocks of neighbours where they are so many that each would cost too much."""
    if values.size <= MOST_APART:
        return values, weights, places
    low = places.min(axis=0)
    cells = ((places - low) / np.maximum(np.ptp(places, axis=0), 1e-9) * (1 - 1e-9) * _BLOCKS).astype(int)
    _, block = np.unique(cells[:, 0] * _BLOCKS + cells[:, 1], return_inverse=True)
    total = np.asarray(np.bincount(block, weights), dtype=np.float64)
    means = [np.bincount(block, weights * one) / total for one in (values, places[:, 0], places[:, 1])]
    return means[0], total, np.column_stack(means[1:])


def _surfaces(
    values: FloatArray, shares: FloatArray, places: FloatArray, sides: tuple[float, float]
) -> tuple[FloatArray, FloatArray]:
    """Return for each kind of surface the variance of the mean's error, and the logarithm of its likelihood."""
    n = values.size
    unit = math.sqrt(sides[0] * sides[1])
    scaled = (places - (places.min(axis=0) + places.max(axis=0)) / 2) / unit
    box = (round(sides[0] / unit, 3), round(sides[1] / unit, 3))
    distance = cdist(scaled, scaled)
    alike = np.exp(-distance[None] / np.array(RANGES)[:, None, None])
    slack = np.maximum(np.array(box) - np.ptp(scaled, axis=0), 0.0)
    seen = _seen(scaled, box, slack)
    within = _within(box)
    matrices, extents = [np.eye(n)[None]], [np.array([shares @ shares])]
    for share in SHARES:
        matrix = share * alike + (1 - share) * np.eye(n)
        matrices.append(matrix)
        extents.append(np.einsum("i,rij,j->r", shares, matrix, shares) + share * (within - 2 * seen @ shares))
    rises = np.array((0.0, *SLOPES)) ** 2
    off_centre = (shares @ scaled) ** 2 + slack**2 / 12
    correlation = (np.concatenate(matrices)[None] + rises[:, None, None, None] * (scaled @ scaled.T)).reshape(-1, n, n)
    rise = np.repeat(rises, correlation.shape[0] // rises.size)
    inverse = np.linalg.inv(correlation)
    _, log_size = np.linalg.slogdet(correlation)
    ones = inverse.sum(axis=2)
    total = ones.sum(axis=1)
    centre = (ones @ values) / total
    residual = values[None] - centre[:, None]
    explained = np.einsum("rij,rj->ri", inverse, residual)
    variance = np.einsum("ri,ri->r", residual, explained) / (n - 1)
    fits = -0.5 * (log_size + np.log(total) + (n - 1) * np.log(variance))
    slope = rise[:, None] * (explained @ scaled)
    doubt = rise[:, None] - rise[:, None] ** 2 * np.einsum("ia,rij,ja->ra", scaled, inverse, scaled)
    own = variance * np.maximum(np.tile(np.concatenate(extents), rises.size), 1e-6)
    return own + (slope**2 + variance[:, None] * doubt) @ off_centre, fits


def _beforehand(n: int) -> FloatArray:
    """Return weights of n kinds of surface of which the first is the plain one."""
    return np.array([PLAIN, *[(1 - PLAIN) / (n - 1)] * (n - 1)])


def _seen(places: FloatArray, box: tuple[float, float], slack: FloatArray) -> FloatArray:
    """Return the mean correlation of each field with the layer (r, n), over all ways in which the layer can lie."""
    shifts = _lattice((float(slack[0]), float(slack[1])), _SHIFTS)
    lattice = (_lattice(box, _COARSE)[None] + shifts[:, None]).reshape(-1, 2)
    distance = cdist(places, lattice)
    return np.stack([np.exp(-distance / one).mean(axis=1) for one in RANGES])


def _lattice(box: tuple[float, float], n: int) -> FloatArray:
    """Return the middles of n by n cells of a box around 0."""
    steps = (np.arange(n) + 0.5) / n - 0.5
    y, x = np.meshgrid(steps * box[0], steps * box[1], indexing="ij")
    return np.column_stack((y.ravel(), x.ravel()))


@lru_cache(maxsize=64)
def _within(box: tuple[float, float]) -> FloatArray:
    """Return the mean correlation of two places of the layer, for each range; two lattices, so that none coincide."""
    distance = cdist(_lattice(box, _FINE), _lattice(box, _COARSE))
    return np.array([np.exp(-distance / one).mean() for one in RANGES])
