"""Lay a site's changes over a rule set, each with its reason, so that old and new stay visible."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from msc_vision.decision.rule_file import CriterionChange, Overlay, OverrideEntry, Pin, RuleFileError, problem_lines
from msc_vision.decision.rules import Change, Criterion, Override, RuleSet

ASKED = ("low", "high", "allowed", "probability", "coverage")
"""Keys that say what is asked for; whoever changes one says where the new value stands."""


def lay_over(base: RuleSet, overlay: Overlay, where: str) -> RuleSet:
    """Return the complete rule set that an overlay makes of what it extends.

    Parameters
    ----------
    base : RuleSet
        What ``overlay.extends`` names.
    overlay : Overlay
    where : str
        The overlay's file, for errors.

    Raises
    ------
    RuleFileError
        With a line for everything that is wrong: another text than the pinned one, an unknown criterion, a value that
        is already so, a limit changed without its source, a criterion that does not fit its metric.
    """
    by = f"{overlay.id} {overlay.version}"
    complaints = [f"{where}: {one}." for one in _complaints(base, overlay)]
    criteria: list[Criterion] = []
    overrides: list[Override] = []
    for criterion in base.criteria:
        entry = overlay.overrides.get(criterion.id)
        if entry is None:
            criteria.append(criterion)
            continue
        try:
            kept, override = _changed(criterion, entry, by)
        except ValidationError as err:
            complaints += problem_lines(err, {}, f"{where}: override of {criterion.id}")
            continue
        criteria += kept
        overrides.append(override)
    if complaints:
        raise RuleFileError(complaints)
    content = _head(base, overlay) | {
        "models": base.models if overlay.models is None else overlay.models.set,
        "criteria": (*criteria, *overlay.add),
        "overrides": (*base.overrides, *overrides, *_models_override(base, overlay, by)),
    }
    try:
        return RuleSet.model_validate(content)
    except ValidationError as err:
        raise RuleFileError(tuple(problem_lines(err, {}, where))) from err


def _head(base: RuleSet, overlay: Overlay) -> dict[str, Any]:
    own = {name: getattr(overlay, name) for name in ("id", "version", "status", "title", "description", "approval")}
    return own | {"extends": f"{base.id} {base.version} sha256:{base.sha256}"}


def _complaints(base: RuleSet, overlay: Overlay) -> Iterator[str]:
    """Yield what can be told before anything is changed."""
    if overlay.id == base.id:
        yield f"id: {overlay.id!r} is that of the rule set it extends; give it its own"
    yield from _pin_complaints(base, overlay.pin)
    known = {one.id: one for one in base.criteria}
    for name, entry in overlay.overrides.items():
        if name not in known:
            there = ", ".join(known) or "none"
            yield f"override of {name}: {base.id} {base.version} has no such criterion; it has {there}"
        elif entry.set is not None:
            yield from (f"override of {name}: {one}" for one in _change_complaints(known[name], entry.set))
    for criterion in overlay.add:
        if criterion.id in known:
            yield f"criterion {criterion.id}: {base.id} has it already; change it under overrides"


def _pin_complaints(base: RuleSet, pin: Pin | None) -> Iterator[str]:
    if pin is None:
        return
    if pin.version not in (None, base.version):
        yield f"pin: it wants version {pin.version} of {base.id}, found {base.version}"
    if pin.sha256 not in (None, base.sha256):
        yield f"pin: it wants {base.id} with sha256 {str(pin.sha256)[:12]}…, found {base.sha256[:12]}…"


def _change_complaints(criterion: Criterion, change: CriterionChange) -> Iterator[str]:
    new = _new_values(criterion, change)
    if not new:
        yield "set: it changes nothing; give a key and its new value, or leave the override out"
    for key, value in new.items():
        if key != "source" and value == getattr(criterion, key):  # a source may hold for the new value too
            yield f"set.{key}: it is {_told(value)} already"
    asked = [key for key in ASKED if key in new and new[key] != getattr(criterion, key)]
    if asked and "source" not in new:
        yield f"set: {' and '.join(asked)} changes, so say where the new value stands (source)"


def _new_values(criterion: Criterion, change: CriterionChange) -> dict[str, Any]:
    """Return every key that a change gives, with the coverage in full."""
    given = {key: getattr(change, key) for key in CriterionChange.model_fields if key in change.model_fields_set}
    if change.coverage is not None:
        partly = {key: getattr(change.coverage, key) for key in change.coverage.model_fields_set}
        given["coverage"] = criterion.coverage.model_copy(update=partly)
    return given


def _changed(criterion: Criterion, entry: OverrideEntry, by: str) -> tuple[tuple[Criterion, ...], Override]:
    """Return what becomes of a criterion, and the note of it."""
    if entry.set is None:
        return (), Override(criterion=criterion.id, by=by, reason=entry.reason, changed={}, removed=criterion)
    new = _new_values(criterion, entry.set)
    before = criterion.model_dump(mode="json")
    values = {name: getattr(criterion, name) for name in Criterion.model_fields} | new
    # through its dump, so that values that were merged in are checked like those of a file
    made = Criterion.model_validate({name: _plain(value) for name, value in values.items()})
    after = made.model_dump(mode="json")
    changed = {key: Change(old=before[key], new=after[key]) for key in before if before[key] != after[key]}
    return (made,), Override(criterion=criterion.id, by=by, reason=entry.reason, changed=changed)


def _models_override(base: RuleSet, overlay: Overlay, by: str) -> Iterator[Override]:
    if overlay.models is None:
        return
    old, new = ([one.model_dump(mode="json") for one in models] for models in (base.models, overlay.models.set))
    yield Override(
        criterion="models", by=by, reason=overlay.models.reason, changed={"models": Change(old=old, new=new)}
    )


def _plain(value: Any) -> Any:
    return value.model_dump() if hasattr(value, "model_dump") else value


def _told(value: Any) -> str:
    if isinstance(value, Mapping) or hasattr(value, "model_dump"):
        return "so"
    return ", ".join(value) if isinstance(value, tuple) else f"{value:g}" if isinstance(value, float) else str(value)
