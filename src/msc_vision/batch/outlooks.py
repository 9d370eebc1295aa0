"""When a vessel is forecast to be within the windows that a decision asks for, out of this run and earlier ones."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from msc_vision.batch.courses import VesselCourse, vessel_courses
from msc_vision.batch.forecasts import ForecastRequest, forecast_course, read_prior
from msc_vision.batch.reviewed_files import with_review
from msc_vision.batch.run_files import RunFiles, read_run_files
from msc_vision.batch.store import FIELDS_NAME, RUN_NAME
from msc_vision.decision.evidence import Input, Outlook
from msc_vision.errors import InvalidArgumentError, MscVisionError
from msc_vision.review.log import read_log
from msc_vision.statistics.growth_prior import placeholder_prior
from msc_vision.statistics.rollup import ScoredField
from msc_vision.vessels import Catalogue, load_catalogue

Window = tuple[float, float]
HISTORY, PRIOR = "history", "prior.yaml"
"""How inputs beside the run are called in a record: ``history/<first 12 digits of its hash>/fields.parquet``, wherever
the run lies, and ``prior.yaml``, whatever the file is called."""


@dataclass(frozen=True, slots=True)
class Past:
    """What is known of a vessel besides the run that is judged.

    Attributes
    ----------
    history : tuple of RunFiles
        Earlier runs after their reviews, ordered by the hash of their fields.
    prior : Path or None
        How the bank grows.
    """

    history: tuple[RunFiles, ...] = ()
    prior: Path | None = None

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The files that a forecast rests on besides those of the run."""
        found = []
        for one in self.history:
            folder = _place(one)
            found.append(Input(f"{folder}/{FIELDS_NAME}", one.sha256[FIELDS_NAME]))
            found.append(Input(f"{folder}/{RUN_NAME}#settings", str(one.record.get("settings_sha256"))))
            found += [Input(f"{folder}/{name}", digest) for name, digest in one.reviews.items()]
        if self.prior is not None:
            found.append(Input(PRIOR, prior_sha256(self.prior)))
        return tuple(found)


def read_past(
    history: Sequence[Path],
    prior: Path | None,
    vessel_id: str,
    catalogue: Catalogue | None = None,
    reviews: Collection[str] | None = None,
) -> Past:
    """Return what is known of a vessel besides the run.

    Parameters
    ----------
    history : sequence of Path
        Earlier runs; their reviews of the vessel count.
    prior : Path or None
    vessel_id : str
    catalogue : Catalogue, optional
    reviews : collection of str, optional
        Names of the review events that count, as in `Past.inputs`; None: all that are there.

    Raises
    ------
    InvalidArgumentError, InvalidDataError
        If an earlier run or the prior cannot be read, or is not as it was written.
    """
    plain = sorted((read_run_files(one) for one in history), key=lambda one: one.sha256[FIELDS_NAME])
    files = [_after_review(one, vessel_id, catalogue, reviews) for one in plain]
    for one in files:
        if one.problems:
            raise InvalidArgumentError(f"{one.folder} cannot serve as history: {' '.join(one.problems)}")
    if len({one.sha256[FIELDS_NAME] for one in files}) < len(files):
        raise InvalidArgumentError("A run of the history is there twice; name each once.")
    if prior is not None:
        read_prior(prior)
    return Past(tuple(files), prior)


def _after_review(
    files: RunFiles, vessel_id: str, catalogue: Catalogue | None, reviews: Collection[str] | None
) -> RunFiles:
    if files.problems:
        return files
    only = None
    if reviews is not None:
        place = f"{_place(files)}/"
        only = {name.removeprefix(place) for name in reviews if name.startswith(place)}
    return with_review(files, {vessel_id}, read_log(files.folder, only=only), catalogue)


def _place(files: RunFiles) -> str:
    return f"{HISTORY}/{files.sha256[FIELDS_NAME][:12]}"


def prior_sha256(path: Path) -> str:
    """Return the hash of the file of a bank's growth.

    Raises
    ------
    InvalidArgumentError
        If it cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as err:
        raise InvalidArgumentError(f"{path}: cannot be read ({err.strerror or err}).") from err


def outlooks(
    run: Path,
    vessel_id: str,
    n_time_points: int,
    windows: Sequence[Window],
    past: Past,
    catalogue: Catalogue | None,
    reviewed: Mapping[str, ScoredField],
) -> dict[Window, Outlook]:
    """Return by window when the vessel's mean is forecast to be within it, or why that is not known.

    Growth is fitted only where there are two time points at the least: from one, a forecast would be that of the bank.

    Parameters
    ----------
    run : Path
    vessel_id : str
    n_time_points : int
        Of the vessel in this run.
    windows : sequence of (float, float)
        Percent.
    past : Past
    catalogue : Catalogue or None
        None: the types that ship.
    reviewed : mapping of str to ScoredField
        By key the fields of this run that a review changed.
    """
    asked = dict.fromkeys((float(low), float(high)) for low, high in windows)
    if not asked:
        return {}
    if n_time_points < 2 and not past.history:
        return {one: _unknown(one, "one time point only, and growth takes two: name earlier runs") for one in asked}
    try:
        course = _course(run, vessel_id, past, load_catalogue() if catalogue is None else catalogue, reviewed)
        prior = placeholder_prior() if past.prior is None else read_prior(past.prior)
    except MscVisionError as err:
        return {one: _unknown(one, _clause(err)) for one in asked}
    if len(course.scans) < 2:
        return {one: _unknown(one, "one time point only: the earlier runs do not show this vessel") for one in asked}
    if not all(scan.is_of_vessel for scan in course.scans):
        return {one: _unknown(one, "at some time point only the measured layers are known") for one in asked}
    return {one: _outlook(course, one, ForecastRequest(prior=prior, window_percent=one)) for one in asked}


def _course(
    run: Path, vessel_id: str, past: Past, catalogue: Catalogue, reviewed: Mapping[str, ScoredField]
) -> VesselCourse:
    runs = [run, *(one.folder for one in past.history)]
    changed = {run: reviewed} | {one.folder: one.reviewed_fields for one in past.history}
    course = next(one for one in vessel_courses(runs, catalogue, changed) if one.vessel_id == vessel_id)
    if course.scans and course.scans[-1].run != run:
        raise InvalidArgumentError("A run of the history is later than this run; it has to be earlier.")
    return course


def _outlook(course: VesselCourse, window: Window, request: ForecastRequest) -> Outlook:
    found = forecast_course(course, request)
    if found.reason is not None:
        where = {f" in {scan.run}" for scan in course.scans}  # a record must not hang on where a run lies
        reason = found.reason
        for one in where:
            reason = reason.replace(one, "")
        return _unknown(window, _clause(reason))
    return Outlook(*window, enters_at=found.enters_at, leaves_at=found.leaves_at)


def _unknown(window: Window, reason: str) -> Outlook:
    return Outlook(*window, enters_at=None, leaves_at=None, reason=reason)


def _clause(err: object) -> str:
    return " ".join(str(err).split()).rstrip(".")
