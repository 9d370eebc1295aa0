"""Webhooks: where events are sent to."""

import secrets
from typing import Any

from msc_vision.service.actions.reading import PageAsk, newest_page, read_row
from msc_vision.service.addresses import check_url
from msc_vision.service.context import Caller, Service
from msc_vision.service.cursors import Page
from msc_vision.service.idempotency import Answer, Once, json_answer, write_once
from msc_vision.service.problems import ProblemError
from msc_vision.service.queries import delivery_rows
from msc_vision.service.schemas import WebhookAsk, WebhookChange
from msc_vision.service.store import Transaction, canonical_json, utc_text
from msc_vision.service.store.tables import webhooks
from msc_vision.service.views import delivery_view, webhook_view
from msc_vision.service.webhooks import new_delivery

MOST_DELIVERIES = 200


async def add(service: Service, caller: Caller, asked: WebhookAsk, once: Once | None = None) -> Answer:
    """Add a webhook; its secret is shown this once.

    Raises
    ------
    ForbiddenError
        Without the scope ``admin``.
    InvalidArgumentError
        If the address is not one that webhooks may be sent to.
    """
    service.require(caller, "admin", "add webhook")
    check_url(asked.url, service.settings.webhooks)
    webhook_id, secret = f"w{secrets.token_hex(8)}", secrets.token_urlsafe(32)
    row = {
        "webhook_id": webhook_id,
        "url": asked.url,
        "events": canonical_json(sorted(set(asked.events))),
        "secret": secret,
        "created_at": utc_text(),
        "created_by": caller.who,
    }

    def command(tx: Transaction) -> Answer:
        view = webhook_view(tx.insert(webhooks, row, who=caller.who, what="add webhook"))
        shown = {**view, "secret": secret}
        return Answer(
            201,
            canonical_json(shown),
            {"Location": f"/v1/webhooks/{webhook_id}"},
            kept_text=canonical_json({**view, "secret": None}),
        )

    return await write_once(service, caller, once, command)


async def listed(service: Service, caller: Caller, asked: PageAsk) -> Page:
    """Return a page of webhooks, the newest first."""
    service.require(caller, "admin", "list webhooks")
    return await newest_page(service, webhooks, asked, webhook_view)


async def get(service: Service, caller: Caller, webhook_id: str) -> dict[str, Any]:
    """Return a webhook."""
    service.require(caller, "admin", "read webhook")
    return webhook_view(await read_row(service, webhooks, webhook_id, "webhook"))


async def change(service: Service, caller: Caller, webhook_id: str, asked: WebhookChange) -> dict[str, Any]:
    """Change events or address of a webhook."""
    service.require(caller, "admin", "change webhook")
    changes: dict[str, Any] = {}
    if asked.url is not None:
        check_url(asked.url, service.settings.webhooks)
        changes["url"] = asked.url
    if asked.events is not None:
        changes["events"] = canonical_json(sorted(set(asked.events)))
    if not changes:
        raise ProblemError("not-valid", "Nothing to change: give url, events or both.")
    return await _changed(service, caller, webhook_id, changes, "change webhook")


async def deactivate(service: Service, caller: Caller, webhook_id: str) -> dict[str, Any]:
    """Send nothing more to a webhook; what was sent stays listed."""
    service.require(caller, "admin", "deactivate webhook")
    return await _changed(service, caller, webhook_id, {"deactivated_at": utc_text()}, "deactivate webhook")


async def _changed(
    service: Service, caller: Caller, webhook_id: str, changes: dict[str, Any], what: str
) -> dict[str, Any]:
    row = await read_row(service, webhooks, webhook_id, "webhook")
    if row["deactivated_at"] is not None:
        raise ProblemError("conflict", f"Webhook {webhook_id} is deactivated; add a new one.")
    stored = await service.store.write_async(
        lambda tx: tx.update(webhooks, webhook_id, changes, who=caller.who, what=what)
    )
    return webhook_view(stored)


async def ping(service: Service, caller: Caller, webhook_id: str, once: Once | None = None) -> Answer:
    """Queue a test delivery."""
    service.require(caller, "admin", "ping webhook")
    await read_row(service, webhooks, webhook_id, "webhook")

    def command(tx: Transaction) -> Answer:
        delivery_id = new_delivery(tx, webhook_id, "ping", {"webhook_id": webhook_id})
        tx.note(who=caller.who, what="ping webhook", target="webhooks", target_id=webhook_id)
        return json_answer(202, {"delivery_id": delivery_id})

    answer = await write_once(service, caller, once, command)
    service.webhooks.wake()
    return answer


async def deliveries(service: Service, caller: Caller, webhook_id: str) -> list[dict[str, Any]]:
    """Return the last deliveries of a webhook."""
    service.require(caller, "admin", "list deliveries")
    await read_row(service, webhooks, webhook_id, "webhook")
    rows = await service.store.read_async(lambda connection: delivery_rows(connection, webhook_id, MOST_DELIVERIES))
    return [delivery_view(row) for row in rows]
