"""Sessions of people at the vessel board: a random token in a cookie; only its sha256 is stored."""

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, insert, select, update

from msc_vision.service.access.keys import secret_sha256
from msc_vision.service.access.people import Person
from msc_vision.service.access.settings import AccessSettings
from msc_vision.service.store import Transaction, utc_text
from msc_vision.service.store.tables import people, session_uses, sessions


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session that was just begun. ``token`` goes into the cookie and is not kept."""

    person: Person
    expires_at: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Session:
    """A session that was found by its token."""

    token_sha256: str
    person: Person
    created_at: str
    expires_at: str
    ended_at: str | None
    last_seen_at: str

    def reason_over(self, settings: AccessSettings) -> str | None:
        """Return why the session is over; None while it is not."""
        now = datetime.now(UTC)
        idle_limit = utc_text(now - timedelta(hours=settings.session_idle_h))
        reasons = (
            (self.ended_at is not None, "the session was ended"),
            (self.expires_at <= utc_text(now), "the session is too old"),
            (self.last_seen_at <= idle_limit, "the session was idle for too long"),
            (not self.person.is_active, "the person was deactivated"),
            (self.created_at < self.person.password_changed_at, "the password was changed"),
        )
        return next((reason for is_so, reason in reasons if is_so), None)


def begin(transaction: Transaction, person: Person, settings: AccessSettings) -> NewSession:
    """Begin a session of somebody who has just given their password."""
    token = secrets.token_urlsafe(32)
    now = datetime.now(UTC)
    row = {
        "token_sha256": secret_sha256(token),
        "person_id": person.person_id,
        "created_at": utc_text(now),
        "expires_at": utc_text(now + timedelta(hours=settings.session_max_age_h)),
    }
    transaction.insert(sessions, row, who=person.principal.who, what="log in")
    transaction.execute(insert(session_uses).values(token_sha256=row["token_sha256"], last_seen_at=utc_text(now)))
    return NewSession(person, row["expires_at"], token)


def find(connection: Connection, token_sha256: str) -> Session | None:
    """Return the session of a token's sha256; None if there is none."""
    query = (
        select(sessions, session_uses.c.last_seen_at)
        .join(session_uses, session_uses.c.token_sha256 == sessions.c.token_sha256)
        .where(sessions.c.token_sha256 == token_sha256)
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    found: dict[str, Any] = dict(row._mapping)
    person = connection.execute(select(people).where(people.c.person_id == found["person_id"])).one()
    names = ("token_sha256", "created_at", "expires_at", "ended_at", "last_seen_at")
    return Session(person=Person.of(dict(person._mapping)), **{name: found[name] for name in names})


def end(transaction: Transaction, token_sha256: str, *, by: str, what: str = "log out") -> None:
    """End a session; one that is over or unknown stays so."""
    row = transaction.find(sessions, token_sha256)
    if row is not None and row["ended_at"] is None:
        transaction.update(sessions, token_sha256, {"ended_at": utc_text()}, who=by, what=what)


def touch(transaction: Transaction, token_sha256: str, at: str) -> None:
    """Write down when a session was last seen."""
    of_token = session_uses.c.token_sha256 == token_sha256
    transaction.execute(update(session_uses).where(of_token, session_uses.c.last_seen_at < at).values(last_seen_at=at))
