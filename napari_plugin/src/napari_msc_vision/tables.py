"""What the dock Measure shows, as plain data: cells held against others, the course of a vessel, tables to take along.

No Qt and no napari here. Functions that read files run in another thread; they touch nothing of the session.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from msc_vision.batch.courses import VesselScan, vessel_courses
from msc_vision.batch.review_overlay import measured_objects
from msc_vision.batch.reviewed import RunFigures
from msc_vision.batch.store import RUN_NAME
from msc_vision.errors import MscVisionError, UndefinedResultError
from msc_vision.morphology.baseline import SAME, Baseline, ProfiledField
from msc_vision.records import ManifestRow
from msc_vision.report.cell_distribution import CellDistribution, Expected, cell_distribution, expected_of_baseline
from msc_vision.report.cell_table import (
    CELL_FIGURES,
    CellFigure,
    CellTable,
    arrow_cells,
    cell_table,
    columns_for,
    joined_cells,
    no_cells,
    read_cell_table,
)
from msc_vision.report.words import count
from msc_vision.review.events import ReviewEvent
from msc_vision.review.state import ReviewState
from msc_vision.statistics.rollup import ScoredField
from msc_vision.vessels import Catalogue
from napari_msc_vision.session import ReviewSession

Scope = Literal["field", "layer", "vessel"]
SCOPE_WORDS: dict[Scope, str] = {"field": "This field", "layer": "This layer", "vessel": "This vessel"}
_UNDER_THE_MOUSE = tuple(one for one in CELL_FIGURES if one.column in ("area_um2", "elongation"))
_NORMAL_95 = 1.96
_SAME_POINTS = 0.05
SHARED_ERROR = "The intervals hold what the choice of fields leaves open; the error of the method is common to all."


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
    run : Path
        Run folder.
    measured : mapping of str to ReviewEvent
        Of fields whose masks were corrected and measured again: the events that keep their cells.
    n_waiting : int
        Other fields that were corrected and not measured again yet: their cells are those that the run found.
    pipeline_sha256 : str
    baseline : Baseline or None
    """

    figure: CellFigure
    scope: Scope
    key: str
    fields: tuple[ScoredField, ...]
    run: Path
    measured: Mapping[str, ReviewEvent]
    n_waiting: int
    pipeline_sha256: str
    baseline: Baseline | None

    @property
    def stamp(self) -> tuple[object, ...]:
        """What changes when the cells of the vessel have to be read anew."""
        keys = tuple(one.score.key for one in self.fields)
        return self.figure.column, keys, tuple(event.event_id for event in self.measured.values())

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
    reviews = {one.score.key: session.run.state.of(one.score.key) for one in fields}
    measured = {
        name: review.measured
        for name, review in reviews.items()
        if review.measured is not None and (review.measured.after or {}).get("objects") is not None
    }
    n_waiting = sum(review.needs_measuring for name, review in reviews.items() if name != key)
    sha256 = str(session.run.record["settings"]["pipeline"]["sha256"])
    return Question(figure, scope, key, fields, session.run.folder, measured, n_waiting, sha256, baseline)


def with_open_field(vessel: CellTable, key: str, cells: CellTable) -> CellTable:
    """Return the cells of a vessel with those of the open field as they are shown."""
    return joined_cells([vessel.of(~vessel.is_of([key])), cells])


def vessel_cells(asked: Question) -> CellTable:
    """Return the figure of all cells of a vessel: as the run found them, or as corrected masks were measured.

    Raises
    ------
    InvalidDataError
        If a table of objects cannot be read.
    """
    return _cells_of(asked, asked.fields, columns_for(asked.figure))


class VesselCells:
    """The cells of a vessel, read once for questions that come one after the other."""

    def __init__(self) -> None:
        self._stamp: object = None
        self._cells = no_cells()

    def of(self, asked: Question) -> CellTable:
        """Return what `vessel_cells` returns; read anew when the question is about other cells."""
        if self._stamp != asked.stamp:
            self._cells = vessel_cells(asked)
            self._stamp = asked.stamp
        return self._cells


def field_cells(asked: Question, row: ManifestRow) -> CellTable:
    """Return the cells of the open field with all their figures, as `vessel_cells`; ``row`` is its own."""
    event = asked.measured.get(asked.key)
    objects = None if event is None else measured_objects(asked.run, event)
    if objects is not None:
        return arrow_cells(objects, key=asked.key)
    return read_cell_table(asked.run, [row], [asked.key])


def _cells_of(asked: Question, fields: Sequence[ScoredField], columns: Sequence[str]) -> CellTable:
    kept = {key: measured_objects(asked.run, event) for key, event in asked.measured.items()}
    again = [arrow_cells(objects, columns, key) for key, objects in kept.items() if objects is not None]
    as_found = [one for one in fields if kept.get(one.score.key) is None]
    rows, keys = [one.row for one in as_found], [one.score.key for one in as_found]
    return joined_cells([read_cell_table(asked.run, rows, keys, columns), *again])


@dataclass(frozen=True, slots=True, eq=False)
class OpenField:
    """The open field as it stands, taken from the session before the work leaves the main thread.

    Attributes
    ----------
    key : str
    objects : structured array or None
        Measured in this session.
    known : CellTable or None
        Its cells, if they were taken from these very objects already; while it is being measured, those of before.
    """

    key: str
    objects: NDArray[np.void] | None
    known: CellTable | None


def masks_stamp(session: ReviewSession) -> tuple[object, object]:
    """Return what changes when the cells of the open field have to be taken anew."""
    return session.masks, session.objects


def open_field(session: ReviewSession, known: CellTable | None, known_of: object) -> OpenField:
    """Return the open field of a session; ``known`` are its cells as they were when its stamp was ``known_of``."""
    assert session.current is not None
    stamp = masks_stamp(session)
    is_known = isinstance(known_of, tuple) and all(a is b for a, b in zip(known_of, stamp, strict=True))
    is_waiting = not session.is_measured
    return OpenField(session.current, session.objects, known if is_known or is_waiting else None)


def open_cells(field: OpenField) -> CellTable | None:
    """Return the cells of the open field as this session measured them; None where it did not."""
    if field.known is not None:
        return field.known
    return None if field.objects is None else cell_table(field.key, field.objects)


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
    is_chosen = vessel.is_of(keys)
    cells = vessel.of(is_chosen)
    expected, words = _held_against(asked)
    rest = None
    if expected is None:
        rest = vessel.of(vessel.is_of(every) & ~is_chosen)
        words = " ".join([_rest_words(asked, rest), words]).strip()
    if asked.n_waiting and (asked.scope != "field" or rest is not None):
        waiting = count(asked.n_waiting, "other corrected field")
        words += f" The cells of {waiting} are those that the run found: they were not measured again yet."
    found = cell_distribution(asked.figure, cells, rest, expected)
    if expected is not None and found.mean is not None:
        words += f" The mean here is {asked.figure.told(found.mean)}."
    return Answer(found, cells, words)


def _rest_words(asked: Question, rest: CellTable) -> str:
    if asked.scope == "vessel":
        return "All cells of the vessel: choose a field or layer to hold it against the rest, or a baseline."
    if not rest.is_measured.any():
        return "There are no other cells in this vessel to hold it against."
    return f"Orange line: the {int(rest.is_measured.sum())} other measured cells of the vessel."


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
    within = f"95 % of its fields lie in {told[1]} to {told[2]}"
    return expected, f"Green band: baseline {name} expects a mean of {told[0]}; {within}."


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


def words_by_cell(cells: CellTable) -> pd.DataFrame:
    """Return what is said of the cell under the mouse, as napari takes it: a row by label, ``index``, for each cell.

    Nothing is said of label 0, where there is no cell, and of what was not measured.
    """
    told: dict[str, list[str | None]] = {
        figure.name: [None, *(figure.told(value) if np.isfinite(value) else None for value in cells.values(figure))]
        for figure in _UNDER_THE_MOUSE
    }
    return pd.DataFrame({"index": [0, *cells.labels.tolist()], **told}, dtype=object)


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
    after = _after_review(own[-1], reviewed, vessel_id) if own and reviewed is not None else None
    if after is not None:
        points.append(after)
    if any(one.interval is not None for one in points):
        notes.insert(0, SHARED_ERROR)
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


def _after_review(last: CoursePoint, reviewed: RunFigures, vessel_id: str) -> CoursePoint | None:
    """Return the last point as it stands after the review; None where the review changed nothing of it."""
    vessel = reviewed.vessel(vessel_id)
    percent = vessel.confluency_percent if last.is_of_vessel else vessel.measured_confluency_percent
    if percent is None or abs(percent - last.percent) < _SAME_POINTS:
        return None
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
