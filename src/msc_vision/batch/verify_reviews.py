"""Check what people said of a run: events whole and in order, with every file that they speak of."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msc_vision.batch.review_overlay import measured_objects, measured_score
from msc_vision.batch.reviewed_files import lost_predecessors
from msc_vision.errors import InvalidDataError
from msc_vision.records import Complaint
from msc_vision.review.events import ReviewEvent
from msc_vision.review.log import PATCHES_NAME, REVIEWS_NAME, blobs_of, read_log, read_patch
from msc_vision.review.schema import form_problems

Row = Mapping[str, Any]


def verify_reviews(run: Path, run_id: str, rows: Sequence[Row]) -> Iterator[Complaint]:
    """Return everything that is wrong with the reviews in a run folder.

    Parameters
    ----------
    run : Path
    run_id : str
        Of its run.json; every event has to name it.
    rows : sequence of mapping
        Of its fields.parquet.
    """
    log = read_log(run)
    for problem in log.problems:
        name, _, said = problem.partition(" ")
        yield Complaint("error", f"It {said}", path=name)
    known = {str(row["key"]): row for row in rows}
    for event in log.events:
        yield from _check_event(run, run_id, event, known)
    for problem in lost_predecessors(log.events):
        name, _, said = problem.partition(" ")
        yield Complaint("error", f"It {said}", path=name)
    yield from _check_names(run, log.events)
    yield from _check_leftovers(run, log.events)


def _check_event(run: Path, run_id: str, event: ReviewEvent, known: Mapping[str, Row]) -> Iterator[Complaint]:
    name, target = f"{REVIEWS_NAME}/{event.name}", event.target
    if event.run_id != run_id:
        yield Complaint("error", "It is about another run.", path=name)
        return
    row = known.get(target.field or "")
    if target.field is not None and row is None:
        yield Complaint("error", f"It is about field {target.field}, which the run does not have.", path=name)
    elif row is not None and (row["vessel_id"], row["layer"]) != (target.vessel_id, target.layer):
        yield Complaint(
            "error", f"It places field {target.field} on another layer or vessel than fields.parquet.", path=name
        )
    elif all(one["vessel_id"] != target.vessel_id for one in known.values()):
        yield Complaint("error", f"It is about vessel {target.vessel_id}, which the run does not have.", path=name)
    try:
        _read_what_it_names(run, event)
        for said in form_problems(json.loads((run / name).read_bytes())):
            yield Complaint("error", said, path=name)
    except InvalidDataError as err:
        yield Complaint("error", str(err), path=name)


def _read_what_it_names(run: Path, event: ReviewEvent) -> None:
    if event.action == "edited":
        read_patch(run, event)
    elif event.action == "measured":
        measured_score(event)
        measured_objects(run, event)


def _check_names(run: Path, events: Sequence[ReviewEvent]) -> Iterator[Complaint]:
    """Name files that are not called as their event is: the same event may be there twice."""
    right = {event.name for event in events}
    folder = run / REVIEWS_NAME
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        if path.name not in right and not read_log(run, only=(f"{REVIEWS_NAME}/{path.name}",)).problems:
            yield Complaint("error", "It is named otherwise than its event.", path=f"{REVIEWS_NAME}/{path.name}")


def _check_leftovers(run: Path, events: Sequence[ReviewEvent]) -> Iterator[Complaint]:
    """Name what no event speaks of: a program that was stopped while it wrote leaves it, and nothing rests on it."""
    folder = run / REVIEWS_NAME
    named = {run / name for name, _ in blobs_of(events)}
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        name = path.relative_to(run).as_posix()
        if path.is_dir():
            if name != f"{REVIEWS_NAME}/{PATCHES_NAME}":
                yield Complaint("warning", "It does not belong to a review.", path=name)
        elif path.suffix != ".json" and path not in named:
            yield Complaint("warning", "No event speaks of it, so nothing rests on it.", path=name)
