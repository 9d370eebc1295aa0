"""Load on the service: decisions and reads per second, with durable writes, from a process of its own.

``python -m benchmarks.service_load [--database URL] [--seconds S]`` starts the service as `msc-vision serve` does, with
registered vessels whose evidence is made up (36 layers), and prints what 32 clients got.
"""

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil

N_CLIENTS = 32
PORT = 18790
TESTS = Path(__file__).parents[1] / "tests"


@dataclass
class Load:
    """What the clients saw; times in milliseconds."""

    times_ms: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    elapsed_s: float = 0.0
    cpu_s: float = 0.0

    def line(self, what: str) -> str:
        times = sorted(self.times_ms)
        at = lambda share: times[min(len(times) - 1, int(share * len(times)))]  # noqa: E731
        return (
            f"{what}: {len(times) / self.elapsed_s:.0f}/s, p50 {at(0.5):.1f} ms, p99 {at(0.99):.1f} ms, "
            f"longest {times[-1]:.0f} ms, mean {statistics.fmean(times):.1f} ms, answers {dict(self.statuses)}, "
            f"service {1000 * self.cpu_s / len(times):.2f} ms of CPU each, load {os.getloadavg()[0]:.1f}"
        )


class Client:
    """One connection that is kept open."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", PORT)

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {self._token}\r\n"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self._writer.write(head.encode() + b"\r\n" + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        lines = answer.decode().lower().split("\r\n")
        length = next(int(line[16:]) for line in lines if line.startswith("content-length: "))
        return int(lines[0].split()[1]), await self._reader.readexactly(length)


def cpu_of(pid: int) -> float:
    """Return the CPU time of a process, in seconds."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def decision(n: int) -> bytes:
    return json.dumps(
        {"vessel_id": f"V{n % 8}", "rule_set": "site-a", "supervisory_task_id": f"{os.getpid()}-{n}"}
    ).encode()


async def run(token: str, pid: int, seconds: float, per_s: float | None, requests) -> Load:  # type: ignore[no-untyped-def]
    """Let the clients work for some time, each as fast as it can or all together at a rate."""
    load, begun, cpu_s = Load(), time.perf_counter(), cpu_of(pid)
    counter = iter(range(10**9))

    async def work(number: int) -> None:
        client = Client(token)
        await client.open()
        due = begun + (number / per_s if per_s else 0)
        while time.perf_counter() - begun < seconds:
            if per_s:
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
            sent = due if per_s else time.perf_counter()  # waiting for one's turn counts
            status, _ = await client.ask(*requests(next(counter)))
            load.times_ms.append(1000 * (time.perf_counter() - sent))
            load.statuses[status] += 1
            due += N_CLIENTS / per_s if per_s else 0

    await asyncio.gather(*(work(n) for n in range(N_CLIENTS)))
    load.elapsed_s, load.cpu_s = time.perf_counter() - begun, cpu_of(pid) - cpu_s
    return load


async def main(token: str, pid: int, seconds: float) -> None:
    client = Client(token)
    for _ in range(100):
        try:
            await client.open()
            break
        except OSError:
            await asyncio.sleep(0.2)
    made = [json.loads((await client.ask("POST", "/v1/decisions", decision(-1 - n)))[1]) for n in range(16)]
    ids = [one["decision_id"] for one in made]
    print(f"record: {len(json.dumps(made[0]))} bytes, {len(made[0]['criteria'])} criteria")
    ask = lambda n: ("POST", "/v1/decisions", decision(n))  # noqa: E731
    read = lambda n: ("GET", f"/v1/decisions/{ids[n % len(ids)]}")  # noqa: E731
    print((await run(token, pid, seconds / 3, None, ask)).line("decisions, as fast as it goes"))
    print((await run(token, pid, seconds, 100.0, lambda n: ask(10**6 + n))).line("decisions at 100/s"))
    print((await run(token, pid, seconds / 3, None, read)).line("reads of one decision"))
    print((await run(token, pid, seconds / 3, None, lambda _: ("GET", "/v1/decisions?limit=20"))).line("lists of 20"))


def served(folder: Path, database: str) -> None:
    """Be the service; in a process of its own."""
    sys.path.insert(0, str(TESTS))
    import uvicorn

    import service_cases

    with service_cases.a_benchmark(folder, database) as app:
        uvicorn.run(
            app, host="127.0.0.1", port=PORT, http=os.environ.get("HTTP", "h11"), access_log=False, log_level="warning"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--database")
    parser.add_argument("--serve", type=Path)
    asked = parser.parse_args()
    if asked.serve is not None:
        served(asked.serve, asked.database)
    else:
        with tempfile.TemporaryDirectory() as name:
            url = asked.database or f"sqlite:///{name}/store.db"
            command = [sys.executable, "-m", "benchmarks.service_load", "--serve", name, "--database", url]
            child = subprocess.Popen(command)
            try:
                token = Path(name) / "token"
                while not token.is_file():
                    time.sleep(0.1)
                asyncio.run(main(token.read_text(), child.pid, asked.seconds))
            finally:
                child.send_signal(signal.SIGTERM)
                child.wait(30)
