"""Scoring jobs: each a process of its own at low priority, queued in the store, resumed after a restart."""

import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout
from sqlalchemy import Connection, select

from msc_vision.errors import MscVisionError
from msc_vision.service.settings import Jobs
from msc_vision.service.store import Store, StoreUnavailableError, Transaction, utc_text
from msc_vision.service.store.tables import jobs

JOBS_NAME = ".jobs"
DONE_CODES = (0, 3)  # 3: done, but fields failed; each is named in the run
MAX_MESSAGE = 2000
_LOG = logging.getLogger(__name__)
_WHO = "service"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is, in fields."""

    n_total: int
    n_done: int
    n_failed: int


@dataclass(frozen=True, slots=True)
class Job:
    """A job as the runner needs it."""

    job_id: str
    folder: Path
    run_path: Path
    arguments: Mapping[str, Any]


Finish = Callable[[Transaction, Job], Mapping[str, Any]]
"""Registers the run of a job within the transaction that closes it; returns columns of the job such as ``run_id``."""
Prepare = Callable[[Job], Finish]
"""Reads a finished run, outside of any transaction."""


def read_progress(run: Path) -> Progress | None:
    """Return how far a run is, from its journal; None before there is one."""
    path = run / "journal.sqlite"
    if not path.is_file():
        return None
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=1.0)
        try:
            counts = dict(connection.execute("SELECT state, count(*) FROM fields GROUP BY state"))
        finally:
            connection.close()
    except sqlite3.Error as err:
        _LOG.info("%s: no progress to be read (%s)", path, err)
        return None
    total = sum(counts.values())
    return Progress(total, total - counts.get("pending", 0), counts.get("failed", 0))


def command_line(job: Job, cores: int) -> list[str]:
    """Return the command that scores the folder of a job; one that was begun goes on."""
    command = [sys.executable, "-m", "msc_vision.cli", "run", str(job.folder), "--out", str(job.run_path)]
    for option, name in (("--vessel", "vessel_type"), ("--pipeline", "pipeline"), ("--manifest", "manifest")):
        if job.arguments.get(name) is not None:
            command += [option, str(job.arguments[name])]
    command += ["--workers", str(cores)]
    return [*command, "--resume"] if (job.run_path / "journal.sqlite").is_file() else command


class JobRunner:
    """Threads that take jobs from the queue and watch their processes.

    Parameters
    ----------
    store : Store
    settings : Jobs
    runs_folder : Path
        Run folders of jobs lie here, each named after its job.
    prepare : callable
        See `Prepare`.
    wake_webhooks : callable
        Called when a job has ended.
    command : callable
        Makes the command line of a job and a number of cores.
    """

    def __init__(
        self,
        store: Store,
        settings: Jobs,
        runs_folder: Path,
        prepare: Prepare,
        *,
        wake_webhooks: Callable[[], None] = lambda: None,
        command: Callable[[Job, int], Sequence[str]] = command_line,
    ) -> None:
        self._store = store
        self._settings = settings
        self._folder = runs_folder / JOBS_NAME
        self._prepare = prepare
        self._wake_webhooks = wake_webhooks
        self._command = command
        self._wake = threading.Event()
        self._is_stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, name=f"msc-vision-jobs-{n}", daemon=True)
            for n in range(settings.workers)
        ]

    def start(self) -> None:
        """Begin to work off the queue."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Look at once: there is a new job, or one was cancelled."""
        self._wake.set()

    def close(self) -> None:
        """Stop; running jobs go back to the queue and go on after the next start."""
        self._is_stopping.set()
        self._wake.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(self._settings.grace_s + 10)

    def _run(self) -> None:
        while not self._is_stopping.is_set():
            try:
                worked = self._work_once()
            except (StoreUnavailableError, OSError) as err:
                _LOG.warning("Jobs wait: %s", err)
                worked = False
            if not worked:
                self._wait()

    def _wait(self) -> None:
        self._wake.wait(self._settings.poll_s)
        self._wake.clear()

    def _work_once(self) -> bool:
        """Take one job that is queued, or whose process lost its service, and see it through."""
        for job_id in self._store.read(_open_jobs):
            lock = FileLock(self._folder / f"{job_id}.lock", timeout=0)
            try:
                lock.acquire()
            except Timeout:  # another thread or process sees to it
                continue
            try:
                job = self._claim(job_id)
                if job is not None:
                    self._see_through(job)
                    return True
            finally:
                lock.release()
        return False

    def _claim(self, job_id: str) -> Job | None:
        def command(tx: Transaction) -> Job | None:
            row = tx.row(jobs, job_id)
            if row["state"] not in ("queued", "running"):
                return None
            arguments = json.loads(row["arguments"])
            job = Job(job_id, Path(row["folder"]), Path(row["run_path"]), arguments)
            attempt = int(arguments.get("attempt", 0)) + 1
            if attempt > self._settings.attempts:
                values = {
                    "state": "failed",
                    "finished_at": utc_text(),
                    "message": f"Begun {attempt - 1} times in vain.",
                }
                tx.update(jobs, job_id, values, who=_WHO, what="job failed")
                return None
            values = {"state": "running", "started_at": row["started_at"] or utc_text()}
            values["arguments"] = json.dumps({**arguments, "attempt": attempt}, sort_keys=True)
            tx.update(jobs, job_id, values, who=_WHO, what="job begun")
            return job

        return self._store.write(command).result()

    def _see_through(self, job: Job) -> None:
        self._end_orphan(job)
        log = self._folder / f"{job.job_id}.log"
        with log.open("ab") as handle:
            process = self._begin(job, handle)
            try:
                reason = self._watch(job, process)
            finally:
                if process.poll() is None:
                    self._end(process)
                self._pid_file(job).unlink(missing_ok=True)
        if reason == "stopping":
            self._set_back(job)
        elif reason == "ended":
            self._close_job(job, process.returncode, log)

    def _begin(self, job: Job, log: Any) -> "subprocess.Popen[bytes]":
        cores = self._settings.cores or max(1, (os.cpu_count() or 2) - 1)
        options: dict[str, Any] = {"start_new_session": True}
        if sys.platform == "win32":
            options = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        # the store's URL may hold a password that a scoring process has no use for
        environment = {name: value for name, value in os.environ.items() if name != "MSC_VISION_DATABASE"}
        process = subprocess.Popen(
            list(self._command(job, cores)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            env=environment,
            **options,
        )
        _lower_priority(process.pid)
        self._pid_file(job).write_text(str(process.pid), encoding="ascii")
        return process

    def _watch(self, job: Job, process: "subprocess.Popen[bytes]") -> str:
        """Wait for the end of a process; return why the wait ended: ended, cancelled or stopping."""
        while True:
            try:
                process.wait(self._settings.poll_s)
                return "ended"
            except subprocess.TimeoutExpired:
                pass
            if self._is_stopping.is_set():
                return "stopping"
            try:
                if self._store.read(lambda connection: _state(connection, job.job_id)) == "cancelled":
                    return "cancelled"
            except StoreUnavailableError as err:  # the job goes on without the store, and is closed when it is back
                _LOG.warning("Job %s: %s", job.job_id, err)

    def _end(self, process: "subprocess.Popen[bytes]") -> None:
        """Ask a process and its children to stop, then make them."""
        _signal_group(process.pid, is_last=False)
        try:
            process.wait(self._settings.grace_s)
        except subprocess.TimeoutExpired:
            _LOG.warning("process %d did not stop in %.0f s and is killed", process.pid, self._settings.grace_s)
        _signal_group(process.pid, is_last=True)
        process.wait()

    def _end_orphan(self, job: Job) -> None:
        """End the process that a killed service left behind: its run goes on from the journal."""
        try:
            pid = int(self._pid_file(job).read_text(encoding="ascii"))
            process = psutil.Process(pid)
            is_ours = str(job.run_path) in process.cmdline()
        except (OSError, ValueError, psutil.Error):
            return
        if is_ours:
            _signal_group(pid, is_last=True)
            psutil.wait_procs([process], timeout=self._settings.grace_s)

    def _pid_file(self, job: Job) -> Path:
        return self._folder / f"{job.job_id}.pid"

    def _set_back(self, job: Job) -> None:
        arguments = json.dumps(dict(job.arguments), sort_keys=True)  # this attempt does not count
        values = {"state": "queued", "arguments": arguments}
        self._write_patiently(lambda tx: _change_running(tx, job, values, "job set back"))

    def _close_job(self, job: Job, code: int, log: Path) -> None:
        finish, trouble = None, None
        if code in DONE_CODES:
            try:
                finish = self._prepare(job)
            except MscVisionError as err:
                trouble = str(err)
        else:
            trouble = _tail(log) or f"The process ended with code {code}."
        if code < 0 and trouble is not None:
            trouble = f"The process was ended by signal {-code}. {trouble}"[:MAX_MESSAGE]
        self._write_patiently(lambda tx: self._finished(tx, job, finish, trouble))
        self._wake_webhooks()

    def _finished(self, tx: Transaction, job: Job, finish: Finish | None, trouble: str | None) -> None:
        from msc_vision.service.webhooks import announce

        progress = read_progress(job.run_path) or Progress(0, 0, 0)
        values: dict[str, Any] = {
            "state": "failed" if finish is None else "done",
            "finished_at": utc_text(),
            "fields_total": progress.n_total,
            "fields_done": progress.n_done,
            "fields_failed": progress.n_failed,
            "message": trouble,
        }
        if finish is not None:
            values |= finish(tx, job)
        if _change_running(tx, job, values, f"job {values['state']}"):
            told = ("state", "run_id", "fields_total", "fields_done", "fields_failed")
            announce(tx, "job.finished", {"job_id": job.job_id, **{name: values.get(name) for name in told}})

    def _write_patiently(self, command: Callable[[Transaction], Any]) -> None:
        """Write, and wait for a store that is away; if the service ends before, the job stays ``running``: resumed."""
        while True:
            try:
                self._store.write(command).result()
                return
            except StoreUnavailableError as err:
                _LOG.warning("The end of a job waits to be stored: %s", err)
                if self._is_stopping.wait(self._settings.poll_s):
                    return


def _open_jobs(connection: Connection) -> list[str]:
    query = select(jobs.c.job_id).where(jobs.c.state.in_(("queued", "running"))).order_by(jobs.c.seq)
    return list(connection.execute(query).scalars())


def _state(connection: Connection, job_id: str) -> str | None:
    return connection.execute(select(jobs.c.state).where(jobs.c.job_id == job_id)).scalar()


def _change_running(tx: Transaction, job: Job, values: Mapping[str, Any], what: str) -> bool:
    """Change a job that is still running; one that was cancelled meanwhile stays so."""
    if tx.row(jobs, job.job_id)["state"] != "running":
        return False
    tx.update(jobs, job.job_id, values, who=_WHO, what=what)
    return True


def _lower_priority(pid: int) -> None:
    """Let answers go before scoring, and stores' syncs before its writes."""
    try:
        process = psutil.Process(pid)
        if sys.platform == "win32":
            process.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
        else:
            process.nice(19)
        if sys.platform == "linux":
            process.ionice(psutil.IOPRIO_CLASS_BE, 7)
    except (psutil.Error, OSError) as err:
        _LOG.info("the priority of process %d stays as it is (%s)", pid, err)


def _signal_group(pid: int, *, is_last: bool) -> None:
    try:
        if sys.platform == "win32":
            if is_last:
                for one in (*psutil.Process(pid).children(recursive=True), psutil.Process(pid)):
                    one.kill()
            else:
                os.kill(pid, signal.CTRL_BREAK_EVENT)
        else:
            os.killpg(pid, signal.SIGKILL if is_last else signal.SIGINT)
    except (ProcessLookupError, PermissionError, psutil.Error):
        return  # it has ended


def _tail(log: Path) -> str:
    """Return the last lines that a process said."""
    try:
        with log.open("rb") as handle:
            handle.seek(max(0, log.stat().st_size - 4 * MAX_MESSAGE))
            text = handle.read().decode("utf-8", "replace")
    except OSError as err:
        return f"Its log cannot be read ({err.strerror or err})."
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "\n".join("".join(char for char in line if char.isprintable()) for line in lines[-12:])[-MAX_MESSAGE:]
