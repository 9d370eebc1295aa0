"""The edge of the service: what every request has to pass, and every answer carries, before and after the routes."""

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from msc_vision.errors import MscVisionError
from msc_vision.service.context import Caller, Service
from msc_vision.service.credentials import Credentials
from msc_vision.service.limits import RateLimit, Refusal
from msc_vision.service.problems import (
    MEDIA_TYPE,
    ProblemError,
    is_noted_already,
    problem_body,
    problem_headers,
    problem_of,
)
from msc_vision.service.store import StoreUnavailableError

PUBLIC = frozenset({"/v1/login", "/v1/openapi.json", "/v1/schemas/decision"})
UPLOAD = "/v1/uploads"
YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml")
ZIP_TYPES = ("application/zip", "application/x-zip-compressed")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LOG = logging.getLogger(__name__)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BODY_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_API_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the edge knows of a request."""

    method: str
    path: str
    address: str
    request_id: str
    headers: Mapping[str, str]

    @property
    def is_api(self) -> bool:
        """Whether it is for the JSON routes."""
        return self.path.startswith("/v1/") or self.path == "/v1"


class Edge:
    """ASGI middleware: request id, host, sizes, media types, rates, credentials, headers of answers, figures."""

    def __init__(self, app: ASGIApp, service: Service, credentials: Credentials) -> None:
        limits = service.settings.limits
        self._app = app
        self._service = service
        self._credentials = credentials
        self._limits = limits
        self._by_principal = RateLimit(limits.requests_per_s, limits.request_burst)
        self._by_address = RateLimit(limits.anonymous_per_s, limits.anonymous_burst)
        self._hosts = frozenset(service.settings.trusted_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through to the routes, or refuse it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        started_s = time.perf_counter()
        seen = _seen(scope)
        state = scope.setdefault("state", {})
        state["seen"] = seen
        status = 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add_headers(message, seen)
            await send(message)

        try:
            self._check(scope, seen)
            state["caller"] = await self._caller(seen)
        except MscVisionError as err:
            await refusal(self._service, scope, err)(scope, receive, answer)
        else:
            await self._routed(scope, receive, answer, seen)
        finally:
            self._measure(scope, seen, status, time.perf_counter() - started_s)

    async def _routed(self, scope: Scope, receive: Receive, answer: Send, seen: Seen) -> None:
        """Let the routes answer; what they did not foresee is answered here, and told to the program's log only."""
        has_begun = False

        async def noticed(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await answer(message)

        try:
            await self._app(scope, _counted(receive, self._most_bytes(seen)), noticed)
        except ClientDisconnect:
            _LOG.info("%s %s (request %s): the caller hung up", seen.method, seen.path, seen.request_id)
        except Exception as err:
            _LOG.exception("%s %s (request %s): %s", seen.method, seen.path, seen.request_id, type(err).__name__)
            if has_begun:
                raise
            problem = ProblemError("internal", "The error is in the log of the service, with the id of this request.")
            await refusal(self._service, scope, problem)(scope, receive, answer)

    def _check(self, scope: Scope, seen: Seen) -> None:
        """Refuse what no route should see."""
        n_bytes = sum(len(name) + len(value) for name, value in scope["headers"])
        if n_bytes + len(scope.get("query_string", b"")) > self._limits.header_bytes:
            raise ProblemError("headers-too-large", f"Headers and query have {n_bytes} bytes; send less.")
        host = seen.headers.get("host", "").lower()
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if "*" not in self._hosts and name not in self._hosts:
            raise ProblemError("unknown-host", f"{name[:100]!r} is not a name of this service; see `trusted_hosts`.")
        if ".." in seen.path.split("/") or "\\" in seen.path or any(ord(char) < 32 for char in seen.path):
            raise ProblemError("malformed", "The path holds `..`, a backslash or a control character.")
        if seen.is_api:
            self._check_types(seen)

    def _check_types(self, seen: Seen) -> None:
        if not _accepts_json(seen.headers.get("accept", "")):
            raise ProblemError("not-acceptable", "Answers are application/json; ask for that in Accept.")
        length = seen.headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            raise ProblemError("malformed", "Content-Length is no number.")
        if int(length[:20]) > self._most_bytes(seen):
            raise ProblemError("too-large", f"The body has {length[:20]} bytes; {self._most_bytes(seen)} are allowed.")
        has_body = int(length[:20]) > 0 or "transfer-encoding" in seen.headers
        if not has_body or seen.method not in _BODY_METHODS:
            return
        if seen.headers.get("content-encoding", "identity") != "identity":
            raise ProblemError("unsupported-media-type", "Compressed bodies are not taken; send the body as it is.")
        allowed = _types_of(seen.path)
        given = seen.headers.get("content-type", "").partition(";")[0].strip().lower()
        if given not in allowed:
            raise ProblemError("unsupported-media-type", f"The body is {given[:80]!r}; send {' or '.join(allowed)}.")

    async def _caller(self, seen: Seen) -> Caller | None:
        """Return who asks, within their rate; None: nobody, where nobody is enough."""
        scheme, _, token = seen.headers.get("authorization", "").partition(" ")
        if not seen.is_api and seen.path != "/metrics":
            return None
        if scheme.lower() != "bearer" or not token:
            self._wait_for_turn(self._by_address, seen.address)
            if seen.is_api and seen.path not in PUBLIC:
                raise ProblemError("not-authenticated", "Send `Authorization: Bearer` with an API key or a session.")
            return None
        try:
            principal = await self._credentials.principal(token.strip())
        except StoreUnavailableError:
            raise  # nobody can tell who asks, which is no fault of theirs
        except MscVisionError:
            self._wait_for_turn(self._by_address, seen.address)
            raise
        self._wait_for_turn(self._by_principal, principal.who)
        return Caller(principal, seen.address, seen.request_id, token.strip())

    def _wait_for_turn(self, limit: RateLimit, key: str) -> None:
        wait_s = limit.wait_s(key)
        if wait_s > 0:
            seconds = max(1, round(wait_s + 0.5))
            raise ProblemError("too-many-requests", f"Too many requests; wait {seconds} s.", retry_after_s=seconds)

    def _most_bytes(self, seen: Seen) -> int:
        return self._limits.upload_bytes if seen.path == UPLOAD else self._limits.body_bytes

    def _measure(self, scope: Scope, seen: Seen, status: int, elapsed_s: float) -> None:
        path = getattr(scope.get("route"), "path", "none")
        is_short = seen.is_api and path != "none" and not path.startswith("/v1")  # routers may keep their prefix apart
        route = f"/v1{path}" if is_short else path
        method = seen.method if seen.method in _METHODS else "other"  # anybody may make names up
        self._service.metrics.requests.labels(method, route, str(status)).inc()
        self._service.metrics.seconds.labels(route).observe(elapsed_s)


def refusal(service: Service, scope: Scope, err: MscVisionError) -> Response:
    """Return the answer to a refused request, and note it where the audit log has to show it."""
    problem = problem_of(err)
    seen: Seen = scope["state"]["seen"]
    service.metrics.refusals.labels(problem.kind).inc()
    if problem.is_noted and not is_noted_already(err):
        caller: Caller | None = scope["state"].get("caller")
        who = f"address:{seen.address}" if caller is None else caller.who
        target = f"{seen.method} {seen.path}"[:300]
        said = f"{problem.detail[:500]} (from {seen.address}, request {seen.request_id})"
        service.refusals.add(Refusal(who, f"refused: {problem.kind}", _plain(target), _plain(said)))
    body = problem_body(problem, seen.path, seen.request_id)
    headers = problem_headers(problem)
    if problem.status == 413:
        headers["Connection"] = "close"  # what is left of the body is not read
    return Response(body, problem.status, headers, MEDIA_TYPE)


def _plain(text: str) -> str:
    """Return a text that a database can keep."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _seen(scope: Scope) -> Seen:
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name = raw_name.decode("latin-1")
        value = raw_value.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    given = headers.get("x-request-id", "")
    request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
    client = scope.get("client")
    return Seen(scope["method"], scope["path"], client[0] if client else "unknown", request_id, headers)


def _types_of(path: str) -> tuple[str, ...]:
    if path == UPLOAD:
        return ZIP_TYPES
    return ("application/json", *YAML_TYPES) if path.startswith("/v1/rule-sets") else ("application/json",)


def _accepts_json(accept: str) -> bool:
    if not accept:
        return True
    wanted = [one.split(";") for one in accept.lower().split(",")]
    names = [one[0].strip() for one in wanted if not any(part.strip() in ("q=0", "q=0.0") for part in one[1:])]
    return any(name in ("*/*", "application/*", "application/json", MEDIA_TYPE) for name in names)


def _add_headers(message: Message, seen: Seen) -> None:
    headers: list[Any] = message.setdefault("headers", [])
    there = {name.lower() for name, _ in headers}
    headers.append((b"x-request-id", seen.request_id.encode()))
    if not seen.path.startswith("/board"):
        headers.extend(pair for pair in _API_HEADERS if pair[0] not in there)


def _counted(receive: Receive, most_bytes: int) -> Receive:
    """Return a source of a body that ends with 413 when it is too large, whatever its headers said."""
    n_bytes = 0

    async def counted() -> Message:
        nonlocal n_bytes
        message = await receive()
        n_bytes += len(message.get("body", b""))
        if n_bytes > most_bytes:
            raise HTTPException(413, f"The body has more than {most_bytes} bytes; send less.")
        return message

    return counted


async def flush_refusals(service: Service) -> None:
    """Sum up refusals every minute; for the lifetime of the service."""
    while True:
        await asyncio.sleep(60)
        service.refusals.flush_if_due()
