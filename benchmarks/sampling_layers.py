"""Simulated layers and vessels whose every field is known, for the coverage of intervals.

A layer is a square of 48 x 48 fields. The latent value of a field is a sum of a random surface (exponential
correlation) and of its own scatter; a beta distribution of the layer's mean and spread turns it into a confluency, so
that fields near 0 and 100 % are as skewed as real ones. None of this is the model of the intervals.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

SIDE = 48
_Z = np.linspace(-4.0, 4.0, 161)
_MEANS = np.linspace(0.005, 0.995, 100)


@dataclass(frozen=True, slots=True)
class LayerKind:
    """How fields of a layer differ.

    Attributes
    ----------
    field_sd : float
        Between fields at half cover, points; less towards 0 and 100 %.
    correlated : float
        Share of that variance that neighbours have in common.
    correlation_range : float
        Distance over which it falls to 1/e, in sides of the layer.
    tilt, radial : float
        Points from one side to the other; from the middle of a side to the centre.
    """

    field_sd: float = 12.0
    correlated: float = 0.5
    correlation_range: float = 0.2
    tilt: float = 0.0
    radial: float = 0.0


@dataclass(frozen=True, slots=True)
class VesselKind:
    """How layers of a vessel differ: standard deviation and rise over the stack in points at half cover."""

    n_layers: int
    mean_percent: float
    layer_sd: float = 5.0
    trend: float = 0.0
    is_skewed: bool = False


def draw_layer(rng: np.random.Generator, mean_percent: float, kind: LayerKind) -> FloatArray:
    """Return the confluency of every field of a layer (48, 48), percent."""
    latent = rng.standard_normal((SIDE, SIDE)) * math.sqrt(1 - kind.correlated)
    if kind.correlated:
        latent += math.sqrt(kind.correlated) * _surface(rng, kind.correlation_range)
    steps = (np.arange(SIDE) + 0.5) / SIDE
    y, x = np.meshgrid(steps, steps, indexing="ij")
    middle = mean_percent + kind.tilt * (x - 0.5) + kind.radial * ((2 * y - 1) ** 2 + (2 * x - 1) ** 2 - 2 / 3)
    return _as_share(np.clip(middle, 0.5, 99.5) / 100, latent, (kind.field_sd / 50) ** 2)


def draw_layer_means(rng: np.random.Generator, kind: VesselKind) -> FloatArray:
    """Return the expected confluency of every layer, percent."""
    scatter = 1 - rng.exponential(1.0, kind.n_layers) if kind.is_skewed else rng.standard_normal(kind.n_layers)
    angle = math.asin(math.sqrt(kind.mean_percent / 100))
    index = np.arange(kind.n_layers) / max(kind.n_layers - 1, 1) - 0.5
    return np.clip(100 * np.sin(angle + (kind.layer_sd * scatter + kind.trend * index) / 100) ** 2, 1.0, 99.0)


def grid_places(rng: np.random.Generator, n_side: int) -> tuple[IntArray, IntArray]:
    """Return rows and columns of a grid of n_side x n_side fields with a random start."""
    step = SIDE // n_side
    start = rng.integers(0, step, 2)
    y, x = np.meshgrid(start[0] + step * np.arange(n_side), start[1] + step * np.arange(n_side), indexing="ij")
    return y.ravel(), x.ravel()


def random_places(rng: np.random.Generator, n_side: int) -> tuple[IntArray, IntArray]:
    """Return rows and columns of n_side² fields anywhere."""
    chosen = rng.choice(SIDE * SIDE, n_side * n_side, replace=False)
    return chosen // SIDE, chosen % SIDE


def patch_places(rng: np.random.Generator, n_side: int) -> tuple[IntArray, IntArray]:
    """Return rows and columns of n_side x n_side neighbours in the middle."""
    start = (SIDE - n_side) // 2 + rng.integers(-3, 4, 2)
    y, x = np.meshgrid(start[0] + np.arange(n_side), start[1] + np.arange(n_side), indexing="ij")
    return y.ravel(), x.ravel()


def misread(percent: FloatArray, bias: float) -> FloatArray:
    """Return what a method reads that is off by ``bias`` points at half cover, less towards 0 and 100 %."""
    angle = np.arcsin(np.sqrt(percent / 100)) + bias / 100
    return np.asarray(100 * np.sin(np.clip(angle, 0.0, math.pi / 2)) ** 2)


@lru_cache(maxsize=16)
def _spectrum(correlation_range: float) -> FloatArray:
    n = 4 * SIDE
    steps = np.minimum(np.arange(n), n - np.arange(n)) / SIDE
    distance = np.hypot(steps[:, None], steps[None])
    return np.asarray(np.sqrt(np.maximum(np.fft.fft2(np.exp(-distance / correlation_range)).real, 0.0)))


def _surface(rng: np.random.Generator, correlation_range: float) -> FloatArray:
    """Return a Gaussian surface of unit variance, by circulant embedding."""
    spectrum = _spectrum(correlation_range)
    noise = rng.standard_normal(spectrum.shape) + 1j * rng.standard_normal(spectrum.shape)
    return np.asarray((np.fft.fft2(spectrum * noise) / spectrum.shape[0]).real[:SIDE, :SIDE])


@lru_cache(maxsize=16)
def _quantiles(dispersion: float) -> FloatArray:
    """Return quantiles of beta distributions: a row per mean, a column per normal score."""
    size = 1 / dispersion - 1
    return np.asarray(
        special.betaincinv((_MEANS * size)[:, None], ((1 - _MEANS) * size)[:, None], stats.norm.cdf(_Z)[None])
    )


def _as_share(mean: FloatArray, latent: FloatArray, dispersion: float) -> FloatArray:
    row = (mean - _MEANS[0]) / (_MEANS[1] - _MEANS[0])
    column = (np.clip(latent, _Z[0], _Z[-1]) - _Z[0]) / (_Z[1] - _Z[0])
    top, left = np.clip(row.astype(int), 0, 98), np.clip(column.astype(int), 0, 159)
    down, right = row - top, column - left
    known = _quantiles(dispersion)
    upper = known[top, left] * (1 - right) + known[top, left + 1] * right
    lower = known[top + 1, left] * (1 - right) + known[top + 1, left + 1] * right
    return np.asarray(100 * (upper * (1 - down) + lower * down))
