"""Cells per covered area against a baseline, on plain figures whose truth is drawn here."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msc_vision.io.sealed import canonical_sha256
from msc_vision.morphology.baseline import (
    Origin,
    ProfiledField,
    card_text,
    load_baseline,
    make_baseline,
    save_baseline,
)
from msc_vision.morphology.profile import ProfileTrait, Trait, factor_told
from msc_vision.morphology.reference import DriftSettings
from msc_vision.morphology.spread import SPREAD_KEY

QUICK = DriftSettings(n_refits=60, n_resamples=100)
TRAITS = (ProfileTrait("cells_area_um2_mean", "ratio", "cells {} times as large on average"),)
CONTEXT = {"bank": "MCB-7", "medium": "aMEM", "objective": "10x", "pipeline_sha256": "f" * 64}
ORIGIN = Origin("mcb-7", "2026-11-22T00:00:00+00:00", "msc-vision 0", ())
COUNTED_UP_TO = 60.0


def fields_of(rng, n, *, vessel="V1", larger=1.0, confluency=(25, 58), vessel_sd=0.0, field_sd=0.08):
    """Fields of cells of 2,900 µm², a little less where it is full; above 60 % nobody counts them."""
    luck = vessel_sd * rng.standard_normal()
    found = []
    for i in range(n):
        percent = rng.uniform(*confluency)
        per_covered = math.exp(math.log(35_000 / larger) + 0.003 * percent + luck + field_sd * rng.standard_normal())
        profile = {"cells_area_um2_mean": 7.9 + math.log(larger) + 0.2 * rng.standard_normal()}
        if percent <= COUNTED_UP_TO:
            profile[SPREAD_KEY] = per_covered
        found.append(ProfiledField(f"{vessel}_{i}.tif", vessel, 1 + i % 3, percent, 1.3, CONTEXT, profile))
    return found


def reference_fields(rng, n_vessels=8, n=10, confluency=(20, 75), vessel_sd=0.0):
    return [
        one
        for v in range(n_vessels)
        for one in fields_of(rng, n, vessel=f"B{v}", confluency=confluency, vessel_sd=vessel_sd)
    ]


@pytest.fixture(scope="module")
def baseline():
    return make_baseline(ORIGIN, reference_fields(np.random.default_rng(1)), TRAITS, QUICK)


# --- what a biologist expects ----------------------------------------------------------------------------------------


def test_cells_half_as_large_again_are_an_alarm_and_said(baseline):
    found = baseline.spread(fields_of(np.random.default_rng(2), 12, larger=1.5))
    assert found.is_alarm
    assert found.probability < 1e-3
    assert found.ratio == pytest.approx(1 / 1.5, rel=0.08)
    low, high = found.interval
    assert low < found.ratio < high < 1
    assert found.words.startswith(f"{found.ratio:.2g} times as many cells per covered cm² as in the baseline (")
    assert found.sentence.endswith("): ALARM.")


def test_as_many_cells_as_in_the_baseline_are_no_alarm(baseline):
    found = baseline.spread(fields_of(np.random.default_rng(3), 12))
    assert not found.is_alarm
    assert found.interval[0] < 1 < found.interval[1]
    assert "ALARM" not in found.sentence


def test_more_cells_to_an_area_are_no_sign_of_age(baseline):
    found = baseline.spread(fields_of(np.random.default_rng(4), 12, larger=1 / 1.5))
    assert not found.is_alarm
    assert found.probability > 0.99
    assert found.interval[0] > 1


def test_false_alarms_are_as_rare_as_stated_though_vessels_differ():
    rng = np.random.default_rng(5)
    quick = QUICK.model_copy(update={"tolerated_shift": 0.0, "tolerated_errors": 0.0})
    alarms = [
        base.spread(fields_of(rng, 8, vessel=f"T{i}", vessel_sd=0.04)).is_alarm
        for base in (
            make_baseline(ORIGIN, reference_fields(rng, 8, 9, (20, 59), 0.04), TRAITS, quick) for _ in range(12)
        )
        for i in range(15)
    ]
    assert np.mean(alarms) <= 0.1  # 180 vessels: 5 % lies below this with 99.7 % probability


def test_a_fuller_dish_is_compared_with_a_fuller_one():
    """Where the figure falls with confluency, 25 % against 55 % must be no alarm."""
    fields = []
    for one in reference_fields(np.random.default_rng(6), confluency=(20, 59)):
        profile = dict(one.profile)
        profile[SPREAD_KEY] *= math.exp(-0.02 * one.confluency_percent)
        fields.append(ProfiledField(one.path, one.vessel_id, one.layer, one.confluency_percent, 1.3, CONTEXT, profile))
    base = make_baseline(ORIGIN, fields, TRAITS, QUICK)
    full = [one for one in fields if one.confluency_percent > 50]
    assert base.spread(full).ratio == pytest.approx(1, abs=0.05)


def test_a_few_merged_cells_are_tolerated(baseline):
    """Merging takes a cell away and covers as much."""
    fields = fields_of(np.random.default_rng(7), 40, larger=1 / 0.88)
    strict = make_baseline(
        ORIGIN, reference_fields(np.random.default_rng(1)), TRAITS, QUICK.model_copy(update={"tolerated_errors": 0.0})
    )
    assert strict.spread(fields).is_alarm
    assert not baseline.spread(fields).is_alarm


# --- what must not be compared ---------------------------------------------------------------------------------------


def test_dense_fields_are_a_state_with_a_reason(baseline):
    found = baseline.spread(fields_of(np.random.default_rng(8), 9, confluency=(70, 75)))
    assert (found.state, found.ratio, found.is_alarm, found.words) == ("not measured", None, None, None)
    assert "cells are not counted at the confluency of these fields (7" in found.sentence


def test_of_mixed_fields_only_the_counted_ones_count(baseline):
    rng = np.random.default_rng(9)
    found = baseline.spread(fields_of(rng, 5) + fields_of(rng, 7, confluency=(65, 75)))
    assert (found.state, found.n_fields) == ("compared", 5)


def test_another_bank_is_refused_with_the_reason(baseline):
    fields = [
        ProfiledField(one.path, "V1", 1, one.confluency_percent, 1.3, CONTEXT | {"bank": "MCB-8"}, one.profile)
        for one in fields_of(np.random.default_rng(10), 6)
    ]
    found = baseline.spread(fields)
    assert found.state == "not comparable"
    assert "bank is 'MCB-8', the baseline is of 'MCB-7'" in found.reason


def test_a_density_at_which_the_baseline_counted_nothing_is_refused(baseline):
    found = baseline.spread(fields_of(np.random.default_rng(11), 6, confluency=(2, 8)))
    assert found.state == "not comparable"
    assert "6 of 6 fields with counted cells lie outside the 2" in found.reason


def test_no_fields_is_a_state_not_a_zero(baseline):
    assert baseline.spread([]).reason == "no field has been scored"


def test_a_baseline_of_dense_cultures_says_that_it_has_too_few_counts():
    base = make_baseline(ORIGIN, reference_fields(np.random.default_rng(12), confluency=(57, 90)), TRAITS, QUICK)
    found = base.spread(fields_of(np.random.default_rng(13), 6))
    assert found.state == "not comparable"
    assert "fields with counted cells from" in found.reason
    assert "30 from 3 are needed" in found.reason
    assert "Cells per covered cm² are not compared: the baseline has" in card_text(base)


def test_an_older_baseline_says_so_in_one_sentence(baseline, tmp_path):
    """A folder as older versions wrote it: without the column, without the words for a fall."""
    import json

    import pyarrow.parquet as pq

    save_baseline(baseline, tmp_path / "b")
    path = tmp_path / "b" / "fields.parquet"
    table = pq.read_table(path).drop_columns([SPREAD_KEY])
    traits = [{"name": one.name, "scale": one.scale, "words": one.words} for one in TRAITS]
    pq.write_table(table.replace_schema_metadata({"traits": json.dumps(traits)}), path)
    head = json.loads((tmp_path / "b" / "baseline.json").read_text(encoding="utf-8"))
    rows = {name: table[name].to_pylist() for name in table.column_names}
    head["profiles_sha256"] = canonical_sha256(rows | {"traits": traits})
    del head["sha256"], head["settings"]["tolerated_errors"]
    head["sha256"] = canonical_sha256(head)
    (tmp_path / "b" / "baseline.json").write_text(json.dumps(head), encoding="utf-8")
    old = load_baseline(tmp_path / "b")
    assert old.drift(fields_of(np.random.default_rng(14), 6)).state == "compared"
    assert old.spread(fields_of(np.random.default_rng(14), 6)).sentence == (
        "Cells per covered cm²: not comparable: the baseline is of an older version that kept no cells per covered cm²;"
        " make it again from its runs."
    )


# --- keeping and telling ---------------------------------------------------------------------------------------------


def test_what_was_counted_is_kept_with_the_baseline(baseline, tmp_path):
    save_baseline(baseline, tmp_path / "b")
    again = load_baseline(tmp_path / "b")
    assert again.table.schema.field(SPREAD_KEY).type == pa.float64()
    fields = fields_of(np.random.default_rng(15), 6)
    assert again.spread(fields) == baseline.spread(fields)
    assert "Cells per covered cm² are compared at 2" in (tmp_path / "b" / "card.md").read_text(encoding="utf-8")


@settings(max_examples=10, deadline=None)
@given(larger=st.floats(0.4, 2.5))
def test_the_ratio_is_one_over_how_much_larger_cells_are(baseline, larger):
    plain = baseline.spread(fields_of(np.random.default_rng(16), 6))
    moved = baseline.spread(fields_of(np.random.default_rng(16), 6, larger=larger))
    assert moved.ratio * larger == pytest.approx(plain.ratio, rel=1e-9)
    assert moved.interval[0] < moved.ratio < moved.interval[1]


@pytest.mark.parametrize(
    ("factor", "told"),
    [(1.8, "1.8"), (1.04, "1.04"), (0.97, "0.97"), (1.0, "1.00"), (0.994, "0.99"), (0.65, "0.65"), (12.3, "12")],
)
def test_a_factor_near_1_is_told_from_1(factor, told):
    assert factor_told(factor) == told


def test_a_fall_is_told_as_a_fall():
    trait = Trait("c", "difference", "edges run more one way, by {}", "edges run less one way, by {}")
    assert trait.told(-0.022) == "edges run less one way, by 0.022"
    assert trait.told(0.022) == "edges run more one way, by 0.022"
