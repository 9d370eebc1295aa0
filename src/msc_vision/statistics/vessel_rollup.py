"""From layers to the vessel and the batch: what was seen, what is inferred from it, and what nobody can know."""

import math
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit
from scipy.stats import linregress

from msc_vision.errors import InvalidDataError
from msc_vision.records import LayerState, ManifestRow
from msc_vision.statistics.arithmetic import counted, sample_sd, weighted_mean
from msc_vision.statistics.components import Components, variance_components
from msc_vision.statistics.intervals import CONFIDENCE, QUANTILE_LEVELS
from msc_vision.statistics.layer_study import LayerStudy
from msc_vision.statistics.rollup import MEASURED, LayerEstimate, ScoredField, earlier_words, latest_fields
from msc_vision.statistics.scales import PERCENT
from msc_vision.statistics.settings import SamplingSettings
from msc_vision.statistics.stack import Basis, LayerMean, StackDraws, draw_stack, interval, why_undetermined
from msc_vision.vessels import Catalogue, layer_ranges

FloatArray = NDArray[np.float64]

_DECIMALS = 6
"""Of what is drawn: the last digits hang on the processor."""


@dataclass(frozen=True, slots=True)
class VesselEstimate:
    """What is known of one vessel; all its layers are listed in ``layers``.

    ``confluency_percent`` is that of the whole culture area: the measured layers, and the others as they are inferred;
    a measured layer whose fields give no interval counts as inferred (``interval_note`` names it).
    It is None where nothing can be said of the others (``interval_note`` says why); ``measured_confluency_percent`` is
    then still the mean of the measured layers, by culture area, which tells nothing of the vessel.
    ``confluency_interval`` (95 %) holds what fields, layers and method leave open; ``confluency_quantiles`` say the
    same at every level of `QUANTILE_LEVELS`.
    ``measured_layers`` include the ``degraded_layers``. ``sd_points`` is between measured layers (n - 1), with the
    errors of their means; ``layer_sd_points`` is without them, at half cover, None if all layers were measured.
    ``measured_percent`` is the share of the culture area that lies on measured layers.
    ``area_in_window_percent`` is the share of the culture area on layers that lie within ``window_percent``, and
    ``in_window_probability`` that of the vessel's mean lying there. ``worst_layers`` are those with a figure, the one
    least likely within the window first. ``trend_points_per_layer`` is a straight line through the measured layers
    from the bottom up; it needs three.
    """

    vessel_id: str
    vessel_type: str
    n_layers: int
    confluency_percent: float | None
    measured_confluency_percent: float | None
    sd_points: float | None
    layer_sd_points: float | None
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
    confluency_quantiles: tuple[float, ...] | None
    interval_note: str
    window_percent: tuple[float, float]
    in_window_probability: float | None
    area_in_window_percent: float | None
    area_in_window_interval: tuple[float, float] | None
    worst_layers: tuple[int, ...]
    trend_points_per_layer: float | None
    trend_interval: tuple[float, float] | None
    how: str
    layers: tuple[LayerEstimate, ...]


@dataclass(frozen=True, slots=True)
class BatchEstimate:
    """What is known of the vessels of one batch together, by culture area.

    Without an estimate for every vessel there is none for the batch; ``how`` names the vessels that lack one.
    ``sd_points`` is between vessels (n - 1).
    """

    batch: str
    vessel_ids: tuple[str, ...]
    culture_area_cm2: float
    confluency_percent: float | None
    sd_points: float | None
    confluency_interval: tuple[float, float] | None
    confluency_quantiles: tuple[float, ...] | None
    how: str


def vessel_estimates(
    layers: Iterable[LayerEstimate],
    catalogue: Catalogue,
    *,
    settings: SamplingSettings = SamplingSettings(),  # noqa: B008  (frozen)
    study: LayerStudy | None = None,
) -> tuple[VesselEstimate, ...]:
    """Return an estimate per vessel from the estimates of its layers, ordered by vessel.

    Parameters
    ----------
    layers : iterable of LayerEstimate
        Every layer of every vessel, in any order, as `layer_estimates` returns them.
    catalogue : Catalogue
        Says how many layers each vessel must have.
    settings : SamplingSettings
        The same that the layers were estimated with.
    study : LayerStudy, optional
        How the layers of such vessels differ at this site; without one, layers that were measured all over the stack
        speak for the others, and layers that were not, do not.

    Raises
    ------
    InvalidDataError
        If the layers of a vessel are not all that its type has, each once: a layer left out of the list would be
        evidence left out of sight.
    """
    by_vessel: defaultdict[str, list[LayerEstimate]] = defaultdict(list)
    for layer in layers:
        by_vessel[layer.vessel_id].append(layer)
    return tuple(
        _estimate_vessel(_stack(vessel_id, members, catalogue), settings, study)
        for vessel_id, members in sorted(by_vessel.items())
    )


def batch_estimates(
    vessels: Sequence[VesselEstimate], batches: Mapping[str, str], *, study: LayerStudy | None = None
) -> tuple[BatchEstimate, ...]:
    """Return an estimate per batch, ordered by name.

    Parameters
    ----------
    vessels : sequence of VesselEstimate
    batches : mapping of str to str
        Which batch each vessel belongs to; vessels without one are left out.
    study : LayerStudy, optional
        The same that the vessels were estimated with.
    """
    groups: defaultdict[str, list[VesselEstimate]] = defaultdict(list)
    for vessel in sorted(vessels, key=lambda one: one.vessel_id):
        if vessel.vessel_id in batches:
            groups[batches[vessel.vessel_id]].append(vessel)
    return tuple(_estimate_batch(name, members, study) for name, members in sorted(groups.items()))


def run_components(fields: Iterable[ScoredField]) -> Components | None:
    """Return how much fields, layers and vessels of a run differ, in points at half cover; None below two fields.

    Of the latest time point of each vessel, on the angle scale, on which that hardly hangs on the confluency.
    """
    listed = sorted(fields, key=lambda one: one.score.key)
    latest = latest_fields(listed)
    known = [
        (100 * float(PERCENT.inner(np.array(one.score.confluency_percent))), one.row.layer, one.row.vessel_id)
        for one in listed
        if one.score.key in latest and one.score.status == "scored"
    ]
    if len(known) < 2:
        return None
    found = variance_components([one[0] for one in known], [one[1] for one in known], [one[2] for one in known])
    return replace(
        found,
        field=_rounded_if(found.field),
        layer=_rounded_if(found.layer),
        vessel=_rounded_if(found.vessel),
        mean=_rounded(found.mean),
        mean_error=_rounded(found.mean_error),
    )


def _rounded_if(value: float | None) -> float | None:
    return None if value is None else _rounded(value)


def batches_of(rows: Iterable[ManifestRow]) -> dict[str, str]:
    """Return the batch of each vessel: lot and passage. Vessels without a lot, or with several, belong to none."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.lot is not None:
            found[row.vessel_id].add(row.lot if row.passage is None else f"{row.lot}, passage {row.passage}")
    return {vessel: names.pop() for vessel, names in sorted(found.items()) if len(names) == 1}


def _stack(vessel_id: str, members: Iterable[LayerEstimate], catalogue: Catalogue) -> tuple[LayerEstimate, ...]:
    layers = tuple(sorted(members, key=lambda one: one.layer))
    numbers = [one.layer for one in layers]
    types = sorted({one.vessel_type for one in layers})
    n_layers = catalogue.get(types[0]).layers
    if numbers != list(range(1, n_layers + 1)) or len(types) > 1:
        raise InvalidDataError(
            f"Vessel {vessel_id!r} ({' and '.join(types)}): needs layers 1..{n_layers}, each once, got {numbers}."
        )
    return layers


def _estimate_vessel(
    layers: tuple[LayerEstimate, ...], settings: SamplingSettings, study: LayerStudy | None
) -> VesselEstimate:
    draws, reason = _draws(layers, study)
    layers = layers if draws is None else _with_inferred(layers, draws, settings)
    measured = [one for one in layers if one.state in MEASURED]
    values = [one.confluency_percent for one in measured if one.confluency_percent is not None]
    areas = [one.culture_area_cm2 for one in measured]
    total_cm2 = math.fsum(one.culture_area_cm2 for one in layers)
    n_earlier = sum(one.n_fields_earlier for one in layers)
    window = settings.window_percent
    trend, trend_interval = _trend(measured)
    whole = _whole(layers, draws)
    return VesselEstimate(
        vessel_id=layers[0].vessel_id,
        vessel_type=layers[0].vessel_type,
        n_layers=len(layers),
        confluency_percent=whole,
        measured_confluency_percent=weighted_mean(values, areas),
        sd_points=sample_sd(values),
        layer_sd_points=None if draws is None or draws.between is None else _rounded(100 * draws.between),
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
        confluency_interval=None if draws is None or whole is None else _vessel_interval(layers, draws, whole),
        confluency_quantiles=None if draws is None or whole is None else _vessel_quantiles(layers, draws),
        interval_note=reason,
        window_percent=window,
        in_window_probability=None if draws is None else _rounded(float(_within(draws.vessel, window).mean())),
        area_in_window_percent=None if draws is None else _rounded(float(_area_within(draws, window).mean())),
        area_in_window_interval=None if draws is None else _rounded_pair(interval(_area_within(draws, window))),
        worst_layers=_worst_first(layers),
        trend_points_per_layer=trend,
        trend_interval=trend_interval,
        how=" ".join((_vessel_words(layers, len(measured)), *earlier_words(n_earlier))),
        layers=layers,
    )


# --- layers that nobody saw ------------------------------------------------------------------------------------------


def _draws(layers: tuple[LayerEstimate, ...], study: LayerStudy | None) -> tuple[StackDraws | None, str]:
    """Return what all layers may be and how that was got, or None and why not."""
    means = tuple(found for one in layers if (found := _layer_mean(one)) is not None)
    numbers = tuple(one.layer for one in means)
    refusal = None if study is None else study.refusal_of_type(layers[0].vessel_type, len(layers))
    used = None if refusal is not None else study
    reason = why_undetermined(numbers, len(layers), used)
    if reason is not None and all(one.state in MEASURED for one in layers):
        return None, f"no interval: {'; '.join(sorted({one.interval_note for one in layers}))}"
    if reason is not None:
        return None, f"undetermined: {reason}{'' if refusal is None else f' ({refusal})'}{_why_no_layer(layers, means)}"
    known = [one.method_error_points for one in layers if one.method_error_points is not None]
    method_error = math.sqrt(math.fsum(error**2 for error in known) / len(known))
    draws = draw_stack(
        means,
        np.array([one.culture_area_cm2 for one in layers]),
        PERCENT,
        method_error / 100,
        used,
        zlib.crc32(layers[0].vessel_id.encode()),
    )
    note = f"95 %: {draws.basis}" + (f" ({used.source})" if used is not None and draws.basis == "layer study" else "")
    silent = layer_ranges(one.layer for one in layers if one.state in MEASURED and one.layer not in numbers)
    tail = f"; inferred too, for want of an interval: layers {silent}" if silent else ""
    return draws, f"{note}, and a method error of {method_error:.3g} points at half cover{tail}"


def _why_no_layer(layers: Sequence[LayerEstimate], means: Sequence[LayerMean]) -> str:
    """Return why measured layers have no interval, if none has one."""
    reasons = sorted({one.interval_note for one in layers if one.state in MEASURED and one.confluency_interval is None})
    return f"; of the measured layers: {'; '.join(reasons)}" if reasons and not means else ""


def _layer_mean(layer: LayerEstimate) -> LayerMean | None:
    mean, error, freedom = layer.confluency_percent, layer.standard_error_points, layer.freedom
    if layer.state not in MEASURED or mean is None or error is None or freedom is None:
        return None
    return LayerMean(layer.layer, float(PERCENT.inner(np.array(mean))), PERCENT.inner_error(mean, error), freedom)


def _with_inferred(
    layers: tuple[LayerEstimate, ...], draws: StackDraws, settings: SamplingSettings
) -> tuple[LayerEstimate, ...]:
    """Return the layers, those without a measurement filled in as inferred.

    Without a layer study nothing tells one unseen layer from another, so all of them have the same figures.
    """
    unseen = [one.layer - 1 for one in layers if one.state not in MEASURED]
    columns = {n: [n] if draws.basis == "layer study" else unseen for n in unseen}
    return tuple(
        one
        if one.state in MEASURED
        else _inferred(one, draws.values[:, columns[one.layer - 1]].ravel(), draws.basis, settings.window_percent)
        for one in layers
    )


def _inferred(layer: LayerEstimate, values: FloatArray, basis: Basis, window: tuple[float, float]) -> LayerEstimate:
    return replace(
        layer,
        state="inferred",
        confluency_percent=_rounded(float(values.mean())),
        confluency_interval=_rounded_pair(interval(values)),
        confluency_quantiles=_quantiles(values),
        in_window_probability=_rounded(float(_within(values, window).mean())),
        interval_note=f"95 %: inferred, {basis}",
        how=f"Inferred from {basis}: {layer.how}",
    )


def _whole(layers: Sequence[LayerEstimate], draws: StackDraws | None) -> float | None:
    """Return the mean of all layers by culture area; None as long as one of them is unknown."""
    values = [value for one in layers if (value := _representative(one, draws)) is not None]
    return weighted_mean(values, [one.culture_area_cm2 for one in layers]) if len(values) == len(layers) else None


def _representative(layer: LayerEstimate, draws: StackDraws | None) -> float | None:
    """Return what a layer counts for in its vessel: as inferred if its fields do not speak for it."""
    if draws is None or layer.confluency_interval is not None:
        return layer.confluency_percent
    return _rounded(float(draws.values[:, layer.layer - 1].mean()))


def _vessel_interval(layers: Sequence[LayerEstimate], draws: StackDraws, mean: float) -> tuple[float, float] | None:
    """Return the interval of the vessel; that of its one layer if it has but one."""
    return layers[0].confluency_interval if len(layers) == 1 else _interval_around(mean, draws.vessel)


def _vessel_quantiles(layers: Sequence[LayerEstimate], draws: StackDraws) -> tuple[float, ...] | None:
    """Return the quantiles of the vessel; those of its one layer if it has but one."""
    return layers[0].confluency_quantiles if len(layers) == 1 else _quantiles(draws.vessel)


def _quantiles(draws: FloatArray) -> tuple[float, ...]:
    return tuple(_rounded(float(one)) for one in np.quantile(draws, QUANTILE_LEVELS))


def _interval_around(mean: float, draws: FloatArray) -> tuple[float, float]:
    """Return the interval, up to the mean at the least: draws that are mirrored at 0 or 100 % never come back to it."""
    low, high = _rounded_pair(interval(draws))
    return min(low, mean), max(high, mean)


def _within(values: FloatArray, window: tuple[float, float]) -> NDArray[np.bool_]:
    return (values >= window[0]) & (values <= window[1])


def _area_within(draws: StackDraws, window: tuple[float, float]) -> FloatArray:
    return np.asarray(100 * (_within(draws.values, window) @ draws.shares))


def _rounded(value: float) -> float:
    return round(value, _DECIMALS)


def _rounded_pair(pair: tuple[float, float]) -> tuple[float, float]:
    return _rounded(pair[0]), _rounded(pair[1])


# --- the stack in words ----------------------------------------------------------------------------------------------


def _worst_first(layers: Sequence[LayerEstimate]) -> tuple[int, ...]:
    known = [one for one in layers if one.in_window_probability is not None]
    return tuple(one.layer for one in sorted(known, key=lambda one: (one.in_window_probability or 0.0, one.layer)))


def _trend(measured: Sequence[LayerEstimate]) -> tuple[float | None, tuple[float, float] | None]:
    """Return the slope over the layers in points per layer, and its 95 % interval."""
    if len(measured) < 3:
        return None, None
    percents = [one.confluency_percent for one in measured if one.confluency_percent is not None]
    if len(set(percents)) == 1:  # as of an empty vessel: no scatter, of which linregress makes NaN
        return 0.0, (0.0, 0.0)
    line = linregress([one.layer for one in measured], percents)
    half = float(stdtrit(len(measured) - 2, (1 + CONFIDENCE) / 2)) * float(line.stderr)
    return _rounded(float(line.slope)), _rounded_pair((float(line.slope) - half, float(line.slope) + half))


def _in_state(layers: Sequence[LayerEstimate], state: LayerState) -> tuple[int, ...]:
    return tuple(one.layer for one in layers if one.state == state)


def _vessel_words(layers: Sequence[LayerEstimate], n_measured: int) -> str:
    states: tuple[LayerState, ...] = ("measured-degraded", "inferred", "unobservable", "missing")
    named = [f"{state}: {layer_ranges(_in_state(layers, state))}" for state in states if _in_state(layers, state)]
    start = (
        f"{n_measured} of {counted(len(layers), 'layer')} measured, weighted by culture area"
        if n_measured
        else f"None of {counted(len(layers), 'layer')} was measured"
    )
    return f"{start}; {'; '.join(named)}." if named else f"{start}."


# --- batches ---------------------------------------------------------------------------------------------------------


def _estimate_batch(name: str, vessels: Sequence[VesselEstimate], study: LayerStudy | None) -> BatchEstimate:
    areas = [one.culture_area_cm2 for one in vessels]
    unknown = [one.vessel_id for one in vessels if one.confluency_percent is None]
    drawn = [_draws(one.layers, study)[0] for one in vessels]
    values = [one.confluency_percent for one in vessels if one.confluency_percent is not None]
    mean = None if unknown else weighted_mean(values, areas)
    found = quantiles = None
    if all(one is not None for one in drawn) and mean is not None:
        weights = np.array(areas) / math.fsum(areas)
        together = sum(weight * one.vessel for weight, one in zip(weights, drawn, strict=True) if one is not None)
        found, quantiles = _interval_around(mean, np.asarray(together)), _quantiles(np.asarray(together))
    how = f"{counted(len(vessels), 'vessel')} weighted by culture area."
    if unknown:
        how = f"Undetermined: nothing is known of {', '.join(unknown)} as a whole."
    elif found is None:
        how += " No interval: not every vessel has one."
    return BatchEstimate(
        batch=name,
        vessel_ids=tuple(one.vessel_id for one in vessels),
        culture_area_cm2=math.fsum(areas),
        confluency_percent=mean,
        sd_points=sample_sd(values),
        confluency_interval=found,
        confluency_quantiles=quantiles,
        how=how,
    )
