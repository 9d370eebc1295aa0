"""Synthetic cultures: cells are as large, thin and placed as they should be, and the truth marks all of it."""

import hashlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msc_vision.synth import CellKind, FieldSettings, random_settings, render_field
from msc_vision.synth.culture import Culture
from msc_vision.synth.culture_settings import (
    AggregateSettings,
    CellSettings,
    IslandSettings,
    KindShares,
    ScratchSettings,
)
from msc_vision.synth.grow import grow_culture
from msc_vision.synth.growth import GrowthLaw, Unevenness
from msc_vision.synth.shapes import draw_outlines
from msc_vision.synth.surface import filled

NONE = {"spindle": 0, "stellate": 0, "flattened": 0, "cuboidal": 0, "lipid": 0, "rounded": 0}
CLEAN = {"debris_per_mm2": 0, "dead_per_mm2": 0}


def only(**shares: float) -> KindShares:
    return KindShares(**(NONE | shares))


def grown(confluency_percent: float, seed: int = 1, *, side_px: int = 400, **cells: object) -> Culture:
    wanted = FieldSettings(
        height_px=side_px, width_px=side_px, confluency_percent=confluency_percent, cells=CellSettings(**cells)
    )
    return grow_culture(wanted, np.random.Generator(np.random.PCG64(seed)))


def digest(culture: Culture) -> str:
    return hashlib.sha256(culture.labels.tobytes() + culture.kinds.tobytes()).hexdigest()


# --- shapes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [k for k in CellKind if CellKind.BARE < k <= CellKind.ROUNDED])
def test_outlines_have_the_area_asked_for(kind):
    """Rasterised and counted, one by one; processes, fans and spikes may add some."""
    rng = np.random.Generator(np.random.PCG64(3))
    outlines = draw_outlines(kind, np.full(40, 2000.0), CellSettings(), rng)
    areas = [cv2.countNonZero(filled(outline + 250, (500, 500)).mask) for outline in outlines]
    assert 1900 < np.median(areas) < 2700


def test_spindles_are_long_and_flattened_cells_are_not():
    rng = np.random.Generator(np.random.PCG64(5))
    sizes = {
        kind: [
            cv2.minAreaRect(outline.astype(np.float32))[1]
            for outline in draw_outlines(kind, np.full(60, 2000.0), CellSettings(), rng)
        ]
        for kind in (CellKind.SPINDLE, CellKind.FLATTENED)
    }
    ratio = {kind: np.median([max(size) / min(size) for size in pairs]) for kind, pairs in sizes.items()}
    assert ratio[CellKind.SPINDLE] > 2.5
    assert ratio[CellKind.FLATTENED] < 2.0


def test_processes_are_about_two_micrometres_wide():
    """An opening by 3 µm takes the ends of processes away and leaves the bodies."""
    culture = grown(12, shares=only(spindle=1), process_length_um=40, **CLEAN)
    cells = (culture.labels > 0).astype(np.uint8)
    body = cv2.morphologyEx(cells, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5)))
    thin = np.count_nonzero(cells) - np.count_nonzero(body)
    assert 0.01 < thin / np.count_nonzero(cells) < 0.25


def test_cells_keep_their_mass_when_they_flatten_or_round_up():
    """What light is delayed by, summed over a cell, is its dry mass; thickness then follows from the area."""
    mass, thickness = {}, {}
    for name in ("spindle", "flattened", "rounded"):
        culture = grown(30, side_px=900, shares=only(**{name: 1}), **CLEAN)
        sums = np.bincount(culture.labels.ravel(), culture.phase.ravel())[1:]
        areas = np.bincount(culture.labels.ravel())[1:]
        whole = areas > 0.5 * np.median(areas)
        mass[name], thickness[name] = np.median(sums[whole]), np.median(sums[whole] / areas[whole])
    assert max(mass.values()) < 4 * min(mass.values())
    assert thickness["flattened"] < thickness["spindle"] < 0.2 * thickness["rounded"]


def test_neighbours_differ_in_phase_by_most_of_a_decade():
    culture = grown(60, side_px=900, shares=only(spindle=1), **CLEAN)
    sums = np.bincount(culture.labels.ravel(), weights=culture.phase.ravel())
    areas = np.bincount(culture.labels.ravel())
    mean = (sums / areas)[1:][areas[1:] > 500]
    low, high = np.percentile(mean, [5, 95])
    assert high / low > 4


# --- what the truth says ---------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_any_random_culture_is_consistent(seed):
    rng = np.random.Generator(np.random.PCG64(seed))
    field = random_settings(rng, height_px=128, width_px=160)
    culture = grow_culture(field, rng)
    n_cells = len(culture.kinds) - 1
    counts = np.bincount(culture.labels.ravel(), minlength=n_cells + 1)
    assert culture.labels.dtype == np.int32
    assert culture.kinds[0] == CellKind.BARE
    assert counts.size == n_cells + 1
    assert (counts[1:] > 0).all()
    assert not np.isin(culture.kinds[1:], [CellKind.BARE, CellKind.DEAD]).any()
    assert np.isfinite(culture.phase).all()
    assert 0 <= culture.absorption.min() <= culture.absorption.max() < 1
    assert 0 <= culture.granularity.min() <= culture.granularity.max() <= 1
    if field.confluency_percent in (0, 100):
        assert 100 * np.count_nonzero(culture.labels) / culture.labels.size == field.confluency_percent


@pytest.mark.parametrize("wanted", [2, 20, 50, 80, 95])
def test_what_was_asked_for_is_met_within_a_cell(wanted):
    culture = grown(wanted, side_px=600)
    assert abs(100 * (culture.labels > 0).mean() - wanted) < 100 * 2100 / 600**2


def test_the_seed_decides_everything():
    assert digest(grown(70, 4)) == digest(grown(70, 4)) != digest(grown(70, 5))


def test_debris_leaves_the_cells_where_they_are():
    clean, dirty = (grown(40, debris_per_mm2=n, dead_per_mm2=n) for n in (0, 500))
    assert digest(clean) == digest(dirty)
    assert not clean.debris.any()
    assert dirty.debris.any()


def test_dead_cells_and_debris_are_marked_and_are_no_foreground():
    field = render_field(
        FieldSettings(
            height_px=400, width_px=400, confluency_percent=0, cells=CellSettings(debris_per_mm2=300, dead_per_mm2=100)
        ),
        seed=3,
    )
    assert not field.foreground.any()
    assert field.debris.mean() > 0.01


def test_where_cells_overlap_phases_add_and_one_label_stays():
    """Cells that settle on a full layer make it thicker and cover no more."""
    flat, piled = (grown(100, crowding=crowding, **CLEAN) for crowding in (0, 1))
    assert (piled.labels > 0).all()
    assert piled.phase.mean() > 1.4 * flat.phase.mean()


def test_aggregates_are_marked_thick_and_counted():
    culture = grown(30, side_px=800, aggregates=AggregateSettings(per_mm2=20), **CLEAN)
    heap = culture.aggregates > 0
    assert heap.any()
    assert (culture.labels[heap] > 0).all()
    assert (culture.kinds[culture.labels[heap]] == CellKind.AGGREGATE_MEMBER).mean() > 0.5
    assert culture.phase[heap].mean() > 3 * culture.phase[(culture.labels > 0) & ~heap].mean()


def test_a_scratch_stays_free_in_a_dense_layer():
    culture = grown(70, side_px=600, scratch=ScratchSettings(width_um=150, roughness_um=5), **CLEAN)
    columns = (culture.labels > 0).mean(axis=0)
    assert columns[270:330].mean() < 0.05
    assert columns[:150].mean() > 0.8


def test_sheets_are_closed_and_their_cells_small():
    culture = grown(50, side_px=600, islands=IslandSettings(share=1, cell_area_um2=300), **CLEAN)
    assert (culture.labels > 0).mean() == pytest.approx(0.5, abs=1e-3)
    areas = np.bincount(culture.labels.ravel())[1:]
    assert 150 < np.median(areas) < 450


def test_cells_of_a_dense_field_lie_along_their_neighbours():
    """Local direction, from the structure tensor of the labels' borders, is shared within 60 µm; less so when loose."""
    aligned, loose = (
        coherence(grown(92, side_px=700, shares=only(spindle=1), alignment=alignment, slenderness=7, **CLEAN))
        for alignment in (1.0, 0.0)
    )
    assert aligned > loose + 0.1


def coherence(culture: Culture) -> float:
    smooth = cv2.GaussianBlur(culture.phase, (0, 0), 2)
    dy, dx = cv2.Sobel(smooth, cv2.CV_32F, 0, 1), cv2.Sobel(smooth, cv2.CV_32F, 1, 0)
    xx, yy, xy = (cv2.GaussianBlur(part, (0, 0), 60) for part in (dx * dx, dy * dy, dx * dy))
    return float(np.mean(np.hypot(xx - yy, 2 * xy) / (xx + yy)))


def test_round_cells_do_not_take_over_a_full_layer():
    """They are small and find room where others do not; the share asked for counts all the same."""
    culture = grown(95, side_px=600, shares=only(spindle=0.7, rounded=0.3), rounded_diameter_um=12, **CLEAN)
    assert (culture.kinds == CellKind.ROUNDED).mean() < 0.35


# --- growth ----------------------------------------------------------------------------------------------------------


@given(start=st.floats(0.1, 90), lag=st.floats(0, 48), doubling=st.floats(10, 200), hours=st.floats(0, 500))
def test_growth_never_falls_and_never_passes_its_capacity(start, lag, doubling, hours):
    law = GrowthLaw(lag_h=lag, doubling_time_h=doubling, capacity_percent=110)
    now, later = law.confluency_percent(start, hours), law.confluency_percent(start, hours + 10)
    assert start - 1e-9 <= now <= later + 1e-9 <= 110 + 1e-6


def test_a_sparse_culture_doubles_in_its_doubling_time_after_the_lag():
    law = GrowthLaw(lag_h=12, doubling_time_h=30, capacity_percent=110)
    assert law.confluency_percent(0.5, 12) == pytest.approx(0.5)
    assert law.confluency_percent(0.5, 42) == pytest.approx(1.0, rel=0.01)
    assert law.confluency_percent(0.0, 42) == 0


def test_growth_follows_its_differential_equation():
    """Small steps of dc/dt = r c (1 - c / K) arrive where the formula does."""
    c = 8.0
    for _ in range(60_000):
        c += 0.001 * np.log(2) / 30 * c * (1 - c / 110)
    assert GrowthLaw(lag_h=0, doubling_time_h=30).confluency_percent(8.0, 60) == pytest.approx(c, rel=1e-3)


def test_gradients_have_no_mean_over_a_layer():
    shares = (np.arange(200) + 0.5) / 200
    uneven = Unevenness(radial=12, tilt=-9, tilt_direction_degrees=33)
    offsets = [[uneven.offset(float(y), float(x)) for x in shares] for y in shares]
    assert np.mean(offsets) == pytest.approx(0, abs=0.01)
    assert Unevenness(radial=10).offset(0.5, 1.0) - Unevenness(radial=10).offset(0.5, 0.5) == pytest.approx(10)
    assert Unevenness(tilt=8).offset(0.5, 1.0) - Unevenness(tilt=8).offset(0.5, 0.0) == pytest.approx(8)
