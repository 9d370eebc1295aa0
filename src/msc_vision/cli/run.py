"""``msc-vision run``: a folder in, a run folder with a report out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from msc_vision.cli import options
from msc_vision.cli.talk import DONE_WITH_FAILURES, say, say_complaints, say_table
from msc_vision.errors import InvalidArgumentError, InvalidDataError

if TYPE_CHECKING:
    from rich.table import Table

    from msc_vision.batch.plan import RunPlan
    from msc_vision.batch.run import RunSummary
    from msc_vision.records import Complaint, Manifest, PlaneChoice
    from msc_vision.statistics.character import Yardsticks
    from msc_vision.vessels import Catalogue

MAX_NAMED = 10


def run(  # noqa: PLR0913, PLR0917  (one parameter per option)
    folder: options.ImagesFolder,
    manifest: options.ManifestFile = None,
    vessel: options.Vessel = None,
    vessel_id: options.VesselId = None,
    pattern: options.Pattern = None,
    pixel_size_um: options.PixelSize = None,
    catalogue: options.CatalogueFiles = None,
    optics: options.Optics = "standard",
    baseline: options.BaselineFolder = None,
    density_calibration: options.CalibrationFile = None,
    layer_study: options.LayerStudyFile = None,
    pipeline: options.PipelineName = "default",
    channel: options.Channel = None,
    time: options.TimePoint = None,
    z: options.Slice = None,
    out: options.RunFolder = None,
    resume: options.Resume = False,
    workers: options.Workers = None,
    scheduler: options.Scheduler = "threads",
    tile_px: options.TileSide = 2048,
    memory_gb: options.MemoryLimit = None,
) -> None:
    """Score every image of a folder: confluency, shape of cells, findings, per field, layer and vessel, and a report.

    Each image is read, judged (is it sharp, lit, not blank?) and measured. A bad image costs one field and is named
    with its reason; it never counts as empty. With --baseline, cells are compared with those of cultures that were as
    they should be: drift. The run folder holds tables (Parquet), outlines (OME-Zarr), run.json and
    report.html; its path is printed on stdout. An interrupted run goes on with --resume and ends with the same result.

    **Examples**

        msc-vision run T75-12 --vessel t-75 --pixel-size-um 0.65
        msc-vision run STACK-7 --vessel hyperstack-36 --out results/STACK-7
        msc-vision run STACK-7 --manifest STACK-7.csv --workers 8 --resume
        msc-vision run STACK-7 --baseline baselines/MCB-7
    """
    from msc_vision.vessels import load_catalogue

    out = out or folder.resolve().with_name(f"{folder.resolve().name}.run")
    types = load_catalogue(tuple(catalogue or ()))
    sources = _Sources(folder, manifest, vessel, vessel_id, pattern, pixel_size_um, optics)
    rows = (_recorded(out) if resume else None) or _manifest(sources, types)
    settings = _Settings(pipeline, workers, scheduler, tile_px, memory_gb)
    yardsticks = _yardsticks(baseline, density_calibration, layer_study)
    plan = _compared(_plan(rows, types, out, optics, settings, _plane(channel, time, z)), yardsticks)
    summary = _score(plan, is_resumed=resume)
    say(f"Report: {_finish(summary, types, yardsticks)}")
    typer.echo(summary.out)
    if summary.n_failed:
        raise typer.Exit(DONE_WITH_FAILURES)


@dataclass(frozen=True, slots=True)
class _Sources:
    """Where the manifest comes from."""

    folder: Path
    manifest: Path | None
    vessel: str | None
    vessel_id: str | None
    pattern: str | None
    pixel_size_um: float | None
    optics: str


@dataclass(frozen=True, slots=True)
class _Settings:
    """How the run is executed."""

    pipeline: str
    workers: int | None
    scheduler: str
    tile_px: int
    memory_gb: float | None


def _recorded(out: Path) -> "Manifest | None":
    """Return the manifest with which the run to be resumed was begun."""
    from msc_vision.batch.run import recorded_manifest

    return recorded_manifest(out)


def _manifest(sources: _Sources, types: "Catalogue") -> "Manifest":
    """Return the manifest given, lying in the folder, or drafted; what is wrong with it ends the command."""
    from msc_vision.io.manifest import check_manifest, draft_manifest, read_manifest

    path = sources.manifest or sources.folder / "manifest.csv"
    complaints: tuple[Complaint, ...] = ()
    if sources.manifest is not None or path.is_file():
        _refuse_drafting_options(sources, path)
        rows = read_manifest(path)
        say(f"Manifest: {path}, {len(rows.rows)} fields.")
    else:
        rows, complaints = draft_manifest(
            sources.folder,
            types,
            vessel_type=sources.vessel,
            vessel_id=sources.vessel_id,
            pattern=sources.pattern,
        )
        say(f"Manifest: drafted from {sources.folder}, {len(rows.rows)} fields.")
    if not any(complaint.severity == "error" for complaint in complaints):
        complaints = (*complaints, *check_manifest(rows, types, optics_profile=sources.optics))
    _refuse_errors(path, tuple(dict.fromkeys(complaints)))
    return _with_pixel_size(rows, sources.pixel_size_um)


def _refuse_drafting_options(sources: _Sources, path: Path) -> None:
    given = {"--vessel": sources.vessel, "--vessel-id": sources.vessel_id, "--pattern": sources.pattern}
    if named := [name for name, value in given.items() if value is not None]:
        raise InvalidArgumentError(
            f"{', '.join(named)} cannot go with the manifest {path}, which says it per row; leave one of them out."
        )


def _refuse_errors(path: Path, complaints: Sequence["Complaint"]) -> None:
    """Say every complaint; errors end the command."""
    say_complaints(complaints)
    n_errors = sum(complaint.severity == "error" for complaint in complaints)
    if n_errors:
        things = "1 thing is" if n_errors == 1 else f"{n_errors} things are"
        raise InvalidDataError(
            f"{things} wrong with the manifest of {path.parent} (above); put it right, or write one with "
            f"`msc-vision manifest {path.parent} --out manifest.csv` and correct it there."
        )


def _with_pixel_size(rows: "Manifest", pixel_size_um: float | None) -> "Manifest":
    """Fill in the pixel size where the manifest has none; one that contradicts the image's own fails that field."""
    if pixel_size_um is None:
        return rows
    if not 0 < pixel_size_um < 1000:
        raise InvalidArgumentError(
            f"--pixel-size-um is {pixel_size_um:g}; give the side of a pixel in µm, such as 0.65."
        )
    filled = (r if r.pixel_size_um is not None else replace(r, pixel_size_um=pixel_size_um) for r in rows.rows)
    return replace(rows, rows=tuple(filled))


def _plane(channel: str | None, time: int | None, z: int | None) -> "PlaneChoice":
    from msc_vision.records import PlaneChoice

    return PlaneChoice(time=time, channel=int(channel) if channel and channel.isdigit() else channel, z=z)


def _plan(
    rows: "Manifest", types: "Catalogue", out: Path, optics: str, settings: _Settings, plane: "PlaneChoice"
) -> "RunPlan":
    from msc_vision.batch.field import Tiling
    from msc_vision.batch.pipeline import load_pipeline
    from msc_vision.batch.plan import RunSettings, available_cores, plan_run

    execution = RunSettings(
        workers=settings.workers if settings.workers is not None else available_cores(),
        scheduler=settings.scheduler,
        memory_limit_bytes=None if settings.memory_gb is None else round(settings.memory_gb * 1e9),
        tiling=Tiling(tile_px=settings.tile_px),
    )
    recipe = load_pipeline(settings.pipeline)
    return plan_run(rows, types, recipe, out, settings=execution, plane=plane, optics_profile=optics)


def _yardsticks(baseline: Path | None, calibration: Path | None, study: Path | None) -> "Yardsticks":
    from msc_vision.morphology.baseline import load_baseline
    from msc_vision.morphology.density import load_calibration
    from msc_vision.statistics.character import Yardsticks
    from msc_vision.statistics.layer_study import read_layer_study

    return Yardsticks(
        None if baseline is None else load_baseline(baseline),
        None if calibration is None else load_calibration(calibration),
        None if study is None else read_layer_study(study),
    )


def _compared(plan: "RunPlan", yardsticks: "Yardsticks") -> "RunPlan":
    from msc_vision.batch.plan import compared_with

    return compared_with(plan, yardsticks)


def _score(plan: "RunPlan", *, is_resumed: bool) -> "RunSummary":
    from msc_vision.batch.progress import progress_on
    from msc_vision.batch.run import resume_run, run_folder

    say(f"Run folder: {plan.out}")
    score = resume_run if is_resumed else run_folder
    return score(plan, progress=progress_on())


def _finish(summary: "RunSummary", types: "Catalogue", yardsticks: "Yardsticks") -> Path:
    """Write the report and say what was found; return where the report lies."""
    from msc_vision.report.character import character_sentence
    from msc_vision.report.load import load_run
    from msc_vision.report.page import write_run_report
    from msc_vision.report.words import doubts, shown_reason, trouble_sentence, vessel_sentence

    content = load_run(summary.out, types)
    page = write_run_report(summary.out, types, yardsticks.baseline)
    say_table(_layer_table(summary))
    for field in content.troubled[:MAX_NAMED]:
        say(f"{field.status}: {field.path}: {shown_reason(field)}")
    if len(content.troubled) > MAX_NAMED:
        say(f"… and {len(content.troubled) - MAX_NAMED} more without a result; the report names them all.")
    doubtful = doubts(content)
    for field, why in doubtful[:MAX_NAMED]:
        say(f"worth a look: {field.path}: {why}")
    if len(doubtful) > MAX_NAMED:
        say(f"… and {len(doubtful) - MAX_NAMED} more worth a look; the report lists them.")
    for vessel in content.vessels:
        say(f"{vessel.vessel_id} ({vessel.type_name}): {vessel_sentence(vessel)}")
        if character := character_sentence(vessel):
            say(f"{vessel.vessel_id}: {character}")
        if yardsticks.baseline and vessel.character and (spread := vessel.character.spread):
            say(f"{vessel.vessel_id}: {spread.sentence}")
    say(f"{trouble_sentence(content)} {summary.elapsed_s:.1f} s, {summary.megapixels_per_s:.1f} MP/s.")
    return page


def _layer_table(summary: "RunSummary") -> "Table":
    """Return a table of all layers that have a field, top layer first; the others are in the sentence below it."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("Vessel", "Layer", "State", "Confluency %", "95 %", "Fields", "SD points", "Lowest - highest %"):
        table.add_column(heading, justify="left" if heading in ("Vessel", "State") else "right")
    for entry in sorted(summary.layers, key=lambda one: (one.vessel_id, -one.layer)):
        n_fields = entry.n_fields_scored + entry.n_fields_rejected + entry.n_fields_failed
        if not n_fields:
            continue
        interval = entry.confluency_interval
        spread = "-" if entry.min_percent is None else f"{entry.min_percent:.1f} - {entry.max_percent:.1f}"
        table.add_row(
            entry.vessel_id,
            str(entry.layer),
            entry.state,
            _figure(entry.confluency_percent),
            "-" if interval is None else f"{interval[0]:.0f} - {interval[1]:.0f}",
            f"{entry.n_fields_scored} of {n_fields}",
            _figure(entry.sd_points),
            spread,
        )
    return table


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
