"""A PostgreSQL server of our own in a temporary folder, reached by a socket in it; Debian's package brings it."""

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NOT_DURABLE = ("-c", "fsync=off")
"""For tests that ask nothing of the disk."""


def postgresql_programs() -> Path | None:
    """Return the folder of initdb and postgres; None if PostgreSQL is not installed."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return next((folder for folder in reversed(folders) if (folder / "postgres").exists()), None)


@dataclass
class PostgresqlServer:
    """A server; `make` its files, then `start` it."""

    programs: Path
    folder: Path
    settings: tuple[str, ...] = ()
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def as_user(self) -> dict[str, Any]:
        """PostgreSQL refuses to run as root."""
        is_root = hasattr(os, "geteuid") and os.geteuid() == 0
        return {"user": "postgres", "group": "postgres", "extra_groups": []} if is_root else {}

    def make(self) -> None:
        """Write the files of an empty server."""
        if self.as_user:
            shutil.chown(self.folder, "postgres", "postgres")
        command = [self.programs / "initdb", "-D", self.folder / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8"]
        subprocess.run([*command, "--no-sync", "--locale=C"], check=True, capture_output=True, **self.as_user)

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [self.programs / "postgres", "-D", self.folder / "data", "-k", self.folder]
        limits = ["-c", "listen_addresses=", "-c", "max_connections=60"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([*command, *limits, *self.settings], stdout=log, stderr=log, **self.as_user)
        self._wait()

    def stop(self) -> None:
        """End connections, then stop."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)

    def address(self, name: str) -> str:
        """Return the URL of a database."""
        return f"postgresql://postgres@/{name}?host={self.folder}"

    def execute(self, statement: str, name: str = "postgres") -> None:
        """Run one statement."""
        import psycopg

        with psycopg.connect(self.address(name), autocommit=True) as connection:
            connection.execute(statement.encode())

    def new_database(self, template: str | None = None) -> str:
        """Make an empty database, or a copy of another, and return its URL."""
        name = f"t{secrets.token_hex(6)}"
        self.execute(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
        return self.address(name)

    def _wait(self, limit_s: float = 30) -> None:
        import psycopg

        end = time.monotonic() + limit_s
        while True:
            try:
                psycopg.connect(self.address("postgres")).close()
            except psycopg.OperationalError:
                if time.monotonic() > end or self.process is None or self.process.poll() is not None:
                    raise
                time.sleep(0.05)
            else:
                return


@contextmanager
def postgresql_server(settings: tuple[str, ...] = ()) -> Iterator[PostgresqlServer | None]:
    """Run a server for a while; None if PostgreSQL is not installed."""
    programs = postgresql_programs()
    if programs is None:
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="msc-pg-"))
    server = PostgresqlServer(programs, folder, settings)
    try:
        server.make()
        server.start()
        yield server
        if server.process is not None and server.process.poll() is None:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
