"""Masks of one field by other settings than the run's: a proposal that a person looks at and accepts or not."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from msc_vision.batch.field import FieldTask, score_field
from msc_vision.batch.pipeline import Pipeline, load_pipeline
from msc_vision.errors import InvalidArgumentError, UndefinedResultError
from msc_vision.io.labels import read_aggregates, read_judgeable, read_labels
from msc_vision.io.output import output_errors
from msc_vision.records import FieldScore
from msc_vision.review.masks import FieldMasks

Method = Literal["as the run", "network", "contrast"]
Gate = Literal["as the run", "whatever the quality"]
NETWORK_RECIPE = "default"
"""The recipe whose network proposes where the run had none."""
NO_GATE = {
    "focus_ratio_min": 1e-9,
    "level_min_percent": 0.0,
    "saturated_max_percent": 100.0,
    "noise_max_percent": 1e9,
    "judgeable_min_percent": 1e-9,
}
"""Limits that refuse nothing; what is black or of one grey value all over is refused all the same."""


class ProposalSettings(BaseModel):
    """What is done otherwise than in the run; None: as in the run. Names of settings as in ``pipelines/*.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Method = Field("as the run", description="network: outlines of cells; contrast: cover alone, no network")
    gate: Gate = Field("as the run", description="whether a field that is blurred, noisy or saturated is refused")
    pixel_size_um: float | None = Field(
        None, gt=0, description="of a native pixel, where neither file nor manifest say"
    )
    between: float | None = Field(
        None, ge=0, le=1, description="contrast.between: lower, and paler structure counts as cells"
    )
    debris_um2: float | None = Field(None, ge=0, description="contrast.debris_um2: smaller objects are debris")
    halo_um: float | None = Field(None, ge=0, description="contrast.halo_um: widest halo taken off a cell's edge")
    hole_um2: float | None = Field(None, ge=0, description="contrast.hole_um2: largest flat interior that is filled")


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """What other settings make of a field.

    Attributes
    ----------
    masks : FieldMasks
        At the working size that was asked for.
    score : FieldScore
    pipeline : Pipeline
        What it was made with.
    """

    masks: FieldMasks
    score: FieldScore
    pipeline: Pipeline


def propose_masks(task: FieldTask, settings: ProposalSettings, shape: tuple[int, int] | None = None) -> Proposal:
    """Score a field with other settings, without writing anything to its run.

    Parameters
    ----------
    task : FieldTask
        As the run scored it.
    settings : ProposalSettings
    shape : (int, int), optional
        Height and width of the masks, where they are to lie over others; theirs if None.

    Raises
    ------
    InvalidArgumentError
        If a pixel size is stated for a picture that has one, or a setting has no effect.
    UndefinedResultError
        If the field cannot be read, or is refused with these settings too.
    OutputError
        If the folder for temporary files is full.
    """
    pipeline = proposed_pipeline(task.pipeline, settings)
    row = task.row
    if settings.pixel_size_um is not None:
        if row.pixel_size_um is not None:
            raise InvalidArgumentError(
                f"The pixel size is known ({row.pixel_size_um:g} µm, by the manifest); leave it empty here."
            )
        row = replace(row, pixel_size_um=settings.pixel_size_um)
    root = Path(tempfile.gettempdir())
    with output_errors(root), tempfile.TemporaryDirectory(prefix="msc-vision-proposal-") as folder:
        store = Path(folder) / (f"{task.key}.ome.zarr" if task.labels_path is None else task.labels_path.name)
        score = score_field(replace(task, row=row, pipeline=pipeline, labels_path=store, objects_path=None))
        if score.status != "scored":
            raise UndefinedResultError(f"No proposal: {score.reason}{_hint(score, settings)}")
        masks = _read(store)
    return Proposal(masks if shape is None else _resized(masks, shape), score, pipeline)


def proposed_pipeline(pipeline: Pipeline, settings: ProposalSettings) -> Pipeline:
    """Return the recipe of a proposal: that of the run, with what is asked for otherwise.

    Raises
    ------
    InvalidArgumentError
        If a setting of the contrast method is given and the network finds the cells.
    """
    changes: dict[str, Any] = {}
    if settings.method == "contrast":
        changes["network"] = None
    elif settings.method == "network" and pipeline.network is None:
        changes["network"] = load_pipeline(NETWORK_RECIPE).network
    if settings.gate == "whatever the quality":
        changes["quality"] = pipeline.quality.model_copy(update=NO_GATE)
    contrast = _contrast_changes(pipeline, settings)
    if contrast and changes.get("network", pipeline.network) is not None:
        raise InvalidArgumentError(
            f"{', '.join(contrast)}: the network finds the cells, so this changes nothing; choose the method contrast."
        )
    if contrast:
        changes["contrast"] = pipeline.contrast.model_copy(update=contrast)
    return pipeline.model_copy(update=changes)


def _contrast_changes(pipeline: Pipeline, settings: ProposalSettings) -> dict[str, Any]:
    names = ("between", "debris_um2", "halo_um", "hole_um2")
    changes = {name: value for name in names if (value := getattr(settings, name)) is not None}
    if settings.between is not None:
        low, high = pipeline.contrast.between_range
        changes["between_range"] = (min(low, settings.between), max(high, settings.between))
    return changes


def _hint(score: FieldScore, settings: ProposalSettings) -> str:
    if score.status == "rejected" and settings.gate == "as the run":
        return " Choose “whatever the quality” to get a proposal all the same."
    return ""


def _read(store: Path) -> FieldMasks:
    foreground, cells, _ = read_labels(store)
    return FieldMasks(foreground, cells, read_judgeable(store), read_aggregates(store))


def _resized(masks: FieldMasks, shape: tuple[int, int]) -> FieldMasks:
    """Return masks of another size, each pixel that of the nearest one: another pixel size may bin otherwise."""
    if masks.shape == shape:
        return masks
    rows, columns = (_nearest(wanted, there) for wanted, there in zip(shape, masks.shape, strict=True))
    at = np.ix_(rows, columns)
    return FieldMasks(masks.foreground[at], masks.cells[at], masks.judgeable[at], masks.aggregates[at])


def _nearest(wanted: int, there: int) -> NDArray[np.intp]:
    return ((np.arange(wanted) + 0.5) * there / wanted).astype(np.intp)
