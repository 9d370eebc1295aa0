"""The store: one database, one writer per process, pooled readers."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from types import TracebackType
from typing import Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, TimeoutError

from msc_vision.service.store.database import parse_url, reading_engine, shown, writing_engine
from msc_vision.service.store.errors import StoreUnavailableError, translated
from msc_vision.service.store.schema import check_schema
from msc_vision.service.store.transaction import Head, read_head
from msc_vision.service.store.writer import Command, Writer

T = TypeVar("T")
Query = Callable[[Connection], T]


class StoreSettings(BaseModel):
    """How a process uses its database."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    queue_limit: int = Field(1000, ge=1, description="Writes that may wait; more are refused at once.")
    commit_limit: int = Field(64, ge=1, le=1000, description="Writes that share one commit at most.")
    n_readers: int = Field(4, ge=1, description="Connections, and threads of read_async, that read.")
    answer_timeout_s: float = Field(20.0, gt=0, description="How long a write may take that somebody waits for.")
    lock_timeout_s: float = Field(5.0, gt=0, description="How long to wait for a lock or a connection, in seconds.")


class Store:
    """An open store. Use `open`, and as a context manager.

    Writing: ``store.write(command)`` returns a future that is done once the command is committed and synced;
    ``await store.write_async(command)`` does the same in a coroutine. A command is a function of a `Transaction`.
    Reading: ``store.read(query)`` or ``await store.read_async(query)``; a query is a function of a connection, and all
    that it reads is of one moment. ``look`` and ``look_async`` read likewise, but each statement by itself: a third of
    the round trips, for what is only ever added to.

    Both raise `StoreUnavailableError` (with ``retry_after_s``) while the database is gone, locked or full, and recover
    by themselves. A write that fails so when its connection breaks during the commit may have been committed: repeat
    it with the same idempotency key.
    """

    def __init__(self, writing: Engine, reading: Engine, settings: StoreSettings) -> None:
        self._reading = reading
        is_remote = reading.dialect.name != "sqlite"  # in SQLite, beginning and ending costs nothing
        self._looking = reading.execution_options(isolation_level="AUTOCOMMIT") if is_remote else reading
        self._answer_timeout_s = settings.answer_timeout_s
        self._writer = Writer(writing, queue_limit=settings.queue_limit, commit_limit=settings.commit_limit)
        self._readers = ThreadPoolExecutor(settings.n_readers, thread_name_prefix="msc-vision-reader")

    @classmethod
    def open(cls, url: str, settings: StoreSettings | None = None) -> Self:
        """Open an existing database.

        Raises
        ------
        InvalidArgumentError
            If the URL is not of SQLite or PostgreSQL.
        StoreVersionError
            If the database is empty, older or newer than this software.
        StoreUnavailableError
            If it cannot be reached.
        """
        chosen = settings or StoreSettings()
        parsed = parse_url(url)
        check_schema(parsed, lock_timeout_s=chosen.lock_timeout_s)
        writing = writing_engine(parsed, lock_timeout_s=chosen.lock_timeout_s)
        reading = reading_engine(parsed, n_connections=chosen.n_readers, lock_timeout_s=chosen.lock_timeout_s)
        return cls(writing, reading, chosen)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Finish the writes that are queued and give the connections back."""
        self._readers.shutdown(wait=True)
        self._writer.close()
        self._reading.dispose()

    @property
    def name(self) -> str:
        """The database's URL without its password."""
        return shown(self._reading.url)

    @property
    def n_waiting(self) -> int:
        """Writes that wait: a figure to watch."""
        return self._writer.n_waiting

    def write(self, command: Command[T]) -> "Future[T]":
        """Queue a command and return its future.

        Raises
        ------
        StoreUnavailableError
            At once, if too many commands wait or the store is closing.
        """
        return self._writer.submit(command)

    def write_and_wait(self, command: Command[T]) -> T:
        """Return a command's result once it is committed and synced; blocks for that long.

        Raises
        ------
        StoreUnavailableError
            If the database is gone, locked or full, or did not answer in time.
        """
        future = self.write(command)
        try:
            return future.result(self._answer_timeout_s)
        except FutureTimeoutError as err:
            raise self._without_answer(future) from err

    async def write_async(self, command: Command[T]) -> T:
        """Return a command's result once it is committed and synced; raises as `write_and_wait`."""
        future = self.write(command)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self._answer_timeout_s)
        except FutureTimeoutError as err:
            raise self._without_answer(future) from err

    def _without_answer(self, future: "Future[T]") -> StoreUnavailableError:
        was_waiting = future.cancel()
        outcome = "nothing was written" if was_waiting else "the write may yet succeed: repeat it with the same key"
        return StoreUnavailableError(f"The database did not answer in {self._answer_timeout_s:g} s; {outcome}.")

    def read(self, query: Query[T]) -> T:
        """Return what a query finds in one state of the database; blocks for that long.

        Raises
        ------
        StoreUnavailableError
            If the database is gone or locked, or all readers are busy.
        """
        return self._read_over(self._reading, query)

    def look(self, query: Query[T]) -> T:
        """Return what a query finds, each of its statements in a state of its own; raises as `read`."""
        return self._read_over(self._looking, query)

    async def read_async(self, query: Query[T]) -> T:
        """Return what a query finds, without holding up the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self.read, query)

    async def look_async(self, query: Query[T]) -> T:
        """Return what `look` does, without holding up the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self.look, query)

    def head(self) -> Head:
        """Return the last audit entry; keep it elsewhere to notice a log whose end was cut off."""
        return self.read(read_head)

    def _read_over(self, engine: Engine, query: Query[T]) -> T:
        try:
            return self._read_once(engine, query)
        except DBAPIError as err:
            if not err.connection_invalidated:  # it is there, but refuses
                raise translated(err) from err
        except UnicodeDecodeError as err:
            raise translated(err) from err
        return self._read_again(engine, query)

    def _read_once(self, engine: Engine, query: Query[T]) -> T:
        try:
            with engine.connect() as connection:
                return query(connection)
        except TimeoutError as err:
            raise StoreUnavailableError("All readers of the database are busy. Try again shortly.") from err

    def _read_again(self, engine: Engine, query: Query[T]) -> T:
        """Read over a new connection: the old one had died, as after a restart of the server."""
        try:
            return self._read_once(engine, query)
        except DBAPIError as err:
            raise translated(err) from err
