"""Intervals of aggregates and of counted cells: the same roll-up as confluency, on scales of their own."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from msc_vision.statistics.amounts import with_intervals
from msc_vision.statistics.character import Yardsticks, characters
from msc_vision.statistics.settings import SamplingSettings
from sampling_cases import CATALOGUE, GRID_9, placed


def counted(fields, aggregates=None, density=None, share=0.5):
    """Return fields with so many aggregates per cm² and cells per cm²; None: not looked for."""
    told = []
    for i, one in enumerate(fields):
        findings = {} if aggregates is None else {"aggregates_per_cm2": aggregates[i], "aggregate_area_percent": share}
        morphology = {} if density is None else {"density_per_cm2": density[i]}
        told.append(replace(one, score=replace(one.score, findings=findings, morphology=morphology)))
    return told


def layer(number=1, places=GRID_9, kind="hyperstack-12"):
    return [placed(number, 40.0, at, name=f"f{i}", kind=kind) for i, at in enumerate(places)]


def characterised(fields):
    found = characters(fields, "no recipe", Yardsticks())
    return with_intervals(found, fields, CATALOGUE, SamplingSettings())


def test_cells_counted_in_nine_fields_have_an_interval_around_their_mean():
    density = [9000, 11000, 10500, 9500, 10000, 9800, 10200, 10400, 9600]
    found = characterised(counted(layer(), density=density)).layers["HS-A", 1]
    low, high = found.density_interval
    assert low < found.density_per_cm2 < high
    half = stats.t.ppf(0.975, 8) * np.std(density, ddof=1) / 3
    assert high - low < 2 * half * 1.02  # fields on a grid: no wider than Student's t
    assert found.aggregates_interval is None  # nobody looked


def test_no_aggregate_on_nine_square_millimetres_leaves_room_for_some():
    """Exact Poisson limit: with 3.69 expected, none is seen in 2.5 % of cases; 9 mm² are 0.09 cm²."""
    found = characterised(counted(layer(), aggregates=[0.0] * 9)).layers["HS-A", 1]
    low, high = found.aggregates_interval
    assert low == 0
    assert high == pytest.approx(-np.log(0.025) / 0.09)
    assert stats.poisson.cdf(0, high * 0.09) == pytest.approx(0.025)


def test_no_aggregate_in_nine_fields_leaves_room_for_some_area():
    """Exact binomial limit: if a third of all places held some, nine places would hold none in 2.5 % of cases."""
    found = characterised(counted(layer(), aggregates=[0.0] * 9, share=0.0)).layers["HS-A", 1]
    low, high = found.aggregate_area_interval
    assert low == 0
    assert high == pytest.approx(33.6, abs=0.1)
    assert stats.binom.pmf(0, 9, high / 100) == pytest.approx(0.025)


def test_no_aggregate_on_any_layer_leaves_less_room_than_one_layer_does():
    """Layers in every third of the stack speak for it: none on 27 mm² together, none in 27 fields."""
    fields = [one for n in (1, 6, 12) for one in counted(layer(n), aggregates=[0.0] * 9, share=0.0)]
    found = characterised(fields).vessels["HS-A"]
    assert found.aggregates_interval == (0, pytest.approx(-np.log(0.025) / 0.27))
    assert found.aggregate_area_interval == (0, pytest.approx(100 * (1 - 0.025 ** (1 / 27))))


def test_no_aggregate_on_the_lowest_layers_says_nothing_of_the_vessel():
    fields = [one for n in (1, 2, 3) for one in counted(layer(n), aggregates=[0.0] * 9, share=0.0)]
    found = characterised(fields).vessels["HS-A"]
    assert (found.aggregates_interval, found.aggregate_area_interval) == (None, None)


def test_fields_without_coordinates_have_no_interval():
    fields = counted([placed(1, 40.0, None, name=f"f{i}") for i in range(9)], aggregates=[3.0] * 9)
    found = characterised(fields).layers["HS-A", 1]
    assert found.aggregates_per_cm2 == 3.0
    assert found.aggregates_interval is None


def test_layers_in_every_third_of_the_stack_speak_for_the_vessel_and_the_bottom_does_not():
    values = [2.0, 4.0, 3.0, 5.0, 1.0, 3.0, 2.0, 4.0, 3.0]
    spread = [one for n in (1, 6, 12) for one in counted(layer(n), aggregates=[v + n / 10 for v in values])]
    bottom = [one for n in (1, 2, 3) for one in counted(layer(n), aggregates=values)]
    low, high = characterised(spread).vessels["HS-A"].aggregates_interval
    assert 0 < low < 3.6 < high
    assert characterised(bottom).vessels["HS-A"].aggregates_interval is None


def test_the_one_layer_of_a_flask_is_the_vessel():
    side = 75.0**0.5 * 10
    places = [(y * side / 3, x * side / 3) for y in (0.5, 1.5, 2.5) for x in (0.5, 1.5, 2.5)]
    fields = counted(layer(1, places, "t-75"), aggregates=[1.0, 2.0, 3.0, 2.0, 1.0, 2.0, 4.0, 2.0, 1.0])
    found = characterised(fields)
    assert found.vessels["HS-A"].aggregates_interval == found.layers["HS-A", 1].aggregates_interval is not None


@settings(max_examples=25)
@given(st.lists(st.floats(0, 500), min_size=9, max_size=9), st.randoms())
def test_intervals_hold_the_mean_and_no_order_shows(values, random):
    fields = counted(layer(), aggregates=values)
    found = characterised(fields)
    random.shuffle(fields)
    assert characterised(fields).layers == found.layers
    low, high = found.layers["HS-A", 1].aggregates_interval
    assert 0 <= low <= np.mean(values) + 1e-6
    assert high >= np.mean(values) - 1e-6
