"""What to do next about a vessel: harvest, wait, image more, look, or set apart.

The text of an action has a fixed form, so that a robot can read it and a record can carry it: see `Action.text` and
`read_action`.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from msc_vision.decision.belief import INTERVAL_LEVELS, Belief, to_inner, to_outer
from msc_vision.decision.evidence import Evidence, LayerSampling, Place
from msc_vision.decision.judgement import Judgement, Result, utc
from msc_vision.decision.metrics import METRICS
from msc_vision.decision.rules import RuleSet
from msc_vision.errors import InvalidDataError
from msc_vision.vessels import layer_ranges

Kind = Literal["harvest", "wait", "image", "hold and review", "quarantine"]

FEWEST_FIELDS = 9
"""To image on a layer of which nothing is known yet: placeholder, the fewest that a spread of fields is judged from."""
MOST_FACTOR = 8
"""More fields than this times those at hand are no advice: something else has to change."""
_TWO_SIDES = 2 * 1.959964


@dataclass(frozen=True, slots=True)
class Action:
    """What to do.

    Attributes
    ----------
    kind : {'harvest', 'wait', 'image', 'hold and review', 'quarantine'}
    until : str or None
        Of ``wait``: ISO 8601, UTC; None: when, is not known.
    n_fields : int or None
        Of ``image``: how many more, on each of the layers.
    layers : tuple of int
    """

    kind: Kind
    until: str | None = None
    n_fields: int | None = None
    layers: tuple[int, ...] = ()

    @property
    def text(self) -> str:
        """The action in words of a fixed form."""
        if self.kind == "wait":
            return f"wait until {self.until}" if self.until else "wait and image again"
        if self.kind == "image":
            fields = "field" if self.n_fields == 1 else "fields"
            where = "each of layers" if len(self.layers) > 1 else "layer"
            return f"image {self.n_fields} more {fields} on {where} {layer_ranges(self.layers)}"
        return self.kind


_IMAGE = re.compile(r"image (\d+) more fields? on (?:each of layers|layer) ([\d, -]+)")
_WAIT = re.compile(r"wait until (\S+)")


def read_action(text: str) -> Action:
    """Return the action that a text of `Action.text` stands for.

    Raises
    ------
    InvalidDataError
        If the text has another form.
    """
    if text in ("harvest", "hold and review", "quarantine"):
        return Action(text)  # type: ignore[arg-type]  # one of the kinds
    if text == "wait and image again":
        return Action("wait")
    if found := _WAIT.fullmatch(text):
        return Action("wait", until=found[1])
    if found := _IMAGE.fullmatch(text):
        return Action("image", n_fields=int(found[1]), layers=_layers(found[2]))
    raise InvalidDataError(f"{text!r} is no recommended action of this version.")


def _layers(text: str) -> tuple[int, ...]:
    ends = [[int(one) for one in part.split("-")] for part in text.split(",")]
    return tuple(layer for low, *high in ends for layer in range(low, (high or [low])[0] + 1))


def recommend(evidence: Evidence, rules: RuleSet, judgement: Judgement, as_of: datetime) -> Action:
    """Return what to do next."""
    if judgement.verdict == "GO":
        return Action("harvest")
    results = judgement.results
    if any(one.severity == "critical" and (one.outcome == "not met" or one.cause == "doubt") for one in results):
        return Action("quarantine")
    if judgement.verdict == "NO_GO":
        return _when_not_met(evidence, [one for one in results if one.outcome == "not met"], as_of)
    if judgement.verdict == "CANNOT_ASSESS":
        found = _imaging(evidence, rules, [one for one in results if one.cause in ("missing", "weak")])
        if found is not None:
            return found
    return Action("hold and review")


# --- too early -------------------------------------------------------------------------------------------------------


def _when_not_met(evidence: Evidence, failed: Sequence[Result], as_of: datetime) -> Action:
    if not all(_is_too_early(one) for one in failed):
        return Action("hold and review")
    known = [_enters(evidence, one) for one in failed]
    if any(one is None for one in known):
        return Action("wait")
    latest = max((one for one in known if one is not None), key=datetime.fromisoformat)
    moment = datetime.fromisoformat(latest)
    return Action("wait", until=utc(moment)) if moment > as_of else Action("wait")


def _is_too_early(one: Result) -> bool:
    return one.side == "below" and one.metric is not None and METRICS[one.metric].rises_with_growth


def _enters(evidence: Evidence, one: Result) -> str | None:
    """Return when the vessel is forecast to enter the window of a criterion on confluency."""
    if one.metric != "confluency_percent":
        return None
    low, high = ends(one)
    outlook = evidence.outlooks.get((low or 0.0, 100.0 if high is None else high))
    return None if outlook is None else outlook.enters_at


def ends(one: Result) -> tuple[float | None, float | None]:
    """Return the lower and upper limit of a result; None: no limit on that side."""
    limit = one.limit
    if isinstance(limit, tuple) and len(limit) == 2 and not any(isinstance(end, str) for end in limit):
        return float(limit[0]), float(limit[1])
    if isinstance(limit, int | float):
        return (float(limit), None) if one.comparator == "at least" else (None, float(limit))
    return None, None


def windows_of(rules: RuleSet) -> tuple[tuple[float, float], ...]:
    """Return the confluency windows of a rule set that a forecast is worth asking for: those with a lower limit."""
    found = {
        (one.low, 100.0 if one.high is None else one.high)
        for one in rules.criteria
        if one.metric == "confluency_percent" and one.low is not None
    }
    return tuple(sorted(one for one in found if one[0] < one[1]))


# --- more images -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Stack:
    """The layers that pictures can reach: those with fields, those without, and how many fields a layer usually has."""

    reachable: tuple[LayerSampling, ...]
    seen: tuple[LayerSampling, ...]
    unseen: tuple[LayerSampling, ...]
    usual: int

    @classmethod
    def of(cls, layers: Sequence[LayerSampling]) -> "_Stack":
        reachable = tuple(one for one in layers if one.state != "unobservable")
        seen = tuple(one for one in reachable if one.n_fields > 0)
        unseen = tuple(one for one in reachable if one.n_fields == 0)
        return cls(reachable, seen, unseen, max((one.n_fields for one in seen), default=FEWEST_FIELDS))

    def at(self, layer: int | None) -> "_Stack":
        """Return the part of it that a criterion asks of: one layer, or all."""
        if layer is None:
            return self
        reachable, seen, unseen = (
            tuple(one for one in some if one.layer == layer) for some in (self.reachable, self.seen, self.unseen)
        )
        return _Stack(reachable, seen, unseen, self.usual)


def _imaging(evidence: Evidence, rules: RuleSet, open_results: Sequence[Result]) -> Action | None:
    """Return how many more fields to take where, if pictures could settle all that is open; None if not."""
    if any(one.metric is None or one.metric in _STATED for one in open_results):
        return None  # a condition of every decision, or what somebody has to state: no picture changes it
    by_id = {one.id: one for one in rules.criteria}
    stack = _Stack.of(evidence.sampling)
    wanted: dict[int, int] = {}
    for one in open_results:
        found = _fields_for(evidence, one, by_id[one.id].probability, stack)
        if found is None:
            return None
        for layer, n in found.items():
            wanted[layer] = max(n, wanted.get(layer, 0))
    if not wanted:
        return None
    return Action("image", n_fields=max(wanted.values()), layers=tuple(sorted(wanted)))


_STATED = ("passage", "pdl")
_OF_PICTURES = (
    "fields_scored",
    "measured_percent",
    "known_percent",
    "fields_failed_percent",
    "fields_rejected_percent",
    "scan_age_h",
    "contamination",
)


def _fields_for(evidence: Evidence, one: Result, probability: float, whole: _Stack) -> dict[int, int] | None:
    """Return how many more fields each layer needs for one open criterion; None: pictures do not help."""
    stack = whole.at(one.layer)
    if one.metric == "scan_age_h":
        return {layer.layer: layer.n_fields for layer in whole.seen} or None
    if one.metric == "confluency_percent" and one.cause == "weak":
        return _sharper(evidence, one, probability, stack)
    if one.metric in _OF_PICTURES or one.metric == "confluency_percent":
        poor = stack.unseen or stack.reachable
        return {layer.layer: max(whole.usual, FEWEST_FIELDS) for layer in poor} or None
    if one.cause == "weak":
        return {layer.layer: layer.n_fields for layer in stack.seen} or None
    return None


def _sharper(evidence: Evidence, one: Result, probability: float, stack: _Stack) -> dict[int, int] | None:
    """Return the fields that would make a confluency sure enough if it stayed where it is."""
    reading = evidence.reading(Place("confluency_percent", "vessel" if one.layer is None else "layer", one.layer))
    errors = [layer.method_error_points for layer in evidence.sampling if layer.method_error_points is not None]
    if reading.belief is None or not errors:
        return None
    method = max(errors) / 100
    needed = _largest_error(reading.belief, ends(one), probability)
    if needed is None or needed <= method:
        return None  # the method itself is not sure enough: no number of fields helps
    if stack.unseen:
        return {layer.layer: stack.usual for layer in stack.unseen}
    own_now = max(_error(reading.belief) ** 2 - method**2, 0.0)
    factor = own_now / (needed**2 - method**2)
    if factor > MOST_FACTOR:
        return None
    return {layer.layer: max(math.ceil(layer.n_fields * (factor - 1)), 1) for layer in stack.seen} or None


def _error(belief: Belief) -> float:
    """Return the standard error of a share on the angle scale, from its 95 % interval."""
    low, high = (belief.quantile(level) for level in (0.025, 0.975))
    return (to_inner(high, "percent") - to_inner(low, "percent")) / _TWO_SIDES


def best_probability(belief: Belief, limits: tuple[float | None, float | None], method_error_points: float) -> float:
    """Return how surely a confluency could lie within limits if every field had been imaged, staying where it is."""
    return _within(belief.quantile(0.5), limits, method_error_points / 100)


def _within(middle: float, limits: tuple[float | None, float | None], error: float) -> float:
    """Return the probability within limits of a share with a normal error on the angle scale."""
    centre = to_inner(middle, "percent")
    values = tuple(to_outer(centre + score * error, "percent") for score in (-_TWO_SIDES / 2, 0.0, _TWO_SIDES / 2))
    return Belief(INTERVAL_LEVELS, values, "percent").probability_within(*limits)


def _largest_error(belief: Belief, limits: tuple[float | None, float | None], probability: float) -> float | None:
    """Return the largest error on the angle scale with which a share would be sure enough either way; None: none."""
    middle = belief.quantile(0.5)
    low, high = 1e-4, 0.5
    if _decides(middle, limits, low) < probability:
        return None
    for _ in range(40):
        mean = (low + high) / 2
        low, high = (mean, high) if _decides(middle, limits, mean) >= probability else (low, mean)
    return low


def _decides(middle: float, limits: tuple[float | None, float | None], error: float) -> float:
    within = _within(middle, limits, error)
    return max(within, 1 - within)
