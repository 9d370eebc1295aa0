"""Evidence of vessels, kept in memory while the files that it was read from stay as they are."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from msc_vision.decision.evidence import Evidence
from msc_vision.review.log import review_stamp

RESULTS = ("run.json", "vessels.json", "hashes.json", "layers.parquet", "fields.parquet")
FileStamp = tuple[int, int, int]
Stamp = tuple[FileStamp | tuple[tuple[str, int, int], ...] | None, ...]


class ReadEvidence(Protocol):
    """How evidence is read; `msc_vision.batch.evidence.read_evidence`."""

    def __call__(
        self,
        run: Path,
        vessel_id: str | None = None,
        *,
        windows: Sequence[tuple[float, float]] = (),
        history: Sequence[Path] = (),
        prior: Path | None = None,
    ) -> Evidence:
        """Return the evidence of one vessel in one run."""


@dataclass(frozen=True, slots=True)
class EvidenceKey:
    """What evidence is asked for."""

    run: Path
    vessel_id: str
    windows: tuple[tuple[float, float], ...] = ()
    history: tuple[Path, ...] = ()


def evidence_stamp(runs: Sequence[Path]) -> Stamp:
    """Return size, time and number of all that evidence is read from, reviews too: cheap evidence of no change."""
    results = (file_stamp(run / name) for run in runs for name in RESULTS)
    return (*results, *(review_stamp(run) for run in runs))


def file_stamp(path: Path) -> FileStamp | None:
    """Return size, time and number of a file; None if it is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino


class EvidenceCache:
    """The evidence that was asked for last.

    Parameters
    ----------
    n_kept : int
    read : callable
        See `ReadEvidence`.
    prior : Path or None
        How the bank grows.
    """

    def __init__(self, n_kept: int, read: ReadEvidence, prior: Path | None = None) -> None:
        self._n_kept = n_kept
        self._read = read
        self._prior = prior
        self._kept: OrderedDict[EvidenceKey, tuple[Stamp, Evidence]] = OrderedDict()
        self._lock = threading.Lock()
        self._reading: dict[EvidenceKey, threading.Lock] = {}

    def get(self, key: EvidenceKey) -> Evidence:
        """Return evidence; it is read once by however many ask at the same time.

        Raises
        ------
        InvalidArgumentError, InvalidDataError
            If the run cannot be read, or does not show the vessel.
        """
        found = self._fresh(key)
        if found is not None:
            return found
        with self._lock:
            gate = self._reading.setdefault(key, threading.Lock())
        try:
            with gate:
                return self._fresh(key) or self._read_now(key)
        finally:
            with self._lock:
                self._reading.pop(key, None)

    def at_hand(self, key: EvidenceKey) -> Evidence | None:
        """Return evidence that was read before and still holds; None if files would have to be read."""
        return self._fresh(key)

    def _fresh(self, key: EvidenceKey) -> Evidence | None:
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
        return kept[1] if kept is not None and kept[0] == evidence_stamp((key.run, *key.history)) else None

    def _read_now(self, key: EvidenceKey) -> Evidence:
        stamp = evidence_stamp((key.run, *key.history))  # before reading: a change meanwhile is noticed next time
        found = self._read(key.run, key.vessel_id, windows=key.windows, history=key.history, prior=self._prior)
        with self._lock:
            self._kept[key] = (stamp, found)
            while len(self._kept) > self._n_kept:
                self._kept.popitem(last=False)
        return found


def library_reader() -> Callable[..., Evidence]:
    """Return the library's own reader; it is loaded only now, as it brings Parquet along."""
    from msc_vision.batch.evidence import read_evidence

    return read_evidence
