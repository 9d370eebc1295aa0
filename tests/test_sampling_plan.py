"""Sampling plans: how many fields, where, at what cost, and what more a run would have needed."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from msc_vision.errors import InvalidArgumentError
from msc_vision.statistics.placement import place_fields
from msc_vision.statistics.sampling_plan import ImagingSettings, fields_for, half_width, more_fields, plan_sampling
from sampling_cases import CATALOGUE, GRID_9

STACK = CATALOGUE["hyperstack-36"]
SIDES = (STACK.area_per_layer_cm2**0.5 * 10,) * 2


def plan(**changes):
    return plan_sampling(STACK, **({"goal": 5.0, "sd": 12.0} | changes))


# --- how many --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sd", "n"), [(8, 13), (10, 18), (12, 25), (15, 38)])
def test_fields_for_five_points(sd, n):
    assert fields_for(5, sd) == n


@settings(max_examples=30)
@given(st.floats(1, 30), st.floats(1, 30))
def test_so_many_fields_are_enough_and_one_less_is_not(goal, sd):
    n = fields_for(goal, sd)
    low, high = stats.t.interval(0.95, n - 1, 0, sd / math.sqrt(n))
    assert half_width(n, sd) == pytest.approx((high - low) / 2)
    assert half_width(n, sd) <= goal
    assert n == 3 or half_width(n - 1, sd) > goal


def test_one_field_tells_nothing_of_its_own_error():
    assert half_width(1, 10) == math.inf


@pytest.mark.parametrize(
    ("goal", "sd", "words"),
    [
        (0, 10, "Half-width and standard deviation must be above 0, got 0 and 10."),
        (5, -1, "Half-width and standard deviation must be above 0, got 5 and -1."),
        (math.inf, 10, "got inf and 10"),
        (5, math.nan, "got 5 and nan"),
        (0.1, 15, "±0.1 points at a standard deviation of 15 takes more than 10,000 fields a layer."),
    ],
)
def test_goals_that_are_refused(goal, sd, words):
    with pytest.raises(InvalidArgumentError) as caught:
        fields_for(goal, sd)
    assert words in str(caught.value)


# --- where -----------------------------------------------------------------------------------------------------------


def test_a_hyperstack_36_is_planned_for_the_layers_in_reach():
    found = plan()
    assert found.layers == STACK.reachable_layers("standard")
    assert set(found.layers) | set(found.unseen_layers) == set(range(1, 37))
    assert found.unseen_percent == pytest.approx(100 * len(found.unseen_layers) / 36)
    assert found.fields_per_layer == 25
    assert len(found.places) == 25 * len(found.layers)
    assert found.layer_half_width == pytest.approx(half_width(25, 12))
    assert found.layer_half_width <= 5
    assert found.vessel_half_width is None
    assert found.vessel_note.startswith("undetermined: only the lowest layers speak for themselves")


def test_what_it_costs():
    imaging = ImagingSettings(megabytes_per_field=10, seconds_per_field=6, seconds_per_layer=30)
    found = plan(layers=(1, 2), imaging=imaging)
    assert found.minutes == pytest.approx((50 * 6 + 2 * 30) / 60)
    assert found.gigabytes == pytest.approx(0.5)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.floats(2, 20), st.floats(0.9, 3.0))
def test_every_place_lies_within_its_layer_and_is_one_of_a_grid(seed, goal, ratio):
    sides = (SIDES[0] * math.sqrt(ratio), SIDES[0] / math.sqrt(ratio))
    found = plan(goal=goal, seed=seed, sides_mm=sides, layers=(1,))
    half = 650
    y, x = (np.array([getattr(place, name) for place in found.places]) for name in ("y_um", "x_um"))
    assert (y >= half - 1).all() and (y <= sides[0] * 1000 - half + 1).all()
    assert (x >= half - 1).all() and (x <= sides[1] * 1000 - half + 1).all()
    assert len({*y}) * len({*x}) == len(found.places) >= fields_for(goal, 12)
    assert len({place.field for place in found.places}) == len(found.places)
    assert len(found.places) <= 2 * fields_for(goal, 12)


@pytest.mark.parametrize("seed", range(5))
def test_no_field_is_cut_by_the_wall(seed):
    """Fields of 40 mm in a grid of 45 mm: whatever the start, some of them have to move inwards."""
    found = plan(seed=seed, layers=(1,), imaging=ImagingSettings(field_mm=40.0))
    for place in found.places:
        assert min(place.y_um, place.x_um) >= 20_000 - 1
        assert max(place.y_um, place.x_um) <= SIDES[0] * 1000 - 20_000 + 1


def test_each_place_of_the_layer_has_the_same_chance():
    """The random starts of 2,000 plans: as many fields in each of 4 x 4 parts as its area says."""
    counts = np.zeros((4, 4))
    for seed in range(2000):
        for place in plan(seed=seed, layers=(1,)).places:
            counts[int(place.y_um / SIDES[0] / 250), int(place.x_um / SIDES[1] / 250)] += 1
    np.testing.assert_allclose(counts / counts.sum(), 1 / 16, rtol=0.04)


def test_layers_start_at_places_of_their_own_and_a_seed_gives_them_again():
    found = plan(layers=(1, 2), seed=3)
    first = [next((p.y_um, p.x_um) for p in found.places if p.layer == layer) for layer in (1, 2)]
    assert first[0] != first[1]
    assert plan(layers=(1, 2), seed=3) == found
    assert plan(layers=(1, 2), seed=4).places != found.places


def test_fields_along_the_walls_are_named_edge():
    found = plan(imaging=ImagingSettings(edge_mm=20), layers=(1,))
    for place in found.places:
        to_wall = min(place.y_um, place.x_um, SIDES[0] * 1000 - place.y_um, SIDES[1] * 1000 - place.x_um)
        assert place.stratum == ("edge" if to_wall < 20_000 else "inner")
    assert {place.stratum for place in found.places} == {"edge", "inner"}


@pytest.mark.parametrize("seed", range(10))
def test_a_plan_that_is_carried_out_speaks_for_its_layer(seed):
    """Whatever the start of the grid, the roll-up accepts its places."""
    places = plan(goal=8, seed=seed, layers=(1,)).places
    found = place_fields([p.y_um for p in places], [p.x_um for p in places], STACK.area_per_layer_cm2, 60.0)
    assert found.reason is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layers": (1, 37)}, "hyperstack-36 has layers 1..36, not 37."),
        ({"layers": (0,)}, "hyperstack-36 has layers 1..36, not 0."),
        ({"layers": ()}, "No layer of hyperstack-36 is in reach of standard optics; name those that you can image"),
        ({"sides_mm": (100.0, 100.0)}, "A layer of 100 x 100 mm has 100 cm², that of hyperstack-36 has"),
        ({"optics_profile": "x-ray"}, "hyperstack-36 has no optics profile 'x-ray'"),
    ],
)
def test_plans_that_are_refused(changes, words):
    with pytest.raises(InvalidArgumentError) as caught:
        plan(**changes)
    assert words in str(caught.value)


# --- the vessel ------------------------------------------------------------------------------------------------------


def test_the_half_width_of_a_vessel_is_that_of_two_stages():
    """Layers 1, 18 and 36 of 36, written out: Cochran, 10.6, with fields of infinite number."""
    found = plan(layers=(1, 18, 36), layer_sd=7.0)
    m = found.fields_per_layer
    between_layer_means = 7.0**2 + 12.0**2 / m
    variance = (1 - 3 / 36) * between_layer_means / 3 + (3 / 36) * 12.0**2 / (3 * m)
    assert found.vessel_half_width == pytest.approx(stats.t.ppf(0.975, 2) * math.sqrt(variance))
    assert found.vessel_note == "layers over the whole stack speak for the others"


def test_the_half_width_of_a_vessel_seen_whole_has_no_error_between_layers():
    found = plan_sampling(CATALOGUE["cellstack-2"], goal=5, sd=12, layer_sd=7.0, layers=(1, 2))
    m = found.fields_per_layer
    assert found.vessel_half_width == pytest.approx(stats.t.ppf(0.975, 2 * (m - 1)) * 12 / math.sqrt(2 * m))
    assert found.vessel_note == "every layer is measured"
    assert (found.unseen_layers, found.unseen_percent) == ((), 0)


def test_without_the_spread_of_layers_nothing_is_said_of_the_vessel():
    found = plan(layers=(1, 18, 36))
    assert found.vessel_half_width is None
    assert found.vessel_note == "not known beforehand: say how much layers differ with --layer-sd"


# --- what more it takes ----------------------------------------------------------------------------------------------


def more(error=4.0, freedom=8.0, goal=5.0, places=GRID_9):
    at = None if places is None else np.array(places)
    return more_fields(1, at, error, freedom, goal, "its note")


def test_a_goal_that_is_reached_needs_no_more():
    found = more(error=2.0)
    assert (found.n_more, found.places, found.note) == (0, (), "the goal is reached")
    assert found.half_width == pytest.approx(stats.t.ppf(0.975, 8) * 2)


@settings(max_examples=20)
@given(st.floats(2.2, 15), st.floats(2, 8))
def test_fields_that_scatter_as_before_reach_the_goal_and_one_less_does_not(error, goal):
    found = more(error=error, goal=goal)

    def width(n):
        return stats.t.ppf(0.975, 8 + n) * error * math.sqrt(9 / (9 + n))

    assert width(found.n_more) <= goal
    assert found.n_more == 0 or width(found.n_more - 1) > goal
    assert len(found.places) == found.n_more


def test_more_fields_go_where_the_layer_is_least_known():
    """Nine fields along three sides of a box: the first new ones go into its empty middle, and none far out of it."""
    places = [(0, x) for x in (0, 50, 100)] + [(100, x) for x in (0, 50, 100)] + [(y, 0) for y in (25, 50, 75)]
    found = more(error=6.0, goal=6.0, places=places)
    seen = np.array(places, dtype=float)
    distances = []
    for place in found.places:
        at = np.array([place.y_um, place.x_um]) / 1000
        assert (np.abs(at - 50) <= 50 * 10 / 8).all()
        distances.append(np.hypot(*(seen - at).T).min())
        seen = np.vstack([seen, at])
    assert distances[0] > 40
    assert (np.diff(distances) < 0.01).all()  # mm; places are whole µm
    assert [(place.field, place.stratum) for place in found.places[:2]] == [("N01", "between"), ("N02", "between")]


def test_thousands_of_places_are_thousands_of_places():
    found = more(error=6.0, goal=0.5)
    assert found.n_more > 4000
    assert len({(place.y_um, place.x_um) for place in found.places}) == found.n_more


def test_a_layer_without_an_interval_keeps_its_reason():
    for found in (more(places=None), more(error=None), more(freedom=None)):
        assert (found.half_width, found.n_more, found.note, found.places) == (None, None, "its note", ())


def test_a_goal_out_of_reach_is_said_to_be():
    found = more(error=20.0, goal=0.1)
    assert (found.n_more, found.note) == (None, "more than 10,000 fields would be needed")
