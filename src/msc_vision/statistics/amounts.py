"""Intervals of amounts beside confluency: aggregates and cells per area, by the same roll-up of fields and layers.

They hold what the choice of fields and of layers leaves open, not the error of the method, which is not known for them.
"""

import math
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from msc_vision.statistics.character import (
    AGGREGATES_AREA,
    AGGREGATES_PER_CM2,
    DENSITY_KEY,
    Character,
    Characters,
)
from msc_vision.statistics.intervals import CONFIDENCE, figure
from msc_vision.statistics.placement import Placement, place_fields
from msc_vision.statistics.rollup import ScoredField, latest_fields
from msc_vision.statistics.sampled_mean import SampledMean, spatial_mean
from msc_vision.statistics.scales import AMOUNT, PERCENT, Scale
from msc_vision.statistics.settings import SamplingSettings
from msc_vision.statistics.stack import LayerMean, draw_stack, interval, why_undetermined
from msc_vision.vessels import Catalogue, VesselType

_MM2_PER_CM2 = 100.0
_RARE = -math.log((1 - CONFIDENCE) / 2)
"""So many may be on an area on which none was found (exact Poisson limit, Garwood 1936); and of places, a share of
1 - exp(-this / n) may hold some where n places hold none (exact binomial limit, Clopper and Pearson 1934)."""
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Amount:
    """An amount: its column of `Character`, its scale, and how a field tells it (None: it does not)."""

    column: str
    scale: Scale
    of_field: Callable[[ScoredField], float | None]
    is_count: bool = False


@dataclass(frozen=True, slots=True)
class LayerAmount:
    """``looked_at`` is what was looked at without finding any, cm² of a count or fields of a share; else None."""

    mean: SampledMean
    interval: Interval
    looked_at: float | None = None


AMOUNTS = (
    Amount("aggregates_interval", AMOUNT, lambda one: one.score.findings.get(AGGREGATES_PER_CM2), is_count=True),
    Amount("aggregate_area_interval", PERCENT, lambda one: one.score.findings.get(AGGREGATES_AREA)),
    Amount("density_interval", AMOUNT, lambda one: one.score.morphology.get(DENSITY_KEY)),
)


def with_intervals(
    found: Characters,
    fields: Iterable[ScoredField],
    catalogue: Catalogue,
    settings: SamplingSettings,
) -> Characters:
    """Return the characters of a run with intervals of their amounts.

    A layer study is one of confluency and tells nothing of other amounts, so unseen layers have none from it.

    Parameters
    ----------
    found : Characters
    fields : iterable of ScoredField
        The same that they were made of.
    catalogue : Catalogue
    settings : SamplingSettings
    """
    listed = sorted(fields, key=lambda one: one.score.key)
    latest = latest_fields(listed)
    groups: defaultdict[str, defaultdict[int, list[ScoredField]]] = defaultdict(lambda: defaultdict(list))
    for one in listed:
        if one.score.key in latest and one.score.status == "scored":
            groups[one.row.vessel_id][one.row.layer].append(one)
    layers, vessels = dict(found.layers), dict(found.vessels)
    for vessel_id, of_layers in groups.items():
        kind = catalogue.get(next(iter(of_layers.values()))[0].row.vessel_type)
        known = {number: layer_amounts(members, kind, settings) for number, members in of_layers.items()}
        for number, amounts in known.items():
            layers[vessel_id, number] = told(layers[vessel_id, number], intervals_of(amounts))
        vessels[vessel_id] = told(vessels[vessel_id], vessel_amounts(vessel_id, known, kind))
    return replace(found, layers=layers, vessels=vessels)


def intervals_of(amounts: Mapping[str, LayerAmount]) -> dict[str, Interval]:
    """Return the intervals of the amounts of one layer, by column."""
    return {name: one.interval for name, one in amounts.items()}


def told(character: Character, intervals: Mapping[str, Interval]) -> Character:
    """Return a character with intervals of its amounts, by column."""
    rounded: dict[str, Any] = {name: (round(low, 6), round(high, 6)) for name, (low, high) in intervals.items()}
    return replace(character, **rounded)


def layer_amounts(
    members: Sequence[ScoredField], kind: VesselType, settings: SamplingSettings
) -> dict[str, LayerAmount]:
    """Return what the scored fields of a layer tell, by column; an amount that too few fields have is left out."""
    found = {}
    for amount in AMOUNTS:
        telling = [(one, value) for one in members if (value := amount.of_field(one)) is not None]
        placement = place_fields(
            [one.row.y_um for one, _ in telling],
            [one.row.x_um for one, _ in telling],
            kind.area_per_layer_cm2,
            settings.least_reached_percent,
        )
        if placement.places_mm is not None:
            found[amount.column] = _layer_amount(amount, telling, placement)
    return found


def _layer_amount(amount: Amount, telling: Sequence[tuple[ScoredField, float]], placement: Placement) -> LayerAmount:
    values = np.array([value for _, value in telling])
    areas = [one.score.judgeable_area_mm2 for one, _ in telling]
    weights = np.array([1.0 if area is None else area for area in areas])
    assert placement.places_mm is not None
    mean = spatial_mean(values, weights, placement.places_mm, placement.sides_mm)
    looked_at = None if values.any() else _looked_at(amount, areas)
    if looked_at is not None:
        return LayerAmount(mean, (0.0, _most_overlooked(amount, looked_at)), looked_at)
    return LayerAmount(mean, figure(mean, amount.scale, 0.0).interval)


def _looked_at(amount: Amount, areas_mm2: Sequence[float | None]) -> float | None:
    """Return how much was looked at, as `LayerAmount` says; None where that tells nothing."""
    if amount.is_count:
        return math.fsum(area for area in areas_mm2 if area is not None) / _MM2_PER_CM2 or None
    return float(len(areas_mm2)) if amount.scale is PERCENT else None


def _most_overlooked(amount: Amount, looked_at: float) -> float:
    """Return the amount that is overlooked in 2.5 % of cases; of a share, as if it filled the fields that hold it."""
    return _RARE / looked_at if amount.is_count else -100 * math.expm1(-_RARE / looked_at)


def vessel_amounts(
    vessel_id: str, layers: Mapping[int, Mapping[str, LayerAmount]], kind: VesselType
) -> dict[str, Interval]:
    """Return the intervals of a vessel, where its layers tell enough; that of its one layer if it has but one."""
    if kind.layers == 1:
        return {name: one.interval for name, one in layers.get(1, {}).items()}
    found = {}
    for amount in AMOUNTS:
        known = {number: of_layer[amount.column] for number, of_layer in layers.items() if amount.column in of_layer}
        if why_undetermined(tuple(sorted(known)), kind.layers, None) is None:
            together = _together(vessel_id, amount, known, kind)
            found.update({} if together is None else {amount.column: together})
    return found


def _together(vessel_id: str, amount: Amount, known: Mapping[int, LayerAmount], kind: VesselType) -> Interval | None:
    """Return the interval of a vessel from layers that speak for it; None if nothing in them differs."""
    looked_at = [one.looked_at for one in known.values() if one.looked_at is not None]
    if len(looked_at) == len(known):  # none was found anywhere
        return 0.0, _most_overlooked(amount, math.fsum(looked_at))
    means = tuple(_inner(number, one.mean, amount.scale) for number, one in sorted(known.items()))
    if not any(one.error for one in means):
        return None
    areas = np.full(kind.layers, kind.area_per_layer_cm2)
    key = zlib.crc32(f"{vessel_id} {amount.column}".encode())
    return interval(draw_stack(means, areas, amount.scale, key=key).vessel)


def _inner(number: int, mean: SampledMean, scale: Scale) -> LayerMean:
    centre = float(scale.inner(np.array(mean.mean)))
    return LayerMean(number, centre, scale.inner_error(mean.mean, mean.standard_error), mean.freedom)
