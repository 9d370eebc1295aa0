"""Vessels: their latest run and current decision, what happened to them, and how they will grow."""

from typing import Any

from sqlalchemy import Connection

from msc_vision.service.actions.decisions import find_scan, in_worker
from msc_vision.service.actions.reading import PageAsk, not_there
from msc_vision.service.context import Caller, Service
from msc_vision.service.cursors import Page, page_of, read_cursor
from msc_vision.service.queries import current_decisions, timeline_rows, vessel_rows
from msc_vision.service.views import decision_view, vessel_view


async def listed(service: Service, caller: Caller, asked: PageAsk) -> Page:
    """Return a page of vessels, ordered by name, each with its current decision."""
    service.require(caller, "read", "list vessels")
    after = None if asked.cursor is None else read_cursor(asked.cursor, {}, str)
    rows = await service.store.read_async(lambda connection: vessel_rows(connection, after, asked.n_items))
    page = page_of(rows, asked.n_items, "vessel_id", {})
    names = [one["vessel_id"] for one in page.items]
    found = await service.store.read_async(lambda connection: current_decisions(connection, names))
    return Page(tuple(_with_decision(one, found) for one in page.items), page.next)


async def get(service: Service, caller: Caller, vessel_id: str) -> dict[str, Any]:
    """Return a vessel with its current decision.

    Raises
    ------
    ProblemError
        ``not-found``.
    """
    service.require(caller, "read", "read vessel")

    def query(connection: Connection) -> dict[str, Any] | None:
        rows = vessel_rows(connection, None, 1, vessel_id)
        return _with_decision(rows[0], current_decisions(connection, [vessel_id])) if rows else None

    found = await service.store.read_async(query)
    if found is None:
        raise not_there("vessel", vessel_id)
    return found


def _with_decision(row: dict[str, Any], found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    decision = found.get(row["vessel_id"])
    return vessel_view(row, None if decision is None else decision_view(decision))


async def timeline(service: Service, caller: Caller, vessel_id: str, asked: PageAsk) -> Page:
    """Return a page of what happened to a vessel, the newest first."""
    await get(service, caller, vessel_id)
    before = None if asked.cursor is None else read_cursor(asked.cursor, {"vessel_id": vessel_id}, int)
    rows = await service.store.read_async(
        lambda connection: timeline_rows(connection, vessel_id, before, asked.n_items)
    )
    page = page_of(rows, asked.n_items, "seq", {"vessel_id": vessel_id})
    names = ("at", "kind", "id", "who")
    views = [{**{name: one[name] for name in names}, "summary": _summary(one)} for one in page.items]
    return Page(tuple(views), page.next)


def _summary(row: dict[str, Any]) -> str:
    if row["kind"] != "run":
        return str(row["summary"])
    return f"images of {row['summary']}" if row["summary"] else "images without a time"


async def forecast(service: Service, caller: Caller, vessel_id: str) -> dict[str, Any]:
    """Return when a vessel will be inside its window, from all its runs."""
    service.require(caller, "read", "forecast vessel")

    def find() -> dict[str, Any]:
        scan = service.store.read(lambda connection: find_scan(connection, vessel_id, None))
        found = service.forecasts.get((*scan.history, scan.path), vessel_id)
        if found is None:
            raise not_there("vessel", vessel_id)
        return found

    return await in_worker(service, find)
