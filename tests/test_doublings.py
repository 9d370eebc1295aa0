"""Population doublings: values computed by hand and published yields, their errors against drawn counts, and caps."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msc_vision.errors import InvalidArgumentError, UndefinedResultError
from msc_vision.statistics.doublings import (
    Age,
    Caps,
    CountAtTime,
    Quantity,
    cumulative_doublings,
    doublings_from_densities,
    doublings_over_time,
    population_doublings,
    remaining,
)

NUMBERS = st.floats(1e3, 1e9)


@pytest.mark.parametrize(
    ("seeded", "harvested", "expected"),
    [
        (1e5, 8e5, 3.0),
        (1e6, 1e6, 0.0),
        (2_000, 12_800, 2.678071905),
        (2_000, 13_100, 2.711494907),
        (5e5, 3.2e6, 2.678071905),
        (1e5, 1e6, 3.321928095),
        (4e5, 1e5, -2.0),
    ],
    ids=["eightfold", "none", "published 1-tray yield", "published 10-tray yield", "6.4-fold", "tenfold", "loss"],
)
def test_doublings_by_hand(seeded, harvested, expected):
    assert population_doublings(Quantity(seeded), Quantity(harvested)).doublings == pytest.approx(expected, abs=1e-6)


def test_cells_that_were_dead_or_did_not_attach_have_not_divided():
    found = population_doublings(Quantity(1e6), Quantity(3.6e6), viable=Quantity(0.9), attached=Quantity(0.5))
    assert found.doublings == pytest.approx(3.0, abs=1e-6)


@settings(max_examples=40)
@given(NUMBERS, NUMBERS, NUMBERS)
def test_doublings_of_two_passages_are_those_of_both_in_one(first, second, third):
    parts = [population_doublings(Quantity(a), Quantity(b)) for a, b in ((first, second), (second, third))]
    whole = population_doublings(Quantity(first), Quantity(third))
    assert cumulative_doublings(parts).doublings == pytest.approx(whole.doublings, abs=1e-9)


def test_standard_errors_are_those_of_drawn_counts():
    rng = np.random.default_rng(0)
    seeded, harvested = 1e6 * (1 + 0.05 * rng.standard_normal(100_000)), 6e6 * (1 + 0.08 * rng.standard_normal(100_000))
    found = population_doublings(Quantity(1e6, 5e4), Quantity(6e6, 4.8e5))
    assert found.standard_error == pytest.approx(float(np.log2(harvested / seeded).std()), rel=0.02)
    assert found.interval == pytest.approx((found.doublings - 0.2667, found.doublings + 0.2667), abs=1e-3)


def test_a_harvest_below_what_was_seeded_is_legal_but_said():
    found = population_doublings(Quantity(4e5), Quantity(1e5))
    assert found.doublings == -2
    assert "cells were lost, or a count is wrong" in found.words


@pytest.mark.parametrize(
    ("arguments", "parts", "message"),
    [
        ((Quantity(0), Quantity(1e6)), {}, "seeded number of cells is above 0 and finite, not 0"),
        ((Quantity(1e6), Quantity(0)), {}, "harvested number of cells is above 0"),
        ((Quantity(1e6), Quantity(math.nan)), {}, "harvested number of cells is above 0 and finite, not nan"),
        ((Quantity(1e6, -1), Quantity(2e6)), {}, "standard error from 0 on"),
        ((Quantity(1e6), Quantity(2e6)), {"viable": Quantity(92)}, "at most 1, not 92: percent"),
        ((Quantity(1e6), Quantity(2e6)), {"attached": Quantity(0)}, "attached part is above 0"),
    ],
)
def test_numbers_that_are_none_are_refused(arguments, parts, message):
    with pytest.raises(InvalidArgumentError, match=message):
        population_doublings(*arguments, **parts)


def test_densities_count_with_their_areas():
    """Seeded in one T-175 at 3,000 per cm², harvested from two of them at 12,000: three doublings."""
    found = doublings_from_densities(Quantity(3000, 150), Quantity(12_000, 600), 175, 350)
    assert found.doublings == pytest.approx(3, abs=1e-6)
    assert found.standard_error == pytest.approx(0.05 * math.sqrt(2) / math.log(2), abs=1e-6)
    with pytest.raises(InvalidArgumentError, match="harvested area in cm² is above 0"):
        doublings_from_densities(Quantity(3000), Quantity(12_000), 175, 0)


# --- counts over time ------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(st.floats(12, 100), st.integers(2, 6))
def test_counts_that_double_every_so_often_give_that_doubling_time(doubling_h, n):
    counts = [CountAtTime(24.0 * i, Quantity(1e5 * 2 ** (24 * i / doubling_h), 5e3)) for i in range(n)]
    found = doublings_over_time(counts)
    assert found.doubling_time_h == pytest.approx(doubling_h, rel=1e-6)
    assert found.doublings.doublings == pytest.approx(24 * (n - 1) / doubling_h, rel=1e-6)
    assert found.doublings_per_day == pytest.approx(24 / doubling_h, rel=1e-6)


def test_two_counts_are_the_two_of_a_passage():
    ends = Quantity(1e5, 4e3), Quantity(7e5, 5e4)
    line = doublings_over_time([CountAtTime(0, ends[0]), CountAtTime(96, ends[1])]).doublings
    direct = population_doublings(*ends)
    assert (line.doublings, line.standard_error) == pytest.approx((direct.doublings, direct.standard_error), rel=1e-6)


def test_counts_that_disagree_widen_the_error_and_counts_that_agree_do_not_narrow_it():
    hours = [0.0, 24, 48, 72]
    doubling = [1e5 * 2 ** (h / 36) for h in hours]
    agreeing = doublings_over_time(
        [CountAtTime(h, Quantity(c, c * 0.05)) for h, c in zip(hours, doubling, strict=True)]
    )
    jumping = [1e5, 3e5, 2e5, 6e5]
    differing = doublings_over_time(
        [CountAtTime(h, Quantity(c, c * 0.05)) for h, c in zip(hours, jumping, strict=True)]
    )
    assert agreeing.standard_error_per_day == pytest.approx(0.05 / math.log(2) / math.sqrt(5), rel=1e-6)
    assert differing.standard_error_per_day > 3 * agreeing.standard_error_per_day


def test_cells_that_do_not_grow_have_no_doubling_time():
    found = doublings_over_time([CountAtTime(0, Quantity(2e5, 1e4)), CountAtTime(48, Quantity(1e5, 1e4))])
    assert found.doubling_time_h is None
    assert found.doubling_time_interval_h is None
    unsure = doublings_over_time([CountAtTime(0, Quantity(1e5, 3e4)), CountAtTime(24, Quantity(1.2e5, 3e4))])
    assert unsure.doubling_time_interval_h[1] is None


def test_counts_of_one_time_have_no_rate():
    with pytest.raises(UndefinedResultError, match="counts at two times or more; got 1"):
        doublings_over_time([CountAtTime(0, Quantity(1e5, 1e3)), CountAtTime(0, Quantity(2e5, 1e3))])
    with pytest.raises(InvalidArgumentError, match="needs a finite time and an error above 0"):
        doublings_over_time([CountAtTime(0, Quantity(1e5)), CountAtTime(24, Quantity(2e5, 1e3))])


# --- age and caps ----------------------------------------------------------------------------------------------------


def test_levels_add_up_from_the_vial_on_with_their_errors():
    passages = [population_doublings(Quantity(1e6, 5e4), Quantity(4e6, 2e5)) for _ in range(3)]
    found = cumulative_doublings(passages, Quantity(8.5, 0.4))
    assert found.doublings == pytest.approx(14.5, abs=1e-6)
    assert found.standard_error == pytest.approx(math.sqrt(0.16 + 3 * passages[0].standard_error ** 2))
    with pytest.raises(InvalidArgumentError, match="not known, which is not 0"):
        cumulative_doublings([])


def test_what_is_left_under_three_caps():
    """At P3 with level 10; this passage adds 3 doublings in 96 h; caps P6, level 20, 500 h of which 200 are gone."""
    left = remaining(Age(3, Quantity(10, 0.3), 200), Quantity(3, 0.4), 96, Caps(passages=6, doublings=20, hours=500))
    assert left.pdl_at_end.value == 13
    assert left.pdl_at_end.standard_error == pytest.approx(0.5)
    assert (left.passages, left.hours) == (3, 204)
    assert left.doublings.value == pytest.approx(7)
    assert left.within_pdl_probability > 0.999
    assert left.further_passages == 2
    assert "level of 13.0 ± 1.0" in left.words
    assert "still fit afterwards: 2" in left.words


def test_a_passage_that_just_ends_at_the_cap_has_an_even_chance():
    left = remaining(Age(5, Quantity(17, 0.3)), Quantity(3, 0.4), 96, Caps(doublings=20))
    assert left.within_pdl_probability == pytest.approx(0.5)
    assert left.further_passages == 0


def test_beyond_a_cap_is_said():
    left = remaining(Age(7, Quantity(19)), Quantity(3), 96, Caps(passages=6, doublings=20))
    assert left.within_pdl_probability == 0
    assert left.further_passages == 0
    assert "Beyond the cap by 1 passage." in left.words
    assert "Beyond the cap by 2 doublings (within the cap: 0%)." in left.words


def test_without_a_cap_nothing_is_left_or_used_up():
    left = remaining(Age(3, Quantity(10)), Quantity(3), 96, Caps())
    assert (left.passages, left.doublings, left.hours, left.further_passages) == (None, None, None, None)


@pytest.mark.parametrize(
    ("age", "predicted", "hours", "message"),
    [
        (Age(3, Quantity(-1)), Quantity(3), 96, "level and its error count from 0 on"),
        (Age(3, Quantity(10)), Quantity(math.nan), 96, "predicted doublings are a number"),
        (Age(3, Quantity(10)), Quantity(3), 0, "a passage lasts"),
        (Age(-1, Quantity(10)), Quantity(3), 96, "count from 0 on"),
    ],
)
def test_ages_that_are_none_are_refused(age, predicted, hours, message):
    with pytest.raises(InvalidArgumentError, match=message):
        remaining(age, predicted, hours, Caps(passages=6))
