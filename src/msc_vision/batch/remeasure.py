"""Measure a field again whose masks a person corrected: at once what the masks alone tell, then as a run does."""

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from msc_vision.batch.describe import CELL, Description, Hints, View
from msc_vision.batch.field import FieldTask, common_figures, described, network_of, read_whole, surface_flaws
from msc_vision.batch.low_attachment import LOW_ATTACHMENT, is_low_attachment
from msc_vision.batch.pipeline import NetworkSettings, Pipeline
from msc_vision.errors import InvalidArgumentError, InvalidDataError, UndefinedResultError
from msc_vision.findings.surface import FLAW_FLAGS
from msc_vision.imaging.frame import Frame
from msc_vision.imaging.normalise import to_working
from msc_vision.morphology.density import DensitySettings, field_density
from msc_vision.records import FieldScore, QualityReport
from msc_vision.review.masks import FieldMasks
from msc_vision.segmentation.objects import compact_labels, label_pieces, object_table

if TYPE_CHECKING:
    from msc_vision.batch.network_field import NetworkField

NOTHING_JUDGEABLE = "Nothing of the field is judgeable: reject the field, or mark what can be judged."
_FLAW_NOTE = re.compile(r" It lies in rows \d+ to \d+, columns \d+ to \d+\\.$")


def quick_score(
    score: FieldScore,
    masks: FieldMasks,
    density: DensitySettings = DensitySettings(),  # noqa: B008  (frozen)
) -> FieldScore:
    """Return the score of a field with what follows from its masks at once: cover, judgeable area, cells, aggregates.

    Figures that need the picture again (shapes, order, visual signs) stay as they were; `measure_masks` takes them.
    A field without a confluency stays as it is: its masks alone do not make up for a picture that cannot be judged.

    Parameters
    ----------
    score : FieldScore
    masks : FieldMasks
    density : DensitySettings
        Of the recipe: up to which cover cells are counted.

    Raises
    ------
    UndefinedResultError
        If nothing is judgeable.
    """
    if score.status != "scored":
        return score
    judged = masks.judgeable
    n_judgeable = int(np.count_nonzero(judged))
    if not n_judgeable:
        raise UndefinedResultError(NOTHING_JUDGEABLE)
    n_covered = int(np.count_nonzero(covered_mask(masks)))
    share = n_judgeable / judged.size
    percent = 100.0 * n_covered / n_judgeable
    cells = np.where(judged, masks.cells, 0)
    n_cells = n_labels(cells)
    n_aggregates = n_labels(masks.aggregates)
    area_mm2 = None if score.field_area_mm2 is None else score.field_area_mm2 * share
    has_aggregates = "n_aggregates" in score.findings
    findings = dict(score.findings)
    if has_aggregates:
        findings |= _aggregate_figures(score, masks, n_aggregates)
    morphology = dict(score.morphology)
    side_um = score.working_pixel_size_um
    counted_mm2 = None if side_um is None else n_judgeable * side_um**2 / 1e6
    for name in (figures := field_density(_touching(cells, n_cells), percent, counted_mm2, density)):
        if morphology and math.isfinite(figures[name]):
            morphology[name] = figures[name]
        else:
            morphology.pop(name, None)
    return replace(
        score,
        confluency_percent=percent,
        judgeable_percent=100.0 * share,
        judgeable_area_mm2=area_mm2,
        n_objects=n_cells + (n_aggregates if has_aggregates else 0),
        findings=findings,
        morphology=morphology,
    )


def covered_mask(masks: FieldMasks) -> NDArray[np.bool_]:
    """Return what counts as covered: foreground and cells, where it can be judged."""
    covered: NDArray[np.bool_] = (masks.foreground | (masks.cells > 0)) & masks.judgeable
    return covered


def n_labels(labels: NDArray[np.int32]) -> int:
    """Return how many numbers occur in labels."""
    return int(np.count_nonzero(np.bincount(labels.ravel())[1:]))


def _touching(cells: NDArray[np.int32], n_cells: int) -> NDArray[np.bool_]:
    """Return for each cell whether it touches the rim of the field."""
    rim = np.unique(np.concatenate([cells[0], cells[-1], cells[:, 0], cells[:, -1]]))
    n_touching = int(np.count_nonzero(rim))
    return np.arange(n_cells) < n_touching


def _aggregate_figures(score: FieldScore, masks: FieldMasks, n_aggregates: int) -> dict[str, float]:
    """Return the figures of aggregates, as `summarise_aggregates` defines them; without a pixel size no density."""
    piled = masks.aggregates > 0
    n_area = int(np.count_nonzero(masks.judgeable | piled))
    percent = 100 * int(np.count_nonzero(piled)) / n_area
    rim = np.unique(np.concatenate([masks.aggregates[-1], masks.aggregates[:, -1]]))
    n_counted = n_aggregates - int(np.count_nonzero(rim))
    found = {
        "n_aggregates": float(n_aggregates),
        "n_counted": float(n_counted),
        "aggregate_area_percent": percent,
    }
    if score.pixel_size_um is not None and score.working_factor is not None:
        found["aggregates_per_cm2"] = n_counted / (n_area * (score.pixel_size_um * score.working_factor) ** 2 / 1e8)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class SecondLook:
    """The picture of a field with what the network says of it, kept while its masks are edited.

    Attributes
    ----------
    task : FieldTask
    working : (Y, X) uint16 array
    maps : (6, Y, X) uint8 array or None
        None for recipes without a network.
    frame : Frame
        How the picture became working pixels.
    network : NetworkField or None
    image_sha256 : str
    """

    task: FieldTask
    working: NDArray[np.uint16]
    maps: NDArray[np.uint8] | None
    frame: Frame
    network: "NetworkField | None"
    image_sha256: str


def second_look(task: FieldTask) -> SecondLook:
    """Read a field and let the network look at it; what it takes is nearly all of what scoring the field takes.

    Raises
    ------
    InvalidDataError
        If its image cannot be read, or the network here is not the one of the run.
    """
    frame, native, sha256 = read_whole(task)
    working = to_working(native, frame.factor, frame.scale)
    settings = task.pipeline.network
    if settings is None:
        return SecondLook(task, working, None, frame, None, sha256)
    _check_network(settings)
    network = network_of(task, frame, Hints(), lambda r: native[r.y0 : r.y1, r.x0 : r.x1])
    assert network is not None
    maps, _ = network.maps_whole(native, working)
    return SecondLook(task, working, maps, frame, network, sha256)


def prepare(pipeline: Pipeline) -> None:
    """Load the network of a recipe, which takes seconds the first time, so that the first look need not wait for it.

    Raises
    ------
    InvalidDataError
        If the network here is not the one of the run.
    """
    if pipeline.network is not None:
        from msc_vision.batch.network_field import load_network  # loads torch

        _check_network(pipeline.network)
        load_network(pipeline.network)


def _check_network(settings: NetworkSettings) -> None:
    from msc_vision.segmentation.network.weights import model_sha256  # loads torch

    found = model_sha256(settings.model)
    if settings.model_sha256 not in (None, found):
        raise InvalidDataError(
            f"Network {settings.model} here is another one (sha256 {found[:12]}…) than that of the run"
            f" ({str(settings.model_sha256)[:12]}…): install the msc-vision that made the run, or score it again."
        )


def measure_masks(look: SecondLook, score: FieldScore, masks: FieldMasks) -> tuple[FieldScore, NDArray[np.void]]:
    """Measure a field with corrected masks as a run measures one; return its score and its table of objects.

    Objects keep the numbers they have in the masks. Flags and figures of quality are those of the run: they tell of
    the picture, and a person who looked at it may accept the field.

    Parameters
    ----------
    look : SecondLook
    score : FieldScore
        As the run found it: quality and provenance are taken from it.
    masks : FieldMasks

    Raises
    ------
    UndefinedResultError
        If nothing is judgeable, or the surface is one on which cells do not attach.
    InvalidDataError
        If the image is not the one that was scored.
    InvalidArgumentError
        If the masks are not of this field.
    """
    _check(look, score, masks)
    frame, judged = look.frame, masks.judgeable
    cells, cell_numbers = compact_labels(np.where(judged, masks.cells, 0).astype(np.int32, copy=False))
    table = _object_table(cells, frame)
    described_as, objects = _described(look, score, masks, cells, table)
    objects = _renumbered(objects, cell_numbers, compact_labels(masks.aggregates)[1])
    n_judgeable = int(np.count_nonzero(judged))
    share = n_judgeable / judged.size
    pixel = frame.pixel_size_um
    area_mm2 = None if pixel is None else frame.info.shape[0] * frame.info.shape[1] * pixel**2 / 1e6
    found = replace(
        score if score.status != "failed" else _of_picture(look, score),
        status="scored",
        reason=None,
        confluency_percent=100.0 * int(np.count_nonzero(covered_mask(masks))) / n_judgeable,
        judgeable_percent=100.0 * share,
        field_area_mm2=area_mm2,
        judgeable_area_mm2=None if area_mm2 is None else area_mm2 * share,
        n_objects=len(objects),
    )
    return (found if described_as is None else _with_description(found, described_as, frame)), objects


def _check(look: SecondLook, score: FieldScore, masks: FieldMasks) -> None:
    if masks.shape != look.working.shape:
        raise InvalidArgumentError(f"Masks of {masks.shape} are not of a field of {look.working.shape} working pixels.")
    if score.image_sha256 not in (None, look.image_sha256):
        raise InvalidDataError(
            f"{look.task.source}: it is not the image that was scored (sha256 {look.image_sha256[:12]}…, it was"
            f" {str(score.image_sha256)[:12]}…): put the image back, or score the folder again."
        )
    if is_low_attachment(look.task.row.surface):
        raise UndefinedResultError(f"{LOW_ATTACHMENT} its spheroids are not measured by hand.")
    if not masks.judgeable.any():
        raise UndefinedResultError(NOTHING_JUDGEABLE)


def _object_table(cells: NDArray[np.int32], frame: Frame) -> NDArray[np.void]:
    pieces = label_pieces(cells)
    n = pieces.area.size
    shapes = frame.working_shape, frame.factor, frame.info.shape, frame.pixel_size_um
    return object_table([pieces], np.arange(1, n + 1), n, *shapes)


def _described(
    look: SecondLook, score: FieldScore, masks: FieldMasks, cells: NDArray[np.int32], table: NDArray[np.void]
) -> tuple[Description | None, NDArray[np.void]]:
    """Return what the field is beyond its labels, where the recipe has a network, and the table of its objects."""
    if look.network is None or look.maps is None or not look.task.is_described:
        return None, table
    judged = masks.judgeable.view(np.uint8)
    loose = covered_mask(masks) & (cells == 0)
    view = View(look.working, cells, judged, look.maps, loose.view(np.uint8) if loose.any() else None)
    painted, _ = compact_labels(masks.aggregates)
    hints = Hints(score.quality.get("focus_ratio"), look.task.row.modality)
    found = look.network.describe_whole(view, table, painted, hints, look.task.pipeline.describe)
    return found, found.objects


def _renumbered(objects: NDArray[np.void], cells: NDArray[np.int32], aggregates: NDArray[np.int32]) -> NDArray[np.void]:
    """Return a table of objects with the numbers that they have in the masks."""
    names = objects.dtype.names or ()
    is_cell = objects["kind"] == CELL if "kind" in names else np.ones(len(objects), np.bool_)
    numbered = objects.copy()
    for chosen, numbers in ((is_cell, cells), (~is_cell, aggregates)):
        numbered["label"][chosen] = numbers[objects["label"][chosen] - 1]
    return numbered


def _of_picture(look: SecondLook, score: FieldScore) -> FieldScore:
    """Return the score of a field that could not be scored, with what its picture tells by itself."""
    known = common_figures(look.frame, QualityReport(True, None), (), look.image_sha256)
    return replace(score, **known)


def _with_description(score: FieldScore, found: Description, frame: Frame) -> FieldScore:
    flags, notes = surface_flaws(found.flaws, frame)
    kept_flags = tuple(one for one in score.flags if one not in FLAW_FLAGS.values())
    kept_notes = tuple(one for one in score.notes if not _FLAW_NOTE.search(one))
    return replace(score, flags=(*kept_flags, *flags), notes=(*kept_notes, *notes), **described(found, frame))
