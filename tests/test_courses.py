"""Finished runs read again: courses over time, layer studies learned from them, and what fields have reached."""

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from msc_vision.batch.courses import achieved_of_run, layer_study_of_runs, vessel_courses
from msc_vision.batch.finished import read_finished
from msc_vision.errors import InvalidArgumentError, InvalidDataError, UndefinedResultError
from msc_vision.statistics.growth_series import standard_error_of
from msc_vision.statistics.rollup import layer_estimates
from msc_vision.statistics.vessel_rollup import vessel_estimates
from sampling_cases import CATALOGUE, GROWTH, grid, growing_vessels, imaged, placed, study, write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The four vessels of `growing_vessels` in one run."""
    return write_run(tmp_path_factory.mktemp("growing"), growing_vessels())


@pytest.fixture(scope="module")
def courses(run):
    return {one.vessel_id: one for one in vessel_courses([run], CATALOGUE)}


def opened(vessel, levels, site="Leiden"):
    """A CellSTACK 2 of which both layers were measured, two fields each."""
    return [
        placed(layer, level + d, None, name=f"f{d}", vessel=vessel, kind="cellstack-2", site=site)
        for layer, level in enumerate(levels, start=1)
        for d in (-1, 1)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def stacks(tmp_path_factory):
    """Two opened stacks in one run, a third in another; layer 1 is always the denser."""
    folder = tmp_path_factory.mktemp("opened")
    first = write_run(folder / "1", [*opened("A", (60, 50)), *opened("B", (70, 58)), *opened("HALF", (60,))])
    return first, write_run(folder / "2", opened("C", (50, 42)))


# --- runs read again -------------------------------------------------------------------------------------------------


def test_a_run_is_read_back_as_it_was_rolled_up(run):
    """The estimates in the run folder follow again from its table of fields, to the last bit."""
    finished = read_finished(run)
    layers = layer_estimates(finished.fields, CATALOGUE, settings=finished.sampling)
    vessels = vessel_estimates(layers, CATALOGUE, settings=finished.sampling, study=finished.study)
    written = json.loads((run / "vessels.json").read_text())["vessels"]
    assert [one.vessel_id for one in vessels] == [one["vessel_id"] for one in written]
    for one, other in zip(vessels, written, strict=True):
        assert one.measured_confluency_percent == other["measured_confluency_percent"]
        interval = other["confluency_interval"]
        assert one.confluency_interval == (None if interval is None else tuple(interval))
    assert (finished.optics_profile, finished.study) == ("standard", None)
    assert finished.run_id == json.loads((run / "run.json").read_text())["run_id"]


def test_a_run_remembers_its_layer_study(tmp_path):
    known = study(2, kind="cellstack-2")
    fields = imaged("S", "cellstack-2", (1,), {None: 60.0}, grid(2, 636.0))
    out = write_run(tmp_path, fields, layer_study=known)
    assert read_finished(out).study == known
    (course,) = vessel_courses([out], CATALOGUE)
    assert course.scans[0].is_of_vessel
    assert course.scans[0].estimate.inferred_layers == (2,)


def test_folders_that_are_no_finished_run(run, tmp_path):
    with pytest.raises(InvalidArgumentError, match=r"is no run folder \(no run\.json\)\.$"):
        read_finished(tmp_path)
    copy = shutil.copytree(run, tmp_path / "copy")
    record = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps(record | {"state": "running"}))
    with pytest.raises(InvalidArgumentError, match=r"is not finished \(its state is running\); go on with --resume\.$"):
        read_finished(copy)
    (copy / "run.json").write_text("{")
    with pytest.raises(InvalidDataError, match=r"the run cannot be read: Expecting property name"):
        read_finished(copy)
    (copy / "run.json").write_text(json.dumps(record))
    (copy / "fields.parquet").write_bytes(b"PAR1 cut off")
    with pytest.raises(InvalidDataError, match=r"copy: the run cannot be read: "):
        read_finished(copy)


# --- courses ---------------------------------------------------------------------------------------------------------


def test_each_time_point_of_a_vessel_is_a_scan(courses):
    assert sorted(courses) == ["BLIND", "GROWS", "STACK", "TIMELESS"]
    grows = courses["GROWS"]
    assert [one.acquired_at.isoformat() for one in grows.scans] == list(GROWTH)
    assert [one.confluency_percent for one in grows.scans] == pytest.approx(list(GROWTH.values()), abs=0.1)
    assert all(one.is_of_vessel for one in grows.scans)
    assert (grows.vessel.id, grows.one_of("bank"), grows.one_of("donor")) == ("t-75", "MCB-7", None)
    assert grows.one_of("acquired_at") is None  # several


def test_the_error_of_a_scan_is_that_of_its_fields_alone(courses, run):
    """The method's error is in the run's own interval but not in a scan's: all scans of a vessel share it."""
    last = courses["GROWS"].scans[-1]
    assert last.method_error_points == read_finished(run).sampling.method_error_points > 0
    assert last.scan().standard_error == pytest.approx(standard_error_of(last.estimate.confluency_interval))
    written = {one["vessel_id"]: one for one in json.loads((run / "vessels.json").read_text())["vessels"]}
    low, high = written["GROWS"]["confluency_interval"]
    own_low, own_high = last.estimate.confluency_interval
    assert low < own_low < own_high < high


def test_of_a_stack_nobody_saw_whole_the_measured_layers_go_over_time(courses):
    scans = courses["STACK"].scans
    assert [one.is_of_vessel for one in scans] == [False, False]
    assert [one.confluency_percent for one in scans] == pytest.approx([40, 62], abs=0.1)
    errors = [layer.standard_error_points for layer in scans[0].estimate.layers[:2]]
    assert scans[0].scan().standard_error == pytest.approx(sum(one**2 for one in errors) ** 0.5 / 2)


def test_without_coordinates_a_scan_has_no_error_of_its_own(courses):
    blind = courses["BLIND"].scans[0]
    with pytest.raises(UndefinedResultError) as caught:
        blind.scan()
    assert (
        "its error is not known (2 scored fields, and it takes 3); state one in points with --standard-error."
        in str(caught.value)
    )
    assert blind.scan(4.0).standard_error == 4


def test_without_a_time_a_scan_has_no_place_in_time(courses):
    (timeless,) = courses["TIMELESS"].scans
    assert timeless.confluency_percent == pytest.approx(50, abs=0.1)
    with pytest.raises(UndefinedResultError, match=r"no field has a time \(column acquired_at\), so it has no place"):
        timeless.scan()


def test_the_order_of_runs_does_not_show(run, tmp_path):
    other = write_run(tmp_path, imaged("GROWS", "t-75", (1,), {"2026-11-19T09:00:00+00:00": 75.0}, grid(2, 75.0)))
    one, two = (vessel_courses(runs, CATALOGUE)[1] for runs in ((run, other), (other, run)))
    assert one.vessel_id == "GROWS"
    assert one.scans == two.scans
    assert [scan.acquired_at.day for scan in one.scans] == [16, 17, 18, 19]


def test_a_scan_lies_in_the_middle_of_its_pictures(tmp_path):
    fields = [
        placed(1, 50.0, at, name=f"f{i}", vessel="A", kind="t-75", acquired_at=f"2026-11-16T0{8 + i}:00:00+01:00")
        for i, at in enumerate(grid(2, 75.0)[:2])
    ]
    (course,) = vessel_courses([write_run(tmp_path, fields)], CATALOGUE)
    assert course.scans[0].acquired_at == datetime(2026, 11, 16, 7, 30, tzinfo=UTC)


def test_a_vessel_of_two_types_in_two_runs_is_refused(run, tmp_path):
    other = write_run(tmp_path, [placed(1, 50.0, None, name="f", vessel="GROWS", kind="t-25")])
    with pytest.raises(InvalidArgumentError, match=r"Vessel GROWS is said to be both t-(25|75) and t-(25|75)\."):
        vessel_courses([run, other], CATALOGUE)


# --- layer studies ---------------------------------------------------------------------------------------------------


def test_opened_stacks_say_how_their_layers_differ(stacks):
    found = layer_study_of_runs(stacks, CATALOGUE, "three opened stacks")
    assert (found.vessel_type, found.site, found.n_vessels, found.freedom) == ("cellstack-2", "Leiden", 3, 2)
    assert found.offsets[0] == -found.offsets[1] == pytest.approx(0.05, abs=0.01)
    assert found.source == "three opened stacks"  # and HALF, of which one layer was seen, is left out


def test_one_vessel_is_too_few_for_a_study(stacks):
    with pytest.raises(InvalidArgumentError, match=r"needs at least 2 vessels .* got 1 with 2 layers\.$"):
        layer_study_of_runs(stacks[1:], CATALOGUE, "one")


def test_vessels_seen_in_part_teach_nothing_of_layers(run):
    with pytest.raises(InvalidArgumentError, match=r"^No vessel of several layers has all of them measured: nothing"):
        layer_study_of_runs([run], CATALOGUE, "test")


def test_a_study_is_of_one_site_and_counts_each_vessel_once(stacks, tmp_path):
    elsewhere = write_run(tmp_path / "1", opened("D", (60, 50), site="Boston"))
    with pytest.raises(InvalidArgumentError, match=r"not of one type and site: cellstack-2; Boston, Leiden\.$"):
        layer_study_of_runs([*stacks, elsewhere], CATALOGUE, "test")
    with pytest.raises(InvalidArgumentError, match=r"^Vessel [ABC] is in several runs: it would count twice\.$"):
        layer_study_of_runs([stacks[0], shutil.copytree(stacks[0], tmp_path / "again")], CATALOGUE, "test")


# --- what was reached ------------------------------------------------------------------------------------------------


def test_what_a_runs_fields_have_reached_and_what_is_missing(run):
    found = achieved_of_run(run, CATALOGUE, 3.0)
    assert sorted(found) == ["BLIND", "GROWS", "STACK", "TIMELESS"]
    (flask,) = found["GROWS"]
    (scan,) = [one for one in layer_estimates(read_finished(run).fields, CATALOGUE) if one.vessel_id == "GROWS"]
    assert (flask.layer, flask.n_fields) == (1, 4)  # those of the last time point
    assert flask.half_width > 3
    assert flask.n_more == len(flask.places) > 0
    assert scan.n_fields_scored == 4
    assert [one.layer for one in found["STACK"]] == [1, 2]
    (blind,) = found["BLIND"]
    assert (blind.n_fields, blind.half_width, blind.n_more) == (2, None, None)
    assert blind.note == "2 scored fields, and it takes 3"


@pytest.fixture(scope="module")
def added(tmp_path_factory):
    """A flask of four fields, its stage's zero far away, and the places that `achieved_of_run` wants on top."""
    fields = [
        replace(one, row=replace(one.row, y_um=one.row.y_um + 4e5, x_um=one.row.x_um - 2e5))
        for one in imaged("A", "t-75", (1,), {None: 50.0}, grid(3, 75.0), spread=8.0)
    ]
    run = write_run(tmp_path_factory.mktemp("few"), fields)
    ((found,),) = achieved_of_run(run, CATALOGUE, 3.0).values()
    assert found.n_more == len(found.places) > 3
    return fields, found.places


def test_places_to_add_are_in_the_coordinates_of_the_run(added):
    """Within the box that the nine fields stand for: a quarter wider than they lie apart."""
    fields, places = added
    for name in ("y_um", "x_um"):
        taken = [getattr(one.row, name) for one in fields]
        middle, half = (min(taken) + max(taken)) / 2, (max(taken) - min(taken)) / 2 * 10 / 8
        assert all(abs(getattr(place, name) - middle) <= half for place in places)


def test_fields_that_are_added_as_planned_keep_the_interval_of_their_layer(added):
    fields, places = added
    more = [
        placed(1, 50.0, (place.y_um / 1000, place.x_um / 1000), name=place.field, vessel="A", kind="t-75")
        for place in places
    ]
    assert layer_estimates([*fields, *more], CATALOGUE)[0].confluency_interval is not None
