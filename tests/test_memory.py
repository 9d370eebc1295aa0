"""Memory follows from tile size and workers: not from the size of an image, nor from the number of fields.

Each case runs in a process of its own, whose peak is read at its end.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PIXEL_SIZE_UM = 0.65
MIB = 2**20


def write_mosaic(path: Path, side_px: int) -> Path:
    """Write one field, again and again, as an OME-Zarr of ``side_px`` squared pixels in chunks of 1024."""
    import zarr

    from msc_vision.synth import FieldSettings, render_field

    settings = FieldSettings(height_px=1024, width_px=1024, pixel_size_um=PIXEL_SIZE_UM, confluency_percent=45)
    tile = render_field(settings, seed=1).image
    group = zarr.open_group(path, mode="w", zarr_format=3)
    scale = [{"type": "scale", "scale": [PIXEL_SIZE_UM, PIXEL_SIZE_UM]}]
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    levels = [{"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": levels}
    shape = (side_px, side_px)
    array = group.create_array("0", shape=shape, chunks=tile.shape, dtype="uint16", dimension_names=("y", "x"))
    for y in range(0, side_px, 1024):
        array[y : y + 1024] = np.tile(tile, (1, -(-side_px // 1024)))[: side_px - y, :side_px]
    return path


def write_fields(folder: Path, n: int) -> Path:
    """Write ``n`` fields of 512 x 512 pixels, no two alike."""
    import tifffile

    from msc_vision.synth import FieldSettings, render_field

    settings = FieldSettings(height_px=512, width_px=512, pixel_size_um=PIXEL_SIZE_UM, confluency_percent=45)
    image = render_field(settings, seed=2).image
    folder.mkdir()
    for i in range(n):
        tifffile.imwrite(folder / f"L01_F{i:03d}.tif", np.roll(image, i))
    return folder


def peak_mib(folder: Path, out: Path, n: int) -> float:
    """Score the first ``n`` images of a folder in a new process, and return its peak memory."""
    command = [sys.executable, __file__, str(folder), str(out), str(n)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["n_scored"] == n
    return float(found["peak_mib"])


@pytest.mark.slow
def test_a_larger_image_takes_no_more_memory(tmp_path):
    """Four and sixteen tiles of 4096 x 4096 native pixels: 128 and 512 MiB of pixels; two are worked on at a time."""
    peaks = []
    for side_px in (8192, 16384):
        (tmp_path / f"{side_px}").mkdir()
        write_mosaic(tmp_path / f"{side_px}" / "mosaic.ome.zarr", side_px)
        peaks.append(peak_mib(tmp_path / f"{side_px}", tmp_path / f"run-{side_px}", 1))
    # MiB. Two tiles at a time take 740 to 790; how two workers overlap adds up to 170 where there are more tiles.
    assert peaks[0] < 1000
    assert peaks[1] - peaks[0] < 0.75 * (512 - 128)  # the pixels that came on top are not all held


def test_more_fields_take_no_more_memory(tmp_path):
    folder = write_fields(tmp_path / "images", 120)
    few, many = (peak_mib(folder, tmp_path / f"run-{n}", n) for n in (20, 120))
    assert many - few < 100 * 512**2 * 2 / MIB / 2  # the pixels of 100 more fields are 50 MiB; tables of them are not


def main(folder: str, out: str, n: str) -> None:
    """Score images with two workers and print the peak memory of this process."""
    from msc_vision.batch.pipeline import load_pipeline
    from msc_vision.batch.plan import RunSettings, plan_run
    from msc_vision.batch.run import run_folder
    from msc_vision.records import Manifest, ManifestRow
    from msc_vision.vessels import load_catalogue

    paths = sorted(path for path in Path(folder).iterdir())[: int(n)]
    rows = tuple(ManifestRow(path.name, "V", "t-175", 1, path.stem, pixel_size_um=PIXEL_SIZE_UM) for path in paths)
    plan = plan_run(
        Manifest(Path(folder), rows),
        load_catalogue(),
        load_pipeline("contrast"),
        Path(out),
        settings=RunSettings(workers=2),
    )
    summary = run_folder(plan)
    print(json.dumps({"peak_mib": own_peak_mib(), "n_scored": summary.n_scored}))  # noqa: T201


def own_peak_mib() -> float:
    """Return the peak of this process alone: what `resource` tells on Linux begins with the peak of the parent."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) / 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return float(psutil.Process().memory_info().peak_wset) / MIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (MIB if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main(*sys.argv[1:])
