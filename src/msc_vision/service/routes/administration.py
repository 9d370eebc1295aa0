"""People, keys, webhooks, and the audit log."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from msc_vision.service import schemas
from msc_vision.service.actions import hooks, oversight, people
from msc_vision.service.guard import Admin, Auditor, IdempotencyKey, PageDep, ServiceDep, paged, sent, shown
from msc_vision.service.idempotency import once
from msc_vision.service.routes.documented import answers, lists, pages

router = APIRouter()
Username = Annotated[str, Path(min_length=1, max_length=64, pattern=r"^[^\x00-\x20\x7f]+$")]
KeyId = Annotated[str, Path(pattern=r"^[0-9a-f]{1,64}$")]
WebhookId = Annotated[str, Path(pattern=r"^[A-Za-z0-9]{1,64}$")]
AuditText = Annotated[schemas.Text | None, Query()]


@router.post(
    "/people", tags=["people"], status_code=201, responses=answers(schemas.Person, 201), summary="Add a person"
)
async def add_person(
    service: ServiceDep, caller: Admin, body: schemas.PersonAsk, key: IdempotencyKey = None
) -> Response:
    """Add a person with a first password, which they should change."""
    return sent(await people.add_person(service, caller, body, once(key, "add person", body)))


@router.get("/people", tags=["people"], responses=lists(schemas.Person), summary="List people")
async def list_people(service: ServiceDep, caller: Admin) -> Response:
    """List everybody, deactivated people too."""
    return shown({"items": await people.list_people(service, caller)})


@router.get("/people/{username}", tags=["people"], responses=answers(schemas.Person), summary="Get a person")
async def get_person(service: ServiceDep, caller: Admin, username: Username) -> Response:
    """Return a person."""
    return shown(await people.person_of(service, caller, username))


@router.patch("/people/{username}", tags=["people"], responses=answers(schemas.Person), summary="Change a person")
async def change_person(service: ServiceDep, caller: Admin, username: Username, body: schemas.PersonChange) -> Response:
    """Give a person other roles or a new password."""
    return shown(await people.change_person(service, caller, username, body))


@router.post(
    "/people/{username}/deactivate", tags=["people"], responses=answers(schemas.Person), summary="Deactivate a person"
)
async def deactivate_person(service: ServiceDep, caller: Admin, username: Username, body: schemas.Why) -> Response:
    """Shut a person out; what they did and signed stays."""
    return shown(await people.deactivate_person(service, caller, username, body.why))


@router.post("/keys", tags=["keys"], status_code=201, responses=answers(schemas.NewKey, 201), summary="Add a key")
async def add_key(service: ServiceDep, caller: Admin, body: schemas.KeyAsk, key: IdempotencyKey = None) -> Response:
    """Make an API key of a service; its secret is shown this once."""
    return sent(await people.add_key(service, caller, body, once(key, "add key", body)))


@router.get("/keys", tags=["keys"], responses=lists(schemas.Key), summary="List keys")
async def list_keys(service: ServiceDep, caller: Admin) -> Response:
    """List every key, ended ones too."""
    return shown({"items": await people.list_keys(service, caller)})


@router.get("/keys/{key_id}", tags=["keys"], responses=answers(schemas.Key), summary="Get a key")
async def get_key(service: ServiceDep, caller: Admin, key_id: KeyId) -> Response:
    """Return a key without its secret."""
    return shown(await people.key_of(service, caller, key_id))


@router.post(
    "/keys/{key_id}/rotate",
    tags=["keys"],
    status_code=201,
    responses=answers(schemas.NewKey, 201),
    summary="Rotate a key",
)
async def rotate_key(
    service: ServiceDep, caller: Admin, key_id: KeyId, body: schemas.KeyRotation, key: IdempotencyKey = None
) -> Response:
    """Make a key of the same name and scopes; the old secret works for a while more."""
    return sent(await people.rotate_key(service, caller, key_id, body, once(key, f"rotate {key_id}", body)))


@router.post("/keys/{key_id}/revoke", tags=["keys"], responses=answers(schemas.Key), summary="Revoke a key")
async def revoke_key(service: ServiceDep, caller: Admin, key_id: KeyId, body: schemas.Why) -> Response:
    """End a key now."""
    return shown(await people.revoke_key(service, caller, key_id, body.why))


@router.post(
    "/webhooks", tags=["webhooks"], status_code=201, responses=answers(schemas.NewWebhook, 201), summary="Add a webhook"
)
async def add_webhook(
    service: ServiceDep, caller: Admin, body: schemas.WebhookAsk, key: IdempotencyKey = None
) -> Response:
    """Send events to an address; the secret that signs deliveries is shown this once."""
    return sent(await hooks.add(service, caller, body, once(key, "add webhook", body)))


@router.get("/webhooks", tags=["webhooks"], responses=pages(schemas.Webhook), summary="List webhooks")
async def list_webhooks(service: ServiceDep, caller: Admin, page: PageDep) -> Response:
    """List webhooks, the newest first."""
    return paged(await hooks.listed(service, caller, page))


@router.get("/webhooks/{webhook_id}", tags=["webhooks"], responses=answers(schemas.Webhook), summary="Get a webhook")
async def get_webhook(service: ServiceDep, caller: Admin, webhook_id: WebhookId) -> Response:
    """Return a webhook without its secret."""
    return shown(await hooks.get(service, caller, webhook_id))


@router.patch(
    "/webhooks/{webhook_id}", tags=["webhooks"], responses=answers(schemas.Webhook), summary="Change a webhook"
)
async def change_webhook(
    service: ServiceDep, caller: Admin, webhook_id: WebhookId, body: schemas.WebhookChange
) -> Response:
    """Change events or address of a webhook."""
    return shown(await hooks.change(service, caller, webhook_id, body))


@router.delete(
    "/webhooks/{webhook_id}", tags=["webhooks"], responses=answers(schemas.Webhook), summary="Deactivate a webhook"
)
async def deactivate_webhook(service: ServiceDep, caller: Admin, webhook_id: WebhookId) -> Response:
    """Send nothing more to a webhook; what was sent stays listed."""
    return shown(await hooks.deactivate(service, caller, webhook_id))


@router.post(
    "/webhooks/{webhook_id}/ping",
    tags=["webhooks"],
    status_code=202,
    responses=answers(schemas.Pinged, 202),
    summary="Ping a webhook",
)
async def ping(service: ServiceDep, caller: Admin, webhook_id: WebhookId, key: IdempotencyKey = None) -> Response:
    """Queue a test delivery."""
    return sent(await hooks.ping(service, caller, webhook_id, once(key, f"ping {webhook_id}", {})))


@router.get(
    "/webhooks/{webhook_id}/deliveries",
    tags=["webhooks"],
    responses=lists(schemas.Delivery),
    summary="List deliveries",
)
async def deliveries(service: ServiceDep, caller: Admin, webhook_id: WebhookId) -> Response:
    """List the last deliveries of a webhook, the newest first."""
    return shown({"items": await hooks.deliveries(service, caller, webhook_id)})


@router.get("/audit", tags=["audit"], responses=pages(schemas.AuditEntry), summary="Read the audit log")
async def list_audit(
    service: ServiceDep,
    caller: Auditor,
    page: PageDep,
    who: AuditText = None,
    what: AuditText = None,
    target: AuditText = None,
    target_id: AuditText = None,
) -> Response:
    """List entries of the audit log, the newest first."""
    filters = {"who": who, "what": what, "target": target, "target_id": target_id}
    return paged(await oversight.listed(service, caller, filters, page))


@router.post("/audit/verify", tags=["audit"], responses=answers(schemas.AuditCheck), summary="Verify the store")
async def verify(service: ServiceDep, caller: Auditor) -> Response:
    """Say whether the audit log and every row are as they were written."""
    return shown(await oversight.verified(service, caller))
