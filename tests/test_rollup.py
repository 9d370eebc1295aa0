"""Roll-up: fields to layers to vessels, and nothing unseen ever turns into a number."""

import math
import random
import re
import statistics
from dataclasses import asdict, replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats

from msc_vision.errors import InvalidArgumentError, InvalidDataError
from msc_vision.records import FieldScore, ManifestRow
from msc_vision.statistics.arithmetic import counted, sample_sd, weighted_mean
from msc_vision.statistics.rollup import ScoredField, layer_estimates
from msc_vision.statistics.settings import SamplingSettings
from msc_vision.statistics.vessel_rollup import vessel_estimates
from msc_vision.vessels import layer_ranges
from sampling_cases import CATALOGUE, GRID_9, SAMPLING, around, placed, spread_layer


def scored(layer, confluency, *, area=1.0, name=None, vessel="HS-A", kind="hyperstack-12", judgeable=100.0, px=1000):
    """A field of ``area`` mm2 (None: pixel size unknown) that was scored."""
    key = name or f"L{layer}-{confluency}-{area}"
    whole = None if area is None else area * 100 / judgeable
    score = FieldScore(
        key,
        f"{key}.tif",
        "scored",
        confluency_percent=confluency,
        judgeable_percent=judgeable,
        judgeable_area_mm2=area,
        field_area_mm2=whole,
        height_px=px,
        width_px=px,
    )
    return ScoredField(ManifestRow(f"{key}.tif", vessel, kind, layer), score)


def unscored(layer, status, name, vessel="HS-A", kind="hyperstack-12"):
    score = FieldScore(name, f"{name}.tif", status, reason="blurred")
    return ScoredField(ManifestRow(f"{name}.tif", vessel, kind, layer), score)


def estimate(fields, profile="standard"):
    layers = layer_estimates(fields, CATALOGUE, optics_profile=profile)
    (vessel,) = vessel_estimates(layers, CATALOGUE)
    return layers, vessel


def test_layer_is_covered_area_over_judgeable_area():
    layers, _ = estimate([scored(1, 80.0, area=3.0), scored(1, 20.0, area=1.0)])
    assert layers[0].confluency_percent == pytest.approx((0.8 * 3 + 0.2 * 1) / 4 * 100)
    assert layers[0].judgeable_area_mm2 == 4.0
    assert layers[0].weighting == "judgeable area"
    assert (layers[0].min_percent, layers[0].max_percent) == (20.0, 80.0)
    assert layers[0].sd_points == pytest.approx(math.sqrt(2 * 30**2))
    assert layers[0].imaged_percent == pytest.approx(100 * 4 / (500 * 100))
    assert layers[0].confluency_interval is None
    assert layers[0].interval_note == "2 scored fields, and it takes 3"


@pytest.mark.parametrize(
    ("fields", "layer", "profile", "state"),
    [
        ([scored(1, 50.0)], 1, "standard", "measured"),
        ([scored(1, 50.0), unscored(1, "rejected", "a")], 1, "standard", "measured-degraded"),
        ([scored(1, 50.0), unscored(1, "failed", "a")], 1, "standard", "measured-degraded"),
        ([scored(1, 50.0)], 2, "standard", "missing"),
        ([scored(1, 50.0)], 4, "standard", "unobservable"),
        ([scored(1, 50.0), unscored(2, "failed", "a")], 2, "standard", "missing"),
        ([scored(1, 50.0), unscored(9, "rejected", "a")], 9, "standard", "missing"),
        ([scored(9, 50.0)], 9, "standard", "measured"),
    ],
    ids=[
        "all fields scored",
        "one field rejected",
        "one field failed",
        "can be imaged, was not",
        "cannot be imaged",
        "its only field failed",
        "imaged against the odds, but rejected",
        "imaged against the odds",
    ],
)
def test_state_of_a_layer(fields, layer, profile, state):
    layers, _ = estimate(fields, profile)
    assert layers[layer - 1].state == state


def test_optics_profile_decides_what_is_missing():
    fields = [scored(1, 50.0, kind="cellstack-5")]
    assert estimate(fields, "standard")[0][1].state == "unobservable"
    assert estimate(fields, "long-working-distance")[0][1].state == "missing"


def test_a_layer_without_a_scored_field_is_never_a_number():
    layers, vessel = estimate([unscored(1, "failed", "a"), unscored(1, "rejected", "b")])
    for layer in layers:
        figures = (layer.confluency_percent, layer.sd_points, layer.min_percent, layer.max_percent)
        assert figures == (None, None, None, None)
        assert (layer.judgeable_area_mm2, layer.imaged_percent, layer.weighting) == (None, None, None)
    assert layers[0].how == "None of 2 fields could be scored (1 rejected, 1 failed)."
    assert layers[1].how == "No field; the layer can be imaged with standard optics."
    assert layers[5].how == "No field; the layer cannot be imaged with standard optics."
    assert vessel.confluency_percent is None
    assert vessel.measured_percent == 0
    assert vessel.how == "None of 12 layers was measured; unobservable: 4-12; missing: 1-3."


def test_empty_surface_is_zero_and_measured():
    layers, vessel = estimate([scored(1, 0.0)])
    assert (layers[0].confluency_percent, layers[0].state) == (0.0, "measured")
    assert vessel.measured_confluency_percent == 0.0


def test_vessel_names_what_was_not_measured():
    fields = [scored(1, 80.0), scored(3, 40.0), unscored(3, "rejected", "x")]
    layers, vessel = estimate(fields)
    assert vessel.measured_confluency_percent == 60.0
    assert vessel.confluency_percent is None
    assert (vessel.measured_layers, vessel.degraded_layers) == ((1, 3), (3,))
    assert (vessel.missing_layers, vessel.unobservable_layers) == ((2,), tuple(range(4, 13)))
    assert vessel.layers == layers
    assert len(layers) == vessel.n_layers == 12
    assert vessel.measured_percent == pytest.approx(100 * 2 / 12)
    assert vessel.how == (
        "2 of 12 layers measured, weighted by culture area; measured-degraded: 3; unobservable: 4-12; missing: 2."
    )


def test_many_fields_on_one_layer_do_not_outweigh_the_other_layer():
    fields = [scored(1, 90.0, name=f"f{i}") for i in range(50)] + [scored(2, 10.0)]
    assert estimate(fields)[1].measured_confluency_percent == 50.0


def test_a_well_is_a_vessel_of_one_layer():
    fields = [scored(1, 30.0, vessel="P:A1", kind="plate-6"), scored(1, 70.0, vessel="P:A2", kind="6-well plate")]
    layers = layer_estimates(fields, CATALOGUE)
    assert [(one.vessel_id, one.confluency_percent, one.culture_area_cm2) for one in layers] == [
        ("P:A1", 30.0, 9.5),
        ("P:A2", 70.0, 9.5),
    ]
    assert [one.culture_area_cm2 for one in vessel_estimates(layers, CATALOGUE)] == [9.5, 9.5]


@pytest.mark.parametrize(
    ("fields", "expected", "weighting", "words"),
    [
        (
            [scored(1, 80.0, area=None, px=200), scored(1, 20.0, area=None, px=100)],
            (80 * 4 + 20) / 5,
            "judgeable pixels",
            r"judgeable pixels \(pixel size unknown for every field\)",
        ),
        (
            [scored(1, 80.0, area=None, judgeable=75.0), scored(1, 20.0, area=7.0, judgeable=25.0)],
            (80 * 0.75 + 20 * 0.25),
            "judgeable pixels",
            r"judgeable pixels \(pixel size unknown for 1 of 2 fields, known for the others\)",
        ),
        (
            [scored(1, 80.0, area=None, judgeable=75.0, px=None), scored(1, 20.0, area=None, judgeable=25.0)],
            (80 * 0.75 + 20 * 0.25),
            "judgeable share",
            r"judgeable share \(pixel size unknown for every field\)",
        ),
    ],
    ids=["no pixel size", "pixel size of one field only", "no image size either"],
)
def test_without_pixel_size(fields, expected, weighting, words):
    layer = estimate(fields)[0][0]
    assert layer.confluency_percent == pytest.approx(expected)
    assert layer.weighting == weighting
    assert layer.judgeable_area_mm2 is None
    assert re.search(words, layer.how)


ERRORS = {
    "layer 13 of 12": ([scored(13, 50.0, name="a")], r"a\.tif: layer 13 does not exist on hyperstack-12 \(1\.\.12\)"),
    "layer 0": ([scored(0, 50.0, name="a")], r"layer 0 does not exist"),
    "field twice": ([scored(1, 50.0, name="a"), scored(2, 50.0, name="a")], r"field 'a' comes twice"),
    "two types": ([scored(1, 5.0), scored(1, 6.0, kind="t-75")], r"'HS-A' is said to be both hyperstack-12 and t-75"),
    "NaN": ([scored(1, math.nan, name="a")], r"a\.tif: scored, but its confluency_percent is nan"),
    "over 100": ([scored(1, 101.0, name="a")], r"its confluency_percent is 101"),
    "no figure": ([scored(1, None, name="a")], r"its confluency_percent is None"),
    "zero area": ([scored(1, 5.0, area=0.0, name="a")], r"its judgeable_area_mm2 is 0\.0; an area must be above zero"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_contradictions_are_refused(case):
    fields, message = ERRORS[case]
    with pytest.raises(InvalidDataError, match=message):
        layer_estimates(fields, CATALOGUE)


def test_scored_without_judgeable_share_is_refused():
    field = scored(1, 50.0, name="a")
    broken = replace(field, score=replace(field.score, judgeable_percent=0.0))
    with pytest.raises(InvalidDataError, match=r"its judgeable_percent is 0"):
        layer_estimates([broken], CATALOGUE)


def test_unknown_vessel_type_lists_near_names():
    with pytest.raises(InvalidArgumentError, match=r"Unknown vessel type 'hyperstack-13'.*hyperstack-12"):
        layer_estimates([scored(1, 50.0, kind="hyperstack-13")], CATALOGUE)


def test_a_layer_left_out_of_sight_is_refused():
    layers, _ = estimate([scored(1, 50.0)])
    with pytest.raises(InvalidDataError, match=r"'HS-A' \(hyperstack-12\): needs layers 1\.\.12, each once"):
        vessel_estimates(layers[:-1], CATALOGUE)


def test_nothing_in_nothing_out():
    assert layer_estimates([], CATALOGUE) == ()
    assert vessel_estimates([], CATALOGUE) == ()


FIELDS = st.lists(
    st.tuples(
        st.integers(1, 12),
        st.sampled_from(["scored", "scored", "rejected", "failed"]),
        st.floats(0, 100),
        st.floats(1e-6, 100),
        st.sampled_from(["A", "B"]),
    ),
    min_size=1,
    max_size=40,
)


def build(drawn):
    fields = []
    for number, (layer, status, value, area, vessel) in enumerate(drawn):
        name = f"f{number}"
        if status == "scored":
            fields.append(scored(layer, value, area=area, name=name, vessel=vessel))
        else:
            fields.append(unscored(layer, status, name, vessel=vessel))
    return fields


@given(st.integers(0, 2**32), st.integers(3, 40))
def test_order_of_fields_does_not_show_in_a_single_bit(seed, n_fields):
    rng = random.Random(seed)
    drawn = [(rng.randint(1, 2), "scored", rng.uniform(0, 100), rng.uniform(0.1, 9), "A") for _ in range(n_fields)]
    fields = build(drawn)
    shuffled = list(fields)
    rng.shuffle(shuffled)
    first, second = layer_estimates(fields, CATALOGUE), list(layer_estimates(shuffled, CATALOGUE))
    assert list(first) == second
    rng.shuffle(second)
    assert vessel_estimates(first, CATALOGUE) == vessel_estimates(second, CATALOGUE)


@given(FIELDS)
def test_against_a_slow_obvious_sum(drawn):
    layers = layer_estimates(build(drawn), CATALOGUE)
    for one in layers:
        mine = [d for d in drawn if d[4] == one.vessel_id and d[0] == one.layer]
        hits = [d for d in mine if d[1] == "scored"]
        assert (one.n_fields_scored, one.n_fields_rejected + one.n_fields_failed) == (len(hits), len(mine) - len(hits))
        if not hits:
            assert one.confluency_percent is None
            continue
        covered = sum(d[2] / 100 * d[3] for d in hits)
        assert one.confluency_percent == pytest.approx(100 * covered / sum(d[3] for d in hits))
        assert one.min_percent <= one.confluency_percent <= one.max_percent
        assert (one.sd_points is None) == (len(hits) < 2)
    for vessel in vessel_estimates(layers, CATALOGUE):
        values = [one.confluency_percent for one in vessel.layers if one.state in ("measured", "measured-degraded")]
        expected = pytest.approx(sum(values) / len(values)) if values else None
        assert vessel.measured_confluency_percent == expected
        named = vessel.measured_layers + vessel.unobservable_layers + vessel.missing_layers + vessel.inferred_layers
        assert sorted(named) == list(range(1, 13))


def test_estimates_turn_into_plain_data():
    vessel = estimate([scored(1, 50.0)])[1]
    assert asdict(vessel)["layers"][0]["confluency_percent"] == 50.0


@pytest.mark.parametrize(
    ("layers", "words"), [((), ""), ((4,), "4"), ((1, 2, 3), "1-3"), ((5, 1, 2, 9, 8), "1-2, 5, 8-9")]
)
def test_layers_in_words(layers, words):
    assert layer_ranges(layers) == words


# --- what the fields tell of their layer -----------------------------------------------------------------------------


def layer_of(fields):
    return layer_estimates(fields, CATALOGUE, settings=SAMPLING)[0]


def test_nine_fields_over_the_layer_give_an_interval():
    layer = layer_of(spread_layer(1, around(50, 8.0)))
    assert layer.confluency_percent == pytest.approx(50)
    assert layer.method_error_points == 5
    assert 0 < layer.freedom <= 8
    assert layer.interval_note.startswith("95 %: 9 fields spread over the layer")
    assert layer.interval_note.endswith(", and a method error of 5 points at half cover")
    error = math.hypot(layer.standard_error_points, 5)
    freedom = layer.freedom * (error / layer.standard_error_points) ** 4
    half = stats.t.ppf(0.975, freedom) * error
    assert layer.confluency_interval == pytest.approx((50 - half, 50 + half), abs=0.15)
    assert 0 < layer.in_window_probability < 0.05
    assert layer.represented_percent > 65


@pytest.mark.parametrize(
    ("places", "note"),
    [
        (GRID_9[:1], "1 scored field, and it takes 3"),
        ((None,) * 9, "the fields have no coordinates, so which part of the layer they show is not known"),
        (GRID_9[:8] + GRID_9[:1], "1 pairs of fields have the same coordinates"),
        (
            tuple((y * 3, x * 3) for y, x in GRID_9),
            "the coordinates span 444 x 444 mm, more than a layer of 500 cm² can hold",
        ),
        (
            tuple((y / 20, x / 20) for y, x in GRID_9),
            "the fields lie in a patch and stand for 0 % of the layer's area; it takes 60 %",
        ),
    ],
    ids=["one field", "no coordinates", "two at one place", "wider than the layer", "all in one patch"],
)
def test_why_a_layer_has_a_figure_but_no_interval(places, note):
    layer = layer_of(spread_layer(1, around(50, n=len(places)), places))
    assert layer.confluency_percent == pytest.approx(50)
    assert layer.interval_note == note
    missing = (layer.confluency_interval, layer.standard_error_points, layer.freedom, layer.effective_fields)
    assert missing == (None,) * 4
    assert (layer.in_window_probability, layer.method_error_points) == (None, None)


@pytest.mark.parametrize(
    ("n_flagged", "flag", "points"),
    [(0, "", 5.0), (3, "strange", math.sqrt((6 * 25 + 3 * 625) / 9)), (9, "unsure", 25.0), (9, "noisy", 5.0)],
    ids=["none", "a third", "all", "a flag that says nothing of the figure"],
)
def test_flagged_fields_widen_the_interval(n_flagged, flag, points):
    flags = [(flag,) if i < n_flagged else () for i in range(9)]
    fields = [
        placed(1, percent, at, name=f"f{i}", flags=own)
        for i, (percent, at, own) in enumerate(zip(around(50), GRID_9, flags, strict=True))
    ]
    layer, plain = layer_of(fields), layer_of(spread_layer(1, around(50)))
    assert layer.method_error_points == pytest.approx(points)
    low, high = layer.confluency_interval
    assert (high - low > plain.confluency_interval[1] - plain.confluency_interval[0]) == (points > 5)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(3, 15), st.sampled_from([0.0, 3.0, 30.0]), st.sampled_from([0, 50, 100]))
def test_order_zero_of_the_stage_and_unit_of_area_do_not_show_in_an_interval(seed, n, spread, level):
    rng = random.Random(seed)
    places = [(rng.uniform(0, 223), rng.uniform(0, 223)) for _ in range(n)]
    fields = spread_layer(1, around(level, spread, n, seed), places)
    fields = [
        replace(one, score=replace(one.score, judgeable_area_mm2=area))
        for one, area in zip(fields, [rng.uniform(0.5, 2) for _ in fields], strict=True)
    ]
    expected = layer_of(fields)
    shuffled = rng.sample(fields, n)
    assert layer_of(shuffled) == expected
    moved = [
        replace(
            one,
            row=replace(one.row, y_um=one.row.y_um - 5e5, x_um=one.row.x_um + 7e4),
            score=replace(one.score, judgeable_area_mm2=3 * one.score.judgeable_area_mm2),
        )
        for one in fields
    ]
    found = layer_of(moved)
    assert (found.confluency_interval is None) == (expected.confluency_interval is None)
    if expected.confluency_interval is not None:
        assert found.confluency_interval == pytest.approx(expected.confluency_interval, abs=1e-4)
        low, high = expected.confluency_interval
        assert 0 <= low <= expected.confluency_percent + 1e-9
        assert expected.confluency_percent - 1e-9 <= high <= 100


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"window_percent": (90, 70)}, "window_percent has to rise within 0 to 100, got 90 to 70"),
        ({"window_percent": (70, 101)}, "window_percent has to rise within 0 to 100, got 70 to 101"),
        ({"method_error_points": -1}, "greater than or equal to 0"),
        ({"least_reached_percent": 101}, "less than or equal to 100"),
        ({"method_error": 5}, "Extra inputs are not permitted"),
    ],
)
def test_settings_that_are_refused(changes, words):
    with pytest.raises(ValidationError, match=re.escape(words)):
        SamplingSettings(**changes)


# --- sums ------------------------------------------------------------------------------------------------------------

WEIGHED = st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(1e-3, 1e3)), min_size=1, max_size=20)


@given(WEIGHED, st.randoms(), st.floats(1e-3, 1e3))
def test_a_weighted_mean_hangs_neither_on_order_nor_on_the_unit_of_weights(pairs, rng, unit):
    mean = weighted_mean(*zip(*pairs, strict=True))
    shuffled = rng.sample(pairs, len(pairs))
    assert weighted_mean(*zip(*shuffled, strict=True)) == mean
    values, weights = zip(*pairs, strict=True)
    assert min(values) <= mean <= max(values)
    assert weighted_mean(values, [unit * weight for weight in weights]) == pytest.approx(mean, rel=1e-9, abs=1e-6)
    exact = sum(Fraction(v) * Fraction(w) for v, w in pairs) / sum(Fraction(w) for w in weights)
    assert mean == pytest.approx(float(exact), rel=1e-12, abs=1e-9)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20))
def test_a_standard_deviation_is_that_of_the_statistics_module(values):
    assert sample_sd(values) == pytest.approx(statistics.stdev(values), rel=1e-9, abs=1e-6)


def test_of_nothing_there_is_no_mean_and_of_one_no_spread():
    assert weighted_mean([], []) is None
    assert sample_sd([50.0]) is None
    assert (counted(0, "field"), counted(1, "field"), counted(2, "field")) == ("0 fields", "1 field", "2 fields")


def test_fields_that_cover_more_than_their_layer_contradict_it():
    """Nine fields of 100 cm² on a layer of 500 cm²: a pixel size or the vessel type is wrong, so no interval."""
    fields = [placed(1, percent, at, name=f"f{i}", area=10_000.0) for i, (percent, at) in enumerate(
        zip(around(50), GRID_9, strict=True))]  # fmt: skip
    layer = layer_of(fields)
    assert layer.confluency_interval is None
    assert layer.interval_note == "the fields cover 180 % of the layer: pixel size or vessel type is wrong"
