"""Say why a record came to its verdict, and what would change it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from msc_vision.decision.actions import Action, read_action
from msc_vision.vessels import layer_ranges

_VERDICTS = {
    "GO": "Every criterion is met.",
    "NO_GO": "At least one criterion is not met.",
    "HOLD_REVIEW": "The evidence is there, but a person has to look at it.",
    "CANNOT_ASSESS": "The evidence is missing or too weak to judge.",
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """A verdict in words.

    Attributes
    ----------
    verdict : str
    action : Action
    summary : str
        One sentence.
    reasons : tuple of str
        Why it is not GO, the worst first: the messages of the criteria; layers of one criterion are told as one.
    changes : tuple of str
        What would change it; sentences.
    """

    verdict: str
    action: Action
    summary: str
    reasons: tuple[str, ...]
    changes: tuple[str, ...]


def explain(record: Mapping[str, Any]) -> Explanation:
    """Return why a record came to its verdict, and what would change that."""
    groups = tuple(_groups(record))
    return Explanation(
        verdict=record["verdict"],
        action=read_action(record["recommended_action"]),
        summary=_VERDICTS[record["verdict"]],
        reasons=tuple(one.reason for one in groups),
        changes=tuple(dict.fromkeys(_change(one) for one in groups)) or (_WHAT_ENDS_GO,),
    )


_WHAT_ENDS_GO = "It holds until the scan is too old for the rule set, or until there is a newer scan or review."


@dataclass(frozen=True, slots=True)
class _Group:
    """One criterion that keeps the verdict from GO, with all layers on which it does so for the same cause."""

    criterion: str
    why: str
    side: str | None
    layers: tuple[int, ...]
    probability: float | None
    limit: Any
    unit: str
    reason: str


def _groups(record: Mapping[str, Any]) -> Iterator[_Group]:
    results = {(one["id"], one["layer"]): one for one in record["criteria"]}
    alike: dict[tuple[str, str, str | None], list[int | None]] = {}
    for one in record["quality"]["open"]:
        alike.setdefault((one["criterion"], one["why"], one["side"]), []).append(one["layer"])
    for (name, why, side), places in alike.items():
        first = results[name, places[0]]
        layers = tuple(layer for layer in places if layer is not None)
        probabilities = [p for place in places if (p := results[name, place]["probability"]) is not None]
        reason = first["message"]
        if len(layers) > 1:
            reason = f"{reason} The same on layers {layer_ranges(layers[1:])}."
        yield _Group(
            name,
            why,
            side,
            layers,
            max(probabilities, default=None),
            first["limit"],
            first["unit"],
            reason,
        )


_NOT_KNOWN = re.compile(r"not known, because (.*?)\. ")
_CONDITIONS = {
    "run-usable": "A run folder that is finished and unaltered.",
    "identity": "A run of the vessel that was asked for; check which flask stood under the microscope.",
    "model-accepted": "A run measured by a network that the rule set accepts, or a rule set that accepts this one.",
    "rules-in-force": "An approved rule set that is in force.",
    "reviewer": "A later review.",
}


def _change(one: _Group) -> str:
    if one.criterion in _CONDITIONS:
        return _CONDITIONS[one.criterion]
    several = "layers" if len(one.layers) > 1 else "layer"
    place = f" on {several} {layer_ranges(one.layers)}" if one.layers else ""
    name = f"{one.criterion}{place}"
    if one.why == "doubt":
        return f"{name}: a reviewer who looks and settles it."
    if one.why == "weak":
        return (
            f"{name}: a figure further inside its limits, or a narrower interval (it lies within with probability"
            f" {one.probability:g} at best): more fields, more layers, or a method validated to a smaller error."
        )
    if one.why == "missing":
        clause = _NOT_KNOWN.search(one.reason)
        return f"{name}: what is missing ({clause[1]})." if clause else f"{name}: newer or fuller evidence."
    way = {"below": "a higher figure", "above": "a lower figure"}.get(one.side or "", "another finding")
    return f"{name}: {way} in a later scan."
