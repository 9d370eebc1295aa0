"""What a list shows of a decision record; records never change, so it is read out of each once."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from msc_vision.decision.explain import explain
from msc_vision.service.board.caches import Kept
from msc_vision.service.board.words import known_sentence, moment_of
from msc_vision.service.context import Service
from msc_vision.service.problems import ProblemError
from msc_vision.service.store.tables import decisions

MOST_DIGESTS = 5000
_AT_ONCE = 500
Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Digest:
    """A record in short.

    Attributes
    ----------
    reason : str
        Why it is not GO, in one sentence; or that all is met.
    n_reasons : int
    good_until : str or None
        When the scan becomes too old for the rule set, ISO 8601; None: never.
    is_trial : bool
    is_reviewed : bool
    """

    reason: str
    n_reasons: int
    good_until: str | None
    is_trial: bool
    is_reviewed: bool

    def has_lapsed(self, now: datetime) -> bool:
        """Tell whether the scan has become too old since."""
        limit = moment_of(self.good_until)
        return limit is not None and limit < now


def digest_of(record: Record, critical: frozenset[str] = frozenset()) -> Digest:
    """Return a record in short; ``critical`` are the ids of the criteria that ask for quarantine."""
    found = explain(record)
    limits = [one["limit"] for one in record["criteria"] if one["comparator"] == "no later than"]
    return Digest(
        reason=known_sentence(_worst(record, critical) or found.reasons[0]) if found.reasons else found.summary,
        n_reasons=len(found.reasons),
        good_until=min((one for one in limits if isinstance(one, str)), default=None),
        is_trial=record["quality"]["purpose"] == "trial" or record["quality"]["rule_set_status"] == "draft",
        is_reviewed=record["review"] is not None,
    )


def _worst(record: Record, critical: frozenset[str]) -> str | None:
    """Return why a vessel is to be set apart: what is critical, and not met or in doubt; None if it is not."""
    if record["recommended_action"] != "quarantine":
        return None
    messages = {(one["id"], one["layer"]): one["message"] for one in record["criteria"]}
    for one in record["quality"]["open"]:
        if one["criterion"] in critical and one["why"] in ("not met", "doubt"):
            return str(messages[one["criterion"], one["layer"]])
    return None


def critical_of(service: Service, sha256: str) -> frozenset[str]:
    """Return the critical criteria of a stored rule set; none if it is not there."""
    try:
        rules = service.rules.by_sha256(sha256)
    except ProblemError:
        return frozenset()
    return frozenset(one.id for one in rules.criteria if one.severity == "critical")


def read_digests(service: Service, kept: Kept[Digest], decision_ids: list[str]) -> dict[str, Digest]:
    """Return some decisions in short; only those that are not kept are read."""
    found = {name: digest for name in decision_ids if (digest := kept.find(name)) is not None}
    missing = [name for name in decision_ids if name not in found]
    if missing:
        for name, text, rule_set in service.store.read(lambda connection: _texts(connection, missing)):
            found[name] = kept.put(name, digest_of(json.loads(text), critical_of(service, rule_set)))
    return found


def _texts(connection: Connection, decision_ids: list[str]) -> list[tuple[str, str, str]]:
    """Return the records of some decisions and the sha256 of their rule sets, a part of them at a time."""
    found = []
    for start in range(0, len(decision_ids), _AT_ONCE):
        part = decision_ids[start : start + _AT_ONCE]
        query = select(decisions.c.decision_id, decisions.c.record, decisions.c.rule_set_sha256)
        rows = connection.execute(query.where(decisions.c.decision_id.in_(part)))
        found += [(row.decision_id, row.record, row.rule_set_sha256) for row in rows]
    return found
