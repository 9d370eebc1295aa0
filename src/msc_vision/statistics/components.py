"""How much fields, layers and vessels differ: variance components of a nested mixed model (restricted likelihood)."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from msc_vision.errors import UndefinedResultError

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Components:
    """Standard deviations of a nested population, in the unit of the figure; None: cannot be told from these data.

    Attributes
    ----------
    field, layer, vessel : float or None
        Between fields of a layer, layers of a vessel, vessels.
    mean, mean_error : float
        Of the population that the vessels come from (generalised least squares) and its standard error.
    how : str
        Which model, and what was left out.
    """

    field: float | None
    layer: float | None
    vessel: float | None
    mean: float
    mean_error: float
    how: str


@dataclass(frozen=True, slots=True)
class _Nested:
    """What the likelihood needs of nested data: mean and fields of each layer, its vessel, and the scatter within."""

    means: FloatArray
    counts: FloatArray
    vessel: NDArray[np.int64]
    within: float
    freedom: int

    def per_vessel(self, values: FloatArray) -> FloatArray:
        """Return the sum over the layers of each vessel."""
        return np.asarray(np.bincount(self.vessel, values))


def variance_components(values: Sequence[float], layers: Sequence[int], vessels: Sequence[str]) -> Components:
    """Return how much fields, layers and vessels differ.

    Parameters
    ----------
    values : sequence of float
        A figure of each field.
    layers, vessels : sequences
        Where each field lies.

    Raises
    ------
    UndefinedResultError
        With fewer than two fields.

    References
    ----------
    Patterson & Thompson, Biometrika 58, 545 (1971); the same model as ``MixedLM`` of statsmodels with a random
    intercept per vessel and a variance component per layer.
    """
    if len(values) < 2:
        raise UndefinedResultError(f"{len(values)} field says nothing of how fields differ.")
    data = _nested(values, layers, vessels)
    n_vessels, n_layers = int(data.vessel[-1]) + 1, data.means.size
    has_field, has_layer, has_vessel = data.freedom > 0, n_layers > n_vessels, n_vessels > 1
    unit = float(np.std(sorted(values))) or 1.0
    free = np.array([has_field, has_layer, has_vessel])
    start = unit * np.where(free, 0.6, 0.0)
    spreads = _fit(data, start, free, unit) if free.any() and np.std(values) > 0 else np.zeros(3)
    mean, error = _mean(data, spreads)
    return Components(
        float(spreads[0]) if has_field else None,
        float(spreads[1]) if has_layer else None,
        float(spreads[2]) if has_vessel else None,
        mean,
        error,
        _words(has_field, has_layer, has_vessel),
    )


def _nested(values: Sequence[float], layer_numbers: Sequence[int], vessels: Sequence[str]) -> _Nested:
    groups: defaultdict[str, defaultdict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for value, layer, vessel in zip(values, layer_numbers, vessels, strict=True):
        groups[vessel][layer].append(value)
    members = [np.array(sorted(one)) for _, layers in sorted(groups.items()) for _, one in sorted(layers.items())]
    return _Nested(
        np.array([one.mean() for one in members]),
        np.array([one.size for one in members], dtype=float),
        np.repeat(np.arange(len(groups)), [len(layers) for _, layers in sorted(groups.items())]),
        math.fsum(float(((one - one.mean()) ** 2).sum()) for one in members),
        sum(one.size - 1 for one in members),
    )


def _fit(data: _Nested, start: FloatArray, free: NDArray[np.bool_], unit: float) -> FloatArray:
    """Return the standard deviations (field, layer, vessel) that are likeliest; what is not free stays 0."""

    def cost(found: FloatArray) -> float:
        spreads = np.zeros(3)
        spreads[free] = np.abs(found) * unit
        return _minus_log_likelihood(data, np.maximum(spreads, (1e-9 * unit, 0.0, 0.0)))

    best = start[free] / unit
    for _ in range(3):  # started anew from where it stopped, it does not stop early
        best = np.abs(minimize(cost, best, method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-13}).x)
    spreads = np.zeros(3)
    spreads[free] = np.where(best < 1e-6, 0.0, best) * unit
    return spreads


def _minus_log_likelihood(data: _Nested, spreads: FloatArray) -> float:
    field, _, vessel = spreads**2
    precision, sums, centre, weight = _weights(data, spreads)
    total = data.freedom * math.log(field) + data.within / field if data.freedom else 0.0
    total += float(np.log1p(vessel * sums).sum() - np.log(precision).sum()) + math.log(float(weight.sum()))
    misfit = float(precision @ (data.means - centre[data.vessel]) ** 2)
    misfit += float(weight @ (centre - weight @ centre / weight.sum()) ** 2)
    return 0.5 * (total + misfit)


def _mean(data: _Nested, spreads: FloatArray) -> tuple[float, float]:
    _, _, centre, weight = _weights(data, np.maximum(spreads, (1e-9, 0.0, 0.0)))
    error = 1 / math.sqrt(float(weight.sum())) if spreads.any() else 0.0
    return float(weight @ centre / weight.sum()), error


def _weights(data: _Nested, spreads: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return the precision of each layer in its vessel, their sums, and the mean and weight of each vessel."""
    field, layer, vessel = spreads**2
    precision = np.asarray(1 / (layer + field / data.counts))
    sums = data.per_vessel(precision)
    return precision, sums, data.per_vessel(precision * data.means) / sums, 1 / (vessel + 1 / sums)


def _words(has_field: bool, has_layer: bool, has_vessel: bool) -> str:
    known = (("fields", has_field), ("layers", has_layer), ("vessels", has_vessel))
    missing = [name for name, is_known in known if not is_known]
    words = "Nested mixed model, restricted likelihood"
    return f"{words}; nothing here tells how {' or '.join(missing)} differ." if missing else f"{words}."
