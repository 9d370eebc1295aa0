"""Runs and scoring jobs: register, upload, submit, watch, cancel."""

import json
import secrets
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from msc_vision.batch.pipeline import shipped_pipelines
from msc_vision.service.actions.decisions import in_worker
from msc_vision.service.actions.reading import PageAsk, newest_page, read_row
from msc_vision.service.context import Caller, Service
from msc_vision.service.cursors import Page
from msc_vision.service.evidence_cache import EvidenceCache
from msc_vision.service.idempotency import Answer, Once, answered_before, json_answer, write_once
from msc_vision.service.jobs import Finish, Job, Prepare, read_progress
from msc_vision.service.paths import path_within
from msc_vision.service.problems import ProblemError
from msc_vision.service.queries import find, rows_of, vessels_of_runs
from msc_vision.service.run_index import RunIndex, add_run, index_run
from msc_vision.service.schemas import JobAsk
from msc_vision.service.store import Transaction, canonical_json, utc_text
from msc_vision.service.store.tables import jobs, run_vessels, runs
from msc_vision.service.uploads import store_upload, unpack_run
from msc_vision.service.views import job_view, run_vessel_view, run_view

UPLOADS_NAME = "uploads"


# --- runs ------------------------------------------------------------------------------------------------------------


async def register(service: Service, caller: Caller, path: str, once: Once | None = None) -> Answer:
    """Register a finished run folder; one that is registered already is answered as it is.

    Raises
    ------
    ForbiddenError
        Without the scope ``score``.
    ProblemError
        ``outside-roots``, ``conflict``: the same run is registered at another place.
    InvalidArgumentError, InvalidDataError
        If it is no finished run, or was altered.
    """
    service.require(caller, "score", "register run")
    earlier = await answered_before(service, caller, once)
    if earlier is not None:
        return earlier
    roots = (*service.settings.roots, service.settings.runs_folder)
    index = await in_worker(service, lambda: index_run(path_within(path, roots), service.evidence))
    return await write_once(service, caller, once, lambda tx: _registered(tx, index, caller))


def _registered(tx: Transaction, index: RunIndex, caller: Caller) -> Answer:
    is_new = add_run(tx, index, who=caller.who)
    stored = tx.row(runs, index.run_id)
    if stored["record_sha256"] != index.run["record_sha256"]:
        raise ProblemError(
            "conflict", f"Run {index.run_id} is registered with other content; ids of runs never repeat."
        )
    vessels = tx.rows(select(run_vessels).where(run_vessels.c.run_id == index.run_id).order_by(run_vessels.c.seq))
    view = run_view(stored, [run_vessel_view(dict(one._mapping)) for one in vessels])
    return json_answer(201 if is_new else 200, view, Location=f"/v1/runs/{index.run_id}")


async def upload(service: Service, caller: Caller, parts: AsyncIterator[bytes], once_of: Any = None) -> Answer:
    """Take the zip of a run folder, unpack it and register the run.

    Raises
    ------
    ForbiddenError
        Without the scope ``score``.
    ProblemError
        ``too-large``, ``unsafe-upload``.
    """
    service.require(caller, "score", "upload run")
    folder = service.settings.runs_folder / UPLOADS_NAME
    name = secrets.token_hex(12)
    archive, target = folder / f".{name}.zip", folder / name
    await in_worker(service, lambda: folder.mkdir(parents=True, exist_ok=True))
    try:
        sha256 = await store_upload(parts, archive, service.settings.limits.upload_bytes)
        run = await in_worker(service, lambda: unpack_run(archive, target, service.settings.limits))
        index = await in_worker(service, lambda: index_run(run, service.evidence))
        once = None if once_of is None else once_of({"sha256": sha256})
        answer = await write_once(service, caller, once, lambda tx: _registered(tx, index, caller))
    except BaseException:
        await in_worker(service, lambda: shutil.rmtree(target, ignore_errors=True))
        raise
    finally:
        archive.unlink(missing_ok=True)
    if answer.status == 200 or answer.is_repeated:  # the run is there already, elsewhere
        await in_worker(service, lambda: shutil.rmtree(target, ignore_errors=True))
    return answer


async def run_of(service: Service, caller: Caller, run_id: str) -> dict[str, Any]:
    """Return a run."""
    service.require(caller, "read", "read run")
    row = await read_row(service, runs, run_id, "run")
    found = await service.store.read_async(lambda connection: vessels_of_runs(connection, [run_id]))
    return run_view(row, [run_vessel_view(one) for one in found[run_id]])


async def listed_runs(service: Service, caller: Caller, asked: PageAsk) -> Page:
    """Return a page of runs, the newest first."""
    service.require(caller, "read", "list runs")
    page = await newest_page(service, runs, asked, dict)
    ids = [one["run_id"] for one in page.items]
    found = await service.store.read_async(lambda connection: vessels_of_runs(connection, ids))
    views = tuple(run_view(one, [run_vessel_view(vessel) for vessel in found[one["run_id"]]]) for one in page.items)
    return Page(views, page.next)


# --- jobs ------------------------------------------------------------------------------------------------------------


async def submit(service: Service, caller: Caller, asked: JobAsk, once: Once | None = None) -> Answer:
    """Queue a folder for scoring.

    Raises
    ------
    ForbiddenError
        Without the scope ``score``.
    ProblemError
        ``outside-roots``; ``not-valid``: no such recipe or vessel type.
    """
    service.require(caller, "score", "submit job")
    earlier = await answered_before(service, caller, once)
    if earlier is not None:
        return earlier
    job_id = f"j{secrets.token_hex(10)}"
    row = await in_worker(service, lambda: _job_row(service, caller, asked, job_id))

    def command(tx: Transaction) -> Answer:
        stored = tx.insert(jobs, row, who=caller.who, what="submit job")
        return json_answer(202, job_view(stored), Location=f"/v1/jobs/{job_id}")

    answer = await write_once(service, caller, once, command)
    service.jobs.wake()
    return answer


def _job_row(service: Service, caller: Caller, asked: JobAsk, job_id: str) -> dict[str, Any]:
    from msc_vision.vessels import load_catalogue

    folder = path_within(asked.folder, service.settings.roots)
    if asked.pipeline not in shipped_pipelines():
        there = ", ".join(shipped_pipelines())
        raise ProblemError("not-valid", f"No recipe is called {asked.pipeline!r}; there are {there}.")
    if asked.vessel_type is not None:
        load_catalogue().get(asked.vessel_type)
    arguments = {"pipeline": asked.pipeline, "vessel_type": asked.vessel_type}
    if asked.manifest is not None:
        arguments["manifest"] = str(_manifest(service, folder, asked.manifest))
    return {
        "job_id": job_id,
        "folder": str(folder),
        "arguments": canonical_json({name: value for name, value in arguments.items() if value is not None}),
        "state": "queued",
        **dict.fromkeys(("fields_total", "fields_done", "fields_failed"), 0),
        "run_path": str(service.settings.runs_folder / job_id),
        "requested_by": caller.who,
        "created_at": utc_text(),
    }


def _manifest(service: Service, folder: Path, text: str) -> Path:
    """Return the manifest file that a request names, in the folder or in a root."""
    name = Path(text).name
    parent = str(Path(text).parent)
    real = path_within(parent, (folder, *service.settings.roots)) / name
    if real.is_symlink() or not real.is_file():
        raise ProblemError("outside-roots", f"{text[:200]!r} is no manifest inside the folders of this service.")
    return real


async def job_of(service: Service, caller: Caller, job_id: str) -> dict[str, Any]:
    """Return a job; of one that runs, with its progress."""
    service.require(caller, "read", "read job")
    row = await read_row(service, jobs, job_id, "job")
    if row["state"] != "running":
        return job_view(row)
    return job_view(row, await in_worker(service, lambda: read_progress(Path(row["run_path"]))))


async def listed_jobs(service: Service, caller: Caller, state: str | None, asked: PageAsk) -> Page:
    """Return a page of jobs, the newest first."""
    service.require(caller, "read", "list jobs")
    return await newest_page(service, jobs, asked, job_view, {"state": state})


async def cancel(service: Service, caller: Caller, job_id: str, why: str) -> dict[str, Any]:
    """Cancel a job; what it has scored stays in its run folder.

    Raises
    ------
    ProblemError
        ``conflict``: it has ended.
    """
    service.require(caller, "score", "cancel job")

    def command(tx: Transaction) -> dict[str, Any]:
        row = find(tx.connection, jobs, job_id)
        if row is None:
            raise ProblemError("not-found", f"There is no job {job_id!r}.")
        if row["state"] not in ("queued", "running"):
            raise ProblemError("conflict", f"Job {job_id} is {row['state']} already; nothing to cancel.")
        changes = {"state": "cancelled", "finished_at": utc_text(), "message": f"Cancelled: {why}"}
        return tx.update(jobs, job_id, changes, who=caller.who, what="cancel job", why=why)

    row = await service.store.write_async(command)
    service.jobs.wake()
    return job_view(row)


def registrar(evidence: EvidenceCache) -> Prepare:
    """Return what reads the run of a finished job, for its registration in the transaction that closes the job."""

    def prepare(job: Job) -> Finish:
        index = index_run(job.run_path, evidence)

        def finish(tx: Transaction, of: Job) -> dict[str, Any]:
            add_run(tx, index, who=f"job:{of.job_id}")
            return {"run_id": index.run_id}

        return finish

    return prepare


def open_jobs(connection: Connection) -> list[dict[str, Any]]:
    """Return jobs that wait or run, the oldest first."""
    query = select(jobs).where(jobs.c.state.in_(("queued", "running"))).order_by(jobs.c.seq)
    return [job_view({**row, "arguments": row["arguments"] or json.dumps({})}) for row in rows_of(connection, query)]
