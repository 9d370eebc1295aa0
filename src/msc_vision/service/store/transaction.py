"""What a command writes with: rows and their audit entries, in one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import Connection, Executable, Insert, Row, Select, Table, and_, insert, select, update

from msc_vision.errors import InvalidArgumentError
from msc_vision.service.store.content import (
    FIRST_SHA256,
    canonical_json,
    row_id,
    row_sha256,
    stored_row,
    utc_text,
)
from msc_vision.service.store.database import is_sqlite
from msc_vision.service.store.errors import NotFoundError, RefusedError
from msc_vision.service.store.tables import APPEND_ONLY, PROTECTED, audit

T = TypeVar("T", bound=tuple[Any, ...])


@dataclass(frozen=True, slots=True)
class Head:
    """The last entry of the audit log; number 0 when it is empty."""

    seq: int
    sha256: str

    def __str__(self) -> str:
        """Return it as ``SEQ:SHA256``, as a person keeps it elsewhere."""
        return f"{self.seq}:{self.sha256}"

    @classmethod
    def parse(cls, text: str) -> "Head":
        """Return the head that ``SEQ:SHA256`` names.

        Raises
        ------
        InvalidArgumentError
            If the text is anything else.
        """
        seq, _, sha256 = text.strip().partition(":")
        if not seq.isdecimal() or len(sha256) != 64:
            raise InvalidArgumentError(f"{text!r} is no head of an audit log; write NUMBER:SHA256.")
        return cls(int(seq), sha256)


@dataclass(frozen=True, slots=True)
class Mark:
    """What a transaction knew when a command began."""

    head: Head
    unwritten: tuple[dict[str, Any], ...]


def read_head(connection: Connection) -> Head:
    """Return the last entry of the audit log as the connection sees it."""
    row = connection.execute(select(audit.c.seq, audit.c.sha256).order_by(audit.c.seq.desc()).limit(1)).first()
    return Head(row.seq, row.sha256) if row is not None else Head(0, FIRST_SHA256)


class Transaction:
    """One transaction of the writer. Commands get it; they never commit by themselves.

    A command may be undone and its error handed to the caller without touching the others of the same transaction.
    It runs in the writer's thread while other writers wait: it does no slow work (no hashing of passwords, no files).

    Attributes
    ----------
    head
        The last audit entry.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._unwritten: list[dict[str, Any]] = []  # entries of several commands are sent together: fewer round trips
        self._known: dict[tuple[str, int], Sequence[Row[Any]]] = {}
        self.head = read_head(connection)

    @property
    def connection(self) -> Connection:
        """For reading what the command depends on; all that was written before is there."""
        self.flush()
        return self._connection

    def flush(self) -> None:
        """Send the audit entries that were not sent yet."""
        if self._unwritten:
            self._connection.execute(_insertion(audit), self._unwritten)
            self._unwritten = []

    def begin_command(self) -> "Mark":
        """Begin what can be undone by itself."""
        self._connection.exec_driver_sql("SAVEPOINT command")
        return Mark(self.head, tuple(self._unwritten))

    def keep_command(self) -> None:
        """Keep what a command did."""
        if is_sqlite(self._connection):  # elsewhere the commit releases it: a round trip less
            self._connection.exec_driver_sql("RELEASE SAVEPOINT command")

    def undo_command(self, mark: "Mark") -> None:
        """Undo what was done since a command began; entries that it had sent for others go back to be sent again."""
        self._connection.exec_driver_sql("ROLLBACK TO SAVEPOINT command")
        self._connection.exec_driver_sql("RELEASE SAVEPOINT command")
        self.head, self._unwritten = mark.head, list(mark.unwritten)
        self._known.clear()

    def insert(
        self, table: Table, row: Mapping[str, Any], *, who: str, what: str, why: str | None = None, detail: Any = None
    ) -> dict[str, Any]:
        """Add a row to a protected table, log it, and return the row as stored (``seq`` is filled in).

        Raises
        ------
        InvalidArgumentError
            If the table is not protected, or the row does not fit it.
        """
        _check_protected(table)
        if "seq" in table.columns:
            row = {**row, "seq": self.head.seq + 1}
        stored = stored_row(table, row)
        self._connection.execute(_insertion(table), stored)
        self._forget(table)
        self._append(table.name, row_id(table, stored), row_sha256(stored), (who, what, why, detail))
        return stored

    def update(
        self,
        table: Table,
        key: str | Sequence[str],
        changes: Mapping[str, Any],
        *,
        who: str,
        what: str,
        why: str | None = None,
        detail: Any = None,
    ) -> dict[str, Any]:
        """Change a row of a protected table that may change, log it, and return the row as stored.

        Raises
        ------
        InvalidArgumentError
            If the table is not protected or append-only, or the row would not fit it.
        NotFoundError
            If there is no such row.
        """
        _check_protected(table)
        if table in APPEND_ONLY:
            raise InvalidArgumentError(f"Rows of {table.name} are never changed; add one that supersedes.")
        if fixed := sorted({"seq", *table.primary_key.columns.keys()} & set(changes)):
            raise InvalidArgumentError(f"{table.name}.{fixed[0]} names the row and never changes.")
        stored = stored_row(table, {**self.row(table, key), **changes})
        self._connection.execute(update(table).where(_matches(table, key)), stored)
        self._forget(table)
        self._append(table.name, row_id(table, stored), row_sha256(stored), (who, what, why, detail))
        return stored

    def note(
        self,
        *,
        who: str,
        what: str,
        target: str | None = None,
        target_id: str | None = None,
        why: str | None = None,
        detail: Any = None,
    ) -> Head:
        """Log something that left no row, such as a refusal or a log-in; return its place in the log."""
        return self._append(target, target_id, None, (who, what, why, detail))

    def note_refusal(self, err: RefusedError) -> Head:
        """Log that somebody was refused."""
        return self.note(
            who=err.who, what=f"refused: {err.what}", target=err.target, target_id=err.target_id, why=str(err)
        )

    def find(self, table: Table, key: str | Sequence[str]) -> dict[str, Any] | None:
        """Return a row by its key; None if there is none."""
        row = self._connection.execute(select(table).where(_matches(table, key))).first()
        return dict(row._mapping) if row is not None else None

    def row(self, table: Table, key: str | Sequence[str]) -> dict[str, Any]:
        """Return a row by its key.

        Raises
        ------
        NotFoundError
            If there is none.
        """
        found = self.find(table, key)
        if found is None:
            raise NotFoundError(f"{table.name} has no row {key!r}.")
        return found

    def rows_once(self, query: Select[Any], table: Table) -> Sequence[Row[Any]]:
        """Return what a query on one table finds, asked once for all commands of the transaction.

        It is asked again when a command changed the table, or was undone.
        """
        key = (table.name, id(query))
        if key not in self._known:
            self._known[key] = self.rows(query)
        return self._known[key]

    def rows(self, query: Select[T]) -> Sequence[Row[T]]:
        """Return what a query finds."""
        return self.connection.execute(query).all()

    def execute(self, statement: Executable) -> int:
        """Change an unprotected table, such as idempotency keys or deliveries; return the number of rows.

        Raises
        ------
        InvalidArgumentError
            If the table is protected: its changes have to be logged.
        """
        table = getattr(statement, "table", None)
        if not isinstance(table, Table) or table in PROTECTED or table is audit:
            raise InvalidArgumentError("Only unprotected tables are written without an entry; use insert or update.")
        return int(self._connection.execute(statement).rowcount)

    def _forget(self, table: Table) -> None:
        for key in [one for one in self._known if one[0] == table.name]:
            del self._known[key]

    def _append(
        self, target: str | None, target_id: str | None, row_hash: str | None, said: tuple[str, str, str | None, Any]
    ) -> Head:
        who, what, why, detail = said
        entry: dict[str, Any] = {
            "seq": self.head.seq + 1,
            "at": utc_text(),
            "who": who,
            "what": what,
            "target": target,
            "target_id": target_id,
            "why": why,
            "detail": None if detail is None else canonical_json(detail),
            "row_sha256": row_hash,
            "previous_sha256": self.head.sha256,
        }
        entry["sha256"] = entry_sha256(entry)
        self._unwritten.append(stored_row(audit, entry))
        self.head = Head(self.head.seq + 1, entry["sha256"])
        return self.head


def entry_sha256(entry: Mapping[str, Any]) -> str:
    """Return the sha256 of an audit entry: of all that it says, its number and its predecessor's sha256."""
    return row_sha256({name: value for name, value in entry.items() if name != "sha256"})


@cache
def _insertion(table: Table) -> Insert:
    return insert(table)


def _check_protected(table: Table) -> None:
    if table not in PROTECTED:
        raise InvalidArgumentError(f"{table.name} is not logged; write it with execute.")


def _matches(table: Table, key: str | Sequence[str]) -> Any:
    parts = (key,) if isinstance(key, str) else tuple(key)
    columns = tuple(table.primary_key.columns)
    if len(parts) != len(columns):
        raise InvalidArgumentError(f"The key of {table.name} has {len(columns)} parts; got {len(parts)}.")
    return and_(*(column == part for column, part in zip(columns, parts, strict=True)))
