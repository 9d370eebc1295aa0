"""Speed of runs of 2048 x 2048 16-bit fields, from file to written result, against reading and filtering alone."""

import cProfile
import pstats
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2

from benchmarks.inputs import SIDE_PX, manifest_of, tiff_folder
from benchmarks.setup import Setup
from benchmarks.tables import Section, at_least, at_most, table
from msc_vision.batch.execute import Scorer, libraries_in_one_thread
from msc_vision.batch.field import FieldTask, score_field
from msc_vision.batch.pipeline import Pipeline, load_pipeline
from msc_vision.batch.plan import RunSettings, plan_run
from msc_vision.batch.run import run_folder
from msc_vision.io.images import open_image
from msc_vision.io.manifest import write_manifest
from msc_vision.vessels import load_catalogue

THREADS = 2
N_FIELDS = 24
REPEATS = 5
MEGAPIXELS = SIDE_PX**2 / 1e6
FORMATS: tuple[tuple[str, str | None], ...] = (("TIFF, uncompressed", None), ("TIFF, deflate", "zlib"))

Stages = Sequence[tuple[str, str]]
STAGES: Stages = (  # file and function whose time, with all it calls, is one stage
    ("io/images.py:content_sha256", "hash the file"),
    ("io/images.py:open_image", "open, read the header"),
    ("io/images.py:read", "read and decode pixels"),
    ("imaging/normalise.py:to_working", "bin to working pixels"),
    ("imaging/overview.py:add", "overview: light, focus, noise"),
    ("imaging/overview.py:build", "overview: put together"),
    ("imaging/artefacts.py:judgeable_mask", "find what cannot be judged"),
    ("imaging/quality.py:judge_field", "judge the field"),
    ("segmentation/contrast.py:texture", "local texture"),
    ("segmentation/contrast.py:texture_histogram", "texture histogram"),
    ("segmentation/contrast.py:foreground_mask", "foreground from texture"),
    ("segmentation/objects.py:tile_parts", "objects"),
    ("segmentation/objects.py:join_parts", "object table"),
    ("io/labels.py:write_labels", "write labels"),
)


def measure(_: Setup) -> Section:
    """Measure rates, scaling over workers and over fields, and where the time goes."""
    figures, rows = [], []
    for name, compression in FORMATS:
        folder = tiff_folder(N_FIELDS, compression)
        floor, run = alternately(
            [lambda f=folder: _read_and_filter(f), lambda f=folder: run_seconds(f, N_FIELDS, THREADS)]
        )
        rate, floor_rate = (N_FIELDS * MEGAPIXELS / statistics.median(times) for times in (run, floor))
        share = 100 * statistics.median(f / r for f, r in zip(floor, run, strict=True))
        figures.append(at_least(f"{name}: rate of a run", rate, 15, " MP/s", digits=1))
        figures.append(at_least(f"{name}: share of read and box-filter", share, 60, " %", digits=0))
        rows.append((name, spread(run), f"{rate:.1f}", spread(floor), f"{floor_rate:.1f}", f"{share:.0f} %"))
    plain = tiff_folder(N_FIELDS, None)
    one, two = alternately([lambda: run_seconds(plain, N_FIELDS, 1), lambda: run_seconds(plain, N_FIELDS, 2)])
    speed_up = statistics.median(a / b for a, b in zip(one, two, strict=True))
    figures.append(at_least("1 → 2 workers", speed_up, 1.7, "x"))
    few, many = alternately(
        [lambda: run_seconds(plain, N_FIELDS // 4, THREADS), lambda: run_seconds(plain, N_FIELDS, THREADS)]
    )
    growth = statistics.median(b / a for a, b in zip(few, many, strict=True))
    figures.append(at_most("4 times the fields take", growth, 4.3, "x the time"))
    command = _command(plain)
    rows.append(("1 worker, uncompressed", spread(one), _rate(statistics.median(one)), "", "", ""))
    rows.append(("`msc-vision run`, start and report included", f"{command:.2f}", _rate(command), "", "", ""))
    header = ("", "run, s (median, range)", "MP/s", "read and filter, s", "MP/s", "share")
    return Section(
        _intro(),
        tuple(figures),
        (
            table(header, rows),
            profile_table(tiff_folder(N_FIELDS, "zlib"), load_pipeline("contrast"), STAGES, N_FIELDS // 2),
        ),
    )


def _intro() -> str:
    return (
        f"{N_FIELDS} synthetic fields of {SIDE_PX} x {SIDE_PX} pixels, 16 bit, 0.65 µm per pixel, {THREADS} threads; "
        f"from files to the complete run folder, in a process that is up; files in the disk cache; {REPEATS} repeats. "
        "Read and box-filter: the same reader and `cv2.boxFilter` 15 x 15 to float32, on as many threads, by turns "
        "with the runs."
    )


def alternately(cases: Sequence[Callable[[], float]], repeats: int = REPEATS) -> list[list[float]]:
    """Return the times of each case, measured by turns so that a disturbed minute falls on all of them."""
    for case in cases:
        case()  # warm up
    times: list[list[float]] = [[] for _ in cases]
    for _ in range(repeats):
        for case, found in zip(cases, times, strict=True):
            found.append(case())
    return times


def _rate(seconds: float) -> str:
    return f"{N_FIELDS * MEGAPIXELS / seconds:.1f}"


def spread(times: Sequence[float]) -> str:
    return f"{statistics.median(times):.2f} ({min(times):.2f}-{max(times):.2f})"


def run_seconds(
    folder: Path, n: int, workers: int, recipe: Pipeline | None = None, scorer: Scorer = score_field
) -> float:
    """Return the seconds from a manifest to a complete run folder, by default of the `contrast` recipe."""
    with tempfile.TemporaryDirectory() as scratch:
        start = time.perf_counter()
        settings = RunSettings(workers=workers)
        plan = plan_run(
            manifest_of(folder, n),
            load_catalogue(),
            recipe or load_pipeline("contrast"),
            Path(scratch) / "run",
            settings=settings,
        )
        summary = run_folder(plan, scorer=scorer)
        elapsed = time.perf_counter() - start
    if summary.n_scored != n:
        raise RuntimeError(f"{summary.n_scored} of {n} fields were scored, so their time says nothing")
    return elapsed


def _read_and_filter(folder: Path) -> float:
    """Return the seconds it takes to read every image and box-filter it, and nothing else."""

    def work(path: Path) -> float:
        with open_image(path) as image:
            return float(cv2.boxFilter(image.read(), cv2.CV_32F, (15, 15))[0, 0])

    paths = sorted(folder.glob("*.tif"))
    start = time.perf_counter()
    with libraries_in_one_thread(), ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, paths))
    return time.perf_counter() - start


def _command(folder: Path) -> float:
    """Return the seconds of the whole command, from starting Python to the report."""
    script = Path(sys.executable).with_name("msc-vision")
    with tempfile.TemporaryDirectory() as scratch:
        manifest = Path(scratch) / "manifest.csv"
        write_manifest(manifest_of(folder), manifest)
        out = Path(scratch) / "run"
        command = [script, "run", folder, "--manifest", manifest, "--out", out, "--workers", str(THREADS)]
        start = time.perf_counter()
        done = subprocess.run([str(part) for part in command], check=False, capture_output=True, text=True)
        elapsed = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"msc-vision run ended with {done.returncode}: {done.stderr.strip()}")
    return elapsed


def profile_table(folder: Path, pipeline: Pipeline, stages: Stages, n: int) -> str:
    """Return a table of where the time of one thread goes, over ``n`` fields of which the first is not counted.

    A stage is ``file:function`` with all that it calls; parts that are stages of their own follow after minus signs.
    """
    manifest = manifest_of(folder)
    profile = cProfile.Profile()
    with tempfile.TemporaryDirectory() as scratch, libraries_in_one_thread():
        tasks = [
            FieldTask(row.field or "", manifest.image_path(row), row, pipeline, Path(scratch) / f"{i}.ome.zarr", None)
            for i, row in enumerate(manifest.rows[:n])
        ]
        score_field(tasks[0])
        for task in tasks[1:]:
            profile.runcall(score_field, task)
    return _stage_table(pstats.Stats(profile), stages, n - 1)


def _stage_table(stats: pstats.Stats, stages: Stages, n: int) -> str:
    taken = {
        f"{Path(file).parent.name}/{Path(file).name}:{function}": entry[3]
        for (file, _, function), entry in stats.stats.items()  # type: ignore[attr-defined]
    }
    total = taken["batch/field.py:score_field"]
    own = [(label, _own_seconds(key, taken)) for key, label in stages]
    rows = [(label, 1000 * seconds / n, 100 * seconds / total) for label, seconds in own]
    rows.append(("everything else", 1000 * total / n - sum(r[1] for r in rows), 100 - sum(r[2] for r in rows)))
    rows.append(("a field", 1000 * total / n, 100.0))
    cells = [(label, f"{ms:.1f}", f"{share:.0f} %") for label, ms, share in rows]
    return "Where the time goes, one thread, TIFF with deflate:\n\n" + table(("stage", "ms a field", "share"), cells)


def _own_seconds(key: str, taken: Mapping[str, float]) -> float:
    whole, *parts = key.split(" - ")
    return taken.get(whole, 0.0) - sum(taken.get(part, 0.0) for part in parts)
