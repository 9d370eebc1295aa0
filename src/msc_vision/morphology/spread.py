"""How many cells there are to a covered area, against a baseline: they become fewer as cells spread or age.

Judged as drift is, on one figure: at the same confluency, with what vessels and layers share, what the fitting costs,
and what split and merged cells do to a count. Only a fall is an alarm.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from msc_vision.morphology.drift import DriftJudge, DriftState
from msc_vision.morphology.profile import SEGMENTATION_ERRORS, factor_told
from msc_vision.morphology.reference import DriftSettings, FloatArray, Grouping, IntArray, hats

SPREAD_KEY = "cells_per_covered_cm2"
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Spread:
    """Cells per covered area of some fields over those of a baseline at the same confluency.

    Attributes
    ----------
    state : DriftState
        ``compared``, or why there is no figure; then ``reason`` says it and every figure is None.
    ratio : float or None
        Below 1: fewer cells to a covered area, so larger or flatter ones.
    interval : (float, float) or None
        95 % of the ratio; what ordinary vessels differ by is in it, so it speaks of the culture.
    probability : float or None
        Chance of a ratio this low, or lower, without any change.
    is_alarm : bool or None
        Whether that chance is below the alarm's.
    n_fields : int
        Fields in which cells were counted.
    """

    state: DriftState
    reason: str | None = None
    ratio: float | None = None
    interval: tuple[float, float] | None = None
    probability: float | None = None
    is_alarm: bool | None = None
    n_fields: int = 0

    @property
    def words(self) -> str | None:
        """The ratio with its interval, None without one."""
        if self.ratio is None or self.interval is None:
            return None
        low, high = (factor_told(one) for one in self.interval)
        return f"{factor_told(self.ratio)} times as many cells per covered cm² as in the baseline ({low} to {high})"

    @property
    def sentence(self) -> str:
        """What is found, or why nothing is, for a person to read."""
        if self.words is None:
            return f"Cells per covered cm²: {self.state}: {self.reason}."
        return f"{self.words}{': ALARM' if self.is_alarm else ''}."


@dataclass(frozen=True, slots=True)
class SpreadYardstick:
    """Cells per covered area of a baseline's fields, where it has enough of them; else ``reason`` says why not."""

    judge: DriftJudge | None
    reason: str | None = None

    def spread(self, per_covered_cm2: FloatArray, confluency_percent: FloatArray, layers: IntArray) -> Spread:
        """Return the ratio of some fields of one vessel; what must not be compared is refused.

        Parameters
        ----------
        per_covered_cm2 : (m,) float array
            NaN where cells were not counted.
        confluency_percent : (m,) float array
        layers : (m,) int array
            Which layer each field is of.
        """
        if self.judge is None:
            return Spread("not comparable", self.reason)
        is_counted = per_covered_cm2 > 0
        if not is_counted.any():
            low, high = confluency_percent.min(), confluency_percent.max()
            return Spread(
                "not measured", f"cells are not counted at the confluency of these fields ({low:.0f} to {high:.0f} %)"
            )
        counted, full = per_covered_cm2[is_counted], confluency_percent[is_counted]
        low, high = float(self.judge.confluency_percent.min()), float(self.judge.confluency_percent.max())
        margin = self.judge.settings.range_margin_points
        within = (full >= low - margin) & (full <= high + margin)
        if 2 * np.count_nonzero(within) < within.size:
            return Spread(
                "not comparable",
                f"{np.count_nonzero(~within)} of {within.size} fields with counted cells lie outside the"
                f" {low:.0f} to {high:.0f} % confluency at which the baseline's cells were counted",
            )
        return _compared(self.judge, np.log(counted[within])[:, None], full[within], layers[is_counted][within])


def _compared(judge: DriftJudge, logs: FloatArray, confluency_percent: FloatArray, layers: IntArray) -> Spread:
    """Say what the chance of drift says of one figure (m, 1); the interval holds the ratios that it does not refute."""
    _, either_way, _ = judge.drift(logs, confluency_percent, layers)
    change = float(judge.change(logs, confluency_percent)[0])
    probability = either_way / 2 if change < 0 else 1 - either_way / 2
    spread = float((hats(confluency_percent, judge.reference.knots) @ judge.reference.spread).mean())
    error = float(judge.shift_error(confluency_percent, layers)[0])
    reach = spread * error * judge.reach(confluency_percent, layers, 1 - _CONFIDENCE)
    return Spread(
        "compared",
        None,
        math.exp(change),
        (math.exp(change - reach), math.exp(change + reach)),
        probability,
        probability < judge.settings.alarm_probability,
        layers.size,
    )


def spread_yardstick(
    per_covered_cm2: FloatArray,
    confluency_percent: FloatArray,
    places: Sequence[tuple[str, int]],
    settings: DriftSettings,
) -> SpreadYardstick:
    """Return the yardstick of a baseline's fields.

    Parameters
    ----------
    per_covered_cm2 : (n,) float array
        NaN where cells were not counted.
    confluency_percent : (n,) float array
    places : sequence of (str, int)
        Vessel and layer of each field.
    settings : DriftSettings
    """
    chosen = np.flatnonzero(per_covered_cm2 > 0).tolist()
    groups = Grouping.of([places[i][0] for i in chosen], [places[i][1] for i in chosen])
    n_vessels = int(np.unique(groups.vessel).size)
    if len(chosen) < settings.fields_min or n_vessels < settings.vessels_min:
        return SpreadYardstick(
            None,
            f"the baseline has {len(chosen)} fields with counted cells from {n_vessels} vessels;"
            f" {settings.fields_min} from {settings.vessels_min} are needed",
        )
    errors = np.array([[one.change.get(SPREAD_KEY, 0.0)] for one in SEGMENTATION_ERRORS])
    logs = np.log(per_covered_cm2[chosen])[:, None]
    return SpreadYardstick(DriftJudge(logs, confluency_percent[chosen], groups, settings, errors))
