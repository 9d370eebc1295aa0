"""Spheroids: discs, fused pairs and dark cores that a person can draw."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from msc_vision.findings.spheroids import (
    CONFLUENCY_NOTE,
    SPHEROID_COLUMNS,
    SPHEROID_FEATURES,
    SpheroidSettings,
    SpheroidSummary,
    find_spheroids,
    is_fused,
)

UM = 2.6
SHAPE = (400, 400)
SETTINGS = SpheroidSettings()
BARE = 20_000


def disc(y: float, x: float, radius_um: float) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[: SHAPE[0], : SHAPE[1]]
    return np.asarray((rows - y) ** 2 + (columns - x) ** 2 <= (radius_um / UM) ** 2)


def picture(*parts: tuple[NDArray[np.bool_], float], tilt: float = 0.0) -> NDArray[np.uint16]:
    """Return bare surface with noise, and parts at their grey over it; the light may fall from left to right."""
    relative = np.ones(SHAPE)
    for mask, grey in parts:
        relative[mask] = grey
    light = 1 + tilt * np.linspace(-0.5, 0.5, SHAPE[1])
    noise = np.random.default_rng(3).normal(0, 100, SHAPE)
    return (BARE * light * relative + noise).astype(np.uint16)


def found(
    working: NDArray[np.uint16], pixel_size_um: float | None = UM
) -> tuple[NDArray[np.void], NDArray[np.int32], SpheroidSummary]:
    return find_spheroids(working, np.ones(SHAPE, np.uint8), UM, pixel_size_um, SETTINGS)


@settings(max_examples=12, deadline=None)
@given(st.floats(60, 200), st.sampled_from([0.4, 0.7, 1.3]), st.floats(0, 0.3))
def test_diameter_of_a_ball_by_any_brightness_and_light(radius_um: float, grey: float, tilt: float) -> None:
    (row,) = found(picture((disc(200, 200, radius_um), grey), tilt=tilt))[0]
    assert row["equivalent_diameter_um"] == pytest.approx(2 * radius_um, rel=0.1)
    assert row["circularity"] == pytest.approx(1, abs=0.06)
    assert not row["is_fused"]


def test_mean_and_cv_leave_out_the_border_and_fused_ones() -> None:
    shown = picture(
        (disc(100, 100, 100), 0.6),
        (disc(100, 300, 120), 0.6),
        (disc(395, 60, 100), 0.6),
        (disc(300, 220, 80) | disc(300, 278, 80), 0.6),
    )
    table, labels, summary = found(shown)
    assert summary.n_spheroids == len(table) == labels.max() == 4
    assert (summary.n_fused, summary.n_measured) == (1, 2)
    assert summary.diameter_mean_um == pytest.approx(220, rel=0.05)
    assert summary.diameter_cv_percent == pytest.approx(100 * math.sqrt(2) * 20 / 220, rel=0.2)
    assert summary.confluency == CONFLUENCY_NOTE


def test_a_hollow_looking_ball_is_filled_and_its_dark_core_measured() -> None:
    shown = picture((disc(200, 200, 150), 0.7), (disc(200, 200, 110), 1.0), (disc(200, 200, 75), 0.2))
    (row,) = found(shown)[0]
    assert row["equivalent_diameter_um"] == pytest.approx(300, rel=0.07)
    assert row["dark_core_share"] == pytest.approx(0.25, abs=0.04)


@pytest.mark.parametrize(
    ("apart", "fused"), [(0.0, False), (0.6, False), (1.4, True), (1.8, True)], ids=["one", "egg", "grown", "touching"]
)
def test_two_lobes_are_a_fused_pair(apart: float, fused: bool) -> None:
    mask = disc(200, 200 - apart * 50 / UM, 100) | disc(200, 200 + apart * 50 / UM, 100)
    assert is_fused(mask.astype(np.uint8), SETTINGS) is fused


def test_one_dent_is_no_fused_pair() -> None:
    mask = disc(200, 200, 150) & ~disc(200, 200 + 150 / UM, 50)
    assert not is_fused(mask.astype(np.uint8), SETTINGS)


def test_small_clumps_and_noise_are_no_spheroids() -> None:
    table, labels, summary = found(picture((disc(100, 100, 15), 0.5), (disc(300, 300, 20), 1.6)))
    assert table.dtype == SPHEROID_COLUMNS
    assert not labels.any()
    assert summary.n_spheroids == 0
    assert math.isnan(summary.diameter_mean_um)


def test_what_cannot_be_judged_is_left_out() -> None:
    working, judged = picture((disc(200, 200, 100), 0.5)), np.ones(SHAPE, np.uint8)
    working[:, :40], judged[:, :40] = 0, 0
    table, _, _ = find_spheroids(working, judged, UM, UM, SETTINGS)
    assert table["touches_border"].tolist() == [False]
    assert len(find_spheroids(working, np.zeros(SHAPE, np.uint8), UM, UM, SETTINGS)[0]) == 0


def test_without_a_pixel_size_nothing_in_um_is_given() -> None:
    table, _, summary = found(picture((disc(200, 200, 100), 0.5)), pixel_size_um=None)
    assert np.isnan(table["area_um2"]).all()
    assert np.isnan(summary.diameter_mean_um)
    assert summary.circularity_mean > 0.9


def test_labels_that_are_given_are_measured_as_they_are() -> None:
    mask = disc(200, 200, 100).astype(np.int32)
    judged = np.ones(SHAPE, np.uint8)
    table, labels, _ = find_spheroids(picture(), judged, UM, UM, SETTINGS, labels=7 * mask)
    np.testing.assert_array_equal(labels, mask)
    assert table["area_px"].tolist() == [mask.sum()]


def test_a_field_too_small_for_blocks_is_still_read() -> None:
    table, _, _ = find_spheroids(np.full((12, 12), 900, np.uint16), np.ones((12, 12), np.uint8), UM, UM, SETTINGS)
    assert len(table) == 0


def test_every_measured_figure_is_described() -> None:
    columns, fields = set(SPHEROID_COLUMNS.names or ()), set(SpheroidSummary.__slots__)
    assert all(f.name in (columns if f.of == "aggregate" else fields) for f in SPHEROID_FEATURES)
