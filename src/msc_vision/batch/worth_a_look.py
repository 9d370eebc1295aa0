"""In which order a person looks at the fields of a run: where a look is worth most first, each with the reason.

Nothing is measured here. The order follows from what the run found, what people said of it, and the last decision.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

from scipy.special import stdtr

from msc_vision.batch.reviewed import RunFigures
from msc_vision.morphology.drift import Drift
from msc_vision.records import FieldScore
from msc_vision.review.events import ReviewEvent
from msc_vision.review.reasons import reason_words
from msc_vision.review.state import FieldReview, ReviewState
from msc_vision.statistics.arithmetic import counted
from msc_vision.statistics.rollup import ScoredField, latest_fields
from msc_vision.statistics.settings import DOUBTS

Why = Literal[
    "failed", "rejected", "suspect", "disputed", "doubtful", "drives the verdict", "unusual", "sample", "judged"
]
"""Why a field stands where it does, in the order of the list: ``sample`` are fields that nothing speaks against, one of
each layer first; ``judged`` are those of which somebody has said what becomes of them."""
WHYS: tuple[Why, ...] = get_args(Why)

CHANCE = 0.02
"""Share of layers in which chance alone makes a field look unlike the others; it moves attention, and no figure."""
FEWEST_OTHERS = 3
"""Fields that a spread is seen from."""
MOST_WORST_LAYERS = 3
"""So many of the worst layers come first where the verdict hangs on the vessel as a whole."""

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class WorthALook:
    """One field in the order in which fields are looked at.

    Attributes
    ----------
    key : str
    why : str
    sentence : str
        What to look for, for a person.
    """

    key: str
    why: Why
    sentence: str


class _Claim(NamedTuple):
    """A reason to look at a field; within one ``why``, the lower ``weight`` comes first."""

    why: Why
    weight: float
    sentence: str


def worth_a_look(
    figures: RunFigures, state: ReviewState, records: Mapping[str, Record] | None = None
) -> tuple[WorthALook, ...]:
    """Return the fields of the latest time point of every vessel, those that are most worth a look first.

    The same run, events and records give the same order. A field has the first reason that holds of it; one that was
    judged comes last, unless two people disagree on it.

    Parameters
    ----------
    figures : RunFigures
        As the run found them: what a review took out of them is no reason to look again.
    state : ReviewState
    records : mapping of str to mapping, optional
        The last decision record of each vessel that has one, by its id.
    """
    latest = latest_fields(figures.fields.values())
    fields = [one for key, one in figures.fields.items() if key in latest]
    driving = _driving(figures, records or {})
    unlike = _unlike_their_layer(fields)
    claims = {
        one.score.key: _claim(one, figures, state.of(one.score.key), driving, unlike) for one in fields
    }  # in the order of the manifest, which settles ties
    return tuple(
        WorthALook(one.score.key, claims[one.score.key].why, claims[one.score.key].sentence)
        for one in _in_order(fields, claims)
    )


def _in_order(fields: Sequence[ScoredField], claims: Mapping[str, _Claim]) -> Iterator[ScoredField]:
    """Yield fields by their reason; where that does not part them, one of each layer before a second one of any."""
    by_why: defaultdict[Why, list[ScoredField]] = defaultdict(list)
    for one in fields:
        by_why[claims[one.score.key].why].append(one)
    n_listed: Counter[tuple[str, int]] = Counter()
    for why in WHYS:
        turn = {}
        ahead = Counter(n_listed)
        for one in sorted(by_why[why], key=lambda field: claims[field.score.key].weight):
            place = one.row.vessel_id, one.row.layer
            turn[one.score.key] = ahead[place], claims[one.score.key].weight
            ahead[place] += 1
        takes_turns = why in ("drives the verdict", "sample")
        members = sorted(by_why[why], key=lambda field: turn[field.score.key][0 if takes_turns else 1 :])
        n_listed.update((one.row.vessel_id, one.row.layer) for one in members)
        yield from members


# --- the reason ------------------------------------------------------------------------------------------------------


def _claim(
    field: ScoredField,
    figures: RunFigures,
    review: FieldReview,
    driving: Mapping[tuple[str, int], tuple[int, str]],
    unlike: Mapping[str, tuple[float, str]],
) -> _Claim:
    """Return the first reason that holds."""
    said = _said_claim(review) or _found_claim(field.score)
    if said is not None:
        return said
    place = field.row.vessel_id, field.row.layer
    if place in driving:
        return _Claim("drives the verdict", *driving[place])
    if field.score.key in unlike:
        return _Claim("unusual", *unlike[field.score.key])
    return _drift_claim(figures.characters.fields.get(field.score.key)) or _Claim(
        "sample", 0, f"Nothing speaks against it: a sample of layer {field.row.layer}."
    )


def _said_claim(review: FieldReview) -> _Claim | None:
    if review.is_disputed:
        return _Claim("disputed", 0, _disputed_words(review))
    return None if review.decided_by is None else _Claim("judged", 0, _judged_words(review.decided_by))


def _found_claim(score: FieldScore) -> _Claim | None:
    """Return what the run itself found that a person has to look at."""
    if score.status == "failed":
        return _Claim("failed", 0, f"Failed: {_reason(score.reason)}")
    if score.status == "rejected":
        return _Claim("rejected", 0, f"Not judgeable: {_reason(score.reason)}")
    if score.contamination == "suspect":
        return _Claim("suspect", 0, score.contamination_note or "A visual sign of contamination.")
    flags = [flag for flag in DOUBTS if flag in score.flags]
    if flags:
        return _Claim("doubtful", list(DOUBTS).index(flags[0]), _sentence("; ".join(DOUBTS[one] for one in flags)))
    return None


def _drift_claim(drift: Drift | None) -> _Claim | None:
    if drift is None or not drift.is_alarm:
        return None
    said = ", ".join(driver.words for driver in drift.drivers)
    return _Claim("unusual", drift.probability or 0.0, _sentence(f"cells unlike the baseline{said and f': {said}'}"))


def _reason(text: str | None) -> str:
    return _sentence(" ".join((text or "no reason was recorded").split()))


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


_SAID = {"accepted": "accepted it", "rejected": "rejected it", "re-image": "asked to image it again"}


def _disputed_words(review: FieldReview) -> str:
    last = {one.reviewer.name: _SAID[one.action] for one in review.events if one.action in _SAID}
    said = "; ".join(f"{name} {what}" for name, what in sorted(last.items()))
    return f"People disagree: {said}. Look together, then judge it again."


def _judged_words(said: ReviewEvent) -> str:
    why = said.reason or reason_words(said.reason_code)
    return f"{said.reviewer.name} {_SAID[said.action]}{f': {why}' if why else ''}".removesuffix(".") + "."


# --- what drives the verdict -----------------------------------------------------------------------------------------


def _driving(figures: RunFigures, records: Mapping[str, Record]) -> dict[tuple[str, int], tuple[int, str]]:
    """Return the layers that keep a vessel from GO, or might, each with its turn and a sentence."""
    found: dict[tuple[str, int], tuple[int, str]] = {}
    for vessel in figures.vessels:
        record = records.get(vessel.vessel_id)
        named = {} if record is None else _open_layers(record)
        has_vessel_wide = record is None or any(one["layer"] is None for one in record["quality"]["open"])
        for turn, layer in enumerate(vessel.worst_layers):
            if layer in named:
                found[vessel.vessel_id, layer] = turn, f"Layer {layer} drives the verdict: {named[layer]}."
            elif has_vessel_wide and turn < min(MOST_WORST_LAYERS, len(vessel.worst_layers) // 2):
                low, high = vessel.window_percent
                said = f"Layer {layer} is the {_nth(turn)}least likely to lie within {low:g} to {high:g} % confluency."
                found[vessel.vessel_id, layer] = turn, said
        for layer in sorted(named.keys() - {*vessel.worst_layers}):
            found[vessel.vessel_id, layer] = len(vessel.worst_layers), f"Layer {layer}: {named[layer]}."
    return found


def _nth(turn: int) -> str:
    return ("", "second ", "third ")[turn] if turn < MOST_WORST_LAYERS else ""


def _open_layers(record: Record) -> dict[int, str]:
    """Return the layers on which a criterion of a record is open, with what is said of them.

    A criterion that is open on every layer parts none of them from the others.
    """
    by_layer: defaultdict[int, list[str]] = defaultdict(list)
    n_layers = record["coverage"]["layers_total"]
    open_on = Counter(one["criterion"] for one in record["quality"]["open"] if one["layer"] is not None)
    for one in record["quality"]["open"]:
        if one["layer"] is not None and (open_on[one["criterion"]] < n_layers or n_layers == 1):
            outcome = "is not met" if one["why"] == "not met" else "is undetermined"
            by_layer[one["layer"]].append(f"{one['criterion']} {outcome}")
    return {layer: ", ".join(dict.fromkeys(said)) for layer, said in by_layer.items()}


# --- what is unlike its layer ----------------------------------------------------------------------------------------


def _unlike_their_layer(fields: Iterable[ScoredField]) -> dict[str, tuple[float, str]]:
    """Return the fields whose confluency the other fields of their layer would not lead one to expect."""
    by_layer: defaultdict[tuple[str, int], list[ScoredField]] = defaultdict(list)
    for one in fields:
        if one.score.status == "scored" and one.score.confluency_percent is not None:
            by_layer[one.row.vessel_id, one.row.layer].append(one)
    found = {}
    for (_, layer), members in by_layer.items():
        for one in members:
            others = [each.score.confluency_percent or 0.0 for each in members if each is not one]
            if len(others) < FEWEST_OTHERS:
                continue
            value = one.score.confluency_percent or 0.0
            chance = chance_of(value, others)
            if chance < CHANCE / len(members):
                found[one.score.key] = chance, _unlike_words(value, others, layer)
    return found


def chance_of(value: float, others: Sequence[float]) -> float:
    """Return how probable a value at least this far from the mean of others is, if all are of one normal distribution.

    Parameters
    ----------
    value : float
    others : sequence of float
        At least two. Their own SD (n - 1) is the measure: this is Student's t for one more value.
    """
    n = len(others)
    mean = math.fsum(others) / n
    sd = math.sqrt(math.fsum((one - mean) ** 2 for one in others) / (n - 1))
    if math.isclose(value, mean, rel_tol=1e-9, abs_tol=1e-9):
        return 1.0
    if sd == 0:
        return 0.0
    return float(2 * stdtr(n - 1, -abs(value - mean) / (sd * math.sqrt(1 + 1 / n))))


def _unlike_words(value: float, others: Sequence[float], layer: int) -> str:
    return (
        f"{value:.0f} % confluent; the other {counted(len(others), 'field')} of layer {layer} have"
        f" {min(others):.0f} to {max(others):.0f} %."
    )
