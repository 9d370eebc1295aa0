"""The files of a run as a decision reads them, with what its review changes; the files themselves stay as they are.

Only what a review changed is put in the place of what the run wrote: a run that nobody reviewed, and layers that nobody
touched, are read as they were written.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from msc_vision.batch.figures import RunFigures
from msc_vision.batch.review_overlay import field_doubts
from msc_vision.batch.reviewed import ReviewedRun
from msc_vision.batch.run_files import RunFiles
from msc_vision.batch.scored_run import scored_run
from msc_vision.errors import InvalidDataError
from msc_vision.review.events import ReviewEvent
from msc_vision.review.log import REVIEWS_NAME, ReadLog, blobs_of
from msc_vision.statistics.rollup import ScoredField
from msc_vision.statistics.vessel_rollup import VesselEstimate
from msc_vision.vessels import Catalogue, load_catalogue

Row = Mapping[str, Any]
_CLOSES_HOLD = frozenset({"settled"})
_HOLDS = frozenset({"held", "vessel-rejected"})


def with_review(files: RunFiles, vessel_ids: Iterable[str], log: ReadLog, catalogue: Catalogue | None) -> RunFiles:
    """Return what a run says of some vessels after their review.

    Parameters
    ----------
    files : RunFiles
    vessel_ids : iterable of str
        Whose events count: a vessel, and the others of its batch.
    log : ReadLog
        Of the run, or of the events that a record names.
    catalogue : Catalogue or None
        None: the types that ship.

    Raises
    ------
    InvalidDataError
        If the run was written by another version, so that its figures cannot be made again.
    """
    wanted = frozenset(vessel_ids)
    events = tuple(one for one in log.events if one.target.vessel_id in wanted)
    if not events and not log.problems:
        return files
    known = {f"reviews/{one.name}": one for one in log.events}
    names = {name: digest for name, digest in log.sha256.items() if name not in known or known[name] in events}
    inputs = dict(sorted((names | dict(blobs_of(events))).items()))
    problems = (*log.problems, *lost_predecessors(events))
    if not events:
        return replace(files, problems=(*files.problems, *problems), reviews=inputs)
    run = ReviewedRun(
        scored_run(files.folder, files.record, files.vessels, files.fields_bytes),
        load_catalogue() if catalogue is None else catalogue,
        replace(log, events=events, problems=()),
    )
    after = run.figures()
    return replace(
        files,
        vessels=_vessels_after(files.vessels, wanted, run.original, after),
        problems=(*files.problems, *problems, *run.problems),
        reviews=inputs,
        overlay=_rows_after(run, after),
        reviewed_fields={key: one for key, one in after.fields.items() if one is not run.original.fields[key]},
        holds={name: said for name in wanted if (said := tuple(_holds(run.state.vessels.get(name, ()))))},
    )


def reviewed_fields(run: Path, catalogue: Catalogue) -> Mapping[str, ScoredField]:
    """Return by key the fields of a run that its review changed; none where nobody reviewed it.

    Raises
    ------
    InvalidDataError
        If the review cannot be relied on, or the run was written by another version.
    """
    if not (run / REVIEWS_NAME).is_dir():
        return {}
    opened = ReviewedRun.open(run, catalogue=catalogue)
    if opened.problems:
        raise InvalidDataError(f"{run}: its review cannot be relied on: {' '.join(opened.problems)}")
    return {key: one for key, one in opened.figures().fields.items() if one is not opened.original.fields[key]}


def lost_predecessors(events: Sequence[ReviewEvent]) -> Iterator[str]:
    """Say which events follow one that is not there."""
    known = {one.event_id for one in events}
    for event in events:
        for name in (event.follows or "").split():
            if name not in known:
                yield f"reviews/{event.name} follows an event that is not there any more ({name})."


def _holds(events: Sequence[ReviewEvent]) -> Iterator[str]:
    """Return who asked that a vessel be looked at again, unless that was settled since; clauses."""
    judged = [one for one in events if one.action in _HOLDS | _CLOSES_HOLD]
    last = {one.reviewer.name: one for one in judged[_after_last_settled(judged) :]}
    for name, event in sorted(last.items()):
        verb = "holds the vessel" if event.action == "held" else "rejected the vessel"
        said = ": ".join(part.strip() for part in (event.reason_code, event.reason) if part and part.strip())
        yield f"{name} {verb} ({said})"


def _after_last_settled(events: Sequence[ReviewEvent]) -> int:
    return max((i + 1 for i, one in enumerate(events) if one.action in _CLOSES_HOLD), default=0)


# --- fields ----------------------------------------------------------------------------------------------------------


def _rows_after(run: ReviewedRun, after: RunFigures) -> dict[str, Row]:
    """Return by key what of the row of a field is other than in fields.parquet."""
    return {key: dict(_changes(run, key, after.fields[key])) for key in run.state.fields}


def _changes(run: ReviewedRun, key: str, field: ScoredField) -> Iterator[tuple[str, Any]]:
    yield from (("status", field.score.status), ("reason", field.score.reason), ("flags", list(field.score.flags)))
    yield "is_accepted", field.is_accepted
    yield "review_doubts", field_doubts(run.state.of(key))


# --- vessels.json ----------------------------------------------------------------------------------------------------


def _vessels_after(content: Row, wanted: frozenset[str], before: RunFigures, after: RunFigures) -> Row:
    """Return vessels.json with the figures of what changed; all else as it was written."""
    vessels = [_vessel_after(one, before, after) if one["vessel_id"] in wanted else one for one in content["vessels"]]
    changed = {
        new.batch: _plain(asdict(new)) for old, new in zip(before.batches, after.batches, strict=True) if old != new
    }
    batches = [changed.get(one["batch"], one) for one in content["batches"]]
    return {**content, "vessels": vessels, "batches": batches}


def _vessel_after(written: Row, before: RunFigures, after: RunFigures) -> Row:
    name = str(written["vessel_id"])
    old, new = before.vessel(name), after.vessel(name)
    content = dict(written) if _whole(old) == _whole(new) else _plain(asdict(_whole(new)))
    was, now = before.characters, after.characters
    content["character"] = written["character"]
    if was.vessels.get(name) != now.vessels.get(name):
        content["character"] = _character(now.vessels.get(name))
    content["layers"] = []
    for layer, is_before, is_now in zip(written["layers"], old.layers, new.layers, strict=True):
        place = name, is_now.layer
        estimate = layer if is_before == is_now else _plain(asdict(is_now))
        character = layer["character"]
        if was.layers.get(place) != now.layers.get(place):
            character = _character(now.layers.get(place))
        content["layers"].append({**estimate, "character": character})
    return content


def _whole(vessel: VesselEstimate) -> VesselEstimate:
    return replace(vessel, layers=())


def _character(found: Any) -> dict[str, Any] | None:
    return None if found is None else _plain(asdict(found))


def _plain(content: dict[str, Any]) -> dict[str, Any]:
    """Return a record as it would be read from JSON: lists for tuples."""
    plain: dict[str, Any] = json.loads(json.dumps(content))
    return plain
