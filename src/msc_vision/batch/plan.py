"""Decide before the start what a run will do: which fields under which names, and how much memory that needs."""

import hashlib
import json
import logging
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import psutil

from msc_vision import __version__
from msc_vision.batch.field import FieldTask, Tiling
from msc_vision.batch.pipeline import Pipeline
from msc_vision.errors import InvalidArgumentError, InvalidDataError, MscVisionError
from msc_vision.imaging.frame import strip_rows
from msc_vision.imaging.normalise import working_factor
from msc_vision.io.images import open_image
from msc_vision.records import ImageInfo, Manifest, ManifestRow, PlaneChoice
from msc_vision.statistics.character import Yardsticks
from msc_vision.statistics.layer_study import LayerStudy
from msc_vision.vessels import Catalogue

logger = logging.getLogger(__name__)

THREADS = "threads"
PROCESSES = "processes"
DECIDING_PACKAGES = ("numpy", "scipy", "opencv-python-headless", "scikit-image")
"""Distributions whose version may change a score; a run is resumed only with the ones that began it."""

_MAX_SLUG = 60
_HASH_DIGITS = 10
_PROBED_LARGEST = 4
_PROBED_SPREAD = 28
_MAX_NAMED = 5


def available_cores() -> int:
    """Return how many CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How a run is executed. None of this changes a result, so a run may be resumed with other values.

    Attributes
    ----------
    workers : int
        Fields that are scored at the same time.
    scheduler : str
        ``threads`` (default), ``processes`` (local Dask workers) or the address of a Dask scheduler, ``tcp://…``.
    memory_limit_bytes : int or None
        What the run may use in all; None: what the machine (or its container) has free.
    retries : int
        How often a field whose worker process died is tried again before it becomes `failed`.
    tiling : Tiling
        From which size a field is worked on in tiles, and how large these are.
    """

    workers: int = field(default_factory=available_cores)
    scheduler: str = THREADS
    memory_limit_bytes: int | None = None
    retries: int = 2
    tiling: Tiling = Tiling()  # noqa: RUF009  (frozen)

    def __post_init__(self) -> None:
        """Refuse values no run can work with."""
        if self.workers < 1:
            raise InvalidArgumentError(f"workers is {self.workers}; at least 1 is needed.")
        if self.retries < 0:
            raise InvalidArgumentError(f"retries is {self.retries}; 0 or more is needed.")
        if self.memory_limit_bytes is not None and self.memory_limit_bytes <= 0:
            raise InvalidArgumentError(f"The memory limit is {self.memory_limit_bytes} bytes; give more than 0.")
        if self.scheduler not in (THREADS, PROCESSES) and "://" not in self.scheduler:
            raise InvalidArgumentError(
                f"Unknown scheduler {self.scheduler!r}; use {THREADS}, {PROCESSES} or an address such as tcp://host:8786."
            )

    @property
    def is_remote(self) -> bool:
        """Whether the fields are scored by workers of a scheduler that this run does not own."""
        return "://" in self.scheduler


@dataclass(frozen=True, slots=True)
class FieldSize:
    """What the header of an image says about the memory it takes."""

    height_px: int
    width_px: int
    bytes_per_px: int = 2
    factor: int = 1
    window_px: int = 0
    """Canonical pixels that go through the network at once; 0 without one."""

    @property
    def n_px(self) -> int:
        """Native pixels."""
        return self.height_px * self.width_px


@dataclass(frozen=True, slots=True)
class MemoryModel:
    """Bytes that scoring takes, measured as peaks of whole processes and rounded up.

    ``base_bytes``: a process with its libraries loaded. ``per_working_px``: all arrays alive at the peak, per working
    pixel (32 were measured). ``native_copies``: the pixels as decoded and as handed on. ``surroundings``: a tile
    with what the filters reach around it, over the tile. ``network_base_bytes`` and ``per_window_px``: the network's
    library, and all arrays of a window alive at the peak, per canonical pixel.
    """

    base_bytes: int = 300 * 2**20
    per_working_px: float = 36.0
    native_copies: float = 2.0
    surroundings: float = 1.25
    network_base_bytes: int = 400 * 2**20
    per_window_px: float = 130.0

    def whole(self, n_px: int, size: FieldSize) -> float:
        """Return the bytes for a piece of a field of so many native pixels."""
        return n_px * (self.native_copies * size.bytes_per_px + self.per_working_px / size.factor**2)

    def field(self, size: FieldSize, tiling: Tiling, workers: int) -> float:
        """Return the bytes when all workers are busy with fields, or tiles of a field, of this size."""
        network = workers * size.window_px * self.per_window_px
        if size.n_px <= tiling.whole_px:
            return workers * self.whole(size.n_px, size) + network
        tile_px = (tiling.tile_px * size.factor) ** 2
        working_shape = -(-size.height_px // size.factor), -(-size.width_px // size.factor)
        strip_px = size.width_px * strip_rows(working_shape) * size.factor
        return workers * self.surroundings * self.whole(tile_px, size) + max(
            network, strip_px * (2 * self.native_copies + 8)
        )


@dataclass(frozen=True, slots=True)
class RunPlan:
    """Everything a run needs, fixed before it starts.

    ``tasks`` are in the order of the manifest. ``identity`` is what must be equal for a run to be resumed.
    ``total_pixels`` is an estimate from a sample of the images and serves the progress display only.
    """

    manifest: Manifest
    catalogue: Catalogue
    pipeline: Pipeline
    out: Path
    settings: RunSettings
    tasks: tuple[FieldTask, ...]
    plane: PlaneChoice
    optics_profile: str
    identity: Mapping[str, str]
    total_pixels: int
    peak_memory_bytes: int
    yardsticks: Yardsticks = Yardsticks()  # noqa: RUF009  (frozen)

    @property
    def labels_folder(self) -> Path:
        """Where the labels of the fields go."""
        return self.out / "labels"

    @property
    def work_folder(self) -> Path:
        """Where intermediate files lie until the run is complete."""
        return self.out / ".work"


def plan_run(
    manifest: Manifest,
    catalogue: Catalogue,
    pipeline: Pipeline,
    out: Path,
    *,
    settings: RunSettings | None = None,
    plane: PlaneChoice | None = None,
    optics_profile: str = "standard",
    memory: MemoryModel | None = None,
) -> RunPlan:
    """Turn a manifest into the ordered tasks of a run, and check that the run can work.

    Parameters
    ----------
    manifest, catalogue, pipeline
        What to score, the vessels it may name, and how to score.
    out
        The run folder; nothing is written here by planning.
    settings, plane, memory
        How to execute, which plane of multi-page files, what scoring costs; defaults serve.
    optics_profile
        Of the catalogue: which layers the microscope reaches.

    Raises
    ------
    InvalidDataError
        If the manifest is empty or contradicts itself or the catalogue; every contradiction is in the message.
    InvalidArgumentError
        If a vessel type is unknown, the run folder would hold or lie in a raw image, or memory will not suffice.
    """
    settings = settings or RunSettings()
    plane = plane or PlaneChoice()
    out = out.absolute()
    _check_rows(manifest, catalogue)
    for name in sorted({row.vessel_type for row in manifest.rows}):
        catalogue.get(name).reachable_layers(optics_profile)  # now, not after hours of scoring
    _check_out_is_no_image(manifest, out)
    tasks = tuple(_task(row, manifest, pipeline, out, plane, settings.tiling) for row in manifest.rows)
    _check_unique(tasks)
    sizes = probe_sizes(tasks)
    memory = memory or MemoryModel()
    check_memory(sizes, settings, memory)
    mean_pixels = sum(size.n_px for size in sizes) / len(sizes) if sizes else 0.0
    return RunPlan(
        manifest=manifest,
        catalogue=catalogue,
        pipeline=pipeline,
        out=out,
        settings=settings,
        tasks=tasks,
        plane=plane,
        optics_profile=optics_profile,
        identity=run_identity(manifest, catalogue, pipeline, plane) | {"optics profile": optics_profile},
        total_pixels=round(mean_pixels * len(tasks)),
        peak_memory_bytes=estimate_peak_memory(sizes, settings, memory),
    )


def compared_with(plan: RunPlan, yardsticks: Yardsticks) -> RunPlan:
    """Return a plan whose vessels are judged with what a site knows of them beforehand.

    Raises
    ------
    InvalidArgumentError
        If a layer study is of another site than vessels of its type.
    """
    identity = dict(plan.identity)
    if yardsticks.baseline is not None:
        identity["baseline"] = yardsticks.baseline.sha256
    if yardsticks.calibration is not None:
        identity["density calibration"] = hashlib.sha256(yardsticks.calibration.model_dump_json().encode()).hexdigest()
    if yardsticks.layer_study is not None:
        _check_site(plan, yardsticks.layer_study)
        identity["layer study"] = hashlib.sha256(yardsticks.layer_study.model_dump_json().encode()).hexdigest()
    return replace(plan, yardsticks=yardsticks, identity=identity)


def _check_site(plan: RunPlan, study: LayerStudy) -> None:
    for row in plan.manifest.rows:
        is_of_study = plan.catalogue.get(row.vessel_type).id == study.vessel_type
        refusal = study.refusal_of_site(row.site) if is_of_study else None
        if refusal is not None:
            raise InvalidArgumentError(f"{row.path}: {refusal}.")


def field_key(row: ManifestRow) -> str:
    """Return the name under which the files of a field are kept.

    Lower-case letters, digits and dashes only, at most 71 characters, so that it is a legal and distinct file name on
    Windows, macOS and Linux; ends in a hash of the path as the manifest writes it, so it does not depend on where the
    folder lies or on the other rows.
    """
    name = row.field or Path(row.path).stem
    text = f"{row.vessel_id}-l{row.layer:02d}-{name}"
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_text)[:_MAX_SLUG].strip("-")
    digest = hashlib.sha256(row.path.encode()).hexdigest()[:_HASH_DIGITS]
    return f"{slug}-{digest}" if slug else digest


def run_identity(manifest: Manifest, catalogue: Catalogue, pipeline: Pipeline, plane: PlaneChoice) -> dict[str, str]:
    """Return what decides the result of a run besides the pixels: name to value or sha256."""
    rows = json.dumps([asdict(row) for row in manifest.rows], sort_keys=True)
    vessel_types = sorted({row.vessel_type for row in manifest.rows})
    vessels = "\n".join(f"{name}: {catalogue.get(name).model_dump_json()}" for name in vessel_types)
    return {
        "manifest": hashlib.sha256(rows.encode()).hexdigest(),
        "vessel types": hashlib.sha256(vessels.encode()).hexdigest(),
        "pipeline": pipeline.sha256,
        "plane": json.dumps(asdict(plane), sort_keys=True),
        "version of msc-vision": __version__,
        **{f"version of {name}": version(name) for name in DECIDING_PACKAGES},
        **_network_identity(pipeline),
    }


def _network_identity(pipeline: Pipeline) -> dict[str, str]:
    """Return what else decides a result where a network looks: its library, and how it computes on this machine."""
    if pipeline.network is None:
        return {}
    from msc_vision.batch.network_field import resolved_precision  # loads torch

    precision = resolved_precision(pipeline.network.precision)
    return {"version of torch": version("torch"), "precision of the network": precision}


def probe_sizes(tasks: Sequence[FieldTask]) -> tuple[FieldSize, ...]:
    """Return the sizes of the largest files and of an even sample of the others; unreadable ones are left out.

    Only headers are read. What is wrong with an unreadable file is said when the field is scored.
    """
    sizes = []
    for task in _sample(tasks):
        try:
            with open_image(task.source, task.plane) as image:
                sizes.append(_field_size(task, image.info))
        except (MscVisionError, OSError) as err:
            logger.debug("Not used for the estimate: %s", err)
    return tuple(sizes)


def _field_size(task: FieldTask, info: ImageInfo) -> FieldSize:
    pixel_size_um = task.row.pixel_size_um or info.pixel_size_um
    factor = 1 if pixel_size_um is None else working_factor(pixel_size_um, task.pipeline.scale.target_um)
    return FieldSize(
        *info.shape, np.dtype(info.dtype).itemsize, factor, _window_px(task, info.shape, factor, pixel_size_um)
    )


def _window_px(task: FieldTask, shape: tuple[int, int], factor: int, pixel_size_um: float | None) -> int:
    settings = task.pipeline.network
    if settings is None:
        return 0
    from msc_vision.batch.network_field import largest_window_px  # loads torch

    return largest_window_px(settings, shape, factor, pixel_size_um or task.pipeline.contrast.assumed_pixel_size_um)


def estimate_peak_memory(sizes: Iterable[FieldSize], settings: RunSettings, memory: MemoryModel) -> int:
    """Return the bytes a run needs at its peak, which follow from tile size and workers, not from the folder."""
    sizes = tuple(sizes)
    largest = max((memory.field(size, settings.tiling, settings.workers) for size in sizes), default=0.0)
    processes = settings.workers + 1 if settings.scheduler == PROCESSES else 1
    base = memory.base_bytes + (memory.network_base_bytes if any(size.window_px for size in sizes) else 0)
    return round(processes * base + largest)


def available_memory() -> int:
    """Return the bytes this process may still take, given the machine and a Linux container limit."""
    free = int(psutil.virtual_memory().available)
    for limit_file, used_file in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            limit, used = Path(limit_file).read_text().strip(), Path(used_file).read_text().strip()
        except OSError:
            continue  # not Linux, or another version of control groups
        if limit.isdigit():
            free = min(free, max(0, int(limit) - int(used)))
    return free


def check_memory(
    sizes: Sequence[FieldSize],
    settings: RunSettings,
    memory: MemoryModel,
    available: Callable[[], int] = available_memory,
) -> None:
    """Refuse a run whose estimated peak exceeds the memory limit; workers of a remote scheduler are not ours to check.

    Raises
    ------
    InvalidArgumentError
        With the estimate, the limit and the number of workers that would fit.
    """
    if settings.is_remote:
        return
    limit = settings.memory_limit_bytes
    allowed, what = (limit, "the memory limit") if limit is not None else (available(), "free memory")
    needed = {n: estimate_peak_memory(sizes, replace(settings, workers=n), memory) for n in (1, settings.workers)}
    if needed[settings.workers] <= allowed:
        return
    if needed[1] <= allowed:
        step = (needed[settings.workers] - needed[1]) / (settings.workers - 1)
        advice = f"use at most {1 + int((allowed - needed[1]) / step)} workers instead of {settings.workers}"
    else:
        advice = f"even one worker needs {_gib(needed[1])}, so raise the limit or free memory"
    raise InvalidArgumentError(
        f"The run needs about {_gib(needed[settings.workers])} but {what} is {_gib(allowed)}: {advice}."
    )


def _gib(n_bytes: float) -> str:
    return f"{n_bytes / 2**30:.2f} GiB"


def _task(
    row: ManifestRow, manifest: Manifest, pipeline: Pipeline, out: Path, plane: PlaneChoice, tiling: Tiling
) -> FieldTask:
    key = field_key(row)
    return FieldTask(
        key=key,
        source=manifest.image_path(row).absolute(),
        row=row,
        pipeline=pipeline,
        labels_path=out / "labels" / f"{key}.ome.zarr",
        objects_path=out / ".work" / "objects" / f"{key}.npy",
        plane=plane,
        tiling=tiling,
    )


def _check_rows(manifest: Manifest, catalogue: Catalogue) -> None:
    """Refuse what would make a roll-up wrong; a bad image file is no reason, it costs its own field only."""
    if not manifest.rows:
        raise InvalidDataError(f"{manifest.folder}: the manifest lists no field; check the folder or the manifest.")
    problems = [
        *_layer_problems(manifest, catalogue),
        *_vessel_problems(manifest, catalogue),
        *_repeat_problems(manifest),
    ]
    if problems:
        more = f"; and {len(problems) - _MAX_NAMED} more" if len(problems) > _MAX_NAMED else ""
        raise InvalidDataError(f"{manifest.folder}: {'; '.join(problems[:_MAX_NAMED])}{more}. Correct the manifest.")


def _layer_problems(manifest: Manifest, catalogue: Catalogue) -> list[str]:
    problems = []
    for number, row in enumerate(manifest.rows, start=1):
        n_layers = catalogue.get(row.vessel_type).layers
        if not 1 <= row.layer <= n_layers:
            problems.append(f"row {number} ({row.path}): layer {row.layer}, but {row.vessel_type} has 1 to {n_layers}")
    return problems


def _vessel_problems(manifest: Manifest, catalogue: Catalogue) -> list[str]:
    """Return vessels of two types, and vessels that a file system without case would put in one folder."""
    types: dict[str, set[str]] = defaultdict(set)
    spellings: dict[str, set[str]] = defaultdict(set)
    for row in manifest.rows:
        types[row.vessel_id].add(catalogue.get(row.vessel_type).id)
        spellings[row.vessel_id.casefold()].add(row.vessel_id)
    return [
        *(
            f"vessel {name} is said to be {' and '.join(sorted(found))}"
            for name, found in types.items()
            if len(found) > 1
        ),
        *(f"vessels {' and '.join(sorted(s))} differ only in case" for s in spellings.values() if len(s) > 1),
    ]


def _repeat_problems(manifest: Manifest) -> list[str]:
    counts = Counter(os.path.normcase(manifest.image_path(row).absolute()) for row in manifest.rows)
    return [f"{path} is listed {n} times" for path, n in counts.items() if n > 1]


def _check_unique(tasks: Sequence[FieldTask]) -> None:
    by_key: dict[str, FieldTask] = {}
    for task in tasks:
        other = by_key.setdefault(task.key, task)
        if other is not task:
            raise InvalidDataError(f"{task.row.path} and {other.row.path} would get one name, {task.key}; rename one.")


def _check_out_is_no_image(manifest: Manifest, out: Path) -> None:
    """Raw images are never written to, and a Zarr image is a folder a run could be sent into by mistake."""
    inside = set(out.parents) | {out}
    for row in manifest.rows:
        source = manifest.image_path(row).absolute()
        if source in inside:
            raise InvalidArgumentError(f"{out} lies in the image {source}; choose a run folder outside the raw data.")
        if out in source.parents:
            raise InvalidArgumentError(f"{out} holds the image {source}; choose a run folder of its own.")


def _sample(tasks: Sequence[FieldTask]) -> list[FieldTask]:
    by_size = sorted(tasks, key=lambda task: (-_size(task.source), task.key))
    step = max(1, len(tasks) // _PROBED_SPREAD)
    return list({task.key: task for task in (*by_size[:_PROBED_LARGEST], *tasks[::step][:_PROBED_SPREAD])}.values())


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
