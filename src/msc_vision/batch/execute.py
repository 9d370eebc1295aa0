"""Score many fields at once: in threads, in local processes, or on the workers of a Dask scheduler.

One small interface: `Executor.outcomes` yields an `Outcome` per task as it completes, in any order. What an outcome
says does not depend on the executor, so order and place of the work never show in a result. Only paths cross processes.
"""

import errno
import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import cv2
from threadpoolctl import threadpool_limits

from msc_vision import __version__
from msc_vision.batch.field import FieldTask, TileMap
from msc_vision.batch.plan import PROCESSES, RunSettings, available_memory
from msc_vision.batch.store import remove_output
from msc_vision.errors import InvalidArgumentError, OutputError
from msc_vision.records import FieldScore

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 20
_POLL_S = 0.5  # a wait without limit cannot be interrupted from the keyboard on Windows
_FULL_OR_READ_ONLY = frozenset({errno.ENOSPC, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC)})
_LOCAL_DASK = {
    # A worker that dies is reported at once; the retries are counted here, where innocent neighbours are told apart.
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.worker-saturation": 1.0,
    # Fields hold their memory while they are scored: a worker can neither spill it nor wait until it shrinks.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 0.95,
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.comm.timeouts.connect": f"{CONNECT_TIMEOUT_S}s",
}


class Scorer(Protocol):
    """Scores one field; `msc_vision.batch.field.score_field` is the one in use."""

    def __call__(self, task: FieldTask, *, tile_map: TileMap = map) -> FieldScore:
        """Return the outcome of a field; a bad image is an outcome, not an exception."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one field ended. ``is_passing``: it failed by circumstance (memory, a dead worker), not by its content."""

    score: FieldScore
    attempts: int = 1
    elapsed_s: float = 0.0
    is_passing: bool = False


class Executor(Protocol):
    """Something that scores fields."""

    def outcomes(self, tasks: Iterable[FieldTask], scorer: Scorer) -> Iterator[Outcome]:
        """Yield one outcome per task, as they complete."""
        ...


def executor_for(settings: RunSettings, out: Path) -> Executor:
    """Return the executor that the settings name; ``out`` has to be reachable for remote workers."""
    if settings.is_remote:
        return DaskExecutor(partial(_remote_client, settings.scheduler, out), settings.retries)
    if settings.scheduler == PROCESSES:
        limit = (settings.memory_limit_bytes or available_memory()) // settings.workers
        return DaskExecutor(partial(_local_client, settings.workers, limit), settings.retries)
    return ThreadExecutor(settings.workers)


def attempt(scorer: Scorer, task: FieldTask, tile_map: TileMap) -> Outcome:
    """Score one field and answer everything that concerns this field alone.

    Raises
    ------
    OutputError
        If the result cannot be written: that concerns every field, so the run stops.
    """
    start = time.perf_counter()
    discard_outputs(task)  # of an earlier attempt that was cut off
    is_passing = False
    try:
        score = scorer(task, tile_map=tile_map)
    except MemoryError as err:
        is_passing = True
        score = failed_score(task, f"Out of memory while scoring ({err or 'MemoryError'}). Use fewer workers.")
    except (OutputError, CancelledError):
        raise
    except Exception as err:  # a fault met in one field is recorded there and must not cost the others
        if isinstance(err, OSError) and err.errno in _FULL_OR_READ_ONLY:
            raise OutputError(f"{err.filename or task.labels_path}: cannot be written ({err.strerror}).") from err
        logger.exception("Scoring %s broke", task.source)
        score = failed_score(task, f"Scoring broke: {type(err).__name__}: {err}. Please report it with this image.")
    if score.status != "scored":
        discard_outputs(task)
    return Outcome(score, elapsed_s=time.perf_counter() - start, is_passing=is_passing)


def failed_score(task: FieldTask, reason: str) -> FieldScore:
    """Return the outcome of a field that could not be scored."""
    return FieldScore(key=task.key, path=task.row.path, status="failed", reason=" ".join(reason.split()))


def discard_outputs(task: FieldTask) -> None:
    """Remove what an earlier attempt at this field left behind."""
    for path in (task.labels_path, task.objects_path):
        if path is not None:
            remove_output(path)


@contextmanager
def libraries_in_one_thread() -> Iterator[None]:
    """Keep OpenCV and linear algebra from threads of their own, so that fields, not rows, are scored side by side."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        cv2.setNumThreads(before)


# --- threads ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ThreadExecutor:
    """Scores fields in threads of this process: the array libraries let go of the interpreter lock."""

    workers: int

    def outcomes(self, tasks: Iterable[FieldTask], scorer: Scorer) -> Iterator[Outcome]:
        """Yield one outcome per task, as they complete; at most two tasks per worker are handed out in advance."""
        waiting = iter(tasks)
        with libraries_in_one_thread(), _Team(self.workers) as team:
            running = {team.submit(scorer, task) for task in islice(waiting, 2 * self.workers)}
            while running:
                done, running = wait(running, timeout=_POLL_S, return_when=FIRST_COMPLETED)
                running |= {team.submit(scorer, task) for task in islice(waiting, len(done))}
                for future in done:
                    yield future.result()


class _Team:
    """Threads for fields, threads for the tiles of one large field, and one bound on what computes at a time."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._fields = ThreadPoolExecutor(workers, thread_name_prefix="field")
        self._tiles = ThreadPoolExecutor(workers, thread_name_prefix="tile")
        self._slots = threading.Semaphore(workers)
        self._one_large_field = threading.RLock()
        self._stopped = threading.Event()

    def submit(self, scorer: Scorer, task: FieldTask) -> Future[Outcome]:
        return self._fields.submit(self._score, scorer, task)

    def _score(self, scorer: Scorer, task: FieldTask) -> Outcome:
        with self._slots:
            return attempt(scorer, task, self._map_tiles)

    def _map_tiles(self, function: Callable[..., Any], *tiles: Iterable[Any]) -> Iterator[Any]:
        """Spread the tiles of a large field over all workers; the field that asks gives its own slot to them.

        One large field has its tiles computed at a time, so that memory follows from tile size and workers.
        """
        self._slots.release()
        try:
            with self._one_large_field:
                yield from self._in_order(function, zip(*tiles, strict=False))
        finally:
            self._slots.acquire()

    def _in_order(self, function: Callable[..., Any], items: Iterator[tuple[Any, ...]]) -> Iterator[Any]:
        ahead = deque(self._tiles.submit(self._tile, function, item) for item in islice(items, self._workers + 1))
        try:
            while ahead:
                result = ahead.popleft().result()
                ahead.extend(self._tiles.submit(self._tile, function, item) for item in islice(items, 1))
                yield result
        finally:
            for future in ahead:
                future.cancel()

    def _tile(self, function: Callable[..., Any], item: tuple[Any, ...]) -> Any:
        if self._stopped.is_set():
            raise CancelledError
        with self._slots:
            return function(*item)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._fields.shutdown(wait=True, cancel_futures=True)
        self._tiles.shutdown(wait=True, cancel_futures=True)


# --- processes and remote workers ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DaskExecutor:
    """Scores fields on Dask workers, this machine's or those of a scheduler elsewhere.

    A field whose worker died may have been innocent, if another field shared the worker. So it is tried again alone,
    after all the others, at most ``retries`` times; then it is `failed`.
    """

    open_client: Callable[[], AbstractContextManager[Any]]
    retries: int

    def outcomes(self, tasks: Iterable[FieldTask], scorer: Scorer) -> Iterator[Outcome]:
        """Yield one outcome per task, as they complete.

        Raises
        ------
        OutputError
            If a result cannot be written, or the scheduler is lost.
        """
        with self.open_client() as client:
            n_threads = sum(client.nthreads().values())
            desk = _DaskDesk(client, scorer)
            suspects: deque[FieldTask] = deque()
            for task, outcome in desk.run(tasks, at_once=2 * max(n_threads, 1)):
                if outcome is None:
                    suspects.append(task)
                else:
                    yield outcome
            for task in suspects:
                yield self._alone(desk, task)

    def _alone(self, desk: "_DaskDesk", task: FieldTask) -> Outcome:
        """Try a suspect with nothing else at work, so that a worker that dies now died of it."""
        for n_before in range(1, self.retries + 1):
            ((_, outcome),) = desk.run([task], at_once=1)
            if outcome is not None:
                return replace(outcome, attempts=n_before + 1)
        times = "once" if self.retries == 0 else f"{self.retries + 1} times"
        reason = (
            f"The worker process died {times} while this field was scored: out of memory, killed, or a crash in a "
            "library. Use fewer workers or a higher memory limit, and look at the image."
        )
        return Outcome(failed_score(task, reason), attempts=self.retries + 1, is_passing=True)


class _DaskDesk:
    """Hands tasks to a Dask client, a bounded number at a time."""

    def __init__(self, client: Any, scorer: Scorer) -> None:
        self._client = client
        self._scorer = scorer
        self._token = uuid.uuid4().hex[:12]
        self._n_submitted = 0

    def run(self, tasks: Iterable[FieldTask], at_once: int) -> Iterator[tuple[FieldTask, Outcome | None]]:
        """Yield each task with its outcome, or None if its worker died."""
        from distributed import as_completed

        waiting = iter(tasks)
        running = {self._submit(task): task for task in islice(waiting, at_once)}
        finished = as_completed(list(running), loop=self._client.loop)
        try:
            while running:
                future = next(finished)
                task = running.pop(future)
                for following in islice(waiting, 1):
                    added = self._submit(following)
                    running[added] = following
                    finished.add(added)
                yield task, self._outcome(future, task)
        finally:
            self._client.cancel(list(running), force=True)

    def _submit(self, task: FieldTask) -> Any:
        self._n_submitted += 1
        key = f"{task.key}-{self._token}-{self._n_submitted}"
        return self._client.submit(_score_in_worker, self._scorer, task, key=key, pure=False)

    def _outcome(self, future: Any, task: FieldTask) -> Outcome | None:
        from distributed import CancelledError as LostFutureError
        from distributed import KilledWorker

        try:
            outcome: Outcome = future.result(timeout=CONNECT_TIMEOUT_S)
        except KilledWorker as err:
            logger.warning("The worker %s died while scoring %s", err.last_worker.address, task.source)
            return None
        except (LostFutureError, TimeoutError) as err:
            raise OutputError(
                "The Dask scheduler was lost; the fields that are done are kept. Start it again and add --resume."
            ) from err
        return outcome


def _score_in_worker(scorer: Scorer, task: FieldTask) -> Outcome:
    with libraries_in_one_thread():
        return attempt(scorer, task, map)


@contextmanager
def _local_client(workers: int, memory_limit_bytes: int) -> Iterator[Any]:
    """Start processes with one thread each, each within its share of the memory, and end them afterwards."""
    import dask.config
    from distributed import Client, LocalCluster

    with (
        dask.config.set(_LOCAL_DASK),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            memory_limit=memory_limit_bytes,
            scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@contextmanager
def _remote_client(address: str, out: Path) -> Iterator[Any]:
    """Connect to a scheduler whose workers have this version of the package and see the run folder.

    Raises
    ------
    InvalidArgumentError
        If nothing answers, no worker is there, or the workers cannot do this run.
    """
    from distributed import Client

    try:
        client = Client(address, timeout=CONNECT_TIMEOUT_S, set_as_default=False)
    except (OSError, ValueError) as err:
        raise InvalidArgumentError(
            f"No Dask scheduler answers at {address}; start one with `dask scheduler`, or leave --scheduler out."
        ) from err
    with client:
        try:
            client.wait_for_workers(1, timeout=CONNECT_TIMEOUT_S)
        except TimeoutError as err:
            raise InvalidArgumentError(f"{address} has no worker; start one with `dask worker {address}`.") from err
        _check_workers(client, address, out)
        yield client


def _check_workers(client: Any, address: str, out: Path) -> None:
    try:
        found = client.run(_describe_worker, str(out))
    except ImportError as err:
        raise InvalidArgumentError(f"A worker of {address} has no msc-vision; install {__version__} there.") from err
    for worker, (version, sees_out) in found.items():
        if version != __version__:
            raise InvalidArgumentError(
                f"Worker {worker} has msc-vision {version}, this is {__version__}; make them equal."
            )
        if not sees_out:
            raise InvalidArgumentError(f"Worker {worker} does not see {out}; use a folder that all machines share.")


def _describe_worker(out: str) -> tuple[str, bool]:
    return __version__, Path(out).is_dir()
