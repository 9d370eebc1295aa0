"""A service of its own process for a while: a store, a registered run, a key, and ``msc-vision serve``."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.http_load import Request

RULES = """\
schema_version: 1
id: benchmark
version: '1'
status: draft
title: What the benchmark judges by
models: [{{id: {model}}}]
criteria:
  - {{id: window, metric: confluency_percent, low: 70, high: 90, unit: '%', severity: major, {source}}}
  - {{id: overgrown, metric: confluency_percent, level: layer, high: 95, unit: '%', severity: major, {source}}}
  - {{id: thin, metric: confluency_percent, level: layer, low: 50, unit: '%', severity: major, {source}}}
  - {{id: signs, metric: contamination, allowed: [no visual sign], unit: '', severity: critical, {source}}}
"""
_SOURCE = "source: {document: none, section: none, placeholder: true}, message: For the benchmark."
STACK = """\
description: a full stack for the benchmark of the service
vessel_id: {vessel}
vessel_type: hyperstack-36
seed: 6
file_format: ome-tiff
context: {{acquired_at: "2026-11-22T08:00:00+01:00", bank: MCB-7, medium: alpha, lot: L7, passage: 3}}
layers: [{layers}]
field_spread: 4
settings: {{pixel_size_um: 1.24, height_px: 256, width_px: 256}}
"""


def make_run(folder: Path, vessel: str = "HS36-B") -> Path:
    """Score a simulated stack of 36 layers, two small fields each, and return its run folder."""
    layers = ", ".join(f"{{layer: {n}, confluency_percent: {76 + n % 7}, n_fields: 2}}" for n in range(1, 37))
    recipe = folder / f"{vessel}.yaml"
    recipe.write_text(STACK.format(vessel=vessel, layers=layers), encoding="utf-8")
    run = folder / f"{vessel}.run"
    _command("synth", recipe, "--out", folder / vessel)
    _command("run", folder / vessel, "--pipeline", "contrast", "--out", run)
    return run


def _command(*arguments: object) -> None:
    subprocess.run([*_program(), *map(str, arguments)], check=True, capture_output=True)


def _program() -> list[str]:
    return [sys.executable, "-c", "from msc_vision.cli import main; main()"]


@dataclass(slots=True)
class RunningService:
    """A service as a process; `start`, `kill` and start it again as often as one likes."""

    folder: Path
    database: str
    token: str
    port: int
    run_id: str = ""
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def target(self) -> tuple[str, int, str]:
        """Host, port and key."""
        return "127.0.0.1", self.port, self.token

    def start(self, limit_s: float = 60) -> float:
        """Start it, wait until it is ready, and return the seconds that took."""
        begin = time.perf_counter()
        config = self.folder / "service.yaml"
        with (self.folder / "service.log").open("ab") as log:
            command = [*_program(), "serve", "--config", str(config), "--port", str(self.port)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, start_new_session=True)
        while time.perf_counter() < begin + limit_s:
            if self.process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health/ready", timeout=2) as answer:
                    if answer.status == 200:
                        return time.perf_counter() - begin
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        tail = (self.folder / "service.log").read_text(encoding="utf-8", errors="replace")[-2000:]
        raise RuntimeError(f"the service did not start: {tail}")

    def kill(self) -> None:
        """End it as a power cut would, with all that it started."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)

    def stop(self) -> None:
        """Ask it to end, and wait."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)

    def call(
        self, method: str, path: str, body: object = None, timeout_s: float = 60
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one request; return status, headers and body."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as err:
            return err.code, dict(err.headers), err.read()

    def decision(self, vessel: str, task: str) -> Request:
        """Return a request for a decision; each task is a decision of its own."""
        asked = {"vessel_id": vessel, "rule_set": "benchmark", "run_id": self.run_id, "supervisory_task_id": task}
        return Request("POST", "/v1/decisions", json.dumps(asked).encode())


@contextmanager
def running_service(folder: Path, database: str, run: Path, *, is_started: bool = True) -> Iterator[RunningService]:
    """Run a service on a new store in which one run is registered."""
    from msc_vision.service.access import Access
    from msc_vision.service.store import Store, create_store

    folder.mkdir(parents=True, exist_ok=True)
    rules = folder / "rules"
    rules.mkdir(exist_ok=True)
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    model = (record["model"] or {}).get("id", "none")
    (rules / "benchmark.yaml").write_text(RULES.format(model=model, source=_SOURCE), encoding="utf-8")
    settings = {
        "database": database,
        "roots": [str(run.parent)],
        "runs_folder": str(folder / "runs"),
        "rules_folders": [str(rules)],
        "purpose": "trial",
        "limits": {"requests_per_s": 100_000, "request_burst": 100_000},
    }
    (folder / "service.yaml").write_text(json.dumps(settings), encoding="utf-8")
    create_store(database)
    with Store.open(database) as store:
        token = Access(store).add_key("benchmark", ["read", "decide", "score"], by="benchmark").token
    service = RunningService(folder, database, token, _free_port())
    service.start()
    try:
        status, _, body = service.call("POST", "/v1/runs", {"path": str(run)})
        if status not in (200, 201):
            raise RuntimeError(f"the run could not be registered: {status} {body[:500]!r}")
        service.run_id = json.loads(body)["run_id"]
        if not is_started:
            service.stop()
        yield service
    finally:
        if service.process is not None and service.process.poll() is None:
            service.kill()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
