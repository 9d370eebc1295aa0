"""Damaged files: hundreds of cut-off or bit-flipped samples, each the right result or a named failure.

A file ``|header|......pixels......|`` is either cut off somewhere, or has one bit turned over somewhere.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from batch_cases import differing_files
from msc_vision.batch.execute import attempt
from msc_vision.batch.field import FieldTask, score_field
from msc_vision.batch.pipeline import load_pipeline
from msc_vision.batch.plan import RunSettings, plan_run
from msc_vision.batch.run import run_folder
from msc_vision.io.images import content_sha256
from msc_vision.records import FieldScore, Manifest, ManifestRow
from msc_vision.synth.vessel import write_image
from msc_vision.vessels import load_catalogue

SAMPLES = Path(__file__).parents[1] / "sample_data"
N_CUT, N_FLIPPED = 25, 30
FORMATS = ("ome-tiff", "tiff", "png", "jpeg", "zarr")
PIXEL_SIZE_UM = 1.24


def sample_crop() -> np.ndarray:
    """A corner of a sample field with cells and bare surface."""
    return tifffile.imread(SAMPLES / "hyperstack-12" / "L03" / "HS12-A_L03_F01.ome.tif")[200:392, 100:292]


def write_sample(folder: Path, file_format: str) -> Path:
    """Write the crop in a format and return where it lies."""
    crop = sample_crop()
    path = folder / {"ome-tiff": "a.ome.tif", "tiff": "a.tif", "png": "a.png", "jpeg": "a.jpg"}.get(
        file_format, "a.zarr"
    )
    if file_format == "jpeg":
        path.write_bytes(cv2.imencode(".jpg", cv2.convertScaleAbs(crop, alpha=1 / 16))[1].tobytes())
    elif file_format == "tiff":
        tifffile.imwrite(path, crop, rowsperstrip=32)
    elif file_format == "zarr":
        write_zarr(path, crop)
    else:
        write_image(path, crop, PIXEL_SIZE_UM, file_format)
    return path


def write_zarr(path: Path, image: np.ndarray) -> None:
    import zarr

    group = zarr.open_group(path, mode="w", zarr_format=3)
    scale = [{"type": "scale", "scale": [PIXEL_SIZE_UM, PIXEL_SIZE_UM]}]
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    levels = [{"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": levels}
    group.create_array("0", data=image, chunks=(96, 96), dimension_names=("y", "x"))


def pieces(path: Path) -> list[Path]:
    """The files of an image: itself, or those of a folder."""
    return [path] if path.is_file() else sorted(piece for piece in path.rglob("*") if piece.is_file())


def damage(path: Path, version: int, rng: np.random.Generator) -> str:
    """Cut a file off or turn one bit over; every third place lies in the first 200 bytes, where the header is."""
    some = pieces(path)
    piece = some[int(rng.integers(len(some)))]
    content = bytearray(piece.read_bytes())
    reach = min(len(content), 200) if version % 3 == 0 else len(content)
    place = int(rng.integers(reach))
    if version < N_CUT:
        piece.write_bytes(content[:place])
        return f"{piece.name} cut off at {place}"
    content[place] ^= 1 << int(rng.integers(8))
    piece.write_bytes(content)
    return f"{piece.name} with a bit flipped in byte {place}"


def score(path: Path, sha256: str | None = None) -> FieldScore:
    row = ManifestRow(path.name, "V", "t-75", 1, pixel_size_um=PIXEL_SIZE_UM, sha256=sha256)
    task = FieldTask("field", path, row, load_pipeline("contrast"), None, None)
    return attempt(score_field, task, map).score


def copied(source: Path, target: Path) -> Path:
    if target.is_dir():
        shutil.rmtree(target)
    target.unlink(missing_ok=True)
    (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)
    return target


def versions(source: Path, folder: Path, file_format: str):
    """Yield every damaged version of a file: where it lies, and what was done to it."""
    rng = np.random.default_rng(FORMATS.index(file_format))
    folder.mkdir()
    for version in range(N_CUT + N_FLIPPED):
        path = copied(source, folder / source.name)
        yield path, damage(path, version, rng)


@pytest.mark.parametrize("file_format", FORMATS)
def test_damage_is_noticed_by_the_sha256_of_the_manifest(tmp_path, file_format):
    source = write_sample(tmp_path, file_format)
    sha256 = content_sha256(source)
    assert score(source, sha256).status == "scored"
    for path, what in versions(source, tmp_path / "damaged", file_format):
        found = score(path, sha256)
        assert found.status == "failed", what
        assert found.confluency_percent is None
        assert path.name in found.reason, what


@pytest.mark.parametrize("file_format", FORMATS)
def test_damage_without_a_sha256_is_an_outcome_and_never_a_crash(tmp_path, file_format):
    source = write_sample(tmp_path, file_format)
    right = score(source)
    for path, what in versions(source, tmp_path / "damaged", file_format):
        found = score(path)
        is_right = found.confluency_percent == right.confluency_percent
        if found.status == "failed":
            assert path.name in found.reason, what
            assert "\n" not in found.reason, what
            assert "Please report it" not in found.reason, f"{what}: {found.reason}"
        elif "cut off" in what or file_format == "png":  # these formats, and any file that ends early, tell of it
            assert is_right, f"{what}: {found.status} {found.confluency_percent} {found.reason}"
        if found.status == "scored":
            assert 0 <= found.confluency_percent <= 100


def damaged_folder(folder: Path) -> Manifest:
    """Four sound fields, and between them 24 damaged ones; the hashes are those from before the damage."""
    folder.mkdir()
    rng = np.random.default_rng(99)
    rows = []
    for i in range(28):
        path = folder / f"L01_F{i:02d}.ome.tif"
        write_image(path, np.roll(sample_crop(), i, axis=1), PIXEL_SIZE_UM, "ome-tiff")
        rows.append(ManifestRow(path.name, "V", "t-75", 1, f"F{i:02d}", sha256=content_sha256(path)))
        if i % 7:
            damage(path, int(rng.integers(N_CUT + N_FLIPPED)), rng)
    return Manifest(folder, tuple(rows))


@pytest.mark.parametrize("has_hashes", [True, False], ids=["hashes in the manifest", "no hashes"])
def test_damaged_files_cost_only_themselves(tmp_path, has_hashes):
    manifest = damaged_folder(tmp_path / "images")
    if not has_hashes:
        manifest = replace(manifest, rows=tuple(replace(row, sha256=None) for row in manifest.rows))
    sound = replace(manifest, rows=manifest.rows[::7])
    run, undisturbed = (
        plan_run(some, load_catalogue(), load_pipeline("contrast"), tmp_path / name, settings=RunSettings(workers=2))
        for some, name in ((manifest, "run"), (sound, "sound"))
    )
    summary = run_folder(run)
    assert summary.n_fields == 28
    assert run_folder(undisturbed).n_scored == 4
    if has_hashes:
        assert (summary.n_scored, summary.n_failed) == (4, 24)
    for task in undisturbed.tasks:
        name = task.labels_path.relative_to(undisturbed.out)
        assert (run.out / name).is_dir()
        assert differing_files(run.out / name, undisturbed.out / name) == []
