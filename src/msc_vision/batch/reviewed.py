"""A finished run together with what people said of it: masks, figures, layers and vessels after the review.

The files of the run are never written to. The same events give the same figures, whoever reads them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msc_vision.batch.field import FieldTask
from msc_vision.batch.pipeline import Pipeline
from msc_vision.records import FieldScore
from msc_vision.review.events import Deed, Reviewer, ReviewEvent
from msc_vision.review.masks import FieldMasks, MaskPatch
from msc_vision.review.state import ReviewState
from msc_vision.statistics.character import Characters, Yardsticks
from msc_vision.statistics.rollup import ScoredField
from msc_vision.statistics.vessel_rollup import BatchEstimate, VesselEstimate
from msc_vision.vessels import Catalogue


@dataclass(frozen=True, slots=True)
class RunFigures:
    """Every figure of a run at one moment of its review.

    Attributes
    ----------
    fields : mapping of str to ScoredField
        By key, in the order of the manifest.
    vessels : tuple of VesselEstimate
        Each with its layers.
    batches : tuple of BatchEstimate
    characters : Characters
    """

    fields: Mapping[str, ScoredField]
    vessels: tuple[VesselEstimate, ...]
    batches: tuple[BatchEstimate, ...]
    characters: Characters

    def vessel(self, vessel_id: str) -> VesselEstimate:
        """Return the estimate of one vessel."""
        return next(one for one in self.vessels if one.vessel_id == vessel_id)


class ReviewedRun:
    """A finished run, its review, and its figures kept at hand, so that one changed field costs one layer.

    Attributes
    ----------
    folder : Path
    record : mapping
        Content of run.json.
    pipeline : Pipeline
        The recipe it was scored with.
    original : RunFigures
        As the run found them.
    state : ReviewState
    problems : tuple of str
        What in ``reviews/`` cannot be relied on; sentences.
    """

    folder: Path
    record: Mapping[str, Any]
    pipeline: Pipeline
    catalogue: Catalogue
    original: RunFigures
    state: ReviewState
    problems: tuple[str, ...]

    @classmethod
    def open(
        cls, folder: Path, *, catalogue: Catalogue | None = None, yardsticks: Yardsticks | None = None
    ) -> "ReviewedRun":
        """Open a finished run.

        Parameters
        ----------
        yardsticks : Yardsticks, optional
            The baseline and calibration that the run was made with; a corrected field is compared with them again.

        Raises
        ------
        InvalidArgumentError, InvalidDataError
            If it is no run folder, its run is not finished, was written by a newer version, or a file is damaged.
        """
        raise NotImplementedError

    @property
    def run_id(self) -> str:
        """Return the id of the run."""
        raise NotImplementedError

    def refresh(self) -> tuple[ReviewEvent, ...]:
        """Read events that others added meanwhile, and return them."""
        raise NotImplementedError

    def act(self, reviewer: Reviewer, deed: Deed, *, at: datetime | None = None) -> ReviewEvent:
        """Write what somebody did to the run folder, take it in and return it; the moment is now unless stated.

        Raises
        ------
        InvalidArgumentError
            As `new_event`.
        OutputError
            If it cannot be written: the disk is full or read-only. Then nothing is taken in.
        """
        raise NotImplementedError

    def edit(self, key: str, patch: MaskPatch, reviewer: Reviewer, tool: str) -> ReviewEvent:
        """Write a correction of the masks of a field, take it in and return its event; errors as `act`.

        Parameters
        ----------
        tool : str
            What made it: ``paint``, ``erase``, ``split``, ``merge``, ``not judgeable``, ``undo``, ``redo``,
            ``proposal`` (a re-run that was accepted), ``annotation``.
        """
        raise NotImplementedError

    def task(self, key: str) -> FieldTask:
        """Return how a field was scored, for scoring it again: its image is where run.json says; nothing is written."""
        raise NotImplementedError

    def original_masks(self, key: str) -> FieldMasks:
        """Return the masks of a field as the run wrote them; of a field without any, empty ones of its working size."""
        raise NotImplementedError

    def masks(self, key: str) -> FieldMasks:
        """Return the masks of a field after all corrections."""
        raise NotImplementedError

    def figures(self) -> RunFigures:
        """Return every figure after the review as it stands."""
        raise NotImplementedError

    def with_score(self, key: str, score: FieldScore) -> RunFigures:
        """Return every figure as if a field had another score: what follows an edit before it is measured for good."""
        raise NotImplementedError


def quick_score(score: FieldScore, masks: FieldMasks) -> FieldScore:
    """Return the score of a field with what follows from its masks at once: cover, judgeable area, cells, aggregates.

    Figures that need the picture again (shapes, order, visual signs) stay as they were; `measure_masks` takes them.

    Raises
    ------
    UndefinedResultError
        If nothing is judgeable.
    """
    raise NotImplementedError


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


def measured_content(masks: FieldMasks, score: FieldScore) -> dict[str, Any]:
    """Return what an event ``measured`` keeps as ``after``."""
    raise NotImplementedError


def unmeasured(run: ReviewedRun) -> Sequence[str]:
    """Return the keys of fields whose masks were corrected after their figures were taken, as after a crash."""
    raise NotImplementedError
