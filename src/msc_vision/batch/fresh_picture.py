"""A recipe's masks of a picture that belongs to no run, for a person to begin an annotation with."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from msc_vision.batch.field import FieldTask, score_field
from msc_vision.batch.pipeline import Pipeline
from msc_vision.errors import InvalidArgumentError, InvalidDataError
from msc_vision.io.images import content_sha256, open_image
from msc_vision.io.labels import read_aggregates, read_judgeable, read_labels
from msc_vision.records import ManifestRow, PlaneChoice
from msc_vision.review.masks import FieldMasks, empty_masks

KEY = "annotation"


@dataclass(frozen=True, slots=True, eq=False)
class FirstMasks:
    """What a recipe proposes.

    Attributes
    ----------
    image : Path
    image_sha256 : str
        Of the file that was looked at.
    masks : FieldMasks
        At the working resolution; empty where the recipe refuses to judge the picture.
    factor : int
        Native pixels a side of a working one.
    shape : (int, int)
        Of the picture, native pixels.
    pixel_size_um : float
        Of a native pixel.
    plane : PlaneChoice
        The plane of the file that was taken.
    recipe : str
        Its name, and the network's.
    reason : str or None
        Why it proposes nothing.
    """

    image: Path
    image_sha256: str
    masks: FieldMasks
    factor: int
    shape: tuple[int, int]
    pixel_size_um: float
    plane: PlaneChoice
    recipe: str
    reason: str | None = None


def embedded_pixel_size_um(image: Path) -> float | None:
    """Return what a file states as its pixel size.

    Raises
    ------
    InvalidDataError
        If it is no picture, or damaged.
    """
    with open_image(image) as opened:
        return opened.info.pixel_size_um


def first_masks(image: Path, pipeline: Pipeline, pixel_size_um: float | None = None) -> FirstMasks:
    """Return what a recipe sees in a picture.

    Parameters
    ----------
    image : Path
    pipeline : Pipeline
    pixel_size_um : float, optional
        For a file that states none.

    Raises
    ------
    InvalidArgumentError
        If nobody knows the pixel size.
    InvalidDataError
        If the picture cannot be read, or states another pixel size.
    """
    stated = embedded_pixel_size_um(image)
    if stated is None and pixel_size_um is None:
        raise InvalidArgumentError(f"{image.name}: its pixel size is not known; state it in µm, such as 0.65.")
    row = ManifestRow(path=str(image), vessel_id="", vessel_type="", layer=1, pixel_size_um=pixel_size_um)
    with tempfile.TemporaryDirectory(prefix="msc-vision-") as folder:
        labels = Path(folder) / "labels.ome.zarr"
        score = score_field(FieldTask(KEY, image.absolute(), row, pipeline, labels, None, is_described=False))
        if score.status == "failed" or score.height_px is None or score.width_px is None:
            raise InvalidDataError(score.reason or f"{image}: cannot be read.")
        shape, factor = (score.height_px, score.width_px), score.working_factor or 1
        masks = _read(labels) if labels.exists() else empty_masks((-(-shape[0] // factor), -(-shape[1] // factor)))
    return FirstMasks(
        image=image.absolute(),
        image_sha256=score.image_sha256 or content_sha256(image),
        masks=masks,
        factor=factor,
        shape=shape,
        pixel_size_um=float(score.pixel_size_um or pixel_size_um or 0.0),
        plane=PlaneChoice(time=score.time_index, z=score.z_index),
        recipe=_recipe(pipeline),
        reason=score.reason,
    )


def _read(labels: Path) -> FieldMasks:
    foreground, cells, _ = read_labels(labels)
    return FieldMasks(foreground, cells, read_judgeable(labels), read_aggregates(labels))


def _recipe(pipeline: Pipeline) -> str:
    network = "" if pipeline.network is None else f", network {pipeline.network.model}"
    return f"{pipeline.name}{network}"
