"""Criteria of a record as rows of a table, those that keep it from GO first."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from msc_vision.report.words import number_ranges
from msc_vision.service.board.words import OUTCOMES, Sign, clock

Record = Mapping[str, Any]
Causes = Mapping[tuple[str, int | None], str]


@dataclass(frozen=True, slots=True)
class CriterionRow:
    """One criterion, on one layer or on several that it says the same of."""

    id: str
    place: str
    sign: Sign
    observed: str
    interval: str
    limit: str
    probability: str
    source: str
    message: str
    is_placeholder: bool


@dataclass(frozen=True, slots=True)
class Doubt:
    """A criterion that a person may settle; ``name`` is that of its field in the form."""

    name: str
    criterion: str
    layer: int | None
    message: str


def open_causes(record: Record) -> dict[tuple[str, int | None], str]:
    """Return why each criterion that is not met or undetermined is so."""
    return {(one["criterion"], one["layer"]): one["why"] for one in record["quality"]["open"]}


def cause_of(criterion: Mapping[str, Any], causes: Causes) -> str:
    """Return what came of a criterion: met, not met, or why it is undetermined; a key of `OUTCOMES`."""
    if criterion["outcome"] != "undetermined":
        return str(criterion["outcome"])
    found = causes.get((criterion["id"], criterion["layer"]), "undetermined")
    return found if found in OUTCOMES else "undetermined"


def criterion_rows(record: Record) -> tuple[CriterionRow, ...]:
    """Return every criterion of a record, the worst first; layers of which one says just the same share a row."""
    causes = open_causes(record)
    rows = [(OUTCOMES[cause_of(one, causes)], one) for one in record["criteria"]]
    rows.sort(key=lambda row: row[0].rank)  # stable: within one outcome, as the rule set has them
    found = []
    for _, group in groupby(rows, key=lambda row: _likeness(*row)):
        members = list(group)
        sign, first = members[0]
        found.append(_row(sign, first, [one["layer"] for _, one in members if one["layer"] is not None]))
    return tuple(found)


def _likeness(sign: Sign, one: Mapping[str, Any]) -> object:
    if one["layer"] is None:
        return one["id"], None
    alike = tuple(str(one[name]) for name in ("id", "observed", "interval", "probability"))
    return alike, sign.word


def _row(sign: Sign, one: Mapping[str, Any], layers: list[int]) -> CriterionRow:
    source = str(one["source"])
    return CriterionRow(
        id=one["id"],
        place=f"layer{'s' if len(layers) > 1 else ''} {number_ranges(layers)}" if layers else "",
        sign=sign,
        observed=figure(one["observed"], one["unit"]),
        interval="" if one["interval"] is None else f"{one['interval'][0]:.3g} – {one['interval'][1]:.3g}",
        limit=limit_words(one["comparator"], one["limit"], one["unit"]),
        probability="" if one["probability"] is None else f"{one['probability']:g}",
        source=source,
        message=one["message"],
        is_placeholder=source.endswith("(placeholder)"),
    )


def figure(value: object, unit: str) -> str:
    """Return what was seen, with its unit."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return clock(value) if unit == "UTC" else value
    return f"{value:.4g} {unit}".strip() if isinstance(value, int | float) else str(value)


def limit_words(comparator: str | None, limit: object, unit: str) -> str:
    """Return what is allowed."""
    if limit is None:
        return ""
    if isinstance(limit, list | tuple):
        words = [str(one) if isinstance(one, str) else f"{one:g}" for one in limit]
        return f"{words[0]} to {words[1]} {unit}".strip() if comparator == "between" else ", ".join(words)
    if isinstance(limit, str):
        return f"{comparator or ''} {clock(limit) if unit == 'UTC' else limit}".strip()
    return f"{comparator or ''} {limit:g} {unit}".strip()


def doubts_of(record: Record) -> tuple[Doubt, ...]:
    """Return the criteria that a reviewer may settle: those that are undetermined because a person has to look."""
    asked = {(one["id"], one["layer"]): one for one in record["criteria"]}
    found = []
    for one in record["quality"]["open"]:
        place = one["criterion"], one["layer"]
        if one["why"] == "doubt" and one["criterion"] != "reviewer" and place in asked:
            name = f"settle:{one['criterion']}:{'' if one['layer'] is None else one['layer']}"
            found.append(Doubt(name, *place, asked[place]["message"]))
    return tuple(found)
