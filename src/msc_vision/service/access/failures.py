"""Wrong passwords in a row: a delay that grows, for names that exist and for names that do not.

An attempt is counted before the password is looked at and forgiven when it was right. So many attempts at the same
moment count as many failures, not as one.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import delete, insert, update

from msc_vision.service.access.errors import LockedOutError
from msc_vision.service.access.settings import AccessSettings
from msc_vision.service.store import Transaction, utc_text
from msc_vision.service.store.tables import login_failures


def count_attempt(transaction: Transaction, username: str, what: str, settings: AccessSettings) -> None:
    """Count an attempt to give a password.

    Raises
    ------
    LockedOutError
        If the delay after earlier failures has not passed.
    """
    now = datetime.now(UTC)
    known = transaction.find(login_failures, username)
    if known is not None and known["locked_until"] > utc_text(now):
        wait_s = (datetime.fromisoformat(known["locked_until"]) - now).total_seconds()
        raise LockedOutError(
            f"Too many wrong passwords; try again in {max(1, round(wait_s))} s.",
            who=f"person:{username}",
            what=what,
            retry_after_s=max(1.0, wait_s),
        )
    n_failures = 1 + _remembered(known, now, settings)
    values = {
        "n_failures": n_failures,
        "last_failed_at": utc_text(now),
        "locked_until": utc_text(now + timedelta(seconds=delay_s(n_failures, settings))),
    }
    if known is None:
        _forget_old(transaction, now, settings)
        transaction.execute(insert(login_failures).values(username=username, **values))
    else:
        transaction.execute(update(login_failures).where(login_failures.c.username == username).values(**values))


def forgive(transaction: Transaction, username: str) -> None:
    """Forget the failures of a person who has given the right password."""
    transaction.execute(delete(login_failures).where(login_failures.c.username == username))


def delay_s(n_failures: int, settings: AccessSettings) -> float:
    """Return how long to wait after so many failures in a row, in seconds."""
    n_more = n_failures - settings.n_free_failures
    if n_more <= 0:
        return 0.0
    return float(min(settings.max_delay_s, settings.first_delay_s * 2.0 ** min(n_more - 1, 60)))


def _remembered(known: Mapping[str, Any] | None, now: datetime, settings: AccessSettings) -> int:
    if known is None or known["last_failed_at"] < utc_text(now - timedelta(hours=settings.forget_failures_h)):
        return 0
    return int(known["n_failures"])


def _forget_old(transaction: Transaction, now: datetime, settings: AccessSettings) -> None:
    """Keep the table small: names that nobody has tried lately are of no use."""
    limit = utc_text(now - timedelta(hours=settings.forget_failures_h))
    transaction.execute(delete(login_failures).where(login_failures.c.last_failed_at < limit))
