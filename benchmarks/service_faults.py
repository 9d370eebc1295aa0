"""What a service keeps when it is killed, when its disk is full, when its database is locked or gone."""

import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.http_load import Answer, Connection
from benchmarks.postgresql import PostgresqlServer, postgresql_server
from benchmarks.running_service import RunningService, make_run, running_service
from benchmarks.setup import Setup
from benchmarks.tables import Figure, Section, at_most

SEED = 20_261_122
CLIENTS = 8
VESSEL = "HS36-B"
INTRO = (
    "Eight clients ask for decisions without pause. A kill is SIGKILL to the service and all that it started, at a"
    " random moment; then every acknowledged decision has to be in the store, whole, and the audit chain has to verify."
    " A fault lasts 30 s; meanwhile each answer has to be 201 and kept, or 503 with Retry-After, and afterwards the"
    " same process has to answer 201 again by itself."
)


@dataclass(slots=True)
class Asked:
    """What became of the requests of some clients."""

    kept: list[str] = field(default_factory=list)
    refused: int = 0
    without_retry_after: int = 0
    others: list[int] = field(default_factory=list)
    kept_at: list[float] = field(default_factory=list)

    def count(self, answer: Answer, *, may_break: bool) -> None:
        """Count an answer; a broken connection counts only where none may break."""
        if answer.status in (200, 201):
            self.kept.append(json.loads(answer.body)["decision_id"])
            self.kept_at.append(time.perf_counter())
        elif answer.status == 503:
            self.refused += 1
            self.without_retry_after += answer.retry_after is None
        elif answer.status or not may_break:
            self.others.append(answer.status)


def ask_until(service: RunningService, name: str, is_over: Callable[[], bool], *, may_break: bool = False) -> Asked:
    """Ask for decisions with several clients until it is over."""
    asked = Asked()

    async def client(number: int) -> None:
        connection, n = Connection(*service.target), 0
        while not is_over():
            answer = await connection.send(service.decision(VESSEL, f"{name}-{number}-{n}"), time.perf_counter())
            asked.count(answer, may_break=may_break)
            n += 1
            if answer.status != 201:
                await asyncio.sleep(0.02)
        connection.close()

    async def clients() -> None:
        await asyncio.gather(*(client(number) for number in range(CLIENTS)))

    asyncio.run(clients())
    return asked


@dataclass(frozen=True, slots=True)
class Kept:
    """What a store holds after a fault."""

    n_decisions: int
    n_lost: int
    n_broken: int
    n_complaints: int


def look_into(database: str, acknowledged: list[str]) -> Kept:
    """Return what the store holds of the acknowledged decisions, and whether it is whole."""
    from sqlalchemy import select

    from msc_vision.decision import check_record
    from msc_vision.service.store import Store, verify_store
    from msc_vision.service.store.tables import decisions

    with Store.open(database) as store:
        rows = store.read(lambda tx: tx.execute(select(decisions.c.decision_id, decisions.c.record)).all())
        complaints = verify_store(store)
    found = {row.decision_id for row in rows}
    broken = sum(bool(check_record(json.loads(row.record))) for row in rows)
    return Kept(len(found), len(set(acknowledged) - found), broken, len(complaints))


def kills(service: RunningService, n: int) -> tuple[Kept, int]:
    """Kill a service at random moments under load, start it again each time, and return what was kept of how many."""
    rng, acknowledged = random.Random(SEED), []
    for number in range(n):
        if service.process is None or service.process.poll() is not None:
            service.start()
        is_dead = threading.Event()

        def kill(after_s: float, is_dead: threading.Event = is_dead) -> None:
            time.sleep(after_s)
            service.kill()
            is_dead.set()

        killer = threading.Thread(target=kill, args=(rng.uniform(0.05, 1.0),))
        killer.start()
        acknowledged += ask_until(service, f"kill-{number}", is_dead.is_set, may_break=True).kept
        killer.join()
    return look_into(service.database, acknowledged), len(acknowledged)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong and ends again."""

    name: str
    begin: Callable[[], None]
    end: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Survived:
    """What became of requests around a fault, and of the store."""

    asked: Asked
    back_after_s: float
    kept: Kept


def survive(service: RunningService, fault: Fault, lasts_s: float) -> Survived:
    """Ask for decisions before, during and after a fault."""
    over = threading.Event()
    ended: list[float] = []

    def script() -> None:
        time.sleep(1.0)
        fault.begin()
        time.sleep(lasts_s)
        fault.end()
        ended.append(time.perf_counter())
        time.sleep(12.0)
        over.set()

    thread = threading.Thread(target=script)
    thread.start()
    asked = ask_until(service, fault.name.replace(" ", "-"), over.is_set)
    thread.join()
    back = next((moment for moment in asked.kept_at if moment > ended[0]), None)
    service.stop()
    kept = look_into(service.database, asked.kept)
    return Survived(asked, float("nan") if back is None else back - ended[0], kept)


def locked(path: Path) -> Fault:
    """Return another program that keeps an SQLite database locked."""
    code = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30);"
        " c.execute('BEGIN IMMEDIATE'); print('locked', flush=True); sys.stdin.read()"
    )
    holders: list[subprocess.Popen[bytes]] = []

    def begin() -> None:
        holder = subprocess.Popen(
            [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert holder.stdout is not None
        holder.stdout.readline()
        holders.append(holder)

    def end() -> None:
        for holder in holders:
            holder.communicate(b"")

    return Fault("database locked", begin, end)


def full(disk: Path) -> Fault:
    """Return a disk that another program fills."""
    ballast = disk / "ballast"

    def begin() -> None:
        with ballast.open("wb", buffering=0) as file:
            size = 1 << 20
            while size:
                try:
                    file.write(b"x" * size)
                except OSError:
                    size //= 2

    return Fault("disk full", begin, ballast.unlink)


def gone(server: PostgresqlServer) -> Fault:
    """Return a database server that is stopped and started again."""
    return Fault("database server gone", server.stop, server.start)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """Mount a disk of 64 MB; None where that is not allowed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if sys.platform != "linux" or os.geteuid() != 0 or subprocess.run(command, check=False).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def measure(setup: Setup) -> Section:
    """Kill and spoil on both databases."""
    n_kills, lasts_s = (3, 3.0) if setup.is_trial else (50, 30.0)
    with tempfile.TemporaryDirectory(prefix="msc-faults-") as name:
        folder = Path(name)
        run = make_run(folder, VESSEL)
        figures = [
            *_on_sqlite(folder, run, n_kills, lasts_s),
            *_on_a_small_disk(folder, run, lasts_s),
            *_on_postgresql(folder, run, n_kills, lasts_s),
        ]
    return Section(INTRO, tuple(figures))


def _on_sqlite(folder: Path, run: Path, n_kills: int, lasts_s: float) -> list[Figure]:
    path = folder / "store.db"
    with running_service(folder / "sqlite", f"sqlite:///{path}", run) as service:
        figures = _of_kills("SQLite", n_kills, *kills(service, n_kills))
        service.start()
        return [*figures, *_of_fault("SQLite", lasts_s, "locked", survive(service, locked(path), lasts_s))]


def _on_a_small_disk(folder: Path, run: Path, lasts_s: float) -> list[Figure]:
    with small_disk(folder / "disk") as disk:
        if disk is None:
            return [Figure("disk full", "not measured: this process may not mount a disk")]
        with running_service(folder / "full", f"sqlite:///{disk / 'store.db'}", run) as service:
            return _of_fault("SQLite", lasts_s, "disk full", survive(service, full(disk), lasts_s))


def _on_postgresql(folder: Path, run: Path, n_kills: int, lasts_s: float) -> list[Figure]:
    with postgresql_server() as server:
        if server is None:
            return [Figure("PostgreSQL", "not installed here")]
        with running_service(folder / "postgresql", server.new_database(), run) as service:
            figures = _of_kills("PostgreSQL", n_kills, *kills(service, n_kills))
            service.start()
            found = survive(service, gone(server), lasts_s)
            return [*figures, *_of_fault("PostgreSQL", lasts_s, "server gone", found)]


def _of_kills(name: str, n: int, kept: Kept, n_acknowledged: int) -> list[Figure]:
    return [
        Figure(f"{name}: decisions acknowledged around {n} kills", f"{n_acknowledged}"),
        at_most(f"{name}: of these lost", kept.n_lost, 0, digits=0),
        at_most(f"{name}: broken records, complaints about the chain", kept.n_broken + kept.n_complaints, 0, digits=0),
    ]


def _of_fault(name: str, lasts_s: float, what: str, found: Survived) -> list[Figure]:
    asked, kept = found.asked, found.kept
    wrong = len(asked.others) + asked.without_retry_after
    return [
        Figure(f"{name}, {what} for {lasts_s:g} s: kept / refused with 503", f"{len(asked.kept)} / {asked.refused}"),
        at_most(f"{name}, {what}: answers of another kind, or without Retry-After", wrong, 0, digits=0),
        at_most(f"{name}, {what}: acknowledged and lost", kept.n_lost, 0, digits=0),
        at_most(f"{name}, {what}: broken, or complained of", kept.n_broken + kept.n_complaints, 0, digits=0),
        at_most(f"{name}, {what}: back by itself after, s", found.back_after_s, 10, digits=1),
    ]
