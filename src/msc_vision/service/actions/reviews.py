"""Reviews: what a person says of a decision, and the decision that comes of it."""

import json
import secrets
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from msc_vision.batch.replay import request_of
from msc_vision.decision.judgement import Review, Settlement
from msc_vision.service.actions.decisions import (
    Made,
    count,
    find_scan,
    in_worker,
    make_record,
    store_decision,
    summary,
)
from msc_vision.service.actions.reading import PageAsk, newest_page, not_there
from msc_vision.service.context import Caller, Service
from msc_vision.service.cursors import Page
from msc_vision.service.idempotency import Answer, Once, answered_before, write_once
from msc_vision.service.problems import ProblemError
from msc_vision.service.queries import decision_row, results_of_reviews
from msc_vision.service.schemas import ReviewAsk
from msc_vision.service.store import Transaction, canonical_json, utc_text
from msc_vision.service.store.tables import reviews
from msc_vision.service.views import review_view
from msc_vision.service.webhooks import announce

WHAT = "review decision"


async def review(
    service: Service, caller: Caller, decision_id: str, asked: ReviewAsk, once: Once | None = None
) -> Answer:
    """Store what a person says of a decision, and the new decision that supersedes it.

    Evidence, rule set and expectations are those of the reviewed decision; only the review and the hour are new.

    Raises
    ------
    ForbiddenError
        Without the scope ``review``.
    ProblemError
        ``not-found``, ``conflict``: it was superseded meanwhile; ``not-valid``: settles nothing.
    """
    service.require(caller, "review", WHAT)
    _check_settles(asked)
    earlier = await answered_before(service, caller, once)
    if earlier is not None:
        return earlier

    def make() -> Made:
        row = service.store.read(lambda connection: _reviewed_row(connection, decision_id))
        said = _as_library(service, caller, asked)
        request = replace(
            request_of(json.loads(row["record"])), as_of=service.clock(), supersedes=decision_id, review=said
        )
        scan = service.store.read(lambda connection: find_scan(connection, row["vessel_id"], row["run_id"]))
        return make_record(service, scan, service.rules.by_sha256(row["rule_set_sha256"]), request)

    made = await in_worker(service, make)
    answer = await write_once(service, caller, once, lambda tx: _store(tx, made, decision_id, asked, caller))
    count(service, made, answer)
    return answer


def _check_settles(asked: ReviewAsk) -> None:
    if (asked.action == "settle") != bool(asked.settles):
        raise ProblemError("not-valid", "`settle` names what it settles; `hold` and `reject` settle nothing.")


def _reviewed_row(connection: Connection, decision_id: str) -> dict[str, Any]:
    row = decision_row(connection, decision_id)
    if row is None:
        raise not_there("decision", decision_id)
    if row["superseded_by"] is not None:
        raise ProblemError("conflict", f"The decision was superseded by {row['superseded_by']}; review that one.")
    return row


def _as_library(service: Service, caller: Caller, asked: ReviewAsk) -> Review:
    return Review(
        reviewer=caller.principal.name,
        at=utc_text(service.clock()),
        action=asked.action,
        reason_code=asked.reason_code,
        reason=asked.reason,
        settles=tuple(Settlement(one.criterion, one.layer, one.outcome) for one in asked.settles),
    )


def _store(tx: Transaction, made: Made, decision_id: str, asked: ReviewAsk, caller: Caller) -> Answer:
    event_id = f"e{secrets.token_hex(12)}"
    row = {
        "event_id": event_id,
        "decision_id": decision_id,
        "vessel_id": made.record["context"]["vessel_id"],
        "run_id": made.record["context"]["run_id"],
        "who": caller.who,
        "at": made.record["review"]["at"],
        "action": asked.action,
        "reason_code": asked.reason_code,
        "reason": asked.reason,
        "content": canonical_json(asked.model_dump(mode="json")),
    }
    tx.insert(reviews, row, who=caller.who, what=WHAT, why=asked.reason)
    announce(tx, "review.created", {"event_id": event_id, "action": asked.action, **summary(made.record)})
    return store_decision(tx, made, caller.who, why=f"{asked.action}: {asked.reason}")


async def listed(
    service: Service, caller: Caller, decision_id: str | None, vessel_id: str | None, asked: PageAsk
) -> Page:
    """Return a page of reviews, the newest first."""
    service.require(caller, "read", "list reviews")
    filters = {"decision_id": decision_id, "vessel_id": vessel_id}
    page = await newest_page(service, reviews, asked, dict, filters)
    of_decisions = [one["decision_id"] for one in page.items]
    results = await service.store.read_async(lambda connection: results_of_reviews(connection, of_decisions))
    return Page(tuple(review_view(one, results.get(one["decision_id"])) for one in page.items), page.next)
