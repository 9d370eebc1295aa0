"""Requests that may be repeated: the answer is stored in the transaction of the effect, and given again."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from sqlalchemy import Connection, delete, insert, select

from msc_vision.service.context import Caller, Service
from msc_vision.service.problems import ProblemError
from msc_vision.service.store import Transaction, canonical_json, text_sha256, utc_text
from msc_vision.service.store.tables import decisions, idempotency

SECRETS = frozenset({"password", "old_password", "new_password"})
_DECISION = "decision"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of a request that changes something.

    Attributes
    ----------
    status : int
    text : str
        JSON.
    headers : mapping
    decision_id : str or None
        The text is the record of this decision: what is kept for a repetition is its name, not a copy.
    kept_text : str or None
        What is kept for a repetition instead of the text, which shows a secret.
    is_repeated : bool
    """

    status: int
    text: str
    headers: Mapping[str, str] = field(default_factory=dict)
    decision_id: str | None = None
    kept_text: str | None = None
    is_repeated: bool = False


@dataclass(frozen=True, slots=True)
class Once:
    """An idempotency key and the sha256 of the request that it came with."""

    key: str
    request_sha256: str


def once(key: str | None, what: str, body: BaseModel | Mapping[str, Any]) -> Once | None:
    """Return the idempotency key of a request; passwords are left out of its hash, as it is stored."""
    if key is None:
        return None
    content = body.model_dump(mode="json", exclude=set(SECRETS)) if isinstance(body, BaseModel) else dict(body)
    return Once(key, text_sha256(canonical_json([what, content])))


def json_answer(status: int, content: Mapping[str, Any], **headers: str) -> Answer:
    """Return an answer that is a JSON object."""
    return Answer(status, canonical_json(content), headers)


async def write_once(
    service: Service, caller: Caller, asked: Once | None, command: Callable[[Transaction], Answer]
) -> Answer:
    """Do something once: a repetition with the same key and request gets the same answer.

    Raises
    ------
    ProblemError
        ``idempotency-key-reused`` if the key came with another request before.
    """
    if asked is None:
        return await service.store.write_async(command)
    now = service.clock()
    span = (utc_text(now), utc_text(now + timedelta(hours=service.settings.idempotency_h)))
    return await service.store.write_async(lambda tx: _repeated_or_new(tx, caller, asked, command, span))


async def answered_before(service: Service, caller: Caller, asked: Once | None) -> Answer | None:
    """Return the answer to an earlier request of the same key, before anything is looked at that has changed since.

    Raises
    ------
    ProblemError
        As `write_once`.
    """
    if asked is None:
        return None
    now = utc_text(service.clock())
    return await service.store.read_async(lambda connection: _earlier(connection, caller, asked, now))


def _earlier(connection: Connection, caller: Caller, asked: Once, now: str) -> Answer | None:
    mine = (idempotency.c.principal == caller.who) & (idempotency.c.key == asked.key)
    row = connection.execute(select(idempotency).where(mine, idempotency.c.expires_at > now)).first()
    if row is None:
        return None
    if row.request_sha256 != asked.request_sha256:
        raise ProblemError(
            "idempotency-key-reused",
            f"Idempotency-Key {asked.key[:80]!r} came with another request before; take a new key.",
        )
    return _kept(connection, row.status_code, row.response)


def _repeated_or_new(
    tx: Transaction, caller: Caller, asked: Once, command: Callable[[Transaction], Answer], span: tuple[str, str]
) -> Answer:
    now, ends_at = span
    earlier = _earlier(tx.connection, caller, asked, now)
    if earlier is not None:
        return earlier
    mine = (idempotency.c.principal == caller.who) & (idempotency.c.key == asked.key)
    tx.execute(delete(idempotency).where(mine | (idempotency.c.expires_at <= now)))
    answer = command(tx)
    kept: dict[str, Any] = {"headers": dict(answer.headers)}
    if answer.decision_id is not None:
        kept[_DECISION] = answer.decision_id
    else:
        kept["text"] = answer.text if answer.kept_text is None else answer.kept_text
    row = {
        "principal": caller.who,
        "key": asked.key,
        "request_sha256": asked.request_sha256,
        "status_code": answer.status,
        "response": canonical_json(kept),
        "created_at": now,
        "expires_at": ends_at,
    }
    tx.execute(insert(idempotency).values(row))
    return answer


def _kept(connection: Connection, status: int, response: str) -> Answer:
    kept = json.loads(response)
    decision_id = kept.get(_DECISION)
    if decision_id is None:
        return Answer(status, kept["text"], kept["headers"], is_repeated=True)
    text = connection.scalar(select(decisions.c.record).where(decisions.c.decision_id == decision_id))
    return replace(Answer(status, str(text), kept["headers"], decision_id), is_repeated=True)
