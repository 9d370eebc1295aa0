"""The ladder of a vessel: seen, inferred, out of reach and failed layers; what a review moved; how far it is."""

import pytest

from msc_vision.batch.reviewed import ReviewedRun
from msc_vision.records import LayerState
from msc_vision.review.events import Deed, Reviewer, Target
from msc_vision.review.state import FieldReview, ReviewState
from napari_msc_vision.ladder import FOLD_FROM, STATE_WORDS, ladder_of, progress_of, row_name

MARIA = Reviewer("maria")


def ladder(run, record=None):
    fields = [run.figures().fields[key] for key in run.latest]
    return ladder_of(run.figures().vessel("SMALL"), run.original.vessel("SMALL"), fields, run.state, record)


def say(run, key, action, code=None):
    row = run.original.fields[key].row
    run.act(MARIA, Deed(action, Target(row.vessel_id, row.layer, key), reason_code=code))


@pytest.fixture
def run(small_run):
    return ReviewedRun.open(small_run)


def test_every_state_of_a_layer_has_a_word_of_its_own():
    assert set(STATE_WORDS) == set(LayerState.__args__)
    assert len(set(STATE_WORDS.values())) == len(STATE_WORDS)


def test_a_vessel_of_which_two_layers_were_seen(run):
    found = ladder(run)
    assert [one.layer for one in found.rungs] == list(range(1, 13))
    assert [(one.state_word, one.looked) for one in found.rungs[:3]] == [
        ("seen", "0/2"),
        ("seen in part", "0/2"),
        ("not imaged", ""),
    ]
    assert found.rungs[11].state_word == "out of reach"
    assert found.rungs[2].figure == "–"
    assert "Seen: layers 1-2 of 12." in found.headline
    assert found.window == run.original.vessel("SMALL").window_percent


def test_layers_that_nobody_saw_share_a_row_and_the_top_layer_comes_first(run):
    rows = ladder(run).rows
    assert row_name(rows[-1]) == "1"
    assert row_name(rows[-2]) == "2"
    assert sum(len(row) for row in rows) == 12
    assert all(len(row) == 1 or len(row) >= FOLD_FROM for row in rows)
    assert len(rows) < 12


def test_what_a_review_moved_is_shown_against_what_the_run_found(run):
    assert ladder(run).rungs[0].before_percent is None
    was = run.original.vessel("SMALL").layers[0].confluency_percent
    say(run, run.latest[0], "rejected", "debris")
    rung = ladder(run).rungs[0]
    assert rung.before_percent == was
    assert rung.confluency_percent != was
    assert f"Before the review: {was:.1f} %." in rung.how


def test_the_worst_outcome_on_a_layer_is_shown(run):
    criteria = [
        {"id": "thin", "layer": 1, "outcome": "met", "unit": "%", "comparator": "at least"},
        {"id": "full", "layer": 1, "outcome": "not met", "unit": "%", "comparator": "at most"},
        {"id": "thin", "layer": 2, "outcome": "met", "unit": "%", "comparator": "at least"},
        {"id": "confluency-window", "layer": None, "outcome": "met", "unit": "%", "comparator": "between",
         "limit": [60, 75]},
    ]  # fmt: skip
    still_open = [{"criterion": "full", "layer": 1, "why": "not met", "side": "above"}]
    found = ladder(run, {"criteria": criteria, "quality": {"open": still_open}})
    assert [one.outcome_word for one in found.rungs[:3]] == ["not met", "met", ""]
    assert "In the last decision: not met." in found.rungs[0].how
    assert found.window == (60.0, 75.0)
    assert found.has_outcomes
    assert not ladder(run).has_outcomes


def test_progress_in_words():
    state = ReviewState(
        {
            "a": FieldReview("a", "rejected", events=("one",)),
            "b": FieldReview("b", "looked at", events=("one",), edits=("one",)),
            "c": FieldReview("c", "accepted", events=("one",), is_disputed=True),
        }
    )
    assert progress_of("abcd", state).words == "3 of 4 fields looked at; 1 rejected; 1 corrected; 1 disputed"
    assert progress_of("d", ReviewState()).words == "0 of 1 field looked at"
