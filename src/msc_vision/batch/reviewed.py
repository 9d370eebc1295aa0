"""A finished run together with what people said of it: masks, figures, layers and vessels after the review.

The files of the run are never written to. The same events give the same figures, whoever reads them.
"""

import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from msc_vision.batch.field import FieldTask, Tiling
from msc_vision.batch.figures import FigureKeeper, RunFigures
from msc_vision.batch.pipeline import Pipeline
from msc_vision.batch.remeasure import SecondLook, measure_masks, quick_score, second_look
from msc_vision.batch.review_overlay import (
    measured_base,
    measured_content,
    measured_objects,
    objects_bytes,
    reviewed_field,
)
from msc_vision.batch.scored_run import ScoredRun, read_scored_run
from msc_vision.batch.store import labels_name
from msc_vision.errors import InvalidArgumentError, InvalidDataError, UndefinedResultError
from msc_vision.io.labels import read_aggregates, read_judgeable, read_labels
from msc_vision.morphology.baseline import Baseline
from msc_vision.records import FieldScore, PlaneChoice
from msc_vision.review.events import Deed, Reviewer, ReviewEvent, Target, new_event
from msc_vision.review.log import ReadLog, append_event, read_log, read_patch, save_blob, save_patch
from msc_vision.review.masks import FieldMasks, MaskPatch, apply_patch, empty_masks
from msc_vision.review.state import FieldReview, ReviewState, heads, with_events
from msc_vision.statistics.character import Yardsticks
from msc_vision.statistics.rollup import ScoredField
from msc_vision.vessels import Catalogue, load_catalogue

__all__ = [
    "ReviewedRun",
    "RunFigures",
    "SecondLook",
    "measure_masks",
    "measured_content",
    "quick_score",
    "second_look",
    "unmeasured",
]
logger = logging.getLogger(__name__)
_FIELDS_KEPT = 2
"""Fields whose masks are kept in memory: the open one, and the one before it."""


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

    def __init__(self, scored: ScoredRun, catalogue: Catalogue, log: ReadLog | None = None) -> None:
        """Keep a run at hand; ``log`` is its review, None: whatever its folder holds."""
        self.folder, self.record, self.pipeline = scored.folder, scored.record, scored.pipeline
        self.catalogue = catalogue
        self._scored = scored
        self._fields = {one.score.key: one for one in scored.fields}
        self._keeper = FigureKeeper(self._fields, scored.figure_settings(catalogue), scored.compared(self._fields))
        self.original = self._keeper.figures(self._fields)
        self.state = ReviewState()
        self._known: frozenset[str] = frozenset()
        self._unreadable: tuple[str, ...] = ()
        self._broken: dict[str, str] = {}
        self._after: dict[str, tuple[FieldReview, ScoredField]] = {}
        self._masks: OrderedDict[str, tuple[tuple[ReviewEvent, ...], FieldMasks]] = OrderedDict()
        self._lock = RLock()
        if log is None:
            self.refresh()
        else:
            self._take_log(log)

    @classmethod
    def open(
        cls, folder: Path, *, catalogue: Catalogue | None = None, yardsticks: Yardsticks | None = None
    ) -> "ReviewedRun":
        """Open a finished run.

        Parameters
        ----------
        yardsticks : Yardsticks, optional
            The baseline that the run was made with; a corrected field is compared with it again. By default the copy
            in the run folder; where that is missing too, what was said of drift stands for layers that nobody changed,
            and nothing is said of others.

        Raises
        ------
        InvalidArgumentError, InvalidDataError
            If it is no run folder, its run is not finished, was written by a newer version, or a file is damaged.
        """
        scored = read_scored_run(folder, None if yardsticks is None else yardsticks.baseline)
        return cls(scored, load_catalogue() if catalogue is None else catalogue)

    @property
    def run_id(self) -> str:
        """Return the id of the run."""
        return str(self.record["run_id"])

    @property
    def baseline(self) -> Baseline | None:
        """Return the baseline that the run was compared with, if it is at hand."""
        return self._scored.yardsticks.baseline

    @property
    def latest(self) -> tuple[str, ...]:
        """Return the keys of the fields that layers and vessels are estimated from, in the order of the manifest."""
        return self._keeper.latest(self._fields)

    @property
    def problems(self) -> tuple[str, ...]:
        """Return what in ``reviews/`` cannot be relied on; sentences."""
        return (*self._unreadable, *self._broken.values())

    # --- events ------------------------------------------------------------------------------------------------------

    def refresh(self) -> tuple[ReviewEvent, ...]:
        """Read events that others added meanwhile, and return them."""
        return self._take_log(read_log(self.folder, self._known))

    def _take_log(self, log: ReadLog) -> tuple[ReviewEvent, ...]:
        with self._lock:
            new = tuple(one for one in log.events if one.name not in self._known)
            foreign = [one for one in new if one.run_id != self.run_id]
            lost = [one for one in new if one.target.field is not None and one.target.field not in self._fields]
            strange = {one.event_id for one in (*foreign, *lost)}
            self._unreadable = (
                *log.problems,
                *(f"reviews/{one.name} is about another run." for one in foreign),
                *(f"reviews/{one.name} is about a field that the run does not have." for one in lost),
            )
            taken = tuple(one for one in new if one.event_id not in strange)
            self._take_in(taken)
        return taken

    def _take_in(self, events: Sequence[ReviewEvent]) -> None:
        if events:
            self.state = with_events(self.state, events)
            self._known |= {one.name for one in events}

    def act(self, reviewer: Reviewer, deed: Deed, *, at: datetime | None = None) -> ReviewEvent:
        """Write what somebody did to the run folder, take it in and return it; the moment is now unless stated.

        Raises
        ------
        InvalidArgumentError
            As `new_event`; also if the run has no such field or vessel.
        OutputError
            If it cannot be written: the disk is full or read-only. Then nothing is taken in.
        """
        with self._lock:
            event = self._event(reviewer, deed, at)
            append_event(self.folder, event)
            self._take_in([event])
        return event

    def check(self, reviewer: Reviewer, deed: Deed) -> None:
        """Raise what `act` would raise for what is said; nothing is written."""
        self._event(reviewer, deed, None)

    def _event(self, reviewer: Reviewer, deed: Deed, at: datetime | None) -> ReviewEvent:
        before = self._events_of(deed.target)
        return new_event(self.run_id, reviewer, deed, at=at or _after_all(before), follows=heads(before))

    def _events_of(self, target: Target) -> Sequence[ReviewEvent]:
        if target.field is not None:
            self._field(target.field)
            return self.state.of(target.field).events
        if all(one.vessel_id != target.vessel_id for one in self.original.vessels):
            raise InvalidArgumentError(f"{self.folder} shows no vessel {target.vessel_id!r}.")
        return self.state.vessels.get(target.vessel_id, ())

    def edit(self, key: str, patch: MaskPatch, reviewer: Reviewer, tool: str) -> ReviewEvent:
        """Write a correction of the masks of a field, take it in and return its event; errors as `act`.

        Parameters
        ----------
        tool : str
            What made it: ``paint``, ``erase``, ``split``, ``merge``, ``not judgeable``, ``undo``, ``redo``,
            ``proposal`` (a re-run that was accepted), ``annotation``.
        """
        kept = self._kept_masks(key)
        name, digest = save_patch(self.folder, patch)
        region = patch.region
        after = {
            "tool": tool,
            "region": [region.y0, region.y1, region.x0, region.x1],
            "kinds": list(patch.kinds),
            "patch": name,
            "patch_sha256": digest,
        }
        event = self.act(reviewer, Deed("edited", self.target(key), after=after))
        edits = self.state.of(key).edits
        if kept is not None and edits == (*kept[0], event):
            self._keep_masks(key, edits, apply_patch(kept[1], patch))
        return event

    def patch(self, event: ReviewEvent) -> MaskPatch:
        """Return the correction that an event ``edited`` speaks of.

        Raises
        ------
        InvalidDataError
            If it is missing or was altered.
        """
        return read_patch(self.folder, event)

    def keep_measured(
        self, key: str, masks: FieldMasks, score: FieldScore, objects: NDArray[np.void], reviewer: Reviewer
    ) -> ReviewEvent | None:
        """Keep the figures of corrected masks for good; errors as `act`.

        Returns
        -------
        ReviewEvent or None
            None if these are not the masks of the field any more, because somebody corrected it meanwhile: nothing is
            written then, and the field is left to be measured again.
        """
        if not masks.equals(self.masks(key)):
            return None
        kept = save_blob(self.folder, objects_bytes(objects), ".parquet")
        return self.act(reviewer, Deed("measured", self.target(key), after=measured_content(masks, score, kept)))

    def objects(self, key: str) -> pa.Table | None:
        """Return the cells and aggregates of a field as they were measured last, None if those of the run still hold.

        Raises
        ------
        InvalidDataError
            If the table is missing or was altered.
        """
        measured = self.state.of(key).measured
        return None if measured is None else measured_objects(self.folder, measured)

    def target(self, key: str) -> Target:
        """Return how an event names a field."""
        row = self._field(key).row
        return Target(row.vessel_id, row.layer, key)

    def _field(self, key: str) -> ScoredField:
        try:
            return self._fields[key]
        except KeyError:
            raise InvalidArgumentError(f"{self.folder} has no field {key!r}.") from None

    # --- one field ---------------------------------------------------------------------------------------------------

    def task(self, key: str) -> FieldTask:
        """Return how a field was scored, for scoring it again: its image is where run.json says; nothing is written."""
        row, settings, execution = self._field(key).row, self.record["settings"], self.record["execution"]
        source = Path(self.record["images_folder"]) / row.path
        plane = PlaneChoice(**settings["plane"])
        return FieldTask(key, source, row, self.pipeline, None, None, plane, Tiling(**execution["tiling"]))

    def original_masks(self, key: str) -> FieldMasks:
        """Return the masks of a field as the run wrote them; of a field without any, empty ones of its working size.

        Raises
        ------
        InvalidDataError
            If they are missing or damaged, or the size of the field is not known.
        """
        score = self._field(key).score
        if score.labels_sha256 is None:
            return empty_masks(self._working_shape(key))
        path = self.folder / labels_name(key)
        foreground, cells, _ = read_labels(path)
        return FieldMasks(foreground, cells, read_judgeable(path), read_aggregates(path))

    def _working_shape(self, key: str) -> tuple[int, int]:
        score = self._field(key).score
        if score.height_px is None or score.width_px is None:
            from msc_vision.batch.field import working_shape_of

            return working_shape_of(self.task(key))
        factor = score.working_factor or 1
        return -(-score.height_px // factor), -(-score.width_px // factor)

    def masks(self, key: str) -> FieldMasks:
        """Return the masks of a field after all corrections; they are kept, so copy them before you write to them.

        Raises
        ------
        InvalidDataError
            As `original_masks`; also if a correction is missing or was altered.
        """
        edits = self.state.of(key).edits
        kept = self._kept_masks(key)
        if kept is not None and kept[0] == edits:
            return kept[1]
        is_ahead = kept is not None and edits[: len(kept[0])] == kept[0]
        done, masks = kept if kept is not None and is_ahead else ((), self.original_masks(key))
        for event in edits[len(done) :]:
            masks = apply_patch(masks, read_patch(self.folder, event))
        self._keep_masks(key, edits, masks)
        return masks

    def masks_on_disk(self, key: str) -> FieldMasks:
        """Return the masks of a field after all corrections in the folder, those that `refresh` has not read included.

        They are not taken in: what is said meanwhile is said without knowing of them, and `refresh` returns them still.

        Raises
        ------
        InvalidDataError
            As `masks`.
        """
        unread = read_log(self.folder, self._known).events
        masks = self.masks(key)
        for event in unread:
            if event.action == "edited" and event.target.field == key and event.run_id == self.run_id:
                masks = apply_patch(masks, read_patch(self.folder, event))
        return masks

    def _kept_masks(self, key: str) -> tuple[tuple[ReviewEvent, ...], FieldMasks] | None:
        with self._lock:
            return self._masks.get(key)

    def _keep_masks(self, key: str, edits: tuple[ReviewEvent, ...], masks: FieldMasks) -> None:
        with self._lock:
            self._masks[key] = (edits, masks)
            self._masks.move_to_end(key)
            while len(self._masks) > _FIELDS_KEPT:
                self._masks.popitem(last=False)

    def base_score(self, key: str) -> FieldScore:
        """Return the figures of a field after its corrections, before what was said of it: accepted, rejected, signs.

        Those of corrections that were not measured yet follow from the masks alone; see `quick_score`.

        Raises
        ------
        InvalidDataError
            If its masks cannot be read.
        """
        review, original = self.state.of(key), self._field(key).score
        base = measured_base(original, review)
        if not review.needs_measuring:
            return base
        return self.quick_score(base, self.masks(key))

    def quick_score(self, score: FieldScore, masks: FieldMasks) -> FieldScore:
        """Return what `quick_score` does, with the settings of the run."""
        return quick_score(score, masks, self.pipeline.density)

    # --- figures -----------------------------------------------------------------------------------------------------

    def figures(self) -> RunFigures:
        """Return every figure after the review as it stands."""
        with self._lock:
            return self._keeper.figures(self._reviewed())

    def with_score(self, key: str, score: FieldScore) -> RunFigures:
        """Return every figure as if a field had another score: what follows an edit before it is measured for good.

        What people said of the field stands: one that was rejected stays rejected.
        """
        with self._lock:
            fields = self._reviewed(but=key)
            fields[key] = reviewed_field(self._field(key), score, self.state.of(key))
            return self._keeper.figures(fields)

    def _reviewed(self, but: str | None = None) -> dict[str, ScoredField]:
        """Return the fields as their layers count them now."""
        fields = dict(self._fields)
        for key, review in self.state.fields.items():
            if key != but:
                fields[key] = self._reviewed_field(key, review)
        return fields

    def _reviewed_field(self, key: str, review: FieldReview) -> ScoredField:
        known = self._after.get(key)
        if known is not None and known[0] is review:
            return known[1]
        after = reviewed_field(self._fields[key], self._sound_score(key), review)
        if known is not None and known[1] == after:
            after = known[1]  # what is kept is known by its objects
        self._after[key] = (review, after)
        return after

    def _sound_score(self, key: str) -> FieldScore:
        """Return the figures of a field; those of before where a correction cannot be read, which is then a problem."""
        try:
            found = self.base_score(key)
        except (InvalidDataError, UndefinedResultError) as err:
            self._broken[key] = f"Field {key} counts as it was before its corrections: {err}"
            return self._field(key).score
        self._broken.pop(key, None)
        return found


def _after_all(events: Sequence[ReviewEvent]) -> datetime:
    """Return now, or just after the last of some events if another clock runs ahead of this one."""
    now = datetime.now(UTC)
    last = max((datetime.fromisoformat(one.at) for one in events), default=now - timedelta(days=1))
    return max(now, last + timedelta(microseconds=1))


def unmeasured(run: ReviewedRun) -> Sequence[str]:
    """Return the keys of fields whose masks were corrected after their figures were taken, as after a crash."""
    return [key for key, review in run.state.fields.items() if review.needs_measuring]
