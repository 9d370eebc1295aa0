"""A record for the eye: word and shape of the verdict, what changed, what a person may settle, who signed."""

import shutil
from datetime import UTC, datetime

import pytest

from msc_vision.batch.decisions import decide
from msc_vision.decision.judgement import Request, Review
from msc_vision.decision.library import load_rules
from msc_vision.review.events import Deed, Reviewer, Target, new_event
from napari_msc_vision.verdict import change_words, local_signatures, sign_of, superseded_ids, verdict_view

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def records(tmp_path_factory, finished_run):
    """A record, and the one that supersedes it because a person held the vessel."""
    run = shutil.copytree(finished_run, tmp_path_factory.mktemp("verdict") / "run")
    rules = load_rules("msc-expansion-default")
    first = decide(run, rules, Request(NOON, "trial"), "SMALL")
    said = Review("maria", NOON.isoformat(), "hold", "process", "The incubator stood open.")
    second = decide(run, rules, Request(NOON, "trial", supersedes=first["decision_id"], review=said), "SMALL")
    return first, second


def test_a_record_is_told_in_words(records):
    first, second = records
    view = verdict_view(second, first)
    assert view.sign.word in ("NO GO", "CANNOT ASSESS")
    assert view.headline == "2026-11-22 12:00:00 UTC · msc-expansion-default 1 · trial, not for production"
    assert view.said == "maria held it for review (reason of the process: The incubator stood open.)."
    assert view.change.startswith(f"Against the record before: verdict still {view.sign.word}")
    assert "reviewer" in {row.id for row in view.rows}
    ranks = [row.sign.rank for row in view.rows]
    assert ranks == sorted(ranks)
    assert view.is_draft
    assert view.changes
    assert verdict_view(first).change == ""


@pytest.mark.parametrize(
    ("verdict", "action", "purpose", "word"),
    [
        ("GO", "harvest", "production", "GO"),
        ("GO", "harvest", "trial", "GO IN TRIAL"),
        ("NO_GO", "quarantine", "production", "QUARANTINE"),
        ("HOLD_REVIEW", "hold and review", "trial", "HOLD"),
        ("CANNOT_ASSESS", "hold and review", "trial", "CANNOT ASSESS"),
    ],
)
def test_word_and_shape_of_a_verdict(verdict, action, purpose, word):
    record = {"verdict": verdict, "recommended_action": action, "quality": {"purpose": purpose}}
    assert sign_of(record).word == word


def test_what_changed_between_two_records(records):
    first = records[0]
    later = {
        **first,
        "verdict": "GO",
        "recommended_action": "harvest",
        "metrics": {**first["metrics"], "confluency_percent": 81.0},
        "criteria": [{**one, "outcome": "met"} for one in first["criteria"]],
    }
    before = {**first, "metrics": {**first["metrics"], "confluency_percent": 50.04}}
    words = change_words(before, later)
    assert "→ GO IN TRIAL" in words
    assert "confluency 50.0 → 81.0 %" in words
    assert "other outcome: " in words


def test_which_records_were_superseded(records):
    assert superseded_ids(records) == {records[0]["decision_id"]}


def test_only_signatures_of_the_record_are_listed():
    def signed(decision_id, minute):
        after = {"decision_id": decision_id, "meaning": "approval"}
        return new_event("r", Reviewer("jon"), Deed("signed", Target("A"), after=after), at=NOON.replace(minute=minute))

    events = [
        signed("one", 1),
        signed("two", 2),
        new_event("r", Reviewer("jon"), Deed("decided", Target("A")), at=NOON),
    ]
    (found,) = local_signatures(events, "two")
    assert found.words == "jon, 2026-11-22 12:02:00 UTC: approval (operating-system user)"
