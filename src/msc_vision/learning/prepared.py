"""Pictures with their maps, made once and kept: in worker processes, file by file, so that a stop loses one of them."""

import hashlib
import json
import logging
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from msc_vision.errors import InvalidDataError, OutputError
from msc_vision.io.output import output_errors, write_whole
from msc_vision.learning.progress import Progress
from msc_vision.segmentation.network.maps import MAPS

logger = logging.getLogger(__name__)


class Made(NamedTuple):
    """A picture with its truth, at the canonical pixel size.

    Attributes
    ----------
    picture : (Y, X) uint16 array
    maps : (1 or 2, Y, X, 4) uint8 array
        In the order of `targets.PLANES`; one plane where the truth knows no more.
    valid : tuple of bool
        For each of the network's maps, whether the truth says something about it.
    is_scale_known : bool
        Whether the pixel size was stated, not assumed.
    """

    picture: NDArray[np.uint16]
    maps: NDArray[np.uint8]
    valid: tuple[bool, ...]
    is_scale_known: bool


class Job(Protocol):
    """One picture to be made; small enough to cross processes, and wholly described by its `key`."""

    @property
    def name(self) -> str:
        """What a person calls it."""
        ...

    @property
    def set_name(self) -> str:
        """The set it belongs to."""
        ...

    @property
    def key(self) -> str:
        """Hash of all that decides the result."""
        ...

    def make(self) -> Made | None:
        """Make it; None where there turned out to be nothing to learn from."""
        ...


@dataclass(frozen=True, slots=True)
class TrainingItem:
    """A made picture, mapped from disk: the operating system keeps in memory what is used."""

    name: str
    set_name: str
    key: str
    picture: NDArray[np.uint16]
    maps: NDArray[np.uint8]
    valid: tuple[bool, ...]
    is_scale_known: bool


def hash_of(*parts: Any) -> str:
    """Return a hash of values that JSON can hold."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str).encode()).hexdigest()


def hash_of_files(*paths: Path) -> str:
    """Return a hash of the content of files, or of the Python files of folders."""
    total = hashlib.sha256()
    for path in paths:
        for one in sorted(path.glob("*.py")) if path.is_dir() else [path]:
            total.update(hashlib.sha256(one.read_bytes()).digest())
    return total.hexdigest()


def prepare(jobs: Sequence[Job], cache: Path, *, workers: int, progress: Progress) -> list[TrainingItem]:
    """Return the items of jobs, making those that the cache does not hold yet.

    Parameters
    ----------
    jobs
        In the order in which items are wanted.
    cache
        Folder; made if need be.
    workers
        Processes; 1 works in this one.
    progress
        Hears of each picture.

    Raises
    ------
    MscVisionError
        What a job raises.
    OutputError
        If the cache cannot be written.
    """
    with output_errors(cache):
        cache.mkdir(parents=True, exist_ok=True)
    missing = [job for job in dict.fromkeys(jobs) if not _index(cache, job.key).is_file()]
    if missing:
        with progress.stage("Preparing pictures", "pictures", len(missing)) as advance:
            _make_all(missing, cache, workers, advance)
    found = [_open(cache, job) for job in jobs]
    return [item for item in found if item is not None]


def _make_all(jobs: Sequence[Job], cache: Path, workers: int, advance: Callable[[], None]) -> None:
    if workers <= 1 or len(jobs) == 1:
        for job in jobs:
            _make(job, cache)
            advance()
        return
    # spawn, not fork: this process may run threads, and a fork of them can hang
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context, initializer=_one_thread) as pool:
        futures: list[Future[None]] = [pool.submit(_make, job, cache) for job in jobs]
        try:
            for future in as_completed(futures):
                future.result()
                advance()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _one_thread() -> None:
    cv2.setNumThreads(1)


def _make(job: Job, cache: Path) -> None:
    made = job.make()
    folder = _index(cache, job.key).parent
    with output_errors(cache):
        folder.mkdir(exist_ok=True)
    if made is None:
        logger.warning("%s: nothing could be learned from it; it is left out.", job.name)
        write_whole(_index(cache, job.key), b'{"valid": null}\n')
        return
    write_array(folder / f"{job.key}-picture.npy", made.picture)
    write_array(folder / f"{job.key}-maps.npy", made.maps)
    index = {"name": job.name, "valid": made.valid, "is_scale_known": made.is_scale_known}
    write_whole(_index(cache, job.key), json.dumps(index).encode())


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array in one piece or not at all."""
    draft = path.with_name(f".{path.stem}.{os.getpid()}.tmp.npy")  # another training may make the same picture now
    try:
        with output_errors(path):
            np.save(draft, array)
            draft.replace(path)
    except OutputError:
        draft.unlink(missing_ok=True)
        raise


def _index(cache: Path, key: str) -> Path:
    return cache / key[:2] / f"{key}.json"


def _open(cache: Path, job: Job) -> TrainingItem | None:
    index = _index(cache, job.key)
    try:
        stored = json.loads(index.read_bytes())
        if stored["valid"] is None:
            return None
        valid, is_scale_known = tuple(stored["valid"]), bool(stored["is_scale_known"])
        picture = np.load(index.with_name(f"{job.key}-picture.npy"), mmap_mode="r")
        maps = np.load(index.with_name(f"{job.key}-maps.npy"), mmap_mode="r")
    except (OSError, ValueError, KeyError) as err:
        raise InvalidDataError(f"{index}: the prepared picture is damaged ({err}); delete {cache}.") from err
    if maps.shape[1:3] != picture.shape or len(valid) != len(MAPS):
        raise InvalidDataError(f"{index}: the prepared picture does not fit its maps; delete {cache}.")
    return TrainingItem(job.name, job.set_name, job.key, picture, maps, valid, is_scale_known)
