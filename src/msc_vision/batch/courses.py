"""The course of each vessel over time, out of finished runs; and what fully measured vessels say of their layers."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from msc_vision.batch.finished import FinishedRun, read_finished
from msc_vision.errors import InvalidArgumentError, UndefinedResultError
from msc_vision.records import ManifestRow
from msc_vision.statistics.components import Components
from msc_vision.statistics.growth_series import Scan, standard_error_of
from msc_vision.statistics.layer_study import LayerStudy, study_layers
from msc_vision.statistics.placement import place_fields
from msc_vision.statistics.rollup import LayerEstimate, ScoredField, latest_fields, layer_estimates
from msc_vision.statistics.sampling_plan import Achieved, more_fields
from msc_vision.statistics.settings import SamplingSettings
from msc_vision.statistics.time_points import acquired_utc, time_points
from msc_vision.statistics.vessel_rollup import VesselEstimate, run_components, vessel_estimates
from msc_vision.vessels import Catalogue, VesselType


@dataclass(frozen=True, slots=True)
class VesselScan:
    """One time point of a vessel in one run.

    Attributes
    ----------
    run : Path
    acquired_at : datetime or None
        Middle of the time in which its fields were taken, UTC; None if no field has a time.
    estimate : VesselEstimate
        With the error of the method left out, because all scans of a vessel share it.
    is_of_vessel : bool
        False: nothing is known of the unseen layers, so the figure is that of the measured layers.
    method_error_points : float
        That error, as the recipe of the run states it.
    """

    run: Path
    acquired_at: datetime | None
    estimate: VesselEstimate
    is_of_vessel: bool
    method_error_points: float

    @property
    def confluency_percent(self) -> float | None:
        """Of the vessel, or of its measured layers."""
        one = self.estimate
        return one.confluency_percent if self.is_of_vessel else one.measured_confluency_percent

    def scan(self, stated_error_points: float | None = None) -> Scan:
        """Return the time point as growth is fitted to it.

        Parameters
        ----------
        stated_error_points : float, optional
            Standard error where the fields give none.

        Raises
        ------
        UndefinedResultError
            If it has no time, no figure, or no error.
        """
        name = f"{self.estimate.vessel_id} in {self.run}"
        if self.acquired_at is None:
            raise UndefinedResultError(f"{name}: no field has a time (column acquired_at), so it has no place in time.")
        percent = self.confluency_percent
        if percent is None:
            raise UndefinedResultError(f"{name}: no field of the time point at {self.acquired_at} could be scored.")
        error = self._error() if stated_error_points is None else stated_error_points
        return Scan(self.acquired_at, percent, error)

    def _error(self) -> float:
        """Return the standard error from the choice of fields, points."""
        one = self.estimate
        if self.is_of_vessel and one.confluency_interval is not None:
            return standard_error_of(one.confluency_interval)
        errors = [layer.standard_error_points for layer in one.layers if layer.layer in one.measured_layers]
        known = [error for error in errors if error is not None]
        if not known or len(known) < len(errors):
            notes = sorted({one.layers[n - 1].interval_note for n in one.measured_layers})
            raise UndefinedResultError(
                f"{one.vessel_id} in {self.run}: its error is not known ({'; '.join(notes)}); state one in points with"
                " --standard-error."
            )
        return float(sum(error**2 for error in known) ** 0.5 / len(known))


@dataclass(frozen=True, slots=True)
class VesselCourse:
    """The time points of one vessel, the earliest first."""

    vessel_id: str
    vessel: VesselType
    scans: tuple[VesselScan, ...]
    rows: tuple[ManifestRow, ...]

    def one_of(self, name: str) -> object:
        """Return what all its manifest rows say of a column, None if they say nothing or several things."""
        found = {getattr(row, name) for row in self.rows} - {None}
        return found.pop() if len(found) == 1 else None


def vessel_courses(
    runs: Sequence[Path], catalogue: Catalogue, reviewed: Mapping[Path, Mapping[str, ScoredField]] | None = None
) -> tuple[VesselCourse, ...]:
    """Return the course of every vessel in some finished runs, ordered by vessel.

    Parameters
    ----------
    runs : sequence of Path
    catalogue : Catalogue
    reviewed : mapping of Path to mapping, optional
        Of a run, by key, the fields that take the place of those that it scored.

    Raises
    ------
    InvalidArgumentError, InvalidDataError
        As `read_finished`; also if a vessel is of two types.
    """
    scans: defaultdict[str, list[VesselScan]] = defaultdict(list)
    rows: defaultdict[str, list[ManifestRow]] = defaultdict(list)
    for run in (read_finished(folder) for folder in runs):
        by_vessel: defaultdict[str, dict[str, ScoredField]] = defaultdict(dict)
        changed = (reviewed or {}).get(run.folder, {})
        for one in (changed.get(one.score.key, one) for one in run.fields):
            by_vessel[one.row.vessel_id][one.score.key] = one
            rows[one.row.vessel_id].append(one.row)
        for vessel_id, members in by_vessel.items():
            for keys in time_points({key: one.row for key, one in members.items()}):
                scans[vessel_id].append(_scan(run, [members[key] for key in sorted(keys)], catalogue))
    return tuple(
        VesselCourse(name, _one_type(name, rows[name], catalogue), _ordered(some), tuple(rows[name]))
        for name, some in sorted(scans.items())
    )


def layer_study_of_runs(runs: Sequence[Path], catalogue: Catalogue, source: str) -> LayerStudy:
    """Return how layers differ, from runs of vessels in which every layer was measured.

    Vessels in which a layer was not measured are left out; only the latest time point of each vessel counts.

    Raises
    ------
    InvalidArgumentError
        If the vessels are of several types or sites, one is in two runs, or too few are fully measured.
    """
    whole: dict[str, list[float]] = {}
    types, sites = set(), set()
    for course in vessel_courses(runs, catalogue):
        latest = course.scans[-1].estimate
        if len(course.scans) > 1 and len({scan.run for scan in course.scans}) > 1:
            raise InvalidArgumentError(f"Vessel {course.vessel_id} is in several runs: it would count twice.")
        if len(latest.measured_layers) < latest.n_layers or latest.n_layers < 2:
            continue
        types.add(latest.vessel_type)
        sites.add(course.one_of("site"))
        whole[course.vessel_id] = [layer.confluency_percent or 0.0 for layer in latest.layers]
    if len(types) > 1 or len(sites) > 1:
        raise InvalidArgumentError(
            "The vessels are not of one type and site:"
            f" {', '.join(sorted(types))}; {', '.join(sorted(str(site) for site in sites))}."
        )
    if not types:
        raise InvalidArgumentError("No vessel of several layers has all of them measured: nothing to learn from.")
    site = sites.pop()
    return study_layers(whole, types.pop(), None if site is None else str(site), source)


def achieved_of_run(folder: Path, catalogue: Catalogue, goal: float) -> dict[str, tuple[Achieved, ...]]:
    """Return what the fields of each measured layer have reached, and what is missing to a goal, by vessel.

    Parameters
    ----------
    folder : Path
        Of a finished run; the latest time point of each vessel counts.
    catalogue : Catalogue
    goal : float
        Half-width of a layer's interval, points, from sampling alone.

    Raises
    ------
    InvalidArgumentError, InvalidDataError
        As `read_finished`.
    """
    run = read_finished(folder)
    latest = latest_fields(run.fields)
    members: defaultdict[tuple[str, int], list[ManifestRow]] = defaultdict(list)
    for one in run.fields:
        if one.score.key in latest and one.score.status == "scored":
            members[one.row.vessel_id, one.row.layer].append(one.row)
    found: defaultdict[str, list[Achieved]] = defaultdict(list)
    for layer in layer_estimates(run.fields, catalogue, optics_profile=run.optics_profile, settings=run.sampling):
        if rows := members.get((layer.vessel_id, layer.layer)):
            found[layer.vessel_id].append(_achieved(layer, rows, run.sampling, goal))
    return {vessel_id: tuple(layers) for vessel_id, layers in found.items()}


def components_of_run(folder: Path) -> Components | None:
    """Return how much fields, layers and vessels of a finished run differ; see `run_components`."""
    return run_components(read_finished(folder).fields)


def _achieved(
    layer: LayerEstimate,
    rows: Sequence[ManifestRow],
    sampling: SamplingSettings,
    goal: float,
) -> Achieved:
    placement = place_fields(
        [row.y_um for row in rows],
        [row.x_um for row in rows],
        layer.culture_area_cm2,
        sampling.least_reached_percent,
    )
    found = more_fields(
        layer.layer,
        placement.places_mm,
        layer.standard_error_points,
        layer.freedom,
        goal,
        layer.interval_note,
    )
    return replace(found, n_fields=layer.n_fields_scored)


def _scan(run: FinishedRun, members: Sequence[ScoredField], catalogue: Catalogue) -> VesselScan:
    settings = run.sampling.model_copy(update={"method_error_points": 0.0, "flagged_error_points": 0.0})
    layers = layer_estimates(members, catalogue, optics_profile=run.optics_profile, settings=settings)
    (estimate,) = vessel_estimates(layers, catalogue, settings=settings, study=run.study)
    times = [time for one in members if (time := acquired_utc(one.row)) is not None]
    middle = None if not times else min(times) + (max(times) - min(times)) / 2
    is_of_vessel = estimate.confluency_percent is not None
    return VesselScan(run.folder, middle, estimate, is_of_vessel, run.sampling.method_error_points)


def _one_type(vessel_id: str, rows: Sequence[ManifestRow], catalogue: Catalogue) -> VesselType:
    types = {catalogue.get(row.vessel_type).id for row in rows}
    if len(types) > 1:
        raise InvalidArgumentError(f"Vessel {vessel_id} is said to be both {' and '.join(sorted(types))}.")
    return catalogue[types.pop()]


def _ordered(scans: Sequence[VesselScan]) -> tuple[VesselScan, ...]:
    timed = [scan for scan in scans if scan.acquired_at is not None]
    return (
        *(scan for scan in scans if scan.acquired_at is None),
        *sorted(timed, key=lambda scan: (scan.acquired_at, str(scan.run))),
    )
