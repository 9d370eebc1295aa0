"""``msc-vision rules`` as people and scripts meet it."""

import json
import re

import pytest
from typer.testing import CliRunner

from msc_vision.cli import app
from msc_vision.decision.library import load_rules, rule_set_of, shipped_rule_sets
from msc_vision.decision.metrics import METRICS
from msc_vision.decision.rule_file import rule_file_schema, yaml_mapping
from msc_vision.resources import resource_path

SITE = resource_path("pipelines/rules/examples/site-example.yaml")


def call(*arguments):
    return CliRunner().invoke(app, ["rules", *map(str, arguments)], prog_name="msc-vision")


def done(*arguments):
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    return result


@pytest.mark.parametrize("command", ["list", "metrics", "show", "check", "diff", "test", "schema"])
def test_help_of_each_command_teaches(command):
    text = " ".join(done(command, "--help").stdout.split())
    assert f"msc-vision rules {command}" in text
    assert re.search(r"Examples?", text)


def test_list_names_what_ships():
    lines = done("list").stdout.splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [[name, "1", "draft"] for name in shipped_rule_sets()]
    listed = json.loads(done("list", "--json").stdout)
    assert [one["sha256"] for one in listed] == [load_rules(name).sha256 for name in shipped_rule_sets()]


def test_list_names_those_of_a_folder_too():
    assert "site-example           2026.1   draft" in done("list", "--folder", SITE.parent).stdout


def test_metrics_names_all_with_their_units():
    text = done("metrics").stdout
    assert all(name in text for name in METRICS)
    assert {one["name"]: one["unit"] for one in json.loads(done("metrics", "--json").stdout)}["pdl"] == "doublings"


def test_show_is_a_table_with_limits_and_marked_placeholders():
    text = done("show", "msc-secretome").stdout
    assert "draft: no GO in production" in text
    assert re.search(r"confluency-window\s*│ 80 to 95 %", text)
    assert text.count("PLACEHOLDER") == len(load_rules("msc-secretome").criteria)
    assert "changed by msc-secretome 1: confluency-window: low 70 -> 80; high 90 -> 95" in text
    assert "pdl-cap removed" in done("show", SITE).stdout


def test_show_as_yaml_and_json_is_complete():
    found = load_rules(SITE)
    assert rule_set_of(yaml_mapping(done("show", SITE, "--yaml").stdout, "stdout")) == found
    content = json.loads(done("show", SITE, "--json").stdout)
    assert content.pop("sha256") == found.sha256 == rule_set_of(content).sha256


def test_a_name_that_is_not_there_is_one_line():
    result = call("show", "nope")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        f"error: No rule set is called 'nope'; give a YAML file or one of {', '.join(shipped_rule_sets())}."
    ]


def test_check_has_nothing_to_say_of_what_ships():
    result = done("check", *resource_path("pipelines/rules").glob("*.yaml"), SITE)
    assert result.stdout == ""
    assert "4 files, 0 complaints." in result.stderr


def test_check_lists_all_complaints_on_stdout(tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text(SITE.read_text("utf-8").replace("low: 75", "lowest: 75").replace("title:", "titel:"), "utf-8")
    result = call("check", bad, SITE, tmp_path / "none.yaml")
    assert result.exit_code == 2
    assert result.stdout.splitlines() == [
        f"{bad}: title is missing.",
        f"{bad}: override of confluency-window: unknown key 'set.lowest'.",
        f"{bad}: unknown key 'titel'.",
        f"{tmp_path / 'none.yaml'}: no such file.",
    ]


def test_diff_tells_limits_from_wording():
    result = done("diff", "msc-expansion-default", SITE)
    lines = result.stdout.splitlines()
    assert "confluency-window: low 70 -> 75" in lines
    assert any(line.startswith("added cells-enough: density_per_cm2 at least 12000 1/cm2") for line in lines)
    assert "removed pdl-cap: pdl at most 20 doublings, major" in lines
    assert all("message" not in line for line in lines if not line.startswith("wording: "))
    assert "They can come to other verdicts." in result.stderr


def test_diff_as_json():
    found = json.loads(done("diff", "msc-expansion-default", SITE, "--json").stdout)
    assert found["decides_alike"] is False
    assert found["deciding"][0] == {"criterion": "confluency-window", "key": "low", "old": 70.0, "new": 75.0}
    assert json.loads(done("diff", SITE, SITE, "--json").stdout)["decides_alike"] is True


@pytest.mark.parametrize("name", [*shipped_rule_sets(), SITE], ids=str)
def test_shipped_cases_hold(name):
    result = done("test", name)
    assert re.search(r"\d+ cases, 0 failed\.", result.stderr)
    assert result.stdout == ""


def test_a_case_that_fails_is_named_with_its_reason(tmp_path):
    """The site's own rules do not know the doublings that the shipped cases ask about."""
    cases = resource_path("pipelines/rules/cases/msc-expansion-default.yaml")
    result = call("test", SITE, "--cases", cases, "--json")
    assert result.exit_code == 2
    assert "Without doublings on record it cannot be assessed: pdl-cap: there is no such criterion" in result.stderr
    failed = [one["name"] for one in json.loads(result.stdout) if one["differences"]]
    assert "Without doublings on record it cannot be assessed" in failed


def test_schema_prints_what_ships():
    assert json.loads(done("schema").stdout) == rule_file_schema()
