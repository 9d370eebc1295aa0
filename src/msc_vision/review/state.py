"""What follows from the events of a run: how each field stands, what was corrected, what was said of each vessel."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from msc_vision.review.events import ReviewEvent

Standing = Literal["not looked at", "looked at", "accepted", "rejected", "re-image"]
_JUDGED: Mapping[str, Standing] = {"accepted": "accepted", "rejected": "rejected", "re-image": "re-image"}
_STRICTEST: tuple[Standing, ...] = ("rejected", "re-image", "accepted")


@dataclass(frozen=True, slots=True)
class FieldReview:
    """How one field stands.

    Attributes
    ----------
    key : str
    standing : str
        After the last judgement; where two people judged without knowing of each other, the stricter one.
    decided_by : ReviewEvent or None
        The event that ``standing`` follows from.
    is_disputed : bool
        Two people judged it differently, neither knowing of the other's judgement.
    edits : tuple of ReviewEvent
        Corrections of its masks, in the order they are applied.
    measured : ReviewEvent or None
        The last one with the figures of its corrected masks.
    findings : tuple of ReviewEvent
        What was added and dismissed.
    events : tuple of ReviewEvent
        All of them.
    """

    key: str
    standing: Standing = "not looked at"
    decided_by: ReviewEvent | None = None
    is_disputed: bool = False
    edits: tuple[ReviewEvent, ...] = ()
    measured: ReviewEvent | None = None
    findings: tuple[ReviewEvent, ...] = ()
    events: tuple[ReviewEvent, ...] = ()

    @property
    def is_looked_at(self) -> bool:
        """Whether anybody had it open."""
        return bool(self.events)

    @property
    def needs_measuring(self) -> bool:
        """Whether its masks were corrected after its figures were taken."""
        return bool(self.edits) and (self.measured is None or self.measured.at < self.edits[-1].at)


@dataclass(frozen=True, slots=True)
class ReviewState:
    """What follows from all events of a run: ``fields`` by key, ``vessels`` the events about whole vessels, by id."""

    fields: Mapping[str, FieldReview] = field(default_factory=dict)
    vessels: Mapping[str, tuple[ReviewEvent, ...]] = field(default_factory=dict)

    def of(self, key: str) -> FieldReview:
        """Return how a field stands; one without events was not looked at."""
        return self.fields.get(key, FieldReview(key))


def review_state(events: Sequence[ReviewEvent]) -> ReviewState:
    """Return what follows from the events of a run; the order they are given in does not matter."""
    by_field: defaultdict[str, list[ReviewEvent]] = defaultdict(list)
    by_vessel: defaultdict[str, list[ReviewEvent]] = defaultdict(list)
    for event in sorted(events, key=lambda one: (one.at, one.event_id)):
        if event.target.field is None:
            by_vessel[event.target.vessel_id].append(event)
        else:
            by_field[event.target.field].append(event)
    return ReviewState(
        {key: _field(key, found) for key, found in by_field.items()},
        {vessel_id: tuple(found) for vessel_id, found in by_vessel.items()},
    )


def _field(key: str, events: Sequence[ReviewEvent]) -> FieldReview:
    decided, is_disputed = _judgement(events)
    measured = [one for one in events if one.action == "measured"]
    standing: Standing = "looked at"
    if decided is not None and decided.action in _JUDGED:
        standing = _JUDGED[decided.action]
    return FieldReview(
        key,
        standing,
        decided if standing in _STRICTEST else None,
        is_disputed,
        tuple(one for one in events if one.action == "edited"),
        measured[-1] if measured else None,
        tuple(one for one in events if one.action in ("finding-added", "finding-dismissed")),
        tuple(events),
    )


def _judgement(events: Sequence[ReviewEvent]) -> tuple[ReviewEvent | None, bool]:
    """Return the judgement that stands, and whether others were made without knowing of it that say something else."""
    judged = [one for one in events if one.action in _JUDGED or one.action == "reopened"]
    if not judged:
        return None, False
    known = {one.event_id: one for one in events}
    last = judged[-1]
    seen = _before(last, known)
    rivals = [one for one in judged[:-1] if one.event_id not in seen and one.reviewer != last.reviewer]
    standing = [one for one in rivals if not any(one.event_id in _before(other, known) for other in judged)]
    differing = [one for one in standing if one.action != last.action]
    if not differing:
        return last, False
    at_odds = [one for one in (last, *differing) if one.action in _JUDGED]
    return min(at_odds, key=lambda one: _STRICTEST.index(_JUDGED[one.action])), True


def _before(event: ReviewEvent, known: Mapping[str, ReviewEvent]) -> set[str]:
    """Return the ids of the events that its reviewer knew of."""
    found: set[str] = set()
    at: ReviewEvent | None = event
    while at is not None and at.follows is not None and at.follows not in found:
        found.add(at.follows)
        at = known.get(at.follows)
    return found
