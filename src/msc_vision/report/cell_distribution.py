"""How one figure of cells is spread, beside what it is held against: a baseline, or the other cells of the vessel."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msc_vision.morphology.baseline import Baseline
from msc_vision.morphology.profile import weighted_quantiles
from msc_vision.morphology.reference import hats
from msc_vision.report.cell_table import CellFigure, CellTable
from msc_vision.report.words import count

F64 = NDArray[np.float64]
N_BINS = 36
_NORMAL_95 = 1.96
_QUANTILES = (10, 50, 90)
_STEPS, _WIDE_STEPS = (1, 2, 5), (1, 3)
_N_TICKS = 5


@dataclass(frozen=True, slots=True)
class Expected:
    """Where a baseline expects the mean of a field: middle and the ends of 95 % of its fields, in the figure's unit."""

    low: float
    middle: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class CellDistribution:
    """The spread of a figure, ready to be drawn.

    Attributes
    ----------
    figure : CellFigure
    n_cells : int
        Measured cells that it is of.
    shares : (N_BINS,) float array
        Percent of the cells in each bin; the outermost hold what lies beyond the axis.
    quantiles : (float, float, float) or None
        10th, 50th and 90th percentile; None without cells.
    mean : float or None
        As profiles of fields and baselines take it: of logarithms where the axis is logarithmic.
    others : (N_BINS,) float array or None
        The same of the cells it is held against; None where there are none.
    others_median : float or None
    n_others : int
    expected : Expected or None
        Of the baseline.
    ticks : tuple of float
    """

    figure: CellFigure
    n_cells: int
    shares: F64
    quantiles: tuple[float, float, float] | None
    mean: float | None
    others: F64 | None
    others_median: float | None
    n_others: int
    expected: Expected | None
    ticks: tuple[float, ...]

    @property
    def summary(self) -> str:
        """What the bars show, in a sentence."""
        if self.quantiles is None:
            return "No whole cell was measured here."
        low, median, high = (self.figure.told(value) for value in self.quantiles)
        return f"{count(self.n_cells, 'cell')}: median {median}, 8 of 10 cells {low} to {high}."


def cell_distribution(
    figure: CellFigure, cells: CellTable, others: CellTable | None = None, expected: Expected | None = None
) -> CellDistribution:
    """Return how a figure is spread over some cells.

    Parameters
    ----------
    figure : CellFigure
    cells : CellTable
        Those of which the distribution is; only measured ones count, each as often as `border_weight` says.
    others : CellTable, optional
        What it is held against.
    expected : Expected, optional
        Of a baseline, see `expected_of_baseline`.
    """
    values, weights = _measured(figure, cells)
    against = None if others is None else _measured(figure, others)
    shares, quantiles = _spread(figure, values, weights)
    other_shares, other_quantiles = (None, None) if against is None else _spread(figure, *against)
    return CellDistribution(
        figure=figure,
        n_cells=values.size,
        shares=shares,
        quantiles=quantiles,
        mean=_mean(figure, values, weights),
        others=None if other_quantiles is None else other_shares,
        others_median=None if other_quantiles is None else other_quantiles[1],
        n_others=0 if against is None else against[0].size,
        expected=expected,
        ticks=axis_ticks(figure),
    )


def _measured(figure: CellFigure, cells: CellTable) -> tuple[F64, F64]:
    values, weights = cells.values(figure), cells.columns["border_weight"]
    chosen = cells.is_measured & np.isfinite(values) & (weights > 0)
    return values[chosen], weights[chosen]


def _spread(figure: CellFigure, values: F64, weights: F64) -> tuple[F64, tuple[float, float, float] | None]:
    if not values.size:
        return np.zeros(N_BINS), None
    edges = bin_edges(figure)
    counts, _ = np.histogram(values.clip(figure.low, figure.high), edges, weights=weights)
    order = np.argsort(values, kind="stable")
    low, median, high = weighted_quantiles(values[order], weights[order], _QUANTILES)
    return np.asarray(100 * counts / weights.sum(), np.float64), (low, median, high)


def _mean(figure: CellFigure, values: F64, weights: F64) -> float | None:
    if not values.size:
        return None
    if figure.axis == "linear":
        return float(np.average(values, weights=weights))
    known = values > 0
    return float(np.exp(np.average(np.log(values[known]), weights=weights[known]))) if known.any() else None


def bin_edges(figure: CellFigure) -> F64:
    """Return the ends of the bins, (N_BINS + 1,)."""
    space = np.geomspace if figure.axis == "logarithmic" else np.linspace
    edges = np.asarray(space(figure.low, figure.high, N_BINS + 1), np.float64)
    edges[[0, -1]] = figure.low, figure.high  # no rounding at the ends: what lies there counts
    return edges


def place_on_axis(figure: CellFigure, value: float) -> float:
    """Return where a value lies along the axis, 0 to 1; what lies beyond stands at its end."""
    low, high = figure.low, figure.high
    if figure.axis == "linear":
        share = (value - low) / (high - low)
    else:
        share = math.log(value / low) / math.log(high / low) if value > 0 else 0.0
    return min(max(share, 0.0), 1.0)


def axis_ticks(figure: CellFigure) -> tuple[float, ...]:
    """Return round numbers along the axis."""
    if figure.axis == "linear":
        step = _round_step((figure.high - figure.low) / _N_TICKS)
        first = math.ceil(figure.low / step - 1e-9)
        return tuple(round(n * step, 6) for n in range(first, math.floor(figure.high / step + 1e-9) + 1))
    decades = range(math.floor(math.log10(figure.low)), math.ceil(math.log10(figure.high)) + 1)
    steps = _STEPS if figure.high < 100 * figure.low else _WIDE_STEPS
    ticks = (step * 10.0**decade for decade in decades for step in steps)
    return tuple(tick for tick in ticks if figure.low <= tick <= figure.high)


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= rough * 0.9)


def percentile_of(figure: CellFigure, cells: CellTable, value: float) -> float | None:
    """Return which percentage of the measured cells lies below a value; None without cells or value."""
    values, weights = _measured(figure, cells)
    if not values.size or not math.isfinite(value):
        return None
    return 100 * float(weights[values < value].sum() / weights.sum())


def selected_words(figure: CellFigure, cells: CellTable, others: CellTable, row: int) -> str:
    """Return what is to be said of one cell beside the distribution of others, in a sentence.

    Parameters
    ----------
    figure : CellFigure
    cells : CellTable
        Of the field that the cell is of.
    others : CellTable
        Those of the distribution.
    row : int
        Of the cell.
    """
    value = float(cells.values(figure)[row])
    who, name = f"Cell {cells.labels[row]}", figure.name[0].lower() + figure.name[1:]
    if not math.isfinite(value):
        return f"{who}: {name} could not be measured."
    below = percentile_of(figure, others, value)
    share = "" if below is None else f", larger than in {below:.0f} % of the cells shown"
    note = cells.note(row)
    left_out = f" It does not count among them: {note}." if note and not cells.is_measured[row] else ""
    return f"{who}: {name} {figure.told(value)}{share}.{left_out}"


def expected_of_baseline(
    figure: CellFigure, confluency_percent: Sequence[float], baseline: Baseline
) -> Expected | None:
    """Return where a baseline expects the mean of a field at the confluency of some fields.

    None where the baseline keeps nothing of this figure, or there is no field. Whether these fields may be compared
    with it at all, `Baseline.refusal` says.
    """
    name = f"cells_{figure.column}_mean"
    traits = {trait.name: (i, trait) for i, trait in enumerate(baseline.traits)}
    if name not in traits or not confluency_percent:
        return None
    column, trait = traits[name]
    reference = baseline.judge.reference
    at = hats(np.array(confluency_percent, np.float64), reference.knots)
    centre, spread = (float((at @ one[:, column]).mean()) for one in (reference.centre, reference.spread))
    ends = [centre + sign * _NORMAL_95 * spread for sign in (-1, 0, 1)]
    low, middle, high = (math.exp(one) for one in ends) if trait.scale == "ratio" else ends
    return Expected(low, middle, high)
