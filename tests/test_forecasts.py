"""Forecasts out of finished runs: three time points, and every reason why a vessel has none."""

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
import yaml

from msc_vision.batch.courses import vessel_courses
from msc_vision.batch.forecasts import ForecastRequest, forecast_course, forecast_runs, prior_of_runs, read_prior
from msc_vision.errors import InvalidArgumentError
from msc_vision.statistics.growth import fit_growth
from msc_vision.statistics.growth_prior import placeholder_prior
from msc_vision.statistics.growth_series import series_of_scans
from sampling_cases import CATALOGUE, GROWTH, grid, growing_vessels, imaged, write_run

FIRST = datetime(2026, 11, 16, 9, tzinfo=UTC)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The four vessels of `growing_vessels` in one run."""
    return write_run(tmp_path_factory.mktemp("growing"), growing_vessels())


@pytest.fixture(scope="module")
def found(run):
    return {one.vessel_id: one for one in forecast_runs([run], CATALOGUE, ForecastRequest(method_error_points=5.0))}


@pytest.fixture(scope="module")
def course(run):
    return next(one for one in vessel_courses([run], CATALOGUE) if one.vessel_id == "GROWS")


def test_a_flask_with_three_time_points_enters_its_window_within_a_day_or_two(found):
    """20, 40 and 62 % on three mornings: 70 % is near, and 90 % comes after it."""
    grows = found["GROWS"]
    assert (grows.reason, grows.basis) == (None, "vessel")
    assert [round(point.elapsed_h) for point in grows.series.points] == [0, 24, 48]
    assert (grows.starts_at, grows.last_scan_at) == ("2026-11-16T09:00+00:00", "2026-11-18T09:00+00:00")
    assert (grows.window.low_percent, grows.window.high_percent) == (70, 90)
    entered, left = grows.window.entered, grows.window.left
    assert 48 < entered.median_h < 80
    assert left.median_h is None or left.median_h > entered.median_h
    at = FIRST + timedelta(hours=entered.median_h)
    assert abs(datetime.fromisoformat(grows.enters_at) - at) < timedelta(minutes=1)
    assert grows.band.hours[0] == 0
    assert grows.band.mean_percent[24] == pytest.approx(62, abs=8)  # hour 48
    assert any(re.fullmatch(r"A method error of \d+ points at half cover is included\.", note) for note in grows.notes)


def test_with_a_sure_method_the_hours_are_between_two_ends(course):
    entered = forecast_course(course, ForecastRequest(method_error_points=2.0)).window.entered
    assert 48 < entered.low_h < entered.median_h < entered.high_h < 120


def test_a_forecast_is_that_of_its_time_points(course):
    """Built by hand from the same scans: the same hours, to the last bit."""
    series = series_of_scans([scan.scan() for scan in course.scans])
    window = fit_growth(series, placeholder_prior()).misread_by(course.scans[-1].method_error_points).window(70, 90)
    assert forecast_course(course, ForecastRequest()).window == window


def test_a_stack_seen_in_part_is_forecast_for_its_measured_layers_only(found):
    stack = found["STACK"]
    assert (stack.reason, stack.basis) == (None, "measured layers")
    assert "Of the measured layers only: the others are undetermined, and so is the vessel." in stack.notes


@pytest.mark.parametrize(
    ("vessel", "words"),
    [
        ("BLIND", r"its error is not known \(2 scored fields, and it takes 3\); state one in points with"),
        ("TIMELESS", r"no field has a time \(column acquired_at\), so it has no place in time\."),
    ],
)
def test_a_vessel_without_a_forecast_has_a_reason_and_stops_no_other(found, vessel, words):
    one = found[vessel]
    assert one.window is one.series is one.band is None
    assert one.planned == ()
    assert re.search(words, one.reason)


def test_fields_without_coordinates_need_a_standard_error(run):
    request = ForecastRequest(standard_error_points=4.0)
    found = {one.vessel_id: one for one in forecast_runs([run], CATALOGUE, request)}
    assert found["BLIND"].reason is None
    assert [point.standard_error for point in found["BLIND"].series.points] == [4, 4, 4]
    assert found["TIMELESS"].reason is not None


def test_two_scans_at_one_time_are_no_course(run, tmp_path):
    last = dict([list(GROWTH.items())[-1]])
    again = write_run(tmp_path, imaged("GROWS", "t-75", (1,), last, grid(2, 75.0)))
    found = {one.vessel_id: one for one in forecast_runs([run, again], CATALOGUE, ForecastRequest())}
    assert found["GROWS"].window is None
    assert found["GROWS"].reason.startswith("Two scans at 48 h (62 and 62 %): merge them with `merge_simultaneous`")
    assert found["STACK"].reason is None


def test_what_is_asked_is_answered(course):
    """Seeded a day before the first scan, medium changed between, another window, two planned hours."""
    at = (FIRST + timedelta(hours=60), FIRST + timedelta(hours=84))
    request = ForecastRequest(
        window_percent=(50.0, 80.0),
        at=at,
        seeded_at=FIRST - timedelta(hours=24),
        refeeds_at=(FIRST + timedelta(hours=12),),
        method_error_points=0.0,
    )
    found = forecast_course(course, request)
    assert found.starts_at == "2026-11-15T09:00+00:00"
    assert [point.elapsed_h for point in found.series.points] == [24, 48, 72]
    assert found.series.refeeds_h == (36,)
    assert (found.window.low_percent, found.window.high_percent) == (50, 80)
    assert [one.elapsed_h for one in found.planned] == [84, 108]
    for one in found.planned:
        assert one.interval[0] < one.confluency_percent < one.interval[1]
        assert 0 <= one.inside_probability <= 1
    assert found.planned[0].confluency_percent < found.planned[1].confluency_percent
    assert "A method error of 0 points at half cover is included." in found.notes


def test_times_in_another_zone_are_the_same_times(course):
    tokyo = FIRST.astimezone(timezone(timedelta(hours=9)))
    one, other = (forecast_course(course, ForecastRequest(at=(at + timedelta(hours=60),))) for at in (FIRST, tokyo))
    assert one.planned == other.planned


def test_a_method_error_makes_hours_less_sure(course):
    sure, unsure = (forecast_course(course, ForecastRequest(method_error_points=error)).window for error in (0.0, 3.0))
    assert unsure.entered.high_h - unsure.entered.low_h > sure.entered.high_h - sure.entered.low_h


def test_a_seeding_after_the_first_scan_is_a_reason(course):
    found = forecast_course(course, ForecastRequest(seeded_at=FIRST + timedelta(hours=1)))
    assert found.reason.startswith("The scan at 2026-11-16 09:00:00+00:00 lies before the seeding at")


# --- how a bank grows ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    """Two cultures of one bank and one of another, four mornings each."""
    course = GROWTH | {"2026-11-19T09:00:00+00:00": 78.0}
    fields = [
        *imaged("A", "t-75", (1,), course, grid(2, 75.0), bank="MCB-7"),
        *imaged("B", "t-75", (1,), {time: 0.9 * level for time, level in course.items()}, grid(2, 75.0), bank="MCB-7"),
    ]
    folder = tmp_path_factory.mktemp("bank")
    other = imaged("C", "t-75", (1,), course, grid(2, 75.0), bank="MCB-8")
    return write_run(folder / "1", fields), write_run(folder / "2", other)


def test_a_bank_is_learned_from_its_whole_cultures(bank, tmp_path):
    learned = prior_of_runs(bank[:1], CATALOGUE, "MCB-7, two flasks", ForecastRequest())
    assert (learned.n_cultures, learned.is_placeholder, learned.source) == (2, False, "MCB-7, two flasks")
    path = tmp_path / "prior.yaml"
    path.write_text(yaml.safe_dump(learned.model_dump(mode="json")), encoding="utf-8")
    assert read_prior(path) == learned


def test_cultures_of_several_banks_are_not_mixed(bank):
    with pytest.raises(
        InvalidArgumentError, match=r"^The vessels are of several banks: MCB-7, MCB-8; learn from one\.$"
    ):
        prior_of_runs(bank, CATALOGUE, "test", ForecastRequest())


def test_one_time_point_teaches_nothing_of_growth(tmp_path):
    once = write_run(tmp_path, imaged("A", "t-75", (1,), {"2026-11-16T09:00:00+00:00": 50.0}, grid(2, 75.0)))
    with pytest.raises(InvalidArgumentError, match=r"^No vessel has two time points or more: nothing to learn growth"):
        prior_of_runs([once], CATALOGUE, "test", ForecastRequest())


def test_files_that_are_no_prior(tmp_path):
    with pytest.raises(InvalidArgumentError, match=r"none\.yaml: cannot be read as YAML \(.*No such file"):
        read_prior(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("[1, 2]", encoding="utf-8")
    with pytest.raises(InvalidArgumentError, match=r"list\.yaml: no growth of a bank: file: Input should be"):
        read_prior(tmp_path / "list.yaml")
    content = placeholder_prior().model_dump(mode="json") | {"n_cultures": -1}
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(InvalidArgumentError, match=r"bad\.yaml: no growth of a bank: n_cultures: Input should be"):
        read_prior(tmp_path / "bad.yaml")
