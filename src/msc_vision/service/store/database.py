"""Connections: what makes a commit durable and a write alone, in SQLite and in PostgreSQL."""

import os
import sqlite3
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from msc_vision.errors import InvalidArgumentError

ADVISORY_LOCK: Final = 7_230_871_142_001  # any number: the same one in every process that writes to a store
MIGRATION_LOCK: Final = ADVISORY_LOCK + 1


def parse_url(text: str) -> URL:
    """Return the URL of a database: ``sqlite:///file`` or ``postgresql://user@host/name``.

    Raises
    ------
    InvalidArgumentError
        If it is neither, or SQLite without a file (every connection would see its own empty database).
    """
    try:
        url = make_url(text)
    except ArgumentError as err:
        raise InvalidArgumentError(
            f"No database URL: {text!r}. Write sqlite:///path/to/file.db or postgresql://user@host/name."
        ) from err
    if url.get_backend_name() == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    if url.drivername not in {"sqlite", "sqlite+pysqlite"}:
        raise InvalidArgumentError(f"Databases are SQLite and PostgreSQL; got {url.drivername}.")
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise InvalidArgumentError("The store needs a file: sqlite:///path/to/file.db.")
    return url.set(database=str(Path(url.database).expanduser().absolute()))


def shown(url: URL) -> str:
    """Return a URL without its password."""
    return url.render_as_string(hide_password=True)


def is_sqlite(connection: Connection) -> bool:
    """Tell whether a connection is to SQLite."""
    return connection.dialect.name == "sqlite"


def sqlite_path(url: URL) -> Path | None:
    """Return the file of an SQLite database; None for PostgreSQL."""
    return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None


def writing_engine(url: URL, *, lock_timeout_s: float) -> Engine:
    """Return an engine whose transactions lock out other writers and are synced when committed.

    It has one connection; a dead one is replaced before it is used.
    """
    if sqlite_path(url) is not None:
        engine = create_engine(url, pool_size=1, max_overflow=0, connect_args=_sqlite_arguments(lock_timeout_s))
        event.listen(engine, "connect", _make_durable)
        event.listen(engine, "begin", _begin_immediate)
        return engine
    engine = create_engine(
        url, pool_size=1, max_overflow=0, pool_pre_ping=True, connect_args=_postgresql_arguments(lock_timeout_s)
    )
    event.listen(engine, "begin", _lock_out_writers)
    return engine


def reading_engine(url: URL, *, n_connections: int, lock_timeout_s: float) -> Engine:
    """Return an engine whose transactions each see one state of the database and cannot change it."""
    pool: dict[str, Any] = {"pool_size": n_connections, "max_overflow": 0, "pool_timeout": lock_timeout_s}
    if sqlite_path(url) is not None:
        engine = create_engine(url, connect_args=_sqlite_arguments(lock_timeout_s), **pool)
        event.listen(engine, "connect", _make_readonly)
        event.listen(engine, "begin", _begin_snapshot)
        return engine
    return create_engine(
        url,
        connect_args=_postgresql_arguments(lock_timeout_s),
        isolation_level="REPEATABLE READ",
        execution_options={"postgresql_readonly": True},
        **pool,
    )


def create_file(path: Path) -> None:
    """Create the file of an SQLite database that only its owner may read: it holds password hashes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


def _sqlite_arguments(lock_timeout_s: float) -> dict[str, Any]:
    return {"timeout": lock_timeout_s, "check_same_thread": False, "isolation_level": None}


def _postgresql_arguments(lock_timeout_s: float) -> dict[str, Any]:
    milliseconds = round(1000 * lock_timeout_s)
    return {
        "connect_timeout": max(2, round(lock_timeout_s)),
        "options": f"-c synchronous_commit=on -c lock_timeout={milliseconds} -c timezone=UTC",
        "application_name": "msc-vision",
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
    }


def _make_durable(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA journal_mode = WAL").fetchone()
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA recursive_triggers = ON")  # else INSERT OR REPLACE removes a row unseen by triggers
    connection.execute("PRAGMA trusted_schema = OFF")


def _make_readonly(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA trusted_schema = OFF")


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin_snapshot(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _lock_out_writers(connection: Connection) -> None:
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")
