"""Review events: who said or changed what of a run, when and why. They are added, never edited and never removed."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from msc_vision.errors import InvalidArgumentError, InvalidDataError
from msc_vision.io.sealed import canonical_sha256

SCHEMA_VERSION = 1
ID_DIGITS = 32
Identified = Literal["operating-system user", "service log-in"]
Action = Literal[
    "looked",
    "edited",
    "measured",
    "accepted",
    "rejected",
    "re-image",
    "reopened",
    "finding-added",
    "finding-dismissed",
    "settled",
    "held",
    "vessel-rejected",
    "decided",
    "signed",
    "kept-for-training",
    "commented",
]
ACTIONS: tuple[Action, ...] = get_args(Action)
NEED_REASON: frozenset[Action] = frozenset(
    {"rejected", "re-image", "reopened", "finding-dismissed", "settled", "held", "vessel-rejected"}
)


@dataclass(frozen=True, slots=True)
class Reviewer:
    """Who reviews, and how that is known.

    Attributes
    ----------
    name : str
    identified_by : {'operating-system user', 'service log-in'}
        The first is what the computer says of who is logged in; nobody checked a password for it here.
    """

    name: str
    identified_by: Identified = "operating-system user"


@dataclass(frozen=True, slots=True)
class Target:
    """What an event is about: a vessel, one of its layers, or a field (by its key in fields.parquet)."""

    vessel_id: str
    layer: int | None = None
    field: str | None = None


@dataclass(frozen=True, slots=True)
class Deed:
    """What somebody does: the part of an event that is theirs to say; attributes as in `ReviewEvent`."""

    action: Action
    target: Target
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    reason_code: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ReviewEvent:
    """One thing that one person did.

    Attributes
    ----------
    event_id : str
        First 32 digits of the sha256 of everything else.
    run_id : str
    at : str
        ISO 8601, UTC, microseconds.
    reviewer : Reviewer
    action : str
    target : Target
    before, after : mapping or None
        What the action changed; see docs/review.md for each action.
    reason_code, reason : str or None
    follows : str or None
        The event of the same target that was the last one known to the reviewer: two that follow the same one were
        made without knowing of each other, and one that knows of both names both, separated by a space.
    """

    event_id: str
    run_id: str
    at: str
    reviewer: Reviewer
    action: Action
    target: Target
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    reason_code: str | None
    reason: str | None
    follows: str | None

    @property
    def name(self) -> str:
        """The file name: sorted by name, events are in the order of their times."""
        moment = datetime.fromisoformat(self.at)
        return f"{moment:%Y%m%dT%H%M%S}{moment.microsecond:06d}Z-{self.event_id}.json"


def new_event(run_id: str, reviewer: Reviewer, deed: Deed, *, at: datetime, follows: str | None = None) -> ReviewEvent:
    """Return an event with its id.

    Raises
    ------
    InvalidArgumentError
        If the moment has no zone, the reviewer no name, or the action needs a reason and has none.
    """
    if at.tzinfo is None:
        raise InvalidArgumentError(f"The moment of a review needs a time zone, got {at.isoformat()}.")
    if not reviewer.name.strip():
        raise InvalidArgumentError("A review needs the name of the reviewer.")
    if deed.action in NEED_REASON and not (deed.reason_code or "").strip():
        raise InvalidArgumentError(f"'{deed.action}' needs a reason: choose a reason code.")
    content = {
        "schema_version": SCHEMA_VERSION,
        "run_id": run_id,
        "at": at.astimezone(UTC).isoformat(timespec="microseconds"),
        "reviewer": asdict(reviewer),
        **asdict(deed),
        "follows": follows,
    }
    return _event(content, canonical_sha256(content)[:ID_DIGITS])


def event_text(event: ReviewEvent) -> str:
    """Return an event as the JSON text of its file."""
    content = {"schema_version": SCHEMA_VERSION, **asdict(event)}
    return json.dumps(content, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def parse_event(content: bytes) -> ReviewEvent:
    """Return the event in a file.

    Raises
    ------
    InvalidDataError
        If it cannot be read, is of a newer version, is no event, or was altered.
    """
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as err:
        raise InvalidDataError(f"cannot be read as JSON ({' '.join(str(err).split())[:120]})") from err
    if not isinstance(found, dict) or "event_id" not in found:
        raise InvalidDataError("is no review event")
    version = found.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise InvalidDataError(f"was written by a newer msc-vision (schema {version}); update to read it")
    event_id = found.pop("event_id")
    try:
        if canonical_sha256(found)[:ID_DIGITS] != event_id:
            raise InvalidDataError("was altered: its content does not have its event_id")
        return _event(found, event_id)
    except (KeyError, TypeError, ValueError) as err:
        if isinstance(err, InvalidDataError):
            raise
        raise InvalidDataError(f"is no review event ({type(err).__name__}: {err})") from err


def _event(content: Mapping[str, Any], event_id: str) -> ReviewEvent:
    if content["action"] not in ACTIONS:
        raise InvalidDataError(f"knows an action that this version does not: {content['action']!r}")
    if datetime.fromisoformat(content["at"]).utcoffset() is None:
        raise InvalidDataError(f"has a time without zone: {content['at']}")
    names = ("run_id", "at", "action", "before", "after", "reason_code", "reason", "follows")
    return ReviewEvent(
        event_id=event_id,
        reviewer=Reviewer(**content["reviewer"]),
        target=Target(**content["target"]),
        **{name: content[name] for name in names},
    )
