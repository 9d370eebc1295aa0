"""A reviewer's session without a window: what is done is on disk, figures follow, and nothing is lost."""

import shutil
from pathlib import Path

import pytest

from msc_vision.batch.reviewed import ReviewedRun
from msc_vision.decision.library import load_rules
from msc_vision.errors import InvalidArgumentError, OutputError
from msc_vision.review import log
from msc_vision.review.events import Reviewer
from msc_vision.review.log import read_log
from napari_msc_vision.session import Message, ReviewSession, open_session
from napari_msc_vision.work import DirectWork

ANNA, BERT = Reviewer("anna"), Reviewer("bert")


@pytest.fixture
def session(small_run: Path) -> ReviewSession:
    return open_session(small_run, reviewer=ANNA)


def with_new_cell(session: ReviewSession):
    """Return the masks of the open field with a square of 40 pixels as a new cell in its upper left corner."""
    masks = session.masks.copy()
    masks.cells[5:45, 5:45] = masks.cells.max() + 1
    masks.foreground[5:45, 5:45] = True
    return masks


def actions(run: Path) -> list[str]:
    return [event.action for event in read_log(run).events]


class Patient(DirectWork):
    """Does at once what can be done at once, and the rest when it is told that the time has come."""

    def __init__(self) -> None:
        self.due = []

    def later(self, call, after_ms=0) -> None:
        self.due.append(call) if after_ms else call()


def test_while_somebody_paints_the_field_is_not_measured(small_run):
    work = Patient()
    session = open_session(small_run, work, ANNA)
    session.open(session.keys()[0])
    session.commit(with_new_cell(session), "paint")
    n_cells = session.score.n_objects
    session.undo()
    assert session.score.n_objects == n_cells - 1  # what follows from the masks is there at once
    first, second = work.due
    first()
    assert not session.is_measured
    second()
    assert session.is_measured


def test_opening_a_field_shows_what_the_run_found_and_writes_that_it_was_looked_at(session, small_run):
    key = session.keys()[0]
    opened = []
    session.field_opened.connect(opened.append)
    session.open(key)
    assert opened == [key]
    assert session.masks.sha256 == ReviewedRun.open(small_run).original_masks(key).sha256
    assert actions(small_run) == ["looked"]
    session.open(session.keys()[1])
    session.open(key)
    assert actions(small_run) == ["looked", "looked"]  # once per field


def test_a_stroke_is_on_disk_and_there_again_after_reopening(session, small_run):
    key = session.keys()[0]
    session.open(key)
    before = session.score.confluency_percent
    edited = with_new_cell(session)
    session.commit(edited, "paint")
    assert actions(small_run) == ["looked", "edited"]
    assert session.score.confluency_percent != before
    assert session.is_measured
    again = open_session(small_run, reviewer=BERT)
    again.open(key)
    assert again.masks.sha256 == edited.sha256


def test_undo_is_an_entry_of_its_own_and_redo_brings_the_stroke_back(session, small_run):
    session.open(session.keys()[0])
    original, edited = session.masks, with_new_cell(session)
    told = []
    session.masks_changed.connect(told.append)
    session.commit(edited, "paint")
    assert told == []
    session.undo()
    assert session.masks.sha256 == original.sha256
    session.redo()
    assert session.masks.sha256 == edited.sha256
    session.redo()  # nothing is left
    assert told == [session.current] * 2
    assert actions(small_run) == ["looked", "edited", "edited", "edited"]


def test_no_change_is_no_edit(session, small_run):
    session.open(session.keys()[0])
    session.commit(session.masks.copy(), "paint")
    assert actions(small_run) == ["looked"]


def test_figures_of_field_layer_and_vessel_follow(session):
    session.open(session.keys()[0])
    row = session.row(session.current)
    masks = session.masks.copy()
    masks.foreground[:] = False
    masks.cells[:] = 0
    session.commit(masks, "erase")
    assert session.score.confluency_percent == 0
    original = session.run.original.vessel(row.vessel_id)
    now = session.figures.vessel(row.vessel_id)
    assert now.layers[row.layer - 1].confluency_percent < original.layers[row.layer - 1].confluency_percent
    assert now.measured_confluency_percent < original.measured_confluency_percent


def test_a_corrected_field_is_measured_for_good_when_it_is_left(session, small_run):
    first, second = session.keys()[:2]
    session.open(first)
    session.commit(with_new_cell(session), "paint")
    n_cells = session.score.n_objects
    session.open(second)
    assert actions(small_run) == ["looked", "edited", "measured", "looked"]
    run = ReviewedRun.open(small_run)
    assert run.figures().fields[first].score.n_objects == n_cells
    assert not run.state.of(first).needs_measuring


def test_a_disk_that_takes_nothing_keeps_the_stroke_and_says_what_to_do(session, small_run, monkeypatch):
    session.open(session.keys()[0])
    told: list[Message] = []
    session.said.connect(told.append)

    def full(path, content):
        raise OutputError(f"{path}: cannot be written: the disk is full; free some space.")

    with monkeypatch.context() as patched:
        patched.setattr(log, "write_whole", full)
        session.commit(with_new_cell(session), "paint")
    assert session.n_unsaved == 1
    assert told[-1].level == "error"
    assert told[-1].text.startswith("Not saved: ") and told[-1].text.endswith("put it right, then press Save.")
    assert actions(small_run) == ["looked"]
    session.save()
    assert session.n_unsaved == 0
    assert actions(small_run) == ["looked", "edited"]


def test_rejecting_a_field_needs_a_reason_and_changes_its_layer(session, small_run):
    key = session.keys()[0]
    session.open(key)
    with pytest.raises(InvalidArgumentError, match="'rejected' needs a reason: choose a reason code"):
        session.judge_field("rejected", None, "")
    assert actions(small_run) == ["looked"]
    row = session.row(key)
    n_before = session.figures.vessel(row.vessel_id).layers[row.layer - 1].n_fields_scored
    session.judge_field("rejected", "out-of-focus", "the lower half")
    assert session.figures.vessel(row.vessel_id).layers[row.layer - 1].n_fields_scored == n_before - 1
    assert session.run.state.of(key).standing == "rejected"


def test_a_decision_after_the_review_supersedes_the_one_before(session, small_run):
    rules = load_rules("msc-expansion-default")
    vessel = session.row(session.keys()[0]).vessel_id
    session.decide(vessel, rules, "trial")
    session.open(session.keys()[0])
    session.judge_field("rejected", "out-of-focus", "")
    session.decide(vessel, rules, "trial")
    last, first = session.records(vessel)
    assert last["supersedes"] == first["decision_id"]
    assert any(one["path"].startswith("reviews/") for one in last["provenance"]["inputs"])
    assert not any(one["path"].startswith("reviews/") for one in first["provenance"]["inputs"])


def test_a_draft_decision_is_not_signed(session):
    vessel = session.row(session.keys()[0]).vessel_id
    session.decide(vessel, load_rules("msc-expansion-default"), "trial")
    record = session.records(vessel)[0]
    with pytest.raises(InvalidArgumentError, match="made with a draft rule set; only decisions by approved ones"):
        session.sign(record["decision_id"], record["record_sha256"], "review")


def test_two_people_correct_one_field_and_both_corrections_stay(small_run):
    anna, bert = open_session(small_run, reviewer=ANNA), open_session(small_run, reviewer=BERT)
    key = anna.keys()[0]
    anna.open(key)
    bert.open(key)
    anna.commit(with_new_cell(anna), "paint")
    masks = bert.masks.copy()
    masks.judgeable[-30:, -30:] = False
    bert.commit(masks, "not judgeable")
    told: list[Message] = []
    bert.said.connect(told.append)
    bert.refresh()
    assert (bert.masks.cells[5:45, 5:45] > 0).all()
    assert not bert.masks.judgeable[-30:, -30:].any()
    assert any("anna is correcting this field too" in one.text for one in told)
    anna.refresh()
    assert anna.masks.sha256 == bert.masks.sha256
    assert ReviewedRun.open(small_run).masks(key).sha256 == anna.masks.sha256


def test_what_waited_for_the_disk_is_written_under_the_name_of_who_did_it(session, small_run, monkeypatch):
    session.open(session.keys()[0])
    own = ReviewedRun.edit

    def refuse(*_args):
        raise OutputError("the disk is full")

    monkeypatch.setattr(ReviewedRun, "edit", refuse)
    session.commit(with_new_cell(session), "paint")
    session.reviewer = BERT  # somebody logs in meanwhile
    monkeypatch.setattr(ReviewedRun, "edit", own)
    session.save()
    session.judge_field("accepted", None, "")
    said = {event.action: event.reviewer for event in read_log(small_run).events}
    assert (said["edited"], said["accepted"]) == (ANNA, BERT)


def test_after_a_crash_the_strokes_are_there_and_the_field_is_measured_again(session, small_run):
    key = session.keys()[0]
    session.open(key)
    edited = with_new_cell(session)
    session.commit(edited, "paint")
    copy = small_run.with_name("after-the-crash")
    shutil.copytree(small_run, copy)  # as the disk was when the lights went out: nothing was closed
    again = open_session(copy, reviewer=ANNA)
    assert again.run.state.of(key).needs_measuring
    again.open(key)
    assert again.masks.sha256 == edited.sha256
    assert again.is_measured
    again.close()
    assert not ReviewedRun.open(copy).state.of(key).needs_measuring


def test_closing_measures_what_is_open(session, small_run):
    session.open(session.keys()[0])
    session.commit(with_new_cell(session), "paint")
    session.close()
    session.close()
    assert actions(small_run) == ["looked", "edited", "measured"]


def test_original_files_are_not_written_to(session, small_run):
    def content() -> dict[str, bytes]:
        files = (path for path in small_run.rglob("*") if path.is_file() and "reviews" not in path.parts)
        return {str(path): path.read_bytes() for path in files}

    before = content()
    session.open(session.keys()[0])
    session.commit(with_new_cell(session), "paint")
    session.judge_field("accepted", None, "")
    session.close()
    assert content() == before
