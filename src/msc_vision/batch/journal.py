"""The journal of a run: which field is done, how it ended and why. It is what makes a run resumable.

SQLite in write-ahead mode with one writer, the process that runs. Every outcome is committed as it arrives: in this
mode a commit costs tens of microseconds, survives the process being killed, and a crash of the machine costs at most
the last few fields, which are then scored again.
"""

import dataclasses
import json
import os
import platform
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from msc_vision.batch.execute import Outcome
from msc_vision.batch.field import FieldTask
from msc_vision.errors import InvalidArgumentError, InvalidDataError, OutputError
from msc_vision.records import FieldScore

SCHEMA_VERSION = "1"
JOURNAL_NAME = "journal.sqlite"
LOCK_NAME = ".lock"

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE fields (
    position INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    path TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'scored', 'rejected', 'failed')),
    reason TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    is_passing INTEGER NOT NULL DEFAULT 0,
    score TEXT,
    source_bytes INTEGER,
    source_mtime_ns INTEGER,
    elapsed_s REAL,
    finished_at TEXT
);
"""


@dataclass(frozen=True, slots=True)
class FileStamp:
    """Size and time of a file, or of the newest part of a Zarr folder: cheap evidence that it is unchanged."""

    n_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Entry:
    """What the journal knows about one finished field.

    ``is_passing``: it failed by circumstance (memory, a worker that died), not by its content, so trying again helps.
    """

    score: FieldScore
    attempts: int
    is_passing: bool
    stamp: FileStamp | None
    elapsed_s: float


def file_stamp(path: Path) -> FileStamp | None:
    """Return size and modification time of an image file or folder; None if it is not there."""
    try:
        status = path.stat()
        if not path.is_dir():
            return FileStamp(status.st_size, status.st_mtime_ns)
        parts = [part.stat() for part in path.rglob("*")]
    except OSError:
        return None
    n_bytes = sum(part.st_size for part in parts)
    return FileStamp(n_bytes, max((part.st_mtime_ns for part in parts), default=status.st_mtime_ns))


@contextmanager
def run_lock(out: Path) -> Iterator[None]:
    """Hold the run folder for this process; the system frees it when the process ends, however it ends.

    Raises
    ------
    OutputError
        If another run is at work in the folder; the message names its process.
    """
    lock = FileLock(out / LOCK_NAME, timeout=0)
    try:
        lock.acquire()
    except Timeout as err:
        raise OutputError(
            f"{out}: another run is at work here ({_owner(out)}); wait for it or choose another --out."
        ) from err
    except OSError as err:
        raise OutputError(f"{out}: the run folder cannot be locked ({err.strerror or err}).") from err
    try:
        yield
    finally:
        lock.release()


def _owner(out: Path) -> str:
    try:
        with Journal.open(out) as journal:
            return journal.meta.get("owner", "process unknown")
    except (InvalidArgumentError, InvalidDataError, OutputError):
        return "it is just starting"


class Journal:
    """One open journal. Use `create` or `open`, and as a context manager."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self.path = path

    @classmethod
    def create(cls, out: Path, tasks: Sequence[FieldTask], meta: Mapping[str, str]) -> Self:
        """Begin the journal of a new run: every field is pending. Appears whole or not at all."""
        path = out / JOURNAL_NAME
        draft = path.with_suffix(".sqlite.tmp")
        with _as_output_error(path):
            draft.unlink(missing_ok=True)
            connection = sqlite3.connect(draft)
            try:
                connection.executescript(_SCHEMA)
                with connection:
                    connection.executemany(
                        "INSERT INTO fields (position, key, path) VALUES (?, ?, ?)",
                        ((n, task.key, task.row.path) for n, task in enumerate(tasks)),
                    )
                    connection.executemany(
                        "INSERT INTO meta VALUES (?, ?)", {**meta, "schema_version": SCHEMA_VERSION}.items()
                    )
            finally:
                connection.close()
            draft.replace(path)
        return cls.open(out)

    @classmethod
    def open(cls, out: Path) -> Self:
        """Open the journal of an existing run folder.

        Raises
        ------
        InvalidArgumentError
            If the folder holds no journal, or one written by another version of its layout.
        InvalidDataError
            If the file is no journal.
        """
        path = out / JOURNAL_NAME
        if not path.is_file():
            raise InvalidArgumentError(f"{out} is not a run folder: it has no {JOURNAL_NAME}.")
        connection = sqlite3.connect(path, timeout=5.0, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            journal = cls(connection, path)
            found = journal.meta.get("schema_version")
        except sqlite3.DatabaseError as err:
            connection.close()
            if isinstance(err, sqlite3.OperationalError):
                raise OutputError(
                    f"{path}: the journal cannot be used ({err}); see disk space and permissions."
                ) from err
            raise InvalidDataError(f"{path} is no journal of a run ({err}); choose another --out.") from err
        if found != SCHEMA_VERSION:
            connection.close()
            raise InvalidArgumentError(
                f"{path} has layout {found}, this version reads {SCHEMA_VERSION}; begin a new run in another --out."
            )
        return journal

    @property
    def meta(self) -> dict[str, str]:
        """Names and values that describe the run as a whole."""
        return dict(self._connection.execute("SELECT name, value FROM meta"))

    def set_meta(self, **values: str) -> None:
        """Record facts about the run as a whole."""
        with _as_output_error(self.path):
            for item in values.items():
                self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", item)

    def claim(self) -> None:
        """Note which process is at work, for the message that a second run gets."""
        since = datetime.now(UTC).isoformat(timespec="seconds")
        self.set_meta(owner=f"process {os.getpid()} on {platform.node()} since {since}")

    def record(self, outcome: Outcome, stamp: FileStamp | None) -> None:
        """Commit the outcome of one field."""
        score = outcome.score
        values = (
            score.status,
            score.reason,
            outcome.attempts,
            outcome.is_passing,
            score_to_json(score),
            stamp.n_bytes if stamp else None,
            stamp.mtime_ns if stamp else None,
            outcome.elapsed_s,
            datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds"),
            score.key,
        )
        with _as_output_error(self.path):
            self._connection.execute(
                "UPDATE fields SET state = ?, reason = ?, attempts = attempts + ?, is_passing = ?, score = ?, "
                "source_bytes = ?, source_mtime_ns = ?, elapsed_s = ?, finished_at = ? WHERE key = ?",
                values,
            )

    def reopen(self, keys: Sequence[str]) -> None:
        """Make fields pending again, because their image changed or their output is gone."""
        with _as_output_error(self.path):
            self._connection.execute("BEGIN")
            self._connection.executemany(
                "UPDATE fields SET state = 'pending', reason = NULL, score = NULL, is_passing = 0 WHERE key = ?",
                ((key,) for key in keys),
            )
            self._connection.execute("COMMIT")

    def entries(self) -> Iterator[Entry]:
        """Yield the finished fields in the order of the manifest."""
        rows = self._connection.execute(
            "SELECT score, attempts, is_passing, source_bytes, source_mtime_ns, elapsed_s FROM fields "
            "WHERE state != 'pending' ORDER BY position"
        )
        for score, attempts, is_passing, n_bytes, mtime_ns, elapsed_s in rows:
            stamp = None if n_bytes is None else FileStamp(n_bytes, mtime_ns)
            yield Entry(score_from_json(score), attempts, bool(is_passing), stamp, elapsed_s)

    def counts(self) -> dict[str, int]:
        """Return how many fields are pending, scored, rejected and failed."""
        found = dict(self._connection.execute("SELECT state, count(*) FROM fields GROUP BY state"))
        return {state: found.get(state, 0) for state in ("pending", "scored", "rejected", "failed")}

    def keys(self) -> tuple[str, ...]:
        """Return the keys of all fields in the order of the manifest."""
        return tuple(key for (key,) in self._connection.execute("SELECT key FROM fields ORDER BY position"))

    def close(self) -> None:
        """Close the file; what was committed stays."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def score_to_json(score: FieldScore) -> str:
    """Return a score as JSON text; figures of NumPy types are kept to the last bit as plain numbers."""
    return json.dumps(dataclasses.asdict(score), default=lambda value: value.item())


def score_from_json(text: str) -> FieldScore:
    """Return the score that `score_to_json` wrote; tuples come back as tuples."""
    values: dict[str, Any] = json.loads(text)
    values |= {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    return FieldScore(**values)


@contextmanager
def _as_output_error(path: Path) -> Iterator[None]:
    """Turn a database that cannot be written into one clear line; its last committed state stays readable."""
    try:
        yield
    except (sqlite3.OperationalError, OSError) as err:
        if isinstance(err, OutputError):
            raise
        raise OutputError(
            f"{path}: the journal cannot be written ({err}); free space or permission is missing. "
            "What is recorded is kept: put it right and run again with --resume."
        ) from err
