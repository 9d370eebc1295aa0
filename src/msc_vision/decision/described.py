"""A vessel described in few words, as a biologist would, turned into the evidence that a decision rests on."""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from msc_vision.decision.belief import of_interval
from msc_vision.decision.evidence import Evidence, LayerSampling, Outlook, Place, Reading
from msc_vision.decision.judgement import utc
from msc_vision.decision.metrics import METRICS, Metric
from msc_vision.decision.rules import RuleSet
from msc_vision.errors import InvalidArgumentError
from msc_vision.records import LayerState

WORDS = {
    "confluency": "confluency_percent",
    "drift": "drift_of_alarm",
    "cells per covered area": "cells_per_covered_area_of_baseline",
    "aggregates per cm2": "aggregates_per_cm2",
    "aggregate area": "aggregate_area_percent",
    "cells per cm2": "density_per_cm2",
    "contamination": "contamination",
    "passage": "passage",
    "pdl": "pdl",
    "measured area": "measured_percent",
    "known area": "known_percent",
    "failed fields": "fields_failed_percent",
    "rejected fields": "fields_rejected_percent",
    "suspect fields": "fields_suspect_percent",
    "doubtful fields": "fields_doubtful_percent",
}
"""What a description calls a metric."""
STATES: dict[str, LayerState] = {
    "measured": "measured",
    "degraded": "measured-degraded",
    "inferred": "inferred",
    "out of reach": "unobservable",
    "not imaged": "missing",
}
"""What a description calls the state of a layer."""
OTHER_KEYS = (
    "type", "layers", "batch", "fields", "method error", "scanned", "forecast", "model", "problems", "whole vessel",
)  # fmt: skip
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_FIGURE = re.compile(
    rf"(?P<value>{_NUMBER})\s*%?"
    rf"(?:\s*(?:\+-|\+/-|±)\s*(?P<half>{_NUMBER})\s*%?|\s*\(\s*(?P<low>{_NUMBER}) to (?P<high>{_NUMBER})\s*\)\s*%?)?"
)
_UNKNOWN = re.compile(r"not known(?:: (?P<reason>.+))?")
_LAYERS = re.compile(r"layers? (\d+)(?:(?:-| to )(\d+))?")
_STATE_FIRST = re.compile(rf"(?P<state>{'|'.join(STATES)})(?:\s+(?P<figure>.+))?")
_AGO = re.compile(rf"({_NUMBER}) (h|min) ago")
_FORECAST = re.compile(
    rf"enters (?P<low>{_NUMBER}) to (?P<high>{_NUMBER}) % in (?P<enters>{_NUMBER}) h"
    rf"(?:, leaves in (?P<leaves>{_NUMBER}) h)?"
)
_NO_SHA = "0" * 64


@dataclass(frozen=True, slots=True)
class _Layer:
    """One layer as described: its state, and the metrics said of it."""

    number: int
    state: LayerState
    readings: Mapping[str, Reading]
    n_fields: int | None

    @property
    def is_measured(self) -> bool:
        return self.state.startswith("measured")

    @property
    def is_known(self) -> bool:
        return self.is_measured or self.state == "inferred"


def evidence_of(
    description: Mapping[str, Any], rules: RuleSet, as_of: datetime, layers_of_type: Callable[[str], int]
) -> Evidence:
    """Return the evidence that a description stands for.

    Parameters
    ----------
    description : mapping
        Such as ``{"type": "t-75", "confluency": "82 +- 3", "passage": 4}``; see docs/rules.md. What is not said is not
        known. ``82 +- 3``: the 95 % interval is 79 to 85.
    rules : RuleSet
        Its first network measured the vessel, unless the description names another.
    as_of : datetime
        From which ``30 h ago`` is counted.
    layers_of_type : callable
        Number of layers of a vessel type, where the description does not say it.

    Raises
    ------
    InvalidArgumentError
        If a word is not understood; the message names it.
    """
    whole = _mapping(description.get("whole vessel", {}), "whole vessel")
    _check_keys(description, whole)
    vessel_type = str(description.get("type", "not known"))
    n_layers = description.get("layers")
    if n_layers is None:
        if "type" not in description:
            raise InvalidArgumentError("say the type of the vessel (type: t-75), or how many layers it has (layers: 1)")
        n_layers = layers_of_type(vessel_type)
    layers = _layers(description, _whole_number(n_layers, "layers", 1))
    passage = _passage(description)
    n_scored = sum(layer.n_fields or 0 for layer in layers)
    readings = dict(_readings(description, whole, layers, as_of))
    model_id, model_sha256 = _model(description, rules)
    return Evidence(
        vessel_id="DESCRIBED",
        vessel_type=vessel_type,
        batch=None if description.get("batch") is None else str(description["batch"]),
        passage=passage,
        run_id="described",
        layer_states=tuple(layer.state for layer in layers),
        n_fields_scored=n_scored,
        n_fields_rejected=_count(readings, "fields_rejected_percent", n_scored),
        n_fields_failed=_count(readings, "fields_failed_percent", n_scored),
        readings=readings,
        sampling=tuple(_sampling(layer, description) for layer in layers),
        inputs=(),
        software="described",
        settings_sha256=_NO_SHA,
        pipeline_name="described",
        model_id=model_id,
        model_sha256=model_sha256,
        outlooks=dict(_outlooks(description, as_of)),
        problems=tuple(str(one) for one in description.get("problems", ())),
    )


# --- words -----------------------------------------------------------------------------------------------------------


def _check_keys(description: Mapping[str, Any], whole: Mapping[str, Any]) -> None:
    known = ", ".join((*WORDS, *OTHER_KEYS))
    for key in description:
        if key not in (*WORDS, *METRICS, *OTHER_KEYS) and not _LAYERS.fullmatch(key):
            raise InvalidArgumentError(f"{key!r} is no word of a description; there are {known}, layer 3, layers 4-12")
    for key in whole:
        if _metric(key) is None:
            raise InvalidArgumentError(f"whole vessel: {key!r} is no metric; there are {', '.join(WORDS)}")


def _metric(word: str) -> Metric | None:
    return METRICS.get(WORDS.get(word, word))


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidArgumentError(f"{where}: give words with values, got {value!r}")
    return value


def _whole_number(value: Any, what: str, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InvalidArgumentError(f"{what}: give a whole number from {least}, got {value!r}")
    return value


def read_figure(told: Any, metric: Metric) -> Reading:
    """Return what a figure in words stands for, such as ``82 +- 3`` or ``82 (75 to 86), doubtful: methods disagree``.

    Raises
    ------
    InvalidArgumentError
        If it is not understood.
    """
    if told is None:
        return Reading(None, missing="it is not described")
    text, _, doubt = str(told).partition(", doubtful: ")
    doubts = (doubt,) if doubt else ()
    if unknown := _UNKNOWN.fullmatch(text):
        return Reading(None, missing=unknown["reason"] or "it is not known")
    if metric.kind == "category":
        if text not in metric.words:
            raise InvalidArgumentError(f"{metric.name} is one of {', '.join(metric.words)}, got {text!r}")
        return Reading(text, doubts=doubts)
    found = _FIGURE.fullmatch(text.strip())
    if found is None or isinstance(told, bool):
        raise InvalidArgumentError(
            f"{metric.name}: {text!r} is no figure; write 82, 82 +- 3, 82 (75 to 86), or not known: why"
        )
    value = float(found["value"])
    interval = _interval(value, found)
    if interval is None or metric.kind != "estimate":
        return Reading(value, doubts=doubts)
    return Reading(value, interval, of_interval(value, interval, metric.scale), doubts=doubts)


def _interval(value: float, found: re.Match[str]) -> tuple[float, float] | None:
    if found["half"] is not None:
        return value - float(found["half"]), value + float(found["half"])
    return None if found["low"] is None else (float(found["low"]), float(found["high"]))


# --- layers ----------------------------------------------------------------------------------------------------------


def _layers(description: Mapping[str, Any], n_layers: int) -> tuple[_Layer, ...]:
    common = {
        key: value
        for key, value in description.items()
        if key == "fields" or ((found := _metric(key)) and "layer" in found.levels)
    }
    own: dict[int, dict[str, Any]] = {number: {} for number in range(1, n_layers + 1)}
    for key, value in description.items():
        place = _LAYERS.fullmatch(key)
        if place is None:
            continue
        said = _said_of_layer(key, value)
        for number in range(int(place[1]), int(place[2] or place[1]) + 1):
            if number not in own:
                raise InvalidArgumentError(f"{key}: the vessel has layers 1 to {n_layers}")
            own[number] |= said
    return tuple(_layer(number, common, own[number]) for number in own)


def _said_of_layer(key: str, value: Any) -> dict[str, Any]:
    """Return what is said of a layer: a mapping, a state, a confluency, or a state with a confluency."""
    if isinstance(value, Mapping):
        for word in value:
            found = _metric(word)
            if word not in ("state", "fields") and (found is None or "layer" not in found.levels):
                raise InvalidArgumentError(f"{key}: {word!r} is not known of a layer")
        return dict(value)
    if told := _STATE_FIRST.fullmatch(str(value)):
        return {"state": told["state"]} | ({"confluency": told["figure"]} if told["figure"] else {})
    return {"confluency": value}


def _layer(number: int, common: Mapping[str, Any], own: Mapping[str, Any]) -> _Layer:
    word = own.get("state", "measured")
    if word not in STATES:
        raise InvalidArgumentError(f"layer {number}: {word!r} is no state; there are {', '.join(STATES)}")
    state = STATES[word]
    is_measured = state.startswith("measured")
    # of a layer that nobody measured, nothing is known but what is said of it by itself
    said = {**common, **own} if is_measured else dict(own)
    n_fields = said.get("fields") if is_measured else 0
    readings = {
        found.name: read_figure(value, found) for word, value in said.items() if (found := _metric(word)) is not None
    }
    return _Layer(number, state, readings, None if n_fields is None else _whole_number(n_fields, "fields", 0))


def _sampling(layer: _Layer, description: Mapping[str, Any]) -> LayerSampling:
    reading = layer.readings.get("confluency_percent", Reading(None))
    value = reading.value if isinstance(reading.value, float) else None
    told = description.get("method error")
    method = None if told is None else read_figure(str(told).removesuffix(" points"), METRICS["passage"]).value
    method_points = method if isinstance(method, float) else None
    return LayerSampling(
        layer.number, layer.state, layer.n_fields or 0, value, _sampling_error(reading, method_points), method_points
    )


def _sampling_error(reading: Reading, method_points: float | None) -> float | None:
    """Return what is left of a figure's error once the method's own is taken out, in points at its level."""
    if reading.interval is None or not isinstance(reading.value, float):
        return None
    total = (reading.interval[1] - reading.interval[0]) / (2 * 1.959964)
    share = min(max(reading.value / 100, 0.0), 1.0)
    method = 2 * math.sqrt(share * (1 - share)) * (method_points or 0.0)
    return math.sqrt(max(total**2 - method**2, 0.0))


# --- readings --------------------------------------------------------------------------------------------------------


def _readings(
    description: Mapping[str, Any], whole: Mapping[str, Any], layers: Sequence[_Layer], as_of: datetime
) -> Iterator[tuple[Place, Reading]]:
    """Yield all that is known, the layers first; what is said of the whole vessel outranks what follows from them."""
    for layer in layers:
        for name, reading in layer.readings.items():
            yield Place(name, "layer", layer.number), reading
        if layer.n_fields is not None:
            yield Place("fields_scored", "layer", layer.number), Reading(float(layer.n_fields))
    counts = [layer.n_fields for layer in layers if layer.n_fields is not None]
    if len(counts) == len(layers):
        yield Place("fields_scored", "vessel"), Reading(float(sum(counts)))
    for name, share in (("measured_percent", _share(layers, "measured")), ("known_percent", _share(layers, "known"))):
        yield Place(name, "vessel"), Reading(share)
    for metric in METRICS.values():
        if "vessel" in metric.levels and "layer" in metric.levels and metric.kind in ("estimate", "category"):
            yield Place(metric.name, "vessel"), _of_layers(metric, layers)
    if "scanned" in description:
        yield Place("scan_age_h", "vessel"), Reading(_scanned(str(description["scanned"]), as_of))
    for word, value in (*description.items(), *whole.items()):
        found = _metric(word)
        if found is not None and ("layer" not in found.levels or found.kind == "exact" or word in whole):
            yield Place(found.name, "vessel"), read_figure(value, found)
            if "batch" in found.levels:
                yield Place(found.name, "batch"), read_figure(value, found)


def _share(layers: Sequence[_Layer], what: str) -> float:
    counted = [layer.is_measured if what == "measured" else layer.is_known for layer in layers]
    return 100 * sum(counted) / len(layers)


def _of_layers(metric: Metric, layers: Sequence[_Layer]) -> Reading:
    """Return what layers of equal area say of the vessel; of confluency every layer has to say something."""
    needed = layers if metric.name == "confluency_percent" else [layer for layer in layers if layer.is_measured]
    readings = [layer.readings.get(metric.name, Reading(None, missing="it is not described")) for layer in needed]
    silent = [layer.number for layer, one in zip(needed, readings, strict=True) if one.value is None]
    doubts = tuple(dict.fromkeys(doubt for one in readings for doubt in one.doubts))
    if metric.kind == "category":
        words = [one.value for one in readings]
        order = (*metric.doubtful, *(word for word in metric.words if word not in (*metric.doubtful, *metric.unknown)))
        joint = next((word for word in (*order, *metric.unknown) if word in words), None)
        return Reading(joint, missing=None if joint else "no layer tells", doubts=doubts)
    if silent or not readings:
        reasons = {one.missing for one in readings if one.value is None}
        reason = reasons.pop() if len(reasons) == 1 and len(silent) == len(layers) else None
        return Reading(None, missing=reason or f"layers {', '.join(map(str, silent))} do not tell")
    value = math.fsum(float(one.value) for one in readings if one.value is not None) / len(readings)
    intervals = [one.interval for one in readings if one.interval is not None]
    if len(intervals) < len(readings):
        return Reading(value, doubts=doubts)
    low, high = (math.fsum(one[end] for one in intervals) / len(intervals) for end in (0, 1))
    found = Reading(value, (low, high), of_interval(value, (low, high), metric.scale), doubts=doubts)
    return found if low < high else replace(found, belief=None)


def _scanned(text: str, as_of: datetime) -> str:
    found = _AGO.fullmatch(text)
    if found is None:
        raise InvalidArgumentError(f"scanned: write `3 h ago` or `20 min ago`, got {text!r}")
    hours = float(found[1]) / (60 if found[2] == "min" else 1)
    return utc(as_of - timedelta(hours=hours))


def _outlooks(description: Mapping[str, Any], as_of: datetime) -> Iterator[tuple[tuple[float, float], Outlook]]:
    told = description.get("forecast", ())
    for text in [told] if isinstance(told, str) else told:
        found = _FORECAST.fullmatch(str(text))
        if found is None:
            raise InvalidArgumentError(f"forecast: write `enters 70 to 90 % in 20 h, leaves in 50 h`, got {text!r}")
        window = (float(found["low"]), float(found["high"]))
        yield window, Outlook(*window, _ahead(found["enters"], as_of), _ahead(found["leaves"], as_of))


def _ahead(hours: str | None, as_of: datetime) -> str | None:
    return None if hours is None else utc(as_of + timedelta(hours=float(hours)))


# --- the rest --------------------------------------------------------------------------------------------------------


def _passage(description: Mapping[str, Any]) -> int | None:
    told = description.get("passage")
    value = read_figure(told, METRICS["passage"]).value
    return int(value) if isinstance(value, float) else None


def _count(readings: Mapping[Place, Reading], name: str, n_scored: int) -> int:
    share = readings.get(Place(name, "vessel"), Reading(None)).value
    return round(n_scored * share / (100 - share)) if isinstance(share, float) and share < 100 else 0


def _model(description: Mapping[str, Any], rules: RuleSet) -> tuple[str | None, str | None]:
    """Return id and sha256 of the network: the first that the rules accept, or another by name, which has no hash."""
    told = description.get("model")
    if told is not None:
        return (None, None) if told == "none" else (str(told), _NO_SHA)
    if not rules.models or rules.models[0].id == "none":
        return None, None
    return rules.models[0].id, rules.models[0].sha256 or _NO_SHA
