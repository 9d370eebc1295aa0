"""One thread that writes, many commands to a commit: an acknowledged write is on disk, and a sync serves many.

While one transaction is being synced the next commands gather in the queue; they then share the next commit. Each runs
in a savepoint of its own, so one that is refused leaves the others alone. If the database itself fails, the whole
transaction is gone and every command in it fails with `StoreUnavailableError`; the thread goes on with the next ones.
"""

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Engine

from msc_vision.service.store.errors import RefusedError, StoreUnavailableError, translated
from msc_vision.service.store.transaction import Transaction

T = TypeVar("T")
Command = Callable[[Transaction], T]
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Queued:
    command: Command[Any]
    future: "Future[Any]"


@dataclass(frozen=True, slots=True)
class _Outcome:
    queued: _Queued
    result: Any = None
    error: Exception | None = None

    def tell(self) -> None:
        if self.error is not None:
            self.queued.future.set_exception(self.error)
        else:
            self.queued.future.set_result(self.result)


class Writer:
    """The thread and its queue. `submit` from any thread; `close` finishes what is queued.

    Parameters
    ----------
    engine
        Of `database.writing_engine`; the writer disposes of it.
    queue_limit
        Commands that may wait; more are refused at once.
    commit_limit
        Commands that share a commit at most: it bounds how long other processes wait for the lock.
    """

    def __init__(self, engine: Engine, *, queue_limit: int, commit_limit: int) -> None:
        self._engine = engine
        self._queue: queue.Queue[_Queued | None] = queue.Queue(queue_limit + 1)  # one place is kept for the end
        self._queue_limit = queue_limit
        self._commit_limit = commit_limit
        self._gate = threading.Lock()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="msc-vision-writer", daemon=True)
        self._thread.start()

    @property
    def n_waiting(self) -> int:
        """Commands that wait to be written."""
        return self._queue.qsize()

    def submit(self, command: Command[T]) -> "Future[T]":
        """Queue a command; its future has the result once it is committed and synced.

        Raises
        ------
        StoreUnavailableError
            If too many commands wait, or the store is closing.
        """
        future: Future[T] = Future()
        with self._gate:
            if self._is_closed:
                raise StoreUnavailableError("The store is closing; nothing was written.")
            if self._queue.qsize() >= self._queue_limit:
                raise StoreUnavailableError(f"{self._queue_limit} writes are waiting; nothing was written. Slow down.")
            self._queue.put_nowait(_Queued(command, future))
        return future

    def close(self) -> None:
        """Write what is queued, then end."""
        with self._gate:
            if not self._is_closed:
                self._is_closed = True
                self._queue.put_nowait(None)
        self._thread.join()
        self._engine.dispose()

    def _run(self) -> None:
        is_open = True
        while is_open:
            batch, is_open = self._next_batch()
            running = [queued for queued in batch if queued.future.set_running_or_notify_cancel()]
            if running:
                for outcome in self._write(running):
                    outcome.tell()

    def _next_batch(self) -> tuple[list[_Queued], bool]:
        """Return the commands that wait, at least one, and whether more may come."""
        batch: list[_Queued] = []
        item = self._queue.get()
        while item is not None:
            batch.append(item)
            if len(batch) == self._commit_limit:
                return batch, True
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return batch, True
        return batch, False

    def _write(self, batch: list[_Queued]) -> list[_Outcome]:
        """Run commands in one transaction and commit it; all fail if the database does."""
        try:
            with self._engine.connect() as connection, connection.begin():
                transaction = Transaction(connection)
                outcomes = [_attempt(transaction, queued) for queued in batch]
                transaction.flush()
        except Exception as err:  # noqa: BLE001  (whatever it was, the callers wait for an answer and the thread goes on)
            error = translated(err)
            _LOG.error("%d writes failed: %s", len(batch), error)
            self._engine.dispose()  # a connection that has failed is not used again
            return [_Outcome(queued, error=_own_copy(error)) for queued in batch]
        return outcomes


def _attempt(transaction: Transaction, queued: _Queued) -> _Outcome:
    """Run a command in a savepoint; undo it if it raises. A failing database ends the whole transaction."""
    mark = transaction.begin_command()
    try:
        result = queued.command(transaction)
    except Exception as err:
        error = translated(err)
        if isinstance(error, StoreUnavailableError):
            raise error from err
        transaction.undo_command(mark)
        if isinstance(error, RefusedError):
            error.settle(transaction)
        return _Outcome(queued, error=error)
    transaction.keep_command()
    return _Outcome(queued, result)


def _own_copy(error: Exception) -> Exception:
    """Return an error for one caller: two threads that raise one object would mix their tracebacks."""
    if isinstance(error, StoreUnavailableError):
        return StoreUnavailableError(str(error), error.retry_after_s)
    return error
