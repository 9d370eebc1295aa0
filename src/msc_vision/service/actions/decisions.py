"""Ask for decisions, list them, explain them, replay them."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection

from msc_vision.decision.actions import windows_of
from msc_vision.decision.evidence import Evidence
from msc_vision.decision.explain import explain
from msc_vision.decision.judgement import Request, Review, utc
from msc_vision.decision.record import record_text, sealed_record
from msc_vision.decision.rules import RuleSet
from msc_vision.errors import MscVisionError
from msc_vision.service.actions.reading import PageAsk, not_there
from msc_vision.service.context import Caller, Service
from msc_vision.service.cursors import Page, page_of, read_cursor
from msc_vision.service.evidence_cache import EvidenceKey
from msc_vision.service.idempotency import Answer, Once, answered_before, write_once
from msc_vision.service.problems import ProblemError
from msc_vision.service.queries import (
    DecisionFilter,
    all_scans_of,
    decision_document,
    decision_row,
    decision_rows,
    is_decision,
    last_review,
    scans_of,
)
from msc_vision.service.rule_library import remember_rules
from msc_vision.service.schemas import DecisionAsk
from msc_vision.service.store import StoreUnavailableError, Transaction, text_sha256
from msc_vision.service.store.tables import decisions
from msc_vision.service.views import decision_view
from msc_vision.service.webhooks import announce

MOST_EARLIER_RUNS = 12
MOST_READINGS = 5
ASK = "ask for decision"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Scan:
    """The run that a decision rests on, and the earlier ones of its vessel."""

    run_id: str
    path: Path
    vessel_id: str
    history: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Made:
    """A record that was made, and what is stored with it."""

    record: dict[str, Any]
    text: str
    rules: RuleSet
    has_stored_rules: bool = False


async def ask(service: Service, caller: Caller, asked: DecisionAsk, once: Once | None = None) -> Answer:
    """Judge a vessel and store the record; one that exists already is answered as it is.

    Raises
    ------
    ForbiddenError
        Without the scope ``decide``.
    ProblemError
        ``not-found``: no such run, vessel or rule set; ``conflict``: what is to be superseded was, or is of another
        vessel.
    """
    service.require(caller, "decide", ASK)
    earlier = await answered_before(service, caller, once)
    if earlier is not None:
        return earlier
    request = Request(
        as_of=service.clock(),
        purpose=service.settings.purpose,
        vessel_type=asked.vessel_type,
        batch=asked.batch,
        passage=asked.passage,
        supervisory_job_id=asked.supervisory_job_id,
        supervisory_task_id=asked.supervisory_task_id,
        supersedes=asked.supersedes,
    )

    loop = asyncio.get_running_loop()
    rules = service.rules.at_hand(asked.rule_set)
    if rules is None:
        rules = (await loop.run_in_executor(service.judges, service.rules.find, asked.rule_set)).rules
    for _ in range(MOST_READINGS):
        made: list[Made] = []

        def judge(tx: Transaction, rules: RuleSet = rules, made: list[Made] = made) -> Answer:
            made[:] = [_made_at_hand(service, tx, asked, rules, request)]
            return store_decision(tx, made[0], caller.who)

        try:
            answer = await write_once(service, caller, once, judge)
        except _NotAtHandError as err:
            # a run that is read for the first time takes a while: decisions on others do not wait for it
            await in_worker(service, partial(service.evidence.get, err.key))
            continue
        if made:
            count(service, made[0], answer)
        return answer
    raise StoreUnavailableError(f"The run of vessel {asked.vessel_id!r} changes while it is read. Try again shortly.")


class _NotAtHandError(MscVisionError):
    """The evidence that is asked for has to be read first."""

    def __init__(self, key: EvidenceKey) -> None:
        super().__init__(f"{key.run} is not read yet.")
        self.key = key


def _made_at_hand(service: Service, tx: Transaction, asked: DecisionAsk, rules: RuleSet, request: Request) -> Made:
    """Judge within the transaction that stores the record, so that no review and no newer run comes in between.

    Raises
    ------
    _NotAtHandError
        If files would have to be read for it: others wait for the transaction.
    """
    scan, standing = _scan_and_review(tx.connection, asked)
    key = _key_of(scan, rules)
    evidence = service.evidence.at_hand(key)
    if evidence is None:
        raise _NotAtHandError(key)
    return _made(service, evidence, rules, replace(request, review=standing))


def _scan_and_review(connection: Connection, asked: DecisionAsk) -> tuple[Scan, Review | None]:
    scan = find_scan(connection, asked.vessel_id, asked.run_id)
    return scan, standing_review(connection, scan)


def standing_review(connection: Connection, scan: Scan) -> Review | None:
    """Return the hold or rejection that stands over a scan: to ask again is no way around a person.

    A later review, or newer images, lift it.
    """
    row = last_review(connection, scan.vessel_id, scan.run_id)
    if row is None or row["action"] == "settle":
        return None
    return Review(row["who"].removeprefix("person:"), row["at"], row["action"], row["reason_code"], row["reason"])


async def in_worker(service: Service, work: Callable[[], T]) -> T:
    """Do something that takes longer than a millisecond in a thread."""
    return await asyncio.get_running_loop().run_in_executor(service.workers, work)


def find_scan(connection: Connection, vessel_id: str, run_id: str | None) -> Scan:
    """Return the run that a decision rests on: the one named, or that with the latest images of the vessel.

    Raises
    ------
    ProblemError
        ``not-found``.
    """
    scans = scans_of(connection, vessel_id)
    if run_id is not None and not any(one["run_id"] == run_id for one in scans):
        scans = all_scans_of(connection, vessel_id)
    chosen = next((one for one in scans if run_id in (None, one["run_id"])), None)
    if chosen is None:
        where = "any run" if run_id is None else f"run {run_id[:200]!r}"
        raise ProblemError("not-found", f"No vessel {vessel_id[:200]!r} in {where}; register its run first.")
    taken = chosen["acquired_to"]
    earlier = [Path(one["path"]) for one in scans if taken and one["acquired_to"] and one["acquired_to"] < taken]
    return Scan(chosen["run_id"], Path(chosen["path"]), vessel_id, tuple(reversed(earlier[:MOST_EARLIER_RUNS])))


def evidence_of(service: Service, scan: Scan, rules: RuleSet) -> Evidence:
    """Return the evidence that a rule set asks for."""
    return service.evidence.get(_key_of(scan, rules))


def _key_of(scan: Scan, rules: RuleSet) -> EvidenceKey:
    return EvidenceKey(scan.path, scan.vessel_id, windows_of(rules), scan.history)


def make_record(service: Service, scan: Scan, rules: RuleSet, request: Request) -> Made:
    """Judge and write the record, without storing it."""
    return _made(service, evidence_of(service, scan, rules), rules, request)


def _made(service: Service, evidence: Evidence, rules: RuleSet, request: Request) -> Made:
    made = sealed_record(evidence, rules, request)
    sha256 = made.record["provenance"]["rule_set"]["sha256"]
    return Made(made.record, made.text, rules, service.rules.is_stored(sha256))


def store_decision(tx: Transaction, made: Made, who: str, *, why: str | None = None) -> Answer:
    """Store a record, its rule set, and the events that tell of it.

    Raises
    ------
    ProblemError
        ``conflict``.
    """
    record = made.record
    decision_id = record["decision_id"]
    headers = {"Location": f"/v1/decisions/{decision_id}"}
    if is_decision(tx.connection, decision_id):
        return Answer(200, made.text, headers, decision_id)
    check_supersedes(tx, record["supersedes"], record["context"]["vessel_id"])
    if not made.has_stored_rules:
        remember_rules(tx, made.rules, who=who)
    tx.insert(decisions, _row(made, who), who=who, what="decide", why=why)
    announce(tx, "decision.created", summary(record))
    return Answer(201, made.text, headers, decision_id)


def check_supersedes(tx: Transaction, supersedes: str | None, vessel_id: str) -> None:
    """Check that a decision may be replaced by one of a vessel.

    Raises
    ------
    ProblemError
        ``conflict``: there is none, it is of another vessel, or it was superseded.
    """
    if supersedes is None:
        return
    row = decision_row(tx.connection, supersedes)
    if row is None or row["vessel_id"] != vessel_id:
        raise ProblemError("conflict", f"There is no decision {supersedes} of vessel {vessel_id[:200]!r} to supersede.")
    if row["superseded_by"] is not None:
        raise ProblemError("conflict", f"{supersedes} was superseded by {row['superseded_by']}; supersede that one.")


def summary(record: dict[str, Any]) -> dict[str, Any]:
    """Return what an event tells of a decision."""
    context = record["context"]
    return {
        "decision_id": record["decision_id"],
        "record_sha256": record["record_sha256"],
        "verdict": record["verdict"],
        "recommended_action": record["recommended_action"],
        "supersedes": record["supersedes"],
        **{name: context[name] for name in ("vessel_id", "run_id", "supervisory_job_id", "supervisory_task_id")},
    }


def count(service: Service, made: Made, answer: Answer) -> None:
    """Count a new decision, and let its events go."""
    service.rules.note_stored(made.record["provenance"]["rule_set"]["sha256"])
    if answer.status == 201 and not answer.is_repeated:
        service.metrics.decisions.labels(made.record["verdict"]).inc()
        service.webhooks.wake()


def _row(made: Made, who: str) -> dict[str, Any]:
    record, rules = made.record, made.rules
    context = record["context"]
    return {
        "decision_id": record["decision_id"],
        **{name: context[name] for name in ("vessel_id", "vessel_type", "batch", "passage", "run_id")},
        "rule_set_id": rules.id,
        "rule_set_version": rules.version,
        "rule_set_sha256": record["provenance"]["rule_set"]["sha256"],
        "rule_set_status": rules.status,
        "verdict": record["verdict"],
        "recommended_action": record["recommended_action"],
        "created_at": record["created_at"],
        "created_by": who,
        "supersedes": record["supersedes"],
        "record_sha256": record["record_sha256"],
        "document_sha256": text_sha256(made.text),
        "record": made.text,
    }


# --- reading ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Document:
    """A decision as it is served: the stored text, with its signature once it is signed."""

    text: str
    superseded_by: str | None

    @property
    def record(self) -> dict[str, Any]:
        """The record."""
        found: dict[str, Any] = json.loads(self.text)
        return found


async def get(service: Service, caller: Caller, decision_id: str) -> Document:
    """Return a decision."""
    service.require(caller, "read", "read decision")
    found = await service.store.look_async(lambda connection: decision_document(connection, decision_id))
    if found is None:
        raise not_there("decision", decision_id)
    text, superseded_by, last = found
    if last is not None and last["position"] >= service.settings.n_signatures:
        record = json.loads(text)
        record["signature"] = {"name": last["printed_name"], "time": last["signed_at"], "meaning": last["meaning"]}
        text = record_text(record)
    return Document(text, superseded_by)


async def listed(service: Service, caller: Caller, wanted: DecisionFilter, asked: PageAsk) -> Page:
    """Return a page of decisions, the newest first."""
    service.require(caller, "read", "list decisions")
    filters = asdict(wanted)
    before = None if asked.cursor is None else read_cursor(asked.cursor, filters, int)
    rows = await service.store.read_async(lambda connection: decision_rows(connection, wanted, before, asked.n_items))
    page = page_of(rows, asked.n_items, "seq", filters)
    return Page(tuple(decision_view(row) for row in page.items), page.next)


async def explained(service: Service, caller: Caller, decision_id: str) -> dict[str, Any]:
    """Return why a decision came to its verdict, and what would change it."""
    document = await get(service, caller, decision_id)
    found = explain(document.record)
    return {
        "decision_id": decision_id,
        "verdict": found.verdict,
        "recommended_action": document.record["recommended_action"],
        "action": found.action.kind,
        "until": found.action.until,
        "n_fields": found.action.n_fields,
        "layers": list(found.action.layers),
        "summary": found.summary,
        "reasons": list(found.reasons),
        "changes": list(found.changes),
    }


async def replayed(service: Service, caller: Caller, decision_id: str) -> dict[str, Any]:
    """Return whether a decision still follows from its inputs, read again now."""
    service.require(caller, "read", "replay decision")

    def replay() -> dict[str, Any]:
        from msc_vision.batch.replay import replay_record

        row = service.store.read(lambda connection: decision_row(connection, decision_id))
        if row is None:
            raise not_there("decision", decision_id)
        record = json.loads(row["record"])
        scan = service.store.read(lambda connection: find_scan(connection, row["vessel_id"], row["run_id"]))
        rules = service.rules.by_sha256(row["rule_set_sha256"])
        found = replay_record(record, scan.path, rules, history=scan.history, prior=service.settings.growth_prior)
        return {"decision_id": decision_id, "holds": found.holds, "differences": list(found.differences)}

    return await in_worker(service, replay)


def filter_of(
    names: dict[str, str | None], since: datetime | None, until: datetime | None, *, is_current: bool
) -> DecisionFilter:
    """Return which decisions are wanted; ``names`` are vessel_id, verdict, batch and run_id.

    Raises
    ------
    ProblemError
        ``not-valid``: a time has no zone.
    """
    return DecisionFilter(**names, since=_utc(since), until=_utc(until), is_current=is_current)


def _utc(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    if moment.tzinfo is None or not 1900 <= moment.year <= 9000:
        raise ProblemError("not-valid", f"{moment.isoformat()} is no time with zone; write 2026-11-20T08:00+01:00.")
    return utc(moment)
