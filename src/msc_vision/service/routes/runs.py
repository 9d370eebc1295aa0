"""Runs and scoring jobs."""

from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response

from msc_vision.service import schemas
from msc_vision.service.actions import scoring
from msc_vision.service.guard import IdempotencyKey, PageDep, Reader, Scorer, ServiceDep, paged, sent, shown
from msc_vision.service.idempotency import once
from msc_vision.service.problems import ProblemError
from msc_vision.service.routes.documented import answers, pages

router = APIRouter()
RunId = Annotated[str, Path(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9._-]+$")]
JobId = Annotated[str, Path(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9]+$")]
_ZIP = {
    "requestBody": {
        "required": True,
        "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.post(
    "/runs", tags=["runs"], status_code=201, responses=answers(schemas.Run, 200, 201), summary="Register a run"
)
async def register(service: ServiceDep, caller: Scorer, body: schemas.RunAsk, key: IdempotencyKey = None) -> Response:
    """Register a finished run folder that lies in one of the folders of the service."""
    return sent(await scoring.register(service, caller, body.path, once(key, "register run", body)))


@router.get("/runs", tags=["runs"], responses=pages(schemas.Run), summary="List runs")
async def list_runs(service: ServiceDep, caller: Reader, page: PageDep) -> Response:
    """List registered runs, the newest first."""
    return paged(await scoring.listed_runs(service, caller, page))


@router.get("/runs/{run_id}", tags=["runs"], responses=answers(schemas.Run), summary="Get a run")
async def get_run(service: ServiceDep, caller: Reader, run_id: RunId) -> Response:
    """Return a run with its vessels."""
    return shown(await scoring.run_of(service, caller, run_id))


@router.post(
    "/uploads",
    tags=["runs"],
    status_code=201,
    responses=answers(schemas.Run, 200, 201),
    summary="Upload a run",
    openapi_extra=_ZIP,
)
async def upload(service: ServiceDep, caller: Scorer, request: Request, key: IdempotencyKey = None) -> Response:
    """Take the zip of a run folder as the body, unpack it and register the run."""
    if not request.headers.get("content-type"):
        raise ProblemError("unsupported-media-type", "Send the zip of a run folder as application/zip.")
    once_of = partial(once, key, "upload run")
    return sent(await scoring.upload(service, caller, request.stream(), once_of))


@router.post("/jobs", tags=["jobs"], status_code=202, responses=answers(schemas.Job, 202), summary="Score a folder")
async def submit(service: ServiceDep, caller: Scorer, body: schemas.JobAsk, key: IdempotencyKey = None) -> Response:
    """Queue a folder of images for scoring; the run is registered when it is done."""
    return sent(await scoring.submit(service, caller, body, once(key, "submit job", body)))


@router.get("/jobs", tags=["jobs"], responses=pages(schemas.Job), summary="List jobs")
async def list_jobs(
    service: ServiceDep,
    caller: Reader,
    page: PageDep,
    state: Annotated[Literal["queued", "running", "done", "failed", "cancelled"] | None, Query()] = None,
) -> Response:
    """List jobs, the newest first."""
    return paged(await scoring.listed_jobs(service, caller, state, page))


@router.get("/jobs/{job_id}", tags=["jobs"], responses=answers(schemas.Job), summary="Get a job")
async def get_job(service: ServiceDep, caller: Reader, job_id: JobId) -> Response:
    """Return a job with its progress."""
    return shown(await scoring.job_of(service, caller, job_id))


@router.post("/jobs/{job_id}/cancel", tags=["jobs"], responses=answers(schemas.Job), summary="Cancel a job")
async def cancel(service: ServiceDep, caller: Scorer, job_id: JobId, body: schemas.Why) -> Response:
    """Cancel a job that waits or runs; what it has scored stays in its run folder."""
    return shown(await scoring.cancel(service, caller, job_id, body.why))
