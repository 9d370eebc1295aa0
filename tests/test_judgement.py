"""From evidence and rules to a verdict: readable cases, precedence by enumeration, and what never gives GO."""

import itertools
import math
from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision_cases import AS_OF, SHA, SOURCE, evidence, figure, no_sign, request, rules, window
from msc_vision.decision import Place, Reading, Review, Settlement, judge
from msc_vision.decision.belief import of_interval
from msc_vision.decision.judgement import verdict_of
from msc_vision.decision.rules import AcceptedModel, Approval, Coverage, Source
from msc_vision.errors import InvalidArgumentError

VESSEL = Place("confluency_percent", "vessel")
CONTAMINATION = Place("contamination", "vessel")
WORST = window(low=50, high=92, id="worst-layer", level="layer")


def verdict(found=None, rule_set=None, **asked):
    return judge(found or evidence(), rule_set or rules(), request(**asked)).verdict


def results(found=None, rule_set=None, **asked):
    judged = judge(found or evidence(), rule_set or rules(), request(**asked))
    return {(one.id, one.layer): one for one in judged.results}


# --- cases a biologist reads -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "half", "expected"),
    [
        (80, 4, "GO"),
        (60, 4, "NO_GO"),
        (97, 2, "NO_GO"),
        (72, 6, "CANNOT_ASSESS"),
        (68, 6, "CANNOT_ASSESS"),
        (80, 18, "CANNOT_ASSESS"),
    ],
    ids=[
        "dense, sure",
        "too early",
        "overgrown",
        "just inside",
        "just outside, but not surely",
        "in the middle, but hardly known",
    ],
)
def test_confluency_against_its_window(value, half, expected):
    assert verdict(evidence(vessel=figure(value, half))) == expected


def test_95_percent_on_layer_3_is_no_go_and_layer_3_is_named():
    found = evidence({1: figure(80), 2: figure(80), 3: figure(96.5, 2)})
    judged = results(found, rules(window(), WORST))
    assert judge(found, rules(window(), WORST), request()).verdict == "NO_GO"
    assert [place for place, one in judged.items() if one.outcome == "not met"] == [("worst-layer", 3)]
    assert "on layer 3" in judged["worst-layer", 3].message


def test_a_layer_that_nobody_saw_is_undetermined_never_met():
    found = evidence(
        {1: figure(80), 2: figure(80), 3: Reading(None, missing="nobody saw the layer")},
        layer_states=("measured", "measured", "unobservable"),
    )
    one = results(found, rules(window(), WORST))["worst-layer", 3]
    assert (one.outcome, one.cause) == ("undetermined", "missing")
    assert "nobody saw the layer" in one.message
    assert verdict(found, rules(window(), WORST)) == "CANNOT_ASSESS"


def test_a_sign_of_contamination_asks_for_a_person():
    found = evidence(others={CONTAMINATION: Reading("suspect")})
    assert verdict(found, rules(window(), no_sign())) == "HOLD_REVIEW"


def test_signs_that_could_not_be_looked_for_are_missing_evidence():
    found = evidence(others={CONTAMINATION: Reading("not assessable")})
    assert verdict(found, rules(window(), no_sign())) == "CANNOT_ASSESS"


def test_a_figure_on_which_methods_disagree_is_held_for_review():
    found = evidence(vessel=figure(80, 4, doubts=("methods disagree in 20 of 27 fields",)))
    assert verdict(found) == "HOLD_REVIEW"
    assert "methods disagree in 20 of 27 fields" in results(found)["confluency-window", None].message


def test_a_doubtful_figure_out_of_the_window_is_still_no_go():
    assert verdict(evidence(vessel=figure(40, 4, doubts=("methods disagree",)))) == "NO_GO"


@pytest.mark.parametrize(("passage", "expected"), [(5, "GO"), (6, "NO_GO")])
def test_a_cap_of_the_passage_is_inclusive(passage, expected):
    cap = window(None, 5, id="passage-cap", metric="passage", unit="passages")
    assert verdict(evidence(others={Place("passage", "vessel"): Reading(passage)}), rules(cap)) == expected


@pytest.mark.parametrize("value", [True, "4", math.nan, None])
def test_a_passage_that_is_no_number_is_not_known(value):
    cap = window(None, 5, id="passage-cap", metric="passage", unit="passages")
    assert verdict(evidence(others={Place("passage", "vessel"): Reading(value)}), rules(cap)) == "CANNOT_ASSESS"


@pytest.mark.parametrize(("percent", "expected"), [(25.0, "GO"), (24.9, "CANNOT_ASSESS")])
def test_a_least_share_is_inclusive_and_below_it_evidence_is_missing(percent, expected):
    least = window(25, None, id="coverage", metric="measured_percent")
    assert verdict(evidence(others={Place("measured_percent", "vessel"): Reading(percent)}), rules(least)) == expected


@pytest.mark.parametrize(("age_h", "expected"), [(24, "GO"), (25, "CANNOT_ASSESS"), (-2, "CANNOT_ASSESS")])
def test_a_scan_gets_too_old_and_never_comes_from_the_future(age_h, expected):
    fresh = window(None, 24, id="scan-age", metric="scan_age_h", unit="h")
    taken = (AS_OF - timedelta(hours=age_h)).isoformat()
    assert verdict(evidence(others={Place("scan_age_h", "vessel"): Reading(taken)}), rules(fresh)) == expected


def test_what_the_record_shows_of_a_scan_does_not_change_while_one_looks():
    fresh = window(None, 24, id="scan-age", metric="scan_age_h", unit="h")
    now, later = (results(rule_set=rules(fresh), as_of=AS_OF + timedelta(minutes=n)) for n in (0, 7))
    assert now == later
    assert now["scan-age", None].limit == "2026-11-23T08:00:00Z"


def test_too_few_measured_layers_leave_a_criterion_undetermined():
    seen = {Place("measured_percent", "vessel"): Reading(8.3)}
    needs = rules(window(coverage=Coverage(measured_percent=25)))
    assert verdict(evidence(others=seen), needs) == "CANNOT_ASSESS"
    assert (
        "8.3 % of the culture area was measured, 25 % is needed"
        in results(evidence(others=seen), needs)["confluency-window", None].message
    )


def test_too_few_fields_on_a_measured_layer_leave_it_undetermined():
    places = {Place("fields_scored", "layer", n): Reading(9 if n < 3 else 2) for n in (1, 2, 3)}
    found = results(evidence(others=places), rules(WORST.model_copy(update={"coverage": Coverage(fields=5)})))
    assert [found["worst-layer", n].outcome for n in (1, 2, 3)] == ["met", "met", "undetermined"]


# --- conditions of every decision ------------------------------------------------------------------------------------


def test_the_usual_vessel_is_go_so_that_the_cases_below_say_something():
    assert verdict() == "GO"


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"vessel_type": "t-75"}, "NO_GO"),
        ({"batch": "L8, passage 4"}, "NO_GO"),
        ({"passage": 5}, "NO_GO"),
        ({"vessel_type": "hyperstack-12", "batch": "L7, passage 4", "passage": 4}, "GO"),
    ],
)
def test_another_vessel_than_the_caller_believes_is_no_go(asked, expected):
    assert verdict(**asked) == expected


def test_a_batch_that_the_run_does_not_tell_cannot_be_compared():
    assert verdict(evidence(batch=None), batch="L7, passage 4") == "CANNOT_ASSESS"


@pytest.mark.parametrize(
    "models",
    [(), (AcceptedModel(id="culture-2"),), (AcceptedModel(id="culture-1", sha256="b" * 64),)],
    ids=["none accepted", "another", "other weights"],
)
def test_an_unknown_network_never_gives_go(models):
    assert verdict(rule_set=rules(models=models)) == "CANNOT_ASSESS"


def test_a_run_that_cannot_be_relied_on_never_gives_go():
    found = evidence(problems=("vessels.json was changed after the run.",))
    assert verdict(found) == "CANNOT_ASSESS"
    assert "vessels.json was changed" in results(found)["run-usable", None].message


def draft():
    return rules(
        window(source=Source(document="none", section="none", placeholder=True)), status="draft", approval=None
    )


def test_a_draft_gives_no_go_ahead_in_production_but_can_be_tried():
    assert verdict(rule_set=draft()) == "CANNOT_ASSESS"
    assert verdict(rule_set=draft(), purpose="trial") == "GO"


def test_rules_that_are_not_yet_in_force_never_give_go():
    later = Source(document="SOP-1 v3", section="4.1", in_force=date(2027, 1, 1))
    assert verdict(rule_set=rules(window(source=later))) == "CANNOT_ASSESS"


def test_an_approval_that_is_yet_to_come_gives_no_go_ahead():
    tomorrow = Approval(by="Q. Unit", on=date(2026, 11, 23), document="QA-78")
    assert verdict(rule_set=rules(approval=tomorrow)) == "CANNOT_ASSESS"
    assert "the rule set itself" in results(rule_set=rules(approval=tomorrow))["rules-in-force", None].message


def test_an_empty_rule_set_is_undetermined():
    assert verdict(rule_set=rules().model_copy(update={"criteria": ()})) == "CANNOT_ASSESS"


def test_a_moment_without_zone_is_refused():
    with pytest.raises(InvalidArgumentError, match="needs a time zone"):
        request(as_of=AS_OF.replace(tzinfo=None))


# --- precedence, by enumeration --------------------------------------------------------------------------------------

STATES = [("met", None), ("not met", None), *(("undetermined", cause) for cause in ("missing", "weak", "doubt"))]
READINGS = {
    ("met", None): figure(80),
    ("not met", None): figure(40),
    ("undetermined", "missing"): Reading(None, missing="nobody looked"),
    ("undetermined", "weak"): figure(80, 18),
    ("undetermined", "doubt"): figure(80, doubts=("look",)),
}


def obvious_verdict(states):
    """Say the precedence as DESIGN section 4 does, one clause at a time."""
    if ("not met", None) in states:
        return "NO_GO"
    if ("undetermined", "missing") in states or ("undetermined", "weak") in states:
        return "CANNOT_ASSESS"
    if ("undetermined", "doubt") in states:
        return "HOLD_REVIEW"
    return "GO"


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_precedence_of_every_combination_of_outcomes(n):
    for states in itertools.product(STATES, repeat=n):
        assert verdict_of(states) == obvious_verdict(states), states


def test_precedence_of_every_combination_through_the_whole_judgement():
    for states in itertools.product(STATES, repeat=4):
        layers = {n: READINGS[state] for n, state in enumerate(states[:3], start=1)}
        found = evidence(layers, vessel=READINGS[states[3]])
        judged = judge(found, rules(window(), WORST.model_copy(update={"low": 70.0, "high": 90.0})), request())
        assert judged.verdict == obvious_verdict(states), states
        shown = [(one.outcome, one.cause) for one in judged.results if one.metric is not None]
        assert shown == [states[3], *states[:3]]


def test_nothing_at_all_cannot_be_assessed():
    assert verdict_of([]) == "CANNOT_ASSESS"


# --- what never gives GO ---------------------------------------------------------------------------------------------

SPOILED = st.sampled_from(
    [
        Reading(math.nan, (70.0, 90.0), of_interval(80, (76, 84), "percent")),
        Reading(math.inf, (70.0, 90.0), of_interval(80, (76, 84), "percent")),
        Reading(None),
        Reading("eighty"),
        Reading(True),
        Reading(80.0, (76.0, 84.0)),
        Reading(80.0, (80.0, 80.0), of_interval(80, (80, 80), "percent")),
        Reading(80.0, (76.0, 84.0), of_interval(80, (76, 84), "percent"), missing="the run does not tell"),
    ]
)
FIGURES = st.builds(figure, st.floats(0, 100), st.floats(0, 50), st.sampled_from([(), ("look",)]))
ANY = st.one_of(FIGURES, SPOILED)


@given(SPOILED, st.sampled_from([VESSEL, *(Place("confluency_percent", "layer", n) for n in (1, 2, 3))]))
def test_a_missing_or_broken_figure_never_gives_go(spoiled, place):
    found = evidence(others={place: spoiled})
    assert verdict(found, rules(window(), WORST)) != "GO"


@given(
    ANY,
    st.lists(ANY, min_size=3, max_size=3),
    st.sampled_from(["no visual sign", "suspect", "not assessable", "clean", None]),
    st.floats(2, 100),
    st.floats(2, 100),
    st.floats(0.51, 0.999),
)
def test_go_implies_that_every_criterion_is_met_with_its_probability(vessel, layers, word, one, other, probability):
    low, high = sorted((one, other))
    found = evidence(dict(enumerate(layers, start=1)), vessel=vessel, others={CONTAMINATION: Reading(word)})
    asked = (
        window(low, high, probability=probability),
        WORST.model_copy(update={"probability": probability}),
        no_sign(),
    )
    judged = judge(found, rules(*asked), request())
    if judged.verdict != "GO":
        return
    assert all(one.outcome == "met" for one in judged.results)
    assert vessel.belief is not None
    assert vessel.belief.probability_within(low, high) >= probability
    assert all(one.belief is not None and one.belief.probability_within(50, 92) >= probability for one in layers)
    assert word == "no visual sign"
    assert not vessel.doubts


@given(ANY, st.floats(0.51, 0.99), st.floats(0, 0.4))
def test_asking_for_more_probability_never_turns_no_into_yes(vessel, probability, more):
    strict = min(probability + more, 0.995)
    lenient, harder = (verdict(evidence(vessel=vessel), rules(window(probability=p))) for p in (probability, strict))
    assert not (harder == "GO" and lenient != "GO")
    assert not (harder == "NO_GO" and lenient != "NO_GO")


# --- reviews ---------------------------------------------------------------------------------------------------------


def review(action="settle", *settles, **changes):
    content = {"reviewer": "R. Viewer", "at": "2026-11-22T12:05:00+00:00", "action": action, "reason_code": "debris"}
    return Review(**content | {"reason": "Dust on the lid.", "settles": settles} | changes)


SUSPECT = evidence(others={CONTAMINATION: Reading("suspect")})


@pytest.mark.parametrize(("answer", "expected"), [("met", "GO"), ("not met", "NO_GO")])
def test_a_reviewer_confirms_or_refutes_a_sign_of_contamination(answer, expected):
    said = review("settle", Settlement("contamination", None, answer))
    assert verdict(SUSPECT, rules(window(), no_sign()), review=said) == expected
    one = results(SUSPECT, rules(window(), no_sign()), review=said)["contamination", None]
    assert "Settled by R. Viewer (debris): Dust on the lid." in one.message


@pytest.mark.parametrize(
    ("found", "name", "message"),
    [
        (evidence(vessel=figure(40)), "confluency-window", "it is not met"),
        (evidence(vessel=Reading(None)), "confluency-window", "it is missing"),
        (evidence(vessel=figure(80, 18)), "confluency-window", "it is weak"),
        (evidence(), "confluency-window", "it is met"),
        (evidence(), "no-such-thing", "there is no such criterion"),
        (evidence(problems=("broken",)), "run-usable", "it is missing"),
    ],
)
def test_a_reviewer_cannot_make_up_for_what_is_missing_weak_or_not_met(found, name, message):
    with pytest.raises(InvalidArgumentError, match=message):
        verdict(found, review=review("settle", Settlement(name, None, "met")))


def test_a_reviewer_settles_each_thing_once():
    twice = review("settle", Settlement("contamination", None, "met"), Settlement("contamination", None, "not met"))
    with pytest.raises(InvalidArgumentError, match="settles one criterion twice"):
        verdict(SUSPECT, rules(window(), no_sign()), review=twice)


@pytest.mark.parametrize(("action", "expected"), [("hold", "HOLD_REVIEW"), ("reject", "NO_GO")])
def test_a_reviewer_can_always_be_stricter_than_the_rules(action, expected):
    assert verdict(review=review(action)) == expected


def test_source_and_probability_stand_in_every_result():
    judged = judge(evidence(), rules(window(), WORST, no_sign()), request())
    assert all(one.source for one in judged.results)
    assert {one.source for one in judged.results if one.metric} == {str(SOURCE)}
    assert all(one.probability is not None for one in judged.results)


def test_a_rule_may_accept_any_weights_of_a_network():
    assert verdict(evidence(model_sha256="c" * 64), rules(models=(AcceptedModel(id="culture-1"),))) == "GO"
    assert (
        verdict(replace(evidence(), model_id=None, model_sha256=None), rules(models=(AcceptedModel(id="none"),)))
        == "GO"
    )
    assert evidence().model_sha256 == SHA
