"""Rule files: what is refused and how it is said, what ships, and what differs between two sets."""

import json
import math
from datetime import date
from statistics import NormalDist

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_cases import no_sign, rules, window
from msc_vision.batch.pipeline import load_pipeline
from msc_vision.decision import library
from msc_vision.decision.compare import compare_rules
from msc_vision.decision.described import OTHER_KEYS, STATES, WORDS
from msc_vision.decision.library import (
    available_rule_sets,
    complaints_of,
    load_rules,
    rule_set_of,
    shipped_rule_sets,
)
from msc_vision.decision.metrics import METRICS
from msc_vision.decision.rule_file import RuleFileError, rule_file_schema, rule_set_yaml, yaml_mapping
from msc_vision.decision.rules import Approval, Coverage, Criterion, Source
from msc_vision.errors import InvalidArgumentError, InvalidDataError
from msc_vision.resources import resource_path

SCHEMA = resource_path("pipelines").parent / "src/msc_vision/decision/data/rules.schema.json"
WINDOW = """\
id: ours
version: '1'
status: draft
title: Ours
models: [{id: culture-3}]
criteria:
  - id: confluency-window
    metric: confluency_percent
    low: 70
    high: 90
    unit: '%'
    severity: major
    source: {document: SOP-1, section: '2', placeholder: true}
    message: Dense enough.
"""


def write(folder, text, name="ours.yaml"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def complaints(folder, text):
    """Return what is said of a file's text, without the file's name."""
    path = write(folder, text)
    lines = complaints_of(path)
    assert all(line.startswith(f"{path}: ") and "\n" not in line for line in lines)
    return [line.removeprefix(f"{path}: ") for line in lines]


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_file_is_read(tmp_path):
    found = load_rules(write(tmp_path, WINDOW))
    assert (found.id, found.criteria[0].low, found.criteria[0].probability) == ("ours", 70, 0.95)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("    low: 70", "    lowest: 70", "criterion confluency-window: unknown key 'lowest'."),
        ("title: Ours", "title: Ours\ntitel: Ours", "unknown key 'titel'."),
        ("    severity: major\n", "", "criterion confluency-window: severity is missing."),
        ("severity: major", "severity: grave", "criterion confluency-window: severity: input should be 'critical', "),
        ("    low: 70", "    low: 70\n    low: 75", "line 10: not readable as YAML: key 'low' twice."),
        ("    low: 70", "    low: '70'", "criterion confluency-window: low: input should be a valid number, got '70'."),
        ("    low: 70", "    low: true", "criterion confluency-window: low: input should be a valid number, got True."),
        ("    low: 70", "    low: .nan", "criterion confluency-window: low: input should be a finite number, got nan."),
        ("low: 70", "low: 0.7", "criterion confluency-window: low is 0.7 %: percent go from 0 to 100; is 70 meant?"),
        (
            "high: 90",
            "high: 190",
            "criterion confluency-window: high is 190, which confluency_percent (%) can never be.",
        ),
        ("low: 70", "low: 95", "criterion confluency-window: low is 95, above high 90: nothing can lie between them."),
        ("unit: '%'", "unit: ratio", "criterion confluency-window: confluency_percent is in %, not in 'ratio'."),
        ("metric: confluency_percent", "metric: happiness", "criterion confluency-window: no metric is called 'happin"),
        (
            "placeholder: true}",
            "placeholder: false}",
            "criterion confluency-window: source: SOP-1: say from which date",
        ),
        ("version: '1'", "version: 1.0", "version: input should be a valid string, got 1.0."),
        ("status: draft", "status: approved", "an approved rule set says who approved it"),
        ("title: Ours", "title: &a Ours\ndescription: *a", "line 5: not readable as YAML: references (*name) are not"),
        ("title: Ours", "<<: {title: Ours}", "line 4: not readable as YAML: merging (<<) is not taken."),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, old, new, expected):
    assert WINDOW.replace(old, new) != WINDOW
    [line] = complaints(tmp_path, WINDOW.replace(old, new))
    assert line.startswith(expected)


def test_everything_wrong_is_said_at_once(tmp_path):
    text = WINDOW.replace("version: '1'\n", "").replace("    severity: major\n", "").replace("low: 70", "lowest: 70")
    assert complaints(tmp_path, text) == [
        "version is missing.",
        "criterion confluency-window: severity is missing.",
        "criterion confluency-window: unknown key 'lowest'.",
    ]


def test_an_error_of_a_load_is_one_line_of_the_family(tmp_path):
    path = write(tmp_path, WINDOW.replace("low: 70", "lowest: 70").replace("version: '1'\n", ""))
    with pytest.raises(InvalidDataError) as caught:
        load_rules(path)
    assert isinstance(caught.value, RuleFileError)
    assert len(caught.value.complaints) == 2
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- a\n", "has to hold keys with values"),
        ("", "has to hold keys with values"),
        ("id: [", "not readable as YAML"),
        ("[" * 100_000, "more than 20 levels"),
        ("a: !!python/object/apply:os.getcwd []", "not readable as YAML"),
        ("in_force: 2026-02-31", "not readable as YAML: day is out of range"),
        ("a: " + "x" * 1_000_001, "larger than 1,000,000 bytes"),
    ],
    ids=["list", "empty", "broken", "deep", "code", "no such day", "large"],
)
def test_what_is_no_rule_file_is_refused(tmp_path, text, expected):
    [line] = complaints(tmp_path, text)
    assert expected in line


def test_on_is_a_word_and_not_a_truth_value():
    assert yaml_mapping("approval: {by: QA, on: 2026-01-31}\nsure: true\nunsure: no\n", "text") == {
        "approval": {"by": "QA", "on": date(2026, 1, 31)},
        "sure": True,
        "unsure": "no",
    }


def test_an_approved_set_with_a_placeholder_is_refused(tmp_path):
    text = WINDOW.replace("status: draft", "status: approved\napproval: {by: QA, on: 2026-01-31, document: QA-7}")
    [line] = complaints(tmp_path, text)
    assert line == "limits are placeholders, so it cannot be approved: confluency-window."


def test_hours_since_a_moment_have_no_least(tmp_path):
    text = WINDOW.replace("confluency_percent", "scan_age_h").replace("'%'", "h")
    [line] = complaints(tmp_path, text)
    assert line.endswith("scan_age_h counts the hours since a moment: give high, the most allowed, and no low.")


# --- finding ---------------------------------------------------------------------------------------------------------


def test_a_name_that_is_not_there_lists_what_is(tmp_path):
    write(tmp_path, WINDOW)
    with pytest.raises(
        InvalidArgumentError, match=r"No rule set is called 'msc'; .* msc-expansion-default, .*, ours\.$"
    ):
        load_rules("msc", [tmp_path])


def test_a_folder_of_ones_own_goes_before_what_ships(tmp_path):
    path = write(tmp_path, WINDOW.replace("id: ours", "id: msc-secretome"), "msc-secretome.yaml")
    assert available_rule_sets([tmp_path])["msc-secretome"] == path
    assert load_rules("msc-secretome", [tmp_path]).title == "Ours"
    assert load_rules("msc-secretome").title != "Ours"


def test_a_file_found_by_id_has_that_id(tmp_path):
    path = write(tmp_path, WINDOW, "theirs.yaml")
    with pytest.raises(RuleFileError, match=r"theirs\.yaml: its id is 'ours'; a file that is found by id"):
        load_rules("theirs", [tmp_path])
    assert load_rules(path).id == "ours"


def test_content_that_came_from_elsewhere_reads_no_file_but_those_of_the_folders(tmp_path):
    base = write(tmp_path, WINDOW)
    content = {"id": "site", "version": "1", "title": "Site", "extends": str(base)}
    with pytest.raises(InvalidArgumentError, match="No rule set is called"):
        rule_set_of(content, [tmp_path])
    assert rule_set_of(content | {"extends": "ours"}, [tmp_path]).extends.startswith("ours 1 sha256:")


def test_a_rule_set_that_lists_criteria_and_extends_is_told_how_overlays_are_written(tmp_path):
    [line] = complaints(tmp_path, WINDOW + "extends: msc-expansion-default\n")
    assert "an overlay changes those of its base under overrides, and lists new ones under add" in line


# --- hash and round trip ---------------------------------------------------------------------------------------------

texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30)
percents = st.floats(1, 100).map(lambda x: round(x, 3))


@st.composite
def criteria(draw, number):
    low, high = sorted((draw(percents), draw(percents)))
    limits = draw(st.sampled_from([{"low": low}, {"high": high}, {"low": low, "high": high}]))
    source = Source(
        document=draw(texts), section=draw(texts), in_force=draw(st.dates()), placeholder=draw(st.booleans())
    )
    return Criterion(
        id=f"c-{number}",
        metric="confluency_percent",
        level=draw(st.sampled_from(METRICS["confluency_percent"].levels)),
        unit="%",
        probability=draw(st.floats(0.51, 0.999)),
        coverage=Coverage(measured_percent=draw(percents), fields=draw(st.integers(0, 99))),
        severity=draw(st.sampled_from(["critical", "major", "minor"])),
        source=source,
        message=draw(texts),
        **limits,
    )


@st.composite
def rule_sets(draw):
    asked = tuple(draw(criteria(number)) for number in range(draw(st.integers(0, 3))))
    is_approved = draw(st.booleans()) and not any(one.source.placeholder for one in asked)
    approval = Approval(by=draw(texts), on=draw(st.dates()), document=draw(texts)) if is_approved else None
    status = "approved" if is_approved else "draft"
    found = rules(window(), title=draw(texts), description=draw(texts), status=status, approval=approval)
    return found.model_copy(update={"criteria": asked})


@settings(max_examples=60, deadline=None)
@given(rule_sets())
def test_yaml_and_json_read_back_as_the_same(found):
    again = rule_set_of(yaml_mapping(rule_set_yaml(found), "text"))
    assert again == found
    assert rule_set_of(json.loads(json.dumps(found.model_dump(mode="json")))).sha256 == found.sha256 == again.sha256


@settings(max_examples=25, deadline=None)
@given(rule_sets(), st.randoms())
def test_the_hash_does_not_hang_on_order_or_comments(found, random):
    def shuffled(value):
        if isinstance(value, dict):
            items = [(key, shuffled(one)) for key, one in value.items()]
            random.shuffle(items)
            return dict(items)
        return [shuffled(one) for one in value] if isinstance(value, list) else value

    text = "# a comment\n" + yaml.safe_dump(
        shuffled(found.model_dump(mode="json")), sort_keys=False, allow_unicode=True
    )
    assert rule_set_of(yaml_mapping(text, "text")).sha256 == found.sha256


@pytest.mark.parametrize(
    "changes",
    [
        {"low": 70.001},
        {"message": "other"},
        {"probability": 0.951},
        {"severity": "minor"},
        {"coverage": Coverage(fields=1)},
    ],
    ids=lambda one: next(iter(one)),
)
def test_any_change_changes_the_hash(changes):
    assert rules(window(**changes)).sha256 != rules(window()).sha256


# --- what ships ------------------------------------------------------------------------------------------------------


def test_three_sets_ship():
    assert shipped_rule_sets() == ("msc-expansion-default", "msc-secretome", "msc-spheroids")


@pytest.fixture(params=shipped_rule_sets())
def shipped(request):
    return load_rules(request.param)


def test_every_shipped_limit_is_a_placeholder_of_a_draft_with_a_source_in_words(shipped):
    assert shipped.status == "draft"
    assert shipped.criteria
    for one in shipped.criteria:
        assert one.source.placeholder, one.id
        assert one.source.in_force is None
        assert len(one.source.section) > 10


def test_no_shipped_set_asks_less_than_usual_surely(shipped):
    assert {one.probability for one in shipped.criteria} == {0.95}


def test_the_shipped_sets_accept_the_network_of_the_shipped_recipe(shipped):
    network = load_pipeline("default").network
    assert (network.model, network.model_sha256) in [(one.id, one.sha256) for one in shipped.models]


def test_networks_are_listed_in_one_file_only():
    naming = [
        path.name for path in resource_path("pipelines/rules").rglob("*.yaml") if "sha256: " in path.read_text("utf-8")
    ]
    assert naming == ["msc-expansion-default.yaml"]


def test_the_default_asks_what_a_harvest_needs():
    asked = {(one.metric, one.level) for one in load_rules("msc-expansion-default").criteria}
    assert asked >= {
        ("confluency_percent", "vessel"),
        ("confluency_percent", "layer"),
        ("drift_of_alarm", "vessel"),
        ("cells_per_covered_area_of_baseline", "vessel"),
        ("aggregates_per_cm2", "vessel"),
        ("contamination", "vessel"),
        ("fields_suspect_percent", "vessel"),
        ("passage", "vessel"),
        ("pdl", "vessel"),
        ("measured_percent", "vessel"),
        ("known_percent", "vessel"),
        ("fields_failed_percent", "vessel"),
        ("fields_rejected_percent", "vessel"),
        ("fields_doubtful_percent", "vessel"),
        ("scan_age_h", "vessel"),
    }


def test_spheroids_are_not_asked_about_confluency_and_not_limited_from_above():
    found = load_rules("msc-spheroids")
    assert "confluency_percent" not in {one.metric for one in found.criteria}
    assert all(one.high is None for one in found.criteria if one.metric.startswith("aggregate"))


def test_what_the_default_says_of_the_method_error_is_so():
    """Normal on the angle scale, in the middle of the window: with 10 points too unsure, with 6 points sure enough."""
    low, high = (math.asin(math.sqrt(share)) for share in (0.7, 0.9))
    half = (high - low) / 2
    sure = {points: 2 * NormalDist().cdf(half / (points / 100)) - 1 for points in (6, 10)}
    assert sure[6] > 0.95
    assert sure[10] < 0.9
    assert load_pipeline("default").sampling.method_error_points == 10
    assert "from an error of about 6 points" in load_rules("msc-expansion-default").description


# --- schema ----------------------------------------------------------------------------------------------------------


def test_the_shipped_schema_is_current():
    """Write it anew with ``msc-vision rules schema > src/msc_vision/decision/data/rules.schema.json``."""
    assert json.loads(SCHEMA.read_text("utf-8")) == rule_file_schema()


def test_shipped_files_fit_the_schema_and_name_it():
    validator = jsonschema.Draft202012Validator(rule_file_schema())
    for path in (
        *resource_path("pipelines/rules").glob("*.yaml"),
        *resource_path("pipelines/rules/examples").glob("*.yaml"),
    ):
        text = path.read_text("utf-8")
        validator.validate(yaml_mapping(text, str(path)))
        named = text.splitlines()[0].removeprefix("# yaml-language-server: $schema=")
        assert (path.parent / named).resolve() == SCHEMA.resolve()


def test_the_schema_refuses_an_unknown_key():
    content = yaml_mapping(WINDOW, "text")
    validator = jsonschema.Draft202012Validator(rule_file_schema())
    assert validator.is_valid(content)
    assert not validator.is_valid(content | {"titel": "Ours"})


# --- differences -----------------------------------------------------------------------------------------------------


def test_limits_are_told_apart_from_wording():
    old = rules(window(), no_sign())
    new = rules(window(low=75, message="Other words."), version="2")
    found = compare_rules(old, new)
    assert [str(one) for one in found.deciding] == ["confluency-window: low 70 -> 75"]
    assert [one.key for one in found.wording] == ["message"]
    assert [one.id for one in found.removed] == ["contamination"]
    assert [str(one) for one in found.head] == ["version 1 -> 2"]
    assert not found.decides_alike


def test_other_words_decide_alike():
    assert compare_rules(rules(window()), rules(window(message="Other words."), title="Other")).decides_alike


@pytest.mark.parametrize("other", [{"models": ()}, {"criteria": ()}], ids=["networks", "criteria"])
def test_other_networks_or_criteria_do_not_decide_alike(other):
    assert not compare_rules(rules(window()), rules(window()).model_copy(update=other)).decides_alike


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InvalidArgumentError, match="no such folder of rule sets"):
        library.load_rules("ours", [tmp_path / "nowhere"])


# --- docs ------------------------------------------------------------------------------------------------------------

DOCS = resource_path("pipelines").parent / "docs/rules.md"


def test_the_overlay_in_the_docs_is_the_one_that_ships():
    example = resource_path("pipelines/rules/examples/site-example.yaml").read_text("utf-8")
    assert f"```yaml\n{example}```" in DOCS.read_text("utf-8")


def test_the_docs_explain_every_key_and_every_word_of_a_case():
    text = DOCS.read_text("utf-8")
    keys = {*Criterion.model_fields, *Source.model_fields, *Coverage.model_fields, *WORDS, *STATES, *OTHER_KEYS}
    assert [key for key in keys if f"`{key}`" not in text and f"`{key}:" not in text] == []
