"""Is it alive, is it ready, and its figures."""

import ipaddress

from fastapi import APIRouter, Request, Response
from sqlalchemy import text

from msc_vision.decision.record import record_schema
from msc_vision.service import metrics, schemas
from msc_vision.service.context import Caller
from msc_vision.service.guard import ServiceDep, shown
from msc_vision.service.problems import ProblemError
from msc_vision.service.queries import counts
from msc_vision.service.routes.documented import answers

router = APIRouter(tags=["service"])
_TEXT = {200: {"description": "Figures", "content": {"text/plain": {"schema": {"type": "string"}}}}}
_SCHEMA = {200: {"description": "JSON Schema", "content": {"application/json": {"schema": {"type": "object"}}}}}


@router.get("/health/live", responses=answers(schemas.Live), summary="Is the process alive?")
async def live() -> Response:
    """Answer as long as the process does."""
    return shown({"status": "live"})


@router.get("/health/ready", responses=answers(schemas.Ready), summary="Can it do its work?")
async def ready(service: ServiceDep) -> Response:
    """Answer 200 if the database can be read, else 503."""
    await service.store.read_async(lambda connection: connection.execute(text("SELECT 1")).scalar())
    kind = "postgresql" if service.store.name.startswith("postgresql") else "sqlite"
    return shown({"status": "ready", "database": kind, "writes_waiting": service.store.n_waiting})


@router.get("/metrics", responses=_TEXT, summary="Figures for Prometheus")  # type: ignore[arg-type]
async def figures(service: ServiceDep, request: Request) -> Response:
    """Return counters and gauges; asks for the scope `read`, or by setting for a caller on this machine."""
    caller: Caller | None = getattr(request.state, "caller", None)
    if caller is not None:
        service.require(caller, "read", "read metrics")
    elif service.settings.metrics_need_scope or not _is_local(request):
        raise ProblemError("not-authenticated", "Send `Authorization: Bearer` with an API key that may read.")
    found = await service.store.read_async(counts)
    for gauge, table in ((service.metrics.jobs, "jobs"), (service.metrics.deliveries, "webhook_deliveries")):
        for state, n in found[table].items():
            gauge.labels(state).set(n)
    service.metrics.writes_waiting.set(service.store.n_waiting)
    return Response(service.metrics.text(), media_type=metrics.MEDIA_TYPE)


@router.get("/v1/schemas/decision", responses=_SCHEMA, summary="Schema of decision records")  # type: ignore[arg-type]
async def decision_schema() -> Response:
    """Return the JSON Schema of decision records."""
    return shown(record_schema())


def _is_local(request: Request) -> bool:
    try:
        return request.client is not None and ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False
