"""When the vessels of some runs will be inside their window, out of their time points and what their bank does."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import yaml
from pydantic import ValidationError

from msc_vision.batch.courses import VesselCourse, vessel_courses
from msc_vision.batch.reviewed_files import reviewed_fields
from msc_vision.errors import InvalidArgumentError, UndefinedResultError
from msc_vision.statistics.growth import Departure, ForecastBand, GrowthPosterior, WindowForecast, departure, fit_growth
from msc_vision.statistics.growth_prior import BankPrior, learn_prior, placeholder_prior
from msc_vision.statistics.growth_series import GrowthSeries, series_of_scans
from msc_vision.vessels import Catalogue

STEP_H = 2.0


@dataclass(frozen=True, slots=True)
class ForecastRequest:
    """What is asked.

    Attributes
    ----------
    prior : BankPrior
    window_percent : (float, float) or None
        None: that of the recipe of the vessel's last run.
    at : tuple of datetime
        Planned hours of harvest.
    seeded_at : datetime or None
    refeeds_at : tuple of datetime
    standard_error_points : float or None
        Of every scan, where coordinates give none.
    method_error_points : float or None
        Error that all scans share; None: that of the recipe.
    """

    prior: BankPrior = field(default_factory=placeholder_prior)
    window_percent: tuple[float, float] | None = None
    at: tuple[datetime, ...] = ()
    seeded_at: datetime | None = None
    refeeds_at: tuple[datetime, ...] = ()
    standard_error_points: float | None = None
    method_error_points: float | None = None


@dataclass(frozen=True, slots=True)
class PlannedHour:
    """A planned hour, the confluency expected then (95 %) and the probability of being inside the window."""

    at: str
    elapsed_h: float
    confluency_percent: float
    interval: tuple[float, float]
    inside_probability: float


@dataclass(frozen=True, slots=True)
class VesselForecast:
    """The forecast of one vessel, or why there is none (``reason``; then the rest is None or empty).

    Attributes
    ----------
    vessel_id : str
    basis : str
        ``vessel``, or ``measured layers`` where the others are undetermined.
    starts_at, last_scan_at : str or None
        ISO 8601, UTC: hour 0, and the last time point.
    series : GrowthSeries or None
    window : WindowForecast or None
        Hours since ``starts_at``.
    enters_at, leaves_at : str or None
        Medians, ISO 8601, UTC; None beyond the horizon or in the past of the first scan.
    departure : Departure or None
    planned : tuple of PlannedHour
    band : ForecastBand or None
        From hour 0 to the horizon.
    notes : tuple of str
    """

    vessel_id: str
    reason: str | None = None
    basis: str = "vessel"
    starts_at: str | None = None
    last_scan_at: str | None = None
    series: GrowthSeries | None = None
    window: WindowForecast | None = None
    enters_at: str | None = None
    leaves_at: str | None = None
    departure: Departure | None = None
    planned: tuple[PlannedHour, ...] = ()
    band: ForecastBand | None = None
    notes: tuple[str, ...] = ()


def forecast_runs(runs: Sequence[Path], catalogue: Catalogue, request: ForecastRequest) -> tuple[VesselForecast, ...]:
    """Return a forecast of every vessel in some finished runs.

    Fields count as reviews left them. A vessel that cannot be forecast has a reason instead; it does not stop the
    others.

    Raises
    ------
    InvalidArgumentError, InvalidDataError
        If a run cannot be read, or its review cannot be relied on.
    """
    courses = vessel_courses(runs, catalogue, {run: reviewed_fields(run, catalogue) for run in runs})
    return tuple(forecast_course(course, request) for course in courses)


def forecast_course(course: VesselCourse, request: ForecastRequest) -> VesselForecast:
    """Return the forecast of one vessel; see `VesselForecast`."""
    try:
        return _forecast(course, request)
    except (UndefinedResultError, InvalidArgumentError) as err:
        return VesselForecast(course.vessel_id, reason=str(err))


def prior_of_runs(runs: Sequence[Path], catalogue: Catalogue, source: str, request: ForecastRequest) -> BankPrior:
    """Return how the cultures of a bank grow, learned from whole cultures of it, as reviews left their fields.

    Raises
    ------
    InvalidDataError
        If a run cannot be read, or its review cannot be relied on.
    InvalidArgumentError
        If the vessels are of several banks or media, or no vessel has two time points.
    """
    reviewed = {run: reviewed_fields(run, catalogue) for run in runs}
    courses = [course for course in vessel_courses(runs, catalogue, reviewed) if len(course.scans) > 1]
    if not courses:
        raise InvalidArgumentError("No vessel has two time points or more: nothing to learn growth from.")
    for name in ("bank", "medium"):
        found = sorted({str(course.one_of(name)) for course in courses})
        if len(found) > 1:
            raise InvalidArgumentError(f"The vessels are of several {name}s: {', '.join(found)}; learn from one.")
    return learn_prior([_series(course, request)[0] for course in courses], source=source)


def read_prior(path: Path) -> BankPrior:
    """Read a bank's growth from YAML.

    Raises
    ------
    InvalidArgumentError
        If the file is missing or holds none.
    """
    try:
        return BankPrior.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as err:
        raise InvalidArgumentError(f"{path}: cannot be read as YAML ({' '.join(str(err).split())}).") from err
    except ValidationError as err:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in err.errors())
        raise InvalidArgumentError(f"{path}: no growth of a bank: {problems}.") from err


def _forecast(course: VesselCourse, request: ForecastRequest) -> VesselForecast:
    series, start = _series(course, request)
    last = course.scans[-1]
    window_percent = request.window_percent or last.estimate.window_percent
    shared = last.method_error_points if request.method_error_points is None else request.method_error_points
    growth = fit_growth(series, request.prior).misread_by(shared)
    window = growth.window(*window_percent)
    hours = np.arange(0.0, growth.horizon_h + STEP_H / 2, STEP_H)
    hours = hours[hours <= growth.horizon_h]
    return VesselForecast(
        vessel_id=course.vessel_id,
        basis="vessel" if all(scan.is_of_vessel for scan in course.scans) else "measured layers",
        starts_at=_iso(start, 0.0),
        last_scan_at=_iso(start, series.last_h),
        series=series,
        window=window,
        enters_at=_iso(start, window.entered.median_h),
        leaves_at=_iso(start, window.left.median_h),
        departure=departure(series, request.prior),
        planned=tuple(_planned(growth, start, at, window_percent) for at in request.at),
        band=growth.forecast(hours),
        notes=(*growth.notes, *_basis_notes(course), f"A method error of {shared:g} points at half cover is included."),
    )


def _planned(growth: GrowthPosterior, start: datetime, at: datetime, window: tuple[float, float]) -> PlannedHour:
    elapsed_h = (_utc(at) - start).total_seconds() / 3600
    band = growth.forecast([elapsed_h])
    return PlannedHour(
        _utc(at).isoformat(timespec="minutes"),
        elapsed_h,
        float(band.mean_percent[0]),
        (float(band.low_percent[0]), float(band.high_percent[0])),
        growth.probability_inside(elapsed_h, *window),
    )


def _series(course: VesselCourse, request: ForecastRequest) -> tuple[GrowthSeries, datetime]:
    """Return the time points as growth is fitted to them, and hour 0 in UTC."""
    scans = tuple(scan.scan(request.standard_error_points) for scan in course.scans)
    series = series_of_scans(scans, seeded_at=request.seeded_at, refeeds_at=request.refeeds_at)
    start = request.seeded_at or min(scan.acquired_at for scan in scans)
    return series, _utc(start)


def _basis_notes(course: VesselCourse) -> tuple[str, ...]:
    if all(scan.is_of_vessel for scan in course.scans):
        return ()
    return ("Of the measured layers only: the others are undetermined, and so is the vessel.",)


def _iso(start: datetime, elapsed_h: float | None) -> str | None:
    return None if elapsed_h is None else (start + timedelta(hours=elapsed_h)).isoformat(timespec="minutes")


def _utc(time: datetime) -> datetime:
    return time.astimezone(UTC) if time.tzinfo is not None else time.replace(tzinfo=UTC)
