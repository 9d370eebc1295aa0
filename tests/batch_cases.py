"""What the tests of the run folder share: a small imaging folder, a plain scorer, and a comparison of run folders."""

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile
from scipy import ndimage

from msc_vision.batch.field import FieldTask
from msc_vision.batch.pipeline import load_pipeline
from msc_vision.batch.plan import RunPlan, RunSettings, plan_run
from msc_vision.batch.run import resume_run, run_folder
from msc_vision.batch.store import file_sha256
from msc_vision.errors import InvalidDataError
from msc_vision.io.images import check_pixels, content_sha256, open_image
from msc_vision.io.labels import write_labels
from msc_vision.io.sealed import canonical_sha256
from msc_vision.records import FieldScore, Manifest, ManifestRow
from msc_vision.vessels import load_catalogue

VESSEL_TYPE = "cellstack-2"
TIMED = ("run.json", "journal.sqlite", ".lock")
"""What may differ between two runs of one folder: it holds times, or it is not a result."""


def cell_image(seed: int, side: int = 256) -> np.ndarray:
    """Draw bright strokes with dark rims on a noisy grey ground, 16 bit: `seed` decides all of it."""
    rng = np.random.default_rng(seed)
    ground = rng.normal(2000, 25, (side, side))
    points = np.zeros((side, side))
    for _ in range(side * side // 1500):
        y, x = rng.integers(4, side - 48, 2)
        length = int(rng.integers(10, 40))
        points[y : y + 9, x : x + length] = 6000
    strokes = ndimage.gaussian_filter(points, 1.5) - 0.5 * ndimage.gaussian_filter(points, 3)
    return (ground + strokes).clip(0, 65535).astype(np.uint16)


def write_images(folder: Path, n: int = 6, side: int = 256) -> None:
    """Write `n` images, over two layers by turns."""
    for i in range(n):
        path = folder / f"L{i % 2 + 1:02d}" / f"field_{i:02d}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, cell_image(i, side))


def manifest_of(folder: Path, vessel_id: str = "V1") -> Manifest:
    """List the files of a folder made by `write_images`, whatever they hold."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    rows = tuple(
        ManifestRow(
            path=path.relative_to(folder).as_posix(),
            vessel_id=vessel_id,
            vessel_type=VESSEL_TYPE,
            layer=int(path.parent.name[1:]),
            field=path.stem,
            pixel_size_um=1.24,
        )
        for path in paths
    )
    return Manifest(folder, rows)


def plan_of(folder: Path, out: Path, **settings: object) -> RunPlan:
    """Plan a run of a folder made by `write_images`."""
    settings = {"workers": 2} | settings
    return plan_run(
        manifest_of(folder), load_catalogue(), load_pipeline("contrast"), out, settings=RunSettings(**settings)
    )


def plain_score(task: FieldTask, *, tile_map=map) -> FieldScore:
    """Score by one fixed threshold; a file's name may ask for a mishap."""
    _mishap(task)
    try:
        with open_image(task.source, task.plane) as image:
            pixels = image.read()
        check_pixels(pixels, task.source)
    except InvalidDataError as err:
        return FieldScore(key=task.key, path=task.row.path, status="failed", reason=str(err))
    foreground = np.concatenate(list(tile_map(lambda rows: rows > 2200, np.array_split(pixels, 4))))
    labels, n = ndimage.label(foreground)
    labels = labels.astype(np.int32)
    objects = np.zeros(n, dtype=[("label", "i4"), ("area_px", "f8")])
    objects["label"] = np.arange(1, n + 1)
    objects["area_px"] = np.bincount(labels.ravel(), minlength=n + 1)[1:]
    with task.objects_path.with_suffix(".tmp").open("wb") as file:
        np.save(file, objects)
    task.objects_path.with_suffix(".tmp").replace(task.objects_path)
    judgeable = np.ones(pixels.shape, bool)
    area_mm2 = pixels.size * 1.24**2 / 1e6
    return FieldScore(
        key=task.key,
        path=task.row.path,
        status="scored",
        confluency_percent=100 * float(foreground.mean()),
        judgeable_percent=100.0,
        field_area_mm2=area_mm2,
        judgeable_area_mm2=area_mm2,
        n_objects=n,
        height_px=pixels.shape[0],
        width_px=pixels.shape[1],
        dtype=str(pixels.dtype),
        pixel_size_um=1.24,
        quality={"mean_level": float(pixels.mean())},
        flags=("plain",),
        image_sha256=content_sha256(task.source),
        labels_sha256=write_labels(task.labels_path, foreground, labels, judgeable, 1.24, 1, pixels.shape),
    )


def _mishap(task: FieldTask) -> None:
    stem = task.source.stem
    if "killed" in stem:
        os.kill(os.getpid(), signal.SIGKILL)
    if "exits" in stem:
        os._exit(3)
    if "hungry" in stem:
        raise MemoryError("Unable to allocate 900 GiB")
    if "bug" in stem:
        raise ZeroDivisionError("division by zero")


def largest_file(folder: Path) -> Path:
    """Return the file that holds most of a label store: one with pixels."""
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: (path.stat().st_size, path))


def result_bytes(out: Path) -> dict[str, bytes]:
    """Return every file of a run folder that has to be the same for the same images and settings."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and not path.name.startswith(TIMED)
    }


def make_hashes_fit(out: Path) -> None:
    """Make every hash of a run folder that was altered fit again: only what contradicts itself is left to find."""
    hashes = json.loads((out / "hashes.json").read_text())
    for name in hashes:
        if (out / name).is_file():
            hashes[name] = file_sha256(out / name)
    (out / "hashes.json").write_text(json.dumps(hashes))
    record = json.loads((out / "run.json").read_text())
    del record["record_sha256"]
    record["hashes_sha256"] = file_sha256(out / "hashes.json")
    (out / "run.json").write_text(json.dumps(record | {"record_sha256": canonical_sha256(record)}))


def differing_files(one: Path, other: Path) -> list[str]:
    """Return the names of results that two run folders do not share byte for byte."""
    a, b = result_bytes(one), result_bytes(other)
    return [name for name in sorted(a.keys() | b.keys()) if a.get(name) != b.get(name)]


def main(arguments: Sequence[str]) -> None:
    """Run or resume with the real scorer in a process of its own: ``python batch_cases.py VERB IMAGES OUT WORKERS``.

    Says ``ready`` when everything is imported, then waits for a line, so that a test can time what follows.
    """
    verb, images, out, workers = arguments
    load_pipeline("contrast")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    plan = plan_of(Path(images), Path(out), workers=int(workers))
    {"run": run_folder, "resume": resume_run}[verb](plan)


if __name__ == "__main__":
    main(sys.argv[1:])
