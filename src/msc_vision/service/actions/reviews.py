"""Reviews: what a person says of a decision, and the decision that comes of it."""

import json
import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from msc_vision.decision.judgement import Request, Review, Settlement
from msc_vision.service.actions.decisions import (
    Expected,
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
from msc_vision.service.idempotency import Answer, Once, write_once
from msc_vision.service.problems import ProblemError
from msc_vision.service.queries import asked_of, decision_row, results_of_reviews
from msc_vision.service.schemas import ReviewAsk
from msc_vision.service.store import Transaction, canonical_json, utc_text
from msc_vision.service.store.tables import reviews
from msc_vision.service.views import review_view
from msc_vision.service.webhooks import announce

WHAT = "review decision"


@dataclass(frozen=True, slots=True)
class _Earlier:
    """The decision that is reviewed, and what it was asked with."""

    row: dict[str, Any]
    expected: Expected

    @property
    def record(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.row["record"])
        return found


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
        ``not-found``, ``conflict``: it was superseded meanwhile; ``not-valid``: settles nothing, or what needs no person.
    """
    service.require(caller, "review", WHAT)
    _check_settles(asked)

    def make() -> Made:
        earlier = service.store.read(lambda connection: _earlier(connection, decision_id))
        _check_open(asked, earlier)
        context = earlier.record["context"]
        request = Request(
            as_of=service.clock(),
            purpose=service.settings.purpose,
            vessel_type=earlier.expected.vessel_type,
            batch=earlier.expected.batch,
            passage=earlier.expected.passage,
            supervisory_job_id=context["supervisory_job_id"],
            supervisory_task_id=context["supervisory_task_id"],
            supersedes=decision_id,
            review=_as_library(service, caller, asked),
        )
        scan = service.store.read(lambda found: find_scan(found, earlier.row["vessel_id"], earlier.row["run_id"]))
        return make_record(service, scan, service.rules.by_sha256(earlier.row["rule_set_sha256"]), request)

    made = await in_worker(service, make)
    answer = await write_once(service, caller, once, lambda tx: _store(tx, made, decision_id, asked, caller))
    count(service, made, answer)
    return answer


def _check_settles(asked: ReviewAsk) -> None:
    if (asked.action == "settle") != bool(asked.settles):
        raise ProblemError("not-valid", "`settle` names what it settles; `hold` and `reject` settle nothing.")


def _earlier(connection: Connection, decision_id: str) -> _Earlier:
    row = decision_row(connection, decision_id)
    if row is None:
        raise not_there("decision", decision_id)
    detail = json.loads(asked_of(connection, row["seq"]) or "{}")
    return _Earlier(row, Expected(**detail.get("expected", {})))


def _check_open(asked: ReviewAsk, earlier: _Earlier) -> None:
    """Refuse a review of what was superseded, and one that settles what the reviewed record did not leave open."""
    if earlier.row["superseded_by"] is not None:
        later = earlier.row["superseded_by"]
        raise ProblemError("conflict", f"The decision was superseded by {later}; review that one.")
    open_for_person = {
        (one["criterion"], one["layer"]) for one in earlier.record["quality"]["open"] if one["why"] == "doubt"
    }
    before = (earlier.record["review"] or {}).get("settles", ())
    open_for_person |= {(one["criterion"], one["layer"]) for one in before}
    for one in asked.settles:
        if (one.criterion, one.layer) not in open_for_person:
            place = "" if one.layer is None else f" on layer {one.layer}"
            raise ProblemError("not-valid", f"{one.criterion}{place} does not wait for a person; nothing to settle there.")


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


async def listed(service: Service, caller: Caller, decision_id: str | None, vessel_id: str | None, asked: PageAsk) -> Page:
    """Return a page of reviews, the newest first."""
    service.require(caller, "read", "list reviews")
    filters = {"decision_id": decision_id, "vessel_id": vessel_id}
    page = await newest_page(service, reviews, asked, dict, filters)
    of_decisions = [one["decision_id"] for one in page.items]
    results = await service.store.read_async(lambda connection: results_of_reviews(connection, of_decisions))
    return Page(tuple(review_view(one, results.get(one["decision_id"])) for one in page.items), page.next)
