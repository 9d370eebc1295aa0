"""Roll field scores up to layers, with what the fields tell of their layer, or why they tell nothing."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from msc_vision.errors import InvalidDataError
from msc_vision.records import FieldScore, FieldStatus, LayerState, ManifestRow
from msc_vision.statistics.arithmetic import counted, sample_sd, weighted_mean
from msc_vision.statistics.intervals import figure
from msc_vision.statistics.placement import place_fields
from msc_vision.statistics.sampled_mean import SampledMean, spatial_mean
from msc_vision.statistics.scales import PERCENT
from msc_vision.statistics.settings import DOUBTFUL, SamplingSettings
from msc_vision.statistics.time_points import acquired_utc, latest_keys
from msc_vision.vessels import Catalogue, VesselType

Weighting = Literal["judgeable area", "judgeable pixels", "judgeable share"]

MM2_PER_CM2 = 100.0
_DECIMALS = 9
MOST_IMAGED_PERCENT = 150.0
"""Overlapping fields of a whole layer may cover somewhat more than all of it; more contradicts itself."""
MEASURED: tuple[LayerState, ...] = ("measured", "measured-degraded")


@dataclass(frozen=True, slots=True)
class ScoredField:
    """One field of a run: its manifest row and what came of it.

    ``is_accepted``: a person looked at it and took its figures as they are, so its flags are no doubt any more.
    """

    row: ManifestRow
    score: FieldScore
    is_accepted: bool = False

    @property
    def is_doubtful(self) -> bool:
        """Whether it carries a flag that a person has to look at, and none did."""
        return not self.is_accepted and bool(DOUBTFUL & {*self.score.flags})


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
    ``standard_error_points`` is from the choice of fields alone, with ``freedom`` degrees of freedom;
    ``effective_fields`` uncorrelated ones at random places would be as sure; ``represented_percent`` of the layer is
    what they stand for. ``confluency_interval`` (95 %) holds the error of the method too, ``method_error_points`` at
    half cover (more where fields are flagged as doubtful); without one, ``interval_note`` says why.
    ``confluency_quantiles`` say the same at every level of `QUANTILE_LEVELS`: what any window is judged by.
    ``in_window_probability`` is that of lying within the window of the settings.
    A layer in state ``inferred`` has no field: its confluency, interval and probability follow from the other layers.
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
    standard_error_points: float | None
    freedom: float | None
    effective_fields: float | None
    represented_percent: float | None
    method_error_points: float | None
    confluency_interval: tuple[float, float] | None
    confluency_quantiles: tuple[float, ...] | None
    in_window_probability: float | None
    interval_note: str
    how: str


def layer_estimates(
    fields: Iterable[ScoredField],
    catalogue: Catalogue,
    *,
    optics_profile: str = "standard",
    settings: SamplingSettings = SamplingSettings(),  # noqa: B008  (frozen)
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
    settings : SamplingSettings

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
        estimates.extend(_estimate_layers(vessel_id, vessel, members, optics_profile, settings))
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


def _estimate_layers(
    vessel_id: str, vessel: VesselType, fields: Sequence[ScoredField], optics_profile: str, settings: SamplingSettings
) -> tuple[LayerEstimate, ...]:
    """Return one estimate per layer of one vessel, layer 1 first."""
    by_layer: defaultdict[int, list[ScoredField]] = defaultdict(list)
    keys: set[str] = set()
    for field in sorted(fields, key=lambda one: one.score.key):
        check_field(field, vessel)
        if field.score.key in keys:
            raise InvalidDataError(f"{field.score.path}: field {field.score.key!r} comes twice; it would count twice.")
        keys.add(field.score.key)
        by_layer[field.row.layer].append(field)
    latest = latest_keys({field.score.key: field.row for field in fields})
    return tuple(
        estimate_layer(LayerPlace(vessel_id, vessel, layer), by_layer[layer], latest, optics_profile, settings)
        for layer in range(1, vessel.layers + 1)
    )


@dataclass(frozen=True, slots=True)
class LayerPlace:
    """Which layer of which vessel."""

    vessel_id: str
    vessel: VesselType
    layer: int


def estimate_layer(
    place: LayerPlace,
    fields: Sequence[ScoredField],
    latest: frozenset[str],
    optics_profile: str,
    settings: SamplingSettings,
) -> LayerEstimate:
    """Return the estimate of one layer; `layer_estimates` does this for all layers of all vessels.

    Parameters
    ----------
    place : LayerPlace
    fields : sequence of ScoredField
        Those of the layer, of every time point, ordered by key, each once and checked by `check_field`.
    latest : frozenset of str
        Keys of the fields of the vessel's latest time point.
    optics_profile : str
    settings : SamplingSettings
    """
    is_reachable = place.layer in place.vessel.reachable_layers(optics_profile)
    estimate = _estimate_layer(place, fields, latest, is_reachable, optics_profile)
    scored = [one for one in fields if one.score.key in latest and one.score.status == "scored"]
    return _with_interval(estimate, scored, settings)


def check_field(field: ScoredField, vessel: VesselType) -> None:
    """Refuse a field on a layer that the vessel does not have, or that counts as scored without usable figures.

    Raises
    ------
    InvalidDataError
    """
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
    place: LayerPlace,
    all_fields: Sequence[ScoredField],
    latest: frozenset[str],
    is_reachable: bool,
    optics_profile: str,
) -> LayerEstimate:
    vessel = place.vessel
    fields = [field for field in all_fields if field.score.key in latest]
    n_earlier = len(all_fields) - len(fields)
    first, last = _time_span(fields)
    scored = [field.score for field in fields if field.score.status == "scored"]
    rejected, failed = _count(fields, "rejected"), _count(fields, "failed")
    weighting, weights = _weights(scored)
    values = [_figure(score.confluency_percent) for score in scored]
    area_mm2 = math.fsum(weights) if weighting == "judgeable area" else None
    return LayerEstimate(
        vessel_id=place.vessel_id,
        vessel_type=vessel.id,
        layer=place.layer,
        state=_layer_state(fields, len(scored), is_reachable or n_earlier > 0),
        n_fields_scored=len(scored),
        n_fields_rejected=rejected,
        n_fields_failed=failed,
        n_fields_earlier=n_earlier,
        acquired_from=first,
        acquired_to=last,
        culture_area_cm2=vessel.area_per_layer_cm2,
        confluency_percent=weighted_mean(values, weights),
        sd_points=sample_sd(values),
        min_percent=min(values, default=None),
        max_percent=max(values, default=None),
        judgeable_area_mm2=area_mm2,
        imaged_percent=_imaged_percent(scored, vessel),
        weighting=weighting,
        standard_error_points=None,
        freedom=None,
        effective_fields=None,
        represented_percent=None,
        method_error_points=None,
        confluency_interval=None,
        confluency_quantiles=None,
        in_window_probability=None,
        interval_note="no scored field",
        how=" ".join(
            (
                _layer_words(scored, rejected, failed, n_earlier, is_reachable, optics_profile),
                *earlier_words(n_earlier),
            )
        ),
    )


def _with_interval(layer: LayerEstimate, scored: Sequence[ScoredField], settings: SamplingSettings) -> LayerEstimate:
    """Return the estimate of a layer with what its fields tell of the whole layer, or why they tell nothing."""
    if not scored:
        return layer
    if (layer.imaged_percent or 0.0) > MOST_IMAGED_PERCENT:
        contradiction = (
            f"the fields cover {layer.imaged_percent:.0f} % of the layer: pixel size or vessel type is wrong"
        )
        return replace(layer, interval_note=contradiction)
    placement = place_fields(
        [one.row.y_um for one in scored],
        [one.row.x_um for one in scored],
        layer.culture_area_cm2,
        settings.least_reached_percent,
    )
    if placement.places_mm is None:
        return replace(layer, represented_percent=placement.reached_percent, interval_note=str(placement.reason))
    values = np.array([_figure(one.score.confluency_percent) for one in scored])
    _, weights = _weights([one.score for one in scored])
    mean = spatial_mean(values, np.array(weights), placement.places_mm, placement.sides_mm)
    mean = mean.of_finite((layer.imaged_percent or 0.0) / 100)
    flagged = sum(weight for one, weight in zip(scored, weights, strict=True) if one.is_doubtful)
    method_error = settings.method_error(flagged / math.fsum(weights))
    found = figure(mean, PERCENT, method_error / 100)
    return replace(
        layer,
        standard_error_points=_rounded(mean.standard_error),
        freedom=_rounded(mean.freedom),
        effective_fields=_rounded(mean.effective_n),
        represented_percent=placement.reached_percent,
        confluency_interval=(_rounded(found.interval[0]), _rounded(found.interval[1])),
        confluency_quantiles=tuple(_rounded(one) for one in found.quantiles()),
        in_window_probability=_rounded(found.probability_within(*settings.window_percent)),
        method_error_points=method_error,
        interval_note=_interval_words(mean, len(scored), method_error),
    )


def _rounded(value: float) -> float:
    """Return a figure without the digits that hang on the processor and its libraries."""
    return round(value, _DECIMALS)


def _interval_words(mean: SampledMean, n_fields: int, method_error: float) -> str:
    alike = f", as sure as {mean.effective_n:.0f} unrelated ones" if round(mean.effective_n) != n_fields else ""
    return (
        f"95 %: {counted(n_fields, 'field')} spread over the layer{alike}, and a method error of"
        f" {method_error:.3g} points at half cover"
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
    """Return a figure that `check_field` has already vouched for."""
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
    words = [f"Mean of {counted(len(scored), 'scored field')} weighted by {_weight_words(scored)}."]
    if rejected + failed:
        words.append(f"{rejected} rejected and {failed} failed fields are left out.")
    if not is_reachable:
        words.append(f"The catalogue does not count this layer as reached with {optics_profile} optics.")
    return " ".join(words)


def earlier_words(n_earlier: int) -> tuple[str, ...]:
    """Return what to say of fields of earlier time points, if there are any."""
    verb = "is" if n_earlier == 1 else "are"
    return (f"{counted(n_earlier, 'field')} of earlier time points {verb} left out.",) if n_earlier else ()


def _weight_words(scored: Sequence[FieldScore]) -> str:
    weighting, weights = _weights(scored)
    if weighting == "judgeable area":
        return f"judgeable area ({math.fsum(weights):.4g} mm²)"
    unknown = sum(score.judgeable_area_mm2 is None for score in scored)
    which = "every field" if unknown == len(scored) else f"{unknown} of {len(scored)} fields, known for the others"
    return f"{weighting} (pixel size unknown for {which})"
