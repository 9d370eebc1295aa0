"""Where the board's pages are: each address, who may see it, and what is answered when something is wrong."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from msc_vision.errors import MscVisionError
from msc_vision.service.access import NotAuthenticatedError
from msc_vision.service.board import entrance, forms, pages
from msc_vision.service.board.page import HEADERS, STATIC, page, static_response
from msc_vision.service.board.session import PATH, viewer_of
from msc_vision.service.board.visit import Board, Visit
from msc_vision.service.context import Service
from msc_vision.service.edge import refusal
from msc_vision.service.problems import KINDS, ProblemError, problem_of

Handler = Callable[[Visit], Awaitable[Response]]
Endpoint = Callable[[Request], Awaitable[Response]]
_LOG = logging.getLogger(__name__)
_MOST_NEXT = 500

router = APIRouter()


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _board(request: Request) -> Board:
    """Return what the board keeps in memory for this application."""
    state = request.app.state
    if not hasattr(state, "board"):
        state.board = Board(_service(request).settings.limits)
    board: Board = state.board
    return board


def _for_people(handler: Handler) -> Endpoint:
    """Return a handler for people who are logged in, with pages for what goes wrong."""

    async def endpoint(request: Request) -> Response:
        service, board = _service(request), _board(request)
        viewer = None
        try:
            viewer = await viewer_of(service, request)
            request.state.caller = viewer.caller
            board.wait_for_turn(viewer.caller.who)
            return await handler(Visit(request, service, board, viewer))
        except NotAuthenticatedError as err:
            if viewer is None:
                return _to_login(request)
            return _trouble(service, request, err, viewer)
        except MscVisionError as err:
            return _trouble(service, request, err, viewer)
        except Exception as err:  # noqa: BLE001  (people get a page, the log the traceback)
            _LOG.exception("%s %s", request.method, request.url.path)
            unexpected = ProblemError("internal", "An error of the program; it was logged.")
            unexpected.__cause__ = err
            return _trouble(service, request, unexpected, viewer)

    return endpoint


def _for_everybody(handler: Callable[[Request, Service, Board], Awaitable[Response]]) -> Endpoint:
    """Return a handler for whoever asks."""

    async def endpoint(request: Request) -> Response:
        service = _service(request)
        try:
            return await handler(request, service, _board(request))
        except MscVisionError as err:
            return _trouble(service, request, err, None)

    return endpoint


def _to_login(request: Request) -> Response:
    """Send somebody to the log-in page, and back afterwards if they only looked."""
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    query = "" if request.method != "GET" or len(wanted) > _MOST_NEXT else f"?{urlencode({'next': wanted})}"
    return RedirectResponse(f"{PATH}/login{query}", 303, headers=HEADERS)


def _trouble(service: Service, request: Request, err: MscVisionError, viewer: Any) -> Response:
    """Return a page that says what is wrong and what to do; refusals are noted."""
    noted = refusal(service, request.scope, err)
    problem = problem_of(err)
    back = request.headers.get("referer", "")
    path = back.partition(request.headers.get("host", "?"))[2]
    answer = page(
        "trouble.html.j2",
        problem.status,
        viewer=viewer,
        here="",
        title=KINDS[problem.kind].title,
        detail=problem.detail,
        back=path if path.startswith(PATH) else PATH,
        request_id=request.scope["state"]["seen"].request_id,
    )
    if "retry-after" in noted.headers:
        answer.headers["Retry-After"] = noted.headers["retry-after"]
    return answer


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in STATIC:
        return Response("There is no such file.", 404, media_type="text/plain", headers=HEADERS)
    return static_response(name)


async def _unknown(_: Visit) -> Response:
    raise ProblemError("not-found", "There is no such page.")


def _add(path: str, endpoint: Endpoint, method: str = "GET") -> None:
    router.add_route(f"{PATH}{path}", endpoint, methods=[method], include_in_schema=False)


_PAGES: tuple[tuple[str, Handler], ...] = (
    ("", pages.vessels),
    ("/", pages.vessels),
    ("/vessels/{vessel_id:path}", pages.vessel),
    ("/records", pages.records),
    ("/records/{decision_id}", pages.record),
    ("/records/{decision_id}/document", pages.document),
    ("/rules", pages.rule_sets),
    ("/rules/{name}", pages.rule_set),
    ("/audit", pages.audit_log),
    ("/words", pages.words),
    ("/runs/{run_id}/fields/{key}", pages.field),
    ("/runs/{run_id}/pictures/{key}", pages.picture),
    ("/password", entrance.password_page),
)
_FORMS: tuple[tuple[str, Handler], ...] = (
    ("/logout", entrance.log_out),
    ("/password", entrance.change_password),
    ("/decide", forms.decide),
    ("/records/{decision_id}/review", forms.review),
    ("/records/{decision_id}/sign", forms.sign),
    ("/records/{decision_id}/replay", forms.replay),
)
_add("/static/{name}", _static)
_add("/login", _for_everybody(entrance.login_page))
_add("/login", _for_everybody(entrance.log_in), "POST")
for _path, _handler in _PAGES:
    _add(_path, _for_people(_handler))
for _path, _handler in _FORMS:
    _add(_path, _for_people(_handler), "POST")
_add("/{rest:path}", _for_people(_unknown))
