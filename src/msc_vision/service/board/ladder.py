"""The layers of a vessel as rows of a table: top layer first, each with its bar, its state and its outcome."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from msc_vision.report.content import LayerEntry, Range, VesselEntry
from msc_vision.report.words import count, number_ranges
from msc_vision.service.board.criteria import cause_of, open_causes
from msc_vision.service.board.words import OUTCOMES, STATES, Sign

BAR_PX = 240
FOLD_FROM = 3  # so many neighbouring layers without any field share one row
DOT_ROWS = 3
Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rung:
    """One row: a layer, or several neighbouring ones that look the same.

    Attributes
    ----------
    bar_px : float or None
        None: no figure.
    interval_px : (float, float) or None
        95 %.
    dots : tuple of (float, float)
        One for each scored field: pixels from the left, and height as a share.
    pattern : str
        Of the bar: tells how the figure was got.
    sign : Sign or None
        The worst outcome on the layer; None: no criterion asks about the layer.
    open_criteria : str
        Ids of the criteria that are not met or undetermined here.
    """

    label: str
    state: str
    pattern: str
    figure: str
    interval: str
    fields: str
    bar_px: float | None
    interval_px: tuple[float, float] | None
    dots: tuple[tuple[float, float], ...]
    sign: Sign | None
    open_criteria: str
    reason: str


@dataclass(frozen=True, slots=True)
class Ladder:
    """All layers, and the window of the rule set in pixels."""

    rungs: tuple[Rung, ...]
    window_px: tuple[float, float] | None
    window: str


def ladder_of(vessel: VesselEntry, record: Record | None) -> Ladder:
    """Return the layers of a vessel as its run has them, with the outcomes of a record if there is one."""
    outcomes = {} if record is None else _by_layer(record)
    rows = [(entry, *_outcome(outcomes.get(entry.layer, ()))) for entry in vessel.layers[::-1]]
    rungs: list[Rung] = []
    for _, group in groupby(rows, key=_likeness):
        members = list(group)
        is_folded = len(members) >= FOLD_FROM and not members[0][0].fields
        for part in [members] if is_folded else [[one] for one in members]:
            entry, sign, ids = part[0]
            rungs.append(_rung([one[0] for one in part], entry, sign, ids))
    window = None if record is None else window_of(record)
    if window is None:
        return Ladder(tuple(rungs), None, "")
    return Ladder(tuple(rungs), (_px(window[0]), _px(window[1])), f"{window[0]:g} to {window[1]:g} %")


def _by_layer(record: Record) -> dict[int, list[tuple[str, str]]]:
    """Return by layer the criteria on it, with what came of each."""
    causes = open_causes(record)
    found: dict[int, list[tuple[str, str]]] = {}
    for one in record["criteria"]:
        if one["layer"] is not None:
            found.setdefault(one["layer"], []).append((one["id"], cause_of(one, causes)))
    return found


def _outcome(results: Iterable[tuple[str, str]]) -> tuple[Sign | None, str]:
    signs = [(OUTCOMES[cause], name) for name, cause in results]
    worst = min((sign for sign, _ in signs), key=lambda sign: sign.rank, default=None)
    return worst, ", ".join(name for sign, name in signs if sign.word != "met")


def _likeness(row: tuple[LayerEntry, Sign | None, str]) -> object:
    entry, sign, ids = row
    if entry.fields:
        return entry.layer
    figure = None if entry.confluency_percent is None else round(entry.confluency_percent)
    return entry.state, figure, sign, ids


def _rung(group: Sequence[LayerEntry], entry: LayerEntry, sign: Sign | None, ids: str) -> Rung:
    word, pattern, _ = STATES[entry.state]
    names = number_ranges(one.layer for one in group)
    value, interval = entry.confluency_percent, entry.interval
    return Rung(
        label=names,
        state=word,
        pattern=pattern,
        figure="–" if value is None else f"{value:.0f} %",
        interval="" if value is None else _interval_words(interval, len(group) > 1),
        fields=_fields_words(entry),
        bar_px=None if value is None else _px(value),
        interval_px=None if value is None or interval is None else (_px(interval.low), _px(interval.high)),
        dots=tuple(_dot(one.confluency_percent or 0.0, i) for i, one in enumerate(entry.scored)),
        sign=sign,
        open_criteria=ids,
        reason=entry.reason or "",
    )


def _interval_words(interval: Range | None, is_each: bool) -> str:
    if interval is None:
        return "no interval"
    return f"{'each ' if is_each else ''}{interval.low:.0f} – {interval.high:.0f} %"


def _fields_words(entry: LayerEntry) -> str:
    if not entry.fields:
        return ""
    parts = [count(len(entry.scored), "field")]
    parts += [f"{n} {word}" for n, word in ((entry.n_failed, "failed"), (entry.n_rejected, "not judgeable")) if n]
    return ", ".join(parts)


def _dot(value: float, index: int) -> tuple[float, float]:
    return _px(value), (1 + index % DOT_ROWS) / (DOT_ROWS + 1)


def _px(value: float) -> float:
    return round(min(max(value, 0.0), 100.0) / 100 * BAR_PX, 1)


def window_of(record: Record) -> tuple[float, float] | None:
    """Return the window of the vessel's confluency that a record was judged by; None: the rule set has none."""
    for one in record["criteria"]:
        is_window = one["unit"] == "%" and one["layer"] is None and one["comparator"] == "between"
        if is_window and "confluency" in one["id"]:
            return float(one["limit"][0]), float(one["limit"][1])
    return None
