"""Why somebody says what they say of a field or a vessel: codes that can be counted, each with its words.

A list is closed so that reasons can be counted; what does not fit goes under ``other``, with a text that says it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from msc_vision.errors import InvalidArgumentError
from msc_vision.review.events import NEED_REASON, Action

OTHER = "other"

Occasion = Literal["field", "opened again", "finding", "vessel"]
"""What a reason is given for: a field that is not used or is imaged again; one that is opened again; a place that shows
no such thing; an answer about a whole vessel."""


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason that can be counted: ``code`` stands in the event, ``words`` on the screen."""

    code: str
    words: str
    occasions: frozenset[Occasion]


def _reason(code: str, words: str, *occasions: Occasion) -> Reason:
    return Reason(code, words, frozenset(occasions))


REASONS: tuple[Reason, ...] = (
    _reason("out-of-focus", "out of focus", "field"),
    _reason("exposure", "too dark or too bright", "field"),
    _reason("uneven-light", "uneven light or meniscus", "field"),
    _reason("optics", "focus, light or meniscus", "vessel"),
    _reason("moved", "blurred by movement", "field"),
    _reason("debris", "debris, not cells", "field", "finding", "vessel"),
    _reason("bubbles", "bubbles or droplets", "field", "finding"),
    _reason("scratch", "scratch, wall or mark on the plastic", "field", "finding"),
    _reason("cells-not-signs", "these are cells or parts of cells", "finding"),
    _reason("masks-wrong", "the masks cannot be put right by hand", "field"),
    _reason("not-representative", "does not stand for its layer", "field"),
    _reason("detaching", "cells come off", "field"),
    _reason("cells-look-usual", "cells look as usual", "vessel"),
    _reason("cells-look-unusual", "cells look unusual", "field", "vessel"),
    _reason("contamination-suspected", "contamination suspected", "field", "vessel"),
    _reason("wrong-place", "wrong layer, place or vessel", "field"),
    _reason("wrong-vessel-or-data", "wrong vessel or data", "vessel"),
    _reason("process", "reason of the process", "vessel"),
    _reason("looked-again", "looked at again", "opened again", "finding"),
    _reason("mistake", "said by mistake", "opened again"),
    _reason("new-image", "there is a newer picture", "opened again"),
    _reason("second-opinion", "a second person should look", "opened again"),
    _reason(OTHER, "other: say below", "field", "opened again", "finding", "vessel"),
)

_BY_CODE: Mapping[str, Reason] = {one.code: one for one in REASONS}
_OCCASIONS: Mapping[Action, Occasion] = {
    "rejected": "field",
    "re-image": "field",
    "reopened": "opened again",
    "finding-dismissed": "finding",
    "settled": "vessel",
    "held": "vessel",
    "vessel-rejected": "vessel",
}


def reasons_for(action: Action) -> tuple[Reason, ...]:
    """Return the reasons that may be chosen for an action; none where it needs none."""
    occasion = _OCCASIONS.get(action)
    return tuple(one for one in REASONS if occasion in one.occasions)


def reason_words(code: str | None) -> str:
    """Return the words of a code; one that this version does not know stands for itself."""
    if code is None:
        return ""
    known = _BY_CODE.get(code)
    return code if known is None else known.words


def check_reason(action: Action, code: str | None, text: str) -> None:
    """Refuse a reason that does not say enough.

    Raises
    ------
    InvalidArgumentError
        If an action that needs a reason has no code, a code that is not for it, or ``other`` without a text.
    """
    if action not in NEED_REASON:
        return
    if not code:
        raise InvalidArgumentError(f"'{action}' needs a reason: choose one from the list.")
    allowed = [one.code for one in reasons_for(action)]
    if code not in allowed:
        raise InvalidArgumentError(f"{code!r} is no reason for '{action}'; there are {', '.join(allowed)}.")
    if code == OTHER and not text.strip():
        raise InvalidArgumentError("Say in a few words what it is: 'other' alone tells nobody why.")
