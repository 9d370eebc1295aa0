"""What a run tells of every metric that a criterion may ask of, with the reason where it tells nothing."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from msc_vision.decision.belief import Belief, of_interval
from msc_vision.decision.evidence import Place, Reading
from msc_vision.decision.metrics import METRICS, Level
from msc_vision.errors import InvalidArgumentError
from msc_vision.io.manifest_files import parse_time
from msc_vision.statistics.arithmetic import counted
from msc_vision.statistics.settings import DOUBTFUL

Row = Mapping[str, Any]
Interval = tuple[float, float]

OLDER = "the run was made by an older version that kept no {what}: score it again"
NO_WIDTH = "its interval has no width, which tells nothing of how sure it is"
UNSEEN = "nobody saw the layer, and only confluency is inferred"
_SEEN = ("measured", "measured-degraded")
_KNOWN = (*_SEEN, "inferred")


@dataclass(frozen=True, slots=True)
class VesselRows:
    """Everything that a run folder says of one vessel.

    Attributes
    ----------
    vessel : mapping
        Its record in vessels.json, with its ``layers``, layer 1 first.
    batch : mapping or None
        The record of its batch.
    no_batch : str
        Why there is none; a clause.
    fields : sequence of mapping
        Its fields in fields.parquet, of every time point.
    batch_fields : sequence of mapping
        The latest fields of all vessels of its batch.
    levels : tuple of float
        Of the quantiles; empty in runs of older versions.
    holds : tuple of str
        Who asks in a review that the vessel be looked at again; clauses.
    """

    vessel: Row
    batch: Row | None
    no_batch: str
    fields: Sequence[Row]
    batch_fields: Sequence[Row]
    levels: tuple[float, ...]
    holds: tuple[str, ...] = ()

    @property
    def latest(self) -> list[Row]:
        """The fields of the latest time point."""
        return [row for row in self.fields if row["is_latest"]]


def readings(rows: VesselRows) -> dict[Place, Reading]:
    """Return a reading of every metric at every place where it can be asked of."""
    found: dict[Place, Reading] = {}
    by_layer: defaultdict[int, list[Row]] = defaultdict(list)
    for row in rows.latest:
        by_layer[row["layer"]].append(row)
    for layer in rows.vessel["layers"]:
        doubts = _review_doubts(by_layer[layer["layer"]])
        for name, reading in _of_layer(layer, by_layer[layer["layer"]], rows.levels):
            found[Place(name, "layer", layer["layer"])] = _doubted(name, reading, doubts)
    doubts = (*rows.holds, *_review_doubts(rows.latest))
    for name, reading in _of_vessel(rows):
        found[Place(name, "vessel")] = _doubted(name, reading, doubts)
    of_batch = (*rows.holds, *_review_doubts(rows.batch_fields))
    found[Place("confluency_percent", "batch")] = _doubted("confluency_percent", _of_batch(rows), of_batch)
    return found


def _review_doubts(fields: Sequence[Row]) -> tuple[str, ...]:
    """Return what the review of some fields left open; clauses."""
    said = [f"{row['path']}: {doubt}" for row in fields for doubt in row.get("review_doubts") or ()]
    more = len(said) - _MOST_DOUBTS
    return (*said[:_MOST_DOUBTS], *((f"and {more} more",) if more > 0 else ()))


def _doubted(name: str, reading: Reading, doubts: tuple[str, ...]) -> Reading:
    """Return a reading with the doubts of a review, if what it tells follows from the scores of fields."""
    return replace(reading, doubts=(*reading.doubts, *doubts)) if doubts and name in _OF_SCORES else reading


def flags_of(rows: Sequence[Row]) -> Counter[str]:
    """Return how many of some fields carry each flag."""
    return Counter(flag for row in rows for flag in row["flags"] or ())


def n_doubtful(rows: Sequence[Row]) -> int:
    """Return how many of some fields are scored and carry a flag that a person has to look at."""
    return sum(_is_doubtful(row) for row in rows)


def _is_doubtful(row: Row) -> bool:
    """Return whether a scored field carries such a flag, and nobody looked at it and accepted it."""
    is_open = row["status"] == "scored" and not row.get("is_accepted")
    return is_open and bool(DOUBTFUL & {*(row["flags"] or ())})


_MOST_DOUBTS = 5
_OF_SCORES = frozenset(
    {
        "confluency_percent",
        "drift_of_alarm",
        "cells_per_covered_area_of_baseline",
        "contamination",
        "aggregates_per_cm2",
        "aggregate_area_percent",
        "density_per_cm2",
        "fields_suspect_percent",
    }
)
"""Metrics that an unmeasured or disputed correction of a field may change."""


# --- layers, vessel, batch -------------------------------------------------------------------------------------------


def _of_layer(layer: Row, fields: Sequence[Row], levels: tuple[float, ...]) -> Iterator[tuple[str, Reading]]:
    state = layer["state"]
    unknown = f"the layer is {state}: {_clause(layer['how'])}"
    doubts = _doubts(fields) if state in _SEEN else ()
    yield "confluency_percent", _confluency(layer, levels, unknown, doubts)
    if state not in _SEEN:
        unseen = UNSEEN if state == "inferred" else unknown
        for name in _names("layer"):
            if name != "confluency_percent":
                yield name, Reading(None, missing=unseen)
        return
    yield from _of_character(layer.get("character"), _clause(layer.get("interval_note")))
    yield "fields_scored", _exact(layer["n_fields_scored"], "the run does not tell")
    yield "fields_doubtful_percent", _share(n_doubtful(fields), layer["n_fields_scored"], "no field was scored")
    yield "fields_suspect_percent", _suspect(layer.get("character"), layer["n_fields_scored"])


def _of_vessel(rows: VesselRows) -> Iterator[tuple[str, Reading]]:
    vessel, latest = rows.vessel, rows.latest
    note = _clause(vessel.get("interval_note"))
    yield "confluency_percent", _confluency(vessel, rows.levels, note, _doubts(latest))
    yield from _of_character(vessel.get("character"), _why_no_vessel_interval(vessel))
    yield "passage", stated(rows.fields, "passage")
    yield "pdl", stated(latest, "pdl")
    yield "measured_percent", _area_share(vessel, _SEEN)
    yield "known_percent", _area_share(vessel, _KNOWN)
    counts = Counter(row["status"] for row in latest)
    scored, n_fields = counts["scored"], counts.total()
    yield "fields_scored", Reading(float(scored))
    yield "fields_failed_percent", _share(counts["failed"], n_fields, "there is no field")
    yield "fields_rejected_percent", _share(counts["rejected"], n_fields, "there is no field")
    yield "fields_doubtful_percent", _share(n_doubtful(latest), scored, "no field was scored")
    yield "fields_suspect_percent", _suspect(vessel.get("character"), scored)
    yield "scan_age_h", _last_image(vessel, latest)


def _of_batch(rows: VesselRows) -> Reading:
    if rows.batch is None:
        return Reading(None, missing=rows.no_batch)
    return _confluency(rows.batch, rows.levels, _clause(rows.batch["how"]), _doubts(rows.batch_fields))


def _names(level: Level) -> list[str]:
    return [one.name for one in METRICS.values() if level in one.levels]


# --- confluency ------------------------------------------------------------------------------------------------------


def _confluency(row: Row, levels: tuple[float, ...], unknown: str, doubts: tuple[str, ...]) -> Reading:
    value, interval = number(row.get("confluency_percent")), pair(row.get("confluency_interval"))
    if value is None or not 0 <= value <= 100:
        return Reading(None, missing=unknown or "the run does not tell")
    if interval is None:
        return Reading(value, missing=f"it has no interval: {_clause(row.get('interval_note') or row.get('how'))}")
    if not levels or row.get("confluency_quantiles") is None:
        return Reading(value, interval, missing=OLDER.format(what="quantiles"))
    belief = _belief(levels, row["confluency_quantiles"])
    if belief is None:
        return Reading(value, interval, missing="its quantiles do not rise within 0 to 100 %")
    if not belief.has_width:
        return Reading(value, interval, missing=NO_WIDTH)
    return Reading(value, interval, belief, doubts=doubts)


def _belief(levels: tuple[float, ...], quantiles: object) -> Belief | None:
    values = [number(one) for one in quantiles] if isinstance(quantiles, Sequence) else []
    known = tuple(one for one in values if one is not None and 0 <= one <= 100)
    if len(known) < len(values):
        return None
    try:
        return Belief(levels, known, "percent")
    except InvalidArgumentError:
        return None


def _suspect(character: Row | None, n_scored: int) -> Reading:
    """Return the share of the scored fields that show a sign; nobody knows of those that could not be assessed."""
    if not character or not character.get("n_fields_assessed"):
        return Reading(None, missing="no field could be assessed for signs of contamination")
    return _share(character["n_fields_suspect"], n_scored, "no field was scored")


def _doubts(fields: Sequence[Row]) -> tuple[str, ...]:
    """Return why a person has to look at the confluency of these fields: most of them are flagged as doubtful.

    Fewer make the method's error larger, and a rule set says how many it takes (`fields_doubtful_percent`).
    """
    n_flagged = n_doubtful(fields)
    n_scored = sum(row["status"] == "scored" for row in fields)
    if 2 * n_flagged <= n_scored:
        return ()
    flags = flags_of([row for row in fields if row["status"] == "scored" and not row.get("is_accepted")])
    return (f"{n_flagged} of {counted(n_scored, 'scored field')} flagged ({_flag_words(flags)})",)


def _flag_words(flags: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in sorted(flags.items()) if name in DOUBTFUL)


# --- what is said beyond confluency ----------------------------------------------------------------------------------


def _of_character(character: Row | None, why_no_interval: str) -> Iterator[tuple[str, Reading]]:
    """Return what is said of a layer or a vessel that has a scored field."""
    if character is None:
        for name in ("drift_of_alarm", "cells_per_covered_area_of_baseline", "contamination", *_AMOUNTS):
            yield name, Reading(None, missing="no field was scored")
        return
    yield "drift_of_alarm", _drift(character)
    yield "cells_per_covered_area_of_baseline", _spread(character)
    for name, (column, nothing) in _AMOUNTS.items():
        yield name, _amount(name, character, column, nothing, why_no_interval)
    yield "contamination", _signs(character)


_NO_AGGREGATES = "no field tells of aggregates: the recipe does not look for them, or no pixel size is known"
_AMOUNTS = {
    "aggregates_per_cm2": ("aggregates_interval", _NO_AGGREGATES),
    "aggregate_area_percent": ("aggregate_area_interval", _NO_AGGREGATES),
    "density_per_cm2": ("density_interval", "cells were not counted"),
}


def _amount(name: str, row: Row, column: str, nothing: str, why_no_interval: str) -> Reading:
    if name == "density_per_cm2":
        nothing = _clause(row.get("density_reason")) or nothing
        if row.get("density_state") == "calibrated":
            why_no_interval = "it is read off a calibration, not counted"
    no_interval = f"it has no interval: {why_no_interval or 'too few fields tell of it'}"
    return _estimate(name, row.get(name), row.get(column), nothing, no_interval)


def _drift(row: Row) -> Reading:
    """Return the drift score over its limit; its own alarm, which weighs the chance, is a doubt where it disagrees."""
    nothing = _clause(row.get("drift_reason")) or f"drift is {row.get('drift_state') or 'not told'}"
    score, limit = number(row.get("drift_score")), number(row.get("drift_limit"))
    interval = pair(row.get("drift_interval"))
    if score is None:
        return Reading(None, missing=nothing)
    if limit is None:
        return Reading(None, missing=OLDER.format(what="limit of the drift score"))
    if limit <= 0:
        return Reading(None, missing="the alarm limit of its baseline is 0")
    scaled = None if interval is None else (interval[0] / limit, interval[1] / limit)
    found = _estimate(
        "drift_of_alarm", score / limit, scaled, nothing, "it has no interval: that takes three compared fields"
    )
    if not row.get("drift_alarm") or score > limit:
        return found
    chance = number(row.get("drift_probability"))
    told = "" if chance is None else f" (chance without drift {chance:.2g})"
    return replace(found, doubts=(f"the baseline's own alarm was raised{told}",))


def _spread(row: Row) -> Reading:
    if row.get("spread_state") is None:
        return Reading(None, missing=OLDER.format(what="cells per covered area"))
    nothing = _clause(row.get("spread_reason")) or str(row["spread_state"])
    name = "cells_per_covered_area_of_baseline"
    return _estimate(name, row.get("spread_ratio"), row.get("spread_interval"), nothing, "it has no interval")


def _signs(row: Row) -> Reading:
    word = row.get("contamination")
    if word not in METRICS["contamination"].words:
        return Reading(None, missing="the run does not tell")
    return Reading(str(word))


def _why_no_vessel_interval(vessel: Row) -> str:
    """Return why amounts of a vessel have no interval, as far as its layers tell."""
    if vessel["n_layers"] == 1:
        return _clause(vessel["layers"][0].get("interval_note")) if vessel.get("confluency_interval") is None else ""
    return "its layers do not speak for the whole vessel, or nothing in them differs"


def _estimate(name: str, value: object, interval: object, nothing: str, no_interval: str) -> Reading:
    """Return a reading of a figure and its 95 % interval; a figure without one does not tell how sure it is."""
    known, ends = number(value), pair(interval)
    if known is None:
        return Reading(None, missing=nothing if value is None else f"it is {value}, which is no number")
    if ends is None:
        return Reading(known, missing=no_interval)
    if ends[0] == ends[1]:
        return Reading(known, ends, missing=NO_WIDTH)
    return Reading(known, ends, of_interval(known, ends, METRICS[name].scale))


# --- what is counted or stated ---------------------------------------------------------------------------------------


def stated(fields: Sequence[Row], name: str) -> Reading:
    """Return what the manifest says of a vessel in a column of numbers; rows that say nothing are left out."""
    found = {number(row.get(name)) for row in fields if row.get(name) is not None}
    if not found:
        return Reading(None, missing=f"the manifest does not state it (column {name})")
    if len(found) > 1:
        listed = " and ".join(sorted("no number" if one is None else f"{one:g}" for one in found))
        return Reading(None, missing=f"the manifest contradicts itself: it states {listed} (column {name})")
    (value,) = found
    return Reading(value) if value is not None else Reading(None, missing=f"column {name} holds no number")


def _exact(value: object, nothing: str) -> Reading:
    known = number(value)
    return Reading(None, missing=nothing) if known is None else Reading(known)


def _share(part: int, whole: int, nothing: str) -> Reading:
    return Reading(100 * part / whole) if whole else Reading(None, missing=nothing)


def _area_share(vessel: Row, states: tuple[str, ...]) -> Reading:
    areas = [(number(one["culture_area_cm2"]), one["state"] in states) for one in vessel["layers"]]
    known = [(area, is_in) for area, is_in in areas if area is not None and area > 0]
    if len(known) < len(areas):
        return Reading(None, missing="the culture area of a layer is not known")
    total = math.fsum(area for area, _ in known)
    return Reading(round(100 * math.fsum(area for area, is_in in known if is_in) / total, 9))


def _last_image(vessel: Row, latest: Sequence[Row]) -> Reading:
    moment = vessel.get("acquired_to")
    if moment is None:
        return Reading(None, missing="no image of the vessel has a time (column acquired_at)")
    times = [_time(row.get("acquired_at")) for row in latest]
    untimed = times.count(None)
    zoneless = sum(time is not None and time.tzinfo is None for time in times)
    doubts = (
        *((f"{counted(untimed, 'field')} without a time, which may be older",) if untimed else ()),
        *((f"{counted(zoneless, 'time')} without a zone, taken as UTC",) if zoneless else ()),
    )
    return Reading(str(moment), doubts=doubts)


def _time(text: str | None) -> datetime | None:
    return None if text is None else parse_time(text)


# --- plain values ----------------------------------------------------------------------------------------------------


def number(value: object) -> float | None:
    """Return a finite number, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def pair(value: object) -> Interval | None:
    """Return an interval of two finite ends that do not fall, None for anything else."""
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        return None
    low, high = number(value[0]), number(value[1])
    return None if low is None or high is None or low > high else (low, high)


def _clause(sentence: object) -> str:
    """Return a sentence as a clause: without full stop, and small at its beginning unless that is a name or number."""
    text = str(sentence or "").strip().rstrip(".")
    return text[:1].lower() + text[1:] if text[1:2].islower() or text[1:2] == " " else text
