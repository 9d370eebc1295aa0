"""Peak memory: of one very large image, and of folders of different length."""

import tempfile
from pathlib import Path

from benchmarks.child import Usage, run_in_child
from benchmarks.inputs import large_zarr, tiff_folder
from benchmarks.setup import Setup
from benchmarks.tables import Figure, Section, at_most, table

SIDE_PX = 30_000
WORKERS = 2
FEW, MANY = 50, 200
NOISE = 1.05  # two runs of one folder differ by a few percent: allocators and threads


def measure(_: Setup) -> Section:
    """Run each case in a process of its own and read its peak."""
    few, many = _peak(tiff_folder(MANY, "zlib"), FEW), _peak(tiff_folder(MANY, "zlib"), MANY)
    large = _peak(large_zarr(SIDE_PX), None)
    _refuse_unscored(few, many, large)
    figures = (
        at_most(f"peak of one {SIDE_PX} x {SIDE_PX} 16-bit OME-Zarr", large.peak_mib / 1024, 1.5, " GiB"),
        at_most(f"peak of {MANY} fields over peak of {FEW}", many.peak_mib / few.peak_mib, NOISE, "x"),
        Figure(
            "growth per field (tables and journal)", f"{1024 * (many.peak_mib - few.peak_mib) / (MANY - FEW):.0f} KiB"
        ),
    )
    header = ("run", "peak MiB", "of that before the run", "s", "MP/s")
    rows = [
        _row(f"{FEW} fields of 2048 x 2048, TIFF (deflate)", few, FEW * 2048**2),
        _row(f"{MANY} fields of 2048 x 2048, TIFF (deflate)", many, MANY * 2048**2),
        _row(f"one field of {SIDE_PX} x {SIDE_PX}, OME-Zarr", large, SIDE_PX**2),
    ]
    intro = (
        f"The peak resident memory of a whole process (Python and its libraries included) that scores a folder with "
        f"{WORKERS} workers. The large image has chunks of 1024 x 1024 and {SIDE_PX**2 / 1e6:.0f} MP: "
        f"{2 * SIDE_PX**2 / 2**30:.1f} GiB of pixels."
    )
    return Section(intro, figures, (table(header, rows),))


def _peak(folder: Path, n: int | None) -> Usage:
    with tempfile.TemporaryDirectory() as scratch:
        return run_in_child(folder, Path(scratch) / "run", n, WORKERS)


def _refuse_unscored(*usages: Usage) -> None:
    if any(usage.n_scored != usage.n_fields for usage in usages):
        raise RuntimeError(f"fields were not scored, so their memory says nothing: {usages}")


def _row(name: str, usage: Usage, n_px: int) -> tuple[str, ...]:
    rate = n_px / 1e6 / usage.elapsed_s
    return name, f"{usage.peak_mib:.0f}", f"{usage.base_mib:.0f}", f"{usage.elapsed_s:.0f}", f"{rate:.1f}"
