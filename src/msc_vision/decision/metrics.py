"""What a criterion may ask of: every metric with its unit, where it is known, and how it is held against a limit."""

from dataclasses import dataclass
from typing import Literal

from msc_vision.decision.belief import ScaleName
from msc_vision.errors import InvalidArgumentError

Level = Literal["vessel", "layer", "batch"]
Beyond = Literal["not met", "missing", "doubt"]
Kind = Literal["estimate", "exact", "category", "time"]
"""``estimate``: a figure that is believed with an interval, judged by probability. ``exact``: a count or a stated
number, judged as it is. ``category``: a word, judged by a list of words. ``time``: hours since a moment, judged as it
is."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One thing that can be asked of.

    Attributes
    ----------
    name : str
    unit : str
        Of its limits; a criterion has to state the same.
    kind : {'estimate', 'exact', 'category', 'time'}
    levels : tuple of {'vessel', 'layer', 'batch'}
        Where it is known.
    scale : {'percent', 'amount', 'plain'}
        Of an estimate: on which its interval is even.
    rises_with_growth : bool
        Below its low limit, time helps.
    words : tuple of str
        Of a category: all that it can be.
    doubtful : tuple of str
        Words of a category that a person has to look at before they count.
    unknown : tuple of str
        Words of a category that say that nothing is known.
    beyond : {'not met', 'missing', 'doubt'}
        What it means that a value lies beyond its limits: the vessel is not as it should be; there is too little
        evidence; or a person has to look at the evidence.
    label : str
        As a sentence begins with it.
    meaning : str
    """

    name: str
    label: str
    unit: str
    kind: Kind
    levels: tuple[Level, ...]
    meaning: str
    scale: ScaleName = "plain"
    rises_with_growth: bool = False
    words: tuple[str, ...] = ()
    doubtful: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    beyond: Beyond = "not met"


_ALL: tuple[Metric, ...] = (
    Metric(
        "confluency_percent",
        "Confluency",
        "%",
        "estimate",
        ("vessel", "layer", "batch"),
        "covered share of the culture area; of a layer that nobody saw, as inferred from the others",
        "percent",
        rises_with_growth=True,
    ),
    Metric(
        "drift_of_alarm",
        "Drift score over its alarm limit",
        "ratio",
        "estimate",
        ("vessel", "layer"),
        "drift score over the alarm limit of its baseline: above 1 the cells deviate from the reference population",
        "amount",
    ),
    Metric(
        "cells_per_covered_area_of_baseline",
        "Cells per covered area over the baseline's",
        "ratio",
        "estimate",
        ("vessel", "layer"),
        "cells per covered area over the baseline's: fewer, larger cells are a sign of ageing",
        "amount",
    ),
    Metric(
        "aggregates_per_cm2",
        "Aggregates per cm²",
        "1/cm2",
        "estimate",
        ("vessel", "layer"),
        "phase-bright multilayer clusters per culture area",
        "amount",
    ),
    Metric(
        "aggregate_area_percent",
        "Area under aggregates",
        "%",
        "estimate",
        ("vessel", "layer"),
        "share of the culture area under aggregates",
        "percent",
    ),
    Metric(
        "density_per_cm2",
        "Cells per cm²",
        "1/cm2",
        "estimate",
        ("vessel", "layer"),
        "cells per culture area, counted or by calibration",
        "amount",
        rises_with_growth=True,
    ),
    Metric(
        "contamination",
        "Signs of contamination",
        "",
        "category",
        ("vessel", "layer"),
        "visual signs of contamination in phase contrast; mycoplasma and virus cannot be seen",
        words=("no visual sign", "suspect", "not assessable"),
        doubtful=("suspect",),
        unknown=("not assessable",),
    ),
    Metric(
        "fields_suspect_percent",
        "Fields with a sign of contamination",
        "%",
        "exact",
        ("vessel", "layer"),
        "share of the scored fields that show a sign of contamination; single ones may be false alarms",
        beyond="doubt",
    ),
    Metric("passage", "Passage", "passages", "exact", ("vessel",), "passage number, as the manifest states it"),
    Metric(
        "pdl",
        "Population doubling level",
        "doublings",
        "exact",
        ("vessel",),
        "population doubling level, as the manifest states it",
    ),
    Metric(
        "measured_percent",
        "Measured culture area",
        "%",
        "exact",
        ("vessel",),
        "share of the culture area on layers with a measurement",
        beyond="missing",
    ),
    Metric(
        "known_percent",
        "Measured or inferred culture area",
        "%",
        "exact",
        ("vessel",),
        "share of the culture area on measured or inferred layers",
        beyond="missing",
    ),
    Metric(
        "fields_scored",
        "Scored fields",
        "fields",
        "exact",
        ("vessel", "layer"),
        "fields that could be scored",
        beyond="missing",
    ),
    Metric(
        "fields_failed_percent",
        "Failed fields",
        "%",
        "exact",
        ("vessel",),
        "share of the fields that failed with an error",
        beyond="missing",
    ),
    Metric(
        "fields_rejected_percent",
        "Rejected fields",
        "%",
        "exact",
        ("vessel",),
        "share of the fields that could not be judged",
        beyond="missing",
    ),
    Metric(
        "fields_doubtful_percent",
        "Doubtful fields",
        "%",
        "exact",
        ("vessel", "layer"),
        "share of the scored fields whose confluency a person should look at: methods disagree, unsure, strange",
        beyond="doubt",
    ),
    Metric(
        "scan_age_h",
        "Last image taken",
        "h",
        "time",
        ("vessel",),
        "hours from the last image of the vessel to the decision",
        beyond="missing",
    ),
)
METRICS = {one.name: one for one in _ALL}


def metric(name: str) -> Metric:
    """Return a metric by name.

    Raises
    ------
    InvalidArgumentError
        If there is none; the message lists all.
    """
    if name not in METRICS:
        raise InvalidArgumentError(f"No metric is called {name!r}; there are {', '.join(METRICS)}.")
    return METRICS[name]
