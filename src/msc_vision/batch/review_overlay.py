"""What a review makes of the score of one field: a judgement, what was seen or dismissed, and what is still open."""

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from msc_vision.errors import InvalidDataError
from msc_vision.findings.contamination import SignName
from msc_vision.records import FieldScore
from msc_vision.review.events import ReviewEvent
from msc_vision.review.log import read_blob
from msc_vision.review.masks import FieldMasks
from msc_vision.review.state import FieldReview
from msc_vision.statistics.rollup import ScoredField

SIGNS: frozenset[str] = frozenset(get_args(SignName))
"""Kinds of findings that are visual signs of contamination; others are kept and shown, and change no figure."""
WHOLE_FIELD = "whole field"
"""What is dismissed of a field that is suspect without naming a place."""
_NEW_MASKS = frozenset({"proposal", "annotation"})
"""Tools whose masks stand by themselves, so that a field that the run could not score may have figures."""
NOT_MEASURED = "its masks were corrected; cover and counts follow, shapes and signs are those of before"


def reviewed_field(original: ScoredField, corrected: FieldScore, review: FieldReview) -> ScoredField:
    """Return a field as its layer counts it after a review; the original itself where nothing changes.

    Parameters
    ----------
    original : ScoredField
        As the run scored it.
    corrected : FieldScore
        The same, with the figures of its corrected masks.
    review : FieldReview
    """
    score = _with_findings(original.score, corrected, review)
    if review.standing in ("rejected", "re-image") and review.decided_by is not None:
        score = replace(score, status="rejected", reason=rejection_words(review.decided_by), confluency_percent=None)
    after = ScoredField(original.row, score, is_accepted=review.standing == "accepted")
    return original if after == original else after


def rejection_words(event: ReviewEvent) -> str:
    """Return why a reviewer put a field aside, as the reason of its score."""
    verb = "Rejected" if event.action == "rejected" else "To be imaged again: put aside"
    said = ": ".join(part.strip() for part in (event.reason_code, event.reason) if part and part.strip())
    return f"{verb} by {event.reviewer.name}: {said}"


def field_doubts(review: FieldReview) -> tuple[str, ...]:
    """Return why a person has to look at a field again; clauses."""
    return tuple(_doubts(review))


def _doubts(review: FieldReview) -> Iterator[str]:
    if review.is_disputed:
        judged = [one for one in review.events if one.action in ("accepted", "rejected", "re-image", "reopened")]
        last = {one.reviewer.name: one.action for one in judged}
        said = ", ".join(f"{name} said {action}" for name, action in sorted(last.items()))
        yield f"people judged it differently without knowing of each other ({said})"
    if review.needs_measuring:
        yield NOT_MEASURED


# --- visual signs ----------------------------------------------------------------------------------------------------


def _with_findings(original: FieldScore, corrected: FieldScore, review: FieldReview) -> FieldScore:
    """Return a score with the signs that are left: only a dismissal of every place silences a suspicion."""
    is_marked = any(_kind(one) in SIGNS for one in review.findings if one.action == "finding-added")
    if not is_marked and "suspect" not in (original.contamination, corrected.contamination):
        return corrected
    found = dict.fromkeys(_places(original) + _places(corrected), "")
    closed: dict[str, ReviewEvent] = {}
    for event in review.findings:
        place = finding_place(event)
        if event.action == "finding-dismissed":
            if place in found:
                closed[place] = event
        elif _kind(event) in SIGNS:
            found[place] = f"{_kind(event)} marked by {event.reviewer.name}{_told(event.reason)}"
            closed.pop(place, None)
    is_open = [place for place in found if place not in closed]
    if is_open:
        marked = "; ".join(note for place in is_open if (note := found[place]))
        note = " ".join(one for one in (_suspicion(original, corrected), f"{marked}." if marked else "") if one)
        places = tuple(place for place in is_open if place != WHOLE_FIELD)
        return replace(corrected, contamination="suspect", contamination_places=places, contamination_note=note or None)
    last = [closed[place] for place in found]
    return replace(
        corrected, contamination="no visual sign", contamination_places=(), contamination_note=_dismissal(last)
    )


def _suspicion(original: FieldScore, corrected: FieldScore) -> str:
    """Return what was said of the sign that the pictures showed."""
    known = next((one for one in (corrected, original) if one.contamination == "suspect"), None)
    return (known.contamination_note or "") if known is not None else ""


def _dismissal(events: Sequence[ReviewEvent]) -> str:
    said = ", ".join(dict.fromkeys(f"{one.reviewer.name} ({_reason(one)})" for one in events))
    if len(events) == 1:
        return f"The place that looked suspect was dismissed by {said}."
    return f"The {len(events)} places that looked suspect were dismissed by {said}."


def _reason(event: ReviewEvent) -> str:
    return ": ".join(part.strip() for part in (event.reason_code, event.reason) if part and part.strip())


def _told(text: str | None) -> str:
    return f" ({text.strip()})" if text and text.strip() else ""


def _places(score: FieldScore) -> tuple[str, ...]:
    if score.contamination != "suspect":
        return ()
    return score.contamination_places or (WHOLE_FIELD,)


def _kind(event: ReviewEvent) -> str:
    return str((event.after or {}).get("kind", ""))


def finding_place(event: ReviewEvent) -> str:
    """Return the place that a finding is about, as in ``contamination_places``."""
    said = event.before if event.action == "finding-dismissed" else event.after
    return str((said or {}).get("place") or WHOLE_FIELD)


# --- measured figures ------------------------------------------------------------------------------------------------


def measured_content(masks: FieldMasks, score: FieldScore, objects: tuple[str, str] | None = None) -> dict[str, Any]:
    """Return what an event ``measured`` keeps as ``after``.

    Parameters
    ----------
    masks : FieldMasks
        That were measured.
    score : FieldScore
    objects : (str, str), optional
        Name and sha256 of the file with the table of objects, as `save_blob` returns them.
    """
    name, digest = objects or (None, None)
    return {
        "masks_sha256": masks.sha256,
        "score": score_content(score),
        "objects": name,
        "objects_sha256": digest,
    }


def objects_bytes(objects: NDArray[np.void]) -> bytes:
    """Return a table of objects as Parquet, with the columns that ``objects.parquet`` has."""
    columns = {name: pa.array(np.ascontiguousarray(objects[name])) for name in objects.dtype.names or ()}
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), buffer, version="2.6", compression="zstd")
    return bytes(buffer.getvalue())


def measured_objects(run: Path, event: ReviewEvent) -> pa.Table | None:
    """Return the table of objects that an event ``measured`` speaks of, None if it speaks of none.

    Raises
    ------
    InvalidDataError
        If it is missing or was altered.
    """
    after = event.after or {}
    if after.get("objects") is None:
        return None
    content = read_blob(run, str(after["objects"]), str(after.get("objects_sha256")))
    try:
        return pq.ParquetFile(pa.BufferReader(content)).read()
    except (OSError, pa.ArrowException) as err:
        raise InvalidDataError(f"{run / str(after['objects'])}: cannot be read as Parquet ({err}).") from err


def score_content(score: FieldScore) -> dict[str, Any]:
    """Return a score as plain JSON values; figures that are no numbers are left out, as those not measured are."""
    content: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(score), default=lambda value: value.item()))
    for group in ("quality", "morphology", "findings"):
        content[group] = {name: value for name, value in content[group].items() if math.isfinite(value)}
    return content


def measured_score(event: ReviewEvent) -> FieldScore:
    """Return the score that an event ``measured`` keeps.

    Raises
    ------
    InvalidDataError
        If it holds none.
    """
    content = (event.after or {}).get("score")
    if not isinstance(content, Mapping):
        raise InvalidDataError(f"Event {event.event_id} says it measured the field, but holds no score.")
    try:
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in content.items()
        }
        return FieldScore(**values)
    except TypeError as err:
        raise InvalidDataError(f"Event {event.event_id} holds no score of this version ({err}).") from err


def measured_base(original: FieldScore, review: FieldReview) -> FieldScore:
    """Return the last measured score of a field, before what was said of it; errors as `measured_score`.

    A field that the run could not score has one only from masks that were made for it anew.
    """
    if review.measured is None:
        return original
    if original.status != "scored" and not any((one.after or {}).get("tool") in _NEW_MASKS for one in review.edits):
        return original
    return measured_score(review.measured)
