"""Evidence read from run folders: every metric has a reading or a reason, and damage never turns into a GO."""

import json
import math
import re
import shutil

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch_cases import make_hashes_fit
from decision_cases import rules as rules_of
from decision_cases import window
from evidence_cases import (
    WITHOUT_NETWORK,
    asked,
    edit_vessel,
    flask_fields,
    growing_flask,
    run_of,
    sign_rules,
    stack_fields,
    wide_rules,
)
from msc_vision.batch import outlooks
from msc_vision.batch.evidence import evidence_stamp, read_evidence, vessels_of_run
from msc_vision.decision import Place, judge
from msc_vision.decision.metrics import METRICS
from msc_vision.errors import InvalidArgumentError, InvalidDataError, MscVisionError
from sampling_cases import around, grid, imaged, spread_layer, study

WINDOW = (70.0, 90.0)
READ = ("hashes.json", "vessels.json", "layers.parquet", "fields.parquet", "run.json")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """The run of one flask at about 80 %."""
    return run_of(tmp_path_factory.mktemp("flask"), flask_fields())


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """Layers 1, 6 and 12 of 12 were seen, and a layer study tells of the others."""
    return run_of(tmp_path_factory.mktemp("stack"), stack_fields(), layer_study=study())


@pytest.fixture(scope="module")
def growing(tmp_path_factory):
    """A flask on three mornings in one run, and each morning in a run of its own."""
    folder = tmp_path_factory.mktemp("growing")
    days = [run_of(folder / f"day-{day}", growing_flask(days=(day,))) for day in range(3)]
    return run_of(folder / "all", growing_flask()), days


@pytest.fixture
def out(original, tmp_path):
    """A copy of the flask's run, which a test may damage."""
    return shutil.copytree(original, tmp_path / "RUN")


def reading(run, metric, level="vessel", layer=None, **rest):
    return read_evidence(run, **rest).reading(Place(metric, level, layer))


def edit_column(out, name, values):
    """Give the fields other values in a column, with every hash made to fit."""
    path = out / "fields.parquet"
    table = pq.ParquetFile(path).read()
    place = table.column_names.index(name)
    pq.write_table(table.set_column(place, table.schema.field(name), [values]), path)
    make_hashes_fit(out)


def verdict(run, rules=None):
    return judge(read_evidence(run), rules or wide_rules(), asked()).verdict


# --- what is there ---------------------------------------------------------------------------------------------------


def test_every_metric_has_a_reading_at_each_of_its_levels(original, stack):
    for run, n_layers in ((original, 1), (stack, 12)):
        wanted = {
            Place(one.name, level, layer)
            for one in METRICS.values()
            for level in one.levels
            for layer in (range(1, n_layers + 1) if level == "layer" else (None,))
        }
        assert set(read_evidence(run).readings) == wanted


def test_a_reading_is_whole_or_says_why_it_is_not(original, stack):
    for run in (original, stack):
        for place, one in read_evidence(run).readings.items():
            whole = one.belief is not None if METRICS[place.metric].kind == "estimate" else one.value is not None
            assert whole == (one.missing is None), (place, one)
            assert one.missing is None or (len(one.missing) > 5 and not one.missing.endswith(".")), (place, one)


def test_what_a_flask_is(original):
    found = read_evidence(original)
    assert (found.vessel_id, found.vessel_type, found.batch, found.passage) == ("FLASK", "t-75", "L7, passage 3", 3)
    assert (found.layer_states, found.n_fields_scored, found.problems) == (("measured",), 9, ())
    assert (found.model_id, found.model_sha256, found.device) == (None, None, None)
    assert found.reading(Place("passage", "vessel")).value == 3
    assert found.reading(Place("pdl", "vessel")).value == 9.5
    assert found.reading(Place("scan_age_h", "vessel")).value == "2026-11-18T08:00:00+00:00"
    assert found.reading(Place("measured_percent", "vessel")).value == 100
    assert [one.path for one in found.inputs] == ["fields.parquet", "hashes.json", "layers.parquet", "vessels.json"]
    assert found.environment["packages"]["numpy"]
    assert found.pipeline_name == "contrast"
    assert found.sampling[0].n_fields == 9
    assert found.sampling[0].method_error_points == 19
    assert json.dumps({**found.quality, **found.metrics})


def test_of_layers_that_nobody_saw_only_confluency_is_inferred(stack):
    found = read_evidence(stack)
    assert found.layer_states[:2] == ("measured", "inferred")
    assert found.reading(Place("confluency_percent", "layer", 2)).belief.has_width
    for name in ("fields_scored", "contamination", "aggregates_per_cm2", "drift_of_alarm"):
        assert found.reading(Place(name, "layer", 2)).missing == "nobody saw the layer, and only confluency is inferred"
    assert found.reading(Place("measured_percent", "vessel")).value == 25
    assert found.reading(Place("known_percent", "vessel")).value == 100


def test_belief_gives_the_probability_that_the_run_states(stack):
    content = json.loads((stack / "vessels.json").read_text())["vessels"][0]
    found = read_evidence(stack)
    for layer in content["layers"]:
        belief = found.reading(Place("confluency_percent", "layer", layer["layer"])).belief
        assert belief.probability_within(*WINDOW) == pytest.approx(layer["in_window_probability"], abs=0.01)
    vessel = found.reading(Place("confluency_percent", "vessel")).belief
    assert vessel.probability_within(*WINDOW) == pytest.approx(content["in_window_probability"], abs=0.01)


def test_evidence_does_not_hang_on_where_the_run_lies(original, out):
    assert read_evidence(original, windows=[WINDOW]) == read_evidence(out, windows=[WINDOW])


def test_a_batch_is_read_with_its_vessels(tmp_path):
    run = run_of(tmp_path, [*flask_fields("A", 78.0), *flask_fields("B", 84.0)], flags=("unsure", "plain"))
    assert vessels_of_run(run) == ("A", "B")
    batch = reading(run, "confluency_percent", "batch", vessel_id="A")
    assert 78 < batch.value < 84
    assert batch.belief.has_width
    assert batch.doubts == ("18 of 18 scored fields flagged (unsure 18)",)


# --- what is not there, and what a person has to look at -------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("drift_of_alarm", "no baseline was given"),
        ("cells_per_covered_area_of_baseline", "no baseline was given"),
        ("aggregates_per_cm2", "no field tells of aggregates: the recipe does not look for them, or"),
        ("density_per_cm2", "cells cannot be told apart in every field, and there is no calibration"),
    ],
)
def test_why_a_metric_is_missing(original, metric, words):
    found = reading(original, metric)
    assert (found.value, found.belief) == (None, None)
    assert found.missing.startswith(words)


def test_the_lowest_layers_do_not_speak_for_a_stack(tmp_path):
    run = run_of(tmp_path, stack_fields(layers=(1, 2)))
    found = read_evidence(run)
    assert found.reading(Place("confluency_percent", "vessel")).missing.startswith(
        "undetermined: only the lowest layers speak for themselves (2 of 12)"
    )
    high = found.reading(Place("confluency_percent", "layer", 12))
    assert high.value is None
    assert re.match(r"the layer is (unobservable|missing): no field; the layer can", high.missing)


def test_two_fields_give_a_figure_without_belief(tmp_path):
    run = run_of(tmp_path, flask_fields()[:2])
    found = reading(run, "confluency_percent")
    assert found.value is not None
    assert found.belief is None
    assert found.missing == "it has no interval: no interval: 2 scored fields, and it takes 3"


def test_flags_of_the_confluency_are_doubts(tmp_path):
    run = run_of(tmp_path, flask_fields(), flags=("unsure", "plain"))
    for level, layer in (("vessel", None), ("layer", 1)):
        found = reading(run, "confluency_percent", level, layer)
        assert found.doubts == ("9 of 9 scored fields flagged (unsure 9)",)
        assert found.belief is not None
        assert reading(run, "fields_doubtful_percent", level, layer).value == 100
    assert verdict(run) == "HOLD_REVIEW"
    assert read_evidence(run).quality["flags"] == {"plain": 9, "unsure": 9}


@pytest.mark.parametrize(("n_flagged", "doubts"), [(4, ()), (5, ("5 of 9 scored fields flagged (unsure 5)",))])
def test_a_few_flagged_fields_are_no_doubt_of_the_whole(out, n_flagged, doubts):
    edit_column(out, "flags", [["unsure"] if i < n_flagged else [] for i in range(9)])
    assert reading(out, "confluency_percent").doubts == doubts
    assert reading(out, "fields_doubtful_percent").value == pytest.approx(100 * n_flagged / 9)


def test_a_manifest_that_contradicts_itself_tells_nothing(tmp_path):
    fields = [*flask_fields()[:5], *flask_fields(passage=4, pdl=11.0)[5:]]
    run = run_of(tmp_path, fields)
    found = read_evidence(run)
    assert (found.passage, found.batch) == (None, None)
    passage = found.reading(Place("passage", "vessel"))
    assert passage.missing == "the manifest contradicts itself: it states 3 and 4 (column passage)"
    assert found.reading(Place("pdl", "vessel")).value is None
    assert found.reading(Place("confluency_percent", "batch")).missing.startswith("the manifest states several lots")
    assert verdict(run) == "CANNOT_ASSESS"


def test_a_manifest_that_says_nothing(tmp_path):
    run = run_of(tmp_path, spread_layer(1, around(80), grid(3, 75.0), vessel="BARE", kind="t-75"))
    found = read_evidence(run)
    assert (found.passage, found.batch) == (None, None)
    assert found.reading(Place("passage", "vessel")).missing == "the manifest does not state it (column passage)"
    assert found.reading(Place("scan_age_h", "vessel")).missing == (
        "no image of the vessel has a time (column acquired_at)"
    )
    assert "states no lot" in found.reading(Place("confluency_percent", "batch")).missing
    assert verdict(run) == "CANNOT_ASSESS"


def test_a_field_without_a_time_may_be_older(tmp_path):
    fields = [*flask_fields()[:7], *flask_fields(acquired_at=None)[7:]]
    assert reading(run_of(tmp_path, fields), "scan_age_h").doubts == ("2 fields without a time, which may be older",)


def test_a_time_without_a_zone_is_a_doubt(out):
    edit_column(out, "acquired_at", ["2026-11-18T09:00:00", *["2026-11-18T09:00:00+01:00"] * 8])
    assert reading(out, "scan_age_h").doubts == ("1 time without a zone, taken as UTC",)
    assert verdict(out) == "HOLD_REVIEW"


def test_nobody_looked_for_contamination(original):
    assert reading(original, "contamination").value == "not assessable"
    assert verdict(original, sign_rules()) == "CANNOT_ASSESS"


# --- drift, spread, amounts ------------------------------------------------------------------------------------------

DRIFT = {
    "drift_state": "compared",
    "drift_reason": None,
    "drift_score": 1.2,
    "drift_limit": 0.8,
    "drift_interval": [1.0, 1.6],
    "drift_probability": 0.01,
    "drift_alarm": True,
}


def test_drift_is_held_against_its_limit(out):
    edit_vessel(out, character=DRIFT)
    found = reading(out, "drift_of_alarm")
    assert found.value == pytest.approx(1.5)
    assert found.interval == pytest.approx((1.25, 2.0))
    assert found.belief.probability_within(None, 1.0) < 0.01
    assert found.doubts == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"drift_limit": None}, "the run was made by an older version that kept no limit of the drift score: score it"),
        ({"drift_limit": 0}, "the alarm limit of its baseline is 0"),
        ({"drift_interval": None}, "it has no interval: that takes three compared fields"),
        ({"drift_interval": [0.0, 0.0]}, "its interval has no width"),
        ({"drift_score": None, "drift_reason": "Not the same medium."}, "not the same medium"),
        ({"drift_score": math.nan}, "drift is compared"),
    ],
)
def test_drift_without_belief(out, changes, words):
    edit_vessel(out, character=DRIFT | changes)
    found = reading(out, "drift_of_alarm")
    assert found.belief is None
    assert found.missing.startswith(words)


def test_an_alarm_of_the_baseline_is_not_overruled_by_the_score(out):
    edit_vessel(out, character=DRIFT | {"drift_score": 0.3, "drift_interval": [0.1, 0.5]})
    found = reading(out, "drift_of_alarm")
    assert found.value < 1
    assert found.doubts == ("the baseline's own alarm was raised (chance without drift 0.01)",)


def test_figures_with_intervals_are_believed_and_others_not(out):
    edit_vessel(
        out,
        character={
            "spread_state": "compared", "spread_ratio": 0.7, "spread_interval": [0.5, 0.9],
            "aggregates_per_cm2": 12.0, "aggregates_interval": [3.0, 40.0],
            "aggregate_area_percent": 0.0, "aggregate_area_interval": [0.0, 0.0],
            "density_per_cm2": 9000.0, "density_state": "calibrated",
        },
    )  # fmt: skip
    assert reading(out, "cells_per_covered_area_of_baseline").belief.probability_within(1.0, None) < 0.05
    assert reading(out, "aggregates_per_cm2").interval == (3.0, 40.0)
    assert reading(out, "aggregate_area_percent").missing.startswith("its interval has no width")
    assert reading(out, "density_per_cm2").missing == ("it has no interval: it is read off a calibration, not counted")


# --- damage ----------------------------------------------------------------------------------------------------------


def test_a_sound_flask_is_go(original):
    """Otherwise no test of damage could fail."""
    assert verdict(original) == "GO"


def test_runs_of_older_versions_have_to_be_scored_again(out):
    edit_vessel(out, confluency_quantiles=None)
    found = reading(out, "confluency_percent")
    assert found.missing == "the run was made by an older version that kept no quantiles: score it again"
    assert found.interval is not None
    assert verdict(out) == "CANNOT_ASSESS"


def test_a_level_and_a_quantile_that_are_gone_do_not_make_up_for_each_other(out):
    path = out / "vessels.json"
    content = json.loads(path.read_text())
    quantiles = content["vessels"][0]["confluency_quantiles"]
    quantiles[7] = None
    path.write_text(json.dumps(content))
    assert reading(out, "confluency_percent").missing == "its quantiles do not rise within 0 to 100 %"
    content["quantile_levels"][2] = None
    path.write_text(json.dumps(content))
    assert reading(out, "confluency_percent").belief is None


def edit_run(out, **changes):
    path = out / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


PROBLEMS = {
    "vessels.json": lambda out: edit_vessel(out, confluency_percent=81.0, fits=False),
    "layers.parquet": lambda out: (out / "layers.parquet").write_bytes(b"PAR1 of another run"),
    "hashes.json": lambda out: (out / "hashes.json").write_text("{}"),
    "record": lambda out: edit_run(out, run_id="another"),
    "settings": lambda out: edit_run(out, settings_sha256="0" * 64),
    "state": lambda out: edit_run(out, state="interrupted"),
    "pending": lambda out: edit_run(out, counts={"fields": 9, "scored": 8, "rejected": 0, "failed": 0, "pending": 1}),
    "uncounted": lambda out: edit_run(out, counts=None),
    "counts": lambda out: edit_vessel(out, layer=1, n_fields_scored=8),
    "type": lambda out: edit_vessel(out, vessel_type="t-175"),
}


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("vessels.json", "vessels.json was changed after the run: its content does not have the hash in hashes.json."),
        ("layers.parquet", "layers.parquet was changed after the run"),
        ("hashes.json", "hashes.json is not the list of hashes that run.json was written with."),
        ("record", "run.json was changed after it was written: its content does not have its record_sha256."),
        ("settings", "The settings in run.json do not have the settings_sha256 that stands beside them."),
        ("state", "The run is interrupted, not complete: resume it before relying on it."),
        ("pending", "Of the fields, 1 were not scored yet."),
        ("uncounted", "Of the fields, an unknown number were not scored yet."),
        ("counts", "fields.parquet and vessels.json do not tell of the same fields on layers 1."),
        ("type", "The vessel is said to be t-175 and t-75."),
    ],
)
def test_a_run_that_contradicts_itself_cannot_be_assessed(out, damage, words):
    PROBLEMS[damage](out)
    assert any(one.startswith(words) for one in read_evidence(out).problems)
    assert verdict(out) == "CANNOT_ASSESS"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("vessels.json", None, "vessels.json is missing; check with `msc-vision verify`."),
        ("vessels.json", "{", "vessels.json: cannot be read (Expecting property name"),
        ("vessels.json", "[]", "vessels.json: holds list, not an object."),
        ("vessels.json", "{}", "vessels.json: holds no vessels; it should list them."),
        ("fields.parquet", "PAR1", "fields.parquet: cannot be read ("),
        ("layers.parquet", None, "layers.parquet is missing"),
        ("run.json", '{"state": "done"}', "not written as a run folder is (KeyError"),
    ],
)
def test_what_cannot_be_read_is_an_error_that_names_it(out, name, content, words):
    (out / name).unlink() if content is None else (out / name).write_text(content)
    with pytest.raises(InvalidDataError, match=re.escape(words)):
        read_evidence(out)


def test_what_is_no_run_and_what_is_not_finished(out, tmp_path):
    with pytest.raises(InvalidArgumentError, match=r"is no run folder \(no run\.json\)"):
        read_evidence(tmp_path)
    edit_run(out, state="running")
    (out / "vessels.json").unlink()
    with pytest.raises(InvalidArgumentError, match=r"is not finished \(its state is running\); go on with --resume"):
        vessels_of_run(out)


def test_layers_that_are_not_there_once_each(out):
    edit_vessel(out, n_layers=2)
    with pytest.raises(InvalidDataError, match=r"layers of FLASK have to be 1\.\.2, each once .* got \[1\]"):
        read_evidence(out)


def test_a_vessel_that_is_not_there(original):
    with pytest.raises(InvalidArgumentError, match=r"shows no vessel 'X'; it shows FLASK\."):
        read_evidence(original, "X")


_JUDGED = ("confluency_percent", "confluency_interval", "confluency_quantiles", "acquired_to", "layers", "n_layers")
_NONSENSE = st.sampled_from([None, math.nan, math.inf, -1.0, 101.0, "many", [], [math.nan, 50.0], {}, False])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(_JUDGED), value=_NONSENSE, layer=st.sampled_from([None, 1]))
def test_nonsense_in_the_place_of_what_is_judged_never_gives_go(original, out, name, value, layer):
    """Though every hash was made to fit."""
    if layer == 1 and name in ("acquired_to", "layers", "n_layers"):
        layer = None  # of a layer nobody asks for these
    shutil.copyfile(original / "vessels.json", out / "vessels.json")
    edit_vessel(out, layer=layer, **{name: value})
    try:
        found = verdict(out)
    except MscVisionError:
        return
    assert found != "GO"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(READ), at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
def test_one_altered_bit_or_a_cut_file_never_gives_go(original, out, name, at, bit, cut):
    content = bytearray((original / name).read_bytes())
    place = int(at * len(content))
    content[place] ^= 1 << bit
    damaged = bytes(content[:place]) if cut else bytes(content)
    (out / name).write_bytes(damaged)
    try:
        found = verdict(out)
    except MscVisionError:
        found = None
    finally:
        shutil.copyfile(original / name, out / name)
    if name == "run.json" and json_alike(original / name, damaged):
        return  # white space
    assert found != "GO"


def json_alike(path, content):
    try:
        return json.loads(content) == json.loads(path.read_bytes())
    except ValueError:
        return False


# --- forecasts -------------------------------------------------------------------------------------------------------


def test_growth_is_not_fitted_to_one_time_point(original, monkeypatch):
    monkeypatch.setattr(outlooks, "vessel_courses", lambda *_: pytest.fail("read for nothing"))
    found = read_evidence(original, windows=[WINDOW]).outlooks[WINDOW]
    assert found.reason == "one time point only, and growth takes two: name earlier runs"
    assert read_evidence(original).outlooks == {}


def test_three_mornings_tell_when_the_window_is_entered(growing):
    run, _ = growing
    found = read_evidence(run, windows=[WINDOW, (50.0, 100.0)]).outlooks
    assert set(found) == {WINDOW, (50.0, 100.0)}
    assert found[WINDOW].reason is None
    assert found[WINDOW].enters_at > "2026-11-18T09:00"


def test_earlier_runs_count_as_history_and_as_inputs(growing):
    """Three runs of a morning each say what one run of three mornings says."""
    run, days = growing
    together = read_evidence(run, windows=[WINDOW]).outlooks[WINDOW]
    found = read_evidence(days[2], windows=[WINDOW], history=days[:2])
    assert found.outlooks[WINDOW] == together
    assert read_evidence(days[2], windows=[WINDOW], history=days[1::-1]) == found
    names = [one.path for one in found.inputs[4:]]
    assert len(names) == 4
    assert all(re.fullmatch(r"history/[0-9a-f]{12}/(fields\.parquet|run\.json#settings)", name) for name in names)


def test_a_forecast_that_cannot_be_made_says_why(growing, stack, original):
    _, days = growing
    later = read_evidence(days[0], windows=[WINDOW], history=[days[1]]).outlooks[WINDOW]
    assert later.reason == "A run of the history is later than this run; it has to be earlier"
    other = read_evidence(days[2], windows=[WINDOW], history=[original]).outlooks[WINDOW]
    assert other.reason == "one time point only: the earlier runs do not show this vessel"


def test_the_reason_of_a_missing_forecast_does_not_hang_on_where_the_run_lies(tmp_path):
    levels = {"2026-11-16T09:00:00+00:00": 20.0, "2026-11-17T09:00:00+00:00": 40.0}
    run = run_of(tmp_path, imaged("BLIND", "t-75", (1,), levels, (None, None)))
    reason = read_evidence(run, windows=[WINDOW]).outlooks[WINDOW].reason
    assert reason.startswith("BLIND: its error is not known (2 scored fields, and it takes 3)")
    assert str(tmp_path) not in reason


def test_history_that_was_altered_is_refused(growing, tmp_path):
    _, days = growing
    bad = shutil.copytree(days[0], tmp_path / "BAD")
    edit_vessel(bad, confluency_percent=1.0, fits=False)
    with pytest.raises(InvalidArgumentError, match=r"BAD cannot serve as history: vessels\.json was changed"):
        read_evidence(days[2], history=[bad])
    with pytest.raises(InvalidArgumentError, match=r"A run of the history is there twice"):
        read_evidence(days[2], history=[days[0], days[0]])


# --- keeping it at hand ----------------------------------------------------------------------------------------------


def test_the_stamp_of_a_run_changes_when_one_of_its_files_does(out):
    before = evidence_stamp(out)
    assert before == evidence_stamp(out)
    assert hash(before) == hash(evidence_stamp(out))
    (out / "report.html").write_text("another file")
    assert before == evidence_stamp(out)
    edit_vessel(out, confluency_percent=81.0, fits=False)
    assert before != evidence_stamp(out)
    (out / "vessels.json").unlink()
    with pytest.raises(InvalidDataError, match=r"vessels\.json: cannot be read"):
        evidence_stamp(out)


def test_a_draft_rule_set_or_a_network_that_is_not_accepted_is_no_go(original):
    assert verdict(original, wide_rules(models=())) == "CANNOT_ASSESS"
    draft = rules_of(window(20, None), status="draft", approval=None, models=WITHOUT_NETWORK)
    assert verdict(original, draft) == "CANNOT_ASSESS"
