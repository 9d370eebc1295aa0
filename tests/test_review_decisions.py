"""Decisions after a review: what people said counts, is named, and is replayed; damage is told in a sentence."""

import json
import re
import shutil

import pytest

from decision_cases import no_sign, rules, window
from evidence_cases import WITHOUT_NETWORK, asked, growing_flask, run_of, wide_rules
from msc_vision.batch.decisions import decide, save_decision
from msc_vision.batch.evidence import evidence_stamp, read_evidence
from msc_vision.batch.forecasts import ForecastRequest, forecast_runs
from msc_vision.batch.replay import replay_record
from msc_vision.batch.reviewed_files import with_review
from msc_vision.batch.run_files import read_run_files
from msc_vision.batch.verify import verify_run
from msc_vision.decision.record import record_text
from msc_vision.errors import InvalidArgumentError, InvalidDataError
from msc_vision.review.events import Deed, Target
from msc_vision.review.log import read_log
from review_cases import (
    ANNA,
    BEN,
    doubtful,
    first_key,
    flask_with_empty_field,
    opened,
    paint,
    reject,
    say,
    stack_with_empty_field,
)
from sampling_cases import CATALOGUE

RULES = wide_rules()
SIGNS = no_sign().id


@pytest.fixture(scope="module")
def flask(tmp_path_factory):
    return run_of(tmp_path_factory.mktemp("flask"), flask_with_empty_field())


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    return run_of(tmp_path_factory.mktemp("stack"), stack_with_empty_field())


@pytest.fixture
def out(flask, tmp_path):
    return shutil.copytree(flask, tmp_path / "FLASK.run")


def verdict(out, rule_set=RULES):
    return decide(out, rule_set, asked())["verdict"]


def criterion(record, name):
    return next(one for one in record["criteria"] if one["id"] == name)


def errors(out):
    return [str(one) for one in verify_run(out) if one.severity == "error"]


# --- what counts -----------------------------------------------------------------------------------------------------


def test_without_a_review_nothing_is_read_otherwise(flask):
    files = read_run_files(flask)
    assert with_review(files, {"FLASK"}, read_log(flask), CATALOGUE) is files


def test_looking_at_every_field_leaves_the_figures_to_the_last_digit(out):
    before = decide(out, RULES, asked())
    run = opened(out)
    for key in run.latest:
        say(run, ANNA, "looked", key)
    after = decide(out, RULES, asked())
    for part in ("criteria", "metrics", "coverage", "quality", "verdict"):
        assert after[part] == before[part]
    assert len(after["provenance"]["inputs"]) == len(before["provenance"]["inputs"]) + 9


def test_rejecting_the_empty_field_raises_the_confluency_of_the_vessel(out):
    before = decide(out, RULES, asked())["metrics"]["confluency_percent"]
    run = opened(out)
    reject(run, ANNA, first_key(run))
    record = decide(out, RULES, asked())
    assert record["metrics"]["confluency_percent"] == pytest.approx(run.figures().vessels[0].confluency_percent)
    assert record["metrics"]["confluency_percent"] > before + 5
    assert record["quality"]["n_fields_rejected"] == 1
    assert record["quality"]["reasons"][0].endswith("rejected: Rejected by Anna: debris: a hair over the field")
    assert criterion(record, "rejected")["observed"] == pytest.approx(100 / 9)


def test_every_event_and_every_patch_is_named_as_an_input(out):
    run = opened(out)
    key = first_key(run)
    event = paint(run, ANNA, key)
    run.keep_measured(key, run.masks(key), run.base_score(key), _no_objects(), ANNA)
    named = {one["path"]: one["sha256"] for one in decide(out, RULES, asked())["provenance"]["inputs"]}
    assert {name for name in named if name.startswith("reviews/")} == {
        path.relative_to(out).as_posix() for path in (out / "reviews").rglob("*.*")
    }
    assert named[event.after["patch"]] == event.after["patch_sha256"]


def _no_objects():
    import numpy as np

    from msc_vision.segmentation.objects import OBJECT_COLUMNS

    return np.zeros(0, OBJECT_COLUMNS)


def test_one_layer_of_a_stack_is_changed_and_the_others_are_as_written(stack, tmp_path):
    out = shutil.copytree(stack, tmp_path / "STACK.run")
    written = json.loads((out / "vessels.json").read_text())["vessels"][0]["layers"]
    run = opened(out)
    reject(run, ANNA, first_key(run, layer=3))
    files = with_review(read_run_files(out), {"STACK"}, read_log(out), CATALOGUE)
    after = files.vessels["vessels"][0]["layers"]
    measured = [i for i, one in enumerate(written) if one["n_fields_scored"]]
    assert [i + 1 for i in measured if after[i] != written[i]] == [3]
    assert all(after[i] is not written[i] and after[i] == written[i] for i in measured if i != 2)


def test_accepting_a_doubtful_field_takes_the_doubt_away(tmp_path):
    out = run_of(tmp_path, flask_with_empty_field(), flags=("unsure",))
    assert verdict(out) == "HOLD_REVIEW"
    run = opened(out)
    for key in run.latest:
        say(run, ANNA, "accepted", key)
    record = decide(out, RULES, asked())
    assert record["verdict"] == "GO"
    assert record["quality"]["n_fields_doubtful"] == 0
    assert record["quality"]["flags"] == {"unsure": 9}


# --- doubts ----------------------------------------------------------------------------------------------------------


def test_two_people_disagree_and_the_vessel_has_to_be_looked_at(out):
    annas, bens = opened(out), opened(out)
    key = first_key(annas)
    say(annas, ANNA, "accepted", key)
    reject(bens, BEN, key)
    lenient = rules(window(20, None), models=WITHOUT_NETWORK)
    record = decide(out, lenient, asked())
    assert record["verdict"] == "HOLD_REVIEW"
    assert "Anna said accepted, Ben said rejected" in record["criteria"][-1]["message"] + str(record["criteria"])
    annas.refresh()
    reject(annas, ANNA, key)
    assert verdict(out, lenient) == "GO"


def test_a_correction_that_was_not_measured_has_to_be_looked_at(out):
    run = opened(out)
    key = first_key(run)
    paint(run, ANNA, key)
    record = decide(out, RULES, asked())
    assert record["verdict"] == "HOLD_REVIEW"
    assert "shapes and signs are those of before" in str(record["criteria"])
    run.keep_measured(key, run.masks(key), run.base_score(key), _no_objects(), ANNA)
    assert verdict(out) == "GO"


def test_a_vessel_that_somebody_holds_is_held_until_that_is_settled(out):
    run = opened(out)
    target = Target("FLASK")
    run.act(ANNA, Deed("held", target, reason_code="second-opinion", reason="ask Ben"))
    assert verdict(out) == "HOLD_REVIEW"
    run.act(BEN, Deed("settled", target, reason_code="looked", reason="fine"))
    assert verdict(out) == "GO"


def test_a_marked_sign_is_not_met_and_stays_so_when_its_field_is_rejected(out):
    asks = rules(window(20, None), no_sign(), models=WITHOUT_NETWORK)
    run = opened(out)
    key = first_key(run)
    say(run, ANNA, "finding-added", key, after={"kind": "haze", "place": "haze 0:9,0:9"})
    before = criterion(decide(out, asks, asked()), SIGNS)
    assert before["observed"] == "suspect"
    reject(run, ANNA, key)
    assert criterion(decide(out, asks, asked()), SIGNS)["observed"] == "suspect"


# --- replay ----------------------------------------------------------------------------------------------------------


# --- earlier runs ----------------------------------------------------------------------------------------------------

LATER = (70.0, 90.0)


@pytest.fixture
def days(tmp_path):
    """A flask on three mornings, a run each."""
    return [run_of(tmp_path / f"day-{day}", growing_flask(days=(day,))) for day in range(3)]


def enters(days, **options):
    (outlook,) = read_evidence(days[2], windows=[LATER], history=days[:2], **options).outlooks.values()
    return outlook


def reject_the_fullest(folder):
    """Reject the field of a morning with the most cells: the culture seems to have been behind."""
    run = opened(folder)
    fullest = max(run.original.fields.values(), key=lambda one: one.score.confluency_percent)
    reject(run, ANNA, fullest.score.key)


def test_a_review_of_an_earlier_run_changes_the_forecast_and_is_named(days):
    before = enters(days)
    reject_the_fullest(days[1])
    after = enters(days)
    assert (before.reason, after.reason) == (None, None)
    assert after.enters_at != before.enters_at
    names = [one.path for one in read_evidence(days[2], windows=[LATER], history=days[:2]).inputs]
    (name,) = [name for name in names if "reviews/" in name]
    assert re.fullmatch(r"history/[0-9a-f]{12}/reviews/[^/]+\.json", name)
    assert enters(days, reviews=()) == before


def test_a_forecast_from_the_command_line_counts_reviews(days):
    before = forecast_runs(days, CATALOGUE, ForecastRequest(window_percent=LATER))
    reject_the_fullest(days[1])
    after = forecast_runs(days, CATALOGUE, ForecastRequest(window_percent=LATER))
    assert before[0].enters_at != after[0].enters_at


def test_what_is_reviewed_later_in_an_earlier_run_does_not_change_the_replay(days):
    reject_the_fullest(days[0])
    rule_set = wide_rules()
    record = decide(days[2], rule_set, asked(), history=days[:2])
    (name,) = [one["path"] for one in record["provenance"]["inputs"] if "reviews/" in one["path"]]
    assert replay_record(record, days[2], rule_set, history=days[:2]).holds
    reject_the_fullest(days[1])
    assert replay_record(record, days[2], rule_set, history=days[:2]).holds
    (days[0] / "reviews" / name.split("/")[-1]).unlink()
    assert not replay_record(record, days[2], rule_set, history=days[:2]).holds


def test_a_review_of_an_earlier_run_is_noticed_by_what_keeps_evidence_at_hand(days):
    before = evidence_stamp(days[2], days[:2])
    reject_the_fullest(days[0])
    assert evidence_stamp(days[2], days[:2]) != before


def test_an_earlier_run_with_a_damaged_review_cannot_serve(days):
    reject_the_fullest(days[0])
    (event,) = (days[0] / "reviews").glob("*.json")
    event.write_text("{}", encoding="utf-8")
    with pytest.raises(InvalidArgumentError, match=r"cannot serve as history: reviews/.*\.json "):
        enters(days)
    with pytest.raises(InvalidDataError, match=r"its review cannot be relied on: reviews/.*\.json"):
        forecast_runs(days, CATALOGUE, ForecastRequest())


def test_what_is_reviewed_later_does_not_change_the_replay(out):
    first = decide(out, RULES, asked())
    save_decision(out, first, RULES)
    run = opened(out)
    reject(run, ANNA, first_key(run))
    second = decide(out, RULES, asked(supersedes=first["decision_id"]))
    save_decision(out, second, RULES)
    paint(run, BEN, run.latest[3])
    assert replay_record(first, out, RULES).holds
    assert replay_record(second, out, RULES).holds
    assert errors(out) == []
    assert record_text(decide(out, RULES, asked())) != record_text(second)


def test_an_event_that_is_taken_away_is_missed(out):
    run = opened(out)
    event = reject(run, ANNA, first_key(run))
    record = decide(out, RULES, asked())
    (out / "reviews" / event.name).unlink()
    found = replay_record(record, out, RULES)
    assert not found.holds
    assert found.differences[0] == f"Input reviews/{event.name} is missing."


def test_new_events_are_noticed_by_what_keeps_evidence_at_hand(out):
    before = evidence_stamp(out)
    run = opened(out)
    reject(run, ANNA, first_key(run))
    after = evidence_stamp(out)
    assert before != after
    paint(run, ANNA, run.latest[2])
    assert after != evidence_stamp(out)
    assert hash(after) == hash(after)


def test_events_about_other_vessels_are_not_named(tmp_path):
    others = [one for name in ("A", "B") for one in flask_with_empty_field(name)]
    alone = [*flask_with_empty_field("ALONE")]
    made = run_of(tmp_path, [*others, *(_without_lot(one) for one in alone)])
    run = opened(made)
    reject(run, ANNA, next(key for key in run.latest if run.original.fields[key].row.vessel_id == "A"))
    names = {name: [one.path for one in read_evidence(made, name).inputs if "reviews/" in one.path] for name in "AB"}
    assert len(names["A"]) == len(names["B"]) == 1  # of one batch
    assert not [one for one in read_evidence(made, "ALONE").inputs if "reviews/" in one.path]


def _without_lot(one):
    from dataclasses import replace

    return replace(one, row=replace(one.row, lot=None))


# --- damage ----------------------------------------------------------------------------------------------------------


def test_a_damaged_event_makes_the_evidence_unusable_and_says_which(out):
    run = opened(out)
    event = reject(run, ANNA, first_key(run))
    path = out / "reviews" / event.name
    path.write_text(path.read_text().replace("hair", "bear"))
    record = decide(out, RULES, asked())
    assert record["verdict"] == "CANNOT_ASSESS"
    assert f"reviews/{event.name} was altered" in criterion(record, "run-usable")["message"]
    assert errors(out) == [f"error: reviews/{event.name}: It was altered: its content does not have its event_id."]
    assert replay_record(record, out, RULES).holds


def test_an_event_in_the_middle_that_is_gone_is_missed(out):
    run = opened(out)
    key = first_key(run)
    first = reject(run, ANNA, key)
    second = say(run, BEN, "accepted", key)
    (out / "reviews" / first.name).unlink()
    assert errors(out) == [
        f"error: reviews/{second.name}: It follows an event that is not there any more ({first.event_id})."
    ]
    assert verdict(out) == "CANNOT_ASSESS"


def test_a_patch_that_is_gone_or_altered_is_missed(out):
    run = opened(out)
    event = paint(run, ANNA, first_key(run))
    (out / event.after["patch"]).write_bytes(b"x")
    assert "was altered: it does not have the sha256" in errors(out)[0]
    assert verdict(out) == "CANNOT_ASSESS"
    (out / event.after["patch"]).unlink()
    assert "cannot be read (No such file or directory)" in errors(out)[0]


def test_a_review_that_is_whole_is_not_complained_of(out):
    run = opened(out)
    key = first_key(run)
    paint(run, ANNA, key)
    run.keep_measured(key, run.masks(key), run.base_score(key), _no_objects(), ANNA)
    reject(run, BEN, run.latest[1])
    assert verify_run(out) == ()


def test_what_a_killed_program_leaves_is_a_warning(out):
    run = opened(out)
    event = paint(run, ANNA, first_key(run))
    (out / "reviews" / event.name).unlink()
    found = [str(one) for one in verify_run(out)]
    assert found == [f"warning: {event.after['patch']}: No event speaks of it, so nothing rests on it."]


def test_an_event_of_a_newer_version_is_told(out):
    run = opened(out)
    event = reject(run, ANNA, first_key(run))
    path = out / "reviews" / event.name
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 7'))
    assert "newer msc-vision (schema 7); update to read it" in errors(out)[0]


def test_doubtful_fields_of_the_cases_carry_their_flags():
    assert {one.score.flags for one in doubtful(flask_with_empty_field(), "unsure")} == {("unsure",)}


def test_the_report_says_who_corrected_and_who_rejected(out):
    from msc_vision.report.load import load_run

    run = opened(out)
    key = first_key(run)
    paint(run, ANNA, key)
    reject(run, BEN, key)
    fields = {one.key: one for one in load_run(out).fields}
    assert fields[key].review == "corrected by Anna; rejected by Ben (debris)"
    assert {one.review for name, one in fields.items() if name != key} == {None}
