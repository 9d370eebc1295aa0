"""Images to measure on: made once, kept in benchmarks/.cache."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from msc_vision.records import Manifest, ManifestRow
from msc_vision.synth import FieldSettings, render_field

CACHE = Path(__file__).parent / ".cache"
SIDE_PX = 2048
PIXEL_SIZE_UM = 0.65  # 6.5 µm camera pixels behind a 10x objective
CONFLUENCIES = (25.0, 50.0, 70.0, 85.0)


def base_fields() -> list[NDArray[np.uint16]]:
    """Return a few synthetic fields of 2048 x 2048 pixels, 16 bit."""
    folder = CACHE / f"base-{SIDE_PX}"
    paths = [folder / f"{percent:g}.tif" for percent in CONFLUENCIES]
    if not all(path.exists() for path in paths):
        folder.mkdir(parents=True, exist_ok=True)
        for seed, (path, percent) in enumerate(zip(paths, CONFLUENCIES, strict=True)):
            settings = FieldSettings(
                height_px=SIDE_PX, width_px=SIDE_PX, pixel_size_um=PIXEL_SIZE_UM, confluency_percent=percent
            )
            tifffile.imwrite(path, render_field(settings, seed).image)
    return [tifffile.imread(path) for path in paths]


def variants(n: int) -> Iterator[NDArray[np.uint16]]:
    """Yield ``n`` fields, no two alike: the base fields, rolled and flipped."""
    fields = base_fields()
    for i in range(n):
        turn, field = divmod(i, len(fields))
        yield np.roll(fields[field][:: 1 - 2 * (turn % 2)], 97 * turn, axis=(0, 1))


def tiff_folder(n: int, compression: str | None) -> Path:
    """Return a folder of ``n`` TIFF files, made if it is not there."""
    folder = CACHE / f"tiff-{compression or 'plain'}-{n}"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for i, image in enumerate(variants(n)):
            tifffile.imwrite(
                folder / f"L01_F{i + 1:03d}.tif",
                image,
                compression=compression,
                predictor=compression is not None,
                rowsperstrip=64,
            )
        (folder / "complete").touch()
    return folder


def manifest_of(folder: Path, n: int | None = None, pixel_size_um: float | None = PIXEL_SIZE_UM) -> Manifest:
    """Return a manifest of the first ``n`` images of a folder, one layer of one vessel."""
    paths = sorted(path for path in folder.iterdir() if path.suffix in {".tif", ".zarr"})[:n]
    rows = (
        ManifestRow(
            path=path.name,
            vessel_id="BENCH",
            vessel_type="t-175",
            layer=1,
            field=path.name.split(".")[0],
            pixel_size_um=pixel_size_um,
        )
        for path in paths
    )
    return Manifest(folder, tuple(rows))


def large_zarr(side_px: int) -> Path:
    """Return a folder with one OME-Zarr image of ``side_px`` squared pixels, 16 bit, in chunks of 1024."""
    import zarr

    folder = CACHE / f"zarr-{side_px}"
    if (folder / "complete").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    group = zarr.open_group(folder / "mosaic.ome.zarr", mode="w", zarr_format=3)
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [
            {
                "axes": [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"],
                "datasets": [
                    {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [PIXEL_SIZE_UM] * 2}]}
                ],
            }
        ],
    }
    shape = (side_px, side_px)
    array = group.create_array("0", shape=shape, chunks=(1024, 1024), dtype="uint16", dimension_names=("y", "x"))
    fields = base_fields()
    for row, y in enumerate(range(0, side_px, SIDE_PX)):
        for column, x in enumerate(range(0, side_px, SIDE_PX)):
            field = fields[(row + column) % len(fields)]
            array[y : y + SIDE_PX, x : x + SIDE_PX] = field[: side_px - y, : side_px - x]
    (folder / "complete").touch()
    return folder
