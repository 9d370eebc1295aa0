"""Finding what was altered behind the store's back: the chain of the audit log, and every row against it.

Each entry's sha256 covers what it says and its predecessor's sha256; each protected row's sha256 is in the last entry
about it. So a changed value, a row that was removed or slipped in, and an entry that was changed, removed or moved
are all found. Entries cut off the end together with their rows leave a whole, shorter log: keep the head
(`Store.head`) somewhere else now and then, and give it as ``expected_head``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Table, select, text
from sqlalchemy.exc import DatabaseError

from msc_vision.service.store.content import FIRST_SHA256, row_id, row_sha256
from msc_vision.service.store.database import is_sqlite
from msc_vision.service.store.errors import is_damage
from msc_vision.service.store.store import Store
from msc_vision.service.store.tables import APPEND_ONLY, PROTECTED, audit
from msc_vision.service.store.transaction import Head, entry_sha256

_ROWS_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class StoreComplaint:
    """One thing that is not as it was written."""

    table: str
    message: str
    row_id: str | None = None
    seq: int | None = None

    def __str__(self) -> str:
        """Return the complaint as one line that names table, row and audit entry."""
        place = f"{self.table} {self.row_id}" if self.row_id is not None else self.table
        entry = f" (audit entry {self.seq})" if self.seq is not None else ""
        return f"{place}{entry}: {self.message}"


@dataclass(frozen=True, slots=True)
class _Logged:
    seq: int
    row_sha256: str


_Rows = dict[tuple[str, str], _Logged]


def verify_store(store: Store, *, expected_head: Head | None = None) -> tuple[StoreComplaint, ...]:
    """Check a whole store in one state of it while it goes on being used; no complaint: all is as it was written.

    Reads everything and keeps a name and a hash per row: about 0.3 GB for a million rows.

    Raises
    ------
    StoreUnavailableError
        If the database cannot be read just now.
    """
    return store.read(lambda connection: verify_connection(connection, expected_head=expected_head))


def verify_connection(connection: Connection, *, expected_head: Head | None = None) -> tuple[StoreComplaint, ...]:
    """Check a store over a connection, as `verify_store`; for what is not committed yet."""
    with _every_byte_readable(connection):
        logged: _Rows = {}
        complaints = list(_check_file(connection))
        complaints += _guarded(audit.name, _check_chain(connection, logged, expected_head))
        for table in PROTECTED:
            complaints += _guarded(table.name, _check_rows(connection, table, logged))
        return tuple(complaints)


def _check_chain(connection: Connection, logged: _Rows, expected_head: Head | None) -> Iterator[StoreComplaint]:
    """Check entry by entry; what the log says of rows is added to ``logged``."""
    last = Head(0, FIRST_SHA256)
    is_head_met = expected_head is None or expected_head.seq == 0
    for entry in _rows(connection, audit):
        yield from _check_entry(entry, last)
        last = Head(entry["seq"], entry["sha256"])
        is_head_met = is_head_met or last == expected_head
        if entry["row_sha256"] is not None:
            yield from _take(entry, logged)
    if not is_head_met and expected_head is not None:
        found = "the log ends before it" if _number(last.seq) < expected_head.seq else "the log has another one there"
        yield StoreComplaint("audit", f"Entry {expected_head} was kept as its head; {found}.", seq=expected_head.seq)


def _check_entry(entry: dict[str, Any], last: Head) -> Iterator[StoreComplaint]:
    seq = entry["seq"]
    expected = _number(last.seq) + 1
    if seq != expected:
        missing = f"entries {expected} to {seq - 1} are missing" if _number(seq) > expected else "its number is wrong"
        yield StoreComplaint("audit", f"After entry {last.seq} comes {seq!r}: {missing}.", seq=expected)
    if entry["previous_sha256"] != last.sha256:
        yield StoreComplaint("audit", f"It does not follow entry {last.seq}: one of them was altered.", seq=seq)
    if entry_sha256(entry) != entry["sha256"]:
        yield StoreComplaint("audit", "It was altered: its sha256 does not fit what it says.", seq=seq)


def _take(entry: dict[str, Any], logged: _Rows) -> Iterator[StoreComplaint]:
    place = (str(entry["target"]), str(entry["target_id"]))
    earlier = logged.get(place)
    if earlier is not None and place[0] in _APPEND_ONLY_NAMES:
        yield StoreComplaint(place[0], f"It was written twice, first in entry {earlier.seq}.", place[1], entry["seq"])
    logged[place] = _Logged(entry["seq"], entry["row_sha256"])


def _check_rows(connection: Connection, table: Table, logged: _Rows) -> Iterator[StoreComplaint]:
    for row in _rows(connection, table):
        name = row_id(table, row)
        entry = logged.pop((table.name, name), None)
        if entry is None:
            yield StoreComplaint(table.name, "No audit entry knows this row: it was slipped in.", name)
        elif entry.row_sha256 != row_sha256(row):
            yield StoreComplaint(table.name, "The row was altered: it is not what was logged.", name, entry.seq)
    for (_, name), entry in [item for item in logged.items() if item[0][0] == table.name]:
        yield StoreComplaint(table.name, "The row is gone, or its key was altered.", name, entry.seq)


def _check_file(connection: Connection) -> Iterator[StoreComplaint]:
    """Check what the database can tell of itself: its pages, and whether the triggers are in place."""
    if is_sqlite(connection):
        yield from _guarded("database", _check_pages(connection))
    yield from _guarded("database", _check_triggers(connection))


def _check_pages(connection: Connection) -> Iterator[StoreComplaint]:
    for (message,) in connection.exec_driver_sql("PRAGMA integrity_check(20)").all():
        if message != "ok":
            yield StoreComplaint("database", f"The file is damaged: {' '.join(str(message).split())}.")


def _check_triggers(connection: Connection) -> Iterator[StoreComplaint]:
    if is_sqlite(connection):
        query = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND sql LIKE '%RAISE(ABORT%'"
        endings = ("no_update", "no_delete")
    else:
        query = "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'D'"
        endings = ("append_only", "no_truncate")
    found = set(connection.scalars(text(query)))
    for table in APPEND_ONLY:
        missing = [name for ending in endings if (name := f"{table.name}_{ending}") not in found]
        if missing:
            yield StoreComplaint(table.name, f"It may be changed: the trigger {' and '.join(missing)} is gone.")


def _rows(connection: Connection, table: Table) -> Iterator[dict[str, Any]]:
    order = table.c.seq if "seq" in table.columns else table.primary_key.columns.values()[0]
    result = connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(select(table).order_by(order))
    for row in result.mappings():
        yield dict(row)


def _guarded(place: str, complaints: Iterator[StoreComplaint]) -> Iterator[StoreComplaint]:
    """Give the complaints; a database that can no longer be read there is one more."""
    try:
        yield from complaints
    except UnicodeDecodeError as err:
        yield StoreComplaint(place, f"It cannot be read: {err}.")
    except DatabaseError as err:
        if not is_damage(err):
            raise
        yield StoreComplaint(place, f"It cannot be read: {' '.join(str(err.orig).split())}.")


@contextmanager
def _every_byte_readable(connection: Connection) -> Iterator[None]:
    """Let text that is no longer UTF-8 be read, so that it is named and does not end the search."""
    driver: Any = connection.connection.dbapi_connection if is_sqlite(connection) else None
    if driver is None:
        yield
        return
    driver.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    try:
        yield
    finally:
        driver.text_factory = str


def _number(value: object) -> int:
    """Return a number of an entry; an altered one that is no number counts as 0."""
    return value if isinstance(value, int) else 0


_APPEND_ONLY_NAMES: Final = frozenset(table.name for table in APPEND_ONLY)
