"""One record: all that is in it, who said what of it, and why it may or may not be signed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from msc_vision.decision.explain import explain
from msc_vision.decision.record import check_record
from msc_vision.review.reasons import reasons_for
from msc_vision.service.access import Signature, list_signatures
from msc_vision.service.access.signatures import LAST_ROLE
from msc_vision.service.actions.reading import not_there
from msc_vision.service.board.criteria import CriterionRow, Doubt, criterion_rows, doubts_of
from msc_vision.service.board.digests import digest_of
from msc_vision.service.board.overview import sign_of
from msc_vision.service.board.session import Viewer
from msc_vision.service.board.words import (
    Sign,
    exact,
    passage_words,
    plain_action,
    who_is,
)
from msc_vision.service.context import Service
from msc_vision.service.queries import decision_row, rows_of
from msc_vision.service.store.tables import reviews

REASON_CODES = tuple((one.code, one.words) for one in reasons_for("settled"))
"""Codes that the board offers; a service may send others."""


@dataclass(frozen=True, slots=True)
class Said:
    """A review of this record, or the one that led to it."""

    who: str
    at: str
    action: str
    code: str
    reason: str
    settles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature as it is shown."""

    printed_name: str
    username: str
    at: str
    meaning: str
    position: int


@dataclass(frozen=True, slots=True)
class RecordView:
    """All that the page of a record shows. ``no_sign`` and ``no_review`` say why there is no form; None: there is."""

    record: Mapping[str, Any]
    passage_words: str
    sign: Sign
    action: str
    summary: str
    reasons: tuple[str, ...]
    changes: tuple[str, ...]
    criteria: tuple[CriterionRow, ...]
    doubts: tuple[Doubt, ...]
    is_trial: bool
    created_at: str
    created_by: str
    superseded_by: str | None
    review: Said | None
    reviews: tuple[Said, ...]
    signatures: tuple[Signed, ...]
    n_needed: int
    is_whole: str | None
    no_sign: str | None
    no_review: str | None
    meanings: tuple[str, ...]
    metrics: tuple[tuple[str, str], ...]
    quality: tuple[tuple[str, str], ...]


def read_record(service: Service, viewer: Viewer, decision_id: str) -> RecordView:
    """Return what the page of a record shows.

    Raises
    ------
    ProblemError
        ``not-found``.
    """
    row, signed, reviewed = service.store.read(lambda connection: _read(connection, decision_id))
    record = json.loads(row["record"])
    found, digest = explain(record), digest_of(record)
    complaints = check_record(record)
    return RecordView(
        record=record,
        passage_words=passage_words(row["batch"], row["passage"]),
        sign=sign_of(record, digest),
        action=plain_action(record["recommended_action"]),
        summary=found.summary,
        reasons=found.reasons,
        changes=found.changes,
        criteria=criterion_rows(record),
        doubts=doubts_of(record),
        is_trial=digest.is_trial,
        created_at=exact(record["created_at"]),
        created_by=who_is(row["created_by"]),
        superseded_by=row["superseded_by"],
        review=None if record["review"] is None else _said_in_record(record["review"]),
        reviews=tuple(_said(one) for one in reviewed),
        signatures=tuple(_signed(one) for one in signed),
        n_needed=service.settings.n_signatures,
        is_whole=None if not complaints else complaints[0].message,
        no_sign=_why_no_signature(row, signed, viewer, service),
        no_review=_why_no_review(row, viewer),
        meanings=service.access.settings.meanings,
        metrics=_pairs(record["metrics"]),
        quality=_pairs({name: one for name, one in record["quality"].items() if name != "open"}),
    )


def _read(
    connection: Connection, decision_id: str
) -> tuple[dict[str, Any], tuple[Signature, ...], list[dict[str, Any]]]:
    row = decision_row(connection, decision_id)
    if row is None:
        raise not_there("record", decision_id)
    query = select(reviews).where(reviews.c.decision_id == decision_id).order_by(reviews.c.seq)
    return row, list_signatures(connection, decision_id), rows_of(connection, query)


def _said(row: Mapping[str, Any]) -> Said:
    settles = json.loads(row["content"]).get("settles", [])
    code, reason = row["reason_code"] or "", row["reason"] or ""
    return Said(who_is(row["who"]), exact(row["at"]), row["action"], code, reason, _told(settles))


def _said_in_record(one: Mapping[str, Any]) -> Said:
    settles = _told(one["settles"])
    return Said(one["reviewer"], exact(one["at"]), one["action"], one["reason_code"], one["reason"], settles)


def _told(settles: list[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(f"{one['criterion']}{_place(one['layer'])}: {one['outcome']}" for one in settles)


def _place(layer: int | None) -> str:
    return "" if layer is None else f" on layer {layer}"


def _signed(one: Signature) -> Signed:
    return Signed(one.printed_name, one.username, exact(one.signed_at), one.meaning, one.position)


def _why_no_signature(
    row: Mapping[str, Any], signed: tuple[Signature, ...], viewer: Viewer, service: Service
) -> str | None:
    """Return why this person cannot sign this record now; the store decides again when somebody does."""
    n_needed = service.settings.n_signatures
    is_last = len(signed) + 1 == n_needed
    has_signed = any(one.username == viewer.person.username for one in signed)
    status = row["rule_set_status"]
    reasons = (
        (row["superseded_by"] is not None, "It was superseded: sign the record that replaced it."),
        (status != "approved", f"It was made with a {status} rule set; only records of approved ones are signed."),
        (len(signed) >= n_needed, "It has all its signatures."),
        (not viewer.can("sign"), "Signing takes the role reviewer or approver, which you do not have."),
        (has_signed, "You have signed it; the second signature is another person's."),
        (
            is_last and LAST_ROLE not in viewer.person.roles,
            f"The last signature takes the role {LAST_ROLE}, which you do not have.",
        ),
    )
    return next((reason for is_so, reason in reasons if is_so), None)


def _why_no_review(row: Mapping[str, Any], viewer: Viewer) -> str | None:
    if row["superseded_by"] is not None:
        return "It was superseded: review the record that replaced it."
    if not viewer.can("review"):
        return "Reviewing takes the role reviewer or approver, which you do not have."
    return None


def _pairs(content: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return names and values as a reader takes them: what is not known is said."""
    return tuple((name.replace("_", " "), _value(one)) for name, one in sorted(content.items()))


def _value(value: Any) -> str:
    if value is None:
        return "not known"
    if isinstance(value, list | Mapping) and not value:
        return "none"
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {_value(one)}" for name, one in value.items())
    if isinstance(value, list):
        return ", ".join(_value(one) for one in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
