"""Visual signs of contamination: drawn by hand, the same for any tiling, and never more than could be seen."""

import dataclasses
import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msc_vision.errors import InvalidArgumentError
from msc_vision.findings.background import TileArea, background_reach_px, measure_background
from msc_vision.findings.contamination import (
    BACKGROUND_FEATURES,
    BackgroundFigures,
    as_row,
    join_background,
    sudden_haze,
    visual_signs,
)
from msc_vision.learning.signs import fitted
from msc_vision.records import Region
from msc_vision.synth.contamination import contaminate
from msc_vision.synth.image_settings import ContaminationSettings, OpticsSettings
from msc_vision.synth.optics import microscope

PIXEL_UM = 1.3
LEVEL = 20_000.0
PHASE = "phase contrast"


def noise(shape, percent, seed, sigma_px=0.0):
    drawn = np.random.default_rng(seed).normal(size=shape)
    if sigma_px:
        drawn = cv2.GaussianBlur(drawn, (0, 0), sigma_px)
        drawn /= drawn.std()
    return 0.01 * percent * drawn


def grey(relative):
    return np.clip(np.rint(LEVEL * (1 + relative)), 0, 65535).astype(np.uint16)


def dots(shape, n, strengths, seed):
    """Return pixels darker by these shares, 16 px apart at the least."""
    rng = np.random.default_rng(seed)
    drawn = np.zeros(shape)
    rows, columns = (np.arange(8, side - 8, 16) for side in shape)
    cells = rng.permutation(rows.size * columns.size)[:n]
    drawn[rows[cells // columns.size], columns[cells % columns.size]] = -strengths
    return cv2.GaussianBlur(drawn, (0, 0), 0.6)


def thread(shape, points, width_px=2, rim=0.3):
    """Return a dark thread with a bright rim on both sides through these (x, y) points."""
    core, beside = np.zeros(shape), np.zeros(shape)
    path = [np.array(points, np.int32).reshape(-1, 1, 2)]
    cv2.polylines(beside, path, isClosed=False, color=rim, thickness=width_px + 6)
    cv2.polylines(core, path, isClosed=False, color=1.0, thickness=width_px)
    return cv2.GaussianBlur(np.where(core > 0, -0.6, beside), (0, 0), 0.5)


def measured(working, tile_px=None, labels=None, judged=None, pixel_um=PIXEL_UM):
    """Return the figures, measured at once or by tiles."""
    height, width = working.shape
    labels = np.zeros(working.shape, np.int32) if labels is None else labels
    judged = np.ones(working.shape, np.uint8) if judged is None else judged
    foreground = np.zeros(working.shape, np.uint8)
    step, reach = tile_px or max(height, width), background_reach_px(pixel_um)
    tiles = []
    for y in range(0, height, step):
        for x in range(0, width, step):
            inner = Region(y, min(y + step, height), x, min(x + step, width))
            around = Region(
                max(y - reach, 0), min(inner.y1 + reach, height), max(x - reach, 0), min(inner.x1 + reach, width)
            )
            at = np.s_[around.y0 : around.y1, around.x0 : around.x1]
            arrays = (np.ascontiguousarray(a[at]) for a in (working, labels, judged, foreground))
            tiles.append(measure_background(*arrays, TileArea(around, inner, width), pixel_um))
    return join_background(tiles, working.shape, pixel_um)


def everything(seed, side=330):
    """Return a field with haze, dots, threads over seams and bright bodies."""
    shape = side, side
    relative = noise(shape, 1.5, seed, 0.6) + dots(shape, 150, np.full(150, 0.9), seed)
    relative += thread(shape, [(20, 40), (150, 200), (300, 190), (310, 40)])
    rng = np.random.default_rng(seed)
    for y, x in rng.integers(20, side - 20, (20, 2)):
        cv2.line(relative, (int(x), int(y)), (int(x) + 8, int(y) + 9), 0.4, 3)
        relative[y : y + 8 : 2, x : x + 8 : 2] += 0.2
    for y, x in rng.integers(20, side - 20, (20, 2)):
        cv2.circle(relative, (int(x), int(y)), 4, float(rng.uniform(0.1, 0.6)), cv2.FILLED)
    return grey(relative)


def rng(seed):
    return np.random.default_rng(seed)


def as_seen(phase, seed):
    """Return the picture of a phase in radians, as the simulator's microscope shows it."""
    light = microscope(phase, np.ones_like(phase), OpticsSettings(), PIXEL_UM)
    return grey(light - 1 + noise(phase.shape, 0.4, seed))


def cells_of(mode):
    """Return a field of twelve flat cells and their labels, ``mode`` being that of the microscope."""
    labels, phase = np.zeros((512, 512), np.int32), np.zeros((512, 512), np.float32)
    for number in range(12):
        centre = 70 + 120 * (number % 4), 80 + 160 * (number // 4)
        cv2.ellipse(labels, centre, (40, 18), 30 * number, 0, 360, number + 1, cv2.FILLED)
    phase[labels > 0] = 0.5
    light = microscope(phase, np.ones_like(phase), OpticsSettings(mode=mode), PIXEL_UM)
    return grey(light - 1 + noise(phase.shape, 0.4, 1)), labels


# --- signs -----------------------------------------------------------------------------------------------------------


def test_bare_surface_with_camera_noise_shows_no_sign() -> None:
    finding = visual_signs(measured(grey(noise((512, 512), 0.8, 1))), modality=PHASE)
    assert finding.outcome == "no visual sign"
    assert len(finding.signs) == 4


def test_grain_of_bacteria_is_haze() -> None:
    finding = visual_signs(measured(grey(noise((512, 512), 4.0, 2, 0.8))))
    assert "haze" in finding.shown


def test_film_coarser_than_bacteria_is_no_haze() -> None:
    figures = measured(grey(noise((512, 512), 12.0, 2, 2.0)))
    assert figures.background_grain_percent > 0.7
    assert figures.background_grain_coarse > 1.5
    assert "haze" not in visual_signs(figures).shown


def test_streaks_of_moulded_plastic_are_no_haze() -> None:
    even = noise((512, 512), 4.0, 2, 0.8)
    streaked = cv2.blur(noise((512, 512), 12.0, 2, 0.6), (31, 1))
    for relative, is_haze in ((even, True), (streaked / streaked.std() * even.std(), False)):
        figures = measured(grey(relative))
        assert figures.background_grain_percent > 0.45
        assert (figures.background_grain_lean < 0.1) == is_haze
        assert ("haze" in visual_signs(figures).shown) == is_haze


def test_grain_as_fine_as_noise_is_not_assessable() -> None:
    plain = measured(grey(noise((512, 512), 0.8, 1)))
    fine = dataclasses.replace(plain, background_grain_percent=1.2, background_grain_coarse=0.0)
    finding = visual_signs(fine, modality=PHASE)
    assert finding.outcome == "not assessable"
    assert "haze and smeared noise look alike" in finding.reason


BEND = np.array([(60, 60), (200, 250), (400, 260), (460, 100)], np.int32).reshape(-1, 1, 2)


@pytest.mark.parametrize(
    ("width_px", "radians", "dark", "is_mould"),
    [(2, 1.1, 0.0, True), (5, 3.2, 0.7, False)],
    ids=["hypha", "fibre of a cloth"],
)
def test_wide_fibres_are_no_filaments(width_px, radians, dark, is_mould) -> None:
    drawn = np.zeros((512, 512), np.float32)
    cv2.polylines(drawn, [BEND], isClosed=False, color=1, thickness=width_px)
    soft = cv2.GaussianBlur(drawn, (0, 0), 0.25 * width_px)
    light = microscope(radians * soft, 1 - np.float32(dark) * soft, OpticsSettings(), PIXEL_UM)
    working = grey(light - 1 + noise(light.shape, 0.4, 3))
    assert ("filaments" in visual_signs(measured(working)).shown) == is_mould


@pytest.mark.parametrize(("rim", "is_mould"), [(0.3, True), (1.5, False)], ids=["hypha", "gap between bright cells"])
def test_dark_gaps_between_bright_cells_are_no_filaments(rim, is_mould) -> None:
    relative = thread((512, 512), [(60, 60), (200, 250), (400, 260), (460, 100)], width_px=3, rim=rim)
    assert ("filaments" in visual_signs(measured(grey(relative))).shown) == is_mould


def test_many_spots_of_like_strength_are_dots() -> None:
    figures = measured(grey(dots((512, 512), 200, np.full(200, 0.8), 3)))
    assert figures.n_spots == 200
    finding = visual_signs(figures)
    assert finding.shown == ("dots",)
    assert all(place.sign == "dots" for place in finding.places)


def test_as_many_spots_of_all_strengths_are_debris() -> None:
    strengths = np.exp(np.random.default_rng(4).uniform(np.log(0.2), np.log(0.99), 140))
    finding = visual_signs(measured(grey(dots((512, 512), 140, strengths, 3))), modality=PHASE)
    assert finding.outcome == "no visual sign"


def test_a_long_bent_thread_is_a_filament_with_its_box() -> None:
    relative = thread((512, 512), [(60, 60), (200, 250), (400, 260), (460, 100)])
    labels = (relative < 0).astype(np.int32)  # the network takes threads for cells
    finding = visual_signs(measured(grey(relative), labels=labels))
    assert finding.shown == ("filaments",)
    (place,) = finding.places
    assert (place.y0_px, place.x0_px) == pytest.approx((60, 60), abs=4)
    assert (place.y1_px, place.x1_px) == pytest.approx((262, 462), abs=4)


def test_a_straight_line_is_no_filament() -> None:
    relative = thread((512, 512), [(40, 100), (470, 100)], width_px=4)
    finding = visual_signs(measured(grey(relative), labels=(relative < 0).astype(np.int32)), modality=PHASE)
    assert finding.outcome == "no visual sign"


def test_chains_of_yeast_are_budding() -> None:
    life = contaminate((512, 512), ContaminationSettings(kind="budding", amount=0.3), PIXEL_UM, rng(5))
    finding = visual_signs(measured(as_seen(life.phase, 5)))
    assert finding.shown == ("budding",)
    y, x = np.nonzero(life.mask)
    for place in finding.places:
        inside = (y >= place.y0_px) & (y < place.y1_px) & (x >= place.x0_px) & (x < place.x1_px)
        assert inside.any()


def test_as_many_dead_cells_are_no_yeast() -> None:
    phase = np.zeros((512, 512), np.float32)
    for y, x in rng(6).uniform(20, 490, (25, 2)):
        cv2.circle(phase, (int(x), int(y)), 6, 1.8, cv2.FILLED)
    figures = measured(as_seen(phase, 6))
    assert figures.n_bodies <= 5
    assert "budding" not in visual_signs(figures).shown


def test_clumps_of_protein_are_no_dots() -> None:
    single = dots((512, 512), 200, np.full(200, 0.8), 3)
    clumped = single + np.roll(single, 4, axis=1) + np.roll(single, 4, axis=0)
    assert measured(grey(single)).n_spots == 200
    assert measured(grey(clumped)).n_spots == 0


# --- what cannot be assessed -----------------------------------------------------------------------------------------


def test_without_a_pixel_size_nothing_is_said() -> None:
    assert visual_signs(None).outcome == "not assessable"


def test_a_full_layer_is_not_assessable_and_says_why() -> None:
    finding = visual_signs(measured(grey(noise((300, 300), 0.5, 1)), labels=np.ones((300, 300), np.int32)))
    assert finding.outcome == "not assessable"
    assert "Too little bare surface: 0.0 %" in finding.reason


def test_filaments_over_a_full_layer_are_still_seen() -> None:
    working = grey(thread((512, 512), [(60, 60), (200, 250), (400, 260), (460, 100)]))
    assert visual_signs(measured(working, labels=np.ones(working.shape, np.int32))).shown == ("filaments",)


@pytest.mark.parametrize(
    ("change", "focus_ratio", "word"),
    [
        ({"pixel_size_um": 2.0}, None, "too coarse"),
        ({}, 0.4, "too blurred"),
        ({"bare_mm2": 0.01}, None, "Too little bare"),
        ({"background_noise_percent": 5.0}, None, "hides haze"),
        ({"spot_limit_percent": 60.0}, None, "drown"),
    ],
)
def test_what_hides_signs_is_named(change, focus_ratio, word) -> None:
    plain = measured(grey(noise((256, 256), 0.5, 1)))
    finding = visual_signs(dataclasses.replace(plain, **change), focus_ratio=focus_ratio, modality=PHASE)
    assert finding.outcome == "not assessable"
    assert word in finding.reason


@pytest.mark.parametrize("mode", ["negative-phase-contrast", "relief"])
def test_other_contrasts_are_not_assessable_and_named(mode) -> None:
    working, labels = cells_of(mode)
    finding = visual_signs(measured(working, labels=labels))
    assert finding.outcome == "not assessable"
    assert "positive phase contrast only: here cells" in finding.reason


def test_dark_rims_on_bright_ground_are_brightfield() -> None:
    working, labels = cells_of("phase-contrast")
    figures = dataclasses.replace(measured(working, labels=labels), cell_halo_percent=-30.0)
    assert "dark rims" in visual_signs(figures).reason


def test_cells_in_phase_contrast_are_recognised_without_a_manifest() -> None:
    working, labels = cells_of("phase-contrast")
    figures = measured(working, labels=labels)
    assert figures.cell_step_percent < -5
    assert figures.cell_lean < 0.1
    assert visual_signs(figures).outcome == "no visual sign"


@pytest.mark.parametrize(
    ("modality", "outcome"),
    [
        ("phase contrast", "no visual sign"),
        ("PhaseContrast", "no visual sign"),
        ("negative phase contrast", "not assessable"),
        ("brightfield", "not assessable"),
        ("DIC", "not assessable"),
        (None, "not assessable"),
    ],
)
def test_without_cells_the_manifest_tells_the_contrast(modality, outcome) -> None:
    assert visual_signs(measured(grey(noise((512, 512), 0.5, 1))), modality=modality).outcome == outcome


def test_a_sign_on_a_bare_surface_is_suspect_without_a_manifest() -> None:
    assert visual_signs(measured(grey(noise((512, 512), 4.0, 2, 0.8)))).outcome == "suspect"


def test_nothing_judged_is_not_assessable() -> None:
    figures = measured(grey(np.zeros((128, 128))), judged=np.zeros((128, 128), np.uint8))
    assert math.isnan(figures.background_grain_percent)
    assert visual_signs(figures).outcome == "not assessable"


# --- promises --------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=5)
@given(st.integers(0, 1000), st.integers(70, 330), st.sampled_from([0.7, 1.3, 2.1]))
def test_figures_are_those_of_the_whole_field_for_any_tiles(seed, tile_px, pixel_um) -> None:
    working = everything(seed)
    labels = np.zeros(working.shape, np.int32)
    cv2.circle(labels, (200, 90), 30, 1, cv2.FILLED)
    whole = measured(working, labels=labels, pixel_um=pixel_um)
    assert measured(working, tile_px, labels, pixel_um=pixel_um) == whole


def test_brighter_light_changes_no_sign() -> None:
    relative = noise((400, 400), 3.0, 2, 0.8)
    dim, bright = (measured(np.rint(level * (1 + relative)).astype(np.uint16)) for level in (8_000, 32_000))
    assert bright.background_grain_percent == pytest.approx(dim.background_grain_percent, rel=0.02)


def test_every_described_figure_is_measured() -> None:
    row = as_row(measured(grey(noise((128, 128), 1.0, 5))))
    assert {feature.name for feature in BACKGROUND_FEATURES} <= set(row)
    assert len(row) == len(dataclasses.fields(BackgroundFigures)) - 1


def test_a_field_without_tiles_is_an_error() -> None:
    with pytest.raises(InvalidArgumentError, match="at least one tile"):
        join_background([], (10, 10), PIXEL_UM)


# --- between two times -----------------------------------------------------------------------------------------------


def test_medium_that_turns_turbid_is_sudden_haze() -> None:
    before, after = (measured(grey(noise((400, 400), percent, 2, 0.8))) for percent in (1.0, 3.0))
    assert sudden_haze(before, after) is True
    assert sudden_haze(after, before) is False
    assert sudden_haze(before, before) is False


def test_loss_of_contrast_is_sudden_haze_even_where_no_surface_is_bare() -> None:
    full = measured(grey(np.zeros((200, 200))), labels=np.ones((200, 200), np.int32))
    assert sudden_haze(full, full) is None
    assert sudden_haze(full, full, cell_contrasts_percent=(20.0, 12.0)) is True


def test_times_of_different_pixel_sizes_are_not_compared() -> None:
    field = measured(grey(np.zeros((100, 100))))
    with pytest.raises(InvalidArgumentError, match=r"1\.3 and 2\.0"):
        sudden_haze(field, dataclasses.replace(field, pixel_size_um=2.0))


# --- weights ---------------------------------------------------------------------------------------------------------


def test_fitted_weights_pass_what_is_likely_yeast() -> None:
    figures = rng(1).integers(-500, 500, (400, 3)).astype(np.int16)
    is_yeast = figures[:, 1] > 100
    weights, bias = fitted(figures, is_yeast)
    passed = figures.astype(np.int64) @ np.array(weights) + bias >= 0
    assert passed[is_yeast].all()
    assert passed[figures[:, 1] < 0].mean() < 0.1
    assert weights[1] > 20 * abs(weights[0])
