"""The board's words and shapes: one for each verdict, outcome and state, so that colour alone never tells."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

Shape = str
"""Name of a drawing in ``shapes.html.j2``; also the class that gives it its colour."""


@dataclass(frozen=True, slots=True)
class Sign:
    """A word with its shape, and what it means.

    Attributes
    ----------
    word : str
    shape : str
    meaning : str
        A sentence for the page that explains the board.
    rank : int
        The lower, the sooner somebody is needed.
    """

    word: str
    shape: Shape
    meaning: str
    rank: int = 0


QUARANTINE: Final = Sign(
    "QUARANTINE", "quarantine", "A critical criterion is not met or in doubt: set the vessel apart and look at it.", 0
)
HOLD: Final = Sign("HOLD", "hold", "The evidence is there, but a person has to look at it.", 1)
NO_GO: Final = Sign("NO GO", "no-go", "At least one criterion is not met. Too early is NO GO too.", 2)
CANNOT: Final = Sign("CANNOT ASSESS", "cannot", "The evidence is missing or too weak to judge.", 3)
ASK: Final = Sign(
    "ASK AGAIN", "ask", "Nobody has judged the latest scan, or what was GO has become too old to rely on.", 4
)
TRIAL: Final = Sign("GO IN TRIAL", "trial", "Every criterion is met, but of a trial or a draft: not for production.", 5)
GO: Final = Sign("GO", "go", "Every criterion is met with its probability.", 6)
SIGNS: Final = (QUARANTINE, HOLD, NO_GO, CANNOT, ASK, TRIAL, GO)
VERDICTS: Final = {"GO": GO, "NO_GO": NO_GO, "HOLD_REVIEW": HOLD, "CANNOT_ASSESS": CANNOT}

OUTCOMES: Final = {
    "not met": Sign("not met", "no-go", "Beyond the limits, at least as surely as the rule set asks.", 0),
    "missing": Sign("not known", "cannot", "There is no evidence.", 1),
    "weak": Sign("not sure enough", "cannot", "There is evidence, but too little to be sure either way.", 2),
    "doubt": Sign("a person has to look", "hold", "The evidence is there; a reviewer looks at it and settles it.", 3),
    "undetermined": Sign("undetermined", "cannot", "Neither met nor not met.", 3),
    "met": Sign("met", "go", "Within the limits, at least as surely as the rule set asks.", 4),
}
STATES: Final = {
    "measured": ("seen", "measured", "Images of the layer were scored."),
    "measured-degraded": ("seen, in part", "degraded", "Scored, but some of its fields failed or were not judgeable."),
    "inferred": ("inferred, not seen", "inferred", "Nobody saw the layer; its figure follows from the other layers."),
    "unobservable": ("out of reach", "unobservable", "The microscope cannot reach the layer."),
    "missing": ("failed", "missing", "The layer can be reached, but no image of it could be used."),
}
"""Of a layer's state: its word, its pattern, its meaning."""


def known_sentence(reason: str) -> str:
    """Return the first sentence of a reason, and what a person has to look at if there is such a sentence."""
    sentences = re.split(r"(?<=\.)\s+(?=[A-Z])", reason.strip())
    looks = [one for one in sentences[1:] if one.startswith("A person has to look")]
    return " ".join([sentences[0], *looks[:1]])


def plain_action(text: str) -> str:
    """Return a recommended action as a person says it; times with their zone."""
    found = re.fullmatch(r"wait until (\S+)", text)
    return f"Wait until {clock(found[1])}" if found else text[:1].upper() + text[1:]


def moment_of(text: str | None) -> datetime | None:
    """Return a moment that was written as ISO 8601; None if it is none, or has no zone."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def clock(text: str | None) -> str:
    """Return a moment in the zone of this machine, which is named; a dash when there is none."""
    found = moment_of(text)
    return "–" if found is None else shown(found)


def shown(moment: datetime) -> str:
    """Return a moment in the zone of this machine: ``22 Nov 2026, 14:05 UTC+01:00``."""
    local = moment.astimezone()
    return f"{local.day} {local:%b %Y, %H:%M} {zone(local)}"


def exact(text: str | None) -> str:
    """Return a moment to the second, in UTC, as signatures and records show it."""
    found = moment_of(text)
    return "–" if found is None else f"{found.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def zone(moment: datetime) -> str:
    """Return the zone of a moment: ``UTC`` or ``UTC+01:00``."""
    offset = f"{moment:%z}"
    return "UTC" if offset in ("+0000", "") else f"UTC{offset[:3]}:{offset[3:5]}"


def age(text: str | None, now: datetime) -> str:
    """Return how long ago a moment was, in words."""
    found = moment_of(text)
    if found is None:
        return "time not known"
    minutes = int((now - found).total_seconds() // 60)
    if minutes < -10:
        return "in the future: check the clocks"
    if minutes < 1:
        return "just now"
    if minutes < 100:
        return f"{minutes} min ago"
    hours = minutes / 60
    return f"{hours:.0f} h ago" if hours < 48 else f"{hours / 24:.0f} days ago"


def passage_words(batch: str | None, passage: int | None) -> str:
    """Return the passage behind a batch that does not name it already."""
    return "" if passage is None or f"passage {passage}" in (batch or "") else f" · passage {passage}"


def percent(value: float | None) -> str:
    """Return a figure in percent, or a dash."""
    return "–" if value is None else f"{value:.0f} %"


def who_is(who: str) -> str:
    """Return somebody as the log names them, in words: ``m.rossi``, ``key k12``."""
    kind, _, name = who.partition(":")
    return who if not name else name if kind == "person" else f"{kind} {name}"
