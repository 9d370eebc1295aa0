"""Vessels and batches: what was seen, what is inferred from it, what nobody can know, and how sure each of it is."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from msc_vision.decision.belief import Belief
from msc_vision.records import ManifestRow
from msc_vision.statistics.components import variance_components
from msc_vision.statistics.intervals import QUANTILE_LEVELS
from msc_vision.statistics.rollup import layer_estimates
from msc_vision.statistics.settings import SamplingSettings
from msc_vision.statistics.vessel_rollup import batch_estimates, batches_of, run_components, vessel_estimates
from sampling_cases import CATALOGUE, SAMPLING, around, grid, placed, spread_layer, study

NO_METHOD_ERROR = SamplingSettings(method_error_points=0.0, flagged_error_points=0.0)
EXACT = 0.001
"""Intervals are quantiles of draws, rounded."""


def estimate(fields, *, settings=SAMPLING, known=None, profile="standard"):
    layers = layer_estimates(fields, CATALOGUE, optics_profile=profile, settings=settings)
    (vessel,) = vessel_estimates(layers, CATALOGUE, settings=settings, study=known)
    return vessel


def stack(levels, *, kind="hyperstack-12", vessel="HS-A", spread=6.0, **rest):
    """Nine fields over each of some layers of a vessel, around these levels."""
    places = grid(3, CATALOGUE[kind].area_per_layer_cm2)
    return [
        field
        for layer, level in levels.items()
        for field in spread_layer(
            layer, around(level, spread, seed=layer), places, kind=kind, vessel=vessel, **rest
        )
    ]  # fmt: skip


# --- what was seen and what was not ----------------------------------------------------------------------------------


def test_the_bottom_three_of_36_leave_the_vessel_undetermined():
    found = estimate(stack({1: 80.0, 2: 78.0, 3: 82.0}, kind="hyperstack-36"))
    assert found.confluency_percent is None
    assert found.measured_confluency_percent == pytest.approx(80, abs=0.5)
    assert found.confluency_interval is None
    assert found.interval_note == (
        "undetermined: only the lowest layers speak for themselves (3 of 36), and nothing tells how the others differ:"
        " a layer study of the site would tell, or layers measured in every third of the stack"
    )
    assert (found.in_window_probability, found.area_in_window_percent, found.area_in_window_interval) == (None,) * 3
    assert all(one.confluency_percent is None for one in found.layers[3:])
    assert {one.state for one in found.layers[3:]} <= {"unobservable", "missing"}
    assert all(one.confluency_interval is not None for one in found.layers[:3])
    assert found.inferred_layers == ()


def test_with_a_layer_study_the_other_33_are_inferred():
    known = study(36, kind="hyperstack-36")
    found = estimate(stack({1: 80.0, 2: 78.0, 3: 82.0}, kind="hyperstack-36"), known=known)
    assert found.inferred_layers == tuple(range(4, 37))
    assert found.measured_layers == (1, 2, 3)
    assert (found.missing_layers, found.unobservable_layers) == ((), ())
    assert found.confluency_percent == pytest.approx(80, abs=1.5)
    low, high = found.confluency_interval
    assert low < found.confluency_percent < high
    assert found.interval_note == (
        "95 %: layer study (five opened stacks (test)), and a method error of 5 points at half cover"
    )
    top = found.layers[35]
    assert (top.state, top.n_fields_scored, top.interval_note) == ("inferred", 0, "95 %: inferred, layer study")
    assert top.how.startswith("Inferred from layer study: No field; the layer cannot be imaged")
    assert top.confluency_interval[1] - top.confluency_interval[0] > high - low


def test_a_layer_that_is_usually_sparser_is_inferred_as_such():
    """The top layers of this site are sparser: 0.1 of an angle, 10 points at half cover, below the bottom."""
    offsets = tuple(np.linspace(0.05, -0.05, 12))
    found = estimate(stack({1: 52.0, 2: 51.0, 3: 50.0}), known=study(offsets=offsets, between=0.02))
    assert found.layers[11].confluency_percent == pytest.approx(51 - 8, abs=1.5)


def test_layers_in_every_third_speak_for_the_others():
    found = estimate(stack({1: 80.0, 6: 76.0, 12: 84.0}))
    assert found.inferred_layers == (2, 3, 4, 5, 7, 8, 9, 10, 11)
    assert found.interval_note.startswith("95 %: measured layers over the stack, and a method error")
    assert found.confluency_percent == pytest.approx(80, abs=2)
    assert found.how.startswith("3 of 12 layers measured, weighted by culture area; inferred: 2-5, 7-11.")
    assert found.layer_sd_points is not None


def test_with_all_layers_measured_nothing_is_inferred():
    found = estimate(stack(dict.fromkeys(range(1, 13), 75.0)))
    assert (found.inferred_layers, found.layer_sd_points, found.measured_percent) == ((), None, 100)
    assert found.interval_note == "95 %: all layers measured, and a method error of 5 points at half cover"
    assert found.confluency_percent == pytest.approx(found.measured_confluency_percent)


def test_rejected_fields_are_no_layer():
    """All fields of the middle layer rejected: it is missing, and two thirds do not speak for a stack."""
    fields = stack({1: 80.0, 6: 76.0, 12: 84.0})
    fields = [
        replace(one, score=replace(one.score, status="rejected", confluency_percent=None, reason="blurred"))
        if one.row.layer == 6
        else one
        for one in fields
    ]
    found = estimate(fields)
    assert (found.layers[5].state, found.layers[5].confluency_percent) == ("missing", None)
    assert found.layers[5].interval_note == "no scored field"
    assert found.confluency_percent is None
    assert "only some layers speak for themselves (2 of 12)" in found.interval_note


def test_a_vessel_of_which_nothing_could_be_scored():
    fields = [
        replace(one, score=replace(one.score, status="failed", reason="cut")) for one in stack({1: 50.0, 2: 50.0})
    ]
    found = estimate(fields, known=study())
    assert (found.confluency_percent, found.measured_confluency_percent, found.worst_layers) == (None, None, ())
    assert found.interval_note == "undetermined: no layer has an interval of its own"


def test_layers_without_coordinates_say_why_the_vessel_has_no_interval():
    fields = [replace(one, row=replace(one.row, y_um=None, x_um=None)) for one in stack({1: 60.0, 2: 62.0})]
    found = estimate(fields, known=study())
    assert found.confluency_percent is None
    assert found.measured_confluency_percent == pytest.approx(61, abs=0.1)
    assert found.interval_note == (
        "undetermined: no layer has an interval of its own; of the measured layers: the fields have no coordinates, so"
        " which part of the layer they show is not known"
    )


def test_a_study_of_another_type_or_height_is_refused_in_words():
    fields = stack({1: 80.0, 2: 78.0, 3: 82.0})
    for known, words in (
        (study(10, kind="cellstack-10"), "(the layer study is of cellstack-10, this vessel is a hyperstack-12)"),
        (study(3), "(the layer study has 3 offsets, a hyperstack-12 has 12 layers)"),
    ):
        found = estimate(fields, known=known)
        assert found.confluency_percent is None
        assert found.interval_note.startswith("undetermined: only the lowest layers speak for themselves (3 of 12)")
        assert found.interval_note.endswith(words)


def test_a_study_is_not_needed_where_all_layers_were_measured():
    fields = stack({1: 80.0, 2: 70.0}, kind="cellstack-2")
    assert estimate(fields, known=study(10, kind="cellstack-10")) == estimate(fields)


def test_a_measured_layer_without_an_interval_counts_as_inferred():
    """CellSTACK 2: layer 1 reads 80 % over nine fields; of layer 2 there is one stray field, and it is bare."""
    fields = [
        *stack({1: 80.0}, kind="cellstack-2"),
        placed(2, 0.0, (1.0, 1.0), name="stray", kind="cellstack-2"),
    ]
    found = estimate(fields, known=study(2, kind="cellstack-2"))
    assert (found.layers[1].state, found.layers[1].confluency_percent) == ("measured", 0.0)
    assert found.layers[1].confluency_interval is None
    low, high = found.confluency_interval
    assert low < found.confluency_percent < high
    assert found.confluency_percent == pytest.approx(80, abs=1.5)
    assert found.interval_note.endswith("; inferred too, for want of an interval: layers 2")
    assert estimate(fields).confluency_interval is None


def test_a_flask_has_the_interval_of_its_one_layer():
    found = estimate(spread_layer(1, around(80), grid(3, 75.0), kind="t-75"))
    assert found.confluency_interval == found.layers[0].confluency_interval
    assert found.confluency_percent == found.layers[0].confluency_percent


def test_quantiles_say_what_the_interval_says():
    """The second and the last but one are its ends; a layer that nobody saw has some too."""
    found = estimate(stack({1: 80.0, 6: 76.0, 12: 84.0}))
    for one in (found, *found.layers):
        assert (one.confluency_quantiles[1], one.confluency_quantiles[-2]) == one.confluency_interval
        assert list(one.confluency_quantiles) == sorted(one.confluency_quantiles)
    flask = estimate(spread_layer(1, around(80), grid(3, 75.0), kind="t-75"))
    assert flask.confluency_quantiles == flask.layers[0].confluency_quantiles


def test_without_an_interval_there_are_no_quantiles():
    found = estimate(stack({1: 80.0, 2: 78.0, 3: 82.0}, kind="hyperstack-36"))
    assert found.confluency_quantiles is None
    assert [one.layer for one in found.layers if one.confluency_quantiles is not None] == [1, 2, 3]
    assert all((one.confluency_quantiles is None) == (one.confluency_interval is None) for one in found.layers)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(2, 98), min_size=12, max_size=12),
    st.sampled_from([(1, 6, 12), tuple(range(1, 13)), (2, 5, 8, 11)]),
    st.floats(1, 15),
    st.tuples(st.floats(5, 60), st.floats(10, 35)),
)
def test_any_window_can_be_judged_from_the_quantiles(levels, seen, spread, window):
    """What a decision interpolates is what the roll-up reckons from t distributions and draws."""
    low, high = window[0], window[0] + window[1]
    sampling = SAMPLING.model_copy(update={"window_percent": (low, high)})
    found = estimate(stack({layer: levels[layer - 1] for layer in seen}, spread=spread), settings=sampling)
    for one in (found, *found.layers):
        belief = Belief(QUANTILE_LEVELS, one.confluency_quantiles, "percent")
        assert belief.probability_within(low, high) == pytest.approx(one.in_window_probability, abs=0.01)


def test_without_a_study_nothing_tells_one_unseen_layer_from_another():
    found = estimate(stack({1: 80.0, 6: 76.0, 12: 84.0}))
    unseen = [one for one in found.layers if one.state == "inferred"]
    assert len({(one.confluency_percent, one.confluency_interval, one.in_window_probability) for one in unseen}) == 1
    known = study(offsets=tuple(np.linspace(0.05, -0.05, 12)))
    unseen = [one for one in estimate(stack({1: 80.0, 2: 76.0}), known=known).layers if one.state == "inferred"]
    assert len({one.confluency_interval for one in unseen}) == 10


@pytest.mark.parametrize(("share", "factor"), [(0.0, 1.0), (0.5, 0.5**0.5), (1.0, 0.0), (1.2, 0.0)])
def test_the_part_of_a_layer_that_was_imaged_has_no_sampling_error(share, factor):
    """T-75: nine fields of so much of its 75 cm² together; the error of the method stays."""

    def layer(area):
        (found,) = layer_estimates(
            spread_layer(1, around(60), grid(3, 75.0), kind="t-75", area=area), CATALOGUE, settings=SAMPLING
        )
        return found

    little, much = layer(1e-6), layer(max(7500 * share / 9, 1e-6))
    assert much.standard_error_points == pytest.approx(factor * little.standard_error_points, rel=1e-4)
    low, high = much.confluency_interval
    assert high - low > 15


def test_how_much_fields_layers_and_vessels_of_a_run_differ():
    """On the angle scale, of the fields themselves: what statsmodels is compared with elsewhere."""
    fields = [*stack({1: 80.0, 6: 60.0, 12: 70.0}), *stack({1: 50.0, 2: 40.0}, vessel="B")]
    found = run_components(fields)
    angles = [100 * np.arcsin(np.sqrt(one.score.confluency_percent / 100)) for one in fields]
    slow = variance_components(angles, [one.row.layer for one in fields], [one.row.vessel_id for one in fields])
    for name in ("field", "layer", "vessel", "mean", "mean_error"):
        assert getattr(found, name) == pytest.approx(getattr(slow, name), abs=1e-5)
    assert run_components(fields[::-1]) == found


def test_flasks_with_one_field_each_tell_how_flasks_differ_and_nothing_else():
    fields = [placed(1, level, name="f", vessel=f"T{level}", kind="t-75") for level in (40.0, 50.0, 60.0)]
    found = run_components(fields)
    assert (found.field, found.layer) == (None, None)
    assert found.vessel == pytest.approx(10, rel=0.02)
    assert run_components(fields[:1]) is None


# --- the window, the worst layers, the trend -------------------------------------------------------------------------


def test_the_share_of_the_area_within_the_window():
    """Six layers clearly inside 70 to 90 %, six clearly below."""
    found = estimate(stack({layer: 80.0 if layer <= 6 else 40.0 for layer in range(1, 13)}, spread=2.0))
    assert found.area_in_window_percent == pytest.approx(50, abs=1.5)
    assert found.in_window_probability == pytest.approx(0, abs=0.05)
    assert set(found.worst_layers[:6]) == set(range(7, 13))
    assert found.window_percent == (70.0, 90.0)


def test_the_slope_over_the_layers_is_a_straight_line():
    levels = {1: 88.0, 4: 79.0, 7: 80.0, 10: 66.0, 12: 68.0}
    found = estimate(stack(levels, spread=1.0))
    values = [one.confluency_percent for one in found.layers if one.layer in levels]
    line = stats.linregress(list(levels), values)
    assert found.trend_points_per_layer == pytest.approx(line.slope, abs=EXACT)
    half = stats.t.ppf(0.975, 3) * line.stderr
    assert found.trend_interval == pytest.approx((line.slope - half, line.slope + half), abs=EXACT)
    assert estimate(stack({1: 80.0, 2: 80.0})).trend_points_per_layer is None


def test_an_empty_vessel_has_no_trend():
    found = estimate(stack({1: 0.0, 2: 0.0, 3: 0.0}, spread=0.0))
    assert (found.trend_points_per_layer, found.trend_interval) == (0.0, (0.0, 0.0))


def test_fields_that_are_in_doubt_widen_the_interval():
    sure = estimate(stack(dict.fromkeys(range(1, 13), 75.0)))
    doubtful = estimate(stack(dict.fromkeys(range(1, 13), 75.0), flags=("unsure",)))
    assert doubtful.confluency_percent == sure.confluency_percent
    assert _width(doubtful) > 2 * _width(sure)
    assert doubtful.interval_note.endswith("a method error of 25 points at half cover")
    unimportant = estimate(stack(dict.fromkeys(range(1, 13), 75.0), flags=("soft-focus",)))
    assert unimportant.confluency_interval == sure.confluency_interval


# --- properties ------------------------------------------------------------------------------------------------------


def _width(found):
    low, high = found.confluency_interval
    return high - low


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.one_of(st.sampled_from([0.0, 100.0]), st.floats(0, 100)), min_size=12, max_size=12),
    st.sets(st.integers(1, 12), min_size=1),
    st.sampled_from([0.0, 10.0]),
    st.sampled_from([SAMPLING, NO_METHOD_ERROR]),
)
def test_every_interval_lies_within_0_to_100_and_holds_its_estimate(levels, seen, spread, sampling):
    """Bare and full layers among them, with and without scatter, from one layer to all."""
    fields = stack({layer: levels[layer - 1] for layer in sorted(seen)}, spread=spread)
    found = estimate(fields, known=study(), settings=sampling)
    for one in (found, *found.layers):
        low, high = one.confluency_interval
        assert 0 <= low <= one.confluency_percent + 1e-6
        assert one.confluency_percent - 1e-6 <= high <= 100
        assert 0 <= one.in_window_probability <= 1
    assert 0 <= found.area_in_window_interval[0] <= found.area_in_window_interval[1] <= 100


@pytest.mark.parametrize("level", [0.0, 100.0], ids=["bare", "full"])
def test_a_stack_that_reads_the_same_all_over_is_that(level):
    found = estimate(stack(dict.fromkeys(range(1, 13), level), spread=0.0))
    assert found.confluency_percent == level
    assert level in found.confluency_interval
    assert 0 < _width(found) < 2
    assert estimate(
        stack(dict.fromkeys(range(1, 13), level), spread=0.0), settings=NO_METHOD_ERROR
    ).confluency_interval == (level, level)


@settings(max_examples=10, deadline=None)
@given(st.randoms(), st.integers(0, 1000))
def test_the_order_of_fields_and_layers_does_not_show(random, seed):
    rng = np.random.default_rng(seed)
    fields = stack({1: rng.uniform(5, 95), 6: rng.uniform(5, 95), 12: rng.uniform(5, 95)})
    one = estimate(fields)
    random.shuffle(fields)
    layers = list(layer_estimates(fields, CATALOGUE, settings=SAMPLING))
    random.shuffle(layers)
    assert vessel_estimates(layers, CATALOGUE, settings=SAMPLING) == (one,)


@settings(max_examples=10, deadline=None)
@given(st.floats(-1e5, 1e5), st.floats(-1e5, 1e5), st.floats(0.1, 10))
def test_the_zero_of_the_stage_and_the_size_of_fields_do_not_matter(y, x, area):
    fields = stack({1: 60.0, 6: 70.0, 12: 80.0})
    moved = [
        replace(
            one,
            row=replace(one.row, y_um=one.row.y_um + y, x_um=one.row.x_um + x),
            score=replace(one.score, judgeable_area_mm2=area),
        )
        for one in fields
    ]
    one, other = estimate(fields), estimate(moved)
    assert other.confluency_percent == pytest.approx(one.confluency_percent, rel=1e-6)
    assert other.confluency_interval == pytest.approx(one.confluency_interval, abs=1e-3)


def test_a_field_on_one_layer_changes_nothing_about_another():
    fields = stack({1: 60.0, 6: 70.0, 12: 80.0})
    more = [*fields, placed(6, 5.0, (60.0, 60.0), name="another")]
    one, other = (layer_estimates(some, CATALOGUE) for some in (fields, more))
    assert one[5] != other[5]
    assert [a for a in one if a.layer != 6] == [b for b in other if b.layer != 6]


def test_a_vessel_is_the_same_whatever_else_was_imaged():
    mine, others = stack({1: 60.0, 6: 70.0, 12: 80.0}), stack({1: 10.0, 2: 20.0}, vessel="B")
    layers = layer_estimates([*others, *mine], CATALOGUE, settings=SAMPLING)
    assert vessel_estimates(layers, CATALOGUE, settings=SAMPLING)[1] == estimate(mine)


def test_more_fields_of_the_same_kind_never_widen():
    """Each layer's nine fields, then the same figures at 36 places, four times each."""
    narrow = [
        field
        for layer in range(1, 13)
        for field in spread_layer(layer, around(60, seed=layer) * 4, grid(6))
    ]  # fmt: skip
    wide = stack(dict.fromkeys(range(1, 13), 60.0))
    one, other = (estimate(fields, settings=NO_METHOD_ERROR) for fields in (wide, narrow))
    assert other.confluency_percent == pytest.approx(one.confluency_percent)
    assert _width(other) < _width(one)
    for a, b in zip(one.layers, other.layers, strict=True):
        assert np.subtract(*b.confluency_interval) >= np.subtract(*a.confluency_interval)  # low less high


def test_of_a_stack_without_layers_that_differ_the_interval_is_students():
    """Twelve layers at half cover with the same fields: Student's t with the freedom of all layers together."""
    fields = [
        field for layer in range(1, 13) for field in spread_layer(layer, around(50, 4.0))
    ]  # fmt: skip
    found = estimate(fields, settings=NO_METHOD_ERROR)
    layer = found.layers[0]
    half = stats.t.ppf(0.975, 12 * layer.freedom) * layer.standard_error_points / np.sqrt(12)
    assert found.confluency_interval == pytest.approx((50 - half, 50 + half), abs=0.02)


# --- batches ---------------------------------------------------------------------------------------------------------


def batch(*groups, known=None, settings=SAMPLING):
    layers = layer_estimates([field for group in groups for field in group], CATALOGUE, settings=settings)
    vessels = vessel_estimates(layers, CATALOGUE, settings=settings, study=known)
    (found,) = batch_estimates(vessels, {one.vessel_id: "L7" for one in vessels}, study=known)
    return vessels, found


def test_a_batch_of_two_vessels_is_their_mean_by_culture_area():
    """A stack of 6,000 cm² at 80 % and a flask of 75 cm² at 20 %: the flask hardly counts."""
    flask = spread_layer(1, around(20), grid(3, 75.0), kind="t-75", vessel="T75")
    vessels, found = batch(stack(dict.fromkeys(range(1, 13), 80.0)), flask)
    assert found.vessel_ids == ("HS-A", "T75")
    assert found.culture_area_cm2 == 6075
    expected = (6000 * vessels[0].confluency_percent + 75 * vessels[1].confluency_percent) / 6075
    assert found.confluency_percent == pytest.approx(expected)
    assert found.sd_points == pytest.approx(np.std([one.confluency_percent for one in vessels], ddof=1))
    assert found.confluency_interval == pytest.approx(vessels[0].confluency_interval, abs=1.5)
    assert found.how == "2 vessels weighted by culture area."


def test_the_error_of_the_method_does_not_average_out_over_a_batch():
    """Four stacks alike: without a method error half as wide as one, with it hardly narrower."""
    names = ("A", "B", "C", "D")
    groups = [stack(dict.fromkeys(range(1, 13), 50.0), vessel=name) for name in names]
    for sampling, ratio in ((NO_METHOD_ERROR, 0.5), (SAMPLING, 0.97)):
        vessels, found = batch(*groups, settings=sampling)
        assert _width(found) / _width(vessels[0]) == pytest.approx(ratio, abs=0.03)


def test_a_batch_with_an_undetermined_vessel_is_undetermined_and_names_it():
    _, found = batch(stack(dict.fromkeys(range(1, 13), 80.0)), stack({1: 80.0, 2: 80.0}, vessel="HS-B"))
    assert (found.confluency_percent, found.confluency_interval) == (None, None)
    assert found.how == "Undetermined: nothing is known of HS-B as a whole."


def test_a_batch_with_a_vessel_without_interval_has_none():
    one_field = [placed(1, 60.0, (40.0, 40.0), name="one", kind="t-75", vessel="T75")]
    _, found = batch(stack(dict.fromkeys(range(1, 13), 80.0)), one_field)
    assert found.confluency_percent is not None
    assert found.confluency_interval is None
    assert found.how == "2 vessels weighted by culture area. No interval: not every vessel has one."


def test_a_batch_of_bare_vessels_is_bare():
    bare = dict.fromkeys(range(1, 13), 0.0)
    _, found = batch(*[stack(bare, spread=0.0, vessel=name) for name in "AB"])
    assert found.confluency_percent == found.confluency_interval[0] == 0


def test_a_batch_is_a_lot_and_a_passage():
    def row(vessel, lot, passage=None):
        return ManifestRow("a.tif", vessel, "t-75", 1, lot=lot, passage=passage)

    rows = [row("A", "L7", 3), row("A", "L7", 3), row("B", "L7"), row("C", None), row("D", "L7"), row("D", "L8")]
    assert batches_of(rows) == {"A": "L7, passage 3", "B": "L7"}


def test_vessels_without_a_lot_belong_to_no_batch():
    vessels = vessel_estimates(layer_estimates(stack({1: 80.0}), CATALOGUE), CATALOGUE)
    assert batch_estimates(vessels, {}) == ()
