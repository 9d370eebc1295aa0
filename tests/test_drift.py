"""Drift on plain profiles: populations whose truth is known, because they are drawn here."""

import json
import math
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msc_vision.errors import InvalidArgumentError, InvalidDataError, OutputError
from msc_vision.io.sealed import canonical_sha256
from msc_vision.morphology.baseline import (
    Origin,
    ProfiledField,
    Source,
    load_baseline,
    make_baseline,
    save_baseline,
)
from msc_vision.morphology.profile import SEGMENTATION_ERRORS, ProfileTrait, Trait, cell_profile, weighted_quantiles
from msc_vision.morphology.reference import DriftSettings, Grouping, Tolerance, hats, knots_for, shared_variance

QUICK = DriftSettings(n_refits=60, n_resamples=100)
TRAITS = (
    ProfileTrait("cells_area_um2_mean", "ratio", "cells {} times as large on average"),
    ProfileTrait("cells_aspect_ratio_mean", "ratio", "cells {} times as elongated on average"),
    ProfileTrait("cells_solidity_mean", "difference", "outlines fuller by {} (solidity) on average"),
    ProfileTrait("local_order", "difference", "cells aligned more by {}"),
)
CONTEXT = {
    "bank": "MCB-7",
    "medium": "aMEM",
    "surface": None,
    "modality": "phase contrast",
    "objective": "10x",
    "instrument": "scope-1",
    "pipeline_sha256": "f" * 64,
}
ORIGIN = Origin("mcb-7", "2026-11-22T00:00:00+00:00", "msc-vision 0", (Source("run-1", "0" * 64, 90),))


def profiled(rng, n, *, vessel="V1", layers=(1, 2, 3), shift=(0, 0, 0, 0), confluency=(40, 80), vessel_sd=0.0):
    """Fields whose traits change with confluency, with standard deviations of 0.2, 0.1, 0.03 and 0.05 between them."""
    spread = np.array([0.2, 0.1, 0.03, 0.05])
    luck = vessel_sd * rng.standard_normal(4)
    fields = []
    for i in range(n):
        percent = rng.uniform(*confluency)
        expected = np.array([7.5 - 0.004 * percent, 1.2 + 0.003 * percent, 0.8, 0.002 * percent])
        values = expected + spread * (rng.standard_normal(4) + luck + np.array(shift))
        profile = dict(zip([trait.name for trait in TRAITS], values, strict=True))
        path = f"{vessel}_{i:02d}.tif"
        fields.append(ProfiledField(path, vessel, layers[i % len(layers)], percent, 1.3, CONTEXT, profile))
    return fields


def reference_fields(rng, n_vessels=6, n=15, vessel_sd=0.0):
    return [
        one
        for v in range(n_vessels)
        for one in profiled(rng, n, vessel=f"B{v}", confluency=(30, 90), vessel_sd=vessel_sd)
    ]


@pytest.fixture(scope="module")
def baseline():
    return make_baseline(ORIGIN, reference_fields(np.random.default_rng(1)), TRAITS, QUICK)


# --- what a biologist expects ----------------------------------------------------------------------------------------


def test_a_vessel_like_the_baseline_has_no_drift(baseline):
    found = baseline.drift(profiled(np.random.default_rng(2), 25))
    assert found.state == "compared"
    assert found.probability > 0.05
    assert not found.is_alarm
    assert found.score < 0.5


def test_cells_half_as_large_again_are_an_alarm_and_named(baseline):
    found = baseline.drift(profiled(np.random.default_rng(3), 25, shift=(2.0, 0, 0, 0)))
    assert found.is_alarm
    assert found.probability < 1e-4
    assert found.drivers[0].trait == "cells_area_um2_mean"
    assert found.drivers[0].words in {f"cells 1.{n} times as large on average" for n in (4, 5, 6)}
    low, high = found.interval
    assert low < found.score < high
    assert found.score == pytest.approx(2.0, abs=0.6)


def test_the_limit_of_the_score_is_what_chance_seldom_exceeds(baseline):
    """Simulated vessels without drift exceed it about as often as the alarm may be false."""
    fields = profiled(np.random.default_rng(3), 25)
    found = baseline.drift(fields)
    confluency = np.array([one.confluency_percent for one in fields])
    null, _ = baseline.judge.without_drift(confluency, np.array([one.layer for one in fields]))
    scores = np.sqrt(np.maximum(null - null.mean(), 0))
    assert 0.01 < (scores > found.limit).mean() < 0.12  # 0.05, of 200
    assert found.score < found.limit
    assert baseline.drift(profiled(np.random.default_rng(3), 25, shift=(2.0, 0, 0, 0))).score > found.limit


def test_the_score_grows_with_the_shift(baseline):
    scores = [
        baseline.drift(profiled(np.random.default_rng(4), 25, shift=(shift, 0, -shift, 0))).score
        for shift in (0.0, 1.0, 2.0, 3.0)
    ]
    assert scores == sorted(scores)
    assert scores[-1] > scores[1] > 0


def test_fuller_dishes_are_compared_with_fuller_dishes(baseline):
    """Traits change with confluency; without matching, 40 % against 85 % would be an alarm."""
    for confluency in ((35, 45), (80, 88)):
        assert not baseline.drift(profiled(np.random.default_rng(5), 25, confluency=confluency)).is_alarm


def test_few_fields_say_less_than_many(baseline):
    rng = np.random.default_rng(6)
    fields = profiled(rng, 25, shift=(1.2, 0, 0, 0), layers=(1,))
    assert baseline.drift(fields[:2]).probability > baseline.drift(fields).probability
    assert baseline.drift(fields[:2]).interval is None


def test_chance_alone_is_no_score(baseline):
    """One field lies about two spreads off in four traits, by chance alone; that is not to be read as drift."""
    rng = np.random.default_rng(14)
    scores = [baseline.drift(profiled(rng, 1)).score for _ in range(30)]
    assert np.mean(scores) < 1.0
    assert np.mean([score == 0 for score in scores]) > 0.3


def test_a_shift_that_is_tolerated_makes_no_alarm():
    fields = reference_fields(np.random.default_rng(1), 12, 15)
    moved = profiled(np.random.default_rng(15), 40, shift=(0.7, 0.0, 0.0, 0.0), layers=tuple(range(1, 9)))
    strict, lenient = (
        make_baseline(ORIGIN, fields, TRAITS, QUICK.model_copy(update={"tolerated_shift": shift})).drift(moved)
        for shift in (0.0, 0.6)
    )
    assert strict.probability < 0.02
    assert lenient.probability > 0.2


def test_false_alarms_are_as_rare_as_stated_though_vessels_differ():
    rng = np.random.default_rng(7)
    quick = QUICK.model_copy(update={"tolerated_shift": 0.0})
    alarms = [
        base.drift(profiled(rng, 12, vessel=f"T{i}", vessel_sd=0.4)).is_alarm
        for base in (make_baseline(ORIGIN, reference_fields(rng, 8, 12, 0.4), TRAITS, quick) for _ in range(12))
        for i in range(15)
    ]
    assert np.mean(alarms) <= 0.1  # 180 vessels: 5 % lies below this with 99.7 % probability


# --- errors of the segmentation --------------------------------------------------------------------------------------


def by_error(name, times, sd):
    """What an error of the segmentation does, in the spreads that `profiled` draws with."""
    change = next(one.change for one in SEGMENTATION_ERRORS if name in one.name)
    return tuple(times * change.get(trait.name, 0.0) / one for trait, one in zip(TRAITS, sd, strict=True))


@pytest.mark.parametrize("error", ["split", "merged"])
def test_cells_that_are_only_outlined_otherwise_move_the_score_little(error):
    fields = reference_fields(np.random.default_rng(1), 8, 20)
    sd = (0.2, 0.1, 0.03, 0.05)
    strict, lenient = (
        make_baseline(ORIGIN, fields, TRAITS, QUICK.model_copy(update={"tolerated_errors": times}))
        for times in (0.0, 1.0)
    )
    moved = profiled(np.random.default_rng(21), 60, shift=by_error(error, 1.5, sd), layers=tuple(range(1, 9)))
    assert strict.drift(moved).is_alarm
    assert not lenient.drift(moved).is_alarm
    assert lenient.drift(moved).score < 0.5 * strict.drift(moved).score


def test_what_errors_cannot_do_is_an_alarm_all_the_same(baseline):
    """Larger cells with fuller outlines: merged cells are larger, but less full."""
    found = baseline.drift(profiled(np.random.default_rng(22), 25, shift=(0.8, 0.0, 1.2, 0.0)))
    assert found.is_alarm


def test_a_tolerance_is_the_covariance_of_what_is_drawn_from_it():
    tolerance = Tolerance(np.array([[1.0, -0.5, 0.0], [0.2, 0.0, 0.4]]), 0.3)
    rng = np.random.default_rng(23)
    drawn = np.stack([tolerance.drawn(rng) for _ in range(20_000)])
    assert np.cov(drawn.T) == pytest.approx(tolerance.covariance, abs=0.04)


# --- what must not be compared ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bank": "MCB-8"}, "bank is 'MCB-8', the baseline is of 'MCB-7'"),
        ({"medium": None}, "medium is not stated, the baseline is of 'aMEM'"),
        ({"objective": "4x"}, "objective is '4x', the baseline is of '10x'"),
        ({"pipeline_sha256": "e" * 64}, "measured with another recipe or network than the baseline"),
    ],
)
def test_another_population_is_refused_with_the_reason(baseline, change, words):
    fields = [replace(one, context=CONTEXT | change) for one in profiled(np.random.default_rng(8), 9)]
    found = baseline.drift(fields)
    assert (found.state, found.score, found.probability, found.is_alarm) == ("not comparable", None, None, None)
    assert words in found.reason


def test_another_magnification_is_refused(baseline):
    fields = [replace(one, working_pixel_size_um=0.9) for one in profiled(np.random.default_rng(8), 9)]
    assert "at 0.9 µm a pixel, the baseline at 1.3 µm" in baseline.drift(fields).reason


def test_a_density_that_the_baseline_has_not_seen_is_refused(baseline):
    found = baseline.drift(profiled(np.random.default_rng(9), 9, confluency=(95, 99)))
    assert found.state == "not comparable"
    assert "9 of 9 fields lie outside the baseline's 30 to 90 % confluency" in found.reason


def test_a_few_fields_out_of_range_are_left_out_but_not_most_of_them(baseline):
    rng = np.random.default_rng(16)
    inside, outside = profiled(rng, 5), profiled(rng, 6, confluency=(95, 99))
    assert baseline.drift(inside + outside[:4]).n_fields == 5
    assert baseline.drift(inside + outside).state == "not comparable"


def test_no_fields_is_a_state_not_a_zero(baseline):
    assert baseline.drift([]).state == "not measured"
    assert baseline.drift([]).score is None


def test_fields_without_enough_cells_are_not_measured(baseline):
    empty = {trait.name: math.nan for trait in TRAITS}
    fields = [replace(one, profile=empty) for one in profiled(np.random.default_rng(8), 9)]
    assert "too few cells" in baseline.drift(fields).reason


# --- making and keeping ----------------------------------------------------------------------------------------------


def test_a_baseline_reads_back_as_it_was_written(baseline, tmp_path):
    save_baseline(baseline, tmp_path / "b")
    again = load_baseline(tmp_path / "b")
    assert again.head == baseline.head
    assert again.sha256 == baseline.sha256
    fields = profiled(np.random.default_rng(10), 12)
    assert again.drift(fields) == baseline.drift(fields)
    card = (tmp_path / "b" / "card.md").read_text(encoding="utf-8")
    assert "90 fields on 18 layers of 6 vessels" in card
    assert "| bank | MCB-7 |" in card


def test_an_existing_folder_is_not_overwritten(baseline, tmp_path):
    save_baseline(baseline, tmp_path / "b")
    with pytest.raises(OutputError, match="exists already; choose another --out"):
        save_baseline(baseline, tmp_path / "b")


def test_an_altered_baseline_is_refused(baseline, tmp_path):
    save_baseline(baseline, tmp_path / "b")
    path = tmp_path / "b" / "baseline.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["applies_to"]["bank"] = "MCB-8"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InvalidDataError, match=r"baseline\.json was altered since it was made"):
        load_baseline(tmp_path / "b")


def test_a_baseline_from_before_a_setting_existed_is_still_read(baseline, tmp_path):
    save_baseline(baseline, tmp_path / "b")
    path = tmp_path / "b" / "baseline.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["settings"]["tolerated_errors"], content["sha256"]
    content["sha256"] = canonical_sha256(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    assert load_baseline(tmp_path / "b").head == baseline.head


def test_an_altered_profile_is_refused(baseline, tmp_path):
    save_baseline(baseline, tmp_path / "b")
    path = tmp_path / "b" / "fields.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    with pytest.raises(InvalidDataError, match=r"fields\.parquet was altered since it was made"):
        load_baseline(tmp_path / "b")


def test_a_folder_without_a_baseline_is_named(tmp_path):
    with pytest.raises(InvalidArgumentError, match="holds no baseline"):
        load_baseline(tmp_path)


def test_a_baseline_of_two_banks_is_refused():
    fields = reference_fields(np.random.default_rng(1))
    fields[0] = replace(fields[0], context=CONTEXT | {"bank": "MCB-8"})
    with pytest.raises(InvalidArgumentError, match="need one bank; these have MCB-7, MCB-8"):
        make_baseline(ORIGIN, fields, TRAITS, QUICK)


def test_a_baseline_has_to_say_its_bank():
    fields = [replace(one, context=CONTEXT | {"bank": None}) for one in reference_fields(np.random.default_rng(1))]
    with pytest.raises(InvalidArgumentError, match="has to state its bank"):
        make_baseline(ORIGIN, fields, TRAITS, QUICK)


def test_two_vessels_are_too_few_for_a_baseline():
    with pytest.raises(InvalidArgumentError, match="from 3 vessels; these runs have 60 from 2"):
        make_baseline(ORIGIN, reference_fields(np.random.default_rng(1), 2, 30), TRAITS, QUICK)


# --- properties and oracles ------------------------------------------------------------------------------------------


@settings(max_examples=8, deadline=None)
@given(order=st.permutations(range(12)))
def test_the_order_of_the_fields_does_not_matter(baseline, order):
    fields = profiled(np.random.default_rng(11), 12, shift=(1, 0, 0, 0))
    plain, shuffled = baseline.drift(fields), baseline.drift([fields[i] for i in order])
    assert shuffled.score == pytest.approx(plain.score, rel=1e-9)
    assert shuffled.probability == pytest.approx(plain.probability, rel=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(-5, 5), st.integers(1, 6)), min_size=1, max_size=12))
def test_weights_count_as_repetitions(pairs):
    pairs = sorted(pairs)
    values, weights = np.array([v for v, _ in pairs]), np.array([float(w) for _, w in pairs])
    reached = 100 * (np.cumsum(weights) - weights / 2) / weights.sum()
    for percent in (10, 50, 90):
        below = values[reached <= percent].max(initial=values[0])
        above = values[reached >= percent].min(initial=values[-1])
        assert below - 1e-12 <= weighted_quantiles(values, weights, (percent,))[0] <= above + 1e-12


def test_equal_weights_give_the_plain_quantile():
    values = np.sort(np.random.default_rng(0).standard_normal(101))
    found = weighted_quantiles(values, np.ones(101), (10, 50, 90))
    assert found == pytest.approx(np.percentile(values, (10, 50, 90), method="hazen"))


def test_hats_are_straight_lines_between_knots():
    knots = np.array([30.0, 50.0, 90.0])
    at = np.array([30.0, 40.0, 50.0, 80.0, 95.0])
    assert hats(at, knots) @ np.array([1.0, 3.0, -1.0]) == pytest.approx(np.interp(at, knots, [1.0, 3.0, -1.0]))


def test_knots_span_the_range():
    knots = knots_for(np.array([22.0, 61.0, 47.0]), 20.0)
    assert knots.tolist() == [22.0, 41.5, 61.0]


@pytest.mark.parametrize(("vessel", "layer"), [(0.0, 0.0), (0.3, 0.0), (0.0, 0.3), (0.2, 0.2)])
def test_shared_variance_is_found_again(vessel, layer):
    rng = np.random.default_rng(12)
    parts = []
    for _ in range(30):
        vessels = np.repeat(np.arange(10), 12)
        layers = np.repeat(np.arange(30), 4)
        drawn = (
            math.sqrt(vessel) * rng.standard_normal((10, 8))[vessels]
            + math.sqrt(layer) * rng.standard_normal((30, 8))[layers]
            + math.sqrt(1 - vessel - layer) * rng.standard_normal((120, 8))
        )
        parts.append(shared_variance(drawn - drawn.mean(axis=0), Grouping(vessels, layers)))
    assert np.mean(parts, axis=(0, 2)) == pytest.approx((vessel, layer), abs=0.04)


def test_layer_1_of_two_vessels_is_two_layers():
    groups = Grouping.of(["A", "A", "B"], [1, 2, 1])
    assert groups.vessel.tolist() == [0, 0, 1]
    assert len(set(groups.layer.tolist())) == 3


def test_a_change_is_told_as_a_factor_or_a_difference():
    assert Trait("a", "ratio", "cells {} times as wide").told(math.log(1.8)) == "cells 1.8 times as wide"
    assert Trait("s", "difference", "fuller by {}").told(-0.25) == "fuller by -0.25"  # as older baselines word it


def test_cut_off_large_cells_count_for_those_that_are_missing():
    """Large cells are cut by the border more often; each that is whole stands for several."""
    columns = [("is_measured", "?"), ("border_weight", "f8"), ("area_um2", "f8"), ("length_um", "f8")]
    columns += [("width_um", "f8"), ("medial_aspect_ratio", "f8"), ("circularity", "f8"), ("solidity", "f8")]
    cells = np.ones(40, columns)
    cells["area_um2"] = np.repeat([1000.0, 4000.0], [30, 10])
    cells["border_weight"] = np.repeat([1.0, 3.0], [30, 10])
    found = cell_profile(cells)
    assert found["cells_area_um2_mean"] == pytest.approx((math.log(1000) + math.log(4000)) / 2)
    cells["is_measured"][:26] = False
    assert math.isnan(cell_profile(cells)["cells_area_um2_mean"])
