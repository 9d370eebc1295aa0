"""The drift of finished runs, and its course over passages."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scipy.stats import norm

from msc_vision.batch.profiles import read_profiles
from msc_vision.morphology.baseline import Baseline
from msc_vision.morphology.drift import Drift
from msc_vision.morphology.spread import Spread
from msc_vision.statistics.control_chart import ControlChart, CusumSettings, cusum_chart

CHART = CusumSettings(side="rise")
POINTS_MIN = 3
_RAREST = 1e-12


@dataclass(frozen=True, slots=True)
class VesselDrift:
    """Drift of one vessel of one run, and its cells per covered area."""

    run: str
    vessel_id: str
    passage: int | None
    acquired_at: str | None
    drift: Drift
    spread: Spread


@dataclass(frozen=True, slots=True)
class DriftCourse:
    """Drift of vessels in the order of their passages, then of time.

    ``chart`` is None with fewer than three compared vessels, or where neither passages nor times put them in order;
    ``first_alarm`` names the vessel at which it rose above its limit.
    """

    vessels: tuple[VesselDrift, ...]
    chart: ControlChart | None
    first_alarm: str | None


def drift_course(runs: Sequence[Path], baseline: Baseline) -> DriftCourse:
    """Return the drift of every vessel of some runs and, over passages, a one-sided CUSUM chart.

    What is charted is the chance without drift as a standard normal deviate, so that the stated rate of false alarms
    holds whatever the number of fields.

    Raises
    ------
    InvalidArgumentError, InvalidDataError
        As `read_profiles`.
    """
    found = sorted(
        (one for run in runs for one in _of_run(run, baseline)),
        key=lambda one: (one.passage is None, one.passage or 0, one.acquired_at or "", one.vessel_id, one.run),
    )
    has_order = len({(one.passage, one.acquired_at) for one in found}) == len(found)
    compared = [one for one in found if one.drift.state == "compared"]
    if not has_order or len(compared) < POINTS_MIN:
        return DriftCourse(tuple(found), None, None)
    chart = cusum_chart([_deviate(one.drift) for one in found], 0.0, 1.0, CHART)
    first = None if chart.first_alarm is None else found[chart.first_alarm].vessel_id
    return DriftCourse(tuple(found), chart, first)


def _of_run(run: Path, baseline: Baseline) -> list[VesselDrift]:
    profiles = read_profiles(run)
    vessels = sorted({field.vessel_id for field in profiles.fields})
    return [
        VesselDrift(
            str(run),
            vessel,
            profiles.passages[vessel],
            profiles.acquired[vessel],
            baseline.drift(fields),
            baseline.spread(fields),
        )
        for vessel in vessels
        for fields in [[field for field in profiles.fields if field.vessel_id == vessel]]
    ]


def _deviate(drift: Drift) -> float:
    """Return a drift's chance as a standard normal deviate: 0 is what half of all vessels without drift exceed."""
    if drift.probability is None:
        return math.nan
    return float(norm.isf(min(max(drift.probability, _RAREST), 1 - _RAREST)))
