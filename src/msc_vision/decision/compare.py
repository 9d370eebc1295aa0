"""What differs between two rule sets: what decides first, wording apart from it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from msc_vision.decision.rules import Criterion, RuleSet

WORDING = ("source", "message")
"""Keys of a criterion that change no verdict."""
_HEAD = ("id", "version", "status", "approval", "extends")


@dataclass(frozen=True, slots=True)
class Difference:
    """A value that differs; ``criterion`` is None for one of the rule set itself."""

    criterion: str | None
    key: str
    old: Any
    new: Any

    def __str__(self) -> str:
        """Return the difference as a line."""
        place = "" if self.criterion is None else f"{self.criterion}: "
        return f"{place}{self.key} {told(self.old)} -> {told(self.new)}"


@dataclass(frozen=True, slots=True)
class RuleDiff:
    """What differs between two rule sets.

    Attributes
    ----------
    head : tuple of Difference
        Of the sets: version, status, approval, networks.
    added, removed : tuple of Criterion
    deciding : tuple of Difference
        Of criteria that both have: what may change a verdict.
    wording : tuple of Difference
        Titles, messages and sources.
    """

    head: tuple[Difference, ...]
    added: tuple[Criterion, ...]
    removed: tuple[Criterion, ...]
    deciding: tuple[Difference, ...]
    wording: tuple[Difference, ...]

    @property
    def decides_alike(self) -> bool:
        """Whether both sets ask the same of the same networks; drafts and approved ones still differ in production."""
        return not (self.added or self.removed or self.deciding or any(one.key == "models" for one in self.head))


def compare_rules(old: RuleSet, new: RuleSet) -> RuleDiff:
    """Return what differs between two rule sets."""
    before, after = ({one.id: one for one in rules.criteria} for rules in (old, new))
    changes = [one for name in before if name in after for one in _changes(before[name], after[name])]
    old_head, new_head = (rules.model_dump(mode="json") for rules in (old, new))
    models = [tuple(_model(one) for one in rules.models) for rules in (old, new)]
    head = [Difference(None, key, old_head[key], new_head[key]) for key in _HEAD if old_head[key] != new_head[key]]
    head += [Difference(None, "models", *models)] if models[0] != models[1] else []
    texts = [
        Difference(None, key, old_head[key], new_head[key])
        for key in ("title", "description")
        if old_head[key] != new_head[key]
    ]
    return RuleDiff(
        head=tuple(head),
        added=tuple(one for name, one in after.items() if name not in before),
        removed=tuple(one for name, one in before.items() if name not in after),
        deciding=tuple(one for one in changes if one.key not in WORDING),
        wording=(*texts, *(one for one in changes if one.key in WORDING)),
    )


def _changes(old: Criterion, new: Criterion) -> Iterator[Difference]:
    before, after = old.model_dump(mode="json"), new.model_dump(mode="json")
    for key, value in before.items():
        if value != after[key]:
            was, now = (str(one.source) if key == "source" else one.model_dump()[key] for one in (old, new))
            yield Difference(old.id, key, was, now)


def _model(one: Any) -> str:
    return one.id if one.sha256 is None else f"{one.id} {one.sha256[:12]}…"


def told(value: Any) -> str:
    """Return a value as a reader sees it in a difference."""
    if value is None or value == ():
        return "none"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {told(one)}" for key, one in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def told_limits(criterion: Criterion) -> str:
    """Return the limits of a criterion in a few words, with the unit."""
    unit = f" {criterion.unit}" if criterion.unit not in ("", "ratio") else ""
    low, high = criterion.low, criterion.high
    if criterion.allowed:
        return ", ".join(criterion.allowed)
    if low is not None and high is not None:
        return f"{low:g} to {high:g}{unit}"
    return f"at least {low:g}{unit}" if high is None else f"at most {high:g}{unit}"
