"""A small client of the service for Python programs; httpx is all it needs.

>>> with Client("https://msc.site", token) as service:                                        # doctest: +SKIP
...     record = service.decide("STACK-7", "site-a", vessel_type="hyperstack-36")
...     record["verdict"], record["recommended_action"]
"""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NotRequired, Self, TypedDict

import httpx

from msc_vision.errors import InvalidDataError, MscVisionError, OutputError
from msc_vision.service.webhook_signature import check_signature

__all__ = ["Client", "Decision", "Job", "Page", "Problem", "ServiceError", "check_signature"]

JOB_ENDS = frozenset({"done", "failed", "cancelled"})
_AGAIN = frozenset({429, 503})
Verdict = Literal["GO", "NO_GO", "HOLD_REVIEW", "CANNOT_ASSESS"]
Record = dict[str, Any]
"""A decision record; its JSON Schema is at ``/v1/schemas/decision``."""


class Problem(TypedDict):
    """Problem details (RFC 9457), as the service sends them."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    errors: NotRequired[list[dict[str, str]]]


class Decision(TypedDict):
    """A decision in a list."""

    decision_id: str
    created_at: str
    vessel_id: str
    verdict: Verdict
    recommended_action: str
    run_id: str | None
    rule_set: str
    supersedes: str | None
    superseded_by: str | None
    n_signatures: int


class Job(TypedDict):
    """A scoring job."""

    job_id: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    fields_total: int
    fields_done: int
    fields_failed: int
    message: str | None
    run_id: str | None


class Login(TypedDict):
    """Who is logged in, and until when."""

    username: str
    printed_name: str
    roles: list[str]
    expires_at: str


class Page(TypedDict):
    """A page of a list."""

    items: list[dict[str, Any]]
    next: str | None


class ServiceError(MscVisionError):
    """The service refused a request; ``problem`` is what it said."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem['title']} ({problem['status']}): {problem['detail']}")
        self.problem = problem

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.problem["status"]

    @property
    def kind(self) -> str:
        """The last part of the problem's type, such as ``not-found``."""
        return self.problem["type"].rpartition(":")[2]


class Client:
    """Asks a service; use it as a context manager.

    Requests that the service could not take (429, 503) or whose answer was lost are repeated, writes with the same
    idempotency key, so that each is done once.

    Parameters
    ----------
    url : str
        Such as ``https://msc.site:8790``.
    token : str
        An API key or the token of a session.
    timeout_s : float
        For one try.
    patience_s : float
        For all tries of one request.
    transport : httpx.BaseTransport or None
        Who answers; for tests.
    sleep, clock : callable
        For tests.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        timeout_s: float = 30.0,
        patience_s: float = 120.0,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s, transport=transport)
        self._patience_s = patience_s
        self._sleep = sleep
        self._clock = clock

    @classmethod
    def log_in(cls, url: str, username: str, password: str, **options: Any) -> tuple[Self, Login]:
        """Return a client for a person, and who that is; the password is sent once and not kept.

        Parameters
        ----------
        url, username, password : str
        **options
            As those of the class.

        Raises
        ------
        ServiceError
            If the service refuses: a wrong name or password (401), too many tries, a password that is too old.
        OutputError
            If it could not be reached in time.
        """
        made = cls(url, "", **options)
        try:
            session = made._send("POST", "/v1/login", body={"username": username, "password": password}).json()
        except MscVisionError:
            made.close()
            raise
        made._http.headers["Authorization"] = f"Bearer {session.pop('token')}"
        return made, session

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; a session goes on until it ends by itself, see `log_out`."""
        self._http.close()

    def log_out(self) -> None:
        """End the session of a person, and close the connections."""
        try:
            self._send("POST", "/v1/logout")
        finally:
            self.close()

    # -- decisions ------------------------------------------------------------------------------------------------

    def decide(self, vessel_id: str, rule_set: str, **asked: Any) -> Record:
        """Ask whether a vessel may be harvested now; ``asked`` are further keys of the request, such as ``run_id``.

        Raises
        ------
        ServiceError
            If the service refuses.
        OutputError
            If it could not be reached in time.
        """
        body = {"vessel_id": vessel_id, "rule_set": rule_set, **asked}
        record: Record = self._write("/v1/decisions", body).json()
        return record

    def decision(self, decision_id: str) -> Record:
        """Return a decision record; ``signature`` is filled in once it is signed."""
        record: Record = self._send("GET", f"/v1/decisions/{decision_id}").json()
        return record

    def explanation(self, decision_id: str) -> dict[str, Any]:
        """Return why a decision came to its verdict, and what would change it."""
        found: dict[str, Any] = self._send("GET", f"/v1/decisions/{decision_id}/explanation").json()
        return found

    def decisions(self, **filters: Any) -> Iterator[Decision]:
        """Yield decisions, the newest first: of a vessel_id, verdict, batch, since, until, current."""
        yield from self._items("/v1/decisions", filters)  # type: ignore[misc]

    def review(self, decision_id: str, action: str, reason_code: str, reason: str, **more: Any) -> Record:
        """Say what a person thinks of a decision; return the record that supersedes it."""
        body = {"action": action, "reason_code": reason_code, "reason": reason, **more}
        record: Record = self._write(f"/v1/decisions/{decision_id}/reviews", body).json()
        return record

    def sign(self, record: Mapping[str, Any], password: str, meaning: str) -> dict[str, Any]:
        """Sign the record that was read."""
        body = {"password": password, "record_sha256": record["record_sha256"], "meaning": meaning}
        made: dict[str, Any] = self._write(f"/v1/decisions/{record['decision_id']}/signatures", body).json()
        return made

    def signatures(self, decision_id: str) -> list[dict[str, Any]]:
        """Return the signatures of a decision, the first one first."""
        found: list[dict[str, Any]] = self._send("GET", f"/v1/decisions/{decision_id}/signatures").json()["items"]
        return found

    def rule_sets(self) -> list[dict[str, Any]]:
        """Return the rule sets that the service knows: id, version, status, title."""
        found: list[dict[str, Any]] = self._send("GET", "/v1/rule-sets").json()["items"]
        return found

    # -- runs, jobs, vessels --------------------------------------------------------------------------------------

    def register(self, path: str) -> dict[str, Any]:
        """Register a run folder that the service can read."""
        run: dict[str, Any] = self._write("/v1/runs", {"path": path}).json()
        return run

    def upload(self, archive: Path) -> dict[str, Any]:
        """Upload the zip of a run folder and register it; it is streamed from disk."""

        def parts() -> Iterator[bytes]:
            with archive.open("rb") as handle:
                while part := handle.read(1 << 20):
                    yield part

        headers = {"Content-Type": "application/zip", "Idempotency-Key": secrets.token_urlsafe(16)}
        run: dict[str, Any] = self._send("POST", "/v1/uploads", headers=headers, stream=parts).json()
        return run

    def score(self, folder: str, **asked: Any) -> Job:
        """Submit a folder of images for scoring."""
        job: Job = self._write("/v1/jobs", {"folder": folder, **asked}).json()
        return job

    def job(self, job_id: str) -> Job:
        """Return a job with its progress."""
        job: Job = self._send("GET", f"/v1/jobs/{job_id}").json()
        return job

    def wait(self, job_id: str, *, timeout_s: float = 3600.0, poll_s: float = 2.0) -> Job:
        """Return a job once it is done, failed or cancelled.

        Raises
        ------
        OutputError
            If it takes longer than ``timeout_s``; the job goes on.
        """
        until = self._clock() + timeout_s
        while True:
            job = self.job(job_id)
            if job["state"] in JOB_ENDS:
                return job
            if self._clock() >= until:
                raise OutputError(f"Job {job_id} is {job['state']} after {timeout_s:g} s; it goes on, ask again.")
            self._sleep(poll_s)

    def vessels(self) -> Iterator[dict[str, Any]]:
        """Yield vessels by name, each with its latest run and its last decision."""
        yield from self._items("/v1/vessels", {})

    def run(self, run_id: str) -> dict[str, Any]:
        """Return a registered run with its vessels."""
        found: dict[str, Any] = self._send("GET", f"/v1/runs/{run_id}").json()
        return found

    def runs(self) -> Iterator[dict[str, Any]]:
        """Yield runs, the newest first."""
        yield from self._items("/v1/runs", {})

    # -- how ------------------------------------------------------------------------------------------------------

    def _items(self, path: str, filters: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        asked = dict(filters)
        while True:
            page: Page = self._send("GET", path, params=asked).json()
            yield from page["items"]
            if page["next"] is None:
                return
            asked["cursor"] = page["next"]

    def _write(self, path: str, body: Mapping[str, Any]) -> httpx.Response:
        headers = {"Idempotency-Key": secrets.token_urlsafe(16)}
        return self._send("POST", path, headers=headers, body=body)

    def _send(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        stream: Callable[[], Iterator[bytes]] | None = None,
    ) -> httpx.Response:
        """Send a request until it is answered with more than "later", for as long as there is patience."""
        until, wait_s = self._clock() + self._patience_s, 0.5
        while True:
            trouble = ""
            try:
                content = None if stream is None else stream()
                answer = self._http.request(method, path, headers=headers, params=params, json=body, content=content)
                if answer.status_code not in _AGAIN:
                    return _checked(answer)
                wait_s = max(wait_s, _retry_after_s(answer))
            except httpx.TransportError as err:
                answer, trouble = None, f"{type(err).__name__}: {err}"
            if self._clock() + wait_s > until:
                if answer is not None:
                    return _checked(answer)
                raise OutputError(f"{self._http.base_url}: the service cannot be reached ({trouble}).")
            self._sleep(wait_s)
            wait_s = min(2 * wait_s, 30.0)


def _retry_after_s(answer: httpx.Response) -> float:
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else 1.0


def _checked(answer: httpx.Response) -> httpx.Response:
    if answer.is_success:
        return answer
    try:
        problem: Problem = answer.json()
        raise ServiceError(problem)
    except (ValueError, KeyError, TypeError) as err:
        raise InvalidDataError(
            f"{answer.request.url}: answered {answer.status_code} without problem details; is it this service?"
        ) from err
