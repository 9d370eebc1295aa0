"""Decision records: their form, their hashes, and what they say to do."""

import copy
import json
import math
from dataclasses import replace
from datetime import timedelta

import jsonschema
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from decision_cases import AS_OF, evidence, figure, no_sign, outlook, request, rules, window
from msc_vision.decision import (
    Input,
    LayerSampling,
    Place,
    Reading,
    Review,
    check_record,
    decision_id,
    decision_record,
    explain,
    parse_record,
    record_schema,
    record_text,
)
from msc_vision.decision.actions import Action, read_action
from msc_vision.decision.rules import Coverage
from msc_vision.errors import InvalidDataError

DESIGN_KEYS = [
    *("schema_version", "decision_id", "created_at", "context", "verdict", "recommended_action", "criteria", "metrics"),
    *("coverage", "quality", "provenance", "review", "record_sha256", "supersedes", "signature"),
]
CRITERION_KEYS = [
    *("id", "outcome", "observed", "interval", "unit", "limit", "comparator", "layer", "probability", "source"),
    "message",
]


def record(found=None, rule_set=None, **asked):
    return decision_record(found or evidence(), rule_set or rules(), request(**asked))


def action(found=None, rule_set=None, **asked):
    return record(found, rule_set, **asked)["recommended_action"]


# --- form ------------------------------------------------------------------------------------------------------------


def test_a_record_has_the_keys_of_the_design_and_no_other():
    one = record()
    assert list(one) == DESIGN_KEYS
    assert list(one["criteria"][0]) == CRITERION_KEYS
    assert list(one["context"]) == [
        *("vessel_id", "vessel_type", "batch", "passage", "supervisory_job_id", "supervisory_task_id", "run_id")
    ]
    assert list(one["coverage"]) == ["layers_total", "measured", "inferred", "unobservable", "failed"]
    assert list(one["provenance"]["rule_set"]) == ["id", "version", "sha256"]


def test_a_record_fits_its_schema_and_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(record_schema())
    assert check_record(record()) == ()


@given(st.floats(allow_nan=True, allow_infinity=True), st.floats(0, 100), st.floats(0, 60), st.text(max_size=20))
def test_whatever_was_seen_the_record_is_whole_canonical_json(odd, value, half, words):
    found = evidence(
        vessel=figure(value, half, doubts=(words,) if words else ()),
        others={Place("passage", "vessel"): Reading(odd), Place("contamination", "vessel"): Reading(words)},
        metrics={"odd_percent": odd, "words": words},
    )
    one = record(found, rules(window(), window(None, 5, id="cap", metric="passage", unit="passages"), no_sign()))
    assert check_record(one) == ()
    assert record_text(one).encode() == rfc8785.dumps(one)
    assert parse_record(record_text(one)) == one


def test_passed_criteria_stand_in_the_record_too():
    assert [one["id"] for one in record(rule_set=rules(window(), no_sign()))["criteria"]] == [
        *("run-usable", "identity", "model-accepted", "rules-in-force", "confluency-window", "contamination")
    ]


# --- hashes ----------------------------------------------------------------------------------------------------------


def test_the_same_inputs_have_the_same_record_sha256_at_another_hour_in_another_run_folder_and_place():
    one, other = (
        record(),
        record(replace(evidence(), run_id="run-2", environment={"device": "cpu"}), as_of=AS_OF + timedelta(hours=1)),
    )
    assert one["record_sha256"] == other["record_sha256"]
    assert one["decision_id"] != other["decision_id"]


@pytest.mark.parametrize(
    "other",
    [
        record(evidence(vessel=figure(80.1))),
        record(rule_set=rules(window(high=91))),
        record(rule_set=rules(version="2")),
        record(evidence(inputs=(Input("vessels.json", "b" * 64),))),
        record(supervisory_task_id="T-9"),
        record(supersedes="0" * 32),
    ],
    ids=["figure", "limit", "version", "input", "task", "supersedes"],
)
def test_another_input_has_another_record_sha256(other):
    assert other["record_sha256"] != record()["record_sha256"]


def paths(value, path=()):
    if isinstance(value, dict):
        for name, one in value.items():
            yield from paths(one, (*path, name))
    elif isinstance(value, list):
        for n, one in enumerate(value):
            yield from paths(one, (*path, n))
    else:
        yield path


REVIEWED = record(
    evidence(environment={"device": "cpu"}),
    review=Review("R", "2026-11-22T12:05:00Z", "hold", "code", "why"),
    supersedes="0" * 32,
    batch="L7, passage 4",
)


@pytest.mark.parametrize("path", [one for one in paths(REVIEWED) if one != ("signature",)], ids=str)
def test_no_value_of_a_record_changes_unseen(path):
    altered = copy.deepcopy(REVIEWED)
    part = altered
    for name in path[:-1]:
        part = part[name]
    value = part[path[-1]]
    part[path[-1]] = value[:-1] + ("b" if value[-1:] != "b" else "c") if isinstance(value, str) else 17
    assert check_record(altered)


@pytest.mark.parametrize(
    ("name", "value"),
    [("created_at", "2026-11-22T12:00:01Z"), ("supersedes", "1" * 32), ("verdict", "GO"), ("metrics", {"more": 1})],
)
def test_an_altered_record_is_found_even_if_it_still_fits_its_schema(name, value):
    assert "does not have its decision_id" in str(check_record(REVIEWED | {name: value})[-1])


def test_an_altered_record_is_found_even_if_it_was_given_an_id_anew():
    altered = REVIEWED | {"verdict": "GO"}
    altered["decision_id"] = decision_id(altered)
    (only,) = check_record(altered)
    assert "does not have its record_sha256" in str(only)


def test_a_probability_is_never_shown_as_more_than_it_is():
    nearly = next(half for n in range(1_000_001, 1_010_000) if 0.94995 < _within(half := n / 1e5) < 0.95)
    shown = record(evidence(vessel=figure(80, nearly)))["criteria"][-1]
    assert (shown["outcome"], shown["probability"]) == ("undetermined", 0.9499)


def _within(half):
    return figure(80, half).belief.probability_within(70, 90)


def test_coverage_counts_layers_by_their_state():
    states = ("measured", "measured-degraded", "inferred", "unobservable", "missing", "missing")
    counted = record(evidence({n: figure(80) for n in range(1, 7)}, layer_states=states))["coverage"]
    assert counted == {"layers_total": 6, "measured": 2, "inferred": 1, "unobservable": 1, "failed": 2}


def test_an_interval_that_is_none_is_shown_as_none():
    odd = Reading(80.0, (math.nan, 90.0))
    assert record(evidence(vessel=odd))["criteria"][-1]["interval"] is None


def test_a_signature_does_not_change_what_it_signs():
    signed = record() | {"signature": {"name": "A. Prover", "time": "2026-11-22T12:10:00Z", "meaning": "approved"}}
    assert check_record(signed) == ()


@pytest.mark.parametrize("text", ["", "[]", "{}", "no json", '{"schema_version": 2}'])
def test_what_is_no_record_is_refused(text):
    with pytest.raises(InvalidDataError, match="decision record"):
        parse_record(text)


# --- what to do next -------------------------------------------------------------------------------------------------


def test_go_says_harvest():
    assert action() == "harvest"


def test_too_early_says_until_when_to_wait():
    early = evidence(vessel=figure(55), outlooks=outlook(70, 90, "2026-11-23T17:30:00+00:00"))
    assert action(early) == "wait until 2026-11-23T17:30:00Z"


@pytest.mark.parametrize("enters_at", [None, "2026-11-22T09:00:00+00:00"], ids=["no forecast", "long past"])
def test_too_early_without_a_forecast_ahead_says_to_look_again(enters_at):
    assert action(evidence(vessel=figure(55), outlooks=outlook(70, 90, enters_at))) == "wait and image again"


def test_overgrown_is_for_a_person():
    assert action(evidence(vessel=figure(97, 1.5))) == "hold and review"


def test_too_early_and_too_old_is_for_a_person():
    cap = window(None, 3, id="cap", metric="passage", unit="passages")
    assert action(evidence(vessel=figure(55)), rules(window(), cap)) == "hold and review"


def test_a_sign_of_contamination_sets_the_vessel_apart_before_anybody_looked():
    found = evidence(others={Place("contamination", "vessel"): Reading("suspect")})
    assert action(found, rules(window(), no_sign())) == "quarantine"


def test_an_interval_that_is_too_wide_asks_for_more_fields_on_the_measured_layers():
    wide = evidence(vessel=figure(80, 10.5))
    found = read_action(action(wide))
    assert (found.kind, found.layers) == ("image", (1, 2, 3))
    assert 1 <= found.n_fields <= 9 * 8


def sampling(*states):
    return tuple(
        LayerSampling(n, state, 9 if state == "measured" else 0, 80.0, 2.0, 5.0)
        for n, state in enumerate(states, start=1)
    )


def test_layers_that_could_be_seen_come_before_more_fields():
    states = ("measured", "inferred", "missing")
    found = evidence(vessel=figure(80, 11), layer_states=states, sampling=sampling(*states))
    assert action(found) == "image 9 more fields on each of layers 2-3"


def test_fields_are_not_asked_for_where_it_would_take_far_too_many():
    assert action(evidence(vessel=figure(80, 40))) == "hold and review"


def test_fields_are_not_asked_for_where_the_method_is_what_is_unsure():
    vague = tuple(replace(one, method_error_points=10.0) for one in sampling("measured", "measured", "measured"))
    assert action(evidence(vessel=figure(80, 17), sampling=vague)) == "hold and review"


def test_an_old_scan_asks_for_the_same_fields_again():
    fresh = window(None, 2, id="scan-age", metric="scan_age_h", unit="h")
    assert action(rule_set=rules(window(), fresh)) == "image 9 more fields on each of layers 1-3"


def test_too_little_coverage_asks_for_the_layers_that_nobody_imaged():
    states = ("measured", "missing", "unobservable")
    found = evidence(
        layer_states=states, sampling=sampling(*states), others={Place("measured_percent", "vessel"): Reading(33.0)}
    )
    needs = rules(window(coverage=Coverage(measured_percent=60)))
    assert action(found, needs) == "image 9 more fields on layer 2"


@pytest.mark.parametrize(
    "changes",
    [{"model_id": "other"}, {"problems": ("broken",)}],
    ids=["unknown network", "damaged run"],
)
def test_no_picture_is_asked_for_where_pictures_do_not_help(changes):
    assert action(evidence(vessel=figure(80, 11), **changes)) == "hold and review"


@pytest.mark.parametrize(
    "one",
    [
        Action("harvest"),
        Action("wait", until="2026-11-23T17:30:00Z"),
        Action("wait"),
        Action("image", n_fields=1, layers=(4,)),
        Action("image", n_fields=12, layers=(1, 2, 3, 7)),
        Action("hold and review"),
        Action("quarantine"),
    ],
    ids=lambda one: one.text,
)
def test_a_robot_reads_the_action_back_from_its_text(one):
    assert read_action(one.text) == one


def test_a_text_that_is_no_action_is_refused():
    with pytest.raises(InvalidDataError, match="'release it' is no recommended action"):
        read_action("release it")


# --- why, and what would change it -----------------------------------------------------------------------------------


def test_layers_that_fail_alike_are_told_once():
    worst = window(50, 92, id="worst-layer", level="layer")
    told = explain(record(evidence({n: figure(97, 1.5) for n in range(1, 13)}), rules(window(), worst)))
    assert told.verdict == "NO_GO"
    assert len(told.reasons) == 1
    assert "The same on layers 2-12." in told.reasons[0]
    assert told.changes == ("worst-layer on layers 1-12: a lower figure in a later scan.",)


def test_what_is_not_met_is_told_before_what_is_only_open():
    found = evidence(vessel=Reading(None), others={Place("contamination", "vessel"): Reading("suspect")})
    cap = window(None, 3, id="cap", metric="passage", unit="passages")
    told = explain(record(found, rules(window(), no_sign(), cap)))
    assert [one.split(":")[0] for one in told.changes] == ["cap", "confluency-window", "contamination"]


def test_layers_that_are_weak_alike_tell_how_sure_the_best_of_them_is():
    worst = window(70, 90, id="worst-layer", level="layer")
    layers = {n: figure(80, 8 + 4 * n) for n in (1, 2, 3)}
    told = explain(record(evidence(layers), rules(window(), worst)))
    best = math.floor(1e4 * _within(12)) / 1e4
    assert f"with probability {best:g} at best" in told.changes[0]


def test_go_tells_how_long_it_holds():
    assert explain(record()).reasons == ()
    assert "until the scan is too old" in explain(record()).changes[0]


def test_a_record_is_read_from_its_text_alone():
    assert explain(json.loads(record_text(REVIEWED))).verdict == "HOLD_REVIEW"
