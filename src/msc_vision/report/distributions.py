"""How the figures of a vessel's cells are spread, as drawings: bars of cells, a dot per field, the baseline's band."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from msc_vision.morphology.baseline import Baseline
from msc_vision.morphology.profile import weighted_quantiles
from msc_vision.morphology.reference import hats
from msc_vision.report.cells import F64, FIGURES, Cells, Figure
from msc_vision.report.content import FieldEntry, VesselEntry
from msc_vision.report.words import rounded

N_BINS = 36
WIDTH_PX, BARS_PX, STRIP_PX, AXIS_PX = 300, 110, 20, 30
TOP_PX = 16
_NORMAL_95 = 1.96
_STEPS, _WIDE_STEPS = (1, 2, 5), (1, 3)


@dataclass(frozen=True, slots=True)
class Bar:
    """One bin."""

    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A place along the axis with its words."""

    x: float
    title: str


@dataclass(frozen=True, slots=True)
class Band:
    """Where the mean of a field is expected: middle and the ends of 95 % of fields, pixels along the axis."""

    low: float
    middle: float
    high: float
    title: str


@dataclass(frozen=True, slots=True)
class Distribution:
    """One drawing. ``dots`` are means of fields, ``band`` is where the baseline expects them."""

    title: str
    summary: str
    bars: tuple[Bar, ...]
    median: Mark
    ticks: tuple[Mark, ...]
    dots: tuple[Mark, ...]
    band: Band | None
    width: int = WIDTH_PX
    bars_px: int = BARS_PX
    strip_px: int = STRIP_PX
    top: int = TOP_PX

    @property
    def strips_px(self) -> int:
        """Height of what stands below the bars: means of fields, and the baseline where there is one."""
        return STRIP_PX if self.band is None else 2 * STRIP_PX

    @property
    def height(self) -> int:
        """Height of the whole drawing."""
        return TOP_PX + BARS_PX + self.strips_px + AXIS_PX


def draw_distributions(cells: Cells, vessel: VesselEntry, baseline: Baseline | None) -> tuple[Distribution, ...]:
    """Return a drawing for each of `FIGURES`; a baseline is drawn only where the vessel was compared with it."""
    fields = scored_fields(vessel)
    is_compared = vessel.character is not None and vessel.character.drift_state == "compared"
    usable = baseline if is_compared else None
    return tuple(_drawn(figure, cells.values[:, i], cells.weights, fields, usable) for i, figure in enumerate(FIGURES))


def _drawn(
    figure: Figure, values: F64, weights: F64, fields: Sequence[FieldEntry], baseline: Baseline | None
) -> Distribution:
    order = np.argsort(values, kind="stable")
    low, median, high = weighted_quantiles(values[order], weights[order], (10, 50, 90))
    unit = f", {figure.unit}" if figure.unit else ""
    return Distribution(
        title=f"{figure.name}{unit}",
        summary=f"median {rounded(median)}, 8 of 10 cells {rounded(low)} – {rounded(high)}",
        bars=_bars(figure, values, weights),
        median=Mark(to_px(figure, median), f"median {figure.told(median)}"),
        ticks=tuple(Mark(to_px(figure, tick), f"{tick:,g}") for tick in _ticks(figure)),
        dots=_field_means(figure, fields),
        band=None if baseline is None else expected_band(figure, fields, baseline),
    )


def to_px(figure: Figure, value: float) -> float:
    """Return the place of a value on the axis, which is logarithmic; what lies beyond stands at its end."""
    share = math.log(value / figure.low) / math.log(figure.high / figure.low)
    return WIDTH_PX * min(max(share, 0.0), 1.0)


def shares_percent(figure: Figure, values: F64, weights: F64) -> F64:
    """Return the share of cells in each of `N_BINS` bins, percent; the outermost hold what lies beyond the axis."""
    edges = np.geomspace(figure.low, figure.high, N_BINS + 1)
    counts, _ = np.histogram(values.clip(figure.low, figure.high), edges, weights=weights)
    return np.asarray(100 * counts / weights.sum(), np.float64)


def _bars(figure: Figure, values: F64, weights: F64) -> tuple[Bar, ...]:
    edges = np.geomspace(figure.low, figure.high, N_BINS + 1)
    shares = shares_percent(figure, values, weights)
    step = WIDTH_PX / N_BINS
    heights = BARS_PX * shares / shares.max()
    return tuple(
        Bar(
            i * step,
            TOP_PX + BARS_PX - height,
            step,
            height,
            f"{figure.told(edges[i])} – {figure.told(edges[i + 1])}: {shares[i]:.1f} % of cells",
        )
        for i, height in enumerate(heights.tolist())
        if height > 0
    )


def _ticks(figure: Figure) -> list[float]:
    decades = range(math.floor(math.log10(figure.low)), math.ceil(math.log10(figure.high)) + 1)
    steps = _STEPS if figure.high < 100 * figure.low else _WIDE_STEPS
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    return [tick for tick in ticks if figure.low <= tick <= figure.high]


def _profile_name(figure: Figure) -> str:
    return f"cells_{figure.column}_mean"


def _field_means(figure: Figure, fields: Sequence[FieldEntry]) -> tuple[Mark, ...]:
    name = _profile_name(figure)
    means = [(one, math.exp(one.morphology[name])) for one in fields if name in one.morphology]
    return tuple(Mark(to_px(figure, mean), f"{one.name}: {figure.told(mean)}") for one, mean in means)


def expected_means(vessel: VesselEntry, baseline: Baseline | None) -> F64 | None:
    """Return what a baseline expects each of `FIGURES` to be on average, (3,); None where it was not compared with."""
    if baseline is None or vessel.character is None or vessel.character.drift_state != "compared":
        return None
    found = [_expected(figure, scored_fields(vessel), baseline) for figure in FIGURES]
    known = [math.exp(one[0]) for one in found if one is not None]
    return np.array(known) if len(known) == len(found) else None


def scored_fields(vessel: VesselEntry) -> list[FieldEntry]:
    """Return the scored fields of the latest time point of a vessel."""
    return [one for entry in vessel.layers for one in entry.scored]


def _expected(figure: Figure, fields: Sequence[FieldEntry], baseline: Baseline) -> tuple[float, float] | None:
    """Return the logarithm expected of the mean of a field at the confluencies of these, and its spread."""
    names = [trait.name for trait in baseline.traits]
    if not fields or _profile_name(figure) not in names:
        return None
    column = names.index(_profile_name(figure))
    reference = baseline.judge.reference
    at = hats(np.array([one.confluency_percent or 0.0 for one in fields]), reference.knots)
    return float((at @ reference.centre[:, column]).mean()), float((at @ reference.spread[:, column]).mean())


def expected_band(figure: Figure, fields: Sequence[FieldEntry], baseline: Baseline) -> Band | None:
    """Return where the baseline expects the mean of a field at the confluencies of these fields."""
    found = _expected(figure, fields, baseline)
    if found is None:
        return None
    centre, spread = found
    low, middle, high = (math.exp(centre + sign * _NORMAL_95 * spread) for sign in (-1, 0, 1))
    words = f"baseline: {figure.told(middle)}, 95 % of its fields within {figure.told(low)} – {figure.told(high)}"
    return Band(to_px(figure, low), to_px(figure, middle), to_px(figure, high), words)
