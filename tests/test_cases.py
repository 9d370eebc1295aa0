"""Cases in a biologist's words: how a description becomes evidence, what the shipped ones say, and how a case fails."""

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision_cases import AS_OF, no_sign, rules, window
from msc_vision.decision import Place
from msc_vision.decision.cases import find_cases, read_cases, rules_of_cases, run_cases
from msc_vision.decision.described import WORDS, evidence_of, read_figure
from msc_vision.decision.library import load_rules, shipped_rule_sets
from msc_vision.decision.metrics import METRICS
from msc_vision.decision.rule_file import RuleFileError
from msc_vision.errors import InvalidArgumentError
from msc_vision.resources import resource_path
from msc_vision.vessels import load_catalogue

RULES = rules(window(), no_sign(), window(id="layers", level="layer", low=None))
USUAL = {"layers": 3, "confluency": "80 +- 4", "contamination": "no visual sign", "fields": 9, "scanned": "4 h ago"}


def described(**said):
    return evidence_of(USUAL | said, RULES, AS_OF, lambda name: load_catalogue().get(name).layers)


def seen(evidence, metric, layer=None):
    return evidence.reading(Place(metric, "vessel" if layer is None else "layer", layer))


# --- the shipped cases -----------------------------------------------------------------------------------------------


def shipped():
    for path in sorted(resource_path("pipelines/rules").rglob("cases/*.yaml")):
        cases = read_cases(path)
        for one in run_cases(cases, rules_of_cases(path, cases), str(path)):
            yield pytest.param(one, id=f"{path.stem}: {one.name}")


@pytest.mark.parametrize("result", tuple(shipped()))
def test_shipped_case(result):
    assert result.differences == ()


def test_every_shipped_set_has_cases_and_each_verdict_has_some():
    cases = {name: read_cases(find_cases(name, load_rules(name))).cases for name in shipped_rule_sets()}
    assert all(len(one) >= 5 for one in cases.values())
    assert sum(map(len, cases.values())) >= 20
    verdicts = {one.expect.verdict for one in cases["msc-expansion-default"]}
    assert verdicts == {"GO", "NO_GO", "HOLD_REVIEW", "CANNOT_ASSESS"}


def test_every_criterion_that_ships_is_named_by_a_case_in_which_it_is_not_met_or_undetermined():
    default = load_rules("msc-expansion-default")
    cases = read_cases(find_cases(default.id, default)).cases
    failing = {name.split(" on ")[0] for one in cases for name, out in one.expect.criteria.items() if out != "met"}
    unnamed = {one.id for one in default.criteria} - failing
    assert unnamed == set()


# --- words to evidence -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "value", "interval"),
    [
        ("82 +- 3", 82, (79, 85)),
        ("82 ± 3 %", 82, (79, 85)),
        ("82 % +/- 3 %", 82, (79, 85)),
        ("82 (75 to 86)", 82, (75, 86)),
        (82, 82, None),
        ("82.5", 82.5, None),
    ],
)
def test_figures_in_words(told, value, interval):
    found = read_figure(told, METRICS["confluency_percent"])
    assert (found.value, found.interval, found.belief is None) == (value, interval, interval is None)


@given(st.floats(1, 99), st.floats(0.1, 30))
def test_a_figure_and_its_half_width_are_a_95_percent_interval(value, half):
    found = read_figure(f"{value:.3f} +- {half:.3f}", METRICS["density_per_cm2"])
    within = found.belief.probability_within(*found.interval)
    assert within == pytest.approx(0.95 if found.interval[0] > 0 else 0.975, abs=1e-6)


def test_a_doubt_is_told_after_the_figure():
    found = read_figure("82 +- 3, doubtful: methods disagree", METRICS["confluency_percent"])
    assert (found.value, found.doubts) == (82, ("methods disagree",))


def test_what_is_not_known_says_why():
    assert read_figure("not known: no baseline", METRICS["drift_of_alarm"]).missing == "no baseline"
    assert read_figure(None, METRICS["drift_of_alarm"]).missing == "it is not described"


def test_one_layer_moves_the_mean_of_the_vessel():
    """Three layers at 80, 80 and 95: the vessel is at 85, and as unsure as its layers are."""
    found = described(**{"layer 2": "95 +- 1"})
    assert seen(found, "confluency_percent", 2).value == 95
    assert seen(found, "confluency_percent").value == pytest.approx(85)
    assert seen(found, "confluency_percent").interval == pytest.approx((82, 88))


def test_a_layer_out_of_reach_leaves_the_vessel_unknown():
    found = described(**{"layer 2": "out of reach"})
    assert found.layer_states == ("measured", "unobservable", "measured")
    assert seen(found, "confluency_percent", 2).value is None
    assert seen(found, "confluency_percent").missing == "layers 2 do not tell"
    assert seen(found, "measured_percent").value == seen(found, "known_percent").value == pytest.approx(200 / 3)
    assert seen(found, "fields_scored").value == 18


def test_inferred_layers_speak_for_the_vessel_but_were_not_measured():
    found = described(**{"layers 2-3": "inferred 70 +- 10"})
    assert seen(found, "confluency_percent").value == pytest.approx((80 + 70 + 70) / 3)
    assert (seen(found, "known_percent").value, seen(found, "measured_percent").value) == (100, pytest.approx(100 / 3))
    assert seen(found, "contamination", 2).value is None


def test_the_whole_vessel_outranks_its_layers():
    found = described(**{"layer 2": "out of reach", "whole vessel": {"confluency": "78 +- 6"}})
    assert seen(found, "confluency_percent").interval == (72, 84)


def test_one_suspect_layer_makes_the_vessel_suspect():
    found = described(**{"layer 3": {"contamination": "suspect"}})
    assert seen(found, "contamination").value == "suspect"
    assert seen(found, "contamination", 1).value == "no visual sign"


def test_hours_are_counted_from_the_decision():
    assert seen(described(scanned="30 min ago"), "scan_age_h").value == "2026-11-22T11:30:00Z"


def test_layers_follow_from_the_type():
    evidence = evidence_of({"type": "cellstack-5"}, RULES, AS_OF, lambda name: load_catalogue().get(name).layers)
    assert len(evidence.layer_states) == 5


def test_every_metric_can_be_said_in_words():
    said_otherwise = {"fields_scored", "scan_age_h"}  # fields, scanned
    assert {*WORDS.values()} == {*METRICS} - said_otherwise


def test_what_is_not_said_is_not_known():
    found = evidence_of({"layers": 2}, RULES, AS_OF, lambda _: 0)
    told = {place.metric for place, one in found.readings.items() if one.value is not None}
    assert told == {"measured_percent", "known_percent"}
    assert found.passage is None


def test_the_error_of_the_fields_is_what_is_left_without_that_of_the_method():
    [first, *_] = described(**{"method error": "4 points", "confluency": "50 +- 10"}).sampling
    total = 10 / 1.959964
    assert (first.method_error_points, first.standard_error_points) == (4, pytest.approx(math.sqrt(total**2 - 4**2)))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"confluence": 80}, "'confluence' is no word of a description; there are confluency, drift"),
        ({"confluency": "about 80"}, "confluency_percent: 'about 80' is no figure; write 82, 82 [+]- 3"),
        ({"contamination": "fungus"}, "contamination is one of no visual sign, suspect, not assessable, got 'fungus'"),
        ({"layer 4": "95 +- 2"}, "layer 4: the vessel has layers 1 to 3"),
        ({"layer 2": {"pdl": 3}}, "layer 2: 'pdl' is not known of a layer"),
        ({"layer 2": {"state": "gone"}}, "layer 2: 'gone' is no state; there are measured, degraded, inferred, out of"),
        ({"scanned": "yesterday"}, "scanned: write `3 h ago` or `20 min ago`, got 'yesterday'"),
        ({"forecast": "soon"}, "forecast: write `enters 70 to 90 % in 20 h, leaves in 50 h`, got 'soon'"),
        ({"layers": 0}, "layers: give a whole number from 1, got 0"),
        ({"fields": "many"}, "fields: give a whole number from 0, got 'many'"),
        ({"whole vessel": {"colour": "red"}}, "whole vessel: 'colour' is no metric"),
    ],
)
def test_words_that_are_not_understood_are_named(said, expected):
    with pytest.raises(InvalidArgumentError, match=expected):
        described(**said)


def test_a_vessel_without_type_and_layers_is_refused():
    with pytest.raises(InvalidArgumentError, match=r"say the type of the vessel \(type: t-75\), or how many layers"):
        evidence_of({"confluency": "80 +- 3"}, RULES, AS_OF, lambda _: 1)


# --- files of cases --------------------------------------------------------------------------------------------------

FILE = """\
rules: ours
usual: {layers: 1, confluency: 80 +- 4, contamination: no visual sign, fields: 9}
cases:
  - name: 80 % is GO in this file
    expect: {verdict: GO, criteria: {confluency-window: met}, action: harvest}
"""


def cases_of(folder, text):
    path = folder / "cases.yaml"
    path.write_text(text, encoding="utf-8")
    return read_cases(path)


def test_a_case_that_holds_has_no_differences(tmp_path):
    [one] = run_cases(cases_of(tmp_path, FILE), RULES, "cases.yaml")
    assert (one.verdict, one.action, one.differences) == ("GO", "harvest", ())


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("verdict: GO", "verdict: NO_GO", "verdict: expected NO_GO, got GO"),
        ("window: met", "window: not met", "confluency-window: expected not met, got met"),
        ("confluency-window: met", "windw: met", "windw: there is no such criterion"),
        ("action: harvest", "action: wait", "action: expected wait, got harvest"),
    ],
)
def test_a_case_that_does_not_hold_says_what_differs(tmp_path, old, new, expected):
    [one] = run_cases(cases_of(tmp_path, FILE.replace(old, new)), RULES, "cases.yaml")
    assert one.differences == (expected,)


def test_another_verdict_comes_with_the_criteria_that_led_to_it(tmp_path):
    [one] = run_cases(cases_of(tmp_path, FILE.replace("80 +- 4,", "95 +- 2,")), RULES, "cases.yaml")
    assert one.differences[0] == "verdict: expected GO, got NO_GO"
    assert any(
        line.startswith("confluency-window: Confluency 95 % (93-97); allowed 70 to 90 %.") for line in one.differences
    )


def test_a_criterion_without_layer_is_the_worst_of_its_layers(tmp_path):
    text = FILE.replace("layers: 1", "layers: 3, layer 2: 97 +- 1").replace("80 +- 4,", "75 +- 4,")
    text = text.replace(
        "verdict: GO, criteria: {confluency-window: met}, action: harvest", "verdict: NO_GO, criteria: {CRITERIA}"
    )
    expected = "layers: not met, layers on layer 1: met, layers on layer 2: not met, confluency-window: met"
    [one] = run_cases(cases_of(tmp_path, text.replace("CRITERIA", expected)), RULES, "cases.yaml")
    assert one.differences == ()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "verdict: GO",
            "verdict: PERHAPS",
            "case 80 % is GO in this file: expect.verdict: input should be 'GO', 'NO_GO'",
        ),
        ("expect:", "hope:", "case 80 % is GO in this file: expect is missing"),
        ("name: 80 % is GO in this file", "name: short", "case short: name: string should have at least 10 characters"),
        (
            "cases:\n",
            "cases:\n  - {name: 80 % is GO in this file, expect: {verdict: GO}}\n",
            "two cases are called '80 %",
        ),
    ],
)
def test_what_is_wrong_with_a_file_of_cases_is_said_in_one_line(tmp_path, old, new, expected):
    with pytest.raises(RuleFileError) as caught:
        cases_of(tmp_path, FILE.replace(old, new))
    assert any(expected in line and "\n" not in line for line in caught.value.complaints), caught.value.complaints


def test_every_case_that_is_not_understood_is_named_at_once(tmp_path):
    more = """\
  - {name: This is not understood, vessel: {confluency: much}, expect: {verdict: GO}}
  - {name: Nor is this one either, vessel: {colour: red}, expect: {verdict: GO}}
"""
    with pytest.raises(RuleFileError) as caught:
        run_cases(cases_of(tmp_path, FILE + more), RULES, "cases.yaml")
    first, second = caught.value.complaints
    assert first.startswith("cases.yaml: case This is not understood: confluency_percent: 'much' is no figure")
    assert second.startswith("cases.yaml: case Nor is this one either: 'colour' is no word of a description")


def test_a_case_can_be_asked_at_another_hour(tmp_path):
    text = FILE.replace("    expect", "    ask: {at: 2025-01-01T08:00:00+00:00}\n    expect").replace(
        "GO, c", "CANNOT_ASSESS, c"
    )
    cases = cases_of(tmp_path, text.replace(", action: harvest", ""))
    assert cases.cases[0].ask.at == datetime(2025, 1, 1, 8, tzinfo=UTC)
    [one] = run_cases(cases, RULES, "cases.yaml")  # approved and in force since 2026
    assert one.differences == ()


def test_a_set_without_cases_says_where_they_were_looked_for(tmp_path):
    with pytest.raises(
        InvalidArgumentError, match=r"There are no cases for site-a: looked for .*site-a\.yaml and .*--cases"
    ):
        find_cases(str(tmp_path / "site-a.yaml"), RULES)
