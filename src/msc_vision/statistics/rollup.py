"""Roll field scores up to layers and vessels: pure functions, and a layer nobody scored is never a number."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from msc_vision.errors import InvalidDataError
from msc_vision.records import FieldScore, FieldStatus, LayerState, ManifestRow
from msc_vision.statistics.time_points import acquired_utc, latest_keys
from msc_vision.vessels import Catalogue, VesselType, layer_ranges

Weighting = Literal["judgeable area", "judgeable pixels", "judgeable share"]

INTERVAL_NOT_COMPUTED = "not computed: no sampling interval was asked for"
MM2_PER_CM2 = 100.0
MEASURED: tuple[LayerState, ...] = ("measured", "measured-degraded")


@dataclass(frozen=True, slots=True)
class ScoredField:
    """One field of a run: its manifest row and what came of it."""

    row: ManifestRow
    score: FieldScore


@dataclass(frozen=True, slots=True)
class LayerEstimate:
    """What is known of one layer at the latest time point of its vessel; see `latest_keys`.

    Without a scored field every figure is None; ``how`` says why. ``n_fields_earlier`` fields of earlier time points
    are left out of everything else; ``acquired_from`` and ``acquired_to`` (UTC) are of the others, None if no time is
    known.
    ``confluency_percent`` is covered over judgeable area of all scored fields. ``sd_points``, ``min_percent`` and
    ``max_percent`` are between fields, each field counting once; the SD (n - 1) needs two fields.
    ``imaged_percent`` is the area of the scored fields over the culture area of the layer; overlapping fields count
    twice in it. Areas are None unless every scored field has a pixel size.
    """

    vessel_id: str
    vessel_type: str
    layer: int
    state: LayerState
    n_fields_scored: int
    n_fields_rejected: int
    n_fields_failed: int
    n_fields_earlier: int
    acquired_from: str | None
    acquired_to: str | None
    culture_area_cm2: float
    confluency_percent: float | None
    sd_points: float | None
    min_percent: float | None
    max_percent: float | None
    judgeable_area_mm2: float | None
    imaged_percent: float | None
    weighting: Weighting | None
    confluency_interval: tuple[float, float] | None
    interval_note: str
    how: str


@dataclass(frozen=True, slots=True)
class VesselEstimate:
    """What is known of one vessel, from its measured layers only; all its layers are listed in ``layers``.

    ``measured_layers`` include the ``degraded_layers``. ``sd_points`` is between measured layers (n - 1).
    ``measured_percent`` is the share of the culture area that lies on measured layers.
    """

    vessel_id: str
    vessel_type: str
    n_layers: int
    confluency_percent: float | None
    sd_points: float | None
    min_percent: float | None
    max_percent: float | None
    measured_layers: tuple[int, ...]
    degraded_layers: tuple[int, ...]
    inferred_layers: tuple[int, ...]
    unobservable_layers: tuple[int, ...]
    missing_layers: tuple[int, ...]
    culture_area_cm2: float
    measured_percent: float
    n_fields_earlier: int
    acquired_from: str | None
    acquired_to: str | None
    confluency_interval: tuple[float, float] | None
    interval_note: str
    how: str
    layers: tuple[LayerEstimate, ...]


def layer_estimates(
    fields: Iterable[ScoredField], catalogue: Catalogue, *, optics_profile: str = "standard"
) -> tuple[LayerEstimate, ...]:
    """Return an estimate for every layer of every vessel that has a field, ordered by vessel and layer.

    Parameters
    ----------
    fields : iterable of ScoredField
        Scored, rejected and failed fields in any order: the result does not depend on it, to the last bit.
    catalogue : Catalogue
        Looks up the ``vessel_type`` of each row.
    optics_profile : str
        Decides which layers without fields are ``unobservable`` and which are ``missing``.

    Raises
    ------
    InvalidDataError
        If a vessel has two types, a field lies on a layer that the vessel does not have, a field comes twice, or a
        scored field lacks a usable confluency or judgeable share.
    InvalidArgumentError
        If a vessel type or its optics profile is unknown.
    """
    by_vessel: defaultdict[str, list[ScoredField]] = defaultdict(list)
    for field in fields:
        by_vessel[field.row.vessel_id].append(field)
    estimates: list[LayerEstimate] = []
    for vessel_id, members in sorted(by_vessel.items()):
        vessel = _one_type(vessel_id, members, catalogue)
        estimates.extend(estimate_layers(vessel_id, vessel, members, optics_profile=optics_profile))
    return tuple(estimates)


def latest_fields(fields: Iterable[ScoredField]) -> frozenset[str]:
    """Return the keys of the fields that layers and vessels are estimated from: those of each vessel's latest time."""
    by_vessel: defaultdict[str, dict[str, ManifestRow]] = defaultdict(dict)
    for field in fields:
        by_vessel[field.row.vessel_id][field.score.key] = field.row
    return frozenset().union(*(latest_keys(rows) for rows in by_vessel.values()))


def _one_type(vessel_id: str, members: Sequence[ScoredField], catalogue: Catalogue) -> VesselType:
    types = {catalogue.get(name).id for name in sorted({member.row.vessel_type for member in members})}
    if len(types) > 1:
        raise InvalidDataError(f"Vessel {vessel_id!r} is said to be both {' and '.join(sorted(types))}: fix the rows.")
    return catalogue[types.pop()]


def estimate_layers(
    vessel_id: str, vessel: VesselType, fields: Sequence[ScoredField], *, optics_profile: str
) -> tuple[LayerEstimate, ...]:
    """Return one estimate per layer of one vessel, layer 1 first; see `layer_estimates`."""
    by_layer: defaultdict[int, list[ScoredField]] = defaultdict(list)
    keys: set[str] = set()
    for field in sorted(fields, key=lambda one: one.score.key):
        _check_field(field, vessel)
        if field.score.key in keys:
            raise InvalidDataError(f"{field.score.path}: field {field.score.key!r} comes twice; it would count twice.")
        keys.add(field.score.key)
        by_layer[field.row.layer].append(field)
    reachable = vessel.reachable_layers(optics_profile)
    latest = latest_keys({field.score.key: field.row for field in fields})
    return tuple(
        _estimate_layer(vessel_id, vessel, layer, by_layer[layer], latest, layer in reachable, optics_profile)
        for layer in range(1, vessel.layers + 1)
    )


def _check_field(field: ScoredField, vessel: VesselType) -> None:
    row, score = field.row, field.score
    if not 1 <= row.layer <= vessel.layers:
        raise InvalidDataError(f"{row.path}: layer {row.layer} does not exist on {vessel.id} (1..{vessel.layers}).")
    if score.status != "scored":
        return
    for name, value, lowest in (
        ("confluency_percent", score.confluency_percent, 0.0),
        ("judgeable_percent", score.judgeable_percent, math.ulp(0.0)),
    ):
        if value is None or not lowest <= value <= 100:
            raise InvalidDataError(
                f"{row.path}: scored, but its {name} is {value}; only a field with a figure up to 100 counts as scored."
            )
    for name, area in (("judgeable_area_mm2", score.judgeable_area_mm2), ("field_area_mm2", score.field_area_mm2)):
        if area is not None and not 0 < area < math.inf:
            raise InvalidDataError(
                f"{row.path}: scored, but its {name} is {area}; an area must be above zero or unknown."
            )


def _estimate_layer(
    vessel_id: str,
    vessel: VesselType,
    layer: int,
    all_fields: Sequence[ScoredField],
    latest: frozenset[str],
    is_reachable: bool,
    optics_profile: str,
) -> LayerEstimate:
    fields = [field for field in all_fields if field.score.key in latest]
    n_earlier = len(all_fields) - len(fields)
    first, last = _time_span(fields)
    scored = [field.score for field in fields if field.score.status == "scored"]
    rejected, failed = _count(fields, "rejected"), _count(fields, "failed")
    weighting, weights = _weights(scored)
    values = [_figure(score.confluency_percent) for score in scored]
    area_mm2 = math.fsum(weights) if weighting == "judgeable area" else None
    return LayerEstimate(
        vessel_id=vessel_id,
        vessel_type=vessel.id,
        layer=layer,
        state=_layer_state(fields, len(scored), is_reachable or n_earlier > 0),
        n_fields_scored=len(scored),
        n_fields_rejected=rejected,
        n_fields_failed=failed,
        n_fields_earlier=n_earlier,
        acquired_from=first,
        acquired_to=last,
        culture_area_cm2=vessel.area_per_layer_cm2,
        confluency_percent=_weighted_mean(values, weights),
        sd_points=_sample_sd(values),
        min_percent=min(values, default=None),
        max_percent=max(values, default=None),
        judgeable_area_mm2=area_mm2,
        imaged_percent=_imaged_percent(scored, vessel),
        weighting=weighting,
        confluency_interval=None,
        interval_note=INTERVAL_NOT_COMPUTED,
        how=" ".join(
            (
                _layer_words(scored, rejected, failed, n_earlier, is_reachable, optics_profile),
                *_earlier_words(n_earlier),
            )
        ),
    )


def _time_span(fields: Sequence[ScoredField]) -> tuple[str | None, str | None]:
    """Return the first and last time at which these fields were acquired, in UTC."""
    times = [time for field in fields if (time := acquired_utc(field.row)) is not None]
    if not times:
        return None, None
    return min(times).isoformat(timespec="seconds"), max(times).isoformat(timespec="seconds")


def _count(fields: Sequence[ScoredField], status: FieldStatus) -> int:
    return sum(field.score.status == status for field in fields)


def _figure(value: float | None) -> float:
    """Return a figure that `_check_field` has already vouched for."""
    if value is None:
        raise InvalidDataError("A scored field has no figure.")
    return value


def _layer_state(fields: Sequence[ScoredField], n_scored: int, is_reachable: bool) -> LayerState:
    if n_scored:
        return "measured" if n_scored == len(fields) else "measured-degraded"
    return "missing" if fields or is_reachable else "unobservable"


def _weights(scored: Sequence[FieldScore]) -> tuple[Weighting | None, list[float]]:
    """Return what each field counts for: mm2 if all are known, else pixels if all are, else its judgeable share."""
    if not scored:
        return None, []
    areas = [score.judgeable_area_mm2 for score in scored]
    if all(area is not None for area in areas):
        return "judgeable area", [_figure(area) for area in areas]
    shares = [_figure(score.judgeable_percent) for score in scored]
    if all(score.height_px and score.width_px for score in scored):
        sizes = [(score.height_px or 0) * (score.width_px or 0) for score in scored]
        return "judgeable pixels", [share * size for share, size in zip(shares, sizes, strict=True)]
    return "judgeable share", shares


def _weighted_mean(values: Sequence[float], weights: Sequence[float]) -> float | None:
    """Return the weighted mean; `math.fsum` rounds once, so the order of the fields cannot show."""
    if not values:
        return None
    mean = math.fsum(v * w for v, w in zip(values, weights, strict=True)) / math.fsum(weights)
    return min(max(mean, min(values)), max(values))


def _sample_sd(values: Sequence[float]) -> float | None:
    if len(values) < 2:
        return None
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _imaged_percent(scored: Sequence[FieldScore], vessel: VesselType) -> float | None:
    areas = [score.field_area_mm2 for score in scored]
    if not areas or any(area is None for area in areas):
        return None
    return 100 * math.fsum(_figure(area) for area in areas) / (vessel.area_per_layer_cm2 * MM2_PER_CM2)


def _layer_words(
    scored: Sequence[FieldScore], rejected: int, failed: int, n_earlier: int, is_reachable: bool, optics_profile: str
) -> str:
    if not scored and rejected + failed:
        return f"None of {rejected + failed} fields could be scored ({rejected} rejected, {failed} failed)."
    if not scored and n_earlier:
        return "No field at the latest time point of the vessel."
    if not scored:
        can = "can be imaged" if is_reachable else "cannot be imaged"
        return f"No field; the layer {can} with {optics_profile} optics."
    words = [f"Mean of {_counted(len(scored), 'scored field')} weighted by {_weight_words(scored)}."]
    if rejected + failed:
        words.append(f"{rejected} rejected and {failed} failed fields are left out.")
    if not is_reachable:
        words.append(f"The catalogue does not count this layer as reached with {optics_profile} optics.")
    return " ".join(words)


def _earlier_words(n_earlier: int) -> tuple[str, ...]:
    verb = "is" if n_earlier == 1 else "are"
    return (f"{_counted(n_earlier, 'field')} of earlier time points {verb} left out.",) if n_earlier else ()


def _weight_words(scored: Sequence[FieldScore]) -> str:
    weighting, weights = _weights(scored)
    if weighting == "judgeable area":
        return f"judgeable area ({math.fsum(weights):.4g} mm²)"
    unknown = sum(score.judgeable_area_mm2 is None for score in scored)
    which = "every field" if unknown == len(scored) else f"{unknown} of {len(scored)} fields, known for the others"
    return f"{weighting} (pixel size unknown for {which})"


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def vessel_estimates(layers: Iterable[LayerEstimate], catalogue: Catalogue) -> tuple[VesselEstimate, ...]:
    """Return an estimate per vessel from the estimates of its layers, ordered by vessel.

    Parameters
    ----------
    layers : iterable of LayerEstimate
        Every layer of every vessel, in any order, as `layer_estimates` returns them.
    catalogue : Catalogue
        Says how many layers each vessel must have.

    Raises
    ------
    InvalidDataError
        If the layers of a vessel are not all that its type has, each once: a layer left out of the list would be
        evidence left out of sight.
    """
    by_vessel: defaultdict[str, list[LayerEstimate]] = defaultdict(list)
    for layer in layers:
        by_vessel[layer.vessel_id].append(layer)
    return tuple(_estimate_vessel(vessel_id, members, catalogue) for vessel_id, members in sorted(by_vessel.items()))


def _estimate_vessel(vessel_id: str, members: Iterable[LayerEstimate], catalogue: Catalogue) -> VesselEstimate:
    layers = tuple(sorted(members, key=lambda one: one.layer))
    numbers = [one.layer for one in layers]
    types = sorted({one.vessel_type for one in layers})
    n_layers = catalogue.get(types[0]).layers
    if numbers != list(range(1, n_layers + 1)) or len(types) > 1:
        raise InvalidDataError(
            f"Vessel {vessel_id!r} ({' and '.join(types)}): needs layers 1..{n_layers}, each once, got {numbers}."
        )
    measured = [one for one in layers if one.state in MEASURED]
    values = [_figure(one.confluency_percent) for one in measured]
    areas = [one.culture_area_cm2 for one in measured]
    total_cm2 = math.fsum(one.culture_area_cm2 for one in layers)
    n_earlier = sum(one.n_fields_earlier for one in layers)
    return VesselEstimate(
        vessel_id=vessel_id,
        vessel_type=types[0],
        n_layers=n_layers,
        confluency_percent=_weighted_mean(values, areas),
        sd_points=_sample_sd(values),
        min_percent=min(values, default=None),
        max_percent=max(values, default=None),
        measured_layers=tuple(one.layer for one in measured),
        degraded_layers=_in_state(layers, "measured-degraded"),
        inferred_layers=_in_state(layers, "inferred"),
        unobservable_layers=_in_state(layers, "unobservable"),
        missing_layers=_in_state(layers, "missing"),
        culture_area_cm2=total_cm2,
        measured_percent=100 * math.fsum(areas) / total_cm2,
        n_fields_earlier=n_earlier,
        acquired_from=min((one.acquired_from for one in layers if one.acquired_from is not None), default=None),
        acquired_to=max((one.acquired_to for one in layers if one.acquired_to is not None), default=None),
        confluency_interval=None,
        interval_note=INTERVAL_NOT_COMPUTED,
        how=" ".join((_vessel_words(layers, len(measured)), *_earlier_words(n_earlier))),
        layers=layers,
    )


def _in_state(layers: Sequence[LayerEstimate], state: LayerState) -> tuple[int, ...]:
    return tuple(one.layer for one in layers if one.state == state)


def _vessel_words(layers: Sequence[LayerEstimate], n_measured: int) -> str:
    states: tuple[LayerState, ...] = ("measured-degraded", "inferred", "unobservable", "missing")
    named = [f"{state}: {layer_ranges(_in_state(layers, state))}" for state in states if _in_state(layers, state)]
    start = (
        f"Mean of {n_measured} of {_counted(len(layers), 'layer')} weighted by culture area"
        if n_measured
        else f"None of {_counted(len(layers), 'layer')} was measured"
    )
    return f"{start}; {'; '.join(named)}." if named else f"{start}."
