"""Errors as other programs read them: problem details (RFC 9457), one table from error to status."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msc_vision.errors import (
    InvalidArgumentError,
    InvalidDataError,
    MissingDependencyError,
    MscVisionError,
    OutputError,
    UndefinedResultError,
)
from msc_vision.service.access import (
    ForbiddenError,
    LockedOutError,
    NotAuthenticatedError,
    PasswordExpiredError,
    PasswordRefusedError,
    SignatureRefusedError,
)
from msc_vision.service.store import NotFoundError, RefusedError, StoreConflictError, StoreUnavailableError

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:msc-vision:problem:"


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """One kind of problem. ``is_noted``: a refusal that the audit log has to show."""

    name: str
    status: int
    title: str
    is_noted: bool = True


_KINDS = (
    ProblemKind("malformed", 400, "The request cannot be read"),
    ProblemKind("unknown-host", 400, "The service is not called by this name"),
    ProblemKind("not-authenticated", 401, "Credentials are missing or not valid"),
    ProblemKind("password-expired", 403, "The password is too old"),
    ProblemKind("not-allowed", 403, "The caller may not do this"),
    ProblemKind("outside-roots", 403, "The path lies outside the folders of this service"),
    ProblemKind("not-found", 404, "There is no such thing", is_noted=False),
    ProblemKind("method-not-allowed", 405, "The method is not known here", is_noted=False),
    ProblemKind("not-acceptable", 406, "The answer is not available in the media type asked for", is_noted=False),
    ProblemKind("conflict", 409, "The request contradicts what is stored", is_noted=False),
    ProblemKind("signature-refused", 409, "The decision cannot be signed"),
    ProblemKind("too-large", 413, "The body is too large"),
    ProblemKind("unsafe-upload", 422, "The upload is refused"),
    ProblemKind("unsupported-media-type", 415, "The body is of another media type"),
    ProblemKind("not-valid", 422, "The request is not valid"),
    ProblemKind("idempotency-key-reused", 422, "The idempotency key belongs to another request"),
    ProblemKind("data-not-valid", 422, "The data contradict themselves or their format", is_noted=False),
    ProblemKind("undefined", 422, "What was asked for has no value here", is_noted=False),
    ProblemKind("too-many-requests", 429, "Too many requests"),
    ProblemKind("headers-too-large", 431, "The headers are too large"),
    ProblemKind("internal", 500, "An error of the program", is_noted=False),
    ProblemKind("unavailable", 503, "The service cannot do this at the moment", is_noted=False),
)
KINDS = {one.name: one for one in _KINDS}


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong at one place of the request; ``pointer`` is a JSON pointer (RFC 6901) or names a parameter."""

    detail: str
    pointer: str


@dataclass
class ProblemError(MscVisionError):
    """A refusal with everything that the answer says.

    Parameters
    ----------
    kind : str
        A name of `KINDS`.
    detail : str
        What was seen and what to do.
    faults : sequence of Fault
    retry_after_s : int or None
    headers : mapping of str to str
    """

    kind: str
    detail: str
    faults: Sequence[Fault] = ()
    retry_after_s: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(self.detail)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return KINDS[self.kind].status

    @property
    def is_noted(self) -> bool:
        """Whether the audit log has to show it."""
        return KINDS[self.kind].is_noted


RETRY_AFTER_S = 5
_BY_ERROR: tuple[tuple[type[MscVisionError], str], ...] = (
    (LockedOutError, "too-many-requests"),
    (PasswordExpiredError, "password-expired"),
    (NotAuthenticatedError, "not-authenticated"),
    (ForbiddenError, "not-allowed"),
    (SignatureRefusedError, "signature-refused"),
    (PasswordRefusedError, "not-valid"),
    (NotFoundError, "not-found"),
    (StoreConflictError, "conflict"),
    (StoreUnavailableError, "unavailable"),
    (OutputError, "unavailable"),
    (MissingDependencyError, "unavailable"),
    (UndefinedResultError, "undefined"),
    (InvalidDataError, "data-not-valid"),
    (InvalidArgumentError, "not-valid"),
)
"""The first that fits counts."""


def problem_of(err: MscVisionError) -> ProblemError:
    """Return the problem that an error of the library is; what has no line in the table is an error of the program."""
    if isinstance(err, ProblemError):
        return err
    wait_s = getattr(err, "retry_after_s", RETRY_AFTER_S)
    for kind, name in _BY_ERROR:
        if isinstance(err, kind):
            has_wait = KINDS[name].status in (429, 503)
            return ProblemError(name, str(err), retry_after_s=max(1, math.ceil(wait_s)) if has_wait else None)
    return ProblemError("internal", str(err))


def is_noted_already(err: Exception) -> bool:
    """Tell whether the store or access layer has written a refusal into the audit log itself."""
    return isinstance(err, RefusedError)


def problem_body(problem: ProblemError, instance: str, request_id: str) -> bytes:
    """Return the JSON text of an answer."""
    kind = KINDS[problem.kind]
    content: dict[str, Any] = {
        "type": TYPE_PREFIX + kind.name,
        "title": kind.title,
        "status": kind.status,
        "detail": problem.detail,
        "instance": instance,
        "request_id": request_id,
    }
    if problem.faults:
        content["errors"] = [{"detail": one.detail, "pointer": one.pointer} for one in problem.faults]
    return json.dumps(content, ensure_ascii=True, allow_nan=False).encode()


def problem_headers(problem: ProblemError) -> dict[str, str]:
    """Return the headers that go with a problem."""
    headers = dict(problem.headers)
    if problem.retry_after_s is not None:
        headers["Retry-After"] = str(problem.retry_after_s)
    if problem.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="msc-vision"'
    return headers


def pointer_to(location: Sequence[str | int]) -> str:
    """Return where a validation error lies: ``#/passage`` in the body, else ``query passage``."""
    where, *rest = location or ("body",)
    if where == "body":
        return "#" + "".join("/" + str(one).replace("~", "~0").replace("/", "~1") for one in rest)
    return " ".join(str(one) for one in location)
