"""Images to masks in their own size: what ``msc-vision segment`` writes, and outside scorers rely on."""

import csv
import io
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msc_vision.batch.execute import executor_for
from msc_vision.batch.field import FieldTask, TileMap, score_field
from msc_vision.batch.pipeline import Pipeline
from msc_vision.batch.plan import RunSettings
from msc_vision.errors import InvalidArgumentError, OutputError
from msc_vision.io.labels import read_labels, read_meta, to_native
from msc_vision.records import FieldScore, ManifestRow, Region

FIELDS_NAME = "fields.csv"
WHOLE_PX = 4096 * 4096
TILE_PX = 1024
PLAIN_COLUMNS = (
    "path", "status", "reason", "confluency_percent", "judgeable_percent", "n_objects", "height_px", "width_px",
    "pixel_size_um", "working_pixel_size_um", "channel_name", "time_index", "z_index", "image_sha256",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Masks:
    """Where the masks of one image go."""

    labels: Path
    foreground: Path


def mask_paths(image: Path, out: Path) -> Masks:
    """Return where the masks of an image go: ``<stem>_labels.tif`` and ``<stem>_foreground.tif``."""
    return Masks(out / f"{image.stem}_labels.tif", out / f"{image.stem}_foreground.tif")


def refuse_same_stems(images: Sequence[Path]) -> None:
    """Refuse two images whose masks would have one name, on a file system without case too.

    Raises
    ------
    InvalidArgumentError
        Naming both.
    """
    seen: dict[str, Path] = {}
    for image in images:
        other = seen.setdefault(image.stem.casefold(), image)
        if other is not image:
            raise InvalidArgumentError(
                f"{other} and {image} would both be written as {image.stem}_labels.tif; segment them into two folders."
            )


@dataclass(frozen=True, slots=True)
class MaskScorer:
    """Scores one field and writes its masks in the size of the image; small enough to cross processes."""

    out: Path

    def __call__(self, task: FieldTask, *, tile_map: TileMap = map) -> FieldScore:
        """Return the outcome of a field; masks are there only if it was scored."""
        score = score_field(task, tile_map=tile_map)
        masks = mask_paths(task.source, self.out)
        if score.status == "scored" and task.labels_path is not None:
            write_masks(task.labels_path, masks)
        return score


def segment_images(
    images: Sequence[Path],
    out: Path,
    pipeline: Pipeline,
    *,
    settings: RunSettings,
    pixel_sizes_um: Mapping[Path, float],
    on_done: Callable[[FieldScore], None] = lambda _: None,
) -> tuple[FieldScore, ...]:
    """Segment images and write their masks and ``fields.csv`` into a folder.

    Parameters
    ----------
    images
        Files, or OME-Zarr folders; no two with one stem.
    out
        Made if need be. Masks of an earlier call for the same images are replaced, or removed if there are none now.
    pixel_sizes_um
        For images that do not state one themselves.
    on_done
        Called with each outcome as it comes.

    Returns
    -------
    tuple of FieldScore
        In the order of the images; a rejected or failed image has a reason and no masks.

    Raises
    ------
    InvalidArgumentError
        If two images have one stem.
    OutputError
        If a result cannot be written.
    """
    refuse_same_stems(images)
    with _as_output_error(out):
        out.mkdir(parents=True, exist_ok=True)
        for image in images:
            for path in (mask_paths(image, out).labels, mask_paths(image, out).foreground):
                path.unlink(missing_ok=True)
    by_key: dict[str, FieldScore] = {}
    with _work_folder(out) as work:
        tasks = [_task(i, image, work, pipeline, pixel_sizes_um.get(image)) for i, image in enumerate(images)]
        for outcome in executor_for(settings, out).outcomes(tasks, MaskScorer(out)):
            by_key[outcome.score.key] = outcome.score
            on_done(outcome.score)
    scores = tuple(replace(by_key[task.key], path=task.row.path) for task in tasks)
    write_fields_csv(out / FIELDS_NAME, scores)
    return scores


def _task(number: int, image: Path, work: Path, pipeline: Pipeline, pixel_size_um: float | None) -> FieldTask:
    row = ManifestRow(path=str(image), vessel_id="", vessel_type="", layer=1, pixel_size_um=pixel_size_um)
    key = f"{number:06d}"
    return FieldTask(key, image.absolute(), row, pipeline, work / f"{key}.ome.zarr", None, is_described=False)


@contextmanager
def _work_folder(out: Path) -> Iterator[Path]:
    with _as_output_error(out):
        work = tempfile.TemporaryDirectory(prefix=".segment-", dir=out, ignore_cleanup_errors=True)
    with work as name:
        yield Path(name)


@contextmanager
def _as_output_error(path: Path) -> Iterator[None]:
    try:
        yield
    except OutputError:
        raise
    except OSError as err:
        raise OutputError(
            f"{path}: cannot be written ({err.strerror or err}); free space or choose another --out."
        ) from err


def write_masks(store: Path, masks: Masks) -> None:
    """Write a label store as two TIFF files in the size of the image: int32 instances, uint8 foreground (0 or 1).

    Raises
    ------
    OutputError
        If they cannot be written.
    """
    meta = read_meta(store)
    height, width = meta.image_shape
    if height * width <= WHOLE_PX:
        foreground, labels, _ = read_labels(store)
        _write_tiff(masks.labels, to_native(labels, meta.factor, meta.image_shape).astype(np.int32, copy=False))
        _write_tiff(masks.foreground, to_native(foreground, meta.factor, meta.image_shape).astype(np.uint8))
        return
    layout = {"shape": meta.image_shape, "tile": (TILE_PX, TILE_PX)}
    _write_tiff(masks.labels, (tile.astype(np.int32) for _, tile in _native_tiles(store)), dtype=np.int32, **layout)
    _write_tiff(masks.foreground, (tile.astype(np.uint8) for tile, _ in _native_tiles(store)), dtype=np.uint8, **layout)


def _native_tiles(store: Path) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Yield foreground and labels tile by tile at native resolution, row by row."""
    meta = read_meta(store)
    height, width = meta.image_shape
    for y0 in range(0, height, TILE_PX):
        for x0 in range(0, width, TILE_PX):
            rows, columns = _working_indices(y0, height, meta), _working_indices(x0, width, meta, axis=1)
            region = Region(int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)
            foreground, labels, _ = read_labels(store, region=region)
            picked = np.ix_(rows - region.y0, columns - region.x0)
            yield foreground[picked], labels[picked]


def _working_indices(start: int, end: int, meta: Any, axis: int = 0) -> NDArray[np.int64]:
    """Return for each native row or column of a tile the working one that covers it."""
    native = np.arange(start, min(start + TILE_PX, end))
    return np.minimum(native // meta.factor, meta.shape[axis] - 1)


def _write_tiff(path: Path, data: Any, **layout: Any) -> None:
    """Write a compressed TIFF in one piece or not at all."""
    import tifffile

    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with _as_output_error(path):
            tifffile.imwrite(
                draft, data, compression="zlib", compressionargs={"level": 1}, photometric="minisblack", metadata=None,
                **layout,
            )  # fmt: skip
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_fields_csv(path: Path, scores: Sequence[FieldScore]) -> None:
    """Write a row per image: path, status, reason, confluency, quality figures.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    names = sorted({name for score in scores for name in score.quality})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*PLAIN_COLUMNS, "flags", "notes", *(f"quality_{name}" for name in names)])
    for score in scores:
        plain = [getattr(score, column) for column in PLAIN_COLUMNS]
        figures = [score.quality.get(name) for name in names]
        cells = [*plain, "; ".join(score.flags), " ".join(score.notes), *figures]
        writer.writerow(["" if cell is None else cell for cell in cells])
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with _as_output_error(path):
        draft.write_text(text.getvalue(), encoding="utf-8", newline="")
        draft.replace(path)
