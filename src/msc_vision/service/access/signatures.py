"""Signatures: of a named person who has just given their password, with a meaning, bound to one record's bytes."""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from msc_vision.service.access.errors import SignatureRefusedError
from msc_vision.service.access.people import Person
from msc_vision.service.access.settings import AccessSettings
from msc_vision.service.store import Transaction, row_sha256, text_sha256, utc_text
from msc_vision.service.store.tables import audit, decisions, people, signatures

LAST_ROLE = "approver"
WHAT = "sign decision"


@dataclass(frozen=True, slots=True)
class SignatureRequest:
    """What somebody wants to sign: a decision, by the sha256 of the record that they saw."""

    decision_id: str
    record_sha256: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature as kept."""

    signature_id: str
    decision_id: str
    record_sha256: str
    document_sha256: str
    username: str
    printed_name: str
    signed_at: str
    meaning: str
    position: int

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Signature":
        """Return the signature of a stored row."""
        return cls(**{name: row[name] for name in cls.__dataclass_fields__})


def list_signatures(connection: Connection, decision_id: str) -> tuple[Signature, ...]:
    """Return the signatures of a decision, first one first."""
    query = select(signatures).where(signatures.c.decision_id == decision_id).order_by(signatures.c.position)
    return tuple(Signature.of(dict(row._mapping)) for row in connection.execute(query))


def sign(transaction: Transaction, request: SignatureRequest, person: Person, settings: AccessSettings) -> Signature:
    """Sign a decision for a person whose password was checked just before (`Access.sign` does both).

    Raises
    ------
    NotFoundError
        If there is no such decision.
    SignatureRefusedError
        If the decision was superseded, was made with draft rules, was altered, is not what the person saw, or has its
        signatures; or if this person may not sign, has signed, or is not the one who signs last.
    """
    decision = transaction.row(decisions, request.decision_id)
    earlier = list_signatures(transaction.connection, request.decision_id)
    now = _as_stored(transaction, person)
    reason = (
        _reason_against_decision(transaction, decision, request)
        or _reason_against_person(now, earlier, settings)
        or _reason_against_meaning(request, settings)
    )
    if reason is not None:
        raise SignatureRefusedError(
            reason, who=person.principal.who, what=WHAT, target="decisions", target_id=request.decision_id
        )
    row = {
        "signature_id": f"s{secrets.token_hex(12)}",
        "decision_id": request.decision_id,
        "record_sha256": decision["record_sha256"],
        "document_sha256": decision["document_sha256"],
        "person_id": now.person_id,
        "username": now.username,
        "printed_name": now.printed_name,
        "signed_at": utc_text(),
        "meaning": request.meaning,
        "position": len(earlier) + 1,
    }
    return Signature.of(transaction.insert(signatures, row, who=now.principal.who, what=WHAT, why=request.meaning))


def _as_stored(transaction: Transaction, person: Person) -> Person:
    """Return the person as they are in this transaction: roles may have gone since the password was checked."""
    return Person.of(transaction.row(people, person.person_id))


def _reason_against_decision(
    transaction: Transaction, decision: Mapping[str, Any], request: SignatureRequest
) -> str | None:
    if decision["record_sha256"] != request.record_sha256:
        return "The record is not the one that was shown: its sha256 differs. Read it again, then sign."
    if not _is_unaltered(transaction, decision):
        return "The stored record does not fit its sha256: it was altered. Run `msc-vision store verify`."
    if decision["rule_set_status"] != "approved":
        return f"The decision was made with a {decision['rule_set_status']} rule set; only approved ones are signed."
    query = select(decisions.c.decision_id).where(decisions.c.supersedes == decision["decision_id"])
    later = transaction.connection.scalar(query)
    return f"The decision was superseded by {later}; sign that one." if later is not None else None


def _is_unaltered(transaction: Transaction, decision: Mapping[str, Any]) -> bool:
    """Tell whether the document is the one that was logged when the decision was made."""
    if text_sha256(decision["record"]) != decision["document_sha256"]:
        return False
    document = json.loads(decision["record"])
    if any(document.get(name) != decision[name] for name in ("decision_id", "record_sha256", "verdict")):
        return False
    logged = transaction.connection.scalar(select(audit.c.row_sha256).where(audit.c.seq == decision["seq"]))
    return bool(logged == row_sha256(decision))


def _reason_against_person(person: Person, earlier: Sequence[Signature], settings: AccessSettings) -> str | None:
    if not person.is_active or not person.principal.can("sign"):
        return f"{person.printed_name} may not sign; that takes the role reviewer or approver."
    if len(earlier) >= settings.n_signatures:
        return f"The decision is signed already, by {' and '.join(each.printed_name for each in earlier)}."
    if any(each.username == person.username for each in earlier):
        return f"{person.printed_name} has signed already; the second signature is another person's."
    if len(earlier) + 1 == settings.n_signatures and LAST_ROLE not in person.roles:
        return f"The last signature takes the role {LAST_ROLE}."
    return None


def _reason_against_meaning(request: SignatureRequest, settings: AccessSettings) -> str | None:
    if request.meaning in settings.meanings:
        return None
    return f"A signature means one of {', '.join(settings.meanings)}; got {request.meaning[:80]!r}."
