"""People and keys, sessions and passwords."""

from datetime import datetime
from typing import Any

from msc_vision.service.access import NewKey, NewSession
from msc_vision.service.access import keys as key_commands
from msc_vision.service.access import people as people_commands
from msc_vision.service.access.passwords import Hasher, check_password, normal_username
from msc_vision.service.actions.decisions import in_worker
from msc_vision.service.actions.reading import not_there
from msc_vision.service.context import Caller, Service
from msc_vision.service.idempotency import Answer, Once, json_answer, write_once
from msc_vision.service.problems import ProblemError
from msc_vision.service.schemas import KeyAsk, KeyRotation, NewPassword, PersonAsk, PersonChange
from msc_vision.service.store import Transaction, canonical_json
from msc_vision.service.views import key_view, person_view


async def log_in(service: Service, username: str, password: str) -> NewSession:
    """Begin a session.

    Raises
    ------
    NotAuthenticatedError, LockedOutError, PasswordExpiredError
        As `Access.log_in`.
    """
    return await in_worker(service, lambda: service.access.log_in(username, password))


async def log_out(service: Service, caller: Caller) -> None:
    """End the session of a caller.

    Raises
    ------
    ProblemError
        ``conflict``: the caller is a key, which has no session.
    """
    if caller.principal.kind != "person":
        raise ProblemError("conflict", "A key has no session; an admin revokes keys.")
    await in_worker(service, lambda: service.access.log_out(caller.token, by=caller.principal))
    service.credentials.forget()


def me(caller: Caller) -> dict[str, Any]:
    """Return who the service takes a caller for."""
    found = caller.principal
    return {
        "kind": found.kind,
        "id": found.id,
        "name": found.name,
        "roles": sorted(found.roles),
        "scopes": sorted(found.scopes),
    }


async def change_password(service: Service, caller: Caller, asked: NewPassword) -> None:
    """Give the caller a new password; all their sessions end."""
    if caller.principal.kind != "person":
        raise ProblemError("conflict", "A key has no password; an admin rotates keys.")
    name = caller.principal.name
    await in_worker(service, lambda: service.access.change_password(name, asked.old_password, asked.new_password))
    service.credentials.forget()


# --- people ----------------------------------------------------------------------------------------------------------


async def add_person(service: Service, caller: Caller, asked: PersonAsk, once: Once | None = None) -> Answer:
    """Add a person.

    Raises
    ------
    ForbiddenError
        Without the scope ``admin``.
    PasswordRefusedError, StoreConflictError
        If the password is too easy, or the name is taken.
    """
    service.require(caller, "admin", "add person")
    name, digest = await in_worker(service, lambda: _hashed(service, asked))

    def command(tx: Transaction) -> Answer:
        made = people_commands.add_person(tx, name, asked.printed_name, asked.roles, digest, by=caller.who)
        return json_answer(201, person_view(made), Location=f"/v1/people/{made.username}")

    return await write_once(service, caller, once, command)


def _hashed(service: Service, asked: PersonAsk) -> tuple[str, str]:
    name = normal_username(asked.username)
    check_password(asked.password, username=name)
    return name, Hasher(service.access.settings.hashing).hash(asked.password)


async def list_people(service: Service, caller: Caller) -> list[dict[str, Any]]:
    """Return everybody."""
    service.require(caller, "admin", "list people")
    return [person_view(one) for one in await in_worker(service, service.access.list_people)]


async def person_of(service: Service, caller: Caller, username: str) -> dict[str, Any]:
    """Return a person."""
    for one in await list_people(service, caller):
        if one["username"] == username:
            return one
    raise not_there("person", username)


async def change_person(service: Service, caller: Caller, username: str, asked: PersonChange) -> dict[str, Any]:
    """Give a person other roles, a new password, or both."""
    await person_of(service, caller, username)
    if asked.roles is None and asked.password is None:
        raise ProblemError("not-valid", "Nothing to change: give roles, password or both.")
    if asked.password is not None:
        password = asked.password
        await in_worker(service, lambda: service.access.set_password(username, password, by=caller.who))
    if asked.roles is not None:
        roles = asked.roles
        await in_worker(service, lambda: service.access.set_roles(username, roles, by=caller.who, why=asked.why))
    service.credentials.forget()
    return await person_of(service, caller, username)


async def deactivate_person(service: Service, caller: Caller, username: str, why: str) -> dict[str, Any]:
    """Shut a person out; what they did and signed stays."""
    await person_of(service, caller, username)
    left = await in_worker(service, lambda: service.access.deactivate(username, by=caller.who, why=why))
    service.credentials.forget()
    return person_view(left)


# --- keys ------------------------------------------------------------------------------------------------------------


async def add_key(service: Service, caller: Caller, asked: KeyAsk, once: Once | None = None) -> Answer:
    """Make a key; its secret is shown this once.

    Raises
    ------
    ForbiddenError
        Without the scope ``admin``.
    """
    service.require(caller, "admin", "add key")
    _check_zone(asked.expires_at)

    def command(tx: Transaction) -> Answer:
        made = key_commands.add_key(tx, asked.name, asked.scopes, by=caller.who, expires_at=asked.expires_at)
        return _new_key(made)

    return await write_once(service, caller, once, command)


async def rotate_key(
    service: Service, caller: Caller, key_id: str, asked: KeyRotation, once: Once | None = None
) -> Answer:
    """Make a key of the same name and scopes; the old secret works for a while more."""
    service.require(caller, "admin", "rotate key")
    _check_zone(asked.expires_at)

    def command(tx: Transaction) -> Answer:
        made = key_commands.rotate_key(
            tx, key_id, by=caller.who, overlap_h=asked.overlap_h, expires_at=asked.expires_at
        )
        return _new_key(made)

    return await write_once(service, caller, once, command)


def _new_key(made: NewKey) -> Answer:
    view = key_view(made.key)
    shown, kept = {**view, "token": made.token}, {**view, "token": None}
    headers = {"Location": f"/v1/keys/{made.key.key_id}"}
    return Answer(201, canonical_json(shown), headers, kept_text=canonical_json(kept))


def _check_zone(moment: datetime | None) -> None:
    if moment is not None and (moment.tzinfo is None or not 1900 <= moment.year <= 9000):
        raise ProblemError("not-valid", f"{moment.isoformat()} is no time with zone; write 2026-11-20T08:00+01:00.")


async def list_keys(service: Service, caller: Caller) -> list[dict[str, Any]]:
    """Return every key, ended ones too."""
    service.require(caller, "admin", "list keys")
    return [key_view(one) for one in await in_worker(service, service.access.list_keys)]


async def key_of(service: Service, caller: Caller, key_id: str) -> dict[str, Any]:
    """Return a key."""
    for one in await list_keys(service, caller):
        if one["key_id"] == key_id:
            return one
    raise not_there("key", key_id)


async def revoke_key(service: Service, caller: Caller, key_id: str, why: str) -> dict[str, Any]:
    """End a key now."""
    await key_of(service, caller, key_id)
    ended = await in_worker(service, lambda: service.access.revoke_key(key_id, by=caller.who, why=why))
    service.credentials.forget()
    return key_view(ended)


def session_view(made: NewSession) -> dict[str, Any]:
    """Return a new session with its token."""
    person = made.person
    return {
        "token": made.token,
        "expires_at": made.expires_at,
        "username": person.username,
        "printed_name": person.printed_name,
        "roles": list(person.roles),
    }
