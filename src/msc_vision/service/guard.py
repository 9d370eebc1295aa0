"""What routes ask for: the service, the caller with a scope, pages, idempotency keys."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Depends, Header, Query, Request
from starlette.responses import Response

from msc_vision.service.access import Scope
from msc_vision.service.actions.reading import PageAsk
from msc_vision.service.context import Caller, Service
from msc_vision.service.cursors import DEFAULT_ITEMS, MOST_ITEMS, Page
from msc_vision.service.idempotency import Answer
from msc_vision.service.problems import ProblemError
from msc_vision.service.store import canonical_json


async def the_service(request: Request) -> Service:
    """Return the service of the application."""
    service: Service = request.app.state.service
    return service


ServiceDep = Annotated[Service, Depends(the_service)]


class Needs:
    """A dependency: the caller, if they have a scope; None: whoever has valid credentials."""

    def __init__(self, scope: Scope | None) -> None:
        self.scope = scope

    async def __call__(self, request: Request) -> Caller:
        """Return the caller.

        Raises
        ------
        ProblemError
            ``not-authenticated``.
        ForbiddenError
            Without the scope.
        """
        caller: Caller | None = getattr(request.state, "caller", None)
        if caller is None:
            raise ProblemError("not-authenticated", "Send `Authorization: Bearer` with an API key or a session.")
        if self.scope is not None:
            service: Service = request.app.state.service
            service.require(caller, self.scope, f"{request.method} {request.url.path}"[:300])
        return caller


AnyCaller = Annotated[Caller, Depends(Needs(None))]
Reader = Annotated[Caller, Depends(Needs("read"))]
Scorer = Annotated[Caller, Depends(Needs("score"))]
Decider = Annotated[Caller, Depends(Needs("decide"))]
Reviewer = Annotated[Caller, Depends(Needs("review"))]
Signer = Annotated[Caller, Depends(Needs("sign"))]
RuleKeeper = Annotated[Caller, Depends(Needs("rules"))]
Admin = Annotated[Caller, Depends(Needs("admin"))]
Auditor = Annotated[Caller, Depends(Needs("audit"))]

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description="a request with the same key and body, of the same caller, is answered as before and done once",
    ),
]


async def page_ask(
    limit: Annotated[int, Query(ge=1, le=MOST_ITEMS, description="items of a page")] = DEFAULT_ITEMS,
    cursor: Annotated[
        str | None, Query(min_length=1, max_length=600, pattern=r"^[A-Za-z0-9_-]+$", description="`next` of a page")
    ] = None,
) -> PageAsk:
    """Return which part of a list is asked for."""
    return PageAsk(limit, cursor)


PageDep = Annotated[PageAsk, Depends(page_ask)]


def sent(answer: Answer) -> Response:
    """Return an answer as it is sent."""
    headers = dict(answer.headers)
    if answer.is_repeated:
        headers["Idempotency-Replayed"] = "true"
    return Response(answer.text, answer.status, headers, "application/json")


def shown(
    content: Mapping[str, Any] | list[Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return JSON."""
    return Response(canonical_json(content), status, dict(headers or {}), "application/json")


def paged(page: Page) -> Response:
    """Return a page."""
    return shown({"items": list(page.items), "next": page.next})
