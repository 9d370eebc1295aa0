"""Load on an HTTP service from this process: many kept connections, latencies from when a request was due."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Ask = Callable[[int], "Request"]
"""The n-th request."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request; the body is JSON."""

    method: str
    path: str
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes
    seconds: float
    retry_after: str | None = None


@dataclass(slots=True)
class Load:
    """What came of a load; a connection that broke counts as status 0."""

    seconds: float = 0.0
    answers: list[Answer] = field(default_factory=list)

    @property
    def per_s(self) -> float:
        """Answers per second."""
        return len(self.answers) / self.seconds

    def latency_ms(self, share: float) -> float:
        """Return the latency that this share of the answers stayed within."""
        times = sorted(one.seconds for one in self.answers)
        return 1e3 * times[min(math.ceil(share * len(times)), len(times)) - 1]

    def n_other_than(self, statuses: Sequence[int]) -> int:
        """Return how many answers had none of these statuses."""
        return sum(one.status not in statuses for one in self.answers)


class Connection:
    """One kept connection."""

    def __init__(self, host: str, port: int, token: str) -> None:
        self.host, self.port = host, port
        self.fixed = f"Host: {host}:{port}\r\nAuthorization: Bearer {token}\r\n"
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def send(self, request: Request, due: float) -> Answer:
        """Send a request and return the answer; latency counts from when it was due."""
        try:
            status, fields, body = await self._exchange(request)
        except (OSError, asyncio.IncompleteReadError, ValueError, IndexError):
            self.close()
            return Answer(0, b"", time.perf_counter() - due)
        return Answer(status, body, time.perf_counter() - due, fields.get("retry-after"))

    async def _exchange(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        if self.writer is None or self.reader is None:
            self.reader, self.writer = await asyncio.open_connection(self.host, self.port)
        more = "".join(f"{name}: {value}\r\n" for name, value in request.headers)
        if request.body:
            more += f"Content-Type: application/json\r\nContent-Length: {len(request.body)}\r\n"
        self.writer.write(f"{request.method} {request.path} HTTP/1.1\r\n{self.fixed}{more}\r\n".encode() + request.body)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        body = await self.reader.readexactly(int(fields.get("content-length", 0)))
        return int(head[0].split()[1]), fields, body

    def close(self) -> None:
        """Drop the connection; the next request opens another."""
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


def at_most_speed(target: tuple[str, int, str], ask: Ask, *, clients: int, seconds: float) -> Load:
    """Send requests as fast as they are answered, each client one at a time."""
    return asyncio.run(_closed(target, ask, clients, seconds))


def at_rate(target: tuple[str, int, str], ask: Ask, *, clients: int, per_s: float, seconds: float) -> Load:
    """Send requests at a fixed rate, whatever becomes of them; who is late is late for all that follows."""
    return asyncio.run(_open(target, ask, clients, per_s, seconds))


async def _closed(target: tuple[str, int, str], ask: Ask, clients: int, seconds: float) -> Load:
    load, numbers = Load(), iter(range(10**9))
    start = time.perf_counter()

    async def work() -> None:
        connection = Connection(*target)
        while time.perf_counter() < start + seconds:
            load.answers.append(await connection.send(ask(next(numbers)), time.perf_counter()))
        connection.close()

    await asyncio.gather(*(work() for _ in range(clients)))
    load.seconds = time.perf_counter() - start
    return load


async def _open(target: tuple[str, int, str], ask: Ask, clients: int, per_s: float, seconds: float) -> Load:
    load = Load()
    due: asyncio.Queue[tuple[int, float] | None] = asyncio.Queue()
    start = time.perf_counter()

    async def work() -> None:
        connection = Connection(*target)
        while (task := await due.get()) is not None:
            load.answers.append(await connection.send(ask(task[0]), task[1]))
        connection.close()

    workers = [asyncio.create_task(work()) for _ in range(clients)]
    for number in range(round(per_s * seconds)):
        moment = start + number / per_s
        await asyncio.sleep(max(moment - time.perf_counter(), 0.0))
        due.put_nowait((number, moment))
    for _ in workers:
        due.put_nowait(None)
    await asyncio.gather(*workers)
    load.seconds = time.perf_counter() - start
    return load
