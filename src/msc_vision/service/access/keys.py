"""API keys of services: ``mv_<id>_<secret>``. The secret is shown once; only its sha256 is stored.

A random secret of 256 bits needs no slow hash: nobody can try that many. So checking a key costs microseconds.
"""

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, select

from msc_vision.errors import InvalidArgumentError
from msc_vision.service.access.principals import KEY_SCOPES, Principal, checked_key_scopes
from msc_vision.service.store import Transaction, canonical_json, utc_text
from msc_vision.service.store.tables import api_keys, key_uses

PREFIX: Final = "mv"


@dataclass(frozen=True, slots=True)
class Key:
    """An API key as shown: without its secret."""

    key_id: str
    name: str
    scopes: tuple[str, ...]
    created_at: str
    created_by: str
    expires_at: str | None
    revoked_at: str | None
    rotated_from: str | None
    last_used_at: str | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Key":
        """Return the key of a stored row."""
        names = ("key_id", "name", "created_at", "created_by", "expires_at", "revoked_at", "rotated_from")
        return cls(
            scopes=tuple(json.loads(row["scopes"])),
            last_used_at=row.get("last_used_at"),
            **{name: row[name] for name in names},
        )

    @property
    def principal(self) -> Principal:
        """The key as somebody who asks; a scope that no key may have is never granted."""
        return Principal("key", self.key_id, self.name, frozenset(self.scopes) & KEY_SCOPES)

    def end(self, max_age_days: float | None) -> str | None:
        """Return when the key ends, by its own date or by the age that a setting allows; None: never."""
        ends = [self.expires_at] if self.expires_at else []
        if max_age_days is not None:
            ends.append(utc_text(datetime.fromisoformat(self.created_at) + timedelta(days=max_age_days)))
        return min(ends, default=None)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made, with the one sight of its secret."""

    key: Key
    token: str = field(repr=False)


def split_token(token: str) -> tuple[str, str] | None:
    """Return id and secret of a token; None if it is none."""
    parts = token.split("_", 2)
    if len(parts) != 3 or parts[0] != PREFIX or not parts[1].isalnum() or not parts[1].isascii() or len(token) > 200:
        return None
    return parts[1], parts[2]


def secret_sha256(secret: str) -> str:
    """Return what is stored of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def is_secret(secret: str, stored_sha256: str) -> bool:
    """Tell whether a secret is the stored one, in the same time wherever they differ."""
    return hmac.compare_digest(secret_sha256(secret), stored_sha256)


def find_row(connection: Connection, key_id: str) -> dict[str, Any] | None:
    """Return the stored row of a key; None if there is none."""
    row = connection.execute(select(api_keys).where(api_keys.c.key_id == key_id)).first()
    return dict(row._mapping) if row is not None else None


def list_keys(connection: Connection) -> tuple[Key, ...]:
    """Return every key, ended ones too, oldest first."""
    query = (
        select(api_keys, key_uses.c.last_used_at)
        .join_from(api_keys, key_uses, api_keys.c.key_id == key_uses.c.key_id, isouter=True)
        .order_by(api_keys.c.seq)
    )
    return tuple(Key.of(dict(row._mapping)) for row in connection.execute(query))


def add_key(
    transaction: Transaction,
    name: str,
    scopes: Iterable[str],
    *,
    by: str,
    expires_at: datetime | None = None,
    rotated_from: str | None = None,
) -> NewKey:
    """Make a key.

    Raises
    ------
    InvalidArgumentError
        If the name is empty, a scope is unknown or for people only, or the key would have ended already.
    """
    chosen = checked_key_scopes(scopes)
    if not name.strip() or len(name) > 200:
        raise InvalidArgumentError("A key needs a name that says whose it is, of 1 to 200 characters.")
    if expires_at is not None and expires_at <= datetime.now(UTC):
        raise InvalidArgumentError(f"{expires_at.isoformat()} has passed; a key ends later than now.")
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    row = {
        "key_id": key_id,
        "name": name.strip(),
        "secret_sha256": secret_sha256(secret),
        "scopes": canonical_json(chosen),
        "created_at": utc_text(),
        "created_by": by,
        "expires_at": None if expires_at is None else utc_text(expires_at),
        "rotated_from": rotated_from,
    }
    stored = transaction.insert(api_keys, row, who=by, what="add key" if rotated_from is None else "rotate key")
    return NewKey(Key.of(stored), f"{PREFIX}_{key_id}_{secret}")


def rotate_key(
    transaction: Transaction, key_id: str, *, by: str, overlap_h: float, expires_at: datetime | None = None
) -> NewKey:
    """Make a key of the same name and scopes; the old one works for ``overlap_h`` hours more.

    Raises
    ------
    NotFoundError
        If there is no such key.
    InvalidArgumentError
        If the key has ended, or the overlap is negative.
    """
    old = Key.of(transaction.row(api_keys, key_id))
    now = datetime.now(UTC)
    if old.revoked_at is not None or (old.expires_at is not None and old.expires_at <= utc_text(now)):
        raise InvalidArgumentError(f"Key {key_id} has ended; make a new one.")
    if overlap_h < 0:
        raise InvalidArgumentError(f"The overlap is 0 hours or more; got {overlap_h:g}.")
    end = utc_text(now + timedelta(hours=overlap_h))
    changes = {"expires_at": min(end, old.expires_at or end)}
    transaction.update(api_keys, key_id, changes, who=by, what="end rotated key")
    return add_key(transaction, old.name, old.scopes, by=by, expires_at=expires_at, rotated_from=key_id)


def revoke_key(transaction: Transaction, key_id: str, *, by: str, why: str) -> Key:
    """End a key now.

    Raises
    ------
    NotFoundError
        If there is no such key.
    """
    row = transaction.row(api_keys, key_id)
    if row["revoked_at"] is not None:
        return Key.of(row)
    changes = {"revoked_at": utc_text()}
    return Key.of(transaction.update(api_keys, key_id, changes, who=by, what="revoke key", why=why))
