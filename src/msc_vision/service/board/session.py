"""Who looks at the board: the cookie that holds the session, and the token that every form has to bring back."""

import asyncio
import hashlib
import hmac
import ipaddress
import secrets
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from msc_vision.service.access import NotAuthenticatedError, Person
from msc_vision.service.access.principals import Scope
from msc_vision.service.context import Caller, Service
from msc_vision.service.problems import ProblemError
from msc_vision.service.queries import find
from msc_vision.service.store.tables import people

COOKIE: Final = "msc_vision_board"
LOGIN_COOKIE: Final = "msc_vision_login"
PATH: Final = "/board"
FORM_TOKEN: Final = "form_token"
_MOST_FIELDS: Final = 600
_FORM_TYPE: Final = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Viewer:
    """Somebody who is logged in at the board. ``form_token`` is what their forms have to bring back."""

    caller: Caller
    person: Person
    form_token: str

    def can(self, scope: Scope) -> bool:
        """Tell whether they have a scope."""
        return self.caller.principal.can(scope)


async def viewer_of(service: Service, request: Request) -> Viewer:
    """Return who is logged in.

    Raises
    ------
    NotAuthenticatedError
        If nobody is, or the session is over.
    """
    token = request.cookies.get(COOKIE, "")
    if not token:
        raise NotAuthenticatedError("Log in first.", who="person:nobody", what="use board")

    def look() -> Viewer:
        principal = service.access.authenticate_session(token)
        row = service.store.read(lambda connection: find(connection, people, principal.id))
        if row is None:
            raise NotAuthenticatedError("Log in first.", who=principal.who, what="use board")
        caller = Caller(principal, address_of(request), secrets.token_hex(8), token)
        return Viewer(caller, Person.of(row), form_token_of(token))

    return await asyncio.get_running_loop().run_in_executor(service.gatekeepers, look)


def address_of(request: Request) -> str:
    """Return where a request came from."""
    return request.client.host if request.client is not None else "unknown"


def form_token_of(token: str) -> str:
    """Return the form token of a session; who does not know the session's token cannot reckon it."""
    return hmac.new(token.encode(), b"form of the vessel board", hashlib.sha256).hexdigest()


async def form_of(request: Request, form_token: str) -> FormData:
    """Return the fields of a form that was sent from one of our own pages.

    Raises
    ------
    ProblemError
        ``not-allowed``: it was sent from elsewhere, or its token is not that of this session.
    """
    check_same_origin(request)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM_TYPE:
        raise ProblemError("unsupported-media-type", f"Forms are sent as {_FORM_TYPE}.")
    form = await request.form(max_files=0, max_fields=_MOST_FIELDS)
    given = form.get(FORM_TOKEN)
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), form_token.encode()):
        raise ProblemError("not-allowed", "This form is not of your session. Open the page again and repeat.")
    return form


def check_same_origin(request: Request) -> None:
    """Check that a form was sent from this site, as far as the browser says so.

    Raises
    ------
    ProblemError
        ``not-allowed``.
    """
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site", "same-origin")
    is_ours = origin is None or urlsplit(origin).netloc == request.headers.get("host", "")
    if not is_ours or site not in ("same-origin", "none"):
        raise ProblemError("not-allowed", "The form was sent from another site.")


def is_private_enough(request: Request) -> bool:
    """Tell whether a password may be sent: over TLS, or without leaving this machine."""
    return request.url.scheme == "https" or _is_loopback(request)


def _is_loopback(request: Request) -> bool:
    host = request.url.hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def set_cookie(response: Response, request: Request, name: str, value: str) -> None:
    """Give the browser a cookie that no script reads, that only our own pages send and, but for loopback, only TLS."""
    is_secure = request.url.scheme == "https" or not _is_loopback(request)
    response.set_cookie(name, value, path=PATH, httponly=True, samesite="strict", secure=is_secure)


def drop_cookie(response: Response, name: str) -> None:
    """Take a cookie back."""
    response.delete_cookie(name, path=PATH)
