"""Placement: when the places of fields let them speak for their layer, and why they do not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msc_vision.statistics.placement import place_fields
from sampling_cases import GRID_9, grid

AREA_CM2 = 500.0


def place(places_mm, area_cm2=AREA_CM2, least=60.0):
    """Place fields by rows and columns in mm; None is a field without coordinates."""
    y, x = zip(*[(None, None) if one is None else (1000 * one[0], 1000 * one[1]) for one in places_mm], strict=True)
    return place_fields(y, x, area_cm2, least)


def shifted(places_mm, y, x):
    return [(one + y, other + x) for one, other in places_mm]


REFUSED = {
    "one field": ([(10, 10)], "1 scored field, and it takes 3"),
    "two fields": ([(10, 10), (100, 100)], "2 scored fields, and it takes 3"),
    "no coordinates": ([None] * 9, "the fields have no coordinates, so which part of the layer they show is not known"),
    "one without coordinates": (
        [*GRID_9[:-1], None],
        "1 of 9 fields have no coordinates, so which part of the layer they show is not known",
    ),
    "two at one place": ([*GRID_9, (37.0, 37.0005)], "1 pairs of fields have the same coordinates"),
    "wider than the layer": (
        [(0, 0), (0, 300), (300, 0), (300, 300)],
        "the coordinates span 300 x 300 mm, more than a layer of 500 cm² can hold",
    ),
    "all in one patch": (
        [(100 + y, 100 + x) for y in (0, 2, 4) for x in (0, 2, 4)],
        "the fields lie in a patch and stand for 0 % of the layer's area; it takes 60 %",
    ),
    "in a line": (
        [(100, x) for x in range(10, 220, 20)],
        "the fields lie in a patch and stand for 0 % of the layer's area; it takes 60 %",
    ),
    "half of the layer": (
        [one for one in grid(6) if one[0] < 112],
        "the fields lie in a patch and stand for 35 % of the layer's area; it takes 60 %",
    ),
}


@pytest.mark.parametrize(("places", "reason"), REFUSED.values(), ids=REFUSED)
def test_places_that_do_not_speak_for_their_layer(places, reason):
    found = place(places)
    assert found.places_mm is None
    assert found.reason == reason


def test_which_share_is_enough_is_a_setting():
    half = [one for one in grid(6) if one[0] < 112]
    assert place(half, least=60).places_mm is None
    found = place(half, least=30)
    assert found.reason is None
    assert found.reached_percent == pytest.approx(35, abs=1)


@pytest.mark.parametrize("n_side", [2, 3, 5, 9])
def test_an_even_grid_speaks_for_its_layer(n_side):
    found = place(grid(n_side))
    assert found.reason is None
    assert found.reached_percent > 65  # the strip beyond its outermost fields is left out in part
    np.testing.assert_allclose(found.places_mm, grid(n_side))
    np.testing.assert_allclose(found.sides_mm, (np.sqrt(AREA_CM2) * 10,) * 2, rtol=1e-6)


def test_random_places_speak_for_their_layer_nearly_always():
    """Twelve random places each on 200 layers; the share refused is a price, and it is a small one."""
    side = np.sqrt(AREA_CM2) * 10
    rng = np.random.default_rng(11)
    refused = sum(place(rng.uniform(0, side, (12, 2)).tolist()).reason is not None for _ in range(200))
    assert refused <= 20


def test_an_oblong_layer_is_recognised_by_its_fields():
    """The same grid, pulled to twice the height and half the width, of a layer of the same area."""
    found = place([(1.41 * y, x / 1.41) for y, x in grid(5)])
    assert found.reason is None
    assert found.sides_mm[0] / found.sides_mm[1] == pytest.approx(2, rel=0.02)


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(3, 25), st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
def test_where_the_stage_has_its_zero_does_not_matter(seed, n, y, x):
    places = np.random.default_rng(seed).uniform(0, 220, (n, 2)).tolist()
    one, other = place(places), place(shifted(places, y, x))
    assert other.reason == one.reason
    assert other.reached_percent == pytest.approx(one.reached_percent, abs=0.3)  # a lattice point may change sides
    assert other.sides_mm == pytest.approx(one.sides_mm)


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(3, 25))
def test_rows_and_columns_are_alike(seed, n):
    places = np.random.default_rng(seed).uniform(0, 220, (n, 2)).tolist()
    one, other = place(places), place([(x, y) for y, x in places])
    assert other.reached_percent == pytest.approx(one.reached_percent, abs=0.1)
    assert other.sides_mm == pytest.approx(one.sides_mm[::-1])


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(3, 30))
def test_what_is_reached_against_a_slow_obvious_count(seed, n):
    """Of 20,000 random places of the layer: how many have a field as near as those of an even grid are apart."""
    side = np.sqrt(AREA_CM2) * 10
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, side, (n, 2))
    found = place(places.tolist())
    height, width = found.sides_mm
    middle = (places.min(axis=0) + places.max(axis=0)) / 2
    anywhere = middle + (rng.uniform(size=(20_000, 2)) - 0.5) * (height, width)
    nearest = np.min([np.hypot(*(anywhere - one).T) for one in places], axis=0)
    near = np.mean(nearest <= np.sqrt(height * width / n))
    box = np.prod(np.ptp(places, axis=0) * (n + 1) / (n - 1)) / (height * width)
    assert found.reached_percent == pytest.approx(100 * min(near, box), abs=2)
