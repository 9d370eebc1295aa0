"""`decide` and `verify` as people and scripts meet them: the record on stdout, the reasons on stderr."""

import json
import shutil

import pytest
import yaml
from typer.testing import CliRunner

from decision_cases import rules as rules_of
from decision_cases import window
from evidence_cases import WITHOUT_NETWORK, asked, flask_fields, growing_flask, run_of, stack_fields, wide_rules
from msc_vision.batch.decisions import decide
from msc_vision.cli import app
from msc_vision.decision.record import check_record, record_text

AT = ("--at", "2026-11-18T13:00+01:00")


def call(*arguments):
    return CliRunner().invoke(app, [str(one) for one in arguments], prog_name="msc-vision")


def error_of(result):
    """Return the one line that a failed command says."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    last = result.stderr.rstrip().splitlines()[-1]
    assert last.startswith("error: ")
    return last


def write_rules(path, rules):
    content = rules.model_dump(mode="json", exclude_defaults=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return run_of(tmp_path_factory.mktemp("flask"), flask_fields())


@pytest.fixture
def out(original, tmp_path):
    return shutil.copytree(original, tmp_path / "RUN")


@pytest.fixture(scope="module")
def go(tmp_path_factory):
    """Rules that the flask meets."""
    return write_rules(tmp_path_factory.mktemp("rules") / "site-a.yaml", wide_rules())


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A run of a flask at 80 % and one that grows."""
    return run_of(tmp_path_factory.mktemp("two"), [*flask_fields("A"), *growing_flask("B")])


# --- decide ----------------------------------------------------------------------------------------------------------


def test_a_go_with_its_record_reasons_and_copy(out, go):
    result = call("decide", out, "--rules", go, *AT, "--job", "J-1", "--task", "T-2")
    assert result.exit_code == 0
    record = json.loads(result.stdout)
    assert check_record(record) == ()
    assert (record["verdict"], record["created_at"]) == ("GO", "2026-11-18T12:00:00Z")
    assert (record["context"]["supervisory_job_id"], record["context"]["supervisory_task_id"]) == ("J-1", "T-2")
    assert result.stderr.startswith("FLASK: GO. Every criterion is met. Next: harvest.")
    assert "confluency-window" in result.stderr
    assert "What would change it:" in result.stderr
    saved = out / "decisions" / f"{record['decision_id']}.json"
    assert f"Kept as {saved}" in " ".join(result.stderr.split("\n")).replace("  ", " ")
    assert saved.read_text(encoding="utf-8") == record_text(record)
    assert call("verify", out).exit_code == 0


def test_the_command_gives_the_record_of_the_library(out, go):
    record = json.loads(call("decide", out, "--rules", go, *AT, "--no-save").stdout)
    assert record == decide(out, wide_rules(), asked())
    assert not (out / "decisions").exists()


def test_exit_code_0_whatever_the_verdict(out, go):
    late = call("decide", out, "--rules", go, "--at", "2026-11-30T13:00+01:00", "--no-save")
    assert late.exit_code == 0
    assert json.loads(late.stdout)["verdict"] == "CANNOT_ASSESS"
    assert late.stderr.startswith("FLASK: CANNOT_ASSESS. The evidence is missing or too weak to judge. Next: image 9")
    assert "Why:" in late.stderr
    wrong = call("decide", out, "--rules", go, *AT, "--expect-type", "T-175", "--no-save")
    assert wrong.exit_code == 0
    assert json.loads(wrong.stdout)["verdict"] == "NO_GO"
    assert "vessel_type is t-75, not t-175" in " ".join(wrong.stderr.split())


def test_without_a_moment_it_is_now(out, go):
    record = json.loads(call("decide", out, "--rules", go, "--no-save").stdout)
    assert record["created_at"] > "2026-11-19"


def test_a_draft_says_go_in_a_trial_only(out, tmp_path):
    draft = rules_of(window(20, None), status="draft", approval=None, models=WITHOUT_NETWORK)
    path = write_rules(tmp_path / "site-a.yaml", draft)
    production = json.loads(call("decide", out, "--rules", path, *AT, "--no-save").stdout)
    trial = json.loads(call("decide", out, "--rules", path, *AT, "--no-save", "--trial").stdout)
    assert (production["verdict"], trial["verdict"]) == ("CANNOT_ASSESS", "GO")
    assert trial["quality"]["purpose"] == "trial"


def test_layers_that_came_out_alike_share_a_row(tmp_path, go):
    run = run_of(tmp_path, stack_fields())
    result = call("decide", run, "--rules", go, *AT, "--no-save")
    rows = [line.split() for line in result.stderr.splitlines() if line.strip().startswith("every-layer")]
    assert len(rows) <= 3
    assert {row[1].rstrip(",") for row in rows} & {"1", "1,", "1-12", "2-5"}


def test_every_vessel_as_json_lines(two, go):
    result = call("decide", two, "--rules", go, *AT, "--all", "--no-save")
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [one["context"]["vessel_id"] for one in records] == ["A", "B"]
    assert result.stdout.splitlines()[0] == record_text(records[0])
    assert [line.split(".")[0] for line in result.stderr.splitlines()] == ["A: GO", f"B: {records[1]['verdict']}"]


def test_too_early_is_told_with_the_hour(tmp_path, two):
    path = write_rules(tmp_path / "site-a.yaml", rules_of(window(90, None, probability=0.6), models=WITHOUT_NETWORK))
    result = call("decide", two, "--rules", path, *AT, "--vessel", "B", "--no-save")
    record = json.loads(result.stdout)
    assert record["verdict"] == "NO_GO"
    assert record["recommended_action"].startswith("wait until 2026-11-")


def test_superseding(out, go):
    first = json.loads(call("decide", out, "--rules", go, *AT).stdout)["decision_id"]
    second = call("decide", out, "--rules", go, *AT, "--supersedes", first)
    assert json.loads(second.stdout)["supersedes"] == first
    assert "superseded already, by" in error_of(call("decide", out, "--rules", go, *AT, "--supersedes", first))
    assert call("verify", out).exit_code == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "shows 2 vessels; name one of A, B."),
        (("--vessel", "C"), "shows no vessel 'C'; it shows A, B."),
        (("--all", "--vessel", "A"), "--all asks for every vessel: leave out --vessel and --supersedes."),
        (("--vessel", "A", "--at", "tomorrow"), "'tomorrow' is no time; write 2026-11-20T08:00+01:00."),
        (("--vessel", "A", "--supersedes", "x"), "'x' is no decision_id: 32 digits 0-9 and a-f."),
        (("--vessel", "A", "--expect-type", "bathtub"), "bathtub"),
        (("--vessel", "A", "--prior", "none.yaml"), "none.yaml: cannot be read"),
        (("--vessel", "A", "--history", "none"), "none is no run folder"),
    ],
)
def test_what_has_to_be_put_right_is_one_line(two, go, options, words):
    assert words in error_of(call("decide", two, "--rules", go, "--no-save", *options))


def test_rules_that_are_not_there(two):
    assert "no-such-rules" in error_of(call("decide", two, "--rules", "no-such-rules", "--vessel", "A"))


# --- verify ----------------------------------------------------------------------------------------------------------


def test_a_record_is_verified_where_it_lies_and_elsewhere(out, go, tmp_path):
    record = json.loads(call("decide", out, "--rules", go, *AT).stdout)
    saved = out / "decisions" / f"{record['decision_id']}.json"
    result = call("verify", saved)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "the record holds: the same inputs give GO again." in result.stderr
    copy = shutil.copyfile(saved, tmp_path / "record.json")
    assert call("verify", copy, "--run", out).exit_code == 0
    assert call("verify", copy, "--run", out, "--rules", go).exit_code == 0


def test_a_record_that_does_not_hold_says_why(out, go):
    record = json.loads(call("decide", out, "--rules", go, *AT).stdout)
    saved = out / "decisions" / f"{record['decision_id']}.json"
    path = out / "vessels.json"
    path.write_text(path.read_text().replace('"sd_points"', '"sd_point"'))
    result = call("verify", saved)
    assert result.exit_code == 2
    assert "Input vessels.json has another sha256: " in result.stdout
    assert "The verdict is CANNOT_ASSESS, it was GO." in result.stdout
    assert "the record does not hold." in result.stderr


def test_what_cannot_be_verified_is_one_line(out, go, tmp_path):
    saved = tmp_path / "record.json"
    saved.write_text("{}")
    assert "No whole decision record" in error_of(call("verify", saved, "--run", out))
    assert "are for a decision record; name its file." in error_of(call("verify", out, "--rules", go))
    record = call("decide", out, "--rules", go, *AT, "--no-save").stdout
    saved.write_text(record)
    assert "the rule set is missing." in error_of(call("verify", saved, "--run", out))
