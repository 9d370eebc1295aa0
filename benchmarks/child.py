"""One run in a process of its own, so that its peak memory can be told: ``python -m benchmarks.child FOLDER OUT …``."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.inputs import PIXEL_SIZE_UM, manifest_of


@dataclass(frozen=True, slots=True)
class Usage:
    """What a run took."""

    peak_mib: float
    base_mib: float
    elapsed_s: float
    n_scored: int
    n_fields: int


def peak_rss_mib() -> float:
    """Return the most memory this process has held; `resource` on Linux begins with the peak of the parent."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) / 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return float(psutil.Process().memory_info().peak_wset) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def run_in_child(folder: Path, out: Path, n: int | None, workers: int) -> Usage:
    """Score the first ``n`` images of a folder in a new process and return what it took."""
    command = [sys.executable, "-m", "benchmarks.child", str(folder), str(out), str(n or 0), str(workers)]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    return Usage(**json.loads(done.stdout.splitlines()[-1]))


def main(folder: str, out: str, n: str, workers: str) -> None:
    """Score, and print what it took as JSON."""
    from msc_vision.batch.pipeline import load_pipeline
    from msc_vision.batch.plan import RunSettings, plan_run
    from msc_vision.batch.run import run_folder
    from msc_vision.vessels import load_catalogue

    manifest = manifest_of(Path(folder), int(n) or None, PIXEL_SIZE_UM)
    base = peak_rss_mib()
    start = time.perf_counter()
    settings = RunSettings(workers=int(workers))
    plan = plan_run(manifest, load_catalogue(), load_pipeline("contrast"), Path(out), settings=settings)
    summary = run_folder(plan)
    elapsed = time.perf_counter() - start
    found = {"n_scored": summary.n_scored, "n_fields": summary.n_fields}
    print(json.dumps({"peak_mib": peak_rss_mib(), "base_mib": base, "elapsed_s": elapsed} | found))


if __name__ == "__main__":
    main(*sys.argv[1:])
