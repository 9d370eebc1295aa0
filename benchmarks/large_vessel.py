"""A scored HYPERStack of 36 layers x 25 fields of 2048 x 2048 pixels, made once and kept: what a review has to bear."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import tifffile

from msc_vision.batch.field import FieldTask, TileMap, score_field
from msc_vision.batch.pipeline import load_pipeline
from msc_vision.batch.plan import RunSettings, plan_run
from msc_vision.batch.run import run_folder
from msc_vision.records import FieldScore, Manifest, ManifestRow
from msc_vision.synth import FieldSettings, render_field
from msc_vision.vessels import load_catalogue

CACHE = Path(__file__).parent / ".cache"
N_LAYERS, N_FIELDS, SIDE_PX, PIXEL_SIZE_UM = 36, 25, 2048, 0.65
N_PICTURES = 25
ACQUIRED_AT = "2026-03-14T09:30:00+01:00"


def large_run(folder: Path = CACHE / "large-vessel") -> Path:
    """Return the run folder; made if it is not there.

    There are 25 different pictures; each is scored once and stands in 36 places under names of its own, so that all
    files are there as in a real run.
    """
    run = folder / "HS36.run"
    if (run / "vessels.json").is_file():
        return run
    shutil.rmtree(folder, ignore_errors=True)
    images = folder / "HS36"
    images.mkdir(parents=True)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda i: _picture(folder, i), range(N_PICTURES)))
    rows = []
    for layer in range(1, N_LAYERS + 1):
        for number in range(N_FIELDS):
            name = f"L{layer:02d}_F{number + 1:02d}.tif"
            os.link(folder / f"{(number + layer) % N_PICTURES}.tif", images / name)
            y_um, x_um = 5000.0 + 20_000 * (number // 5), 5000.0 + 35_000 * (number % 5)
            row = ManifestRow(name, "HS36", "hyperstack-36", layer, f"F{number + 1:02d}", y_um, x_um)
            rows.append(replace(row, acquired_at=ACQUIRED_AT, pixel_size_um=PIXEL_SIZE_UM, modality="phase contrast"))
    manifest = Manifest(images, tuple(rows))
    settings = RunSettings(workers=2)
    plan = plan_run(manifest, load_catalogue(), load_pipeline("default"), run, settings=settings)
    run_folder(plan, scorer=_scored_once)
    return run


def _picture(folder: Path, number: int) -> None:
    settings = FieldSettings(
        height_px=SIDE_PX, width_px=SIDE_PX, pixel_size_um=PIXEL_SIZE_UM, confluency_percent=30 + 2.4 * number
    )
    tifffile.imwrite(folder / f"{number}.tif", render_field(settings, seed=number).image)


_SCORED: dict[int, tuple[FieldTask, FieldScore]] = {}


def _scored_once(task: FieldTask, *, tile_map: TileMap = map) -> FieldScore:
    """Score a picture the first time, and copy what came of it from then on."""
    inode = task.source.stat().st_ino
    if inode not in _SCORED:
        kept = task.source.parent.parent / "scored" / str(inode)
        kept.mkdir(parents=True, exist_ok=True)
        first = replace(task, labels_path=kept / "labels.ome.zarr", objects_path=kept / "objects.npy")
        _SCORED[inode] = first, score_field(first, tile_map=tile_map)
    first, score = _SCORED[inode]
    for source, target in ((first.labels_path, task.labels_path), (first.objects_path, task.objects_path)):
        if source is not None and target is not None and source.exists() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target)
            else:
                shutil.copyfile(source, target)
    return replace(score, key=task.key, path=task.row.path)


if __name__ == "__main__":
    print(large_run())
