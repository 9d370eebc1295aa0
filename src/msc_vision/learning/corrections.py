"""Corrected masks as pictures with truth that ``msc-vision train FOLDER --from MODEL`` takes; no torch here.

A pair is ``X.tif`` (the grey picture that was judged, with its pixel size), ``X_labels.tif`` (int32, a number for each
cell, in the size of the picture), ``X_ignore.tif`` where a part of it teaches nothing, and ``X_origin.json``.
"""

import hashlib
import io
import json
import logging
import re
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from msc_vision import __version__
from msc_vision.batch.reviewed import ReviewedRun
from msc_vision.errors import InvalidArgumentError, InvalidDataError
from msc_vision.io.images import check_pixels, content_sha256, open_image
from msc_vision.io.labels import to_native
from msc_vision.io.output import output_errors, write_whole
from msc_vision.learning.sources import EVALUATION_ONLY, IGNORE_SUFFIX, LABELS_SUFFIX, PAIRS, list_rows
from msc_vision.records import PlaneChoice
from msc_vision.review.events import Deed, Reviewer, Target
from msc_vision.review.masks import FieldMasks

logger = logging.getLogger(__name__)
ORIGIN_SUFFIX = "_origin.json"
SCHEMA_VERSION = 1
_SIZE_TOLERANCE = 0.01


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a pair comes from.

    Attributes
    ----------
    reviewer : Reviewer
        Who stands for the masks.
    at : str
        When they were kept, ISO 8601 with zone.
    image : str
        File that the picture was read from.
    image_sha256, masks_sha256 : str
        Of that file, and of the masks at their working resolution.
    run_id, field : str or None
        Of a run's field; None for a picture that was annotated outside of a run.
    proposal : str or None
        Recipe whose masks the annotator began with; None for a run's field, whose run says it.
    """

    reviewer: Reviewer
    at: str
    image: str
    image_sha256: str
    masks_sha256: str
    run_id: str | None = None
    field: str | None = None
    proposal: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class TrainingPair:
    """A picture with its corrected labels, in the pixels of the picture.

    Attributes
    ----------
    name : str
        Stem of its files.
    picture : (Y, X) array
        Grey values in the type of the file.
    labels : (Y, X) int32 array
        Each cell its number.
    ignored : (Y, X) bool array
        What teaches nothing: not judgeable, or covered by cells that have no number of their own.
    pixel_size_um : float
    origin : Origin
    """

    name: str
    picture: NDArray[Any]
    labels: NDArray[np.int32]
    ignored: NDArray[np.bool_]
    pixel_size_um: float
    origin: Origin


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that was annotated, and how its masks lie on it.

    ``pixel_size_um`` None: the file states it. ``factor`` is native pixels a side of a pixel of the masks.
    """

    path: Path
    plane: PlaneChoice = PlaneChoice()  # noqa: RUF009  (frozen)
    pixel_size_um: float | None = None
    factor: int = 1


def training_pair(picture: Picture, masks: FieldMasks, origin: Origin, name: str | None = None) -> TrainingPair:
    """Return a picture with its masks as a pair.

    Parameters
    ----------
    picture : Picture
    masks : FieldMasks
        At their working resolution.
    origin : Origin
    name : str, optional
        Stem of the files; that of the picture by default.

    Raises
    ------
    InvalidArgumentError
        If nobody knows the pixel size, nothing is judgeable, or the masks are not of this picture.
    InvalidDataError
        If the picture cannot be read, or is not the file whose hash the origin states.
    """
    if not masks.judgeable.any():
        raise InvalidArgumentError(f"{picture.path.name}: nothing of it is judgeable, so there is nothing to learn.")
    if content_sha256(picture.path) != origin.image_sha256:
        raise InvalidDataError(
            f"{picture.path}: was changed since it was judged; its masks do not belong to it any more."
        )
    with open_image(picture.path, picture.plane) as image:
        size_um = _one_size(picture, image.info.pixel_size_um)
        pixels = image.read()
    check_pixels(pixels, picture.path)
    height, width = pixels.shape
    no_number = masks.foreground & (masks.cells == 0)
    ignored = to_native(~masks.judgeable | no_number, picture.factor, (height, width))
    labels = to_native(masks.cells, picture.factor, (height, width)).astype(np.int32, copy=False)
    return TrainingPair(_stem(name or picture.path.stem), pixels, labels, ignored, size_um, origin)


def _one_size(picture: Picture, embedded_um: float | None) -> float:
    stated = picture.pixel_size_um
    if stated is None and embedded_um is None:
        raise InvalidArgumentError(f"{picture.path.name}: its pixel size is not known; state it in µm, such as 0.65.")
    if stated is not None and embedded_um is not None and abs(stated - embedded_um) > _SIZE_TOLERANCE * embedded_um:
        raise InvalidArgumentError(
            f"{picture.path.name}: its file says {embedded_um:g} µm a pixel, you say {stated:g} µm; correct one."
        )
    return float(stated if stated is not None else embedded_um or 0.0)


def _stem(name: str) -> str:
    """Return a name that every file system takes."""
    return re.sub(r"[^\w.+-]", "-", name).strip(".-") or "picture"


# --- to disk ---------------------------------------------------------------------------------------------------------


def keep_pair(pair: TrainingPair, folder: Path, lists: Sequence[Path] = ()) -> Path:
    """Write a pair into a folder, and return the path of its labels.

    The same person may keep the same picture again, corrected further; nobody overwrites the pair of another.

    Parameters
    ----------
    pair : TrainingPair
    folder : Path
        Made if need be.
    lists : sequence of Path
        Further lists of annotated pictures (``pairs.csv``) that say what must not be learned from; those above the
        picture and above the folder are read in any case.

    Raises
    ------
    InvalidArgumentError
        If the picture is for evaluation only, or a pair of this name is that of another picture or person.
    OutputError
        If it cannot be written.
    """
    refuse_evaluation_only(Path(pair.origin.image), pair.origin.image_sha256, (*lists, *_lists_above(folder)))
    labels = folder / f"{pair.name}{LABELS_SUFFIX}"
    _refuse_another(pair, folder)
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / f"{pair.name}.tif", _tiff(pair.picture, pair.pixel_size_um))
    ignore = folder / f"{pair.name}{IGNORE_SUFFIX}"
    if pair.ignored.any():
        write_whole(ignore, _tiff(pair.ignored.astype(np.uint8), pair.pixel_size_um))
    else:
        with output_errors(ignore):
            ignore.unlink(missing_ok=True)
    content = _tiff(pair.labels, pair.pixel_size_um)
    write_whole(folder / f"{pair.name}{ORIGIN_SUFFIX}", _origin_text(pair, content).encode())
    write_whole(labels, content)  # last: training looks for labels, and then finds all of it
    return labels


def refuse_evaluation_only(image: Path, sha256: str, lists: Sequence[Path] = ()) -> None:
    """Refuse a picture that a list of annotated pictures keeps for evaluation.

    Parameters
    ----------
    image : Path
    sha256 : str
        Of the file; a copy of a listed picture is recognised by it.
    lists : sequence of Path
        Lists beside those that lie above the picture.

    Raises
    ------
    InvalidArgumentError
        Naming the set.
    """
    for pairs in dict.fromkeys((*_lists_above(image.parent), *lists)):
        for row in _known_rows(pairs):
            if row.get("use") != EVALUATION_ONLY:
                continue
            if row.get("sha256") == sha256 or (pairs.parent / row["image"]).resolve() == image.resolve():
                raise InvalidArgumentError(
                    f"{image.name} belongs to {row['set']}, which {pairs} keeps for evaluation only: a model that has "
                    "learned from it could not be judged by it any more. It was not kept for training."
                )


def _lists_above(folder: Path) -> tuple[Path, ...]:
    at = folder.resolve()
    return tuple(one / PAIRS for one in (at, *at.parents) if (one / PAIRS).is_file())


def _known_rows(pairs: Path) -> list[dict[str, str]]:
    try:
        return list_rows(pairs)
    except InvalidDataError as err:
        logger.warning("Not read as a list of annotated pictures: %s", err)
        return []


def _refuse_another(pair: TrainingPair, folder: Path) -> None:
    files = [folder / f"{pair.name}{suffix}" for suffix in (".tif", LABELS_SUFFIX, IGNORE_SUFFIX, ORIGIN_SUFFIX)]
    there = [path for path in files if path.exists()]
    if not there:
        return
    known = read_origin(folder, pair.name)
    if known is None:
        raise InvalidArgumentError(f"{there[0]} is there already and nobody knows whose it is; choose another folder.")
    if known.image_sha256 != pair.origin.image_sha256:
        raise InvalidArgumentError(
            f"{folder / pair.name}.tif is a pair of another picture ({known.image}); choose another folder."
        )
    if known.reviewer != pair.origin.reviewer:
        raise InvalidArgumentError(
            f"{known.reviewer.name} kept this picture for training already, on {known.at[:10]}; compare the two in "
            "the tab Compare, and choose another folder if both shall be kept."
        )


def read_origin(folder: Path, name: str) -> Origin | None:
    """Return where a pair in a folder comes from; None if that is not known."""
    try:
        found = json.loads((folder / f"{name}{ORIGIN_SUFFIX}").read_text(encoding="utf-8"))
        kept = {key: found[key] for key in Origin.__slots__}
        return Origin(**{**kept, "reviewer": Reviewer(**kept["reviewer"])})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _origin_text(pair: TrainingPair, labels: bytes) -> str:
    content = {
        "schema_version": SCHEMA_VERSION,
        "software": f"msc-vision {__version__}",
        **asdict(pair.origin),
        "pixel_size_um": pair.pixel_size_um,
        "labels_sha256": hashlib.sha256(labels).hexdigest(),
        "n_cells": int(np.count_nonzero(np.unique(pair.labels))),
        "ignored_percent": 100 * float(pair.ignored.mean()),
    }
    return json.dumps(content, sort_keys=True, indent=2, ensure_ascii=False) + "\n"


def _tiff(pixels: NDArray[Any], pixel_size_um: float) -> bytes:
    """Return a plane as an OME-TIFF, which states its pixel size without doubt; the same plane gives the same bytes."""
    unit = {"PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
    content = hashlib.sha256(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()
    sizes = {"PhysicalSizeX": pixel_size_um, "PhysicalSizeY": pixel_size_um, **unit}
    metadata = {"axes": "YX", "UUID": str(uuid.UUID(content[:32])), **sizes}  # without it, one by the clock
    buffer = io.BytesIO()
    options: dict[str, Any] = {"compression": "zlib", "compressionargs": {"level": 1}, "photometric": "minisblack"}
    tifffile.imwrite(buffer, pixels, ome=True, metadata=metadata, **options)
    return buffer.getvalue()


# --- a field of a run ------------------------------------------------------------------------------------------------


def field_pair(
    run: ReviewedRun, key: str, masks: FieldMasks, reviewer: Reviewer, *, at: datetime, image: Path | None = None
) -> TrainingPair:
    """Return a field of a run with its masks after all corrections as a pair.

    Parameters
    ----------
    run : ReviewedRun
    key : str
        Of the field.
    masks : FieldMasks
        Its masks after all corrections.
    reviewer : Reviewer
        Who stands for them.
    at : datetime
        With zone.
    image : Path, optional
        Where its picture lies now, if it was moved since the run.

    Raises
    ------
    InvalidArgumentError, InvalidDataError
        As `training_pair`; also if the field has no masks, because it was rejected or failed.
    """
    score, task = run.original.fields[key].score, run.task(key)
    if score.status == "failed" or score.image_sha256 is None:
        raise InvalidArgumentError(f"{score.path}: the field failed ({score.reason}), so it has no masks to keep.")
    if score.status == "rejected" and not run.state.of(key).edits:
        raise InvalidArgumentError(
            f"{score.path}: the field was rejected ({score.reason}) and nobody drew masks in it."
        )
    source = task.source if image is None else image
    origin = Origin(reviewer, at.isoformat(), str(source), score.image_sha256, masks.sha256, run.run_id, key)
    plane = replace(task.plane, time=score.time_index, z=score.z_index)  # a sharpest slice is not looked for again
    return training_pair(
        Picture(source, plane, score.pixel_size_um, score.working_factor or 1), masks, origin, name=key
    )


def kept_deed(run: ReviewedRun, key: str, pair: TrainingPair, labels: Path) -> Deed:
    """Return what is to be noted among the reviews of a run once a field was kept for training.

    Parameters
    ----------
    run : ReviewedRun
    key : str
        Of the field.
    pair : TrainingPair
    labels : Path
        As `keep_pair` returned it.
    """
    row = run.original.fields[key].row
    said = {
        "pair": str(labels.with_name(f"{pair.name}.tif")),
        "image_sha256": pair.origin.image_sha256,
        "masks_sha256": pair.origin.masks_sha256,
    }
    return Deed("kept-for-training", Target(row.vessel_id, row.layer, key), after=said)
