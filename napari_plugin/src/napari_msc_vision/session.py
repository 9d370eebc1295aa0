"""One person's review of one run: what is open, what was done, and the figures that follow. No Qt and no napari here.

Every change goes through the library: masks are kept as patches, what people say as events, figures are its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from psygnal import Signal

from msc_vision.batch.reviewed import ReviewedRun, RunFigures
from msc_vision.decision.judgement import Review
from msc_vision.decision.rules import RuleSet
from msc_vision.records import FieldScore
from msc_vision.review.events import Reviewer
from msc_vision.review.masks import FieldMasks
from napari_msc_vision.work import DirectWork, Work

Level = Literal["info", "warning", "error"]


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
    is_measured : bool
        Whether every figure of ``score`` is of ``masks``.
    figures : RunFigures
        Of the whole run, after everything that was done.
    """

    field_opened = Signal(str)
    """A field was opened: its key."""
    masks_changed = Signal(str)
    """The masks of the open field changed other than by the hand of the viewer: undo, split, merge, proposal."""
    figures_changed = Signal()
    """``score`` or ``figures`` changed."""
    state_changed = Signal()
    """Something was said or done: ``run.state`` has changed."""
    cell_selected = Signal(int)
    """A cell of the open field was chosen in one view; the others follow. 0: none."""
    said = Signal(Message)
    """There is something to tell the person."""

    run: ReviewedRun
    reviewer: Reviewer
    work: Work
    current: str | None
    masks: FieldMasks | None
    score: FieldScore | None
    is_measured: bool
    figures: RunFigures

    def __init__(self, run: ReviewedRun, reviewer: Reviewer, work: Work | None = None) -> None:
        self.run, self.reviewer = run, reviewer
        self.work = DirectWork() if work is None else work
        raise NotImplementedError

    # --- going about -------------------------------------------------------------------------------------------------

    def open(self, key: str) -> None:
        """Open a field; ``field_opened`` follows when its masks are there. An event ``looked`` is written."""
        raise NotImplementedError

    def keys(self, vessel_id: str | None = None, layer: int | None = None) -> tuple[str, ...]:
        """Return the fields of the latest time point, in the order of the manifest."""
        raise NotImplementedError

    # --- correcting --------------------------------------------------------------------------------------------------

    def commit(self, after: FieldMasks, tool: str) -> None:
        """Take in the masks of the open field after one stroke: it is written to disk, and the figures follow.

        Equal masks are no edit. ``masks_changed`` is not emitted: the caller has them already.
        """
        raise NotImplementedError

    def replace_masks(self, after: FieldMasks, tool: str) -> None:
        """Take in masks that were made for the viewer (split, merge, a proposal), and emit ``masks_changed``."""
        raise NotImplementedError

    def undo(self) -> None:
        """Take back the last edit of the open field in this session, as an edit of its own."""
        raise NotImplementedError

    def redo(self) -> None:
        """Make the last edit that was taken back again."""
        raise NotImplementedError

    def add_finding(self, kind: str, box_px: tuple[int, int, int, int], note: str) -> None:
        """Say that something is there; ``box_px`` is rows and columns (y0, y1, x0, x1) of the image."""
        raise NotImplementedError

    def dismiss_finding(self, place: str, reason_code: str, reason: str) -> None:
        """Say that a place the run pointed at shows no such thing; ``place`` as in ``contamination_places``."""
        raise NotImplementedError

    # --- deciding ----------------------------------------------------------------------------------------------------

    def judge_field(
        self, action: Literal["accepted", "rejected", "re-image", "reopened"], reason_code: str | None, reason: str
    ) -> None:
        """Say what becomes of the open field."""
        raise NotImplementedError

    def decide(self, vessel_id: str, rules: RuleSet, purpose: str, review: Review | None = None) -> None:
        """Judge a vessel as it stands after the review; the record supersedes the last one and is kept in the run."""
        raise NotImplementedError

    def records(self, vessel_id: str) -> Sequence[dict[str, Any]]:
        """Return the decision records of a vessel in the run folder, the last one first."""
        raise NotImplementedError

    def sign(self, decision_id: str, meaning: str) -> None:
        """Sign a record, as the person that the operating system says is logged in."""
        raise NotImplementedError

    # --- the end -----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Measure what was corrected and not measured yet, wait for what is being written, and stop."""
        raise NotImplementedError


def local_reviewer() -> Reviewer:
    """Return the user that the operating system says is logged in."""
    import getpass

    return Reviewer(getpass.getuser())


def open_session(folder: Path, work: Work | None = None, reviewer: Reviewer | None = None) -> ReviewSession:
    """Open a run folder for review; errors as `ReviewedRun.open`."""
    return ReviewSession(ReviewedRun.open(folder), reviewer or local_reviewer(), work)
