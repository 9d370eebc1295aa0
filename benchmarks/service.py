"""How quickly a vessel is judged, and how many decisions a service gives, on SQLite and on PostgreSQL."""

import json
import os
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.http_load import Load, Request, at_most_speed, at_rate
from benchmarks.postgresql import postgresql_server
from benchmarks.running_service import RunningService, make_run, running_service
from benchmarks.setup import Setup
from benchmarks.tables import Figure, Section, at_least, at_most
from msc_vision.batch.evidence import read_evidence
from msc_vision.decision import decision_record, judge
from msc_vision.decision.judgement import Request as Asked
from msc_vision.decision.library import load_rules

CLIENTS = 32
PER_S = 100.0
MOST_LATE_MS = 60.0
INTRO = (
    "A simulated HYPERStack-36, every layer measured, judged by four criteria (two of them on every layer: 78 results,"
    " a record of some 30 kB). The service runs in one process with one store; the load comes from a second process on"
    " the same two cores, over kept connections. A decision is acknowledged when it is synced to disk. Latencies count"
    " from when a request was due. The floors were measured in the same run: what the disk and the HTTP server do"
    " without us."
)


def measure(setup: Setup) -> Section:
    """Measure the library, then the service on both databases."""
    seconds = 3.0 if setup.is_trial else 60.0
    with tempfile.TemporaryDirectory(prefix="msc-service-") as name:
        folder = Path(name)
        run = make_run(folder)
        sqlite = folder / "sqlite"
        sqlite.mkdir()
        figures = [_synced_writes(folder)]
        with running_service(sqlite, f"sqlite:///{sqlite / 'store.db'}", run) as service:
            figures = [*_library(run, sqlite / "rules"), *figures, *_of_service(service, "SQLite", seconds)]
        with postgresql_server() as server:
            if server is None:
                figures.append(Figure("PostgreSQL", "not installed here"))
            else:
                with running_service(folder / "postgresql", server.new_database(), run) as service:
                    figures += _of_service(service, "PostgreSQL", seconds)
    return Section(INTRO, tuple(figures))


def _library(run: Path, rules_folder: Path) -> list[Figure]:
    rules = load_rules("benchmark", [rules_folder])
    evidence = read_evidence(run)
    asked = Asked(as_of=datetime.now(UTC), purpose="trial")
    judged = _milliseconds(lambda: judge(evidence, rules, asked))
    recorded = _milliseconds(lambda: decision_record(evidence, rules, asked))
    read = _milliseconds(lambda: read_evidence(run), times=5)
    return [
        at_most("a vessel of 36 layers judged in the library, ms", judged, 5.0),
        at_most("the same with its record and both hashes, ms", recorded, 5.0),
        Figure("its evidence read from the run folder, ms (once per run and process)", f"{read:.0f}"),
    ]


def _milliseconds(work: Callable[[], object], times: int = 50) -> float:
    """Return the median time of a call."""
    work()
    found = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return 1e3 * sorted(found)[times // 2]


def _synced_writes(folder: Path) -> Figure:
    """Return how often this disk syncs 30 kB in a row."""
    with (folder / "floor").open("wb") as file:
        start = time.perf_counter()
        n = 0
        while time.perf_counter() < start + 2:
            file.write(b"x" * 30_000)
            file.flush()
            os.fsync(file.fileno())
            n += 1
    return Figure("floor: 30 kB synced to this disk, one after the other", f"{n / 2:.0f} per s")


def _of_service(service: RunningService, name: str, seconds: float) -> list[Figure]:
    """Return what one service does; ask for something first, so that its evidence is read."""

    def ask(kind: str) -> Callable[[int], Request]:
        return lambda n: service.decision("HS36-B", f"{kind}-{n}")

    short = min(seconds, 10.0)
    at_most_speed(service.target, ask("warm"), clients=CLIENTS, seconds=1)
    most = at_most_speed(service.target, ask("most"), clients=CLIENTS, seconds=short)
    steady = at_rate(service.target, ask("steady"), clients=CLIENTS, per_s=PER_S, seconds=seconds)
    known = [json.loads(one.body)["decision_id"] for one in most.answers if one.status == 201]
    read = _reading(service, [f"/v1/decisions/{one}" for one in known], short)
    alive = _reading(service, ["/health/live"], short)
    errors = most.n_other_than([201]) + steady.n_other_than([201]) + read.n_other_than([200])
    return [
        Figure(f"{name}, floor: an empty answer", f"{alive.per_s:.0f} per s"),
        at_least(f"{name}, decisions per s, as many as it gives", most.per_s, 150, digits=0),
        at_most(
            f"{name}, p99 at {PER_S:g} decisions per s for {seconds:g} s with {CLIENTS} clients, ms",
            steady.latency_ms(0.99),
            MOST_LATE_MS,
            digits=0,
        ),
        Figure(f"{name}, median of the same, ms", f"{steady.latency_ms(0.5):.0f}"),
        at_least(f"{name}, records read per s", read.per_s, 800, digits=0),
        Figure(f"{name}, reads over the floor", f"{read.per_s / alive.per_s:.2f} times"),
        at_most(f"{name}, answers that were none", errors, 0, digits=0),
    ]


def _reading(service: RunningService, paths: list[str], seconds: float) -> Load:
    def ask(n: int) -> Request:
        return Request("GET", paths[n % len(paths)])

    return at_most_speed(service.target, ask, clients=CLIENTS, seconds=seconds)
