"""Who asks, and may they: credentials checked against the store, remembered for two seconds, refusals noted."""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from sqlalchemy import insert, update

from msc_vision.errors import InvalidArgumentError
from msc_vision.service.access import failures, keys, people, sessions, signatures
from msc_vision.service.access.errors import ForbiddenError, NotAuthenticatedError, PasswordExpiredError
from msc_vision.service.access.passwords import Hasher, check_password, normal_username
from msc_vision.service.access.people import Person
from msc_vision.service.access.principals import Principal, Scope
from msc_vision.service.access.sessions import NewSession
from msc_vision.service.access.settings import AccessSettings
from msc_vision.service.access.signatures import Signature, SignatureRequest
from msc_vision.service.store import RefusedError, Store, StoreUnavailableError, Transaction, utc_text
from msc_vision.service.store.tables import key_uses

T = TypeVar("T")
Refusal = TypeVar("Refusal", bound=RefusedError)
_LOG = logging.getLogger(__name__)
_CACHE_LIMIT: Final = 10_000
_WRONG: Final = "Wrong name or password."


@dataclass(frozen=True, slots=True)
class _Remembered:
    principal: Principal
    until_s: float  # of the monotonic clock


class Access:
    """Checks credentials and keeps people and keys. Its methods block; those that hash a password for some 50 ms.

    Call `authenticate_key` and `authenticate_session` directly (microseconds when remembered, else one read), the
    others from a thread. Every refusal is an error of `RefusedError`'s family and is noted in the audit log; notes of
    refusals are queued before the error is raised, so a later write of this process comes after them in the log.

    Parameters
    ----------
    store : Store
    settings : AccessSettings, optional
    note : callable, optional
        Takes the refusals of credentials and scopes instead, so that a flood of wrong keys can be summed up; must not
        wait. Refusals within a command (lock-out, signatures) are noted with it, whatever this is.
    """

    def __init__(
        self, store: Store, settings: AccessSettings | None = None, note: Callable[[RefusedError], None] | None = None
    ) -> None:
        self._store = store
        self._note = note or self._note_one
        self.settings = settings or AccessSettings()
        self._hasher = Hasher(self.settings.hashing)
        self._remembered: dict[str, _Remembered] = {}
        self._touched: dict[str, float] = {}
        self._gate = threading.Lock()

    # -- who is it ------------------------------------------------------------------------------------------------

    def authenticate_key(self, token: str) -> Principal:
        """Return whose API key this is.

        Raises
        ------
        NotAuthenticatedError
            If it is no key, or an unknown, expired or revoked one.
        """
        digest = keys.secret_sha256(token)
        known = self._recall(digest)
        if known is not None:
            return known
        parts = keys.split_token(token)
        row = self._store.read(lambda connection: keys.find_row(connection, parts[0])) if parts else None
        if parts is None or row is None or not keys.is_secret(parts[1], row["secret_sha256"]):
            raise self._refused(
                "This API key is not known.", f"key:{parts[0][:40] if parts else 'unreadable'}", "use key"
            )
        key = keys.Key.of(row)
        ends_at = key.end(self.settings.key_max_age_days)
        now = utc_text()
        if key.revoked_at is not None or (ends_at is not None and ends_at <= now):
            state = "was revoked" if key.revoked_at is not None else f"expired at {ends_at}"
            raise self._refused(f"This API key {state}.", f"key:{key.key_id}", "use key")
        self._remember(digest, key.principal, ends_at)
        self._touch(f"key:{key.key_id}", lambda transaction: _touch_key(transaction, key.key_id, now))
        return key.principal

    def authenticate_session(self, token: str) -> Principal:
        """Return whose session this is.

        Raises
        ------
        NotAuthenticatedError
            If it is no session, or one that is over.
        """
        digest = keys.secret_sha256(token)
        known = self._recall(digest)
        if known is not None:
            return known
        session = self._store.read(lambda connection: sessions.find(connection, digest))
        if session is None:
            raise self._refused("This session is not known; log in.", "session:unknown", "use session")
        reason = session.reason_over(self.settings)
        if reason is not None:
            raise self._refused(f"Log in again: {reason}.", session.person.principal.who, "use session")
        self._remember(digest, session.person.principal, session.expires_at)
        now = utc_text()
        self._touch(digest, lambda transaction: sessions.touch(transaction, digest, now))
        return session.person.principal

    def authenticate_password(self, username: str, password: str, *, what: str = "give password") -> Person:
        """Return who has this name and password; counts failures and locks out for a while.

        Raises
        ------
        NotAuthenticatedError
            If there is nobody of this name and password, which of the two is not told.
        LockedOutError
            If there were too many failures in a row.
        PasswordExpiredError
            If the password is right but too old.
        """
        person = self._identify(username, password, what=what)
        if person.has_expired_password(self.settings.password_max_age_days):
            raise self._noted(
                PasswordExpiredError(
                    "The password is too old; change it first.",
                    who=person.principal.who,
                    what=what,
                    target="people",
                    target_id=person.person_id,
                )
            )
        return person

    # -- may they -------------------------------------------------------------------------------------------------

    def require(self, principal: Principal, scope: Scope, *, what: str, target: str | None = None) -> None:
        """Check that somebody has a scope; ``what`` they wanted to do goes into the log.

        Raises
        ------
        ForbiddenError
            If they have not.
        """
        if not principal.can(scope):
            raise self._noted(
                ForbiddenError(
                    f"This needs the scope {scope}, which {principal.name} does not have.",
                    who=principal.who,
                    what=what,
                    target=target,
                )
            )

    def note_refusal(self, err: RefusedError) -> None:
        """Note a refusal that was decided elsewhere, such as a body that is too large."""
        self._noted(err)

    # -- sessions and signatures ----------------------------------------------------------------------------------

    def log_in(self, username: str, password: str) -> NewSession:
        """Begin a session. Raises what `authenticate_password` does."""
        person = self.authenticate_password(username, password, what="log in")
        return self._write(lambda transaction: sessions.begin(transaction, person, self.settings))

    def log_out(self, token: str, *, by: Principal) -> None:
        """End a session."""
        digest = keys.secret_sha256(token)
        self._write(lambda transaction: sessions.end(transaction, digest, by=by.who))
        self._forget()

    def sign(self, request: SignatureRequest, *, principal: Principal, password: str) -> Signature:
        """Sign a decision: the person gives their password again, and what is signed is checked.

        Raises
        ------
        ForbiddenError
            If a key, not a person, wants to sign.
        NotAuthenticatedError, LockedOutError, PasswordExpiredError
            If the password is wrong, was wrong too often, or is too old.
        NotFoundError, SignatureRefusedError
            As `signatures.sign` says.
        """
        self.require(principal, "sign", what=signatures.WHAT, target="decisions")
        person = self.authenticate_password(principal.name, password, what=signatures.WHAT)
        return self._write(lambda transaction: signatures.sign(transaction, request, person, self.settings))

    # -- people ---------------------------------------------------------------------------------------------------

    def add_person(self, username: str, printed_name: str, roles: Iterable[str], password: str, *, by: str) -> Person:
        """Add a person. ``by`` is who does it, as in the log (`Principal.who`).

        Raises
        ------
        InvalidArgumentError
            If name, printed name or roles cannot be.
        PasswordRefusedError
            If the password is too easy.
        StoreConflictError
            If the username is taken.
        """
        name, digest = self._new_hash(username, password)
        chosen = tuple(roles)
        return self._write(
            lambda transaction: people.add_person(transaction, name, printed_name, chosen, digest, by=by)
        )

    def set_password(self, username: str, password: str, *, by: str) -> Person:
        """Give a person a new password, end their sessions and lift a lock-out: what an admin does."""
        name, digest = self._new_hash(username, password)

        def change(transaction: Transaction) -> Person:
            failures.forgive(transaction, name)
            return people.set_password_hash(transaction, name, digest, by=by)

        return self._changed(change)

    def change_password(self, username: str, old: str, new: str) -> Person:
        """Let a person change their own password, an expired one too.

        Raises
        ------
        NotAuthenticatedError, LockedOutError
            If the old password is wrong, or was too often.
        PasswordRefusedError
            If the new one is too easy, or the old one again.
        """
        person = self._identify(username, old, what="change password")
        name, digest = self._new_hash(username, new)
        if old == new:
            raise InvalidArgumentError("The new password is the old one; take another.")
        return self._changed(
            lambda transaction: people.set_password_hash(transaction, name, digest, by=person.principal.who)
        )

    def set_roles(self, username: str, roles: Iterable[str], *, by: str, why: str) -> Person:
        """Give a person other roles."""
        name, chosen = normal_username(username), tuple(roles)
        return self._changed(lambda transaction: people.set_roles(transaction, name, chosen, by=by, why=why))

    def deactivate(self, username: str, *, by: str, why: str) -> Person:
        """Shut a person out; their sessions end."""
        name = normal_username(username)
        return self._changed(lambda transaction: people.deactivate(transaction, name, by=by, why=why))

    def list_people(self) -> tuple[Person, ...]:
        """Return everybody."""
        return self._store.read(people.list_people)

    # -- keys -----------------------------------------------------------------------------------------------------

    def add_key(self, name: str, scopes: Iterable[str], *, by: str, expires_at: datetime | None = None) -> keys.NewKey:
        """Make a key; its token is shown this once."""
        chosen = tuple(scopes)
        return self._write(lambda transaction: keys.add_key(transaction, name, chosen, by=by, expires_at=expires_at))

    def rotate_key(self, key_id: str, *, by: str, overlap_h: float, expires_at: datetime | None = None) -> keys.NewKey:
        """Make a key that replaces another, which works for ``overlap_h`` hours more."""
        return self._changed(
            lambda transaction: keys.rotate_key(transaction, key_id, by=by, overlap_h=overlap_h, expires_at=expires_at)
        )

    def revoke_key(self, key_id: str, *, by: str, why: str) -> keys.Key:
        """End a key now; other processes of the service follow within two seconds."""
        return self._changed(lambda transaction: keys.revoke_key(transaction, key_id, by=by, why=why))

    def list_keys(self) -> tuple[keys.Key, ...]:
        """Return every key."""
        return self._store.read(keys.list_keys)

    # -- how ------------------------------------------------------------------------------------------------------

    def _identify(self, username: str, password: str, *, what: str) -> Person:
        """Return who has this name and password, however old the password is."""
        try:
            name = normal_username(username)
        except InvalidArgumentError as err:
            raise self._refused(_WRONG, "person:unreadable", what) from err
        self._write(lambda transaction: failures.count_attempt(transaction, name, what, self.settings))
        row = self._store.read(lambda connection: people.find_row(connection, name))
        is_right = self._hasher.is_right(password, row["password_hash"] if row is not None else None)
        if row is None or not is_right or row["deactivated_at"] is not None:
            raise self._refused(_WRONG, f"person:{name}", what)
        renewed = self._hasher.hash(password) if self._hasher.is_outdated(row["password_hash"]) else None

        def succeed(transaction: Transaction) -> Person:
            failures.forgive(transaction, name)
            now = people.find_row(transaction.connection, name)
            if now != row:  # changed by somebody else while the hash was computed
                raise NotAuthenticatedError(_WRONG, who=f"person:{name}", what=what, target="people")
            return people.renew_hash(transaction, name, renewed) if renewed else Person.of(row)

        return self._write(succeed)

    def _new_hash(self, username: str, password: str) -> tuple[str, str]:
        name = normal_username(username)
        check_password(password, username=name)
        return name, self._hasher.hash(password)

    def _write(self, command: Callable[[Transaction], T]) -> T:
        return self._store.write_and_wait(command)

    def _changed(self, command: Callable[[Transaction], T]) -> T:
        """Write what may end credentials, and trust none that was remembered before."""
        result = self._write(command)
        self._forget()
        return result

    def _refused(self, message: str, who: str, what: str) -> NotAuthenticatedError:
        return self._noted(NotAuthenticatedError(message, who=who, what=what))

    def _noted(self, err: Refusal) -> Refusal:
        self._note(err)
        return err

    def _note_one(self, err: RefusedError) -> None:
        self._queue(lambda transaction: transaction.note_refusal(err), f"a refusal was not noted: {err.who} {err.what}")

    def _queue(self, command: Callable[[Transaction], Any], otherwise: str) -> None:
        """Write something that the caller does not wait for; a failure goes to the program's log."""
        try:
            future = self._store.write(command)
        except StoreUnavailableError as err:
            _LOG.error("%s (%s)", otherwise, err)
            return
        future.add_done_callback(lambda done: _log_failure(done, otherwise))

    def _recall(self, digest: str) -> Principal | None:
        known = self._remembered.get(digest)
        return known.principal if known is not None and time.monotonic() < known.until_s else None

    def _remember(self, digest: str, principal: Principal, ends_at: str | None) -> None:
        left_s = self.settings.cache_s
        if ends_at is not None:
            left_s = min(left_s, (datetime.fromisoformat(ends_at) - datetime.now(UTC)).total_seconds())
        with self._gate:
            if len(self._remembered) >= _CACHE_LIMIT:
                self._remembered.clear()
            self._remembered[digest] = _Remembered(principal, time.monotonic() + left_s)

    def _forget(self) -> None:
        with self._gate:
            self._remembered.clear()

    def _touch(self, name: str, command: Callable[[Transaction], Any]) -> None:
        """Write a last use, at most every ``touch_s`` seconds."""
        now_s = time.monotonic()
        with self._gate:
            last_s = self._touched.get(name)
            if last_s is not None and now_s - last_s < self.settings.touch_s:
                return
            if len(self._touched) >= _CACHE_LIMIT:
                self._touched.clear()
            self._touched[name] = now_s
        self._queue(command, f"a last use was not written: {name[:20]}")


def _log_failure(done: "Future[Any]", otherwise: str) -> None:
    if not done.cancelled() and done.exception() is not None:
        _LOG.error("%s (%s)", otherwise, done.exception())


def _touch_key(transaction: Transaction, key_id: str, at: str) -> None:
    if not transaction.execute(update(key_uses).where(key_uses.c.key_id == key_id).values(last_used_at=at)):
        transaction.execute(insert(key_uses).values(key_id=key_id, last_used_at=at))
