"""How many decisions a second the store keeps, synced, and how long checking and backing up takes."""

import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.postgresql import postgresql_server
from benchmarks.setup import Setup
from benchmarks.tables import Figure, Section, at_least, table
from msc_vision.service.store import Store, backup_store, canonical_json, create_store, text_sha256, verify_store
from msc_vision.service.store.tables import decisions

BAR_PER_S = 400
DOCUMENT_BYTES = 8_000
INTRO = (
    f"Threads that each write decisions of {DOCUMENT_BYTES} bytes with their audit entries, one after the other, and "
    "wait for each until it is committed and synced (SQLite: write-ahead log, synchronous FULL; PostgreSQL: fsync on, "
    "over a socket on the same machine). Writers, database and checks share the cores."
)


@dataclass(frozen=True, slots=True)
class Kept:
    """What was measured of one database with so many threads."""

    database: str
    n_threads: int
    per_s: float
    median_ms: float
    p99_ms: float
    verified_per_s: float
    backed_up_per_s: float

    @property
    def row(self) -> tuple[str, ...]:
        """As a row of the table."""
        figures = (self.per_s, self.median_ms, self.p99_ms, self.verified_per_s, self.backed_up_per_s)
        return (self.database, str(self.n_threads), *(f"{figure:.0f}" for figure in figures))


def measure(setup: Setup) -> Section:
    """Write for a while to each kind of database, alone and with 32 threads."""
    seconds = 0.5 if setup.is_trial else 10.0
    kept: list[Kept] = []
    with tempfile.TemporaryDirectory() as folder, postgresql_server() as server:
        for n_threads in (1, 32):
            kept.append(write_for(f"sqlite:///{folder}/{n_threads}.db", "SQLite", n_threads, seconds))
            if server is not None:
                kept.append(write_for(server.new_database(), "PostgreSQL", n_threads, seconds))
    figures: list[Figure] = [
        at_least(f"{one.database}, decisions kept per second, 32 threads", one.per_s, BAR_PER_S, digits=0)
        for one in kept
        if one.n_threads == 32
    ]
    header = ("database", "threads", "per second", "median ms", "p99 ms", "entries verified / s", "rows backed up / s")
    return Section(INTRO, tuple(figures), (table(header, [one.row for one in kept]),))


def write_for(url: str, database: str, n_threads: int, seconds: float) -> Kept:
    """Write from threads for some seconds, then check and back up what is there."""
    create_store(url)
    with Store.open(url) as store, tempfile.TemporaryDirectory() as folder:
        elapsed_s, waits_s = _write(store, n_threads, seconds)
        start = time.perf_counter()
        if verify_store(store):
            raise RuntimeError(f"{database}: the store does not verify.")
        verified_s = time.perf_counter() - start
        start = time.perf_counter()
        manifest = backup_store(store, Path(folder) / "backup.zip")
        backed_up_s = time.perf_counter() - start
    median_ms, p99_ms = 1000 * np.percentile(waits_s, (50, 99))
    n_rows = sum(content.n_rows for content in manifest.tables.values())
    n_kept = len(waits_s)
    return Kept(
        database,
        n_threads,
        n_kept / elapsed_s,
        float(median_ms),
        float(p99_ms),
        manifest.head_seq / verified_s,
        n_rows / backed_up_s,
    )


def _write(store: Store, n_threads: int, seconds: float) -> tuple[float, list[float]]:
    """Return how long it took in all, and how long each write was waited for, in seconds."""
    waits_s: list[float] = []
    start = time.perf_counter()
    end = start + seconds

    def work(thread: int) -> None:
        n = 0
        while (began := time.perf_counter()) < end:
            row = decision_row(f"d{thread}-{n}")
            store.write_and_wait(lambda tx, row=row: tx.insert(decisions, row, who="key:bench", what="decide"))
            waits_s.append(time.perf_counter() - began)
            n += 1

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start, waits_s


def decision_row(name: str) -> dict[str, str]:
    """Return a decision whose document has the size of a usual one."""
    record = canonical_json({"decision_id": name, "record_sha256": "", "verdict": "GO", "filler": "x" * DOCUMENT_BYTES})
    return {
        "decision_id": name,
        "vessel_id": "BENCH-1",
        "rule_set_id": "bench",
        "rule_set_version": "1",
        "rule_set_sha256": "0" * 64,
        "rule_set_status": "draft",
        "verdict": "GO",
        "recommended_action": "harvest",
        "created_at": "2026-01-01T00:00:00.000+00:00",
        "created_by": "key:bench",
        "record_sha256": "",
        "document_sha256": text_sha256(record),
        "record": record,
    }
