"""What became of a review: who did what, how far each vessel is, what is still open, and figures before and after."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from msc_vision.batch.remeasure import measure_masks, second_look
from msc_vision.batch.review_overlay import field_doubts
from msc_vision.batch.reviewed import ReviewedRun, RunFigures, unmeasured
from msc_vision.errors import InvalidDataError, UndefinedResultError
from msc_vision.review.events import Reviewer, ReviewEvent
from msc_vision.statistics.arithmetic import counted

SUMMARY_SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class VesselProgress:
    """How far the review of one vessel is, of the fields of its latest time point, and what it changed.

    ``confluency_*`` are of the whole vessel, percent, with their 95 % interval; None where nothing can be said of it.
    """

    vessel_id: str
    n_fields: int
    n_looked_at: int
    n_accepted: int
    n_rejected: int
    n_to_image_again: int
    n_corrected: int
    n_disputed: int
    n_not_measured: int
    confluency_before_percent: float | None
    confluency_before_interval: tuple[float, float] | None
    confluency_after_percent: float | None
    confluency_after_interval: tuple[float, float] | None
    contamination_before: str | None
    contamination_after: str | None

    @property
    def sentence(self) -> str:
        """Return the progress in words, such as ``31 of 75 looked at, 4 rejected, 2 corrected``."""
        parts = [f"{self.n_looked_at} of {self.n_fields} looked at"]
        named = (
            (self.n_accepted, "accepted"),
            (self.n_rejected, "rejected"),
            (self.n_to_image_again, "to be imaged again"),
            (self.n_corrected, "corrected"),
        )
        return ", ".join([*parts, *(f"{n} {word}" for n, word in named if n)])


@dataclass(frozen=True, slots=True)
class ReviewSummary:
    """What became of the review of a run.

    Attributes
    ----------
    run_id : str
    vessels : tuple of VesselProgress
    still_open : tuple of str
        What somebody has to do; sentences.
    events : tuple of ReviewEvent
        In the order of their times.
    problems : tuple of str
        What in the folder of reviews cannot be relied on; sentences.
    """

    run_id: str
    vessels: tuple[VesselProgress, ...]
    still_open: tuple[str, ...]
    events: tuple[ReviewEvent, ...]
    problems: tuple[str, ...]

    def content(self) -> dict[str, Any]:
        """Return the summary as a JSON object."""
        return {
            "schema_version": SUMMARY_SCHEMA_VERSION,
            "run_id": self.run_id,
            "vessels": [asdict(one) for one in self.vessels],
            "still_open": list(self.still_open),
            "problems": list(self.problems),
            "events": [_told(one) for one in self.events],
        }


def review_summary(run: ReviewedRun) -> ReviewSummary:
    """Return what became of the review of a run."""
    after = run.figures()
    vessels = tuple(_progress(run, after, one.vessel_id) for one in run.original.vessels)
    of_fields = (event for review in run.state.fields.values() for event in review.events)
    of_vessels = (event for events in run.state.vessels.values() for event in events)
    events = sorted((*of_fields, *of_vessels), key=lambda one: (one.at, one.event_id))
    return ReviewSummary(run.run_id, vessels, tuple(_still_open(run)), tuple(events), run.problems)


def _progress(run: ReviewedRun, after: RunFigures, vessel_id: str) -> VesselProgress:
    keys = [key for key in run.latest if run.original.fields[key].row.vessel_id == vessel_id]
    reviews = [run.state.of(key) for key in keys]
    standing = [one.standing for one in reviews]
    old, new = run.original.vessel(vessel_id), after.vessel(vessel_id)
    was, now = run.original.characters.vessels.get(vessel_id), after.characters.vessels.get(vessel_id)
    return VesselProgress(
        vessel_id,
        len(keys),
        sum(one.is_looked_at for one in reviews),
        standing.count("accepted"),
        standing.count("rejected"),
        standing.count("re-image"),
        sum(bool(one.edits) for one in reviews),
        sum(one.is_disputed for one in reviews),
        sum(one.needs_measuring for one in reviews),
        old.confluency_percent,
        old.confluency_interval,
        new.confluency_percent,
        new.confluency_interval,
        None if was is None else was.contamination,
        None if now is None else now.contamination,
    )


def _still_open(run: ReviewedRun) -> Iterator[str]:
    for vessel in run.original.vessels:
        keys = [key for key in run.latest if run.original.fields[key].row.vessel_id == vessel.vessel_id]
        n_left = sum(not run.state.of(key).is_looked_at for key in keys)
        if n_left:
            yield f"{vessel.vessel_id}: {counted(n_left, 'field')} nobody looked at."
    for key, review in run.state.fields.items():
        path = run.original.fields[key].row.path
        for doubt in field_doubts(review):
            yield f"{path}: {doubt}."


def _told(event: ReviewEvent) -> dict[str, Any]:
    """Return an event without its figures, which stand in its own file."""
    content = asdict(event)
    if event.action == "measured":
        content["after"] = {name: value for name, value in (event.after or {}).items() if name != "score"}
    return content


def event_words(event: ReviewEvent) -> str:
    """Return what somebody did as a line of a table: action, tool or verdict, and the reason."""
    after = event.after or {}
    what = next((str(after[name]) for name in ("tool", "kind", "verdict", "meaning") if after.get(name)), None)
    said = ": ".join(part.strip() for part in (event.reason_code, event.reason) if part and part.strip())
    return " · ".join(part for part in (event.action, what, said) if part)


# --- what was corrected and not measured -----------------------------------------------------------------------------


def measure_corrected(
    run: ReviewedRun, reviewer: Reviewer, on_done: Callable[[str, str | None], object] = lambda *_: None
) -> Sequence[str]:
    """Measure the fields that were corrected and not measured, as after a crash; return those that could not be.

    Parameters
    ----------
    run : ReviewedRun
    reviewer : Reviewer
        Who lets them be measured.
    on_done : callable
        Called with the key of each field, and with why it could not be measured, None if it was.

    Raises
    ------
    OutputError
        If a result cannot be written.
    """
    left = []
    for key in unmeasured(run):
        reason = None
        try:
            masks = run.masks(key)
            score, objects = measure_masks(second_look(run.task(key)), run.original.fields[key].score, masks)
            run.keep_measured(key, masks, score, objects, reviewer)
        except (InvalidDataError, UndefinedResultError) as err:
            reason = str(err)
            left.append(key)
        on_done(key, reason)
    return left
