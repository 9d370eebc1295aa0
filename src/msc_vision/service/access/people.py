"""Named people: commands that make and change them. None is ever removed; a person who leaves is deactivated."""

import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select

from msc_vision.errors import InvalidArgumentError
from msc_vision.service.access.principals import Principal, checked_roles, scopes_of
from msc_vision.service.store import NotFoundError, StoreConflictError, Transaction, canonical_json, utc_text
from msc_vision.service.store.tables import people


@dataclass(frozen=True, slots=True)
class Person:
    """A person as shown: without the password's hash."""

    person_id: str
    username: str
    printed_name: str
    roles: tuple[str, ...]
    created_at: str
    password_changed_at: str
    deactivated_at: str | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Person":
        """Return the person of a stored row."""
        names = ("person_id", "username", "printed_name", "created_at", "password_changed_at", "deactivated_at")
        return cls(roles=tuple(json.loads(row["roles"])), **{name: row[name] for name in names})

    @property
    def is_active(self) -> bool:
        """Whether they may log in."""
        return self.deactivated_at is None

    @property
    def principal(self) -> Principal:
        """The person as somebody who asks."""
        return Principal("person", self.person_id, self.username, scopes_of(self.roles), frozenset(self.roles))

    def has_expired_password(self, max_age_days: float | None) -> bool:
        """Tell whether the password is older than a setting allows."""
        if max_age_days is None:
            return False
        return self.password_changed_at < utc_text(datetime.now(UTC) - timedelta(days=max_age_days))


def find_row(connection: Connection, username: str) -> dict[str, Any] | None:
    """Return the stored row of a person; None if there is none."""
    row = connection.execute(select(people).where(people.c.username == username)).first()
    return dict(row._mapping) if row is not None else None


def list_people(connection: Connection) -> tuple[Person, ...]:
    """Return everybody, deactivated people too, in the order of their names."""
    rows = connection.execute(select(people).order_by(people.c.username))
    return tuple(Person.of(dict(row._mapping)) for row in rows)


def add_person(
    transaction: Transaction, username: str, printed_name: str, roles: Iterable[str], password_hash: str, *, by: str
) -> Person:
    """Add a person.

    Raises
    ------
    InvalidArgumentError
        If the printed name is empty or a role is unknown.
    StoreConflictError
        If the username is taken, by a deactivated person too: a name in the log means one person for ever.
    """
    name = " ".join(printed_name.split())
    if not name or len(name) > 200:
        raise InvalidArgumentError("The printed name is what a signature shows; give 1 to 200 characters.")
    if find_row(transaction.connection, username) is not None:
        raise StoreConflictError(f"{username} exists already.")
    now = utc_text()
    row = {
        "person_id": f"p{secrets.token_hex(8)}",
        "username": username,
        "printed_name": name,
        "roles": canonical_json(checked_roles(roles)),
        "password_hash": password_hash,
        "password_changed_at": now,
        "created_at": now,
    }
    return Person.of(transaction.insert(people, row, who=by, what="add person"))


def set_password_hash(transaction: Transaction, username: str, password_hash: str, *, by: str) -> Person:
    """Give a person a new password; their sessions end with the old one."""
    changes = {"password_hash": password_hash, "password_changed_at": utc_text()}
    return _change(transaction, username, changes, by=by, what="set password")


def renew_hash(transaction: Transaction, username: str, password_hash: str) -> Person:
    """Keep the same password at today's cost."""
    return _change(transaction, username, {"password_hash": password_hash}, by="system", what="rehash password")


def set_roles(transaction: Transaction, username: str, roles: Iterable[str], *, by: str, why: str) -> Person:
    """Give a person other roles.

    Raises
    ------
    InvalidArgumentError
        If a role is unknown, or nobody would be admin any more.
    """
    chosen = checked_roles(roles)
    if "admin" not in chosen:
        _check_admin_remains(transaction, username)
    return _change(transaction, username, {"roles": canonical_json(chosen)}, by=by, what="set roles", why=why)


def deactivate(transaction: Transaction, username: str, *, by: str, why: str) -> Person:
    """Shut a person out from now on; what they did and signed stays.

    Raises
    ------
    InvalidArgumentError
        If nobody would be admin any more.
    """
    _check_admin_remains(transaction, username)
    return _change(transaction, username, {"deactivated_at": utc_text()}, by=by, what="deactivate person", why=why)


def _change(
    transaction: Transaction, username: str, changes: Mapping[str, Any], *, by: str, what: str, why: str | None = None
) -> Person:
    row = find_row(transaction.connection, username)
    if row is None:
        raise NotFoundError(f"Nobody is called {username}.")
    return Person.of(transaction.update(people, row["person_id"], changes, who=by, what=what, why=why))


def _check_admin_remains(transaction: Transaction, username: str) -> None:
    everybody = [person for person in list_people(transaction.connection) if person.is_active]
    admins = {person.username for person in everybody if "admin" in person.roles}
    if admins == {username}:
        raise InvalidArgumentError(f"{username} is the only active admin; make somebody else admin first.")
