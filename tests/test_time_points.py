"""Time points: a vessel imaged on several days is estimated from the last of them, and says what it left out."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_cases import plain_score, plan_of, write_images
from msc_vision.batch.run import run_folder
from msc_vision.batch.verify import verify_run
from msc_vision.records import FieldScore, ManifestRow
from msc_vision.report.load import load_run
from msc_vision.report.words import vessel_sentence
from msc_vision.statistics.rollup import ScoredField, layer_estimates
from msc_vision.statistics.time_points import GAP_H, earlier_keys, latest_keys, time_points
from msc_vision.statistics.vessel_rollup import vessel_estimates
from msc_vision.vessels import load_catalogue

CATALOGUE = load_catalogue()
MONDAY, TUESDAY = "2026-11-16T09:00:00+00:00", "2026-11-17T09:00:00+00:00"


def picture(layer, field, at, confluency, *, vessel="HS-A", status="scored", y_um=None, x_um=None):
    """One picture of a place of a HYPERStack 12; ``at`` is when it was taken."""
    key = f"{vessel}-{layer}-{field}-{at}"
    row = ManifestRow(f"{key}.tif", vessel, "hyperstack-12", layer, field=field, acquired_at=at, y_um=y_um, x_um=x_um)
    if status != "scored":
        return ScoredField(row, FieldScore(key, row.path, status, reason="blurred"))
    score = FieldScore(
        key, row.path, "scored", confluency_percent=confluency, judgeable_percent=100.0, height_px=100, width_px=100
    )
    return ScoredField(row, score)


def estimate(*fields):
    layers = layer_estimates(fields, CATALOGUE)
    return layers, vessel_estimates(layers, CATALOGUE)[0]


def test_a_layer_imaged_on_two_days_is_as_confluent_as_on_the_second():
    layers, vessel = estimate(
        picture(1, "1", MONDAY, 30.0),
        picture(1, "2", MONDAY, 34.0),
        picture(1, "1", TUESDAY, 60.0),
        picture(1, "2", TUESDAY, 64.0),
    )
    assert layers[0].confluency_percent == vessel.measured_confluency_percent == 62.0
    assert (layers[0].n_fields_scored, layers[0].n_fields_earlier, vessel.n_fields_earlier) == (2, 2, 2)
    assert layers[0].state == "measured"
    assert layers[0].how.endswith("2 fields of earlier time points are left out.")
    assert vessel.how.endswith("2 fields of earlier time points are left out.")
    assert (vessel.acquired_from, vessel.acquired_to) == (TUESDAY, TUESDAY)


def test_a_layer_imaged_only_on_the_first_day_is_missing_on_the_second():
    layers, vessel = estimate(
        picture(1, "1", MONDAY, 30.0), picture(9, "1", MONDAY, 30.0), picture(1, "1", TUESDAY, 60.0)
    )
    assert (layers[8].state, layers[8].confluency_percent) == ("missing", None)
    assert layers[8].how == (
        "No field at the latest time point of the vessel. 1 field of earlier time points is left out."
    )
    assert vessel.measured_confluency_percent == 60.0
    assert 9 in vessel.missing_layers


def test_an_older_picture_never_stands_in_for_a_newer_one_that_was_rejected():
    layers, _ = estimate(picture(1, "1", MONDAY, 30.0), picture(1, "1", TUESDAY, None, status="rejected"))
    assert (layers[0].state, layers[0].confluency_percent) == ("missing", None)
    assert (layers[0].n_fields_rejected, layers[0].n_fields_earlier) == (1, 1)


def test_a_scan_of_two_hours_is_one_time_point():
    times = [f"2026-11-16T{9 + minute // 60:02d}:{minute % 60:02d}:00+00:00" for minute in range(0, 120, 10)]
    layers, _ = estimate(*(picture(1, str(i), at, 50.0) for i, at in enumerate(times)))
    assert (layers[0].n_fields_scored, layers[0].n_fields_earlier) == (12, 0)
    assert (layers[0].acquired_from, layers[0].acquired_to) == (times[0], times[-1])


def test_of_a_time_lapse_each_place_counts_once_with_its_last_picture():
    times = [f"2026-11-16T{hour:02d}:00:00+00:00" for hour in range(9, 15)]
    fields = [picture(1, place, at, 10.0 * i) for i, at in enumerate(times) for place in "AB"]
    layers, _ = estimate(*fields)
    assert (layers[0].confluency_percent, layers[0].n_fields_scored, layers[0].n_fields_earlier) == (50.0, 2, 10)


def test_places_are_told_apart_by_position_where_fields_have_no_name():
    layers, _ = estimate(
        picture(1, None, MONDAY, 30.0, y_um=0.2, x_um=0.0),
        picture(1, None, "2026-11-16T10:00:00+00:00", 40.0, y_um=0.0, x_um=0.0),
        picture(1, None, "2026-11-16T10:01:00+00:00", 50.0, y_um=900.0, x_um=0.0),
    )
    assert (layers[0].confluency_percent, layers[0].n_fields_earlier) == (45.0, 1)


def test_zones_are_reckoned_with():
    """Nine in the morning in Tokyo is before nine in the morning in Boston."""
    layers, _ = estimate(
        picture(1, "1", "2026-11-16T09:00:00-05:00", 70.0), picture(1, "1", "2026-11-16T09:00:00+09:00", 20.0)
    )
    assert layers[0].confluency_percent == 70.0


def test_pictures_without_a_time_are_never_left_out():
    layers, _ = estimate(picture(1, "1", None, 20.0), picture(1, "2", MONDAY, 40.0), picture(1, "2", TUESDAY, 60.0))
    assert (layers[0].confluency_percent, layers[0].n_fields_earlier) == (40.0, 1)
    layers, _ = estimate(picture(1, "1", None, 20.0), picture(1, "2", None, 40.0))
    assert (layers[0].n_fields_scored, layers[0].acquired_from) == (2, None)


def test_each_vessel_has_its_own_latest_time_point():
    layers = layer_estimates(
        [picture(1, "1", MONDAY, 30.0, vessel="A"), picture(1, "1", TUESDAY, 60.0, vessel="B")], CATALOGUE
    )
    assert {one.vessel_id: one.confluency_percent for one in layers if one.layer == 1} == {"A": 30.0, "B": 60.0}


@given(st.lists(st.tuples(st.integers(1, 2), st.sampled_from("AB"), st.none() | st.integers(0, 3000)), max_size=25))
def test_against_a_slow_obvious_rule(drawn):
    """Dated pictures are kept if no pause leads from them to the newest and no later one shows their place."""
    start = datetime(2026, 11, 16, tzinfo=UTC)
    rows = {
        f"{i:02d}": ManifestRow(
            f"{i}.tif", "V", "hyperstack-12", layer, field=place,
            acquired_at=None if minute is None else (start + timedelta(minutes=minute)).isoformat(),
        )
        for i, (layer, place, minute) in enumerate(drawn)
    }  # fmt: skip
    minutes = sorted({minute for *_, minute in drawn if minute is not None})
    expected = set()
    for i, (layer, place, minute) in enumerate(drawn):
        later = [m for m in minutes if minute is not None and m >= minute]
        has_pause = any(b - a > 60 * GAP_H for a, b in pairwise(later))
        mine = [(m, j) for j, (la, pl, m) in enumerate(drawn) if (la, pl) == (layer, place) and m is not None]
        if minute is None or (not has_pause and (minute, i) == max(mine)):
            expected.add(f"{i:02d}")
    assert latest_keys(rows) == expected
    assert latest_keys(dict(reversed(rows.items()))) == expected


def dated(*pictures):
    """Manifest rows of places at minutes since some Monday morning, by key 0, 1, …; None is no time."""
    start = datetime(2026, 11, 16, 9, tzinfo=UTC)
    return {
        str(i): ManifestRow(
            f"{i}.tif", "V", "t-75", 1, field=place,
            acquired_at=None if minute is None else (start + timedelta(minutes=minute)).isoformat(),
        )
        for i, (place, minute) in enumerate(pictures)
    }  # fmt: skip


def test_three_scans_are_three_time_points_the_earliest_first():
    day = 24 * 60
    rows = dated(("B", day + 5), ("A", 0), ("A", day), ("B", 3), ("A", 2 * day), ("C", None))
    assert time_points(rows) == ({"1", "3"}, {"0", "2"}, {"4"})  # who has no time has no place in time


def test_a_pause_of_four_hours_is_none_and_a_longer_one_parts():
    assert len(time_points(dated(("A", 0), ("A", 240)))) == 1
    assert len(time_points(dated(("A", 0), ("A", 241)))) == 2
    assert len(time_points(dated(("A", 0), ("A", 200), ("A", 400), ("A", 600)))) == 1


def test_without_any_time_all_fields_are_of_one_time_point():
    assert time_points(dated(("A", None), ("B", None))) == ({"0", "1"},)
    assert time_points({}) == ()


@given(st.lists(st.tuples(st.sampled_from("AB"), st.none() | st.integers(0, 3000)), max_size=20))
def test_time_points_part_all_dated_fields_by_pauses(drawn):
    rows = dated(*drawn)
    points = time_points(rows)
    minutes = {str(i): minute for i, (_, minute) in enumerate(drawn)}
    timed = {key for key, minute in minutes.items() if minute is not None}
    assert sorted(key for point in points for key in point) == sorted(timed or rows)
    if timed:
        assert latest_keys(rows) - (rows.keys() - timed) <= points[-1]
        spans = [sorted(minutes[key] for key in point) for point in points]
        assert all(b[0] - a[-1] > 60 * GAP_H for a, b in pairwise(spans))
        assert all(later - earlier <= 60 * GAP_H for span in spans for earlier, later in pairwise(span))


def test_the_earlier_picture_of_a_place_is_the_last_one_before():
    rows = dated(("A", 0), ("A", 1440), ("B", 5), ("A", 2880), ("B", None))
    assert earlier_keys(rows) == {"1": "0", "3": "1"}


@pytest.fixture(scope="module")
def twice(tmp_path_factory):
    """A run over a vessel of two layers with three fields each; one field of layer 1 is of the day before."""
    folder = tmp_path_factory.mktemp("twice")
    write_images(folder / "images", n=6)
    plan = plan_of(folder / "images", folder / "run")
    first = plan.tasks[0].key
    rows = {t.key: replace(t.row, acquired_at=MONDAY if t.key == first else TUESDAY) for t in plan.tasks}
    tasks = tuple(replace(task, row=rows[task.key]) for task in plan.tasks)
    manifest = replace(plan.manifest, rows=tuple(rows[task.key] for task in plan.tasks))
    run_folder(replace(plan, tasks=tasks, manifest=manifest), scorer=plain_score)
    return folder / "run", first


def test_a_run_folder_says_which_fields_count(twice):
    run, first = twice
    table = pq.read_table(run / "fields.parquet").to_pylist()
    assert [row["key"] for row in table if not row["is_latest"]] == [first]
    (vessel,) = json.loads((run / "vessels.json").read_text())["vessels"]
    assert (vessel["n_fields_earlier"], vessel["layers"][0]["n_fields_earlier"]) == (1, 1)
    assert pq.read_table(run / "layers.parquet").to_pylist()[0]["acquired_from"] == TUESDAY
    assert verify_run(run) == ()


def test_the_report_counts_only_the_latest_fields_and_names_the_others(twice):
    content = load_run(twice[0])
    layer = content.vessels[0].layers[0]
    assert (len(layer.fields), len(layer.earlier), len(content.fields)) == (2, 1, 6)
    assert "earlier time points" in layer.reason
    assert vessel_sentence(content.vessels[0]).endswith("1 field of earlier time points is left out.")
