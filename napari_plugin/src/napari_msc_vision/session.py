"""One person's review of one run: what is open, what was done, and the figures that follow. No Qt and no napari here.

Every change goes through the library: masks are kept as patches, what people say as events, figures are its own.
"""

import getpass
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from msc_vision.batch.decisions import decide, read_decision, save_decision, saved_decisions
from msc_vision.batch.review_overlay import measured_base
from msc_vision.batch.reviewed import (
    ReviewedRun,
    RunFigures,
    SecondLook,
    measure_masks,
    second_look,
)
from msc_vision.batch.signing import signature_of
from msc_vision.decision.judgement import Purpose, Request, Review
from msc_vision.decision.rules import RuleSet
from msc_vision.errors import InvalidDataError, MscVisionError, OutputError
from msc_vision.records import FieldScore, ManifestRow
from msc_vision.review.events import Deed, Reviewer, ReviewEvent, Target, new_event
from msc_vision.review.masks import FieldMasks, MaskPatch, apply_patch, difference
from msc_vision.review.numbers import Shift, moved, new_numbers, renumbered, renumbered_masks, shifts_above
from msc_vision.statistics.rollup import latest_fields
from napari_msc_vision.outbox import Edit, Entry, Measured, Outbox
from napari_msc_vision.work import DirectWork, Latest, Work

T = TypeVar("T")
Level = Literal["info", "warning", "error"]
Judgement = Literal["accepted", "rejected", "re-image", "reopened"]
REST_MS = 300
"""So long nobody paints before the field is measured as a run measures one."""
_MASKS_KEPT = 6
"""Fields whose masks are kept at hand: the open one, its neighbours, and a few that were open before."""
_WRITE, _OPEN, _FIGURES, _MEASURE, _PREFETCH = "write", "open", "figures", "measure", "prefetch"


@dataclass(frozen=True, slots=True)
class Message:
    """One sentence or two for the person at the screen: what was seen, and what to do."""

    level: Level
    text: str


class ReviewSession:
    """One person's review of one run.

    All methods are called on the main thread, and all signals are emitted on it. What takes long is handed to ``work``.

    Attributes
    ----------
    run : ReviewedRun
    reviewer : Reviewer
    work : Work
    current : str or None
        Key of the field that is open.
    masks : FieldMasks or None
        Its masks, corrections applied.
    score : FieldScore or None
        Its score after the last edit; shapes and signs may be those of before, see ``is_measured``.
    objects : structured array or None
        Its cells and aggregates, once it was measured in this session; else they are those of the run.
    is_measured : bool
        Whether every figure of ``score`` is of ``masks``.
    figures : RunFigures
        Of the whole run, after everything that was done.
    """

    field_opened = Signal(str)
    """A field was opened: its key."""
    masks_changed = Signal(str)
    """The masks of the open field changed other than by the hand of the viewer: undo, split, merge, proposal."""
    numbers_moved = Signal(tuple)
    """New cells or aggregates of the open field got other numbers, as somebody else gave out the same: the shifts."""
    figures_changed = Signal()
    """``score`` or ``figures`` changed."""
    state_changed = Signal()
    """Something was said or done: ``run.state`` has changed."""
    cell_selected = Signal(int)
    """A cell of the open field was chosen in one view; the others follow. 0: none."""
    said = Signal(Message)
    """There is something to tell the person."""

    def __init__(self, run: ReviewedRun, reviewer: Reviewer, work: Work | None = None) -> None:
        self.run, self.reviewer = run, reviewer
        self.work = DirectWork() if work is None else work
        self.current: str | None = None
        self.masks: FieldMasks | None = None
        self.score: FieldScore | None = None
        self.objects: NDArray[np.void] | None = None
        self.is_measured = True
        self.figures: RunFigures = run.figures()
        latest = latest_fields(run.original.fields.values())
        self._latest = tuple(key for key in run.original.fields if key in latest)
        self._wanted: str | None = None
        self._opening = Latest()
        self._base: FieldScore | None = None
        self._generation = 0
        self._done: list[MaskPatch] = []
        self._undone: list[MaskPatch] = []
        self._outbox = Outbox(run)
        self._unshown: list[ReviewEvent] = []
        self._selected = 0
        self.cell_selected.connect(self._on_cell_selected)
        self._kept: OrderedDict[str, FieldMasks] = OrderedDict()
        self._look: SecondLook | None = None
        self._looked: set[str] = set()
        self._is_measuring = False
        self._is_closed = False

    # --- going about -------------------------------------------------------------------------------------------------

    def open(self, key: str) -> None:
        """Open a field; ``field_opened`` follows when its masks are there. An event ``looked`` is written once."""
        if key == self.current:
            self._wanted = None
            self._opening.cancel()
            return
        self._wanted = key
        self._learn_numbers()
        if key in self._kept:
            self._opening.cancel()
            self._opened(key, self._kept[key])
        elif not self._is_closed:
            self._opening.ask(
                self.work,
                lambda: self._read_masks(key),
                lambda masks: self._came(key, masks),
                lambda err: self._not_opened(key, err),
                lane=_OPEN,
            )

    def prefetch(self, keys: Sequence[str]) -> None:
        """Read the masks of fields that are likely to be opened next."""
        for key in keys[: _MASKS_KEPT // 2]:
            if key not in self._kept:
                self._submit(
                    partial(self._read_masks, key),
                    partial(self._prefetched, key),
                    lambda _: None,  # opening it says what is wrong
                    lane=_PREFETCH,
                )

    def keys(self, vessel_id: str | None = None, layer: int | None = None) -> tuple[str, ...]:
        """Return the fields of the latest time point, in the order of the manifest."""
        return tuple(
            key
            for key in self._latest
            if (row := self.row(key)).vessel_id == (vessel_id or row.vessel_id) and row.layer == (layer or row.layer)
        )

    def row(self, key: str) -> ManifestRow:
        """Return what the manifest says of a field."""
        return self.run.original.fields[key].row

    def refresh(self) -> None:
        """Take in what others did meanwhile."""
        self._submit(self._read_others, self._refreshed, self._failed, lane=_WRITE)

    def _read_others(self) -> tuple[ReviewEvent, ...]:
        """Read what others added, and the masks of the open field if they corrected it; in the lane of writing."""
        events, key = self.run.refresh(), self.current
        if key is not None and key in {one.target.field for one in events if one.action == "edited"}:
            with suppress(InvalidDataError):  # showing them says what is wrong
                self.run.masks(key)
        return events

    def _read_masks(self, key: str) -> FieldMasks:
        return self.run.masks(key)

    def _prefetched(self, key: str, masks: FieldMasks) -> None:
        self._learn_numbers()
        if key not in self._kept:
            self._keep(key, masks)

    def _keep(self, key: str, masks: FieldMasks) -> None:
        """Keep masks at hand and let go of others, though not of those with edits that are not on disk yet."""
        self._kept[key] = masks
        self._kept.move_to_end(key)
        if (n_over := len(self._kept) - _MASKS_KEPT) > 0:
            edited = self._outbox.edited
            for old in [one for one in self._kept if one not in edited][:n_over]:
                del self._kept[old]

    def _came(self, key: str, masks: FieldMasks) -> None:
        self._learn_numbers()
        self._opened(key, masks)

    def _opened(self, key: str, masks: FieldMasks) -> None:
        if self._wanted != key:  # another field was asked for meanwhile
            return
        self._leave()
        self._wanted, self.current, self.masks = None, key, masks
        self._keep(key, masks)
        self.score = self.figures.fields[key].score
        self._base = measured_base(self.run.original.fields[key].score, self.run.state.of(key))
        self.objects, self._look = None, None
        self.is_measured = not self.run.state.of(key).needs_measuring
        self._generation += 1
        self._done, self._undone, self._selected = [], [], 0
        self.field_opened.emit(key)
        self.work.later(self.figures_changed.emit)
        if key not in self._looked:
            self._looked.add(key)
            if all(one.reviewer != self.reviewer for one in self.run.state.of(key).events):
                self._write(Deed("looked", self._target(key)))
        if not self.is_measured:
            self._measure()

    def _not_opened(self, key: str, err: Exception) -> None:
        if self._wanted == key:
            self._wanted = None
        self._failed(err)

    def _leave(self) -> None:
        """Measure the field that was open for good, if it was corrected since."""
        key, masks = self.current, self.masks
        if key is not None and masks is not None and self._done_since_measured(key):
            self._keep(key, masks)
            found = None
            if self.is_measured and self.score is not None and self.objects is not None:
                found = self.score, self.objects
            base = self._base or self.run.original.fields[key].score
            self._write(Measured(key, masks, base, self._look, found, self._outbox.n_told))

    def _done_since_measured(self, key: str) -> bool:
        waiting = self._outbox.last_of(key)
        return self.run.state.of(key).needs_measuring if waiting is None else isinstance(waiting, Edit)

    def _target(self, key: str) -> Target:
        row = self.row(key)
        return Target(row.vessel_id, row.layer, key)

    # --- what others did ---------------------------------------------------------------------------------------------

    def _refreshed(self, events: Sequence[ReviewEvent]) -> None:
        self._unshown += [one for one in events if one.reviewer != self.reviewer]
        self._show_others()

    def _show_others(self) -> None:
        """Show what others did, once every edit of this person is written: its numbers are settled then."""
        if not self._unshown or self._outbox.edited:
            return
        self._learn_numbers()
        others, self._unshown = self._unshown, []
        for event in others:
            if event.action == "edited" and event.target.field != self.current:
                self._kept.pop(event.target.field or "", None)
        names = ", ".join(sorted({one.reviewer.name for one in others}))
        here = [one for one in others if one.target.field == self.current and one.action == "edited"]
        if here and self.current is not None:
            self._take_in(self.current, here[-1].reviewer.name)
        self._tell("info", f"{names} worked on this run too: {len(others)} entries were taken in, nothing was lost.")
        self.state_changed.emit()
        self._refigure()

    def _take_in(self, key: str, name: str) -> None:
        """Show the open field as all corrections leave it, in the order in which everybody applies them."""
        assert self.masks is not None
        try:
            masks = self.run.masks(key)
        except InvalidDataError as err:
            self._failed(err)
            return
        self._renumber_strokes(shifts_above(self.masks, masks))
        self.masks = masks
        self._keep(key, masks)
        self.masks_changed.emit(key)
        self._requick()
        self._tell("warning", f"{name} is correcting this field too; both corrections are shown.")

    def _learn_numbers(self) -> None:
        """Let new cells have the numbers that they were written with, where somebody else gave out the same ones."""
        told = self._outbox.news()
        for key, shifts in told.items():
            if key in self._kept:
                self._kept[key] = renumbered_masks(self._kept[key], shifts)
            if key == self.current:
                self._renumber_open(shifts)
        if told:
            self.refresh()

    def _renumber_open(self, shifts: Sequence[Shift]) -> None:
        assert self.masks is not None
        self.masks = renumbered_masks(self.masks, shifts)
        self._keep(self._open_key(), self.masks)
        self._renumber_strokes(shifts)
        self.masks_changed.emit(self._open_key())
        self.numbers_moved.emit(tuple(shifts))
        if (selected := moved(self._selected, "cells", shifts)) != self._selected:
            self.cell_selected.emit(selected)
        self._requick()

    def _renumber_strokes(self, shifts: Sequence[Shift]) -> None:
        """Let strokes that can be taken back or made again speak of the same cells as before."""
        self._done = [renumbered(one, shifts) for one in self._done]
        self._undone = [renumbered(one, shifts) for one in self._undone]

    def _on_cell_selected(self, number: int) -> None:
        self._selected = number

    # --- correcting --------------------------------------------------------------------------------------------------

    def commit(self, after: FieldMasks, tool: str) -> None:
        """Take in the masks of the open field after one stroke: it is written to disk, and the figures follow.

        Equal masks are no edit. ``masks_changed`` is not emitted: the caller has them already. Arrays of ``after``
        that were not edited are best the very arrays of ``masks``, and none of them may be written to any more.
        """
        if (patch := self._patch(after)) is not None:
            self._done.append(patch)
            self._undone = []
            self._edited(after, patch, tool)

    def replace_masks(self, after: FieldMasks, tool: str, score: FieldScore | None = None) -> None:
        """Take in masks that were made for the viewer (split, merge, a proposal), and emit ``masks_changed``.

        ``score`` is what a proposal found: with it, a field that the run could not judge may count.
        """
        if score is not None:
            self._base = self.score = score
        self.commit(after, tool)
        if self.current is not None:
            self.masks_changed.emit(self.current)

    def undo(self) -> None:
        """Take back the last edit of the open field in this session, as an edit of its own."""
        if self._done:
            patch = self._done.pop()
            self._undone.append(patch)
            self._back_and_forth(patch.reversed(), "undo")

    def redo(self) -> None:
        """Make the last edit that was taken back again."""
        if self._undone:
            patch = self._undone.pop()
            self._done.append(patch)
            self._back_and_forth(patch, "redo")

    @property
    def can_undo(self) -> bool:
        """Whether there is an edit of this session to take back."""
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        """Whether an edit was taken back."""
        return bool(self._undone)

    def add_finding(self, kind: str, box_px: tuple[int, int, int, int], note: str) -> None:
        """Say that something is there; ``box_px`` is rows and columns (y0, y1, x0, x1) of the image."""
        key = self._open_key()
        y0, y1, x0, x1 = box_px
        place = f"{kind} {y0}:{y1},{x0}:{x1}"
        self._write(Deed("finding-added", self._target(key), after={"kind": kind, "place": place}, reason=note or None))

    def dismiss_finding(self, place: str, reason_code: str, reason: str) -> None:
        """Say that a place the run or a reviewer pointed at shows no such thing; as in ``contamination_places``."""
        key = self._open_key()
        said = Deed("finding-dismissed", self._target(key), {"place": place}, None, reason_code, reason or None)
        self._write(said)

    def _open_key(self) -> str:
        if self.current is None:
            raise RuntimeError("No field is open.")
        return self.current

    def _patch(self, after: FieldMasks) -> MaskPatch | None:
        self._open_key()
        assert self.masks is not None
        return difference(self.masks, after)

    def _back_and_forth(self, patch: MaskPatch, tool: str) -> None:
        assert self.masks is not None
        after = apply_patch(self.masks, patch)
        self._edited(after, patch, tool)
        self.masks_changed.emit(self._open_key())

    def _edited(self, after: FieldMasks, patch: MaskPatch, tool: str) -> None:
        key, before = self._open_key(), self.masks
        assert before is not None
        self.masks = after
        self._keep(key, after)
        self._write(Edit(key, patch, tool, new_numbers(before, patch), self._outbox.n_told))
        self._requick()

    def _requick(self) -> None:
        """Let the figures that follow from the masks at once follow; those that need the picture come after."""
        key, masks = self._open_key(), self.masks
        assert masks is not None
        self._generation += 1
        generation, self.is_measured = self._generation, False
        base = self.figures.fields[key].score if self.score is None else self.score

        def figure() -> tuple[FieldScore, RunFigures] | None:
            if generation != self._generation:  # a later edit is waiting
                return None
            score = self.run.quick_score(base, masks)
            return score, self.run.with_score(key, score)

        def done(found: tuple[FieldScore, RunFigures] | None) -> None:
            if found is not None and generation == self._generation:
                self.score, self.figures = found
                self.figures_changed.emit()
                self._measure_soon()

        self._submit(figure, done, self._failed, lane=_FIGURES)

    def _measure_soon(self) -> None:
        """Measure once the hand rests: whoever goes on painting needs the cores for that, and changes it all again."""
        generation = self._generation

        def measure() -> None:
            if generation == self._generation:
                self._measure()

        self.work.later(measure, REST_MS)

    def _measure(self) -> None:
        """Measure the open field as a run measures one, one at a time, until the figures are of the masks shown."""
        key, masks, generation = self._open_key(), self.masks, self._generation
        if self._is_measuring or masks is None:
            return
        self._is_measuring = True
        base = self._base or self.run.original.fields[key].score

        def measure() -> tuple[SecondLook, FieldScore, NDArray[np.void], RunFigures]:
            look = self._look_at(key)
            score, objects = measure_masks(look, base, masks)
            return look, score, objects, self.run.with_score(key, score)

        def done(found: tuple[SecondLook, FieldScore, NDArray[np.void], RunFigures]) -> None:
            self._is_measuring = False
            if key != self.current:
                if self.current is not None and not self.is_measured:
                    self._measure()
                return
            self._look = found[0]
            if generation == self._generation:
                _, self.score, self.objects, self.figures = found
                self.is_measured = True
                self.figures_changed.emit()
            else:
                self._measure_soon()

        def failed(err: Exception) -> None:
            self._is_measuring = False
            self._failed(err)

        self._submit(measure, done, failed, lane=_MEASURE)

    def _look_at(self, key: str) -> SecondLook:
        look = self._look
        return look if look is not None and look.task.key == key else second_look(self.run.task(key))

    # --- deciding ----------------------------------------------------------------------------------------------------

    def judge_field(self, action: Judgement, reason_code: str | None, reason: str) -> None:
        """Say what becomes of the open field.

        Raises
        ------
        InvalidArgumentError
            If it needs a reason and has none.
        """
        key = self._open_key()
        before = {"standing": self.run.state.of(key).standing}
        deed = Deed(action, self._target(key), before, None, reason_code, reason or None)
        new_event(self.run.run_id, self.reviewer, deed, at=datetime.now(UTC))  # refuses what lacks a reason
        self._leave()
        self._write(deed)

    def decide(self, vessel_id: str, rules: RuleSet, purpose: Purpose, review: Review | None = None) -> None:
        """Judge a vessel as it stands after the review; the record supersedes the last one and is kept in the run."""
        self._leave()
        last = next(iter(self.records(vessel_id)), None)
        supersedes = None if last is None else str(last["decision_id"])
        before = None if last is None else {name: last[name] for name in ("decision_id", "verdict")}
        request = Request(datetime.now(UTC), purpose, supersedes=supersedes, review=review)

        def judge() -> dict[str, Any]:
            self._outbox.empty()
            record = decide(self.run.folder, rules, request, vessel_id)
            save_decision(self.run.folder, record, rules)
            after = {name: record[name] for name in ("decision_id", "record_sha256", "verdict")}
            deed = Deed("decided", Target(vessel_id), before, after, *_reasons(review))
            self.run.act(self.reviewer, deed)
            return record

        def done(record: dict[str, Any]) -> None:
            verdict = str(record["verdict"]).replace("_", " ")
            self._tell("info", f"{vessel_id}: {verdict}. Recommended: {record['recommended_action']}.")
            self.state_changed.emit()

        self._submit(judge, done, self._failed, lane=_WRITE)

    def records(self, vessel_id: str) -> list[dict[str, Any]]:
        """Return the decision records of a vessel in the run folder, the last one first.

        Raises
        ------
        InvalidDataError
            If one was altered.
        """
        found = [read_decision(path) for path in saved_decisions(self.run.folder)]
        mine = [one for one in found if one["context"]["vessel_id"] == vessel_id]
        earlier = {one["decision_id"]: one["supersedes"] for one in mine}

        def n_before(decision_id: str | None) -> int:
            return 0 if decision_id not in earlier else 1 + n_before(earlier[decision_id])

        return sorted(mine, key=lambda one: (str(one["created_at"]), n_before(one["decision_id"])), reverse=True)

    def sign(self, decision_id: str, record_sha256: str, meaning: str) -> None:
        """Sign a record, as the person that the operating system says is logged in.

        Raises
        ------
        InvalidArgumentError, InvalidDataError
            As `signature_of`.
        """
        self._write(signature_of(self.run.folder, decision_id, record_sha256, meaning))

    # --- writing -----------------------------------------------------------------------------------------------------

    @property
    def n_unsaved(self) -> int:
        """Return how many entries are not on disk yet."""
        return len(self._outbox)

    def write(self, deed: Deed) -> None:
        """Write something that was said or done which has no method of its own."""
        self._write(deed)

    def save(self) -> None:
        """Try again to write what could not be written."""
        self._submit(self._outbox.empty, self._written, self._not_written, lane=_WRITE)

    def _write(self, entry: Entry) -> None:
        self._outbox.put(entry, self.reviewer)
        self.save()

    def _written(self, is_anything: bool) -> None:
        self._learn_numbers()
        self._show_others()
        if is_anything:
            self.state_changed.emit()
            if not self._outbox:
                self._refigure()

    def _refigure(self) -> None:
        """Let the figures of the run follow what was said, unless an edit is on its way, which brings its own."""
        generation = self._generation
        if self.current is not None and not self.is_measured:
            return

        def done(figures: RunFigures) -> None:
            if generation == self._generation:
                self.figures = figures
                if self.current is not None and self.is_measured and self.objects is None:
                    self.score = figures.fields[self.current].score
                self.figures_changed.emit()

        self._submit(self.run.figures, done, self._failed, lane=_FIGURES)

    def _not_written(self, err: Exception) -> None:
        self._learn_numbers()
        if isinstance(err, OutputError):
            self._tell("error", f"Not saved: {err} What you did stays on the screen; put it right, then press Save.")
        else:
            self._failed(err)

    # --- the end -----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Measure what was corrected and not measured yet, wait for what is being written, and stop."""
        if not self._is_closed:
            self._leave()
            self._is_closed = True
            self.work.close()
            if self._outbox:
                self._tell("error", f"{len(self._outbox)} entries could not be saved and are lost with this window.")

    def _submit(
        self, job: Callable[[], T], done: Callable[[T], object], failed: Callable[[Exception], object], *, lane: str
    ) -> None:
        """Hand over a job; what an answer would set going after the end is let be."""
        if not self._is_closed:
            self.work.submit(job, done, failed, lane=lane)

    # --- telling -----------------------------------------------------------------------------------------------------

    def _failed(self, err: Exception) -> None:
        if not isinstance(err, MscVisionError):
            raise err
        self._tell("error", str(err))

    def _tell(self, level: Level, text: str) -> None:
        self.said.emit(Message(level, text))


def _reasons(review: Review | None) -> tuple[str | None, str | None]:
    return (None, None) if review is None else (review.reason_code, review.reason)


def local_reviewer() -> Reviewer:
    """Return the user that the operating system says is logged in."""
    return Reviewer(getpass.getuser())


def open_session(folder: Path, work: Work | None = None, reviewer: Reviewer | None = None) -> ReviewSession:
    """Open a run folder for review; errors as `ReviewedRun.open`."""
    return ReviewSession(ReviewedRun.open(folder), reviewer or local_reviewer(), work)
