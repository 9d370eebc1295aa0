"""Decision records: what was judged, by what, on what evidence, as one JSON object that carries its own hashes.

A record is canonical JSON (RFC 8785): figures have at most four decimals, so that any language writes them alike.
``record_sha256`` covers what was judged, so that the same inputs judged again give the same; ``decision_id`` is from
the sha256 of the whole document, so that no byte of it can change unseen.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import jsonschema

from msc_vision import __version__
from msc_vision.decision.actions import recommend
from msc_vision.decision.canonical import canonical_text, plain, plain_number, sha256_of, text_of_parts
from msc_vision.decision.evidence import Evidence
from msc_vision.decision.judgement import Judgement, Request, Result, judge, shown_probability, utc
from msc_vision.decision.rules import RuleSet
from msc_vision.errors import InvalidDataError
from msc_vision.records import Complaint

SCHEMA_VERSION = 1
ID_DIGITS = 32
MEANINGS = ("review", "approval", "responsibility", "authorship")
"""What a signature may mean: the examples of 21 CFR 11.50(a)(3)."""


@dataclass(frozen=True, slots=True)
class SealedRecord:
    """A record with its hashes, and its canonical JSON."""

    record: dict[str, Any]
    text: str


def decision_record(evidence: Evidence, rules: RuleSet, request: Request) -> dict[str, Any]:
    """Judge one vessel and return the record of it.

    Raises
    ------
    InvalidArgumentError
        As `judge`.
    """
    return sealed_record(evidence, rules, request).record


def sealed_record(evidence: Evidence, rules: RuleSet, request: Request) -> SealedRecord:
    """Judge one vessel and return the record of it, with the text that is stored and sent.

    Raises
    ------
    InvalidArgumentError
        As `judge`.
    """
    judgement = judge(evidence, rules, request)
    action = recommend(evidence, rules, judgement, request.as_of)
    record: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "decision_id": None,
        "created_at": utc(request.as_of),
        "context": _context(evidence, request),
        "verdict": judgement.verdict,
        "recommended_action": action.text,
        "criteria": [_criterion(one) for one in judgement.results],
        "metrics": evidence.metrics,
        "coverage": _coverage(evidence),
        "quality": _quality(evidence, rules, request, judgement),
        "provenance": _provenance(evidence, rules),
        "review": None if request.review is None else plain(asdict(request.review)),
        "record_sha256": None,
        "supersedes": request.supersedes,
        "signature": None,
    }
    return _sealed(record)


def _sealed(record: dict[str, Any]) -> SealedRecord:
    """Return a record with its hashes; every part is written once."""
    parts = _parts(record)
    record["record_sha256"] = _judged_sha256(record, parts)
    parts["record_sha256"] = canonical_text(record["record_sha256"])
    record["decision_id"] = _id_of(parts)
    parts["decision_id"] = canonical_text(record["decision_id"])
    return SealedRecord(record, text_of_parts(parts))


def _context(evidence: Evidence, request: Request) -> dict[str, Any]:
    return {
        "vessel_id": evidence.vessel_id,
        "vessel_type": evidence.vessel_type,
        "batch": evidence.batch,
        "passage": evidence.passage,
        "supervisory_job_id": request.supervisory_job_id,
        "supervisory_task_id": request.supervisory_task_id,
        "run_id": evidence.run_id,
    }


def _criterion(one: Result) -> dict[str, Any]:
    interval = one.interval if one.interval is not None and all(math.isfinite(end) for end in one.interval) else None
    return {
        "id": one.id,
        "outcome": one.outcome,
        "observed": _shown(one.observed),
        "interval": None if interval is None else [plain_number(interval[0]), plain_number(interval[1])],
        "unit": one.unit,
        "limit": plain(one.limit),
        "comparator": one.comparator,
        "layer": one.layer,
        "probability": None if one.probability is None else plain_number(shown_probability(one.probability)),
        "source": one.source,
        "message": one.message,
    }


def _shown(observed: float | str | None) -> float | str | None:
    return plain_number(observed) if isinstance(observed, float) else observed


def _coverage(evidence: Evidence) -> dict[str, int]:
    states = evidence.layer_states
    return {
        "layers_total": len(states),
        "measured": sum(state.startswith("measured") for state in states),
        "inferred": states.count("inferred"),
        "unobservable": states.count("unobservable"),
        "failed": states.count("missing"),
    }


def _quality(evidence: Evidence, rules: RuleSet, request: Request, judgement: Judgement) -> dict[str, Any]:
    return {
        **evidence.quality,
        "purpose": request.purpose,
        "expected": {name: getattr(request, name) for name in ("vessel_type", "batch", "passage")},
        "rule_set_status": rules.status,
        "open": _open(judgement),
    }


def _open(judgement: Judgement) -> list[dict[str, Any]]:
    """Return what keeps the verdict from GO, and why: the worst first."""
    order = {"not met": 0, "missing": 1, "weak": 2, "doubt": 3}
    found = [(one.cause or one.outcome, one) for one in judgement.results if one.outcome != "met"]
    severities = {"critical": 0, "major": 1, "minor": 2}
    found.sort(key=lambda pair: (order[pair[0]], severities[pair[1].severity]))
    return [{"criterion": one.id, "layer": one.layer, "why": why, "side": one.side} for why, one in found]


def _provenance(evidence: Evidence, rules: RuleSet) -> dict[str, Any]:
    return {
        "software": {"name": "msc-vision", "version": __version__, "scored_with": evidence.software},
        "rule_set": {"id": rules.id, "version": rules.version, "sha256": rules.sha256},
        "model": {"id": evidence.model_id, "sha256": evidence.model_sha256},
        "settings_sha256": evidence.settings_sha256,
        "inputs": [asdict(one) for one in evidence.inputs],
        "environment": evidence.environment,
    }


# --- hashes ----------------------------------------------------------------------------------------------------------


def record_text(record: Mapping[str, Any]) -> str:
    """Return a record as it is stored, sent and hashed: canonical JSON."""
    return canonical_text(record)


def record_sha256(record: Mapping[str, Any]) -> str:
    """Return the sha256 of what was judged.

    Left out is what differs between two judgements of the same: when and in which run folder and environment it was
    done, the signature, and the hashes.
    """
    return _judged_sha256(record, _parts(record))


def decision_id(record: Mapping[str, Any]) -> str:
    """Return the id of a record: the first digits of the sha256 of all of it but its signature."""
    return _id_of(_parts(record))


def _parts(record: Mapping[str, Any]) -> dict[str, str]:
    return {name: canonical_text(value) for name, value in record.items()}


def _judged_sha256(record: Mapping[str, Any], parts: Mapping[str, str]) -> str:
    context = {name: value for name, value in record["context"].items() if name != "run_id"}
    provenance = {name: value for name, value in record["provenance"].items() if name != "environment"}
    judged = {**parts, "context": canonical_text(context), "provenance": canonical_text(provenance)}
    return sha256_of(text_of_parts(judged, ("decision_id", "record_sha256", "created_at", "signature")))


def _id_of(parts: Mapping[str, str]) -> str:
    return sha256_of(text_of_parts(parts, ("decision_id", "signature")))[:ID_DIGITS]


def parse_record(text: str | bytes) -> dict[str, Any]:
    """Return the record in a text.

    Raises
    ------
    InvalidDataError
        If it is not one, or was altered.
    """
    try:
        record = json.loads(text)
    except ValueError as err:
        raise InvalidDataError(f"No decision record: it is no JSON ({err}).") from err
    complaints = check_record(record)
    if complaints:
        raise InvalidDataError(f"No whole decision record: {complaints[0].message}")
    found: dict[str, Any] = record
    return found


def check_record(record: object) -> tuple[Complaint, ...]:
    """Return what is wrong with a record: its form, or that it was altered since it was made."""
    found = [
        Complaint("error", f"{error.json_path}: {error.message[:200]}") for error in _validator().iter_errors(record)
    ]
    if found or not isinstance(record, dict):
        return tuple(found)
    if record["record_sha256"] != record_sha256(record):
        found.append(Complaint("error", "What was judged was altered: it does not have its record_sha256."))
    if record["decision_id"] != decision_id(record):
        found.append(Complaint("error", "The record was altered: its content does not have its decision_id."))
    return tuple(found)


def record_schema() -> dict[str, Any]:
    """Return the JSON Schema of decision records."""
    text = files("msc_vision.decision").joinpath("data/decision.schema.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


@cache
def _validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(record_schema())
