"""Events that are sent to other systems: queued with what they tell of, delivered beside the requests."""

import json
import logging
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import httpx
from sqlalchemy import Connection, func, insert, select, update

from msc_vision.errors import InvalidArgumentError
from msc_vision.service.addresses import Resolve, resolve, target_of
from msc_vision.service.settings import Webhooks
from msc_vision.service.store import Store, StoreUnavailableError, Transaction, canonical_json, utc_text
from msc_vision.service.store.tables import webhook_deliveries, webhooks
from msc_vision.service.webhook_signature import DELIVERY_HEADER, EVENT_HEADER, SIGNATURE_HEADER, signature_header

EventName = Literal["decision.created", "decision.signed", "review.created", "job.finished", "ping"]
EVENTS: tuple[EventName, ...] = ("decision.created", "decision.signed", "review.created", "job.finished")
PER_WEBHOOK, AT_ONCE = 10, 4
_ACTIVE = select(webhooks.c.webhook_id, webhooks.c.events).where(webhooks.c.deactivated_at.is_(None))
_LOG = logging.getLogger(__name__)


def new_delivery(tx: Transaction, webhook_id: str, event: EventName, data: Mapping[str, Any]) -> str:
    """Queue one delivery to one webhook and return its id."""
    delivery_id, now = secrets.token_hex(16), utc_text()
    payload = canonical_json({"id": delivery_id, "event": event, "created_at": now, "data": dict(data)})
    row: dict[str, Any] = {
        "delivery_id": delivery_id,
        "webhook_id": webhook_id,
        "event": event,
        "payload": payload,
        "state": "due",
        "attempts": 0,
        "created_at": now,
        "next_attempt_at": now,
        "finished_at": None,
        "message": None,
    }
    tx.execute(insert(webhook_deliveries).values(row))
    return delivery_id


def announce(tx: Transaction, event: EventName, data: Mapping[str, Any]) -> int:
    """Queue an event for every webhook that asked for it, in the transaction of what it tells of; return how many."""
    active = tx.rows_once(_ACTIVE, webhooks)
    wanted: list[str] = [row.webhook_id for row in active if event in json.loads(row.events)]
    for webhook_id in wanted:
        new_delivery(tx, webhook_id, event, data)
    return len(wanted)


@dataclass(frozen=True, slots=True)
class _Due:
    delivery_id: str
    webhook_id: str
    event: str
    payload: str
    attempts: int
    created_at: str
    url: str
    secret: str
    is_active: bool


class Deliverer:
    """The thread that delivers what is due, and tries again with growing delay for a day.

    Parameters
    ----------
    store : Store
    settings : Webhooks
    transport : httpx.BaseTransport or None
        In tests: who answers.
    resolved : callable
        Looks up names.
    clock : callable
        The time now.
    """

    def __init__(
        self,
        store: Store,
        settings: Webhooks,
        *,
        transport: httpx.BaseTransport | None = None,
        resolved: Resolve = resolve,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._settings = settings
        self._resolved = resolved
        self._clock = clock
        self._wake = threading.Event()
        self._is_stopping = threading.Event()
        self._client = httpx.Client(
            timeout=settings.timeout_s, follow_redirects=False, trust_env=False, transport=transport
        )
        self._thread = threading.Thread(target=self._run, name="msc-vision-webhooks", daemon=True)

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def wake(self) -> None:
        """Look at once: something is due."""
        self._wake.set()

    def close(self) -> None:
        """Stop; what is due stays due."""
        self._is_stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(self._settings.timeout_s + 5)
        self._client.close()

    def _run(self) -> None:
        while not self._is_stopping.is_set():
            try:
                n_delivered = self.deliver_due()
            except StoreUnavailableError as err:
                _LOG.warning("Webhooks wait: %s", err)
                n_delivered = 0
            if not n_delivered:
                self._wake.wait(1.0)
                self._wake.clear()

    def deliver_due(self) -> int:
        """Try what is due, webhooks beside each other; return how many deliveries were tried."""
        due = self._store.read(lambda connection: _due(connection, utc_text(self._clock())))
        by_webhook: dict[str, list[_Due]] = {}
        for one in due:
            by_webhook.setdefault(one.webhook_id, []).append(one)
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="msc-vision-webhook") as senders:
            tried = list(senders.map(self._deliver, by_webhook.values()))
        return sum(tried)

    def _deliver(self, due: Sequence[_Due]) -> int:
        """Try what is due for one webhook, in its order, until the receiver fails; return how many were tried."""
        for n, one in enumerate(due):
            if self._is_stopping.is_set():
                return n
            if not self._claim(one):
                continue
            trouble = self._try(one)
            self._settle(one, trouble)
            if trouble is not None and one.is_active:
                return n + 1
        return len(due)

    def _claim(self, one: _Due) -> bool:
        """Take a delivery, so that no other process sends it too; when this process dies it is due again."""
        until = utc_text(self._clock() + timedelta(seconds=4 * self._settings.timeout_s))
        mine = (
            update(webhook_deliveries)
            .where(webhook_deliveries.c.delivery_id == one.delivery_id, webhook_deliveries.c.state == "due")
            .where(webhook_deliveries.c.attempts == one.attempts)
            .values(attempts=one.attempts + 1, next_attempt_at=until)
        )
        return self._store.write(lambda tx: tx.execute(mine)).result() == 1

    def _try(self, one: _Due) -> str | None:
        """Send a delivery; return None if it was taken, else why not."""
        if not one.is_active:
            return "the webhook is deactivated"
        try:
            target = target_of(one.url, self._settings, self._resolved)
            body = one.payload.encode()
            headers = {
                "Host": target.host_header,
                "Content-Type": "application/json",
                "User-Agent": "msc-vision",
                EVENT_HEADER: one.event,
                DELIVERY_HEADER: one.delivery_id,
                SIGNATURE_HEADER: signature_header(one.secret, body, int(self._clock().timestamp())),
            }
            extensions = {"sni_hostname": target.host}
            with self._client.stream("POST", target.url, content=body, headers=headers, extensions=extensions) as got:
                return None if got.is_success else f"the receiver answered {got.status_code}"
        except (httpx.HTTPError, httpx.InvalidURL, OSError, InvalidArgumentError) as err:
            return f"{type(err).__name__}: {' '.join(str(err).split())}"[:500]

    def _settle(self, one: _Due, trouble: str | None) -> None:
        now = self._clock()
        waits = min(self._settings.first_delay_s * 2**one.attempts, self._settings.longest_delay_s)
        gives_up = datetime.fromisoformat(one.created_at) + timedelta(hours=self._settings.give_up_h)
        values: dict[str, Any] = {"state": "delivered", "finished_at": utc_text(now), "next_attempt_at": None}
        if trouble is not None and (not one.is_active or now + timedelta(seconds=waits) > gives_up):
            values["state"] = "given up"
        elif trouble is not None:
            due = utc_text(now + timedelta(seconds=waits))
            values = {"state": "due", "finished_at": None, "next_attempt_at": due}
        change = (
            update(webhook_deliveries)
            .where(webhook_deliveries.c.delivery_id == one.delivery_id)
            .values(message=trouble, **values)
        )
        self._store.write(lambda tx: tx.execute(change)).result()


def _due(connection: Connection, now: str) -> list[_Due]:
    """Return what is due, the first of each webhook: one that does not answer holds up nobody else."""
    one, hook = webhook_deliveries.c, webhooks.c
    place = func.row_number().over(partition_by=one.webhook_id, order_by=(one.next_attempt_at, one.delivery_id))
    first = (
        select(one.delivery_id, one.webhook_id, one.event, one.payload, one.attempts, one.created_at)
        .add_columns(place.label("place"))
        .where(one.state == "due", one.next_attempt_at <= now)
        .subquery()
    )
    query = (
        select(first, hook.url, hook.secret, hook.deactivated_at)
        .join(webhooks, hook.webhook_id == first.c.webhook_id)
        .where(first.c.place <= PER_WEBHOOK)
        .order_by(first.c.webhook_id, first.c.place)
    )
    return [
        _Due(
            delivery_id=row.delivery_id,
            webhook_id=row.webhook_id,
            event=row.event,
            payload=row.payload,
            attempts=row.attempts,
            created_at=row.created_at,
            url=row.url,
            secret=row.secret,
            is_active=row.deactivated_at is None,
        )
        for row in connection.execute(query)
    ]
