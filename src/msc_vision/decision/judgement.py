"""Hold the evidence of one vessel against a rule set: an outcome per criterion, and what follows from all of them.

A criterion on an estimate is guard-banded (JCGM 106:2012, section 8.3.3): it is met only if the probability that the
truth lies within its limits is at least the rule's own, not met if the probability that it lies beyond them is, and
undetermined in between. What was not seen is undetermined, never met.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple, TypeGuard

from msc_vision.decision.evidence import Evidence, Place, Reading
from msc_vision.decision.metrics import METRICS, Metric
from msc_vision.decision.rules import Criterion, RuleSet, Severity
from msc_vision.errors import InvalidArgumentError

Outcome = Literal["met", "not met", "undetermined"]
Cause = Literal["missing", "weak", "doubt"]
"""Why a criterion is undetermined: nothing is known; what is known does not suffice; a person has to look."""
Verdict = Literal["GO", "NO_GO", "HOLD_REVIEW", "CANNOT_ASSESS"]
Purpose = Literal["production", "trial"]
Comparator = Literal["between", "at least", "at most", "one of", "no later than"]
Side = Literal["below", "above"]

CLOCK_TOLERANCE = timedelta(minutes=10)
"""A microscope's clock may run ahead of ours by this much."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """A person's answer to a criterion that asked for one; ``layer`` is None except at level ``layer``."""

    criterion: str
    layer: int | None
    outcome: Literal["met", "not met"]


@dataclass(frozen=True, slots=True)
class Review:
    """What a person said of an earlier record of this vessel.

    ``settle`` answers doubts; ``hold`` asks for more review, ``reject`` says no. None of them makes up for what is
    missing, too weak or not met. ``at`` is ISO 8601 with zone.
    """

    reviewer: str
    at: str
    action: Literal["settle", "hold", "reject"]
    reason_code: str
    reason: str
    settles: tuple[Settlement, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """Who asks for what.

    Attributes
    ----------
    as_of : datetime
        The moment of the decision, with its zone; scans age until then.
    purpose : {'production', 'trial'}
        A draft rule set never gives GO in production.
    vessel_type, batch, passage : optional
        What the caller believes the vessel to be; a contradiction with the run is not met.
    supervisory_job_id, supervisory_task_id : str or None
        The caller's own.
    supersedes : str or None
        The ``decision_id`` of the record that this one replaces.
    review : Review or None
    """

    as_of: datetime
    purpose: Purpose = "production"
    vessel_type: str | None = None
    batch: str | None = None
    passage: int | None = None
    supervisory_job_id: str | None = None
    supervisory_task_id: str | None = None
    supersedes: str | None = None
    review: Review | None = None

    def __post_init__(self) -> None:
        if self.as_of.tzinfo is None:
            raise InvalidArgumentError(f"The moment of a decision needs a time zone, got {self.as_of.isoformat()}.")


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one criterion at one place.

    Attributes
    ----------
    observed : float, str or None
    limit : float, (float, float), tuple of str, str or None
    probability : float or None
        That the truth lies within the limits; 1 or 0 for what is exact.
    side : {'below', 'above'} or None
        Where most of the probability beyond the limits lies.
    """

    id: str
    outcome: Outcome
    cause: Cause | None
    severity: Severity
    metric: str | None
    layer: int | None
    observed: float | str | None
    interval: tuple[float, float] | None
    unit: str
    limit: float | tuple[float, float] | tuple[str, ...] | str | None
    comparator: Comparator | None
    probability: float | None
    side: Side | None
    source: str
    message: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict, and every criterion that led to it, passed ones too."""

    verdict: Verdict
    results: tuple[Result, ...]


def judge(evidence: Evidence, rules: RuleSet, request: Request) -> Judgement:
    """Judge one vessel.

    Raises
    ------
    InvalidArgumentError
        If a review settles a criterion that does not ask for a person.
    """
    results = (
        *_conditions(evidence, rules, request),
        *(one for criterion in rules.criteria for one in _judge_criterion(criterion, evidence, request)),
    )
    results = _reviewed(results, request.review)
    return Judgement(verdict_of((one.outcome, one.cause) for one in results), results)


def verdict_of(outcomes: Iterable[tuple[Outcome, Cause | None]]) -> Verdict:
    """Return what some outcomes come to.

    Not met outranks undetermined, which outranks met. Among the undetermined, evidence that is missing or weak outranks
    a doubt: a person who looks cannot make up for it. Nothing at all is not enough.
    """
    found = set(outcomes)
    if any(outcome == "not met" for outcome, _ in found):
        return "NO_GO"
    causes = {cause for outcome, cause in found if outcome == "undetermined"}
    if causes - {"doubt"} or not found:
        return "CANNOT_ASSESS"
    return "HOLD_REVIEW" if causes else "GO"


# --- conditions of every decision ------------------------------------------------------------------------------------

ALWAYS = "msc-vision, conditions of every decision"


def _conditions(evidence: Evidence, rules: RuleSet, request: Request) -> tuple[Result, ...]:
    """Return what has to hold whatever the rule set says."""
    return (
        _run_usable(evidence),
        _identity(evidence, request),
        _model_accepted(evidence, rules),
        _rules_in_force(rules, request),
        *_person(request.review),
    )


def _condition(name: str, outcome: Outcome, message: str, observed: str | None = None) -> Result:
    cause: Cause | None = "missing" if outcome == "undetermined" else None
    probability = {"met": 1.0, "not met": 0.0}.get(outcome)
    return Result(
        name, outcome, cause, "major", None, None, observed, None, "", None, None, probability, None, ALWAYS, message
    )


def _run_usable(evidence: Evidence) -> Result:
    if evidence.problems:
        return _condition("run-usable", "undetermined", " ".join(evidence.problems), evidence.run_id)
    return _condition("run-usable", "met", "The run is finished, and its results are as they were written.")


def _identity(evidence: Evidence, request: Request) -> Result:
    expected = {
        "vessel_type": (request.vessel_type, evidence.vessel_type),
        "batch": (request.batch, evidence.batch),
        "passage": (request.passage, evidence.passage),
    }
    asked = {name: pair for name, pair in expected.items() if pair[0] is not None}
    wrong = [f"{name} is {seen}, not {told}" for name, (told, seen) in asked.items() if seen not in (None, told)]
    if wrong:
        return _condition(
            "identity", "not met", f"This is not the vessel that was asked for: {'; '.join(wrong)}.", evidence.vessel_id
        )
    unknown = [name for name, (_, seen) in asked.items() if seen is None]
    if unknown:
        message = f"The run does not tell the {' and '.join(unknown)} of the vessel, so it cannot be compared."
        return _condition("identity", "undetermined", message, evidence.vessel_id)
    tail = f", and it is what was asked for ({', '.join(asked)})" if asked else ""
    return _condition("identity", "met", f"The run shows vessel {evidence.vessel_id}{tail}.", evidence.vessel_id)


def _model_accepted(evidence: Evidence, rules: RuleSet) -> Result:
    used = evidence.model_id or "none"
    for one in rules.models:
        if one.id == used and one.sha256 in (None, evidence.model_sha256):
            return _condition("model-accepted", "met", f"The rule set accepts the network used: {used}.", used)
    known = ", ".join(one.id for one in rules.models) or "no network"
    message = f"The rule set does not accept what measured this run ({used}); it accepts {known}."
    return _condition("model-accepted", "undetermined", message, used)


def _rules_in_force(rules: RuleSet, request: Request) -> Result:
    name = f"{rules.id} {rules.version}"
    if not rules.criteria:
        return _condition("rules-in-force", "undetermined", f"Rule set {name} has no criterion.", name)
    today = request.as_of.astimezone(UTC).date()
    later = [one.id for one in rules.criteria if one.source.in_force is not None and one.source.in_force > today]
    if rules.approval is not None and rules.approval.on > today:
        later.insert(0, "the rule set itself")
    if later:
        return _condition("rules-in-force", "undetermined", f"Not yet in force on {today}: {', '.join(later)}.", name)
    if rules.status != "approved" and request.purpose == "production":
        message = f"Rule set {name} is a draft: no decision for production. Approve it, or ask for a trial decision."
        return _condition("rules-in-force", "undetermined", message, name)
    if rules.status != "approved":
        return _condition("rules-in-force", "met", f"Trial: rule set {name} is a draft, not for production.", name)
    return _condition("rules-in-force", "met", f"Rule set {name} is approved.", name)


def _person(review: Review | None) -> tuple[Result, ...]:
    if review is None or review.action == "settle":
        return ()
    said = f"{review.reviewer} ({review.reason_code}): {review.reason}"
    if review.action == "reject":
        return (_condition("reviewer", "not met", f"Rejected by {said}", review.reviewer),)
    held = _condition("reviewer", "undetermined", f"Held for review by {said}", review.reviewer)
    return (replace(held, cause="doubt"),)


# --- criteria --------------------------------------------------------------------------------------------------------


def _judge_criterion(criterion: Criterion, evidence: Evidence, request: Request) -> Iterable[Result]:
    """Return a result, or one per layer for a criterion on layers."""
    layers: Sequence[int | None] = range(1, len(evidence.layer_states) + 1) if criterion.level == "layer" else (None,)
    if not layers:
        layers = (None,)
    for layer in layers:
        reading = evidence.reading(Place(criterion.metric, criterion.level, layer))
        uncovered = _uncovered(criterion, evidence, layer)
        if uncovered is not None:
            reading = replace(reading, belief=None, missing=uncovered)
        yield _judge_reading(criterion, reading, layer, request.as_of)


def _uncovered(criterion: Criterion, evidence: Evidence, layer: int | None) -> str | None:
    """Return why too little was seen for a criterion, as a clause; None if enough was."""
    needs = criterion.coverage
    if needs.measured_percent > 0:
        found = evidence.reading(Place("measured_percent", "vessel")).value
        if not _is_number(found) or found < needs.measured_percent:
            return f"{_figure(found)} % of the culture area was measured, {needs.measured_percent:g} % is needed"
    if needs.fields > 0 and (layer is None or evidence.layer_states[layer - 1].startswith("measured")):
        place = Place("fields_scored", "vessel" if layer is None else "layer", layer)
        found = evidence.reading(place).value
        if not _is_number(found) or found < needs.fields:
            return f"{_figure(found)} fields were scored, {needs.fields} are needed"
    return None


class _Shown(NamedTuple):
    """How a result shows what was seen and what is allowed."""

    observed: float | str | None
    unit: str
    limit: float | tuple[float, float] | tuple[str, ...] | str | None
    comparator: Comparator


class _Finding(NamedTuple):
    """What came of holding a reading against a criterion."""

    outcome: Outcome
    cause: Cause | None
    probability: float | None = None
    side: Side | None = None


_UNKNOWN = _Finding("undetermined", "missing")


def _judge_reading(criterion: Criterion, reading: Reading, layer: int | None, as_of: datetime) -> Result:
    asked = METRICS[criterion.metric]
    shown = _shown(criterion, asked, reading)
    clause = _missing_clause(reading, asked, as_of)
    found = _UNKNOWN if clause is not None else _JUDGES[asked.kind](criterion, asked, reading, as_of)
    about = f"{asked.label}{_place(criterion, layer)}"
    about = f"{about}:" if clause is not None or asked.kind == "category" else about
    seen = _compared(shown, criterion, reading, found) if clause is None else f"not known, because {clause}."
    message = f"{about} {seen} {criterion.message}"
    return Result(
        criterion.id,
        found.outcome,
        found.cause,
        criterion.severity,
        criterion.metric,
        layer,
        shown.observed,
        reading.interval,
        shown.unit,
        shown.limit,
        shown.comparator,
        found.probability,
        found.side,
        str(criterion.source),
        message,
    )


def _missing_clause(reading: Reading, asked: Metric, as_of: datetime) -> str | None:
    """Return why a reading cannot be judged at all."""
    value = reading.value
    if reading.missing is not None:
        return reading.missing
    if value is None:
        return "the run does not tell"
    return _UNUSABLE[asked.kind](reading, asked, as_of)


def _no_number(reading: Reading, _: Metric, __: datetime) -> str | None:
    return None if _is_number(reading.value) else f"it is {reading.value}, which is no number"


def _no_estimate(reading: Reading, asked: Metric, as_of: datetime) -> str | None:
    if reading.belief is None:
        return _no_number(reading, asked, as_of) or "how sure the figure is, is not known"
    if not reading.belief.has_width:
        return "its interval has no width, which tells nothing of how sure it is"
    return _no_number(reading, asked, as_of)


def _no_word(reading: Reading, asked: Metric, _: datetime) -> str | None:
    known = set(asked.words) - set(asked.unknown)
    return None if reading.value in known else f"it is {reading.value}"


def _no_time(reading: Reading, _: Metric, as_of: datetime) -> str | None:
    moment = _moment(reading.value)
    if moment is None:
        return f"{reading.value} is no time with a zone"
    if moment > as_of + CLOCK_TOLERANCE:
        return f"it is said to be of {utc(moment)}, which is after the decision"
    return None


_UNUSABLE = {"estimate": _no_estimate, "exact": _no_number, "category": _no_word, "time": _no_time}


def _judge_estimate(criterion: Criterion, asked: Metric, reading: Reading, _: datetime) -> _Finding:
    belief = reading.belief
    if belief is None:
        return _UNKNOWN
    within = belief.probability_within(criterion.low, criterion.high)
    if within >= criterion.probability:
        return _kept(reading, within)
    below = 0.0 if criterion.low is None else 1 - belief.probability_within(criterion.low, None)
    side: Side = "below" if 2 * below > 1 - within else "above"
    if 1 - within >= criterion.probability:
        return _beyond(asked, within, side)
    return _Finding("undetermined", "weak", within, side)


def _judge_exact(criterion: Criterion, asked: Metric, reading: Reading, _: datetime) -> _Finding:
    value = reading.value
    if not _is_number(value):
        return _UNKNOWN
    if criterion.low is not None and value < criterion.low:
        return _beyond(asked, 0.0, "below")
    if criterion.high is not None and value > criterion.high:
        return _beyond(asked, 0.0, "above")
    return _kept(reading, 1.0)


def _judge_category(criterion: Criterion, asked: Metric, reading: Reading, _: datetime) -> _Finding:
    if reading.value in criterion.allowed:
        return _kept(reading, 1.0)
    if reading.value in asked.doubtful:
        return _Finding("undetermined", "doubt")
    return _beyond(asked, 0.0, None)


def _judge_time(criterion: Criterion, asked: Metric, reading: Reading, as_of: datetime) -> _Finding:
    moment = _moment(reading.value)
    if moment is None or criterion.high is None:
        return _UNKNOWN
    late = as_of > moment + timedelta(hours=criterion.high)
    return _beyond(asked, 0.0, "above") if late else _kept(reading, 1.0)


_JUDGES = {
    "estimate": _judge_estimate,
    "exact": _judge_exact,
    "category": _judge_category,
    "time": _judge_time,
}


def _kept(reading: Reading, probability: float) -> _Finding:
    """Return what comes of a value within its limits: met, unless a person has to look first."""
    if reading.doubts:
        return _Finding("undetermined", "doubt", probability)
    return _Finding("met", None, probability)


def _beyond(asked: Metric, probability: float, side: Side | None) -> _Finding:
    if asked.beyond == "not met":
        return _Finding("not met", None, probability, side)
    return _Finding("undetermined", asked.beyond, probability, side)


# --- reviews ---------------------------------------------------------------------------------------------------------


def _reviewed(results: tuple[Result, ...], review: Review | None) -> tuple[Result, ...]:
    """Return the results, doubts answered as a reviewer settled them."""
    if review is None:
        return results
    answers = {(one.criterion, one.layer): one.outcome for one in review.settles}
    if len(answers) < len(review.settles):
        raise InvalidArgumentError("A review settles one criterion twice; give one answer to each.")
    open_doubts = {(one.id, one.layer) for one in results if one.cause == "doubt" and one.metric is not None}
    for name, layer in answers:
        if (name, layer) not in open_doubts:
            raise InvalidArgumentError(_cannot_settle(name, layer, results, open_doubts))
    said = f"Settled by {review.reviewer} ({review.reason_code}): {review.reason}"
    return tuple(_settled(one, answers.get((one.id, one.layer)), said) for one in results)


def _settled(result: Result, answer: Literal["met", "not met"] | None, said: str) -> Result:
    if answer is None:
        return result
    return replace(result, outcome=answer, cause=None, message=f"{result.message} {said}")


def _cannot_settle(
    name: str, layer: int | None, results: Sequence[Result], open_doubts: set[tuple[str, int | None]]
) -> str:
    place = name if layer is None else f"{name} on layer {layer}"
    states = [one.cause or one.outcome for one in results if (one.id, one.layer) == (name, layer)]
    what = f"it is {states[0]}" if states else "there is no such criterion"
    asks = sorted(one if at is None else f"{one} on layer {at}" for one, at in open_doubts)
    return (
        f"A person cannot settle {place}: {what}. Only these ask for a person: {', '.join(asks) or 'none'}. Missing or"
        " weak evidence needs more images, and what is not met stays so."
    )


# --- words -----------------------------------------------------------------------------------------------------------


def _place(criterion: Criterion, layer: int | None) -> str:
    if layer is not None:
        return f" on layer {layer}"
    return " of the batch" if criterion.level == "batch" else ""


def _shown(criterion: Criterion, asked: Metric, reading: Reading) -> _Shown:
    """Return what a result shows; an age as a moment and its latest, which do not change while one looks."""
    moment = _moment(reading.value) if asked.kind == "time" else None
    if moment is None or criterion.high is None:
        return _Shown(_observed(reading.value), criterion.unit, _limit(criterion), _comparator(criterion))
    return _Shown(utc(moment), "UTC", utc(moment + timedelta(hours=criterion.high)), "no later than")


def _compared(shown: _Shown, criterion: Criterion, reading: Reading, found: _Finding) -> str:
    """Return what was seen, what is allowed, how sure that is, and what a person has to look at; sentences."""
    sure = ""
    if METRICS[criterion.metric].kind == "estimate" and found.probability is not None:
        shown_p = shown_probability(found.probability)
        sure = f" Within with probability {shown_p:g}, {criterion.probability:g} is needed."
    doubts = ""
    if found.cause == "doubt":
        doubts = f" A person has to look: {'; '.join(reading.doubts or (_doubt(shown),))}."
    return f"{_seen(shown, reading.interval)}; {_allowed(shown)}.{sure}{doubts}"


def _doubt(shown: _Shown) -> str:
    return f"{shown.observed} is a sign to confirm or refute" if shown.comparator == "one of" else "beyond the limit"


def _seen(shown: _Shown, interval: tuple[float, float] | None) -> str:
    unit = " %" if shown.unit == "%" else ""
    between = "" if interval is None else f" ({_figure(interval[0])}-{_figure(interval[1])})"
    return f"{_figure(shown.observed)}{unit}{between}"


def _allowed(shown: _Shown) -> str:
    limit = shown.limit
    unit = " %" if shown.unit == "%" else ""
    if isinstance(limit, tuple):
        words = [_figure(one) for one in limit]
        return (
            f"allowed {words[0]} to {words[1]}{unit}"
            if shown.comparator == "between"
            else f"allowed: {', '.join(words)}"
        )
    if shown.comparator == "no later than":
        return f"good for a decision until {limit}"
    return f"allowed {shown.comparator} {_figure(limit)}{unit}"


def shown_probability(probability: float) -> float:
    """Return a probability as a record shows it: four decimals, never rounded up."""
    return math.floor(probability * 1e4 + 1e-9) / 1e4


def _figure(value: float | str | None) -> str:
    return "nothing" if value is None else value if isinstance(value, str) else f"{value:.4g}"


def _observed(value: float | str | None) -> float | str | None:
    """Return a value as a record can hold it: what is no number is none."""
    return value if value is None or isinstance(value, str) or math.isfinite(value) else None


def _limit(criterion: Criterion) -> float | tuple[float, float] | tuple[str, ...] | None:
    if criterion.allowed:
        return criterion.allowed
    if criterion.low is not None and criterion.high is not None:
        return (criterion.low, criterion.high)
    return criterion.low if criterion.high is None else criterion.high


def _comparator(criterion: Criterion) -> Comparator:
    if criterion.allowed:
        return "one of"
    if criterion.low is not None and criterion.high is not None:
        return "between"
    return "at least" if criterion.high is None else "at most"


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _moment(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def utc(moment: datetime) -> str:
    """Return a moment as records write it: UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
