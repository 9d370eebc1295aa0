"""What is asked of the store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, Table, bindparam, exists, func, literal, select, union_all

from msc_vision.service.store.tables import (
    decisions,
    jobs,
    reviews,
    rule_sets,
    run_vessels,
    runs,
    signatures,
    webhook_deliveries,
)

Row = Mapping[str, Any]
MOST_SCANS = 16
_later = decisions.alias("later")
_SUPERSEDED_BY = (
    select(_later.c.decision_id)
    .where(_later.c.supersedes == decisions.c.decision_id)
    .scalar_subquery()
    .label("superseded_by")
)
_N_SIGNATURES = (
    select(func.count())
    .select_from(signatures)
    .where(signatures.c.decision_id == decisions.c.decision_id)
    .scalar_subquery()
    .label("n_signatures")
)
_LISTED = [column for column in decisions.c if column.name != "record"]


def rows_of(connection: Connection, query: Select[Any]) -> list[dict[str, Any]]:
    """Return what a query finds as plain mappings."""
    return [dict(row) for row in connection.execute(query).mappings()]


def find(connection: Connection, table: Table, key: str) -> dict[str, Any] | None:
    """Return a row by its key, which is one column; None if there is none."""
    column = next(iter(table.primary_key.columns))
    return next(iter(rows_of(connection, select(table).where(column == key))), None)


def newest_first(table: Table, before: int | None, n_items: int, *conditions: Any) -> Select[Any]:
    """Return a query for a page of a table and one row more, the newest first."""
    query = select(table).where(*conditions).order_by(table.c.seq.desc()).limit(n_items + 1)
    return query if before is None else query.where(table.c.seq < before)


# --- decisions -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DecisionFilter:
    """Which decisions are listed; times are ISO 8601, UTC, as records have them."""

    vessel_id: str | None = None
    verdict: str | None = None
    batch: str | None = None
    run_id: str | None = None
    since: str | None = None
    until: str | None = None
    is_current: bool = False


def decision_rows(
    connection: Connection, wanted: DecisionFilter, before: int | None, n_items: int
) -> list[dict[str, Any]]:
    """Return decisions of a list, the newest first, and one more than asked for."""
    column = decisions.c
    conditions = [
        column[name] == getattr(wanted, name)
        for name in ("vessel_id", "verdict", "batch", "run_id")
        if getattr(wanted, name) is not None
    ]
    if wanted.since is not None:
        conditions.append(column.created_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(column.created_at < wanted.until)
    if before is not None:
        conditions.append(column.seq < before)
    if wanted.is_current:
        newer = decisions.alias("newer")
        conditions.append(~exists().where(newer.c.vessel_id == column.vessel_id, newer.c.seq > column.seq))
    query = select(*_LISTED, _SUPERSEDED_BY, _N_SIGNATURES).where(*conditions).order_by(column.seq.desc())
    return rows_of(connection, query.limit(n_items + 1))


def decision_row(connection: Connection, decision_id: str) -> dict[str, Any] | None:
    """Return a decision with its document, what superseded it and how many have signed it."""
    query = select(decisions, _SUPERSEDED_BY, _N_SIGNATURES).where(decisions.c.decision_id == decision_id)
    return next(iter(rows_of(connection, query)), None)


def decision_document(connection: Connection, decision_id: str) -> tuple[str, str | None, Row | None] | None:
    """Return the document of a decision, what superseded it, and its last signature."""
    row = connection.execute(_DOCUMENT, {"decision_id": decision_id}).first()
    if row is None:
        return None
    last = None
    if row.n_signatures:
        of_it = select(signatures).where(signatures.c.decision_id == decision_id).order_by(signatures.c.position.desc())
        last = rows_of(connection, of_it.limit(1))[0]
    return row.record, row.superseded_by, last


# --- runs and vessels ------------------------------------------------------------------------------------------------

_LAST_SCAN = (func.coalesce(run_vessels.c.acquired_to, ""), run_vessels.c.seq)


# statements that every decision asks are made once: SQLAlchemy takes longer to make one than SQLite to answer it
_SCANS = (
    select(runs.c.run_id, runs.c.path, run_vessels.c.acquired_to)
    .join(run_vessels, run_vessels.c.run_id == runs.c.run_id)
    .where(run_vessels.c.vessel_id == bindparam("vessel_id"))
    .order_by(*(one.desc() for one in _LAST_SCAN))
)
_LATEST_SCANS = _SCANS.limit(MOST_SCANS)
_LAST_REVIEW = (
    select(reviews)
    .where(reviews.c.vessel_id == bindparam("vessel_id"), reviews.c.run_id == bindparam("run_id"))
    .order_by(reviews.c.seq.desc())
    .limit(1)
)
_IS_STORED = select(decisions.c.decision_id).where(decisions.c.decision_id == bindparam("decision_id"))
_DOCUMENT = select(decisions.c.record, _SUPERSEDED_BY, _N_SIGNATURES).where(
    decisions.c.decision_id == bindparam("decision_id")
)


def scans_of(connection: Connection, vessel_id: str) -> list[Row]:
    """Return the latest runs that show a vessel, the latest images first: where they lie and when they were taken."""
    return [row._asdict() for row in connection.execute(_LATEST_SCANS, {"vessel_id": vessel_id})]


def all_scans_of(connection: Connection, vessel_id: str) -> list[Row]:
    """Return all runs that show a vessel, the latest images first."""
    return [row._asdict() for row in connection.execute(_SCANS, {"vessel_id": vessel_id})]


def last_review(connection: Connection, vessel_id: str, run_id: str) -> Row | None:
    """Return what a person said last of a vessel in a run."""
    row = connection.execute(_LAST_REVIEW, {"vessel_id": vessel_id, "run_id": run_id}).first()
    return None if row is None else row._asdict()


def is_decision(connection: Connection, decision_id: str) -> bool:
    """Tell whether a decision is stored."""
    return connection.execute(_IS_STORED, {"decision_id": decision_id}).first() is not None


def vessels_of_runs(connection: Connection, run_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the vessels of some runs."""
    query = select(run_vessels).where(run_vessels.c.run_id.in_(run_ids)).order_by(run_vessels.c.seq)
    found: dict[str, list[dict[str, Any]]] = {run_id: [] for run_id in run_ids}
    for row in rows_of(connection, query):
        found[row["run_id"]].append(row)
    return found


def vessel_rows(
    connection: Connection, after: str | None, n_items: int, vessel_id: str | None = None
) -> list[dict[str, Any]]:
    """Return the latest run of each vessel, ordered by name, and one more than asked for."""
    place = func.row_number().over(partition_by=run_vessels.c.vessel_id, order_by=[one.desc() for one in _LAST_SCAN])
    ranked = select(run_vessels, place.label("place"))
    if vessel_id is not None:
        ranked = ranked.where(run_vessels.c.vessel_id == vessel_id)
    if after is not None:
        ranked = ranked.where(run_vessels.c.vessel_id > after)
    inner = ranked.subquery()
    return rows_of(connection, select(inner).where(inner.c.place == 1).order_by(inner.c.vessel_id).limit(n_items + 1))


def current_decisions(connection: Connection, vessel_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the last decision of each vessel."""
    last = (
        select(func.max(decisions.c.seq)).where(decisions.c.vessel_id.in_(vessel_ids)).group_by(decisions.c.vessel_id)
    )
    query = select(*_LISTED, _SUPERSEDED_BY, _N_SIGNATURES).where(decisions.c.seq.in_(last))
    return {row["vessel_id"]: row for row in rows_of(connection, query)}


def timeline_rows(connection: Connection, vessel_id: str, before: int | None, n_items: int) -> list[dict[str, Any]]:
    """Return what happened to a vessel, the newest first, and one more than asked for."""
    ran = (
        select(run_vessels.c.seq, runs.c.registered_at.label("at"), literal("run").label("kind"))
        .add_columns(
            runs.c.run_id.label("id"), runs.c.registered_by.label("who"), run_vessels.c.acquired_to.label("summary")
        )
        .join(runs, runs.c.run_id == run_vessels.c.run_id)
        .where(run_vessels.c.vessel_id == vessel_id)
    )
    decided = (
        select(decisions.c.seq, decisions.c.created_at.label("at"), literal("decision").label("kind"))
        .add_columns(decisions.c.decision_id.label("id"), decisions.c.created_by.label("who"))
        .add_columns((decisions.c.verdict + ": " + decisions.c.recommended_action).label("summary"))
        .where(decisions.c.vessel_id == vessel_id)
    )
    reviewed = (
        select(
            reviews.c.seq, reviews.c.at, literal("review").label("kind"), reviews.c.event_id.label("id"), reviews.c.who
        )
        .add_columns((reviews.c.action + ": " + func.coalesce(reviews.c.reason, "")).label("summary"))
        .where(reviews.c.vessel_id == vessel_id)
    )
    signed = (
        select(signatures.c.seq, signatures.c.signed_at.label("at"), literal("signature").label("kind"))
        .add_columns(signatures.c.signature_id.label("id"), signatures.c.username.label("who"))
        .add_columns((signatures.c.printed_name + ": " + signatures.c.meaning).label("summary"))
        .join(decisions, decisions.c.decision_id == signatures.c.decision_id)
        .where(decisions.c.vessel_id == vessel_id)
    )
    events = union_all(ran, decided, reviewed, signed).subquery()
    query = select(events).order_by(events.c.seq.desc()).limit(n_items + 1)
    return rows_of(connection, query if before is None else query.where(events.c.seq < before))


# --- reviews, deliveries, counts -------------------------------------------------------------------------------------


def results_of_reviews(connection: Connection, decision_ids: Sequence[str]) -> dict[str, str]:
    """Return by decision what superseded it."""
    query = select(decisions.c.supersedes, decisions.c.decision_id).where(decisions.c.supersedes.in_(decision_ids))
    return {row.supersedes: row.decision_id for row in connection.execute(query)}


def delivery_rows(connection: Connection, webhook_id: str, n_items: int) -> list[dict[str, Any]]:
    """Return the last deliveries of a webhook."""
    query = select(webhook_deliveries).where(webhook_deliveries.c.webhook_id == webhook_id)
    return rows_of(connection, query.order_by(webhook_deliveries.c.created_at.desc()).limit(n_items))


def counts(connection: Connection) -> dict[str, dict[str, int]]:
    """Return how many jobs and deliveries there are by state."""
    found = {}
    for table in (jobs, webhook_deliveries):
        query = select(table.c.state, func.count()).group_by(table.c.state)
        found[table.name] = {row[0]: row[1] for row in connection.execute(query)}
    return found


def rule_set_content(connection: Connection, sha256: str) -> str | None:
    """Return the content of a stored rule set."""
    return connection.scalar(select(rule_sets.c.content).where(rule_sets.c.sha256 == sha256))
