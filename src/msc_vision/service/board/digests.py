"""What a list shows of a decision record; records never change, so it is read out of each once."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from msc_vision.decision.explain import explain
from msc_vision.service.board.caches import Kept
from msc_vision.service.board.words import known_sentence, moment_of
from msc_vision.service.store import Store
from msc_vision.service.store.tables import decisions

MOST_DIGESTS = 5000
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


def digest_of(record: Record) -> Digest:
    """Return a record in short."""
    found = explain(record)
    limits = [one["limit"] for one in record["criteria"] if one["comparator"] == "no later than"]
    return Digest(
        reason=known_sentence(found.reasons[0]) if found.reasons else found.summary,
        n_reasons=len(found.reasons),
        good_until=min((one for one in limits if isinstance(one, str)), default=None),
        is_trial=record["quality"]["purpose"] == "trial" or record["quality"]["rule_set_status"] == "draft",
        is_reviewed=record["review"] is not None,
    )


def read_digests(store: Store, kept: Kept[Digest], decision_ids: list[str]) -> dict[str, Digest]:
    """Return some decisions in short; only those that are not kept are read."""
    found = {name: digest for name in decision_ids if (digest := kept.find(name)) is not None}
    missing = [name for name in decision_ids if name not in found]
    if missing:
        for name, text in store.read(lambda connection: _texts(connection, missing)):
            found[name] = kept.put(name, digest_of(json.loads(text)))
    return found


def _texts(connection: Connection, decision_ids: list[str]) -> list[tuple[str, str]]:
    query = select(decisions.c.decision_id, decisions.c.record).where(decisions.c.decision_id.in_(decision_ids))
    return [(row.decision_id, row.record) for row in connection.execute(query)]
