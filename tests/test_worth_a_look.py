"""Where a person looks first: what failed, what is suspect, what people disagree on, what the verdict hangs on."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from msc_vision.batch.reviewed import RunFigures
from msc_vision.batch.worth_a_look import FEWEST_OTHERS, WHYS, chance_of, worth_a_look
from msc_vision.morphology.drift import Drift
from msc_vision.records import FieldScore, ManifestRow
from msc_vision.review.events import Deed, Reviewer, Target, new_event
from msc_vision.review.state import ReviewState, review_state
from msc_vision.statistics.character import Characters
from msc_vision.statistics.rollup import ScoredField, latest_fields, layer_estimates
from msc_vision.statistics.vessel_rollup import vessel_estimates
from sampling_cases import CATALOGUE, around, placed, spread_layer

START = datetime(2026, 11, 22, 8, tzinfo=UTC)
MARIA, JON = Reviewer("maria"), Reviewer("jon")


def troubled(layer, status, name, reason="the picture is black", vessel="HS-A"):
    row = ManifestRow(f"{name}.tif", vessel, "hyperstack-12", layer)
    return ScoredField(row, FieldScore(name, row.path, status, reason=reason))


def scored_as(field, **changes):
    return replace(field, score=replace(field.score, **changes))


def figures_of(fields, drifts=None):
    layers = layer_estimates(fields, CATALOGUE)
    known = Characters({}, {}, drifts or {})
    return RunFigures({one.score.key: one for one in fields}, vessel_estimates(layers, CATALOGUE), (), known)


def said(key, action, reviewer=MARIA, follows=None, minute=0):
    reason = None if action in ("looked", "accepted") else "debris"
    deed = Deed(action, Target("HS-A", 1, key), reason_code=reason)
    return new_event("run", reviewer, deed, at=START + timedelta(minutes=minute), follows=follows)


def order(fields, events=(), records=None, drifts=None):
    return worth_a_look(figures_of(fields, drifts), review_state(events), records)


def record(*still_open, layers_total=12):
    """A decision record, as far as it is looked at: (criterion, layer, why)."""
    found = [{"criterion": c, "layer": layer, "why": why, "side": None} for c, layer, why in still_open]
    return {"coverage": {"layers_total": layers_total}, "quality": {"open": found}}


GO = record()
PLAIN = [*spread_layer(1, around(80, 2)), *spread_layer(2, around(81, 2))]


def test_nine_reasons_in_their_order():
    odd = replace(placed(3, 20.0, name="odd"), row=replace(PLAIN[0].row, path="odd.tif", layer=3))
    fields = [
        *spread_layer(3, around(80, 2)),
        odd,
        *PLAIN,
        scored_as(placed(1, 80.0, name="both"), flags=("unsure", "methods-disagree")),
        scored_as(placed(1, 80.0, name="dots"), contamination="suspect", contamination_note="Visual sign of dots."),
        placed(1, 80.0, name="argued"),
        placed(1, 80.0, name="fine"),
        troubled(2, "rejected", "blurred", "The field is out of focus."),
        troubled(2, "failed", "gone", "cannot be read"),
    ]
    first = said("HS-A-1-argued", "accepted", MARIA)
    events = [first, said("HS-A-1-argued", "rejected", JON, minute=1), said("HS-A-1-fine", "accepted", minute=2)]
    found = order(fields, events, {"HS-A": record(("layer-too-thin", 2, "not met"))})
    assert list(dict.fromkeys(one.why for one in found)) == list(WHYS)
    by_key = {one.key: one.sentence for one in found}
    assert by_key["gone"] == "Failed: Cannot be read."
    assert by_key["blurred"] == "Not judgeable: The field is out of focus."
    assert by_key["HS-A-1-dots"] == "Visual sign of dots."
    assert by_key["HS-A-1-argued"].startswith("People disagree: jon rejected it; maria accepted it.")
    assert by_key["HS-A-1-both"].startswith("Network and local contrast read far apart; the network is unsure")
    assert by_key["HS-A-2-f0"] == "Layer 2 drives the verdict: layer-too-thin is not met."
    assert by_key["HS-A-3-odd"].startswith("20 % confluent; the other 9 fields of layer 3 have")
    assert by_key["HS-A-1-fine"] == "maria accepted it."
    assert by_key["HS-A-1-f0"] == "Nothing speaks against it: a sample of layer 1."


def test_what_nothing_speaks_against_is_shown_one_of_each_layer_first():
    fields = [*PLAIN, *spread_layer(3, around(79, 2))]
    found = order(fields, records={"HS-A": GO})
    layers = [int(one.key.split("-")[2]) for one in found]
    assert layers == [1, 2, 3] * 9


def test_a_layer_that_was_shown_for_another_reason_waits_its_turn():
    fields = [*PLAIN, troubled(1, "failed", "gone")]
    found = order(fields, records={"HS-A": GO})
    assert [one.key for one in found][:4] == ["gone", "HS-A-2-f0", "HS-A-1-f0", "HS-A-2-f1"]


def test_without_a_record_the_layers_that_are_least_likely_within_the_window_come_first():
    fields = [one for layer in range(1, 9) for one in spread_layer(layer, around(96 - 2 * layer, 2))]
    found = order(fields)
    driving = [one for one in found if one.why == "drives the verdict"]
    assert [int(one.key.split("-")[2]) for one in driving[:6]] == [1, 2, 3, 1, 2, 3]
    assert driving[0].sentence == "Layer 1 is the least likely to lie within 70 to 90 % confluency."
    assert driving[1].sentence == "Layer 2 is the second least likely to lie within 70 to 90 % confluency."


def test_a_verdict_of_go_hangs_on_no_layer():
    assert {one.why for one in order(PLAIN, records={"HS-A": GO})} == {"sample"}


def test_what_is_open_on_every_layer_parts_none_of_them():
    everywhere = record(*(("layer-overgrown", layer, "missing") for layer in range(1, 13)))
    assert {one.why for one in order(PLAIN, records={"HS-A": everywhere})} == {"sample"}


def test_cells_unlike_the_baseline_are_named():
    alarm = Drift("compared", score=4.0, probability=0.001, is_alarm=True)
    found = order(PLAIN, records={"HS-A": GO}, drifts={"HS-A-2-f7": alarm})
    assert (found[0].key, found[0].sentence) == ("HS-A-2-f7", "Cells unlike the baseline.")


def test_a_field_that_was_only_looked_at_keeps_its_place():
    events = [said("HS-A-1-f0", "looked")]
    assert order(PLAIN, events, {"HS-A": GO}) == order(PLAIN, (), {"HS-A": GO})


def test_a_field_that_was_opened_again_is_no_longer_judged():
    rejected = said("HS-A-1-f0", "rejected")
    again = said("HS-A-1-f0", "reopened", follows=rejected.event_id, minute=5)
    assert order(PLAIN, [rejected, again], {"HS-A": GO}) == order(PLAIN, (), {"HS-A": GO})
    assert order(PLAIN, [rejected], {"HS-A": GO})[-1].sentence == "maria rejected it: debris, not cells."


def test_three_fields_of_a_layer_are_too_few_to_call_one_of_them_odd():
    fields = spread_layer(1, [80.0, 81.0, 2.0], places=((37.0, 37.0), (111.0, 111.0), (185.0, 185.0)))
    assert FEWEST_OTHERS == 3
    assert {one.why for one in order(fields, records={"HS-A": GO})} == {"sample"}


@given(st.lists(st.floats(0, 100), min_size=3, max_size=9, unique=True), st.floats(0, 100))
@settings(max_examples=30, deadline=None)
def test_the_chance_is_that_of_the_prediction_interval_that_just_holds_the_value(others, value):
    """Oracle: Student's t as scipy has it, over the error of one more value."""
    error = stats.tstd(others) * (1 + 1 / len(others)) ** 0.5
    if error < 1e-3:
        return
    away = abs(value - sum(others) / len(others))
    assert chance_of(value, others) == pytest.approx(2 * stats.t.sf(away / error, len(others) - 1), abs=1e-6)


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("obscured", "Something hides much of the surface, by what the network sees."),
        (
            "pixel-size-doubtful",
            "No pixel size is stated, and the one that the network took is far from the usual.",
        ),
    ],
)
def test_a_flag_that_says_look_at_it_is_a_reason_to_look(flag, sentence):
    first = order([*PLAIN, scored_as(placed(1, 80.0, name="odd"), flags=(flag,))], records={"HS-A": GO})[0]
    assert (first.key, first.why, first.sentence) == ("HS-A-1-odd", "doubtful", sentence)


def test_fields_that_are_all_alike_leave_no_chance_to_another_one():
    assert chance_of(50.0, [50.0, 50.0, 50.0]) == 1.0
    assert chance_of(51.0, [50.0, 50.0, 50.0]) == 0.0


FIELD = st.tuples(
    st.integers(1, 5),
    st.sampled_from(["scored", "scored", "scored", "rejected", "failed"]),
    st.floats(0, 100),
    st.sampled_from(["", "suspect", "no visual sign"]),
    st.sampled_from([(), ("unsure",), ("soft-focus", "strange"), ("uneven-light",)]),
    st.sampled_from(["2026-11-20T08:00:00Z", "2026-11-22T08:00:00Z"]),
)


@given(st.lists(FIELD, min_size=1, max_size=25), st.data())
@settings(max_examples=30, deadline=None)
def test_every_latest_field_is_listed_once_in_the_order_of_the_reasons(drawn, data):
    fields = []
    for i, (layer, status, percent, signs, flags, at) in enumerate(drawn):
        one = placed(layer, percent, name=f"f{i}", acquired_at=at)
        if status == "scored":
            fields.append(scored_as(one, contamination=signs or None, flags=flags))
        else:
            fields.append(replace(one, score=FieldScore(one.score.key, one.row.path, status, reason="no")))
    keys = [one.score.key for one in fields]
    events = [said(key, action) for key in keys for action in data.draw(st.sampled_from([(), ("accepted",)]))]
    layer = data.draw(st.sampled_from([None, 1, 2]))
    records = {"HS-A": record(("confluency-window", layer, "weak"))}
    found = order(fields, events, records)
    assert sorted(one.key for one in found) == sorted(latest_fields(fields))
    ranks = [WHYS.index(one.why) for one in found]
    assert ranks == sorted(ranks)
    assert all(one.sentence.endswith(".") for one in found)
    assert found == order(fields, events, records)


def test_a_run_without_fields_has_nothing_to_look_at():
    assert worth_a_look(RunFigures({}, (), (), Characters({}, {}, {})), ReviewState()) == ()
