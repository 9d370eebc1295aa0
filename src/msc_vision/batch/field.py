"""One field from its file to its score and labels: the unit of work that runs, workers and commands share.

An ordinary field is worked on whole. A large one goes strip by strip and tile by tile through the same functions, each
tile read with the surroundings that the filters reach, so the result is the same and memory follows from the tile.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from msc_vision.batch.describe import Description, Hints
from msc_vision.batch.low_attachment import LOW_ATTACHMENT, is_low_attachment, measure_spheroids
from msc_vision.batch.pipeline import Pipeline, ScaleSettings
from msc_vision.errors import InvalidArgumentError, InvalidDataError, OutputError, UndefinedResultError
from msc_vision.findings.contamination import Place
from msc_vision.findings.surface import FLAW_FLAGS, SurfaceFinding
from msc_vision.flags import Flag
from msc_vision.imaging.artefacts import judgeable_mask
from msc_vision.imaging.frame import Frame, frame_of, overview_of, overview_of_pixels
from msc_vision.imaging.normalise import to_working, working_factor
from msc_vision.imaging.overview import Overview, whole_blocks
from msc_vision.imaging.quality import judge_field
from msc_vision.io.images import FieldImage, check_pixels, content_sha256, open_image
from msc_vision.io.labels import LabelsWriter, labels_sha256, write_labels
from msc_vision.records import FieldScore, ImageInfo, ManifestRow, PlaneChoice, QualityReport, Region
from msc_vision.segmentation.contrast import (
    ContrastFilter,
    ContrastLevels,
    contrast_filter,
    contrast_levels,
    foreground_mask,
    noise_log,
    texture,
    texture_histogram,
)
from msc_vision.segmentation.fusion import Areas, Doubt, Opinion, areas, doubt
from msc_vision.segmentation.objects import ObjectTable, TileParts, join_parts, label_parts, tile_parts

if TYPE_CHECKING:
    from msc_vision.batch.network_field import NetworkField

SMALLEST_SIDE_PX = 64
SIZE_TOLERANCE = 0.01
_FLAWS_TOLD = 3  # of each kind, in words
_UNCLEAR: Flag = "bare-or-full"
BARE_OR_FULL = (
    "The field has one texture all over, which pale full cover and rough bare surface may both have: look at it."
)
HIDDEN = "something hides all of the surface (obscured 100 %)"


TileMap = Callable[..., Iterator[Any]]
"""Works like the builtin `map` over tiles, results in order; a caller may pass one that uses several threads."""


@dataclass(frozen=True, slots=True)
class Tiling:
    """How a large field is cut; none of this can change a score.

    Attributes
    ----------
    whole_px : int
        Fields of up to this many native pixels are worked on whole.
    tile_px : int
        Side of a tile in working pixels, a multiple of 1024.
    """

    whole_px: int = 4096 * 4096
    tile_px: int = 2048

    def __post_init__(self) -> None:
        """Refuse tiles that do not fit the chunks of the label store."""
        if self.tile_px < LabelsWriter.chunk_px or self.tile_px % LabelsWriter.chunk_px:
            raise InvalidArgumentError(f"Tile side {self.tile_px} is no multiple of {LabelsWriter.chunk_px} pixels.")


@dataclass(frozen=True, slots=True)
class FieldTask:
    """One field to be scored: where it is, how, and where its outputs go (None: not written).

    ``is_described`` False leaves it at cells and confluency: nothing is said of shapes, aggregates or the surface.
    """

    key: str
    source: Path
    row: ManifestRow
    pipeline: Pipeline
    labels_path: Path | None
    objects_path: Path | None
    plane: PlaneChoice = PlaneChoice()  # noqa: RUF009  (frozen)
    tiling: Tiling = Tiling()
    is_described: bool = True


@dataclass(frozen=True, slots=True)
class _Measured:
    """What was counted on a judged field."""

    n_foreground: int
    n_judgeable: int
    objects: NDArray[np.void]
    labels_sha256: str | None
    doubt: Doubt | None = None
    description: Description | None = None


def score_field(task: FieldTask, *, tile_map: TileMap = map) -> FieldScore:
    """Score one field and write its labels and its object table.

    Returns
    -------
    FieldScore
        ``scored``, ``rejected`` (cannot be judged) or ``failed`` (cannot be read, contradicts its manifest); the last
        two with a reason, without a confluency, and without outputs.

    Raises
    ------
    OutputError
        If a result cannot be written: that is the run's problem, not the field's.
    """
    try:
        return _score(task, tile_map)
    except (InvalidDataError, InvalidArgumentError, UndefinedResultError) as err:
        return FieldScore(key=task.key, path=task.row.path, status="failed", reason=str(err))


def _score(task: FieldTask, tile_map: TileMap) -> FieldScore:
    sha256 = _checked_sha256(task)
    with open_image(task.source, task.plane) as image:
        _check_info(task, image.info)
        is_whole = image.info.shape[0] * image.info.shape[1] <= task.tiling.whole_px
        if is_whole:
            native = image.read()
            check_pixels(native, task.source)
            return _score_whole(task, _frame(task, image, native), native, sha256)
        frame = _frame(task, image, None)
        return _score_tiled(task, frame, image, sha256, tile_map)


def working_shape_of(task: FieldTask) -> tuple[int, int]:
    """Return height and width of a field in working pixels, without reading its pixels.

    Raises
    ------
    InvalidDataError
        If its image cannot be read.
    """
    with open_image(task.source, task.plane) as image:
        pixel_size_um = task.row.pixel_size_um or image.info.pixel_size_um
        height, width = image.info.shape
        factor = _binning(task, image.info, pixel_size_um)
    return -(-height // factor), -(-width // factor)


def _binning(task: FieldTask, info: ImageInfo, pixel_size_um: float | None) -> int:
    settings = task.pipeline.scale
    if pixel_size_um is None:
        return _factor_of_unknown(info.shape, settings)
    return working_factor(pixel_size_um, settings.target_um)


def read_whole(task: FieldTask) -> tuple[Frame, NDArray[Any], str]:
    """Return a field with its pixels and the hash of its image, however large it is.

    Raises
    ------
    InvalidDataError
        If its image cannot be read or contradicts its manifest.
    """
    sha256 = _checked_sha256(task)
    with open_image(task.source, task.plane) as image:
        _check_info(task, image.info)
        native = image.read()
        check_pixels(native, task.source)
        return _frame(task, image, native), native, sha256


def _checked_sha256(task: FieldTask) -> str:
    """Return the hash of the image, and refuse one that is not the image the manifest speaks of."""
    sha256 = content_sha256(task.source)
    if task.row.sha256 is not None and task.row.sha256.lower() != sha256:
        raise InvalidDataError(
            f"{task.source}: sha256 differs from the manifest ({sha256[:12]}… against {task.row.sha256[:12]}…);"
            " the file was changed or damaged since."
        )
    return sha256


def _check_info(task: FieldTask, info: ImageInfo) -> None:
    """Refuse a half-copied store, whose holes would read as bare surface, and a picture too small to be measured."""
    if info.missing_percent > 0:
        raise InvalidDataError(
            f"{task.source}: {info.missing_percent:.3g} % of its chunks have no file; the copy is incomplete."
        )
    if min(info.shape) < SMALLEST_SIDE_PX:
        raise InvalidDataError(
            f"{task.source}: the image is only {info.shape[0]} x {info.shape[1]} pixels;"
            f" at least {SMALLEST_SIDE_PX} a side are needed."
        )


def _frame(task: FieldTask, image: FieldImage, native: NDArray[Any] | None) -> Frame:
    pixel_size_um = _pixel_size_um(task, image.info)
    return frame_of(image, native, pixel_size_um, _binning(task, image.info, pixel_size_um))


def _pixel_size_um(task: FieldTask, info: ImageInfo) -> float | None:
    """Return the pixel size of manifest or file, and refuse two that differ by more than one percent."""
    stated, embedded = task.row.pixel_size_um, info.pixel_size_um
    if stated is not None and embedded is not None and abs(stated - embedded) > SIZE_TOLERANCE * embedded:
        raise InvalidDataError(
            f"{task.source}: pixel size is {stated:g} µm in the manifest but {embedded:g} µm in the file; correct one."
        )
    return stated if stated is not None else embedded


def _factor_of_unknown(shape: tuple[int, int], settings: ScaleSettings) -> int:
    """Return the binning of a picture of unknown scale: a camera's field of view is 1 to 2 mm whatever its pixels."""
    return min(settings.unknown_factor_max, -(-max(shape) // settings.unknown_side_px))


# --- whole fields ----------------------------------------------------------------------------------------------------


def _score_whole(task: FieldTask, frame: Frame, native: NDArray[Any], sha256: str) -> FieldScore:
    working = to_working(native, frame.factor, frame.scale)
    overview = overview_of_pixels(native, working, frame)
    judgeable, report, notes = _judge(task, overview)
    if not report.is_judgeable:
        return _rejected(task, frame, report, notes, sha256)
    sizes = contrast_filter(task.pipeline.contrast, frame.working_pixel_size_um)
    mean_level = _mean_level(overview, judgeable)
    picture = texture(working, mean_level, sizes)
    region = Region(0, working.shape[0], 0, working.shape[1])
    judged = _judgeable_tile(judgeable, overview, region)
    settings = task.pipeline.contrast
    counts = texture_histogram(picture, judged)
    levels = contrast_levels(counts, mean_level, noise_log(overview, judgeable, settings), settings)
    foreground = foreground_mask(picture, levels, sizes) & judged
    hints = Hints(report.figures.get("focus_ratio"), task.row.modality)
    network = network_of(task, frame, hints, lambda r: native[r.y0 : r.y1, r.x0 : r.x1])
    if network is None:
        parts, local = tile_parts(foreground, region, working.shape[1])
        objects = join_parts([parts], working.shape, frame.factor, frame.info.shape, frame.pixel_size_um)
        labels, seen, opinion = objects.lookups[0][local], areas(judged, judged, foreground), None
        aggregates, description = None, None
    else:
        look = network.look_whole(native, working, judged, foreground)
        assert look.masks is not None
        labels, judged, aggregates = look.masks
        objects, seen, opinion, description = look.objects, look.areas, look.opinion, look.description
    if is_low_attachment(task.row.surface):
        found = measure_spheroids(task.pipeline, frame, working, judged, aggregates)
        return replace(_rejected(task, frame, report, notes, sha256), reason=found.reason, findings=found.figures)
    digest = None
    if task.labels_path is not None and seen.n_judgeable > 0:
        images = labels > 0, labels, judged.view(np.bool_)
        size = frame.pixel_size_um, frame.factor, frame.info.shape
        digest = write_labels(task.labels_path, *images, *size, aggregates)
    counted = _counted(task, objects, seen, opinion, digest, description)
    return _scored(task, frame, report, notes, sha256, counted, levels)


def network_of(
    task: FieldTask, frame: Frame, hints: Hints, read_native: Callable[[Region], NDArray[Any]]
) -> "NetworkField | None":
    """Return the network's way through a field, None where local contrast stands alone; only here torch is loaded."""
    settings = task.pipeline.network
    if settings is None:
        return None
    from msc_vision.batch.network_field import network_field

    assumed_um = task.pipeline.contrast.assumed_pixel_size_um / frame.factor
    found = network_field(settings, frame, assumed_um, read_native)
    return replace(found, describing=task.pipeline.describe if task.is_described else None, hints=hints)


def _counted(
    task: FieldTask,
    objects: ObjectTable,
    seen: Areas,
    opinion: Opinion | None,
    digest: str | None,
    description: Description | None = None,
) -> _Measured:
    """Return what was counted, with the doubts that the network leaves where there is one."""
    n_foreground = int(objects.table["area_px"].sum())
    settings = task.pipeline.network
    if opinion is None or settings is None:
        return _Measured(n_foreground, seen.n_judgeable, objects.table, digest)
    doubts = doubt(n_foreground, seen, opinion, settings.doubt)
    table = objects.table if description is None else description.objects
    return _Measured(n_foreground, seen.n_judgeable, table, digest, doubts, description)


def _judge(task: FieldTask, overview: Overview) -> tuple[NDArray[np.bool_], QualityReport, tuple[str, ...]]:
    judgeable, notes = judgeable_mask(overview, task.pipeline.artefacts)
    return judgeable, judge_field(overview, judgeable, task.pipeline.quality), notes


def _mean_level(overview: Overview, judgeable: NDArray[np.bool_]) -> float:
    return float(overview.block_mean[whole_blocks(overview, judgeable)].mean())


def _judgeable_tile(judgeable: NDArray[np.bool_], overview: Overview, region: Region) -> NDArray[np.uint8]:
    """Return the judgeable mask of a region of working pixels, 0 or 1."""
    step = overview.factor // overview.working_factor
    if step == 1:
        return np.ascontiguousarray(judgeable[region.y0 : region.y1, region.x0 : region.x1]).view(np.uint8)
    rows, columns = np.arange(region.y0, region.y1) // step, np.arange(region.x0, region.x1) // step
    return judgeable[np.ix_(rows, columns)].view(np.uint8)


# --- large fields ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Tiled:
    """What every tile of one field needs; plain values, so that a tile may be worked on in another thread."""

    task: FieldTask
    frame: Frame
    sizes: ContrastFilter
    mean_level: float
    overview: Overview
    judgeable: NDArray[np.bool_]

    def read(self, region: Region) -> NDArray[Any]:
        """Return a region of native pixels."""
        with open_image(self.task.source, self.task.plane) as image:
            return image.read(region)

    def picture(self, region: Region) -> tuple[Any, tuple[slice, slice]]:
        """Return the texture of a tile with its surroundings, and where the tile lies in it."""
        height, width = self.frame.working_shape
        depth = self.sizes.depth_px
        around = Region(
            max(region.y0 - depth, 0),
            min(region.y1 + depth, height),
            max(region.x0 - depth, 0),
            min(region.x1 + depth, width),
        )
        working = to_working(self.read(self.frame.native(around)), self.frame.factor, self.frame.scale)
        inner = (
            slice(region.y0 - around.y0, region.y1 - around.y0),
            slice(region.x0 - around.x0, region.x1 - around.x0),
        )
        return texture(working, self.mean_level, self.sizes), inner

    def histogram(self, region: Region) -> NDArray[np.int64]:
        """Return the texture histogram of a tile."""
        picture, inner = self.picture(region)
        return texture_histogram(picture.cropped(*inner), self.judged(region))

    def judged(self, region: Region) -> NDArray[np.uint8]:
        """Return the judgeable mask of a tile."""
        return _judgeable_tile(self.judgeable, self.overview, region)


def _score_tiled(task: FieldTask, frame: Frame, image: FieldImage, sha256: str, tile_map: TileMap) -> FieldScore:
    overview = overview_of(image, frame)
    check_pixels(overview.image, task.source)
    judgeable, report, notes = _judge(task, overview)
    if not report.is_judgeable:
        return _rejected(task, frame, report, notes, sha256)
    if is_low_attachment(task.row.surface):
        return replace(
            _rejected(task, frame, report, notes, sha256), reason=f"{LOW_ATTACHMENT} the field is too large."
        )
    sizes = contrast_filter(task.pipeline.contrast, frame.working_pixel_size_um)
    tiled = _Tiled(task, frame, sizes, _mean_level(overview, judgeable), overview, judgeable)
    tiles = list(_tiles(frame.working_shape, task.tiling.tile_px))
    counts = sum(tile_map(tiled.histogram, tiles), start=np.zeros(1, np.int64))
    settings = task.pipeline.contrast
    levels = contrast_levels(counts, tiled.mean_level, noise_log(overview, judgeable, settings), settings)
    network = network_of(task, frame, Hints(report.figures.get("focus_ratio"), task.row.modality), tiled.read)
    if network is None:
        counted = _measure_tiles(tiled, levels, tiles, tile_map)
    else:
        counted = _look_tiled(network, tiled, levels, tiles, tile_map)
    return _scored(task, frame, report, notes, sha256, counted, levels)


def _tiles(shape: tuple[int, int], tile_px: int) -> Iterator[Region]:
    height, width = shape
    for y0 in range(0, height, tile_px):
        for x0 in range(0, width, tile_px):
            yield Region(y0, min(y0 + tile_px, height), x0, min(x0 + tile_px, width))


def _measure_tiles(tiled: _Tiled, levels: ContrastLevels, tiles: list[Region], tile_map: TileMap) -> _Measured:
    """Segment tile by tile; objects are joined at the seams before their labels are written."""
    frame, target = tiled.frame, tiled.task.labels_path
    width = frame.working_shape[1]

    def masked(region: Region) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        picture, (rows, columns) = tiled.picture(region)
        judged = tiled.judged(region)
        mask = foreground_mask(picture, levels, tiled.sizes)[rows, columns]
        return np.ascontiguousarray(mask) & judged, judged

    def joined(parts: list[TileParts]) -> ObjectTable:
        return join_parts(parts, frame.working_shape, frame.factor, frame.info.shape, frame.pixel_size_um)

    if target is None:

        def count(region: Region) -> tuple[TileParts, Areas]:
            foreground, judged = masked(region)
            return tile_parts(foreground, region, width)[0], areas(judged, judged, foreground)

        found = list(tile_map(count, tiles))
        objects = joined([parts for parts, _ in found])
        return _counted(tiled.task, objects, sum((seen for _, seen in found), start=Areas()), None, None)

    with LabelsWriter(target, frame.working_shape, frame.pixel_size_um, frame.factor, frame.info.shape) as writer:

        def segment(region: Region) -> tuple[TileParts, Areas]:
            foreground, judged = masked(region)
            writer.write_tile(region, foreground.view(np.bool_), None, judged.view(np.bool_))
            return tile_parts(foreground, region, width)[0], areas(judged, judged, foreground)

        def number(region: Region, lookup: NDArray[np.int32]) -> None:
            foreground = writer.read_foreground(region)
            writer.write_tile(region, None, lookup[label_parts(foreground.view(np.uint8))], None)

        found = list(tile_map(segment, tiles))
        objects = joined([parts for parts, _ in found])
        for _ in tile_map(number, tiles, objects.lookups):
            pass
    return _counted(tiled.task, objects, sum((seen for _, seen in found), start=Areas()), None, labels_sha256(target))


def _look_tiled(
    network: "NetworkField", tiled: _Tiled, levels: ContrastLevels, tiles: list[Region], tile_map: TileMap
) -> _Measured:
    """Let the network look at a large field, beside what local contrast says of it."""
    task = tiled.task

    def contrast(region: Region) -> NDArray[np.uint8]:
        picture, inner = tiled.picture(region)
        return np.ascontiguousarray(foreground_mask(picture, levels, tiled.sizes)[inner])

    look = network.look_tiled(tiled.read, tiled.judged, contrast, tiles, task.labels_path, tile_map)
    digest = None
    if task.labels_path is not None and look.areas.n_judgeable > 0:
        digest = labels_sha256(task.labels_path)
    return _counted(task, look.objects, look.areas, look.opinion, digest, look.description)


# --- outcomes --------------------------------------------------------------------------------------------------------


def _rejected(task: FieldTask, frame: Frame, report: QualityReport, notes: tuple[str, ...], sha256: str) -> FieldScore:
    return FieldScore(
        key=task.key,
        path=task.row.path,
        status="rejected",
        reason=report.reason,
        **common_figures(frame, report, notes, sha256),
    )


def _scored(
    task: FieldTask,
    frame: Frame,
    report: QualityReport,
    notes: tuple[str, ...],
    sha256: str,
    counted: _Measured,
    levels: ContrastLevels,
) -> FieldScore:
    if counted.n_judgeable == 0:
        hidden = replace(report, is_judgeable=False, reason=HIDDEN)
        return _rejected(task, frame, hidden, notes, sha256)
    if task.objects_path is not None:
        _save_objects(task.objects_path, counted.objects)
    common = common_figures(frame, report, notes, sha256)
    if levels.is_uncertain:
        common["flags"] = (*common["flags"], _UNCLEAR)
        common["notes"] = (*common["notes"], BARE_OR_FULL)
    figures = {} if counted.doubt is None else counted.doubt.figures
    if counted.doubt is not None:
        common["flags"] = (*common["flags"], *counted.doubt.flags)
        common["notes"] = (*common["notes"], *counted.doubt.notes)
    if counted.description is not None:
        flags, flaw_notes = surface_flaws(counted.description.flaws, frame)
        common["flags"] = (*common["flags"], *flags)
        common["notes"] = (*common["notes"], *flaw_notes)
    common["quality"] = report.figures | figures | {"texture_bare_log": levels.bare, "texture_limit_log": levels.limit}
    pixel = frame.pixel_size_um
    n_working = frame.working_shape[0] * frame.working_shape[1]
    judgeable_share = counted.n_judgeable / n_working
    area_mm2 = None if pixel is None else frame.info.shape[0] * frame.info.shape[1] * pixel**2 / 1e6
    return FieldScore(
        key=task.key,
        path=task.row.path,
        status="scored",
        confluency_percent=100.0 * counted.n_foreground / counted.n_judgeable,
        judgeable_percent=100.0 * judgeable_share,
        field_area_mm2=area_mm2,
        judgeable_area_mm2=None if area_mm2 is None else area_mm2 * judgeable_share,
        n_objects=len(counted.objects),
        labels_sha256=counted.labels_sha256,
        **described(counted.description, frame),
        **common,
    )


def described(description: Description | None, frame: Frame) -> dict[str, Any]:
    """Return what a score says of a description; nothing without one."""
    if description is None:
        return {}
    return {
        "morphology": description.morphology,
        "findings": description.findings,
        "contamination": description.signs.outcome,
        "contamination_note": description.signs.reason,
        "contamination_places": tuple(_place_text(place, frame) for place in description.signs.places),
    }


def surface_flaws(found: Sequence[SurfaceFinding], frame: Frame) -> tuple[tuple[Flag, ...], tuple[str, ...]]:
    """Return the flags of what is wrong with the surface, and where some of each kind are, in pixels of the image."""
    by_flag = {flag: [one for one in found if one.kind == kind] for kind, flag in FLAW_FLAGS.items()}
    told = [one for flaws in by_flag.values() for one in flaws[:_FLAWS_TOLD]]
    notes = []
    for one in told:
        if one.box_px is not None:
            box = frame.native(Region(*one.box_px))
            notes.append(f"{one.note} It lies in rows {box.y0} to {box.y1}, columns {box.x0} to {box.x1}.")
    return tuple(flag for flag, flaws in by_flag.items() if flaws), tuple(notes)


def _place_text(place: Place, frame: Frame) -> str:
    native = frame.native(Region(place.y0_px, place.y1_px, place.x0_px, place.x1_px))
    return f"{place.sign} {native.y0}:{native.y1},{native.x0}:{native.x1}"


def common_figures(frame: Frame, report: QualityReport, notes: tuple[str, ...], sha256: str) -> dict[str, Any]:
    """Return what a score says of any field that could be read."""
    info = frame.info
    scale_note = (
        (f"No pixel size is known: filter sizes assume a picture {frame.working_shape[1]} working pixels wide.",)
        if frame.pixel_size_um is None
        else ()
    )
    return {
        "height_px": info.shape[0],
        "width_px": info.shape[1],
        "dtype": info.dtype,
        "pixel_size_um": frame.pixel_size_um,
        "working_pixel_size_um": frame.working_pixel_size_um,
        "working_factor": frame.factor,
        "channel_name": info.channel_name,
        "time_index": info.time,
        "z_index": info.z,
        "quality": dict(report.figures),
        "flags": report.flags,
        "notes": (*info.notes, *scale_note, *notes),
        "image_sha256": sha256,
    }


def _save_objects(path: Path, table: NDArray[np.void]) -> None:
    """Write an object table in one piece or not at all."""
    draft = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as stream:
            np.save(stream, table, allow_pickle=False)
        draft.replace(path)
    except OSError as err:
        draft.unlink(missing_ok=True)
        raise OutputError(f"{path}: cannot write the object table: {err.strerror or err}.") from err
