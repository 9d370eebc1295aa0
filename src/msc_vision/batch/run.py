"""Score a planned folder into a run folder: the one call behind ``msc-vision run``."""

import json
import logging
import platform
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from msc_vision import __version__
from msc_vision.batch.execute import Outcome, Scorer, executor_for
from msc_vision.batch.field import FieldTask, score_field
from msc_vision.batch.journal import JOURNAL_NAME, LOCK_NAME, Entry, FileStamp, Journal, file_stamp, run_lock
from msc_vision.batch.plan import DECIDING_PACKAGES, RunPlan
from msc_vision.batch.progress import NullProgress, RunProgress, showing
from msc_vision.batch.store import (
    BASELINE_FOLDER,
    FIELDS_NAME,
    HASHES_NAME,
    LAYERS_NAME,
    MANIFEST_NAME,
    RUN_NAME,
    TABLES,
    VESSELS_NAME,
    as_output_error,
    fields_table,
    file_sha256,
    has_objects,
    layers_table,
    output_hashes,
    remove_leftovers,
    remove_output,
    vessels_content,
    write_json,
    write_objects,
    write_table,
)
from msc_vision.errors import InvalidArgumentError, InvalidDataError, OutputError
from msc_vision.io.images import content_sha256
from msc_vision.io.manifest import read_manifest, write_manifest
from msc_vision.io.sealed import canonical_sha256
from msc_vision.morphology.baseline import save_baseline
from msc_vision.records import FieldScore, Manifest
from msc_vision.statistics.amounts import with_intervals
from msc_vision.statistics.character import characters
from msc_vision.statistics.rollup import (
    LayerEstimate,
    ScoredField,
    latest_fields,
    layer_estimates,
)
from msc_vision.statistics.vessel_rollup import (
    VesselEstimate,
    batch_estimates,
    batches_of,
    run_components,
    vessel_estimates,
)

logger = logging.getLogger(__name__)

RUNNING, INTERRUPTED, DONE, DONE_WITH_FAILURES = "running", "interrupted", "done", "done-with-failures"
COMPLETE = frozenset({DONE, DONE_WITH_FAILURES})
RUN_SCHEMA_VERSION = 1
_BEFORE_THE_JOURNAL = frozenset({LOCK_NAME, ".work", "journal.sqlite.tmp", "journal.sqlite.tmp-journal"})
_OTHER_PACKAGES = ("zarr", "pyarrow", "tifffile", "bioio", "dask", "distributed", "torch")


class RunInterruptedError(KeyboardInterrupt):
    """The run was stopped from the keyboard; the message says how to go on. Edges end with exit code 130."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run came to. ``n_done_before`` fields were kept from an earlier attempt; the rate is of this attempt."""

    out: Path
    state: str
    n_fields: int
    n_scored: int
    n_rejected: int
    n_failed: int
    n_done_before: int
    elapsed_s: float
    megapixels_per_s: float
    layers: tuple[LayerEstimate, ...]
    vessels: tuple[VesselEstimate, ...]
    troubled: tuple[FieldScore, ...]


def run_folder(plan: RunPlan, *, progress: RunProgress | None = None, scorer: Scorer = score_field) -> RunSummary:
    """Score every field of a plan into a new run folder.

    Parameters
    ----------
    plan
        From `msc_vision.batch.plan.plan_run`.
    progress
        Hears of every field; None: silence.
    scorer
        Scores one field; has to be importable by name where processes or remote workers are used.

    Raises
    ------
    InvalidArgumentError
        If the run folder exists already.
    OutputError
        If a result cannot be written, or another run is at work in the folder. What is done is kept.
    RunInterruptedError
        If it was stopped from the keyboard. What is done is kept.
    """
    _refuse_existing(plan.out)
    with _opened(plan.out):
        _refuse_existing(plan.out)  # another run may have been quicker
        with Journal.create(plan.out, plan.tasks, _new_meta(plan)) as journal:
            return _work(plan, journal, progress or NullProgress(), scorer)


def resume_run(plan: RunPlan, *, progress: RunProgress | None = None, scorer: Scorer = score_field) -> RunSummary:
    """Go on with an interrupted run: the result is the one of an undisturbed run.

    Fields that are done are kept if their image and their outputs are unchanged; fields that failed by circumstance
    (memory, a dead worker) are tried again. A folder in which nothing was begun yet is begun; a run that is complete
    stays as it is, but for fields that failed.

    Raises
    ------
    InvalidArgumentError
        If the folder is no run folder, or what decides the result (manifest, pipeline, software) differs; the message
        says what.
    InvalidDataError
        If a raw image of a complete run has changed.
    OutputError, RunInterruptedError
        As for `run_folder`.
    """
    if not (plan.out / JOURNAL_NAME).exists():
        return run_folder(plan, progress=progress, scorer=scorer)
    with _opened(plan.out), Journal.open(plan.out) as journal:
        _check_identity(plan, journal)
        remove_leftovers(plan.out, journal.keys())
        journal.reopen(_fields_to_redo(plan, journal))
        return _work(plan, journal, progress or NullProgress(), scorer)


def recorded_manifest(out: Path) -> Manifest | None:
    """Return the manifest with which a run was begun, for resuming it; None if the run was cut off before that.

    Raises
    ------
    InvalidDataError
        If the copy in the run folder is damaged.
    """
    if not (out / MANIFEST_NAME).is_file() or not (out / RUN_NAME).is_file():
        return None
    try:
        folder = Path(json.loads((out / RUN_NAME).read_text(encoding="utf-8"))["images_folder"])
    except (ValueError, KeyError, TypeError) as err:
        raise InvalidDataError(f"{out / RUN_NAME}: no record of a run ({err}); check it with `verify`.") from err
    return replace(read_manifest(out / MANIFEST_NAME), folder=folder)


def _refuse_existing(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InvalidArgumentError(f"{out} is a file; choose a run folder with --out.")
    if (out / JOURNAL_NAME).exists():
        raise InvalidArgumentError(
            f"{out} holds a run already; add --resume to go on with it, or choose another --out."
        )
    foreign = sorted(p.name for p in out.iterdir() if p.name not in _BEFORE_THE_JOURNAL) if out.is_dir() else []
    if foreign:
        raise InvalidArgumentError(
            f"{out} is no run folder and not empty (it holds {foreign[0]}); choose another --out."
        )


@contextmanager
def _opened(out: Path) -> Iterator[None]:
    """Make the run folder if need be, and hold it for this process."""
    with as_output_error(out):
        out.mkdir(parents=True, exist_ok=True)
    with run_lock(out):
        yield


def _new_meta(plan: RunPlan) -> dict[str, str]:
    return {
        "run_id": str(uuid.uuid4()),
        "identity": json.dumps(dict(plan.identity), sort_keys=True),
        "state": RUNNING,
        "started_at": _now(),
        "n_attempts": "0",
        "elapsed_s": "0",
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


# --- resuming --------------------------------------------------------------------------------------------------------


def _check_identity(plan: RunPlan, journal: Journal) -> None:
    before: dict[str, str] = json.loads(journal.meta["identity"])
    now = dict(plan.identity)
    differing = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    if not differing:
        return
    details = ", ".join(f"{name} (was {_short(before.get(name))}, is {_short(now.get(name))})" for name in differing)
    raise InvalidArgumentError(
        f"{plan.out} cannot be resumed, because this differs: {details}. "
        "Put it back as it was, or begin a new run in another --out."
    )


def _short(value: str | None) -> str:
    if value is None:
        return "absent"
    return f"{value[:12]}…" if len(value) == 64 else value


def _fields_to_redo(plan: RunPlan, journal: Journal) -> list[str]:
    tasks = {task.key: task for task in plan.tasks}
    is_complete = journal.meta["state"] in COMPLETE
    redo = []
    for entry in journal.entries():
        task = tasks[entry.score.key]
        why = _why_redo(plan.out, task, entry)
        if why == "its image has changed" and is_complete and entry.score.status == "scored":
            raise InvalidDataError(
                f"{task.source} has changed since the run in {plan.out} was complete; begin a new run in another --out."
            )
        if why is not None:
            logger.info("%s is scored again: %s", task.source, why)
            redo.append(task.key)
    return redo


def _why_redo(out: Path, task: FieldTask, entry: Entry) -> str | None:
    if entry.is_passing:
        return "it failed by circumstance"
    if _has_changed(task.source, entry):
        return "its image has changed"
    if entry.score.status == "scored" and not _has_outputs(out, task, entry.score):
        return "its labels or objects are missing or damaged"
    return None


def _has_changed(source: Path, entry: Entry) -> bool:
    """Return whether an image differs from the one that was scored; a mere new time stamp is no difference."""
    if file_stamp(source) == entry.stamp:
        return False
    if entry.score.image_sha256 is None or not source.exists():
        return True
    return content_sha256(source) != entry.score.image_sha256


def _has_outputs(out: Path, task: FieldTask, score: FieldScore) -> bool:
    if task.labels_path is None or not task.labels_path.exists():
        return False
    return has_objects(out, task) and content_sha256(task.labels_path) == score.labels_sha256


# --- working ---------------------------------------------------------------------------------------------------------


def _work(plan: RunPlan, journal: Journal, progress: RunProgress, scorer: Scorer) -> RunSummary:
    clock = _Clock(journal)
    journal.claim()
    done_before = [entry.score.key for entry in journal.entries()]
    try:
        if not _is_complete(plan.out, journal) or len(done_before) < len(plan.tasks):
            journal.set_meta(state=RUNNING)
            _prepare(plan, journal)
        n_pixels = _score_pending(plan, journal, progress, scorer, frozenset(done_before))
        layers, vessels = _finish(plan, journal, clock)
    except KeyboardInterrupt as err:
        _note_interruption(plan, journal, clock)
        done = len(plan.tasks) - journal.counts()["pending"]
        raise RunInterruptedError(
            f"Stopped with {done} of {len(plan.tasks)} fields done. To go on, run the same command with --resume."
        ) from err
    except OutputError:
        _note_interruption(plan, journal, clock)
        raise
    return _summary(plan, journal, clock, n_pixels, len(done_before), (layers, vessels))


def _is_complete(out: Path, journal: Journal) -> bool:
    return journal.meta["state"] in COMPLETE and all(
        (out / name).is_file() for name in (*TABLES, HASHES_NAME, RUN_NAME)
    )


class _Clock:
    """Wall time of this attempt, on top of that of earlier ones."""

    def __init__(self, journal: Journal) -> None:
        self._start = time.perf_counter()
        self._before = float(journal.meta["elapsed_s"])
        self.n_attempts = int(journal.meta["n_attempts"]) + 1

    @property
    def now_s(self) -> float:
        return time.perf_counter() - self._start

    @property
    def total_s(self) -> float:
        return self._before + self.now_s


def _prepare(plan: RunPlan, journal: Journal) -> None:
    with as_output_error(plan.out):
        for folder in (plan.labels_folder, plan.work_folder / "objects"):
            folder.mkdir(parents=True, exist_ok=True)
    with as_output_error(plan.out / MANIFEST_NAME):
        # Word for word, not rebased to its new place: the evidence of what was asked for; run.json has the folder.
        write_manifest(replace(plan.manifest, folder=plan.out), plan.out / MANIFEST_NAME)
    write_json(plan.out / RUN_NAME, run_record(plan, journal, state=RUNNING))


def _score_pending(plan: RunPlan, journal: Journal, progress: RunProgress, scorer: Scorer, done: frozenset[str]) -> int:
    """Score what is not done, commit every outcome as it comes, and return how many pixels that were."""
    stamps: dict[str, FileStamp | None] = {}

    def pending() -> Iterator[FieldTask]:
        for task in plan.tasks:
            if task.key not in done:
                stamps[task.key] = file_stamp(task.source)  # before it is read: a later change is then seen
                yield task

    n_pixels = 0
    with showing(progress, len(plan.tasks), len(done)):
        if len(done) < len(plan.tasks):
            for outcome in _closing(executor_for(plan.settings, plan.out).outcomes(pending(), scorer)):
                journal.record(outcome, stamps.pop(outcome.score.key))
                progress.advance(outcome.score)
                n_pixels += (outcome.score.height_px or 0) * (outcome.score.width_px or 0)
    return n_pixels


def _closing(outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
    """Yield the outcomes and end the executor at once when the consumer fails, not when memory is tidied."""
    try:
        yield from outcomes
    finally:
        close = getattr(outcomes, "close", None)
        if close is not None:
            close()


# --- the end ---------------------------------------------------------------------------------------------------------


def _finish(
    plan: RunPlan, journal: Journal, clock: _Clock
) -> tuple[tuple[LayerEstimate, ...], tuple[VesselEstimate, ...]]:
    """Turn the journal into the tables of the run folder; doing it again gives the same files."""
    out = plan.out
    scores = tuple(entry.score for entry in journal.entries())
    pairs = [ScoredField(task.row, score) for task, score in zip(plan.tasks, scores, strict=True)]
    sampling, study = plan.pipeline.sampling, plan.yardsticks.layer_study
    measured = layer_estimates(pairs, plan.catalogue, optics_profile=plan.optics_profile, settings=sampling)
    vessels = vessel_estimates(measured, plan.catalogue, settings=sampling, study=study)
    layers = tuple(layer for vessel in vessels for layer in vessel.layers)
    batches = batch_estimates(vessels, batches_of(task.row for task in plan.tasks), study=study)
    found = characters(pairs, plan.pipeline.sha256, plan.yardsticks)
    found = with_intervals(found, pairs, plan.catalogue, sampling)
    _keep_baseline(plan)
    if _is_complete(out, journal):
        remove_output(plan.work_folder)
        return layers, vessels
    write_table(out / FIELDS_NAME, fields_table(plan.tasks, scores, latest_fields(pairs), found.fields))
    write_objects(out, plan.tasks, scores)
    write_table(out / LAYERS_NAME, layers_table(layers, found))
    write_json(out / VESSELS_NAME, vessels_content(vessels, batches, run_components(pairs), found))
    write_json(out / HASHES_NAME, output_hashes(out, scores))
    state = DONE_WITH_FAILURES if journal.counts()["failed"] else DONE
    _note_time(journal, clock)
    write_json(out / RUN_NAME, run_record(plan, journal, state=state))
    journal.set_meta(state=state)
    remove_output(plan.work_folder)
    return layers, vessels


def _keep_baseline(plan: RunPlan) -> None:
    """Put the baseline beside the results: a field that is corrected in a review is compared with it again."""
    baseline, folder = plan.yardsticks.baseline, plan.out / BASELINE_FOLDER
    if baseline is not None and not folder.exists():
        save_baseline(baseline, folder)


def _note_time(journal: Journal, clock: _Clock) -> None:
    journal.set_meta(finished_at=_now(), elapsed_s=f"{clock.total_s:.3f}", n_attempts=str(clock.n_attempts))


def _note_interruption(plan: RunPlan, journal: Journal, clock: _Clock) -> None:
    """Say in the run folder that the run stopped; on a disk that takes nothing more, the state stays `running`."""
    try:
        journal.set_meta(state=INTERRUPTED)
        _note_time(journal, clock)
        write_json(plan.out / RUN_NAME, run_record(plan, journal, state=INTERRUPTED))
    except OutputError as err:
        logger.warning("The interruption could not be noted: %s", err)


def run_record(plan: RunPlan, journal: Journal, *, state: str) -> dict[str, Any]:
    """Return the content of run.json; times and the machine stand in ``timing``, ``execution``, ``environment``."""
    meta = journal.meta
    settings = {
        "pipeline": {"sha256": plan.pipeline.sha256, "content": plan.pipeline.model_dump(mode="json")},
        "manifest": {"sha256": plan.identity["manifest"], "n_rows": len(plan.manifest.rows)},
        "vessel_types": {"sha256": plan.identity["vessel types"]},
        "plane": asdict(plan.plane),
        "optics_profile": plan.optics_profile,
        "baseline": _baseline(plan),
        "density_calibration": _calibration(plan),
        "layer_study": _layer_study(plan),
    }
    record: dict[str, Any] = {
        "schema_version": RUN_SCHEMA_VERSION,
        "run_id": meta["run_id"],
        "state": state,
        "software": {"name": "msc-vision", "version": __version__},
        "settings": settings,
        "settings_sha256": canonical_sha256(settings),
        "model": _model(plan),
        "rule_set": None,
        "images_folder": str(plan.manifest.folder.absolute()),
        "counts": {"fields": len(plan.tasks), **journal.counts()},
        "hashes_sha256": file_sha256(plan.out / HASHES_NAME) if state in COMPLETE else None,
        "environment": _environment(),
        "execution": _execution(plan),
        "timing": _timing(meta, state),
    }
    return record | {"record_sha256": canonical_sha256(record)}


def _model(plan: RunPlan) -> dict[str, str | None] | None:
    network = plan.pipeline.network
    if network is None:
        return None
    precision = plan.identity["precision of the network"]
    return {"id": network.model, "sha256": network.model_sha256, "device": "cpu", "precision": precision}


def _baseline(plan: RunPlan) -> dict[str, Any] | None:
    baseline = plan.yardsticks.baseline
    if baseline is None:
        return None
    origin = baseline.head.origin
    return {"id": origin.baseline_id, "version": origin.version, "sha256": baseline.sha256}


def _calibration(plan: RunPlan) -> dict[str, Any] | None:
    calibration = plan.yardsticks.calibration
    return None if calibration is None else calibration.model_dump(mode="json")


def _layer_study(plan: RunPlan) -> dict[str, Any] | None:
    study = plan.yardsticks.layer_study
    return None if study is None else study.model_dump(mode="json")


def _environment() -> dict[str, Any]:
    packages = sorted({*DECIDING_PACKAGES, *_OTHER_PACKAGES})
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "packages": {name: version(name) for name in packages},
    }


def _execution(plan: RunPlan) -> dict[str, Any]:
    return {
        "scheduler": plan.settings.scheduler,
        "workers": plan.settings.workers,
        "tiling": asdict(plan.settings.tiling),
        "memory_limit_bytes": plan.settings.memory_limit_bytes,
        "estimated_peak_memory_bytes": plan.peak_memory_bytes,
    }


def _timing(meta: Mapping[str, str], state: str) -> dict[str, Any]:
    return {
        "started_at": meta["started_at"],
        "finished_at": None if state == RUNNING else meta.get("finished_at"),
        "elapsed_s": float(meta["elapsed_s"]),
        "n_attempts": int(meta["n_attempts"]),
    }


def _summary(
    plan: RunPlan,
    journal: Journal,
    clock: _Clock,
    n_pixels: int,
    n_done_before: int,
    estimates: tuple[tuple[LayerEstimate, ...], tuple[VesselEstimate, ...]],
) -> RunSummary:
    counts = journal.counts()
    elapsed_s = clock.now_s
    return RunSummary(
        out=plan.out,
        state=journal.meta["state"],
        n_fields=len(plan.tasks),
        n_scored=counts["scored"],
        n_rejected=counts["rejected"],
        n_failed=counts["failed"],
        n_done_before=n_done_before,
        elapsed_s=elapsed_s,
        megapixels_per_s=n_pixels / 1e6 / elapsed_s,
        layers=estimates[0],
        vessels=estimates[1],
        troubled=tuple(entry.score for entry in journal.entries() if entry.score.status != "scored"),
    )
