"""Coverage and width of the intervals of layers, vessels and unseen layers; and the speed of the roll-up."""

import math
import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy import stats

from benchmarks.sampling_layers import (
    SIDE,
    FloatArray,
    IntArray,
    LayerKind,
    VesselKind,
    draw_layer,
    draw_layer_means,
    grid_places,
    misread,
    patch_places,
    random_places,
)
from benchmarks.setup import Setup
from benchmarks.tables import Figure, Section, at_most, table
from msc_vision.batch.plan import available_cores
from msc_vision.records import FieldScore, ManifestRow
from msc_vision.statistics.layer_study import LayerStudy, study_layers
from msc_vision.statistics.rollup import LayerEstimate, ScoredField, layer_estimates
from msc_vision.statistics.settings import SamplingSettings
from msc_vision.statistics.vessel_rollup import VesselEstimate, vessel_estimates
from msc_vision.vessels import Catalogue, load_catalogue

SEED = 980_000
METHOD_ERROR = 5.0
N_LAYERS_DRAWN, N_VESSELS_DRAWN = 600, 250
Place = Callable[[np.random.Generator, int], tuple[IntArray, IntArray]]
PLACES: dict[str, Place] = {"grid": grid_places, "random": random_places}
SIDES_MM = {"hyperstack-12": 223.6, "hyperstack-36": 223.6, "cellstack-10": 252.2}
"""Of square layers of these areas."""
INTRO = f"""Simulated layers of 48 x 48 fields whose every field is known, by a model that is not that of the intervals:
beta-distributed fields, half of their variance shared by neighbours over a fifth of the layer unless said otherwise;
"SD" is between fields at half cover. Coverage: how often a nominal 95 % interval holds the truth, with its exact 95 %
interval. The competitors know of no method error, so layers are also shown, and their widths compared, without one;
else an error of {METHOD_ERROR:g} points is drawn for each vessel, and stated to the estimate. Seeds {SEED:,} and on;
the way to get intervals was chosen on seeds below 1,000."""


@dataclass(frozen=True, slots=True)
class LayerCase:
    """One row of the table of layers: ``n_side``² fields at places of a kind."""

    name: str
    truth_percent: float
    kind: LayerKind
    place: str = "grid"
    n_side: int = 5


@dataclass(frozen=True, slots=True)
class VesselCase:
    """One row of the table of vessels; ``n_study`` vessels were studied before, 0: none."""

    name: str
    kind: VesselKind
    layers: tuple[int, ...]
    n_study: int = 0


@dataclass(frozen=True, slots=True)
class Tally:
    """Hits and widths of one interval."""

    hits: tuple[float, ...]
    widths: tuple[float, ...]

    @property
    def coverage(self) -> float:
        """Percent."""
        return 100 * float(np.mean(self.hits)) if self.hits else math.nan

    @property
    def width(self) -> float:
        """Mean, points."""
        return float(np.mean(self.widths)) if self.widths else math.nan

    def words(self, n_independent: int) -> str:
        """Return the coverage with its exact interval."""
        if not self.hits:
            return "none given"
        k = round(float(np.mean(self.hits)) * n_independent)
        low, high = stats.binomtest(k, n_independent).proportion_ci(0.95, method="exact")
        return f"{self.coverage:.1f} ({100 * low:.0f}-{100 * high:.0f})"


def layer_cases() -> list[LayerCase]:
    """Return what is varied, one thing at a time and the ends together."""
    plain = LayerKind()
    varied = [
        *((f"truth {truth} %", truth, plain) for truth in (5, 20, 50, 80, 95, 98)),
        *((f"SD {sd}, truth 70 %", 70, replace(plain, field_sd=float(sd))) for sd in (5, 20)),
        ("no correlation", 60, replace(plain, correlated=0.0)),
        ("nine tenths correlated, over .3", 60, replace(plain, correlated=0.9, correlation_range=0.3)),
        ("correlated over a twentieth", 60, replace(plain, correlation_range=0.05)),
        ("tilt of 30 points", 60, replace(plain, tilt=30.0)),
        ("rim 15 points fuller", 60, replace(plain, radial=15.0)),
    ]
    return [
        LayerCase(f"{name}, {n_side**2} fields", truth, kind, place, n_side)
        for place in PLACES
        for name, truth, kind in varied
        for n_side in ((3, 5) if name.startswith("truth") else (5,))
    ]


def vessel_cases() -> list[VesselCase]:
    """Return what is varied among vessels."""
    spread = (1, 9, 18, 27, 36)
    cases = []
    for truth in (20, 50, 80, 95):
        cases += [
            VesselCase(f"all of 10, {truth} %", VesselKind(10, truth), tuple(range(1, 11))),
            VesselCase(f"5 of 36 over the stack, {truth} %", VesselKind(36, truth), spread),
            VesselCase(f"3 of 12 over the stack, {truth} %", VesselKind(12, truth), (1, 6, 12)),
            VesselCase(f"1 of 36, study of 4, {truth} %", VesselKind(36, truth, trend=8.0), (1,), 4),
            VesselCase(f"bottom 3 of 36, study of 4, {truth} %", VesselKind(36, truth, trend=8.0), (1, 2, 3), 4),
        ]
    return [
        *cases,
        VesselCase("5 of 36, skewed layers, 80 %", VesselKind(36, 80, is_skewed=True), spread),
        VesselCase("5 of 36, rise of 15 points, 60 %", VesselKind(36, 60, 3.0, trend=15.0), spread),
        VesselCase("3 of 12, skewed layers, 80 %", VesselKind(12, 80, is_skewed=True), (1, 6, 12)),
        VesselCase("5 of 36, layer SD 2, 70 %", VesselKind(36, 70, 2.0), spread),
        VesselCase("5 of 36, layer SD 10, 60 %", VesselKind(36, 60, 10.0), spread),
    ]


def measure(setup: Setup) -> Section:
    """Simulate, count and time."""
    n_layers, n_vessels = (10, 4) if setup.is_trial else (N_LAYERS_DRAWN, N_VESSELS_DRAWN)
    layers, vessels = layer_cases(), vessel_cases()
    with ProcessPoolExecutor(available_cores(), multiprocessing.get_context("spawn")) as pool:
        of_layers = list(pool.map(partial(try_layers, n=n_layers), layers, range(len(layers))))
        of_vessels = list(pool.map(partial(try_vessels, n=n_vessels), vessels, range(len(vessels))))
    seconds = rollup_seconds(1_000 if setup.is_trial else 10_000)
    rows = [_layer_row(case, found, n_layers) for case, found in zip(layers, of_layers, strict=True)]
    stack_rows = [_vessel_row(case, found, n_vessels) for case, found in zip(vessels, of_vessels, strict=True)]
    figures = (
        *_summary("layers", [one["with"] for one in of_layers], n_layers),
        *_summary("layers, sampling alone", [one["ours"] for one in of_layers], n_layers),
        *_summary("vessels", [one["vessel"] for one in of_vessels], n_vessels),
        *_summary("unseen layers", [one["unseen"] for one in of_vessels if one["unseen"].hits], n_vessels),
        _widest("layers", of_layers, n_layers),
        _widest("vessels", [one for one in of_vessels if one["naive"].hits], n_vessels),
        _patches(),
        at_most("10,000 fields rolled up, s", round(seconds, 2), 2.0),
    )
    heads = ("layer", "places", "with method error", "sampling alone", "naive t", "bootstrap", "width", "over naive t")
    stack_heads = (
        *("vessel", "as a whole", "unseen layer", "measured layer", "whole, no method error", "t over layer means"),
        *("width", "width, unseen", "over t, no method error"),
    )
    drawn = f"Layers, {n_layers} drawn for each row", f"Vessels of 9 fields a layer, {n_vessels} drawn for each row"
    tables = (f"{drawn[0]}\n\n{table(heads, rows)}", f"{drawn[1]}\n\n{table(stack_heads, stack_rows)}")
    return Section(" ".join(INTRO.split()), figures, tables)


def _summary(name: str, tallies: Sequence[Tally], n: int) -> list[Figure]:
    """Return the coverage over all rows, and how many rows lie within 93 to 97 % as far as chance lets one tell."""
    over_all = float(np.mean([one.coverage for one in tallies]))
    inside = sum(_may_be_within(one, n) for one in tallies)
    return [
        Figure(
            f"{name}: coverage over all rows",
            f"{over_all:.1f} %",
            "93-97",
            93 <= over_all <= 97,
        ),
        Figure(
            f"{name}: rows whose interval reaches into 93-97 %",
            f"{inside} of {len(tallies)}",
            "all",
            inside == len(tallies),
        ),
    ]


def _may_be_within(tally: Tally, n: int) -> bool:
    low, high = stats.binomtest(round(tally.coverage / 100 * n), n).proportion_ci(0.95, method="exact")
    return bool(100 * low <= 97 and 100 * high >= 93)


def _patches() -> Figure:
    n = patches_with_interval(200)
    return Figure("patches that were given an interval", f"{n} of 200", "0", n == 0)


def _widest(name: str, found: Sequence[dict[str, Tally]], n: int) -> Figure:
    ratios = [one["ours"].width / one["naive"].width for one in found if _may_be_within(one["naive"], n)]
    return at_most(f"{name}: widest over naive t, where that covers", round(max(ratios), 3), 1.0)


def _layer_row(case: LayerCase, found: dict[str, Tally], n: int) -> tuple[str, ...]:
    names = ("with", "ours", "naive", "bootstrap")
    ratio = found["ours"].width / found["naive"].width
    words = [found[name].words(n) for name in names]
    return (case.name, case.place, *words, f"{found['ours'].width:.1f}", f"{ratio:.2f}")


def _vessel_row(case: VesselCase, found: dict[str, Tally], n: int) -> tuple[str, ...]:
    words = [found[name].words(n) for name in ("vessel", "unseen", "layer", "ours", "naive")]
    ratio = "" if not found["naive"].hits else f"{found['ours'].width / found['naive'].width:.2f}"
    unseen = "" if not found["unseen"].hits else f"{found['unseen'].width:.1f}"
    return (case.name, *words, f"{found['vessel'].width:.1f}", unseen, ratio)


# --- layers ----------------------------------------------------------------------------------------------------------


def try_layers(case: LayerCase, number: int, n: int) -> dict[str, Tally]:
    """Draw layers of one kind and return how often each interval holds the truth, and how wide it is."""
    rng = np.random.default_rng([SEED, number])
    catalogue = load_catalogue()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ("with", "ours", "naive", "bootstrap")}
    for _ in range(n):
        fields = draw_layer(rng, case.truth_percent, case.kind)
        truth = float(fields.mean())
        y, x = PLACES[case.place](rng, case.n_side)
        read = misread(fields[y, x], METHOD_ERROR * float(rng.standard_normal()))
        given = _interval(fields[y, x], y, x, catalogue, 0.0)
        if given is None:
            continue  # places that chance left in a part of the layer: nothing to compare
        found["with"].append(_hit(_interval(read, y, x, catalogue, METHOD_ERROR) or given, truth))
        found["ours"].append(_hit(given, truth))
        found["naive"].append(_hit(_naive(fields[y, x]), truth))
        found["bootstrap"].append(_hit(_bootstrap(rng, fields[y, x]), truth))
    return {name: _tally(some) for name, some in found.items()}


def patches_with_interval(n: int) -> int:
    """Return how many patches of 25 neighbours in the middle of a layer were given an interval."""
    rng = np.random.default_rng([SEED, 999])
    catalogue = load_catalogue()
    given = 0
    for _ in range(n):
        y, x = patch_places(rng, 5)
        given += _interval(draw_layer(rng, 60, LayerKind())[y, x], y, x, catalogue, 0.0) is not None
    return given


def _interval(
    values: FloatArray, y: IntArray, x: IntArray, catalogue: Catalogue, method_error: float
) -> tuple[float, float] | None:
    settings = SamplingSettings(method_error_points=method_error, flagged_error_points=method_error)
    layers = layer_estimates(_fields(values, y, x, "hyperstack-12", 1), catalogue, settings=settings)
    return layers[0].confluency_interval


def _fields(values: FloatArray, y: IntArray, x: IntArray, vessel_type: str, layer: int) -> list[ScoredField]:
    """Return fields as a run holds them."""
    step_um = SIDES_MM[vessel_type] * 1000 / SIDE
    found = []
    for i, (value, row, column) in enumerate(zip(values, y, x, strict=True)):
        key = f"l{layer:02d}-f{i:03d}"
        place = {"y_um": float(row * step_um), "x_um": float(column * step_um)}
        row_ = ManifestRow(key, "V", vessel_type, layer, field=key, **place)
        score = FieldScore(key, key, "scored", None, float(value), 100.0, 1.7, 1.7)
        found.append(ScoredField(row_, score))
    return found


def _naive(values: FloatArray) -> tuple[float, float]:
    half = float(stats.t.ppf(0.975, values.size - 1)) * float(values.std(ddof=1)) / math.sqrt(values.size)
    return float(values.mean()) - half, float(values.mean()) + half


def _bootstrap(rng: np.random.Generator, values: FloatArray) -> tuple[float, float]:
    means = values[rng.integers(0, values.size, (400, values.size))].mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def _tally(found: Sequence[tuple[float, float]]) -> Tally:
    return Tally(tuple(float(hit) for hit, _ in found), tuple(width for _, width in found))


# --- vessels ---------------------------------------------------------------------------------------------------------


def try_vessels(case: VesselCase, number: int, n: int) -> dict[str, Tally]:
    """Draw vessels of one kind and return how often each interval holds the truth, and how wide it is."""
    rng = np.random.default_rng([SEED, 500 + number])
    catalogue = load_catalogue()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ("vessel", "unseen", "layer", "naive", "ours")}
    for _ in range(n):
        study = _study(rng, case) if case.n_study else None
        if not case.n_study:
            _compare_alone(found, *_vessel(rng, case, catalogue, None, 0.0))
        estimate, truths = _vessel(rng, case, catalogue, study, METHOD_ERROR)
        if estimate.confluency_interval is not None:
            found["vessel"].append(_hit(estimate.confluency_interval, float(truths.mean())))
        for state, name in (("inferred", "unseen"), ("measured", "layer")):
            hits = [_layer_hit(one, truths) for one in estimate.layers if one.state == state]
            if hits:
                found[name].append((float(np.mean([hit for hit, _ in hits])), float(np.mean([w for _, w in hits]))))
    return {name: _tally(some) for name, some in found.items()}


def _compare_alone(found: dict[str, list[tuple[float, float]]], estimate: VesselEstimate, truths: FloatArray) -> None:
    """Note the interval without a method error, and that of Student's t over layer means."""
    means = [one.confluency_percent for one in estimate.layers if one.state == "measured"]
    found["naive"].append(_hit(_naive(np.array(means, dtype=float)), float(truths.mean())))
    if estimate.confluency_interval is not None:
        found["ours"].append(_hit(estimate.confluency_interval, float(truths.mean())))


def _vessel(
    rng: np.random.Generator, case: VesselCase, catalogue: Catalogue, study: LayerStudy | None, method_error: float
) -> tuple[VesselEstimate, FloatArray]:
    """Return the estimate of a new vessel and the truth of its layers; unmeasured layers are as they are expected."""
    truths = draw_layer_means(rng, case.kind)
    bias = method_error * float(rng.standard_normal())
    fields: list[ScoredField] = []
    for layer in case.layers:
        surface = draw_layer(rng, float(truths[layer - 1]), LayerKind())
        truths[layer - 1] = surface.mean()
        y, x = grid_places(rng, 3)
        fields += _fields(misread(surface[y, x], bias), y, x, _type_of(case), layer)
    settings = SamplingSettings(method_error_points=method_error, flagged_error_points=method_error)
    layers = layer_estimates(fields, catalogue, settings=settings)
    (estimate,) = vessel_estimates(layers, catalogue, settings=settings, study=study)
    return estimate, truths


def _type_of(case: VesselCase) -> str:
    return {10: "cellstack-10", 12: "hyperstack-12", 36: "hyperstack-36"}[case.kind.n_layers]


def _study(rng: np.random.Generator, case: VesselCase) -> LayerStudy:
    vessels = {f"S{i}": [float(one) for one in draw_layer_means(rng, case.kind)] for i in range(case.n_study)}
    return study_layers(vessels, _type_of(case), None, "simulated")


def _hit(interval: tuple[float, float], truth: float) -> tuple[float, float]:
    return float(interval[0] <= truth <= interval[1]), interval[1] - interval[0]


def _layer_hit(layer: LayerEstimate, truths: FloatArray) -> tuple[float, float]:
    return _hit(layer.confluency_interval or (math.nan, math.nan), float(truths[layer.layer - 1]))


# --- speed -----------------------------------------------------------------------------------------------------------


def rollup_seconds(n_fields: int) -> float:
    """Return how long it takes to roll up vessels of 36 layers with 25 fields each."""
    rng = np.random.default_rng(SEED)
    catalogue = load_catalogue()
    fields: list[ScoredField] = []
    for vessel in range(math.ceil(n_fields / 900)):
        for layer in range(1, 37):
            y, x = grid_places(rng, 5)
            for one in _fields(draw_layer(rng, 70, LayerKind())[y, x], y, x, "hyperstack-36", layer):
                name = f"V{vessel:02d}"
                row = replace(one.row, vessel_id=name, path=f"{name}-{one.row.path}")
                fields.append(ScoredField(row, replace(one.score, key=f"{name}-{one.score.key}")))
    start = time.perf_counter()
    layers = layer_estimates(fields[:n_fields], catalogue)
    vessel_estimates(layers, catalogue)
    return time.perf_counter() - start
