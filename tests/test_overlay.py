"""Overlays: a site changes a rule set with its reasons, and what it changed stays visible."""

import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from decision_cases import no_sign, rules, window
from msc_vision.decision.library import complaints_of, load_rules, rule_set_of
from msc_vision.decision.rule_file import RuleFileError, rule_set_yaml, yaml_mapping
from msc_vision.errors import InvalidArgumentError

BASE = rules(window(), no_sign(), id="base")
SOP = {"document": "SOP-9 v1", "section": "3", "in_force": "2026-02-01"}
NARROWER = {"confluency-window": {"set": {"low": 75, "source": SOP}, "reason": "Our validation begins at 75 %."}}


@pytest.fixture
def folder(tmp_path):
    """A folder with the set ``base``: an approved window of 70 to 90 %, and contamination signs."""
    (tmp_path / "base.yaml").write_text(rule_set_yaml(BASE), encoding="utf-8")
    return tmp_path


def overlay(folder, name="site", **content):
    """Write an overlay of ``base`` and return its path."""
    head = {"id": name, "version": "1", "title": "Site", "extends": "base.yaml"}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(head | content, sort_keys=False), encoding="utf-8")
    return path


def complaints(path, folders=()):
    return [line.removeprefix(f"{path}: ") for line in complaints_of(path, folders)]


# --- what it makes ---------------------------------------------------------------------------------------------------


def test_a_limit_is_replaced_and_the_rest_stays(folder):
    found = load_rules(overlay(folder, overrides=NARROWER))
    changed, kept = found.criteria
    assert (changed.low, changed.high, changed.probability) == (75, 90, 0.95)
    assert changed.source.document == "SOP-9 v1"
    assert kept == BASE.criteria[1]
    assert found.extends == f"base 1 sha256:{BASE.sha256}"


def test_old_and_new_and_the_reason_are_kept(folder):
    [one] = load_rules(overlay(folder, overrides=NARROWER)).overrides
    assert (one.criterion, one.by, one.reason) == ("confluency-window", "site 1", "Our validation begins at 75 %.")
    assert (one.changed["low"].old, one.changed["low"].new) == (70, 75)
    assert set(one.changed) == {"low", "source"}


def test_a_removed_criterion_is_kept_as_it_was(folder):
    found = load_rules(
        overlay(folder, overrides={"contamination": {"remove": True, "reason": "Looked for elsewhere."}})
    )
    assert [one.id for one in found.criteria] == ["confluency-window"]
    assert found.overrides[0].removed == BASE.criteria[1]


def test_a_criterion_is_added(folder):
    added = window(id="layers", level="layer").model_dump(mode="json")
    assert [one.id for one in load_rules(overlay(folder, add=[added])).criteria][-1] == "layers"


def test_a_limit_can_be_dropped(folder):
    change = {"confluency-window": {"set": {"high": None, "source": SOP}, "reason": "Cells are used at once."}}
    found = load_rules(overlay(folder, overrides=change)).criteria[0]
    assert (found.low, found.high) == (70, None)


def test_part_of_the_coverage_changes_and_the_rest_stays(folder):
    base = rules(window(coverage={"measured_percent": 20, "fields": 9}), id="base")
    (folder / "base.yaml").write_text(rule_set_yaml(base), encoding="utf-8")
    change = {
        "confluency-window": {"set": {"coverage": {"fields": 25}, "source": SOP}, "reason": "Fields differ more."}
    }
    found = load_rules(overlay(folder, overrides=change)).criteria[0].coverage
    assert (found.measured_percent, found.fields) == (20, 25)


def test_other_networks_need_a_reason_and_are_noted(folder):
    ours = {"set": [{"id": "culture-ours"}], "reason": "Fine-tuned on our cells, report 7."}
    found = load_rules(overlay(folder, models=ours))
    assert [one.id for one in found.models] == ["culture-ours"]
    assert (found.overrides[0].criterion, found.overrides[0].changed["models"].old[0]["id"]) == ("models", "culture-1")


def test_three_levels_are_laid_over_each_other(folder):
    overlay(folder, "site", overrides=NARROWER)
    change = {"confluency-window": {"set": {"low": 80, "source": SOP}, "reason": "Bank MCB-7 grows slowly."}}
    found = load_rules(overlay(folder, "bank", extends="site.yaml", overrides=change))
    assert found.criteria[0].low == 80
    notes = [(one.by, one.changed["low"].old, one.changed["low"].new) for one in found.overrides]
    assert notes == [("site 1", 70, 75), ("bank 1", 75, 80)]
    assert found.extends.startswith("site 1 sha256:")


def test_a_base_is_found_by_id_in_the_folders(folder, tmp_path_factory):
    path = overlay(tmp_path_factory.mktemp("elsewhere"), extends="base")
    assert load_rules(path, [folder]).extends.startswith("base 1 ")
    with pytest.raises(InvalidArgumentError, match="No rule set is called 'base'"):
        load_rules(path)


# --- approval --------------------------------------------------------------------------------------------------------

APPROVED = {"status": "approved", "approval": {"by": "QA", "on": "2026-03-01", "document": "QA-12"}}


def test_an_overlay_of_an_approved_set_is_a_draft(folder):
    assert BASE.status == "approved"
    found = load_rules(overlay(folder, overrides=NARROWER))
    assert (found.status, found.approval) == ("draft", None)


def test_an_overlay_with_its_own_approval_is_approved(folder):
    found = load_rules(overlay(folder, overrides=NARROWER, pin={"sha256": BASE.sha256}, **APPROVED))
    assert (found.status, found.approval.document) == ("approved", "QA-12")


def test_an_approved_overlay_has_to_pin_what_it_extends(folder):
    [line] = complaints(overlay(folder, overrides=NARROWER, **APPROVED))
    assert line == "an approved overlay pins what it extends (pin: sha256), else it could change unseen."


def test_an_approved_overlay_cannot_leave_placeholders_of_its_base():
    default = load_rules("msc-expansion-default")
    content = {"id": "site", "version": "1", "title": "Site", "extends": default.id, "pin": {"sha256": default.sha256}}
    with pytest.raises(RuleFileError, match="limits are placeholders, so it cannot be approved: confluency-window, "):
        rule_set_of(content | APPROVED)


@pytest.mark.parametrize(
    ("pin", "expected"),
    [
        ({"version": "2"}, "pin: it wants version 2 of base, found 1"),
        ({"sha256": "0" * 64}, "pin: it wants base with sha256 000000000000…, found "),
        ({}, "pin: pin: give version, sha256 or both."),
    ],
    ids=["version", "sha256", "nothing"],
)
def test_another_text_than_the_pinned_one_is_refused(folder, pin, expected):
    [line] = complaints(overlay(folder, pin=pin))
    assert line.startswith(expected)


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "entry", "expected"),
    [
        (
            "windw",
            {"remove": True, "reason": "Not needed."},
            "override of windw: base 1 has no such criterion; it has confl",
        ),
        ("contamination", {"remove": True}, "override of contamination: reason is missing."),
        (
            "contamination",
            {"remove": True, "reason": "    "},
            "override of contamination: reason: string should have at least",
        ),
        ("contamination", {"reason": "Because."}, "override of contamination: give either set or remove: true."),
        ("contamination", {"set": {}, "reason": "Because."}, "override of contamination: set: it changes nothing"),
        (
            "contamination",
            {"set": {"metric": "pdl"}, "reason": "Why."},
            "override of contamination: unknown key 'set.metric'.",
        ),
        (
            "contamination",
            {"set": {"severity": "critical"}, "reason": "Why."},
            "override of contamination: set.severity: it is",
        ),
        (
            "confluency-window",
            {"set": {"low": 75}, "reason": "Why."},
            "override of confluency-window: set: low changes, so",
        ),
        (
            "confluency-window",
            {"set": {"low": 95, "source": SOP}, "reason": "Why."},
            "override of confluency-window: low is 95",
        ),
        (
            "confluency-window",
            {"set": {"low": 0.7, "source": SOP}, "reason": "Why."},
            "criterion confluency-window: low is 0.7",
        ),
        (
            "confluency-window",
            {"set": {"probability": 0.4, "source": SOP}, "reason": "Why."},
            "override of confluency-window: ",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(folder, name, entry, expected):
    [line] = complaints(overlay(folder, overrides={name: entry}))
    assert line.startswith(expected)


def test_everything_wrong_is_said_at_once(folder):
    wrong = {
        "windw": {"remove": True, "reason": "Not needed."},
        "confluency-window": {"set": {"low": 95, "source": SOP}, "reason": "Denser."},
    }
    lines = complaints(overlay(folder, overrides=wrong, pin={"version": "7"}, add=[no_sign().model_dump(mode="json")]))
    assert len(lines) == 4
    assert [line.split(":")[0] for line in lines] == [
        "pin",
        "override of windw",
        "criterion contamination",
        "override of confluency-window",
    ]


def test_an_overlay_with_the_id_of_its_base_is_refused(folder):
    path = overlay(folder, "other", id="base")
    assert complaints(path) == ["id: 'base' is that of the rule set it extends; give it its own."]


def test_a_cycle_is_named(folder):
    path = overlay(folder, "a", extends="b.yaml")
    overlay(folder, "b", extends="c.yaml")
    overlay(folder, "c", extends="a.yaml")
    [line] = complaints(path)
    assert line.endswith("a.yaml extends b.yaml extends c.yaml extends a.yaml: a rule set cannot extend itself.")


def test_a_base_that_is_not_there_is_named_with_the_file_that_wants_it(folder):
    path = overlay(folder, extends="nowhere.yaml")
    [line] = complaints_of(path)
    assert line.startswith(
        f"{path}: extends: There is no file {folder / 'nowhere.yaml'}; give a YAML file or one of msc-"
    )


# --- properties ------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "low": st.integers(1, 69),
            "high": st.integers(91, 100),
            "probability": st.sampled_from([0.9, 0.99]),
            "severity": st.sampled_from(["critical", "minor"]),
        },
    ).filter(bool),
    st.booleans(),
)
def test_an_overlay_is_the_base_with_its_changes_written_into_it(tmp_path_factory, change, is_removed):
    folder = tmp_path_factory.mktemp("sets")
    (folder / "base.yaml").write_text(rule_set_yaml(BASE), encoding="utf-8")
    overrides = {"confluency-window": {"set": change | {"source": SOP}, "reason": "Because."}}
    if is_removed:
        overrides["contamination"] = {"remove": True, "reason": "Because."}
    found = load_rules(overlay(folder, overrides=overrides))
    expected = window(**change, source=SOP)
    assert found.criteria == ((expected,) if is_removed else (expected, BASE.criteria[1]))
    undone = {key: one.old for key, one in found.overrides[0].changed.items()}
    assert window(**(found.criteria[0].model_dump(mode="json") | undone)) == BASE.criteria[0]
    assert rule_set_of(yaml_mapping(rule_set_yaml(found), "text")) == found
    assert rule_set_of(json.loads(json.dumps(found.model_dump(mode="json")))) == found
