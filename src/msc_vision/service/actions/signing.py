"""Signatures of people."""

from sqlalchemy import Connection

from msc_vision.service.access import Signature, SignatureRequest, list_signatures
from msc_vision.service.access.signatures import WHAT, sign
from msc_vision.service.actions.decisions import in_worker
from msc_vision.service.actions.reading import not_there
from msc_vision.service.context import Caller, Service
from msc_vision.service.idempotency import Answer, Once, json_answer, write_once
from msc_vision.service.queries import decision_row
from msc_vision.service.schemas import SignAsk
from msc_vision.service.store import Transaction
from msc_vision.service.views import signature_view
from msc_vision.service.webhooks import announce


async def sign_decision(
    service: Service, caller: Caller, decision_id: str, asked: SignAsk, once: Once | None = None
) -> Answer:
    """Sign a decision; the person gives their password again.

    Raises
    ------
    ForbiddenError
        Without the scope ``sign``, which no key has.
    NotAuthenticatedError, LockedOutError
        If the password is wrong, or was too often.
    SignatureRefusedError
        If the decision cannot be signed, or not by this person; the message says why.
    """
    service.require(caller, "sign", WHAT)
    person = await in_worker(
        service, lambda: service.access.authenticate_password(caller.principal.name, asked.password, what=WHAT)
    )
    request = SignatureRequest(decision_id, asked.record_sha256, asked.meaning)

    def command(tx: Transaction) -> Answer:
        if decision_row(tx.connection, decision_id) is None:
            raise not_there("decision", decision_id)
        made = sign(tx, request, person, service.access.settings)
        view = signature_view(made, service.settings.n_signatures)
        announce(tx, "decision.signed", {name: view[name] for name in _TOLD})
        return json_answer(201, view, Location=f"/v1/decisions/{decision_id}/signatures")

    answer = await write_once(service, caller, once, command)
    service.webhooks.wake()
    return answer


_TOLD = ("decision_id", "record_sha256", "username", "printed_name", "signed_at", "meaning", "position", "is_complete")


async def signatures_of(service: Service, caller: Caller, decision_id: str) -> list[dict[str, object]]:
    """Return the signatures of a decision, the first one first."""
    service.require(caller, "read", "list signatures")

    def query(connection: Connection) -> tuple[Signature, ...] | None:
        return None if decision_row(connection, decision_id) is None else list_signatures(connection, decision_id)

    found = await service.store.read_async(query)
    if found is None:
        raise not_there("decision", decision_id)
    return [signature_view(one, service.settings.n_signatures) for one in found]
