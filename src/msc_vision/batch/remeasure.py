"""Measure a field again whose masks a person corrected: at once what the masks alone tell, then as a run does."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from msc_vision.batch.field import FieldTask
from msc_vision.errors import UndefinedResultError
from msc_vision.morphology.density import DensitySettings, field_density
from msc_vision.records import FieldScore
from msc_vision.review.masks import FieldMasks


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
        raise UndefinedResultError("Nothing of the field is judgeable: reject the field, or mark what can be judged.")
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
    for name in (figures := field_density(_touching(cells, n_cells), percent, area_mm2, density)):
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
    """

    task: FieldTask
    working: NDArray[np.uint16]
    maps: NDArray[np.uint8] | None


def second_look(task: FieldTask) -> SecondLook:
    """Read a field and let the network look at it; takes about half a second for 2048 x 2048 pixels."""
    raise NotImplementedError


def measure_masks(look: SecondLook, score: FieldScore, masks: FieldMasks) -> tuple[FieldScore, NDArray[np.void]]:
    """Measure a field with corrected masks as a run measures one; return its score and its table of objects.

    Parameters
    ----------
    look : SecondLook
    score : FieldScore
        As the run found it: quality and provenance are taken from it.
    masks : FieldMasks

    Raises
    ------
    UndefinedResultError
        If nothing is judgeable.
    """
    raise NotImplementedError
