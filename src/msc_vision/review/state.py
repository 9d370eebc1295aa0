"""What follows from the events of a run: how each field stands, what was corrected, what was said of each vessel."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from msc_vision.review.events import Reviewer, ReviewEvent

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
    unmeasured : tuple of ReviewEvent
        Corrections that ``measured`` does not know of.
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
    unmeasured: tuple[ReviewEvent, ...] = ()
    findings: tuple[ReviewEvent, ...] = ()
    events: tuple[ReviewEvent, ...] = ()

    @property
    def is_looked_at(self) -> bool:
        """Whether anybody had it open."""
        return bool(self.events)

    @property
    def words(self) -> str | None:
        """Who corrected and judged it, such as ``corrected by Anna; rejected by Ben (debris)``; None if nobody did."""
        people = list(dict.fromkeys(one.reviewer.name for one in self.edits))
        parts = [f"corrected by {' and '.join(people)}"] if people else []
        if self.decided_by is not None:
            verb = "put aside to be imaged again" if self.standing == "re-image" else self.standing
            code = self.decided_by.reason_code
            parts.append(f"{verb} by {self.decided_by.reviewer.name}{f' ({code})' if code else ''}")
        if self.is_disputed:
            parts.append("others disagree")
        return "; ".join(parts) or None

    def is_looked_at_by(self, reviewer: Reviewer) -> bool:
        """Whether this person had it open."""
        return any(one.reviewer == reviewer for one in self.events)

    @property
    def needs_measuring(self) -> bool:
        """Whether its masks were corrected and its figures do not know of all of it."""
        return bool(self.unmeasured)


@dataclass(frozen=True, slots=True)
class ReviewState:
    """What follows from all events of a run: ``fields`` by key, ``vessels`` the events about whole vessels, by id."""

    fields: Mapping[str, FieldReview] = field(default_factory=dict)
    vessels: Mapping[str, tuple[ReviewEvent, ...]] = field(default_factory=dict)

    def of(self, key: str) -> FieldReview:
        """Return how a field stands; one without events was not looked at."""
        found = self.fields.get(key)
        return FieldReview(key) if found is None else found


def review_state(events: Sequence[ReviewEvent]) -> ReviewState:
    """Return what follows from the events of a run; the order they are given in does not matter."""
    return with_events(ReviewState(), events)


def with_events(state: ReviewState, events: Sequence[ReviewEvent]) -> ReviewState:
    """Return what follows from more events; only the fields and vessels that they are about are looked at again."""
    by_field: defaultdict[str, list[ReviewEvent]] = defaultdict(list)
    by_vessel: defaultdict[str, list[ReviewEvent]] = defaultdict(list)
    for event in events:
        if event.target.field is None:
            by_vessel[event.target.vessel_id].append(event)
        else:
            by_field[event.target.field].append(event)
    fields = {key: field_review(key, (*state.of(key).events, *more)) for key, more in by_field.items()}
    vessels = {name: _in_order((*state.vessels.get(name, ()), *more)) for name, more in by_vessel.items()}
    return ReviewState({**state.fields, **fields}, {**state.vessels, **vessels})


def _in_order(events: Sequence[ReviewEvent]) -> tuple[ReviewEvent, ...]:
    unique = {one.event_id: one for one in events}
    return tuple(sorted(unique.values(), key=lambda one: (one.at, one.event_id)))


def heads(events: Sequence[ReviewEvent]) -> str | None:
    """Return the ids of the events that no other one follows, separated by spaces; None of no events.

    It is one, unless people worked without knowing of each other.
    """
    followed = {name for one in events for name in (one.follows or "").split()}
    return " ".join(sorted(one.event_id for one in events if one.event_id not in followed)) or None


def field_review(key: str, events: Sequence[ReviewEvent]) -> FieldReview:
    """Return how a field stands after some events, whatever order they are given in."""
    events = _in_order(events)
    decided, is_disputed = _judgement(events)
    edits = tuple(one for one in events if one.action == "edited")
    measured = [one for one in events if one.action == "measured"]
    covered = _before(measured[-1], {one.event_id: one for one in events}) if measured else set()
    standing: Standing = "looked at"
    if decided is not None and decided.action in _JUDGED:
        standing = _JUDGED[decided.action]
    return FieldReview(
        key,
        standing,
        decided if standing in _STRICTEST else None,
        is_disputed,
        edits,
        measured[-1] if measured else None,
        tuple(one for one in edits if one.event_id not in covered),
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
    ahead = (event.follows or "").split()
    while ahead:
        name = ahead.pop()
        if name not in found:
            found.add(name)
            ahead += (known[name].follows or "").split() if name in known else []
    return found
