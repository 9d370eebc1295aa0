"""Growth forecasts: the curve by hand and against scipy, forecasts a biologist can check, and what is refused."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from benchmarks.growth import least_squares_logistic
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from msc_vision.errors import InvalidArgumentError, InvalidDataError, UndefinedResultError
from msc_vision.statistics.growth import (
    GrowthSettings,
    departure,
    fit_growth,
    most_plausible,
    usual_growth,
)
from msc_vision.statistics.growth_curve import (
    Clock,
    GrowthParameters,
    confluency,
    growing_time,
    growing_time_until,
    interpolated,
)
from msc_vision.statistics.growth_posterior import find_mode
from msc_vision.statistics.growth_prior import BankPrior, learn_prior, placeholder_prior
from msc_vision.statistics.growth_series import (
    CultureEvent,
    Scan,
    TimePoint,
    growth_series,
    merge_simultaneous,
    series_of_scans,
    standard_error_of,
)

PRIOR = placeholder_prior()
TYPICAL = GrowthParameters(6, 12, 34, 96, 1.5, 1.5, 2, 1.05)
SEEDED = datetime(2026, 3, 2, 9, tzinfo=UTC)


def course(parameters, hours, refeeds_h=()):
    """True confluency of a culture that keeps to the formula."""
    hours = np.asarray(hours, float)
    clock = Clock.until(float(hours.max()) + 2, refeeds_h)
    theta = parameters.vector()[None]
    growing = growing_time(theta, np.zeros((1, clock.edges_h.size - 1)), clock)
    return confluency(theta, interpolated(clock.edges_h, growing, hours))[0]


def readings(parameters, hours, error=2.0, seed=None, refeeds_h=()):
    """A series of readings of such a culture, with errors if a seed is given."""
    percent = course(parameters, hours, refeeds_h)
    if seed is not None:
        percent = np.clip(percent + error * np.random.default_rng(seed).standard_normal(len(hours)), 0, 100)
    points = [TimePoint(float(h), float(p), error) for h, p in zip(hours, percent, strict=True)]
    return growth_series(points, [CultureEvent(h, "refeed") for h in refeeds_h])


def bank(spread=0.3, **changes):
    """A prior learned well: narrow around a typical culture."""
    parameters = replace(TYPICAL, **changes)
    covariance = spread**2 * np.array(PRIOR.covariance)
    return PRIOR.model_copy(
        update={
            "mean": tuple(parameters.vector().tolist()),
            "covariance": tuple(map(tuple, covariance.tolist())),
            "is_placeholder": False,
            "n_cultures": 20,
            "source": "test",
        }
    )


# --- the curve -------------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.floats(2, 20), st.floats(1, 30), st.floats(20, 60), st.floats(80, 99), st.floats(0.5, 3), st.booleans())
def test_the_curve_solves_its_differential_equation(start, lag, doubling, capacity, shape, is_fed):
    own = GrowthParameters(start, lag, doubling, capacity, shape, 1.5, 3.0, 1.2)
    refeeds_h = (48.0,) if is_fed else ()

    def slope(t, y):
        speed = 1 - math.exp(-t / lag)
        if is_fed and t > 48:
            speed *= (1 - math.exp(-(t - 48) / 3)) * 1.2
        return math.log(2) / doubling * speed * y * (1 - (y / capacity) ** shape)

    hours = np.array([10.0, 30, 47, 60, 90, 150])
    slow = solve_ivp(slope, (0, 150), [start], t_eval=hours, rtol=1e-9, atol=1e-9, max_step=0.5).y[0]
    np.testing.assert_allclose(course(own, hours, refeeds_h), slow, atol=0.5)  # of steps of two hours


def test_without_lag_and_far_from_full_confluency_doubles_once_per_doubling_time():
    own = replace(TYPICAL, start_percent=0.01, lag_h=1e-6, capacity_percent=99, shape=1)
    np.testing.assert_allclose(course(own, [0, 34, 68, 102]), 0.01 * 2.0 ** np.arange(4), rtol=2e-3)


def test_a_lag_makes_growth_late_by_its_hours_in_the_end():
    early, late = (replace(TYPICAL, lag_h=lag) for lag in (1e-6, 12))
    np.testing.assert_allclose(course(late, [112.0, 152.0]), course(early, [100.0, 140.0]), rtol=2e-3)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=8, max_size=8), st.floats(5, 95))
def test_the_time_until_a_confluency_is_the_inverse_of_the_curve(scores, percent):
    theta = (np.array(PRIOR.mean) + np.array(scores) * np.sqrt(np.diag(np.array(PRIOR.covariance))))[None]
    hours = growing_time_until(theta, percent)[0]
    start, end = confluency(theta, np.array([[0.0, 1e7]]))[0]
    if hours == 0:
        assert start >= percent - 1e-6
    elif math.isinf(hours):
        assert end <= percent + 1e-6
    else:
        assert confluency(theta, np.array([[hours]]))[0, 0] == pytest.approx(percent, abs=1e-4)


def test_parameters_survive_their_scales():
    back = GrowthParameters.from_vector(TYPICAL.vector())
    for name in TYPICAL.__dataclass_fields__:
        assert getattr(back, name) == pytest.approx(getattr(TYPICAL, name), rel=1e-12)


# --- the fit ---------------------------------------------------------------------------------------------------------


def flat_logistic_prior():
    """All but start, doubling time and capacity held: no lag, logistic shape; these three left open."""
    parameters = replace(TYPICAL, lag_h=1e-9, shape=1.0, scatter_points=1e-9)
    sds = np.array([1e3, 1e-9, 1e3, 1e3, 1e-9, 1e-9, 1e-9, 1e-9])
    return PRIOR.model_copy(
        update={
            "mean": tuple(parameters.vector().tolist()),
            "covariance": tuple(map(tuple, np.diag(sds**2).tolist())),
            "rate_wobble": 0.0,
        }
    )


@pytest.mark.parametrize("truth", [(6.0, 34.0, 96.0), (3.0, 26.0, 88.0), (12.0, 47.0, 93.0)])
def test_without_prior_and_error_the_fit_is_that_of_scipy(truth):
    start, doubling, capacity = truth
    hours = np.arange(0, 300, 12.0)
    percent = capacity / (1 + (capacity / start - 1) * 2 ** (-hours / doubling))
    series = growth_series([TimePoint(h, p, 0.1) for h, p in zip(hours.tolist(), percent.tolist(), strict=True)])
    plain = least_squares_logistic(series.points)
    assert plain == pytest.approx(truth, rel=1e-6)
    own = most_plausible(series, flat_logistic_prior())
    assert (own.start_percent, own.doubling_time_h, own.capacity_percent) == pytest.approx(plain, rel=1e-6)


def test_the_mode_is_a_mode():
    target = bank().target(readings(TYPICAL, [8, 24, 40, 60, 80], 3.0, seed=1))
    mode = find_mode(target)
    best = target.log_density(mode.x[None])[0]
    for direction in np.eye(mode.x.size):
        assert target.log_density((mode.x + 0.01 * direction)[None])[0] < best
        assert target.log_density((mode.x - 0.01 * direction)[None])[0] < best


@pytest.mark.parametrize("n_points", [1, 3, 8])
def test_draws_agree_with_a_slow_weighing_of_the_prior(n_points):
    """Oracle: hundred thousand cultures of the prior, each weighted by how well it agrees with the points."""
    prior = bank()
    series = readings(TYPICAL, np.linspace(20, 90, n_points), 5.0, seed=3)
    target = prior.target(series)
    x = np.random.default_rng(0).standard_normal((100_000, target.n_dimensions))
    percent, sd = target.predicted(x)
    log_weights = -0.5 * (((target.percents - percent) / sd) ** 2 + 2 * np.log(sd)).sum(axis=1)
    weights = np.exp(log_weights - log_weights.max())
    truth = np.average(percent[:, -1], weights=weights)
    spread = math.sqrt(np.average((percent[:, -1] - truth) ** 2, weights=weights))
    drawn = fit_growth(series, prior).curves(series.last_h)[:, 0]
    assert drawn.mean() == pytest.approx(truth, abs=0.12 * spread)
    assert drawn.std() == pytest.approx(spread, rel=0.12)


def test_moved_particles_give_what_weighing_gives():
    """The fallback is asked for by a number of effective draws that no weighing reaches."""
    series = readings(TYPICAL, [10, 40, 70, 90], 3.0, seed=8)
    usual, forced = GrowthSettings(), GrowthSettings(least_effective=1e9, max_rounds=1)
    one, other = (fit_growth(series, PRIOR, asked).forecast([90.0, 120]) for asked in (usual, forced))
    np.testing.assert_allclose(one.mean_percent, other.mean_percent, atol=0.6)
    np.testing.assert_allclose(one.low_percent, other.low_percent, atol=2.0)
    np.testing.assert_allclose(one.high_percent, other.high_percent, atol=2.0)


def test_the_same_points_give_the_same_forecast():
    series = readings(TYPICAL, [10, 30, 55], 3.0, seed=5)
    one, other = (fit_growth(series, PRIOR).window(70, 90) for _ in range(2))
    assert one == other


def test_the_order_in_which_points_are_given_does_not_matter():
    points = readings(TYPICAL, [10, 30, 55], 3.0, seed=5).points
    assert growth_series(points[::-1]) == growth_series(points)


def test_more_scans_make_the_forecast_sharper():
    widths = []
    for n in (1, 3, 6):
        band = fit_growth(readings(TYPICAL, np.linspace(12, 72, 6)[:n]), PRIOR).forecast(100.0)
        widths.append(float(band.high_percent[0] - band.low_percent[0]))
    assert widths[0] > widths[1] > widths[2]


@pytest.mark.parametrize(
    "points",
    [
        [(0, 0, 0.0)],
        [(0, 100, 0.0)],
        [(24, 3, 0.01), (48, 3, 0.01), (72, 3, 0.01)],
        [(h, 96 / (1 + 15 * 2 ** (-h / 30)), 0.01) for h in range(0, 200, 8)],
        [(6, 50, 1), (30, 10, 1), (50, 60, 1)],
        [(h, 95, 2) for h in range(0, 96, 4)],
    ],
    ids=["empty", "full", "stands still", "no noise", "contradictory", "full from the start"],
)
def test_odd_points_give_an_honest_answer_or_none(points):
    series = growth_series([TimePoint(*map(float, point)) for point in points])
    try:
        growth = fit_growth(series, PRIOR)
    except UndefinedResultError as err:
        assert "carry the weight" in str(err)
        return
    assert growth.effective_draws >= 150
    band = growth.forecast([series.last_h, series.last_h + 48])
    assert np.isfinite(band.mean_percent).all()
    assert (band.low_percent <= band.mean_percent).all()
    assert (band.mean_percent <= band.high_percent).all()


# --- forecasts -------------------------------------------------------------------------------------------------------


def test_a_culture_of_the_bank_is_met_by_its_forecast():
    hours = np.linspace(8, 76, 6)
    growth = fit_growth(readings(TYPICAL, hours, 1.0), bank())
    found = growth.window(70, 90)
    grid = np.arange(0, 300, 0.25)
    entry_h = float(grid[np.searchsorted(course(TYPICAL, grid), 70)])
    assert found.state == "before"
    assert found.entered.low_h <= entry_h <= found.entered.high_h
    assert found.entered.median_h == pytest.approx(entry_h, abs=6)
    assert f"Enters it at {found.entered.median_h:.0f} h" in found.words


@settings(max_examples=8, deadline=None)
@given(st.floats(30, 60), st.floats(62, 94), st.integers(0, 100))
def test_entry_and_inside_tell_the_same_story(low, high, seed):
    growth = fit_growth(readings(TYPICAL, [10, 40, 70], 3.0, seed=seed), PRIOR)
    for hour in (80.0, 120.0, 200.0):
        entered, left = growth.hours_until(low) <= hour, growth.hours_until(high) <= hour
        assert growth.probability_inside(hour, low, high) == pytest.approx((entered & ~left).mean(), abs=0.002)


def test_a_culture_within_the_window_is_already_inside():
    found = fit_growth(readings(TYPICAL, [20, 60, 100, 140, 180]), bank()).window(60, 94)
    assert found.state == "inside"
    assert found.entered.passed_probability > 0.9
    assert "Already inside the window" in found.words


def test_an_overgrown_culture_is_past_the_window():
    found = fit_growth(readings(TYPICAL, [20, 60, 100, 250]), bank()).window(50, 70)
    assert found.state == "after"
    assert "Already past the window" in found.words


def test_a_culture_that_has_stopped_below_the_window_most_probably_never_enters():
    own = replace(TYPICAL, capacity_percent=55, doubling_time_h=24)
    found = fit_growth(readings(own, np.arange(10, 300, 20)), bank(spread=3, capacity_percent=70)).window(70, 90)
    assert found.state == "never"
    assert found.entered.median_h is None
    assert "never" in found.words


def test_a_window_beyond_the_horizon_is_said_to_be_so():
    found = fit_growth(readings(TYPICAL, [10, 20, 30]), bank(), GrowthSettings(horizon_h=20)).window(70, 90)
    assert found.entered.median_h is None
    assert "not within the horizon of 50 h" in found.words


def test_one_point_is_wide_and_says_that_the_prior_decides():
    growth = fit_growth(readings(TYPICAL, [24]), PRIOR)
    assert any("Only 1 time point: the prior decides" in note for note in growth.notes)
    assert any("placeholder" in note for note in growth.notes)
    band = growth.forecast(120.0)
    assert band.high_percent[0] - band.low_percent[0] > 25


def test_what_is_usual_needs_no_scan():
    band = usual_growth(bank()).forecast([0, 48, 96, 144])
    assert (np.diff(band.mean_percent) > 0).all()
    truth = course(TYPICAL, [0, 48, 96, 144])
    assert ((band.low_percent < truth) & (truth < band.high_percent)).all()


def test_after_a_change_of_medium_growth_pauses_and_then_gains():
    own = replace(TYPICAL, refeed_pause_h=4, refeed_gain=1.2)
    plain, fed = course(own, [52.0, 110.0]), course(own, [52.0, 110.0], refeeds_h=(48.0,))
    assert fed[0] < plain[0]
    assert fed[1] > plain[1]


@pytest.mark.parametrize(
    ("hours", "message"),
    [([-1.0], "count from 0 on"), ([math.nan], "finite"), ([1e6], "beyond the horizon")],
)
def test_hours_that_cannot_be_forecast_are_refused(hours, message):
    growth = fit_growth(readings(TYPICAL, [24, 48]), PRIOR)
    with pytest.raises(InvalidArgumentError, match=message):
        growth.forecast(hours)


def test_nothing_is_forecast_beyond_a_passage():
    points = readings(TYPICAL, [24, 48]).points
    growth = fit_growth(growth_series(points, [CultureEvent(96, "passage")]), PRIOR)
    assert growth.horizon_h == 96
    with pytest.raises(UndefinedResultError, match="ends by passage at 96 h"):
        growth.forecast(100)
    assert growth.window(70, 90).words


@pytest.mark.parametrize("window", [(90, 70), (0, 50), (70, 101), (math.nan, 90)])
def test_a_window_that_is_none_is_refused(window):
    growth = fit_growth(readings(TYPICAL, [24, 48]), PRIOR)
    with pytest.raises(InvalidArgumentError, match="A window goes from above 0"):
        growth.window(*window)


# --- the series ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([], "at least one time point"),
        ([TimePoint(5, 101, 2)], "0 to 100 percent; the point at 5 h has 101"),
        ([TimePoint(5, math.nan, 2)], "0 to 100 percent"),
        ([TimePoint(5, 0.5, math.nan)], "No standard error at the point at 5 h"),
        ([TimePoint(5, 50, None)], "No standard error"),
        ([TimePoint(5, 50, -1)], "0 to 100 points"),
        ([TimePoint(-5, 50, 1)], "count from 0 on"),
        ([TimePoint(5, 50, 1), TimePoint(5, 60, 1)], "Two scans at 5 h .*merge_simultaneous"),
    ],
)
def test_points_that_are_wrong_are_refused_in_one_line(points, message):
    with pytest.raises(InvalidArgumentError, match=message) as caught:
        growth_series(points)
    assert "\n" not in str(caught.value)


def test_points_of_two_cultures_are_refused():
    with pytest.raises(InvalidArgumentError, match="passage at 50 h ends the culture"):
        growth_series([TimePoint(24, 20, 2), TimePoint(72, 10, 2)], [CultureEvent(50, "passage")])


def test_two_scans_of_one_time_are_merged_by_their_errors_and_widened_where_they_differ():
    merged = merge_simultaneous([TimePoint(5, 40, 1), TimePoint(5, 41, 2), TimePoint(9, 50, 3)])
    assert len(merged) == 2
    assert merged[0].confluency_percent == pytest.approx(40.2)
    assert merged[0].standard_error == pytest.approx(math.sqrt(0.8))
    apart = merge_simultaneous([TimePoint(5, 40, 1), TimePoint(5, 60, 1)])[0]
    assert apart.standard_error == pytest.approx(10)
    assert growth_series(merged).last_h == 9


def test_a_standard_error_is_a_quarter_of_its_interval():
    assert standard_error_of((40, 60)) == pytest.approx(20 / (2 * 1.959964), rel=1e-6)
    with pytest.raises(InvalidArgumentError, match="two finite ends"):
        standard_error_of((60, 40))


def test_clocks_of_two_zones_are_compared_in_utc():
    berlin, tokyo = timezone(timedelta(hours=1)), timezone(timedelta(hours=9))
    scans = [
        Scan(datetime(2026, 3, 4, 10, tzinfo=berlin), 20, 2),
        Scan(datetime(2026, 3, 3, 18, tzinfo=tokyo), 12, 2),
    ]
    series = series_of_scans(scans, seeded_at=SEEDED, refeeds_at=[SEEDED + timedelta(hours=30)])
    assert [point.elapsed_h for point in series.points] == [24, 48]
    assert series.refeeds_h == (30,)
    assert series.origin == "seeding"
    assert series.notes == ()


def test_clocks_without_zone_are_utc_with_a_note_but_never_mixed():
    scans = [Scan(datetime(2026, 3, 3, 9), 12, 2), Scan(datetime(2026, 3, 4, 9), 20, 2)]
    series = series_of_scans(scans)
    assert [point.elapsed_h for point in series.points] == [0, 24]
    assert any("taken as UTC" in note for note in series.notes)
    assert any("time of seeding is not known" in note for note in series.notes)
    with pytest.raises(InvalidArgumentError, match="no time zone"):
        series_of_scans(scans, seeded_at=SEEDED)


def test_time_that_goes_backwards_against_the_numbers_is_a_fault_of_the_data():
    later, earlier = (Scan(SEEDED + timedelta(hours=h), 20, 2, number) for h, number in ((48, 1), (24, 2)))
    with pytest.raises(InvalidDataError, match="Time goes backwards: scan 2"):
        series_of_scans([later, earlier], seeded_at=SEEDED)


def test_a_scan_before_seeding_is_refused():
    with pytest.raises(InvalidArgumentError, match="lies before the seeding"):
        series_of_scans([Scan(SEEDED - timedelta(hours=1), 20, 2)], seeded_at=SEEDED)


# --- the prior -------------------------------------------------------------------------------------------------------


def test_a_prior_goes_through_plain_dicts_and_says_what_it_is():
    stored = PRIOR.model_dump(mode="json")
    assert BankPrior.model_validate(stored) == PRIOR
    assert PRIOR.is_placeholder
    assert "not confirmed" in PRIOR.source
    assert PRIOR.usual.doubling_time_h == pytest.approx(34)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": (1.0, 2.0)}, "at least 8"),
        ({"covariance": tuple(map(tuple, np.zeros((8, 8)).tolist()))}, "no spread"),
        ({"parameters": ("lag",)}, "The parameters are"),
    ],
)
def test_a_prior_that_is_none_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        BankPrior.model_validate(PRIOR.model_dump() | change)


def test_many_cultures_teach_how_the_bank_grows_and_few_only_move_the_placeholder():
    rng = np.random.default_rng(11)
    own = [replace(TYPICAL, doubling_time_h=24 * math.exp(0.06 * rng.standard_normal())) for _ in range(24)]
    cultures = [readings(one, np.arange(8, 130, 16), 2.0, seed=i) for i, one in enumerate(own)]
    few, many = (learn_prior(cultures[:n], source="test") for n in (2, 24))
    assert abs(many.usual.doubling_time_h - 24) < 2
    assert abs(many.usual.doubling_time_h - 24) < abs(few.usual.doubling_time_h - 24) < 10
    assert many.covariance[2][2] < few.covariance[2][2] < PRIOR.covariance[2][2]
    assert many.n_cultures == 24
    assert not many.is_placeholder
    with pytest.raises(InvalidArgumentError, match="No culture to learn from"):
        learn_prior([], source="none")


# --- departures ------------------------------------------------------------------------------------------------------


def test_a_usual_culture_does_not_depart():
    found = departure(readings(TYPICAL, np.arange(10, 90, 14), 2.0, seed=2), bank())
    assert found.since_h is None
    assert found.p_value > 0.05
    assert "No departure from the bank's 20 past cultures in 6 points" in found.words


def test_a_culture_that_stops_at_60_hours_departs_soon_after_and_is_called_slower():
    hours = np.arange(12, 140, 12.0)
    percent = course(TYPICAL, np.minimum(hours, 60))
    series = growth_series([TimePoint(h, p, 2.0) for h, p in zip(hours.tolist(), percent.tolist(), strict=True)])
    found = departure(series, bank())
    assert found.direction == "slower"
    assert 60 < found.since_h <= 108
    assert f"from the scan at {found.since_h:g} h on at the latest: slower" in found.words
    assert found.points[0].next_p_value == found.points[0].usual_p_value


def test_p_values_of_usual_cultures_are_spread_evenly():
    """Cultures drawn from the prior itself: the first point's p-value is below one half in half of them."""
    prior, rng = bank(), np.random.default_rng(4)
    target = prior.target(growth_series([TimePoint(48, 20, 3.0)]))
    percent, sd = target.predicted(rng.standard_normal((200, target.n_dimensions)))
    seen = np.clip(percent + sd * rng.standard_normal(percent.shape), 0, 100)[:, 0]
    chances = [departure(growth_series([TimePoint(48, float(y), 3.0)]), prior).points[0].usual_p_value for y in seen]
    assert 0.4 < np.mean(np.array(chances) < 0.5) < 0.6
    assert np.mean(np.array(chances) < 0.05) < 0.1


@pytest.mark.parametrize("level", [0, 1, math.nan])
def test_a_level_that_is_no_chance_is_refused(level):
    with pytest.raises(InvalidArgumentError, match="between 0 and 1"):
        departure(readings(TYPICAL, [24]), PRIOR, level=level)


@pytest.mark.parametrize("points", [0.0, 5.0])
def test_a_shared_error_of_the_method_widens_the_forecast_and_keeps_its_middle(points):
    growth = fit_growth(growth_series([TimePoint(24, 15.0, 1.5), TimePoint(48, 30.0, 2.0)]), placeholder_prior())
    plain, shared = growth.forecast([48.0, 72.0]), growth.misread_by(points).forecast([48.0, 72.0])
    if points == 0:
        np.testing.assert_allclose(shared.low_percent, plain.low_percent)
        assert growth.misread_by(0.0).window(70, 90).entered == growth.window(70, 90).entered
    else:
        assert (shared.high_percent - shared.low_percent > plain.high_percent - plain.low_percent + 5).all()
        np.testing.assert_allclose(shared.mean_percent, plain.mean_percent, atol=1.5)
        entered = growth.misread_by(points).window(70, 90).entered
        assert entered.low_h < growth.window(70, 90).entered.low_h


def test_a_culture_that_reads_too_high_in_a_draw_is_less_confluent_in_it():
    growth = fit_growth(growth_series([TimePoint(24, 15.0, 1.5), TimePoint(48, 30.0, 2.0)]), placeholder_prior())
    shared = growth.misread_by(8.0)
    lower = shared.curves([48.0])[:, 0] < growth.curves([48.0])[:, 0]
    assert (lower == (shared.misreading > 0)).mean() > 0.999
    times, plain = shared.hours_until(60.0), growth.hours_until(60.0)
    known = np.isfinite(times) & np.isfinite(plain)
    assert ((times >= plain) == (shared.misreading >= 0))[known].all()
