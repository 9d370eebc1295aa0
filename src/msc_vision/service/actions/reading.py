"""What the reading actions share: scopes, pages, things that are not there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, Table

from msc_vision.service.context import Caller, Service
from msc_vision.service.cursors import DEFAULT_ITEMS, Page, page_of, read_cursor
from msc_vision.service.problems import ProblemError
from msc_vision.service.queries import find, newest_first, rows_of

T = TypeVar("T")
View = Callable[[Mapping[str, Any]], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class PageAsk:
    """Which part of a list."""

    n_items: int = DEFAULT_ITEMS
    cursor: str | None = None


def not_there(what: str, key: str) -> ProblemError:
    """Return the refusal for something that does not exist."""
    return ProblemError("not-found", f"There is no {what} {key[:200]!r}.")


async def read_row(service: Service, table: Table, key: str, what: str) -> dict[str, Any]:
    """Return a row.

    Raises
    ------
    ProblemError
        ``not-found``.
    """
    row = await service.store.read_async(lambda connection: find(connection, table, key))
    if row is None:
        raise not_there(what, key)
    return row


async def newest_page(
    service: Service, table: Table, asked: PageAsk, view: View, filters: Mapping[str, Any] | None = None
) -> Page:
    """Return a page of a table, the newest first; ``filters`` are columns and values."""
    wanted = {name: value for name, value in (filters or {}).items() if value is not None}
    before = None if asked.cursor is None else read_cursor(asked.cursor, wanted, int)
    conditions = [table.c[name] == value for name, value in wanted.items()]

    def query(connection: Connection) -> list[dict[str, Any]]:
        return rows_of(connection, newest_first(table, before, asked.n_items, *conditions))

    page = page_of(await service.store.read_async(query), asked.n_items, "seq", wanted)
    return Page(tuple(view(row) for row in page.items), page.next)


def allowed(service: Service, caller: Caller, what: str) -> None:
    """Check that somebody may read."""
    service.require(caller, "read", what)
