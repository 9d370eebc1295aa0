"""Rows of the store as answers show them."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from msc_vision.service.access import Key, Person, Signature
from msc_vision.service.jobs import Progress
from msc_vision.service.rule_library import Known

Row = Mapping[str, Any]
_VESSEL = (
    *("vessel_id", "vessel_type", "batch", "passage", "acquired_to"),
    *("confluency_percent", "confluency_low_percent", "confluency_high_percent", "layers_total", "layers_measured"),
)
_RUN = (
    "run_id",
    "path",
    "state",
    "record_sha256",
    "registered_at",
    "registered_by",
    "finished_at",
    "software",
    "model_id",
)
_JOB = (
    *("job_id", "folder", "state", "fields_total", "fields_done", "fields_failed", "message", "run_id"),
    *("requested_by", "created_at", "started_at", "finished_at"),
)
_DECISION = (
    *("decision_id", "created_at", "vessel_id", "vessel_type", "batch", "passage", "run_id", "rule_set_status"),
    *("verdict", "recommended_action", "created_by", "supersedes"),
)
_REVIEW = ("event_id", "decision_id", "vessel_id", "who", "at", "action", "reason_code", "reason")
_SIGNATURE = (
    *("signature_id", "decision_id", "record_sha256", "username", "printed_name"),
    *("signed_at", "meaning", "position"),
)
_AUDIT = ("seq", "at", "who", "what", "target", "target_id", "why", "row_sha256", "previous_sha256", "sha256")
_WEBHOOK = ("webhook_id", "url", "created_at", "created_by", "deactivated_at")
_DELIVERY = (
    *("delivery_id", "webhook_id", "event", "state", "attempts", "created_at", "next_attempt_at"),
    *("finished_at", "message"),
)
_PERSON = (*("person_id", "username", "printed_name", "roles", "created_at", "password_changed_at", "deactivated_at"),)


def _some(row: Row, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: row[name] for name in names}


def run_view(row: Row, vessels: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a run with its vessels."""
    return {**_some(row, _RUN), "vessels": vessels}


def run_vessel_view(row: Row) -> dict[str, Any]:
    """Return a vessel of a run."""
    return _some(row, _VESSEL)


def vessel_view(row: Row, decision: dict[str, Any] | None) -> dict[str, Any]:
    """Return a vessel of its latest run, with its current decision."""
    return {**_some(row, _VESSEL), "run_id": row["run_id"], "decision": decision}


def job_view(row: Row, progress: Progress | None = None) -> dict[str, Any]:
    """Return a job; of one that runs, ``progress`` is how far it is now."""
    arguments = json.loads(row["arguments"])
    view = {
        **_some(row, _JOB),
        "vessel_type": arguments.get("vessel_type"),
        "pipeline": arguments.get("pipeline") or "default",
    }
    if progress is not None:
        view |= {"fields_total": progress.n_total, "fields_done": progress.n_done, "fields_failed": progress.n_failed}
    return view


def decision_view(row: Row) -> dict[str, Any]:
    """Return a decision of a list; the row has ``superseded_by`` and ``n_signatures`` too."""
    view = _some(row, _DECISION)
    view["rule_set"] = f"{row['rule_set_id']}@{row['rule_set_version']}"
    view["superseded_by"] = row["superseded_by"]
    view["n_signatures"] = row["n_signatures"]
    return view


def review_view(row: Row, superseded_by: str | None) -> dict[str, Any]:
    """Return a review."""
    settles = json.loads(row["content"]).get("settles", [])
    return {**_some(row, _REVIEW), "superseded_by": superseded_by, "settles": settles}


def signature_view(row: Row | Signature, n_needed: int) -> dict[str, Any]:
    """Return a signature; with the last one needed it is complete."""
    values = asdict(row) if isinstance(row, Signature) else row
    return {**_some(values, _SIGNATURE), "is_complete": values["position"] >= n_needed}


def rule_set_view(known: Known) -> dict[str, Any]:
    """Return a rule set of a list."""
    rules = known.rules
    return {
        "id": rules.id,
        "version": rules.version,
        "status": rules.status,
        "title": rules.title,
        "sha256": rules.sha256,
        "origin": known.origin,
        "n_criteria": len(rules.criteria),
    }


def audit_view(row: Row) -> dict[str, Any]:
    """Return an entry of the audit log."""
    return _some(row, _AUDIT)


def webhook_view(row: Row) -> dict[str, Any]:
    """Return a webhook without its secret."""
    return {**_some(row, _WEBHOOK), "events": json.loads(row["events"])}


def delivery_view(row: Row) -> dict[str, Any]:
    """Return a delivery."""
    return _some(row, _DELIVERY)


def person_view(person: Person) -> dict[str, Any]:
    """Return a person without the password."""
    return {**_some(asdict(person), _PERSON), "roles": list(person.roles)}


def key_view(key: Key) -> dict[str, Any]:
    """Return a key without its secret."""
    return {**asdict(key), "scopes": list(key.scopes)}
