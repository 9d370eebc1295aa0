"""Vessels and rule sets for tests of decisions: described in few words, everything else as usual."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from msc_vision.decision import Criterion, Evidence, Input, LayerSampling, Outlook, Place, Reading, Request, RuleSet
from msc_vision.decision.belief import of_interval
from msc_vision.decision.rules import AcceptedModel, Approval, Source

AS_OF = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SCANNED = "2026-11-22T08:00:00+00:00"
SHA = "a" * 64
SOURCE = Source(document="SOP-1 v2", section="4.1", in_force=date(2026, 1, 1))


def figure(value: float, half: float = 4.0, doubts: tuple[str, ...] = ()) -> Reading:
    """Return a confluency with an interval."""
    interval = (max(value - half, 0.0), min(value + half, 100.0))
    return Reading(value, interval, of_interval(value, interval, "percent"), doubts=doubts)


def evidence(
    layers: Mapping[int, Reading] | None = None,
    *,
    vessel: Reading | None = None,
    others: Mapping[Place, Reading] | None = None,
    **changes: Any,
) -> Evidence:
    """Return the evidence of a vessel of three layers at 80 %, unless told otherwise."""
    layers = {1: figure(80), 2: figure(80), 3: figure(80)} if layers is None else layers
    readings = {Place("confluency_percent", "layer", n): one for n, one in layers.items()}
    readings[Place("confluency_percent", "vessel")] = figure(80) if vessel is None else vessel
    readings[Place("scan_age_h", "vessel")] = Reading(SCANNED)
    readings[Place("passage", "vessel")] = Reading(4)
    readings[Place("measured_percent", "vessel")] = Reading(100.0)
    readings[Place("fields_scored", "vessel")] = Reading(27)
    readings[Place("contamination", "vessel")] = Reading("no visual sign")
    content: dict[str, Any] = {
        "vessel_id": "CS-7",
        "vessel_type": "hyperstack-12",
        "batch": "L7, passage 4",
        "passage": 4,
        "run_id": "run-1",
        "layer_states": ("measured",) * len(layers),
        "n_fields_scored": 27,
        "n_fields_rejected": 0,
        "n_fields_failed": 0,
        "readings": readings | dict(others or {}),
        "sampling": tuple(LayerSampling(n, "measured", 9, _value(one), 2.0, 5.0) for n, one in layers.items()),
        "inputs": (Input("vessels.json", SHA),),
        "software": "0.1.0",
        "settings_sha256": SHA,
        "pipeline_name": "default",
        "model_id": "culture-1",
        "model_sha256": SHA,
        "device": "cpu",
    }
    return Evidence(**content | changes)


def _value(reading: Reading) -> float | None:
    return reading.value if isinstance(reading.value, float | int) else None


def window(low: float | None = 70, high: float | None = 90, **changes: Any) -> Criterion:
    """Return a criterion on the vessel's confluency."""
    content: dict[str, Any] = {
        "id": "confluency-window",
        "metric": "confluency_percent",
        "low": low,
        "high": high,
        "unit": "%",
        "severity": "major",
        "source": SOURCE,
        "message": "Dense enough to harvest, not overgrown.",
    }
    return Criterion(**content | changes)


def no_sign(**changes: Any) -> Criterion:
    """Return a criterion on visual signs of contamination."""
    content: dict[str, Any] = {
        "id": "contamination",
        "metric": "contamination",
        "allowed": ("no visual sign",),
        "unit": "",
        "severity": "critical",
        "source": SOURCE,
        "message": "No visual sign of contamination.",
    }
    return Criterion(**content | changes)


def rules(*criteria: Criterion, **changes: Any) -> RuleSet:
    """Return an approved rule set of some criteria; by default, a window of confluency."""
    content: dict[str, Any] = {
        "id": "site-a",
        "version": "1",
        "status": "approved",
        "title": "Site A",
        "approval": Approval(by="Q. Unit", on=date(2026, 1, 1), document="QA-77"),
        "models": (AcceptedModel(id="culture-1", sha256=SHA),),
        "criteria": criteria or (window(),),
    }
    return RuleSet(**content | changes)


def request(**changes: Any) -> Request:
    """Return a request for a decision for production at `AS_OF`."""
    content: dict[str, Any] = {"as_of": AS_OF}
    return Request(**content | changes)


def outlook(low: float, high: float, enters_at: str | None) -> dict[tuple[float, float], Outlook]:
    """Return a forecast for one window."""
    return {(low, high): Outlook(low, high, enters_at, None)}
