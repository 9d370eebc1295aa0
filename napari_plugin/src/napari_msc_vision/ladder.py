"""The layers of a vessel as rungs of a ladder: figure, interval, state, outcome, and fields looked at. No Qt here."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from msc_vision.report.words import number_ranges
from msc_vision.review.state import ReviewState
from msc_vision.service.board.criteria import cause_of, open_causes
from msc_vision.service.board.ladder import window_of
from msc_vision.service.board.words import OUTCOMES, Sign
from msc_vision.statistics.arithmetic import counted
from msc_vision.statistics.rollup import LayerEstimate, ScoredField
from msc_vision.statistics.vessel_rollup import VesselEstimate

Record = Mapping[str, Any]

STATE_WORDS: Mapping[str, str] = {
    "measured": "seen",
    "measured-degraded": "seen in part",
    "inferred": "inferred",
    "unobservable": "out of reach",
    "missing": "failed",
}
"""Of a layer's state: so short that a ladder has room for it."""
OUTCOME_WORDS: Mapping[str, str] = {
    "met": "met",
    "not met": "not met",
    "not known": "not known",
    "not sure enough": "unsure",
    "a person has to look": "look",
    "undetermined": "undetermined",
}
FOLD_FROM = 3
"""So many neighbouring layers that nobody saw, and that look the same, share a row."""
CHANGED_POINTS = 0.05
"""A figure that moved by less reads the same."""


def state_word(state: str, n_fields: int) -> str:
    """Return the word for a layer's state; one that was never imaged has not failed."""
    return "not imaged" if state == "missing" and n_fields == 0 else STATE_WORDS[state]


@dataclass(frozen=True, slots=True)
class Rung:
    """One layer.

    Attributes
    ----------
    layer : int
    state : str
    confluency_percent, before_percent : float or None
        After the review; as the run found it, only where that differs.
    interval : (float, float) or None
        95 %, percent.
    outcome : Sign or None
        The worst of the last decision on this layer; None: no criterion asks about it, or nobody decided.
    n_fields, n_looked : int
    how : str
        What to tell of it in sentences.
    """

    layer: int
    state: str
    confluency_percent: float | None
    before_percent: float | None
    interval: tuple[float, float] | None
    outcome: Sign | None
    n_fields: int
    n_looked: int
    how: str

    @property
    def state_word(self) -> str:
        """The state in a word or two."""
        return state_word(self.state, self.n_fields)

    @property
    def outcome_word(self) -> str:
        """The outcome in a word; empty where there is none."""
        return "" if self.outcome is None else OUTCOME_WORDS.get(self.outcome.word, self.outcome.word)

    @property
    def figure(self) -> str:
        """The confluency with its unit, or a dash."""
        return "–" if self.confluency_percent is None else f"{self.confluency_percent:.0f} %"

    @property
    def looked(self) -> str:
        """How many of its fields were looked at."""
        return f"{self.n_looked}/{self.n_fields}" if self.n_fields else ""


@dataclass(frozen=True, slots=True)
class Ladder:
    """All layers of a vessel, layer 1 first, and the window that they are held against."""

    rungs: tuple[Rung, ...]
    window: tuple[float, float] | None
    headline: str

    @property
    def has_outcomes(self) -> bool:
        """Whether a criterion of the last decision asks about layers."""
        return any(one.outcome is not None for one in self.rungs)

    @property
    def rows(self) -> tuple[tuple[Rung, ...], ...]:
        """The rungs from the top down; neighbours without fields of which one says the same share a row."""
        found: list[tuple[Rung, ...]] = []
        for _, group in groupby(self.rungs[::-1], key=_likeness):
            members = tuple(group)
            found += [members] if len(members) >= FOLD_FROM else [(one,) for one in members]
        return tuple(found)


def _likeness(rung: Rung) -> object:
    if rung.n_fields:
        return rung.layer
    interval = None if rung.interval is None else tuple(round(one) for one in rung.interval)
    return rung.state, rung.figure, interval, rung.before_percent, rung.outcome


def row_name(row: Sequence[Rung]) -> str:
    """Return the layers of a row: ``3`` or ``4-12``."""
    return number_ranges(one.layer for one in row)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a review is."""

    n_fields: int
    n_looked: int
    n_rejected: int
    n_reimage: int
    n_corrected: int
    n_disputed: int

    @property
    def words(self) -> str:
        """Progress as one line, such as ``31 of 75 looked at; 2 rejected; 1 corrected``."""
        parts = [f"{self.n_looked} of {counted(self.n_fields, 'field')} looked at"]
        tail = (
            (self.n_rejected, "rejected"),
            (self.n_reimage, "to image again"),
            (self.n_corrected, "corrected"),
            (self.n_disputed, "disputed"),
        )
        return "; ".join([*parts, *(f"{n} {word}" for n, word in tail if n)])


def ladder_of(
    now: VesselEstimate,
    original: VesselEstimate,
    fields: Sequence[ScoredField],
    state: ReviewState,
    record: Record | None,
) -> Ladder:
    """Return the ladder of a vessel.

    Parameters
    ----------
    now, original : VesselEstimate
        After the review, and as the run found it.
    fields : sequence of ScoredField
        Those of its latest time point.
    state : ReviewState
    record : mapping or None
        The last decision.
    """
    by_layer: defaultdict[int, list[str]] = defaultdict(list)
    for one in fields:
        by_layer[one.row.layer].append(one.score.key)
    before = {one.layer: one for one in original.layers}
    outcomes = {} if record is None else _outcomes(record)
    rungs = tuple(
        _rung(one, before.get(one.layer), by_layer[one.layer], state, outcomes.get(one.layer)) for one in now.layers
    )
    window = None if record is None else window_of(record)
    return Ladder(rungs, window or now.window_percent, _headline(now, original))


def _rung(
    layer: LayerEstimate, before: LayerEstimate | None, keys: Sequence[str], state: ReviewState, outcome: Sign | None
) -> Rung:
    value = layer.confluency_percent
    was = None if before is None else before.confluency_percent
    has_moved = was is not None and (value is None or abs(was - value) > CHANGED_POINTS)
    return Rung(
        layer=layer.layer,
        state=layer.state,
        confluency_percent=value,
        before_percent=was if has_moved else None,
        interval=layer.confluency_interval,
        outcome=outcome,
        n_fields=len(keys),
        n_looked=sum(state.of(key).is_looked_at for key in keys),
        how=_how(layer, len(keys), was if has_moved else None, outcome),
    )


def _how(layer: LayerEstimate, n_fields: int, was: float | None, outcome: Sign | None) -> str:
    said = [f"Layer {layer.layer}: {state_word(layer.state, n_fields)}."]
    if layer.confluency_percent is not None:
        between = (
            ""
            if layer.confluency_interval is None
            else " (95 %: {:.0f} to {:.0f} %)".format(*layer.confluency_interval)
        )
        said.append(f"{layer.confluency_percent:.1f} % confluent{between}.")
    if was is not None:
        said.append(f"Before the review: {was:.1f} %.")
    said.append(layer.how)
    if outcome is not None:
        said.append(f"In the last decision: {outcome.word}.")
    return " ".join(said)


def _outcomes(record: Record) -> dict[int, Sign]:
    """Return the worst outcome on each layer that a criterion asks about."""
    causes = open_causes(record)
    found: dict[int, Sign] = {}
    for one in record["criteria"]:
        if one["layer"] is not None:
            sign = OUTCOMES[cause_of(one, causes)]
            found[one["layer"]] = min(found.get(one["layer"], sign), sign, key=lambda each: each.rank)
    return found


def _headline(now: VesselEstimate, original: VesselEstimate) -> str:
    value, was = now.confluency_percent, original.confluency_percent
    about = "vessel"
    if value is None:
        value, was, about = now.measured_confluency_percent, original.measured_confluency_percent, "seen layers only"
    if value is None:
        return "No layer could be measured."
    interval = now.confluency_interval if about == "vessel" else None
    between = "" if interval is None else f", 95 %: {interval[0]:.0f} to {interval[1]:.0f} %"
    changed = f"; before the review {was:.1f} %" if was is not None and abs(was - value) > CHANGED_POINTS else ""
    return f"{value:.1f} % confluent ({about}{between}){changed}. Seen: {_seen(now)}."


def _seen(now: VesselEstimate) -> str:
    if not now.measured_layers:
        return "no layer"
    if now.n_layers == 1:
        return "its one layer"
    if len(now.measured_layers) == now.n_layers:
        return f"all {now.n_layers} layers"
    return f"layer{'s' if len(now.measured_layers) > 1 else ''} {number_ranges(now.measured_layers)} of {now.n_layers}"


def progress_of(keys: Sequence[str], state: ReviewState) -> Progress:
    """Return how far the review of some fields is."""
    reviews = [state.of(key) for key in keys]
    return Progress(
        n_fields=len(reviews),
        n_looked=sum(one.is_looked_at for one in reviews),
        n_rejected=sum(one.standing == "rejected" for one in reviews),
        n_reimage=sum(one.standing == "re-image" for one in reviews),
        n_corrected=sum(bool(one.edits) for one in reviews),
        n_disputed=sum(one.is_disputed for one in reviews),
    )
