"""Records in run folders: kept once, replayed to the last digit, and every difference told."""

import json
import shutil

import pytest
import yaml

from decision_cases import window
from evidence_cases import AS_OF, asked, edit_vessel, flask_fields, growing_flask, run_of, wide_rules
from msc_vision.batch import replay
from msc_vision.batch.decisions import (
    check_superseded,
    decide,
    read_decision,
    read_saved_rules,
    rules_path,
    save_decision,
    saved_decisions,
)
from msc_vision.batch.replay import replay_record, request_of
from msc_vision.batch.verify import verify_run
from msc_vision.decision import Review, Settlement, decision_record
from msc_vision.decision.record import decision_id, record_sha256, record_text
from msc_vision.errors import InvalidArgumentError, InvalidDataError, OutputError
from msc_vision.statistics.growth_prior import placeholder_prior

RULES = wide_rules()


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return run_of(tmp_path_factory.mktemp("flask"), flask_fields())


@pytest.fixture
def out(original, tmp_path):
    return shutil.copytree(original, tmp_path / "RUN")


@pytest.fixture(scope="module")
def mornings(tmp_path_factory):
    """A flask on three mornings, a run each, side by side."""
    folder = tmp_path_factory.mktemp("mornings")
    found = [run_of(folder / str(day), growing_flask(days=(day,))) for day in range(3)]
    return [run.rename(folder / f"DAY{day}.run") for day, run in enumerate(found)]


def complaints(out, severity="error"):
    return [str(one) for one in verify_run(out) if one.severity == severity]


def resealed(record, **changes):
    """Return an altered record whose hashes fit."""
    record = record | changes
    record["record_sha256"] = record_sha256(record)
    return record | {"decision_id": decision_id(record)}


# --- a record that holds ---------------------------------------------------------------------------------------------


def test_a_record_holds_wherever_its_run_lies(original, out):
    record = decide(original, RULES, asked())
    assert record["verdict"] == "GO"
    found = replay_record(record, out, RULES)
    assert (found.holds, found.differences, found.notes) == (True, (), ())


def test_the_same_inputs_give_the_same_record(original, out):
    assert record_text(decide(original, RULES, asked())) == record_text(decide(out, RULES, asked()))


@pytest.mark.parametrize(
    "request_",
    [
        asked(vessel_type="t-75", batch="L7, passage 3", passage=3),
        asked(vessel_type="t-175", batch="L8; passage 4, not 3"),
        asked(purpose="trial", supervisory_job_id="J-1", supervisory_task_id="T-2", supersedes="0" * 32),
        asked(review=Review("A. Person", "2026-11-18T13:00:00Z", "hold", "R1", "Look again.")),
    ],
    ids=["expected", "another vessel", "trial", "held"],
)
def test_a_record_tells_the_request_that_led_to_it(original, request_):
    record = decide(original, RULES, request_)
    assert request_of(record) == request_
    assert replay_record(record, original, RULES).holds


def test_a_settled_record_replays(tmp_path):
    run = run_of(tmp_path, flask_fields(), flags=("unsure",))
    assert decide(run, RULES, asked())["verdict"] == "HOLD_REVIEW"
    answers = (Settlement("confluency-window", None, "met"), Settlement("every-layer", 1, "met"))
    review = Review("A. Person", "2026-11-18T13:00:00Z", "settle", "R1", "Looked at all fields.", answers)
    record = decide(run, RULES, asked(review=review, supersedes="0" * 32))
    assert record["verdict"] == "GO"
    assert replay_record(record, run, RULES).holds


def test_a_new_version_that_decides_alike_changes_nothing(original, monkeypatch):
    record = decide(original, RULES, asked())
    record["provenance"]["software"]["version"] = "0.0.9"
    found = replay_record(resealed(record), original, RULES)
    assert found.holds
    assert found.notes[0].startswith("It was made with version 0.0.9 and replayed with ")


# --- what differs is told --------------------------------------------------------------------------------------------


def test_an_altered_record_is_not_even_replayed(original):
    record = decide(original, RULES, asked()) | {"verdict": "NO_GO"}
    assert replay_record(record, original, RULES).differences == (
        "What was judged was altered: it does not have its record_sha256.",
        "The record was altered: its content does not have its decision_id.",
    )


def test_a_verdict_that_was_forged_with_fitting_hashes_does_not_replay(original):
    record = resealed(decide(original, RULES, asked()), verdict="NO_GO", recommended_action="quarantine")
    assert replay_record(record, original, RULES).differences == (
        "The verdict is GO, it was NO_GO.",
        "The recommended action is harvest, it was quarantine.",
    )


def test_other_figures_are_told_by_input_and_criterion(out):
    record = decide(out, RULES, asked())
    edit_vessel(out, acquired_to="2026-11-01T08:00:00+00:00", trend_points_per_layer=1.0)
    found = replay_record(record, out, RULES)
    assert not found.holds
    told = "\n".join(found.differences)
    assert "Input vessels.json has another sha256: " in told
    assert "Criterion scan-age came out differently: outcome undetermined, was met; observed 2026-11-01T" in told
    assert "The verdict is CANNOT_ASSESS, it was GO." in told
    assert "In metrics, acquired_to, trend_points_per_layer differ." in told


def test_another_rule_set_is_named(original):
    record = decide(original, RULES, asked())
    found = replay_record(record, original, wide_rules(version="2"))
    assert not found.holds
    assert found.differences[0].startswith("It was judged by rule set site-a 1 (")
    assert ", not by site-a 2 (" in found.differences[0]


def test_a_run_that_is_gone_or_shows_another_vessel(original, tmp_path):
    record = decide(original, RULES, asked())
    assert "is no run folder" in replay_record(record, tmp_path, RULES).differences[0]
    other = run_of(tmp_path, flask_fields("OTHER"))
    assert "shows no vessel 'FLASK'" in replay_record(record, other, RULES).differences[0]


# --- history and prior -----------------------------------------------------------------------------------------------


def test_history_is_found_again_beside_the_run_or_where_it_is_said_to_be(mornings, tmp_path):
    rules = wide_rules(criteria=(window(70, 90),))
    record = decide(mornings[2], rules, asked(), history=mornings[:2])
    assert len(record["provenance"]["inputs"]) == 8
    assert replay_record(record, mornings[2], rules).holds
    alone = shutil.copytree(mornings[2], tmp_path / "elsewhere" / "RUN")
    missing = replay_record(record, alone, rules)
    assert not missing.holds
    assert "is missing: no run folder beside RUN has it; name it with --history." in missing.differences[0]
    assert replay_record(record, alone, rules, history=mornings[:2]).holds
    named = replay_record(record, mornings[2], rules, history=())
    assert "no run folder that was named has it" in named.differences[0]


def test_a_prior_is_kept_with_the_record(mornings, tmp_path):
    rules = wide_rules(criteria=(window(70, 90),))
    run = shutil.copytree(mornings[2], tmp_path / "RUN")
    prior = tmp_path / "bank.yaml"
    prior.write_text(yaml.safe_dump(placeholder_prior().model_dump(mode="json")))
    record = decide(run, rules, asked(), history=mornings[:2], prior=prior)
    assert "prior.yaml" in {one["path"] for one in record["provenance"]["inputs"]}
    without = replay_record(record, run, rules, history=mornings[:2])
    assert "Input prior.yaml is missing" in without.differences[0]
    save_decision(run, record, rules, prior)
    prior.unlink()
    assert replay_record(record, run, rules, history=mornings[:2]).holds


# --- kept in the run folder ------------------------------------------------------------------------------------------


def test_a_record_is_kept_once_with_its_rules(out):
    record = decide(out, RULES, asked())
    path = save_decision(out, record, RULES)
    assert path == out / "decisions" / f"{record['decision_id']}.json"
    assert save_decision(out, record, RULES) == path
    assert list(saved_decisions(out)) == [path]
    assert path.read_text(encoding="utf-8") == record_text(record)
    assert read_decision(path) == record
    assert read_saved_rules(rules_path(out, RULES.sha256)) == RULES
    assert [one.name for one in (out / "decisions").rglob("*.tmp")] == []


def test_nothing_is_overwritten(out):
    record = decide(out, RULES, asked())
    path = save_decision(out, record, RULES)
    path.write_text("{}")
    with pytest.raises(OutputError, match=r"is there already with another content; check with `msc-vision verify`"):
        save_decision(out, record, RULES)
    assert path.read_text() == "{}"


def test_what_may_be_superseded(out):
    first = decide(out, RULES, asked())
    save_decision(out, first, RULES)
    name = first["decision_id"]
    assert check_superseded(out, name, "FLASK") is None
    assert "is not among the records of" in check_superseded(out, "0" * 32, "FLASK")
    with pytest.raises(InvalidArgumentError, match=r"'x' is no decision_id: 32 digits 0-9 and a-f"):
        check_superseded(out, "x", "FLASK")
    with pytest.raises(InvalidArgumentError, match=r"is the record of vessel FLASK, not of OTHER"):
        check_superseded(out, name, "OTHER")
    later = decide(out, RULES, asked(supersedes=name))
    save_decision(out, later, RULES)
    with pytest.raises(InvalidArgumentError, match=rf"superseded already, by {later['decision_id']}"):
        check_superseded(out, name, "FLASK")


# --- verify of the run folder ----------------------------------------------------------------------------------------


@pytest.fixture
def decided(out):
    """A run with one record, and the path of that record."""
    return save_decision(out, decide(out, RULES, asked()), RULES)


def test_a_run_with_sound_records_has_no_complaint(out, decided):
    save_decision(out, decide(out, RULES, asked(supersedes=decided.stem)), RULES)
    assert verify_run(out) == ()


def edited(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


DAMAGE = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:300]),
    "verdict": lambda path: edited(path, verdict="NO_GO"),
    "renamed": lambda path: path.rename(path.with_name("1" * 32 + ".json")),
    "rules gone": lambda path: next((path.parent / "rules").iterdir()).unlink(),
    "rules altered": lambda path: edited(next((path.parent / "rules").iterdir()), title="Another"),
    "review": lambda path: (
        (path.parents[1] / "reviews").mkdir(),
        (path.parents[1] / "reviews" / "r.json").write_text("["),
    ),
}


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("cut", "No decision record: it is no JSON"),
        ("verdict", "No whole decision record: What was judged was altered: it does not have its record_sha256."),
        ("renamed", "It is named otherwise than its decision_id, "),
        ("rules gone", "It cannot be replayed: "),
        ("rules altered", "the rule set was altered: it does not have the hash that it is named by."),
        ("review", "error: reviews/r.json: It cannot be read as JSON"),
    ],
)
def test_damage_to_records_is_named(out, decided, damage, words):
    DAMAGE[damage](decided)
    assert any(words in one for one in complaints(out)), complaints(out)


def test_a_forged_record_with_fitting_hashes_is_found_by_replay(out, decided):
    record = resealed(read_decision(decided), verdict="NO_GO", recommended_action="quarantine")
    decided.unlink()
    save_decision(out, record, RULES)
    assert [one.partition(": It ")[2] for one in complaints(out)] == [
        "does not hold: The verdict is GO, it was NO_GO.",
        "does not hold: The recommended action is harvest, it was quarantine.",
    ]


def test_the_chain_of_superseded_records_is_checked(out, decided):
    for hours in (1, 2):
        request_ = asked(as_of=AS_OF.replace(hour=AS_OF.hour + hours), supersedes=decided.stem)
        save_decision(out, decide(out, RULES, request_), RULES)
    assert any(f"{decided.stem} is superseded twice" in one for one in complaints(out))
    held = Review("A. Person", "2026-11-18T13:00:00Z", "hold", "R1", "Look again.")
    save_decision(out, decide(out, RULES, asked(review=held)), RULES)
    assert any("does not say which record was reviewed" in one for one in complaints(out))


def test_a_record_of_another_run_and_strangers_are_named(out, decided):
    record = read_decision(decided)
    record["context"]["run_id"] = "another"
    save_decision(out, resealed(record, supersedes="0" * 32), RULES)
    (out / "decisions" / "notes.txt").write_text("look here")
    assert any("It is the record of another run." in one for one in complaints(out))
    warnings = complaints(out, "warning")
    assert any("notes.txt: It is no decision record." in one for one in warnings)
    assert any(f"The record that it supersedes, {'0' * 32}, is not in this folder." in one for one in warnings)


def test_unreadable_records_are_errors_of_one_line(tmp_path):
    with pytest.raises(InvalidDataError, match=r"x\.json: cannot be read \(No such file"):
        read_decision(tmp_path / "x.json")


def test_the_library_and_the_command_judge_alike(original):
    """`decide` is nothing but evidence and `decision_record`."""
    evidence = replay.decide.__globals__["read_evidence"](original, windows=[(20.0, 100.0)])
    assert record_text(decision_record(evidence, RULES, asked())) == record_text(decide(original, RULES, asked()))
