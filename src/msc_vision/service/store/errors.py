"""What the store says when it cannot do as asked, and how the errors of a database are read."""

import sqlite3
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError, TimeoutError

from msc_vision.errors import InvalidArgumentError, InvalidDataError, MscVisionError, OutputError

if TYPE_CHECKING:
    from msc_vision.service.store.transaction import Transaction

RETRY_AFTER_S: Final = 2.0
_PASSING_SQLITE: Final = {
    sqlite3.SQLITE_BUSY: "it is locked by another process",
    sqlite3.SQLITE_LOCKED: "it is locked",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "reading or writing its file failed",
    sqlite3.SQLITE_CANTOPEN: "its file cannot be opened",
    sqlite3.SQLITE_READONLY: "its file may not be written to",
    sqlite3.SQLITE_NOMEM: "there is not enough memory",
    sqlite3.SQLITE_PROTOCOL: "its lock protocol failed",
    sqlite3.SQLITE_INTERRUPT: "it was interrupted",
    sqlite3.SQLITE_CORRUPT: "its file is damaged; restore a back-up",
    sqlite3.SQLITE_NOTADB: "its file is no database; restore a back-up",
    sqlite3.SQLITE_PERM: "access to its file is refused",
}
_PASSING_POSTGRESQL: Final = {
    "08": "the connection was lost",
    "40": "another transaction was in the way",
    "53": "the server has run out of disk, memory or connections",
    "55": "a lock was held too long",
    "57": "the server ended the statement or is shutting down",
    "58": "the server could not read or write its files",
}


class StoreUnavailableError(OutputError):
    """The database cannot be read or written just now; nothing was acknowledged. Try again after ``retry_after_s``."""

    def __init__(self, message: str, retry_after_s: float = RETRY_AFTER_S) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class StoreVersionError(InvalidDataError):
    """The database was made by another version of the software, or is empty."""


class StoreConflictError(InvalidArgumentError):
    """A row with this id or name is there already, or the row that it refers to is not."""


class NotFoundError(InvalidArgumentError):
    """There is no row with this id."""


class RefusedError(MscVisionError):
    """Somebody was not allowed to do something: a command that raises it is undone, and a note of it is kept.

    Attributes
    ----------
    who, what, target, target_id : str
        What the audit log says of it; why is the message.
    """

    def __init__(
        self, message: str, *, who: str, what: str, target: str | None = None, target_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.who, self.what, self.target, self.target_id = who, what, target, target_id

    def settle(self, transaction: "Transaction") -> None:
        """Write what remains of the refused command: a note. Kinds of refusals may leave more."""
        transaction.note_refusal(self)


def unavailable(err: DBAPIError | TimeoutError | OSError) -> StoreUnavailableError | None:
    """Return the error for a database that is gone, locked or full; None if the statement itself was at fault."""
    if not isinstance(err, DBAPIError):
        return StoreUnavailableError(f"The database cannot be reached ({_first_line(err)}). Try again shortly.")
    reason = _reason(err)
    return StoreUnavailableError(f"The database is unavailable: {reason}. Try again shortly.") if reason else None


def _reason(err: DBAPIError) -> str | None:
    code = getattr(err.orig, "sqlite_errorcode", None)
    if code is not None:
        return _PASSING_SQLITE.get(code & 0xFF)  # the low byte is the primary code of an extended one
    state = getattr(err.orig, "sqlstate", None)
    if state is not None:
        return _PASSING_POSTGRESQL.get(state[:2])
    if err.connection_invalidated or isinstance(err, OperationalError | InterfaceError):
        return f"the connection was lost or refused ({_first_line(err.orig)})"
    return None


def is_damage(err: DBAPIError) -> bool:
    """Tell whether a database can no longer be read because of what is in it, not because it is busy or away."""
    code = getattr(err.orig, "sqlite_errorcode", None)
    if code is None:
        return _reason(err) is None
    return code & 0xFF not in set(_PASSING_SQLITE) - {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def translated(err: Exception) -> Exception:
    """Return the error of our own that a database error means, or the error itself."""
    if isinstance(err, IntegrityError):
        return StoreConflictError(f"The row contradicts what is stored: {_first_line(err.orig)}.")
    if isinstance(err, UnicodeDecodeError):  # how SQLite's driver fails over a damaged file
        return StoreUnavailableError("The database is unavailable: its file is damaged; restore a back-up.")
    if isinstance(err, DBAPIError | TimeoutError | OSError) and not isinstance(err, MscVisionError):
        return unavailable(err) or err
    return err


def _first_line(err: BaseException | None) -> str:
    lines = str(err).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(err).__name__
