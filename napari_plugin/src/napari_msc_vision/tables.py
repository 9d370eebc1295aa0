"""What the dock Measure shows, as plain data: cells held against others, the course of a vessel, tables to take along.

No Qt and no napari here. Functions that read files run in another thread; they touch nothing of the session.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from msc_vision.batch.courses import VesselScan, vessel_courses
from msc_vision.batch.reviewed import ReviewedRun, RunFigures, measure_masks, second_look
from msc_vision.batch.store import RUN_NAME
from msc_vision.errors import MscVisionError, UndefinedResultError
from msc_vision.morphology.baseline import SAME, Baseline, ProfiledField
from msc_vision.report.cell_distribution import CellDistribution, Expected, cell_distribution, expected_of_baseline
from msc_vision.report.cell_table import CellFigure, CellTable, cell_table, joined_cells, read_cell_table
from msc_vision.report.words import count
from msc_vision.review.masks import FieldMasks
from msc_vision.review.state import ReviewState
from msc_vision.statistics.rollup import ScoredField
from msc_vision.vessels import Catalogue
from napari_msc_vision.session import ReviewSession

Scope = Literal["field", "layer", "vessel"]
SCOPE_WORDS: dict[Scope, str] = {"field": "This field", "layer": "This layer", "vessel": "This vessel"}
_NORMAL_95 = 1.96


# --- cells -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """What is asked of the cells of a vessel, taken from the session before the work leaves the main thread.

    Attributes
    ----------
    figure : CellFigure
    scope : {'field', 'layer', 'vessel'}
    key : str
        Of the open field.
    fields : tuple of ScoredField
        Those of the vessel that count after the review.
    n_corrected : int
        Other fields whose masks were corrected: their cells are those that the run found.
    pipeline_sha256 : str
    baseline : Baseline or None
    """

    figure: CellFigure
    scope: Scope
    key: str
    fields: tuple[ScoredField, ...]
    n_corrected: int
    pipeline_sha256: str
    baseline: Baseline | None

    @property
    def chosen(self) -> tuple[ScoredField, ...]:
        """The fields that the distribution is of."""
        if self.scope == "vessel":
            return self.fields
        if self.scope == "field":
            return tuple(one for one in self.fields if one.score.key == self.key)
        layers = {one.row.layer for one in self.fields if one.score.key == self.key}
        return tuple(one for one in self.fields if one.row.layer in layers)


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """A distribution, the cells it is of, and what it is held against, in words."""

    distribution: CellDistribution
    cells: CellTable
    against: str


def question(session: ReviewSession, figure: CellFigure, scope: Scope, baseline: Baseline | None) -> Question | None:
    """Return what is asked about the open field; None if none is open."""
    key = session.current
    if key is None:
        return None
    keys = session.keys(session.row(key).vessel_id)
    fields = tuple(one for one in (session.figures.fields[k] for k in keys) if one.score.status == "scored")
    n_corrected = sum(bool(session.run.state.of(one.score.key).edits) for one in fields if one.score.key != key)
    sha256 = str(session.run.record["settings"]["pipeline"]["sha256"])
    return Question(figure, scope, key, fields, n_corrected, sha256, baseline)


def with_open_field(vessel: CellTable, key: str, measured: CellTable | None) -> CellTable:
    """Return the cells of a vessel with those of the open field as they are after its correction."""
    if measured is None:
        return vessel
    return joined_cells([vessel.of(vessel.keys != key), measured])


def vessel_cells(run: Path, asked: Question) -> CellTable:
    """Return the cells of a vessel as the run found them.

    Raises
    ------
    InvalidDataError
        If a table of objects cannot be read.
    """
    return read_cell_table(run, [one.row for one in asked.fields], [one.score.key for one in asked.fields])


@dataclass(frozen=True, slots=True, eq=False)
class OpenField:
    """The open field as it stands, taken from the session before the work leaves the main thread.

    Attributes
    ----------
    run : ReviewedRun
    key : str
    masks : FieldMasks
        After all corrections.
    objects : structured array or None
        Measured in this session.
    known : CellTable or None
        Its cells, if they were measured for these very masks already; while it is being measured, those of before.
    is_corrected : bool
    is_waiting : bool
        Its shapes are being measured, and the cells come with them.
    """

    run: ReviewedRun
    key: str
    masks: FieldMasks
    objects: NDArray[np.void] | None
    known: CellTable | None
    is_corrected: bool
    is_waiting: bool


def masks_stamp(session: ReviewSession) -> tuple[object, object]:
    """Return what changes when the cells of the open field have to be taken anew."""
    return session.masks, session.objects


def open_field(session: ReviewSession, known: CellTable | None, known_of: object) -> OpenField:
    """Return the open field of a session; ``known`` are its cells as they were when its stamp was ``known_of``."""
    key, masks = session.current, session.masks
    assert key is not None
    assert masks is not None
    stamp = masks_stamp(session)
    is_known = isinstance(known_of, tuple) and all(a is b for a, b in zip(known_of, stamp, strict=True))
    is_corrected = bool(session.run.state.of(key).edits)
    is_waiting = not session.is_measured
    kept = known if is_known or is_waiting else None
    return OpenField(session.run, key, masks, session.objects, kept, is_corrected, is_waiting)


def open_cells(field: OpenField) -> CellTable | None:
    """Return the cells of the open field after its correction; None where they are as the run found them.

    While the session is still measuring, the cells of before are returned; of a field that was corrected in an earlier
    session they are measured here, which takes about a second.

    Raises
    ------
    MscVisionError
        As `measure_masks`.
    """
    if field.known is not None:
        return field.known
    if field.objects is not None:
        return cell_table(field.key, field.objects)
    if not field.is_corrected or field.is_waiting:
        return None
    found = field.run.original.fields[field.key].score
    return cell_table(field.key, measure_masks(second_look(field.run.task(field.key)), found, field.masks)[1])


def answer(asked: Question, vessel: CellTable) -> Answer:
    """Return the distribution that was asked for.

    Parameters
    ----------
    asked : Question
    vessel : CellTable
        Cells of the vessel, see `with_open_field`.
    """
    keys = [one.score.key for one in asked.chosen]
    every = [one.score.key for one in asked.fields]
    is_chosen = np.isin(vessel.keys, np.array(keys, object))
    cells = vessel.of(is_chosen)
    expected, words = _held_against(asked)
    rest = None
    if expected is None:
        rest = vessel.of(np.isin(vessel.keys, np.array(every, object)) & ~is_chosen)
        words = " ".join([_rest_words(asked, rest), words]).strip()
    if asked.n_corrected and (asked.scope != "field" or rest is not None):
        words += f" The cells of {count(asked.n_corrected, 'other corrected field')} are those that the run found."
    return Answer(cell_distribution(asked.figure, cells, rest, expected), cells, words)


def _rest_words(asked: Question, rest: CellTable) -> str:
    if asked.scope == "vessel":
        return "All cells of the vessel: choose a field or layer to hold it against the rest, or a baseline."
    if not rest.is_measured.any():
        return "There are no other cells in this vessel to hold it against."
    return f"Line: the {int(rest.is_measured.sum())} other measured cells of the vessel."


def _held_against(asked: Question) -> tuple[Expected | None, str]:
    """Return what the baseline expects, or why it says nothing."""
    if asked.baseline is None:
        return None, ""
    name = asked.baseline.head.origin.baseline_id
    refusal = asked.baseline.refusal([_profiled(one, asked.pipeline_sha256) for one in asked.chosen])
    if refusal is not None:
        return None, f"Not held against baseline {name}: {refusal}."
    confluency = [one.score.confluency_percent or 0.0 for one in asked.chosen]
    expected = expected_of_baseline(asked.figure, confluency, asked.baseline)
    if expected is None:
        return None, f"Baseline {name} keeps nothing of this figure."
    told = [asked.figure.told(value) for value in (expected.middle, expected.low, expected.high)]
    return (
        expected,
        f"Band: baseline {name} expects a mean of {told[0]}; 95 % of its fields lie within {told[1]} to {told[2]}.",
    )


def _profiled(one: ScoredField, pipeline_sha256: str) -> ProfiledField:
    context = {name: getattr(one.row, name) for name in SAME} | {"pipeline_sha256": pipeline_sha256}
    return ProfiledField(
        one.row.path,
        one.row.vessel_id,
        one.row.layer,
        one.score.confluency_percent or 0.0,
        one.score.working_pixel_size_um,
        context,
        one.score.morphology,
    )


# --- the course of a vessel ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CoursePoint:
    """One time point of a vessel.

    Attributes
    ----------
    at : datetime
        UTC.
    percent : float
        Confluency.
    interval : (float, float) or None
        95 %, from the choice of fields; the error of the method is left out, because all points share it.
    run : str
        Name of the run folder.
    is_of_vessel : bool
        False: of the measured layers alone.
    is_reviewed : bool
        As it stands after the review, in the run that is open.
    """

    at: datetime
    percent: float
    interval: tuple[float, float] | None
    run: str
    is_of_vessel: bool
    is_reviewed: bool = False

    @property
    def words(self) -> str:
        """The point in a sentence."""
        said = ["after the review"] if self.is_reviewed else []
        if self.interval is not None:
            said.append(f"95 %: {self.interval[0]:.1f} to {self.interval[1]:.1f} %")
        elif not self.is_reviewed:
            said.append("no interval")
        if not self.is_of_vessel:
            said.append("measured layers only")
        return f"{self.at:%d %b %Y %H:%M} UTC: {self.percent:.1f} % ({', '.join(said)}). Run {self.run}."


@dataclass(frozen=True, slots=True)
class Course:
    """The time line of a vessel: its points, the earliest first, and what could not be shown, in sentences."""

    vessel_id: str
    points: tuple[CoursePoint, ...]
    notes: tuple[str, ...] = ()


def runs_beside(run: Path) -> tuple[Path, ...]:
    """Return the other run folders in the folder of a run."""
    try:
        found = sorted(one for one in run.resolve().parent.iterdir() if one.is_dir() and one != run.resolve())
        return tuple(one for one in found if (one / RUN_NAME).is_file())
    except OSError:  # a folder that may not be listed has nothing to offer
        return ()


def course_of(
    run: Path, vessel_id: str, others: Iterable[Path], catalogue: Catalogue, reviewed: RunFigures | None = None
) -> Course:
    """Return the time line of a vessel.

    Parameters
    ----------
    run : Path
        The run that is open.
    vessel_id : str
    others : iterable of Path
        Other runs; those that do not show the vessel, or cannot be read, are named in the notes.
    catalogue : Catalogue
    reviewed : RunFigures, optional
        Figures of the open run after its review.
    """
    points: list[CoursePoint] = []
    notes: list[str] = []
    for folder in (run, *(one for one in others if one.resolve() != run.resolve())):
        try:
            courses = [one for one in vessel_courses([folder], catalogue) if one.vessel_id == vessel_id]
        except MscVisionError as err:
            notes.append(str(err))
            continue
        if not courses:
            notes.append(f"{folder.name} does not show {vessel_id}.")
        for scan in (scan for one in courses for scan in one.scans):
            point = _point(scan)
            if point is None:
                notes.append(f"{folder.name}: a time point of {vessel_id} has no time or no figure.")
            else:
                points.append(point)
    points.sort(key=lambda one: one.at)
    own = [one for one in points if one.run == run.name]
    if own and reviewed is not None:
        points.append(_after_review(own[-1], reviewed, vessel_id))
    return Course(vessel_id, tuple(points), tuple(notes))


def _point(scan: VesselScan) -> CoursePoint | None:
    percent = scan.confluency_percent
    if scan.acquired_at is None or percent is None:
        return None
    return CoursePoint(scan.acquired_at, percent, _interval(scan, percent), scan.run.name, scan.is_of_vessel)


def _interval(scan: VesselScan, percent: float) -> tuple[float, float] | None:
    if scan.is_of_vessel:
        return scan.estimate.confluency_interval
    try:
        error = scan.scan().standard_error
    except UndefinedResultError:
        return None
    return max(percent - _NORMAL_95 * error, 0.0), min(percent + _NORMAL_95 * error, 100.0)


def _after_review(last: CoursePoint, reviewed: RunFigures, vessel_id: str) -> CoursePoint:
    vessel = reviewed.vessel(vessel_id)
    percent = vessel.confluency_percent if last.is_of_vessel else vessel.measured_confluency_percent
    if percent is None:
        return last
    return CoursePoint(last.at, percent, None, last.run, last.is_of_vessel, is_reviewed=True)


# --- tables to take along --------------------------------------------------------------------------------------------

FIELD_COLUMNS = (
    "vessel_id", "layer", "field", "path", "key", "status", "reason", "confluency_percent", "confluency_found_percent",
    "judgeable_percent", "n_objects", "aggregate_area_percent", "contamination", "flags", "standing", "judged_by",
    "judged_at", "reason_code", "review_reason", "corrected_by", "n_corrections",
)  # fmt: skip


def fields_csv(keys: Sequence[str], original: RunFigures, reviewed: RunFigures, state: ReviewState) -> str:
    """Return the fields of a run after its review as CSV, a row each with a heading.

    Parameters
    ----------
    keys : sequence of str
        Of the fields, in their order.
    original, reviewed : RunFigures
        As the run found them, and after the review.
    state : ReviewState
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELD_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for key in keys:
        writer.writerow(_field_row(original.fields[key], reviewed.fields[key], state))
    return text.getvalue()


def _field_row(found: ScoredField, now: ScoredField, state: ReviewState) -> dict[str, object]:
    review = state.of(now.score.key)
    decided = review.decided_by
    said: dict[str, object] = {
        "confluency_found_percent": found.score.confluency_percent,
        "aggregate_area_percent": now.score.findings.get("aggregate_area_percent"),
        "flags": "; ".join(now.score.flags),
        "standing": review.standing,
        "judged_by": decided and decided.reviewer.name,
        "judged_at": decided and decided.at,
        "reason_code": decided and decided.reason_code,
        "review_reason": decided and decided.reason,
        "corrected_by": ", ".join(dict.fromkeys(one.reviewer.name for one in review.edits)),
        "n_corrections": len(review.edits),
    }
    plain = {name: getattr(now.row, name) for name in ("vessel_id", "layer", "field")}
    plain |= {name: getattr(now.score, name) for name in FIELD_COLUMNS if name in type(now.score).__slots__}
    return {name: "" if value is None else value for name, value in (plain | said).items()}


def caption(session: ReviewSession, at: datetime) -> tuple[str, str]:
    """Return what stands below a picture of the open field: what it shows, and who made it, when, of which run."""
    key = session.current
    who = f"{session.reviewer.name}, {at:%d %b %Y %H:%M %Z}, run {session.run.run_id}".replace("  ", " ")
    if key is None:
        return "msc-vision", who
    row, score = session.row(key), session.score
    figure = (
        "" if score is None or score.confluency_percent is None else f", {score.confluency_percent:.1f} % confluent"
    )
    corrected = ", corrected" if session.run.state.of(key).edits else ""
    return f"{row.vessel_id}, layer {row.layer}, field {row.field or row.path}{figure}{corrected}", who
