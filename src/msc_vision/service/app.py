"""The application: parts put together, errors as problems, begin and end."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import httpx
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.responses import Response

from msc_vision import __version__
from msc_vision.errors import MscVisionError
from msc_vision.service.access import Access, AccessSettings
from msc_vision.service.actions.scoring import registrar
from msc_vision.service.context import Service
from msc_vision.service.credentials import Credentials
from msc_vision.service.edge import Edge, flush_refusals, refusal
from msc_vision.service.evidence_cache import EvidenceCache, ReadEvidence, library_reader
from msc_vision.service.forecast_cache import ForecastCache
from msc_vision.service.jobs import JobRunner
from msc_vision.service.limits import Refusal, RefusalLog
from msc_vision.service.metrics import ServiceMetrics
from msc_vision.service.openapi import allowed_methods, describe
from msc_vision.service.problems import KINDS, Fault, ProblemError, pointer_to
from msc_vision.service.routes import administration, decisions, health, rule_sets, runs, session, vessels
from msc_vision.service.rule_library import RuleLibrary
from msc_vision.service.settings import ServiceSettings
from msc_vision.service.store import RefusedError, Store, StoreUnavailableError, Transaction
from msc_vision.service.webhooks import Deliverer

N_WORKERS, N_JUDGES, N_GATEKEEPERS = 8, 2, 2
_LOG = logging.getLogger(__name__)
_BY_STATUS = {
    400: "malformed",
    404: "not-found",
    405: "method-not-allowed",
    406: "not-acceptable",
    413: "too-large",
    415: "unsupported-media-type",
}


def access_settings(settings: ServiceSettings) -> AccessSettings:
    """Return the rules of access that the settings of a service ask for."""
    return AccessSettings(
        session_max_age_h=settings.session_h,
        session_idle_h=settings.session_idle_h,
        n_signatures=settings.n_signatures,
    )


def build_service(
    settings: ServiceSettings,
    store: Store,
    *,
    rules_of_access: AccessSettings | None = None,
    read_evidence: ReadEvidence | None = None,
    transport: httpx.BaseTransport | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Service:
    """Put the parts of a service together; nothing runs yet.

    Parameters
    ----------
    settings : ServiceSettings
    store : Store
        Open; the application closes it.
    rules_of_access : AccessSettings or None
        None: by the settings.
    read_evidence : callable or None
        None: the library's own.
    transport : httpx.BaseTransport or None
        Who answers webhooks, in tests.
    clock : callable
        The time of decisions.
    """
    refusals = RefusalLog(partial(_note, store), settings.limits.noted_refusals_per_min)
    chosen = rules_of_access or access_settings(settings)
    access = Access(store, chosen, note=partial(_add_refusal, refusals))
    workers = ThreadPoolExecutor(N_WORKERS, thread_name_prefix="msc-vision-worker")
    gatekeepers = ThreadPoolExecutor(N_GATEKEEPERS, thread_name_prefix="msc-vision-gate")
    evidence = EvidenceCache(settings.evidence_cached, read_evidence or library_reader(), settings.growth_prior)
    webhooks = Deliverer(store, settings.webhooks, transport=transport)
    settings.runs_folder.mkdir(parents=True, exist_ok=True)
    return Service(
        settings=settings,
        store=store,
        access=access,
        credentials=Credentials(access, gatekeepers),
        gatekeepers=gatekeepers,
        rules=RuleLibrary(store, settings.rules_folders),
        evidence=evidence,
        forecasts=ForecastCache(settings.growth_prior),
        jobs=JobRunner(store, settings.jobs, settings.runs_folder, registrar(evidence), wake_webhooks=webhooks.wake),
        webhooks=webhooks,
        metrics=ServiceMetrics(),
        refusals=refusals,
        workers=workers,
        judges=ThreadPoolExecutor(N_JUDGES, thread_name_prefix="msc-vision-judge"),
        clock=clock,
    )


def create_app(service: Service) -> FastAPI:
    """Return the application of a service; its life begins and ends that of the parts."""
    app = FastAPI(
        title="msc-vision",
        version=__version__,
        description=(
            "Asks whether a vessel of mesenchymal stromal cells may be harvested now, and why. Answers are decision "
            "records: explained, reproducible, signed where they must be. In-process decisions only."
        ),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=partial(_lifespan, service),
        redirect_slashes=False,
    )
    app.state.service = service
    app.add_middleware(Edge, service=service, credentials=service.credentials)
    _add_error_handlers(app, service)
    for part in (session, runs, decisions, rule_sets, vessels, administration):
        app.include_router(part.router, prefix="/v1")
    app.include_router(health.router)
    app.add_api_route("/v1/openapi.json", lambda: JSONResponse(describe(app)), methods=["GET"], include_in_schema=False)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    _mount_board(app)
    return app


def _mount_board(app: FastAPI) -> None:
    """Add the pages, where they are installed."""
    from importlib.util import find_spec

    if find_spec("msc_vision.service.board") is not None:
        from importlib import import_module

        app.include_router(import_module("msc_vision.service.board.routes").router, include_in_schema=False)


@asynccontextmanager
async def _lifespan(service: Service, _: FastAPI) -> AsyncIterator[None]:
    service.webhooks.start()
    service.jobs.start()
    sums = asyncio.create_task(flush_refusals(service))
    try:
        yield
    finally:
        sums.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sums
        await asyncio.to_thread(close_service, service)


def close_service(service: Service) -> None:
    """End the parts: jobs go back to the queue, what is queued to be written is written."""
    service.jobs.close()
    service.webhooks.close()
    service.refusals.flush()
    service.judges.shutdown(wait=True)
    service.workers.shutdown(wait=True)
    service.gatekeepers.shutdown(wait=True)
    service.store.close()


def _add_error_handlers(app: FastAPI, service: Service) -> None:
    async def ours(request: Request, err: Exception) -> Response:
        if not isinstance(err, MscVisionError):
            raise err
        if isinstance(err, StoreUnavailableError):
            _LOG.warning("%s %s: %s", request.method, request.url.path, err)
        return refusal(service, request.scope, err)

    async def not_valid(request: Request, err: Exception) -> Response:
        return refusal(service, request.scope, _validation_problem(err))

    async def of_starlette(request: Request, err: Exception) -> Response:
        problem = _http_problem(err)
        if problem.kind == "method-not-allowed":
            methods = allowed_methods(describe(app), request.url.path) or ["GET"]
            problem = replace(problem, headers={"Allow": ", ".join(methods)})
        return refusal(service, request.scope, problem)

    app.add_exception_handler(MscVisionError, ours)
    app.add_exception_handler(RequestValidationError, not_valid)
    app.add_exception_handler(HTTPException, of_starlette)


def _validation_problem(err: Exception) -> ProblemError:
    found = err.errors() if isinstance(err, RequestValidationError) else ()
    if any(one["type"] == "json_invalid" for one in found):
        return ProblemError("malformed", "The body is no JSON.")
    faults = tuple(Fault(str(one["msg"]), pointer_to(one["loc"])) for one in found[:50])
    return ProblemError("not-valid", f"{len(found)} places of the request are wrong; see `errors`.", faults)


def _http_problem(err: Exception) -> ProblemError:
    status = err.status_code if isinstance(err, HTTPException) else 500
    detail = str(err.detail) if isinstance(err, HTTPException) else ""
    kind = _BY_STATUS.get(status, "internal")
    said = {"not-found": "There is nothing at this address.", "method-not-allowed": "See Allow for the methods."}
    headers = dict(err.headers or {}) if isinstance(err, HTTPException) else {}
    return ProblemError(kind, said.get(kind, detail or KINDS[kind].title), headers=headers)


def _add_refusal(refusals: RefusalLog, err: RefusedError) -> None:
    """Let refusals of credentials and scopes be summed up like all others."""
    refusals.add(Refusal(err.who, f"refused: {err.what}", err.target, str(err), err.target_id))


def _note(store: Store, refused: Refusal) -> None:
    """Write a refusal into the audit log; the request does not wait for it."""

    def command(tx: Transaction) -> None:
        tx.note(who=refused.who, what=refused.what, target=refused.target, target_id=refused.target_id, why=refused.why)

    try:
        store.write(command)
    except StoreUnavailableError as err:
        _LOG.error("a refusal was not noted: %s %s (%s)", refused.who, refused.what, err)
