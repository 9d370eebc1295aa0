"""Decisions, reviews and signatures."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from msc_vision.service import schemas
from msc_vision.service.actions import decisions, reviews, signing
from msc_vision.service.guard import (
    Decider,
    IdempotencyKey,
    PageDep,
    Reader,
    Reviewer,
    ServiceDep,
    Signer,
    paged,
    sent,
    shown,
)
from msc_vision.service.idempotency import once
from msc_vision.service.routes.documented import answers, lists, pages, records

router = APIRouter()
DecisionId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$", description="`decision_id` of a record")]
_RECORD = "application/json"


@router.post(
    "/decisions", tags=["decisions"], status_code=201, responses=records(200, 201), summary="Ask for a decision"
)
async def ask(service: ServiceDep, caller: Decider, body: schemas.DecisionAsk, key: IdempotencyKey = None) -> Response:
    """Ask whether a vessel may be harvested now, and why.

    The answer is the decision record, canonical JSON, byte for byte as it is stored. A hold or rejection by a person
    stands over further decisions on the same run until a review lifts it.
    """
    return sent(await decisions.ask(service, caller, body, once(key, "ask for decision", body)))


@router.get("/decisions", tags=["decisions"], responses=pages(schemas.DecisionSummary), summary="List decisions")
async def list_decisions(  # noqa: PLR0913, PLR0917  (one parameter per filter)
    service: ServiceDep,
    caller: Reader,
    page: PageDep,
    vessel_id: Annotated[schemas.Text | None, Query()] = None,
    verdict: Annotated[schemas.Verdict | None, Query()] = None,
    batch: Annotated[schemas.Text | None, Query()] = None,
    run_id: Annotated[schemas.Text | None, Query()] = None,
    since: Annotated[schemas.Moment | None, Query(description="made then or later; with zone")] = None,
    until: Annotated[schemas.Moment | None, Query(description="made before then; with zone")] = None,
    current: Annotated[bool, Query(description="true: only the last decision of each vessel")] = False,
) -> Response:
    """List decisions, the newest first."""
    names: dict[str, str | None] = {"vessel_id": vessel_id, "verdict": verdict, "batch": batch, "run_id": run_id}
    wanted = decisions.filter_of(names, since, until, is_current=current)
    return paged(await decisions.listed(service, caller, wanted, page))


@router.get("/decisions/{decision_id}", tags=["decisions"], responses=records(), summary="Get a decision")
async def get_decision(service: ServiceDep, caller: Reader, decision_id: DecisionId) -> Response:
    """Return a decision record; once it has all its signatures, with the last one in `signature`.

    A `Link` header with `rel="successor-version"` names the decision that superseded it.
    """
    found = await decisions.get(service, caller, decision_id)
    headers = {"ETag": f'"{decision_id}"'}
    if found.superseded_by is not None:
        headers["Link"] = f'</v1/decisions/{found.superseded_by}>; rel="successor-version"'
    return Response(found.text, 200, headers, _RECORD)


@router.get(
    "/decisions/{decision_id}/explanation",
    tags=["decisions"],
    responses=answers(schemas.Explanation),
    summary="Explain a decision",
)
async def explain(service: ServiceDep, caller: Reader, decision_id: DecisionId) -> Response:
    """Say why a decision came to its verdict, and what would change it."""
    return shown(await decisions.explained(service, caller, decision_id))


@router.get(
    "/decisions/{decision_id}/replay",
    tags=["decisions"],
    responses=answers(schemas.Replayed),
    summary="Replay a decision",
)
async def replay(service: ServiceDep, caller: Reader, decision_id: DecisionId) -> Response:
    """Judge again from the same inputs, at the decision's own hour, and say whether the record still holds."""
    return shown(await decisions.replayed(service, caller, decision_id))


@router.post(
    "/decisions/{decision_id}/reviews",
    tags=["reviews"],
    status_code=201,
    responses=records(200, 201),
    summary="Review a decision",
)
async def review(
    service: ServiceDep,
    caller: Reviewer,
    decision_id: DecisionId,
    body: schemas.ReviewAsk,
    key: IdempotencyKey = None,
) -> Response:
    """Settle what waits for a person, hold, or reject; answers with the new record, which supersedes the reviewed one.

    What an earlier review settled has to be settled again: a review speaks for all that it settles.
    """
    asked = once(key, f"review {decision_id}", body)
    return sent(await reviews.review(service, caller, decision_id, body, asked))


@router.get("/reviews", tags=["reviews"], responses=pages(schemas.Review), summary="List reviews")
async def list_reviews(
    service: ServiceDep,
    caller: Reader,
    page: PageDep,
    decision_id: Annotated[schemas.DecisionId | None, Query()] = None,
    vessel_id: Annotated[schemas.Text | None, Query()] = None,
) -> Response:
    """List reviews, the newest first."""
    return paged(await reviews.listed(service, caller, decision_id, vessel_id, page))


@router.post(
    "/decisions/{decision_id}/signatures",
    tags=["signatures"],
    status_code=201,
    responses=answers(schemas.Signature, 201),
    summary="Sign a decision",
)
async def sign(
    service: ServiceDep, caller: Signer, decision_id: DecisionId, body: schemas.SignAsk, key: IdempotencyKey = None
) -> Response:
    """Sign a decision: the person gives their password again; supports 21 CFR Part 11."""
    asked = once(key, f"sign {decision_id}", body)
    return sent(await signing.sign_decision(service, caller, decision_id, body, asked))


@router.get(
    "/decisions/{decision_id}/signatures",
    tags=["signatures"],
    responses=lists(schemas.Signature),
    summary="List signatures",
)
async def list_signatures(service: ServiceDep, caller: Reader, decision_id: DecisionId) -> Response:
    """List the signatures of a decision, the first one first."""
    return shown({"items": await signing.signatures_of(service, caller, decision_id)})
